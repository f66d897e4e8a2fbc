/* What the daemon takes of memory, disk and processors, for `inline bench targets`. See targets.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "cli/bench/code.h"
#include "cli/bench/targets.h"
#include "cli/settings.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/process.h"
#include "serve/attach_link.h"
#include "serve/lsp_frame.h"
#include "watch/metric_table.h"

#define MB           1e6
#define SETTLE_MS    500.0
#define QUIET_MS     4000.0 /* two quiet seconds after the last request the engine tidies up and saves KV */
#define WATCH_MS     10000.0
#define WATCH_MS_Q   3000.0
#define N_FILES      500 /* of the project: 100,000 lines */
#define N_FILES_Q    100
#define FILE_LINES   150 /* and up to 99 more, so that no two files are the same */
#define FILE_MAX     ((size_t)1 << 20)
#define MESSAGE_MAX  65536
#define N_PLACES     6
#define ASKED_TOKENS 4
#define FIRST_PLACE  100 /* the places of a project's questions were not asked for anything else */

static double watch_ms(const struct bench_targets *t)
{
    return t->is_quick ? WATCH_MS_Q : WATCH_MS;
}

/* --- Memory --------------------------------------------------------------------------------------------- */

static double memory_mb(const struct json_value *status, const char *what)
{
    return bench_targets_number(status, (const char *const[]){"memory", what, NULL}) / MB;
}

enum err bench_targets_base(struct bench_targets *t, struct errmsg *msg)
{
    struct json_value *status = NULL;
    bench_targets_step(t, "a daemon without a model");
    enum err err = bench_daemon_start(&t->daemon, t->settings, NULL, msg);
    if (!err) err = bench_targets_wait(t, SETTLE_MS, msg);
    if (!err) err = bench_targets_status(t, &status, msg);
    if (!err) bench_targets_set(t, TARGET_MEMORY_BASE, memory_mb(status, "rss_bytes"));
    json_read_free(&status);
    bench_daemon_stop(&t->daemon);
    return err;
}

enum err bench_targets_memory(struct bench_targets *t, enum bench_target target, struct errmsg *msg)
{
    struct json_value *status = NULL;
    enum err err = bench_targets_status(t, &status, msg);
    if (!err) {
        bench_targets_set(t, target, memory_mb(status, "rss_bytes") - memory_mb(status, "file_bytes"));
        bench_targets_detail(t, target, "KV of it", memory_mb(status, "kv_bytes"));
        bench_targets_detail(t, target, "pages of files", memory_mb(status, "file_bytes"));
    }
    json_read_free(&status);
    return err;
}

/* --- Processors ----------------------------------------------------------------------------------------- */

void bench_targets_clock_start(const struct bench_targets *t, struct bench_targets_clock *c)
{
    *c = (struct bench_targets_clock){process_cpu_ns(t->daemon.pid), clock_ns()};
}

double bench_targets_clock_percent(const struct bench_targets *t, const struct bench_targets_clock *c)
{
    int64_t now = process_cpu_ns(t->daemon.pid), wall_ns = clock_ns() - c->at_ns;
    if (now < 0 || wall_ns <= 0) return -1;
    return 100.0 * (double)(now - c->cpu_ns) / ((double)wall_ns * cpu_count());
}

enum err bench_targets_idle(struct bench_targets *t, struct errmsg *msg)
{
    struct bench_targets_clock clock;
    bench_targets_step(t, "doing nothing");
    enum err err = bench_targets_wait(t, QUIET_MS, msg);
    bench_targets_clock_start(t, &clock);
    if (!err) err = bench_targets_wait(t, watch_ms(t), msg);
    if (!err) bench_targets_set(t, TARGET_CPU_IDLE, bench_targets_clock_percent(t, &clock));
    return err;
}

/* --- A project ------------------------------------------------------------------------------------------ */

static void name_file(const struct bench_targets *t, int32_t i, struct buf *out)
{
    buf_reset(out);
    buf_printf(out, "%s/project/file_%d.c", t->daemon.home, i);
}

static enum err write_project(const struct bench_targets *t, int32_t n_files, struct errmsg *msg)
{
    struct buf path, text;
    buf_init(&path, MESSAGE_MAX);
    buf_init(&text, FILE_MAX);
    buf_printf(&path, "%s/project", t->daemon.home);
    enum err err = dirs_make(buf_str(&path), msg);
    for (int32_t i = 0; i < n_files && !err; i++) {
        name_file(t, i, &path);
        buf_reset(&text);
        bench_code_write(FILE_LINES + i % 100, &text);
        err = text.err ? text.err : file_write(buf_str(&path), text.data, text.len, msg);
    }
    buf_clear(&text);
    buf_clear(&path);
    return err;
}

