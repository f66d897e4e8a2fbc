/* What the engine's thread does with the requests whose turn has come: sequences for them, the next pass,
 * and tidying up when there are none. */
#include <math.h>

#include "base/mem.h"
#include "infer/engine_impl.h"
#include "infer/scheduler_impl.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/throttle.h"

/* Prefill holds back the next token of answers that are being decoded for no longer than this; and a
 * cancellation loses no more. A typist's next key cancels what is computed for this one: only passes that fit
 * between two keys, several times, bring a file that was just opened any further. */
#define PASS_MS 80
/* Prefill in passes of fewer tokens would pay for reading the weights more than for computing. */
#define CHUNK_MIN 16
/* Tokens that must be saved for a request to wait until another has computed them; and that must agree for
 * a sequence to be taken as one of the same text. */
#define ALIKE_MIN 64

static int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* --- Sequences ---------------------------------------------------------------------------------------- */

/* An idle sequence for j: the one that served its document last, else of those that serve none the one that
 * begins most like it, else the one not used for longest. There are more sequences than running jobs. */
static struct slot *choose_slot(struct scheduler *s, const struct scheduler_job *j)
{
    struct slot *own = NULL, *alike = NULL, *oldest = NULL;
    int32_t best = ALIKE_MIN;
    for (int32_t i = 0; i < s->n_slots; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->job) continue;
        if (!oldest || slot->last_use < oldest->last_use) oldest = slot;
        if (slot->document) {
            bool is_own = slot->document == j->r.document;
            if (is_own && (!own || slot->last_use > own->last_use)) own = slot;
            continue;
        }
        int32_t same =
            token_common(slot->seq->tokens, slot->seq->len, j->request.prompt, j->request.n_prompt);
        if (same > best && same > slot->seq->len / 2) best = same, alike = slot;
    }
    return own ? own : alike ? alike : oldest;
}

/* Tokens at j's beginning that some sequence holds. */
static int32_t n_there(const struct scheduler *s, const struct scheduler_job *j)
{
    int32_t best = 0;
    for (int32_t i = 0; i < s->n_slots; i++) {
        const struct engine_seq *seq = s->slots[i].seq;
        best = max(best, token_common(seq->tokens, seq->n_exact, j->request.prompt, j->request.n_prompt));
    }
    return best;
}

/* Another is computing much of what j needs; once j waits for that, it waits for all of it. Of people's
 * requests none waits for a background one, which stands still while they run. */
static bool should_wait(const struct scheduler *s, const struct scheduler_job *j)
{
    int32_t there = -1, worth = j->is_sharing ? 0 : ALIKE_MIN;
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct scheduler_job *o = s->running[i];
        if (!o->job || !job_is_prefilling(o->job) || scheduler_is_cancelled(o)) continue;
        if (scheduler_is_background(o) && !scheduler_is_background(j)) continue;
        int32_t same =
            token_common(o->request.prompt, o->request.n_prompt, j->request.prompt, j->request.n_prompt);
        if (same <= ALIKE_MIN) continue;
        if (there < 0) there = n_there(s, j);
        if (same - there > worth) return true;
    }
    return false;
}

static bool has_begun(const struct scheduler_job *j)
{
    return j->job != NULL;
}

/* End the background jobs that hold KV; true if there were any. */
static bool shed_background(struct scheduler *s)
{
    bool any = false;
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct scheduler_job *j = s->running[i];
        if (!has_begun(j) || !scheduler_is_background(j)) continue;
        scheduler_end_job(s, j);
        any = true;
    }
    return any;
}

static bool others_have_begun(const struct scheduler *s)
{
    for (int32_t i = 0; i < s->n_running; i++) {
        if (has_begun(s->running[i])) return true;
    }
    return false;
}

static enum err start(struct scheduler_job *j)
{
    return job_start(j->slot->seq, &j->request, &j->report.result, &j->job, &j->report.msg);
}

/* Give j a sequence and start it. Where those that run hold all the memory for KV, it stays as it is until
 * one of them has ended. False: it failed and has left. */
