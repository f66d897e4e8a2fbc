/* See figures.h. */
#include "cli/figures.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/size.h"

const struct json_value *figures_of(const struct json_value *status, const char *window)
{
    return json_get(json_get(status, "figures"), window);
}

/* A series of a histogram or counter is an object of figures, one of a gauge the number itself. */
static bool read_figure(const struct json_value *series, const char *figure, double *out)
{
    return json_get_num(json_is_object(series) ? json_get(series, figure) : series, out);
}

bool figures_get(const struct json_value *figures, enum metric_id id, int32_t label, const char *figure,
                 double *out)
{
    char name[32] = "";
    *out = 0;
    if (metric_table[id].label && !metric_label_name(id, label, name)) return false;
    return read_figure(json_get(json_get(figures, metric_table[id].name), name), figure, out);
}

double figures_n(const struct json_value *figures, enum metric_id id, int32_t label)
{
    double n;
    (void)figures_get(figures, id, label, "n", &n);
    return n;
}

struct summing {
    const char *figure;
    double sum;
};

static bool sum_series(void *ctx, const char *label, const struct json_value *series)
{
    struct summing *s = ctx;
    double value = 0;
    (void)label;
    if (read_figure(series, s->figure, &value)) s->sum += value;
    return true;
}

double figures_sum(const struct json_value *figures, enum metric_id id, const char *figure)
{
    struct summing s = {.figure = figure};
    const struct json_value *metric = json_get(figures, metric_table[id].name);
    if (json_is_object(metric)) json_each(metric, sum_series, &s);
    return s.sum;
}

bool figures_rate(const struct json_value *figures, enum metric_id id, double *out)
{
    double part = figures_sum(figures, id, "n"), all = 0;
    if (id == METRIC_CACHE_HITS) all = part + figures_sum(figures, METRIC_CACHE_MISSES, "n");
    if (id == METRIC_ERRORS) all = figures_sum(figures, METRIC_REQUESTS, "n");
    if (id == METRIC_ACCEPTED_TOKENS) all = figures_sum(figures, METRIC_DRAFTED_TOKENS, "n");
    *out = all > 0 ? part / all : 0;
    return all > 0;
}

/* Over all series of a row: quantiles cannot be put together from quantiles, so only one series has them. */
static bool overall(const struct json_value *figures, const struct metric_target *t, double *out)
{
    if (metric_n_labels(t->metric) == 1) return figures_get(figures, t->metric, 0, t->figure, out);
    *out = figures_sum(figures, t->metric, t->figure);
    return *out > 0;
}

struct figures_verdict figures_judge(const struct json_value *figures, const struct metric_target *t)
{
    struct figures_verdict v = {0};
    if (strcmp(t->figure, "rate") == 0)
        v.is_known = figures_rate(figures, t->metric, &v.value);
    else if (t->label < 0)
        v.is_known = overall(figures, t, &v.value);
    else
        v.is_known = figures_get(figures, t->metric, t->label, t->figure, &v.value);
    v.is_met = v.is_known && (t->is_at_least ? v.value >= t->value : v.value <= t->value);
    return v;
}

const char *figures_target_unit(const struct metric_target *t)
{
    return strcmp(t->figure, "rate") == 0 ? "ratio" : metric_table[t->metric].unit;
}

/* --- For people ---------------------------------------------------------------------------------------- */

const char *figures_count(double value, char out[FIGURES_TEXT_MAX])
{
    char digits[FIGURES_TEXT_MAX / 2];
    size_t at = 0;
    if (!(value > -1e15 && value < 1e15)) value = 0; /* beyond what a double counts exactly */
    int len = snprintf(digits, sizeof digits, "%.0f", fabs(round(value)));
    if (round(value) < 0) out[at++] = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static void add_seconds(double s, char out[FIGURES_TEXT_MAX])
{
    double ms = s * 1000;
    if (!isfinite(s))
        snprintf(out, FIGURES_TEXT_MAX, "?");
    else if (ms < 0.995)
        snprintf(out, FIGURES_TEXT_MAX, "%.2f ms", ms);
    else if (ms < 9.95)
        snprintf(out, FIGURES_TEXT_MAX, "%.1f ms", ms);
    else if (ms < 999.5)
        snprintf(out, FIGURES_TEXT_MAX, "%.0f ms", ms);
    else
        snprintf(out, FIGURES_TEXT_MAX, s < 99.95 ? "%.1f s" : "%.0f s", s);
}

const char *figures_text(double value, const char *unit, char out[FIGURES_TEXT_MAX])
{
    char text[FIGURES_TEXT_MAX];
    if (strcmp(unit, "seconds") == 0) {
        add_seconds(value, out);
    } else if (strcmp(unit, "ratio") == 0) {
        double percent = isfinite(value) ? 100 * value : 0;
        snprintf(out, FIGURES_TEXT_MAX, percent > 0 && percent < 9.95 ? "%.1f %%" : "%.0f %%", percent);
    } else if (strcmp(unit, "bytes") == 0) {
        snprintf(out, FIGURES_TEXT_MAX, "%s",
                 size_text(isfinite(value) && value < 9e18 ? (int64_t)value : -1, text));
    } else if (value > 0 && value < 10 && value != round(value)) {
        snprintf(out, FIGURES_TEXT_MAX, "%.2f %.16s", value, unit);
    } else {
        snprintf(out, FIGURES_TEXT_MAX, "%s %.16s", figures_count(value, text), unit);
    }
    return out;
}

void figures_add_parts(const struct json_value *figures, enum metric_id id, int32_t whole, struct buf *out)
{
    char name[32], text[FIGURES_TEXT_MAX];
    double all = whole < 0 ? figures_sum(figures, id, "n") : figures_n(figures, id, whole);
    const char *between = "";
    for (int32_t i = 0; metric_label_name(id, i, name); i++) {
        double part = figures_n(figures, id, i);
        if (part <= 0) continue;
        buf_printf(out, "%s%s %s", between, name, figures_count(part, text));
        if (i != whole && all > 0) buf_printf(out, " (%s)", figures_text(part / all, "ratio", text));
        between = ", ";
    }
}
