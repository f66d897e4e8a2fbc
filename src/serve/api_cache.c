/* See api_cache.h. Emptying takes the disk's time, so that its answer comes later: whoever waits is in a list
 * of the API's, and stays there when the client goes away, until the service has called back. */
#include "serve/api_cache.h"

#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "serve/api_impl.h"

/* --- GET /cache --------------------------------------------------------------------------------------- */

static double share(int64_t part, int64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void write_level(const struct service_cache_level *l, struct json *j)
{
    json_begin_object(j, l->name);
    json_flag(j, "on", l->is_on);
    json_int(j, "entries", l->n_entries);
    json_int(j, "bytes", l->n_bytes);
    json_int(j, "max_bytes", l->max_bytes);
    json_int(j, "asked", l->n_asked);
    json_int(j, "found", l->n_found);
    json_num(j, "hit_rate", share(l->n_found, l->n_asked), 4);
    json_int(j, "put", l->n_put);
    json_int(j, "evicted", l->n_evicted);
    json_int(j, "failed", l->n_failed);
    json_int(j, "dropped", l->n_dropped);
    json_end_object(j);
}

/* Returns their sum. */
static int64_t write_counts(const struct service_cache_count *counts, int32_t n, const char *key,
                            struct json *j)
{
    int64_t sum = 0;
    json_begin_object(j, key);
    for (int32_t i = 0; i < n; i++) {
        if (!counts[i].name) continue;
        json_int(j, counts[i].name, counts[i].n);
        sum += counts[i].n;
    }
    json_end_object(j);
    return sum;
}

void api_cache_write(const struct service_cache_stats *stats, struct json *j)
{
    json_begin_object(j, "levels");
    for (int32_t i = 0; i < SERVICE_CACHE_LEVELS; i++) {
        if (stats->levels[i].name) write_level(&stats->levels[i], j);
    }
    json_end_object(j);
    json_int(j, "answers", stats->n_answers);
    int64_t n_found = write_counts(stats->found, SERVICE_CACHE_SOURCES, "found", j);
    write_counts(stats->missed, SERVICE_CACHE_MISSES, "missed", j);
    json_num(j, "hit_rate", share(n_found, stats->n_answers), 4);
    json_int(j, "prefetched", stats->n_prefetched);
    json_int(j, "prefetch_used", stats->n_prefetch_used);
}

void api_cache_stats(struct api *a, struct http_exchange *x)
{
    struct service_cache_stats stats = {0};
    struct buf out;
    struct json j;
    service_cache_stats(a->service, &stats);
    buf_init(&out, API_ANSWER_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    api_cache_write(&stats, &j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

/* --- POST /cache/clear -------------------------------------------------------------------------------- */

struct api_clearing {
    struct api *api;
    struct http_exchange *exchange; /* null: the client has gone */
    struct api_clearing *next;
};

static void forget(struct api_clearing *c)
{
    struct api_clearing **at = &c->api->clearings;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    mem_free(c);
}

static void on_abort(void *ctx)
{
    struct api_clearing *c = ctx;
    c->exchange = NULL;
}

static void answer_cleared(struct http_exchange *x, int64_t n_deleted)
{
    struct buf out;
    struct json j;
    buf_init(&out, API_ANSWER_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_int(&j, "deleted", n_deleted);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

static void on_cleared(void *ctx, int64_t n_deleted)
{
    struct api_clearing *c = ctx;
    if (c->exchange) answer_cleared(c->exchange, n_deleted);
    forget(c);
}

static void clear_all(struct api *a, struct http_exchange *x)
{
    struct api_clearing *c = MEM_NEW(struct api_clearing);
    *c = (struct api_clearing){.api = a, .exchange = x, .next = a->clearings};
    a->clearings = c;
    if (service_cache_clear(a->service, on_cleared, c)) {
        http_on_abort(x, on_abort, c);
    } else {
        forget(c);
        answer_cleared(x, 0);
    }
}

/* The body: {}, or {"level":"memory"} for that level alone; none is as {}. */
static enum err read_level(const struct http_request *r, bool *is_memory, struct errmsg *msg)
{
    struct json_value *body = NULL;
    *is_memory = false;
    if (r->body_len == 0) return OK;
    enum err err = json_read(r->body, r->body_len, &body, msg);
    const struct json_value *level = json_get(body, "level");
    const char *name = json_get_str(level, NULL);
    *is_memory = name && strcmp(name, "memory") == 0;
    if (!err && (!json_is_object(body) || (level && !*is_memory)))
        err = err_set(msg, ERR_ARG, "the body is {}, or {\"level\":\"memory\"} for that level alone");
    json_read_free(&body);
    return err;
}

void api_cache_clear(struct api *a, struct http_exchange *x)
{
    const struct http_request *request = http_request_of(x);
    struct errmsg msg = {0};
    bool is_memory;
    if (!request->is_trusted) {
        http_error(x, 403, "permission_error",
                   "caches are emptied over the Unix socket, or with the token (serve.token)");
    } else if (read_level(request, &is_memory, &msg)) {
        http_error(x, 400, "invalid_request_error", "%s", msg.text);
    } else if (is_memory) {
        service_cache_clear_memory(a->service);
        answer_cleared(x, 0);
    } else {
        clear_all(a, x);
    }
}

void api_cache_free(struct api *a)
{
    while (a->clearings) forget(a->clearings);
}
