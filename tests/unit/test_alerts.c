/* Alerts: each rule fires and resolves once on figures made for it, and what stays near a threshold is told
 * once. Time is the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "watch/alerts.h"

#define SECOND 1000000000
#define START  ((int64_t)1790000000) /* of the test's clock, seconds since 1970 */

struct world {
    struct metrics *metrics;
    struct alerts *alerts;
    int64_t now_s;
    int n_fired, n_resolved;
    struct alert last; /* that was told */
};

static void on_change(void *ctx, const struct alert *alert)
{
    struct world *w = ctx;
    alert->is_firing ? w->n_fired++ : w->n_resolved++;
    w->last = *alert;
}

static void open_world(struct world *w, const char *rules)
{
    struct errmsg msg = {0};
    struct alert_options o = {.rules = rules};
    *w = (struct world){.metrics = metrics_new()};
    metrics_roll(w->metrics, SECOND);
    enum err err = alerts_new(&o, w->metrics, &w->alerts, &msg);
    if (err) fail_msg("%s", msg.text);
    alerts_on_change(w->alerts, on_change, w);
}

static void close_world(struct world *w)
{
    alerts_free(&w->alerts);
    metrics_free(&w->metrics);
}

/* A second passes. */
static void tick(struct world *w)
{
    w->now_s++;
    metrics_roll(w->metrics, (w->now_s + 1) * SECOND);
    alerts_look(w->alerts, (w->now_s + 1) * SECOND, (START + w->now_s) * 1000000);
}

static void pass(struct world *w, int seconds)
{
    for (int i = 0; i < seconds; i++) tick(w);
}

static void expect_told(const struct world *w, int n_fired, int n_resolved)
{
    assert_int_equal(w->n_fired, n_fired);
    assert_int_equal(w->n_resolved, n_resolved);
    assert_int_equal(alerts_n_firing(w->alerts), n_fired - n_resolved);
}

static void expect_fired(const struct world *w, const char *name, const char *message)
{
    expect_told(w, 1, 0);
    assert_string_equal(w->last.rule->name, name);
    assert_string_equal(w->last.message, message);
    assert_true(w->last.is_firing);
    assert_int_equal(w->last.since_us, (START + w->now_s) * 1000000);
    assert_int_equal(w->last.until_us, 0);
}

/* Seconds until the alert that fires is told over. */
static int wait_resolved(struct world *w, int most)
{
    int waited = 0;
    while (w->n_resolved == 0 && waited < most) {
        tick(w);
        waited++;
    }
    expect_told(w, 1, 1);
    assert_false(w->last.is_firing);
    assert_int_equal(w->last.until_us, (START + w->now_s) * 1000000);
    return waited;
}

static void answer(struct world *w, enum metric_answer kind, double seconds, int n)
{
    for (int i = 0; i < n; i++) metrics_observe(w->metrics, METRIC_REQUEST_SECONDS, (int32_t)kind, seconds);
}

/* --- Each rule ---------------------------------------------------------------------------------------- */

/* The mean of cached and computed answers; empty ones are none. */
static void test_slow_completions(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    answer(&w, METRIC_ANSWER_COMPUTED, 2.0, 3);
    answer(&w, METRIC_ANSWER_CACHED, 0.3, 2);
    answer(&w, METRIC_ANSWER_NONE, 0, 100);
    pass(&w, 10);
    expect_told(&w, 0, 0);
    assert_false(alerts_is_calm(w.alerts));
    tick(&w);
    expect_fired(&w, "slow-completions",
                 "completions took 1.32 s on average in the last minute; the limit is 1 s");
    assert_true(w.last.value > 1.319 && w.last.value < 1.321);
    assert_true(w.last.threshold == 1);
    /* 0.9 s on average is below the threshold and not yet back at 0.8 s. */
    answer(&w, METRIC_ANSWER_CACHED, 0.48, 5);
    pass(&w, 20);
    expect_told(&w, 1, 0);
    answer(&w, METRIC_ANSWER_CACHED, 0.1, 10);
    pass(&w, 10);
    expect_told(&w, 1, 0);
    assert_int_equal(wait_resolved(&w, 2), 1);
    assert_true(alerts_is_calm(w.alerts));
    close_world(&w);
}

