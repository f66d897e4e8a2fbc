/* Small vector helpers of the NEON kernels: partial loads, dot products by lane, exp. Included only by files
 * compiled for ARMv8.2 with the dot-product instructions. */
#ifndef KERN_VEC_NEON_H
#define KERN_VEC_NEON_H

#include <stdint.h>
#include <string.h>

#include <arm_neon.h>

/* Unroll the following loop, whose trip count is a constant of at most 16, completely. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Four floats, of which n < 4 are read and the rest are zero. */
ALWAYS_INLINE float32x4_t vec_load_part(const float *p, int32_t n)
{
    float part[4] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return vld1q_f32(part);
}

/* Four values of an array of n, starting at i; zeros past the end. */
ALWAYS_INLINE float32x4_t vec_load(const float *p, int32_t i, int32_t n)
{
    return i + 4 <= n ? vld1q_f32(p + i) : vec_load_part(p + i, n - i);
}

ALWAYS_INLINE void vec_store(float *p, int32_t i, int32_t n, float32x4_t v)
{
    if (i + 4 <= n) {
        vst1q_f32(p + i, v);
    } else {
        float part[4];
        vst1q_f32(part, v);
        memcpy(p + i, part, (size_t)(n - i) * sizeof *p);
    }
}

/* Four F16 numbers at any address that suits them. */
ALWAYS_INLINE float32x4_t vec_load_f16(const void *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

ALWAYS_INLINE float32x4_t vec_low_f16(uint16x8_t v)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(v)));
}

ALWAYS_INLINE float32x4_t vec_high_f16(uint16x8_t v)
{
    return vcvt_high_f32_f16(vreinterpretq_f16_u16(v));
}

/* sum + four products for each 32-bit lane of w, all with the same lane of x, a constant. The intrinsic takes
 * a literal. */
ALWAYS_INLINE int32x4_t vec_dot_lane(int32x4_t sum, int8x16_t w, int8x16_t x, int32_t lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

/* sum + v * (a constant lane of x). */
ALWAYS_INLINE float32x4_t vec_fma_lane(float32x4_t sum, float32x4_t v, float32x4_t x, int32_t lane)
{
    switch (lane) {
    case 0:
        return vfmaq_laneq_f32(sum, v, x, 0);
    case 1:
        return vfmaq_laneq_f32(sum, v, x, 1);
    case 2:
        return vfmaq_laneq_f32(sum, v, x, 2);
    default:
        return vfmaq_laneq_f32(sum, v, x, 3);
    }
}

/* exp(x) with relative error below 2e-7 for -87 <= x <= 88; outside, x is clamped to that range, so that
 * the result is a finite normal number (exp(-87) = 1.6e-38). NaN gives exp(88).
 *
 * exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2) / 2. exp(r) = 1 + r + r^2 p(r), where p is a
 * minimax polynomial of degree 4, whose own error is 3e-9. ln 2 is split so that n * LN2_HIGH is exact. */
ALWAYS_INLINE float32x4_t vec_exp(float32x4_t x)
{
    const float32x4_t log2e = vdupq_n_f32(1.44269504f);
    const float32x4_t ln2_high = vdupq_n_f32(0x1.62ep-1f), ln2_low = vdupq_n_f32(0x1.0bfbe8p-15f);
    x = vmaxnmq_f32(vminnmq_f32(x, vdupq_n_f32(88.0f)), vdupq_n_f32(-87.0f));
    float32x4_t n = vrndnq_f32(vmulq_f32(x, log2e));
    float32x4_t r = vfmsq_f32(vfmsq_f32(x, n, ln2_high), n, ln2_low);
    float32x4_t p = vdupq_n_f32(0x1.6a2434p-10f);
    p = vfmaq_f32(vdupq_n_f32(0x1.1239e2p-7f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.5558f2p-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.555492p-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.fffffcp-2f), p, r);
    float32x4_t e = vfmaq_f32(vaddq_f32(r, vdupq_n_f32(1.0f)), vmulq_f32(r, r), p);
    int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(e, vreinterpretq_f32_s32(power));
}

#endif
