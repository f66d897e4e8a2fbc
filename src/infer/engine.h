/* The seam between Inline and its numeric engine: a model with its worker threads (struct engine) and
 * token timelines with their KV caches (struct engine_seq).
 *
 * Callers hand over whole token lists; the engine keeps what it has already computed and computes the rest.
 * What is kept: the longest common prefix with the sequence's own tokens, with another sequence's (their KV
 * pages are shared) or with one saved on disk; and, where `move` is on, runs of tokens that an insertion or
 * deletion shifted. Nothing outside infer/ looks deeper than this header.
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
#include "infer/limits.h"
#include "infer/sampler.h"
#include "kern/kern.h"
#include "model/precision.h"
#include "model/residency.h"

struct model;
struct pool;
struct engine;
struct engine_seq;

/* Whether KV that an edit shifted is reused. It was computed for slightly other text before it, so that
 * answers may differ from those of a fresh computation, until engine_seq_refresh. */
enum engine_move { ENGINE_MOVE_OFF, ENGINE_MOVE_ON };

struct engine_options {
    struct pool
        *pool; /* borrowed: workers that several engines share (os/pool.h); null: own ones, as follows */
    const char *cpus;  /* keep the workers on these processors ("0-3,6"); null or "": anywhere */
    int32_t n_threads; /* 0: all processors that we may use, or those of cpus */
    const char *isa;   /* force a kernel variant (kern.h); null: the best */
    int32_t n_batch;   /* prefill tokens computed in one pass; 0: default */

    enum kern_kv_type kv_type;
    int64_t kv_bytes;      /* budget of KV in memory; 0: default */
    const char *kv_dir;    /* where evicted KV is saved; "": $XDG_CACHE_HOME/inline/kv; null: nowhere */
    int64_t kv_disk_bytes; /* ceiling of that; 0: default */
    enum engine_move move;
    bool no_speculation;

    const char *pack_dir; /* packed weights (model/weight_pack.h); "": the usual directory; null: not used */
    bool pack_build;      /* build them in the background where there are none */
    bool pack_now;        /* somebody waits for them: build on all processors */
    int64_t pack_bytes;   /* ceiling of the directory; 0: default */

    enum precision precision;          /* of F16 and BF16 weights (model/precision.h); needs packed weights */
    enum kern_type eight_bit;          /* of the mixed plan; 0: Q8_0 */
    int64_t memory_bytes;              /* that the model may take, for PRECISION_AUTO; 0: not known */
    const struct precision_plan *plan; /* instead of these three; borrowed for the call; or null */
    bool read_ahead; /* bring the weights into memory in the background (model/residency.h) */
    bool lock;       /* and keep them there */
};

/* The workers that these options ask for, to be shared by engines. */
MUST_CHECK enum err engine_pool_new(const struct engine_options *o, struct pool **out, struct errmsg *msg);

/* Takes a reference to the model. ERR_ARG: unknown isa, processors that cannot be used, or a KV format that
 * does not suit the model. */
MUST_CHECK enum err engine_open(struct model *m, const struct engine_options *o, struct engine **out,
                                struct errmsg *msg);
void engine_close(struct engine **e); /* its sequences must be closed before */
const struct model *engine_model(const struct engine *e);
const char *engine_isa(const struct engine *e);
int32_t engine_threads(const struct engine *e);
/* Keep the calling thread, which will use the engine, on its workers' processors. */
void engine_place_caller(const struct engine *e);
int64_t engine_kv_bytes(const struct engine *e); /* of KV in memory, of all sequences */
/* Another budget, at most that of the options (0: that): what is above it is evicted, least recently used
 * first, but for sequences of running jobs; the memory goes back to the system. */
void engine_set_kv_bytes(struct engine *e, int64_t bytes);

/* Memory that the engine itself has reserved and uses fully in time: scratch, logits of n_seqs sequences. */
int64_t engine_scratch_bytes(const struct engine *e, int32_t n_seqs);

/* Any thread, these: */

/* What a plan of precision must leave room for: KV up to its budget, scratch, and a reserve: for the heap
 * (some ten megabytes), caches, indexes and open documents, and rows of an embedding table that is not
 * counted: the system maps 16 pages for each that is looked up, together up to some hundred megabytes. */
#define ENGINE_RESERVE_BYTES ((int64_t)256 << 20)
int64_t engine_beside_bytes(const struct engine *e);
/* The plan in use, or to be used as soon as its weights are converted (engine_wait_packed); as stored where
 * they cannot be, or are not there and not to be built. */
const struct precision_plan *engine_precision(const struct engine *e);
void engine_residency(const struct engine *e, struct residency_state *out); /* zeros without read_ahead */
int64_t engine_resident_bytes(const struct engine *e); /* residency_resident; 0 without read_ahead */
int64_t engine_drop_weights(struct engine *e);         /* residency_drop */
/* The weights are still what was opened (model_check, weight_pack_check): ERR_IO and what to do. Else all
 * that was computed is void, KV included: close the engine. */
MUST_CHECK enum err engine_check(const struct engine *e, struct errmsg *msg);

/* Wait until the packed weights are in use, or cannot be. True if they are. */
bool engine_wait_packed(struct engine *e);
const char *engine_pack_message(const struct engine *e); /* why they could not be built; else "" */

/* Use packed weights, where they are in use, for this layer alone, and the file's for all others: measures
 * what converting a layer costs. -1: for none. Its sequences must be cleared. */
void engine_use_layer(struct engine *e, int32_t layer);

