/* A service on a tiny model of random weights, and its loop, which tests turn by hand.
 *
 * A gate in `wake` holds the engine's thread at its first message, so that a test decides what is under way
 * when the next request comes. Waiting too long fails the test. */
#ifndef TESTS_SUPPORT_SERVICE_WORLD_H
#define TESTS_SUPPORT_SERVICE_WORLD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "service/service.h"

#define WORLD_MODEL    FIXTURES "/models/llama.gguf"
#define WORLD_TEXT_MAX ((size_t)1 << 20)
#define WORLD_TOKENS   24 /* of an answer */

struct service_world {
    struct service *service;
    struct metrics *metrics;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t loop;
    bool is_awake, is_shut; /* under lock */
};

/* What a request was answered. */
struct answer {
    int n_done;
    enum service_outcome outcome;
    char message[256], model[64], fallback[256];
    struct buf text[SERVICE_CANDIDATES_MAX], streamed;
    int n_candidates;
    char stop[16], word[16];
    int32_t n_tokens;
    bool was_shared, was_truncated;
    char cache[16], cache_miss[16];
    struct service_timings timings;
};

void world_set_gate(struct service_world *b, bool is_shut);
/* Sleep until there is something to do; then do it. */
void world_turn(struct service_world *b);
/* name: of the model; null: the default. */
void world_wait_ready(struct service_world *b, const char *name);
struct service_options world_options(struct service_world *b);
/* metrics and gates are its own. */
void world_open(struct service_world *b, const struct service_options *o);
void world_close(struct service_world *b);
void answer_init(struct answer *a);
void answer_clear(struct answer *a);
struct service_request request_at(const char *text, size_t cursor);
struct service_request request_raw(const char *prompt);
struct service_ticket *world_submit(struct service_world *b, struct service_request r, struct answer *a);
void world_wait_for(struct service_world *b, const struct answer *a);
void world_ask(struct service_world *b, struct service_request r, struct answer *a);
void world_assert_ok(const struct answer *a);

#endif
