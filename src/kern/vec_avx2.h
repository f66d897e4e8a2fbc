/* Small vector helpers of the AVX2 kernels: sums, partial loads, exp. Included only by files compiled with
 * AVX2, FMA and F16C (or wider). */
#ifndef KERN_VEC_AVX2_H
#define KERN_VEC_AVX2_H

#include <stdint.h>

#include <immintrin.h>

/* Unroll the following loop, whose trip count is a constant of at most 16, completely. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE float vec_sum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

ALWAYS_INLINE float vec_max(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* A mask of the first n (0..8) of eight lanes. */
ALWAYS_INLINE __m256i vec_mask(int32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Eight floats, of which n < 8 are read and the rest are zero. */
ALWAYS_INLINE __m256 vec_load_part(const float *p, int32_t n)
{
    return _mm256_maskload_ps(p, vec_mask(n));
}

/* Transpose 8 x 8 lanes of 32 bits. */
ALWAYS_INLINE void vec_transpose(__m256i v[8])
{
    __m256i a[8], b[8];
    for (int32_t i = 0; i < 8; i += 2) { /* pairs of rows: lanes of two columns side by side */
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int32_t i = 0; i < 8; i += 4) { /* groups of four rows */
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    for (int32_t i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* The sums of eight vectors, as eight lanes. */
ALWAYS_INLINE __m256 vec_sums(const __m256 v[8])
{
    __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

/* exp(x) with relative error below 2e-7 for -87 <= x <= 88; outside, x is clamped to that range, so that
 * the result is a finite normal number (exp(-87) = 1.6e-38). NaN gives exp(88).
 *
 * exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2. exp(r) = 1 + r + r^2 p(r), where p is a
 * minimax polynomial of degree 4, whose own error is 3e-9. ln 2 is split so that n * LN2_HIGH is exact. */
ALWAYS_INLINE __m256 vec_exp(__m256 x)
{
    const __m256 log2e = _mm256_set1_ps(1.44269504f);
    const __m256 ln2_high = _mm256_set1_ps(0x1.62ep-1f), ln2_low = _mm256_set1_ps(0x1.0bfbe8p-15f);
    x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.0f)), _mm256_set1_ps(-87.0f));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, ln2_low, _mm256_fnmadd_ps(n, ln2_high, x));
    __m256 p = _mm256_set1_ps(0x1.6a2434p-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.1239e2p-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.5558f2p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.555492p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffcp-2f));
    __m256 one_r = _mm256_add_ps(r, _mm256_set1_ps(1.0f));
    __m256 e = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, one_r);
    __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(e, _mm256_castsi256_ps(power));
}

#endif
