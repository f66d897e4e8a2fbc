/* Time: monotonic, and of day. */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

/* Nanoseconds since an arbitrary start; never goes back. */
int64_t clock_ns(void);

/* Milliseconds from start_ns to now. */
double clock_ms_since(int64_t start_ns);

int64_t clock_unix_us(void); /* microseconds since 1970; may be set back and forth by people */

#endif
