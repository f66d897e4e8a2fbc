/* Attention with NEON. Block by block of the cache: expand 32 keys to F32 once, score them against all rows
 * (a row is one head of one token), turn scores into weights with online softmax (Milakov and Gimelshein,
 * 2018), expand 32 values, add them up. Expanding costs little: all heads that share the keys, and all tokens
 * of the tile, use what was expanded.
 *
 * A row's numbers do not depend on the other rows: its sums run over the same positions in the same order in
 * a tile of any size. Where rows do not see the same positions of a block, as at the end of the cache, each
 * adds up its own, since what lies in the others may be anything, NaN included. */
#if defined(__ARM_FEATURE_DOTPROD)

#include <math.h>

#include "kern/isa.h"
#include "kern/vec_neon.h"

#define BLOCK     KERN_KV_BLOCK
#define TILE_ROWS 4  /* 4 rows by 4 positions, or by 16 columns: 16 sums and 8 operands */
#define SCALE_LEN 32 /* values of a Q8_0 row that share one scale */

/* Positions first..end-1. */
struct range {
    int32_t first, end;
};

struct scratch {
    _Alignas(64) float expanded[BLOCK * KERN_HEAD_DIM_MAX]; /* keys, then values: [BLOCK][head_dim] */
    float weights[KERN_ATTEND_ROWS][BLOCK];                 /* scores, then weights */
    float shrink[KERN_ATTEND_ROWS];                         /* factor for what was summed before */
    struct range seen[KERN_ATTEND_ROWS];                    /* of this block; empty: first >= end */
};

/* What token t sees of begin..end-1. */
static struct range visible(const struct kern_attend *a, int32_t t, int32_t begin, int32_t end)
{
    int32_t last = a->pos + t + 1, first = a->window && last > a->window ? last - a->window : 0;
    return (struct range){begin > first ? begin : first, end < last ? end : last};
}

/* The part of r that lies in block b, relative to the block's first position; empty: first >= end. */
static struct range within_block(struct range r, int32_t b)
{
    int32_t first = r.first - b * BLOCK, end = r.end - b * BLOCK;
    return (struct range){first > 0 ? first : 0, end < BLOCK ? end : BLOCK};
}

/* Kernels go through positions in fours. */
static struct range in_fours(struct range r)
{
    return (struct range){r.first & ~3, (r.end + 3) & ~3};
}

static void expand_f16(const uint16_t *from, int32_t n, float *to)
{
    for (int32_t i = 0; i < n; i += 8) {
        uint16x8_t v = vld1q_u16(from + i);
        vst1q_f32(to + i, vec_low_f16(v));
        vst1q_f32(to + i + 4, vec_high_f16(v));
    }
}

static void expand_q8_0(const int8_t *from, const float *scales, int32_t n, float *to)
{
    for (int32_t i = 0; i < n; i += 8) {
        int16x8_t v = vmovl_s8(vld1_s8(from + i));
        float d = scales[i / SCALE_LEN];
        vst1q_f32(to + i, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), d));
        vst1q_f32(to + i + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(v)), d));
    }
}

/* Positions r of a block to F32; zeros for those that only fill up the fours. */
static void expand(enum kern_kv_type type, int32_t head_dim, const char *block, struct range r, float *to)
{
    const struct range all = in_fours(r);
    const float *scales = (const float *)(block + BLOCK * (size_t)head_dim);
    for (int32_t p = all.first; p < all.end; p++) {
        size_t at = (size_t)p * (size_t)head_dim;
        if (p < r.first || p >= r.end) {
            memset(to + at, 0, (size_t)head_dim * sizeof *to);
        } else if (type == KERN_KV_F16) {
            expand_f16((const uint16_t *)block + at, head_dim, to + at);
        } else {
            expand_q8_0((const int8_t *)block + at, scales + at / SCALE_LEN, head_dim, to + at);
        }
    }
}

/* Where query and sums of row i are. */
static const float *query_of(const struct kern_attend *a, int32_t i)
{
    return a->q + (size_t)(i / a->n_heads) * a->q_stride + (size_t)(i % a->n_heads) * (size_t)a->head_dim;
}

static float *sums_of(const struct kern_attend *a, const struct kern_attend_out *out, int32_t i)
{
    return out->acc + (size_t)(i / a->n_heads) * out->acc_stride +
           (size_t)(i % a->n_heads) * (size_t)a->head_dim;
}

