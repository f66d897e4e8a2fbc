/* A service of which everything that can be measured is known: its engine is the stub, which reports the
 * delays and tokens that are drawn here, and the clock stands still unless it is moved (support/set_clock.h).
 *
 * Each request is submitted with what must come of it; when it comes, that is asserted, and noted in the
 * ledger (support/watch_ledger.h). What an expectation does not say is that the request is computed, because
 * it is new. Thread: the test's. */
#ifndef TESTS_SUPPORT_WATCH_WORLD_H
#define TESTS_SUPPORT_WATCH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "service/service.h"
#include "service/service_impl.h"
#include "store/store.h"
#include "support/watch_ledger.h"
#include "watch/journal.h"

#define WATCH_STEP_NS     1000 /* of the clock, at each look: of a stage in which nothing moves it */
#define WATCH_LOAD_MS     400  /* of every model, on the loader's thread */
#define WATCH_MAX_WAITING 4
#define WATCH_ASKED_MAX   JOURNAL_RECORDS

/* One request: what is expected of it, and what came. */
struct watch_asked {
    struct watch_world *world;
    struct service_ticket *ticket;
    enum service_outcome outcome;
    enum metric_answer answer;
    enum metric_api api;
    int32_t source, miss, quiet, error; /* labels; -1: none */
    bool is_cancelled, is_any;          /* any: found or not, whatever the answer says */
    int64_t start_ns;
    int n_done;
    uint64_t id;
    double total_ms;
    struct service_timings timings;
    struct buf text, streamed;
};

struct watch_world {
    struct service *service;
    struct store *store;
    struct metrics *metrics;
    struct journal *journal;
    struct secrets *secrets;
    struct documents *docs;
    struct ledger ledger;
    char dir[64];
    uint64_t dice; /* state */
    int64_t start_ns;
    int n_documents;
    struct watch_asked *asked; /* [WATCH_ASKED_MAX], in the order of submission */
    int n_asked;
    /* What the next report says. */
    enum err fail;
    bool is_lost;               /* and so is the model */
    struct watch_asked *unsure; /* the model is not sure of the answer to this */
    double load_ms;             /* that it has waited for its model */
    double waited_ms;           /* that it has waited for its turn, which the clock has seen already */
};

struct watch_plan {
    bool has_store, has_prefetch;
    int64_t disk_bytes;
    double min_confidence;
};

/* Models "llama", which is the default and ready, "qwen2", and "broken", which cannot be loaded. */
void watch_open(struct watch_world *w, const struct watch_plan *plan);
void watch_close(struct watch_world *w);
void watch_poll(struct watch_world *w);
/* All jobs of all models to their ends, and what they lead to. */
void watch_finish(struct watch_world *w);
/* Null: it was never asked for. */
struct service_loaded *watch_model(struct watch_world *w, const char *name);
void watch_wait_ready(struct watch_world *w, const char *name);

void watch_note(struct watch_world *w, enum metric_id id, int32_t label, double value);
uint64_t watch_dice(struct watch_world *w, uint64_t n); /* 0 to n - 1 */
double watch_draw_ms(struct watch_world *w, double ms); /* one time of that to four times */
void watch_dawdle(struct watch_world *w); /* the loop is busy with something else: answers wait for that */

/* ---- Requests ---------------------------------------------------------------------------------------- */

struct watch_document {
    char text[512], path[32];
    size_t len, cursor;
};
#define WATCH_EMPTY_LINE "int whole(int b)\n{\n    int total = b;\n    |\n}\n"

/* A document that nobody has seen, which ends so: the cursor stands where '|' does. */
struct watch_document watch_new_document(struct watch_world *w, const char *around);
void watch_type(struct watch_document *d, char c);
struct service_request watch_request_at(const struct watch_document *d);

struct watch_asked *watch_submit(struct watch_world *w, struct service_request r);
/* Of a request for which the cache in memory is looked into. */
struct watch_asked *watch_submit_looked_up(struct watch_world *w, struct service_request r);
void watch_expect_found(struct watch_asked *a, int32_t source);
/* Not met, or not any more: nothing but this is said of it. error: METRIC_ERRORS, or -1. */
void watch_expect_not(struct watch_asked *a, enum service_outcome outcome, int32_t error);
void watch_expect_quiet(struct watch_asked *a, const char *reason);
void watch_cancel(struct watch_world *w, struct watch_asked *a);

#endif
