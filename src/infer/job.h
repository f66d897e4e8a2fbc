/* One completion in steps, so that many can share the passes over the weights.
 *
 * A job makes its sequence hold a prompt and then decodes, but never runs the model itself: job_want says
 * which tokens it wants computed next, the caller puts the wishes of several jobs into one pass
 * (forward_run), and job_took hands each its logits. engine_generate is the loop over a single job.
 *
 *     job_start ── prefill: job_want -> pass -> job_took, until the prompt is there
 *                  decode:  job_want -> pass -> job_took (samples, calls on_token), until something says stop
 *
 * Thread: engine. */
#ifndef INFER_JOB_H
#define INFER_JOB_H

#include "infer/engine.h"
#include "infer/forward.h"
#include "infer/token_diff.h"

/* What a job wants computed in one pass; spans of a prompt may have gaps between them. */
struct job_want {
    struct forward_span spans[TOKEN_RUNS_MAX + 1];
    int32_t n_spans;
    int32_t n_tokens; /* of all spans */
    int32_t n_logits; /* likewise; rows that job_took will read */
    bool is_prefill;
};

struct job;

/* Begin: reuse what there is, reserve KV, prepare the sampler. The request and what it points to must stay
 * until job_finish. The sequence is busy until then: its KV is not evicted. result is zeroed and filled as
 * the job goes. Errors as engine_generate. */
MUST_CHECK enum err job_start(struct engine_seq *s, const struct engine_request *r,
                              struct engine_result *result, struct job **out, struct errmsg *msg);

bool job_is_over(const struct job *j);       /* result->stop says why */
bool job_is_prefilling(const struct job *j); /* its prompt is not all there */

/* What it wants next: at most max_tokens (>= 1) of the prompt, or its last token and a draft of at most
 * max_draft more. Reserves their KV. OK with no spans: the job has just become over (time, limits).
 * ERR_LIMIT: no memory for KV; the job can only be finished. */
MUST_CHECK enum err job_want(struct job *j, int32_t max_tokens, int32_t max_draft, struct job_want *want);

/* The pass is done: logits are the want's rows, [n_logits][n_vocab]; ms is what the pass took, or 0 if others
 * had a part in it. Calls on_token. */
void job_took(struct job *j, const struct job_want *want, const float *logits, double ms);

/* The pass was given up: nothing of it counts, the next job_want will ask again. */
void job_lost(struct job *j, const struct job_want *want);

/* End the job wherever it stands (`why` counts only if it is not over) and free it. What was computed stays
 * in the sequence for the next one. */
void job_finish(struct job **j, enum engine_stop why);

/* When it will be out of time, in clock_ns; 0: never. */
int64_t job_deadline_ns(const struct job *j);

#endif
