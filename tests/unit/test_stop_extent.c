/* How far suggestions go: statements, blocks and lines of several languages. In the cases '|' is the cursor.
 * Every text is fed whole and byte by byte, with the same result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "complete/stop.h"

#define C_LIKE .line_comment = "//", .block_comment = {"/*", "*/"}
static const struct language c = {.name = "c", C_LIKE, .quotes = "\"'"};
static const struct language js = {.name = "javascript", C_LIKE, .quotes = "\"'`"};
static const struct language go = {.name = "go", C_LIKE, .quotes = "\"'`"};
static const struct language rust = {.name = "rust", C_LIKE, .quotes = "\""};
static const struct language lua = {
    .name = "lua", .line_comment = "--", .block_comment = {"--[[", "]]"}, .quotes = "\"'"};
static const struct language ruby = {.name = "ruby", .line_comment = "#", .quotes = "\"'"};
static const struct language bash = {.name = "shellscript", .line_comment = "#", .quotes = "\"'"};
static const struct language python = {
    .name = "python", .line_comment = "#", .quotes = "\"'", .is_indented = true};
static const struct language yaml = {
    .name = "yaml", .line_comment = "#", .quotes = "\"'", .is_indented = true};

struct extent_case {
    const struct language *language;
    const char *place;  /* the cursor's line, '|', what follows */
    const char *text;   /* what the model writes */
    const char *result; /* what is suggested */
    bool goes_on;       /* the rules do not end the text */
};

static struct stop_place place_of(const struct extent_case *e, enum stop_extent extent)
{
    const char *cursor = strchr(e->place, '|');
    assert_non_null(cursor);
    return (struct stop_place){.line_prefix = e->place,
                               .line_prefix_len = (size_t)(cursor - e->place),
                               .suffix = cursor + 1,
                               .suffix_len = strlen(cursor + 1),
                               .language = e->language,
                               .extent = extent};
}

static void check_fed(const struct extent_case *e, enum stop_extent extent, enum stop_why why, size_t piece)
{
    struct stop_place at = place_of(e, extent);
    struct stop s;
    stop_init(&s, &at);
    size_t len = strlen(e->text), certain = 0;
    for (size_t i = 0; i < len && !s.why; i += piece) {
        (void)stop_feed(&s, e->text + i, piece < len - i ? piece : len - i);
        assert_true(s.certain >= certain);
        certain = s.certain;
    }
    enum stop_why expected = e->goes_on ? STOP_NOT : why;
    bool is_same_why = s.why == expected || s.why == STOP_SUFFIX;
    stop_finish(&s);
    assert_true(s.certain >= certain);
    if (!is_same_why || s.certain != strlen(e->result) ||
        strncmp(buf_str(&s.text), e->result, s.certain) != 0) {
        fail_msg("at \"%s\", in pieces of %zu: \"%.*s\", not \"%s\"; why is %d", e->place, piece,
                 (int)s.certain, buf_str(&s.text), e->result, s.why);
    }
    stop_clear(&s);
}

static void check(const struct extent_case *cases, size_t n, enum stop_extent extent, enum stop_why why)
{
    for (size_t i = 0; i < n; i++) {
        check_fed(&cases[i], extent, why, 1);
        check_fed(&cases[i], extent, why, 5);
        check_fed(&cases[i], extent, why, 4096);
    }
}

#define CHECK(cases, extent, why) check(cases, sizeof(cases) / sizeof *(cases), extent, why)

static void test_line(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "int x = |", "1;\nint y;", "1;", false},
        {&c, "int x = |", "1;", "1;", true},
        {&c, "int x = 1;|", "\nint y;", "", false}, /* the line is complete already */
        {&c, "x = | + y;\n", "foo(a,  \n    b)", "foo(a,", false},
        {&c, "// See |", "the other\n// file.", "the other", false},
        {&c, "    if (x|) {\n", " > 0) {\n        y();", " > 0", false},
        {&python, "s = f(\"|\")\n", "abc\")\nx", "abc", false},
    };
    CHECK(cases, STOP_EXTENT_LINE, STOP_LINE);
}

