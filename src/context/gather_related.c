/* Candidates that have to do with what is named near the cursor, though nothing there names them: "auth."
 * makes class Auth and the file auth.py likely, "parser->read_" a field "read_handler". Told by the parts of
 * names. */
#include <stdlib.h>
#include <string.h>

#include "context/candidates.h"

#define RELATED_MAX 64 /* definitions of the index that are offered */

/* Score at which a definition counts half: about that of one rare word in its name. */
#define SCORE_HALF 8.0

/* Of open documents, which are few, every word counts like a rare one of the index. */
#define IDF_OPEN     5.0
#define OWNER_WEIGHT 0.7
#define LEAST        0.2 /* relevance of what is offered of open documents */

struct words {
    struct project_word items[PROJECT_WORDS_MAX]; /* ascending by hash */
    int32_t n;
};

static int compare_words(const void *a, const void *b)
{
    const struct project_word *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* The nearest name with a word decides about its weight. */
static void add_words(struct words *w, const char *name, size_t len, double weight)
{
    uint32_t hash;
    for (size_t at = 0; w->n < PROJECT_WORDS_MAX && identifiers_part(name, len, &at, &hash);) {
        int32_t i = 0;
        while (i < w->n && w->items[i].hash != hash) i++;
        if (i == w->n) w->items[w->n++] = (struct project_word){hash, weight};
    }
}

static double relevance_of(double score)
{
    return score / (score + SCORE_HALF);
}

static void gather_index(struct gathering *g, const struct words *w)
{
    struct project_answer *answer = candidates_next_answer(g->out);
    const char *path = g->in->doc->path;
    enum err err =
        project_related(g->in->project, w->items, w->n, path[0] ? path : NULL, RELATED_MAX, answer);
    if (!candidates_keep_answer(g->out, err)) return;
    for (int32_t i = 0; i < answer->n; i++) {
        const struct project_definition *d = &answer->items[i];
        if (gather_open(g, d->path) || gather_is_near(g, d->name, strlen(d->name))) continue;
        gather_head(g, d, relevance_of(d->score));
    }
}

static double score_of(const struct words *w, const char *name, size_t len)
{
    double score = 0;
    uint32_t hash;
    for (size_t at = 0; identifiers_part(name, len, &at, &hash);) {
        struct project_word key = {.hash = hash};
        const struct project_word *found =
            bsearch(&key, w->items, (size_t)w->n, sizeof *w->items, compare_words);
        if (found) score += found->weight * IDF_OPEN;
    }
    return score;
}

static void gather_opened(struct gathering *g, struct open_document *doc, const struct words *w)
{
    const struct outline *o = documents_outline(doc, CANDIDATES_OUTLINE_BYTES);
    const char *text = doc->text.bytes, *slash = strrchr(doc->path, '/');
    const char *stem = slash ? slash + 1 : doc->path;
    double file = OWNER_WEIGHT * score_of(w, stem, strcspn(stem, "."));
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i], *owner = u->parent >= 0 ? &o->units[u->parent] : NULL;
        if (u->name_len == 0 || !gather_is_visible(o, i) || gather_is_near(g, text + u->name, u->name_len))
            continue;
        double score = file + score_of(w, text + u->name, u->name_len);
        if (owner) score += OWNER_WEIGHT * score_of(w, text + owner->name, owner->name_len);
        double relevance = relevance_of(score);
        if (relevance >= LEAST) gather_signature(g, CONTEXT_DEFINITION, doc, o, i, relevance);
    }
}

void gather_related(struct gathering *g)
{
    struct words w = {.n = 0};
    for (int32_t i = 0; i < g->near.n_names; i++)
        add_words(&w, g->near.names[i].text, g->near.names[i].len, gather_rank_relevance(i));
    qsort(w.items, (size_t)w.n, sizeof *w.items, compare_words);
    if (w.n == 0) return;
    for (int32_t i = 0; i < g->n_others; i++) gather_opened(g, g->others[i], &w);
    if (g->in->project) gather_index(g, &w);
}
