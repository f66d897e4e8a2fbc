/* Metrics: the table, windows against a list of all that happened, many threads, what recording costs in time
 * and memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/clock.h"
#include "service/service_impl.h"
#include "support/counted_mem.h"
#include "watch/metrics.h"

#define S_NS INT64_C(1000000000)

/* A linear congruential generator (Knuth's MMIX), between 0 and 1. */
static double next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

static double next_normal(uint64_t *seed)
{
    double radius = sqrt(-2 * log(next_random(seed)));
    return radius * cos(6.283185307179586 * next_random(seed));
}

static bool is_near(double told, double exact)
{
    return fabs(told - exact) <= 1e-9 + 1e-9 * fabs(exact);
}

/* --- The table ----------------------------------------------------------------------------------------- */

static bool ends_in(const char *s, const char *suffix)
{
    size_t len = strlen(s), suffix_len = strlen(suffix);
    return len > suffix_len && strcmp(s + len - suffix_len, suffix) == 0;
}

static void test_rows(void **state)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz_";
    (void)state;
    for (int i = 0; i < METRIC_N; i++) {
        const struct metric_row *row = &metric_table[i];
        char label[32];
        assert_non_null(row->name);
        assert_int_equal(strspn(row->name, letters), strlen(row->name));
        for (int k = 0; k < i; k++) assert_string_not_equal(row->name, metric_table[k].name);
        if (row->kind == METRIC_COUNTER) assert_true(ends_in(row->name, "_total"));
        if (row->kind == METRIC_HISTOGRAM) assert_true(ends_in(row->name, row->unit));
        if (strcmp(row->unit, "bytes") == 0) assert_non_null(strstr(row->name, "_bytes"));
        assert_true(ends_in(row->help, "."));
        assert_null(strpbrk(row->help, "\n\\\"|"));
        int32_t n = metric_n_labels((enum metric_id)i);
        assert_in_range(n, 0, METRICS_LABELS_MAX);
        assert_int_equal(n == 0, row->label && !row->values);
        for (int k = 0; k < n && row->label; k++) {
            assert_true(metric_label_name((enum metric_id)i, k, label));
            assert_int_not_equal(strlen(label), 0);
        }
        assert_false(metric_label_name((enum metric_id)i, n, label));
        assert_string_equal(label, "");
        assert_false(metric_label_name((enum metric_id)i, -1, label));
    }
}

static void assert_label(enum metric_id id, int32_t i, const char *expected)
{
    char label[32];
    assert_true(metric_label_name(id, i, label));
    assert_string_equal(label, expected);
}

/* Code counts by enums; the table's values are in their order. */
static void test_labels_are_the_enums(void **state)
{
    (void)state;
    for (int i = 0; i < CACHE_N_SOURCES; i++)
        assert_label(METRIC_CACHE_HITS, i, service_cache_source_name((enum service_cache_source)i));
    for (int i = 0; i < MISS_N; i++)
        assert_label(METRIC_CACHE_MISSES, i, service_cache_miss_name((enum service_cache_miss)i));
    assert_int_equal(metric_n_labels(METRIC_CACHE_HITS), CACHE_N_SOURCES);
    assert_int_equal(metric_n_labels(METRIC_CACHE_MISSES), MISS_N);
    assert_label(METRIC_REQUESTS, SERVICE_OK, "ok");
    assert_label(METRIC_REQUESTS, SERVICE_SUPERSEDED, "superseded");
    assert_label(METRIC_REQUESTS, SERVICE_SHED, "shed");
    assert_label(METRIC_REQUESTS, SERVICE_UNAVAILABLE, "unavailable");
    assert_label(METRIC_REQUESTS, SERVICE_BAD, "bad");
    assert_label(METRIC_REQUESTS, SERVICE_ERROR, "error");
    assert_label(METRIC_REQUESTS, METRIC_OUTCOME_CANCELLED, "cancelled");
    assert_label(METRIC_SUGGESTIONS, SERVICE_SHOWN, "shown");
    assert_label(METRIC_SUGGESTIONS, SERVICE_ACCEPTED, "accepted");
    assert_label(METRIC_SUGGESTIONS, SERVICE_PARTLY_ACCEPTED, "partly_accepted");
    assert_label(METRIC_SUGGESTIONS, SERVICE_DISMISSED, "dismissed");
    assert_string_equal(metric_table[METRIC_SUGGESTION_CHARACTERS].values,
                        metric_table[METRIC_SUGGESTIONS].values);
    for (int i = PLACE_DELETING; i <= PLACE_IN_NUMBER; i++)
        assert_label(METRIC_QUIET, i - PLACE_DELETING, place_quiet_name((enum place_quiet)i));
    assert_label(METRIC_REQUEST_SECONDS, METRIC_ANSWER_NONE, "none");
    assert_label(METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_TEAM, "cache_team");
    assert_label(METRIC_STAGE_SECONDS, METRIC_STAGE_POST, "post");
    assert_int_equal(metric_n_labels(METRIC_STAGE_SECONDS), METRIC_N_STAGES);
    assert_label(METRIC_ERRORS, METRIC_ERROR_INTERNAL, "internal");
    assert_label(METRIC_REQUESTS_BY_API, METRIC_API_OWN, "own");
    assert_label(METRIC_MEMORY_BYTES, METRIC_MEMORY_OTHER, "other");
    assert_label(METRIC_CPU_SHARE, METRIC_CPU_OTHERS, "others");
    assert_int_equal(metric_n_labels(METRIC_MEMORY_BYTES), METRIC_N_MEMORY);
}

