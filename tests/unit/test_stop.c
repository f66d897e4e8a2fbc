/* Stop rules over texts that a model might write. Every case is fed whole, byte by byte and in odd pieces:
 * the result must be the same, and what was called certain must never change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "complete/stop.h"

struct stop_case {
    const char *before; /* the cursor's line, before the cursor */
    const char *after;  /* everything after the cursor */
    const char *text;   /* what the model writes */
    const char *result;
    enum stop_why why; /* while the text comes, before stop_finish */
};

static char *copy_of(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

/* The result of feeding text in pieces of `piece` bytes; the caller frees it. */
static char *feed(const struct stop_place *at, const char *text, size_t piece, enum stop_why *why)
{
    struct stop s;
    stop_init(&s, at);
    size_t len = strlen(text);
    char *shown = copy_of("", 0);
    size_t n_shown = 0;
    bool goes_on = true;
    for (size_t i = 0; i < len && goes_on; i += piece) {
        goes_on = stop_feed(&s, text + i, piece < len - i ? piece : len - i);
        assert_true(s.certain >= n_shown);
        if (n_shown > 0) assert_memory_equal(s.text.data, shown, n_shown);
        free(shown);
        n_shown = s.certain;
        shown = copy_of(n_shown > 0 ? s.text.data : "", n_shown);
    }
    *why = s.why;
    assert_int_equal(goes_on, s.why == STOP_NOT);
    stop_finish(&s);
    assert_true(s.certain >= n_shown);
    if (n_shown > 0) assert_memory_equal(s.text.data, shown, n_shown);
    char *result = copy_of(s.certain > 0 ? s.text.data : "", s.certain);
    free(shown);
    stop_clear(&s);
    return result;
}

static char *run(const struct stop_case *c, bool is_prefix_only, size_t piece, enum stop_why *why)
{
    struct stop_place at = {.line_prefix = c->before,
                            .line_prefix_len = strlen(c->before),
                            .suffix = c->after,
                            .suffix_len = strlen(c->after),
                            .is_prefix_only = is_prefix_only};
    return feed(&at, c->text, piece, why);
}

static void check(const struct stop_case *cases, size_t n, bool is_prefix_only)
{
    static const size_t pieces[] = {1, 2, 3, 7, 4096};
    for (size_t i = 0; i < n; i++) {
        for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
            enum stop_why why;
            char *result = run(&cases[i], is_prefix_only, pieces[p], &why);
            if (strcmp(result, cases[i].result) != 0) {
                fail_msg("case %zu in pieces of %zu: got \"%s\", expected \"%s\"", i, pieces[p], result,
                         cases[i].result);
            }
            if (why != cases[i].why) fail_msg("case %zu in pieces of %zu: why is %d", i, pieces[p], why);
            free(result);
        }
    }
}

#define CHECK(cases, is_prefix_only) check(cases, sizeof(cases) / sizeof(cases)[0], is_prefix_only)

static void test_white_space(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        {"", "", "", "", STOP_NOT},
        {"", "", "x = 1;", "x = 1;", STOP_NOT},
        {"", "", "x = 1;  \n\n", "x = 1;", STOP_NOT},
        {"", "", " \t\n\n  ", "", STOP_NOT},
        {"", "\nnext\n", "\n\n    indented\n", "\n\n    indented", STOP_NOT},
        {"", "  \nnext\n", "x \n", "x", STOP_NOT}, /* blanks after the cursor are no text */
        /* Text follows on the line: the space between is wanted. */
        {"x = ", "y;\n", "z + ", "z + ", STOP_NOT},
        {"", "y();\n", "x();\n", "x();\n", STOP_NOT},
        {"x = ", "y;\n", "  ", "", STOP_NOT},
    };
    CHECK(cases, false);
}

static void test_characters(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        {"", "", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
         STOP_NOT},
        {"", "", "a\xe2\x82", "a", STOP_NOT}, /* cut off by the token limit */
        {"", "",
         "a\xff"
         "b\xe2"
         "c",
         "abc", STOP_NOT}, /* bytes that are no text */
        {"", "", "a\r\nb", "a\nb", STOP_NOT},
        {"", "", "a\x1b[31mb\x7f\tc", "a[31mb\tc", STOP_NOT}, /* nothing that commands a terminal */
    };
    CHECK(cases, false);
}

