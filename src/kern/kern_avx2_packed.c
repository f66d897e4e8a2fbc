/* Matrix products of packed weights (kern/pack.h) with AVX2.
 *
 * A few tokens are multiplied with the weights as they are stored, in one pass that is bound by memory
 * bandwidth. For more tokens than a tile holds, weights that are not whole bytes are unpacked once, into a
 * panel in the first-level cache. */
#if defined(__AVX2__)

#include "kern/tile_avx2.h"

ALWAYS_INLINE struct tile_class class_of(struct packed_format f)
{
    switch (f.type) {
    case KERN_Q8_0:
    case KERN_IQ4_NL:
        return TILE_SIGNED;
    case KERN_Q4_0:
        return TILE_4_OFFSET;
    case KERN_Q5_0:
        return TILE_5_OFFSET;
    case KERN_Q6_K:
        return TILE_6_HALVES;
    case KERN_Q5_1:
    case KERN_Q5_K:
        return TILE_5_MIN;
    default:
        return TILE_4_MIN;
    }
}

/* The integer scales of both halves, as struct panel_unit has them. */
ALWAYS_INLINE void load_scale_pairs(const uint8_t *unit, struct v16i pairs[2])
{
    for (int32_t i = 0; i < 4; i++) {
        __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(unit + 8 * i)));
        pairs[i / 2].v[i % 2] = _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xaa);
    }
}

ALWAYS_INLINE struct tile_scales load_scales(struct packed_format f, const uint8_t *header,
                                             const uint8_t *unit)
{
    const struct packed_scales s = packed_scales(f, header, unit);
    if (!f.has_halves) return (struct tile_scales){s.d[0], {s.m}};
    const struct v16f offset = v16_set1(-(float)f.offset); /* of each half it makes a minimum */
    return (struct tile_scales){v16_load_f16(header), {v16_mul(s.d[0], offset), v16_mul(s.d[1], offset)}};
}

/* Where a run begins in the packed matrix. */
ALWAYS_INLINE const uint8_t *run_data(const struct tile_run *r, struct packed_format f)
{
    return (const uint8_t *)r->w->packed +
           (size_t)(r->row / PACK_ROWS) * pack_panel_bytes(f.type, r->w->n_cols) +
           (size_t)(r->unit / f.n_units) * packed_block_bytes(f);
}

/* A run times n_tokens (constant) tokens. */
ALWAYS_INLINE void multiply_tile(const struct tile_run *r, const struct tile_token *tokens, int32_t n_tokens,
                                 bool must_prefetch, struct packed_format f)
{
    struct v16f acc[TILE_TOKENS];
    tile_begin(tokens, n_tokens, r->is_first, acc);
    const uint8_t *block = run_data(r, f);
    for (int32_t u = 0; u < r->n_units; block += packed_block_bytes(f)) {
        const uint8_t *unit = block + f.header_bytes;
        for (int32_t i = 0; i < f.n_units; i++, u++, unit += f.unit_bytes) {
            if (must_prefetch) prefetch(unit + PREFETCH_BYTES, f.unit_bytes);
            struct v16i scale[2], sums[TILE_TOKENS];
            if (f.has_halves) load_scale_pairs(unit, scale);
            tile_dot(f, unit, scale, class_of(f), tokens, (size_t)u, n_tokens, sums);
            const struct tile_scales w = load_scales(f, block, unit);
            tile_add(&w, class_of(f), tokens, (size_t)u, n_tokens, sums, acc);
        }
    }
    tile_end(tokens, n_tokens, acc);
}

ALWAYS_INLINE void multiply(const struct tile_run *r, struct packed_format f)
{
    struct tile_token tokens[TILE_TOKENS];
    for (int32_t t = 0; t < r->n_tokens; t += TILE_TOKENS) {
        const bool must_prefetch = t == 0; /* afterwards the weights are in the cache */
        switch (tile_take(r, t, tokens)) {
        case 1:
            multiply_tile(r, tokens, 1, must_prefetch, f);
            break;
        case 2:
            multiply_tile(r, tokens, 2, must_prefetch, f);
            break;
        case 3:
            multiply_tile(r, tokens, 3, must_prefetch, f);
            break;
        default:
            multiply_tile(r, tokens, 4, must_prefetch, f);
            break;
        }
    }
}

/* Unpack a run of at most TILE_RUN_UNITS. */
ALWAYS_INLINE void unpack(const struct tile_run *r, struct packed_format f)
{
    const struct tile_class c = class_of(f);
    const uint8_t *block = run_data(r, f);
    struct panel_unit *p = r->panel, *end = p + r->n_units;
    for (; p < end; block += packed_block_bytes(f)) {
        const uint8_t *unit = block + f.header_bytes;
        for (int32_t i = 0; i < f.n_units; i++, p++, unit += f.unit_bytes) {
            prefetch(unit + PREFETCH_BYTES, f.unit_bytes);
            const struct tile_scales w = load_scales(f, block, unit);
            v16_store_f32(p->d, w.d);
            if (c.has_min) v16_store_f32(p->m[0], w.m[0]);
            if (c.has_halves) {
                struct v16i scale[2];
                load_scale_pairs(unit, scale);
                v16_store_f32(p->m[1], w.m[1]);
                v16_store_bytes(p->scale[0], scale[0]);
                v16_store_bytes(p->scale[1], scale[1]);
            }
            UNROLL
            for (int32_t s = 0; s < PACKED_STEPS; s++) v16_store_bytes(p->q[s], tile_step(f, unit, s));
        }
    }
}

ALWAYS_INLINE void run(const struct tile_run *r, struct packed_format f)
{
    if (r->n_tokens <= TILE_TOKENS) {
        multiply(r, f);
        return;
    }
    for (int32_t u = 0; u < r->n_units; u += TILE_RUN_UNITS) {
        const struct tile_run part = tile_run_part(r, u);
        if (f.type == KERN_Q8_0) {
            multiply(&part, f);
        } else {
            unpack(&part, f);
            kern_avx2_multiply_panel(&part, class_of(f));
        }
    }
}

/* One instance for each format. */
typedef void matmul_fn(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                       float *y, size_t y_stride, void *scratch);

#define DEFINE_MATMUL(type, name, format)                                                                    \
    static void run_##name(const struct tile_run *r)                                                         \
    {                                                                                                        \
        run(r, format);                                                                                      \
    }                                                                                                        \
    static void matmul_##name(const struct kern_mat *w, const struct kern_act *x, int32_t row0,              \
                              int32_t row1, float *y, size_t y_stride, void *scratch)                        \
    {                                                                                                        \
        tile_matmul(w, x, row0, row1, y, y_stride, scratch, format.offset, class_of(format), run_##name);    \
    }
PACKED_FORMATS(DEFINE_MATMUL)

void kern_avx2_matmul_packed(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                             float *y, size_t y_stride, void *scratch)
{
    _Static_assert(sizeof(struct tile_scratch) <= KERN_SCRATCH_BYTES, "the panel fits the scratch");
    static matmul_fn *const instances[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = matmul_##name,
        PACKED_FORMATS(ENTRY)
#undef ENTRY
    };
    instances[w->type](w, x, row0, row1, y, y_stride, scratch);
}

#else
typedef int kern_avx2_packed_unused; /* a translation unit must declare something */
#endif
