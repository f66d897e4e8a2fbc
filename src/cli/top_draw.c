/* See top_draw.h. A section is a function that adds lines to a canvas; each says how dispensable its lines
 * are. Which metrics, labels and targets there are is metric_table.c's. */
#include "cli/top_draw.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/size.h"
#include "cli/answer.h"
#include "cli/canvas.h"
#include "cli/figures.h"

/* How soon a line goes where the terminal is not high enough. */
enum rank { ALWAYS, HEADLINE, REQUEST, USEFUL, DETAIL, MORE_MODELS, MORE_REQUESTS };

#define HEAD_COLUMNS   11 /* "completions" */
#define BAR_COLUMNS    20
#define STAGE_COLUMNS  40 /* name, mean, bar, share, and a space: two fit into 80 */
#define STAGE_BAR      9
#define ALERTS_SHOWN   4
#define MODELS_SHOWN   2 /* more are there where there is room */
#define REQUESTS_FIRST 5 /* likewise */
#define SHOWN          0 /* of METRIC_SUGGESTIONS: what may be accepted */
#define PIECE_MAX      1024

static void begin(struct canvas *c, enum rank rank, const char *head)
{
    canvas_line(c, (int32_t)rank);
    canvas_put(c, CANVAS_BOLD, "%s", head);
    canvas_to(c, HEAD_COLUMNS);
}

/* --- Head ---------------------------------------------------------------------------------------------- */

static void draw_head(const struct top_view *v, struct canvas *c)
{
    struct buf up;
    canvas_line(c, ALWAYS);
    canvas_put(c, CANVAS_BOLD, "inline %s", answer_text(v->status, "version"));
    if (v->status) {
        buf_init(&up, PIECE_MAX);
        answer_add_time(&up, answer_num(v->status, "uptime_s"));
        canvas_put(c, CANVAS_PLAIN, "  process %" PRId64 ", up %s, %" PRId64 " running",
                   answer_int(v->status, "pid"), buf_str(&up), answer_int(v->status, "running"));
        buf_clear(&up);
    }
    canvas_put(c, CANVAS_DIM, "  last ");
    canvas_put(c, CANVAS_BOLD, "%s", v->window);
    if (v->is_paused) canvas_put(c, CANVAS_REVERSE, " paused ");
}

static void draw_away(const struct top_view *v, struct canvas *c)
{
    if (!v->away) return;
    canvas_line(c, ALWAYS);
    canvas_put(c, CANVAS_BAD, "no daemon for %.0f s", v->away_s);
    canvas_put(c, CANVAS_PLAIN, ", trying again; %s", v->away);
}

static void draw_alerts(const struct top_view *v, struct canvas *c)
{
    const struct json_value *alerts = json_get(v->status, "alerts");
    int32_t n = 0;
    for (size_t i = 0; i < json_count(alerts) && n < ALERTS_SHOWN; i++) {
        const struct json_value *a = json_at(alerts, i);
        const char *severity = answer_text(a, "severity");
        if (!answer_flag(a, "firing")) continue;
        canvas_line(c, n++ == 0 ? ALWAYS : USEFUL);
        canvas_put(c, strcmp(severity, "critical") == 0 ? CANVAS_BAD : CANVAS_WARNING, "%s", severity);
        canvas_put(c, CANVAS_PLAIN, "  %s", answer_text(a, "message"));
    }
}

/* --- Requests and latency ------------------------------------------------------------------------------ */

/* "p50 <= 100 ms met", of the first target on the series. */
static void put_target(struct canvas *c, const struct json_value *figures, enum metric_id id, int32_t label)
{
    char text[FIGURES_TEXT_MAX];
    for (int32_t i = 0; i < metric_n_targets; i++) {
        const struct metric_target *t = &metric_targets[i];
        if (t->metric != id || t->label != label) continue;
        struct figures_verdict verdict = figures_judge(figures, t);
        bool is_rate = strcmp(t->figure, "rate") == 0 || strcmp(t->figure, "value") == 0;
        canvas_put(c, CANVAS_DIM, "  target %s%s%s %s ", is_rate ? "" : t->figure, is_rate ? "" : " ",
                   t->is_at_least ? ">=" : "<=", figures_text(t->value, figures_target_unit(t), text));
        if (verdict.is_known)
            canvas_put(c, verdict.is_met ? CANVAS_GOOD : CANVAS_WARNING, "%s",
                       verdict.is_met ? "met" : "missed");
        return;
    }
}

