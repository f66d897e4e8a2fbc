/* What a model's pack holds, and the name of the model's content. */
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

/* Plan w, which kernels use in n_slices parts of as many rows. The parts of a packed matrix must begin with
 * a panel; else it stays as it is. */
static void add(struct weight_pack_plan *plan, const struct kern_mat *w, int32_t n_slices)
{
    if (!w->data || w->n_rows / n_slices % (n_slices > 1 ? PACK_ROWS : 1)) return;
    size_t bytes = pack_bytes(w->type, w->n_rows, w->n_cols);
    if (!bytes) return;
    plan->entries[plan->n++] = (struct weight_pack_entry){.w = w, .bytes = (int64_t)bytes};
}

static void add_layer(struct weight_pack_plan *plan, const struct model_layer *l, int32_t n_experts)
{
    const struct kern_mat *whole[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->gate, &l->up, &l->down, &l->router};
    const struct kern_mat *stacks[] = {&l->gate_exps, &l->up_exps, &l->down_exps};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) add(plan, whole[i], 1);
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks && n_experts; i++) add(plan, stacks[i], n_experts);
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

enum err weight_pack_plan_init(const struct model *m, struct weight_pack_plan *out, struct errmsg *msg)
{
    *out = (struct weight_pack_plan){.model = m};
    size_t most = (size_t)m->p.n_layers * MATRICES_PER_LAYER + 1;
    out->entries = mem_try(most, sizeof *out->entries);
    if (!out->entries) return err_set(msg, ERR_NOMEM, "%s: %s", m->path, err_text(ERR_NOMEM));
    for (int32_t i = 0; i < m->p.n_layers; i++) add_layer(out, &m->layers[i], m->p.n_experts);
    /* Also where it is the embedding table: looking up a token reads the plain rows. */
    add(out, &m->output, 1);
    if (!out->n) {
        weight_pack_plan_clear(out);
        return err_set(msg, ERR_NOT_FOUND, "%s: its formats are read as they are; there is nothing to pack",
                       m->path);
    }
    lay_out(out);
    weight_pack_model_key(m, out->key);
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

void weight_pack_model_key(const struct model *m, char out[33])
{
    const struct map *map = gguf_map(m->gguf);
    uint64_t len = map->len;
    XXH128_hash_t hash = XXH3_128bits(&len, sizeof len);
    mix(&hash, map->data, metadata_bytes(m->gguf));
    for (int32_t i = 0; i < gguf_n_tensors(m->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->gguf, i);
        size_t n = t->len < SAMPLE_BYTES ? t->len : SAMPLE_BYTES;
        mix(&hash, (const char *)t->data + (t->len - n) / 2, n);
    }
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}
