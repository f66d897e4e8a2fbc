/* The engine's thread and who gets it: continuous batching over sequences (Orca, Yu et al., OSDI 2022), with
 * prefill cut into chunks between decode steps (Sarathi-Serve, Agrawal et al., arXiv 2403.02310).
 *
 * One scheduler owns one engine, its sequences and the one thread that touches them. Everyone else submits
 * requests and cancels them, from any thread. A pass holds the next tokens of all running requests; a request
 * of a higher priority, or a cancellation, ends a pass that nobody still waits for within a task's time.
 *
 * Who is next: the higher priority; then the client that was served least recently; then first come. While
 * requests of people (ASKED, TYPING) run, WARMUP and PREFETCH, those in the background, wait. */
#ifndef INFER_SCHEDULER_H
#define INFER_SCHEDULER_H

#include "infer/engine.h"

struct scheduler;
struct throttle;
struct scheduler_job;

enum scheduler_priority { SCHEDULER_ASKED, SCHEDULER_TYPING, SCHEDULER_WARMUP, SCHEDULER_PREFETCH };

struct scheduler_options {
    int32_t n_active;          /* requests of people that run at once; 0: 16 */
    int32_t n_seqs;            /* sequences, so documents whose KV stays at hand; 0: 32; more than n_active */
    int32_t n_ctx;             /* tokens of each; 0: what the model was trained for */
    struct throttle *throttle; /* borrowed: rests between passes (os/throttle.h); or null */
    double window_ms; /* hold the first request of a batch back for so long, that others may join; 0: not */
};

enum scheduler_outcome {
    SCHEDULER_DONE,      /* result is valid; result.stop may be TIME, or CANCEL: also of a background request
                            that had to make room */
    SCHEDULER_CANCELLED, /* before it ran */
    SCHEDULER_FAILED     /* err, msg */
};

struct scheduler_report {
    enum scheduler_outcome outcome;
    struct engine_result result;
    int32_t seq;       /* scheduler_seq_state.id of the sequence that served it; -1: none did */
    double queue_ms;   /* from submit until a sequence was its own */
    double prepare_ms; /* in `prepare` */
    enum err err;
    struct errmsg msg;
    bool is_model_lost; /* FAILED because of engine_check: no other request will succeed. Asked before
                           `prepare` and again at the end: on_token may have been given text, void now */
};

struct scheduler_request {
    enum scheduler_priority priority;
    uint64_t client;   /* for fairness; any number that names it */
    uint64_t document; /* requests of one document get the sequence that served it last; 0: none */
    /* Called on the engine's thread when the request's turn has come: fill in what to run. What it points to
     * stays until `done`. An error ends the request as FAILED. `cancel` is the scheduler's own business. */
    enum err (*prepare)(void *ctx, struct engine_request *out, struct errmsg *msg);
    /* Called exactly once, on the engine's thread, also if the request never ran. Must not call the
     * scheduler. */
    void (*done)(void *ctx, const struct scheduler_report *report);
    void *ctx;
};

/* Takes the engine, also on failure. */
MUST_CHECK enum err scheduler_new(struct engine *take, const struct scheduler_options *o,
                                  struct scheduler **out, struct errmsg *msg);
/* Cancels everything (each `done` comes), waits for the thread, saves KV to disk where the engine has a place
 * for it. */
void scheduler_free(struct scheduler **s);
const struct model *scheduler_model(const struct scheduler *s);
int32_t scheduler_n_ctx(const struct scheduler *s);

/* The request is copied; the job is the caller's until scheduler_release. The queue has no bound of its own:
 * who submits for strangers must keep one. */
struct scheduler_job *scheduler_submit(struct scheduler *s, const struct scheduler_request *r);
/* `done` will come within a few milliseconds, or, if others are in the pass that runs, when that is over.
 * Nothing happens if it came already. */
void scheduler_cancel(struct scheduler *s, struct scheduler_job *job);
/* The caller will not use the job again; cancels nothing. */
void scheduler_release(struct scheduler_job **job);

/* engine_set_kv_bytes before the next pass; any thread. */
void scheduler_set_kv_bytes(struct scheduler *s, int64_t bytes);
/* For what any thread may ask of it: engine_precision, engine_residency, engine_check, engine_drop_weights.
 */
struct engine *scheduler_engine(struct scheduler *s);

/* For /slots and metrics: any thread. */
struct scheduler_seq_state {
    int32_t id, n_tokens, n_ctx;
    bool is_processing, is_prefilling;
    int32_t n_prompt, n_generated; /* of the running request */
};
struct scheduler_state {
    int32_t n_waiting, n_running;
    int64_t kv_bytes;
    int64_t n_passes, n_passes_lost; /* lost: given up for a cancellation or a higher priority */
    int64_t n_tokens_passed;         /* tokens of all passes */
    bool is_packed;
};
void scheduler_state(struct scheduler *s, struct scheduler_state *out);
/* Fills up to max and returns how many there are. */
int32_t scheduler_seqs(struct scheduler *s, struct scheduler_seq_state *out, int32_t max);

#endif
