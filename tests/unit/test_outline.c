/* Outlines: what is found in each grammar's texts and without a grammar, its lines, and its signatures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "context/outline.h"
#include "context/syntax.h"

static struct outline build(const char *id, const char *text, bool with_tree)
{
    const struct language *l = language_of_id(id);
    struct outline o = {0};
    struct syntax *s = with_tree ? syntax_new(l) : NULL;
    if (with_tree && !s) skip();
    if (s) assert_true(syntax_parse(s, text, strlen(text), 0));
    assert_int_equal(outline_build(l, s, text, strlen(text), &o), OK);
    syntax_free(&s);
    return o;
}

/* Units as "F:name" (function, type, value, block), enclosed ones in parentheses after theirs; imports as
 * "<target>" in front. */
static void describe(const struct outline *o, const char *text, struct buf *out)
{
    int32_t open[64];
    int depth = 0;
    for (int32_t i = 0; i < o->n_imports; i++) {
        buf_printf(out, "<%.*s> ", (int)o->imports[i].target_len, text + o->imports[i].target);
    }
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i];
        bool is_inner = u->parent >= 0 && u->parent == i - 1;
        while (!is_inner && depth > 0 && open[depth - 1] != u->parent) {
            buf_add_char(out, ')');
            depth--;
        }
        if (is_inner) {
            open[depth++] = u->parent;
            buf_add_char(out, '(');
        } else if (i > 0) {
            buf_add_char(out, ' ');
        }
        buf_printf(out, "%c:%.*s", "FTVB"[u->kind], (int)u -> name_len, text + u -> name);
    }
    while (depth-- > 0) buf_add_char(out, ')');
}

/* Whole lines in order, within the text and the enclosing unit. */
static void check(const struct outline *o, const char *text)
{
    size_t len = strlen(text);
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i];
        assert_true(u->comment <= u->start && u->start < u->end && u->end <= len);
        assert_true(u->start == 0 || text[u->start - 1] == '\n');
        assert_true(u->comment == 0 || text[u->comment - 1] == '\n');
        assert_true(u->end == len || text[u->end - 1] == '\n');
        assert_true(u->body <= u->body_end && u->body_end <= u->end && u->body >= u->start);
        assert_true(u->name + u->name_len <= len);
        if (i > 0) assert_true(o->units[i - 1].start <= u->start);
        assert_true(u->parent < i && (u->parent < 0 || o->units[u->parent].end >= u->end));
    }
}

static void expect(const char *id, bool with_tree, const char *text, const char *expected)
{
    struct outline o = build(id, text, with_tree);
    struct buf got;
    buf_init(&got, 65536);
    check(&o, text);
    describe(&o, text, &got);
    if (strcmp(buf_str(&got), expected) != 0) fail_msg("%s:\n%s\nnot\n%s", id, buf_str(&got), expected);
    buf_clear(&got);
    outline_clear(&o);
}

/* --- What is found ----------------------------------------------------------------------------------- */

static void test_c(void **state)
{
    (void)state;
    expect("c", true,
           "#ifndef A_H\n#define A_H\n#include \"base/err.h\"\n#include <stdio.h>\n#define MAX 3\n"
           "#define SQUARE(x) ((x) * \\\n  (x))\nstruct later;\nenum kind { A, B };\nstruct bar { int a; };\n"
           "typedef struct { int x; } baz;\ntypedef struct tag { int x; } tag;\n"
           "typedef int (*callback)(void *, int);\nstruct foo *foo_find(void);\n"
           "static const int *const table[3], other = 4;\nint (*handler)(int);\n"
           "int (*chosen(int a))(int) { return 0; }\nstruct p { int x; } origin;\n"
           "#ifdef X\nint hidden(void);\n#else\nint shown(void);\n#endif\nextern \"C\" {\n#endif\n",
           "<base/err.h> <stdio.h> V:MAX F:SQUARE T:kind T:bar T:baz T:tag T:callback F:foo_find V:table "
           "V:other "
           "V:handler F:chosen V:origin T:p F:hidden F:shown");
}

