/* Outlines: how they are filled, asked, and written as signatures. Where units come from is in outline_tree.c
 * and outline_lines.c. */
#include "context/outline.h"

#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "context/outline_make.h"
#include "context/syntax.h"

/* --- Making ------------------------------------------------------------------------------------------ */

size_t outline_line_start(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n') at--;
    return at;
}

size_t outline_line_end(const char *text, size_t len, size_t at)
{
    if (at > 0 && text[at - 1] == '\n') return at;
    const char *end = at < len ? memchr(text + at, '\n', len - at) : NULL;
    return end ? (size_t)(end - text) + 1 : len;
}

/* Past the last line that [start, end) is on, less the space it ends in. */
static size_t lines_end(const struct outline_maker *m, size_t start, size_t end)
{
    while (end > start && isspace((unsigned char)m->text[end - 1])) end--;
    return outline_line_end(m->text, m->len, end);
}

/* Room for one more in an array of n of `size` bytes each, by doubling. */
static bool grow(struct outline_maker *m, void **items, int32_t n, int32_t *cap, size_t size)
{
    if (n < *cap) return true;
    int32_t wanted = *cap ? *cap * 2 : 32;
    void *grown = mem_try_resize(*items, (size_t)wanted, size);
    if (!grown) {
        m->err = ERR_NOMEM;
        return false;
    }
    *items = grown;
    *cap = wanted;
    return true;
}

int32_t outline_add(struct outline_maker *m, struct outline_unit u)
{
    struct outline *o = m->out;
    void *units = o->units;
    if (m->err || o->n_units == OUTLINE_UNITS_MAX) return -1;
    if (!grow(m, &units, o->n_units, &m->cap_units, sizeof *o->units)) return -1;
    o->units = units;
    u.end = (uint32_t)lines_end(m, u.start, u.end);
    u.start = (uint32_t)outline_line_start(m->text, u.start);
    u.comment = (uint32_t)outline_line_start(m->text, u.comment);
    if (u.comment > u.start) u.comment = u.start;
    while (u.body_end > u.body && isspace((unsigned char)m->text[u.body_end - 1])) u.body_end--;
    if (u.body_end == u.body) u.body = u.body_end = u.end;
    o->units[o->n_units] = u;
    return o->n_units++;
}

void outline_add_import(struct outline_maker *m, size_t start, size_t end, size_t target, size_t target_end)
{
    struct outline *o = m->out;
    void *imports = o->imports;
    while (target < target_end && strchr("\"'`<>;( \t", m->text[target])) target++;
    while (target_end > target && strchr("\"'`<>;) \t\r\n", m->text[target_end - 1])) target_end--;
    if (m->err || target == target_end || o->n_imports == OUTLINE_IMPORTS_MAX) return;
    if (!grow(m, &imports, o->n_imports, &m->cap_imports, sizeof *o->imports)) return;
    o->imports = imports;
    o->imports[o->n_imports++] =
        (struct outline_import){.start = (uint32_t)outline_line_start(m->text, start),
                                .end = (uint32_t)lines_end(m, start, end),
                                .target = (uint32_t)target,
                                .target_len = (uint32_t)(target_end - target)};
}

enum err outline_build(const struct language *l, const struct syntax *s, const char *text, size_t len,
                       struct outline *out)
{
    struct outline_maker m = {.text = text, .len = len, .out = out};
    outline_clear(out);
    if (len == 0 || len > UINT32_MAX) return OK;
    bool has_tree = s && l->rules && syntax_tree(s);
    if (!has_tree || !outline_by_tree(&m, l, s)) outline_by_lines(&m, l);
    if (m.err) outline_clear(out);
    return m.err;
}

void outline_clear(struct outline *o)
{
    mem_free(o->units);
    mem_free(o->imports);
    *o = (struct outline){0};
}

int32_t outline_at(const struct outline *o, size_t at)
{
    int32_t found = -1;
    for (int32_t i = 0; i < o->n_units; i++) {
        if (o->units[i].comment <= at && at < o->units[i].end) found = i;
    }
    return found;
}

/* --- Signatures -------------------------------------------------------------------------------------- */

#define COMMENT_LINES_MAX 8 /* of the comment above a signature */

/* A signature in the making. Stops taking text once it has more than will be kept. */
struct signature {
    const char *text;
    const struct language *l;
    struct buf *out;
    size_t begin, max; /* it is out's bytes from begin on */
};

