/* What each tensor format is, and conversion between F16 and F32. */
#include "kern/kern.h"

#include <string.h>

#include "kern/block.h"

#define QUANTIZED(name, len, block)                                                                          \
    {                                                                                                        \
        name, len, sizeof(struct block), true, false                                                         \
    }

static const struct kern_type_info types[KERN_TYPE_END] = {
    [KERN_F32] = {"F32", 1, 4, false, false},
    [KERN_F16] = {"F16", 1, 2, false, false},
    [KERN_BF16] = {"BF16", 1, 2, false, false},
    [KERN_Q4_0] = QUANTIZED("Q4_0", 32, block_q4_0),
    [KERN_Q4_1] = QUANTIZED("Q4_1", 32, block_q4_1),
    [KERN_Q5_0] = QUANTIZED("Q5_0", 32, block_q5_0),
    [KERN_Q5_1] = QUANTIZED("Q5_1", 32, block_q5_1),
    [KERN_Q8_0] = QUANTIZED("Q8_0", 32, block_q8_0),
    [KERN_Q2_K] = QUANTIZED("Q2_K", 256, block_q2_k),
    [KERN_Q3_K] = QUANTIZED("Q3_K", 256, block_q3_k),
    [KERN_Q4_K] = QUANTIZED("Q4_K", 256, block_q4_k),
    [KERN_Q5_K] = QUANTIZED("Q5_K", 256, block_q5_k),
    [KERN_Q6_K] = QUANTIZED("Q6_K", 256, block_q6_k),
    [KERN_IQ4_NL] = QUANTIZED("IQ4_NL", 32, block_q4_0),
    [KERN_IQ4_XS] = QUANTIZED("IQ4_XS", 256, block_iq4_xs),
    [KERN_MXFP8] = {"MXFP8", UNIT_LEN, sizeof(struct block_mxfp8), false, true},
};

/* The sizes that the formats fix. */
_Static_assert(sizeof(struct block_q8_0) == 34 && sizeof(struct block_q4_0) == 18, "no padding");
_Static_assert(sizeof(struct block_q4_1) == 20 && sizeof(struct block_q5_0) == 22, "no padding");
_Static_assert(sizeof(struct block_q5_1) == 24 && sizeof(struct block_iq4_xs) == 136, "no padding");
_Static_assert(sizeof(struct block_q2_k) == 84 && sizeof(struct block_q3_k) == 110, "no padding");
_Static_assert(sizeof(struct block_q4_k) == 144 && sizeof(struct block_q5_k) == 176, "no padding");
_Static_assert(sizeof(struct block_q6_k) == 210 && sizeof(struct block_mxfp8) == 33, "no padding");

const struct kern_type_info *kern_type_info(uint32_t type)
{
    return type < KERN_TYPE_END && types[type].name ? &types[type] : NULL;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float kern_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) return float_of_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude < 0x0400) { /* zero or subnormal: a multiple of 2^-24 */
        float f = (float)magnitude * 0x1p-24f;
        return sign ? -f : f;
    }
    return float_of_bits(sign | ((magnitude << 13) + ((127 - 15) << 23)));
}

uint16_t kern_f32_to_f16(float f)
{
    uint32_t bits = bits_of_float(f);
    uint32_t sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (bits >> 13 & 0x3ff)); /* quiet NaN */
    if (bits >= bits_of_float(65520.0f)) return (uint16_t)(sign | 0x7c00);          /* rounds to infinity */
    if (bits < bits_of_float(0x1p-14f)) {
        /* Subnormal in F16. Adding 0.5 shifts the value so that its last F16 bit is the last bit of the
         * sum, and the addition rounds to nearest even. */
        float shifted = float_of_bits(bits) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - bits_of_float(0.5f)));
    }
    uint32_t odd = bits >> 13 & 1; /* breaks ties towards even */
    return (uint16_t)(sign | ((bits - ((127 - 15) << 23) + 0xfff + odd) >> 13));
}
