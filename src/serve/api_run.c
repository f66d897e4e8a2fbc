/* See api_run.h. */
#include "serve/api_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "serve/api_impl.h"

static void free_run(struct api_run **r)
{
    if (!*r) return;
    api_params_clear(&(*r)->params);
    json_read_free(&(*r)->body);
    mem_free(*r);
    *r = NULL;
}

/* --- Sending ------------------------------------------------------------------------------------------- */

/* One object of a stream is built in a buffer between these two, and sent with its framing in one write. */
static void open_object(const struct api_run *r, struct buf *out)
{
    buf_init(out, API_ANSWER_MAX);
    if (!r->shape->is_lines) buf_add_str(out, "data: ");
}

static void send_object(struct api_run *r, struct buf *out)
{
    bool is_lines = r->shape->is_lines;
    buf_add_str(out, is_lines ? "\n" : "\n\n");
    if (!r->has_begun) http_begin(r->exchange, 200, is_lines ? "application/x-ndjson" : "text/event-stream");
    r->has_begun = true;
    if (!out->err) http_write(r->exchange, out->data, out->len);
    buf_clear(out);
}

static void send_piece(struct api_run *r, int32_t candidate, const char *text, size_t len)
{
    struct buf out;
    open_object(r, &out);
    r->shape->write_piece(r, candidate, text, len, &out);
    send_object(r, &out);
}

static void send_whole(struct api_run *r, const struct service_answer *a)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    r->shape->write_whole(r, a, &out);
    api_answer(r->exchange, 200, &out);
}

/* The rest of each candidate and its end. */
static void send_stream_end(struct api_run *r, const struct service_answer *a)
{
    for (int32_t i = 0; i < api_run_n_candidates(a); i++) {
        const struct service_candidate *c = api_run_candidate(a, i);
        size_t sent = i == 0 ? r->n_streamed : 0;
        if (c->len > sent) send_piece(r, i, c->text + sent, c->len - sent);
        struct buf out;
        open_object(r, &out);
        r->shape->write_last(r, a, i, &out);
        send_object(r, &out);
    }
    http_write(r->exchange, r->shape->closing, strlen(r->shape->closing));
    http_end(r->exchange);
}

/* A stream that has begun can only tell of an error in its last object. */
static void send_error(struct api_run *r, int status, const char *type, const char *message)
{
    struct buf out;
    if (!r->has_begun) {
        buf_init(&out, API_ANSWER_MAX);
        r->shape->write_error(status, type, message, &out);
        api_answer(r->exchange, status, &out);
        return;
    }
    open_object(r, &out);
    r->shape->write_error(status, type, message, &out);
    send_object(r, &out);
    http_end(r->exchange);
}

/* --- The service's and the connection's calls ---------------------------------------------------------- */

static void count(struct api_totals *t, const struct service_timings *timings)
{
    t->n_prompt += timings->n_computed;
    t->n_predicted += timings->n_predicted;
    t->prompt_ms += timings->prompt;
    t->predict_ms += timings->predict;
}

static void on_text(void *ctx, const char *text, size_t len)
{
    struct api_run *r = ctx;
    r->n_streamed += len;
    send_piece(r, 0, text, len);
}

static void on_done(void *ctx, const struct service_answer *a)
{
    struct api_run *r = ctx;
    switch (a->outcome) {
    case SERVICE_OK:
        if (!a->was_shared) count(&r->api->totals, &a->timings);
        /* fall through */
    case SERVICE_SUPERSEDED: /* an answer without text: an error would be shown to somebody who types */
        if (r->params.is_stream) {
            send_stream_end(r, a);
        } else {
            send_whole(r, a);
        }
        break;
    case SERVICE_SHED:
        if (!r->has_begun) http_extra_header(r->exchange, "Retry-After", "1");
        send_error(r, 503, "unavailable_error", a->message);
        break;
    case SERVICE_UNAVAILABLE:
        send_error(r, 503, "unavailable_error", a->message);
        break;
    case SERVICE_BAD:
        send_error(r, 400, "invalid_request_error", a->message);
        break;
    case SERVICE_ERROR:
        send_error(r, 500, "server_error", a->message);
        break;
    }
    free_run(&r);
}

static void on_abort(void *ctx)
{
    struct api_run *r = ctx;
    service_cancel(r->api->service, r->ticket);
    free_run(&r);
}

/* --- Starting ------------------------------------------------------------------------------------------ */

static enum err read_body(struct api_run *r, struct errmsg *msg)
{
    const struct http_request *request = http_request_of(r->exchange);
    struct errmsg why = {0};
    enum err err = json_read(request->body, request->body_len, &r->body, &why);
    if (err == ERR_NOMEM) return err_set(msg, err, "%s", err_text(err));
    if (err) return err_set(msg, ERR_ARG, "the body is not JSON: %s", why.text);
    if (!json_is_object(r->body)) return err_set(msg, ERR_ARG, "the body must be a JSON object");
    return r->shape->read(r, msg);
}

