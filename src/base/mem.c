/* Heap allocation, with the guard that proves a phase free of it. */
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local const char *guarded_phase; /* null: allocation allowed */

static void check_guard(size_t bytes)
{
    if (!guarded_phase) return;
    fprintf(stderr, "inline: allocation of %zu bytes during %s\n", bytes, guarded_phase);
    abort();
}

void mem_guard_begin(const char *phase)
{
#ifndef NDEBUG
    guarded_phase = phase;
#else
    (void)phase;
#endif
}

void mem_guard_end(void)
{
    guarded_phase = NULL;
}

void *mem_new(size_t bytes)
{
    check_guard(bytes);
    void *p = calloc(1, bytes);
    if (!p) {
        fprintf(stderr, "inline: out of memory (%zu bytes)\n", bytes);
        abort();
    }
    return p;
}

void *mem_try(size_t n, size_t bytes)
{
    check_guard(n * bytes);
    return calloc(n ? n : 1, bytes);
}

void *mem_try_resize(void *p, size_t n, size_t bytes)
{
    check_guard(n * bytes);
    return reallocarray(p, n ? n : 1, bytes);
}

void *mem_try_aligned(size_t n, size_t bytes)
{
    check_guard(n * bytes);
    size_t total;
    if (__builtin_mul_overflow(n, bytes, &total) || total > SIZE_MAX - 63) return NULL;
    total = (total + 63) & ~(size_t)63;
    void *p = aligned_alloc(64, total ? total : 64);
    if (p) memset(p, 0, total ? total : 64);
    return p;
}

char *mem_dup_str(const char *s)
{
    size_t len = strlen(s) + 1;
    return memcpy(mem_new(len), s, len);
}

void mem_free(void *p)
{
    free(p);
}
