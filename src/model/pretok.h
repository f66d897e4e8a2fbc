/* Pre-tokenizers: cutting text into the words that byte-level BPE merges within.
 *
 * A pre-tokenizer is a list of regular expressions. Each one cuts every piece that the one before left: what
 * it matches becomes a piece, and what lies between matches becomes one too. An expression sees one piece
 * as if it were the whole text, so "end of text" in a look-ahead means the end of that piece.
 * Immutable after pretok_new: any thread may use one at once. */
#ifndef MODEL_PRETOK_H
#define MODEL_PRETOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* What the file's name of a pre-tokenizer (tokenizer.ggml.pre) implies. */
struct pretok_kind {
    const char *name;
    const char *const *patterns; /* ends with a null */
    bool ignores_merges;         /* a word that is in the vocabulary is taken as it is */
    bool adds_bos;               /* default for files without tokenizer.ggml.add_bos_token */
};

struct pretok;

/* ERR_UNSUPPORTED names an unknown pre-tokenizer. */
MUST_CHECK enum err pretok_new(const char *name, size_t name_len, struct pretok **out, struct errmsg *msg);
void pretok_free(struct pretok **p);
const struct pretok_kind *pretok_kind(const struct pretok *p);

/* Called for each word, in order; an error ends the split and is returned. Words are never empty. */
typedef enum err pretok_fn(void *ctx, const char *word, size_t len);

/* Cut text, any bytes. A run of bytes that are not UTF-8 is a word of its own. ERR_NOMEM, or fn's error. */
MUST_CHECK enum err pretok_split(const struct pretok *p, const char *text, size_t len, pretok_fn *fn,
                                 void *ctx);

#endif
