/* A suggestion shown in its place, for people: `inline complete --show`. */
#ifndef CLI_COMPLETE_SHOW_H
#define CLI_COMPLETE_SHOW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Append the lines around the cursor with the suggestion among them: numbered, the suggestion's lines
 * marked with '+', and in colour if asked for. Control characters, which could command the terminal, are
 * replaced. */
void complete_show(struct buf *out, const char *text, size_t len, size_t cursor, const char *suggestion,
                   size_t suggestion_len, bool has_colour);

/* Append one line of fine print. */
void complete_show_note(struct buf *out, const char *note, bool has_colour);

#endif