static void draw_requests(const struct top_view *v, const struct json_value *figures, struct canvas *c)
{
    char n[FIGURES_TEXT_MAX], errors[FIGURES_TEXT_MAX], share[FIGURES_TEXT_MAX];
    double rate;
    (void)figures_rate(figures, METRIC_ERRORS, &rate);
    begin(c, HEADLINE, "requests");
    canvas_put(c, CANVAS_PLAIN, "%s  %.2f/s  ", figures_count(figures_sum(figures, METRIC_REQUESTS, "n"), n),
               figures_sum(figures, METRIC_REQUESTS, "per_second"));
    canvas_put(c, rate > 0 ? CANVAS_WARNING : CANVAS_PLAIN, "errors %s (%s)  ",
               figures_count(figures_sum(figures, METRIC_ERRORS, "n"), errors),
               figures_text(rate, "ratio", share));
    canvas_spark(c, v->requests_a_look.values, v->requests_a_look.n, canvas_left(c));
}

static void draw_latency(const struct json_value *figures, enum metric_answer answer, struct canvas *c)
{
    static const char *const quantiles[] = {"p50", "p95", "p99"};
    char name[32], text[FIGURES_TEXT_MAX];
    double value;
    (void)metric_label_name(METRIC_REQUEST_SECONDS, answer, name);
    begin(c, HEADLINE, name);
    if (!figures_get(figures, METRIC_REQUEST_SECONDS, answer, "p50", &value)) {
        canvas_put(c, CANVAS_DIM, "none");
        return;
    }
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        (void)figures_get(figures, METRIC_REQUEST_SECONDS, answer, quantiles[i], &value);
        canvas_put(c, CANVAS_DIM, "%s ", quantiles[i]);
        canvas_put(c, CANVAS_PLAIN, "%-8s ", figures_text(value, "seconds", text));
    }
    put_target(c, figures, METRIC_REQUEST_SECONDS, answer);
}

static void draw_latency_spark(const struct top_view *v, struct canvas *c)
{
    if (v->latency_ms.n == 0) return;
    char text[FIGURES_TEXT_MAX];
    begin(c, USEFUL, "latency");
    canvas_put(c, CANVAS_PLAIN, "%-8s ",
               figures_text((double)v->latency_ms.values[v->latency_ms.n - 1] / 1000, "seconds", text));
    canvas_spark(c, v->latency_ms.values, v->latency_ms.n, canvas_left(c));
}

/* --- Stages --------------------------------------------------------------------------------------------- */

struct stage {
    double seconds, mean; /* of all requests together, of one */
};

static void put_stage(struct canvas *c, int32_t i, const struct stage *stage, double all)
{
    char name[32], text[FIGURES_TEXT_MAX];
    int32_t at = c->column;
    (void)metric_label_name(METRIC_STAGE_SECONDS, i, name);
    canvas_put(c, CANVAS_PLAIN, "  %-13s %8s ", name, figures_text(stage->mean, "seconds", text));
    int32_t room = canvas_left(c) - 5; /* without that of the share */
    canvas_bar(c, CANVAS_GOOD, stage->seconds / all, room < STAGE_BAR ? room : STAGE_BAR);
    canvas_put(c, CANVAS_DIM, "%3.0f %%", 100 * stage->seconds / all);
    canvas_to(c, at + STAGE_COLUMNS);
}

/* A bar is the stage's part of the time that all requests took; beside it, what it takes of one. Two of them
 * a line where there is room. */
static void draw_stages(const struct json_value *figures, struct canvas *c)
{
    struct stage stages[METRIC_N_STAGES] = {0};
    double all = 0;
    int32_t n = 0, a_line = c->columns >= 80 ? 2 : 1;
    for (int32_t i = 0; i < METRIC_N_STAGES; i++) {
        (void)figures_get(figures, METRIC_STAGE_SECONDS, i, "mean", &stages[i].mean);
        stages[i].seconds = stages[i].mean * figures_n(figures, METRIC_STAGE_SECONDS, i);
        all += stages[i].seconds;
    }
    if (!(all > 0)) return;
    begin(c, DETAIL, "stages");
    canvas_put(c, CANVAS_DIM, "mean, and the part of all time");
    for (int32_t i = 0; i < METRIC_N_STAGES; i++) {
        if (stages[i].seconds <= 0) continue;
        if (n++ % a_line == 0) canvas_line(c, DETAIL);
        put_stage(c, i, &stages[i], all);
    }
}

