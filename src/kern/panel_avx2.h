/* Panels of weights that are not packed: 16 rows of some units, unpacked and interleaved to the order of
 * kern/pack.h, for products with several tokens. */
#ifndef KERN_PANEL_AVX2_H
#define KERN_PANEL_AVX2_H

#include "kern/span_avx2.h"

/* Transpose eight rows, each 32 bytes at from + r * step, to eight vectors at to + i * to_step. */
ALWAYS_INLINE void panel_transpose(const void *from, size_t step, void *to, size_t to_step)
{
    __m256i v[8];
    for (int32_t r = 0; r < 8; r++) v[r] = load_bytes((const char *)from + (size_t)r * step);
    vec_transpose(v);
    for (size_t i = 0; i < 8; i++) store_bytes((char *)to + i * to_step, v[i]);
}

/* Interleave the first n units of eight rows into units, lanes lane..lane+7. */
ALWAYS_INLINE void panel_interleave(const struct span rows[8], int32_t n, struct tile_class c,
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
        __m256i m[8], scale[8];
        for (int32_t r = 0; r < 8; r++) m[r] = load_bytes(rows[r].m + 8 * part);
        for (int32_t r = 0; r < 8; r++) scale[r] = load_bytes(rows[r].scale_pairs + 8 * part);
        vec_transpose(m);
        vec_transpose(scale);
        for (int32_t i = 0; i < 8; i++) {
            struct panel_unit *to = &units[4 * part + i / 2];
            store_bytes(&to->m[i % 2][lane], m[i]);
            store_bytes(&to->scale[i % 2][lane], scale[i]);
        }
    }
}

/* Unpack n (constant) units of 16 rows and interleave them. Rows past n_rows repeat the last one; their
 * results are not used. */
ALWAYS_INLINE void panel_take(const char *src, size_t row_bytes, int32_t n_rows, int32_t n,
                              struct span_format f, struct panel_unit *units)
{
    struct span rows[PACK_ROWS];
    for (int32_t r = 0; r < PACK_ROWS; r++) {
        f.unpack(src + (size_t)(r < n_rows ? r : n_rows - 1) * row_bytes, n, &rows[r]);
    }
    for (int32_t lane = 0; lane < PACK_ROWS; lane += 8) {
        panel_interleave(rows + lane, n, f.class, units, lane);
    }
}

/* Unpack a run of at most TILE_RUN_UNITS, which begins at a multiple of SPAN_UNITS, into its panel. */
ALWAYS_INLINE void panel_build(const struct tile_run *r, struct span_format f)
{
    const size_t row_bytes = r->w->row_bytes;
    const char *src =
        (const char *)r->w->data + (size_t)r->row * row_bytes + (size_t)(r->unit / SPAN_UNITS) * f.bytes;
    struct panel_unit *to = r->panel;
    for (int32_t n = r->n_units; n > 0;) {
        int32_t step = f.has_tail ? span_step(n) : SPAN_UNITS;
        switch (step) {
        case SPAN_UNITS:
            panel_take(src, row_bytes, r->n_rows, SPAN_UNITS, f, to);
            break;
        case 4:
            panel_take(src, row_bytes, r->n_rows, 4, f, to);
            break;
        default:
            panel_take(src, row_bytes, r->n_rows, 1, f, to);
            break;
        }
        n -= step;
        to += step;
        src += (size_t)step * f.bytes / SPAN_UNITS;
    }
}

#endif
