/* Large anonymous memory that is reserved at once and becomes resident page by page as it is touched. */
#ifndef OS_PAGES_H
#define OS_PAGES_H

#include <stddef.h>

/* Zeroed, page-aligned; null if the address space or the overcommit limit does not allow it. */
void *pages_reserve(size_t bytes);
void pages_release(void *p, size_t bytes); /* tolerates null */

/* Give memory of a reservation back to the system; the address range stays reserved, its contents are lost.
 * p and bytes are multiples of pages_size. */
void pages_forget(void *p, size_t bytes);

/* Ask for large pages of memory in a reservation that will be used much: fewer page faults and TLB misses,
 * but memory becomes resident in coarser steps. A hint. */
void pages_prefer_huge(void *p, size_t bytes);

/* Bytes of the system's memory pages. */
size_t pages_size(void);

#endif
