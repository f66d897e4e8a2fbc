/* Plans: which tensors are candidates, what each plan makes of them, which plan is taken. See precision.h.
 *
 * A tensor's part is told by the matrices that the model reads from it, not by its name, so that it does not
 * matter how files name or fuse things. */
#include "model/precision.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "kern/pack.h"
#include "kern/quantize.h"
#include "model/gguf.h"
#include "model/model.h"

/* Changes whenever a conversion gives other numbers: part of the key. */
#define CONVERSION_VERSION 1

/* Blocks that a mixed plan keeps as stored: the first and the last, or as many of the most sensitive. At most
 * one in four, since with more it would save too little over a full plan. MXFP8, whose numbers have three
 * bits behind the leading one, loses several times more than Q8_0: there it is one in four as far as that
 * fits. */
#define KEPT_MIN   2
#define KEPT_SHARE 4

#define SUPER_BLOCK 256 /* weights in a block of the K formats */
#define SMALL_BLOCK 32  /* in a block of the others */
#define SAMPLED_ROWS                                                                                         \
    16 /* of a tensor, for its error: 16 times some thousand weights tell it within a few percent */

static const char *const names[] = {"auto", "full", "mixed", "quantized"}; /* as enum precision */

const char *precision_name(enum precision p)
{
    return names[p];
}

bool precision_parse(const char *name, enum precision *out)
{
    for (int32_t i = PRECISION_AUTO; i <= PRECISION_QUANTIZED; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (enum precision)i;
        return true;
    }
    return false;
}

/* --- What a tensor is for ---------------------------------------------------------------------------- */

enum part {
    PART_SMALL,     /* vectors, the router, and what the model does not read */
    PART_EMBEDDING, /* of which rows are looked up, and nothing else */
    PART_OUTPUT,
    PART_BLOCK
};

static bool holds(const struct gguf_tensor *t, const struct kern_mat *w)
{
    const char *from = t->data, *at = w->data;
    return at && at >= from && at < from + t->len;
}

/* *layer: of a block's matrix. */
static enum part part_of(const struct model *m, const struct gguf_tensor *t, int32_t *layer)
{
    *layer = -1;
    if (t->n_dims < 2) return PART_SMALL;
    if (holds(t, &m->output)) return PART_OUTPUT;
    if (holds(t, &m->tok_embd)) return PART_EMBEDDING;
    for (int32_t i = 0; i < m->p.n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        const struct kern_mat *all[] = {&l->wq, &l->wk,   &l->wv,        &l->wo,      &l->gate,
                                        &l->up, &l->down, &l->gate_exps, &l->up_exps, &l->down_exps};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) {
            if (!holds(t, all[j])) continue;
            *layer = i;
            return PART_BLOCK;
        }
    }
    return PART_SMALL;
}

static bool is_candidate(const struct precision_row *r, enum part part)
{
    bool is_plain = r->stored == KERN_F32 || r->stored == KERN_F16 || r->stored == KERN_BF16;
    return is_plain && (part == PART_OUTPUT || part == PART_BLOCK) && r->n_cols % SMALL_BLOCK == 0;
}

/* --- One plan ---------------------------------------------------------------------------------------- */

/* What goes into a plan, besides the options. */
struct maker {
    const struct model *m;
    const struct precision_options *o;
    struct precision_plan *plan;
    enum part *parts; /* [plan->n] */
    bool *is_kept;    /* [n_layers]; blocks that a mixed plan leaves as stored */
};

static enum kern_type format_of(const struct maker *k, const struct precision_row *r, enum part part)
{
    bool has_super_blocks = r->n_cols % SUPER_BLOCK == 0;
    if (k->plan->kind == PRECISION_FULL || !is_candidate(r, part)) return r->stored;
    if (k->plan->kind == PRECISION_MIXED)
        return part == PART_OUTPUT || k->is_kept[r->layer] ? r->stored : k->plan->eight_bit;
    if (part == PART_OUTPUT) return has_super_blocks ? KERN_Q6_K : KERN_Q8_0;
    return has_super_blocks ? KERN_Q4_K : KERN_Q5_0;
}

/* Bytes in memory of all weights of r in the format that they are used in. */
static int64_t bytes_in_use(const struct precision_row *r, enum part part)
{
    const struct kern_type_info *info = kern_type_info(r->used);
    if (part == PART_EMBEDDING) return 0;
    if (part == PART_SMALL || !info) return r->stored_bytes;
    int64_t packed = (int64_t)pack_bytes(r->used, (int32_t)(r->n_weights / r->n_cols), r->n_cols);
    return packed ? packed : r->n_weights / info->block_len * info->block_bytes;
}

