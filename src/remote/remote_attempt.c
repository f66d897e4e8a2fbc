/* One server that is asked: from the request to a verdict; see remote_impl.h.
 *
 * Bytes come from within libcurl, where nothing can be closed: what is to end is marked, and ends with the
 * value that on_body returns, or when the thread looks after its jobs next. */
#include "os/clock.h"
#include "remote/remote_impl.h"

/* After the last event, how long the end of the transfer is waited for, so that its connection can be used
 * again: it comes with the same packet, or the next. */
#define LINGER_NS (50 * NS_PER_MS)

/* The first token has come. */
static void begin(struct attempt *a)
{
    struct remote_job *j = a->job;
    int64_t now = clock_ns();
    a->has_begun = true;
    server_first_token(&a->remote->servers[a->server], (double)(now - a->start_ns) / 1e6);
    a->remote->has_changed = true;
    j->winner = a;
    j->report.server = a->server;
    j->first_ns = now;
    if (j->r.max_predict_ms > 0) j->end_by_ns = now + (int64_t)(j->r.max_predict_ms * 1e6);
}

static void count(struct attempt *a, const struct dialect_piece *p)
{
    struct remote_job *j = a->job;
    struct remote_report *report = &j->report;
    j->n_counted += p->n_tokens;
    j->logprob += p->logprob;
    j->n_logprobs += p->n_logprobs;
    if (p->n_prompt >= 0) report->n_prompt = p->n_prompt;
    if (p->n_reused >= 0) report->n_reused = p->n_reused;
    if (p->n_generated >= 0) report->n_generated = p->n_generated;
    if (!p->is_last || a->is_over) return;
    a->is_over = true;
    a->stop = p->stop;
    a->linger_ns = clock_ns() + LINGER_NS;
    a->remote->has_changed = true;
}

/* More tokens come than were asked for; false. */
static bool end_unasked(struct attempt *a)
{
    a->is_over = a->is_enough = true;
    a->stop = REMOTE_STOP_LIMIT;
    return false;
}

/* What an event says; false: no more is wanted. */
static bool on_event(void *ctx, const char *event, size_t len)
{
    struct attempt *a = ctx;
    struct remote_job *j = a->job;
    struct buf *text = &a->remote->text;
    struct dialect_piece piece;
    a->heard_ns = clock_ns();
    buf_reset(text);
    a->err = dialect_read(a->remote->api, event, len, text, &piece, &a->msg);
    if (a->err) return false;
    bool is_token = text->len > 0 || piece.n_tokens > 0 || piece.is_last;
    if (is_token && !j->winner) begin(a);
    if (j->winner && j->winner != a) return false;
    count(a, &piece);
    if (text->len == 0) return true;
    if (j->n_counted > j->max_tokens) return end_unasked(a);
    j->has_text = true;
    a->is_enough = !j->r.on_text(j->r.ctx, buf_str(text), text->len);
    return !a->is_enough;
}

static void refuse_length(struct attempt *a, enum err err)
{
    a->err = err;
    (void)err_set(&a->msg, err, "%s",
                  err == ERR_LIMIT ? "its answer is longer than any that was asked for" : err_text(err));
}

static bool is_of_use(const struct attempt *a)
{
    return !a->err && !a->is_enough && (!a->job->winner || a->job->winner == a);
}

static bool on_body(void *ctx, int status, const char *content_type, const char *bytes, size_t len)
{
    struct attempt *a = ctx;
    if (status >= 300) {
        buf_add(&a->refusal, bytes, len);
        return !a->refusal.err;
    }
    if (!a->has_stream) stream_init(&a->stream, stream_kind_of(content_type));
    a->has_stream = true;
    enum err err = stream_feed(&a->stream, bytes, len, on_event, a);
    if (err && !a->err) refuse_length(a, err);
    return is_of_use(a);
}

/* What an event was that could not be read, or held a failure. */
static void judge_event(const struct attempt *a, struct verdict *v)
{
    remote_verdict_fail(a->remote, a->server, v, a->err, "%s", a->msg.text);
    v->is_final = a->err == ERR_NOMEM;
}

static void on_end(void *ctx, const struct transfer_result *result)
{
    struct attempt *a = ctx;
    struct verdict v;
    a->transfer = NULL;
    if (result->fault == TRANSFER_FINE && a->has_stream && is_of_use(a)) {
        enum err err = stream_end(&a->stream, on_event, a);
        if (err && !a->err) refuse_length(a, err);
    }
    if (a->err)
        judge_event(a, &v);
    else if (a->is_over || a->is_enough)
        v = (struct verdict){.end = SERVER_END_OK};
    else
        remote_verdict_of(a->remote, a->server, result, &a->refusal, &v);
    remote_job_attempt_ended(a->remote, a->job, a, &v);
}

static const struct transfer_events events = {on_body, on_end};

enum err remote_attempt_start(struct remote_job *j, struct attempt *a, int32_t server, struct errmsg *msg)
{
    struct remote *r = a->remote;
    int64_t now = clock_ns();
    const struct transfer_ask ask = {.host = server,
                                     .path = j->path,
                                     .body = buf_str(&j->body),
                                     .len = j->body.len,
                                     .events = &events,
                                     .ctx = a};
    *a = (struct attempt){.remote = r, .job = j, .server = server, .start_ns = now, .heard_ns = now};
    buf_init(&a->refusal, REMOTE_ANSWER_MAX);
    enum err err = transfer_start(r->transfers, &ask, &a->transfer, msg);
    if (err) return err;
    server_start(&r->servers[server], now);
    a->connect_due_ns = now + r->connect_ns;
    double late_ms = balance_hedge_ms(&r->balance, r->servers, r->n_servers, server);
    if (late_ms > 0) a->late_ns = now + (int64_t)(late_ms * 1e6);
    j->report.n_attempts++;
    if (!j->sent_ns) j->sent_ns = now;
    return OK;
}

/* Nothing of it is left. Who got no first token has seen how slow the server is at least. */
void remote_attempt_finish(struct attempt *a, const struct verdict *v)
{
    if (!a->has_begun) server_still_waiting(&a->remote->servers[a->server], clock_ms_since(a->start_ns));
    transfer_close(&a->transfer);
    remote_servers_finish(a->remote, a->server, v);
    if (a->has_stream) stream_clear(&a->stream);
    buf_clear(&a->refusal);
}

void remote_attempt_leave(struct attempt *a, enum server_end end)
{
    const struct verdict v = {.end = end};
    if (!a->transfer) return;
    remote_attempt_finish(a, &v);
    if (!remote_is_background(a->job)) remote_probe_warm(a->remote, a->server);
}
