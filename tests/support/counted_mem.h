/* The functions of base/mem.h, counted: a test that links these instead sees every byte that the code under
 * test holds, and can let allocations fail. Thread: one. */
#ifndef TEST_COUNTED_MEM_H
#define TEST_COUNTED_MEM_H

#include <stddef.h>

size_t counted_mem_bytes(void); /* that are allocated now, as they were asked for */

/* Of the allocations to come, one in so many fails (at random); 0: none. Those that may not fail never do. */
void counted_mem_fail(unsigned one_in);

#endif
