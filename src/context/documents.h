/* The documents that one client keeps open, and what is known of each: its text, its language, its outline,
 * where it was edited lately, and what its last prompt was made of. Bounded in number and in bytes. One
 * owner; nothing is ever read from disk. */
#ifndef CONTEXT_DOCUMENTS_H
#define CONTEXT_DOCUMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "context/language.h"
#include "context/outline.h"
#include "context/text.h"

#define DOCUMENTS_MAX       1024
#define DOCUMENTS_BYTES_MAX ((size_t)128 << 20) /* of all texts together */
#define DOCUMENTS_URI_MAX   4096                /* bytes */

/* Longer documents are outlined by indentation and brackets: parsing takes 0.2 to 0.4 ms per KB, and a jump
 * that asks for an outline should take less than 20. */
#define DOCUMENTS_TREE_BYTES_MAX ((size_t)48 << 10)

#define DOCUMENT_CHANGES_MAX 8 /* places that were edited lately, of one document */

struct builder;
struct documents;

/* What was edited, kept current as the text around it changes. Edits near each other are one; what was only
 * taken away leaves an empty range, at the place where it was. */
struct document_change {
    size_t start, end; /* bytes of the text; starts of characters, not of lines */
    uint64_t time;     /* documents_time when it was last extended */
};

struct open_document { /* views for readers; changed by these functions only */
    uint64_t id;       /* of this opening of it: no other document has it */
    char *uri;         /* what the client calls it */
    char *path; /* as the model and the project know it: relative, '/' between parts; "" if not known */
    const struct language *language;
    struct text text;
    size_t origin;    /* of text.bytes[0] in the whole document, for clients that send windows; else 0 */
    uint64_t n_edits; /* grows with each edit */
    uint64_t seen;    /* documents_time when it was last worked in */
    struct document_change changes[DOCUMENT_CHANGES_MAX]; /* newest first */
    int32_t n_changes;
    int32_t n_deletions;     /* edits in a row, up to the last, that only took away */
    struct builder *builder; /* of its prompts (builder.h); null until the first */
    struct outline outline;  /* as of outline_edits; documents_outline brings it up to date */
    uint64_t outline_edits;
    bool is_outlined;
};

struct documents *documents_new(void);
void documents_free(struct documents **d);

/* Somebody else wants to know of edits, from now on: bytes from..old_to became from..new_to. One at a time.
 */
void documents_on_edit(struct documents *d,
                       void (*on_edit)(void *ctx, const struct open_document *doc, size_t from, size_t old_to,
                                       size_t new_to),
                       void *ctx);

/* Open a document, or give an open one another text (what changed is found, as an edit). path, language: null
 * if not known (language: told by the path). ERR_LIMIT: a bound would be exceeded, msg says which; nothing
 * has changed then. */
MUST_CHECK enum err documents_open(struct documents *d, const char *uri, const char *path,
                                   const struct language *language, int64_t version, const char *bytes,
                                   size_t len, struct errmsg *msg);
/* False if it was not open. */
bool documents_close(struct documents *d, const char *uri);

/* Null: not open. Valid until a document is opened or closed. */
struct open_document *documents_find(struct documents *d, const char *uri);
int32_t documents_n(const struct documents *d);
struct open_document *documents_at(struct documents *d, int32_t i); /* in no order */

/* Replace bytes from..to of a document, as text_splice, within the bounds. */
MUST_CHECK enum err documents_splice(struct documents *d, struct open_document *doc, size_t from, size_t to,
                                     const char *bytes, size_t len);

/* For clients that name no document and send the lines around the cursor, or all of the text, each time: the
 * document that this looks like, brought to this text; else a new one. Where the window slid, the document's
 * origin moves with it, so that places in the whole document keep their numbers. The least recently used of
 * at most `max` is forgotten. Null: no memory, or too long. */
struct open_document *documents_recognise(struct documents *d, const char *path, const char *text, size_t len,
                                          size_t cursor, int32_t max);

/* What a document defines and imports, brought up to date if need be; never null, but empty if the text is
 * longer than max_bytes. Valid until the document is edited or closed. */
const struct outline *documents_outline(struct open_document *doc, size_t max_bytes);

/* Counts what happens to these documents; each edit, opening and visit gets the next number. */
uint64_t documents_time(const struct documents *d);
/* A completion was asked for in it. */
void documents_visit(struct documents *d, struct open_document *doc);

size_t documents_bytes(const struct documents *d); /* memory of all of it, about */

#endif
