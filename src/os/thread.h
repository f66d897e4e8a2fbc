/* Single threads beside the pool's. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <pthread.h>

#include "base/err.h"

/* As pthread_create (0, or an error number), but no signal interrupts the thread, faults excepted: those are
 * for the program's own threads. */
MUST_CHECK int thread_create(pthread_t *out, void *(*run)(void *arg), void *arg);

/* Start a thread that nobody joins: it ends when `run` returns, or with the process, and must own, or hold
 * references to, all that it uses. Signals as with thread_create. */
MUST_CHECK enum err thread_start(void (*run)(void *ctx), void *ctx, struct errmsg *msg);

/* From now on the calling thread, which works for less than a millisecond at a time, gets a processor as soon
 * as it has something to do, also where others compute on all of them; no more of it than before. Does
 * nothing where the system cannot do that. */
void thread_make_prompt(void);

/* From now on the calling thread does not take the processor from whoever wakes it; it has as much of it as
 * before. */
void thread_make_batch(void);

/* From now on the calling thread runs when nothing else wants the processor. Cannot be undone. */
void thread_make_idle(void);

#endif
