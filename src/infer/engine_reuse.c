/* Making a sequence hold a prompt at the least cost: what is already computed, here, in another sequence or
 * on disk, is reused; only the rest is computed.
 *
 * A position whose token is HOLE was reserved but not computed, because a cancellation came between moving KV
 * and computing the gaps. Holes equal no token, so that the next sync finds the moved runs behind them. */
#include <string.h>

#include "infer/engine_impl.h"
#include "infer/token_diff.h"
#include "model/model.h"

#define HOLE (-1)

/* Tokens that sharing or restoring must save over what the sequence itself offers to be worth it. */
#define SHARE_GAIN   KERN_KV_BLOCK
#define RESTORE_GAIN 64
/* Shorter sequences are not saved to disk: computing them again is as fast as finding them. */
#define SAVE_MIN 128
/* Tokens of one step of a refresh: what a cancellation may lose. */
#define REFRESH_BATCH 32

static int32_t common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

void engine_seq_clear(struct engine_seq *s, bool save)
{
    struct kv_store *store = s->engine->kv_store;
    struct errmsg ignored; /* what cannot be saved is computed again */
    if (save && store && s->n_exact >= SAVE_MIN)
        (void)!kv_store_save(store, &s->kv, s->tokens, s->n_exact, &ignored);
    engine_seq_cut(s, 0);
    kv_truncate(&s->kv, 0);
}

/* Free the pages of the sequence that was not used for longest. False if only s has any. */
static bool evict_other(const struct engine_seq *s)
{
    struct engine_seq *oldest = NULL;
    for (struct engine_seq *o = s->engine->seqs; o; o = o->next) {
        if (o == s || o->kv.n_pages == 0) continue;
        if (!oldest || o->last_use < oldest->last_use) oldest = o;
    }
    if (!oldest) return false;
    engine_seq_clear(oldest, true);
    return true;
}

enum err engine_seq_reserve(struct engine_seq *s, int32_t from, int32_t to)
{
    enum err e = kv_reserve(&s->kv, from, to);
    while (e == ERR_LIMIT && evict_other(s)) e = kv_reserve(&s->kv, from, to);
    return e;
}

/* The other sequence that begins most like tokens; *n: by how much. */
static const struct engine_seq *most_alike(const struct engine_seq *s, const int32_t *tokens, int32_t n,
                                           int32_t *same)
{
    const struct engine_seq *best = NULL;
    *same = 0;
    for (const struct engine_seq *o = s->engine->seqs; o; o = o->next) {
        if (o == s) continue;
        int32_t c = common(o->tokens, o->n_exact, tokens, n);
        if (c > *same) *same = c, best = o;
    }
    return best;
}

/* The sequence now holds tokens[0..n-1], all exact, and nothing else. */
static void adopt(struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    memcpy(s->tokens, tokens, (size_t)n * sizeof *tokens);
    s->len = s->n_exact = n;
    s->logit_row = -1;
}

static int32_t restore(struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    int32_t loaded = 0;
    engine_seq_cut(s, 0);
    enum err e = kv_store_load(s->engine->kv_store, tokens, n, &s->kv, &loaded);
    while (e == ERR_LIMIT && evict_other(s))
        e = kv_store_load(s->engine->kv_store, tokens, n, &s->kv, &loaded);
    if (e) loaded = 0;
    if (loaded == 0) kv_truncate(&s->kv, 0);
    adopt(s, tokens, min(loaded, n));
    return s->len;
}

/* How to come from what is there to the prompt. */
struct plan {
    int32_t same; /* kept at the start */
    struct kv_run runs[TOKEN_RUNS_MAX];
    int32_t n_runs;
};

/* From the sequence's own tokens. The last token is always computed, for its logits. */
static struct plan plan_own(const struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    struct plan plan = {.same = common(s->tokens, s->len, tokens, n)};
    if (plan.same == n && !(s->len == n && s->logit_row >= 0)) plan.same = n - 1;
    if (s->engine->move == ENGINE_MOVE_OFF) return plan;
    plan.n_runs = token_diff(s->tokens, s->len, tokens, n - 1, min(plan.same, n - 1), s->move_from, s->index,
                             plan.runs);
    return plan;
}

