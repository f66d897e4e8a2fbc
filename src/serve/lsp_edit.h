/* Changes of a document as an editor sends them (TextDocumentContentChangeEvent), as edits of its bytes. */
#ifndef SERVE_LSP_EDIT_H
#define SERVE_LSP_EDIT_H

#include "service/service.h"

struct json_value;

struct lsp_edit { /* bytes from..to become text */
    size_t from, to;
    const char *text; /* a view into the message */
    size_t len;
    bool is_whole; /* the client sent all of the text */
};

/* Null, or what is wrong with it. */
const char *lsp_edit_read(const struct json_value *change, const struct text *t, enum text_encoding unit,
                          struct lsp_edit *out);

#endif
