/* Included before kern_avxvnni.c to compile it for processors without AVX-VNNI: vpdpbusd, the one instruction
 * that it needs beyond AVX2, as the Intel SDM (vol. 2) defines it. */
#ifndef TESTS_KERN_AVXVNNI_EMULATED_H
#define TESTS_KERN_AVXVNNI_EMULATED_H

#include <immintrin.h>

/* sum + four unsigned bytes of a times four signed of b, in each lane. Even and odd bytes apart, so that sums
 * of two products fit 16 bits. */
static inline __m256i emulated_dpbusd(__m256i sum, __m256i a, __m256i b)
{
    const __m256i low = _mm256_set1_epi16(255);
    __m256i even = _mm256_madd_epi16(_mm256_and_si256(a, low), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define KERN_EMULATE_AVXVNNI    1

#endif
