/* What is known of a server: when its breaker opens and closes, how long it is left alone, and its times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <cmocka.h>

#include "remote/server.h"

#define MS     ((int64_t)1000000)
#define SECOND (1000 * MS)
#define START  (1000 * SECOND)

static struct server make(uint64_t seed)
{
    struct server s;
    server_init(&s, seed);
    return s;
}

static void attempt(struct server *s, enum server_end end, int64_t now_ns)
{
    server_start(s, now_ns);
    server_finish(s, end, 0, now_ns);
}

static struct server make_up(void)
{
    struct server s = make(7);
    server_start(&s, START);
    server_first_token(&s, 50);
    server_finish(&s, SERVER_END_OK, 0, START);
    assert_int_equal(s.health, SERVER_UP);
    return s;
}

static struct server make_down(void)
{
    struct server s = make_up();
    attempt(&s, SERVER_END_REFUSED, START);
    assert_int_equal(s.health, SERVER_DOWN);
    return s;
}

static void test_new_one_at_a_time(void **state)
{
    (void)state;
    struct server s = make(0);
    assert_true(s.random != 0);
    assert_true(server_is_open(&s, START));
    server_start(&s, START);
    assert_false(server_is_open(&s, START));
    assert_int_equal(server_due_ns(&s, START), 0);
    server_finish(&s, SERVER_END_LEFT, 0, START); /* told nothing */
    assert_int_equal(s.health, SERVER_NEW);
    server_start(&s, START);
    server_first_token(&s, 10); /* no need to wait for the end */
    assert_int_equal(s.health, SERVER_UP);
    assert_true(server_is_open(&s, START));
    assert_int_equal(s.n_outstanding, 1);
    assert_int_equal(s.n_asked, 2);
}

static void test_refused_is_down_at_once(void **state)
{
    (void)state;
    struct server s = make_down();
    assert_false(server_is_open(&s, START));
    int64_t due_ns = server_due_ns(&s, START);
    assert_true(due_ns > START + 300 * MS && due_ns < START + 1000 * MS);
    assert_false(server_is_open(&s, due_ns - 1));
    assert_true(server_is_open(&s, due_ns));
    assert_int_equal(server_due_ns(&s, due_ns), 0);
    assert_int_equal(s.n_failed, 1);
}

static void test_three_failures_in_a_row(void **state)
{
    (void)state;
    struct server s = make_up();
    attempt(&s, SERVER_END_FAILED, START);
    attempt(&s, SERVER_END_FAILED, START);
    attempt(&s, SERVER_END_OK, START);
    attempt(&s, SERVER_END_FAILED, START);
    attempt(&s, SERVER_END_LEFT, START); /* neither ends the row nor lengthens it */
    attempt(&s, SERVER_END_FAILED, START);
    assert_int_equal(s.health, SERVER_UP);
    attempt(&s, SERVER_END_FAILED, START);
    assert_int_equal(s.health, SERVER_DOWN);
    assert_int_equal(s.n_failed, 5);
}

/* Attempts that were under way when it went down fail one after the other: that is one failure. */
static void test_what_was_under_way_does_not_lengthen(void **state)
{
    (void)state;
    struct server s = make_up();
    for (int i = 0; i < 6; i++) server_start(&s, START);
    server_finish(&s, SERVER_END_REFUSED, 0, START);
    int64_t due_ns = server_due_ns(&s, START);
    for (int i = 0; i < 5; i++) server_finish(&s, SERVER_END_FAILED, 0, START + MS);
    assert_int_equal(server_due_ns(&s, START), due_ns);
    assert_int_equal(s.n_outstanding, 0);
}

static void test_one_trial_decides(void **state)
{
    (void)state;
    struct server s = make_down();
    int64_t now_ns = server_due_ns(&s, START);
    server_start(&s, now_ns);
    assert_int_equal(s.health, SERVER_TRIAL);
    assert_false(server_is_open(&s, now_ns + SECOND));
    assert_int_equal(server_due_ns(&s, now_ns), 0);
    server_finish(&s, SERVER_END_OK, 0, now_ns);
    assert_int_equal(s.health, SERVER_UP);
    assert_int_equal(s.n_failed_in_row, 0);

    s = make_down();
    server_start(&s, now_ns);
    server_first_token(&s, 20);
    assert_true(server_is_open(&s, now_ns));

    s = make_down();
    server_start(&s, now_ns);
    server_finish(&s, SERVER_END_LEFT, 0, now_ns); /* the next one is the trial */
    assert_true(server_is_open(&s, now_ns));
    server_start(&s, now_ns);
    assert_false(server_is_open(&s, now_ns));
}

