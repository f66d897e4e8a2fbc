/* POST /infill and /completion, as llama.vim and llama.vscode send them.
 *
 * llama.vim judges an answer by its text: one line, an object at the top, and no space between "content": and
 * the string. It keeps what it gets for the same place, so that an answer without meaning must not look like
 * one that is empty: see is_void. */
#include "serve/api_llama.h"

#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "serve/api_impl.h"
#include "serve/api_run.h"

#define FIELDS_MAX     64  /* of response_fields */
#define FIELD_PATH_MAX 256 /* bytes */

/* --- Answers ------------------------------------------------------------------------------------------- */

static double per(double amount, double of)
{
    return of > 0 ? amount / of : 0;
}

static void write_timings(struct json *j, const struct service_timings *t)
{
    json_begin_object(j, "timings");
    json_int(j, "cache_n", t->n_prompt - t->n_computed);
    json_int(j, "prompt_n", t->n_computed);
    json_num(j, "prompt_ms", t->prompt, 3);
    json_num(j, "prompt_per_token_ms", per(t->prompt, t->n_computed), 3);
    json_num(j, "prompt_per_second", per(t->n_computed, t->prompt / 1e3), 3);
    json_int(j, "predicted_n", t->n_predicted);
    json_num(j, "predicted_ms", t->predict, 3);
    json_num(j, "predicted_per_token_ms", per(t->predict, t->n_predicted), 3);
    json_num(j, "predicted_per_second", per(t->n_predicted, t->predict / 1e3), 3);
    json_end_object(j);
}

static void write_settings(struct json *j, const struct api_run *r, int32_t n_ctx)
{
    const struct service_request *request = &r->params.request;
    json_begin_object(j, "generation_settings");
    json_int(j, "n_ctx", n_ctx);
    json_int(j, "n_predict", request->max_tokens);
    json_int(j, "n_indent", request->n_indent);
    json_num(j, "temperature", request->sampling.temperature, 4);
    json_int(j, "top_k", request->sampling.top_k);
    json_num(j, "top_p", request->sampling.top_p, 4);
    json_num(j, "min_p", request->sampling.min_p, 4);
    json_num(j, "repeat_penalty", request->sampling.repeat_penalty, 4);
    json_int(j, "repeat_last_n", request->sampling.repeat_last_n);
    json_int(j, "seed", (int64_t)request->sampling.seed);
    json_flag(j, "stream", r->params.is_stream);
    json_begin_array(j, "stop");
    for (int32_t i = 0; i < request->n_stops; i++)
        json_str_len(j, NULL, request->stops[i].text, request->stops[i].len);
    json_end_array(j);
    json_end_object(j);
}

/* How the model was asked, where it is the default one. */
static void write_fim(struct json *j, const struct api_run *r, const struct service_answer *a)
{
    struct service_model m = {0};
    int32_t i = service_n_models(r->api->service);
    while (--i >= 0) {
        service_model(r->api->service, i, &m);
        if (strcmp(m.name, a->model) == 0) break;
    }
    if (i < 0) return;
    json_begin_object(j, "fim");
    json_str(j, "family", m.fim_family);
    json_str(j, "order", m.fim_order);
    json_str(j, "detected", m.fim_detected);
    json_end_object(j);
}

/* Everything about one candidate; `len` bytes of its text are its content. */
static void write_candidate(struct json *j, const struct api_run *r, const struct service_answer *a,
                            int32_t candidate, size_t len)
{
    const struct service_candidate *c = api_run_candidate(a, candidate);
    size_t prompt_len = 0;
    const char *prompt = json_get_str(json_get(r->body, "prompt"), &prompt_len);
    json_begin_object(j, NULL);
    json_int(j, "index", candidate);
    json_str_len(j, "content", c->text, len);
    json_begin_array(j, "tokens");
    json_end_array(j);
    json_int(j, "id_slot", a->seq_id);
    json_flag(j, "stop", true);
    json_str(j, "model", a->model);
    json_int(j, "tokens_predicted", c->n_tokens);
    json_int(j, "tokens_evaluated", a->timings.n_prompt);
    write_settings(j, r, a->n_ctx);
    json_str_len(j, "prompt", prompt ? prompt : "", prompt_len);
    json_flag(j, "has_new_line", c->len > 0 && memchr(c->text, '\n', c->len) != NULL);
    json_flag(j, "truncated", a->prompt_truncated);
    json_str(j, "stop_type", api_run_stop_type(c));
    json_str(j, "stopping_word", c->stopping_word);
    json_int(j, "tokens_cached", a->timings.n_prompt + c->n_tokens);
    write_timings(j, &a->timings);
    if (a->outcome == SERVICE_SUPERSEDED) json_flag(j, "superseded", true);
    api_run_write_inline(j, a, c);
    write_fim(j, r, a);
    json_end_object(j);
}

/* The value at "timings/prompt_ms"; null if there is none. */
static const struct json_value *at_path(const struct json_value *v, const char *path)
{
    while (v) {
        char name[FIELD_PATH_MAX];
        size_t n = strcspn(path, "/");
        if (n >= sizeof name) return NULL;
        memcpy(name, path, n);
        name[n] = 0;
        v = json_get(v, name);
        if (!path[n]) return v;
        path += n + 1;
    }
    return NULL;
}

