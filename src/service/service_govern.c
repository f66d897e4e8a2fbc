/* Stepping back: what the governor (watch/governor.h) sees and what its orders mean here.
 *
 * It looks once a second while there is something to do, and for some seconds after; then nothing wakes. It
 * gives memory back in the order in which that is missed least: models that nobody uses, KV and completions,
 * what the heap holds for nothing, and, at last, pages of weights, which the page cache may still have. */
#include "service/service_impl.h"

#include "base/mem.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/machine.h"
#include "os/pool.h"
#include "os/throttle.h"
#include "store/memory_cache.h"
#include "watch/governor.h"

#define LOOK_NS         ((int64_t)1000000000)
#define ACTIVE_MS       10e3 /* after the last request: long enough to see what it has led to */
#define KV_SPARE_TOKENS 64   /* KV comes in pages, and drafts need room */
#define IDLE_MS         10e3 /* a model that was not used for so long is not missed at once */

/* Model i, if it is ready and on this machine. */
static struct service_loaded *ready(const struct service *s, int32_t i)
{
    struct service_loaded *m = s->models.known[i];
    return m->state == SERVICE_READY && m->scheduler ? m : NULL;
}

/* ---- Memory ---- */

static int64_t kv_bytes(const struct service_loaded *m)
{
    struct scheduler_state state;
    scheduler_state(m->scheduler, &state);
    return state.kv_bytes;
}

static bool is_over_limit(const struct service *s)
{
    struct governor_status status;
    governor_status(s->govern.governor, &status);
    return s->o.governor.memory_limit > 0 && status.sample.rss > s->o.governor.memory_limit;
}

static int64_t unload_idle(void *ctx, int64_t want)
{
    struct service *s = ctx;
    int64_t given = 0;
    double idle_ms = is_over_limit(s) ? 0 : IDLE_MS;
    for (struct service_loaded *m; given < want && (m = service_registry_idle(s, idle_ms));) {
        given += kv_bytes(m) + engine_resident_bytes(scheduler_engine(m->scheduler));
        service_registry_unload(s, m);
    }
    if (given > 0) service_registry_settle(s);
    return given;
}

/* What a prompt and its answer take: with less, requests would fail. */
static int64_t least_kv(const struct service *s, const struct service_loaded *m)
{
    const struct arch_params *p = &m->model->p;
    int64_t n_tokens = s->o.prompt_tokens + s->o.max_tokens + KV_SPARE_TOKENS;
    if (n_tokens > m->n_ctx) n_tokens = m->n_ctx;
    return n_tokens * p->n_layers * p->n_kv_heads * p->head_dim * 2 * (int64_t)sizeof(uint16_t);
}

/* Of the completions in memory a quarter stays; databases have the rest. */
static int64_t shrink_completions(struct service *s)
{
    struct store_level_stats l;
    if (!s->o.store || s->govern.completions_max > 0) return 0;
    store_stats(s->o.store, STORE_MEMORY, &l);
    s->govern.completions_max = l.max_bytes;
    memory_cache_set_max(store_memory(s->o.store), (size_t)l.max_bytes / 4);
    return l.n_bytes > l.max_bytes / 4 ? l.n_bytes - l.max_bytes / 4 : 0;
}

static int64_t shrink_caches(void *ctx, int64_t want)
{
    struct service *s = ctx;
    int64_t given = shrink_completions(s);
    for (int32_t i = 0; i < s->models.n_known && given < want; i++) {
        struct service_loaded *m = ready(s, i);
        if (!m) continue;
        int64_t spare = kv_bytes(m) - least_kv(s, m), less = spare < want - given ? spare : want - given;
        if (less <= 0) continue;
        scheduler_set_kv_bytes(m->scheduler, least_kv(s, m) + spare - less);
        given += less;
    }
    if (given > 0 || s->govern.completions_max > 0) s->govern.has_shrunk = true;
    return given;
}

static int64_t trim_heap(void *ctx, int64_t want)
{
    (void)ctx;
    (void)want;
    return machine_trim_heap();
}

static int64_t drop_weights(void *ctx, int64_t want)
{
    const struct service *s = ctx;
    int64_t given = 0;
    for (int32_t i = 0; i < s->models.n_known && given < want; i++) {
        struct service_loaded *m = ready(s, i);
        if (m) given += engine_drop_weights(scheduler_engine(m->scheduler));
    }
    return given;
}

/* KV of one model: its share of the order, or what is configured. */
static void set_kv(struct service *s, struct service_loaded *m)
{
    int32_t n = 0;
    for (int32_t i = 0; i < s->models.n_known; i++) n += ready(s, i) != NULL;
    int64_t ordered = s->govern.orders.kv_bytes;
    int64_t bytes = ordered > 0 ? ordered / n : s->o.engine.kv_bytes, least = least_kv(s, m);
    scheduler_set_kv_bytes(m->scheduler, ordered > 0 && bytes < least ? least : bytes);
}

