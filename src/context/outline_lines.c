/* The outline of a text without a tree: by indentation and brackets.
 *
 * A line that ends in an opener, in ':' where blocks are indented, or in a keyword that opens blocks, and is
 * followed by deeper lines, begins a unit; the unit lasts as long as lines are deeper, and takes the line
 * that closes it. So do lines without an opener that such words begin ("def f", "CREATE TABLE t"). Its name
 * is the first word that is not a keyword, the one before "(" if there is one. Control flow is none. */
#include "context/outline_make.h"

#include <ctype.h>
#include <string.h>

#define DEPTH_MAX 64 /* units within units */
#define TAB_WIDTH 8

struct line {
    size_t start, text, text_end, end; /* text: without indentation and trailing space; end: with the break */
    int32_t indent;
};

struct words {
    const char *const *items;
    size_t n;
};
#define WORDS(list) ((struct words){list, sizeof list / sizeof list[0]})

static const char *const import_words[] = {
    "import",  "use",   "require",  "include",      "using",       "from",    "source",           "open",
    "load",    "alias", "export",   "mod",          "uses",        "library", "require_relative", "#include",
    "@import", "@use",  "-include", "include_once", "require_once"};
/* Words that define, and the kind they define. */
static const char *const type_words[] = {"class",  "struct",   "interface", "trait",  "enum",  "record",
                                         "object", "protocol", "type",      "data",   "union", "message",
                                         "actor",  "contract", "entity",    "newtype"};
static const char *const block_words[] = {"module",  "namespace", "package", "defmodule", "impl",
                                          "library", "extension", "section", "service",   "instance"};
static const char *const function_words[] = {
    "def",      "fn",     "fun",  "func",      "function", "sub",        "proc", "defp",
    "defmacro", "method", "task", "procedure", "macro",    "subroutine", "init", "constructor"};
static const char *const flow_words[] = {
    "if",   "else",  "elsif",        "elif",  "for",    "foreach", "while",  "do",      "switch",  "match",
    "case", "when",  "unless",       "until", "try",    "catch",   "rescue", "ensure",  "finally", "except",
    "with", "begin", "return",       "loop",  "select", "repeat",  "defer",  "guard",   "then",    "in",
    "let",  "where", "synchronized", "lock",  "using",  "end",     "elseif", "default", "yield",   "await"};
/* Words in front of what they qualify. */
static const char *const other_words[] = {
    "public",   "private",  "protected", "internal", "static",      "final",     "abstract",
    "override", "async",    "export",    "default",  "const",       "open",      "sealed",
    "partial",  "virtual",  "inline",    "extern",   "unsafe",      "readonly",  "suspend",
    "pub",      "local",    "var",       "val",      "let",         "void",      "create",
    "or",       "replace",  "table",     "view",     "lazy",        "implicit",  "case",
    "data",     "mutating", "required",  "operator", "fileprivate", "companion", "resource",
    "provider", "variable", "output",    "rec",      "my",          "our",       "self"};

static bool is_word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_among(struct words words, const char *text, size_t len)
{
    for (size_t i = 0; i < words.n; i++) {
        size_t n = strlen(words.items[i]);
        if (n != len) continue;
        size_t k = 0;
        while (k < n && tolower((unsigned char)text[k]) == words.items[i][k]) k++;
        if (k == n) return true;
    }
    return false;
}

/* The line that begins at `at`. */
static struct line line_at(const char *text, size_t len, size_t at)
{
    struct line l = {.start = at, .end = outline_line_end(text, len, at + 1)};
    while (at < l.end && (text[at] == ' ' || text[at] == '\t')) {
        l.indent = text[at] == '\t' ? (l.indent / TAB_WIDTH + 1) * TAB_WIDTH : l.indent + 1;
        at++;
    }
    l.text = at;
    l.text_end = l.end;
    while (l.text_end > l.text && isspace((unsigned char)text[l.text_end - 1])) l.text_end--;
    return l;
}

static bool is_empty(const struct line *l)
{
    return l->text == l->text_end;
}

static bool starts_with(const char *text, const struct line *l, const char *word)
{
    size_t n = word ? strlen(word) : 0;
    return n > 0 && l->text_end - l->text >= n && memcmp(text + l->text, word, n) == 0;
}

