/* store/journal_disk.c: what is put is found, also by others and after a kill; what is old goes; and on bad
 * days requests are lost, never the daemon. */
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/buf.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/usage.h"
#include "store/journal_disk.h"

#define DAY_US INT64_C(86400000000)

struct world {
    char dir[64], path[96];
    struct journal_disk *d;
    int saved_stderr;
    FILE *log;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "%s/inline-test-journal-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(w->dir)) return -1;
    snprintf(w->path, sizeof w->path, "%s/state/journal.db", w->dir);
    w->log = tmpfile();
    fflush(stderr);
    w->saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(w->log), STDERR_FILENO);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {
        "", "-wal", "-shm", ".unusable", ".unusable-wal", ".unusable-shm", "-journal"};
    journal_disk_close(&w->d);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", w->path, names[i]);
        if (unlink(path) != 0) rmdir(path);
    }
    *strrchr(w->path, '/') = '\0';
    rmdir(w->path);
    int left = rmdir(w->dir);
    fflush(stderr);
    dup2(w->saved_stderr, STDERR_FILENO);
    close(w->saved_stderr);
    fclose(w->log);
    free(w);
    return left;
}

/* Lines that were logged and hold this text. */
static int n_logged(struct world *w, const char *text)
{
    char line[1024];
    int n = 0;
    fflush(stderr);
    rewind(w->log);
    while (fgets(line, sizeof line, w->log)) n += strstr(line, text) != NULL;
    fseek(w->log, 0, SEEK_END);
    return n;
}

static void open_days(struct world *w, int32_t days)
{
    struct errmsg msg;
    assert_int_equal(journal_disk_open(w->path, days, &w->d, &msg), OK);
}

static struct journal_record record(uint64_t id)
{
    return (struct journal_record){.id = id,
                                   .at_us = now_us(),
                                   .other = id + 1,
                                   .queue_ms = 1.5f,
                                   .context_ms = 2.5f,
                                   .lookup_ms = 0.25f,
                                   .prefill_ms = 61,
                                   .decode_ms = 118,
                                   .post_ms = 0.125f,
                                   .total_ms = 184,
                                   .load_ms = 3,
                                   .mean_logprob = -0.5f,
                                   .speed = 0.75f,
                                   .n_prompt = 1024,
                                   .n_reused = 800,
                                   .n_restored = 10,
                                   .n_moved = 2,
                                   .n_computed = 212,
                                   .break_at = UINT32_MAX,
                                   .n_chars = 23,
                                   .n_generated = UINT16_MAX,
                                   .n_drafted = 9,
                                   .n_accepted = 7,
                                   .n_waiting = 3,
                                   .outcome = METRIC_OUTCOME_CANCELLED,
                                   .api = METRIC_API_OLLAMA,
                                   .source = 2,
                                   .miss = 3,
                                   .quiet = 4,
                                   .error = METRIC_ERROR_MEMORY,
                                   .stop = journal_stop("repetition"),
                                   .priority = 3,
                                   .break_part = JOURNAL_PART_SUFFIX,
                                   .fate = JOURNAL_PARTLY,
                                   .n_candidates = 255,
                                   .was_shared = true,
                                   .is_throttled = true,
                                   .was_cut = true,
                                   .is_remote = true,
                                   .is_fallback = true};
}

static void put(struct world *w, uint64_t id)
{
    struct journal_record r = record(id);
    journal_disk_put(w->d, &r, "qwen");
}

struct listing {
    uint64_t ids[1024];
    int32_t n;
};

static void on_listed(void *ctx, const struct journal_record *r, const char *model)
{
    struct listing *l = ctx;
    (void)model;
    if (l->n < 1024) l->ids[l->n] = r->id;
    l->n++;
}

static struct listing list(struct world *w, int64_t since_us, int32_t max)
{
    struct listing l = {.n = 0};
    struct errmsg msg = {0};
    enum err err = journal_disk_list(w->path, since_us, max, on_listed, &l, &msg);
    if (err) fail_msg("%s", msg.text);
    return l;
}

