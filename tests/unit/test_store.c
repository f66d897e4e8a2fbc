/* All levels together: what is found where, what is written behind, and that nobody waits for anything. */
#include <dirent.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "os/clock.h"
#include "os/file.h"
#include "store/record.h"
#include "store/store.h"
#include "support/redis_server.h"

#define MEGABYTE ((int64_t)1 << 20)
#define WAIT_MS  10000

/* A store at a directory, and a loop that sleeps until it is woken. */
struct world {
    struct store *store;
    sem_t woken;
    char dir[64];
    char team[128];
    int64_t disk_bytes, projects_bytes;
};

static void on_wake(void *ctx)
{
    sem_post(&((struct world *)ctx)->woken);
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void start(struct world *w)
{
    struct errmsg msg = {0};
    struct store_options o = {.dir = w->dir,
                              .memory_bytes = MEGABYTE,
                              .disk_bytes = w->disk_bytes,
                              .projects_bytes = w->projects_bytes,
                              .team = w->team,
                              .wake = on_wake,
                              .ctx = w};
    if (store_new(&o, &w->store, &msg) != OK) fail_msg("%s", msg.text);
    assert_non_null(store_memory(w->store));
}

static void restart(struct world *w)
{
    store_free(&w->store);
    assert_null(w->store);
    start(w);
}

static void world_open(struct world *w, const char *dir)
{
    *w = (struct world){.disk_bytes = 64 * MEGABYTE, .projects_bytes = 64 * MEGABYTE};
    sem_init(&w->woken, 0, 0);
    snprintf(w->dir, sizeof w->dir, "%s", dir ? dir : "/tmp/inline-test-store-XXXXXX");
    if (!dir) assert_non_null(mkdtemp(w->dir));
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    for (const struct dirent *e; (e = readdir(dir));) {
        char inner[512];
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlink(inner) != 0) remove_dir(inner);
    }
    closedir(dir);
    rmdir(path);
}

static void world_close(struct world *w)
{
    store_free(&w->store);
    sem_destroy(&w->woken);
    if (w->dir[0]) remove_dir(w->dir);
}

/* Sleep until the store has something to say; false: it had nothing for so long. */
static bool turn(struct world *w, int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    if (sem_timedwait(&w->woken, &t) != 0) return false;
    store_poll(w->store);
    return true;
}

static struct store_level_stats stats_of(const struct world *w, enum store_level level)
{
    struct store_level_stats stats;
    store_stats(w->store, level, &stats);
    return stats;
}

/* ---- Records ---- */

static struct store_key key_of(uint64_t line, const char *typed)
{
    return (struct store_key){.line = {line, ~line}, .typed = typed, .typed_len = strlen(typed)};
}

static void put(struct world *w, uint64_t project, uint64_t line, const char *text)
{
    struct buf bytes;
    struct record *r = calloc(1, sizeof *r);
    *r = (struct record){.maker = 7, .line = {line, ~line}, .typed = "", .n_candidates = 1};
    r->candidates[0] = (struct record_candidate){.text = text, .len = strlen(text), .n_tokens = 3};
    buf_init(&bytes, RECORD_BYTES_MAX);
    assert_int_equal(record_write(r, &bytes), OK);
    store_put(w->store, project, bytes.data, bytes.len);
    buf_clear(&bytes);
    free(r);
}

static void await_puts(struct world *w, enum store_level level, int64_t n)
{
    for (int ms = 0; ms < WAIT_MS && stats_of(w, level).n_put < n; ms += 2) sleep_ms(2);
    assert_int_equal(stats_of(w, level).n_put, n);
}

/* What came back to one who asked. */
struct answer {
    int n_done, n;
    enum store_level level;
    char text[64];
};

static void on_done(void *ctx, const struct store_found *found)
{
    struct answer *a = ctx;
    a->n_done++;
    a->n = found->n;
    a->level = found->level;
    a->text[0] = '\0';
    if (found->n == 0) return;
    struct record *r = calloc(1, sizeof *r);
    assert_int_equal(record_read(found->records[0].bytes, found->records[0].len, r), OK);
    snprintf(a->text, sizeof a->text, "%.*s", (int)r->candidates[0].len, r->candidates[0].text);
    free(r);
}

