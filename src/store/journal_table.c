/* The table of the journal's database. See journal_table.h. */
#include "store/journal_table.h"

#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "store/disk_link.h"

/* Says whose database this is: "InlJ". */
#define APPLICATION_ID 0x496e6c4a
/* Of the columns below and their meaning: another one means another file. */
#define SCHEMA_VERSION 1

#define SQL_MAX 8192 /* bytes; the columns' names take about 500, up to twice in a statement */

/* Others write in between, each time for some milliseconds; who reads is a person. */
#define READER_BUSY_MS 500
#define WRITER_BUSY_MS 100

static const char connection_sql[] = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                                     "PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -256; PRAGMA synchronous = NORMAL";

enum kind { KIND_I64, KIND_F32, KIND_U32, KIND_U16, KIND_I8, KIND_U8, KIND_FLAG, KIND_LABEL, KIND_STOP };

#define MEMBER(name) #name, offsetof(struct journal_record, name)
#define NO_LABEL     METRIC_N

/* In the order of the file, after id and before model. */
static const struct column {
    const char *name;
    size_t offset;
    enum kind kind;
    enum metric_id id; /* of KIND_LABEL */
} columns[] = {
    {MEMBER(at_us), KIND_I64, NO_LABEL},
    {MEMBER(other), KIND_I64, NO_LABEL},
    {MEMBER(queue_ms), KIND_F32, NO_LABEL},
    {MEMBER(context_ms), KIND_F32, NO_LABEL},
    {MEMBER(lookup_ms), KIND_F32, NO_LABEL},
    {MEMBER(prefill_ms), KIND_F32, NO_LABEL},
    {MEMBER(decode_ms), KIND_F32, NO_LABEL},
    {MEMBER(post_ms), KIND_F32, NO_LABEL},
    {MEMBER(total_ms), KIND_F32, NO_LABEL},
    {MEMBER(load_ms), KIND_F32, NO_LABEL},
    {MEMBER(mean_logprob), KIND_F32, NO_LABEL},
    {MEMBER(speed), KIND_F32, NO_LABEL},
    {MEMBER(n_prompt), KIND_U32, NO_LABEL},
    {MEMBER(n_reused), KIND_U32, NO_LABEL},
    {MEMBER(n_restored), KIND_U32, NO_LABEL},
    {MEMBER(n_moved), KIND_U32, NO_LABEL},
    {MEMBER(n_computed), KIND_U32, NO_LABEL},
    {MEMBER(break_at), KIND_U32, NO_LABEL},
    {MEMBER(n_chars), KIND_U32, NO_LABEL},
    {MEMBER(n_generated), KIND_U16, NO_LABEL},
    {MEMBER(n_drafted), KIND_U16, NO_LABEL},
    {MEMBER(n_accepted), KIND_U16, NO_LABEL},
    {MEMBER(n_waiting), KIND_U16, NO_LABEL},
    {MEMBER(outcome), KIND_LABEL, METRIC_REQUESTS},
    {MEMBER(api), KIND_LABEL, METRIC_REQUESTS_BY_API},
    {MEMBER(source), KIND_LABEL, METRIC_CACHE_HITS},
    {MEMBER(miss), KIND_LABEL, METRIC_CACHE_MISSES},
    {MEMBER(quiet), KIND_LABEL, METRIC_QUIET},
    {MEMBER(error), KIND_LABEL, METRIC_ERRORS},
    {MEMBER(stop), KIND_STOP, NO_LABEL},
    {MEMBER(priority), KIND_I8, NO_LABEL},
    {MEMBER(break_part), KIND_U8, NO_LABEL},
    {MEMBER(fate), KIND_U8, NO_LABEL},
    {MEMBER(n_candidates), KIND_U8, NO_LABEL},
    {MEMBER(was_shared), KIND_FLAG, NO_LABEL},
    {MEMBER(is_throttled), KIND_FLAG, NO_LABEL},
    {MEMBER(was_cut), KIND_FLAG, NO_LABEL},
    {MEMBER(is_remote), KIND_FLAG, NO_LABEL},
    {MEMBER(is_fallback), KIND_FLAG, NO_LABEL},
};
#define N_COLUMNS    ((int)(sizeof columns / sizeof *columns))
#define MODEL_COLUMN (1 + N_COLUMNS) /* from 0, behind id */

