/* Timings of the matrix products and of attention: GB/s of weights (keys and values) read and 1e9
 * multiply-adds per second, one thread. Time is the thread's own processor time, so that other programs on
 * the machine disturb little. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static void bench_shape(const struct kern *k, enum kern_type type, struct shape shape, int32_t n_tokens,
                        void *scratch)
{
    const struct kern_type_info *info = kern_type_info(type);
    int32_t n_cols = (shape.n_cols + info->block_len - 1) / info->block_len * info->block_len;
    struct region memory;
    struct kern_mat w = data_matrix(type, shape.n_rows, n_cols, &memory);
    struct activations x = data_activations(k, n_tokens, n_cols);
    struct region out = region_new((size_t)shape.n_rows * (size_t)n_tokens * sizeof(float));
    double macs = (double)shape.n_rows * n_cols * n_tokens, seconds[REPEATS];
    int32_t loops = 1 + (int32_t)(2e8 / macs); /* a few milliseconds at the least */
    for (int32_t repeat = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (int32_t i = 0; i < loops; i++)
            k->matmul(&w, &x.act, 0, shape.n_rows, out.data, (size_t)shape.n_rows, scratch);
        seconds[repeat] = (now() - start) / loops;
    }
    double time = median(seconds);
    printf("%-7s %-7s %6d x %-5d %4d tokens %8.2f GB/s %8.1f GMAC/s\n", k->isa, info->name, shape.n_rows,
           n_cols, n_tokens, (double)w.row_bytes * shape.n_rows / time * 1e-9, macs / time * 1e-9);
    fflush(stdout);
    region_free(&out);
    region_free(&memory);
    data_free_activations(&x);
}

/* n_tokens at depth `pos`, in tiles as large as the kernel takes, over n_caches caches in turn: with many the
 * keys and values come from memory, as when decoding, where all weights are read between two visits. */
static void bench_attend(const struct kern *k, enum kern_kv_type type, int32_t n_heads, int32_t head_dim,
                         int32_t n_tokens, int32_t pos, int32_t n_caches, void *scratch)
{
    size_t block = kern_kv_block_bytes(type, head_dim), row = (size_t)n_heads * (size_t)head_dim;
    int32_t n_pages = (pos + n_tokens + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
    int32_t tile = KERN_ATTEND_ROWS / n_heads, n_loops = 1 + (int32_t)(2e7 / ((double)row * n_tokens * pos));
    size_t n_blocks = (size_t)n_caches * (size_t)n_pages;
    struct region q = region_new((size_t)n_tokens * row * sizeof(float)),
                  cache = region_new(n_blocks * 2 * block);
    struct region acc = region_new((size_t)n_tokens * row * sizeof(float));
    const char **pages = malloc(n_blocks * sizeof *pages);
    float values[KERN_HEAD_DIM_MAX], state[2][KERN_ATTEND_ROWS];
    for (size_t i = 0; i < (size_t)n_tokens * row; i++) ((float *)q.data)[i] = random_float(-1, 1);
    for (int32_t i = 0; i < head_dim; i++) values[i] = random_float(-1, 1);
    for (size_t i = 0; i < n_blocks; i++) {
        char *page = (char *)cache.data + i * 2 * block;
        pages[i] = page;
        for (int32_t p = 0; p < 2 * KERN_KV_BLOCK; p++)
            kern_select("ref")->kv_store(type, head_dim, values, page + p / KERN_KV_BLOCK * block,
                                         p % KERN_KV_BLOCK);
    }
    double seconds[REPEATS];
    for (int32_t repeat = 0, at = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (int32_t i = 0; i < n_loops; i++, at = (at + 1) % n_caches) {
            for (int32_t t = 0; t < n_tokens; t += tile) {
                struct kern_attend a = {(float *)q.data + (size_t)t * row,
                                        row,
                                        pages + at * n_pages,
                                        0,
                                        block,
                                        type,
                                        n_tokens - t < tile ? n_tokens - t : tile,
                                        n_heads,
                                        head_dim,
                                        pos + t,
                                        0,
                                        0.1f};
                struct kern_attend_out out = {(float *)acc.data + (size_t)t * row, row, state[0], state[1]};
                k->attend(&a, 0, pos + n_tokens, &out, scratch);
            }
        }
        seconds[repeat] = (now() - start) / n_loops;
    }
    double time = median(seconds), macs = 2.0 * (double)row * n_tokens * (pos + (n_tokens + 1) / 2.0);
    printf("%-7s attend %s %2d heads x %3d %4d tokens at %5d%s %9.1f us %8.2f GB/s %8.1f GMAC/s\n", k->isa,
           type == KERN_KV_F16 ? "F16 " : "Q8_0", n_heads, head_dim, n_tokens, pos,
           n_caches > 1 ? " cold" : "     ", time * 1e6, (double)n_pages * 2 * (double)block / time * 1e-9,
           macs / time * 1e-9);
    region_free(&q);
    region_free(&acc);
    region_free(&cache);
    free(pages);
}

static void bench_attention(const struct kern *k, void *scratch)
{
    for (enum kern_kv_type type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        bench_attend(k, type, 7, 64, 1, 1000, 1, scratch);
        bench_attend(k, type, 1, 64, 1, 1000, 1, scratch);
        bench_attend(k, type, 4, 256, 1, 1000, 1, scratch);
        bench_attend(k, type, 7, 64, 1, 2048, 48, scratch); /* all layers and heads of a 0.5B model */
        bench_attend(k, type, 7, 64, 1, 8192, 12, scratch);
        bench_attend(k, type, 7, 64, 16, 1024, 1, scratch);
        bench_attend(k, type, 7, 64, 128, 1024, 1, scratch);
    }
}

int bench_run(const struct kern *const *variants, int32_t n_variants, const char *only)
{
    /* Of a model of half a billion weights: attention, feed-forward in and out, output head. */
    static const struct shape shapes[] = {{896, 896}, {4864, 896}, {896, 4864}, {151936, 896}};
    static const int32_t tokens[] = {1, 8, 128};
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
                for (int32_t t = 0; t < 3; t++) {
                    if (s == 3 && tokens[t] > 1) continue; /* only the last token's logits are computed */
                    bench_shape(k, data_types[i], shapes[s], tokens[t], scratch);
                }
            }
        }
    }
    free(scratch);
    return 0;
}
