/* The second and third levels: two full databases of 256 MB, one for everything and one of a project, looked
 * up as the daemon does it, through the store's threads from the question to its call back, while other
 * processes write to both as fast as they were told.
 *
 * The project's records are in its database alone: a look-up there comes after one in the other that finds
 * nothing. What is read was written just before and is in the page cache. */
#include "cli/bench/cache.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "os/clock.h"
#include "os/thread.h"
#include "store/store.h"

#define DATABASE_BYTES 256000000
#define BATCH          100000 /* records that are put in order while a database is filled */
#define PUTS           1000   /* of these at a time */
#define WRITER_BATCHES 50 /* transactions a second of each writer: what came in 20 ms is written together */
#define LOOKUPS_MAX    200000
#define PAUSE_NS       1000000 /* between look-ups; nobody types so fast */
#define PATIENCE_MS    1000    /* from then on it is told how far filling has come */
#define N_OPENS        5
#define PROJECT        0x6120 /* any number but 0 */
#define RECORD_MAX     ((size_t)4096)
#define PATH_SIZE      4096

enum { SET_DISK = 1, SET_PROJECT, SET_WRITTEN };

static void database_path(const char *dir, bool is_project, char out[PATH_SIZE])
{
    if (is_project)
        snprintf(out, PATH_SIZE, "%s/projects/%016x.db", dir, PROJECT);
    else
        snprintf(out, PATH_SIZE, "%s/answers.db", dir);
}

/* --- Records for a database --------------------------------------------------------------------------- */

struct item {
    uint64_t line;
    size_t at, len; /* in bytes */
};

struct batch {
    struct buf bytes; /* of all records, one after the other */
    struct buf one;
    struct item *items;    /* [n] */
    struct disk_put *puts; /* [n]: views of bytes */
    int32_t n;
};

static void batch_free(struct batch *b)
{
    buf_clear(&b->bytes);
    buf_clear(&b->one);
    mem_free(b->items);
    mem_free(b->puts);
    *b = (struct batch){0};
}

static enum err batch_init(struct batch *b, int32_t max)
{
    *b = (struct batch){.items = mem_try((size_t)max, sizeof *b->items),
                        .puts = mem_try((size_t)max, sizeof *b->puts)};
    buf_init(&b->bytes, RECORD_MAX * (size_t)max);
    buf_init(&b->one, RECORD_MAX);
    return b->items && b->puts ? OK : ERR_NOMEM;
}

static int by_line(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->line > y->line) - (x->line < y->line);
}

/* Records first..first+n-1 of a set, in the order of their lines: a database takes them several times faster
 * when those that belong to the same page of its index come together, and is the same afterwards. */
static enum err batch_fill(struct batch *b, uint64_t set, uint64_t first, int32_t n)
{
    buf_reset(&b->bytes);
    for (int32_t i = 0; i < n; i++) {
        char typed[BENCH_TYPED_MAX];
        struct store_key key;
        size_t second;
        enum err err = bench_cache_record(set, first + (uint64_t)i, &b->one, &second);
        if (err) return err;
        bench_cache_key(set, first + (uint64_t)i, 0, typed, &key);
        b->items[i] = (struct item){.line = key.line[0], .at = b->bytes.len, .len = b->one.len};
        buf_add(&b->bytes, b->one.data, b->one.len);
    }
    if (b->bytes.err) return b->bytes.err;
    qsort(b->items, (size_t)n, sizeof *b->items, by_line);
    for (int32_t i = 0; i < n; i++)
        b->puts[i] = (struct disk_put){b->bytes.data + b->items[i].at, b->items[i].len};
    b->n = n;
    return OK;
}

/* --- Full databases ----------------------------------------------------------------------------------- */

static enum err put_all(struct disk_cache *db, uint64_t set, int64_t n, const atomic_bool *interrupted)
{
    struct batch b;
    struct meter meter;
    enum err err = batch_init(&b, BATCH);
    int64_t start = clock_ns(), bytes = 0;
    meter_init(&meter, set == SET_DISK ? "filling the database" : "filling a project's database");
    for (int64_t i = 0; i < n && !err; i += b.n) {
        err = batch_fill(&b, set, (uint64_t)i, n - i < BATCH ? (int32_t)(n - i) : BATCH);
        for (int32_t p = 0; p < b.n && !err; p += PUTS) {
            disk_cache_put(db, b.puts + p, b.n - p < PUTS ? b.n - p : PUTS);
            if (atomic_load_explicit(interrupted, memory_order_relaxed)) err = ERR_CANCELLED;
        }
        bytes += (int64_t)b.bytes.len;
        if (!err && clock_ms_since(start) > PATIENCE_MS)
            meter_update(&meter, bytes, bytes * n / (i + b.n), "");
    }
    meter_end(&meter);
    batch_free(&b);
    return err;
}

