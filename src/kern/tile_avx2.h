/* Products of a panel of 16 rows with tiles of up to four tokens in AVX2 registers, and how a matrix is cut
 * into such products.
 *
 * Weights lie in steps of four columns as kern/pack.h describes, so a 32-bit lane sums up one row and no sums
 * across lanes are needed. For each unit of 32 columns a token gets an integer sum, then one fixed
 * sequence of operations in F32, unit after unit. So its result depends neither on the tile that it is
 * in nor on how units are grouped into runs: sums that wait in y between runs are exact. */
#ifndef KERN_TILE_AVX2_H
#define KERN_TILE_AVX2_H

#include "kern/isa.h"
#include "kern/v16_avx2.h"

#include "kern/packed_unit.h"

#define TILE_TOKENS 4 /* 8 registers of sums in 16 bits; the float sums wait in memory */

/* Units multiplied with all tokens before the next: a panel of 16 unpacked ones (12 KB) and the activations
 * of a tile fit a first-level cache of 32 KB. A multiple of SUPER_UNITS. */
#define TILE_RUN_UNITS 16

/* What the product must know of a format; passed by value as a constant, and folded away by inlining. */
struct tile_class {
    bool is_signed;  /* weights are int8; else uint8 */
    int32_t depth;   /* how many sums of two products, of a weight and |x| <= 127, add up in 16 bits: 32767 /
                      * (2 * 127 * largest weight), as a power of two */
    bool has_offset; /* what is taken off all weights */
    bool has_min;    /* what is added to all weights of a unit, */
    bool has_halves; /* or of half a unit, which then also has an integer scale of its own; true with has_min
                      */
};

#define TILE_SIGNED   ((struct tile_class){.is_signed = true, .depth = 1})
#define TILE_4_OFFSET ((struct tile_class){.depth = 8, .has_offset = true})
#define TILE_4_MIN    ((struct tile_class){.depth = 8, .has_min = true})
#define TILE_5_OFFSET ((struct tile_class){.depth = 4, .has_offset = true})
#define TILE_5_MIN    ((struct tile_class){.depth = 4, .has_min = true})
#define TILE_6_HALVES ((struct tile_class){.depth = 2, .has_min = true, .has_halves = true})

/* A token in one unit: the scale, and the sums of the activations of each half (without halves, s[0] is that
 * of all), times minus the offset if there is one. */
struct tile_factors {
    float d, s[2];
};

/* The factors of 16 rows in one unit; minima of each half as above. */
struct tile_scales {
    struct v16f d, m[2];
};

/* A token from some unit on. */
struct tile_token {
    const int8_t *q;
    const struct tile_factors *factors;
    float *y; /* of 16 rows */
};

/* 16 rows of one unit, unpacked. What the class lacks is not set. */
struct panel_unit {
    _Alignas(64) uint8_t q[PACKED_STEPS][PACK_ROWS][4]; /* or int8_t */
    float d[PACK_ROWS], m[2][PACK_ROWS];
    int32_t scale[2][PACK_ROWS]; /* of each half: twice, in both halves of its lane */
};

/* Weights are fetched this far ahead of their use, since the processor's own prefetching stops at the end of
 * each page. Measured: one token times weights in memory is 1.2 to 1.4 times as fast as without; half and
 * twice the distance do as well. */
#define PREFETCH_BYTES 8192

/* Addresses past the end of the weights are harmless. */
ALWAYS_INLINE void prefetch(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) _mm_prefetch((const char *)p + i, _MM_HINT_T0);
}

/* How far ahead to prefetch where several rows are read side by side, which have rows_bytes together: whole
 * groups of rows, at least PREFETCH_BYTES. */
ALWAYS_INLINE size_t prefetch_distance(size_t rows_bytes)
{
    return rows_bytes ? (PREFETCH_BYTES + rows_bytes - 1) / rows_bytes * rows_bytes : 0;
}

/* Compute a vector here. Otherwise the compiler reorders sums so that many products are alive at once, which
 * do not fit the registers. */
#define IN_REGISTER(v) __asm__("" : "+x"(v))

/* Sums of pairs of products q * x in 16 bits, added to *pairs or, if this is the first, put there. */
ALWAYS_INLINE void tile_multiply(struct v16i q, const int8_t x[4], bool is_signed, bool is_first,
                                 struct v16i *pairs)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    const __m256i all = _mm256_set1_epi32(four);
    for (int32_t g = 0; g < 2; g++) {
        __m256i product = is_signed
                              ? _mm256_maddubs_epi16(_mm256_abs_epi8(q.v[g]), _mm256_sign_epi8(all, q.v[g]))
                              : _mm256_maddubs_epi16(q.v[g], all);
        pairs->v[g] = is_first ? product : _mm256_add_epi16(pairs->v[g], product);
        IN_REGISTER(pairs->v[g]);
    }
}

/* Pairs, times integer scales if there are any, to sums of 32 bits, added to *sums or, if they are the first,
 * put there. */
