/* Attention with AVX2: which rows see what, the softmax, and the two products in register tiles of up to 12
 * vectors. attend_avx2.h describes the method. */
#if defined(__AVX2__)

#include <math.h>
#include <string.h>

#include "kern/attend_avx2.h"
#include "kern/vec_avx2.h"

#define GROUP_ROWS 6 /* by two vectors: 12 sums, two vectors of the block, one value of a row */
#define LOG2_E     1.44269504f
#define LN_2       0.69314718f

/* The positions first..last-1 that token t sees. */
struct range {
    int32_t first, last;
};

static struct range seen_by(const struct kern_attend *a, int32_t t)
{
    int32_t last = a->pos + t + 1;
    return (struct range){a->window && last > a->window ? last - a->window : 0, last};
}

/* Those of them that lie in the block of positions p.. and below end, counted from p. */
static struct range seen_in_block(const struct kern_attend *a, int32_t t, int32_t p, int32_t end)
{
    struct range r = seen_by(a, t);
    if (end > p + KERN_KV_BLOCK) end = p + KERN_KV_BLOCK;
    return (struct range){r.first > p ? r.first - p : 0, (r.last < end ? r.last : end) - p};
}

/* Divide the rows that see any of a block into groups: rows that see the same, at most group_rows of them;
 * rows that need several groups are spread evenly. */
static void plan_groups(const struct kern_attend *a, int32_t p, int32_t end, int32_t group_rows,
                        struct attend_scratch *s)
{
    s->n_groups = 0;
    for (int32_t t = 0, next; t < a->n_tokens; t = next) {
        struct range r = seen_in_block(a, t, p, end);
        for (next = t + 1; next < a->n_tokens; next++) {
            struct range other = seen_in_block(a, next, p, end);
            if (other.first != r.first || other.last != r.last) break;
        }
        if (r.first >= r.last) continue;
        int32_t row = t * a->n_heads, n_left = (next - t) * a->n_heads;
        for (int32_t n = (n_left + group_rows - 1) / group_rows; n > 0; n--) {
            int32_t n_rows = (n_left + n - 1) / n;
            s->groups[s->n_groups++] = (struct attend_group){row, n_rows, r.first, r.last};
            row += n_rows, n_left -= n_rows;
        }
    }
}

/* 2^x for x <= 0 with relative error below 2e-7; below -125 the result is 2^-125, which is no weight at all
 * beside the largest, 1. 2^0 is exactly 1. NaN gives 2^-125.
 *
 * 2^x = 2^n * 2^r, n = round(x), |r| <= 1/2. Adding 1.5 * 2^23 leaves n in the low bits of the sum. 2^r =
 * 1 + r p(r), where p is a minimax polynomial of degree 4; the error of the product is 9e-8. */
ALWAYS_INLINE __m256 exp2_weight(__m256 x)
{
    const __m256 round = _mm256_set1_ps(0x1.8p23f);
    x = _mm256_max_ps(x, _mm256_set1_ps(-125.0f));
    __m256 shifted = _mm256_add_ps(x, round);
    __m256 r = _mm256_sub_ps(x, _mm256_sub_ps(shifted, round));
    __m256 e = _mm256_set1_ps(0x1.5bba14p-10f);
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(0x1.3cea88p-7f));
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(0x1.c6b752p-5f));
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(0x1.ebf9bcp-3f));
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(0x1.62e42ap-1f));
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(1.0f));
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(e), exponent));
}

/* The maximum of each of eight vectors, as eight lanes. */
ALWAYS_INLINE __m256 vec_maxima(const __m256 v[8])
{
    __m256 a[4], b[2];
    UNROLL
    for (int32_t i = 0; i < 4; i++) { /* in each half: lanes of 2i and 2i + 1 alternate */
        a[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                             _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
    UNROLL
    for (int32_t i = 0; i < 2; i++) {
        b[i] = _mm256_max_ps(_mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44),
                             _mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0xee));
    }
    return _mm256_max_ps(_mm256_permute2f128_ps(b[0], b[1], 0x20), _mm256_permute2f128_ps(b[0], b[1], 0x31));
}

/* Turn the products q . k of a group into weights and bring max, sum and shrink up to date. scale: to units
 * of log 2. is_whole, a constant: the group sees all of the block. */
