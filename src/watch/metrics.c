/* Series, their windows, and what is read from them.
 *
 * A recording thread only touches a series' live values. metrics_roll adds what they have grown by to the
 * slot under way of each window; reading a window adds what they have grown by since. So nothing is counted
 * twice or lost, whatever is recorded meanwhile. A slot is that of its number, time / width; when time has
 * moved on, metrics_roll empties the slots that it has moved over, however long nobody called.
 *
 * Memory orders: numbers are relaxed, as nothing else depends on them; n_series releases the new series that
 * it counts. Histograms: see histogram.c. */
#include "watch/metrics_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"

#define S_NS INT64_C(1000000000)

static const struct window {
    const char *name;
    int64_t slot_ns;
    int32_t first, n_slots; /* of a series' slots */
} windows[] = {
    [METRICS_MINUTE] = {"1m", 2 * S_NS, 0, 30},
    [METRICS_QUARTER] = {"15m", 20 * S_NS, 30, 45},
    [METRICS_DAY] = {"24h", 900 * S_NS, 75, 96},
    [METRICS_ALL] = {"all", 0, 0, 0},
};

/* --- Life ---------------------------------------------------------------------------------------------- */

static double as_double(int64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void add_series(struct metrics *m, enum metric_id id, const char *label)
{
    struct metrics_row *row = &m->rows[id];
    int32_t n = atomic_load_explicit(&row->n_series, memory_order_relaxed);
    struct metrics_series *s = MEM_NEW(struct metrics_series);
    s->label = mem_dup_str(label);
    if (metric_table[id].kind == METRIC_HISTOGRAM) {
        s->times = MEM_NEW(struct metrics_times);
    } else {
        s->slots = mem_new(METRICS_N_SLOTS * sizeof *s->slots);
    }
    if (metric_table[id].kind == METRIC_GAUGE) {
        s->rolled.value = NAN;
        for (int32_t i = 0; i < METRICS_N_SLOTS; i++) s->slots[i].value = NAN;
    }
    row->series[n] = s;
    atomic_store_explicit(&row->n_series, n + 1, memory_order_release);
}

struct metrics *metrics_new(void)
{
    struct metrics *m = MEM_NEW(struct metrics);
    for (int32_t id = 0; id < METRIC_N; id++) {
        char label[32];
        int32_t n = metric_n_labels((enum metric_id)id);
        assert(n <= METRICS_LABELS_MAX);
        for (int32_t i = 0; i < n; i++) {
            metric_label_name((enum metric_id)id, i, label);
            add_series(m, (enum metric_id)id, label);
        }
    }
    metrics_set(m, METRIC_BUILD_INFO, metrics_label(m, METRIC_BUILD_INFO, INLINE_VERSION), 1);
    metrics_set(m, METRIC_PROCESS_START_SECONDS, 0, (double)clock_unix_us() / 1e6);
    return m;
}

static void free_series(struct metrics_series *s)
{
    if (!s) return;
    for (int32_t i = 0; s->times && i < METRICS_N_SLOTS; i++) histogram_packed_clear(&s->times->slots[i]);
    mem_free(s->times);
    mem_free(s->slots);
    mem_free(s->label);
    mem_free(s);
}

void metrics_free(struct metrics **mp)
{
    struct metrics *m = *mp;
    *mp = NULL;
    if (!m) return;
    for (int32_t id = 0; id < METRIC_N; id++)
        for (int32_t i = 0; i < METRICS_LABELS_MAX; i++) free_series(m->rows[id].series[i]);
    mem_free(m);
}

int32_t metrics_label(struct metrics *m, enum metric_id id, const char *value)
{
    if (!m) return -1;
    int32_t n = metrics_n_labels(m, id);
    for (int32_t i = 0; i < n; i++)
        if (strcmp(m->rows[id].series[i]->label, value) == 0) return i;
    if (n == METRICS_LABELS_MAX || metric_n_labels(id) > 0) return -1;
    add_series(m, id, value);
    return n;
}

/* --- Recording ----------------------------------------------------------------------------------------- */

const struct metrics_series *metrics_series(const struct metrics *m, enum metric_id id, int32_t label)
{
    if (!m || label < 0 || label >= metrics_n_labels(m, id)) return NULL;
    return m->rows[id].series[label];
}

static struct metrics_series *find_series(struct metrics *m, enum metric_id id, int32_t label,
                                          enum metric_kind kind)
{
    assert(metric_table[id].kind == kind);
    (void)kind;
    if (!m || label < 0) return NULL;
    struct metrics_row *row = &m->rows[id];
    if (label >= atomic_load_explicit(&row->n_series, memory_order_acquire)) return NULL;
    return row->series[label];
}

void metrics_add(struct metrics *m, enum metric_id id, int32_t label, int64_t n)
{
    struct metrics_series *s = find_series(m, id, label, METRIC_COUNTER);
    if (s) atomic_fetch_add_explicit(&s->live, n, memory_order_relaxed);
}

void metrics_observe(struct metrics *m, enum metric_id id, int32_t label, double seconds)
{
    struct metrics_series *s = find_series(m, id, label, METRIC_HISTOGRAM);
    if (s) histogram_observe(&s->times->live, seconds);
}

void metrics_set(struct metrics *m, enum metric_id id, int32_t label, double value)
{
    struct metrics_series *s = find_series(m, id, label, METRIC_GAUGE);
    if (!s) return;
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&s->live, bits, memory_order_relaxed);
}