static void test_slow_p95(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "slow-completions=off");
    answer(&w, METRIC_ANSWER_COMPUTED, 0.2, 37);
    answer(&w, METRIC_ANSWER_COMPUTED, 4.0, 3);
    answer(&w, METRIC_ANSWER_CACHED, 0.001, 1000);
    pass(&w, 60);
    expect_told(&w, 0, 0);
    tick(&w);
    expect_told(&w, 1, 0);
    assert_string_equal(w.last.rule->name, "slow-p95");
    assert_true(w.last.value > 4 * 0.99 && w.last.value < 4 * 1.01);
    answer(&w, METRIC_ANSWER_COMPUTED, 0.2, 100);
    assert_int_equal(wait_resolved(&w, 100), 61);
    close_world(&w);
}

static void test_memory(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.93);
    pass(&w, 11);
    expect_fired(&w, "memory", "93 % of the memory is in use; the limit is 90 %");
    assert_false(alerts_is_calm(w.alerts)); /* other programs may end */
    assert_int_equal(w.last.rule->severity, ALERT_CRITICAL);
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.86);
    pass(&w, 100);
    expect_told(&w, 1, 0);
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.85);
    assert_int_equal(wait_resolved(&w, 20), 11);
    close_world(&w);
}

/* Of those that were answered or failed: clients' own mistakes and withdrawn questions change nothing. */
static void test_errors(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    metrics_add(w.metrics, METRIC_REQUESTS, METRIC_OUTCOME_OK, 47);
    metrics_add(w.metrics, METRIC_REQUESTS, METRIC_OUTCOME_CANCELLED, 1000);
    metrics_add(w.metrics, METRIC_ERRORS, METRIC_ERROR_REQUEST, 1000);
    pass(&w, 60);
    expect_told(&w, 0, 0);
    metrics_add(w.metrics, METRIC_ERRORS, METRIC_ERROR_UNAVAILABLE, 1);
    metrics_add(w.metrics, METRIC_ERRORS, METRIC_ERROR_INTERNAL, 2);
    pass(&w, 11);
    expect_fired(&w, "errors", "6 % of the requests of the last 15 minutes failed; the limit is 5 %");
    metrics_add(w.metrics, METRIC_REQUESTS, METRIC_OUTCOME_OK, 90); /* 3 of 140 */
    pass(&w, 60);
    expect_told(&w, 1, 0);
    metrics_add(w.metrics, METRIC_REQUESTS, METRIC_OUTCOME_OK, 20); /* 3 of 160 */
    assert_int_equal(wait_resolved(&w, 60), 11);
    close_world(&w);
}

static void test_hit_rate(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    for (int i = 0; i < 120; i++) { /* two hours at 60 % */
        metrics_add(w.metrics, METRIC_CACHE_HITS, i % 3, 60);
        metrics_add(w.metrics, METRIC_CACHE_MISSES, i % 2, 40);
        pass(&w, 60);
    }
    expect_told(&w, 0, 0);
    for (int i = 0; i < 30 && w.n_fired == 0; i++) {
        metrics_add(w.metrics, METRIC_CACHE_HITS, 0, 10);
        metrics_add(w.metrics, METRIC_CACHE_MISSES, 0, 90);
        pass(&w, 60);
    }
    expect_told(&w, 1, 0);
    assert_string_equal(w.last.rule->name, "hit-rate");
    assert_int_equal(w.last.rule->severity, ALERT_INFO);
    assert_true(w.last.value < 0.5);
    for (int i = 0; i < 30; i++) {
        metrics_add(w.metrics, METRIC_CACHE_HITS, 0, 60);
        metrics_add(w.metrics, METRIC_CACHE_MISSES, 0, 40);
        pass(&w, 60);
    }
    expect_told(&w, 1, 1);
    close_world(&w);
}

/* Where caches hardly ever have anything, none is missed. */
static void test_hit_rate_without_cache(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    for (int i = 0; i < 60; i++) {
        metrics_add(w.metrics, METRIC_CACHE_HITS, 0, 5);
        metrics_add(w.metrics, METRIC_CACHE_MISSES, 0, 95);
        pass(&w, 60);
    }
    for (int i = 0; i < 30; i++) {
        metrics_add(w.metrics, METRIC_CACHE_MISSES, 0, 100);
        pass(&w, 60);
    }
    expect_told(&w, 0, 0);
    close_world(&w);
}

