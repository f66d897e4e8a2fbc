/* Lookups: what is called so, which definitions come first, and copies of them. Readers of the tables never
 * wait for the indexer, and it waits for them, so nothing here blocks. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "context/identifiers.h"
#include "context/project_impl.h"

/* A name with more definitions than this ("init", "get") says nothing, and is not found at all: an answer
 * that depended on which of them are looked at first would not always be the same. */
#define SAME_NAME_MAX 512

/* Of the asking file; more are not looked at. */
#define IMPORTS_MAX 256

/* In the order of what decides. */
struct rank {
    int32_t tier;  /* 0: imported; 1: in the same folder; 2: elsewhere; 3: the asking file itself */
    size_t common; /* more is better: bytes of folders in common */
    bool has_comment;
};

struct candidate {
    double score; /* of what is found by parts of its name */
    struct rank rank;
    const struct project_file *file;
    const struct project_unit *unit;
};

static const char *unit_name(const struct candidate *c)
{
    return c->file->pool + c->unit->name;
}

/* ---- Ranks */

static bool mentions(const char *text, size_t len, const char *word, size_t word_len)
{
    return word_len > 0 && memmem(text, len, word, word_len) != NULL;
}

/* Whether an import could mean the file, as it is written: it names what imports call the file, or nothing at
 * all (".."). Spares most resolving, and the words spare most comparing. */
static bool could_mean(const struct project_import *import, const char *target, const struct project_file *f)
{
    if (import->words == 0) return true;
    if (!(import->words & f->words)) return false;
    size_t len;
    const char *folder = project_file_folder(f, &len);
    return mentions(target, import->target_len, f->name, project_file_stem(f)) ||
           (f->is_for_folder && mentions(target, import->target_len, folder, len));
}

static bool is_same_folder(const char *a, const char *b)
{
    const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
    size_t a_len = a_slash ? (size_t)(a_slash - a) : 0, b_len = b_slash ? (size_t)(b_slash - b) : 0;
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* Who asks. What its imports mean is found when the first candidate needs it, and kept for the others. */
struct asker {
    const struct project_table *table;
    const char *path;                /* null: not told */
    const struct project_file *file; /* null: not indexed */
    bool is_resolved[IMPORTS_MAX];
    struct project_target targets[IMPORTS_MAX]; /* file null: none */
};

static const struct project_target *resolve(struct asker *by, int32_t i)
{
    const struct project_import *import = &by->file->imports[i];
    if (!by->is_resolved[i]) {
        by->is_resolved[i] = true;
        if (!project_resolve_in(by->table, by->path, by->file->language, by->file->pool + import->target,
                                import->target_len, &by->targets[i]))
            by->targets[i].file = NULL;
    }
    return &by->targets[i];
}

static bool is_imported(struct asker *by, const struct project_file *f)
{
    for (int32_t i = 0; by->file && i < by->file->n_imports && i < IMPORTS_MAX; i++) {
        const struct project_import *import = &by->file->imports[i];
        if (!could_mean(import, by->file->pool + import->target, f)) continue;
        const struct project_target *t = resolve(by, i);
        if (t->file == f) return true;
        if (t->file && t->is_folder && is_same_folder(t->file->path, f->path)) return true;
    }
    return false;
}

static struct rank rank_of(struct asker *by, const struct candidate *c)
{
    struct rank r = {.tier = 2, .has_comment = c->unit->has_comment};
    if (!by->path) return r;
    r.common = project_resolve_common(by->path, c->file->path);
    if (strcmp(by->path, c->file->path) == 0)
        r.tier = 3;
    else if (is_imported(by, c->file))
        r.tier = 0;
    else if (is_same_folder(by->path, c->file->path))
        r.tier = 1;
    return r;
}

static int compare(const struct candidate *x, const struct candidate *y)
{
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->rank.tier != y->rank.tier) return x->rank.tier < y->rank.tier ? -1 : 1;
    if (x->rank.common != y->rank.common) return x->rank.common > y->rank.common ? -1 : 1;
    if (x->rank.has_comment != y->rank.has_comment) return x->rank.has_comment ? -1 : 1;
    int order = strcmp(x->file->path, y->file->path);
    if (order != 0) return order;
    return x->unit < y->unit ? -1 : x->unit > y->unit; /* of one file, in the order of lines */
}

/* ---- Answers */

static char *copy(char **at, const char *bytes, size_t len)
{
    char *start = *at;
    memcpy(start, bytes, len);
    start[len] = '\0';
    *at += len + 1;
    return start;
}

