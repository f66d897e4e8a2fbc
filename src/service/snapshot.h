/* A request as the service keeps it: a copy of what decides its answer, and of nothing else.
 *
 * Of a document that is the context which the prompt shows, so that the cost of a request does not grow with
 * the document. Two requests to one model are identical if their snapshots are. */
#ifndef SERVICE_SNAPSHOT_H
#define SERVICE_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "complete/generation.h"
#include "complete/prompt.h"
#include "complete/question.h"
#include "service/service.h"

/* Brought into range rather than refused. */
struct snapshot_limits {
    int32_t max_tokens, max_prompt, n_candidates;
};

struct snapshot {     /* stays where it was taken: rules point into it */
    struct buf bytes; /* all that follows, one after the other */
    uint64_t hash;
    /* Of bytes: what decides the text that is generated, but for the text before the cursor. What follows it
     * decides only where that ends. */
    size_t rest_from, rest_to;
    struct prompt_input input; /* views of bytes */
    struct fim_file *files;    /* owned: input.files */
    bool was_cut;              /* a raw prompt is so long that its beginning was not even copied */
    struct snapshot_limits limits;
    struct sampler_params sampling;
    double max_prompt_ms, max_predict_ms; /* as for the engine */
    struct generation_rules rules;        /* without words and on_text */
    struct stop_word words[SERVICE_STOPS_MAX];
    bool is_extent_of_place; /* rules.extent is the place's own, not what was asked for */
};

/* For a context of n_ctx tokens. usual_tokens stands for max_tokens -1, usual_prompt for the prompt of a
 * document where the request says nothing. */
struct snapshot_limits snapshot_limits(const struct service_request *r, int32_t n_ctx, int32_t usual_tokens,
                                       int32_t usual_prompt);

/* q: what is asked in a document; null: a raw prompt. ERR_ARG: the request has neither; ERR_NOMEM, ERR_LIMIT.
 */
MUST_CHECK enum err snapshot_take(const struct service_request *r, const struct snapshot_limits *limits,
                                  const struct question *q, struct snapshot *out, struct errmsg *msg);
/* The same request once `text` (lines ending in '\n') stands before the cursor, in a document of this
 * language. ERR_NOMEM. */
MUST_CHECK enum err snapshot_take_after(const struct snapshot *s, const char *text, size_t len,
                                        struct snapshot *out);
/* Of a document: whether nothing should be suggested there to somebody who did not ask (place.h). */
bool snapshot_is_quiet(const struct snapshot *s);
void snapshot_clear(struct snapshot *s); /* tolerates a zeroed one */
bool snapshot_is_same(const struct snapshot *a, const struct snapshot *b);

#endif
