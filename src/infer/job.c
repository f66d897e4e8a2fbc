/* One completion in steps: the prompt, then sample, report and append until something says stop, several
 * tokens a pass where a draft proves right.
 *
 * An answer may have to begin by repeating what was taken off the prompt's end (token healing, as the
 * guidance library calls it): until that is done, tokens are chosen among those that fit, one a pass.
 *
 * What was computed belongs to the sequence as soon as job_took has seen it, so that a job may end anywhere.
 * The engine's drafts are lent to one job at a time: they make up for passes over the weights that compute
 * one token only, and where several jobs decode, passes compute several tokens as it is. */
#include "infer/job.h"

#include "base/mem.h"
#include "infer/engine_impl.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/clock.h"

enum phase { PROMPT, DECODE, OVER };

struct job {
    struct engine_seq *s;           /* borrowed */
    const struct engine_request *r; /* borrowed */
    struct engine_result *result;   /* borrowed */
    struct sampler *sampler;
    struct draft *draft; /* the engine's, lent; or null */
    const char *heal;    /* of the request: what the answer has yet to repeat */
    size_t heal_len;
    struct token_list forced; /* instead, where no token of the vocabulary would do; owned */
    int32_t n_forced;         /* of those, that were taken */
    enum phase phase;
    int64_t phase_start_ns;
    struct limits limits;          /* of the phase */
    struct engine_fill fill;       /* PROMPT */
    int32_t tokens[1 + DRAFT_MAX]; /* DECODE: the one that was chosen and is to be computed, and its draft */
};

static void enter(struct job *j, enum phase phase, double max_ms)
{
    j->phase = phase;
    j->phase_start_ns = clock_ns();
    j->limits = (struct limits){.cancel = j->r->cancel};
    if (max_ms > 0) j->limits.deadline_ns = j->phase_start_ns + (int64_t)(max_ms * 1e6);
}

static void stop(struct job *j, enum engine_stop why)
{
    double ms = clock_ms_since(j->phase_start_ns);
    if (j->phase == PROMPT)
        j->result->prompt_ms = ms;
    else
        j->result->generate_ms = ms;
    j->result->stop = why;
    j->phase = OVER;
}

/* Stop if the time of the phase is over, or the job was cancelled. */
static void check_limits(struct job *j)
{
    if (!limits_are_over(&j->limits)) return;
    bool is_cancelled = j->r->cancel && atomic_load_explicit(j->r->cancel, memory_order_relaxed);
    stop(j, is_cancelled ? ENGINE_STOP_CANCEL : ENGINE_STOP_TIME);
}

static bool is_healing(const struct job *j)
{
    return j->heal_len > 0 || j->n_forced < j->forced.n;
}

/* No token fits what is left to heal: take the text's own tokens. Out of memory, it is forgotten. */
static void give_up_healing(struct job *j)
{
    const struct tokenizer *t = j->s->engine->model->tokenizer;
    if (tokenizer_encode(t, j->heal, j->heal_len, 0, &j->forced)) j->forced.n = 0;
    j->heal_len = 0;
}

struct choice {
    int32_t id;
    double logprob;
    bool heals; /* it is, or begins with, text to be healed */
};

static struct choice pick(struct job *j, const float *logits)
{
    const struct engine *e = j->s->engine;
    double log_sum;
    if (j->heal_len > 0) {
        int32_t id = sampler_pick_start(j->sampler, logits, j->heal, j->heal_len, &log_sum);
        if (id != TOKEN_NONE) return (struct choice){id, (double)logits[id] - log_sum, .heals = true};
        give_up_healing(j);
    }
    if (j->n_forced < j->forced.n) return (struct choice){.id = j->forced.ids[j->n_forced++], .heals = true};
    int32_t id = sampler_pick(j->sampler, logits);
    log_sum = (double)e->c.kern->log_sum_exp(logits, e->model->p.n_vocab);
    return (struct choice){id, (double)logits[id] - log_sum, .heals = false};
}

/* How much of a token's bytes was to be healed; that is done then. */
static size_t heal(struct job *j, size_t len)
{
    if (j->forced.n > 0) return len;
    size_t n = len < j->heal_len ? len : j->heal_len;
    j->heal += n;
    j->heal_len -= n;
    return n;
}

/* Count a token and hand over those of its bytes that belong to the answer. False if the caller has enough.
 */