/* --- Caches and tokens ---------------------------------------------------------------------------------- */

static void draw_hit_rate(const struct json_value *figures, struct canvas *c)
{
    char text[FIGURES_TEXT_MAX];
    double rate;
    if (!figures_rate(figures, METRIC_CACHE_HITS, &rate)) return;
    begin(c, HEADLINE, "hit rate");
    canvas_put(c, CANVAS_PLAIN, "%-6s", figures_text(rate, "ratio", text));
    canvas_bar(c, CANVAS_GOOD, rate, BAR_COLUMNS);
    put_target(c, figures, METRIC_CACHE_HITS, -1);
}

static void draw_parts(const struct json_value *figures, enum metric_id id, int32_t whole, enum rank rank,
                       const char *head, struct canvas *c)
{
    struct buf parts;
    buf_init(&parts, PIECE_MAX);
    figures_add_parts(figures, id, whole, &parts);
    if (parts.len > 0) {
        begin(c, rank, head);
        canvas_put(c, CANVAS_PLAIN, "%s", buf_str(&parts));
    }
    buf_clear(&parts);
}

static void draw_drafts(const struct json_value *figures, struct canvas *c)
{
    char n[FIGURES_TEXT_MAX], share[FIGURES_TEXT_MAX];
    double rate;
    if (!figures_rate(figures, METRIC_ACCEPTED_TOKENS, &rate)) return;
    begin(c, DETAIL, "drafts");
    canvas_put(c, CANVAS_PLAIN, "%s, %s accepted",
               figures_text(figures_n(figures, METRIC_DRAFTED_TOKENS, 0), "tokens", n),
               figures_text(rate, "ratio", share));
}

/* --- Memory, processors, models ------------------------------------------------------------------------- */

/* What does not fit goes to the next line. */
static bool put_part(void *ctx, const char *name, const struct json_value *v)
{
    struct canvas *c = ctx;
    char size[SIZE_TEXT_MAX], piece[64];
    int64_t bytes = 0;
    if (!json_get_int(v, &bytes) || bytes <= 0) return true;
    int32_t len = snprintf(piece, sizeof piece, "%s %s  ", name, size_text(bytes, size));
    if (c->column > HEAD_COLUMNS && len - 2 > canvas_left(c)) begin(c, DETAIL, "");
    canvas_put(c, CANVAS_PLAIN, "%s", piece);
    return true;
}

static void draw_memory(const struct top_view *v, const struct json_value *figures, struct canvas *c)
{
    const struct json_value *m = json_get(v->status, "memory"), *parts = json_get(m, "parts");
    char rss[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];
    int64_t rss_bytes = answer_int(m, "rss_bytes"), max_bytes = answer_int(m, "max_bytes");
    begin(c, HEADLINE, "memory");
    canvas_put(c, CANVAS_PLAIN, "%s", size_text(rss_bytes, rss));
    if (max_bytes > 0) {
        canvas_put(c, CANVAS_PLAIN, " of %s  ", size_text(max_bytes, max));
        canvas_bar(c, CANVAS_GOOD, (double)rss_bytes / (double)max_bytes, BAR_COLUMNS);
    }
    put_target(c, figures, METRIC_MEMORY_SHARE, 0);
    if (!json_is_object(parts)) return;
    begin(c, USEFUL, "");
    json_each(parts, put_part, c);
}

static void draw_processors(const struct top_view *v, const struct json_value *figures, struct canvas *c)
{
    const struct json_value *g = json_get(v->status, "governor"), *orders = json_get(g, "orders");
    if (!g) return;
    begin(c, HEADLINE, "processors");
    int64_t threads = answer_int(orders, "threads");
    canvas_put(c, CANVAS_PLAIN, "own %.0f %%, others %.0f %%, %" PRId64 " thread%s",
               100 * answer_num(g, "own_share"), 100 * answer_num(g, "others_share"), threads,
               threads == 1 ? "" : "s");
    if (answer_num(orders, "speed") < 1)
        canvas_put(c, CANVAS_WARNING, ", %.0f %% of full speed", 100 * answer_num(orders, "speed"));
    put_target(c, figures, METRIC_CPU_SHARE, 0);
}

