/* Matrices in the layout of their file: F32, F16, BF16 and MXFP8 with fused multiply-add, and quantized ones
 * until (or where) there is no packed form, unpacked row by row by the specification's own unpackers
 * (unpack.h), which compilers turn into vector code. */
#if defined(__ARM_FEATURE_DOTPROD)

#include "kern/chunk_neon.h"
#include "kern/isa.h"
#include "kern/unpack.h"

void kern_neon_chunk_of_rows(const struct kern_mat *w, int32_t row0, int32_t n_rows, struct chunk *c)
{
    c->has_halves = w->type == KERN_Q2_K || w->type == KERN_Q3_K || w->type == KERN_Q6_K;
    c->has_min = w->type == KERN_Q4_1 || w->type == KERN_Q5_1 || w->type == KERN_Q2_K ||
                 w->type == KERN_Q4_K || w->type == KERN_Q5_K;
    c->q = c->room[0];
    c->unit_bytes = sizeof c->room[0];
    for (int32_t r = 0; r < PACK_ROWS; r++) { /* rows past the last repeat it; their sums are dropped */
        const char *row =
            (const char *)w->data + (size_t)(row0 + (r < n_rows ? r : n_rows - 1)) * w->row_bytes;
        for (int32_t u = 0; u < c->n_units; u++) {
            struct unit unit;
            unpack_unit(w->type, row, c->unit0 + u, &unit);
            for (int32_t i = 0; i < STEPS; i++) memcpy(c->room[u] + 64 * i + 4 * r, unit.q + 4 * i, 4);
            for (int32_t h = 0; h < 2; h++) {
                c->d[u][h][r] = unit.d[h];
                c->m[u][h][r] = unit.m[h];
            }
        }
    }
}

/* One row times one token. */
static float dot_row(enum kern_type type, const void *row, int32_t n_units, struct token t)
{
    float32x4_t acc = vdupq_n_f32(0);
    float minima = 0;
    for (int32_t u = 0; u < n_units; u++) {
        struct unit unit;
        unpack_unit(type, row, u, &unit);
        for (int32_t h = 0; h < 2; h++) {
            int8x16_t x = vld1q_s8(t.q + u * UNIT_LEN + 16 * h);
            int32x4_t dots = vdotq_s32(vdupq_n_s32(0), vld1q_s8(unit.q + 16 * h), x);
            acc = vfmaq_n_f32(acc, vcvtq_f32_s32(dots), unit.d[h] * t.d[u]);
            minima += unit.m[h] * t.s[2 * u + h];
        }
    }
    return vaddvq_f32(acc) + minima;
}

void kern_neon_matmul_rows(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                           float *y)
{
    struct token t = token_at(x, 0, 0);
    for (int32_t r = row0; r < row1; r++) {
        const char *row = (const char *)w->data + (size_t)r * w->row_bytes;
        y[r] = dot_row(w->type, row, x->n_cols / UNIT_LEN, t);
    }
}

/* Eight weights from address p on; those of MXFP8 without their scale. */
ALWAYS_INLINE void load_weights(enum kern_type type, const void *p, float32x4_t w[2])
{
    if (type == KERN_F32) {
        w[0] = vld1q_f32(p);
        w[1] = vld1q_f32((const float *)p + 4);
        return;
    }
    if (type == KERN_BF16) {
        uint16x8_t high = vld1q_u16(p);
        w[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16));
        w[1] = vreinterpretq_f32_u32(vshll_high_n_u16(high, 16));
        return;
    }
    uint16x8_t half;
    if (type == KERN_F16) {
        half = vld1q_u16(p);
    } else { /* as block_e4m3, without the factor 2^8; the sign is in bits 15 and 14 */
        int16x8_t code = vshll_n_s8(vld1_s8(p), 7);
        half = vandq_u16(vreinterpretq_u16_s16(code), vdupq_n_u16(0xbf80));
    }
    w[0] = vec_low_f16(half);
    w[1] = vec_high_f16(half);
}

