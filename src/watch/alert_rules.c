/* The alerts' rules: their table, how each value is read from metrics, how each message reads. */
#include "watch/alert_rules.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"

/* A hit rate of a tenth or less is nothing that could collapse: a new project, a cache that is switched off.
 */
#define USUAL_HIT_RATE_MIN 0.1

/* Levels of METRIC_CACHE_BYTES that are files with a ceiling. */
enum { LEVEL_DISK = 1, LEVEL_PROJECT = 2 };

/* The thresholds of the first, third and fourth are the product's: an average above 1 s, nine tenths of the
 * memory, one request in twenty. Each resolves some way below, so that a value that stays near is told once.
 * Where `min_count` is small, the window is short and few requests already mean that somebody waits. */
const struct alert_rule alert_rules[] = {
    {.name = "slow-completions",
     .measure = ALERT_MEAN_SECONDS,
     .window = METRICS_MINUTE,
     .threshold = 1.0,
     .resolved = 0.8,
     .for_s = 10,
     .min_count = 5,
     .severity = ALERT_WARNING,
     .what = "completions took {value} on average in the last {window}; the limit is {limit}",
     .todo = "`inline explain last` tells where the time goes; a smaller model answers sooner"},
    /* Four times the target for the median of computed completions: the slow tail of a machine that keeps
     * its targets ends below it. */
    {.name = "slow-p95",
     .measure = ALERT_P95_SECONDS,
     .window = METRICS_QUARTER,
     .threshold = 2.0,
     .resolved = 1.6,
     .for_s = 60,
     .min_count = 20,
     .severity = ALERT_WARNING,
     .what = "one of 20 completions took {value} or longer in the last {window}; the limit is {limit}",
     .todo = "`inline explain` tells where a request's time goes; `inline doctor` what the machine lacks"},
    {.name = "memory",
     .measure = ALERT_MEMORY_SHARE,
     .threshold = 0.90,
     .resolved = 0.85,
     .for_s = 10,
     .min_count = 1,
     .severity = ALERT_CRITICAL,
     .what = "{value} of the memory is in use; the limit is {limit}",
     .todo = "`inline status` tells what takes it; use a smaller model, or close other programs"},
    {.name = "errors",
     .measure = ALERT_ERROR_SHARE,
     .window = METRICS_QUARTER,
     .threshold = 0.05,
     .resolved = 0.02,
     .for_s = 10,
     .min_count = 20,
     .severity = ALERT_WARNING,
     .what = "{value} of the requests of the last {window} failed; the limit is {limit}",
     .todo = "the daemon's log tells why; `inline explain` tells of a single request"},
    /* Against the day's rate, since what is usual differs with project and way of working. */
    {.name = "hit-rate",
     .measure = ALERT_HIT_RATE,
     .window = METRICS_QUARTER,
     .threshold = 0.5,
     .resolved = 0.7,
     .is_below = true,
     .for_s = 60,
     .min_count = 50,
     .severity = ALERT_INFO,
     .what = "the caches' hit rate of the last {window} is {value} of the day's; the limit is {limit}",
     .todo = "usual in new code or with another model; else `inline cache stats` tells what is kept"},
    {.name = "cache-disk",
     .measure = ALERT_DISK_SHARE,
     .threshold = 1.05,
     .resolved = 1.0,
     .for_s = 60,
     .min_count = 1,
     .severity = ALERT_WARNING,
     .what = "the {which} cache takes {value} of the space that it may; the limit is {limit}",
     .todo = "the log tells why nothing can be deleted; `inline cache clear` empties it"},
    {.name = "remote-down",
     .measure = ALERT_REMOTE_DOWN,
     .threshold = 0,
     .resolved = 0,
     .for_s = 10,
     .min_count = 1,
     .severity = ALERT_WARNING,
     .what = "no answer from {which}",
     .todo = "Inline goes on without it; look after that server, or take it out of the configuration"},
};
const int32_t alert_n_rules = sizeof alert_rules / sizeof *alert_rules;
_Static_assert(sizeof alert_rules / sizeof *alert_rules <= ALERT_RULES_MAX, "callers rely on it");

const char *alert_severity_name(enum alert_severity severity)
{
    static const char *const names[] = {
        [ALERT_INFO] = "info", [ALERT_WARNING] = "warning", [ALERT_CRITICAL] = "critical"};
    return names[severity];
}

/* --- Values ------------------------------------------------------------------------------------------- */

static struct metrics_figure figure_of(const struct metrics *m, enum metric_id id, int32_t label,
                                       enum metrics_window w)
{
    struct metrics_figure f;
    metrics_figure(m, id, label, w, &f);
    return f;
}

static void read_mean(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    struct metrics_figure cached = figure_of(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, w);
    struct metrics_figure computed = figure_of(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_COMPUTED, w);
    r->n = cached.n + computed.n;
    if (r->n > 0) r->value = (cached.sum + computed.sum) / (double)r->n;
}

static void read_p95(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    struct metrics_figure computed = figure_of(m, METRIC_REQUEST_SECONDS, METRIC_ANSWER_COMPUTED, w);
    r->n = computed.n;
    r->value = computed.p95;
}

/* A share of 0 is one that was never set. */
static void read_memory(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    (void)w;
    r->value = metrics_value(m, METRIC_MEMORY_SHARE, 0);
    r->n = r->value > 0;
}

static void read_errors(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    int64_t failed = 0, answered = figure_of(m, METRIC_REQUESTS, METRIC_OUTCOME_OK, w).n;
    for (int32_t kind = METRIC_ERROR_UNAVAILABLE; kind <= METRIC_ERROR_INTERNAL; kind++)
        failed += figure_of(m, METRIC_ERRORS, kind, w).n;
    r->n = failed + answered;
    if (r->n > 0) r->value = (double)failed / (double)r->n;
}

