/* What metrics are made of; for the files metrics*.c only. */
#ifndef WATCH_METRICS_IMPL_H
#define WATCH_METRICS_IMPL_H

#include "watch/histogram.h"
#include "watch/metrics.h"

/* The slots of all windows lie behind one another: those of a window are a ring of its own. */
#define METRICS_N_WINDOWS 3 /* with slots */
#define METRICS_N_SLOTS   (30 + 45 + 96)

/* Of a histogram; everything else of the series is unused then. */
struct metrics_times {
    struct histogram live;
    struct histogram_mark rolled;
    struct histogram_packed slots[METRICS_N_SLOTS];
};

union metrics_number {
    int64_t n;    /* counters */
    double value; /* gauges; NaN: of a time before there was one */
};

struct metrics_series {
    char *label;                 /* owned; its value, "" if the row has none */
    atomic_int_least64_t live;   /* counters: since the start; gauges: the bits of the double */
    union metrics_number rolled; /* live, when metrics_roll was called last */
    union metrics_number *slots; /* owned; [METRICS_N_SLOTS]; null: a histogram */
    struct metrics_times *times; /* owned; null: none */
};

struct metrics_row {
    /* Grows only, and after the series that it then counts: any thread may use those. */
    _Atomic(int32_t) n_series;
    struct metrics_series *series[METRICS_LABELS_MAX]; /* owned */
};

struct metrics {
    struct metrics_row rows[METRIC_N];
    int64_t start_ns, now_ns;          /* the first and the last call of metrics_roll */
    int64_t newest[METRICS_N_WINDOWS]; /* time / width of the slot under way */
    bool has_rolled;
    struct histogram_sum recent; /* metrics_roll's working memory */
};

/* Null: there is no such series. */
const struct metrics_series *metrics_series(const struct metrics *m, enum metric_id id, int32_t label);
/* Adds the observations of one series within the window to sum. */
void metrics_sum(const struct metrics *m, const struct metrics_series *s, enum metrics_window w,
                 struct histogram_sum *sum);

#endif
