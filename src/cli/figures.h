/* What the daemon measured, as GET /status tells it: {"figures": {WINDOW: {METRIC: {LABEL: ...}}}}, see
 * metrics_write_figures. Names, units and labels come from metric_table.h. */
#ifndef CLI_FIGURES_H
#define CLI_FIGURES_H

#include <stdbool.h>

#include "watch/metric_table.h"

struct buf;
struct json_value;

/* All of one window ("1m", "15m", "24h", "all"), for the functions below; null if there is none. */
const struct json_value *figures_of(const struct json_value *status, const char *window);

/* One figure ("n", "mean", "p50", "p95", "p99", "max", "per_second"; any for gauges) of a series: label is an
 * index into the row's values, 0 for rows without. False, and 0: nothing was recorded in the window. */
bool figures_get(const struct json_value *figures, enum metric_id id, int32_t label, const char *figure,
                 double *out);
double figures_n(const struct json_value *figures, enum metric_id id, int32_t label); /* figure "n" */
/* The sum of a figure over all series of the row, also those named at run time. */
double figures_sum(const struct json_value *figures, enum metric_id id, const char *figure);
/* A counter as a part of what it counts: METRIC_CACHE_HITS of all that was looked up, METRIC_ERRORS of all
 * requests, METRIC_ACCEPTED_TOKENS of those drafted. False, and 0: there was nothing. */
bool figures_rate(const struct json_value *figures, enum metric_id id, double *out);

/* A target held against what was measured; is_known false: nothing was. */
struct figures_verdict {
    bool is_known, is_met;
    double value;
};
struct figures_verdict figures_judge(const struct json_value *figures, const struct metric_target *t);
const char *figures_target_unit(const struct metric_target *t);

/* "0.42 ms", "1.2 s", "34 %", "1.6 GB", "1,234 tokens": a value in a metric's unit. Returns out. */
#define FIGURES_TEXT_MAX 40
const char *figures_text(double value, const char *unit, char out[FIGURES_TEXT_MAX]);
/* "1,234,567"; halves are rounded. */
const char *figures_count(double value, char out[FIGURES_TEXT_MAX]);
/* A counter by the values of its label, without those that were not counted: "reused 1,234 (89 %), computed
 * 150 (11 %)". Shares are of the series `whole`, or (-1) of all together. */
void figures_add_parts(const struct json_value *figures, enum metric_id id, int32_t whole, struct buf *out);

#endif
