/* The KV cache's formats with AVX2: single positions in and out, and whole blocks expanded to F32 for
 * attention (attend_avx2.h). */
#if defined(__AVX2__)

#include "kern/attend_avx2.h"
#include "kern/vec_avx2.h"

#define SCALE_LEN 32 /* values of a Q8_0 row that share one scale */

/* The scales of a Q8_0 block, [KERN_KV_BLOCK][head_dim / SCALE_LEN]. */
ALWAYS_INLINE const float *scales_of(const void *block, int32_t head_dim)
{
    return (const float *)((const char *)block + (size_t)KERN_KV_BLOCK * (size_t)head_dim);
}

/* Eight values to F32. */
ALWAYS_INLINE __m256 load_f16(const uint16_t *src)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)src));
}

ALWAYS_INLINE __m256 load_q8(const int8_t *src, const float *scale)
{
    __m256 q = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)src)));
    return _mm256_mul_ps(_mm256_broadcast_ss(scale), q);
}

void kern_avx2_kv_store(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        kern_avx2_f32_to_f16(x, (uint16_t *)block + at, head_dim);
        return;
    }
    float sums[KERN_HEAD_DIM_MAX / 16]; /* which only products with weights need */
    float *scales = (float *)((char *)block + (size_t)KERN_KV_BLOCK * (size_t)head_dim) + at / SCALE_LEN;
    kern_avx2_quantize(x, head_dim, (int8_t *)block + at, scales, sums);
}

void kern_avx2_kv_load(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        const uint16_t *src = (const uint16_t *)block + at;
        for (int32_t i = 0; i < head_dim; i += 8) _mm256_storeu_ps(x + i, load_f16(src + i));
    } else {
        const int8_t *src = (const int8_t *)block + at;
        const float *scales = scales_of(block, head_dim) + at / SCALE_LEN;
        for (int32_t i = 0; i < head_dim; i += 8)
            _mm256_storeu_ps(x + i, load_q8(src + i, scales + i / SCALE_LEN));
    }
}

/* n_vec (1 or 2, a constant) vectors of columns from src on, of all positions. */
ALWAYS_INLINE void values_f16(const uint16_t *src, int32_t head_dim, int32_t n_vec, float *dst)
{
    for (int32_t p = 0; p < KERN_KV_BLOCK; p++, src += head_dim, dst += ATTEND_PANEL) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++) _mm256_store_ps(dst + 8 * c, load_f16(src + 8 * c));
    }
}

/* scales: of these columns. */
static void values_q8(const int8_t *src, const float *scales, int32_t head_dim, float *dst)
{
    for (int32_t p = 0; p < KERN_KV_BLOCK; p++, src += head_dim, dst += ATTEND_PANEL) {
        _mm256_store_ps(dst, load_q8(src, scales));
        _mm256_store_ps(dst + 8, load_q8(src + 8, scales));
        scales += head_dim / SCALE_LEN;
    }
}

void kern_avx2_expand_values(enum kern_kv_type type, int32_t head_dim, const void *block,
                             struct attend_slice slice, float *dst)
{
    const float *scales = scales_of(block, head_dim);
    int32_t i = slice.first, end = i + slice.n;
    for (; i + ATTEND_PANEL <= end; i += ATTEND_PANEL, dst += KERN_KV_BLOCK * ATTEND_PANEL) {
        if (type == KERN_KV_F16) {
            values_f16((const uint16_t *)block + i, head_dim, 2, dst);
        } else {
            values_q8((const int8_t *)block + i, scales + i / SCALE_LEN, head_dim, dst);
        }
    }
    if (i < end) values_f16((const uint16_t *)block + i, head_dim, 1, dst); /* eight F16 are left */
}

