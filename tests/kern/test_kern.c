/* Every entry but attention (test_attend.c) of every variant of the kernel table, in odd shapes, against sums
 * in F64 computed here from de-quantized weights; de-quantization against a fixture that the Python package
 * gguf made. Inputs end at an unreadable page, outputs are surrounded by marks. With --bench [FORMAT]:
 * timings instead. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kern_data.h"
#include "variants.h"

/* Bound of a product's error relative to the sum of the magnitudes of its terms: F32 sums of up to a few
 * thousand terms, of which vectors add eight or more chains. */
#define SUM_TOLERANCE 1e-5
/* Bound of functions of one value (exp and few operations), relative to the result. */
#define FUNCTION_TOLERANCE 2e-6
#define MARK               12345.0f /* what outputs hold where nothing may be written */

static const struct kern *variants[VARIANTS_MAX];
static int32_t n_variants;
static void *scratch; /* 64-byte aligned */

static void assert_close(const char *what, const struct kern *k, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) {
        fail_msg("%s (%s): %.9g, expected %.9g within %.3g", what, k->isa, got, want, bound);
    }
}

static void test_select(void **state)
{
    (void)state;
    assert_string_equal(kern_select("ref")->isa, "ref");
    assert_null(kern_select("no such variant"));
    assert_non_null(kern_select(NULL));
    const char *available = kern_available();
    for (int32_t i = 0; i < n_variants; i++) {
        if (kern_select(variants[i]->isa)) assert_non_null(strstr(available, variants[i]->isa));
    }
    /* The best is the one named last. */
    assert_string_equal(strrchr(available, ' ') ? strrchr(available, ' ') + 1 : available,
                        kern_select(NULL)->isa);
}

static void test_type_info(void **state)
{
    (void)state;
    int32_t n = 0;
    for (uint32_t t = 0; t < 256; t++) n += kern_type_info(t) != NULL;
    assert_int_equal(n, data_n_types);
    assert_null(kern_type_info(UINT32_MAX));
    assert_string_equal(kern_type_info(KERN_Q4_K)->name, "Q4_K");
    assert_int_equal(kern_type_info(KERN_Q4_K)->block_len, 256);
    assert_int_equal(kern_type_info(KERN_Q4_K)->block_bytes, 144);
    assert_false(kern_type_info(KERN_BF16)->is_quantized);
}

/* The value of an F16 number by the definition of IEEE 754. */
static double value_of_f16(uint16_t h)
{
    int32_t exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent == 31 ? INFINITY
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

static void test_f16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = kern_f16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00) {
            assert_true(isnan(f));
            assert_true((kern_f32_to_f16(f) & 0x7fff) > 0x7c00);
            continue;
        }
        assert_true((double)f == value_of_f16((uint16_t)h));
        assert_int_equal(kern_f32_to_f16(f), h);
    }
    for (int32_t i = 0; i < 200000; i++) { /* no other F16 number is nearer; ties go to the even one */
        float f = ldexpf(random_float(-2, 2), (int32_t)(random_u32() % 40) - 26);
        if (i % 4 == 0)
            f = (float)(value_of_f16((uint16_t)(i % 31000)) + value_of_f16((uint16_t)(i % 31000 + 1))) / 2;
        uint16_t h = kern_f32_to_f16(f);
        if (fabsf(f) >= 65520) {
            assert_int_equal(h & 0x7fff, 0x7c00);
            continue;
        }
        double error = fabs((double)f - value_of_f16(h));
        double up = fabs((double)f - value_of_f16((uint16_t)(h + 1)));
        double down = (h & 0x7fff) ? fabs((double)f - value_of_f16((uint16_t)(h - 1))) : 1;
        assert_true(error < fmin(up, down) || (error == fmin(up, down) && h % 2 == 0));
    }
}

static void test_f32_to_f16(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 1; n < 40; n++) {
            float x[40];
            uint16_t y[41];
            for (int32_t i = 0; i < n; i++)
                x[i] = ldexpf(random_float(-2, 2), (int32_t)(random_u32() % 40) - 26);
            y[n] = 0xabcd;
            variants[v]->f32_to_f16(x, y, n);
            for (int32_t i = 0; i < n; i++) assert_int_equal(y[i], kern_f32_to_f16(x[i]));
            assert_int_equal(y[n], 0xabcd);
        }
    }
}

