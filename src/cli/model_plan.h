/* Precision plans for commands: what the daemon would do with a model under these settings, and what it costs
 * in quality. */
#ifndef CLI_MODEL_PLAN_H
#define CLI_MODEL_PLAN_H

#include <stdint.h>

#include "base/err.h"
#include "infer/engine.h"

struct buf;
struct model;
struct settings;

/* Zeros: as the settings say, on this machine. */
struct model_plan_wishes {
    int64_t memory_bytes, kv_bytes;
    const char *eight_bit;     /* "q8_0", "mxfp8", or null */
    const double *sensitivity; /* as in struct precision_options */
    bool all_blocks;
};

struct model_plan {
    struct engine_options engine; /* as the daemon would have it, with this plan, which it points to */
    struct precision_plan precision;
    int64_t kv_bytes, scratch_bytes, reserve_bytes; /* beside the weights */
    int64_t kv_token_bytes;
};

/* Zero-initialise; model_plan_clear. The result must not be moved. Reads no weights. */
MUST_CHECK enum err model_plan_make(struct model *m, const struct settings *s,
                                    const struct model_plan_wishes *wishes, struct model_plan *out,
                                    struct errmsg *msg);
void model_plan_clear(struct model_plan *p);

/* "mixed: 2 of 24 blocks, embeddings and output head as stored, the rest Q8_0" */
void model_plan_describe(const struct precision_plan *p, struct buf *out);
/* Why this plan: "6.0 GB of memory are more than 4.0 GB, and it fits". */
void model_plan_explain(const struct precision_plan *p, struct buf *out);

/* Perplexity of the bundled text as stored and with the plan. */
struct model_plan_loss {
    double stored, planned; /* perplexities; 0: not measured */
    int64_t n_tokens;
};
MUST_CHECK enum err model_plan_measure(struct model *m, const struct model_plan *p,
                                       struct model_plan_loss *out, struct errmsg *msg);

/* By how much the loss of a text rises with each block in 8 bits alone: [n_layers] at sensitivity. Converts
 * the model into a directory of its own that is gone afterwards. */
MUST_CHECK enum err model_plan_calibrate(struct model *m, const struct settings *s,
                                         const struct model_plan_wishes *wishes, const char *text, size_t len,
                                         double *sensitivity, struct errmsg *msg);

#endif
