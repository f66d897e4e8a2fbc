/* `inline cache stats`: what the caches hold and what they are good for. A running daemon tells (GET /cache);
 * without one the files do. */
#include "cli/cache.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/cache_files.h"
#include "service/service.h"
#include "serve/api_cache.h"
#include "store/disk_cache.h"
#include "store/store.h"

#define REPORT_LIMIT ((size_t)1 << 20)

struct report {
    struct json_value *answer; /* the daemon's, which names are views of; null: there is none */
    struct service_cache_stats stats;
    struct cache_databases databases;
    int64_t kv_bytes, packs_bytes;
};

/* --- From the daemon ---------------------------------------------------------------------------------- */

static int64_t number(const struct json_value *object, const char *key)
{
    int64_t n = 0;
    (void)json_get_int(json_get(object, key), &n);
    return n;
}

static void take_level(const struct json_value *levels, struct service_cache_level *out)
{
    const struct json_value *level = json_get(levels, out->name);
    (void)json_get_flag(json_get(level, "on"), &out->is_on);
    out->n_entries = number(level, "entries");
    out->n_bytes = number(level, "bytes");
    out->max_bytes = number(level, "max_bytes");
    out->n_asked = number(level, "asked");
    out->n_found = number(level, "found");
    out->n_put = number(level, "put");
    out->n_evicted = number(level, "evicted");
    out->n_failed = number(level, "failed");
    out->n_dropped = number(level, "dropped");
}

struct counts {
    struct service_cache_count *list;
    int32_t n, max;
};

static bool take_count(void *ctx, const char *key, const struct json_value *v)
{
    struct counts *c = ctx;
    if (c->n == c->max) return false;
    struct service_cache_count *count = &c->list[c->n++];
    count->name = key;
    (void)json_get_int(v, &count->n);
    return true;
}

static void take_answer(struct report *r)
{
    struct service_cache_stats *stats = &r->stats;
    for (int32_t i = 0; i < SERVICE_CACHE_LEVELS; i++)
        take_level(json_get(r->answer, "levels"), &stats->levels[i]);
    struct counts found = {.list = stats->found, .max = SERVICE_CACHE_SOURCES};
    struct counts missed = {.list = stats->missed, .max = SERVICE_CACHE_MISSES};
    json_each(json_get(r->answer, "found"), take_count, &found);
    json_each(json_get(r->answer, "missed"), take_count, &missed);
    stats->n_answers = number(r->answer, "answers");
    stats->n_prefetched = number(r->answer, "prefetched");
    stats->n_prefetch_used = number(r->answer, "prefetch_used");
}

/* --- From settings and files -------------------------------------------------------------------------- */

static void take_settings(const struct settings *s, struct service_cache_stats *out)
{
    const int64_t megabytes[STORE_N_LEVELS] = {
        [STORE_MEMORY] = s->memory_mb, [STORE_DISK] = s->disk_mb, [STORE_PROJECT] = s->projects_mb};
    for (int32_t i = 0; i < SERVICE_CACHE_LEVELS; i++) {
        out->levels[i].is_on = megabytes[i] > 0;
        out->levels[i].max_bytes = megabytes[i] * 1000000;
    }
    out->levels[STORE_TEAM].is_on = *s->team;
}

/* What the files have is told by them, as anybody can see it: the daemon has not all of them open. */
static void take_files(struct report *r)
{
    struct service_cache_level *levels = r->stats.levels;
    levels[STORE_DISK].n_bytes = levels[STORE_PROJECT].n_bytes = 0;
    levels[STORE_DISK].n_entries = levels[STORE_PROJECT].n_entries = 0;
    for (int32_t i = 0; i < r->databases.n; i++) {
        const struct cache_database *d = &r->databases.list[i];
        struct service_cache_level *level = &levels[d->is_project ? STORE_PROJECT : STORE_DISK];
        int64_t n = 0;
        level->n_bytes += d->bytes;
        if (disk_cache_count(d->path, &n, NULL) == OK) level->n_entries += n; /* else verify tells why */
    }
    r->kv_bytes = cache_files_kv_bytes();
    r->packs_bytes = cache_files_packs_bytes();
}

static enum err collect(const struct settings *s, struct report *out, struct errmsg *msg)
{
    *out = (struct report){0};
    for (int32_t i = 0; i < SERVICE_CACHE_LEVELS; i++)
        out->stats.levels[i].name = store_level_name((enum store_level)i);
    enum err err = cli_ask(s, "/cache", NULL, &out->answer, msg);
    if (err && err != ERR_NOT_FOUND) return err;
    if (err)
        take_settings(s, &out->stats);
    else
        take_answer(out);
    err = cache_files_databases(&out->databases, msg);
    if (!err) take_files(out);
    return err;
}

