/* Packed weights: the packed form, read back here from the layout that pack.h describes, holds the weights
 * that the reference de-quantizer finds in the file's form; and where products of them could go wrong
 * whatever their shape: the largest sums of integers, and matrices that are cut into blocks. test_packed.c
 * has odd shapes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kern/pack.h"
#include "kern_data.h"
#include "variants.h"

#define MARK 0xa5 /* what bytes hold that are not to be written */

/* Reads one panel in the order of its description. */
struct reader {
    const uint8_t *at;
};

static const uint8_t *take(struct reader *r, size_t bytes)
{
    const uint8_t *p = r->at;
    r->at += bytes;
    return p;
}

static float f16_of_row(const uint8_t *array, int32_t row)
{
    return kern_f16_to_f32((uint16_t)(array[2 * row] | array[2 * row + 1] << 8));
}

/* Byte [step][row][c] of column 4 step + c. */
static uint8_t byte_of(const uint8_t *vectors, int32_t step, int32_t row, int32_t c)
{
    return vectors[64 * step + 4 * row + c];
}

static int32_t nibble_of(const uint8_t *nibbles, int32_t step, int32_t row, int32_t c)
{
    uint8_t both = byte_of(nibbles, step % 4, row, c);
    return step < 4 ? both & 15 : both >> 4;
}

/* Weight `col` (0..31) of a unit without its scales; where the reader's arrays lie depends on the format. */
struct unit_arrays {
    const uint8_t *bytes, *nibbles, *fifth, *more;
};

static int32_t value_of(const struct unit_arrays *a, int32_t row, int32_t col)
{
    int32_t step = col / 4, c = col % 4;
    if (a->bytes) return (int8_t)byte_of(a->bytes, step, row, c);
    int32_t q = nibble_of(a->nibbles, step, row, c);
    if (a->fifth) q += (byte_of(a->fifth, 0, row, c) >> step & 1) * 16;
    if (a->more) q += (byte_of(a->more, step / 4, row, c) >> 2 * (step % 4) & 3) * 16;
    return q;
}

static const int8_t iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Formats whose unit stands alone. */
static void read_small(enum kern_type type, struct reader *r, int32_t row, float *out)
{
    const uint8_t *d = take(r, 32), *m = NULL;
    struct unit_arrays a = {0};
    if (type == KERN_Q4_1 || type == KERN_Q5_1) m = take(r, 32);
    if (type == KERN_Q5_0 || type == KERN_Q5_1) a.fifth = take(r, 64);
    if (type == KERN_Q8_0) {
        a.bytes = take(r, 512);
    } else {
        a.nibbles = take(r, 256);
    }
    for (int32_t col = 0; col < 32; col++) {
        int32_t q = value_of(&a, row, col);
        if (type == KERN_Q4_0) q -= 8;
        if (type == KERN_Q5_0) q -= 16;
        if (type == KERN_IQ4_NL) q = iq4[q];
        out[col] = f16_of_row(d, row) * (float)q + (m ? f16_of_row(m, row) : 0);
    }
}

/* Blocks of eight units. */
static void read_super(enum kern_type type, struct reader *r, int32_t row, float *out)
{
    float d = f16_of_row(take(r, 32), row);
    float m = type == KERN_Q6_K ? 0 : f16_of_row(take(r, 32), row);
    for (int32_t u = 0; u < 8; u++) {
        struct unit_arrays a = {0};
        const uint8_t *scales = take(r, 32);
        if (type == KERN_Q5_K) a.fifth = take(r, 64);
        a.nibbles = take(r, 256);
        if (type == KERN_Q6_K) a.more = take(r, 128);
        for (int32_t col = 0; col < 32; col++) {
            int32_t q = value_of(&a, row, col);
            if (type == KERN_Q6_K) {
                *out++ = d * (float)(int8_t)scales[16 * (col / 16) + row] * (float)(q - 32);
            } else {
                *out++ = d * (float)scales[row] * (float)q - m * (float)scales[16 + row];
            }
        }
    }
}