static void test_rest_of_line(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        /* The editor has put the closing bracket there. */
        {"foo(", ")\n", "a, b)", "a, b", STOP_SUFFIX},
        {"foo(", ");\n", "a, b);\nbar();", "a, b", STOP_SUFFIX},
        {"foo(", ")\n", "bar(x)", "bar(x)", STOP_NOT}, /* closes its own */
        {"foo(", ")\n", "bar(x))", "bar(x)", STOP_SUFFIX},
        {"a[", "]\n", "b[i]", "b[i]", STOP_NOT},
        {"f(\"", "\")\n", "hello %d\\\"\\n\", x)", "hello %d\\\"\\n", STOP_SUFFIX},
        {"f(", ")\n", "\"a)\"", "\"a)\"", STOP_NOT}, /* a bracket in a string closes nothing */
        /* The statement's end is there already. */
        {"int x = ", ";\n", "1 + 2;", "1 + 2", STOP_NOT},
        {"int x = ", ";\n", "1 + 2;\nint y;", "1 + 2", STOP_SUFFIX},
        {"int x = ", "; // set\n", "1;", "1", STOP_NOT},
        /* The model goes on with what stands there. */
        {"x = ", " + offset;\n", "base + offset;", "base", STOP_NOT},
        {"x = ", " + offset;\n", "base + offset;\ny", "base", STOP_SUFFIX},
        {"x = ", "bar;\n", "foo_bar;", "foo_", STOP_NOT},
        {"f(", "x);\n", "g(x);", "g(x);", STOP_NOT}, /* what would stay needs the bracket */
        {"if (x", ") {\n", " > 0) {\n    y();", " > 0", STOP_SUFFIX},
        {"s = ", "\"x\";\n", "\"a\" ", "\"a\" ", STOP_NOT}, /* a quote that opens */
    };
    CHECK(cases, false);
}

static void test_lines_below(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        {"    ", "\n    return x;\n}\n", "x++;\n    return x;\n}", "x++;", STOP_SUFFIX},
        {"    ", "\n\n    return x;\n}\n", "x++;\n\n    return x;", "x++;",
         STOP_NOT}, /* ends there: cut all the same */
        {"    ", "\n    return x;\n", "return x;", "", STOP_NOT},
        {"    ", "\n    return x;\n", "return x + 1;", "return x + 1;", STOP_NOT},
        /* A closing bracket of the document. */
        {"    ", "\n}\n", "return 1;\n}\n\nint g", "return 1;", STOP_SUFFIX},
        /* The same line, but the bracket is the completion's own. */
        {"", "\n}\n", "if (a) {\n    b();\n}\nc();", "if (a) {\n    b();\n}\nc();", STOP_NOT},
        {"", "\n}\n", "if (a) {\n    b();\n}\nc();\n}\n", "if (a) {\n    b();\n}\nc();", STOP_SUFFIX},
        /* Opening brackets tell nothing by themselves: here begins another element. */
        {"    ", "\n    {\n        \"a\": 3\n", "{\n        \"a\": 2\n    },", "{\n        \"a\": 2\n    },",
         STOP_NOT},
        {"    ", "\n    {\n        \"a\": 3\n", "{\n        \"a\": 3\n    },", "", STOP_SUFFIX},
        /* Neither do calls that begin alike. */
        {"    ", "\n    add(\n        1);\n", "add(\n        0);", "add(\n        0);", STOP_NOT},
        {"    ", "\n    add(\n        1);\n", "add(\n        1);\n", "", STOP_SUFFIX},
        {"", "", "a\nb\nc", "a\nb\nc", STOP_NOT},
        {"x", "\n\n  \n\n", "y\n\nz", "y\n\nz", STOP_NOT},
    };
    CHECK(cases, false);
}

static void test_repetition(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        {"", "", "a();\na();\na();\na();\n", "a();", STOP_REPETITION},
        {"", "", "a();\na();\nb();", "a();\na();\nb();", STOP_NOT},  /* twice can be meant */
        {"", "", "a();\n\na();\n\na();\n", "a();", STOP_REPETITION}, /* blank lines do not count */
        {"", "", "x\na\nb\na\nb\na\nb\n", "x\na\nb", STOP_REPETITION},
        {"", "", "1\n2\n3\n4\n1\n2\n3\n4\n1\n2\n3\n4\n5", "1\n2\n3\n4", STOP_REPETITION},
        {"", "", "a\n    a\na\n    a\n", "a\n    a\na\n    a", STOP_NOT},
    };
    CHECK(cases, false);
}

static void test_block(void **state)
{
    (void)state;
    static const struct stop_case cases[] = {
        {"def f(x):", "\n", "\n    return x\n\ndef g(x):", "\n    return x", STOP_BLOCK},
        {"    ", "\n}\n", "return x\n}\n", "return x", STOP_BLOCK},
        {"    ", "\n", "return x\n}\n\nint g", "return x\n}", STOP_BLOCK},
        {"    ", "\n", "if x:\n        y()\n    z()\nw()", "if x:\n        y()\n    z()", STOP_BLOCK},
        {"", "\n", "a\n  b\nc", "a\n  b\nc", STOP_NOT},
        {"    ", "\n", "\n\n    x", "\n\n    x", STOP_NOT}, /* blank lines before any text */
        {"  ", "\n  done()\n", "x()\n  done()\n", "x()", STOP_SUFFIX},
    };
    CHECK(cases, true);
}