static struct store_lookup *ask(struct world *w, uint64_t project, uint64_t line, struct answer *a)
{
    struct store_key key = key_of(line, "");
    *a = (struct answer){0};
    struct store_lookup *l = store_lookup(w->store, &key, project, false, on_done, a);
    assert_int_equal(a->n_done, 0); /* never from inside */
    return l;
}

static void await(struct world *w, const struct answer *a)
{
    while (a->n_done == 0) assert_true(turn(w, WAIT_MS));
    assert_int_equal(a->n_done, 1);
}

/* A database that is being changed may be busy, which means a miss at its level: asked again until it is not.
 */
static void expect_at(struct world *w, uint64_t project, uint64_t line, const char *text,
                      enum store_level level)
{
    struct answer a;
    for (int ms = 0; ms < WAIT_MS; ms += 10) {
        assert_non_null(ask(w, project, line, &a));
        await(w, &a);
        if (a.n > 0 && a.level <= level) break;
        sleep_ms(10);
    }
    assert_string_equal(a.text, text);
    assert_int_equal(a.level, level);
}

static void expect_nothing(struct world *w, uint64_t project, uint64_t line)
{
    struct answer a;
    assert_non_null(ask(w, project, line, &a));
    await(w, &a);
    assert_int_equal(a.n, 0);
}

static void delete_shared(const struct world *w)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/answers.db%s", w->dir, endings[i]);
        unlink(path);
    }
}

/* Files in DIR/SUB whose names end so. */
static int count_files(const struct world *w, const char *sub, const char *ending)
{
    char path[128];
    int n = 0;
    snprintf(path, sizeof path, "%s/%s", w->dir, sub);
    DIR *dir = opendir(path);
    if (!dir) return 0;
    for (const struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name), end = strlen(ending);
        n += e->d_name[0] != '.' && len >= end && strcmp(e->d_name + len - end, ending) == 0;
    }
    closedir(dir);
    return n;
}

/* Entries of one of the system's folders about us; -1: this system has none. */
static int count_own(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir) return -1;
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2;
}

/* ---- The tests ---- */

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(store_level_name(STORE_MEMORY), "memory");
    assert_string_equal(store_level_name(STORE_DISK), "disk");
    assert_string_equal(store_level_name(STORE_PROJECT), "project");
    assert_string_equal(store_level_name(STORE_TEAM), "team");
}

static void on_cleared(void *ctx, int64_t n_deleted)
{
    *(int64_t *)ctx = n_deleted;
}

static int64_t clear(struct world *w)
{
    int64_t n = -1;
    store_clear(w->store, on_cleared, &n);
    assert_int_equal(n, -1);
    while (n < 0) {
        store_poll(w->store); /* there may be something already */
        if (n < 0) assert_true(turn(w, WAIT_MS));
    }
    return n;
}

static void test_levels_off(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    world_open(&w, "");
    start(&w);
    int n_threads = count_own("/proc/self/task");
    assert_null(ask(&w, 1, 1, &a));
    put(&w, 1, 1, "x");
    assert_int_equal(clear(&w), 0);
    for (enum store_level l = STORE_DISK; l < STORE_N_LEVELS; l++) assert_false(stats_of(&w, l).is_on);
    assert_true(stats_of(&w, STORE_MEMORY).is_on);
    assert_int_equal(count_own("/proc/self/task"), n_threads);
    world_close(&w);

    world_open(&w, NULL);
    w.disk_bytes = w.projects_bytes = 0;
    start(&w);
    assert_null(ask(&w, 1, 1, &a));
    put(&w, 1, 1, "x");
    store_use_maker(w.store, "model", 1);
    assert_int_equal(count_own("/proc/self/task"), n_threads);
    assert_int_equal(count_files(&w, "", ""), 0);
    store_free(&w.store);

    w.projects_bytes = MEGABYTE; /* only projects */
    start(&w);
    assert_null(ask(&w, 0, 1, &a));
    put(&w, 5, 1, "x");
    await_puts(&w, STORE_PROJECT, 1);
    expect_at(&w, 5, 1, "x", STORE_PROJECT);
    assert_int_equal(stats_of(&w, STORE_DISK).n_put, 0);
    assert_int_equal(count_files(&w, "", ".db"), 0);
    store_free(&w.store);

    w.disk_bytes = MEGABYTE; /* only the disk */
    w.projects_bytes = 0;
    start(&w);
    expect_nothing(&w, 5, 1);
    world_close(&w);
}

