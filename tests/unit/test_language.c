/* Languages by path, by name, by the first line of a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "context/language.h"

static void expect(const char *path, const char *text, const char *name)
{
    const struct language *l = language_of_path(path, text, text ? strlen(text) : 0);
    if (strcmp(l->name, name) != 0) fail_msg("%s: %s, not %s", path, l->name, name);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"src/a.c", "c"},
        {"a.h", "c"},
        {"a.hpp", "cpp"},
        {"A.PY", "python"},
        {"a.test.tsx", "typescriptreact"},
        {"a.d.ts", "typescript"},
        {"a.jsx", "javascriptreact"},
        {"a.go", "go"},
        {"a.rs", "rust"},
        {"A.java", "java"},
        {"a.lua", "lua"},
        {"home/.bashrc", "shellscript"},
        {"package.json", "json"},
        {"Makefile", "makefile"},
        {"sub/CMakeLists.txt", "cmake"},
        {"notes.txt", "plaintext"},
        {"Dockerfile", "dockerfile"},
        {"README.md", "markdown"},
        {"a.rb", "ruby"},
        {"a.kt", "kotlin"},
        {"a.yml", "yaml"},
        {"a.vue", "vue"},
        {"a.sql", "sql"},
        {"LICENSE", "plaintext"},
        {"", "plaintext"},
        {"dir.c/", "plaintext"},
        {"a.unheardof", "plaintext"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) expect(cases[i][0], NULL, cases[i][1]);
}

static void test_first_lines(void **state)
{
    (void)state;
    expect("tool", "#!/usr/bin/env python3\nimport os\n", "python");
    expect("tool", "#! /usr/bin/env -S A=1 python3.11 -u", "python");
    expect("tool", "#!/bin/sh -e\n", "shellscript");
    expect("tool", "#!/usr/bin/node\n", "javascript");
    expect("tool", "#!/usr/bin/unheardof\n", "plaintext");
    expect("tool", "#!\n", "plaintext");
    expect("tool", "#!", "plaintext");
    expect("tool", "", "plaintext");
    expect("a.py", "#!/bin/sh\n", "python"); /* the path comes first */
}

static void test_headers(void **state)
{
    (void)state;
    expect("a.h", "struct a {\n    int b;\n};\n", "c");
    expect("a.h", "/* class of things\n template for all {\n*/\nint a(void);\n", "c");
    expect("a.h", "namespace a {\nclass B;\n}\n", "cpp");
    expect("a.h", "struct a {\n  public:\n", "cpp");
    expect("a.h", "template <typename T>\r\nT f(T);\r\n", "cpp");
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(language_of_id("python")->name, "python");
    assert_string_equal(language_of_id("sh")->name, "shellscript");
    assert_string_equal(language_of_id("typescriptreact")->name, "typescriptreact");
    assert_string_equal(language_of_id("cs")->name, "csharp");
    assert_null(language_of_id("unheardof"));
    assert_null(language_of_id(""));
    assert_true(language_of_id("python")->is_indented);
    assert_true(language_of_id("markdown")->is_prose);
    assert_string_equal(language_of_id("lua")->block_comment[1], "]]");
}

/* A build with grammars has at least C's; one without has none. */
static void test_grammars(void **state)
{
    (void)state;
    static const char *const names[] = {
        "c",  "cpp",  "python", "javascript", "typescript",  "typescriptreact",
        "go", "rust", "java",   "lua",        "shellscript", "json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct language *l = language_of_id(names[i]);
        assert_non_null(l);
        if (l->grammar) assert_non_null(l->grammar());
    }
    assert_null(language_of_id("ruby")->grammar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths), cmocka_unit_test(test_first_lines), cmocka_unit_test(test_headers),
        cmocka_unit_test(test_names), cmocka_unit_test(test_grammars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
