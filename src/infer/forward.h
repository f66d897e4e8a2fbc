/* The forward pass of a decoder-only transformer, written once for all architectures of model/arch.c.
 *
 * One pass computes a batch: runs of tokens at any positions of any sequences, so that prefill chunks, gaps
 * between reused KV, drafts to verify and several users' tokens all read the weights once. Owns the scratch
 * memory of one batch; keeps nothing from one call to the next. Thread: engine. */
#ifndef INFER_FORWARD_H
#define INFER_FORWARD_H

#include <stdint.h>

#include "base/err.h"
#include "infer/kv.h"
#include "infer/linear.h"
#include "infer/rope.h"

struct model;
struct weight_pack;
struct forward;

/* c is copied; its kernels and pool must outlive the result. */
MUST_CHECK enum err forward_new(const struct model *m, const struct compute *c, int32_t max_batch,
                                struct forward **out, struct errmsg *msg);
void forward_free(struct forward **f);

/* Read packed weights from now on; the pack is ready and outlives f. */
void forward_use_pack(struct forward *f, const struct weight_pack *pack);

/* The same for one layer alone; the others, and the output head, are read as in the model's file. pack null,
 * or layer -1: all are. */
void forward_use_layer(struct forward *f, const struct weight_pack *pack, int32_t layer);

/* Bytes of scratch memory, which are resident once a whole batch was computed. */
size_t forward_bytes(const struct forward *f);

/* Consecutive tokens of one sequence. */
struct forward_span {
    const struct kv
        *kv; /* reserved up to pos + n; earlier positions hold their KV, or get it in this batch */
    const int32_t *tokens;
    int32_t n, pos;
    int32_t n_logits; /* of the last so many tokens */
};

/* Compute the spans (together at most max_batch tokens), writing keys and values to their caches. logits:
 * [sum of n_logits][n_vocab], in the order of the spans; null if there are none. limits may be null.
 * ERR_CANCELLED: they are over; in each layer the spans' positions hold what they held before or what was to
 * be computed. Does not allocate. */
MUST_CHECK enum err forward_run(struct forward *f, const struct forward_span *spans, int32_t n_spans,
                                float *logits, const struct limits *limits);

/* Passes run on these workers from now on (borrowed): at most as many as those that it was made with. */
void forward_use_pool(struct forward *f, struct pool *pool);

/* kv_rearrange with this model's rotations, on this pass's threads. */
MUST_CHECK enum err forward_move_kv(struct forward *f, struct kv *kv, int32_t keep, const struct kv_run *runs,
                                    int32_t n_runs);

#endif
