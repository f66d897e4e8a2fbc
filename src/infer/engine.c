/* The engine's life: a model bound to kernels, threads and memory for KV, and the sequences that run on it.
 * Thread: one at a time per engine. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "infer/engine_impl.h"
#include "infer/token_diff.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/cpu.h"
#include "os/dirs.h"
#include "os/pages.h"
#include "os/pool.h"

/* Prefill tokens computed in one pass: enough to amortise reading the weights, and scratch stays in cache. */
#define DEFAULT_BATCH 128
/* The same for kernels that prepare the tokens of a pass first (kern.task_rows). */
#define LARGE_BATCH 512
#define MAX_BATCH   4096
#define MAX_THREADS 256

#define DEFAULT_KV_BYTES      ((int64_t)512 << 20)
#define DEFAULT_KV_DISK_BYTES ((int64_t)1 << 30)

/* Text that drafts are looked up in: a prompt and as much related text again. */
#define DRAFT_TOKENS 8192

enum err engine_pool_new(const struct engine_options *o, struct pool **out, struct errmsg *msg)
{
    *out = NULL;
    if (o->n_threads < 0 || o->n_threads > MAX_THREADS)
        return err_set(msg, ERR_ARG, "%d threads; allowed are 1 to %d", o->n_threads, MAX_THREADS);
    if (o->cpus && *o->cpus) return pool_new_on(o->cpus, o->n_threads, out, msg);
    return pool_new(o->n_threads ? o->n_threads : cpu_count(), out, msg);
}

static enum err open_compute(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    enum err err = o->pool ? OK : engine_pool_new(o, &e->own_pool, msg);
    if (err) return err;
    e->c.pool = o->pool ? o->pool : e->own_pool;
    err = pool_new(1, &e->caller, msg);
    if (err) return err;
    int32_t n_threads = pool_threads(e->c.pool);
    e->c.kern = kern_select(o->isa);
    if (!e->c.kern)
        return err_set(msg, ERR_ARG, "instruction set \"%s\" is not available here (there are: %s)", o->isa,
                       kern_available());
    e->n_batch = o->n_batch ? o->n_batch : e->c.kern->task_rows ? LARGE_BATCH : DEFAULT_BATCH;
    if (e->n_batch < 1 || e->n_batch > MAX_BATCH)
        return err_set(msg, ERR_ARG, "a batch of %d tokens; allowed are 1 to %d", e->n_batch, MAX_BATCH);
    e->c.scratch_bytes = (kern_scratch_bytes() + 63) & ~(size_t)63;
    e->scratch_total = e->c.scratch_bytes * (size_t)n_threads;
    e->c.scratch = pages_reserve(e->scratch_total);
    if (!e->c.scratch) return err_set(msg, ERR_NOMEM, "not enough memory for %d threads", n_threads);
    return OK;
}

static enum err open_kv_pool(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    int64_t budget = o->kv_bytes ? o->kv_bytes : DEFAULT_KV_BYTES;
    return kv_pool_new(&e->model->p, o->kv_type, budget, &e->kv_pool, msg);
}

/* KV is that of these weights in these formats. */
static enum err open_kv_store(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    if (!o->kv_dir) return OK;
    char key[32 + PRECISION_KEY_LEN + 1];
    weight_pack_model_key(e->model, key);
    precision_key(&e->precision, key + 32);
    int64_t ceiling = o->kv_disk_bytes ? o->kv_disk_bytes : DEFAULT_KV_DISK_BYTES;
    char *usual = *o->kv_dir ? NULL : dirs_path(DIR_CACHE, "kv");
    enum err err =
        kv_store_open(usual ? usual : o->kv_dir, key, kv_pool_shape(e->kv_pool), ceiling, &e->kv_store, msg);
    mem_free(usual);
    return err;
}

