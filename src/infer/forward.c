/* The forward pass. Read forward_run first: it is the model as the papers draw it; everything above it is
 * one step of it each. Shapes are row-major, tokens first. */
#include "infer/forward.h"

#include "base/mem.h"
#include "infer/experts.h"
#include "infer/rope.h"
#include "infer/slab.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/pages.h"
#include "os/pool.h"

/* The angles of one batch, for one of the two kinds of layers. */
struct angles {
    struct rope rope;
    float *cos, *sin; /* [max_batch][rope.n] */
};

struct forward {
    const struct model *m; /* borrowed: the engine holds a reference */
    struct compute c;
    int32_t max_batch;

    float *x;              /* [max_batch][d_model]; the residual stream */
    float *xn;             /* [max_batch][d_model]; normalised input of a branch */
    float *branch;         /* [max_batch][d_model]; output of a branch */
    float *q, *att;        /* [max_batch][n_heads][head_dim] */
    float *k, *v;          /* [max_batch][n_kv_heads][head_dim] */
    float *h, *up;         /* [max_batch][d_ff]; null with experts */
    struct act_buffer act; /* for the widest of the inputs above */
    struct angles global, local;
    struct experts *experts; /* null without */
    struct slab slab;        /* holds all of the above but experts */

    /* The call that is running. */
    struct kv_cache *kv;
    const int32_t *tokens;
    int32_t n, pos, layer;
};

static size_t n_q(const struct model *m)
{
    return (size_t)m->p.n_heads * (size_t)m->p.head_dim;
}

static size_t n_kv(const struct model *m)
{
    return (size_t)m->p.n_kv_heads * (size_t)m->p.head_dim;
}

static void lay_out(struct forward *f)
{
    const struct arch_params *p = &f->m->p;
    size_t n = (size_t)f->max_batch, d = (size_t)p->d_model;
    size_t widest = d;
    if (n_q(f->m) > widest) widest = n_q(f->m);
    if ((size_t)p->d_ff > widest) widest = (size_t)p->d_ff;
    f->x = slab_take(&f->slab, n * d * sizeof(float));
    f->xn = slab_take(&f->slab, n * d * sizeof(float));
    f->branch = slab_take(&f->slab, n * d * sizeof(float));
    f->q = slab_take(&f->slab, n * n_q(f->m) * sizeof(float));
    f->att = slab_take(&f->slab, n * n_q(f->m) * sizeof(float));
    f->k = slab_take(&f->slab, n * n_kv(f->m) * sizeof(float));
    f->v = slab_take(&f->slab, n * n_kv(f->m) * sizeof(float));
    f->h = slab_take(&f->slab, n * (size_t)p->d_ff * sizeof(float));
    f->up = slab_take(&f->slab, n * (size_t)p->d_ff * sizeof(float));
    f->act.q = slab_take(&f->slab, n * widest);
    f->act.d = slab_take(&f->slab, n * (widest / 32 + 1) * sizeof(float));
    f->act.s = slab_take(&f->slab, n * (widest / 16 + 1) * sizeof(float));
    struct angles *both[] = {&f->global, &f->local};
    for (int i = 0; i < 2; i++) {
        both[i]->rope.inv_freq = slab_take(&f->slab, (size_t)p->n_rot / 2 * sizeof(double));
        both[i]->cos = slab_take(&f->slab, n * (size_t)p->n_rot / 2 * sizeof(float));
        both[i]->sin = slab_take(&f->slab, n * (size_t)p->n_rot / 2 * sizeof(float));
    }
}

enum err forward_new(const struct model *m, const struct compute *c, int32_t max_batch, struct forward **out,
                     struct errmsg *msg)
{
    struct forward *f = MEM_NEW(struct forward);
    f->m = m;
    f->c = *c;
    f->max_batch = max_batch;
    lay_out(f);
    enum err e = OK;
    f->slab = (struct slab){.memory = pages_reserve(f->slab.used), .bytes = f->slab.used};
    if (!f->slab.memory) {
        e = err_set(msg, ERR_NOMEM, "not enough memory for a batch of %d tokens", max_batch);
        goto fail;
    }
    lay_out(f);
    if (m->p.n_experts && (e = experts_new(m, max_batch, &f->experts, msg))) goto fail;
    rope_init(&f->global.rope, f->global.rope.inv_freq, &m->p, m->rope_factors, false);
    if (m->p.rope_base_local > 0) rope_init(&f->local.rope, f->local.rope.inv_freq, &m->p, NULL, true);
    *out = f;
    return OK;
fail:
    forward_free(&f);
    return e;
}

void forward_free(struct forward **fp)
{
    struct forward *f = *fp;
    *fp = NULL;
    if (!f) return;
    experts_free(&f->experts);
    pages_release(f->slab.memory, f->slab.bytes);
    mem_free(f);
}

