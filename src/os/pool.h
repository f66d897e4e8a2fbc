/* Worker threads for data-parallel loops: pure functions over disjoint parts.
 *
 * Any thread may run a job; jobs of several callers take turns, first come first served, each with all the
 * workers. Tasks are claimed one by one from a shared counter, so a worker that the system took off its core
 * delays only the task it holds. Workers sleep when there is nothing to do. */
#ifndef OS_POOL_H
#define OS_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

/* Does task number `task`; `worker` in 0..n_threads-1 names the thread, for per-thread scratch. 0 is whoever
 * called pool_run, so callers that share a pool need scratch of their own. */
typedef void pool_fn(void *ctx, int32_t task, int32_t worker);

/* n_threads counts the calling thread; 1 makes a pool without threads. */
MUST_CHECK enum err pool_new(int32_t n_threads, struct pool **out, struct errmsg *msg);
/* The same with workers that stay on these processors ("0-3,6"), free to move among them; n_threads 0: as
 * many as are listed. ERR_ARG: not such a list, or one of them may not be used. */
MUST_CHECK enum err pool_new_on(const char *cpus, int32_t n_threads, struct pool **out, struct errmsg *msg);
void pool_free(struct pool **pool); /* nobody may be in pool_run */
int32_t pool_threads(const struct pool *pool);

/* Use at most n of the threads from the next job on (1..pool_threads; others count as the nearest). Any
 * thread. */
void pool_set_active(struct pool *pool, int32_t n);
int32_t pool_active(const struct pool *pool);

/* Keep the calling thread on the pool's processors, as a worker would be. For threads that spend their life
 * in pool_run. */
void pool_place_caller(const struct pool *pool);

/* Run fn for every task in 0..n_tasks-1 and return when all are done. The caller works as worker 0; while it
 * waits for its turn it sleeps. A task must not run a job. */
void pool_run(struct pool *pool, int32_t n_tasks, pool_fn *fn, void *ctx);

#endif