/* Fill in the rows for plan->kind and is_kept. */
static void assign(struct maker *k)
{
    struct precision_plan *plan = k->plan;
    plan->stored_bytes = plan->used_bytes = 0;
    plan->converts = false;
    for (int32_t i = 0; i < plan->n; i++) {
        struct precision_row *r = &plan->rows[i];
        r->used = format_of(k, r, k->parts[i]);
        r->used_bytes = bytes_in_use(r, k->parts[i]);
        r->is_critical = k->parts[i] != PART_BLOCK || (plan->kind == PRECISION_MIXED && k->is_kept[r->layer]);
        plan->stored_bytes += r->stored_bytes;
        plan->used_bytes += r->used_bytes;
        plan->converts |= r->used != r->stored;
    }
}

bool precision_fits(const struct precision_plan *plan)
{
    return plan->memory_bytes == 0 || plan->used_bytes <= plan->memory_bytes - plan->beside_bytes;
}

/* The most sensitive block that is not kept yet; -1: all are. */
static int32_t most_sensitive(const struct maker *k)
{
    int32_t best = -1;
    for (int32_t i = 0; i < k->m->p.n_layers; i++) {
        if (!k->is_kept[i] && (best < 0 || k->o->sensitivity[i] > k->o->sensitivity[best])) best = i;
    }
    return best;
}

static void keep(struct maker *k, int32_t layer)
{
    if (layer < 0 || k->is_kept[layer]) return;
    k->is_kept[layer] = true;
    k->plan->n_kept++;
}

/* Keep blocks as stored, from both ends. */
static void keep_ends(struct maker *k)
{
    int32_t n = k->m->p.n_layers, most = k->plan->eight_bit == KERN_MXFP8 ? n / KEPT_SHARE / 2 : 1;
    for (int32_t i = 0; i == 0 || i < most; i++) {
        keep(k, i);
        keep(k, n - 1 - i);
        assign(k);
        if (i == 0 || precision_fits(k->plan)) continue;
        k->is_kept[i] = k->is_kept[n - 1 - i] = false;
        k->plan->n_kept -= 2;
        break;
    }
    assign(k);
}

/* Keep blocks as stored, the most sensitive first, as long as their loss counts and all fits. */
static void keep_sensitive(struct maker *k)
{
    int32_t most = k->m->p.n_layers / KEPT_SHARE;
    while (k->plan->n_kept < KEPT_MIN && k->plan->n_kept < k->m->p.n_layers) keep(k, most_sensitive(k));
    assign(k);
    while (k->plan->n_kept < most) {
        int32_t next = most_sensitive(k);
        if (!(k->o->sensitivity[next] > 0)) return;
        keep(k, next);
        assign(k);
        if (precision_fits(k->plan)) continue;
        k->is_kept[next] = false;
        k->plan->n_kept--;
        assign(k);
        return;
    }
}

static void make_kind(struct maker *k, enum precision kind)
{
    k->plan->kind = kind;
    k->plan->n_kept = 0;
    memset(k->is_kept, 0, (size_t)k->m->p.n_layers * sizeof *k->is_kept);
    if (kind == PRECISION_MIXED && !k->o->all_blocks) {
        (k->o->sensitivity ? keep_sensitive : keep_ends)(k);
    } else {
        assign(k);
    }
}

/* Where AUTO begins. */
static enum precision first_kind(int64_t memory_bytes)
{
    if (memory_bytes == 0 || memory_bytes > PRECISION_FULL_BYTES) return PRECISION_FULL;
    return memory_bytes > PRECISION_MIXED_BYTES ? PRECISION_MIXED : PRECISION_QUANTIZED;
}

static void choose(struct maker *k)
{
    struct precision_plan *plan = k->plan;
    enum precision wanted = k->o->wanted;
    enum precision kind = wanted == PRECISION_AUTO ? first_kind(plan->memory_bytes) : wanted;
    make_kind(k, kind);
    while (wanted == PRECISION_AUTO && kind < PRECISION_QUANTIZED && !precision_fits(plan))
        make_kind(k, ++kind);
    plan->reason = wanted != PRECISION_AUTO ? PRECISION_ASKED
                   : precision_fits(plan)   ? PRECISION_FITS
                                            : PRECISION_TOO_LARGE;
    if (!plan->converts) make_kind(k, PRECISION_FULL);
}

static void describe(struct maker *k, int32_t i)
{
    const struct gguf_tensor *t = gguf_tensor_at(k->m->gguf, i);
    struct precision_row *r = &k->plan->rows[i];
    *r = (struct precision_row){.name = t->name.data,
                                .name_len = (int32_t)t->name.len,
                                .data = t->data,
                                .n_cols = (int32_t)t->dims[0],
                                .stored = t->type,
                                .stored_bytes = (int64_t)t->len};
    r->n_weights = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    k->parts[i] = part_of(k->m, t, &r->layer);
}