/* --- Rolling ------------------------------------------------------------------------------------------- */

static int32_t slot_at(const struct window *w, int64_t number)
{
    return w->first + (int32_t)(number % w->n_slots);
}

/* Empties the slots numbered from..to of one series; a gauge has stayed as it was last. */
static void reset_slots(struct metrics_series *s, enum metric_kind kind, const struct window *w, int64_t from,
                        int64_t to)
{
    for (int64_t number = from; number <= to; number++) {
        int32_t i = slot_at(w, number);
        switch (kind) {
        case METRIC_COUNTER:
            s->slots[i].n = 0;
            break;
        case METRIC_GAUGE:
            s->slots[i].value = s->rolled.value;
            break;
        case METRIC_HISTOGRAM:
            histogram_packed_clear(&s->times->slots[i]);
            break;
        }
    }
}

/* Adds what was recorded since the last time to the slots under way. */
static void roll_series(struct metrics *m, struct metrics_series *s, enum metric_kind kind,
                        const int32_t open[METRICS_N_WINDOWS])
{
    int64_t live = atomic_load_explicit(&s->live, memory_order_relaxed);
    switch (kind) {
    case METRIC_COUNTER:
        for (int32_t i = 0; i < METRICS_N_WINDOWS; i++) s->slots[open[i]].n += live - s->rolled.n;
        s->rolled.n = live;
        break;
    case METRIC_GAUGE:
        s->rolled.value = as_double(live);
        for (int32_t i = 0; i < METRICS_N_WINDOWS; i++) s->slots[open[i]].value = s->rolled.value;
        break;
    case METRIC_HISTOGRAM:
        if (!histogram_advance(&s->times->live, &s->times->rolled, &m->recent)) break;
        for (int32_t i = 0; i < METRICS_N_WINDOWS; i++) histogram_pack(&s->times->slots[open[i]], &m->recent);
        break;
    }
}

void metrics_roll(struct metrics *m, int64_t now_ns)
{
    if (!m) return;
    int32_t open[METRICS_N_WINDOWS];
    int64_t from[METRICS_N_WINDOWS];
    if (!m->has_rolled) m->start_ns = now_ns;
    if (!m->has_rolled || now_ns > m->now_ns) m->now_ns = now_ns;
    for (int32_t i = 0; i < METRICS_N_WINDOWS; i++) {
        const struct window *w = &windows[i];
        int64_t number = m->now_ns / w->slot_ns;
        from[i] = m->has_rolled ? m->newest[i] + 1 : number;
        if (from[i] <= number - w->n_slots) from[i] = number - w->n_slots + 1;
        m->newest[i] = number;
        open[i] = slot_at(w, number);
    }
    m->has_rolled = true;
    for (int32_t id = 0; id < METRIC_N; id++) {
        int32_t n = metrics_n_labels(m, (enum metric_id)id);
        for (int32_t k = 0; k < n; k++) {
            struct metrics_series *s = m->rows[id].series[k];
            for (int32_t i = 0; i < METRICS_N_WINDOWS; i++)
                reset_slots(s, metric_table[id].kind, &windows[i], from[i], m->newest[i]);
            roll_series(m, s, metric_table[id].kind, open);
        }
    }
}

