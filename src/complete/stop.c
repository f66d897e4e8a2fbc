/* Stop rules, as a state machine over characters and lines.
 *
 * Each rule has two halves that belong together: the check that cuts the text (scan_char, end_line), and the
 * tail that it may still cut (undecided_*), which is therefore held back. All checks run at a character or
 * at a line's end, so that the result does not depend on how the text was split into tokens. How far a
 * statement or a block goes is judged by stop_extent.c. */
#include "complete/stop.h"

#include <ctype.h>
#include <string.h>

#include "base/utf8.h"
#include "complete/chars.h"

/* A completion of more than this is not a completion; the longest token limit stays well below. */
#define TEXT_MAX ((size_t)1 << 20)

static bool has_word(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (chars_is_word(text[i])) return true;
    }
    return false;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- The text after the cursor ---- */

/* The first line at or after `from`, the start of a line, that is not blank; null if there is none. */
static const char *written_line(const struct stop *s, const char *from)
{
    while (from < s->end) {
        size_t len = chars_line_len(from, (size_t)(s->end - from));
        if (chars_trimmed_len(from, len) > 0) return from;
        if (from + len == s->end) break;
        from += len + 1;
    }
    return NULL;
}

static size_t written_len(const struct stop *s, const char *line)
{
    return chars_trimmed_len(line, chars_line_len(line, (size_t)(s->end - line)));
}

static const char *line_after(const struct stop *s, const char *line)
{
    size_t len = chars_line_len(line, (size_t)(s->end - line));
    return line + len < s->end ? written_line(s, line + len + 1) : NULL;
}

/* The quote that the cursor stands inside of, judged by its line alone; or 0. */
static char open_quote(const char *line, size_t len)
{
    char quote = 0;
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\\')
            i++;
        else if (quote ? line[i] == quote : line[i] == '"' || line[i] == '\'' || line[i] == '`')
            quote = quote ? 0 : line[i];
    }
    return quote;
}

/* A model that sees no suffix goes on to the end of the file. */
static enum stop_extent extent_of(const struct stop_place *at)
{
    if (at->is_raw) return STOP_EXTENT_ANY;
    return at->extent == STOP_EXTENT_ANY && at->is_prefix_only ? STOP_EXTENT_BLOCK : at->extent;
}

/* Who has typed nothing yet does not want the line above once more. */
static void set_above(struct stop *s)
{
    const struct stop_place *at = &s->at;
    bool is_empty = chars_blank_len(at->line_prefix, at->line_prefix_len) == at->line_prefix_len;
    if (!at->above || !is_empty || s->extent.extent == STOP_EXTENT_ANY) return;
    if (!has_word(at->above, at->above_len)) return;
    size_t indent = chars_blank_len(at->above, at->above_len);
    s->above = at->above + indent;
    s->above_len = chars_trimmed_len(s->above, at->above_len - indent);
}

void stop_init(struct stop *s, const struct stop_place *at)
{
    *s = (struct stop){.at = *at};
    buf_init(&s->text, TEXT_MAX);
    size_t rest = chars_line_len(at->suffix, at->suffix_len);
    s->rest = at->suffix;
    s->rest_len = chars_trimmed_len(at->suffix, rest);
    s->end = at->suffix + at->suffix_len;
    if (rest < at->suffix_len) s->below = written_line(s, at->suffix + rest + 1);
    stop_extent_init(&s->extent, extent_of(at), at->language, at->line_prefix, at->line_prefix_len, s->below,
                     s->below ? written_len(s, s->below) : 0);
    set_above(s);
    char quote = open_quote(at->line_prefix, at->line_prefix_len);
    /* An apostrophe in a comment opens nothing: only a quote that is closed after the cursor counts. */
    if (quote && s->rest_len > 0 && memchr(s->rest, quote, s->rest_len)) s->quote = quote;
}

void stop_clear(struct stop *s)
{
    buf_clear(&s->text);
}

/* ---- Cutting ---- */

