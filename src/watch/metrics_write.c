/* Prometheus' text exposition format, version 0.0.4. A family is a name's HELP and TYPE, then all its series.
 *
 * The quantiles of windows are families of type summary: that is Prometheus' type for quantiles over sliding
 * windows, and `promtool check metrics` allows the label `quantile` to no other. Their count and sum would
 * not be those of a window, so they have none; the histogram has them since the start. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "watch/metrics_impl.h"

/* Exposed bounds: one per octave from 2^6 us to 2^26 us (64 us to 67 s). A scrape stays small, and an answer
 * to a keystroke takes anything from a lookup's 100 us to a cold prefill's seconds. */
#define FIRST_OCTAVE_SHOWN 6
#define LAST_OCTAVE_SHOWN  26

/* A byte that is not UTF-8 becomes U+FFFD. */
static void write_escaped(struct buf *out, const char *value)
{
    for (const char *end = value + strlen(value); value < end;) {
        int32_t code;
        size_t len = utf8_decode(value, (size_t)(end - value), &code);
        if (code < 0) {
            buf_add_str(out, "\xef\xbf\xbd");
        } else if (code == '\n') {
            buf_add_str(out, "\\n");
        } else {
            if (code == '"' || code == '\\') buf_add_char(out, '\\');
            buf_add(out, value, len);
        }
        value += len;
    }
}

/* One line without its value: the family's name and suffix, the series' label, then further labels as they
 * stand ("" for none). */
static void write_key(struct buf *out, const struct metric_row *row, const char *name, const char *suffix,
                      const char *label, const char *more)
{
    buf_printf(out, "%s%s", name, suffix);
    if (row->label || *more) {
        buf_add_char(out, '{');
        if (row->label) {
            buf_printf(out, "%s=\"", row->label);
            write_escaped(out, label);
            buf_add_str(out, *more ? "\"," : "\"");
        }
        buf_printf(out, "%s}", more);
    }
    buf_add_char(out, ' ');
}

static void write_number(struct buf *out, double value)
{
    if (isfinite(value)) {
        buf_printf(out, "%.15g\n", value);
    } else {
        buf_add_str(out, isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
    }
}

static void write_head(struct buf *out, const char *name, const char *help, const char *type)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* --- Since the start ----------------------------------------------------------------------------------- */

static void write_histogram(struct buf *out, const struct metric_row *row, const char *label,
                            const struct histogram_sum *sum)
{
    int64_t n = 0;
    int32_t i = 0;
    for (int32_t octave = FIRST_OCTAVE_SHOWN; octave <= LAST_OCTAVE_SHOWN; octave++) {
        for (; i < HISTOGRAM_BUCKET_AFTER(octave); i++) n += sum->counts[i];
        char le[32];
        snprintf(le, sizeof le, "le=\"%.9g\"", ldexp(1e-6, octave));
        write_key(out, row, row->name, "_bucket", label, le);
        buf_printf(out, "%" PRId64 "\n", n);
    }
    write_key(out, row, row->name, "_bucket", label, "le=\"+Inf\"");
    buf_printf(out, "%" PRId64 "\n", sum->n);
    write_key(out, row, row->name, "_sum", label, "");
    buf_printf(out, "%.9f\n", (double)sum->sum_ns / 1e9);
    write_key(out, row, row->name, "_count", label, "");
    buf_printf(out, "%" PRId64 "\n", sum->n);
}

static void write_series(const struct metrics *m, enum metric_id id, int32_t i, struct buf *out)
{
    const struct metric_row *row = &metric_table[id];
    const struct metrics_series *s = metrics_series(m, id, i);
    if (row->kind == METRIC_HISTOGRAM) {
        struct histogram_sum sum = {0};
        metrics_sum(m, s, METRICS_ALL, &sum);
        write_histogram(out, row, s->label, &sum);
        return;
    }
    write_key(out, row, row->name, "", s->label, "");
    if (row->kind == METRIC_COUNTER) {
        buf_printf(out, "%" PRId64 "\n", metrics_count(m, id, i));
    } else {
        write_number(out, metrics_value(m, id, i));
    }
}

/* --- Windows ------------------------------------------------------------------------------------------- */

static const struct {
    double q;
    const char *text;
} quantiles[] = {{0.5, "0.5"}, {0.95, "0.95"}, {0.99, "0.99"}};

static void write_quantiles(struct buf *out, const struct metric_row *row, const char *name,
                            const char *label, enum metrics_window w, const struct histogram_sum *sum)
{
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "window=\"%s\",quantile=\"%s\"", metrics_window_name(w),
                 quantiles[i].text);
        write_key(out, row, name, "", label, labels);
        write_number(out, histogram_quantile(sum, quantiles[i].q));
    }
}

/* NAME_window_UNIT of a histogram NAME_UNIT: of series and windows that saw something. */
static void write_windows(const struct metrics *m, enum metric_id id, struct buf *out)
{
    const struct metric_row *row = &metric_table[id];
    char name[96], help[256];
    int base_len = (int)(strlen(row->name) - strlen(row->unit));
    snprintf(name, sizeof name, "%.*swindow_%s", base_len, row->name, row->unit);
    snprintf(help, sizeof help, "%s Quantiles over the last minute, 15 minutes and day.", row->help);
    struct histogram_sum sum = {0};
    bool has_head = false;
    for (int32_t i = 0; i < metrics_n_labels(m, id); i++) {
        const struct metrics_series *s = metrics_series(m, id, i);
        for (int32_t w = METRICS_MINUTE; w <= METRICS_DAY; w++) {
            histogram_sum_clear(&sum);
            metrics_sum(m, s, (enum metrics_window)w, &sum);
            if (sum.n == 0) continue;
            if (!has_head) write_head(out, name, help, "summary");
            has_head = true;
            write_quantiles(out, row, name, s->label, (enum metrics_window)w, &sum);
        }
    }
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    for (int32_t k = 0; k < METRIC_N; k++) {
        enum metric_id id = (enum metric_id)k;
        const struct metric_row *row = &metric_table[id];
        int32_t n = metrics_n_labels(m, id);
        if (n > 0) write_head(out, row->name, row->help, metric_type_name(id));
        for (int32_t i = 0; i < n; i++) write_series(m, id, i, out);
        if (row->kind == METRIC_HISTOGRAM) write_windows(m, id, out);
    }
}