static void test_restart(void **state)
{
    (void)state;
    struct world w;
    struct store_key long_key = key_of(1, "");
    char typed[RECORD_TYPED_MAX + 2];
    world_open(&w, NULL);
    start(&w);
    expect_nothing(&w, 0, 1);
    for (uint64_t i = 1; i <= 500; i++) {
        char text[32];
        snprintf(text, sizeof text, "answer %d", (int)i);
        put(&w, 0, i, text);
    }
    restart(&w); /* what is queued is written first */
    expect_at(&w, 0, 1, "answer 1", STORE_DISK);
    expect_at(&w, 0, 500, "answer 500", STORE_DISK);
    expect_nothing(&w, 0, 501);
    struct store_level_stats disk = stats_of(&w, STORE_DISK);
    assert_int_equal(disk.n_asked, 3);
    assert_int_equal(disk.n_found, 2);
    for (int ms = 0; ms < WAIT_MS && stats_of(&w, STORE_DISK).n_entries < 500; ms += 5) sleep_ms(5);
    assert_int_equal(stats_of(&w, STORE_DISK).n_entries, 500);
    assert_in_range(stats_of(&w, STORE_DISK).n_bytes, 1, w.disk_bytes);
    put(&w, 0, 600, "more");
    await_puts(&w, STORE_DISK, 1); /* what was found is not written again */

    memset(typed, 'x', sizeof typed); /* longer than any key */
    long_key.typed = typed;
    long_key.typed_len = RECORD_TYPED_MAX + 1;
    assert_null(store_lookup(w.store, &long_key, 0, false, on_done, NULL));
    world_close(&w);
}

static void test_project_to_disk(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    start(&w);
    put(&w, 77, 1, "one");
    put(&w, 0, 2, "two");
    await_puts(&w, STORE_DISK, 2);
    await_puts(&w, STORE_PROJECT, 1);
    store_free(&w.store);
    delete_shared(&w);

    start(&w);
    expect_nothing(&w, 0, 1);
    expect_nothing(&w, 78, 1); /* another project */
    expect_nothing(&w, 77, 2);
    assert_int_equal(count_files(&w, "projects", ".db"), 1); /* asking makes no files */
    expect_at(&w, 77, 1, "one", STORE_PROJECT);
    await_puts(&w, STORE_DISK, 1);
    expect_at(&w, 77, 1, "one", STORE_DISK);
    assert_int_equal(stats_of(&w, STORE_PROJECT).n_put, 0); /* never back down */
    restart(&w);
    expect_at(&w, 0, 1, "one", STORE_DISK);
    world_close(&w);
}

/* Of keys that are looked up at once there is one search. */
static void test_sharing(void **state)
{
    (void)state;
    struct world w;
    struct answer a, b, c, d;
    world_open(&w, NULL);
    start(&w);
    put(&w, 0, 1, "one");
    await_puts(&w, STORE_DISK, 1);

    struct store_lookup *first = ask(&w, 0, 1, &a), *second = ask(&w, 0, 1, &b);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    assert_non_null(ask(&w, 0, 2, &c));
    assert_non_null(ask(&w, 9, 1, &d)); /* in a project's database too: another search */
    await(&w, &a), await(&w, &b), await(&w, &c), await(&w, &d);
    assert_string_equal(a.text, "one");
    assert_string_equal(b.text, "one");
    assert_int_equal(c.n, 0);
    assert_string_equal(d.text, "one");
    assert_int_equal(stats_of(&w, STORE_DISK).n_asked, 3);

    first = ask(&w, 0, 1, &a), second = ask(&w, 0, 1, &b); /* each is cancelled by itself */
    store_cancel(w.store, first);
    await(&w, &b);
    assert_int_equal(a.n_done, 0);
    first = ask(&w, 0, 1, &a), second = ask(&w, 0, 1, &b);
    store_cancel(w.store, second);
    store_cancel(w.store, first);
    expect_at(&w, 0, 1, "one", STORE_DISK); /* does not join what nobody waits for */
    while (turn(&w, 50)) {
    }
    assert_int_equal(a.n_done + b.n_done, 0);
    world_close(&w);
}

