/* Which pairs of requests are taken for the same document, with windows as editors send them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "complete/likeness.h"

#define TEXT_MAX     ((size_t)1 << 20)
#define LINES_BEFORE 256 /* as llama.vim and llama.vscode send */
#define LINES_AFTER  64

static struct prompt_input at(const char *text, size_t cursor)
{
    return (struct prompt_input){
        .before = text, .before_len = cursor, .after = text + cursor, .after_len = strlen(text) - cursor};
}

static struct prompt_input raw(const char *text)
{
    return (struct prompt_input){.is_raw = true, .text = text, .text_len = strlen(text)};
}

/* The window of whole lines around a cursor. */
static struct prompt_input sliding(const char *text, size_t cursor)
{
    const char *start = text + cursor, *end = text + cursor;
    for (int n = 0; start > text; start--) {
        if (start[-1] == '\n' && ++n > LINES_BEFORE) break;
    }
    for (int n = 0; *end; end++) {
        if (*end == '\n' && ++n > LINES_AFTER) break;
    }
    return (struct prompt_input){.before = start,
                                 .before_len = (size_t)(text + cursor - start),
                                 .after = text + cursor,
                                 .after_len = (size_t)(end - text) - cursor};
}

static bool is_same(struct prompt_input older, struct prompt_input newer)
{
    bool there = likeness_is_same_document(&older, &newer);
    assert_int_equal(likeness_is_same_document(&newer, &older), there); /* typing and deleting */
    return there;
}

/* A program of n functions that differ by `name`. */
static void write_program(struct buf *out, const char *name, int n)
{
    buf_init(out, TEXT_MAX);
    for (int i = 0; i < n; i++)
        buf_printf(out, "static int %s_%d(int x)\n{\n    return x * %d + %d;\n}\n\n", name, i, i * 7, i);
}

static void test_typing(void **state)
{
    (void)state;
    struct buf text, typed;
    write_program(&text, "step", 200);
    for (size_t cursor = 0; cursor < text.len; cursor += 371) {
        buf_init(&typed, TEXT_MAX);
        buf_add(&typed, text.data, cursor);
        static const char words[] = "if (x > 3) {\n        log_line(x);\n    }\n    ";
        for (size_t i = 0; i < strlen(words); i++) {
            buf_truncate(&typed, cursor + i);
            buf_add_char(&typed, words[i]);
            buf_add_str(&typed, text.data + cursor);
            assert_true(is_same(sliding(text.data, cursor), sliding(typed.data, cursor + i + 1)));
        }
        buf_clear(&typed);
    }
    buf_clear(&text);
}

/* An editor that closes brackets changes the suffix; the prefix still tells. */
static void test_closed_brackets(void **state)
{
    (void)state;
    static const char open[] =
        "/* A comment that is long enough to be a line of its own. */\nint main(void)\n{\n";
    char a[256], b[256];
    snprintf(a, sizeof a, "%sprintf\n}\n", open);
    snprintf(b, sizeof b, "%sprintf()\n}\n", open);
    assert_true(is_same(at(a, strlen(open) + 6), at(b, strlen(open) + 7)));
}

static void test_other_documents(void **state)
{
    (void)state;
    struct buf one, two;
    write_program(&one, "step", 100);
    write_program(&two, "leap", 100);
    for (size_t cursor = 0; cursor < one.len; cursor += 509)
        assert_false(is_same(sliding(one.data, cursor), sliding(two.data, cursor)));
    buf_clear(&one);
    buf_clear(&two);
    /* Files that end alike, or begin alike. */
    static const char main_a[] = "import sys\n\nprint(a)\n\n\nif __name__ == '__main__':\n    main()\n";
    static const char main_b[] = "from x import y\n\ny.run(3)\n\n\nif __name__ == '__main__':\n    main()\n";
    assert_false(is_same(at(main_a, 20), at(main_b, 24)));
    assert_false(is_same(at("#include <stdio.h>\n", 19), at("#include <stdio.h>\n\nint x;\n", 27)));
    assert_false(is_same(at("", 0), at("", 0)));
    assert_false(is_same(at("x", 1), at("xy", 2)));
}

static void test_paths(void **state)
{
    (void)state;
    static const char text[] = "static const char text[] = \"the same in both\";\nint x;\nint y;\n";
    struct prompt_input a = at(text, 50), b = a;
    assert_true(is_same(a, b));
    a.path = "a.c";
    assert_true(is_same(a, b));
    b.path = "b.c";
    assert_false(is_same(a, b));
}

static void test_raw(void **state)
{
    (void)state;
    static const char head[] = "# A program that computes primes.\n\ndef is_prime(";
    char more[512];
    snprintf(more, sizeof more, "%sn):\n", head);
    assert_true(is_same(raw(head), raw(more)));
    /* Questions to a chat model share their frame. */
    assert_false(is_same(raw("You answer questions in one word.\n\nWhat is the capital of Peru?\nAnswer:"),
                         raw("You answer questions in one word.\n\nWhat is the capital of Chad?\nAnswer:")));
    assert_false(is_same(raw(""), raw("")));
    assert_false(is_same(raw(head), at(head, strlen(head))));
    static const int32_t tokens[] = {1, 2, 3};
    struct prompt_input ids = {.is_raw = true, .tokens = tokens, .n_tokens = 3};
    assert_false(is_same(ids, ids));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typing),
        cmocka_unit_test(test_closed_brackets),
        cmocka_unit_test(test_other_documents),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
