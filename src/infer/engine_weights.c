/* Which formats an engine's weights are used in, and what else it takes of memory. Thread: the engine's
 * caller. */
#include "infer/engine_impl.h"

#include "model/model.h"
#include "model/weight_pack.h"

/* Nothing is converted. */
static enum err plan_as_stored(struct engine *e, enum precision_reason reason, struct errmsg *msg)
{
    struct precision_options options = {.wanted = PRECISION_FULL,
                                        .memory_bytes = e->precision.memory_bytes,
                                        .beside_bytes = e->precision.beside_bytes};
    precision_clear(&e->precision);
    enum err err = precision_make(e->model, &options, &e->precision, msg);
    if (!err) e->precision.reason = reason;
    return err;
}

static enum err plan_precision(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    if (o->plan)
        return precision_copy(o->plan, &e->precision) ? err_set(msg, ERR_NOMEM, "no memory for a plan") : OK;
    struct precision_options options = {.wanted = o->precision,
                                        .eight_bit = o->eight_bit,
                                        .memory_bytes = o->memory_bytes,
                                        .beside_bytes = engine_beside_bytes(e)};
    return precision_make(e->model, &options, &e->precision, msg);
}

enum err engine_residency_open(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    struct residency_options options = {.lock = o->lock};
    if (o->read_ahead || o->lock) {
        enum err err = residency_new(e->model, &options, &e->residency, msg);
        if (err) return err;
    }
    engine_adopt_pack(e);
    if (e->residency && !e->is_packed) residency_begin(e->residency, NULL);
    return OK;
}

enum err engine_weights_open(struct engine *e, const struct engine_options *o, struct errmsg *msg)
{
    enum err err = plan_precision(e, o, msg);
    if (err) return err;
    /* Packed weights are an improvement, not a need: without them the engine runs on the file's layout. */
    struct weight_pack_options options = {.dir = o->pack_dir,
                                          .build = o->pack_build,
                                          .is_foreground = o->pack_now,
                                          .max_bytes = o->pack_bytes,
                                          .precision = &e->precision};
    struct errmsg ignored;
    bool is_possible = o->pack_dir && e->c.kern->reads_packed;
    if (!is_possible || weight_pack_open(e->model, &options, &e->pack, &ignored)) e->pack = NULL;
    if (!e->pack && e->precision.converts) err = plan_as_stored(e, PRECISION_STORED, msg);
    return err;
}

void engine_adopt_pack(struct engine *e)
{
    if (!e->pack || e->is_packed || weight_pack_state(e->pack) != WEIGHT_PACK_READY) return;
    forward_use_pack(e->forward, e->pack);
    e->is_packed = true;
    if (e->residency) residency_begin(e->residency, e->pack);
    if (!e->precision.converts) return;
    /* Other weights: what was computed is as good as ever, but not what a fresh computation gives. */
    for (struct engine_seq *s = e->seqs; s; s = s->next) s->n_exact = 0;
}

bool engine_wait_packed(struct engine *e)
{
    if (e->pack) weight_pack_wait(e->pack);
    engine_adopt_pack(e);
    return e->is_packed;
}

const char *engine_pack_message(const struct engine *e)
{
    return e->pack && weight_pack_state(e->pack) == WEIGHT_PACK_FAILED ? weight_pack_message(e->pack) : "";
}

void engine_residency(const struct engine *e, struct residency_state *out)
{
    *out = (struct residency_state){0};
    if (e->residency) residency_state(e->residency, out);
}

int64_t engine_resident_bytes(const struct engine *e)
{
    return e->residency ? residency_resident(e->residency) : 0;
}

int64_t engine_drop_weights(struct engine *e)
{
    return e->residency ? residency_drop(e->residency) : 0;
}

void engine_use_layer(struct engine *e, int32_t layer)
{
    forward_use_layer(e->forward, e->is_packed ? e->pack : NULL, layer);
}

const struct precision_plan *engine_precision(const struct engine *e)
{
    return &e->precision;
}

int64_t engine_scratch_bytes(const struct engine *e, int32_t n_seqs)
{
    int64_t logits = (int64_t)sizeof(float) * LOGIT_ROWS * e->model->p.n_vocab;
    return (int64_t)e->scratch_total + (int64_t)forward_bytes(e->forward) + n_seqs * logits;
}

int64_t engine_beside_bytes(const struct engine *e)
{
    return kv_pool_budget(e->kv_pool) + engine_scratch_bytes(e, 1) + ENGINE_RESERVE_BYTES;
}
