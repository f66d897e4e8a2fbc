/* The upkeep of a syntax tree under edits.
 *
 * tree-sitter wants edits in bytes and in rows and columns. Rows are counted from marks, places whose row is
 * known, that lie MARK_BYTES apart and move with the edits: so an edit costs the same anywhere in the text.
 * A parse that ran out of time stays in the parser and goes on if the text is still the same; the first edit
 * drops it, because what it has read is gone. Without tree-sitter there are no trees: syntax_new returns
 * null, and the other functions meet nothing. */
#include "context/syntax.h"

#include <string.h>

#include "base/mem.h"

#ifdef INLINE_HAVE_GRAMMARS

#include <tree_sitter/api.h>

#define MARK_BYTES 16384 /* counting the rows of as much takes a few microseconds */
#define MARKS_MAX  (2 * SYNTAX_BYTES_MAX / MARK_BYTES) /* twice: deletions leave marks closer together */

/* Memory of a tree per byte of its text: measured 28 to 30 for C, 21 to 23 for Python. */
#define TREE_BYTES_PER_BYTE 30

/* tree-sitter 0.20 reads a null pointer if its time is up inside a comment that the grammar makes of several
 * tokens, as Rust's and Lua's do. Texts in such languages are parsed to the end, whatever the time, or if
 * they are longer than this, only where there is no limit. */
#define WHOLE_BYTES_MAX ((size_t)256 << 10)

struct mark {
    uint32_t at, row;
};

struct syntax {
    const struct language *language;
    TSParser *parser; /* owned */
    TSTree *tree;     /* owned; null: none yet, or the text is too long */
    size_t len;       /* of the text that the tree is of */
    bool is_current;
    bool is_exact;                /* is_current, and as if parsed from scratch */
    bool is_paused;               /* the parser holds an unfinished parse */
    struct mark marks[MARKS_MAX]; /* ascending; of the text as the tree was told of it */
    int32_t n_marks;
};

struct syntax *syntax_new(const struct language *l)
{
    if (!l->grammar) return NULL;
    struct syntax *s = MEM_NEW(struct syntax);
    s->language = l;
    s->parser = ts_parser_new();
    /* False: the grammar is of a later version than the library. */
    if (!s->parser || !ts_parser_set_language(s->parser, l->grammar())) syntax_free(&s);
    return s;
}

static void drop_tree(struct syntax *s)
{
    if (s->tree) ts_tree_delete(s->tree);
    s->tree = NULL;
    s->len = 0;
    s->is_current = s->is_exact = false;
    s->n_marks = 0;
}

void syntax_free(struct syntax **s)
{
    if (!*s) return;
    drop_tree(*s);
    if ((*s)->parser) ts_parser_delete((*s)->parser);
    mem_free(*s);
    *s = NULL;
}

/* --- Rows and columns -------------------------------------------------------------------------------- */

static uint32_t count_rows(const char *bytes, size_t len)
{
    uint32_t n = 0;
    const char *end = bytes + len;
    while (bytes < end && (bytes = memchr(bytes, '\n', (size_t)(end - bytes)))) {
        n++;
        bytes++;
    }
    return n;
}

static uint32_t column_of(const char *text, size_t at)
{
    size_t start = at;
    while (start > 0 && text[start - 1] != '\n') start--;
    return (uint32_t)(at - start);
}

/* The row of a place; leaves marks on the way there. */
static uint32_t row_of(struct syntax *s, const char *text, size_t at)
{
    int32_t i = s->n_marks;
    while (i > 0 && s->marks[i - 1].at > at) i--;
    struct mark last = i > 0 ? s->marks[i - 1] : (struct mark){0};
    while (at - last.at >= MARK_BYTES && s->n_marks < (int32_t)MARKS_MAX) {
        last.row += count_rows(text + last.at, MARK_BYTES);
        last.at += MARK_BYTES;
        memmove(s->marks + i + 1, s->marks + i, (size_t)(s->n_marks - i) * sizeof s->marks[0]);
        s->marks[i++] = last;
        s->n_marks++;
    }
    return last.row + count_rows(text + last.at, at - last.at);
}

static void move_marks(struct syntax *s, const TSInputEdit *e)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->n_marks; i++) {
        struct mark m = s->marks[i];
        if (m.at > e->start_byte) {
            if (m.at < e->old_end_byte) continue;
            m.at = m.at - e->old_end_byte + e->new_end_byte;
            m.row = m.row - e->old_end_point.row + e->new_end_point.row;
        }
        s->marks[n++] = m;
    }
    s->n_marks = n;
}