/* What load_weights leaves out of MXFP8: 2^(e - 127 + 8), with the limit of block_e8m0. */
ALWAYS_INLINE float32x4_t load_scale(const struct block_mxfp8 *b)
{
    const uint32_t exponent = (b->e < BLOCK_E8M0_MAX ? b->e : BLOCK_E8M0_MAX) + 8u;
    return vreinterpretq_f32_u32(vdupq_n_u32(exponent << 23));
}

/* Rows by tokens: eight sums are enough chains for one token, 16 leave registers for the operands. */
#define FLOAT_ROWS_1 8
#define FLOAT_ROWS   4
#define FLOAT_TOKENS 4

/* Eight columns of n_rows (constant) rows times those of n_tokens (constant) tokens. scale: of each row, for
 * MXFP8. */
ALWAYS_INLINE void float_step(const char *row, size_t row_bytes, int32_t n_rows, const float *const x[],
                              int32_t n_tokens, enum kern_type type, const float32x4_t *scale,
                              float32x4_t acc[FLOAT_ROWS_1][FLOAT_TOKENS])
{
    float32x4_t f[FLOAT_TOKENS][2];
    for (int32_t t = 0; t < n_tokens; t++) {
        f[t][0] = vld1q_f32(x[t]);
        f[t][1] = vld1q_f32(x[t] + 4);
    }
    for (int32_t r = 0; r < n_rows; r++) {
        float32x4_t w[2];
        load_weights(type, row + (size_t)r * row_bytes, w);
        for (int32_t i = 0; i < 2 && type == KERN_MXFP8; i++) w[i] = vmulq_f32(w[i], scale[r]);
        for (int32_t t = 0; t < n_tokens; t++)
            acc[r][t] = vfmaq_f32(vfmaq_f32(acc[r][t], w[0], f[t][0]), w[1], f[t][1]);
    }
}

/* A block of MXFP8 of each row. */
ALWAYS_INLINE void float_block(const char *row, size_t row_bytes, int32_t n_rows, const float *x[],
                               int32_t n_tokens, float32x4_t acc[FLOAT_ROWS_1][FLOAT_TOKENS])
{
    float32x4_t scale[FLOAT_ROWS_1];
    for (int32_t r = 0; r < n_rows; r++)
        scale[r] = load_scale((const struct block_mxfp8 *)(row + (size_t)r * row_bytes));
    const char *codes = row + offsetof(struct block_mxfp8, q);
    for (int32_t i = 0; i < UNIT_LEN; i += 8) {
        float_step(codes + i, row_bytes, n_rows, x, n_tokens, KERN_MXFP8, scale, acc);
        for (int32_t t = 0; t < n_tokens; t++) x[t] += 8;
    }
}

/* n_rows (constant) rows times n_tokens (constant) tokens. What is left of the columns after the last eight
 * is padded with zeros. */
ALWAYS_INLINE void float_tile(const char *row, size_t row_bytes, int32_t n_rows, const float *const x[],
                              int32_t n_cols, int32_t n_tokens, enum kern_type type,
                              float sums[FLOAT_TOKENS][FLOAT_ROWS_1])
{
    const size_t size = type == KERN_F32 ? sizeof(float) : sizeof(uint16_t);
    float32x4_t acc[FLOAT_ROWS_1][FLOAT_TOKENS];
    const float *at[FLOAT_TOKENS];
    for (int32_t t = 0; t < n_tokens; t++) {
        at[t] = x[t];
        for (int32_t r = 0; r < n_rows; r++) acc[r][t] = vdupq_n_f32(0);
    }
    const char *p = row;
    int32_t left = n_cols;
    for (; type == KERN_MXFP8 && left > 0; left -= UNIT_LEN, p += sizeof(struct block_mxfp8))
        float_block(p, row_bytes, n_rows, at, n_tokens, acc);
    for (; left >= 8; left -= 8, p += 8 * size) {
        float_step(p, row_bytes, n_rows, at, n_tokens, type, NULL, acc);
        for (int32_t t = 0; t < n_tokens; t++) at[t] += 8;
    }
    if (left > 0) {
        char rows[FLOAT_ROWS_1][8 * sizeof(float)] = {{0}};
        float tokens[FLOAT_TOKENS][8] = {{0}};
        for (int32_t r = 0; r < n_rows; r++) memcpy(rows[r], p + (size_t)r * row_bytes, (size_t)left * size);
        for (int32_t t = 0; t < n_tokens; t++) at[t] = memcpy(tokens[t], at[t], (size_t)left * sizeof(float));
        float_step(rows[0], sizeof rows[0], n_rows, at, n_tokens, type, NULL, acc);
    }
    for (int32_t r = 0; r < n_rows; r++) {
        for (int32_t t = 0; t < n_tokens; t++) sums[t][r] = vaddvq_f32(acc[r][t]);
    }
}