/* One whose callback asks again, and cancels its neighbour. */
struct meddler {
    struct world *w;
    struct store_lookup *neighbour;
    struct answer own, again;
};

static void on_meddle(void *ctx, const struct store_found *found)
{
    struct meddler *m = ctx;
    on_done(&m->own, found);
    store_cancel(m->w->store, m->neighbour);
    assert_non_null(ask(m->w, 0, 1, &m->again));
    put(m->w, 0, 3, "three");
}

static void test_callback_meddles(void **state)
{
    (void)state;
    struct world w;
    struct answer neighbour;
    struct store_key key = key_of(1, "");
    world_open(&w, NULL);
    start(&w);
    put(&w, 0, 1, "one");
    await_puts(&w, STORE_DISK, 1);
    struct meddler m = {.w = &w, .neighbour = ask(&w, 0, 1, &neighbour)};
    assert_non_null(store_lookup(w.store, &key, 0, false, on_meddle, &m)); /* the latest is told first */
    await(&w, &m.own);
    await(&w, &m.again);
    assert_string_equal(m.again.text, "one");
    assert_int_equal(neighbour.n_done, 0);
    world_close(&w);
}

static void test_full_lookups(void **state)
{
    (void)state;
    struct world w;
    struct answer answers[64], more;
    world_open(&w, NULL);
    start(&w);
    for (uint64_t i = 0; i < 64; i++) assert_non_null(ask(&w, 0, i / 2, &answers[i]));
    assert_null(ask(&w, 0, 1, &more));
    assert_null(ask(&w, 0, 100, &more));
    for (int i = 0; i < 64; i++) await(&w, &answers[i]);
    expect_nothing(&w, 0, 100);
    assert_int_equal(stats_of(&w, STORE_DISK).n_asked, 33);

    for (int i = 0; i < 1000; i++) { /* what is cancelled makes room again, when its search is over */
        struct store_lookup *l = ask(&w, 0, (uint64_t)i, &more);
        if (l) store_cancel(w.store, l);
        if (!l) assert_true(turn(&w, WAIT_MS));
    }
    while (turn(&w, 50)) {
    }
    for (uint64_t i = 0; i < 64; i++) assert_non_null(ask(&w, 0, i, &answers[i]));
    world_close(&w); /* with lookups under way, which never come back */
    for (int i = 0; i < 64; i++) assert_int_equal(answers[i].n_done, 0);
}

static void test_full_queue(void **state)
{
    (void)state;
    struct world w;
    char *text = malloc(RECORD_TEXT_MAX + 1);
    memset(text, 'x', RECORD_TEXT_MAX);
    text[RECORD_TEXT_MAX] = '\0';
    world_open(&w, NULL);
    start(&w);
    /* More in each round than the queue holds, faster than it can be written. */
    uint64_t n = 0;
    for (int round = 0; round < 50 && stats_of(&w, STORE_DISK).n_dropped == 0; round++) {
        for (int i = 0; i < 1000; i++) put(&w, 0, ++n, text);
    }
    struct store_level_stats disk = stats_of(&w, STORE_DISK);
    assert_true(disk.n_dropped > 0);
    assert_int_equal(stats_of(&w, STORE_PROJECT).n_dropped, 0);
    put(&w, 0, ++n, "last");
    for (int ms = 0; ms < WAIT_MS; ms += 5) {
        disk = stats_of(&w, STORE_DISK);
        if (disk.n_put + disk.n_dropped == (int64_t)n) break;
        sleep_ms(5);
    }
    assert_int_equal(disk.n_put + disk.n_dropped, n);
    expect_at(&w, 0, n, "last", STORE_DISK); /* the stalest went, not this */
    free(text);
    world_close(&w);
}

