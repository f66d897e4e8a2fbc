/* `inline bench cache`: how long completions take to be found. See cache_memory.c and
 * cache_disk.c for what is measured; this is the command, its directory and its report. */
#include "cli/bench/cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "os/cpu.h"
#include "os/dirs.h"

#define REPORT_LIMIT 65536
#define PATH_LIMIT   65536

/* --- The directory ------------------------------------------------------------------------------------ */

static void remove_entry(void *ctx, const char *name)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s", (const char *)ctx, name);
    unlink(buf_str(&path));
    buf_clear(&path);
}

/* Files of a folder, and it. */
static void remove_folder(const char *path)
{
    (void)!dirs_list(path, remove_entry, (void *)path, NULL);
    rmdir(path);
}

/* A folder of ours beside the real databases: on the disk that they are on. The caller frees. */
static enum err make_dir(char **out, struct errmsg *msg)
{
    char *cache = dirs_path(DIR_CACHE, NULL), *dir = dirs_path(DIR_CACHE, "bench-XXXXXX");
    enum err err = dirs_make(cache, msg);
    if (!err && !mkdtemp(dir)) err = err_set(msg, ERR_IO, "%s: cannot be made: %s", dir, strerror(errno));
    mem_free(cache);
    if (err) {
        mem_free(dir);
        dir = NULL;
    }
    *out = dir;
    return err;
}

static void remove_dir(char *dir)
{
    struct buf projects;
    buf_init(&projects, PATH_LIMIT);
    buf_printf(&projects, "%s/projects", dir);
    remove_folder(buf_str(&projects));
    remove_folder(dir);
    buf_clear(&projects);
    mem_free(dir);
}

/* --- The report --------------------------------------------------------------------------------------- */

static double written_per_second(const struct bench_cache_report *r)
{
    return r->written_seconds > 0 ? (double)r->n_written / r->written_seconds : 0;
}

static void add_level(struct json *j, const char *key, const struct bench_cache_level *l)
{
    json_begin_object(j, key);
    json_num(j, "p50_ms", l->p50_ms, 4);
    json_num(j, "p99_ms", l->p99_ms, 4);
    json_num(j, "max_ms", l->max_ms, 4);
    json_int(j, "entries", l->n_entries);
    json_int(j, "bytes", l->n_bytes);
    json_int(j, "lookups", l->n_lookups);
    json_int(j, "found", l->n_found);
    json_end_object(j);
}

static void write_json(const struct bench_cache_plan *plan, const struct bench_cache_report *r,
                       struct buf *out)
{
    char cpu[128];
    struct json j;
    cpu_name(cpu, sizeof cpu);
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "cpu", cpu);
    json_int(&j, "writers", plan->n_writers);
    json_int(&j, "writer_puts_per_second", plan->rate);
    json_num(&j, "written_per_second", written_per_second(r), 0);
    json_int(&j, "writes_failed", r->n_failed);
    add_level(&j, "l1", &r->l1);
    add_level(&j, "l2", &r->l2);
    add_level(&j, "l3", &r->l3);
    json_num(&j, "open_ms", r->open_ms, 3);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

static void print_level(const char *name, const struct bench_cache_level *l, struct buf *out)
{
    buf_printf(out, "%-10s %9" PRId64 " %9.1f  %9.4f %9.4f %9.4f  %9d %8.1f %%\n", name, l->n_entries,
               (double)l->n_bytes / 1e6, l->p50_ms, l->p99_ms, l->max_ms, (int)l->n_lookups,
               l->n_lookups > 0 ? 100.0 * l->n_found / l->n_lookups : 0);
}

static void write_text(const struct bench_cache_plan *plan, const struct bench_cache_report *r,
                       struct buf *out)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    buf_printf(out, "%s; %" PRId64 " writers, %.0f completions a second in all, into each database\n", cpu,
               plan->n_writers, written_per_second(r));
    buf_add_str(out, "             entries        MB     p50 ms    p99 ms    max ms   look-ups      found\n");
    print_level("memory", &r->l1, out);
    print_level("disk", &r->l2, out);
    print_level("project", &r->l3, out);
    if (r->n_failed > 0) buf_printf(out, "transactions of writers that failed: %" PRId64 "\n", r->n_failed);
    buf_printf(out, "opening the database on disk: %.2f ms\n", r->open_ms);
}

int bench_cache(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    struct bench_cache_plan plan = {.n_entries = 1000000, .n_writers = 4, .rate = 500, .seconds = 10};
    const struct cli_option options[] = {{"entries", CLI_INT, &plan.n_entries, 1000, 10000000},
                                         {"writers", CLI_INT, &plan.n_writers, 0, BENCH_CACHE_WRITERS_MAX},
                                         {"rate", CLI_INT, &plan.rate, 1, 100000},
                                         {"seconds", CLI_FLOAT, &plan.seconds, 0.1, 3600},
                                         {"json", CLI_FLAG, &is_json, 0, 0},
                                         {0}};
    int n_args;
    (void)s;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("bench cache takes no arguments, only options");
    struct bench_cache_report report = {0};
    struct errmsg msg = {0};
    char *dir = NULL;
    enum err err = bench_cache_memory(&report, &msg);
    if (!err) err = make_dir(&dir, &msg);
    if (!err) {
        err = bench_cache_disk(&plan, dir, &report, &msg);
        remove_dir(dir);
    }
    if (err) return cli_fail(&msg);
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (is_json)
        write_json(&plan, &report, &out);
    else
        write_text(&plan, &report, &out);
    return cli_print(&out);
}
