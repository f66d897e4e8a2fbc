/* The forward pass. Read forward_run first: it is the model as the papers draw it; everything above it is
 * one step of it each. Shapes are row-major, tokens first. */
#include "infer/forward.h"

#include <string.h>

#include "base/mem.h"
#include "infer/attention.h"
#include "infer/experts.h"
#include "infer/slab.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "model/weight_pack.h"
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
    struct model_layer *layers; /* [n_layers]; the model's, with packed matrices once there are some */
    struct kern_mat output;     /* likewise */
    bool *is_local;             /* [n_layers]; the layer rotates with the local angles */

    float *x;              /* [max_batch][d_model]; the residual stream */
    float *xn;             /* [max_batch][d_model]; normalised input of a branch */
    float *branch;         /* [max_batch][d_model]; output of a branch */
    float *q, *att;        /* [max_batch][n_heads][head_dim] */
    float *k, *v;          /* [max_batch][n_kv_heads][head_dim] */
    float *h, *up;         /* [max_batch][d_ff]; null with experts */
    struct act_buffer act; /* for the widest of the inputs above */
    struct angles global, local;
    struct place *places; /* [max_batch] */
    struct slab slab;     /* holds all of the above */
    struct attention *attention;
    struct experts *experts; /* null without */

    /* The batch that is running. */
    int32_t n, layer;
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
    f->layers = slab_take(&f->slab, (size_t)p->n_layers * sizeof *f->layers);
    f->is_local = slab_take(&f->slab, (size_t)p->n_layers * sizeof *f->is_local);
    f->places = slab_take(&f->slab, (size_t)f->max_batch * sizeof *f->places);
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
    if ((e = attention_new(&m->p, c, max_batch, &f->attention, msg))) goto fail;
    if (m->p.n_experts && (e = experts_new(m, max_batch, &f->experts, msg))) goto fail;
    memcpy(f->layers, m->layers, (size_t)m->p.n_layers * sizeof *f->layers);
    f->output = m->output;
    for (int32_t i = 0; i < m->p.n_layers; i++) f->is_local[i] = m->layers[i].has_local_rope;
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
    attention_free(&f->attention);
    experts_free(&f->experts);
    pages_release(f->slab.memory, f->slab.bytes);
    mem_free(f);
}

static void pack_layer(struct model_layer *l, const struct weight_pack *pack)
{
    struct kern_mat *all[] = {&l->wq,   &l->wk,        &l->wv,      &l->wo,        &l->gate,  &l->up,
                              &l->down, &l->gate_exps, &l->up_exps, &l->down_exps, &l->router};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++) weight_pack_apply(pack, all[j]);
}

void forward_use_pack(struct forward *f, const struct weight_pack *pack)
{
    for (int32_t i = 0; i < f->m->p.n_layers; i++) pack_layer(&f->layers[i], pack);
    weight_pack_apply(pack, &f->output);
}

void forward_use_layer(struct forward *f, const struct weight_pack *pack, int32_t layer)
{
    memcpy(f->layers, f->m->layers, (size_t)f->m->p.n_layers * sizeof *f->layers);
    f->output = f->m->output;
    if (pack && layer >= 0) pack_layer(&f->layers[layer], pack);
}

size_t forward_bytes(const struct forward *f)
{
    return f->slab.bytes + attention_bytes(f->attention) + (f->experts ? experts_bytes(f->experts) : 0);
}

static const struct model_layer *layer_of(const struct forward *f)
{
    return &f->layers[f->layer];
}

