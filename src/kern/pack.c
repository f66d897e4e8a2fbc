/* Packed weights in plain C: from the blocks of a GGUF file to the layout of pack.h.
 *
 * Works on words of four bytes: the weights of one row in one step. Shifted bits that end up in the wrong
 * byte are masked away, so the order of bytes in memory does not matter. What the bits of the file mean is
 * said by unpack.h, what the packed ones mean by pack.h. */
#include "kern/pack.h"

#include "kern/block.h"

#define STEPS     (PACK_UNIT / 4)
#define ROW_WORDS (PACK_ROWS * 4) /* bytes from a word to the same row's next */
#define HALF      0x0f0f0f0fu     /* the low four bits of each byte of a word */
#define QUARTER   0x03030303u
#define EIGHTH    0x01010101u

/* A packed block holds F16 values of each row, then units; a unit holds scales, then weights. */
struct layout {
    int32_t n_bits;        /* of a weight: 4, 5, 6 or 8; 0: the format is not packed */
    int32_t n_units;       /* in a block */
    int32_t n_f16;         /* values of each row and block: d, or d and m, */
    size_t f16_offsets[2]; /* which lie here in the file's block */
};

#define SMALL_D(bits, block)                                                                                 \
    {                                                                                                        \
        bits, 1, 1,                                                                                          \
        {                                                                                                    \
            offsetof(struct block, d)                                                                        \
        }                                                                                                    \
    }
#define SMALL_DM(bits, block)                                                                                \
    {                                                                                                        \
        bits, 1, 2,                                                                                          \
        {                                                                                                    \
            offsetof(struct block, d), offsetof(struct block, m)                                             \
        }                                                                                                    \
    }
#define SUPER_D(bits, block)                                                                                 \
    {                                                                                                        \
        bits, SUPER_UNITS, 1,                                                                                \
        {                                                                                                    \
            offsetof(struct block, d)                                                                        \
        }                                                                                                    \
    }
#define SUPER_DM(bits, block)                                                                                \
    {                                                                                                        \
        bits, SUPER_UNITS, 2,                                                                                \
        {                                                                                                    \
            offsetof(struct block, d), offsetof(struct block, dmin)                                          \
        }                                                                                                    \
    }

static const struct layout layouts[KERN_TYPE_END] = {
    [KERN_Q8_0] = SMALL_D(8, block_q8_0),   [KERN_Q4_0] = SMALL_D(4, block_q4_0),
    [KERN_IQ4_NL] = SMALL_D(4, block_q4_0), [KERN_Q4_1] = SMALL_DM(4, block_q4_1),
    [KERN_Q5_0] = SMALL_D(5, block_q5_0),   [KERN_Q5_1] = SMALL_DM(5, block_q5_1),
    [KERN_Q4_K] = SUPER_DM(4, block_q4_k),  [KERN_Q5_K] = SUPER_DM(5, block_q5_k),
    [KERN_Q6_K] = SUPER_D(6, block_q6_k),
};

/* Bytes of a packed unit's scales: two of each row. */
static size_t scales_bytes(const struct layout *l)
{
    return l->n_units > 1 ? 2 * PACK_ROWS : 0;
}

static size_t unit_bytes(const struct layout *l)
{
    return scales_bytes(l) + (size_t)l->n_bits * (PACK_ROWS * PACK_UNIT / 8);
}

static size_t f16_bytes(const struct layout *l)
{
    return (size_t)l->n_f16 * PACK_ROWS * 2;
}

static size_t block_bytes(const struct layout *l)
{
    return f16_bytes(l) + (size_t)l->n_units * unit_bytes(l);
}

size_t pack_panel_bytes(enum kern_type type, int32_t n_cols)
{
    const struct layout *l = &layouts[type];
    return l->n_bits ? (size_t)(n_cols / (l->n_units * PACK_UNIT)) * block_bytes(l) : 0;
}

