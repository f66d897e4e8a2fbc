/* Histograms: quantiles against exact sorting of a million times, bounds, the packed form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/counted_mem.h"
#include "watch/histogram.h"

/* A linear congruential generator (Knuth's MMIX), between 0 and 1. */
static double next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

/* Normally distributed (Box and Muller). */
static double next_normal(uint64_t *seed)
{
    double radius = sqrt(-2 * log(next_random(seed)));
    return radius * cos(6.283185307179586 * next_random(seed));
}

static double any_exponent(uint64_t *seed) /* evenly over the exponents of 1 us to 1000 s */
{
    return pow(10, -6 + 9 * next_random(seed));
}

static double waiting(uint64_t *seed)
{
    return -0.08 * log(next_random(seed)) + 1e-6;
}

static double answers(uint64_t *seed) /* two humps far apart: from caches, and computed */
{
    return next_random(seed) < 0.7 ? 3e-4 * exp(0.4 * next_normal(seed))
                                   : 0.25 * exp(0.6 * next_normal(seed));
}

static double always(uint64_t *seed)
{
    (void)seed;
    return 0.0123;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { N = 1000000 };

static void check_quantiles(const struct histogram_sum *sum, const double *sorted)
{
    static const double qs[] = {0, 0.001, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.99999, 1};
    enum { N_QS = sizeof qs / sizeof *qs };
    double at_once[N_QS];
    histogram_quantiles(sum, N_QS, qs, at_once);
    for (size_t i = 0; i < N_QS; i++) {
        int rank = (int)ceil(qs[i] * N);
        double exact = sorted[rank > 0 ? rank - 1 : 0], told = histogram_quantile(sum, qs[i]);
        assert_true(fabs(told - exact) <= exact * 0.01);
        assert_true(fabs(told - at_once[i]) <= 0);
    }
}

static void test_quantiles(void **state)
{
    static double (*const distributions[])(uint64_t *) = {any_exponent, waiting, answers, always};
    double *values = mem_try(N, sizeof *values);
    struct histogram *h = MEM_NEW(struct histogram);
    struct histogram_sum *sum = MEM_NEW(struct histogram_sum);
    (void)state;
    assert_non_null(values);
    for (size_t k = 0; k < sizeof distributions / sizeof *distributions; k++) {
        uint64_t seed = 1;
        double exact = 0;
        memset(h, 0, sizeof *h);
        for (int i = 0; i < N; i++) {
            values[i] = distributions[k](&seed);
            exact += values[i];
            histogram_observe(h, values[i]);
        }
        qsort(values, N, sizeof *values, compare_doubles);
        histogram_sum_clear(sum);
        histogram_sum_add(sum, h);
        assert_int_equal(sum->n, N);
        assert_true(fabs((double)sum->sum_ns / 1e9 - exact) < N * 1e-9); /* each is rounded to 1 ns */
        check_quantiles(sum, values);
    }
    mem_free(sum);
    mem_free(h);
    mem_free(values);
}

static void test_extremes(void **state)
{
    struct histogram *h = MEM_NEW(struct histogram);
    struct histogram_sum sum = {0};
    static const double small[] = {0, -1, -INFINITY, NAN, 1e-12};
    static const double large[] = {1100, 1e300, INFINITY};
    (void)state;
    assert_true(histogram_quantile(&sum, 0.5) <= 0);
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) histogram_observe(h, small[i]);
    histogram_sum_add(&sum, h);
    assert_true(histogram_quantile(&sum, 1) < 1e-7);
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) histogram_observe(h, large[i]);
    histogram_sum_clear(&sum);
    histogram_sum_add(&sum, h);
    assert_int_equal(sum.n, 8);
    assert_true(histogram_quantile(&sum, 1) > 1000);
    assert_true(histogram_quantile(&sum, 0.5) < 1e-7);
    assert_true(sum.sum_ns > 0);
    mem_free(h);
}