static void test_round_trip(void **state)
{
    struct world *w = *state;
    struct journal_record r = record(7), none = {.id = 8, .at_us = r.at_us + 1}, found;
    char model[JOURNAL_NAME_MAX], name[2 * JOURNAL_NAME_MAX];
    struct errmsg msg;
    none.outcome = none.api = none.source = none.miss = none.quiet = none.error = none.stop = -1;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    open_days(w, 30);
    assert_int_equal(journal_disk_last_id(w->d), 0);
    journal_disk_put(w->d, &r, "qwen \"2.5\"");
    journal_disk_put(w->d, &none, name);
    journal_disk_close(&w->d);

    assert_int_equal(journal_disk_find(w->path, 7, &found, model, &msg), OK);
    assert_memory_equal(&found, &r, sizeof r);
    assert_string_equal(model, "qwen \"2.5\"");
    assert_int_equal(journal_disk_find(w->path, 8, &found, model, &msg), OK);
    assert_memory_equal(&found, &none, sizeof none);
    assert_int_equal(strlen(model), JOURNAL_NAME_MAX - 1);
    assert_int_equal(journal_disk_find(w->path, 9, &found, model, &msg), ERR_NOT_FOUND);
    assert_non_null(strstr(msg.text, "9"));

    open_days(w, 30);
    assert_int_equal(journal_disk_last_id(w->d), 8);
    struct stat st;
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(n_logged(w, "inline: "), 0);
}

static void test_list(void **state)
{
    struct world *w = *state;
    int64_t now = now_us();
    open_days(w, 30);
    for (uint64_t id = 1; id <= 600; id++) { /* more than two batches */
        struct journal_record r = record(id);
        r.at_us = now + (int64_t)id;
        journal_disk_put(w->d, &r, "");
    }
    journal_disk_close(&w->d);
    struct listing l = list(w, 0, 1000);
    assert_int_equal(l.n, 600);
    for (int32_t i = 0; i < 600; i++) assert_int_equal(l.ids[i], 600 - i);
    assert_int_equal(list(w, 0, 5).n, 5);
    assert_int_equal(list(w, 0, 0).n, 0);
    assert_int_equal(list(w, 0, -1).n, 0);
    l = list(w, now + 598, 1000);
    assert_int_equal(l.n, 3);
    assert_int_equal(l.ids[2], 598);
}

static void test_replace(void **state)
{
    struct world *w = *state;
    struct journal_record r = record(1), found;
    char model[JOURNAL_NAME_MAX];
    struct errmsg msg;
    struct journal *j = journal_new(4);
    open_days(w, 30);
    journal_on_record(j, journal_disk_put, w->d);
    r.fate = JOURNAL_UNKNOWN;
    r.model = journal_model(j, "qwen");
    journal_add(j, &r);
    journal_tell(j, 1, JOURNAL_SHOWN);
    journal_tell(j, 1, JOURNAL_ACCEPTED);
    journal_free(&j);
    journal_disk_close(&w->d);
    assert_int_equal(list(w, 0, 10).n, 1);
    assert_int_equal(journal_disk_find(w->path, 1, &found, model, &msg), OK);
    assert_int_equal(found.fate, JOURNAL_ACCEPTED);
    assert_int_equal(found.model, 0); /* numbers are a journal's own */
    assert_string_equal(model, "qwen");
}

/* Wait for the writer as another process would: by looking. */
static void wait_for(struct world *w, int32_t n)
{
    int64_t start = clock_ns();
    struct listing l = {.n = 0};
    while (clock_ms_since(start) < 10000) {
        l.n = 0;
        if (journal_disk_list(w->path, 0, 1000, on_listed, &l, NULL) == OK && l.n >= n) return;
        usleep(10000);
    }
    fail_msg("%d of %d written after ten seconds", l.n, n);
}

static void test_behind(void **state)
{
    struct world *w = *state;
    open_days(w, 30);
    put(w, 1);
    int64_t start = clock_ns();
    wait_for(w, 1); /* without closing */
    assert_in_range((int64_t)clock_ms_since(start), 500, 4000);
    start = clock_ns();
    for (uint64_t id = 2; id <= 257; id++) put(w, id); /* a whole batch need not wait */
    wait_for(w, 257);
    assert_true(clock_ms_since(start) < 1500);

    /* Nothing to do, nothing done. */
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    usleep(300000);
    getrusage(RUSAGE_SELF, &after);
#if !defined(__SANITIZE_THREAD__)                            /* which has a thread of its own */
    assert_in_range(after.ru_nvcsw - before.ru_nvcsw, 0, 2); /* our own sleep */
#endif
}

