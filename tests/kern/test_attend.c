/* Attention and the KV cache's formats, every variant: against sums in F64 over what kv_load returns, in odd
 * shapes, windows and chunks; and that what a token gets is the same to the bit in every tile. Pages end at
 * an unreadable page and are full of NaN where nothing was stored; outputs are surrounded by marks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kern_data.h"
#include "variants.h"

/* Bound of a score's error relative to the sum of the magnitudes of its terms, and of the relative error of a
 * weighted sum beyond what the scores' errors explain: F32 sums of up to some hundred terms, exp. */
#define SCORE_TOLERANCE 1e-6
#define SUM_TOLERANCE   4e-6
#define TINY            1e-34 /* bound of what positions add whose exp is below the range of normal numbers */
#define MARK            12345.0f /* what outputs hold where nothing may be written */

#define COUNT(array) ((int32_t)(sizeof(array) / sizeof *(array)))

static const struct kern *variants[VARIANTS_MAX];
static int32_t n_variants;
static void *scratch; /* 64-byte aligned */

static void assert_close(const char *what, const struct kern *k, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound))
        fail_msg("%s (%s): %.9g, expected %.9g within %.3g", what, k->isa, got, want, bound);
}

struct shape {
    enum kern_kv_type type;
    int32_t head_dim, n_heads, n_tokens, pos, window;
};

/* Queries and a cache for a shape. Pages that nobody sees are null. */
struct problem {
    struct kern_attend a;
    struct region q, table, *pages; /* owned */
    int32_t n_pages;
};

static int32_t first_seen(const struct kern_attend *a, int32_t t)
{
    int32_t last = a->pos + t + 1;
    return a->window && last > a->window ? last - a->window : 0;
}

static char *block_at(const struct problem *p, int32_t pos, bool is_value)
{
    char *page = p->pages[pos / KERN_KV_BLOCK].data;
    return page + (is_value ? p->a.v_offset : p->a.k_offset);
}

