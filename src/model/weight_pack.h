/* The form of a model's matrices that is computed with, written once to the cache directory and memory-mapped
 * ever after: packed (kern/pack.h), and converted to other formats where a plan says so (precision.h).
 *
 * A pack belongs to one model content, one layout version and one choice of formats; its name and its header
 * tell all three. While there is none, a background thread of the lowest priority builds it, and the model
 * runs on its file as it is. A pack that is stale, truncated, foreign or half-written is not used and is
 * built anew. Packs that were not used for long are deleted when the directory exceeds its ceiling.
 *
 * Threads: functions are called by one thread at a time; building runs on a thread of its own. */
#ifndef MODEL_WEIGHT_PACK_H
#define MODEL_WEIGHT_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kern/kern.h"
#include "model/model.h"

struct map;
struct precision_plan;
struct weight_pack;

enum weight_pack_state {
    WEIGHT_PACK_BUILDING,
    WEIGHT_PACK_READY,
    WEIGHT_PACK_FAILED /* e.g. no space: weight_pack_message says why */
};

struct weight_pack_options {
    const char *dir;    /* null or "": $XDG_CACHE_HOME/inline/packs */
    bool build;         /* false: only use a pack that is there */
    bool is_foreground; /* somebody waits for it: build at normal priority */
    const struct precision_plan
        *precision;    /* which matrices are converted, and to what; borrowed for the call; null: none */
    int64_t max_bytes; /* ceiling of the directory; 0: WEIGHT_PACK_MAX_BYTES */
};

#define WEIGHT_PACK_MAX_BYTES                                                                                \
    8000000000 /* two models of 3 billion parameters, or a dozen of half a billion */

/* Map the model's pack, or begin to build it. Takes a reference to the model. ERR_NOT_FOUND: there is none
 * and build is false, or no matrix of the model is converted or has a packed form. */
MUST_CHECK enum err weight_pack_open(struct model *m, const struct weight_pack_options *o,
                                     struct weight_pack **out, struct errmsg *msg);
/* Stops building, and returns within 50 ms even if the disk does not: the thread then ends on its own. */
void weight_pack_close(struct weight_pack **p);

enum weight_pack_state weight_pack_state(struct weight_pack *p); /* cheap: an atomic load */
double weight_pack_progress(struct weight_pack *p);              /* 0..1 */
const char *weight_pack_message(const struct weight_pack *p);    /* when failed */
int64_t weight_pack_bytes(const struct weight_pack *p);          /* of the file */
const char *weight_pack_path(const struct weight_pack *p);

/* Wait until it is not building any more. */
void weight_pack_wait(struct weight_pack *p);

/* Nothing of it was lost since it was mapped (map_is_lost), and it has its size: else ERR_IO, and closing it
 * deletes it, so that it is built anew. While there is none to be used: OK. Any thread. (When it was written
 * does not tell anything: whoever opens a pack touches it. Nobody but us writes to packs.) */
MUST_CHECK enum err weight_pack_check(const struct weight_pack *p, struct errmsg *msg);

/* Where it is ready: set `packed` of w to its packed form if it has one, and give back the memory of the
 * plain one. Where the plan converts the matrix, format and row_bytes change too, and data points at the
 * converted rows; those that are packed exist only so, and must not be read through data. w must be a copy of
 * a matrix of the model, experts' matrices included. The pointers live as long as the pack. */
void weight_pack_apply(const struct weight_pack *p, struct kern_mat *w);

/* Where it is ready and has the matrix, a copy of the model's: in which bytes of which map it lies, and true.
 * Any thread that has a reference. */
bool weight_pack_find(const struct weight_pack *p, const struct kern_mat *w, const struct map **map,
                      size_t *offset, size_t *len);

/* For a thread that reads ahead and may outlast the owner: what is mapped stays until the last of them has
 * left. Any thread. The owner's own reference ends with weight_pack_close. */
struct weight_pack *weight_pack_ref(struct weight_pack *p);
void weight_pack_unref(struct weight_pack **p);

/* Where it is ready: read all of it and pack the model again in memory, to compare. ERR_FORMAT: it is
 * damaged, or was made from other weights; it should be removed. */
MUST_CHECK enum err weight_pack_verify(const struct weight_pack *p, struct errmsg *msg);

/* Delete the packs of this model's content, of all precisions (dir as in the options). Whoever uses one keeps
 * it until it is closed. Returns the bytes deleted. */
int64_t weight_pack_remove(const struct model *m, const char *dir);

/* Size of the pack that this model has, or would have; 0: it has none. precision as in the options. */
int64_t weight_pack_bytes_of(const struct model *m, const struct precision_plan *precision);

/* A name for the model's content: 32 hexadecimal digits and a NUL, from its size, metadata and samples of
 * every tensor. */
void weight_pack_model_key(const struct model *m, char out[33]);

#endif