enum err precision_make(const struct model *m, const struct precision_options *o, struct precision_plan *out,
                        struct errmsg *msg)
{
    enum kern_type eight_bit = o->eight_bit ? o->eight_bit : KERN_Q8_0;
    *out = (struct precision_plan){
        .eight_bit = eight_bit, .memory_bytes = o->memory_bytes, .beside_bytes = o->beside_bytes};
    if (eight_bit != KERN_Q8_0 && eight_bit != KERN_MXFP8)
        return err_set(msg, ERR_ARG, "format %d does not have 8 bits: Q8_0 and MXFP8 do", (int)eight_bit);
    struct maker k = {.m = m, .o = o, .plan = out};
    out->n = gguf_n_tensors(m->gguf);
    out->rows = mem_try((size_t)out->n, sizeof *out->rows);
    k.parts = mem_try((size_t)out->n, sizeof *k.parts);
    k.is_kept = mem_try((size_t)m->p.n_layers, sizeof *k.is_kept);
    enum err err = OK;
    if (out->rows && k.parts && k.is_kept) {
        for (int32_t i = 0; i < out->n; i++) describe(&k, i);
        choose(&k);
    } else {
        err = err_set(msg, ERR_NOMEM, "no memory for a plan of %d tensors", out->n);
        precision_clear(out);
    }
    mem_free(k.parts);
    mem_free(k.is_kept);
    return err;
}

enum err precision_copy(const struct precision_plan *plan, struct precision_plan *out)
{
    *out = *plan;
    out->rows = mem_try((size_t)plan->n, sizeof *out->rows);
    if (!out->rows) {
        *out = (struct precision_plan){0};
        return ERR_NOMEM;
    }
    memcpy(out->rows, plan->rows, (size_t)plan->n * sizeof *out->rows);
    return OK;
}

void precision_clear(struct precision_plan *plan)
{
    mem_free(plan->rows);
    *plan = (struct precision_plan){0};
}

/* --- What a plan does -------------------------------------------------------------------------------- */

enum kern_type precision_of(const struct precision_plan *plan, const struct kern_mat *w)
{
    for (int32_t i = 0; i < plan->n; i++) {
        const char *from = plan->rows[i].data, *at = w->data;
        if (at >= from && at < from + plan->rows[i].stored_bytes) return plan->rows[i].used;
    }
    return w->type;
}

void precision_key(const struct precision_plan *plan, char out[PRECISION_KEY_LEN + 1])
{
    uint64_t hash = CONVERSION_VERSION;
    *out = '\0';
    if (!plan->converts) return;
    for (int32_t i = 0; i < plan->n; i++) {
        const uint32_t formats[2] = {plan->rows[i].stored, plan->rows[i].used};
        hash = XXH3_64bits_withSeed(formats, sizeof formats, hash);
    }
    snprintf(out, PRECISION_KEY_LEN + 1, "%08x", (unsigned)(hash & 0xffffffff));
}

/* Rows of one tensor there and back: the weights, what is left of them, and the blocks between. */
struct trip {
    float *before, *after; /* [n_cols] */
    void *blocks;
};

static double error_of(const struct precision_row *r, const struct kern *kern, const struct trip *trip)
{
    const struct kern_type_info *info = kern_type_info(r->stored);
    int64_t n_rows = r->n_weights / r->n_cols, n = n_rows < SAMPLED_ROWS ? n_rows : SAMPLED_ROWS;
    size_t row_bytes = (size_t)(r->n_cols / info->block_len) * (size_t)info->block_bytes;
    double lost = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        const char *row = (const char *)r->data + (size_t)(i * n_rows / n) * row_bytes;
        kern->dequantize(r->stored, row, trip->before, r->n_cols);
        kern_quantize(r->used, trip->before, trip->blocks, r->n_cols);
        kern->dequantize(r->used, trip->blocks, trip->after, r->n_cols);
        for (int32_t c = 0; c < r->n_cols; c++) {
            double x = (double)trip->before[c], d = (double)trip->after[c] - x;
            lost += d * d;
            all += x * x;
        }
    }
    return all > 0 && isfinite(lost / all) ? sqrt(lost / all) : 0;
}

void precision_measure_errors(const struct model *m, struct precision_plan *plan)
{
    const struct kern *kern = kern_select(NULL);
    int32_t n_cols = 0;
    for (int32_t i = 0; i < gguf_n_tensors(m->gguf); i++)
        n_cols = plan->rows[i].n_cols > n_cols ? plan->rows[i].n_cols : n_cols;
    struct trip trip = {.before = mem_try((size_t)n_cols, sizeof *trip.before),
                        .after = mem_try((size_t)n_cols, sizeof *trip.after),
                        .blocks = mem_try((size_t)n_cols, sizeof(float))}; /* no format takes more */
    for (int32_t i = 0; i < plan->n && trip.before && trip.after && trip.blocks; i++) {
        struct precision_row *r = &plan->rows[i];
        if (r->used != r->stored && kern_can_quantize(r->used)) r->error = error_of(r, kern, &trip);
    }
    mem_free(trip.before);
    mem_free(trip.after);
    mem_free(trip.blocks);
}
