/* A loaded model: hyperparameters, the architecture's traits, weights as views into the mapped file, and
 * the tokenizer. Immutable after model_open, so that any number of engines and threads may read it;
 * shared by reference count. Knows nothing of KV caches or of how a forward pass is run. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"
#include "model/arch.h"
#include "os/file.h"

struct gguf;
struct tokenizer;
struct model_vector; /* private */

struct model_layer {
    struct kern_mat wq, wk, wv, wo;      /* attention projections; wqkv-fused files are split at load */
    const float *bq, *bk, *bv, *bo;      /* biases, or null */
    struct kern_mat gate, up, down;      /* feed-forward; gate.data is null for plain MLPs */
    const float *b_gate, *b_up, *b_down; /* biases, or null */
    struct kern_mat router;              /* [n_experts][d_model]; data null without experts */
    struct kern_mat gate_exps, up_exps, down_exps; /* experts' rows one after another */
    const float *attn_norm, *attn_norm_b;          /* before attention; bias for layer norm, or null */
    const float *ffn_norm, *ffn_norm_b;            /* before the feed-forward */
    const float *attn_post_norm, *ffn_post_norm;   /* on each branch's output, or null */
    const float *q_norm, *k_norm;                  /* per head [head_dim], or null */
    int32_t window;                                /* positions that attention sees; 0: all */
    bool has_local_rope;                           /* rotates with rope_base_local, unscaled */
};

struct model {
    const struct arch *arch;
    struct arch_params p;
    struct kern_mat tok_embd; /* [n_vocab][d_model] */
    struct kern_mat output;   /* [n_vocab][d_model]; the same as tok_embd when tied */
    const float *output_norm, *output_norm_b;
    const float *rope_factors;  /* [n_rot / 2] divisors of the frequencies (llama3), or null */
    struct model_layer *layers; /* [p.n_layers] */
    struct tokenizer *tokenizer;
    struct gguf *gguf;
    char *path;                     /* as given to model_open */
    char *name;                     /* general.name, else the file's base name */
    struct model_vector *converted; /* F32 copies of vectors that the file keeps otherwise; owned */
    int fd;                         /* the open file, which the map is of; -1 before */
    struct file_id id;              /* of it just before it was mapped */
    atomic_int refs;
};

/* Map and validate the file: every tensor that the architecture needs must be there with the right shape
 * and a supported format. ERR_UNSUPPORTED names an unknown architecture, tokenizer or format. */
MUST_CHECK enum err model_open(const char *path, struct model **out, struct errmsg *msg);
/* The file is still what was opened: ERR_IO where it was truncated, cannot be read any more, or was written
 * to, so that what was computed with it is void; says what to do. (One that was deleted or replaced by
 * another lives on in the map.) One fstat; any thread.
 *
 * Size and time of writing decide, and a write sets the time before it changes a byte: who computed something
 * and then finds the file unchanged has read nothing else. Not seen are a writer that sets the time back and
 * keeps the size; one that writes a second time within a clock tick of model_open (file.h); one on another
 * machine until a network file system asks for the file's attributes again (seconds, for NFS); and one that
 * had its own writable map of the file, and had written to the same pages, before the model was opened. */
MUST_CHECK enum err model_check(const struct model *m, struct errmsg *msg);
/* There is another file under its name now. */
bool model_is_replaced(const struct model *m);

struct model *model_ref(struct model *m);
void model_unref(struct model **m); /* frees at zero and nulls the caller's pointer */

#endif