static void test_unit(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "int x = |", "1;\nint y;", "1;", false},
        {&c, "int x = 1;|", "\nint y = 2;\n", "", false},
        {&c, "    foo(a,|", " b);\n    bar();\n", " b);", false},
        {&c, "    foo(a,|", "\n        b);\n    bar();\n", "\n        b);", false},
        {&c, "    x = |", "a +\n        b;\n    y = 1;", "a +\n        b;", false},
        {&c, "    x = |", "a // (\n        + b;\n    y = 1;", "a // (\n        + b;", false},
        {&c, "    if (|", "x) {\n        y();\n    }\n    z();", "x) {\n        y();\n    }", false},
        {&c, "    if (|", "x) {\n        y();\n    } else {\n        z();\n    }\n    w();",
         "x) {\n        y();\n    } else {\n        z();\n    }", false},
        {&c, "    if (|", "x)\n        y();\n    else\n        z();\n    w();",
         "x)\n        y();\n    else\n        z();", false},
        {&c, "static int f(|", "int a)\n{\n    return a;\n}\n\nint g(void)", "int a)\n{\n    return a;\n}",
         false},
        {&c, "static int f(|", "int a);\nint g(void);", "int a);", false},
        {&c, "int a[] = |", "{\n    1,\n    2\n};\nint b;", "{\n    1,\n    2\n};", false},
        {&c, "#define MAX(a, b) |", "\\\n    ((a) > (b))\n#define X", "\\\n    ((a) > (b))", false},
        {&c, "    case 1:|", "\n        x();\n        break;\n    case 2:", "\n        x();\n        break;",
         false},
        {&c, "    case 1:|", "\n    case 2:", "", false},
        {&c, "    char q = |", "'{';\n    int y;", "'{';", false},
        {&js, "    const f = |", "(a) => {\n        return a;\n    };\n    f();",
         "(a) => {\n        return a;\n    };", false},
        {&js, "    return fetch(|", "url)\n        .then(x)\n        .catch(y);\n    foo();",
         "url)\n        .then(x)\n        .catch(y);", false},
        {&c, "\tif (x) |", "{\n\t    y(\n\t\tz);\n\t}\n    w();", "{\n\t    y(\n\t\tz);\n\t}", false},
        {&c, "    if (|", "x)\n    {\n        y();\n    }\n    else\n    {\n        z();\n    }\n    w();",
         "x)\n    {\n        y();\n    }\n    else\n    {\n        z();\n    }", false},
        {&js, "    const f = |", "g<\n        A,\n    >(x);\n    h();", "g<\n        A,\n    >(x);", false},
        {&js, "    const a = |", "b()\n    const d = 1", "b()", false},
        {&js, "  s = |", "`a {\n${b}\n`;\n  x;", "`a {\n${b}\n`;", false},
        {&js, "    name: |", "\"x\",\n    age: 1,", "\"x\",", false},
        {&go, "\tx := |", "f(a)\n\ty := 2", "f(a)", false},
        {&rust, "    let x: &'a str = |", "f(|y| {\n        y\n    });\n    g();",
         "f(|y| {\n        y\n    });", false},
        {&rust, "fn f<'a>(|", "x: &'a str) -> T<'a> {\n    x\n}\n\nfn g()",
         "x: &'a str) -> T<'a> {\n    x\n}", false},
        {&rust, "impl<T> |", "A for T\nwhere\n    T: B,\n{\n    fn f() {}\n}\n\nfn g",
         "A for T\nwhere\n    T: B,\n{\n    fn f() {}\n}", false},
        {&rust, "    let x = |", "'\"'; // {\n    y", "'\"'; // {", false},
        {&rust, "    let x = |", "\"a {\nb\";\n    y", "\"a {\nb\";", false},
        {&python, "x = |", "1\ny = 2", "1", false},
        {&python, "    x = foo(|", "a,\n            b)\n    y = 2", "a,\n            b)", false},
        {&python, "if |", "x:\n    y()\n    z()\nw()", "x:\n    y()\n    z()", false},
        {&python, "if |", "x:\n    y()\n\n    z()\nelse:\n    w()\nv()",
         "x:\n    y()\n\n    z()\nelse:\n    w()", false},
        {&python, "    if |", "x:\n        y()\n    elsewhere()", "x:\n        y()", false},
        {&python, "if |", "x:\n    y()\nels", "x:\n    y()", true}, /* cut off by the limit of tokens */
        {&python, "def f(|", "x):\n    \"\"\"Says (\n\n    it.\n    \"\"\"\n    return x\n\n\ndef g():",
         "x):\n    \"\"\"Says (\n\n    it.\n    \"\"\"\n    return x", false},
        {&python, "def f(|", "x):\n    g(\n        x,\n    )\n    h(x)\ny",
         "x):\n    g(\n        x,\n    )\n    h(x)", false},
        {&python, "x = |", "a + \\\n    b\ny", "a + \\\n    b", false},
        {&python, "x = |", "\"it's (\"\ny", "\"it's (\"", false},
        {&python, "x = |", "1  # see (\ny", "1  # see (", false},
        {&lua, "local function |", "f(a)\n  return a\nend\n\nf()", "f(a)\n  return a\nend", false},
        {&lua, "  if |", "x then\n    y()\n  else\n    z()\n  end\n  w()",
         "x then\n    y()\n  else\n    z()\n  end", false},
        {&lua, "  if |", "x then\n    y()\n  ending = 1", "x then\n    y()", false},
        {&lua, "local x = |", "#t\nlocal y", "#t", false},
        {&ruby, "  def |", "f(a)\n    a + 1\n  end\n\n  def g", "f(a)\n    a + 1\n  end", false},
        {&bash, "for f in |", "*; do\n    echo \"$f\" ${#f}\ndone\necho",
         "*; do\n    echo \"$f\" ${#f}\ndone", false},
        {&bash, "f() |", "{\n  case $1 in\n    a) b;;\n    c) d;;\n  esac\n}\ne",
         "{\n  case $1 in\n    a) b;;\n    c) d;;\n  esac\n}", false},
        {&bash, "x=|", "1\ndone=2", "1", false},
        {&bash, "awk |", "'{\n  print\n}' x\ny", "'{\n  print\n}' x", false},
        {&bash, "if |", "[ -f x ]\nthen\n  y\nfi\nz", "[ -f x ]\nthen\n  y\nfi", false},
        {&yaml, "  name: |", "foo\n  on: push", "foo", false},
        {NULL, "x = |", "(1 +\n 2);\ny", "(1 +\n 2);", false},
    };
    CHECK(cases, STOP_EXTENT_UNIT, STOP_UNIT);
}

