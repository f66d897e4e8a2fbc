/* See status_figures.h. Which metrics and labels there are, and what is normal, is metric_table.c's: where a
 * line lists the values of a label, it lists those of the table. */
#include "cli/status_figures.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "cli/answer.h"
#include "cli/figures.h"

#define SHOWN  0     /* of METRIC_SUGGESTIONS: what may be accepted */
#define WINDOW "15m" /* long enough for a p95, short enough to be about now */

/* Names and messages come from files, settings and other servers. */
static void add_safe(struct buf *out, const char *text)
{
    (void)answer_add_safe(out, text, INT32_MAX, true);
}

/* --- Alerts --------------------------------------------------------------------------------------------- */

void status_add_alerts(const struct json_value *status, struct buf *out)
{
    const struct json_value *alerts = json_get(status, "alerts");
    bool is_first = true;
    for (size_t i = 0; i < json_count(alerts); i++) {
        const struct json_value *a = json_at(alerts, i);
        if (!answer_flag(a, "firing")) continue;
        if (is_first) buf_add_str(out, "\nalerts\n");
        is_first = false;
        buf_printf(out, "  %-9s ", answer_text(a, "severity"));
        add_safe(out, answer_text(a, "message"));
        if (*answer_text(a, "todo")) buf_add_str(out, "; ");
        add_safe(out, answer_text(a, "todo"));
        buf_add_char(out, '\n');
    }
}

/* --- Figures -------------------------------------------------------------------------------------------- */

/* Targets on this series, "; target p95 at most 500 ms: missed"; a rate is the only figure there is. */
static void add_targets(const struct json_value *figures, enum metric_id id, int32_t label, struct buf *out)
{
    char text[FIGURES_TEXT_MAX];
    for (int32_t i = 0; i < metric_n_targets; i++) {
        const struct metric_target *t = &metric_targets[i];
        struct figures_verdict verdict = figures_judge(figures, t);
        if (t->metric != id || t->label != label || !verdict.is_known) continue;
        bool is_rate = strcmp(t->figure, "rate") == 0;
        buf_printf(out, "; target %s%sat %s %s: %s", is_rate ? "" : t->figure, is_rate ? "" : " ",
                   t->is_at_least ? "least" : "most", figures_text(t->value, figures_target_unit(t), text),
                   verdict.is_met ? "met" : "missed");
    }
}

static void add_latency(const struct json_value *figures, enum metric_answer answer, struct buf *out)
{
    char name[32], n[FIGURES_TEXT_MAX], p50[FIGURES_TEXT_MAX], p95[FIGURES_TEXT_MAX];
    double median, high;
    if (!figures_get(figures, METRIC_REQUEST_SECONDS, answer, "p50", &median)) return;
    (void)figures_get(figures, METRIC_REQUEST_SECONDS, answer, "p95", &high);
    (void)metric_label_name(METRIC_REQUEST_SECONDS, answer, name);
    buf_printf(out, "  %-9s %s: p50 %s, p95 %s", name,
               figures_count(figures_n(figures, METRIC_REQUEST_SECONDS, answer), n),
               figures_text(median, "seconds", p50), figures_text(high, "seconds", p95));
    add_targets(figures, METRIC_REQUEST_SECONDS, answer, out);
    buf_add_char(out, '\n');
}

/* The time that a stage took of all requests together. */
static double stage_seconds(const struct json_value *figures, int32_t stage)
{
    double mean;
    (void)figures_get(figures, METRIC_STAGE_SECONDS, stage, "mean", &mean);
    return mean * figures_n(figures, METRIC_STAGE_SECONDS, stage);
}

static void add_stages(const struct json_value *figures, struct buf *out)
{
    double all = 0;
    const char *between = "  time      ";
    for (int32_t i = 0; i < METRIC_N_STAGES; i++) all += stage_seconds(figures, i);
    if (all <= 0) return;
    for (int32_t i = 0; i < METRIC_N_STAGES; i++) {
        char name[32], share[FIGURES_TEXT_MAX];
        double seconds = stage_seconds(figures, i);
        if (seconds < all / 1000 || !metric_label_name(METRIC_STAGE_SECONDS, i, name)) continue;
        buf_printf(out, "%s%s %s", between, name, figures_text(seconds / all, "ratio", share));
        between = ", ";
    }
    buf_add_char(out, '\n');
}

static void add_parts(const struct json_value *figures, enum metric_id id, int32_t whole, const char *head,
                      struct buf *out)
{
    if (figures_sum(figures, id, "n") <= 0) return;
    buf_printf(out, "  %-9s ", head);
    figures_add_parts(figures, id, whole, out);
    buf_add_char(out, '\n');
}

static void add_hit_rate(const struct json_value *figures, struct buf *out)
{
    double rate;
    char text[FIGURES_TEXT_MAX];
    if (!figures_rate(figures, METRIC_CACHE_HITS, &rate)) return;
    buf_printf(out, "  hit rate  %s", figures_text(rate, "ratio", text));
    add_targets(figures, METRIC_CACHE_HITS, -1, out);
    buf_add_char(out, '\n');
}

