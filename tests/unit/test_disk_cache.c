/* The disk cache when all is well: what is found, replaced, kept, evicted, collected and cleared. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "os/clock.h"
#include "os/file.h"
#include "support/disk_world.h"

#define MB ((int64_t)1 << 20)

static int64_t files_bytes(const struct disk_world *w)
{
    int64_t sum = 0;
    const char *paths[] = {w->path, w->log, w->index};
    for (int i = 0; i < 3; i++) {
        int64_t n = file_size(paths[i]);
        if (n > 0) sum += n;
    }
    return sum;
}

static void test_found_after_reopening(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    assert_int_equal(world_find(w, 1, ""), 0);
    world_put(w, 1, "x = ", "a + b");
    world_assert_finds(w, 1, "x = ", "a + b");
    disk_cache_close(&w->d);
    world_open(w, 16 * MB);
    world_assert_finds(w, 1, "x = ", "a + b");
    assert_int_equal(world_find(w, 2, "x = "), 0);
    assert_int_equal(world_find(w, 1, "y = "), 0);
    assert_int_equal(world_stats(w).n_failed, 0);
    world_assert_clean(w, 1);
}

/* The same first half of the hash is not the same line. */
static void test_whole_hash_counts(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    world_put(w, 5, "", "text");
    struct store_key key = {{5, 5}, "", 0};
    disk_cache_find(w->d, &key, &w->found);
    assert_int_equal(w->found.n, 0);
}

static void test_same_key_is_replaced(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    world_put(w, 1, "x", "old");
    world_put(w, 1, "", "other");
    world_put(w, 1, "x", "new");
    assert_int_equal(world_find(w, 1, "x"), 1);
    world_assert_finds(w, 1, "x", "new");
    world_assert_finds(w, 1, "", "other");
    assert_int_equal(world_stats(w).n_entries, 2);
}

/* Typed through: the nearest first, at most four. */
static void test_nearest_first(void **state)
{
    struct disk_world *w = *state;
    static const char whole[] = "return";
    world_open(w, 16 * MB);
    for (size_t n = 0; n < 6; n++) {
        char typed[8] = "";
        memcpy(typed, whole, (n * 5) % 6); /* not in order */
        world_put(w, 1, typed, whole + strlen(typed));
    }
    assert_int_equal(world_find(w, 1, "return"), DISK_FOUND_MAX);
    for (int32_t i = 0; i < DISK_FOUND_MAX; i++) assert_int_equal(world_found(w, i).typed_len, 5 - i);
    assert_int_equal(world_find(w, 1, "re"), 3);
    assert_int_equal(world_found(w, 0).typed_len, 2);
    assert_int_equal(world_find(w, 1, "rx"), 0);
}

static void test_large_and_bad_puts(void **state)
{
    struct disk_world *w = *state;
    char *text = calloc(1, RECORD_TEXT_MAX + 1);
    memset(text, 'x', RECORD_TEXT_MAX);
    world_open(w, 16 * MB);
    world_put(w, 1, "", text);
    world_assert_finds(w, 1, "", text);
    disk_cache_put(w->d, &(struct disk_put){"no record", 9}, 1);
    disk_cache_touch(w->d, &(struct disk_put){"no record", 9}, 1);
    world_assert_clean(w, 1);
    free(text);
}

/* The ceiling holds at each moment; the oldest go; what was touched stays. */
static void test_eviction(void **state)
{
    struct disk_world *w = *state;
    const uint64_t n_lines = 12000;
    struct buf bytes;
    buf_init(&bytes, RECORD_BYTES_MAX);
    world_open(w, DISK_CACHE_BYTES_MIN);
    struct disk_put kept = world_record(&bytes, 7, "typed", "text of 7", NULL);
    for (uint64_t line = 0; line < n_lines; line += 50) {
        world_fill(w, line, line + 50, 500);
        disk_cache_touch(w->d, &kept, 1);
        assert_true(files_bytes(w) <= DISK_CACHE_BYTES_MIN);
    }
    struct disk_stats s = world_stats(w);
    assert_true(s.n_evicted > 1000 && s.n_entries > 1000);
    assert_int_equal(s.n_entries + s.n_evicted, n_lines);
    assert_int_equal(s.n_failed, 0);
    assert_int_equal(world_find(w, 0, "typed"), 0);
    assert_int_equal(world_find(w, 7, "typed"), 1);
    assert_int_equal(world_find(w, n_lines - 1, "typed"), 1);
    world_assert_clean(w, s.n_entries);
    buf_clear(&bytes);
}