static int32_t cost_of(const struct plan *plan, int32_t n)
{
    int32_t cost = n - plan->same;
    for (int32_t i = 0; i < plan->n_runs; i++) cost -= plan->runs[i].n;
    return cost;
}

/* Take over another sequence's beginning, or a saved one, where that leaves clearly less to compute. */
static void import_better(struct engine_seq *s, const int32_t *tokens, int32_t n, int32_t cost,
                          struct engine_reuse *reuse)
{
    int32_t same, saved = 0;
    const struct engine_seq *other = most_alike(s, tokens, n, &same);
    if (s->engine->kv_store) saved = kv_store_match(s->engine->kv_store, tokens, n);
    if (saved > same && n - saved + RESTORE_GAIN <= cost) {
        reuse->n_restored = restore(s, tokens, n);
    } else if (other && n - same + SHARE_GAIN <= cost) {
        kv_share(&s->kv, &other->kv, same);
        adopt(s, tokens, same);
    }
}

/* The spans of the prompt that are not there: between plan->same, the runs, and the end. */
static int32_t gaps_of(const struct plan *plan, const int32_t *tokens, int32_t n, const struct kv *kv,
                       struct forward_span *gaps)
{
    int32_t n_gaps = 0, at = plan->same;
    for (int32_t i = 0; i <= plan->n_runs; i++) {
        int32_t end = i < plan->n_runs ? plan->runs[i].to : n;
        if (end > at) {
            gaps[n_gaps++] = (struct forward_span){.kv = kv, .tokens = tokens + at, .n = end - at, .pos = at};
        }
        if (i < plan->n_runs) at = end + plan->runs[i].n;
    }
    return n_gaps;
}

/* Compute the first tokens of the gaps, as many as a pass takes. Returns how many; the gaps shrink. */
static enum err compute_batch(struct engine_seq *s, struct forward_span *gaps, int32_t n_gaps, bool *is_done,
                              const struct limits *limits)
{
    struct forward_span batch[TOKEN_RUNS_MAX + 1];
    int32_t n = 0, left = s->engine->n_batch;
    for (int32_t i = 0; i < n_gaps && left > 0; i++) {
        if (gaps[i].n == 0) continue;
        batch[n] = gaps[i];
        batch[n].n = min(gaps[i].n, left);
        left -= batch[n++].n;
    }
    struct forward_span *end = &batch[n - 1];
    *is_done = end->pos + end->n == gaps[n_gaps - 1].pos + gaps[n_gaps - 1].n;
    end->n_logits = *is_done;
    enum err e = forward_run(s->engine->forward, batch, n, s->logits, limits);
    if (e) return e;
    for (int32_t i = 0, j = 0; j < n; i++) {
        if (gaps[i].n == 0) continue;
        memcpy(s->tokens + batch[j].pos, batch[j].tokens, (size_t)batch[j].n * sizeof *s->tokens);
        gaps[i].tokens += batch[j].n;
        gaps[i].pos += batch[j].n;
        gaps[i].n -= batch[j++].n;
    }
    return OK;
}

/* Bring the KV of plan's runs to their places; the positions between them become holes. Without memory for
 * that, the runs are given up. */
static enum err move_runs(struct engine_seq *s, const int32_t *tokens, int32_t n, struct plan *plan)
{
    enum err e =
        plan->n_runs ? forward_move_kv(s->engine->forward, &s->kv, plan->same, plan->runs, plan->n_runs) : OK;
    while (e == ERR_LIMIT && evict_other(s))
        e = forward_move_kv(s->engine->forward, &s->kv, plan->same, plan->runs, plan->n_runs);
    if (e) plan->n_runs = 0;
    engine_seq_cut(s, plan->same);
    e = engine_seq_reserve(s, plan->same, n);
    if (e || plan->n_runs == 0) return e;
    s->len = plan->runs[plan->n_runs - 1].to + plan->runs[plan->n_runs - 1].n;
    for (int32_t i = plan->same; i < s->len; i++) s->tokens[i] = HOLE;
    for (int32_t i = 0; i < plan->n_runs; i++) {
        memcpy(s->tokens + plan->runs[i].to, tokens + plan->runs[i].to,
               (size_t)plan->runs[i].n * sizeof *tokens);
    }
    return OK;
}

