/* Encoding a text again after a change: what of the old tokens stays, and what is put between.
 *
 * Text is encoded word by word, and a word's tokens depend on nothing before it: from where a word begins,
 * the rest of a text has the same tokens as if it were a text of its own (the tests hold every pre-tokenizer
 * to that). So encoding may begin anew at any word before the change, and end at the first word behind it
 * that began there before. How far in front of the change? Where a word ends is decided by what follows it:
 * the run of white space, letters or digits that it stands in and one character more, a contraction, or as
 * many bytes as the longest user-defined token has. Four words behind it decide nothing; we leave out more.
 */
#ifndef MODEL_TOK_MEMO_H
#define MODEL_TOK_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tokenizer.h"

/* A place where a word begins. */
struct token_mark {
    int32_t at;    /* byte of the text */
    int32_t first; /* of the tokens: the word's first one */
};

/* Told of each word before its tokens are appended to the n_tokens that are there. False ends the encoding
 * with ERR_CANCELLED. */
struct tok_watch {
    bool (*begins)(void *ctx, const char *word, int32_t n_tokens);
    void *ctx;
};

static inline bool tok_watch_begins(const struct tok_watch *w, const char *word, int32_t n_tokens)
{
    return !w || w->begins(w->ctx, word, n_tokens);
}

/* A memo on its way from its text to another. */
struct tok_change {
    struct token_memo *memo;
    const char *text; /* the new one; borrowed */
    size_t len;
    size_t same_end;          /* bytes at the end that both texts have */
    int32_t keep;             /* marks at the beginning that stay */
    int32_t meet;             /* the first mark behind the change that stays, or n_marks */
    struct token_list tokens; /* what comes between */
    struct token_mark *marks; /* owned; likewise, with first counted from 0 */
    int32_t n_marks, mark_cap;
    bool is_met, is_out_of_memory;
};

/* False: the texts are the same, nothing is to be done. Else encode text from the byte *from on, with
 * tok_change_begins as the watcher, into c->tokens. max_token: bytes of the longest user-defined token. */
bool tok_change_begin(struct tok_change *c, struct token_memo *memo, const char *text, size_t len,
                      size_t max_token, size_t *from);
bool tok_change_begins(void *c, const char *word, int32_t n_tokens);

/* Encoding returned err. The memo holds the new text, or after an error nothing. */
enum err tok_change_end(struct tok_change *c, enum err err);

#endif
