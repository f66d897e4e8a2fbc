/* Keys in real time. A second thread types; each of its keys cancels the answer that is being computed, as an
 * editor does, and the main thread goes on with the newest text. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/bench/trace.h"
#include "os/clock.h"

/* What the two threads share. The typist owns n_typed and key_ns until `lock` is taken; `cancel` is set by
 * the typist and cleared by the main thread, both under the lock, and polled by the engine without it. */
struct typist {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t has_typed;
    double interval_ns;
    int32_t n_keys;
    int32_t n_typed;
    int64_t *key_ns; /* [n_keys]: when each was typed */
    atomic_bool cancel;
};

struct run {
    int32_t n_keys, n_in_time, n_first_in_time; /* keys, answers and first tokens before the next key */
    int32_t n_answers, n_cancels;               /* whole answers, and answers that were cut off */
    double *ttft_ms, *total_ms;                 /* of whole answers, from the key */
    double *cancel_ms;                          /* from the key that cut off until the engine was free */
    double last_ttft_ms, last_total_ms;         /* of the last key */
};

static void sleep_until(int64_t when_ns)
{
    int64_t left = when_ns - clock_ns();
    if (left <= 0) return;
    struct timespec t = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    nanosleep(&t, NULL);
}

static void *type_keys(void *arg)
{
    struct typist *y = arg;
    int64_t start = clock_ns();
    for (int32_t i = 0; i < y->n_keys; i++) {
        sleep_until(start + (int64_t)(y->interval_ns * i));
        pthread_mutex_lock(&y->lock);
        y->key_ns[i] = clock_ns();
        y->n_typed = i + 1;
        atomic_store(&y->cancel, true);
        pthread_cond_signal(&y->has_typed);
        pthread_mutex_unlock(&y->lock);
    }
    return NULL;
}

/* Wait until more than n keys were typed; from then on, only a later key cancels. */
static int32_t wait_for_key(struct typist *y, int32_t n)
{
    pthread_mutex_lock(&y->lock);
    while (y->n_typed == n) pthread_cond_wait(&y->has_typed, &y->lock);
    int32_t n_typed = y->n_typed;
    atomic_store(&y->cancel, false);
    pthread_mutex_unlock(&y->lock);
    return n_typed;
}

/* When key i (from 0) was typed; INT64_MAX if it was not yet, or there is none. */
static int64_t time_of_key(struct typist *y, int32_t i)
{
    pthread_mutex_lock(&y->lock);
    int64_t when = i < y->n_typed ? y->key_ns[i] : INT64_MAX;
    pthread_mutex_unlock(&y->lock);
    return when;
}

static double ms_between(int64_t from_ns, int64_t to_ns)
{
    return (double)(to_ns - from_ns) / 1e6;
}

/* What became of the answer to key n - 1, which ended just now. */
static void note_answer(struct run *r, struct typist *y, int32_t n, int64_t start_ns,
                        const struct bench_answer *answer)
{
    int64_t end_ns = clock_ns(), key_ns = time_of_key(y, n - 1), next_ns = time_of_key(y, n);
    int64_t first_ns = answer->ttft_ms > 0 ? start_ns + (int64_t)(answer->ttft_ms * 1e6) : INT64_MAX;
    /* An end token may come first: an answer without text is one, too. */
    bool is_cut = answer->engine.stop == ENGINE_STOP_CANCEL;
    if (!is_cut && first_ns == INT64_MAX) first_ns = end_ns;
    if (first_ns < next_ns) r->n_first_in_time++;
    if (!is_cut && end_ns <= next_ns) r->n_in_time++;
    if (is_cut) {
        r->cancel_ms[r->n_cancels++] = ms_between(next_ns, end_ns);
        return;
    }
    r->last_ttft_ms = r->ttft_ms[r->n_answers] = ms_between(key_ns, first_ns);
    r->last_total_ms = r->total_ms[r->n_answers] = ms_between(key_ns, end_ns);
    r->n_answers++;
}

/* The pause after an answer to n keys: spent on a refresh that the next key cancels. */
static enum err refresh(struct run *r, struct typist *y, int32_t n, struct bench_asker *a, struct errmsg *msg)
{
    struct limits limits = {.cancel = &y->cancel};
    enum err err = engine_seq_refresh(a->seq, &limits);
    if (err == ERR_CANCELLED) {
        r->cancel_ms[r->n_cancels++] = ms_between(time_of_key(y, n), clock_ns());
        return OK;
    }
    return err ? err_set(msg, err, "cannot refresh: %s", err_text(err)) : OK;
}

static enum err answer_keys(const struct bench_trace_plan *plan, struct typist *y, struct bench_asker *a,
                            struct bench_text *t, const struct bench_keys *keys, struct run *r,
                            struct errmsg *msg)
{
    size_t at = 0;
    enum err err = OK;
    for (int32_t n = 0; n < keys->n && !err;) {
        int32_t n_typed = wait_for_key(y, n);
        for (; n < n_typed && !err; n++) {
            size_t len = bench_text_char(keys->text, keys->len, at);
            if (bench_text_insert(t, t->cursor, keys->text + at, len))
                err = err_set(msg, ERR_NOMEM, "not enough memory");
            at += len;
        }
        struct bench_answer answer = {0};
        int64_t start_ns = clock_ns();
        if (!err) err = bench_ask(a, t, &y->cancel, &answer, msg);
        if (err) break;
        note_answer(r, y, n, start_ns, &answer);
        if (plan->has_refresh) err = refresh(r, y, n, a, msg);
    }
    return err;
}

