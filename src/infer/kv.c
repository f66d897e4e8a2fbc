/* KV caches of sequences, in pages from a pool.
 *
 * The pool reserves address space for its first budget at once and hands out equal pages of it, so that a
 * page's number follows from its address. A smaller budget later only means that fewer are handed out; what
 * is in use beyond it stays until it is freed. Invariants: refs[i] is the number of page tables that hold
 * page i; a page is on the free stack exactly when that is 0; a table writes only to pages whose count is 1.
 */
#include "infer/kv.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "infer/linear.h"
#include "infer/rope.h"
#include "model/arch.h"
#include "os/pages.h"
#include "os/pool.h"

/* Freed memory that stays resident, so that taking and freeing pages, at a keystroke or when one file makes
 * room for another, causes neither page faults nor system calls: 1,300 positions of a 0.5B model. Twice this
 * may gather before it is cut back to this. */
#define WARM_BYTES ((size_t)16 << 20)

#define Q8_SCALE_LEN 32 /* values that share a scale in KERN_KV_Q8_0 */

struct kv_pool {
    struct kv_shape shape;
    char *memory; /* [n_pages][page_bytes] */
    int32_t n_pages;
    int32_t n_usable; /* that the budget allows to be in use; 1..n_pages */
    int32_t *refs;    /* [n_pages] */
    int32_t *free;    /* [n_free] stack of page numbers; the memory of the uppermost n_warm is resident */
    int32_t n_free, n_warm, n_warm_kept;
};

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t pages_of(int32_t n_positions)
{
    return (int32_t)(((int64_t)n_positions + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK);
}

static struct kv_shape shape_of(const struct arch_params *p, enum kern_kv_type type)
{
    struct kv_shape s = {
        .n_layers = p->n_layers, .n_kv_heads = p->n_kv_heads, .head_dim = p->head_dim, .type = type};
    s.block_bytes = kern_kv_block_bytes(type, p->head_dim);
    size_t unit = pages_size(), bytes = kv_block_offset(&s, s.n_layers, 0, false);
    s.page_bytes = (bytes + unit - 1) / unit * unit;
    return s;
}

enum err kv_pool_new(const struct arch_params *p, enum kern_kv_type type, int64_t budget,
                     struct kv_pool **out, struct errmsg *msg)
{
    *out = NULL;
    if (type == KERN_KV_Q8_0 && p->head_dim % Q8_SCALE_LEN)
        return err_set(msg, ERR_ARG,
                       "a KV cache in Q8_0 needs heads of a multiple of %d values, not %d; use F16",
                       Q8_SCALE_LEN, p->head_dim);
    struct kv_shape shape = shape_of(p, type);
    if (budget < 0 || (uint64_t)budget < shape.page_bytes)
        return err_set(msg, ERR_ARG, "a KV cache of %lld bytes is too small; this model needs %zu at least",
                       (long long)budget, shape.page_bytes);
    struct kv_pool *pool = MEM_NEW(struct kv_pool);
    uint64_t n_pages = (uint64_t)budget / shape.page_bytes;
    pool->shape = shape;
    pool->n_pages = n_pages > INT32_MAX ? INT32_MAX : (int32_t)n_pages;
    pool->memory = pages_reserve((size_t)pool->n_pages * shape.page_bytes);
    if (!pool->memory) goto fail;
    pages_prefer_huge(pool->memory, (size_t)pool->n_pages * shape.page_bytes);
    pool->refs = mem_try((size_t)pool->n_pages, sizeof *pool->refs);
    pool->free = mem_try((size_t)pool->n_pages, sizeof *pool->free);
    if (!pool->refs || !pool->free) goto fail;
    for (int32_t i = 0; i < pool->n_pages; i++) pool->free[i] = pool->n_pages - 1 - i;
    pool->n_free = pool->n_usable = pool->n_pages;
    pool->n_warm_kept = max(1, (int32_t)(WARM_BYTES / shape.page_bytes));
    *out = pool;
    return OK;

fail:
    pages_release(pool->memory, (size_t)pool->n_pages * shape.page_bytes);
    mem_free(pool->refs);
    mem_free(pool->free);
    mem_free(pool);
    return err_set(msg, ERR_NOMEM, "cannot reserve %lld MB for the KV cache; ask for less",
                   (long long)(budget >> 20));
}

void kv_pool_free(struct kv_pool **pool)
{
    struct kv_pool *p = *pool;
    if (!p) return;
    assert(p->n_free == p->n_pages);
    pages_release(p->memory, (size_t)p->n_pages * p->shape.page_bytes);
    mem_free(p->refs);
    mem_free(p->free);
    mem_free(p);
    *pool = NULL;
}

const struct kv_shape *kv_pool_shape(const struct kv_pool *pool)
{
    return &pool->shape;
}

int64_t kv_pool_used(const struct kv_pool *pool)
{
    return (int64_t)(pool->n_pages - pool->n_free) * (int64_t)pool->shape.page_bytes;
}

int64_t kv_pool_budget(const struct kv_pool *pool)
{
    return (int64_t)pool->n_usable * (int64_t)pool->shape.page_bytes;
}

/* Pages that may still be taken. More may be in use than the budget allows by now. */
static int32_t n_left(const struct kv_pool *pool)
{
    return max(0, pool->n_usable - (pool->n_pages - pool->n_free));
}

/* Give back the memory of all but n of the warm pages: what was freed first goes first. */
static void cool(struct kv_pool *pool, int32_t n)
{
    for (; pool->n_warm > n; pool->n_warm--) {
        size_t i = (size_t)pool->free[pool->n_free - pool->n_warm];
        pages_forget(pool->memory + i * pool->shape.page_bytes, pool->shape.page_bytes);
    }
}

void kv_pool_set_budget(struct kv_pool *pool, int64_t budget)
{
    int64_t n = budget / (int64_t)pool->shape.page_bytes;
    pool->n_usable = n < 1 ? 1 : n > pool->n_pages ? pool->n_pages : (int32_t)n;
}

void kv_pool_trim(struct kv_pool *pool)
{
    cool(pool, 0);
}

static int32_t *refs_of(const struct kv_pool *pool, const char *page)
{
    return &pool->refs[(size_t)(page - pool->memory) / pool->shape.page_bytes];
}

/* The warmest free page; there must be one. */
static char *take_page(struct kv_pool *pool)
{
    assert(pool->n_free > 0);
    int32_t i = pool->free[--pool->n_free];
    if (pool->n_warm > 0) pool->n_warm--;
    pool->refs[i] = 1;
    return pool->memory + (size_t)i * pool->shape.page_bytes;
}

static char *ref_page(struct kv_pool *pool, char *page)
{
    ++*refs_of(pool, page);
    return page;
}

static void unref_page(struct kv_pool *pool, const char *page)
{
    int32_t *refs = refs_of(pool, page);
    assert(*refs > 0);
    if (--*refs > 0) return;
    pool->free[pool->n_free++] = (int32_t)(refs - pool->refs);
    pool->n_warm++;
}

/* Drop pages, then give memory back if too much of it lies idle. */
static void unref_pages(struct kv_pool *pool, char *const *pages, int32_t n)
{
    for (int32_t i = n - 1; i >= 0; i--) unref_page(pool, pages[i]);
    if (pool->n_warm > 2 * pool->n_warm_kept) cool(pool, pool->n_warm_kept);
}

enum err kv_open(struct kv_pool *pool, int32_t n_ctx, struct kv *out, struct errmsg *msg)
{
    *out = (struct kv){0};
    if (n_ctx < 1) return err_set(msg, ERR_ARG, "a context of %d tokens is too small", n_ctx);
    char **pages = mem_try(2 * (size_t)pages_of(n_ctx), sizeof *pages);
    if (!pages) return err_set(msg, ERR_NOMEM, "not enough memory for a context of %d tokens", n_ctx);
    *out = (struct kv){.pool = pool, .pages = pages, .n_ctx = n_ctx};
    return OK;
}

void kv_close(struct kv *kv)
{
    if (kv->pool) unref_pages(kv->pool, kv->pages, kv->n_pages);
    mem_free(kv->pages);
    *kv = (struct kv){0};
}

size_t kv_block_offset(const struct kv_shape *s, int32_t layer, int32_t head, bool is_value)
{
    size_t index = (size_t)layer * (size_t)s->n_kv_heads + (size_t)head;
    return (2 * index + is_value) * s->block_bytes;
}

/* Bytes that a position takes in a block: of values, and of scales, which stand behind all values. */
static size_t value_bytes(const struct kv_shape *s)
{
    return (size_t)s->head_dim * (s->type == KERN_KV_F16 ? sizeof(uint16_t) : sizeof(int8_t));
}

static size_t scale_bytes(const struct kv_shape *s)
{
    return s->type == KERN_KV_Q8_0 ? (size_t)s->head_dim / Q8_SCALE_LEN * sizeof(float) : 0;
}

/* Copy n consecutive positions of one head as they are. */
static void copy_rows(const struct kv_shape *s, char *dst, int32_t to, const char *src, int32_t from,
                      int32_t n)
{
    size_t values = value_bytes(s), scales = scale_bytes(s), behind = KERN_KV_BLOCK * values;
    memcpy(dst + (size_t)to * values, src + (size_t)from * values, (size_t)n * values);
    memcpy(dst + behind + (size_t)to * scales, src + behind + (size_t)from * scales, (size_t)n * scales);
}

void kv_page_clear(const struct kv_shape *s, char *page, int32_t index)
{
    size_t values = value_bytes(s), scales = scale_bytes(s), n = (size_t)(KERN_KV_BLOCK - index);
    int32_t n_blocks = 2 * s->n_layers * s->n_kv_heads;
    for (int32_t i = 0; i < n_blocks; i++) {
        char *block = page + (size_t)i * s->block_bytes;
        memset(block + (size_t)index * values, 0, n * values);
        memset(block + KERN_KV_BLOCK * values + (size_t)index * scales, 0, n * scales);
    }
}

static bool is_shared(const struct kv *kv, int32_t page)
{
    return *refs_of(kv->pool, kv->pages[page]) > 1;
}

/* Give kv a page i of its own in place of the shared one; `copy` where it holds positions to keep. */
static void unshare(struct kv *kv, int32_t i, bool copy)
{
    char *shared = kv->pages[i];
    kv->pages[i] = take_page(kv->pool);
    if (copy) memcpy(kv->pages[i], shared, kv->pool->shape.page_bytes);
    unref_page(kv->pool, shared);
}

enum err kv_reserve(struct kv *kv, int32_t from, int32_t to)
{
    if (to > kv->n_ctx) return ERR_LIMIT;
    if (from >= to) return OK;
    int32_t first = min(from / KERN_KV_BLOCK, kv->n_pages), end = pages_of(to);
    int32_t end_old = min(end, kv->n_pages), n_new = end - end_old;
    for (int32_t i = first; i < end_old; i++) n_new += is_shared(kv, i);
    if (n_new > n_left(kv->pool)) return ERR_LIMIT;

    for (int32_t i = first; i < end_old; i++) {
        bool has_others = i * KERN_KV_BLOCK < from || to - i * KERN_KV_BLOCK < KERN_KV_BLOCK;
        if (is_shared(kv, i)) unshare(kv, i, has_others);
    }
    while (kv->n_pages < end) kv->pages[kv->n_pages++] = take_page(kv->pool);
    return OK;
}

void kv_truncate(struct kv *kv, int32_t n)
{
    int32_t n_kept = pages_of(n);
    if (n_kept >= kv->n_pages) return;
    unref_pages(kv->pool, kv->pages + n_kept, kv->n_pages - n_kept);
    kv->n_pages = n_kept;
}

int64_t kv_own_bytes(const struct kv *kv)
{
    int64_t n = 0;
    for (int32_t i = 0; i < kv->n_pages; i++) n += !is_shared(kv, i);
    return n * (int64_t)kv->pool->shape.page_bytes;
}

void kv_share(struct kv *dst, const struct kv *src, int32_t n)
{
    int32_t n_pages = pages_of(n);
    assert(dst->pool == src->pool && n <= dst->n_ctx && n_pages <= src->n_pages);
    kv_truncate(dst, dst == src ? n : 0);
    if (dst == src) return;
    for (int32_t i = 0; i < n_pages; i++) dst->pages[i] = ref_page(dst->pool, src->pages[i]);
    dst->n_pages = n_pages;
}

/* What the threads need to fill the pages of a rearranged table. */
struct rearrangement {
    const struct compute *c;
    const struct kv_shape *shape;
    char *const *old, *const *next; /* page tables; a page that is in both is not touched */
    int32_t n_old, keep;
    const struct kv_run *runs;
    int32_t n_runs;
    const struct rope *global, *local;
    const bool *is_local;
    bool neox;
};

/* The rotation of one layer by one distance. */
struct rotation {
    const struct rope *rope;
    int32_t distance;
    float cos[KERN_HEAD_DIM_MAX / 2], sin[KERN_HEAD_DIM_MAX / 2];
};

static void set_distance(struct rotation *r, int32_t distance)
{
    if (distance == r->distance) return;
    r->distance = distance;
    rope_shift_angles(r->rope, distance, r->cos, r->sin);
}

static void rotate_rows(const struct rearrangement *m, const struct rotation *r, char *dst, int32_t to,
                        const char *src, int32_t from, int32_t n)
{
    const struct kern *kern = m->c->kern;
    const struct kv_shape *s = m->shape;
    float row[KERN_HEAD_DIM_MAX];
    for (int32_t i = 0; i < n; i++) {
        kern->kv_load(s->type, s->head_dim, src, from + i, row);
        kern->rope(row, r->cos, r->sin, 2 * r->rope->n, m->neox);
        kern->kv_store(s->type, s->head_dim, row, dst, to + i);
    }
}

/* One run of the head whose keys are at k and values at v of every page, in pieces that lie within one page
 * both before and after. */
static void move_run(const struct rearrangement *m, const struct kv_run *run, const struct rotation *r,
                     size_t k, size_t v)
{
    for (int32_t done = 0, n; done < run->n; done += n) {
        int32_t from = run->from + done, to = run->to + done;
        int32_t src = from / KERN_KV_BLOCK, dst = to / KERN_KV_BLOCK;
        from %= KERN_KV_BLOCK;
        to %= KERN_KV_BLOCK;
        n = min(run->n - done, KERN_KV_BLOCK - max(from, to));
        if (dst < m->n_old && m->next[dst] == m->old[dst]) continue;
        copy_rows(m->shape, m->next[dst] + v, to, m->old[src] + v, from, n);
        if (run->to == run->from)
            copy_rows(m->shape, m->next[dst] + k, to, m->old[src] + k, from, n);
        else
            rotate_rows(m, r, m->next[dst] + k, to, m->old[src] + k, from, n);
    }
}

static void move_head(void *ctx, int32_t task, int32_t worker)
{
    (void)worker;
    const struct rearrangement *m = ctx;
    int32_t layer = task / m->shape->n_kv_heads, head = task % m->shape->n_kv_heads;
    size_t k = kv_block_offset(m->shape, layer, head, false),
           v = kv_block_offset(m->shape, layer, head, true);
    struct rotation r;
    r.rope = m->local && m->is_local[layer] ? m->local : m->global;
    r.distance = 0; /* for which the angles are not used */

    int32_t start = m->keep - m->keep % KERN_KV_BLOCK;
    struct kv_run kept = {.from = start, .to = start, .n = m->keep - start};
    move_run(m, &kept, &r, k, v);
    for (int32_t i = 0; i < m->n_runs; i++) {
        set_distance(&r, m->runs[i].to - m->runs[i].from);
        move_run(m, &m->runs[i], &r, k, v);
    }
}

/* Whether the page can stay: nothing of it moves, and if positions below `end` remain to be written, nobody
 * shares it. */
static bool page_stays(const struct kv *kv, int32_t page, int32_t keep, const struct kv_run *runs,
                       int32_t n_runs, int32_t end)
{
    if (page >= kv->n_pages) return false;
    int32_t first = page * KERN_KV_BLOCK, n = min(KERN_KV_BLOCK, end - first);
    int32_t n_held = max(0, min(n, keep - first));
    for (int32_t i = 0; i < n_runs; i++) {
        int32_t n_here = min(first + n, runs[i].to + runs[i].n) - max(first, runs[i].to);
        if (n_here <= 0) continue;
        if (runs[i].to != runs[i].from) return false;
        n_held += n_here;
    }
    return n_held == n || !is_shared(kv, page);
}

enum err kv_rearrange(struct kv *kv, int32_t keep, const struct kv_run *runs, int32_t n_runs,
                      const struct compute *c, const struct rope *global, const struct rope *local,
                      const bool *is_local, bool neox)
{
    int32_t end = n_runs ? runs[n_runs - 1].to + runs[n_runs - 1].n : keep;
    if (end > kv->n_ctx) return ERR_LIMIT;
    struct kv_pool *pool = kv->pool;
    int32_t first = keep / KERN_KV_BLOCK, n_pages = pages_of(end), n_fresh = 0;
    char **next = kv->pages + pages_of(kv->n_ctx); /* kv_open made room */
    for (int32_t i = first; i < n_pages; i++) {
        next[i] = page_stays(kv, i, keep, runs, n_runs, end) ? kv->pages[i] : NULL;
        n_fresh += !next[i];
    }
    if (n_fresh > n_left(pool)) return ERR_LIMIT;
    for (int32_t i = first; i < n_pages; i++) next[i] = next[i] ? ref_page(pool, next[i]) : take_page(pool);

    struct rearrangement m = {.c = c,
                              .shape = &pool->shape,
                              .old = kv->pages,
                              .next = next,
                              .n_old = kv->n_pages,
                              .keep = keep,
                              .runs = runs,
                              .n_runs = n_runs,
                              .global = global,
                              .local = local,
                              .is_local = is_local,
                              .neox = neox};
    if (n_fresh) pool_run(c->pool, pool->shape.n_layers * pool->shape.n_kv_heads, move_head, &m);

    unref_pages(pool, kv->pages + min(first, kv->n_pages), max(0, kv->n_pages - first));
    memcpy(kv->pages + first, next + first, (size_t)max(0, n_pages - first) * sizeof *next);
    kv->n_pages = n_pages;
    return OK;
}
