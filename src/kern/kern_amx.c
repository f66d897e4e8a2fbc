/* The AMX table: that of AVX-512, with large batches multiplied by TDPBF16PS (Intel SDM vol. 2): 16 tokens x
 * 16 rows x 32 columns in 16 cycles.
 *
 * Weights are expanded to bfloat16, 256 columns of 32 rows at a time, activations are rounded to it once for
 * all rows, and the inner loop knows no scales. On 8-bit weights, TDPBUSD would do twice the work in a cycle,
 * but the scales of 32 columns would have to be applied after every 8 cycles, and to take 16 rows of sums out
 * of a tile, convert, scale and add them takes 24 or more.
 *
 * A unit of 32 columns of T tokens and R rows is T R / 16 cycles of tiles, about 92 R / 16 of expanding
 * weights (184 vector instructions a panel, two a cycle) and 8 T of rounding activations, which come from the
 * second-level cache or beyond: with 512 rows, 512 tokens spend 70 % of the time in tiles, 128 tokens half,
 * 32 tokens a quarter. vpdpbusd needs 7 T R / 16.
 *
 * Error: weights and activations are rounded to 8 bits, by at most 2^-8 of their value. So a result is within
 * 2^-7 + 2^-16 of the sum of its terms' magnitudes, F32 sums aside; errors are random, n like terms are off
 * by about 2^-8 / sqrt(n). It does not depend on the number of tokens from AMX_MIN_TOKENS on.
 *
 * tests/kern runs this file with emulated tiles where the processor has none. */
#if (defined(__AMX_BF16__) && defined(__AVX512VNNI__)) || defined(KERN_EMULATE_AMX)

#include "kern/v16_avx512.h"

#include "kern/isa.h"
#include "kern/packed_unit.h"

/* Fewer are as fast with vpdpbusd, whose results are closer; kern.h promises this number. */
#define AMX_MIN_TOKENS 32

#define TILE         16 /* tokens, or rows */
#define TILE_BYTES   1024
#define BLOCK_UNITS  8   /* 256 columns: 2 x 2 tiles run for 512 cycles between loading and storing sums */
#define CHUNK_TOKENS 512 /* tokens for which a block of weights is expanded; 1/6 of the tiles' time */

/* A tile of activations: [16 tokens][32 columns]; of weights: [16 pairs of columns][16 rows][2]. */
struct tile {
    _Alignas(64) uint16_t v[TILE_BYTES / sizeof(uint16_t)]; /* bfloat16 */
};

struct amx_scratch {
    struct tile x[CHUNK_TOKENS / TILE][BLOCK_UNITS];
    struct tile w[2][BLOCK_UNITS];            /* of two panels of rows */
    _Alignas(64) float y[2 * TILE][2 * TILE]; /* where a block of results would reach over the edge */
};
_Static_assert(sizeof(struct amx_scratch) <= KERN_SCRATCH_BYTES, "the scratch suffices");

/* What ldtilecfg reads (SDM vol. 1, 18.3.3). All tiles are whole. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t n_rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as the processor defines it");

/* The compiler must have written to memory all that tiles read: the intrinsics do not tell it so (those of
 * gcc 12 name no memory, or for the configuration only its first bytes). */
#define TILES_READ_MEMORY() __asm__ volatile("" ::: "memory")

static void configure_tiles(void)
{
    struct tile_config c = {.palette = 1};
    for (int32_t i = 0; i < 8; i++) c.row_bytes[i] = 64, c.n_rows[i] = TILE;
    TILES_READ_MEMORY();
    _tile_loadconfig(&c);
}

/* 16 F32 numbers to bfloat16, in the upper halves of the lanes; the lower halves are undefined. Rounds to
 * nearest, ties away from zero. */
ALWAYS_INLINE __m512i round_bf16(__m512 f)
{
    return _mm512_add_epi32(_mm512_castps_si512(f), _mm512_set1_epi32(0x8000));
}

/* 32 numbers in a row. */
ALWAYS_INLINE __m512i to_bf16(__m512 low, __m512 high)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7); /* undoes that of the packing */
    __m512i a = _mm512_srli_epi32(round_bf16(low), 16), b = _mm512_srli_epi32(round_bf16(high), 16);
    return _mm512_permutexvar_epi64(order, _mm512_packus_epi32(a, b));
}

/* Pairs (even, odd) of bfloat16. */
ALWAYS_INLINE __m512i pair_bf16(__m512 even, __m512 odd)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_srli_epi32(round_bf16(even), 16), round_bf16(odd));
}