/* What may be shown early is shown early: a user sees each line as soon as nothing can cut it. */
static void test_streams_early(void **state)
{
    (void)state;
    struct stop_place at = {.line_prefix = "", .suffix = "\n}\n", .suffix_len = 3};
    struct stop s;
    stop_init(&s, &at);
    assert_true(stop_feed(&s, "int x", 5));
    assert_int_equal(s.certain, 5);
    assert_true(stop_feed(&s, " =", 2));
    assert_int_equal(s.certain, 7);
    assert_true(stop_feed(&s, " 1;\n", 4));
    assert_int_equal(s.certain, 10); /* the newline may be the last character */
    assert_true(stop_feed(&s, "y", 1));
    assert_int_equal(s.certain, 12);
    assert_false(stop_feed(&s, "\n}\n", 3));
    assert_int_equal(s.why, STOP_SUFFIX);
    assert_false(stop_feed(&s, "more", 4)); /* ignored */
    stop_finish(&s);
    assert_int_equal(s.certain, 12);
    stop_clear(&s);
}

struct words_case {
    const char *words[3]; /* stop texts */
    int32_t min_indent;
    const char *after, *text, *result;
    enum stop_why why;
};

static char *run_words(const struct words_case *c, bool is_raw, size_t piece, enum stop_why *why)
{
    struct stop_word words[3];
    struct stop_place at = {.line_prefix = "",
                            .suffix = c->after,
                            .suffix_len = strlen(c->after),
                            .is_raw = is_raw,
                            .words = words,
                            .min_indent = c->min_indent};
    for (; at.n_words < 3 && c->words[at.n_words]; at.n_words++) {
        const char *word = c->words[at.n_words];
        words[at.n_words] = (struct stop_word){word, strlen(word)};
    }
    return feed(&at, c->text, piece, why);
}

static void check_words(const struct words_case *cases, size_t n, bool is_raw)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t piece = 1; piece < 20; piece++) {
            enum stop_why why;
            char *result = run_words(&cases[i], is_raw, piece, &why);
            if (strcmp(result, cases[i].result) != 0 || why != cases[i].why) {
                fail_msg("case %zu in pieces of %zu: got \"%s\", expected \"%s\"; why is %d", i, piece,
                         result, cases[i].result, why);
            }
            free(result);
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    static const struct words_case in_document[] = {
        {{"\n"}, 0, "", "a = 1;\nb = 2;", "a = 1;", STOP_WORD},
        {{"\n"}, 0, "", "\nb = 2;", "", STOP_WORD},
        {{"\n\n"}, 0, "", "a\nb\n\nc", "a\nb", STOP_WORD},
        {{"\n\n"}, 0, "", "a\nb\nc", "a\nb\nc", STOP_NOT},
        {{"END", "xEND"}, 0, "", "axEND", "a", STOP_WORD}, /* both are complete: the longer one */
        {{"abc", "bd"}, 0, "", "zabd", "za", STOP_WORD}, /* a beginning that goes wrong, inside it another */
        {{"EN", "END"}, 0, "", "aEND", "a", STOP_WORD},
        {{"END"}, 0, "", "aEN", "aEN", STOP_NOT}, /* never complete: text */
        {{""}, 0, "", "abc", "abc", STOP_NOT},
        {{"<|end|>"}, 0, "", "x < y <|en <|end|> z", "x < y <|en", STOP_WORD},
        /* The line that the stop text ends is judged like any other. */
        {{"\n"}, 0, ";\n", "a;\nb", "a", STOP_WORD},
        {{";"}, 0, "\nfoo\n", "x\nfoo;", "x", STOP_WORD},
        {{"x;"}, 0, "", "a()\na()\na()x;", "a()", STOP_WORD},
    };
    check_words(in_document, sizeof in_document / sizeof *in_document, false);
    static const struct words_case raw[] = {
        {{"END"}, 0, "", " a \n\n END", " a \n\n ", STOP_WORD}, /* white space stays */
        {{NULL}, 0, "", "a\r\na\r\na\r\na\r\n", "a\r\na\r\na\r\na\r\n", STOP_NOT},
        {{NULL}, 0, "", "\x01)}]", "\x01)}]", STOP_NOT},
        {{"\r\n"}, 0, "", "ab\rc\r\n", "ab\rc", STOP_WORD},
    };
    check_words(raw, sizeof raw / sizeof *raw, true);
}

