/* What the ways to make an outline share: outline_tree.c, outline_lines.c. Private to outline*.c. */
#ifndef CONTEXT_OUTLINE_MAKE_H
#define CONTEXT_OUTLINE_MAKE_H

#include <stdbool.h>

#include "context/outline.h"

/* An outline in the making. */
struct outline_maker {
    const char *text;
    size_t len;
    struct outline *out;
    int32_t cap_units, cap_imports;
    enum err err; /* sticky */
};

/* Its lines are made whole; the index, or -1 if there is no room for it. */
int32_t outline_add(struct outline_maker *m, struct outline_unit unit);
void outline_add_import(struct outline_maker *m, size_t start, size_t end, size_t target, size_t target_end);

/* The start of the line that holds `at`, and where the one that holds at - 1 ends, its line break included.
 */
size_t outline_line_start(const char *text, size_t at);
size_t outline_line_end(const char *text, size_t len, size_t at);

/* By the tree; false: the build has no trees. By indentation and brackets. */
struct syntax;
bool outline_by_tree(struct outline_maker *m, const struct language *l, const struct syntax *s);
void outline_by_lines(struct outline_maker *m, const struct language *l);

#endif