/* One block: the items, then their strings. */
static enum err make_answer(const struct candidate *candidates, int32_t n, struct project_answer *out)
{
    if (n == 0) return OK;
    size_t bytes = (size_t)n * sizeof *out->items;
    for (int32_t i = 0; i < n; i++) {
        const struct candidate *c = &candidates[i];
        bytes += strlen(c->file->path) + 1 + c->unit->name_len + 1 + c->unit->text_len + 1;
    }
    char *block = mem_try(1, bytes);
    if (!block) return ERR_NOMEM;
    out->memory = block;
    out->items = (struct project_definition *)(void *)block;
    out->n = n;
    char *at = block + (size_t)n * sizeof *out->items;
    for (int32_t i = 0; i < n; i++) {
        const struct candidate *c = &candidates[i];
        struct project_definition *d = &out->items[i];
        d->path = copy(&at, c->file->path, strlen(c->file->path));
        d->name = copy(&at, unit_name(c), c->unit->name_len);
        d->text = copy(&at, c->file->pool + c->unit->text, c->unit->text_len);
        d->text_len = c->unit->text_len;
        d->line = c->unit->line;
        d->kind = c->unit->kind;
        d->score = c->score;
        d->hash = XXH3_64bits(d->text, d->text_len);
    }
    return OK;
}

/* Insert in order; of more than `most` the last falls out. */
static void insert(struct candidate *best, int32_t *n, int32_t most, const struct candidate *c)
{
    int32_t at = *n;
    while (at > 0 && compare(c, &best[at - 1]) < 0) at--;
    if (at == most) return;
    if (*n < most) ++*n;
    memmove(best + at + 1, best + at, (size_t)(*n - at - 1) * sizeof *best);
    best[at] = *c;
}

/* The best of what is called so, unless too much is. */
static int32_t collect(struct asker *by, const char *name, size_t name_len, int32_t most,
                       struct candidate best[SAME_NAME_MAX])
{
    uint32_t n_links;
    int32_t n = 0;
    const struct project_map *units = &by->table->units;
    const struct project_link *l = project_map_first(units, project_table_hash(name, name_len), &n_links);
    if (n_links > SAME_NAME_MAX) return 0;
    for (; l; l = project_map_next(units, l)) {
        struct candidate c = {.file = l->file, .unit = &l->file->units[l->item]};
        if (c.unit->name_len != name_len || memcmp(unit_name(&c), name, name_len) != 0) continue;
        c.rank = rank_of(by, &c);
        insert(best, &n, most, &c);
    }
    return n;
}

static void begin(struct project *p, const char *path, struct asker *by, int *side)
{
    by->table = project_table_enter(&p->tables, side);
    by->path = path;
    by->file = path ? project_table_file(by->table, path, strlen(path)) : NULL;
    memset(by->is_resolved, 0, sizeof by->is_resolved);
}

enum err project_find(struct project *p, const char *name, size_t name_len, const char *path, int32_t max,
                      struct project_answer *out)
{
    struct candidate best[SAME_NAME_MAX];
    struct asker by; /* its targets are set as they are needed */
    int side;
    *out = (struct project_answer){0};
    if (max <= 0) return OK;
    begin(p, path, &by, &side);
    int32_t n = collect(&by, name, name_len, max < SAME_NAME_MAX ? max : SAME_NAME_MAX, best);
    enum err err = make_answer(best, n, out);
    project_table_leave(&p->tables, side);
    return err;
}

enum err project_outline(struct project *p, const char *path, int32_t max, struct project_answer *out)
{
    int side;
    *out = (struct project_answer){0};
    const struct project_table *t = project_table_enter(&p->tables, &side);
    const struct project_file *f = project_table_file(t, path, strlen(path));
    int32_t n = 0, most = f && max > 0 ? (f->n_units < max ? f->n_units : max) : 0;
    struct candidate *candidates = mem_try((size_t)most, sizeof *candidates);
    for (int32_t i = 0; candidates && f && i < f->n_units && n < most; i++) {
        if (f->units[i].is_top) candidates[n++] = (struct candidate){.file = f, .unit = &f->units[i]};
    }
    enum err err = candidates ? make_answer(candidates, n, out) : ERR_NOMEM;
    project_table_leave(&p->tables, side);
    mem_free(candidates);
    return err;
}

/* ---- By parts of names */

/* A word in the name of a definition's type or file tells less than one in its own. */
#define OWNER_WEIGHT 0.7

/* How much a definition counts by where it is: ranks' tiers. */
static const double tier_weights[] = {1, 0.9, 0.6, 0};

struct search {
    const struct project_word *words;
    int32_t n;
    double idf[PROJECT_WORDS_MAX];
};

