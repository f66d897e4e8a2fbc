/* Heap allocation.
 *
 * mem_new and mem_dup_str are for small, fixed things and abort the process when memory is out. Whatever
 * is sized by a file, a client or a model goes through mem_try, whose null must become ERR_NOMEM. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* Zeroed memory for one object of a fixed type. Never null. */
#define MEM_NEW(type) ((type *)mem_new(sizeof(type)))
void *mem_new(size_t bytes);

/* Zeroed memory for n objects of `bytes` each; null if out of memory or if n * bytes overflows. */
void *mem_try(size_t n, size_t bytes);

/* Resize to n objects of `bytes` each, contents kept, new part not zeroed; null (old block untouched) on
 * failure. */
void *mem_try_resize(void *p, size_t n, size_t bytes);

/* Like mem_try, aligned to 64 bytes (cache line, widest vector). Freed by mem_free. */
void *mem_try_aligned(size_t n, size_t bytes);

/* A heap copy of a string; never null. */
char *mem_dup_str(const char *s);

void mem_free(void *p);

/* Between begin and end, any allocation by this thread aborts, naming the phase; compiled in when NDEBUG
 * is not defined, else nothing. Guards the rule that decoding does not allocate. */
void mem_guard_begin(const char *phase);
void mem_guard_end(void);

#endif
