/* See service_world.h. */
#include "support/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "watch/metrics.h"

#define WAIT_MS 60e3 /* nothing takes so long, sanitizers included */

static void on_wake(void *ctx)
{
    struct service_world *b = ctx;
    bool is_loop = pthread_equal(pthread_self(), b->loop);
    pthread_mutex_lock(&b->lock);
    b->is_awake = true;
    pthread_cond_broadcast(&b->changed);
    while (b->is_shut && !is_loop) pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void world_set_gate(struct service_world *b, bool is_shut)
{
    pthread_mutex_lock(&b->lock);
    b->is_shut = is_shut;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void world_turn(struct service_world *b)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += (time_t)(WAIT_MS / 1e3);
    pthread_mutex_lock(&b->lock);
    while (!b->is_awake) {
        if (pthread_cond_timedwait(&b->changed, &b->lock, &end)) fail_msg("nothing happens");
    }
    b->is_awake = false;
    pthread_mutex_unlock(&b->lock);
    service_poll(b->service);
}

void world_wait_ready(struct service_world *b, const char *name)
{
    for (;;) {
        struct service_model m = {0};
        for (int32_t i = service_n_models(b->service) - 1; i >= 0; i--) {
            service_model(b->service, i, &m);
            if (!name || strcmp(m.name, name) == 0) break;
        }
        if (m.state == SERVICE_MODEL_FAILED) fail_msg("%s", m.error);
        if (m.state == SERVICE_READY) return;
        world_turn(b);
    }
}

struct service_options world_options(struct service_world *b)
{
    return (struct service_options){.models_dir = "/nonexistent",
                                    .default_model = WORLD_MODEL,
                                    .engine = {.n_threads = 1},
                                    .max_tokens = WORLD_TOKENS,
                                    .metrics = b->metrics,
                                    .wake = on_wake,
                                    .ctx = b};
}

void world_open(struct service_world *b, const struct service_options *o)
{
    struct errmsg msg = {0};
    struct service_options options = *o;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->loop = pthread_self();
    options.metrics = b->metrics = metrics_new();
    if (service_new(&options, &b->service, &msg)) fail_msg("%s", msg.text);
}

void world_close(struct service_world *b)
{
    world_set_gate(b, false);
    service_free(&b->service);
    assert_null(b->service);
    metrics_free(&b->metrics);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
}

static void on_text(void *ctx, const char *text, size_t len)
{
    struct answer *a = ctx;
    assert_int_equal(a->n_done, 0);
    assert_true(len > 0);
    buf_add(&a->streamed, text, len);
}

static void on_done(void *ctx, const struct service_answer *from)
{
    struct answer *a = ctx;
    a->n_done++;
    a->outcome = from->outcome;
    snprintf(a->message, sizeof a->message, "%s", from->message);
    snprintf(a->model, sizeof a->model, "%s", from->model);
    snprintf(a->fallback, sizeof a->fallback, "%s", from->fallback);
    a->n_candidates = from->n_candidates;
    a->was_shared = from->was_shared;
    a->was_truncated = from->prompt_truncated;
    a->timings = from->timings;
    snprintf(a->cache, sizeof a->cache, "%s", from->cache);
    snprintf(a->cache_miss, sizeof a->cache_miss, "%s", from->cache_miss);
    for (int i = 0; i < from->n_candidates; i++)
        buf_add(&a->text[i], from->candidates[i].text, from->candidates[i].len);
    if (from->n_candidates == 0) return;
    a->n_tokens = from->candidates[0].n_tokens;
    snprintf(a->stop, sizeof a->stop, "%s", from->candidates[0].stop);
    snprintf(a->word, sizeof a->word, "%s", from->candidates[0].stopping_word);
}

void answer_init(struct answer *a)
{
    *a = (struct answer){0};
    buf_init(&a->streamed, WORLD_TEXT_MAX);
    for (int i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_init(&a->text[i], WORLD_TEXT_MAX);
}

void answer_clear(struct answer *a)
{
    buf_clear(&a->streamed);
    for (int i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_clear(&a->text[i]);
}

struct service_request request_at(const char *text, size_t cursor)
{
    return (struct service_request){.model = "",
                                    .client = "test",
                                    .document = "",
                                    .priority = SERVICE_TYPING,
                                    .text = text,
                                    .len = strlen(text),
                                    .cursor = cursor,
                                    .sampling = SAMPLER_GREEDY,
                                    .max_tokens = -1,
                                    .on_text = on_text,
                                    .on_done = on_done};
}

struct service_request request_raw(const char *prompt)
{
    struct service_request r = request_at("", 0);
    r.text = NULL;
    r.prompt = prompt;
    r.prompt_len = strlen(prompt);
    return r;
}

struct service_ticket *world_submit(struct service_world *b, struct service_request r, struct answer *a)
{
    answer_init(a);
    r.ctx = a;
    struct service_ticket *t = service_submit(b->service, &r);
    assert_int_equal(a->n_done, 0);
    return t;
}

void world_wait_for(struct service_world *b, const struct answer *a)
{
    while (a->n_done == 0) world_turn(b);
    assert_int_equal(a->n_done, 1);
}

void world_ask(struct service_world *b, struct service_request r, struct answer *a)
{
    (void)world_submit(b, r, a);
    world_wait_for(b, a);
}

void world_assert_ok(const struct answer *a)
{
    if (a->outcome != SERVICE_OK) fail_msg("outcome %d: %s", a->outcome, a->message);
    assert_true(a->n_candidates >= 1);
    assert_string_equal(buf_str(&a->streamed), buf_str(&a->text[0]));
    assert_string_equal(a->message, "");
}
