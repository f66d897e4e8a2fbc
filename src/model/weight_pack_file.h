/* The file of a pack: a header with a table of the matrices, then their packed forms, each on a page of its
 * own. Numbers are the machine's own; a file from a machine of the other byte order is foreign.
 *
 * The header and the table have a checksum, and the header tells the file's size: both are compared when a
 * pack is opened. The data of each matrix has one too, compared before a new pack gets its name and by
 * weight_pack_file_verify; reading half a gigabyte at every start would cost more than the pack saves. */
#ifndef MODEL_WEIGHT_PACK_FILE_H
#define MODEL_WEIGHT_PACK_FILE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "model/weight_pack_plan.h"
#include "os/map.h"

/* A mapped pack. Its descriptor holds a shared lock that says "in use" (weight_pack_dir.h). */
struct weight_pack_file {
    int fd;
    struct map map; /* not empty while the file is open */
};

/* Bytes of the header and a table of n matrices. */
int64_t weight_pack_file_header_bytes(int32_t n);

/* ERR_NOT_FOUND: there is no file, or it is not this plan's; the message says which. */
MUST_CHECK enum err weight_pack_file_open(const char *path, const struct weight_pack_plan *plan,
                                          struct weight_pack_file *out, struct errmsg *msg);
void weight_pack_file_close(struct weight_pack_file *f); /* tolerates a zeroed one */

/* Whoever waits for a write: `cancel` ends it soon with ERR_CANCELLED, `done` counts its bytes. */
struct weight_pack_progress {
    atomic_bool cancel;
    atomic_int_least64_t done; /* of plan->data_bytes */
};

/* Pack the plan's matrices into the empty file fd, on n_threads threads, and read them back; path is for
 * messages. All bytes are on disk when it returns. */
MUST_CHECK enum err weight_pack_file_write(int fd, const char *path, const struct weight_pack_plan *plan,
                                           int32_t n_threads, struct weight_pack_progress *progress,
                                           struct errmsg *msg);

/* Read the whole pack and pack the model's matrices again in memory. ERR_FORMAT: the file was damaged, or
 * was made from other weights. */
MUST_CHECK enum err weight_pack_file_verify(const struct weight_pack_file *f, const char *path,
                                            const struct weight_pack_plan *plan, int32_t n_threads,
                                            struct errmsg *msg);

#endif
