/* The request journal on disk: a queue, the thread that writes it, and reading beside it. See journal_disk.h.
 *
 * The loop leaves copies of records in a ring; the thread takes them out in batches, each one transaction. It
 * sleeps while the ring is empty, and after the first record waits for more, so that a disk is bothered once
 * in a while and an idle daemon not at all. A daemon that is killed loses what had not been written.
 *
 * The connection is the thread's alone. Trouble with it is told once; it is opened anew for the next batch.
 */
#include "store/journal_disk.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/thread.h"
#include "store/disk_link.h"
#include "store/journal_table.h"

/* Some seconds of the busiest daemon while a disk is slow; more is dropped. */
#define QUEUE_MAX 4096
/* Written when so many wait, or when the first of them has waited so long. */
#define BATCH_MAX     256
#define BATCH_WAIT_NS ((int64_t)2 * 1000000000)

#define DAY_NS ((int64_t)86400 * 1000000000)
#define DAY_US ((int64_t)86400 * 1000000)

struct item {
    struct journal_record record;
    char model[JOURNAL_NAME_MAX];
};

struct journal_disk {
    char *path, *dir; /* owned */
    int32_t days;
    uint64_t last_id;
    pthread_t thread;

    pthread_mutex_t lock; /* for all below; held for copying only */
    pthread_cond_t changed;
    struct item *ring; /* owned; [QUEUE_MAX] */
    int32_t first, n;
    int64_t first_ns; /* when the first of them came, clock_ns */
    bool is_closing;
    bool has_dropped;

    /* The thread's. */
    sqlite3 *db;          /* null: not open */
    sqlite3_stmt *put;    /* null: not open */
    struct item *batch;   /* owned; [BATCH_MAX] */
    int64_t forgot_at_ns; /* when old records were deleted last; 0: never */
    bool has_failed;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- Writing (the thread) ---- */

static void disconnect(struct journal_disk *d)
{
    sqlite3_finalize(d->put);
    sqlite3_close(d->db);
    d->put = NULL;
    d->db = NULL;
}

static void move_file(const char *path, const char *ending)
{
    struct buf from, to;
    buf_init(&from, strlen(path) + 16);
    buf_init(&to, strlen(path) + 32);
    buf_printf(&from, "%s%s", path, ending);
    buf_printf(&to, "%s.unusable%s", path, ending);
    (void)rename(buf_str(&from), buf_str(&to)); /* what is not there need not move; SQLite sees the rest */
    buf_clear(&from);
    buf_clear(&to);
}

/* Under another name, where the one that was set aside before gives way: somebody may want to look at it, or
 * go back to the version of the program that made it. The log belongs to it. */
static void set_aside(const char *path, const char *why)
{
    log_line(LOG_WARN, "journal %s cannot be used and is set aside as %s.unusable: %s", path, path, why);
    move_file(path, "");
    move_file(path, "-wal");
    move_file(path, "-shm");
}

static const char *why_of(const struct journal_disk *d, int code)
{
    if (code == SQLITE_MISMATCH) return "it is no journal of this version of Inline";
    return d->db && sqlite3_errcode(d->db) == code ? sqlite3_errmsg(d->db) : sqlite3_errstr(code);
}

static int connect_once(struct journal_disk *d)
{
    int code = journal_table_open(d->path, true, &d->db);
    return code == SQLITE_OK ? journal_table_prepare(d->db, JOURNAL_PUT, &d->put) : code;
}

/* Its file may have been deleted by somebody, and its folder. */
static int connect_again(struct journal_disk *d)
{
    if (d->db && file_size(d->path) >= 0) return SQLITE_OK;
    disconnect(d);
    if (dirs_make(d->dir, NULL) != OK) return SQLITE_CANTOPEN;
    int code = connect_once(d);
    if (!disk_link_is_ruin(code)) return code;
    set_aside(d->path, why_of(d, code));
    disconnect(d);
    return connect_once(d);
}

static int forget_old(struct journal_disk *d)
{
    sqlite3_stmt *s = NULL;
    int64_t now = clock_ns();
    if (d->forgot_at_ns > 0 && now - d->forgot_at_ns < DAY_NS) return SQLITE_OK;
    int code = journal_table_prepare(d->db, JOURNAL_DELETE, &s);
    if (code == SQLITE_OK) {
        sqlite3_bind_int64(s, 1, now_us() - d->days * DAY_US);
        code = disk_link_run(s);
    }
    sqlite3_finalize(s);
    if (code == SQLITE_OK) d->forgot_at_ns = now;
    return code;
}

static int write_batch(struct journal_disk *d, int32_t n)
{
    int code = connect_again(d);
    if (code == SQLITE_OK) code = sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int32_t i = 0; code == SQLITE_OK && i < n; i++) {
        journal_table_bind(d->put, &d->batch[i].record, d->batch[i].model);
        code = disk_link_run(d->put);
    }
    if (code == SQLITE_OK) code = forget_old(d);
    return code == SQLITE_OK ? sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL) : code;
}

