/* Quantized matrix products with NEON's dot product.
 *
 * Packed weights, up to four tokens: bound by memory bandwidth, so each vector is unpacked in registers and
 * multiplied at once. Larger batches, and matrices that are not packed: 256 columns of 16 rows at a time are
 * unpacked into a chunk (chunk_neon.h), and that is multiplied with all tokens.
 *
 * Both do the same operations in the same order for each row and token, whatever the number of tokens: the
 * integer products of a unit (or half unit) are exact, and add_scaled takes them one unit after another. */
#if defined(__ARM_FEATURE_DOTPROD)

#include "kern/chunk_neon.h"
#include "kern/isa.h"

#define TILE_TOKENS                                                                                          \
    4 /* 16 sums, 8 vectors of activations and 4 of products leave 4 registers for weights                   \
       */

/* sums[token][row] = the whole panel times n_tokens (constant) tokens. */
ALWAYS_INLINE void panel_tile(struct panel_format f, const uint8_t *panel, int32_t n_units,
                              const struct token *tokens, int32_t n_tokens, float sums[][PACK_ROWS])
{
    float32x4_t acc[TILE_TOKENS][QUADS];
    for (int32_t t = 0; t < n_tokens; t++) {
        for (int32_t k = 0; k < QUADS; k++) acc[t][k] = vdupq_n_f32(0);
    }
    for (int32_t u = 0; u < n_units; u++) {
        const struct panel_unit unit = panel_unit_at(f, panel, u);
        int8x16_t x[TILE_TOKENS][2];
        for (int32_t t = 0; t < n_tokens; t++) {
            x[t][0] = vld1q_s8(tokens[t].q + u * UNIT_LEN);
            x[t][1] = vld1q_s8(tokens[t].q + u * UNIT_LEN + 16);
        }
        UNROLL
        for (int32_t k = 0; k < QUADS; k++) {
            int32x4_t dots[TILE_TOKENS][2]; /* of each half unit; without halves all in the first */
            for (int32_t t = 0; t < n_tokens; t++) dots[t][0] = dots[t][1] = vdupq_n_s32(0);
            UNROLL
            for (int32_t i = 0; i < STEPS / 2; i++) {
                int8x16_t w[2];
                panel_weights(f.weights, unit.weights, i, k, w);
                for (int32_t t = 0; t < n_tokens; t++) {
                    int32x4_t *second = &dots[t][f.has_halves];
                    dots[t][0] = vec_dot_lane(dots[t][0], w[0], x[t][0], i);
                    *second = vec_dot_lane(*second, w[1], x[t][1], i);
                }
            }
            const struct quad_scales scales = panel_scales(f, unit, k);
            for (int32_t t = 0; t < n_tokens; t++) {
                float32x4_t d = vdupq_n_f32(tokens[t].d[u]);
                acc[t][k] = add_scaled(acc[t][k], dots[t][0], scales.d[0], d);
                if (f.has_halves) acc[t][k] = add_scaled(acc[t][k], dots[t][1], scales.d[1], d);
                if (f.has_min)
                    acc[t][k] = vfmaq_n_f32(acc[t][k], scales.m, group_sum(tokens[t], u, 0, false));
            }
        }
    }
    for (int32_t t = 0; t < n_tokens; t++) {
        for (int32_t k = 0; k < QUADS; k++) vst1q_f32(sums[t] + 4 * k, acc[t][k]);
    }
}

/* A whole panel times the up to four tokens of x. */
ALWAYS_INLINE void panel_multiply(struct panel_format f, const uint8_t *panel, const struct kern_act *x,
                                  float sums[][PACK_ROWS])
{
    int32_t n_units = x->n_cols / UNIT_LEN;
    struct token tokens[TILE_TOKENS];
    tokens_at(x, 0, 0, TILE_TOKENS, tokens);
    switch (x->n_tokens) {
    case 1:
        panel_tile(f, panel, n_units, tokens, 1, sums);
        break;
    case 2:
        panel_tile(f, panel, n_units, tokens, 2, sums);
        break;
    default:
        panel_tile(f, panel, n_units, tokens, 4, sums);
        break;
    }
}

