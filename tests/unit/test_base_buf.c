/* The growable buffer: contents, its cap, its sticky error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static void test_appends(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 1000);
    assert_string_equal(buf_str(&b), "");
    assert_null(b.data);
    buf_add(&b, "ab\0c", 4);
    buf_add_str(&b, "de");
    buf_add_char(&b, 'f');
    buf_printf(&b, "%d-%s", 42, "x");
    buf_add(&b, NULL, 0);
    assert_int_equal(b.err, OK);
    assert_int_equal(b.len, 11);
    assert_memory_equal(b.data, "ab\0cdef42-x", 12); /* with the NUL behind */
    buf_clear(&b);
    assert_null(b.data);
    assert_int_equal(b.max, 1000);
}

static void test_grows(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 100000);
    for (int i = 0; i < 100000; i++) buf_add_char(&b, (char)(i % 127));
    assert_int_equal(b.err, OK);
    assert_int_equal(b.len, 100000);
    for (int i = 0; i < 100000; i++) {
        if (b.data[i] != (char)(i % 127)) fail_msg("byte %d is wrong", i);
    }
    assert_int_equal(b.data[b.len], '\0');
    buf_clear(&b);
}

/* The cap is exact; past it the error sticks and nothing more is added. */
static void test_cap(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 5);
    buf_add_str(&b, "12345");
    assert_int_equal(b.err, OK);
    buf_add_char(&b, '6');
    assert_int_equal(b.err, ERR_LIMIT);
    assert_string_equal(buf_str(&b), "12345");
    buf_truncate(&b, 2);
    buf_add_char(&b, 'x');
    assert_string_equal(buf_str(&b), "12");

    buf_reset(&b);
    assert_int_equal(b.err, OK);
    assert_string_equal(buf_str(&b), "");
    buf_printf(&b, "%s", "123456");
    assert_int_equal(b.err, ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_clear(&b);

    buf_init(&b, 0);
    buf_add_str(&b, "");
    assert_int_equal(b.err, OK);
    buf_add_char(&b, 'x');
    assert_int_equal(b.err, ERR_LIMIT);
    buf_clear(&b);
}

static void test_take(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    char *taken = buf_take(&b);
    assert_string_equal(taken, "");
    mem_free(taken);
    buf_add_str(&b, "mine");
    taken = buf_take(&b);
    assert_string_equal(taken, "mine");
    assert_string_equal(buf_str(&b), "");
    buf_add_str(&b, "next");
    assert_string_equal(taken, "mine");
    assert_string_equal(buf_str(&b), "next");
    mem_free(taken);
    buf_clear(&b);
}

static void test_truncate(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 100);
    buf_truncate(&b, 0); /* of an empty buffer */
    buf_add_str(&b, "abcdef");
    buf_truncate(&b, 6);
    assert_string_equal(buf_str(&b), "abcdef");
    buf_truncate(&b, 3);
    assert_string_equal(buf_str(&b), "abc");
    buf_add_str(&b, "X");
    assert_string_equal(buf_str(&b), "abcX");
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends), cmocka_unit_test(test_grows),    cmocka_unit_test(test_cap),
        cmocka_unit_test(test_take),    cmocka_unit_test(test_truncate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
