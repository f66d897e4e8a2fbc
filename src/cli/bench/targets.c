/* `inline bench targets`: each promise about speed, memory and processors, held against what this machine
 * does. A daemon of our own is asked as clients ask (daemon.h); the parts that measure are in
 * targets_time.c and targets_use.c, and this is the command, the table of targets and the report.
 *
 * The limits are what users were promised; beside them stands what we aim for, which decides nothing. */
#include "cli/bench/targets.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "os/clock.h"
#include "os/cpu.h"

#define REPORT_LIMIT 65536
#define WAIT_STEP_MS 100.0 /* an interrupt is seen after at most so long */

const struct bench_target_row bench_targets_rows[TARGET_N] = {
    [TARGET_CACHED] = {"completion_cached", "completion, cached: p99", "ms", 100, 2,
                       "as a client on this machine sees it, connecting included"},
    [TARGET_FRESH] = {"completion_fresh", "completion, fresh: p50", "ms", 500, 400,
                      "16 tokens after a key; at a new place the text around it is read first"},
    [TARGET_LOAD_SMALL] = {"load_small", "model loading, small", "ms", 2000, 100,
                           "from the daemon's start to a first answer, files in the page cache"},
    [TARGET_LOAD_LARGE] = {"load_large", "model loading, large", "ms", 5000, 0, "the same"},
    [TARGET_CONTEXT] = {"context", "context building: p99", "ms", 50, 1,
                        "at other places and after each key"},
    [TARGET_CACHE_OPERATION] = {"cache_operation", "cache operation: p99", "ms", 10, 0.5,
                                "the slowest level's lookups"},
    [TARGET_MEMORY_BASE] = {"memory_base", "memory without a model", "MB", 100, 12, "resident"},
    [TARGET_MEMORY_SMALL] = {"memory_small", "memory with a small model", "MB", 2000, 150,
                             "resident, beyond the pages of files, which the system takes back at will"},
    [TARGET_MEMORY_LARGE] = {"memory_large", "memory with a large model", "MB", 8000, 0, "the same"},
    [TARGET_CACHE_SIZE] = {"cache_size", "caches of completions", "MB", 500, 272,
                           "what memory, disk and projects may take together"},
    [TARGET_CPU_IDLE] = {"cpu_idle", "all processors, idle", "%", 5, 0.1,
                         "share of all processors' time, model in memory"},
    [TARGET_CPU_ACTIVE] = {"cpu_active", "all processors, typing", "%", 30, 0,
                           "the same, over 10 s at 5 keys a second without a pause"},
    [TARGET_CPU_BACKGROUND] = {"cpu_background", "all processors, background", "%", 15, 0,
                               "the same, over the 10 s after a project was opened"},
};

/* --- What the parts use --------------------------------------------------------------------------------- */

void bench_targets_set(struct bench_targets *t, enum bench_target target, double value)
{
    struct bench_target_figure *f = &t->figures[target];
    f->is_measured = value >= 0;
    f->value = value;
    if (value < 0) bench_targets_skip(t, target, "the system does not tell");
}

void bench_targets_detail(struct bench_targets *t, enum bench_target target, const char *name, double value)
{
    struct bench_target_figure *f = &t->figures[target];
    if (f->n_details == TARGET_DETAILS_MAX) return;
    f->names[f->n_details] = name;
    f->details[f->n_details++] = value;
}

void bench_targets_skip(struct bench_targets *t, enum bench_target target, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(t->figures[target].why, sizeof t->figures[target].why, fmt, args);
    va_end(args);
    t->figures[target].is_measured = false;
}

void bench_targets_step(const struct bench_targets *t, const char *what)
{
    if (t->shows_steps) fprintf(stderr, "  %s\n", what);
}