/* Records as large as they get, one after another in a database as small as it gets. */
static void test_eviction_by_large_ones(void **state)
{
    struct disk_world *w = *state;
    world_open(w, DISK_CACHE_BYTES_MIN);
    world_fill(w, 0, 8000, 100);
    for (uint64_t line = 10000; line < 10200; line++) {
        world_fill(w, line, line + 1, RECORD_TEXT_MAX - 64);
        assert_true(files_bytes(w) <= DISK_CACHE_BYTES_MIN);
        assert_int_equal(world_find(w, line, "typed"), 1);
    }
    assert_int_equal(world_stats(w).n_failed, 0);
    assert_int_equal(world_find(w, 7999, "typed"), 0);
}

/* Reads of what was used lately write nothing. */
static void test_touching_is_cheap(void **state)
{
    struct disk_world *w = *state;
    struct buf bytes;
    buf_init(&bytes, RECORD_BYTES_MAX);
    world_open(w, 16 * MB);
    world_fill(w, 0, 100, 0);
    struct disk_put newest = world_record(&bytes, 99, "typed", "text of 99", NULL);
    int64_t before = file_size(w->log);
    for (int i = 0; i < 50; i++) disk_cache_touch(w->d, &newest, 1);
    assert_int_equal(file_size(w->log), before);
    buf_reset(&bytes);
    struct disk_put oldest = world_record(&bytes, 0, "typed", "text of 0", NULL);
    disk_cache_touch(w->d, &oldest, 1);
    int64_t after = file_size(w->log);
    assert_true(after > before);
    disk_cache_touch(w->d, &oldest, 1); /* it is the newest now */
    assert_int_equal(file_size(w->log), after);
    world_assert_clean(w, 100);
    buf_clear(&bytes);
}

/* A log that grew large would make the next opening slow. */
static void test_log_stays_small(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 64 * MB);
    for (uint64_t line = 0; line < 20000; line += 500) {
        world_fill(w, line, line + 500, 200);
        assert_true(file_size(w->log) <= 2 * MB);
    }
    disk_cache_close(&w->d);
    assert_int_equal(file_size(w->log), -1);
    world_open(w, 64 * MB);
    assert_int_equal(world_stats(w).n_entries, 20000);
}

