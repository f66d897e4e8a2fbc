/* Who may ask: tokens, hosts and origins as browsers, editors and attackers send them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "serve/http_access.h"

static void test_token(void **state)
{
    (void)state;
    assert_true(http_access_has_token("Bearer secret", "secret"));
    assert_true(http_access_has_token("bearer   secret", "secret"));
    static const char *const wrong[] = {
        "",
        "Bearer",
        "Bearer ",
        "Bearer secre",
        "Bearer secrets",
        "Bearer secret ",
        "Bearer Secret",
        "secret",
        "Basic secret",
        "Bearersecret",
        "Bearer xecret",
        "Bearer secrex",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (http_access_has_token(wrong[i], "secret")) fail_msg("\"%s\" passed", wrong[i]);
    }
    assert_false(http_access_has_token("Bearer ", "")); /* no token is not an empty token */
    assert_false(http_access_has_token("", ""));
}

static void test_long_tokens(void **state)
{
    char token[HTTP_TOKEN_MAX + 2], header[HTTP_TOKEN_MAX + 20] = "Bearer ";
    (void)state;
    memset(token, 't', sizeof token);
    token[HTTP_TOKEN_MAX] = '\0';
    memcpy(header + 7, token, HTTP_TOKEN_MAX + 1);
    assert_true(http_access_has_token(header, token));
    header[7 + HTTP_TOKEN_MAX - 1] = 'u';
    assert_false(http_access_has_token(header, token));
    header[7 + HTTP_TOKEN_MAX - 1] = 't';
    header[7 + HTTP_TOKEN_MAX] = 't'; /* beyond what is compared */
    header[7 + HTTP_TOKEN_MAX + 1] = '\0';
    assert_false(http_access_has_token(header, token));
}

static void test_loopback_hosts(void **state)
{
    (void)state;
    static const char *const loopback[] = {
        "localhost",  "LocalHost:8012",         "127.0.0.1",  "127.0.0.1:8012", "127.255.3.4:1", "[::1]",
        "[::1]:8012", "[0:0:0:0:0:0:0:1]:8012", "localhost:",
    };
    static const char *const foreign[] = {
        "",
        ":8012",
        "evil.example",
        "evil.example:8012",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "128.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]:8012",
        "::1",
        "[::1",
        "[::1]x",
        "localhost:80x",
        "localhost:808012",
        "localhost 127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "localhost@evil.example",
        "127.0.0.1:80:80",
        "[127.0.0.1]",
        "[localhost]",
        "xlocalhost",
        "localhost.",
    };
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++) {
        if (!http_access_is_loopback_host(loopback[i])) fail_msg("\"%s\" refused", loopback[i]);
    }
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (http_access_is_loopback_host(foreign[i])) fail_msg("\"%s\" passed", foreign[i]);
    }
    char longest[2000];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_false(http_access_is_loopback_host(longest));
}

static void test_listening_address(void **state)
{
    (void)state;
    assert_true(http_access_is_host("192.168.1.5:8012", "192.168.1.5"));
    assert_true(http_access_is_host("192.168.1.5", "192.168.1.5"));
    assert_true(http_access_is_host("[FE80:0::1]:8012", "fe80::1"));
    assert_false(http_access_is_host("192.168.1.6:8012", "192.168.1.5"));
    assert_false(http_access_is_host("evil.example", "192.168.1.5"));
    assert_false(http_access_is_host("fe80::1", "fe80::1"));
    assert_false(http_access_is_host("[::ffff:192.168.1.5]", "192.168.1.5"));
    assert_false(http_access_is_host("", ""));
}

static void test_listed_origins(void **state)
{
    (void)state;
    const char *origins = " http://localhost:3000  vscode-webview://abc";
    assert_true(http_access_lists_origin("http://localhost:3000", origins));
    assert_true(http_access_lists_origin("HTTP://LOCALHOST:3000", origins));
    assert_true(http_access_lists_origin("vscode-webview://abc", origins));
    assert_false(http_access_lists_origin("vscode-webview://ab", origins));
    assert_false(http_access_lists_origin("vscode-webview://abcd", origins));
    assert_false(http_access_lists_origin("http://localhost:30", origins));
    assert_false(http_access_lists_origin("null", origins));
    assert_false(http_access_lists_origin("", origins));
    assert_false(http_access_lists_origin("http://x", ""));
    assert_true(http_access_lists_origin("http://x", "http://y *"));
    assert_false(http_access_lists_origin("http://x", "*http://x"));
}

static void test_same_origin(void **state)
{
    (void)state;
    assert_true(http_access_is_same_origin("http://localhost:8012", "localhost:8012"));
    assert_true(http_access_is_same_origin("https://LOCALHOST:8012", "localhost:8012"));
    assert_false(http_access_is_same_origin("http://localhost:3000", "localhost:8012"));
    assert_false(http_access_is_same_origin("http://localhost:8012.evil.example", "localhost:8012"));
    assert_false(http_access_is_same_origin("vscode-webview://localhost:8012", "localhost:8012"));
    assert_false(http_access_is_same_origin("localhost:8012", "localhost:8012"));
    assert_false(http_access_is_same_origin("http://", ""));
    assert_false(http_access_is_same_origin("null", "null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),          cmocka_unit_test(test_long_tokens),
        cmocka_unit_test(test_loopback_hosts), cmocka_unit_test(test_listening_address),
        cmocka_unit_test(test_listed_origins), cmocka_unit_test(test_same_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
