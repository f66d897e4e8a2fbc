/* The outline of a text without a tree: by indentation and brackets.
 *
 * A line that ends in an opener, in ':' where blocks are indented, or in a keyword that opens blocks, and is
 * followed by deeper lines, begins a unit; the unit lasts as long as lines are deeper, and takes the line
 * that closes it. So do lines without an opener that such words begin ("def f", "CREATE TABLE t"). Its name
 * is the first word that is not a keyword, the one before "(" if there is one. Control flow is none. Values
 * that stand outside of everything are units too, and, where languages look like C, functions and types that
 * begin and end in one line, prototypes above all. A line whose parentheses close further down counts with
 * the lines up to there as one. */
#include "context/outline_make.h"

#include <ctype.h>
#include <string.h>

#define DEPTH_MAX      64 /* units within units */
#define TAB_WIDTH      8
#define JOIN_LINES_MAX 16 /* parameters of a function; more is a table, or a parenthesis in a pattern */

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
static const char *const function_words[] = {"def",  "fn",        "fun",   "func",      "function",
                                             "sub",  "proc",      "defp",  "defmacro",  "method",
                                             "task", "procedure", "macro", "subroutine"};
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

/* What may stand before a word and "(" without declaring it. */
static const char *const statement_words[] = {"new",    "throw", "delete", "echo",    "print", "goto",
                                              "assert", "raise", "super",  "typedef", "emit",  "typeof"};

