/* KV caches: pages, sharing, budgets, and moving positions against computing them in place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "infer/kv.h"
#include "infer/linear.h"
#include "infer/rope.h"
#include "model/arch.h"
#include "os/pool.h"
#include "os/usage.h"

#define N_CTX 400

/* A small model whose second layer is local. */
struct rig {
    struct arch_params p;
    enum kern_kv_type type;
    bool neox;
    struct kv_pool *pool;
    struct compute c;
    struct rope global, local;
    double freq[2][KERN_HEAD_DIM_MAX / 2];
    bool is_local[3];
};

static const struct arch_params small = {
    .n_layers = 3, .n_kv_heads = 2, .head_dim = 32, .n_rot = 32, .rope_base = 10000, .rope_base_local = 500};

static void rig_open(struct rig *r, const struct arch_params *p, enum kern_kv_type type, int32_t n_pages)
{
    memset(r, 0, sizeof *r);
    r->p = *p;
    r->type = type;
    r->is_local[1] = true;
    rope_init(&r->global, r->freq[0], p, NULL, false);
    rope_init(&r->local, r->freq[1], p, NULL, true);
    r->c.kern = kern_select(NULL);
    assert_int_equal(pool_new(2, &r->c.pool, NULL), OK);
    /* Learn the size of a page first. */
    assert_int_equal(kv_pool_new(p, type, 1 << 24, &r->pool, NULL), OK);
    int64_t page = (int64_t)kv_pool_shape(r->pool)->page_bytes;
    kv_pool_free(&r->pool);
    assert_int_equal(kv_pool_new(p, type, page * n_pages, &r->pool, NULL), OK);
    assert_int_equal(kv_pool_budget(r->pool), page * n_pages);
}

static void rig_close(struct rig *r)
{
    assert_int_equal(kv_pool_used(r->pool), 0);
    kv_pool_free(&r->pool);
    assert_null(r->pool);
    pool_free(&r->c.pool);
}

static int64_t page_bytes(const struct rig *r)
{
    return (int64_t)kv_pool_shape(r->pool)->page_bytes;
}

static struct kv open_kv(struct rig *r)
{
    struct kv kv;
    assert_int_equal(kv_open(r->pool, N_CTX, &kv, NULL), OK);
    return kv;
}

/* What is stored is a function of an id: the same id gives the same vectors everywhere. */
static void vector(uint32_t id, int32_t layer, int32_t head, bool is_value, int32_t n, float *out)
{
    uint64_t x =
        ((uint64_t)id << 20) ^ (uint64_t)(layer * 64 + head * 2 + is_value + 1) * 0x9E3779B97F4A7C15u;
    for (int32_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* xorshift64 (Marsaglia 2003) */
        out[i] = (float)(int32_t)(x >> 32) / 2147483648.0f * 3;
    }
}

static const struct rope *rope_of(const struct rig *r, int32_t layer)
{
    return r->is_local[layer] ? &r->local : &r->global;
}

/* The key as the forward pass stores it at a position. */
static void key_at(const struct rig *r, uint32_t id, int32_t layer, int32_t head, int32_t pos, float *out)
{
    float c[KERN_HEAD_DIM_MAX / 2], s[KERN_HEAD_DIM_MAX / 2];
    vector(id, layer, head, false, r->p.head_dim, out);
    rope_angles(rope_of(r, layer), pos, c, s);
    r->c.kern->rope(out, c, s, r->p.n_rot, r->neox);
}

static char *block_at(const struct rig *r, const struct kv *kv, int32_t pos, int32_t layer, int32_t head,
                      bool is_value)
{
    assert_true(pos / KERN_KV_BLOCK < kv->n_pages);
    return kv->pages[pos / KERN_KV_BLOCK] + kv_block_offset(kv_pool_shape(r->pool), layer, head, is_value);
}

static void put(const struct rig *r, struct kv *kv, int32_t pos, uint32_t id)
{
    float x[KERN_HEAD_DIM_MAX];
    for (int32_t layer = 0; layer < r->p.n_layers; layer++) {
        for (int32_t head = 0; head < r->p.n_kv_heads; head++) {
            key_at(r, id, layer, head, pos, x);
            r->c.kern->kv_store(r->type, r->p.head_dim, x, block_at(r, kv, pos, layer, head, false),
                                pos % KERN_KV_BLOCK);
            vector(id, layer, head, true, r->p.head_dim, x);
            r->c.kern->kv_store(r->type, r->p.head_dim, x, block_at(r, kv, pos, layer, head, true),
                                pos % KERN_KV_BLOCK);
        }
    }
}