static void test_retention(void **state)
{
    struct world *w = *state;
    open_days(w, 3);
    for (uint64_t age = 0; age < 10; age++) {
        struct journal_record r = record(10 - age);
        r.at_us = now_us() - (int64_t)age * DAY_US + 60000000;
        journal_disk_put(w->d, &r, "");
    }
    journal_disk_close(&w->d);
    open_days(w, 3);
    journal_disk_close(&w->d);
    struct listing l = list(w, 0, 100);
    assert_int_equal(l.n, 4); /* of today and up to three days ago, less a minute */
    assert_int_equal(l.ids[3], 7);
    struct errmsg msg;
    assert_int_equal(journal_disk_open(w->path, 0, &w->d, &msg), ERR_ARG);
    assert_null(w->d);
}

static void test_killed(void **state)
{
    struct world *w = *state;
    pid_t child = fork();
    if (child == 0) {
        open_days(w, 30);
        for (uint64_t id = 1; id <= 4000; id++) { /* no more than the queue holds */
            put(w, id);
            if (id % 100 == 0) usleep(1000);
        }
        pause();
        _exit(0);
    }
    wait_for(w, 300); /* it is in the middle of writing */
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct listing l = list(w, 0, 100000);
    assert_true(l.n >= 300);
    open_days(w, 30);
    uint64_t last = journal_disk_last_id(w->d);
    assert_int_equal(last, l.n); /* whole batches, in order */
    put(w, last + 1);
    journal_disk_close(&w->d);
    assert_int_equal(list(w, 0, 100000).n, l.n + 1);
    assert_int_equal(n_logged(w, "inline: "), 0);
}

static void assert_begins_anew(struct world *w, const char *what)
{
    char aside[128];
    struct errmsg msg;
    struct journal_record r;
    char model[JOURNAL_NAME_MAX];
    snprintf(aside, sizeof aside, "%s.unusable", w->path);
    unlink(aside);
    int n_before = n_logged(w, "set aside");
    /* Who only reads says what is wrong. */
    enum err err = journal_disk_find(w->path, 1, &r, model, &msg);
    if (err == OK) fail_msg("%s: read", what);
    assert_non_null(strstr(msg.text, "journal.db"));
    open_days(w, 30);
    assert_int_equal(journal_disk_last_id(w->d), 0);
    put(w, 5);
    journal_disk_close(&w->d);
    struct listing l = list(w, 0, 10);
    if (l.n != 1 || l.ids[0] != 5) fail_msg("%s: %d records", what, l.n);
    assert_int_equal(n_logged(w, "set aside"), n_before + 1);
    assert_true(file_size(aside) >= 0);
}

