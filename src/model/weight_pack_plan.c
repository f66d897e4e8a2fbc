/* What a model's pack holds, and the names of the model's content and of the pack. */
#include "model/weight_pack_plan.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "kern/pack.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "model/weight_pack_file.h"

/* Of each tensor, this many bytes from its middle go into the key: one page of the file, so that naming a
 * model that is not in memory costs one read for each tensor. Another training run changes every page. */
#define SAMPLE_BYTES 4096

#define MATRICES_PER_LAYER 11 /* of struct model_layer */

static int64_t align(int64_t n)
{
    return (n + WEIGHT_PACK_ALIGN - 1) / WEIGHT_PACK_ALIGN * WEIGHT_PACK_ALIGN;
}

size_t weight_pack_entry_row_bytes(const struct weight_pack_entry *e)
{
    const struct kern_type_info *info = kern_type_info(e->type);
    return (size_t)(e->w->n_cols / info->block_len) * (size_t)info->block_bytes;
}

/* A plan that is being made. */
struct maker {
    struct weight_pack_plan *plan;
    const struct precision_plan *precision; /* or null */
};

/* Plan w, which kernels use in n_slices parts of as many rows. The parts of a packed matrix must begin with
 * a panel; else it keeps plain rows, of which the file's serve if they need not be converted. */
static void add(struct maker *k, const struct kern_mat *w, int32_t n_slices)
{
    if (!w->data) return;
    struct weight_pack_entry e = {.w = w, .type = k->precision ? precision_of(k->precision, w) : w->type};
    size_t bytes = pack_bytes(e.type, w->n_rows, w->n_cols);
    e.is_packed = bytes > 0 && w->n_rows / n_slices % (n_slices > 1 ? PACK_ROWS : 1) == 0;
    if (!e.is_packed && e.type == w->type) return;
    e.bytes = (int64_t)(e.is_packed ? bytes : (size_t)w->n_rows * weight_pack_entry_row_bytes(&e));
    k->plan->entries[k->plan->n++] = e;
}

static void add_layer(struct maker *k, const struct model_layer *l, int32_t n_experts)
{
    const struct kern_mat *whole[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down, &l->router};
    const struct kern_mat *stacks[] = {&l->gate_exps, &l->up_exps, &l->down_exps};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) add(k, whole[i], 1);
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks && n_experts; i++) add(k, stacks[i], n_experts);
}

/* Give each entry its place. */
static void lay_out(struct weight_pack_plan *plan)
{
    plan->header_bytes = weight_pack_file_header_bytes(plan->n);
    int64_t end = align(plan->header_bytes);
    for (int32_t i = 0; i < plan->n; i++) {
        plan->entries[i].offset = end;
        plan->data_bytes += plan->entries[i].bytes;
        end = align(end + plan->entries[i].bytes);
    }
    plan->file_bytes = end;
}

static void name_plan(struct weight_pack_plan *plan, const struct precision_plan *precision)
{
    char model[33], conversion[PRECISION_KEY_LEN + 1] = "";
    weight_pack_model_key(plan->model, model);
    if (precision) precision_key(precision, conversion);
    snprintf(plan->key, sizeof plan->key, "%s%s%s", model, *conversion ? "-" : "", conversion);
}

enum err weight_pack_plan_init(const struct model *m, const struct precision_plan *precision,
                               struct weight_pack_plan *out, struct errmsg *msg)
{
    *out = (struct weight_pack_plan){.model = m};
    size_t most = (size_t)m->p.n_layers * MATRICES_PER_LAYER + 1;
    out->entries = mem_try(most, sizeof *out->entries);
    if (!out->entries) return err_set(msg, ERR_NOMEM, "%s: %s", m->path, err_text(ERR_NOMEM));
    struct maker k = {.plan = out, .precision = precision};
    for (int32_t i = 0; i < m->p.n_layers; i++) add_layer(&k, &m->layers[i], m->p.n_experts);
    /* Also where it is the embedding table: looking up a token reads the plain rows. */
    add(&k, &m->output, 1);
    if (!out->n) {
        weight_pack_plan_clear(out);
        return err_set(msg, ERR_NOT_FOUND, "%s: its formats are read as they are; there is nothing to pack",
                       m->path);
    }
    lay_out(out);
    name_plan(out, precision);
    return OK;
}

void weight_pack_plan_clear(struct weight_pack_plan *plan)
{
    mem_free(plan->entries);
    *plan = (struct weight_pack_plan){0};
}

const struct weight_pack_entry *weight_pack_plan_find(const struct weight_pack_plan *plan,
                                                      const struct kern_mat *w)
{
    for (int32_t i = 0; i < plan->n; i++) {
        const struct kern_mat *planned = plan->entries[i].w;
        if (planned->data == w->data && planned->type == w->type && planned->n_rows == w->n_rows &&
            planned->n_cols == w->n_cols)
            return &plan->entries[i];
    }
    return NULL;
}

/* --- The key ----------------------------------------------------------------------------------------- */

static void mix(XXH128_hash_t *hash, const void *bytes, size_t len)
{
    XXH128_hash_t both[2] = {*hash, XXH3_128bits(bytes, len)};
    *hash = XXH3_128bits(both, sizeof both);
}

/* Bytes of the file before its first tensor: all metadata, and the tensors' names, shapes and places. */
static size_t metadata_bytes(const struct gguf *g)
{
    const struct map *map = gguf_map(g);
    size_t end = map->len;
    for (int32_t i = 0; i < gguf_n_tensors(g); i++) {
        size_t offset = (size_t)((const unsigned char *)gguf_tensor_at(g, i)->data - map->data);
        if (offset < end) end = offset;
    }
    return end;
}

/* What of a tensor goes into the key. */
static const unsigned char *sample(const struct gguf *g, int32_t i, size_t *len)
{
    const struct gguf_tensor *t = gguf_tensor_at(g, i);
    *len = t->len < SAMPLE_BYTES ? t->len : SAMPLE_BYTES;
    return (const unsigned char *)t->data + (t->len - *len) / 2;
}

void weight_pack_model_key(const struct model *m, char out[33])
{
    const struct map *map = gguf_map(m->gguf);
    uint64_t len = map->len;
    XXH128_hash_t hash = XXH3_128bits(&len, sizeof len);
    size_t n;
    /* All are asked for before the first is waited for; a page fault would also read what lies around it. */
    for (int32_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const unsigned char *bytes = sample(m->gguf, i, &n);
        map_will_need(map, (size_t)(bytes - map->data), n);
    }
    mix(&hash, map->data, metadata_bytes(m->gguf));
    for (int32_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const unsigned char *bytes = sample(m->gguf, i, &n);
        mix(&hash, bytes, n);
    }
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}
