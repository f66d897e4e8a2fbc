/* Which format each tensor of a model is computed in, given the memory that there is.
 *
 * Tensors stored in F16, BF16 or F32 can be converted when the model is loaded, once: the converted matrices
 * are kept beside packed ones (weight_pack.h). What is stored quantized stays as it is. Three plans: full as
 * stored mixed      embeddings, output head, norms, first and last blocks as stored (or the most sensitive
 * blocks, where that was measured); the other blocks' matrices in 8 bits quantized  blocks' matrices in Q4_K
 * (Q5_0 where rows do not divide by 256), the output head in Q6_K (Q8_0); embeddings as stored: only rows
 * that are looked up are read AUTO begins with full above 8 GB of memory, with mixed above 4 GB, else with
 * quantized, and goes on to the next while the plan does not fit beside what else is needed. */
#ifndef MODEL_PRECISION_H
#define MODEL_PRECISION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"

struct model;

enum precision { PRECISION_AUTO, PRECISION_FULL, PRECISION_MIXED, PRECISION_QUANTIZED };
const char *precision_name(enum precision p); /* "auto", ... */
bool precision_parse(const char *name, enum precision *out);

#define PRECISION_FULL_BYTES  ((int64_t)8000000000)
#define PRECISION_MIXED_BYTES ((int64_t)4000000000)

struct precision_options {
    enum precision wanted;
    enum kern_type eight_bit;  /* KERN_Q8_0 or KERN_MXFP8 */
    int64_t memory_bytes;      /* of the device; 0: not known, which counts as enough */
    int64_t beside_bytes;      /* what else must fit: KV, scratch, a reserve */
    const double *sensitivity; /* [n_layers]: how much the loss rises with this block in 8 bits; borrowed
                                * until precision_make returns; or null */
};

struct precision_row {
    const char *name; /* of the tensor; not NUL-terminated, a view into the model's file */
    int32_t name_len;
    const void *data; /* in the model's file: what identifies the tensor */
    int64_t n_weights;
    enum kern_type stored, used;
    int64_t stored_bytes,
        used_bytes; /* used: what it takes of memory when all of it is resident. Embeddings of which
                     * only rows are looked up, because the output head has a copy, count 0 */
    bool is_critical;
    double
        error; /* relative RMS error of the conversion, of a sample of rows; 0 where nothing is converted */
};

struct precision_plan {
    enum precision kind; /* never AUTO */
    enum precision_reason { PRECISION_ASKED, PRECISION_FITS, PRECISION_TOO_LARGE /* even this one */ } reason;
    enum kern_type eight_bit;
    int32_t n;
    struct precision_row *rows;       /* in the order of the file; owned */
    int64_t stored_bytes, used_bytes; /* sums */
    int64_t memory_bytes, beside_bytes;
    bool converts; /* used differs from stored somewhere */
};

/* The model outlives the plan. Reads no weights: `error` stays 0. */
MUST_CHECK enum err precision_make(const struct model *m, const struct precision_options *o,
                                   struct precision_plan *out, struct errmsg *msg);
/* Fill in the rows' errors: reads some rows of each converted tensor. */
void precision_measure_errors(const struct model *m, struct precision_plan *plan);
void precision_clear(struct precision_plan *plan); /* tolerates a zeroed one */

/* The format that the matrix which lies at data (anywhere within a tensor: fused ones are split) is used in.
 */
enum kern_type precision_of(const struct precision_plan *plan, const struct kern_mat *w);

/* Names what the plan does to the numbers, for keys of caches: "" where nothing is converted, else 8
 * hexadecimal digits. */
void precision_key(const struct precision_plan *plan, char out[9]);

#endif
