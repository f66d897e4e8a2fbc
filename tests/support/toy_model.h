/* Model files of any size and format, made from the small ones in tests/fixtures: same keys and vocabulary,
 * tensors with other shapes and arbitrary weights. */
#ifndef SUPPORT_TOY_MODEL_H
#define SUPPORT_TOY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "kern/kern.h"

struct toy_model {
    const char *fixture; /* the file to begin with; one whose layers are alike */
    int32_t n_layers;    /* 0: as in the fixture */
    int32_t d_ff;        /* of the feed-forward, or of each expert; 0: as in the fixture */
    enum kern_type type; /* of the matrices, but token_embd and what down says */
    enum kern_type down; /* of the feed-forward's last matrix */
    uint32_t seed;       /* of the weights */
};

/* Write the model to path; false after printing why not. */
bool toy_model_write(const struct toy_model *toy, const char *path);

#endif
