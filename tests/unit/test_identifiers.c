/* Texts as sets of identifiers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "context/identifiers.h"

static void of(const char *text, struct identifiers *out)
{
    identifiers_of(text, strlen(text), out);
}

static bool has(const struct identifiers *s, const char *name)
{
    return identifiers_has(s, identifiers_hash(name, strlen(name)));
}

static bool counts(const char *name)
{
    return identifiers_counts(name, strlen(name));
}

static void test_names_in_order(void **state)
{
    (void)state;
    static const char text[] = "int f1_(x, 0xff, 10ul) + _a.b9 \"gr\xc3\xbc\xc3\x9f"
                               "e\" 7up\xff";
    static const char *const expected[] = {"int",
                                           "f1_",
                                           "x",
                                           "_a",
                                           "b9",
                                           "gr\xc3\xbc\xc3\x9f"
                                           "e"};
    size_t at = 0, len, n = 0;
    const char *name;
    while (identifiers_next(text, sizeof text - 1, &at, &name, &len)) {
        assert_true(n < sizeof expected / sizeof *expected);
        assert_int_equal(len, strlen(expected[n]));
        assert_memory_equal(name, expected[n], len);
        n++;
    }
    assert_int_equal(n, sizeof expected / sizeof *expected);
    assert_false(identifiers_next(text, sizeof text - 1, &at, &name, &len));
    at = 0;
    assert_false(identifiers_next("", 0, &at, &name, &len));
}

static void test_keywords_do_not_count(void **state)
{
    (void)state;
    static const char *const no[] = {"",      "i",     "db",         "return",  "function",
                                     "self",  "NULL",  "None",       "async",   "yield",
                                     "False", "while", "instanceof", "abstract"};
    static const char *const yes[] = {"returned", "functio", "retur", "kv_cache", "Selfie",
                                      "nul",      "yields",  "zzz",   "ABC"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(counts(no[i]));
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(counts(yes[i]));
    assert_false(identifiers_counts("returned", 6)); /* of a text that goes on */
}

static void test_sets(void **state)
{
    (void)state;
    struct identifiers a, b, none;
    of("kv_cache = open_cache(kv_cache, size); /* the cache */", &a);
    assert_int_equal(a.n, 4);
    for (int32_t i = 1; i < a.n; i++) assert_true(a.hashes[i - 1] < a.hashes[i]);
    assert_true(has(&a, "kv_cache") && has(&a, "open_cache") && has(&a, "size") && has(&a, "cache"));
    assert_false(has(&a, "the") || has(&a, "open"));
    of("size of cache lines: measured, printed", &b); /* 2 of 5 and 4 are the same */
    assert_int_equal(b.n, 5);
    assert_true(identifiers_similarity(&a, &b) == 2.0 / 7);
    assert_true(identifiers_similarity(&b, &a) == 2.0 / 7);
    assert_true(identifiers_similarity(&a, &a) == 1);
    of("if (x) return 1;", &none);
    assert_int_equal(none.n, 0);
    assert_true(identifiers_similarity(&none, &none) == 0);
    assert_true(identifiers_similarity(&none, &a) == 0);
    assert_false(has(&none, "size"));
}

static void test_bound(void **state)
{
    (void)state;
    struct identifiers s;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 2 * IDENTIFIERS_MAX; i++) buf_printf(&b, "name%d name%d ", i, i);
    identifiers_of(b.data, b.len, &s);
    assert_int_equal(s.n, IDENTIFIERS_MAX);
    assert_true(has(&s, "name0") && has(&s, "name1000"));
    assert_false(has(&s, "name2047"));
    buf_clear(&b);
}

static int32_t parts_of(const char *name, uint32_t hashes[8])
{
    int32_t n = 0;
    size_t at = 0;
    while (n < 8 && identifiers_part(name, strlen(name), &at, &hashes[n])) n++;
    return n;
}

static void test_parts(void **state)
{
    (void)state;
    static const char *const same[] = {"take_reading", "takeReading", "TAKE_READING", "TakeReading",
                                       "take2reading"};
    uint32_t first[8], other[8];
    assert_int_equal(parts_of(same[0], first), 2);
    for (size_t i = 1; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(parts_of(same[i], other), 2);
        assert_memory_equal(first, other, 2 * sizeof *first);
    }
    assert_int_equal(parts_of("XMLFile", first), 2);
    assert_int_equal(parts_of("xml_file", other), 2);
    assert_memory_equal(first, other, 2 * sizeof *first);
    assert_int_equal(parts_of("a_b_of", first), 0); /* too short to tell anything */
    assert_int_equal(parts_of("", first), 0);
    assert_int_equal(parts_of("__42__", first), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_names_in_order),
        cmocka_unit_test(test_keywords_do_not_count),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