/* Positions that are as exact as a fresh computation would make them, once the gaps before `first` are. */
static void count_exact(struct engine_seq *s, const struct plan *plan, int32_t first_gap)
{
    if (s->n_exact < plan->same) return;
    s->n_exact = plan->n_runs && first_gap > plan->runs[0].to ? plan->runs[0].to : first_gap;
}

static enum err compute(struct engine_seq *s, const int32_t *tokens, int32_t n, struct plan *plan,
                        const struct limits *limits)
{
    struct forward_span gaps[TOKEN_RUNS_MAX + 1];
    int32_t n_gaps = gaps_of(plan, tokens, n, &s->kv, gaps), first = 0;
    bool is_done = n_gaps == 0;
    enum err e = OK;
    while (!is_done && !e) {
        s->logit_row = -1;
        e = compute_batch(s, gaps, n_gaps, &is_done, limits);
        while (first < n_gaps - 1 && gaps[first].n == 0) first++;
        count_exact(s, plan, gaps[first].pos);
        int32_t end = gaps[n_gaps - 1].pos; /* of what is there: the last gap is at the end */
        if (end > s->len) s->len = end;
    }
    if (!e && n_gaps) s->logit_row = 0;
    return e;
}

static enum err check_tokens(const struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    if (n < 1) return ERR_ARG;
    if (n > s->n_ctx) return ERR_LIMIT;
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= s->engine->model->p.n_vocab) return ERR_ARG;
    }
    return OK;
}

enum err engine_seq_sync(struct engine_seq *s, const int32_t *tokens, int32_t n, const struct limits *limits,
                         struct engine_reuse *reuse)
{
    struct engine_reuse counts = {0}, *r = reuse ? reuse : &counts;
    *r = counts;
    enum err e = check_tokens(s, tokens, n);
    if (e) return e;
    engine_adopt_pack(s->engine);
    s->last_use = ++s->engine->n_uses;

    struct plan plan = plan_own(s, tokens, n);
    import_better(s, tokens, n, cost_of(&plan, n), r);
    plan = plan_own(s, tokens, n);
    int32_t exact = min(plan.same, s->n_exact);
    e = move_runs(s, tokens, n, &plan);
    r->n_reused = exact - min(exact, r->n_restored);
    r->n_restored = exact - r->n_reused;
    r->n_computed = cost_of(&plan, n);
    r->n_moved = n - exact - r->n_computed;
    if (!e) e = compute(s, tokens, n, &plan, limits);
    if (e) return e;
    s->n_prompt = n;
    kv_truncate(&s->kv, n);
    return OK;
}

void engine_seq_allow_move(struct engine_seq *s, int32_t from)
{
    s->move_from = from;
}

int32_t engine_seq_n_inexact(const struct engine_seq *s)
{
    return s->n_prompt > s->n_exact ? s->n_prompt - s->n_exact : 0;
}

enum err engine_seq_refresh(struct engine_seq *s, const struct limits *limits)
{
    if (engine_seq_n_inexact(s) == 0) return OK;
    engine_seq_cut(s, s->n_prompt);
    enum err e = engine_seq_reserve(s, s->n_exact, s->len);
    while (!e && s->n_exact < s->len) {
        int32_t n = min(min(s->len - s->n_exact, REFRESH_BATCH), s->engine->n_batch);
        bool is_last = s->n_exact + n == s->len;
        struct forward_span span = {
            .kv = &s->kv, .tokens = s->tokens + s->n_exact, .n = n, .pos = s->n_exact, .n_logits = is_last};
        e = forward_run(s->engine->forward, &span, 1, s->logits, limits);
        if (!e) s->n_exact += n;
        if (!e && is_last) s->logit_row = 0;
    }
    return e;
}
