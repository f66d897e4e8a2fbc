/* What is counted, measured and timed: a series for each row of metric_table.h and value of its label, since
 * the start and over windows of the last minute, quarter of an hour and day.
 *
 * Counting and observing are lock-free (relaxed atomics) and take well under 100 ns: any thread may, and a
 * null `metrics` records nothing. Everything else is the loop's. Histograms are log-linear (HdrHistogram's
 * idea): a quantile is within 1 % of the exact one for times from 1 us to 1,000 s.
 *
 * Windows are made of slots that metrics_roll closes: what was recorded since the last call belongs to the
 * slot of this call's time. So it is called once a second while there is work, and before the first of it. */
#ifndef WATCH_METRICS_H
#define WATCH_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "watch/metric_table.h"

struct json;
struct metrics;

/* For the whole process: METRIC_BUILD_INFO and METRIC_PROCESS_START_SECONDS (now) are set from the start. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics **m);

/* The index of a label's value, for rows whose values are named at run time; the same one for the same name.
 * -1: there are METRICS_LABELS_MAX already; recording under -1 does nothing. */
#define METRICS_LABELS_MAX 16
int32_t metrics_label(struct metrics *m, enum metric_id id, const char *value);

/* label: 0 for rows without one. */
void metrics_add(struct metrics *m, enum metric_id id, int32_t label, int64_t n);
void metrics_observe(struct metrics *m, enum metric_id id, int32_t label, double seconds);
void metrics_set(struct metrics *m, enum metric_id id, int32_t label, double value); /* NaN: there is none */

/* now_ns: clock_ns, never less than before. Gauges keep their last value as the slot's. */
void metrics_roll(struct metrics *m, int64_t now_ns);

/* --- Reading ------------------------------------------------------------------------------------------ */

enum metrics_window {
    METRICS_MINUTE,  /* 30 slots of 2 s */
    METRICS_QUARTER, /* 45 slots of 20 s */
    METRICS_DAY,     /* 96 slots of 15 min */
    METRICS_ALL      /* since the start; no slots */
};
const char *metrics_window_name(enum metrics_window w); /* "1m", "15m", "24h", "all" */
int32_t metrics_window_slots(enum metrics_window w);
double metrics_window_slot_seconds(enum metrics_window w);

/* Of one series, or of all series of a row together (label -1). The slot under way counts. */
struct metrics_figure {
    /* Counters: the increase; histograms: observations; gauges: 1, or 0 of a slot before the first value. */
    int64_t n;
    double sum;                /* histograms: seconds; gauges: the value, of a window the one now */
    double mean;               /* histograms: sum / n; 0 while empty */
    double p50, p95, p99, max; /* histograms, each within 1 %; 0 while empty */
    double per_second;         /* n over the time that the window covers so far; not of gauges */
    double seconds;            /* that time */
};
void metrics_figure(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                    struct metrics_figure *out);
/* The same of one slot: 0 is the one under way, 1 the one before ... up to metrics_window_slots - 1. */
void metrics_slot(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                  int32_t age, struct metrics_figure *out);
/* q from 0 to 1. */
double metrics_quantile(const struct metrics *m, enum metric_id id, int32_t label, enum metrics_window w,
                        double q);
int64_t metrics_count(const struct metrics *m, enum metric_id id, int32_t label); /* since the start */
double metrics_value(const struct metrics *m, enum metric_id id, int32_t label);  /* of a gauge */

int32_t metrics_n_labels(const struct metrics *m, enum metric_id id); /* series of the row, now */
const char *metrics_label_text(const struct metrics *m, enum metric_id id, int32_t label);

/* Bytes of heap that all of this takes. */
int64_t metrics_memory(const struct metrics *m);

/* Prometheus text exposition format 0.0.4. Histograms have a second family, NAME_window_UNIT, a summary with
 * labels window and quantile: "inline_request_window_seconds". */
void metrics_write(const struct metrics *m, struct buf *out);
/* The same for programs: members of an object that is open, NAME: {LABEL: {"n", "mean", "p50", "p95", "p99",
 * "max", "per_second"}} of histograms, {LABEL: {"n", "per_second"}} of counters, {LABEL: number} of gauges;
 * LABEL is "" for rows without one. Series without anything in the window are left out. */
void metrics_write_figures(const struct metrics *m, enum metrics_window w, struct json *j);
/* Likewise, each slot of the window, oldest first: {LABEL: {"n":[...],"sum":[...],"p50":[...],"p95":[...],
 * "p99":[...]}}, {LABEL: {"n":[...]}}, {LABEL: {"value":[...]}}. Null: a quantile of nothing, the value of a
 * gauge before it had one. */
void metrics_write_history(const struct metrics *m, enum metrics_window w, struct json *j);
/* The table itself: "metrics":[{"name","kind","unit","label","help"}],
 * "targets":[{"name","metric","label","figure", "value","at_least","help"}]. */
void metric_table_write(struct json *j);
/* docs/metrics.md: the table. */
void metric_table_write_markdown(struct buf *out);

#endif
