/* See api_status.h. */
#include "serve/api_status.h"

#include <unistd.h>

#include "base/json.h"
#include "base/json_read.h"
#include "os/clock.h"
#include "os/usage.h"
#include "serve/api_cache.h"
#include "serve/api_impl.h"
#include "serve/api_params.h"
#include "watch/alerts.h"

/* --- GET /status ---------------------------------------------------------------------------------------- */

/* The servers of a model on other machines. */
static void write_servers(struct service *s, int32_t model, struct json *j)
{
    struct remote_server_state server;
    json_begin_array(j, "servers");
    for (int32_t i = 0; service_model_server(s, model, i, &server); i++) {
        json_begin_object(j, NULL);
        json_str(j, "name", server.name);
        json_str(j, "state", service_server_health(&server));
        json_flag(j, "limited", server.is_limited);
        json_flag(j, "http2", server.is_http2);
        json_int(j, "running", server.n_outstanding);
        json_int(j, "connections", server.n_connections);
        json_int(j, "requests", server.n_asked);
        json_int(j, "failed", server.n_failed);
        json_int(j, "rate_limited", server.n_limited);
        json_int(j, "hedged", server.n_hedged);
        json_num(j, "first_token_p50_ms", server.first_p50_ms, 1);
        json_num(j, "first_token_p95_ms", server.first_p95_ms, 1);
        json_str(j, "error", server.error.text);
        json_end_object(j);
    }
    json_end_array(j);
}

static void write_model(struct service *s, int32_t i, const struct service_model *m, int64_t resident_bytes,
                        struct json *j)
{
    static const char *const STATES[] = {[SERVICE_LOADING] = "loading",
                                         [SERVICE_READY] = "ready",
                                         [SERVICE_MODEL_FAILED] = "failed",
                                         [SERVICE_INSTALLED] = "installed",
                                         [SERVICE_UNLOADING] = "unloading"};
    json_begin_object(j, NULL);
    json_str(j, "name", m->name);
    json_str(j, "path", m->path);
    json_str(j, "state", STATES[m->state]);
    json_str(j, "role", m->role);
    json_str(j, "error", m->error);
    json_int(j, "bytes", m->bytes);
    json_str(j, "architecture", m->arch);
    json_str(j, "format", m->format);
    json_str(j, "precision", m->precision);
    json_str(j, "isa", m->isa);
    json_str(j, "fim_family", m->fim_family);
    json_int(j, "parameters", m->n_params);
    json_int(j, "context", m->n_ctx);
    json_int(j, "context_trained", m->n_ctx_train);
    json_num(j, "load_ms", m->load_ms, 1);
    json_int(j, "loads", m->n_loads);
    json_int(j, "requests", m->n_requests);
    json_num(j, "idle_s", m->idle_s, 1);
    json_int(j, "weight_bytes", m->weight_bytes);
    json_int(j, "read_bytes", m->read_bytes);
    json_int(j, "resident_bytes", resident_bytes);
    json_int(j, "kv_bytes", m->kv_bytes);
    if (*m->api) {
        json_str(j, "api", m->api);
        json_str(j, "remote_model", m->remote_model);
        write_servers(s, i, j);
    }
    json_end_object(j);
}

struct totals { /* over the models */
    int64_t weight_bytes, resident_bytes, kv_bytes;
};

static void write_models(struct service *s, struct json *j, struct totals *totals)
{
    json_begin_array(j, "models");
    int32_t n = service_n_models(s);
    for (int32_t i = 0; i < n; i++) {
        struct service_model m;
        service_model(s, i, &m);
        int64_t resident_bytes = service_model_resident(s, i);
        write_model(s, i, &m, resident_bytes, j);
        totals->weight_bytes += m.weight_bytes;
        totals->resident_bytes += resident_bytes;
        totals->kv_bytes += m.kv_bytes;
    }
    json_end_array(j);
}

