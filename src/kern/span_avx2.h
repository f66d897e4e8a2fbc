/* AVX2 unpackers: up to eight units (256 weights) of any quantized format to one uniform shape, from which
 * one dot product and one matrix kernel serve all formats. unpack.h says what the bits mean. */
#ifndef KERN_SPAN_AVX2_H
#define KERN_SPAN_AVX2_H

#include "kern/block.h"
#include "kern/tile_avx2.h"

#define SPAN_UNITS SUPER_UNITS

/* Without halves: weight[i] = d[i / 32] * q[i] + m[i / 32].
 * With halves: weight[i] = d[i / 32] * scale[i / 16] * q[i] + m[i / 16].
 * Unpackers leave alone what their format lacks (struct tile_class); absent minima are 0. */
struct span {
    _Alignas(32) uint8_t q[SPAN_UNITS][UNIT_LEN]; /* or int8_t */
    _Alignas(32) float d[SPAN_UNITS];
    _Alignas(32) float m[2 * SPAN_UNITS];
    _Alignas(32) int16_t scale[2 * SPAN_UNITS];
    _Alignas(32) int32_t scale_pairs[2 * SPAN_UNITS]; /* as in struct panel_unit */
};

/* Unpack n units from src: 8, or a number from span_step where has_tail. */
typedef void span_fn(const void *src, int32_t n, struct span *s);

/* What a kernel is instantiated for: passed by value as a constant, and folded away by inlining. */
struct span_format {
    span_fn *unpack;
    size_t bytes;  /* of eight units */
    bool has_tail; /* 32 weights in a block: the units of a row need not be a multiple of eight */
    struct tile_class class;
};

#define SPAN_SMALL(unpack, block, class) ((struct span_format){unpack, 8 * sizeof(struct block), true, class})
#define SPAN_SUPER(unpack, block, class) ((struct span_format){unpack, sizeof(struct block), false, class})

/* All quantized formats: the type, the end of function names, and the format. */
#define SPAN_FORMATS(X)                                                                                      \
    X(KERN_Q8_0, q8_0, SPAN_SMALL(span_q8_0, block_q8_0, TILE_SIGNED))                                       \
    X(KERN_Q4_0, q4_0, SPAN_SMALL(span_q4_0, block_q4_0, TILE_4_MIN))                                        \
    X(KERN_Q4_1, q4_1, SPAN_SMALL(span_q4_1, block_q4_1, TILE_4_MIN))                                        \
    X(KERN_Q5_0, q5_0, SPAN_SMALL(span_q5_0, block_q5_0, TILE_5_MIN))                                        \
    X(KERN_Q5_1, q5_1, SPAN_SMALL(span_q5_1, block_q5_1, TILE_5_MIN))                                        \
    X(KERN_IQ4_NL, iq4_nl, SPAN_SMALL(span_iq4_nl, block_q4_0, TILE_SIGNED))                                 \
    X(KERN_Q2_K, q2_k, SPAN_SUPER(span_q2_k, block_q2_k, TILE_6_HALVES))                                     \
    X(KERN_Q3_K, q3_k, SPAN_SUPER(span_q3_k, block_q3_k, TILE_6_HALVES))                                     \
    X(KERN_Q4_K, q4_k, SPAN_SUPER(span_q4_k, block_q4_k, TILE_4_MIN))                                        \
    X(KERN_Q5_K, q5_k, SPAN_SUPER(span_q5_k, block_q5_k, TILE_5_MIN))                                        \
    X(KERN_Q6_K, q6_k, SPAN_SUPER(span_q6_k, block_q6_k, TILE_6_HALVES))                                     \
    X(KERN_IQ4_XS, iq4_xs, SPAN_SUPER(span_iq4_xs, block_iq4_xs, TILE_SIGNED))

/* How many units to take next when n > 0 are left. Callers branch on the three values, so that unpackers
 * are compiled for constants. */
ALWAYS_INLINE int32_t span_step(int32_t n)
{
    return n >= SPAN_UNITS ? SPAN_UNITS : n >= 4 ? 4 : 1;
}

/* The activations of one token. */
struct token {
    const int8_t *q; /* [n_cols] */
    const float *d;  /* [n_cols / 32] */
    const float *s;  /* [n_cols / 16] */
};

/* Token t of x from a unit on. */
static inline struct token token_at(const struct kern_act *x, int32_t t, int32_t unit)
{
    size_t n_units = (size_t)x->n_cols / UNIT_LEN, i = (size_t)t * n_units + (size_t)unit;
    return (struct token){x->q + i * UNIT_LEN, x->d + i, x->s + 2 * i};
}

