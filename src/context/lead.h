/* What stands in front of the window where it does not begin at the document's start: the imports that
 * matter and the heads of the definitions that the cursor is in, as they stand in the document, with elisions
 * between them. */
#ifndef CONTEXT_LEAD_H
#define CONTEXT_LEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "context/builder.h"
#include "context/candidates.h"

#define LEAD_PARTS_MAX 24

struct lead_part {
    enum context_kind kind; /* CONTEXT_IMPORT or CONTEXT_ENCLOSING */
    size_t from, to;        /* lines of the document */
    size_t text, text_len;  /* bytes of lead.text */
    int32_t n_tokens;
};

struct lead {
    struct lead_part parts[LEAD_PARTS_MAX]; /* in the document's order */
    int32_t n;
    struct buf text; /* owned */
    int32_t n_tokens, n_secrets;
};

/* About max_bytes: the heads first, the innermost before the others, then imports. ERR_NOMEM, and what
 * counting tokens may fail with. */
MUST_CHECK enum err lead_build(const struct gathering *g, size_t max_bytes, struct lead *out);
/* Whether a part shows any of these lines of the document. */
bool lead_overlaps(const struct lead *l, size_t from, size_t to);
void lead_clear(struct lead *l);

#endif