static void test_cache_disk(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    metrics_set(w.metrics, METRIC_CACHE_MAX_BYTES, 1, 100e6);
    metrics_set(w.metrics, METRIC_CACHE_BYTES, 1, 100e6); /* full, as it is most of the time */
    metrics_set(w.metrics, METRIC_CACHE_BYTES, 2, 100e6); /* whose ceiling is not told */
    pass(&w, 100);
    expect_told(&w, 0, 0);
    metrics_set(w.metrics, METRIC_CACHE_MAX_BYTES, 2, 80e6);
    pass(&w, 61);
    expect_fired(&w, "cache-disk",
                 "the project cache takes 125 % of the space that it may; the limit is 105 %");
    metrics_set(w.metrics, METRIC_CACHE_BYTES, 2, 80e6);
    assert_int_equal(wait_resolved(&w, 100), 61);
    close_world(&w);
}

static void test_remote_down(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    pass(&w, 60);
    int32_t team = metrics_label(w.metrics, METRIC_REMOTE_UP, "team-cache");
    int32_t other = metrics_label(w.metrics, METRIC_REMOTE_UP, "another");
    metrics_set(w.metrics, METRIC_REMOTE_UP, team, 1);
    metrics_set(w.metrics, METRIC_REMOTE_UP, other, 1);
    pass(&w, 60);
    expect_told(&w, 0, 0);
    metrics_set(w.metrics, METRIC_REMOTE_UP, team, 0);
    pass(&w, 11);
    expect_fired(&w, "remote-down", "no answer from team-cache");
    assert_true(alerts_is_calm(w.alerts)); /* until somebody asks it again */
    metrics_set(w.metrics, METRIC_REMOTE_UP, other, 0);
    metrics_set(w.metrics, METRIC_REMOTE_UP, team, 1);
    pass(&w, 60);
    expect_told(&w, 1, 0); /* one of them is down still */
    metrics_set(w.metrics, METRIC_REMOTE_UP, other, 1);
    assert_int_equal(wait_resolved(&w, 20), 11);
    close_world(&w);
}

/* --- All of them -------------------------------------------------------------------------------------- */

/* A value that crosses the threshold again and again, or leaves it for a moment, is told once. */
static void test_no_flapping(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    for (int i = 0; i < 200; i++) { /* never beyond it for long enough */
        metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, i % 10 < 9 ? 0.95 : 0.90);
        tick(&w);
    }
    expect_told(&w, 0, 0);
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.91);
    pass(&w, 11);
    expect_told(&w, 1, 0);
    for (int i = 0; i < 200; i++) { /* around the threshold */
        metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, i % 2 ? 0.91 : 0.88);
        tick(&w);
    }
    for (int i = 0; i < 200; i++) { /* never back for long enough */
        metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, i % 10 < 9 ? 0.50 : 0.88);
        tick(&w);
    }
    expect_told(&w, 1, 0);
    close_world(&w);
}

static void test_min_count(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    answer(&w, METRIC_ANSWER_COMPUTED, 9, 4);
    pass(&w, 30);
    expect_told(&w, 0, 0);
    assert_true(alerts_is_calm(w.alerts));
    answer(&w, METRIC_ANSWER_COMPUTED, 9, 1);
    pass(&w, 11);
    expect_told(&w, 1, 0);
    /* The first four have left the window: one slow answer is too few to fire, but no reason to resolve. */
    pass(&w, 40);
    expect_told(&w, 1, 0);
    close_world(&w);
}

/* Nothing happens any more: it is over when the window is empty, and may fire again. */
static void test_empty_window(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    answer(&w, METRIC_ANSWER_COMPUTED, 2, 5);
    pass(&w, 11);
    expect_told(&w, 1, 0);
    int waited = wait_resolved(&w, 100);
    assert_in_range(waited, 60 - 11, 62 + 11);
    assert_true(w.last.value > 1.99 && w.last.value < 2.01); /* as it was last */
    pass(&w, 1000);
    answer(&w, METRIC_ANSWER_COMPUTED, 3, 5);
    pass(&w, 11);
    expect_told(&w, 2, 1);
    pass(&w, 1000);
    expect_told(&w, 2, 2);
    assert_int_equal(metrics_count(w.metrics, METRIC_ALERTS, 0), 2);
    close_world(&w);
}

/* The same for a rule that fires below its threshold, where no observation is no low value. */
static void test_empty_window_below(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "hit-rate=0.5/1/1m");
    metrics_add(w.metrics, METRIC_CACHE_HITS, 0, 200);
    pass(&w, 70);
    metrics_add(w.metrics, METRIC_CACHE_MISSES, 0, 100);
    pass(&w, 3);
    expect_told(&w, 1, 0);
    assert_in_range(wait_resolved(&w, 100), 55, 65);
    close_world(&w);
}