/* There is enough again. */
static void restore(struct service *s)
{
    struct governor_status status;
    if (!s->govern.has_shrunk || !governor_is_calm(s->govern.governor)) return;
    governor_status(s->govern.governor, &status);
    if (status.memory_share > status.memory_level * 0.85) return;
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = ready(s, i);
        if (m) set_kv(s, m);
    }
    if (s->govern.completions_max > 0)
        memory_cache_set_max(store_memory(s->o.store), (size_t)s->govern.completions_max);
    s->govern.completions_max = 0;
    s->govern.has_shrunk = false;
}

/* ---- Orders ---- */

static void obey(void *ctx, const struct governor_orders *o)
{
    struct service *s = ctx;
    bool has_other_kv = o->kv_bytes != s->govern.orders.kv_bytes;
    s->govern.orders = *o;
    pool_set_active(s->workers, o->n_threads);
    throttle_set(s->govern.throttle, o->cpu_ceiling, o->speed);
    for (int32_t i = 0; i < s->models.n_known && has_other_kv; i++) {
        struct service_loaded *m = ready(s, i);
        if (m) set_kv(s, m);
    }
}

void service_govern_start(struct service *s, struct service_loaded *m)
{
    if (s->govern.orders.kv_bytes > 0) set_kv(s, m);
}

/* ---- When ---- */

/* Its weights are still being brought into memory. */
static bool is_reading(const struct service_loaded *m)
{
    struct residency_state pages = {0};
    if (m) engine_residency(scheduler_engine(m->scheduler), &pages);
    return pages.is_reading;
}

static bool is_active(const struct service *s)
{
    if (s->n_tickets > 0 || s->runs || !governor_is_calm(s->govern.governor)) return true;
    if (s->govern.active_ns && clock_ms_since(s->govern.active_ns) < ACTIVE_MS) return true;
    for (int32_t i = 0; i < s->models.n_known; i++) {
        if (s->models.known[i]->has_worker || is_reading(ready(s, i))) return true;
    }
    return false;
}

/* When the next idle model has been so for long enough; 0: none will be. */
static int64_t unload_ns(const struct service *s)
{
    struct service_loaded *m = s->o.model_idle_s > 0 ? service_registry_idle(s, 0) : NULL;
    return m ? m->last_use_ns + (int64_t)(s->o.model_idle_s * 1e9) : 0;
}

/* 0: never. */
static int64_t sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

int64_t service_due_ns(const struct service *s)
{
    int64_t look = is_active(s) ? s->govern.looked_ns + LOOK_NS : 0;
    return sooner(sooner(look, unload_ns(s)), service_patience_due_ns(s));
}

void service_tick(struct service *s)
{
    int64_t now = clock_ns(), unload = unload_ns(s);
    service_patience_tick(s);
    if (now >= s->govern.looked_ns + LOOK_NS && is_active(s)) {
        struct machine_sample sample;
        machine_read(NULL, &sample);
        s->govern.looked_ns = now;
        governor_look(s->govern.governor, &sample);
        if (!s->govern.orders.background) projects_pause(s->projects);
        restore(s);
        service_measure(s, false);
    }
    if (unload == 0 || now < unload) return;
    service_registry_unload(s, service_registry_idle(s, 0));
    service_registry_settle(s);
}

void service_on_pressure(struct service *s)
{
    s->govern.active_ns = clock_ns();
}

const struct governor *service_governor(const struct service *s)
{
    return s->govern.governor;
}

/* ---- Life ---- */

void service_govern_init(struct service *s)
{
    struct service_govern *g = &s->govern;
    struct governor_options o = s->o.governor;
    int32_t n_threads = pool_threads(s->workers);
    o.n_threads = n_threads;
    o.metrics = s->o.metrics;
    g->throttle = throttle_new(cpu_count());
    g->governor = governor_new(&o);
    g->orders = (struct governor_orders){.n_threads = n_threads,
                                         .cpu_ceiling = o.cpu_limit > 0 ? o.cpu_limit : 1,
                                         .speed = o.speed > 0 ? o.speed : 1,
                                         .background = true};
    throttle_set(g->throttle, g->orders.cpu_ceiling, g->orders.speed);
    governor_add_memory_action(g->governor, "unload idle models", unload_idle, s);
    governor_add_memory_action(g->governor, "shrink caches", shrink_caches, s);
    governor_add_memory_action(g->governor, "trim the heap", trim_heap, s);
    governor_add_memory_action(g->governor, "give back pages of weights", drop_weights, s);
    governor_on_orders(g->governor, obey, s);
}

void service_govern_clear(struct service *s)
{
    governor_free(&s->govern.governor);
    throttle_free(&s->govern.throttle);
}