static void fill(const struct rig *r, struct kv *kv, int32_t from, int32_t to, uint32_t first_id)
{
    assert_int_equal(kv_reserve(kv, from, to), OK);
    for (int32_t pos = from; pos < to; pos++) put(r, kv, pos, first_id + (uint32_t)(pos - from));
}

/* The largest rounding error of a stored vector of this size. */
static double rounding(const struct rig *r, const float *x)
{
    double max = 0;
    for (int32_t i = 0; i < r->p.head_dim; i++) max = fmax(max, fabs((double)x[i]));
    return r->type == KERN_KV_F16 ? max / 2048 : max / 254;
}

/* That a position holds an id that was moved n_moves times. Each move may add a rounding, and a rotation
 * mixes the errors of two values. */
static void check_at(const struct rig *r, const struct kv *kv, int32_t pos, uint32_t id, int32_t n_moves)
{
    int32_t n = r->p.head_dim, index = pos % KERN_KV_BLOCK;
    size_t block_bytes = kv_pool_shape(r->pool)->block_bytes;
    char *scratch = aligned_alloc(64, block_bytes);
    for (int32_t layer = 0; layer < r->p.n_layers; layer++) {
        for (int32_t head = 0; head < r->p.n_kv_heads; head++) {
            float want[KERN_HEAD_DIM_MAX], got[KERN_HEAD_DIM_MAX];
            vector(id, layer, head, true, n, want);
            r->c.kern->kv_store(r->type, n, want, scratch, index);
            r->c.kern->kv_load(r->type, n, scratch, index, want);
            r->c.kern->kv_load(r->type, n, block_at(r, kv, pos, layer, head, true), index, got);
            assert_memory_equal(want, got, (size_t)n * sizeof *got);

            key_at(r, id, layer, head, pos, want);
            r->c.kern->kv_load(r->type, n, block_at(r, kv, pos, layer, head, false), index, got);
            double bound = rounding(r, want) * 1.6 * (1 + n_moves * 1.5) + 1e-6;
            for (int32_t i = 0; i < n; i++) {
                if (fabs((double)got[i] - (double)want[i]) > bound)
                    fail_msg("position %d layer %d value %d: %g, not %g", pos, layer, i, got[i], want[i]);
            }
        }
    }
    free(scratch);
}

static enum err rearrange(struct rig *r, struct kv *kv, int32_t keep, const struct kv_run *runs, int32_t n)
{
    return kv_rearrange(kv, keep, runs, n, &r->c, &r->global, &r->local, r->is_local, r->neox);
}

static void test_pool_arguments(void **state)
{
    (void)state;
    struct kv_pool *pool = NULL;
    struct errmsg msg = {0};
    struct arch_params p = small;
    assert_int_equal(kv_pool_new(&p, KERN_KV_F16, 100, &pool, &msg), ERR_ARG);
    assert_int_equal(kv_pool_new(&p, KERN_KV_F16, -1, &pool, NULL), ERR_ARG);
    assert_non_null(strstr(msg.text, "too small"));
    p.head_dim = 48;
    assert_int_equal(kv_pool_new(&p, KERN_KV_Q8_0, 1 << 24, &pool, &msg), ERR_ARG);
    p.n_layers = 1024; /* so that pages are large, and bookkeeping for all of them small */
    p.n_kv_heads = 1024;
    assert_int_equal(kv_pool_new(&p, KERN_KV_F16, INT64_MAX, &pool, &msg), ERR_NOMEM);
    assert_null(pool);
    kv_pool_free(&pool);
    p = small;

    assert_int_equal(kv_pool_new(&p, KERN_KV_F16, 1 << 24, &pool, &msg), OK);
    struct kv kv;
    assert_int_equal(kv_open(pool, 0, &kv, &msg), ERR_ARG);
    kv_close(&kv);
    kv_pool_free(&pool);
}