/* 2^k us is the last time that belongs to what is below the bound; a nanosecond more is above it. */
static void test_bounds(void **state)
{
    (void)state;
    for (int octave = 0; octave < 30; octave++) {
        struct histogram *h = MEM_NEW(struct histogram);
        struct histogram_sum sum = {0};
        histogram_observe(h, ldexp(1e-6, octave));
        histogram_sum_add(&sum, h);
        assert_int_equal(sum.first, HISTOGRAM_BUCKET_AFTER(octave) - 1);
        histogram_observe(h, ldexp(1e-6, octave) + 1e-9);
        histogram_sum_clear(&sum);
        histogram_sum_add(&sum, h);
        assert_int_equal(sum.first, HISTOGRAM_BUCKET_AFTER(octave) - 1);
        assert_int_equal(sum.last, HISTOGRAM_BUCKET_AFTER(octave));
        mem_free(h);
    }
}

static void assert_same(const struct histogram_sum *a, const struct histogram_sum *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->sum_ns, b->sum_ns);
    assert_memory_equal(a->counts, b->counts, sizeof a->counts);
    if (a->n == 0) return;
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->last, b->last);
}

/* What was observed between marks, packed piece by piece and added up, is all that was observed; also where
 * memory is short, but for pieces that were refused whole. */
static void test_packed(void **state)
{
    struct histogram *h = MEM_NEW(struct histogram);
    struct histogram_mark *mark = MEM_NEW(struct histogram_mark);
    struct histogram_sum *recent = MEM_NEW(struct histogram_sum), *all = MEM_NEW(struct histogram_sum),
                         *unpacked = MEM_NEW(struct histogram_sum);
    struct histogram_packed packed[3] = {{0}};
    size_t held = counted_mem_bytes();
    uint64_t seed = 5;
    (void)state;
    assert_false(histogram_advance(h, mark, recent));
    for (int piece = 0; piece < 300; piece++) {
        int n = piece % 7 == 0 ? 2000 : piece % 5;
        for (int i = 0; i < n; i++) histogram_observe(h, answers(&seed));
        if (piece % 50 == 0) histogram_observe(h, 0); /* the sum does not change by that */
        bool is_new = histogram_advance(h, mark, recent);
        assert_true(is_new == (n > 0 || piece % 50 == 0));
        if (is_new) histogram_pack(&packed[piece % 3], recent);
        if (is_new) assert_true(packed[piece % 3].n_bytes <= 3 * HISTOGRAM_BUCKETS);
        histogram_sum_clear(unpacked);
        histogram_sum_add_since(unpacked, h, mark);
        assert_int_equal(unpacked->n, 0);
    }
    histogram_sum_add(all, h);
    for (int i = 0; i < 3; i++) histogram_sum_add_packed(unpacked, &packed[i]);
    assert_same(all, unpacked);
    assert_int_equal(counted_mem_bytes() - held, packed[0].n_bytes + packed[1].n_bytes + packed[2].n_bytes);

    counted_mem_fail(1);
    struct histogram_packed none = {0};
    histogram_pack(&none, all);
    assert_int_equal(none.n_bytes, 0);
    counted_mem_fail(0);
    for (int i = 0; i < 3; i++) histogram_packed_clear(&packed[i]);
    assert_int_equal(counted_mem_bytes(), held);
    mem_free(unpacked);
    mem_free(all);
    mem_free(recent);
    mem_free(mark);
    mem_free(h);
}

/* Counts of any size, in the first and the last bucket. */
static void test_large_counts(void **state)
{
    struct histogram_sum *sum = MEM_NEW(struct histogram_sum), *back = MEM_NEW(struct histogram_sum);
    struct histogram_packed p = {0};
    (void)state;
    sum->first = 0;
    sum->last = HISTOGRAM_BUCKETS - 1;
    sum->counts[0] = INT64_C(1) << 40;
    sum->counts[HISTOGRAM_BUCKETS - 1] = 127;
    sum->counts[77] = 128;
    sum->n = sum->counts[0] + 255;
    sum->sum_ns = 99;
    histogram_pack(&p, sum);
    histogram_sum_add_packed(back, &p);
    assert_same(sum, back);
    histogram_packed_clear(&p);
    mem_free(back);
    mem_free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles), cmocka_unit_test(test_extremes),     cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_packed),    cmocka_unit_test(test_large_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
