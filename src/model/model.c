/* Loading a model: find each tensor that the architecture needs, check its shape, keep a view.
 *
 * Nothing is copied except small vectors (norms, biases) that the file does not keep as F32. Weights are only
 * ever numbers: whatever they become, if somebody writes to the file, no index or length is made of them. */
#include "model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

/* An F32 copy of a vector, in a list so that model_unref can free them. */
struct model_vector {
    struct model_vector *next;
    float values[];
};

/* Loads tensors one after another; the first failure sticks. */
struct loader {
    struct model *m;
    struct errmsg *msg;
    enum err err;
    char name[96]; /* of the tensor being loaded */
};

static const struct gguf_tensor *find(struct loader *l, bool is_required, const char *fmt, va_list args)
{
    if (l->err) return NULL;
    vsnprintf(l->name, sizeof l->name, fmt, args);
    const struct gguf_tensor *t = gguf_find_tensor(l->m->gguf, l->name);
    if (!t && is_required)
        l->err = err_set(l->msg, ERR_FORMAT, "tensor %s is missing; the file is incomplete or not a %s model",
                         l->name, l->m->arch->name);
    return t;
}

static void fail_shape(struct loader *l, const struct gguf_tensor *t, int64_t n_cols, int64_t n_rows,
                       int64_t depth)
{
    l->err =
        err_set(l->msg, ERR_FORMAT, "tensor %s has shape [%lld, %lld, %lld], expected [%lld, %lld, %lld]",
                l->name, (long long)t->dims[0], (long long)t->dims[1], (long long)t->dims[2],
                (long long)n_cols, (long long)n_rows, (long long)depth);
}

static struct kern_mat as_matrix(const struct gguf_tensor *t)
{
    const struct kern_type_info *info = kern_type_info(t->type);
    struct kern_mat mat = {.data = t->data, .type = t->type};
    mat.n_cols = (int32_t)t->dims[0];
    mat.n_rows = (int32_t)(t->dims[1] * t->dims[2]);
    mat.row_bytes = (size_t)(mat.n_cols / info->block_len) * (size_t)info->block_bytes;
    return mat;
}

/* A matrix of `depth` times n_rows rows; an all-zero one if it is optional and missing. */
static struct kern_mat load_stack(struct loader *l, bool is_required, int32_t n_cols, int32_t n_rows,
                                  int32_t depth, const char *fmt, ...) PRINTF_LIKE(6, 7);
static struct kern_mat load_stack(struct loader *l, bool is_required, int32_t n_cols, int32_t n_rows,
                                  int32_t depth, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const struct gguf_tensor *t = find(l, is_required, fmt, args);
    va_end(args);
    if (!t) return (struct kern_mat){0};
    if (t->dims[0] != n_cols || t->dims[1] != n_rows || t->dims[2] != depth || t->dims[3] != 1) {
        fail_shape(l, t, n_cols, n_rows, depth);
        return (struct kern_mat){0};
    }
    if (kern_type_info(t->type)->is_quantized && n_cols % 32) {
        l->err = err_set(l->msg, ERR_UNSUPPORTED, "tensor %s: quantized rows of %d values", l->name, n_cols);
        return (struct kern_mat){0};
    }
    return as_matrix(t);
}

#define LOAD_MATRIX(l, n_cols, n_rows, ...) load_stack(l, true, n_cols, n_rows, 1, __VA_ARGS__)

/* A vector as F32; null if it is optional and missing. */
static const float *load_vector(struct loader *l, bool is_required, int32_t n, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
static const float *load_vector(struct loader *l, bool is_required, int32_t n, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const struct gguf_tensor *t = find(l, is_required, fmt, args);
    va_end(args);
    if (!t) return NULL;
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1) {
        fail_shape(l, t, n, 1, 1);
        return NULL;
    }
    if (t->type == KERN_F32 && (uintptr_t)t->data % sizeof(float) == 0) return t->data;
    struct model_vector *copy = mem_try(1, sizeof *copy + (size_t)n * sizeof(float));
    if (!copy) {
        l->err = err_set(l->msg, ERR_NOMEM, "not enough memory for tensor %s", l->name);
        return NULL;
    }
    kern_select("ref")->dequantize(t->type, t->data, copy->values, n);
    copy->next = l->m->converted;
    l->m->converted = copy;
    return copy->values;
}

