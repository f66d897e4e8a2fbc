/* What places ask for. In the cases '|' is the cursor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "complete/place.h"

static const struct language c = {.name = "c", .line_comment = "//", .quotes = "\"'"};
static const struct language js = {.name = "javascript", .line_comment = "//", .quotes = "\"'`"};
static const struct language go = {.name = "go", .line_comment = "//", .quotes = "\"'`"};
static const struct language rust = {.name = "rust", .line_comment = "//", .quotes = "\""};
static const struct language lua = {.name = "lua", .line_comment = "--", .quotes = "\"'"};
static const struct language ruby = {.name = "ruby", .line_comment = "#", .quotes = "\"'"};
static const struct language bash = {.name = "shellscript", .line_comment = "#", .quotes = "\"'"};
static const struct language python = {
    .name = "python", .line_comment = "#", .quotes = "\"'", .is_indented = true};
static const struct language yaml = {
    .name = "yaml", .line_comment = "#", .quotes = "\"'", .is_indented = true};
static const struct language markdown = {.name = "markdown", .quotes = "", .is_prose = true};

static struct place place_of(const struct language *language, const char *text)
{
    const char *cursor = strchr(text, '|');
    assert_non_null(cursor);
    return (struct place){.before = text,
                          .before_len = (size_t)(cursor - text),
                          .after = cursor + 1,
                          .after_len = strlen(cursor + 1),
                          .language = language};
}

struct extent_case {
    const struct language *language;
    const char *text;
    enum stop_extent extent;
};

static void check_extents(const struct extent_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct place p = place_of(cases[i].language, cases[i].text);
        enum stop_extent extent = place_extent(&p);
        if (extent != cases[i].extent) {
            fail_msg("%s \"%s\": extent is %d, not %d", cases[i].language->name, cases[i].text, extent,
                     cases[i].extent);
        }
        p.inside = SYNTAX_COMMENT;
        assert_int_equal(place_extent(&p), STOP_EXTENT_LINE);
        p.inside = SYNTAX_STRING;
        assert_int_equal(place_extent(&p), STOP_EXTENT_LINE);
    }
}

#define CHECK_EXTENTS(cases) check_extents(cases, sizeof(cases) / sizeof *(cases))

static void test_block(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "int f(void) {|", STOP_EXTENT_BLOCK},
        {&c, "int f(void) {  |  }\n", STOP_EXTENT_BLOCK},
        {&c, "int a[] = {|};\n", STOP_EXTENT_BLOCK},
        {&c, "{\n    |\n}\n", STOP_EXTENT_BLOCK},
        {&c, "|", STOP_EXTENT_BLOCK},
        {&c, "a;\n|\nb;\n", STOP_EXTENT_BLOCK},
        {&js, "list.map((x) => {|})\n", STOP_EXTENT_BLOCK},
        {&js, "const a = [|", STOP_EXTENT_BLOCK},
        {&js, "call(|);", STOP_EXTENT_BLOCK},
        {&go, "if err != nil {|", STOP_EXTENT_BLOCK},
        {&go, "type T struct {\n\t|\n}", STOP_EXTENT_BLOCK},
        {&rust, "match x {|\n}\n", STOP_EXTENT_BLOCK},
        {&python, "def f(x):|\n", STOP_EXTENT_BLOCK},
        {&python, "x = f(|)", STOP_EXTENT_BLOCK},
        {&yaml, "jobs:|\n", STOP_EXTENT_BLOCK},
        {&lua, "if x then|", STOP_EXTENT_BLOCK},
        {&lua, "for i = 1, 9 do |\nend", STOP_EXTENT_BLOCK},
        {&lua, "local function f(a, b)|", STOP_EXTENT_BLOCK},
        {&lua, "call(function()|)", STOP_EXTENT_BLOCK},
        {&bash, "if [ -f x ]; then|", STOP_EXTENT_BLOCK},
        {&bash, "while read -r l; do|", STOP_EXTENT_BLOCK},
        {&bash, "case $x in|", STOP_EXTENT_BLOCK},
        {&ruby, "items.each do|", STOP_EXTENT_BLOCK},
        {&ruby, "def f(a)|", STOP_EXTENT_BLOCK},
        {&markdown, "Text.\n\n|\n", STOP_EXTENT_BLOCK},
    };
    CHECK_EXTENTS(cases);
}

static void test_unit(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "int x = |", STOP_EXTENT_UNIT},
        {&c, "int x = |;\nint y;\n", STOP_EXTENT_UNIT},
        {&c, "    printf(\"|\");", STOP_EXTENT_UNIT}, /* the caller says if it is a string */
        {&c, "case 1:|", STOP_EXTENT_UNIT},
        {&c, "f(a, |), ", STOP_EXTENT_UNIT},
        {&python, "x = foo|", STOP_EXTENT_UNIT},
        {&python, "lambda: |", STOP_EXTENT_BLOCK}, /* as far as a line shows */
        {&js, "const f = |", STOP_EXTENT_UNIT},
        {&js, "return {a: b|}\n", STOP_EXTENT_UNIT},
        {&lua, "local donate|", STOP_EXTENT_UNIT}, /* a word that ends in one */
        {&lua, "f(function() return 1 end)|", STOP_EXTENT_UNIT},
        {&lua, "functional(x)|", STOP_EXTENT_UNIT},
        {&c, "int then|", STOP_EXTENT_UNIT},
        {&bash, "echo do|ne", STOP_EXTENT_LINE},
        {&yaml, "name: |", STOP_EXTENT_BLOCK},
        {&yaml, "name: a|", STOP_EXTENT_UNIT},
    };
    CHECK_EXTENTS(cases);
}