/* What cannot be written is lost. */
static void write_or_lose(struct journal_disk *d, int32_t n)
{
    int code = write_batch(d, n);
    if (disk_link_is_ruin(code)) {
        set_aside(d->path, why_of(d, code));
        disconnect(d);
        code = write_batch(d, n);
    }
    if (code == SQLITE_OK) return;
    if (!d->has_failed)
        log_line(LOG_WARN, "journal %s cannot be written now, so some requests will be missing in it: %s",
                 d->path, why_of(d, code));
    d->has_failed = true;
    disconnect(d); /* takes back what was begun */
}

/* ---- The queue ---- */

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
}

static int32_t take_batch(struct journal_disk *d)
{
    int32_t n = d->n < BATCH_MAX ? d->n : BATCH_MAX;
    for (int32_t i = 0; i < n; i++) d->batch[i] = d->ring[(d->first + i) % QUEUE_MAX];
    d->n -= n;
    d->first = d->n > 0 ? (d->first + n) % QUEUE_MAX : 0; /* so that most of the ring's memory stays unused */
    d->first_ns = clock_ns();                             /* those left may wait as long again */
    return n;
}

/* Wait until there is a batch worth writing. 0: it is closed, and all is written. */
static int32_t wait_for_batch(struct journal_disk *d)
{
    pthread_mutex_lock(&d->lock);
    while (d->n == 0 && !d->is_closing) pthread_cond_wait(&d->changed, &d->lock);
    struct timespec until = timespec_of(d->first_ns + BATCH_WAIT_NS);
    int failure = 0;
    while (d->n < BATCH_MAX && !d->is_closing && !failure)
        failure = pthread_cond_timedwait(&d->changed, &d->lock, &until);
    int32_t n = take_batch(d);
    pthread_mutex_unlock(&d->lock);
    return n;
}

static void *run(void *arg)
{
    struct journal_disk *d = arg;
    thread_make_batch();
    write_or_lose(d, 0); /* opens it, and deletes what is old */
    for (int32_t n; (n = wait_for_batch(d)) > 0;) write_or_lose(d, n);
    disconnect(d);
    return NULL;
}

void journal_disk_put(void *ctx, const struct journal_record *r, const char *model)
{
    struct journal_disk *d = ctx;
    pthread_mutex_lock(&d->lock);
    bool is_full = d->n == QUEUE_MAX, is_first_drop = is_full && !d->has_dropped;
    d->has_dropped |= is_full;
    if (!is_full) {
        struct item *item = &d->ring[(d->first + d->n++) % QUEUE_MAX];
        item->record = *r;
        snprintf(item->model, sizeof item->model, "%s", model);
        if (d->n == 1) d->first_ns = clock_ns();
        if (d->n == 1 || d->n == BATCH_MAX) pthread_cond_signal(&d->changed);
    }
    pthread_mutex_unlock(&d->lock);
    if (is_first_drop)
        log_line(LOG_WARN, "journal %s: the disk is too slow, so some requests will be missing in it",
                 d->path);
}

/* ---- Opening ---- */

static uint64_t find_last_id(const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t id = 0;
    if (file_size(path) < 0) return 0;
    int code = journal_table_open(path, false, &db);
    if (code == SQLITE_OK) code = journal_table_prepare(db, JOURNAL_LAST_ID, &s);
    if (code == SQLITE_OK) (void)disk_link_get(s, &id); /* the thread will tell what is wrong with it */
    sqlite3_finalize(s);
    sqlite3_close(db);
    return id > 0 ? (uint64_t)id : 0;
}

static char *dir_of(const char *path)
{
    char *dir = mem_dup_str(path);
    char *slash = strrchr(dir, '/');
    if (slash && slash != dir) *slash = '\0';
    if (slash) return dir;
    mem_free(dir);
    return mem_dup_str(".");
}

static void init_lock(struct journal_disk *d)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* as clock_ns */
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&d->lock, NULL);
}

static void destroy(struct journal_disk *d)
{
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
    mem_free(d->ring);
    mem_free(d->batch);
    mem_free(d->path);
    mem_free(d->dir);
    mem_free(d);
}