/* Blocks fill a page without overlap, aligned for the kernels. */
static void test_layout(void **state)
{
    (void)state;
    for (int type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        struct rig r;
        rig_open(&r, &small, (enum kern_kv_type)type, 2);
        const struct kv_shape *s = kv_pool_shape(r.pool);
        size_t expected = 0;
        for (int32_t layer = 0; layer < small.n_layers; layer++) {
            for (int32_t head = 0; head < small.n_kv_heads; head++) {
                for (int value = 0; value < 2; value++, expected += s->block_bytes)
                    assert_int_equal(kv_block_offset(s, layer, head, value), expected);
            }
        }
        assert_true(expected <= s->page_bytes);
        struct kv kv = open_kv(&r);
        assert_int_equal(kv_reserve(&kv, 0, 64), OK);
        for (int i = 0; i < 2; i++) assert_int_equal((uintptr_t)kv.pages[i] % 64, 0);
        kv_close(&kv);
        rig_close(&r);
    }
}

static void test_reserve_and_truncate(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &small, KERN_KV_F16, 4);
    struct kv kv = open_kv(&r);
    assert_int_equal(kv_reserve(&kv, 0, 0), OK);
    assert_int_equal(kv_pool_used(r.pool), 0);
    assert_int_equal(kv_reserve(&kv, 0, N_CTX + 1), ERR_LIMIT);
    assert_int_equal(kv_reserve(&kv, 0, 33), OK);
    assert_int_equal(kv_pool_used(r.pool), 2 * page_bytes(&r));
    assert_int_equal(kv_reserve(&kv, 33, 4 * 32 + 1), ERR_LIMIT); /* a page more than the budget */
    assert_int_equal(kv.n_pages, 2);
    assert_int_equal(kv_reserve(&kv, 33, 4 * 32), OK);
    assert_int_equal(kv_own_bytes(&kv), 4 * page_bytes(&r));
    kv_truncate(&kv, 200);
    assert_int_equal(kv.n_pages, 4);
    kv_truncate(&kv, 33);
    assert_int_equal(kv.n_pages, 2);
    kv_truncate(&kv, 32);
    assert_int_equal(kv.n_pages, 1);
    kv_truncate(&kv, 0);
    assert_int_equal(kv_pool_used(r.pool), 0);
    kv_close(&kv);
    kv_close(&kv); /* zeroed */
    rig_close(&r);
}

static void test_share_and_copy_on_write(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &small, KERN_KV_F16, 6);
    struct kv a = open_kv(&r), b = open_kv(&r);
    fill(&r, &a, 0, 70, 100);
    kv_share(&b, &a, 40); /* two of a's three pages */
    assert_int_equal(kv_pool_used(r.pool), 3 * page_bytes(&r));
    assert_int_equal(kv_own_bytes(&a), page_bytes(&r));
    assert_int_equal(kv_own_bytes(&b), 0);

    fill(&r, &b, 40, 60, 900); /* copies the second page */
    assert_int_equal(kv_pool_used(r.pool), 4 * page_bytes(&r));
    for (int32_t i = 0; i < 70; i++) check_at(&r, &a, i, 100 + (uint32_t)i, 0);
    for (int32_t i = 0; i < 60; i++) check_at(&r, &b, i, i < 40 ? 100 + (uint32_t)i : 860 + (uint32_t)i, 0);

    /* Writing in the middle of shared pages keeps what stands around. */
    kv_share(&b, &a, 70);
    fill(&r, &b, 20, 50, 500);
    for (int32_t i = 0; i < 70; i++) {
        check_at(&r, &a, i, 100 + (uint32_t)i, 0);
        check_at(&r, &b, i, i >= 20 && i < 50 ? 480 + (uint32_t)i : 100 + (uint32_t)i, 0);
    }
    /* Not enough for the copies: nothing happens. */
    kv_share(&b, &a, 70);
    struct kv filler = open_kv(&r);
    assert_int_equal(kv_reserve(&filler, 0, 64), OK);
    assert_int_equal(kv_reserve(&b, 0, 64), ERR_LIMIT);
    assert_memory_equal(a.pages, b.pages, 3 * sizeof *a.pages);
    assert_int_equal(kv_reserve(&b, 0, 32), OK);
    kv_close(&filler);
    kv_close(&a);
    assert_int_equal(kv_own_bytes(&b), 3 * page_bytes(&r));
    kv_share(&b, &b, 40);
    assert_int_equal(b.n_pages, 2);
    kv_close(&b);
    rig_close(&r);
}

