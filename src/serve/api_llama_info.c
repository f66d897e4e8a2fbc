/* What llama-server tells about itself: /health, /props, /slots, /metrics; and its tokenizer. */
#include "serve/api_llama.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "serve/api_impl.h"
#include "serve/api_params.h"
#include "serve/api_run.h"

#define SLOTS_MAX 256

/* --- State --------------------------------------------------------------------------------------------- */

void api_llama_health(struct api *a, struct http_exchange *x)
{
    static const char OK_TEXT[] = "{\"status\":\"ok\"}";
    struct service_model m;
    if (api_is_ready(a, x, &m)) http_answer(x, 200, API_JSON, OK_TEXT, sizeof OK_TEXT - 1);
}

void api_llama_props(struct api *a, struct http_exchange *x)
{
    struct service_model m;
    service_model(a->service, 0, &m);
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_begin_object(&j, "default_generation_settings");
    json_int(&j, "n_ctx", m.n_ctx);
    json_end_object(&j);
    json_str(&j, "model_alias", m.name);
    json_str(&j, "model_path", m.path);
    json_str(&j, "build_info", "inline " INLINE_VERSION);
    json_str(&j, "chat_template", "");
    json_flag(&j, "is_sleeping", m.state == SERVICE_INSTALLED || m.state == SERVICE_UNLOADING);
    json_str(&j, "fim_family", m.fim_family);
    json_str(&j, "fim_order", m.fim_order);
    json_int(&j, "total_slots", service_slots(a->service, NULL, 0));
    json_end_object(&j);
    api_answer(x, 200, &out);
}

/* The slots, at most max of them; returns how many. */
static int32_t read_slots(struct api *a, struct service_slot *slots, int32_t max)
{
    int32_t n = service_slots(a->service, slots, max);
    return n < max ? n : max;
}

void api_llama_slots(struct api *a, struct http_exchange *x)
{
    struct service_slot slots[SLOTS_MAX];
    int32_t n = read_slots(a, slots, SLOTS_MAX);
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    struct json j;
    json_init(&j, &out);
    json_begin_array(&j, NULL);
    for (int32_t i = 0; i < n; i++) {
        json_begin_object(&j, NULL);
        json_int(&j, "id", slots[i].id);
        json_int(&j, "n_ctx", slots[i].n_ctx);
        json_flag(&j, "is_processing", slots[i].is_processing);
        json_int(&j, "n_tokens", slots[i].n_tokens);
        json_int(&j, "n_prompt", slots[i].n_prompt);
        json_int(&j, "n_decoded", slots[i].n_generated);
        json_end_object(&j);
    }
    json_end_array(&j);
    api_answer(x, 200, &out);
}

static void write_metric(struct buf *out, const char *name, const char *type, const char *help, double value)
{
    buf_printf(out, "# HELP llamacpp:%s %s\n# TYPE llamacpp:%s %s\nllamacpp:%s %.10g\n", name, help, name,
               type, name, value);
}

static double per_second(int64_t n, double ms)
{
    return ms > 0 ? (double)n / (ms / 1e3) : 0;
}

/* The names that llama-server has. Prometheus keeps colons for recording rules, so they are not among ours.
 */
static void write_llama_metrics(struct api *a, struct buf *out)
{
    struct service_slot slots[SLOTS_MAX];
    int32_t n = read_slots(a, slots, SLOTS_MAX), n_busy = 0, n_running = service_n_running(a->service);
    for (int32_t i = 0; i < n; i++) n_busy += slots[i].is_processing;
    const struct api_totals *t = &a->totals;
    write_metric(out, "prompt_tokens_total", "counter", "Prompt tokens computed.", (double)t->n_prompt);
    write_metric(out, "prompt_seconds_total", "counter", "Time spent on prompts.", t->prompt_ms / 1e3);
    write_metric(out, "tokens_predicted_total", "counter", "Tokens generated.", (double)t->n_predicted);
    write_metric(out, "tokens_predicted_seconds_total", "counter", "Time spent generating.",
                 t->predict_ms / 1e3);
    write_metric(out, "prompt_tokens_seconds", "gauge", "Prompt tokens computed per second.",
                 per_second(t->n_prompt, t->prompt_ms));
    write_metric(out, "predicted_tokens_seconds", "gauge", "Tokens generated per second.",
                 per_second(t->n_predicted, t->predict_ms));
    write_metric(out, "requests_processing", "gauge", "Requests that have a slot.", n_busy);
    write_metric(out, "requests_deferred", "gauge", "Requests that wait for one.",
                 n_running > n_busy ? n_running - n_busy : 0);
}

void api_llama_metrics(struct api *a, struct http_exchange *x)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    if (strcmp(http_request_of(x)->query, "names=llamacpp") == 0) {
        write_llama_metrics(a, &out);
    } else if (a->o.metrics) {
        service_measure(a->service, true);
        metrics_write(a->o.metrics, &out);
    }
    if (out.err) {
        http_error(x, 500, "server_error", "%s", err_text(out.err));
    } else {
        http_answer(x, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    }
    buf_clear(&out);
}

