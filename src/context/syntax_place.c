/* Whether a place in a text is code, comment or string.
 *
 * The tree knows, wherever the text around the place is whole. While something is being typed it is not: then
 * the tree still tells what the line begins in, and the line itself is read for quotes and comment marks.
 * Without a tree so are the lines before, from SCAN_BYTES_MAX back, where code is assumed. */
#include "context/syntax.h"

#include <string.h>

#define SCAN_BYTES_MAX 16384 /* read in some tens of microseconds; longer comments and strings are rare */

/* --- By quotes and comment marks --------------------------------------------------------------------- */

struct scan {
    enum syntax_place inside;
    char quote;      /* of the string */
    bool is_triple;  /* three quotes close it */
    bool ends_at_nl; /* the comment or string does not go on in the next line */
};

static bool stands_at(const char *text, size_t at, size_t end, const char *word)
{
    size_t n = word ? strlen(word) : 0;
    return n > 0 && end - at >= n && memcmp(text + at, word, n) == 0;
}

/* Begins a string or a comment at `at`, if one begins there; the bytes that open it, or 0. */
static size_t scan_open(struct scan *s, const struct language *l, const char *text, size_t at, size_t end)
{
    /* First the block mark: where both begin alike, it is the longer one ("--", "--[["). */
    if (stands_at(text, at, end, l->block_comment[0])) {
        *s = (struct scan){.inside = SYNTAX_COMMENT};
        return strlen(l->block_comment[0]);
    }
    if (stands_at(text, at, end, l->line_comment)) {
        *s = (struct scan){.inside = SYNTAX_COMMENT, .ends_at_nl = true};
        return strlen(l->line_comment);
    }
    char c = text[at];
    if (!c || !strchr(l->quotes, c)) return 0;
    bool is_triple = end - at >= 3 && text[at + 1] == c && text[at + 2] == c;
    *s = (struct scan){.inside = SYNTAX_STRING, .quote = c, .is_triple = is_triple};
    s->ends_at_nl = !is_triple && c != '`';
    return is_triple ? 3 : 1;
}

/* The bytes that close what the place is in, or 0. */
static size_t scan_close(const struct scan *s, const struct language *l, const char *text, size_t at,
                         size_t end)
{
    if (s->ends_at_nl && text[at] == '\n') return 1;
    if (s->inside == SYNTAX_COMMENT)
        return !s->ends_at_nl && stands_at(text, at, end, l->block_comment[1]) ? strlen(l->block_comment[1])
                                                                               : 0;
    if (text[at] != s->quote) return 0;
    if (!s->is_triple) return 1;
    return end - at >= 3 && text[at + 1] == s->quote && text[at + 2] == s->quote ? 3 : 0;
}

/* The bytes that may begin a string or a comment: all others of code are passed over. */
static void mark_openings(const struct language *l, bool opens[256])
{
    memset(opens, 0, 256 * sizeof *opens);
    for (const char *c = l->quotes; *c; c++) opens[(unsigned char)*c] = true;
    if (l->block_comment[0]) opens[(unsigned char)l->block_comment[0][0]] = true;
    if (l->line_comment) opens[(unsigned char)l->line_comment[0]] = true;
}

/* What the bytes from..at lead into, if `from` is in code. */
static enum syntax_place scan_place(const struct language *l, const char *text, size_t from, size_t at)
{
    bool opens[256];
    struct scan s = {0};
    mark_openings(l, opens);
    for (size_t i = from, n; i < at; i += n) {
        n = 1;
        if (s.inside == SYNTAX_CODE) {
            if (opens[(unsigned char)text[i]]) n = scan_open(&s, l, text, i, at);
        } else if (s.inside == SYNTAX_STRING && text[i] == '\\') {
            n = 2;
        } else {
            n = scan_close(&s, l, text, i, at);
            if (n > 0) s = (struct scan){0};
        }
        if (n == 0) n = 1;
    }
    return s.inside;
}

static size_t line_start(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n') at--;
    return at;
}

/* --- By the tree ------------------------------------------------------------------------------------- */

#ifdef INLINE_HAVE_GRAMMARS

#include <tree_sitter/api.h>

/* What the nodes around a place say. */
struct finding {
    enum syntax_place inside;
    bool is_certain; /* no error near it */
    size_t end;      /* of the comment or string it is in */
};

