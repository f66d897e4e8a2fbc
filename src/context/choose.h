/* Taking what is worth most of the candidates within a budget of tokens. */
#ifndef CONTEXT_CHOOSE_H
#define CONTEXT_CHOOSE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "context/builder.h"
#include "context/candidates.h"

#define CHOICES_MAX 48 /* pieces; there is no room for more */

struct choice {
    const struct candidate *candidate;
    double score;
    char *text; /* owned; as it is shown, ends in '\n' */
    size_t len;
    int32_t n_tokens, n_secrets;
};

/* In the order in which they are shown: what stays the same for longest first, then by path and place. */
struct choices {
    struct choice items[CHOICES_MAX];
    int32_t n;
    int32_t n_tokens; /* of all, names of files included */
};

struct choose_limits {
    const struct tokenizer *tokenizer;
    const struct secrets *secrets; /* or null */
    int32_t max_tokens;
    double bytes_per_token; /* to tell who comes into question at all before tokens are counted */
};

/* ERR_NOMEM. */
MUST_CHECK enum err choose(struct candidates *from, const struct choose_limits *l, struct choices *out);
void choices_clear(struct choices *c);

/* Whether two that follow each other are shown as one file. */
bool choice_joins(const struct choice *a, const struct choice *b);

double choose_weight(enum context_kind kind); /* see enum context_kind */

/* Without a tokenizer, an estimate on the safe side (FIM_BYTES_PER_TOKEN_MIN). */
MUST_CHECK enum err choose_count_tokens(const struct tokenizer *t, const char *text, size_t len, int32_t *n);

#endif
