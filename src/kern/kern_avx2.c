/* The AVX2 table, and its kernels that work element by element: norms, activations, rotary embedding,
 * quantization. Vectors of eight; what is left at the end goes through masked loads or plain C. */
#if defined(__AVX2__)

#include <math.h>

#include "kern/isa.h"
#include "kern/vec_avx2.h"

#define UNIT_LEN 32

/* Eight values of an array of n, starting at i; zeros past the end. */
ALWAYS_INLINE __m256 load8(const float *p, int32_t i, int32_t n)
{
    return i + 8 <= n ? _mm256_loadu_ps(p + i) : vec_load_part(p + i, n - i);
}

ALWAYS_INLINE void store8(float *p, int32_t i, int32_t n, __m256 v)
{
    if (i + 8 <= n) {
        _mm256_storeu_ps(p + i, v);
    } else {
        _mm256_maskstore_ps(p + i, vec_mask(n - i), v);
    }
}

void kern_avx2_quantize(const float *x, int32_t n, int8_t *q, float *d, float *s)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* undoes the order of 256-bit packs */
    for (int32_t u = 0; u < n / UNIT_LEN; u++, x += UNIT_LEN, q += UNIT_LEN) {
        __m256 v[4], max8 = _mm256_setzero_ps();
        for (int32_t i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + 8 * i);
            max8 = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), max8); /* a NaN leaves the second operand */
        }
        float max = vec_max(max8);
        d[u] = max > KERN_QUANT_TINY ? max / 127 : 0;
        __m256 inverse = _mm256_set1_ps(max > KERN_QUANT_TINY ? 1 / d[u] : 0);
        __m256i w[4];
        for (int32_t i = 0; i < 4; i++) w[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
        __m256i low = _mm256_packs_epi32(w[0], w[1]), high = _mm256_packs_epi32(w[2], w[3]);
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)q, bytes);
        __m256 sums[2] = {_mm256_cvtepi32_ps(_mm256_add_epi32(w[0], w[1])),
                          _mm256_cvtepi32_ps(_mm256_add_epi32(w[2], w[3]))};
        s[2 * u] = d[u] * vec_sum(sums[0]);
        s[2 * u + 1] = d[u] * vec_sum(sums[1]);
    }
}

/* The sum over i < n of (x[i] - mean)^2. */
static float sum_squares(const float *x, int32_t n, float mean)
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, shift = _mm256_set1_ps(mean);
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x + i), shift),
               b = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), shift);
        acc[0] = _mm256_fmadd_ps(a, a, acc[0]);
        acc[1] = _mm256_fmadd_ps(b, b, acc[1]);
    }
    float sum = vec_sum(_mm256_add_ps(acc[0], acc[1]));
    for (; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static float sum(const float *x, int32_t n)
{
    __m256 acc = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 8) acc = _mm256_add_ps(acc, load8(x, i, n));
    return vec_sum(acc);
}

void kern_avx2_rms_norm(const float *x, const float *weight, int32_t n, float eps, float *y)
{
    __m256 inverse = _mm256_set1_ps(1 / sqrtf(sum_squares(x, n, 0) / (float)n + eps));
    for (int32_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(load8(x, i, n), inverse);
        store8(y, i, n, weight ? _mm256_mul_ps(v, load8(weight, i, n)) : v);
    }
}

void kern_avx2_layer_norm(const float *x, const float *weight, const float *bias, int32_t n, float eps,
                          float *y)
{
    float mean = sum(x, n) / (float)n;
    __m256 inverse = _mm256_set1_ps(1 / sqrtf(sum_squares(x, n, mean) / (float)n + eps));
    for (int32_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(load8(x, i, n), _mm256_set1_ps(mean)), inverse);
        if (weight) v = _mm256_mul_ps(v, load8(weight, i, n));
        if (bias) v = _mm256_add_ps(v, load8(bias, i, n));
        store8(y, i, n, v);
    }
}

/* x / (1 + exp(-x)). Below -87 the true value is smaller than 2e-36, and so is ours. */
ALWAYS_INLINE __m256 silu8(__m256 x)
{
    __m256 e = vec_exp(_mm256_sub_ps(_mm256_setzero_ps(), x));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), so gelu has the shape of silu, with u as in kern_ref.c. */
ALWAYS_INLINE __m256 gelu8(__m256 x)
{
    __m256 cubic = _mm256_mul_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(0.044715f));
    __m256 u = _mm256_mul_ps(_mm256_set1_ps(0.79788456f), _mm256_fmadd_ps(cubic, x, x));
    __m256 e = vec_exp(_mm256_mul_ps(u, _mm256_set1_ps(-2.0f)));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

