/* Counted allocation: each block remembers its size in front of its bytes. */
#include "counted_mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define HEAD 16 /* keeps the bytes aligned for every type */

static size_t n_bytes;
static unsigned fail_one_in;
static uint32_t random_state = 1;

size_t counted_mem_bytes(void)
{
    return n_bytes;
}

void counted_mem_fail(unsigned one_in)
{
    fail_one_in = one_in;
}

static int must_fail(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return fail_one_in > 0 && (random_state >> 8) % fail_one_in == 0;
}

static void *counted(void *old, size_t bytes)
{
    size_t had = old ? *(size_t *)((char *)old - HEAD) : 0;
    char *block = realloc(old ? (char *)old - HEAD : NULL, HEAD + bytes);
    if (!block) abort();
    *(size_t *)block = bytes;
    n_bytes = n_bytes - had + bytes;
    return block + HEAD;
}

void *mem_new(size_t bytes)
{
    return memset(counted(NULL, bytes), 0, bytes);
}

void *mem_try(size_t n, size_t bytes)
{
    size_t total;
    if (must_fail() || __builtin_mul_overflow(n, bytes, &total)) return NULL;
    return mem_new(total);
}

void *mem_try_resize(void *p, size_t n, size_t bytes)
{
    size_t total;
    if (must_fail() || __builtin_mul_overflow(n, bytes, &total)) return NULL;
    return counted(p, total);
}

void *mem_try_aligned(size_t n, size_t bytes)
{
    (void)n;
    (void)bytes;
    return NULL; /* nothing that is counted asks for it */
}

char *mem_dup_str(const char *s)
{
    size_t len = strlen(s) + 1;
    return memcpy(mem_new(len), s, len);
}

void mem_free(void *p)
{
    if (!p) return;
    char *block = (char *)p - HEAD;
    n_bytes -= *(size_t *)block;
    free(block);
}

void mem_guard_begin(const char *phase)
{
    (void)phase;
}

void mem_guard_end(void)
{
}
