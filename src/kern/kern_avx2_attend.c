/* Attention with AVX2: blocks of 32 positions, K and V converted once for all query heads that share them,
 * online softmax between blocks (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022). */
#if defined(__AVX2__)

#include <math.h>
#include <string.h>

#include "kern/isa.h"
#include "kern/vec_avx2.h"

#define BLOCK 32 /* positions; K or V of head_dim 128 then fills half of a 32 KB first-level cache */

struct attend_scratch {
    _Alignas(64) float rows[BLOCK * KERN_HEAD_DIM_MAX]; /* [BLOCK][head_dim], K and then V */
    float weights[KERN_GROUP_MAX][BLOCK];               /* scores, then exp(score - max) */
    float max[KERN_GROUP_MAX], sum[KERN_GROUP_MAX];
};

/* F16 rows `stride` apart to contiguous F32 rows; rows n..BLOCK-1 become zero. */
static void load_rows(const uint16_t *src, size_t stride, int32_t n, int32_t head_dim, float *dst)
{
    for (int32_t p = 0; p < n; p++, src += stride, dst += head_dim) {
        for (int32_t i = 0; i < head_dim; i += 8) {
            _mm256_store_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
        }
    }
    memset(dst, 0, (size_t)(BLOCK - n) * (size_t)head_dim * sizeof *dst);
}

/* scores[0..7] = scale * q . k[0..7] */
ALWAYS_INLINE __m256 score8(const float *q, const float *k, int32_t head_dim, float scale)
{
    __m256 acc[8];
    for (int32_t p = 0; p < 8; p++) acc[p] = _mm256_setzero_ps();
    for (int32_t i = 0; i < head_dim; i += 8) {
        __m256 f = _mm256_loadu_ps(q + i);
        for (int32_t p = 0; p < 8; p++)
            acc[p] = _mm256_fmadd_ps(f, _mm256_load_ps(k + p * head_dim + i), acc[p]);
    }
    return _mm256_mul_ps(vec_sums(acc), _mm256_set1_ps(scale));
}

/* Turn the scores of n positions into weights, keep the running maximum and sum, and return the factor by
 * which what was summed before must shrink. Weights past n are zero. */
static float softmax_block(float *weights, int32_t n, float *running_max, float *running_sum)
{
    __m256 max8 = _mm256_set1_ps(*running_max);
    for (int32_t p = 0; p < BLOCK; p += 8) {
        __m256 score = _mm256_load_ps(weights + p), low = _mm256_set1_ps(-INFINITY);
        score = _mm256_blendv_ps(low, score, _mm256_castsi256_ps(vec_mask(n - p)));
        max8 = _mm256_max_ps(max8, score);
    }
    float max = vec_max(max8);
    __m256 sum = _mm256_setzero_ps();
    for (int32_t p = 0; p < BLOCK; p += 8) {
        __m256 e = vec_exp(_mm256_sub_ps(_mm256_load_ps(weights + p), _mm256_set1_ps(max)));
        e = _mm256_and_ps(e, _mm256_castsi256_ps(vec_mask(n - p)));
        _mm256_store_ps(weights + p, e);
        sum = _mm256_add_ps(sum, e);
    }
    float shrink = expf(*running_max - max);
    *running_max = max;
    *running_sum = *running_sum * shrink + vec_sum(sum);
    return shrink;
}

/* out = shrink * out + weights . v, for n_q (constant) heads and the eight values at out and v. */
ALWAYS_INLINE void add_values(const float (*weights)[BLOCK], const float *shrink, const float *v, int32_t n,
                              int32_t head_dim, int32_t n_q, float *out)
{
    __m256 acc[4];
    for (int32_t h = 0; h < n_q; h++) {
        acc[h] = _mm256_mul_ps(_mm256_loadu_ps(out + h * head_dim), _mm256_set1_ps(shrink[h]));
    }
    for (int32_t p = 0; p < n; p++) {
        __m256 f = _mm256_load_ps(v + p * head_dim);
        for (int32_t h = 0; h < n_q; h++) acc[h] = _mm256_fmadd_ps(_mm256_set1_ps(weights[h][p]), f, acc[h]);
    }
    for (int32_t h = 0; h < n_q; h++) _mm256_storeu_ps(out + h * head_dim, acc[h]);
}

void kern_avx2_attend(const float *q, const uint16_t *k, const uint16_t *v, size_t stride, int32_t n_q,
                      int32_t n_kv, int32_t head_dim, float scale, float *out, void *scratch)
{
    _Static_assert(sizeof(struct attend_scratch) <= KERN_SCRATCH_BYTES, "it fits the scratch");
    struct attend_scratch *s = scratch;
    memset(out, 0, (size_t)n_q * (size_t)head_dim * sizeof *out);
    for (int32_t h = 0; h < n_q; h++) s->max[h] = -INFINITY, s->sum[h] = 0;
    for (int32_t p0 = 0; p0 < n_kv; p0 += BLOCK, k += BLOCK * stride, v += BLOCK * stride) {
        int32_t n = n_kv - p0 < BLOCK ? n_kv - p0 : BLOCK;
        float shrink[KERN_GROUP_MAX];
        load_rows(k, stride, n, head_dim, s->rows);
        for (int32_t h = 0; h < n_q; h++) {
            for (int32_t p = 0; p < BLOCK; p += 8) {
                _mm256_store_ps(s->weights[h] + p,
                                score8(q + h * head_dim, s->rows + p * head_dim, head_dim, scale));
            }
            shrink[h] = softmax_block(s->weights[h], n, &s->max[h], &s->sum[h]);
        }
        load_rows(v, stride, n, head_dim, s->rows);
        for (int32_t i = 0; i < head_dim; i += 8) {
            int32_t h = 0;
            for (; h + 4 <= n_q; h += 4) {
                add_values(s->weights + h, shrink + h, s->rows + i, n, head_dim, 4, out + h * head_dim + i);
            }
            for (; h < n_q; h++) {
                add_values(s->weights + h, shrink + h, s->rows + i, n, head_dim, 1, out + h * head_dim + i);
            }
        }
    }
    for (int32_t h = 0; h < n_q; h++) {
        __m256 inverse = _mm256_set1_ps(1 / s->sum[h]);
        for (float *p = out + h * head_dim; p < out + (h + 1) * head_dim; p += 8) {
            _mm256_storeu_ps(p, _mm256_mul_ps(_mm256_loadu_ps(p), inverse));
        }
    }
}

#else
typedef int kern_avx2_attend_unused; /* a translation unit must declare something */
#endif