/* What the parser stumbles over: macros in front of and behind declarations. */
static void test_c_macros(void **state)
{
    (void)state;
    expect("c", true,
           "MUST_CHECK enum err foo_open(const char *p,\n    struct foo **out);\n"
           "void foo_log(const char *fmt, ...) PRINTF_LIKE(1, 2);\nAPI void f(int a);\n"
           "static inline API int sq(int x) { return x * x; }\n__attribute__((noreturn)) static "
           "void\ndie(int a)\n"
           "{\n  a++;\n}\n_Noreturn void stop(void);\n",
           "F:foo_open F:foo_log F:f F:sq F:die F:stop");
}

static void test_cpp(void **state)
{
    (void)state;
    expect(
        "cpp", true,
        "#include <vector>\nusing namespace std;\nnamespace a::b {\ntemplate <typename T>\n"
        "class Foo : public Bar<T> {\n public:\n  Foo(int a) : a_(a) {}\n  virtual ~Foo() = default;\n"
        "  int get() const;\n  T operator+(const T &o) const { return o; }\n  struct In { int z; };\n"
        " private:\n  int a_;\n};\nint Foo<int>::get() const { return 1; }\nusing Alias = std::vector<int>;\n"
        "enum class E { A };\n}\nconstexpr int kMax = 3;\n",
        "<vector> B:a::b(T:Foo(F:Foo F:~Foo F:get F:operator+ T:In) F:get T:Alias T:E) V:kMax");
}

static void test_python(void **state)
{
    (void)state;
    expect(
        "python", true,
        "import os, sys as s\nfrom . import x\nfrom a.b import (c,\n  d)\nX = 1\nY: int = 2\n@dec\n@dec2(a)\n"
        "class A(B):\n    field: int = 3\n    def m(self, a,\n          b=1):\n        x = 1\n"
        "        def inner():\n            pass\n    @property\n    def p(self): return 1\n"
        "async def g():\n    pass\nif X:\n    def h(): pass\nk = lambda a: a\n",
        "<os> <sys> <.> <a.b> V:X V:Y T:A(V:field F:m(F:inner) F:p) F:g F:h F:k");
}

static void test_javascript(void **state)
{
    (void)state;
    expect("javascript", true,
           "import a from './a';\nexport { b } from \"./b\";\nconst fs = require('fs'), { c } = "
           "require(`c`).d;\n"
           "export default class A extends B {\n  constructor() { super(); }\n  d = () => {};\n  e = 1;\n}\n"
           "export const f = async (g) => { const local = 1; };\nfunction* h() {}\nlet i = 1, j;\n"
           "exports.k = function () {};\nA.prototype.l = () => 1;\n(function () { function m() {} })();\n"
           "const n = { o() {}, p: function () {}, q: 1 };\n",
           "<./a> <./b> <fs> <c> T:A(F:constructor F:d) F:f F:h V:i V:j F:k F:l F:m V:n(F:o F:p)");
}

static void test_typescript(void **state)
{
    (void)state;
    static const char text[] =
        "import { a } from 'a';\nexport interface P { a: string; m(x: number): void; }\n"
        "export type Q<T> = { a: T } | null;\nexport enum R { S }\ndeclare function t(a: number): string;\n"
        "namespace U { export function v() {} }\nabstract class W { abstract x(): void; private y = () => 1; "
        "}\n"
        "const z: number = 1;\n";
    static const char expected[] = "<a> T:P(F:m) T:Q T:R F:t B:U(F:v) T:W(F:x F:y) V:z";
    expect("typescript", true, text, expected);
    expect("typescriptreact", true, text, expected);
}