/* Freed pages leave the process, all but a few. */
static void test_memory_goes_back(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* its own memory about ours stays */
#endif
    const int32_t n_pages = 1000;
    struct arch_params p = small;
    p.n_layers = 8; /* pages of 64 KB */
    struct rig r;
    rig_open(&r, &p, KERN_KV_F16, n_pages);
    struct kv kv;
    struct usage before, full, after;
    usage_self(&before);
    assert_int_equal(kv_open(r.pool, n_pages * KERN_KV_BLOCK, &kv, NULL), OK);
    assert_int_equal(kv_reserve(&kv, 0, n_pages * KERN_KV_BLOCK), OK);
    for (int32_t i = 0; i < n_pages; i++) memset(kv.pages[i], 1, (size_t)page_bytes(&r));
    usage_self(&full);
    kv_truncate(&kv, KERN_KV_BLOCK);
    usage_self(&after);
    assert_true(full.rss_bytes - before.rss_bytes > kv_pool_budget(r.pool) * 9 / 10);
    assert_true(after.rss_bytes - before.rss_bytes < 20 << 20);
    /* What is taken again works, resident or not. */
    assert_int_equal(kv_reserve(&kv, 0, n_pages * KERN_KV_BLOCK), OK);
    for (int32_t i = 0; i < n_pages; i++) memset(kv.pages[i], 2, (size_t)page_bytes(&r));
    kv_close(&kv);
    rig_close(&r);
}

/* All kinds of rotation, both formats, far and near, forwards and backwards. */
static void test_move_is_exact(void **state)
{
    (void)state;
    struct arch_params kinds[] = {small, small, small, small};
    kinds[1].n_rot = 16;
    kinds[2].rope_scaling = ARCH_ROPE_YARN;
    kinds[2].rope_factor = 4;
    kinds[2].rope_n_ctx_orig = 2048;
    kinds[2].rope_attn_factor = 1;
    kinds[2].rope_beta_fast = 32;
    kinds[2].rope_beta_slow = 1;
    kinds[3].head_dim = 128;
    kinds[3].n_rot = 64;
    kinds[3].rope_scaling = ARCH_ROPE_LINEAR;
    kinds[3].rope_factor = 8;
    const int32_t moves[][3] = {{7, 8, 90}, {100, 3, 77}, {5, 5, 60}, {0, 300, 100}, {250, 0, 31}};
    for (size_t kind = 0; kind < 4 * 4; kind++) {
        struct rig r;
        rig_open(&r, &kinds[kind / 4], kind & 1 ? KERN_KV_Q8_0 : KERN_KV_F16, 30);
        r.neox = kind & 2;
        for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
            struct kv_run run = {.from = moves[i][0], .to = moves[i][1], .n = moves[i][2]};
            int32_t keep = run.from < run.to ? run.from : run.to;
            struct kv kv = open_kv(&r);
            fill(&r, &kv, 0, 300, 1);
            assert_int_equal(rearrange(&r, &kv, keep, &run, 1), OK);
            for (int32_t p = 0; p < keep; p++) check_at(&r, &kv, p, 1 + (uint32_t)p, 0);
            for (int32_t p = 0; p < run.n; p++)
                check_at(&r, &kv, run.to + p, 1 + (uint32_t)(run.from + p), run.from != run.to);
            kv_close(&kv);
        }
        rig_close(&r);
    }
}

/* Without local layers, and with the plain kernels. */
static void test_move_without_local(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &small, KERN_KV_F16, 30);
    r.is_local[1] = false;
    r.c.kern = kern_select("ref");
    struct kv kv = open_kv(&r);
    fill(&r, &kv, 0, 200, 1);
    struct kv_run run = {.from = 20, .to = 23, .n = 180};
    assert_int_equal(kv_rearrange(&kv, 20, &run, 1, &r.c, &r.global, NULL, NULL, r.neox), OK);
    for (int32_t p = 0; p < 180; p++) check_at(&r, &kv, 23 + p, 21 + (uint32_t)p, 1);
    kv_close(&kv);
    rig_close(&r);
}

