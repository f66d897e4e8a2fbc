/* Candidates that are lines as they stand: places edited lately, blocks that are about the same things as the
 * cursor's surroundings (Jaccard 1912, over identifiers), chunks that the client sent. */
#include <string.h>

#include "context/candidates.h"
#include "context/secrets.h"
#include "context/shown.h"

#define EDITS_MAX       6  /* newest first; earlier ones have little to do with what is done now */
#define EDIT_LINES_NEAR 2  /* shown around edited lines */
#define EDIT_LINES_MAX  24 /* longer changes are shown from their start; shorter definitions as a whole */

/* Blocks end where a definition seems to, but neither earlier nor later than this. */
#define BLOCK_LINES_MIN 8
#define BLOCK_LINES_MAX 24

#define BLOCKS_EACH  2                  /* of one document */
#define SCAN_BYTES   ((size_t)64 << 10) /* of one document that are looked for blocks: 1 ms */
#define CLIENT_MAX   64                 /* chunks */
#define CLIENT_BYTES ((size_t)1 << 20)  /* of one */
#define SIMILAR_MIN  0.1                /* less in common is by chance */

struct span {
    size_t from, to;
};

static size_t lines_back(const char *text, size_t at, int32_t n)
{
    while (at > 0 && text[at - 1] != '\n') at--;
    for (; n > 0 && at > 0; n--) {
        at--;
        while (at > 0 && text[at - 1] != '\n') at--;
    }
    return at;
}

/* Past the end of the line of `at`, and of n more. */
static size_t lines_on(const char *text, size_t len, size_t at, int32_t n)
{
    for (; n >= 0 && at < len; n--) {
        const char *newline = memchr(text + at, '\n', len - at);
        at = newline ? (size_t)(newline - text) + 1 : len;
    }
    return at;
}

static bool is_outside(const struct gathering *g, const struct open_document *doc, struct span s)
{
    return doc != g->in->doc || s.to <= g->view->start || s.from >= g->view->end;
}

static void add_lines(struct gathering *g, enum context_kind kind, double relevance,
                      struct open_document *doc, struct span s)
{
    struct candidate c = {.kind = kind,
                          .relevance = relevance,
                          .path = doc->path,
                          .whole = doc->text.bytes,
                          .whole_len = doc->text.len,
                          .doc = doc,
                          .from = s.from,
                          .to = s.to};
    if (s.to - s.from <= g->max_bytes) candidates_add(g->out, &c);
}

/* ---- edits ---- */

struct edit {
    struct open_document *doc;
    const struct document_change *change;
};

static void find_edits(struct open_document *doc, struct edit *edits, int32_t *n)
{
    for (int32_t i = 0; i < doc->n_changes; i++) {
        int32_t at = *n;
        while (at > 0 && doc->changes[i].time > edits[at - 1].change->time) at--;
        if (at == EDITS_MAX) return;
        if (*n < EDITS_MAX) (*n)++;
        memmove(&edits[at + 1], &edits[at], (size_t)(*n - 1 - at) * sizeof *edits);
        edits[at] = (struct edit){doc, &doc->changes[i]};
    }
}

static int32_t count_lines(const char *text, struct span s)
{
    int32_t n = 0;
    for (size_t i = s.from; i < s.to; i++) n += text[i] == '\n';
    return n;
}

/* The edited lines and some around them, of a definition not more than itself; cut to what a piece may have.
 */
static struct span lines_around(const struct gathering *g, const struct open_document *doc, struct span unit,
                                const struct document_change *change)
{
    const char *text = doc->text.bytes;
    struct span s;
    s.from = lines_back(text, change->start, EDIT_LINES_NEAR);
    if (s.from < unit.from) s.from = unit.from;
    s.to = lines_on(text, doc->text.len, change->end > change->start ? change->end - 1 : change->end,
                    EDIT_LINES_NEAR);
    if (s.to > unit.to) s.to = unit.to;
    size_t most = lines_on(text, doc->text.len, s.from, EDIT_LINES_MAX - 1);
    if (s.to > most) s.to = most;
    if (s.to - s.from <= g->max_bytes) return s;
    s.to = lines_back(text, s.from + g->max_bytes, 0);
    return s;
}