static void test_clear(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    world_open(&w, NULL);
    start(&w);
    put(&w, 5, 1, "one");
    put(&w, 6, 2, "two");
    await_puts(&w, STORE_DISK, 2);
    await_puts(&w, STORE_PROJECT, 2);
    restart(&w);
    expect_at(&w, 5, 1, "one", STORE_DISK);
    put(&w, 5, 3, "three"); /* opens one of the two projects */
    await_puts(&w, STORE_PROJECT, 1);

    put(&w, 5, 4, "four"); /* in the queue, or just being written */
    assert_non_null(ask(&w, 5, 1, &a));
    int64_t n = clear(&w);
    assert_in_range(n, 5, 7);
    await(&w, &a); /* was on its way: comes back with nothing, whatever it had found */
    assert_int_equal(a.n, 0);
    for (uint64_t i = 1; i <= 4; i++) expect_nothing(&w, 5, i), expect_nothing(&w, 6, i);
    assert_int_equal(count_files(&w, "projects", ".db"), 1); /* the open one */
    assert_int_equal(count_files(&w, "projects", "0006.db"), 0);
    int64_t n_put = stats_of(&w, STORE_PROJECT).n_put;
    put(&w, 5, 9, "nine"); /* life goes on */
    await_puts(&w, STORE_PROJECT, n_put + 1);
    expect_at(&w, 5, 9, "nine", STORE_DISK);
    assert_non_null(ask(&w, 5, 9, &a));
    while (sem_wait(&w.woken) != 0) {
    } /* is found, but was not told yet */
    clear(&w);
    await(&w, &a);
    assert_int_equal(a.n, 0);
    n_put = stats_of(&w, STORE_PROJECT).n_put;
    put(&w, 5, 9, "nine");
    await_puts(&w, STORE_PROJECT, n_put + 1);
    expect_at(&w, 5, 9, "nine", STORE_DISK);
    restart(&w);
    expect_nothing(&w, 5, 1);
    expect_at(&w, 5, 9, "nine", STORE_DISK);

    store_clear(w.store, NULL, NULL); /* at the end: is still done */
    restart(&w);
    expect_nothing(&w, 5, 9);
    world_close(&w);
}

/* Open databases of projects, as the system sees them; -1: it does not tell. */
static int count_open_projects(const struct world *w)
{
    char link[512], target[512];
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) return -1;
    for (const struct dirent *e; (e = readdir(dir));) {
        snprintf(link, sizeof link, "/proc/self/fd/%s", e->d_name);
        ssize_t len = readlink(link, target, sizeof target - 1);
        if (len < 3) continue;
        target[len] = '\0';
        n += strncmp(target, w->dir, strlen(w->dir)) == 0 && strstr(target, "/projects/") &&
             strcmp(target + len - 4, "-wal") == 0;
    }
    closedir(dir);
    return n;
}

static void test_many_projects(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    start(&w);
    for (uint64_t project = 1; project <= 12; project++) {
        put(&w, project, project, "text");
        await_puts(&w, STORE_PROJECT, (int64_t)project);
        assert_in_range(count_files(&w, "projects", ".db"), 1, STORE_PROJECTS_MAX);
        assert_true(count_open_projects(&w) <= 2 * 4); /* two connections each */
    }
    assert_int_equal(count_files(&w, "projects", ".db"), STORE_PROJECTS_MAX);
    store_free(&w.store);
    delete_shared(&w);
    start(&w);
    for (uint64_t project = 1; project <= 4; project++) expect_nothing(&w, project, project);
    for (uint64_t project = 5; project <= 12; project++) {
        expect_at(&w, project, project, "text", STORE_PROJECT);
        sleep_ms(2); /* so that the times of use differ */
    }
    put(&w, 5, 100, "text"); /* is the latest again ... */
    await_puts(&w, STORE_PROJECT, 1);
    restart(&w);
    put(&w, 13, 13, "text"); /* ... so that 6 goes */
    await_puts(&w, STORE_PROJECT, 1);
    assert_int_equal(count_files(&w, "projects", "0006.db"), 0);
    assert_int_equal(count_files(&w, "projects", "0005.db"), 1);
    world_close(&w);
}

/* There is no place for databases: questions are answered, with nothing. */
static void test_no_place(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    world_open(&w, "/dev/null/nowhere");
    start(&w);
    for (uint64_t i = 0; i < 10; i++) {
        if (ask(&w, 1, i, &a)) await(&w, &a);
        assert_int_equal(a.n, 0);
        put(&w, 1, i, "x");
    }
    for (int ms = 0; ms < WAIT_MS && stats_of(&w, STORE_DISK).is_on; ms += 5) sleep_ms(5);
    assert_false(stats_of(&w, STORE_DISK).is_on);
    clear(&w);
    store_free(&w.store);
    w.dir[0] = '\0';
    world_close(&w);
}

