/* Attention of one batch. A task is a tile, some neighbouring tokens of one sequence with the query heads
 * that share a K/V head; where there are fewer of these than threads want, a task is one chunk of a tile. */
#include "infer/attention.h"

#include "base/mem.h"
#include "infer/slab.h"
#include "model/arch.h"
#include "os/pages.h"
#include "os/pool.h"

#define CHUNK 512 /* positions; a multiple of KERN_KV_BLOCK */
/* Partial sums when chunks are tasks. More tasks than this keep any number of threads busy as they are. */
#define MAX_PARTIALS 256

/* Sums over one chunk of positions, for the rows of one tile and K/V head (struct kern_attend_out). */
struct partial {
    float *acc; /* [KERN_ATTEND_ROWS][head_dim] */
    float max[KERN_ATTEND_ROWS], sum[KERN_ATTEND_ROWS];
};

/* Neighbouring tokens of one sequence. */
struct tile {
    int32_t first, n; /* tokens of the batch */
};

struct attention {
    int32_t n_heads, n_kv_heads, head_dim, group; /* group: query heads that share a K/V head */
    float scale;
    int32_t n_partials;
    struct tile *tiles;      /* [max_batch] */
    struct partial *partial; /* [n_partials] */
    struct slab slab;        /* holds the above */

    /* The batch. */
    const struct place *places; /* borrowed */
    int32_t n_tiles;
    int32_t n_chunks; /* each a task of its own; 0: a task does all chunks of its tile */

    /* The layer that is running. */
    const struct compute *c;
    int32_t layer, window;
    const float *q;
    float *out;
};

static void lay_out(struct attention *a, int32_t max_batch)
{
    a->tiles = slab_take(&a->slab, (size_t)max_batch * sizeof *a->tiles);
    a->partial = slab_take(&a->slab, (size_t)a->n_partials * sizeof *a->partial);
    for (int32_t i = 0; i < a->n_partials; i++) {
        float *acc = slab_take(&a->slab, sizeof(float) * KERN_ATTEND_ROWS * (size_t)a->head_dim);
        if (a->partial) a->partial[i].acc = acc;
    }
}

enum err attention_new(const struct arch_params *p, const struct compute *c, int32_t max_batch,
                       struct attention **out, struct errmsg *msg)
{
    struct attention *a = MEM_NEW(struct attention);
    a->n_heads = p->n_heads;
    a->n_kv_heads = p->n_kv_heads;
    a->head_dim = p->head_dim;
    a->group = p->n_heads / p->n_kv_heads;
    a->scale = p->attention_scale;
    int32_t own = 2 * pool_threads(c->pool); /* attend_tile's */
    a->n_partials = own > MAX_PARTIALS ? own : MAX_PARTIALS;
    lay_out(a, max_batch);
    a->slab = (struct slab){.memory = pages_reserve(a->slab.used), .bytes = a->slab.used};
    if (!a->slab.memory) {
        attention_free(&a);
        return err_set(msg, ERR_NOMEM, "not enough memory for a batch of %d tokens", max_batch);
    }
    lay_out(a, max_batch);
    *out = a;
    return OK;
}

void attention_free(struct attention **ap)
{
    struct attention *a = *ap;
    *ap = NULL;
    if (!a) return;
    pages_release(a->slab.memory, a->slab.bytes);
    mem_free(a);
}

size_t attention_bytes(const struct attention *a)
{
    return a->slab.bytes;
}

/* The first chunk of which a token at pos sees something, and the one after the last. */
static int32_t first_chunk(int32_t pos, int32_t window)
{
    return window && pos + 1 > window ? (pos + 1 - window) / CHUNK : 0;
}

static int32_t end_chunk(int32_t pos)
{
    return pos / CHUNK + 1;
}

/* Chunks of the longest sequence if they are to be tasks, else 0. */
static int32_t split(const struct attention *a, int32_t n_threads)
{
    int32_t n_pairs = a->n_tiles * a->n_kv_heads, n_chunks = 0;
    for (int32_t i = 0; i < a->n_tiles; i++) {
        int32_t end = end_chunk(a->places[a->tiles[i].first + a->tiles[i].n - 1].pos);
        if (end > n_chunks) n_chunks = end;
    }
    bool is_short_of_tasks = n_chunks > 1 && n_pairs < 2 * n_threads;
    return n_threads > 1 && is_short_of_tasks && n_pairs <= MAX_PARTIALS / n_chunks ? n_chunks : 0;
}

void attention_begin(struct attention *a, const struct place *places, int32_t n)
{
    struct tile *last = NULL;
    a->places = places;
    a->n_tiles = 0;
    for (int32_t t = 0; t < n; t++) {
        bool goes_on = last && places[t].kv == places[t - 1].kv && places[t].pos == places[t - 1].pos + 1;
        if (!goes_on || (last->n + 1) * a->group > KERN_ATTEND_ROWS) {
            last = &a->tiles[a->n_tiles++];
            *last = (struct tile){.first = t};
        }
        last->n++;
    }
}

