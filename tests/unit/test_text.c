/* Open documents: places in three units, and random edits against a reference that keeps code points in an
 * array and counts everything anew each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "context/document.h"
#include "context/text.h"

static const enum text_encoding units[] = {TEXT_UTF8, TEXT_UTF16, TEXT_UTF32};

static struct text text_of(const char *s)
{
    struct text t;
    assert_int_equal(text_init(&t, s, strlen(s)), OK);
    return t;
}

static void expect_offset(const struct text *t, int64_t line, int64_t character, enum text_encoding unit,
                          size_t offset)
{
    size_t got = text_offset(t, (struct text_position){line, character}, unit);
    if (got != offset)
        fail_msg("%d:%d in unit %d: %zu, not %zu", (int)line, (int)character, unit, got, offset);
}

static void test_units(void **state)
{
    (void)state;
    struct text t = text_of("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z\nnext"); /* a é € 😀 z */
    static const size_t starts[] = {0, 1, 3, 6, 10, 11};
    static const int64_t utf16[] = {0, 1, 2, 3, 5, 6};
    for (int64_t i = 0; i < 6; i++) {
        expect_offset(&t, 0, (int64_t)starts[i], TEXT_UTF8, starts[i]);
        expect_offset(&t, 0, utf16[i], TEXT_UTF16, starts[i]);
        expect_offset(&t, 0, i, TEXT_UTF32, starts[i]);
        assert_int_equal(text_position_of(&t, starts[i], TEXT_UTF8).character, starts[i]);
        assert_int_equal(text_position_of(&t, starts[i], TEXT_UTF16).character, utf16[i]);
        assert_int_equal(text_position_of(&t, starts[i], TEXT_UTF32).character, i);
    }
    /* Inside a character, its start: between surrogates, between bytes. */
    expect_offset(&t, 0, 4, TEXT_UTF16, 6);
    expect_offset(&t, 0, 2, TEXT_UTF8, 1);
    expect_offset(&t, 0, 9, TEXT_UTF8, 6);
    assert_int_equal(text_position_of(&t, 8, TEXT_UTF16).character, 3);
    /* Past the end of a line, its end; past the last line, the end of the text. */
    expect_offset(&t, 0, 99, TEXT_UTF16, 11);
    expect_offset(&t, 1, INT64_MAX, TEXT_UTF32, 16);
    expect_offset(&t, 2, 0, TEXT_UTF16, 16);
    expect_offset(&t, INT64_MAX, INT64_MAX, TEXT_UTF8, 16);
    expect_offset(&t, -1, 5, TEXT_UTF8, 0);
    expect_offset(&t, 1, -5, TEXT_UTF8, 12);
    text_clear(&t);
    assert_null(t.bytes);
}

static void test_line_endings(void **state)
{
    (void)state;
    struct text t = text_of("a\r\nb\rc\n\r\r\n\nz");
    static const size_t starts[] = {0, 3, 5, 7, 8, 10, 11}, ends[] = {1, 4, 6, 7, 8, 10, 12};
    for (int64_t line = 0; line < 7; line++) {
        expect_offset(&t, line, 0, TEXT_UTF16, starts[line]);
        expect_offset(&t, line, 9, TEXT_UTF16, ends[line]);
        assert_int_equal(text_position_of(&t, ends[line], TEXT_UTF16).line, line);
    }
    expect_offset(&t, 7, 0, TEXT_UTF16, 12);
    /* Within \r\n: the line's end. */
    assert_int_equal(text_position_of(&t, 2, TEXT_UTF8).line, 0);
    assert_int_equal(text_position_of(&t, 2, TEXT_UTF8).character, 1);
    text_clear(&t);

    t = text_of("a\n");
    expect_offset(&t, 1, 0, TEXT_UTF8, 2);
    assert_int_equal(text_position_of(&t, 2, TEXT_UTF8).line, 1);
    text_clear(&t);
    t = text_of("");
    expect_offset(&t, 0, 3, TEXT_UTF8, 0);
    assert_int_equal(text_position_of(&t, 7, TEXT_UTF8).line, 0);
    assert_string_equal(t.bytes, "");
    text_clear(&t);
}

