/* The part of a document around the cursor that prompts show in full: the window.
 *
 * Its ends are anchored: they are places in the document, which stay while the cursor moves between them, so
 * that typing changes a prompt only where something was typed and the rest of its KV stays. They are chosen
 * anew when the window would get too long or too short. */
#ifndef CONTEXT_VIEW_H
#define CONTEXT_VIEW_H

#include <stdbool.h>
#include <stddef.h>

struct view {
    size_t start, end; /* bytes of the text; starts of lines (end may be the text's), or, where lines are
                          longer than the limits, of characters */
    bool is_set;
    bool is_loose; /* the text was edited right at the end; view_update puts it at a line's start again */
};

/* In bytes. Anchored anew, the window begins about `before` before the cursor and ends about `after` after
 * it, further only where a line is long, or where the text itself begins within half of max_before; it stays
 * until it would be longer than max_before or max_after, or shorter than half of `after` (more text being
 * there), or the cursor is outside, or less than a quarter of `before` from its start. before <= max_before,
 * after <= max_after. */
struct view_limits {
    size_t before, max_before;
    size_t after, max_after;
};

/* The text was edited: bytes from..old_to became from..new_to. */
void view_edit(struct view *v, size_t from, size_t old_to, size_t new_to);

/* True: the window was chosen anew. Looks only at text within the limits; never splits a character. */
bool view_update(struct view *v, const char *text, size_t len, size_t cursor, const struct view_limits *l);

#endif
