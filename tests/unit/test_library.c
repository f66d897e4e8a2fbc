/* model/library.c and model/catalogue.c; base/nearest.c and base/size.c, which serve their messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/nearest.h"
#include "base/size.h"
#include "model/catalogue.h"
#include "model/library.h"
#include "os/file.h"

#define MODEL FIXTURES "/models/llama.gguf"

/* An empty directory for each test; removed with what the test left in it. */
static int set_up(void **state)
{
    char *directory = mem_dup_str("/tmp/inline-test-XXXXXX");
    *state = directory;
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct library_entry *list;
    int32_t n;
    int failed = library_list(*state, &list, &n, NULL) != OK;
    for (int32_t i = 0; !failed && i < n; i++) failed = unlink(list[i].path);
    if (!failed) library_list_free(list, n);
    failed = failed || rmdir(*state) != 0; /* also fails when temporary files were forgotten */
    mem_free(*state);
    return failed ? -1 : 0;
}

static void install(const char *dir, const char *name)
{
    struct errmsg msg = {0};
    char *path = NULL;
    if (library_import(dir, MODEL, name, false, &path, &msg) != OK) fail_msg("%s", msg.text);
    assert_int_equal(file_size(path), file_size(MODEL));
    mem_free(path);
}

static void assert_finds(const char *dir, const char *name, const char *file)
{
    struct errmsg msg = {0};
    char *path = NULL;
    if (library_find(dir, name, &path, &msg) != OK) fail_msg("%s", msg.text);
    assert_string_equal(strrchr(path, '/') + 1, file);
    mem_free(path);
}

static void assert_not_found(const char *dir, const char *name, enum err expected, const char *says)
{
    struct errmsg msg = {0};
    char *path = NULL;
    assert_int_equal(library_find(dir, name, &path, &msg), expected);
    assert_non_null(strstr(msg.text, says));
    assert_null(path);
}

static void test_find(void **state)
{
    const char *dir = *state;
    install(dir, "toy-one");
    install(dir, "toy-two");
    install(dir, "toy");
    assert_finds(dir, "toy", "toy.gguf"); /* exact, though two others begin with it */
    assert_finds(dir, "TOY-One", "toy-one.gguf");
    assert_finds(dir, "toy-t", "toy-two.gguf");
    assert_finds(dir, MODEL, "llama.gguf");
    assert_not_found(dir, "to", ERR_ARG, "several");
    assert_not_found(dir, "", ERR_NOT_FOUND, "no model named");
    assert_not_found(dir, "toy-twoo", ERR_NOT_FOUND, "did you mean toy-two?");
    assert_not_found(dir, "QWEN2.5-coder-3B", ERR_NOT_FOUND, "inline model pull qwen2.5-coder-3b");
    assert_not_found(dir, "/nonexistent/x.gguf", ERR_NOT_FOUND, "/nonexistent/x.gguf");
}

static void test_default(void **state)
{
    const char *dir = *state;
    char *path = NULL;
    struct errmsg msg = {0};
    assert_int_equal(library_default(dir, &path, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "inline model pull"));
    install(dir, "aaa");
    install(dir, "starcoder2-3b");
    install(dir, "qwen2.5-coder-0.5b");
    assert_int_equal(library_default(dir, &path, &msg), OK);
    assert_string_equal(strrchr(path, '/'), "/qwen2.5-coder-0.5b.gguf"); /* the catalogue's order */
    mem_free(path);
}

static void test_list_of_absent_directory(void **state)
{
    (void)state;
    struct library_entry *list = NULL;
    int32_t n = -1;
    assert_int_equal(library_list("/nonexistent/models", &list, &n, NULL), OK);
    assert_int_equal(n, 0);
    library_list_free(list, n);
    assert_int_equal(library_list("/dev/null", &list, &n, NULL), ERR_IO);
}

static void test_names(void **state)
{
    static const char *const bad[] = {"", ".hidden", "-flag", "a/b", "a b", "../up", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *path = NULL;
        assert_int_equal(library_place(*state, bad[i], true, &path, NULL), ERR_ARG);
        assert_null(path);
    }
    char longest[300] = "";
    memset(longest, 'a', 201);
    char *path = NULL;
    assert_int_equal(library_place(*state, longest, true, &path, NULL), ERR_ARG);
}

static void test_replace_and_remove(void **state)
{
    const char *dir = *state;
    char *path = NULL;
    install(dir, "toy");
    assert_int_equal(library_import(dir, MODEL, "toy", false, &path, NULL), ERR_ARG);
    assert_int_equal(library_import(dir, MODEL, "toy", true, &path, NULL), OK);
    mem_free(path);
    assert_int_equal(library_remove(dir, "to", NULL), ERR_NOT_FOUND);
    assert_int_equal(library_remove(dir, "TOY", NULL), OK);
    assert_int_equal(library_remove(dir, "toy", NULL), ERR_NOT_FOUND);
    assert_int_equal(file_size(MODEL) > 0, 1); /* the original stays */
}

static void test_catalogue(void **state)
{
    (void)state;
    assert_non_null(catalogue_find("SmolLM2-135M"));
    assert_null(catalogue_find("smollm2"));
    assert_null(catalogue_at(-1));
    int32_t n = 0;
    for (; catalogue_at(n); n++) {
        const struct catalogue_entry *e = catalogue_at(n);
        assert_ptr_equal(catalogue_find(e->name), e); /* names are unique */
        assert_non_null(strstr(e->hub_path, ".gguf"));
        assert_true(!e->sha256 || strlen(e->sha256) == 64);
    }
    assert_true(n > 0);
}

static const char *nearest_of(const char *name)
{
    static const char *const names[] = {"complete", "model", "config", "bench"};
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) nearest_offer(&nearest, names[i]);
    return nearest.best ? nearest.best : "";
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(nearest_of("complet"), "complete");
    assert_string_equal(nearest_of("modle"), "model"); /* a swap counts once */
    assert_string_equal(nearest_of("COFNIG"), "config");
    assert_string_equal(nearest_of("x"), "");
    assert_string_equal(nearest_of(""), "");
    assert_string_equal(nearest_of("something-else"), "");
    char longest[1000];
    memset(longest, 'b', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_string_equal(nearest_of(longest), "");
}

static void test_size_text(void **state)
{
    (void)state;
    char text[SIZE_TEXT_MAX];
    assert_string_equal(size_text(-1, text), "?");
    assert_string_equal(size_text(0, text), "0 B");
    assert_string_equal(size_text(999, text), "999 B");
    assert_string_equal(size_text(1000, text), "1.0 kB");
    assert_string_equal(size_text(9949, text), "9.9 kB");
    assert_string_equal(size_text(9960, text), "10 kB");
    assert_string_equal(size_text(531068096, text), "531 MB");
    assert_string_equal(size_text(999600000, text), "1.0 GB");
    assert_string_equal(size_text(INT64_MAX, text), "9.2 EB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_default, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_and_remove, set_up, tear_down),
        cmocka_unit_test(test_list_of_absent_directory),
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_size_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
