/* Candidates that are found through outlines: the signatures of what is named near the cursor, wherever they
 * are defined; other definitions of this document; the comment on what the cursor is in. */
#include <string.h>

#include "base/buf.h"
#include "context/candidates.h"

#define ANSWERS_MAX 2 /* definitions of one name that are considered */
#define PATH_BYTES  1024
#define IMPORTS_MAX 100 /* imports that are resolved */

double gather_rank_relevance(int32_t rank)
{
    return 8.0 / (8 + rank);
}

/* What this document does not import counts less: the name may mean something else here. */
static const double unimported = 0.7;

bool gather_is_visible(const struct outline *o, int32_t unit)
{
    for (int32_t u = o->units[unit].parent; u >= 0; u = o->units[u].parent) {
        if (o->units[u].kind == OUTLINE_FUNCTION) return false;
    }
    return true;
}

static int32_t find_name(const struct candidates_near *near, const struct outline_unit *u, const char *text)
{
    if (u->name_len == 0) return -1;
    uint32_t hash = identifiers_hash(text + u->name, u->name_len);
    for (int32_t i = 0; i < near->n_names; i++) {
        if (near->names[i].hash == hash) return i;
    }
    return -1;
}

void gather_signature(struct gathering *g, enum context_kind kind, struct open_document *doc,
                      const struct outline *o, int32_t unit, double relevance)
{
    const struct outline_unit *u = &o->units[unit];
    struct buf text;
    buf_init(&text, g->max_bytes + 64);
    outline_write_signature(o, unit, doc->language, doc->text.bytes, g->max_bytes, &text);
    if (text.err) {
        if (text.err == ERR_NOMEM) g->out->err = text.err;
        buf_clear(&text);
        return;
    }
    struct candidate c = {.kind = kind,
                          .relevance = relevance,
                          .path = doc->path,
                          .owned_len = text.len,
                          .doc = doc,
                          .from = u->comment,
                          .to = u->end};
    c.owned = buf_take(&text);
    candidates_add(g->out, &c);
}

static bool is_shown(const struct gathering *g, const struct outline_unit *u)
{
    return u->comment < g->view->end && u->end > g->view->start;
}

/* Names that this document defines: in the window they need no further definition. */
static void gather_own(struct gathering *g)
{
    const struct outline *o = g->outline;
    struct candidates_near *near = &g->near;
    bool is_taken[CANDIDATES_NAMES_MAX] = {0};
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i];
        int32_t rank = find_name(near, u, g->in->doc->text.bytes);
        if (rank >= 0 && u->start >= g->view->start && u->start < g->view->end)
            near->names[rank].is_known = true;
    }
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i];
        int32_t rank =
            is_shown(g, u) || !gather_is_visible(o, i) ? -1 : find_name(near, u, g->in->doc->text.bytes);
        if (rank < 0 || near->names[rank].is_known || is_taken[rank]) continue;
        is_taken[rank] = true;
        gather_signature(g, CONTEXT_DEFINITION, g->in->doc, o, i, gather_rank_relevance(rank));
    }
    for (int32_t i = 0; i < near->n_names; i++) {
        near->names[i].is_known = near->names[i].is_known || is_taken[i];
    }
}

/* The part of a path or of an import that names the file: "util" of "src/util.c". */
static void find_stem(const char *text, size_t len, const char **stem, size_t *stem_len)
{
    size_t start = len;
    while (start > 0 && text[start - 1] != '/') start--;
    const char *dot = start < len ? memchr(text + start + 1, '.', len - start - 1) : NULL;
    *stem = text + start;
    *stem_len = dot ? (size_t)(dot - *stem) : len - start;
}

/* Whether an import as it is written looks like it means this file; "a.b.util" and "../util.h" do "x/util.c".
 */