static bool begin(struct scheduler *s, struct scheduler_job *j)
{
    j->slot = choose_slot(s, j);
    enum err e = start(j);
    if (e == ERR_LIMIT && engine_seq_fits(j->slot->seq, j->request.n_prompt)) {
        if (!scheduler_is_background(j) && shed_background(s)) e = start(j);
        if (e == ERR_LIMIT && others_have_begun(s)) {
            j->slot = NULL;
            j->retry_at = s->n_left + 1;
            return true;
        }
    }
    if (e) {
        j->slot = NULL;
        j->report.err = e;
        scheduler_end_job(s, j);
        return false;
    }
    j->slot->job = j;
    j->slot->document = j->r.document;
    j->slot->last_use = ++s->n_begun;
    j->slot->is_untidy = true;
    j->report.msg = (struct errmsg){0};
    j->report.seq = (int32_t)(j->slot - s->slots);
    j->report.queue_ms = clock_ms_since(j->submitted_ns);
    return true;
}

/* Background jobs stand still while others run. */
static bool stands_still(const struct scheduler *s, const struct scheduler_job *j)
{
    return scheduler_is_background(j) && !scheduler_is_background(s->running[0]);
}

void scheduler_begin_jobs(struct scheduler *s)
{
    for (int32_t i = 0; i < s->n_running;) {
        struct scheduler_job *j = s->running[i];
        bool is_here = true; /* others that leave stand behind it */
        if (scheduler_is_cancelled(j)) {
            scheduler_end_job(s, j);
            is_here = false;
        } else if (!has_begun(j) && s->n_left >= j->retry_at && !stands_still(s, j)) {
            j->is_sharing = should_wait(s, j);
            if (!j->is_sharing) is_here = begin(s, j);
        }
        i += is_here;
    }
}

void scheduler_end_cancelled(struct scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        if (scheduler_is_cancelled(s->running[i])) scheduler_end_job(s, s->running[i]);
    }
}

/* --- Passes ------------------------------------------------------------------------------------------- */

/* A pass while it is put together. */
struct pass {
    int32_t n_jobs, n_spans, n_tokens, n_logits;
    int32_t room; /* tokens that still fit */
    bool has_prefill;
    bool is_prefetch; /* all of it */
};

/* Add what j wants next. A job that has thereby become over, or failed, has no part in the pass. */
static void add_wish(struct scheduler *s, struct pass *p, struct scheduler_job *j, int32_t max_tokens,
                     int32_t max_draft)
{
    struct job_want *want = &j->want;
    enum err e = job_want(j->job, min(max_tokens, p->room), min(max_draft, p->room - 1), want);
    if (e) {
        j->report.err = err_set(&j->report.msg, e, "cannot go on with a prompt of %d tokens: %s",
                                j->request.n_prompt, err_text(e));
        return;
    }
    if (want->n_spans == 0) return;
    for (int32_t i = 0; i < want->n_spans; i++) s->spans[p->n_spans++] = want->spans[i];
    s->pass[p->n_jobs++] = j;
    p->n_tokens += want->n_tokens;
    p->n_logits += want->n_logits;
    p->room -= want->n_tokens;
    if (want->is_prefill) p->has_prefill = true;
    if (j->r.priority != SCHEDULER_PREFETCH) p->is_prefetch = false;
}

/* Tokens of prefill that a pass takes beside those that are decoded. */
static int32_t chunk_size(const struct scheduler *s, const struct pass *p)
{
    if (s->ms_per_token <= 0) return CHUNK_MIN;
    double n = fmin(PASS_MS / s->ms_per_token, s->engine->n_batch);
    return max((int32_t)n - p->n_tokens, CHUNK_MIN);
}

/* Decoding first, then prefill in the order of `running`. */
static struct pass assemble(struct scheduler *s)
{
    struct pass p = {.room = max(s->engine->n_batch, LOGIT_ROWS), .is_prefetch = true};
    int32_t n_decoding = 0, n = 0;
    while (n < s->n_running && !stands_still(s, s->running[n])) n++;
    for (int32_t i = 0; i < n; i++) {
        const struct scheduler_job *j = s->running[i];
        n_decoding += has_begun(j) && !job_is_prefilling(j->job);
    }
    for (int32_t i = 0; i < n && p.room > 0; i++) {
        struct scheduler_job *j = s->running[i];
        if (has_begun(j) && !job_is_prefilling(j->job))
            add_wish(s, &p, j, 1, n_decoding == 1 ? DRAFT_MAX : 0);
    }
    int32_t chunk = chunk_size(s, &p), n_before = p.n_tokens;
    for (int32_t i = 0; i < n && p.room > 0; i++) {
        struct scheduler_job *j = s->running[i];
        int32_t left = chunk - (p.n_tokens - n_before);
        if (left > 0 && has_begun(j) && job_is_prefilling(j->job)) add_wish(s, &p, j, left, 0);
    }
    return p;
}

