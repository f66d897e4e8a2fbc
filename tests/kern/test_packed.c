/* Products of packed weights, and of large batches, by every variant of the kernel table, in odd shapes:
 * against sums in F64, and bit by bit against the same token in other batches. Inputs end at an unreadable
 * page, outputs are surrounded by marks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kern/pack.h"
#include "kern_data.h"
#include "variants.h"

/* Error relative to the sum of the terms' magnitudes: of F32 sums, and with both factors rounded to bfloat16
 * (kern_amx.c). */
#define SUM_TOLERANCE  1e-5
#define BF16_TOLERANCE (0x1p-7 + 0x1p-16 + SUM_TOLERANCE)
#define MARK           12345.0f

static const struct kern *variants[VARIANTS_MAX];
static int32_t n_variants;
static void *scratch; /* 64-byte aligned */

/* A random matrix and its packed form, if it has one. */
struct matrix {
    struct kern_mat w;
    struct region data, packed;
};

static struct matrix matrix_new(enum kern_type type, int32_t n_rows, int32_t n_cols)
{
    struct matrix m = {0};
    m.w = data_matrix(type, n_rows, n_cols, &m.data);
    size_t bytes = pack_bytes(type, n_rows, n_cols);
    if (bytes) {
        m.packed = region_new((bytes + 63) / 64 * 64); /* so that it begins at a multiple of 64 */
        pack_rows(&m.w, 0, n_rows, m.packed.data);
        m.w.packed = m.packed.data;
    }
    return m;
}

static void matrix_free(struct matrix *m)
{
    region_free(&m->data);
    region_free(&m->packed);
}

/* A large batch is multiplied in bfloat16, from activations that were not rounded to 8 bits. */
static bool is_bf16(const struct kern *k, const struct kern_mat *w, const struct kern_act *x)
{
    bool is_short = w->type == KERN_F16 || w->type == KERN_BF16 || w->type == KERN_MXFP8;
    return strcmp(k->isa, "amx") == 0 && x->n_tokens >= 32 && (w->packed || is_short);
}

/* A row (expanded to F32) times a token. */
static double dot_f64(const float *row, const struct kern_act *x, int32_t t, bool use_q, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (int32_t c = 0; c < x->n_cols; c++) {
        size_t i = (size_t)t * (size_t)x->n_cols + (size_t)c;
        double value = use_q ? (double)x->d[i / 32] * x->q[i] : (double)x->f[i];
        sum += (double)row[c] * value;
        *magnitude += fabs((double)row[c] * value);
    }
    return sum;
}

static void check_result(const struct kern *k, const struct kern_mat *w, const struct kern_act *x, int32_t r,
                         const float *y, size_t stride)
{
    float *row = malloc((size_t)w->n_cols * sizeof *row);
    bool bf16 = is_bf16(k, w, x), use_q = kern_type_info(w->type)->is_quantized && !bf16;
    kern_select("ref")->dequantize(w->type, (const char *)w->data + (size_t)r * w->row_bytes, row, w->n_cols);
    for (int32_t t = 0; t < x->n_tokens; t++) {
        double magnitude, want = dot_f64(row, x, t, use_q, &magnitude);
        double got = (double)y[(size_t)t * stride + (size_t)r];
        double bound = (bf16 ? BF16_TOLERANCE : SUM_TOLERANCE) * magnitude + 1e-30;
        if (!(fabs(got - want) <= bound)) {
            fail_msg("%s (%s), %d x %d, row %d, token %d of %d: %.9g, expected %.9g within %.3g",
                     kern_type_info(w->type)->name, k->isa, w->n_rows, w->n_cols, r, t, x->n_tokens, got,
                     want, bound);
        }
    }
    free(row);
}

static void check_matmul(const struct matrix *m, int32_t n_tokens, int32_t row0, int32_t row1)
{
    const struct kern_mat *w = &m->w;
    struct activations x = data_activations(kern_select("ref"), n_tokens, w->n_cols);
    size_t stride = (size_t)w->n_rows + 3, y_len = (size_t)(n_tokens - 1) * stride + (size_t)row1;
    for (int32_t v = 0; v < n_variants; v++) {
        struct region out = region_new(y_len * sizeof(float));
        float *y = out.data;
        for (size_t i = 0; i < y_len; i++) y[i] = MARK;
        variants[v]->matmul(w, &x.act, row0, row1, y, stride, scratch);
        for (size_t i = 0; i < y_len; i++) {
            bool is_ours = (int32_t)(i % stride) >= row0 && (int32_t)(i % stride) < row1;
            if (!is_ours) assert_true(y[i] == MARK);
        }
        for (int32_t r = row0; r < row1; r++) check_result(variants[v], w, &x.act, r, y, stride);
        region_free(&out);
    }
    data_free_activations(&x);
}

