/* The governor's decisions, from samples that are made up: what it orders, what it does, in which order, when
 * it stops, and that noise changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "watch/governor.h"
#include "watch/metrics.h"

#define MB     ((int64_t)1 << 20)
#define GB     ((int64_t)1 << 30)
#define SECOND ((int64_t)1000000000)

/* A machine of two processors and 8 GB, and what can be given back on it. */
struct world {
    struct governor *g;
    struct machine_sample now;
    double others, own; /* share of the processors that they use */
    int64_t has[3];     /* bytes that each action can still give */
    int32_t n_calls[3];
    int64_t coming;    /* bytes on their way: free at the next sample */
    bool is_slow;      /* what is given comes a sample later */
    bool is_fruitless; /* what is said to be given never comes */
    struct governor_orders orders;
    int32_t n_orders;
    char order[64]; /* of the actions that gave: "012" */
    uint32_t seed;
};

struct action {
    struct world *w;
    int32_t i;
};

static double draw(struct world *w)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (double)(w->seed >> 8) / (1 << 24);
}

static int64_t give(void *ctx, int64_t want)
{
    struct action *a = ctx;
    struct world *w = a->w;
    int64_t gave = want < w->has[a->i] ? want : w->has[a->i];
    assert_true(want > 0);
    w->n_calls[a->i]++;
    if (gave <= 0) return 0;
    size_t len = strlen(w->order);
    if (len + 1 < sizeof w->order) w->order[len] = (char)('0' + a->i);
    w->has[a->i] -= gave;
    if (w->is_fruitless) return gave;
    w->coming += gave;
    return gave;
}

static void obey(void *ctx, const struct governor_orders *o)
{
    struct world *w = ctx;
    w->orders = *o;
    w->n_orders++;
}

static void arrive(struct world *w)
{
    w->now.memory_available += w->coming;
    w->now.rss -= w->coming;
    w->now.rss_anon -= w->coming;
    if (w->now.group_limit) w->now.group_used -= w->coming;
    w->coming = 0;
}

static struct action actions[3];

static void begin(struct world *w, struct governor_options o)
{
    static const char *const names[] = {"unload idle models", "shrink caches", "trim the heap"};
    log_set_level(LOG_ERROR);
    *w = (struct world){.seed = 1};
    w->now = (struct machine_sample){.at_ns = 100 * SECOND,
                                     .memory_total = 8 * GB,
                                     .memory_available = 6 * GB,
                                     .rss = GB,
                                     .rss_anon = 512 * MB,
                                     .rss_file = 512 * MB,
                                     .n_cpus = 2,
                                     .cpu_some = -1,
                                     .memory_some = -1,
                                     .memory_full = -1,
                                     .io_some = -1,
                                     .battery_percent = -1,
                                     .n_throttled = -1};
    if (o.n_threads == 0) o.n_threads = 2;
    w->g = governor_new(&o);
    governor_on_orders(w->g, obey, w);
    for (int32_t i = 0; i < 3; i++) {
        actions[i] = (struct action){.w = w, .i = i};
        governor_add_memory_action(w->g, names[i], give, &actions[i]);
    }
}

/* A second passes, then the governor looks. */
static void look_after(struct world *w, int64_t ns)
{
    double processors = (double)(ns * w->now.n_cpus);
    w->now.at_ns += ns;
    w->now.cpu_total_ns += ns * w->now.n_cpus;
    w->now.cpu_busy_ns += (int64_t)((w->others + w->own) * processors);
    w->now.own_cpu_ns += (int64_t)(w->own * processors);
    if (!w->is_slow) arrive(w);
    governor_look(w->g, &w->now);
    if (w->is_slow) arrive(w);
}

static void look(struct world *w, int32_t n)
{
    for (int32_t i = 0; i < n; i++) look_after(w, SECOND);
}

static struct governor_status status_of(const struct world *w)
{
    struct governor_status s;
    governor_status(w->g, &s);
    return s;
}

static void set_memory(struct world *w, double share)
{
    w->now.memory_available = (int64_t)((1 - share) * (double)w->now.memory_total);
}

/* --- Memory -------------------------------------------------------------------------------------------- */

