/* A request of the C API as one of the daemon's HTTP API, and its answer back. See complete_daemon.h. */
#include "cli/complete_daemon.h"

#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "serve/ask.h"

#define BODY_MAX ((size_t)256 << 20) /* a document of the largest size, with its characters escaped */
#define TEXT_MAX ((size_t)16 << 20)

bool complete_daemon_suits(const struct inline_request *r, const struct settings *s)
{
    /* Model and engine are those that the daemon was started with, but that it can be told to ask a model on
     * other machines. The HTTP API has no window of its own, and counts max_predict_ms from the first line's
     * end, as llama-server does. */
    return (!settings_has_override(s, "models.") || settings_remote(s, s->model)) &&
           !settings_has_override(s, "engine.") && !settings_has_override(s, "context.") &&
           !settings_has_override(s, "privacy.") && r->max_prompt_tokens == 0 && r->max_predict_ms == 0;
}

/* --- The question ------------------------------------------------------------------------------------ */

static void add_sampling(struct json *j, const struct inline_request *r)
{
    json_num(j, "temperature", (double)r->temperature, 6);
    json_int(j, "top_k", r->top_k);
    json_num(j, "min_p", (double)r->min_p, 6);
    json_int(j, "seed", (int64_t)r->seed);
    if (r->top_p > 0) json_num(j, "top_p", (double)r->top_p, 6);
    if (r->repeat_penalty > 0) json_num(j, "repeat_penalty", (double)r->repeat_penalty, 6);
    if (!r->infill) return;
    json_begin_array(j, "samplers");
    json_str(j, NULL, "infill");
    json_end_array(j);
}

static void write_body(const struct inline_request *r, const char *file, const struct settings *s,
                       struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str_len(&j, "input_prefix", r->text, r->cursor);
    json_str_len(&j, "input_suffix", r->text + r->cursor, r->len - r->cursor);
    if (r->path) json_str(&j, "filename", r->path);
    if (file) json_str(&j, "file", file);
    if (settings_has_override(s, "models.")) json_str(&j, "model", s->model); /* one of [model.NAME] */
    json_int(&j, "n_predict", r->max_tokens);
    if (r->max_prompt_ms > 0) json_num(&j, "t_max_prompt_ms", r->max_prompt_ms, 3);
    add_sampling(&j, r);
    json_str(&j, "priority", "asked");
    if (r->explain) json_flag(&j, "explain", true);
    json_flag(&j, "stream", true);
    json_end_object(&j);
}

/* --- The answer -------------------------------------------------------------------------------------- */

struct listener {
    const struct inline_request *r;
    struct complete_daemon_answer *answer;
    struct buf text;
    bool is_complete;
    struct errmsg *msg;
};

static int32_t number(const struct json_value *object, const char *key)
{
    int64_t n = 0;
    (void)json_get_int(json_get(object, key), &n);
    return (int32_t)n;
}

static double milliseconds(const struct json_value *object, const char *key)
{
    double ms = 0;
    (void)json_get_num(json_get(object, key), &ms);
    return ms;
}

static const char *keep(struct complete_daemon_answer *a, int i, const struct json_value *object,
                        const char *key)
{
    const char *text = json_get_str(json_get(object, key), NULL);
    mem_free(a->strings[i]);
    return a->strings[i] = mem_dup_str(text ? text : "");
}

static void take_explanation(struct complete_daemon_answer *a, const struct json_value *own)
{
    struct buf text;
    const struct json_value *explanation = json_get(own, "explanation");
    buf_init(&text, TEXT_MAX);
    if (explanation) json_write_value(explanation, &text);
    if (text.len > 0 && !a->result.explanation) a->result.explanation = buf_take(&text);
    buf_clear(&text);
}

static void take_last(struct complete_daemon_answer *a, const struct json_value *event)
{
    const struct json_value *own = json_get(event, "inline"), *fim = json_get(event, "fim");
    const struct json_value *timings = json_get(event, "timings");
    a->info.name = keep(a, 0, event, "model");
    a->info.fim_family = keep(a, 1, fim, "family");
    a->info.fim_order = keep(a, 2, fim, "order");
    a->info.fim_detected = keep(a, 3, fim, "detected");
    a->result.stop_reason = keep(a, 4, own, "stop");
    a->fallback = keep(a, 5, own, "fallback");
    a->result.prompt_tokens = number(event, "tokens_evaluated");
    a->result.reused_tokens = a->result.prompt_tokens - number(own, "computed");
    a->result.generated_tokens = number(event, "tokens_predicted");
    a->result.drafted_tokens = number(own, "drafted");
    a->result.accepted_tokens = number(own, "accepted");
    take_explanation(a, own);
    (void)json_get_num(json_get(own, "mean_logprob"), &a->result.mean_logprob);
    a->result.prompt_ms = milliseconds(timings, "prompt_ms");
    a->result.generate_ms = milliseconds(timings, "predicted_ms");
}

static enum err on_event(void *ctx, const struct json_value *event)
{
    struct listener *l = ctx;
    bool is_last = false;
    size_t len = 0;
    const char *text = json_get_str(json_get(event, "content"), &len);
    const char *error = json_get_str(json_get(json_get(event, "error"), "message"), NULL);
    if (json_get(event, "error"))
        return err_set(l->msg, ERR_IO, "the daemon's answer broke off: %s",
                       error ? error : "it does not say why");
    if (text && len > 0) {
        buf_add(&l->text, text, len);
        if (l->r->on_text && !l->r->on_text(l->r->user, text, len)) return ERR_CANCELLED;
    }
    (void)json_get_flag(json_get(event, "stop"), &is_last);
    if (is_last) take_last(l->answer, event);
    l->is_complete |= is_last;
    return l->text.err;
}

static enum err ask(const struct inline_request *r, const char *file, const struct settings *s,
                    const char *socket, struct listener *l, struct errmsg *msg)
{
    struct buf body;
    buf_init(&body, BODY_MAX);
    write_body(r, file, s, &body);
    enum err err = body.err ? err_set(msg, body.err, "the file is too large to be sent to the daemon")
                            : ask_events(socket, "/infill", body.data, body.len, on_event, l, msg);
    buf_clear(&body);
    if (!err && !l->is_complete) err = ERR_IO;
    if (err && !msg->text[0]) err_set(msg, err, "the daemon's answer broke off; --no-daemon does without it");
    return err;
}

enum err complete_daemon_ask(const struct inline_request *r, const char *file, const struct settings *s,
                             struct complete_daemon_answer *out, struct errmsg *msg)
{
    struct listener l = {.r = r, .answer = out, .msg = msg};
    char *socket = NULL;
    *out = (struct complete_daemon_answer){0};
    if (cli_socket(s, &socket, msg)) return ERR_NOT_FOUND; /* no place for a socket, no daemon */
    buf_init(&l.text, TEXT_MAX);
    enum err err = ask(r, file, s, socket, &l, msg);
    mem_free(socket);
    out->result.len = l.text.len;
    out->result.text = buf_take(&l.text);
    if (err) complete_daemon_clear(out);
    return err;
}

void complete_daemon_clear(struct complete_daemon_answer *a)
{
    mem_free(a->result.text);
    mem_free(a->result.explanation);
    for (int i = 0; i < COMPLETE_DAEMON_STRINGS; i++) mem_free(a->strings[i]);
    *a = (struct complete_daemon_answer){0};
}