/* Scores of n_rows (constant) rows from row on, for positions r. */
ALWAYS_INLINE void score_tile(const struct kern_attend *a, int32_t row, int32_t n_rows, struct range r,
                              struct scratch *s)
{
    const float *q[TILE_ROWS];
    for (int32_t j = 0; j < n_rows; j++) q[j] = query_of(a, row + j);
    for (int32_t p = r.first; p < r.end; p += 4) {
        const float *k = s->expanded + (size_t)p * (size_t)a->head_dim;
        float32x4_t acc[TILE_ROWS][4];
        for (int32_t j = 0; j < n_rows; j++) {
            for (int32_t c = 0; c < 4; c++) acc[j][c] = vdupq_n_f32(0);
        }
        for (int32_t i = 0; i < a->head_dim; i += 4) {
            float32x4_t keys[4];
            for (int32_t c = 0; c < 4; c++) keys[c] = vld1q_f32(k + c * a->head_dim + i);
            for (int32_t j = 0; j < n_rows; j++) {
                float32x4_t v = vld1q_f32(q[j] + i);
                for (int32_t c = 0; c < 4; c++) acc[j][c] = vfmaq_f32(acc[j][c], v, keys[c]);
            }
        }
        for (int32_t j = 0; j < n_rows; j++) {
            float32x4_t low = vpaddq_f32(acc[j][0], acc[j][1]), high = vpaddq_f32(acc[j][2], acc[j][3]);
            vst1q_f32(&s->weights[row + j][p], vmulq_n_f32(vpaddq_f32(low, high), a->scale));
        }
    }
}

/* All ones in the lanes of positions p .. p + 3 that are in r. */
ALWAYS_INLINE uint32x4_t mask_of(struct range r, int32_t p)
{
    const int32x4_t at = vaddq_s32(vdupq_n_s32(p), (int32x4_t){0, 1, 2, 3});
    return vandq_u32(vcgeq_s32(at, vdupq_n_s32(r.first)), vcltq_s32(at, vdupq_n_s32(r.end)));
}

/* Scores of a row to weights, zero outside of what the row sees; all: the tile's positions, in fours. */
static void weigh(float *scores, struct range seen, struct range all, float *max, float *sum, float *shrink)
{
    const float32x4_t none = vdupq_n_f32(-INFINITY);
    float32x4_t top = none, total = vdupq_n_f32(0);
    for (int32_t p = all.first; p < all.end; p += 4)
        top = vmaxnmq_f32(top, vbslq_f32(mask_of(seen, p), vld1q_f32(scores + p), none));
    const float new_max = fmaxf(*max, vmaxnmvq_f32(top));
    for (int32_t p = all.first; p < all.end; p += 4) {
        float32x4_t e = vec_exp(vsubq_f32(vld1q_f32(scores + p), vdupq_n_f32(new_max)));
        e = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(e), mask_of(seen, p)));
        vst1q_f32(scores + p, e);
        total = vaddq_f32(total, e);
    }
    *shrink = vgetq_lane_f32(vec_exp(vdupq_n_f32(*max - new_max)), 0);
    *sum = *sum * *shrink + vaddvq_f32(total);
    *max = new_max;
}

/* Scores of all rows to weights. A row that sees nothing of this block keeps what it has. */
static void weigh_rows(const struct kern_attend *a, int32_t begin, int32_t end, int32_t b, struct range all,
                       const struct kern_attend_out *out, struct scratch *s)
{
    for (int32_t i = 0; i < a->n_tokens * a->n_heads; i++) {
        s->seen[i] = within_block(visible(a, i / a->n_heads, begin, end), b);
        s->shrink[i] = 1;
        if (s->seen[i].first < s->seen[i].end)
            weigh(s->weights[i], s->seen[i], all, &out->max[i], &out->sum[i], &s->shrink[i]);
    }
}

/* -0 becomes 0, as it does where zeros that fill up the fours are added. */
ALWAYS_INLINE float32x4_t without_sign_of_zero(float32x4_t v)
{
    return vaddq_f32(v, vdupq_n_f32(0));
}

/* Add the weighted values of n_vec vectors of columns from column on, for n_rows rows (constants). */
ALWAYS_INLINE void value_tile(const struct kern_attend *a, const struct kern_attend_out *out, int32_t row,
                              int32_t n_rows, int32_t column, int32_t n_vec, struct range r,
                              const struct scratch *s)
{
    float32x4_t acc[TILE_ROWS][4];
    float *sums[TILE_ROWS];
    for (int32_t j = 0; j < n_rows; j++) {
        sums[j] = sums_of(a, out, row + j) + column;
        for (int32_t c = 0; c < n_vec; c++)
            acc[j][c] = vmulq_n_f32(vld1q_f32(sums[j] + 4 * c), s->shrink[row + j]);
    }
    for (int32_t p = r.first; p < r.end; p += 4) {
        const float *v = s->expanded + (size_t)p * (size_t)a->head_dim + column;
        float32x4_t weights[TILE_ROWS];
        for (int32_t j = 0; j < n_rows; j++) weights[j] = vld1q_f32(&s->weights[row + j][p]);
        UNROLL
        for (int32_t i = 0; i < 4; i++, v += a->head_dim) {
            for (int32_t c = 0; c < n_vec; c++) {
                float32x4_t value = vld1q_f32(v + 4 * c);
                for (int32_t j = 0; j < n_rows; j++)
                    acc[j][c] = vec_fma_lane(acc[j][c], value, weights[j], i);
            }
        }
    }
    for (int32_t j = 0; j < n_rows; j++) {
        for (int32_t c = 0; c < n_vec; c++) vst1q_f32(sums[j] + 4 * c, without_sign_of_zero(acc[j][c]));
    }
}

