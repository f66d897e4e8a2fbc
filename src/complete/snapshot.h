/* A request as the service keeps it: a copy of what decides its answer, and of nothing else.
 *
 * Of a document that is the context which the prompt shows, so that the cost of a request does not grow with
 * the document. Two requests to one model are identical if their snapshots are. */
#ifndef COMPLETE_SNAPSHOT_H
#define COMPLETE_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "complete/generation.h"
#include "complete/prompt.h"
#include "complete/question.h"
#include "complete/service.h"

/* Brought into range rather than refused. */
struct snapshot_limits {
    int32_t max_tokens, max_prompt, n_candidates;
};

struct snapshot {     /* stays where it was taken: rules point into it */
    struct buf bytes; /* all that follows, one after the other */
    uint64_t hash;
    struct prompt_input input; /* views of bytes */
    struct fim_file *files;    /* owned: input.files */
    bool was_cut;              /* a raw prompt is so long that its beginning was not even copied */
    struct snapshot_limits limits;
    struct sampler_params sampling;
    double max_prompt_ms, max_predict_ms; /* as for the engine */
    struct generation_rules rules;        /* without words and on_text */
    struct stop_word words[SERVICE_STOPS_MAX];
};

/* For a context of n_ctx tokens. usual_tokens stands for max_tokens -1, usual_prompt for the prompt of a
 * document where the request says nothing. */
struct snapshot_limits snapshot_limits(const struct service_request *r, int32_t n_ctx, int32_t usual_tokens,
                                       int32_t usual_prompt);

/* q: what is asked in a document; null: a raw prompt. ERR_ARG: the request has neither; ERR_NOMEM, ERR_LIMIT.
 */
MUST_CHECK enum err snapshot_take(const struct service_request *r, const struct snapshot_limits *limits,
                                  const struct question *q, struct snapshot *out, struct errmsg *msg);
void snapshot_clear(struct snapshot *s); /* tolerates a zeroed one */
bool snapshot_is_same(const struct snapshot *a, const struct snapshot *b);

#endif
