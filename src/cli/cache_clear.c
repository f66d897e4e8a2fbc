/* `inline cache clear`. A running daemon empties its caches itself; what is deleted of one project or one
 * file is deleted here, in the databases, which several processes may use, and the daemon then empties its
 * memory. */
#include "cli/cache.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/cache_files.h"
#include "cli/meter.h"
#include "service/sources.h"
#include "context/repository.h"
#include "os/clock.h"
#include "store/disk_cache.h"

#define REPORT_LIMIT 65536
#define PATIENCE_MS  1000 /* from then on it is told how far deleting has come */

struct clearing {
    const char *project, *file; /* options; or null */
    bool is_all, is_json;
    bool has_daemon;
    int64_t n_deleted, freed_bytes, kv_bytes, packs_bytes;
};

static bool is_scoped(const struct clearing *c)
{
    return c->project || c->file;
}

static enum err measure(int64_t *bytes, struct errmsg *msg)
{
    struct cache_databases d;
    enum err err = cache_files_databases(&d, msg);
    *bytes = 0;
    for (int32_t i = 0; i < d.n; i++) *bytes += d.list[i].bytes;
    cache_files_databases_clear(&d);
    return err;
}

/* --- In the databases --------------------------------------------------------------------------------- */

/* Prompts show a file by its path in its project, or by whatever part of its path a client names it: delete
 * what was drawn from any file that is called like the end of this path. */
static enum err delete_file(struct disk_cache *db, const char *path, int64_t *n_deleted, struct errmsg *msg)
{
    enum err err = OK;
    for (const char *end = path; end && *end && !err;) {
        int64_t n = 0;
        uint64_t file = sources_file(end);
        err = disk_cache_clear(db, &file, &n, msg);
        *n_deleted += n;
        end = strchr(end, '/');
        if (end) end++;
    }
    return err;
}

/* path null: everything. */
static enum err clear_database(const struct cache_database *d, int64_t max_bytes, const char *path,
                               int64_t *n_deleted, struct errmsg *msg)
{
    struct disk_cache *db = NULL;
    /* A file that was larger than it may be by now would be replaced, and its other completions lost. */
    if (max_bytes < 2 * d->bytes) max_bytes = 2 * d->bytes;
    enum err err = disk_cache_open(d->path, max_bytes, &db, msg);
    if (!err && path)
        err = delete_file(db, path, n_deleted, msg);
    else if (!err)
        err = disk_cache_clear(db, NULL, n_deleted, msg);
    disk_cache_close(&db);
    return err;
}

/* Of all databases, or only of one with this name (null: all). */
static enum err clear_databases(struct clearing *c, const struct settings *s, const char *name,
                                const char *path, struct errmsg *msg)
{
    struct cache_databases d;
    struct meter meter;
    enum err err = cache_files_databases(&d, msg);
    int64_t start = clock_ns(), total = 0, done = 0;
    meter_init(&meter, "deleting");
    for (int32_t i = 0; i < d.n; i++) total += d.list[i].bytes;
    for (int32_t i = 0; i < d.n && !err; i++) {
        const struct cache_database *at = &d.list[i];
        int64_t n = 0, max_bytes = (int64_t)(at->is_project ? s->projects_mb : s->disk_mb) * 1000000;
        done += at->bytes;
        if (name && (!at->is_project || strcmp(at->name, name) != 0)) continue;
        err = clear_database(at, max_bytes, path, &n, msg);
        c->n_deleted += n;
        if (clock_ms_since(start) > PATIENCE_MS && i + 1 < d.n) meter_update(&meter, done, total, "");
    }
    meter_end(&meter);
    cache_files_databases_clear(&d);
    return err;
}

static enum err clear_here(struct clearing *c, const struct settings *s, struct errmsg *msg)
{
    char name[32], path[PATH_MAX];
    if (c->project) {
        if (!realpath(c->project, path)) return err_set(msg, ERR_NOT_FOUND, "%s: no such folder", c->project);
        struct repository repository;
        repository_of(path, &repository);
        snprintf(name, sizeof name, "%016" PRIx64 ".db", repository.id);
    }
    /* A file may be gone, and still have completions: its path is taken as it is written. */
    if (c->file && !realpath(c->file, path)) snprintf(path, sizeof path, "%s", c->file);
    return clear_databases(c, s, c->project ? name : NULL, c->file ? path : NULL, msg);
}

