/* What the dialects have in common: see dialect.h. */
#include "remote/dialect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "remote/dialect_impl.h"

/* Bytes of what a server says that go into a message: the rest of the line is ours. */
#define SAID_MAX 300

static const struct dialect *const dialects[REMOTE_N_APIS] = {
    [REMOTE_OPENAI] = &dialect_openai,
    [REMOTE_LLAMA] = &dialect_llama,
    [REMOTE_OLLAMA] = &dialect_ollama,
};

bool dialect_api(const char *name, enum remote_api *out)
{
    for (int i = 0; i < REMOTE_N_APIS; i++) {
        if (strcmp(name, dialects[i]->name) != 0) continue;
        *out = (enum remote_api)i;
        return true;
    }
    return false;
}

const char *dialect_api_name(enum remote_api api)
{
    return dialects[api]->name;
}

const char *dialect_probe_path(enum remote_api api)
{
    return dialects[api]->probe_path;
}

void dialect_url(const char *base, const char *path, struct buf *out)
{
    static const char version[] = "/v1";
    const size_t version_len = sizeof version - 1;
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/') len--;
    bool has_version = len >= version_len && memcmp(base + len - version_len, version, version_len) == 0;
    if (has_version && strncmp(path, "/v1/", version_len + 1) == 0) len -= version_len;
    buf_add(out, base, len);
    buf_add_str(out, path);
}

void dialect_write_prompt(struct json *j, const char *key, const char *text, size_t len)
{
    json_str_len(j, key, len ? text : "\n", len ? len : 1);
}

void dialect_write_tokens(struct json *j, const char *key, const int32_t *tokens, int32_t n)
{
    json_begin_array(j, key);
    for (int32_t i = 0; i < n; i++) json_int(j, NULL, tokens[i]);
    json_end_array(j);
}

void dialect_write_stops(struct json *j, const struct remote_ask *ask, int32_t max)
{
    if (ask->n_stops <= 0) return;
    json_begin_array(j, "stop");
    for (int32_t i = 0; i < ask->n_stops && i < max; i++) {
        json_str_len(j, NULL, ask->stops[i].text, ask->stops[i].len);
    }
    json_end_array(j);
}

int64_t dialect_seed(const struct remote_ask *ask)
{
    return (int64_t)(ask->sampling.seed & INT32_MAX);
}

const char *dialect_write(enum remote_api api, const struct remote_traits *t, const struct remote_ask *ask,
                          struct buf *body)
{
    return dialects[api]->write(t, ask, body);
}

int32_t dialect_count(const struct json_value *v)
{
    int64_t n;
    if (!json_get_int(v, &n) || n < 0) return -1;
    return n < INT32_MAX ? (int32_t)n : INT32_MAX;
}

void dialect_add_text(const struct json_value *v, struct buf *text)
{
    size_t len;
    const char *s = json_get_str(v, &len);
    if (s) buf_add(text, s, len);
}

void dialect_add_logprobs(const struct json_value *list, struct dialect_piece *out)
{
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json_value *item = json_at(list, i);
        double logprob;
        if (!json_get_num(json_is_object(item) ? json_get(item, "logprob") : item, &logprob)) continue;
        if (!isfinite(logprob)) continue;
        out->logprob += logprob;
        out->n_logprobs++;
    }
}

bool dialect_is_str(const struct json_value *v, const char *text)
{
    const char *s = json_get_str(v, NULL);
    return s && strcmp(s, text) == 0;
}

bool dialect_copy_name(const struct json_value *v, char name[REMOTE_NAME_MAX])
{
    size_t len;
    const char *s = json_get_str(v, &len);
    if (!s || len == 0 || len >= REMOTE_NAME_MAX || strlen(s) != len) return false;
    memcpy(name, s, len + 1);
    return true;
}

/* The message in an answer that reports a failure: the shapes of OpenAI, Ollama and TGI, FastAPI (where a
 * request is refused, a list of what is wrong), and vLLM before 2025. Null: none. */
