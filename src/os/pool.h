/* Worker threads for data-parallel loops: pure functions over disjoint parts.
 *
 * One caller at a time. Tasks are claimed one by one from a shared counter, so a worker that the system
 * took off its core delays only the task it holds. Workers sleep when there is nothing to do. */
#ifndef OS_POOL_H
#define OS_POOL_H

#include <stdint.h>

#include "base/err.h"

struct pool;

/* Does task number `task`; `worker` in 0..n_threads-1 names the thread, for per-thread scratch. */
typedef void pool_fn(void *ctx, int32_t task, int32_t worker);

/* n_threads counts the calling thread; 1 makes a pool without threads. */
MUST_CHECK enum err pool_new(int32_t n_threads, struct pool **out, struct errmsg *msg);
void pool_free(struct pool **pool);
int32_t pool_threads(const struct pool *pool);

/* Run fn for every task in 0..n_tasks-1 and return when all are done. The caller works as worker 0. */
void pool_run(struct pool *pool, int32_t n_tasks, pool_fn *fn, void *ctx);

#endif
