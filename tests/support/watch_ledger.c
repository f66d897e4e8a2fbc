/* See watch_ledger.h. */
#include "support/watch_ledger.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/json.h"
#include "base/mem.h"

#define TOLERANCE 0.01
#define EDGE                                                                                                 \
    0.001 /* what is so near to a bucket's bound may be on either side: the test reads the clock             \
             a few steps earlier and later than what it tests */
#define TEXT_MAX ((size_t)8 << 20)
#define KEY_MAX  256

void ledger_clear(struct ledger *l)
{
    mem_free(l->events);
    *l = (struct ledger){0};
}

void ledger_note(struct ledger *l, enum metric_id id, int32_t label, double value)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 1024;
        l->events = mem_try_resize(l->events, l->cap, sizeof *l->events);
        assert_non_null(l->events);
    }
    l->events[l->n++] = (struct ledger_event){id, label, l->now_ns, value};
}

/* ---- What is true ------------------------------------------------------------------------------------ */

/* Slots are whole multiples of their width on the clock, the last one under way. */
static bool is_within(int64_t at_ns, int64_t now_ns, enum metrics_window w)
{
    static const int64_t widths_s[] = {[METRICS_MINUTE] = 2, [METRICS_QUARTER] = 20, [METRICS_DAY] = 900};
    static const int64_t n_slots[] = {[METRICS_MINUTE] = 30, [METRICS_QUARTER] = 45, [METRICS_DAY] = 96};
    if (w == METRICS_ALL) return true;
    int64_t width = widths_s[w] * INT64_C(1000000000);
    return at_ns / width > now_ns / width - n_slots[w];
}

/* Of one series (label -1: of all) in one window; sorted. */
struct truth {
    double *values;
    size_t n;
    double sum;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct truth truth_of(const struct ledger *l, enum metric_id id, int32_t label, enum metrics_window w)
{
    struct truth t = {.values = mem_new((l->n + 1) * sizeof(double))};
    for (size_t i = 0; i < l->n; i++) {
        const struct ledger_event *e = &l->events[i];
        if (e->id != id || (label >= 0 && e->label != label) || !is_within(e->at_ns, l->now_ns, w)) continue;
        t.values[t.n++] = e->value;
        t.sum += e->value;
    }
    qsort(t.values, t.n, sizeof *t.values, compare);
    return t;
}

static double quantile(const struct truth *t, double q)
{
    if (t->n == 0) return 0;
    size_t rank = (size_t)ceil(q * (double)t->n);
    return t->values[rank > 0 ? rank - 1 : 0];
}

/* ---- Comparing --------------------------------------------------------------------------------------- */

struct checking {
    const struct ledger *l;
    const struct metrics *m;
    enum metric_id id;
    int32_t label;
    enum metrics_window w;
    struct truth truth;
    int64_t n_compared;
};

static void fail_value(const struct checking *c, const char *what, double is, double should)
{
    fail_msg("%s{%s}, %s, %s is %.9g, should be %.9g", metric_table[c->id].name,
             c->label < 0 ? "all" : metrics_label_text(c->m, c->id, c->label), metrics_window_name(c->w),
             what, is, should);
}

static void same(struct checking *c, const char *what, double is, double should)
{
    c->n_compared++;
    if (is != should) fail_value(c, what, is, should);
}

static void near_to(struct checking *c, const char *what, double is, double should)
{
    c->n_compared++;
    if (!(fabs(is - should) <= TOLERANCE * fabs(should))) fail_value(c, what, is, should);
}

static bool is_counter(const struct checking *c)
{
    return metric_table[c->id].kind == METRIC_COUNTER;
}

/* ---- Figures ----------------------------------------------------------------------------------------- */

static void check_figure(struct checking *c)
{
    struct metrics_figure f;
    metrics_figure(c->m, c->id, c->label, c->w, &f);
    double n = is_counter(c) ? c->truth.sum : (double)c->truth.n;
    same(c, "figure n", (double)f.n, n);
    if (f.seconds > 0) near_to(c, "figure per_second", f.per_second, n / f.seconds);
    if (is_counter(c) || isnan(c->truth.sum)) return;
    near_to(c, "figure sum", f.sum, c->truth.sum);
    near_to(c, "figure mean", f.mean, c->truth.n ? c->truth.sum / n : 0);
    near_to(c, "figure p50", f.p50, quantile(&c->truth, 0.5));
    near_to(c, "figure p95", f.p95, quantile(&c->truth, 0.95));
    near_to(c, "figure p99", f.p99, quantile(&c->truth, 0.99));
    near_to(c, "figure max", f.max, quantile(&c->truth, 1));
}

/* ---- Prometheus' text -------------------------------------------------------------------------------- */

/* The value in the line that begins with this key; NAN: there is none. */
static double text_value(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = strstr(text, key); at; at = strstr(at + 1, key)) {
        if ((at == text || at[-1] == '\n') && at[len] == ' ') return strtod(at + len, NULL);
    }
    return NAN;
}

