/* Quantized matrix products of large batches with smmla (FEAT_I8MM: Apple M2, Neoverse V1, Cortex-A710 and
 * later), which multiplies two rows of eight columns with two tokens: 32 products, twice those of sdot. All
 * else is that of NEON.
 *
 * smmla wants eight columns of two rows in a vector, and packed panels have four columns of four rows. Two
 * zips of two vectors turn one into the other. Per 256 bytes of weights (8 columns of 16 rows, unpacked: 8
 * vectors) and T tokens, sdot needs 8 T instructions; smmla needs 4 T, and 8 zips. Done for each use of the
 * weights that breaks even at two tokens and gains a quarter at four, where memory is the limit anyway: so
 * up to four tokens are left to sdot. In larger batches a chunk is unpacked to memory, is zipped there once,
 * and serves all tokens. Then, for four tokens by eight rows by 32 columns, sdot needs 64 instructions, and
 * smmla 32 with 8 zips of the activations; 24 that scale the sums are common to both.
 *
 * The integers are those of kern_neon_matmul.c and the floats are summed in the same order, so results are
 * equal bit by bit. */
#if defined(__ARM_FEATURE_MATMUL_INT8)

#include "kern/chunk_neon.h"
#include "kern/isa.h"

#define PAIRS  (PACK_ROWS / 2) /* of rows */
#define EIGHTS (PACK_UNIT / 8) /* groups of eight columns in a unit */

/* A chunk in the order of smmla. Scales stand twice, for two tokens. */
struct zipped {
    int8_t q[CHUNK_UNITS][EIGHTS][PAIRS][2][8];
    float d[CHUNK_UNITS][2][PACK_ROWS][2], m[CHUNK_UNITS][2][PACK_ROWS][2];
};
_Static_assert(sizeof(struct zipped) <= CHUNK_SCRATCH, "it fits the scratch");

static void zip_scales(const float from[PACK_ROWS], float to[PACK_ROWS][2])
{
    for (int32_t r = 0; r < PACK_ROWS; r += 4) {
        float32x4_t v = vld1q_f32(from + r);
        vst2q_f32(to[r], ((float32x4x2_t){{v, v}}));
    }
}

static void zip_chunk(const struct chunk *c, struct zipped *z)
{
    for (int32_t u = 0; u < c->n_units; u++) {
        const int8_t *q = c->q + (size_t)u * c->unit_bytes;
        for (int32_t i = 0; i < EIGHTS; i++, q += 2 * 64) {
            for (int32_t k = 0; k < QUADS; k++) { /* four columns, and the next four, of four rows */
                int32x4_t low = vreinterpretq_s32_s8(vld1q_s8(q + 16 * k));
                int32x4_t high = vreinterpretq_s32_s8(vld1q_s8(q + 64 + 16 * k));
                vst1q_s8(z->q[u][i][2 * k][0], vreinterpretq_s8_s32(vzip1q_s32(low, high)));
                vst1q_s8(z->q[u][i][2 * k + 1][0], vreinterpretq_s8_s32(vzip2q_s32(low, high)));
            }
        }
        for (int32_t g = 0; g < (c->has_halves ? 2 : 1); g++) {
            zip_scales(c->d[u][g], z->d[u][g]);
            if (c->has_min) zip_scales(c->m[u][g], z->m[u][g]);
        }
    }
}

/* Eight columns each of two tokens, twice. */
ALWAYS_INLINE void load_two_tokens(const int8_t *a, const int8_t *b, int8x16_t x[2])
{
    int64x2_t first = vreinterpretq_s64_s8(vld1q_s8(a)), second = vreinterpretq_s64_s8(vld1q_s8(b));
    x[0] = vreinterpretq_s8_s64(vzip1q_s64(first, second));
    x[1] = vreinterpretq_s8_s64(vzip2q_s64(first, second));
}

/* One number of each of two tokens in the order of the sums. */
ALWAYS_INLINE float32x4_t two_tokens(float a, float b)
{
    float32x2_t two = {a, b};
    return vcombine_f32(two, two);
}

/* Half a chunk's rows (8 half ..) times n_tokens (constant, even) tokens. A vector of sums has two rows by
 * two tokens. Eight rows by four tokens are 8 integer and 8 float sums; with 4 vectors of activations and
 * one of weights nothing spills. */
