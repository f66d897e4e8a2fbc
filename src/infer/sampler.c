/* Choosing the next token.
 *
 * Candidates sit in a binary heap by logit: building it costs one pass over the vocabulary, and only as
 * many are popped as top-k, top-p or min-p keep, so nothing sorts the whole vocabulary. */
#include "infer/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/tokenizer.h"

/* The infill sampler compares candidates pairwise; this bounds it where top-k is off. */
#define INFILL_MAX_CANDIDATES 64
/* A text candidate below this probability is not worth showing (llama.cpp's threshold for infill). */
#define INFILL_MIN_P 0.2f
/* End the text when its end tokens are at least 1 / (3 n) as likely as n text candidates together. */
#define INFILL_EOG_WEIGHT 3

#define REPEAT_MAX 1024

struct candidate {
    int32_t id;
    float logit;
    float p; /* among the candidates kept */
};

struct sampler {
    struct sampler_params params;
    const struct tokenizer *tokenizer; /* borrowed */
    int32_t n_vocab;
    struct candidate *heap; /* [n_vocab] */
    struct candidate *kept; /* [n_vocab]; in descending order */
    int32_t recent[REPEAT_MAX];
    int32_t n_recent; /* tokens accepted so far; recent is a ring */
    uint64_t random_state, random_inc;
};

/* PCG32 (O'Neill 2014): 32 random bits. */
static uint32_t random_bits(struct sampler *s)
{
    uint64_t old = s->random_state;
    s->random_state = old * 6364136223846793005u + s->random_inc;
    uint32_t shifted = (uint32_t)((old >> 18 ^ old) >> 27), rot = (uint32_t)(old >> 59);
    return shifted >> rot | shifted << (-rot & 31);
}

static enum err check_params(const struct sampler_params *p, struct errmsg *msg)
{
    if (!(p->temperature >= 0 && p->temperature <= 100))
        return err_set(msg, ERR_ARG, "temperature must be between 0 and 100");
    if (p->top_k < 0) return err_set(msg, ERR_ARG, "top-k must not be negative");
    if (!(p->top_p > 0 && p->top_p <= 1)) return err_set(msg, ERR_ARG, "top-p must be above 0 and at most 1");
    if (!(p->min_p >= 0 && p->min_p <= 1)) return err_set(msg, ERR_ARG, "min-p must be between 0 and 1");
    if (!(p->repeat_penalty > 0 && p->repeat_penalty <= 10))
        return err_set(msg, ERR_ARG, "repeat-penalty must be above 0 and at most 10");
    if (p->repeat_last_n < 0 || p->repeat_last_n > REPEAT_MAX)
        return err_set(msg, ERR_ARG, "repeat-last-n must be between 0 and %d", REPEAT_MAX);
    return OK;
}

enum err sampler_new(const struct sampler_params *p, const struct tokenizer *t, struct sampler **out,
                     struct errmsg *msg)
{
    enum err e = check_params(p, msg);
    if (e) return e;
    struct sampler *s = MEM_NEW(struct sampler);
    s->params = *p;
    s->tokenizer = t;
    s->n_vocab = tokenizer_n_vocab(t);
    s->heap = mem_try((size_t)s->n_vocab, sizeof *s->heap);
    s->kept = mem_try((size_t)s->n_vocab, sizeof *s->kept);
    if (!s->heap || !s->kept) {
        sampler_free(&s);
        return err_set(msg, ERR_NOMEM, "not enough memory to sample from %d tokens", tokenizer_n_vocab(t));
    }
    s->random_inc = 1442695040888963407u; /* the generator's default stream; any odd number */
    s->random_state = p->seed + s->random_inc;
    random_bits(s);
    *out = s;
    return OK;
}

void sampler_free(struct sampler **sp)
{
    struct sampler *s = *sp;
    *sp = NULL;
    if (!s) return;
    mem_free(s->heap);
    mem_free(s->kept);
    mem_free(s);
}

void sampler_accept(struct sampler *s, int32_t token)
{
    s->recent[s->n_recent++ % REPEAT_MAX] = token;
}

/* The largest of BLOCK logits, by lanes, so that compilers use vectors: where many sequences choose one after
 * another, reading their vocabularies one by one would take as long as a good part of the pass. */
#define BLOCK 256
#define LANES 16

static float block_max(const float *logits)
{
    float max[LANES];
    memcpy(max, logits, sizeof max);
    for (int32_t i = LANES; i < BLOCK; i += LANES) {
        for (int32_t j = 0; j < LANES; j++) max[j] = logits[i + j] > max[j] ? logits[i + j] : max[j];
    }
    float all = max[0];
    for (int32_t j = 1; j < LANES; j++) all = max[j] > all ? max[j] : all;
    return all;
}

