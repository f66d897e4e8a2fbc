/* Attention of one batch over its sequences' KV caches, on the worker threads.
 *
 * Positions are added up in chunks, always the same and in the same order, whoever computes them: what a
 * token gets depends neither on the number of threads nor on what else is in the batch. Thread: engine. */
#ifndef INFER_ATTENTION_H
#define INFER_ATTENTION_H

#include <stdint.h>

#include "base/err.h"
#include "infer/kv.h"
#include "infer/linear.h"

struct arch_params;
struct attention;

/* Where a token of the batch stands. */
struct place {
    const struct kv *kv; /* holds the positions up to pos by the time that attention_run is called */
    int32_t token, pos;
};

MUST_CHECK enum err attention_new(const struct arch_params *p, const struct compute *c, int32_t max_batch,
                                  struct attention **out, struct errmsg *msg);
void attention_free(struct attention **a);
size_t attention_bytes(const struct attention *a); /* of scratch memory */

/* Take up a batch of n tokens; places must live until the next. */
void attention_begin(struct attention *a, const struct place *places, int32_t n);

/* out[t] = softmax(scale q[t] . K) V over the positions that token t sees in this layer: all up to its own,
 * or the last `window` (0: no limit). q, out: [n][n_heads][head_dim]. */
void attention_run(struct attention *a, const struct compute *c, int32_t layer, int32_t window,
                   const float *q, float *out);

#endif