ALWAYS_INLINE void softmax_of(struct attend_scratch *s, const struct attend_group *g, float scale,
                              bool is_whole)
{
    enum { N_VEC = KERN_KV_BLOCK / 8 };
    const __m256 low = _mm256_set1_ps(-INFINITY), factor = _mm256_set1_ps(scale);
    __m256 seen[N_VEC], of_rows[ATTEND_GROUP_MAX];
    UNROLL
    for (int32_t c = 0; c < N_VEC; c++) {
        seen[c] =
            _mm256_castsi256_ps(_mm256_andnot_si256(vec_mask(g->from - 8 * c), vec_mask(g->to - 8 * c)));
    }
    UNROLL
    for (int32_t j = 0; j < ATTEND_GROUP_MAX; j++) of_rows[j] = low;
    for (int32_t j = 0; j < g->n_rows; j++) {
        float *weights = s->weights[g->row + j];
        UNROLL
        for (int32_t c = 0; c < N_VEC; c++) {
            __m256 score = _mm256_mul_ps(_mm256_load_ps(weights + 8 * c), factor);
            if (!is_whole) score = _mm256_blendv_ps(low, score, seen[c]);
            _mm256_store_ps(weights + 8 * c, score);
            of_rows[j] = _mm256_max_ps(score, of_rows[j]);
        }
    }
    __m256 before = _mm256_loadu_ps(s->max + g->row), max = _mm256_max_ps(vec_maxima(of_rows), before);
    float tops[ATTEND_GROUP_MAX];
    _mm256_storeu_ps(tops, max);
    UNROLL
    for (int32_t j = 0; j < ATTEND_GROUP_MAX; j++) of_rows[j] = _mm256_setzero_ps();
    for (int32_t j = 0; j < g->n_rows; j++) {
        float *weights = s->weights[g->row + j];
        __m256 top = _mm256_broadcast_ss(&tops[j]);
        UNROLL
        for (int32_t c = 0; c < N_VEC; c++) {
            __m256 e = exp2_weight(_mm256_sub_ps(_mm256_load_ps(weights + 8 * c), top));
            if (!is_whole) e = _mm256_and_ps(e, seen[c]);
            _mm256_store_ps(weights + 8 * c, e);
            of_rows[j] = _mm256_add_ps(of_rows[j], e);
        }
    }
    __m256 shrink = exp2_weight(_mm256_sub_ps(before, max)), sum = _mm256_loadu_ps(s->sum + g->row);
    /* Lanes past the group belong to rows of the next one and keep what they hold: here they have seen no
     * score above -INFINITY and their weights are zero. */
    _mm256_storeu_ps(s->max + g->row, max);
    _mm256_storeu_ps(s->sum + g->row, _mm256_fmadd_ps(sum, shrink, vec_sums(of_rows)));
    _mm256_storeu_ps(s->shrink + g->row, shrink);
}

static void softmax(struct attend_scratch *s, const struct attend_group *g, float scale)
{
    if (g->to - g->from == KERN_KV_BLOCK) {
        softmax_of(s, g, scale, true);
    } else {
        softmax_of(s, g, scale, false);
    }
}

/* Where the rows lie; nothing is summed yet. */
static void begin_rows(const struct kern_attend *a, const struct kern_attend_out *out,
                       struct attend_scratch *s)
{
    for (int32_t t = 0, row = 0; t < a->n_tokens; t++) {
        for (int32_t h = 0; h < a->n_heads; h++, row++) {
            s->q[row] = a->q + (size_t)t * a->q_stride + (size_t)h * (size_t)a->head_dim;
            s->acc[row] = out->acc + (size_t)t * out->acc_stride + (size_t)h * (size_t)a->head_dim;
            memset(s->acc[row], 0, (size_t)a->head_dim * sizeof *s->acc[row]);
        }
    }
    for (size_t i = 0; i < sizeof s->max / sizeof *s->max; i++) s->max[i] = -INFINITY, s->sum[i] = 0;
}

