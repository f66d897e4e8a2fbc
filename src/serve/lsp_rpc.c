/* Messages in and out. Ids are kept and compared as JSON text, so that 1 and "1" stay different and come back
 * the way they were sent. */
#include "serve/lsp_rpc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/lsp_frame.h"

/* --- In ---------------------------------------------------------------------------------------------- */

static void invalid(struct lsp_message *m, enum lsp_rpc_code code, const char *what)
{
    m->kind = LSP_RPC_INVALID;
    m->fault = code;
    (void)err_set(&m->msg, ERR_FORMAT, "%s", what);
}

/* False if there is one that cannot be used. */
static bool read_id(const struct json_value *v, char **out)
{
    struct buf text;
    if (!v) return true;
    if (!json_is_str(v) && !json_is_number(v)) return false;
    buf_init(&text, LSP_RPC_ID_MAX);
    json_write_value(v, &text);
    bool fits = !text.err;
    if (fits) *out = buf_take(&text);
    buf_clear(&text);
    return fits;
}

static bool is_not_outcome(void *ctx, const char *key, const struct json_value *v)
{
    (void)v;
    bool is_outcome = strcmp(key, "result") == 0 || strcmp(key, "error") == 0;
    *(bool *)ctx |= is_outcome;
    return !is_outcome;
}

/* A result may be null, which json_get cannot tell from none. */
static bool has_outcome(const struct json_value *object)
{
    bool found = false;
    json_each(object, is_not_outcome, &found);
    return found;
}

static void classify(struct lsp_message *m)
{
    const struct json_value *method = json_get(m->root, "method");
    const char *version = json_get_str(json_get(m->root, "jsonrpc"), NULL);
    if (!read_id(json_get(m->root, "id"), &m->id)) {
        invalid(m, LSP_RPC_INVALID_REQUEST, "an id is a number or a string of at most 256 bytes");
    } else if (!version || strcmp(version, "2.0") != 0) {
        invalid(m, LSP_RPC_INVALID_REQUEST, "\"jsonrpc\" is not \"2.0\"");
    } else if (method && !json_is_str(method)) {
        invalid(m, LSP_RPC_INVALID_REQUEST, "\"method\" is not a string");
    } else if (method) {
        m->kind = m->id ? LSP_RPC_REQUEST : LSP_RPC_NOTIFICATION;
        m->method = json_get_str(method, NULL);
        m->params = json_get(m->root, "params");
    } else if (has_outcome(m->root)) {
        m->kind = LSP_RPC_RESPONSE;
        m->is_error = json_get(m->root, "error") != NULL;
    } else {
        invalid(m, LSP_RPC_INVALID_REQUEST, "neither a method nor a result");
    }
}

void lsp_rpc_read(const char *body, size_t len, struct lsp_message *m)
{
    struct errmsg msg = {0};
    *m = (struct lsp_message){0};
    enum err err = json_read(body, len, &m->root, &msg);
    if (err) {
        enum lsp_rpc_code code = err == ERR_FORMAT  ? LSP_RPC_PARSE_ERROR
                                 : err == ERR_NOMEM ? LSP_RPC_INTERNAL_ERROR
                                                    : LSP_RPC_INVALID_REQUEST;
        invalid(m, code, msg.text);
    } else if (json_is_array(m->root)) {
        invalid(m, LSP_RPC_INVALID_REQUEST, "batches are not part of the language server protocol");
    } else if (!json_is_object(m->root)) {
        invalid(m, LSP_RPC_INVALID_REQUEST, "a message is an object");
    } else {
        classify(m);
    }
}

void lsp_rpc_clear(struct lsp_message *m)
{
    mem_free(m->id);
    json_read_free(&m->root);
    *m = (struct lsp_message){0};
}

/* --- Out --------------------------------------------------------------------------------------------- */

/* What a model can write in one answer is far below; beyond it something is wrong. */
#define MESSAGE_MAX ((size_t)16 << 20)

void lsp_rpc_init(struct lsp_rpc *r, void (*write)(void *ctx, const char *bytes, size_t len), void *ctx)
{
    *r = (struct lsp_rpc){.write = write, .ctx = ctx};
    buf_init(&r->body, MESSAGE_MAX);
    buf_init(&r->frame, MESSAGE_MAX + LSP_FRAME_HEADER_MAX);
}

void lsp_rpc_free(struct lsp_rpc *r)
{
    buf_clear(&r->body);
    buf_clear(&r->frame);
}

static struct json *begin(struct lsp_rpc *r)
{
    buf_reset(&r->body);
    json_init(&r->json, &r->body);
    json_begin_object(&r->json, NULL);
    json_str(&r->json, "jsonrpc", "2.0");
    return &r->json;
}

static struct json *begin_with_id(struct lsp_rpc *r, const char *id)
{
    struct json *j = begin(r);
    buf_printf(&r->body, ",\"id\":%s", id ? id : "null");
    return j;
}

struct json *lsp_rpc_begin_result(struct lsp_rpc *r, const char *id)
{
    return begin_with_id(r, id);
}

struct json *lsp_rpc_begin_notification(struct lsp_rpc *r, const char *method)
{
    struct json *j = begin(r);
    json_str(j, "method", method);
    return j;
}

struct json *lsp_rpc_begin_request(struct lsp_rpc *r, const char *id, const char *method)
{
    struct json *j = begin_with_id(r, id);
    json_str(j, "method", method);
    return j;
}

void lsp_rpc_send(struct lsp_rpc *r)
{
    json_end_object(&r->json);
    buf_reset(&r->frame);
    if (!r->body.err) lsp_frame_write(buf_str(&r->body), r->body.len, &r->frame);
    if (r->body.err || r->frame.err) {
        log_line(LOG_ERROR, "language server: a message could not be sent: %s",
                 err_text(r->body.err ? r->body.err : r->frame.err));
        return;
    }
    r->write(r->ctx, r->frame.data, r->frame.len);
}

void lsp_rpc_null(struct lsp_rpc *r, const char *id)
{
    json_str(lsp_rpc_begin_result(r, id), "result", NULL);
    lsp_rpc_send(r);
}

void lsp_rpc_error(struct lsp_rpc *r, const char *id, enum lsp_rpc_code code, const char *fmt, ...)
{
    char text[ERRMSG_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct json *j = begin_with_id(r, id);
    json_begin_object(j, "error");
    json_int(j, "code", code);
    json_str(j, "message", text);
    json_end_object(j);
    lsp_rpc_send(r);
}