/* ---- Statements ---- */

static void add_columns(struct buf *sql, bool is_definition)
{
    buf_add_str(sql, is_definition ? "id INTEGER PRIMARY KEY" : "id");
    for (int i = 0; i < N_COLUMNS; i++) {
        enum kind kind = columns[i].kind;
        const char *type = kind == KIND_F32                          ? "REAL"
                           : kind == KIND_LABEL || kind == KIND_STOP ? "TEXT"
                                                                     : "INTEGER";
        buf_printf(sql, ", %s", columns[i].name);
        if (is_definition) buf_printf(sql, " %s NOT NULL", type);
    }
    buf_add_str(sql, is_definition ? ", model TEXT NOT NULL" : ", model");
}

static void add_statement(struct buf *sql, enum journal_statement which)
{
    switch (which) {
    case JOURNAL_PUT:
        buf_add_str(sql, "INSERT OR REPLACE INTO requests VALUES (?");
        for (int i = 0; i < MODEL_COLUMN; i++) buf_add_str(sql, ",?");
        buf_add_char(sql, ')');
        break;
    case JOURNAL_DELETE:
        buf_add_str(sql, "DELETE FROM requests WHERE at_us < ?1");
        break;
    case JOURNAL_LAST_ID:
        buf_add_str(sql, "SELECT max(id) FROM requests");
        break;
    case JOURNAL_BY_ID:
        buf_add_str(sql, "SELECT ");
        add_columns(sql, false);
        buf_add_str(sql, " FROM requests WHERE id = ?1");
        break;
    case JOURNAL_SINCE:
        buf_add_str(sql, "SELECT ");
        add_columns(sql, false);
        buf_add_str(sql, " FROM requests WHERE at_us >= ?1 ORDER BY at_us DESC, id DESC LIMIT ?2");
        break;
    }
}

int journal_table_prepare(sqlite3 *db, enum journal_statement which, sqlite3_stmt **out)
{
    struct buf sql;
    buf_init(&sql, SQL_MAX);
    add_statement(&sql, which);
    int code = sql.err ? SQLITE_NOMEM : sqlite3_prepare_v2(db, buf_str(&sql), -1, out, NULL);
    buf_clear(&sql);
    return code == SQLITE_ERROR ? SQLITE_MISMATCH : code; /* no such table or column */
}

/* ---- Records ---- */

static void bind_name(sqlite3_stmt *s, int at, const char *name)
{
    sqlite3_bind_text(s, at, name, -1, SQLITE_TRANSIENT);
}

/* SQLite takes what is no number for null. */
static double number_of(float x)
{
    return isfinite(x) ? (double)x : 0;
}

static void bind_column(sqlite3_stmt *s, int at, const struct column *c, const struct journal_record *r)
{
    const void *p = (const char *)r + c->offset;
    char name[32];
    switch (c->kind) {
    case KIND_I64:
        sqlite3_bind_int64(s, at, *(const int64_t *)p);
        break;
    case KIND_F32:
        sqlite3_bind_double(s, at, number_of(*(const float *)p));
        break;
    case KIND_U32:
        sqlite3_bind_int64(s, at, *(const uint32_t *)p);
        break;
    case KIND_U16:
        sqlite3_bind_int(s, at, *(const uint16_t *)p);
        break;
    case KIND_I8:
        sqlite3_bind_int(s, at, *(const int8_t *)p);
        break;
    case KIND_U8:
        sqlite3_bind_int(s, at, *(const uint8_t *)p);
        break;
    case KIND_FLAG:
        sqlite3_bind_int(s, at, *(const bool *)p);
        break;
    case KIND_LABEL:
        (void)metric_label_name(c->id, *(const int8_t *)p, name);
        bind_name(s, at, name);
        break;
    case KIND_STOP:
        bind_name(s, at, journal_stop_name(*(const int8_t *)p));
        break;
    }
}

void journal_table_bind(sqlite3_stmt *s, const struct journal_record *r, const char *model)
{
    sqlite3_bind_int64(s, 1, (int64_t)r->id);
    for (int i = 0; i < N_COLUMNS; i++) bind_column(s, 2 + i, &columns[i], r);
    bind_name(s, 1 + MODEL_COLUMN, model);
}

