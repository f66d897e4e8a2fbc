/* The AVX-512 table: quantized matrix products with VNNI and attention; all else is that of AVX2.
 *
 * vpdpbusd multiplies unsigned weights with signed activations and sums four products into 32 bits without
 * saturation. So signed weights get 128 added, which a minimum of -128 d takes back, and all formats are
 * alike. tests/kern runs this file emulated (SIMDe) where the processor lacks AVX-512. */
#if defined(__AVX512VNNI__) || defined(KERN_EMULATE_AVX512)

#include "kern/attend_avx2.h"
#include "kern/isa.h"
#include "kern/panel_avx2.h"

#define TILE_TOKENS 8 /* 8 integer and 8 float sums of 16 rows take half of the 32 registers */

/* Turn what a signed format's unpacker gave into unsigned weights with minima. */
ALWAYS_INLINE void make_unsigned(struct span *s, int32_t n)
{
    for (int32_t u = 0; u < n; u++) {
        store_bytes(s->q[u], _mm256_xor_si256(load_bytes(s->q[u]), _mm256_set1_epi8(-128)));
    }
    _mm256_store_ps(s->m, _mm256_mul_ps(_mm256_load_ps(s->d), _mm256_set1_ps(-128.0f)));
}

/* Unpackers of the signed formats, made unsigned; those of the others as they are. */
#define DEFINE_UNSIGNED(name)                                                                                \
    ALWAYS_INLINE void name##_unsigned(const void *src, int32_t n, struct span *s)                           \
    {                                                                                                        \
        name(src, n, s);                                                                                     \
        make_unsigned(s, n);                                                                                 \
    }
DEFINE_UNSIGNED(span_q8_0)
DEFINE_UNSIGNED(span_iq4_nl)
DEFINE_UNSIGNED(span_iq4_xs)

ALWAYS_INLINE struct span_format unsigned_format(struct span_format f)
{
    if (!f.class.is_signed) return f;
    f.class = (struct span_class){.has_min = true};
    f.unpack = f.unpack == span_q8_0     ? span_q8_0_unsigned
               : f.unpack == span_iq4_nl ? span_iq4_nl_unsigned
                                         : span_iq4_xs_unsigned;
    return f;
}

ALWAYS_INLINE __m256 upper(__m512 v)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

ALWAYS_INLINE __m256 fold(__m512 v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), upper(v));
}

/* The scales of n units times those of the activations: one for each unit, or for each half unit. */
ALWAYS_INLINE __m512 combined_scales(const struct span *s, __m256 xd, bool has_halves)
{
    __m512 d = _mm512_castps256_ps512(_mm256_mul_ps(_mm256_load_ps(s->d), xd));
    if (!has_halves) return d;
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    __m512i scale = _mm512_srai_epi32(_mm512_loadu_si512(s->scale_pairs), 16);
    return _mm512_mul_ps(_mm512_permutexvar_ps(twice, d), _mm512_cvtepi32_ps(scale));
}

/* For a vector of two units: which scale belongs to each lane of four products. */
ALWAYS_INLINE __m512i scale_lanes(int32_t pair, bool has_halves)
{
    const __m512i units = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i halves = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return has_halves ? _mm512_add_epi32(halves, _mm512_set1_epi32(4 * pair))
                      : _mm512_add_epi32(units, _mm512_set1_epi32(2 * pair));
}

/* Units 2 * pair and, unless n is 1, the next one. */
ALWAYS_INLINE __m512i load_two_units(const void *bytes, int32_t pair, int32_t n)
{
    const char *p = (const char *)bytes + 2 * UNIT_LEN * pair;
    return n > 1 ? _mm512_loadu_si512(p) : _mm512_inserti64x4(_mm512_setzero_si512(), load_bytes(p), 0);
}

/* Running sums of one row. */
struct row_sums {
    __m512 even, odd; /* two chains, since one would wait for itself */
    __m256 min;
};

