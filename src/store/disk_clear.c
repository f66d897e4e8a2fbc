/* The disk cache's deleting: what cannot be reached any more, and what somebody wants gone. See disk_cache.h.
 *
 * Which models' answers are being collected, and how far that is, stands in the database (`gone`), so that it
 * goes on after a restart. Rows only ever move to the end, so that one pass in the order of ids meets them
 * all. */
#include "store/disk_cache_impl.h"

#include <string.h>

/* Of one transaction, as in disk_write.c. */
#define DELETED_MAX 256

/* Rows read in one step of collecting: a millisecond. */
#define COLLECT_SPAN 4096

/* Rows read in one step of looking for a file's. */
#define SEARCH_SPAN 1024

static void count_deleted(struct disk_cache *d, int64_t n)
{
    if (d->n_entries >= 0) d->n_entries -= n;
}

/* ---- Collecting ---- */

static int64_t get_maker_at(struct disk_cache *d, const char *path, bool *is_known, int *code)
{
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_MAKER_AT);
    sqlite3_bind_text(s, 1, path, -1, SQLITE_STATIC);
    *is_known = sqlite3_step(s) == SQLITE_ROW;
    int64_t maker = *is_known ? sqlite3_column_int64(s, 0) : 0;
    *code = sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return maker;
}

static int run_with_maker(struct disk_cache *d, enum disk_sql sql, int64_t maker)
{
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, sql);
    sqlite3_bind_int64(s, 1, maker);
    return disk_link_run(s);
}

/* Note who is at the path now; who was there, and is nowhere else, is gone. */
static int set_maker(struct disk_cache *d, const char *path, int64_t maker)
{
    int code;
    bool is_known;
    int64_t old = get_maker_at(d, path, &is_known, &code);
    if (code != SQLITE_OK || (is_known && old == maker)) return code;
    code = disk_begin(d);
    if (code != SQLITE_OK) return code;
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_SET_MAKER);
    sqlite3_bind_text(s, 1, path, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, maker);
    code = disk_link_run(s);
    sqlite3_clear_bindings(s);
    if (code == SQLITE_OK) code = run_with_maker(d, SQL_REMOVE_GONE, maker);
    if (code == SQLITE_OK && is_known) code = run_with_maker(d, SQL_ADD_GONE, old);
    return disk_end(d, code);
}

/* A maker that is gone, and from which id on its answers have not been deleted. */
struct gone {
    bool is_there;
    int64_t maker, next;
};

static int get_gone(struct disk_cache *d, struct gone *out)
{
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_GONE);
    *out = (struct gone){.is_there = sqlite3_step(s) == SQLITE_ROW};
    if (out->is_there) {
        out->maker = sqlite3_column_int64(s, 0);
        out->next = sqlite3_column_int64(s, 1);
    }
    return sqlite3_reset(s);
}

/* The next rows of a maker that is gone, in the transaction that has begun. */
static int delete_of(struct disk_cache *d, const struct gone *g, int32_t max_rows)
{
    struct disk_link *l = &d->writer.link;
    int64_t first = 0, last = 0;
    int code = disk_link_get(disk_link_sql(l, SQL_FIRST_ID), &first);
    if (code == SQLITE_OK) code = disk_link_get(disk_link_sql(l, SQL_LAST_ID), &last);
    if (code != SQLITE_OK) return code;
    if (first < g->next) first = g->next;
    if (first > last) return run_with_maker(d, SQL_REMOVE_GONE, g->maker);
    sqlite3_stmt *s = disk_link_sql(l, SQL_DELETE_OF);
    sqlite3_bind_int64(s, 1, g->maker);
    sqlite3_bind_int64(s, 2, first);
    sqlite3_bind_int64(s, 3, first + COLLECT_SPAN);
    sqlite3_bind_int(s, 4, max_rows);
    code = disk_link_run(s);
    if (code != SQLITE_OK) return code;
    int n = sqlite3_changes(l->db);
    count_deleted(d, n);
    if (n == max_rows) return SQLITE_OK; /* there may be more within this span */
    s = disk_link_sql(l, SQL_MOVE_GONE);
    sqlite3_bind_int64(s, 1, g->maker);
    sqlite3_bind_int64(s, 2, first + COLLECT_SPAN);
    return disk_link_run(s);
}

static int collect(struct disk_cache *d, const char *path, int64_t maker, int32_t max_rows, bool *is_more)
{
    struct gone g;
    int code = set_maker(d, path, maker);
    if (code == SQLITE_OK) code = get_gone(d, &g);
    if (code != SQLITE_OK || !g.is_there) return code;
    code = disk_begin(d);
    if (code == SQLITE_OK) code = disk_end(d, delete_of(d, &g, max_rows));
    *is_more = code == SQLITE_OK;
    return code;
}