/* What the process's memory is used for, as it was measured last; together they are what the system sees. */
static void write_memory_parts(const struct metrics *m, struct json *j)
{
    json_int(j, "max_bytes", (int64_t)metrics_value(m, METRIC_MEMORY_MAX_BYTES, 0));
    json_begin_object(j, "parts");
    for (int32_t i = 0; i < metrics_n_labels(m, METRIC_MEMORY_BYTES); i++)
        json_int(j, metrics_label_text(m, METRIC_MEMORY_BYTES, i),
                 (int64_t)metrics_value(m, METRIC_MEMORY_BYTES, i));
    json_end_object(j);
}

/* The process as the system sees it, and what its parts know of themselves. Weights are pages of files. */
static void write_memory(const struct api *a, const struct totals *totals,
                         const struct service_cache_stats *caches, struct json *j)
{
    struct usage usage;
    usage_self(&usage);
    json_begin_object(j, "memory");
    json_int(j, "rss_bytes", usage.rss_bytes);
    json_int(j, "anon_bytes", usage.rss_anon_bytes);
    json_int(j, "file_bytes", usage.rss_file_bytes);
    json_int(j, "peak_bytes", usage.peak_bytes);
    json_int(j, "weight_bytes", totals->weight_bytes);
    json_int(j, "weight_resident_bytes", totals->resident_bytes);
    json_int(j, "kv_bytes", totals->kv_bytes);
    json_int(j, "cache_bytes", caches->levels[0].n_bytes); /* the level that is memory */
    if (a->o.metrics) write_memory_parts(a->o.metrics, j);
    json_end_object(j);
}

static void write_sample(const struct machine_sample *m, int64_t now_ns, struct json *j)
{
    json_begin_object(j, "sample");
    json_num(j, "age_s", (double)(now_ns - m->at_ns) / 1e9, 1);
    json_int(j, "memory_total", m->memory_total);
    json_int(j, "memory_available", m->memory_available);
    json_int(j, "group_limit", m->group_limit);
    json_int(j, "group_used", m->group_used);
    json_int(j, "rss", m->rss);
    json_int(j, "cpus", m->n_cpus);
    json_num(j, "cpu_pressure", m->cpu_some, 2);
    json_num(j, "memory_pressure", m->memory_some, 2);
    json_num(j, "memory_pressure_full", m->memory_full, 2);
    json_num(j, "io_pressure", m->io_some, 2);
    json_flag(j, "on_battery", m->is_on_battery);
    json_num(j, "battery_percent", m->battery_percent, 0);
    json_int(j, "throttled", m->n_throttled);
    json_end_object(j);
}

static void write_orders(const struct governor_orders *o, struct json *j)
{
    json_begin_object(j, "orders");
    json_int(j, "threads", o->n_threads);
    json_num(j, "cpu_ceiling", o->cpu_ceiling, 3);
    json_num(j, "speed", o->speed, 3);
    json_flag(j, "background", o->background);
    json_int(j, "debounce_ms", o->debounce_ms);
    json_int(j, "kv_bytes", o->kv_bytes);
    json_end_object(j);
}

static void write_events(const struct governor_status *g, int64_t now_ns, struct json *j)
{
    json_begin_array(j, "events");
    for (int32_t i = 0; i < g->n_events; i++) {
        const struct governor_event *e = &g->events[i];
        json_begin_object(j, NULL);
        json_num(j, "ago_s", (double)(now_ns - e->at_ns) / 1e9, 1);
        json_str(j, "what", e->what);
        json_str(j, "why", e->why);
        json_int(j, "gave_bytes", e->gave_bytes);
        json_end_object(j);
    }
    json_end_array(j);
}

static void write_governor(const struct governor *governor, struct json *j)
{
    struct governor_status g = {0};
    int64_t now_ns = clock_ns();
    if (!governor) return;
    governor_status(governor, &g);
    json_begin_object(j, "governor");
    json_int(j, "looks", g.n_looks);
    json_int(j, "actions", g.n_actions);
    json_int(j, "gave_bytes", g.gave_bytes);
    json_num(j, "memory_share", g.memory_share, 4);
    json_num(j, "memory_level", g.memory_level, 4);
    json_str(j, "memory_of", g.memory_of ? g.memory_of : "");
    json_num(j, "cpu_share", g.cpu_share, 4);
    json_num(j, "others_share", g.others_share, 4);
    json_num(j, "own_share", g.own_share, 4);
    json_flag(j, "throttled", g.is_throttled);
    if (g.sample.at_ns) write_sample(&g.sample, now_ns, j);
    write_orders(&g.orders, j);
    write_events(&g, now_ns, j);
    json_end_object(j);
}