/* n_rows (constant) rows times all tokens. */
ALWAYS_INLINE void float_rows(const char *row, size_t row_bytes, int32_t n_rows, const struct kern_act *x,
                              enum kern_type type, float *y, size_t y_stride)
{
    float sums[FLOAT_TOKENS][FLOAT_ROWS_1];
    for (int32_t t = 0; t < x->n_tokens; t += FLOAT_TOKENS) {
        int32_t n = x->n_tokens - t < FLOAT_TOKENS ? x->n_tokens - t : FLOAT_TOKENS;
        const float *f[FLOAT_TOKENS]; /* past the last token, the last again */
        for (int32_t i = 0; i < FLOAT_TOKENS; i++)
            f[i] = x->f + (size_t)(t + (i < n ? i : n - 1)) * (size_t)x->n_cols;
        if (n == 1 || n_rows == FLOAT_ROWS_1) { /* so many rows only come with one token */
            float_tile(row, row_bytes, n_rows, f, x->n_cols, 1, type, sums);
        } else {
            float_tile(row, row_bytes, n_rows, f, x->n_cols, FLOAT_TOKENS, type, sums);
        }
        for (int32_t i = 0; i < n; i++) {
            memcpy(y + (size_t)(t + i) * y_stride, sums[i], (size_t)n_rows * sizeof *y);
        }
    }
}

ALWAYS_INLINE void multiply_floats(const struct kern_mat *w, const struct kern_act *x, int32_t row0,
                                   int32_t row1, float *y, size_t y_stride, enum kern_type type)
{
    const char *row = (const char *)w->data + (size_t)row0 * w->row_bytes;
    int32_t r = row0;
    for (; x->n_tokens == 1 && r + FLOAT_ROWS_1 <= row1;
         r += FLOAT_ROWS_1, row += FLOAT_ROWS_1 * w->row_bytes)
        float_rows(row, w->row_bytes, FLOAT_ROWS_1, x, type, y + r, y_stride);
    for (; r + FLOAT_ROWS <= row1; r += FLOAT_ROWS, row += FLOAT_ROWS * w->row_bytes)
        float_rows(row, w->row_bytes, FLOAT_ROWS, x, type, y + r, y_stride);
    for (; r < row1; r++, row += w->row_bytes) float_rows(row, 0, 1, x, type, y + r, y_stride);
}

void kern_neon_matmul_floats(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                             float *y, size_t y_stride)
{
    switch (w->type) {
    case KERN_F32:
        multiply_floats(w, x, row0, row1, y, y_stride, KERN_F32);
        break;
    case KERN_F16:
        multiply_floats(w, x, row0, row1, y, y_stride, KERN_F16);
        break;
    case KERN_BF16:
        multiply_floats(w, x, row0, row1, y, y_stride, KERN_BF16);
        break;
    default:
        multiply_floats(w, x, row0, row1, y, y_stride, KERN_MXFP8);
        break;
    }
}

#else
typedef int kern_neon_plain_unused; /* a translation unit must declare something */
#endif
