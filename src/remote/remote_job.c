/* One request, from its arrival to its report: which server it is asked of, failing over, hedging, deadlines;
 * see remote_impl.h.
 *
 * A job has no states of its own: it is running while one of its attempts is under way, else it waits. */
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "remote/remote_impl.h"

/* A request for a prompt: beyond what any server takes as one. */
#define BODY_MAX ((size_t)16 << 20)

/* Before the same server is asked again: what has just been restarted, or was overrun, needs a moment, and
 * not all who failed should come back together. */
#define RETRY_MIN_MS    50
#define RETRY_SPREAD_MS 100

#define N_ATTEMPTS ((int32_t)(sizeof((struct remote_job *)0)->attempts / sizeof(struct attempt)))

bool remote_job_is_running(const struct remote_job *j)
{
    return j->attempts[0].transfer || j->attempts[1].transfer;
}

void remote_job_unref(struct remote_job *j)
{
    /* Release what this owner wrote, acquire what the other did. */
    if (atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) == 1) mem_free(j);
}

void remote_job_begin(struct remote *r, struct remote_job *j)
{
    struct remote_job **at = &r->jobs;
    while (*at && (*at)->r.priority <= j->r.priority) at = &(*at)->next;
    j->next = *at;
    *at = j;
    buf_init(&j->body, BODY_MAX);
    j->deadline_ns = j->submitted_ns + r->timeout_ns;
    if (j->r.max_first_ms > 0) j->begin_by_ns = j->submitted_ns + (int64_t)(j->r.max_first_ms * 1e6);
    for (int32_t i = 0; i < N_ATTEMPTS; i++) j->attempts[i].remote = r;
    r->last_asked_ns = j->submitted_ns;
}

/* --- The end ------------------------------------------------------------------------------------------ */

static double ms_between(int64_t from_ns, int64_t to_ns)
{
    return (double)(to_ns - from_ns) / 1e6;
}

static void write_report(struct remote_job *j)
{
    struct remote_report *report = &j->report;
    int64_t now = clock_ns();
    report->queue_ms = ms_between(j->submitted_ns, j->sent_ns ? j->sent_ns : now);
    if (j->sent_ns) report->first_ms = ms_between(j->sent_ns, j->first_ns ? j->first_ns : now);
    if (j->first_ns) report->generate_ms = ms_between(j->first_ns, now);
    if (report->n_generated == 0) report->n_generated = j->n_counted;
    if (j->n_logprobs > 0) report->mean_logprob = j->logprob / j->n_logprobs;
}

void remote_job_end(struct remote *r, struct remote_job *j, enum remote_outcome outcome)
{
    for (int32_t i = 0; i < N_ATTEMPTS; i++) remote_attempt_leave(&j->attempts[i], SERVER_END_LEFT);
    struct remote_job **at = &r->jobs;
    while (*at != j) at = &(*at)->next;
    *at = j->next;
    j->report.outcome = outcome;
    if (outcome != REMOTE_FAILED) {
        j->report.err = OK;
        j->report.msg.text[0] = '\0';
    }
    write_report(j);
    buf_clear(&j->body);
    r->has_changed = true;
    j->r.done(j->r.ctx, &j->report);
    remote_job_unref(j);
}

static void end_with(struct remote *r, struct remote_job *j, enum remote_stop stop)
{
    j->report.stop = stop;
    remote_job_end(r, j, REMOTE_DONE);
}

void remote_job_cancel(struct remote *r, struct remote_job *j)
{
    if (j->has_text)
        end_with(r, j, REMOTE_STOP_CANCEL);
    else
        remote_job_end(r, j, REMOTE_CANCELLED);
}

void remote_job_fail(struct remote *r, struct remote_job *j, enum err err, const struct errmsg *msg)
{
    j->report.err = err;
    j->report.msg = *msg;
    j->report.is_partial = j->has_text;
    remote_job_end(r, j, REMOTE_FAILED);
}

/* --- Attempts ----------------------------------------------------------------------------------------- */

static bool prepare(struct remote *r, struct remote_job *j, struct errmsg *msg)
{
    struct remote_ask ask;
    int64_t start = clock_ns();
    memset(&ask, 0, sizeof ask);
    enum err err = j->r.prepare(j->r.ctx, &r->traits, &ask, msg);
    if (!err) {
        j->max_tokens = ask.max_tokens > 0 ? ask.max_tokens : 1;
        j->path = dialect_write(r->api, &r->traits, &ask, &j->body);
        if (j->body.err)
            err = err_set(msg, j->body.err, "request: %s", err_text(j->body.err));
        else if (!j->path)
            err =
                err_set(msg, ERR_UNSUPPORTED, "%s: its API cannot be asked this", remote_servers_name(r, 0));
    }
    j->report.prepare_ms = clock_ms_since(start);
    j->report.err = err;
    j->is_prepared = true;
    balance_count(&r->balance);
    return !err;
}

