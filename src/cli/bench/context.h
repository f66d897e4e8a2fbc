/* The inside of `inline bench context`: a document, its prompts, and a trace of typing. */
#ifndef CLI_BENCH_CONTEXT_H
#define CLI_BENCH_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "cli/bench/ask.h"

struct json;

/* A document as a session has it open. */
struct bench_document {
    struct bench_asker asker;
    struct open_document *doc;
};

/* What of one prompt is the next one's too. */
struct bench_reuse {
    int32_t n_keys, n_lines, n_anchored; /* typed; times that the window was anchored anew meanwhile */
    double share;                        /* of all tokens: sum of common beginnings / sum of lengths */
    double share_p50, share_min;         /* of single prompts, but for those anchored anew */
    int32_t lines_between;               /* typed between the next two anchorings */
};

/* Type into the middle of the document, prompts laid out suffix first. */
MUST_CHECK enum err bench_reuse(struct bench_document *d, struct bench_reuse *out, struct errmsg *msg);
void bench_reuse_json(struct json *j, const struct bench_reuse *r);
void bench_reuse_print(const struct bench_reuse *r);

#endif