/* Where bytes that begin at `start` end. */
static TSPoint point_after(TSPoint start, const char *bytes, size_t len)
{
    uint32_t rows = count_rows(bytes, len), column = column_of(bytes, len);
    return (TSPoint){start.row + rows, rows ? column : start.column + column};
}

void syntax_edit(struct syntax *s, const char *text, size_t from, size_t old_to, size_t new_to,
                 const char *old_bytes, const char *new_bytes)
{
    if (s->is_paused) ts_parser_reset(s->parser);
    s->is_paused = false;
    s->is_current = s->is_exact = false;
    if (!s->tree) return;
    /* A text too long has lost its tree before it could grow past what 32 bits count, unless in one go. */
    if (old_to > s->len || new_to > SYNTAX_BYTES_MAX) {
        drop_tree(s);
        return;
    }
    TSPoint start = {row_of(s, text, from), column_of(text, from)};
    TSInputEdit edit = {.start_byte = (uint32_t)from,
                        .old_end_byte = (uint32_t)old_to,
                        .new_end_byte = (uint32_t)new_to,
                        .start_point = start,
                        .old_end_point = point_after(start, old_bytes, old_to - from),
                        .new_end_point = point_after(start, new_bytes, new_to - from)};
    ts_tree_edit(s->tree, &edit);
    move_marks(s, &edit);
    s->len = s->len - old_to + new_to;
}

/* --- Parsing ----------------------------------------------------------------------------------------- */

/* Parses with the help of an older tree, or from scratch; goes on with the parse that was stopped, if any. */
static bool parse(struct syntax *s, const TSTree *old, const char *text, size_t len, double max_ms)
{
    uint64_t max_us = (uint64_t)(max_ms * 1000);
    if (max_ms > 0 && s->language->is_parsed_whole) {
        if (len > WHOLE_BYTES_MAX) return false;
        max_ms = 0;
        max_us = 0;
    }
    ts_parser_set_timeout_micros(s->parser, max_ms > 0 && max_us == 0 ? 1 : max_us); /* 0: no limit */
    TSTree *tree = ts_parser_parse_string(s->parser, old, text, (uint32_t)len);
    s->is_paused = !tree;
    if (!tree) return false;
    s->is_current = true;
    s->is_exact = !old || !ts_node_has_error(ts_tree_root_node(tree));
    if (s->tree) ts_tree_delete(s->tree);
    s->tree = tree;
    s->len = len;
    return true;
}

bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms)
{
    if (s->is_current) return true;
    if (len <= SYNTAX_BYTES_MAX) return parse(s, s->tree, text, len, max_ms);
    drop_tree(s);
    return false;
}

bool syntax_parse_exact(struct syntax *s, const char *text, size_t len, double max_ms)
{
    /* In the time for both: the first is short against the second. */
    if (!syntax_parse(s, text, len, max_ms)) return false;
    return s->is_exact || parse(s, NULL, text, len, max_ms);
}

void syntax_drop(struct syntax *s)
{
    if (s->is_paused) ts_parser_reset(s->parser);
    s->is_paused = false;
    drop_tree(s);
}

const struct TSTree *syntax_tree(const struct syntax *s)
{
    return s->tree;
}

bool syntax_is_current(const struct syntax *s)
{
    return s->is_current;
}

bool syntax_is_exact(const struct syntax *s)
{
    return s->is_exact;
}

size_t syntax_bytes(const struct syntax *s)
{
    return sizeof *s + s->len * TREE_BYTES_PER_BYTE;
}

#else

struct syntax {
    char unused;
};

struct syntax *syntax_new(const struct language *l)
{
    (void)l;
    return NULL;
}

void syntax_free(struct syntax **s)
{
    *s = NULL;
}

void syntax_edit(struct syntax *s, const char *text, size_t from, size_t old_to, size_t new_to,
                 const char *old_bytes, const char *new_bytes)
{
    (void)s, (void)text, (void)from, (void)old_to, (void)new_to, (void)old_bytes, (void)new_bytes;
}

bool syntax_parse(struct syntax *s, const char *text, size_t len, double max_ms)
{
    (void)s, (void)text, (void)len, (void)max_ms;
    return false;
}

bool syntax_parse_exact(struct syntax *s, const char *text, size_t len, double max_ms)
{
    (void)s, (void)text, (void)len, (void)max_ms;
    return false;
}

void syntax_drop(struct syntax *s)
{
    (void)s;
}

const struct TSTree *syntax_tree(const struct syntax *s)
{
    (void)s;
    return NULL;
}

bool syntax_is_current(const struct syntax *s)
{
    (void)s;
    return false;
}

bool syntax_is_exact(const struct syntax *s)
{
    (void)s;
    return false;
}

size_t syntax_bytes(const struct syntax *s)
{
    (void)s;
    return 0;
}

#endif
