/* The perplexity of a text: how well a model foresees it. */
#ifndef CLI_TEXT_LOSS_H
#define CLI_TEXT_LOSS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct engine_seq;

/* Tokens whose loss is computed in one piece: what a sequence must hold. */
#define TEXT_LOSS_WINDOW 512

/* Zero-initialise before the first text; figures of several texts add up. */
struct text_loss {
    double sum; /* of -log p, natural */
    int64_t n;  /* tokens */
};

/* Add that of the text, over windows that each begin as the model wants texts to begin; seq's tokens are
 * lost. max_tokens: of the text, from its start; 0: all. ERR_ARG: too short. */
MUST_CHECK enum err text_loss_add(struct text_loss *l, struct engine_seq *seq, const char *text, size_t len,
                                  int32_t max_tokens, struct errmsg *msg);

double text_loss_mean(const struct text_loss *l);
double text_loss_perplexity(const struct text_loss *l);

#endif