#define REQUIRED true
#define OPTIONAL false

/* Some files keep the query, key and value projections as one matrix, in this order. */
static bool load_fused_qkv(struct loader *l, struct model_layer *layer, int32_t i)
{
    const struct arch_params *p = &l->m->p;
    int32_t n_q = p->n_heads * p->head_dim, n_kv = p->n_kv_heads * p->head_dim;
    struct kern_mat qkv = load_stack(l, OPTIONAL, p->d_model, n_q + 2 * n_kv, 1, "blk.%d.attn_qkv.weight", i);
    if (!qkv.data) return false;
    const float *bias = load_vector(l, OPTIONAL, n_q + 2 * n_kv, "blk.%d.attn_qkv.bias", i);
    layer->wq = layer->wk = layer->wv = qkv;
    layer->wq.n_rows = n_q;
    layer->wk.n_rows = layer->wv.n_rows = n_kv;
    layer->wk.data = (const char *)qkv.data + (size_t)n_q * qkv.row_bytes;
    layer->wv.data = (const char *)layer->wk.data + (size_t)n_kv * qkv.row_bytes;
    layer->bq = bias;
    layer->bk = bias ? bias + n_q : NULL;
    layer->bv = bias ? bias + n_q + n_kv : NULL;
    return true;
}

static void load_attention(struct loader *l, struct model_layer *layer, int32_t i)
{
    const struct arch_params *p = &l->m->p;
    int32_t n_q = p->n_heads * p->head_dim, n_kv = p->n_kv_heads * p->head_dim;
    layer->attn_norm = load_vector(l, REQUIRED, p->d_model, "blk.%d.attn_norm.weight", i);
    if (!load_fused_qkv(l, layer, i)) {
        layer->wq = LOAD_MATRIX(l, p->d_model, n_q, "blk.%d.attn_q.weight", i);
        layer->wk = LOAD_MATRIX(l, p->d_model, n_kv, "blk.%d.attn_k.weight", i);
        layer->wv = LOAD_MATRIX(l, p->d_model, n_kv, "blk.%d.attn_v.weight", i);
        layer->bq = load_vector(l, OPTIONAL, n_q, "blk.%d.attn_q.bias", i);
        layer->bk = load_vector(l, OPTIONAL, n_kv, "blk.%d.attn_k.bias", i);
        layer->bv = load_vector(l, OPTIONAL, n_kv, "blk.%d.attn_v.bias", i);
    }
    layer->wo = LOAD_MATRIX(l, n_q, p->d_model, "blk.%d.attn_output.weight", i);
    layer->bo = load_vector(l, OPTIONAL, p->d_model, "blk.%d.attn_output.bias", i);
    if (l->m->arch->norm == ARCH_LAYER_NORM)
        layer->attn_norm_b = load_vector(l, REQUIRED, p->d_model, "blk.%d.attn_norm.bias", i);
    if (l->m->arch->has_qk_norm) {
        layer->q_norm = load_vector(l, REQUIRED, p->head_dim, "blk.%d.attn_q_norm.weight", i);
        layer->k_norm = load_vector(l, REQUIRED, p->head_dim, "blk.%d.attn_k_norm.weight", i);
    }
    if (l->m->arch->has_post_norms) {
        layer->attn_post_norm = load_vector(l, REQUIRED, p->d_model, "blk.%d.post_attention_norm.weight", i);
        layer->ffn_post_norm = load_vector(l, REQUIRED, p->d_model, "blk.%d.post_ffw_norm.weight", i);
    }
    bool is_local = p->window && (i + 1) % p->window_period;
    layer->window = is_local ? p->window : 0;
    layer->has_local_rope = is_local && p->rope_base_local > 0;
}

