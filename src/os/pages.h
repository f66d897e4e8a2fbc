/* Large anonymous memory that is reserved at once and becomes resident page by page as it is touched. */
#ifndef OS_PAGES_H
#define OS_PAGES_H

#include <stddef.h>

/* Zeroed, page-aligned; null if the address space or the overcommit limit does not allow it. */
void *pages_reserve(size_t bytes);
void pages_release(void *p, size_t bytes); /* tolerates null */

#endif
