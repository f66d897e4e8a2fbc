/* Timings of the matrix products: GB/s of weights read and 1e9 multiply-adds per second, one thread. Time is
 * the thread's own processor time, so that other programs on the machine disturb little. */
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

static void bench_attend(const struct kern *k, int32_t n_q, int32_t n_kv, int32_t head_dim, void *scratch)
{
    size_t n = (size_t)n_kv * (size_t)head_dim;
    struct region q = region_new((size_t)(n_q * head_dim) * 4),
                  out = region_new((size_t)(n_q * head_dim) * 4);
    struct region keys = region_new(n * 2), values = region_new(n * 2);
    for (size_t i = 0; i < n; i++)
        ((uint16_t *)keys.data)[i] = ((uint16_t *)values.data)[i] = (uint16_t)(i % 0x3c00);
    double seconds[REPEATS];
    for (int32_t repeat = 0; repeat < REPEATS; repeat++) {
        double start = now();
        for (int32_t i = 0; i < 20; i++) {
            k->attend(q.data, keys.data, values.data, (size_t)head_dim, n_q, n_kv, head_dim, 0.1f, out.data,
                      scratch);
        }
        seconds[repeat] = (now() - start) / 20;
    }
    double time = median(seconds);
    printf("%-7s attend %2d heads x %3d, %4d positions %8.1f us %8.1f GMAC/s\n", k->isa, n_q, head_dim, n_kv,
           time * 1e6, 2.0 * n_q * (double)n / time * 1e-9);
    region_free(&q);
    region_free(&out);
    region_free(&keys);
    region_free(&values);
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
        bench_attend(k, 7, 1000, 64, scratch);
        bench_attend(k, 1, 1000, 64, scratch);
        bench_attend(k, 4, 1000, 256, scratch);
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
