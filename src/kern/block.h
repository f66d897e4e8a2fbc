/* Block layouts of the formats that have blocks, as bytes, so that a block may lie at any address.
 *
 * Every format stores 32 or 256 consecutive weights of a row in one block; scales are F16, little-endian
 * (MXFP8's is a power of two).
 * "Unit" below means 32 consecutive weights, the grain at which all kernels work. What the fields mean is
 * spelled out once, by the unpackers of unpack.h. */
#ifndef KERN_BLOCK_H
#define KERN_BLOCK_H

#include <stdint.h>
#include <string.h>

#include "kern/kern.h"

#define UNIT_LEN    32  /* weights in a unit; activations are scaled per unit */
#define SUPER_LEN   256 /* weights in a block of the K and IQ4_XS formats */
#define SUPER_UNITS (SUPER_LEN / UNIT_LEN)

/* Formats with 32 weights in a block. lo holds four bits of each weight: byte j has weight j in its low
 * and weight j + 16 in its high half. Bit j of hi is the fifth bit of weight j. */
struct block_q8_0 {
    uint8_t d[2];
    int8_t q[32];
};
struct block_q4_0 { /* also IQ4_NL, whose four bits select from a table */
    uint8_t d[2];
    uint8_t lo[16];
};
struct block_q4_1 {
    uint8_t d[2], m[2];
    uint8_t lo[16];
};
struct block_q5_0 {
    uint8_t d[2];
    uint8_t hi[4];
    uint8_t lo[16];
};
struct block_q5_1 {
    uint8_t d[2], m[2];
    uint8_t hi[4];
    uint8_t lo[16];
};

/* Formats with 256 weights in a block and scales of their own for every 16 or 32 of them. */
struct block_q2_k {
    uint8_t scales[16]; /* per 16 weights: scale in the low, minimum in the high half */
    uint8_t lo[64];     /* two bits of each weight */
    uint8_t d[2], dmin[2];
};
struct block_q3_k {
    uint8_t hi[32];     /* third bits */
    uint8_t lo[64];     /* two bits of each weight */
    uint8_t scales[12]; /* per 16 weights: six bits */
    uint8_t d[2];
};
struct block_q4_k {
    uint8_t d[2], dmin[2];
    uint8_t scales[12]; /* per 32 weights: six bits of scale and six of minimum */
    uint8_t lo[128];
};
struct block_q5_k {
    uint8_t d[2], dmin[2];
    uint8_t scales[12]; /* as Q4_K */
    uint8_t hi[32];     /* fifth bits */
    uint8_t lo[128];
};
struct block_q6_k {
    uint8_t lo[128];
    uint8_t hi[64]; /* bits five and six */
    int8_t scales[16];
    uint8_t d[2];
};
struct block_iq4_xs {
    uint8_t d[2];
    uint8_t scales_hi[2];
    uint8_t scales_lo[4];
    uint8_t lo[128];
};

/* 32 weights w = q 2^(e - 127), q in FP8 E4M3 (OCP Microscaling Formats 1.0: MXFP8). block_e8m0 and
 * block_e4m3 say what their bits mean. */
struct block_mxfp8 {
    uint8_t e;
    uint8_t q[32];
};

/* Values that the four bits of IQ4_NL and IQ4_XS stand for. */
static const int8_t block_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

static inline uint16_t block_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t block_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline float block_f16(const uint8_t *p)
{
    return kern_f16_to_f32(block_u16(p));
}

/* E8M0: a power of two, of exponents -127..127. 2^119 is the last with which every E4M3 number is finite in
 * F32; larger ones, and the code for NaN (255), are read as that, so that no block makes a NaN. */
#define BLOCK_E8M0_MAX 246

static inline float block_e8m0(uint8_t e)
{
    const uint32_t bits = e >= BLOCK_E8M0_MAX ? BLOCK_E8M0_MAX << 23 : e ? (uint32_t)e << 23 : 1u << 22;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* E4M3: sign, four bits of exponent (bias 7), three of fraction; no infinities. The codes for NaN, 0x7f and
 * 0xff, are read as what their bits would otherwise mean, 480 and -480: one more that makes no NaN, and
 * nothing to be tested for in a kernel. Numbers that we convert have neither.
 *
 * In the places that they have in F16 (five bits of exponent, bias 15), the bits are the number times 2^-8,
 * subnormal ones included. */
static inline float block_e4m3(uint8_t code)
{
    return kern_f16_to_f32((uint16_t)((code & 0x80) << 8 | (code & 0x7f) << 7)) * 256;
}

#endif