/* Values of keys, values and queries lie within +-1, but for the queries' factor. */
static struct problem problem_new(const struct shape *s, float query_factor)
{
    size_t row = (size_t)s->n_heads * (size_t)s->head_dim, stride = row + 8;
    size_t block = kern_kv_block_bytes(s->type, s->head_dim);
    int32_t end = s->pos + s->n_tokens;
    struct problem p = {.n_pages = (end + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK};
    p.q = region_new(((size_t)(s->n_tokens - 1) * stride + row) * sizeof(float));
    p.table = region_new((size_t)p.n_pages * sizeof(char *));
    p.pages = calloc((size_t)p.n_pages, sizeof *p.pages);
    assert_non_null(p.pages);
    p.a = (struct kern_attend){
        .q = p.q.data,
        .q_stride = stride,
        .pages = p.table.data,
        .k_offset = 64,
        .v_offset = 64 + block,
        .type = s->type,
        .n_tokens = s->n_tokens,
        .n_heads = s->n_heads,
        .head_dim = s->head_dim,
        .pos = s->pos,
        .window = s->window,
        .scale = 1 / sqrtf((float)s->head_dim),
    };
    float *q = p.q.data, x[KERN_HEAD_DIM_MAX];
    for (size_t i = 0; i < (size_t)(s->n_tokens - 1) * stride + row; i++)
        q[i] = random_float(-query_factor, query_factor);
    for (int32_t at = first_seen(&p.a, 0); at < end; at++) {
        int32_t i = at / KERN_KV_BLOCK;
        if (!p.pages[i].data) {
            p.pages[i] = region_new(64 + 2 * block);
            memset(p.pages[i].data, 0xff, 64 + 2 * block);
            ((char **)p.table.data)[i] = p.pages[i].data;
        }
        for (int32_t is_value = 0; is_value < 2; is_value++) {
            for (int32_t c = 0; c < s->head_dim; c++) x[c] = random_float(-1, 1);
            kern_select("ref")->kv_store(s->type, s->head_dim, x, block_at(&p, at, is_value),
                                         at % KERN_KV_BLOCK);
        }
    }
    return p;
}

static void problem_free(struct problem *p)
{
    for (int32_t i = 0; i < p->n_pages; i++) region_free(&p->pages[i]);
    free(p->pages);
    region_free(&p->table);
    region_free(&p->q);
}

/* What a tile leaves. */
struct result {
    struct kern_attend_out out;
    struct region acc, max, sum; /* owned */
    int32_t n_tokens, n_heads, head_dim;
};

static struct result result_new(const struct kern_attend *a)
{
    size_t row = (size_t)a->n_heads * (size_t)a->head_dim, stride = row + 3;
    size_t n = (size_t)(a->n_tokens - 1) * stride + row, n_rows = (size_t)a->n_tokens * (size_t)a->n_heads;
    struct result r = {.n_tokens = a->n_tokens, .n_heads = a->n_heads, .head_dim = a->head_dim};
    r.acc = region_new(n * sizeof(float));
    r.max = region_new(n_rows * sizeof(float));
    r.sum = region_new(n_rows * sizeof(float));
    for (size_t i = 0; i < n; i++) ((float *)r.acc.data)[i] = MARK;
    r.out = (struct kern_attend_out){r.acc.data, stride, r.max.data, r.sum.data};
    return r;
}

static void result_free(struct result *r)
{
    region_free(&r->acc);
    region_free(&r->max);
    region_free(&r->sum);
}

static float *acc_at(const struct result *r, int32_t t, int32_t h)
{
    return r->out.acc + (size_t)t * r->out.acc_stride + (size_t)h * (size_t)r->head_dim;
}

static struct result attend(const struct kern *k, const struct kern_attend *a, int32_t begin, int32_t end)
{
    struct result r = result_new(a);
    memset(scratch, 0xff, kern_scratch_bytes()); /* nothing may be taken from it */
    k->attend(a, begin, end, &r.out, scratch);
    for (int32_t t = 0; t + 1 < a->n_tokens; t++) {
        for (int32_t i = 0; i < 3; i++) assert_true(acc_at(&r, t, a->n_heads)[i] == MARK);
    }
    return r;
}

/* One row in F64. */
struct row {
    double acc[KERN_HEAD_DIM_MAX], magnitude[KERN_HEAD_DIM_MAX]; /* magnitude: the sum of the terms' */
    double max, sum, score_error;
};

static void attend_f64(const struct problem *p, int32_t t, int32_t h, int32_t begin, int32_t end,
                       struct row *r)
{
    const struct kern_attend *a = &p->a;
    const float *q = a->q + (size_t)t * a->q_stride + (size_t)h * (size_t)a->head_dim;
    int32_t first = first_seen(a, t), last = a->pos + t + 1;
    if (first < begin) first = begin;
    if (last > end) last = end;
    *r = (struct row){.max = -INFINITY};
    double *scores = calloc((size_t)(last > first ? last - first : 1), sizeof *scores);
    float x[KERN_HEAD_DIM_MAX];
    for (int32_t at = first; at < last; at++) {
        double sum = 0, magnitude = 0;
        kern_select("ref")->kv_load(a->type, a->head_dim, block_at(p, at, false), at % KERN_KV_BLOCK, x);
        for (int32_t i = 0; i < a->head_dim; i++) {
            sum += (double)q[i] * (double)x[i];
            magnitude += fabs((double)q[i] * (double)x[i]);
        }
        scores[at - first] = sum * (double)a->scale;
        r->max = fmax(r->max, scores[at - first]);
        r->score_error = fmax(r->score_error, magnitude * (double)a->scale * SCORE_TOLERANCE);
    }
    for (int32_t at = first; at < last; at++) {
        double weight = exp(scores[at - first] - r->max);
        kern_select("ref")->kv_load(a->type, a->head_dim, block_at(p, at, true), at % KERN_KV_BLOCK, x);
        for (int32_t i = 0; i < a->head_dim; i++) {
            r->acc[i] += weight * (double)x[i];
            r->magnitude[i] += weight * fabs((double)x[i]);
        }
        r->sum += weight;
    }
    free(scores);
}

/* r, in which row (t, h) holds what `want` says. */
static void check_row(const struct kern *k, const struct result *r, int32_t t, int32_t h,
                      const struct row *want)
{
    const float *acc = acc_at(r, t, h);
    float max = r->out.max[t * r->n_heads + h], sum = r->out.sum[t * r->n_heads + h];
    if (want->sum == 0) {
        assert_true(max == -INFINITY && sum == 0);
        for (int32_t i = 0; i < r->head_dim; i++) assert_true(acc[i] == 0);
        return;
    }
    assert_close("max", k, (double)max, want->max, want->score_error);
    double factor = exp((double)max - want->max), tolerance = expm1(2 * want->score_error) + SUM_TOLERANCE;
    assert_close("sum", k, (double)sum * factor, want->sum, tolerance * want->sum);
    for (int32_t i = 0; i < r->head_dim; i++)
        assert_close("acc", k, (double)acc[i] * factor, want->acc[i], tolerance * want->magnitude[i] + TINY);
}

static void check_chunk(const struct problem *p, int32_t begin, int32_t end)
{
    struct row want;
    struct result r[VARIANTS_MAX];
    for (int32_t v = 0; v < n_variants; v++) r[v] = attend(variants[v], &p->a, begin, end);
    for (int32_t t = 0; t < p->a.n_tokens; t++) {
        for (int32_t h = 0; h < p->a.n_heads; h++) {
            attend_f64(p, t, h, begin, end, &want);
            for (int32_t v = 0; v < n_variants; v++) check_row(variants[v], &r[v], t, h, &want);
        }
    }
    for (int32_t v = 0; v < n_variants; v++) result_free(&r[v]);
}

/* Random choices; every shape is one that the kernel may get. */
static const int32_t dims[] = {8, 16, 24, 64, 80, 96, 128, 256, 512}, heads[] = {1, 2, 3, 7, 8};

static int32_t choose(const int32_t *from, int32_t n)
{
    return from[random_u32() % (uint32_t)n];
}

static struct shape random_shape(enum kern_kv_type type, int32_t head_dim, int32_t n_heads)
{
    static const int32_t positions[] = {0, 1, 15, 30, 31, 32, 33, 47, 63, 64, 95, 130};
    static const int32_t windows[] = {0, 0, 0, 1, 2, 31, 32, 33, 50, 1000};
    int32_t n_tokens = 1 + (int32_t)(random_u32() % 17);
    if (n_tokens * n_heads > KERN_ATTEND_ROWS) n_tokens = KERN_ATTEND_ROWS / n_heads;
    return (struct shape){type,
                          head_dim,
                          n_heads,
                          n_tokens,
                          choose(positions, COUNT(positions)),
                          choose(windows, COUNT(windows))};
}

typedef void check_fn(const struct shape *s);

/* n random shapes of every format, head_dim and number of heads. */
static void for_shapes(int32_t n, check_fn *check)
{
    for (enum kern_kv_type type = KERN_KV_F16; type <= KERN_KV_Q8_0; type++) {
        for (int32_t d = 0; d < COUNT(dims); d++) {
            if (type == KERN_KV_Q8_0 && dims[d] % 32 != 0) continue;
            for (int32_t h = 0; h < COUNT(heads); h++) {
                for (int32_t i = 0; i < n; i++) {
                    struct shape s = random_shape(type, dims[d], heads[h]);
                    check(&s);
                }
            }
        }
    }
}

static void check_whole(const struct shape *s)
{
    struct problem p = problem_new(s, 3);
    check_chunk(&p, 0, s->pos + s->n_tokens);
    problem_free(&p);
}

static void test_shapes(void **state)
{
    (void)state;
    for_shapes(2, check_whole);
}

/* All numbers of tokens at all positions around the borders of blocks, with and without windows. */
static void test_borders(void **state)
{
    (void)state;
    static const int32_t positions[] = {0, 15, 16, 31, 32, 63};
    static const int32_t windows[] = {0, 1, 17};
    for (int32_t n_tokens = 1; n_tokens <= 17; n_tokens++) {
        for (int32_t i = 0; i < COUNT(positions) * COUNT(windows); i++) {
            struct shape s = {KERN_KV_F16,
                              16,
                              1 + i % 3,
                              n_tokens,
                              positions[i % COUNT(positions)],
                              windows[i / COUNT(positions)]};
            check_whole(&s);
        }
    }
}

/* Chunks against F64, and merged against one pass. */
static void check_chunks(const struct shape *shape)
{
    struct shape s = *shape;
    s.pos += (int32_t)(random_u32() % 100);
    struct problem p = problem_new(&s, 3);
    int32_t end = s.pos + s.n_tokens, cut = (int32_t)(random_u32() % 5) * KERN_KV_BLOCK;
    int32_t last = cut + 2 * KERN_KV_BLOCK, ends[] = {cut, cut + KERN_KV_BLOCK, end > last ? end : last};
    int32_t first = first_seen(&p.a, 0) / KERN_KV_BLOCK * KERN_KV_BLOCK;
    for (int32_t i = 0, begin = 0; i < 3; begin = ends[i++]) check_chunk(&p, begin, ends[i]);
    for (int32_t v = 0; v < n_variants; v++) {
        struct result whole = attend(variants[v], &p.a, first, end);
        struct result merged = attend(variants[v], &p.a, 0, ends[0]);
        for (int32_t i = 1; i < 3; i++) {
            struct result chunk = attend(variants[v], &p.a, ends[i - 1], ends[i]);
            for (int32_t row = 0; row < s.n_tokens * s.n_heads; row++) {
                int32_t t = row / s.n_heads, h = row % s.n_heads;
                kern_attend_merge(acc_at(&merged, t, h), &merged.out.max[row], &merged.out.sum[row],
                                  acc_at(&chunk, t, h), chunk.out.max[row], chunk.out.sum[row], s.head_dim);
            }
            result_free(&chunk);
        }
        for (int32_t row = 0; row < s.n_tokens * s.n_heads; row++) {
            const float *got = acc_at(&merged, row / s.n_heads, row % s.n_heads);
            const float *want = acc_at(&whole, row / s.n_heads, row % s.n_heads);
            float sum = merged.out.sum[row], whole_sum = whole.out.sum[row];
            assert_close("merged max", variants[v], (double)merged.out.max[row], (double)whole.out.max[row],
                         1e-5);
            for (int32_t i = 0; i < s.head_dim; i++)
                assert_close("merged", variants[v], (double)(got[i] / sum), (double)(want[i] / whole_sum),
                             1e-5);
        }
        result_free(&whole);
        result_free(&merged);
    }
    problem_free(&p);
}

static void test_chunks(void **state)
{
    (void)state;
    for_shapes(1, check_chunks);
}

/* Tokens from..from+n-1 of a tile. */
static struct kern_attend part_of(const struct kern_attend *a, int32_t from, int32_t n)
{
    struct kern_attend part = *a;
    part.q += (size_t)from * a->q_stride;
    part.pos += from;
    part.n_tokens = n;
    return part;
}

static void assert_same_rows(const struct result *whole, int32_t from, const struct result *part)
{
    for (int32_t t = 0; t < part->n_tokens; t++) {
        size_t n = (size_t)part->n_heads, row = (size_t)part->head_dim * n * sizeof(float);
        size_t at = (size_t)(from + t) * n;
        assert_memory_equal(acc_at(whole, from + t, 0), acc_at(part, t, 0), row);
        assert_memory_equal(whole->out.max + at, part->out.max + (size_t)t * n, n * sizeof(float));
        assert_memory_equal(whole->out.sum + at, part->out.sum + (size_t)t * n, n * sizeof(float));
    }
}

/* A token alone, in a pair, and in the tile. */
static void check_same_in_tiles(const struct shape *s)
{
    struct problem p = problem_new(s, 3);
    int32_t end = s->pos + s->n_tokens;
    for (int32_t v = 0; v < n_variants; v++) {
        struct result whole = attend(variants[v], &p.a, 0, end);
        for (int32_t n = 1; n <= 3; n++) {
            for (int32_t from = 0; from + n <= s->n_tokens; from++) {
                struct kern_attend a = part_of(&p.a, from, n);
                struct result part = attend(variants[v], &a, 0, end);
                assert_same_rows(&whole, from, &part);
                result_free(&part);
            }
        }
        result_free(&whole);
    }
    problem_free(&p);
}

static void test_same_in_tiles(void **state)
{
    (void)state;
    for_shapes(1, check_same_in_tiles);
}

/* Keys and values of the last token are NaN: no other token may notice. */
static void check_future(const struct shape *s)
{
    struct problem p = problem_new(s, 3);
    struct kern_attend others = part_of(&p.a, 0, s->n_tokens - 1);
    int32_t last = s->pos + s->n_tokens - 1;
    for (int32_t v = 0; v < n_variants && s->n_tokens > 1; v++) {
        struct result before = attend(variants[v], &others, 0, last);
        float x[KERN_HEAD_DIM_MAX];
        for (int32_t i = 0; i < s->head_dim; i++) x[i] = NAN;
        for (int32_t is_value = 0; is_value < 2; is_value++) {
            char *block = block_at(&p, last, is_value);
            size_t n = (size_t)s->head_dim, at = (size_t)(last % KERN_KV_BLOCK);
            if (s->type == KERN_KV_F16) {
                kern_select("ref")->kv_store(s->type, s->head_dim, x, block, last % KERN_KV_BLOCK);
            } else {
                memset(block + KERN_KV_BLOCK * n + at * (n / 32) * sizeof(float), 0xff,
                       n / 32 * sizeof(float));
            }
        }
        struct result after = attend(variants[v], &p.a, 0, last + 1);
        assert_same_rows(&after, 0, &before);
        result_free(&before);
        result_free(&after);
    }
    problem_free(&p);
}

static void test_future(void **state)
{
    (void)state;
    for_shapes(1, check_future);
}

/* Scores whose exponentials overflow, or all underflow, unless the largest is subtracted. */
static void test_extreme_scores(void **state)
{
    (void)state;
    static const float factors[] = {0, 1e-20f, 60, 1e4f, 1e5f};
    for (int32_t i = 0; i < COUNT(factors) * 4; i++) {
        struct shape s = random_shape(i % 2 ? KERN_KV_Q8_0 : KERN_KV_F16, i % 4 < 2 ? 64 : 256, 1 + i % 5);
        struct problem p = problem_new(&s, factors[i / 4]);
        check_chunk(&p, 0, s.pos + s.n_tokens);
        /* All keys alike and opposed to the queries. */
        float x[KERN_HEAD_DIM_MAX];
        for (int32_t c = 0; c < s.head_dim; c++) x[c] = -p.a.q[c] / fmaxf(factors[i / 4], 1e-30f);
        for (int32_t at = first_seen(&p.a, 0); at < s.pos + s.n_tokens; at++) {
            kern_select("ref")->kv_store(s.type, s.head_dim, x, block_at(&p, at, false), at % KERN_KV_BLOCK);
        }
        check_chunk(&p, 0, s.pos + s.n_tokens);
        problem_free(&p);
    }
}

/* What a row of a block must be stored as. */
static void check_stored(const struct kern *k, enum kern_kv_type type, int32_t head_dim, const float *x,
                         const void *block, int32_t index)
{
    int32_t at = index * head_dim;
    const float *scales = (const float *)((const char *)block + (size_t)KERN_KV_BLOCK * (size_t)head_dim);
    for (int32_t i = 0; i < head_dim; i++) {
        if (type == KERN_KV_F16) {
            assert_int_equal(((const uint16_t *)block)[at + i], kern_f32_to_f16(x[i]));
            continue;
        }
        double max = 0, scale = (double)scales[(at + i) / 32], q = (double)((const int8_t *)block)[at + i];
        for (int32_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++) max = fmax(max, fabs((double)x[j]));
        assert_close("scale", k, scale, max / 127, max * 1e-6 + 1e-30);
        assert_close("stored", k, q * scale, (double)x[i], scale * 0.50001 + 1e-30);
    }
}

static void check_store(const struct kern *k, enum kern_kv_type type, int32_t head_dim)
{
    size_t bytes = kern_kv_block_bytes(type, head_dim), row = (size_t)head_dim * sizeof(float);
    struct region block = region_new(bytes), same = region_new(bytes), in = region_new(row),
                  out = region_new(row);
    float *x = in.data, want[KERN_HEAD_DIM_MAX];
    memset(block.data, 0xa5, bytes);
    memset(same.data, 0xa5, bytes);
    for (int32_t i = 0; i < KERN_KV_BLOCK; i++) {
        int32_t index = i * 7 % KERN_KV_BLOCK;
        for (int32_t c = 0; c < head_dim; c++)
            x[c] = ldexpf(random_float(-1, 1), (int32_t)(random_u32() % 12) - 6);
        if (i == 1) memset(x, 0, row);
        if (i == 2) x[head_dim - 1] = 6e4f;
        if (i == 3) { /* ties go to the even number: the scale is 1 */
            for (int32_t c = 0; c < head_dim; c++) x[c] = (float)(c % 32) - 15.5f;
            for (int32_t c = 0; c < head_dim; c += 32) x[c] = 127;
        }
        k->kv_store(type, head_dim, x, block.data, index);
        kern_select("ref")->kv_store(type, head_dim, x, same.data, index);
        assert_memory_equal(block.data, same.data, bytes);
        check_stored(k, type, head_dim, x, block.data, index);
        k->kv_load(type, head_dim, block.data, index, out.data);
        kern_select("ref")->kv_load(type, head_dim, block.data, index, want);
        assert_memory_equal(out.data, want, row);
        for (int32_t c = 0; c < head_dim; c++) {
            float d = type == KERN_KV_F16 ? 0 : fabsf(want[c]) * 1e-6f + 6e4f / 127;
            double bound = type == KERN_KV_F16 ? fabs((double)x[c]) * 0x1p-11 + 0x1p-25 : (double)d;
            assert_close("loaded", k, (double)want[c], (double)x[c], bound);
        }
    }
    region_free(&block);
    region_free(&same);
    region_free(&in);
    region_free(&out);
}

static void test_store(void **state)
{
    (void)state;
    for (int32_t v = 0; v < n_variants; v++) {
        for (int32_t d = 0; d < COUNT(dims); d++) {
            assert_int_equal(kern_kv_block_bytes(KERN_KV_F16, dims[d]) % 64, 0);
            check_store(variants[v], KERN_KV_F16, dims[d]);
            if (dims[d] % 32 != 0) continue;
            assert_int_equal(kern_kv_block_bytes(KERN_KV_Q8_0, dims[d]) % 64, 0);
            check_store(variants[v], KERN_KV_Q8_0, dims[d]);
        }
    }
}

int main(void)
{
    n_variants = variants_find(variants);
    struct region memory = region_new((kern_scratch_bytes() + 63) / 64 * 64);
    scratch = memory.data;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),          cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_borders),        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_same_in_tiles),  cmocka_unit_test(test_future),
        cmocka_unit_test(test_extreme_scores),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    region_free(&memory);
    return failed;
}
