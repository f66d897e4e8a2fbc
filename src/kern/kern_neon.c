/* The NEON table, and its kernels that work element by element: norms, activations, rotary embedding,
 * quantization, the formats of the KV cache. Vectors of four; what is left at the end goes through partial
 * loads or plain C.
 *
 * "neon" means ARMv8.2 with the dot-product instructions (HWCAP_ASIMDDP): Cortex-A55 and A76, Neoverse N1 and
 * all later ones, every Apple M. Older cores run "ref". */
#if defined(__ARM_FEATURE_DOTPROD)

#include <math.h>

#include "kern/isa.h"
#include "kern/vec_neon.h"

#define UNIT_LEN 32

/* Round 32 floats to q = round(x / d), d = max|x| / 127. Returns d; sums: of each half of q. */
ALWAYS_INLINE float quantize_unit(const float *x, int8_t *q, int32_t sums[2])
{
    float32x4_t v[8], max4 = vdupq_n_f32(0);
    UNROLL
    for (int32_t i = 0; i < 8; i++) {
        v[i] = vld1q_f32(x + 4 * i);
        max4 = vmaxnmq_f32(max4, vabsq_f32(v[i])); /* the number, if the other operand is a NaN */
    }
    float max = vmaxnmvq_f32(max4);
    float d = max > KERN_QUANT_TINY ? max / 127 : 0, inverse = max > KERN_QUANT_TINY ? 1 / d : 0;
    UNROLL
    for (int32_t half = 0; half < 2; half++) {
        int16x8_t pairs[2];
        UNROLL
        for (int32_t i = 0; i < 2; i++) {
            const float32x4_t *four = v + 4 * half + 2 * i;
            int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(four[0], inverse));
            int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(four[1], inverse));
            pairs[i] = vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
        }
        vst1q_s8(q + 16 * half, vcombine_s8(vqmovn_s16(pairs[0]), vqmovn_s16(pairs[1])));
        sums[half] = vaddlvq_s16(vaddq_s16(pairs[0], pairs[1]));
    }
    return d;
}

static void quantize(const float *x, int32_t n, int8_t *q, float *d, float *s)
{
    for (int32_t u = 0; u < n / UNIT_LEN; u++) {
        int32_t sums[2];
        d[u] = quantize_unit(x + u * UNIT_LEN, q + u * UNIT_LEN, sums);
        s[2 * u] = d[u] * (float)sums[0];
        s[2 * u + 1] = d[u] * (float)sums[1];
    }
}

static void f32_to_f16(const float *x, uint16_t *y, int32_t n)
{
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) vst1_u16(y + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++) y[i] = kern_f32_to_f16(x[i]);
}

/* Where a block of Q8_0 keys or values has the scales of position `index`. */
static size_t scales_offset(int32_t head_dim, int32_t index)
{
    size_t values = (size_t)KERN_KV_BLOCK * (size_t)head_dim;
    return values + (size_t)(index * (head_dim / UNIT_LEN)) * sizeof(float);
}

static void kv_store(enum kern_kv_type type, int32_t head_dim, const float *x, void *block, int32_t index)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        f32_to_f16(x, (uint16_t *)block + at, head_dim);
        return;
    }
    float *scales = (float *)((char *)block + scales_offset(head_dim, index));
    for (int32_t i = 0; i < head_dim; i += UNIT_LEN) {
        int32_t sums[2];
        scales[i / UNIT_LEN] = quantize_unit(x + i, (int8_t *)block + at + i, sums);
    }
}

