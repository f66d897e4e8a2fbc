/* Panels: 16 rows of a chunk of a quantized matrix, unpacked once and then multiplied with all tokens.
 *
 * The rows are interleaved in steps of four weights, so that one vector holds the same four columns of 8
 * (or 16) rows, and one 32-bit lane of a dot-product instruction sums one row. No horizontal sums remain,
 * and four activations are broadcast to all rows at once. */
#ifndef KERN_PANEL_AVX2_H
#define KERN_PANEL_AVX2_H

#include "kern/span_avx2.h"

#define PANEL_ROWS  16
#define PANEL_STEPS (UNIT_LEN / 4)
/* 16 units (512 columns) make a panel of 13 KB, which leaves room for the activations in a first-level
 * cache of 32 KB. A multiple of SPAN_UNITS. */
#define PANEL_UNITS 16

struct panel_unit {
    _Alignas(64) uint8_t q[PANEL_STEPS][PANEL_ROWS][4];
    float d[PANEL_ROWS];
    float m[2][PANEL_ROWS];       /* of each half; without halves only m[0] counts */
    int32_t scale[2][PANEL_ROWS]; /* of each half, as in struct span */
};

struct panel {
    struct panel_unit units[PANEL_UNITS + SPAN_UNITS]; /* the last are written to, but hold nothing */
    struct span rows[PANEL_ROWS];                      /* what is being unpacked */
};

/* Transpose eight rows, each 32 bytes at from[r * step], to eight vectors at to[i * PANEL_ROWS]. */
ALWAYS_INLINE void panel_transpose(const void *from, size_t step, __m256i flip, void *to, size_t to_step)
{
    __m256i v[8];
    for (int32_t r = 0; r < 8; r++)
        v[r] = _mm256_xor_si256(load_bytes((const char *)from + (size_t)r * step), flip);
    vec_transpose(v);
    for (size_t i = 0; i < 8; i++) store_bytes((char *)to + i * to_step, v[i]);
}

/* Interleave the first n units of eight rows into units, lanes lane..lane+7. flip is xored to the weights. */
ALWAYS_INLINE void panel_interleave(const struct span rows[8], int32_t n, struct span_class c, __m256i flip,
                                    struct panel_unit *units, int32_t lane)
{
    const __m256i zero = _mm256_setzero_si256();
    const size_t unit = sizeof *units, row = sizeof *rows;
    for (int32_t u = 0; u < n; u++) {
        panel_transpose(rows->q[u], row, flip, units[u].q[0][lane], sizeof units->q[0]);
    }
    panel_transpose(rows->d, row, zero, &units->d[lane], unit);
    if (c.has_min && !c.has_halves) panel_transpose(rows->m, row, zero, &units->m[0][lane], unit);
    if (!c.has_halves) return;
    for (int32_t part = 0; part < 2; part++) { /* a vector holds the halves of four units */
        struct panel_unit *to = units + 4 * part;
        __m256i m[8], scale[8];
        for (int32_t r = 0; r < 8; r++) m[r] = load_bytes(rows[r].m + 8 * part);
        vec_transpose(m);
        for (int32_t i = 0; i < 8; i++) store_bytes(&to[i / 2].m[i % 2][lane], m[i]);
        for (int32_t r = 0; r < 8; r++) scale[r] = load_bytes(rows[r].scale + 8 * part);
        vec_transpose(scale);
        for (int32_t i = 0; i < 8; i++) store_bytes(&to[i / 2].scale[i % 2][lane], scale[i]);
    }
}

/* Unpack n (constant) units of 16 rows and interleave them. Rows past n_rows repeat the last one; their
 * results are not used. */
ALWAYS_INLINE void panel_take(struct panel *p, const char *src, size_t row_bytes, int32_t n_rows, int32_t n,
                              struct span_format f, __m256i flip, struct panel_unit *units)
{
    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        f.unpack(src + (size_t)(r < n_rows ? r : n_rows - 1) * row_bytes, n, &p->rows[r]);
    }
    for (int32_t lane = 0; lane < PANEL_ROWS; lane += 8) {
        panel_interleave(p->rows + lane, n, f.class, flip, units, lane);
    }
}

/* Build units 0..n-1 of a panel from n_rows (1..16) rows, row_bytes apart. */
ALWAYS_INLINE void panel_build(struct panel *p, const char *src, size_t row_bytes, int32_t n_rows, int32_t n,
                               struct span_format f, __m256i flip)
{
    struct panel_unit *to = p->units;
    while (n > 0) {
        int32_t step = f.has_tail ? span_step(n) : SPAN_UNITS;
        switch (step) {
        case SPAN_UNITS:
            panel_take(p, src, row_bytes, n_rows, SPAN_UNITS, f, flip, to);
            break;
        case 4:
            panel_take(p, src, row_bytes, n_rows, 4, f, flip, to);
            break;
        default:
            panel_take(p, src, row_bytes, n_rows, 1, f, flip, to);
            break;
        }
        n -= step;
        to += step;
        src += (size_t)step * f.bytes / SPAN_UNITS;
    }
}

#endif
