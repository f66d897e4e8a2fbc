/* The inner products of attention with AVX2; attend_avx2.h has the rest. */
#if defined(__AVX2__)

#include "kern/attend_avx2.h"

static void score(const float *q, const float *k, int32_t head_dim, float *scores)
{
    for (int32_t p = 0; p < ATTEND_BLOCK; p += 8, k += 8 * head_dim) {
        __m256 acc[8];
        for (int32_t j = 0; j < 8; j++) acc[j] = _mm256_setzero_ps();
        for (int32_t i = 0; i < head_dim; i += 8) {
            __m256 f = _mm256_loadu_ps(q + i);
            for (int32_t j = 0; j < 8; j++) {
                acc[j] = _mm256_fmadd_ps(f, _mm256_load_ps(k + j * head_dim + i), acc[j]);
            }
        }
        _mm256_store_ps(scores + p, vec_sums(acc));
    }
}

/* For heads h..h+n_q-1 (n_q constant) and n_vec (constant) vectors of values from column i on. */
ALWAYS_INLINE void add_values_tile(const struct attend_scratch *s, int32_t h, int32_t n_q, int32_t n,
                                   int32_t head_dim, int32_t i, int32_t n_vec, float *out)
{
    __m256 acc[4][2];
    for (int32_t j = 0; j < n_q; j++) {
        __m256 shrink = _mm256_set1_ps(s->shrink[h + j]);
        for (int32_t c = 0; c < n_vec; c++) {
            acc[j][c] = _mm256_mul_ps(_mm256_loadu_ps(out + (h + j) * head_dim + i + 8 * c), shrink);
        }
    }
    for (int32_t p = 0; p < n; p++) {
        for (int32_t j = 0; j < n_q; j++) {
            __m256 weight = _mm256_set1_ps(s->weights[h + j][p]);
            for (int32_t c = 0; c < n_vec; c++) {
                acc[j][c] =
                    _mm256_fmadd_ps(weight, _mm256_load_ps(s->rows + p * head_dim + i + 8 * c), acc[j][c]);
            }
        }
    }
    for (int32_t j = 0; j < n_q; j++) {
        for (int32_t c = 0; c < n_vec; c++) _mm256_storeu_ps(out + (h + j) * head_dim + i + 8 * c, acc[j][c]);
    }
}

/* Four heads by 16 columns at a time, so that each value loaded serves four heads. */
static void add_values(const struct attend_scratch *s, int32_t n_q, int32_t n, int32_t head_dim, float *out)
{
    for (int32_t h = 0; h < n_q; h += 4) {
        int32_t i = 0;
        for (; i + 16 <= head_dim; i += 16) {
            switch (n_q - h) {
            case 1:
                add_values_tile(s, h, 1, n, head_dim, i, 2, out);
                break;
            case 2:
                add_values_tile(s, h, 2, n, head_dim, i, 2, out);
                break;
            case 3:
                add_values_tile(s, h, 3, n, head_dim, i, 2, out);
                break;
            default:
                add_values_tile(s, h, 4, n, head_dim, i, 2, out);
                break;
            }
        }
        for (int32_t j = h; i < head_dim && j < h + 4 && j < n_q; j++) {
            add_values_tile(s, j, 1, n, head_dim, i, 1, out); /* eight columns are left */
        }
    }
}

void kern_avx2_attend(const float *q, const uint16_t *k, const uint16_t *v, size_t stride, int32_t n_q,
                      int32_t n_kv, int32_t head_dim, float scale, float *out, void *scratch)
{
    attend_blocks(q, k, v, stride, n_q, n_kv, head_dim, scale, out, scratch, score, add_values);
}

#else
typedef int kern_avx2_attend_unused; /* a translation unit must declare something */
#endif