/* What does not move is not copied; what others share is not touched. */
static void test_move_touches_little(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &small, KERN_KV_F16, 12);
    struct kv a = open_kv(&r), b = open_kv(&r);
    fill(&r, &a, 0, 160, 1);
    char *pages[5];
    memcpy(pages, a.pages, sizeof pages);

    /* Three tokens of page 1 are replaced by three others: everything stays. */
    struct kv_run same[] = {{.from = 43, .to = 43, .n = 117}};
    assert_int_equal(rearrange(&r, &a, 40, same, 1), OK);
    assert_memory_equal(a.pages, pages, sizeof pages);

    /* The same with a sharer: only page 1 is a new one. */
    kv_share(&b, &a, 160);
    assert_int_equal(rearrange(&r, &a, 40, same, 1), OK);
    for (int i = 0; i < 5; i++) assert_int_equal(a.pages[i] == pages[i], i != 1);
    fill(&r, &a, 40, 43, 700);
    for (int32_t i = 0; i < 160; i++) {
        check_at(&r, &b, i, 1 + (uint32_t)i, 0);
        check_at(&r, &a, i, i >= 40 && i < 43 ? 660 + (uint32_t)i : 1 + (uint32_t)i, 0);
    }

    /* Four pages would have to be new, and six of twelve are free: works twice, then not. */
    struct kv c = open_kv(&r);
    struct kv_run shift[] = {{.from = 40, .to = 41, .n = 119}};
    kv_share(&c, &b, 160);
    assert_int_equal(rearrange(&r, &c, 40, shift, 1), OK);
    assert_int_equal(kv_pool_used(r.pool), 10 * page_bytes(&r));
    memcpy(pages, b.pages, sizeof pages);
    assert_int_equal(rearrange(&r, &b, 40, shift, 1), ERR_LIMIT);
    assert_memory_equal(b.pages, pages, sizeof pages);
    for (int32_t i = 0; i < 160; i++) check_at(&r, &b, i, 1 + (uint32_t)i, 0);
    struct kv_run past[] = {{.from = 40, .to = N_CTX - 10, .n = 11}};
    assert_int_equal(rearrange(&r, &c, 40, past, 1), ERR_LIMIT);

    /* No runs: truncation, which writes nothing. */
    assert_int_equal(rearrange(&r, &b, 33, NULL, 0), OK);
    assert_int_equal(b.n_pages, 2);
    assert_memory_equal(b.pages, pages, 2 * sizeof *pages);
    kv_close(&a);
    kv_close(&b);
    kv_close(&c);
    rig_close(&r);
}

/* The property test: random operations on a few sequences, and beside each what it must hold. */
#define N_SEQS  4
#define N_PAGES 26

struct cell {
    uint32_t id; /* 0: undefined */
    int32_t n_moves;
};

struct mirror {
    struct kv kv;
    struct cell cells[N_CTX];
    int32_t n; /* positions that the operations reached */
};

static uint32_t random_below(uint64_t *rng, uint32_t n)
{
    *rng ^= *rng << 13, *rng ^= *rng >> 7, *rng ^= *rng << 17;
    return (uint32_t)((*rng >> 33) % n);
}

static int32_t count_holders(const struct mirror *m, const char *page)
{
    int32_t n = 0;
    for (int i = 0; i < N_SEQS; i++) {
        for (int32_t k = 0; k < m[i].kv.n_pages; k++) n += m[i].kv.pages[k] == page;
    }
    return n;
}

static void check_accounts(const struct rig *r, const struct mirror *m)
{
    double used = 0; /* each page counts once, whoever holds it: sums of 1/n */
    for (int i = 0; i < N_SEQS; i++) {
        int64_t own = 0;
        for (int32_t k = 0; k < m[i].kv.n_pages; k++) {
            int32_t n = count_holders(m, m[i].kv.pages[k]);
            own += n == 1;
            used += 1.0 / n;
        }
        assert_int_equal(kv_own_bytes(&m[i].kv), own * page_bytes(r));
    }
    assert_int_equal(kv_pool_used(r->pool), llround(used) * page_bytes(r));
    assert_true(kv_pool_used(r->pool) <= kv_pool_budget(r->pool));
}

