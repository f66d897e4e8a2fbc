/* The disk cache on bad days: damaged, truncated, replaced, locked, read-only and full. Whatever happens,
 * finding is right or misses, it is logged once, and the cache works again by itself when it can. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <sqlite3.h>

#include "os/clock.h"
#include "os/file.h"
#include "support/disk_world.h"

#define MB      ((int64_t)1 << 20)
#define N_LINES 240

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 (Steele et al. 2014) */
    uint64_t z = (*state ^ *state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- Files ---- */

static void read_whole(const char *path, struct buf *out)
{
    struct errmsg msg;
    buf_init(out, (size_t)64 << 20);
    if (file_size(path) >= 0) assert_int_equal(file_read(path, out, &msg), OK);
}

/* As a new file: the old one may be open. */
static void write_whole(const char *path, const char *bytes, size_t len)
{
    struct errmsg msg;
    assert_int_equal(file_write_parts(path, &(struct file_part){bytes, len}, 1, &msg), OK);
}

static void execute(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* What a process that was killed leaves: a database, and a log with the newest lines. */
struct remains {
    struct buf database, log;
};

static void take_remains(struct disk_world *w, struct remains *out)
{
    world_open(w, 16 * MB);
    world_fill(w, 0, N_LINES / 2, 60);
    disk_cache_close(&w->d); /* empties the log */
    world_open(w, 16 * MB);
    world_fill(w, N_LINES / 2, N_LINES - 1, 60);
    world_fill(w, N_LINES - 1, N_LINES, 20000);
    read_whole(w->path, &out->database);
    read_whole(w->log, &out->log);
    assert_true(out->database.len > 8 * 4096 && out->log.len > 8 * 4096);
    disk_cache_close(&w->d);
}

static void put_remains(struct disk_world *w, const struct remains *r)
{
    world_delete_files(w);
    write_whole(w->path, r->database.data, r->database.len);
    write_whole(w->log, r->log.data, r->log.len);
}

static void clear_remains(struct remains *r)
{
    buf_clear(&r->database);
    buf_clear(&r->log);
}

/* ---- What must hold after any damage ---- */

static int count_right(struct disk_world *w)
{
    int n = 0;
    for (uint64_t line = 0; line < N_LINES; line++) {
        char text[32];
        int len = snprintf(text, sizeof text, "text of %llu", (unsigned long long)line);
        if (world_find(w, line, "typed") == 0) continue;
        struct record r = world_found(w, 0);
        assert_true(r.candidates[0].len > (size_t)len);
        assert_memory_equal(r.candidates[0].text, text, (size_t)len);
        assert_int_equal(r.candidates[0].text[len], 'x');
        n++;
    }
    return n;
}

/* Use it as a daemon would, through whatever repairs it needs, and see that it is whole in the end. */
static void assert_repairs_itself(struct disk_world *w, const char *what)
{
    world_open(w, 16 * MB);
    for (int i = 0; i < 30; i++) {
        int n_right = count_right(w);
        world_fill(w, 0, N_LINES, 60);
        disk_cache_collect(w->d, "/a.gguf", 100 + (uint64_t)i, 50);
        if (n_right == N_LINES) break;
        if (i == 29) fail_msg("%s: does not work again", what);
    }
    disk_cache_close(&w->d);
    struct disk_report report = world_verify(w);
    if (report.fault[0]) fail_msg("%s: %s", what, report.fault);
}

static void test_flipped_bytes(void **state)
{
    struct disk_world *w = *state;
    struct remains r;
    struct log_capture log;
    uint64_t rng = 1;
    take_remains(w, &r);
    log_capture_begin(&log);
    for (int i = 0; i < 240; i++) {
        char what[64];
        struct buf *file = i % 3 == 2 ? &r.log : &r.database;
        size_t len = i % 5 == 0 ? 4096 : 1 + next_random(&rng) % 3; /* a whole page, or some bytes */
        size_t at = i % 4 == 1 ? next_random(&rng) % 512 : next_random(&rng) % (file->len - len);
        char saved[4096];
        memcpy(saved, file->data + at, len);
        for (size_t j = 0; j < len; j++) file->data[at + j] ^= (char)(1 + next_random(&rng) % 255);
        put_remains(w, &r);
        memcpy(file->data + at, saved, len);
        snprintf(what, sizeof what, "%zu bytes of the %s from %zu", len, file == &r.log ? "log" : "database",
                 at);
        assert_repairs_itself(w, what);
    }
    assert_true(log_capture_end(&log) > 10);
    clear_remains(&r);
}

static void test_truncated(void **state)
{
    struct disk_world *w = *state;
    struct remains r;
    struct log_capture log;
    static const size_t lens[] = {0,    1,    15,   16,    31,    32,    56,    99,
                                  100,  101,  511,  512,   1024,  4095,  4096,  4097,
                                  8191, 8192, 8193, 12288, 20480, 20581, 32767, 32768};
    take_remains(w, &r);
    log_capture_begin(&log);
    for (size_t i = 0; i < 2 * sizeof lens / sizeof *lens; i++) {
        char what[64];
        struct remains cut = r;
        struct buf *file = i % 2 ? &cut.log : &cut.database;
        file->len = lens[i / 2] < file->len ? lens[i / 2] : file->len - 1;
        put_remains(w, &cut);
        snprintf(what, sizeof what, "%s of %zu bytes", i % 2 ? "log" : "database", file->len);
        assert_repairs_itself(w, what);
    }
    log_capture_end(&log);
    clear_remains(&r);
}

/* The process was not killed, the file changes under it. */
static void test_truncated_while_open(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    world_open(w, 16 * MB);
    world_fill(w, 0, N_LINES, 60);
    disk_cache_close(&w->d);
    world_open(w, 16 * MB);
    log_capture_begin(&log);
    assert_int_equal(truncate(w->path, 5000), 0);
    count_right(w);
    world_fill(w, 0, N_LINES, 60);
    world_fill(w, 0, N_LINES, 60);
    assert_int_equal(count_right(w), N_LINES);
    assert_int_equal(log_capture_end(&log), 1);
    assert_int_equal(world_stats(w).n_rebuilt, 1);
    disk_cache_close(&w->d);
    world_assert_clean(w, N_LINES);
}

static void test_one_bad_record(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 60);
    disk_cache_close(&w->d);
    execute(w->path, "UPDATE answers SET record = x'0102' WHERE id = 4");
    struct disk_report report = world_verify(w);
    assert_int_equal(report.n_bad, 1);
    assert_int_equal(report.n_entries, 10);
    assert_non_null(strstr(report.fault, "row 4"));
    log_capture_begin(&log);
    world_open(w, 16 * MB);
    assert_int_equal(world_find(w, 3, "typed"), 0);
    world_put(w, 3, "typed", "again");
    world_assert_finds(w, 3, "typed", "again");
    assert_int_equal(log_capture_end(&log), 1);
    struct disk_stats s = world_stats(w);
    assert_int_equal(s.n_entries, 10);
    assert_int_equal(s.n_rebuilt, 0);
    disk_cache_close(&w->d);
    world_assert_clean(w, 10);
}

/* A record at another's place is not found there. */
static void test_misplaced_record(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 60);
    disk_cache_close(&w->d);
    execute(w->path, "UPDATE answers SET line = 77 WHERE id = 4");
    assert_non_null(strstr(world_verify(w).fault, "row 4"));
    struct log_capture log;
    log_capture_begin(&log);
    world_open(w, 16 * MB);
    assert_int_equal(world_find(w, 77, "typed"), 0);
    world_put(w, 3, "typed", "again");
    log_capture_end(&log);
    disk_cache_close(&w->d);
    world_assert_clean(w, 10);
}

