/* Error codes and messages: always one printable line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/utf8.h"

static void test_formats_and_returns_code(void **state)
{
    struct errmsg msg;
    (void)state;
    assert_int_equal(err_set(&msg, ERR_FORMAT, "key %s: %d", "a.b", 7), ERR_FORMAT);
    assert_string_equal(msg.text, "key a.b: 7");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void test_replaces_what_breaks_a_line(void **state)
{
    static const struct {
        const char *in;
        const char *out;
    } cases[] = {
        {"two\nlines\r", "two?lines?"},
        {"\033[31mred\033[0m", "?[31mred?[0m"},
        {"del\x7f", "del?"},
        {"bad \xff\xc3.", "bad ??."},
        {"c1 control \xc2\x9b", "c1 control ??"},
        {"\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
         "\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"", ""},
    };
    struct errmsg msg;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(err_set(&msg, ERR_ARG, "%s", cases[i].in), ERR_ARG);
        assert_string_equal(msg.text, cases[i].out);
    }
}

/* A message that is too long is cut, wherever the cut falls in a character. */
static void test_cuts_long_messages(void **state)
{
    char text[2 * ERRMSG_MAX];
    struct errmsg msg;
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4) memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        assert_int_equal(err_set(&msg, ERR_ARG, "%s", text), ERR_ARG);
        assert_int_equal(strlen(msg.text), ERRMSG_MAX - 1);
        assert_int_equal(utf8_valid_len(msg.text, ERRMSG_MAX - 1), ERRMSG_MAX - 1);
    }
}

static void test_every_code_has_a_text(void **state)
{
    (void)state;
#define X(code, text) assert_string_equal(err_text(code), text);
    ERR_LIST(X)
#undef X
    assert_string_equal(err_text((enum err)1000), "unknown error");
    assert_string_equal(err_text((enum err) - 1), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats_and_returns_code),
        cmocka_unit_test(test_replaces_what_breaks_a_line),
        cmocka_unit_test(test_cuts_long_messages),
        cmocka_unit_test(test_every_code_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
