/* The disk cache: opening, finding, and what happens when something is wrong. See disk_cache.h.
 *
 * Each of the two threads has a connection of its own. Only the writer's changes files: when the finder comes
 * across damage it tells the writer, which acts before it writes next; until then finding means missing.
 *
 * A database is recognised as replaced by device and inode, before each use. Starting anew deletes the files:
 * whoever has the old ones open goes on with those until it notices. SQLite warns of that because what is
 * written then is lost, which a cache can bear; records prove themselves whole and in place when read. */
#include "store/disk_cache_impl.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/dirs.h"
#include "os/file.h"

/* A side that failed is left alone this long, doubled each time in a row. */
#define RETRY_NS_MIN ((int64_t)100 * 1000000)
#define RETRY_NS_MAX ((int64_t)2000 * 1000000)

/* On a disk that is almost full, some writes fail and some work: that is one trouble. */
#define LOG_AGAIN_NS ((int64_t)60 * 1000000000)

/* The index of the log, for as many frames as the log may have (SQLite's file format, section 4.3: blocks of
 * 32 KB, for 4062 frames and then 4096 each). */
static int64_t index_bytes(int64_t log_bytes)
{
    int64_t n_frames = log_bytes / DISK_PAGE_BYTES;
    return (n_frames / 4062 + 1) * 32768;
}

/* ---- Faults ---- */

static void leave_alone(struct disk_side *s)
{
    s->retry_ns = s->retry_ns ? 2 * s->retry_ns : RETRY_NS_MIN;
    if (s->retry_ns > RETRY_NS_MAX) s->retry_ns = RETRY_NS_MAX;
    s->retry_at_ns = clock_ns() + s->retry_ns;
}

static void note_down(struct disk_cache *d, struct disk_side *s, int code)
{
    leave_alone(s);
    if (atomic_fetch_or_explicit(&d->down, s->bit, memory_order_relaxed) != 0) return;
    int64_t now = clock_ns(), last = atomic_load_explicit(&d->logged_at_ns, memory_order_relaxed);
    if (last == 0 || now - last > LOG_AGAIN_NS) {
        atomic_store_explicit(&d->logged_at_ns, now, memory_order_relaxed);
        log_line(LOG_WARN, "cache %s cannot be used now: %s", d->path, disk_link_why(&s->link, code));
    }
}

void disk_worked(struct disk_cache *d, struct disk_side *s)
{
    s->retry_ns = 0;
    s->retry_at_ns = 0;
    if (atomic_load_explicit(&d->down, memory_order_relaxed) & s->bit) {
        atomic_fetch_and_explicit(&d->down, ~s->bit, memory_order_relaxed);
    }
}

/* A lock or a full disk passes; after anything else a connection may be in any state. */
static bool is_passing(int code)
{
    int kind = code & 0xff;
    return kind == SQLITE_BUSY || kind == SQLITE_LOCKED || kind == SQLITE_FULL || kind == SQLITE_PROTOCOL;
}

static void rebuild(struct disk_cache *d, const char *why)
{
    char text[128];
    strncpy(text, why, sizeof text - 1); /* the connection's, which is closed now */
    text[sizeof text - 1] = '\0';
    d->n_rebuilt++;
    int code = disk_start_anew(d);
    if (code == SQLITE_OK) {
        log_line(LOG_WARN, "cache %s is of no use, an empty one takes its place: %s", d->path, text);
        disk_worked(d, &d->writer);
    } else {
        note_down(d, &d->writer, code);
        disk_link_close(&d->writer.link);
    }
}

void disk_failed(struct disk_cache *d, struct disk_side *s, int code)
{
    atomic_fetch_add_explicit(&d->n_failed, 1, memory_order_relaxed);
    if (s == &d->writer) d->n_entries = -1;
    if (!disk_link_is_ruin(code)) {
        note_down(d, s, code);
    } else if (s == &d->writer) {
        rebuild(d, disk_link_why(&s->link, code));
        return;
    } else {
        atomic_store_explicit(&d->ruin, code, memory_order_relaxed);
    }
    if (!is_passing(code)) disk_link_close(&s->link);
}

/* ---- The writer's connection ---- */

static int open_writer(struct disk_cache *d)
{
    struct errmsg msg;
    d->n_entries = -1;
    d->n_bad_rows = 0;
    if (dirs_make(d->dir, &msg) != OK) return SQLITE_CANTOPEN;
    return disk_link_open(&d->writer.link, DISK_WRITER, d->path, d->max_pages);
}

