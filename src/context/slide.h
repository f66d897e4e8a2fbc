/* How one text that a client sent became the next: what went and came at its ends, because its window slid
 * over the document, and what was edited in between. Thread: any. */
#ifndef CONTEXT_SLIDE_H
#define CONTEXT_SLIDE_H

#include <stdbool.h>
#include <stddef.h>

/*     older:   old_start | n_same bytes |   edited    | n_same_after | rest
 *     newer:   new_start | n_same bytes |   edited    | n_same_after | rest
 *                                     old_edit_end
 *                                     new_edit_end
 * One of the starts is 0. Cuts are at starts of characters of the older text. */
struct slide {
    size_t old_start, new_start;
    size_t n_same;
    size_t old_edit_end, new_edit_end;
    size_t n_same_after;
};

/* older: valid UTF-8. cursor: in the newer text, the likeliest place for the end of an edit. is_window: the
 * text may have slid; else both begin at the beginning of their document. False: it is more likely that they
 * are about different documents, or places of one that are far from each other. */
bool slide_find(const char *older, size_t n_older, const char *newer, size_t n_newer, size_t cursor,
                bool is_window, struct slide *out);

/* Bytes that are in one of them only, but for what slid out of sight. */
size_t slide_n_edited(const struct slide *s);

#endif