/* Unpack c->n_units units of a panel from c->unit0 on. */
ALWAYS_INLINE void panel_unpack(struct panel_format f, const uint8_t *panel, struct chunk *c)
{
    c->has_min = f.has_min;
    c->has_halves = f.has_halves;
    c->q = c->room[0];
    c->unit_bytes = sizeof c->room[0];
    for (int32_t u = 0; u < c->n_units; u++) {
        const struct panel_unit unit = panel_unit_at(f, panel, c->unit0 + u);
        for (int32_t k = 0; k < QUADS; k++) {
            struct quad_scales scales = panel_scales(f, unit, k);
            vst1q_f32(c->d[u][0] + 4 * k, scales.d[0]);
            if (f.has_halves) vst1q_f32(c->d[u][1] + 4 * k, scales.d[1]);
            if (f.has_min) vst1q_f32(c->m[u][0] + 4 * k, scales.m);
        }
        if (f.weights == WEIGHTS_BYTES) { /* they can stay where they are */
            if (u == 0) c->q = (const int8_t *)unit.weights;
            if (u == 1) c->unit_bytes = (size_t)((const int8_t *)unit.weights - c->q);
            continue;
        }
        UNROLL
        for (int32_t k = 0; k < QUADS; k++) {
            UNROLL
            for (int32_t i = 0; i < STEPS / 2; i++) {
                int8x16_t w[2];
                panel_weights(f.weights, unit.weights, i, k, w);
                vst1q_s8(c->room[u] + 64 * i + 16 * k, w[0]);
                vst1q_s8(c->room[u] + 64 * (i + STEPS / 2) + 16 * k, w[1]);
            }
        }
    }
}

struct packed_kernels {
    void (*multiply)(const uint8_t *panel, const struct kern_act *x, float sums[][PACK_ROWS]);
    void (*unpack)(const uint8_t *panel, struct chunk *c);
};

#define DEFINE_PACKED(type, name, format)                                                                    \
    static void multiply_##name(const uint8_t *panel, const struct kern_act *x, float sums[][PACK_ROWS])     \
    {                                                                                                        \
        panel_multiply(format, panel, x, sums);                                                              \
    }                                                                                                        \
    static void unpack_##name##_panel(const uint8_t *panel, struct chunk *c)                                 \
    {                                                                                                        \
        panel_unpack(format, panel, c);                                                                      \
    }
PANEL_FORMATS(DEFINE_PACKED)

