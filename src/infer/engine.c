/* The engine: a model bound to kernels and threads, and the sequences that run on it.
 *
 * A sequence remembers its tokens beside its KV, so that syncing to a new prompt computes only what
 * follows the longest common prefix. Thread: one at a time per engine. */
#include "infer/engine.h"

#include <string.h>

#include "base/mem.h"
#include "infer/forward.h"
#include "infer/kv_cache.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/pages.h"
#include "os/pool.h"

/* Prefill tokens computed in one pass: enough to amortise reading the weights, and scratch stays in cache. */
#define DEFAULT_BATCH 128
#define MAX_BATCH     4096
#define MAX_THREADS   256

struct engine {
    struct model *model; /* a reference */
    struct compute c;
    size_t scratch_total; /* bytes */
    struct forward *forward;
    int32_t n_batch;
};

struct engine_seq {
    struct engine *engine; /* borrowed */
    struct kv_cache kv;
    int32_t *tokens; /* [n_ctx]; those whose KV is there */
    int32_t len, n_ctx;
    float *logits;   /* [n_vocab] */
    bool has_logits; /* logits are those after tokens[len - 1] */
};

static enum err open_compute(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    int32_t n_threads = o->n_threads ? o->n_threads : cpu_count();
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return err_set(msg, ERR_ARG, "%d threads; allowed are 1 to %d", n_threads, MAX_THREADS);
    e->c.kern = kern_select(o->isa);
    if (!e->c.kern)
        return err_set(msg, ERR_ARG, "instruction set \"%s\" is not available here (there are: %s)", o->isa,
                       kern_available());
    e->c.scratch_bytes = (kern_scratch_bytes() + 63) & ~(size_t)63;
    e->scratch_total = e->c.scratch_bytes * (size_t)n_threads;
    e->c.scratch = pages_reserve(e->scratch_total);
    if (!e->c.scratch) return err_set(msg, ERR_NOMEM, "not enough memory for %d threads", n_threads);
    return pool_new(n_threads, &e->c.pool, msg);
}

enum err engine_open(struct model *m, const struct engine_options *o, struct engine **out, struct errmsg *msg)
{
    struct engine *e = MEM_NEW(struct engine);
    e->model = model_ref(m);
    e->n_batch = o->n_batch ? o->n_batch : DEFAULT_BATCH;
    enum err err = OK;
    if (e->n_batch < 1 || e->n_batch > MAX_BATCH)
        err = err_set(msg, ERR_ARG, "a batch of %d tokens; allowed are 1 to %d", e->n_batch, MAX_BATCH);
    if (!err) err = open_compute(e, o, msg);
    if (!err) err = forward_new(m, &e->c, e->n_batch, &e->forward, msg);
    if (err) {
        engine_close(&e);
        return err;
    }
    *out = e;
    return OK;
}

void engine_close(struct engine **ep)
{
    struct engine *e = *ep;
    *ep = NULL;
    if (!e) return;
    forward_free(&e->forward);
    pool_free(&e->c.pool);
    pages_release(e->c.scratch, e->scratch_total);
    model_unref(&e->model);
    mem_free(e);
}

const struct model *engine_model(const struct engine *e)
{
    return e->model;
}

const char *engine_isa(const struct engine *e)
{
    return e->c.kern->isa;
}

int32_t engine_threads(const struct engine *e)
{
    return pool_threads(e->c.pool);
}

enum err engine_seq_open(struct engine *e, int32_t n_ctx, struct engine_seq **out, struct errmsg *msg)
{
    if (n_ctx == 0) n_ctx = e->model->p.n_ctx_train;
    if (n_ctx < 1) return err_set(msg, ERR_ARG, "a context of %d tokens", n_ctx);
    struct engine_seq *s = MEM_NEW(struct engine_seq);
    s->engine = e;
    s->n_ctx = n_ctx;
    enum err err = kv_init(&s->kv, &e->model->p, n_ctx, msg);
    if (err) goto fail;
    s->tokens = mem_try((size_t)n_ctx, sizeof *s->tokens);
    s->logits = mem_try_aligned((size_t)e->model->p.n_vocab, sizeof *s->logits);
    if (!s->tokens || !s->logits) {
        err = err_set(msg, ERR_NOMEM, "not enough memory for a sequence of %d tokens", n_ctx);
        goto fail;
    }
    *out = s;
    return OK;
fail:
    engine_seq_close(&s);
    return err;
}

void engine_seq_close(struct engine_seq **sp)
{
    struct engine_seq *s = *sp;
    *sp = NULL;
    if (!s) return;
    kv_clear(&s->kv);
    mem_free(s->tokens);
    mem_free(s->logits);
    mem_free(s);
}

const struct engine *engine_seq_engine(const struct engine_seq *s)
{
    return s->engine;
}

int32_t engine_seq_len(const struct engine_seq *s)
{
    return s->len;
}