enum err engine_open(struct model *m, const struct engine_options *o, struct engine **out, struct errmsg *msg)
{
    struct engine *e = MEM_NEW(struct engine);
    e->model = model_ref(m);
    e->move = o->move;
    enum err err = open_compute(e, o, msg);
    if (!err) err = open_kv_pool(e, o, msg);
    int32_t max_batch = e->n_batch > LOGIT_ROWS ? e->n_batch : LOGIT_ROWS;
    if (!err) err = forward_new(m, &e->c, max_batch, &e->forward, msg);
    if (!err && !o->no_speculation) err = draft_new(DRAFT_TOKENS, &e->draft, msg);
    if (!err) err = engine_weights_open(e, o, msg);
    if (!err) err = open_kv_store(e, o, msg);
    if (!err) err = engine_residency_open(e, o, msg);
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
    draft_free(&e->draft);
    forward_free(&e->forward);
    residency_free(&e->residency);
    weight_pack_close(&e->pack);
    kv_store_close(&e->kv_store);
    kv_pool_free(&e->kv_pool);
    pool_free(&e->own_pool);
    pool_free(&e->caller);
    pages_release(e->c.scratch, e->scratch_total);
    precision_clear(&e->precision);
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

void engine_place_caller(const struct engine *e)
{
    pool_place_caller(e->c.pool);
}

int64_t engine_kv_bytes(const struct engine *e)
{
    return kv_pool_used(e->kv_pool);
}

enum err engine_check(const struct engine *e, struct errmsg *msg)
{
    enum err err = model_check(e->model, msg);
    return err || !e->pack ? err : weight_pack_check(e->pack, msg);
}

static size_t logits_bytes(const struct engine_seq *s)
{
    return sizeof(float) * LOGIT_ROWS * (size_t)s->engine->model->p.n_vocab;
}

enum err engine_seq_open(struct engine *e, int32_t n_ctx, struct engine_seq **out, struct errmsg *msg)
{
    if (n_ctx == 0) n_ctx = e->model->p.n_ctx_train;
    if (n_ctx < 1) return err_set(msg, ERR_ARG, "a context of %d tokens", n_ctx);
    struct engine_seq *s = MEM_NEW(struct engine_seq);
    s->engine = e;
    s->n_ctx = n_ctx;
    s->logit_row = -1;
    s->next = e->seqs;
    e->seqs = s;
    enum err err = kv_open(e->kv_pool, n_ctx, &s->kv, msg);
    if (err) goto fail;
    s->tokens = mem_try((size_t)n_ctx, sizeof *s->tokens);
    s->index = mem_try(TOKEN_DIFF_INDEX(n_ctx), sizeof *s->index);
    s->logits = pages_reserve(logits_bytes(s));
    if (!s->tokens || !s->index || !s->logits) {
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
    struct engine_seq **link = &s->engine->seqs;
    while (*link != s) link = &(*link)->next;
    *link = s->next;
    kv_close(&s->kv);
    pages_release(s->logits, logits_bytes(s));
    mem_free(s->tokens);
    mem_free(s->index);
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
    int32_t row = s->logit_row > 0 ? s->logit_row : 0;
    return s->logits + (size_t)row * (size_t)s->engine->model->p.n_vocab;
}

void engine_seq_cut(struct engine_seq *s, int32_t n)
{
    if (n == s->len) return;
    s->len = n;
    if (s->n_exact > n) s->n_exact = n;
    if (s->n_prompt > n) s->n_prompt = n;
    s->logit_row = -1;
}

void engine_seq_took(struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    memcpy(s->tokens + s->len, tokens, (size_t)n * sizeof *tokens);
    if (s->n_exact == s->len) s->n_exact += n;
    s->len += n;
    s->logit_row = -1;
}

enum err engine_seq_extend(struct engine_seq *s, const int32_t *tokens, int32_t n, int32_t n_logits,
                           const struct limits *limits)
{
    if (n > s->n_ctx - s->len) return ERR_LIMIT;
    enum err e = engine_seq_reserve(s, s->len, s->len + n);
    if (e) return e;
    struct forward_span span = {.kv = &s->kv, .tokens = tokens, .n = n, .pos = s->len, .n_logits = n_logits};
    s->logit_row = -1;
    mem_guard_begin("decode");
    e = forward_run(s->engine->forward, &span, 1, s->logits, limits);
    mem_guard_end();
    if (e) return e;
    engine_seq_took(s, tokens, n);
    s->logit_row = n_logits - 1;
    return OK;
}

enum err engine_seq_append(struct engine_seq *s, int32_t token, const struct limits *limits)
{
    if (token < 0 || token >= s->engine->model->p.n_vocab) return ERR_ARG;
    return engine_seq_extend(s, &token, 1, 1, limits);
}

/* -log softmax(logits)[token]. */
static double loss_of(const float *logits, int32_t n_vocab, int32_t token)
{
    float max = logits[0];
    for (int32_t i = 1; i < n_vocab; i++) max = logits[i] > max ? logits[i] : max;
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) sum += (double)expf(logits[i] - max);
    return log(sum) + (double)(max - logits[token]);
}

enum err engine_seq_loss(struct engine_seq *s, const int32_t *tokens, int32_t n, double *loss)
{
    int32_t n_vocab = s->engine->model->p.n_vocab;
    double sum = 0;
    if (n < 2) return ERR_ARG;
    enum err e = engine_seq_sync(s, tokens, 1, NULL, NULL);
    for (int32_t done = 1; done < n && !e;) {
        sum += loss_of(engine_seq_logits(s), n_vocab, tokens[done]);
        int32_t batch = n - done < LOGIT_ROWS ? n - done : LOGIT_ROWS;
        for (int32_t i = 0; i < batch; i++) {
            if (tokens[done + i] < 0 || tokens[done + i] >= n_vocab) return ERR_ARG;
        }
        e = engine_seq_extend(s, tokens + done, batch, batch, NULL);
        for (int32_t i = 0; i + 1 < batch && !e; i++)
            sum += loss_of(s->logits + (size_t)i * (size_t)n_vocab, n_vocab, tokens[done + i + 1]);
        done += batch;
    }
    *loss = sum / (n - 1);
    return e ? e : engine_check(s->engine, NULL);
}
