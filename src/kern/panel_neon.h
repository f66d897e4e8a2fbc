/* Reading packed panels (kern/pack.h) with NEON: where the parts of a unit lie, its weights as signed bytes,
 * its scales as floats. Everything is inlined with a constant struct panel_format, so that each format gets
 * code of its own from one text.
 *
 * A vector of four rows by four columns is what sdot multiplies with four activations, one 32-bit lane for
 * each row. "Quad" k means rows 4 k .. 4 k + 3 of the panel. */
#ifndef KERN_PANEL_NEON_H
#define KERN_PANEL_NEON_H

#include "kern/block.h"
#include "kern/kern.h"
#include "kern/pack.h"
#include "kern/vec_neon.h"

#define QUADS (PACK_ROWS / 4)
#define STEPS (PACK_UNIT / 4)

/* How a unit stores its weights, and what unit_weights makes of them. Taking the offset off while the bits
 * stand at the top of their byte costs less than doing it after they were shifted down: the offset is then
 * the sign bit. Such weights come out multiplied by a power of two, which goes into the scale. */
enum panel_weights {
    WEIGHTS_BYTES,       /* q */
    WEIGHTS_4_BITS,      /* q */
    WEIGHTS_4_BITS_LESS, /* 16 (q - 8) */
    WEIGHTS_TABLE,       /* block_iq4_values[q] */
    WEIGHTS_5_BITS,      /* 8 (q - 16) */
    WEIGHTS_6_BITS       /* 4 (q - 32) */
};

struct panel_format {
    enum panel_weights weights;
    bool has_min;
    bool is_super;   /* a K format: blocks of eight units, with integer scales for each unit */
    bool has_halves; /* each half unit has its own scale */
};

#define PANEL_Q8_0   ((struct panel_format){.weights = WEIGHTS_BYTES})
#define PANEL_Q4_0   ((struct panel_format){.weights = WEIGHTS_4_BITS_LESS})
#define PANEL_Q4_1   ((struct panel_format){.weights = WEIGHTS_4_BITS, .has_min = true})
#define PANEL_Q5_0   ((struct panel_format){.weights = WEIGHTS_5_BITS})
#define PANEL_Q5_1   ((struct panel_format){.weights = WEIGHTS_5_BITS, .has_min = true})
#define PANEL_IQ4_NL ((struct panel_format){.weights = WEIGHTS_TABLE})
#define PANEL_Q4_K   ((struct panel_format){.weights = WEIGHTS_4_BITS, .has_min = true, .is_super = true})
#define PANEL_Q5_K   ((struct panel_format){.weights = WEIGHTS_5_BITS, .has_min = true, .is_super = true})
#define PANEL_Q6_K   ((struct panel_format){.weights = WEIGHTS_6_BITS, .is_super = true, .has_halves = true})

/* X(type, name, format) for every packed format. */
#define PANEL_FORMATS(X)                                                                                     \
    X(KERN_Q8_0, q8_0, PANEL_Q8_0)                                                                           \
    X(KERN_Q4_0, q4_0, PANEL_Q4_0)                                                                           \
    X(KERN_Q4_1, q4_1, PANEL_Q4_1)                                                                           \
    X(KERN_Q5_0, q5_0, PANEL_Q5_0)                                                                           \
    X(KERN_Q5_1, q5_1, PANEL_Q5_1)                                                                           \
    X(KERN_IQ4_NL, iq4_nl, PANEL_IQ4_NL)                                                                     \
    X(KERN_Q4_K, q4_k, PANEL_Q4_K)                                                                           \
    X(KERN_Q5_K, q5_k, PANEL_Q5_K)                                                                           \
    X(KERN_Q6_K, q6_k, PANEL_Q6_K)

/* The parts of one unit. */
struct panel_unit {
    const uint8_t *d;      /* F16 d[16], then, where the format has minima, m[16] */
    const uint8_t *scales; /* K formats: of the unit */
    const uint8_t *weights;
};

/* Bytes of a unit's weights. */
ALWAYS_INLINE size_t panel_weight_bytes(enum panel_weights w)
{
    switch (w) {
    case WEIGHTS_BYTES:
        return STEPS * 64;
    case WEIGHTS_5_BITS:
        return STEPS / 2 * 64 + 64;
    case WEIGHTS_6_BITS:
        return STEPS / 2 * 64 + 128;
    default:
        return STEPS / 2 * 64;
    }
}

/* Unit number u of a panel. */
ALWAYS_INLINE struct panel_unit panel_unit_at(struct panel_format f, const uint8_t *panel, int32_t u)
{
    const size_t head = f.has_min ? 64 : 32, weights = panel_weight_bytes(f.weights);
    if (!f.is_super) {
        const uint8_t *p = panel + (size_t)u * (head + weights);
        return (struct panel_unit){p, NULL, p + head};
    }
    const size_t scales = 32; /* scale and min, or the scales of two halves */
    const uint8_t *block = panel + (size_t)(u / SUPER_UNITS) * (head + SUPER_UNITS * (scales + weights));
    const uint8_t *p = block + head + (size_t)(u % SUPER_UNITS) * (scales + weights);
    return (struct panel_unit){block, p, p + scales};
}

