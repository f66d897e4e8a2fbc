/* The folders that an editor has open, and what a document's URI looks like from there. Names only: nothing
 * is looked up on disk. */
#ifndef SERVE_LSP_WORKSPACE_H
#define SERVE_LSP_WORKSPACE_H

#include "base/buf.h"

#define LSP_WORKSPACE_FOLDERS_MAX 64 /* more are ignored */

struct lsp_workspace {
    char *folders[LSP_WORKSPACE_FOLDERS_MAX]; /* owned; decoded paths without the last slash */
    int n;
};

/* The folder's path, or null if it is not new. */
const char *lsp_workspace_add(struct lsp_workspace *w, const char *uri);
/* The path, for the caller to free; null if it was not there. */
char *lsp_workspace_remove(struct lsp_workspace *w, const char *uri);
void lsp_workspace_clear(struct lsp_workspace *w);

/* The innermost folder that holds the document; null: none. */
const char *lsp_workspace_folder(const struct lsp_workspace *w, const char *uri);

/* Replace path by how the model is told of the document: relative to the innermost folder that holds it, else
 * its last part. "" if that is no text. */
void lsp_workspace_path(const struct lsp_workspace *w, const char *uri, struct buf *path);

#endif