static bool report(struct job *j, const struct choice *c, const char *bytes, size_t len)
{
    struct engine_result *result = j->result;
    if (result->n_generated++ == 0) result->first_logprob = c->logprob;
    result->mean_logprob += (c->logprob - result->mean_logprob) / result->n_generated;
    return j->r->on_token(j->r->ctx, c->id, bytes, len);
}

/* Choose the next token from logits and hand it to the caller. Returns it; void when the job is over. */
static int32_t choose(struct job *j, const float *logits)
{
    const struct tokenizer *tokenizer = j->s->engine->model->tokenizer;
    struct choice choice = pick(j, logits);
    int32_t token = choice.id;
    if (!choice.heals && tokenizer_is_eog(tokenizer, token)) {
        stop(j, ENGINE_STOP_EOG);
        return token;
    }
    sampler_accept(j->sampler, token);
    size_t len;
    const char *bytes = tokenizer_piece(tokenizer, token, &len);
    size_t n_healed = choice.heals ? heal(j, len) : 0;
    bool goes_on = true;
    if (choice.heals && n_healed == len)
        j->result->n_healed++;
    else
        goes_on = report(j, &choice, bytes + n_healed, len - n_healed);
    if (!goes_on)
        stop(j, ENGINE_STOP_CALLER);
    else if (j->result->n_generated == j->r->max_tokens || j->s->len + 1 > j->s->n_ctx)
        stop(j, ENGINE_STOP_LIMIT); /* the last token's successor is never asked for */
    else if (j->draft)
        draft_add(j->draft, &token, 1);
    return token;
}

/* The prompt is there, and these are the logits after it. */
static void begin_decode(struct job *j, const float *logits)
{
    j->result->prompt_ms = clock_ms_since(j->phase_start_ns);
    enter(j, DECODE, j->r->max_predict_ms);
    if (j->r->max_tokens < 1)
        stop(j, ENGINE_STOP_LIMIT);
    else
        check_limits(j);
    if (j->phase == OVER) return;
    for (int32_t i = 0; i < j->r->n_prompt; i++) sampler_accept(j->sampler, j->r->prompt[i]);
    j->tokens[0] = choose(j, logits);
}

enum err job_start(struct engine_seq *s, const struct engine_request *r, struct engine_result *result,
                   struct job **out, struct errmsg *msg)
{
    *out = NULL;
    *result = (struct engine_result){.n_prompt = r->n_prompt};
    struct job *j = MEM_NEW(struct job);
    *j = (struct job){.s = s, .r = r, .result = result, .heal = r->heal, .heal_len = r->heal_len};
    enum err e = sampler_new(&r->sampling, s->engine->model->tokenizer, &j->sampler, msg);
    if (e) goto fail;
    enter(j, PROMPT, r->max_prompt_ms);
    engine_seq_allow_move(s, r->move_from);
    e = engine_fill_begin(s, r->prompt, r->n_prompt, &j->fill, &result->reuse);
    if (e == ERR_LIMIT)
        err_set(msg, e, "a prompt of %d tokens does not fit the context of %d tokens or the memory for KV",
                r->n_prompt, s->n_ctx);
    else if (e)
        err_set(msg, e, "cannot compute a prompt of %d tokens: %s", r->n_prompt, err_text(e));
    if (e) goto fail;
    s->is_busy = true;
    *out = j;
    return OK;

fail:
    sampler_free(&j->sampler);
    mem_free(j);
    return e;
}

void job_finish(struct job **jp, enum engine_stop why)
{
    struct job *j = *jp;
    *jp = NULL;
    if (!j) return;
    if (j->phase != OVER) stop(j, why);
    if (j->draft) j->s->engine->drafting = NULL;
    kv_truncate(&j->s->kv, j->s->len); /* what was reserved and not used */
    j->s->is_busy = false;
    token_list_clear(&j->forced);
    sampler_free(&j->sampler);
    mem_free(j);
}

bool job_is_over(const struct job *j)
{
    return j->phase == OVER;
}

bool job_is_prefilling(const struct job *j)
{
    return j->phase == PROMPT;
}

int64_t job_deadline_ns(const struct job *j)
{
    return j->limits.deadline_ns;
}

static enum err want_prompt(struct job *j, int32_t max, struct job_want *want)
{
    enum err e = engine_fill_next(j->s, &j->fill, max, want->spans, &want->n_spans);
    want->is_prefill = true;
    for (int32_t i = 0; i < want->n_spans; i++) {
        want->n_tokens += want->spans[i].n;
        want->n_logits += want->spans[i].n_logits;
    }
    return e;
}