static bool looks_like(const char *target, size_t len, const char *path)
{
    const char *a, *b;
    size_t a_len, b_len;
    find_stem(path, strlen(path), &b, &b_len);
    find_stem(target, len, &a, &a_len);
    if (a_len == b_len && memcmp(a, b, a_len) == 0) return true;
    return len > b_len && memcmp(target + len - b_len, b, b_len) == 0 &&
           (target[len - b_len - 1] == '.' || target[len - b_len - 1] == ':');
}

static bool imports(const struct gathering *g, const char *path)
{
    const struct outline *o = g->outline;
    const struct open_document *doc = g->in->doc;
    char resolved[PATH_BYTES];
    for (int32_t i = 0; i < o->n_imports && i < IMPORTS_MAX; i++) {
        const char *target = doc->text.bytes + o->imports[i].target;
        size_t len = o->imports[i].target_len;
        if (!looks_like(target, len, path)) continue;
        if (!g->in->project || !doc->path[0]) return true;
        if (!project_resolve(g->in->project, doc->path, target, len, resolved, sizeof resolved)) return true;
        if (strcmp(resolved, path) == 0) return true;
    }
    return false;
}

/* Of each name the first definition: others are its overloads, or the body of what a prototype announced. */
static void gather_other(struct gathering *g, struct open_document *doc)
{
    const struct outline *o = documents_outline(doc, CANDIDATES_OUTLINE_BYTES);
    double weight = imports(g, doc->path) ? 1 : unimported;
    bool is_taken[CANDIDATES_NAMES_MAX] = {0};
    for (int32_t i = 0; i < o->n_units; i++) {
        int32_t rank = find_name(&g->near, &o->units[i], doc->text.bytes);
        if (rank < 0 || is_taken[rank] || g->near.names[rank].is_known || !gather_is_visible(o, i)) continue;
        is_taken[rank] = true;
        gather_signature(g, CONTEXT_DEFINITION, doc, o, i, weight * gather_rank_relevance(rank));
    }
}

struct open_document *gather_open(const struct gathering *g, const char *path)
{
    for (int32_t i = 0; i < documents_n(g->in->docs); i++) {
        struct open_document *doc = documents_at(g->in->docs, i);
        if (strcmp(doc->path, path) == 0) return doc;
    }
    return NULL;
}

static void add_indexed(struct gathering *g, const struct project_definition *d, size_t from,
                        double relevance)
{
    if (d->text_len - from > g->max_bytes) return;
    struct candidate c = {.kind = CONTEXT_DEFINITION,
                          .relevance = relevance,
                          .path = d->path,
                          .whole = d->text,
                          .whole_len = d->text_len,
                          .from = from,
                          .to = d->text_len,
                          .line = d->line,
                          .name = d->name,
                          .hash = d->hash};
    candidates_add(g->out, &c);
}

static void gather_indexed(struct gathering *g, const struct project_definition *d, double relevance)
{
    add_indexed(g, d, 0, relevance);
}

/* Whether a line (without its indentation) is one of a comment; *is_block: whether it leaves one open. */
static bool is_comment(const struct language *l, const char *line, size_t len, bool *is_block)
{
    const char *open = l->block_comment[0], *close = l->block_comment[1];
    bool was_block = *is_block;
    bool opens = !was_block && open && strncmp(line, open, strlen(open)) == 0;
    size_t skip = opens ? strlen(open) : 0;
    if (was_block || opens) {
        *is_block = len < skip || !memmem(line + skip, len - skip, close, strlen(close));
        return true;
    }
    return l->line_comment && strncmp(line, l->line_comment, strlen(l->line_comment)) == 0;
}

void gather_head(struct gathering *g, const struct project_definition *d, double relevance)
{
    const struct language *l = language_of_path(d->path, NULL, 0);
    bool is_block = false;
    size_t from = 0;
    while (from < d->text_len) {
        const char *line = d->text + from, *newline = memchr(line, '\n', d->text_len - from);
        size_t len = newline ? (size_t)(newline - line) : d->text_len - from;
        size_t blanks = strspn(line, " \t");
        if (blanks > len || !is_comment(l, line + blanks, len - blanks, &is_block)) break;
        from += newline ? len + 1 : len;
    }
    add_indexed(g, d, from < d->text_len ? from : 0, relevance);
}

