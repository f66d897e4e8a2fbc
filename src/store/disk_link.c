/* One connection to a database of answers. See disk_link.h.
 *
 * Files are not mapped: a map of a file that somebody truncates kills the process, a read only fails. Pages
 * are not written before a transaction commits (cache_spill), so that what goes to the log is known; the log
 * is checkpointed by who writes, never by SQLite itself (disk_write.c). Deleted text may stay in free pages
 * until they are used again, which is what makes deleting cheap. */
#include "store/disk_link.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/record.h"

/* Says whose database this is: "InlA". */
#define APPLICATION_ID 0x496e6c41
/* Of the tables' form and of the records in them: another one means another file. */
#define SCHEMA_VERSION 1

#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number

/* How long a connection waits for another's lock. Someone types while the finder waits. */
static const int busy_ms[] = {[DISK_FINDER] = 4, [DISK_WRITER] = 100, [DISK_VERIFIER] = 1000};

static const char connection_sql[] = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                     "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -2048; PRAGMA cache_spill = OFF;"
                                     "PRAGMA secure_delete = OFF; PRAGMA synchronous = NORMAL;"
                                     "PRAGMA wal_autocheckpoint = 0";

static const char new_file_sql[] =
    "PRAGMA page_size = " TEXT_OF(DISK_PAGE_BYTES) "; PRAGMA auto_vacuum = INCREMENTAL;"
                                                   "PRAGMA journal_mode = WAL";

/* Ids are the order of use. `line` is the first half of the key's hash; the rest of the key is in the record,
 * so that the index stays small. `gone` holds makers of which answers are left, and the id up to which they
 * have been deleted. */
static const char tables_sql[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, line INTEGER NOT NULL, maker INTEGER NOT "
    "NULL,"
    " record BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS answers_line ON answers (line);"
    "CREATE TABLE IF NOT EXISTS makers (path TEXT PRIMARY KEY, maker INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS gone (maker INTEGER PRIMARY KEY, next INTEGER NOT NULL);"
    "PRAGMA application_id = " TEXT_OF(APPLICATION_ID) "; PRAGMA user_version = " TEXT_OF(
        SCHEMA_VERSION) ";"
                        "COMMIT";

static const char delete_of_sql[] =
    "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE id >= ?2 AND id < ?3 "
    "AND maker = ?1 ORDER BY id LIMIT ?4)";

static const char *const statements_sql[] = {
    [SQL_OF_LINE] = "SELECT id, record FROM answers WHERE line = ?1 ORDER BY id DESC LIMIT ?2",
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_ADD] = "INSERT INTO answers (line, maker, record) VALUES (?1, ?2, ?3)",
    [SQL_DELETE] = "DELETE FROM answers WHERE id = ?1",
    [SQL_EVICT] = "DELETE FROM answers WHERE id IN (SELECT id FROM answers ORDER BY id LIMIT ?1)",
    [SQL_RENEW] = "UPDATE answers SET id = (SELECT max(id) FROM answers) + 1 WHERE id = ?1",
    [SQL_FIRST_ID] = "SELECT min(id) FROM answers",
    [SQL_LAST_ID] = "SELECT max(id) FROM answers",
    [SQL_COUNT] = "SELECT count(*) FROM answers",
    [SQL_AFTER] = "SELECT id, record, line, maker FROM answers WHERE id > ?1 ORDER BY id LIMIT ?2",
    [SQL_PAGES] = "PRAGMA page_count",
    [SQL_FREE_PAGES] = "PRAGMA freelist_count",
    [SQL_SHRINK] = "PRAGMA incremental_vacuum(64)", /* moving a page writes up to three others */
    [SQL_DATA_VERSION] = "PRAGMA data_version",
    [SQL_MAKER_AT] = "SELECT maker FROM makers WHERE path = ?1",
    [SQL_SET_MAKER] = "INSERT OR REPLACE INTO makers VALUES (?1, ?2)",
    [SQL_GONE] = "SELECT maker, next FROM gone LIMIT 1",
    [SQL_ADD_GONE] = "INSERT OR REPLACE INTO gone SELECT ?1, 0 WHERE ?1 NOT IN (SELECT maker FROM makers)",
    [SQL_REMOVE_GONE] = "DELETE FROM gone WHERE maker = ?1",
    [SQL_MOVE_GONE] = "UPDATE gone SET next = ?2 WHERE maker = ?1",
    [SQL_DELETE_OF] = delete_of_sql,
};

_Static_assert(sizeof statements_sql / sizeof *statements_sql == DISK_N_SQL, "one text for each");

static bool has_statement(enum disk_role role, enum disk_sql sql)
{
    if (role == DISK_WRITER) return true;
    return role == DISK_FINDER ? sql == SQL_OF_LINE : sql == SQL_AFTER || sql == SQL_COUNT;
}

/* ---- Statements ---- */

sqlite3_stmt *disk_link_sql(struct disk_link *l, enum disk_sql sql)
{
    return l->statements[sql];
}

int disk_link_run(sqlite3_stmt *statement)
{
    while (sqlite3_step(statement) == SQLITE_ROW) continue;
    return sqlite3_reset(statement); /* repeats the code of what failed */
}