/* --- Settings ----------------------------------------------------------------------------------------- */

static void test_settings(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, " memory=0.5/2 , slow-completions=off,errors=0.5/0/1m,");
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.51);
    answer(&w, METRIC_ANSWER_COMPUTED, 9, 10);
    pass(&w, 2);
    expect_told(&w, 0, 0);
    tick(&w);
    expect_fired(&w, "memory", "51 % of the memory is in use; the limit is 50 %");
    assert_true(w.last.rule->resolved > 0.472 && w.last.rule->resolved < 0.473); /* 0.5 * 0.85 / 0.90 */
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.47);
    assert_int_equal(wait_resolved(&w, 10), 3);
    pass(&w, 60);
    expect_told(&w, 1, 1); /* slow-completions is off */
    metrics_add(w.metrics, METRIC_ERRORS, METRIC_ERROR_MODEL, 20);
    tick(&w);
    expect_told(&w, 2, 1); /* at once */
    pass(&w, 70);
    expect_told(&w, 2, 2); /* a minute's window is empty by now */
    close_world(&w);
}

static void test_bad_settings(void **state)
{
    static const struct {
        const char *rules, *message;
    } cases[] = {
        {"slow-completion=1", "did you mean slow-completions?"},
        {"quite-another-thing=1", "there is no alert \"quite-another-thing\"; the first of them is "
                                  "slow-completions"},
        {"memory", "\"memory\" is no NAME=THRESHOLD"},
        {"=1", "there is no alert \"\""},
        {"memory=", "memory: \"\" is none of off, THRESHOLD"},
        {"memory=much", "memory: \"much\" is none of"},
        {"memory=nan", "memory: \"nan\""},
        {"memory=-1", "memory: \"-1\""},
        {"memory=0.5x", "memory: \"0.5x\""},
        {"memory=0.5 0.6", "memory: \"0.5 0.6\""},
        {"memory=0.5/", "memory: \"0.5/\""},
        {"memory=0.5/-1", "memory: \"0.5/-1\""},
        {"memory=0.5/86401", "memory: \"0.5/86401\""},
        {"memory=0.5/1/2m", "memory: \"0.5/1/2m\""},
        {"memory=0.5/1/1m/", "memory: \"0.5/1/1m/\""},
        {"errors=0.1,,memory=0.5", "\"\" is no NAME=THRESHOLD"},
        {"errors=0.1,memory=off/1", "memory: \"off/1\""},
    };
    char longest[300] = "memory=0.";
    struct metrics *m = metrics_new();
    struct alerts *a = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct errmsg msg = {0};
        struct alert_options o = {.rules = cases[i].rules};
        assert_int_equal(alerts_new(&o, m, &a, &msg), ERR_ARG);
        assert_null(a);
        if (!strstr(msg.text, cases[i].message)) fail_msg("%s: %s", cases[i].rules, msg.text);
        assert_non_null(strstr(msg.text, "alerts.rules"));
    }
    memset(longest + strlen(longest), '9', 200);
    struct alert_options o = {.rules = longest};
    assert_int_equal(alerts_new(&o, m, &a, NULL), ERR_ARG);
    metrics_free(&m);
}

/* --- What is told about them -------------------------------------------------------------------------- */

static json_object *write_parsed(const struct alerts *a)
{
    struct buf out;
    struct json j;
    buf_init(&out, 1 << 20);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    alerts_write(a, &j);
    json_end_object(&j);
    json_object *parsed = json_tokener_parse(buf_str(&out));
    buf_clear(&out);
    assert_non_null(parsed);
    return parsed;
}

static json_object *member(json_object *o, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(o, key, &value));
    return value;
}

static void test_list(void **state)
{
    struct world w;
    struct alert list[ALERTS_KEPT + 8];
    (void)state;
    open_world(&w, "memory=0.5/0");
    assert_int_equal(alerts_list(w.alerts, list, ALERTS_KEPT), 0);
    for (int i = 0; i < 40; i++) { /* more than are kept */
        metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.6);
        tick(&w);
        metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.1);
        tick(&w);
    }
    expect_told(&w, 40, 40);
    answer(&w, METRIC_ANSWER_COMPUTED, 9, 10);
    pass(&w, 20);
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.6);
    tick(&w);
    assert_int_equal(alerts_list(w.alerts, list, ALERTS_KEPT + 8), ALERTS_KEPT);
    assert_string_equal(list[0].rule->name, "memory");
    assert_string_equal(list[1].rule->name, "slow-completions");
    assert_true(list[0].is_firing && list[1].is_firing && !list[2].is_firing);
    assert_int_equal(list[2].until_us, (START + 80) * 1000000);
    for (int i = 3; i < ALERTS_KEPT; i++) assert_true(list[i].since_us < list[i - 1].since_us);
    assert_int_equal(alerts_list(w.alerts, list, 1), 1);
    close_world(&w);
}

