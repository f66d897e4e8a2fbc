/* The disk cache's transactions: putting, touching, evicting. See disk_cache.h.
 *
 * The ceiling is kept by two bounds. The database never has more than max_pages pages; rows are evicted so
 * that some of those are free before anything is added. The log never has more than max_log_bytes: a
 * transaction begins only if there is room for the largest one, and the log is emptied in good time. How much
 * a transaction writes is bounded by what it does: a row that is added or deleted changes one page of the
 * index, at random, and its share of the table's. */
#include "store/disk_cache_impl.h"

#include <string.h>

#include "os/file.h"

/* Of one transaction, so that its pages are within DISK_TRANSACTION_BYTES: at most 64 + 32 + 160 rows change
 * as many pages of the index, and 256 KB of records 64 of the table, which leaves as many again. */
#define PUTS_MAX      32
#define PUT_BYTES_MAX ((size_t)256 << 10)
#define EVICTED_MAX   160
#define EVICTED_STEP  16

/* Pages that stay free, for splits in both trees. */
#define PAGES_SPARE 64

/* Transactions of evicting before one of putting, in which even 8 MB of small records give way. */
#define ROUNDS_MAX 64

/* ---- Transactions ---- */

void disk_checkpoint(struct disk_cache *d)
{
    /* Busy: somebody reads. It will be tried again. */
    sqlite3_wal_checkpoint_v2(d->writer.link.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

int disk_begin(struct disk_cache *d)
{
    struct disk_link *l = &d->writer.link;
    for (int i = 0; i < 2; i++) {
        int code = disk_link_run(disk_link_sql(l, SQL_BEGIN));
        if (code != SQLITE_OK) return code;
        /* Now nobody else writes, so that what the log measures is what it is. */
        if (file_size(d->log_path) <= d->max_log_bytes - DISK_TRANSACTION_BYTES) return SQLITE_OK;
        disk_link_run(disk_link_sql(l, SQL_ROLLBACK));
        disk_checkpoint(d);
    }
    return SQLITE_BUSY;
}

int disk_end(struct disk_cache *d, int code)
{
    struct disk_link *l = &d->writer.link;
    if (code == SQLITE_OK) code = disk_link_run(disk_link_sql(l, SQL_COMMIT));
    if (code != SQLITE_OK) {
        if (!sqlite3_get_autocommit(l->db)) disk_link_run(disk_link_sql(l, SQL_ROLLBACK));
        return code;
    }
    /* Halfway to where no transaction could begin: time to try again while somebody reads. */
    if (file_size(d->log_path) > (d->max_log_bytes - DISK_TRANSACTION_BYTES) / 2) disk_checkpoint(d);
    return SQLITE_OK;
}

/* ---- Evicting ---- */

static int count_room(struct disk_cache *d, int64_t *n_pages)
{
    int64_t pages = 0, free = 0;
    struct disk_link *l = &d->writer.link;
    int code = disk_link_get(disk_link_sql(l, SQL_PAGES), &pages);
    if (code == SQLITE_OK) code = disk_link_get(disk_link_sql(l, SQL_FREE_PAGES), &free);
    *n_pages = d->max_pages - pages + free;
    return code;
}

static void count_rows(struct disk_cache *d, int64_t more)
{
    if (d->n_entries >= 0) d->n_entries += more;
}

/* Evict as much as this transaction may, until so many pages are free. */
static int evict(struct disk_cache *d, int64_t n_pages, bool *is_done)
{
    int64_t room = 0;
    struct disk_link *l = &d->writer.link;
    int code = count_room(d, &room);
    for (int n = 0; code == SQLITE_OK && room < n_pages && n < EVICTED_MAX; n += EVICTED_STEP) {
        sqlite3_stmt *s = disk_link_sql(l, SQL_EVICT);
        sqlite3_bind_int(s, 1, EVICTED_STEP);
        code = disk_link_run(s);
        int gone = sqlite3_changes(l->db);
        if (code != SQLITE_OK || gone == 0) break;
        d->n_evicted += gone;
        count_rows(d, -gone);
        code = count_room(d, &room);
    }
    *is_done = room >= n_pages;
    return code;
}

/* Begin a transaction with so many pages free. */
static int begin_with_room(struct disk_cache *d, int64_t n_pages)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        bool is_done = false;
        int code = disk_begin(d);
        if (code != SQLITE_OK) return code;
        code = evict(d, n_pages + PAGES_SPARE, &is_done);
        if (code == SQLITE_OK && is_done) return SQLITE_OK;
        code = disk_end(d, code);
        if (code != SQLITE_OK) return code;
    }
    return SQLITE_FULL;
}

/* ---- Putting ---- */

static bool is_same_key(const struct record *a, const struct record *b)
{
    return a->line[0] == b->line[0] && a->line[1] == b->line[1] && a->typed_len == b->typed_len &&
           (a->typed_len == 0 || memcmp(a->typed, b->typed, a->typed_len) == 0);
}

