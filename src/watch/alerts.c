/* Alerts: when a rule fires and resolves, and what was told. See alerts.h. */
#include "watch/alerts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "watch/alert_rules.h"

#define RULE_MAX_LEN 128   /* of one in the settings, with its NUL */
#define NAME_MAX_LEN 32    /* of its name */
#define FOR_MAX_S    86400 /* a day: the longest window */

struct watched {
    struct alert_rule rule; /* with the settings' figures */
    bool is_off;
    int32_t firing_label, count_label; /* of METRIC_ALERT_FIRING and METRIC_ALERTS */
    bool is_turning;                   /* what would change it holds, since turning_ns */
    int64_t turning_ns;
    struct alert alert; /* while it fires */
};

struct alerts {
    struct metrics *metrics; /* borrowed */
    struct watched watched[ALERT_RULES_MAX];
    struct alert over[ALERTS_KEPT]; /* a ring: number i, from 0, is at i % ALERTS_KEPT */
    int64_t n_over;                 /* in all */
    void (*on_change)(void *ctx, const struct alert *alert);
    void *ctx;
};

/* --- Firing and resolving ----------------------------------------------------------------------------- */

static void fire(struct alerts *a, struct watched *w, const struct alert_reading *r, int64_t now_us)
{
    w->alert = (struct alert){.rule = &w->rule,
                              .is_firing = true,
                              .value = r->value,
                              .threshold = w->rule.threshold,
                              .since_us = now_us};
    alert_rules_message(&w->rule, r, w->alert.message, sizeof w->alert.message);
    metrics_set(a->metrics, METRIC_ALERT_FIRING, w->firing_label, 1);
    metrics_add(a->metrics, METRIC_ALERTS, w->count_label, 1);
    if (a->on_change) a->on_change(a->ctx, &w->alert);
}

static void resolve(struct alerts *a, struct watched *w, int64_t now_us)
{
    struct alert *over = &a->over[a->n_over++ % ALERTS_KEPT];
    *over = w->alert;
    over->is_firing = w->alert.is_firing = false;
    over->until_us = now_us;
    metrics_set(a->metrics, METRIC_ALERT_FIRING, w->firing_label, 0);
    if (a->on_change) a->on_change(a->ctx, over);
}

static bool is_beyond(const struct alert_rule *rule, double value, double limit)
{
    return rule->is_below ? value < limit : value > limit;
}

/* Whether what was read speaks for the other state than the one that the rule is in. Few observations do not
 * make it fire, but may end it; none at all end it too. */
static bool speaks_for_change(const struct watched *w, const struct alert_reading *r)
{
    if (w->alert.is_firing) return r->n == 0 || !is_beyond(&w->rule, r->value, w->rule.resolved);
    return r->n >= w->rule.min_count && is_beyond(&w->rule, r->value, w->rule.threshold);
}

static void judge(struct alerts *a, struct watched *w, int64_t now_ns, int64_t now_us)
{
    struct alert_reading r;
    alert_rules_read(&w->rule, a->metrics, &r);
    if (w->alert.is_firing && r.n > 0) w->alert.value = r.value;
    if (!speaks_for_change(w, &r)) {
        w->is_turning = false;
        return;
    }
    if (!w->is_turning) w->turning_ns = now_ns;
    w->is_turning = true;
    if ((double)(now_ns - w->turning_ns) < w->rule.for_s * 1e9) return;
    w->is_turning = false;
    if (w->alert.is_firing) {
        resolve(a, w, now_us);
    } else {
        fire(a, w, &r, now_us);
    }
}

void alerts_look(struct alerts *a, int64_t now_ns, int64_t now_us)
{
    for (int32_t i = 0; i < alert_n_rules; i++) {
        if (!a->watched[i].is_off) judge(a, &a->watched[i], now_ns, now_us);
    }
}

bool alerts_is_calm(const struct alerts *a)
{
    for (int32_t i = 0; i < alert_n_rules; i++) {
        const struct watched *w = &a->watched[i];
        if (w->is_turning || (w->alert.is_firing && alert_rules_moves_alone(&w->rule))) return false;
    }
    return true;
}