static void stop_at(struct stop *s, enum stop_why why, size_t cut)
{
    s->why = why;
    s->cut = cut;
}

/* Whether c is the first bracket of the rest of the line, or a sign before it, with no word in between. */
static bool rest_closes_with(const struct stop *s, char c)
{
    for (size_t i = 0; i < s->rest_len && !chars_is_word(s->rest[i]); i++) {
        if (s->rest[i] == c) return true;
        if (chars_bracket(s->rest[i]) != 0) return false;
    }
    return false;
}

/* Brackets that are open at the end of text, not counting those that it closes for others. */
static int32_t open_brackets(const char *text, size_t len)
{
    int32_t open = 0;
    for (size_t i = 0; i < len; i++) {
        open += chars_bracket(text[i]);
        if (open < 0) open = 0;
    }
    return open;
}

/* Track strings and brackets; cut before a character that closes what the rest of the line closes. */
static void scan_char(struct stop *s, char c, size_t pos)
{
    bool was_escaped = s->is_escaped;
    s->is_escaped = c == '\\' && !was_escaped;
    if (was_escaped) return;
    if (s->quote) {
        if (c == s->quote) stop_at(s, STOP_SUFFIX, pos);
        return;
    }
    if (c == '"') s->is_quoted = !s->is_quoted;
    if (s->is_quoted) return;
    int32_t step = chars_bracket(c);
    if (step < 0 && s->depth <= 0 && rest_closes_with(s, c)) {
        stop_at(s, STOP_SUFFIX, pos);
        return;
    }
    s->depth += step;
}

/* Whether text[0..len) ends with the first n bytes of the rest of the line. What stays must not need the
 * brackets that would go. */
static bool ends_with_rest(const struct stop *s, size_t len, size_t n)
{
    if (n == 0 || n > len) return false;
    const char *text = s->text.data;
    size_t kept = len - n;
    if (memcmp(text + kept, s->rest, n) != 0) return false;
    return open_brackets(text, kept) == 0;
}

/* Length of the punctuation that the rest of the line starts with. Quotes open as often as they close, so
 * that nothing can be told from them. */
static size_t rest_punctuation(const struct stop *s)
{
    size_t n = 0;
    while (n < s->rest_len && ispunct((unsigned char)s->rest[n]) && !strchr("\"'`_", s->rest[n])) n++;
    return n;
}

static void check_rest(struct stop *s, struct stop_line line)
{
    size_t end = line.start + line.len, n = s->rest_len;
    if (!ends_with_rest(s, end, n)) n = rest_punctuation(s);
    if (ends_with_rest(s, end, n) && n <= line.len) stop_at(s, STOP_SUFFIX, end - n);
}

/* Whether a generated line is `expect`, a line of the document. The first one continues the cursor's. */
static bool is_same_line(const struct stop *s, struct stop_line line, const char *expect)
{
    size_t head = line.start == 0 ? s->at.line_prefix_len : 0;
    size_t len = written_len(s, expect);
    return len == head + line.len && memcmp(expect, s->at.line_prefix, head) == 0 &&
           memcmp(expect + head, s->text.data + line.start, line.len) == 0;
}

static bool has_closer(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (chars_bracket(text[i]) < 0) return true;
    }
    return false;
}

static bool ends_with_opener(const char *text, size_t len)
{
    return len > 0 && chars_bracket(text[len - 1]) > 0;
}

/* A line with a word in it repeats the suffix as soon as it is the same. A closing bracket does if it closes
 * a bracket of the document. Other punctuation, and a line that only begins something ("assert("), needs the
 * line after it as evidence. */
static void check_below(struct stop *s, struct stop_line line)
{
    bool is_first = line.start == 0;
    if (is_first && s->rest_len > 0) return;
    const char *expect = s->match ? s->match : s->below;
    bool is_same = expect && is_same_line(s, line, expect);
    if (!is_same && s->match) {
        s->match = NULL;
        expect = s->below;
        is_same = is_same_line(s, line, expect);
    }
    if (!is_same) return;
    size_t len = written_len(s, expect);
    if (!s->match) s->match_start = line.start;
    bool is_telling = has_word(expect, len) && (s->match || !ends_with_opener(expect, len));
    if (is_telling || s->depth < s->lowest)
        stop_at(s, STOP_SUFFIX, s->match_start);
    else
        s->match = has_closer(expect, len) ? NULL : line_after(s, expect);
}