/* ---- Other files in its place ---- */

static void assert_replaced_at_opening(struct disk_world *w)
{
    struct log_capture log;
    log_capture_begin(&log);
    world_open(w, 16 * MB);
    assert_int_equal(world_find(w, 1, "typed"), 0);
    world_fill(w, 0, 10, 0);
    assert_int_equal(log_capture_end(&log), 1);
    world_assert_finds(w, 1, "typed", "text of 1");
    assert_int_equal(world_stats(w).n_rebuilt, 1);
    disk_cache_close(&w->d);
    world_assert_clean(w, 10);
}

static void test_another_version(void **state)
{
    struct disk_world *w = *state;
    static const char *const changes[] = {
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
        "DROP TABLE gone",
        "DROP INDEX answers_line; DROP TABLE answers; CREATE TABLE answers (id INTEGER PRIMARY KEY, other)",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        world_open(w, 16 * MB);
        world_fill(w, 0, 10, 0);
        disk_cache_close(&w->d);
        execute(w->path, changes[i]);
        assert_replaced_at_opening(w);
        world_delete_files(w);
    }
    execute(w->path, "CREATE TABLE mine (a); INSERT INTO mine VALUES (1)");
    assert_string_not_equal(world_verify(w).fault, "");
    assert_replaced_at_opening(w);
}