static void end_rows(const struct kern_attend *a, const struct kern_attend_out *out,
                     const struct attend_scratch *s)
{
    for (int32_t i = 0; i < a->n_tokens * a->n_heads; i++) {
        out->max[i] = s->max[i] * LN_2; /* from units of log 2 */
        out->sum[i] = s->sum[i];
    }
}

static struct attend_slice slice_at(const struct kern_attend *a, int32_t first)
{
    int32_t n = a->head_dim - first;
    return (struct attend_slice){first, n < ATTEND_SLICE ? n : ATTEND_SLICE};
}

/* Ask for a block that is needed soon: blocks follow one another at addresses that no hardware guesses. */
static void prefetch(const char *block, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64) _mm_prefetch(block + i, _MM_HINT_T0);
}

void kern_avx2_attend_with(const struct attend_products *products, const struct kern_attend *a, int32_t begin,
                           int32_t end, const struct kern_attend_out *out, struct attend_scratch *s)
{
    begin_rows(a, out, s);
    int32_t last = a->pos + a->n_tokens, first = seen_by(a, 0).first / KERN_KV_BLOCK * KERN_KV_BLOCK;
    if (begin < first) begin = first;
    if (end > last) end = last;
    size_t block_bytes = kern_kv_block_bytes(a->type, a->head_dim);
    for (int32_t p = begin; p < end; p += KERN_KV_BLOCK) {
        const char *page = a->pages[p / KERN_KV_BLOCK];
        plan_groups(a, p, end, products->group_rows, s);
        prefetch(page + a->v_offset, block_bytes);
        for (int32_t c = 0; c < a->head_dim; c += ATTEND_SLICE) {
            kern_avx2_expand_keys(a->type, a->head_dim, page + a->k_offset, slice_at(a, c), s->block);
            for (int32_t i = 0; i < s->n_groups; i++) products->score(s, &s->groups[i], slice_at(a, c));
        }
        for (int32_t i = 0; i < s->n_groups; i++) softmax(s, &s->groups[i], a->scale * LOG2_E);
        if (p + KERN_KV_BLOCK < end) prefetch(a->pages[p / KERN_KV_BLOCK + 1] + a->k_offset, block_bytes);
        for (int32_t c = 0; c < a->head_dim; c += ATTEND_SLICE) {
            kern_avx2_expand_values(a->type, a->head_dim, page + a->v_offset, slice_at(a, c), s->block);
            for (int32_t i = 0; i < s->n_groups; i++) products->add_values(s, &s->groups[i], slice_at(a, c));
        }
    }
    end_rows(a, out, s);
}

/* The products of n_rows rows with n_vec (2, or 4: both panels) vectors of positions from `panel` on. n_rows,
 * n_vec: constants. */
ALWAYS_INLINE void score_tile(const float *const *q, int32_t n_rows, int32_t n_vec, const float *panel,
                              struct attend_slice slice, float *scores)
{
    __m256 acc[GROUP_ROWS][4];
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++) {
            acc[j][c] = _mm256_setzero_ps();
            if (slice.first) acc[j][c] = _mm256_load_ps(scores + j * KERN_KV_BLOCK + 8 * c);
        }
    }
    const float *second = panel + slice.n * ATTEND_PANEL;
    for (int32_t i = 0; i < slice.n; i++) {
        __m256 k[4];
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            k[c] = _mm256_load_ps((c < 2 ? panel : second) + i * ATTEND_PANEL + c % 2 * 8);
        UNROLL
        for (int32_t j = 0; j < n_rows; j++) {
            __m256 f = _mm256_broadcast_ss(q[j] + slice.first + i);
            UNROLL
            for (int32_t c = 0; c < n_vec; c++) acc[j][c] = _mm256_fmadd_ps(f, k[c], acc[j][c]);
        }
    }
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++) _mm256_store_ps(scores + j * KERN_KV_BLOCK + 8 * c, acc[j][c]);
    }
}

/* All positions, for a constant number of rows. */
ALWAYS_INLINE void score_rows(struct attend_scratch *s, int32_t row, int32_t n_rows,
                              struct attend_slice slice)
{
    float *scores = s->weights[row];
    if (n_rows <= 3) {
        score_tile(s->q + row, n_rows, 4, s->block, slice, scores);
    } else {
        for (int32_t p = 0; p < KERN_KV_BLOCK; p += ATTEND_PANEL)
            score_tile(s->q + row, n_rows, 2, s->block + p * slice.n, slice, scores + p);
    }
}