static void kv_load(enum kern_kv_type type, int32_t head_dim, const void *block, int32_t index, float *x)
{
    size_t at = (size_t)index * (size_t)head_dim;
    if (type == KERN_KV_F16) {
        const uint16_t *from = (const uint16_t *)block + at;
        for (int32_t i = 0; i < head_dim; i += 4) vst1q_f32(x + i, vec_load_f16(from + i));
        return;
    }
    const int8_t *q = (const int8_t *)block + at;
    const float *scales = (const float *)((const char *)block + scales_offset(head_dim, index));
    for (int32_t i = 0; i < head_dim; i += 8) {
        int16x8_t wide = vmovl_s8(vld1_s8(q + i));
        float d = scales[i / UNIT_LEN];
        vst1q_f32(x + i, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), d));
        vst1q_f32(x + i + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(wide)), d));
    }
}

/* The sum over i < n of (x[i] - mean)^2. */
static float sum_squares(const float *x, int32_t n, float mean)
{
    float32x4_t acc[4], shift = vdupq_n_f32(mean);
    for (int32_t j = 0; j < 4; j++) acc[j] = vdupq_n_f32(0);
    int32_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int32_t j = 0; j < 4; j++) {
            float32x4_t v = vsubq_f32(vld1q_f32(x + i + 4 * j), shift);
            acc[j] = vfmaq_f32(acc[j], v, v);
        }
    }
    float sum = vaddvq_f32(vaddq_f32(vaddq_f32(acc[0], acc[1]), vaddq_f32(acc[2], acc[3])));
    for (; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static float sum(const float *x, int32_t n)
{
    float32x4_t acc = vdupq_n_f32(0);
    for (int32_t i = 0; i < n; i += 4) acc = vaddq_f32(acc, vec_load(x, i, n));
    return vaddvq_f32(acc);
}

static void rms_norm(const float *x, const float *weight, int32_t n, float eps, float *y)
{
    float inverse = 1 / sqrtf(sum_squares(x, n, 0) / (float)n + eps);
    for (int32_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(vec_load(x, i, n), inverse);
        vec_store(y, i, n, weight ? vmulq_f32(v, vec_load(weight, i, n)) : v);
    }
}

static void layer_norm(const float *x, const float *weight, const float *bias, int32_t n, float eps, float *y)
{
    float mean = sum(x, n) / (float)n;
    float inverse = 1 / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
    for (int32_t i = 0; i < n; i += 4) {
        float32x4_t v = vmulq_n_f32(vsubq_f32(vec_load(x, i, n), vdupq_n_f32(mean)), inverse);
        if (weight) v = vmulq_f32(v, vec_load(weight, i, n));
        if (bias) v = vaddq_f32(v, vec_load(bias, i, n));
        vec_store(y, i, n, v);
    }
}

/* x / (1 + exp(-x)). Below -87 the true value is smaller than 2e-36, and so is ours. */
ALWAYS_INLINE float32x4_t silu4(float32x4_t x)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), vec_exp(vnegq_f32(x))));
}

/* (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), so gelu has the shape of silu, with u as in kern_ref.c. */
ALWAYS_INLINE float32x4_t gelu4(float32x4_t x)
{
    float32x4_t cubic = vmulq_n_f32(vmulq_f32(x, x), 0.044715f);
    float32x4_t u = vmulq_n_f32(vfmaq_f32(x, cubic, x), 0.79788456f);
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), vec_exp(vmulq_n_f32(u, -2.0f))));
}

static void silu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4)
        vec_store(gate, i, n, vmulq_f32(silu4(vec_load(gate, i, n)), vec_load(up, i, n)));
}

static void gelu_mul(float *gate, const float *up, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4)
        vec_store(gate, i, n, vmulq_f32(gelu4(vec_load(gate, i, n)), vec_load(up, i, n)));
}

static void gelu(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4) vec_store(x, i, n, gelu4(vec_load(x, i, n)));
}

static void add(float *y, const float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4) vec_store(y, i, n, vaddq_f32(vec_load(y, i, n), vec_load(x, i, n)));
}

static void mul_add(float *y, const float *x, float a, int32_t n)
{
    for (int32_t i = 0; i < n; i += 4)
        vec_store(y, i, n, vfmaq_n_f32(vec_load(y, i, n), vec_load(x, i, n), a));
}

