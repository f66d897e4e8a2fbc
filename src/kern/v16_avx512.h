/* Vectors of 16 lanes for packed_vnni.h with AVX-512: a lane for each row of a panel. */
#ifndef KERN_V16_AVX512_H
#define KERN_V16_AVX512_H

#include <string.h>

#include "kern/vec_avx2.h"

#define V16_TILE_TOKENS 8 /* 8 integer and 8 float sums take half of the 32 registers */

struct v16f {
    __m512 v;
};
struct v16i { /* 16 integers, or 64 bytes */
    __m512i v;
};

ALWAYS_INLINE struct v16f v16_zero(void)
{
    return (struct v16f){_mm512_setzero_ps()};
}

ALWAYS_INLINE struct v16i v16_zero_int(void)
{
    return (struct v16i){_mm512_setzero_si512()};
}

ALWAYS_INLINE struct v16f v16_set1(float f)
{
    return (struct v16f){_mm512_set1_ps(f)};
}

/* 64 bytes at any address. */
ALWAYS_INLINE struct v16i v16_load(const void *p)
{
    return (struct v16i){_mm512_loadu_si512(p)};
}

/* 16 F16 numbers, unsigned bytes or signed bytes. */
ALWAYS_INLINE struct v16f v16_load_f16(const void *p)
{
    return (struct v16f){_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p))};
}

ALWAYS_INLINE struct v16f v16_load_u8(const void *p)
{
    return (struct v16f){_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)))};
}

ALWAYS_INLINE struct v16f v16_load_i8(const void *p)
{
    return (struct v16f){_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)))};
}

/* The first n (1..16) lanes to p. */
ALWAYS_INLINE void v16_store(float *p, int32_t n, struct v16f a)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffff >> (16 - n)), a.v);
}

/* Every byte: its bits `mask`; flipped bits `mask`; either's bits. */
ALWAYS_INLINE struct v16i v16_and(struct v16i a, uint8_t mask)
{
    return (struct v16i){_mm512_and_si512(a.v, _mm512_set1_epi8((char)mask))};
}

ALWAYS_INLINE struct v16i v16_flip(struct v16i a, uint8_t mask)
{
    return (struct v16i){_mm512_xor_si512(a.v, _mm512_set1_epi8((char)mask))};
}

ALWAYS_INLINE struct v16i v16_or(struct v16i a, struct v16i b)
{
    return (struct v16i){_mm512_or_si512(a.v, b.v)};
}

/* Bits move up by n (constant; down where negative); some pass into the neighbouring byte. */
ALWAYS_INLINE struct v16i v16_shift(struct v16i a, int32_t n)
{
    return (struct v16i){n < 0 ? _mm512_srlv_epi16(a.v, _mm512_set1_epi16((int16_t)-n))
                               : _mm512_sllv_epi16(a.v, _mm512_set1_epi16((int16_t)n))};
}

/* table[byte] for bytes below 16. */
ALWAYS_INLINE struct v16i v16_lookup(const uint8_t table[16], struct v16i a)
{
    __m128i t = _mm_loadu_si128((const __m128i *)table);
    return (struct v16i){_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), a.v)};
}

/* sum + the four unsigned bytes of each lane times the same four of x. */
ALWAYS_INLINE struct v16i v16_dot(struct v16i sum, struct v16i q, const int8_t x[4])
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return (struct v16i){_mm512_dpbusd_epi32(sum.v, q.v, _mm512_set1_epi32(four))};
}

ALWAYS_INLINE struct v16f v16_float(struct v16i a)
{
    return (struct v16f){_mm512_cvtepi32_ps(a.v)};
}

ALWAYS_INLINE struct v16f v16_mul(struct v16f a, struct v16f b)
{
    return (struct v16f){_mm512_mul_ps(a.v, b.v)};
}

ALWAYS_INLINE struct v16f v16_fma(struct v16f a, struct v16f b, struct v16f c)
{
    return (struct v16f){_mm512_fmadd_ps(a.v, b.v, c.v)};
}

#endif
