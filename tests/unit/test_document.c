/* Documents: encodings, line endings, and finding places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "context/document.h"
#include "os/clock.h"

static struct document *open_bytes(const char *bytes, size_t len)
{
    struct errmsg msg = {0};
    struct document *d = NULL;
    if (document_new("a.c", bytes, len, &d, &msg)) fail_msg("%s", msg.text);
    return d;
}

static struct document *open_text(const char *text)
{
    return open_bytes(text, strlen(text));
}

static void expect_text(const char *bytes, size_t len, const char *text, bool was_latin1)
{
    struct document *d = open_bytes(bytes, len);
    assert_int_equal(d->len, strlen(text));
    assert_string_equal(d->text, text);
    assert_int_equal(d->was_latin1, was_latin1);
    document_free(&d);
    assert_null(d);
}

static void test_encodings(void **state)
{
    (void)state;
    expect_text("", 0, "", false);
    expect_text("plain\n", 6, "plain\n", false);
    expect_text("\xef\xbb\xbfwith BOM", 11, "with BOM", false);
    expect_text("caf\xc3\xa9", 5, "caf\xc3\xa9", false);
    expect_text("caf\xe9", 4, "caf\xc3\xa9", true);
    /* One bad byte makes the whole file Latin-1: mixing would give the same character two spellings. */
    expect_text("\xc3\xa9\xff", 3, "\xc3\x83\xc2\xa9\xc3\xbf", true);
    expect_text("\x80\x9f", 2, "\xc2\x80\xc2\x9f", true);
}

static void expect_refused(const char *bytes, size_t len, enum err code, const char *text)
{
    struct errmsg msg = {0};
    struct document *d = NULL;
    assert_int_equal(document_new("a.bin", bytes, len, &d, &msg), code);
    assert_non_null(strstr(msg.text, "a.bin"));
    if (!strstr(msg.text, text)) fail_msg("\"%s\" is not in \"%s\"", text, msg.text);
    assert_null(d);
}

static void test_not_text(void **state)
{
    (void)state;
    expect_refused("a\0b", 3, ERR_FORMAT, "binary");
    expect_refused("\0", 1, ERR_FORMAT, "binary");
    expect_refused("\xff\xfe"
                   "a\0",
                   4, ERR_FORMAT, "UTF-16");
    expect_refused("\xfe\xff\0a", 4, ERR_FORMAT, "UTF-16");
    char *large = calloc(DOCUMENT_MAX_BYTES + 1, 1);
    memset(large, 'a', DOCUMENT_MAX_BYTES + 1);
    expect_refused(large, DOCUMENT_MAX_BYTES + 1, ERR_LIMIT, "64 MiB");
    free(large);
}

static void test_line_endings(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum document_eol eol;
    } cases[] = {
        {"", DOCUMENT_LF},        {"no end", DOCUMENT_LF},          {"a\nb\n", DOCUMENT_LF},
        {"a\r\n", DOCUMENT_CRLF}, {"a\r\nb\r\nc\n", DOCUMENT_CRLF}, {"a\r\nb\nc\n", DOCUMENT_LF},
        {"a\rb\r", DOCUMENT_LF},  {"\r\n", DOCUMENT_CRLF},          {"\n\r", DOCUMENT_LF},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(document_eol_of(cases[i].text, strlen(cases[i].text)), cases[i].eol);
        struct document *d = open_text(cases[i].text);
        assert_int_equal(d->eol, cases[i].eol);
        document_free(&d);
    }
}

static void expect_offset(const char *text, int64_t line, int64_t column, size_t offset)
{
    struct errmsg msg = {0};
    struct document *d = open_text(text);
    size_t at = SIZE_MAX;
    if (document_offset(d, line, column, &at, &msg)) fail_msg("%d:%d: %s", (int)line, (int)column, msg.text);
    if (at != offset) fail_msg("%d:%d is %zu, expected %zu", (int)line, (int)column, at, offset);
    document_free(&d);
}

