/* Files, maps and directories on disk. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/map.h"

/* A fresh directory for each test, and room for the path of something in it. */
struct fixture {
    char dir[64];
    char path[64 + 256]; /* a directory entry has at most 255 bytes */
};

static char *in_dir(struct fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    return f->path;
}

static int make_dir(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/inline-test-file-XXXXXX");
    *state = f;
    return mkdtemp(f->dir) ? 0 : -1;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

/* Tests leave plain files and empty directories at most. */
static int remove_dir(void **state)
{
    struct fixture *f = *state;
    DIR *dir = opendir(f->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) remove(in_dir(f, e->d_name));
    if (dir) closedir(dir);
    rmdir(f->dir);
    free(f);
    return 0;
}

static void test_write_then_read(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 300000};
    struct fixture *f = *state;
    char *path = in_dir(f, "data");
    char *bytes = mem_new(300000);
    for (size_t i = 0; i < 300000; i++) bytes[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct buf got;
        buf_init(&got, 300000);
        assert_int_equal(file_write(path, bytes, sizes[i], NULL), OK);
        assert_int_equal(file_size(path), sizes[i]);
        assert_int_equal(file_read(path, &got, NULL), OK);
        assert_int_equal(got.len, sizes[i]);
        assert_memory_equal(buf_str(&got), bytes, sizes[i]);
        buf_clear(&got);
    }
    assert_int_equal(count_entries(f->dir), 1); /* no temporary file stays */
    mem_free(bytes);
}

static void test_write_keeps_mode(void **state)
{
    char *path = in_dir(*state, "data");
    struct stat st;
    assert_int_equal(file_write(path, "a", 1, NULL), OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(file_write(path, "b", 1, NULL), OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
}

/* An open reader keeps the old bytes: the file is replaced, not overwritten. */
static void test_write_replaces(void **state)
{
    char *path = in_dir(*state, "data");
    struct map old;
    assert_int_equal(file_write(path, "old bytes", 9, NULL), OK);
    assert_int_equal(map_open(path, &old, NULL), OK);
    assert_int_equal(file_write(path, "new", 3, NULL), OK);
    assert_memory_equal(old.data, "old bytes", 9);
    map_close(&old);
}

static void test_write_failures(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;
    assert_int_equal(file_write(in_dir(f, "gone/data"), "a", 1, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "/gone/data: its directory does not exist"));
    assert_int_equal(mkdir(in_dir(f, "dir"), 0700), 0);
    assert_int_equal(file_write(in_dir(f, "dir"), "a", 1, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "/dir: cannot write"));
    assert_int_equal(count_entries(f->dir), 1);
}

static void test_write_parts(void **state)
{
    struct fixture *f = *state;
    struct buf got;
    struct errmsg msg;
    const struct file_part parts[] = {{"one, ", 5}, {"", 0}, {"two", 3}};
    buf_init(&got, 100);
    assert_int_equal(file_write_parts(in_dir(f, "data"), parts, 3, NULL), OK);
    assert_int_equal(file_read(in_dir(f, "data"), &got, NULL), OK);
    assert_string_equal(buf_str(&got), "one, two");
    assert_int_equal(file_write_parts(in_dir(f, "data"), parts, 1, NULL), OK);
    assert_int_equal(file_size(in_dir(f, "data")), 5);
    assert_int_equal(file_write_parts(in_dir(f, "gone/data"), parts, 3, &msg), ERR_NOT_FOUND);
    assert_int_equal(count_entries(f->dir), 1);
    buf_clear(&got);
}

/* A disk that takes no more, as far as this process is concerned: what was there stays. */
static void test_write_to_full_disk(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    struct errmsg msg;
    assert_int_equal(file_write(in_dir(f, "data"), "old", 3, NULL), OK);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 4, .rlim_max = before.rlim_max});
    enum err err = file_write(in_dir(f, "data"), "longer than that", 16, &msg);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(err, ERR_LIMIT);
    assert_int_equal(file_size(in_dir(f, "data")), 3);
    assert_int_equal(count_entries(f->dir), 1);
}

/* Touching moves a file's time to now, and never twice to the same. */
static void test_times(void **state)
{
    struct fixture *f = *state;
    char *path = in_dir(f, "data");
    assert_int_equal(file_time_ns(path), -1);
    file_touch(path);
    assert_int_equal(file_time_ns(path), -1);
    assert_int_equal(file_write(path, "a", 1, NULL), OK);
    int64_t before = file_time_ns(path);
    for (int i = 0; i < 5; i++) {
        usleep(100); /* less than a timer tick */
        file_touch(path);
        assert_true(file_time_ns(path) > before || i == 0);
        before = file_time_ns(path);
    }
    int64_t now = (int64_t)time(NULL) * 1000000000;
    assert_true(before > now - 10000000000 && before < now + 10000000000);
}

