/* See cache_files.h. Names only: what is in a file is for those who write it. Files come and go while we
 * look; one that is gone has no bytes. */
#include "cli/cache_files.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "os/dirs.h"
#include "os/file.h"

#define PATH_LIMIT 65536 /* bytes; more than any system takes */

char *cache_files_dir(void)
{
    return dirs_path(DIR_CACHE, "completions");
}

/* DIR/NAME; the caller frees. */
static char *join(const char *dir, const char *name)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s", dir, name);
    return buf_take(&path);
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* --- Databases ---------------------------------------------------------------------------------------- */

/* SQLite puts what belongs to a database beside it, under its name and one of these. */
static const char *const companions[] = {"", "-wal", "-shm", "-journal"};

static int64_t database_bytes(const char *path)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        struct buf name;
        buf_init(&name, PATH_LIMIT);
        buf_printf(&name, "%s%s", path, companions[i]);
        int64_t size = file_size(buf_str(&name));
        if (size > 0) bytes += size;
        buf_clear(&name);
    }
    return bytes;
}

struct listing {
    struct cache_databases *out;
    const char *dir;
    bool is_projects;
    enum err err;
};

static void add_database(void *ctx, const char *name)
{
    struct listing *l = ctx;
    if (l->err || !ends_with(name, ".db")) return;
    char *path = join(l->dir, name);
    if (file_size(path) < 0) {
        mem_free(path);
        return;
    }
    struct cache_database *grown = mem_try_resize(l->out->list, (size_t)l->out->n + 1, sizeof *grown);
    if (!grown) {
        mem_free(path);
        l->err = ERR_NOMEM;
        return;
    }
    l->out->list = grown;
    grown[l->out->n++] = (struct cache_database){.path = path,
                                                 .name = path + strlen(l->dir) + 1,
                                                 .is_project = l->is_projects,
                                                 .bytes = database_bytes(path)};
}

static enum err list_databases(const char *dir, bool is_projects, struct cache_databases *out,
                               struct errmsg *msg)
{
    struct listing l = {.out = out, .dir = dir, .is_projects = is_projects};
    struct errmsg reason = {0};
    enum err err = dirs_list(dir, add_database, &l, &reason);
    if (err == ERR_NOT_FOUND) return OK;
    if (!err) err = l.err;
    return err ? err_set(msg, err, "%s", reason.text[0] ? reason.text : err_text(err)) : OK;
}

enum err cache_files_databases(struct cache_databases *out, struct errmsg *msg)
{
    *out = (struct cache_databases){0};
    char *dir = cache_files_dir(), *projects = join(dir, "projects");
    enum err err = list_databases(dir, false, out, msg);
    if (!err) err = list_databases(projects, true, out, msg);
    if (err) cache_files_databases_clear(out);
    mem_free(projects);
    mem_free(dir);
    return err;
}

void cache_files_databases_clear(struct cache_databases *d)
{
    for (int32_t i = 0; i < d->n; i++) mem_free(d->list[i].path);
    mem_free(d->list);
    *d = (struct cache_databases){0};
}

/* --- Other caches ------------------------------------------------------------------------------------- */

/* Of which files: their name has this in it, since what is being written has a name that goes on. */
struct sweep {
    const char *dir, *mark;
    bool removes;
    int64_t bytes;
};

static void sweep_file(void *ctx, const char *name)
{
    struct sweep *s = ctx;
    if (!strstr(name, s->mark)) return;
    char *path = join(s->dir, name);
    int64_t size = file_size(path);
    if (size >= 0 && (!s->removes || unlink(path) == 0)) s->bytes += size;
    mem_free(path);
}

/* What cannot be listed has nothing. */
static int64_t sweep(const char *folder, const char *mark, bool removes)
{
    char *dir = dirs_path(DIR_CACHE, folder);
    struct sweep s = {.dir = dir, .mark = mark, .removes = removes};
    if (dirs_list(dir, sweep_file, &s, NULL) != OK) s.bytes = 0;
    mem_free(dir);
    return s.bytes;
}

int64_t cache_files_kv_bytes(void)
{
    return sweep("kv", ".kv", false);
}

int64_t cache_files_packs_bytes(void)
{
    return sweep("packs", ".pa", false); /* .pack, and .part while it is written */
}

int64_t cache_files_kv_remove(void)
{
    return sweep("kv", ".kv", true);
}

int64_t cache_files_packs_remove(void)
{
    return sweep("packs", ".pa", true);
}