static bool is_repeated(const struct stop *s, struct stop_line line, int32_t period)
{
    if (period > s->n_last) return false;
    struct stop_line earlier = s->last[period - 1];
    const char *text = s->text.data;
    return earlier.len == line.len && memcmp(text + earlier.start, text + line.start, line.len) == 0;
}

/* For each period p: `run[p]` lines in a row were the same as the ones p before. */
static void check_repetition(struct stop *s, struct stop_line line)
{
    for (int32_t p = 1; p <= STOP_MAX_PERIOD; p++) {
        if (!is_repeated(s, line, p)) {
            s->run[p] = 0;
            continue;
        }
        if (s->run[p]++ == 0) s->repeat_start[p] = line.start;
        if (s->run[p] >= p * (STOP_REPEATS - 1) && s->why == STOP_NOT) {
            stop_at(s, STOP_REPETITION, s->repeat_start[p]);
        }
    }
    memmove(s->last + 1, s->last, (STOP_MAX_PERIOD - 1) * sizeof *s->last);
    s->last[0] = line;
    if (s->n_last < STOP_MAX_PERIOD) s->n_last++;
}

static void check_above(struct stop *s, struct stop_line line)
{
    if (line.start > 0 || s->above_len == 0) return;
    const char *text = s->text.data;
    size_t head = chars_blank_len(text, line.len);
    if (line.len - head == s->above_len && memcmp(text + head, s->above, s->above_len) == 0)
        stop_at(s, STOP_REPETITION, 0);
}

/* A line from line_start to `end` is complete. */
static void end_line(struct stop *s, size_t end)
{
    struct stop_line line = {s->line_start,
                             chars_trimmed_len(s->text.data + s->line_start, end - s->line_start)};
    if (line.len > 0) {
        check_rest(s, line);
        if (!s->why) check_above(s, line);
        if (!s->why) check_below(s, line);
        if (!s->why) check_repetition(s, line);
    }
    if (s->depth < s->lowest) s->lowest = s->depth;
    s->is_quoted = false;
}

/* The end of the last line in text[0..len) that is not blank; len is the start of a line. */
static size_t written_end(const struct stop *s, size_t len)
{
    size_t written = chars_trimmed_len(s->text.data, len);
    return written + chars_line_len(s->text.data + written, len - written);
}

/* A character that is not blank was written at pos: is its line, if it begins there, indented enough? Blank
 * lines before it go with it. */
static void check_indent(struct stop *s, size_t pos)
{
    size_t start = s->line_start, indent = pos - start;
    if (start == 0 || chars_blank_len(s->text.data + start, indent) < indent) return;
    if (indent < (size_t)s->at.min_indent) stop_at(s, STOP_INDENT, written_end(s, start));
}

/* The text ends at `end`, or before the line that it is in. */
static void obey_extent(struct stop *s, enum stop_extent_verdict v, size_t end)
{
    static const enum stop_why whys[] = {
        [STOP_EXTENT_LINE] = STOP_LINE, [STOP_EXTENT_UNIT] = STOP_UNIT, [STOP_EXTENT_BLOCK] = STOP_BLOCK};
    if (v != STOP_EXTENT_ENDS_HERE && v != STOP_EXTENT_ENDS_BEFORE) return;
    if (v == STOP_EXTENT_ENDS_BEFORE) end = s->line_start;
    stop_at(s, whys[s->extent.extent], chars_trimmed_len(s->text.data, end));
}

