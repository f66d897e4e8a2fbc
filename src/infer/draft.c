/* Drafts: finding what to propose, and deciding how much of it is worth verifying.
 *
 * The text is a ring of tokens, indexed as LZ77 compressors do it (hash chains, as in RFC 1951, section 4):
 * every position knows how far back the same token stood before. A search follows the chain of the text's
 * last token and keeps the place where most tokens agree, so it costs at most PLACES_MAX * (MATCH_MAX + 1)
 * comparisons of tokens. Texts that are added one after another are one text: a match across their border
 * still has to agree token by token, and what a proposal copies from behind a border is only verified in
 * vain.
 *
 * The worth of a proposal weighs two things that are learned: how often a token proposed after a match of a
 * given length is right, and what a pass over n tokens costs in plain passes. Both are averages of what was
 * reported, so the same calls always give the same answers. */
#include "infer/draft.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

/* Longer matches are not told apart: their tokens are right nine times in ten anyway. */
#define MATCH_MAX 16

/* Earlier places of a token that a search looks at, latest first. In simulated completions of source files,
 * 16 places gave up a thirtieth of the gain, and thousands gained nothing over 64. */
#define PLACES_MAX 64

/* Tokens in one pass: the one that was chosen and those proposed. */
#define BATCH_MAX (1 + DRAFT_MAX)

/* A draft must promise this much more speed than plain decoding: estimates are off by about as much. */
#define MIN_GAIN 1.05

/* The weight of a new observation in the average acceptance: the last hundred or so tokens count. */
#define ACCEPT_RATE (1.0 / 64)

/* What each token more adds to the cost of a pass, in plain passes, before a pass was measured. Any guess
 * from 0.05 to 0.2 did equally well: a single proposed token, the first step, measures it. */
#define PRIOR_SLOPE 0.1

/* For how many passes a measured cost is believed. Sizes that pay are measured all the time. One that does
 * not pay is tried again when its time is over, in case the machine's load changed, each time after twice as
 * many passes. */
#define TRUST_MIN 64
#define TRUST_MAX 1024

/* Passes with drafts in a row before a plain one, which measures what the others are compared with. */
#define DRAFTS_IN_A_ROW_MAX 64

/* How often a token is right that is proposed after a match of this many tokens: measured on C, headers and
 * Python (true continuations of 16 to 32 tokens, 1300 tokens of prompt). */
static const double accept_prior[1 + MATCH_MAX] = {0,    0.33, 0.48, 0.57, 0.63, 0.66, 0.69, 0.71, 0.73,
                                                   0.75, 0.76, 0.77, 0.78, 0.80, 0.82, 0.84, 0.88};

/* The cost of a pass over so many tokens, in plain passes. */
struct pass_cost {
    double average;
    int64_t expires; /* the pass from which on the average is no longer believed; 0: never measured */
    int32_t trust;   /* TRUST_MIN..TRUST_MAX; 0: never measured */
};

/* Thread: engine. Positions count all tokens ever added and wrap around; only differences of them matter. */
struct draft {
    int32_t *text;    /* ring [mask + 1], owned, as the next two: the token at position p is text[p & mask] */
    uint32_t *behind; /* ring [mask + 1]: so far before p the same token stood, or another of the same hash */
    uint32_t *latest; /* [2 * (mask + 1)] by hash: the last such position */
    uint32_t mask;
    int32_t hash_shift;
    uint32_t end; /* the position of the next token */
    int32_t len;  /* tokens of text before `end`, <= max_len */
    int32_t max_len;
    int64_t n_compared;

    int32_t match_len; /* of the last search */
    bool is_watching;  /* the last search proposed nothing: see whether `watched` comes */
    int32_t watched;

    double accept[1 + MATCH_MAX]; /* by length of match: the probability that its next token is right */
    double plain_ms;              /* a plain pass; 0: none was measured */
    int64_t n_passes;
    int32_t n_drafts_in_a_row;
    struct pass_cost cost[1 + BATCH_MAX]; /* by tokens in the pass; those of 0 and 1 are unused */
};

