/* The two products of attention with AVX-512, vectors of 16 floats; kern_avx2_attend.c has the rest. */
#if defined(__AVX512F__) || defined(KERN_EMULATE_AVX512)

#include "kern/attend_avx2.h"
#include "kern/vec_avx2.h"

/* By two vectors: 16 sums of the 32 registers, more than enough to hide the latency of additions. */
#define GROUP_ROWS ATTEND_GROUP_MAX

_Static_assert(ATTEND_PANEL == 16 && KERN_KV_BLOCK == 2 * ATTEND_PANEL, "a block of keys is two vectors");

/* The products of n_rows (constant) rows with all positions. */
ALWAYS_INLINE void score_rows(struct attend_scratch *s, int32_t row, int32_t n_rows,
                              struct attend_slice slice)
{
    const float *first = s->block, *second = first + slice.n * ATTEND_PANEL;
    __m512 acc[GROUP_ROWS][2];
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        acc[j][0] = acc[j][1] = _mm512_setzero_ps();
        if (slice.first == 0) continue;
        acc[j][0] = _mm512_loadu_ps(s->weights[row + j]);
        acc[j][1] = _mm512_loadu_ps(s->weights[row + j] + ATTEND_PANEL);
    }
    for (int32_t i = 0; i < slice.n; i++) {
        __m512 a = _mm512_loadu_ps(first + i * ATTEND_PANEL), b = _mm512_loadu_ps(second + i * ATTEND_PANEL);
        UNROLL
        for (int32_t j = 0; j < n_rows; j++) {
            __m512 q = _mm512_set1_ps(s->q[row + j][slice.first + i]);
            acc[j][0] = _mm512_fmadd_ps(q, a, acc[j][0]);
            acc[j][1] = _mm512_fmadd_ps(q, b, acc[j][1]);
        }
    }
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        _mm512_storeu_ps(s->weights[row + j], acc[j][0]);
        _mm512_storeu_ps(s->weights[row + j] + ATTEND_PANEL, acc[j][1]);
    }
}

/* n_vec vectors of columns from i of the slice on, for n_rows rows; only the lanes in mask belong to the
 * head. n_rows, n_vec, mask: constants. */
ALWAYS_INLINE void values_tile(const struct attend_scratch *s, const struct attend_group *g, int32_t n_rows,
                               int32_t n_vec, __mmask16 mask, struct attend_slice slice, int32_t i)
{
    __m512 acc[GROUP_ROWS][4], v[4];
    float *const *out = s->acc + g->row;
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        const float *from = out[j] + slice.first + i;
        __m512 shrink = _mm512_set1_ps(s->shrink[g->row + j]);
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            acc[j][c] = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, from + c * ATTEND_PANEL), shrink);
    }
    const float *weights = s->weights[g->row], *values = s->block + i * KERN_KV_BLOCK;
    for (int32_t p = g->from; p < g->to; p++) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            v[c] = _mm512_loadu_ps(values + (c * KERN_KV_BLOCK + p) * ATTEND_PANEL);
        UNROLL
        for (int32_t j = 0; j < n_rows; j++) {
            __m512 weight = _mm512_set1_ps(weights[j * KERN_KV_BLOCK + p]);
            UNROLL
            for (int32_t c = 0; c < n_vec; c++) acc[j][c] = _mm512_fmadd_ps(weight, v[c], acc[j][c]);
        }
    }
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            _mm512_mask_storeu_ps(out[j] + slice.first + i + c * ATTEND_PANEL, mask, acc[j][c]);
    }
}

/* All columns of the slice, for a constant number of rows. Few rows take more columns at a time, since two
 * units that add with a latency of four cycles want eight sums. */
ALWAYS_INLINE void values_rows(const struct attend_scratch *s, const struct attend_group *g, int32_t n_rows,
                               struct attend_slice slice)
{
    int32_t i = 0;
    if (n_rows <= 3) {
        for (; i + 64 <= slice.n; i += 64) values_tile(s, g, n_rows, 4, 0xffff, slice, i);
    }
    for (; i + 32 <= slice.n; i += 32) values_tile(s, g, n_rows, 2, 0xffff, slice, i);
    for (; i + 16 <= slice.n; i += 16) values_tile(s, g, n_rows, 1, 0xffff, slice, i);
    if (i < slice.n) values_tile(s, g, n_rows, 1, 0x00ff, slice, i);
}

/* An instance of both for every size of a group. */
#define DEFINE_ROWS(n)                                                                                       \
    static void score_##n(struct attend_scratch *s, const struct attend_group *g, struct attend_slice slice) \
    {                                                                                                        \
        score_rows(s, g->row, n, slice);                                                                     \
    }                                                                                                        \
    static void values_##n(const struct attend_scratch *s, const struct attend_group *g,                     \
                           struct attend_slice slice)                                                        \
    {                                                                                                        \
        values_rows(s, g, n, slice);                                                                         \
    }
DEFINE_ROWS(1)
DEFINE_ROWS(2)
DEFINE_ROWS(3)
DEFINE_ROWS(4)
DEFINE_ROWS(5)
DEFINE_ROWS(6)
DEFINE_ROWS(7)
DEFINE_ROWS(8)

static void score(struct attend_scratch *s, const struct attend_group *g, struct attend_slice slice)
{
    typedef void score_fn(struct attend_scratch * s, const struct attend_group *g, struct attend_slice slice);
    static score_fn *const instances[] = {score_1, score_2, score_3, score_4,
                                          score_5, score_6, score_7, score_8};
    instances[g->n_rows - 1](s, g, slice);
}

static void add_values(const struct attend_scratch *s, const struct attend_group *g,
                       struct attend_slice slice)
{
    typedef void values_fn(const struct attend_scratch *s, const struct attend_group *g,
                           struct attend_slice slice);
    static values_fn *const instances[] = {values_1, values_2, values_3, values_4,
                                           values_5, values_6, values_7, values_8};
    instances[g->n_rows - 1](s, g, slice);
}

void kern_avx512_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                        const struct kern_attend_out *out, void *scratch)
{
    static const struct attend_products products = {GROUP_ROWS, score, add_values};
    kern_avx2_attend_with(&products, a, begin, end, out, scratch);
}

#else
typedef int kern_avx512_attend_unused; /* a translation unit must declare something */
#endif