static const struct json_value *failure(const struct json_value *root)
{
    const struct json_value *error = json_get(root, "error"), *detail = json_get(root, "detail");
    const struct json_value *found = json_is_object(error) ? json_get(error, "message") : error;
    if (!json_is_str(found)) found = json_is_array(detail) ? json_get(json_at(detail, 0), "msg") : detail;
    if (!json_is_str(found)) found = json_get(root, "message");
    return json_is_str(found) ? found : NULL;
}

/* What a server says as one line: white space and control characters become single spaces. */
static void tidy(const char *text, size_t len, char out[SAID_MAX + 1])
{
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0; i < len && n < SAID_MAX - 1; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= ' ' || c == 0x7f) {
            gap = n > 0;
            continue;
        }
        if (gap) out[n++] = ' ';
        gap = false;
        out[n++] = text[i];
    }
    out[utf8_complete_len(out, n)] = '\0';
}

/* Gateways answer with a page, whose title says it. */
static const char *title_of(const char *page, size_t *len)
{
    static const char mark[] = "<title>";
    const size_t mark_len = sizeof mark - 1;
    for (size_t i = 0; i + mark_len <= *len; i++) {
        if (strncasecmp(page + i, mark, mark_len) != 0) continue;
        const char *title = page + i + mark_len, *end = memchr(title, '<', *len - i - mark_len);
        *len = end ? (size_t)(end - title) : 0;
        return title;
    }
    *len = 0;
    return page;
}

static bool is_page(const char *body, size_t len)
{
    size_t i = 0;
    while (i < len && strchr(" \t\r\n", body[i])) i++;
    return i < len && body[i] == '<';
}

void dialect_read_error(const char *body, size_t len, struct errmsg *out)
{
    char said[SAID_MAX + 1] = "";
    struct json_value *root = NULL;
    enum err err = json_read(body, len, &root, NULL);
    if (!err) {
        body = json_get_str(failure(root), &len);
        if (body) tidy(body, len, said);
    } else {
        if (is_page(body, len)) body = title_of(body, &len);
        tidy(body, len, said);
    }
    json_read_free(&root);
    (void)err_set(out, OK, "%s", said);
}

/* A failure in mid-stream: {"error": ..}, or its contents alone. */
static bool is_failure(const struct json_value *event)
{
    const struct json_value *error = json_get(event, "error");
    const char *text = json_get_str(error, NULL);
    return json_is_object(error) || (text && text[0]) || json_is_str(json_get(event, "message"));
}

static enum err report_failure(const struct json_value *event, struct errmsg *msg)
{
    char said[SAID_MAX + 1] = "";
    size_t len;
    const char *text = json_get_str(failure(event), &len);
    if (text) tidy(text, len, said);
    return err_set(msg, ERR_NETWORK, "the server failed: %s", said[0] ? said : "it does not say why");
}

static enum err read_event(const struct dialect *d, const struct json_value *event, struct buf *text,
                           struct dialect_piece *out, struct errmsg *msg)
{
    if (is_failure(event)) return report_failure(event, msg);
    size_t len = text->len;
    if (!json_is_object(event) || !d->read(event, text, out)) {
        return err_set(msg, ERR_FORMAT, "its answer is not one of the %s API", d->name);
    }
    if (text->err) return err_set(msg, text->err, "its answer cannot be kept: %s", err_text(text->err));
    if (out->n_tokens == 0 && text->len > len) out->n_tokens = 1;
    return OK;
}

enum err dialect_read(enum remote_api api, const char *event, size_t len, struct buf *text,
                      struct dialect_piece *out, struct errmsg *msg)
{
    struct json_value *root = NULL;
    struct errmsg why = {0};
    *out = (struct dialect_piece){.n_prompt = -1, .n_reused = -1, .n_generated = -1};
    enum err err = json_read(event, len, &root, &why);
    if (err) return err_set(msg, err, "its answer cannot be read: %s", why.text);
    err = read_event(dialects[api], root, text, out, msg);
    json_read_free(&root);
    return err;
}