ALWAYS_INLINE __mmask16 first_lanes(int32_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : 0xffff >> (16 - n));
}

/* Columns c..c+31 of a token's or a row's n_cols numbers, zeros past the end. */
ALWAYS_INLINE void take_f32(const float *f, int32_t c, int32_t n_cols, uint16_t *to)
{
    __m512 low = _mm512_maskz_loadu_ps(first_lanes(n_cols - c), f + c);
    __m512 high = _mm512_maskz_loadu_ps(first_lanes(n_cols - c - 16), f + c + 16);
    _mm512_store_si512(to, to_bf16(low, high));
}

/* The same of weights that are not quantized and not F32. */
ALWAYS_INLINE void take_16_bits(enum kern_type type, const uint16_t *h, int32_t c, int32_t n_cols,
                                uint16_t *to)
{
    _Alignas(64) uint16_t part[32] = {0};
    const uint16_t *from = h + c;
    if (n_cols - c < 32) from = memcpy(part, from, (size_t)(n_cols - c) * sizeof *part);
    if (type == KERN_F16) {
        _mm512_store_si512(to, to_bf16(v16_load_f16(from).v, v16_load_f16(from + 16).v));
    } else {
        memcpy(to, from, 32 * sizeof *to);
    }
}

/* A block of MXFP8: as block_e4m3 and block_e8m0 have it, 2^(e - 127 + 8) times the bits' value in F16.
 * Exact. */
ALWAYS_INLINE void take_mxfp8(const struct block_mxfp8 *b, uint16_t *to)
{
    const int32_t exponent = (b->e < BLOCK_E8M0_MAX ? b->e : BLOCK_E8M0_MAX) + 8;
    const __m512 scale = _mm512_castsi512_ps(_mm512_set1_epi32(exponent << 23));
    const __m512i code = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)b->q));
    const __m512i half = _mm512_and_si512(_mm512_slli_epi16(code, 7), _mm512_set1_epi16((int16_t)0xbf80));
    const __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(half));
    const __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1));
    _mm512_store_si512(to, to_bf16(_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale)));
}

/* Columns c.. of tokens t0..t0+n-1; where the last two tiles of tokens are not full, zeros. */
static void take_tokens(const struct kern_act *x, int32_t t0, int32_t n, int32_t c, int32_t n_units,
                        struct amx_scratch *s)
{
    for (int32_t t = 0; t < (n + 2 * TILE - 1) / (2 * TILE) * (2 * TILE); t++) {
        const float *f = x->f + (size_t)(t0 + t) * (size_t)x->n_cols;
        for (int32_t u = 0; u < n_units; u++) {
            uint16_t *to = s->x[t / TILE][u].v + t % TILE * 32;
            if (t < n) {
                take_f32(f, c + u * PACK_UNIT, x->n_cols, to);
            } else {
                memset(to, 0, 32 * sizeof *to);
            }
        }
    }
}

/* A unit of a panel: w = d q + (m - d offset). */
ALWAYS_INLINE void expand_unit(struct packed_format f, const uint8_t *header, const uint8_t *unit,
                               struct tile *to)
{
    struct packed_scales scales = packed_scales(f, header, unit);
    const struct v16f minus = v16_set1(-(float)f.offset);
    UNROLL
    for (int32_t s = 0; s < PACKED_STEPS; s++) {
        const struct v16f d = scales.d[f.has_halves ? s / (PACKED_STEPS / 2) : 0];
        const struct v16f add = f.has_min ? scales.m : v16_mul(d, minus);
        const __m512i q = packed_step(f, unit, s).v, byte = _mm512_set1_epi32(255);
        struct v16i columns[4] = {{_mm512_and_si512(q, byte)},
                                  {_mm512_and_si512(_mm512_srli_epi32(q, 8), byte)},
                                  {_mm512_and_si512(_mm512_srli_epi32(q, 16), byte)},
                                  {_mm512_srli_epi32(q, 24)}};
        __m512 w[4];
        for (int32_t i = 0; i < 4; i++) w[i] = v16_fma(v16_float(columns[i]), d, add).v;
        _mm512_store_si512(to->v + 64 * s, pair_bf16(w[0], w[1]));
        _mm512_store_si512(to->v + 64 * s + 32, pair_bf16(w[2], w[3]));
    }
}