static void write_figures(const struct metrics *m, struct json *j)
{
    json_begin_object(j, "figures");
    for (enum metrics_window w = METRICS_MINUTE; w <= METRICS_ALL; w++) {
        json_begin_object(j, metrics_window_name(w));
        metrics_write_figures(m, w, j);
        json_end_object(j);
    }
    json_end_object(j);
}

/* Servers elsewhere; nothing where none is configured. */
static void write_remote(const struct metrics *m, struct json *j)
{
    int32_t n = metrics_n_labels(m, METRIC_REMOTE_UP);
    if (n == 0) return;
    json_begin_array(j, "remote");
    for (int32_t i = 0; i < n; i++) {
        json_begin_object(j, NULL);
        json_str(j, "name", metrics_label_text(m, METRIC_REMOTE_UP, i));
        json_flag(j, "up", metrics_value(m, METRIC_REMOTE_UP, i) > 0);
        json_end_object(j);
    }
    json_end_array(j);
}

void api_status_write(struct api *a, struct json *j)
{
    struct totals totals = {0};
    struct service_cache_stats caches = {0};
    service_measure(a->service, true);
    service_cache_stats(a->service, &caches);
    json_str(j, "version", INLINE_VERSION);
    json_int(j, "pid", getpid());
    json_int(j, "uptime_s", api_now_s() - a->started_s);
    json_str(j, "cpu", a->cpu);
    json_int(j, "running", service_n_running(a->service));
    write_models(a->service, j, &totals);
    write_memory(a, &totals, &caches, j);
    write_governor(service_governor(a->service), j);
    json_begin_object(j, "caches");
    api_cache_write(&caches, j);
    json_end_object(j);
    if (a->o.metrics) {
        write_figures(a->o.metrics, j);
        write_remote(a->o.metrics, j);
    }
    if (a->o.alerts) alerts_write(a->o.alerts, j);
}

void api_status(struct api *a, struct http_exchange *x)
{
    struct buf out;
    struct json j;
    buf_init(&out, API_ANSWER_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    api_status_write(a, &j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

/* --- POST /models/load, /models/unload ------------------------------------------------------------------ */

/* {"model": NAME}; `act` begins what was asked for. What comes of it is in GET /status. */
static void change(struct api *a, struct http_exchange *x, bool (*act)(struct service *s, const char *name))
{
    const struct http_request *request = http_request_of(x);
    struct json_value *body = NULL;
    struct errmsg msg = {0};
    const char *name = "";
    if (!request->is_trusted) {
        http_error(x, 403, "permission_error",
                   "models are loaded and unloaded over the Unix socket, or with the token (serve.token)");
        return;
    }
    enum err err = json_read(request->body, request->body_len, &body, &msg);
    if (!err && !json_is_object(body)) err = err_set(&msg, ERR_ARG, "the body is {\"model\": NAME}");
    if (!err) err = api_params_str(body, "model", &name, NULL, &msg);
    if (err) {
        http_error(x, 400, "invalid_request_error", "%s", msg.text);
    } else if (!act(a->service, name)) {
        http_error(x, 404, "not_found_error", "there is no model \"%s\"", name);
    } else {
        static const char DONE[] = "{\"success\":true}";
        http_answer(x, 200, API_JSON, DONE, sizeof DONE - 1);
    }
    json_read_free(&body);
}

void api_status_load(struct api *a, struct http_exchange *x)
{
    change(a, x, service_load);
}

void api_status_unload(struct api *a, struct http_exchange *x)
{
    change(a, x, service_unload);
}
