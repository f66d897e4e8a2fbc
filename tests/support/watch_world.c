/* See watch_world.h. */
#include "support/watch_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "context/secrets.h"
#include "support/set_clock.h"
#include "support/stub_scheduler.h"

#define MS         INT64_C(1000000)
#define START_NS   (7 * 24 * 3600 * 1000 * MS) /* a slot of every window begins there */
#define TEXT_MAX   ((size_t)1 << 16)
#define MAX_TOKENS 24

/* SplitMix64 (Steele, Lea, Flood): 0 to n - 1. */
uint64_t watch_dice(struct watch_world *w, uint64_t n)
{
    uint64_t x = w->dice += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (x ^ (x >> 31)) % n;
}

/* Microseconds as milliseconds, from one time of the magnitude to four times of it. */
double watch_draw_ms(struct watch_world *w, double ms)
{
    return floor(ms * 1e3 * (1 + (double)watch_dice(w, 3000) / 1e3)) / 1e3;
}

void watch_note(struct watch_world *w, enum metric_id id, int32_t label, double value)
{
    ledger_note(&w->ledger, id, label, value);
}

/* ---- The engine's reports ---------------------------------------------------------------------------- */

static void draw_tokens(struct watch_world *w, struct engine_result *r)
{
    struct engine_reuse *reuse = &r->reuse;
    reuse->n_reused = (int32_t)watch_dice(w, (uint64_t)r->n_prompt);
    reuse->n_restored = (int32_t)watch_dice(w, (uint64_t)(r->n_prompt - reuse->n_reused));
    reuse->n_moved = (int32_t)watch_dice(w, (uint64_t)(r->n_prompt - reuse->n_reused - reuse->n_restored));
    reuse->n_computed = r->n_prompt - reuse->n_reused - reuse->n_restored - reuse->n_moved;
    r->n_drafted = (int32_t)watch_dice(w, 9);
    r->n_accepted = (int32_t)watch_dice(w, (uint64_t)r->n_drafted + 1);
}

static void note_tokens(struct watch_world *w, const struct engine_result *r)
{
    const int32_t prompt[] = {r->reuse.n_reused, r->reuse.n_restored, r->reuse.n_moved, r->reuse.n_computed};
    for (int32_t i = 0; i < 4; i++) watch_note(w, METRIC_PROMPT_TOKENS, i, prompt[i]);
    watch_note(w, METRIC_PREDICTED_TOKENS, 0, r->n_generated);
    watch_note(w, METRIC_DRAFTED_TOKENS, 0, r->n_drafted);
    watch_note(w, METRIC_ACCEPTED_TOKENS, 0, r->n_accepted);
}

/* The context stage is noted with the answers: choosing it begins before the engine is asked. */
static void on_report(void *ctx, const struct scheduler_request *r, struct scheduler_report *report)
{
    struct watch_world *w = ctx;
    const struct service_job *job = r->ctx;
    struct engine_result *result = &report->result;
    if (report->outcome == SCHEDULER_CANCELLED) return;
    if (w->fail) {
        report->outcome = SCHEDULER_FAILED;
        report->err = w->fail;
        err_set(&report->msg, w->fail, "as the test wanted it");
        report->is_model_lost = w->is_lost;
        w->fail = OK;
        return;
    }
    double waited_ms = w->waited_ms, queue_ms = watch_draw_ms(w, 1);
    w->waited_ms = 0;
    report->queue_ms = waited_ms + queue_ms;
    report->prepare_ms = watch_draw_ms(w, 0.5);
    result->prompt_ms = watch_draw_ms(w, 20);
    result->generate_ms = result->n_generated * watch_draw_ms(w, 3);
    draw_tokens(w, result);
    if (w->unsure && result->n_generated > 0) {
        result->mean_logprob = -3;
        w->unsure->quiet = service_watch_label(METRIC_QUIET, "unsure");
    }
    w->unsure = NULL;
    double before_ms = report->queue_ms + report->prepare_ms + result->prompt_ms;
    set_clock_advance((int64_t)llround((before_ms - waited_ms + result->generate_ms) * 1e6));
    note_tokens(w, result);
    watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_QUEUE, report->queue_ms / 1e3);
    watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_PREFILL, result->prompt_ms / 1e3);
    watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, result->generate_ms / 1e3);
    watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_POST, WATCH_STEP_NS / 1e9);
    if (job->index == 0 && result->n_generated > 0)
        watch_note(w, METRIC_FIRST_TOKEN_SECONDS, 0, (w->load_ms + before_ms) / 1e3);
    w->load_ms = 0;
    if (r->priority == SCHEDULER_PREFETCH && result->stop != ENGINE_STOP_CANCEL)
        watch_note(w, METRIC_PREFETCHES, 0, 1);
}