/* -1: nobody asked the caches. */
static double hit_rate(const struct metrics *m, enum metrics_window w, int64_t *n)
{
    int64_t hits = figure_of(m, METRIC_CACHE_HITS, -1, w).n;
    *n = hits + figure_of(m, METRIC_CACHE_MISSES, -1, w).n;
    return *n > 0 ? (double)hits / (double)*n : -1;
}

static void read_hit_rate(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    int64_t n_day;
    double usual = hit_rate(m, METRICS_DAY, &n_day), now = hit_rate(m, w, &r->n);
    if (usual >= USUAL_HIT_RATE_MIN && r->n > 0) {
        r->value = now / usual;
    } else {
        r->n = 0;
    }
}

static void read_disk(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    (void)w;
    for (int32_t level = LEVEL_DISK; level <= LEVEL_PROJECT; level++) {
        double max = metrics_value(m, METRIC_CACHE_MAX_BYTES, level);
        double share = max > 0 ? metrics_value(m, METRIC_CACHE_BYTES, level) / max : -1;
        if (share < 0 || (r->n > 0 && share <= r->value)) continue;
        r->value = share;
        r->n = 1;
        snprintf(r->which, sizeof r->which, "%s", metrics_label_text(m, METRIC_CACHE_BYTES, level));
    }
}

static void read_remotes(const struct metrics *m, enum metrics_window w, struct alert_reading *r)
{
    (void)w;
    r->n = metrics_n_labels(m, METRIC_REMOTE_UP);
    for (int32_t i = 0; i < r->n; i++) {
        size_t len = strlen(r->which);
        if (metrics_value(m, METRIC_REMOTE_UP, i) > 0) continue;
        r->value++;
        snprintf(r->which + len, sizeof r->which - len, "%s%s", len > 0 ? ", " : "",
                 metrics_label_text(m, METRIC_REMOTE_UP, i));
    }
}

enum unit { UNIT_SECONDS, UNIT_SHARE, UNIT_COUNT };

/* In the order of enum alert_measure. moves_alone: it changes also where nothing happens any more, since its
 * window empties, or other programs have a part in it. */
static const struct {
    void (*read)(const struct metrics *m, enum metrics_window w, struct alert_reading *r);
    enum unit unit;
    bool moves_alone;
} measures[] = {
    [ALERT_MEAN_SECONDS] = {read_mean, UNIT_SECONDS, true},
    [ALERT_P95_SECONDS] = {read_p95, UNIT_SECONDS, true},
    [ALERT_MEMORY_SHARE] = {read_memory, UNIT_SHARE, true},
    [ALERT_ERROR_SHARE] = {read_errors, UNIT_SHARE, true},
    [ALERT_HIT_RATE] = {read_hit_rate, UNIT_SHARE, true},
    [ALERT_DISK_SHARE] = {read_disk, UNIT_SHARE, false},
    [ALERT_REMOTE_DOWN] = {read_remotes, UNIT_COUNT, false},
};

void alert_rules_read(const struct alert_rule *rule, const struct metrics *m, struct alert_reading *out)
{
    *out = (struct alert_reading){0};
    measures[rule->measure].read(m, rule->window, out);
}

bool alert_rules_moves_alone(const struct alert_rule *rule)
{
    return measures[rule->measure].moves_alone;
}

/* --- Messages ----------------------------------------------------------------------------------------- */

/* Three digits, and none lost before the point. */
static void add_number(struct buf *out, double value, const char *unit)
{
    buf_printf(out, value < 100 ? "%.3g%s" : "%.0f%s", value, unit);
}

static void add_value(struct buf *out, enum unit unit, double value)
{
    switch (unit) {
    case UNIT_SECONDS:
        add_number(out, value < 1 ? value * 1e3 : value, value < 1 ? " ms" : " s");
        break;
    case UNIT_SHARE:
        add_number(out, value * 100, " %");
        break;
    case UNIT_COUNT:
        add_number(out, value, "");
        break;
    }
}

static const char *window_text(enum metrics_window w)
{
    static const char *const texts[] = {[METRICS_MINUTE] = "minute",
                                        [METRICS_QUARTER] = "15 minutes",
                                        [METRICS_DAY] = "24 hours",
                                        [METRICS_ALL] = "days"};
    return texts[w];
}

static void add_part(struct buf *out, const struct alert_rule *rule, const struct alert_reading *r,
                     const char *name, size_t len)
{
    if (strncmp(name, "value", len) == 0) {
        add_value(out, measures[rule->measure].unit, r->value);
    } else if (strncmp(name, "limit", len) == 0) {
        add_value(out, measures[rule->measure].unit, rule->threshold);
    } else if (strncmp(name, "window", len) == 0) {
        buf_add_str(out, window_text(rule->window));
    } else {
        buf_add_str(out, r->which);
    }
}

void alert_rules_message(const struct alert_rule *rule, const struct alert_reading *r, char *message,
                         size_t size)
{
    struct buf out;
    buf_init(&out, 4 * size); /* a name in {which} is bounded, as is the rest */
    for (const char *at = rule->what; *at;) {
        size_t len = strcspn(at, "{");
        buf_add(&out, at, len);
        at += len;
        if (!*at) break;
        len = strcspn(at + 1, "}");
        add_part(&out, rule, r, at + 1, len);
        at += len + 2;
    }
    snprintf(message, size, "%s", buf_str(&out));
    buf_clear(&out);
}
