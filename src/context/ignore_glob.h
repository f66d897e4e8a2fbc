/* One pattern of an ignore file, compiled, in the syntax of gitignore(5). Constant once made: any thread. */
#ifndef CONTEXT_IGNORE_GLOB_H
#define CONTEXT_IGNORE_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IGNORE_GLOB_MAX                                                                                      \
    512 /* elements of a pattern: longer ones are not taken; paths have few more bytes                       \
         */

struct ignore_class { /* "[a-z]": a bit for each byte that it matches */
    uint8_t bits[32];
};

/* An element is a byte that stands for itself (below 256), or one of these; from IGNORE_CLASS on it is the
 * index of a class. */
enum { IGNORE_ANY = 256, IGNORE_STAR, IGNORE_DEEP, IGNORE_FOLDERS, IGNORE_CLASS };

struct ignore_glob {
    uint16_t elements[IGNORE_GLOB_MAX];
    int32_t n;
    struct ignore_class classes[IGNORE_GLOB_MAX / 3]; /* the shortest, "[a]", takes three bytes */
    int32_t n_classes;
};

/* Compile a pattern, without its "!" and the slashes at its ends. False: too long, or malformed so that it
 * matches nothing. */
bool ignore_glob_compile(const char *pattern, size_t len, struct ignore_glob *out);

/* Whether the elements match all of the text. Time is at most proportional to n times len. */
bool ignore_glob_match(const uint16_t *elements, int32_t n, const struct ignore_class *classes,
                       const char *text, size_t len);

#endif
