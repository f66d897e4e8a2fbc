/* One editor's language server session (LSP 3.18): documents in, inline completions out.
 *
 * A session is fed the bytes of a stream and writes its answers to another; it knows no sockets. Thread:
 * loop. */
#ifndef SERVE_LSP_H
#define SERVE_LSP_H

#include <stdbool.h>
#include <stddef.h>

struct alert;
struct alerts;
struct lsp;
struct service;

struct lsp_options {
    struct service *service;                                 /* borrowed */
    const struct alerts *alerts;                             /* borrowed, or null */
    void (*write)(void *ctx, const char *bytes, size_t len); /* whole frames; must not free the session */
    /* The client said exit, or its stream is beyond repair. Once; the last thing that lsp_feed does, so that
     * it may free the session. */
    void (*on_exit)(void *ctx);
    void *ctx;
};

struct lsp *lsp_new(const struct lsp_options *o);
void lsp_feed(struct lsp *l, const char *bytes, size_t len);
/* An alert of lsp_options.alerts fires or is over. When a rule fires for the first time in the session, the
 * user is told (window/showMessage), else the editor's log; a client that shows a status is sent that. */
void lsp_on_alert(struct lsp *l, const struct alert *alert);
/* A model's state has changed: report progress. */
void lsp_on_models(struct lsp *l);
size_t lsp_documents_bytes(const struct lsp *l); /* memory of what its client keeps open */
void lsp_free(struct lsp **l);                   /* cancels its requests */

#endif
