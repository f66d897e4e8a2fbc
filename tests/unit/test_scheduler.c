/* infer/scheduler.c, job.c: requests that share passes get what they would get alone, in whatever order they
 * come, are cancelled or pre-empted; who goes first; what is shared; how it ends. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "infer/scheduler.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/throttle.h"
#include "support/toy_model.h"

#define N_CTX      512
#define TOKENS_MAX 40

static char dir[] = "/tmp/inline-test-sched-XXXXXX";
static struct model *small, *large; /* a pass of the large one takes a while */

/* Protects all of struct ask; signalled by each change. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int32_t n_prepared; /* orders the calls of prepare */

/* A request, and what has come of it. */
struct ask {
    int32_t prompt[N_CTX], n_prompt, max_tokens;
    float temperature;
    enum scheduler_priority priority;
    uint64_t client, document;
    bool is_held; /* on_token waits until it is not */
    enum err prepare_err;

    int32_t turn; /* of n_prepared */
    int32_t tokens[TOKENS_MAX], n_tokens;
    int32_t n_done;
    int64_t done_ns;
    struct scheduler_report report;
    struct scheduler_job *job;
};

static bool on_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    struct ask *a = ctx;
    pthread_mutex_lock(&lock);
    a->tokens[a->n_tokens++] = token;
    pthread_cond_broadcast(&changed);
    while (a->is_held) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return true;
}

static struct engine_request request_of(struct ask *a)
{
    struct engine_request r = {.prompt = a->prompt,
                               .n_prompt = a->n_prompt,
                               .sampling = SAMPLER_GREEDY,
                               .max_tokens = a->max_tokens,
                               .on_token = on_token,
                               .ctx = a};
    r.sampling.temperature = a->temperature;
    r.sampling.seed = (uint64_t)a->prompt[0];
    return r;
}

static enum err prepare(void *ctx, struct engine_request *out, struct errmsg *msg)
{
    struct ask *a = ctx;
    pthread_mutex_lock(&lock);
    a->turn = ++n_prepared;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    *out = request_of(a);
    return a->prepare_err ? err_set(msg, a->prepare_err, "not today") : OK;
}