enum err bench_targets_wait(const struct bench_targets *t, double ms, struct errmsg *msg)
{
    int64_t end_ns = clock_ns() + (int64_t)(ms * 1e6), left_ns;
    while ((left_ns = end_ns - clock_ns()) > 0) {
        if (left_ns > (int64_t)(WAIT_STEP_MS * 1e6)) left_ns = (int64_t)(WAIT_STEP_MS * 1e6);
        if (atomic_load(t->interrupted)) return err_set(msg, ERR_CANCELLED, "interrupted");
        nanosleep(&(struct timespec){.tv_nsec = left_ns}, NULL);
    }
    return OK;
}

enum err bench_targets_status(const struct bench_targets *t, struct json_value **status, struct errmsg *msg)
{
    return bench_daemon_ask(&t->daemon, "/status", NULL, status, msg);
}

double bench_targets_number(const struct json_value *object, const char *const keys[])
{
    double number = 0;
    for (; *keys; keys++) object = json_get(object, *keys);
    (void)json_get_num(object, &number);
    return number;
}

/* --- The run -------------------------------------------------------------------------------------------- */

/* The weights are packed and in the page cache before anything is measured, as they are for a user from the
 * second day on. */
static enum err prepare(struct bench_targets *t, const char *model, struct errmsg *msg)
{
    const struct settings *s = t->settings;
    struct bench_engine e = {0};
    struct engine_options o = {0};
    o.eight_bit = strcmp(s->eight_bit, "mxfp8") == 0 ? KERN_MXFP8 : KERN_Q8_0;
    (void)precision_parse(s->precision, &o.precision); /* the settings allow only what it knows */
    bool has_packs = cli_pack_dir(s) != NULL;
    bench_targets_step(t, "packing and reading weights");
    enum err err = bench_engine_open(model, s, &o, has_packs ? BENCH_PACKED_ON : BENCH_PACKED_OFF, &e, msg);
    if (err == ERR_UNSUPPORTED && has_packs) err = bench_engine_open(model, s, &o, BENCH_PACKED_OFF, &e, msg);
    bench_engine_close(&e);
    return err;
}

static const enum bench_target small_ones[] = {TARGET_CACHED,    TARGET_FRESH,           TARGET_LOAD_SMALL,
                                               TARGET_CONTEXT,   TARGET_CACHE_OPERATION, TARGET_MEMORY_SMALL,
                                               TARGET_CPU_ACTIVE};

static enum err measure_small(struct bench_targets *t, struct errmsg *msg)
{
    enum err err = prepare(t, t->small, msg);
    bench_targets_step(t, "loading");
    if (!err) err = bench_targets_load(t, t->small, TARGET_LOAD_SMALL, msg);
    if (!err) err = bench_targets_times(t, msg);
    if (!err) err = bench_targets_memory(t, TARGET_MEMORY_SMALL, msg);
    return err;
}

/* As the user has it set up, and if that is more than the target, with the ceiling that holds it. */
static enum err measure_typing(struct bench_targets *t, struct errmsg *msg)
{
    double cpu, answered;
    bench_targets_step(t, "typing");
    enum err err = bench_targets_type(t, &cpu, &answered, msg);
    if (err) return err;
    bench_targets_set(t, TARGET_CPU_ACTIVE, cpu);
    bench_targets_detail(t, TARGET_CPU_ACTIVE, "% of keys answered in time", answered);
    if (cpu < bench_targets_rows[TARGET_CPU_ACTIVE].limit) return OK;
    bench_targets_step(t, "typing, under a ceiling");
    bench_daemon_stop(&t->daemon);
    t->daemon.setting = "INLINE_LIMITS_CPU_PERCENT=28"; /* kept within 2 points */
    err = bench_daemon_start(&t->daemon, t->settings, t->small, msg);
    if (!err) err = bench_targets_type(t, &cpu, &answered, msg);
    t->daemon.setting = NULL;
    bench_targets_detail(t, TARGET_CPU_ACTIVE, "with limits.cpu_percent = 28", cpu);
    bench_targets_detail(t, TARGET_CPU_ACTIVE, "and of keys answered", answered);
    return err;
}

