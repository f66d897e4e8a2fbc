/* The order of reading: what is small, then block after block, then the output head.
 *
 * The head comes last because the first pass uses it last: read before the blocks, it would keep the first
 * block, and with it all computing, waiting (by a quarter of the file, where the vocabulary is large). The
 * embedding table is not read as a whole, unless it is the head too: a prompt uses some hundred rows of some
 * hundred thousand (residency_expect_tokens). */
#include "model/residency_plan.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/pages.h"

#define EXTENTS_PER_LAYER 32 /* at least the pointers in struct model_layer */

/* Bytes that nobody wants are read as well where they are so few: one request takes less time than two. */
#define GAP_BYTES ((size_t)64 << 10)

struct maker {
    const struct model *m;
    const struct weight_pack *pack; /* or null */
    struct residency_plan *plan;
    int32_t group; /* where the extents begin whose order is still to be made */
};

static void add(struct maker *k, const struct map *map, size_t offset, size_t len)
{
    size_t page = pages_size(), end = (offset + len + page - 1) / page * page;
    offset = offset / page * page;
    if (end > map->len) end = map->len;
    k->plan->extents[k->plan->n++] =
        (struct residency_extent){.map = map, .offset = offset, .len = end - offset};
}

/* Bytes of the model's file; those that were copied to the heap (model.c) are in memory already. */
static void add_file(struct maker *k, const void *data, size_t len)
{
    const struct map *map = gguf_map(k->m->gguf);
    uintptr_t at = (uintptr_t)data, start = (uintptr_t)map->data;
    if (data && at >= start && at - start < map->len) add(k, map, at - start, len);
}

static void add_matrix(struct maker *k, const struct kern_mat *w)
{
    const struct map *map;
    size_t offset, len;
    if (!w->data) return;
    if (k->pack && weight_pack_find(k->pack, w, &map, &offset, &len))
        add(k, map, offset, len);
    else
        add_file(k, w->data, (size_t)w->n_rows * w->row_bytes);
}

static void add_vector(struct maker *k, const float *x, int32_t n)
{
    add_file(k, x, (size_t)n * sizeof *x);
}

static int by_place(const void *a, const void *b)
{
    const struct residency_extent *x = a, *y = b;
    if (x->map != y->map) return x->map < y->map ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Join what follows on each other, from extent number `from` on. */
static void join(struct residency_plan *plan, int32_t from)
{
    int32_t n = from;
    for (int32_t i = from; i < plan->n; i++) {
        struct residency_extent e = plan->extents[i], *last = n > from ? &plan->extents[n - 1] : NULL;
        bool follows = last && last->map == e.map && e.offset >= last->offset &&
                       e.offset <= last->offset + last->len + GAP_BYTES;
        if (!follows) {
            plan->extents[n++] = e;
        } else if (e.offset + e.len > last->offset + last->len) {
            last->len = e.offset + e.len - last->offset;
        }
    }
    plan->n = n;
}

/* Within what is needed at about the same time, the disk's order is the best. */
static void end_group(struct maker *k)
{
    struct residency_plan *plan = k->plan;
    qsort(plan->extents + k->group, (size_t)(plan->n - k->group), sizeof *plan->extents, by_place);
    join(plan, k->group);
    k->group = plan->n;
}

static void add_layer(struct maker *k, const struct model_layer *l)
{
    const struct arch_params *p = &k->m->p;
    const struct kern_mat *matrices[] = {&l->wq,        &l->wk,      &l->wv,       &l->wo,
                                         &l->gate,      &l->up,      &l->down,     &l->router,
                                         &l->gate_exps, &l->up_exps, &l->down_exps};
    const float *wide[] = {l->attn_norm, l->attn_norm_b,    l->ffn_norm, l->ffn_norm_b,
                           l->bo,        l->attn_post_norm, l->b_down,   l->ffn_post_norm};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) add_matrix(k, matrices[i]);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) add_vector(k, wide[i], p->d_model);
    add_vector(k, l->bq, p->n_heads * p->head_dim);
    add_vector(k, l->bk, p->n_kv_heads * p->head_dim);
    add_vector(k, l->bv, p->n_kv_heads * p->head_dim);
    add_vector(k, l->q_norm, p->head_dim);
    add_vector(k, l->k_norm, p->head_dim);
    add_vector(k, l->b_gate, p->d_ff);
    add_vector(k, l->b_up, p->d_ff);
    end_group(k);
}

/* Put the small extents before the others; each kind keeps its order. */
static enum err small_first(struct residency_plan *plan)
{
    struct residency_extent *ordered = mem_try((size_t)plan->n, sizeof *ordered);
    if (!ordered) return ERR_NOMEM;
    int32_t n = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        if (plan->extents[i].len < RESIDENCY_SMALL_BYTES) ordered[n++] = plan->extents[i];
    }
    plan->n_small = n;
    for (int32_t i = 0; i < plan->n; i++) {
        if (plan->extents[i].len >= RESIDENCY_SMALL_BYTES) ordered[n++] = plan->extents[i];
    }
    mem_free(plan->extents);
    plan->extents = ordered;
    return OK;
}

enum err residency_plan_make(const struct model *m, const struct weight_pack *pack,
                             struct residency_plan *out)
{
    struct maker k = {.m = m, .pack = pack, .plan = out};
    *out = (struct residency_plan){0};
    out->extents = mem_try(((size_t)m->p.n_layers + 1) * EXTENTS_PER_LAYER, sizeof *out->extents);
    if (!out->extents) return ERR_NOMEM;
    for (int32_t i = 0; i < m->p.n_layers; i++) add_layer(&k, &m->layers[i]);
    add_vector(&k, m->rope_factors, m->p.n_rot / 2);
    add_vector(&k, m->output_norm, m->p.d_model);
    add_vector(&k, m->output_norm_b, m->p.d_model);
    add_matrix(&k, &m->output);
    end_group(&k);
    enum err err = small_first(out);
    if (err) {
        residency_plan_clear(out);
        return err;
    }
    join(out, out->n_small);
    for (int32_t i = 0; i < out->n; i++) out->bytes += (int64_t)out->extents[i].len;
    return OK;
}

void residency_plan_clear(struct residency_plan *plan)
{
    mem_free(plan->extents);
    *plan = (struct residency_plan){0};
}
