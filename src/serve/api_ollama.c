/* See api_ollama.h. */
#include "serve/api_ollama.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/json.h"
#include "base/json_read.h"
#include "serve/api_impl.h"
#include "serve/api_run.h"

static void write_time(struct json *j, const char *key, int64_t seconds)
{
    char text[32] = "";
    time_t at = (time_t)seconds;
    struct tm t;
    if (gmtime_r(&at, &t)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &t); /* RFC 3339 */
    json_str(j, key, text);
}

void api_ollama_write_error(int status, const char *type, const char *message, struct buf *out)
{
    (void)status;
    (void)type;
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "error", message);
    json_end_object(&j);
}

/* --- POST /api/generate -------------------------------------------------------------------------------- */

/* With a suffix it is a place in a document; else the prompt is taken as it stands, raw or not: there are no
 * chat templates here. Without both the client wants the model loaded: the least prompt, and no token. */
static enum err read_generate(struct api_run *r, struct errmsg *msg)
{
    const struct json_value *options = json_get(r->body, "options");
    if (options && !json_is_object(options)) return err_set(msg, ERR_ARG, "\"options\" must be an object");
    struct api_params *p = &r->params;
    p->is_stream = true; /* unless the client says otherwise */
    const char *prompt = "", *suffix = "";
    size_t prompt_len = 0, suffix_len = 0;
    enum err err = api_params_fields(p, options, msg);
    if (!err) err = api_params_fields(p, r->body, msg);
    if (!err) err = api_params_str(r->body, "prompt", &prompt, &prompt_len, msg);
    if (!err) err = api_params_str(r->body, "suffix", &suffix, &suffix_len, msg);
    if (err) return err;
    p->request.n_candidates = 1;
    if (suffix_len > 0) return api_params_place(p, r->body, "prompt", NULL, "suffix", msg);
    if (prompt_len > 0) return api_params_prompt(p, r->body, "prompt", msg);
    p->request.max_tokens = 0;
    return api_params_place(p, r->body, NULL, NULL, NULL, msg);
}

static void begin_answer(struct json *j, const char *model, struct buf *out)
{
    json_init(j, out);
    json_begin_object(j, NULL);
    json_str(j, "model", model);
    write_time(j, "created_at", api_now_s());
}

static int64_t ns(double ms)
{
    return (int64_t)(ms * 1e6);
}

/* The end of an answer, whole or streamed; `len` bytes of its text are the response. */
static void write_done(const struct api_run *r, const struct service_answer *a, size_t len, struct buf *out)
{
    const struct service_candidate *c = api_run_candidate(a, 0);
    const struct service_timings *t = &a->timings;
    struct json j;
    begin_answer(&j, a->model, out);
    json_str_len(&j, "response", c->text, len);
    json_flag(&j, "done", true);
    json_str(&j, "done_reason", r->params.request.max_tokens == 0 ? "load" : api_run_finish(a, c));
    json_int(&j, "total_duration", ns(t->total));
    json_int(&j, "load_duration", 0);
    json_int(&j, "prompt_eval_count", t->n_prompt);
    json_int(&j, "prompt_eval_duration", ns(t->prompt));
    json_int(&j, "eval_count", t->n_predicted > 0 ? t->n_predicted : c->n_tokens);
    json_int(&j, "eval_duration", ns(t->predict));
    if (a->outcome == SERVICE_SUPERSEDED) json_flag(&j, "superseded", true);
    api_run_write_inline(&j, a, c);
    json_end_object(&j);
}

static void write_whole(const struct api_run *r, const struct service_answer *a, struct buf *out)
{
    write_done(r, a, api_run_candidate(a, 0)->len, out);
}

static void write_last(const struct api_run *r, const struct service_answer *a, int32_t candidate,
                       struct buf *out)
{
    (void)candidate; /* there is one */
    write_done(r, a, 0, out);
}

static void write_piece(const struct api_run *r, int32_t candidate, const char *text, size_t len,
                        struct buf *out)
{
    (void)candidate;
    struct json j;
    begin_answer(&j, api_run_model(r), out);
    json_str_len(&j, "response", text, len);
    json_flag(&j, "done", false);
    json_end_object(&j);
}

void api_ollama_generate(struct api *a, struct http_exchange *x)
{
    static const struct api_shape SHAPE = {.door = METRIC_API_OLLAMA,
                                           .read = read_generate,
                                           .write_whole = write_whole,
                                           .write_piece = write_piece,
                                           .write_last = write_last,
                                           .write_error = api_ollama_write_error,
                                           .is_lines = true,
                                           .closing = ""};
    api_run_start(a, x, &SHAPE);
}

/* --- Models -------------------------------------------------------------------------------------------- */

