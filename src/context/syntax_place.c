/* Whether a place in a text is code, comment or string: told by the quotes and comment marks before it.
 *
 * The text alone decides, and only what stands before the place: so the answer is the same each time, and
 * asked at each keystroke it costs microseconds, where a tree would have to be parsed anew, and would not
 * know about what is being typed. Strings in one pair of quotes end with their line, so that an apostrophe
 * does no harm beyond it. */
#include "context/syntax.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

/* Read from the beginning of the text, or as much before the place, from where code is assumed. A tenth of a
 * millisecond; comments and strings that are open for longer are rare. */
#define SCAN_BYTES_MAX ((size_t)128 << 10)

#define TEMPLATES_MAX 16       /* strings within code within strings */
#define UNCLOSED      SIZE_MAX /* goes on to the place */

struct scan {
    const struct language *l;
    const char *text;
    size_t end;      /* the place: nothing from there on is read */
    bool opens[256]; /* bytes at which something may begin: all others of code are passed over */
    int32_t braces[TEMPLATES_MAX]; /* open in the code of each template that the place may be in */
    int n_templates;
};

static bool stands_at(const struct scan *s, size_t at, const char *word)
{
    size_t n = word ? strlen(word) : 0;
    return n > 0 && s->end - at >= n && memcmp(s->text + at, word, n) == 0;
}

static void mark_openings(struct scan *s)
{
    const struct language *l = s->l;
    for (const char *c = l->quotes; *c; c++) s->opens[(unsigned char)*c] = true;
    if (l->block_comment[0]) s->opens[(unsigned char)l->block_comment[0][0]] = true;
    if (l->line_comment) s->opens[(unsigned char)l->line_comment[0]] = true;
    if (l->has_templates) s->opens['{'] = s->opens['}'] = s->opens['/'] = true;
}

/* --- Past the end of what begins before `at` ------------------------------------------------------------ */

static size_t skip_to(const struct scan *s, size_t at, const char *close)
{
    const char *found = memmem(s->text + at, s->end - at, close, strlen(close));
    return found ? (size_t)(found - s->text) + strlen(close) : UNCLOSED;
}

/* `close`: one quote or three. */
static size_t skip_string(const struct scan *s, size_t at, const char *close, bool ends_at_nl)
{
    for (; at < s->end; at++) {
        if (s->text[at] == '\\') {
            at++;
        } else if (s->text[at] == close[0] && stands_at(s, at, close)) {
            return at + strlen(close);
        } else if (s->text[at] == '\n' && ends_at_nl) {
            return at + 1;
        }
    }
    return UNCLOSED;
}

/* To the template's end, or into the code that it holds. */
static size_t skip_template(struct scan *s, size_t at)
{
    for (; at < s->end; at++) {
        if (s->text[at] == '\\') {
            at++;
        } else if (s->text[at] == '`') {
            return at + 1;
        } else if (stands_at(s, at, "${") && s->n_templates < TEMPLATES_MAX) {
            s->braces[s->n_templates++] = 0;
            return at + 2;
        }
    }
    return UNCLOSED;
}

/* Whether a slash begins a pattern: it does where a value is wanted. */
static bool is_pattern(const char *text, size_t at)
{
    while (at > 0 && (text[at - 1] == ' ' || text[at - 1] == '\t')) at--;
    if (at == 0 || strchr("(,=:[!&|?{;\n", text[at - 1])) return true;
    if (at >= 2 && memcmp(text + at - 2, "=>", 2) == 0) return true;
    return at >= 6 && memcmp(text + at - 6, "return", 6) == 0;
}

/* Just past the slash if no other closes it in this line: then it divides. A pattern is code. */
static size_t skip_pattern(const struct scan *s, size_t at)
{
    bool is_class = false;
    for (size_t i = at; i < s->end && s->text[i] != '\n'; i++) {
        char c = s->text[i];
        if (c == '\\') {
            i++;
        } else if (c == '[' || c == ']') {
            is_class = c == '[';
        } else if (c == '/' && !is_class) {
            return i + 1;
        }
    }
    return at;
}

/* --- What begins at `at` ------------------------------------------------------------------------------- */

static bool is_digit_separator(const struct scan *s, size_t at) /* 1'000'000 in C++ */
{
    return s->text[at] == '\'' && at > 0 && isdigit((unsigned char)s->text[at - 1]) && at + 1 < s->end &&
           isxdigit((unsigned char)s->text[at + 1]);
}

static size_t pass_quote(struct scan *s, size_t at)
{
    char quote = s->text[at], close[4] = {quote, quote, quote, '\0'};
    if (is_digit_separator(s, at)) return at + 1;
    if (quote == '`') return s->l->has_templates ? skip_template(s, at + 1) : skip_to(s, at + 1, "`");
    if (stands_at(s, at, close)) return skip_string(s, at + 3, close, false);
    close[1] = '\0';
    return skip_string(s, at + 1, close, true);
}

/* A brace of code within a template; the one that ends the code leads back into the template. */
static size_t pass_brace(struct scan *s, size_t at)
{
    if (s->n_templates == 0) return at + 1;
    int32_t *n = &s->braces[s->n_templates - 1];
    if (s->text[at] == '{' || *n > 0) {
        *n += s->text[at] == '{' ? 1 : -1;
        return at + 1;
    }
    s->n_templates--;
    return skip_template(s, at + 1);
}

/* Past what begins here, if anything; *inside: what it is, if it is UNCLOSED. */
static size_t pass(struct scan *s, size_t at, enum syntax_place *inside)
{
    const struct language *l = s->l;
    char c = s->text[at];
    *inside = SYNTAX_COMMENT;
    /* First the block mark: where both begin alike, it is the longer one ("--", "--[["). */
    if (stands_at(s, at, l->block_comment[0]))
        return skip_to(s, at + strlen(l->block_comment[0]), l->block_comment[1]);
    if (stands_at(s, at, l->line_comment)) return skip_to(s, at + strlen(l->line_comment), "\n");
    *inside = SYNTAX_STRING;
    if (c && strchr(l->quotes, c)) return pass_quote(s, at);
    if (l->has_templates && (c == '{' || c == '}')) return pass_brace(s, at);
    if (l->has_templates && c == '/' && is_pattern(s->text, at)) return skip_pattern(s, at + 1);
    return at + 1;
}

static size_t start_of(const char *text, size_t at)
{
    if (at <= SCAN_BYTES_MAX) return 0;
    at -= SCAN_BYTES_MAX;
    while (at > 0 && text[at - 1] != '\n') at--;
    return at;
}

enum syntax_place syntax_place_at(const struct language *l, const char *text, size_t len, size_t at)
{
    struct scan s = {.l = l, .text = text, .end = at < len ? at : len};
    enum syntax_place inside = SYNTAX_CODE;
    if (l->is_prose) return SYNTAX_CODE;
    mark_openings(&s);
    for (size_t i = start_of(text, s.end); i < s.end;) {
        i = s.opens[(unsigned char)text[i]] ? pass(&s, i, &inside) : i + 1;
        if (i == UNCLOSED) return inside;
    }
    return SYNTAX_CODE;
}