/* Behind a line that begins a block. */
static void test_begun_block(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        /* The closing bracket is there. */
        {&c, "if (x) {|}", "\n    y();\n}", "\n    y();\n", false},
        {&c, "    if (x) {|\n    }\n}\n", "\n        y();\n    }\n    z();", "\n        y();", false},
        {&c, "int f(void) {|\n    return 0;\n}\n", "\n    g();\n    return 0;\n}", "\n    g();", false},
        /* It is missing. */
        {&c, "int f(void) {|", "\n    return 0;\n}\n\nint g(", "\n    return 0;\n}", false},
        {&c, "    if (x) {|\n    return 0;\n}\n", "\n        y();\n    }\n    return 0;",
         "\n        y();\n    }", false},
        {&c, "    if (x) {|\n}\n", "\n        y();\n    } else {\n        z();\n    }\n    w();",
         "\n        y();\n    } else {\n        z();\n    }", false},
        /* The line ends what earlier ones began. */
        {&c, "        int b) {|", "\n    x();\n    return y;\n}\n\nint g", "\n    x();\n    return y;\n}",
         false},
        {&python, "        b: int) -> int:|", "\n    x()\n    return y\n\ndef g", "\n    x()\n    return y",
         false},
        {&c, "        b) |", "+ c;\n    y();", "+ c;", false},
        {&js, "        b) |", "+ c\n    y()", "+ c", false},
        {&js, "it('x', () => {|", "\n  y();\n});\n\nit('z'", "\n  y();\n});", false},
        {&js, "it('x', () => {|});", "\n  y();\n});\n\nit('z'", "\n  y();\n", false},
        {&python, "def f(x):|\n", "\n    y = 1\n\n    return y\n\ndef g(x):", "\n    y = 1\n\n    return y",
         false},
        {&python, "    for x in y:|\n", "\n        z(x)\n    return 1", "\n        z(x)", false},
        {&python, "x = [|\n]\n", "\n    1,\n    2,\n]\n", "\n    1,\n    2,", false},
        {&python, "x = [|\n", "\n    1,\n    2,\n]\ny = 1", "\n    1,\n    2,\n]", false},
        {&lua, "if x then|\nend\n", "\n  y()\nend\nz()", "\n  y()", false},
        {&lua, "if x then|\n", "\n  y()\nend\nz()", "\n  y()\nend", false},
        {&bash, "while read -r l; do|\ndone\n", "\n  y\ndone\n", "\n  y", false},
        {&yaml, "jobs:|\n", "\n  a: 1\n  b: 2\non:", "\n  a: 1\n  b: 2", false},
    };
    CHECK(cases, STOP_EXTENT_BLOCK, STOP_BLOCK);
}

