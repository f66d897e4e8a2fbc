/* One database of answers on disk (SQLite, write-ahead log): the second level, and each project's.
 *
 * Keyed by content: nothing in it can be wrong, only unused. Rows are in the order of use, so that the oldest
 * are evicted from the front, a few at a time. The files together (database, log, index of the log) never
 * exceed max_bytes. A database that is corrupt, of another version, or larger than max_bytes is replaced by
 * an empty one; one that is locked, read-only or on a full disk means misses. Each is logged once, not each
 * time.
 *
 * Threads: disk_cache_find from one thread, everything else from another one; both at once. Any number of
 * processes may have the same database open. */
#ifndef STORE_DISK_CACHE_H
#define STORE_DISK_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/record.h"

struct disk_cache;

#define DISK_CACHE_BYTES_MIN ((int64_t)8 << 20) /* ceilings below this mean this */

/* Creates what is missing: folders 0700, files 0600. Never fails for what a file holds; msg says why the
 * database cannot be used at all (it is then to be done without). Takes less than 20 ms at 256 MB. */
MUST_CHECK enum err disk_cache_open(const char *path, int64_t max_bytes, struct disk_cache **out,
                                    struct errmsg *msg);
void disk_cache_close(struct disk_cache **d); /* tolerates null */

/* ---- Reading ---- */

#define DISK_FOUND_MAX 4

/* Records' bytes, one after the other in `bytes`. */
struct disk_found {
    struct buf bytes;
    size_t ends[DISK_FOUND_MAX]; /* of each, in bytes */
    int32_t n;
};

/* Records that suit the key (record_suits), the one asked nearest first. out is replaced; initialised by
 * buf_init. */
void disk_cache_find(struct disk_cache *d, const struct store_key *key, struct disk_found *out);

/* ---- Writing ---- */

struct disk_put {
    const char *bytes; /* of a record, which has the key in it */
    size_t len;
};

/* In transactions of some dozens; what stood at the same key goes. Evicts in the same step. */
void disk_cache_put(struct disk_cache *d, const struct disk_put *puts, int32_t n);
/* These were read: keep them from being evicted. Costs nothing for what was used lately. */
void disk_cache_touch(struct disk_cache *d, const struct disk_put *used, int32_t n);

/* A model was loaded: records of what stood at this path before cannot be reached any more. Deletes up to
 * max_rows of them; true: there may be more. */
bool disk_cache_collect(struct disk_cache *d, const char *model_path, uint64_t maker, int32_t max_rows);

/* Delete everything, or what was drawn from one file (record_source.file). The files shrink. */
MUST_CHECK enum err disk_cache_clear(struct disk_cache *d, const uint64_t *file, int64_t *n_deleted,
                                     struct errmsg *msg);

struct disk_stats {
    int64_t n_entries, n_bytes, max_bytes; /* bytes: of the files */
    int64_t n_evicted, n_failed; /* since it was opened; failed: reads and writes that meant misses */
    int64_t n_rebuilt;
};
void disk_cache_stats(struct disk_cache *d, struct disk_stats *out);

struct disk_report {
    int64_t n_entries, n_bad; /* bad: bytes that are no record, or stand at a key that is not theirs */
    char fault[200];          /* the first one that SQLite's own check or ours found; "" */
};
/* Look at every page and every record. Works on its own connection, which leaves the file as it is. ERR_IO:
 * there is no such file, or it cannot be read. */
MUST_CHECK enum err disk_cache_verify(const char *path, struct disk_report *out, struct errmsg *msg);

/* How many entries a database has; on its own connection likewise. ERR_IO: it cannot be read. */
MUST_CHECK enum err disk_cache_count(const char *path, int64_t *n, struct errmsg *msg);

#endif