static void test_targets(void **state)
{
    static const char *const figures[] = {"p50", "p99", "mean", "value", "rate"};
    (void)state;
    assert_true(metric_n_targets > 0);
    for (int i = 0; i < metric_n_targets; i++) {
        const struct metric_target *t = &metric_targets[i];
        bool is_known = false;
        for (size_t k = 0; k < sizeof figures / sizeof *figures; k++)
            is_known = is_known || strcmp(t->figure, figures[k]) == 0;
        assert_true(is_known && t->value > 0 && t->label < metric_n_labels(t->metric));
        assert_int_equal(t->figure[0] == 'p', metric_table[t->metric].kind == METRIC_HISTOGRAM);
        assert_int_equal(t->figure[0] == 'v', metric_table[t->metric].kind == METRIC_GAUGE);
        for (int k = 0; k < i; k++) assert_string_not_equal(t->name, metric_targets[k].name);
    }
}

/* --- Labels that are named at run time ----------------------------------------------------------------- */

static void test_labels(void **state)
{
    struct metrics *m = metrics_new();
    char name[32];
    (void)state;
    assert_int_equal(metrics_n_labels(m, METRIC_REMOTE_FAILURES), 0);
    for (int i = 0; i < METRICS_LABELS_MAX; i++) {
        snprintf(name, sizeof name, "server %d", i);
        assert_int_equal(metrics_label(m, METRIC_REMOTE_FAILURES, name), i);
        metrics_add(m, METRIC_REMOTE_FAILURES, i, i + 1);
    }
    assert_int_equal(metrics_label(m, METRIC_REMOTE_FAILURES, "server 3"), 3);
    assert_int_equal(metrics_label(m, METRIC_REMOTE_FAILURES, "one more"), -1);
    assert_int_equal(metrics_n_labels(m, METRIC_REMOTE_FAILURES), METRICS_LABELS_MAX);
    assert_string_equal(metrics_label_text(m, METRIC_REMOTE_FAILURES, 3), "server 3");
    assert_string_equal(metrics_label_text(m, METRIC_REMOTE_FAILURES, METRICS_LABELS_MAX), "");
    assert_int_equal(metrics_count(m, METRIC_REMOTE_FAILURES, 3), 4);
    metrics_add(m, METRIC_REMOTE_FAILURES, -1, 1000);
    metrics_add(m, METRIC_REMOTE_FAILURES, METRICS_LABELS_MAX, 1000);
    assert_int_equal(metrics_count(m, METRIC_REMOTE_FAILURES, -1), 16 * 17 / 2);

    assert_int_equal(metrics_label(m, METRIC_STAGE_SECONDS, "decode"), METRIC_STAGE_DECODE);
    assert_int_equal(metrics_label(m, METRIC_STAGE_SECONDS, "frobnicate"), -1);
    assert_int_equal(metrics_label(m, METRIC_PREDICTED_TOKENS, ""), 0);
    assert_string_equal(metrics_label_text(m, METRIC_CACHE_HITS, CACHE_TYPED), "typed");
    metrics_free(&m);
    assert_null(m);
    metrics_free(&m);
}

