/* Matrix products with AVX2 of quantized weights as they lie in the file. Two shapes:
 *
 * - One token: bound by memory bandwidth. Two rows at a time are unpacked and multiplied.
 * - Several tokens: bound by arithmetic. 16 rows are unpacked into a panel (panel_avx2.h), which is then
 * multiplied like one of packed weights (tile_avx2.h).
 *
 * Each is one function that is instantiated for every format by inlining it with constants. */
#if defined(__AVX2__)

#include "kern/isa.h"
#include "kern/panel_avx2.h"

/* Keep an array in memory, whence an element is broadcast by the load itself. */
#define IN_MEMORY(array) __asm__("" : "+m"(array))

/* Sums of pairs of products q * x in 16 bits. */
ALWAYS_INLINE __m256i multiply_pairs(__m256i q, __m256i x, bool is_signed)
{
    if (!is_signed) return _mm256_maddubs_epi16(q, x);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
}

/* The two integer scales of unit u, each in all 16-bit lanes of its half. */
ALWAYS_INLINE __m256i unit_scales(const int16_t scale[2 * SPAN_UNITS], int32_t u)
{
    const __m256i eight = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)scale + u / 4));
    const int32_t first = u % 4 * 0x0404 + 0x0100; /* its two bytes among those of eight scales */
    return _mm256_shuffle_epi8(
        eight, _mm256_set_m128i(_mm_set1_epi16((int16_t)(first + 0x0202)), _mm_set1_epi16((int16_t)first)));
}

/* Running sums of one row, to be added up at the end. */
struct row_sums {
    __m256 even, odd; /* two chains, since one would wait for itself */
    __m256 min;
};

/* Add the product of n units of one row with those of one token. xd and xs are the token's scales and
 * sums, zero past the n-th unit. */
ALWAYS_INLINE void dot_span(const struct span *s, int32_t n, struct tile_class c, const int8_t *xq, __m256 xd,
                            const __m256 xs[2], struct row_sums *acc)
{
    _Alignas(32) float d[SPAN_UNITS];
    _mm256_store_ps(d, _mm256_mul_ps(_mm256_load_ps(s->d), xd));
    IN_MEMORY(d);
    for (int32_t u = 0; u < n; u++) {
        __m256i scale = c.has_halves ? unit_scales(s->scale, u) : _mm256_set1_epi16(1);
        __m256i pairs = multiply_pairs(load_bytes(s->q[u]), load_bytes(xq + u * UNIT_LEN), c.is_signed);
        __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, scale));
        __m256 *chain = u % 2 ? &acc->odd : &acc->even;
        *chain = _mm256_fmadd_ps(sum, _mm256_set1_ps(d[u]), *chain);
    }
    if (c.has_min) acc->min = _mm256_fmadd_ps(_mm256_load_ps(s->m), xs[0], acc->min);
    if (c.has_halves) acc->min = _mm256_fmadd_ps(_mm256_load_ps(s->m + 8), xs[1], acc->min);
}

/* Add n (constant) units of two rows times those of one token. */
ALWAYS_INLINE void dot_two_rows(const char *row, size_t row_bytes, int32_t n, struct span_format f,
                                const struct token *t, struct row_sums acc[2])
{
    __m256 xd = load_first(t->d, n), xs[2];
    if (f.class.has_min) token_sums(t->s, n, f.class.has_halves, xs);
    for (int32_t r = 0; r < 2; r++) {
        struct span s;
        f.unpack(row + (size_t)r * row_bytes, n, &s);
        dot_span(&s, n, f.class, t->q, xd, xs, &acc[r]);
    }
}

/* Two rows times one token. */
ALWAYS_INLINE void decode_two_rows(const char *row, size_t row_bytes, const struct kern_act *x,
                                   struct span_format f, float y[2])
{
    const size_t ahead = prefetch_distance(2 * row_bytes);
    struct row_sums acc[2];
    for (int32_t r = 0; r < 2; r++) acc[r].even = acc[r].odd = acc[r].min = _mm256_setzero_ps();
    for (int32_t unit = 0, n_units = x->n_cols / UNIT_LEN; unit < n_units;) {
        int32_t step = f.has_tail ? span_step(n_units - unit) : SPAN_UNITS;
        struct token t = token_at(x, 0, unit);
        switch (step) {
        case SPAN_UNITS:
            prefetch(row + ahead, f.bytes);
            prefetch(row + row_bytes + ahead, f.bytes);
            dot_two_rows(row, row_bytes, SPAN_UNITS, f, &t, acc);
            break;
        case 4:
            dot_two_rows(row, row_bytes, 4, f, &t, acc);
            break;
        default:
            dot_two_rows(row, row_bytes, 1, f, &t, acc);
            break;
        }
        unit += step;
        row += (size_t)step * f.bytes / SPAN_UNITS;
    }
    for (int32_t r = 0; r < 2; r++) {
        __m256 sum = _mm256_add_ps(acc[r].even, acc[r].odd);
        y[r] = vec_sum(f.class.has_min ? _mm256_add_ps(sum, acc[r].min) : sum);
    }
}

ALWAYS_INLINE void decode(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                          float *y, struct span_format f)
{
    const char *data = w->data;
    for (int32_t r = row0; r < row1; r += 2) {
        float two[2];
        size_t to_next = r + 1 < row1 ? w->row_bytes : 0; /* a last odd row is computed twice */
        decode_two_rows(data + (size_t)r * w->row_bytes, to_next, x, f, two);
        y[r] = two[0];
        if (to_next) y[r + 1] = two[1];
    }
}

ALWAYS_INLINE void run(const struct tile_run *r, struct span_format f)
{
    for (int32_t u = 0; u < r->n_units; u += TILE_RUN_UNITS) {
        const struct tile_run part = tile_run_part(r, u);
        panel_build(&part, f);
        kern_avx2_multiply_panel(&part, f.class);
    }
}

ALWAYS_INLINE void matmul_quantized(const struct kern_mat *w, const struct kern_act *x, int32_t row0,
                                    int32_t row1, float *y, size_t y_stride, void *scratch,
                                    struct span_format f, tile_run_fn *run_format)
{
    if (x->n_tokens == 1) {
        decode(w, x, row0, row1, y, f);
    } else {
        tile_matmul(w, x, row0, row1, y, y_stride, scratch, 0, f.class, run_format);
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
        matmul_quantized(w, x, row0, row1, y, y_stride, scratch, format, run_##name);                        \
    }
SPAN_FORMATS(DEFINE_MATMUL)

void kern_avx2_matmul(const struct kern_mat *w, const struct kern_act *x, int32_t row0, int32_t row1,
                      float *y, size_t y_stride, void *scratch)
{
    _Static_assert(sizeof(struct tile_scratch) <= KERN_SCRATCH_BYTES, "the panel fits the scratch");
    static matmul_fn *const instances[KERN_TYPE_END] = {
#define ENTRY(type, name, format) [type] = matmul_##name,
        SPAN_FORMATS(ENTRY)
#undef ENTRY
    };
    matmul_fn *matmul = w->packed ? kern_avx2_matmul_packed : instances[w->type];
    if (!matmul) matmul = kern_avx2_matmul_plain; /* not quantized */
    matmul(w, x, row0, row1, y, y_stride, scratch);
}

#else
typedef int kern_avx2_matmul_unused; /* a translation unit must declare something */
#endif