static void test_in_order_until_enough(void **state)
{
    (void)state;
    struct world w;
    struct metrics *m = metrics_new();
    begin(&w, (struct governor_options){.metrics = m});
    w.has[0] = 300 * MB, w.has[1] = GB, w.has[2] = GB;
    set_memory(&w, 0.79);
    look(&w, 10);
    assert_int_equal(w.n_calls[0], 0);
    assert_true(governor_is_calm(w.g));

    set_memory(&w, 0.84); /* 737 MB above the lower level; a hundredth more is asked for */
    look(&w, 1);
    assert_int_equal(w.n_calls[0], 0); /* one sample is none */
    assert_false(governor_is_calm(w.g));
    look(&w, 12);
    assert_string_equal(w.order, "01");
    assert_int_equal(w.has[0], 0);
    assert_int_equal(w.has[2], GB);
    struct governor_status s = status_of(&w);
    assert_true(s.memory_share < 0.7501 && s.memory_share > 0.739);
    assert_int_equal(s.n_actions, 2);
    assert_true(s.gave_bytes >= 818 * MB && s.gave_bytes < 821 * MB);
    assert_int_equal(s.n_events, 2);
    assert_string_equal(s.events[1].what, "unload idle models: 315 MB");
    assert_string_equal(s.events[1].why, "memory 84 % of the machine's 8.6 GB");
    assert_int_equal(s.events[1].gave_bytes, 300 * MB);
    assert_string_equal(s.memory_of, "machine");
    assert_true(governor_is_calm(w.g));
    look(&w, 50);
    assert_string_equal(w.order, "01");

    struct buf out;
    buf_init(&out, 1 << 16);
    metrics_write(m, &out);
    assert_non_null(strstr(buf_str(&out), "inline_governor_actions_total{action=\"shrink caches\"} 1\n"));
    assert_non_null(strstr(buf_str(&out), "inline_governor_actions_total{action=\"trim the heap\"} 0\n"));
    assert_non_null(strstr(buf_str(&out), "inline_governor_threads 2\n"));
    assert_int_equal(metrics_count(m, METRIC_GOVERNOR_GIVEN_BYTES, 0), s.gave_bytes);
    assert_true(fabs(metrics_value(m, METRIC_MEMORY_SHARE, 0) - status_of(&w).memory_share) < 1e-12);
    assert_true(fabs(metrics_value(m, METRIC_CPU_SHARE, METRIC_CPU_OTHERS) - status_of(&w).others_share) <
                1e-12);
    buf_clear(&out);
    governor_free(&w.g);
    metrics_free(&m);
}

/* What an action has begun is waited for, not done twice. */
static void test_waits_for_what_is_on_its_way(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    w.is_slow = true;
    w.has[0] = w.has[1] = w.has[2] = GB;
    set_memory(&w, 0.85);
    look(&w, 20);
    assert_string_equal(w.order, "0");
    assert_true(status_of(&w).gave_bytes > 800 * MB);
    governor_free(&w.g);
}

/* An action that promises and does not give is not asked for ever; then there is a pause. */
static void test_fruitless_actions(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    w.is_fruitless = true;
    w.has[0] = w.has[1] = w.has[2] = 100 * GB;
    set_memory(&w, 0.9);
    look(&w, 20);
    assert_string_equal(w.order, "012");
    assert_int_equal(status_of(&w).gave_bytes, 0);
    assert_int_equal(status_of(&w).events[0].gave_bytes, 0);
    look(&w, 40);
    assert_true(strlen(w.order) >= 4 && strlen(w.order) <= 6);
    governor_free(&w.g);
}

/* Others fill the machine and we have nothing to give: hardly any work, and in the end none. */
static void test_nothing_to_give(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    set_memory(&w, 0.93);
    look(&w, 100);
    assert_in_range(w.n_calls[0], 2, 4);
    assert_int_equal(status_of(&w).n_events, 0);
    assert_true(governor_is_calm(w.g));
    governor_free(&w.g);
}

static void test_own_limit(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){.memory_limit = 2 * GB});
    w.has[0] = w.has[1] = w.has[2] = 100 * MB;
    look(&w, 3);
    /* 2 GB less 512 MB of weights and an eighth. */
    assert_in_range(w.orders.kv_bytes, GB, 1280 * MB);
    assert_string_equal(status_of(&w).memory_of, "limit");
    w.now.rss = w.now.rss_file + 1700 * MB; /* 2212 MB: above the ceiling: everything, at the first look */
    look(&w, 1);
    assert_string_equal(w.order, "012");
    look(&w, 5);
    assert_int_equal(status_of(&w).gave_bytes, 300 * MB);
    assert_int_equal(status_of(&w).events[1].gave_bytes, 100 * MB);
    assert_true(status_of(&w).memory_share > 0.75);
    int64_t before = w.orders.kv_bytes;
    w.now.rss_file += 600 * MB; /* a second model */
    look(&w, 1);
    assert_in_range(w.orders.kv_bytes, 500 * MB, before - 500 * MB);
    w.now.rss_file = 4 * GB; /* however large: KV for a prompt is left */
    look(&w, 1);
    assert_in_range(w.orders.kv_bytes, MB, 64 * MB);
    governor_free(&w.g);
}