/* Be an editor that opens the folder. */
static enum err open_project(const struct bench_targets *t, int *editor, struct errmsg *msg)
{
    struct buf body, frames;
    static const char initialized[] = "{\"jsonrpc\":\"2.0\",\"method\":\"initialized\",\"params\":{}}";
    enum err err = attach_link_connect(t->daemon.socket, editor, msg);
    if (err) return err;
    buf_init(&body, MESSAGE_MAX);
    buf_init(&frames, 2 * MESSAGE_MAX);
    buf_printf(
        &body,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"processId\":null,"
        "\"capabilities\":{},\"workspaceFolders\":[{\"uri\":\"file://%s/project\",\"name\":\"project\"}]}}",
        t->daemon.home);
    lsp_frame_write(buf_str(&body), body.len, &frames);
    lsp_frame_write(initialized, sizeof initialized - 1, &frames);
    if (frames.err || write(*editor, frames.data, frames.len) != (ssize_t)frames.len)
        err = err_set(msg, ERR_IO, "the daemon takes no messages of an editor");
    buf_clear(&frames);
    buf_clear(&body);
    return err;
}

/* Questions in a file of the project, then the same when only disks have the answers. */
static enum err ask_in_project(const struct bench_targets *t, struct errmsg *msg)
{
    struct bench_targets_text d = {0};
    struct json_value *answer = NULL;
    struct buf path;
    buf_init(&path, MESSAGE_MAX);
    name_file(t, 0, &path);
    enum err err = bench_targets_text_open(&d, msg);
    for (int32_t i = 0; i < 2 * N_PLACES && !err; i++) {
        struct bench_targets_question q = {.place = FIRST_PLACE + i % N_PLACES,
                                           .max_tokens = ASKED_TOKENS,
                                           .file = buf_str(&path),
                                           .patience_ms = -1};
        struct bench_targets_answer a;
        if (i == N_PLACES) {
            err = bench_targets_wait(t, SETTLE_MS, msg); /* they are written behind */
            if (!err)
                err = bench_daemon_ask(&t->daemon, "/cache/clear", "{\"level\":\"memory\"}", &answer, msg);
        }
        if (!err) err = bench_targets_ask(t, &d, &q, &a, msg);
    }
    json_read_free(&answer);
    bench_targets_text_clear(&d);
    buf_clear(&path);
    return err;
}

enum err bench_targets_project(struct bench_targets *t, struct errmsg *msg)
{
    struct bench_targets_clock clock;
    int editor = -1;
    bench_targets_step(t, "indexing a project");
    enum err err = write_project(t, t->is_quick ? N_FILES_Q : N_FILES, msg);
    bench_targets_clock_start(t, &clock);
    int64_t cpu_ns = process_cpu_ns(t->daemon.pid);
    if (!err) err = open_project(t, &editor, msg);
    if (!err) err = bench_targets_wait(t, watch_ms(t), msg);
    if (!err) {
        bench_targets_set(t, TARGET_CPU_BACKGROUND, bench_targets_clock_percent(t, &clock));
        bench_targets_detail(t, TARGET_CPU_BACKGROUND, "seconds of one processor",
                             (double)(process_cpu_ns(t->daemon.pid) - cpu_ns) / 1e9);
    }
    if (!err && t->small) err = ask_in_project(t, msg);
    if (editor >= 0) close(editor);
    return err;
}

/* --- Caches --------------------------------------------------------------------------------------------- */

/* The daemon's own figure of a stage, over all of its life (which is less than a day). */
static double stage_p99_ms(const struct json_value *status, const char *stage)
{
    const char *const keys[] = {"figures", "24h", metric_table[METRIC_STAGE_SECONDS].name,
                                stage,     "p99", NULL};
    return 1000 * bench_targets_number(status, keys);
}

static void report_lookups(struct bench_targets *t, const struct json_value *status)
{
    static const char *const levels[][2] = {
        {"cache_memory", "memory p99"}, {"cache_disk", "disk p99"}, {"cache_project", "project p99"}};
    double slowest = 0;
    if (!t->small) return;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        double ms = stage_p99_ms(status, levels[i][0]);
        if (ms > slowest) slowest = ms;
        bench_targets_detail(t, TARGET_CACHE_OPERATION, levels[i][1], ms);
    }
    if (slowest > 0)
        bench_targets_set(t, TARGET_CACHE_OPERATION, slowest);
    else
        bench_targets_skip(t, TARGET_CACHE_OPERATION, "no cache is on");
}

/* A sum over the levels of completions. */
static double levels_mb(const struct json_value *status, const char *what)
{
    static const char *const levels[] = {"memory", "disk", "project"};
    double bytes = 0;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        bytes +=
            bench_targets_number(status, (const char *const[]){"caches", "levels", levels[i], what, NULL});
    return bytes / MB;
}

enum err bench_targets_caches(struct bench_targets *t, struct errmsg *msg)
{
    struct json_value *status = NULL;
    enum err err = bench_targets_status(t, &status, msg);
    if (!err) {
        report_lookups(t, status);
        bench_targets_set(t, TARGET_CACHE_SIZE, levels_mb(status, "max_bytes"));
        bench_targets_detail(t, TARGET_CACHE_SIZE, "in use after this", levels_mb(status, "bytes"));
        bench_targets_detail(t, TARGET_CACHE_SIZE, "saved KV beside it, at most", t->settings->kv_mb);
    }
    json_read_free(&status);
    return err;
}