static enum err fill(const struct bench_cache_plan *plan, const char *dir, bool is_project,
                     const atomic_bool *interrupted, struct bench_cache_level *out, struct errmsg *msg)
{
    char path[PATH_SIZE];
    struct disk_cache *db = NULL;
    struct disk_stats stats;
    database_path(dir, is_project, path);
    enum err err = disk_cache_open(path, DATABASE_BYTES, &db, msg);
    if (err) return err;
    err = put_all(db, is_project ? SET_PROJECT : SET_DISK, plan->n_entries, interrupted);
    disk_cache_stats(db, &stats);
    out->n_entries = stats.n_entries;
    out->n_bytes = stats.n_bytes;
    disk_cache_close(&db);
    if (err) return err_set(msg, err, "%s: cannot fill it: %s", path, err_text(err));
    return stats.n_failed > 0 || stats.n_entries == 0
               ? err_set(msg, ERR_IO, "%s: the database did not take what was put", path)
               : OK;
}

static enum err time_opening(const char *dir, double *ms, struct errmsg *msg)
{
    char path[PATH_SIZE];
    enum err err = OK;
    database_path(dir, false, path);
    for (int32_t i = 0; i < N_OPENS && !err; i++) {
        struct disk_cache *db = NULL;
        int64_t start = clock_ns();
        err = disk_cache_open(path, DATABASE_BYTES, &db, msg);
        double took = clock_ms_since(start);
        if (took > *ms) *ms = took;
        disk_cache_close(&db);
    }
    return err;
}

/* --- Writers ------------------------------------------------------------------------------------------ */

/* A process of its own, as everybody who writes to a database beside the daemon. In shared memory. */
struct writer {
    pid_t pid, parent;
    const char *dir;
    int64_t rate;
    uint64_t first; /* number of its next record */
    atomic_bool *is_over;
    int64_t n_written, n_failed; /* failed: transactions, of either database */
    enum err err;                /* why it stopped early */
};

static void write_paced(struct writer *w, struct disk_cache *const dbs[2], struct batch *b, int32_t n)
{
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    const long pause_ns = (long)(1000000000 * (int64_t)n / w->rate);
    while (!atomic_load_explicit(w->is_over, memory_order_relaxed) && getppid() == w->parent && !w->err) {
        w->err = batch_fill(b, SET_WRITTEN, w->first, n);
        for (int i = 0; i < 2 && !w->err; i++) disk_cache_put(dbs[i], b->puts, n);
        w->first += (uint64_t)n;
        w->n_written += n;
        next.tv_sec += (next.tv_nsec + pause_ns) / 1000000000;
        next.tv_nsec = (next.tv_nsec + pause_ns) % 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
}

static void run_writer(struct writer *w)
{
    struct disk_cache *dbs[2] = {0};
    struct batch b;
    int32_t n = w->rate < WRITER_BATCHES ? 1 : (int32_t)(w->rate / WRITER_BATCHES);
    w->err = batch_init(&b, n);
    for (int i = 0; i < 2 && !w->err; i++) {
        char path[PATH_SIZE];
        database_path(w->dir, i == 1, path);
        w->err = disk_cache_open(path, DATABASE_BYTES, &dbs[i], NULL);
    }
    if (!w->err) write_paced(w, dbs, &b, n);
    for (int i = 0; i < 2; i++) {
        struct disk_stats stats = {0};
        if (dbs[i]) disk_cache_stats(dbs[i], &stats);
        w->n_failed += stats.n_failed;
        disk_cache_close(&dbs[i]);
    }
    batch_free(&b);
}

struct writers {
    struct writer list[BENCH_CACHE_WRITERS_MAX];
    int32_t n; /* that run */
    atomic_bool is_over;
    int64_t start_ns;
};

/* Before there are threads. */
static enum err writers_start(struct writers *w, const struct bench_cache_plan *plan, const char *dir,
                              struct errmsg *msg)
{
    pid_t parent = getpid();
    atomic_init(&w->is_over, false);
    w->start_ns = clock_ns();
    for (int64_t i = 0; i < plan->n_writers; i++) {
        struct writer *writer = &w->list[i];
        *writer = (struct writer){.parent = parent,
                                  .dir = dir,
                                  .rate = plan->rate,
                                  .first = (uint64_t)i << 32,
                                  .is_over = &w->is_over};
        pid_t pid = fork();
        if (pid < 0) return err_set(msg, ERR_LIMIT, "cannot start another process");
        if (pid == 0) {
            run_writer(writer);
            _exit(0);
        }
        writer->pid = pid;
        w->n++;
    }
    return OK;
}

static enum err writers_stop(struct writers *w, struct bench_cache_report *out, struct errmsg *msg)
{
    enum err err = OK;
    atomic_store_explicit(&w->is_over, true, memory_order_relaxed);
    out->written_seconds = clock_ms_since(w->start_ns) / 1000;
    for (int32_t i = 0; i < w->n; i++) {
        while (waitpid(w->list[i].pid, NULL, 0) < 0 && errno == EINTR) continue;
        out->n_written += w->list[i].n_written;
        out->n_failed += w->list[i].n_failed;
        if (!err) err = w->list[i].err;
    }
    return err ? err_set(msg, err, "a writer failed: %s", err_text(err)) : OK;
}

/* --- Look-ups ----------------------------------------------------------------------------------------- */

/* Stands for the daemon's loop: sleeps until a thread of the store has something for it. */
struct loop {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool is_woken; /* under lock */
    bool is_done;  /* the look-up's call back came; of this thread */
    int32_t n_found;
};

/* Signals without the lock: a loop that took the processor from this thread would find it locked. */
static void wake(void *ctx)
{
    struct loop *l = ctx;
    pthread_mutex_lock(&l->lock);
    l->is_woken = true;
    pthread_mutex_unlock(&l->lock);
    pthread_cond_signal(&l->woken);
}

static void sleep_until_woken(struct loop *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->is_woken) pthread_cond_wait(&l->woken, &l->lock);
    l->is_woken = false;
    pthread_mutex_unlock(&l->lock);
}

