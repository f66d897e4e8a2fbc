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

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

void engine_seq_save(const struct engine_seq *s)
{
    struct kv_store *store = s->engine->kv_store;
    struct errmsg ignored; /* what cannot be saved is computed again */
    if (!store || s->n_exact < SAVE_MIN) return;
    /* Its name says which weights it is of. */
    if (engine_check(s->engine, &ignored) == OK)
        (void)!kv_store_save(store, &s->kv, s->tokens, s->n_exact, &ignored);
}

void engine_seq_clear(struct engine_seq *s, bool save)
{
    if (save) engine_seq_save(s);
    engine_seq_cut(s, 0);
    kv_truncate(&s->kv, 0);
}

/* Free the pages of the sequence that was not used for longest. False if only `except` (or null) and busy
 * ones have any. */
static bool evict_one(const struct engine *e, const struct engine_seq *except)
{
    struct engine_seq *oldest = NULL;
    for (struct engine_seq *o = e->seqs; o; o = o->next) {
        if (o == except || o->is_busy || o->kv.n_pages == 0) continue;
        if (!oldest || o->last_use < oldest->last_use) oldest = o;
    }
    if (!oldest) return false;
    engine_seq_clear(oldest, true);
    return true;
}

static bool evict_other(const struct engine_seq *s)
{
    return evict_one(s->engine, s);
}

void engine_set_kv_bytes(struct engine *e, int64_t bytes)
{
    int64_t before = kv_pool_budget(e->kv_pool);
    kv_pool_set_budget(e->kv_pool, bytes > 0 ? bytes : INT64_MAX);
    while (kv_pool_used(e->kv_pool) > kv_pool_budget(e->kv_pool) && evict_one(e, NULL)) continue;
    if (kv_pool_budget(e->kv_pool) < before) kv_pool_trim(e->kv_pool);
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
        int32_t c = token_common(o->tokens, o->n_exact, tokens, n);
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
    struct plan plan = {.same = token_common(s->tokens, s->len, tokens, n)};
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
static void list_gaps(const struct plan *plan, const int32_t *tokens, int32_t n, const struct kv *kv,
                      struct engine_fill *fill)
{
    int32_t at = plan->same;
    for (int32_t i = 0; i <= plan->n_runs; i++) {
        int32_t end = i < plan->n_runs ? plan->runs[i].to : n;
        if (end > at) {
            fill->gaps[fill->n_gaps++] =
                (struct forward_span){.kv = kv, .tokens = tokens + at, .n = end - at, .pos = at};
        }
        if (i < plan->n_runs) at = end + plan->runs[i].n;
    }
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

bool engine_seq_fits(const struct engine_seq *s, int32_t n)
{
    const struct kv_pool *pool = s->engine->kv_pool;
    int64_t n_pages = ((int64_t)n + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
    return n <= s->n_ctx && n_pages <= kv_pool_budget(pool) / (int64_t)kv_pool_shape(pool)->page_bytes;
}

static enum err check_tokens(const struct engine_seq *s, const int32_t *tokens, int32_t n)
{
    if (n < 1) return ERR_ARG;
    if (!engine_seq_fits(s, n)) return ERR_LIMIT;
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= s->engine->model->p.n_vocab) return ERR_ARG;
    }
    return OK;
}

/* The sequence holds the prompt. */
static void end_fill(struct engine_seq *s, const struct engine_fill *fill)
{
    s->n_prompt = fill->n_prompt;
    kv_truncate(&s->kv, fill->n_prompt);
}

enum err engine_fill_begin(struct engine_seq *s, const int32_t *tokens, int32_t n, struct engine_fill *fill,
                           struct engine_reuse *reuse)
{
    *reuse = (struct engine_reuse){0};
    *fill = (struct engine_fill){.n_prompt = n};
    enum err e = check_tokens(s, tokens, n);
    if (e) return e;
    engine_adopt_pack(s->engine);
    s->last_use = ++s->engine->n_uses;

    struct plan plan = plan_own(s, tokens, n);
    import_better(s, tokens, n, cost_of(&plan, n), reuse);
    plan = plan_own(s, tokens, n);
    int32_t exact = min(plan.same, s->n_exact);
    e = move_runs(s, tokens, n, &plan);
    if (e) return e;
    reuse->n_reused = exact - min(exact, reuse->n_restored);
    reuse->n_restored = exact - reuse->n_reused;
    reuse->n_computed = cost_of(&plan, n);
    reuse->n_moved = n - exact - reuse->n_computed;
    list_gaps(&plan, tokens, n, &s->kv, fill);
    fill->max_exact = s->n_exact < plan.same ? s->n_exact : plan.n_runs ? plan.runs[0].to : n;
    for (int32_t i = 0; i < fill->n_gaps && s->engine->residency; i++)
        residency_expect(s->engine->residency, fill->gaps[i].tokens, fill->gaps[i].n);
    if (fill->n_gaps == 0) end_fill(s, fill);
    return OK;
}

bool engine_fill_is_done(const struct engine_fill *fill)
{
    return fill->first == fill->n_gaps;
}

enum err engine_fill_next(struct engine_seq *s, const struct engine_fill *fill, int32_t max,
                          struct forward_span *spans, int32_t *n_spans)
{
    *n_spans = 0;
    for (int32_t i = fill->first; i < fill->n_gaps && max > 0; i++) {
        struct forward_span *span = &spans[(*n_spans)++];
        *span = fill->gaps[i];
        span->n = min(span->n, max);
        max -= span->n;
        span->n_logits = span->pos + span->n == fill->n_prompt;
        enum err e = engine_seq_reserve(s, span->pos, span->pos + span->n);
        if (e) return e;
    }
    return OK;
}

void engine_fill_took(struct engine_seq *s, struct engine_fill *fill, const struct forward_span *spans,
                      int32_t n_spans)
{
    for (int32_t i = 0; i < n_spans; i++) {
        struct forward_span *gap = &fill->gaps[fill->first];
        memcpy(s->tokens + gap->pos, gap->tokens, (size_t)spans[i].n * sizeof *s->tokens);
        gap->tokens += spans[i].n;
        gap->pos += spans[i].n;
        gap->n -= spans[i].n;
        if (gap->n == 0) fill->first++;
    }
    bool is_done = engine_fill_is_done(fill);
    s->logit_row = -1;
    s->n_exact = min(fill->max_exact, is_done ? fill->n_prompt : fill->gaps[fill->first].pos);
    int32_t end = fill->gaps[fill->n_gaps - 1].pos; /* of what is there: the last gap is at the end */
    if (end > s->len) s->len = end;
    if (is_done) end_fill(s, fill);
}

enum err engine_seq_sync(struct engine_seq *s, const int32_t *tokens, int32_t n, const struct limits *limits,
                         struct engine_reuse *reuse)
{
    struct engine_fill fill;
    struct engine_reuse ignored;
    enum err e = engine_fill_begin(s, tokens, n, &fill, reuse ? reuse : &ignored);
    while (!e && !engine_fill_is_done(&fill)) {
        struct forward_span spans[TOKEN_RUNS_MAX + 1];
        int32_t n_spans;
        e = engine_fill_next(s, &fill, s->engine->n_batch, spans, &n_spans);
        if (!e) e = forward_run(s->engine->forward, spans, n_spans, s->logits, limits);
        if (e) break;
        engine_fill_took(s, &fill, spans, n_spans);
        if (engine_fill_is_done(&fill)) s->logit_row = 0;
    }
    return e ? e : engine_check(s->engine, NULL);
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