enum err draft_new(int32_t max_tokens, struct draft **out, struct errmsg *msg)
{
    *out = NULL;
    if (max_tokens < 1) return err_set(msg, ERR_ARG, "drafts: room for %d tokens of text", max_tokens);
    struct draft *d = MEM_NEW(struct draft);
    size_t size = 1;
    int32_t bits = 0;
    while (size < (size_t)max_tokens) {
        size *= 2;
        bits++;
    }
    d->text = mem_try(size, sizeof *d->text);
    d->behind = mem_try(size, sizeof *d->behind);
    d->latest = mem_try(2 * size, sizeof *d->latest);
    if (!d->text || !d->behind || !d->latest) {
        draft_free(&d);
        return err_set(msg, ERR_NOMEM, "drafts: no memory for %d tokens of text", max_tokens);
    }
    d->mask = (uint32_t)(size - 1);
    d->hash_shift = 64 - (bits + 1);
    d->max_len = max_tokens;
    d->end = UINT32_MAX - 1000; /* so that the wrap-around comes soon in tests too */
    memcpy(d->accept, accept_prior, sizeof d->accept);
    *out = d;
    return OK;
}

void draft_free(struct draft **d)
{
    if (!*d) return;
    mem_free((*d)->text);
    mem_free((*d)->behind);
    mem_free((*d)->latest);
    mem_free(*d);
    *d = NULL;
}

void draft_reset(struct draft *d)
{
    d->len = 0; /* the index may keep its entries: a search does not look beyond len */
    d->match_len = 0;
    d->is_watching = false;
}

int64_t draft_n_compared(const struct draft *d)
{
    return d->n_compared;
}

static double *accept_after(struct draft *d, int32_t match_len)
{
    return &d->accept[match_len < MATCH_MAX ? match_len : MATCH_MAX];
}

static void learn_acceptance(struct draft *d, int32_t match_len, bool is_right)
{
    double *a = accept_after(d, match_len);
    *a += ((is_right ? 1.0 : 0.0) - *a) * ACCEPT_RATE;
}

/* Multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4). */
static uint64_t token_hash(const struct draft *d, int32_t token)
{
    return ((uint64_t)(uint32_t)token * UINT64_C(0x9E3779B97F4A7C15)) >> d->hash_shift;
}

void draft_add(struct draft *d, const int32_t *tokens, int32_t n)
{
    if (n < 1) return;
    if (d->is_watching) learn_acceptance(d, d->match_len, tokens[0] == d->watched);
    d->is_watching = false;
    for (int32_t i = 0; i < n; i++) {
        uint32_t *latest = &d->latest[token_hash(d, tokens[i])];
        d->text[d->end & d->mask] = tokens[i];
        d->behind[d->end & d->mask] = d->end - *latest;
        *latest = d->end++;
        if (d->len < d->max_len) d->len++;
    }
}

/* The token so far before the last one (0: the last). */
static int32_t token_back(const struct draft *d, int32_t distance)
{
    return d->text[(d->end - 1 - (uint32_t)distance) & d->mask];
}

/* How many tokens agree, from the last one backwards, with those that stand `distance` before them. */
static int32_t match_length(struct draft *d, int32_t distance)
{
    int32_t n = 0;
    int32_t max = d->len - distance < MATCH_MAX ? d->len - distance : MATCH_MAX;
    while (n < max && token_back(d, n) == token_back(d, distance + n)) n++;
    d->n_compared += n + 1;
    return n;
}

/* The distance of the longest match, the nearest of several; d->match_len is its length, 0 if there is none.
 */
static int32_t find_match(struct draft *d)
{
    int32_t best = 0;
    int64_t distance = 0;
    d->match_len = 0;
    for (int32_t i = 0; i < PLACES_MAX && d->match_len < MATCH_MAX; i++) {
        uint32_t step = d->behind[(d->end - 1 - (uint32_t)distance) & d->mask];
        distance += step;
        if (step == 0 || distance >= d->len) break; /* 0: an entry never set, at a wrap-around */
        int32_t len = match_length(d, (int32_t)distance);
        if (len > d->match_len) {
            d->match_len = len;
            best = (int32_t)distance;
        }
    }
    return best;
}

static bool is_measured(const struct draft *d, int32_t n)
{
    return n == 1 || d->n_passes < d->cost[n].expires;
}

/* The cost of a pass over n tokens, in plain passes: measured, or on the line through its neighbours that
 * are. */
