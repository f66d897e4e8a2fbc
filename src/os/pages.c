/* Large anonymous memory, resident as it is touched. */
#include "os/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

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

void pages_discard(void *p, size_t from, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t start = (from + page - 1) / page * page;
    if (start < bytes) madvise((char *)p + start, bytes - start, MADV_DONTNEED);
}
