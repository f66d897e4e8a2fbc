/* Judging a place by the cursor's line: what stands before and after the cursor, in which language.
 *
 * Brackets and indentation tell where blocks begin in most languages. Those that begin them with words have a
 * row in block_words.c. */
#include "complete/place.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "complete/block_words.h"
#include "complete/chars.h"

struct line {
    const char *text;
    size_t len; /* without white space at its end */
};

static struct line head_of(const struct place *p)
{
    const char *newline = p->before_len > 0 ? memrchr(p->before, '\n', p->before_len) : NULL;
    const char *start = newline ? newline + 1 : p->before;
    return (struct line){start, chars_trimmed_len(start, p->before_len - (size_t)(start - p->before))};
}

static struct line rest_of(const struct place *p)
{
    return (struct line){p->after, chars_trimmed_len(p->after, chars_line_len(p->after, p->after_len))};
}

/* Whether a suggestion can end before this and leave it where it is: closing brackets and quotes, which
 * editors insert by themselves, and the end of a statement or an element. */
static bool is_closing(struct line rest)
{
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.text[i];
        if (!chars_is_blank(c) && chars_bracket(c) >= 0 && !strchr(";,\"'`", c)) return false;
    }
    return true;
}

static bool has_listed_word(struct line l, const char *list)
{
    for (size_t i = 0; i < l.len;) {
        size_t n = 0;
        while (i + n < l.len && chars_is_word(l.text[i + n])) n++;
        if (chars_is_listed(list, l.text + i, n)) return true;
        i += n > 0 ? n : 1;
    }
    return false;
}

/* `while x do`; and `local function f(a)`, once the parameters are complete. */
static bool begins_word_block(const struct block_words *w, struct line head)
{
    size_t n = chars_last_word_len(head.text, head.len);
    if (chars_is_listed(w->last, head.text + head.len - n, n)) return true;
    return head.text[head.len - 1] == ')' && has_listed_word(head, w->heads) &&
           !has_listed_word(head, w->closers);
}

/* `head` has text, and the cursor stands behind it. */
static bool begins_block(const struct language *l, struct line head)
{
    char last = head.text[head.len - 1];
    if (chars_bracket(last) > 0 || (l->is_indented && last == ':')) return true;
    return begins_word_block(block_words_of(l), head);
}

enum stop_extent place_extent(const struct place *p)
{
    struct line head = head_of(p), rest = rest_of(p);
    bool is_empty = chars_blank_len(head.text, head.len) == head.len;
    if (p->inside != SYNTAX_CODE || !is_closing(rest)) return STOP_EXTENT_LINE;
    if (is_empty) return rest.len == 0 ? STOP_EXTENT_BLOCK : STOP_EXTENT_LINE;
    if (p->language->is_prose) return STOP_EXTENT_LINE;
    return begins_block(p->language, head) ? STOP_EXTENT_BLOCK : STOP_EXTENT_UNIT;
}

/* One or two deletions correct what was typed, and whoever makes them knows what comes next. Whoever goes on
 * to take away writes something else there, for which a suggestion may serve. */
static bool is_deleting(int32_t n_deletions)
{
    return n_deletions == 1 || n_deletions == 2;
}

/* Whether the text ends with a number: digits, perhaps with a point, or letters as in 0x1f and 10ul. Not
 * one that is part of a name (x86), or follows a name's point (pair.0), and not the end of a range (0..9). */
static bool ends_with_number(struct line head)
{
    size_t start = head.len;
    while (start > 0 && (chars_is_word(head.text[start - 1]) || head.text[start - 1] == '.')) {
        if (start < head.len && head.text[start - 1] == '.' && head.text[start] == '.') return false;
        start--;
    }
    const char *number = head.text + start;
    size_t len = head.len - start;
    if (len > 1 && number[0] == '.') number++, len--;
    if (len == 0 || !isdigit((unsigned char)number[0])) return false;
    /* A name behind the point is that of a method. */
    const char *point = memchr(number, '.', len);
    return !point || point + 1 == number + len || isdigit((unsigned char)point[1]);
}

enum place_quiet place_quiet(const struct place *p)
{
    if (is_deleting(p->n_deletions)) return PLACE_DELETING;
    if (p->after_len > 0 && chars_is_word(p->after[0])) return PLACE_IN_WORD;
    bool is_code = p->inside == SYNTAX_CODE && !p->language->is_prose;
    bool is_behind_space = p->before_len > 0 && chars_is_blank(p->before[p->before_len - 1]);
    if (is_code && !is_behind_space && ends_with_number(head_of(p))) return PLACE_IN_NUMBER;
    return PLACE_NOT_QUIET;
}

const char *place_quiet_name(enum place_quiet q)
{
    switch (q) {
    case PLACE_DELETING:
        return "deleting";
    case PLACE_IN_WORD:
        return "in-word";
    case PLACE_IN_NUMBER:
        return "in-number";
    case PLACE_NOT_QUIET:
        break;
    }
    return "";
}

bool place_is_sure(double mean_logprob, int32_t n_tokens, double least)
{
    return !(least > 0) || n_tokens == 0 || exp(mean_logprob) >= least;
}
