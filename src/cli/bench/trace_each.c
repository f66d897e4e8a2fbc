/* Keys one after the other: where each prompt's tokens came from, and what each answer took. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/trace.h"
#include "os/clock.h"

#define OUTPUT_MAX ((size_t)64 << 20)

struct sample {
    const char *key; /* view of what was typed; null for the first request, before any key */
    size_t key_len;
    struct bench_answer answer;
    double refresh_ms; /* of the pause after it */
    int32_t n_inexact; /* tokens of moved KV that were left after it, before the pause */
};

struct run {
    struct sample *samples; /* [n]; the first is the request before the first key */
    int32_t n;
    double *scratch; /* [n] */
};

typedef double figure_fn(const struct sample *s);

static double ttft(const struct sample *s)
{
    return s->answer.ttft_ms;
}
static double total(const struct sample *s)
{
    return s->answer.total_ms;
}
static double build(const struct sample *s)
{
    return s->answer.build_ms;
}
static double refresh(const struct sample *s)
{
    return s->refresh_ms;
}
static double n_prompt(const struct sample *s)
{
    return s->answer.engine.n_prompt;
}
static double n_generated(const struct sample *s)
{
    return s->answer.engine.n_generated;
}
static double n_drafted(const struct sample *s)
{
    return s->answer.engine.n_drafted;
}
static double n_accepted(const struct sample *s)
{
    return s->answer.engine.n_accepted;
}
static double n_computed(const struct sample *s)
{
    return s->answer.engine.reuse.n_computed;
}
static double n_moved(const struct sample *s)
{
    return s->answer.engine.reuse.n_moved;
}

static double reused(const struct sample *s)
{
    return s->answer.engine.reuse.n_reused + s->answer.engine.reuse.n_restored;
}

/* Of the keys, without the first request. */
static double percentile(const struct run *r, figure_fn *figure, double p)
{
    for (int32_t i = 1; i < r->n; i++) r->scratch[i - 1] = figure(&r->samples[i]);
    return bench_percentile(r->scratch, r->n - 1, p);
}

static double sum(const struct run *r, figure_fn *figure)
{
    double all = 0;
    for (int32_t i = 1; i < r->n; i++) all += figure(&r->samples[i]);
    return all;
}

static const struct {
    const char *key, *label;
    figure_fn *figure;
} times[] = {{"ttft", "time to first token", ttft},
             {"total", "whole answer", total},
             {"build", "building the prompt", build}};

static const struct {
    const char *key, *label;
    figure_fn *figure;
} counts[] = {{"prompt_tokens", "prompt tokens", n_prompt},
              {"reused", "of them reused", reused},
              {"moved", "of them moved", n_moved},
              {"computed", "of them computed", n_computed},
              {"generated", "tokens generated", n_generated},
              {"drafted", "tokens drafted", n_drafted},
              {"accepted", "of them accepted", n_accepted}};

#define N_TIMES  (sizeof times / sizeof *times)
#define N_COUNTS (sizeof counts / sizeof *counts)

/* --- Reporting --------------------------------------------------------------------------------------- */

static void add_times(struct json *j, const struct run *r)
{
    static const struct {
        const char *name;
        double p;
    } marks[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}};
    char key[64];
    for (size_t i = 0; i < N_TIMES; i++) {
        for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
            snprintf(key, sizeof key, "%s_%s_ms", times[i].key, marks[m].name);
            json_num(j, key, percentile(r, times[i].figure, marks[m].p), 3);
        }
    }
}

static void add_sample(struct json *j, const struct sample *s)
{
    json_begin_object(j, NULL);
    json_str_len(j, "key", s->key ? s->key : "", s->key_len);
    for (size_t i = 0; i < N_COUNTS; i++) json_int(j, counts[i].key, (int64_t)counts[i].figure(s));
    json_int(j, "inexact", s->n_inexact);
    for (size_t i = 0; i < N_TIMES; i++) {
        char key[64];
        snprintf(key, sizeof key, "%s_ms", times[i].key);
        json_num(j, key, times[i].figure(s), 3);
    }
    json_num(j, "refresh_ms", s->refresh_ms, 3);
    json_end_object(j);
}

