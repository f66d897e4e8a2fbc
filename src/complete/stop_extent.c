/* The end of a line, a statement or a block.
 *
 * One mechanism serves statements and blocks: `least`, the indentation that lines inside have at least. A
 * line that has less ends the text, unless it begins with what belongs to the lines before it: a closing
 * bracket, "else", "end". Each line is judged at its first character that is not blank (begin_line), or once
 * its first word is complete where that matters (judge_word), and at its end (end_line), where a complete
 * statement needs no look at the next line. */
#include "complete/stop_extent.h"

#include <string.h>

#include "complete/chars.h"

/* Statements with these words at their head are parts of a function; others with a body are definitions, or
 * something as long. */
static const char control_words[] =
    "begin case catch do elif else elseif elsif except finally for foreach if "
    "lock loop match repeat select switch synchronized try unless unsafe "
    "until using when while with";

/* The cursor's line before the cursor. */
static void scan_line(struct stop_extent_rule *r, const char *line, size_t len)
{
    bool has_words = false;
    code_scan_init(&r->code, r->language);
    for (size_t i = 0; i < len; i++) {
        if (chars_is_word(line[i])) has_words = true;
        code_scan_char(&r->code, line[i]);
        if (r->code.depth >= 0) continue;
        r->code.depth = 0;
        if (has_words) r->is_last_line = true;
    }
    r->outer = r->code.depth;
    if (r->is_last_line) r->has_least = false;
}

void stop_extent_init(struct stop_extent_rule *r, enum stop_extent extent, const struct language *language,
                      const char *line, size_t line_len, const char *below, size_t below_len)
{
    size_t indent = chars_indent(line, line_len);
    bool is_empty = chars_blank_len(line, line_len) == line_len;
    *r = (struct stop_extent_rule){.extent = extent,
                                   .language = language,
                                   .words = block_words_of(language),
                                   .is_block = is_empty && extent == STOP_EXTENT_BLOCK,
                                   .has_below = below != NULL,
                                   .has_least = !is_empty,
                                   .least = indent + 1,
                                   .indent = indent,
                                   .is_head = is_empty,
                                   .is_base = !is_empty};
    scan_line(r, line, line_len);
    if (!below) return;
    size_t blank = chars_blank_len(below, below_len), n = 0;
    while (blank + n < below_len && chars_is_word(below[blank + n])) n++;
    r->below_indent = chars_indent(below, below_len);
    r->below_closes = (blank < below_len && chars_bracket(below[blank]) < 0) ||
                      chars_is_listed(r->words->closers, below + blank, n) ||
                      chars_is_listed(r->words->joins, below + blank, n);
}

/* Whether the document has the line that closes a block at this line's indentation: right after the cursor,
 * or behind more of that block. */
static bool is_closed_below(const struct stop_extent_rule *r)
{
    if (!r->has_below || r->below_indent < r->indent) return false;
    return r->below_indent > r->indent || r->below_closes;
}

/* Whether lines end statements, also where the next one is indented more. */
static bool ends_at_lines(const struct stop_extent_rule *r)
{
    return r->language && r->language->is_indented;
}

/* Whether lines that are indented more are a block without any brackets around. */
static bool has_plain_blocks(const struct stop_extent_rule *r)
{
    return ends_at_lines(r) || r->words->closers[0];
}

/* Whether what was written up to the end of the line needs no look at the next line. */
static bool is_complete(const struct stop_extent_rule *r)
{
    char last = r->code.last[0];
    if (last == ';' || (last == '}' && !r->is_allman)) return true;
    return ends_at_lines(r) &&
           (chars_is_word(last) || chars_bracket(last) < 0 || last == '"' || last == '\'');
}

/* Whether the next line goes on with this one whatever its indentation is. */
static bool is_joined(const struct stop_extent_rule *r)
{
    const char *last = r->code.last;
    return last[0] == '\\' || (last[0] == last[1] && (last[0] == '&' || last[0] == '|'));
}

/* ---- The head of a line ---- */

static void word_add(struct stop_extent_word *w, char c)
{
    if (w->len < STOP_EXTENT_WORD_MAX) w->text[w->len] = c;
    w->len++;
    w->is_open = w->len <= STOP_EXTENT_WORD_MAX;
}

static void word_begin(struct stop_extent_word *w, char c)
{
    *w = (struct stop_extent_word){0};
    if (chars_is_word(c)) word_add(w, c);
}