static void check_contents(const struct rig *r, const struct mirror *m)
{
    for (int32_t i = 0; i < m->n; i++) {
        if (m->cells[i].id) check_at(r, &m->kv, i, m->cells[i].id, m->cells[i].n_moves);
    }
}

static void do_write(struct rig *r, struct mirror *all, struct mirror *m, uint64_t *rng, uint32_t *next_id)
{
    int32_t from = (int32_t)random_below(rng, (uint32_t)m->n + 1);
    int32_t to = from + 1 + (int32_t)random_below(rng, 70);
    if (to > N_CTX) to = N_CTX;
    int64_t n_new = 0;
    for (int32_t k = from / KERN_KV_BLOCK; k * KERN_KV_BLOCK < to; k++)
        n_new += k >= m->kv.n_pages || count_holders(all, m->kv.pages[k]) > 1;
    bool fits = from >= to || kv_pool_used(r->pool) + n_new * page_bytes(r) <= kv_pool_budget(r->pool);
    assert_int_equal(kv_reserve(&m->kv, from, to), fits ? OK : ERR_LIMIT);
    if (!fits) return;
    for (int32_t i = from; i < to; i++) {
        put(r, &m->kv, i, *next_id);
        m->cells[i] = (struct cell){.id = (*next_id)++};
    }
    if (to > m->n) m->n = to;
}

static void do_truncate(struct mirror *m, uint64_t *rng)
{
    int32_t n = (int32_t)random_below(rng, (uint32_t)m->n + 1);
    kv_truncate(&m->kv, n);
    m->n = n;
}

static void do_share(struct mirror *dst, const struct mirror *src, uint64_t *rng)
{
    int32_t n = (int32_t)random_below(rng, (uint32_t)src->n + 1);
    kv_share(&dst->kv, &src->kv, n);
    memmove(dst->cells, src->cells, (size_t)n * sizeof *src->cells);
    dst->n = n;
}