static uint32_t read_u32(FILE *f)
{
    uint32_t v = 0;
    assert_int_equal(fread(&v, sizeof v, 1, f), 1);
    return v;
}

static void test_dequantize_fixture(void **state)
{
    (void)state;
    FILE *f = fopen(FIXTURES "/quants.bin", "rb");
    assert_non_null(f);
    uint32_t n_entries = read_u32(f);
    assert_int_equal(n_entries, data_n_types - 2); /* all but F32 and MXFP8 */
    for (uint32_t e = 0; e < n_entries; e++) {
        uint32_t type = read_u32(f), n = read_u32(f), n_bytes = read_u32(f);
        const struct kern_type_info *info = kern_type_info(type);
        assert_non_null(info);
        assert_int_equal(n / (uint32_t)info->block_len * (uint32_t)info->block_bytes, n_bytes);
        struct region blocks = region_new(n_bytes);
        float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
        assert_int_equal(fread(blocks.data, 1, n_bytes, f), n_bytes);
        assert_int_equal(fread(want, sizeof *want, n, f), n);
        for (int32_t v = 0; v < n_variants; v++) {
            variants[v]->dequantize((enum kern_type)type, blocks.data, got, (int32_t)n);
            for (uint32_t i = 0; i < n; i++) {
                assert_close(info->name, variants[v], (double)got[i], (double)want[i],
                             1e-6 * fabs((double)want[i]));
            }
        }
        free(want);
        free(got);
        region_free(&blocks);
    }
    fclose(f);
}

/* The value of an E4M3 number by its definition; codes for NaN as what they would be without it. */
static double value_of_e4m3(uint8_t code)
{
    int32_t exponent = code >> 3 & 15, fraction = code & 7;
    double v = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    return code & 0x80 ? -v : v;
}

/* Every code with every scale, expanded and multiplied; none makes more than F32 can hold. */
static void test_mxfp8(void **state)
{
    (void)state;
    assert_true(value_of_e4m3(0x7e) == 448 && value_of_e4m3(0x01) == ldexp(1, -9));
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t e = 0; e < 256; e++) {
            uint8_t blocks[8][33];
            float got[256], x[256], sum;
            for (int32_t i = 0; i < 256; i++)
                blocks[i / 32][0] = (uint8_t)e, blocks[i / 32][1 + i % 32] = (uint8_t)i;
            variants[v]->dequantize(KERN_MXFP8, blocks, got, 256);
            for (int32_t i = 0; i < 256; i++) {
                double want = ldexp(value_of_e4m3((uint8_t)i), (e < 246 ? e : 246) - 127);
                assert_true((double)got[i] == (double)(float)want && isfinite(got[i]));
                memset(x, 0, sizeof x);
                x[i] = 1;
                struct kern_mat w = {blocks, KERN_MXFP8, 1, 256, sizeof blocks, NULL};
                struct kern_act act = {.f = x, .n_tokens = 1, .n_cols = 256};
                variants[v]->matmul(&w, &act, 0, 1, &sum, 1, scratch);
                assert_true(sum == got[i]);
            }
        }
    }
}

static void check_quantize(const struct kern *k, const float *x, int32_t n)
{
    struct region in = region_new((size_t)n * sizeof(float)), q_out = region_new((size_t)n);
    struct region d_out = region_new((size_t)n / 32 * sizeof(float)),
                  s_out = region_new((size_t)n / 16 * sizeof(float));
    int8_t *q = q_out.data, want_q[256];
    float *d = d_out.data, *s = s_out.data, want_d[8], want_s[16];
    memcpy(in.data, x, (size_t)n * sizeof(float));
    k->quantize(in.data, n, q, d, s);
    for (int32_t i = 0; i < n; i++) {
        assert_true(q[i] >= -127);
        assert_close("quantize", k, (double)d[i / 32] * q[i], (double)x[i],
                     (double)d[i / 32] * 0.5001 + 1e-30);
    }
    kern_select("ref")->quantize(x, n, want_q, want_d, want_s);
    assert_memory_equal(q, want_q, n);
    assert_memory_equal(d, want_d, n / 32 * (int32_t)sizeof(float));
    assert_memory_equal(s, want_s, n / 16 * (int32_t)sizeof(float));
    region_free(&in);
    region_free(&q_out);
    region_free(&d_out);
    region_free(&s_out);
}

