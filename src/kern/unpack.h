/* Plain C unpackers: one unit (32 weights) of any quantized format to one uniform shape.
 *
 * This is the specification of the formats; sources: the GGUF specification and the reference
 * de-quantizer of the Python package gguf, against which tests/kern checks it. */
#ifndef KERN_UNPACK_H
#define KERN_UNPACK_H

#include "kern/block.h"

/* weight[i] = d[i / 16] * q[i] + m[i / 16] */
struct unit {
    int8_t q[UNIT_LEN];
    float d[2], m[2];
};

static inline void unit_set_scale(struct unit *u, float d, float m)
{
    u->d[0] = u->d[1] = d;
    u->m[0] = u->m[1] = m;
}

/* 4-bit values of 32-weight layouts, with fifth bits from hi, less an offset. */
static inline void unit_set_halves(struct unit *u, const uint8_t lo[16], uint32_t hi, int32_t offset)
{
    for (int32_t j = 0; j < 16; j++) {
        u->q[j] = (int8_t)((lo[j] & 15) + (int32_t)(hi >> j & 1) * 16 - offset);
        u->q[j + 16] = (int8_t)((lo[j] >> 4) + (int32_t)(hi >> (j + 16) & 1) * 16 - offset);
    }
}

static inline void unpack_q8_0(const struct block_q8_0 *b, struct unit *u)
{
    memcpy(u->q, b->q, sizeof u->q);
    unit_set_scale(u, block_f16(b->d), 0);
}

static inline void unpack_q4_0(const struct block_q4_0 *b, struct unit *u)
{
    unit_set_halves(u, b->lo, 0, 8);
    unit_set_scale(u, block_f16(b->d), 0);
}

static inline void unpack_q4_1(const struct block_q4_1 *b, struct unit *u)
{
    unit_set_halves(u, b->lo, 0, 0);
    unit_set_scale(u, block_f16(b->d), block_f16(b->m));
}

static inline void unpack_q5_0(const struct block_q5_0 *b, struct unit *u)
{
    unit_set_halves(u, b->lo, block_u32(b->hi), 16);
    unit_set_scale(u, block_f16(b->d), 0);
}

static inline void unpack_q5_1(const struct block_q5_1 *b, struct unit *u)
{
    unit_set_halves(u, b->lo, block_u32(b->hi), 0);
    unit_set_scale(u, block_f16(b->d), block_f16(b->m));
}

static inline void unit_set_iq4(struct unit *u, const uint8_t lo[16])
{
    for (int32_t j = 0; j < 16; j++) {
        u->q[j] = block_iq4_values[lo[j] & 15];
        u->q[j + 16] = block_iq4_values[lo[j] >> 4];
    }
}

static inline void unpack_iq4_nl(const struct block_q4_0 *b, struct unit *u)
{
    unit_set_iq4(u, b->lo);
    unit_set_scale(u, block_f16(b->d), 0);
}

/* Scale number i (per 32 weights) is six bits, biased by 32. */
static inline void unpack_iq4_xs(const struct block_iq4_xs *b, int32_t i, struct unit *u)
{
    unit_set_iq4(u, b->lo + 16 * i);
    int32_t scale = (b->scales_lo[i / 2] >> 4 * (i % 2) & 15) | (block_u16(b->scales_hi) >> 2 * i & 3) << 4;
    unit_set_scale(u, block_f16(b->d) * (float)(scale - 32), 0);
}

/* Four units share 32 bytes, two bits each. */
static inline int32_t two_bits(const uint8_t lo[64], int32_t i, int32_t j)
{
    return lo[32 * (i / 4) + j] >> 2 * (i % 4) & 3;
}

static inline void unpack_q2_k(const struct block_q2_k *b, int32_t i, struct unit *u)
{
    for (int32_t j = 0; j < UNIT_LEN; j++) u->q[j] = (int8_t)two_bits(b->lo, i, j);
    float d = block_f16(b->d), dmin = block_f16(b->dmin);
    for (int32_t half = 0; half < 2; half++) {
        uint8_t scale = b->scales[2 * i + half];
        u->d[half] = d * (float)(scale & 15);
        u->m[half] = -(dmin * (float)(scale >> 4));
    }
}

/* A clear bit in hi means 4 less. Scale number s is six bits, biased by 32: the low four lie as halves of
 * the first eight bytes, the high two as quarters of the last four. */
static inline void unpack_q3_k(const struct block_q3_k *b, int32_t i, struct unit *u)
{
    for (int32_t j = 0; j < UNIT_LEN; j++) {
        u->q[j] = (int8_t)(two_bits(b->lo, i, j) - (b->hi[j] >> i & 1 ? 0 : 4));
    }
    float d = block_f16(b->d);
    for (int32_t half = 0; half < 2; half++) {
        int32_t s = 2 * i + half;
        int32_t scale = (b->scales[s % 8] >> 4 * (s / 8) & 15) | (b->scales[8 + s % 4] >> 2 * (s / 4) & 3)
                                                                     << 4;
        u->d[half] = d * (float)(scale - 32);
        u->m[half] = 0;
    }
}

