/* The inside of documents.h, for the files that implement it: documents.c, documents_recognise.c. */
#ifndef CONTEXT_DOCUMENTS_IMPL_H
#define CONTEXT_DOCUMENTS_IMPL_H

#include "context/documents.h"

/* `doc` is the first member, so that one is found from the other. */
struct documents_entry {
    struct open_document doc;
    bool is_recognised; /* made by documents_recognise: the client did not name it */
};

struct documents {
    struct documents_entry *entries[DOCUMENTS_MAX]; /* owned; in no order: closing moves the last one */
    int32_t n;
    size_t n_bytes;        /* of all texts */
    uint64_t time;         /* documents_time */
    uint64_t n_recognised; /* names those that have none */
    void (*on_edit)(void *ctx, const struct open_document *doc, size_t from, size_t old_to, size_t new_to);
    void *ctx; /* on_edit's */
};

/* An edit is somebody's work; a slide only shows another part of the document, and leaves no trace in
 * `changes` and `n_deletions`. */
enum documents_cause { DOCUMENTS_EDIT, DOCUMENTS_SLIDE };

/* Replace bytes from..to; what stays the same at both ends is not counted as edited. */
MUST_CHECK enum err documents_replace(struct documents *d, struct open_document *doc, size_t from, size_t to,
                                      const char *bytes, size_t len, enum documents_cause cause);

#endif
