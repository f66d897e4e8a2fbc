/* See api_openai.h. A chunk of a stream has its text twice: completions clients read choices[].text,
 * Mistral's choices[].delta.content. */
#include "serve/api_openai.h"

#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "serve/api_impl.h"
#include "serve/api_run.h"
#include "serve/api_tabby.h"

/* --- Answers ------------------------------------------------------------------------------------------- */

static void begin_answer(struct json *j, const struct api_run *r, const char *model, struct buf *out)
{
    char id[48];
    api_run_id(r, id);
    json_init(j, out);
    json_begin_object(j, NULL);
    json_str(j, "id", id);
    json_str(j, "object", "text_completion");
    json_int(j, "created", api_now_s());
    json_str(j, "model", model);
}

/* An answer from a cache has tokens that were generated before. */
static void write_usage(struct json *j, const struct service_timings *t, const struct service_candidate *c)
{
    int32_t n_completion = t->n_predicted > 0 ? t->n_predicted : c->n_tokens;
    json_begin_object(j, "usage");
    json_int(j, "prompt_tokens", t->n_prompt);
    json_int(j, "completion_tokens", n_completion);
    json_int(j, "total_tokens", t->n_prompt + n_completion);
    json_begin_object(j, "prompt_tokens_details");
    json_int(j, "cached_tokens", t->n_prompt - t->n_computed);
    json_end_object(j);
    json_end_object(j);
}

/* What an answer says about all of it. */
static void end_answer(struct json *j, const struct service_answer *a, const struct service_candidate *c)
{
    write_usage(j, &a->timings, c);
    if (a->outcome == SERVICE_SUPERSEDED) json_flag(j, "superseded", true);
    api_run_write_inline(j, a, c);
    json_end_object(j);
}

/* with_message: Mistral's clients read choices[].message.content of a whole answer. */
static void write_choices(struct json *j, const struct service_answer *a, bool with_message)
{
    json_begin_array(j, "choices");
    for (int32_t i = 0; i < api_run_n_candidates(a); i++) {
        const struct service_candidate *c = api_run_candidate(a, i);
        json_begin_object(j, NULL);
        json_int(j, "index", i);
        json_str_len(j, "text", c->text, c->len);
        if (with_message) {
            json_begin_object(j, "message");
            json_str(j, "role", "assistant");
            json_str_len(j, "content", c->text, c->len);
            json_end_object(j);
        }
        json_str(j, "logprobs", NULL);
        json_str(j, "finish_reason", api_run_finish(a, c));
        json_end_object(j);
    }
    json_end_array(j);
}

static void write_completion(const struct api_run *r, const struct service_answer *a, struct buf *out)
{
    struct json j;
    begin_answer(&j, r, a->model, out);
    write_choices(&j, a, false);
    end_answer(&j, a, api_run_candidate(a, 0));
}

static void write_fim(const struct api_run *r, const struct service_answer *a, struct buf *out)
{
    struct json j;
    begin_answer(&j, r, a->model, out);
    write_choices(&j, a, true);
    end_answer(&j, a, api_run_candidate(a, 0));
}

static void write_chunk_choice(struct json *j, int32_t index, const char *text, size_t len,
                               const char *finish)
{
    json_begin_array(j, "choices");
    json_begin_object(j, NULL);
    json_int(j, "index", index);
    json_str_len(j, "text", text, len);
    json_begin_object(j, "delta");
    json_str_len(j, "content", text, len);
    json_end_object(j);
    json_str(j, "logprobs", NULL);
    json_str(j, "finish_reason", finish);
    json_end_object(j);
    json_end_array(j);
}

static void write_piece(const struct api_run *r, int32_t candidate, const char *text, size_t len,
                        struct buf *out)
{
    struct json j;
    begin_answer(&j, r, api_run_model(r), out);
    write_chunk_choice(&j, candidate, text, len, NULL);
    json_end_object(&j);
}

static void write_last(const struct api_run *r, const struct service_answer *a, int32_t candidate,
                       struct buf *out)
{
    const struct service_candidate *c = api_run_candidate(a, candidate);
    struct json j;
    begin_answer(&j, r, a->model, out);
    write_chunk_choice(&j, candidate, "", 0, api_run_finish(a, c));
    end_answer(&j, a, c);
}