void api_run_start(struct api *a, struct http_exchange *x, const struct api_shape *shape)
{
    struct api_run *r = MEM_NEW(struct api_run);
    *r = (struct api_run){.api = a, .exchange = x, .shape = shape, .number = ++a->n_runs};
    api_params_init(&r->params);
    struct errmsg msg = {0};
    enum err err = read_body(r, &msg);
    if (err) {
        bool is_theirs = err == ERR_ARG;
        send_error(r, is_theirs ? 400 : 500, is_theirs ? "invalid_request_error" : "server_error", msg.text);
        free_run(&r);
        return;
    }
    api_params_settle(&r->params, http_header(x, "authorization"), http_header(x, "user-agent"));
    struct service_request *request = &r->params.request;
    request->api = r->shape->door;
    request->on_text = r->params.is_stream ? on_text : NULL;
    request->on_done = on_done;
    request->ctx = r;
    r->ticket = service_submit(a->service, request);
    http_on_abort(x, on_abort, r);
}

/* --- For the shapes ------------------------------------------------------------------------------------ */

const struct service_candidate *api_run_candidate(const struct service_answer *a, int32_t i)
{
    static const struct service_candidate NOTHING = {.text = "", .stop = "", .stopping_word = ""};
    return i < a->n_candidates ? &a->candidates[i] : &NOTHING;
}

int32_t api_run_n_candidates(const struct service_answer *a)
{
    return a->n_candidates > 0 ? a->n_candidates : 1;
}

/* Our reasons are finer than the three that clients know: those by which a text is complete are its "eos",
 * those that cut it short its "limit". */
const char *api_run_stop_type(const struct service_candidate *c)
{
    static const char *const TYPES[][2] = {
        {"eog", "eos"},   {"suffix", "eos"},  {"block", "eos"},  {"line", "eos"},         {"unit", "eos"},
        {"word", "word"}, {"limit", "limit"}, {"time", "limit"}, {"repetition", "limit"}, {"indent", "limit"},
    };
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        if (strcmp(c->stop, TYPES[i][0]) == 0) return TYPES[i][1];
    }
    return "none";
}

const char *api_run_finish(const struct service_answer *a, const struct service_candidate *c)
{
    if (a->outcome == SERVICE_SUPERSEDED) return "superseded";
    return strcmp(api_run_stop_type(c), "limit") == 0 ? "length" : "stop";
}

const char *api_run_model(const struct api_run *r)
{
    if (*r->params.request.model) return r->params.request.model;
    struct service_model m;
    service_model(r->api->service, 0, &m);
    return m.name;
}

void api_run_id(const struct api_run *r, char out[static 48])
{
    snprintf(out, 48, "cmpl-%" PRIx64 "-%" PRIx64, (uint64_t)r->api->started_s, r->number);
}

void api_run_write_inline(struct json *j, const struct service_answer *a, const struct service_candidate *c)
{
    const struct service_timings *t = &a->timings;
    json_begin_object(j, "inline");
    if (a->id) json_int(j, "id", (int64_t)a->id);
    json_str(j, "stop", c->stop);
    json_str(j, "quiet", a->quiet);
    json_str(j, "cache", a->cache);
    json_str(j, "cache_miss", a->cache_miss);
    if (*a->fallback) json_str(j, "fallback", a->fallback);
    if (a->debounce_ms > 0) json_int(j, "debounce_ms", a->debounce_ms);
    json_num(j, "mean_logprob", c->mean_logprob, 4);
    json_begin_object(j, "timings");
    json_num(j, "queue", t->queue, 3);
    json_num(j, "context", t->context, 3);
    json_num(j, "prompt", t->prompt, 3);
    json_num(j, "predict", t->predict, 3);
    json_num(j, "post", t->post, 3);
    json_num(j, "total", t->total, 3);
    json_end_object(j);
    json_int(j, "reused", t->n_reused);
    json_int(j, "restored", t->n_restored);
    json_int(j, "moved", t->n_moved);
    json_int(j, "computed", t->n_computed);
    json_int(j, "drafted", t->n_drafted);
    json_int(j, "accepted", t->n_accepted);
    json_flag(j, "shared", a->was_shared);
    if (a->explanation) json_raw(j, "explanation", a->explanation, strlen(a->explanation));
    json_end_object(j);
}

void api_run_write_error(int status, const char *type, const char *message, struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_begin_object(&j, "error");
    json_int(&j, "code", status);
    json_str(&j, "message", message);
    json_str(&j, "type", type);
    json_end_object(&j);
    json_end_object(&j);
}
