/* Somebody who writes programs, at random: types, takes suggestions, deletes, undoes, moves about in several
 * documents and among them. Decided by a seed. Every edit is made in several sets of documents at once, so
 * that services that know nothing of each other see the same. */
#ifndef SUPPORT_TYPIST_H
#define SUPPORT_TYPIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "context/documents.h"

#define TYPIST_DOCUMENTS 6
#define TYPIST_SIDES     2
#define TYPIST_UNDO_MAX  100 /* edits of a document that can be undone */

struct typist_edit {
    size_t from, cursor; /* where the cursor was before */
    char *old_bytes, *new_bytes;
    size_t old_len, new_len;
};

struct typist_document {
    const char *uri, *path;
    bool is_crlf;
    size_t cursor;
    struct typist_edit edits[TYPIST_UNDO_MAX]; /* the first n_done are done, the rest were undone */
    int n_edits, n_done;
};

struct typist {
    uint64_t random;
    struct documents *sides[TYPIST_SIDES]; /* owned */
    struct typist_document documents[TYPIST_DOCUMENTS];
    int here;              /* the document that is being worked in */
    struct buf suggestion; /* that is shown at the cursor; what was typed of it is gone */
    size_t suggestion_at;  /* the cursor that it is for */
    void (*on_edit)(void *ctx, int document, size_t from, size_t old_to, size_t new_to); /* or null */
    void *ctx;
};

void typist_init(struct typist *t, uint64_t seed); /* opens all documents */
void typist_clear(struct typist *t);

uint64_t typist_random(struct typist *t, uint64_t n); /* 0..n-1 */
struct open_document *typist_open(const struct typist *t, int side, int document);
size_t typist_cursor(const struct typist *t);

/* Lines of a program in the language of this path, as the documents have them at first. */
void typist_write(struct typist *t, const char *path, int n_functions, struct buf *out);

/* This is suggested at the cursor. */
void typist_show(struct typist *t, const char *text, size_t len);
/* Type as much of a text, whole characters, at the cursor. */
void typist_type(struct typist *t, const char *text, size_t len);
/* The editor connects anew: all documents are opened as they are, and nothing else is known of them. */
void typist_reconnect(struct typist *t);
/* Something that changes a text or the place of the cursor. */
void typist_step(struct typist *t);

#endif
