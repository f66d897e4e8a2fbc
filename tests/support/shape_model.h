/* Model files in the shape of real models, without their weights: a header, and a hole of the right size.
 * What only looks at shapes can be tested so on 15 GB that take a few kilobytes of disk. */
#ifndef SUPPORT_SHAPE_MODEL_H
#define SUPPORT_SHAPE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "kern/kern.h"

struct shape_model {
    const char *fixture; /* where keys and vocabulary come from: a "qwen2" or "llama" without experts */
    int32_t n_layers, d_model, d_ff, n_heads, n_kv_heads, head_dim;
    bool is_tied;        /* no output head of its own */
    enum kern_type type; /* of the matrices; vectors are F32 */
};

/* Write the model to path; false after printing why not. */
bool shape_model_write(const struct shape_model *shape, const char *path);

#endif