static void add_drafts(const struct json_value *figures, struct buf *out)
{
    char text[FIGURES_TEXT_MAX];
    double rate;
    if (!figures_rate(figures, METRIC_ACCEPTED_TOKENS, &rate)) return;
    buf_printf(out, "  drafts    %s",
               figures_text(figures_n(figures, METRIC_DRAFTED_TOKENS, 0), "tokens", text));
    buf_printf(out, ", %s of them accepted\n", figures_text(rate, "ratio", text));
}

static void add_errors(const struct json_value *figures, struct buf *out)
{
    char requests[FIGURES_TEXT_MAX], errors[FIGURES_TEXT_MAX], share[FIGURES_TEXT_MAX];
    double rate;
    (void)figures_rate(figures, METRIC_ERRORS, &rate);
    buf_printf(out, "  requests  %s, errors %s (%s)",
               figures_count(figures_sum(figures, METRIC_REQUESTS, "n"), requests),
               figures_count(figures_sum(figures, METRIC_ERRORS, "n"), errors),
               figures_text(rate, "ratio", share));
    add_targets(figures, METRIC_ERRORS, -1, out);
    buf_add_char(out, '\n');
}

void status_add_figures(const struct json_value *status, struct buf *out)
{
    const struct json_value *figures = figures_of(status, WINDOW);
    if (!figures) return;
    buf_add_str(out, "\nlast quarter of an hour\n");
    if (figures_sum(figures, METRIC_REQUESTS, "n") <= 0) {
        buf_add_str(out, "  nothing was asked\n");
        return;
    }
    add_errors(figures, out);
    add_latency(figures, METRIC_ANSWER_CACHED, out);
    add_latency(figures, METRIC_ANSWER_COMPUTED, out);
    add_stages(figures, out);
    add_hit_rate(figures, out);
    add_parts(figures, METRIC_CACHE_HITS, -1, "found", out);
    add_parts(figures, METRIC_CACHE_MISSES, -1, "missed", out);
    add_parts(figures, METRIC_PROMPT_TOKENS, -1, "prompts", out);
    add_drafts(figures, out);
    add_parts(figures, METRIC_SUGGESTIONS, SHOWN, "editors", out);
    add_parts(figures, METRIC_KEPT, -1, "accepted", out);
}

/* --- All metrics ---------------------------------------------------------------------------------------- */

#define NAME_COLUMNS  44 /* the longest name and "  LABEL=VALUE" fit */
#define VALUE_COLUMNS 14

struct listing {
    const struct metric_row *row;
    struct buf *out;
};

static void add_cell(struct buf *out, const char *text, size_t columns)
{
    size_t at = out->len;
    add_safe(out, text);
    do buf_add_char(out, ' ');
    while (!out->err && out->len - at < columns);
}

static void add_value(const struct metric_row *row, const struct json_value *series, struct buf *out)
{
    char text[FIGURES_TEXT_MAX], p50[FIGURES_TEXT_MAX], p95[FIGURES_TEXT_MAX];
    double value = 0;
    if (row->kind == METRIC_HISTOGRAM) {
        buf_printf(out, "%s times, p50 %s, p95 %s", figures_count(answer_num(series, "n"), text),
                   figures_text(answer_num(series, "p50"), row->unit, p50),
                   figures_text(answer_num(series, "p95"), row->unit, p95));
    } else {
        if (json_is_object(series))
            value = answer_num(series, "n");
        else
            (void)json_get_num(series, &value);
        buf_add_str(out, figures_text(value, row->unit, text));
    }
    buf_add_char(out, '\n');
}

static bool add_series(void *ctx, const char *label, const struct json_value *series)
{
    const struct listing *l = ctx;
    struct buf name;
    if (!*label) return true;
    buf_init(&name, 1024);
    buf_printf(&name, "  %s=%s", l->row->label, label);
    add_cell(l->out, buf_str(&name), NAME_COLUMNS);
    buf_clear(&name);
    add_value(l->row, series, l->out);
    return true;
}

static void add_metric(const struct metric_row *row, const struct json_value *figures, struct buf *out)
{
    struct listing l = {.row = row, .out = out};
    const struct json_value *metric = json_get(figures, row->name), *alone = json_get(metric, "");
    add_cell(out, row->name, NAME_COLUMNS);
    if (alone)
        add_value(row, alone, out);
    else if (row->label)
        buf_printf(out, "%s, by %s\n", row->unit, row->label);
    else
        buf_printf(out, "0 %s\n", row->unit); /* nothing was recorded */
    buf_printf(out, "  # %s\n", row->help);
    if (json_is_object(metric)) json_each(metric, add_series, &l);
}

void status_add_metrics(const struct json_value *status, struct buf *out)
{
    const struct json_value *figures = figures_of(status, "all");
    for (int32_t i = 0; i < METRIC_N; i++) add_metric(&metric_table[i], figures, out);
}