/* Transpose 8 x 8 lanes of 16 bits in both halves. */
ALWAYS_INLINE void transpose16(__m256i v[8])
{
    __m256i a[8], b[8];
    UNROLL
    for (int32_t i = 0; i < 8; i += 2) { /* pairs of rows: lanes of four columns side by side */
        a[i] = _mm256_unpacklo_epi16(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi16(v[i], v[i + 1]);
    }
    UNROLL
    for (int32_t i = 0; i < 8; i += 4) { /* four rows, two columns */
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi32(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi32(a[i + 1], a[i + 3]);
    }
    UNROLL
    for (int32_t i = 0; i < 4; i++) {
        v[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        v[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

/* n_cols (8 or 16, a constant) columns of eight positions, of which src is the first, to columns that are
 * ATTEND_PANEL apart. */
ALWAYS_INLINE void keys_f16(const uint16_t *src, int32_t head_dim, int32_t n_cols, float *dst)
{
    __m256i v[8];
    UNROLL
    for (int32_t j = 0; j < 8; j++, src += head_dim) {
        v[j] = n_cols == 16 ? _mm256_loadu_si256((const __m256i *)src)
                            : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)src));
    }
    transpose16(v);
    UNROLL
    for (int32_t j = 0; j < n_cols; j++) {
        __m128i column = j < 8 ? _mm256_castsi256_si128(v[j]) : _mm256_extracti128_si256(v[j - 8], 1);
        _mm256_store_ps(dst + j * ATTEND_PANEL, _mm256_cvtph_ps(column));
    }
}

/* 32 columns of eight positions, scales of these columns. Transposed are groups of four bytes; each byte is
 * then converted where it stands highest in its lane, 2^24 times too large. */
static void keys_q8(const int8_t *src, const float *scales, int32_t head_dim, float *dst)
{
    const __m256i high = _mm256_set1_epi32((int32_t)0xff000000);
    __m256i v[8];
    float scale[8];
    UNROLL
    for (int32_t j = 0; j < 8; j++) {
        v[j] = _mm256_loadu_si256((const __m256i *)(src + j * head_dim));
        scale[j] = scales[j * (head_dim / SCALE_LEN)];
    }
    vec_transpose(v);
    __m256 factor = _mm256_mul_ps(_mm256_loadu_ps(scale), _mm256_set1_ps(0x1p-24f));
    UNROLL
    for (int32_t j = 0; j < 8; j++, dst += 4 * ATTEND_PANEL) {
        __m256i bytes[4] = {_mm256_slli_epi32(v[j], 24), _mm256_slli_epi32(v[j], 16),
                            _mm256_slli_epi32(v[j], 8), v[j]};
        UNROLL
        for (int32_t c = 0; c < 4; c++) {
            __m256 f = _mm256_cvtepi32_ps(_mm256_and_si256(bytes[c], high));
            _mm256_store_ps(dst + c * ATTEND_PANEL, _mm256_mul_ps(f, factor));
        }
    }
}

/* Positions p..p+7 of a slice of keys. */
static void expand_keys_of(enum kern_kv_type type, int32_t head_dim, const void *block,
                           struct attend_slice slice, int32_t p, float *dst)
{
    size_t at = (size_t)p * (size_t)head_dim + (size_t)slice.first;
    if (type == KERN_KV_F16) {
        const uint16_t *src = (const uint16_t *)block + at;
        int32_t i = 0;
        for (; i + 16 <= slice.n; i += 16) keys_f16(src + i, head_dim, 16, dst + i * ATTEND_PANEL);
        if (i < slice.n) keys_f16(src + i, head_dim, 8, dst + i * ATTEND_PANEL);
    } else {
        const int8_t *src = (const int8_t *)block + at;
        const float *scales = scales_of(block, head_dim) + at / SCALE_LEN;
        for (int32_t i = 0; i < slice.n; i += SCALE_LEN)
            keys_q8(src + i, scales + i / SCALE_LEN, head_dim, dst + i * ATTEND_PANEL);
    }
}

void kern_avx2_expand_keys(enum kern_kv_type type, int32_t head_dim, const void *block,
                           struct attend_slice slice, float *dst)
{
    for (int32_t p = 0; p < KERN_KV_BLOCK; p += 8) {
        float *panel = dst + p / ATTEND_PANEL * ATTEND_PANEL * slice.n;
        expand_keys_of(type, head_dim, block, slice, p, panel + p % ATTEND_PANEL);
    }
}

#else
typedef int kern_avx2_kv_unused; /* a translation unit must declare something */
#endif
