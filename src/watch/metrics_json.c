/* Figures and their history as JSON, for the dashboard and `inline status`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "watch/metrics.h"

#define SLOTS_MAX 96 /* of a window */

/* Six digits: a histogram knows two of them. What is counted or told has up to fifteen. */
#define MEASURED 6
#define TOLD     15

/* In as few characters as its digits need; null if it is no number. */
static void write_number(struct json *j, const char *key, double value, int digits)
{
    char text[32] = "null";
    int len = (int)strlen(text);
    if (isfinite(value)) len = snprintf(text, sizeof text, "%.*g", digits, value);
    json_raw(j, key, text, (size_t)len);
}

static bool is_empty(const struct metric_row *row, const struct metrics_figure *f)
{
    return row->kind != METRIC_GAUGE && f->n == 0;
}

/* --- Figures ------------------------------------------------------------------------------------------- */

static void write_figure(struct json *j, const struct metric_row *row, const char *label,
                         const struct metrics_figure *f)
{
    if (row->kind == METRIC_GAUGE) {
        write_number(j, label, f->sum, TOLD);
        return;
    }
    json_begin_object(j, label);
    json_int(j, "n", f->n);
    if (row->kind == METRIC_HISTOGRAM) {
        write_number(j, "mean", f->mean, MEASURED);
        write_number(j, "p50", f->p50, MEASURED);
        write_number(j, "p95", f->p95, MEASURED);
        write_number(j, "p99", f->p99, MEASURED);
        write_number(j, "max", f->max, MEASURED);
    }
    write_number(j, "per_second", f->per_second, MEASURED);
    json_end_object(j);
}

void metrics_write_figures(const struct metrics *m, enum metrics_window w, struct json *j)
{
    for (int32_t k = 0; k < METRIC_N; k++) {
        enum metric_id id = (enum metric_id)k;
        json_begin_object(j, metric_table[id].name);
        for (int32_t i = 0; i < metrics_n_labels(m, id); i++) {
            struct metrics_figure f;
            metrics_figure(m, id, i, w, &f);
            if (!is_empty(&metric_table[id], &f))
                write_figure(j, &metric_table[id], metrics_label_text(m, id, i), &f);
        }
        json_end_object(j);
    }
}

/* --- History ------------------------------------------------------------------------------------------- */

/* n figures by age; oldest first is how they are written. A quantile of nothing is null. */
static void write_counts(struct json *j, const struct metrics_figure *f, int32_t n)
{
    json_begin_array(j, "n");
    while (n-- > 0) json_int(j, NULL, f[n].n);
    json_end_array(j);
}

static void write_values(struct json *j, const struct metrics_figure *f, int32_t n)
{
    json_begin_array(j, "value");
    while (n-- > 0) write_number(j, NULL, f[n].n > 0 ? f[n].sum : (double)NAN, TOLD);
    json_end_array(j);
}

static void write_sums(struct json *j, const struct metrics_figure *f, int32_t n)
{
    json_begin_array(j, "sum");
    while (n-- > 0) write_number(j, NULL, f[n].sum, TOLD);
    json_end_array(j);
}

static void write_quantiles(struct json *j, const struct metrics_figure *f, int32_t n)
{
    static const char *const keys[] = {"p50", "p95", "p99"};
    for (int k = 0; k < 3; k++) {
        json_begin_array(j, keys[k]);
        for (int32_t age = n - 1; age >= 0; age--) {
            double q = k == 0 ? f[age].p50 : k == 1 ? f[age].p95 : f[age].p99;
            write_number(j, NULL, f[age].n > 0 ? q : (double)NAN, MEASURED);
        }
        json_end_array(j);
    }
}

static void write_slots(struct json *j, const struct metric_row *row, const char *label,
                        const struct metrics_figure *f, int32_t n)
{
    json_begin_object(j, label);
    switch (row->kind) {
    case METRIC_COUNTER:
        write_counts(j, f, n);
        break;
    case METRIC_GAUGE:
        write_values(j, f, n);
        break;
    case METRIC_HISTOGRAM:
        write_counts(j, f, n);
        write_sums(j, f, n);
        write_quantiles(j, f, n);
        break;
    }
    json_end_object(j);
}

void metrics_write_history(const struct metrics *m, enum metrics_window w, struct json *j)
{
    int32_t n = metrics_window_slots(w);
    for (int32_t k = 0; k < METRIC_N; k++) {
        enum metric_id id = (enum metric_id)k;
        json_begin_object(j, metric_table[id].name);
        for (int32_t i = 0; i < metrics_n_labels(m, id); i++) {
            struct metrics_figure slots[SLOTS_MAX];
            bool has_any = metric_table[id].kind == METRIC_GAUGE;
            for (int32_t age = 0; age < n; age++) {
                metrics_slot(m, id, i, w, age, &slots[age]);
                has_any = has_any || slots[age].n > 0;
            }
            if (has_any) write_slots(j, &metric_table[id], metrics_label_text(m, id, i), slots, n);
        }
        json_end_object(j);
    }
}
