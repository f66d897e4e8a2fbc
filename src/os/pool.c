/* Worker threads for data-parallel loops.
 *
 * One atomic word, the ticket, holds the job's number and how many of its tasks are unclaimed. A thread
 * claims a task by decrementing the count with compare-and-swap; because the job's number is in the same
 * word, a thread that slept through a job can never claim a task of the next one under the old job's
 * function. A job is over when its tasks are done, not when every worker has looked at it, so a worker
 * that the system keeps off its core costs nothing unless it holds a task.
 *
 * Whoever waits for workers, or as a worker for work, spins for a moment, because the next job of a decoding
 * step comes within microseconds, then sleeps on a condition variable. A caller that finds another's job
 * under way sleeps at once: it would spin on a processor that the job needs. Workers beyond those that are
 * active sleep on a condition of their own, so that no call for a worker is spent on one that may not work.
 *
 * Threads: the callers of pool_run, one after the other, and n_threads - 1 workers that the pool owns. */
#include "os/pool.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/thread.h"

#define MAX_THREADS 1024  /* far above any machine this serves; catches nonsense */
#define SPIN_NS     40000 /* a few times the serial gap between two jobs, far below a scheduler tick */
#define CACHE_LINE  64    /* keeps words written by different threads from slowing each other */

struct worker {
    struct pool *pool; /* borrowed */
    int32_t index;     /* 1..n_threads-1; the caller of pool_run is 0 */
    pthread_t thread;
};

struct pool {
    int32_t n_threads;
    atomic_int_least32_t n_active; /* of them, that work from the next job on; written with the lock */
    int32_t n_started;             /* workers to join */
    struct worker *workers;        /* [n_threads - 1], owned */
    struct cpu_list cpus;          /* where the workers run; empty: anywhere */

    /* Whose job it is: a ticket lock (Mellor-Crummey and Scott, TOCS 1991) whose waiters sleep. A caller
     * draws the number n_turns_drawn and has its turn when that many turns are over. */
    alignas(CACHE_LINE) atomic_uint_least32_t n_turns_drawn;
    atomic_uint_least32_t n_turns_over;

    /* The current job. Written by pool_run while no task is unclaimed. A worker may read them at that
     * very moment, hence atomics, but its claim then fails and it drops what it read. */
    _Atomic(pool_fn *) fn;
    _Atomic(void *) ctx;
    atomic_int_least32_t n_tasks;
    atomic_int_least32_t n_workers; /* threads whose number is below may claim */

    alignas(CACHE_LINE) atomic_uint_least64_t ticket; /* job number << 32 | unclaimed tasks */
    alignas(CACHE_LINE) atomic_int_least32_t n_done;  /* tasks of the current job that are finished */

    alignas(CACHE_LINE) pthread_mutex_t lock; /* guards only the conditions */
    pthread_cond_t turn;                      /* a turn is over */
    pthread_cond_t work;                      /* there is a job, or stop, or fewer are active */
    pthread_cond_t active;                    /* more are active, or stop */
    pthread_cond_t done;                      /* the current job is over */
    atomic_int_least32_t n_asleep;            /* workers in, or about to enter, a wait */
    atomic_bool stop;
};

static void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int32_t unclaimed(uint64_t ticket)
{
    return (int32_t)(ticket & UINT32_MAX);
}

static bool has_work(const void *worker)
{
    const struct worker *w = worker;
    struct pool *p = w->pool;
    /* Sequentially consistent: see wake_workers. n_workers is that of this ticket or of a later one. */
    return (unclaimed(atomic_load(&p->ticket)) > 0 &&
            w->index < atomic_load_explicit(&p->n_workers, memory_order_relaxed)) ||
           atomic_load(&p->stop);
}

static bool is_done(const void *pool)
{
    const struct pool *p = pool;
    /* Acquire: what the tasks wrote is visible to the caller of pool_run. */
    return atomic_load_explicit(&p->n_done, memory_order_acquire) ==
           atomic_load_explicit(&p->n_tasks, memory_order_relaxed);
}

