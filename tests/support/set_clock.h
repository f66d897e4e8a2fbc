/* Stands in for os/clock.c in the programs that include this header: time passes when the test says so, and
 * by a step with each look at the clock from the test's own thread, so that what is timed there takes exactly
 * as many steps as it looks at the clock. */
#ifndef TESTS_SUPPORT_SET_CLOCK_H
#define TESTS_SUPPORT_SET_CLOCK_H

#include <stdint.h>

/* The calling thread is the test's. step_ns: before each of its looks; 0: none. */
void set_clock_start(int64_t now_ns, int64_t step_ns);
void set_clock_advance(int64_t ns); /* any thread */
int64_t set_clock_peek(void);       /* without a step */

#endif
