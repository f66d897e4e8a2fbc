/* Byte-level BPE: words from the pre-tokenizer, merged by the file's list of merges. Immutable once made. */
#ifndef MODEL_TOK_BPE_H
#define MODEL_TOK_BPE_H

#include "base/err.h"
#include "model/pretok.h"
#include "model/tok_memo.h"
#include "model/tok_merge.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

struct tok_bpe;

/* v must outlive the result. */
MUST_CHECK enum err tok_bpe_new(const struct gguf *g, const struct tok_vocab *v, struct tok_bpe **out,
                                struct errmsg *msg);
void tok_bpe_free(struct tok_bpe **bpe);
const struct pretok_kind *tok_bpe_pretok(const struct tok_bpe *bpe);

/* Append the tokens of text, which holds no added tokens. m: scratch memory of the calling thread; watch may
 * be null. */
MUST_CHECK enum err tok_bpe_encode(const struct tok_bpe *bpe, struct tok_merge *m, const char *text,
                                   size_t len, const struct tok_watch *watch, struct token_list *out);

#endif