bool dialect_question(enum remote_api api, int32_t i, const char *wanted, const struct remote_traits *so_far,
                      struct dialect_question *out, struct buf *body)
{
    if (i < 0 || i >= dialects[api]->n_questions) return false;
    *out = (struct dialect_question){0};
    dialects[api]->ask(i, wanted, so_far, out, body);
    return true;
}

/* Another API whose server this seems to be, by what it answers to a path that it does not have; null: none.
 */
static const struct dialect *guess(const struct dialect *asked, const struct json_value *root,
                                   const char *body, size_t len)
{
    static const char go[] = "404 page not found"; /* of Go's web servers: Ollama, among these */
    const struct json_value *error = json_get(root, "error");
    const struct dialect *d = NULL;
    if (dialect_is_str(json_get(root, "detail"), "Not Found")) d = &dialect_openai; /* FastAPI */
    if (dialect_is_str(json_get(error, "type"), "not_found_error")) d = &dialect_llama;
    if (len >= sizeof go - 1 && memcmp(body, go, sizeof go - 1) == 0) d = &dialect_ollama;
    for (int i = REMOTE_N_APIS - 1; i >= 0 && !d; i--) { /* OpenAI's is the least particular */
        if (dialects[i] != asked && dialects[i]->is_from(root)) d = dialects[i];
    }
    return d == asked ? NULL : d;
}

/* The first question got no answer of this API: what to do about it. */
static enum err not_there(const struct dialect *d, const char *path, int status,
                          const struct json_value *root, const char *body, size_t len, struct errmsg *msg)
{
    const struct dialect *other = guess(d, root, body, len);
    const char *got = is_page(body, len) ? "a web page" : root ? "another answer" : "no JSON";
    char what[32];
    if (status == 200) {
        (void)snprintf(what, sizeof what, "%s", got);
    } else {
        (void)snprintf(what, sizeof what, "%d", status);
    }
    if (other) {
        return err_set(msg, ERR_FORMAT, "no %s there (%s at %s), but perhaps %s: set api = %s", d->service,
                       what, path, other->service, other->name);
    }
    return err_set(msg, ERR_FORMAT, "no %s there (%s at %s); is the URL right?", d->service, what, path);
}

/* What no question can live with. */
static enum err check_status(int status, const char *path, const char *body, size_t len, struct errmsg *msg)
{
    struct errmsg said;
    if (status == 401 || status == 403) {
        return err_set(msg, ERR_ARG, "%d at %s: it wants a key, or another one (key_file, key_env)", status,
                       path);
    }
    if (status != 408 && status != 429 && (status < 500 || status == 501)) return OK;
    dialect_read_error(body, len, &said);
    return err_set(msg, ERR_NETWORK, "%d at %s%s%s", status, path, said.text[0] ? ": " : "", said.text);
}

enum err dialect_learn(enum remote_api api, int32_t i, const char *wanted, int status, const char *body,
                       size_t len, struct remote_traits *inout, struct errmsg *msg)
{
    const struct dialect *d = dialects[api];
    struct dialect_question q;
    struct buf ignored;
    struct json_value *root = NULL;
    buf_init(&ignored, 0); /* only the path is wanted */
    if (!dialect_question(api, i, "", inout, &q, &ignored)) return err_set(msg, ERR_ARG, "no such question");
    enum err err = check_status(status, q.path, body, len, msg);
    if (!err && json_read(body, len, &root, NULL) == ERR_NOMEM) {
        err = err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    }
    if (!err && i == 0 && (status != 200 || !d->is_from(root))) {
        err = not_there(d, q.path, status, root, body, len, msg);
    }
    struct dialect_answer a = {i, status, root, wanted};
    if (!err) err = d->learn(&a, inout, msg);
    if (!err && i + 1 == d->n_questions) inout->is_known = true;
    json_read_free(&root);
    return err;
}
