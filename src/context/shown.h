/* Text as prompts show it: lines end in '\n', secrets are masked, and a comment in the language's own way
 * stands where something is left out. Thread: any. */
#ifndef CONTEXT_SHOWN_H
#define CONTEXT_SHOWN_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct language;
struct secrets;

/* A text, part of which is shown. secrets: null: nothing is masked. */
struct shown_text {
    const struct secrets *secrets;
    const char *bytes;
    size_t len;
};

/* Append bytes from..to, the part before `split` to `before`, the rest to `after` (which may be the same).
 * Secrets that begin or end outside of the range are found too; one across the split goes to `before`. Adds
 * how many were masked to *n_secrets. */
MUST_CHECK enum err shown_add(const struct shown_text *t, size_t from, size_t split, size_t to,
                              struct buf *before, struct buf *after, int32_t *n_secrets);

/* Append the line that stands for what is left out before t->bytes[next], indented as the first line from
 * there on that is not empty: "    // ...\n". */
void shown_add_elision(const struct language *l, const struct shown_text *t, size_t next, struct buf *out);

#endif
