/* The text around a cursor that a prompt may need, with '\n' line ends.
 *
 * A window moves in steps as the cursor does, so that successive prompts begin alike and share their KV. */
#ifndef COMPLETE_WINDOW_H
#define COMPLETE_WINDOW_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct window {
    const char *before, *after; /* views of the document, or of the copies */
    size_t before_len, after_len;
    struct buf before_copy, after_copy; /* empty unless there were '\r\n' to convert */
};

/* About `max` bytes on each side of the cursor (<= len), whole characters. origin: where text[0] stands in
 * the document, if it is itself a window (origin.h); else 0. ERR_NOMEM. */
MUST_CHECK enum err window_cut(const char *text, size_t len, size_t cursor, size_t max, size_t origin,
                               struct window *out);
void window_clear(struct window *w); /* tolerates a zeroed one */

/* Where a window of about `max` bytes before `end` starts. */
size_t window_start(const char *text, size_t end, size_t max, size_t origin);

#endif
