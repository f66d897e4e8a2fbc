/* Drafts for speculative decoding, free of charge: when the end of the text occurred before, propose what
 * followed it then (prompt lookup decoding, Saxena 2023; LLMA, Yang et al., arXiv 2304.04487), and decide how
 * many proposed tokens are worth verifying in one pass (Leviathan et al., arXiv 2211.17192, section 3.5).
 *
 * Memory is allocated once; nothing allocates while decoding. Thread: engine. */
#ifndef INFER_DRAFT_H
#define INFER_DRAFT_H

#include <stdint.h>

#include "base/err.h"

#define DRAFT_MAX 15 /* tokens proposed at once at most */

struct draft;

/* Room for max_tokens of text; older text is forgotten beyond. ERR_NOMEM; ERR_ARG: max_tokens < 1. */
MUST_CHECK enum err draft_new(int32_t max_tokens, struct draft **out, struct errmsg *msg);
void draft_free(struct draft **d);

/* Forget the text, but not what was learned about its worth. */
void draft_reset(struct draft *d);

/* Add to the text: first related text, then the prompt, then each token as it is chosen. Constant time each.
 * Of a fill-in-the-middle prompt, best the suffix and then the prefix, so that the answer goes on where the
 * text ends. */
void draft_add(struct draft *d, const int32_t *tokens, int32_t n);

/* Propose what may follow the text: at most max (<= DRAFT_MAX) tokens, and no more than pay. The longest
 * match wins, the latest of several. 0: nothing matches, or drafts do not pay. */
int32_t draft_propose(struct draft *d, int32_t *tokens, int32_t max);

/* What came of the pass after a draft_propose: it verified n_proposed tokens (0: plain decoding), of which
 * n_accepted were right, and took this long. Drafts begin once a plain pass was reported. */
void draft_learn(struct draft *d, int32_t n_proposed, int32_t n_accepted, double ms);

/* What all searches cost so far: comparisons of two tokens. */
int64_t draft_n_compared(const struct draft *d);

#endif
