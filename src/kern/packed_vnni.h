/* Matrix products of packed weights with an instruction that multiplies unsigned by signed bytes and adds
 * four products to 32 bits (vpdpbusd), for 16 rows at once. The vectors come from v16_*.h, included before.
 *
 * Weights are read in the form in which they are stored, whatever the number of tokens: unpacking takes a
 * tenth of the instructions of a tile of eight tokens, and one token waits for memory anyway. Tiles of 16
 * rows by a few tokens run over all columns, a panel stays in the second-level cache for all tiles.
 *
 * What a token gets does not depend on the tile it is in: for each unit of 32 columns its integer sum, then
 * one fixed sequence of operations in F32. */
#ifndef KERN_PACKED_VNNI_H
#define KERN_PACKED_VNNI_H

#include "kern/isa.h"
#include "kern/packed_unit.h"

/* Tokens prepared at a time; more do not make the weights cheaper, and their activations (64 x 4,864 bytes in
 * the widest layer of half a billion weights) should stay in the second-level cache. */
#define PACKED_CHUNK_TOKENS 64

/* Weights are asked for this far ahead, since the processor's own prefetching stops at the end of a page. */
#define PACKED_PREFETCH_BYTES 8192

/* For each unit of columns, the factors of V16_TILE_TOKENS tokens: d; then for each part of the unit (two
 * halves, or the whole), what is added to the product of d with the integer sum: the sum of the activations,
 * times -offset where the format has one. */
ALWAYS_INLINE size_t packed_unit_factors(struct packed_format f)
{
    return (f.has_halves ? 3 : 2) * V16_TILE_TOKENS;
}

/* The factors of tokens t0..t0+n-1, a tile's (n_units units) after another's. */
ALWAYS_INLINE void packed_take_factors(struct packed_format f, const struct kern_act *x, int32_t t0,
                                       int32_t n, float *factors)
{
    size_t n_units = (size_t)x->n_cols / PACK_UNIT;
    const float times = f.offset ? -(float)f.offset : 1;
    for (int32_t t = 0; t < n; t++) {
        const float *d = x->d + (size_t)(t0 + t) * n_units, *s = x->s + (size_t)(t0 + t) * n_units * 2;
        float *to =
            factors + (size_t)(t / V16_TILE_TOKENS) * n_units * packed_unit_factors(f) + t % V16_TILE_TOKENS;
        for (size_t u = 0; u < n_units; u++, to += packed_unit_factors(f)) {
            to[0] = d[u];
            to[V16_TILE_TOKENS] = times * (f.has_halves ? s[2 * u] : s[2 * u] + s[2 * u + 1]);
            if (f.has_halves) to[2 * V16_TILE_TOKENS] = times * s[2 * u + 1];
        }
    }
}

/* acc += a unit (or, of a format with halves, one half) times each of n_tokens tokens, from the integer
 * sums. */
ALWAYS_INLINE void packed_add(struct packed_format f, const struct packed_scales *w, int32_t half,
                              const float *factors, int32_t n_tokens, const struct v16i sums[],
                              struct v16f acc[])
{
    const float *added = factors + (1 + half) * V16_TILE_TOKENS;
    for (int32_t t = 0; t < n_tokens; t++) {
        struct v16f sum = v16_float(sums[t]), d = v16_set1(factors[t]), s = v16_set1(added[t]);
        if (f.has_min) {
            acc[t] = v16_fma(v16_mul(sum, w->d[0]), d, acc[t]);
            acc[t] = v16_fma(w->m, s, acc[t]);
        } else {
            acc[t] = v16_fma(v16_fma(sum, d, s), w->d[half], acc[t]);
        }
    }
}

/* y[token][row] = a panel times n_tokens (constant) tokens, whose activations begin at q, for n_rows rows. */
ALWAYS_INLINE void packed_tile(struct packed_format f, const uint8_t *panel, int32_t n_cols, bool prefetch,
                               const int8_t *q, const float *factors, int32_t n_tokens, int32_t n_rows,
                               float *y, size_t y_stride)
{
    const int32_t steps = f.has_halves ? PACKED_STEPS / 2 : PACKED_STEPS; /* between additions to acc */
    const int8_t *x[V16_TILE_TOKENS];
    struct v16f acc[V16_TILE_TOKENS];
    for (int32_t t = 0; t < n_tokens; t++) x[t] = q + (size_t)t * (size_t)n_cols, acc[t] = v16_zero();
    const int32_t block_cols = f.n_units * PACK_UNIT;
    for (int32_t c = 0; c < n_cols; panel += packed_block_bytes(f)) {
        const uint8_t *unit = panel + f.header_bytes;
        for (int32_t end = c + block_cols; c < end; c += PACK_UNIT, unit += f.unit_bytes) {
            if (prefetch) {
                for (size_t i = 0; i < f.unit_bytes; i += 64)
                    _mm_prefetch((const char *)unit + PACKED_PREFETCH_BYTES + i, _MM_HINT_T0);
            }
            struct packed_scales scales = packed_scales(f, panel, unit);
            UNROLL
            for (int32_t s = 0; s < PACKED_STEPS; s += steps) {
                struct v16i sums[V16_TILE_TOKENS];
                for (int32_t t = 0; t < n_tokens; t++) sums[t] = v16_zero_int();
                UNROLL
                for (int32_t i = s; i < s + steps; i++) {
                    struct v16i w = packed_step(f, unit, i);
                    for (int32_t t = 0; t < n_tokens; t++) sums[t] = v16_dot(sums[t], w, x[t] + c + 4 * i);
                }
                packed_add(f, &scales, s / steps, factors, n_tokens, sums, acc);
            }
            factors += packed_unit_factors(f);
        }
    }
    for (int32_t t = 0; t < n_tokens; t++) v16_store(y + (size_t)t * y_stride, n_rows, acc[t]);
}