/* Quad k's weights of steps i (to w[0]) and i + 4 (to w[1]), 0 <= i < 4. */
ALWAYS_INLINE void panel_weights(enum panel_weights format, const uint8_t *from, int32_t i, int32_t k,
                                 int8x16_t w[2])
{
    const uint8_t *at = from + 64 * i + 16 * k;
    const uint8x16_t high_half = vdupq_n_u8(0xf0);
    uint8x16_t v = vld1q_u8(format == WEIGHTS_5_BITS ? at + 64 : at), low, high;
    switch (format) {
    case WEIGHTS_BYTES:
        low = v;
        high = vld1q_u8(at + 256);
        break;
    case WEIGHTS_4_BITS:
        low = vbicq_u8(v, high_half);
        high = v >> 4;
        break;
    case WEIGHTS_4_BITS_LESS:
        v = veorq_u8(v, vdupq_n_u8(0x88));
        low = v << 4;
        high = vandq_u8(v, high_half);
        break;
    case WEIGHTS_TABLE:
        low = vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(block_iq4_values), vbicq_u8(v, high_half)));
        high = vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(block_iq4_values), v >> 4));
        break;
    case WEIGHTS_5_BITS: { /* shift right and insert: four bits below the fifth, zeros at the bottom */
        uint8x16_t fifth = vmvnq_u8(vld1q_u8(from + 16 * k));
        low = vsriq_n_u8(fifth << (7 - i), v << 4, 1);
        high = vsriq_n_u8(fifth << (3 - i), vandq_u8(v, high_half), 1);
        break;
    }
    default: { /* WEIGHTS_6_BITS: as before, below two bits */
        const uint8_t *two = from + STEPS / 2 * 64 + 16 * k;
        uint8x16_t top[2];
        for (int32_t h = 0; h < 2; h++) {
            top[h] = veorq_u8(vld1q_u8(two + 64 * h), vdupq_n_u8(0xaa)) << (6 - 2 * i);
        }
        low = vsriq_n_u8(top[0], v << 4, 2);
        high = vsriq_n_u8(top[1], vandq_u8(v, high_half), 2);
        break;
    }
    }
    w[0] = vreinterpretq_s8_u8(low);
    w[1] = vreinterpretq_s8_u8(high);
}

/* Four unsigned bytes as floats. */
ALWAYS_INLINE float32x4_t floats_of_u8(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide)));
}

ALWAYS_INLINE float32x4_t floats_of_s8(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

/* Quad k's factors: row r = sum over halves h of d[h][r] * (weights . activations) + m[r] * sum of
 * activations. Without halves only d[0] counts, without minima no m. */
struct quad_scales {
    float32x4_t d[2], m;
};

ALWAYS_INLINE struct quad_scales panel_scales(struct panel_format f, struct panel_unit u, int32_t k)
{
    struct quad_scales s;
    const float shift = f.weights == WEIGHTS_4_BITS_LESS ? 1.0f / 16
                        : f.weights == WEIGHTS_5_BITS    ? 1.0f / 8
                        : f.weights == WEIGHTS_6_BITS    ? 1.0f / 4
                                                         : 1;
    float32x4_t d = vec_load_f16(u.d + 8 * k);
    if (shift != 1) d = vmulq_n_f32(d, shift);
    s.d[0] = s.d[1] = d;
    if (f.has_halves) {
        s.d[0] = vmulq_f32(d, floats_of_s8(u.scales + 4 * k));
        s.d[1] = vmulq_f32(d, floats_of_s8(u.scales + 16 + 4 * k));
    } else if (f.is_super) {
        s.d[0] = vmulq_f32(d, floats_of_u8(u.scales + 4 * k));
    }
    if (!f.has_min) return s;
    s.m = vec_load_f16(u.d + 32 + 8 * k);
    if (f.is_super) s.m = vnegq_f32(vmulq_f32(s.m, floats_of_u8(u.scales + 16 + 4 * k)));
    /* d q + m = d (q - 16) + (m + 16 d) */
    if (f.weights == WEIGHTS_5_BITS) s.m = vfmaq_n_f32(s.m, s.d[0], 16 / shift);
    return s;
}

/* One token's activations, from some unit on. */
struct token {
    const int8_t *q; /* [units][32] */
    const float *d;  /* [units] */
    const float *s;  /* [units][2] */
};

ALWAYS_INLINE struct token token_at(const struct kern_act *x, int32_t t, int32_t unit)
{
    size_t units = (size_t)(x->n_cols / UNIT_LEN), at = (size_t)t * units + (size_t)unit;
    return (struct token){x->q + at * UNIT_LEN, x->d + at, x->s + at * 2};
}

/* n tokens from t on; past the batch's last, the last again, whose results are dropped. */
ALWAYS_INLINE void tokens_at(const struct kern_act *x, int32_t t, int32_t unit, int32_t n, struct token *to)
{
    for (int32_t i = 0; i < n; i++) {
        to[i] = token_at(x, t + i < x->n_tokens ? t + i : x->n_tokens - 1, unit);
    }
}

#endif
