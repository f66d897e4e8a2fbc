/* Included before the AVX-512 kernels to compile them for processors without: SIMDe's functions take over the
 * names of the intrinsics, and the few that SIMDe 0.7.4 lacks are made of two halves here. */
#ifndef TESTS_KERN_SIMDE_AVX512_H
#define TESTS_KERN_SIMDE_AVX512_H

#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

static inline __m512 emulated_join(__m256 low, __m256 high)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

static inline __m512i emulated_join_int(__m256i low, __m256i high)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

static inline __m512 emulated_cvtepi32_ps(__m512i v)
{
    return emulated_join(_mm256_cvtepi32_ps(_mm512_castsi512_si256(v)),
                         _mm256_cvtepi32_ps(_mm512_extracti64x4_epi64(v, 1)));
}

static inline __m512 emulated_cvtph_ps(__m256i v)
{
    return emulated_join(_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                         _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
}

static inline __m512i emulated_cvtepu8_epi32(__m128i v)
{
    return emulated_join_int(_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)));
}

static inline __m512i emulated_cvtepi8_epi32(__m128i v)
{
    return emulated_join_int(_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)));
}

static inline __m512 emulated_maskz_loadu_ps(unsigned mask, const float *p)
{
    float part[16];
    for (int i = 0; i < 16; i++) part[i] = mask >> i & 1 ? p[i] : 0;
    return _mm512_loadu_ps(part);
}

static inline void emulated_mask_storeu_ps(float *p, unsigned mask, __m512 v)
{
    float part[16];
    _mm512_storeu_ps(part, v);
    for (int i = 0; i < 16; i++) {
        if (mask >> i & 1) p[i] = part[i];
    }
}

#define _mm512_cvtepi32_ps    emulated_cvtepi32_ps
#define _mm512_cvtph_ps       emulated_cvtph_ps
#define _mm512_cvtepu8_epi32  emulated_cvtepu8_epi32
#define _mm512_cvtepi8_epi32  emulated_cvtepi8_epi32
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#define KERN_EMULATE_AVX512   1

#endif