/* Columns c.. (a multiple of the block) of the panel that begins with row r. */
ALWAYS_INLINE void expand_panel(struct packed_format f, const struct kern_mat *w, int32_t r, int32_t c,
                                int32_t n_units, struct tile *to)
{
    const uint8_t *panel =
        (const uint8_t *)w->packed + (size_t)(r / PACK_ROWS) * pack_panel_bytes(f.type, w->n_cols);
    const uint8_t *block = panel + (size_t)(c / (f.n_units * PACK_UNIT)) * packed_block_bytes(f);
    for (int32_t u = 0; u < n_units; block += packed_block_bytes(f)) {
        for (int32_t i = 0; i < f.n_units; i++, u++)
            expand_unit(f, block, block + f.header_bytes + (size_t)i * f.unit_bytes, &to[u]);
    }
}

/* 16 rows (the last is repeated past row1) that are not quantized. */
static void take_rows(const struct kern_mat *w, int32_t r, int32_t row1, int32_t c, int32_t n_units,
                      struct tile *to)
{
    for (int32_t u = 0; u < n_units; u++) {
        struct tile rows; /* [row][32 columns] */
        for (int32_t i = 0; i < TILE; i++) {
            const char *row =
                (const char *)w->data + (size_t)(r + i < row1 ? r + i : row1 - 1) * w->row_bytes;
            if (w->type == KERN_MXFP8)
                take_mxfp8((const struct block_mxfp8 *)row + c / PACK_UNIT + u, rows.v + 32 * i);
            else
                take_16_bits(w->type, (const uint16_t *)row, c + u * PACK_UNIT, w->n_cols, rows.v + 32 * i);
        }
        for (int32_t part = 0; part < 4; part++) { /* 8 rows x 8 pairs of columns */
            const int32_t row0 = part % 2 * 8, pair0 = part / 2 * 8;
            __m256i v[8];
            for (int32_t i = 0; i < 8; i++)
                v[i] = _mm256_load_si256((const __m256i *)(rows.v + 32 * (row0 + i) + 2 * pair0));
            vec_transpose(v);
            for (int32_t i = 0; i < 8; i++)
                _mm256_store_si256((__m256i *)(to[u].v + 32 * (pair0 + i) + 2 * row0), v[i]);
        }
    }
}

/* One instance for each packed format. */
typedef void expand_fn(const struct kern_mat *w, int32_t r, int32_t c, int32_t n_units, struct tile *to);

#define DEFINE_EXPAND(type, name, format)                                                                    \
    static void expand_##name(const struct kern_mat *w, int32_t r, int32_t c, int32_t n_units,               \
                              struct tile *to)                                                               \
    {                                                                                                        \
        expand_panel(format, w, r, c, n_units, to);                                                          \
    }
PACKED_FORMATS(DEFINE_EXPAND)

static void take_panel(const struct kern_mat *w, int32_t r, int32_t row1, int32_t c, int32_t n_units,
                       struct tile *to)
{
    static expand_fn *const instances[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = expand_##name,
        PACKED_FORMATS(ENTRY)
#undef ENTRY
    };
    if (instances[w->type]) {
        instances[w->type](w, r, c, n_units, to);
    } else {
        take_rows(w, r, row1, c, n_units, to);
    }
}

/* y = (or +=, unless is_first) 32 tokens x 32 rows, n_units units of columns. Four sums hide the latency of
 * 52 cycles: a step takes 64 cycles, its four loads of 16 cache lines 32 of the two load ports. */
static void multiply_tiles(const struct tile *x0, const struct tile *x1, const struct tile *w0,
                           const struct tile *w1, int32_t n_units, bool is_first, float *y, size_t y_stride)
{
    float *lower = y + TILE * y_stride;
    const size_t bytes = y_stride * sizeof *y;
    TILES_READ_MEMORY();
    if (is_first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, y, bytes);
        _tile_loadd(1, y + TILE, bytes);
        _tile_loadd(2, lower, bytes);
        _tile_loadd(3, lower + TILE, bytes);
    }
    for (int32_t u = 0; u < n_units; u++) {
        _tile_loadd(4, x0[u].v, 64);
        _tile_loadd(6, w0[u].v, 64);
        _tile_loadd(7, w1[u].v, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x1[u].v, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, y, bytes);
    _tile_stored(1, y + TILE, bytes);
    _tile_stored(2, lower, bytes);
    _tile_stored(3, lower + TILE, bytes);
}

