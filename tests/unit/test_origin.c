/* Windows that slide over documents are recognised, and prompts cut from them begin at the same places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "complete/origin.h"
#include "complete/window.h"

#define LINES_BEFORE 256 /* as llama.vim sends */
#define MAX_BYTES    8192

/* A document whose lines differ, unless `is_dull`: then every third is the same. */
static void write_lines(struct buf *b, int n, int salt, bool is_dull)
{
    for (int i = 0; i < n; i++) {
        if (is_dull && i % 3 == 0)
            buf_add_str(b, "        return NULL;\n");
        else
            buf_printf(b, "    value_%d[%d] = compute_%d(%d);\n", salt, i, i * 7 % 31, i);
    }
}

static const char *window_before(const char *text, size_t cursor)
{
    const char *start = text + cursor;
    for (int n = 0; start > text; start--) {
        if (start[-1] == '\n' && ++n > LINES_BEFORE) break;
    }
    return start;
}

static size_t ask(struct origin_memory *m, uint64_t client, const char *text, size_t cursor)
{
    const char *start = window_before(text, cursor);
    return origin_of(m, client, start, (size_t)(text + cursor - start));
}

static void check_sliding(bool is_dull)
{
    struct origin_memory m = {0};
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 300, 1, is_dull);
    size_t first = ask(&m, 1, b.data, b.len);
    const char *first_start = window_before(b.data, b.len);
    size_t base = first - (size_t)(first_start - b.data); /* of the document's first byte */
    for (int i = 0; i < 200; i++) {
        char line[64];
        int n = snprintf(line, sizeof line, "    typed_%d(%d);\n", i, i * i);
        for (int c = 0; c < n; c++) {
            buf_add_char(&b, line[c]);
            size_t origin = ask(&m, 1, b.data, b.len);
            assert_int_equal(origin - base, window_before(b.data, b.len) - b.data);
        }
    }
    size_t cursor = b.len / 2; /* far up, then back by some lines */
    for (int i = 0; i < 100; i++, cursor -= 40) ask(&m, 1, b.data, cursor);
    size_t up = ask(&m, 1, b.data, cursor), down = ask(&m, 1, b.data, cursor + 900);
    assert_int_equal(down - up, window_before(b.data, cursor + 900) - window_before(b.data, cursor));
    origin_clear(&m);
    buf_clear(&b);
}

static void test_sliding(void **state)
{
    (void)state;
    check_sliding(false);
    check_sliding(true);
}

static void test_documents_are_told_apart(void **state)
{
    (void)state;
    struct origin_memory m = {0};
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    write_lines(&a, 400, 1, false);
    write_lines(&b, 400, 2, false);
    for (int i = 0; i < 50; i++) {
        ask(&m, 1, a.data, a.len - 1000 + (size_t)i * 20);
        assert_int_equal(ask(&m, 1, b.data, b.len - 500), ORIGIN_BASE);
        assert_int_equal(ask(&m, 2, a.data, a.len - 700), ORIGIN_BASE); /* another client's */
    }
    assert_int_not_equal(ask(&m, 1, a.data, a.len), ORIGIN_BASE);
    char dot[200];
    memset(dot, '.', sizeof dot);
    assert_int_equal(origin_of(&m, 1, dot, 10), ORIGIN_BASE); /* too short to tell */
    assert_int_equal(origin_of(&m, 3, dot, sizeof dot), ORIGIN_BASE);
    assert_int_equal(origin_of(&m, 3, dot, sizeof dot), ORIGIN_BASE);
    for (uint64_t client = 10; client < 100; client++)
        ask(&m, client, a.data, a.len); /* more than it keeps */
    assert_int_equal(ask(&m, 1, b.data, b.len), ORIGIN_BASE);
    origin_clear(&m);
    buf_clear(&a);
    buf_clear(&b);
}

/* While a client's window slides, the window that is cut from it begins at few places in the document. */
static void test_cut_is_anchored(void **state)
{
    (void)state;
    struct origin_memory m = {0};
    struct buf b;
    buf_init(&b, 1 << 20);
    write_lines(&b, 300, 1, false);
    size_t previous = 0;
    int n_moves = 0;
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, "    typed_%d(%d);\n", i, i * i);
        const char *start = window_before(b.data, b.len);
        size_t len = (size_t)(b.data + b.len - start);
        struct window w = {0};
        assert_int_equal(window_cut(start, len, len, MAX_BYTES, origin_of(&m, 1, start, len), &w), 0);
        assert_true(w.before_len >= MAX_BYTES / 2);
        size_t at = (size_t)(w.before - b.data);
        n_moves += i > 0 && at != previous;
        previous = at;
        window_clear(&w);
    }
    assert_true(n_moves <= 3); /* about 2 KiB were typed, and steps are of that size */
    origin_clear(&m);
    buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sliding),
        cmocka_unit_test(test_documents_are_told_apart),
        cmocka_unit_test(test_cut_is_anchored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
