/* What the service counts. One row per series; the names are part of what users rely on. */
#include "service/service_impl.h"

#include <stdio.h>

#include "watch/metrics.h"

#define LABEL_MAX 48 /* longer than every label below */

static const char *const outcome_names[SERVICE_N_OUTCOMES] = {
    [SERVICE_OK] = "ok",   [SERVICE_SUPERSEDED] = "superseded",   [SERVICE_SHED] = "shed",
    [SERVICE_BAD] = "bad", [SERVICE_UNAVAILABLE] = "unavailable", [SERVICE_ERROR] = "error",
};
static const char *const stage_names[N_STAGES] = {"queue", "context", "prompt", "predict", "post"};
static const char *const source_names[N_SOURCES] = {"reused", "restored", "moved", "computed"};
static const char *const event_names[SERVICE_N_EVENTS] = {
    [SERVICE_SHOWN] = "shown",
    [SERVICE_ACCEPTED] = "accepted",
    [SERVICE_PARTLY_ACCEPTED] = "partly_accepted",
    [SERVICE_DISMISSED] = "dismissed",
};

static const char *label(char *out, const char *key, const char *value)
{
    snprintf(out, LABEL_MAX, "%s=\"%s\"", key, value);
    return out;
}

/* Of all loaded models together. */
static struct scheduler_state total(const struct service *s)
{
    struct scheduler_state sum = {0};
    for (int32_t i = 0; i < s->models.n_known; i++) {
        const struct service_loaded *m = s->models.known[i];
        if (m->state != SERVICE_READY) continue;
        struct scheduler_state one;
        scheduler_state(m->scheduler, &one);
        sum.n_running += one.n_running;
        sum.n_waiting += one.n_waiting;
        sum.kv_bytes += one.kv_bytes;
    }
    return sum;
}

static double read_running(void *ctx)
{
    return total(ctx).n_running;
}

static double read_waiting(void *ctx)
{
    return total(ctx).n_waiting;
}

static double read_kv_bytes(void *ctx)
{
    return (double)total(ctx).kv_bytes;
}

static double read_loaded(void *ctx)
{
    const struct service *s = ctx;
    int32_t n = 0;
    for (int32_t i = 0; i < s->models.n_known; i++) n += s->models.known[i]->state == SERVICE_READY;
    return n;
}

static double read_weights(void *ctx)
{
    const struct service *s = ctx;
    int64_t bytes = 0;
    for (int32_t i = 0; i < s->models.n_known; i++) {
        const struct service_loaded *m = s->models.known[i];
        if (m->state == SERVICE_READY) bytes += engine_resident_bytes(scheduler_engine(m->scheduler));
    }
    return (double)bytes;
}

static void init_models(struct service *s)
{
    struct service_watch *w = &s->watch;
    struct metrics *m = s->o.metrics;
    w->loads = metrics_counter(m, "inline_model_loads_total", "", "Models that began to load.");
    w->load_failures =
        metrics_counter(m, "inline_model_load_failures_total", "", "Models that could not be.");
    w->unloads = metrics_counter(m, "inline_model_unloads_total", "", "Models that were unloaded.");
    w->load_seconds = metrics_histogram(m, "inline_model_load_seconds", "",
                                        "Time until a model could take its first request.");
    metrics_gauge(m, "inline_models_loaded", "", "Models that take requests.", read_loaded, s);
    metrics_gauge(m, "inline_weights_resident_bytes", "", "Bytes of weights in memory.", read_weights, s);
}

static void init_requests(struct service_watch *w, struct metrics *m)
{
    static const char help[] = "Requests by how they ended.";
    char text[LABEL_MAX];
    for (int32_t i = 0; i < SERVICE_N_OUTCOMES; i++) {
        label(text, "outcome", outcome_names[i]);
        w->outcomes[i] = metrics_counter(m, "inline_requests_total", text, help);
    }
    w->cancelled = metrics_counter(m, "inline_requests_total", "outcome=\"cancelled\"", help);
    w->seconds = metrics_histogram(m, "inline_request_seconds", "",
                                   "Time from a request to its answer, of requests that were completed.");
    for (int32_t i = 0; i < N_STAGES; i++) {
        label(text, "stage", stage_names[i]);
        w->stages[i] = metrics_histogram(m, "inline_stage_seconds", text, "Time of each stage of a request.");
    }
}