/* On an empty line. */
static void test_block(void **state)
{
    (void)state;
    static const struct extent_case cases[] = {
        {&c, "    |\n}\n", "x = 1;\n\n    return x;\n}\n", "x = 1;\n\n    return x;", false},
        {&c, "    |\n", "return x;\n}\n\nint g", "return x;\n}", false},
        {&c, "    |\n\nint g(void)\n", "return x;\n}\n\nint g", "return x;\n}", false},
        {&c, "    |\n", "x();\n} else {\n    y();\n}\n\nint g", "x();\n} else {\n    y();\n}", false},
        {&c, "    |\n} else {\n", "x();\n} else {\n    y();\n}\n", "x();", false},
        {&c, "|\n}\n", "    x();\n    y();\n}\n", "    x();\n    y();", false}, /* not indented yet */
        {&c, "    |\n}\n", "x();\n#ifdef Y\n    y();\n#endif\n    z();\n}",
         "x();\n#ifdef Y\n    y();\n#endif\n    z();", false},
        /* What belongs to the block goes on after blank lines, but not after a definition. */
        {&c, "    |\n}\n", "if (x) {\n        y();\n    }\n\n    return x;\n}",
         "if (x) {\n        y();\n    }\n\n    return x;", false},
        {&c, "    |\n}\n", "x = f(\n        1);\n\n    {\n        y();\n    }\n\n    return x;\n}",
         "x = f(\n        1);\n\n    {\n        y();\n    }\n\n    return x;", false},
        {&c, "|\n", "int f(void)\n{\n    return 1;\n}\n\nint g(void)", "int f(void)\n{\n    return 1;\n}",
         false},
        {&c, "|\n", "#include <a.h>\n\nint f(void) {\n    return 1;\n}\n\nint g(void)",
         "#include <a.h>\n\nint f(void) {\n    return 1;\n}", false},
        {&js, "  |\n}\n", "a() {\n    b();\n  }\n\n  c() {", "a() {\n    b();\n  }", false},
        {&python, "|\n", "def f():\n    return 1\n\n\ndef g():", "def f():\n    return 1", false},
        {&python, "    |\n",
         "def f(self):\n        return 1\n\n    def g(self):", "def f(self):\n        return 1", false},
        {&python, "    |\n", "for x in y:\n        z(x)\n\n    return 1\n\n\ndef g():",
         "for x in y:\n        z(x)\n\n    return 1", false},
        {&python, "|\n", "import a\n\n\nimport b", "import a", false}, /* two blank lines */
        {&python, "    |\n", "return f(\n        x,\n    )\nx = 1", "return f(\n        x,\n    )", false},
        {&lua, "  |\nend\n", "x()\nend\ny()", "x()", false},
        {&lua, "  |\n", "x()\nelse\n  y()\nend\nz()", "x()\nelse\n  y()\nend", false},
        {&c, "    |\n}\n", "x();\n    y();", "x();\n    y();", true},
        {&c, "|", "\n\n\n", "", true},
    };
    CHECK(cases, STOP_EXTENT_BLOCK, STOP_BLOCK);
}

