/* Gauges: what there is now, for whoever looks. Memory is told by what it is for; the parts add up to what
 * the process has resident. */
#include "service/service_impl.h"

#include "context/project.h"
#include "os/clock.h"
#include "os/usage.h"
#include "watch/metrics.h"

#define FRESH_NS ((int64_t)500000000) /* for so long the governor's last sample serves */

static void set(struct service *s, enum metric_id id, int32_t label, double value)
{
    metrics_set(s->o.metrics, id, label, value);
}

/* ---- Models ---- */

struct totals { /* of those that take requests */
    int32_t n_loaded, n_running, n_waiting;
    int64_t kv, mapped;
    int64_t weights, packs; /* resident; unless asked for exactly, what was read of them */
};

static struct totals total_of(const struct service *s, bool whole)
{
    struct totals sum = {0};
    for (int32_t i = 0; i < s->models.n_known; i++) {
        const struct service_loaded *m = s->models.known[i];
        if (m->state != SERVICE_READY || !m->scheduler) continue;
        struct scheduler_state state;
        struct residency_state pages = {0};
        struct engine *engine = scheduler_engine(m->scheduler);
        scheduler_state(m->scheduler, &state);
        engine_residency(engine, &pages);
        sum.n_loaded++;
        sum.n_running += state.n_running;
        sum.n_waiting += state.n_waiting;
        sum.kv += state.kv_bytes;
        sum.mapped += pages.wanted_bytes;
        int64_t resident = whole ? engine_resident_bytes(engine) : pages.read_bytes;
        *(state.is_packed ? &sum.packs : &sum.weights) += resident;
    }
    return sum;
}

/* ---- Caches ---- */

static void measure_caches(struct service *s)
{
    for (int32_t i = 0; i < STORE_N_LEVELS && s->o.store; i++) {
        struct store_level_stats l;
        store_stats(s->o.store, (enum store_level)i, &l);
        if (!l.is_on) continue;
        if (i == STORE_TEAM) {
            int32_t server = metrics_label(s->o.metrics, METRIC_REMOTE_UP, "team-cache");
            set(s, METRIC_REMOTE_UP, server, !l.is_down);
            continue;
        }
        set(s, METRIC_CACHE_ENTRIES, i, (double)l.n_entries);
        set(s, METRIC_CACHE_BYTES, i, (double)l.n_bytes);
        set(s, METRIC_CACHE_MAX_BYTES, i, (double)l.max_bytes);
    }
}

/* ---- Memory ---- */

static double at_least_0(int64_t n)
{
    return n > 0 ? (double)n : 0;
}

static void measure_memory(struct service *s, const struct totals *t)
{
    struct usage usage;
    struct store_level_stats completions = {0};
    usage_self(&usage);
    if (s->o.store) store_stats(s->o.store, STORE_MEMORY, &completions);
    int64_t documents = projects_bytes(s->projects) + clients_bytes(s->clients);
    if (s->o.documents_bytes) documents += s->o.documents_bytes(s->o.ctx);
    int64_t anon = usage.rss_anon_bytes - t->kv, known = completions.n_bytes + documents;
    int64_t heap = (usage.heap_bytes < anon ? usage.heap_bytes : anon) - known;
    int64_t files = usage.rss_file_bytes - t->weights - t->packs;
    const double parts[METRIC_N_MEMORY] = {
        [METRIC_MEMORY_WEIGHTS] = (double)t->weights,
        [METRIC_MEMORY_PACKS] = (double)t->packs,
        [METRIC_MEMORY_KV] = (double)t->kv,
        [METRIC_MEMORY_COMPLETIONS] = (double)completions.n_bytes,
        [METRIC_MEMORY_DOCUMENTS] = (double)documents,
        [METRIC_MEMORY_HEAP] = at_least_0(heap),
        [METRIC_MEMORY_OTHER] = at_least_0(files) + at_least_0(anon - known - (heap > 0 ? heap : 0)),
    };
    for (int32_t i = 0; i < METRIC_N_MEMORY; i++) set(s, METRIC_MEMORY_BYTES, i, parts[i]);
    set(s, METRIC_WEIGHTS_MAPPED_BYTES, 0, (double)t->mapped);
    set(s, METRIC_PROCESS_RESIDENT_BYTES, 0, (double)usage.rss_bytes);
    set(s, METRIC_PROCESS_CPU_SECONDS, 0, usage.cpu_s);
    set(s, METRIC_PROCESS_OPEN_FDS, 0, usage_open_fds());
}

/* What the daemon may take: of its own limit, its control group and the machine, what leaves least. */
static void measure_ceiling(struct service *s)
{
    struct governor_status g;
    governor_status(s->govern.governor, &g);
    int64_t limit = s->o.governor.memory_limit, ours = g.sample.at_ns ? machine_memory_ours(&g.sample) : 0;
    if (limit == 0 || (ours > 0 && ours < limit)) limit = ours;
    if (limit > 0) set(s, METRIC_MEMORY_MAX_BYTES, 0, (double)limit);
}

/* The governor looks while there is work; memory may become free, or short, all the same. */
static void measure_share(struct service *s)
{
    struct machine_sample sample;
    if (clock_ns() - s->govern.looked_ns < FRESH_NS) return;
    machine_read(NULL, &sample);
    set(s, METRIC_MEMORY_SHARE, 0, governor_memory_share(s->govern.governor, &sample));
}

/* ---- All ---- */

void service_measure(struct service *s, bool whole)
{
    if (!s->o.metrics) return;
    service_watch_roll(s);
    struct totals t = total_of(s, whole);
    set(s, METRIC_REQUESTS_RUNNING, 0, t.n_running);
    set(s, METRIC_REQUESTS_WAITING, 0, t.n_waiting);
    set(s, METRIC_MODELS_LOADED, 0, t.n_loaded);
    measure_caches(s);
    for (int32_t i = 0; i < s->models.n_known; i++) {
        struct service_loaded *m = s->models.known[i];
        if (m->state == SERVICE_READY && m->remote) service_remote_measure(s, m);
    }
    measure_memory(s, &t);
    measure_ceiling(s);
    measure_share(s);
}
