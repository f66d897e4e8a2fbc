/* A ceiling on the processor time that this process takes, and a speed below full speed.
 *
 * Work that may be slowed asks throttle_rest_ns before each piece (a pass of the engine, tens of
 * milliseconds) and rests for so long. The ceiling is a token bucket over the CPU clock of the whole process,
 * so that what other threads use counts too; the speed is a duty cycle: after work of t, a rest of t (1 -
 * speed) / speed. Threads: any; throttle_set from one. */
#ifndef OS_THROTTLE_H
#define OS_THROTTLE_H

#include <stdint.h>

struct throttle;

struct throttle *throttle_new(int32_t n_cpus);
void throttle_free(struct throttle **t);

/* ceiling: share of n_cpus processors' time, 0 < ceiling <= 1, where 1 is none; speed: 0 < speed <= 1. */
void throttle_set(struct throttle *t, double ceiling, double speed);

/* A piece of work has taken so long. */
void throttle_worked(struct throttle *t, int64_t ns);

/* How long to rest before the next piece; 0: none. The caller may ask again before that is over. */
int64_t throttle_rest_ns(struct throttle *t);

#endif