ALWAYS_INLINE void mmla_tile_half(const struct chunk *c, const struct zipped *z, int32_t half,
                                  const struct token *tokens, int32_t n_tokens, bool has_min, bool has_halves,
                                  float sums[][PACK_ROWS])
{
    const int32_t n_groups = has_halves ? 2 : 1, parts = 2 / n_groups; /* parts: of 16 columns */
    float32x4_t acc[4][CHUNK_TOKENS / 2];
    for (int32_t t = 0; t < n_tokens; t += 2) {
        for (int32_t k = 0; k < 2; k++) {
            float32x4_t a = vld1q_f32(sums[t] + 8 * half + 4 * k);
            float32x4_t b = vld1q_f32(sums[t + 1] + 8 * half + 4 * k);
            acc[2 * k][t / 2] = vzip1q_f32(a, b);
            acc[2 * k + 1][t / 2] = vzip2q_f32(a, b);
        }
    }
    for (int32_t u = 0; u < c->n_units; u++) {
        UNROLL
        for (int32_t g = 0; g < n_groups; g++) {
            int32x4_t dots[4][CHUNK_TOKENS / 2];
            for (int32_t p = 0; p < 4; p++) dots[p][0] = dots[p][1] = vdupq_n_s32(0);
            UNROLL
            for (int32_t part = g * parts; part < (g + 1) * parts; part++) {
                int8x16_t x[CHUNK_TOKENS / 2][2];
                for (int32_t t = 0; t < n_tokens; t += 2) {
                    const int32_t at = u * UNIT_LEN + 16 * part;
                    load_two_tokens(tokens[t].q + at, tokens[t + 1].q + at, x[t / 2]);
                }
                UNROLL
                for (int32_t i = 0; i < 2; i++) {
                    for (int32_t p = 0; p < 4; p++) {
                        int8x16_t w = vld1q_s8(z->q[u][2 * part + i][4 * half + p][0]);
                        for (int32_t t = 0; t < n_tokens / 2; t++)
                            dots[p][t] = vmmlaq_s32(dots[p][t], w, x[t][i]);
                    }
                }
            }
            float32x4_t scale[CHUNK_TOKENS / 2], total[CHUNK_TOKENS / 2];
            for (int32_t t = 0; t < n_tokens; t += 2) {
                const struct token *a = &tokens[t], *b = a + 1;
                scale[t / 2] = two_tokens(a->d[u], b->d[u]);
                if (has_min)
                    total[t / 2] =
                        two_tokens(group_sum(*a, u, g, has_halves), group_sum(*b, u, g, has_halves));
            }
            for (int32_t p = 0; p < 4; p++) {
                const int32_t row = 8 * half + 2 * p;
                for (int32_t t = 0; t < n_tokens / 2; t++) {
                    acc[p][t] = add_scaled(acc[p][t], dots[p][t], vld1q_f32(z->d[u][g][row]), scale[t]);
                    if (has_min) acc[p][t] = vfmaq_f32(acc[p][t], vld1q_f32(z->m[u][g][row]), total[t]);
                }
            }
        }
    }
    for (int32_t t = 0; t < n_tokens; t += 2) {
        for (int32_t k = 0; k < 2; k++) {
            float32x4_t a = acc[2 * k][t / 2], b = acc[2 * k + 1][t / 2];
            vst1q_f32(sums[t] + 8 * half + 4 * k, vuzp1q_f32(a, b));
            vst1q_f32(sums[t + 1] + 8 * half + 4 * k, vuzp2q_f32(a, b));
        }
    }
}

ALWAYS_INLINE void mmla_tile(const struct chunk *c, const struct token *tokens, int32_t n_tokens,
                             bool has_min, bool has_halves, float sums[][PACK_ROWS])
{
    const struct zipped *z = (const struct zipped *)(c + 1); /* where multiply_chunk puts it */
    for (int32_t half = 0; half < 2; half++)
        mmla_tile_half(c, z, half, tokens, n_tokens, has_min, has_halves, sums);
}

CHUNK_INSTANCES(mmla_tile)

static void multiply_chunk(const struct chunk *c, const struct kern_act *x, int32_t n_rows, float *y,
                           size_t y_stride, void *scratch)
{
    zip_chunk(c, scratch);
    chunk_multiply(c, x, n_rows, y, y_stride, mmla_tile_instances);
}

void kern_i8mm_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch)
{
    kern_neon_matmul_with(multiply_chunk, w, x, row0, row1, y, y_stride, scratch);
}

#else
typedef int kern_i8mm_unused; /* a translation unit must declare something */
#endif