static bool is_comment(const char *text, const struct line *line, const struct language *l)
{
    return starts_with(text, line, l->line_comment) || starts_with(text, line, l->block_comment[0]) ||
           (l->block_comment[0] && starts_with(text, line, "*"));
}

/* The length of the word at `at`, with a mark in front of it as some import words have. */
static size_t word_len(const char *text, size_t at, size_t end)
{
    size_t n = at < end && strchr("#@-", text[at]) ? 1 : 0;
    while (at + n < end && is_word_char(text[at + n])) n++;
    return n;
}

/* --- What a line defines ----------------------------------------------------------------------------- */

struct heading {
    enum outline_kind kind;
    bool is_defining; /* by a word that defines, not only by its bracket */
    size_t name, name_len;
};

/* Reads a line as the head of a unit. False: it is control flow, or names nothing. */
static bool read_heading(const char *text, const struct line *l, struct heading *h)
{
    *h = (struct heading){.kind = OUTLINE_BLOCK};
    bool has_name = false;
    for (size_t at = l->text; at < l->text_end;) {
        char c = text[at];
        if (c == '=' || (has_name && h->is_defining)) break;
        if (c == '(') {
            if (has_name && !h->is_defining) h->kind = OUTLINE_FUNCTION;
            break;
        }
        if (!is_word_char(c) || isdigit((unsigned char)c)) {
            if (c == '{' || c == '}') break;
            at++;
            continue;
        }
        size_t n = word_len(text, at, l->text_end);
        const char *word = text + at;
        if (at == l->text && is_among(WORDS(flow_words), word, n)) return false;
        bool is_type = is_among(WORDS(type_words), word, n), is_block = is_among(WORDS(block_words), word, n);
        bool is_function = is_among(WORDS(function_words), word, n);
        if (is_type || is_block || is_function) {
            h->kind = is_type ? OUTLINE_TYPE : is_block ? OUTLINE_BLOCK : OUTLINE_FUNCTION;
            h->is_defining = true;
            has_name = false;
        } else if (!is_among(WORDS(other_words), word, n)) {
            h->name = at;
            h->name_len = n;
            has_name = true;
        }
        at += n;
    }
    return has_name;
}

/* Whether deeper lines after it are its body, whatever words it is made of. */
static bool opens_block(const char *text, const struct line *l, const struct language *lang)
{
    if (is_empty(l)) return false;
    char last = text[l->text_end - 1];
    if (last == '{' || last == '[') return true;
    if (last == '(') return false; /* an argument list over lines */
    return last == ':' && (lang->is_indented || lang->is_prose);
}

/* --- Units ------------------------------------------------------------------------------------------- */

/* Units whose lines still come. */
struct open_unit {
    int32_t unit, indent;
    size_t last_end; /* of the last line that is in it */
};

struct reader {
    struct outline_maker *m;
    const struct language *l;
    struct open_unit stack[DEPTH_MAX];
    int depth;
    size_t comment, comment_end; /* lines of comment right above; comment_end 0: none */
};

/* The last open unit ends at `end`; the line from `closer` on only closes it. */
static void close_unit(struct reader *r, size_t closer, size_t end)
{
    struct open_unit *open = &r->stack[--r->depth];
    if (open->unit < 0) return;
    struct outline_unit *u = &r->m->out->units[open->unit];
    bool has_bracket = strchr("{[", r->m->text[u->body]) != NULL;
    u->end = (uint32_t)end;
    u->body_end = (uint32_t)(has_bracket ? end : closer);
    while (u->body_end > u->body && isspace((unsigned char)r->m->text[u->body_end - 1])) u->body_end--;
    if (u->body_end <= u->body) u->body = u->body_end = u->end;
}

/* Ends the units that this line is not in. A line at a unit's own depth that closes it is its last. */
static void close_above(struct reader *r, const struct line *line)
{
    const char *text = r->m->text;
    while (r->depth > 0) {
        struct open_unit *open = &r->stack[r->depth - 1];
        if (line->indent > open->indent) break;
        bool closes = line->indent == open->indent &&
                      (strchr("})]", text[line->text]) ||
                       (line->text_end - line->text == 3 && memcmp(text + line->text, "end", 3) == 0));
        bool is_brace_below =
            line->indent == open->indent && text[line->text] == '{' && open->last_end == line->start;
        if (is_brace_below) break;
        close_unit(r, closes ? line->start : open->last_end, closes ? line->end : open->last_end);
        if (closes) break;
    }
    for (int i = 0; i < r->depth; i++) {
        r->stack[i].last_end = line->end;
    }
}

