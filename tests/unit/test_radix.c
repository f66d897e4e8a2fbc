/* The radix tree against a sorted array of strings, and its memory against what is really allocated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/radix.h"
#include "support/counted_mem.h"

#define LEN_MAX 24
#define N_MAX   600

struct pair {
    char bytes[LEN_MAX];
    size_t len;
    void *value;
};

static struct pair model[N_MAX]; /* sorted */
static size_t n_model;

static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 99; /* xorshift (Marsaglia 2003) */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 32) % n;
}

static int order(const struct pair *a, const struct pair *b)
{
    int c = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    return c != 0 ? c : (a->len > b->len) - (a->len < b->len);
}

/* Where p stands in the model, or would; true if it does. */
static bool model_find(const struct pair *p, size_t *at)
{
    size_t low = 0, high = n_model;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (order(&model[mid], p) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *at = low;
    return low < n_model && order(&model[low], p) == 0;
}

static void model_remove(size_t at)
{
    memmove(&model[at], &model[at + 1], (--n_model - at) * sizeof model[0]);
}

static void model_insert(size_t at, const struct pair *p)
{
    memmove(&model[at + 1], &model[at], (n_model++ - at) * sizeof model[0]);
    model[at] = *p;
}

/* Strings that share much: few letters (NUL among them), often the beginning of one in the model; sometimes
 * of any letters, so that nodes get wide. */
static struct pair random_pair(void)
{
    struct pair p = {.len = random_below(10)};
    bool is_wide = random_below(4) == 0;
    for (size_t i = 0; i < LEN_MAX; i++)
        p.bytes[i] = is_wide && i == 0 ? (char)random_below(256) : "\0ab\xff"[random_below(4)];
    if (n_model > 0 && random_below(2) == 0) {
        const struct pair *other = &model[random_below((uint32_t)n_model)];
        size_t same = random_below((uint32_t)other->len + 1);
        memcpy(p.bytes, other->bytes, same);
        p.len = same + random_below((uint32_t)(LEN_MAX - same) + 1);
        if (random_below(3) == 0) p.len = same;
    }
    return p;
}

/* Pairs of the model that `p` begins with, `least` bytes of it, longest first. */
static int model_prefixes(const struct pair *p, size_t least, struct radix_prefix *out, int max)
{
    int n = 0;
    for (size_t len = p->len; len + 1 > least && n < max; len--) {
        struct pair beginning = *p;
        beginning.len = len;
        size_t at;
        if (model_find(&beginning, &at)) out[n++] = (struct radix_prefix){model[at].value, len};
        if (len == 0) break;
    }
    return n;
}

static void check_prefixes(const struct radix *r, const struct pair *p)
{
    struct radix_prefix got[LEN_MAX + 1], want[LEN_MAX + 1];
    int max = 1 + (int)random_below(LEN_MAX + 1);
    size_t least = random_below(4);
    int n = radix_prefixes(r, p->bytes, p->len, least, got, max);
    assert_int_equal(n, model_prefixes(p, least, want, max));
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(got[i].value, want[i].value);
        assert_int_equal(got[i].len, want[i].len);
    }
}

static void check_all(const struct radix *r)
{
    for (size_t i = 0; i < n_model; i++)
        assert_ptr_equal(radix_find(r, model[i].bytes, model[i].len), model[i].value);
}

/* Add or remove one string in both. Where allocations fail, the tree says so and stays as it was. */
static void change(struct radix *r, bool may_fail, uint32_t n_aim)
{
    struct pair p = random_pair();
    size_t at;
    bool is_there = model_find(&p, &at);
    if (is_there && random_below(2) == 0) p = model[at];
    if (random_below((uint32_t)n_aim * 2) >= n_model && n_model < N_MAX) {
        void **place = radix_add(r, p.bytes, p.len);
        if (!place) {
            assert_true(may_fail && !is_there);
            return;
        }
        assert_ptr_equal(*place, is_there ? model[at].value : NULL);
        *place = p.value = (void *)(uintptr_t)(1 + random_below(1000000));
        if (is_there)
            model[at].value = p.value;
        else
            model_insert(at, &p);
        return;
    }
    if (!is_there && n_model > 0 && random_below(2) == 0) {
        at = random_below((uint32_t)n_model);
        p = model[at];
        is_there = true;
    }
    radix_remove(r, p.bytes, p.len);
    if (is_there) model_remove(at);
}