static void check_row(const struct kern_mat *w, const uint8_t *packed, int32_t row)
{
    float *want = malloc((size_t)w->n_cols * sizeof *want), *got = malloc((size_t)w->n_cols * sizeof *got);
    size_t panel_bytes = pack_panel_bytes(w->type, w->n_cols);
    const uint8_t *panel = packed + (size_t)(row / 16) * panel_bytes;
    struct reader r = {panel};
    memset(want, 0, (size_t)w->n_cols * sizeof *want);
    if (row < w->n_rows) {
        kern_select("ref")->dequantize(w->type, (const char *)w->data + (size_t)row * w->row_bytes, want,
                                       w->n_cols);
    }
    int32_t block_len = kern_type_info(w->type)->block_len;
    for (int32_t col = 0; col < w->n_cols; col += block_len) {
        if (block_len == 32) {
            read_small(w->type, &r, row % 16, got + col);
        } else {
            read_super(w->type, &r, row % 16, got + col);
        }
    }
    assert_ptr_equal(r.at, panel + panel_bytes);
    for (int32_t col = 0; col < w->n_cols; col++) {
        if (got[col] != want[col]) {
            fail_msg("%s, row %d of %d, column %d: %.9g, expected %.9g", kern_type_info(w->type)->name, row,
                     w->n_rows, col, (double)got[col], (double)want[col]);
        }
    }
    free(want);
    free(got);
}

/* The panels but the one from row `skip` on, which must be left alone. */
static void check_pack(enum kern_type type, int32_t n_rows, int32_t n_cols, int32_t skip)
{
    struct region memory;
    struct kern_mat w = data_matrix(type, n_rows, n_cols, &memory);
    size_t bytes = pack_bytes(type, n_rows, n_cols), panel_bytes = pack_panel_bytes(type, n_cols);
    assert_true(panel_bytes > 0 && panel_bytes % 32 == 0);
    assert_true(bytes == panel_bytes * (size_t)((n_rows + 15) / 16));
    struct region out = region_new(bytes);
    uint8_t *packed = out.data;
    memset(packed, MARK, bytes);
    int32_t last = skip + 16 < n_rows ? skip + 16 : n_rows;
    pack_rows(&w, last, n_rows, packed);
    pack_rows(&w, 0, skip, packed);
    const uint8_t *skipped = packed + (size_t)(skip / 16) * panel_bytes;
    for (size_t i = 0; i < panel_bytes; i++) assert_int_equal(skipped[i], MARK);
    pack_rows(&w, skip, last, packed);
    for (int32_t row = 0; row < (n_rows + 15) / 16 * 16; row++) check_row(&w, packed, row);
    region_free(&out);
    region_free(&memory);
}

static bool is_packed(enum kern_type type)
{
    return pack_panel_bytes(type, 256) > 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    int32_t n_packed = 0;
    for (int32_t i = 0; i < data_n_types; i++) {
        enum kern_type type = data_types[i];
        if (!is_packed(type)) continue;
        n_packed++;
        int32_t block_len = kern_type_info(type)->block_len;
        check_pack(type, 1, block_len, 0);
        check_pack(type, 16, 3 * block_len, 0);
        check_pack(type, 17, 2 * block_len, 16);
        check_pack(type, 47, 5 * block_len, 16);
        check_pack(type, 48, block_len, 32);
    }
    assert_int_equal(n_packed, 9);
}

static void test_not_packed(void **state)
{
    (void)state;
    static const enum kern_type types[] = {KERN_F32,  KERN_F16,    KERN_BF16, KERN_Q2_K,
                                           KERN_Q3_K, KERN_IQ4_XS, KERN_MXFP8};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(pack_bytes(types[i], 100, 512), 0);
        assert_int_equal(pack_panel_bytes(types[i], 512), 0);
    }
}

/* data_matrix, or all bytes but the scales equal to `value`, with its packed form in *packed. */
static struct kern_mat packed_matrix(enum kern_type type, int32_t n_rows, int32_t n_cols, int32_t value,
                                     struct region *memory, struct region *packed)
{
    struct kern_mat w = data_matrix(type, n_rows, n_cols, memory);
    if (value >= 0) data_fill_extreme(type, memory->data, (size_t)n_rows * (size_t)n_cols, (uint8_t)value);
    *packed = region_new((pack_bytes(type, n_rows, n_cols) + 63) / 64 * 64);
    pack_rows(&w, 0, n_rows, packed->data);
    w.packed = packed->data;
    return w;
}

