/* The packed formats (pack.h) as vectors of 16 rows: four columns of weights at a time, as unsigned bytes,
 * and the scales that turn them into weights. The including file brings the vectors, v16_*.h. */
#ifndef KERN_PACKED_UNIT_H
#define KERN_PACKED_UNIT_H

#include "kern/block.h"
#include "kern/pack.h"

#define PACKED_STEPS (PACK_UNIT / 4)

/* weight = d (q - offset) + m. Passed by value as a constant, and folded away by inlining. */
struct packed_format {
    enum kern_type type;
    int32_t n_units;                 /* in a block, which begins with a header: d and perhaps m */
    size_t header_bytes, unit_bytes; /* a block is a header and n_units units */
    size_t nibbles_at, bits_at;      /* within a unit: its nibbles, and further bits if there are any */
    uint8_t offset;
    bool has_min;    /* m is not zero; then offset is */
    bool has_halves; /* a d of its own for each half of a unit */
};

/* All packed formats: the type, the end of function names, and the format. */
#define PACKED_FORMATS(X)                                                                                    \
    X(KERN_Q8_0, q8_0, ((struct packed_format){KERN_Q8_0, 1, 32, 512, 0, 0, 128, false, false}))             \
    X(KERN_Q4_0, q4_0, ((struct packed_format){KERN_Q4_0, 1, 32, 256, 0, 0, 8, false, false}))               \
    X(KERN_IQ4_NL, iq4_nl, ((struct packed_format){KERN_IQ4_NL, 1, 32, 256, 0, 0, 128, false, false}))       \
    X(KERN_Q4_1, q4_1, ((struct packed_format){KERN_Q4_1, 1, 64, 256, 0, 0, 0, true, false}))                \
    X(KERN_Q5_0, q5_0, ((struct packed_format){KERN_Q5_0, 1, 32, 320, 64, 0, 16, false, false}))             \
    X(KERN_Q5_1, q5_1, ((struct packed_format){KERN_Q5_1, 1, 64, 320, 64, 0, 0, true, false}))               \
    X(KERN_Q4_K, q4_k, ((struct packed_format){KERN_Q4_K, 8, 64, 288, 32, 0, 0, true, false}))               \
    X(KERN_Q5_K, q5_k, ((struct packed_format){KERN_Q5_K, 8, 64, 352, 96, 32, 0, true, false}))              \
    X(KERN_Q6_K, q6_k, ((struct packed_format){KERN_Q6_K, 8, 32, 416, 32, 288, 32, false, true}))

ALWAYS_INLINE size_t packed_block_bytes(struct packed_format f)
{
    return f.header_bytes + (size_t)f.n_units * f.unit_bytes;
}

/* The nibbles of step s (constant). */
ALWAYS_INLINE struct v16i packed_nibbles(const uint8_t *nibbles, int32_t s)
{
    struct v16i both = v16_load(nibbles + s % 4 * 64);
    return v16_and(s < 4 ? both : v16_shift(both, -4), 15);
}

/* The bytes q of step s (constant) of a unit. */
ALWAYS_INLINE struct v16i packed_step(struct packed_format f, const uint8_t *unit, int32_t s)
{
    const uint8_t *nibbles = unit + f.nibbles_at, *bits = unit + f.bits_at;
    switch (f.type) {
    case KERN_Q8_0:
        return v16_flip(v16_load(unit + s * 64), 128); /* adds 128 */
    case KERN_IQ4_NL: {
        static const uint8_t table[16] = {/* block_iq4_values, 128 added */
                                          1,   24,  45,  63,  79,  93,  106, 118,
                                          129, 141, 153, 166, 181, 197, 217, 241};
        return v16_lookup(table, packed_nibbles(nibbles, s));
    }
    case KERN_Q5_0:
    case KERN_Q5_1:
    case KERN_Q5_K: /* bit s belongs at bit 4 */
        return v16_or(packed_nibbles(nibbles, s), v16_and(v16_shift(v16_load(bits), 4 - s), 16));
    case KERN_Q6_K: { /* bits 2 i and 2 i + 1 of the step's half belong at bits 4 and 5 */
        struct v16i high = v16_shift(v16_load(bits + s / 4 * 64), 4 - 2 * (s % 4));
        return v16_or(packed_nibbles(nibbles, s), v16_and(high, 48));
    }
    default:
        return packed_nibbles(nibbles, s);
    }
}

/* What belongs to the 16 rows of a unit. */
struct packed_scales {
    struct v16f d[2]; /* of each half; without halves only the first counts */
    struct v16f m;    /* counts where has_min */
};

ALWAYS_INLINE struct packed_scales packed_scales(struct packed_format f, const uint8_t *header,
                                                 const uint8_t *unit)
{
    struct packed_scales s = {.d = {v16_load_f16(header), v16_zero()}, .m = v16_zero()};
    if (f.has_min) s.m = v16_load_f16(header + 32);
    if (f.n_units == 1) return s;
    if (f.has_halves) {
        s.d[1] = v16_mul(s.d[0], v16_load_i8(unit + PACK_ROWS));
        s.d[0] = v16_mul(s.d[0], v16_load_i8(unit));
    } else {
        s.d[0] = v16_mul(s.d[0], v16_load_u8(unit));
        s.m = v16_mul(v16_mul(s.m, v16_set1(-1)), v16_load_u8(unit + PACK_ROWS));
    }
    return s;
}

#endif