int disk_start_anew(struct disk_cache *d)
{
    disk_link_close(&d->writer.link);
    /* In this order: SQLite deletes the log of a database that is missing. */
    unlink(d->path);
    unlink(d->log_path);
    unlink(d->index_path);
    atomic_store_explicit(&d->bad_row, 0, memory_order_relaxed);
    atomic_store_explicit(&d->ruin, SQLITE_OK, memory_order_relaxed);
    return open_writer(d);
}

static void open_or_rebuild(struct disk_cache *d)
{
    int code = open_writer(d);
    if (code == SQLITE_OK) return;
    if (disk_link_is_ruin(code)) {
        rebuild(d, disk_link_why(&d->writer.link, code));
    } else {
        note_down(d, &d->writer, code);
        disk_link_close(&d->writer.link);
    }
}

/* Damage that SQLite does not see is in one record, until it is in many. */
static void remove_bad_row(struct disk_cache *d)
{
    int64_t row = atomic_exchange_explicit(&d->bad_row, 0, memory_order_relaxed);
    if (row == 0) return;
    const int32_t max_bad_rows = 16;
    if (++d->n_bad_rows > max_bad_rows) {
        rebuild(d, "too many damaged records");
        return;
    }
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_DELETE);
    sqlite3_bind_int64(s, 1, row);
    int code = disk_link_run(s);
    if (code == SQLITE_OK) {
        log_line(LOG_WARN, "cache %s: deleted a damaged record", d->path);
        d->n_entries = -1;
    } else {
        disk_failed(d, &d->writer, code);
    }
}

bool disk_writer_is_ready(struct disk_cache *d)
{
    struct disk_link *l = &d->writer.link;
    if (d->writer.retry_at_ns > clock_ns()) return false;
    if (l->db && disk_link_is_moved(l, d->path)) disk_link_close(l);
    int ruin = atomic_load_explicit(&d->ruin, memory_order_relaxed);
    if (ruin != SQLITE_OK) {
        rebuild(d, sqlite3_errstr(ruin));
    } else if (!l->db) {
        open_or_rebuild(d);
    }
    if (l->db) remove_bad_row(d);
    return l->db != NULL;
}

/* ---- Opening ---- */

static char *path_with(const char *path, const char *suffix)
{
    struct buf b;
    buf_init(&b, strlen(path) + strlen(suffix));
    buf_add_str(&b, path);
    buf_add_str(&b, suffix);
    return buf_take(&b);
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

/* The longer the log, the less often pages are written to the database, and the longer an opening after a
 * crash, which reads it: 8 MB take some 10 ms. The database gets the rest. */
static void share_bytes(struct disk_cache *d, int64_t max_bytes)
{
    const int64_t log_least = (int64_t)4 << 20, log_most = (int64_t)8 << 20;
    d->max_bytes = max_bytes > DISK_CACHE_BYTES_MIN ? max_bytes : DISK_CACHE_BYTES_MIN;
    d->max_log_bytes = d->max_bytes / 32;
    if (d->max_log_bytes < log_least) d->max_log_bytes = log_least;
    if (d->max_log_bytes > log_most) d->max_log_bytes = log_most;
    d->max_pages = (d->max_bytes - d->max_log_bytes - index_bytes(d->max_log_bytes)) / DISK_PAGE_BYTES;
}

enum err disk_cache_open(const char *path, int64_t max_bytes, struct disk_cache **out, struct errmsg *msg)
{
    *out = NULL;
    struct disk_cache *d = MEM_NEW(struct disk_cache);
    d->path = mem_dup_str(path);
    d->log_path = path_with(path, "-wal");
    d->index_path = path_with(path, "-shm");
    d->dir = dir_of(path);
    d->finder.bit = 1;
    d->writer.bit = 2;
    buf_init(&d->found, DISK_ROWS_MAX * RECORD_BYTES_MAX);
    share_bytes(d, max_bytes);
    enum err err = dirs_make(d->dir, msg);
    if (err) {
        disk_cache_close(&d);
        return err;
    }
    open_or_rebuild(d);
    *out = d;
    return OK;
}

void disk_cache_close(struct disk_cache **d)
{
    if (!*d) return;
    disk_link_close(&(*d)->finder.link);
    disk_link_close(&(*d)->writer.link); /* last: it can empty and delete the log */
    buf_clear(&(*d)->found);
    mem_free((*d)->path);
    mem_free((*d)->log_path);
    mem_free((*d)->index_path);
    mem_free((*d)->dir);
    mem_free(*d);
    *d = NULL;
}

/* ---- Finding ---- */

/* One that suits, in disk_cache.found. */
struct pick {
    size_t at, len, n_typed;
};

struct picks {
    struct pick nearest[DISK_FOUND_MAX]; /* first the one of which least is typed */
    int32_t n;
};

static void add_pick(struct picks *p, const struct pick *pick)
{
    int32_t i = p->n < DISK_FOUND_MAX ? p->n++ : DISK_FOUND_MAX;
    for (; i > 0 && p->nearest[i - 1].n_typed > pick->n_typed; i--) {
        if (i < DISK_FOUND_MAX) p->nearest[i] = p->nearest[i - 1];
    }
    if (i < DISK_FOUND_MAX) p->nearest[i] = *pick;
}

static void look_at_row(struct disk_cache *d, sqlite3_stmt *row, const struct store_key *key, struct picks *p)
{
    struct record r;
    const char *bytes = sqlite3_column_blob(row, 1);
    size_t n_typed, len = (size_t)sqlite3_column_bytes(row, 1);
    if (!bytes || record_read(bytes, len, &r) != OK || r.line[0] != key->line[0]) {
        atomic_store_explicit(&d->bad_row, sqlite3_column_int64(row, 0), memory_order_relaxed);
    } else if (record_suits(&r, key, &n_typed)) {
        add_pick(p, &(struct pick){d->found.len, len, n_typed});
        buf_add(&d->found, bytes, len);
    }
}

static int look_up(struct disk_cache *d, const struct store_key *key, struct picks *p)
{
    int code;
    sqlite3_stmt *s = disk_link_sql(&d->finder.link, SQL_OF_LINE);
    sqlite3_bind_int64(s, 1, (int64_t)key->line[0]);
    sqlite3_bind_int(s, 2, DISK_ROWS_MAX);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) look_at_row(d, s, key, p);
    int reset = sqlite3_reset(s); /* ends the transaction: a reader would keep the log from being emptied */
    return code == SQLITE_DONE ? SQLITE_OK : reset;
}