/* Take the engine's drafts if nobody has them, and show them all of the text so far. */
static void borrow_draft(struct job *j)
{
    struct engine *e = j->s->engine;
    if (j->draft || !e->draft || e->drafting) return;
    e->drafting = j;
    j->draft = e->draft;
    draft_reset(j->draft);
    if (j->r->draft_text)
        draft_add(j->draft, j->r->draft_text, j->r->n_draft_text);
    else
        draft_add(j->draft, j->r->prompt, j->r->n_prompt);
    draft_add(j->draft, j->s->tokens + j->r->n_prompt, j->s->len - j->r->n_prompt);
    draft_add(j->draft, j->tokens, 1);
}

/* Tokens of a draft that fit: the answer's and the context's limits. */
static int32_t draft_room(const struct job *j, int32_t max)
{
    int32_t left = j->r->max_tokens - j->result->n_generated - 1;
    int32_t room = j->s->n_ctx - j->s->len - 2;
    if (room < left) left = room;
    return left < max ? left : max;
}

static void want_token(struct job *j, int32_t max_draft, struct job_want *want)
{
    if (max_draft > 0) borrow_draft(j);
    int32_t room = j->draft && !is_healing(j) ? draft_room(j, max_draft) : 0;
    int32_t n = 1 + (room > 0 ? draft_propose(j->draft, j->tokens + 1, room) : 0);
    enum err e = engine_seq_reserve(j->s, j->s->len, j->s->len + n);
    if (e && n > 1) {
        n = 1;
        e = engine_seq_reserve(j->s, j->s->len, j->s->len + n);
    }
    if (e) {
        stop(j, ENGINE_STOP_LIMIT); /* what is there is the answer */
        return;
    }
    want->spans[0] =
        (struct forward_span){.kv = &j->s->kv, .tokens = j->tokens, .n = n, .pos = j->s->len, .n_logits = n};
    want->n_spans = 1;
    want->n_tokens = want->n_logits = n;
}

enum err job_want(struct job *j, int32_t max_tokens, int32_t max_draft, struct job_want *want)
{
    *want = (struct job_want){0};
    if (j->phase == PROMPT && engine_fill_is_done(&j->fill))
        begin_decode(j, engine_seq_logits(j->s)); /* all of it was there */
    else if (j->phase != OVER)
        check_limits(j);
    if (j->phase == PROMPT) return want_prompt(j, max_tokens, want);
    if (j->phase == DECODE) want_token(j, max_draft, want);
    return OK;
}

/* The logits stay with the sequence if they are in its own memory. */
static void keep_logits(struct engine_seq *s, const float *logits, int32_t row)
{
    s->logit_row = logits == s->logits ? row : -1;
}

/* A drafted token is right if it is what the sampler chooses. What follows the last right one is next. */
static void took_tokens(struct job *j, int32_t n_draft, const float *logits, double ms)
{
    struct engine_seq *s = j->s;
    int32_t before = s->len, n_vocab = s->engine->model->p.n_vocab, n_right = 0;
    engine_seq_took(s, j->tokens, 1 + n_draft);
    int32_t next = choose(j, logits);
    while (j->phase != OVER && n_right < n_draft && next == j->tokens[1 + n_right]) {
        n_right++;
        next = choose(j, logits + (size_t)n_right * (size_t)n_vocab);
    }
    j->tokens[0] = next;
    engine_seq_cut(s, before + 1 + n_right);
    keep_logits(s, logits, n_right);
    if (j->draft) draft_learn(j->draft, n_draft, n_right, ms);
    j->result->n_drafted += n_draft;
    j->result->n_accepted += n_right;
}

void job_took(struct job *j, const struct job_want *want, const float *logits, double ms)
{
    if (!want->is_prefill) {
        took_tokens(j, want->n_tokens - 1, logits, ms);
        return;
    }
    engine_fill_took(j->s, &j->fill, want->spans, want->n_spans);
    if (!engine_fill_is_done(&j->fill)) return;
    keep_logits(j->s, logits, 0);
    begin_decode(j, logits);
}

void job_lost(struct job *j, const struct job_want *want)
{
    (void)want;
    j->s->logit_row = -1; /* overwritten, if they were the sequence's */
}