/* When an answer must have begun for another server to have a chance; 0: there is no other one. */
static int64_t first_due_ns(struct remote *r, const struct remote_job *j, int32_t server, int64_t now)
{
    uint32_t others = j->tried | (uint32_t)1 << server;
    if (remote_servers_pick(r, j, others, now) == BALANCE_NONE) return 0;
    return now + (j->deadline_ns - now) / 2;
}

static void ask_server(struct remote *r, struct remote_job *j, struct attempt *a, int32_t server)
{
    struct errmsg msg = {""};
    if (!j->is_prepared && !prepare(r, j, &msg)) {
        remote_job_fail(r, j, j->report.err, &msg);
        return;
    }
    enum err err = remote_attempt_start(j, a, server, &msg);
    if (err)
        remote_job_fail(r, j, err, &msg);
    else
        a->first_due_ns = first_due_ns(r, j, server, a->start_ns);
}

static int64_t retry_ns(struct remote *r, int64_t now)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    return now + (RETRY_MIN_MS + (int64_t)(r->random >> 33) % RETRY_SPREAD_MS) * NS_PER_MS;
}

/* No server that has not failed the job can be asked. One that has is asked once more, if that may help. */
static void do_without(struct remote *r, struct remote_job *j, int64_t now)
{
    int64_t last_ns = remote_sooner(j->deadline_ns, j->begin_by_ns);
    if (j->tried != j->refused && !j->has_retried &&
        remote_servers_pick(r, j, j->refused, now) != BALANCE_NONE) {
        j->has_retried = true;
        j->tried = j->refused;
        j->not_before_ns = retry_ns(r, now);
        if (j->not_before_ns < last_ns) return;
    }
    if (remote_servers_is_trial(r, j->tried)) return; /* that is known soon */
    struct verdict why = {0};
    int64_t due_ns = remote_servers_why_none(r, now, &why);
    if (due_ns && due_ns < last_ns) {
        j->not_before_ns = due_ns;
        j->report.err = why.err; /* in case that all others are quicker */
        j->report.msg = why.msg;
    } else if (j->report.err && why.err != ERR_LIMIT) {
        remote_job_fail(r, j, j->report.err, &j->report.msg);
    } else {
        remote_job_fail(r, j, why.err, &why.msg);
    }
}

static void find_server(struct remote *r, struct remote_job *j, int64_t now)
{
    if (!r->traits.is_known || j->not_before_ns > now) return;
    j->not_before_ns = 0;
    int32_t server = remote_servers_pick(r, j, j->tried, now);
    if (server >= 0)
        ask_server(r, j, &j->attempts[0], server);
    else if (server == BALANCE_NONE)
        do_without(r, j, now);
}

void remote_job_attempt_ended(struct remote *r, struct remote_job *j, struct attempt *a,
                              const struct verdict *v)
{
    bool is_loser = j->winner && j->winner != a;
    const struct verdict left = {.end = SERVER_END_LEFT};
    remote_attempt_finish(a, is_loser ? &left : v);
    if (is_loser) return;
    if (v->err == OK) {
        end_with(r, j, a->is_over ? a->stop : REMOTE_STOP_ENOUGH);
        return;
    }
    if (v->err == ERR_NOT_FOUND) remote_learn_again(r, clock_ns());
    if (v->is_final || j->has_text) {
        remote_job_fail(r, j, v->err, &v->msg);
        return;
    }
    if (j->winner) { /* a token without text: nothing was shown */
        j->winner = NULL;
        j->first_ns = j->end_by_ns = 0;
        j->report.server = -1;
    }
    j->report.err = v->err;
    j->report.msg = v->msg;
    uint32_t bit = (uint32_t)1 << a->server;
    if (v->is_lasting) j->refused |= bit;
    if (v->end != SERVER_END_LIMITED) j->tried |= bit; /* else it rests anyway */
}

/* --- Looking after it --------------------------------------------------------------------------------- */

/* An answer that has not begun when it should have: of a second server too, if there is one. */
static void hedge(struct remote *r, struct remote_job *j, struct attempt *a, bool is_very_late, int64_t now)
{
    struct attempt *second = a == &j->attempts[0] ? &j->attempts[1] : &j->attempts[0];
    if (second->transfer || j->report.was_hedged || remote_is_background(j)) return;
    int32_t server = remote_servers_pick(r, j, j->tried | (uint32_t)1 << a->server, now);
    if (server < 0 || !balance_take_hedge(&r->balance, is_very_late)) return;
    if (remote_attempt_start(j, second, server, NULL) != OK) return; /* the first goes on */
    j->report.was_hedged = true;
    r->servers[a->server].n_hedged++;
}

