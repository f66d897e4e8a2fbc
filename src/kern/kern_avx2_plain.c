/* Matrix products with AVX2 of weights that are multiplied with F32 activations: F32, F16, BF16 and MXFP8.
 * Tiles of four rows by up to three tokens with fused multiply-add, one instance for each format by inlining
 * it with constants. Columns go in units of 32, the blocks of MXFP8.
 *
 * To make F32 of MXFP8 takes several instructions, and longer than to multiply: for more tokens than a tile
 * holds it is done once, into a panel of four rows in the first-level cache. */
#if defined(__AVX2__)

#include "kern/isa.h"
#include "kern/tile_avx2.h"

#define PLAIN_ROWS   4
#define PLAIN_TOKENS 3 /* 4 x 3 sums, three activations and one weight vector fill the 16 registers */

ALWAYS_INLINE size_t unit_bytes(enum kern_type type)
{
    return type == KERN_F32 ? 128 : type == KERN_MXFP8 ? sizeof(struct block_mxfp8) : 64;
}

/* Eight weights of a unit, from the i-th on; those of MXFP8 without their scale. */
ALWAYS_INLINE __m256 load_weights(const char *unit, int32_t i, enum kern_type type)
{
    if (type == KERN_F32) return _mm256_loadu_ps((const float *)unit + i);
    if (type == KERN_MXFP8) { /* as block_e4m3, without the factor 2^8 */
        const __m128i code = _mm_loadl_epi64((const __m128i *)(unit + offsetof(struct block_mxfp8, q) + i));
        const __m128i half = _mm_slli_epi16(_mm_cvtepi8_epi16(code), 7); /* the sign in bits 15 and 14 */
        return _mm256_cvtph_ps(_mm_and_si128(half, _mm_set1_epi16((int16_t)0xbf80)));
    }
    __m128i half = _mm_loadu_si128((const __m128i *)((const uint16_t *)unit + i));
    if (type == KERN_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Fewer than eight, of a format without blocks; zeros follow. */
ALWAYS_INLINE __m256 load_weights_part(const char *unit, int32_t i, int32_t n, enum kern_type type)
{
    if (type == KERN_F32) return vec_load_part((const float *)unit + i, n);
    uint16_t part[8] = {0};
    memcpy(part, (const uint16_t *)unit + i, (size_t)n * sizeof *part);
    return load_weights((const char *)part, 0, type);
}

/* What load_weights leaves out of MXFP8: 2^(e - 127 + 8), with the limit of block_e8m0. */
ALWAYS_INLINE __m256 load_scale(const char *unit)
{
    const uint8_t e = ((const struct block_mxfp8 *)unit)->e;
    const int32_t exponent = (e < BLOCK_E8M0_MAX ? e : BLOCK_E8M0_MAX) + 8;
    return _mm256_castsi256_ps(_mm256_set1_epi32(exponent << 23));
}

/* Rows and tokens that are multiplied. */
struct plain_tile {
    const char *row; /* the first */
    size_t row_bytes;
    enum kern_type type;
    const float *x; /* the first token */
    size_t x_stride;
    int32_t n_cols;
    float *y; /* of the first row and token; overwritten if is_first, else added to */
    size_t y_stride;
    bool is_first;
};

typedef __m256 plain_sums[PLAIN_ROWS][PLAIN_TOKENS];

/* Add the products of n (eight at most) columns from c on. They are the i-th and later of a unit, which
 * begins at `unit` in the first row. Of formats without blocks. */
ALWAYS_INLINE void add_columns(const struct plain_tile *p, const char *unit, int32_t i, int32_t c, int32_t n,
                               int32_t n_rows, int32_t n_tokens, plain_sums acc)
{
    __m256 f[PLAIN_TOKENS];
    for (int32_t t = 0; t < n_tokens; t++) {
        const float *x = p->x + (size_t)t * p->x_stride + c;
        f[t] = n >= 8 ? _mm256_loadu_ps(x) : vec_load_part(x, n);
    }
    for (int32_t r = 0; r < n_rows; r++) {
        const char *at = unit + (size_t)r * p->row_bytes;
        __m256 weight = n >= 8 ? load_weights(at, i, p->type) : load_weights_part(at, i, n, p->type);
        for (int32_t t = 0; t < n_tokens; t++) acc[r][t] = _mm256_fmadd_ps(weight, f[t], acc[r][t]);
    }
}

/* Add the products of a block of 32 columns from c on: one sum for each row and token, to which the row's
 * scale is applied. */
ALWAYS_INLINE void add_block(const struct plain_tile *p, const char *unit, int32_t c, int32_t n_rows,
                             int32_t n_tokens, plain_sums acc)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const char *at = unit + (size_t)r * p->row_bytes;
        __m256 sum[PLAIN_TOKENS];
        for (int32_t t = 0; t < n_tokens; t++) sum[t] = _mm256_setzero_ps();
        UNROLL
        for (int32_t i = 0; i < PACK_UNIT; i += 8) {
            const __m256 weight = load_weights(at, i, p->type);
            for (int32_t t = 0; t < n_tokens; t++) {
                const float *x = p->x + (size_t)t * p->x_stride + c + i;
                sum[t] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(x), sum[t]);
            }
        }
        const __m256 scale = load_scale(at);
        for (int32_t t = 0; t < n_tokens; t++) acc[r][t] = _mm256_fmadd_ps(sum[t], scale, acc[r][t]);
    }
}