static void test_null_records_nothing(void **state)
{
    struct metrics_figure f;
    (void)state;
    assert_int_equal(metrics_label(NULL, METRIC_REMOTE_UP, "x"), -1);
    metrics_add(NULL, METRIC_REQUESTS, 0, 1);
    metrics_observe(NULL, METRIC_REQUEST_SECONDS, 0, 1);
    metrics_set(NULL, METRIC_REMOTE_UP, 0, 1);
    metrics_roll(NULL, 1);
    metrics_figure(NULL, METRIC_REQUESTS, 0, METRICS_MINUTE, &f);
    assert_int_equal(f.n, 0);
    assert_int_equal(metrics_count(NULL, METRIC_REQUESTS, -1), 0);
    assert_int_equal(metrics_memory(NULL), 0);
}

/* --- Windows ------------------------------------------------------------------------------------------- */

struct happening {
    int64_t rolled_ns; /* the time of the first roll after it; 0: none yet */
    int32_t answer;
    double seconds;
};

enum { HAPPENINGS = 60000 };

struct history {
    struct metrics *m;
    struct happening *all;
    int n, n_rolled;
    int64_t start_ns, now_ns;
    uint64_t seed;
};

static void happen(struct history *h, int32_t answer, double seconds)
{
    metrics_observe(h->m, METRIC_REQUEST_SECONDS, answer, seconds);
    metrics_add(h->m, METRIC_REQUESTS, SERVICE_OK, 3);
    h->all[h->n++] = (struct happening){0, answer, seconds};
    assert_true(h->n < HAPPENINGS);
}

static void roll(struct history *h, double seconds_later)
{
    h->now_ns += (int64_t)(seconds_later * 1e9);
    metrics_roll(h->m, h->now_ns);
    for (; h->n_rolled < h->n; h->n_rolled++) h->all[h->n_rolled].rolled_ns = h->now_ns;
}

static int64_t width_ns(enum metrics_window w)
{
    return (int64_t)(metrics_window_slot_seconds(w) * 1e9);
}

