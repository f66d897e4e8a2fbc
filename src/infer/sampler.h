/* Choosing the next token from logits. Greedy by default; else the usual chain, in this order:
 * repetition penalty, top-k, top-p, min-p, (infill), temperature, draw. */
#ifndef INFER_SAMPLER_H
#define INFER_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tokenizer;

struct sampler_params {
    float temperature;     /* 0: greedy */
    int32_t top_k;         /* 0: off */
    float top_p;           /* 1: off (nucleus sampling, Holtzman et al. 2019) */
    float min_p;           /* 0: off */
    float repeat_penalty;  /* 1: off (CTRL, Keskar et al. 2019) */
    int32_t repeat_last_n; /* tokens looked back at */
    bool infill; /* merge candidates that prefix each other, end early when unsure: as llama.cpp's */
    uint64_t seed;
};
#define SAMPLER_GREEDY ((struct sampler_params){.top_p = 1, .repeat_penalty = 1, .repeat_last_n = 64})

struct sampler;

MUST_CHECK enum err sampler_new(const struct sampler_params *p, const struct tokenizer *t,
                                struct sampler **out,
                                struct errmsg *msg); /* ERR_ARG names a value out of range */
void sampler_free(struct sampler **s);

/* Pick a token from logits[n_vocab]; logits are not changed. Does not allocate. */
int32_t sampler_pick(struct sampler *s, const float *logits);

/* Pick among the tokens with which text could begin (tokenizer_each_start), by top-k, top-p, min-p and
 * temperature alone. log_sum: what their softmax divides by (kern.h, log_sum_exp). TOKEN_NONE: there is none.
 */
int32_t sampler_pick_start(struct sampler *s, const float *logits, const char *text, size_t len,
                           double *log_sum);

/* Tell the sampler what was added to the text, for the repetition penalty. */
void sampler_accept(struct sampler *s, int32_t token);

#endif