void alerts_on_change(struct alerts *a, void (*fn)(void *ctx, const struct alert *alert), void *ctx)
{
    a->on_change = fn;
    a->ctx = ctx;
}

/* --- Settings ----------------------------------------------------------------------------------------- */

static struct watched *find_rule(struct alerts *a, const char *name, struct errmsg *msg)
{
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (int32_t i = 0; i < alert_n_rules; i++) {
        nearest_offer(&nearest, alert_rules[i].name);
        if (strcmp(alert_rules[i].name, name) == 0) return &a->watched[i];
    }
    if (nearest.best) {
        err_set(msg, ERR_ARG, "alerts.rules: there is no alert \"%s\"; did you mean %s?", name, nearest.best);
    } else {
        err_set(msg, ERR_ARG, "alerts.rules: there is no alert \"%s\"; the first of them is %s", name,
                alert_rules[0].name);
    }
    return NULL;
}

/* A number of at least 0 at *at, which is moved behind it. */
static bool take_number(const char **at, double *out)
{
    char *end;
    *out = strtod(*at, &end);
    bool is_number = end != *at && isfinite(*out) && *out >= 0;
    *at = end;
    return is_number;
}

static bool take_window(const char **at, enum metrics_window *out)
{
    for (int w = METRICS_MINUTE; w <= METRICS_DAY; w++) {
        const char *name = metrics_window_name((enum metrics_window)w);
        if (strcmp(*at, name) != 0) continue;
        *out = (enum metrics_window)w;
        *at += strlen(name);
        return true;
    }
    return false;
}

/* "0.5", "0.5/10" or "0.5/10/1m". */
static bool read_figures(const char *text, struct alert_rule *rule)
{
    double threshold, usual = rule->threshold;
    if (!take_number(&text, &threshold)) return false;
    rule->threshold = threshold;
    rule->resolved = usual > 0 ? rule->resolved * threshold / usual : threshold;
    if (*text == '/' && (text++, !take_number(&text, &rule->for_s) || rule->for_s > FOR_MAX_S)) return false;
    if (*text == '/' && (text++, !take_window(&text, &rule->window))) return false;
    return *text == '\0';
}

/* NAME=off or NAME=FIGURES. */
static enum err read_rule(struct alerts *a, const char *text, struct errmsg *msg)
{
    char name[NAME_MAX_LEN];
    size_t len = strcspn(text, "=");
    snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), text);
    if (text[len] != '=') return err_set(msg, ERR_ARG, "alerts.rules: \"%s\" is no NAME=THRESHOLD", text);
    struct watched *w = find_rule(a, name, msg);
    if (!w) return ERR_ARG;
    const char *figures = text + len + 1;
    w->rule = alert_rules[w - a->watched];
    w->is_off = strcmp(figures, "off") == 0;
    if (w->is_off || read_figures(figures, &w->rule)) return OK;
    return err_set(msg, ERR_ARG,
                   "alerts.rules: %s: \"%s\" is none of off, THRESHOLD, THRESHOLD/SECONDS and "
                   "THRESHOLD/SECONDS/WINDOW (1m, 15m, 24h)",
                   name, figures);
}

static enum err read_rules(struct alerts *a, const char *text, struct errmsg *msg)
{
    enum err err = OK;
    while (!err && *(text += strspn(text, " "))) {
        char rule[RULE_MAX_LEN];
        size_t len = strcspn(text, ","), trimmed = len;
        while (trimmed > 0 && text[trimmed - 1] == ' ') trimmed--;
        if (trimmed >= sizeof rule)
            return err_set(msg, ERR_ARG, "alerts.rules: \"%.32s...\" is no NAME=THRESHOLD", text);
        snprintf(rule, sizeof rule, "%.*s", (int)trimmed, text);
        err = read_rule(a, rule, msg);
        text += len;
        text += *text == ',';
    }
    return err;
}