static void test_control_group(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    w.now.group_limit = 2 * GB;
    w.now.group_used = GB;
    w.has[0] = w.has[1] = w.has[2] = 50 * MB;
    look(&w, 3);
    assert_string_equal(status_of(&w).memory_of, "group");
    assert_true(w.orders.kv_bytes > 0);
    w.now.group_used = 1700 * MB; /* 83 % */
    look(&w, 2);
    assert_string_equal(w.order, "0");
    w.now.group_used = 2000 * MB; /* 97 %: the kernel is about to kill */
    look(&w, 8);
    assert_string_equal(w.order, "012");
    assert_non_null(strstr(status_of(&w).events[0].why, "of the control group's 2.1 GB"));
    governor_free(&w.g);
}

static void test_stalls(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    w.has[0] = w.has[1] = w.has[2] = 2 * GB;
    w.now.memory_some = 30;
    w.now.rss = 100 * MB; /* we are not why */
    look(&w, 5);
    assert_string_equal(w.order, "");
    w.now.rss = 2 * GB;
    look(&w, 3);
    assert_string_equal(w.order, "0");
    assert_non_null(strstr(status_of(&w).events[0].why, "wait for memory 30 %"));
    assert_int_equal(status_of(&w).events[0].gave_bytes, -1);
    assert_in_range(2 * GB - w.has[0], 500 * MB, 600 * MB); /* a sixteenth of the machine's */
    w.now.memory_some = 4;
    look(&w, 10);
    assert_string_equal(w.order, "0");
    governor_free(&w.g);
}

/* --- Processors ---------------------------------------------------------------------------------------- */

static void test_threads_follow_the_others(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    w.own = 1; /* our own use is none of others' */
    look(&w, 20);
    assert_int_equal(w.orders.n_threads, 2);
    assert_true(w.orders.background);
    assert_int_equal(w.n_orders, 1); /* at the first look */

    w.own = 0.5, w.others = 0.5;
    look(&w, 1);
    assert_int_equal(w.orders.n_threads, 2);
    look(&w, 1);
    assert_int_equal(w.orders.n_threads, 1);
    assert_false(w.orders.background);
    assert_true(w.orders.debounce_ms > 0);
    assert_true(governor_is_calm(w.g)); /* who has nothing to do need not look at what others do */
    struct governor_status s = status_of(&w);
    assert_true(s.others_share > 0.49 && s.others_share < 0.51);
    assert_string_equal(s.events[1].what, "2 -> 1 threads");
    assert_string_equal(s.events[1].why, "other processes use 50 % of the processors");
    w.own = 0; /* that we rest changes nothing */
    look(&w, 20);
    assert_int_equal(w.orders.n_threads, 1);
    assert_false(w.orders.background);

    w.others = 0;
    look(&w, 4);
    assert_int_equal(w.orders.n_threads, 1);
    look(&w, 1);
    assert_int_equal(w.orders.n_threads, 2);
    assert_true(w.orders.background);
    assert_int_equal(w.orders.debounce_ms, 0);
    assert_int_equal(w.n_orders, 3);
    assert_true(governor_is_calm(w.g));
    w.others = 1;
    look(&w, 2);
    assert_int_equal(w.orders.n_threads, 1); /* never fewer */
    governor_free(&w.g);
}

static void test_many_processors(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){.n_threads = 8});
    w.now.n_cpus = 16;
    w.others = 0.25;
    look(&w, 10);
    assert_int_equal(w.orders.n_threads, 8); /* there is room for all of us */
    w.others = 0.75;
    look(&w, 3);
    assert_int_equal(w.orders.n_threads, 4);
    w.others = 0.5;
    look(&w, 6);
    assert_int_equal(w.orders.n_threads, 8);
    governor_free(&w.g);
}

/* A long pause between samples: their difference is not what is going on now. */
static void test_gaps(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    look(&w, 1);
    w.others = 0.9;
    for (int i = 0; i < 10; i++) look_after(&w, 3600 * SECOND);
    assert_int_equal(w.orders.n_threads, 2);
    assert_int_equal(w.n_orders, 1);
    assert_true(status_of(&w).cpu_share < 0.001);
    look(&w, 2);
    assert_int_equal(w.orders.n_threads, 1);
    governor_look(w.g, &w.now); /* the same sample again: no time has passed */
    assert_int_equal(w.orders.n_threads, 1);
    look_after(&w, 3600 * SECOND); /* whoever it was may have gone */
    assert_int_equal(w.orders.n_threads, 2);
    governor_free(&w.g);
}

