/* The forward pass of a decoder-only transformer, written once for all architectures of model/arch.c.
 *
 * Owns the scratch memory of one batch; keeps nothing from one call to the next. Thread: engine. */
#ifndef INFER_FORWARD_H
#define INFER_FORWARD_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "infer/kv_cache.h"
#include "infer/linear.h"

struct model;
struct forward;

/* c is copied; its kernels and pool must outlive the result. */
MUST_CHECK enum err forward_new(const struct model *m, const struct compute *c, int32_t max_batch,
                                struct forward **out, struct errmsg *msg);
void forward_free(struct forward **f);

/* Compute tokens[0..n-1] (n <= max_batch) at positions pos.., writing their keys and values to kv, which
 * holds all earlier positions. logits [n_vocab]: filled for the last token, or null. cancel (may be null)
 * is polled once per layer. ERR_CANCELLED: nothing after pos in kv may be used. Does not allocate. */
MUST_CHECK enum err forward_run(struct forward *f, struct kv_cache *kv, const int32_t *tokens, int32_t n,
                                int32_t pos, float *logits, const atomic_bool *cancel);

#endif