/* How many slots ago it was. */
static int64_t age_of(const struct history *h, const struct happening *e, enum metrics_window w)
{
    if (e->rolled_ns == 0 || w == METRICS_ALL) return 0;
    return h->now_ns / width_ns(w) - e->rolled_ns / width_ns(w);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The times of the happenings whose age is in a range, sorted; label -1: of all answers. */
static int collect(const struct history *h, enum metrics_window w, int32_t label, int32_t newest,
                   int32_t oldest, double *out)
{
    int n = 0;
    for (int i = 0; i < h->n; i++) {
        int64_t age = age_of(h, &h->all[i], w);
        if (age < newest || age > oldest) continue;
        if (label < 0 || label == h->all[i].answer) out[n++] = h->all[i].seconds;
    }
    qsort(out, (size_t)n, sizeof *out, compare_doubles);
    return n;
}

static void check_figure(const struct metrics_figure *f, const double *times, int n)
{
    double sum = 0;
    assert_int_equal(f->n, n);
    for (int i = 0; i < n; i++) sum += times[i];
    assert_true(fabs(f->sum - sum) <= n * 1e-9);
    if (n == 0) {
        assert_true(f->p50 <= 0 && f->p99 <= 0 && f->max <= 0 && f->mean <= 0);
        return;
    }
    assert_true(fabs(f->mean - sum / n) <= 1e-9);
    const double told[] = {f->p50, f->p95, f->p99, f->max}, qs[] = {0.5, 0.95, 0.99, 1};
    for (int i = 0; i < 4; i++) {
        double exact = times[(int)ceil(qs[i] * n) - 1];
        assert_true(fabs(told[i] - exact) <= 0.01 * exact);
    }
}

static void check_windows(const struct history *h, bool with_slots)
{
    double *times = mem_try(HAPPENINGS, sizeof *times);
    struct metrics_figure f;
    assert_non_null(times);
    for (int k = METRICS_MINUTE; k <= METRICS_ALL; k++) {
        enum metrics_window w = (enum metrics_window)k;
        int32_t n_slots = metrics_window_slots(w);
        for (int32_t label = -1; label < 3; label++) {
            int n = collect(h, w, label, 0, w == METRICS_ALL ? INT32_MAX : n_slots - 1, times);
            metrics_figure(h->m, METRIC_REQUEST_SECONDS, label, w, &f);
            check_figure(&f, times, n);
            assert_true(is_near(f.per_second * f.seconds, n) || f.seconds <= 0);
            double p95 = metrics_quantile(h->m, METRIC_REQUEST_SECONDS, label, w, 0.95);
            assert_true(is_near(p95, f.p95));
            if (label >= 0) continue;
            metrics_figure(h->m, METRIC_REQUESTS, SERVICE_OK, w, &f);
            assert_int_equal(f.n, 3 * n);
        }
        for (int32_t age = 0; age < n_slots && with_slots; age++) {
            int n = collect(h, w, METRIC_ANSWER_COMPUTED, age, age, times);
            metrics_slot(h->m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_COMPUTED, w, age, &f);
            check_figure(&f, times, n);
            n = collect(h, w, -1, age, age, times);
            metrics_slot(h->m, METRIC_REQUESTS, -1, w, age, &f);
            assert_int_equal(f.n, 3 * n);
        }
    }
    mem_free(times);
}

static void history_begin(struct history *h)
{
    *h = (struct history){.m = metrics_new(), .now_ns = 777 * S_NS + 123, .seed = 3};
    h->all = mem_try(HAPPENINGS, sizeof *h->all);
    assert_non_null(h->all);
    h->start_ns = h->now_ns;
    metrics_roll(h->m, h->now_ns);
}

static void history_end(struct history *h)
{
    metrics_free(&h->m);
    mem_free(h->all);
}

/* Two days: work now and then, a roll each second meanwhile; pauses of seconds, minutes, hours. */
static void test_windows(void **state)
{
    struct history h;
    (void)state;
    history_begin(&h);
    while (h.now_ns - h.start_ns < 2 * 86400 * S_NS) {
        for (int second = 0; second < 40; second++) {
            for (int i = (int)(8 * next_random(&h.seed)); i > 0; i--)
                happen(&h, i % 3, 0.01 * exp(2 * next_normal(&h.seed)));
            roll(&h, 0.95 + 0.1 * next_random(&h.seed));
        }
        happen(&h, 1, 0.5); /* nobody has rolled since */
        check_windows(&h, next_random(&h.seed) < 0.05);
        roll(&h, exp(log(1.5) + next_random(&h.seed) * log(20000))); /* a pause of up to 8 hours */
        check_windows(&h, next_random(&h.seed) < 0.05);
    }
    check_windows(&h, true);
    roll(&h, 3 * 86400); /* everything is over */
    happen(&h, 1, 0.5);
    roll(&h, 86400 - 900);
    check_windows(&h, true);
    roll(&h, 900);
    roll(&h, 900);
    check_windows(&h, true);
    assert_true(h.n > 1000);
    history_end(&h);
}

/* Time that stands still or seems to go back does no harm. */
static void test_same_time(void **state)
{
    struct history h;
    struct metrics_figure f;
    (void)state;
    history_begin(&h);
    happen(&h, 0, 0.1);
    metrics_roll(h.m, h.now_ns);
    metrics_roll(h.m, h.now_ns - 500 * S_NS);
    happen(&h, 0, 0.1);
    metrics_roll(h.m, h.now_ns);
    metrics_figure(h.m, METRIC_REQUEST_SECONDS, 0, METRICS_MINUTE, &f);
    assert_int_equal(f.n, 2);
    assert_true(f.seconds <= 0 && f.per_second <= 0);
    metrics_slot(h.m, METRIC_REQUEST_SECONDS, 0, METRICS_MINUTE, 30, &f);
    assert_int_equal(f.n, 0);
    metrics_slot(h.m, METRIC_REQUEST_SECONDS, 0, METRICS_MINUTE, -1, &f);
    assert_int_equal(f.n, 0);
    history_end(&h);
}

static void test_rates(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_figure f;
    (void)state;
    metrics_roll(m, 1000 * S_NS);
    for (int second = 1; second <= 10; second++) {
        metrics_add(m, METRIC_PREDICTED_TOKENS, 0, 40);
        metrics_roll(m, (1000 + second) * S_NS);
    }
    for (int w = METRICS_MINUTE; w <= METRICS_ALL; w++) { /* the daemon is younger than all of them */
        metrics_figure(m, METRIC_PREDICTED_TOKENS, 0, (enum metrics_window)w, &f);
        assert_true(is_near(f.seconds, 10) && is_near(f.per_second, 40));
    }
    for (int second = 11; second <= 101; second++) {
        metrics_add(m, METRIC_PREDICTED_TOKENS, 0, 40);
        metrics_roll(m, (1000 + second) * S_NS);
    }
    /* 1101 s: one second of a slot is over, and 29 slots of 2 s */
    metrics_figure(m, METRIC_PREDICTED_TOKENS, 0, METRICS_MINUTE, &f);
    assert_true(is_near(f.seconds, 59));
    assert_int_equal(f.n, 60 * 40); /* what was rolled at 1042 s came from the second before it */
    metrics_slot(m, METRIC_PREDICTED_TOKENS, 0, METRICS_MINUTE, 0, &f);
    assert_true(is_near(f.seconds, 1) && f.n == 80);
    metrics_slot(m, METRIC_PREDICTED_TOKENS, 0, METRICS_MINUTE, 7, &f);
    assert_true(is_near(f.seconds, 2) && f.n == 80 && is_near(f.per_second, 40));
    metrics_figure(m, METRIC_PREDICTED_TOKENS, 0, METRICS_ALL, &f);
    assert_true(is_near(f.seconds, 101) && f.n == 101 * 40 && is_near(f.per_second, 40));
    assert_string_equal(metrics_window_name(METRICS_MINUTE), "1m");
    assert_string_equal(metrics_window_name(METRICS_QUARTER), "15m");
    assert_string_equal(metrics_window_name(METRICS_DAY), "24h");
    assert_string_equal(metrics_window_name(METRICS_ALL), "all");
    for (int w = METRICS_MINUTE; w <= METRICS_DAY; w++) {
        static const double lengths[] = {60, 900, 86400};
        enum metrics_window window = (enum metrics_window)w;
        assert_true(is_near(metrics_window_slots(window) * metrics_window_slot_seconds(window), lengths[w]));
    }
    metrics_free(&m);
}

static double gauge_slot(const struct metrics *m, int32_t label, int32_t age)
{
    struct metrics_figure f;
    metrics_slot(m, METRIC_REMOTE_UP, label, METRICS_MINUTE, age, &f);
    return f.n == 0 ? -1 : f.sum;
}

static void test_gauges(void **state)
{
    struct metrics *m = metrics_new();
    struct metrics_figure f;
    (void)state;
    metrics_roll(m, 100 * S_NS);
    int32_t a = metrics_label(m, METRIC_REMOTE_UP, "a");
    metrics_set(m, METRIC_REMOTE_UP, a, 5);
    metrics_set(m, METRIC_REMOTE_UP, a, 7.5);
    assert_true(is_near(metrics_value(m, METRIC_REMOTE_UP, a), 7.5));
    metrics_roll(m, 101 * S_NS);
    metrics_roll(m, 109 * S_NS); /* slots 50 to 54 */
    metrics_set(m, METRIC_REMOTE_UP, a, 2);
    assert_true(is_near(gauge_slot(m, a, 0), 2)); /* also before the roll */
    metrics_roll(m, 110 * S_NS);
    int32_t b = metrics_label(m, METRIC_REMOTE_UP, "b");
    metrics_set(m, METRIC_REMOTE_UP, b, 1);
    metrics_roll(m, 112 * S_NS); /* slots 55 and 56 */
    assert_true(is_near(gauge_slot(m, a, 0), 2) && is_near(gauge_slot(m, a, 1), 2));
    for (int age = 2; age <= 6; age++) assert_true(is_near(gauge_slot(m, a, age), 7.5));
    assert_true(is_near(gauge_slot(m, a, 7), -1)); /* before there was a value */
    assert_true(is_near(gauge_slot(m, b, 0), 1) && is_near(gauge_slot(m, b, 1), -1));
    metrics_figure(m, METRIC_REMOTE_UP, -1, METRICS_DAY, &f);
    assert_true(is_near(f.sum, 3) && f.n == 1 && f.per_second <= 0);
    metrics_roll(m, 1000000 * S_NS); /* as it was, it stayed */
    for (int age = 0; age < 30; age++) assert_true(is_near(gauge_slot(m, a, age), 2));
    metrics_free(&m);
}

/* --- Threads ------------------------------------------------------------------------------------------- */

enum { N_THREADS = 4, N_PER_THREAD = 200000 };

struct work {
    struct metrics *m;
    int32_t label; /* of METRIC_REMOTE_FAILURES */
    atomic_bool is_done;
};

static void *work(void *ctx)
{
    struct work *w = ctx;
    for (int i = 1; i <= N_PER_THREAD; i++) {
        metrics_add(w->m, METRIC_PREDICTED_TOKENS, 0, 2);
        metrics_add(w->m, METRIC_REMOTE_FAILURES, w->label, 1);
        metrics_observe(w->m, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, (i % 1000) * 1e-6);
        metrics_set(w->m, METRIC_MODELS_LOADED, 0, i);
    }
    atomic_store(&w->is_done, true);
    return NULL;
}

/* Rolling and reading while others record: nothing is lost, nothing counted twice. */
static void test_threads(void **state)
{
    struct metrics *m = metrics_new();
    struct work works[N_THREADS];
    pthread_t threads[N_THREADS];
    struct metrics_figure f;
    int64_t now = S_NS, last = 0;
    (void)state;
    metrics_roll(m, now);
    int32_t label = metrics_label(m, METRIC_REMOTE_FAILURES, "x");
    for (int i = 0; i < N_THREADS; i++) {
        works[i] = (struct work){.m = m, .label = label};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &works[i]), 0);
    }
    for (bool is_done = false; !is_done;) {
        char name[32];
        snprintf(name, sizeof name, "%d", (int)(now / S_NS));
        metrics_label(m, METRIC_REMOTE_FAILURES, name); /* series come while others are recorded */
        metrics_roll(m, now += S_NS / 1000);
        metrics_figure(m, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, METRICS_DAY, &f);
        assert_true(f.n >= last && f.n <= N_THREADS * N_PER_THREAD);
        last = f.n;
        is_done = true;
        for (int i = 0; i < N_THREADS; i++) is_done = is_done && atomic_load(&works[i].is_done);
    }
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    metrics_roll(m, now += S_NS / 1000);
    for (int w = METRICS_DAY; w <= METRICS_ALL; w++) {
        metrics_figure(m, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, (enum metrics_window)w, &f);
        assert_int_equal(f.n, N_THREADS * N_PER_THREAD);
        assert_true(fabs(f.sum - N_THREADS * (N_PER_THREAD / 1000) * 499500e-6) < 1e-6);
        metrics_figure(m, METRIC_PREDICTED_TOKENS, 0, (enum metrics_window)w, &f);
        assert_int_equal(f.n, 2 * N_THREADS * N_PER_THREAD);
    }
    assert_int_equal(metrics_count(m, METRIC_REMOTE_FAILURES, label), N_THREADS * N_PER_THREAD);
    assert_true(is_near(metrics_value(m, METRIC_MODELS_LOADED, 0), N_PER_THREAD));
    metrics_free(&m);
}