/* --- Tokenizer ----------------------------------------------------------------------------------------- */

/* The body as an object, or null after an answer that says what is wrong. */
static struct json_value *read_object(struct http_exchange *x)
{
    const struct http_request *request = http_request_of(x);
    struct json_value *body = NULL;
    struct errmsg msg = {0};
    if (json_read(request->body, request->body_len, &body, &msg)) {
        http_error(x, 400, "invalid_request_error", "the body is not JSON: %s", msg.text);
        return NULL;
    }
    if (json_is_object(body)) return body;
    http_error(x, 400, "invalid_request_error", "the body must be a JSON object");
    json_read_free(&body);
    return NULL;
}

static void refuse_not_ready(struct http_exchange *x)
{
    http_error(x, 503, "unavailable_error", "the model is not ready; GET /health says why");
}

/* A token and its text: as a string where it is UTF-8 by itself, else as a list of bytes. */
static void write_piece(struct json *j, struct api *a, const char *model, int32_t token)
{
    struct buf piece;
    buf_init(&piece, API_ANSWER_MAX);
    json_begin_object(j, NULL);
    json_int(j, "id", token);
    bool is_text = service_detokenize(a->service, model, &token, 1, &piece) &&
                   utf8_valid_len(buf_str(&piece), piece.len) == piece.len;
    if (is_text) {
        json_str_len(j, "piece", buf_str(&piece), piece.len);
    } else {
        json_begin_array(j, "piece");
        for (size_t i = 0; i < piece.len; i++) json_int(j, NULL, (unsigned char)piece.data[i]);
        json_end_array(j);
    }
    json_end_object(j);
    buf_clear(&piece);
}

struct tokenize_request {
    const char *model, *text;
    size_t len;
    bool adds_bos, parses_special, with_pieces;
};

static enum err read_flag(const struct json_value *object, const char *name, bool *out, struct errmsg *msg)
{
    const struct json_value *v = json_get(object, name);
    if (!v || json_get_flag(v, out)) return OK;
    return err_set(msg, ERR_ARG, "\"%s\" must be true or false", name);
}

static enum err read_tokenize(const struct json_value *body, struct tokenize_request *r, struct errmsg *msg)
{
    *r = (struct tokenize_request){.model = "", .text = "", .parses_special = true};
    enum err err = api_params_str(body, "content", &r->text, &r->len, msg);
    if (!err) err = api_params_str(body, "model", &r->model, NULL, msg);
    if (!err) err = read_flag(body, "add_special", &r->adds_bos, msg);
    if (!err) err = read_flag(body, "parse_special", &r->parses_special, msg);
    if (!err) err = read_flag(body, "with_pieces", &r->with_pieces, msg);
    return err;
}

void api_llama_tokenize(struct api *a, struct http_exchange *x)
{
    struct json_value *body = read_object(x);
    if (!body) return;
    struct token_list tokens = {0};
    struct tokenize_request r;
    struct errmsg msg = {0};
    if (read_tokenize(body, &r, &msg)) {
        http_error(x, 400, "invalid_request_error", "%s", msg.text);
    } else if (!service_tokenize(a->service, r.model, r.text, r.len, r.adds_bos, r.parses_special, &tokens)) {
        refuse_not_ready(x);
    } else {
        struct buf out;
        buf_init(&out, API_ANSWER_MAX);
        struct json j;
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_begin_array(&j, "tokens");
        for (int32_t i = 0; i < tokens.n; i++) {
            if (r.with_pieces) {
                write_piece(&j, a, r.model, tokens.ids[i]);
            } else {
                json_int(&j, NULL, tokens.ids[i]);
            }
        }
        json_end_array(&j);
        json_end_object(&j);
        api_answer(x, 200, &out);
    }
    token_list_clear(&tokens);
    json_read_free(&body);
}

void api_llama_detokenize(struct api *a, struct http_exchange *x)
{
    struct json_value *body = read_object(x);
    if (!body) return;
    struct api_params p;
    api_params_init(&p);
    struct buf text, out;
    buf_init(&text, API_ANSWER_MAX);
    buf_init(&out, API_ANSWER_MAX);
    struct errmsg msg = {0};
    enum err err = api_params_str(body, "model", &p.request.model, NULL, &msg);
    if (!err) err = api_params_prompt(&p, body, "tokens", &msg);
    if (!err && !p.request.tokens) err = err_set(&msg, ERR_ARG, "\"tokens\" must be a list of token ids");
    if (err) {
        http_error(x, err == ERR_ARG ? 400 : 500, "invalid_request_error", "%s", msg.text);
    } else if (!service_detokenize(a->service, p.request.model, p.request.tokens, p.request.n_tokens,
                                   &text)) {
        refuse_not_ready(x);
    } else {
        struct json j;
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_str_len(&j, "content", buf_str(&text), text.len);
        json_end_object(&j);
        api_answer(x, 200, &out);
    }
    buf_clear(&text);
    api_params_clear(&p);
    json_read_free(&body);
}
