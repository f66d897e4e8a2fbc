/* Linear layers over the worker threads: matrices times the activations of a batch, with bias and gating
 * applied while the outputs are still in cache. */
#ifndef INFER_LINEAR_H
#define INFER_LINEAR_H

#include <stdint.h>

#include "infer/limits.h"
#include "kern/kern.h"

struct pool;

/* What computing needs: kernels, threads, per-thread scratch. */
struct compute {
    const struct kern *kern;
    struct pool *pool;
    char *scratch; /* [n_threads][scratch_bytes], 64-byte aligned */
    size_t scratch_bytes;
    const struct limits *limits; /* of the running call, or null. Once they are over tasks do nothing, and
                                  * all results are void */
};

/* gate = f(gate) * up, over n values. */
typedef void linear_gate_fn(float *gate, const float *up, int32_t n);

/* y = W x + bias. With `up` set: y = f(W x + bias) * (U x + up_bias). With only f1: y = f1(W x + bias). */
struct linear {
    struct kern_mat w;
    const float *bias; /* [n_rows], or null */
    struct kern_act x;
    float *y; /* [x.n_tokens][n_rows] */

    struct kern_mat up;   /* data null: no gating */
    const float *up_bias; /* or null */
    float *up_y;          /* [x.n_tokens][n_rows], overwritten */
    linear_gate_fn *gate;
    void (*activate)(float *y, int32_t n); /* or null */
};

/* Compute all ops; their outputs must not overlap. */
void linear_run(const struct compute *c, const struct linear *ops, int32_t n_ops);

/* Memory for one batch of quantized activations. */
struct act_buffer {
    int8_t *q; /* [max_tokens][max_cols] */
    float *d;  /* [max_tokens][max_cols / 32] */
    float *s;  /* [max_tokens][max_cols / 16] */
};

/* The activations f [n_tokens][n_cols] ready to be multiplied with matrices of w's format; buffer is used
 * if that format wants 8-bit activations. */
struct kern_act linear_act(const struct compute *c, const struct kern_mat *w, const float *f,
                           int32_t n_tokens, int32_t n_cols, const struct act_buffer *buffer);

/* Call fn(ctx, token, worker) for each token, on the threads if there is more than one. */
void linear_for_tokens(const struct compute *c, int32_t n_tokens,
                       void (*fn)(void *ctx, int32_t token, int32_t worker), void *ctx);

#endif