enum err journal_disk_open(const char *path, int32_t days, struct journal_disk **out, struct errmsg *msg)
{
    *out = NULL;
    if (days < 1) return err_set(msg, ERR_ARG, "%d days of requests to keep; at least 1", days);
    struct journal_disk *d = MEM_NEW(struct journal_disk);
    enum err err = OK;
    d->path = mem_dup_str(path);
    d->dir = dir_of(path);
    d->days = days;
    d->ring = mem_try(QUEUE_MAX, sizeof *d->ring); /* large: pages are given when they are used */
    d->batch = mem_try(BATCH_MAX, sizeof *d->batch);
    init_lock(d);
    if (!d->ring || !d->batch) err = err_set(msg, ERR_NOMEM, "%s: not enough memory", path);
    if (!err) d->last_id = find_last_id(path);
    int failure = err ? 0 : thread_create(&d->thread, run, d);
    if (failure) err = err_set(msg, ERR_IO, "%s: cannot start a thread: %s", path, strerror(failure));
    if (err)
        destroy(d);
    else
        *out = d;
    return err;
}

void journal_disk_close(struct journal_disk **d)
{
    if (!*d) return;
    pthread_mutex_lock(&(*d)->lock);
    (*d)->is_closing = true;
    pthread_cond_signal(&(*d)->changed);
    pthread_mutex_unlock(&(*d)->lock);
    pthread_join((*d)->thread, NULL);
    destroy(*d);
    *d = NULL;
}

uint64_t journal_disk_last_id(const struct journal_disk *d)
{
    return d->last_id;
}

/* ---- Reading ---- */

struct reader {
    sqlite3 *db;
    sqlite3_stmt *statement;
};

static enum err reader_fail(const struct reader *r, const char *path, int code, struct errmsg *msg)
{
    if (code == SQLITE_EMPTY) return err_set(msg, ERR_NOT_FOUND, "%s: there are no requests in it", path);
    if (code == SQLITE_MISMATCH)
        return err_set(msg, ERR_FORMAT, "%s: no journal of this version of Inline", path);
    bool is_told = r->db && sqlite3_errcode(r->db) == code;
    return err_set(msg, disk_link_is_ruin(code) ? ERR_FORMAT : ERR_IO, "%s: %s", path,
                   is_told ? sqlite3_errmsg(r->db) : sqlite3_errstr(code));
}

static enum err reader_open(struct reader *r, const char *path, enum journal_statement which,
                            struct errmsg *msg)
{
    *r = (struct reader){0};
    if (file_size(path) < 0) return err_set(msg, ERR_NOT_FOUND, "%s: there is no such file", path);
    int code = journal_table_open(path, false, &r->db);
    if (code == SQLITE_OK) code = journal_table_prepare(r->db, which, &r->statement);
    return code == SQLITE_OK ? OK : reader_fail(r, path, code, msg);
}

static void reader_close(struct reader *r)
{
    sqlite3_finalize(r->statement);
    sqlite3_close(r->db);
}

enum err journal_disk_find(const char *path, uint64_t id, struct journal_record *out,
                           char model[static JOURNAL_NAME_MAX], struct errmsg *msg)
{
    struct reader r;
    enum err err = reader_open(&r, path, JOURNAL_BY_ID, msg);
    if (!err) {
        sqlite3_bind_int64(r.statement, 1, (int64_t)id);
        int code = sqlite3_step(r.statement);
        if (code == SQLITE_ROW)
            journal_table_read(r.statement, out, model);
        else if (code == SQLITE_DONE)
            err = err_set(msg, ERR_NOT_FOUND, "no request %" PRIu64 " is kept", id);
        else
            err = reader_fail(&r, path, code, msg);
    }
    reader_close(&r);
    return err;
}

enum err journal_disk_list(const char *path, int64_t since_us, int32_t max,
                           void (*each)(void *ctx, const struct journal_record *r, const char *model),
                           void *ctx, struct errmsg *msg)
{
    struct reader r;
    struct journal_record record;
    char model[JOURNAL_NAME_MAX];
    enum err err = reader_open(&r, path, JOURNAL_SINCE, msg);
    if (!err) {
        int code;
        sqlite3_bind_int64(r.statement, 1, since_us);
        sqlite3_bind_int(r.statement, 2, max < 0 ? 0 : max);
        while ((code = sqlite3_step(r.statement)) == SQLITE_ROW) {
            journal_table_read(r.statement, &record, model);
            each(ctx, &record, model);
        }
        if (code != SQLITE_DONE) err = reader_fail(&r, path, code, msg);
    }
    reader_close(&r);
    return err;
}
