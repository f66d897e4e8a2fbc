/* Ignore files: the syntax of gitignore(5) by example, and bounds. Each row agrees with `git check-ignore`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "context/ignore.h"

/* Paths that end in a slash are folders. */
static bool has(const struct ignore *i, const char *path)
{
    char name[256];
    size_t len = strlen(path);
    bool is_dir = path[len - 1] == '/';
    snprintf(name, sizeof name, "%.*s", (int)(len - is_dir), path);
    return ignore_has(i, name, is_dir);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *text, *path;
        bool is_ignored;
    } rows[] = {
        {"", "a", false},
        {"\n\n", "a", false},
        {"# a\n", "a", false},
        {"#a\n", "#a", false},
        {"\\#a\n", "#a", true},
        {"\\!a\n", "!a", true},
        {"a\r\nb", "a", true},
        {"a\r\nb", "b", true},
        {"\xef\xbb\xbf"
         "a",
         "a", true},
        {"a  \n", "a", true},
        {"a\\ \n", "a ", true},
        {"a\\ \n", "a", false},
        {"a b\n", "a b", true},
        {"a\\", "a", false},
        {"/", "a", false},
        {"!", "a", false},
        /* a name at any depth; with a slash, from the file's folder on */
        {"a", "x/y/a", true},
        {"a", "ab", false},
        {"/a", "a", true},
        {"/a", "x/a", false},
        {"x/a", "x/a", true},
        {"x/a", "y/x/a", false},
        {"/x/a", "x/a", true},
        /* folders only */
        {"a/", "a/", true},
        {"a/", "a", false},
        {"a/", "x/a/", true},
        {"x/a/", "x/a/", true},
        {"x/a/", "y/x/a/", false},
        /* stars and question marks do not pass slashes */
        {"*.o", "x/a.o", true},
        {"*.o", "a.oo", false},
        {"*", "a", true},
        {"x/*", "x/a", true},
        {"x/*", "x/y/a", false},
        {"x/*.c", "x/y/a.c", false},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"a?c", "abc", true},
        {"x/?/a", "x/y/a", true},
        {"x?a", "x/a", false},
        {"?", "\xc3\xa4", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        /* classes */
        {"[ab]", "a", true},
        {"[ab]", "c", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]x", "bx", false},
        {"[!a-c]x", "dx", true},
        {"[^a]", "b", true},
        {"[]a]", "]", true},
        {"[!]a]", "]", false},
        {"[a-]", "-", true},
        {"[\\]]", "]", true},
        {"[[:digit:]]", "7", true},
        {"[[:digit:]]", "x", false},
        {"[[:alpha:]_]x", "_x", true},
        {"[[:nothing:]]", "n", false},
        {"[a", "[a", false},
        {"x[!y]a", "x/a", false},
        /* two stars */
        {"**/a", "a", true},
        {"**/a", "x/y/a", true},
        {"**/a", "x/ya", false},
        {"**/x/a", "y/x/a", true},
        {"x/**", "x/a", true},
        {"x/**", "x/y/z/a", true},
        {"x/**", "x/", false},
        {"x/**/a", "x/a", true},
        {"x/**/a", "x/y/z/a", true},
        {"x/**/a", "xa", false},
        {"x/**/y/**/a", "x/1/y/2/3/a", true},
        {"x/**/y/**/a", "x/1/2/3/a", false},
        {"x**a", "x/a", false},
        {"x**a", "xyza", true},
        {"**", "x/y", true},
        {"**/", "x/", true},
        {"**/", "x", false},
        {"x/y**", "x/yz", true},
        {"x/y**", "x/y/z", true},
        /* the last one that matches decides */
        {"*.o\n!a.o", "a.o", false},
        {"*.o\n!a.o", "b.o", true},
        {"!a.o\n*.o", "a.o", true},
        {"*\n!*/\n!*.c", "x/", false},
        {"*\n!*/\n!*.c", "a.c", false},
        {"*\n!*/\n!*.c", "a.o", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct ignore *ignore = ignore_new();
        ignore_add(ignore, "", rows[i].text, strlen(rows[i].text));
        if (has(ignore, rows[i].path) != rows[i].is_ignored)
            fail_msg("\"%s\" and \"%s\": not %d", rows[i].text, rows[i].path, rows[i].is_ignored);
        ignore_free(&ignore);
        assert_null(ignore);
    }
}

static void test_files_of_folders(void **state)
{
    (void)state;
    struct ignore *i = ignore_new();
    ignore_add(i, "", "*.o\n/top\n", 10);
    ignore_add(i, "x", "!keep.o\n/a\nb\ny/c\n", 18);
    ignore_add(i, "x/y", "keep.o\n", 7);
    assert_true(has(i, "keep.o"));
    assert_false(has(i, "x/keep.o"));
    assert_true(has(i, "x/y/keep.o"));
    assert_true(has(i, "x/a"));
    assert_false(has(i, "a"));
    assert_false(has(i, "x/z/a"));
    assert_true(has(i, "x/z/b"));
    assert_false(has(i, "xb"));
    assert_false(has(i, "xx/b"));
    assert_true(has(i, "x/y/c"));
    assert_false(has(i, "y/c"));
    assert_true(has(i, "top"));
    assert_false(has(i, "x/top"));
    ignore_free(&i);
}

/* Patterns that would take a backtracking matcher longer than the universe has been there. */
static void test_hostile_patterns(void **state)
{
    (void)state;
    char path[256], deep[256];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    for (size_t i = 0; i + 1 < sizeof deep; i++) deep[i] = i % 2 ? '/' : 'a';
    deep[sizeof deep - 1] = '\0';
    struct buf text;
    buf_init(&text, 4096);
    for (int i = 0; i < 60; i++) buf_add_str(&text, "*a");
    buf_add_str(&text, "b\n/");
    for (int i = 0; i < 60; i++) buf_add_str(&text, "**/a/");
    buf_add_str(&text, "b\n/");
    for (int i = 0; i < 60; i++) buf_add_str(&text, "**/*a*/");
    buf_add_str(&text, "b\n");
    struct ignore *ignore = ignore_new();
    ignore_add(ignore, "", text.data, text.len);
    clock_t start = clock();
    for (int i = 0; i < 10; i++) {
        assert_false(ignore_has(ignore, path, false));
        assert_false(ignore_has(ignore, deep, false));
    }
    assert_true(clock() - start < CLOCKS_PER_SEC);
    ignore_free(&ignore);
    buf_clear(&text);
}

/* What is too much is left out; what came before still holds. */
static void test_bounds(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, (size_t)4 << 20);
    buf_add_str(&text, "first\n");
    for (int i = 0; i < 600; i++) buf_add_char(&text, 'x');
    buf_add_str(&text, "\nsecond\n");
    for (int i = 0; i < 100000; i++) buf_printf(&text, "[a]%d\n", i);
    struct ignore *ignore = ignore_new();
    for (int i = 0; i < 5000; i++) ignore_add(ignore, "d", text.data, i ? 20 : text.len);
    assert_true(has(ignore, "d/first"));
    assert_true(has(ignore, "d/second"));
    assert_true(has(ignore, "d/a7"));
    assert_false(has(ignore, "d/a99999"));
    ignore_add(ignore, "", "\0[\xff\\\n*\\", 8);
    assert_false(has(ignore, "other"));
    ignore_free(&ignore);
    ignore_free(&ignore);
    buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_files_of_folders),
        cmocka_unit_test(test_hostile_patterns),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