static void write_details(struct json *j, const struct service_model *m)
{
    char size[32];
    snprintf(size, sizeof size, "%.1fM", (double)m->n_params / 1e6);
    json_begin_object(j, "details");
    json_str(j, "parent_model", "");
    json_str(j, "format", "gguf");
    json_str(j, "family", m->arch);
    json_begin_array(j, "families");
    json_str(j, NULL, m->arch);
    json_end_array(j);
    json_str(j, "parameter_size", size);
    json_str(j, "quantization_level", m->format);
    json_end_object(j);
}

static void write_models(struct api *a, struct http_exchange *x, bool only_loaded)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_begin_array(&j, "models");
    int32_t n = service_n_models(a->service);
    for (int32_t i = 0; i < n; i++) {
        struct service_model m;
        service_model(a->service, i, &m);
        if (m.state == SERVICE_MODEL_FAILED || (only_loaded && m.state != SERVICE_READY)) continue;
        json_begin_object(&j, NULL);
        json_str(&j, "name", m.name);
        json_str(&j, "model", m.name);
        json_int(&j, "size", m.bytes);
        if (only_loaded) json_int(&j, "size_vram", 0);
        json_str(&j, "digest", "");
        write_details(&j, &m);
        write_time(&j, only_loaded ? "expires_at" : "modified_at", a->started_s);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}

void api_ollama_tags(struct api *a, struct http_exchange *x)
{
    write_models(a, x, false);
}

void api_ollama_ps(struct api *a, struct http_exchange *x)
{
    write_models(a, x, true);
}

/* Ollama's names end in a tag, ours do not. */
static bool is_named(const struct service_model *m, const char *name)
{
    size_t len = strlen(m->name);
    return strncasecmp(name, m->name, len) == 0 && (!name[len] || strcmp(name + len, ":latest") == 0);
}

/* An unknown name means the default model, as it does in requests. */
static void find_model(struct api *a, const char *name, struct service_model *out)
{
    int32_t n = service_n_models(a->service);
    for (int32_t i = 0; i < n; i++) {
        service_model(a->service, i, out);
        if (is_named(out, name)) return;
    }
    service_model(a->service, 0, out);
}

/* Continue and others see from ".Suffix" in the template that a model fills in the middle. */
static void write_shown(struct json *j, const struct service_model *m)
{
    bool has_fim = *m->fim_family && strcmp(m->fim_family, "none") != 0;
    json_begin_object(j, NULL);
    json_str(j, "modelfile", "");
    json_str(j, "parameters", "");
    json_str(j, "template", has_fim ? "{{ .Prompt }}{{ .Suffix }}" : "{{ .Prompt }}");
    write_details(j, m);
    json_begin_object(j, "model_info");
    json_str(j, "general.architecture", m->arch);
    json_int(j, "general.parameter_count", m->n_params);
    char key[96];
    snprintf(key, sizeof key, "%s.context_length", m->arch);
    json_int(j, key, m->n_ctx_train);
    snprintf(key, sizeof key, "%s.embedding_length", m->arch);
    json_int(j, key, m->n_embd);
    json_end_object(j);
    json_begin_array(j, "capabilities");
    json_str(j, NULL, "completion");
    if (has_fim) json_str(j, NULL, "insert");
    json_end_array(j);
    json_end_object(j);
}

static void answer_error(struct http_exchange *x, int status, const char *message)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    api_ollama_write_error(status, "", message, &out);
    api_answer(x, status, &out);
}

void api_ollama_show(struct api *a, struct http_exchange *x)
{
    const struct http_request *request = http_request_of(x);
    struct json_value *body = NULL;
    struct errmsg msg = {0};
    const char *name = "";
    enum err err = json_read(request->body, request->body_len, &body, &msg);
    if (!err) err = api_params_str(body, "name", &name, NULL, &msg);
    if (!err) err = api_params_str(body, "model", &name, NULL, &msg);
    if (err) {
        answer_error(x, 400, msg.text);
    } else {
        struct service_model m;
        find_model(a, name, &m);
        struct buf out;
        buf_init(&out, API_ANSWER_MAX);
        struct json j;
        json_init(&j, &out);
        write_shown(&j, &m);
        api_answer(x, 200, &out);
    }
    json_read_free(&body);
}

void api_ollama_version(struct api *a, struct http_exchange *x)
{
    (void)a;
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    buf_add_str(&out, "{\"version\":\"" INLINE_VERSION "\"}");
    api_answer(x, 200, &out);
}

void api_ollama_no_chat(struct api *a, struct http_exchange *x)
{
    (void)a;
    answer_error(x, 501,
                 "Inline completes code and does not chat; use /api/generate, and another server for chat");
}