/* Of a model on other machines. */
static void draw_servers(const struct json_value *servers, struct canvas *c)
{
    for (size_t i = 0; i < json_count(servers); i++) {
        const struct json_value *server = json_at(servers, i);
        const char *state = answer_text(server, "state");
        enum canvas_style style = strcmp(state, "up") == 0     ? CANVAS_GOOD
                                  : strcmp(state, "down") == 0 ? CANVAS_BAD
                                                               : CANVAS_DIM;
        canvas_put(c, CANVAS_PLAIN, "  %s ", answer_text(server, "name"));
        canvas_put(c, style, "%s", state);
    }
}

static void draw_model(const struct json_value *m, enum rank rank, const char *head, struct canvas *c)
{
    const char *state = answer_text(m, "state");
    char resident[SIZE_TEXT_MAX], kv[SIZE_TEXT_MAX];
    enum canvas_style style = strcmp(state, "ready") == 0    ? CANVAS_GOOD
                              : strcmp(state, "failed") == 0 ? CANVAS_BAD
                                                             : CANVAS_DIM;
    begin(c, rank, head);
    canvas_put(c, CANVAS_PLAIN, "%s ", answer_text(m, "name"));
    canvas_put(c, style, "%s", state);
    canvas_put(c, CANVAS_PLAIN, " %s", answer_text(m, "role"));
    if (answer_int(m, "weight_bytes") > 0)
        canvas_put(c, CANVAS_PLAIN, "  weights %s, KV %s",
                   size_text(answer_int(m, "resident_bytes"), resident),
                   size_text(answer_int(m, "kv_bytes"), kv));
    if (*answer_text(m, "error")) canvas_put(c, CANVAS_BAD, "  %s", answer_text(m, "error"));
    draw_servers(json_get(m, "servers"), c);
}

/* Those that are installed and not loaded do nothing. */
static void draw_models(const struct top_view *v, struct canvas *c)
{
    const struct json_value *models = json_get(v->status, "models");
    int32_t n = 0;
    for (size_t i = 0; i < json_count(models); i++) {
        const struct json_value *m = json_at(models, i);
        if (i > 0 && strcmp(answer_text(m, "state"), "installed") == 0) continue;
        draw_model(m, n < MODELS_SHOWN ? USEFUL : MORE_MODELS, n == 0 ? "models" : "", c);
        n++;
    }
}

/* --- The last requests ---------------------------------------------------------------------------------- */

static void clock_text(int64_t at_ms, char out[static 16])
{
    time_t at = (time_t)(at_ms / 1000);
    struct tm local;
    if (!localtime_r(&at, &local) || strftime(out, 16, "%H:%M:%S", &local) == 0) out[0] = 0;
}

/* In a few words, what there is to tell about it. */
static void put_outcome(struct canvas *c, const struct json_value *r)
{
    const char *outcome = answer_text(r, "outcome"), *source = answer_text(r, "source");
    bool is_ok = strcmp(outcome, "ok") == 0;
    if (!is_ok)
        canvas_put(c, *answer_text(r, "error") ? CANVAS_BAD : CANVAS_DIM, "%s %s", outcome,
                   answer_text(r, "error"));
    else if (*answer_text(r, "quiet"))
        canvas_put(c, CANVAS_DIM, "nothing shown: %s", answer_text(r, "quiet"));
    else if (*source)
        canvas_put(c, CANVAS_GOOD, "found: %s", source);
    else
        canvas_put(c, CANVAS_PLAIN, "computed %" PRId64 " of %" PRId64 " + %" PRId64 " tokens",
                   answer_int(r, "computed"), answer_int(r, "prompt_tokens"), answer_int(r, "generated"));
    if (*answer_text(r, "fate")) canvas_put(c, CANVAS_PLAIN, ", %s", answer_text(r, "fate"));
    canvas_put(c, CANVAS_DIM, "  %s %s", answer_text(r, "api"), answer_text(r, "priority"));
}

static void draw_request(const struct top_view *v, const struct json_value *r, enum rank rank,
                         struct canvas *c)
{
    char at[16], took[FIGURES_TEXT_MAX];
    bool is_selected = answer_int(r, "id") == v->selected;
    clock_text(answer_int(r, "at_ms"), at);
    canvas_line(c, (int32_t)rank);
    canvas_put(c, is_selected ? CANVAS_REVERSE : CANVAS_PLAIN, "%c %s", is_selected ? '>' : ' ', at);
    canvas_put(c, CANVAS_PLAIN, " %8s  ", figures_text(answer_num(r, "total_ms") / 1000, "seconds", took));
    put_outcome(c, r);
}