static void test_quantize(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 32; n <= 256; n += 32) {
            float x[256];
            for (int32_t i = 0; i < n; i++) x[i] = ldexpf(random_float(-1, 1), (int32_t)(random_u32() % 8));
            if (n > 32) memset(x, 0, 32 * sizeof *x);
            if (n > 64) x[40] = 3e38f;
            if (n > 96) {
                for (int32_t i = 64; i < 96; i++) x[i] = 1e-38f; /* too small to scale: zero */
            }
            check_quantize(variants[v], x, n);
        }
    }
}

/* y for the rows of w and the tokens of x in F64, and the sums of the terms' magnitudes. */
static void multiply_f64(const struct kern_mat *w, const struct kern_act *x, double *y, double *magnitude)
{
    bool is_quantized = kern_type_info(w->type)->is_quantized;
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    for (int32_t r = 0; r < w->n_rows; r++) {
        kern_select("ref")->dequantize(w->type, (const char *)w->data + (size_t)r * w->row_bytes, row,
                                       w->n_cols);
        for (int32_t t = 0; t < x->n_tokens; t++) {
            double sum = 0, sum_magnitudes = 0;
            for (int32_t c = 0; c < w->n_cols; c++) {
                size_t i = (size_t)t * (size_t)w->n_cols + (size_t)c;
                double value = is_quantized ? (double)x->d[i / 32] * x->q[i] : (double)x->f[i];
                sum += (double)row[c] * value;
                sum_magnitudes += fabs((double)row[c] * value);
            }
            y[t * w->n_rows + r] = sum;
            magnitude[t * w->n_rows + r] = sum_magnitudes;
        }
    }
    free(row);
}

static void check_matmul(enum kern_type type, int32_t n_rows, int32_t n_cols, int32_t n_tokens)
{
    struct region memory;
    struct kern_mat w = data_matrix(type, n_rows, n_cols, &memory);
    struct activations x = data_activations(kern_select("ref"), n_tokens, n_cols);
    size_t n = (size_t)n_rows * (size_t)n_tokens;
    double *want = malloc(n * sizeof *want), *magnitude = malloc(n * sizeof *magnitude);
    multiply_f64(&w, &x.act, want, magnitude);
    for (int32_t v = 0; v < n_variants; v++) {
        int32_t row0 = n_rows / 4, row1 = n_rows - n_rows / 5, stride = n_rows + 3;
        size_t y_len = (size_t)(n_tokens - 1) * (size_t)stride + (size_t)row1;
        struct region out = region_new(y_len * sizeof(float));
        float *y = out.data;
        for (size_t i = 0; i < y_len; i++) y[i] = MARK;
        variants[v]->matmul(&w, &x.act, row0, row1, y, (size_t)stride, scratch);
        for (size_t i = 0; i < y_len; i++) {
            int32_t t = (int32_t)i / stride, r = (int32_t)i % stride;
            if (r < row0 || r >= row1) {
                assert_true(y[i] == MARK);
                continue;
            }
            size_t at = (size_t)(t * n_rows + r);
            assert_close(kern_type_info(type)->name, variants[v], (double)y[i], want[at],
                         SUM_TOLERANCE * magnitude[at]);
        }
        region_free(&out);
    }
    free(want);
    free(magnitude);
    data_free_activations(&x);
    region_free(&memory);
}