/* Spin until ready(ctx) holds; false if it did not within SPIN_NS. */
static bool spin_until(bool ready(const void *ctx), const void *ctx)
{
    int64_t start = clock_ns();
    do {
        for (int i = 0; i < 32; i++) { /* about as long as reading the clock once */
            if (ready(ctx)) return true;
            spin_pause();
        }
    } while (clock_ns() - start < SPIN_NS);
    return false;
}

/* Claim and do tasks until none is left. */
static void do_tasks(struct pool *p, int32_t worker)
{
    /* Acquire: pairs with the release of the ticket in pool_run, so fn, ctx, n_tasks and n_workers are those
     * of this job or of a later one; in the latter case the exchange fails. */
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    while (unclaimed(ticket) > 0) {
        pool_fn *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
        void *ctx = atomic_load_explicit(&p->ctx, memory_order_relaxed);
        int32_t n_tasks = atomic_load_explicit(&p->n_tasks, memory_order_relaxed);
        if (worker >= atomic_load_explicit(&p->n_workers, memory_order_relaxed)) return;
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, ticket - 1, memory_order_acquire,
                                                   memory_order_acquire)) {
            continue;
        }
        fn(ctx, n_tasks - unclaimed(ticket), worker);
        /* Release: the task's writes come before its count. Once the last task is counted the caller may
         * start another job, so n_tasks must not be read again. */
        if (atomic_fetch_add_explicit(&p->n_done, 1, memory_order_release) + 1 == n_tasks && worker != 0) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
        ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

static bool is_active(const struct worker *w)
{
    return w->index < atomic_load_explicit(&w->pool->n_active, memory_order_relaxed);
}

static void wait_for_work(struct worker *w)
{
    struct pool *p = w->pool;
    if (is_active(w) && spin_until(has_work, w)) return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_asleep, 1);
    while (!has_work(w)) pthread_cond_wait(is_active(w) ? &p->work : &p->active, &p->lock);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->lock);
}

/* Either this load sees a worker that is about to sleep, or that worker's has_work sees the new ticket: the
 * stores and loads of both words are sequentially consistent. The lock then waits until it sleeps. */
static void wake_workers(struct pool *p, int32_t wanted)
{
    if (wanted <= 0 || atomic_load(&p->n_asleep) == 0) return;
    pthread_mutex_lock(&p->lock);
    for (int32_t n = atomic_load(&p->n_asleep); n > 0 && wanted > 0; n--, wanted--)
        pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    if (w->pool->cpus.n > 0) cpu_list_pin(&w->pool->cpus);
    while (!atomic_load(&w->pool->stop)) {
        do_tasks(w->pool, w->index);
        wait_for_work(w);
    }
    return NULL;
}

/* Wait until the jobs of all callers that came before are over. */
static void begin_turn(struct pool *p)
{
    uint32_t mine = atomic_fetch_add(&p->n_turns_drawn, 1);
    if (atomic_load(&p->n_turns_over) == mine) return;
    pthread_mutex_lock(&p->lock);
    while (atomic_load(&p->n_turns_over) != mine) pthread_cond_wait(&p->turn, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

/* Either this load sees that another caller has drawn its number, or that caller sees that this turn is over:
 * the stores and loads of both words are sequentially consistent. */
static void end_turn(struct pool *p)
{
    uint32_t n_over = atomic_load_explicit(&p->n_turns_over, memory_order_relaxed) + 1; /* only we write it */
    atomic_store(&p->n_turns_over, n_over);
    if (atomic_load(&p->n_turns_drawn) == n_over) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->turn); /* to all: only the next in line goes on; there are few callers */
    pthread_mutex_unlock(&p->lock);
}

static void wait_until_done(struct pool *p)
{
    if (spin_until(is_done, p)) return;
    pthread_mutex_lock(&p->lock);
    while (!is_done(p)) pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_run(struct pool *p, int32_t n_tasks, pool_fn *fn, void *ctx)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (int32_t task = 0; task < n_tasks; task++) fn(ctx, task, 0);
        return;
    }
    begin_turn(p);
    int32_t n_workers = atomic_load_explicit(&p->n_active, memory_order_relaxed);
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&p->n_tasks, n_tasks, memory_order_relaxed);
    atomic_store_explicit(&p->n_workers, n_workers, memory_order_relaxed);
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    uint64_t job = (atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 32) + 1;
    atomic_store(&p->ticket, job << 32 | (uint32_t)n_tasks);
    wake_workers(p, (n_tasks < n_workers ? n_tasks : n_workers) - 1);

    do_tasks(p, 0);
    wait_until_done(p);
    end_turn(p);
}

