/* The merges of byte-level BPE as a hash table: from a pair of token ids to the token that they make, so that
 * merging compares integers only. Immutable after tok_pairs_init. */
#ifndef MODEL_TOK_PAIRS_H
#define MODEL_TOK_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tok_merge.h"
#include "model/tok_vocab.h"

struct tok_pair {
    int32_t left_plus1; /* 0: empty */
    int32_t right;
    uint32_t rank; /* index in the file's list */
    int32_t id;    /* the token that the pair makes */
};

struct tok_pairs {
    struct tok_pair *slots; /* owned; a power of two of them, always one or more empty */
    uint64_t mask;
    int32_t shift;
};

/* From the file's list of merges. The caller clears p in every case. */
MUST_CHECK enum err tok_pairs_init(struct tok_pairs *p, const struct gguf *g, const struct tok_vocab *v,
                                   struct errmsg *msg);
void tok_pairs_clear(struct tok_pairs *p);

/* false if no merge joins these tokens; either may be TOKEN_NONE. */
bool tok_pairs_find(const struct tok_pairs *p, int32_t left, int32_t right, struct tok_joint *out);

#endif
