/* The JSON reader: what it takes, what it refuses and where, and that no question crashes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_read.h"

static struct json_value *read_ok(const char *text)
{
    struct json_value *root = NULL;
    struct errmsg msg = {""};
    if (json_read(text, strlen(text), &root, &msg)) fail_msg("%s: %s", text, msg.text);
    return root;
}

static void expect_refused(const char *text, size_t len, enum err expected, const char *where)
{
    struct json_value *root = NULL;
    struct errmsg msg = {""};
    enum err err = json_read(text, len, &root, &msg);
    if (err != expected) fail_msg("%.*s: %s, %s", (int)len, text, err_text(err), msg.text);
    assert_null(root);
    if (!strstr(msg.text, where)) fail_msg("%.*s: \"%s\" lacks \"%s\"", (int)len, text, msg.text, where);
}

static void test_reads_every_kind(void **state)
{
    (void)state;
    struct json_value *root = read_ok(" {\"s\":\"a\\u0000b\",\"i\":-7,\"d\":2.5,\"t\":true,\"n\":null,"
                                      "\"a\":[1,\"two\",null,{}],\"o\":{\"k\":1}}\r\n\t ");
    size_t len = 0;
    int64_t i = 0;
    double d = 0;
    bool flag = false;
    const char *s = json_get_str(json_get(root, "s"), &len);
    assert_int_equal(len, 3);
    assert_memory_equal(s, "a\0b", 4);
    assert_true(json_get_int(json_get(root, "i"), &i));
    assert_int_equal(i, -7);
    assert_true(json_get_num(json_get(root, "d"), &d));
    assert_true(d == 2.5);
    assert_true(json_get_flag(json_get(root, "t"), &flag));
    assert_true(flag);
    assert_null(json_get(root, "n"));
    assert_null(json_get(root, "absent"));
    const struct json_value *a = json_get(root, "a");
    assert_true(json_is_array(a) && !json_is_object(a));
    assert_int_equal(json_count(a), 4);
    assert_string_equal(json_get_str(json_at(a, 1), NULL), "two");
    assert_null(json_at(a, 2));
    assert_null(json_at(a, 4));
    assert_true(json_is_object(json_at(a, 3)));
    assert_true(json_get_int(json_get(json_get(root, "o"), "k"), &i));
    assert_int_equal(i, 1);
    json_read_free(&root);
    assert_null(root);
    json_read_free(&root);
}

/* Lookups chain through anything without checks. */
static void test_wrong_kinds_are_absent(void **state)
{
    (void)state;
    static const char *const texts[] = {"null", "1", "1.5", "\"s\"", "true", "[]", "{}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json_value *v = read_ok(texts[i]);
        int64_t integer = 42;
        double num = 42;
        bool flag = true;
        assert_null(json_get(json_at(json_get(v, "x"), 3), "y"));
        assert_int_equal(json_count(v), 0);
        assert_int_equal(json_get_int(v, &integer), i == 1 || i == 2);
        assert_int_equal(json_get_num(v, &num), i == 1 || i == 2);
        assert_int_equal(integer, i == 1 || i == 2 ? 1 : 42);
        assert_int_equal(json_get_flag(v, &flag), i == 4);
        assert_int_equal(json_get_str(v, NULL) != NULL, i == 3);
        assert_int_equal(json_is_str(v), i == 3);
        assert_int_equal(json_is_number(v), i == 1 || i == 2);
        assert_int_equal(json_is_flag(v), i == 4);
        assert_int_equal(json_is_array(v), i == 5);
        assert_int_equal(json_is_object(v), i == 6);
        json_read_free(&v);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t integer;
        double num;
    } rows[] = {
        {"3.0", 3, 3},
        {"-3.9", -3, -3.9},
        {"-0", 0, 0},
        {"1e3", 1000, 1000},
        {"9223372036854775807", INT64_MAX, 0x1p63},
        {"9223372036854775808", INT64_MAX, 0x1p63},
        {"99999999999999999999", INT64_MAX, 0x1p64},
        {"-99999999999999999999", INT64_MIN, -0x1p63},
        {"1e300", INT64_MAX, 1e300},
        {"-1e999", INT64_MIN, -DBL_MAX},
        {"1e999", INT64_MAX, DBL_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_value *v = read_ok(rows[i].text);
        int64_t integer = 0;
        double num = 0;
        assert_true(json_get_int(v, &integer));
        assert_true(json_get_num(v, &num));
        assert_true(integer == rows[i].integer);
        assert_true(num == rows[i].num);
        json_read_free(&v);
    }
}

static void test_strings(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"\"", ""},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u00e4\xc3\xa4\"", "\xc3\xa4\xc3\xa4"},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80"},
        {"\"\\ud83d\"", "\xef\xbf\xbd"},
        {"\"\\udc00x\"", "\xef\xbf\xbdx"},
        {"\"\\ud83d\\n\"", "\xef\xbf\xbd\n"},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"\"NaN Infinity [{\"", "NaN Infinity [{"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct json_value *v = read_ok(rows[i][0]);
        size_t len = 0;
        assert_string_equal(json_get_str(v, &len), rows[i][1]);
        assert_int_equal(len, strlen(rows[i][1]));
        json_read_free(&v);
    }
}

static void test_last_duplicate_wins(void **state)
{
    (void)state;
    struct json_value *root = read_ok("{\"a\":1,\"b\":2,\"a\":[3]}");
    assert_int_equal(json_count(json_get(root, "a")), 1);
    json_read_free(&root);
    root = read_ok("{\"a\":1,\"a\":null}");
    assert_null(json_get(root, "a"));
    json_read_free(&root);
}