static void test_go(void **state)
{
    (void)state;
    expect(
        "go", true,
        "package main\nimport \"fmt\"\nimport (\n\t\"os\"\n\tx \"a/b\"\n)\ntype Foo struct {\n\tA int\n}\n"
        "type (\n\tI interface { M(a int) error }\n\tJ = int\n)\nconst C = 1\nconst (\n\tD = iota\n\tE\n)\n"
        "var v = 1\nfunc (f *Foo) M(a int) error { return nil }\nfunc New[T any](a T) *Foo { return nil }\n"
        "var h = func(a int) {}\n",
        "<fmt> <os> <a/b> T:Foo T:I(F:M) T:J V:C V:D V:E V:v F:M F:New F:h");
}

static void test_rust(void **state)
{
    (void)state;
    expect("rust", true,
           "use std::{io, fmt};\nuse crate::a::b as c;\nmod sub;\npub mod inl { pub fn f() {} }\n"
           "/// Doc\n#[derive(Debug)]\npub struct P<T> { x: T }\npub enum E { A }\n"
           "pub trait T { const K: i32; fn req(&self); fn def(&self) -> i32 { 1 } }\n"
           "impl<T> Foo for P<T> { fn req(&self) {} }\nconst MAX: usize = 3;\n"
           "macro_rules! mac { ($x:expr) => { $x }; }\nextern \"C\" { fn cfn(a: i32); }\nfn main() { let x = "
           "1; }\n",
           "<std> <crate::a::b> <sub> B:inl(F:f) T:P T:E T:T(V:K F:req F:def) B:P(F:req) V:MAX F:mac F:cfn "
           "F:main");
}

static void test_java(void **state)
{
    (void)state;
    expect("java", true,
           "package a.b;\nimport java.util.List;\nimport static java.lang.Math.*;\n/** Doc */\n@Ann(1)\n"
           "public class A<T> extends B {\n  private final int x = 1, y;\n  public A(int a) { int z; }\n  "
           "@Override\n"
           "  public <U> List<U> m(int a) { return null; }\n  enum K { A, B; void q() {} }\n"
           "  interface I { void r(); }\n  record R(int a) {}\n}\n",
           "<java.util.List> <java.lang.Math> T:A(V:x V:y F:A F:m T:K(F:q) T:I(F:r) T:R)");
}

static void test_lua(void **state)
{
    (void)state;
    expect(
        "lua", true,
        "local m = require(\"a.b\")\nrequire 'x'\nlocal M = {}\n-- doc\nfunction M.foo(a, b)\n"
        "  local function inner() end\n  local c = 1\nend\nfunction M:bar() end\nlocal function loc() end\n"
        "M.baz = function(x) end\nlocal X = 3\nreturn M\n",
        "<a.b> <x> V:M F:foo(F:inner) F:bar F:loc F:baz V:X");
}

static void test_bash(void **state)
{
    (void)state;
    expect("shellscript", true,
           "#!/bin/bash\nsource ./lib.sh\n. \"other.sh\"\nX=1\nreadonly Y=2\nfoo() { echo; }\n"
           "function bar {\n  local a=1\n}\nif true; then\n  q() { :; }\nfi\n",
           "<./lib.sh> <other.sh> V:X V:Y F:foo F:bar F:q");
}