static bool word_is(const struct stop_extent_word *w, const char *list)
{
    return w->len <= STOP_EXTENT_WORD_MAX && chars_is_listed(list, w->text, w->len);
}

static bool word_begins(const struct stop_extent_word *w, const char *list)
{
    return w->len <= STOP_EXTENT_WORD_MAX && chars_begins_listed(list, w->text, w->len);
}

/* A statement of the block begins. */
static void begin_statement(struct stop_extent_rule *r, char c)
{
    word_begin(&r->word, c);
    r->has_body = false;
    r->is_allman = false;
}

/* Whether the block has said enough: after a definition and a blank line comes another one. */
static bool is_definition_over(const struct stop_extent_rule *r)
{
    return r->n_blank > 0 && r->has_body && r->word.len > 0 && !word_is(&r->word, control_words);
}

/* Whether the word may become one that goes on with the lines before it. */
static bool may_belong(const struct stop_extent_rule *r)
{
    const struct stop_extent_word *w = &r->word;
    return w->is_open && (word_begins(w, r->words->closers) || word_begins(w, r->words->joins));
}

/* Whether a line at the statement's own indentation goes on with it by its first character: the braces of its
 * block, or what no statement begins with. */
static bool goes_on_with(const struct stop_extent_rule *r, char c)
{
    if (is_complete(r) || has_plain_blocks(r)) return false;
    return c && strchr("{.>?:|", c);
}

/* The line is indented less than what is inside, and no brackets are open. */
static enum stop_extent_verdict begin_outside(struct stop_extent_rule *r, char c)
{
    bool is_base = !r->is_block && r->indent + 1 == r->least;
    if (is_base && r->n_blank == 0 && goes_on_with(r, c)) {
        r->is_base = true;
        r->is_allman = c == '{';
        return STOP_EXTENT_GOES_ON;
    }
    /* Lines for the preprocessor are not indented with the block that they are in. */
    bool has_preprocessor = r->language && r->language->line_comment && r->language->line_comment[0] == '/';
    if (r->is_block && c == '#' && has_preprocessor) return STOP_EXTENT_GOES_ON;
    word_begin(&r->word, c);
    bool has_words = is_base || (r->is_block && r->words->closers[0]);
    if (!has_words || !may_belong(r)) return STOP_EXTENT_ENDS_BEFORE;
    r->is_undecided = true;
    return STOP_EXTENT_UNDECIDED;
}

/* The word at the head of an undecided line is complete; c comes behind it. */
static enum stop_extent_verdict judge_word(struct stop_extent_rule *r, char c)
{
    r->is_undecided = false;
    r->word.is_open = false;
    bool is_name = c == '=' || c == ':'; /* that something is given to; but "else:" */
    bool is_closer = word_is(&r->word, r->words->closers) && !is_name;
    bool is_join = word_is(&r->word, r->words->joins) && c != '=';
    if ((!is_closer && !is_join) || (r->words->closers[0] && is_closed_below(r)))
        return STOP_EXTENT_ENDS_BEFORE;
    r->is_base = true;
    r->is_closing = is_closer;
    return STOP_EXTENT_GOES_ON;
}

/* A bracket that the text did not open is closed at the head of a line. */
static enum stop_extent_verdict begin_closing(struct stop_extent_rule *r)
{
    bool is_ours = r->is_block || r->code.depth > 0; /* one of the block, or of the cursor's line */
    if (!is_ours || is_closed_below(r)) return STOP_EXTENT_ENDS_BEFORE;
    r->is_base = true;
    r->is_closing = r->is_block;
    return STOP_EXTENT_GOES_ON;
}

/* The first line that tells about indentation begins: the block's, or the statement's own. */
static void find_least(struct stop_extent_rule *r, char c)
{
    r->has_least = true;
    if (!r->is_last_line) {
        r->least = r->indent + !r->is_block;
        r->is_base = true;
        begin_statement(r, c);
    } else if (r->code.depth > 0 || (ends_at_lines(r) && r->code.last[0] == ':')) {
        r->least = r->indent;
        r->is_base = false;
    }
}