static void done(void *ctx, const struct scheduler_report *report)
{
    struct ask *a = ctx;
    pthread_mutex_lock(&lock);
    a->report = *report;
    a->done_ns = clock_ns();
    a->n_done++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void submit(struct scheduler *s, struct ask *a)
{
    struct scheduler_request r = {.priority = a->priority,
                                  .client = a->client,
                                  .document = a->document,
                                  .prepare = prepare,
                                  .done = done,
                                  .ctx = a};
    a->job = scheduler_submit(s, &r);
}

static void wait_done(struct ask *a)
{
    pthread_mutex_lock(&lock);
    while (!a->n_done) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    scheduler_release(&a->job);
}

static void wait_tokens(struct ask *a, int32_t n)
{
    pthread_mutex_lock(&lock);
    while (a->n_tokens < n && !a->n_done) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void let_go(struct ask *a)
{
    pthread_mutex_lock(&lock);
    a->is_held = false;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void sleep_ms(int32_t ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* --- Models, engines, requests ------------------------------------------------------------------------ */

static struct engine *open_engine(struct model *m, struct engine_options o)
{
    struct engine *e = NULL;
    struct errmsg msg = {0};
    o.n_threads = 2;
    o.pack_dir = dir;
    o.pack_build = true;
    if (engine_open(m, &o, &e, &msg)) fail_msg("%s", msg.text);
    engine_wait_packed(e); /* a token's numbers do not depend on its batch then */
    return e;
}

static struct scheduler *open_scheduler(struct model *m, struct engine_options eo, struct scheduler_options o)
{
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    o.n_ctx = N_CTX;
    if (scheduler_new(open_engine(m, eo), &o, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

/* n tokens of text number `text`; the first n_alike are those of all texts. */
static struct ask ask_for(int32_t text, int32_t n, int32_t n_alike, int32_t max_tokens)
{
    struct ask a = {.n_prompt = n, .max_tokens = max_tokens, .priority = SCHEDULER_TYPING, .client = 1};
    for (int32_t i = 0; i < n; i++) {
        uint32_t x = (uint32_t)i * 2654435761u + (i < n_alike ? 0 : (uint32_t)text * 40503u + 1);
        a.prompt[i] = (int32_t)((x ^ x >> 15) % 250) + 3;
    }
    return a;
}

/* What a got is what it gets alone. */
static void assert_as_alone(struct engine_seq *alone, const struct ask *a)
{
    static struct ask expected;
    struct engine_result result;
    struct errmsg msg;
    expected = *a;
    expected.n_tokens = 0;
    struct engine_request r = request_of(&expected);
    engine_seq_clear(alone, false);
    assert_int_equal(engine_generate(alone, &r, &result, &msg), OK);
    assert_int_equal(a->report.outcome, SCHEDULER_DONE);
    assert_int_equal(a->report.result.stop, result.stop);
    assert_int_equal(a->n_tokens, expected.n_tokens);
    assert_memory_equal(a->tokens, expected.tokens, (size_t)a->n_tokens * sizeof *a->tokens);
}

static struct engine_seq *open_alone(struct model *m)
{
    struct engine_seq *s = NULL;
    struct errmsg msg = {0};
    if (engine_seq_open(open_engine(m, (struct engine_options){0}), N_CTX, &s, &msg))
        fail_msg("%s", msg.text);
    return s;
}

static void close_alone(struct engine_seq *s)
{
    struct engine *e = (struct engine *)(uintptr_t)engine_seq_engine(s);
    engine_seq_close(&s);
    engine_close(&e);
}

static int set_up(void **state)
{
    (void)state;
    char path[64];
    struct errmsg msg = {0};
    struct toy_model toy = {.fixture = FIXTURES "/models/format-q8_0.gguf",
                            .n_layers = 2,
                            .type = KERN_Q8_0,
                            .down = KERN_Q8_0,
                            .seed = 7};
    if (!mkdtemp(dir)) return -1;
    snprintf(path, sizeof path, "%s/small.gguf", dir);
    if (!toy_model_write(&toy, path) || model_open(path, &small, &msg)) return -1;
    toy.n_layers = 24;
    toy.d_ff = 8192;
    snprintf(path, sizeof path, "%s/large.gguf", dir);
    return toy_model_write(&toy, path) && model_open(path, &large, &msg) == OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    model_unref(&small);
    model_unref(&large);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

/* --- Tests -------------------------------------------------------------------------------------------- */

#define MANY 24

static void test_batched_as_alone(void **state)
{
    (void)state;
    static struct ask asks[MANY];
    struct scheduler *s = open_scheduler(small, (struct engine_options){.n_batch = 64},
                                         (struct scheduler_options){.n_active = 10, .window_ms = 5});
    for (int32_t i = 0; i < MANY; i++) {
        asks[i] = ask_for(i / 2, 5 + (i * 83) % 400, (i % 3) * 60, 4 + i % 30);
        asks[i].temperature = i % 4 == 3 ? 0.9f : 0;
        asks[i].document = (uint64_t)(i % 5);
        asks[i].client = (uint64_t)(i % 3);
        asks[i].priority = (enum scheduler_priority)(i % 4);
        submit(s, &asks[i]);
    }
    struct engine_seq *alone = open_alone(small);
    for (int32_t i = 0; i < MANY; i++) wait_done(&asks[i]);
    for (int32_t i = 0; i < MANY; i++) assert_as_alone(alone, &asks[i]);
    struct scheduler_state now;
    scheduler_state(s, &now);
    assert_int_equal(now.n_waiting + now.n_running, 0);
    assert_true(now.n_passes > 0 && now.n_tokens_passed > 0 && now.kv_bytes > 0);
    close_alone(alone);
    scheduler_free(&s);
    assert_null(s);
}

struct typist {
    struct scheduler *s;
    uint32_t seed;
    struct ask asks[12];
    bool was_cancelled[12];
};

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void *type(void *ctx)
{
    struct typist *t = ctx;
    for (int32_t i = 0; i < 12; i++) {
        t->asks[i] = ask_for((int32_t)(t->seed % 97), 20 + (int32_t)(draw(&t->seed) % 200), 90, 12);
        t->asks[i].client = t->seed % 5;
        t->asks[i].document = draw(&t->seed) % 4;
        t->asks[i].priority = (enum scheduler_priority)(draw(&t->seed) % 4);
        submit(t->s, &t->asks[i]);
        int32_t victim = (int32_t)(draw(&t->seed) % 24);
        if (draw(&t->seed) % 3 == 0) sleep_ms((int32_t)(draw(&t->seed) % 8));
        if (victim <= i) {
            scheduler_cancel(t->s, t->asks[victim].job);
            t->was_cancelled[victim] = true;
        }
        struct scheduler_seq_state seqs[8];
        scheduler_seqs(t->s, seqs, 8);
    }
    for (int32_t i = 0; i < 12; i++) wait_done(&t->asks[i]);
    return NULL;
}

static void test_random_orders_and_cancels(void **state)
{
    (void)state;
    static struct typist typists[4];
    pthread_t threads[4];
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){.n_batch = 32, .move = ENGINE_MOVE_OFF},
                       (struct scheduler_options){.n_active = 6, .n_seqs = 9});
    for (int32_t i = 0; i < 4; i++) {
        typists[i] = (struct typist){.s = s, .seed = 77u * (uint32_t)i + 5};
        assert_int_equal(pthread_create(&threads[i], NULL, type, &typists[i]), 0);
    }
    for (int32_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    scheduler_free(&s);
    struct engine_seq *alone = open_alone(small);
    for (int32_t i = 0; i < 48; i++) {
        const struct ask *a = &typists[i / 12].asks[i % 12];
        assert_int_equal(a->n_done, 1);
        if (!typists[i / 12].was_cancelled[i % 12]) assert_as_alone(alone, a);
    }
    close_alone(alone);
}

/* Who comes while one request holds the engine goes by priority, then by client, then by time. */
static void test_whose_turn(void **state)
{
    (void)state;
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){0}, (struct scheduler_options){.n_active = 1});
    static const struct {
        enum scheduler_priority priority;
        uint64_t client;
        int32_t turn;
    } cases[] = {{SCHEDULER_PREFETCH, 1, 7}, {SCHEDULER_WARMUP, 1, 6}, {SCHEDULER_TYPING, 1, 4},
                 {SCHEDULER_TYPING, 1, 5},   {SCHEDULER_TYPING, 2, 3}, {SCHEDULER_ASKED, 1, 2}};
    static struct ask first, asks[6];
    n_prepared = 0;
    first = ask_for(50, 10, 0, 2);
    first.is_held = true;
    submit(s, &first);
    wait_tokens(&first, 1);
    for (int32_t i = 0; i < 6; i++) {
        asks[i] = ask_for(i, 30, 0, 3);
        asks[i].priority = cases[i].priority;
        asks[i].client = cases[i].client;
        submit(s, &asks[i]);
    }
    struct scheduler_state now;
    scheduler_state(s, &now);
    assert_int_equal(now.n_waiting, 6);
    assert_int_equal(now.n_running, 1);
    let_go(&first);
    wait_done(&first);
    for (int32_t i = 0; i < 6; i++) wait_done(&asks[i]);
    for (int32_t i = 0; i < 6; i++) assert_int_equal(asks[i].turn, cases[i].turn);
    scheduler_free(&s);
}

static int64_t n_passes(struct scheduler *s)
{
    struct scheduler_state now;
    scheduler_state(s, &now);
    return now.n_passes;
}

/* Until a's prefill is surely in a pass, which takes long. */
static void wait_computing(struct scheduler *s, int64_t passes_before)
{
    while (n_passes(s) <= passes_before) sleep_ms(1);
    sleep_ms(3);
}

static void test_background_gives_way(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(large, (struct engine_options){0}, (struct scheduler_options){0});
    static struct ask warmup, typing;
    warmup = ask_for(1, 500, 0, 3);
    warmup.priority = SCHEDULER_WARMUP;
    typing = ask_for(2, 20, 0, 3);
    submit(s, &warmup);
    wait_computing(s, 0);
    submit(s, &typing);
    wait_done(&typing);
    wait_done(&warmup);
    assert_true(typing.done_ns < warmup.done_ns);
    assert_int_equal(typing.tokens[0] >= 0, 1);
    struct scheduler_state now;
    scheduler_state(s, &now);
    assert_true(now.n_passes_lost > 0);
    struct engine_seq *alone = open_alone(large);
    assert_as_alone(alone, &warmup);
    assert_as_alone(alone, &typing);
    close_alone(alone);
    scheduler_free(&s);
}

static void test_cancellation_is_quick(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(large, (struct engine_options){0}, (struct scheduler_options){0});
    static struct ask a, b;
    double best = 1e9;
    for (int32_t i = 0; i < 5; i++) {
        a = ask_for(10 + i, 500, 0, 3);
        int64_t passes = n_passes(s);
        submit(s, &a);
        wait_computing(s, passes);
        int64_t start = clock_ns();
        scheduler_cancel(s, a.job);
        wait_done(&a);
        double ms = (double)(a.done_ns - start) / 1e6;
        if (ms < best) best = ms;
        assert_int_equal(a.report.outcome, SCHEDULER_DONE);
        assert_int_equal(a.report.result.stop, ENGINE_STOP_CANCEL);
        assert_int_equal(a.n_tokens, 0);
    }
    assert_true(best < 20); /* a pass takes much longer; the machine may be busy */

    /* While another is still wanted, its pass goes on; who waits is told that it will not run. */
    a = ask_for(20, 60, 0, 3);
    b = ask_for(21, 60, 0, 3);
    submit(s, &a);
    submit(s, &b);
    scheduler_cancel(s, b.job);
    wait_done(&b);
    wait_done(&a);
    assert_int_equal(a.report.result.stop, ENGINE_STOP_LIMIT);
    assert_int_equal(b.n_tokens, 0);
    scheduler_free(&s);
}

static void test_same_prompts_cost_one(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(small, (struct engine_options){.n_batch = 32},
                                         (struct scheduler_options){.window_ms = 20});
    static struct ask asks[4];
    for (int32_t i = 0; i < 4; i++) {
        asks[i] = ask_for(1, 300, 0, 1);
        asks[i].temperature = i ? 1 : 0;
        asks[i].document = 9;
        submit(s, &asks[i]);
    }
    int32_t n_computed = 0;
    for (int32_t i = 0; i < 4; i++) {
        wait_done(&asks[i]);
        n_computed += asks[i].report.result.reuse.n_computed;
    }
    assert_int_equal(n_computed, 300 + 3); /* the last token is computed for its logits */
    struct scheduler_state now;
    scheduler_state(s, &now);
    assert_int_equal(now.n_tokens_passed, 303);

    /* The next version of the document goes on where the last was. */
    asks[0] = ask_for(1, 310, 0, 1);
    asks[0].document = 9;
    submit(s, &asks[0]);
    wait_done(&asks[0]);
    assert_int_equal(asks[0].report.result.reuse.n_reused, 300);
    struct scheduler_seq_state seqs[64];
    int32_t n = scheduler_seqs(s, seqs, 64);
    assert_int_equal(n, 32);
    assert_int_equal(seqs[asks[0].report.seq].n_tokens, 310);
    assert_int_equal(seqs[0].n_ctx, N_CTX);
    scheduler_free(&s);
}

static void test_failures(void **state)
{
    (void)state;
    struct scheduler *s = open_scheduler(small, (struct engine_options){0}, (struct scheduler_options){0});
    static struct ask refused, bad, empty, good;
    refused = ask_for(1, 10, 0, 3);
    refused.prepare_err = ERR_ARG;
    bad = ask_for(2, 10, 0, 3);
    bad.prompt[5] = 1 << 30;
    empty = ask_for(3, 0, 0, 3);
    good = ask_for(4, 10, 0, 3);
    submit(s, &refused);
    submit(s, &bad);
    submit(s, &empty);
    submit(s, &good);
    wait_done(&refused);
    wait_done(&bad);
    wait_done(&empty);
    wait_done(&good);
    assert_int_equal(refused.report.outcome, SCHEDULER_FAILED);
    assert_string_equal(refused.report.msg.text, "not today");
    assert_int_equal(bad.report.outcome, SCHEDULER_FAILED);
    assert_int_equal(bad.report.err, ERR_ARG);
    assert_int_equal(empty.report.outcome, SCHEDULER_FAILED);
    assert_int_equal(bad.report.seq, -1);
    assert_int_equal(good.report.outcome, SCHEDULER_DONE);
    scheduler_free(&s);

    struct errmsg msg = {0};
    struct scheduler_options wrong = {.n_active = -1};
    assert_int_equal(scheduler_new(open_engine(small, (struct engine_options){0}), &wrong, &s, &msg),
                     ERR_ARG);
    assert_null(s);
}

/* Bytes of KV that a prompt of N_CTX / 2 takes. */
static int64_t half_context_bytes(void)
{
    struct engine_seq *s = open_alone(small);
    struct ask a = ask_for(1, N_CTX / 2, 0, 1);
    assert_int_equal(engine_seq_sync(s, a.prompt, a.n_prompt, NULL, NULL), OK);
    int64_t bytes = engine_kv_bytes(engine_seq_engine(s));
    close_alone(s);
    return bytes;
}

/* Requests that run keep their KV; those for which there is none wait. One too large for all of it fails. */
static void test_scarce_kv(void **state)
{
    (void)state;
    int64_t half = half_context_bytes();
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){.n_batch = 32, .kv_bytes = half + half / 2},
                       (struct scheduler_options){.window_ms = 10});
    static struct ask asks[6], huge;
    for (int32_t i = 0; i < 6; i++) {
        asks[i] = ask_for(i, N_CTX / 2 - 40, 0, 20);
        asks[i].priority = i < 3 ? SCHEDULER_TYPING : SCHEDULER_WARMUP;
        submit(s, &asks[i]);
    }
    huge = ask_for(9, N_CTX - 8, 0, 2);
    submit(s, &huge);
    struct engine_seq *alone = open_alone(small);
    wait_done(&huge);
    assert_int_equal(huge.report.outcome, SCHEDULER_FAILED);
    assert_int_equal(huge.report.err, ERR_LIMIT);
    assert_non_null(strstr(huge.report.msg.text, "memory for KV"));
    for (int32_t i = 0; i < 6; i++) wait_done(&asks[i]);
    for (int32_t i = 0; i < 6; i++) assert_as_alone(alone, &asks[i]);
    close_alone(alone);
    scheduler_free(&s);
}

/* A background request gives its KV up where a person's would not fit beside it. */
static void test_background_makes_room(void **state)
{
    (void)state;
    int64_t half = half_context_bytes();
    struct scheduler *s = open_scheduler(small, (struct engine_options){.kv_bytes = half + half / 2},
                                         (struct scheduler_options){0});
    static struct ask warmup, typing;
    warmup = ask_for(1, N_CTX / 2 - 40, 0, TOKENS_MAX);
    warmup.priority = SCHEDULER_WARMUP;
    warmup.is_held = true;
    typing = ask_for(2, N_CTX / 2 - 40, 0, 5);
    submit(s, &warmup);
    wait_tokens(&warmup, 1);
    submit(s, &typing);
    let_go(&warmup);
    wait_done(&warmup);
    wait_done(&typing);
    assert_int_equal(warmup.report.outcome, SCHEDULER_DONE);
    assert_int_equal(warmup.report.result.stop, ENGINE_STOP_CANCEL);
    struct engine_seq *alone = open_alone(small);
    assert_as_alone(alone, &typing);
    close_alone(alone);
    scheduler_free(&s);
}

/* Answers that grow into each other's memory end early, as at the end of the context. */
static void test_kv_ends_while_decoding(void **state)
{
    (void)state;
    int64_t page = half_context_bytes() / (N_CTX / 2 / KERN_KV_BLOCK);
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){.kv_bytes = 3 * page, .no_speculation = true},
                       (struct scheduler_options){.window_ms = 20});
    static struct ask asks[2];
    for (int32_t i = 0; i < 2; i++) {
        asks[i] = ask_for(5 + i, 30, 0, TOKENS_MAX);
        submit(s, &asks[i]);
    }
    int32_t n_short = 0;
    for (int32_t i = 0; i < 2; i++) {
        wait_done(&asks[i]);
        assert_int_equal(asks[i].report.outcome, SCHEDULER_DONE);
        n_short += asks[i].report.result.stop == ENGINE_STOP_LIMIT && asks[i].n_tokens < TOKENS_MAX;
    }
    assert_int_equal(n_short, 1);
    scheduler_free(&s);
}

static int64_t wait_kv_below(struct scheduler *s, int64_t bytes)
{
    struct scheduler_state now;
    int64_t start = clock_ns();
    do {
        sleep_ms(2);
        scheduler_state(s, &now);
    } while (now.kv_bytes >= bytes && clock_ms_since(start) < 10000);
    return now.kv_bytes;
}

/* Another budget for KV: at once where nothing runs, and without taking anything from what runs. */
static void test_kv_changes(void **state)
{
    (void)state;
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){.no_speculation = true}, (struct scheduler_options){0});
    static struct ask idle, running, long_one;
    idle = ask_for(1, 200, 0, 4);
    submit(s, &idle);
    wait_done(&idle);
    running = ask_for(2, 4 * KERN_KV_BLOCK + 4, 0, 8);
    running.is_held = true;
    submit(s, &running);
    wait_tokens(&running, 1);
    scheduler_set_kv_bytes(s, 1);
    let_go(&running);
    wait_done(&running);
    assert_true(wait_kv_below(s, half_context_bytes()) > 0); /* that of `idle` has gone */
    scheduler_set_kv_bytes(s, 1);
    assert_int_equal(wait_kv_below(s, 1), 0);
    long_one = ask_for(3, 200, 0, 4);
    submit(s, &long_one);
    wait_done(&long_one);
    assert_int_equal(long_one.report.err, ERR_LIMIT);
    scheduler_set_kv_bytes(s, 0);
    long_one = ask_for(3, 200, 0, 4);
    submit(s, &long_one);
    wait_done(&long_one);
    struct engine_seq *alone = open_alone(small);
    assert_as_alone(alone, &running);
    assert_as_alone(alone, &long_one);
    close_alone(alone);
    assert_ptr_equal(engine_model(scheduler_engine(s)), small);
    scheduler_free(&s);
}