static void test_without_grammar(void **state)
{
    (void)state;
    expect("ruby", false,
           "require 'json'\nrequire_relative \"lib/a\"\n\nmodule Foo\n  # Doc.\n  class Bar < Base\n"
           "    def initialize(a)\n      if a\n        puts a\n      end\n    end\n\n    def self.make\n     "
           " new\n"
           "    end\n  end\nend\n",
           "<json> <lib/a> B:Foo(T:Bar(F:initialize F:make))");
    expect("kotlin", false,
           "import a.b.C\n\ndata class P(val x: Int) {\n    fun m(a: Int): Int {\n        for (i in 1..2) {\n"
           "            println(i)\n        }\n    }\n}\n\nfun top(a: String)\n{\n    run {\n        x()\n   "
           " }\n}\n",
           "<a.b.C> T:P(F:m) F:top");
    expect(
        "csharp", false,
        "using System.IO;\n\nnamespace A\n{\n    public static class B\n    {\n        public int F(int a)\n"
        "        {\n            return a;\n        }\n    }\n}\n",
        "<System.IO> B:A(T:B(F:F))");
    expect("c", false,
           "#include <stdio.h>\n\nstatic int add(int a,\n               int b)\n{\n    if (a) {\n        "
           "b++;\n    }\n"
           "    return a + b;\n}\n\nstruct p {\n    int x;\n};\n",
           "<stdio.h> F:add T:p");
    expect(
        "c", false,
        "/* One. */\nint one(void);\nstruct later;\nenum kind { A, B };\nstruct foo *foo_find(const char "
        "*p,\n"
        "    int n);\nextern int x;\nint (*handler)(int);\nstatic int sq(int x) { return x * x; }\n"
        "DEFINE(x);\nstruct p origin = {1, 2};\nint main(void)\n{\n    struct foo *f = foo_find(\"(\", 1);\n"
        "    int (local)(void);\n    return sq(2);\n}\nvoid last(void);\n",
        "F:one T:kind F:foo_find F:sq F:main F:last");
    expect("cpp", false,
           "namespace a {\n  class Foo : public Bar<int> {\n   public:\n    Foo(int a) : a_(a) {}\n"
           "    virtual std::string name() const = 0;\n    void set(int a) { a_ = a; }\n  };\n}\n",
           "B:a(T:Foo(F:name F:set))");
    expect("javascript", false,
           "describe('a (', () => {\n  it(\"b\", () => {\n    run();\n  });\n});\nnew Foo(1);\na.b(c);\n"
           "function one() { return 1; }\n",
           "F:describe F:one");
    expect("python", false, "import os\n\nclass A(B):\n    def f(self):\n        pass\n\ndef g():\n    pass",
           "<os> T:A(F:f) F:g");
    expect("python", false,
           "class A:\n    def init(self,\n             data):\n        def type(a):\n            pass\n",
           "T:A(F:init(F:type))");
    expect("swift", false, "class A {\n    init(a: Int) {\n        b = a\n    }\n}\n", "T:A(F:init)");
    expect("python", false,
           "A = 1\nb, c = 2, 3\nd.e = f(\n    4)\nif g == 5:\n    h = 6\nI = {\n    7: 8,\n}\nj += 9\n",
           "V:A V:c B:I");
    expect("plaintext", false, "Some text:\n    with an indentation {\n", "");
    expect("ruby", false, "", "");
    expect("ruby", false, "\n\n  \n", "");
}

/* --- Comments, bodies, places ------------------------------------------------------------------------ */

static size_t offset(const char *text, const char *part)
{
    const char *at = strstr(text, part);
    assert_non_null(at);
    return (size_t)(at - text);
}

static void test_comments(void **state)
{
    (void)state;
    static const char c[] = "/* File. */\n\n/* One. */\n// Two.\nint a;\nint b; // b's\nint c;\n";
    struct outline o = build("c", c, true);
    assert_int_equal(o.n_units, 3);
    assert_int_equal(o.units[0].comment, offset(c, "/* One"));
    assert_int_equal(o.units[1].comment, o.units[1].start);
    assert_int_equal(o.units[2].comment, o.units[2].start);
    outline_clear(&o);
    static const char py[] = "# Why.\n@dec\ndef f():\n    pass\n\n# Far.\n\ndef g():\n    pass\n";
    o = build("python", py, true);
    assert_int_equal(o.units[0].comment, 0);
    assert_int_equal(o.units[0].start, offset(py, "def f"));
    assert_int_equal(o.units[1].comment, offset(py, "def g"));
    outline_clear(&o);
    static const char go[] = "package a\n\n// Doc.\ntype T struct{}\n\n// Doc.\nconst (\n\tA = 1\n)\n";
    o = build("go", go, true);
    assert_int_equal(o.units[0].comment, offset(go, "// Doc."));
    assert_int_equal(o.units[1].comment, o.units[1].start);
    outline_clear(&o);
    static const char rust[] = "/// Doc.\n#[derive(Debug)]\nstruct P;\n";
    o = build("rust", rust, true);
    assert_int_equal(o.units[0].comment, 0);
    outline_clear(&o);
    static const char cpp[] = "// Doc.\ntemplate <typename T>\nT max(T a) {\n  return a;\n}\n";
    o = build("cpp", cpp, true);
    assert_int_equal(o.units[0].comment, 0);
    assert_int_equal(o.units[0].start, offset(cpp, "T max"));
    outline_clear(&o);
}

