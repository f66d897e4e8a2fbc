/* Chunks: up to eight units of a panel of 16 rows of any quantized format, unpacked to bytes once and then
 * multiplied with all tokens of a batch, by sdot or by smmla. */
#ifndef KERN_CHUNK_NEON_H
#define KERN_CHUNK_NEON_H

#include "kern/panel_neon.h"

/* 256 columns: 4 KB of weights and at most 2 KB of scales stay in the first-level cache beside the
 * activations; and K formats have whole blocks. */
#define CHUNK_UNITS  SUPER_UNITS
#define CHUNK_TOKENS 4 /* in a tile */

struct chunk {
    int32_t unit0, n_units; /* which units of the rows */
    bool has_min, has_halves;
    const int8_t *q; /* [n_units], unit_bytes apart: [step][row][4] */
    size_t unit_bytes;
    /* Row r of a unit is the sum over its halves h of d[h][r] * (q . activations) + m[h][r] * sum of the
     * activations; or, without halves, the same of the whole unit with h = 0. */
    float d[CHUNK_UNITS][2][PACK_ROWS], m[CHUNK_UNITS][2][PACK_ROWS];
    int8_t room[CHUNK_UNITS][PACK_UNIT * PACK_ROWS]; /* for q, unless that points into a panel */
};

/* Multiply a chunk with all tokens. Stores n_rows results for each token at y if unit0 is 0, else adds to
 * them. What a token gets does not depend on the others. */
typedef void chunk_fn(const struct chunk *c, const struct kern_act *x, int32_t n_rows, float *y,
                      size_t y_stride, void *scratch);

/* kern_neon_matmul.c: kern.matmul, with chunks multiplied by this function. It may use CHUNK_SCRATCH bytes.
 */
#define CHUNK_SCRATCH (16 * 1024)
void kern_neon_matmul_with(chunk_fn *multiply, const struct kern_mat *w, const struct kern_act *x,
                           int32_t row0, int32_t row1, float *y, size_t y_stride, void *scratch);

/* kern_neon_plain.c: matrices in their file's layout. A chunk of n_rows rows; one token times a quantized
 * matrix; and F32, F16, BF16. */
void kern_neon_chunk_of_rows(const struct kern_mat *w, int32_t row0, int32_t n_rows, struct chunk *c);
void kern_neon_matmul_rows(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                           float *y);
void kern_neon_matmul_floats(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                             float *y, size_t y_stride);

/* acc + scale * d * dots: what every kernel does with integer products of 16 or 32 columns, in this order,
 * so that all of them give the same bits. */
ALWAYS_INLINE float32x4_t add_scaled(float32x4_t acc, int32x4_t dots, float32x4_t d, float32x4_t scale)
{
    return vfmaq_f32(acc, vmulq_f32(vcvtq_f32_s32(dots), d), scale);
}

/* The sum of the activations that group g (a half unit, or the whole) of unit u has. */
ALWAYS_INLINE float group_sum(struct token t, int32_t u, int32_t g, bool has_halves)
{
    return has_halves ? t.s[2 * u + g] : t.s[2 * u] + t.s[2 * u + 1];
}

/* Sums of a panel's rows for one token, and their n_rows places in y. */
ALWAYS_INLINE void rows_get(const float *y, int32_t n_rows, float sums[PACK_ROWS])
{
    if (n_rows == PACK_ROWS) { /* a constant number is copied without a call */
        memcpy(sums, y, PACK_ROWS * sizeof *y);
    } else {
        memcpy(sums, y, (size_t)n_rows * sizeof *y);
    }
}

ALWAYS_INLINE void rows_put(const float sums[PACK_ROWS], int32_t n_rows, float *y)
{
    if (n_rows == PACK_ROWS) {
        memcpy(y, sums, PACK_ROWS * sizeof *y);
    } else {
        memcpy(y, sums, (size_t)n_rows * sizeof *y);
    }
}

/* Multiply n_tokens (constant) tokens with all rows of the chunk, adding to sums. */
typedef void chunk_tile_fn(const struct chunk *c, const struct token *tokens, float sums[][PACK_ROWS]);

/* Instances of TILE(chunk, tokens, n_tokens, has_min, has_halves, sums), an inlined function, for four and
 * for two tokens and every kind of chunk; and the list of them that chunk_multiply takes. */
#define CHUNK_INSTANCE(name, tile, n_tokens, has_min, has_halves)                                            \
    static void name(const struct chunk *c, const struct token *tokens, float sums[][PACK_ROWS])             \
    {                                                                                                        \
        tile(c, tokens, n_tokens, has_min, has_halves, sums);                                                \
    }
#define CHUNK_INSTANCES(tile)                                                                                \
    CHUNK_INSTANCE(tile##_4, tile, 4, false, false)                                                          \
    CHUNK_INSTANCE(tile##_2, tile, 2, false, false)                                                          \
    CHUNK_INSTANCE(tile##_halves_4, tile, 4, false, true)                                                    \
    CHUNK_INSTANCE(tile##_halves_2, tile, 2, false, true)                                                    \
    CHUNK_INSTANCE(tile##_min_4, tile, 4, true, false)                                                       \
    CHUNK_INSTANCE(tile##_min_2, tile, 2, true, false)                                                       \
    CHUNK_INSTANCE(tile##_min_halves_4, tile, 4, true, true)                                                 \
    CHUNK_INSTANCE(tile##_min_halves_2, tile, 2, true, true)                                                 \
    static chunk_tile_fn *const tile##_instances[] = {                                                       \
        tile##_4,     tile##_2,     tile##_halves_4,     tile##_halves_2,                                    \
        tile##_min_4, tile##_min_2, tile##_min_halves_4, tile##_min_halves_2,                                \
    };

/* Do the work of a chunk_fn: all tokens in tiles of four, at the end perhaps of two. */
static inline void chunk_multiply(const struct chunk *c, const struct kern_act *x, int32_t n_rows, float *y,
                                  size_t y_stride, chunk_tile_fn *const instances[8])
{
    chunk_tile_fn *const *tile = instances + 4 * c->has_min + 2 * c->has_halves;
    for (int32_t t = 0; t < x->n_tokens; t += CHUNK_TOKENS) {
        int32_t n = x->n_tokens - t < CHUNK_TOKENS ? x->n_tokens - t : CHUNK_TOKENS;
        float sums[CHUNK_TOKENS][PACK_ROWS] = {{0}};
        struct token tokens[CHUNK_TOKENS];
        tokens_at(x, t, c->unit0, CHUNK_TOKENS, tokens);
        for (int32_t i = 0; i < n && c->unit0 > 0; i++)
            rows_get(y + (size_t)(t + i) * y_stride, n_rows, sums[i]);
        tile[n <= 2](c, tokens, sums);
        for (int32_t i = 0; i < n; i++) rows_put(sums[i], n_rows, y + (size_t)(t + i) * y_stride);
    }
}

#endif