static void test_larger_than_its_ceiling_now(void **state)
{
    struct disk_world *w = *state;
    world_open(w, 32 * MB);
    world_fill(w, 0, 20000, 300);
    disk_cache_close(&w->d);
    assert_true(file_size(w->path) > 8 * MB - 4 * MB);
    struct log_capture log;
    log_capture_begin(&log);
    world_open(w, 8 * MB);
    assert_int_equal(log_capture_end(&log), 1);
    assert_true(file_size(w->path) < MB);
}

static void test_garbage(void **state)
{
    struct disk_world *w = *state;
    char garbage[5000];
    for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (char)(i * 31);
    write_whole(w->path, garbage, sizeof garbage);
    assert_string_not_equal(world_verify(w).fault, "");
    assert_replaced_at_opening(w);
}

static void test_garbage_while_open(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 0);
    disk_cache_close(&w->d); /* empties the log, which has all of it */
    world_open(w, 16 * MB);
    assert_int_equal(world_find(w, 1, "typed"), 1);
    log_capture_begin(&log);
    write_whole(w->path,
                "this is no database, but it is longer than one hundred bytes, which is what the header "
                "of a database takes",
                106);
    assert_int_equal(world_find(w, 1, "typed"), 0);
    world_fill(w, 0, 10, 0);
    world_assert_finds(w, 1, "typed", "text of 1");
    assert_int_equal(log_capture_end(&log), 1);
    assert_int_equal(world_stats(w).n_rebuilt, 1);
}

static void test_deleted_while_open(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 0);
    assert_int_equal(world_find(w, 1, "typed"), 1);
    log_capture_begin(&log);
    world_delete_files(w);
    assert_int_equal(world_find(w, 1, "typed"), 0);
    world_fill(w, 20, 30, 0);
    assert_int_equal(world_stats(w).n_entries, 10);
    assert_int_equal(log_capture_end(&log), 0); /* who deletes it knows */
    disk_cache_close(&w->d);
    world_assert_clean(w, 10);
}

/* Wait until it works again, for as long as it may take to notice. */
static void assert_works_again(struct disk_world *w)
{
    int64_t start = clock_ns();
    while (clock_ms_since(start) < 5000) {
        world_put(w, 99, "", "back");
        if (world_find(w, 99, "") == 1) return;
        usleep(20000);
    }
    fail_msg("does not work again");
}

static void test_folder_in_its_place(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 0);
    assert_int_equal(world_find(w, 1, "typed"), 1);
    log_capture_begin(&log);
    world_delete_files(w);
    assert_int_equal(mkdir(w->path, 0700), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(world_find(w, 1, "typed"), 0);
        world_fill(w, 0, 10, 0);
        usleep(20000);
    }
    assert_int_equal(log_capture_end(&log), 1);
    assert_int_equal(rmdir(w->path), 0);
    assert_works_again(w);
}

static void test_no_folder_possible(void **state)
{
    struct disk_world *w = *state;
    struct disk_cache *d;
    struct errmsg msg = {{0}};
    char path[128];
    write_whole(w->path, "a file", 6);
    snprintf(path, sizeof path, "%s/below/answers.db", w->path);
    assert_int_not_equal(disk_cache_open(path, 16 * MB, &d, &msg), OK);
    assert_null(d);
    assert_non_null(strstr(msg.text, "answers.db"));
}

/* ---- What passes ---- */