ALWAYS_INLINE void tile_widen(struct v16i pairs, const struct v16i *scale, bool is_first, struct v16i *sums)
{
    for (int32_t g = 0; g < 2; g++) {
        __m256i sum = _mm256_madd_epi16(pairs.v[g], scale ? scale->v[g] : _mm256_set1_epi16(1));
        sums->v[g] = is_first ? sum : _mm256_add_epi32(sums->v[g], sum);
        IN_REGISTER(sums->v[g]);
    }
}

/* The weights of step s: those of Q8_0 and IQ4_NL signed, others as packed_step has them. */
ALWAYS_INLINE struct v16i tile_step(struct packed_format f, const uint8_t *unit, int32_t s)
{
    if (f.type == KERN_Q8_0) return v16_load(unit + sizeof(struct v16i) * (size_t)s);
    if (f.type == KERN_IQ4_NL)
        return v16_lookup((const uint8_t *)block_iq4_values, packed_nibbles(unit + f.nibbles_at, s));
    return packed_step(f, unit, s);
}

/* sums[t] = unit u, of which the weights are read in format f, times each of n_tokens (constant) tokens.
 * scale: as in struct panel_unit, where the class has halves. */
ALWAYS_INLINE void tile_dot(struct packed_format f, const uint8_t *unit, const struct v16i scale[2],
                            struct tile_class c, const struct tile_token *tokens, size_t u, int32_t n_tokens,
                            struct v16i sums[])
{
    UNROLL
    for (int32_t s = 0; s < PACKED_STEPS; s += c.depth) {
        struct v16i pairs[TILE_TOKENS];
        UNROLL
        for (int32_t i = s; i < s + c.depth; i++) {
            const struct v16i q = tile_step(f, unit, i);
            for (int32_t t = 0; t < n_tokens; t++)
                tile_multiply(q, tokens[t].q + u * PACK_UNIT + 4 * i, c.is_signed, i == s, &pairs[t]);
        }
        const struct v16i *half = c.has_halves ? &scale[s / (PACKED_STEPS / 2)] : NULL;
        for (int32_t t = 0; t < n_tokens; t++) tile_widen(pairs[t], half, s == 0, &sums[t]);
    }
}

/* acc[t] += unit u times token t, from the integer sums. */
ALWAYS_INLINE void tile_add(const struct tile_scales *w, struct tile_class c, const struct tile_token *tokens,
                            size_t u, int32_t n_tokens, const struct v16i sums[], struct v16f acc[])
{
    for (int32_t t = 0; t < n_tokens; t++) {
        const struct tile_factors *x = &tokens[t].factors[u];
        struct v16f sum = v16_float(sums[t]), d = v16_set1(x->d);
        sum = c.has_offset ? v16_fma(sum, d, v16_set1(x->s[0])) : v16_mul(sum, d);
        acc[t] = v16_fma(sum, w->d, acc[t]);
        if (c.has_min) acc[t] = v16_fma(w->m[0], v16_set1(x->s[0]), acc[t]);
        if (c.has_halves) acc[t] = v16_fma(w->m[1], v16_set1(x->s[1]), acc[t]);
    }
}

/* Some units of a panel of 16 rows, which several tokens are to be multiplied with. */
struct tile_run {
    const struct kern_mat *w;
    int32_t row, n_rows; /* of the panel; fewer than 16 at the end of the matrix */
    int32_t unit, n_units;
    bool is_first; /* of the row; then y is overwritten, else added to */
    int32_t n_tokens;
    struct tile_token tokens; /* the first, at `unit`, and what is from one to the next: */
    size_t q_stride, factors_stride, y_stride;
    struct panel_unit *panel; /* scratch: TILE_RUN_UNITS */
};

/* Units begin.. of a run, at most TILE_RUN_UNITS. */
ALWAYS_INLINE struct tile_run tile_run_part(const struct tile_run *r, int32_t begin)
{
    struct tile_run part = *r;
    part.unit += begin;
    part.n_units = r->n_units - begin < TILE_RUN_UNITS ? r->n_units - begin : TILE_RUN_UNITS;
    part.is_first &= begin == 0;
    part.tokens.q += (size_t)begin * PACK_UNIT;
    part.tokens.factors += begin;
    return part;
}

/* Tokens t.. of a run, up to a whole tile; returns how many. */
ALWAYS_INLINE int32_t tile_take(const struct tile_run *r, int32_t t, struct tile_token tokens[TILE_TOKENS])
{
    const int32_t n = r->n_tokens - t < TILE_TOKENS ? r->n_tokens - t : TILE_TOKENS;
    for (int32_t i = 0; i < n; i++) {
        const size_t at = (size_t)t + (size_t)i;
        tokens[i].q = r->tokens.q + at * r->q_stride;
        tokens[i].factors = r->tokens.factors + at * r->factors_stride;
        tokens[i].y = r->tokens.y + at * r->y_stride;
    }
    return n;
}