int32_t engine_seq_n_ctx(const struct engine_seq *s)
{
    return s->n_ctx;
}

const float *engine_seq_logits(const struct engine_seq *s)
{
    return s->logits;
}

/* Append n tokens in batches; logits after the last one. */
static enum err extend(struct engine_seq *s, const int32_t *tokens, int32_t n, const atomic_bool *cancel)
{
    for (int32_t done = 0; done < n;) {
        int32_t batch = n - done < s->engine->n_batch ? n - done : s->engine->n_batch;
        bool is_last = done + batch == n;
        s->has_logits = false;
        enum err e = forward_run(s->engine->forward, &s->kv, tokens + done, batch, s->len,
                                 is_last ? s->logits : NULL, cancel);
        if (e) return e;
        memcpy(s->tokens + s->len, tokens + done, (size_t)batch * sizeof *tokens);
        s->len += batch;
        done += batch;
        s->has_logits = is_last;
    }
    return OK;
}

enum err engine_seq_sync(struct engine_seq *s, const int32_t *tokens, int32_t n, const atomic_bool *cancel,
                         int32_t *n_reused)
{
    int32_t n_vocab = s->engine->model->p.n_vocab;
    if (n < 1) return ERR_ARG;
    if (n > s->n_ctx) return ERR_LIMIT;
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= n_vocab) return ERR_ARG;
    }
    int32_t same = 0;
    while (same < n && same < s->len && s->tokens[same] == tokens[same]) same++;
    /* The last token must be computed again where only its KV is there, not its logits. */
    if (same == n && !(s->len == n && s->has_logits)) same = n - 1;
    if (same < s->len) s->has_logits = false;
    s->len = same;
    if (n_reused) *n_reused = same;
    return extend(s, tokens + same, n - same, cancel);
}

enum err engine_seq_append(struct engine_seq *s, int32_t token, const atomic_bool *cancel)
{
    if (token < 0 || token >= s->engine->model->p.n_vocab) return ERR_ARG;
    if (s->len >= s->n_ctx) return ERR_LIMIT;
    mem_guard_begin("decode");
    enum err e = extend(s, &token, 1, cancel);
    mem_guard_end();
    return e;
}

/* The decode loop: sample, report, append, until something says stop. */
static enum err decode(struct engine_seq *s, struct sampler *sampler, int32_t max_tokens,
                       const atomic_bool *cancel, engine_token_fn *fn, void *ctx,
                       struct engine_result *result)
{
    const struct tokenizer *tokenizer = s->engine->model->tokenizer;
    result->stop = ENGINE_STOP_LIMIT;
    while (result->n_generated < max_tokens) {
        int32_t token = sampler_pick(sampler, s->logits);
        if (tokenizer_is_eog(tokenizer, token)) {
            result->stop = ENGINE_STOP_EOG;
            return OK;
        }
        sampler_accept(sampler, token);
        result->n_generated++;
        size_t len;
        const char *bytes = tokenizer_piece(tokenizer, token, &len);
        if (!fn(ctx, token, bytes, len)) {
            result->stop = ENGINE_STOP_CALLER;
            return OK;
        }
        /* The last token's successor is never asked for. */
        if (result->n_generated == max_tokens || s->len == s->n_ctx) return OK;
        enum err e = engine_seq_append(s, token, cancel);
        if (e) return e;
    }
    return OK;
}

enum err engine_generate(struct engine_seq *s, const int32_t *prompt, int32_t n_prompt,
                         const struct sampler_params *sampling, int32_t max_tokens, const atomic_bool *cancel,
                         engine_token_fn *fn, void *ctx, struct engine_result *result, struct errmsg *msg)
{
    *result = (struct engine_result){.n_prompt = n_prompt};
    struct sampler *sampler = NULL;
    enum err e = sampler_new(sampling, s->engine->model->tokenizer, &sampler, msg);
    if (e) return e;
    int64_t start = clock_ns();
    e = engine_seq_sync(s, prompt, n_prompt, cancel, &result->n_reused);
    result->prompt_ms = clock_ms_since(start);
    start = clock_ns();
    for (int32_t i = 0; i < n_prompt && !e; i++) sampler_accept(sampler, prompt[i]);
    if (!e) e = decode(s, sampler, max_tokens, cancel, fn, ctx, result);
    result->generate_ms = clock_ms_since(start);
    sampler_free(&sampler);
    if (e == ERR_CANCELLED) {
        result->stop = ENGINE_STOP_CANCEL;
        return OK;
    }
    if (e == ERR_LIMIT)
        return err_set(msg, e, "a prompt of %d tokens does not fit the context of %d", n_prompt, s->n_ctx);
    if (e) return err_set(msg, e, "cannot compute a prompt of %d tokens: %s", n_prompt, err_text(e));
    return OK;
}