/* The first of the largest. */
static int32_t argmax(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 0; i < n; i += BLOCK) {
        int32_t end = n - i < BLOCK ? n : i + BLOCK;
        if (end - i == BLOCK && block_max(logits + i) <= logits[best]) continue;
        for (int32_t j = i; j < end; j++) {
            if (logits[j] > logits[best]) best = j;
        }
    }
    return best;
}

static void sift_down(struct candidate *heap, int32_t i, int32_t n)
{
    struct candidate moving = heap[i];
    for (;;) {
        int32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1].logit > heap[child].logit) child++;
        if (!(heap[child].logit > moving.logit)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moving;
}

/* Each recent token is made less likely once, however often it occurs. */
static void penalise(struct sampler *s)
{
    int32_t n = s->n_recent < s->params.repeat_last_n ? s->n_recent : s->params.repeat_last_n;
    for (int32_t i = 1; i <= n; i++) {
        int32_t id = s->recent[(s->n_recent - i) % REPEAT_MAX];
        bool is_seen = false;
        for (int32_t j = 1; j < i && !is_seen; j++) is_seen = s->recent[(s->n_recent - j) % REPEAT_MAX] == id;
        if (is_seen) continue;
        float *logit = &s->heap[id].logit;
        *logit = *logit > 0 ? *logit / s->params.repeat_penalty : *logit * s->params.repeat_penalty;
    }
}

/* Probabilities of kept[0..n-1], in descending order of logit, at a temperature. */
static void softmax(struct candidate *kept, int32_t n, float temperature)
{
    float sum = 0;
    for (int32_t i = 0; i < n; i++) {
        kept[i].p = expf((kept[i].logit - kept[0].logit) / temperature);
        sum += kept[i].p;
    }
    for (int32_t i = 0; i < n; i++) kept[i].p /= sum;
}

/* Fill the heap's array (in no order) with all that may be among the `limit` best; returns how many. A
 * vocabulary is large and the limit is small, so most blocks are left out: at least `limit` logits reach the
 * limit-th largest of the blocks' maxima. */
static int32_t gather(struct sampler *s, const float *logits, int32_t limit)
{
    int32_t n_blocks = s->n_vocab / BLOCK, n = 0;
    bool is_pruned =
        limit <= n_blocks && s->params.repeat_penalty == 1; /* penalties would change the order */
    float least = -INFINITY;
    if (is_pruned) {
        for (int32_t b = 0; b < n_blocks; b++)
            s->heap[b] = s->kept[b] = (struct candidate){.logit = block_max(logits + (size_t)b * BLOCK)};
        for (int32_t i = n_blocks / 2; i-- > 0;) sift_down(s->heap, i, n_blocks);
        for (int32_t left = n_blocks; left > n_blocks - limit + 1;) {
            s->heap[0] = s->heap[--left];
            sift_down(s->heap, 0, left);
        }
        least = s->heap[0].logit;
    }
    for (int32_t i = 0; i < s->n_vocab; i++) {
        bool is_left_out =
            is_pruned && i % BLOCK == 0 && i / BLOCK < n_blocks && s->kept[i / BLOCK].logit < least;
        if (is_left_out)
            i += BLOCK - 1;
        else if (!(logits[i] < least))
            s->heap[n++] = (struct candidate){.id = i, .logit = logits[i]};
    }
    return n;
}

/* How many candidates are kept at most. */
static int32_t limit_of(const struct sampler *s)
{
    const struct sampler_params *p = &s->params;
    int32_t limit = p->top_k && p->top_k < s->n_vocab ? p->top_k : s->n_vocab;
    return p->infill && limit > INFILL_MAX_CANDIDATES ? INFILL_MAX_CANDIDATES : limit;
}

/* Pop from the heap's n_heap candidates into s->kept until top-k, top-p or min-p says stop; returns how many.
 */
static int32_t keep_best(struct sampler *s, int32_t n_heap)
{
    const struct sampler_params *p = &s->params;
    int32_t limit = limit_of(s);
    bool is_all = limit >= n_heap; /* top-p is a share of all candidates, or of the top k where k is fewer */
    if (is_all) limit = n_heap;
    for (int32_t i = n_heap / 2; i-- > 0;) sift_down(s->heap, i, n_heap);
    float best = s->heap[0].logit;
    float total = 0;
    for (int32_t i = 0; is_all && i < n_heap; i++) total += expf(s->heap[i].logit - best);
    int32_t n = 0;
    for (float sum = 0; n < limit; n++) {
        float weight = expf(s->heap[0].logit - best);
        if (n && (weight < p->min_p || (total > 0 && sum >= p->top_p * total))) break;
        sum += weight;
        s->kept[n] = s->heap[0];
        s->heap[0] = s->heap[n_heap - 1 - n];
        sift_down(s->heap, 0, n_heap - 1 - n);
    }
    softmax(s->kept, n, 1);
    if (total > 0) return n;
    float sum = 0;
    int32_t n_kept = 0;
    while (n_kept < n && (n_kept == 0 || sum < p->top_p)) sum += s->kept[n_kept++].p;
    return n_kept;
}