/* Two programs share a directory, and write at once. */
static void test_two_stores(void **state)
{
    (void)state;
    struct world a, b;
    world_open(&a, NULL);
    world_open(&b, a.dir);
    start(&a);
    start(&b);
    for (uint64_t i = 0; i < 200; i++) {
        put(&a, 7, 2 * i, "even");
        put(&b, 7, 2 * i + 1, "odd");
    }
    await_puts(&a, STORE_PROJECT, 200);
    await_puts(&b, STORE_PROJECT, 200);
    for (uint64_t i = 0; i < 200; i++) {
        expect_at(&b, 7, 2 * i, "even", STORE_DISK);
        expect_at(&a, 7, 2 * i + 1, "odd", STORE_DISK);
    }
    clear(&a);
    expect_nothing(&b, 7, 0);
    store_free(&b.store);
    b.dir[0] = '\0';
    world_close(&b);
    world_close(&a);
}

/* Models come and go while answers are written and asked for. */
static void test_makers(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    start(&w);
    store_use_maker(w.store, "models/a.gguf", 7);
    for (uint64_t i = 0; i < 100; i++) put(&w, 3, i, "text");
    await_puts(&w, STORE_PROJECT, 100);
    expect_at(&w, 3, 50, "text", STORE_DISK);
    store_use_maker(w.store, "models/b.gguf", 9);
    store_use_maker(w.store, "models/a.gguf", 8); /* another model at the place of 7 */
    for (int ms = 0; ms < WAIT_MS; ms += 5) {
        if (stats_of(&w, STORE_DISK).n_entries == 0 && stats_of(&w, STORE_PROJECT).n_entries == 0) break;
        sleep_ms(5);
    }
    expect_nothing(&w, 3, 50);
    for (int i = 0; i < 40; i++) { /* more than are remembered */
        char path[32];
        snprintf(path, sizeof path, "models/%d.gguf", i);
        store_use_maker(w.store, path, (uint64_t)i);
    }
    world_close(&w);
}