static void test_permissions(void **state)
{
    struct disk_world *w = *state;
    struct stat st;
    mode_t mask = umask(0);
    world_open(w, 16 * MB);
    world_put(w, 1, "", "text");
    umask(mask);
    const char *paths[] = {w->path, w->log, w->index};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(paths[i], &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

/* ---- Deleting ---- */

static int collect_all(struct disk_world *w, const char *path, uint64_t maker)
{
    int steps = 1;
    while (disk_cache_collect(w->d, path, maker, 50)) steps++;
    return steps;
}

static void put_of_makers(struct disk_world *w, int n)
{
    for (int i = 0; i < n; i++) {
        struct record like = {.maker = (uint64_t)i % 3 + 1};
        world_put_like(w, (uint64_t)i, "", "text", &like);
    }
}

static void test_collecting(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    put_of_makers(w, 600);
    assert_int_equal(collect_all(w, "/a.gguf", 1), 1);
    assert_int_equal(collect_all(w, "/b.gguf", 2), 1);
    assert_int_equal(collect_all(w, "/c.gguf", 2), 1);
    assert_int_equal(collect_all(w, "/b.gguf", 4), 1); /* 2 is still at another path */
    assert_int_equal(world_stats(w).n_entries, 600);
    assert_true(collect_all(w, "/a.gguf", 5) > 4); /* 200 rows, 50 at a time */
    assert_int_equal(world_stats(w).n_entries, 400);
    assert_int_equal(world_find(w, 0, ""), 0);
    assert_int_equal(world_find(w, 1, ""), 1);
    assert_int_equal(collect_all(w, "/a.gguf", 5), 1);
    world_assert_clean(w, 400);
}

/* What one process began to collect, the next one goes on with, unless the model is back. */
static void test_collecting_goes_on(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    put_of_makers(w, 600);
    collect_all(w, "/a.gguf", 1);
    assert_true(disk_cache_collect(w->d, "/a.gguf", 9, 50));
    disk_cache_close(&w->d);
    world_open(w, 16 * MB);
    assert_int_equal(world_stats(w).n_entries, 550);
    collect_all(w, "/a.gguf", 9);
    assert_int_equal(world_stats(w).n_entries, 400);
    collect_all(w, "/b.gguf", 2);
    assert_true(disk_cache_collect(w->d, "/b.gguf", 8, 50));
    assert_true(collect_all(w, "/b.gguf", 2) < 4); /* only that there is nothing of 8 */
    assert_int_equal(world_find(w, 598, ""), 1);   /* of maker 2 */
    assert_int_equal(world_stats(w).n_entries, 350);
}

static void test_clearing(void **state)
{
    struct disk_world *w = *state;
    struct errmsg msg;
    int64_t n;
    world_open(w, 32 * MB);
    world_fill(w, 0, 20000, 300);
    int64_t before = files_bytes(w);
    assert_true(before > 6 * MB);
    assert_int_equal(disk_cache_clear(w->d, NULL, &n, &msg), OK);
    assert_int_equal(n, 20000);
    assert_true(files_bytes(w) < MB / 4);
    assert_int_equal(world_find(w, 5, "typed"), 0);
    world_put(w, 5, "", "again");
    world_assert_finds(w, 5, "", "again");
    assert_int_equal(world_stats(w).n_entries, 1);
    assert_int_equal(world_stats(w).n_rebuilt, 0);
    world_assert_clean(w, 1);
}

static void test_clearing_one_file(void **state)
{
    struct disk_world *w = *state;
    struct errmsg msg;
    int64_t n;
    uint64_t file = 3;
    struct record like = {.maker = 1, .sources = {{2, 1, 1, 0}, {3, 1, 1, 0}}, .n_sources = 2};
    world_open(w, 32 * MB);
    world_fill(w, 1000, 13000, 300);
    for (uint64_t line = 0; line < 600; line++) world_put_like(w, line, "", "text", &like);
    like.n_sources = 1;
    world_put_like(w, 700, "", "text", &like);
    assert_int_equal(disk_cache_clear(w->d, &file, &n, &msg), OK);
    assert_int_equal(n, 600);
    assert_int_equal(world_find(w, 5, ""), 0);
    assert_int_equal(world_find(w, 700, ""), 1);
    assert_int_equal(world_find(w, 5000, "typed"), 1);
    world_assert_clean(w, 12001);
    assert_int_equal(disk_cache_clear(w->d, &file, &n, &msg), OK);
    assert_int_equal(n, 0);
}

/* The file gets as much shorter as what was in it. */
static void test_clearing_one_file_shrinks(void **state)
{
    struct disk_world *w = *state;
    struct errmsg msg;
    int64_t n;
    uint64_t file = 3;
    char *text = calloc(1, 10001);
    memset(text, 'y', 10000);
    struct record like = {.maker = 1, .sources = {{3, 1, 1, 0}}, .n_sources = 1};
    world_open(w, 32 * MB);
    for (uint64_t line = 0; line < 400; line++) world_put_like(w, line, "", text, &like);
    world_fill(w, 1000, 3000, 300);
    int64_t before = files_bytes(w);
    assert_int_equal(disk_cache_clear(w->d, &file, &n, &msg), OK);
    assert_int_equal(n, 400);
    assert_true(files_bytes(w) < before - 3 * MB);
    world_assert_clean(w, 2000);
    free(text);
}

/* ---- Several at once ---- */

/* Another process, as `inline cache clear` is: noticed by both threads' connections. */
static void test_cleared_by_another(void **state)
{
    struct disk_world *w = *state;
    struct disk_cache *other;
    struct errmsg msg;
    int64_t n;
    world_open(w, 16 * MB);
    world_put(w, 1, "", "text");
    assert_int_equal(world_find(w, 1, ""), 1);
    assert_int_equal(disk_cache_open(w->path, 16 * MB, &other, &msg), OK);
    assert_int_equal(disk_cache_clear(other, NULL, &n, &msg), OK);
    assert_int_equal(n, 1);
    assert_int_equal(world_find(w, 1, ""), 0);
    world_put(w, 2, "", "next");
    world_assert_finds(w, 2, "", "next");
    struct disk_stats s;
    disk_cache_stats(other, &s);
    assert_int_equal(s.n_entries, 1);
    world_put(w, 3, "", "next");
    disk_cache_stats(other, &s);
    assert_int_equal(s.n_entries, 2);
    disk_cache_close(&other);
    world_assert_finds(w, 2, "", "next");
    world_assert_clean(w, 2);
}

struct finding {
    struct disk_world *w;
    atomic_bool is_over;
    int n_found, n_wrong;
};

static void *find_on(void *arg)
{
    struct finding *f = arg;
    for (uint64_t line = 0; !atomic_load(&f->is_over); line = (line + 17) % 4000) {
        char text[32];
        int len = snprintf(text, sizeof text, "text of %llu", (unsigned long long)line);
        if (world_find(f->w, line, "typed") == 0) continue;
        struct record r = world_found(f->w, 0);
        f->n_found++;
        f->n_wrong +=
            r.candidates[0].len != (size_t)len || memcmp(r.candidates[0].text, text, (size_t)len) != 0;
    }
    return NULL;
}

static void test_finding_while_writing(void **state)
{
    struct disk_world *w = *state;
    struct finding f = {.w = w};
    pthread_t thread;
    world_open(w, 16 * MB);
    assert_int_equal(pthread_create(&thread, NULL, find_on, &f), 0);
    for (int i = 0; i < 4; i++) world_fill(w, 0, 4000, 0);
    atomic_store(&f.is_over, true);
    pthread_join(thread, NULL);
    assert_true(f.n_found > 100);
    assert_int_equal(f.n_wrong, 0);
    assert_int_equal(world_stats(w).n_failed, 0);
    world_assert_clean(w, 4000);
}

static void test_verify_needs_a_file(void **state)
{
    struct disk_world *w = *state;
    struct disk_report report;
    struct errmsg msg;
    assert_int_equal(disk_cache_verify(w->path, &report, &msg), ERR_IO);
    assert_non_null(strstr(msg.text, "answers.db"));
    assert_int_equal(file_size(w->path), -1);
}

int main(void)
{
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_found_after_reopening),
        IN_WORLD(test_whole_hash_counts),
        IN_WORLD(test_same_key_is_replaced),
        IN_WORLD(test_nearest_first),
        IN_WORLD(test_large_and_bad_puts),
        IN_WORLD(test_eviction),
        IN_WORLD(test_eviction_by_large_ones),
        IN_WORLD(test_touching_is_cheap),
        IN_WORLD(test_log_stays_small),
        IN_WORLD(test_permissions),
        IN_WORLD(test_collecting),
        IN_WORLD(test_collecting_goes_on),
        IN_WORLD(test_clearing),
        IN_WORLD(test_clearing_one_file),
        IN_WORLD(test_clearing_one_file_shrinks),
        IN_WORLD(test_cleared_by_another),
        IN_WORLD(test_finding_while_writing),
        IN_WORLD(test_verify_needs_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