ALWAYS_INLINE void tile_begin(const struct tile_token *tokens, int32_t n_tokens, bool is_first,
                              struct v16f acc[])
{
    for (int32_t t = 0; t < n_tokens; t++) acc[t] = is_first ? v16_zero() : v16_load_f32(tokens[t].y);
}

ALWAYS_INLINE void tile_end(const struct tile_token *tokens, int32_t n_tokens, const struct v16f acc[])
{
    for (int32_t t = 0; t < n_tokens; t++) v16_store_f32(tokens[t].y, acc[t]);
}

/* The run r, whose weights are in r->panel; c is one of the classes above. kern_avx2_panel.c */
void kern_avx2_multiply_panel(const struct tile_run *r, struct tile_class c);

/* How many tokens, and factors of all their units, are prepared at a time. 128 tokens by 1,024 columns leave
 * the activations in the second-level cache; a few tokens have all their columns prepared at once, so that
 * the weights are read straight through. */
#define TILE_CHUNK_TOKENS  128
#define TILE_CHUNK_FACTORS 4096

struct tile_scratch {
    struct panel_unit panel[TILE_RUN_UNITS + SUPER_UNITS]; /* the last are written to, but hold nothing */
    struct tile_factors factors[TILE_CHUNK_FACTORS];
    float y[TILE_CHUNK_TOKENS][PACK_ROWS]; /* of a panel with fewer rows */
};

/* The factors of units unit..unit+n_units-1 of tokens token..token+n_tokens-1. */
ALWAYS_INLINE void tile_prepare(const struct kern_act *x, int32_t token, int32_t n_tokens, int32_t unit,
                                int32_t n_units, float offset, struct tile_class c,
                                struct tile_factors *factors)
{
    const float times = c.has_offset ? -offset : 1;
    for (int32_t t = token; t < token + n_tokens; t++) {
        const size_t at = (size_t)t * (size_t)(x->n_cols / PACK_UNIT) + (size_t)unit;
        const float *d = x->d + at, *s = x->s + 2 * at;
        for (int32_t u = 0; u < n_units; u++, factors++, s += 2) {
            factors->d = d[u];
            factors->s[0] = times * (c.has_halves ? s[0] : s[0] + s[1]);
            factors->s[1] = times * s[1];
        }
    }
}

/* Multiplies all units of a run. */
typedef void tile_run_fn(const struct tile_run *r);

/* One panel, of which perhaps fewer than 16 rows are there, through `run`. */
ALWAYS_INLINE void tile_run_panel(struct tile_run *r, float *y, size_t y_stride, struct tile_scratch *scratch,
                                  tile_run_fn *run)
{
    const bool is_whole = r->n_rows == PACK_ROWS;
    r->tokens.y = is_whole ? y : scratch->y[0];
    r->y_stride = is_whole ? y_stride : PACK_ROWS;
    const size_t bytes = (size_t)r->n_rows * sizeof *y;
    for (int32_t t = 0; t < r->n_tokens && !is_whole && !r->is_first; t++)
        memcpy(scratch->y[t], y + (size_t)t * y_stride, bytes);
    run(r);
    for (int32_t t = 0; t < r->n_tokens && !is_whole; t++)
        memcpy(y + (size_t)t * y_stride, scratch->y[t], bytes);
}

/* kern.matmul through `run` (constant). offset: what is taken off all weights. */
ALWAYS_INLINE void tile_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                               float *y, size_t y_stride, struct tile_scratch *scratch, float offset,
                               struct tile_class c, tile_run_fn *run)
{
    const int32_t n_units = w->n_cols / PACK_UNIT;
    struct tile_run r = {.w = w, .q_stride = (size_t)w->n_cols, .panel = scratch->panel};
    for (int32_t token = 0; token < x->n_tokens; token += r.n_tokens) {
        const int32_t left = x->n_tokens - token;
        r.n_tokens = left < TILE_CHUNK_TOKENS ? left : TILE_CHUNK_TOKENS;
        const int32_t max_units = TILE_CHUNK_FACTORS / r.n_tokens / SUPER_UNITS * SUPER_UNITS;
        for (r.unit = 0; r.unit < n_units; r.unit += r.n_units) {
            r.n_units = n_units - r.unit < max_units ? n_units - r.unit : max_units;
            r.is_first = r.unit == 0;
            tile_prepare(x, token, r.n_tokens, r.unit, r.n_units, offset, c, scratch->factors);
            r.tokens.q = x->q + (size_t)token * r.q_stride + (size_t)r.unit * PACK_UNIT;
            r.tokens.factors = scratch->factors;
            r.factors_stride = (size_t)r.n_units;
            for (r.row = row0; r.row < row1; r.row += PACK_ROWS) {
                r.n_rows = row1 - r.row < PACK_ROWS ? row1 - r.row : PACK_ROWS;
                tile_run_panel(&r, y + (size_t)token * y_stride + r.row, y_stride, scratch, run);
            }
        }
    }
}

#endif