/* What a K/V head has to do for a tile: pair = tile * n_kv_heads + head. */
static struct kern_attend work_of(const struct attention *a, int32_t pair)
{
    const struct tile *tile = &a->tiles[pair / a->n_kv_heads];
    const struct place *at = &a->places[tile->first];
    const struct kv_shape *shape = kv_pool_shape(at->kv->pool);
    int32_t head = pair % a->n_kv_heads;
    size_t stride = (size_t)a->n_heads * (size_t)a->head_dim;
    return (struct kern_attend){.q = a->q + (size_t)tile->first * stride +
                                     (size_t)head * (size_t)a->group * (size_t)a->head_dim,
                                .q_stride = stride,
                                .pages = (const char *const *)at->kv->pages,
                                .k_offset = kv_block_offset(shape, a->layer, head, false),
                                .v_offset = kv_block_offset(shape, a->layer, head, true),
                                .type = shape->type,
                                .n_tokens = tile->n,
                                .n_heads = a->group,
                                .head_dim = a->head_dim,
                                .pos = at->pos,
                                .window = a->window,
                                .scale = a->scale};
}

static void attend_chunk(const struct attention *a, const struct kern_attend *work, int32_t chunk,
                         struct partial *out, int32_t worker)
{
    struct kern_attend_out sums = {.acc = out->acc,
                                   .acc_stride = (size_t)a->group * (size_t)a->head_dim,
                                   .max = out->max,
                                   .sum = out->sum};
    a->c->kern->attend(work, chunk * CHUNK, (chunk + 1) * CHUNK, &sums,
                       a->c->scratch + (size_t)worker * a->c->scratch_bytes);
}

static void merge(const struct attention *a, struct partial *sums, const struct partial *more, int32_t n_rows)
{
    for (int32_t r = 0; r < n_rows; r++) {
        size_t at = (size_t)r * (size_t)a->head_dim;
        kern_attend_merge(sums->acc + at, &sums->max[r], &sums->sum[r], more->acc + at, more->max[r],
                          more->sum[r], a->head_dim);
    }
}

/* Divide the sums over all chunks, and put them where the tile's heads belong in out. */
static void put(const struct attention *a, int32_t pair, const struct kern_attend *work,
                const struct partial *sums)
{
    const struct tile *tile = &a->tiles[pair / a->n_kv_heads];
    int32_t head = pair % a->n_kv_heads * a->group;
    for (int32_t r = 0; r < work->n_tokens * a->group; r++) {
        int32_t row = (tile->first + r / a->group) * a->n_heads + head + r % a->group;
        const float *acc = sums->acc + (size_t)r * (size_t)a->head_dim;
        float *out = a->out + (size_t)row * (size_t)a->head_dim, inverse = 1 / sums->sum[r];
        for (int32_t i = 0; i < a->head_dim; i++) out[i] = acc[i] * inverse;
    }
}

/* A task: all chunks of a tile for one K/V head. Of a thread's two partials, the first holds the sums so far.
 */
static void attend_tile(void *ctx, int32_t pair, int32_t worker)
{
    const struct attention *a = ctx;
    if (limits_are_over(a->c->limits)) return;
    struct kern_attend work = work_of(a, pair);
    struct partial *sums = &a->partial[2 * worker], *next = sums + 1;
    int32_t first = first_chunk(work.pos, a->window), end = end_chunk(work.pos + work.n_tokens - 1);
    attend_chunk(a, &work, first, sums, worker);
    for (int32_t chunk = first + 1; chunk < end; chunk++) {
        attend_chunk(a, &work, chunk, next, worker);
        merge(a, sums, next, work.n_tokens * a->group);
    }
    put(a, pair, &work, sums);
}

/* A task: one chunk of a tile for one K/V head. */
static void attend_split(void *ctx, int32_t task, int32_t worker)
{
    const struct attention *a = ctx;
    if (limits_are_over(a->c->limits)) return;
    struct kern_attend work = work_of(a, task / a->n_chunks);
    int32_t chunk = task % a->n_chunks, last_pos = work.pos + work.n_tokens - 1;
    if (chunk < first_chunk(work.pos, a->window) || chunk >= end_chunk(last_pos)) return;
    attend_chunk(a, &work, chunk, &a->partial[task], worker);
}

static void merge_split(const struct attention *a, int32_t pair)
{
    struct kern_attend work = work_of(a, pair);
    int32_t first = first_chunk(work.pos, a->window), end = end_chunk(work.pos + work.n_tokens - 1);
    struct partial *sums = &a->partial[pair * a->n_chunks + first];
    for (int32_t i = 1; i < end - first; i++) merge(a, sums, sums + i, work.n_tokens * a->group);
    put(a, pair, &work, sums);
}

void attention_run(struct attention *a, const struct compute *c, int32_t layer, int32_t window,
                   const float *q, float *out)
{
    int32_t n_pairs = a->n_tiles * a->n_kv_heads;
    a->c = c;
    a->layer = layer;
    a->window = window;
    a->q = q;
    a->out = out;
    a->n_chunks = split(a, pool_threads(c->pool));
    if (!a->n_chunks) {
        pool_run(c->pool, n_pairs, attend_tile, a);
        return;
    }
    pool_run(c->pool, n_pairs * a->n_chunks, attend_split, a);
    if (limits_are_over(c->limits)) return; /* partials may be missing */
    for (int32_t pair = 0; pair < n_pairs; pair++) merge_split(a, pair);
}