static bool is_word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_among(struct words words, const char *text, size_t len)
{
    if (len == 0) return false;
    char first = (char)tolower((unsigned char)text[0]);
    for (size_t i = 0; i < words.n; i++) {
        if (words.items[i][0] != first) continue; /* most words differ here */
        size_t n = strlen(words.items[i]), k = 1;
        if (n != len) continue;
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

/* Past the string that begins at `at` and ends in this line; else past the quote, which may be an apostrophe.
 */
static size_t skip_quoted(const char *text, size_t at, size_t end)
{
    char quote = text[at++];
    for (size_t i = at; i < end; i++) {
        if (text[i] == quote) return i + 1;
        if (text[i] == '\\') i++;
    }
    return at;
}

/* How many more parentheses the line opens than it closes. */
static int count_open(const char *text, const struct line *line, const struct language *l)
{
    const char mark = l->line_comment ? l->line_comment[0] : '\0';
    int n = 0;
    for (size_t at = line->text; at < line->text_end;) {
        struct line rest = {.text = at, .text_end = line->text_end};
        char c = text[at];
        if (c == mark && starts_with(text, &rest, l->line_comment)) break;
        n += (c == '(') - (c == ')');
        bool is_quote = (c == '"' || c == '\'' || c == '`') && strchr(l->quotes, c);
        at = is_quote ? skip_quoted(text, at, line->text_end) : at + 1;
    }
    return n;
}

/* With the lines after it up to where its parentheses close. Alone, if they do not, or have a block inside.
 */
static struct line join_lines(const struct outline_maker *m, const struct line *first,
                              const struct language *l)
{
    struct line line = *first;
    int n = 0;
    for (int i = 0; i < JOIN_LINES_MAX; i++) {
        n += count_open(m->text, &line, l);
        if (n == 0) {
            struct line joined = *first;
            joined.text_end = line.text_end;
            joined.end = line.end;
            return joined;
        }
        bool opens_block = !is_empty(&line) && m->text[line.text_end - 1] == '{';
        if (n < 0 || opens_block || line.end == m->len) break;
        line = line_at(m->text, m->len, line.end);
    }
    return *first;
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
        bool is_called_so = h->is_defining && at + n < l->text_end && text[at + n] == '('; /* "def type(" */
        if ((is_type || is_block || is_function) && !is_called_so) {
            h->kind = is_type ? OUTLINE_TYPE : is_block ? OUTLINE_BLOCK : OUTLINE_FUNCTION;
            h->is_defining = true;
            has_name = false;
        } else if (is_called_so || !is_among(WORDS(other_words), word, n)) {
            h->name = at;
            h->name_len = n;
            has_name = true;
        }
        at += n;
    }
    return has_name;
}

/* Whether what stands before a function's name can be its type, and not a statement that calls it. */
static bool is_type(const char *text, size_t from, size_t name)
{
    for (size_t at = from; at < name; at++) {
        bool is_scope = text[at] == ':' && (text[at + 1] == ':' || text[at - 1] == ':');
        if (!is_scope && !is_word_char(text[at]) && !strchr(" \t\n\r*&<>,[]~@", text[at])) return false;
    }
    return name > from;
}

/* What was read as a type's name is that of what a function returns ("struct p *f(void);"): its own is right
 * before the parenthesis at `at`. */
static void name_function(const char *text, const struct line *l, size_t at, struct heading *h)
{
    size_t end = at;
    while (end > l->text && text[end - 1] == ' ') end--;
    h->name = end;
    while (h->name > l->text && is_word_char(text[h->name - 1])) h->name--;
    h->name_len = end - h->name;
    h->kind = OUTLINE_FUNCTION;
}

/* Reads a line as a declaration that ends in it, as in C: "int f(int a);", "struct p { int x, y; };". */
static bool read_declaration(const char *text, const struct line *l, struct heading *h)
{
    size_t n = word_len(text, l->text, l->text_end), end = l->text_end;
    if (n == 0 || !strchr(";}", text[end - 1])) return false;
    if (is_among(WORDS(statement_words), text + l->text, n) || !read_heading(text, l, h)) return false;
    size_t at = h->name + h->name_len;
    if (h->kind == OUTLINE_TYPE) {
        while (at < end && !strchr("{(=;", text[at])) at++;
        if (at == end || text[at] != '(') return at < end && text[at] == '{';
        name_function(text, l, at, h);
    }
    while (at < end && text[at] == ' ') at++;
    bool is_called = end - at > 1 && text[at] == '(' && text[at + 1] != '*';
    return h->kind == OUTLINE_FUNCTION && h->name_len > 0 && is_called && is_type(text, l->text, h->name);
}

/* Reads a line as what gives a name a value: "LIMIT = 3", "const char *name = f();". */
static bool read_value(const char *text, const struct line *l, struct heading *h)
{
    if (word_len(text, l->text, l->text_end) == 0 || !read_heading(text, l, h) || h->is_defining)
        return false;
    size_t at = h->name + h->name_len;
    while (at < l->text_end && text[at] == ' ') at++;
    if (l->text_end - at < 2 || text[at] != '=' || strchr("=>~", text[at + 1])) return false;
    h->kind = OUTLINE_VALUE;
    return h->name == l->text || is_type(text, l->text, h->name);
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
}

/* All open units reach as far as this line. */
static void take_line(struct reader *r, const struct line *line)
{
    for (int i = 0; i < r->depth; i++) r->stack[i].last_end = line->end;
}

static bool is_in_function(const struct reader *r)
{
    for (int i = 0; i < r->depth; i++) {
        int32_t unit = r->stack[i].unit;
        if (unit >= 0 && r->m->out->units[unit].kind == OUTLINE_FUNCTION) return true;
    }
    return false;
}

/* A unit of this line alone, as yet without a body. */
static struct outline_unit unit_of(const struct reader *r, const struct line *line, const struct heading *h)
{
    int32_t parent = -1;
    for (int i = 0; i < r->depth; i++) {
        if (r->stack[i].unit >= 0) parent = r->stack[i].unit;
    }
    return (struct outline_unit){.comment =
                                     (uint32_t)(r->comment_end == line->start ? r->comment : line->start),
                                 .start = (uint32_t)line->start,
                                 .end = (uint32_t)line->end,
                                 .name = (uint32_t)h->name,
                                 .name_len = (uint32_t)h->name_len,
                                 .parent = parent,
                                 .kind = h->kind};
}

static void add_declaration(struct reader *r, const struct line *line, const struct heading *h)
{
    const char *text = r->m->text;
    struct outline_unit u = unit_of(r, line, h);
    size_t end = line->text_end;
    while (end > line->text && text[end - 1] == ';') end--;
    const char *brace = text[end - 1] == '}' ? memchr(text + h->name, '{', end - h->name) : NULL;
    if (brace) {
        u.body = (uint32_t)(brace - text);
        u.body_end = (uint32_t)end;
    }
    outline_add(r->m, u);
}

static void open_unit(struct reader *r, const struct line *line, const struct heading *h, bool is_body_below)
{
    if (r->depth == DEPTH_MAX) return;
    size_t body = is_body_below ? line->end : line->text_end - 1;
    while (is_body_below && body < r->m->len && isspace((unsigned char)r->m->text[body])) body++;
    int32_t unit = outline_add(r->m, unit_of(r, line, h));
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

/* Languages that look like C: blocks in braces, statements that end with ';'. */
static bool is_c_like(const struct language *l)
{
    return l->line_comment && strcmp(l->line_comment, "//") == 0 && !l->is_indented;
}

static void read_code(struct reader *r, const struct line *line)
{
    const struct outline_maker *m = r->m;
    struct heading h;
    if (r->depth == 0 && read_import(r, line)) return;
    if (is_c_like(r->l) && !is_in_function(r) && read_declaration(m->text, line, &h)) {
        add_declaration(r, line, &h);
        return;
    }
    struct line next = next_line(m, line->end);
    bool is_deeper = !is_empty(&next) && next.indent > line->indent;
    bool is_opener = opens_block(m->text, line, r->l);
    bool is_brace_below = !is_empty(&next) && next.indent == line->indent && m->text[next.text] == '{' &&
                          next.text_end == next.text + 1;
    if (!is_deeper && !is_brace_below) {
        if (r->depth == 0 && line->indent == 0 && read_value(m->text, line, &h)) add_declaration(r, line, &h);
        return;
    }
    if (!read_heading(m->text, line, &h)) return;
    if (!h.is_defining && (is_in_function(r) || !(is_opener || is_brace_below))) return;
    open_unit(r, line, &h, !is_opener || m->text[line->text_end - 1] == ':');
}

/* Where the next one begins: it may go on in the lines after it. */
static size_t read_line(struct reader *r, struct line line)
{
    const char *text = r->m->text;
    close_above(r, &line);
    if (is_comment(text, &line, r->l)) {
        if (r->comment_end != line.start) r->comment = line.start;
        r->comment_end = line.end;
        take_line(r, &line);
        return line.end;
    }
    if (!is_in_function(r)) line = join_lines(r->m, &line, r->l);
    take_line(r, &line);
    read_code(r, &line);
    return line.end;
}

void outline_by_lines(struct outline_maker *m, const struct language *l)
{
    struct reader r = {.m = m, .l = l};
    if (l->is_prose) return;
    for (size_t at = 0; at < m->len && !m->err;) {
        struct line line = line_at(m->text, m->len, at);
        at = is_empty(&line) ? line.end : read_line(&r, line);
    }
    while (r.depth > 0) close_unit(&r, r.stack[r.depth - 1].last_end, r.stack[r.depth - 1].last_end);
}
