/* What the parts of attention for x86 share: the scratch of a tile of query rows (a head of a token each),
 * and the two products, which every instruction set supplies.
 *
 * Attention goes block by block through the KV cache, with online softmax between blocks (Milakov and
 * Gimelshein, 2018; Dao et al., FlashAttention, 2022). Each block is expanded to F32 once for all rows, keys
 * transposed on the way: then both products, rows x columns x positions and rows x positions x columns, read
 * vectors of the block and broadcast single values of the rows. Rows that see the same positions of a block
 * are computed together, in groups as large as the registers allow.
 *
 * No sum depends on the group: a score adds its terms in the order of columns, an output in the order of
 * positions, each in one chain; the softmax of a row has its own fixed order. What a row gets is therefore
 * the same to the bit in every tile. Positions that a row does not see never enter its sums, not even
 * multiplied by zero, since they may hold anything. */
#ifndef KERN_ATTEND_AVX2_H
#define KERN_ATTEND_AVX2_H

#include "kern/isa.h"

/* An expanded block is stored in panels of this many positions (keys) or columns (values), two vectors of
 * AVX2 or one of AVX-512: what the products read is then contiguous, whatever head_dim. */
#define ATTEND_PANEL 16

/* Wide heads are taken in slices of this many columns: a slice of a block is half of a 32 KB first-level
 * cache, and all groups use it while it is there. */
#define ATTEND_SLICE 128

/* A group's rows are lanes of the softmax. */
#define ATTEND_GROUP_MAX 8

/* n_rows rows from `row` on that see positions from..to-1 of the block. */
struct attend_group {
    int32_t row, n_rows, from, to;
};

/* A slice of a block: columns first..first+n-1 of the head. */
struct attend_slice {
    int32_t first, n;
};

struct attend_scratch {
    /* A slice's keys [KERN_KV_BLOCK / ATTEND_PANEL][n][ATTEND_PANEL], or its values
     * [n / ATTEND_PANEL, rounded up][KERN_KV_BLOCK][ATTEND_PANEL] */
    _Alignas(64) float block[KERN_KV_BLOCK * ATTEND_SLICE];
    /* q . k, then 2^(score - max), zero where the row does not see */
    float weights[KERN_ATTEND_ROWS][KERN_KV_BLOCK];
    /* Of every row: the largest score and the sum of the weights so far, and what the values summed before
     * this block must be multiplied by. Scores are in units of log 2. Vectors may reach past the last row. */
    float max[KERN_ATTEND_ROWS + ATTEND_GROUP_MAX], sum[KERN_ATTEND_ROWS + ATTEND_GROUP_MAX];
    float shrink[KERN_ATTEND_ROWS + ATTEND_GROUP_MAX];
    const float *q[KERN_ATTEND_ROWS]; /* [head_dim] each */
    float *acc[KERN_ATTEND_ROWS];     /* [head_dim] each */
    struct attend_group groups[KERN_ATTEND_ROWS];
    int32_t n_groups;
};
_Static_assert(sizeof(struct attend_scratch) <= KERN_SCRATCH_BYTES, "the scratch suffices");

struct attend_products {
    int32_t group_rows; /* rows that these take at once; at most ATTEND_GROUP_MAX */
    /* Add the products of q and keys over a slice, for all positions, to s->weights; the slice that begins at
     * column 0 sets them. */
    void (*score)(struct attend_scratch *s, const struct attend_group *g, struct attend_slice slice);
    /* acc = shrink * acc + weights . values, for the columns of a slice, over the positions that the group
     * sees. */
    void (*add_values)(const struct attend_scratch *s, const struct attend_group *g,
                       struct attend_slice slice);
};

/* kern.attend with these products. */
void kern_avx2_attend_with(const struct attend_products *products, const struct kern_attend *a, int32_t begin,
                           int32_t end, const struct kern_attend_out *out, struct attend_scratch *s);

/* A slice of a block of keys, or of values, to F32 in the layout of attend_scratch.block; dst: 64-byte
 * aligned. */
void kern_avx2_expand_keys(enum kern_kv_type type, int32_t head_dim, const void *block,
                           struct attend_slice slice, float *dst);
void kern_avx2_expand_values(enum kern_kv_type type, int32_t head_dim, const void *block,
                             struct attend_slice slice, float *dst);

#endif
