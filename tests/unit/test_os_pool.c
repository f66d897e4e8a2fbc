/* The worker pool: every task exactly once, by a valid worker, finished on return, asleep when idle; callers
 * that share it take turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
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

/* Several callers. What is shared by the tasks of all is plain on purpose, as in struct job: only one job
 * runs at a time, and what one caller's job wrote is visible to the next one's. */
enum { N_CALLERS = 4, N_SHARED_TASKS = 12 };

struct shared {
    struct pool *pool;
    int32_t n_runs[N_SHARED_TASKS];
    atomic_int n_tasks_of[N_CALLERS]; /* that run right now */
    atomic_bool has_overlap;
};

struct caller {
    struct shared *shared;
    int32_t index, n_jobs;
    int32_t n_own[N_SHARED_TASKS];
};

static void count_in_both(void *ctx, int32_t task, int32_t worker)
{
    struct caller *c = ctx;
    struct shared *s = c->shared;
    (void)worker;
    atomic_fetch_add(&s->n_tasks_of[c->index], 1);
    s->n_runs[task]++;
    c->n_own[task]++;
    if (c->n_own[task] % 16 == 0) sched_yield(); /* changes who waits for whom */
    for (int32_t i = 0; i < N_CALLERS; i++) {
        if (i != c->index && atomic_load(&s->n_tasks_of[i]) != 0) atomic_store(&s->has_overlap, true);
    }
    atomic_fetch_sub(&s->n_tasks_of[c->index], 1);
}

static void *call_often(void *arg)
{
    struct caller *c = arg;
    for (int32_t i = 0; i < c->n_jobs; i++) pool_run(c->shared->pool, N_SHARED_TASKS, count_in_both, c);
    return NULL;
}

static void test_callers_take_turns(void **state)
{
    static const int32_t n_threads[] = {2, 3, 8};
    (void)state;
    for (size_t k = 0; k < sizeof n_threads / sizeof *n_threads; k++) {
        struct shared shared = {0};
        struct caller callers[N_CALLERS] = {0};
        pthread_t threads[N_CALLERS];
        int32_t total = 0;
        assert_int_equal(pool_new(n_threads[k], &shared.pool, NULL), OK);
        for (int32_t i = 0; i < N_CALLERS; i++) {
            callers[i] = (struct caller){.shared = &shared, .index = i, .n_jobs = 300 + 100 * i};
            total += callers[i].n_jobs;
            assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
        }
        for (int32_t i = 0; i < N_CALLERS; i++) pthread_join(threads[i], NULL);
        for (int32_t task = 0; task < N_SHARED_TASKS; task++) {
            assert_int_equal(shared.n_runs[task], total);
            for (int32_t i = 0; i < N_CALLERS; i++)
                assert_int_equal(callers[i].n_own[task], callers[i].n_jobs);
        }
        assert_false(shared.has_overlap);
        pool_free(&shared.pool);
    }
}

/* A caller that asks without pause must not keep another one out. */
struct greedy {
    struct pool *pool;
    atomic_int n_begun;
    atomic_bool stop;
    int seen; /* n_begun when the modest caller's job began */
};

static void work_a_little(void *ctx, int32_t task, int32_t worker)
{
    struct greedy *g = ctx;
    (void)worker;
    if (task == 0) atomic_fetch_add(&g->n_begun, 1);
    for (volatile int i = 0; i < 20000; i++) {
    }
}

static void see(void *ctx, int32_t task, int32_t worker)
{
    struct greedy *g = ctx;
    (void)worker;
    if (task == 0) g->seen = atomic_load(&g->n_begun);
}

static void *call_without_pause(void *arg)
{
    struct greedy *g = arg;
    while (!atomic_load(&g->stop)) pool_run(g->pool, 4, work_a_little, g);
    return NULL;
}

static void test_is_fair(void **state)
{
    enum { N = 100 };
    struct greedy g = {0};
    pthread_t thread;
    int n_prompt = 0;
    (void)state;
    assert_int_equal(pool_new(2, &g.pool, NULL), OK);
    assert_int_equal(pthread_create(&thread, NULL, call_without_pause, &g), 0);
    while (atomic_load(&g.n_begun) == 0) sched_yield();
    for (int i = 0; i < N; i++) {
        int before = atomic_load(&g.n_begun);
        pool_run(g.pool, 2, see, &g);
        n_prompt += g.seen - before <= 2; /* the job under way, and one that drew its number just before us */
    }
    atomic_store(&g.stop, true);
    pthread_join(thread, NULL);
    pool_free(&g.pool);
    /* The system may take us off the processor between the look and the call; rarely. */
    assert_in_range(n_prompt, N * 3 / 4, N);
}

/* A caller that waits for its turn sleeps. */
static void *hold_often(void *arg)
{
    struct job *job = MEM_NEW(struct job);
    pool_run(arg, 20, hold, job);
    mem_free(job);
    return NULL;
}

static void test_sleeps_until_its_turn(void **state)
{
    struct pool *pool;
    pthread_t threads[N_CALLERS];
    (void)state;
    assert_int_equal(pool_new(2, &pool, NULL), OK);
    int64_t start = cpu_time_ns();
    for (int i = 0; i < N_CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_often, pool), 0);
    for (int i = 0; i < N_CALLERS; i++) pthread_join(threads[i], NULL); /* 4 jobs of 20 / 2 * 5 ms */
    assert_true(cpu_time_ns() - start < 60000000);                      /* one that spins would use 150 ms */
    pool_free(&pool);
}