/* --- Reading ------------------------------------------------------------------------------------------- */

const char *metrics_window_name(enum metrics_window w)
{
    return windows[w].name;
}

int32_t metrics_window_slots(enum metrics_window w)
{
    return windows[w].n_slots;
}

double metrics_window_slot_seconds(enum metrics_window w)
{
    return (double)windows[w].slot_ns / 1e9;
}

int32_t metrics_n_labels(const struct metrics *m, enum metric_id id)
{
    return m ? atomic_load_explicit(&m->rows[id].n_series, memory_order_acquire) : 0;
}

const char *metrics_label_text(const struct metrics *m, enum metric_id id, int32_t label)
{
    const struct metrics_series *s = metrics_series(m, id, label);
    return s ? s->label : "";
}

int64_t metrics_count(const struct metrics *m, enum metric_id id, int32_t label)
{
    struct metrics_figure f;
    metrics_figure(m, id, label, METRICS_ALL, &f);
    return f.n;
}

double metrics_value(const struct metrics *m, enum metric_id id, int32_t label)
{
    struct metrics_figure f;
    const struct metrics_series *s = metrics_series(m, id, label);
    if (s) return as_double(atomic_load_explicit(&s->live, memory_order_relaxed));
    metrics_figure(m, id, label, METRICS_ALL, &f);
    return f.sum;
}

/* Slots of a window by age: from `newest` to `oldest`, 0 being the one under way, to which belongs also what
 * was recorded since the last roll. */
struct span {
    const struct window *window;
    int64_t number; /* of the slot under way */
    int32_t newest, oldest;
};

static struct span span_of(const struct metrics *m, enum metrics_window w)
{
    const struct window *window = &windows[w];
    return (struct span){window, w == METRICS_ALL ? 0 : m->newest[w], 0, window->n_slots - 1};
}

/* A ring's index; the slots of the first moments of a clock have no number below 0. */
static int32_t slot_of_age(const struct span *span, int32_t age)
{
    int64_t n = span->window->n_slots;
    return span->window->first + (int32_t)((span->number % n - age + n) % n);
}

static int64_t count_in(const struct metrics_series *s, const struct span *span)
{
    int64_t live = atomic_load_explicit(&s->live, memory_order_relaxed);
    if (span->window->n_slots == 0) return live;
    int64_t n = span->newest == 0 ? live - s->rolled.n : 0;
    for (int32_t age = span->newest; age <= span->oldest; age++) n += s->slots[slot_of_age(span, age)].n;
    return n;
}

static void sum_in(const struct metrics_series *s, const struct span *span, struct histogram_sum *sum)
{
    if (span->window->n_slots == 0) {
        histogram_sum_add(sum, &s->times->live);
        return;
    }
    if (span->newest == 0) histogram_sum_add_since(sum, &s->times->live, &s->times->rolled);
    for (int32_t age = span->newest; age <= span->oldest; age++)
        histogram_sum_add_packed(sum, &s->times->slots[slot_of_age(span, age)]);
}

void metrics_sum(const struct metrics *m, const struct metrics_series *s, enum metrics_window w,
                 struct histogram_sum *sum)
{
    struct span span = span_of(m, w);
    sum_in(s, &span, sum);
}

static double gauge_in(const struct metrics_series *s, const struct span *span)
{
    if (span->newest == 0) return as_double(atomic_load_explicit(&s->live, memory_order_relaxed));
    return s->slots[slot_of_age(span, span->newest)].value;
}