static enum err measure_large(struct bench_targets *t, struct errmsg *msg)
{
    struct bench_targets_text d = {0};
    enum err err = prepare(t, t->large, msg);
    bench_targets_step(t, "loading the large model");
    if (!err) err = bench_targets_load(t, t->large, TARGET_LOAD_LARGE, msg);
    if (!err) err = bench_targets_text_open(&d, msg);
    struct bench_targets_question q = {.max_tokens = 1, .patience_ms = -1};
    struct bench_targets_answer a;
    if (!err) err = bench_targets_ask(t, &d, &q, &a, msg);
    if (!err) err = bench_targets_memory(t, TARGET_MEMORY_LARGE, msg);
    bench_targets_text_clear(&d);
    return err;
}

static enum err measure(struct bench_targets *t, struct errmsg *msg)
{
    enum err err = bench_daemon_open(&t->daemon, msg);
    if (!err) err = bench_targets_base(t, msg);
    if (!err && t->small) err = measure_small(t, msg);
    if (!err && !t->small) err = bench_daemon_start(&t->daemon, t->settings, NULL, msg);
    if (!err) err = bench_targets_idle(t, msg);
    if (!err) err = bench_targets_project(t, msg);
    if (!err) err = bench_targets_caches(t, msg);
    if (!err && t->small) err = measure_typing(t, msg);
    if (!err && t->large) err = measure_large(t, msg);
    bench_daemon_close(&t->daemon);
    return err;
}

/* --- The report ----------------------------------------------------------------------------------------- */

static bool passes(const struct bench_targets *t, int i)
{
    return t->figures[i].value < bench_targets_rows[i].limit;
}

static bool is_as_aimed(const struct bench_targets *t, int i)
{
    return t->figures[i].value < bench_targets_rows[i].aim;
}

static void add_machine(const struct bench_targets *t, struct json *j)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    json_str(j, "version", INLINE_VERSION);
    json_str(j, "cpu", cpu);
    json_int(j, "processors", cpu_count());
    json_str(j, "small", t->small);
    json_str(j, "large", t->large);
    json_flag(j, "quick", t->is_quick);
}

static void add_target(const struct bench_targets *t, int i, struct json *j)
{
    const struct bench_target_row *row = &bench_targets_rows[i];
    const struct bench_target_figure *f = &t->figures[i];
    json_begin_object(j, NULL);
    json_str(j, "name", row->key);
    json_str(j, "what", row->what);
    json_str(j, "measured_as", row->sense);
    json_str(j, "unit", row->unit);
    json_num(j, "limit", row->limit, 3);
    if (row->aim > 0) json_num(j, "aim", row->aim, 3);
    json_flag(j, "measured", f->is_measured);
    if (f->is_measured) {
        json_num(j, "figure", f->value, 4);
        json_flag(j, "passes", passes(t, i));
        if (row->aim > 0) json_flag(j, "reaches_aim", is_as_aimed(t, i));
    } else {
        json_str(j, "why", f->why);
    }
    json_begin_object(j, "details");
    for (int32_t k = 0; k < f->n_details; k++) json_num(j, f->names[k], f->details[k], 4);
    json_end_object(j);
    json_end_object(j);
}