/* Scale and minimum number i of Q4_K and Q5_K: six bits each. The first four of both lie whole; the last
 * four are halves of bytes 8..11 and the top two bits of bytes 0..7. */
static inline void unit_set_k_scale(struct unit *u, const uint8_t scales[12], int32_t i, float d, float dmin)
{
    int32_t scale, min;
    if (i < 4) {
        scale = scales[i] & 63;
        min = scales[i + 4] & 63;
    } else {
        scale = (scales[i + 4] & 15) | scales[i - 4] >> 6 << 4;
        min = scales[i + 4] >> 4 | scales[i] >> 6 << 4;
    }
    unit_set_scale(u, d * (float)scale, -(dmin * (float)min));
}

/* Two units share 32 bytes, four bits each. */
static inline int32_t four_bits(const uint8_t lo[128], int32_t i, int32_t j)
{
    return lo[32 * (i / 2) + j] >> 4 * (i % 2) & 15;
}

static inline void unpack_q4_k(const struct block_q4_k *b, int32_t i, struct unit *u)
{
    for (int32_t j = 0; j < UNIT_LEN; j++) u->q[j] = (int8_t)four_bits(b->lo, i, j);
    unit_set_k_scale(u, b->scales, i, block_f16(b->d), block_f16(b->dmin));
}

static inline void unpack_q5_k(const struct block_q5_k *b, int32_t i, struct unit *u)
{
    for (int32_t j = 0; j < UNIT_LEN; j++) {
        u->q[j] = (int8_t)(four_bits(b->lo, i, j) | (b->hi[j] >> i & 1) << 4);
    }
    unit_set_k_scale(u, b->scales, i, block_f16(b->d), block_f16(b->dmin));
}

/* Each half block (four units) has 64 bytes of low bits, units 0 and 2 sharing the first 32, and 32 bytes
 * of high bits, two for each unit. */
static inline void unpack_q6_k(const struct block_q6_k *b, int32_t i, struct unit *u)
{
    const uint8_t *lo = b->lo + 64 * (i / 4) + 32 * (i % 2);
    for (int32_t j = 0; j < UNIT_LEN; j++) {
        int32_t low = lo[j] >> 4 * (i / 2 % 2) & 15;
        u->q[j] = (int8_t)((low | two_bits(b->hi, i, j) << 4) - 32);
    }
    float d = block_f16(b->d);
    for (int32_t half = 0; half < 2; half++) {
        u->d[half] = d * (float)b->scales[2 * i + half];
        u->m[half] = 0;
    }
}

/* Unit number i of a row of a quantized format. */
static inline void unpack_unit(enum kern_type type, const void *row, int32_t i, struct unit *u)
{
    int32_t block = i / SUPER_UNITS, sub = i % SUPER_UNITS; /* for the 256-weight formats */
    switch (type) {
    case KERN_Q8_0:
        unpack_q8_0((const struct block_q8_0 *)row + i, u);
        break;
    case KERN_Q4_0:
        unpack_q4_0((const struct block_q4_0 *)row + i, u);
        break;
    case KERN_Q4_1:
        unpack_q4_1((const struct block_q4_1 *)row + i, u);
        break;
    case KERN_Q5_0:
        unpack_q5_0((const struct block_q5_0 *)row + i, u);
        break;
    case KERN_Q5_1:
        unpack_q5_1((const struct block_q5_1 *)row + i, u);
        break;
    case KERN_IQ4_NL:
        unpack_iq4_nl((const struct block_q4_0 *)row + i, u);
        break;
    case KERN_Q2_K:
        unpack_q2_k((const struct block_q2_k *)row + block, sub, u);
        break;
    case KERN_Q3_K:
        unpack_q3_k((const struct block_q3_k *)row + block, sub, u);
        break;
    case KERN_Q4_K:
        unpack_q4_k((const struct block_q4_k *)row + block, sub, u);
        break;
    case KERN_Q5_K:
        unpack_q5_k((const struct block_q5_k *)row + block, sub, u);
        break;
    case KERN_Q6_K:
        unpack_q6_k((const struct block_q6_k *)row + block, sub, u);
        break;
    case KERN_IQ4_XS:
        unpack_iq4_xs((const struct block_iq4_xs *)row + block, sub, u);
        break;
    default:
        memset(u, 0, sizeof *u);
        break; /* not quantized: callers do not ask */
    }
}

#endif
