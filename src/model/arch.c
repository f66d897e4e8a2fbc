/* Model architectures as a table, and reading a family's hyperparameters from GGUF keys.
 *
 * Key names: the GGUF specification (docs/gguf.md of the ggml project). What each family does: its
 * reference implementation in the transformers library. */
#include "model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf.h"

static const struct arch archs[] = {
    /* SmolLM2, CodeLlama, DeepSeek-Coder, Codestral, Seed-Coder, Mellum, Granite code 3B and 8B */
    {.name = "llama", .ffn = ARCH_FFN_SILU_GATED},
    {.name = "qwen2", .ffn = ARCH_FFN_SILU_GATED, .neox_rope = true},
    {.name = "qwen3", .ffn = ARCH_FFN_SILU_GATED, .neox_rope = true, .has_qk_norm = true},
    {.name = "qwen3moe",
     .ffn = ARCH_FFN_SILU_GATED,
     .neox_rope = true,
     .has_qk_norm = true,
     .has_experts = true},
    {.name = "starcoder2", .ffn = ARCH_FFN_GELU, .norm = ARCH_LAYER_NORM, .neox_rope = true},
    {.name = "gemma", .ffn = ARCH_FFN_GELU_GATED, .neox_rope = true, .scales_embeddings = true},
    {.name = "gemma3",
     .ffn = ARCH_FFN_GELU_GATED,
     .neox_rope = true,
     .scales_embeddings = true,
     .has_qk_norm = true,
     .has_post_norms = true,
     .window_period = 6,
     .rope_base_local = 10000},
    {.name = "granite", .ffn = ARCH_FFN_SILU_GATED},
};
#define N_ARCHS (int32_t)(sizeof archs / sizeof *archs)

/* Bounds on what a file may ask for; generous, so that they only stop nonsense. */
#define MAX_LAYERS  1024
#define MAX_WIDTH   (1 << 20) /* of any vector inside the model */
#define MAX_HEADS   1024
#define MAX_EXPERTS 1024
#define MAX_CONTEXT (1 << 24)

const struct arch *arch_find(const char *name, int32_t len)
{
    for (int32_t i = 0; i < N_ARCHS; i++) {
        if ((int32_t)strlen(archs[i].name) == len && !memcmp(archs[i].name, name, (size_t)len))
            return &archs[i];
    }
    return NULL;
}

const struct arch *arch_at(int32_t i)
{
    return i < N_ARCHS ? &archs[i] : NULL;
}

/* A family's keys, read one after another; the first failure sticks. */
struct reader {
    const struct gguf *g;
    const char *prefix; /* architecture's name */
    struct errmsg *msg;
    enum err err;
};

static const char *full_key(const struct reader *r, const char *key, char out[96])
{
    snprintf(out, 96, "%s.%s", r->prefix, key);
    return out;
}

/* The integer at key, or `fallback` where the file lacks it; a fallback below min makes it required. */
static int32_t read_int(struct reader *r, const char *key, int32_t min, int32_t max, int32_t fallback)
{
    char name[96];
    int64_t value = fallback;
    struct errmsg local = {0};
    if (r->err) return min;
    enum err e = gguf_get_int(r->g, full_key(r, key, name), min, max, &value, &local);
    if (e == ERR_NOT_FOUND && fallback >= min) return fallback;
    if (e) {
        r->err = err_set(r->msg, e, "%s", local.text);
        return min;
    }
    return (int32_t)value;
}

static double read_float(struct reader *r, const char *key, double fallback)
{
    char name[96];
    double value = fallback;
    struct errmsg local = {0};
    if (r->err) return fallback;
    enum err e = gguf_get_float(r->g, full_key(r, key, name), &value, &local);
    if (e == ERR_NOT_FOUND) return fallback;
    if (e) r->err = err_set(r->msg, e, "%s", local.text);
    if (!e && !isfinite(value)) r->err = err_set(r->msg, ERR_FORMAT, "key %s is not a finite number", name);
    return r->err ? fallback : value;
}

static void read_rope_scaling(struct reader *r, struct arch_params *p)
{
    char name[96];
    struct gguf_str type = {0};
    p->rope_factor = 1;
    if (r->err) return;
    enum err e = gguf_get_str(r->g, full_key(r, "rope.scaling.type", name), &type, r->msg);
    if (e == ERR_NOT_FOUND) { /* files from before 2023-11 have only this key */
        p->rope_factor = read_float(r, "rope.scale_linear", 1);
        if (p->rope_factor != 1) p->rope_scaling = ARCH_ROPE_LINEAR;
        return;
    }
    if (e) {
        r->err = e;
        return;
    }
    if (type.len == 6 && !memcmp(type.data, "linear", 6)) {
        p->rope_scaling = ARCH_ROPE_LINEAR;
    } else if (type.len == 4 && !memcmp(type.data, "yarn", 4)) {
        p->rope_scaling = ARCH_ROPE_YARN;
    } else if (!(type.len == 4 && !memcmp(type.data, "none", 4))) {
        r->err = err_set(r->msg, ERR_UNSUPPORTED, "rope scaling \"%.*s\" (key %s) is not supported",
                         (int)type.len, type.data, name);
        return;
    }
    if (p->rope_scaling == ARCH_ROPE_PLAIN) return;
    p->rope_factor = read_float(r, "rope.scaling.factor", 1);
    p->rope_n_ctx_orig = read_int(r, "rope.scaling.original_context_length", 1, MAX_CONTEXT, p->n_ctx_train);
    p->rope_attn_factor = read_float(r, "rope.scaling.attn_factor", 1);
    p->rope_beta_fast = read_float(r, "rope.scaling.yarn_beta_fast", 32); /* the paper's (arXiv 2309.00071) */
    p->rope_beta_slow = read_float(r, "rope.scaling.yarn_beta_slow", 1);
    if (!r->err && p->rope_factor <= 0)
        r->err = err_set(r->msg, ERR_FORMAT, "key %s.rope.scaling.factor must be above 0", r->prefix);
}

