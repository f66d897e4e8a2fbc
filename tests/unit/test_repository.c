/* Which projects are the same: checkouts of one repository, wherever they lie; and what they are called. By
 * hand-written files, and by Git itself where it is installed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context/repository.h"
#include "os/dirs.h"
#include "os/file.h"

struct world {
    char dir[64];
};

static int set_up(void **state)
{
    struct world *w = test_calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/tmp/inline-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", w->dir);
    assert_int_equal(system(command), 0);
    test_free(w);
    return 0;
}

static void write_file(const struct world *w, const char *name, const char *text)
{
    char path[512];
    struct errmsg msg;
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(dirs_make(path, &msg), OK);
    *slash = '/';
    assert_int_equal(file_write(path, text, strlen(text), &msg), OK);
}

static uint64_t id(const struct world *w, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    struct repository a, b;
    repository_of(path, &a);
    repository_of(path, &b);
    assert_true(a.id != 0);
    assert_true(a.id == b.id);
    assert_string_equal(a.name, b.name);
    return a.id;
}

static void expect_name(const struct world *w, const char *folder, const char *name)
{
    char path[512];
    struct repository r;
    snprintf(path, sizeof path, "%s/%s", w->dir, folder);
    repository_of(path, &r);
    assert_string_equal(r.name, name);
}

static void run(const struct world *w, const char *command)
{
    char line[1024];
    snprintf(line, sizeof line,
             "cd '%s' && export HOME='%s' GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b "
             "GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b && { %s; } >/dev/null 2>&1",
             w->dir, w->dir, command);
    assert_int_equal(system(line), 0);
}

static void clone(const struct world *w, const char *name, const char *url)
{
    char path[128], config[512];
    snprintf(path, sizeof path, "%s/.git/config", name);
    snprintf(config, sizeof config,
             "[core]\n\tbare = false\n\turl = no\n[remote \"up\"]\n\turl = other\n[remote \"origin\"]\n\turl "
             "= %s\n"
             "[branch \"main\"]\n\tremote = origin\n",
             url);
    write_file(w, path, config);
}

static void test_remotes(void **state)
{
    static const char *const same[] = {"https://host.example/a/b.git", "https://me:word@Host.Example/a/b",
                                       "git@host.example:a/b.git",     "https://me:w@rd@host.example/a/b",
                                       "ssh://git@host.example/a/b/",  "host.example:/a/b",
                                       "git://host.example/a/b.git/"};
    static const char *const others[] = {"https://host.example/a/c.git", "https://host.example/A/b.git",
                                         "https://other.example/a/b.git", "https://host.example/b"};
    const struct world *w = *state;
    clone(w, "first", same[0]);
    uint64_t first = id(w, "first");
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        clone(w, "second", same[i]);
        assert_true(id(w, "second") == first);
        expect_name(w, "second", "b");
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        clone(w, "second", others[i]);
        assert_true(id(w, "second") != first);
    }
}

static void test_folders_inside(void **state)
{
    const struct world *w = *state;
    clone(w, "outer", "https://host.example/outer");
    write_file(w, "outer/src/deep/file.c", "");
    clone(w, "outer/inner", "https://host.example/inner");
    assert_true(id(w, "outer/src/deep") == id(w, "outer"));
    assert_true(id(w, "outer/inner") != id(w, "outer"));
}

static void test_worktrees(void **state)
{
    const struct world *w = *state;
    char pointer[256];
    clone(w, "main", "https://host.example/a");
    write_file(w, "main/.git/worktrees/tree/commondir", "../..\n");
    snprintf(pointer, sizeof pointer, "gitdir: %s/main/.git/worktrees/tree\n", w->dir);
    write_file(w, "tree/.git", pointer);
    assert_true(id(w, "tree") == id(w, "main"));
    write_file(w, "main/.git/config", "[core]\n"); /* no remote: where it lies */
    assert_true(id(w, "tree") == id(w, "main"));
    write_file(w, "broken/.git", "gitdir: nowhere\n");
    assert_true(id(w, "broken") != id(w, "main"));
}

static void test_without_repository(void **state)
{
    const struct world *w = *state;
    write_file(w, "a/file", "");
    write_file(w, "b/file", "");
    assert_true(id(w, "a") != id(w, "b"));
    write_file(w, "a/.git/config", "");
    write_file(w, "b/.git/config", "[remote \"origin\"]\n\turl =\n");
    assert_true(id(w, "a") != id(w, "b"));
    assert_true(id(w, "missing") != id(w, "b"));
}

static void test_names(void **state)
{
    const struct world *w = *state;
    write_file(w, "folder/file", "");
    expect_name(w, "folder", "folder");
    expect_name(w, "folder//", "folder");
    expect_name(w, "missing/\x01", "");
    expect_name(w, "missing/\xff", "");
    write_file(w, "local/.git/config", "");
    write_file(w, "local/sub/file", "");
    expect_name(w, "local/sub", "local");
    clone(w, "file", "/srv/git/some repo.git");
    expect_name(w, "file", "some repo");
    clone(w, "long",
          "https://host.example/"
          "01234567890123456789012345678901234567890123456789012345678901\u00e9\u00e9.git");
    expect_name(w, "long", "01234567890123456789012345678901234567890123456789012345678901");
    clone(w, "host", "https://host.example/ ; ours");
    expect_name(w, "host", "host.example");
    struct repository r;
    repository_of("/", &r);
    assert_string_equal(r.name, "");
    assert_true(r.id != 0);
}

static void test_git(void **state)
{
    const struct world *w = *state;
    if (system("git --version >/dev/null 2>&1") != 0) skip();
    run(w, "git init main && cd main && git commit --allow-empty -m a");
    run(w, "git -C main worktree add ../tree");
    run(w, "git clone main copy && git clone --bare main bare.git && git clone bare.git from-bare");
    assert_true(id(w, "tree") == id(w, "main"));
    expect_name(w, "tree", "main");
    assert_true(id(w, "copy") != id(w, "from-bare"));
    expect_name(w, "from-bare", "bare");
    run(w, "git -C main remote add origin https://me@host.example/a/Project.git");
    run(w, "git -C copy remote set-url origin git@host.example:a/Project");
    assert_true(id(w, "tree") == id(w, "main"));
    assert_true(id(w, "copy") == id(w, "main"));
    expect_name(w, "tree", "Project");
    run(w, "mv main moved && git -C moved worktree repair ../tree");
    assert_true(id(w, "moved") == id(w, "copy"));
    assert_true(id(w, "tree") == id(w, "copy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_remotes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_worktrees, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_repository, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_git, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
