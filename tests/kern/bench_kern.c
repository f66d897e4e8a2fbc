/* Timings of the matrix products and of attention: GB/s of weights (keys and values) read and 1e9
 * multiply-adds per second, one thread. Time is the thread's own processor time, so that other programs on
 * the machine disturb little. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kern/pack.h"
#include "kern_data.h"

#define REPEATS 9 /* the median counts */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds)
{
    qsort(seconds, REPEATS, sizeof *seconds, compare);
    return seconds[REPEATS / 2];
}

/* What a plain read of memory gives: the ceiling of the products with one token. */
static double read_bandwidth(void)
{
    size_t n = (size_t)32 << 20;
    struct region memory = region_new(n * sizeof(uint64_t));
    const uint64_t *p = memory.data;
    for (size_t i = 0; i < n; i++) ((uint64_t *)memory.data)[i] = i;
    double seconds[REPEATS];
    uint64_t sums[8] = {0};
    for (int32_t repeat = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (size_t i = 0; i < n; i += 8) {
            for (size_t j = 0; j < 8; j++) sums[j] += p[i + j];
        }
        seconds[repeat] = now() - start;
        __asm__ volatile("" ::"r"(sums) : "memory");
    }
    region_free(&memory);
    return (double)n * 8 / median(seconds) * 1e-9;
}

struct shape {
    int32_t n_rows, n_cols;
};

/* A matrix as often as needed to exceed any cache, as when decoding, where each weight is read once a token.
 */
struct copies {
    struct kern_mat w;
    size_t bytes; /* from one to the next */
    int32_t n;
    struct region memory;
};

#define COPIES_BYTES ((size_t)96 << 20)

static struct copies copies_new(struct kern_mat w, bool is_packed)
{
    size_t bytes = is_packed ? pack_bytes(w.type, w.n_rows, w.n_cols) : w.row_bytes * (size_t)w.n_rows;
    struct copies c = {.w = w, .bytes = (bytes + 63) / 64 * 64};
    c.n = 1 + (int32_t)(COPIES_BYTES / c.bytes);
    c.memory = region_new((size_t)c.n * c.bytes);
    char *to = c.memory.data;
    if (is_packed) {
        pack_rows(&w, 0, w.n_rows, to);
        c.w.packed = to;
    } else {
        memcpy(to, w.data, bytes);
        c.w.data = to;
    }
    for (int32_t i = 1; i < c.n; i++) memcpy(to + (size_t)i * c.bytes, to, bytes);
    return c;
}

static void bench_copies(const struct kern *k, const struct copies *c, const struct kern_act *x, float *y,
                         void *scratch)
{
    const struct kern_mat *w = &c->w;
    double macs = (double)w->n_rows * w->n_cols * x->n_tokens, seconds[REPEATS];
    int32_t loops = 1 + (int32_t)(2e8 / macs), next = 0; /* a few milliseconds at the least */
    for (int32_t repeat = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (int32_t i = 0; i < loops; i++, next = (next + 1) % c->n) {
            struct kern_mat copy = *w;
            copy.data = (const char *)w->data + (w->packed ? 0 : (size_t)next * c->bytes);
            if (w->packed) copy.packed = (const char *)w->packed + (size_t)next * c->bytes;
            k->matmul(&copy, x, 0, w->n_rows, y, (size_t)w->n_rows, scratch);
        }
        seconds[repeat] = (now() - start) / loops;
    }
    double time = median(seconds);
    printf("%-7s %-7s %-6s %6d x %-5d %4d tokens %8.2f GB/s %8.1f GMAC/s\n", k->isa,
           kern_type_info(w->type)->name, w->packed ? "packed" : "plain", w->n_rows, w->n_cols, x->n_tokens,
           (double)c->bytes / time * 1e-9, macs / time * 1e-9);
    fflush(stdout);
}

/* Plain and, where there are such, packed weights times batches of several sizes. */
static void bench_shape(const struct kern *k, enum kern_type type, struct shape shape, const int32_t *tokens,
                        int32_t n_sizes, void *scratch)
{
    int32_t block_len = kern_type_info(type)->block_len;
    int32_t n_cols = (shape.n_cols + block_len - 1) / block_len * block_len;
    struct region memory;
    struct kern_mat w = data_matrix(type, shape.n_rows, n_cols, &memory);
    bool has_packed = k->reads_packed && pack_bytes(type, w.n_rows, w.n_cols) > 0;
    for (int32_t is_packed = 0; is_packed <= has_packed; is_packed++) {
        struct copies c = copies_new(w, is_packed);
        for (int32_t i = 0; i < n_sizes; i++) {
            struct activations x = data_activations(k, tokens[i], n_cols);
            struct region out = region_new((size_t)shape.n_rows * (size_t)tokens[i] * sizeof(float));
            bench_copies(k, &c, &x.act, out.data, scratch);
            region_free(&out);
            data_free_activations(&x);
        }
        region_free(&c.memory);
    }
    region_free(&memory);
}

/* n_tokens at depth `pos`, over n_caches caches in turn: with many, keys and values come from memory, as when
 * decoding, where all weights are read between two visits. */
struct attend_case {
    enum kern_kv_type type;
    int32_t n_heads, head_dim, n_tokens, pos, n_caches;
};