/* --- Costs --------------------------------------------------------------------------------------------- */

enum { N_TIMED = 400000 };

struct timed {
    struct metrics *m;
    pthread_barrier_t *start;
    int64_t spent_ns;
};

static void *add_many(void *ctx)
{
    struct timed *w = ctx;
    pthread_barrier_wait(w->start);
    int64_t start = clock_ns();
    for (int i = 0; i < N_TIMED; i++) metrics_add(w->m, METRIC_REQUESTS, i % 7, 1);
    w->spent_ns = clock_ns() - start;
    return NULL;
}

static void *observe_many(void *ctx)
{
    struct timed *w = ctx;
    pthread_barrier_wait(w->start);
    int64_t start = clock_ns();
    for (int i = 0; i < N_TIMED; i++) metrics_observe(w->m, METRIC_STAGE_SECONDS, i % 9, i * 1e-6);
    w->spent_ns = clock_ns() - start;
    return NULL;
}

/* Nanoseconds that one call takes in each of n threads that call at the same time: the best of five runs,
 * which is the one that others disturbed least. */
static double cost_ns(void *(*run)(void *), int n)
{
    double best = INFINITY;
    for (int k = 0; k < 5; k++) {
        struct metrics *m = metrics_new();
        pthread_barrier_t start;
        struct timed works[2] = {{.m = m, .start = &start}, {.m = m, .start = &start}};
        pthread_t threads[2];
        double sum = 0;
        assert_int_equal(pthread_barrier_init(&start, NULL, (unsigned)n), 0);
        for (int i = 0; i < n; i++) assert_int_equal(pthread_create(&threads[i], NULL, run, &works[i]), 0);
        for (int i = 0; i < n; i++) {
            pthread_join(threads[i], NULL);
            sum += (double)works[i].spent_ns / N_TIMED / n;
        }
        best = fmin(best, sum);
        pthread_barrier_destroy(&start);
        metrics_free(&m);
    }
    return best;
}