static const struct model_layer *layer_of(const struct forward *f)
{
    return &f->m->layers[f->layer];
}

/* Embeddings and angles of one token. */
static void embed_token(void *ctx, int32_t t, int32_t worker)
{
    (void)worker;
    struct forward *f = ctx;
    const struct arch_params *p = &f->m->p;
    const struct kern_mat *w = &f->m->tok_embd;
    float *x = f->x + (size_t)t * (size_t)p->d_model;
    f->c.kern->dequantize(w->type, (const char *)w->data + (size_t)f->tokens[t] * w->row_bytes, x,
                          p->d_model);
    if (p->embedding_scale != 1) {
        for (int32_t i = 0; i < p->d_model; i++) x[i] *= p->embedding_scale;
    }
    size_t at = (size_t)t * (size_t)f->global.rope.n;
    rope_angles(&f->global.rope, f->pos + t, f->global.cos + at, f->global.sin + at);
    if (p->rope_base_local > 0) rope_angles(&f->local.rope, f->pos + t, f->local.cos + at, f->local.sin + at);
}

static void norm(const struct forward *f, const float *x, const float *weight, const float *bias, float *y)
{
    const struct arch_params *p = &f->m->p;
    if (f->m->arch->norm == ARCH_LAYER_NORM)
        f->c.kern->layer_norm(x, weight, bias, p->d_model, p->norm_eps, y);
    else
        f->c.kern->rms_norm(x, weight, p->d_model, p->norm_eps, y);
}

static void attn_norm_token(void *ctx, int32_t t, int32_t worker)
{
    (void)worker;
    struct forward *f = ctx;
    size_t at = (size_t)t * (size_t)f->m->p.d_model;
    norm(f, f->x + at, layer_of(f)->attn_norm, layer_of(f)->attn_norm_b, f->xn + at);
}

static void ffn_norm_token(void *ctx, int32_t t, int32_t worker)
{
    (void)worker;
    struct forward *f = ctx;
    size_t at = (size_t)t * (size_t)f->m->p.d_model;
    norm(f, f->x + at, layer_of(f)->ffn_norm, layer_of(f)->ffn_norm_b, f->xn + at);
}

/* Norm (where the family has it) and rotation of n heads. */
static void rotate_heads(const struct forward *f, float *heads, int32_t n, const float *weight, int32_t t)
{
    const struct arch_params *p = &f->m->p;
    const struct angles *a = layer_of(f)->has_local_rope ? &f->local : &f->global;
    size_t at = (size_t)t * (size_t)a->rope.n;
    for (int32_t i = 0; i < n; i++, heads += p->head_dim) {
        if (weight) f->c.kern->rms_norm(heads, weight, p->head_dim, p->norm_eps, heads);
        f->c.kern->rope(heads, a->cos + at, a->sin + at, p->n_rot, f->m->arch->neox_rope);
    }
}

/* Finish queries, keys and values of one token and put the latter two into the cache. */
static void store_token(void *ctx, int32_t t, int32_t worker)
{
    (void)worker;
    struct forward *f = ctx;
    const struct arch_params *p = &f->m->p;
    const struct model_layer *layer = layer_of(f);
    float *k = f->k + (size_t)t * n_kv(f->m), *v = f->v + (size_t)t * n_kv(f->m);
    rotate_heads(f, f->q + (size_t)t * n_q(f->m), p->n_heads, layer->q_norm, t);
    rotate_heads(f, k, p->n_kv_heads, layer->k_norm, t);
    for (int32_t h = 0; h < p->n_kv_heads; h++) {
        size_t at = kv_head_offset(f->kv, f->layer, h) + (size_t)(f->pos + t) * (size_t)p->head_dim;
        f->c.kern->f32_to_f16(k + h * p->head_dim, f->kv->k + at, p->head_dim);
        f->c.kern->f32_to_f16(v + h * p->head_dim, f->kv->v + at, p->head_dim);
    }
}

/* One task: one token's query heads that share one key/value head. */
static void attend_task(void *ctx, int32_t task, int32_t worker)
{
    struct forward *f = ctx;
    const struct arch_params *p = &f->m->p;
    int32_t t = task / p->n_kv_heads, h = task % p->n_kv_heads;
    int32_t group = p->n_heads / p->n_kv_heads;
    int32_t end = f->pos + t + 1, window = layer_of(f)->window;
    int32_t start = window && end > window ? end - window : 0;
    size_t at = (size_t)t * n_q(f->m) + (size_t)h * (size_t)group * (size_t)p->head_dim;
    size_t kv_at = kv_head_offset(f->kv, f->layer, h) + (size_t)start * (size_t)p->head_dim;
    f->c.kern->attend(f->q + at, f->kv->k + kv_at, f->kv->v + kv_at, (size_t)p->head_dim, group, end - start,
                      p->head_dim, p->attention_scale, f->att + at,
                      f->c.scratch + (size_t)worker * f->c.scratch_bytes);
}

