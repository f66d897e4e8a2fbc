/* Runs: one computation each, shared by all who asked for the same.
 *
 * All candidates are submitted at once; the scheduler lets them share the prompt's KV. A run is waited for
 * even when nobody wants its answer any more: the engine thread uses it until each job's last mail. */
#include "service/service_impl.h"

#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "os/clock.h"

#define TEXT_MAX ((size_t)1 << 20) /* of an answer; a limit of tokens ends it long before */

/* Of the candidates after the first, if the request is greedy: enough to differ, not enough to ramble. */
#define OTHERS_TEMPERATURE 0.6f

enum err service_run_new(struct service *s, struct service_loaded *m, struct snapshot *take,
                         enum service_priority priority, uint64_t client, uint64_t document,
                         struct service_run **out)
{
    *out = NULL;
    struct service_run *run = mem_try(1, sizeof *run);
    struct service_job *jobs = mem_try((size_t)take->limits.n_candidates, sizeof *jobs);
    if (!run || !jobs) {
        mem_free(run);
        mem_free(jobs);
        snapshot_clear(take);
        return ERR_NOMEM;
    }
    *run = (struct service_run){.next = s->runs,
                                .model = m,
                                .snapshot = *take,
                                .priority = priority,
                                .client = client,
                                .document = document,
                                .jobs = jobs};
    buf_init(&run->text, TEXT_MAX);
    buf_init(&run->record, RECORD_BYTES_MAX);
    for (int32_t i = 0; i < take->limits.n_candidates; i++) {
        struct service_job *j = &jobs[i];
        *j = (struct service_job){.run = run, .index = i, .sampling = take->sampling, .word = -1};
        buf_init(&j->out, TEXT_MAX);
        if (i > 0 && !(j->sampling.temperature > 0)) j->sampling.temperature = OTHERS_TEMPERATURE;
        j->sampling.seed += (uint64_t)i;
    }
    s->runs = run;
    *out = run;
    return OK;
}

struct service_run *service_run_find(const struct service *s, const struct service_loaded *m,
                                     const struct snapshot *snapshot)
{
    for (struct service_run *run = s->runs; run; run = run->next) {
        if (run->model != m || run->is_over || run->is_cancelled) continue;
        if (snapshot_is_same(&run->snapshot, snapshot)) return run;
    }
    return NULL;
}

/* ---- On the engine's thread ---- */

static bool post(struct service_job *j, enum service_mail_kind kind, const char *text, size_t len)
{
    return service_mail_post(&j->run->model->service->box, kind, j, NULL, text, len);
}

static bool on_text(void *ctx, const char *text, size_t len)
{
    return post(ctx, SERVICE_MAIL_TEXT, text, len);
}

/* Of this document, or the least recently used. */
static struct fim_memo *memo_of(struct service_loaded *m, uint64_t document)
{
    struct service_memo *found = &m->memos[0];
    for (int i = 0; i < SERVICE_MEMOS; i++) {
        struct service_memo *memo = &m->memos[i];
        if (memo->document == document) {
            found = memo;
            break;
        }
        if (memo->last_use < found->last_use) found = memo;
    }
    found->document = document;
    found->last_use = ++m->n_memo_uses;
    return &found->memo;
}

static enum err build_prompt(struct service_run *run, struct errmsg *msg)
{
    if (run->is_prompt_built) return OK;
    struct fim_memo *memo = run->document ? memo_of(run->model, run->document) : NULL;
    enum err err = prompt_build(&run->model->fim, run->model->model, &run->snapshot.input,
                                run->snapshot.limits.max_prompt, memo, &run->prompt, msg);
    run->is_prompt_built = !err;
    if (err) prompt_clear(&run->prompt);
    return err;
}