static void write_json(const struct bench_targets *t, double seconds, struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    add_machine(t, &j);
    json_num(&j, "seconds", seconds, 1);
    json_begin_array(&j, "targets");
    for (int i = 0; i < TARGET_N; i++) add_target(t, i, &j);
    json_end_array(&j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

/* Three digits or so: "0.41", "12.3", "464". */
static void add_number(struct buf *out, double value)
{
    buf_printf(out, "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void write_line(const struct bench_targets *t, int i, struct buf *out)
{
    const struct bench_target_row *row = &bench_targets_rows[i];
    const struct bench_target_figure *f = &t->figures[i];
    char limit[32], aim[32] = "";
    snprintf(limit, sizeof limit, "< %g %s", row->limit, row->unit);
    if (row->aim > 0) snprintf(aim, sizeof aim, "< %g %s", row->aim, row->unit);
    buf_printf(out, "%-27s %-10s %-10s ", row->what, limit, aim);
    if (!f->is_measured) {
        buf_printf(out, "not measured: %s\n", f->why);
        return;
    }
    struct buf figure;
    buf_init(&figure, REPORT_LIMIT);
    add_number(&figure, f->value);
    buf_printf(&figure, " %s", row->unit);
    buf_printf(out, "%10s  %-5s", buf_str(&figure), passes(t, i) ? "pass" : "FAIL");
    for (int32_t k = 0; k < f->n_details; k++) {
        buf_printf(out, "%s%s: ", k == 0 ? " " : ", ", f->names[k]);
        add_number(out, f->details[k]);
    }
    buf_add_char(out, '\n');
    buf_clear(&figure);
}

static void write_plain(const struct bench_targets *t, double seconds, struct buf *out)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    buf_printf(out, "inline %s, %s, %d processors", INLINE_VERSION, cpu, cpu_count());
    if (t->small) buf_printf(out, ", small model %s", file_name(t->small));
    if (t->large) buf_printf(out, ", large model %s", file_name(t->large));
    buf_printf(out, "; took %.0f s\n\n%-27s %-10s %-10s %10s\n", seconds, "", "target", "our aim",
               "measured");
    for (int i = 0; i < TARGET_N; i++) write_line(t, i, out);
}

/* --- The command ---------------------------------------------------------------------------------------- */

/* Paths of the models; those without one are told why nothing is measured of them. */
static enum err pick_models(struct bench_targets *t, const char *small, const char *large, struct errmsg *msg)
{
    struct errmsg none = {0};
    enum err err = cli_pick_model(small, t->settings, &t->small, small ? msg : &none);
    if (err && small) return err;
    for (size_t i = 0; !t->small && i < sizeof small_ones / sizeof *small_ones; i++)
        bench_targets_skip(t, small_ones[i], "no model: %.100s", none.text);
    if (large) return cli_pick_model(large, t->settings, &t->large, msg);
    bench_targets_skip(t, TARGET_LOAD_LARGE, "no model was named (--large)");
    bench_targets_skip(t, TARGET_MEMORY_LARGE, "no model was named (--large)");
    return OK;
}

static int finish(const struct bench_targets *t, bool is_json, double seconds)
{
    struct buf out;
    int status = CLI_OK;
    buf_init(&out, REPORT_LIMIT);
    if (is_json) {
        write_json(t, seconds, &out);
    } else {
        write_plain(t, seconds, &out);
    }
    for (int i = 0; i < TARGET_N; i++) {
        if (t->figures[i].is_measured && !passes(t, i)) status = CLI_FAILED;
    }
    int printed = cli_print(&out);
    return printed ? printed : status;
}

int bench_targets(int argc, char **argv, const struct settings *s)
{
    const char *large = NULL;
    bool is_json = false;
    struct bench_targets *t = MEM_NEW(struct bench_targets);
    const struct cli_option options[] = {{"large", CLI_STRING, &large, 0, 0},
                                         {"quick", CLI_FLAG, &t->is_quick, 0, 0},
                                         {"json", CLI_FLAG, &is_json, 0, 0},
                                         {0}};
    int n_args, status;
    if (!cli_parse(argc, argv, options, &n_args)) {
        mem_free(t);
        return CLI_USAGE;
    }
    if (n_args > 1) {
        mem_free(t);
        return cli_usage_error("bench targets takes one model; see: inline bench --help");
    }
    struct errmsg msg = {0};
    struct sigaction before;
    int64_t start = clock_ns();
    t->settings = s;
    t->shows_steps = isatty(STDERR_FILENO);
    t->interrupted = interrupt_begin(&before);
    enum err err = pick_models(t, n_args > 0 ? argv[1] : NULL, large, &msg);
    if (!err) err = measure(t, &msg);
    interrupt_end(&before);
    status = err ? cli_fail(&msg) : finish(t, is_json, clock_ms_since(start) / 1000);
    mem_free(t->small);
    mem_free(t->large);
    mem_free(t);
    return status;
}