static void check_above(const struct stop_place *at, const char *text, const char *result)
{
    struct stop s;
    stop_init(&s, at);
    for (const char *p = text; *p && stop_feed(&s, p, 1); p++) assert_true(s.certain <= strlen(result));
    stop_finish(&s);
    assert_int_equal(s.certain, strlen(result));
    assert_memory_equal(buf_str(&s.text), result, s.certain);
    if (result[0] == '\0') assert_int_equal(s.why, STOP_REPETITION);
    stop_clear(&s);
}

/* The line above is not written once more; with text before the cursor it may be. */
static void test_line_above(void **state)
{
    (void)state;
    static const struct {
        const char *before, *above, *text, *result;
    } cases[] = {
        {"    ", "    x = y + 1;", "x = y + 1;\n    z();", ""},
        {"", "    x = y + 1;", "    x = y + 1;", ""},
        {"    ", "    x = y + 1;", "x = y + 2;", "x = y + 2;"},
        {"    x", "    x = y + 1;", " = y + 1;", " = y + 1;"},
        {"    ", "    }", "}", "}"},
        {"    ", "    x", "y;\nx", "y;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stop_place at = {.line_prefix = cases[i].before,
                                .line_prefix_len = strlen(cases[i].before),
                                .above = cases[i].above,
                                .above_len = strlen(cases[i].above),
                                .suffix = ""};
        check_above(&at, cases[i].text, cases[i].text);
        at.extent = STOP_EXTENT_LINE;
        check_above(&at, cases[i].text, cases[i].result);
    }
}

/* Spellings of the model's own tokens are no text. */
static void test_marks(void **state)
{
    (void)state;
    static const struct stop_word marks[] = {{"<|fim_prefix|>", 14}, {"<|endoftext|>", 13}};
    static const struct {
        const char *text, *result;
        enum stop_why why;
    } cases[] = {
        {"x = 1;<|fim_prefix|>int", "x = 1;", STOP_MARK},
        {"x = 1;\n<|endoftext|>", "x = 1;", STOP_MARK},
        {"x <| y", "x <| y", STOP_NOT},
        {"x <|fim_prefix", "x <|fim_prefix", STOP_NOT},
        {"<|fim_prefix|>", "", STOP_MARK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct stop_place at = {.line_prefix = "", .suffix = "", .marks = marks, .n_marks = 2};
        struct stop s;
        stop_init(&s, &at);
        for (const char *p = cases[i].text; *p && stop_feed(&s, p, 1); p++) {
            assert_true(s.certain <= strlen(cases[i].result));
        }
        assert_int_equal(s.why, cases[i].why);
        stop_finish(&s);
        assert_int_equal(s.certain, strlen(cases[i].result));
        stop_clear(&s);
    }
}

/* A user sees each line as soon as it is sure to stay. */
static void test_streams_early(void **state)
{
    (void)state;
    const struct extent_case e = {&python, "if |", "", "", false};
    struct stop_place at = place_of(&e, STOP_EXTENT_UNIT);
    struct stop s;
    stop_init(&s, &at);
    assert_true(stop_feed(&s, "x:", 2));
    assert_int_equal(s.certain, 2);
    assert_true(stop_feed(&s, "\n    y()", 8));
    assert_int_equal(s.certain, 10);
    assert_true(stop_feed(&s, "\nel", 3)); /* it may be "else" */
    assert_int_equal(s.certain, 10);
    assert_true(stop_feed(&s, "se:", 3));
    assert_int_equal(s.certain, 16);
    assert_true(stop_feed(&s, "\n    z()\n", 9));
    assert_int_equal(s.certain, 24);
    assert_false(stop_feed(&s, "v", 1)); /* at its first letter */
    assert_int_equal(s.why, STOP_UNIT);
    stop_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line),          cmocka_unit_test(test_unit),
        cmocka_unit_test(test_begun_block),   cmocka_unit_test(test_block),
        cmocka_unit_test(test_line_above),    cmocka_unit_test(test_marks),
        cmocka_unit_test(test_streams_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