static void test_json(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "errors=off");
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.95);
    pass(&w, 11);
    json_object *o = write_parsed(w.alerts), *rules = member(o, "rules");
    assert_int_equal(json_object_array_length(member(o, "alerts")), 1);
    json_object *alert = json_object_array_get_idx(member(o, "alerts"), 0);
    assert_string_equal(json_object_get_string(member(alert, "name")), "memory");
    assert_string_equal(json_object_get_string(member(alert, "severity")), "critical");
    assert_true(json_object_get_boolean(member(alert, "firing")));
    assert_true(json_object_get_double(member(alert, "value")) == 0.95);
    assert_int_equal(json_object_get_int64(member(alert, "since_ms")), (START + 11) * 1000);
    assert_int_equal(json_object_get_int64(member(alert, "until_ms")), 0);
    assert_string_equal(json_object_get_string(member(alert, "message")), w.last.message);
    assert_true(json_object_get_string_len(member(alert, "todo")) > 0);
    assert_int_equal(json_object_array_length(rules), alert_n_rules);
    for (int32_t i = 0; i < alert_n_rules; i++) {
        json_object *rule = json_object_array_get_idx(rules, (size_t)i);
        const char *name = json_object_get_string(member(rule, "name"));
        assert_string_equal(name, alert_rules[i].name);
        assert_int_equal(json_object_get_boolean(member(rule, "off")), strcmp(name, "errors") == 0);
        assert_int_equal(json_object_get_boolean(member(rule, "firing")), strcmp(name, "memory") == 0);
    }
    json_object_put(o);
    close_world(&w);
}

/* All rules are there from the start, so that who scrapes sees a 0 become 1. */
static void test_metrics(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, "");
    assert_int_equal(metrics_n_labels(w.metrics, METRIC_ALERT_FIRING), alert_n_rules);
    assert_int_equal(metrics_n_labels(w.metrics, METRIC_ALERTS), alert_n_rules);
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.95);
    pass(&w, 11);
    for (int32_t i = 0; i < alert_n_rules; i++) {
        bool is_memory = strcmp(metrics_label_text(w.metrics, METRIC_ALERT_FIRING, i), "memory") == 0;
        assert_true(metrics_value(w.metrics, METRIC_ALERT_FIRING, i) == (is_memory ? 1 : 0));
        assert_int_equal(metrics_count(w.metrics, METRIC_ALERTS, i), is_memory);
    }
    metrics_set(w.metrics, METRIC_MEMORY_SHARE, 0, 0.5);
    wait_resolved(&w, 20);
    for (int32_t i = 0; i < alert_n_rules; i++)
        assert_true(metrics_value(w.metrics, METRIC_ALERT_FIRING, i) == 0);
    close_world(&w);
}

/* The table keeps what alerts_look relies on; every message fits. */
static void test_table(void **state)
{
    (void)state;
    assert_in_range(alert_n_rules, 7, ALERT_RULES_MAX);
    for (int32_t i = 0; i < alert_n_rules; i++) {
        const struct alert_rule *r = &alert_rules[i];
        assert_true(r->is_below ? r->resolved >= r->threshold : r->resolved <= r->threshold);
        assert_true(r->min_count >= 1 && r->for_s >= 1);
        assert_in_range(strlen(r->what), 10, 100);
        assert_in_range(strlen(r->todo), 10, 100);
        for (int32_t k = 0; k < i; k++) assert_string_not_equal(r->name, alert_rules[k].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_completions),
        cmocka_unit_test(test_slow_p95),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_hit_rate),
        cmocka_unit_test(test_hit_rate_without_cache),
        cmocka_unit_test(test_cache_disk),
        cmocka_unit_test(test_remote_down),
        cmocka_unit_test(test_no_flapping),
        cmocka_unit_test(test_min_count),
        cmocka_unit_test(test_empty_window),
        cmocka_unit_test(test_empty_window_below),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