/* From shortly before the selected one. */
static void draw_journal(const struct top_view *v, struct canvas *c)
{
    size_t n = json_count(v->requests), first = 0;
    for (size_t i = 0; i < n; i++) {
        if (v->selected && answer_int(json_at(v->requests, i), "id") == v->selected)
            first = i > 2 ? i - 2 : 0;
    }
    if (!v->requests) return;
    begin(c, HEADLINE, "last");
    canvas_put(c, CANVAS_DIM, n > 0 ? "when, took, how it was answered" : "nothing was asked yet");
    for (size_t i = first; i < n; i++)
        draw_request(v, json_at(v->requests, i), i - first < REQUESTS_FIRST ? REQUEST : MORE_REQUESTS, c);
}

/* --- Pages ---------------------------------------------------------------------------------------------- */

static void draw_overview(const struct top_view *v, struct canvas *c)
{
    const struct json_value *figures = figures_of(v->status, v->window);
    draw_head(v, c);
    draw_away(v, c);
    if (!v->status) return;
    draw_alerts(v, c);
    draw_requests(v, figures, c);
    draw_latency(figures, METRIC_ANSWER_CACHED, c);
    draw_latency(figures, METRIC_ANSWER_COMPUTED, c);
    draw_latency_spark(v, c);
    draw_stages(figures, c);
    draw_hit_rate(figures, c);
    draw_parts(figures, METRIC_CACHE_HITS, -1, DETAIL, "found", c);
    draw_parts(figures, METRIC_CACHE_MISSES, -1, DETAIL, "missed", c);
    draw_parts(figures, METRIC_PROMPT_TOKENS, -1, USEFUL, "prompts", c);
    draw_drafts(figures, c);
    draw_parts(figures, METRIC_SUGGESTIONS, SHOWN, DETAIL, "editors", c);
    draw_memory(v, figures, c);
    draw_processors(v, figures, c);
    draw_models(v, c);
    draw_journal(v, c);
}

static void draw_story(const struct top_view *v, struct canvas *c)
{
    const struct json_value *story = json_get(v->story, "story");
    char at[16];
    clock_text(answer_int(v->story, "at_ms"), at);
    canvas_line(c, ALWAYS);
    canvas_put(c, CANVAS_BOLD, "request %" PRId64, answer_int(v->story, "id"));
    canvas_put(c, CANVAS_PLAIN, "  %s  %s", at, answer_text(v->story, "model"));
    canvas_line(c, USEFUL);
    for (size_t i = 0; i < json_count(story); i++) {
        const char *sentence = json_get_str(json_at(story, i), NULL);
        canvas_wrap(c, HEADLINE, 2, sentence ? sentence : "");
    }
}

static void draw_help(struct canvas *c)
{
    static const char *const lines[] = {"q       leave",
                                        "1 2 3   figures of the last minute, quarter of an hour, day",
                                        "p       stop the picture, go on",
                                        "up down choose a request",
                                        "Enter   its story: where its milliseconds went",
                                        "Esc     back",
                                        "?       this list"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        canvas_line(c, ALWAYS);
        canvas_put(c, CANVAS_PLAIN, "%s", lines[i]);
    }
}

static void draw_keys(const struct top_view *v, struct canvas *c)
{
    canvas_line(c, ALWAYS);
    canvas_put(c, CANVAS_DIM, "%s",
               v->page == TOP_OVERVIEW ? "q leave  1 2 3 window  p pause  up down Enter story  ? help"
                                       : "Esc back  q leave");
}

void top_draw(const struct top_view *v, struct buf *out)
{
    struct canvas c;
    canvas_init(&c, v->columns, v->rows, v->has_colour, v->is_utf8);
    switch (v->page) {
    case TOP_OVERVIEW:
        draw_overview(v, &c);
        break;
    case TOP_STORY:
        draw_story(v, &c);
        break;
    case TOP_HELP:
        draw_help(&c);
        break;
    }
    if (v->is_live) draw_keys(v, &c);
    canvas_write(&c, v->is_live, out);
    canvas_clear(&c);
}
