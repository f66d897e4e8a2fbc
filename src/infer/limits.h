/* When a computation is to be given up. */
#ifndef INFER_LIMITS_H
#define INFER_LIMITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/clock.h"

/* A zeroed struct: never. Once over, limits stay over until the call that they were given to has returned. */
struct limits {
    const atomic_bool *cancel; /* set from any thread; or null */
    int64_t deadline_ns;       /* of clock_ns(); 0: none */
};

static inline bool limits_are_over(const struct limits *l)
{
    if (!l) return false;
    if (l->cancel && atomic_load_explicit(l->cancel, memory_order_relaxed)) return true;
    return l->deadline_ns && clock_ns() >= l->deadline_ns;
}

#endif