/* n_rows by n_tokens (constants, as p->type is). must_prefetch: weights come from memory. */
ALWAYS_INLINE void multiply_tile(const struct plain_tile *p, int32_t n_rows, int32_t n_tokens,
                                 bool must_prefetch)
{
    plain_sums acc;
    for (int32_t r = 0; r < n_rows; r++) {
        for (int32_t t = 0; t < n_tokens; t++) acc[r][t] = _mm256_setzero_ps();
    }
    const size_t ahead = must_prefetch ? prefetch_distance((size_t)n_rows * p->row_bytes) : 0;
    const char *unit = p->row;
    int32_t c = 0;
    for (; c + PACK_UNIT <= p->n_cols; c += PACK_UNIT, unit += unit_bytes(p->type)) {
        for (int32_t r = 0; r < n_rows && must_prefetch; r++)
            prefetch(unit + (size_t)r * p->row_bytes + ahead, unit_bytes(p->type));
        if (p->type == KERN_MXFP8) {
            add_block(p, unit, c, n_rows, n_tokens, acc);
            continue;
        }
        UNROLL
        for (int32_t i = 0; i < PACK_UNIT; i += 8) add_columns(p, unit, i, c + i, 8, n_rows, n_tokens, acc);
    }
    for (int32_t i = 0; c + i < p->n_cols && p->type != KERN_MXFP8; i += 8)
        add_columns(p, unit, i, c + i, p->n_cols - c - i, n_rows, n_tokens, acc);
    for (int32_t t = 0; t < n_tokens; t++) {
        for (int32_t r = 0; r < n_rows; r++) {
            float *y = p->y + (size_t)t * p->y_stride + r;
            *y = p->is_first ? vec_sum(acc[r][t]) : *y + vec_sum(acc[r][t]);
        }
    }
}

/* n_rows (constant) by any number of tokens. */
ALWAYS_INLINE void multiply_tiles(struct plain_tile p, int32_t n_rows, int32_t n_tokens, bool must_prefetch)
{
    for (; n_tokens >= PLAIN_TOKENS; n_tokens -= PLAIN_TOKENS) {
        multiply_tile(&p, n_rows, PLAIN_TOKENS, must_prefetch);
        p.x += PLAIN_TOKENS * p.x_stride;
        p.y += PLAIN_TOKENS * p.y_stride;
    }
    if (n_tokens == 2) multiply_tile(&p, n_rows, 2, must_prefetch);
    if (n_tokens == 1) multiply_tile(&p, n_rows, 1, must_prefetch);
}

