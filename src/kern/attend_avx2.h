/* Attention in blocks of 32 positions, K and V converted once for all query heads that share them, online
 * softmax between blocks (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022). The two inner
 * products come from the including file. */
#ifndef KERN_ATTEND_AVX2_H
#define KERN_ATTEND_AVX2_H

#include <math.h>
#include <string.h>

#include "kern/isa.h"
#include "kern/vec_avx2.h"

#define ATTEND_BLOCK 32 /* K or V of head_dim 128 then fills half of a 32 KB first-level cache */

struct attend_scratch {
    _Alignas(64) float rows[ATTEND_BLOCK * KERN_HEAD_DIM_MAX]; /* [ATTEND_BLOCK][head_dim], K and then V */
    float weights[KERN_GROUP_MAX][ATTEND_BLOCK];               /* scores, then exp(score - max) */
    float max[KERN_GROUP_MAX], sum[KERN_GROUP_MAX], shrink[KERN_GROUP_MAX];
};

/* The products of q with ATTEND_BLOCK rows of k, which are head_dim apart. */
typedef void attend_score_fn(const float *q, const float *k, int32_t head_dim, float *scores);

/* out = shrink * out + weights . v for n_q heads and n positions. */
typedef void attend_value_fn(const struct attend_scratch *s, int32_t n_q, int32_t n, int32_t head_dim,
                             float *out);

/* F16 rows `stride` apart to contiguous F32 rows; rows n..ATTEND_BLOCK-1 become zero. */
static inline void attend_load(const uint16_t *src, size_t stride, int32_t n, int32_t head_dim, float *dst)
{
    for (int32_t p = 0; p < n; p++, src += stride, dst += head_dim) {
        for (int32_t i = 0; i < head_dim; i += 8) {
            _mm256_store_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
        }
    }
    memset(dst, 0, (size_t)(ATTEND_BLOCK - n) * (size_t)head_dim * sizeof *dst);
}

/* Turn the products of head h with n positions into weights (zero past n) and keep the running maximum, the
 * running sum, and the factor by which what was summed before must shrink. */
static inline void attend_softmax(struct attend_scratch *s, int32_t h, int32_t n, float scale)
{
    float *weights = s->weights[h];
    __m256 max8 = _mm256_set1_ps(s->max[h]), low = _mm256_set1_ps(-INFINITY), sum = _mm256_setzero_ps();
    for (int32_t p = 0; p < ATTEND_BLOCK; p += 8) {
        __m256 score = _mm256_mul_ps(_mm256_load_ps(weights + p), _mm256_set1_ps(scale));
        score = _mm256_blendv_ps(low, score, _mm256_castsi256_ps(vec_mask(n - p)));
        _mm256_store_ps(weights + p, score);
        max8 = _mm256_max_ps(score, max8);
    }
    float max = vec_max(max8);
    for (int32_t p = 0; p < ATTEND_BLOCK; p += 8) {
        __m256 e = vec_exp(_mm256_sub_ps(_mm256_load_ps(weights + p), _mm256_set1_ps(max)));
        e = _mm256_and_ps(e, _mm256_castsi256_ps(vec_mask(n - p)));
        _mm256_store_ps(weights + p, e);
        sum = _mm256_add_ps(sum, e);
    }
    s->shrink[h] = expf(s->max[h] - max);
    s->max[h] = max;
    s->sum[h] = s->sum[h] * s->shrink[h] + vec_sum(sum);
}

ALWAYS_INLINE void attend_blocks(const float *q, const uint16_t *k, const uint16_t *v, size_t stride,
                                 int32_t n_q, int32_t n_kv, int32_t head_dim, float scale, float *out,
                                 struct attend_scratch *s, attend_score_fn *score,
                                 attend_value_fn *add_values)
{
    _Static_assert(sizeof *s <= KERN_SCRATCH_BYTES, "the scratch suffices");
    memset(out, 0, (size_t)n_q * (size_t)head_dim * sizeof *out);
    for (int32_t h = 0; h < n_q; h++) s->max[h] = -INFINITY, s->sum[h] = 0;
    for (int32_t p = 0; p < n_kv; p += ATTEND_BLOCK, k += ATTEND_BLOCK * stride, v += ATTEND_BLOCK * stride) {
        int32_t n = n_kv - p < ATTEND_BLOCK ? n_kv - p : ATTEND_BLOCK;
        attend_load(k, stride, n, head_dim, s->rows);
        for (int32_t h = 0; h < n_q; h++) {
            score(q + h * head_dim, s->rows, head_dim, s->weights[h]);
            attend_softmax(s, h, n, scale);
        }
        attend_load(v, stride, n, head_dim, s->rows);
        add_values(s, n_q, n, head_dim, out);
    }
    for (int32_t h = 0; h < n_q; h++, out += head_dim) {
        __m256 inverse = _mm256_set1_ps(1 / s->sum[h]);
        for (int32_t i = 0; i < head_dim; i += 8) {
            _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(out + i), inverse));
        }
    }
}

#endif