static void test_matmul(void **state)
{
    (void)state;
    static const int32_t rows[] = {1, 3, 7, 33}, tokens[] = {1, 2, 3, 5, 8, 17};
    static const int32_t plain_cols[] = {1, 7, 8, 100}, small_cols[] = {32, 96, 288, 832},
                         super_cols[] = {256, 512, 1280};
    for (int32_t i = 0; i < data_n_types; i++) {
        int32_t block_len = kern_type_info(data_types[i])->block_len;
        const int32_t *cols = block_len == 1 ? plain_cols : block_len == 32 ? small_cols : super_cols;
        for (int32_t c = 0; c < (block_len == 256 ? 3 : 4); c++) {
            for (int32_t r = 0; r < 4; r++) {
                for (int32_t t = 0; t < 6; t++) check_matmul(data_types[i], rows[r], cols[c], tokens[t]);
            }
        }
    }
}

/* "exact" multiplies the expanded weights with unrounded activations. */
static void test_exact(void **state)
{
    (void)state;
    enum { ROWS = 5, COLS = 512, TOKENS = 3 };
    const struct kern *exact = kern_select("exact");
    assert_non_null(exact);
    for (int32_t i = 0; i < data_n_types; i++) {
        struct region memory;
        struct kern_mat w = data_matrix(data_types[i], ROWS, COLS, &memory);
        struct activations a = data_activations(exact, TOKENS, COLS);
        float y[TOKENS][ROWS], row[COLS];
        exact->matmul(&w, &a.act, 0, ROWS, &y[0][0], ROWS, scratch);
        for (int32_t r = 0; r < ROWS; r++) {
            exact->dequantize(w.type, (const char *)w.data + (size_t)r * w.row_bytes, row, COLS);
            for (int32_t t = 0; t < TOKENS; t++) {
                double want = 0, magnitude = 0;
                for (int32_t c = 0; c < COLS; c++) {
                    double product = (double)row[c] * (double)a.act.f[t * COLS + c];
                    want += product;
                    magnitude += fabs(product);
                }
                assert_close("exact", exact, y[t][r], want, 1e-6 * magnitude);
            }
        }
        data_free_activations(&a);
        region_free(&memory);
    }
}

#define EXTREME_ROWS 17
#define EXTREME_COLS 512

/* All weights alike, activations all at their largest. */
static void check_matmul_extreme(enum kern_type type, uint8_t value)
{
    struct region memory;
    struct kern_mat w = data_matrix(type, EXTREME_ROWS, EXTREME_COLS, &memory);
    struct activations x = data_activations(kern_select("ref"), 2, EXTREME_COLS);
    data_fill_extreme(type, memory.data, EXTREME_ROWS * EXTREME_COLS, value);
    float *f = x.f.data;
    for (int32_t c = 0; c < 2 * EXTREME_COLS; c++) f[c] = c < EXTREME_COLS ? 1.0f : -1.0f;
    kern_select("ref")->quantize(f, 2 * EXTREME_COLS, x.q.data, x.d.data, x.s.data);
    double want[2 * EXTREME_ROWS], magnitude[2 * EXTREME_ROWS];
    multiply_f64(&w, &x.act, want, magnitude);
    for (int32_t v = 0; v < n_variants; v++) {
        float y[2 * EXTREME_ROWS];
        variants[v]->matmul(&w, &x.act, 0, EXTREME_ROWS, y, EXTREME_ROWS, scratch);
        for (int32_t i = 0; i < 2 * EXTREME_ROWS; i++) {
            /* Equal weights can cancel against their minimum: the bound needs the magnitude of a part. */
            double bound = SUM_TOLERANCE * (magnitude[i] + 1);
            assert_close(kern_type_info(type)->name, variants[v], (double)y[i], want[i], bound);
        }
    }
    data_free_activations(&x);
    region_free(&memory);
}

/* The largest sums that integers may reach. */
static void test_matmul_extremes(void **state)
{
    (void)state;
    for (int32_t i = 0; i < data_n_types; i++) {
        if (!kern_type_info(data_types[i])->is_quantized) continue;
        check_matmul_extreme(data_types[i], 0x00);
        check_matmul_extreme(data_types[i], 0x7f);
        check_matmul_extreme(data_types[i], 0x80);
        check_matmul_extreme(data_types[i], 0xff);
    }
}