/* Of two candidates of which one's text begins with the other's, the likelier takes the other's probability.
 */
static void merge_prefixes(struct sampler *s, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n && s->kept[i].p > 0; j++) {
            if (i == j || s->kept[j].p <= 0) continue;
            size_t len_i, len_j;
            const char *a = tokenizer_piece(s->tokenizer, s->kept[i].id, &len_i);
            const char *b = tokenizer_piece(s->tokenizer, s->kept[j].id, &len_j);
            if (len_i == 0 || len_i > len_j || memcmp(a, b, len_i) != 0) continue;
            bool is_j_likelier = s->kept[j].p > s->kept[i].p;
            struct candidate *to = &s->kept[is_j_likelier ? j : i], *from = &s->kept[is_j_likelier ? i : j];
            to->p += from->p;
            from->p = 0;
        }
    }
}

/* llama.cpp's infill sampler: end the text when the model is unsure, else keep only confident candidates.
 * Returns how many of kept remain, with p as weights. */
static int32_t apply_infill(struct sampler *s, int32_t n)
{
    float p_text = 0, p_eog = 0;
    for (int32_t i = 0; i < n; i++)
        *(tokenizer_is_eog(s->tokenizer, s->kept[i].id) ? &p_eog : &p_text) += s->kept[i].p;
    bool is_ending = INFILL_EOG_WEIGHT * p_eog * (float)n > p_text;
    if (!is_ending) merge_prefixes(s, n);
    int32_t n_text = 0, n_kept = 0;
    for (int32_t i = 0; i < n; i++) {
        bool is_eog = tokenizer_is_eog(s->tokenizer, s->kept[i].id);
        if (!is_eog && (is_ending || s->kept[i].p < INFILL_MIN_P)) continue;
        n_text += !is_eog;
        s->kept[n_kept++] = s->kept[i];
    }
    if (n_text || is_ending) return n_kept;
    int32_t eos = tokenizer_eos(s->tokenizer);
    if (eos == TOKEN_NONE) return n_kept ? n_kept : 1;
    s->kept[0] = (struct candidate){.id = eos, .p = 1};
    return 1;
}

/* Draw from kept[0..n-1] by p; the likeliest where the temperature is 0. */
static int32_t draw(struct sampler *s, int32_t n)
{
    int32_t best = 0;
    float sum = 0;
    for (int32_t i = 0; i < n; i++) {
        if (s->kept[i].p > s->kept[best].p) best = i;
        sum += s->kept[i].p;
    }
    if (s->params.temperature == 0) return s->kept[best].id;
    float at = (float)(random_bits(s) * 0x1p-32) * sum;
    for (int32_t i = 0; i < n; i++) {
        at -= s->kept[i].p;
        if (at < 0) return s->kept[i].id;
    }
    return s->kept[best].id;
}

int32_t sampler_pick(struct sampler *s, const float *logits)
{
    const struct sampler_params *p = &s->params;
    if (p->temperature == 0 && p->repeat_penalty == 1 && !p->infill) return argmax(logits, s->n_vocab);
    int32_t n_heap = gather(s, logits, limit_of(s));
    if (p->repeat_penalty != 1) penalise(s); /* then all were gathered, by id */
    int32_t n = keep_best(s, n_heap);
    if (p->infill)
        n = apply_infill(s, n);
    else if (p->temperature > 0)
        softmax(s->kept, n, p->temperature);
    return draw(s, n);
}

struct start_search {
    struct sampler *sampler;
    const float *logits;
    int32_t n; /* found; in the heap's array, in no order */
};

static void add_start(void *ctx, int32_t id, size_t piece_len)
{
    (void)piece_len;
    struct start_search *search = ctx;
    search->sampler->heap[search->n++] = (struct candidate){.id = id, .logit = search->logits[id]};
}

int32_t sampler_pick_start(struct sampler *s, const float *logits, const char *text, size_t len,
                           double *log_sum)
{
    struct start_search found = {.sampler = s, .logits = logits};
    tokenizer_each_start(s->tokenizer, text, len, add_start, &found);
    if (found.n == 0) return TOKEN_NONE;
    struct candidate best = s->heap[0];
    for (int32_t i = 1; i < found.n; i++) {
        if (s->heap[i].logit > best.logit) best = s->heap[i];
    }
    double sum = 0;
    for (int32_t i = 0; i < found.n; i++) sum += (double)expf(s->heap[i].logit - best.logit);
    *log_sum = (double)best.logit + log(sum);
    if (s->params.temperature == 0) return best.id;
    int32_t n = keep_best(s, found.n);
    softmax(s->kept, n, s->params.temperature);
    return draw(s, n);
}