static const struct packed_kernels packed_kernels[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = {multiply_##name, unpack_##name##_panel},
    PANEL_FORMATS(ENTRY)
#undef ENTRY
};

static const uint8_t *panel_of_row(const struct kern_mat *w, int32_t row)
{
    return (const uint8_t *)w->packed + (size_t)(row / PACK_ROWS) * pack_panel_bytes(w->type, w->n_cols);
}

static int32_t rows_left(int32_t row, int32_t row1)
{
    return row1 - row < PACK_ROWS ? row1 - row : PACK_ROWS;
}

/* Packed rows times at most TILE_TOKENS tokens. */
static void multiply_panels(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                            float *y, size_t y_stride)
{
    for (int32_t r = row0; r < row1; r += PACK_ROWS) {
        float sums[TILE_TOKENS][PACK_ROWS];
        packed_kernels[w->type].multiply(panel_of_row(w, r), x, sums);
        for (int32_t t = 0; t < x->n_tokens; t++)
            rows_put(sums[t], rows_left(r, row1), y + (size_t)t * y_stride + r);
    }
}

/* Rows of any quantized matrix times any number of tokens. */
static void multiply_chunks(chunk_fn *multiply, const struct kern_mat *w, const struct kern_act *x,
                            int32_t row0, int32_t row1, float *y, size_t y_stride, void *scratch)
{
    struct chunk *c = scratch;
    int32_t n_units = w->n_cols / UNIT_LEN;
    for (int32_t r = row0; r < row1; r += PACK_ROWS) {
        int32_t n_rows = rows_left(r, row1);
        for (int32_t u = 0; u < n_units; u += CHUNK_UNITS) {
            c->unit0 = u;
            c->n_units = n_units - u < CHUNK_UNITS ? n_units - u : CHUNK_UNITS;
            if (w->packed) {
                packed_kernels[w->type].unpack(panel_of_row(w, r), c);
            } else {
                kern_neon_chunk_of_rows(w, r, n_rows, c);
            }
            multiply(c, x, n_rows, y + r, y_stride, c + 1);
        }
    }
}

void kern_neon_matmul_with(chunk_fn *multiply, const struct kern_mat *w, const struct kern_act *x,
                           int32_t row0, int32_t row1, float *y, size_t y_stride, void *scratch)
{
    _Static_assert(sizeof(struct chunk) + CHUNK_SCRATCH <= KERN_SCRATCH_BYTES, "chunks fit the scratch");
    if (!kern_type_info(w->type)->is_quantized) {
        kern_neon_matmul_floats(w, x, row0, row1, y, y_stride);
    } else if (w->packed && x->n_tokens <= TILE_TOKENS) {
        multiply_panels(w, x, row0, row1, y, y_stride);
    } else if (x->n_tokens == 1) {
        kern_neon_matmul_rows(w, x, row0, row1, y);
    } else {
        multiply_chunks(multiply, w, x, row0, row1, y, y_stride, scratch);
    }
}

/* Half a chunk's rows (8 half ..) times n_tokens (constant) tokens. Eight rows by four tokens are 8 integer
 * and 8 float sums; with 4 vectors of activations and 2 of weights nothing spills. */
ALWAYS_INLINE void dot_tile_half(const struct chunk *c, int32_t half, const struct token *tokens,
                                 int32_t n_tokens, bool has_min, bool has_halves, float sums[][PACK_ROWS])
{
    const int32_t n_groups = has_halves ? 2 : 1, parts = 2 / n_groups; /* parts: of 16 columns */
    float32x4_t acc[CHUNK_TOKENS][2];
    for (int32_t t = 0; t < n_tokens; t++) {
        for (int32_t j = 0; j < 2; j++) acc[t][j] = vld1q_f32(sums[t] + 8 * half + 4 * j);
    }
    for (int32_t u = 0; u < c->n_units; u++) {
        const int8_t *q = c->q + (size_t)u * c->unit_bytes + 32 * half;
        UNROLL
        for (int32_t g = 0; g < n_groups; g++) {
            int32x4_t dots[CHUNK_TOKENS][2];
            for (int32_t t = 0; t < n_tokens; t++) dots[t][0] = dots[t][1] = vdupq_n_s32(0);
            UNROLL
            for (int32_t part = g * parts; part < (g + 1) * parts; part++) {
                int8x16_t x[CHUNK_TOKENS];
                for (int32_t t = 0; t < n_tokens; t++)
                    x[t] = vld1q_s8(tokens[t].q + u * UNIT_LEN + 16 * part);
                UNROLL
                for (int32_t i = 0; i < 4; i++) {
                    const int8_t *step = q + 64 * (4 * part + i);
                    const int8x16_t w[2] = {vld1q_s8(step), vld1q_s8(step + 16)};
                    for (int32_t t = 0; t < n_tokens; t++) {
                        dots[t][0] = vec_dot_lane(dots[t][0], w[0], x[t], i);
                        dots[t][1] = vec_dot_lane(dots[t][1], w[1], x[t], i);
                    }
                }
            }
            for (int32_t j = 0; j < 2; j++) {
                const float32x4_t d = vld1q_f32(c->d[u][g] + 8 * half + 4 * j);
                for (int32_t t = 0; t < n_tokens; t++)
                    acc[t][j] = add_scaled(acc[t][j], dots[t][j], d, vdupq_n_f32(tokens[t].d[u]));
                if (!has_min) continue;
                const float32x4_t m = vld1q_f32(c->m[u][g] + 8 * half + 4 * j);
                for (int32_t t = 0; t < n_tokens; t++)
                    acc[t][j] = vfmaq_n_f32(acc[t][j], m, group_sum(tokens[t], u, g, has_halves));
            }
        }
    }
    for (int32_t t = 0; t < n_tokens; t++) {
        for (int32_t j = 0; j < 2; j++) vst1q_f32(sums[t] + 8 * half + 4 * j, acc[t][j]);
    }
}

ALWAYS_INLINE void dot_tile(const struct chunk *c, const struct token *tokens, int32_t n_tokens, bool has_min,
                            bool has_halves, float sums[][PACK_ROWS])
{
    for (int32_t half = 0; half < 2; half++)
        dot_tile_half(c, half, tokens, n_tokens, has_min, has_halves, sums);
}

CHUNK_INSTANCES(dot_tile)

static void multiply_chunk(const struct chunk *c, const struct kern_act *x, int32_t n_rows, float *y,
                           size_t y_stride, void *scratch)
{
    (void)scratch;
    chunk_multiply(c, x, n_rows, y, y_stride, dot_tile_instances);
}

void kern_neon_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch)
{
    kern_neon_matmul_with(multiply_chunk, w, x, row0, row1, y, y_stride, scratch);
}

#else
typedef int kern_neon_matmul_unused; /* a translation unit must declare something */
#endif
