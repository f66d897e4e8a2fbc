/* Single threads beside the pool's. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include "base/err.h"

/* Start a thread that nobody joins: it ends when `run` returns, or with the process, and must own, or hold
 * references to, all that it uses. No signal interrupts it (faults excepted): those are for the program's own
 * threads. */
MUST_CHECK enum err thread_start(void (*run)(void *ctx), void *ctx, struct errmsg *msg);

/* From now on the calling thread runs when nothing else wants the processor. Cannot be undone. */
void thread_make_idle(void);

#endif
