/* The engine's insides, shared by engine.c (life), engine_reuse.c (making a sequence hold a prompt), job.c
 * (a completion in steps), engine_generate.c and the scheduler (who runs the steps). Thread: the engine's
 * caller. */
#ifndef INFER_ENGINE_IMPL_H
#define INFER_ENGINE_IMPL_H

#include "infer/draft.h"
#include "infer/engine.h"
#include "infer/forward.h"
#include "infer/kv.h"
#include "infer/kv_store.h"
#include "infer/token_diff.h"

/* Logits of one pass at most: a token and the draft that follows it. */
#define LOGIT_ROWS (1 + DRAFT_MAX)

struct engine {
    struct model *model; /* a reference */
    struct compute c;
    struct pool *own_pool; /* c.pool, or null: that is borrowed */
    struct pool *caller;   /* of one thread, who calls: for what must not take the processors from others */
    size_t scratch_total;  /* bytes */
    struct forward *forward;
    int32_t n_batch;
    enum engine_move move;

    struct kv_pool *kv_pool;
    struct kv_store *kv_store;   /* or null */
    struct engine_seq *seqs;     /* open ones; linked by next */
    int64_t n_uses;              /* orders sequences by use */
    struct draft *draft;         /* null: no speculation */
    struct job *drafting;        /* whom `draft` is lent to, or null */
    struct weight_pack *pack;    /* or null */
    bool is_packed;              /* the pack is in use */
    struct residency *residency; /* or null: weights are read as they are used */
    struct precision_plan precision;
};

struct engine_seq {
    struct engine *engine;   /* borrowed */
    struct engine_seq *next; /* in engine->seqs */
    struct kv kv;
    int32_t *tokens; /* [n_ctx]; those whose KV is there */
    int32_t *index;  /* scratch of token_diff */
    int32_t len, n_ctx;
    int32_t n_prompt;  /* of len, the tokens of the last sync */
    int32_t move_from; /* positions of a prompt below get no moved KV */
    int32_t n_exact;   /* KV of positions below is that of a fresh computation */
    int64_t last_use;  /* of engine->n_uses */
    bool is_busy;      /* a job uses it: no other sequence may take its KV */
    float *logits;     /* [LOGIT_ROWS][n_vocab], reserved */
    int32_t logit_row; /* logits after tokens[len - 1], or -1 */
};

/* Plan the weights' formats and open packed weights, or begin to build them. The KV pool and the forward pass
 * are there: the plan leaves room for them. */
enum err engine_weights_open(struct engine *e, const struct engine_options *o, struct errmsg *msg);

/* Begin to use the weights, and to read them ahead: where the pack is ready, it is what is read, and the
 * file's own matrices never are. */
enum err engine_residency_open(struct engine *e, const struct engine_options *o, struct errmsg *msg);

/* Use packed weights from now on if they have become ready. */
void engine_adopt_pack(struct engine *e);

/* Room of its own for positions from..to-1, evicting the KV of other sequences that are not busy, least
 * recently used first, where the budget is used up. ERR_LIMIT: it is too small for this and the busy ones. */
enum err engine_seq_reserve(struct engine_seq *s, int32_t from, int32_t to);

/* The context and the budget of KV can hold n tokens, if the sequence has them for itself. */
bool engine_seq_fits(const struct engine_seq *s, int32_t n);

/* What of a prompt is still to be computed: the spans between reused KV, and the end. */
struct engine_fill {
    struct forward_span gaps[TOKEN_RUNS_MAX + 1]; /* ascending; those before `first` are filled */
    int32_t n_gaps, first;
    int32_t n_prompt;  /* tokens of the prompt */
    int32_t max_exact; /* where KV begins that depends on what was moved */
};

/* Begin to make s hold tokens[0..n-1], which must stay until the fill is done: reuse what there is and
 * reserve room for the rest. A fill may be abandoned at any time. Errors as engine_seq_sync. */
enum err engine_fill_begin(struct engine_seq *s, const int32_t *tokens, int32_t n, struct engine_fill *fill,
                           struct engine_reuse *reuse);
bool engine_fill_is_done(const struct engine_fill *fill);

/* The next of its tokens, at most max (>= 1), as spans [TOKEN_RUNS_MAX + 1] that may be written. The prompt's
 * last token wants logits. Errors as engine_seq_reserve. */
enum err engine_fill_next(struct engine_seq *s, const struct engine_fill *fill, int32_t max,
                          struct forward_span *spans, int32_t *n_spans);

/* The spans of engine_fill_next have been computed. */
void engine_fill_took(struct engine_seq *s, struct engine_fill *fill, const struct forward_span *spans,
                      int32_t n_spans);

/* n tokens that follow the others have been computed. */
void engine_seq_took(struct engine_seq *s, const int32_t *tokens, int32_t n);

/* Append n tokens (at most LOGIT_ROWS) and compute the logits of the last n_logits: rows from 0 on. */
enum err engine_seq_extend(struct engine_seq *s, const int32_t *tokens, int32_t n, int32_t n_logits,
                           const struct limits *limits);

/* Forget all but the first n tokens; their pages stay for those to come. */
void engine_seq_cut(struct engine_seq *s, int32_t n);

#endif