/* Columns that are expanded at a time: with three tokens, 28 KB. */
#define EXPANDED_COLS 1024

/* n columns (whole blocks) of a row of MXFP8. */
ALWAYS_INLINE void expand(const char *unit, int32_t n, float *to)
{
    for (int32_t c = 0; c < n; c += PACK_UNIT, unit += unit_bytes(KERN_MXFP8)) {
        const __m256 scale = load_scale(unit);
        UNROLL
        for (int32_t i = 0; i < PACK_UNIT; i += 8)
            _mm256_store_ps(to + c + i, _mm256_mul_ps(load_weights(unit, i, KERN_MXFP8), scale));
    }
}

/* n_rows (constant) rows of MXFP8, as *p has them, times many tokens. */
ALWAYS_INLINE void multiply_expanded(const struct plain_tile *p, int32_t n_rows, int32_t n_tokens,
                                     float *panel)
{
    const char *unit = p->row;
    for (int32_t c = 0; c < p->n_cols; c += EXPANDED_COLS) {
        struct plain_tile part = *p;
        part.n_cols = p->n_cols - c < EXPANDED_COLS ? p->n_cols - c : EXPANDED_COLS;
        for (int32_t r = 0; r < n_rows; r++)
            expand(unit + (size_t)r * p->row_bytes, part.n_cols, panel + r * EXPANDED_COLS);
        part.row = (const char *)panel;
        part.row_bytes = EXPANDED_COLS * sizeof *panel;
        part.type = KERN_F32;
        part.x = p->x + c;
        part.is_first = c == 0;
        multiply_tiles(part, n_rows, n_tokens, false);
        unit += EXPANDED_COLS / PACK_UNIT * unit_bytes(KERN_MXFP8);
    }
}

ALWAYS_INLINE void multiply(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                            float *y, size_t y_stride, float *panel, enum kern_type type)
{
    struct plain_tile p = {.row = (const char *)w->data + (size_t)row0 * w->row_bytes,
                           .row_bytes = w->row_bytes,
                           .type = type,
                           .x = x->f,
                           .x_stride = (size_t)x->n_cols,
                           .n_cols = x->n_cols,
                           .y_stride = y_stride,
                           .is_first = true};
    const bool must_expand = type == KERN_MXFP8 && x->n_tokens > PLAIN_TOKENS;
    for (int32_t r = row0; r < row1;) {
        p.y = y + r;
        const int32_t n_rows = row1 - r >= PLAIN_ROWS ? PLAIN_ROWS : 1;
        if (must_expand && n_rows == 1)
            multiply_expanded(&p, 1, x->n_tokens, panel);
        else if (must_expand)
            multiply_expanded(&p, PLAIN_ROWS, x->n_tokens, panel);
        else if (n_rows == 1)
            multiply_tiles(p, 1, x->n_tokens, true);
        else
            multiply_tiles(p, PLAIN_ROWS, x->n_tokens, true);
        r += n_rows;
        p.row += (size_t)n_rows * w->row_bytes;
    }
}

void kern_avx2_matmul_plain(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                            float *y, size_t y_stride, void *scratch)
{
    _Static_assert(PLAIN_ROWS * EXPANDED_COLS * sizeof(float) <= KERN_SCRATCH_BYTES,
                   "the panel fits the scratch");
    switch (w->type) {
    case KERN_F32:
        multiply(w, x, row0, row1, y, y_stride, scratch, KERN_F32);
        break;
    case KERN_F16:
        multiply(w, x, row0, row1, y, y_stride, scratch, KERN_F16);
        break;
    case KERN_BF16:
        multiply(w, x, row0, row1, y, y_stride, scratch, KERN_BF16);
        break;
    default:
        multiply(w, x, row0, row1, y, y_stride, scratch, KERN_MXFP8);
        break;
    }
}

#else
typedef int kern_avx2_plain_unused; /* a translation unit must declare something */
#endif
