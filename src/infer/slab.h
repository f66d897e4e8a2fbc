/* One reservation of memory cut into aligned pieces. The layout function runs twice: first with memory
 * null, to measure, then over the reservation. */
#ifndef INFER_SLAB_H
#define INFER_SLAB_H

#include <stddef.h>

struct slab {
    char *memory; /* from pages_reserve, or null while measuring */
    size_t bytes; /* reserved */
    size_t used;
};

/* The next piece, 64-byte aligned; null while measuring. */
static inline void *slab_take(struct slab *s, size_t bytes)
{
    void *p = s->memory ? s->memory + s->used : NULL;
    s->used += (bytes + 63) & ~(size_t)63;
    return p;
}

#endif
