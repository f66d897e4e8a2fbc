/* What is counted and timed of each request (watch/metrics.h). Requests of the service's own (prefetches) are
 * not counted; what they compute is. */
#include "service/service_impl.h"

#include <string.h>

#include "os/clock.h"
#include "watch/journal.h"
#include "watch/metrics.h"

#define ROLL_NS ((int64_t)1000000000) /* between two looks at the clock of windows */

enum source { SOURCE_REUSED, SOURCE_RESTORED, SOURCE_MOVED, SOURCE_COMPUTED }; /* METRIC_PROMPT_TOKENS */

void service_watch_count(struct service *s, enum metric_id id, int32_t label, int64_t n)
{
    metrics_add(s->o.metrics, id, label, n);
}

void service_watch_time(struct service *s, enum metric_id id, int32_t label, double ms)
{
    metrics_observe(s->o.metrics, id, label, ms / 1e3);
}

void service_watch_roll(struct service *s)
{
    int64_t now = clock_ns();
    if (!s->o.metrics || (s->watch.rolled_ns && now - s->watch.rolled_ns < ROLL_NS)) return;
    s->watch.rolled_ns = now;
    metrics_roll(s->o.metrics, now);
}

/* ---- Runs: what was computed, whoever asked for it ---- */

static void count_tokens(struct service *s, const struct engine_result *r)
{
    service_watch_count(s, METRIC_PROMPT_TOKENS, SOURCE_REUSED, r->reuse.n_reused);
    service_watch_count(s, METRIC_PROMPT_TOKENS, SOURCE_RESTORED, r->reuse.n_restored);
    service_watch_count(s, METRIC_PROMPT_TOKENS, SOURCE_MOVED, r->reuse.n_moved);
    service_watch_count(s, METRIC_PROMPT_TOKENS, SOURCE_COMPUTED, r->reuse.n_computed);
    service_watch_count(s, METRIC_PREDICTED_TOKENS, 0, r->n_generated);
    service_watch_count(s, METRIC_DRAFTED_TOKENS, 0, r->n_drafted);
    service_watch_count(s, METRIC_ACCEPTED_TOKENS, 0, r->n_accepted);
}

void service_watch_run(struct service *s, const struct service_run *run)
{
    for (int32_t i = 0; i < run->snapshot.limits.n_candidates; i++) {
        const struct service_job *j = &run->jobs[i];
        const struct engine_result *r = &j->report.result;
        if (j->report.outcome != SCHEDULER_DONE) continue;
        service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_QUEUE, j->report.queue_ms);
        service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_PREFILL, r->prompt_ms);
        service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_DECODE, r->generate_ms);
        service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_POST, j->post_ms);
        count_tokens(s, r);
        if (i > 0 || r->n_generated == 0) continue;
        service_watch_time(s, METRIC_FIRST_TOKEN_SECONDS, 0,
                           run->before_ms + j->report.queue_ms + j->report.prepare_ms + r->prompt_ms);
    }
}

/* ---- Answers ---- */

int32_t service_watch_label(enum metric_id id, const char *name)
{
    char value[32];
    for (int32_t i = 0; *name && metric_label_name(id, i, value); i++) {
        if (strcmp(value, name) == 0) return i;
    }
    return -1;
}

int32_t service_watch_error(const struct service_ticket *t, const struct service_answer *a)
{
    switch (a->outcome) {
    case SERVICE_OK:
    case SERVICE_SUPERSEDED:
    case SERVICE_SHED:
        return -1;
    case SERVICE_UNAVAILABLE:
        return t->run && t->model->elsewhere ? METRIC_ERROR_REMOTE : METRIC_ERROR_UNAVAILABLE;
    case SERVICE_BAD:
        return METRIC_ERROR_REQUEST;
    case SERVICE_ERROR:
        break;
    }
    if (t->model && t->model->is_lost) return METRIC_ERROR_MODEL;
    return !t->run || t->run->jobs[0].err == ERR_NOMEM ? METRIC_ERROR_MEMORY : METRIC_ERROR_INTERNAL;
}

/* An answer that joined a computation waited for it. */
static enum metric_answer answer_of(const struct service_ticket *t)
{
    if (t->has_source && t->source != CACHE_IN_FLIGHT) return METRIC_ANSWER_CACHED;
    return t->has_source || t->has_miss ? METRIC_ANSWER_COMPUTED : METRIC_ANSWER_NONE;
}

static void count_answer(struct service *s, const struct service_ticket *t, const struct service_answer *a)
{
    int32_t error = service_watch_error(t, a), quiet = service_watch_label(METRIC_QUIET, a->quiet);
    service_watch_count(s, METRIC_REQUESTS, (int32_t)a->outcome, 1);
    service_watch_count(s, METRIC_REQUESTS_BY_API, (int32_t)t->api, 1);
    if (error >= 0) service_watch_count(s, METRIC_ERRORS, error, 1);
    if (quiet >= 0) service_watch_count(s, METRIC_QUIET, quiet, 1);
    if (a->outcome != SERVICE_OK) return;
    if (t->has_source) {
        service_watch_count(s, METRIC_CACHE_HITS, (int32_t)t->source, 1);
    } else if (t->has_miss) {
        service_watch_count(s, METRIC_CACHE_MISSES, (int32_t)t->miss, 1);
    }
    service_watch_time(s, METRIC_REQUEST_SECONDS, (int32_t)answer_of(t), a->timings.total);
    if (a->timings.context > 0) /* begun here, ended on the engine's thread */
        service_watch_time(s, METRIC_STAGE_SECONDS, METRIC_STAGE_CONTEXT, a->timings.context);
}

void service_watch_answer(struct service *s, const struct service_ticket *t, const struct service_answer *a)
{
    count_answer(s, t, a);
    if (t->id) service_journal_answer(s, t, a);
}

void service_watch_cancelled(struct service *s, const struct service_ticket *t)
{
    if (t->is_own) return;
    service_watch_count(s, METRIC_REQUESTS, METRIC_OUTCOME_CANCELLED, 1);
    service_watch_count(s, METRIC_REQUESTS_BY_API, (int32_t)t->api, 1);
    if (t->id) service_journal_cancelled(s, t);
}

/* ---- What editors tell ---- */

void service_note(struct service *s, uint64_t id, enum service_event event, int64_t n_chars)
{
    static const enum journal_fate fates[] = {[SERVICE_SHOWN] = JOURNAL_SHOWN,
                                              [SERVICE_ACCEPTED] = JOURNAL_ACCEPTED,
                                              [SERVICE_PARTLY_ACCEPTED] = JOURNAL_PARTLY,
                                              [SERVICE_DISMISSED] = JOURNAL_DISMISSED};
    service_watch_count(s, METRIC_SUGGESTIONS, (int32_t)event, 1);
    service_watch_count(s, METRIC_SUGGESTION_CHARACTERS, (int32_t)event, n_chars);
    if (s->o.journal && id) journal_tell(s->o.journal, id, fates[event]);
}

void service_note_kept(struct service *s, bool is_kept)
{
    service_watch_count(s, METRIC_KEPT, is_kept ? 0 : 1, 1);
}