static void test_line(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "int x = | + y;\n", STOP_EXTENT_LINE},
        {&c, "if (x|) {\n", STOP_EXTENT_LINE},
        {&c, "    |return x;\n", STOP_EXTENT_LINE},
        {&c, "f(\n    |)\n", STOP_EXTENT_LINE},
        {&python, "def f(|):\n    pass\n", STOP_EXTENT_LINE},
        {&markdown, "The cat|", STOP_EXTENT_LINE},
        {&markdown, "Namely:|", STOP_EXTENT_LINE},
        {&markdown, "like (|", STOP_EXTENT_LINE},
    };
    CHECK_EXTENTS(cases);
}

struct quiet_case {
    const struct language *language;
    const char *text;
    enum place_quiet quiet;
};

static void test_quiet(void **state)
{
    (void)state;
    static const struct quiet_case cases[] = {
        {&c, "int x = |", PLACE_NOT_QUIET},
        {&c, "pri|ntf", PLACE_IN_WORD},
        {&c, "|printf", PLACE_IN_WORD},
        {&c, "x = |_a", PLACE_IN_WORD},
        {&c, "x = |\xc3\xa9", PLACE_IN_WORD},
        {&c, "x = | y", PLACE_NOT_QUIET},
        {&c, "x = 4|", PLACE_IN_NUMBER},
        {&c, "x = 0x1f|;", PLACE_IN_NUMBER},
        {&c, "x = 1.|", PLACE_IN_NUMBER},
        {&c, "x = 1.5e3|", PLACE_IN_NUMBER},
        {&c, "x = .5|", PLACE_IN_NUMBER},
        {&c, "x = a[12|]", PLACE_IN_NUMBER},
        {&c, "x = a[12]|", PLACE_NOT_QUIET},
        {&c, "x = 42 |", PLACE_NOT_QUIET},
        {&c, "x = 42;|", PLACE_NOT_QUIET},
        {&c, "42\n|", PLACE_NOT_QUIET},
        {&c, "x86|", PLACE_NOT_QUIET},
        {&c, "a_1|", PLACE_NOT_QUIET},
        {&c, "s.x2|", PLACE_NOT_QUIET},
        {&c, ".|", PLACE_NOT_QUIET},
        {&rust, "pair.0|", PLACE_NOT_QUIET},
        {&rust, "for i in 0..|", PLACE_NOT_QUIET},
        {&rust, "1.ma|", PLACE_NOT_QUIET},
        {&rust, "1_000|", PLACE_IN_NUMBER},
        {&markdown, "In 1984|", PLACE_NOT_QUIET},
        {&markdown, "wo|rd", PLACE_IN_WORD},
        {&c, "|", PLACE_NOT_QUIET},
        {&c, "4|", PLACE_IN_NUMBER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct place p = place_of(cases[i].language, cases[i].text);
        enum place_quiet quiet = place_quiet(&p);
        if (quiet != cases[i].quiet) fail_msg("\"%s\": quiet is %d", cases[i].text, quiet);
        p.inside = SYNTAX_COMMENT; /* numbers are like words there */
        enum place_quiet in_comment = quiet == PLACE_IN_NUMBER ? PLACE_NOT_QUIET : quiet;
        assert_int_equal(place_quiet(&p), in_comment);
    }
}

static void test_deleting(void **state)
{
    (void)state;
    struct place p = place_of(&c, "int x = |");
    static const enum place_quiet expected[] = {PLACE_NOT_QUIET, PLACE_DELETING, PLACE_DELETING,
                                                PLACE_NOT_QUIET, PLACE_NOT_QUIET};
    for (int32_t n = 0; n < 5; n++) {
        p.n_deletions = n;
        assert_int_equal(place_quiet(&p), expected[n]);
    }
    struct place in_word = place_of(&c, "pri|ntf");
    in_word.n_deletions = 3;
    assert_int_equal(place_quiet(&in_word), PLACE_IN_WORD);
}

static void test_quiet_names(void **state)
{
    (void)state;
    assert_string_equal(place_quiet_name(PLACE_NOT_QUIET), "");
    assert_string_equal(place_quiet_name(PLACE_DELETING), "deleting");
    assert_string_equal(place_quiet_name(PLACE_IN_WORD), "in-word");
    assert_string_equal(place_quiet_name(PLACE_IN_NUMBER), "in-number");
}

static void test_sure(void **state)
{
    (void)state;
    assert_true(place_is_sure(-9, 4, 0));
    assert_true(place_is_sure(0, 4, 1)); /* exp(0) */
    assert_true(place_is_sure(-0.69, 4, 0.5));
    assert_false(place_is_sure(-0.70, 4, 0.5));
    assert_true(place_is_sure(-9, 0, 0.5)); /* nothing to be unsure of */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block), cmocka_unit_test(test_unit),     cmocka_unit_test(test_line),
        cmocka_unit_test(test_quiet), cmocka_unit_test(test_deleting), cmocka_unit_test(test_quiet_names),
        cmocka_unit_test(test_sure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