int disk_link_get(sqlite3_stmt *statement, int64_t *out)
{
    *out = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    return sqlite3_reset(statement);
}

static int get_once(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) code = disk_link_get(statement, out);
    sqlite3_finalize(statement);
    return code;
}

static int prepare(struct disk_link *l, enum disk_role role)
{
    for (enum disk_sql i = 0; i < DISK_N_SQL; i++) {
        if (!has_statement(role, i)) continue;
        int code = sqlite3_prepare_v3(l->db, statements_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &l->statements[i], NULL);
        if (code == SQLITE_ERROR) return SQLITE_MISMATCH; /* no such table or column */
        if (code != SQLITE_OK) return code;
    }
    return SQLITE_OK;
}

/* ---- Opening ---- */

/* Before SQLite creates it, with other permissions. Nothing else in this process may open the file directly:
 * closing a descriptor gives up the locks that SQLite has through others (POSIX), but not those on a file
 * that did not exist before. */
static void make_private_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd); /* failures are seen when SQLite opens it */
}

static int open_file(struct disk_link *l, enum disk_role role, const char *path)
{
    struct stat st;
    /* Checking may have to take back what a killed process left half-done, as anybody who opens it would. */
    int access = role == DISK_FINDER ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (role == DISK_WRITER) make_private_file(path);
    int code = sqlite3_open_v2(path, &l->db, access | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) return code;
    if (stat(path, &st) != 0) return SQLITE_CANTOPEN;
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    sqlite3_busy_timeout(l->db, busy_ms[role]);
    if (role == DISK_VERIFIER) sqlite3_db_config(l->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    /* A damaged length must not become an allocation of that size. */
    sqlite3_limit(l->db, SQLITE_LIMIT_LENGTH, (int)RECORD_BYTES_MAX + DISK_PAGE_BYTES);
    return sqlite3_exec(l->db, connection_sql, NULL, NULL, NULL);
}

/* SQLITE_EMPTY: no tables yet, because it is new, or who created it was killed. */
static int check_blank(struct disk_link *l)
{
    int64_t n_tables = 0, version = 0;
    int code = get_once(l->db, "SELECT count(*) FROM sqlite_schema", &n_tables);
    if (code == SQLITE_OK) code = get_once(l->db, "PRAGMA user_version", &version);
    return code == SQLITE_OK && n_tables == 0 && version == 0 ? SQLITE_EMPTY : code;
}

static int create_tables(struct disk_link *l)
{
    int code = sqlite3_exec(l->db, new_file_sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? sqlite3_exec(l->db, tables_sql, NULL, NULL, NULL) : code;
}

static int check_form(struct disk_link *l)
{
    static const struct {
        const char *sql;
        int64_t value;
    } form[] = {{"PRAGMA application_id", APPLICATION_ID},
                {"PRAGMA user_version", SCHEMA_VERSION},
                {"PRAGMA page_size", DISK_PAGE_BYTES},
                {"PRAGMA auto_vacuum", 2 /* incremental */}};
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        int64_t value;
        int code = get_once(l->db, form[i].sql, &value);
        if (code != SQLITE_OK) return code;
        if (value != form[i].value) return SQLITE_MISMATCH;
    }
    return SQLITE_OK;
}

static int limit_pages(struct disk_link *l, int64_t max_pages)
{
    char sql[64];
    int64_t set;
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %lld", (long long)max_pages);
    int code = get_once(l->db, sql, &set);
    return code == SQLITE_OK && set > max_pages ? SQLITE_MISMATCH : code;
}

int disk_link_open(struct disk_link *l, enum disk_role role, const char *path, int64_t max_pages)
{
    *l = (struct disk_link){0};
    int code = open_file(l, role, path);
    if (code == SQLITE_OK) code = check_blank(l);
    if (code == SQLITE_EMPTY && role == DISK_WRITER) code = create_tables(l);
    if (code == SQLITE_OK) code = check_form(l);
    if (code == SQLITE_OK && role == DISK_WRITER) code = limit_pages(l, max_pages);
    return code == SQLITE_OK ? prepare(l, role) : code;
}

void disk_link_close(struct disk_link *l)
{
    for (int i = 0; i < DISK_N_SQL; i++) sqlite3_finalize(l->statements[i]);
    sqlite3_close(l->db);
    *l = (struct disk_link){0};
}

bool disk_link_is_moved(const struct disk_link *l, const char *path)
{
    struct stat st;
    return stat(path, &st) != 0 || st.st_dev != l->dev || st.st_ino != l->ino;
}

/* ---- Faults ---- */

bool disk_link_is_ruin(int code)
{
    int kind = code & 0xff; /* without what SQLite adds to it */
    return kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB || kind == SQLITE_MISMATCH ||
           kind == SQLITE_TOOBIG || kind == SQLITE_CONSTRAINT;
}

const char *disk_link_why(const struct disk_link *l, int code)
{
    if (code == SQLITE_MISMATCH) return "it is of another version or larger than it may be";
    if (l->db && sqlite3_errcode(l->db) == code) return sqlite3_errmsg(l->db);
    return sqlite3_errstr(code);
}
