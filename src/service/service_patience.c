/* A local model in place of servers that are late or gone.
 *
 * Who types and is to be answered from another machine waits a while for the answer to begin. Then the spare
 * model answers, and the servers go on for the caches: their answer is found when more of it has been typed.
 * Where they have failed, the spare model answers at once. Prompts that a client wrote for one model are not
 * given to another. */
#include "service/service_impl.h"

#include "base/log.h"
#include "os/clock.h"

void service_patience_begin(struct service *s, struct service_ticket *t, struct service_loaded *spare)
{
    if (!t->run || t->run->snapshot.input.is_raw) return;
    t->spare = spare;
    if (t->priority == SERVICE_TYPING) t->patience_ns = t->start_ns + (int64_t)(s->o.patience_ms * 1e6);
}

/* Its spare model may answer once patience is over. */
static bool is_waiting(const struct service_ticket *t)
{
    if (!t->spare || t->patience_ns == 0 || t->spare->state != SERVICE_READY) return false;
    return t->run && !t->run->is_over && t->n_typed == 0 && t->run->text.len == 0;
}

int64_t service_patience_due_ns(const struct service *s)
{
    int64_t due = 0;
    for (const struct service_ticket *t = s->first; t; t = t->next) {
        if (is_waiting(t) && (due == 0 || t->patience_ns < due)) due = t->patience_ns;
    }
    return due;
}

/* The question of the run, for a model with another context. */
static enum err ask_again(const struct service_run *run, const struct service_loaded *m, struct snapshot *out)
{
    struct snapshot as = run->snapshot; /* only read */
    int32_t most = m->n_ctx - as.limits.max_tokens;
    if (as.limits.max_prompt > most) as.limits.max_prompt = most;
    return most > 0 ? snapshot_take_after(&as, "", 0, out) : ERR_LIMIT;
}

/* The run has nobody who waits for it: it goes on for the caches, as if the service had asked by itself. */
static void keep_run(struct service *s, struct service_run *run, uint64_t client, uint64_t document)
{
    struct service_ticket *own = service_ticket_own(s, client, document);
    own->model = run->model;
    own->run = run;
    run->n_tickets++;
    if (!s->o.store || !s->govern.orders.background) service_cancel(s, own);
}

/* The ticket is answered by its spare model instead, because of `why`. False: it cannot be. */
static bool switch_over(struct service *s, struct service_ticket *t, const struct errmsg *why)
{
    struct snapshot snapshot = {0};
    struct service_loaded *spare = t->spare;
    struct service_run *run = t->run;
    if (spare->state != SERVICE_READY || ask_again(run, spare, &snapshot)) return false;
    log_line(LOG_INFO, "%s answers instead of %s: %s", spare->name, run->model->name, why->text);
    service_watch_count(s, METRIC_REMOTE_FALLBACKS, 0, 1);
    t->fallback = *why;
    t->spare = NULL;
    t->sources = sources_copy(run->sources);
    run->n_tickets++; /* until somebody else has it */
    service_leave(t);
    service_registry_touch(spare);
    service_submit_snapshot(s, t, spare, &snapshot);
    run->n_tickets--;
    if (!run->is_over && run->n_tickets == 0) keep_run(s, run, t->client, t->document);
    return true;
}

void service_patience_tick(struct service *s)
{
    int64_t now = clock_ns();
    uint64_t end = s->next_number;
    for (struct service_ticket *t = s->first; t && t->number < end; t = t->next) {
        struct errmsg why = {0};
        if (!is_waiting(t) || t->patience_ns > now) continue;
        err_set(&why, OK, "%s had not begun to answer after %.0f ms", t->run->model->name, s->o.patience_ms);
        if (!switch_over(s, t, &why)) t->patience_ns = 0;
    }
}

bool service_patience_takes_over(struct service *s, struct service_ticket *t)
{
    const struct service_run *run = t->run;
    if (!t->spare || !run || !run->is_over || run->is_found || t->n_given > 0) return false;
    const struct service_job *first = &run->jobs[0];
    struct errmsg why = first->report.msg;
    return first->report.outcome == SCHEDULER_FAILED && switch_over(s, t, &why);
}