static void test_min_indent(void **state)
{
    (void)state;
    static const struct words_case cases[] = {
        {{NULL}, 4, "", "a\n    b\n  c", "a\n    b", STOP_INDENT},
        {{NULL}, 4, "", "a\n    b\n\n\nc", "a\n    b", STOP_INDENT}, /* the blank lines go with it */
        {{NULL}, 4, "", "a\n\n    b", "a\n\n    b", STOP_NOT},       /* blank lines have no indentation */
        {{NULL}, 1, "", "a\n\tb\n\t\tc\nd", "a\n\tb\n\t\tc", STOP_INDENT},
        {{NULL}, 4, "", "a\nb", "a", STOP_INDENT},
        {{NULL}, 4, "", "\n  a", "", STOP_INDENT},
        {{NULL}, 4, "", "a", "a", STOP_NOT}, /* the first line goes on where the cursor is */
        {{"c"}, 4, "", "a\n    b\n    cd\ne", "a\n    b", STOP_WORD},
    };
    static const struct words_case raw = {{NULL}, 4, "", "a\n    b \n\nc", "a\n    b ", STOP_INDENT};
    check_words(cases, sizeof cases / sizeof *cases, false);
    check_words(&raw, 1, true);
}

static void test_has_newline(void **state)
{
    (void)state;
    struct stop_place at = {.line_prefix = "", .suffix = ""};
    struct stop s;
    stop_init(&s, &at);
    assert_true(stop_feed(&s, "ab", 2));
    assert_false(stop_has_newline(&s));
    assert_true(stop_feed(&s, "c\n", 2));
    assert_true(stop_has_newline(&s));
    stop_clear(&s);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Random texts over a small alphabet meet every rule in every combination. The split into pieces must not
 * matter, which proves that all that could be cut was held back. */
static void test_random_texts(void **state)
{
    (void)state;
    static const char *const words[] = {"a",     "b",   "(",   ")",    "{",  "}",       ";",   "\"",
                                        "\n",    "\n",  " ",   "    ", "\\", "a;\n",    "}\n", "else",
                                        "if a:", "end", "'''", "#",    "/*", "\xc3\xa9"};
    static const struct language c = {
        .name = "c", .line_comment = "//", .block_comment = {"/*", "*/"}, .quotes = "\"'"};
    static const struct language python = {
        .name = "python", .line_comment = "#", .quotes = "\"'", .is_indented = true};
    static const struct language lua = {.name = "lua", .line_comment = "#", .quotes = "\"'"};
    const struct language *const languages[] = {&c, &python, &lua};
    enum { N_WORDS = sizeof words / sizeof words[0] };
    uint32_t seed = 1;
    for (int round = 0; round < 60000; round++) {
        char parts[3][256];
        static const uint32_t lengths[3] = {4, 10, 30};
        for (int part = 0; part < 3; part++) {
            size_t len = 0;
            parts[part][0] = '\0';
            for (uint32_t i = next_random(&seed) % lengths[part]; i > 0; i--) {
                const char *word = words[next_random(&seed) % N_WORDS];
                if (part == 0 && strchr(word, '\n')) continue;
                len += (size_t)snprintf(parts[part] + len, sizeof parts[part] - len, "%s", word);
            }
        }
        struct stop_word stop_words[2];
        struct stop_place at = {.line_prefix = parts[0],
                                .line_prefix_len = strlen(parts[0]),
                                .suffix = parts[1],
                                .suffix_len = strlen(parts[1]),
                                .above = words[round % N_WORDS],
                                .above_len = strlen(words[round % N_WORDS]),
                                .language = languages[round / 4 % 3],
                                .extent = (enum stop_extent)(round / 12 % 4),
                                .is_prefix_only = round % 2,
                                .is_raw = round % 16 == 2,
                                .words = stop_words,
                                .n_words = round / 2 % 3,
                                .min_indent = round / 6 % 3};
        char two[2][16];
        for (int i = 0; i < at.n_words; i++) {
            int len = snprintf(two[i], sizeof two[i], "%s%s", words[next_random(&seed) % N_WORDS],
                               words[next_random(&seed) % N_WORDS]);
            stop_words[i] = (struct stop_word){two[i], (size_t)len};
        }
        enum stop_why why_whole, why_bytes;
        char *whole = feed(&at, parts[2], 4096, &why_whole);
        char *bytes = feed(&at, parts[2], 1, &why_bytes);
        if (strcmp(whole, bytes) != 0 || why_whole != why_bytes) {
            fail_msg("round %d: \"%s\"|\"%s\" writes \"%s\": \"%s\" at once, \"%s\" byte by byte", round,
                     parts[0], parts[1], parts[2], whole, bytes);
        }
        free(whole);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_white_space),   cmocka_unit_test(test_characters),
        cmocka_unit_test(test_rest_of_line),  cmocka_unit_test(test_lines_below),
        cmocka_unit_test(test_repetition),    cmocka_unit_test(test_block),
        cmocka_unit_test(test_streams_early), cmocka_unit_test(test_words),
        cmocka_unit_test(test_min_indent),    cmocka_unit_test(test_has_newline),
        cmocka_unit_test(test_random_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