/* Which changes of a file show, and as what. */
static void test_file_id(void **state)
{
    struct fixture *f = *state;
    char path[sizeof f->path], other[sizeof f->path];
    snprintf(path, sizeof path, "%s", in_dir(f, "data"));
    snprintf(other, sizeof other, "%s", in_dir(f, "other"));
    struct file_id none = file_id(path);
    assert_int_equal(none.device | none.inode, 0);
    assert_int_equal(none.size | none.written_ns | none.changed_ns, 0);
    assert_int_equal(file_id_fd(-1).inode, 0);

    assert_int_equal(file_write(path, "abc", 3, NULL), OK);
    struct file_id before = file_id(path);
    assert_int_equal(before.size, 3);
    assert_int_equal(before.written_ns, file_time_ns(path));
    int fd;
    assert_int_equal(file_open(path, &fd, NULL), OK);
    struct file_id opened = file_id_fd(fd);
    assert_true(file_id_is_same(&before, &opened));
    assert_true(file_id_is_other(&before, &none));
    usleep(20000); /* more than a timer tick */

    /* Another name, a name less, another mode: not the same state, but the same bytes. */
    assert_int_equal(link(path, other), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(chmod(path, 0640), 0);
    struct file_id now = file_id_fd(fd);
    assert_true(now.changed_ns > before.changed_ns);
    assert_false(file_id_is_same(&before, &now));
    assert_false(file_id_is_other(&before, &now));
    assert_false(file_id_is_rewritten(&before, &now));

    /* Written in place, with the same size. */
    FILE *file = fopen(path, "r+");
    assert_int_equal(fputs("xyz", file), 1);
    fclose(file);
    now = file_id_fd(fd);
    assert_int_equal(now.size, 3);
    assert_false(file_id_is_other(&before, &now));
    assert_true(file_id_is_rewritten(&before, &now));
    struct file_id named = file_id(path);
    assert_true(file_id_is_same(&now, &named));

    /* Replaced: what is open stays what it was. */
    assert_int_equal(file_write(path, "new", 3, NULL), OK);
    struct file_id still = file_id_fd(fd);
    named = file_id(path);
    assert_false(file_id_is_rewritten(&now, &still));
    assert_true(file_id_is_other(&still, &named));
    close(fd);
}

static void test_read_failures(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;
    struct buf out;
    buf_init(&out, 10);
    assert_int_equal(file_read(in_dir(f, "gone"), &out, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "/gone: no such file"));
    assert_int_equal(file_read(f->dir, &out, &msg), ERR_IO);
    assert_int_equal(out.len, 0);

    char *path = in_dir(f, "data");
    assert_int_equal(file_write(path, "12345678901", 11, NULL), OK);
    assert_int_equal(file_read(path, &out, &msg), ERR_LIMIT);
    assert_non_null(strstr(msg.text, "larger than 10 bytes"));
    buf_reset(&out);
    assert_int_equal(file_write(path, "1234567890", 10, NULL), OK);
    assert_int_equal(file_read(path, &out, &msg), OK);
    assert_int_equal(out.len, 10);
    buf_clear(&out);
}

static void test_read_appends(void **state)
{
    char *path = in_dir(*state, "data");
    struct buf out;
    buf_init(&out, 100);
    buf_add_str(&out, "before ");
    assert_int_equal(file_write(path, "after", 5, NULL), OK);
    assert_int_equal(file_read(path, &out, NULL), OK);
    assert_string_equal(buf_str(&out), "before after");
    buf_clear(&out);
}

static void test_read_head(void **state)
{
    struct fixture *f = *state;
    char *path = in_dir(f, "data");
    char head[5] = "....";
    assert_int_equal(file_write(path, "abcdefgh", 8, NULL), OK);
    assert_int_equal(file_read_head(path, head, sizeof head), 4);
    assert_string_equal(head, "abcd");
    assert_int_equal(file_read_head(in_dir(f, "gone"), head, sizeof head), 0);
    assert_string_equal(head, "");
}

static void test_sizes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(file_size(f->dir), -1);
    assert_int_equal(file_size(in_dir(f, "gone")), -1);
    assert_true(file_free_space(in_dir(f, "gone")) > 0); /* the directory exists */
    assert_int_equal(file_free_space(in_dir(f, "gone/data")), -1);
    assert_true(file_free_space("relative") >= 0);
}

static void test_map(void **state)
{
    struct fixture *f = *state;
    char *path = in_dir(f, "data");
    struct map map;
    assert_int_equal(file_write(path, "mapped", 6, NULL), OK);
    assert_int_equal(map_open(path, &map, NULL), OK);
    unlink(path);
    assert_int_equal(map.len, 6);
    assert_memory_equal(map.data, "mapped", 6);
    map_will_need(&map, 0, 6);
    map_will_need(&map, 3, SIZE_MAX); /* clipped */
    map_will_need(&map, 6, 1);
    map_will_need(&map, SIZE_MAX, SIZE_MAX);
    map_close(&map);
    assert_null(map.data);
    map_close(&map);
}

