/* The machine's own limits and disturbances, for `inline bench model`. */
#ifndef CLI_BENCH_MACHINE_H
#define CLI_BENCH_MACHINE_H

#include <stdint.h>

#include "base/err.h"

/* GB/s that n_threads together read from memory; the best of three passes. 0 if memory is short. */
double bench_machine_read_gb_s(int32_t n_threads);

/* A thread that keeps one processor busy, as another program would. */
struct bench_neighbour;
MUST_CHECK enum err bench_neighbour_start(struct bench_neighbour **out, struct errmsg *msg);
void bench_neighbour_stop(struct bench_neighbour **n);

#endif