static float max_of(const float *x, int32_t n)
{
    float max = x[0];
    int32_t i = 0;
    if (n >= 8) {
        float32x4_t a = vld1q_f32(x), b = vld1q_f32(x + 4);
        for (i = 8; i + 8 <= n; i += 8) {
            a = vmaxnmq_f32(a, vld1q_f32(x + i));
            b = vmaxnmq_f32(b, vld1q_f32(x + i + 4));
        }
        max = vmaxnmvq_f32(vmaxnmq_f32(a, b));
    }
    for (; i < n; i++) max = x[i] > max ? x[i] : max;
    return max;
}

/* Two passes over x: even a large vocabulary's logits stay in the second-level cache. */
static float log_sum_exp(const float *x, int32_t n)
{
    float max = max_of(x, n);
    float32x4_t top = vdupq_n_f32(max), acc[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        acc[0] = vaddq_f32(acc[0], vec_exp(vsubq_f32(vld1q_f32(x + i), top)));
        acc[1] = vaddq_f32(acc[1], vec_exp(vsubq_f32(vld1q_f32(x + i + 4), top)));
    }
    float sum = vaddvq_f32(vaddq_f32(acc[0], acc[1]));
    for (; i < n; i++) sum += expf(x[i] - max);
    return max + logf(sum);
}

static void rope_neox(float *head, const float *cos, const float *sin, int32_t half)
{
    for (int32_t i = 0; i < half; i += 4) {
        float32x4_t a = vec_load(head, i, half), b = vec_load(head + half, i, half);
        float32x4_t c = vec_load(cos, i, half), s = vec_load(sin, i, half);
        vec_store(head, i, half, vfmsq_f32(vmulq_f32(a, c), b, s));
        vec_store(head + half, i, half, vfmaq_f32(vmulq_f32(b, c), a, s));
    }
}

static void rope_pairs(float *head, const float *cos, const float *sin, int32_t half)
{
    int32_t i = 0;
    for (; i + 4 <= half; i += 4) {
        float32x4x2_t v = vld2q_f32(head + 2 * i), turned;
        float32x4_t c = vld1q_f32(cos + i), s = vld1q_f32(sin + i);
        turned.val[0] = vfmsq_f32(vmulq_f32(v.val[0], c), v.val[1], s);
        turned.val[1] = vfmaq_f32(vmulq_f32(v.val[1], c), v.val[0], s);
        vst2q_f32(head + 2 * i, turned);
    }
    for (; i < half; i++) {
        float a = head[2 * i], b = head[2 * i + 1];
        head[2 * i] = a * cos[i] - b * sin[i];
        head[2 * i + 1] = a * sin[i] + b * cos[i];
    }
}

static void rope(float *head, const float *cos, const float *sin, int32_t n_rot, bool neox)
{
    if (neox) {
        rope_neox(head, cos, sin, n_rot / 2);
    } else {
        rope_pairs(head, cos, sin, n_rot / 2);
    }
}

/* The i8mm variant has another matrix product, and all else in common. */
#define TABLE(name, product)                                                                                 \
    {                                                                                                        \
        .isa = name, .quantize = quantize, .dequantize = kern_ref_dequantize, .matmul = product,             \
        .attend = kern_neon_attend, .kv_store = kv_store, .kv_load = kv_load, .rms_norm = rms_norm,          \
        .layer_norm = layer_norm, .silu_mul = silu_mul, .gelu_mul = gelu_mul, .gelu = gelu, .add = add,      \
        .mul_add = mul_add, .f32_to_f16 = f32_to_f16, .log_sum_exp = log_sum_exp, .rope = rope,              \
    }

const struct kern kern_neon = TABLE("neon", kern_neon_matmul);
const struct kern kern_i8mm = TABLE("i8mm", kern_i8mm_matmul);

#else
typedef int kern_neon_unused; /* a translation unit must declare something */
#endif
