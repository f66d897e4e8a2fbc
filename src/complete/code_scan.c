/* Strings, comments and brackets as a state machine. */
#include "complete/code_scan.h"

#include <string.h>

#include "complete/chars.h"

void code_scan_init(struct code_scan *s, const struct language *language)
{
    *s = (struct code_scan){.language = language};
}

static bool is_named(const struct code_scan *s, const char *names)
{
    return s->language && chars_is_listed(names, s->language->name, strlen(s->language->name));
}

/* Languages whose strings may go over the end of a line, */
static const char multi_line[] = "elixir julia php ruby rust shellscript sql";
/* and those where three quotes open such a string. */
static const char triple_quoted[] = "csharp dart elixir groovy java julia kotlin python scala swift toml";

/* Put c in front of the others. */
static void remember(char *newest_first, char c)
{
    memmove(newest_first + 1, newest_first, CODE_SCAN_MARK_MAX);
    newest_first[0] = c;
}

/* Take the n newest away again. */
static void forget(char *newest_first, size_t n)
{
    size_t len = CODE_SCAN_MARK_MAX + 1;
    memmove(newest_first, newest_first + n, len - n);
    memset(newest_first + len - n, 0, n);
}

/* Whether the last characters are this mark. */
static bool ends_with(const struct code_scan *s, const char *mark)
{
    size_t len = mark ? strlen(mark) : 0;
    if (len == 0 || len > CODE_SCAN_MARK_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        if (s->recent[i] != mark[len - 1 - i]) return false;
    }
    /* In $#, ${#x} and x[#x] it is an operator. */
    return mark[0] != '#' || len > 1 || s->recent[1] == '\0' || chars_is_blank(s->recent[1]);
}

/* Whether a comment has just begun. Where both kinds begin alike ("--" and "--[["), the longer mark counts.
 */
static bool begins_comment(struct code_scan *s)
{
    const struct language *l = s->language;
    if (!l) return false;
    enum code_scan_comment comment = CODE_SCAN_CODE;
    const char *mark = NULL;
    if (ends_with(s, l->line_comment)) {
        mark = l->line_comment;
        comment = CODE_SCAN_LINE_COMMENT;
    } else if (ends_with(s, l->block_comment[0])) {
        mark = l->block_comment[0];
        comment = CODE_SCAN_BLOCK_COMMENT;
    }
    if (!mark) return false;
    s->comment = comment;
    forget(s->last, strlen(mark) - 1);
    if (comment == CODE_SCAN_BLOCK_COMMENT) memset(s->recent, 0, sizeof s->recent);
    return true;
}

static void scan_comment(struct code_scan *s)
{
    const struct language *l = s->language;
    const char *open = l->block_comment[0];
    if (s->comment == CODE_SCAN_BLOCK_COMMENT) {
        if (ends_with(s, l->block_comment[1])) s->comment = CODE_SCAN_CODE;
    } else if (open && strncmp(open, l->line_comment, strlen(l->line_comment)) == 0 && ends_with(s, open)) {
        s->comment = CODE_SCAN_BLOCK_COMMENT;
    }
}

static void scan_string(struct code_scan *s, char c)
{
    bool was_escaped = s->is_escaped;
    bool has_escapes = s->quote != '\'' || !is_named(s, "shellscript");
    s->is_escaped = c == '\\' && !was_escaped && has_escapes;
    s->n_quotes = c == s->quote && !was_escaped ? s->n_quotes + 1 : 0;
    if (s->n_quotes < (s->is_triple ? 3 : 1)) return;
    /* An empty string may be the beginning of three quotes. */
    bool is_empty = !s->is_triple && s->recent[1] == c && s->recent[2] != '\\';
    s->n_quotes = is_empty ? 2 : 0;
    s->quote = 0;
    s->is_triple = false;
}

/* Not one that is escaped, nor in Rust that of the character '"'. */
static bool is_quote(const struct code_scan *s, char c)
{
    if (s->recent[1] == '\\' || (s->recent[1] == '\'' && is_named(s, "rust"))) return false;
    const char *quotes = s->language && s->language->quotes ? s->language->quotes : "\"";
    return c && strchr(quotes, c);
}

static void scan_code(struct code_scan *s, char c)
{
    if (!chars_is_blank(c)) remember(s->last, c);
    if (begins_comment(s)) return;
    if (is_quote(s, c)) {
        s->is_triple = s->n_quotes == 2 && s->recent[1] == c && is_named(s, triple_quoted);
        s->quote = c;
        s->n_quotes = 0;
        s->is_escaped = false;
        return;
    }
    s->n_quotes = 0;
    /* The shell's case patterns end in a bracket that nothing opened. */
    if (c == '(') s->n_parens++;
    if (c == ')' && s->n_parens == 0 && is_named(s, "shellscript")) return;
    if (c == ')' && s->n_parens > 0) s->n_parens--;
    s->depth += chars_bracket(c);
}

bool code_scan_is_text(const struct code_scan *s)
{
    if (s->comment) return s->comment == CODE_SCAN_BLOCK_COMMENT;
    return s->is_triple || s->quote == '`' || (s->quote && is_named(s, multi_line));
}

/* What may not go on ends, also where it was never meant to begin. */
static void scan_newline(struct code_scan *s)
{
    if (s->comment == CODE_SCAN_LINE_COMMENT) s->comment = CODE_SCAN_CODE;
    if (!code_scan_is_text(s)) s->quote = 0;
    s->n_quotes = 0;
    s->is_escaped = false;
}

void code_scan_char(struct code_scan *s, char c)
{
    remember(s->recent, c);
    if (c == '\n')
        scan_newline(s);
    else if (s->comment)
        scan_comment(s);
    else if (s->quote) {
        bool is_end = c == s->quote;
        scan_string(s, c);
        if (is_end) remember(s->last, c);
    } else
        scan_code(s, c);
}