static void init_tokens(struct service_watch *w, struct metrics *m)
{
    char text[LABEL_MAX];
    for (int32_t i = 0; i < N_SOURCES; i++) {
        label(text, "source", source_names[i]);
        w->prompt_tokens[i] = metrics_counter(m, "inline_prompt_tokens_total", text,
                                              "Tokens of prompts by where their KV came from.");
    }
    w->predicted = metrics_counter(m, "inline_predicted_tokens_total", "", "Tokens generated.");
    w->drafted = metrics_counter(m, "inline_drafted_tokens_total", "", "Tokens proposed by speculation.");
    w->accepted =
        metrics_counter(m, "inline_accepted_tokens_total", "", "Tokens proposed by speculation and right.");
}

static void init_caches(struct service_watch *w, struct metrics *m)
{
    char text[LABEL_MAX];
    for (int32_t i = 0; i < CACHE_N_SOURCES; i++) {
        label(text, "source", service_cache_source_name((enum service_cache_source)i));
        w->found[i] = metrics_counter(m, "inline_cache_hits_total", text,
                                      "Answers that were not computed, by where they were found.");
    }
    for (int32_t i = 0; i < MISS_N; i++) {
        label(text, "reason", service_cache_miss_name((enum service_cache_miss)i));
        w->missed[i] = metrics_counter(m, "inline_cache_misses_total", text,
                                       "Answers that were computed, by why no cache had them.");
    }
}

void service_watch_init(struct service *s)
{
    struct service_watch *w = &s->watch;
    struct metrics *m = s->o.metrics;
    if (!m) return;
    init_requests(w, m);
    init_tokens(w, m);
    for (int32_t i = 0; i < SERVICE_N_EVENTS; i++) {
        char text[LABEL_MAX];
        label(text, "event", event_names[i]);
        w->events[i] = metrics_counter(m, "inline_suggestions_total", text,
                                       "Suggestions by what editors told about them.");
    }
    init_caches(w, m);
    init_models(s);
    metrics_gauge(m, "inline_requests_running", "", "Requests that are being computed.", read_running, s);
    metrics_gauge(m, "inline_requests_waiting", "", "Requests that wait for a sequence.", read_waiting, s);
    metrics_gauge(m, "inline_kv_bytes", "", "Bytes of KV in memory.", read_kv_bytes, s);
}

static void observe_ms(struct metric *h, double ms)
{
    if (h) metric_observe(h, ms / 1e3);
}

void service_watch_answer(struct service_watch *w, const struct service_answer *a)
{
    metric_add(w->outcomes[a->outcome], 1);
    if (a->outcome != SERVICE_OK) return;
    observe_ms(w->seconds, a->timings.total);
}

void service_watch_source(struct service *s, const struct service_ticket *t)
{
    if (t->has_source) {
        s->n_found[t->source]++;
        metric_add(s->watch.found[t->source], 1);
    } else if (t->has_miss) {
        s->n_missed[t->miss]++;
        metric_add(s->watch.missed[t->miss], 1);
    }
}

void service_watch_run(struct service_watch *w, const struct service_run *run)
{
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        const struct service_job *j = &run->jobs[i];
        const struct engine_result *r = &j->report.result;
        if (j->report.outcome != SCHEDULER_DONE) continue;
        observe_ms(w->stages[STAGE_QUEUE], j->report.queue_ms);
        observe_ms(w->stages[STAGE_CONTEXT], j->report.prepare_ms);
        observe_ms(w->stages[STAGE_PROMPT], r->prompt_ms);
        observe_ms(w->stages[STAGE_PREDICT], r->generate_ms);
        observe_ms(w->stages[STAGE_POST], j->post_ms);
        metric_add(w->prompt_tokens[SOURCE_REUSED], r->reuse.n_reused);
        metric_add(w->prompt_tokens[SOURCE_RESTORED], r->reuse.n_restored);
        metric_add(w->prompt_tokens[SOURCE_MOVED], r->reuse.n_moved);
        metric_add(w->prompt_tokens[SOURCE_COMPUTED], r->reuse.n_computed);
        metric_add(w->predicted, r->n_generated);
        metric_add(w->drafted, r->n_drafted);
        metric_add(w->accepted, r->n_accepted);
    }
}
