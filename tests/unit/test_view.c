/* The window's anchoring: what every window satisfies, over random texts, cursors and edits; that it stays
 * while somebody types, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/utf8.h"
#include "context/text.h"
#include "context/view.h"

static const struct view_limits usual = {.before = 1200, .max_before = 4000, .after = 500, .max_after = 600};

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return *state >> 8;
}

/* Lines of 0..max_line characters, some of them not ASCII, some paragraphs apart. */
static void random_text(struct text *t, uint32_t *seed, size_t len, uint32_t max_line)
{
    char *bytes = malloc(len + 8);
    size_t n = 0;
    while (n < len) {
        uint32_t line = random_next(seed) % (max_line + 1);
        for (uint32_t i = 0; i < line && n < len; i++) {
            uint32_t r = random_next(seed) % 20;
            if (r == 0) memcpy(bytes + n, "\xc3\xa9", 2), n += 2;
            if (r > 0) bytes[n++] = r < 4 ? ' ' : (char)('a' + r);
        }
        bytes[n++] = '\n';
    }
    assert_int_equal(text_init(t, bytes, n), OK);
    free(bytes);
}

static bool is_line_start(const struct text *t, size_t at)
{
    return at == 0 || at == t->len || t->bytes[at - 1] == '\n';
}

static void check(const struct view *v, const struct text *t, size_t cursor, const struct view_limits *l,
                  bool has_short_lines)
{
    assert_true(v->is_set);
    assert_true(v->start <= cursor && cursor <= v->end && v->end <= t->len);
    assert_true(cursor - v->start <= l->max_before);
    assert_true(v->end - cursor <= l->max_after);
    if (v->start > 0) assert_true(cursor - v->start >= l->before / 4);
    if (v->end < t->len) assert_true(v->end - cursor >= l->after / 2);
    if (v->start < t->len) assert_false(utf8_is_continuation(t->bytes[v->start]));
    if (v->end < t->len) assert_false(utf8_is_continuation(t->bytes[v->end]));
    if (has_short_lines) assert_true(is_line_start(t, v->start) && is_line_start(t, v->end));
}

static size_t char_start(const struct text *t, size_t at)
{
    while (at > 0 && at < t->len && utf8_is_continuation(t->bytes[at])) at--;
    return at;
}

static void invariants_hold_under_random_edits(void **state)
{
    (void)state;
    const uint32_t line_lengths[] = {0, 30, 90, 3000};
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t seed = round + 1, max_line = line_lengths[round % 4];
        struct view_limits l = round % 3 ? usual : (struct view_limits){300, 900, 90, 160};
        bool has_short_lines = max_line * 2 < 70;
        struct text t = {0};
        struct view v = {0};
        random_text(&t, &seed, random_next(&seed) % 20000, max_line);
        size_t cursor = 0;
        for (int i = 0; i < 400; i++) {
            uint32_t what = random_next(&seed) % 8;
            size_t from = what < 5 ? cursor : char_start(&t, random_next(&seed) % (t.len + 1));
            size_t to = from;
            const char *bytes = what == 0 ? "\n" : "x\xc3\xa9";
            if (what == 4) bytes = "one\ntwo\nthree\n";
            if (what == 1 || what == 6)
                to = char_start(&t, from + random_next(&seed) % 40 > t.len ? t.len : from + 3);
            if (what == 7) bytes = "";
            if (to < from) to = from;
            if (what == 7) to = char_start(&t, from + (t.len - from) / 3);
            assert_int_equal(text_splice(&t, from, to, bytes, strlen(bytes)), OK);
            view_edit(&v, from, to, from + strlen(bytes));
            if (what < 5) cursor = from + strlen(bytes);
            if (what >= 5 && random_next(&seed) % 4 == 0) cursor = random_next(&seed) % (t.len + 1);
            cursor = char_start(&t, cursor > t.len ? t.len : cursor);
            view_update(&v, t.bytes, t.len, cursor, &l);
            check(&v, &t, cursor, &l, has_short_lines);
            assert_false(view_update(&v, t.bytes, t.len, cursor, &l));
        }
        text_clear(&t);
    }
}

static void anchoring_depends_on_text_and_cursor_alone(void **state)
{
    (void)state;
    uint32_t seed = 7;
    struct text t = {0};
    random_text(&t, &seed, 30000, 60);
    for (int i = 0; i < 200; i++) {
        struct view fresh = {0}, used = {.start = 100, .end = 300, .is_set = true};
        size_t cursor = char_start(&t, 5000 + random_next(&seed) % (t.len - 6000));
        assert_true(view_update(&fresh, t.bytes, t.len, cursor, &usual));
        assert_true(view_update(&used, t.bytes, t.len, cursor, &usual));
        assert_int_equal(fresh.start, used.start);
        assert_int_equal(fresh.end, used.end);
        assert_true(cursor - fresh.start <= usual.before && cursor - fresh.start >= usual.before / 4 * 3);
    }
    text_clear(&t);
}