/* The first n (constant: 0, 1, 2, 4 or 8) floats at p, zeros after them. Masked loads would do it too, but
 * are slow where they reach into a page that is not mapped. */
ALWAYS_INLINE __m256 load_first(const float *p, int32_t n)
{
    if (n == 8) return _mm256_loadu_ps(p);
    __m128 v = _mm_setzero_ps();
    if (n == 4) v = _mm_loadu_ps(p);
    if (n == 2) v = _mm_loadl_pi(v, (const __m64 *)p);
    if (n == 1) v = _mm_load_ss(p);
    return _mm256_insertf128_ps(_mm256_setzero_ps(), v, 0);
}

/* The sums of one token for the minima of n (constant: 1, 4 or 8) units, in the order of struct span. */
ALWAYS_INLINE void token_sums(const float *s, int32_t n, bool has_halves, __m256 sums[2])
{
    sums[0] = load_first(s, n == 1 ? 2 : 8);
    sums[1] = load_first(s + 8, n == 8 ? 8 : 0);
    if (has_halves) return;
    __m256 pairs = _mm256_hadd_ps(sums[0], sums[1]); /* units 0 1 4 5 2 3 6 7 */
    sums[0] = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xd8));
}

ALWAYS_INLINE __m256i load_bytes(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

ALWAYS_INLINE void store_bytes(void *p, __m256i v)
{
    _mm256_store_si256((__m256i *)p, v);
}

ALWAYS_INLINE __m256i and_bytes(__m256i v, int8_t mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(mask));
}

/* n F16 values, `step` bytes apart, as floats; zeros follow. */
ALWAYS_INLINE __m256 load_f16_apart(const uint8_t *p, size_t step, int32_t n)
{
    uint16_t h[8] = {0};
    for (int32_t i = 0; i < n; i++) h[i] = block_u16(p + (size_t)i * step);
    return _mm256_cvtph_ps(_mm_setr_epi16((int16_t)h[0], (int16_t)h[1], (int16_t)h[2], (int16_t)h[3],
                                          (int16_t)h[4], (int16_t)h[5], (int16_t)h[6], (int16_t)h[7]));
}

ALWAYS_INLINE float load_f16(const uint8_t *p)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(block_u16(p))));
}

/* Eight bytes as floats. */
ALWAYS_INLINE __m256 floats_of_bytes(uint32_t low, uint32_t high)
{
    __m128i bytes = _mm_cvtsi64_si128((int64_t)((uint64_t)high << 32 | low));
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

/* Integer scales (of 16 weights each, from signed bytes) and minima proportional to them. */
ALWAYS_INLINE void span_set_scales(struct span *s, __m128i bytes, float d, float offset)
{
    _mm256_store_ps(s->d, _mm256_set1_ps(d));
    store_bytes(s->scale, _mm256_cvtepi8_epi16(bytes));
    for (int32_t i = 0; i < 2; i++) {
        __m256i v = _mm256_cvtepi8_epi32(i ? _mm_srli_si128(bytes, 8) : bytes);
        _mm256_store_ps(s->m + 8 * i, _mm256_mul_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(d * offset)));
        store_bytes(s->scale_pairs + 8 * i, _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xaa));
    }
}

/* 16 bytes hold 32 weights: low halves first. Bits above the fourth are left in each byte. */
ALWAYS_INLINE __m256i spread_halves(const uint8_t lo[16])
{
    __m128i v = _mm_loadu_si128((const __m128i *)lo);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
}

/* Bit j of the 32 becomes the value 16 in byte j. */
ALWAYS_INLINE __m256i spread_fifth_bits(const uint8_t hi[4])
{
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((int64_t)0x8040201008040201);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)block_u32(hi)), byte_of);
    return and_bytes(_mm256_cmpeq_epi8(_mm256_and_si256(v, bit_of), bit_of), 16);
}

ALWAYS_INLINE __m256i lookup_iq4(const uint8_t lo[16])
{
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)block_iq4_values));
    return _mm256_shuffle_epi8(table, and_bytes(spread_halves(lo), 15));
}

ALWAYS_INLINE void span_q8_0(const void *src, int32_t n, struct span *s)
{
    const struct block_q8_0 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], load_bytes(b[u].q));
    _mm256_store_ps(s->d, load_f16_apart(b->d, sizeof *b, n));
}

ALWAYS_INLINE void span_iq4_nl(const void *src, int32_t n, struct span *s)
{
    const struct block_q4_0 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], lookup_iq4(b[u].lo));
    _mm256_store_ps(s->d, load_f16_apart(b->d, sizeof *b, n));
}

