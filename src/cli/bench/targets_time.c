/* How long things take, for `inline bench targets`. See targets.h. */
#include <string.h>
#include <time.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "cli/bench/bench.h"
#include "cli/bench/targets.h"
#include "os/clock.h"

#define N_LOADS       3
#define MIN_ASKED     4       /* questions of a kind, however long they take */
#define ASK_MS        12000.0 /* and no further one after so long */
#define N_PLACES      24
#define N_PLACES_Q    6
#define N_AGAIN       10 /* rounds over the same places: 240 samples, of which a p99 can be told */
#define N_AGAIN_Q     4
#define N_TYPED       5 /* characters typed at a place: a word */
#define N_TYPED_AT    8 /* places */
#define FRESH_TOKENS  16
#define KEYS_A_SECOND 5
#define TYPE_S        10
#define TYPE_S_QUICK  3
#define SAMPLES_MAX   1024

struct samples {
    double ms[SAMPLES_MAX];
    int32_t n;
};

static void add(struct samples *s, double ms)
{
    if (s->n < SAMPLES_MAX) s->ms[s->n++] = ms;
}

static double percentile(struct samples *s, double p)
{
    return bench_percentile(s->ms, s->n, p);
}

/* --- Loading -------------------------------------------------------------------------------------------- */

/* A tiny prompt that was not asked before, for one token: what is waited for is the model. */
static enum err ask_first(const struct bench_targets *t, int i, double *ms, struct errmsg *msg)
{
    struct json_value *answer = NULL;
    struct buf body;
    buf_init(&body, 1024);
    buf_printf(&body,
               "{\"input_prefix\":\"int first_%d(void)\\n{\\n    return \",\"input_suffix\":\";\\n}\\n\","
               "\"n_predict\":1}",
               i);
    enum err err = bench_daemon_ask(&t->daemon, "/infill", buf_str(&body), &answer, msg);
    *ms = clock_ms_since(t->daemon.start_ns);
    json_read_free(&answer);
    buf_clear(&body);
    return err;
}

static double loading_ms(const struct json_value *status)
{
    double ms = 0;
    (void)json_get_num(json_get(json_at(json_get(status, "models"), 0), "load_ms"), &ms);
    return ms;
}

enum err bench_targets_load(struct bench_targets *t, const char *model, enum bench_target target,
                            struct errmsg *msg)
{
    struct samples first = {0}, loading = {0};
    enum err err = OK;
    for (int i = 0; i < N_LOADS && !err; i++) {
        struct json_value *status = NULL;
        double ms = 0;
        bench_daemon_stop(&t->daemon);
        err = bench_daemon_start(&t->daemon, t->settings, model, msg);
        if (!err) err = ask_first(t, i, &ms, msg);
        if (!err) err = bench_targets_status(t, &status, msg);
        add(&first, ms);
        add(&loading, loading_ms(status));
        json_read_free(&status);
    }
    bench_targets_set(t, target, percentile(&first, 0.5));
    bench_targets_detail(t, target, "loading alone", percentile(&loading, 0.5));
    return err;
}

/* --- Answers -------------------------------------------------------------------------------------------- */

struct times {
    struct samples fresh, typed, cached, cached_inside, disk, context, context_typed;
    int64_t n_tokens;
    int32_t n_places, n_asked_again, n_found;
};

static enum err ask_places(const struct bench_targets *t, const struct bench_targets_text *d, struct times *r,
                           struct samples *wall, struct errmsg *msg)
{
    int64_t start = clock_ns();
    enum err err = OK;
    for (int32_t i = 0; i < r->n_places && !err; i++) {
        if (i >= MIN_ASKED && clock_ms_since(start) > ASK_MS) {
            r->n_places = i; /* what was not asked cannot be found again */
            break;
        }
        struct bench_targets_question q = {.place = i, .max_tokens = FRESH_TOKENS, .patience_ms = -1};
        struct bench_targets_answer a;
        err = bench_targets_ask(t, d, &q, &a, msg);
        if (err) break;
        if (wall != &r->disk || a.is_cached) add(wall, a.wall_ms); /* short answers are computed sooner */
        if (wall == &r->fresh) {
            add(&r->context, a.context_ms);
            r->n_tokens += a.n_tokens;
            continue;
        }
        if (wall != &r->cached) continue;
        add(&r->cached_inside, a.total_ms);
        r->n_asked_again++;
        if (a.is_cached) r->n_found++;
    }
    return err;
}

static enum err ask_typed(const struct bench_targets *t, const struct bench_targets_text *d, struct times *r,
                          struct errmsg *msg)
{
    int64_t start = clock_ns();
    enum err err = OK;
    int32_t n_places = r->n_places < N_TYPED_AT ? r->n_places : N_TYPED_AT;
    for (int32_t i = 0; i < n_places * N_TYPED && !err; i++) {
        if (r->typed.n >= N_TYPED && clock_ms_since(start) > ASK_MS) break;
        struct bench_targets_question q = {
            .place = i / N_TYPED, .n_typed = i % N_TYPED + 1, .max_tokens = FRESH_TOKENS, .patience_ms = -1};
        struct bench_targets_answer a;
        err = bench_targets_ask(t, d, &q, &a, msg);
        if (err) break;
        if (!a.is_cached) add(&r->typed, a.wall_ms);
        add(&r->context, a.context_ms);
        add(&r->context_typed, a.context_ms);
    }
    return err;
}