static void test_matmul(void **state)
{
    (void)state;
    static const int32_t rows[] = {1, 16, 35, 71}, tokens[] = {1, 2, 3, 4, 7, 17, 33, 66};
    static const int32_t plain_cols[] = {1, 39, 100, 300}, small_cols[] = {32, 96, 288, 320},
                         super_cols[] = {256, 256, 512, 768};
    for (int32_t i = 0; i < data_n_types; i++) {
        int32_t block_len = kern_type_info(data_types[i])->block_len;
        const int32_t *cols = block_len == 1 ? plain_cols : block_len == 32 ? small_cols : super_cols;
        for (int32_t s = 0; s < 4; s++) {
            struct matrix m = matrix_new(data_types[i], rows[s], cols[s]);
            int32_t row0 = rows[s] > 40 ? 32 : 0; /* where packed rows may begin */
            for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++) {
                check_matmul(&m, tokens[t], 0, rows[s]);
                check_matmul(&m, tokens[t], row0, rows[s]);
            }
            matrix_free(&m);
        }
    }
}

/* Tokens t0..t0+n-1 of x. */
static struct kern_act act_part(const struct kern_act *x, int32_t t0, int32_t n)
{
    size_t at = (size_t)t0 * (size_t)x->n_cols;
    return (struct kern_act){x->f + at, x->q + at, x->d + at / 32, x->s + at / 16, n, x->n_cols};
}

#define BATCH_ROWS   19
#define BATCH_TOKENS 70

static void check_batch(const struct kern *k, const struct kern_mat *w, const struct kern_act *x, int32_t t0,
                        int32_t n, const float *all)
{
    float y[BATCH_TOKENS * BATCH_ROWS];
    struct kern_act part = act_part(x, t0, n);
    k->matmul(w, &part, 0, BATCH_ROWS, y, BATCH_ROWS, scratch);
    if (memcmp(y, all + (size_t)t0 * BATCH_ROWS, (size_t)(n * BATCH_ROWS) * sizeof *y) != 0) {
        fail_msg("%s (%s): tokens %d..%d differ from those of the batch", kern_type_info(w->type)->name,
                 k->isa, t0, t0 + n - 1);
    }
}

/* What a token gets does not depend on the batch; of AMX, on the batch among those that it takes. */
static void test_batches(void **state)
{
    (void)state;
    enum { COLS = 768 };
    for (int32_t i = 0; i < data_n_types; i++) {
        struct matrix m = matrix_new(data_types[i], BATCH_ROWS, COLS);
        struct activations x = data_activations(kern_select("ref"), BATCH_TOKENS, COLS);
        for (int32_t v = 0; v < n_variants && m.w.packed; v++) {
            const struct kern *k = variants[v];
            if (!k->reads_packed) continue;
            float all[BATCH_TOKENS * BATCH_ROWS];
            struct kern_act large = act_part(&x.act, 0, BATCH_TOKENS), small = act_part(&x.act, 0, 31);
            k->matmul(&m.w, &large, 0, BATCH_ROWS, all, BATCH_ROWS, scratch);
            check_batch(k, &m.w, &x.act, 0, 32, all);
            check_batch(k, &m.w, &x.act, 37, 33, all);
            check_batch(k, &m.w, &x.act, 5, 64, all);
            k->matmul(&m.w, &small, 0, BATCH_ROWS, all, BATCH_ROWS, scratch);
            for (int32_t n = 1; n <= 17; n++) check_batch(k, &m.w, &x.act, (7 * n) % 14, n, all);
        }
        data_free_activations(&x);
        matrix_free(&m);
    }
}

/* More tokens than any kernel takes at a time, and more columns than fit its scratch for one. */
static void test_large(void **state)
{
    (void)state;
    struct matrix tall = matrix_new(KERN_Q4_K, 5, 256), wide = matrix_new(KERN_Q8_0, 2, 200000);
    check_matmul(&tall, 1100, 0, 5);
    check_matmul(&wide, 3, 0, 2);
    check_matmul(&wide, 32, 0, 2);
    matrix_free(&tall);
    matrix_free(&wide);
}

int main(void)
{
    n_variants = variants_find(variants);
    struct region memory = region_new((kern_scratch_bytes() + 63) / 64 * 64);
    scratch = memory.data;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matmul), cmocka_unit_test(test_batches),
                                       cmocka_unit_test(test_large)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    region_free(&memory);
    return failed;
}
