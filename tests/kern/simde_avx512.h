/* Included before kern_avx512.c to compile it for processors without AVX-512: SIMDe's functions take over
 * the names of the intrinsics, and the few that SIMDe 0.7.4 lacks are made of two halves here. */
#ifndef TESTS_KERN_SIMDE_AVX512_H
#define TESTS_KERN_SIMDE_AVX512_H

#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

static inline __m512 emulated_cvtepi32_ps(__m512i v)
{
    __m256 low = _mm256_cvtepi32_ps(_mm512_castsi512_si256(v));
    __m256 high = _mm256_cvtepi32_ps(_mm512_extracti64x4_epi64(v, 1));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

static inline __m512i emulated_srai_epi32(__m512i v, int n)
{
    __m256i low = _mm256_srai_epi32(_mm512_castsi512_si256(v), n);
    __m256i high = _mm256_srai_epi32(_mm512_extracti64x4_epi64(v, 1), n);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

#define _mm512_cvtepi32_ps  emulated_cvtepi32_ps
#define _mm512_srai_epi32   emulated_srai_epi32
#define KERN_EMULATE_AVX512 1

#endif