/* ---- The world --------------------------------------------------------------------------------------- */

static void on_wake(void *ctx)
{
    (void)ctx;
}

static void on_new(void)
{
    set_clock_advance(WATCH_LOAD_MS * MS);
}

void watch_poll(struct watch_world *w)
{
    service_poll(w->service);
    if (w->store) store_poll(w->store);
}

struct service_loaded *watch_model(struct watch_world *w, const char *name)
{
    for (int32_t i = 0; i < w->service->models.n_known; i++) {
        struct service_loaded *m = w->service->models.known[i];
        if (strcmp(m->name, name) == 0) return m;
    }
    return NULL;
}

void watch_wait_ready(struct watch_world *w, const char *name)
{
    for (;;) {
        struct service_loaded *m = watch_model(w, name);
        assert_non_null(m);
        if (m->state == SERVICE_READY) {
            stub_scheduler_on_report(m->scheduler, on_report, w);
            return;
        }
        if (m->state == SERVICE_MODEL_FAILED) fail_msg("%s", m->error.text);
        usleep(200);
        watch_poll(w);
    }
}

void watch_finish(struct watch_world *w)
{
    for (int i = 0; i < 8; i++) {
        for (int32_t k = 0; k < w->service->models.n_known; k++) {
            struct service_loaded *m = w->service->models.known[k];
            if (m->state == SERVICE_READY) (void)stub_scheduler_run(m->scheduler, INT64_MAX);
        }
        watch_poll(w);
        if (w->service->n_tickets == 0 && !w->service->runs) return;
    }
    if (w->service->n_tickets > 0) fail_msg("%d requests are not answered", w->service->n_tickets);
}

static void link_model(const struct watch_world *w, const char *file, const char *target)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w->dir, file);
    assert_int_equal(symlink(target, path), 0);
}