static enum err start_workers(struct pool *p, struct errmsg *msg)
{
    while (p->n_started < p->n_threads - 1) {
        struct worker *w = &p->workers[p->n_started];
        *w = (struct worker){.pool = p, .index = p->n_started + 1};
        int failure = thread_create(&w->thread, worker_main, w);
        if (failure) {
            return err_set(msg, ERR_LIMIT, "cannot start thread %d of %d: %s; use fewer threads",
                           p->n_started + 2, p->n_threads, strerror(failure));
        }
        p->n_started++;
    }
    return OK;
}

static enum err new_on(const struct cpu_list *cpus, int32_t n_threads, struct pool **out, struct errmsg *msg)
{
    if (n_threads < 1 || n_threads > MAX_THREADS) {
        return err_set(msg, ERR_ARG, "%d threads: use 1 to %d", n_threads, MAX_THREADS);
    }
    struct pool *p = mem_try_aligned(1, sizeof *p);
    if (!p) return err_set(msg, ERR_NOMEM, "no memory for a pool of %d threads", n_threads);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->turn, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->active, NULL);
    pthread_cond_init(&p->done, NULL);
    p->n_threads = n_threads;
    atomic_init(&p->n_active, n_threads);
    p->cpus = *cpus;
    p->workers = mem_try((size_t)n_threads - 1, sizeof *p->workers);
    enum err err = p->workers ? start_workers(p, msg)
                              : err_set(msg, ERR_NOMEM, "no memory for a pool of %d threads", n_threads);
    if (err) pool_free(&p);
    *out = p;
    return err;
}

enum err pool_new(int32_t n_threads, struct pool **out, struct errmsg *msg)
{
    static const struct cpu_list anywhere = {0};
    *out = NULL;
    return new_on(&anywhere, n_threads, out, msg);
}

enum err pool_new_on(const char *cpus, int32_t n_threads, struct pool **out, struct errmsg *msg)
{
    struct cpu_list list;
    *out = NULL;
    enum err err = cpu_list_parse(cpus, &list, msg);
    if (!err) err = cpu_list_check(&list, msg);
    return err ? err : new_on(&list, n_threads ? n_threads : list.n, out, msg);
}

void pool_place_caller(const struct pool *p)
{
    if (p->cpus.n > 0) cpu_list_pin(&p->cpus);
}

void pool_free(struct pool **pool)
{
    struct pool *p = *pool;
    *pool = NULL;
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->work);
    pthread_cond_broadcast(&p->active);
    pthread_mutex_unlock(&p->lock);
    for (int32_t i = 0; i < p->n_started; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->active);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->turn);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}

int32_t pool_threads(const struct pool *pool)
{
    return pool->n_threads;
}

void pool_set_active(struct pool *p, int32_t n)
{
    if (n < 1) n = 1;
    if (n > p->n_threads) n = p->n_threads;
    pthread_mutex_lock(&p->lock);
    atomic_store_explicit(&p->n_active, n, memory_order_relaxed);
    /* Each worker looks which of the two conditions is its own. */
    pthread_cond_broadcast(&p->work);
    pthread_cond_broadcast(&p->active);
    pthread_mutex_unlock(&p->lock);
}

int32_t pool_active(const struct pool *pool)
{
    return atomic_load_explicit(&pool->n_active, memory_order_relaxed);
}
