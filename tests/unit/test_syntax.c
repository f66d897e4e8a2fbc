/* Syntax trees under edits: equal to trees from scratch; times and bounds; places. */
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

/* The text has a '|' where the place is. With a tree and without, the answer is the same. */
static void expect_place(const char *id, const char *marked, enum syntax_place expected)
{
    const struct language *l = language_of_id(id);
    size_t at = strcspn(marked, "|"), len = strlen(marked) - 1;
    char text[512];
    assert_true(len < sizeof text);
    memcpy(text, marked, at);
    memcpy(text + at, marked + at + 1, len - at);
    enum syntax_place got = syntax_place_at(NULL, l, text, len, at);
    if (got != expected) fail_msg("%s without a tree: %d, not %d: %s", id, got, expected, marked);
    struct syntax *s = syntax_new(l);
    if (!s) return;
    assert_true(syntax_parse(s, text, len, 0));
    got = syntax_place_at(s, l, text, len, at);
    if (got != expected) fail_msg("%s with a tree: %d, not %d: %s", id, got, expected, marked);
    syntax_free(&s);
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

/* --- Edits ------------------------------------------------------------------------------------------- */

static const char *const c_text = "#include <stdio.h>\n\n/* Adds. */\nstatic int add(int a, int b)\n{\n"
                                  "    return a + b; // sum\n}\n\nstruct point {\n    int x, y;\n};\n\n"
                                  "int main(void)\n{\n    printf(\"%d\\n\", add(1, 2));\n    return 0;\n}\n";
static const char *const python_text =
    "import os\n\nclass A(B):\n    \"\"\"Doc.\"\"\"\n\n    def f(self, x=1):\n"
    "        if x:\n            return [y for y in x]\n        return {}\n\n"
    "\ndef g():\n    pass\n";
static const char *const js_text = "import a from './a';\nexport class B {\n  c(d) { return `e${d}`; }\n}\n"
                                   "const f = async (x) => {\n  await g(x ? /h/g : {i: 1});\n};\n";
static const char *const go_text =
    "package a\n\nimport \"fmt\"\n\ntype T struct {\n\tA int\n}\n\n"
    "func (t *T) F(x int) error {\n\tif x > 1 {\n\t\treturn nil\n\t}\n\treturn "
    "fmt.Errorf(\"%d\", x)\n}\n";
static const char *const rust_text =
    "use std::io;\n\n/// Doc.\npub struct P<'a> { x: &'a str }\n\nimpl P<'_> {\n"
    "    fn f(&self) -> usize { self.x.len() }\n}\n\nfn main() { println!(\"{}\", "
    "1); }\n";

static uint64_t random_state;
static uint32_t below(size_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
    return (uint32_t)((random_state >> 33) % n);
}

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

static void splice(struct text *t, struct syntax *s, size_t from, size_t to, const char *bytes, size_t len)
{
    char old[512];
    while (from > 0 && ((unsigned char)t->bytes[from] & 0xc0) == 0x80) from--;
    while (to < t->len && ((unsigned char)t->bytes[to] & 0xc0) == 0x80) to++;
    assert_true(to - from <= sizeof old);
    memcpy(old, t->bytes + from, to - from);
    size_t old_len = t->len;
    assert_int_equal(text_splice(t, from, to, bytes, len), OK);
    syntax_edit(s, t->bytes, from, to, t->len - (old_len - to), old, t->bytes + from);
}

static void edit_randomly(struct text *t, struct syntax *s)
{
    static const char *const pieces[] = {
        "(",  ")", "{", "}",        "\"", "'", "\n", "\r\n", "  ",        "/*", "*/",
        "//", "#", "x", "if (a) {", "é",  "😀", ";",  "->",   "return 1;", "`",  "int g(void);\n",
        "\\", "0"};
    size_t from = below(t->len + 1), to = from;
    const char *bytes = pieces[below(sizeof pieces / sizeof pieces[0])];
    char copied[128];
    switch (below(3)) {
    case 0: /* typed */
        break;
    case 1: /* deleted */
        bytes = "";
        to = from + below(12);
        break;
    default: { /* pasted over */
        size_t at = below(t->len + 1), n = below(sizeof copied);
        while (at < t->len && ((unsigned char)t->bytes[at] & 0xc0) == 0x80) at++;
        if (n > t->len - at) n = t->len - at;
        while (n > 0 && at + n < t->len && ((unsigned char)t->bytes[at + n] & 0xc0) == 0x80) n--;
        memcpy(copied, t->bytes + at, n);
        copied[n] = '\0';
        bytes = copied;
        to = from + below(100);
    }
    }
    if (to > t->len) to = t->len;
    splice(t, s, from, to, bytes, strlen(bytes));
}

/* After each edit, the exact tree gives the outline and the places of a tree from scratch; where the text is
 * whole, the incremental one does too. */
static void edit_and_compare(const char *id, const char *start, int n_steps)
{
    const struct language *l = language(id);
    struct text t;
    assert_int_equal(text_init(&t, start, strlen(start)), OK);
    struct syntax *s = syntax_new(l);
    int n_exact = 0;
    for (int i = 0; i < n_steps; i++) {
        if (i % 7 == 0) splice(&t, s, 0, 0, "", 0); /* an edit of nothing */
        if (below(10) == 0) {                       /* whole again: as an editor's undo would */
            assert_int_equal(text_splice(&t, 0, t.len, start, strlen(start)), OK);
            syntax_free(&s);
            s = syntax_new(l);
            assert_true(syntax_parse(s, t.bytes, t.len, 0));
        }
        edit_randomly(&t, s);
        assert_false(syntax_is_current(s));
        assert_true(syntax_parse(s, t.bytes, t.len, 0));
        assert_true(syntax_is_current(s));
        n_exact += syntax_is_exact(s);
        if (!syntax_is_exact(s) && below(2)) assert_true(syntax_parse_exact(s, t.bytes, t.len, 0));
        if (!syntax_is_exact(s)) continue;
        struct syntax *fresh = syntax_new(l);
        assert_true(syntax_parse(fresh, t.bytes, t.len, 0));
        struct outline a = outline_of(l, s, &t), b = outline_of(l, fresh, &t);
        if (!outlines_equal(&a, &b)) fail_msg("%s, step %d: outlines differ of\n%s", id, i, t.bytes);
        size_t at = below(t.len + 1);
        assert_int_equal(syntax_place_at(s, l, t.bytes, t.len, at),
                         syntax_place_at(fresh, l, t.bytes, t.len, at));
        outline_clear(&a);
        outline_clear(&b);
        syntax_free(&fresh);
    }
    assert_true(n_exact > 0);
    syntax_free(&s);
    text_clear(&t);
}

static void test_edits_c(void **state)
{
    (void)state;
    random_state = 1;
    edit_and_compare("c", c_text, 1200);
}

static void test_edits_python(void **state)
{
    (void)state;
    random_state = 2;
    edit_and_compare("python", python_text, 800);
}

static void test_edits_javascript(void **state)
{
    (void)state;
    random_state = 3;
    edit_and_compare("javascript", js_text, 600);
}

static void test_edits_go(void **state)
{
    (void)state;
    random_state = 4;
    edit_and_compare("go", go_text, 600);
}

static void test_edits_rust(void **state)
{
    (void)state;
    random_state = 5;
    edit_and_compare("rust", rust_text, 600);
}

/* --- Bounds ------------------------------------------------------------------------------------------ */

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
    struct syntax *s = syntax_new(l);
    int n_calls = 1;
    assert_null(syntax_tree(s));
    assert_false(syntax_parse(s, t.bytes, t.len, 0.001));
    assert_null(syntax_tree(s));
    while (!syntax_parse(s, t.bytes, t.len, 0.5)) n_calls++;
    assert_true(n_calls > 1);
    struct outline o = outline_of(l, s, &t);
    assert_int_equal(o.n_units, 4000);
    outline_clear(&o);
    /* An edit in between drops what was parsed, not the tree. */
    splice(&t, s, 10, 10, " ", 1);
    assert_non_null(syntax_tree(s));
    syntax_drop(s);
    assert_null(syntax_tree(s));
    assert_false(syntax_parse(s, t.bytes, t.len, 0.001));
    splice(&t, s, 0, 0, "int first(void);\n", 17);
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    o = outline_of(l, s, &t);
    assert_int_equal(o.n_units, 4001);
    outline_clear(&o);
    syntax_free(&s);
    text_clear(&t);
}