/* Embeddings and angles of one token. */
static void embed_token(void *ctx, int32_t t, int32_t worker)
{
    (void)worker;
    struct forward *f = ctx;
    const struct arch_params *p = &f->m->p;
    const struct kern_mat *w = &f->m->tok_embd;
    float *x = f->x + (size_t)t * (size_t)p->d_model;
    f->c.kern->dequantize(w->type, (const char *)w->data + (size_t)f->places[t].token * w->row_bytes, x,
                          p->d_model);
    if (p->embedding_scale != 1) {
        for (int32_t i = 0; i < p->d_model; i++) x[i] *= p->embedding_scale;
    }
    size_t at = (size_t)t * (size_t)f->global.rope.n;
    rope_angles(&f->global.rope, f->places[t].pos, f->global.cos + at, f->global.sin + at);
    if (p->rope_base_local > 0)
        rope_angles(&f->local.rope, f->places[t].pos, f->local.cos + at, f->local.sin + at);
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
    if (limits_are_over(f->c.limits)) return; /* the keys may not have been computed */
    const struct arch_params *p = &f->m->p;
    const struct model_layer *layer = layer_of(f);
    const struct place *at = &f->places[t];
    const struct kv_shape *shape = kv_pool_shape(at->kv->pool);
    char *page = at->kv->pages[at->pos / KERN_KV_BLOCK];
    float *k = f->k + (size_t)t * n_kv(f->m), *v = f->v + (size_t)t * n_kv(f->m);
    rotate_heads(f, f->q + (size_t)t * n_q(f->m), p->n_heads, layer->q_norm, t);
    rotate_heads(f, k, p->n_kv_heads, layer->k_norm, t);
    for (int32_t h = 0; h < p->n_kv_heads; h++) {
        f->c.kern->kv_store(shape->type, p->head_dim, k + h * p->head_dim,
                            page + kv_block_offset(shape, f->layer, h, false), at->pos % KERN_KV_BLOCK);
        f->c.kern->kv_store(shape->type, p->head_dim, v + h * p->head_dim,
                            page + kv_block_offset(shape, f->layer, h, true), at->pos % KERN_KV_BLOCK);
    }
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

static void self_attention(struct forward *f)
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
    attention_run(f->attention, c, f->layer, l->window, f->q, f->att);
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

/* Logits of the tokens that want them. */
static void output(struct forward *f, const struct forward_span *spans, int32_t n_spans, float *logits)
{
    const struct arch_params *p = &f->m->p;
    const float *x = f->x;
    int32_t n = 0;
    for (int32_t i = 0; i < n_spans; i++) {
        x += (size_t)(spans[i].n - spans[i].n_logits) * (size_t)p->d_model;
        for (int32_t j = 0; j < spans[i].n_logits; j++, n++, x += p->d_model)
            norm(f, x, f->m->output_norm, f->m->output_norm_b, f->xn + (size_t)n * (size_t)p->d_model);
    }
    if (n == 0) return;
    struct kern_act act = linear_act(&f->c, &f->output, f->xn, n, p->d_model, &f->act);
    linear_run(&f->c, &(struct linear){.w = f->output, .x = act, .y = logits}, 1);
    if (p->logit_scale == 1) return;
    for (size_t i = 0; i < (size_t)n * (size_t)p->n_vocab; i++) logits[i] /= p->logit_scale;
}

static void place_spans(struct forward *f, const struct forward_span *spans, int32_t n_spans)
{
    f->n = 0;
    for (int32_t i = 0; i < n_spans; i++) {
        for (int32_t j = 0; j < spans[i].n; j++)
            f->places[f->n++] =
                (struct place){.kv = spans[i].kv, .token = spans[i].tokens[j], .pos = spans[i].pos + j};
    }
    attention_begin(f->attention, f->places, f->n);
}

void forward_use_pool(struct forward *f, struct pool *pool)
{
    f->c.pool = pool;
}

enum err forward_run(struct forward *f, const struct forward_span *spans, int32_t n_spans, float *logits,
                     const struct limits *limits)
{
    f->c.limits = limits;
    place_spans(f, spans, n_spans);
    linear_for_tokens(&f->c, f->n, embed_token, f);
    for (f->layer = 0; f->layer < f->m->p.n_layers && !limits_are_over(limits); f->layer++) {
        self_attention(f);
        feed_forward(f);
    }
    if (logits && !limits_are_over(limits)) output(f, spans, n_spans, logits);
    f->c.limits = NULL;
    return limits_are_over(limits) ? ERR_CANCELLED : OK;
}

enum err forward_move_kv(struct forward *f, struct kv *kv, int32_t keep, const struct kv_run *runs,
                         int32_t n_runs)
{
    const struct rope *local = f->m->p.rope_base_local > 0 ? &f->local.rope : NULL;
    return kv_rearrange(kv, keep, runs, n_runs, &f->c, &f->global.rope, local, f->is_local,
                        f->m->arch->neox_rope);
}