static enum err prepare(void *ctx, struct engine_request *out, struct errmsg *msg)
{
    struct service_job *j = ctx;
    struct service_run *run = j->run;
    enum err err = build_prompt(run, msg);
    if (err) return err;
    struct generation_rules rules = run->snapshot.rules;
    rules.words = run->snapshot.words;
    if (j->index == 0) {
        rules.on_text = on_text;
        rules.ctx = j;
    }
    const struct prompt *p = &run->prompt;
    generation_init(&j->generation, &run->model->fim, &run->snapshot.input, &rules, &j->out);
    j->has_generation = true;
    *out = (struct engine_request){.prompt = p->tokens.ids,
                                   .n_prompt = p->tokens.n,
                                   .sampling = j->sampling,
                                   .max_tokens = run->snapshot.limits.max_tokens,
                                   .move_from = p->move_from,
                                   .max_prompt_ms = run->snapshot.max_prompt_ms,
                                   .max_predict_ms = run->snapshot.max_predict_ms,
                                   .draft_text = p->drafts.n ? p->drafts.ids : NULL,
                                   .n_draft_text = p->drafts.n,
                                   .heal = p->heal,
                                   .heal_len = p->heal_len,
                                   .on_token = generation_on_token,
                                   .ctx = &j->generation};
    return OK;
}

static void done(void *ctx, const struct scheduler_report *report)
{
    struct service_job *j = ctx;
    int64_t start = clock_ns();
    j->report = *report;
    j->err = report->err;
    if (report->outcome == SCHEDULER_DONE) {
        j->err = generation_finish(&j->generation, report->result.stop, &j->stop, &j->report.msg);
        if (j->stop == COMPLETE_WORD) j->word = j->generation.stop.word;
    }
    j->post_ms = clock_ms_since(start);
    (void)post(j, SERVICE_MAIL_DONE, NULL, 0);
}

/* ---- On the loop ---- */

void service_run_start(struct service_run *run)
{
    static const enum scheduler_priority priorities[] = {
        [SERVICE_ASKED] = SCHEDULER_ASKED,
        [SERVICE_TYPING] = SCHEDULER_TYPING,
        [SERVICE_WARMUP] = SCHEDULER_WARMUP,
        [SERVICE_PREFETCH] = SCHEDULER_PREFETCH,
    };
    run->n_unfinished = run->snapshot.limits.n_candidates;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        struct scheduler_request request = {.priority = priorities[run->priority],
                                            .client = run->client,
                                            .document = run->document,
                                            .prepare = prepare,
                                            .done = done,
                                            .ctx = &run->jobs[i]};
        run->jobs[i].handle = scheduler_submit(run->model->scheduler, &request);
    }
}

void service_run_cancel(struct service_run *run)
{
    run->is_cancelled = true;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        if (run->jobs[i].handle) scheduler_cancel(run->model->scheduler, run->jobs[i].handle);
    }
}

static void on_job_done(struct service *s, struct service_job *j)
{
    struct service_run *run = j->run;
    scheduler_release(&j->handle);
    run->n_unfinished--;
    service_registry_touch(run->model);
    if (j->report.is_model_lost) service_registry_lose(s, run->model, &j->report.msg);
    if (run->is_found) return; /* it is over, and was found elsewhere */
    if (j->index == 0 && j->out.len > run->text.len)
        buf_add(&run->text, j->out.data + run->text.len, j->out.len - run->text.len);
    if (run->n_unfinished > 0) return;
    run->is_over = true;
    service_cache_keep(s, run);
    service_watch_run(s, run);
}

void service_run_on_mail(struct service *s, const struct service_mail *mail)
{
    switch (mail->kind) {
    case SERVICE_MAIL_TEXT:
        if (!mail->job->run->is_found) buf_add(&mail->job->run->text, mail->text, mail->len);
        break;
    case SERVICE_MAIL_DONE:
        on_job_done(s, mail->job);
        break;
    case SERVICE_MAIL_LOADED:
    case SERVICE_MAIL_UNLOADED:
        break;
    }
}

/* ---- Answers ---- */

static bool is_answer(const struct service_job *j)
{
    return j->report.outcome == SCHEDULER_DONE && !j->err;
}

