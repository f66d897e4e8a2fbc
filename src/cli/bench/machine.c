/* What the machine can read in a second, which bounds decoding, and a neighbour that takes one processor. */
#include "cli/bench/machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/pages.h"
#include "os/pool.h"

/* Far larger than any last-level cache. */
#define BANDWIDTH_BYTES ((size_t)512 << 20)
#define BANDWIDTH_TASKS 64

struct bandwidth {
    const uint64_t *data;
    uint64_t sums[BANDWIDTH_TASKS];
};

static void read_part(void *ctx, int32_t task, int32_t worker)
{
    (void)worker;
    struct bandwidth *b = ctx;
    size_t n = BANDWIDTH_BYTES / sizeof(uint64_t) / BANDWIDTH_TASKS;
    const uint64_t *p = b->data + (size_t)task * n;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n; i += 8) {
        for (int j = 0; j < 8; j++) sums[j] += p[i + (size_t)j];
    }
    for (int j = 0; j < 8; j++) b->sums[task] += sums[j];
}

double bench_machine_read_gb_s(int32_t n_threads)
{
    struct pool *pool;
    struct errmsg ignored;
    if (pool_new(n_threads, &pool, &ignored)) return 0;
    struct bandwidth b = {.data = pages_reserve(BANDWIDTH_BYTES)};
    double best = 0;
    if (b.data) {
        memset((void *)b.data, 1, BANDWIDTH_BYTES);
        for (int i = 0; i < 3; i++) {
            int64_t start = clock_ns();
            pool_run(pool, BANDWIDTH_TASKS, read_part, &b);
            double rate = (double)BANDWIDTH_BYTES / (double)(clock_ns() - start);
            if (rate > best) best = rate;
        }
    }
    pages_release((void *)b.data, BANDWIDTH_BYTES);
    pool_free(&pool);
    return best;
}

/* --- The neighbour ----------------------------------------------------------------------------------- */

struct bench_neighbour {
    pthread_t thread;
    atomic_bool is_stopped;
};

static void *stay_busy(void *arg)
{
    struct bench_neighbour *n = arg;
    cpu_pin_to_last();
    while (!atomic_load_explicit(&n->is_stopped, memory_order_relaxed)) continue; /* only the time matters */
    return NULL;
}

enum err bench_neighbour_start(struct bench_neighbour **out, struct errmsg *msg)
{
    struct bench_neighbour *n = MEM_NEW(struct bench_neighbour);
    int failure = pthread_create(&n->thread, NULL, stay_busy, n);
    if (failure) {
        mem_free(n);
        return err_set(msg, ERR_NOMEM, "cannot start a thread: %s", strerror(failure));
    }
    *out = n;
    return OK;
}

void bench_neighbour_stop(struct bench_neighbour **np)
{
    struct bench_neighbour *n = *np;
    *np = NULL;
    if (!n) return;
    atomic_store(&n->is_stopped, true);
    pthread_join(n->thread, NULL);
    mem_free(n);
}
