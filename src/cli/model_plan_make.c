/* Making plans as the daemon would, and saying what they are. See model_plan.h. */
#include "cli/model_plan.h"

#include <string.h>

#include "base/buf.h"
#include "base/size.h"
#include "cli/cli.h"
#include "model/model.h"
#include "os/machine.h"

/* Of F16 and BF16 weights: what a model may take, where no limit is set. */
static int64_t memory_of(const struct settings *s)
{
    struct machine_sample sample;
    if (s->limit_memory_mb > 0) return (int64_t)s->limit_memory_mb * 1000000;
    machine_read(NULL, &sample);
    int64_t bytes = machine_memory_ours(&sample);
    return bytes > 0 ? bytes : 0;
}

static struct engine_options engine_options_of(const struct settings *s, const struct model_plan_wishes *w)
{
    return (struct engine_options){.n_threads = s->threads,
                                   .cpus = *s->cpus ? s->cpus : NULL,
                                   .isa = *s->isa ? s->isa : NULL,
                                   .kv_type = strcmp(s->kv, "q8_0") == 0 ? KERN_KV_Q8_0 : KERN_KV_F16,
                                   .kv_bytes = w->kv_bytes,
                                   .no_speculation = true,
                                   .pack_bytes = (int64_t)s->packs_mb * 1000000};
}

/* What stands beside the weights, told by an engine that runs the model as it is stored. */
static enum err measure_beside(struct model *m, const struct engine_options *o, struct model_plan *out,
                               struct errmsg *msg)
{
    struct engine *e = NULL;
    struct engine_options plain = *o;
    plain.precision = PRECISION_FULL;
    enum err err = engine_open(m, &plain, &e, msg);
    if (err) return err;
    out->scratch_bytes = engine_scratch_bytes(e, 1);
    out->reserve_bytes = ENGINE_RESERVE_BYTES;
    out->kv_bytes = engine_beside_bytes(e) - out->scratch_bytes - out->reserve_bytes;
    engine_close(&e);
    const struct arch_params *p = &m->p;
    int64_t block = (int64_t)kern_kv_block_bytes(o->kv_type, p->head_dim);
    out->kv_token_bytes = 2 * block * p->n_layers * p->n_kv_heads / KERN_KV_BLOCK;
    return OK;
}

enum err model_plan_make(struct model *m, const struct settings *s, const struct model_plan_wishes *wishes,
                         struct model_plan *out, struct errmsg *msg)
{
    out->engine = engine_options_of(s, wishes);
    enum err err = measure_beside(m, &out->engine, out, msg);
    if (err) return err;
    struct precision_options o = {.memory_bytes = wishes->memory_bytes ? wishes->memory_bytes : memory_of(s),
                                  .beside_bytes = out->kv_bytes + out->scratch_bytes + out->reserve_bytes,
                                  .sensitivity = wishes->sensitivity,
                                  .all_blocks = wishes->all_blocks};
    const char *eight_bit = wishes->eight_bit ? wishes->eight_bit : s->eight_bit;
    o.eight_bit = strcmp(eight_bit, "mxfp8") == 0 ? KERN_MXFP8 : KERN_Q8_0;
    (void)precision_parse(s->precision, &o.wanted); /* the settings allow only what it knows */
    const struct kern *kern = kern_select(out->engine.isa);
    bool is_possible = cli_pack_dir(s) && kern && kern->reads_packed;
    if (wishes->all_blocks) o.wanted = PRECISION_MIXED;
    if (!is_possible) o.wanted = PRECISION_FULL;
    err = precision_make(m, &o, &out->precision, msg);
    if (!is_possible) out->precision.reason = PRECISION_STORED;
    if (is_possible) out->engine.pack_dir = "";
    out->engine.plan = &out->precision;
    return err;
}

void model_plan_clear(struct model_plan *p)
{
    precision_clear(&p->precision);
    *p = (struct model_plan){0};
}

/* Adds the formats that converted tensors get: "Q4_K, Q6_K". */
static void add_formats(const struct precision_plan *p, struct buf *out)
{
    bool is_used[KERN_TYPE_END] = {false};
    const char *between = "";
    for (int32_t i = 0; i < p->n; i++) {
        const struct precision_row *r = &p->rows[i];
        if (r->used == r->stored || is_used[r->used]) continue;
        is_used[r->used] = true;
        buf_printf(out, "%s%s", between, kern_type_info(r->used)->name);
        between = ", ";
    }
}

void model_plan_describe(const struct precision_plan *p, struct buf *out)
{
    char used[SIZE_TEXT_MAX], stored[SIZE_TEXT_MAX];
    buf_printf(out, "%s: ", precision_name(p->kind));
    if (!p->converts) {
        buf_printf(out, "all as stored, %s", size_text(p->used_bytes, used));
        return;
    }
    if (p->kind == PRECISION_MIXED) {
        buf_printf(out, "embeddings, output head and %d block%s as stored, the other blocks in ", p->n_kept,
                   p->n_kept == 1 ? "" : "s");
    } else {
        buf_add_str(out, "matrices in ");
    }
    add_formats(p, out);
    buf_printf(out, "; %s instead of %s", size_text(p->used_bytes, used), size_text(p->stored_bytes, stored));
}

void model_plan_explain(const struct precision_plan *p, struct buf *out)
{
    char memory[SIZE_TEXT_MAX], full[SIZE_TEXT_MAX], mixed[SIZE_TEXT_MAX];
    size_text(p->memory_bytes, memory);
    size_text(PRECISION_FULL_BYTES, full);
    size_text(PRECISION_MIXED_BYTES, mixed);
    switch (p->reason) {
    case PRECISION_ASKED:
        buf_printf(out, "as asked%s", precision_fits(p) ? "" : ", though it does not fit");
        return;
    case PRECISION_STORED:
        buf_add_str(out,
                    "nothing can be converted: packed weights are off, or these kernels do not read them");
        return;
    case PRECISION_TOO_LARGE:
        buf_printf(out, "the smallest plan; it does not fit %s of memory", memory);
        return;
    case PRECISION_FITS:
        break;
    }
    if (p->memory_bytes == 0)
        buf_add_str(out, "the memory is not known");
    else if (p->memory_bytes > PRECISION_FULL_BYTES)
        buf_printf(out, "%s of memory are more than %s%s", memory, full,
                   p->converts ? ", but nothing finer fits" : ", and it fits");
    else if (!p->converts)
        buf_add_str(out, "there is nothing to convert");
    else if (p->memory_bytes > PRECISION_MIXED_BYTES)
        buf_printf(out, "%s of memory are more than %s%s", memory, mixed,
                   p->kind == PRECISION_MIXED ? ", and it fits" : ", but a mixed plan does not fit");
    else
        buf_printf(out, "%s of memory are at most %s, and it fits", memory, mixed);
}
