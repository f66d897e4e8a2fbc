/* The worker pool: every task exactly once, by a valid worker, finished on return, asleep when idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/pool.h"

#define N_TASKS_MAX 1000

/* What the tasks of one job did. The counts are plain on purpose: no two tasks share one, and pool_run must
 * make them visible to the caller. The thread sanitizer checks both. */
struct job {
    int32_t n_runs[N_TASKS_MAX];
    int32_t worker[N_TASKS_MAX];
    atomic_int n_in_worker[8]; /* tasks that run as this worker right now: at most 1 */
    atomic_bool has_clash;
};

static void record(void *ctx, int32_t task, int32_t worker)
{
    struct job *job = ctx;
    if (atomic_fetch_add(&job->n_in_worker[worker], 1) != 0) atomic_store(&job->has_clash, true);
    job->n_runs[task]++;
    job->worker[task] = worker;
    atomic_fetch_sub(&job->n_in_worker[worker], 1);
}

static void run_and_check(struct pool *pool, int32_t n_tasks, struct job *job)
{
    memset(job, 0, sizeof *job);
    pool_run(pool, n_tasks, record, job);
    for (int32_t i = 0; i < N_TASKS_MAX; i++) {
        assert_int_equal(job->n_runs[i], i < n_tasks);
        assert_in_range(job->worker[i], 0, pool_threads(pool) - 1);
    }
    assert_false(job->has_clash);
}

static void test_every_task_once(void **state)
{
    static const int32_t n_threads[] = {1, 2, 3, 8};
    static const int32_t n_tasks[] = {0, 1, 2, 7, 8, 9, N_TASKS_MAX};
    struct job *job = MEM_NEW(struct job);
    (void)state;
    for (size_t i = 0; i < sizeof n_threads / sizeof *n_threads; i++) {
        struct pool *pool;
        assert_int_equal(pool_new(n_threads[i], &pool, NULL), OK);
        assert_int_equal(pool_threads(pool), n_threads[i]);
        for (size_t j = 0; j < sizeof n_tasks / sizeof *n_tasks; j++) run_and_check(pool, n_tasks[j], job);
        pool_free(&pool);
        assert_null(pool);
        pool_free(&pool); /* freeing twice is harmless */
    }
    mem_free(job);
}

/* Jobs that follow each other at once, with changing sizes and functions: a worker that is late for one must
 * not run its function on a task of the next. */
static void add_one(void *ctx, int32_t task, int32_t worker)
{
    (void)worker;
    ((int32_t *)ctx)[task] += 1;
}

static void add_thousand(void *ctx, int32_t task, int32_t worker)
{
    (void)worker;
    ((int32_t *)ctx)[task] += 1000;
}

static void test_many_short_jobs(void **state)
{
    enum { N_ROUNDS = 3000, N_SLOTS = 16 };
    int32_t ones[N_SLOTS] = {0}, thousands[N_SLOTS] = {0};
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_new(4, &pool, NULL), OK);
    for (int32_t round = 0; round < N_ROUNDS; round++) {
        pool_run(pool, N_SLOTS, add_one, ones);
        pool_run(pool, 2 + round % (N_SLOTS - 1), add_thousand, thousands);
    }
    int32_t total = 0;
    for (int32_t i = 0; i < N_SLOTS; i++) {
        assert_int_equal(ones[i], N_ROUNDS);
        total += thousands[i];
    }
    int32_t expected = 0;
    for (int32_t round = 0; round < N_ROUNDS; round++) expected += 1000 * (2 + round % (N_SLOTS - 1));
    assert_int_equal(total, expected);
    pool_free(&pool);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static int64_t cpu_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Idle workers must sleep, and wake for the job that comes after. */
static void test_sleeps_when_idle(void **state)
{
    struct job *job = MEM_NEW(struct job);
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_new(4, &pool, NULL), OK);
    for (int i = 0; i < 5; i++) {
        run_and_check(pool, 100, job);
        pause_ms(20);
        int64_t start = cpu_time_ns();
        pause_ms(100);
        assert_true(cpu_time_ns() - start < 20000000); /* one spinning worker would use 100 ms */
    }
    run_and_check(pool, 100, job);
    pool_free(&pool);
    mem_free(job);
}

/* The caller must sleep, then wake, when a worker holds the last task for long. */
static void hold(void *ctx, int32_t task, int32_t worker)
{
    struct job *job = ctx;
    (void)task;
    atomic_fetch_add(&job->n_in_worker[worker], 1);
    pause_ms(5);
    atomic_fetch_sub(&job->n_in_worker[worker], 1);
    job->n_runs[task]++;
}

static void test_waits_for_slow_tasks(void **state)
{
    struct job *job = MEM_NEW(struct job);
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_new(4, &pool, NULL), OK);
    for (int i = 1; i <= 10; i++) {
        pool_run(pool, 6, hold, job);
        for (int32_t task = 0; task < 6; task++) assert_int_equal(job->n_runs[task], i);
    }
    pool_free(&pool);
    mem_free(job);
}

static void test_bad_sizes(void **state)
{
    static const int32_t sizes[] = {0, -1, 1025, INT32_MAX};
    struct pool *pool;
    struct errmsg msg;
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(pool_new(sizes[i], &pool, &msg), ERR_ARG);
        assert_null(pool);
        assert_non_null(strstr(msg.text, "use 1 to 1024"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once),  cmocka_unit_test(test_many_short_jobs),
        cmocka_unit_test(test_sleeps_when_idle), cmocka_unit_test(test_waits_for_slow_tasks),
        cmocka_unit_test(test_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
