/* Checking a database of answers: SQLite's own check of every page, then every record and its place. See
 * disk_cache.h. The records are read in pieces, so that whoever writes meanwhile can empty the log between.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "os/file.h"
#include "store/disk_cache.h"
#include "store/disk_link.h"

#define ROWS_AT_ONCE 1024

static void note(struct disk_report *r, const char *fault)
{
    if (!r->fault[0]) snprintf(r->fault, sizeof r->fault, "%s", fault);
}

static int check_pages(struct disk_link *l, struct disk_report *out)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(l->db, "PRAGMA integrity_check(1)", -1, &s, NULL);
    if (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *said = (const char *)sqlite3_column_text(s, 0);
        if (!said || strcmp(said, "ok") != 0) note(out, said ? said : "not enough memory");
    }
    int failed = sqlite3_finalize(s);
    return code == SQLITE_OK ? failed : code;
}

static void check_row(sqlite3_stmt *row, struct disk_report *out)
{
    struct record r;
    char fault[64];
    const char *bytes = sqlite3_column_blob(row, 1), *what = NULL;
    out->n_entries++;
    if (!bytes || record_read(bytes, (size_t)sqlite3_column_bytes(row, 1), &r) != OK) {
        what = "is not a record";
    } else if (r.line[0] != (uint64_t)sqlite3_column_int64(row, 2) ||
               r.maker != (uint64_t)sqlite3_column_int64(row, 3)) {
        what = "is at another's place";
    }
    if (!what) return;
    out->n_bad++;
    snprintf(fault, sizeof fault, "row %" PRId64 " %s", (int64_t)sqlite3_column_int64(row, 0), what);
    note(out, fault);
}

static int check_rows(struct disk_link *l, struct disk_report *out)
{
    int code = SQLITE_OK;
    int64_t last = INT64_MIN;
    sqlite3_stmt *s = disk_link_sql(l, SQL_AFTER);
    for (int n = ROWS_AT_ONCE; n == ROWS_AT_ONCE && code == SQLITE_OK;) {
        sqlite3_bind_int64(s, 1, last);
        sqlite3_bind_int(s, 2, ROWS_AT_ONCE);
        for (n = 0; sqlite3_step(s) == SQLITE_ROW; n++) {
            last = sqlite3_column_int64(s, 0);
            check_row(s, out);
        }
        code = sqlite3_reset(s);
    }
    return code;
}

enum err disk_cache_verify(const char *path, struct disk_report *out, struct errmsg *msg)
{
    struct disk_link l;
    *out = (struct disk_report){0};
    if (file_size(path) < 0) return err_set(msg, ERR_IO, "%s: no such file", path);
    int code = disk_link_open(&l, DISK_VERIFIER, path, 0);
    if (code == SQLITE_OK) code = check_pages(&l, out);
    if (code == SQLITE_OK) code = check_rows(&l, out);
    enum err err = OK;
    if (disk_link_is_ruin(code) || (code & 0xff) == SQLITE_ERROR) {
        note(out, disk_link_why(&l, code));
    } else if (code != SQLITE_OK && code != SQLITE_EMPTY) {
        err = err_set(msg, ERR_IO, "%s: %s", path, disk_link_why(&l, code));
    }
    disk_link_close(&l);
    return err;
}

enum err disk_cache_count(const char *path, int64_t *n, struct errmsg *msg)
{
    struct disk_link l;
    *n = 0;
    if (file_size(path) < 0) return err_set(msg, ERR_IO, "%s: no such file", path);
    int code = disk_link_open(&l, DISK_VERIFIER, path, 0);
    if (code == SQLITE_OK) code = disk_link_get(disk_link_sql(&l, SQL_COUNT), n);
    bool is_read = code == SQLITE_OK || code == SQLITE_EMPTY;
    enum err err = is_read ? OK : err_set(msg, ERR_IO, "%s: %s", path, disk_link_why(&l, code));
    disk_link_close(&l);
    return err;
}