/* Add n (constant) units of a row times those of one token. */
ALWAYS_INLINE void dot_units(const char *src, int32_t n, struct span_format f, const struct token *t,
                             struct row_sums *acc)
{
    bool has_halves = f.class.has_halves;
    __m256 xs[2];
    struct span s;
    f.unpack(src, n, &s);
    __m512 scales = combined_scales(&s, load_first(t->d, n), has_halves);
    for (int32_t pair = 0; pair < (n + 1) / 2; pair++) {
        __m512i q = load_two_units(s.q, pair, n), x = load_two_units(t->q, pair, n);
        __m512 sum = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), q, x));
        __m512 scale = _mm512_permutexvar_ps(scale_lanes(pair, has_halves), scales);
        __m512 *chain = pair % 2 ? &acc->odd : &acc->even;
        *chain = _mm512_fmadd_ps(sum, scale, *chain);
    }
    token_sums(t->s, n, has_halves, xs);
    acc->min = _mm256_fmadd_ps(_mm256_load_ps(s.m), xs[0], acc->min);
    if (has_halves) acc->min = _mm256_fmadd_ps(_mm256_load_ps(s.m + 8), xs[1], acc->min);
}

/* One row times one token. */
ALWAYS_INLINE float decode_row(const char *row, const struct kern_act *x, struct span_format f)
{
    struct row_sums acc = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm256_setzero_ps()};
    for (int32_t unit = 0, n_units = x->n_cols / UNIT_LEN; unit < n_units;) {
        int32_t step = f.has_tail ? span_step(n_units - unit) : SPAN_UNITS;
        struct token t = token_at(x, 0, unit);
        switch (step) {
        case SPAN_UNITS:
            prefetch(row + PREFETCH_BYTES, f.bytes);
            dot_units(row, SPAN_UNITS, f, &t, &acc);
            break;
        case 4:
            dot_units(row, 4, f, &t, &acc);
            break;
        default:
            dot_units(row, 1, f, &t, &acc);
            break;
        }
        unit += step;
        row += (size_t)step * f.bytes / SPAN_UNITS;
    }
    return vec_sum(_mm256_add_ps(fold(_mm512_add_ps(acc.even, acc.odd)), acc.min));
}

/* Integer dot products of steps step0..step0+n-1 of a panel unit with one vector for each token. */
ALWAYS_INLINE void tile_steps(const struct panel_unit *p, int32_t step0, int32_t n,
                              const struct token *tokens, int32_t u, int32_t n_tokens, __m512i sums[])
{
    for (int32_t t = 0; t < n_tokens; t++) sums[t] = _mm512_setzero_si512();
    for (int32_t i = step0; i < step0 + n; i++) {
        __m512i q = _mm512_loadu_si512(p->q[i]);
        for (int32_t t = 0; t < n_tokens; t++) {
            int32_t four;
            memcpy(&four, tokens[t].q + u * UNIT_LEN + 4 * i, sizeof four);
            sums[t] = _mm512_dpbusd_epi32(sums[t], q, _mm512_set1_epi32(four));
        }
    }
}

/* acc += d * scale * sums for all tokens; scale is null where there is none. */
ALWAYS_INLINE void tile_add(const struct panel_unit *p, const int32_t *scale, const struct token *tokens,
                            int32_t u, int32_t n_tokens, const __m512i sums[], __m512 acc[])
{
    __m512 d = _mm512_loadu_ps(p->d);
    if (scale) d = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_loadu_si512(scale), 16)));
    for (int32_t t = 0; t < n_tokens; t++) {
        __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[t]), d);
        acc[t] = _mm512_fmadd_ps(scaled, _mm512_set1_ps(tokens[t].d[u]), acc[t]);
    }
}

