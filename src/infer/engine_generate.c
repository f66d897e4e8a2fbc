/* A completion alone: the loop over one job. */
#include "base/mem.h"
#include "infer/engine_impl.h"
#include "infer/job.h"
#include "os/clock.h"

/* Compute what the job wants next. A pass that its limits ended is lost, which job_want then finds out. */
static enum err run_pass(struct engine_seq *s, struct job *j, const struct engine_request *r)
{
    struct job_want want;
    enum err e = job_want(j, s->engine->n_batch, DRAFT_MAX, &want);
    if (e || want.n_spans == 0) return e;
    struct limits limits = {.cancel = r->cancel, .deadline_ns = job_deadline_ns(j)};
    int64_t start = clock_ns();
    mem_guard_begin("a pass");
    e = forward_run(s->engine->forward, want.spans, want.n_spans, s->logits, &limits);
    mem_guard_end();
    if (e)
        job_lost(j, &want);
    else
        job_took(j, &want, s->logits, clock_ms_since(start));
    return e == ERR_CANCELLED ? OK : e;
}

enum err engine_generate(struct engine_seq *s, const struct engine_request *r, struct engine_result *result,
                         struct errmsg *msg)
{
    struct job *j;
    enum err e = job_start(s, r, result, &j, msg);
    if (e) return e;
    while (!e && !job_is_over(j)) e = run_pass(s, j, r);
    job_finish(&j, ENGINE_STOP_CANCEL);
    if (e) return err_set(msg, e, "cannot go on with a prompt of %d tokens: %s", r->n_prompt, err_text(e));
    return engine_check(s->engine, msg);
}
