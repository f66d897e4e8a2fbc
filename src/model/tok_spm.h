/* SentencePiece vocabularies: merging by score, byte fallback. Immutable once made. */
#ifndef MODEL_TOK_SPM_H
#define MODEL_TOK_SPM_H

#include "base/err.h"
#include "model/tok_added.h"
#include "model/tok_merge.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

struct tok_spm;

/* v and user (the user-defined tokens) must outlive the result. */
MUST_CHECK enum err tok_spm_new(const struct gguf *g, const struct tok_vocab *v, const struct tok_added *user,
                                struct tok_spm **out, struct errmsg *msg);
void tok_spm_free(struct tok_spm **spm);
bool tok_spm_adds_space_prefix(const struct tok_spm *spm);

/* Append the tokens of text, which holds no control tokens and is at a text's start or follows one.
 * m: scratch memory of the calling thread. */
MUST_CHECK enum err tok_spm_encode(const struct tok_spm *spm, struct tok_merge *m, const char *text,
                                   size_t len, struct token_list *out);

#endif