static void read_attention(struct reader *r, const struct arch *a, struct arch_params *p)
{
    p->n_heads = read_int(r, "attention.head_count", 1, MAX_HEADS, 0);
    p->n_kv_heads = read_int(r, "attention.head_count_kv", 1, MAX_HEADS, p->n_heads);
    int32_t head_dim = p->n_heads ? p->d_model / p->n_heads : 0;
    p->head_dim = read_int(r, "attention.key_length", 1, KERN_HEAD_DIM_MAX, head_dim);
    int32_t v_dim = read_int(r, "attention.value_length", 1, KERN_HEAD_DIM_MAX, p->head_dim);
    p->n_rot = read_int(r, "rope.dimension_count", 2, KERN_HEAD_DIM_MAX, p->head_dim);
    p->rope_base = read_float(r, "rope.freq_base", 10000);
    p->rope_base_local = read_float(r, "rope.freq_base_swa", a->rope_base_local);
    p->window = a->window_period ? read_int(r, "attention.sliding_window", 0, MAX_CONTEXT, 0) : 0;
    p->window_period = a->window_period;
    if (p->window)
        p->window_period = read_int(r, "attention.sliding_window_pattern", 1, 1024, a->window_period);
    double scale = read_float(r, "attention.scale", 0);
    if (r->err) return;
    p->attention_scale = (float)(scale > 0 ? scale : 1 / sqrt((double)p->head_dim));
    if (p->n_heads % p->n_kv_heads || p->n_heads / p->n_kv_heads > KERN_ATTEND_ROWS)
        r->err = err_set(r->msg, ERR_UNSUPPORTED, "%d query heads cannot share %d key/value heads",
                         p->n_heads, p->n_kv_heads);
    else if (p->head_dim % 8)
        r->err = err_set(r->msg, ERR_UNSUPPORTED, "a head of %d values is not a multiple of 8", p->head_dim);
    else if (v_dim != p->head_dim)
        r->err = err_set(r->msg, ERR_UNSUPPORTED, "key heads of %d and value heads of %d values differ",
                         p->head_dim, v_dim);
    else if (p->n_rot % 2 || p->n_rot > p->head_dim)
        r->err = err_set(r->msg, ERR_FORMAT, "key %s.rope.dimension_count is %d, but a head has %d values",
                         r->prefix, p->n_rot, p->head_dim);
    else if (p->rope_base <= 0 || p->rope_base_local < 0)
        r->err = err_set(r->msg, ERR_FORMAT, "key %s.rope.freq_base must be above 0", r->prefix);
}

/* Gemma 3 27B alone divides by the width of a head's share of d_model, not by that of its heads; its files
 * do not say so. */
static void apply_gemma3_27b(const struct arch *a, struct arch_params *p)
{
    bool is_27b = !strcmp(a->name, "gemma3") && p->n_layers == 62;
    int32_t head_width = p->d_model / p->n_heads;
    if (is_27b) p->attention_scale = 1 / sqrtf((float)head_width);
}

enum err arch_read_params(const struct arch *a, const struct gguf *g, struct arch_params *out,
                          struct errmsg *msg)
{
    struct errmsg local = {0};
    struct reader r = {.g = g, .prefix = a->name, .msg = msg ? msg : &local};
    struct arch_params p = {0};
    p.n_layers = read_int(&r, "block_count", 1, MAX_LAYERS, 0);
    p.d_model = read_int(&r, "embedding_length", 1, MAX_WIDTH, 0);
    p.n_ctx_train = read_int(&r, "context_length", 1, MAX_CONTEXT, 2048);
    read_attention(&r, a, &p);
    read_rope_scaling(&r, &p);
    if (a->has_experts) {
        p.n_experts = read_int(&r, "expert_count", 1, MAX_EXPERTS, 0);
        p.n_experts_used = read_int(&r, "expert_used_count", 1, r.err ? 1 : p.n_experts, 0);
        p.d_ff_expert = read_int(&r, "expert_feed_forward_length", 1, MAX_WIDTH, 0);
    } else {
        p.d_ff = read_int(&r, "feed_forward_length", 1, MAX_WIDTH, 0);
    }
    const char *eps_key =
        a->norm == ARCH_LAYER_NORM ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    p.norm_eps = (float)read_float(&r, eps_key, 1e-5);
    double embedding_scale = a->scales_embeddings ? sqrt((double)p.d_model) : 1;
    p.embedding_scale = (float)read_float(&r, "embedding_scale", embedding_scale);
    p.residual_scale = (float)read_float(&r, "residual_scale", 1);
    p.logit_scale = (float)read_float(&r, "logit_scale", 1);
    if (r.err) return r.err;
    if (p.logit_scale == 0) return err_set(msg, ERR_FORMAT, "key %s.logit_scale is 0", a->name);
    apply_gemma3_27b(a, &p);
    *out = p;
    return OK;
}
