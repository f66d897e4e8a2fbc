/* The merge loop of byte-pair encoding, shared by both kinds of tokenizer: adjacent symbols are joined, best
 * pair first (lowest rank; of equals, leftmost), until no adjacent pair can be joined.
 *
 * Short words use a scan over a small array; long ones a linked list and a heap of candidate pairs, so that
 * n symbols take O(n log n) whatever the text. One tok_merge serves one encoding at a time. */
#ifndef MODEL_TOK_MERGE_H
#define MODEL_TOK_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tok_symbol {
    int32_t id;          /* token, or TOKEN_NONE */
    uint32_t start, len; /* bytes of the text that it covers */
};

/* What joining a pair gives. */
struct tok_joint {
    uint32_t rank; /* lower ranks are joined first */
    int32_t id;    /* the token that results */
};

/* Can these neighbours be joined? text is what the symbols' start and len refer to. */
typedef bool tok_join_fn(const void *ctx, const char *text, const struct tok_symbol *left,
                         const struct tok_symbol *right, struct tok_joint *out);

/* Words up to this many symbols are scanned; above, the heap wins over the quadratic scan. */
#define TOK_MERGE_SMALL 48

struct tok_link {
    int32_t prev, next; /* neighbouring symbols that are still there; -1 at the ends */
};

struct tok_candidate {
    uint64_t order; /* rank, then position of the left symbol */
    uint32_t len;   /* bytes that the pair covered when it was found; differs once either has grown */
    int32_t id;
};

struct tok_merge {
    struct tok_symbol small[TOK_MERGE_SMALL];
    struct tok_symbol *large;   /* owned */
    struct tok_link *links;     /* owned; [cap] */
    struct tok_candidate *heap; /* owned; [2 * cap] */
    size_t cap;                 /* symbols that large has room for */
};

void tok_merge_init(struct tok_merge *m);
void tok_merge_clear(struct tok_merge *m);

/* Room for n symbols, to be filled by the caller; null if out of memory. Valid until the next call. */
struct tok_symbol *tok_merge_symbols(struct tok_merge *m, size_t n);

/* Merge the first n of s, which tok_merge_symbols gave for n or more. The result stands at the start of s;
 * returns its number of symbols. */
size_t tok_merge_run(struct tok_merge *m, struct tok_symbol *s, size_t n, const char *text, tok_join_fn *join,
                     const void *ctx);

#endif