enum err alerts_new(const struct alert_options *o, struct metrics *m, struct alerts **out, struct errmsg *msg)
{
    struct alerts *a = MEM_NEW(struct alerts);
    a->metrics = m;
    for (int32_t i = 0; i < alert_n_rules; i++) {
        struct watched *w = &a->watched[i];
        w->rule = alert_rules[i];
        w->firing_label = metrics_label(m, METRIC_ALERT_FIRING, w->rule.name);
        w->count_label = metrics_label(m, METRIC_ALERTS, w->rule.name);
        metrics_set(m, METRIC_ALERT_FIRING, w->firing_label, 0);
    }
    enum err err = read_rules(a, o->rules ? o->rules : "", msg);
    if (err) alerts_free(&a);
    *out = a;
    return err;
}

void alerts_free(struct alerts **a)
{
    mem_free(*a);
    *a = NULL;
}

/* --- Looking at them ---------------------------------------------------------------------------------- */

int32_t alerts_n_firing(const struct alerts *a)
{
    int32_t n = 0;
    for (int32_t i = 0; i < alert_n_rules; i++) n += a->watched[i].alert.is_firing;
    return n;
}

static int newest_first(const void *a, const void *b)
{
    const struct alert *x = a, *y = b;
    return (x->since_us < y->since_us) - (x->since_us > y->since_us);
}

int32_t alerts_list(const struct alerts *a, struct alert *out, int32_t max)
{
    struct alert firing[ALERT_RULES_MAX];
    int32_t n_firing = 0, n = 0;
    for (int32_t i = 0; i < alert_n_rules; i++) {
        if (a->watched[i].alert.is_firing) firing[n_firing++] = a->watched[i].alert;
    }
    qsort(firing, (size_t)n_firing, sizeof *firing, newest_first);
    for (int32_t i = 0; i < n_firing && n < max; i++) out[n++] = firing[i];
    int64_t n_kept = a->n_over < ALERTS_KEPT ? a->n_over : ALERTS_KEPT;
    for (int64_t i = 1; i <= n_kept && n < max && n < ALERTS_KEPT; i++)
        out[n++] = a->over[(a->n_over - i) % ALERTS_KEPT];
    return n;
}

static void write_alert(const struct alert *alert, struct json *j)
{
    json_begin_object(j, NULL);
    json_str(j, "name", alert->rule->name);
    json_str(j, "severity", alert_severity_name(alert->rule->severity));
    json_flag(j, "firing", alert->is_firing);
    json_num(j, "value", alert->value, 3);
    json_num(j, "threshold", alert->threshold, 3);
    json_int(j, "since_ms", alert->since_us / 1000);
    json_int(j, "until_ms", alert->until_us / 1000);
    json_str(j, "message", alert->message);
    json_str(j, "todo", alert->rule->todo);
    json_end_object(j);
}

static void write_rule(const struct watched *w, struct json *j)
{
    json_begin_object(j, NULL);
    json_str(j, "name", w->rule.name);
    json_str(j, "severity", alert_severity_name(w->rule.severity));
    json_flag(j, "off", w->is_off);
    json_flag(j, "firing", w->alert.is_firing);
    json_num(j, "threshold", w->rule.threshold, 3);
    json_num(j, "resolved", w->rule.resolved, 3);
    json_flag(j, "below", w->rule.is_below);
    json_num(j, "for_s", w->rule.for_s, 1);
    json_int(j, "min_count", w->rule.min_count);
    json_str(j, "window", metrics_window_name(w->rule.window));
    json_end_object(j);
}

void alerts_write(const struct alerts *a, struct json *j)
{
    struct alert list[ALERTS_KEPT];
    int32_t n = alerts_list(a, list, ALERTS_KEPT);
    json_begin_array(j, "alerts");
    for (int32_t i = 0; i < n; i++) write_alert(&list[i], j);
    json_end_array(j);
    json_begin_array(j, "rules");
    for (int32_t i = 0; i < alert_n_rules; i++) write_rule(&a->watched[i], j);
    json_end_array(j);
}