/* A sequence of at most n_ctx tokens (0: what the model was trained for). Its KV takes memory only as
 * positions are used. */
MUST_CHECK enum err engine_seq_open(struct engine *e, int32_t n_ctx, struct engine_seq **out,
                                    struct errmsg *msg);
void engine_seq_close(struct engine_seq **s);
const struct engine *engine_seq_engine(const struct engine_seq *s);
int32_t engine_seq_len(const struct engine_seq *s); /* tokens whose KV is there */
int32_t engine_seq_n_ctx(const struct engine_seq *s);

/* Forget its tokens and free their KV; with save, keep them on disk (where the engine has kv_dir). */
void engine_seq_clear(struct engine_seq *s, bool save);

/* Keep its exact tokens on disk as well (where the engine has kv_dir). */
void engine_seq_save(const struct engine_seq *s);

/* Where the tokens of a sync came from; they add up to its n. */
struct engine_reuse {
    int32_t n_reused;   /* exact: common prefix of this or another sequence */
    int32_t n_restored; /* exact: read from disk */
    int32_t n_moved;    /* shifted KV */
    int32_t n_computed;
};

/* Make the sequence hold exactly tokens[0..n-1] (n >= 1), reusing what it can; afterwards engine_seq_logits
 * are those after the last token. reuse may be null. ERR_LIMIT: n > n_ctx, or the KV budget cannot hold n
 * tokens; ERR_ARG: a token id outside the vocabulary; ERR_CANCELLED: by limits (which may be null); what was
 * computed so far is kept; ERR_IO: engine_check. */
MUST_CHECK enum err engine_seq_sync(struct engine_seq *s, const int32_t *tokens, int32_t n,
                                    const struct limits *limits, struct engine_reuse *reuse);

/* Where moving is on: the first token of coming prompts that may get moved KV (at first 0). What stands right
 * before an answer decides it more than what stands far from it: a prompt of prefix, suffix, middle should
 * allow it from the suffix on. */
void engine_seq_allow_move(struct engine_seq *s, int32_t from);

/* Compute again, exactly, what depends on moved KV: for idle moments. Errors as engine_seq_sync; work done
 * before a cancellation counts. Nothing to do: OK at once. */
MUST_CHECK enum err engine_seq_refresh(struct engine_seq *s, const struct limits *limits);
int32_t engine_seq_n_inexact(const struct engine_seq *s); /* tokens that a refresh would compute */

/* Append one token and compute its logits. Does not allocate, nor ask engine_check. Errors as
 * engine_seq_sync. */
MUST_CHECK enum err engine_seq_append(struct engine_seq *s, int32_t token, const struct limits *limits);

/* [n_vocab], after the last token of the last sync or append; valid until the next. */
const float *engine_seq_logits(const struct engine_seq *s);

/* The mean over i of -log p(tokens[i] | tokens before it), natural logarithm, for i = 1..n-1: the text's
 * perplexity is its exp. The sequence then holds the tokens. Errors as engine_seq_sync. */
MUST_CHECK enum err engine_seq_loss(struct engine_seq *s, const int32_t *tokens, int32_t n, double *loss);

enum engine_stop {
    ENGINE_STOP_EOG,    /* the model ended the text */
    ENGINE_STOP_LIMIT,  /* max_tokens, the context's end, or no memory for more KV */
    ENGINE_STOP_CALLER, /* the callback had enough */
    ENGINE_STOP_TIME,   /* max_prompt_ms or max_predict_ms */
    ENGINE_STOP_CANCEL
};

/* Called with each token and the bytes it stands for (a token may end inside a UTF-8 sequence); return
 * false to stop: that token counts as generated. */
typedef bool engine_token_fn(void *ctx, int32_t token, const char *bytes, size_t len);

struct engine_request {
    const int32_t *prompt;
    int32_t n_prompt;
    struct sampler_params sampling;
    int32_t max_tokens;
    int32_t move_from;                    /* as engine_seq_allow_move */
    double max_prompt_ms, max_predict_ms; /* 0: no limit. What is there by then is the answer */
    const atomic_bool *cancel;            /* or null */
    /* Where drafts are looked up: text that the answer may repeat, ending where the answer begins. Null: the
     * prompt. */
    const int32_t *draft_text;
    int32_t n_draft_text;
    /* Token healing: text that was taken off the prompt's end and that the answer must begin with, so that
     * the tokens at the border are the model's own. Neither reported nor counted, but for what a token has
     * beyond it. */
    const char *heal;
    size_t heal_len;
    engine_token_fn *on_token;
    void *ctx;
};

struct engine_result {
    enum engine_stop stop;
    int32_t n_prompt, n_generated;
    struct engine_reuse reuse;     /* of the prompt */
    int32_t n_drafted, n_accepted; /* tokens proposed by speculation, and those that were right */
    double prompt_ms, generate_ms; /* generate_ms starts where prompt_ms ends */
    int32_t n_healed;              /* tokens that only repeated text to be healed; not in n_generated */
    /* How sure the model was, before any sampling filter: the natural logarithm of the probability of the
     * generated tokens, their mean and the first; 0 without tokens. The token that ended the answer does not
     * count; of one that goes beyond the text to heal, its probability among those that repeat that text. */
    double mean_logprob, first_logprob;
};

/* Sync to the prompt, then sample until a stop. OK also when cancelled or out of time (result->stop tells).
 * ERR_IO: engine_check; tokens that were given to on_token are void then. */
MUST_CHECK enum err engine_generate(struct engine_seq *s, const struct engine_request *r,
                                    struct engine_result *result, struct errmsg *msg);

#endif