/* The same for n_tokens x n_rows (1..32), where the rest of y may not be touched: by way of `own`. */
static void multiply_edge(const struct tile *x0, const struct tile *x1, const struct tile *w0,
                          const struct tile *w1, int32_t n_units, bool is_first, int32_t n_tokens,
                          int32_t n_rows, float *y, size_t y_stride, float own[2 * TILE][2 * TILE])
{
    const size_t bytes = (size_t)n_rows * sizeof *y;
    if (!is_first) {
        for (int32_t t = 0; t < n_tokens; t++) memcpy(own[t], y + (size_t)t * y_stride, bytes);
    }
    multiply_tiles(x0, x1, w0, w1, n_units, is_first, own[0], 2 * TILE);
    for (int32_t t = 0; t < n_tokens; t++) memcpy(y + (size_t)t * y_stride, own[t], bytes);
}

/* A chunk of tokens, whose first results belong at y, times rows row0..row1-1. */
static void multiply_chunk(const struct kern_mat *w, const struct kern_act *x, int32_t t0, int32_t n,
                           int32_t row0, int32_t row1, float *y, size_t y_stride, struct amx_scratch *s)
{
    const int32_t all_units = (w->n_cols + PACK_UNIT - 1) / PACK_UNIT;
    for (int32_t u = 0; u < all_units; u += BLOCK_UNITS) {
        const int32_t n_units = all_units - u < BLOCK_UNITS ? all_units - u : BLOCK_UNITS, c = u * PACK_UNIT;
        take_tokens(x, t0, n, c, n_units, s);
        for (int32_t r = row0; r < row1; r += 2 * TILE) {
            const int32_t n_rows = row1 - r < 2 * TILE ? row1 - r : 2 * TILE;
            const struct tile *w1 = n_rows > TILE ? s->w[1] : s->w[0]; /* alone: computed twice */
            take_panel(w, r, row1, c, n_units, s->w[0]);
            if (n_rows > TILE) take_panel(w, r + TILE, row1, c, n_units, s->w[1]);
            for (int32_t t = 0; t < n; t += 2 * TILE) {
                const struct tile *x0 = s->x[t / TILE], *x1 = s->x[t / TILE + 1];
                float *to = y + (size_t)t * y_stride + r;
                const int32_t n_tokens = n - t < 2 * TILE ? n - t : 2 * TILE;
                if (n_tokens == 2 * TILE && n_rows == 2 * TILE) {
                    multiply_tiles(x0, x1, s->w[0], w1, n_units, u == 0, to, y_stride);
                } else {
                    multiply_edge(x0, x1, s->w[0], w1, n_units, u == 0, n_tokens, n_rows, to, y_stride, s->y);
                }
            }
        }
    }
}

static void matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                   size_t y_stride, void *scratch)
{
    const bool is_short = w->type == KERN_F16 || w->type == KERN_BF16 || w->type == KERN_MXFP8;
    if (x->n_tokens < AMX_MIN_TOKENS || !(w->packed || is_short)) {
        kern_avx512_matmul(w, x, row0, row1, y, y_stride, scratch);
        return;
    }
    configure_tiles();
    for (int32_t t = 0; t < x->n_tokens; t += CHUNK_TOKENS) {
        const int32_t n = x->n_tokens - t < CHUNK_TOKENS ? x->n_tokens - t : CHUNK_TOKENS;
        multiply_chunk(w, x, t, n, row0, row1, y + (size_t)t * y_stride, y_stride, scratch);
    }
    _tile_release(); /* or the system would save and restore 8 KB at every switch of threads */
}

const struct kern kern_amx = {
    .isa = "amx",
    .reads_packed = true,
    .task_rows = 512,
    .quantize = kern_avx2_quantize,
    .dequantize = kern_ref_dequantize,
    .matmul = matmul,
    .attend = kern_avx512_attend,
    .kv_store = kern_avx2_kv_store,
    .kv_load = kern_avx2_kv_load,
    .rms_norm = kern_avx2_rms_norm,
    .layer_norm = kern_avx2_layer_norm,
    .silu_mul = kern_avx2_silu_mul,
    .gelu_mul = kern_avx2_gelu_mul,
    .gelu = kern_avx2_gelu,
    .add = kern_avx2_add,
    .mul_add = kern_avx2_mul_add,
    .f32_to_f16 = kern_avx2_f32_to_f16,
    .log_sum_exp = kern_avx2_log_sum_exp,
    .rope = kern_avx2_rope,
};

#else
typedef int kern_amx_unused; /* a translation unit must declare something */
#endif
