/* Mixture of experts: route each token, sort the (token, expert) pairs by expert, run each expert once over
 * its tokens, mix. Every expert's weights are read once per batch. */
#include "infer/experts.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "infer/slab.h"
#include "kern/pack.h"
#include "model/model.h"
#include "os/pages.h"

struct experts {
    int32_t n_experts, n_used, d_model, d_ff;
    float *scores;      /* [max_batch][n_experts]; router's logits, then probabilities */
    int32_t *chosen;    /* [max_batch][n_used] */
    float *weights;     /* [max_batch][n_used]; of the mix */
    int32_t *slot;      /* [max_batch][n_used]; row of the pair in the sorted arrays below */
    int32_t *first;     /* [n_experts + 1]; first row of each expert */
    struct linear *ops; /* [n_experts] */
    float *x;           /* [max_batch * n_used][d_model], sorted by expert */
    float *h, *up;      /* [max_batch * n_used][d_ff] */
    float *y;           /* [max_batch * n_used][d_model] */
    struct act_buffer act;
    struct slab slab; /* holds all of the above */
};

static void lay_out(struct experts *e, size_t n)
{
    size_t n_pairs = n * (size_t)e->n_used;
    size_t d = (size_t)e->d_model, d_ff = (size_t)e->d_ff, widest = d > d_ff ? d : d_ff;
    e->scores = slab_take(&e->slab, n * (size_t)e->n_experts * sizeof(float));
    e->chosen = slab_take(&e->slab, n_pairs * sizeof(int32_t));
    e->weights = slab_take(&e->slab, n_pairs * sizeof(float));
    e->slot = slab_take(&e->slab, n_pairs * sizeof(int32_t));
    e->first = slab_take(&e->slab, ((size_t)e->n_experts + 1) * sizeof(int32_t));
    e->ops = slab_take(&e->slab, (size_t)e->n_experts * sizeof *e->ops);
    e->x = slab_take(&e->slab, n_pairs * d * sizeof(float));
    e->h = slab_take(&e->slab, n_pairs * d_ff * sizeof(float));
    e->up = slab_take(&e->slab, n_pairs * d_ff * sizeof(float));
    e->y = slab_take(&e->slab, n_pairs * d * sizeof(float));
    e->act.q = slab_take(&e->slab, n_pairs * widest);
    e->act.d = slab_take(&e->slab, n_pairs * (widest / 32 + 1) * sizeof(float));
    e->act.s = slab_take(&e->slab, n_pairs * (widest / 16 + 1) * sizeof(float));
}

enum err experts_new(const struct model *m, int32_t max_batch, struct experts **out, struct errmsg *msg)
{
    struct experts *e = MEM_NEW(struct experts);
    e->n_experts = m->p.n_experts;
    e->n_used = m->p.n_experts_used;
    e->d_model = m->p.d_model;
    e->d_ff = m->p.d_ff_expert;
    lay_out(e, (size_t)max_batch);
    e->slab = (struct slab){.memory = pages_reserve(e->slab.used), .bytes = e->slab.used};
    if (!e->slab.memory) {
        experts_free(&e);
        return err_set(msg, ERR_NOMEM, "not enough memory for a batch of %d tokens", max_batch);
    }
    lay_out(e, (size_t)max_batch);
    *out = e;
    return OK;
}

void experts_free(struct experts **ep)
{
    struct experts *e = *ep;
    *ep = NULL;
    if (!e) return;
    pages_release(e->slab.memory, e->slab.bytes);
    mem_free(e);
}

size_t experts_bytes(const struct experts *e)
{
    return e->slab.bytes;
}

/* Choose the n_used best experts of one token; their softmax probabilities, renormalised, are the weights.
 * (The softmax over all experts cancels in the renormalisation.) */
static void route(struct experts *e, int32_t t)
{
    float *scores = e->scores + (size_t)t * (size_t)e->n_experts;
    int32_t *chosen = e->chosen + (size_t)t * (size_t)e->n_used;
    float *weights = e->weights + (size_t)t * (size_t)e->n_used;
    float best_score = 0, sum = 0;
    for (int32_t u = 0; u < e->n_used; u++) {
        int32_t best = 0;
        for (int32_t i = 1; i < e->n_experts; i++) {
            if (scores[i] > scores[best]) best = i;
        }
        if (u == 0) best_score = scores[best];
        chosen[u] = best;
        weights[u] = expf(scores[best] - best_score);
        sum += weights[u];
        scores[best] = -INFINITY;
    }
    for (int32_t u = 0; u < e->n_used; u++) weights[u] /= sum;
}