/* --- For people --------------------------------------------------------------------------------------- */

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void print_level(const struct report *r, const struct service_cache_level *l, struct buf *out)
{
    char size[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];
    if (!l->is_on && l->n_bytes == 0) {
        buf_printf(out, "%-8s off\n", l->name);
        return;
    }
    buf_printf(out, "%-8s ", l->name);
    if (l == &r->stats.levels[STORE_TEAM]) {
        buf_add_str(out, "on a server");
    } else {
        buf_printf(out, "%" PRId64 " completions, %s", l->n_entries, size_text(l->n_bytes, size));
        if (l->is_on)
            buf_printf(out, " of at most %s", size_text(l->max_bytes, max));
        else
            buf_add_str(out, ", off");
    }
    if (r->answer) {
        buf_printf(out, "; found %" PRId64 " of %" PRId64 " asked (%.0f %%)", l->n_found, l->n_asked,
                   percent(l->n_found, l->n_asked));
        if (l->n_failed > 0) buf_printf(out, ", %" PRId64 " failed", l->n_failed);
        if (l->n_dropped > 0) buf_printf(out, ", %" PRId64 " given up", l->n_dropped);
    }
    buf_add_char(out, '\n');
}

/* "  new 12, edited 3": those that happened. */
static void print_counts(const char *title, const struct service_cache_count *counts, int32_t n,
                         struct buf *out)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < n; i++) sum += counts[i].n;
    buf_printf(out, "  %s %" PRId64, title, sum);
    const char *before = ": ";
    for (int32_t i = 0; i < n; i++) {
        if (!counts[i].name || counts[i].n == 0) continue;
        buf_printf(out, "%s%s %" PRId64, before, counts[i].name, counts[i].n);
        before = ", ";
    }
    buf_add_char(out, '\n');
}

static void print_answers(const struct service_cache_stats *s, struct buf *out)
{
    buf_printf(out, "\nSince the daemon started: %" PRId64 " answers\n", s->n_answers);
    print_counts("from caches", s->found, SERVICE_CACHE_SOURCES, out);
    print_counts("computed", s->missed, SERVICE_CACHE_MISSES, out);
    buf_printf(out, "  computed ahead %" PRId64 ", of which %" PRId64 " were asked for\n", s->n_prefetched,
               s->n_prefetch_used);
}

static int64_t completions_bytes(const struct report *r)
{
    return r->stats.levels[STORE_DISK].n_bytes + r->stats.levels[STORE_PROJECT].n_bytes;
}

static void print_report(const struct report *r, struct buf *out)
{
    char size[SIZE_TEXT_MAX];
    for (int32_t i = 0; i < SERVICE_CACHE_LEVELS; i++) print_level(r, &r->stats.levels[i], out);
    if (r->answer)
        print_answers(&r->stats, out);
    else
        buf_add_str(out, "\nNo daemon runs; it knows what the memory holds and what was found where.\n");
    int64_t completions = completions_bytes(r);
    buf_printf(out, "\nOn disk: completions %s", size_text(completions, size));
    buf_printf(out, ", saved KV %s", size_text(r->kv_bytes, size));
    buf_printf(out, ", packed weights %s", size_text(r->packs_bytes, size));
    buf_printf(out, "; together %s\n", size_text(completions + r->kv_bytes + r->packs_bytes, size));
}

static void write_report(const struct report *r, const char *dir, struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_flag(&j, "daemon", r->answer != NULL);
    json_str(&j, "directory", dir);
    api_cache_write(&r->stats, &j);
    json_begin_array(&j, "databases");
    for (int32_t i = 0; i < r->databases.n; i++) {
        json_begin_object(&j, NULL);
        json_str(&j, "path", r->databases.list[i].path);
        json_int(&j, "bytes", r->databases.list[i].bytes);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_begin_object(&j, "disk");
    json_int(&j, "completions_bytes", completions_bytes(r));
    json_int(&j, "kv_bytes", r->kv_bytes);
    json_int(&j, "packs_bytes", r->packs_bytes);
    json_end_object(&j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

int cli_cache_stats(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("cache stats takes no arguments, only --json");
    struct errmsg msg = {0};
    struct report report;
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    enum err err = collect(s, &report, &msg);
    char *dir = cache_files_dir();
    if (!err && is_json) write_report(&report, dir, &out);
    if (!err && !is_json) print_report(&report, &out);
    int status = err ? cli_fail(&msg) : cli_print(&out);
    mem_free(dir);
    json_read_free(&report.answer);
    cache_files_databases_clear(&report.databases);
    return status;
}