/* When all of the pass will be out of time; 0: never. */
static int64_t deadline_of(const struct scheduler *s, int32_t n_jobs)
{
    int64_t last = 0;
    for (int32_t i = 0; i < n_jobs; i++) {
        int64_t deadline = job_deadline_ns(s->pass[i]->job);
        if (deadline == 0) return 0;
        if (deadline > last) last = deadline;
    }
    return last;
}

static enum err compute(struct scheduler *s, const struct pass *p)
{
    struct limits limits = {.cancel = &s->interrupt, .deadline_ns = deadline_of(s, p->n_jobs)};
    struct engine *engine = s->engine;
    /* What nobody waits for leaves the other processors to those who type. */
    forward_use_pool(engine->forward, p->is_prefetch ? engine->caller : engine->c.pool);
    scheduler_computing_begin(s, p->n_jobs);
    mem_guard_begin("a pass");
    enum err e = forward_run(engine->forward, s->spans, p->n_spans, s->logits, &limits);
    mem_guard_end();
    scheduler_computing_end(s);
    s->n_passes++;
    s->n_passes_lost += e != OK;
    s->n_tokens_passed += p->n_tokens;
    return e;
}

static void learn_speed(struct scheduler *s, const struct pass *p, double ms)
{
    if (!p->has_prefill || p->n_tokens < CHUNK_MIN || p->is_prefetch) return;
    double per_token = ms / p->n_tokens;
    if (s->ms_per_token <= 0) s->ms_per_token = per_token;
    s->ms_per_token += (per_token - s->ms_per_token) / 4;
}

/* Hand each job of the pass its logits, or the news that there are none. */
static void deliver(struct scheduler *s, const struct pass *p, bool is_lost, double ms)
{
    const float *logits = s->logits;
    for (int32_t i = 0; i < p->n_jobs; i++) {
        struct scheduler_job *j = s->pass[i];
        if (is_lost)
            job_lost(j->job, &j->want);
        else
            job_took(j->job, &j->want, logits, p->n_jobs == 1 ? ms : 0);
        logits += (size_t)j->want.n_logits * (size_t)s->engine->model->p.n_vocab;
    }
}

static void end_finished(struct scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct scheduler_job *j = s->running[i];
        if (has_begun(j) && (job_is_over(j->job) || j->report.err)) scheduler_end_job(s, j);
    }
}

void scheduler_run_pass(struct scheduler *s)
{
    struct pass p = assemble(s);
    if (p.n_jobs > 0) {
        int64_t before = clock_ns();
        enum err e = compute(s, &p);
        double ms = clock_ms_since(before);
        if (s->throttle) throttle_worked(s->throttle, (int64_t)(ms * 1e6));
        if (!e) learn_speed(s, &p, ms);
        bool is_void = e != OK; /* also where the weights are not what they were: before anything is told */
        for (int32_t i = 0; i < p.n_jobs; i++) is_void = scheduler_model_is_lost(s, s->pass[i]) || is_void;
        deliver(s, &p, is_void, ms);
    }
    end_finished(s);
}

void scheduler_end_job(struct scheduler *s, struct scheduler_job *j)
{
    struct scheduler_report *report = &j->report;
    if (has_begun(j)) scheduler_model_is_lost(s, j); /* nothing that was computed of it is reported as done */
    report->outcome = report->err ? SCHEDULER_FAILED : has_begun(j) ? SCHEDULER_DONE : SCHEDULER_CANCELLED;
    if (!has_begun(j)) report->queue_ms = clock_ms_since(j->submitted_ns);
    job_finish(&j->job, ENGINE_STOP_CANCEL);
    if (j->slot) j->slot->job = NULL;
    scheduler_leave(s, j);
}

/* --- Idle moments ------------------------------------------------------------------------------------- */

void scheduler_tidy(struct scheduler *s)
{
    struct limits limits = {.cancel = &s->interrupt};
    scheduler_computing_begin(s, 0);
    for (int32_t i = 0; i < s->n_slots && !limits_are_over(&limits); i++) {
        struct slot *slot = &s->slots[i];
        if (!slot->is_untidy) continue;
        if (engine_seq_refresh(slot->seq, &limits) == ERR_CANCELLED) break;
        engine_seq_save(slot->seq);
        slot->is_untidy = false;
    }
    scheduler_computing_end(s);
}