/* Which tasks ran where only one processor was allowed. */
static void look_at_place(void *ctx, int32_t task, int32_t worker)
{
    cpu_set_t set;
    (void)task;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1) ((bool *)ctx)[worker] = true;
    pause_ms(2); /* so that every worker gets some */
}

static int32_t first_processor(const cpu_set_t *set)
{
    int32_t i = 0;
    while (!CPU_ISSET(i, set)) i++;
    return i;
}

static void test_placement(void **state)
{
    cpu_set_t all;
    char cpus[16];
    bool is_on_one[3] = {false};
    struct pool *pool;
    struct errmsg msg;
    (void)state;
    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) skip();
    snprintf(cpus, sizeof cpus, "%d", first_processor(&all));
    assert_int_equal(pool_new_on(cpus, 0, &pool, &msg), OK);
    assert_int_equal(pool_threads(pool), 1);
    pool_free(&pool);

    assert_int_equal(pool_new_on(cpus, 3, &pool, &msg), OK);
    pool_run(pool, 30, look_at_place, is_on_one);
    assert_true(is_on_one[1] && is_on_one[2]);
    assert_false(is_on_one[0]); /* the caller is where it was ... */
    pool_place_caller(pool);
    pool_run(pool, 30, look_at_place, is_on_one);
    assert_true(is_on_one[0]); /* ... until it asks */
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    pool_free(&pool);

    assert_int_equal(pool_new_on("0-", 2, &pool, &msg), ERR_ARG);
    assert_null(pool);
    assert_int_equal(pool_new_on("1023", 2, &pool, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "processor 1023"));
}

/* Only the active ones work, from the next job on, and others can be had back at any time. */
static void test_active_threads(void **state)
{
    static const int32_t steps[][2] = {{1, 1},  {2, 2},  {4, 4}, {3, 3}, {0, 1},
                                       {-5, 1}, {99, 4}, {1, 1}, {4, 4}};
    struct job *job = MEM_NEW(struct job);
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_new(4, &pool, NULL), OK);
    assert_int_equal(pool_active(pool), 4);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        pool_set_active(pool, steps[i][0]);
        assert_int_equal(pool_active(pool), steps[i][1]);
        assert_int_equal(pool_threads(pool), 4);
        for (int32_t n_tasks = 2; n_tasks <= 400; n_tasks += 199) {
            run_and_check(pool, n_tasks, job);
            for (int32_t task = 0; task < n_tasks; task++)
                assert_in_range(job->worker[task], 0, steps[i][1] - 1);
        }
        /* All that are active come: each holds a task for so long that the others take theirs. */
        memset(job, 0, sizeof *job);
        pool_run(pool, 4, hold, job);
        for (int32_t task = 0; task < 4; task++) assert_int_equal(job->n_runs[task], 1);
    }
    pool_free(&pool);
    mem_free(job);
}

/* Those that are not sleep, also while jobs follow each other. */
static void test_inactive_threads_sleep(void **state)
{
    enum { N_SLOTS = 16 };
    int32_t ones[N_SLOTS] = {0};
    struct pool *pool;
    (void)state;
    assert_int_equal(pool_new(4, &pool, NULL), OK);
    pool_set_active(pool, 1);
    pause_ms(20);
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    int64_t own = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec, all = cpu_time_ns();
    for (int i = 0; i < 100000; i++) pool_run(pool, N_SLOTS, add_one, ones);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    own = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - own;
    all = cpu_time_ns() - all;
    assert_true(all - own < 5000000 + own / 10);
    assert_int_equal(ones[0], 100000);
    pool_free(&pool);
}

struct switcher {
    struct pool *pool;
    atomic_bool stop;
};

static void *switch_often(void *arg)
{
    struct switcher *s = arg;
    for (int32_t n = 1; !atomic_load(&s->stop); n = n % 4 + 1) {
        pool_set_active(s->pool, n);
        if (n == 4) pause_ms(0);
    }
    return NULL;
}

static void test_active_changes_under_way(void **state)
{
    struct job *job = MEM_NEW(struct job);
    struct switcher s = {0};
    pthread_t thread;
    (void)state;
    assert_int_equal(pool_new(4, &s.pool, NULL), OK);
    assert_int_equal(pthread_create(&thread, NULL, switch_often, &s), 0);
    for (int32_t round = 0; round < 1500; round++) run_and_check(s.pool, 2 + round % 60, job);
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    pool_set_active(s.pool, 4);
    run_and_check(s.pool, 100, job);
    pool_free(&s.pool);
    mem_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_task_once),
        cmocka_unit_test(test_many_short_jobs),
        cmocka_unit_test(test_sleeps_when_idle),
        cmocka_unit_test(test_waits_for_slow_tasks),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_callers_take_turns),
        cmocka_unit_test(test_is_fair),
        cmocka_unit_test(test_sleeps_until_its_turn),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_active_threads),
        cmocka_unit_test(test_inactive_threads_sleep),
        cmocka_unit_test(test_active_changes_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