static void test_stolen_time_is_others(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    for (int i = 0; i < 4; i++) {
        w.now.cpu_busy_ns += SECOND; /* of one processor */
        w.now.cpu_stolen_ns += SECOND;
        look(&w, 1);
    }
    assert_int_equal(w.orders.n_threads, 1);
    governor_free(&w.g);
}

static void test_battery_and_heat(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){.speed = 0.9, .battery_speed = 0.5, .cpu_limit = 0.3});
    look(&w, 2);
    assert_true(w.orders.speed > 0.89 && w.orders.cpu_ceiling < 0.31 && w.orders.background);
    w.now.is_on_battery = true;
    look(&w, 1);
    assert_true(w.orders.speed > 0.49 && w.orders.speed < 0.51);
    assert_false(w.orders.background);
    assert_in_range(w.orders.debounce_ms, 1, 1000);
    assert_true(governor_is_calm(w.g));
    w.now.is_on_battery = false;
    look(&w, 1);
    assert_true(w.orders.speed > 0.89 && w.orders.background);

    w.now.n_throttled = 5; /* the first number seen is no news */
    look(&w, 1);
    assert_true(w.orders.background);
    w.now.n_throttled = 6;
    look(&w, 1);
    assert_true(status_of(&w).is_throttled);
    assert_false(w.orders.background);
    look(&w, 29);
    assert_false(w.orders.background);
    look(&w, 2);
    assert_true(w.orders.background);
    governor_free(&w.g);
}

static void test_off(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){.is_off = true, .cpu_limit = 0.3, .memory_limit = 2 * GB});
    w.has[0] = GB;
    w.others = 1;
    w.now.is_on_battery = true;
    w.now.group_limit = 2 * GB, w.now.group_used = 2 * GB;
    set_memory(&w, 0.99);
    look(&w, 20);
    assert_int_equal(w.orders.n_threads, 2);
    assert_true(w.orders.background && w.orders.cpu_ceiling < 0.31 && w.orders.kv_bytes > 0);
    assert_string_equal(w.order, "");
    w.now.rss = 2 * GB + MB;
    look(&w, 1);
    assert_string_equal(w.order, "0");
    governor_free(&w.g);
}

/* --- Any samples --------------------------------------------------------------------------------------- */

/* Noise around every threshold: the orders stay as they are. */
static void test_noise(void **state)
{
    (void)state;
    static const double shares[] = {0.10, 0.20, 0.25, 0.30, 0.375, 0.5, 0.625, 0.75};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct world w;
        begin(&w, (struct governor_options){.memory_limit = 4 * GB});
        w.seed = 77 + (uint32_t)i;
        int32_t n_before = 0;
        for (int32_t n = 0; n < 1000; n++) {
            if (n == 20) n_before = w.n_orders;
            double noise = 0.03 * (draw(&w) + draw(&w) - 1); /* up to 3 % of the machine */
            w.others = shares[i] + noise;
            w.own = 1 - w.others;
            set_memory(&w, 0.775 + noise);
            w.now.rss_file = 512 * MB + (int64_t)(noise * (double)(2 * GB));
            look(&w, 1);
        }
        if (w.n_orders - n_before > 2) fail_msg("others %.3f: %d changes", shares[i], w.n_orders - n_before);
        governor_free(&w.g);
    }
}

/* Memory that others take and give back around the level: one round of actions each time it gets short. */
static void test_memory_noise(void **state)
{
    (void)state;
    struct world w;
    begin(&w, (struct governor_options){0});
    int32_t n_given = 0;
    for (int32_t n = 0; n < 1000; n++) {
        w.has[0] = 10 * GB; /* there is always more */
        set_memory(&w, 0.80 + 0.015 * (draw(&w) + draw(&w) - 1));
        w.coming = 0; /* and what we give changes nothing */
        look(&w, 1);
    }
    n_given = (int32_t)status_of(&w).n_actions;
    assert_in_range(n_given, 1, 1000 / 15);
    governor_free(&w.g);
}

