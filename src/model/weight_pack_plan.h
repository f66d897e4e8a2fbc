/* What a model's pack holds: which matrices, in which order, where in the file. It follows from the model
 * alone, so that a pack is read by comparing it with the plan; nothing that the file says is trusted. */
#ifndef MODEL_WEIGHT_PACK_PLAN_H
#define MODEL_WEIGHT_PACK_PLAN_H

#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"

struct model;

/* Matrices begin on pages of the file, so that reading one brings no bytes of another. */
#define WEIGHT_PACK_ALIGN 4096

struct weight_pack_entry {
    const struct kern_mat *w; /* in the model; borrowed */
    int64_t offset, bytes;    /* of the packed form in the file */
};

struct weight_pack_plan {
    const struct model *model; /* borrowed */
    char key[33];              /* weight_pack_model_key */
    int32_t n;
    struct weight_pack_entry *entries; /* [n], ascending by offset; owned */
    int64_t header_bytes;              /* before the first */
    int64_t data_bytes;                /* sum of the entries */
    int64_t file_bytes;
};

/* ERR_NOT_FOUND: no matrix of the model has a packed form. */
MUST_CHECK enum err weight_pack_plan_init(const struct model *m, struct weight_pack_plan *out,
                                          struct errmsg *msg);
void weight_pack_plan_clear(struct weight_pack_plan *plan); /* tolerates a zeroed plan */

/* The entry of a copy of one of the model's matrices; null if it has none. */
const struct weight_pack_entry *weight_pack_plan_find(const struct weight_pack_plan *plan,
                                                      const struct kern_mat *w);

#endif