/* A head and lines further down, with an elision between them. */
static void add_parts(struct gathering *g, struct candidate *c, struct span head, struct span lines)
{
    struct shown_text t = {g->in->secrets, c->doc->text.bytes, c->doc->text.len};
    struct buf text;
    buf_init(&text, 2 * g->max_bytes + 256);
    enum err err = shown_add(&t, head.from, head.to, head.to, &text, &text, &c->n_secrets);
    if (lines.from > head.to) shown_add_elision(c->doc->language, &t, lines.from, &text);
    if (!err) err = shown_add(&t, lines.from, lines.to, lines.to, &text, &text, &c->n_secrets);
    if (err == ERR_NOMEM) g->out->err = err;
    c->owned_len = text.len;
    if (!err && !text.err) {
        c->owned = buf_take(&text);
        candidates_add(g->out, c);
    }
    buf_clear(&text);
}

static void add_edit(struct gathering *g, const struct edit *e, double relevance)
{
    struct open_document *doc = e->doc;
    const struct outline *o =
        doc == g->in->doc ? g->outline : documents_outline(doc, CANDIDATES_OUTLINE_BYTES);
    struct span all = {0, doc->text.len};
    int32_t unit = outline_at(o, e->change->start);
    const struct outline_unit *u = unit >= 0 ? &o->units[unit] : NULL;
    if (u) all = (struct span){u->comment, u->end};
    struct span s = lines_around(g, doc, all, e->change);
    if (u && e->change->end <= u->end && u->end - u->start <= g->max_bytes &&
        count_lines(doc->text.bytes, (struct span){u->start, u->end}) <= EDIT_LINES_MAX) {
        s = (struct span){u->start, u->end};
    }
    size_t head = u ? candidates_head_end(&doc->text, u) : 0;
    if (u && u->start < s.from && s.from < head) s.from = u->start;
    if (!is_outside(g, doc, s)) return;
    if (!u || u->start >= s.from || head - u->start + s.to - s.from > g->max_bytes ||
        !is_outside(g, doc, (struct span){u->start, s.to})) {
        add_lines(g, CONTEXT_EDIT, relevance, doc, s);
        return;
    }
    /* The lines alone would not tell what they are in. */
    struct candidate c = {.kind = CONTEXT_EDIT,
                          .relevance = relevance,
                          .path = doc->path,
                          .doc = doc,
                          .from = u->start,
                          .to = s.to};
    add_parts(g, &c, (struct span){u->start, head}, s);
}

static void gather_edits(struct gathering *g)
{
    struct edit edits[EDITS_MAX + 1];
    int32_t n = 0;
    find_edits(g->in->doc, edits, &n);
    for (int32_t i = 0; i < g->n_others; i++) find_edits(g->others[i], edits, &n);
    /* The newest counts fully, the fifth half. */
    for (int32_t i = 0; i < n; i++) add_edit(g, &edits[i], 4.0 / (4 + i));
}

/* ---- similar blocks ---- */

struct block {
    struct span span;
    double similarity;
};

static bool starts_definition(const char *text, size_t len, size_t at)
{
    size_t before = at > 0 ? at - 1 : 0;
    if (before > 0 && text[before - 1] == '\r') before--;
    bool is_after_empty = before == 0 || text[before - 1] == '\n';
    return is_after_empty && at < len && text[at] != ' ' && text[at] != '\t';
}

static struct span next_block(const char *text, size_t at, size_t to)
{
    struct span s = {at, at};
    for (int32_t n = 0; n < BLOCK_LINES_MAX && s.to < to; n++) {
        if (n >= BLOCK_LINES_MIN && starts_definition(text, to, s.to)) break;
        s.to = lines_on(text, to, s.to, 0);
    }
    return s;
}

static void offer(struct block *best, int32_t *n, struct block b)
{
    int32_t at = *n;
    while (at > 0 && b.similarity > best[at - 1].similarity) at--;
    if (at == BLOCKS_EACH) return;
    if (*n < BLOCKS_EACH) (*n)++;
    memmove(&best[at + 1], &best[at], (size_t)(*n - 1 - at) * sizeof *best);
    best[at] = b;
}

