/* Vectors of 16 lanes for packed_vnni.h with AVX2 and AVX-VNNI: a lane for each row of a panel. */
#ifndef KERN_V16_AVXVNNI_H
#define KERN_V16_AVXVNNI_H

#include "kern/v16_avx2.h"

#define V16_TILE_TOKENS 4 /* 8 registers of integer sums; the float sums wait in memory */

/* sum + the four unsigned bytes of each lane times the same four of x. */
ALWAYS_INLINE struct v16i v16_dot(struct v16i sum, struct v16i q, const int8_t x[4])
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m256i all = _mm256_set1_epi32(four);
    return (struct v16i){
        {_mm256_dpbusd_avx_epi32(sum.v[0], q.v[0], all), _mm256_dpbusd_avx_epi32(sum.v[1], q.v[1], all)}};
}

#endif