/* --- In the daemon ------------------------------------------------------------------------------------ */

/* Sets has_daemon; is_whole: all levels, else the memory. */
static enum err clear_daemon(struct clearing *c, const struct settings *s, bool is_whole, struct errmsg *msg)
{
    struct json_value *answer = NULL;
    enum err err = cli_ask(s, "/cache/clear", is_whole ? "{}" : "{\"level\":\"memory\"}", &answer, msg);
    c->has_daemon = err != ERR_NOT_FOUND;
    if (!c->has_daemon) err = OK;
    if (!err && is_whole) (void)json_get_int(json_get(answer, "deleted"), &c->n_deleted);
    json_read_free(&answer);
    return err;
}

/* --- The command -------------------------------------------------------------------------------------- */

static enum err refuse_all_while_used(const struct settings *s, struct errmsg *msg)
{
    struct json_value *answer = NULL;
    enum err err = cli_ask(s, "/cache", NULL, &answer, msg);
    json_read_free(&answer);
    if (err == ERR_NOT_FOUND) return OK;
    return err_set(msg, ERR_IO,
                   "a daemon runs, and uses the saved KV and packed weights: end it before --all, or leave "
                   "--all out");
}

static enum err clear(struct clearing *c, const struct settings *s, struct errmsg *msg)
{
    int64_t before = 0, after = 0;
    enum err err = c->is_all ? refuse_all_while_used(s, msg) : OK;
    if (!err) err = measure(&before, msg);
    if (!err && is_scoped(c)) err = clear_here(c, s, msg);
    if (!err) err = clear_daemon(c, s, !is_scoped(c), msg);
    if (!err && !is_scoped(c) && !c->has_daemon) err = clear_here(c, s, msg);
    if (!err && c->is_all) {
        c->kv_bytes = cache_files_kv_remove();
        c->packs_bytes = cache_files_packs_remove();
    }
    if (!err) err = measure(&after, msg);
    c->freed_bytes = before > after ? before - after : 0;
    return err;
}

static int report(const struct clearing *c)
{
    struct buf out;
    char size[SIZE_TEXT_MAX];
    buf_init(&out, REPORT_LIMIT);
    if (c->is_json) {
        struct json j;
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_int(&j, "deleted", c->n_deleted);
        json_int(&j, "completions_bytes", c->freed_bytes);
        json_int(&j, "kv_bytes", c->kv_bytes);
        json_int(&j, "packs_bytes", c->packs_bytes);
        json_end_object(&j);
        buf_add_char(&out, '\n');
        return cli_print(&out);
    }
    buf_printf(&out, "deleted %" PRId64 " completions, %s freed\n", c->n_deleted,
               size_text(c->freed_bytes, size));
    if (c->is_all) {
        buf_printf(&out, "deleted saved KV, %s", size_text(c->kv_bytes, size));
        buf_printf(&out, ", and packed weights, %s\n", size_text(c->packs_bytes, size));
    }
    return cli_print(&out);
}

int cli_cache_clear(int argc, char **argv, const struct settings *s)
{
    struct clearing c = {0};
    const struct cli_option options[] = {{"project", CLI_STRING, &c.project, 0, 0},
                                         {"file", CLI_STRING, &c.file, 0, 0},
                                         {"all", CLI_FLAG, &c.is_all, 0, 0},
                                         {"json", CLI_FLAG, &c.is_json, 0, 0},
                                         {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("cache clear takes --project DIR, --file PATH or --all");
    if (c.is_all && is_scoped(&c))
        return cli_usage_error("cache clear --all is for everything, not for a project or a file");
    struct errmsg msg = {0};
    return clear(&c, s, &msg) == OK ? report(&c) : cli_fail(&msg);
}
