/* What places are; trees parsed at once and in slices of time; bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "context/outline.h"
#include "context/syntax.h"
#include "context/text.h"

static const struct language *language(const char *id)
{
    const struct language *l = language_of_id(id);
    assert_non_null(l);
    if (!l->grammar) skip();
    return l;
}

/* --- Places ------------------------------------------------------------------------------------------ */

/* The text has a '|' where the place is. */
static void expect_place(const char *id, const char *marked, enum syntax_place expected)
{
    const struct language *l = language_of_id(id);
    size_t at = strcspn(marked, "|"), len = strlen(marked) - 1;
    char text[512];
    assert_true(len < sizeof text);
    memcpy(text, marked, at);
    memcpy(text + at, marked + at + 1, len - at);
    enum syntax_place got = syntax_place_at(l, text, len, at);
    if (got != expected) fail_msg("%s: %d, not %d: %s", id, got, expected, marked);
    assert_int_equal(syntax_place_at(l, text, at, at), expected); /* what comes after does not count */
}

static void test_places(void **state)
{
    (void)state;
    expect_place("c", "|int a;\n", SYNTAX_CODE);
    expect_place("c", "int a; // what|\nint b;\n", SYNTAX_COMMENT);
    expect_place("c", "int a; // what\n|int b;\n", SYNTAX_CODE);
    expect_place("c", "/* a\n * b|\n */\nint b;\n", SYNTAX_COMMENT);
    expect_place("c", "/* a */| int b;\n", SYNTAX_CODE);
    expect_place("c", "char *a = \"it|s\";\n", SYNTAX_STRING);
    expect_place("c", "char *a = \"its\"|;\n", SYNTAX_CODE);
    expect_place("c", "char *a = \"/* \\\" |\";\n", SYNTAX_STRING);
    expect_place("c", "char a = '\"'; int| b;\n", SYNTAX_CODE);
    expect_place("python", "a = 'b|'\n", SYNTAX_STRING);
    expect_place("python", "def f():\n    \"\"\"What\n    it| does.\"\"\"\n", SYNTAX_STRING);
    expect_place("python", "a = 1 # b|", SYNTAX_COMMENT);
    expect_place("python", "a = '''b''' + c|\n", SYNTAX_CODE);
    expect_place("javascript", "let a = `b\nc|`;\n", SYNTAX_STRING);
    expect_place("rust", "fn f<'a>(x: &'a str) {| }\n", SYNTAX_CODE);
    expect_place("lua", "--[[ a\nb| ]] c = 1\n", SYNTAX_COMMENT);
    expect_place("lua", "--[[ a\nb ]] c| = 1\n", SYNTAX_CODE);
    expect_place("shellscript", "echo \"a|\"\n", SYNTAX_STRING);
    expect_place("json", "{\"a|\": 1}\n", SYNTAX_STRING);
    expect_place("ruby", "a = 'b|\n", SYNTAX_STRING);
    expect_place("markdown", "it's \"code|\n", SYNTAX_CODE);
}

/* Marks that open nothing, and strings that hold code. */
static void test_places_among_others(void **state)
{
    (void)state;
    expect_place("cpp", "int a = 1'000'00|0;\n", SYNTAX_CODE);
    expect_place("cpp", "int a = 1'000; char b = 'c|'\n", SYNTAX_STRING);
    expect_place("c", "/* it's */ int a = |3;\n", SYNTAX_CODE);
    expect_place("c", "#error don't\nint a|;\n", SYNTAX_CODE);
    expect_place("go", "a := `\\` + b|\n", SYNTAX_CODE);
    expect_place("go", "a := `\\\n${b|\n", SYNTAX_STRING);
    expect_place("javascript", "a = `b \\` c|\n", SYNTAX_STRING);
    expect_place("javascript", "a = `b ${c + |}`\n", SYNTAX_CODE);
    expect_place("javascript", "a = `b ${c({d: 'e'})} f|`\n", SYNTAX_STRING);
    expect_place("javascript", "a = `b ${c ? `it's ${d}` : ''}` + |\n", SYNTAX_CODE);
    expect_place("javascript", "a = `b ${c ? `it's ${d|}` : ''}`\n", SYNTAX_CODE);
    expect_place("javascript", "a = `b ${c ? `it's ${d}|` : ''}`\n", SYNTAX_STRING);
    expect_place("javascript", "a = `b ${\"}\" + c}|\n", SYNTAX_STRING);
    expect_place("javascript", "if (a) { b = `c`; } d = |\n", SYNTAX_CODE);
    expect_place("javascript", "a.replace(/[/`\"]/g, b|)\n", SYNTAX_CODE);
    expect_place("javascript", "a.replace(/\\/*$/, |b)\n", SYNTAX_CODE);
    expect_place("javascript", "const a = b => /`/.test(b) || |c\n", SYNTAX_CODE);
    expect_place("javascript", "a = b / c; d = `e / |f`\n", SYNTAX_STRING);
    expect_place("typescriptreact", "<p>{`a`}</p>; b = `c|`\n", SYNTAX_STRING);
    char deep[256] = "", *end = deep;
    for (int i = 0; i < 40; i++) end = stpcpy(end, "`a${");
    for (size_t at = 0; at <= strlen(deep); at++)
        (void)syntax_place_at(language_of_id("javascript"), deep, strlen(deep), at);
}