static void load_feed_forward(struct loader *l, struct model_layer *layer, int32_t i)
{
    const struct arch_params *p = &l->m->p;
    layer->ffn_norm = load_vector(l, REQUIRED, p->d_model, "blk.%d.ffn_norm.weight", i);
    if (l->m->arch->norm == ARCH_LAYER_NORM)
        layer->ffn_norm_b = load_vector(l, REQUIRED, p->d_model, "blk.%d.ffn_norm.bias", i);
    if (p->n_experts) {
        int32_t d_ff = p->d_ff_expert, n = p->n_experts;
        layer->router = LOAD_MATRIX(l, p->d_model, n, "blk.%d.ffn_gate_inp.weight", i);
        layer->gate_exps = load_stack(l, REQUIRED, p->d_model, d_ff, n, "blk.%d.ffn_gate_exps.weight", i);
        layer->up_exps = load_stack(l, REQUIRED, p->d_model, d_ff, n, "blk.%d.ffn_up_exps.weight", i);
        layer->down_exps = load_stack(l, REQUIRED, d_ff, p->d_model, n, "blk.%d.ffn_down_exps.weight", i);
        return;
    }
    if (l->m->arch->ffn != ARCH_FFN_GELU) {
        layer->gate = LOAD_MATRIX(l, p->d_model, p->d_ff, "blk.%d.ffn_gate.weight", i);
        layer->b_gate = load_vector(l, OPTIONAL, p->d_ff, "blk.%d.ffn_gate.bias", i);
    }
    layer->up = LOAD_MATRIX(l, p->d_model, p->d_ff, "blk.%d.ffn_up.weight", i);
    layer->down = LOAD_MATRIX(l, p->d_ff, p->d_model, "blk.%d.ffn_down.weight", i);
    layer->b_up = load_vector(l, OPTIONAL, p->d_ff, "blk.%d.ffn_up.bias", i);
    layer->b_down = load_vector(l, OPTIONAL, p->d_model, "blk.%d.ffn_down.bias", i);
}

static enum err load_tensors(struct model *m, struct errmsg *msg)
{
    struct loader l = {.m = m, .msg = msg};
    struct arch_params *p = &m->p;
    m->tok_embd = LOAD_MATRIX(&l, p->d_model, p->n_vocab, "token_embd.weight");
    m->output = load_stack(&l, OPTIONAL, p->d_model, p->n_vocab, 1, "output.weight");
    if (!m->output.data) m->output = m->tok_embd;
    m->output_norm = load_vector(&l, REQUIRED, p->d_model, "output_norm.weight");
    if (m->arch->norm == ARCH_LAYER_NORM)
        m->output_norm_b = load_vector(&l, REQUIRED, p->d_model, "output_norm.bias");
    m->rope_factors = load_vector(&l, OPTIONAL, p->n_rot / 2, "rope_freqs.weight");
    m->layers = mem_try((size_t)p->n_layers, sizeof *m->layers);
    if (!m->layers) return err_set(msg, ERR_NOMEM, "not enough memory for %d layers", p->n_layers);
    for (int32_t i = 0; i < p->n_layers; i++) {
        load_attention(&l, &m->layers[i], i);
        load_feed_forward(&l, &m->layers[i], i);
    }
    return l.err;
}

/* general.name, or the file's name without directory and ".gguf". */
static char *model_name(const struct gguf *g, const char *path)
{
    struct gguf_str name;
    char text[128];
    struct errmsg ignored;
    if (gguf_get_str(g, "general.name", &name, &ignored) == OK && name.len) {
        snprintf(text, sizeof text, "%.*s", (int)(name.len < 127 ? name.len : 127), name.data);
        return mem_dup_str(text);
    }
    const char *base = strrchr(path, '/');
    snprintf(text, sizeof text, "%s", base ? base + 1 : path);
    char *dot = strrchr(text, '.');
    if (dot && !strcmp(dot, ".gguf")) *dot = '\0';
    return mem_dup_str(text);
}