static void test_recording_cost(void **state)
{
    double costs[] = {cost_ns(add_many, 1), cost_ns(add_many, 2), cost_ns(observe_many, 1),
                      cost_ns(observe_many, 2)};
    (void)state;
    print_message("metrics_add: %.1f ns, with 2 threads %.1f ns; metrics_observe: %.1f ns, with 2 %.1f ns\n",
                  costs[0], costs[1], costs[2], costs[3]);
    for (int i = 0; i < 4; i++) assert_true(costs[i] < 1000); /* also on a slow, busy machine */
}

/* A day of five requests a second, each with all its stages, whose times vary as they do. */
static void test_memory(void **state)
{
    static const double typical[METRIC_N_STAGES] = {
        [METRIC_STAGE_QUEUE] = 2e-5,         [METRIC_STAGE_CONTEXT] = 4e-4,
        [METRIC_STAGE_CACHE_MEMORY] = 3e-6,  [METRIC_STAGE_CACHE_DISK] = 2e-4,
        [METRIC_STAGE_CACHE_PROJECT] = 2e-4, [METRIC_STAGE_CACHE_TEAM] = 8e-4,
        [METRIC_STAGE_PREFILL] = 0.06,       [METRIC_STAGE_DECODE] = 0.3,
        [METRIC_STAGE_POST] = 2e-5};
    size_t before = counted_mem_bytes();
    struct metrics *m = metrics_new();
    uint64_t seed = 11;
    int64_t now = 5000 * S_NS, end = now + 86400 * S_NS, spent_ns = 0, n_rolls = 0;
    (void)state;
    metrics_roll(m, now);
    print_message("memory: %.0f kB at the start", (double)metrics_memory(m) / 1e3);
    while (now < end) {
        int64_t step = end - now > 1000 * S_NS ? 20 * S_NS : S_NS;
        for (int64_t i = 0; i < 5 * step / S_NS; i++) {
            double spread = 0.5 * next_normal(&seed);
            for (int k = 0; k < METRIC_N_STAGES; k++)
                metrics_observe(m, METRIC_STAGE_SECONDS, k,
                                typical[k] * exp(spread + 0.3 * (next_random(&seed) - 0.5)));
            metrics_observe(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, 1e-3 * exp(spread));
            metrics_observe(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_COMPUTED, 0.4 * exp(spread));
            metrics_observe(m, METRIC_FIRST_TOKEN_SECONDS, 0, 0.1 * exp(spread));
        }
        int64_t start = clock_ns();
        metrics_roll(m, now += step);
        spent_ns += clock_ns() - start;
        n_rolls++;
    }
    int64_t bytes = metrics_memory(m);
    print_message(", %.0f kB after a day of 5 requests a second; a roll takes %.1f us\n", (double)bytes / 1e3,
                  (double)spent_ns / 1e3 / (double)n_rolls);
    assert_int_equal(bytes, counted_mem_bytes() - before);
    assert_true(bytes < 2000000);
    metrics_free(&m);
    assert_int_equal(counted_mem_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_labels_are_the_enums),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_null_records_nothing),
        cmocka_unit_test(test_windows),
        cmocka_unit_test(test_same_time),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_gauges),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_recording_cost),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
