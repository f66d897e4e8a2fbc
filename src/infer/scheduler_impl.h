/* The scheduler's insides, shared by scheduler.c (the queue, who is next, the thread) and scheduler_pass.c
 * (what the engine's thread does with those whose turn has come).
 *
 * Two threads' worth of state: what stands under "lock" is read and written with the lock held, the rest is
 * the engine's thread's. Of the lists, only that thread removes: it may read `running` without the lock.
 * Callbacks are called without the lock. */
#ifndef INFER_SCHEDULER_IMPL_H
#define INFER_SCHEDULER_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "infer/job.h"
#include "infer/scheduler.h"

/* A job has two owners, the caller and the scheduler, and goes with the last. */
struct scheduler_job {
    struct scheduler_request r;
    atomic_int refs;
    atomic_bool cancel;
    int64_t number; /* in the order of submission */
    int64_t submitted_ns;
    struct scheduler_job *next; /* in `waiting`; lock */

    struct engine_request request; /* from `prepare` */
    struct scheduler_report report;
    bool is_sharing;   /* it waits for another to compute what both begin with */
    int64_t retry_at;  /* of scheduler.n_left: there was no memory for KV before */
    struct slot *slot; /* null: it has not begun */
    struct job *job;   /* null with slot */
    struct job_want want;
};

/* A sequence and whom it serves. */
struct slot {
    struct engine_seq *seq;
    struct scheduler_job *job; /* null: idle */
    uint64_t document;         /* that it served last; 0: none */
    int64_t last_use;          /* of scheduler.n_begun */
    bool is_untidy;            /* there may be something to refresh or to save */
};

/* When a client was last given a turn. */
struct turn {
    uint64_t client;
    int64_t number; /* of scheduler.n_turns; 0: never */
};
#define TURNS_MAX 64 /* a client that falls out of this counts as new */

struct scheduler {
    struct engine *engine;
    struct throttle *throttle; /* borrowed, or null */
    int32_t n_active;          /* people's requests that run at once */
    int32_t n_background;      /* others */
    int64_t window_ns;
    pthread_t thread;
    bool has_thread;

    struct slot *slots; /* [n_slots] */
    int32_t n_slots;
    int64_t n_begun;
    struct turn turns[TURNS_MAX];
    int64_t n_turns;
    int64_t n_left;                                   /* jobs that have left `running` */
    struct forward_span *spans;                       /* of a pass */
    float *logits;                                    /* [n_slots + DRAFT_MAX][n_vocab] of a pass, reserved */
    double ms_per_token;                              /* of prefill, in recent passes; 0: not known */
    int64_t quiet_ns;                                 /* when to tidy up if nothing comes; 0: it is tidy */
    int64_t n_passes, n_passes_lost, n_tokens_passed; /* as in struct scheduler_state */

    atomic_bool interrupt; /* ends what the engine computes; set with the lock held */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* the engine's thread may have something to do */
    struct scheduler_job *waiting;
    struct scheduler_job **running; /* [n_running] whose turn has come, best first; room for n_slots */
    int32_t n_running;
    struct scheduler_job **pass; /* [n_pass] those in the pass that runs; room for n_slots */
    int32_t n_pass;
    bool is_computing; /* a pass, or what is done in idle moments (n_pass is 0) */
    bool is_closing;
    int64_t kv_bytes; /* that engine_set_kv_bytes is to be told; -1: nothing */
    int64_t n_submitted;
    struct scheduler_state state;     /* as of the last pass, but n_waiting */
    struct scheduler_seq_state *seqs; /* [n_slots]; likewise */
};

static inline bool scheduler_is_background(const struct scheduler_job *j)
{
    return j->r.priority > SCHEDULER_TYPING;
}

static inline bool scheduler_is_cancelled(const struct scheduler_job *j)
{
    return atomic_load_explicit(&j->cancel, memory_order_relaxed);
}

/* All of these: on the engine's thread, without the lock. */

/* Around what `interrupt` can end: for the jobs pass[0..n_pass-1], or (0) for nobody. */
void scheduler_computing_begin(struct scheduler *s, int32_t n_pass);
void scheduler_computing_end(struct scheduler *s);
/* Take j out of `running` and report: its `done` is called, and it may be freed. */
void scheduler_leave(struct scheduler *s, struct scheduler_job *j);

/* Whether engine_check fails; then it is j's failure. */
bool scheduler_model_is_lost(const struct scheduler *s, struct scheduler_job *j);

/* Begin those in `running` that can: give them a sequence, reuse what there is. */
void scheduler_begin_jobs(struct scheduler *s);
/* End those in `running` that were cancelled. */
void scheduler_end_cancelled(struct scheduler *s);
/* One pass over the wishes of those that have begun. */
void scheduler_run_pass(struct scheduler *s);
/* Free j's sequence, and let it leave. If it was not over it is now, cancelled. */
void scheduler_end_job(struct scheduler *s, struct scheduler_job *j);
/* In idle moments: make moved KV exact, save KV. Ends early on `interrupt`. */
void scheduler_tidy(struct scheduler *s);

#endif
