/* Follows the texts that answers were drawn from through edits (private to memory_cache.c).
 *
 * A follower is one answer's interest: a window of a document around a cursor, and other texts. Followers
 * with the same beginning and the same other texts share one window, so that an edit costs a step for each
 * window that it only shifts, and a walk over the followers of those that it touches. Thread: its owner's. */
#ifndef STORE_FOLLOW_H
#define STORE_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/memory_cache.h"

struct radix;
struct follow_text;
struct follow_window;

struct follow {
    struct radix *texts;        /* what is followed, by file, or file and hash; values: struct follow_text */
    struct follow_text *closed; /* those that no editor has open */
    size_t n_bytes;             /* allocated, the tree's not counted */
    int64_t n_shifted;          /* followers that were moved and kept, so far */
};

/* Embedded in what follows. Offsets are counted from the window's beginning: bytes before gap_from were shown
 * as what comes before the cursor, those from gap_to to `end` as what comes behind it. In the gap between,
 * the answer's own place, anything may happen. */
struct follower {
    struct follower *next, *previous; /* of the same window; of those that were lost, only next */
    struct follow_window *window;     /* null: follows nothing */
    uint32_t gap_from, gap_to, end;
};

void follow_init(struct follow *f);
void follow_clear(struct follow *f); /* when nobody follows anything any more */
size_t follow_bytes(const struct follow *f);

/* Begin to follow what was shown at a place; nothing if it has no file. False: no memory, or a window of 4
 * GB. */
MUST_CHECK bool follow_add(struct follow *f, struct follower *follower, const struct memory_place *place);
void follow_remove(struct follow *f, struct follower *follower); /* tolerates one that follows nothing */
/* The follower itself lives elsewhere now. */
void follow_relocate(const struct follower *from, struct follower *to);

/* An open document's bytes from..old_to became from..new_to. Returns the followers whose text that touched, a
 * list that follows nothing any more. */
struct follower *follow_edit(struct follow *f, uint64_t file, size_t from, size_t old_to, size_t new_to);
/* The same, of those with a text that is not open and does not hold. */
struct follower *follow_recheck(struct follow *f, bool (*holds)(void *ctx, uint64_t file, uint64_t hash),
                                void *ctx);

#endif
