/* What a model's pack holds: which matrices, in which formats and order, where in the file. It follows from
 * the model and the precision alone, so that a pack is read by comparing it with the plan; nothing that the
 * file says is trusted. */
#ifndef MODEL_WEIGHT_PACK_PLAN_H
#define MODEL_WEIGHT_PACK_PLAN_H

#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"
#include "model/precision.h"

struct model;

/* Matrices begin on pages of the file, so that reading one brings no bytes of another. */
#define WEIGHT_PACK_ALIGN 4096

struct weight_pack_entry {
    const struct kern_mat *w; /* in the model; borrowed */
    enum kern_type type;      /* in the pack; not that of w where it is converted */
    bool is_packed;           /* in the layout of kern/pack.h; else plain rows */
    int64_t offset, bytes;    /* in the file */
};

/* Bytes of a plain row in the entry's format. */
size_t weight_pack_entry_row_bytes(const struct weight_pack_entry *e);

/* weight_pack_model_key, and where matrices are converted a dash and precision_key. */
#define WEIGHT_PACK_KEY_LEN (32 + 1 + PRECISION_KEY_LEN)

struct weight_pack_plan {
    const struct model *model; /* borrowed */
    char key[WEIGHT_PACK_KEY_LEN + 1];
    int32_t n;
    struct weight_pack_entry *entries; /* [n], ascending by offset; owned */
    int64_t header_bytes;              /* before the first */
    int64_t data_bytes;                /* sum of the entries */
    int64_t file_bytes;
};

/* precision: what is converted; not used after the call; null: nothing. ERR_NOT_FOUND: no matrix of the model
 * is converted or has a packed form. */
MUST_CHECK enum err weight_pack_plan_init(const struct model *m, const struct precision_plan *precision,
                                          struct weight_pack_plan *out, struct errmsg *msg);
void weight_pack_plan_clear(struct weight_pack_plan *plan); /* tolerates a zeroed plan */

/* The entry of a copy of one of the model's matrices; null if it has none. */
const struct weight_pack_entry *weight_pack_plan_find(const struct weight_pack_plan *plan,
                                                      const struct kern_mat *w);

#endif
