/* Conversion of weights: against what other programs make of the same weights
 * (tools/fixtures/make_quantized.py), against bounds that follow from the formats, and with weights that no
 * model should have. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kern/quantize.h"

#define N         2048 /* weights; whole blocks of every format */
#define BYTES_MAX (4 * N)
#define GUARD     0xa5 /* follows the blocks */

static const enum kern_type types[] = {KERN_F32,  KERN_F16,  KERN_BF16, KERN_Q8_0,
                                       KERN_Q5_0, KERN_Q4_K, KERN_Q6_K, KERN_MXFP8};
#define N_TYPES ((int32_t)(sizeof types / sizeof *types))

static size_t bytes_of(enum kern_type type, int32_t n)
{
    const struct kern_type_info *info = kern_type_info(type);
    return (size_t)(n / info->block_len) * (size_t)info->block_bytes;
}

/* xorshift32 (Marsaglia, 2003), as a number of -1..1. */
static float noise(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (float)(*state >> 8) / 8388608.0f - 1;
}

/* About normal: a sum of twelve. */
static void fill_normal(float *x, int32_t n, float deviation)
{
    uint32_t state = 12345;
    for (int32_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int32_t j = 0; j < 12; j++) x[i] += noise(&state) / 2;
        x[i] *= deviation;
    }
}

/* Quantize n weights to blocks (BYTES_MAX + 1 bytes), checking that nothing is written past them, and expand
 * these to y. */
static void convert(enum kern_type type, const float *x, int32_t n, uint8_t *blocks, float *y)
{
    memset(blocks, GUARD, BYTES_MAX + 1);
    kern_quantize(type, x, blocks, n);
    for (size_t i = bytes_of(type, n); i <= BYTES_MAX; i++) assert_int_equal(blocks[i], GUARD);
    kern_select("ref")->dequantize(type, blocks, y, n);
}

static double rms_error(const float *x, const float *y, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(sum / n);
}

static void test_can(void **state)
{
    (void)state;
    int32_t n = 0;
    for (uint32_t t = 0; t < KERN_TYPE_END; t++) n += kern_can_quantize((enum kern_type)t);
    assert_int_equal(n, N_TYPES);
    for (int32_t i = 0; i < N_TYPES; i++) assert_true(kern_can_quantize(types[i]));
    assert_false(kern_can_quantize(KERN_Q4_0));
}

static uint32_t read_u32(FILE *f)
{
    uint32_t v = 0;
    assert_int_equal(fread(&v, sizeof v, 1, f), 1);
    return v;
}

/* Formats whose conversion is defined agree to the last bit; the others' errors, of which the reference
 * chooses its own way to make them small, are as small. */
static void test_reference(void **state)
{
    static float x[N], y[N];
    static uint8_t want[BYTES_MAX], got[BYTES_MAX + 1];
    (void)state;
    FILE *f = fopen(FIXTURES "/quantized.bin", "rb");
    assert_non_null(f);
    assert_int_equal(read_u32(f), N);
    assert_int_equal(fread(x, sizeof *x, N, f), N);
    uint32_t n_entries = read_u32(f);
    assert_int_equal(n_entries, N_TYPES - 1); /* all but F32 */
    for (uint32_t e = 0; e < n_entries; e++) {
        enum kern_type type = (enum kern_type)read_u32(f);
        uint32_t n_bytes = read_u32(f);
        double error;
        assert_int_equal(n_bytes, bytes_of(type, N));
        assert_int_equal(fread(&error, sizeof error, 1, f), 1);
        assert_int_equal(fread(want, 1, n_bytes, f), n_bytes);
        convert(type, x, N, got, y);
        double ratio = rms_error(x, y, N) / error;
        if (type == KERN_Q5_0 || type == KERN_Q4_K || type == KERN_Q6_K) {
            if (!(ratio <= 1))
                fail_msg("%s: %.4f of the reference's error", kern_type_info(type)->name, ratio);
        } else {
            assert_memory_equal(got, want, n_bytes);
        }
    }
    fclose(f);
}

