/* Finding added tokens (control or user-defined) in text: leftmost first, of those the longest. */
#ifndef MODEL_TOK_ADDED_H
#define MODEL_TOK_ADDED_H

#include <stdbool.h>

#include "model/tok_vocab.h"

/* The lengths that tokens of one type have, by their first byte. */
struct tok_added {
    uint32_t *lens;      /* owned; longest first for each first byte */
    uint32_t first[257]; /* lens of tokens that start with byte b: lens[first[b]] .. lens[first[b + 1] - 1] */
    enum tok_type type;
    size_t max_len; /* of all of them; 0: there are none */
};

/* ERR_NOMEM. The caller clears a in every case. */
MUST_CHECK enum err tok_added_init(struct tok_added *a, const struct tok_vocab *v, enum tok_type type);
void tok_added_clear(struct tok_added *a);

struct tok_match {
    size_t start, len;
    int32_t id;
};

/* The first added token in text at or after `from`. */
bool tok_added_find(const struct tok_added *a, const struct tok_vocab *v, const char *text, size_t len,
                    size_t from, struct tok_match *out);

#endif
