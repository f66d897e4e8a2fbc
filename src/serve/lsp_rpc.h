/* JSON-RPC 2.0 as the language server protocol uses it: what a message is, and messages out. No batches. */
#ifndef SERVE_LSP_RPC_H
#define SERVE_LSP_RPC_H

#include <stdbool.h>

#include "base/json.h"
#include "base/json_read.h"

#define LSP_RPC_ID_MAX 256 /* bytes of an id as JSON; clients count, or use a UUID */

enum lsp_rpc_code {
    LSP_RPC_PARSE_ERROR = -32700,
    LSP_RPC_INVALID_REQUEST = -32600,
    LSP_RPC_METHOD_NOT_FOUND = -32601,
    LSP_RPC_INVALID_PARAMS = -32602,
    LSP_RPC_INTERNAL_ERROR = -32603,
    LSP_RPC_NOT_INITIALIZED = -32002, /* these three are LSP's */
    LSP_RPC_REQUEST_CANCELLED = -32800,
    LSP_RPC_REQUEST_FAILED = -32803
};

enum lsp_rpc_kind { LSP_RPC_REQUEST, LSP_RPC_NOTIFICATION, LSP_RPC_RESPONSE, LSP_RPC_INVALID };

struct lsp_message {
    enum lsp_rpc_kind kind;
    char *id;           /* owned; as JSON, the way it came; null: none, or none that can be used */
    const char *method; /* null in a response */
    const struct json_value *params; /* may be null */
    bool is_error;                   /* of a response */
    enum lsp_rpc_code fault;         /* of an invalid message: what to answer */
    struct errmsg msg;
    struct json_value *root; /* owned; the views are into it */
};

/* Always fills m; lsp_rpc_clear frees what it holds. */
void lsp_rpc_read(const char *body, size_t len, struct lsp_message *m);
void lsp_rpc_clear(struct lsp_message *m);

/* The way out. A message is begun, gets one value named "result" or "params" from the caller, and is sent;
 * one at a time. */
struct lsp_rpc {
    struct buf body, frame;
    struct json json;
    void (*write)(void *ctx, const char *bytes, size_t len);
    void *ctx;
};

void lsp_rpc_init(struct lsp_rpc *r, void (*write)(void *ctx, const char *bytes, size_t len), void *ctx);
void lsp_rpc_free(struct lsp_rpc *r);

struct json *lsp_rpc_begin_result(struct lsp_rpc *r, const char *id);
struct json *lsp_rpc_begin_notification(struct lsp_rpc *r, const char *method);
struct json *lsp_rpc_begin_request(struct lsp_rpc *r, const char *id, const char *method);
void lsp_rpc_send(struct lsp_rpc *r);

/* Whole answers. A null id is written as null. */
void lsp_rpc_null(struct lsp_rpc *r, const char *id);
void lsp_rpc_error(struct lsp_rpc *r, const char *id, enum lsp_rpc_code code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

#endif
