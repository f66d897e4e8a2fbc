/* Runs: one computation each, shared by all who asked for the same, wherever it is computed
 * (service_backend).
 *
 * All candidates are submitted at once; a scheduler lets them share the prompt's KV. A run is waited for even
 * when nobody wants its answer any more: the backend's thread uses it until each job's last mail. */
#include "service/service_impl.h"

#include <string.h>

#include "base/mem.h"

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

/* ---- On the backend's thread ---- */

static bool post(struct service_job *j, enum service_mail_kind kind, const char *text, size_t len)
{
    return service_mail_post(&j->run->model->service->box, kind, j, NULL, text, len);
}

bool service_job_text(void *ctx, const char *text, size_t len)
{
    return post(ctx, SERVICE_MAIL_TEXT, text, len);
}

void service_job_done(struct service_job *j)
{
    (void)post(j, SERVICE_MAIL_DONE, NULL, 0);
}

/* ---- On the loop ---- */

void service_run_start(struct service_run *run)
{
    run->n_unfinished = run->snapshot.limits.n_candidates;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++)
        run->model->backend->submit(&run->jobs[i]);
}

void service_run_cancel(struct service_run *run)
{
    run->is_cancelled = true;
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++)
        run->model->backend->cancel(&run->jobs[i]);
}

static void on_job_done(struct service *s, struct service_job *j)
{
    struct service_run *run = j->run;
    if (j->is_broken_off && service_remote_mend(s, j)) return;
    run->model->backend->release(j);
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

static enum service_outcome failure_of(const struct service_run *run, enum err err)
{
    if (err == ERR_ARG) return SERVICE_BAD; /* the client can do something about that */
    if (run->model->elsewhere) return SERVICE_UNAVAILABLE;
    return err == ERR_LIMIT ? SERVICE_BAD : SERVICE_ERROR;
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
    out->outcome = failure_of(run, first->err);
    out->message = *first->report.msg.text ? first->report.msg.text : err_text(ERR_CANCELLED);
    if (run->model->is_lost) out->message = run->model->error.text;
}

/* ---- The end ---- */

static void free_run(struct service *s, struct service_run *run)
{
    service_cache_end(s, run);
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        struct service_job *j = &run->jobs[i];
        run->model->backend->release(j);
        generation_clear(&j->generation);
        buf_clear(&j->out);
    }
    mem_free(run->jobs);
    prompt_clear(&run->prompt);
    remote_prompt_clear(&run->remote_prompt);
    buf_clear(&run->masked);
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