/* Typing in the middle: the ends keep their text, until the window has grown to its limit. */
static void stays_while_typing(void **state)
{
    (void)state;
    uint32_t seed = 3;
    struct text t = {0};
    struct view v = {0};
    random_text(&t, &seed, 40000, 60);
    size_t cursor = char_start(&t, 20000), typed = 0, n_anchored = 0;
    assert_true(view_update(&v, t.bytes, t.len, cursor, &usual));
    size_t room = usual.max_before - (cursor - v.start), start = v.start, tail = t.len - v.end;
    for (; typed < usual.max_before * 2; typed++) {
        assert_int_equal(text_splice(&t, cursor, cursor, typed % 30 == 29 ? "\n" : "a", 1), OK);
        view_edit(&v, cursor, cursor, cursor + 1);
        cursor++;
        bool is_anew = view_update(&v, t.bytes, t.len, cursor, &usual);
        if (typed < room) {
            assert_false(is_anew);
            assert_int_equal(v.start, start);
            assert_int_equal(t.len - v.end, tail);
        } else if (typed == room) {
            assert_true(is_anew);
            assert_true(v.start > start);
        }
        n_anchored += is_anew;
    }
    assert_int_equal(n_anchored, 1 + (typed - room) / (usual.max_before - usual.before / 4 * 3 + 1));
    text_clear(&t);
}

static void follows_edits_elsewhere(void **state)
{
    (void)state;
    uint32_t seed = 5;
    struct text t = {0};
    struct view v = {0};
    random_text(&t, &seed, 20000, 40);
    size_t cursor = char_start(&t, 10000);
    view_update(&v, t.bytes, t.len, cursor, &usual);
    struct view before = v;
    assert_int_equal(text_splice(&t, 10, 12, "new line\n", 9), OK);
    view_edit(&v, 10, 12, 19);
    assert_false(view_update(&v, t.bytes, t.len, cursor + 7, &usual));
    assert_int_equal(v.start, before.start + 7);
    assert_int_equal(v.end, before.end + 7);
    /* An end that is overwritten is no end any more. */
    view_edit(&v, v.start - 5, v.start + 5, v.start + 5);
    assert_true(view_update(&v, t.bytes, t.len, cursor + 7, &usual));
    text_clear(&t);
}

static void grows_with_the_end_of_a_text(void **state)
{
    (void)state;
    struct text t = {0};
    struct view v = {0};
    assert_int_equal(text_init(&t, "", 0), OK);
    assert_true(view_update(&v, t.bytes, t.len, 0, &usual));
    for (size_t i = 0; i < usual.max_before; i++) {
        assert_int_equal(text_splice(&t, i, i, i % 50 == 49 ? "\n" : "b", 1), OK);
        view_edit(&v, i, i, i + 1);
        assert_false(view_update(&v, t.bytes, t.len, i + 1, &usual));
        assert_int_equal(v.start, 0);
        assert_int_equal(v.end, t.len);
    }
    text_clear(&t);
}

static void begins_where_a_definition_does(void **state)
{
    (void)state;
    struct text t = {0};
    struct view v = {0};
    char bytes[8192];
    size_t n = 0;
    for (int i = 0; n < 6000; i++)
        n += (size_t)snprintf(bytes + n, sizeof bytes - n, "def f%d():\n    return %d\n\n", i, i);
    assert_int_equal(text_init(&t, bytes, n), OK);
    view_update(&v, t.bytes, t.len, 4000, &usual);
    assert_memory_equal(t.bytes + v.start, "def ", 4);
    assert_memory_equal(t.bytes + v.end, "def ", 4);
    /* A text that begins not far before is shown from there. */
    v = (struct view){0};
    view_update(&v, t.bytes, t.len, usual.max_before / 2, &usual);
    assert_int_equal(v.start, 0);
    text_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invariants_hold_under_random_edits),
        cmocka_unit_test(anchoring_depends_on_text_and_cursor_alone),
        cmocka_unit_test(stays_while_typing),
        cmocka_unit_test(follows_edits_elsewhere),
        cmocka_unit_test(grows_with_the_end_of_a_text),
        cmocka_unit_test(begins_where_a_definition_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