static void score(struct attend_scratch *s, const struct attend_group *g, struct attend_slice slice)
{
    switch (g->n_rows) {
    case 1:
        score_rows(s, g->row, 1, slice);
        break;
    case 2:
        score_rows(s, g->row, 2, slice);
        break;
    case 3:
        score_rows(s, g->row, 3, slice);
        break;
    case 4:
        score_rows(s, g->row, 4, slice);
        break;
    case 5:
        score_rows(s, g->row, 5, slice);
        break;
    default:
        score_rows(s, g->row, GROUP_ROWS, slice);
        break;
    }
}

/* n_vec vectors of columns from first + i on, of the slice that begins at column `first`; i is a multiple of
 * ATTEND_PANEL. n_rows, n_vec: constants. */
ALWAYS_INLINE void values_tile(const struct attend_scratch *s, const struct attend_group *g, int32_t n_rows,
                               int32_t n_vec, int32_t first, int32_t i)
{
    __m256 acc[GROUP_ROWS][8];
    float *const *out = s->acc + g->row;
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        __m256 shrink = _mm256_broadcast_ss(&s->shrink[g->row + j]);
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            acc[j][c] = _mm256_mul_ps(_mm256_loadu_ps(out[j] + first + i + 8 * c), shrink);
    }
    const float *weights = s->weights[g->row], *values = s->block + i * KERN_KV_BLOCK;
    for (int32_t p = g->from; p < g->to; p++) {
        __m256 v[8];
        UNROLL
        for (int32_t c = 0; c < n_vec; c++)
            v[c] = _mm256_load_ps(values + (c / 2 * KERN_KV_BLOCK + p) * ATTEND_PANEL + c % 2 * 8);
        UNROLL
        for (int32_t j = 0; j < n_rows; j++) {
            __m256 weight = _mm256_broadcast_ss(weights + j * KERN_KV_BLOCK + p);
            UNROLL
            for (int32_t c = 0; c < n_vec; c++) acc[j][c] = _mm256_fmadd_ps(weight, v[c], acc[j][c]);
        }
    }
    UNROLL
    for (int32_t j = 0; j < n_rows; j++) {
        UNROLL
        for (int32_t c = 0; c < n_vec; c++) _mm256_storeu_ps(out[j] + first + i + 8 * c, acc[j][c]);
    }
}

/* All columns of the slice, for a constant number of rows. */
ALWAYS_INLINE void values_rows(const struct attend_scratch *s, const struct attend_group *g, int32_t n_rows,
                               struct attend_slice slice)
{
    int32_t i = 0;
    if (n_rows == 1) {
        for (; i + 64 <= slice.n; i += 64) values_tile(s, g, n_rows, 8, slice.first, i);
    } else if (n_rows <= 3) {
        for (; i + 32 <= slice.n; i += 32) values_tile(s, g, n_rows, 4, slice.first, i);
    }
    for (; i + 16 <= slice.n; i += 16) values_tile(s, g, n_rows, 2, slice.first, i);
    if (i < slice.n) values_tile(s, g, n_rows, 1, slice.first, i);
}

static void add_values(const struct attend_scratch *s, const struct attend_group *g,
                       struct attend_slice slice)
{
    switch (g->n_rows) {
    case 1:
        values_rows(s, g, 1, slice);
        break;
    case 2:
        values_rows(s, g, 2, slice);
        break;
    case 3:
        values_rows(s, g, 3, slice);
        break;
    case 4:
        values_rows(s, g, 4, slice);
        break;
    case 5:
        values_rows(s, g, 5, slice);
        break;
    default:
        values_rows(s, g, GROUP_ROWS, slice);
        break;
    }
}

void kern_avx2_attend(const struct kern_attend *a, int32_t begin, int32_t end,
                      const struct kern_attend_out *out, void *scratch)
{
    static const struct attend_products products = {GROUP_ROWS, score, add_values};
    kern_avx2_attend_with(&products, a, begin, end, out, scratch);
}

#else
typedef int kern_avx2_attend_unused; /* a translation unit must declare something */
#endif