/* out[token][row] = units 0..n-1 of a panel times n_tokens (constant) tokens. */
ALWAYS_INLINE void tile(const struct panel_unit *units, int32_t n, const struct token *tokens,
                        int32_t n_tokens, bool has_halves, float out[][PANEL_ROWS])
{
    __m512i sums[TILE_TOKENS];
    __m512 acc[TILE_TOKENS];
    for (int32_t t = 0; t < n_tokens; t++) acc[t] = _mm512_setzero_ps();
    for (int32_t u = 0; u < n; u++) {
        const struct panel_unit *p = &units[u];
        if (has_halves) {
            for (int32_t half = 0; half < 2; half++) {
                tile_steps(p, half * PANEL_STEPS / 2, PANEL_STEPS / 2, tokens, u, n_tokens, sums);
                tile_add(p, p->scale[half], tokens, u, n_tokens, sums, acc);
            }
        } else {
            tile_steps(p, 0, PANEL_STEPS, tokens, u, n_tokens, sums);
            tile_add(p, NULL, tokens, u, n_tokens, sums, acc);
        }
        for (int32_t t = 0; t < n_tokens; t++) {
            float first = tokens[t].s[2 * u], second = tokens[t].s[2 * u + 1];
            __m512 s0 = _mm512_set1_ps(has_halves ? first : first + second), s1 = _mm512_set1_ps(second);
            acc[t] = _mm512_fmadd_ps(_mm512_loadu_ps(p->m[0]), s0, acc[t]);
            if (has_halves) acc[t] = _mm512_fmadd_ps(_mm512_loadu_ps(p->m[1]), s1, acc[t]);
        }
    }
    for (int32_t t = 0; t < n_tokens; t++) _mm512_storeu_ps(out[t], acc[t]);
}

ALWAYS_INLINE void multiply_panel(const struct panel *p, int32_t unit0, int32_t n, const struct kern_act *x,
                                  bool has_halves, int32_t n_rows, float *y, size_t y_stride)
{
    for (int32_t t = 0; t < x->n_tokens;) {
        _Alignas(64) float sums[TILE_TOKENS][PANEL_ROWS];
        struct token tokens[TILE_TOKENS];
        int32_t left = x->n_tokens - t, step = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (int32_t i = 0; i < step; i++) tokens[i] = token_at(x, t + i, unit0);
        switch (step) {
        case 1:
            tile(p->units, n, tokens, 1, has_halves, sums);
            break;
        case 2:
            tile(p->units, n, tokens, 2, has_halves, sums);
            break;
        case 4:
            tile(p->units, n, tokens, 4, has_halves, sums);
            break;
        default:
            tile(p->units, n, tokens, 8, has_halves, sums);
            break;
        }
        panel_put(sums, step, n_rows, unit0 == 0, y + (size_t)t * y_stride, y_stride);
        t += step;
    }
}

static void multiply_units(const struct panel *p, int32_t unit0, int32_t n, const struct kern_act *x,
                           int32_t n_rows, float *y, size_t y_stride)
{
    multiply_panel(p, unit0, n, x, false, n_rows, y, y_stride);
}

static void multiply_halves(const struct panel *p, int32_t unit0, int32_t n, const struct kern_act *x,
                            int32_t n_rows, float *y, size_t y_stride)
{
    multiply_panel(p, unit0, n, x, true, n_rows, y, y_stride);
}

ALWAYS_INLINE void matmul_quantized(const struct kern_mat *w, const struct kern_act *x, int32_t row0,
                                    int32_t row1, float *y, size_t y_stride, void *scratch,
                                    struct span_format f)
{
    f = unsigned_format(f);
    if (x->n_tokens > 1) {
        panel_fn *multiply = f.class.has_halves ? multiply_halves : multiply_units;
        panel_matmul(w, x, row0, row1, y, y_stride, scratch, f, multiply);
        return;
    }
    for (int32_t r = row0; r < row1; r++) {
        y[r] = decode_row((const char *)w->data + (size_t)r * w->row_bytes, x, f);
    }
}

/* One instance for each format. */
typedef void matmul_fn(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                       float *y, size_t y_stride, void *scratch);

#define DEFINE_MATMUL(type, name, format)                                                                    \
    static void matmul_##name(const struct kern_mat *w, const struct kern_act *x, int32_t row0,              \
                              int32_t row1, float *y, size_t y_stride, void *scratch)                        \
    {                                                                                                        \
        matmul_quantized(w, x, row0, row1, y, y_stride, scratch, format);                                    \
    }
SPAN_FORMATS(DEFINE_MATMUL)