/* Answers that begin and break off: the first token lets requests in again, the next failure ends that. */
static void test_broken_answers_keep_it_down(void **state)
{
    (void)state;
    struct server s = make_up();
    for (int i = 0; i < 3; i++) attempt(&s, SERVER_END_FAILED, START);
    int64_t first_ns = server_due_ns(&s, START) - START;
    int64_t now_ns = START + first_ns;
    server_start(&s, now_ns);
    server_first_token(&s, 20);
    server_finish(&s, SERVER_END_FAILED, 0, now_ns);
    assert_int_equal(s.health, SERVER_DOWN);
    assert_true(server_due_ns(&s, now_ns) - now_ns > first_ns);
}

static void test_backoff_doubles_up_to_a_ceiling(void **state)
{
    (void)state;
    double expected_ms = 500, least = 2, most = 0;
    struct server s = make_down();
    int64_t now_ns = START;
    for (int i = 0; i < 40; i++) {
        int64_t due_ns = server_due_ns(&s, now_ns);
        double ratio = (double)(due_ns - now_ns) / (double)MS / expected_ms;
        assert_true(ratio >= 0.8 && ratio <= 1.2);
        least = fmin(least, ratio);
        most = fmax(most, ratio);
        expected_ms = fmin(2 * expected_ms, 30000);
        now_ns = due_ns;
        attempt(&s, i % 2 ? SERVER_END_FAILED : SERVER_END_REFUSED, now_ns);
    }
    assert_true(least < 0.9 && most > 1.1); /* jitter */
    attempt(&s, SERVER_END_OK, server_due_ns(&s, now_ns));
    attempt(&s, SERVER_END_REFUSED, now_ns);
    assert_true(server_due_ns(&s, now_ns) < now_ns + SECOND); /* begins anew */
}

static void test_servers_that_fell_together(void **state)
{
    (void)state;
    struct server a = make(1), b = make(2);
    attempt(&a, SERVER_END_REFUSED, START);
    attempt(&b, SERVER_END_REFUSED, START);
    assert_true(server_due_ns(&a, START) != server_due_ns(&b, START));
}

static void limited(struct server *s, double retry_after_s)
{
    server_start(s, START);
    server_finish(s, SERVER_END_LIMITED, retry_after_s, START);
}

static void test_rate_limit_is_no_failure(void **state)
{
    (void)state;
    struct server s = make_up();
    attempt(&s, SERVER_END_FAILED, START);
    attempt(&s, SERVER_END_FAILED, START);
    for (int i = 0; i < 10; i++) limited(&s, 7);
    assert_int_equal(s.health, SERVER_UP);
    assert_int_equal(s.n_limited, 10);
    assert_int_equal(s.n_failed, 2);
    assert_int_equal(s.n_failed_in_row, 0); /* it answers */
    assert_false(server_is_open(&s, START + 7 * SECOND - 1));
    assert_true(server_is_open(&s, START + 7 * SECOND));
    assert_int_equal(server_due_ns(&s, START), START + 7 * SECOND);
}

static void test_retry_after_is_clamped(void **state)
{
    (void)state;
    double nothing[] = {0, -5, NAN, -INFINITY};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        struct server s = make_up();
        limited(&s, nothing[i]);
        int64_t due_ns = server_due_ns(&s, START);
        assert_true(due_ns >= START + 800 * MS && due_ns <= START + 1200 * MS);
    }
    double lots[] = {301, 1e9, 1e300, INFINITY};
    for (size_t i = 0; i < sizeof lots / sizeof *lots; i++) {
        struct server s = make_up();
        limited(&s, lots[i]);
        assert_int_equal(server_due_ns(&s, START), START + 300 * SECOND);
    }
    struct server s = make_up(); /* of two, the later time */
    limited(&s, 20);
    limited(&s, 0);
    assert_int_equal(server_due_ns(&s, START), START + 20 * SECOND);
    limited(&s, 30);
    assert_int_equal(server_due_ns(&s, START), START + 30 * SECOND);
}

static void test_limit_and_breaker_together(void **state)
{
    (void)state;
    struct server s = make_up();
    limited(&s, 20);
    attempt(&s, SERVER_END_REFUSED, START);
    assert_int_equal(server_due_ns(&s, START), START + 20 * SECOND);
    assert_false(server_is_open(&s, START + 10 * SECOND));

    s = make_down(); /* a trial that is told to come later has found it there */
    int64_t now_ns = server_due_ns(&s, START);
    server_start(&s, now_ns);
    server_finish(&s, SERVER_END_LIMITED, 5, now_ns);
    assert_int_equal(s.health, SERVER_UP);
    assert_false(server_is_open(&s, now_ns));
}