void kern_avx2_silu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) {
        store8(gate, i, n, _mm256_mul_ps(silu8(load8(gate, i, n)), load8(up, i, n)));
    }
}

void kern_avx2_gelu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) {
        store8(gate, i, n, _mm256_mul_ps(gelu8(load8(gate, i, n)), load8(up, i, n)));
    }
}

void kern_avx2_gelu(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) store8(x, i, n, gelu8(load8(x, i, n)));
}

void kern_avx2_add(float *y, const float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i += 8) store8(y, i, n, _mm256_add_ps(load8(y, i, n), load8(x, i, n)));
}

void kern_avx2_mul_add(float *y, const float *x, float a, int32_t n)
{
    __m256 factor = _mm256_set1_ps(a);
    for (int32_t i = 0; i < n; i += 8)
        store8(y, i, n, _mm256_fmadd_ps(factor, load8(x, i, n), load8(y, i, n)));
}

void kern_avx2_f32_to_f16(const float *x, uint16_t *y, int32_t n)
{
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm_storeu_si128((__m128i *)(y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    }
    for (; i < n; i++) y[i] = kern_f32_to_f16(x[i]);
}

static float max_of(const float *x, int32_t n)
{
    float max = x[0];
    int32_t i = 0;
    if (n >= 32) {
        __m256 max8[4];
        for (int32_t j = 0; j < 4; j++) max8[j] = _mm256_loadu_ps(x + 8 * j);
        for (i = 32; i + 32 <= n; i += 32) {
            for (int32_t j = 0; j < 4; j++) max8[j] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8 * j), max8[j]);
        }
        max = vec_max(_mm256_max_ps(_mm256_max_ps(max8[0], max8[1]), _mm256_max_ps(max8[2], max8[3])));
    }
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* Two passes over x: even a large vocabulary's logits stay in the second-level cache. */
float kern_avx2_log_sum_exp(const float *x, int32_t n)
{
    float max = max_of(x, n);
    __m256 top = _mm256_set1_ps(max), acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        acc[0] = _mm256_add_ps(acc[0], vec_exp(_mm256_sub_ps(_mm256_loadu_ps(x + i), top)));
        acc[1] = _mm256_add_ps(acc[1], vec_exp(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), top)));
    }
    float sum = vec_sum(_mm256_add_ps(acc[0], acc[1]));
    for (; i < n; i++) sum += expf(x[i] - max);
    return max + logf(sum);
}

static void rope_neox(float *head, const float *cos, const float *sin, int32_t half)
{
    for (int32_t i = 0; i < half; i += 8) {
        __m256 a = load8(head, i, half), b = load8(head + half, i, half);
        __m256 c = load8(cos, i, half), s = load8(sin, i, half);
        store8(head, i, half, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        store8(head + half, i, half, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

/* Four neighbouring pairs at a time: head * cos -+ swapped head * sin. */
static void rope_pairs(float *head, const float *cos, const float *sin, int32_t half)
{
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    for (int32_t i = 0; i < half; i += 4) {
        int32_t n = half - i < 4 ? half - i : 4;
        __m256 v = load8(head, 2 * i, 2 * half);
        __m256 c = _mm256_permutevar8x32_ps(vec_load_part(cos + i, n), twice);
        __m256 s = _mm256_permutevar8x32_ps(vec_load_part(sin + i, n), twice);
        __m256 swapped = _mm256_permute_ps(v, 0xb1);
        store8(head, 2 * i, 2 * half, _mm256_addsub_ps(_mm256_mul_ps(v, c), _mm256_mul_ps(swapped, s)));
    }
}

void kern_avx2_rope(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox)
{
    if (neox) {
        rope_neox(head, cos, sin, n_rot / 2);
    } else {
        rope_pairs(head, cos, sin, n_rot / 2);
    }
}

const struct kern kern_avx2 = {
    .isa = "avx2",
    .reads_packed = true,
    .quantize = kern_avx2_quantize,
    .dequantize = kern_ref_dequantize,
    .matmul = kern_avx2_matmul,
    .attend = kern_avx2_attend,
    .kv_store = kern_avx2_kv_store,
    .kv_load = kern_avx2_kv_load,
    .rms_norm = kern_avx2_rms_norm,
    .layer_norm = kern_avx2_layer_norm,
    .silu_mul = kern_avx2_silu_mul,
    .gelu_mul = kern_avx2_gelu_mul,
    .gelu = kern_avx2_gelu,
    .add = kern_avx2_add,
    .mul_add = kern_avx2_mul_add,
    .f32_to_f16 = kern_avx2_f32_to_f16,
    .log_sum_exp = kern_avx2_log_sum_exp,
    .rope = kern_avx2_rope,
};

#else
typedef int kern_avx2_unused; /* a translation unit must declare something */
#endif