static void expect_spliced(const char *before, size_t from, size_t to, const char *bytes, size_t len,
                           const char *after)
{
    struct text t = text_of(before);
    assert_int_equal(text_splice(&t, from, to, bytes, len), OK);
    assert_string_equal(t.bytes, after);
    assert_int_equal(t.len, strlen(after));
    text_clear(&t);
}

static void test_splice(void **state)
{
    (void)state;
    expect_spliced("abc", 1, 2, "XYZ", 3, "aXYZc");
    expect_spliced("abc", 2, 1, "", 0, "ac");
    expect_spliced("abc", 3, 99, "d", 1, "abcd");
    expect_spliced("abc", 98, 99, "d", 1, "abcd");
    expect_spliced("abc", 0, 99, NULL, 0, "");
    expect_spliced("", 0, 0, "abc", 3, "abc");
    expect_spliced("a\xe2\x82\xac"
                   "b",
                   2, 3, "-", 1,
                   "a-\xe2\x82\xac"
                   "b"); /* both ends inside one character */
    expect_spliced("ab", 1, 1, "\xff\xc3", 2,
                   "a\xef\xbf\xbd\xef\xbf\xbd"
                   "b");
    expect_spliced("ab", 1, 1, "x\xed\xa0\x80", 4,
                   "ax\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                   "b");
}

static void test_bytes_of_any_value(void **state)
{
    (void)state;
    struct text t;
    assert_int_equal(text_init(&t, "a\0\xfe\n", 4), OK);
    assert_int_equal(t.len, 6);
    assert_memory_equal(t.bytes, "a\0\xef\xbf\xbd\n", 7);
    expect_offset(&t, 0, 3, TEXT_UTF16, 5);
    text_clear(&t);
}

static void test_limit(void **state)
{
    (void)state;
    struct text t;
    char *large = calloc(DOCUMENT_MAX_BYTES + 1, 1);
    memset(large, 'a', DOCUMENT_MAX_BYTES + 1);
    assert_int_equal(text_init(&t, large, DOCUMENT_MAX_BYTES + 1), ERR_LIMIT);
    assert_int_equal(text_init(&t, large, DOCUMENT_MAX_BYTES), OK);
    assert_int_equal(text_splice(&t, 5, 5, "b", 1), ERR_LIMIT);
    assert_int_equal(t.len, DOCUMENT_MAX_BYTES);
    assert_int_equal(t.bytes[5], 'a');
    assert_int_equal(text_splice(&t, 5, 6, "b", 1), OK);
    assert_int_equal(t.bytes[5], 'b');
    /* Repairing makes text longer: a third of the limit in bad bytes is more than the rest holds. */
    assert_int_equal(text_splice(&t, 0, DOCUMENT_MAX_BYTES, "", 0), OK);
    memset(large, 0xff, DOCUMENT_MAX_BYTES);
    assert_int_equal(text_splice(&t, 0, 0, large, DOCUMENT_MAX_BYTES / 3 + 1), ERR_LIMIT);
    assert_int_equal(t.len, 0);
    text_clear(&t);
    free(large);
}

/* --- Random edits ------------------------------------------------------------------------------------ */

#define MODEL_MAX 4096

struct model { /* the reference */
    int32_t codes[MODEL_MAX];
    size_t n;
};

static uint32_t draw(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
    return (*seed >> 10) % n;
}

static int64_t width(int32_t code, enum text_encoding unit)
{
    char bytes[4];
    if (unit == TEXT_UTF8) return (int64_t)utf8_encode(code, bytes);
    return unit == TEXT_UTF16 && code >= 0x10000 ? 2 : 1;
}

static size_t model_bytes(const struct model *m, size_t n_codes)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n_codes; i++) bytes += (size_t)width(m->codes[i], TEXT_UTF8);
    return bytes;
}

