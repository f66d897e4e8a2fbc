/* Candidates out of the files that this document imports: the signatures of what they define. What will be
 * written next is often one of them, though nothing near the cursor names it yet. */
#include <string.h>

#include "context/candidates.h"

#define DEFINITIONS_MAX 100 /* of one file */
#define PATH_BYTES      1024

/* Something that an imported file defines may be meant anywhere; something that the import names is. */
#define RELEVANCE_ANY   0.15
#define RELEVANCE_NAMED 0.5
/* A third of all identifiers in common is as alike as a head and a screen of code get. */
#define RELEVANCE_LIKE 3.0

static double relevance_of(const struct gathering *g, const struct identifiers *import, const char *name,
                           const char *text, size_t len)
{
    struct identifiers own;
    identifiers_of(text, len, &own);
    double relevance = RELEVANCE_ANY + RELEVANCE_LIKE * identifiers_similarity(&own, &g->near.identifiers);
    if (identifiers_has(import, identifiers_hash(name, strlen(name)))) relevance += RELEVANCE_NAMED;
    return relevance < 1 ? relevance : 1;
}

static bool is_known(const struct gathering *g, const char *name)
{
    uint32_t hash = identifiers_hash(name, strlen(name));
    for (int32_t i = 0; i < g->near.n_names; i++) {
        if (g->near.names[i].hash == hash) return true; /* gathered by its name already */
    }
    return false;
}

static void gather_file(struct gathering *g, const char *path, const struct identifiers *import)
{
    struct project_answer *answer = &g->out->answers[g->out->n_answers];
    enum err err = project_outline(g->in->project, path, DEFINITIONS_MAX, answer);
    if (err) {
        g->out->err = err;
        return;
    }
    g->out->n_answers++;
    for (int32_t i = 0; i < answer->n; i++) {
        const struct project_definition *d = &answer->items[i];
        if (d->text_len > g->max_bytes || is_known(g, d->name)) continue;
        struct candidate c = {.kind = CONTEXT_DEFINITION,
                              .relevance = relevance_of(g, import, d->name, d->text, d->text_len),
                              .path = d->path,
                              .whole = d->text,
                              .whole_len = d->text_len,
                              .to = d->text_len,
                              .line = d->line,
                              .name = d->name,
                              .hash = d->hash};
        candidates_add(g->out, &c);
    }
}

/* Whether an earlier import led there. */
static bool is_seen(char seen[][PATH_BYTES], int n, const char *path)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(seen[i], path) == 0) return true;
    }
    return false;
}

void gather_imports(struct gathering *g)
{
    const struct outline *o = g->outline;
    const struct open_document *doc = g->in->doc;
    char seen[CANDIDATES_IMPORTS][PATH_BYTES];
    int n = 0;
    if (!g->in->project || !doc->path[0]) return;
    for (int32_t i = 0; i < o->n_imports && n < CANDIDATES_IMPORTS; i++) {
        const struct outline_import *import = &o->imports[i];
        const char *text = doc->text.bytes;
        if (!project_resolve(g->in->project, doc->path, text + import->target, import->target_len, seen[n],
                             PATH_BYTES))
            continue;
        if (strcmp(seen[n], doc->path) == 0 || is_seen(seen, n, seen[n])) continue;
        struct identifiers named;
        identifiers_of(text + import->start, import->end - import->start, &named);
        gather_file(g, seen[n++], &named);
    }
}
