/* The table of the journal's database: its columns, how a record is bound to them and read from them, and how
 * a connection is opened. For journal_disk.c. Codes are SQLite's.
 *
 * Labels and stops are kept by their names, so that a file outlives an order of labels, and people can query
 * it. The table's form has a version, which stands in the file. Thread: one owner for each connection. */
#ifndef STORE_JOURNAL_TABLE_H
#define STORE_JOURNAL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "watch/journal.h"

enum journal_statement {
    JOURNAL_PUT,     /* journal_table_bind; replaces */
    JOURNAL_DELETE,  /* (at_us): what is older */
    JOURNAL_LAST_ID, /* -> id */
    JOURNAL_BY_ID,   /* (id) -> journal_table_read */
    JOURNAL_SINCE,   /* (at_us, limit) -> the same, newest first */
};

/* A writer creates the file and its table if need be. SQLITE_MISMATCH: a database of another form;
 * SQLITE_EMPTY: for readers, one without tables yet. *db is to be closed in any case. */
int journal_table_open(const char *path, bool is_writer, sqlite3 **db);
int journal_table_prepare(sqlite3 *db, enum journal_statement which, sqlite3_stmt **out);

void journal_table_bind(sqlite3_stmt *s, const struct journal_record *r, const char *model);
/* Of the row that a statement stands on. */
void journal_table_read(sqlite3_stmt *s, struct journal_record *r, char model[static JOURNAL_NAME_MAX]);

#endif
