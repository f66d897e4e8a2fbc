/* Learning what the servers have: the questions of dialect.h, put to one server after another until one of
 * them answers all; see remote_impl.h.
 *
 * Requests wait for that only before anything is known. Later it is done beside them: when a server comes
 * back that was down (it may have been started with another model), and when a request's model was not found.
 */
#include <string.h>

#include "os/clock.h"
#include "remote/remote_impl.h"

#define NS_PER_S ((int64_t)1000000000)

/* Requests that fail have it asked again no more often than this. */
#define LEARN_EVERY_NS (60 * NS_PER_S)

/* Servers have said that the model is not to be had: requests fail by that for so long, then it is asked
 * again. Somebody who puts it right should not have to wait. */
#define REFUSED_FOR_NS (3 * NS_PER_S)

/* --- The end ------------------------------------------------------------------------------------------ */

static void stop_asking(struct remote *r)
{
    struct learning *l = &r->learning;
    transfer_close(&l->transfer);
    buf_clear(&l->body);
    buf_clear(&l->answer);
}

static void tell_askers(struct remote *r)
{
    const struct learning *l = &r->learning;
    pthread_mutex_lock(&r->lock);
    r->known = r->traits;
    for (struct remote_asker *a = r->askers, *next; a; a = next) {
        next = a->next; /* a is gone once the lock is */
        a->is_done = true;
        a->err = l->err;
        a->msg = l->msg;
        a->traits = r->traits;
    }
    r->askers = NULL;
    pthread_cond_broadcast(&r->learned);
    pthread_mutex_unlock(&r->lock);
}

/* Nothing is known by which these could be asked. */
static void fail_jobs(struct remote *r)
{
    for (struct remote_job *j = r->jobs, *next; j; j = next) {
        next = j->next;
        if (!j->is_prepared) remote_job_fail(r, j, r->learning.err, &r->learning.msg);
    }
}

static void end_learning(struct remote *r)
{
    struct learning *l = &r->learning;
    bool was_refused = l->err == ERR_NOT_FOUND || l->err == ERR_FORMAT || l->err == ERR_ARG;
    stop_asking(r);
    l->is_under_way = false;
    l->again_ns = 0;
    l->refused_ns = was_refused ? clock_ns() : 0;
    r->has_changed = true;
    tell_askers(r);
    if (!r->traits.is_known) fail_jobs(r);
}

static void succeed(struct remote *r)
{
    struct learning *l = &r->learning;
    r->traits = l->traits;
    r->traits.is_known = true;
    r->was_down = 0;
    l->err = OK;
    l->msg.text[0] = '\0';
    l->learned_ns = clock_ns();
    end_learning(r);
}

/* This server cannot tell; the next one is asked. */
static void fail_server(struct remote *r, const struct verdict *v)
{
    struct learning *l = &r->learning;
    stop_asking(r);
    remote_servers_finish(r, l->server, v);
    l->tried |= (uint32_t)1 << l->server;
    l->err = v->err;
    l->msg = v->msg;
}

/* --- Questions ---------------------------------------------------------------------------------------- */

static void ask(struct remote *r);

static bool on_body(void *ctx, int status, const char *content_type, const char *bytes, size_t len)
{
    struct remote *r = ctx;
    (void)status, (void)content_type;
    buf_add(&r->learning.answer, bytes, len);
    return !r->learning.answer.err;
}

/* Statuses that say something of the server rather than of the question. */
static bool is_about_server(int status)
{
    return status / 100 == 3 || status == 401 || status == 403 || status == 408 || status == 429 ||
           (status / 100 == 5 && status != 501);
}

static void learn_answer(struct remote *r, int status)
{
    struct learning *l = &r->learning;
    struct errmsg msg = {""};
    enum err err = dialect_learn(r->api, l->question, r->model, status, buf_str(&l->answer), l->answer.len,
                                 &l->traits, &msg);
    if (err) {
        struct verdict v;
        remote_verdict_fail(r, l->server, &v, err, "%s", msg.text);
        v.end = SERVER_END_OK; /* it is there, but not what is wanted */
        fail_server(r, &v);
        return;
    }
    l->question++;
    ask(r);
}

static void on_end(void *ctx, const struct transfer_result *result)
{
    struct remote *r = ctx;
    struct learning *l = &r->learning;
    struct verdict v;
    l->transfer = NULL;
    r->has_changed = true;
    if (result->fault == TRANSFER_FINE && !is_about_server(result->status)) {
        learn_answer(r, result->status);
        return;
    }
    remote_verdict_of(r, l->server, result, &l->answer, &v);
    fail_server(r, &v);
}

static const struct transfer_events events = {on_body, on_end};