/* Counting sort of the pairs by expert; copies each token's input to its rows. */
static void gather(struct experts *e, const float *xn, int32_t n)
{
    int32_t n_pairs = n * e->n_used;
    memset(e->first, 0, ((size_t)e->n_experts + 1) * sizeof *e->first);
    for (int32_t i = 0; i < n_pairs; i++) e->first[e->chosen[i] + 1]++;
    for (int32_t i = 0; i < e->n_experts; i++) e->first[i + 1] += e->first[i];
    for (int32_t i = 0; i < n_pairs; i++) {
        int32_t row = e->first[e->chosen[i]]++;
        e->slot[i] = row;
        memcpy(e->x + (size_t)row * (size_t)e->d_model, xn + (size_t)(i / e->n_used) * (size_t)e->d_model,
               (size_t)e->d_model * sizeof(float));
    }
    /* Each first[i] now stands at its expert's end, which is the next one's start: shift back. */
    memmove(e->first + 1, e->first, (size_t)e->n_experts * sizeof *e->first);
    e->first[0] = 0;
}

/* Rows [first, first + n) of activations. */
static struct kern_act act_rows(const struct kern_act *x, int32_t first, int32_t n)
{
    size_t at = (size_t)first * (size_t)x->n_cols;
    struct kern_act rows = {.f = x->f + at, .n_tokens = n, .n_cols = x->n_cols};
    if (x->q) {
        rows.q = x->q + at;
        rows.d = x->d + at / 32;
        rows.s = x->s + at / 16;
    }
    return rows;
}

static struct kern_mat expert_rows(const struct kern_mat *stack, int32_t expert, int32_t n_rows)
{
    struct kern_mat w = *stack;
    w.n_rows = n_rows;
    w.data = (const char *)stack->data + (size_t)expert * (size_t)n_rows * stack->row_bytes;
    if (w.packed) { /* then n_rows is a multiple of PACK_ROWS (model/weight_pack.h) */
        size_t panel = (size_t)expert * (size_t)(n_rows / PACK_ROWS);
        w.packed = (const char *)stack->packed + panel * pack_panel_bytes(w.type, w.n_cols);
    }
    return w;
}

void experts_run(struct experts *e, const struct compute *c, const struct model_layer *l, const float *xn,
                 int32_t n, float *out)
{
    struct kern_act x = linear_act(c, &l->router, xn, n, e->d_model, &e->act);
    linear_run(c, &(struct linear){.w = l->router, .x = x, .y = e->scores}, 1);
    for (int32_t t = 0; t < n; t++) route(e, t);
    gather(e, xn, n);

    int32_t n_ops = 0, n_pairs = n * e->n_used;
    x = linear_act(c, &l->gate_exps, e->x, n_pairs, e->d_model, &e->act);
    if (!x.q) x = linear_act(c, &l->up_exps, e->x, n_pairs, e->d_model, &e->act);
    for (int32_t i = 0; i < e->n_experts; i++) {
        int32_t first = e->first[i], count = e->first[i + 1] - first;
        if (!count) continue;
        e->ops[n_ops++] = (struct linear){.w = expert_rows(&l->gate_exps, i, e->d_ff),
                                          .x = act_rows(&x, first, count),
                                          .y = e->h + (size_t)first * (size_t)e->d_ff,
                                          .up = expert_rows(&l->up_exps, i, e->d_ff),
                                          .up_y = e->up + (size_t)first * (size_t)e->d_ff,
                                          .gate = c->kern->silu_mul};
    }
    linear_run(c, e->ops, n_ops);

    n_ops = 0;
    x = linear_act(c, &l->down_exps, e->h, n_pairs, e->d_ff, &e->act);
    for (int32_t i = 0; i < e->n_experts; i++) {
        int32_t first = e->first[i], count = e->first[i + 1] - first;
        if (!count) continue;
        e->ops[n_ops++] = (struct linear){.w = expert_rows(&l->down_exps, i, e->d_model),
                                          .x = act_rows(&x, first, count),
                                          .y = e->y + (size_t)first * (size_t)e->d_model};
    }
    linear_run(c, e->ops, n_ops);

    memset(out, 0, (size_t)n * (size_t)e->d_model * sizeof(float));
    for (int32_t i = 0; i < n_pairs; i++) {
        c->kern->mul_add(out + (size_t)(i / e->n_used) * (size_t)e->d_model,
                         e->y + (size_t)e->slot[i] * (size_t)e->d_model, e->weights[i], e->d_model);
    }
}