/* The error relative to normal weights' deviation: what so many bits allow. */
static void test_error_bounds(void **state)
{
    static const double bounds[KERN_TYPE_END] = {
        [KERN_F16] = 0.0004, [KERN_BF16] = 0.002, [KERN_Q8_0] = 0.0065, [KERN_Q5_0] = 0.048,
        [KERN_Q4_K] = 0.075, [KERN_Q6_K] = 0.019, [KERN_MXFP8] = 0.027,
    };
    static float x[N], y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    for (float deviation = 1e-3f; deviation < 100; deviation *= 10) {
        fill_normal(x, N, deviation);
        for (int32_t i = 0; i < N_TYPES; i++) {
            convert(types[i], x, N, blocks, y);
            double error = rms_error(x, y, N) / (double)deviation;
            if (!(error <= bounds[types[i]]))
                fail_msg("%s: error %.5f", kern_type_info(types[i])->name, error);
            if (types[i] == KERN_F32) assert_memory_equal(x, y, sizeof x);
        }
    }
}

/* The nearest E4M3 number, found by trying them all. */
static void test_mxfp8_nearest(void **state)
{
    static float x[N], y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    fill_normal(x, N, 1);
    for (int32_t i = 0; i < N; i += 3) x[i] = ldexpf(x[i], -(i % 23)); /* subnormal ones too */
    convert(KERN_MXFP8, x, N, blocks, y);
    for (int32_t i = 0; i < N; i++) {
        uint8_t all[8][33]; /* the 256 codes with this block's scale */
        float values[256], best = FLT_MAX;
        uint8_t *e = blocks + i / 32 * 33;
        for (int32_t c = 0; c < 256; c++) all[c / 32][0] = *e, all[c / 32][1 + c % 32] = (uint8_t)c;
        kern_select("ref")->dequantize(KERN_MXFP8, all, values, 256);
        for (int32_t c = 0; c < 256; c++) {
            bool is_number = (c & 0x7f) != 0x7f;
            if (is_number) best = fminf(best, fabsf(values[c] - x[i]));
        }
        assert_true(fabsf(y[i] - x[i]) == best);
        assert_int_not_equal(e[1 + i % 32] & 0x7f, 0x7f);
    }
}

/* Magnitudes of 448 to 512 times the scale are cut off, unless a larger scale costs less. */
static void test_mxfp8_scale(void **state)
{
    float x[32] = {0}, y[32];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    x[0] = 448;
    convert(KERN_MXFP8, x, 32, blocks, y);
    assert_int_equal(blocks[0], 127);
    assert_true(y[0] == 448);
    x[0] = 510; /* 448, or 512 at half the resolution */
    convert(KERN_MXFP8, x, 32, blocks, y);
    assert_int_equal(blocks[0], 128);
    assert_true(y[0] == 512);
    x[0] = 456;
    for (int32_t i = 1; i < 32; i++) x[i] = 0x1.8p-7f; /* which only the smaller scale has */
    convert(KERN_MXFP8, x, 32, blocks, y);
    assert_int_equal(blocks[0], 127);
    assert_true(y[0] == 448 && y[1] == 0x1.8p-7f);
}

/* What is in the format already stays as it is. */
static void test_round_trip(void **state)
{
    static const enum kern_type exact[] = {KERN_F32, KERN_F16, KERN_BF16, KERN_MXFP8};
    static float x[N], y[N], z[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    fill_normal(x, N, 0.02f);
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        convert(exact[i], x, N, blocks, y);
        convert(exact[i], y, N, blocks, z);
        assert_memory_equal(y, z, sizeof y);
    }
}

/* The same bytes wherever they are put, and whichever other blocks are converted in the same call. */
static void test_deterministic(void **state)
{
    static float x[N], y[N];
    static uint8_t all[BYTES_MAX + 1], part[BYTES_MAX + 1];
    (void)state;
    fill_normal(x, N, 0.02f);
    for (int32_t i = 0; i < N_TYPES; i++) {
        convert(types[i], x, N, all, y);
        for (int32_t at = 0; at < N; at += 256) {
            kern_quantize(types[i], x + at, part + 1, 256);
            assert_memory_equal(part + 1, all + bytes_of(types[i], at), bytes_of(types[i], 256));
        }
    }
}

static void test_zeros(void **state)
{
    static float x[N], y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    for (int32_t i = 0; i < N_TYPES; i++) {
        for (int32_t sign = 0; sign < 2; sign++) {
            for (int32_t j = 0; j < N; j++) x[j] = sign ? -0.0f : 0.0f;
            convert(types[i], x, N, blocks, y);
            for (int32_t j = 0; j < N; j++) assert_true(y[j] == 0);
        }
    }
}

