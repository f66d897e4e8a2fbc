/* Bringing a model's weights into memory ahead of who needs them.
 *
 * Background threads read the pages in the order in which a first pass of the model goes through them
 * (residency_plan.c): what is small, then block after block, the output head last. Two requests are always in
 * flight, since one at a time leaves most disks waiting. Whoever computes meanwhile takes what is there and
 * faults in what it reaches first. Where packed weights are in use, their pages are read instead of those of
 * the file that they replace.
 *
 * Threads: residency_state, residency_drop and residency_resident any; the others one at a time. */
#ifndef MODEL_RESIDENCY_H
#define MODEL_RESIDENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct model;
struct weight_pack;
struct residency;

struct residency_options {
    bool lock; /* also keep the pages in memory (mlock); where the limit does not allow it, a warning is
                  logged */
};

/* Takes a reference to the model. */
MUST_CHECK enum err residency_new(struct model *m, const struct residency_options *o, struct residency **out,
                                  struct errmsg *msg);
/* Returns within 50 ms even if the disk does not answer: the threads then end on their own, and keep model
 * and pack alive until then. */
void residency_free(struct residency **r);

/* Begin to read; pack: in use, ready, or null; takes a reference to it. Called again when packed weights have
 * come into use: what is read from then on are their pages, and the pages of the file that they replace are
 * given back. Once there is a pack, it stays. */
void residency_begin(struct residency *r, struct weight_pack *pack);

/* A pass with these tokens comes next. Their rows of the embedding table, which is not read otherwise, are
 * fetched from the disk all at once; and what was dropped is read again. Does not wait. */
void residency_expect(struct residency *r, const int32_t *tokens, int32_t n);

/* Give all weight pages back to the system (they are in the page cache as long as it likes). Returns the
 * bytes that were resident. They are read again as they are used. */
int64_t residency_drop(struct residency *r);

struct residency_state {
    int64_t wanted_bytes; /* of weights that are in use */
    int64_t read_bytes;   /* of these, read ahead or found in memory so far */
    bool is_done, is_reading, is_locked;
    double ms; /* it took, or has taken so far */
};
void residency_state(const struct residency *r, struct residency_state *out);

/* Bytes of the weights in use that are in memory now (mincore); costs about a millisecond for each GB. */
int64_t residency_resident(struct residency *r);

/* The same without reading ahead, of a model that others may use; *wanted: of so many. -1: no memory. */
int64_t residency_look(const struct model *m, const struct weight_pack *pack, int64_t *wanted);

#endif
