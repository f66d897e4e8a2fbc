/* The governor's life, and what it tells: orders, events, log lines, metrics. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/size.h"
#include "watch/governor_impl.h"
#include "watch/metrics.h"

/* Samples farther apart were not taken while there was work: their difference is not what is going on now. */
#define GAP_NS      ((int64_t)5000000000)
#define LOG_NS      ((int64_t)1000000000) /* between two lines */
#define LOG_MAX     512
#define STEADY      60 /* samples without a change after which looking on changes nothing either */
#define MEMORY_HIGH 0.80
#define MEMORY_LOW  0.75
#define CPU_HIGH    0.90
#define CPU_LOW     0.75

/* --- Metrics ------------------------------------------------------------------------------------------- */

static void tell_metrics(const struct governor *g)
{
    struct metrics *m = g->o.metrics;
    const struct governor_status *s = &g->status;
    metrics_set(m, METRIC_MEMORY_SHARE, 0, s->memory_share);
    metrics_set(m, METRIC_CPU_SHARE, METRIC_CPU_OWN, s->own_share);
    metrics_set(m, METRIC_CPU_SHARE, METRIC_CPU_OTHERS, s->others_share);
    metrics_set(m, METRIC_GOVERNOR_THREADS, 0, s->orders.n_threads);
    metrics_set(m, METRIC_GOVERNOR_SPEED, 0, s->orders.speed);
    metrics_set(m, METRIC_GOVERNOR_CPU_CEILING, 0, s->orders.cpu_ceiling);
    metrics_set(m, METRIC_GOVERNOR_BACKGROUND, 0, s->orders.background);
    metrics_set(m, METRIC_GOVERNOR_KV_BYTES, 0, (double)s->orders.kv_bytes);
}

/* --- Life ---------------------------------------------------------------------------------------------- */

static double or_default(double x, double usual)
{
    return x > 0 ? x : usual;
}

struct governor *governor_new(const struct governor_options *o)
{
    struct governor *g = MEM_NEW(struct governor);
    g->o = *o;
    g->o.n_threads = o->n_threads > 1 ? o->n_threads : 1;
    g->o.cpu_limit = o->cpu_limit > 0 ? fmin(o->cpu_limit, 1) : 1;
    g->o.speed = fmin(or_default(o->speed, 1), 1);
    g->o.battery_speed = fmin(or_default(o->battery_speed, 1), g->o.speed);
    g->o.memory_high = or_default(o->memory_high, MEMORY_HIGH);
    g->o.memory_low = fmin(or_default(o->memory_low, MEMORY_LOW), g->o.memory_high);
    g->o.cpu_high = or_default(o->cpu_high, CPU_HIGH);
    g->o.cpu_low = fmin(or_default(o->cpu_low, CPU_LOW), g->o.cpu_high);
    g->cpu.n_threads = g->o.n_threads;
    g->status.memory_level = g->o.memory_high;
    g->status.memory_of = "machine";
    g->status.orders = (struct governor_orders){
        .n_threads = g->o.n_threads, .cpu_ceiling = g->o.cpu_limit, .speed = g->o.speed, .background = true};
    buf_init(&g->line, LOG_MAX);
    tell_metrics(g);
    return g;
}

void governor_free(struct governor **gp)
{
    struct governor *g = *gp;
    *gp = NULL;
    if (!g) return;
    buf_clear(&g->line);
    mem_free(g);
}

void governor_add_memory_action(struct governor *g, const char *name,
                                int64_t (*give)(void *ctx, int64_t want), void *ctx)
{
    if (g->n_actions == GOVERNOR_ACTIONS_MAX) return;
    struct governor_action *a = &g->actions[g->n_actions++];
    *a = (struct governor_action){.name = name, .give = give, .ctx = ctx};
    a->metric_label = metrics_label(g->o.metrics, METRIC_GOVERNOR_ACTIONS, name);
}

void governor_on_orders(struct governor *g, void (*obey)(void *ctx, const struct governor_orders *o),
                        void *ctx)
{
    g->obey = obey;
    g->obey_ctx = ctx;
}

/* --- Events -------------------------------------------------------------------------------------------- */