static bool begins_with(const char *type, const char *word)
{
    return strncmp(type, word, strlen(word)) == 0;
}

static bool is_string_type(const char *type)
{
    if (begins_with(type, "concatenated")) return false; /* strings and what is between them */
    return strstr(type, "string") || begins_with(type, "char") || begins_with(type, "rune") ||
           begins_with(type, "heredoc_body");
}

/* Code within a string. */
static bool is_hole_type(const char *type)
{
    return strstr(type, "interpolation") || strstr(type, "substitution") || strstr(type, "expansion");
}

/* Whether a string or comment that ends right before the place has been closed. */
static bool is_closed(TSNode node, enum syntax_place kind, const struct language *l, const char *text)
{
    uint32_t start = ts_node_start_byte(node), end = ts_node_end_byte(node);
    if (end - start < 2 || ts_node_has_error(node)) return false;
    if (kind == SYNTAX_STRING) {
        uint32_t n = ts_node_child_count(node);
        return n == 0 || !ts_node_is_missing(ts_node_child(node, n - 1));
    }
    const char *open = l->block_comment[0], *close = l->block_comment[1];
    if (text[end - 1] == '\n') return true;
    return open && stands_at(text, start, end, open) && end - start >= strlen(open) + strlen(close) &&
           memcmp(text + end - strlen(close), close, strlen(close)) == 0;
}

/* Steps into the child that the byte before `at` is in. */
static bool step_into(TSTreeCursor *cursor, uint32_t at)
{
    if (ts_tree_cursor_goto_first_child_for_byte(cursor, at) < 0) return false;
    if (ts_node_start_byte(ts_tree_cursor_current_node(cursor)) < at) return true;
    ts_tree_cursor_goto_parent(cursor);
    return false;
}

static struct finding find_in_tree(const struct syntax *s, const struct language *l, const char *text,
                                   uint32_t at)
{
    struct finding f = {.inside = SYNTAX_CODE, .is_certain = true};
    TSTreeCursor cursor = ts_tree_cursor_new(ts_tree_root_node(syntax_tree(s)));
    while (step_into(&cursor, at)) {
        TSNode node = ts_tree_cursor_current_node(&cursor);
        const char *type = ts_node_type(node);
        if (ts_node_has_error(node) || begins_with(type, "preproc_arg")) f.is_certain = false;
        if (!ts_node_is_named(node)) continue;
        enum syntax_place kind = strstr(type, "comment") ? SYNTAX_COMMENT
                                 : is_string_type(type)  ? SYNTAX_STRING
                                                         : SYNTAX_CODE;
        if (is_hole_type(type)) f.inside = SYNTAX_CODE;
        if (kind == SYNTAX_CODE || f.inside != SYNTAX_CODE) continue;
        if (ts_node_end_byte(node) == at && is_closed(node, kind, l, text)) break;
        f.inside = kind;
        f.end = ts_node_end_byte(node);
    }
    ts_tree_cursor_delete(&cursor);
    return f;
}

static enum syntax_place place_by_tree(const struct syntax *s, const struct language *l, const char *text,
                                       size_t at)
{
    struct finding here = find_in_tree(s, l, text, (uint32_t)at);
    if (here.is_certain || l->is_prose) return here.inside;
    /* The line begins in code, or in a comment or string of more lines, which may end in it. */
    size_t from = line_start(text, at);
    struct finding before = from > 0 ? find_in_tree(s, l, text, (uint32_t)from) : (struct finding){0};
    if (before.inside != SYNTAX_CODE && before.end >= at) return before.inside;
    if (before.inside != SYNTAX_CODE && before.end > from) from = before.end;
    return scan_place(l, text, from, at);
}

#else

static enum syntax_place place_by_tree(const struct syntax *s, const struct language *l, const char *text,
                                       size_t at)
{
    (void)s, (void)l, (void)text, (void)at;
    return SYNTAX_CODE;
}

#endif

enum syntax_place syntax_place_at(const struct syntax *s, const struct language *l, const char *text,
                                  size_t len, size_t at)
{
    if (at > len) at = len;
    if (at == 0 || l->is_prose) return SYNTAX_CODE;
    if (s && syntax_tree(s) && syntax_is_current(s)) return place_by_tree(s, l, text, at);
    return scan_place(l, text, at > SCAN_BYTES_MAX ? line_start(text, at - SCAN_BYTES_MAX) : 0, at);
}