static void text_key(const struct checking *c, const char *name, const char *more, char *out)
{
    const struct metric_row *row = &metric_table[c->id];
    char own[KEY_MAX / 2] = "";
    if (row->label)
        snprintf(own, sizeof own, "%s=\"%s\"", row->label, metrics_label_text(c->m, c->id, c->label));
    const char *comma = *own && *more ? "," : "";
    int n = *own || *more ? snprintf(out, KEY_MAX, "%s{%s%s%s}", name, own, comma, more)
                          : snprintf(out, KEY_MAX, "%s", name);
    assert_in_range(n, 1, KEY_MAX - 1);
}

static size_t n_up_to(const struct truth *t, double value)
{
    size_t n = 0;
    while (n < t->n && t->values[n] <= value) n++;
    return n;
}

/* Those since the start, that Prometheus adds up itself. */
static void check_text_all(struct checking *c, const char *text)
{
    const char *name = metric_table[c->id].name;
    char key[KEY_MAX], part[KEY_MAX / 2], more[32];
    if (is_counter(c)) {
        text_key(c, name, "", key);
        same(c, "text", text_value(text, key), c->truth.sum);
        return;
    }
    snprintf(part, sizeof part, "%s_count", name);
    text_key(c, part, "", key);
    same(c, "text count", text_value(text, key), (double)c->truth.n);
    if (isnan(c->truth.sum)) return;
    snprintf(part, sizeof part, "%s_sum", name);
    text_key(c, part, "", key);
    near_to(c, "text sum", text_value(text, key), c->truth.sum);
    snprintf(part, sizeof part, "%s_bucket", name);
    for (int octave = 6; octave <= 26; octave++) {
        double le = ldexp(1e-6, octave);
        snprintf(more, sizeof more, "le=\"%.9g\"", le);
        text_key(c, part, more, key);
        double value = text_value(text, key);
        size_t least = n_up_to(&c->truth, le * (1 - EDGE)), most = n_up_to(&c->truth, le * (1 + EDGE));
        c->n_compared++;
        if (!(value >= (double)least && value <= (double)most)) fail_value(c, more, value, (double)most);
    }
    text_key(c, part, "le=\"+Inf\"", key);
    same(c, "le +Inf", text_value(text, key), (double)c->truth.n);
}