int64_t governor_note(struct governor *g, const char *what, const char *why, int64_t gave_bytes)
{
    struct governor_status *status = &g->status;
    struct governor_event *e = status->events;
    if (status->n_events < GOVERNOR_EVENTS) status->n_events++;
    memmove(e + 1, e, (size_t)(status->n_events - 1) * sizeof *e);
    *e = (struct governor_event){.at_ns = status->sample.at_ns, .gave_bytes = gave_bytes};
    snprintf(e->what, sizeof e->what, "%s", what);
    snprintf(e->why, sizeof e->why, "%s", why);
    buf_printf(&g->line, "%s%s (%s)", g->line.len ? "; " : "", e->what, e->why);
    g->n_steady = 0;
    return ++g->n_events;
}

struct governor_event *governor_event_of(struct governor *g, int64_t number)
{
    int64_t age = g->n_events - number;
    return age < g->status.n_events ? &g->status.events[age] : NULL;
}

static void write_line(struct governor *g)
{
    int64_t now = g->status.sample.at_ns;
    if (g->line.len == 0 || (g->logged_ns != 0 && now - g->logged_ns < LOG_NS)) return;
    log_line(LOG_INFO, "%s", buf_str(&g->line));
    buf_clear(&g->line);
    g->logged_ns = now;
}

/* --- Orders -------------------------------------------------------------------------------------------- */

static void note_changes(struct governor *g, const struct governor_orders *from,
                         const struct governor_orders *to)
{
    const struct governor_status *s = &g->status;
    char what[sizeof s->events->what], others[sizeof s->events->why], size[SIZE_TEXT_MAX];
    snprintf(others, sizeof others, "other processes use %.0f %% of the processors", 100 * s->others_share);
    const char *mood = s->sample.is_on_battery ? "on battery"
                       : s->is_throttled       ? "processors are slowed down for heat"
                       : !to->background       ? others
                                               : "the machine is free again";
    if (from->n_threads != to->n_threads) {
        snprintf(what, sizeof what, "%d -> %d threads", from->n_threads, to->n_threads);
        governor_note(g, what, others, 0);
    }
    if (from->background != to->background)
        governor_note(g, to->background ? "work in the background" : "no work in the background", mood, 0);
    if (from->speed < to->speed || from->speed > to->speed) {
        snprintf(what, sizeof what, "%.0f %% of full speed", 100 * to->speed);
        governor_note(g, what, s->sample.is_on_battery ? "on battery" : "on mains", 0);
    }
    if (from->kv_bytes != to->kv_bytes) {
        snprintf(what, sizeof what, "KV of %s at most", size_text(to->kv_bytes, size));
        governor_note(g, to->kv_bytes ? what : "KV as configured", "what weights leave of the limit", 0);
    }
}

static bool are_same(const struct governor_orders *a, const struct governor_orders *b)
{
    return a->n_threads == b->n_threads && !(a->cpu_ceiling < b->cpu_ceiling) &&
           !(a->cpu_ceiling > b->cpu_ceiling) && !(a->speed < b->speed) && !(a->speed > b->speed) &&
           a->background == b->background && a->debounce_ms == b->debounce_ms && a->kv_bytes == b->kv_bytes;
}

void governor_look(struct governor *g, const struct machine_sample *s)
{
    struct governor_status *status = &g->status;
    const struct machine_sample before = status->sample;
    int64_t gap = s->at_ns - before.at_ns;
    bool is_first = status->n_looks++ == 0;
    struct governor_orders old = status->orders, orders = {.n_threads = g->o.n_threads,
                                                           .cpu_ceiling = g->o.cpu_limit,
                                                           .speed = g->o.speed,
                                                           .background = true};
    status->sample = *s;
    g->n_steady++;
    if (s->is_on_battery) orders.speed = g->o.battery_speed;
    governor_cpu_look(g, is_first || gap > GAP_NS ? NULL : &before, s, &orders);
    governor_memory_look(g, s, &orders);
    status->orders = orders;
    bool is_new = !are_same(&old, &orders);
    if (is_new) note_changes(g, &old, &orders);
    if ((is_first || is_new) && g->obey) g->obey(g->obey_ctx, &orders);
    tell_metrics(g);
    write_line(g);
}

bool governor_is_calm(const struct governor *g)
{
    if (g->memory.n_pending > 0 || g->line.len > 0) return false;
    if (g->n_steady >= STEADY) return true;       /* as it is, it may stay for hours */
    if (g->memory.exhausted_ns != 0) return true; /* there is nothing to give: looking on gives nothing */
    return g->memory.n_high == 0 && !g->memory.is_short;
}

void governor_status(const struct governor *g, struct governor_status *out)
{
    *out = g->status;
}