static bool is_in_function(const struct reader *r)
{
    for (int i = 0; i < r->depth; i++) {
        int32_t unit = r->stack[i].unit;
        if (unit >= 0 && r->m->out->units[unit].kind == OUTLINE_FUNCTION) return true;
    }
    return false;
}

static void open_unit(struct reader *r, const struct line *line, const struct heading *h, bool is_body_below)
{
    if (r->depth == DEPTH_MAX) return;
    int32_t parent = -1;
    for (int i = 0; i < r->depth; i++) {
        if (r->stack[i].unit >= 0) parent = r->stack[i].unit;
    }
    size_t body = is_body_below ? line->end : line->text_end - 1;
    while (is_body_below && body < r->m->len && isspace((unsigned char)r->m->text[body])) body++;
    struct outline_unit u = {.comment = (uint32_t)(r->comment_end == line->start ? r->comment : line->start),
                             .start = (uint32_t)line->start,
                             .end = (uint32_t)line->end,
                             .name = (uint32_t)h->name,
                             .name_len = (uint32_t)h->name_len,
                             .parent = parent,
                             .kind = h->kind};
    int32_t unit = outline_add(r->m, u);
    if (unit >= 0) r->m->out->units[unit].body = (uint32_t)body; /* it ends when the unit does */
    r->stack[r->depth++] = (struct open_unit){unit, line->indent, line->end};
}

/* The next line that is not empty; one without text at the end of it all. */
static struct line next_line(const struct outline_maker *m, size_t at)
{
    struct line l = {.start = m->len, .text = m->len, .text_end = m->len, .end = m->len};
    while (at < m->len) {
        l = line_at(m->text, m->len, at);
        if (!is_empty(&l)) break;
        at = l.end;
    }
    return l;
}

static bool read_import(struct reader *r, const struct line *line)
{
    const char *text = r->m->text;
    size_t n = word_len(text, line->text, line->text_end), at = line->text + n;
    if (!is_among(WORDS(import_words), text + line->text, n)) return false;
    while (at < line->text_end && strchr(" \t(\"'<", text[at])) at++;
    size_t end = at;
    while (end < line->text_end && !strchr(" \t;,\"'>(){}", text[end])) end++;
    if (end == at || text[line->text_end - 1] == '{') return false;
    outline_add_import(r->m, line->start, line->end, at, end);
    return true;
}

static void read_line(struct reader *r, const struct line *line)
{
    const struct outline_maker *m = r->m;
    close_above(r, line);
    if (is_comment(m->text, line, r->l)) {
        if (r->comment_end != line->start) r->comment = line->start;
        r->comment_end = line->end;
        return;
    }
    if (r->depth == 0 && read_import(r, line)) return;
    struct heading h;
    struct line next = next_line(m, line->end);
    bool is_deeper = !is_empty(&next) && next.indent > line->indent;
    bool is_opener = opens_block(m->text, line, r->l);
    bool is_brace_below = !is_empty(&next) && next.indent == line->indent && m->text[next.text] == '{' &&
                          next.text_end == next.text + 1;
    if (!(is_deeper || is_brace_below) || !read_heading(m->text, line, &h)) return;
    if (!h.is_defining && (is_in_function(r) || !(is_opener || is_brace_below))) return;
    open_unit(r, line, &h, !is_opener || m->text[line->text_end - 1] == ':');
}

void outline_by_lines(struct outline_maker *m, const struct language *l)
{
    struct reader r = {.m = m, .l = l};
    if (l->is_prose) return;
    for (size_t at = 0; at < m->len && !m->err;) {
        struct line line = line_at(m->text, m->len, at);
        if (!is_empty(&line)) read_line(&r, &line);
        at = line.end;
    }
    while (r.depth > 0) close_unit(&r, r.stack[r.depth - 1].last_end, r.stack[r.depth - 1].last_end);
}