static int32_t find_word(const struct search *s, uint32_t hash)
{
    int32_t low = 0, high = s->n;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (s->words[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n && s->words[low].hash == hash ? low : -1;
}

/* The words among the parts of a name, a bit for each. */
static uint64_t words_of(const struct search *s, const char *name, size_t len)
{
    uint64_t found = 0;
    uint32_t hash;
    for (size_t at = 0; identifiers_part(name, len, &at, &hash);) {
        int32_t i = find_word(s, hash);
        if (i >= 0) found |= (uint64_t)1 << i;
    }
    return found;
}

static double weigh(const struct search *s, uint64_t words)
{
    double sum = 0;
    for (; words; words &= words - 1) {
        int i = __builtin_ctzll(words);
        sum += s->words[i].weight * s->idf[i];
    }
    return sum;
}

/* Call fn with each definition and the words in its own name and in its type's or file's. */
static void each_unit(const struct project_table *t, const struct search *s,
                      void (*fn)(void *ctx, const struct project_file *f, const struct project_unit *u,
                                 uint64_t own, uint64_t owner),
                      void *ctx)
{
    for (uint32_t i = 0; i < t->paths.n_links; i++) {
        const struct project_file *f = t->paths.links[i].file;
        if (!f) continue;
        uint64_t file = words_of(s, f->name, project_file_stem(f)), type = 0;
        for (int32_t j = 0; j < f->n_units; j++) {
            const struct project_unit *u = &f->units[j];
            uint64_t own = words_of(s, f->pool + u->name, u->name_len);
            if (u->is_top) type = u->kind == OUTLINE_TYPE ? own : 0;
            fn(ctx, f, u, own, (u->is_top ? file : file | type) & ~own);
        }
    }
}

struct counting {
    int64_t n, with[PROJECT_WORDS_MAX];
};

static void count_unit(void *ctx, const struct project_file *f, const struct project_unit *u, uint64_t own,
                       uint64_t owner)
{
    (void)f, (void)u;
    struct counting *c = ctx;
    c->n++;
    for (uint64_t words = own | owner; words; words &= words - 1) c->with[__builtin_ctzll(words)]++;
}

struct ranking {
    const struct search *search;
    struct asker *by;
    const struct project_file *file; /* that `tier` is of */
    struct rank rank;
    struct candidate *best;
    int32_t n, most;
};

static void rank_unit(void *ctx, const struct project_file *f, const struct project_unit *u, uint64_t own,
                      uint64_t owner)
{
    struct ranking *r = ctx;
    if (!(own | owner)) return;
    struct candidate c = {
        .score = weigh(r->search, own) + OWNER_WEIGHT * weigh(r->search, owner), .file = f, .unit = u};
    if (r->n == r->most && c.score <= r->best[r->n - 1].score) return;
    if (r->file != f) {
        r->rank = rank_of(r->by, &c);
        r->file = f;
    }
    c.rank = r->rank;
    c.rank.has_comment = u->has_comment;
    c.score *= tier_weights[c.rank.tier];
    if (c.score > 0) insert(r->best, &r->n, r->most, &c);
}

static void search(struct asker *by, const struct project_word *words, int32_t n, struct ranking *r)
{
    struct search s = {.words = words, .n = n};
    struct counting c = {0};
    each_unit(by->table, &s, count_unit, &c);
    for (int32_t i = 0; i < n; i++) s.idf[i] = log((double)(c.n + 1) / (double)(c.with[i] + 1));
    r->search = &s;
    r->by = by;
    each_unit(by->table, &s, rank_unit, r);
    r->search = NULL;
}

enum err project_related(struct project *p, const struct project_word *words, int32_t n, const char *path,
                         int32_t max, struct project_answer *out)
{
    struct candidate best[SAME_NAME_MAX];
    struct asker by;
    int side;
    *out = (struct project_answer){0};
    if (max <= 0 || n <= 0) return OK;
    struct ranking r = {.best = best, .most = max < SAME_NAME_MAX ? max : SAME_NAME_MAX};
    begin(p, path, &by, &side);
    search(&by, words, n < PROJECT_WORDS_MAX ? n : PROJECT_WORDS_MAX, &r);
    enum err err = make_answer(best, r.n, out);
    project_table_leave(&p->tables, side);
    return err;
}

void project_answer_clear(struct project_answer *a)
{
    mem_free(a->memory);
    *a = (struct project_answer){0};
}

bool project_resolve(struct project *p, const char *from, const char *target, size_t target_len, char *path,
                     size_t path_max)
{
    struct project_target found;
    int side;
    if (strlen(from) >= PROJECT_PATH_MAX) return false;
    const struct project_table *t = project_table_enter(&p->tables, &side);
    bool ok = project_resolve_in(t, from, language_of_path(from, NULL, 0), target, target_len, &found);
    size_t len = ok ? strlen(found.file->path) : 0;
    ok = ok && len < path_max;
    if (ok) memcpy(path, found.file->path, len + 1);
    project_table_leave(&p->tables, side);
    return ok;
}

uint32_t project_path_hash(const char *path)
{
    return project_table_hash(path, strlen(path));
}

static bool defines(const struct project_file *f, uint64_t hash)
{
    for (int32_t i = 0; i < f->n_units; i++) {
        const struct project_unit *u = &f->units[i];
        if (XXH3_64bits(f->pool + u->text, u->text_len) == hash) return true;
    }
    return false;
}

bool project_defines(struct project *p, uint32_t path_hash, uint64_t hash)
{
    int side;
    uint32_t n;
    bool is_there = false;
    const struct project_table *t = project_table_enter(&p->tables, &side);
    const struct project_link *l = project_map_first(&t->paths, path_hash, &n);
    for (; l && !is_there; l = project_map_next(&t->paths, l)) is_there = defines(l->file, hash);
    project_table_leave(&p->tables, side);
    return is_there;
}