static void test_at(void **state)
{
    (void)state;
    static const char text[] =
        "import os\n\n# About.\nclass A:\n    def f(self):\n        pass\n\n    x = 1\n\ny = 2\n";
    struct outline o = build("python", text, true);
    assert_int_equal(outline_at(&o, 3), -1);
    assert_int_equal(outline_at(&o, offset(text, "About")), 0);
    assert_int_equal(outline_at(&o, offset(text, "pass")), 1);
    assert_int_equal(outline_at(&o, offset(text, "x = 1")), 2);
    assert_int_equal(outline_at(&o, offset(text, "y = 2")), 3);
    assert_int_equal(outline_at(&o, sizeof text), -1);
    outline_clear(&o);
}

/* A function that is being typed encloses what stands in it, though nothing closes it. */
static void test_unclosed(void **state)
{
    (void)state;
    static const char text[] = "int before(void);\n\nint broken(int a)\n{\n    if (a) {\n        a = 1;\n\n"
                               "int after(void)\n{\n    return 1;\n}\n";
    struct outline o = build("c", text, true);
    int32_t unit = outline_at(&o, offset(text, "a = 1"));
    assert_true(unit >= 0);
    assert_memory_equal(text + o.units[unit].name, "broken", 6);
    outline_clear(&o);
}

/* --- Signatures -------------------------------------------------------------------------------------- */

static void expect_signature(const char *id, bool with_tree, const char *text, int32_t unit, size_t max,
                             const char *expected)
{
    struct outline o = build(id, text, with_tree);
    struct buf out;
    buf_init(&out, 65536);
    buf_add_str(&out, "kept\n");
    assert_true(unit < o.n_units);
    outline_write_signature(&o, unit, language_of_id(id), text, max, &out);
    assert_int_equal(out.err, OK);
    assert_memory_equal(out.data, "kept\n", 5);
    assert_string_equal(out.data + 5, expected);
    buf_clear(&out);
    outline_clear(&o);
}

static void test_signatures(void **state)
{
    (void)state;
    expect_signature("c", true,
                     "/* Adds. */\nstatic int add(int a,\n               int b)\n{\n    return a + b;\n}\n",
                     0, 1000, "/* Adds. */\nstatic int add(int a,\n               int b)\n{ ... }\n");
    expect_signature("c", true, "struct p {\n    int x; /* across */\n};", 0, 1000,
                     "struct p {\n    int x; /* across */\n};\n");
    expect_signature("c", true, "static const int a[] = {\n    1,\n};\n", 0, 1000,
                     "static const int a[] = { ... };\n");
    expect_signature("c", true, "#define M(x) ((x) + 1)\n", 0, 1000, "#define M(x) ((x) + 1)\n");
    expect_signature("python", true,
                     "class A:\n    \"\"\"Doc.\"\"\"\n    x = 1\n    def f(self, a,\n          b=1):\n"
                     "        \"\"\"Does.\"\"\"\n        return 1\n    def g(self):\n        pass\n",
                     0, 1000,
                     "class A:\n    \"\"\"Doc.\"\"\"\n    x = 1\n    def f(self, a,\n          b=1):\n"
                     "        \"\"\"Does.\"\"\"\n        return 1\n    def g(self):\n        pass\n");
    expect_signature("python", true, "def f(a):\n    \"\"\"Does.\"\"\"\n    b = a\n    return b\n", 0, 1000,
                     "def f(a):\n    \"\"\"Does.\"\"\"\n    ...\n");
    expect_signature("typescript", true,
                     "export class A {\n  b = 1;\n  c(d: number): void {\n    e();\n  }\n}\n", 0, 1000,
                     "export class A {\n  b = 1;\n  c(d: number): void { ... }\n}\n");
    expect_signature("lua", true, "function M.f(a)\n  local b = a\n  return b\nend\n", 0, 1000,
                     "function M.f(a)\n  ...\nend\n");
}

