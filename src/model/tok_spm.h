/* SentencePiece vocabularies: merging by score, byte fallback. Immutable once made. */
#ifndef MODEL_TOK_SPM_H
#define MODEL_TOK_SPM_H

#include "base/err.h"
#include "model/tok_memo.h"
#include "model/tok_merge.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

struct tok_spm;

/* v must outlive the result. */
MUST_CHECK enum err tok_spm_new(const struct gguf *g, const struct tok_vocab *v, struct tok_spm **out,
                                struct errmsg *msg);
void tok_spm_free(struct tok_spm **spm);
bool tok_spm_adds_space_prefix(const struct tok_spm *spm);

/* The text that is encoded for one which holds no control tokens and is at a text's start or follows one. The
 * caller frees it. Null: out of memory. */
char *tok_spm_normalise(const struct tok_spm *spm, const char *text, size_t len, size_t *normal_len);

/* Append the tokens of normalised text without added tokens. m: scratch memory of the calling thread; watch
 * may be null. */
MUST_CHECK enum err tok_spm_encode(const struct tok_spm *spm, struct tok_merge *m, const char *text,
                                   size_t len, const struct tok_watch *watch, struct token_list *out);

#endif