/* All weights alike or nearly so: nothing is between them and zero. */
static void test_constants(void **state)
{
    static const float values[] = {1, -1, 0.3f, -0.3f, 2e-3f, -2e-3f, 60000, -60000};
    static float x[N], y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    for (int32_t i = 0; i < N_TYPES; i++) {
        for (size_t v = 0; v < 3 * sizeof values / sizeof *values; v++) {
            static const float differences[] = {0, 1e-6f, 1e-3f};
            const float value = values[v / 3], nearly = differences[v % 3];
            for (int32_t j = 0; j < N; j++) x[j] = value * (1 + nearly * (float)(j % 7));
            convert(types[i], x, N, blocks, y);
            /* Half a step of E4M3, which is the only one whose numbers are fixed; an F16 scale of a small
             * number is subnormal. */
            float bound = fabsf(value) / 16 + 1e-6f;
            for (int32_t j = 0; j < N; j++) {
                if (!(fabsf(y[j] - x[j]) <= bound))
                    fail_msg("%s: %g for %g", kern_type_info(types[i])->name, (double)y[j], (double)x[j]);
            }
        }
    }
}

/* One weight much larger than the rest keeps its value, and the rest are not lost further than its step. */
static void test_outlier(void **state)
{
    static float x[N], y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    (void)state;
    for (float huge = 10; huge < 6e4f; huge *= 8) {
        for (int32_t sign = -1; sign <= 1; sign += 2) {
            fill_normal(x, N, 0.02f);
            for (int32_t j = 7; j < N; j += 256) x[j] = (float)sign * huge;
            for (int32_t i = 0; i < N_TYPES; i++) {
                convert(types[i], x, N, blocks, y);
                for (int32_t j = 0; j < N; j++) {
                    float bound = j % 256 == 7 ? huge / 16 : huge / 14 + 0.1f;
                    assert_true(fabsf(y[j] - x[j]) <= bound);
                }
            }
        }
    }
}

/* Every result is a number, and none is beyond the largest weight by more than rounding. */
static void check_finite(const float *x, float limit)
{
    static float y[N];
    static uint8_t blocks[BYTES_MAX + 1];
    for (int32_t i = 1; i < N_TYPES; i++) { /* F32 is copied */
        convert(types[i], x, N, blocks, y);
        for (int32_t j = 0; j < N; j++) assert_true(fabsf(y[j]) <= limit * 1.07f);
    }
}

static void test_tiny(void **state)
{
    static float x[N];
    (void)state;
    for (int32_t e = -149; e < -10; e++) {
        fill_normal(x, N, 1);
        for (int32_t j = 0; j < N; j++) x[j] = ldexpf(x[j] / 6, e);
        check_finite(x, ldexpf(1, e < -20 ? -20 : e)); /* an F16 scale may be rounded up to 2^-24 */
    }
    for (int32_t j = 0; j < N; j++) x[j] = j % 2 ? FLT_TRUE_MIN : -FLT_MIN;
    check_finite(x, FLT_MIN);
}

static void test_not_finite(void **state)
{
    static float x[N], y[N], without[N];
    static uint8_t blocks[BYTES_MAX + 1], want[BYTES_MAX + 1];
    (void)state;
    fill_normal(x, N, 1);
    for (int32_t j = 0; j < N; j += 50) x[j] = j % 100 ? INFINITY : -INFINITY;
    for (int32_t j = 3; j < N; j += 100) x[j] = FLT_MAX;
    x[1] = NAN;
    check_finite(x, FLT_MAX / 1.07f);
    for (int32_t j = 0; j < N; j++) x[j] = j % 3 ? FLT_MAX : -FLT_MAX;
    check_finite(x, FLT_MAX / 1.07f);
    fill_normal(x, N, 1);
    memcpy(without, x, sizeof x);
    for (int32_t j = 0; j < N; j += 50) x[j] = j % 100 ? NAN : -NAN, without[j] = 0;
    for (int32_t i = 1; i < N_TYPES; i++) { /* NaN counts as 0 */
        convert(types[i], x, N, blocks, y);
        convert(types[i], without, N, want, y);
        assert_memory_equal(blocks, want, sizeof want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_can),           cmocka_unit_test(test_reference),
        cmocka_unit_test(test_error_bounds),  cmocka_unit_test(test_mxfp8_nearest),
        cmocka_unit_test(test_mxfp8_scale),   cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_deterministic), cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_constants),     cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_tiny),          cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
