/* What a watched folder tells: files and folders that come, change and go; waking, and folders let go of. */
#include <fcntl.h>
#include <pthread.h>
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

#include "os/clock.h"
#include "os/notify.h"

#define LONG_MS 5000 /* something comes long before */

struct place {
    char dir[64];
    struct notify *notify;
    int32_t id;
};

static int set_up(void **state)
{
    static struct place place;
    snprintf(place.dir, sizeof place.dir, "/tmp/inline-notify-XXXXXX");
    if (!mkdtemp(place.dir)) return -1;
    place.notify = notify_new();
    place.id = place.notify ? notify_add(place.notify, place.dir) : -1;
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    notify_free(&place->notify);
    snprintf(command, sizeof command, "rm -rf %s", place->dir);
    return system(command);
}

/* Where the system has none, there is nothing to test. */
static struct place *need(void **state)
{
    struct place *place = *state;
    if (!place->notify) skip();
    assert_true(place->id >= 0);
    return place;
}

static void path_in(const struct place *place, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", place->dir, name);
}

static void write_file(const struct place *place, const char *name)
{
    char path[128];
    path_in(place, name, path);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs("x\n", f);
    fclose(f);
}

/* The last event that waits tells what became of an entry. */
static struct notify_event last(struct place *place, char name[64])
{
    struct notify_event e, found = {.dir = -2};
    for (int32_t timeout = LONG_MS; notify_next(place->notify, timeout, &e); timeout = 0) {
        found = e;
        snprintf(name, 64, "%s", e.name);
    }
    assert_int_equal(found.dir, place->id);
    return found;
}

static void test_files(void **state)
{
    struct place *place = need(state);
    char name[64], from[128], to[128];
    struct notify_event e;
    assert_false(notify_next(place->notify, 0, &e));
    write_file(place, "a");
    e = last(place, name);
    assert_string_equal(name, "a");
    assert_false(e.is_dir || e.is_gone);
    write_file(place, "a"); /* changed, not made */
    e = last(place, name);
    assert_false(e.is_dir || e.is_gone);
    path_in(place, "a", from);
    path_in(place, "b", to);
    assert_int_equal(rename(from, to), 0);
    assert_true(notify_next(place->notify, LONG_MS, &e));
    assert_string_equal(e.name, "a");
    assert_true(e.is_gone);
    assert_true(notify_next(place->notify, LONG_MS, &e));
    assert_string_equal(e.name, "b");
    assert_false(e.is_gone);
    assert_int_equal(unlink(to), 0);
    e = last(place, name);
    assert_string_equal(name, "b");
    assert_true(e.is_gone && !e.is_dir);
}

static void test_folders(void **state)
{
    struct place *place = need(state);
    char name[64], path[128];
    path_in(place, "sub", path);
    assert_int_equal(mkdir(path, 0700), 0);
    struct notify_event e = last(place, name);
    assert_string_equal(name, "sub");
    assert_true(e.is_dir && !e.is_gone);
    write_file(place, "sub/a"); /* not watched */
    assert_false(notify_next(place->notify, 0, &e));
    int32_t sub = notify_add(place->notify, path);
    assert_true(sub >= 0 && sub != place->id);
    assert_int_equal(notify_add(place->notify, path), sub);
    write_file(place, "sub/b");
    assert_true(notify_next(place->notify, LONG_MS, &e));
    assert_int_equal(e.dir, sub);
    while (notify_next(place->notify, 0, &e)) assert_string_equal(e.name, "b");
    notify_remove(place->notify, sub);
    write_file(place, "sub/c");
    assert_false(notify_next(place->notify, 0, &e));
    path_in(place, "a file", path);
    write_file(place, "a file");
    assert_int_equal(notify_add(place->notify, path), -1);
    path_in(place, "nothing", path);
    assert_int_equal(notify_add(place->notify, path), -1);
}

static void test_removed_folder(void **state)
{
    struct place *place = need(state);
    struct notify_event e;
    assert_int_equal(rmdir(place->dir), 0);
    assert_true(notify_next(place->notify, LONG_MS, &e));
    assert_int_equal(e.dir, place->id);
    assert_string_equal(e.name, "");
    assert_true(e.is_dir && e.is_gone);
    assert_false(notify_next(place->notify, 0, &e));
}

/* More than the system keeps (16,384 by default, more where it was raised): the loss is told. */
static void test_many(void **state)
{
    struct place *place = need(state);
    struct notify_event e;
    int limit = 0;
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (!f || fscanf(f, "%d", &limit) != 1 || limit > 50000) limit = 0;
    if (f) fclose(f);
    if (!limit) skip();
    char names[2][128];
    path_in(place, "a", names[0]);
    path_in(place, "b", names[1]);
    write_file(place, "a");
    for (int i = 0; i <= limit / 2; i++) assert_int_equal(rename(names[i % 2], names[1 - i % 2]), 0);
    bool is_lost = false;
    while (notify_next(place->notify, 0, &e)) is_lost |= e.dir == -1;
    assert_true(is_lost);
}

static void *wake_soon(void *arg)
{
    struct place *place = arg;
    usleep(20000);
    notify_wake(place->notify);
    return NULL;
}

static void test_wake(void **state)
{
    struct place *place = need(state);
    struct notify_event e;
    pthread_t thread;
    int64_t start = clock_ns();
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, place), 0);
    assert_false(notify_next(place->notify, -1, &e));
    assert_true(clock_ms_since(start) >= 15);
    pthread_join(thread, NULL);
    start = clock_ns();
    assert_false(notify_next(place->notify, 30, &e)); /* one waking ends one wait */
    assert_true(clock_ms_since(start) >= 25);
    notify_wake(place->notify);
    notify_wake(place->notify);
    write_file(place, "a");
    assert_true(notify_next(place->notify, LONG_MS, &e)); /* what happened before is told first */
    start = clock_ns();
    do assert_string_equal(e.name, "a");
    while (notify_next(place->notify, LONG_MS, &e));
    assert_true(clock_ms_since(start) < LONG_MS);
    start = clock_ns();
    assert_false(notify_next(place->notify, 30, &e));
    assert_true(clock_ms_since(start) >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_removed_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wake, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
