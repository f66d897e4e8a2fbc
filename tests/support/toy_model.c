/* Model files of any size, made from a fixture. */
#include "support/toy_model.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "os/file.h"
#include "support/gguf_writer.h"

#define FILE_MAX ((size_t)128 << 20)

/* Overwrite the 32-bit integer of a key that ends with `suffix`, in the raw bytes of the keys. */
static void patch_key(struct buf *keys, const char *suffix, uint32_t value)
{
    char *at = value ? memmem(keys->data, keys->len, suffix, strlen(suffix)) : NULL;
    if (at) memcpy(at + strlen(suffix) + sizeof(uint32_t), &value, sizeof value); /* after its type */
}

/* Any bytes are weights; small scales keep F16 numbers in them finite. */
static void fill(unsigned char *bytes, size_t len, uint32_t *random)
{
    for (size_t i = 0; i < len; i++) {
        *random = *random * 1664525u + 1013904223u; /* Numerical Recipes' linear congruential generator */
        bytes[i] = (unsigned char)(*random >> 24) & 0x3f;
    }
}

static void add_tensor(struct gguf_writer *w, const struct toy_model *toy, const struct gguf_tensor *t,
                       const char *name, uint32_t *random)
{
    uint64_t dims[GGUF_MAX_DIMS], n = 1;
    for (int32_t i = 0; i < GGUF_MAX_DIMS; i++) dims[i] = (uint64_t)t->dims[i];
    bool is_down = strstr(name, "ffn_down"), is_up = strstr(name, "ffn_up") || strstr(name, "ffn_gate");
    bool is_router = strstr(name, "ffn_gate_inp");
    if (toy->d_ff && is_down) dims[0] = (uint64_t)toy->d_ff;
    if (toy->d_ff && is_up && !is_router) dims[1] = (uint64_t)toy->d_ff;
    bool is_plain = t->n_dims < 2 || is_router || !strcmp(name, "token_embd.weight");
    enum kern_type type = is_plain ? t->type : is_down ? toy->down : toy->type;
    const struct kern_type_info *info = kern_type_info(type);
    for (int32_t i = 0; i < GGUF_MAX_DIMS; i++) n *= dims[i];
    size_t len = (size_t)n / (size_t)info->block_len * (size_t)info->block_bytes;
    unsigned char *bytes = mem_try(len, 1);
    if (!bytes) return;
    if (is_plain) {
        memcpy(bytes, t->data, len);
    } else {
        fill(bytes, len, random);
    }
    gguf_writer_tensor(w, name, type, (uint32_t)t->n_dims, dims, bytes, len);
    mem_free(bytes);
}

/* Tensors outside layers, and those of layer 0 as many times as there are layers. */
static void add_tensors(struct gguf_writer *w, const struct toy_model *toy, const struct gguf *g)
{
    uint32_t random = toy->seed;
    for (int32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char name[96];
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.data);
        if (strncmp(name, "blk.", 4) != 0 || !toy->n_layers) add_tensor(w, toy, t, name, &random);
        if (strncmp(name, "blk.0.", 6) != 0) continue;
        for (int32_t layer = 0; layer < toy->n_layers; layer++) {
            snprintf(name, sizeof name, "blk.%d.%.*s", layer, (int)t->name.len - 6, t->name.data + 6);
            add_tensor(w, toy, t, name, &random);
        }
    }
}

bool toy_model_write(const struct toy_model *toy, const char *path)
{
    struct errmsg msg = {0};
    struct gguf *g = NULL;
    if (gguf_open(toy->fixture, &g, &msg)) {
        fprintf(stderr, "%s\n", msg.text);
        return false;
    }
    struct gguf_writer w;
    gguf_writer_init(&w);
    /* The keys lie between the file's header and the first tensor's name, which has a length before it. */
    const char *keys = (const char *)gguf_map(g)->data + 24;
    buf_add(&w.keys, keys, (size_t)(gguf_tensor_at(g, 0)->name.data - keys) - sizeof(uint64_t));
    w.n_keys = (uint64_t)gguf_n_keys(g);
    patch_key(&w.keys, ".block_count", (uint32_t)toy->n_layers);
    patch_key(&w.keys, strstr(toy->fixture, "moe") ? ".expert_feed_forward_length" : ".feed_forward_length",
              (uint32_t)toy->d_ff);
    add_tensors(&w, toy, g);
    struct buf file;
    buf_init(&file, FILE_MAX);
    gguf_writer_finish(&w, &file);
    enum err err = w.data.err ? w.data.err : file.err;
    if (!err) err = file_write(path, file.data, file.len, &msg);
    if (err) fprintf(stderr, "%s: %s\n", path, *msg.text ? msg.text : err_text(err));
    buf_clear(&file);
    gguf_writer_clear(&w);
    gguf_close(&g);
    return !err;
}