/* True where there is no text because nobody looked for it: superseded, or out of time before the first
 * token. Without a "content" llama.vim does not remember the answer for the next time. */
static bool is_void(const struct service_answer *a, const struct service_candidate *c)
{
    return a->outcome == SERVICE_SUPERSEDED || (c->n_tokens == 0 && strcmp(c->stop, "time") == 0);
}

/* Only the paths that the client asked for, flat: each is the key, literally. What is not there is left out.
 */
static void write_fields(struct json *j, const struct json_value *fields, const struct json_value *whole,
                         bool without_content)
{
    json_begin_object(j, NULL);
    for (size_t i = 0; i < json_count(fields) && i < FIELDS_MAX; i++) {
        const char *path = json_get_str(json_at(fields, i), NULL);
        const struct json_value *v = path ? at_path(whole, path) : NULL;
        if (!v || (without_content && strcmp(path, "content") == 0)) continue;
        struct buf text;
        buf_init(&text, API_ANSWER_MAX);
        json_write_value(v, &text);
        if (text.err) j->out->err = text.err;
        json_raw(j, path, buf_str(&text), text.len);
        buf_clear(&text);
    }
    json_end_object(j);
}

static void write_chosen(struct json *j, const struct api_run *r, const struct service_answer *a,
                         int32_t candidate, size_t len)
{
    const struct json_value *fields = json_get(r->body, "response_fields");
    if (json_count(fields) == 0) {
        write_candidate(j, r, a, candidate, len);
        return;
    }
    struct buf all;
    buf_init(&all, API_ANSWER_MAX);
    struct json whole;
    json_init(&whole, &all);
    write_candidate(&whole, r, a, candidate, len);
    struct json_value *root = NULL;
    enum err err = all.err ? all.err : json_read(buf_str(&all), all.len, &root, NULL);
    if (err) j->out->err = err;
    write_fields(j, fields, root, is_void(a, api_run_candidate(a, candidate)));
    json_read_free(&root);
    buf_clear(&all);
}

/* A list only for who asked for several: then of as many as differ. */
static void write_whole(const struct api_run *r, const struct service_answer *a, struct buf *out)
{
    struct json j;
    json_init(&j, out);
    bool is_list = r->params.request.n_candidates > 1;
    if (is_list) json_begin_array(&j, NULL);
    int32_t n = is_list ? api_run_n_candidates(a) : 1;
    for (int32_t i = 0; i < n; i++) write_chosen(&j, r, a, i, api_run_candidate(a, i)->len);
    if (is_list) json_end_array(&j);
}

static void write_piece(const struct api_run *r, int32_t candidate, const char *text, size_t len,
                        struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_int(&j, "index", candidate);
    json_str_len(&j, "content", text, len);
    json_begin_array(&j, "tokens");
    json_end_array(&j);
    json_flag(&j, "stop", false);
    json_int(&j, "id_slot", r->params.id_slot);
    json_end_object(&j);
}

static void write_last(const struct api_run *r, const struct service_answer *a, int32_t candidate,
                       struct buf *out)
{
    struct json j;
    json_init(&j, out);
    write_chosen(&j, r, a, candidate, 0);
}

/* --- Requests ------------------------------------------------------------------------------------------ */

static enum err read_common(struct api_run *r, struct errmsg *msg)
{
    const struct json_value *fields = json_get(r->body, "response_fields");
    if (fields && !json_is_array(fields))
        return err_set(msg, ERR_ARG, "\"response_fields\" must be a list of strings");
    return api_params_fields(&r->params, r->body, msg);
}

static enum err read_infill(struct api_run *r, struct errmsg *msg)
{
    enum err err = read_common(r, msg);
    if (!err) err = api_params_place(&r->params, r->body, "input_prefix", "prompt", "input_suffix", msg);
    if (!err) err = api_params_str(r->body, "filename", &r->params.request.path, NULL, msg);
    if (!err) err = api_params_files(&r->params, r->body, "input_extra", "filename", "text", msg);
    return err;
}

static enum err read_completion(struct api_run *r, struct errmsg *msg)
{
    enum err err = read_common(r, msg);
    if (!err) err = api_params_prompt(&r->params, r->body, "prompt", msg);
    return err;
}

void api_llama_infill(struct api *a, struct http_exchange *x)
{
    static const struct api_shape SHAPE = {.door = METRIC_API_INFILL,
                                           .read = read_infill,
                                           .write_whole = write_whole,
                                           .write_piece = write_piece,
                                           .write_last = write_last,
                                           .write_error = api_run_write_error,
                                           .closing = ""};
    api_run_start(a, x, &SHAPE);
}

void api_llama_completion(struct api *a, struct http_exchange *x)
{
    static const struct api_shape SHAPE = {.door = METRIC_API_COMPLETION,
                                           .read = read_completion,
                                           .write_whole = write_whole,
                                           .write_piece = write_piece,
                                           .write_last = write_last,
                                           .write_error = api_run_write_error,
                                           .closing = ""};
    api_run_start(a, x, &SHAPE);
}