static void test_refuses_malformed(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"", "byte 0"},
        {"  ", "byte 2"},
        {"{", "byte 1"},
        {"[1,]", "byte 3"},
        {"{\"a\":1,}", "byte 7"},
        {"{\"a\" 1}", "byte 5"},
        {"{a:1}", "byte 1"},
        {"'a'", "byte 0"},
        {"[1] [2]", "byte 4"},
        {"1 x", "byte 2"},
        {"tru", "byte 3"},
        {"TRUE", "byte 0"},
        {"\"abc", "byte"},
        {"\"\\", "byte"},
        {"\"\\x\"", "byte 2"},
        {"\"\\u12\"", "byte"},
        {"[NaN]", "byte 1"},
        {"[-Infinity]", "byte 2"},
        {"/**/1", "byte 0"},
        {"\"a\nb\"", "byte 2"},
        {"[1,\v2]", "byte 3"},
        {"\"\xff\"", "not UTF-8 at byte 1"},
        {"\"\xc3", "not UTF-8 at byte 1"},
        {"\"\xed\xa0\x80\"", "not UTF-8 at byte 1"},
        {"]", "byte 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refused(rows[i][0], strlen(rows[i][0]), ERR_FORMAT, rows[i][1]);
    expect_refused("1\0", 2, ERR_FORMAT, "byte 1");
    expect_refused("\"a\0b\"", 5, ERR_FORMAT, "byte 2");
}

/* The text need not end in NUL, and nothing behind it is read: the block is exactly as long. */
static void test_reads_no_further(void **state)
{
    (void)state;
    static const char text[] = "[12345,\"\\ud83d\\ude00 text\",{\"key\":[true,null,1.5e3]}]";
    struct errmsg msg;
    for (size_t len = 0; len <= strlen(text); len++) {
        struct json_value *root = NULL;
        char *exact = malloc(len ? len : 1);
        memcpy(exact, text, len);
        enum err err = json_read(exact, len, &root, &msg);
        assert_int_equal(err, len == strlen(text) ? OK : ERR_FORMAT);
        json_read_free(&root);
        free(exact);
    }
    struct json_value *number = NULL;
    int64_t i = 0;
    assert_int_equal(json_read("12345", 3, &number, &msg), OK);
    assert_true(json_get_int(number, &i));
    assert_int_equal(i, 123);
    json_read_free(&number);
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3];
    size_t n = JSON_DEPTH_MAX;
    memset(text, '[', n);
    memset(text + n, ']', n);
    text[2 * n] = '\0';
    struct json_value *root = read_ok(text);
    json_read_free(&root);
    memset(text, '[', n + 1);
    memset(text + n + 1, ']', n + 1);
    expect_refused(text, 2 * n + 2, ERR_LIMIT, "byte 64");
}

/* A small text that would become a huge tree. */
static void test_refuses_too_many_values(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    buf_add_char(&text, '[');
    for (int i = 0; i < 100000; i++) buf_add_str(&text, "{},");
    buf_add_str(&text, "1]");
    expect_refused(buf_str(&text), text.len, ERR_LIMIT, "values");
    buf_reset(&text);
    buf_add_char(&text, '[');
    for (int i = 0; i < 100000; i++) buf_add_str(&text, "7,");
    buf_add_str(&text, "1]");
    struct json_value *root = read_ok(buf_str(&text));
    assert_int_equal(json_count(root), 100001);
    json_read_free(&root);
    buf_clear(&text);
}

struct seen {
    char keys[16];
    int n_left;
};

static bool see(void *ctx, const char *key, const struct json_value *v)
{
    struct seen *seen = ctx;
    strncat(seen->keys, key, 1);
    if (v) strcat(seen->keys, "=");
    return --seen->n_left > 0;
}

static void test_each_in_order(void **state)
{
    (void)state;
    struct json_value *root = read_ok("{\"z\":1,\"a\":null,\"m\":{}}");
    struct seen all = {"", 10}, two = {"", 2}, none = {"", 10};
    json_each(root, see, &all);
    json_each(root, see, &two);
    json_each(json_get(root, "z"), see, &none);
    json_each(NULL, see, &none);
    assert_string_equal(all.keys, "z=am=");
    assert_string_equal(two.keys, "z=a");
    assert_string_equal(none.keys, "");
    json_read_free(&root);
}

static void expect_written(const char *text, const char *expected)
{
    struct json_value *root = read_ok(text);
    struct buf out;
    buf_init(&out, 1000);
    buf_add_char(&out, '>');
    json_write_value(root, &out);
    assert_int_equal(out.err, OK);
    assert_string_equal(buf_str(&out) + 1, expected);
    buf_clear(&out);
    json_read_free(&root);
}

static void test_write_value(void **state)
{
    (void)state;
    expect_written("null", "null");
    expect_written(" { \"a\" : [ 1 , 1.10 , true , null ] , \"b\" : { } } ",
                   "{\"a\":[1,1.10,true,null],\"b\":{}}");
    expect_written("\"a/b\\u0000\\n\\\"\\u00e4\"", "\"a/b\\u0000\\n\\\"\xc3\xa4\"");
    expect_written("-9223372036854775808", "-9223372036854775808");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_kind),
        cmocka_unit_test(test_wrong_kinds_are_absent),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_last_duplicate_wins),
        cmocka_unit_test(test_refuses_malformed),
        cmocka_unit_test(test_reads_no_further),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_refuses_too_many_values),
        cmocka_unit_test(test_each_in_order),
        cmocka_unit_test(test_write_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
