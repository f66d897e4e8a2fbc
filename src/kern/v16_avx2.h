/* Vectors of 16 lanes, a lane for each row of a panel of packed weights, in two AVX2 registers. */
#ifndef KERN_V16_AVX2_H
#define KERN_V16_AVX2_H

#include <string.h>

#include "kern/vec_avx2.h"

struct v16f {
    __m256 v[2];
};
struct v16i { /* 16 integers, or 64 bytes */
    __m256i v[2];
};

ALWAYS_INLINE struct v16f v16_zero(void)
{
    return (struct v16f){{_mm256_setzero_ps(), _mm256_setzero_ps()}};
}

ALWAYS_INLINE struct v16i v16_zero_int(void)
{
    return (struct v16i){{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}

ALWAYS_INLINE struct v16f v16_set1(float f)
{
    return (struct v16f){{_mm256_set1_ps(f), _mm256_set1_ps(f)}};
}

/* 64 bytes at any address. */
ALWAYS_INLINE struct v16i v16_load(const void *p)
{
    const __m256i *v = p;
    return (struct v16i){{_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)}};
}

/* 16 F16 numbers, unsigned bytes or signed bytes. */
ALWAYS_INLINE struct v16f v16_load_f16(const void *p)
{
    const __m128i *v = p;
    return (struct v16f){{_mm256_cvtph_ps(_mm_loadu_si128(v)), _mm256_cvtph_ps(_mm_loadu_si128(v + 1))}};
}

ALWAYS_INLINE struct v16f v16_load_u8(const void *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    return (struct v16f){{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)),
                          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(v, 8)))}};
}

ALWAYS_INLINE struct v16f v16_load_i8(const void *p)
{
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    return (struct v16f){{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
                          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))}};
}

ALWAYS_INLINE void v16_store_bytes(void *p, struct v16i a)
{
    _mm256_storeu_si256((__m256i *)p, a.v[0]);
    _mm256_storeu_si256((__m256i *)p + 1, a.v[1]);
}

ALWAYS_INLINE struct v16f v16_load_f32(const float *p)
{
    return (struct v16f){{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}};
}

ALWAYS_INLINE void v16_store_f32(float *p, struct v16f a)
{
    _mm256_storeu_ps(p, a.v[0]);
    _mm256_storeu_ps(p + 8, a.v[1]);
}

/* The first n (1..16) lanes to p. */
ALWAYS_INLINE void v16_store(float *p, int32_t n, struct v16f a)
{
    _mm256_maskstore_ps(p, vec_mask(n), a.v[0]);
    if (n > 8) _mm256_maskstore_ps(p + 8, vec_mask(n - 8), a.v[1]);
}

/* Every byte: its bits `mask`; flipped bits `mask`; either's bits. */
ALWAYS_INLINE struct v16i v16_and(struct v16i a, uint8_t mask)
{
    __m256i m = _mm256_set1_epi8((char)mask);
    return (struct v16i){{_mm256_and_si256(a.v[0], m), _mm256_and_si256(a.v[1], m)}};
}

ALWAYS_INLINE struct v16i v16_flip(struct v16i a, uint8_t mask)
{
    __m256i m = _mm256_set1_epi8((char)mask);
    return (struct v16i){{_mm256_xor_si256(a.v[0], m), _mm256_xor_si256(a.v[1], m)}};
}

ALWAYS_INLINE struct v16i v16_or(struct v16i a, struct v16i b)
{
    return (struct v16i){{_mm256_or_si256(a.v[0], b.v[0]), _mm256_or_si256(a.v[1], b.v[1])}};
}

/* Bits move up by n (constant; down where negative); some pass into the neighbouring byte. */
ALWAYS_INLINE struct v16i v16_shift(struct v16i a, int32_t n)
{
    if (n < 0) return (struct v16i){{_mm256_srli_epi16(a.v[0], -n), _mm256_srli_epi16(a.v[1], -n)}};
    return (struct v16i){{_mm256_slli_epi16(a.v[0], n), _mm256_slli_epi16(a.v[1], n)}};
}

/* table[byte] for bytes below 16. */
ALWAYS_INLINE struct v16i v16_lookup(const uint8_t table[16], struct v16i a)
{
    __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return (struct v16i){{_mm256_shuffle_epi8(t, a.v[0]), _mm256_shuffle_epi8(t, a.v[1])}};
}

ALWAYS_INLINE struct v16f v16_float(struct v16i a)
{
    return (struct v16f){{_mm256_cvtepi32_ps(a.v[0]), _mm256_cvtepi32_ps(a.v[1])}};
}

ALWAYS_INLINE struct v16f v16_mul(struct v16f a, struct v16f b)
{
    return (struct v16f){{_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])}};
}

ALWAYS_INLINE struct v16f v16_fma(struct v16f a, struct v16f b, struct v16f c)
{
    return (struct v16f){{_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])}};
}

#endif
