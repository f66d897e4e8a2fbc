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
                           size_t name_len, const char *text, size_t len)
{
    struct identifiers own;
    identifiers_of(text, len, &own);
    double relevance = RELEVANCE_ANY + RELEVANCE_LIKE * identifiers_similarity(&own, &g->near.identifiers);
    if (identifiers_has(import, identifiers_hash(name, name_len))) relevance += RELEVANCE_NAMED;
    return relevance < 1 ? relevance : 1;
}

static void gather_closed(struct gathering *g, const char *path, const struct identifiers *import)
{
    struct project_answer *answer = candidates_next_answer(g->out);
    enum err err = project_outline(g->in->project, path, DEFINITIONS_MAX, answer);
    if (!candidates_keep_answer(g->out, err)) return;
    for (int32_t i = 0; i < answer->n; i++) {
        const struct project_definition *d = &answer->items[i];
        size_t name_len = strlen(d->name);
        if (gather_is_near(g, d->name, name_len)) continue;
        gather_head(g, d, relevance_of(g, import, d->name, name_len, d->text, d->text_len));
    }
}

static void gather_opened(struct gathering *g, struct open_document *doc, const struct identifiers *import)
{
    const struct outline *o = documents_outline(doc, CANDIDATES_OUTLINE_BYTES);
    const char *text = doc->text.bytes;
    for (int32_t i = 0; i < o->n_units && i < DEFINITIONS_MAX; i++) {
        const struct outline_unit *u = &o->units[i];
        if (u->parent >= 0 || u->name_len == 0 || gather_is_near(g, text + u->name, u->name_len)) continue;
        size_t head = (u->body > u->start ? u->body : u->end) - u->start;
        double relevance = relevance_of(g, import, text + u->name, u->name_len, text + u->start, head);
        gather_signature(g, CONTEXT_DEFINITION, doc, o, i, relevance);
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
        struct open_document *opened = gather_open(g, seen[n]);
        if (opened)
            gather_opened(g, opened, &named);
        else
            gather_closed(g, seen[n], &named);
        n++;
    }
}
