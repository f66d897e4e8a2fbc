/* Framing: messages cut anywhere, bounds, and everything that is not the protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "serve/lsp_frame.h"

/* All messages of a stream that comes in pieces of `piece` bytes, joined by '|'. */
static enum lsp_frame_state take_all(const char *stream, size_t len, size_t piece, struct buf *out,
                                     char fault[ERRMSG_MAX])
{
    struct lsp_frame f;
    enum lsp_frame_state state = LSP_FRAME_PARTIAL;
    lsp_frame_init(&f);
    buf_reset(out);
    for (size_t at = 0; at < len && state != LSP_FRAME_BROKEN; at += piece) {
        size_t n = len - at < piece ? len - at : piece, used, done = 0;
        while ((state = lsp_frame_take(&f, stream + at + done, n - done, &used)) == LSP_FRAME_WHOLE) {
            done += used;
            buf_add(out, buf_str(&f.body), f.body.len);
            buf_add_char(out, '|');
        }
        if (state == LSP_FRAME_PARTIAL) assert_int_equal(done + used, n);
    }
    snprintf(fault, ERRMSG_MAX, "%s", f.fault.text);
    lsp_frame_clear(&f);
    return state;
}

static void expect_messages(const char *stream, const char *messages)
{
    struct buf out;
    char fault[ERRMSG_MAX];
    buf_init(&out, 1 << 20);
    for (size_t piece = 1; piece <= strlen(stream); piece++) {
        assert_int_equal(take_all(stream, strlen(stream), piece, &out, fault), LSP_FRAME_PARTIAL);
        assert_string_equal(buf_str(&out), messages);
    }
    buf_clear(&out);
}

static void test_messages(void **state)
{
    (void)state;
    expect_messages("Content-Length: 2\r\n\r\n{}", "{}|");
    expect_messages("Content-Length: 2\r\n\r\n{}Content-Length: 3\r\n\r\n[1]", "{}|[1]|");
    expect_messages("content-length:2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}",
                    "{}|");
    expect_messages("X: \r\nCONTENT-LENGTH: \t 2 \r\n\r\n{}", "{}|");
    expect_messages("Content-Length: 0\r\n\r\nContent-Length: 1\r\n\r\nx", "|x|");
    expect_messages("Content-Length: 9\r\n\r\n{}", "");
    expect_messages("Content-Length: 4\r\n\r\n\r\n\r\n", "\r\n\r\n|");
}

static void expect_broken(const char *stream, size_t len, const char *why)
{
    struct buf out;
    char fault[ERRMSG_MAX];
    buf_init(&out, 1 << 20);
    for (size_t piece = 1; piece <= len; piece += piece < 40 ? 1 : 997) {
        assert_int_equal(take_all(stream, len, piece, &out, fault), LSP_FRAME_BROKEN);
        if (!strstr(fault, why)) fail_msg("\"%s\" is not in \"%s\"", why, fault);
    }
    buf_clear(&out);
}

static void test_broken(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *why;
    } cases[] = {
        {"\r\n{}", "without Content-Length"},
        {"Content-Type: text\r\n\r\n{}", "without Content-Length"},
        {"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "two"},
        {"Content-Length: \r\n\r\n{}", "not a number"},
        {"Content-Length: -2\r\n\r\n{}", "not a number"},
        {"Content-Length: 2x\r\n\r\n{}", "not a number"},
        {"Content-Length: 99999999999999999999999\r\n\r\n{}", "not a number"},
        {"Content-Length: 18446744073709551615\r\n\r\n{}", "64 MiB"},
        {"Content-Length: 67108865\r\n\r\n{}", "64 MiB"},
        {"Content-Length: 1073741824\r\n\r\n{}", "64 MiB"},
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "without a colon"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_broken(cases[i].stream, strlen(cases[i].stream), cases[i].why);
    }
    static char endless[LSP_FRAME_HEADER_MAX + 1];
    memset(endless, 'a', sizeof endless);
    expect_broken(endless, sizeof endless, "4 KiB");
}

/* A fault is final, and a length alone takes no memory. */
static void test_states(void **state)
{
    (void)state;
    static const char announce[] = "Content-Length: 67108864\r\n\r\n{",
                      good[] = "Content-Length: 2\r\n\r\n{}";
    struct lsp_frame f;
    size_t used;
    lsp_frame_init(&f);
    assert_int_equal(lsp_frame_take(&f, announce, sizeof announce - 1, &used), LSP_FRAME_PARTIAL);
    assert_true(f.body.cap < 4096);
    lsp_frame_clear(&f);

    lsp_frame_init(&f);
    assert_int_equal(lsp_frame_take(&f, "x\r\n\r\n", 5, &used), LSP_FRAME_BROKEN);
    assert_int_equal(lsp_frame_take(&f, good, sizeof good - 1, &used), LSP_FRAME_BROKEN);
    assert_int_equal(used, 0);
    lsp_frame_clear(&f);
}

static void test_large_body_is_let_go(void **state)
{
    (void)state;
    struct lsp_frame f;
    struct buf stream;
    size_t len = (size_t)3 << 20, used, used_next;
    char *body = malloc(len);
    memset(body, 'x', len);
    buf_init(&stream, 8 << 20);
    lsp_frame_write(body, len, &stream);
    lsp_frame_write("{}", 2, &stream);
    assert_int_equal(stream.err, OK);
    lsp_frame_init(&f);
    assert_int_equal(lsp_frame_take(&f, stream.data, stream.len, &used), LSP_FRAME_WHOLE);
    assert_int_equal(f.body.len, len);
    assert_memory_equal(f.body.data, body, len);
    assert_int_equal(lsp_frame_take(&f, stream.data + used, stream.len - used, &used_next), LSP_FRAME_WHOLE);
    assert_int_equal(used + used_next, stream.len);
    assert_string_equal(f.body.data, "{}");
    assert_true(f.body.cap < 4096);
    lsp_frame_clear(&f);
    buf_clear(&stream);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_large_body_is_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