static struct machine_sample any_sample(struct world *w)
{
    struct machine_sample s = w->now;
    double wild = draw(w);
    s.at_ns += wild < 0.9 ? SECOND : (int64_t)(wild * 100 * (double)SECOND);
    s.memory_total = draw(w) < 0.02 ? -1 : 8 * GB;
    s.memory_available = (int64_t)(draw(w) * 8.1 * (double)GB) - 10;
    s.group_limit = draw(w) < 0.5 ? 0 : (int64_t)(draw(w) * 4 * (double)GB);
    s.group_used = (int64_t)(draw(w) * 5 * (double)GB);
    s.rss = (int64_t)(draw(w) * 5 * (double)GB) - 1;
    s.rss_file = (int64_t)(draw(w) * 5 * (double)GB) - 1;
    s.n_cpus = 1 + (int32_t)(draw(w) * 8);
    s.cpu_total_ns += (int64_t)((draw(w) - 0.1) * 10 * (double)SECOND);
    s.cpu_busy_ns += (int64_t)((draw(w) - 0.1) * 10 * (double)SECOND);
    s.own_cpu_ns += (int64_t)((draw(w) - 0.1) * 10 * (double)SECOND);
    s.memory_some = draw(w) * 101 - 1;
    s.is_on_battery = draw(w) < 0.3;
    s.n_throttled = (int64_t)(draw(w) * 5) - 1;
    return s;
}

static void assert_in_bounds(const struct world *w, int32_t n_threads)
{
    const struct governor_orders *o = &w->orders;
    struct governor_status s = status_of(w);
    assert_in_range(o->n_threads, 1, n_threads);
    assert_true(o->cpu_ceiling > 0 && o->cpu_ceiling <= 1 && o->speed > 0 && o->speed <= 1);
    assert_in_range(o->debounce_ms, 0, 1000);
    assert_true(o->kv_bytes >= 0);
    assert_true(s.cpu_share >= 0 && s.cpu_share <= 1 && s.own_share >= 0 && s.own_share <= s.cpu_share);
    assert_true(s.others_share >= 0 && s.others_share <= 1 && s.memory_share >= 0);
    assert_in_range(s.n_events, 0, GOVERNOR_EVENTS);
    assert_memory_equal(&s.orders, o, sizeof *o);
}

static void test_any_samples(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 60; seed++) {
        struct governor_options o = {.n_threads = 1 + (int32_t)(seed % 8), .is_off = seed % 5 == 0};
        if (seed % 3 == 0) o.memory_limit = 2 * GB;
        if (seed % 4 == 0) o.cpu_limit = 0.3;
        struct world w;
        begin(&w, o);
        w.seed = seed;
        for (int32_t n = 0; n < 400; n++) {
            w.now = any_sample(&w);
            for (int i = 0; i < 3; i++) w.has[i] = (int64_t)(draw(&w) * 2 * (double)GB) - GB;
            int64_t n_before = status_of(&w).n_actions;
            governor_look(w.g, &w.now);
            struct governor_status s = status_of(&w);
            assert_in_bounds(&w, o.n_threads);
            bool is_stall = s.sample.memory_some > 5;
            if (s.memory_share < 0.75 && !is_stall) assert_int_equal(s.n_actions, n_before);
        }
        governor_free(&w.g);
    }
}

/* The same samples give the same decisions. */
static void test_is_deterministic(void **state)
{
    (void)state;
    struct governor_status seen[2];
    for (int round = 0; round < 2; round++) {
        struct world w;
        begin(&w, (struct governor_options){.memory_limit = 3 * GB, .n_threads = 6});
        w.seed = 4711;
        for (int32_t n = 0; n < 500; n++) {
            w.now = any_sample(&w);
            for (int i = 0; i < 3; i++) w.has[i] = (int64_t)(draw(&w) * (double)GB);
            governor_look(w.g, &w.now);
        }
        memset(&seen[round], 0, sizeof seen[round]);
        governor_status(w.g, &seen[round]);
        governor_free(&w.g);
    }
    assert_int_equal(seen[0].n_actions, seen[1].n_actions);
    assert_int_equal(seen[0].gave_bytes, seen[1].gave_bytes);
    assert_true(seen[0].n_actions > 10);
    for (int32_t i = 0; i < seen[0].n_events; i++) {
        assert_string_equal(seen[0].events[i].what, seen[1].events[i].what);
        assert_string_equal(seen[0].events[i].why, seen[1].events[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_until_enough),
        cmocka_unit_test(test_waits_for_what_is_on_its_way),
        cmocka_unit_test(test_fruitless_actions),
        cmocka_unit_test(test_nothing_to_give),
        cmocka_unit_test(test_own_limit),
        cmocka_unit_test(test_control_group),
        cmocka_unit_test(test_stalls),
        cmocka_unit_test(test_threads_follow_the_others),
        cmocka_unit_test(test_many_processors),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_stolen_time_is_others),
        cmocka_unit_test(test_battery_and_heat),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_memory_noise),
        cmocka_unit_test(test_any_samples),
        cmocka_unit_test(test_is_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
