/* Models without weights. See shape_model.h. */
#include "support/shape_model.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "model/gguf.h"
#include "os/file.h"
#include "support/gguf_writer.h"

#define HEADER_MAX ((size_t)16 << 20)

/* A file that is being described: tensors follow each other in the hole. */
struct hole {
    struct gguf_writer *w;
    const struct shape_model *shape;
    uint64_t bytes;
};

static void patch_key(struct buf *keys, const char *suffix, int32_t value)
{
    char *at = memmem(keys->data, keys->len, suffix, strlen(suffix));
    if (at) memcpy(at + strlen(suffix) + sizeof(uint32_t), &value, sizeof value); /* after its type */
}

static void add(struct hole *h, const char *name, enum kern_type type, int32_t n_cols, int32_t n_rows)
{
    const struct kern_type_info *info = kern_type_info(type);
    const uint64_t dims[2] = {(uint64_t)n_cols, (uint64_t)n_rows};
    gguf_writer_describe(h->w, name, type, n_rows > 1 ? 2 : 1, dims, h->bytes);
    uint64_t len = dims[0] / (uint64_t)info->block_len * (uint64_t)info->block_bytes * dims[1];
    h->bytes += (len + h->w->alignment - 1) / h->w->alignment * h->w->alignment;
}

static void add_block(struct hole *h, int32_t layer)
{
    const struct shape_model *s = h->shape;
    const int32_t n_q = s->n_heads * s->head_dim, n_kv = s->n_kv_heads * s->head_dim;
    const struct {
        const char *name;
        int32_t n_cols, n_rows;
    } all[] = {{"attn_norm", s->d_model, 1},      {"ffn_norm", s->d_model, 1},
               {"attn_q", s->d_model, n_q},       {"attn_k", s->d_model, n_kv},
               {"attn_v", s->d_model, n_kv},      {"attn_output", n_q, s->d_model},
               {"ffn_gate", s->d_model, s->d_ff}, {"ffn_up", s->d_model, s->d_ff},
               {"ffn_down", s->d_ff, s->d_model}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, all[i].name);
        add(h, name, all[i].n_rows > 1 ? s->type : KERN_F32, all[i].n_cols, all[i].n_rows);
    }
}

static void add_biases(struct hole *h, int32_t layer)
{
    const struct shape_model *s = h->shape;
    static const char *const names[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.attn_%s.bias", layer, names[i]);
        add(h, name, KERN_F32, (i ? s->n_kv_heads : s->n_heads) * s->head_dim, 1);
    }
}

static void describe(struct hole *h, const struct gguf *g)
{
    const struct shape_model *s = h->shape;
    struct buf *keys = &h->w->keys;
    int32_t n_vocab = (int32_t)gguf_find_tensor(g, "token_embd.weight")->dims[1];
    /* The keys lie between the file's header and the first tensor's name, which has a length before it. */
    const char *from = (const char *)gguf_map(g)->data + 24;
    buf_add(keys, from, (size_t)(gguf_tensor_at(g, 0)->name.data - from) - sizeof(uint64_t));
    h->w->n_keys = (uint64_t)gguf_n_keys(g);
    patch_key(keys, ".block_count", s->n_layers);
    patch_key(keys, ".embedding_length", s->d_model);
    patch_key(keys, ".feed_forward_length", s->d_ff);
    patch_key(keys, ".attention.head_count", s->n_heads);
    patch_key(keys, ".attention.head_count_kv", s->n_kv_heads);
    patch_key(keys, ".rope.dimension_count", s->head_dim);
    add(h, "token_embd.weight", s->type, s->d_model, n_vocab);
    add(h, "output_norm.weight", KERN_F32, s->d_model, 1);
    if (!s->is_tied) add(h, "output.weight", s->type, s->d_model, n_vocab);
    for (int32_t i = 0; i < s->n_layers; i++) add_block(h, i);
    for (int32_t i = 0; i < s->n_layers && strstr(s->fixture, "qwen2"); i++) add_biases(h, i);
}

bool shape_model_write(const struct shape_model *shape, const char *path)
{
    struct errmsg msg = {0};
    struct gguf *g = NULL;
    struct gguf_writer w;
    struct buf header;
    gguf_writer_init(&w);
    buf_init(&header, HEADER_MAX);
    struct hole hole = {.w = &w, .shape = shape};
    enum err err = gguf_open(shape->fixture, &g, &msg);
    if (!err) describe(&hole, g);
    if (!err) gguf_writer_finish(&w, &header);
    if (!err) err = header.err;
    if (!err) err = file_write(path, header.data, header.len, &msg);
    if (!err && truncate(path, (off_t)(header.len + hole.bytes)) != 0) err = ERR_IO;
    if (err) fprintf(stderr, "%s: %s\n", path, *msg.text ? msg.text : err_text(err));
    buf_clear(&header);
    gguf_writer_clear(&w);
    gguf_close(&g);
    return !err;
}