/* The blocks of a text that have most in common with the surroundings, best first. `window` is left out. */
static int32_t find_blocks(const struct gathering *g, const char *text, struct span scan, struct span window,
                           struct block *best)
{
    int32_t n = 0;
    for (size_t at = scan.from; at < scan.to;) {
        bool is_in_window = at >= window.from && at < window.to;
        size_t to = at < window.from && window.from < scan.to ? window.from : scan.to;
        struct span s = next_block(text, at, is_in_window ? window.to : to);
        at = s.to;
        if (is_in_window || s.to - s.from > g->max_bytes) continue;
        struct identifiers ids;
        identifiers_of(text + s.from, s.to - s.from, &ids);
        double similarity = identifiers_similarity(&ids, &g->near.identifiers);
        if (similarity >= SIMILAR_MIN) offer(best, &n, (struct block){s, similarity});
    }
    return n;
}

/* Half of all identifiers in common is as alike as different code gets. */
static double block_relevance(double similarity)
{
    return similarity < 0.5 ? 2 * similarity : 1;
}

static void gather_similar(struct gathering *g, struct open_document *doc)
{
    struct block best[BLOCKS_EACH + 1];
    struct span window = {0, 0}, scan = {0, doc->text.len};
    size_t middle = doc->n_changes ? doc->changes[0].start : 0;
    if (doc == g->in->doc) {
        window = (struct span){g->view->start, g->view->end};
        middle = g->in->cursor;
    }
    if (doc->text.len > SCAN_BYTES) {
        scan.from = middle > SCAN_BYTES / 2 ? lines_back(doc->text.bytes, middle - SCAN_BYTES / 2, 0) : 0;
        if (scan.to - scan.from > SCAN_BYTES) scan.to = scan.from + SCAN_BYTES;
        scan.to = lines_back(doc->text.bytes, scan.to, 0);
    }
    int32_t n = find_blocks(g, doc->text.bytes, scan, window, best);
    for (int32_t i = 0; i < n; i++)
        add_lines(g, CONTEXT_SIMILAR, block_relevance(best[i].similarity), doc, best[i].span);
}

/* ---- what the client sent ---- */

/* Whether the window has most of these lines too: clients send places around the cursor as well. */
static bool repeats_window(const struct gathering *g, const char *text, size_t len)
{
    const char *window = g->in->doc->text.bytes + g->view->start;
    size_t window_len = g->view->end - g->view->start;
    size_t n_bytes = 0, n_common = 0;
    for (size_t at = 0; at < len;) {
        size_t next = lines_on(text, len, at, 0), end = next;
        while (end > at && (text[end - 1] == '\n' || text[end - 1] == '\r' || text[end - 1] == ' ')) end--;
        while (at < end && (text[at] == ' ' || text[at] == '\t')) at++;
        n_bytes += end - at;
        if (end > at && memmem(window, window_len, text + at, end - at)) n_common += end - at;
        at = next;
    }
    return n_common * 2 > n_bytes;
}

static void gather_client(struct gathering *g, const struct fim_file *f)
{
    const struct context_input *in = g->in;
    struct block best[BLOCKS_EACH + 1];
    struct span all = {0, f->text_len};
    if (f->text_len > CLIENT_BYTES || (in->secrets && f->path && secrets_is_file(in->secrets, f->path)))
        return;
    int32_t n = 1;
    if (f->text_len <= g->max_bytes && count_lines(f->text, all) <= BLOCK_LINES_MAX) {
        struct identifiers ids;
        identifiers_of(f->text, f->text_len, &ids);
        best[0] = (struct block){all, identifiers_similarity(&ids, &g->near.identifiers)};
    } else {
        n = find_blocks(g, f->text, all, (struct span){0, 0}, best);
    }
    for (int32_t i = 0; i < n; i++) {
        struct span s = best[i].span;
        if (repeats_window(g, f->text + s.from, s.to - s.from)) continue;
        /* The client had a reason to send it, so that also what has no name in common counts. */
        struct candidate c = {.kind = CONTEXT_CLIENT,
                              .relevance = 0.3 + 0.7 * block_relevance(best[i].similarity),
                              .path = f->path ? f->path : "",
                              .whole = f->text,
                              .whole_len = f->text_len,
                              .from = s.from,
                              .to = s.to};
        candidates_add(g->out, &c);
    }
}

void gather_documents(struct gathering *g)
{
    gather_edits(g);
    gather_similar(g, g->in->doc);
    for (int32_t i = 0; i < g->n_others; i++) gather_similar(g, g->others[i]);
    int32_t first = g->in->n_files > CLIENT_MAX ? g->in->n_files - CLIENT_MAX : 0;
    for (int32_t i = first; i < g->in->n_files; i++) gather_client(g, &g->in->files[i]);
}
