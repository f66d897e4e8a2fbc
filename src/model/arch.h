/* Model architectures as a table of what differs. The forward pass (infer/forward.c) is written once and
 * reads these traits; adding a model family means adding a row here. */
#ifndef MODEL_ARCH_H
#define MODEL_ARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct gguf;

enum arch_norm { ARCH_RMS_NORM, ARCH_LAYER_NORM };
enum arch_ffn { ARCH_FFN_SILU_GATED, ARCH_FFN_GELU_GATED, ARCH_FFN_GELU };

/* Constant traits of a family. */
struct arch {
    const char *name; /* value of general.architecture, and prefix of its keys */
    bool neox_rope;   /* rotary pairs (i, i + n/2); else (2i, 2i + 1) */
    enum arch_norm norm;
    enum arch_ffn ffn;
    bool has_qk_norm;       /* RMS norm of each query and key head */
    bool has_post_norms;    /* norms on the outputs of attention and feed-forward */
    bool has_experts;       /* mixture of experts instead of one feed-forward */
    bool scales_embeddings; /* embeddings times sqrt(d_model) */
    int32_t window_period;  /* every n-th layer sees everything, the others a sliding window; 0: no window */
    double rope_base_local; /* base of the windowed layers' rotation; 0: the same as the others */
};

enum arch_rope_scaling { ARCH_ROPE_PLAIN, ARCH_ROPE_LINEAR, ARCH_ROPE_YARN };

/* Hyperparameters read from a file, validated, with defaults filled in. */
struct arch_params {
    int32_t n_layers, d_model, n_heads, n_kv_heads, head_dim, d_ff, n_vocab;
    int32_t n_rot;         /* values of each head that are rotated (even, <= head_dim) */
    int32_t n_ctx_train;   /* positions the model was trained for */
    int32_t window;        /* sliding window in positions; 0: none */
    int32_t window_period; /* every n-th layer sees everything; the trait, or the file's own */
    int32_t n_experts, n_experts_used, d_ff_expert; /* 0 without experts */
    float norm_eps;
    float embedding_scale; /* 1 unless the family scales */
    float residual_scale;  /* of each branch before it is added */
    float attention_scale; /* of q.k; 1/sqrt(head_dim) unless the file says otherwise */
    float logit_scale;     /* logits are divided by this */
    double rope_base, rope_base_local;
    enum arch_rope_scaling rope_scaling;
    double rope_factor;      /* of linear and YaRN scaling */
    int32_t rope_n_ctx_orig; /* YaRN: positions before scaling */
    double rope_attn_factor; /* YaRN: magnitude multiplier, 0: the paper's formula */
    double rope_beta_fast, rope_beta_slow;
};

/* The row for a family, or null. */
const struct arch *arch_find(const char *name, int32_t len);

/* Row number i, or null past the end. */
const struct arch *arch_at(int32_t i);

/* Read and validate the family's keys; n_vocab is left to the caller. Messages name the key. */
MUST_CHECK enum err arch_read_params(const struct arch *a, const struct gguf *g, struct arch_params *out,
                                     struct errmsg *msg);

#endif