/* --- Reporting --------------------------------------------------------------------------------------- */

static void print_json(const struct bench_trace_plan *plan, const struct bench_engine *e,
                       const struct bench_asker *a, struct run *r)
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 16);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    bench_trace_add_plan(&j, plan, e, a);
    json_num(&j, "rate", plan->rate, 2);
    json_int(&j, "keys", r->n_keys);
    json_num(&j, "answered_share", (double)r->n_in_time / r->n_keys, 4);
    json_num(&j, "first_token_share", (double)r->n_first_in_time / r->n_keys, 4);
    json_num(&j, "last_key_ttft_ms", r->last_ttft_ms, 3);
    json_num(&j, "last_key_total_ms", r->last_total_ms, 3);
    json_int(&j, "answers", r->n_answers);
    json_num(&j, "ttft_p50_ms", bench_percentile(r->ttft_ms, r->n_answers, 0.5), 3);
    json_num(&j, "ttft_p95_ms", bench_percentile(r->ttft_ms, r->n_answers, 0.95), 3);
    json_num(&j, "total_p50_ms", bench_percentile(r->total_ms, r->n_answers, 0.5), 3);
    json_num(&j, "total_p95_ms", bench_percentile(r->total_ms, r->n_answers, 0.95), 3);
    json_int(&j, "cancels", r->n_cancels);
    json_num(&j, "cancel_p50_ms", bench_percentile(r->cancel_ms, r->n_cancels, 0.5), 3);
    json_num(&j, "cancel_max_ms", bench_percentile(r->cancel_ms, r->n_cancels, 1), 3);
    json_end_object(&j);
    puts(buf_str(&out));
    buf_clear(&out);
}

static void print_plain(const struct bench_trace_plan *plan, const struct bench_engine *e,
                        const struct bench_asker *a, struct run *r)
{
    bench_print_machine(e);
    printf("%s, line %lld, %d keys at %g a second, answers of at most %d tokens, %s%s%s\n", a->path,
           (long long)plan->line, r->n_keys, plan->rate, plan->max_tokens, fim_order_name(a->fim.order),
           plan->engine.move == ENGINE_MOVE_ON ? ", KV moves" : "",
           plan->has_refresh ? ", refreshed between keys" : "");
    printf("%-32s %9.1f %%\n", "answered before the next key", 100.0 * r->n_in_time / r->n_keys);
    printf("%-32s %9.1f %%\n", "first token before the next key", 100.0 * r->n_first_in_time / r->n_keys);
    printf("%-32s %9.2f ms, its first token after %.2f ms\n", "whole answer to the last key",
           r->last_total_ms, r->last_ttft_ms);
    printf("%-32s %9.2f ms, p50 of %d\n", "whole answers, from the key",
           bench_percentile(r->total_ms, r->n_answers, 0.5), r->n_answers);
    printf("%-32s %9.2f ms, p50 of %d; at most %.2f ms\n", "engine free after a cancel",
           bench_percentile(r->cancel_ms, r->n_cancels, 0.5), r->n_cancels,
           bench_percentile(r->cancel_ms, r->n_cancels, 1));
}

/* --- Replaying --------------------------------------------------------------------------------------- */

static enum err run_typist(const struct bench_trace_plan *plan, struct typist *y, struct bench_asker *a,
                           struct bench_text *t, const struct bench_keys *keys, struct run *r,
                           struct errmsg *msg)
{
    int failure = pthread_create(&y->thread, NULL, type_keys, y);
    if (failure) return err_set(msg, ERR_NOMEM, "cannot start a thread: %s", strerror(failure));
    enum err err = answer_keys(plan, y, a, t, keys, r, msg);
    pthread_join(y->thread, NULL);
    return err;
}

enum err bench_trace_paced(const struct bench_trace_plan *plan, const struct bench_engine *e,
                           struct bench_asker *a, struct bench_text *t, const struct bench_keys *keys,
                           struct errmsg *msg)
{
    size_t n = (size_t)keys->n;
    struct typist y = {.interval_ns = 1e9 / plan->rate, .n_keys = keys->n};
    struct run r = {.n_keys = keys->n};
    y.key_ns = mem_try(n, sizeof *y.key_ns);
    r.ttft_ms = mem_try(n, sizeof(double));
    r.total_ms = mem_try(n, sizeof(double));
    r.cancel_ms = mem_try(n, 2 * sizeof(double)); /* of an answer and of a refresh */
    pthread_mutex_init(&y.lock, NULL);
    pthread_cond_init(&y.has_typed, NULL);
    enum err err = OK;
    if (!y.key_ns || !r.ttft_ms || !r.total_ms || !r.cancel_ms)
        err = err_set(msg, ERR_NOMEM, "not enough memory for %d keys", keys->n);
    struct bench_answer first = {0}; /* the file was opened before typing began */
    if (!err) err = bench_ask(a, t, NULL, &first, msg);
    if (!err) err = run_typist(plan, &y, a, t, keys, &r, msg);
    if (!err) (plan->is_json ? print_json : print_plain)(plan, e, a, &r);
    pthread_cond_destroy(&y.has_typed);
    pthread_mutex_destroy(&y.lock);
    mem_free(y.key_ns);
    mem_free(r.ttft_ms);
    mem_free(r.total_ms);
    mem_free(r.cancel_ms);
    return err;
}
