/* Which tokens of a vocabulary are markers, not text: by the file's keys and by known spellings. */
#ifndef MODEL_TOK_SPECIAL_H
#define MODEL_TOK_SPECIAL_H

#include "base/err.h"

struct gguf;
struct tok_vocab;

/* Upper bound of the tokens that tok_special_init can turn into control tokens. */
#define TOK_SPECIAL_MAX 96

/* Fill v's bos, eos and unk, make markers control tokens, and mark those that end generation. ERR_FORMAT
 * names a key whose id is outside the vocabulary. */
MUST_CHECK enum err tok_special_init(struct tok_vocab *v, const struct gguf *g, struct errmsg *msg);

#endif