static void execute(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_set_aside(void **state)
{
    struct world *w = *state;
    struct errmsg msg;
    open_days(w, 30);
    put(w, 1);
    journal_disk_close(&w->d);
    execute(w->path, "PRAGMA user_version = 2");
    assert_begins_anew(w, "another version");
    execute(w->path, "PRAGMA application_id = 1");
    assert_begins_anew(w, "another program's");
    execute(w->path, "DROP TABLE requests; CREATE TABLE requests (id)");
    assert_begins_anew(w, "another form");
    assert_int_equal(file_write(w->path, "this is a text, and not at all a database", 41, &msg), OK);
    assert_begins_anew(w, "a text");
    char *noise = malloc(65536);
    memset(noise, 'x', 65536);
    assert_int_equal(file_write(w->path, noise, 65536, &msg), OK);
    free(noise);
    assert_begins_anew(w, "noise");
}

/* Damage that shows only when pages are used. */
static void test_damaged_pages(void **state)
{
    struct world *w = *state;
    struct buf bytes;
    struct errmsg msg;
    open_days(w, 30);
    for (uint64_t id = 1; id <= 500; id++) put(w, id);
    journal_disk_close(&w->d);
    buf_init(&bytes, (size_t)16 << 20);
    assert_int_equal(file_read(w->path, &bytes, &msg), OK);
    assert_true(bytes.len > 8 * 4096);
    memset(bytes.data + 4096, 0xa5, bytes.len - 4096);
    assert_int_equal(file_write(w->path, bytes.data, bytes.len, &msg), OK);
    buf_clear(&bytes);
    open_days(w, 30);
    put(w, 9);
    journal_disk_close(&w->d);
    struct listing l = list(w, 0, 1000);
    assert_int_equal(l.n, 1);
    assert_int_equal(l.ids[0], 9);
    assert_int_equal(n_logged(w, "set aside"), 1);
}

static void test_no_disk(void **state)
{
    struct world *w = *state;
    struct rlimit old, little = {0};
    open_days(w, 30);
    put(w, 1);
    wait_for(w, 1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    little = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (uint64_t id = 2; id <= 258; id++) put(w, id);
    usleep(300000);
    for (uint64_t id = 300; id <= 556; id++) put(w, id);
    usleep(300000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(n_logged(w, "cannot be written now"), 1); /* said once */
    put(w, 1000);
    journal_disk_close(&w->d); /* there is room again */
    struct listing l = list(w, 0, 1000);
    assert_true(l.n >= 2 && l.n < 500);
    assert_int_equal(l.ids[0], 1000);
    assert_int_equal(n_logged(w, "inline: "), 1);
}

static void test_read_only(void **state)
{
    struct world *w = *state;
    struct errmsg msg;
    struct listing l = {.n = 0};
    assert_int_equal(journal_disk_list(w->path, 0, 10, on_listed, &l, &msg), ERR_NOT_FOUND);
    /* A folder in the place of the database: not even root can write that. */
    char dir[96];
    snprintf(dir, sizeof dir, "%s", w->path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(mkdir(w->path, 0700), 0);
    open_days(w, 30);
    assert_int_equal(journal_disk_last_id(w->d), 0);
    put(w, 1);
    journal_disk_close(&w->d);
    assert_int_equal(n_logged(w, "cannot be written now"), 1);
    assert_int_equal(journal_disk_list(w->path, 0, 10, on_listed, &l, &msg), ERR_NOT_FOUND);
    rmdir(w->path);
    rmdir(dir);
    /* A file where its folder should be. */
    assert_int_equal(file_write(dir, "x", 1, &msg), OK);
    open_days(w, 30);
    put(w, 1);
    journal_disk_close(&w->d);
    assert_int_equal(n_logged(w, "cannot be written now"), 2);
    unlink(dir);
    /* A folder that may not be written, for who is not root. */
    if (geteuid() == 0) return;
    assert_int_equal(mkdir(dir, 0500), 0);
    open_days(w, 30);
    put(w, 1);
    journal_disk_close(&w->d);
    assert_int_equal(n_logged(w, "cannot be written now"), 3);
}

/* A disk that hangs: what does not fit in the queue is dropped, and nobody waits. */
static void test_slow_disk(void **state)
{
    struct world *w = *state;
    sqlite3 *db;
    open_days(w, 30);
    put(w, 1);
    wait_for(w, 1);
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t start = clock_ns();
    for (uint64_t id = 2; id <= 6000; id++) put(w, id);
    assert_true(clock_ms_since(start) < 200);
    assert_int_equal(n_logged(w, "too slow"), 1);
    sqlite3_close(db);
    journal_disk_close(&w->d);
    struct listing l = list(w, 0, 100000);
    assert_in_range(l.n, 2000, 5500);
}

static void test_not_numbers(void **state)
{
    struct world *w = *state;
    struct journal_record r = record(1), found;
    char model[JOURNAL_NAME_MAX];
    struct errmsg msg;
    volatile float zero = 0;
    r.total_ms = zero / zero;
    r.queue_ms = 1 / zero;
    open_days(w, 30);
    journal_disk_put(w->d, &r, "");
    journal_disk_close(&w->d);
    assert_int_equal(journal_disk_find(w->path, 1, &found, model, &msg), OK);
    assert_float_equal(found.total_ms, 0, 0);
    assert_float_equal(found.queue_ms, 0, 0);
    assert_int_equal(n_logged(w, "inline: "), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip), TEST(test_list),      TEST(test_replace),   TEST(test_behind),
        TEST(test_retention),  TEST(test_killed),    TEST(test_set_aside), TEST(test_damaged_pages),
        TEST(test_no_disk),    TEST(test_read_only), TEST(test_slow_disk), TEST(test_not_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
