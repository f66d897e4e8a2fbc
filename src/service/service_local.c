/* Models on this machine: a run's jobs are requests to the scheduler of its model. */
#include "service/service_impl.h"

#include "model/model.h"
#include "os/clock.h"

/* ---- On the engine's thread ---- */

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
        rules.on_text = service_job_text;
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
    service_job_done(j);
}

/* ---- On the loop ---- */

static void submit(struct service_job *j)
{
    static const enum scheduler_priority priorities[] = {
        [SERVICE_ASKED] = SCHEDULER_ASKED,
        [SERVICE_TYPING] = SCHEDULER_TYPING,
        [SERVICE_WARMUP] = SCHEDULER_WARMUP,
        [SERVICE_PREFETCH] = SCHEDULER_PREFETCH,
    };
    const struct service_run *run = j->run;
    struct scheduler_request request = {.priority = priorities[run->priority],
                                        .client = run->client,
                                        .document = run->document,
                                        .prepare = prepare,
                                        .done = done,
                                        .ctx = j};
    j->handle = scheduler_submit(run->model->scheduler, &request);
}

static void cancel(struct service_job *j)
{
    if (j->handle) scheduler_cancel(j->run->model->scheduler, j->handle);
}

static void release(struct service_job *j)
{
    scheduler_release(&j->handle);
}

const struct service_backend service_local = {submit, cancel, release};