/* Silent if there is nothing to open yet: the writer makes the file, and says so if it cannot. */
static bool finder_is_ready(struct disk_cache *d)
{
    struct disk_side *f = &d->finder;
    if (atomic_load_explicit(&d->ruin, memory_order_relaxed) != SQLITE_OK || f->retry_at_ns > clock_ns())
        return false;
    if (f->link.db && disk_link_is_moved(&f->link, d->path)) disk_link_close(&f->link);
    if (f->link.db) return true;
    int code = disk_link_open(&f->link, DISK_FINDER, d->path, 0);
    if (code == SQLITE_OK) return true;
    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB) {
        atomic_store_explicit(&d->ruin, code, memory_order_relaxed);
    } else {
        leave_alone(f);
    }
    disk_link_close(&f->link);
    return false;
}

void disk_cache_find(struct disk_cache *d, const struct store_key *key, struct disk_found *out)
{
    struct picks p = {.n = 0};
    buf_reset(&out->bytes);
    out->n = 0;
    if (!finder_is_ready(d)) {
        atomic_fetch_add_explicit(&d->n_failed, 1, memory_order_relaxed);
        return;
    }
    buf_reset(&d->found);
    int code = look_up(d, key, &p);
    if (code != SQLITE_OK || d->found.err) {
        disk_failed(d, &d->finder, code != SQLITE_OK ? code : SQLITE_NOMEM);
        return;
    }
    disk_worked(d, &d->finder);
    for (int32_t i = 0; i < p.n; i++) {
        buf_add(&out->bytes, d->found.data + p.nearest[i].at, p.nearest[i].len);
        if (out->bytes.err) break;
        out->ends[out->n++] = out->bytes.len;
    }
}

/* ---- Looking at it ---- */

static int64_t size_of(const char *path)
{
    int64_t n = file_size(path);
    return n > 0 ? n : 0;
}

/* Counting reads the whole index, so it is done anew only after others have written. */
static void count_entries(struct disk_cache *d)
{
    int64_t version = 0;
    struct disk_link *l = &d->writer.link;
    int code = disk_link_get(disk_link_sql(l, SQL_DATA_VERSION), &version);
    if (code == SQLITE_OK && (d->n_entries < 0 || version != d->data_version)) {
        code = disk_link_get(disk_link_sql(l, SQL_COUNT), &d->n_entries);
        d->data_version = version;
    }
    if (code != SQLITE_OK) disk_failed(d, &d->writer, code);
}

void disk_cache_stats(struct disk_cache *d, struct disk_stats *out)
{
    if (disk_writer_is_ready(d)) count_entries(d);
    *out = (struct disk_stats){.n_entries = d->n_entries > 0 ? d->n_entries : 0,
                               .n_bytes = size_of(d->path) + size_of(d->log_path) + size_of(d->index_path),
                               .max_bytes = d->max_bytes,
                               .n_evicted = d->n_evicted,
                               .n_failed = atomic_load_explicit(&d->n_failed, memory_order_relaxed),
                               .n_rebuilt = d->n_rebuilt};
}