/* How much of the span the daemon has seen so far. */
static double seconds_of(const struct metrics *m, const struct span *span)
{
    int64_t from = m->start_ns, to = m->now_ns;
    if (span->window->n_slots > 0) {
        int64_t begin = (span->number - span->oldest) * span->window->slot_ns;
        int64_t end = (span->number - span->newest + 1) * span->window->slot_ns;
        if (begin > from) from = begin;
        if (end < to) to = end;
    }
    return to > from ? (double)(to - from) / 1e9 : 0;
}

/* Is the i-th series of a row meant, where label -1 means all? */
static bool is_meant(int32_t label, int32_t i)
{
    return label < 0 || label == i;
}

static void read_times(const struct metrics *m, enum metric_id id, int32_t label, const struct span *span,
                       struct metrics_figure *out)
{
    static const double q[] = {0.5, 0.95, 0.99, 1};
    struct histogram_sum sum = {0};
    double times[4];
    for (int32_t i = 0; i < metrics_n_labels(m, id); i++)
        if (is_meant(label, i)) sum_in(m->rows[id].series[i], span, &sum);
    histogram_quantiles(&sum, 4, q, times);
    out->n = sum.n;
    out->sum = (double)sum.sum_ns / 1e9;
    out->mean = sum.n > 0 ? out->sum / (double)sum.n : 0;
    out->p50 = times[0];
    out->p95 = times[1];
    out->p99 = times[2];
    out->max = times[3];
}

static void read_count(const struct metrics *m, enum metric_id id, int32_t label, const struct span *span,
                       struct metrics_figure *out)
{
    for (int32_t i = 0; i < metrics_n_labels(m, id); i++)
        if (is_meant(label, i)) out->n += count_in(m->rows[id].series[i], span);
}

static void read_gauge(const struct metrics *m, enum metric_id id, int32_t label, const struct span *span,
                       struct metrics_figure *out)
{
    for (int32_t i = 0; i < metrics_n_labels(m, id); i++) {
        double value = is_meant(label, i) ? gauge_in(m->rows[id].series[i], span) : (double)NAN;
        if (isnan(value)) continue;
        out->n = 1;
        out->sum += value;
    }
}

static void read_span(const struct metrics *m, enum metric_id id, int32_t label, const struct span *span,
                      struct metrics_figure *out)
{
    out->seconds = seconds_of(m, span);
    switch (metric_table[id].kind) {
    case METRIC_COUNTER:
        read_count(m, id, label, span, out);
        break;
    case METRIC_HISTOGRAM:
        read_times(m, id, label, span, out);
        break;
    case METRIC_GAUGE:
        read_gauge(m, id, label, span, out);
        return;
    }
    if (out->seconds > 0) out->per_second = (double)out->n / out->seconds;
}

void metrics_figure(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                    struct metrics_figure *out)
{
    *out = (struct metrics_figure){0};
    if (!m) return;
    struct span span = span_of(m, w);
    read_span(m, id, label, &span, out);
}

void metrics_slot(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                  int32_t age, struct metrics_figure *out)
{
    *out = (struct metrics_figure){0};
    if (!m || age < 0 || age >= windows[w].n_slots) return;
    struct span span = span_of(m, w);
    span.newest = span.oldest = age;
    read_span(m, id, label, &span, out);
}

double metrics_quantile(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                        double q)
{
    struct histogram_sum sum = {0};
    for (int32_t i = 0; i < metrics_n_labels(m, id); i++)
        if (is_meant(label, i)) metrics_sum(m, m->rows[id].series[i], w, &sum);
    return histogram_quantile(&sum, q);
}

int64_t metrics_memory(const struct metrics *m)
{
    int64_t bytes = m ? sizeof *m : 0;
    for (int32_t id = 0; id < METRIC_N; id++) {
        for (int32_t k = 0; k < metrics_n_labels(m, (enum metric_id)id); k++) {
            const struct metrics_series *s = m->rows[id].series[k];
            bytes += (int64_t)(sizeof *s + strlen(s->label) + 1);
            if (s->slots) bytes += (int64_t)(METRICS_N_SLOTS * sizeof *s->slots);
            if (!s->times) continue;
            bytes += (int64_t)sizeof *s->times;
            for (int32_t i = 0; i < METRICS_N_SLOTS; i++) bytes += s->times->slots[i].n_bytes;
        }
    }
    return bytes;
}
