/* "Did you mean ...?": which of some names a mistyped one is closest to. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stdint.h>

struct nearest {
    const char *name; /* what was typed; borrowed */
    const char *best; /* the closest offer so far, or null; borrowed */
    int32_t distance;
};

/* Offer candidates one after another; n->best is then the closest, null when none is close enough to be a
 * plausible typing mistake. The first of equals wins. */
void nearest_init(struct nearest *n, const char *name);
void nearest_offer(struct nearest *n, const char *candidate);

#endif