bool disk_cache_collect(struct disk_cache *d, const char *model_path, uint64_t maker, int32_t max_rows)
{
    bool is_more = false;
    if (!disk_writer_is_ready(d)) return false;
    if (max_rows > DELETED_MAX) max_rows = DELETED_MAX;
    int code = collect(d, model_path, (int64_t)maker, max_rows, &is_more);
    if (code != SQLITE_OK) {
        disk_failed(d, &d->writer, code);
    } else {
        disk_worked(d, &d->writer);
    }
    return is_more;
}

/* ---- Clearing ---- */

/* Rows found in one step, and where the next one begins. */
struct search {
    int64_t file, last;
    int64_t ids[DELETED_MAX];
    int32_t n;
    bool is_over;
};

static bool draws_on(sqlite3_stmt *row, uint64_t file)
{
    struct record r;
    const char *bytes = sqlite3_column_blob(row, 1);
    if (!bytes || record_read(bytes, (size_t)sqlite3_column_bytes(row, 1), &r) != OK) return false;
    for (int32_t i = 0; i < r.n_sources; i++) {
        if (r.sources[i].file == file) return true;
    }
    return false;
}

static int search_on(struct disk_cache *d, struct search *found)
{
    sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_AFTER);
    sqlite3_bind_int64(s, 1, found->last);
    sqlite3_bind_int(s, 2, SEARCH_SPAN);
    int32_t n_rows = 0;
    found->n = 0;
    while (found->n < DELETED_MAX && sqlite3_step(s) == SQLITE_ROW) {
        found->last = sqlite3_column_int64(s, 0);
        if (draws_on(s, (uint64_t)found->file)) found->ids[found->n++] = found->last;
        n_rows++;
    }
    found->is_over = n_rows < SEARCH_SPAN && found->n < DELETED_MAX;
    return sqlite3_reset(s);
}

static int delete_found(struct disk_cache *d, const struct search *found)
{
    int code = disk_begin(d);
    if (code != SQLITE_OK) return code;
    for (int32_t i = 0; i < found->n && code == SQLITE_OK; i++) {
        sqlite3_stmt *s = disk_link_sql(&d->writer.link, SQL_DELETE);
        sqlite3_bind_int64(s, 1, found->ids[i]);
        code = disk_link_run(s);
    }
    return disk_end(d, code);
}

/* Give free pages at the end of the file back, some in each transaction. */
static int shrink(struct disk_cache *d)
{
    struct disk_link *l = &d->writer.link;
    int64_t before = INT64_MAX, now = 0;
    int code = disk_link_get(disk_link_sql(l, SQL_FREE_PAGES), &now);
    while (code == SQLITE_OK && now > 0 && now < before) {
        before = now;
        code = disk_begin(d);
        if (code == SQLITE_OK) code = disk_end(d, disk_link_run(disk_link_sql(l, SQL_SHRINK)));
        if (code == SQLITE_OK) code = disk_link_get(disk_link_sql(l, SQL_FREE_PAGES), &now);
    }
    disk_checkpoint(d);
    return code;
}

static int clear_file(struct disk_cache *d, uint64_t file, int64_t *n_deleted)
{
    struct search found = {.file = (int64_t)file, .last = INT64_MIN};
    do {
        int code = search_on(d, &found);
        if (code == SQLITE_OK && found.n > 0) code = delete_found(d, &found);
        if (code != SQLITE_OK) return code;
        *n_deleted += found.n;
        count_deleted(d, found.n);
    } while (!found.is_over);
    return *n_deleted > 0 ? shrink(d) : SQLITE_OK;
}

/* A new file is at once as small as it gets, and nothing of the old texts is left in it. */
static int clear_all(struct disk_cache *d, int64_t *n_deleted)
{
    struct disk_stats stats;
    disk_cache_stats(d, &stats);
    int code = disk_start_anew(d);
    if (code == SQLITE_OK) *n_deleted = stats.n_entries;
    return code;
}

enum err disk_cache_clear(struct disk_cache *d, const uint64_t *file, int64_t *n_deleted, struct errmsg *msg)
{
    *n_deleted = 0;
    if (file && !disk_writer_is_ready(d)) return err_set(msg, ERR_IO, "%s cannot be used now", d->path);
    int code = file ? clear_file(d, *file, n_deleted) : clear_all(d, n_deleted);
    if (code == SQLITE_OK) {
        disk_worked(d, &d->writer);
        return OK;
    }
    enum err err = err_set(msg, ERR_IO, "%s: %s", d->path, disk_link_why(&d->writer.link, code));
    disk_failed(d, &d->writer, code);
    return err;
}
