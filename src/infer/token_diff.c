/* Shifted runs between two token lists. */
#include "infer/token_diff.h"

/* Tokens that are hashed together; runs are found where so many are equal. */
#define GROUP 8
/* Old positions looked at for each new one: a bound on the time that repetitive text takes. */
#define MAX_CANDIDATES 16

static uint32_t slot_of(const int32_t *tokens)
{
    uint32_t h = 2166136261u; /* FNV-1a over whole tokens */
    for (int32_t i = 0; i < GROUP; i++) h = (h ^ (uint32_t)tokens[i]) * 16777619u;
    return (h ^ h >> 15) % TOKEN_DIFF_SLOTS;
}

/* heads[slot]: the first old position of the slot, or -1; next[position]: the one after it. */
static void index_old(const int32_t *old, int32_t n_old, int32_t keep, int32_t *heads, int32_t *next)
{
    for (int32_t i = 0; i < TOKEN_DIFF_SLOTS; i++) heads[i] = -1;
    for (int32_t i = n_old - GROUP; i >= keep; i--) {
        uint32_t slot = slot_of(old + i);
        next[i] = heads[slot];
        heads[slot] = i;
    }
}

static int32_t same_length(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

int32_t token_diff(const int32_t *old, int32_t n_old, const int32_t *fresh, int32_t n_fresh, int32_t keep,
                   int32_t first, int32_t *index, struct kv_run *runs)
{
    int32_t *heads = index, *next = index + TOKEN_DIFF_SLOTS, n_runs = 0, from_min = keep;
    index_old(old, n_old, keep, heads, next);
    for (int32_t to = keep > first ? keep : first;
         to + TOKEN_RUN_MIN <= n_fresh && n_runs < TOKEN_RUNS_MAX;) {
        struct kv_run best = {.to = to};
        int32_t left = MAX_CANDIDATES;
        for (int32_t from = heads[slot_of(fresh + to)]; from >= 0 && left > 0; from = next[from]) {
            if (from < from_min) continue;
            left--;
            int32_t n = same_length(old + from, n_old - from, fresh + to, n_fresh - to);
            if (n > best.n) best = (struct kv_run){.from = from, .to = to, .n = n};
        }
        if (best.n < TOKEN_RUN_MIN) {
            to++;
            continue;
        }
        runs[n_runs++] = best;
        to += best.n;
        from_min = best.from + best.n;
    }
    return n_runs;
}