void watch_open(struct watch_world *w, const struct watch_plan *plan)
{
    struct errmsg msg = {0};
    *w = (struct watch_world){.dice = 1, .docs = documents_new(), .metrics = metrics_new()};
    w->journal = journal_new(0);
    w->asked = mem_new(WATCH_ASKED_MAX * sizeof *w->asked);
    snprintf(w->dir, sizeof w->dir, "/tmp/inline-watch-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    link_model(w, "llama.gguf", FIXTURES "/models/llama.gguf");
    link_model(w, "qwen2.gguf", FIXTURES "/models/qwen2.gguf");
    link_model(w, "broken.gguf", FIXTURES "/models/llama.txt");
    set_clock_start(START_NS, WATCH_STEP_NS);
    w->start_ns = w->ledger.now_ns = set_clock_peek();
    metrics_roll(w->metrics, w->ledger.now_ns);
    assert_int_equal(secrets_new(&(struct secrets_options){0}, &w->secrets, NULL), OK);
    struct store_options levels = {.dir = plan->disk_bytes > 0 ? w->dir : "",
                                   .memory_bytes = (int64_t)64 << 20,
                                   .disk_bytes = plan->disk_bytes,
                                   .team = "",
                                   .metrics = w->metrics,
                                   .wake = on_wake};
    if (plan->has_store && store_new(&levels, &w->store, &msg)) fail_msg("%s", msg.text);
    struct service_options o = {.models_dir = w->dir,
                                .default_model = "llama",
                                .engine = {.n_threads = 1},
                                .max_waiting = WATCH_MAX_WAITING,
                                .max_tokens = MAX_TOKENS,
                                .min_confidence = plan->min_confidence,
                                .has_no_projects = true,
                                .secrets = w->secrets,
                                .store = w->store,
                                .prefetch_mode =
                                    plan->has_prefetch ? SERVICE_PREFETCH_ON : SERVICE_PREFETCH_OFF,
                                .metrics = w->metrics,
                                .journal = w->journal,
                                .wake = on_wake};
    stub_scheduler_on_new(on_new);
    if (service_new(&o, &w->service, &msg)) fail_msg("%s", msg.text);
    watch_wait_ready(w, "llama");
    watch_note(w, METRIC_MODEL_LOADS, 0, 1);
    watch_note(w, METRIC_MODEL_LOAD_SECONDS, 0, WATCH_LOAD_MS / 1e3);
}

void watch_close(struct watch_world *w)
{
    char command[96];
    documents_free(&w->docs);
    service_free(&w->service);
    store_free(&w->store);
    secrets_free(&w->secrets);
    journal_free(&w->journal);
    metrics_free(&w->metrics);
    ledger_clear(&w->ledger);
    for (int i = 0; i < w->n_asked; i++) {
        buf_clear(&w->asked[i].text);
        buf_clear(&w->asked[i].streamed);
    }
    mem_free(w->asked);
    stub_scheduler_on_new(NULL);
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
}

/* ---- Requests ---------------------------------------------------------------------------------------- */

static void on_text(void *ctx, const char *text, size_t len)
{
    struct watch_asked *a = ctx;
    buf_add(&a->streamed, text, len);
}

static void note_answer(struct watch_asked *a, double total_s)
{
    struct watch_world *w = a->world;
    watch_note(w, METRIC_REQUESTS, (int32_t)a->outcome, 1);
    watch_note(w, METRIC_REQUESTS_BY_API, (int32_t)a->api, 1);
    if (a->error >= 0) watch_note(w, METRIC_ERRORS, a->error, 1);
    if (a->quiet >= 0) watch_note(w, METRIC_QUIET, a->quiet, 1);
    if (a->source >= 0) watch_note(w, METRIC_CACHE_HITS, a->source, 1);
    if (a->miss >= 0) watch_note(w, METRIC_CACHE_MISSES, a->miss, 1);
    if (a->outcome == SERVICE_OK) watch_note(w, METRIC_REQUEST_SECONDS, (int32_t)a->answer, total_s);
}

static void assert_label(enum metric_id id, int32_t label, const char *is)
{
    char name[32];
    if (label < 0) {
        assert_string_equal(is, "");
        return;
    }
    assert_true(metric_label_name(id, label, name));
    assert_string_equal(is, name);
}

void watch_expect_found(struct watch_asked *a, int32_t source)
{
    a->source = source;
    a->miss = -1;
    a->answer = source == CACHE_IN_FLIGHT ? METRIC_ANSWER_COMPUTED : METRIC_ANSWER_CACHED;
}

static void on_done(void *ctx, const struct service_answer *from)
{
    struct watch_asked *a = ctx;
    assert_int_equal(a->n_done, 0);
    a->n_done++;
    if (from->outcome != a->outcome)
        fail_msg("outcome %d, not %d: %s", from->outcome, a->outcome, from->message);
    if (a->is_any) a->miss = service_watch_label(METRIC_CACHE_MISSES, from->cache_miss);
    if (a->is_any && *from->cache) watch_expect_found(a, service_watch_label(METRIC_CACHE_HITS, from->cache));
    assert_label(METRIC_CACHE_HITS, a->source, from->cache);
    assert_label(METRIC_CACHE_MISSES, a->miss, from->cache_miss);
    assert_label(METRIC_QUIET, a->quiet, from->quiet);
    a->id = from->id;
    a->timings = from->timings;
    a->total_ms = from->timings.total;
    if (from->n_candidates > 0) buf_add(&a->text, from->candidates[0].text, from->candidates[0].len);
    int64_t took_ns = set_clock_peek() - a->start_ns;
    assert_true(fabs(a->total_ms * 1e6 - (double)took_ns) <= 10 * WATCH_STEP_NS);
    note_answer(a, (double)took_ns / 1e9);
    if (a->outcome == SERVICE_OK && from->timings.context > 0)
        watch_note(a->world, METRIC_STAGE_SECONDS, METRIC_STAGE_CONTEXT, from->timings.context / 1e3);
}

struct watch_asked *watch_submit(struct watch_world *w, struct service_request r)
{
    assert_true(w->n_asked < WATCH_ASKED_MAX);
    struct watch_asked *a = &w->asked[w->n_asked++];
    *a = (struct watch_asked){.world = w,
                              .answer = METRIC_ANSWER_COMPUTED,
                              .api = (enum metric_api)watch_dice(w, METRIC_API_OWN + 1),
                              .source = -1,
                              .miss = MISS_NEW,
                              .quiet = -1,
                              .error = -1,
                              .start_ns = set_clock_peek()};
    buf_init(&a->text, TEXT_MAX);
    buf_init(&a->streamed, TEXT_MAX);
    r.api = a->api;
    r.on_text = on_text;
    r.on_done = on_done;
    r.ctx = a;
    a->ticket = service_submit(w->service, &r);
    assert_int_equal(a->n_done, 0);
    return a;
}

void watch_expect_not(struct watch_asked *a, enum service_outcome outcome, int32_t error)
{
    a->outcome = outcome;
    a->error = error;
    a->miss = a->source = -1;
}

void watch_expect_quiet(struct watch_asked *a, const char *reason)
{
    a->quiet = service_watch_label(METRIC_QUIET, reason);
    assert_true(a->quiet >= 0);
    a->miss = -1;
    a->answer = METRIC_ANSWER_NONE;
}

void watch_cancel(struct watch_world *w, struct watch_asked *a)
{
    a->is_cancelled = true;
    service_cancel(w->service, a->ticket);
    watch_note(w, METRIC_REQUESTS, METRIC_OUTCOME_CANCELLED, 1);
    watch_note(w, METRIC_REQUESTS_BY_API, (int32_t)a->api, 1);
}

void watch_dawdle(struct watch_world *w)
{
    set_clock_advance((int64_t)(watch_draw_ms(w, 3) * 1e6));
}

struct watch_document watch_new_document(struct watch_world *w, const char *around)
{
    struct watch_document d;
    char text[512];
    int n = w->n_documents++;
    snprintf(text, sizeof text, "int part_%d(int a)\n{\n    return a * %d;\n}\n\n%s", n, n + 7, around);
    char *bar = strchr(text, '|');
    assert_non_null(bar);
    d.cursor = (size_t)(bar - text);
    memmove(bar, bar + 1, strlen(bar));
    memcpy(d.text, text, sizeof d.text);
    d.len = strlen(d.text);
    snprintf(d.path, sizeof d.path, "src/part_%d.c", n);
    return d;
}

void watch_type(struct watch_document *d, char c)
{
    memmove(d->text + d->cursor + 1, d->text + d->cursor, d->len - d->cursor + 1);
    d->text[d->cursor++] = c;
    d->len++;
}

struct service_request watch_request_at(const struct watch_document *d)
{
    return (struct service_request){.model = "",
                                    .client = d->path,
                                    .document = d->path,
                                    .priority = SERVICE_TYPING,
                                    .text = d->text,
                                    .len = d->len,
                                    .cursor = d->cursor,
                                    .path = d->path,
                                    .extent = SERVICE_EXTENT_ANY,
                                    .sampling = SAMPLER_GREEDY,
                                    .max_tokens = -1};
}

struct watch_asked *watch_submit_looked_up(struct watch_world *w, struct service_request r)
{
    if (w->store) watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_MEMORY, WATCH_STEP_NS / 1e9);
    struct watch_asked *a = watch_submit(w, r);
    if (!w->store) a->miss = MISS_OFF;
    return a;
}
