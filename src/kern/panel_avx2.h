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
    int32_t scale[2][PANEL_ROWS]; /* of each half, as scale_pairs of struct span */
};

struct panel {
    struct panel_unit units[PANEL_UNITS + SPAN_UNITS]; /* the last are written to, but hold nothing */
    struct span rows[PANEL_ROWS];                      /* what is being unpacked */
};

/* Transpose eight rows, each 32 bytes at from + r * step, to eight vectors at to + i * to_step. */
ALWAYS_INLINE void panel_transpose(const void *from, size_t step, void *to, size_t to_step)
{
    __m256i v[8];
    for (int32_t r = 0; r < 8; r++) v[r] = load_bytes((const char *)from + (size_t)r * step);
    vec_transpose(v);
    for (size_t i = 0; i < 8; i++) store_bytes((char *)to + i * to_step, v[i]);
}

/* Interleave the first n units of eight rows into units, lanes lane..lane+7. */
ALWAYS_INLINE void panel_interleave(const struct span rows[8], int32_t n, struct span_class c,
                                    struct panel_unit *units, int32_t lane)
{
    const size_t unit = sizeof *units, row = sizeof *rows;
    for (int32_t u = 0; u < n; u++) {
        panel_transpose(rows->q[u], row, units[u].q[0][lane], sizeof units->q[0]);
    }
    panel_transpose(rows->d, row, &units->d[lane], unit);
    if (c.has_min && !c.has_halves) panel_transpose(rows->m, row, &units->m[0][lane], unit);
    if (!c.has_halves) return;
    for (int32_t part = 0; part < 2; part++) { /* a vector holds the halves of four units */
        struct panel_unit *to = units + 4 * part;
        __m256i m[8], scale[8];
        for (int32_t r = 0; r < 8; r++) m[r] = load_bytes(rows[r].m + 8 * part);
        vec_transpose(m);
        for (int32_t i = 0; i < 8; i++) store_bytes(&to[i / 2].m[i % 2][lane], m[i]);
        for (int32_t r = 0; r < 8; r++) scale[r] = load_bytes(rows[r].scale_pairs + 8 * part);
        vec_transpose(scale);
        for (int32_t i = 0; i < 8; i++) store_bytes(&to[i / 2].scale[i % 2][lane], scale[i]);
    }
}

/* Unpack n (constant) units of 16 rows and interleave them. Rows past n_rows repeat the last one; their
 * results are not used. */
ALWAYS_INLINE void panel_take(struct panel *p, const char *src, size_t row_bytes, int32_t n_rows, int32_t n,
                              struct span_format f, struct panel_unit *units)
{
    for (int32_t r = 0; r < PANEL_ROWS; r++) {
        f.unpack(src + (size_t)(r < n_rows ? r : n_rows - 1) * row_bytes, n, &p->rows[r]);
    }
    for (int32_t lane = 0; lane < PANEL_ROWS; lane += 8) {
        panel_interleave(p->rows + lane, n, f.class, units, lane);
    }
}

/* Build units 0..n-1 of a panel from n_rows (1..16) rows, row_bytes apart. */
ALWAYS_INLINE void panel_build(struct panel *p, const char *src, size_t row_bytes, int32_t n_rows, int32_t n,
                               struct span_format f)
{
    struct panel_unit *to = p->units;
    while (n > 0) {
        int32_t step = f.has_tail ? span_step(n) : SPAN_UNITS;
        switch (step) {
        case SPAN_UNITS:
            panel_take(p, src, row_bytes, n_rows, SPAN_UNITS, f, to);
            break;
        case 4:
            panel_take(p, src, row_bytes, n_rows, 4, f, to);
            break;
        default:
            panel_take(p, src, row_bytes, n_rows, 1, f, to);
            break;
        }
        n -= step;
        to += step;
        src += (size_t)step * f.bytes / SPAN_UNITS;
    }
}

/* Multiplies units 0..n-1 of a panel, which begin at unit0 of its rows, with all tokens. Stores n_rows
 * results for each token at y if unit0 is 0, else adds to them. */
typedef void panel_fn(const struct panel *p, int32_t unit0, int32_t n, const struct kern_act *x,
                      int32_t n_rows, float *y, size_t y_stride);

/* Rows row0..row1-1 of a quantized matrix times all tokens, panel by panel. */
ALWAYS_INLINE void panel_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0,
                                int32_t row1, float *y, size_t y_stride, struct panel *panel,
                                struct span_format f, panel_fn *multiply)
{
    int32_t n_units = w->n_cols / UNIT_LEN;
    for (int32_t r = row0; r < row1; r += PANEL_ROWS) {
        int32_t n_rows = row1 - r < PANEL_ROWS ? row1 - r : PANEL_ROWS;
        const char *src = (const char *)w->data + (size_t)r * w->row_bytes;
        for (int32_t u = 0; u < n_units; u += PANEL_UNITS, src += PANEL_UNITS / SPAN_UNITS * f.bytes) {
            int32_t n = n_units - u < PANEL_UNITS ? n_units - u : PANEL_UNITS;
            panel_build(panel, src, w->row_bytes, n_rows, n, f);
            multiply(panel, u, n, x, n_rows, y + r, y_stride);
        }
    }
}

/* What tiles leave: the first n_rows sums of each token, stored or added (see panel_fn). */
static inline void panel_put(float sums[][PANEL_ROWS], int32_t n_tokens, int32_t n_rows, bool is_first,
                             float *y, size_t y_stride)
{
    for (int32_t t = 0; t < n_tokens; t++, y += y_stride) {
        if (is_first) {
            memcpy(y, sums[t], (size_t)n_rows * sizeof *y);
        } else {
            for (int32_t r = 0; r < n_rows; r++) y[r] += sums[t][r];
        }
    }
}

#endif