/* What must not be stopped is not, and where it would take long, not begun. */
static void test_parsed_whole(void **state)
{
    (void)state;
    const struct language *l = language("rust");
    struct text t = {0};
    static const char line[] = "/// Doc.\n// More.\nfn f() {}\n";
    while (t.len < 20000) assert_int_equal(text_splice(&t, t.len, t.len, line, sizeof line - 1), OK);
    struct syntax *s = syntax_new(l);
    assert_true(syntax_parse(s, t.bytes, t.len, 0.001));
    while (t.len < 300000) {
        size_t at = t.len;
        assert_int_equal(text_splice(&t, at, at, line, sizeof line - 1), OK);
        syntax_edit(s, t.bytes, at, at, t.len, "", t.bytes + at);
    }
    assert_false(syntax_parse(s, t.bytes, t.len, 0.001));
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    syntax_free(&s);
    text_clear(&t);
}

static void test_too_long(void **state)
{
    (void)state;
    const struct language *l = language("c");
    struct text t = long_text(10);
    struct syntax *s = syntax_new(l);
    assert_true(syntax_parse(s, t.bytes, t.len, 0));
    assert_true(syntax_bytes(s) > t.len);
    size_t n = SYNTAX_BYTES_MAX + 1;
    char *spaces = malloc(n);
    memset(spaces, ' ', n);
    size_t len = t.len;
    assert_int_equal(text_splice(&t, len, len, spaces, n), OK);
    syntax_edit(s, t.bytes, len, len, len + n, "", spaces);
    assert_false(syntax_parse(s, t.bytes, t.len, 0));
    assert_null(syntax_tree(s));
    assert_int_equal(syntax_place_at(s, l, t.bytes, t.len, t.len), SYNTAX_CODE);
    assert_int_equal(text_splice(&t, len, len + n, "", 0), OK);
    syntax_edit(s, t.bytes, len, len + n, len, spaces, "");
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
    if (!language_has_grammars()) assert_null(syntax_new(language_of_id("c")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),           cmocka_unit_test(test_places_in_broken_text),
        cmocka_unit_test(test_edits_c),          cmocka_unit_test(test_edits_python),
        cmocka_unit_test(test_edits_javascript), cmocka_unit_test(test_edits_go),
        cmocka_unit_test(test_edits_rust),       cmocka_unit_test(test_time),
        cmocka_unit_test(test_too_long),         cmocka_unit_test(test_parsed_whole),
        cmocka_unit_test(test_no_grammar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
