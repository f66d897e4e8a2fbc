/* Which format each tensor of a model is computed in, given the memory that there is.
 *
 * Matrices stored in F16, BF16 or F32 can be converted when the model is loaded, once: the converted ones are
 * kept beside packed ones (weight_pack.h). What is stored quantized stays as it is; so do vectors, the router
 * of experts, and embeddings, of which only rows are looked up. Three plans:
 *
 *   full       as stored
 *   mixed      output head, first and last block as stored (with MXFP8 up to a quarter of the blocks; or
 *              those that turned out to be the most sensitive); the other blocks' matrices in 8 bits
 *   quantized  blocks' matrices in Q4_K (Q5_0 where rows do not divide by 256), output head in Q6_K (Q8_0)
 *
 * AUTO begins with full above 8 GB of memory, with mixed above 4 GB, else with quantized, and goes on to the
 * next while the plan does not fit beside what else is needed. A plan that finds nothing to convert is full.
 */
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
    enum kern_type eight_bit;  /* KERN_Q8_0 or KERN_MXFP8; 0: the former */
    int64_t memory_bytes;      /* of the device; 0: not known, which counts as enough */
    int64_t beside_bytes;      /* what else must fit: KV, scratch, a reserve */
    const double *sensitivity; /* [n_layers]: how much the loss rises with this block in 8 bits; borrowed
                                * until precision_make returns; or null */
    bool all_blocks;           /* mixed: no block stays as stored; for measuring how sensitive each is */
};

struct precision_row {
    const char *name; /* of the tensor; not NUL-terminated, a view into the model's file */
    int32_t name_len;
    const void *data; /* in the model's file: what identifies the tensor */
    int64_t n_weights;
    int32_t n_cols;
    int32_t layer; /* whose matrix it is; -1: of none, or not a matrix */
    enum kern_type stored, used;
    int64_t stored_bytes;
    int64_t used_bytes; /* of memory when all of it is resident: of the packed form where there is one. 0 for
                         * an embedding table of which only rows are looked up; one that is the output head
                         * too counts as that */
    bool is_critical;   /* stays as stored, or is kept finer, for the quality's sake */
    double error;       /* relative RMS error of the conversion, of a sample of rows; 0 where there is none */
};

enum precision_reason {
    PRECISION_ASKED,
    PRECISION_FITS,
    PRECISION_TOO_LARGE, /* even this one */
    PRECISION_STORED /* nothing can be converted here: no packed weights, or kernels that do not read them */
};

struct precision_plan {
    enum precision kind; /* never AUTO */
    enum precision_reason reason;
    enum kern_type eight_bit;
    int32_t n;
    struct precision_row *rows;       /* in the order of the file; owned */
    int64_t stored_bytes, used_bytes; /* sums */
    int64_t memory_bytes, beside_bytes;
    int32_t n_kept; /* mixed: blocks that stay as stored */
    bool converts;  /* used differs from stored somewhere */
};

/* The model outlives the plan. Reads no weights: `error` stays 0. ERR_ARG: eight_bit. */
MUST_CHECK enum err precision_make(const struct model *m, const struct precision_options *o,
                                   struct precision_plan *out, struct errmsg *msg);
MUST_CHECK enum err precision_copy(const struct precision_plan *plan, struct precision_plan *out);
/* Fill in the rows' errors: reads some rows of each converted tensor. */
void precision_measure_errors(const struct model *m, struct precision_plan *plan);
void precision_clear(struct precision_plan *plan); /* tolerates a zeroed one */

/* All of it and what stands beside it fits the memory, as far as that is known. */
bool precision_fits(const struct precision_plan *plan);

/* The format that the matrix which lies at data (anywhere within a tensor: fused ones are split) is
 * multiplied in. */
enum kern_type precision_of(const struct precision_plan *plan, const struct kern_mat *w);

/* Names what the plan does to the numbers, for keys of caches: "" where nothing is converted, else 8
 * hexadecimal digits. */
#define PRECISION_KEY_LEN 8
void precision_key(const struct precision_plan *plan, char out[PRECISION_KEY_LEN + 1]);

#endif
