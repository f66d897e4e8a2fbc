/* `inline bench`: dispatch, and what its commands share. */
#include "cli/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "cli/cli.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/cpu.h"

#define RESIDENT_POLL_NS 2000000 /* 2 ms: nothing else runs meanwhile */
#define RESIDENT_MAX_MS  120000

int cli_bench(int argc, char **argv, const struct settings *s)
{
    static const struct cli_subcommand list[] = {{"model", bench_model},     {"trace", bench_trace},
                                                 {"context", bench_context}, {"cache", bench_cache},
                                                 {"targets", bench_targets}, {NULL, NULL}};
    return cli_subcommand("bench", list, argc, argv, s);
}

/* --- The engine -------------------------------------------------------------------------------------- */

static enum err compute_first_token(struct engine *e, struct errmsg *msg)
{
    struct engine_seq *seq = NULL;
    const int32_t token = 0;
    enum err err = engine_seq_open(e, 1, &seq, msg);
    if (err) return err;
    err = engine_seq_sync(seq, &token, 1, NULL, NULL);
    engine_seq_close(&seq);
    return err ? err_set(msg, err, "cannot compute a token: %s", err_text(err)) : OK;
}

/* As long as that may take on a slow disk; what cannot be read never comes. */
static enum err wait_resident(struct bench_engine *e, struct errmsg *msg)
{
    const struct timespec pause = {.tv_nsec = RESIDENT_POLL_NS};
    struct residency_state state;
    int64_t start = clock_ns();
    enum err err = OK;
    engine_residency(e->engine, &state);
    while (!state.is_done && !err && clock_ms_since(start) < RESIDENT_MAX_MS) {
        nanosleep(&pause, NULL);
        err = engine_check(e->engine, msg);
        engine_residency(e->engine, &state);
    }
    e->resident_ms = state.ms;
    return err;
}

enum err bench_engine_open(const char *path, const struct settings *s, const struct engine_options *options,
                           enum bench_packed packed, struct bench_engine *out, struct errmsg *msg)
{
    *out = (struct bench_engine){0};
    struct engine_options o = *options;
    o.n_threads = s->threads;
    o.isa = s->isa[0] ? s->isa : NULL;
    o.pack_dir = packed == BENCH_PACKED_OFF ? NULL : "";
    o.pack_build = packed == BENCH_PACKED_ON;
    o.pack_bytes = (int64_t)s->packs_mb * 1000000;
    o.read_ahead = true;
    int64_t start = clock_ns();
    enum err err = model_open(path, &out->model, msg);
    if (!err) err = engine_open(out->model, &o, &out->engine, msg);
    out->load_ms = clock_ms_since(start);
    if (!err) err = compute_first_token(out->engine, msg);
    out->first_token_ms = clock_ms_since(start);
    if (!err && packed != BENCH_PACKED_OFF) out->is_packed = engine_wait_packed(out->engine);
    if (!err && packed == BENCH_PACKED_ON && !out->is_packed)
        err = err_set(msg, ERR_UNSUPPORTED, "%s: its weights cannot be packed here", path);
    if (!err) err = wait_resident(out, msg);
    if (err) bench_engine_close(out);
    return err;
}

void bench_engine_close(struct bench_engine *e)
{
    engine_close(&e->engine);
    model_unref(&e->model);
    *e = (struct bench_engine){0};
}

void bench_add_machine(struct json *j, const struct bench_engine *e)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    json_str(j, "model", e->model->name);
    json_str(j, "cpu", cpu);
    json_str(j, "isa", engine_isa(e->engine));
    json_int(j, "threads", engine_threads(e->engine));
    json_flag(j, "packed", e->is_packed);
}

void bench_print_machine(const struct bench_engine *e)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    printf("%s, %s, %d threads, %s%s\n", e->model->name, cpu, engine_threads(e->engine),
           engine_isa(e->engine), e->is_packed ? ", packed weights" : "");
}

/* --- Figures and options ----------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(double *values, int32_t n, double p)
{
    if (n == 0) return 0;
    qsort(values, (size_t)n, sizeof *values, compare_doubles);
    double place = p * (n - 1);
    int32_t low = (int32_t)place;
    int32_t high = low + 1 < n ? low + 1 : low;
    return values[low] + (values[high] - values[low]) * (place - low);
}

bool bench_read_choice(const char *option, const char *text, const char *const *words, int32_t n_words,
                       int32_t *out)
{
    struct buf list;
    buf_init(&list, 256);
    for (int32_t i = 0; i < n_words; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            buf_clear(&list);
            return true;
        }
        buf_printf(&list, " %s", words[i]);
    }
    cli_usage_error("--%s is one of:%s; not \"%s\"", option, buf_str(&list), text);
    buf_clear(&list);
    return false;
}
