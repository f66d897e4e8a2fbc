/* UTF-8: every code point there and back, every kind of malformed sequence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"

static void test_every_code_point(void **state)
{
    (void)state;
    for (int32_t code = 0; code <= 0x10ffff; code++) {
        char bytes[4];
        int32_t decoded;
        bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
        size_t len = utf8_encode(code, bytes);
        size_t expected = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        size_t n = utf8_decode(bytes, len, &decoded);
        bool is_right = is_surrogate ? n == 1 && decoded == -1 : n == len && decoded == code;
        if (len != expected || !is_right)
            fail_msg("U+%04X: %zu bytes, back to %d", (unsigned)code, len, decoded);
    }
}

/* Known encodings, so that the two directions cannot be wrong together. */
static void test_known_bytes(void **state)
{
    static const struct {
        const char *bytes;
        int32_t code;
    } known[] = {
        {"A", 'A'},
        {"\xc3\xa9", 0xe9},
        {"\xe2\x82\xac", 0x20ac},
        {"\xf0\x9f\x98\x80", 0x1f600},
        {"\xf4\x8f\xbf\xbf", 0x10ffff},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].bytes);
        int32_t code;
        char bytes[4];
        assert_int_equal(utf8_decode(known[i].bytes, len, &code), len);
        assert_int_equal(code, known[i].code);
        assert_int_equal(utf8_encode(code, bytes), len);
        assert_memory_equal(bytes, known[i].bytes, len);
        for (size_t cut = 1; cut < len; cut++) {
            assert_int_equal(utf8_decode(known[i].bytes, cut, &code), 1);
            assert_int_equal(code, -1);
        }
    }
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "\x80",             /* continuation alone */
        "\xbf",             /* continuation alone */
        "\xc0\x80",         /* overlong NUL */
        "\xc1\xbf",         /* overlong two bytes */
        "\xe0\x9f\xbf",     /* overlong three bytes */
        "\xf0\x8f\xbf\xbf", /* overlong four bytes */
        "\xed\xa0\x80",     /* first surrogate */
        "\xed\xbf\xbf",     /* last surrogate */
        "\xf4\x90\x80\x80", /* U+110000 */
        "\xf5\x80\x80\x80", /* lead byte that never occurs */
        "\xff",             /* lead byte that never occurs */
        "\xc3(",            /* wrong continuation */
        "\xe2\x82(",        /* wrong continuation */
        "\xf0\x9f\x98(",    /* wrong continuation */
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t code = 0;
        assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &code), 1);
        assert_int_equal(code, -1);
        assert_int_equal(utf8_valid_len(bad[i], strlen(bad[i])), 0);
    }
}

static void test_valid_len(void **state)
{
    (void)state;
    assert_int_equal(utf8_valid_len("", 0), 0);
    assert_int_equal(utf8_valid_len("ab\0c", 4), 4);
    assert_int_equal(utf8_valid_len("a\xc3\xa9z", 4), 4);
    assert_int_equal(utf8_valid_len("a\xc3\xa9\xffz", 5), 3);
    assert_int_equal(utf8_valid_len("a\xe2\x82", 3), 1);
}

/* A text cut anywhere is streamed up to its last whole character; the rest follows later. */
static void test_complete_len(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    static const size_t complete[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11};
    (void)state;
    for (size_t cut = 0; cut < sizeof complete / sizeof *complete; cut++) {
        assert_int_equal(utf8_complete_len(text, cut), complete[cut]);
    }
    /* Bytes that no later byte can complete are not held back. */
    assert_int_equal(utf8_complete_len("a\xff", 2), 2);
    assert_int_equal(utf8_complete_len("\x80\x80\x80\x80", 4), 4);
    assert_int_equal(utf8_complete_len("\xc3\xa9\xa9", 3), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point), cmocka_unit_test(test_known_bytes),
        cmocka_unit_test(test_malformed),        cmocka_unit_test(test_valid_len),
        cmocka_unit_test(test_complete_len),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