/* --- Requests ------------------------------------------------------------------------------------------ */

static enum err read_place(struct api_run *r, struct errmsg *msg)
{
    enum err err = api_params_fields(&r->params, r->body, msg);
    if (!err) err = api_params_place(&r->params, r->body, "prompt", NULL, "suffix", msg);
    if (!err) err = api_params_files(&r->params, r->body, "input_extra", "filename", "text", msg);
    return err;
}

/* Without a suffix the prompt is taken as it stands: clients write their models' FIM tokens into it. */
static enum err read_completion(struct api_run *r, struct errmsg *msg)
{
    if (json_get(r->body, "segments")) {
        r->shape = &api_tabby_shape;
        return r->shape->read(r, msg);
    }
    if (json_get(r->body, "suffix")) return read_place(r, msg);
    enum err err = api_params_fields(&r->params, r->body, msg);
    if (!err) err = api_params_prompt(&r->params, r->body, "prompt", msg);
    return err;
}

#define DONE_EVENT "data: [DONE]\n\n"

void api_openai_completions(struct api *a, struct http_exchange *x)
{
    static const struct api_shape SHAPE = {.door = METRIC_API_OPENAI,
                                           .read = read_completion,
                                           .write_whole = write_completion,
                                           .write_piece = write_piece,
                                           .write_last = write_last,
                                           .write_error = api_run_write_error,
                                           .closing = DONE_EVENT};
    api_run_start(a, x, &SHAPE);
}

void api_openai_fim(struct api *a, struct http_exchange *x)
{
    static const struct api_shape SHAPE = {.door = METRIC_API_OPENAI,
                                           .read = read_place,
                                           .write_whole = write_fim,
                                           .write_piece = write_piece,
                                           .write_last = write_last,
                                           .write_error = api_run_write_error,
                                           .closing = DONE_EVENT};
    api_run_start(a, x, &SHAPE);
}

/* --- Models -------------------------------------------------------------------------------------------- */

static void write_model(struct json *j, const struct api *a, const struct service_model *m)
{
    static const char *const STATES[] = {[SERVICE_LOADING] = "loading",
                                         [SERVICE_READY] = "loaded",
                                         [SERVICE_MODEL_FAILED] = "failed",
                                         [SERVICE_INSTALLED] = "unloaded",
                                         [SERVICE_UNLOADING] = "unloaded"};
    json_begin_object(j, NULL);
    json_str(j, "id", m->name);
    json_str(j, "object", "model");
    json_int(j, "created", a->started_s);
    json_str(j, "owned_by", "inline");
    json_begin_object(j, "status");
    json_str(j, "value", STATES[m->state]);
    if (m->state == SERVICE_MODEL_FAILED) json_str(j, "error", m->error);
    json_end_object(j);
    json_begin_object(j, "meta");
    json_int(j, "n_vocab", m->n_vocab);
    json_int(j, "n_ctx", m->n_ctx);
    json_int(j, "n_ctx_train", m->n_ctx_train);
    json_int(j, "n_embd", m->n_embd);
    json_int(j, "n_params", m->n_params);
    json_int(j, "size", m->bytes);
    json_str(j, "format", m->format);
    json_str(j, "fim_family", m->fim_family);
    json_str(j, "fim_order", m->fim_order);
    json_end_object(j);
    json_end_object(j);
}

void api_openai_models(struct api *a, struct http_exchange *x)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "object", "list");
    json_begin_array(&j, "data");
    int32_t n = service_n_models(a->service);
    for (int32_t i = 0; i < n; i++) {
        struct service_model m;
        service_model(a->service, i, &m);
        write_model(&j, a, &m);
    }
    json_end_array(&j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

void api_openai_no_chat(struct api *a, struct http_exchange *x)
{
    (void)a;
    http_error(
        x, 501, "not_supported_error",
        "Inline completes code and does not chat; use /infill or /v1/completions, and another server for "
        "chat");
}