static void test_offset(void **state)
{
    (void)state;
    expect_offset("", 1, 1, 0);
    expect_offset("", 1, 9, 0);
    expect_offset("ab\ncd\n", 1, 1, 0);
    expect_offset("ab\ncd\n", 1, 3, 2); /* after the last character */
    expect_offset("ab\ncd\n", 1, 4, 2); /* past the end is the end */
    expect_offset("ab\ncd\n", 1, INT64_MAX, 2);
    expect_offset("ab\ncd\n", 1, 0, 2);
    expect_offset("ab\ncd\n", 2, 2, 4);
    expect_offset("ab\ncd\n", 3, 1, 6); /* the empty line after the last newline */
    expect_offset("ab\ncd\n", 3, 5, 6);
    expect_offset("ab\ncd", 2, 3, 5);
    /* A '\r' before '\n' is no column; another one is. */
    expect_offset("ab\r\ncd\r\n", 1, 3, 2);
    expect_offset("ab\r\ncd\r\n", 1, 4, 2);
    expect_offset("ab\r\ncd\r\n", 2, 1, 4);
    expect_offset("\r\nx", 1, 2, 0);
    expect_offset("a\rb\n", 1, 3, 2);
    /* Columns count characters. */
    expect_offset("\xc3\xa9\xe2\x82\xacx", 1, 2, 2);
    expect_offset("\xc3\xa9\xe2\x82\xacx", 1, 3, 5);
    expect_offset("\xc3\xa9\xe2\x82\xacx", 1, 4, 6);
}

static void expect_no_line(const char *text, int64_t line, const char *message)
{
    struct errmsg msg = {0};
    struct document *d = open_text(text);
    size_t at = 77;
    assert_int_equal(document_offset(d, line, 1, &at, &msg), ERR_ARG);
    assert_int_equal(at, 77);
    if (!strstr(msg.text, message)) fail_msg("\"%s\" is not in \"%s\"", message, msg.text);
    document_free(&d);
}

static void test_no_such_line(void **state)
{
    (void)state;
    expect_no_line("ab\ncd\n", 4, "has 2 lines");
    expect_no_line("ab\ncd", 3, "has 2 lines");
    expect_no_line("ab", 2, "has 1 line;");
    expect_no_line("", 2, "has 0 lines");
    expect_no_line("ab\n", INT64_MAX, "has 1 line;");
    expect_no_line("ab\n", 0, "counted from 1");
    expect_no_line("ab\n", INT64_MIN, "counted from 1");
}

/* A place at the end of 100,000 lines takes milliseconds; the bound leaves room for sanitizers. */
static void test_long_document(void **state)
{
    (void)state;
    enum { N_LINES = 100000 };
    static const char line[] = "int variable = compute(1, 2, 3);\r\n";
    size_t n = strlen(line);
    char *text = malloc(n * N_LINES);
    for (size_t i = 0; i < N_LINES; i++) memcpy(text + i * n, line, n);
    int64_t start = clock_ns();
    struct document *d = open_bytes(text, n * N_LINES);
    size_t at;
    assert_int_equal(document_offset(d, N_LINES, 5, &at, NULL), OK);
    assert_int_equal(at, n * (N_LINES - 1) + 4);
    assert_int_equal(document_offset(d, N_LINES + 2, 1, &at, NULL), ERR_ARG);
    assert_int_equal(d->eol, DOCUMENT_CRLF);
    assert_true(clock_ms_since(start) < 2000);
    document_free(&d);
    free(text);
}

static void test_open(void **state)
{
    (void)state;
    struct errmsg msg = {0};
    struct document *d = NULL;
    assert_int_equal(document_open("/nonexistent/a.c", &d, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "/nonexistent/a.c"));
    assert_int_equal(document_open("/", &d, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "directory"));
    char path[] = "/tmp/test_document_XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "x = 1\n", 6), 6);
    close(fd);
    assert_int_equal(document_open(path, &d, &msg), OK);
    assert_string_equal(d->text, "x = 1\n");
    assert_string_equal(d->path, path);
    document_free(&d);
    document_free(&d); /* null is fine */
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encodings),    cmocka_unit_test(test_not_text),
        cmocka_unit_test(test_line_endings), cmocka_unit_test(test_offset),
        cmocka_unit_test(test_no_such_line), cmocka_unit_test(test_long_document),
        cmocka_unit_test(test_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