static void write_text(struct signature *s, size_t from, size_t to)
{
    size_t have = s->out->len - s->begin;
    if (to <= from || have > s->max) return;
    /* One byte more than fits shows that something has been left out. */
    if (to - from > s->max + 1 - have) to = from + s->max + 1 - have;
    buf_add(s->out, s->text + from, to - from);
}

/* Whether the last of the bytes opens a block comment that they do not close. */
static bool is_comment_open(const struct signature *s, size_t from, size_t to)
{
    const char *open = s->l->block_comment[0], *close = s->l->block_comment[1];
    if (!open) return false;
    size_t n_open = strlen(open), n_close = strlen(close);
    bool is_open = false;
    for (size_t at = from; at < to; at++) {
        if (!is_open && to - at >= n_open && memcmp(s->text + at, open, n_open) == 0)
            is_open = true;
        else if (is_open && to - at >= n_close && memcmp(s->text + at, close, n_close) == 0)
            is_open = false;
    }
    return is_open;
}

/* The comment's first lines; a block comment that is cut is closed. */
static void write_comment(struct signature *s, const struct outline_unit *u)
{
    size_t at = u->comment;
    for (int n = 0; n < COMMENT_LINES_MAX && at < u->start; n++) {
        at = outline_line_end(s->text, u->start, at + 1);
    }
    write_text(s, u->comment, at);
    if (at < u->start && is_comment_open(s, u->comment, at)) {
        buf_add_str(s->out, "... ");
        buf_add_str(s->out, s->l->block_comment[1]);
        buf_add_char(s->out, '\n');
    }
}

static bool spans_lines(const char *text, size_t from, size_t to)
{
    return memchr(text + from, '\n', to - from) != NULL;
}

/* Bodies of functions go, but for expressions of one line; values go if they are longer than a line. */
static bool is_elided(const struct signature *s, const struct outline_unit *u)
{
    if (u->body_end <= u->body) return false;
    if (u->kind == OUTLINE_FUNCTION && s->text[u->body] == '{') return true;
    return (u->kind == OUTLINE_FUNCTION || u->kind == OUTLINE_VALUE) &&
           spans_lines(s->text, u->body, u->body_end);
}

static void write_elision(struct signature *s, const struct outline_unit *u)
{
    if (s->out->len - s->begin > s->max) return;
    char first = s->text[u->body], last = s->text[u->body_end - 1];
    bool is_bracketed =
        (first == '{' && last == '}') || (first == '[' && last == ']') || (first == '(' && last == ')');
    if (is_bracketed)
        buf_printf(s->out, "%c ... %c", first, last);
    else if (first == '{')
        buf_add_str(s->out, "{ ...");
    else
        buf_add_str(s->out, "...");
}

/* Drops lines from the end until `max` bytes and a mark that something is missing fit. */
static void cut(struct signature *s)
{
    size_t len = s->out->len - s->begin;
    if (len <= s->max) return;
    const char *mark = s->l->line_comment ? s->l->line_comment : "", *text = s->out->data + s->begin;
    size_t mark_len = strlen(mark) + (*mark ? 1 : 0) + strlen("...\n");
    while (len > 0 && (text[len - 1] != '\n' || len + mark_len > s->max)) len--;
    buf_truncate(s->out, s->begin + len);
    if (len > 0) buf_printf(s->out, "%s%s...\n", mark, *mark ? " " : "");
}

void outline_write_signature(const struct outline *o, int32_t unit, const struct language *l,
                             const char *text, size_t max, struct buf *out)
{
    const struct outline_unit *u = &o->units[unit];
    struct signature s = {.text = text, .l = l, .out = out, .begin = out->len, .max = max};
    write_comment(&s, u);
    size_t at = u->start;
    for (int32_t i = unit; i < o->n_units && o->units[i].start < u->end; i++) {
        const struct outline_unit *inner = &o->units[i];
        if (inner->body < at || inner->body_end > u->end || !is_elided(&s, inner)) continue;
        write_text(&s, at, inner->body);
        write_elision(&s, inner);
        at = inner->body_end;
    }
    write_text(&s, at, u->end);
    if (out->len > s.begin && out->data[out->len - 1] != '\n') buf_add_char(out, '\n');
    cut(&s);
}
