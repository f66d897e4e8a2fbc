/* Mixture-of-experts feed-forward (Qwen3-MoE): a router picks n_experts_used of n_experts networks for each
 * token and mixes their outputs. Thread: engine. */
#ifndef INFER_EXPERTS_H
#define INFER_EXPERTS_H

#include <stdint.h>

#include "base/err.h"
#include "infer/linear.h"

struct experts;
struct model;
struct model_layer;

MUST_CHECK enum err experts_new(const struct model *m, int32_t max_batch, struct experts **out,
                                struct errmsg *msg);
void experts_free(struct experts **e);
size_t experts_bytes(const struct experts *e); /* of scratch memory */

/* out[t] = sum over the chosen experts of weight * expert(xn[t]). xn, out: [n][d_model]. */
void experts_run(struct experts *e, const struct compute *c, const struct model_layer *l, const float *xn,
                 int32_t n, float *out);

#endif
