/* One connection to a database of answers: how it is opened, the form of its tables, its statements.
 *
 * The tables' form has a version, which stands in the file. Codes are SQLite's: SQLITE_OK, or what failed;
 * disk_link_is_ruin tells those after which a file is of no use. Thread: one owner for each connection. */
#ifndef STORE_DISK_LINK_H
#define STORE_DISK_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <sqlite3.h>

#define DISK_PAGE_BYTES 4096

/* Writers have all of these, finders only SQL_OF_LINE, verifiers SQL_AFTER and SQL_COUNT. */
enum disk_sql {
    SQL_OF_LINE, /* (line, limit) -> id, record; the most recently used first */
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_ADD,    /* (line, maker, record) */
    SQL_DELETE, /* (id) */
    SQL_EVICT,  /* (n): the least recently used */
    SQL_RENEW,  /* (id): becomes the most recently used */
    SQL_FIRST_ID,
    SQL_LAST_ID,
    SQL_COUNT,
    SQL_AFTER, /* (id, limit) -> id, record, line, maker; in the order of ids */
    SQL_PAGES,
    SQL_FREE_PAGES,
    SQL_SHRINK,
    SQL_DATA_VERSION, /* changes when another connection has written */
    SQL_MAKER_AT,     /* (path) -> maker */
    SQL_SET_MAKER,    /* (path, maker) */
    SQL_GONE,         /* -> maker, next: whose answers are being deleted, and how far that is */
    SQL_ADD_GONE,     /* (maker): unless it stands at a path */
    SQL_REMOVE_GONE,  /* (maker) */
    SQL_MOVE_GONE,    /* (maker, next) */
    SQL_DELETE_OF,    /* (maker, first id, end id, limit) */
    DISK_N_SQL
};

enum disk_role { DISK_FINDER, DISK_WRITER, DISK_VERIFIER };

struct disk_link {
    sqlite3 *db; /* null: not open */
    sqlite3_stmt *statements[DISK_N_SQL];
    dev_t dev; /* which file is open */
    ino_t ino;
};

/* A writer creates the file and its tables if need be. What is left in l after a failure tells
 * disk_link_why; close it. SQLITE_MISMATCH: the file is a database of another form, or has more than
 * max_pages pages. */
int disk_link_open(struct disk_link *l, enum disk_role role, const char *path, int64_t max_pages);
void disk_link_close(struct disk_link *l); /* closed ones too */

/* The path has another file now, or none. */
bool disk_link_is_moved(const struct disk_link *l, const char *path);

/* A statement, ready to be bound. */
sqlite3_stmt *disk_link_sql(struct disk_link *l, enum disk_sql sql);
/* Run what was bound to its end. */
int disk_link_run(sqlite3_stmt *statement);
/* The first column of its first row; 0 if there is none. */
int disk_link_get(sqlite3_stmt *statement, int64_t *out);

bool disk_link_is_ruin(int code);
const char *disk_link_why(const struct disk_link *l, int code); /* valid until the next call */

#endif