/* c is the first character of the line that is not blank. */
static enum stop_extent_verdict begin_line(struct stop_extent_rule *r, char c)
{
    if (code_scan_is_text(&r->code)) return STOP_EXTENT_GOES_ON;
    if (!r->has_least) find_least(r, c);
    bool is_closer = chars_bracket(c) < 0;
    if (is_closer && r->code.depth <= r->outer) return begin_closing(r);
    if (r->code.depth > 0) {
        bool is_lost = r->indent + !r->is_block < r->least && chars_is_word(c);
        return is_lost ? STOP_EXTENT_ENDS_BEFORE : STOP_EXTENT_GOES_ON;
    }
    if (is_joined(r) && r->is_written) return STOP_EXTENT_GOES_ON;
    if (r->indent < r->least && !(r->is_base && !r->is_written)) return begin_outside(r, c);
    bool is_same = r->is_written && r->n_blank == 0 && goes_on_with(r, c);
    if (r->is_block && r->indent == r->least && !is_same) {
        if (is_definition_over(r)) return STOP_EXTENT_ENDS_BEFORE;
        begin_statement(r, c);
    } else if (r->is_written && !is_same) {
        if (has_plain_blocks(r)) r->has_body = true;
        r->is_base = false;
    }
    return STOP_EXTENT_GOES_ON;
}

/* ---- The end of a line ---- */

static enum stop_extent_verdict end_line(struct stop_extent_rule *r)
{
    r->is_written = true;
    if (code_scan_is_text(&r->code)) return STOP_EXTENT_GOES_ON;
    if (r->is_block) {
        bool is_over = r->is_closing && (r->code.depth < 0 || r->words->closers[0]);
        if (is_over) return STOP_EXTENT_ENDS_HERE;
    } else if (r->code.depth <= 0 && r->is_base && (r->is_closing || is_complete(r))) {
        return STOP_EXTENT_ENDS_HERE;
    }
    if (r->code.depth > 0 && r->code.last[0] == '{') r->has_body = true;
    if (r->code.depth < 0) r->code.depth = 0;
    return STOP_EXTENT_GOES_ON;
}

/* Two blank lines stand between definitions, not inside them. */
static enum stop_extent_verdict end_blank_line(struct stop_extent_rule *r)
{
    r->n_blank++;
    bool is_over = r->n_blank > 1 && r->is_written && r->code.depth <= 0 && !code_scan_is_text(&r->code);
    return is_over ? STOP_EXTENT_ENDS_BEFORE : STOP_EXTENT_GOES_ON;
}

static enum stop_extent_verdict take_newline(struct stop_extent_rule *r)
{
    enum stop_extent_verdict v = r->is_undecided ? judge_word(r, '\n') : STOP_EXTENT_GOES_ON;
    if (v != STOP_EXTENT_GOES_ON) return v;
    v = r->is_head ? end_blank_line(r) : end_line(r);
    if (!r->is_head) r->n_blank = 0;
    code_scan_char(&r->code, '\n');
    r->is_head = true;
    r->is_closing = r->word.is_open = false;
    r->indent = 0;
    return v;
}

/* Any other character. */
static enum stop_extent_verdict take_char(struct stop_extent_rule *r, char c)
{
    if (r->is_head && chars_is_blank(c)) {
        r->indent = chars_blank_column(r->indent, c);
        return STOP_EXTENT_GOES_ON;
    }
    if (r->is_head) {
        r->is_head = false;
        return begin_line(r, c);
    }
    if (!r->word.is_open) return STOP_EXTENT_GOES_ON;
    if (chars_is_word(c)) {
        word_add(&r->word, c);
        if (!r->is_undecided) return STOP_EXTENT_GOES_ON;
        return may_belong(r) ? STOP_EXTENT_UNDECIDED : judge_word(r, c);
    }
    r->word.is_open = false;
    return r->is_undecided ? judge_word(r, c) : STOP_EXTENT_GOES_ON;
}

enum stop_extent_verdict stop_extent_char(struct stop_extent_rule *r, char c)
{
    if (r->extent == STOP_EXTENT_ANY) return STOP_EXTENT_GOES_ON;
    if (r->extent == STOP_EXTENT_LINE) return c == '\n' ? STOP_EXTENT_ENDS_HERE : STOP_EXTENT_GOES_ON;
    if (c == '\n') return take_newline(r);
    enum stop_extent_verdict v = take_char(r, c);
    code_scan_char(&r->code, c);
    if (r->outer > 0 && r->code.depth < r->outer) r->outer = r->code.depth;
    return v;
}

enum stop_extent_verdict stop_extent_finish(struct stop_extent_rule *r)
{
    return r->is_undecided ? judge_word(r, '\n') : STOP_EXTENT_GOES_ON;
}