/* While the throttle wants rest nothing is computed or even prepared, but who cancels or closes does not
 * wait for its end. */
static void test_rests(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(2);
    static struct ask first, second, third, last;
    struct scheduler *s =
        open_scheduler(small, (struct engine_options){0}, (struct scheduler_options){.throttle = t});
    throttle_set(t, 1, 0.5);
    throttle_worked(t, 600000000); /* owes as much */
    int64_t start = clock_ns();
    first = ask_for(1, 60, 0, 6);
    second = ask_for(2, 60, 0, 6);
    submit(s, &first);
    submit(s, &second);
    sleep_ms(30);
    scheduler_cancel(s, second.job);
    wait_done(&second);
    assert_true(clock_ms_since(start) < 500);
    assert_int_equal(second.report.outcome, SCHEDULER_CANCELLED);
    pthread_mutex_lock(&lock);
    assert_int_equal(first.turn, 0);
    pthread_mutex_unlock(&lock);
    wait_done(&first);
    assert_true(clock_ms_since(start) >= 600);

    third = ask_for(3, 60, 0, TOKENS_MAX);
    third.is_held = true;
    submit(s, &third);
    wait_tokens(&third, 1);
    throttle_worked(t, 8000000000);
    let_go(&third);
    sleep_ms(30);
    start = clock_ns();
    scheduler_cancel(s, third.job);
    wait_done(&third);
    assert_int_equal(third.report.result.stop, ENGINE_STOP_CANCEL);
    last = ask_for(4, 60, 0, 6);
    submit(s, &last);
    struct engine_seq *alone = open_alone(small);
    assert_as_alone(alone, &first);
    close_alone(alone);
    scheduler_free(&s);
    assert_true(clock_ms_since(start) < 4000);
    assert_int_equal(last.report.outcome, SCHEDULER_CANCELLED);
    scheduler_release(&last.job);
    throttle_free(&t);
}