ALWAYS_INLINE void span_q4_0(const void *src, int32_t n, struct span *s)
{
    const struct block_q4_0 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], and_bytes(spread_halves(b[u].lo), 15));
    __m256 d = load_f16_apart(b->d, sizeof *b, n);
    _mm256_store_ps(s->d, d);
    _mm256_store_ps(s->m, _mm256_mul_ps(d, _mm256_set1_ps(-8.0f)));
}

ALWAYS_INLINE void span_q4_1(const void *src, int32_t n, struct span *s)
{
    const struct block_q4_1 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], and_bytes(spread_halves(b[u].lo), 15));
    _mm256_store_ps(s->d, load_f16_apart(b->d, sizeof *b, n));
    _mm256_store_ps(s->m, load_f16_apart(b->m, sizeof *b, n));
}

ALWAYS_INLINE __m256i five_bits(const uint8_t lo[16], const uint8_t hi[4])
{
    return _mm256_or_si256(and_bytes(spread_halves(lo), 15), spread_fifth_bits(hi));
}

ALWAYS_INLINE void span_q5_0(const void *src, int32_t n, struct span *s)
{
    const struct block_q5_0 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], five_bits(b[u].lo, b[u].hi));
    __m256 d = load_f16_apart(b->d, sizeof *b, n);
    _mm256_store_ps(s->d, d);
    _mm256_store_ps(s->m, _mm256_mul_ps(d, _mm256_set1_ps(-16.0f)));
}

ALWAYS_INLINE void span_q5_1(const void *src, int32_t n, struct span *s)
{
    const struct block_q5_1 *b = src;
    for (int32_t u = 0; u < n; u++) store_bytes(s->q[u], five_bits(b[u].lo, b[u].hi));
    _mm256_store_ps(s->d, load_f16_apart(b->d, sizeof *b, n));
    _mm256_store_ps(s->m, load_f16_apart(b->m, sizeof *b, n));
}

