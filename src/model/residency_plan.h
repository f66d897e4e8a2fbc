/* Which bytes of which maps hold the weights in use, in the order in which a first pass of the model needs
 * them. Part of residency.c: nothing else includes this but its test. */
#ifndef MODEL_RESIDENCY_PLAN_H
#define MODEL_RESIDENCY_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct map;
struct model;
struct weight_pack;

struct residency_extent {
    const struct map *map; /* of the model's file or the pack; borrowed */
    size_t offset, len;    /* whole pages, but for the end of the map */
};

struct residency_plan {
    struct residency_extent *extents; /* [n], in the order of reading; owned */
    int32_t n, n_small;               /* of n, those at the beginning that are requests of their own */
    int64_t bytes;                    /* of all */
};

/* Extents below this are read first, all at once: vectors between matrices that are read from elsewhere. */
#define RESIDENCY_SMALL_BYTES ((size_t)64 << 10)

/* pack: ready, or null. ERR_NOMEM. */
MUST_CHECK enum err residency_plan_make(const struct model *m, const struct weight_pack *pack,
                                        struct residency_plan *out);
void residency_plan_clear(struct residency_plan *plan); /* tolerates a zeroed plan */

#endif