/* Times that our other threads went to sleep; -1: the system does not tell. */
static long count_sleeps(void)
{
    long n = -1;
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return -1;
    for (const struct dirent *e; (e = readdir(dir));) {
        char path[300], status[4096];
        if (e->d_name[0] == '.' || strtol(e->d_name, NULL, 10) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        if (file_read_head(path, status, sizeof status) == 0) continue;
        const char *line = strstr(status, "voluntary_ctxt_switches:");
        if (line) n = (n < 0 ? 0 : n) + strtol(line + strlen("voluntary_ctxt_switches:"), NULL, 10);
    }
    closedir(dir);
    return n;
}

static void test_idle(void **state)
{
    (void)state;
    struct world w;
#if defined(__SANITIZE_THREAD__)
    skip(); /* has a thread of its own that wakes */
#endif
    world_open(&w, NULL);
    start(&w);
    store_use_maker(w.store, "models/a.gguf", 7);
    put(&w, 3, 1, "text");
    await_puts(&w, STORE_PROJECT, 1);
    expect_at(&w, 3, 1, "text", STORE_DISK);
    sleep_ms(300); /* stats are told, nothing is left to collect */
    long before = count_sleeps();
    sleep_ms(500);
    assert_int_equal(count_sleeps(), before);
    if (before >= 0) assert_true(before > 0);
    world_close(&w);
}

/* ---- The team's server ---- */

static bool team_start(struct redis_server *r, struct world *a, struct world *b)
{
    if (!redis_server_start(r, "")) return false;
    world_open(a, NULL);
    world_open(b, NULL);
    snprintf(a->team, sizeof a->team, "unix:%s", r->socket_path);
    snprintf(b->team, sizeof b->team, "redis://127.0.0.1:%d", r->port);
    start(a);
    start(b);
    if (stats_of(a, STORE_TEAM).is_on) return true;
    world_close(a); /* a build without */
    world_close(b);
    redis_server_stop(r);
    return false;
}

/* What one puts another finds, if the server is not busier than its 5 ms allow. */
static void put_to_team(struct world *w, uint64_t project, uint64_t line, const char *text)
{
    int64_t n = stats_of(w, STORE_TEAM).n_put;
    for (int ms = 0; ms < WAIT_MS && stats_of(w, STORE_TEAM).n_put == n; ms += 20) {
        put(w, project, line, text);
        sleep_ms(20);
    }
    assert_true(stats_of(w, STORE_TEAM).n_put > n);
}

static void find_at_team(struct world *w, uint64_t project, uint64_t line, const char *text)
{
    struct answer a = {0};
    for (int ms = 0; ms < WAIT_MS && a.n == 0; ms += 20) {
        assert_non_null(ask(w, project, line, &a));
        await(w, &a);
        if (a.n == 0) sleep_ms(20);
    }
    assert_int_equal(a.n, 1);
    assert_string_equal(a.text, text);
    assert_int_equal(a.level, STORE_TEAM);
}

static void test_team(void **state)
{
    (void)state;
    struct redis_server r;
    struct world a, b;
    struct answer answer = {0};
    struct store_key key = key_of(1, "");
    if (!team_start(&r, &a, &b)) skip();
    put_to_team(&a, 3, 1, "shared");
    assert_non_null(store_lookup(b.store, &key, 4, true, on_done, &answer)); /* private: does not go out */
    await(&b, &answer);
    assert_int_equal(answer.n, 0);
    assert_int_equal(stats_of(&b, STORE_TEAM).n_asked, 0);

    find_at_team(&b, 4, 1, "shared");
    await_puts(&b, STORE_DISK, 1);
    await_puts(&b, STORE_PROJECT, 1);
    expect_at(&b, 4, 1, "shared", STORE_DISK);
    assert_int_equal(stats_of(&b, STORE_TEAM).n_put, 0); /* never back down */
    store_free(&b.store);
    delete_shared(&b);
    start(&b);
    expect_at(&b, 4, 1, "shared", STORE_PROJECT);

    store_free(&b.store); /* the server alone, without a level above it */
    b.disk_bytes = b.projects_bytes = 0;
    start(&b);
    find_at_team(&b, 4, 1, "shared");
    world_close(&a);
    world_close(&b);
    redis_server_stop(&r);
}

/* The server goes in the middle of everything: every question is answered, from what is left. */
static void test_team_dies(void **state)
{
    (void)state;
    struct redis_server r;
    struct world a, b;
    if (!team_start(&r, &a, &b)) skip();
    put_to_team(&a, 0, 1, "shared");
    int n_late = 0;
    for (uint64_t i = 0; i < 300; i++) {
        struct answer answer;
        if (i == 100) redis_server_kill(&r);
        if (i == 200) redis_server_restart(&r);
        put(&a, 0, 1000 + i, "text");
        int64_t before = clock_ns();
        assert_non_null(ask(&b, 0, 2000 + i, &answer));
        await(&b, &answer);
        n_late += clock_ms_since(before) > 50;
        assert_int_equal(answer.n, 0);
    }
    assert_in_range(n_late, 0, 5); /* a busy machine's, not the server's */
    expect_at(&a, 0, 1099, "text", STORE_DISK);
    put_to_team(&a, 0, 5, "again");
    find_at_team(&b, 0, 5, "again");
    world_close(&a);
    world_close(&b);
    redis_server_stop(&r);
}

static void test_team_address(void **state)
{
    (void)state;
    struct world w;
    struct store_options o = {.dir = "", .team = "nonsense"};
    struct errmsg msg = {0};
    world_open(&w, "");
    enum err err = store_new(&o, &w.store, &msg);
    if (err == OK) { /* a build without that level */
        world_close(&w);
        skip();
    }
    assert_int_equal(err, ERR_ARG);
    assert_null(w.store);
    assert_int_not_equal(strlen(msg.text), 0);
    world_close(&w); /* free tolerates null */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),        cmocka_unit_test(test_levels_off),
        cmocka_unit_test(test_restart),      cmocka_unit_test(test_project_to_disk),
        cmocka_unit_test(test_sharing),      cmocka_unit_test(test_callback_meddles),
        cmocka_unit_test(test_full_lookups), cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_clear),        cmocka_unit_test(test_many_projects),
        cmocka_unit_test(test_no_place),     cmocka_unit_test(test_two_stores),
        cmocka_unit_test(test_makers),       cmocka_unit_test(test_idle),
        cmocka_unit_test(test_team),         cmocka_unit_test(test_team_dies),
        cmocka_unit_test(test_team_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
