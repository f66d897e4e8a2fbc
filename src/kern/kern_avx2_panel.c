/* Unpacked panels of 16 rows times all tokens of a run: one instance for each class of formats, whichever way
 * the weights were unpacked. */
#if defined(__AVX2__)

#include "kern/tile_avx2.h"

/* Units 0..r->n_units-1 of the panel times n_tokens (constant) tokens. */
ALWAYS_INLINE void multiply_tile(const struct tile_run *r, const struct tile_token *tokens, int32_t n_tokens,
                                 struct tile_class c)
{
    const struct packed_format bytes = {.type = KERN_Q8_0};
    struct v16f acc[TILE_TOKENS];
    tile_begin(tokens, n_tokens, r->is_first, acc);
    const struct panel_unit *p = r->panel;
    for (int32_t u = 0; u < r->n_units; u++, p++) {
        const struct v16i scale[2] = {v16_load(p->scale[0]), v16_load(p->scale[1])};
        struct v16i sums[TILE_TOKENS];
        tile_dot(bytes, p->q[0][0], scale, c, tokens, (size_t)u, n_tokens, sums);
        const struct tile_scales w = {v16_load_f32(p->d), {v16_load_f32(p->m[0]), v16_load_f32(p->m[1])}};
        tile_add(&w, c, tokens, (size_t)u, n_tokens, sums, acc);
    }
    tile_end(tokens, n_tokens, acc);
}

ALWAYS_INLINE void multiply(const struct tile_run *r, struct tile_class c)
{
    struct tile_token tokens[TILE_TOKENS];
    for (int32_t t = 0; t < r->n_tokens; t += TILE_TOKENS) {
        switch (tile_take(r, t, tokens)) {
        case 1:
            multiply_tile(r, tokens, 1, c);
            break;
        case 2:
            multiply_tile(r, tokens, 2, c);
            break;
        case 3:
            multiply_tile(r, tokens, 3, c);
            break;
        default:
            multiply_tile(r, tokens, 4, c);
            break;
        }
    }
}

void kern_avx2_multiply_panel(const struct tile_run *r, struct tile_class c)
{
    if (c.is_signed) {
        multiply(r, TILE_SIGNED);
    } else if (c.depth == TILE_4_MIN.depth) {
        c.has_min ? multiply(r, TILE_4_MIN) : multiply(r, TILE_4_OFFSET);
    } else if (c.depth == TILE_5_MIN.depth) {
        c.has_min ? multiply(r, TILE_5_MIN) : multiply(r, TILE_5_OFFSET);
    } else {
        multiply(r, TILE_6_HALVES);
    }
}

#else
typedef int kern_avx2_panel_unused; /* a translation unit must declare something */
#endif