/* The longest of the words that the text ends with, or null. */
static const struct stop_word *last_word(const struct stop *s, const struct stop_word *words, int32_t n)
{
    const struct stop_word *longest = NULL;
    for (int32_t i = 0; i < n; i++) {
        const struct stop_word *w = &words[i];
        if (w->len == 0 || w->len > s->text.len || (longest && w->len <= longest->len)) continue;
        if (memcmp(s->text.data + s->text.len - w->len, w->text, w->len) == 0) longest = w;
    }
    return longest;
}

/* Stop texts and marks; the first one to be complete counts. */
static void check_words(struct stop *s)
{
    const struct stop_word *word = last_word(s, s->at.words, s->at.n_words);
    const struct stop_word *mark = last_word(s, s->at.marks, s->at.n_marks);
    if (word) {
        s->word = (int32_t)(word - s->at.words);
        stop_at(s, STOP_WORD, s->text.len - word->len);
    } else if (mark) {
        stop_at(s, STOP_MARK, s->text.len - mark->len);
    }
}

/* Line ends are the caller's business, and no program text needs other control characters. */
static bool is_unwanted(char c)
{
    return ((unsigned char)c < 0x20 && !chars_is_blank(c)) || c == '\r' || c == 0x7f;
}

static void add_char(struct stop *s, const char *bytes, size_t n)
{
    char c = bytes[0];
    size_t pos = s->text.len;
    if (!s->at.is_raw && is_unwanted(c)) return;
    buf_add(&s->text, bytes, n);
    if (s->text.err) return;
    check_words(s);
    if (s->why) return;
    if (c == '\n') {
        if (!s->at.is_raw) end_line(s, pos);
        if (!s->why) obey_extent(s, stop_extent_char(&s->extent, c), pos);
        s->line_start = pos + 1;
        s->is_escaped = false;
        return;
    }
    if (!chars_is_blank(c)) check_indent(s, pos);
    if (!s->why && !s->at.is_raw) scan_char(s, c, pos);
    if (!s->why) obey_extent(s, stop_extent_char(&s->extent, c), pos);
}

/* ---- What is certain ---- */

/* From where the end of the text may turn out to repeat the rest of the line. */
static size_t undecided_rest(const struct stop *s)
{
    size_t len = chars_trimmed_len(s->text.data, s->text.len);
    if (len < s->line_start) return s->text.len;
    size_t longest = min_size(s->rest_len, len - s->line_start);
    for (size_t n = longest; n > 0; n--) {
        if (memcmp(s->text.data + len - n, s->rest, n) == 0) return len - n;
    }
    return s->text.len;
}

/* Whether text[start..len), a line that is being written, may become the same as `expect`. */
static bool may_become(const char *text, size_t len, const char *expect, size_t expect_len)
{
    size_t n = min_size(len, expect_len);
    return memcmp(text, expect, n) == 0 && chars_trimmed_len(text, len) <= expect_len;
}

static size_t undecided_below(const struct stop *s)
{
    size_t len = s->text.len, start = s->line_start;
    if (s->match) return s->match_start;
    const char *expect = s->below;
    if (!expect || (start == 0 && s->rest_len > 0)) return len;
    size_t head = start == 0 ? s->at.line_prefix_len : 0, expect_len = written_len(s, expect);
    if (head > expect_len || memcmp(expect, s->at.line_prefix, head) != 0) return len;
    return may_become(s->text.data + start, len - start, expect + head, expect_len - head) ? start : len;
}

static size_t undecided_repetition(const struct stop *s)
{
    size_t from = s->text.len;
    const char *text = s->text.data;
    for (int32_t p = 1; p <= STOP_MAX_PERIOD; p++) {
        if (s->run[p] > 0) from = min_size(from, s->repeat_start[p]);
    }
    for (int32_t i = 0; i < s->n_last; i++) {
        struct stop_line earlier = s->last[i];
        if (may_become(text + s->line_start, s->text.len - s->line_start, text + earlier.start,
                       earlier.len)) {
            from = min_size(from, s->line_start);
        }
    }
    return from;
}

/* White space at the end goes, unless text follows on the same line, where it may be wanted. A text of
 * nothing but white space is no suggestion. */