static void print_json(const struct bench_trace_plan *plan, const struct bench_engine *e,
                       const struct bench_asker *a, const struct run *r)
{
    struct buf out;
    struct json j;
    char key[64];
    buf_init(&out, OUTPUT_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    bench_trace_add_plan(&j, plan, e, a);
    json_int(&j, "keys", r->n - 1);
    json_num(&j, "first_request_ms", total(&r->samples[0]), 3);
    json_num(&j, "first_ttft_ms", ttft(&r->samples[0]), 3);
    add_times(&j, r);
    json_num(&j, "refresh_p50_ms", percentile(r, refresh, 0.5), 3);
    for (size_t i = 0; i < N_COUNTS; i++) {
        snprintf(key, sizeof key, "%s_per_key_median", counts[i].key);
        json_num(&j, key, percentile(r, counts[i].figure, 0.5), 1);
        snprintf(key, sizeof key, "%s_per_key_mean", counts[i].key);
        json_num(&j, key, sum(r, counts[i].figure) / (r->n - 1), 2);
    }
    json_begin_array(&j, "each"); /* the first request, then every key */
    for (int32_t i = 0; i < r->n; i++) add_sample(&j, &r->samples[i]);
    json_end_array(&j);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_plain(const struct bench_trace_plan *plan, const struct bench_engine *e,
                        const struct bench_asker *a, const struct run *r)
{
    bench_print_machine(e);
    printf("%s, line %lld, %d keys, answers of at most %d tokens, %s%s%s\n", a->path, (long long)plan->line,
           r->n - 1, plan->max_tokens, fim_order_name(a->fim.order),
           plan->engine.move == ENGINE_MOVE_ON ? ", KV moves" : "",
           plan->has_refresh ? ", refreshed between keys" : "");
    printf("%-24s %10.2f ms, its first token after %.2f ms\n", "first request", total(&r->samples[0]),
           ttft(&r->samples[0]));
    printf("%-24s %10s %10s %10s\n", "per key", "p50", "p95", "p99");
    for (size_t i = 0; i < N_TIMES; i++) {
        printf("%-24s %10.2f %10.2f %10.2f ms\n", times[i].label, percentile(r, times[i].figure, 0.5),
               percentile(r, times[i].figure, 0.95), percentile(r, times[i].figure, 0.99));
    }
    if (plan->has_refresh) {
        printf("%-24s %10.2f %10.2f %10.2f ms\n", "refresh after it", percentile(r, refresh, 0.5),
               percentile(r, refresh, 0.95), percentile(r, refresh, 0.99));
    }
    for (size_t i = 0; i < N_COUNTS; i++) {
        printf("%-24s %10.0f %10.0f %10.0f\n", counts[i].label, percentile(r, counts[i].figure, 0.5),
               percentile(r, counts[i].figure, 0.95), percentile(r, counts[i].figure, 0.99));
    }
}

/* --- Replaying --------------------------------------------------------------------------------------- */

static enum err ask(const struct bench_trace_plan *plan, struct bench_asker *a, const struct bench_text *t,
                    struct sample *s, struct errmsg *msg)
{
    enum err err = bench_ask(a, t, NULL, &s->answer, msg);
    if (err) return err;
    s->n_inexact = engine_seq_n_inexact(a->seq);
    if (!plan->has_refresh) return OK;
    int64_t start = clock_ns();
    err = engine_seq_refresh(a->seq, NULL);
    s->refresh_ms = clock_ms_since(start);
    return err ? err_set(msg, err, "cannot refresh: %s", err_text(err)) : OK;
}

enum err bench_trace_each(const struct bench_trace_plan *plan, const struct bench_engine *e,
                          struct bench_asker *a, struct bench_text *t, const struct bench_keys *keys,
                          struct errmsg *msg)
{
    struct run r = {.n = keys->n + 1};
    r.samples = mem_try((size_t)r.n, sizeof *r.samples);
    r.scratch = mem_try((size_t)r.n, sizeof *r.scratch);
    enum err err = OK;
    if (!r.samples || !r.scratch) err = err_set(msg, ERR_NOMEM, "not enough memory for %d keys", keys->n);
    if (!err) err = ask(plan, a, t, &r.samples[0], msg);
    size_t at = 0;
    for (int32_t i = 1; i < r.n && !err; i++) {
        struct sample *s = &r.samples[i];
        s->key = keys->text + at;
        s->key_len = bench_text_char(keys->text, keys->len, at);
        at += s->key_len;
        if (bench_text_insert(t, t->cursor, s->key, s->key_len))
            err = err_set(msg, ERR_NOMEM, "not enough memory");
        if (!err) err = ask(plan, a, t, s, msg);
    }
    if (!err) (plan->is_json ? print_json : print_plain)(plan, e, a, &r);
    mem_free(r.samples);
    mem_free(r.scratch);
    return err;
}