/* Time has passed for an attempt. */
static void check_attempt(struct remote *r, struct remote_job *j, struct attempt *a, int64_t now)
{
    if (a->connect_due_ns && (a->has_begun || transfer_is_connected(a->transfer))) a->connect_due_ns = 0;
    bool is_unconnected = a->connect_due_ns && now >= a->connect_due_ns;
    bool is_late = !a->has_begun && a->first_due_ns && now >= a->first_due_ns;
    if (is_unconnected || is_late) {
        struct verdict v;
        remote_verdict_late(r, a->server, !is_unconnected, is_unconnected ? r->connect_ns : now - a->start_ns,
                            &v);
        remote_job_attempt_ended(r, j, a, &v);
        return;
    }
    if (a->has_begun || !a->late_ns || now < a->late_ns) return;
    server_still_waiting(&r->servers[a->server], ms_between(a->start_ns, now));
    bool is_very_late = a->is_late;
    a->is_late = true;
    a->late_ns = now + (now - a->start_ns);
    hedge(r, j, a, is_very_late, now);
}

/* One that has lost to the other. */
static void leave_loser(struct remote_job *j)
{
    for (int32_t i = 0; i < N_ATTEMPTS; i++) {
        if (&j->attempts[i] != j->winner) remote_attempt_leave(&j->attempts[i], SERVER_END_LEFT);
    }
}

/* The time of the whole request is over. That is the fault of servers which have been silent for a good part
 * of it, not of those that were asked late, or are only slow. */
static void run_out(struct remote *r, struct remote_job *j, int64_t now)
{
    struct verdict v = {.err = j->report.err, .msg = j->report.msg};
    for (int32_t i = 0; i < N_ATTEMPTS; i++) {
        struct attempt *a = &j->attempts[i];
        if (!a->transfer) continue;
        remote_verdict_late(r, a->server, true, r->timeout_ns, &v);
        if (now - a->heard_ns < r->timeout_ns / 4) v.end = SERVER_END_LEFT;
        remote_attempt_finish(a, &v);
    }
    if (j->has_text) {
        end_with(r, j, REMOTE_STOP_TIME);
        return;
    }
    if (!v.err)
        v.err = err_set(&v.msg, ERR_NETWORK, "%s: all connections were taken for %d ms",
                        remote_servers_name(r, 0), (int)(r->timeout_ns / NS_PER_MS));
    remote_job_fail(r, j, v.err, &v.msg);
}

/* Ends it if it is time to. */
static bool check_deadlines(struct remote *r, struct remote_job *j, int64_t now)
{
    if (j->winner && j->winner->is_over && now >= j->winner->linger_ns) {
        remote_attempt_leave(j->winner, SERVER_END_OK);
        end_with(r, j, j->winner->stop);
    } else if (now >= j->deadline_ns) {
        run_out(r, j, now);
    } else if (j->end_by_ns && now >= j->end_by_ns) {
        remote_attempt_leave(j->winner, SERVER_END_OK);
        end_with(r, j, REMOTE_STOP_TIME);
    } else if (j->begin_by_ns && !j->winner && now >= j->begin_by_ns) {
        end_with(r, j, REMOTE_STOP_TIME);
    } else {
        return false;
    }
    return true;
}

void remote_job_advance(struct remote *r, struct remote_job *j, int64_t now)
{
    if (atomic_load_explicit(&j->is_cancelled, memory_order_relaxed)) {
        remote_job_cancel(r, j);
        return;
    }
    if (j->winner) leave_loser(j);
    if (check_deadlines(r, j, now)) return;
    for (int32_t i = 0; i < N_ATTEMPTS; i++) {
        if (j->attempts[i].transfer) check_attempt(r, j, &j->attempts[i], now);
    }
    if (!remote_job_is_running(j)) find_server(r, j, now);
}

static int64_t attempt_due_ns(const struct attempt *a)
{
    if (!a->transfer) return 0;
    if (a->is_over) return a->linger_ns;
    if (a->has_begun) return 0;
    return remote_sooner(a->connect_due_ns, remote_sooner(a->first_due_ns, a->late_ns));
}

int64_t remote_job_due_ns(const struct remote_job *j)
{
    int64_t due_ns = remote_sooner(j->deadline_ns, j->end_by_ns);
    if (!j->winner) due_ns = remote_sooner(due_ns, j->begin_by_ns);
    for (int32_t i = 0; i < N_ATTEMPTS; i++) due_ns = remote_sooner(due_ns, attempt_due_ns(&j->attempts[i]));
    return remote_sooner(due_ns, j->not_before_ns);
}