/* The row at r's key; 0: none among the ones that finding looks at. */
static int find_row(struct disk_cache *d, const struct record *r, int64_t *id)
{
    int code;
    struct record other;
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_OF_LINE);
    sqlite3_bind_int64(s, 1, (int64_t)r->line[0]);
    sqlite3_bind_int(s, 2, DISK_ROWS_MAX);
    *id = 0;
    while (*id == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *bytes = sqlite3_column_blob(s, 1);
        size_t len = (size_t)sqlite3_column_bytes(s, 1);
        if (bytes && record_read(bytes, len, &other) == OK && is_same_key(r, &other)) {
            *id = sqlite3_column_int64(s, 0);
        }
    }
    return sqlite3_reset(s);
}

static int run_with_id(struct disk_cache *d, enum disk_sql sql, int64_t id)
{
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, sql);
    sqlite3_bind_int64(s, 1, id);
    return disk_link_run(s);
}

static int put_record(struct disk_cache *d, const struct disk_put *put)
{
    struct record r;
    int64_t old;
    if (record_read(put->bytes, put->len, &r) != OK) return SQLITE_OK; /* it could never be found */
    int code = find_row(d, &r, &old);
    if (code == SQLITE_OK && old != 0) code = run_with_id(d, SQL_DELETE, old);
    if (code != SQLITE_OK) return code;
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_ADD);
    sqlite3_bind_int64(s, 1, (int64_t)r.line[0]);
    sqlite3_bind_int64(s, 2, (int64_t)r.maker);
    sqlite3_bind_blob(s, 3, put->bytes, (int)put->len, SQLITE_STATIC);
    code = disk_link_run(s);
    sqlite3_clear_bindings(s); /* the bytes are the caller's */
    if (code == SQLITE_OK && old == 0) count_rows(d, 1);
    return code;
}

static int put_together(struct disk_cache *d, const struct disk_put *puts, int32_t n)
{
    int64_t n_pages = 0;
    for (int32_t i = 0; i < n; i++) n_pages += (int64_t)puts[i].len / (DISK_PAGE_BYTES / 2) + 1;
    int code = begin_with_room(d, n_pages);
    if (code != SQLITE_OK) return code;
    for (int32_t i = 0; i < n && code == SQLITE_OK; i++) code = put_record(d, &puts[i]);
    return disk_end(d, code);
}

/* How many of them go into one transaction. */
static int32_t count_together(const struct disk_put *puts, int32_t n)
{
    size_t bytes = 0;
    int32_t i = 0;
    while (i < n && i < PUTS_MAX && (i == 0 || bytes + puts[i].len <= PUT_BYTES_MAX)) bytes += puts[i++].len;
    return i;
}

void disk_cache_put(struct disk_cache *d, const struct disk_put *puts, int32_t n)
{
    for (int32_t n_now; n > 0; puts += n_now, n -= n_now) {
        n_now = count_together(puts, n);
        if (!disk_writer_is_ready(d)) {
            atomic_fetch_add_explicit(&d->n_failed, 1, memory_order_relaxed);
            return;
        }
        int code = put_together(d, puts, n_now);
        if (code != SQLITE_OK) {
            disk_failed(d, &d->writer, code);
        } else {
            disk_worked(d, &d->writer);
        }
    }
}

/* ---- Touching ---- */

/* Ids from here on were used lately enough. */
static int find_middle(struct disk_cache *d, int64_t *middle)
{
    int64_t first = 0, last = 0;
    int code = disk_link_get(disk_link_sql(&d->writer.link, SQL_FIRST_ID), &first);
    if (code == SQLITE_OK) code = disk_link_get(disk_link_sql(&d->writer.link, SQL_LAST_ID), &last);
    *middle = first / 2 + last / 2;
    return code;
}

/* Most of what is used was used lately, and then nothing is written. */
static int touch(struct disk_cache *d, const struct disk_put *used, int32_t n)
{
    struct record r;
    int64_t middle, id, old[PUTS_MAX];
    int32_t n_old = 0;
    int code = find_middle(d, &middle);
    for (int32_t i = 0; i < n && code == SQLITE_OK; i++) {
        if (record_read(used[i].bytes, used[i].len, &r) != OK) continue;
        code = find_row(d, &r, &id);
        if (id != 0 && id < middle) old[n_old++] = id;
    }
    if (code != SQLITE_OK || n_old == 0) return code;
    code = begin_with_room(d, n_old);
    if (code != SQLITE_OK) return code;
    for (int32_t i = 0; i < n_old && code == SQLITE_OK; i++) code = run_with_id(d, SQL_RENEW, old[i]);
    return disk_end(d, code);
}

void disk_cache_touch(struct disk_cache *d, const struct disk_put *used, int32_t n)
{
    for (int32_t n_now; n > 0; used += n_now, n -= n_now) {
        n_now = count_together(used, n);
        if (!disk_writer_is_ready(d)) return;
        int code = touch(d, used, n_now);
        if (code != SQLITE_OK) {
            disk_failed(d, &d->writer, code);
        } else {
            disk_worked(d, &d->writer);
        }
    }
}
