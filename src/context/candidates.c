/* The list of candidates, and what the place of the cursor is about. */
#include "context/candidates.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "context/secrets.h"

/* Lines around the cursor that tell what it is about: a screen's half before it, where the thought comes
 * from, and a little of what follows. */
#define LINES_BEFORE    30
#define LINES_AFTER     10
#define NEAR_BYTES_MAX  ((size_t)4096) /* on either side, for texts of long lines */
#define HEAD_LINES_MAX  6              /* a parameter on each line; longer heads are cut */
#define OCCURRENCES_MAX 1024           /* names within that */

size_t candidate_len(const struct candidate *c)
{
    return c->whole ? c->to - c->from : c->owned_len;
}

void candidates_add(struct candidates *l, const struct candidate *c)
{
    if (!l->items) l->items = mem_try(CANDIDATES_MAX, sizeof *l->items);
    if (!l->items) l->err = ERR_NOMEM;
    if (!l->items || l->n == CANDIDATES_MAX || candidate_len(c) == 0) {
        mem_free(c->owned);
        return;
    }
    l->items[l->n++] = *c;
}

struct project_answer *candidates_next_answer(struct candidates *l)
{
    return &l->answers[l->n_answers];
}

bool candidates_keep_answer(struct candidates *l, enum err err)
{
    if (err)
        l->err = err;
    else
        l->n_answers++;
    return !err;
}

void candidates_clear(struct candidates *l)
{
    for (int32_t i = 0; i < l->n; i++) mem_free(l->items[i].owned);
    for (int32_t i = 0; i < l->n_answers; i++) project_answer_clear(&l->answers[i]);
    mem_free(l->items);
    *l = (struct candidates){0};
}

static void find_lines(const struct context_input *in, struct candidates_near *near)
{
    const struct text *t = &in->doc->text;
    size_t from = in->cursor, to = in->cursor;
    size_t low = from > NEAR_BYTES_MAX ? from - NEAR_BYTES_MAX : 0;
    size_t high = t->len - to > NEAR_BYTES_MAX ? to + NEAR_BYTES_MAX : t->len;
    for (int n = 0; from > low; from--) {
        if (t->bytes[from - 1] == '\n' && n++ == LINES_BEFORE) break;
    }
    for (int n = 0; to < high && n <= LINES_AFTER; to++) n += t->bytes[to] == '\n';
    near->from = from;
    near->to = to;
}

static int compare_hash(const void *a, const void *b)
{
    const struct candidates_name *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->distance != y->distance ? (x->distance < y->distance ? -1 : 1) : 0;
}

static int compare_distance(const void *a, const void *b)
{
    const struct candidates_name *x = a, *y = b;
    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

static enum err find_names(const struct context_input *in, struct candidates_near *near)
{
    const char *text = in->doc->text.bytes;
    struct candidates_name *all = mem_try(OCCURRENCES_MAX, sizeof *all);
    int32_t n = 0, n_once = 0;
    size_t at = near->from, len;
    const char *name;
    if (!all) return ERR_NOMEM;
    while (n < OCCURRENCES_MAX && identifiers_next(text, near->to, &at, &name, &len)) {
        size_t start = (size_t)(name - text);
        if (!identifiers_counts(name, len)) continue;
        size_t distance = start + len <= in->cursor ? in->cursor - start - len
                          : start > in->cursor      ? start - in->cursor
                                                    : 0;
        all[n++] = (struct candidates_name){
            .text = name, .len = len, .hash = identifiers_hash(name, len), .distance = distance};
    }
    qsort(all, (size_t)n, sizeof *all, compare_hash);
    for (int32_t i = 0; i < n; i++) {
        if (n_once == 0 || all[i].hash != all[n_once - 1].hash) all[n_once++] = all[i];
    }
    qsort(all, (size_t)n_once, sizeof *all, compare_distance);
    near->n_names = n_once < CANDIDATES_NAMES_MAX ? n_once : CANDIDATES_NAMES_MAX;
    memcpy(near->names, all, (size_t)near->n_names * sizeof *all);
    mem_free(all);
    return OK;
}

/* Worked in later; the name decides between those opened and not touched since. */
static bool is_before(const struct open_document *a, const struct open_document *b)
{
    return a->seen != b->seen ? a->seen > b->seen : strcmp(a->uri, b->uri) < 0;
}

static void find_others(struct gathering *g)
{
    const struct context_input *in = g->in;
    for (int32_t i = 0; i < documents_n(in->docs); i++) {
        struct open_document *doc = documents_at(in->docs, i);
        if (doc == in->doc) continue;
        if (in->secrets && secrets_is_file(in->secrets, doc->path[0] ? doc->path : doc->uri)) continue;
        int32_t at = g->n_others;
        while (at > 0 && is_before(doc, g->others[at - 1])) at--;
        if (at == CANDIDATES_DOCUMENTS) continue;
        if (g->n_others < CANDIDATES_DOCUMENTS) g->n_others++;
        memmove(&g->others[at + 1], &g->others[at], (size_t)(g->n_others - 1 - at) * sizeof *g->others);
        g->others[at] = doc;
    }
}

static size_t line_end(const struct text *t, size_t at)
{
    const char *newline = at < t->len ? memchr(t->bytes + at, '\n', t->len - at) : NULL;
    return newline ? (size_t)(newline - t->bytes) + 1 : t->len;
}

/* A bracket that opens the body belongs to the head; other lines that the body begins do not. */
size_t candidates_head_end(const struct text *t, const struct outline_unit *u)
{
    size_t last = u->start, most = u->start;
    if (u->body_end > u->body && u->body > u->start) {
        last = u->body;
        while (t->bytes[u->body] != '{' && last > u->start && strchr(" \t\r\n", t->bytes[last - 1])) last--;
    }
    size_t end = line_end(t, last);
    for (int i = 0; i < HEAD_LINES_MAX; i++) most = line_end(t, most);
    if (end > most) end = most;
    return end < u->end ? end : u->end;
}

static size_t indent_at(const struct text *t, size_t line)
{
    size_t at = line;
    while (at < t->len && (t->bytes[at] == ' ' || t->bytes[at] == '\t')) at++;
    return at - line;
}

static size_t line_start(const struct text *t, size_t at)
{
    while (at > 0 && t->bytes[at - 1] != '\n') at--;
    return at;
}

/* Where blocks are told by indentation, a fresh line at the end of one belongs to it if it is indented. */
static int32_t enclosing_unit(const struct gathering *g)
{
    const struct text *t = &g->in->doc->text;
    size_t at = g->in->cursor, line = line_start(t, at);
    int32_t unit = outline_at(g->outline, at);
    if (!g->in->doc->language->is_indented) return unit;
    while (at > 0 && strchr(" \t\r\n", t->bytes[at - 1])) at--;
    int32_t before = at > 0 ? outline_at(g->outline, at - 1) : -1;
    while (before >= 0 && indent_at(t, g->outline->units[before].start) >= indent_at(t, line))
        before = g->outline->units[before].parent;
    return before > unit ? before : unit; /* enclosed units come after those that enclose them */
}

void gathering_start(struct gathering *g)
{
    const struct text *t = &g->in->doc->text;
    find_lines(g->in, &g->near);
    identifiers_of(t->bytes + g->near.from, g->near.to - g->near.from, &g->near.identifiers);
    enum err err = find_names(g->in, &g->near);
    if (err) g->out->err = err;
    g->unit = enclosing_unit(g);
    find_others(g);
}