static void report(struct bench_targets *t, struct times *r)
{
    if (r->n_found < r->n_asked_again) {
        bench_targets_skip(t, TARGET_CACHED, "%d of %d answers were not found again",
                           r->n_asked_again - r->n_found, r->n_asked_again);
    } else {
        bench_targets_set(t, TARGET_CACHED, percentile(&r->cached, 0.99));
        bench_targets_detail(t, TARGET_CACHED, "p50", percentile(&r->cached, 0.5));
        bench_targets_detail(t, TARGET_CACHED, "p99 in the daemon", percentile(&r->cached_inside, 0.99));
        bench_targets_detail(t, TARGET_CACHED, "p50 from disk", percentile(&r->disk, 0.5));
    }
    bench_targets_set(t, TARGET_FRESH, percentile(&r->typed, 0.5));
    bench_targets_detail(t, TARGET_FRESH, "p95", percentile(&r->typed, 0.95));
    bench_targets_detail(t, TARGET_FRESH, "p50 at a new place", percentile(&r->fresh, 0.5));
    bench_targets_detail(t, TARGET_FRESH, "tokens", (double)r->n_tokens / r->n_places);
    bench_targets_set(t, TARGET_CONTEXT, percentile(&r->context, 0.99));
    bench_targets_detail(t, TARGET_CONTEXT, "p50", percentile(&r->context, 0.5));
    bench_targets_detail(t, TARGET_CONTEXT, "p50 after a key", percentile(&r->context_typed, 0.5));
    bench_targets_detail(t, TARGET_CONTEXT, "max", percentile(&r->context, 1));
}

enum err bench_targets_times(struct bench_targets *t, struct errmsg *msg)
{
    struct times *r = MEM_NEW(struct times);
    struct bench_targets_text d = {0};
    struct json_value *answer = NULL;
    enum err err = bench_targets_text_open(&d, msg);
    r->n_places = t->is_quick ? N_PLACES_Q : N_PLACES;
    bench_targets_step(t, "completions at other places, and found again");
    if (!err) err = ask_places(t, &d, r, &r->fresh, msg);
    for (int32_t i = 0; i < (t->is_quick ? N_AGAIN_Q : N_AGAIN) && !err; i++)
        err = ask_places(t, &d, r, &r->cached, msg);
    /* Once more when only the disk has them; they are written behind. */
    if (!err) err = bench_targets_wait(t, 500, msg);
    if (!err) err = bench_daemon_ask(&t->daemon, "/cache/clear", "{\"level\":\"memory\"}", &answer, msg);
    if (!err) err = ask_places(t, &d, r, &r->disk, msg);
    bench_targets_step(t, "completions after a key");
    if (!err) err = ask_typed(t, &d, r, msg);
    if (!err) report(t, r);
    json_read_free(&answer);
    bench_targets_text_clear(&d);
    mem_free(r);
    return err;
}

/* --- Typing --------------------------------------------------------------------------------------------- */

/* All at one place; the time of each key is given. */
static enum err type_keys(const struct bench_targets *t, const struct bench_targets_text *d, int32_t n_keys,
                          int32_t *n_answered, struct errmsg *msg)
{
    const int64_t interval_ns = 1000000000 / KEYS_A_SECOND;
    int64_t start = clock_ns();
    enum err err = OK;
    for (int32_t i = 0; i < n_keys && !err; i++) {
        int64_t next_ns = start + (i + 1) * interval_ns, left_ns = next_ns - clock_ns();
        struct bench_targets_question q = {
            .place = N_PLACES, .n_typed = i + 1, .patience_ms = left_ns > 0 ? (int)(left_ns / 1000000) : 0};
        struct bench_targets_answer a;
        err = bench_targets_ask(t, d, &q, &a, msg);
        if (!err) ++*n_answered;
        if (err == ERR_CANCELLED && !atomic_load(t->interrupted)) err = OK; /* the next key came first */
        if (!err) err = bench_targets_wait(t, (double)(next_ns - clock_ns()) / 1e6, msg);
    }
    return err;
}

enum err bench_targets_type(struct bench_targets *t, double *cpu_percent, double *answered_percent,
                            struct errmsg *msg)
{
    struct bench_targets_text d = {0};
    struct bench_targets_clock clock;
    int32_t n_keys = KEYS_A_SECOND * (t->is_quick ? TYPE_S_QUICK : TYPE_S), n_answered = 0;
    struct bench_targets_question opened = {.place = N_PLACES, .patience_ms = -1};
    struct bench_targets_answer a;
    enum err err = bench_targets_text_open(&d, msg);
    if (!err) err = bench_targets_ask(t, &d, &opened, &a, msg); /* the file was open before */
    bench_targets_clock_start(t, &clock);
    if (!err) err = type_keys(t, &d, n_keys, &n_answered, msg);
    *cpu_percent = bench_targets_clock_percent(t, &clock);
    *answered_percent = 100.0 * n_answered / n_keys;
    bench_targets_text_clear(&d);
    return err;
}
