/* Bringing a model's weights into memory ahead of who needs them.
 *
 * A background thread reads the pages in the order of need: what is small and used by every token (norms, the
 * embedding table's and output head's pages, the first blocks), then block after block, as a first pass of
 * the model goes through them. It reads with several requests in flight, since one at a time reaches a
 * fraction of what most disks can do. Whoever computes meanwhile takes what is there and faults in what it
 * reaches first. Where packed weights are in use, their pages are read instead of those of the file that they
 * replace.
 *
 * Threads: residency_state any; the others one at a time. */
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
/* Ends the thread within 50 ms even if the disk does not answer: it then ends on its own. */
void residency_free(struct residency **r);

/* Begin to read; pack: in use, ready, or null. Called again when packed weights have come into use: what is
 * read from then on are their pages, and the pages of the file that they replace are given back. The pack
 * must stay until residency_free. */
void residency_begin(struct residency *r, const struct weight_pack *pack);

/* Give all weight pages back to the system (they are in the page cache as long as it likes). Returns the
 * bytes that were resident. Reading begins again with residency_begin, or as they are used. */
int64_t residency_drop(struct residency *r);

struct residency_state {
    int64_t wanted_bytes; /* of weights that are in use */
    int64_t read_bytes;   /* of these, read ahead or found in memory so far */
    bool is_done, is_locked;
    double ms; /* it took, or has taken so far */
};
void residency_state(const struct residency *r, struct residency_state *out);

/* Bytes of the weights in use that are in memory now (mincore); costs about a millisecond for each GB. */
int64_t residency_resident(const struct residency *r);

#endif