static int32_t pages_of(const struct attend_case *c)
{
    return (c->pos + c->n_tokens + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
}

/* The pages of all caches, one after another; each holds a block of keys and a block of values. */
static struct region new_caches(const struct attend_case *c)
{
    size_t block = kern_kv_block_bytes(c->type, c->head_dim);
    size_t n_blocks = 2 * (size_t)c->n_caches * (size_t)pages_of(c);
    struct region caches = region_new(n_blocks * block);
    float x[KERN_HEAD_DIM_MAX];
    for (int32_t i = 0; i < c->head_dim; i++) x[i] = random_float(-1, 1);
    char *first = caches.data;
    for (int32_t i = 0; i < KERN_KV_BLOCK; i++)
        kern_select("ref")->kv_store(c->type, c->head_dim, x, first, i);
    for (size_t i = 1; i < n_blocks; i++) memcpy(first + i * block, first, block);
    return caches;
}

/* All tokens, in tiles as large as the kernel takes. */
static void attend_tokens(const struct kern *k, const struct attend_case *c, const float *q,
                          const char *const *pages, float *acc, void *scratch)
{
    size_t row = (size_t)c->n_heads * (size_t)c->head_dim;
    int32_t tile = KERN_ATTEND_ROWS / c->n_heads;
    float max[KERN_ATTEND_ROWS], sum[KERN_ATTEND_ROWS];
    for (int32_t t = 0; t < c->n_tokens; t += tile) {
        struct kern_attend a = {
            .q = q + (size_t)t * row,
            .q_stride = row,
            .pages = pages,
            .v_offset = kern_kv_block_bytes(c->type, c->head_dim),
            .type = c->type,
            .n_tokens = c->n_tokens - t < tile ? c->n_tokens - t : tile,
            .n_heads = c->n_heads,
            .head_dim = c->head_dim,
            .pos = c->pos + t,
            .scale = 0.1f,
        };
        struct kern_attend_out out = {acc + (size_t)t * row, row, max, sum};
        k->attend(&a, 0, c->pos + c->n_tokens, &out, scratch);
    }
}

static void bench_attend(const struct kern *k, const struct attend_case *c, void *scratch)
{
    size_t n = (size_t)c->n_tokens * (size_t)c->n_heads * (size_t)c->head_dim;
    size_t page_bytes = 2 * kern_kv_block_bytes(c->type, c->head_dim);
    int32_t n_pages = pages_of(c);
    struct region q = region_new(n * sizeof(float)), acc = region_new(n * sizeof(float));
    struct region caches = new_caches(c);
    struct region table = region_new((size_t)c->n_caches * (size_t)n_pages * sizeof(char *));
    const char **pages = table.data;
    for (size_t i = 0; i < n; i++) ((float *)q.data)[i] = random_float(-1, 1);
    for (int32_t i = 0; i < c->n_caches * n_pages; i++)
        pages[i] = (const char *)caches.data + (size_t)i * page_bytes;
    /* Each token sees itself and all before it; two products with every position. */
    double macs = 2.0 * (double)n * (c->pos + (c->n_tokens + 1) / 2.0), seconds[REPEATS];
    int32_t loops = 1 + (int32_t)(4e7 / macs);
    for (int32_t repeat = 0, at = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (int32_t i = 0; i < loops; i++, at = (at + 1) % c->n_caches)
            attend_tokens(k, c, q.data, pages + at * n_pages, acc.data, scratch);
        seconds[repeat] = (now() - start) / loops;
    }
    double time = median(seconds);
    printf("%-7s attend %-4s %2d heads x %-3d %4d tokens at %4d %s %9.1f us %6.2f GB/s %6.1f GMAC/s\n",
           k->isa, c->type == KERN_KV_F16 ? "F16" : "Q8_0", c->n_heads, c->head_dim, c->n_tokens, c->pos,
           c->n_caches > 1 ? "cold" : "warm", time * 1e6, (double)n_pages * (double)page_bytes / time * 1e-9,
           macs / time * 1e-9);
    fflush(stdout);
    region_free(&table);
    region_free(&caches);
    region_free(&acc);
    region_free(&q);
}

static void bench_attention(const struct kern *k, void *scratch)
{
    for (enum kern_kv_type type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        const struct attend_case cases[] = {
            {type, 7, 64, 1, 1000, 1},  {type, 1, 64, 1, 1000, 1},  {type, 4, 256, 1, 1000, 1},
            {type, 7, 64, 1, 2048, 48}, /* layers x K/V heads of a 0.5B model */
            {type, 7, 64, 1, 8192, 12}, {type, 7, 64, 16, 1024, 1}, {type, 7, 64, 128, 1024, 1}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) bench_attend(k, &cases[i], scratch);
    }
}

int bench_run(const struct kern *const *variants, int32_t n_variants, const char *only)
{
    /* Of a model of half a billion weights: attention, feed-forward in and out, output head. */
    static const struct shape shapes[] = {{896, 896}, {4864, 896}, {896, 4864}, {151936, 896}};
    static const int32_t tokens[] = {1, 2, 4, 8, 16, 128};
    void *scratch = aligned_alloc(64, (kern_scratch_bytes() + 63) / 64 * 64);
    if (!scratch) return 1;
    printf("plain read: %.2f GB/s\n", read_bandwidth());
    for (int32_t v = 0; v < n_variants; v++) {
        const struct kern *k = variants[v];
        if (!kern_select(k->isa) || k == kern_select("ref")) continue; /* emulated, or not meant to be fast */
        if (!only || strcmp(only, "attend") == 0) bench_attention(k, scratch);
        for (int32_t i = 0; i < data_n_types; i++) {
            if (only && strcmp(only, kern_type_info(data_types[i])->name) != 0) continue;
            for (int32_t s = 0; s < 4; s++) {
                int32_t n_sizes = s == 3 ? 1 : 6; /* only the last token's logits are computed */
                bench_shape(k, data_types[i], shapes[s], tokens, n_sizes, scratch);
            }
        }
    }
    free(scratch);
    return 0;
}