static float *fill(float *x, int32_t n, float limit)
{
    for (int32_t i = 0; i < n; i++) x[i] = random_float(-limit, limit);
    x[n] = MARK;
    return x;
}

#define N_MAX 70

static void test_norms(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 1; n < N_MAX; n++) {
            float x[N_MAX], weight[N_MAX], bias[N_MAX], y[N_MAX];
            fill(x, n, 5), fill(weight, n, 2), fill(bias, n, 1), fill(y, n, 1);
            double squares = 0, mean = 0, variance = 0;
            for (int32_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i], mean += (double)x[i] / n;
            for (int32_t i = 0; i < n; i++) variance += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
            double rms = sqrt(squares / n + 1e-5), deviation = sqrt(variance + 1e-5);
            const struct kern *k = variants[v];
            k->rms_norm(x, weight, n, 1e-5f, y);
            for (int32_t i = 0; i < n; i++) {
                assert_close("rms_norm", k, (double)y[i], (double)x[i] / rms * (double)weight[i], 2e-5);
            }
            k->layer_norm(x, weight, bias, n, 1e-5f, y);
            for (int32_t i = 0; i < n && n > 1; i++) {
                double want = ((double)x[i] - mean) / deviation * (double)weight[i] + (double)bias[i];
                assert_close("layer_norm", k, (double)y[i], want, 2e-5);
            }
            assert_true(y[n] == MARK);
            memcpy(y, x, sizeof y);
            k->rms_norm(y, NULL, n, 1e-5f, y);
            for (int32_t i = 0; i < n; i++)
                assert_close("rms_norm in place", k, (double)y[i], (double)x[i] / rms, 2e-5);
            k->layer_norm(x, NULL, NULL, n, 1e-5f, x);
            for (int32_t i = 0; i < n && n > 1; i++) assert_true(isfinite(x[i]));
            assert_true(y[n] == MARK && x[n] == MARK);
        }
    }
}

static double gelu_f64(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static void check_activations(const struct kern *k, int32_t n, float limit)
{
    float x[N_MAX], up[N_MAX], y[N_MAX];
    fill(x, n, limit), fill(up, n, 2);
    /* Far on the negative side the result is tiny and cancels: an absolute bound joins the relative one. */
    double small = 1e-6;
    memcpy(y, x, sizeof y);
    k->silu_mul(y, up, n);
    for (int32_t i = 0; i < n; i++) {
        double want = (double)x[i] / (1 + exp(-(double)x[i])) * (double)up[i];
        assert_close("silu_mul", k, (double)y[i], want, FUNCTION_TOLERANCE * fabs(want) + 1e-30);
    }
    memcpy(y, x, sizeof y);
    k->gelu_mul(y, up, n);
    for (int32_t i = 0; i < n; i++) {
        double want = gelu_f64((double)x[i]) * (double)up[i];
        assert_close("gelu_mul", k, (double)y[i], want, FUNCTION_TOLERANCE * fabs(want) + small);
    }
    memcpy(y, x, sizeof y);
    k->gelu(y, n);
    for (int32_t i = 0; i < n; i++) {
        double want = gelu_f64((double)x[i]);
        assert_close("gelu", k, (double)y[i], want, FUNCTION_TOLERANCE * fabs(want) + small);
    }
    assert_true(y[n] == MARK);
}

static void test_activations(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 1; n < N_MAX; n++) {
            check_activations(variants[v], n, 4);
            check_activations(variants[v], n, 80);
        }
        float extreme[3] = {-1e30f, 1e30f, 0}, ones[3] = {1, 1, 1};
        variants[v]->silu_mul(extreme, ones, 3);
        assert_close("silu(-1e30)", variants[v], (double)extreme[0], 0, 1e-6);
        assert_close("silu(1e30)", variants[v], (double)extreme[1], 1e30, 1e24);
        assert_true(extreme[2] == 0);
    }
}

static void check_log_sum_exp(const struct kern *k, int32_t n, float limit)
{
    float x[N_MAX];
    fill(x, n, limit);
    double max = (double)x[0], sum = 0;
    for (int32_t i = 0; i < n; i++) max = fmax(max, (double)x[i]);
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    double want = max + log(sum);
    assert_close("log_sum_exp", k, (double)k->log_sum_exp(x, n), want, 1e-6 * (1 + fabs(want)));
}