static void test_model(void **state)
{
    (void)state;
    n_model = 0;
    struct radix *r = radix_new();
    size_t empty = radix_bytes(r);
    assert_int_equal(empty, counted_mem_bytes());
    for (int i = 0; i < 300000; i++) {
        change(r, false, i / 1000 % 20 < 10 ? 12 : 500);
        assert_int_equal(radix_n(r), n_model);
        assert_int_equal(radix_bytes(r), counted_mem_bytes());
        struct pair p = random_pair();
        size_t at;
        assert_ptr_equal(radix_find(r, p.bytes, p.len), model_find(&p, &at) ? model[at].value : NULL);
        check_prefixes(r, &p);
        if (i % 512 == 0) check_all(r);
    }
    while (n_model > 0) {
        size_t at = random_below((uint32_t)n_model);
        radix_remove(r, model[at].bytes, model[at].len);
        model_remove(at);
        check_all(r);
    }
    assert_int_equal(radix_n(r), 0);
    assert_int_equal(radix_bytes(r), empty);
    radix_free(&r);
    assert_null(r);
    assert_int_equal(counted_mem_bytes(), 0);
}

/* What is added in any order and removed in any other leaves the same tree: it was compressed on the way. */
static void test_compressed(void **state)
{
    (void)state;
    struct radix *r = radix_new();
    n_model = 0;
    for (int i = 0; i < 200; i++) change(r, false, 300);
    size_t bytes = radix_bytes(r);
    static const char *extra[] = {"aab\xff\xff", "", "b", "ba", "bab", "zz", "zzz"};
    bool was_there[7];
    for (int i = 0; i < 7; i++) {
        was_there[i] = radix_find(r, extra[i], strlen(extra[i])) != NULL;
        if (!was_there[i]) *radix_add(r, extra[i], strlen(extra[i])) = model;
    }
    assert_true(radix_bytes(r) > bytes);
    for (int i = 0; i < 7; i++)
        if (!was_there[i]) radix_remove(r, extra[i], strlen(extra[i]));
    assert_int_equal(radix_bytes(r), bytes);
    radix_free(&r);
    assert_int_equal(counted_mem_bytes(), 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    n_model = 0;
    struct radix *r = radix_new();
    counted_mem_fail(3);
    for (int i = 0; i < 50000; i++) {
        change(r, true, 200);
        assert_int_equal(radix_n(r), n_model);
        if (i % 64 == 0) check_all(r);
    }
    counted_mem_fail(0);
    check_all(r);
    radix_free(&r);
    assert_int_equal(counted_mem_bytes(), 0);
}

/* Every beginning of one long string: as deep as it gets. */
static void test_deep(void **state)
{
    (void)state;
    enum { LEN = 100000, MAX = 5 };
    char *bytes = test_malloc(LEN);
    memset(bytes, 'x', LEN);
    struct radix *r = radix_new();
    for (size_t len = 0; len <= LEN; len += 50) *radix_add(r, bytes, len) = bytes + len;
    struct radix_prefix out[MAX];
    assert_int_equal(radix_prefixes(r, bytes, LEN - 1, 0, out, MAX), MAX);
    for (size_t i = 0; i < MAX; i++) {
        assert_int_equal(out[i].len, LEN - 50 * (i + 1));
        assert_ptr_equal(out[i].value, bytes + out[i].len);
    }
    assert_int_equal(radix_prefixes(r, bytes, LEN, LEN - 99, out, MAX), 2);
    radix_free(&r);
    assert_int_equal(counted_mem_bytes(), 0);
    test_free(bytes);
}

/* Keys as caches have them: 16 bytes of a hash, then up to 80 of a line of code. The tree takes three
 * pointers more for each than the string and its value. */
static void test_compact(void **state)
{
    (void)state;
    struct radix *r = radix_new();
    size_t n_bytes = 0;
    for (int i = 0; i < 100000; i++) {
        char key[96];
        size_t len = 16 + random_below(81);
        for (size_t k = 0; k < len; k++) key[k] = (char)(k < 16 ? random_below(256) : 'a' + random_below(26));
        *radix_add(r, key, len) = r;
        n_bytes += len + sizeof(void *);
    }
    assert_int_equal(radix_n(r), 100000);
    assert_true(radix_bytes(r) < n_bytes + 100000 * 3 * sizeof(void *));
    radix_free(&r);
    assert_int_equal(counted_mem_bytes(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model), cmocka_unit_test(test_compressed), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_deep),  cmocka_unit_test(test_compact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