/* -1: none, also what another version of the program knew. */
static int8_t label_of(enum metric_id id, const char *name)
{
    char known[32];
    for (int32_t i = 0; metric_label_name(id, i, known); i++) {
        if (strcmp(known, name) == 0) return (int8_t)i;
    }
    return -1;
}

static const char *text_at(sqlite3_stmt *s, int at)
{
    const char *text = (const char *)sqlite3_column_text(s, at);
    return text ? text : "";
}

/* Files may hold anything: numbers are cut to the members' widths. */
static void read_column(sqlite3_stmt *s, int at, const struct column *c, struct journal_record *r)
{
    void *p = (char *)r + c->offset;
    sqlite3_int64 n = sqlite3_column_int64(s, at);
    switch (c->kind) {
    case KIND_I64:
        *(int64_t *)p = n;
        break;
    case KIND_F32:
        *(float *)p = (float)sqlite3_column_double(s, at);
        break;
    case KIND_U32:
        *(uint32_t *)p = (uint32_t)n;
        break;
    case KIND_U16:
        *(uint16_t *)p = (uint16_t)n;
        break;
    case KIND_I8:
        *(int8_t *)p = (int8_t)n;
        break;
    case KIND_U8:
        *(uint8_t *)p = (uint8_t)n;
        break;
    case KIND_FLAG:
        *(bool *)p = n != 0;
        break;
    case KIND_LABEL:
        *(int8_t *)p = label_of(c->id, text_at(s, at));
        break;
    case KIND_STOP:
        *(int8_t *)p = journal_stop(text_at(s, at));
        break;
    }
}

void journal_table_read(sqlite3_stmt *s, struct journal_record *r, char model[static JOURNAL_NAME_MAX])
{
    *r = (struct journal_record){.id = (uint64_t)sqlite3_column_int64(s, 0)};
    for (int i = 0; i < N_COLUMNS; i++) read_column(s, 1 + i, &columns[i], r);
    snprintf(model, JOURNAL_NAME_MAX, "%s", text_at(s, MODEL_COLUMN));
}

/* ---- Opening ---- */

static int get_once(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) code = disk_link_get(statement, out);
    sqlite3_finalize(statement);
    return code;
}

/* SQLITE_EMPTY: no tables yet, because it is new, or who created it was killed. */
static int check_form(sqlite3 *db)
{
    int64_t n_tables = 0, version = 0, application = 0;
    int code = get_once(db, "SELECT count(*) FROM sqlite_schema", &n_tables);
    if (code == SQLITE_OK) code = get_once(db, "PRAGMA user_version", &version);
    if (code == SQLITE_OK) code = get_once(db, "PRAGMA application_id", &application);
    if (code != SQLITE_OK) return code;
    if (n_tables == 0 && version == 0) return SQLITE_EMPTY;
    return version == SCHEMA_VERSION && application == APPLICATION_ID ? SQLITE_OK : SQLITE_MISMATCH;
}

static int create_table(sqlite3 *db)
{
    struct buf sql;
    int code = sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    if (code != SQLITE_OK) return code;
    buf_init(&sql, SQL_MAX);
    buf_add_str(&sql, "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS requests (");
    add_columns(&sql, true);
    buf_add_str(&sql, "); CREATE INDEX IF NOT EXISTS requests_at ON requests (at_us);");
    buf_printf(&sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID,
               SCHEMA_VERSION);
    code = sql.err ? SQLITE_NOMEM : sqlite3_exec(db, buf_str(&sql), NULL, NULL, NULL);
    buf_clear(&sql);
    return code;
}

/* Before SQLite creates it, with other permissions. See disk_link.c for why only then. */
static void make_private_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd); /* failures are seen when SQLite opens it */
}

int journal_table_open(const char *path, bool is_writer, sqlite3 **db)
{
    if (is_writer) make_private_file(path);
    int access = is_writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    int code = sqlite3_open_v2(path, db, access | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) return code;
    sqlite3_busy_timeout(*db, is_writer ? WRITER_BUSY_MS : READER_BUSY_MS);
    sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, 1 << 20); /* a damaged length must not become an allocation */
    code = sqlite3_exec(*db, connection_sql, NULL, NULL, NULL);
    if (code == SQLITE_OK) code = check_form(*db);
    return code == SQLITE_EMPTY && is_writer ? create_table(*db) : code;
}