static enum err find_arch(struct model *m, struct errmsg *msg)
{
    struct gguf_str name;
    enum err e = gguf_get_str(m->gguf, "general.architecture", &name, msg);
    if (e) return e == ERR_NOT_FOUND ? ERR_FORMAT : e;
    m->arch = arch_find(name.data, (int32_t)name.len);
    if (m->arch) return OK;
    char known[256] = "";
    for (int32_t i = 0; arch_at(i); i++) {
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "", arch_at(i)->name);
    }
    return err_set(msg, ERR_UNSUPPORTED, "architecture \"%.*s\" is not supported (these are: %s)",
                   (int)name.len, name.data, known);
}

/* Large models are sometimes cut into several files, each a GGUF file of its own. */
static enum err refuse_split(const struct gguf *g, struct errmsg *msg)
{
    int64_t n = 1;
    enum err e = gguf_get_int(g, "split.count", 0, INT32_MAX, &n, msg);
    if (e && e != ERR_NOT_FOUND) return e;
    if (n <= 1) return OK;
    return err_set(msg, ERR_UNSUPPORTED,
                   "this is one of %d parts of a model; join them (llama-gguf-split --merge) or get one file",
                   (int)n);
}

/* What the opened file says. */
static enum err load(struct model *m, struct errmsg *msg)
{
    enum err e = gguf_open_fd(m->fd, m->path, &m->gguf, msg);
    if (e) return e;
    m->name = model_name(m->gguf, m->path);
    if ((e = refuse_split(m->gguf, msg))) return e;
    if ((e = find_arch(m, msg))) return e;
    if ((e = arch_read_params(m->arch, m->gguf, &m->p, msg))) return e;
    if ((e = tokenizer_new(m->gguf, &m->tokenizer, msg))) return e;
    m->p.n_vocab = tokenizer_n_vocab(m->tokenizer);
    return load_tensors(m, msg);
}

enum err model_open(const char *path, struct model **out, struct errmsg *msg)
{
    struct model *m = MEM_NEW(struct model);
    atomic_init(&m->refs, 1);
    m->path = mem_dup_str(path);
    enum err e = file_open(path, &m->fd, msg);
    if (e) goto fail;
    m->id = file_id_fd(m->fd);
    e = load(m, msg);
    /* What was read while it changed may be anything: then that is the fault, whatever seemed wrong. */
    if (e != ERR_NOMEM && model_check(m, msg)) e = ERR_IO;
    if (e) goto fail;
    *out = m;
    return OK;
fail:
    model_unref(&m);
    return e;
}

enum err model_check(const struct model *m, struct errmsg *msg)
{
    struct file_id now = file_id_fd(m->fd);
    const char *what = NULL;
    if (file_id_is_other(&now, &m->id))
        what = "cannot be read any more";
    else if (now.size < m->id.size)
        what = "was cut off while it was in use";
    else if (file_id_is_rewritten(&m->id, &now))
        what = "was written to while it was in use";
    else if (m->gguf && map_is_lost(gguf_map(m->gguf)))
        what = "could not be read in parts (is its disk failing?)";
    if (!what) return OK;
    return err_set(
        msg, ERR_IO,
        "%s: the model's file %s; get it anew, or move a whole file to this place, and load it again",
        m->path, what);
}

bool model_is_replaced(const struct model *m)
{
    struct file_id now = file_id(m->path);
    return now.inode && file_id_is_other(&now, &m->id);
}

struct model *model_ref(struct model *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed); /* the caller's reference keeps m alive */
    return m;
}

void model_unref(struct model **mp)
{
    struct model *m = *mp;
    *mp = NULL;
    /* Release: our uses of m happen before the free; acquire: the last one sees all of them. */
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1) return;
    while (m->converted) {
        struct model_vector *next = m->converted->next;
        mem_free(m->converted);
        m->converted = next;
    }
    tokenizer_free(&m->tokenizer);
    gguf_close(&m->gguf);
    if (m->fd >= 0) close(m->fd);
    mem_free(m->layers);
    mem_free(m->path);
    mem_free(m->name);
    mem_free(m);
}
