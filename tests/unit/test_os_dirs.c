/* os/dirs.c: directories that are nobody else's. (Places and parents: tests/front.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/dirs.h"

static char home[] = "/tmp/inline-test-dirs-XXXXXX";

static char *below_home(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", home, name);
    return mem_dup_str(path);
}

static void test_private(void **state)
{
    (void)state;
    struct errmsg msg = {0};
    struct stat st;
    char *path = below_home("a/b");
    assert_int_equal(dirs_make_private(path, &msg), OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(dirs_make_private(path, &msg), OK);

    chmod(path, 0710);
    assert_int_equal(dirs_make_private(path, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, path));
    chmod(path, 0700);

    char *link = below_home("link");
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(dirs_make_private(link, &msg), ERR_IO); /* somebody may turn it elsewhere */
    mem_free(link);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        assert_int_equal(dirs_make_private(path, &msg), ERR_IO);
    }
    mem_free(path);
}

static void assert_runtime(const char *expected)
{
    char *path = dirs_path(DIR_RUNTIME, "x");
    assert_string_equal(path, expected);
    mem_free(path);
}

static void test_runtime(void **state)
{
    (void)state;
    char usual[64];
    snprintf(usual, sizeof usual, "/tmp/inline-%ld/x", (long)getuid());
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_runtime("/run/user/7/inline/x");
    setenv("XDG_RUNTIME_DIR", "not/absolute", 1);
    assert_runtime(usual);
    unsetenv("XDG_RUNTIME_DIR");
    assert_runtime(usual);
}

static void test_state(void **state)
{
    (void)state;
    char below[64], *path;
    setenv("XDG_STATE_HOME", "/var/state", 1);
    path = dirs_path(DIR_STATE, "journal.db");
    assert_string_equal(path, "/var/state/inline/journal.db");
    mem_free(path);
    unsetenv("XDG_STATE_HOME");
    setenv("HOME", home, 1);
    path = dirs_path(DIR_STATE, NULL);
    snprintf(below, sizeof below, "%s/.local/state/inline", home);
    assert_string_equal(path, below);
    mem_free(path);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(home) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"link", "a/b", "a", ""};
    for (size_t i = 0; i < 4; i++) {
        char *path = below_home(names[i]);
        if (unlink(path) != 0) rmdir(path);
        mem_free(path);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_private), cmocka_unit_test(test_runtime),
                                       cmocka_unit_test(test_state)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
