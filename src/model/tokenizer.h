/* Tokenizers, built from a GGUF file's own vocabulary.
 *
 * Two kinds: byte-level BPE (tokenizer.ggml.model "gpt2") with the pre-tokenizer that the file names, and
 * SentencePiece ("llama") with byte fallback. Immutable after tokenizer_new: any thread may use one at
 * once. Encoding never fails on content: any bytes, also invalid UTF-8, become tokens that decode back
 * to the same bytes (SentencePiece: after its own normalisation). */
#ifndef MODEL_TOKENIZER_H
#define MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct gguf;
struct tokenizer;

#define TOKEN_NONE (-1)

/* A growable list of token ids. Zero-initialise; free with token_list_clear. */
struct token_list {
    int32_t *ids;
    int32_t n, cap;
};
void token_list_clear(struct token_list *l);
MUST_CHECK enum err token_list_add(struct token_list *l, int32_t id);
MUST_CHECK enum err token_list_add_all(struct token_list *l, const int32_t *ids, int32_t n);

/* ERR_UNSUPPORTED names an unknown tokenizer model or pre-tokenizer; ERR_FORMAT names a missing or
 * malformed key. Keeps no reference to g beyond its map, which must outlive the tokenizer. */
MUST_CHECK enum err tokenizer_new(const struct gguf *g, struct tokenizer **out, struct errmsg *msg);
void tokenizer_free(struct tokenizer **t);

enum tokenizer_flag {
    TOKENIZER_BOS = 1 << 0,     /* prepend BOS where the model asks for it (add_bos_token) */
    TOKENIZER_SPECIAL = 1 << 1, /* special tokens' text in the input becomes those tokens; else it is text */
};

/* Append the tokens of text to out. ERR_NOMEM, ERR_LIMIT (more than INT32_MAX / 2 bytes). */
MUST_CHECK enum err tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                                     struct token_list *out);

/* A text with its tokens, kept so that a text that is much the same is tokenised at the cost of the
 * difference. Zero-initialise; belongs to one caller, who always uses it with the same tokenizer. */
struct token_memo {
    char *text; /* owned; as it is encoded: a SentencePiece tokenizer normalises it first */
    size_t len, text_cap;
    struct token_list tokens;  /* of text */
    struct token_mark *marks;  /* owned; private: places from where on the rest can be encoded by itself */
    int32_t n_marks, mark_cap; /* likewise */
};
void token_memo_clear(struct token_memo *memo);
size_t token_memo_bytes(const struct token_memo *memo);

/* Make the memo hold text: its tokens are then those that tokenizer_encode gives without flags. Errors as
 * there; the memo is then empty. */
MUST_CHECK enum err tokenizer_encode_again(const struct tokenizer *t, const char *text, size_t len,
                                           struct token_memo *memo);

/* The bytes that a token stands for (view; lives as long as t); len 0 for control tokens, which have no
 * text of their own, and for ids outside the vocabulary. */
const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len);

/* The tokens whose bytes the text could begin with: they are the beginning of text, or begin with it; text is
 * not empty. Calls fn with each, in no order. */
void tokenizer_each_start(const struct tokenizer *t, const char *text, size_t len,
                          void (*fn)(void *ctx, int32_t id, size_t piece_len), void *ctx);

/* The token's text in the vocabulary ("<|fim_prefix|>", "Ġint"), also of control tokens; view. */
const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len);

/* The token with exactly this vocabulary text, or TOKEN_NONE. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text);

int32_t tokenizer_n_vocab(const struct tokenizer *t);
int32_t tokenizer_bos(const struct tokenizer *t); /* or TOKEN_NONE */
int32_t tokenizer_eos(const struct tokenizer *t); /* or TOKEN_NONE */
bool tokenizer_adds_bos(const struct tokenizer *t);
const char *tokenizer_kind(const struct tokenizer *t); /* "bpe" or "spm" */
const char *tokenizer_pre(const struct tokenizer *t);  /* pre-tokenizer's name; "" for SentencePiece */

/* True for control tokens and others that the file marks as not being text. */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);

/* True for tokens that end generation: EOS, EOT, EOM and known end-of-text spellings. */
bool tokenizer_is_eog(const struct tokenizer *t, int32_t id);

/* True if encoding puts a space before the first word of a text (SentencePiece, add_space_prefix). */
bool tokenizer_adds_space_prefix(const struct tokenizer *t);

#endif
