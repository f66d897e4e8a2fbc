/* A radix tree: byte strings to values, with one edge for each run of bytes that only one path has
 * (Morrison 1968, PATRICIA; nodes of growing fan-out as in Leis et al. 2013, "The Adaptive Radix Tree").
 *
 * Looking up a string passes all its prefixes that are in the tree on the way. One owner; one thread. */
#ifndef STORE_RADIX_H
#define STORE_RADIX_H

#include <stdbool.h>
#include <stddef.h>

struct radix;

struct radix *radix_new(void);
void radix_free(struct radix **r); /* not the values */

/* The place of a string's value, for reading and for writing; added if it is not there (then *place is null).
 * Valid until the next change of the tree. Null: no memory. Strings may be empty. */
void **radix_add(struct radix *r, const char *bytes, size_t len);
/* The value, or null. */
void *radix_find(const struct radix *r, const char *bytes, size_t len);
void radix_remove(struct radix *r, const char *bytes, size_t len); /* nothing happens if it is not there */

/* All strings in the tree that `bytes` begins with, at least `least` bytes of it, in one descent: the longest
 * `max` of them, longest first. Returns how many there are in out. */
struct radix_prefix {
    void *value;
    size_t len;
};
int radix_prefixes(const struct radix *r, const char *bytes, size_t len, size_t least,
                   struct radix_prefix *out, int max);

size_t radix_n(const struct radix *r);
size_t radix_bytes(const struct radix *r); /* memory, exactly what it allocated */

#endif
