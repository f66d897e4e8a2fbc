/* The base protocol of the language server protocol: messages in a stream of bytes, each behind a header
 * with its Content-Length. Incremental, and bounded whatever the stream says. */
#ifndef SERVE_LSP_FRAME_H
#define SERVE_LSP_FRAME_H

#include <stdbool.h>

#include "base/buf.h"

#define LSP_FRAME_HEADER_MAX 4096
#define LSP_FRAME_BODY_MAX   ((size_t)64 << 20)

enum lsp_frame_state {
    LSP_FRAME_PARTIAL, /* all bytes are taken; the message needs more */
    LSP_FRAME_WHOLE,   /* `body` is a message, until the next call */
    LSP_FRAME_BROKEN   /* not this protocol, or too large: `fault` says what; no way to go on */
};

struct lsp_frame {
    struct buf header, body;
    size_t body_len; /* announced */
    enum lsp_frame_state state;
    bool in_body;
    struct errmsg fault;
};

void lsp_frame_init(struct lsp_frame *f);
void lsp_frame_clear(struct lsp_frame *f);

/* Take bytes up to the end of one message; *used is how many those were. Call again with the rest. */
enum lsp_frame_state lsp_frame_take(struct lsp_frame *f, const char *bytes, size_t len, size_t *used);

/* Append a message to out, behind its header. */
void lsp_frame_write(const char *body, size_t len, struct buf *out);

#endif