static void test_map_refuses(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;
    struct map map = {.len = 1};
    char *path = in_dir(f, "empty");
    assert_int_equal(file_write(path, "", 0, NULL), OK);
    assert_int_equal(map_open(path, &map, &msg), OK);
    assert_null(map.data);
    assert_int_equal(map.len, 0);
    map_will_need(&map, 0, 1);
    map_close(&map);

    assert_int_equal(map_open(in_dir(f, "gone"), &map, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "/gone: no such file"));
    assert_int_equal(map_open(f->dir, &map, &msg), ERR_FORMAT);
    assert_non_null(strstr(msg.text, "not a regular file"));
    assert_int_equal(mkfifo(in_dir(f, "fifo"), 0600), 0);
    assert_int_equal(map_open(in_dir(f, "fifo"), &map, &msg),
                     ERR_FORMAT); /* and does not wait for a writer */
}

static void expect_path(enum dir_kind kind, const char *name, const char *expected)
{
    char *path = dirs_path(kind, name);
    assert_string_equal(path, expected);
    mem_free(path);
}

static void test_dirs_path(void **state)
{
    (void)state;
    setenv("HOME", "/home/u", 1);
    unsetenv("XDG_CONFIG_HOME");
    setenv("XDG_DATA_HOME", "/data", 1);
    setenv("XDG_CACHE_HOME", "relative", 1); /* must be ignored */
    expect_path(DIR_CONFIG, NULL, "/home/u/.config/inline");
    expect_path(DIR_CONFIG, "inline.conf", "/home/u/.config/inline/inline.conf");
    expect_path(DIR_DATA, "models", "/data/inline/models");
    expect_path(DIR_CACHE, NULL, "/home/u/.cache/inline");
    setenv("XDG_DATA_HOME", "", 1);
    expect_path(DIR_DATA, NULL, "/home/u/.local/share/inline");

    unsetenv("HOME");
    char *path = dirs_path(DIR_DATA, NULL);
    assert_int_equal(path[0], '/');
    assert_non_null(strstr(path, "/.local/share/inline"));
    mem_free(path);
}

static void test_dirs_make(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;
    struct stat st;
    char deep[128];
    snprintf(deep, sizeof deep, "%s/a//b/", f->dir);
    assert_int_equal(dirs_make(deep, &msg), OK);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(dirs_make(deep, &msg), OK); /* is there already */

    assert_int_equal(file_write(in_dir(f, "file"), "", 0, NULL), OK);
    assert_int_equal(dirs_make(in_dir(f, "file/sub"), &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "cannot create directory"));
    assert_int_equal(dirs_make(in_dir(f, "file"), &msg), ERR_IO);
    rmdir(deep);
}

static void note_name(void *ctx, const char *name)
{
    buf_printf(ctx, "[%s]", name);
}

static void test_dirs_list(void **state)
{
    struct fixture *f = *state;
    struct errmsg msg;
    struct buf names;
    buf_init(&names, 100);
    assert_int_equal(dirs_list(f->dir, note_name, &names, NULL), OK);
    assert_int_equal(names.len, 0);
    assert_int_equal(file_write(in_dir(f, ".hidden"), "", 0, NULL), OK);
    assert_int_equal(mkdir(in_dir(f, "dir"), 0700), 0);
    assert_int_equal(dirs_list(f->dir, note_name, &names, NULL), OK);
    assert_int_equal(names.len, strlen("[.hidden][dir]"));
    assert_non_null(strstr(buf_str(&names), "[.hidden]"));
    assert_non_null(strstr(buf_str(&names), "[dir]"));
    assert_int_equal(dirs_list(in_dir(f, "gone"), note_name, &names, &msg), ERR_NOT_FOUND);
    assert_int_equal(dirs_list(in_dir(f, ".hidden"), note_name, &names, &msg), ERR_NOT_FOUND);
    buf_clear(&names);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(test_write_then_read),
        IN_DIR(test_write_keeps_mode),
        IN_DIR(test_write_replaces),
        IN_DIR(test_write_failures),
        IN_DIR(test_write_parts),
        IN_DIR(test_write_to_full_disk),
        IN_DIR(test_times),
        IN_DIR(test_read_failures),
        IN_DIR(test_read_appends),
        IN_DIR(test_read_head),
        IN_DIR(test_sizes),
        IN_DIR(test_map),
        IN_DIR(test_map_refuses),
        IN_DIR(test_dirs_make),
        IN_DIR(test_dirs_list),
        IN_DIR(test_file_id),
        cmocka_unit_test(test_dirs_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
