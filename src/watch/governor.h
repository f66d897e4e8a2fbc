/* When to step back, so that the user never notices that we are there.
 *
 * The governor is told what the machine is like (os/machine.h), once a second at most and only while there is
 * work, and decides: how many threads compute, at what speed, whether anything is done in the background,
 * what memory is given back. It acts through functions that the parts above register. It has no thread, no
 * timer and reads no clock: the same samples give the same decisions. Thread: loop.
 *
 * Memory in use is the largest of three shares: of limits.memory (this process's RSS), of its control group's
 * limit, and of the machine's (total less available). Above `memory_high`, or where tasks stall for memory,
 * actions are taken one after the other in the order of registration until as much is given back as leads
 * below `memory_low`; what an action has begun is waited for before the next (two samples). Above the hard
 * ceiling all of them are taken at once.
 *
 * Processors: threads go down to what other processes leave (at least 1) and up again when that has held for
 * some seconds. When the machine is busier than `cpu_high` because of others, or runs on its battery, or is
 * throttled for heat: no background work, a longer debounce hint; on battery, battery_speed. */
#ifndef WATCH_GOVERNOR_H
#define WATCH_GOVERNOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "os/machine.h"

struct governor;
struct metrics;

struct governor_options {
    bool is_off;                    /* only the limits below hold; nothing else is decided */
    int64_t memory_limit;           /* bytes of RSS; 0: none of our own */
    double cpu_limit;               /* share of all processors' time; 0 or 1: none */
    double speed;                   /* share of full speed; 0: 1 */
    double battery_speed;           /* the same on battery; 0: 1 */
    double memory_high, memory_low; /* 0: 0.80, 0.75 */
    double cpu_high, cpu_low;       /* 0: 0.90, 0.75 */
    int32_t n_threads;              /* that compute at most */
    struct metrics *metrics;        /* told at each look; or null */
};

struct governor *governor_new(const struct governor_options *o);
void governor_free(struct governor **g);

/* A way to give memory back: up to `want` bytes or a little more; returns the bytes given back or on their
 * way (0: there is nothing left to give). name: "unload idle models". Tried in the order of registration. */
void governor_add_memory_action(struct governor *g, const char *name,
                                int64_t (*give)(void *ctx, int64_t want), void *ctx);

/* What is to be done now. */
struct governor_orders {
    int32_t n_threads;
    double cpu_ceiling, speed; /* for throttle_set */
    bool background;           /* prefetches, indexing, a larger model's second opinion */
    int32_t debounce_ms;       /* clients should wait so long after a key before they ask; 0: as they like */
    int64_t kv_bytes;          /* that KV of all models may take; 0: as configured */
};

/* Called from the first governor_look, and from later ones when the orders have changed. */
void governor_on_orders(struct governor *g, void (*obey)(void *ctx, const struct governor_orders *o),
                        void *ctx);

void governor_look(struct governor *g, const struct machine_sample *s);

/* Nothing is left to do: the next sample may be as far away as the next work. False while memory is short and
 * something is being done about it, or could be. After a pause threads and background work are as at the
 * start. */
bool governor_is_calm(const struct governor *g);

struct governor_event { /* something was done */
    int64_t at_ns;      /* of the sample */
    char what[96];      /* "unload idle models: 531 MB", "2 -> 1 threads" */
    char why[96];       /* "memory 84 % of the control group's 1.0 GB" */
    int64_t gave_bytes; /* as measured afterwards: by how much the share that was too large fell; -1: not
                           known yet */
};
#define GOVERNOR_EVENTS 32

/* The largest share of memory in use at a sample that nothing is decided by: for whoever looks while there is
 * no work. */
double governor_memory_share(const struct governor *g, const struct machine_sample *s);

struct governor_status {
    struct machine_sample sample;              /* the last; at_ns 0: none yet */
    double memory_share, memory_level;         /* in use; where actions begin */
    const char *memory_of;                     /* "limit", "group" or "machine": whose share is the largest */
    double cpu_share, others_share, own_share; /* of all processors, between the last two samples */
    bool is_throttled;
    struct governor_orders orders;
    int64_t n_looks, n_actions, gave_bytes; /* so far */
    int32_t n_events;
    struct governor_event events[GOVERNOR_EVENTS]; /* newest first */
};
void governor_status(const struct governor *g, struct governor_status *out);

#endif
