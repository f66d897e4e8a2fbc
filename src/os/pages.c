/* Large anonymous memory, resident as it is touched. */
#include "os/pages.h"

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

void pages_forget(void *p, size_t bytes)
{
    madvise(p, bytes, MADV_DONTNEED); /* on failure the memory stays resident, which is only wasteful */
}

void pages_prefer_huge(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    madvise(p, bytes, MADV_HUGEPAGE); /* fails where the kernel has none */
#else
    (void)p;
    (void)bytes;
#endif
}

size_t pages_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}
