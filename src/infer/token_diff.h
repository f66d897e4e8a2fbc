/* What of an old token list stands, shifted, in a new one: the runs that an edit moved but did not change. */
#ifndef INFER_TOKEN_DIFF_H
#define INFER_TOKEN_DIFF_H

#include <stdint.h>

#include "infer/kv.h"

/* Shorter runs are not reported: moving them saves little, and text that happens to be the same elsewhere
 * does not count as moved. */
#define TOKEN_RUN_MIN  24
#define TOKEN_RUNS_MAX 8

/* Both lists agree in the first `keep` tokens. Finds at most TOKEN_RUNS_MAX runs behind them, in `fresh` also
 * not before `first`, in ascending order in both lists, greedily from the start of `fresh`, by indexing
 * groups of tokens of `old` (as delta compressors do). index: scratch of TOKEN_DIFF_INDEX(n_old) elements.
 * Returns the number of runs. */
int32_t token_diff(const int32_t *old, int32_t n_old, const int32_t *fresh, int32_t n_fresh, int32_t keep,
                   int32_t first, int32_t *index, struct kv_run *runs);

/* Tokens at the beginning in which both lists agree. */
static inline int32_t token_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

#define TOKEN_DIFF_SLOTS    4096
#define TOKEN_DIFF_INDEX(n) ((size_t)TOKEN_DIFF_SLOTS + (size_t)(n))

#endif
