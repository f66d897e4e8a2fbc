/* `inline cache`: dispatch, and `verify`, which reads every database of completions as it is on disk. */
#include "cli/cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/size.h"
#include "cli/cache_files.h"
#include "cli/meter.h"
#include "os/clock.h"
#include "store/disk_cache.h"

#define REPORT_LIMIT ((size_t)1 << 20)
#define PATIENCE_MS  1000 /* nobody needs to be told how far something has come that takes less */

int cli_cache(int argc, char **argv, const struct settings *s)
{
    static const struct cli_subcommand list[] = {
        {"stats", cli_cache_stats}, {"clear", cli_cache_clear}, {"verify", cli_cache_verify}, {NULL, NULL}};
    return cli_subcommand("cache", list, argc, argv, s);
}

/* --- verify ------------------------------------------------------------------------------------------- */

struct verified {
    struct buf out;
    struct json j;
    bool is_json;
    int32_t n_bad;
};

static void report_database(struct verified *v, const struct cache_database *d, const struct disk_report *r)
{
    bool is_good = r->n_bad == 0 && !r->fault[0];
    char size[SIZE_TEXT_MAX];
    v->n_bad += !is_good;
    if (v->is_json) {
        json_begin_object(&v->j, NULL);
        json_str(&v->j, "path", d->path);
        json_flag(&v->j, "good", is_good);
        json_int(&v->j, "entries", r->n_entries);
        json_int(&v->j, "bad_entries", r->n_bad);
        json_int(&v->j, "bytes", d->bytes);
        json_str(&v->j, "fault", r->fault);
        json_end_object(&v->j);
        return;
    }
    buf_printf(&v->out, "%s: ", d->path);
    if (is_good) {
        buf_printf(&v->out, "good, %" PRId64 " completions, %s\n", r->n_entries, size_text(d->bytes, size));
    } else {
        buf_printf(&v->out, "damaged: %s\n", r->fault);
    }
}

/* A database that cannot be read is as bad as one that was and is not right. */
static void verify_database(struct verified *v, const struct cache_database *d)
{
    struct disk_report report = {0};
    struct errmsg msg = {0};
    if (disk_cache_verify(d->path, &report, &msg) != OK) {
        report.n_bad = 0;
        snprintf(report.fault, sizeof report.fault, "%.*s", (int)sizeof report.fault - 1, msg.text);
    }
    report_database(v, d, &report);
}

static void verify_all(struct verified *v, const struct cache_databases *d)
{
    int64_t start = clock_ns(), total = 0, done = 0;
    struct meter meter;
    meter_init(&meter, "verifying");
    for (int32_t i = 0; i < d->n; i++) total += d->list[i].bytes;
    for (int32_t i = 0; i < d->n; i++) {
        verify_database(v, &d->list[i]);
        done += d->list[i].bytes;
        if (clock_ms_since(start) > PATIENCE_MS && i + 1 < d->n) meter_update(&meter, done, total, "");
    }
    meter_end(&meter);
}

int cli_cache_verify(int argc, char **argv, const struct settings *s)
{
    struct verified v = {0};
    const struct cli_option options[] = {{"json", CLI_FLAG, &v.is_json, 0, 0}, {0}};
    int n_args;
    (void)s;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("cache verify takes no arguments, only --json");
    struct errmsg msg = {0};
    struct cache_databases databases;
    if (cache_files_databases(&databases, &msg) != OK) return cli_fail(&msg);
    buf_init(&v.out, REPORT_LIMIT);
    json_init(&v.j, &v.out);
    if (v.is_json) {
        json_begin_object(&v.j, NULL);
        json_begin_array(&v.j, "databases");
    }
    verify_all(&v, &databases);
    if (v.is_json) {
        json_end_array(&v.j);
        json_flag(&v.j, "good", v.n_bad == 0);
        json_end_object(&v.j);
        buf_add_char(&v.out, '\n');
    } else if (databases.n == 0) {
        buf_add_str(&v.out, "there are no databases of completions yet\n");
    }
    int status = cli_print(&v.out);
    if (v.n_bad > 0) {
        err_set(&msg, ERR_FORMAT,
                "%d of %d databases %s damaged; nothing but time is lost: inline cache clear "
                "makes new ones, as the daemon does when it comes upon the damage",
                (int)v.n_bad, (int)databases.n, v.n_bad == 1 ? "is" : "are");
        status = cli_fail(&msg);
    }
    cache_files_databases_clear(&databases);
    return status;
}
