/* Tokens by the bytes that they begin with: for text that has to be written token by token (token healing).
 * Immutable once made. */
#ifndef MODEL_TOK_STARTS_H
#define MODEL_TOK_STARTS_H

#include "base/err.h"
#include "model/tok_vocab.h"

/* Sorted by the first byte; of those, the tokens of one byte first, then by the second byte. */
struct tok_starts {
    int32_t *ids;    /* owned; all tokens that stand for bytes */
    uint32_t *first; /* owned; where in ids the tokens of each such beginning are, and where the last ends */
};

/* ERR_NOMEM. The caller clears s in every case. */
MUST_CHECK enum err tok_starts_init(struct tok_starts *s, const struct tok_vocab *v);
void tok_starts_clear(struct tok_starts *s);

/* Call fn with each token whose bytes are the beginning of text, or begin with it, in no order. text is not
 * empty. */
void tok_starts_each(const struct tok_starts *s, const struct tok_vocab *v, const char *text, size_t len,
                     void (*fn)(void *ctx, int32_t id, size_t piece_len), void *ctx);

#endif