/* As far back as it is read. */
static void test_places_far_down(void **state)
{
    (void)state;
    const struct language *l = language_of_id("c");
    struct text t = {0};
    assert_int_equal(text_splice(&t, 0, 0, "/* a\n", 5), OK);
    while (t.len < 100000) assert_int_equal(text_splice(&t, t.len, t.len, "b c\n", 4), OK);
    assert_int_equal(syntax_place_at(l, t.bytes, t.len, t.len), SYNTAX_COMMENT);
    while (t.len < 1000000) assert_int_equal(text_splice(&t, t.len, t.len, "b c d e f g h i\n", 16), OK);
    assert_int_equal(syntax_place_at(l, t.bytes, t.len, t.len), SYNTAX_CODE);
    assert_int_equal(text_splice(&t, t.len, t.len, "\"", 1), OK);
    assert_int_equal(syntax_place_at(l, t.bytes, t.len, t.len), SYNTAX_STRING);
    assert_int_equal(syntax_place_at(l, t.bytes, t.len, t.len + 1), SYNTAX_STRING);
    text_clear(&t);
}

/* While typing: nothing is closed yet. */
static void test_places_in_broken_text(void **state)
{
    (void)state;
    expect_place("c", "void f(void)\n{\n    puts(\"hel|\n    int a = 3;\n}\n", SYNTAX_STRING);
    expect_place("c", "void f(void)\n{\n    g(1, |\n    int a = 3;\n}\n", SYNTAX_CODE);
    expect_place("c", "void f(void)\n{\n    /* hel|\n", SYNTAX_COMMENT);
    expect_place("python", "def f(:\n    a = \"hel|\n    b = 2\n", SYNTAX_STRING);
    expect_place("python", "def f(:\n    a = 'x' + |\n    b = 2\n", SYNTAX_CODE);
    expect_place("javascript", "f('a', \"|\n", SYNTAX_STRING);
}

/* --- Trees ------------------------------------------------------------------------------------------- */

static struct outline outline_of(const struct language *l, const struct syntax *s, const struct text *t)
{
    struct outline o = {0};
    assert_int_equal(outline_build(l, s, t->bytes, t->len, &o), OK);
    return o;
}

static bool outlines_equal(const struct outline *a, const struct outline *b)
{
    return a->n_units == b->n_units && a->n_imports == b->n_imports &&
           (a->n_units == 0 || memcmp(a->units, b->units, (size_t)a->n_units * sizeof *a->units) == 0) &&
           (a->n_imports == 0 ||
            memcmp(a->imports, b->imports, (size_t)a->n_imports * sizeof *a->imports) == 0);
}

/* A text of n functions. */
static struct text long_text(int n)
{
    struct text t = {0};
    char line[64];
    for (int i = 0; i < n; i++) {
        int len = snprintf(line, sizeof line, "int f%d(int a) { return a + %d; }\n", i, i);
        assert_int_equal(text_splice(&t, t.len, t.len, line, (size_t)len), OK);
    }
    return t;
}

/* A parse that runs out of time leaves no tree, goes on, and ends in the tree of one go. */
static void test_time(void **state)
{
    (void)state;
    const struct language *l = language("c");
    struct text t = long_text(4000);
    struct syntax *s = syntax_new(l), *other = syntax_new(l);
    int n_calls = 1;
    assert_null(syntax_tree(s));
    assert_false(syntax_parse(s, t.bytes, t.len, 0.001));
    assert_null(syntax_tree(s));
    while (!syntax_parse(s, t.bytes, t.len, 0.5)) n_calls++;
    assert_true(n_calls > 1);
    assert_true(syntax_parse(other, t.bytes, t.len, 0));
    struct outline a = outline_of(l, s, &t), b = outline_of(l, other, &t);
    assert_int_equal(a.n_units, 4000);
    assert_true(outlines_equal(&a, &b));
    outline_clear(&a);
    outline_clear(&b);
    /* Once it is done, another text can be parsed. */
    assert_int_equal(text_splice(&t, 0, 0, "int first(void);\n", 17), OK);
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    a = outline_of(l, s, &t);
    assert_int_equal(a.n_units, 4001);
    outline_clear(&a);
    syntax_free(&s);
    syntax_free(&other);
    text_clear(&t);
}

/* What must not be stopped is not, and where it would take long, not begun. */
static void test_parsed_whole(void **state)
{
    (void)state;
    const struct language *l = language("rust");
    struct text t = {0};
    static const char line[] = "/// Doc.\n// More.\nfn f() {}\n";
    struct syntax *s = syntax_new(l);
    while (t.len < 20000) assert_int_equal(text_splice(&t, t.len, t.len, line, sizeof line - 1), OK);
    assert_true(syntax_parse(s, t.bytes, t.len, 0.001));
    while (t.len < 300000) assert_int_equal(text_splice(&t, t.len, t.len, line, sizeof line - 1), OK);
    assert_false(syntax_parse(s, t.bytes, t.len, 0.001));
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    syntax_free(&s);
    text_clear(&t);
}

static void test_too_long(void **state)
{
    (void)state;
    struct text t = long_text(10);
    size_t n = SYNTAX_BYTES_MAX + 1;
    char *spaces = malloc(n);
    memset(spaces, ' ', n);
    struct syntax *s = syntax_new(language("c"));
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    assert_false(syntax_parse(s, spaces, n, 0));
    assert_null(syntax_tree(s));
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    assert_non_null(syntax_tree(s));
    free(spaces);
    syntax_free(&s);
    syntax_free(&s);
    text_clear(&t);
}

static void test_no_grammar(void **state)
{
    (void)state;
    assert_null(syntax_new(language_of_id("ruby")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_in_broken_text),
        cmocka_unit_test(test_places_among_others),
        cmocka_unit_test(test_places_far_down),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_parsed_whole),
        cmocka_unit_test(test_no_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
