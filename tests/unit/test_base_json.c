/* The JSON writer: exact output, and output that an independent parser accepts for any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <string.h>

#include <cmocka.h>

#include <json-c/json.h>

#include "base/json.h"

static void test_exact_output(void **state)
{
    struct buf out;
    struct json j;
    (void)state;
    buf_init(&out, 1000);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "s", "text");
    json_str(&j, "null", NULL);
    json_str_len(&j, "part", "abcdef", 3);
    json_int(&j, "min", INT64_MIN);
    json_num(&j, "num", 1.25, 1);
    json_num(&j, "inf", INFINITY, 2);
    json_flag(&j, "yes", true);
    json_begin_array(&j, "list");
    json_int(&j, NULL, 1);
    json_begin_object(&j, NULL);
    json_end_object(&j);
    json_begin_array(&j, NULL);
    json_end_array(&j);
    json_flag(&j, NULL, false);
    json_end_array(&j);
    json_raw(&j, "raw", "{\"a\":1}", 7);
    json_str(&j, "last", "");
    json_end_object(&j);
    assert_int_equal(out.err, OK);
    assert_string_equal(buf_str(&out),
                        "{\"s\":\"text\",\"null\":null,\"part\":\"abc\",\"min\":-9223372036854775808,"
                        "\"num\":1.2,\"inf\":0.00,\"yes\":true,\"list\":[1,{},[],false],"
                        "\"raw\":{\"a\":1},\"last\":\"\"}");
    buf_clear(&out);
}

/* Write one string and read it back with json-c. */
static void expect_read_back(const char *in, size_t len, const char *expected, size_t expected_len)
{
    struct buf out;
    struct json j;
    buf_init(&out, 10000);
    json_init(&j, &out);
    json_begin_array(&j, NULL);
    json_str_len(&j, NULL, in, len);
    json_end_array(&j);
    struct json_object *list = json_tokener_parse(buf_str(&out));
    if (!list) fail_msg("not JSON: %s", buf_str(&out));
    struct json_object *str = json_object_array_get_idx(list, 0);
    assert_int_equal(json_object_get_string_len(str), expected_len);
    assert_memory_equal(json_object_get_string(str), expected, expected_len);
    json_object_put(list);
    buf_clear(&out);
}

static void test_strings_survive(void **state)
{
    char every[0x7f + 1];
    (void)state;
    for (int i = 0; i <= 0x7f; i++) every[i] = (char)i;
    expect_read_back(every, sizeof every, every, sizeof every);
    expect_read_back("", 0, "", 0);
    expect_read_back("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 11, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                     11);
}

static void test_bad_utf8_is_replaced(void **state)
{
    (void)state;
    expect_read_back("a\xff"
                     "b",
                     3,
                     "a\xef\xbf\xbd"
                     "b",
                     5);
    expect_read_back("\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd", 6);
    expect_read_back("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9);
}

static void test_keys_are_escaped(void **state)
{
    struct buf out;
    struct json j;
    (void)state;
    buf_init(&out, 100);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_int(&j, "a\"b\n", 1);
    json_end_object(&j);
    assert_string_equal(buf_str(&out), "{\"a\\\"b\\n\":1}");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_output),
        cmocka_unit_test(test_strings_survive),
        cmocka_unit_test(test_bad_utf8_is_replaced),
        cmocka_unit_test(test_keys_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