bool gather_is_near(const struct gathering *g, const char *name, size_t len)
{
    uint32_t hash = identifiers_hash(name, len);
    for (int32_t i = 0; i < g->near.n_names; i++) {
        if (g->near.names[i].hash == hash) return true;
    }
    return false;
}

static void gather_project(struct gathering *g, int32_t rank)
{
    const struct candidates_name *name = &g->near.names[rank];
    struct project_answer *answer = candidates_next_answer(g->out);
    const char *path = g->in->doc->path;
    enum err err =
        project_find(g->in->project, name->text, name->len, path[0] ? path : NULL, ANSWERS_MAX, answer);
    if (!candidates_keep_answer(g->out, err)) return;
    for (int32_t i = 0; i < answer->n; i++) {
        const struct project_definition *d = &answer->items[i];
        if (gather_open(g, d->path)) continue;
        gather_indexed(g, d, gather_rank_relevance(rank) * (imports(g, d->path) ? 1 : unimported));
    }
}

/* Other definitions of this document, near in place, by what their heads have in common with the cursor's
 * surroundings; members of the type that the cursor is in are related in any case. */
static void gather_distant(struct gathering *g)
{
    enum { REACH = 200, MOST = 64 }; /* definitions looked at on either side, and offered */
    const double least = 0.05;
    const struct outline *o = g->outline;
    const char *text = g->in->doc->text.bytes;
    int32_t here = g->unit, type = here, n = 0;
    while (type >= 0 && o->units[type].kind != OUTLINE_TYPE) type = o->units[type].parent;
    if (here < 0) {
        for (here = 0; here < o->n_units && o->units[here].start < g->in->cursor;) here++;
    }
    int32_t first = here > REACH ? here - REACH : 0;
    int32_t last = o->n_units - here > REACH ? here + REACH : o->n_units;
    for (int32_t i = first; i < last && n < MOST; i++) {
        const struct outline_unit *u = &o->units[i];
        bool is_sibling = type >= 0 && u->parent == type;
        if (is_shown(g, u) || !(u->parent < 0 || is_sibling)) continue;
        struct identifiers head;
        identifiers_of(text + u->start, (u->body > u->start ? u->body : u->end) - u->start, &head);
        /* A third of all identifiers in common is as alike as a head and a screen of code get. */
        double relevance = 3 * identifiers_similarity(&head, &g->near.identifiers) + (is_sibling ? 0.3 : 0);
        if (relevance < least) continue;
        gather_signature(g, CONTEXT_DISTANT, g->in->doc, o, i, relevance < 1 ? relevance : 1);
        n++;
    }
}

static void gather_comment(struct gathering *g)
{
    const struct outline *o = g->outline;
    int32_t unit = g->unit;
    for (; unit >= 0; unit = o->units[unit].parent) {
        const struct outline_unit *u = &o->units[unit];
        size_t end = u->start < g->view->start ? u->start : g->view->start;
        if (u->comment >= end) continue;
        if (end - u->comment > g->max_bytes) return;
        struct candidate c = {.kind = CONTEXT_COMMENT,
                              .relevance = 1,
                              .path = g->in->doc->path,
                              .whole = g->in->doc->text.bytes,
                              .whole_len = g->in->doc->text.len,
                              .doc = g->in->doc,
                              .from = u->comment,
                              .to = end};
        candidates_add(g->out, &c);
        return;
    }
}

void gather_definitions(struct gathering *g)
{
    gather_own(g);
    for (int32_t i = 0; i < g->n_others; i++) gather_other(g, g->others[i]);
    for (int32_t i = 0; g->in->project && i < g->near.n_names; i++) {
        if (!g->near.names[i].is_known) gather_project(g, i);
    }
    gather_comment(g);
    gather_distant(g);
}