static void test_signatures_without_grammar(void **state)
{
    (void)state;
    expect_signature("ruby", false, "# Doc.\ndef f(a)\n  b = a\n  b\nend\n", 0, 1000,
                     "# Doc.\ndef f(a)\n  ...\nend\n");
    expect_signature("kotlin", false, "fun f(a: Int): Int {\n    return a\n}\n", 0, 1000,
                     "fun f(a: Int): Int { ... }\n");
}

static void test_signature_bounds(void **state)
{
    (void)state;
    static const char text[] = "struct p {\n    int first;\n    int second;\n    int third;\n};\n";
    expect_signature("c", true, text, 0, sizeof text - 1, text);
    expect_signature("c", true, text, 0, sizeof text - 2,
                     "struct p {\n    int first;\n    int second;\n// ...\n");
    expect_signature("c", true, text, 0, 40, "struct p {\n    int first;\n// ...\n");
    expect_signature("c", true, text, 0, 8, "");
    expect_signature("c", true, text, 0, 0, "");
    /* A long comment is cut, and closed. */
    expect_signature("c", true, "/* 1\n2\n3\n4\n5\n6\n7\n8\n9\n10 */\nint a;\n", 0, 1000,
                     "/* 1\n2\n3\n4\n5\n6\n7\n8\n... */\nint a;\n");
    expect_signature("c", true, "// 1\n// 2\n// 3\n// 4\n// 5\n// 6\n// 7\n// 8\n// 9\nint a;\n", 0, 1000,
                     "// 1\n// 2\n// 3\n// 4\n// 5\n// 6\n// 7\n// 8\nint a;\n");
}

/* No more units than the bound, and deep nesting does no harm. */
static void test_bounds(void **state)
{
    (void)state;
    struct buf text;
    if (!language_of_id("c")->grammar || !language_of_id("cpp")->grammar) skip();
    buf_init(&text, 1 << 20);
    for (int i = 0; i < OUTLINE_UNITS_MAX + 10; i++) buf_printf(&text, "int a%d;\n", i);
    struct outline o = build("c", buf_str(&text), true);
    assert_int_equal(o.n_units, OUTLINE_UNITS_MAX);
    outline_clear(&o);
    outline_clear(&o);
    buf_reset(&text);
    for (int i = 0; i < 500; i++) buf_printf(&text, "namespace a%d {\n", i);
    o = build("cpp", buf_str(&text), true);
    check(&o, buf_str(&text));
    outline_clear(&o);
    buf_reset(&text);
    for (int i = 0; i < 500; i++) buf_printf(&text, "%*sclass a%d {\n", i, "", i);
    o = build("csharp", buf_str(&text), false);
    assert_true(o.n_units > 10);
    check(&o, buf_str(&text));
    outline_clear(&o);
    buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c),
        cmocka_unit_test(test_c_macros),
        cmocka_unit_test(test_cpp),
        cmocka_unit_test(test_python),
        cmocka_unit_test(test_javascript),
        cmocka_unit_test(test_typescript),
        cmocka_unit_test(test_go),
        cmocka_unit_test(test_rust),
        cmocka_unit_test(test_java),
        cmocka_unit_test(test_lua),
        cmocka_unit_test(test_bash),
        cmocka_unit_test(test_without_grammar),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_at),
        cmocka_unit_test(test_unclosed),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_signatures_without_grammar),
        cmocka_unit_test(test_signature_bounds),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
