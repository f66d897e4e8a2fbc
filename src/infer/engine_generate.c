/* The decode loop: sample, report, append, until something says stop; several tokens a pass where a draft
 * proves right. */
#include "base/mem.h"
#include "infer/engine_impl.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/clock.h"

struct run {
    struct engine_seq *s;
    const struct engine_request *r;
    struct sampler *sampler;
    struct engine_result *result;
    bool is_over; /* result->stop says why */
};

static void stop(struct run *run, enum engine_stop why)
{
    run->result->stop = why;
    run->is_over = true;
}

/* Choose the next token from logits and hand it to the caller. Returns it; void when the run is over. */
static int32_t choose(struct run *run, const float *logits)
{
    const struct tokenizer *tokenizer = run->s->engine->model->tokenizer;
    int32_t token = sampler_pick(run->sampler, logits);
    if (tokenizer_is_eog(tokenizer, token)) {
        stop(run, ENGINE_STOP_EOG);
        return token;
    }
    sampler_accept(run->sampler, token);
    run->result->n_generated++;
    size_t len;
    const char *bytes = tokenizer_piece(tokenizer, token, &len);
    if (!run->r->on_token(run->r->ctx, token, bytes, len))
        stop(run, ENGINE_STOP_CALLER);
    else if (run->result->n_generated == run->r->max_tokens || run->s->len + 1 > run->s->n_ctx)
        stop(run, ENGINE_STOP_LIMIT); /* the last token's successor is never asked for */
    return token;
}

/* Tokens of a draft that fit: the answer's and the context's limits. */
static int32_t draft_room(const struct run *run)
{
    int32_t left = run->r->max_tokens - run->result->n_generated - 1;
    int32_t room = run->s->n_ctx - run->s->len - 2;
    if (room < left) left = room;
    return left < DRAFT_MAX ? left : DRAFT_MAX;
}

/* Append batch[0], which was chosen, and verify the draft behind it in the same pass: a drafted token is
 * right if it is what the sampler chooses. Returns the token chosen after the last one that was right. */
static enum err append(struct run *run, int32_t *batch, const struct limits *limits, int32_t *next)
{
    struct engine_seq *s = run->s;
    struct draft *draft = s->engine->draft;
    int32_t n_draft = 0, n_right = 0, n_vocab = s->engine->model->p.n_vocab;
    if (draft) {
        draft_add(draft, batch, 1);
        int32_t room = draft_room(run);
        n_draft = room > 0 ? draft_propose(draft, batch + 1, room) : 0;
    }
    int64_t start = clock_ns();
    int32_t before = s->len;
    mem_guard_begin("decode");
    enum err e = engine_seq_extend(s, batch, 1 + n_draft, 1 + n_draft, limits);
    mem_guard_end();
    if (e) return e;
    double ms = clock_ms_since(start);
    *next = choose(run, s->logits);
    while (!run->is_over && n_right < n_draft && *next == batch[1 + n_right]) {
        n_right++;
        if (draft) draft_add(draft, next, 1);
        *next = choose(run, s->logits + (size_t)n_right * (size_t)n_vocab);
    }
    if (n_right < n_draft) {
        engine_seq_cut(s, before + 1 + n_right);
        s->logit_row = n_right;
    }
    if (draft) draft_learn(draft, n_draft, n_right, ms);
    run->result->n_drafted += n_draft;
    run->result->n_accepted += n_right;
    return OK;
}

static enum err decode(struct run *run, const struct limits *limits)
{
    int32_t batch[1 + DRAFT_MAX];
    if (run->r->max_tokens < 1) {
        stop(run, ENGINE_STOP_LIMIT);
        return OK;
    }
    if (limits_are_over(limits)) return ERR_CANCELLED;
    batch[0] = choose(run, engine_seq_logits(run->s));
    while (!run->is_over) {
        enum err e = append(run, batch, limits, &batch[0]);
        if (e) return e;
    }
    return OK;
}

static void start_drafts(struct draft *draft, const struct engine_request *r)
{
    if (!draft) return;
    draft_reset(draft);
    if (r->draft_text)
        draft_add(draft, r->draft_text, r->n_draft_text);
    else
        draft_add(draft, r->prompt, r->n_prompt);
}

static struct limits limits_of(const struct engine_request *r, double ms)
{
    return (struct limits){.cancel = r->cancel, .deadline_ns = ms > 0 ? clock_ns() + (int64_t)(ms * 1e6) : 0};
}

enum err engine_generate(struct engine_seq *s, const struct engine_request *r, struct engine_result *result,
                         struct errmsg *msg)
{
    *result = (struct engine_result){.n_prompt = r->n_prompt};
    struct run run = {.s = s, .r = r, .result = result};
    enum err e = sampler_new(&r->sampling, s->engine->model->tokenizer, &run.sampler, msg);
    if (e) return e;
    struct limits limits = limits_of(r, r->max_prompt_ms);
    int64_t start = clock_ns();
    engine_seq_allow_move(s, r->move_from);
    e = engine_seq_sync(s, r->prompt, r->n_prompt, &limits, &result->reuse);
    result->prompt_ms = clock_ms_since(start);
    start = clock_ns();
    if (!e) {
        limits = limits_of(r, r->max_predict_ms);
        for (int32_t i = 0; i < r->n_prompt; i++) sampler_accept(run.sampler, r->prompt[i]);
        start_drafts(s->engine->draft, r);
        e = decode(&run, &limits);
    }
    result->generate_ms = clock_ms_since(start);
    sampler_free(&run.sampler);
    if (e == ERR_CANCELLED) {
        bool is_cancelled = r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed);
        result->stop = is_cancelled ? ENGINE_STOP_CANCEL : ENGINE_STOP_TIME;
        return OK;
    }
    if (e == ERR_LIMIT)
        return err_set(msg, e,
                       "a prompt of %d tokens does not fit the context of %d tokens or the memory for KV",
                       r->n_prompt, s->n_ctx);
    if (e) return err_set(msg, e, "cannot compute a prompt of %d tokens: %s", r->n_prompt, err_text(e));
    return OK;
}