/* x += residual_scale * branch, after the branch's own norm where the family has one. */
static void add_branch(struct forward *f, const float *post_norm)
{
    const struct arch_params *p = &f->m->p;
    for (int32_t t = 0; t < f->n; t++) {
        float *x = f->x + (size_t)t * (size_t)p->d_model,
              *branch = f->branch + (size_t)t * (size_t)p->d_model;
        if (post_norm) norm(f, branch, post_norm, NULL, branch);
        if (p->residual_scale == 1)
            f->c.kern->add(x, branch, p->d_model);
        else
            f->c.kern->mul_add(x, branch, p->residual_scale, p->d_model);
    }
}

static void attention(struct forward *f)
{
    const struct arch_params *p = &f->m->p;
    const struct model_layer *l = layer_of(f);
    const struct compute *c = &f->c;
    linear_for_tokens(c, f->n, attn_norm_token, f);
    struct kern_act x = linear_act(c, &l->wq, f->xn, f->n, p->d_model, &f->act);
    /* The three formats may differ (V is often kept finer): quantize if any of them wants it. */
    if (!x.q) x = linear_act(c, &l->wk, f->xn, f->n, p->d_model, &f->act);
    if (!x.q) x = linear_act(c, &l->wv, f->xn, f->n, p->d_model, &f->act);
    linear_run(c,
               (struct linear[]){{.w = l->wq, .bias = l->bq, .x = x, .y = f->q},
                                 {.w = l->wk, .bias = l->bk, .x = x, .y = f->k},
                                 {.w = l->wv, .bias = l->bv, .x = x, .y = f->v}},
               3);
    linear_for_tokens(c, f->n, store_token, f);
    pool_run(c->pool, f->n * p->n_kv_heads, attend_task, f);
    x = linear_act(c, &l->wo, f->att, f->n, (int32_t)n_q(f->m), &f->act);
    linear_run(c, &(struct linear){.w = l->wo, .bias = l->bo, .x = x, .y = f->branch}, 1);
    add_branch(f, l->attn_post_norm);
}

static void feed_forward(struct forward *f)
{
    const struct arch_params *p = &f->m->p;
    const struct model_layer *l = layer_of(f);
    const struct compute *c = &f->c;
    linear_for_tokens(c, f->n, ffn_norm_token, f);
    if (f->experts) {
        experts_run(f->experts, c, l, f->xn, f->n, f->branch);
    } else {
        struct kern_act x = linear_act(c, &l->up, f->xn, f->n, p->d_model, &f->act);
        if (l->gate.data && !x.q) x = linear_act(c, &l->gate, f->xn, f->n, p->d_model, &f->act);
        struct linear in = {.w = l->up, .bias = l->b_up, .x = x, .y = f->h, .activate = c->kern->gelu};
        if (l->gate.data) {
            bool is_silu = f->m->arch->ffn == ARCH_FFN_SILU_GATED;
            in = (struct linear){.w = l->gate, .bias = l->b_gate, .x = x, .y = f->h, .up = l->up};
            in.up_bias = l->b_up;
            in.up_y = f->up;
            in.gate = is_silu ? c->kern->silu_mul : c->kern->gelu_mul;
        }
        linear_run(c, &in, 1);
        x = linear_act(c, &l->down, f->h, f->n, p->d_ff, &f->act);
        linear_run(c, &(struct linear){.w = l->down, .bias = l->b_down, .x = x, .y = f->branch}, 1);
    }
    add_branch(f, l->ffn_post_norm);
}

/* Logits of the last token of the batch. */
static void output(struct forward *f, float *logits)
{
    const struct arch_params *p = &f->m->p;
    float *x = f->x + (size_t)(f->n - 1) * (size_t)p->d_model;
    norm(f, x, f->m->output_norm, f->m->output_norm_b, f->xn);
    struct kern_act act = linear_act(&f->c, &f->m->output, f->xn, 1, p->d_model, &f->act);
    linear_run(&f->c, &(struct linear){.w = f->m->output, .x = act, .y = logits}, 1);
    if (p->logit_scale == 1) return;
    for (int32_t i = 0; i < p->n_vocab; i++) logits[i] /= p->logit_scale;
}

enum err forward_run(struct forward *f, struct kv_cache *kv, const int32_t *tokens, int32_t n, int32_t pos,
                     float *logits, const atomic_bool *cancel)
{
    f->kv = kv;
    f->tokens = tokens;
    f->n = n;
    f->pos = pos;
    linear_for_tokens(&f->c, n, embed_token, f);
    for (f->layer = 0; f->layer < f->m->p.n_layers; f->layer++) {
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed)) return ERR_CANCELLED;
        attention(f);
        feed_forward(f);
    }
    if (logits) output(f, logits);
    return OK;
}
