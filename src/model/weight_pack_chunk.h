/* Making a pack's contents piece by piece: matrices are cut into chunks of whole panels, and several chunks
 * are made at once on worker threads. Where the plan converts a matrix, its rows are expanded and quantized
 * on the way. Cuts are part of the file's format, since checksums are chained over chunks. */
#ifndef MODEL_WEIGHT_PACK_CHUNK_H
#define MODEL_WEIGHT_PACK_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/weight_pack_plan.h"

/* Rows of a whole chunk of an entry, and bytes of the pack that n rows take. */
int32_t weight_pack_chunk_rows(const struct weight_pack_entry *e);
size_t weight_pack_chunk_bytes(const struct weight_pack_entry *e, int32_t n_rows);

struct weight_pack_chunk {
    int32_t entry, row, n_rows; /* which: in plan->entries, its rows from `row` on */
    void *bytes;                /* as they lie in the pack; valid until the next call of _next */
    size_t len;
};

struct weight_pack_maker;

/* n_threads counts the calling one. The plan must outlive the result. */
MUST_CHECK enum err weight_pack_maker_new(const struct weight_pack_plan *plan, int32_t n_threads,
                                          struct weight_pack_maker **out, struct errmsg *msg);
void weight_pack_maker_free(struct weight_pack_maker **k);

/* The next chunks, in the order of the plan; returns how many, 0 at the end. */
int32_t weight_pack_maker_next(struct weight_pack_maker *k, const struct weight_pack_chunk **out);

#endif
