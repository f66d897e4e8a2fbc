/* Private to context/: tokens of a prompt's parts, kept from one fim_build to the next. */
#ifndef CONTEXT_FIM_MEMO_H
#define CONTEXT_FIM_MEMO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/fim.h"

/* A view of tokens. */
struct fim_tokens {
    const int32_t *ids;
    int32_t n;
};

/* Where a part of the prompt stands, which decides about SentencePiece's space before the first word. */
enum fim_place {
    FIM_PLACE_FRESH, /* starts a text: the space is there, if the tokenizer adds one */
    FIM_PLACE_JOINED /* goes on after other text or a suffix token: no space */
};

/* The tokens of text, by way of a memo of one of its kind; valid until the memo is used again. */
MUST_CHECK enum err fim_memo_encode(const struct tokenizer *t, struct token_memo *memo, const char *text,
                                    size_t len, enum fim_place place, struct fim_tokens *out);

/* What a part was made of, hashed: 128 bits, so that no two parts that anybody meets have the same. */
struct fim_key {
    uint64_t low, high;
};
struct fim_key fim_key_add(struct fim_key key, const void *bytes, size_t len);

/* The part made of this, if it is kept; false: it is not. Its tokens stay where they are until fim_memo_tidy.
 */
bool fim_memo_find(struct fim_memo *memo, struct fim_key key, struct fim_tokens *out);
/* Keep it. Takes the tokens. */
MUST_CHECK enum err fim_memo_keep(struct fim_memo *memo, struct fim_key key, struct token_list *take,
                                  struct fim_tokens *out);
/* Forget the parts that were neither found nor kept since the last call. */
void fim_memo_tidy(struct fim_memo *memo);

#endif
