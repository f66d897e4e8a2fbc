/* The seam between Inline and its numeric engine: a model with its worker threads (struct engine) and
 * token timelines with their KV caches (struct engine_seq).
 *
 * Callers hand over whole token lists; the engine keeps what it has already computed (the longest common
 * prefix) and computes the rest. Nothing outside infer/ looks deeper than this header.
 *
 * Threads: one thread uses an engine and its sequences at a time; only the cancel flag may be set from
 * elsewhere. */
#ifndef INFER_ENGINE_H
#define INFER_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "infer/sampler.h"

struct model;
struct engine;
struct engine_seq;

struct engine_options {
    int32_t n_threads; /* 0: all processors that we may use */
    const char *isa;   /* force a kernel variant (kern.h); null: the best */
    int32_t n_batch;   /* prefill tokens computed in one pass; 0: default */
};

/* Takes a reference to the model. ERR_ARG: unknown isa. */
MUST_CHECK enum err engine_open(struct model *m, const struct engine_options *o, struct engine **out,
                                struct errmsg *msg);
void engine_close(struct engine **e); /* its sequences must be closed before */
const struct model *engine_model(const struct engine *e);
const char *engine_isa(const struct engine *e);
int32_t engine_threads(const struct engine *e);

/* A sequence of at most n_ctx tokens (0: what the model was trained for). KV memory is reserved but
 * becomes resident only as positions are used. */
MUST_CHECK enum err engine_seq_open(struct engine *e, int32_t n_ctx, struct engine_seq **out,
                                    struct errmsg *msg);
void engine_seq_close(struct engine_seq **s);
const struct engine *engine_seq_engine(const struct engine_seq *s);
int32_t engine_seq_len(const struct engine_seq *s); /* tokens whose KV is there */
int32_t engine_seq_n_ctx(const struct engine_seq *s);

/* Make the sequence hold exactly tokens[0..n-1] (n >= 1), reusing the common prefix; afterwards
 * engine_seq_logits are those after the last token. *n_reused (may be null): tokens not computed again.
 * cancel (may be null) is polled per layer. ERR_LIMIT: n > n_ctx; ERR_ARG: a token id outside the
 * vocabulary; ERR_CANCELLED: what was computed so far is kept. */
MUST_CHECK enum err engine_seq_sync(struct engine_seq *s, const int32_t *tokens, int32_t n,
                                    const atomic_bool *cancel, int32_t *n_reused);

/* Append one token and compute its logits. Does not allocate. Errors as engine_seq_sync. */
MUST_CHECK enum err engine_seq_append(struct engine_seq *s, int32_t token, const atomic_bool *cancel);

/* [n_vocab], after the last token of the last sync or append; valid until the next. */
const float *engine_seq_logits(const struct engine_seq *s);

enum engine_stop {
    ENGINE_STOP_EOG,    /* the model ended the text */
    ENGINE_STOP_LIMIT,  /* max_tokens or the context's end */
    ENGINE_STOP_CALLER, /* the callback had enough */
    ENGINE_STOP_CANCEL
};

/* Called with each token and the bytes it stands for (a token may end inside a UTF-8 sequence); return
 * false to stop: that token counts as generated. */
typedef bool engine_token_fn(void *ctx, int32_t token, const char *bytes, size_t len);

struct engine_result {
    enum engine_stop stop;
    int32_t n_prompt, n_reused, n_generated;
    double prompt_ms, generate_ms; /* generate_ms starts where prompt_ms ends */
};

/* Sync to the prompt, then sample until a stop. OK also when cancelled (result->stop tells). */
MUST_CHECK enum err engine_generate(struct engine_seq *s, const int32_t *prompt, int32_t n_prompt,
                                    const struct sampler_params *sampling, int32_t max_tokens,
                                    const atomic_bool *cancel, engine_token_fn *fn, void *ctx,
                                    struct engine_result *result, struct errmsg *msg);

#endif