/* The next question to the server that is being asked, or all is known. */
static void ask(struct remote *r)
{
    struct learning *l = &r->learning;
    struct dialect_question question;
    buf_clear(&l->body);
    buf_clear(&l->answer);
    buf_init(&l->body, REMOTE_ANSWER_MAX);
    buf_init(&l->answer, REMOTE_ANSWER_MAX);
    if (!dialect_question(r->api, l->question, r->model, &l->traits, &question, &l->body)) {
        const struct verdict answered = {.end = SERVER_END_OK};
        remote_servers_finish(r, l->server, &answered);
        succeed(r);
        return;
    }
    const struct transfer_ask transfer = {.host = l->server,
                                          .path = question.path,
                                          .body = question.has_body ? buf_str(&l->body) : NULL,
                                          .len = l->body.len,
                                          .events = &events,
                                          .ctx = r};
    struct verdict v = {.end = SERVER_END_LEFT};
    v.err = transfer_start(r->transfers, &transfer, &l->transfer, &v.msg);
    if (v.err) fail_server(r, &v);
}

/* What a server has is no computing: it is told as fast as a connection is made, or there is something wrong
 * with it. If there are others, they should have their time too. */
static int64_t share_ns(struct remote *r, int32_t server, int64_t now)
{
    const struct learning *l = &r->learning;
    int64_t usual_ns = 2 * r->connect_ns, half_ns = (l->give_up_ns - now) / 2;
    bool is_last = remote_servers_pick(r, NULL, l->tried | (uint32_t)1 << server, now) == BALANCE_NONE;
    return is_last || usual_ns < half_ns ? usual_ns : half_ns;
}

static void ask_next_server(struct remote *r, int64_t now)
{
    struct learning *l = &r->learning;
    int32_t server = remote_servers_pick(r, NULL, l->tried, now);
    if (server == BALANCE_WAIT || (server < 0 && remote_servers_is_trial(r, l->tried))) return;
    if (server >= 0) {
        l->server = server;
        l->question = 0;
        l->asked_ns = now;
        l->due_ns = now + share_ns(r, server, now);
        memset(&l->traits, 0, sizeof l->traits);
        server_start(&r->servers[server], now);
        ask(r);
        return;
    }
    struct verdict v = {0};
    (void)remote_servers_why_none(r, now, &v);
    if (!l->err) {
        l->err = v.err;
        l->msg = v.msg;
    }
    end_learning(r);
}

/* --- When --------------------------------------------------------------------------------------------- */

static bool is_awaited(const struct remote *r)
{
    for (const struct remote_job *j = r->jobs; j && !r->traits.is_known; j = j->next) {
        if (!j->is_prepared) return true;
    }
    return false;
}

static bool has_askers(struct remote *r)
{
    pthread_mutex_lock(&r->lock);
    bool has = r->askers;
    pthread_mutex_unlock(&r->lock);
    return has;
}

static bool is_up_again(const struct remote *r)
{
    for (int32_t i = 0; i < r->n_servers; i++) {
        if (r->was_down >> i & 1 && r->servers[i].health == SERVER_UP) return true;
    }
    return false;
}

void remote_learn_again(struct remote *r, int64_t now)
{
    int64_t soonest_ns = r->learning.learned_ns + LEARN_EVERY_NS;
    r->learning.again_ns = now > soonest_ns ? now : soonest_ns;
}

static void consider(struct remote *r, int64_t now)
{
    struct learning *l = &r->learning;
    bool is_needed = is_awaited(r), is_asked = has_askers(r);
    if (is_up_again(r)) l->again_ns = now;
    bool is_stale = r->traits.is_known && l->again_ns && now >= l->again_ns;
    if (!is_needed && !is_asked && !is_stale) return;
    if (is_needed && !is_asked && l->refused_ns && now - l->refused_ns < REFUSED_FOR_NS) {
        fail_jobs(r);
        return;
    }
    r->was_down = 0;
    l->is_under_way = true;
    l->tried = 0;
    l->err = OK;
    l->give_up_ns = now + r->timeout_ns;
}

static void check_time(struct remote *r, int64_t now)
{
    struct learning *l = &r->learning;
    bool is_last = now >= l->give_up_ns;
    if (l->transfer && (is_last || now >= l->due_ns)) {
        struct verdict v;
        remote_verdict_late(r, l->server, transfer_is_connected(l->transfer), now - l->asked_ns, &v);
        fail_server(r, &v);
    }
    if (!is_last) return;
    if (!l->err)
        l->err = err_set(&l->msg, ERR_NETWORK, "%s: all connections were taken", remote_servers_name(r, 0));
    end_learning(r);
}

void remote_learn_advance(struct remote *r, int64_t now)
{
    struct learning *l = &r->learning;
    if (!l->is_under_way) consider(r, now);
    if (l->is_under_way) check_time(r, now);
    if (l->is_under_way && !l->transfer) ask_next_server(r, now);
}

int64_t remote_learn_due_ns(const struct remote *r)
{
    const struct learning *l = &r->learning;
    if (!l->is_under_way) return 0;
    return l->transfer ? remote_sooner(l->due_ns, l->give_up_ns) : l->give_up_ns;
}

void remote_learn_end(struct remote *r)
{
    stop_asking(r);
    r->learning.err = err_set(&r->learning.msg, ERR_CANCELLED, "%s", err_text(ERR_CANCELLED));
    tell_askers(r);
}
