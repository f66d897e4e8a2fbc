/* Large anonymous memory, resident as it is touched. */
#include "os/pages.h"

#include <sys/mman.h>

void *pages_reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void pages_release(void *p, size_t bytes)
{
    if (p) munmap(p, bytes ? bytes : 1);
}
