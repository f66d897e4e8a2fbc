/* The documents that one client keeps open: texts by URI, bounded in number and in bytes. One owner; nothing
 * is ever read from disk. */
#ifndef COMPLETE_DOCUMENTS_H
#define COMPLETE_DOCUMENTS_H

#include <stdbool.h>

#include "context/text.h"

#define DOCUMENTS_MAX       1024
#define DOCUMENTS_BYTES_MAX ((size_t)128 << 20) /* of all texts together */
#define DOCUMENTS_URI_MAX   4096                /* bytes */

struct documents;

struct documents *documents_new(void);
void documents_free(struct documents **d);

/* Open a document, or give an open one another text. ERR_LIMIT: a bound would be exceeded, msg says which;
 * nothing has changed then. */
MUST_CHECK enum err documents_open(struct documents *d, const char *uri, int64_t version, const char *bytes,
                                   size_t len, struct errmsg *msg);
/* False if it was not open. */
bool documents_close(struct documents *d, const char *uri);

/* Null: not open. Valid until a document is opened or closed. Edited by documents_splice only. */
struct text *documents_find(struct documents *d, const char *uri);

/* text_splice of one of these texts, within the bound. */
MUST_CHECK enum err documents_splice(struct documents *d, struct text *t, size_t from, size_t to,
                                     const char *bytes, size_t len);

#endif