static void test_locked(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    sqlite3 *db;
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 0);
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    log_capture_begin(&log);
    int64_t start = clock_ns();
    for (int i = 0; i < 100; i++) world_fill(w, 10, 20, 0);
    assert_true(clock_ms_since(start) < 1000);
    world_assert_finds(w, 1, "typed", "text of 1"); /* readers do not wait for writers */
    assert_int_equal(world_find(w, 15, "typed"), 0);
    assert_int_equal(log_capture_end(&log), 1);
    assert_true(world_stats(w).n_failed > 0);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_works_again(w);
    assert_int_equal(world_stats(w).n_rebuilt, 0);
    world_assert_finds(w, 1, "typed", "text of 1");
}

/* Somebody reads an old state for long: the log cannot be emptied, and must not grow for it. */
static void test_long_reader(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    sqlite3 *db;
    world_open(w, 8 * MB);
    world_fill(w, 0, 10, 0);
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN; SELECT count(*) FROM answers", NULL, NULL, NULL), SQLITE_OK);
    log_capture_begin(&log);
    for (uint64_t line = 100; line < 10100; line += 100) {
        world_fill(w, line, line + 100, 400);
        assert_true(file_size(w->path) + file_size(w->log) + file_size(w->index) <= 8 * MB);
    }
    assert_int_equal(log_capture_end(&log), 1);
    assert_true(world_stats(w).n_failed > 0);
    sqlite3_close(db);
    assert_works_again(w);
    assert_true(file_size(w->path) + file_size(w->log) + file_size(w->index) <= 8 * MB);
}

/* Run in a child: the limit is the process's. */
static int write_on_full_disk(struct disk_world *w)
{
    struct log_capture log;
    struct rlimit limit, all;
    world_open(w, 64 * MB);
    world_fill(w, 0, 1000, 300);
    getrlimit(RLIMIT_FSIZE, &all);
    limit = all;
    limit.rlim_cur = (rlim_t)MB;
    signal(SIGXFSZ, SIG_IGN);
    log_capture_begin(&log);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (uint64_t line = 1000; line < 6000; line += 50) world_fill(w, line, line + 50, 300);
    bool is_read = world_find(w, 1, "typed") == 1;
    setrlimit(RLIMIT_FSIZE, &all);
    int n_lines = log_capture_end(&log);
    return is_read ? n_lines : 101;
}

static void test_full_disk(void **state)
{
    struct disk_world *w = *state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int n_lines = write_on_full_disk(w);
        int64_t failed = world_stats(w).n_failed;
        assert_works_again(w);
        int64_t rebuilt = world_stats(w).n_rebuilt;
        disk_cache_close(&w->d);
        _exit(failed > 0 && rebuilt == 0 ? n_lines : 100);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    world_assert_clean(w, world_verify(w).n_entries);
}

/* A user who may not write there, if we can be one. */
static void test_read_only(void **state)
{
    struct disk_world *w = *state;
    struct log_capture log;
    if (geteuid() != 0) skip();
    world_open(w, 16 * MB);
    world_fill(w, 0, 10, 0);
    disk_cache_close(&w->d);
    assert_int_equal(seteuid(65534), 0);
    log_capture_begin(&log);
    struct errmsg msg;
    enum err err = disk_cache_open(w->path, 16 * MB, &w->d, &msg);
    if (err == OK) {
        for (int i = 0; i < 5; i++) {
            assert_int_equal(world_find(w, 1, "typed"), 0);
            world_fill(w, 0, 10, 0);
        }
        assert_true(world_stats(w).n_failed > 0);
    }
    int n_lines = log_capture_end(&log);
    assert_int_equal(seteuid(0), 0);
    assert_true(err != OK || n_lines == 1);
    if (err == OK) assert_works_again(w);
    disk_cache_close(&w->d);
    world_assert_clean(w, world_verify(w).n_entries);
}

int main(void)
{
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_flipped_bytes),
        IN_WORLD(test_truncated),
        IN_WORLD(test_truncated_while_open),
        IN_WORLD(test_one_bad_record),
        IN_WORLD(test_misplaced_record),
        IN_WORLD(test_another_version),
        IN_WORLD(test_larger_than_its_ceiling_now),
        IN_WORLD(test_garbage),
        IN_WORLD(test_garbage_while_open),
        IN_WORLD(test_deleted_while_open),
        IN_WORLD(test_folder_in_its_place),
        IN_WORLD(test_no_folder_possible),
        IN_WORLD(test_locked),
        IN_WORLD(test_long_reader),
        IN_WORLD(test_full_disk),
        IN_WORLD(test_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
