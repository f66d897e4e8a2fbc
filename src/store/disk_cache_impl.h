/* What the files of the disk cache share: disk_cache.c (opening, finding, faults), disk_write.c
 * (transactions, putting, evicting), disk_clear.c (collecting, clearing). disk_verify.c stands alone. */
#ifndef STORE_DISK_CACHE_IMPL_H
#define STORE_DISK_CACHE_IMPL_H

#include <stdatomic.h>

#include "store/disk_cache.h"
#include "store/disk_link.h"

/* Rows of a line that are looked at: a line is asked at each of its columns, hardly more often. */
#define DISK_ROWS_MAX 128

/* A connection and how it fares. Owner: the thread that finds, or the one that writes. */
struct disk_side {
    struct disk_link link;
    unsigned bit;        /* in disk_cache.down */
    int64_t retry_at_ns; /* left alone until then */
    int64_t retry_ns;    /* how long it is left alone after the next failure is more than this */
};

struct disk_cache {
    char *path, *log_path, *index_path, *dir; /* owned; the database, its -wal and -shm */
    int64_t max_bytes, max_log_bytes, max_pages;

    struct disk_side finder; /* thread: disk_cache_find's */
    struct buf found;        /* likewise */

    struct disk_side writer; /* thread: the other one; all that follows too, but for atomics */
    int32_t n_bad_rows;      /* deleted from this file */
    int64_t n_entries;       /* -1: to be counted */
    int64_t data_version;    /* when they were counted */
    int64_t n_evicted, n_rebuilt;

    /* From either thread. Relaxed: each is a fact by itself. */
    atomic_uint down;     /* the sides that do not work; the first one is logged */
    atomic_int ruin;      /* SQLite's code, after which the finder has given the file up; 0: none */
    atomic_llong bad_row; /* it came across a damaged record there; 0: none */
    atomic_llong n_failed;
    atomic_llong logged_at_ns; /* that a side does not work; 0: never */
};

/* Whether there is a working connection; opens it again when its time has come. */
bool disk_writer_is_ready(struct disk_cache *d);

/* Note how an operation ended. After corruption a writer starts anew. */
void disk_worked(struct disk_cache *d, struct disk_side *s);
void disk_failed(struct disk_cache *d, struct disk_side *s, int code);

/* Delete the files and open empty ones. */
int disk_start_anew(struct disk_cache *d);

/* A transaction of at most DISK_TRANSACTION_BYTES of log. end: commit if code is SQLITE_OK, else take
 * everything back; returns what went wrong. */
#define DISK_TRANSACTION_BYTES ((int64_t)2 << 20)
int disk_begin(struct disk_cache *d);
int disk_end(struct disk_cache *d, int code);
/* Empty the log, if nobody reads it. */
void disk_checkpoint(struct disk_cache *d);

#endif