/* All columns of n_rows (constant) rows; head_dim is a multiple of 8. */
ALWAYS_INLINE void value_rows(const struct kern_attend *a, const struct kern_attend_out *out, int32_t row,
                              int32_t n_rows, struct range r, const struct scratch *s)
{
    int32_t column = 0;
    for (; column + 16 <= a->head_dim; column += 16) value_tile(a, out, row, n_rows, column, 4, r, s);
    if (column < a->head_dim) value_tile(a, out, row, n_rows, column, 2, r, s);
}

/* The same for one row, whose positions need not be whole fours. */
static void value_row(const struct kern_attend *a, const struct kern_attend_out *out, int32_t row,
                      struct range seen, const struct scratch *s)
{
    float *sums = sums_of(a, out, row);
    for (int32_t column = 0; column < a->head_dim; column += 8) {
        float32x4_t low = vmulq_n_f32(vld1q_f32(sums + column), s->shrink[row]);
        float32x4_t high = vmulq_n_f32(vld1q_f32(sums + column + 4), s->shrink[row]);
        for (int32_t p = seen.first; p < seen.end; p++) {
            const float *v = s->expanded + (size_t)p * (size_t)a->head_dim + column;
            low = vfmaq_n_f32(low, vld1q_f32(v), s->weights[row][p]);
            high = vfmaq_n_f32(high, vld1q_f32(v + 4), s->weights[row][p]);
        }
        vst1q_f32(sums + column, without_sign_of_zero(low));
        vst1q_f32(sums + column + 4, without_sign_of_zero(high));
    }
}

static void score_rows(const struct kern_attend *a, int32_t n_rows, struct range r, struct scratch *s)
{
    int32_t i = 0;
    for (; i + TILE_ROWS <= n_rows; i += TILE_ROWS) score_tile(a, i, TILE_ROWS, r, s);
    if (n_rows - i == 3) score_tile(a, i, 3, r, s);
    if (n_rows - i == 2) score_tile(a, i, 2, r, s);
    if (n_rows - i == 1) score_tile(a, i, 1, r, s);
}

/* How many rows from row i on, at most TILE_ROWS, see just the positions r. */
static int32_t rows_that_see(const struct scratch *s, int32_t i, int32_t n_rows, struct range r)
{
    int32_t n = 0;
    while (n < TILE_ROWS && i + n < n_rows && s->seen[i + n].first == r.first && s->seen[i + n].end == r.end)
        n++;
    return n;
}

/* Add up the values of all rows; r: the positions that were expanded. */
static void add_values(const struct kern_attend *a, const struct kern_attend_out *out, int32_t n_rows,
                       struct range r, const struct scratch *s)
{
    const struct range all = in_fours(r);
    for (int32_t i = 0; i < n_rows;) {
        int32_t n = rows_that_see(s, i, n_rows, r);
        switch (n) {
        case 0:
            value_row(a, out, i, s->seen[i], s);
            n = 1;
            break;
        case 1:
            value_rows(a, out, i, 1, all, s);
            break;
        case 2:
            value_rows(a, out, i, 2, all, s);
            break;
        case 3:
            value_rows(a, out, i, 3, all, s);
            break;
        default:
            value_rows(a, out, i, TILE_ROWS, all, s);
            break;
        }
        i += n;
    }
}

void kern_neon_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                      const struct kern_attend_out *out, void *scratch)
{
    _Static_assert(sizeof(struct scratch) <= KERN_SCRATCH_BYTES, "the blocks fit the scratch");
    struct scratch *s = scratch;
    const int32_t n_rows = a->n_tokens * a->n_heads;
    for (int32_t i = 0; i < n_rows; i++) {
        memset(sums_of(a, out, i), 0, (size_t)a->head_dim * sizeof *out->acc);
        out->max[i] = -INFINITY;
        out->sum[i] = 0;
    }
    /* What any token of the tile sees: from the first one's first to the last one's last position. */
    const struct range tile = {visible(a, 0, begin, end).first, visible(a, a->n_tokens - 1, begin, end).end};
    for (int32_t b = tile.first / BLOCK; b * BLOCK < tile.end; b++) {
        const struct range r = within_block(tile, b), all = in_fours(r);
        expand(a->type, a->head_dim, a->pages[b] + a->k_offset, r, s->expanded);
        score_rows(a, n_rows, all, s);
        weigh_rows(a, begin, end, b, all, out, s);
        expand(a->type, a->head_dim, a->pages[b] + a->v_offset, r, s->expanded);
        add_values(a, out, n_rows, r, s);
    }
}

#else
typedef int kern_neon_attend_unused; /* a translation unit must declare something */
#endif