static double cost_of(const struct draft *d, int32_t n)
{
    int32_t low = n, high = n;
    while (!is_measured(d, low)) low--;
    double low_cost = low == 1 ? 1.0 : d->cost[low].average;
    if (low == n) return low_cost;
    while (high <= BATCH_MAX && !is_measured(d, high)) high++;
    double slope = PRIOR_SLOPE;
    if (high <= BATCH_MAX)
        slope = (d->cost[high].average - low_cost) / (high - low);
    else if (low > 1)
        slope = (low_cost - 1) / (low - 1);
    return low_cost + slope * (n - low);
}

/* The number of tokens, at most max, that promises most tokens per time; 0 if no draft promises enough.
 *
 * With a[i] the probability that token i is right if those before it are, a pass yields one token and
 * a[0] + a[0]*a[1] + ... more (arXiv 2211.17192, section 3.1, where a is constant). Here a right token
 * makes the match longer by one. Sizes above the largest measured are tried with care, twice as many tokens
 * at most: a machine on which every token costs as much as a pass loses one short pass by that. */
static int32_t choose_len(struct draft *d, int32_t max)
{
    int32_t top = BATCH_MAX;
    while (!is_measured(d, top)) top--;
    if (max > 2 * top - 1) max = 2 * top - 1;
    int32_t chosen = 0;
    double best = MIN_GAIN, yield = 1, all_right = 1;
    for (int32_t n = 1; n <= max; n++) {
        all_right *= *accept_after(d, d->match_len + n - 1);
        yield += all_right;
        double gain = yield / cost_of(d, 1 + n);
        if (gain > best) {
            best = gain;
            chosen = n;
        }
    }
    return chosen;
}

int32_t draft_propose(struct draft *d, int32_t *tokens, int32_t max)
{
    d->is_watching = false;
    int32_t distance = find_match(d);
    if (distance == 0) return 0;
    bool may_draft = d->plain_ms > 0 && d->n_drafts_in_a_row < DRAFTS_IN_A_ROW_MAX;
    int32_t n = may_draft ? choose_len(d, max < DRAFT_MAX ? max : DRAFT_MAX) : 0;
    if (n == 0) {
        /* Acceptance is also learned from what was not proposed, so that it is known when drafts pay again.
         */
        d->is_watching = true;
        d->watched = token_back(d, distance - 1);
    }
    /* What follows the match runs into the text's end after `distance` tokens; then it repeats itself. */
    for (int32_t i = 0; i < n; i++)
        tokens[i] = i < distance ? token_back(d, distance - 1 - i) : tokens[i - distance];
    return n;
}

/* A pass may be late for many reasons but is never early, so the average falls faster than it rises: were it
 * too high, drafts would seem to cost nothing. A process that was stopped for a while moves it no more than a
 * pass of twice its time. */
static void learn_plain(struct draft *d, double ms)
{
    if (d->plain_ms <= 0) d->plain_ms = ms;
    double rate = ms < d->plain_ms ? 1.0 / 4 : 1.0 / 16;
    d->plain_ms += (fmin(ms, 2 * d->plain_ms) - d->plain_ms) * rate;
}

/* A pass over n tokens costs neither less than a plain one nor more than n of them: the rest is noise. */
static void learn_cost(struct draft *d, int32_t n, double ms)
{
    if (d->plain_ms <= 0) return;
    struct pass_cost *c = &d->cost[n];
    double cost = fmin(fmax(ms / d->plain_ms, 1), n);
    if (is_measured(d, n)) {
        c->average += (cost - c->average) / 4;
        c->trust = TRUST_MIN;
    } else {
        c->average = cost;
        c->trust = c->trust == 0 ? TRUST_MIN : c->trust < TRUST_MAX ? 2 * c->trust : TRUST_MAX;
    }
    c->expires = d->n_passes + 1 + c->trust;
}

void draft_learn(struct draft *d, int32_t n_proposed, int32_t n_accepted, double ms)
{
    if (n_proposed < 0 || n_proposed > DRAFT_MAX || n_accepted < 0 || n_accepted > n_proposed) return;
    for (int32_t i = 0; i < n_accepted; i++) learn_acceptance(d, d->match_len + i, true);
    if (n_accepted < n_proposed) learn_acceptance(d, d->match_len + n_accepted, false);
    d->n_drafts_in_a_row = n_proposed == 0 ? 0 : d->n_drafts_in_a_row + 1;
    if (isfinite(ms) && ms > 0) {
        if (n_proposed == 0)
            learn_plain(d, ms);
        else
            learn_cost(d, 1 + n_proposed, ms);
    }
    d->n_passes++;
}