/* Does a line start at index i? */
static bool starts_line(const struct model *m, size_t i)
{
    if (i == 0) return true;
    if (m->codes[i - 1] == '\n') return true;
    return m->codes[i - 1] == '\r' && !(i < m->n && m->codes[i] == '\n');
}

/* The index of a place, found by walking over every code point. */
static size_t model_find(const struct model *m, struct text_position p, enum text_encoding unit)
{
    int64_t line = -1, column = 0;
    for (size_t i = 0; i <= m->n; i++) {
        if (starts_line(m, i)) {
            line++;
            column = 0;
        }
        if (line == p.line) {
            if (i == m->n || m->codes[i] == '\n' || m->codes[i] == '\r') return i;
            if (column + width(m->codes[i], unit) > p.character) return i;
        }
        if (i < m->n) column += width(m->codes[i], unit);
    }
    return m->n;
}

static struct text_position model_position(const struct model *m, size_t at, enum text_encoding unit)
{
    struct text_position p = {.line = -1};
    for (size_t i = 0; i <= at; i++) {
        if (starts_line(m, i)) {
            p.line++;
            p.character = 0;
        }
        bool is_end = i < m->n && (m->codes[i] == '\n' || m->codes[i] == '\r');
        if (i < at && !is_end) p.character += width(m->codes[i], unit);
    }
    return p;
}

static void model_replace(struct model *m, size_t from, size_t to, const int32_t *codes, size_t n)
{
    memmove(m->codes + from + n, m->codes + to, (m->n - to) * sizeof *m->codes);
    memcpy(m->codes + from, codes, n * sizeof *codes);
    m->n += n - (to - from);
}

static void expect_same(const struct text *t, const struct model *m)
{
    static char bytes[4 * MODEL_MAX];
    size_t len = 0;
    for (size_t i = 0; i < m->n; i++) len += utf8_encode(m->codes[i], bytes + len);
    assert_int_equal(t->len, len);
    assert_memory_equal(t->bytes, bytes, len);
    assert_int_equal(t->bytes[len], '\0');
    assert_true(t->cap > t->len);
}

static void edit_once(struct text *t, struct model *m, uint32_t *seed)
{
    static const int32_t alphabet[] = {'a', 'b', ' ', '\n', '\r', 0xe9, 0x20ac, 0x1f600, 0x10ffff, 0};
    enum text_encoding unit = units[draw(seed, 3)];
    struct text_position from = {draw(seed, 12), draw(seed, 12)}, to = {draw(seed, 12), draw(seed, 12)};
    int32_t codes[16];
    char bytes[64];
    size_t n = m->n > 200 ? 0 : draw(seed, 16), len = 0;
    for (size_t i = 0; i < n; i++) {
        codes[i] = alphabet[draw(seed, sizeof alphabet / sizeof *alphabet)];
        len += utf8_encode(codes[i], bytes + len);
    }
    size_t a = model_find(m, from, unit), b = model_find(m, to, unit);
    size_t a_text = text_offset(t, from, unit), b_text = text_offset(t, to, unit);
    assert_int_equal(a_text, model_bytes(m, a));
    assert_int_equal(b_text, model_bytes(m, b));
    struct text_position p = text_position_of(t, a_text, unit), expected = model_position(m, a, unit);
    assert_int_equal(p.line, expected.line);
    assert_int_equal(p.character, expected.character);
    assert_int_equal(text_splice(t, a_text, b_text, bytes, len), OK);
    model_replace(m, a < b ? a : b, a < b ? b : a, codes, n);
}

static void test_random_edits(void **state)
{
    (void)state;
    static struct model m;
    struct text t = text_of("");
    uint32_t seed = 2026;
    for (int i = 0; i < 30000; i++) {
        edit_once(&t, &m, &seed);
        expect_same(&t, &m);
    }
    text_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units),  cmocka_unit_test(test_line_endings),
        cmocka_unit_test(test_splice), cmocka_unit_test(test_bytes_of_any_value),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_random_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