static void test_ends_with_work_under_way(void **state)
{
    (void)state;
    char kv_dir[64];
    snprintf(kv_dir, sizeof kv_dir, "%s/kv", dir);
    struct engine_options eo = {.n_batch = 32, .kv_dir = kv_dir};
    static struct ask asks[8], warm;
    for (int32_t round = 0; round < 4; round++) {
        struct scheduler *s = open_scheduler(small, eo, (struct scheduler_options){.n_active = 3});
        warm = ask_for(100, 200, 0, 1);
        submit(s, &warm);
        wait_done(&warm);
        assert_int_equal(warm.report.result.reuse.n_restored > 0, round > 0); /* saved at the end */
        for (int32_t i = 0; i < 8; i++) {
            asks[i] = ask_for(i, 60 + 30 * round, 0, TOKENS_MAX);
            asks[i].priority = i % 3 ? SCHEDULER_TYPING : SCHEDULER_PREFETCH;
            submit(s, &asks[i]);
        }
        if (round % 2) wait_tokens(&asks[1], 2);
        scheduler_free(&s);
        for (int32_t i = 0; i < 8; i++) {
            assert_int_equal(asks[i].n_done, 1);
            assert_int_not_equal(asks[i].report.outcome, SCHEDULER_FAILED);
            scheduler_release(&asks[i].job);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batched_as_alone),
        cmocka_unit_test(test_random_orders_and_cancels),
        cmocka_unit_test(test_whose_turn),
        cmocka_unit_test(test_background_gives_way),
        cmocka_unit_test(test_cancellation_is_quick),
        cmocka_unit_test(test_same_prompts_cost_one),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_scarce_kv),
        cmocka_unit_test(test_background_makes_room),
        cmocka_unit_test(test_kv_ends_while_decoding),
        cmocka_unit_test(test_ends_with_work_under_way),
        cmocka_unit_test(test_kv_changes),
        cmocka_unit_test(test_rests),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
