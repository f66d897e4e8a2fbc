/* How soon a running prefill returns after it was cancelled. */
#ifndef CLI_BENCH_CANCEL_H
#define CLI_BENCH_CANCEL_H

#include <stdint.h>

#include "base/err.h"
#include "infer/engine.h"

#define BENCH_CANCEL_TRIES  8
#define BENCH_CANCEL_TOKENS 512

struct bench_cancel {
    double ms[BENCH_CANCEL_TRIES]; /* from setting the flag to the return */
    int32_t n;                     /* prefills that did not end before */
};

/* Cancel prefills of tokens[0..BENCH_CANCEL_TOKENS-1] at moments spread over the time that they take. */
MUST_CHECK enum err bench_cancel_measure(struct engine_seq *seq, const int32_t *tokens,
                                         struct bench_cancel *out, struct errmsg *msg);

#endif
