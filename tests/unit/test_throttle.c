/* The throttle over real processor time: the ceiling's average, the speed's duty cycle, debts and bursts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <cmocka.h>

#include "os/clock.h"
#include "os/throttle.h"

#define MS ((int64_t)1000000)

static int64_t cpu_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t process_ns(void)
{
    return cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void sleep_ns(int64_t ns)
{
    nanosleep(&(struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}, NULL);
}

/* Use so much processor time, however long that takes where others compute as well. */
static void burn(int64_t ns)
{
    int64_t end = cpu_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
    while (cpu_ns(CLOCK_THREAD_CPUTIME_ID) < end) {
        for (volatile int i = 0; i < 20000; i++) continue;
    }
}

struct burner {
    struct throttle *t;
    int64_t end_ns, piece_ns;
    atomic_int_least64_t worked_ns; /* by the clock on the wall */
};

static void *work_and_rest(void *arg)
{
    struct burner *b = arg;
    while (clock_ns() < b->end_ns) {
        int64_t rest = throttle_rest_ns(b->t);
        if (rest > 0) {
            sleep_ns(rest);
            continue;
        }
        int64_t start = clock_ns();
        burn(b->piece_ns);
        int64_t ns = clock_ns() - start;
        throttle_worked(b->t, ns);
        atomic_fetch_add(&b->worked_ns, ns);
    }
    return NULL;
}

/* The share of n_cpus processors' time that n threads take which all ask; nothing is saved up yet.
 * *is_crowded: other processes left them so little that they may have got less than they were allowed. */
static double share_taken(struct throttle *t, int32_t n_cpus, int32_t n, int64_t ns, bool *is_crowded)
{
    pthread_t threads[4];
    struct burner b = {.t = t, .end_ns = clock_ns() + ns, .piece_ns = 30 * MS};
    int64_t start = clock_ns(), before = process_ns();
    for (int32_t i = 0; i < n; i++) assert_int_equal(pthread_create(&threads[i], NULL, work_and_rest, &b), 0);
    for (int32_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    int64_t used = process_ns() - before;
    *is_crowded = used < b.worked_ns * 2 / 3;
    return (double)used / (double)(clock_ns() - start) / n_cpus;
}

static void test_ceiling(void **state)
{
    (void)state;
    static const struct {
        int32_t n_cpus, n_threads;
        double ceiling;
    } cases[] = {{2, 2, 0.3}, {2, 1, 0.2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct throttle *t = throttle_new(cases[i].n_cpus);
        throttle_set(t, cases[i].ceiling, 1);
        bool is_crowded;
        double share = share_taken(t, cases[i].n_cpus, cases[i].n_threads, 2500 * MS, &is_crowded);
        if (share > cases[i].ceiling + 0.02 || (!is_crowded && share < cases[i].ceiling - 0.02))
            fail_msg("ceiling %.2f: %.3f", cases[i].ceiling, share);
        throttle_free(&t);
        assert_null(t);
    }
}

static void test_speed(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(2);
    throttle_set(t, 1, 0.5);
    int64_t start = clock_ns(), worked = 0;
    while (clock_ns() - start < 1500 * MS) {
        int64_t rest = throttle_rest_ns(t);
        if (rest > 0) {
            sleep_ns(rest);
            continue;
        }
        int64_t before = clock_ns();
        sleep_ns(40 * MS); /* what counts is the time that a piece of work took */
        worked += clock_ns() - before;
        throttle_worked(t, clock_ns() - before);
    }
    double speed = (double)worked / (double)(clock_ns() - start);
    if (speed < 0.45 || speed > 0.55) fail_msg("speed 0.5: %.3f", speed);
    throttle_free(&t);
}

static void test_no_throttle_no_rest(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(1);
    for (int i = 0; i < 20; i++) {
        burn(2 * MS);
        throttle_worked(t, 2 * MS);
        assert_true(throttle_rest_ns(t) == 0);
    }
    static const double odd[] = {0, -1, 2, 1.0};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        throttle_set(t, odd[i], odd[i]); /* no such share: none */
        throttle_worked(t, 100 * MS);
        assert_true(throttle_rest_ns(t) == 0);
    }
    throttle_free(&t);
}

/* What was used before there was a ceiling is not owed; idle time saves up a burst and no more. */
static void test_bursts_are_short(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(100);
    burn(100 * MS);
    throttle_set(t, 0.05, 1); /* of 100 processors: 5 */
    assert_true(throttle_rest_ns(t) == 0);
    sleep_ns(300 * MS);         /* would be 1500 ms */
    throttle_set(t, 0.0002, 1); /* hardly anything comes in from now on */
    int64_t used = process_ns();
    while (throttle_rest_ns(t) == 0) burn(5 * MS);
    used = process_ns() - used;
    assert_true(used > 480 * MS && used < 800 * MS);
    burn(10 * MS); /* a debt */
    int64_t rest = throttle_rest_ns(t);
    assert_true(rest > 300 * MS && rest < 2000 * MS);
    throttle_set(t, 1, 1);
    assert_true(throttle_rest_ns(t) == 0);
    throttle_free(&t);
}

static void test_long_work_is_not_owed_for_ever(void **state)
{
    (void)state;
    struct throttle *t = throttle_new(1);
    throttle_set(t, 1, 0.01);
    throttle_worked(t, 60000 * MS);
    assert_true(throttle_rest_ns(t) <= 10000 * MS);
    throttle_set(t, 1, 1);
    assert_true(throttle_rest_ns(t) == 0);
    throttle_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_speed),
        cmocka_unit_test(test_no_throttle_no_rest),
        cmocka_unit_test(test_bursts_are_short),
        cmocka_unit_test(test_long_work_is_not_owed_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