/* A panel times the first tokens from t on, as many as make a tile; returns how many. */
ALWAYS_INLINE int32_t packed_next_tile(struct packed_format f, const uint8_t *panel, const struct kern_act *x,
                                       int32_t t0, int32_t t, int32_t n, const float *factors, int32_t n_rows,
                                       float *y, size_t y_stride)
{
    const int32_t left = n - t, n_cols = x->n_cols;
    const int8_t *q = x->q + (size_t)(t0 + t) * (size_t)n_cols;
    factors += (size_t)(t / V16_TILE_TOKENS) * (size_t)(n_cols / PACK_UNIT) * packed_unit_factors(f) +
               t % V16_TILE_TOKENS;
    y += (size_t)(t0 + t) * y_stride;
    const bool prefetch = t == 0; /* afterwards the panel is in the cache */
    if (left >= V16_TILE_TOKENS) {
        packed_tile(f, panel, n_cols, prefetch, q, factors, V16_TILE_TOKENS, n_rows, y, y_stride);
        return V16_TILE_TOKENS;
    }
    if (V16_TILE_TOKENS > 4 && left >= 4) {
        packed_tile(f, panel, n_cols, prefetch, q, factors, 4, n_rows, y, y_stride);
        return 4;
    }
    if (left >= 2) {
        packed_tile(f, panel, n_cols, prefetch, q, factors, 2, n_rows, y, y_stride);
        return 2;
    }
    packed_tile(f, panel, n_cols, prefetch, q, factors, 1, n_rows, y, y_stride);
    return 1;
}

/* How many tokens' factors fit the scratch: a multiple of a tile, 0 for matrices of over 100,000 columns. */
ALWAYS_INLINE int32_t packed_chunk_tokens(struct packed_format f, int32_t n_cols)
{
    size_t tile_bytes = (size_t)(n_cols / PACK_UNIT) * packed_unit_factors(f) * sizeof(float);
    size_t n_tiles = KERN_SCRATCH_BYTES / tile_bytes, most = PACKED_CHUNK_TOKENS / V16_TILE_TOKENS;
    return (int32_t)(n_tiles < most ? n_tiles : most) * V16_TILE_TOKENS;
}

ALWAYS_INLINE void packed_matmul_of(struct packed_format f, const struct kern_mat *w,
                                    const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                                    size_t y_stride, float *factors)
{
    const size_t panel_bytes = pack_panel_bytes(f.type, w->n_cols);
    const int32_t chunk = packed_chunk_tokens(f, w->n_cols);
    if (chunk == 0) {
        kern_avx2_matmul(w, x, row0, row1, y, y_stride, factors);
        return;
    }
    for (int32_t t0 = 0; t0 < x->n_tokens; t0 += chunk) {
        int32_t n = x->n_tokens - t0 < chunk ? x->n_tokens - t0 : chunk;
        packed_take_factors(f, x, t0, n, factors);
        for (int32_t r = row0; r < row1; r += PACK_ROWS) {
            const uint8_t *panel = (const uint8_t *)w->packed + (size_t)(r / PACK_ROWS) * panel_bytes;
            int32_t n_rows = row1 - r < PACK_ROWS ? row1 - r : PACK_ROWS;
            for (int32_t t = 0; t < n;)
                t += packed_next_tile(f, panel, x, t0, t, n, factors, n_rows, y + r, y_stride);
        }
    }
}

/* One instance for each format. */
typedef void packed_matmul_fn(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                              float *y, size_t y_stride, void *scratch);

#define PACKED_DEFINE_MATMUL(type, name, format)                                                             \
    static void packed_matmul_##name(const struct kern_mat *w, const struct kern_act *x, int32_t row0,       \
                                     int32_t row1, float *y, size_t y_stride, void *scratch)                 \
    {                                                                                                        \
        packed_matmul_of(format, w, x, row0, row1, y, y_stride, scratch);                                    \
    }
PACKED_FORMATS(PACKED_DEFINE_MATMUL)
#undef PACKED_DEFINE_MATMUL

/* kern.matmul. Weights that are not packed, in the first seconds of a model's life or because their format
 * has no packed form, are left to the AVX2 kernels. */
static void packed_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                          float *y, size_t y_stride, void *scratch)
{
    static packed_matmul_fn *const instances[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = packed_matmul_##name,
        PACKED_FORMATS(ENTRY)
#undef ENTRY
    };
    packed_matmul_fn *matmul = w->packed && instances[w->type] ? instances[w->type] : kern_avx2_matmul;
    matmul(w, x, row0, row1, y, y_stride, scratch);
}

#endif