#define EXTREME_ROWS   17
#define EXTREME_COLS   512
#define EXTREME_TOKENS 6

/* Activations all at their largest, of either sign: nothing may overflow. */
static void check_extreme(enum kern_type type, uint8_t value, void *scratch)
{
    const struct kern *ref = kern_select("ref"), *variants[VARIANTS_MAX];
    int32_t n_variants = variants_find(variants);
    struct region memory, packed;
    struct kern_mat w = packed_matrix(type, EXTREME_ROWS, EXTREME_COLS, value, &memory, &packed);
    struct activations x = data_activations(ref, EXTREME_TOKENS, EXTREME_COLS);
    float *f = x.f.data, want[EXTREME_TOKENS * EXTREME_ROWS], got[EXTREME_TOKENS * EXTREME_ROWS];
    for (int32_t i = 0; i < EXTREME_TOKENS * EXTREME_COLS; i++) f[i] = i / EXTREME_COLS % 2 ? 1.0f : -1.0f;
    ref->quantize(f, EXTREME_TOKENS * EXTREME_COLS, x.q.data, x.d.data, x.s.data);
    ref->matmul(&w, &x.act, 0, EXTREME_ROWS, want, EXTREME_ROWS, scratch);
    for (int32_t v = 0; v < n_variants; v++) {
        variants[v]->matmul(&w, &x.act, 0, EXTREME_ROWS, got, EXTREME_ROWS, scratch);
        for (int32_t i = 0; i < EXTREME_TOKENS * EXTREME_ROWS; i++) {
            /* Equal weights can cancel against their minimum: the bound needs the magnitude of a part. */
            double error = fabs((double)got[i] - (double)want[i]), bound = 1e-5 * (fabs((double)want[i]) + 1);
            if (!(error <= bound)) {
                fail_msg("%s (%s), bytes %#x: %.9g, expected %.9g", kern_type_info(type)->name,
                         variants[v]->isa, value, (double)got[i], (double)want[i]);
            }
        }
    }
    data_free_activations(&x);
    region_free(&packed);
    region_free(&memory);
}

static void test_extremes(void **state)
{
    static const uint8_t values[] = {0x00, 0x7f, 0x80, 0xff};
    for (int32_t i = 0; i < 4 * data_n_types; i++) {
        if (is_packed(data_types[i / 4])) check_extreme(data_types[i / 4], values[i % 4], *state);
    }
}

/* More tokens than are prepared at a time, with more columns than are then taken at a time, and a last panel
 * that is not whole: each token gets the same bits as alone. (AMX computes large batches differently.) */
static void test_blocks(void **state)
{
    enum { ROWS = 35, COLS = 1536, TOKENS = 150 };
    const struct kern *variants[VARIANTS_MAX];
    int32_t n_variants = variants_find(variants);
    for (int32_t i = 0; i < data_n_types; i++) {
        if (!is_packed(data_types[i])) continue;
        struct region memory, packed;
        struct kern_mat w = packed_matrix(data_types[i], ROWS, COLS, -1, &memory, &packed);
        struct activations x = data_activations(kern_select("ref"), TOKENS, COLS);
        for (int32_t v = 0; v < n_variants; v++) {
            static float all[TOKENS][ROWS], one[ROWS];
            if (!variants[v]->reads_packed || strcmp(variants[v]->isa, "amx") == 0) continue;
            variants[v]->matmul(&w, &x.act, 0, ROWS, all[0], ROWS, *state);
            for (int32_t t = 0; t < TOKENS; t += 7) {
                size_t at = (size_t)t * COLS;
                struct kern_act token = {x.act.f + at, x.act.q + at, x.act.d + at / 32, x.act.s + at / 16, 1,
                                         COLS};
                variants[v]->matmul(&w, &token, 0, ROWS, one, ROWS, *state);
                assert_memory_equal(one, all[t], sizeof one);
            }
        }
        data_free_activations(&x);
        region_free(&packed);
        region_free(&memory);
    }
}

int main(void)
{
    struct region memory = region_new((kern_scratch_bytes() + 63) / 64 * 64);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_not_packed),
                                       cmocka_unit_test_prestate(test_extremes, memory.data),
                                       cmocka_unit_test_prestate(test_blocks, memory.data)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    region_free(&memory);
    return failed;
}