static void matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1, float *y,
                   size_t y_stride, void *scratch)
{
    static matmul_fn *const instances[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = matmul_##name,
        SPAN_FORMATS(ENTRY)
#undef ENTRY
            [KERN_F32] = kern_avx2_matmul,
        [KERN_F16] = kern_avx2_matmul,
        [KERN_BF16] = kern_avx2_matmul,
    };
    instances[w->type](w, x, row0, row1, y, y_stride, scratch);
}

/* Requires head_dim to be a multiple of 16. */
static void score(const float *q, const float *k, int32_t head_dim, float *scores)
{
    for (int32_t p = 0; p < ATTEND_BLOCK; p += 8, k += 8 * head_dim) {
        __m512 acc[8];
        __m256 folded[8];
        for (int32_t j = 0; j < 8; j++) acc[j] = _mm512_setzero_ps();
        for (int32_t i = 0; i < head_dim; i += 16) {
            __m512 f = _mm512_loadu_ps(q + i);
            for (int32_t j = 0; j < 8; j++)
                acc[j] = _mm512_fmadd_ps(f, _mm512_loadu_ps(k + j * head_dim + i), acc[j]);
        }
        for (int32_t j = 0; j < 8; j++) folded[j] = fold(acc[j]);
        _mm256_store_ps(scores + p, vec_sums(folded));
    }
}

/* For heads h..h+n_q-1 (n_q constant) and 16 columns from i on. */
ALWAYS_INLINE void add_values_tile(const struct attend_scratch *s, int32_t h, int32_t n_q, int32_t n,
                                   int32_t head_dim, int32_t i, float *out)
{
    __m512 acc[8];
    for (int32_t j = 0; j < n_q; j++) {
        acc[j] =
            _mm512_mul_ps(_mm512_loadu_ps(out + (h + j) * head_dim + i), _mm512_set1_ps(s->shrink[h + j]));
    }
    for (int32_t p = 0; p < n; p++) {
        __m512 v = _mm512_loadu_ps(s->rows + p * head_dim + i);
        for (int32_t j = 0; j < n_q; j++) {
            acc[j] = _mm512_fmadd_ps(_mm512_set1_ps(s->weights[h + j][p]), v, acc[j]);
        }
    }
    for (int32_t j = 0; j < n_q; j++) _mm512_storeu_ps(out + (h + j) * head_dim + i, acc[j]);
}

static void add_values(const struct attend_scratch *s, int32_t n_q, int32_t n, int32_t head_dim, float *out)
{
    for (int32_t h = 0; h < n_q;) {
        int32_t left = n_q - h, step = left >= 8 ? 8 : left >= 4 ? 4 : 1;
        for (int32_t i = 0; i < head_dim; i += 16) {
            switch (step) {
            case 8:
                add_values_tile(s, h, 8, n, head_dim, i, out);
                break;
            case 4:
                add_values_tile(s, h, 4, n, head_dim, i, out);
                break;
            default:
                add_values_tile(s, h, 1, n, head_dim, i, out);
                break;
            }
        }
        h += step;
    }
}

static void attend(const float *q, const uint16_t *k, const uint16_t *v, size_t stride, int32_t n_q,
                   int32_t n_kv, int32_t head_dim, float scale, float *out, void *scratch)
{
    if (head_dim % 16 == 0) {
        attend_blocks(q, k, v, stride, n_q, n_kv, head_dim, scale, out, scratch, score, add_values);
    } else {
        kern_avx2_attend(q, k, v, stride, n_q, n_kv, head_dim, scale, out, scratch);
    }
}

const struct kern kern_avx512 = {
    .isa = "avx512",
    .quantize = kern_avx2_quantize,
    .dequantize = kern_ref_dequantize,
    .matmul = matmul,
    .attend = attend,
    .rms_norm = kern_avx2_rms_norm,
    .layer_norm = kern_avx2_layer_norm,
    .silu_mul = kern_avx2_silu_mul,
    .gelu_mul = kern_avx2_gelu_mul,
    .gelu = kern_avx2_gelu,
    .add = kern_avx2_add,
    .mul_add = kern_avx2_mul_add,
    .f32_to_f16 = kern_avx2_f32_to_f16,
    .rope = kern_avx2_rope,
};

#else
typedef int kern_avx512_unused; /* a translation unit must declare something */
#endif
