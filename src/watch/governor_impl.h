/* The governor's insides: governor.c (life, orders, what is told about them), governor_memory.c (which memory
 * is short and what is done about it), governor_cpu.c (what other processes leave of the processors). */
#ifndef WATCH_GOVERNOR_IMPL_H
#define WATCH_GOVERNOR_IMPL_H

#include "base/buf.h"
#include "watch/governor.h"

#define GOVERNOR_ACTIONS_MAX 8

struct governor_action {
    const char *name; /* borrowed, as what follows: the caller's constant */
    int64_t (*give)(void *ctx, int64_t want);
    void *ctx;
    int32_t metric_label; /* of METRIC_GOVERNOR_ACTIONS */
};

/* What was done and is waited for. */
struct governor_pending {
    int64_t event;     /* its number: of governor.n_events */
    int64_t estimated; /* bytes, as the action said */
};

struct governor_memory {
    bool is_short;
    int32_t n_high;       /* samples in a row above the level */
    int32_t n_wait;       /* samples until what was done is judged */
    int32_t next;         /* action to try */
    int64_t exhausted_ns; /* when all actions had been tried, nothing was left to give; 0: not lately */
    const char *of;       /* whose share was the largest when the pending actions were taken */
    int64_t before_bytes; /* in use of it then */
    struct governor_pending pending[GOVERNOR_ACTIONS_MAX];
    int32_t n_pending;
    int64_t kv_bytes; /* as last ordered */
};

struct governor_cpu {
    int32_t n_threads;
    int32_t n_fewer, n_more;    /* samples in a row in which others left fewer processors; more */
    int32_t most_of, least_of;  /* what all of those samples would have left */
    bool is_busy;               /* others fill the machine */
    int32_t n_busy, n_free;     /* samples in a row that say so; that say it is over */
    int64_t throttled_until_ns; /* 0: not throttled */
};

struct governor {
    struct governor_options o; /* defaults filled in */
    struct governor_action actions[GOVERNOR_ACTIONS_MAX];
    int32_t n_actions;
    void (*obey)(void *ctx, const struct governor_orders *o);
    void *obey_ctx;

    struct governor_status status; /* as of the last sample */
    struct governor_memory memory;
    struct governor_cpu cpu;
    int64_t n_events;  /* in all */
    int32_t n_steady;  /* samples since anything was done or ordered */
    int64_t logged_ns; /* when the last line was written */
    struct buf line;   /* events that no line has told yet */
};

/* Decide about memory: takes actions; fills in the status's shares and *kv_bytes of the orders. */
void governor_memory_look(struct governor *g, const struct machine_sample *s, struct governor_orders *orders);
/* Decide about processors: threads, background, debounce. `before`: the last sample, or null if there is none
 * that this one could be compared with. */
void governor_cpu_look(struct governor *g, const struct machine_sample *before,
                       const struct machine_sample *s, struct governor_orders *orders);

/* Note that something was done; gave_bytes as in struct governor_event. Returns the event's number. */
int64_t governor_note(struct governor *g, const char *what, const char *why, int64_t gave_bytes);
/* The event of that number; null if it has been forgotten. */
struct governor_event *governor_event_of(struct governor *g, int64_t number);

#endif