static void check_text_window(struct checking *c, const char *text)
{
    static const char *const quantiles[] = {"0.5", "0.95", "0.99"};
    const struct metric_row *row = &metric_table[c->id];
    char name[KEY_MAX / 2], key[KEY_MAX], more[64];
    if (is_counter(c) || isnan(c->truth.sum)) return;
    snprintf(name, sizeof name, "%.*swindow_%s", (int)(strlen(row->name) - strlen(row->unit)), row->name,
             row->unit);
    for (int i = 0; i < 3; i++) {
        snprintf(more, sizeof more, "window=\"%s\",quantile=\"%s\"", metrics_window_name(c->w), quantiles[i]);
        text_key(c, name, more, key);
        double value = text_value(text, key);
        if (c->truth.n == 0) {
            if (!isnan(value)) fail_value(c, more, value, NAN);
        } else {
            near_to(c, more, value, quantile(&c->truth, strtod(quantiles[i], NULL)));
        }
    }
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

static double json_number(struct json_object *object, const char *name)
{
    struct json_object *value;
    return json_object_object_get_ex(object, name, &value) ? json_object_get_double(value) : NAN;
}

static void check_json(struct checking *c, struct json_object *whole)
{
    struct json_object *row, *series;
    const char *label = metric_table[c->id].label ? metrics_label_text(c->m, c->id, c->label) : "";
    bool is_there = json_object_object_get_ex(whole, metric_table[c->id].name, &row) &&
                    json_object_object_get_ex(row, label, &series);
    if (c->truth.n == 0) {
        if (is_there) same(c, "JSON n", json_number(series, "n"), 0);
        return;
    }
    if (!is_there) fail_value(c, "JSON", NAN, c->truth.sum);
    same(c, "JSON n", json_number(series, "n"), is_counter(c) ? c->truth.sum : (double)c->truth.n);
    if (is_counter(c) || isnan(c->truth.sum)) return;
    near_to(c, "JSON mean", json_number(series, "mean"), c->truth.sum / (double)c->truth.n);
    near_to(c, "JSON p50", json_number(series, "p50"), quantile(&c->truth, 0.5));
    near_to(c, "JSON p95", json_number(series, "p95"), quantile(&c->truth, 0.95));
    near_to(c, "JSON p99", json_number(series, "p99"), quantile(&c->truth, 0.99));
    near_to(c, "JSON max", json_number(series, "max"), quantile(&c->truth, 1));
}

static struct json_object *figures(const struct metrics *m, enum metrics_window w)
{
    struct buf out;
    struct json j;
    buf_init(&out, TEXT_MAX);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    metrics_write_figures(m, w, &j);
    json_end_object(&j);
    struct json_object *object = json_tokener_parse(buf_str(&out));
    assert_non_null(object);
    buf_clear(&out);
    return object;
}

/* ---- All --------------------------------------------------------------------------------------------- */

static void check_series(struct checking *c, const char *text, struct json_object *const json[])
{
    for (int w = METRICS_MINUTE; w <= METRICS_ALL; w++) {
        c->w = (enum metrics_window)w;
        c->truth = truth_of(c->l, c->id, c->label, c->w);
        check_figure(c);
        if (c->label >= 0) {
            check_json(c, json[w]);
            if (c->w == METRICS_ALL) {
                check_text_all(c, text);
            } else {
                check_text_window(c, text);
            }
        }
        mem_free(c->truth.values);
    }
}

int64_t ledger_check(const struct ledger *l, const struct metrics *m)
{
    struct checking c = {.l = l, .m = m};
    struct json_object *json[METRICS_ALL + 1];
    struct buf text;
    buf_init(&text, TEXT_MAX);
    metrics_write(m, &text);
    assert_int_equal(text.err, OK);
    for (int w = 0; w <= METRICS_ALL; w++) json[w] = figures(m, (enum metrics_window)w);
    for (int id = 0; id < METRIC_N; id++) {
        if (l->is_exempt[id]) continue;
        assert_true(metric_table[id].kind != METRIC_GAUGE); /* they are now, not in the past */
        c.id = (enum metric_id)id;
        for (c.label = 0; c.label < metrics_n_labels(m, c.id); c.label++)
            check_series(&c, buf_str(&text), json);
        c.label = -1; /* of all together */
        check_series(&c, buf_str(&text), json);
    }
    for (int w = 0; w <= METRICS_ALL; w++) json_object_put(json[w]);
    buf_clear(&text);
    return c.n_compared;
}