static void test_probes(void **state)
{
    (void)state;
    struct server s = make(3);
    server_probed(&s, true, START);
    assert_int_equal(s.health, SERVER_UP);
    for (int i = 0; i < 3; i++) server_probed(&s, false, START);
    assert_int_equal(s.health, SERVER_DOWN);
    int64_t due_ns = server_due_ns(&s, START);
    server_probed(&s, false, START);
    assert_int_equal(server_due_ns(&s, START), due_ns);
    server_probed(&s, true, START);
    assert_int_equal(s.health, SERVER_DOWN); /* only a trial brings it up */
    assert_true(server_is_open(&s, START));
    server_start(&s, START);
    server_probed(&s, false, START);
    assert_int_equal(s.health, SERVER_TRIAL);
    server_finish(&s, SERVER_END_OK, 0, START);
    assert_int_equal(s.health, SERVER_UP);
}

/* A server that answers its probes and no request: they stop shortening its rest. */
static void test_probes_that_mislead(void **state)
{
    (void)state;
    struct server s = make_down();
    int32_t n_trials = 0;
    for (int64_t now_ns = START; now_ns < START + 60 * SECOND; now_ns += SECOND / 10) {
        server_probed(&s, true, now_ns);
        if (!server_is_open(&s, now_ns)) continue;
        n_trials++;
        attempt(&s, SERVER_END_FAILED, now_ns);
    }
    assert_in_range(n_trials, 2, 10);
}

static void test_quantiles(void **state)
{
    (void)state;
    struct server s = make(1);
    for (int i = 0; i < 7; i++) server_first_token(&s, 5);
    assert_true(server_quantile_ms(&s, 0.5) == 0);
    s = make(1);
    for (int i = 20; i >= 1; i--) server_first_token(&s, i);
    assert_true(server_quantile_ms(&s, 0.5) == 10);
    assert_true(server_quantile_ms(&s, 0.95) == 19);
    assert_true(server_quantile_ms(&s, 0) == 1);
    assert_true(server_quantile_ms(&s, 1) == 20);
    for (int i = 0; i < SERVER_SAMPLES; i++) /* what is old is forgotten */
        server_first_token(&s, 100 + i);
    assert_true(server_quantile_ms(&s, 0) == 100);
    assert_true(server_quantile_ms(&s, 1) == 100 + SERVER_SAMPLES - 1);
    server_first_token(&s, NAN);
    assert_true(server_quantile_ms(&s, 1) == 100 + SERVER_SAMPLES - 1);
    assert_false(isnan(s.recent_ms));
}

static void test_expectation(void **state)
{
    (void)state;
    struct server s = make(1);
    server_first_token(&s, 100);
    assert_true(s.recent_ms == 100);
    server_still_waiting(&s, 60);
    assert_true(s.recent_ms == 100);
    server_still_waiting(&s, 800); /* bad news at once */
    assert_true(s.recent_ms == 800);
    assert_int_equal(s.n_samples, 1);
    server_first_token(&s, 50); /* good news in a few steps */
    assert_true(s.recent_ms > 100);
    for (int i = 0; i < 3; i++) server_first_token(&s, 50);
    assert_true(s.recent_ms < 150);
    server_first_token(&s, 300); /* one that is late does not count for all */
    assert_true(s.recent_ms < 200);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(server_health_name(SERVER_NEW), "new");
    assert_string_equal(server_health_name(SERVER_UP), "up");
    assert_string_equal(server_health_name(SERVER_DOWN), "down");
    assert_string_equal(server_health_name(SERVER_TRIAL), "trial");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_one_at_a_time),
        cmocka_unit_test(test_refused_is_down_at_once),
        cmocka_unit_test(test_three_failures_in_a_row),
        cmocka_unit_test(test_what_was_under_way_does_not_lengthen),
        cmocka_unit_test(test_one_trial_decides),
        cmocka_unit_test(test_broken_answers_keep_it_down),
        cmocka_unit_test(test_backoff_doubles_up_to_a_ceiling),
        cmocka_unit_test(test_servers_that_fell_together),
        cmocka_unit_test(test_rate_limit_is_no_failure),
        cmocka_unit_test(test_retry_after_is_clamped),
        cmocka_unit_test(test_limit_and_breaker_together),
        cmocka_unit_test(test_probes),
        cmocka_unit_test(test_probes_that_mislead),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_expectation),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