static void do_rearrange(struct rig *r, struct mirror *m, uint64_t *rng)
{
    struct kv_run runs[6];
    struct cell cells[N_CTX] = {0};
    int32_t n_runs = 0, keep = (int32_t)random_below(rng, (uint32_t)m->n + 1), to = keep;
    memcpy(cells, m->cells, (size_t)keep * sizeof *cells);
    for (uint32_t i = random_below(rng, 7); i > 0 && m->n > 0; i--) {
        int32_t gap = (int32_t)random_below(rng, 4) * (int32_t)random_below(rng, 20);
        int32_t from = random_below(rng, 3) ? (int32_t)random_below(rng, (uint32_t)m->n) : to + gap;
        if (from >= m->n) continue;
        int32_t n = 1 + (int32_t)random_below(rng, (uint32_t)(m->n - from));
        if (to + gap + n > N_CTX) continue;
        to += gap;
        for (int32_t k = 0; k < n; k++) {
            cells[to + k] = m->cells[from + k];
            cells[to + k].n_moves += from != to;
        }
        runs[n_runs++] = (struct kv_run){.from = from, .to = to, .n = n};
        to += n;
    }
    enum err err = rearrange(r, &m->kv, keep, runs, n_runs);
    if (err) {
        assert_int_equal(err, ERR_LIMIT);
        int64_t most = (to / KERN_KV_BLOCK - keep / KERN_KV_BLOCK + 1) * page_bytes(r);
        assert_true(kv_pool_used(r->pool) + most > kv_pool_budget(r->pool));
        return;
    }
    memcpy(m->cells, cells, sizeof cells);
    m->n = to;
    assert_int_equal(m->kv.n_pages, (to + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK);
}

/* Positions that a rearrangement left open can be written without asking again. */
static void write_gaps(struct rig *r, struct mirror *all, struct mirror *m, uint32_t *next_id)
{
    for (int32_t i = 0; i < m->n; i++) {
        if (m->cells[i].id || count_holders(all, m->kv.pages[i / KERN_KV_BLOCK]) > 1) continue;
        put(r, &m->kv, i, *next_id);
        m->cells[i] = (struct cell){.id = (*next_id)++};
    }
}

static void run_random(enum kern_kv_type type, bool neox, uint64_t seed, int n_steps)
{
    struct rig r;
    rig_open(&r, &small, type, N_PAGES);
    r.neox = neox;
    static struct mirror m[N_SEQS];
    memset(m, 0, sizeof m);
    for (int i = 0; i < N_SEQS; i++) m[i].kv = open_kv(&r);
    uint64_t rng = seed;
    uint32_t next_id = 1;
    for (int step = 0; step < n_steps; step++) {
        struct mirror *one = &m[random_below(&rng, N_SEQS)], *other = &m[random_below(&rng, N_SEQS)];
        switch (random_below(&rng, 9)) {
        case 0:
            do_truncate(one, &rng);
            break;
        case 1:
            do_share(one, other, &rng);
            break;
        case 2:
            kv_close(&one->kv);
            one->kv = open_kv(&r);
            one->n = 0;
            break;
        case 3:
        case 4:
        case 5:
            do_rearrange(&r, one, &rng);
            if (random_below(&rng, 2)) write_gaps(&r, m, one, &next_id);
            break;
        default:
            do_write(&r, m, one, &rng, &next_id);
        }
        check_accounts(&r, m);
        check_contents(&r, one);
        if (step % 8 == 0) {
            for (int i = 0; i < N_SEQS; i++) check_contents(&r, &m[i]);
        }
    }
    for (int i = 0; i < N_SEQS; i++) kv_close(&m[i].kv);
    rig_close(&r);
}

/* A smaller budget takes nothing away, and hands nothing out until enough is free. */
static void test_budget_changes(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, &small, KERN_KV_F16, 8);
    struct kv a = open_kv(&r), b = open_kv(&r);
    assert_int_equal(kv_reserve(&a, 0, 5 * KERN_KV_BLOCK), OK);
    kv_pool_set_budget(r.pool, 3 * page_bytes(&r) + 1);
    assert_int_equal(kv_pool_budget(r.pool), 3 * page_bytes(&r));
    assert_int_equal(kv_pool_used(r.pool), 5 * page_bytes(&r));
    assert_int_equal(kv_reserve(&a, 0, 5 * KERN_KV_BLOCK), OK); /* it has them */
    assert_int_equal(kv_reserve(&b, 0, 1), ERR_LIMIT);
    kv_share(&b, &a, 2 * KERN_KV_BLOCK);
    assert_int_equal(kv_reserve(&b, 0, 1), ERR_LIMIT); /* a copy is another page */
    kv_truncate(&b, 0);
    kv_truncate(&a, 3 * KERN_KV_BLOCK);
    assert_int_equal(kv_reserve(&b, 0, 1), ERR_LIMIT);
    kv_truncate(&a, 2 * KERN_KV_BLOCK);
    assert_int_equal(kv_reserve(&b, 0, 1), OK);
    assert_int_equal(kv_reserve(&b, 0, KERN_KV_BLOCK + 1), ERR_LIMIT);
    kv_pool_set_budget(r.pool, 0);
    assert_int_equal(kv_pool_budget(r.pool), page_bytes(&r));
    kv_pool_set_budget(r.pool, INT64_MAX);
    assert_int_equal(kv_pool_budget(r.pool), 8 * page_bytes(&r));
    assert_int_equal(kv_reserve(&b, 0, 6 * KERN_KV_BLOCK), OK);
    kv_close(&a);
    kv_pool_trim(r.pool); /* what is free now; what is in use stays */
    fill(&r, &b, 0, 6 * KERN_KV_BLOCK, 50);
    kv_close(&b);
    kv_pool_trim(r.pool);
    rig_close(&r);
}

static void test_random_operations(void **state)
{
    (void)state;
    run_random(KERN_KV_F16, false, 88172645463325252u, 400);
    run_random(KERN_KV_F16, true, 362436069u, 400);
    run_random(KERN_KV_Q8_0, true, 521288629u, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_arguments),       cmocka_unit_test(test_layout),
        cmocka_unit_test(test_reserve_and_truncate), cmocka_unit_test(test_share_and_copy_on_write),
        cmocka_unit_test(test_memory_goes_back),     cmocka_unit_test(test_move_is_exact),
        cmocka_unit_test(test_move_without_local),   cmocka_unit_test(test_move_touches_little),
        cmocka_unit_test(test_random_operations),    cmocka_unit_test(test_budget_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