static struct service_candidate candidate_of(const struct service_job *j)
{
    const struct stop_word *word = j->word >= 0 ? &j->run->snapshot.words[j->word] : NULL;
    return (struct service_candidate){.text = buf_str(&j->out),
                                      .len = j->out.len,
                                      .stop = complete_stop_name(j->stop),
                                      .stopping_word = word ? word->text : "",
                                      .n_tokens = j->report.result.n_generated,
                                      .mean_logprob = j->report.result.mean_logprob};
}

/* Those of the candidates that say something of their own. */
static int32_t distinct(const struct service_run *run, struct service_candidate *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        if (!is_answer(&run->jobs[i])) continue;
        struct service_candidate c = candidate_of(&run->jobs[i]);
        bool is_new = true;
        for (int32_t j = 0; j < n; j++) {
            if (out[j].len == c.len && memcmp(out[j].text, c.text, c.len) == 0) is_new = false;
        }
        if (is_new) out[n++] = c;
    }
    return n;
}

static struct service_timings timings_of(const struct service_job *j)
{
    const struct engine_result *r = &j->report.result;
    return (struct service_timings){.queue = j->report.queue_ms,
                                    .context = j->report.prepare_ms,
                                    .prompt = r->prompt_ms,
                                    .predict = r->generate_ms,
                                    .post = j->post_ms,
                                    .n_prompt = r->n_prompt,
                                    .n_reused = r->reuse.n_reused,
                                    .n_restored = r->reuse.n_restored,
                                    .n_moved = r->reuse.n_moved,
                                    .n_computed = r->reuse.n_computed,
                                    .n_predicted = r->n_generated,
                                    .n_drafted = r->n_drafted,
                                    .n_accepted = r->n_accepted};
}

/* Errors that a client can do something about. */
static bool is_clients_fault(enum err err)
{
    return err == ERR_ARG || err == ERR_LIMIT;
}

void service_run_answer(const struct service_run *run, struct service_candidate *candidates,
                        struct service_answer *out)
{
    const struct service_job *first = &run->jobs[0];
    *out = (struct service_answer){.message = "",
                                   .quiet = "",
                                   .cache = "",
                                   .cache_miss = "",
                                   .model = run->model->name,
                                   .n_ctx = run->model->n_ctx,
                                   .seq_id = first->report.seq,
                                   .was_shared = run->was_shared,
                                   .prompt_truncated = run->snapshot.was_cut || run->prompt.was_cut};
    if (run->is_found) {
        memcpy(candidates, run->found.candidates, (size_t)run->found.n * sizeof *candidates);
        out->candidates = candidates;
        out->n_candidates = run->found.n;
        return;
    }
    out->timings = timings_of(first);
    bool is_void = run->is_cancelled && run->model->is_lost; /* also where another run noticed that */
    if (is_answer(first) && !is_void) {
        out->candidates = candidates;
        out->n_candidates = distinct(run, candidates);
        return;
    }
    out->outcome = is_clients_fault(first->err) ? SERVICE_BAD : SERVICE_ERROR;
    out->message = *first->report.msg.text ? first->report.msg.text : err_text(ERR_CANCELLED);
    if (run->model->is_lost) out->message = run->model->error.text;
}

/* ---- The end ---- */

static void free_run(struct service *s, struct service_run *run)
{
    service_cache_end(s, run);
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        struct service_job *j = &run->jobs[i];
        scheduler_release(&j->handle);
        generation_clear(&j->generation);
        buf_clear(&j->out);
    }
    mem_free(run->jobs);
    prompt_clear(&run->prompt);
    snapshot_clear(&run->snapshot);
    buf_clear(&run->text);
    mem_free(run);
}

void service_run_sweep(struct service *s, bool all)
{
    for (struct service_run **at = &s->runs; *at;) {
        struct service_run *run = *at;
        bool is_needed = run->n_tickets > 0 || run->n_unfinished > 0;
        if (is_needed && !all) {
            at = &run->next;
            continue;
        }
        *at = run->next;
        free_run(s, run);
    }
}