ALWAYS_INLINE void span_iq4_xs(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_iq4_xs *b = src;
    for (int32_t u = 0; u < SPAN_UNITS; u++) store_bytes(s->q[u], lookup_iq4(b->lo + 16 * u));
    __m256i low = _mm256_set1_epi32((int32_t)block_u32(b->scales_lo));
    __m256i high = _mm256_set1_epi32(block_u16(b->scales_hi));
    low = _mm256_srlv_epi32(low, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    high = _mm256_srlv_epi32(high, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    _mm256_store_ps(s->d, _mm256_mul_ps(_mm256_cvtepi32_ps(scale), _mm256_set1_ps(load_f16(b->d))));
}

/* Scales and minima of Q4_K and Q5_K, four at a time in the bytes of a word. */
ALWAYS_INLINE void span_set_k_scales(struct span *s, const uint8_t scales[12], float d, float dmin)
{
    uint32_t a = block_u32(scales), b = block_u32(scales + 4), c = block_u32(scales + 8);
    uint32_t scale_high = (c & 0x0f0f0f0f) | (a >> 6 & 0x03030303) << 4;
    uint32_t min_high = (c >> 4 & 0x0f0f0f0f) | (b >> 6 & 0x03030303) << 4;
    _mm256_store_ps(s->d, _mm256_mul_ps(floats_of_bytes(a & 0x3f3f3f3f, scale_high), _mm256_set1_ps(d)));
    _mm256_store_ps(s->m, _mm256_mul_ps(floats_of_bytes(b & 0x3f3f3f3f, min_high), _mm256_set1_ps(-dmin)));
}

ALWAYS_INLINE void span_q4_k(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_q4_k *b = src;
    for (int32_t i = 0; i < 4; i++) {
        __m256i v = load_bytes(b->lo + 32 * i);
        store_bytes(s->q[2 * i], and_bytes(v, 15));
        store_bytes(s->q[2 * i + 1], and_bytes(_mm256_srli_epi16(v, 4), 15));
    }
    span_set_k_scales(s, b->scales, load_f16(b->d), load_f16(b->dmin));
}

ALWAYS_INLINE void span_q5_k(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_q5_k *b = src;
    __m256i hi = load_bytes(b->hi);
    for (int32_t i = 0; i < 4; i++) {
        __m256i v = load_bytes(b->lo + 32 * i);
        /* Bits 2i and 2i + 1 of hi belong at bit 4. */
        __m256i hi0 = i < 2 ? _mm256_slli_epi16(hi, 4 - 2 * i) : _mm256_srli_epi16(hi, 2 * i - 4);
        __m256i hi1 = i < 2 ? _mm256_slli_epi16(hi, 3 - 2 * i) : _mm256_srli_epi16(hi, 2 * i - 3);
        store_bytes(s->q[2 * i], _mm256_or_si256(and_bytes(v, 15), and_bytes(hi0, 16)));
        v = _mm256_srli_epi16(v, 4);
        store_bytes(s->q[2 * i + 1], _mm256_or_si256(and_bytes(v, 15), and_bytes(hi1, 16)));
    }
    span_set_k_scales(s, b->scales, load_f16(b->d), load_f16(b->dmin));
}

ALWAYS_INLINE void span_q6_k(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_q6_k *b = src;
    for (int32_t half = 0; half < 2; half++) {
        __m256i lo0 = load_bytes(b->lo + 64 * half), lo1 = load_bytes(b->lo + 64 * half + 32);
        __m256i hi = load_bytes(b->hi + 32 * half);
        __m256i hi0 = and_bytes(_mm256_slli_epi16(hi, 4), 0x30),
                hi1 = and_bytes(_mm256_slli_epi16(hi, 2), 0x30);
        __m256i hi2 = and_bytes(hi, 0x30), hi3 = and_bytes(_mm256_srli_epi16(hi, 2), 0x30);
        uint8_t(*q)[UNIT_LEN] = s->q + 4 * half;
        store_bytes(q[0], _mm256_or_si256(and_bytes(lo0, 15), hi0));
        store_bytes(q[1], _mm256_or_si256(and_bytes(lo1, 15), hi1));
        store_bytes(q[2], _mm256_or_si256(and_bytes(_mm256_srli_epi16(lo0, 4), 15), hi2));
        store_bytes(q[3], _mm256_or_si256(and_bytes(_mm256_srli_epi16(lo1, 4), 15), hi3));
    }
    span_set_scales(s, _mm_loadu_si128((const __m128i *)b->scales), load_f16(b->d), -32);
}

ALWAYS_INLINE void span_q3_k(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_q3_k *b = src;
    __m256i hi = load_bytes(b->hi), v = _mm256_setzero_si256();
    for (int32_t u = 0; u < SPAN_UNITS; u++) {
        v = u % 4 == 0 ? load_bytes(b->lo + 8 * u) : _mm256_srli_epi16(v, 2);
        __m256i third = u < 2 ? _mm256_slli_epi16(hi, 2 - u) : _mm256_srli_epi16(hi, u - 2); /* to bit 2 */
        store_bytes(s->q[u], _mm256_or_si256(and_bytes(v, 3), and_bytes(third, 4)));
    }
    uint32_t a0 = block_u32(b->scales), a1 = block_u32(b->scales + 4), high = block_u32(b->scales + 8);
    const uint32_t four = 0x0f0f0f0f, two = 0x03030303;
    __m128i scales = _mm_setr_epi32((int32_t)((a0 & four) | (high & two) << 4),
                                    (int32_t)((a1 & four) | (high >> 2 & two) << 4),
                                    (int32_t)((a0 >> 4 & four) | (high >> 4 & two) << 4),
                                    (int32_t)((a1 >> 4 & four) | (high >> 6 & two) << 4));
    span_set_scales(s, _mm_sub_epi8(scales, _mm_set1_epi8(32)), load_f16(b->d), -4);
}

ALWAYS_INLINE void span_q2_k(const void *src, int32_t n, struct span *s)
{
    (void)n;
    const struct block_q2_k *b = src;
    __m256i v = _mm256_setzero_si256();
    for (int32_t u = 0; u < SPAN_UNITS; u++) {
        v = u % 4 == 0 ? load_bytes(b->lo + 8 * u) : _mm256_srli_epi16(v, 2);
        store_bytes(s->q[u], and_bytes(v, 3));
    }
    __m128i both = _mm_loadu_si128((const __m128i *)b->scales), mask = _mm_set1_epi8(15);
    span_set_scales(s, _mm_and_si128(both, mask), load_f16(b->d), 0);
    __m128i mins = _mm_and_si128(_mm_srli_epi16(both, 4), mask);
    __m256 dmin = _mm256_set1_ps(-load_f16(b->dmin));
    for (int32_t i = 0; i < 2; i++) {
        __m256i m = _mm256_cvtepu8_epi32(i ? _mm_srli_si128(mins, 8) : mins);
        _mm256_store_ps(s->m + 8 * i, _mm256_mul_ps(_mm256_cvtepi32_ps(m), dmin));
    }
}

#endif