static void on_found(void *ctx, const struct store_found *found)
{
    struct loop *l = ctx;
    l->is_done = true;
    l->n_found += found->n > 0;
}

/* Milliseconds; negative: the store took no question. */
static double look_up(struct store *s, struct loop *l, const struct store_key *key, bool is_project)
{
    int64_t start = clock_ns();
    l->is_done = false;
    if (!store_lookup(s, key, is_project ? PROJECT : 0, false, on_found, l)) return -1;
    while (!l->is_done) {
        sleep_until_woken(l);
        store_poll(s);
    }
    return clock_ms_since(start);
}

static enum err measure(struct store *s, struct loop *l, const struct bench_cache_plan *plan, bool is_project,
                        const atomic_bool *interrupted, struct bench_cache_level *out, struct errmsg *msg)
{
    double *ms = mem_try(LOOKUPS_MAX, sizeof *ms);
    enum err err = ms ? OK : err_set(msg, ERR_NOMEM, "not enough memory");
    int64_t start = clock_ns();
    /* The records that fit are the last ones; what the writers write makes some of the oldest go. */
    uint64_t to = (uint64_t)plan->n_entries, state = 1;
    uint64_t from = to > (uint64_t)out->n_entries ? to - (uint64_t)out->n_entries : 0;
    int32_t n = 0;
    l->n_found = 0;
    while (!err && n < LOOKUPS_MAX && clock_ms_since(start) < plan->seconds * 1000) {
        char typed[BENCH_TYPED_MAX];
        struct store_key key;
        bench_cache_question(is_project ? SET_PROJECT : SET_DISK, from, to, &state, typed, &key);
        ms[n] = look_up(s, l, &key, is_project);
        if (ms[n++] < 0) err = err_set(msg, ERR_IO, "the store answers no questions");
        if (atomic_load_explicit(interrupted, memory_order_relaxed))
            err = err_set(msg, ERR_CANCELLED, "interrupted");
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    if (!err) {
        out->n_lookups = n;
        out->n_found = l->n_found;
        out->p50_ms = bench_percentile(ms, n, 0.5);
        out->p99_ms = bench_percentile(ms, n, 0.99);
        out->max_ms = bench_percentile(ms, n, 1);
    }
    mem_free(ms);
    return err;
}

static enum err measure_both(const struct bench_cache_plan *plan, const char *dir,
                             const atomic_bool *interrupted, struct bench_cache_report *out,
                             struct errmsg *msg)
{
    struct loop l = {.lock = PTHREAD_MUTEX_INITIALIZER, .woken = PTHREAD_COND_INITIALIZER};
    struct store_options o = {.dir = dir,
                              .disk_bytes = DATABASE_BYTES,
                              .projects_bytes = (int64_t)DATABASE_BYTES * STORE_PROJECTS_MAX,
                              .team = "",
                              .wake = wake,
                              .ctx = &l};
    struct store *s = NULL;
    struct writers *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED) return err_set(msg, ERR_NOMEM, "not enough memory");
    enum err err = writers_start(w, plan, dir, msg);
    struct errmsg ignored;
    if (!err) err = store_new(&o, &s, msg);
    if (!err) {
        thread_make_prompt(); /* as the daemon's loop */
        err = measure(s, &l, plan, false, interrupted, &out->l2, msg);
        if (!err) err = measure(s, &l, plan, true, interrupted, &out->l3, msg);
    }
    enum err failure = writers_stop(w, out, err ? &ignored : msg);
    store_free(&s);
    munmap(w, sizeof *w);
    return err ? err : failure;
}

enum err bench_cache_disk(const struct bench_cache_plan *plan, const char *dir,
                          struct bench_cache_report *out, struct errmsg *msg)
{
    struct sigaction before;
    const atomic_bool *interrupted = interrupt_begin(&before);
    enum err err = fill(plan, dir, false, interrupted, &out->l2, msg);
    if (!err) err = fill(plan, dir, true, interrupted, &out->l3, msg);
    if (!err) err = time_opening(dir, &out->open_ms, msg);
    if (!err) err = measure_both(plan, dir, interrupted, out, msg);
    interrupt_end(&before);
    return err;
}