/* As long as a vocabulary, where many small terms make up the sum; and where exp overflows. */
static void test_log_sum_exp(void **state)
{
    (void)state;
    enum { N_VOCAB = 151936 };
    struct region logits = region_new(N_VOCAB * sizeof(float));
    float *x = logits.data;
    double sum = 0;
    for (int32_t i = 0; i < N_VOCAB; i++) x[i] = random_float(-3, 3);
    for (int32_t i = 0; i < N_VOCAB; i++) sum += exp((double)x[i]);
    for (int32_t v = 0; v < n_variants; v++) {
        const struct kern *k = variants[v];
        for (int32_t n = 1; n < N_MAX; n++) check_log_sum_exp(k, n, 4), check_log_sum_exp(k, n, 1000);
        assert_close("log_sum_exp of many", k, (double)k->log_sum_exp(x, N_VOCAB), log(sum), 1e-4);
    }
    region_free(&logits);
}

static void test_add(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 1; n < N_MAX; n++) {
            float x[N_MAX], y[N_MAX], z[N_MAX];
            fill(x, n, 5), fill(y, n, 5);
            memcpy(z, y, sizeof z);
            variants[v]->add(z, x, n);
            for (int32_t i = 0; i < n; i++) assert_true(z[i] == y[i] + x[i]);
            variants[v]->mul_add(z, x, -0.37f, n);
            for (int32_t i = 0; i < n; i++) {
                double want = (double)(y[i] + x[i]) + (double)-0.37f * (double)x[i];
                assert_close("mul_add", variants[v], (double)z[i], want, 1e-6 * (1 + fabs(want)));
            }
            assert_true(z[n] == MARK);
        }
    }
}

static void test_rope(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t n = 2; n < N_MAX; n += 2) {
            for (int32_t neox = 0; neox < 2; neox++) {
                int32_t half = n / 2;
                struct region table = region_new((size_t)n * sizeof(float));
                float x[N_MAX], y[N_MAX], *cosines = table.data, *sines = cosines + half;
                fill(x, n, 5);
                memcpy(y, x, sizeof y);
                for (int32_t i = 0; i < half; i++)
                    cosines[i] = cosf((float)(i + n)), sines[i] = sinf((float)(i + n));
                variants[v]->rope(y, cosines, sines, n, neox);
                for (int32_t i = 0; i < half; i++) {
                    int32_t a = neox ? i : 2 * i, b = neox ? i + half : 2 * i + 1;
                    double c = (double)cosines[i], s = (double)sines[i];
                    assert_close("rope", variants[v], (double)y[a], (double)x[a] * c - (double)x[b] * s,
                                 2e-6);
                    assert_close("rope", variants[v], (double)y[b], (double)x[a] * s + (double)x[b] * c,
                                 2e-6);
                }
                assert_true(y[n] == MARK);
                region_free(&table);
            }
        }
    }
}

int main(int argc, char **argv)
{
    n_variants = variants_find(variants);
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench_run(variants, n_variants, argc > 2 ? argv[2] : NULL);
    size_t scratch_bytes = kern_scratch_bytes();
    struct region memory = region_new((scratch_bytes + 63) / 64 * 64);
    scratch = memory.data;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select),   cmocka_unit_test(test_type_info),
        cmocka_unit_test(test_f16),      cmocka_unit_test(test_f32_to_f16),
        cmocka_unit_test(test_quantize), cmocka_unit_test(test_dequantize_fixture),
        cmocka_unit_test(test_matmul),   cmocka_unit_test(test_matmul_extremes),
        cmocka_unit_test(test_norms),    cmocka_unit_test(test_activations),
        cmocka_unit_test(test_add),      cmocka_unit_test(test_rope),
        cmocka_unit_test(test_exact),    cmocka_unit_test(test_log_sum_exp),
        cmocka_unit_test(test_mxfp8),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    region_free(&memory);
    return failed;
}