static size_t trim(const struct stop *s, size_t len)
{
    size_t content = chars_trimmed_len(s->text.data, len);
    return content == 0 || s->rest_len == 0 ? content : len;
}

static size_t undecided_above(const struct stop *s)
{
    size_t len = s->text.len;
    if (s->line_start > 0 || s->above_len == 0) return len;
    size_t head = chars_blank_len(s->text.data, len);
    return may_become(s->text.data + head, len - head, s->above, s->above_len) ? 0 : len;
}

/* How much of the end of the text may turn out to be the beginning of one of these. */
static size_t begun_len(const struct stop *s, const struct stop_word *words, int32_t n_words)
{
    size_t len = s->text.len, longest = 0;
    for (int32_t i = 0; i < n_words; i++) {
        const struct stop_word *w = &words[i];
        size_t n = w->len > len ? len : w->len > 0 ? w->len - 1 : 0;
        while (n > longest && memcmp(s->text.data + len - n, w->text, n) != 0) n--;
        if (n > longest) longest = n;
    }
    return longest;
}

static size_t undecided_word(const struct stop *s)
{
    size_t word = begun_len(s, s->at.words, s->at.n_words), mark = begun_len(s, s->at.marks, s->at.n_marks);
    return s->text.len - (word > mark ? word : mark);
}

/* A line that has only blanks so far may turn out to be indented too little. */
static size_t undecided_indent(const struct stop *s)
{
    size_t len = s->text.len, start = s->line_start;
    if (s->at.min_indent == 0 || start == 0) return len;
    return chars_blank_len(s->text.data + start, len - start) == len - start ? written_end(s, start) : len;
}

/* Where a stop text may have begun, the text may also end, and the last line's judgement would then be
 * another: nothing new is certain until that is decided. */
static size_t certain_len(const struct stop *s)
{
    size_t len = min_size(undecided_word(s), undecided_indent(s));
    if (s->at.is_raw) return len;
    if (undecided_word(s) < s->text.len) return s->certain;
    if (s->extent.is_undecided) len = min_size(len, s->line_start);
    len = min_size(len, undecided_rest(s));
    len = min_size(len, undecided_above(s));
    len = min_size(len, undecided_below(s));
    len = min_size(len, undecided_repetition(s));
    return chars_trimmed_len(s->text.data, len);
}

static void advance(struct stop *s, size_t certain)
{
    if (certain > s->certain) s->certain = certain;
}

bool stop_feed(struct stop *s, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && !s->why; i++) {
        s->partial[s->n_partial++] = bytes[i];
        /* Bytes that can start no character, or break one off, are dropped. */
        while (s->n_partial > 0 && utf8_complete_len(s->partial, s->n_partial) > 0) {
            int32_t code;
            size_t n = utf8_decode(s->partial, s->n_partial, &code);
            if (code >= 0) add_char(s, s->partial, n);
            s->n_partial -= n;
            memmove(s->partial, s->partial + n, s->n_partial);
        }
    }
    if (!s->why && s->text.len > 0) advance(s, certain_len(s));
    return s->why == STOP_NOT && !s->text.err;
}

bool stop_has_newline(const struct stop *s)
{
    return s->line_start > 0;
}

/* The last line, which no newline ended, is judged like the others. A stop text may have begun in an earlier
 * line, which is judged already. */
void stop_finish(struct stop *s)
{
    if (s->text.len == 0) return;
    size_t end = s->why ? s->cut : s->text.len;
    bool is_judged = (s->why && s->why != STOP_WORD && s->why != STOP_MARK) || end < s->line_start;
    if (!is_judged && !s->at.is_raw) {
        enum stop_why why = s->why;
        s->why = STOP_NOT;
        end_line(s, end);
        if (!s->why) obey_extent(s, stop_extent_finish(&s->extent), end);
        if (s->why) end = min_size(end, s->cut);
        if (why) s->why = why;
    }
    s->cut = end;
    advance(s, s->at.is_raw ? end : trim(s, end));
}