size_t pack_bytes(enum kern_type type, int32_t n_rows, int32_t n_cols)
{
    return (size_t)((n_rows + PACK_ROWS - 1) / PACK_ROWS) * pack_panel_bytes(type, n_cols);
}

static uint32_t load_word(const void *p)
{
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static void store_word(void *p, uint32_t word)
{
    memcpy(p, &word, sizeof word);
}

/* The weights of one row in one unit as they are in the file, one in each byte. */
struct words {
    uint32_t step[STEPS];
};

/* 16 bytes with the first half of a unit in their low and the second in their high halves. */
static void take_halves(struct words *w, const uint8_t lo[16])
{
    for (int32_t i = 0; i < 4; i++) {
        uint32_t both = load_word(lo + 4 * i);
        w->step[i] = both & HALF;
        w->step[4 + i] = both >> 4 & HALF;
    }
}

/* Bit i of hi becomes bit 4 of weight i. */
static void take_fifth_bits(struct words *w, const uint8_t hi[4])
{
    uint32_t bits = block_u32(hi);
    for (int32_t i = 0; i < STEPS; i++) {
        /* Four copies, 7 bits apart: bit k stands 8 k above the lowest. */
        uint8_t bytes[4];
        uint32_t spread = (bits >> 4 * i & 15) * (1u + (1u << 7) + (1u << 14) + (1u << 21)) & EIGHTH;
        for (int32_t c = 0; c < 4; c++) bytes[c] = (uint8_t)(spread >> 8 * c << 4);
        w->step[i] |= load_word(bytes);
    }
}

/* Bits shift.. of 32 bytes, as many as mask leaves, become bits `to`.. of a unit's weights. */
static void take_bytes(struct words *w, const uint8_t bytes[32], int32_t shift, uint32_t mask, int32_t to)
{
    for (int32_t i = 0; i < STEPS; i++) w->step[i] |= (load_word(bytes + 4 * i) >> shift & mask) << to;
}

/* Unit u of a block of the file. */
static void take_unit(enum kern_type type, const void *block, int32_t u, struct words *w)
{
    memset(w, 0, sizeof *w);
    switch (type) {
    case KERN_Q8_0:
        memcpy(w, ((const struct block_q8_0 *)block)->q, sizeof *w);
        break;
    case KERN_Q4_0:
    case KERN_IQ4_NL:
        take_halves(w, ((const struct block_q4_0 *)block)->lo);
        break;
    case KERN_Q4_1:
        take_halves(w, ((const struct block_q4_1 *)block)->lo);
        break;
    case KERN_Q5_0:
        take_halves(w, ((const struct block_q5_0 *)block)->lo);
        take_fifth_bits(w, ((const struct block_q5_0 *)block)->hi);
        break;
    case KERN_Q5_1:
        take_halves(w, ((const struct block_q5_1 *)block)->lo);
        take_fifth_bits(w, ((const struct block_q5_1 *)block)->hi);
        break;
    case KERN_Q4_K:
        take_bytes(w, ((const struct block_q4_k *)block)->lo + 32 * (u / 2), 4 * (u % 2), HALF, 0);
        break;
    case KERN_Q5_K:
        take_bytes(w, ((const struct block_q5_k *)block)->lo + 32 * (u / 2), 4 * (u % 2), HALF, 0);
        take_bytes(w, ((const struct block_q5_k *)block)->hi, u, EIGHTH, 4);
        break;
    case KERN_Q6_K:
        take_bytes(w, ((const struct block_q6_k *)block)->lo + 64 * (u / 4) + 32 * (u % 2), 4 * (u / 2 % 2),
                   HALF, 0);
        take_bytes(w, ((const struct block_q6_k *)block)->hi + 32 * (u / 4), 2 * (u % 4), QUARTER, 4);
        break;
    default:
        break; /* not packed: callers do not ask */
    }
}

/* The weights of one row to a unit; dst is where this row's first word belongs. */
static void put_unit(const struct words *w, int32_t n_bits, uint8_t *dst)
{
    const uint32_t *step = w->step;
    if (n_bits == 8) {
        for (int32_t i = 0; i < STEPS; i++) store_word(dst + ROW_WORDS * i, step[i]);
        return;
    }
    if (n_bits == 5) {
        uint32_t fifth = 0;
        for (int32_t i = 0; i < STEPS; i++) fifth |= (step[i] >> 4 & EIGHTH) << i;
        store_word(dst, fifth);
        dst += ROW_WORDS;
    }
    for (int32_t i = 0; i < 4; i++) {
        store_word(dst + ROW_WORDS * i, (step[i] & HALF) | (step[4 + i] & HALF) << 4);
    }
    for (int32_t v = 0; v < 2 && n_bits == 6; v++) {
        uint32_t more = 0;
        for (int32_t i = 0; i < 4; i++) more |= (step[4 * v + i] >> 4 & QUARTER) << 2 * i;
        store_word(dst + ROW_WORDS * (4 + v), more);
    }
}

/* Scale and minimum u of Q4_K and Q5_K, as in unpack.h. */
static void put_k_scales(const uint8_t scales[12], int32_t u, uint8_t *dst)
{
    if (u < 4) {
        dst[0] = scales[u] & 63;
        dst[PACK_ROWS] = scales[u + 4] & 63;
    } else {
        dst[0] = (uint8_t)((scales[u + 4] & 15) | scales[u - 4] >> 6 << 4);
        dst[PACK_ROWS] = (uint8_t)(scales[u + 4] >> 4 | scales[u] >> 6 << 4);
    }
}

static void put_scales(enum kern_type type, const void *block, int32_t u, uint8_t *dst)
{
    if (type == KERN_Q4_K) put_k_scales(((const struct block_q4_k *)block)->scales, u, dst);
    if (type == KERN_Q5_K) put_k_scales(((const struct block_q5_k *)block)->scales, u, dst);
    if (type != KERN_Q6_K) return;
    const int8_t *scales = ((const struct block_q6_k *)block)->scales + 2 * u;
    dst[0] = (uint8_t)scales[0];
    dst[PACK_ROWS] = (uint8_t)scales[1];
}

/* One block of row r of a panel; dst is the packed block. */
static void put_block(enum kern_type type, const struct layout *l, const uint8_t *block, int32_t r,
                      uint8_t *dst)
{
    for (int32_t i = 0; i < l->n_f16; i++)
        memcpy(dst + 2 * (PACK_ROWS * i + r), block + l->f16_offsets[i], 2);
    dst += f16_bytes(l);
    for (int32_t u = 0; u < l->n_units; u++, dst += unit_bytes(l)) {
        struct words w;
        take_unit(type, block, u, &w);
        put_scales(type, block, u, dst + r);
        put_unit(&w, l->n_bits, dst + scales_bytes(l) + 4 * r);
    }
}

void pack_rows(const struct kern_mat *w, int32_t row0, int32_t row1, void *dst)
{
    const struct layout *l = &layouts[w->type];
    if (!l->n_bits) return;
    const size_t panel_bytes = pack_panel_bytes(w->type, w->n_cols),
                 file_block_bytes = (size_t)kern_type_info(w->type)->block_bytes;
    const int32_t n_blocks = w->n_cols / (l->n_units * PACK_UNIT);
    for (int32_t panel = row0; panel < row1; panel += PACK_ROWS) {
        uint8_t *to = (uint8_t *)dst + (size_t)(panel / PACK_ROWS) * panel_bytes;
        const int32_t n_rows = row1 - panel < PACK_ROWS ? row1 - panel : PACK_ROWS;
        const uint8_t *from = (const uint8_t *)w->data + (size_t)panel * w->row_bytes;
        if (n_rows < PACK_ROWS) memset(to, 0, panel_bytes);
        for (int32_t b = 0; b < n_blocks; b++, to += block_bytes(l), from += file_block_bytes) {
            for (int32_t r = 0; r < n_rows; r++)
                put_block(w->type, l, from + (size_t)r * w->row_bytes, r, to);
        }
    }
}
