/* The request journal on disk, for those who want it: an SQLite database of the records of the last days.
 *
 * Records are written behind, in batches, by a thread of its own; a full or failing disk loses records and
 * says so once. What is found on opening that is no such database is set aside under another name. Thread of
 * all calls: the loop. */
#ifndef STORE_JOURNAL_DISK_H
#define STORE_JOURNAL_DISK_H

#include <stdint.h>

#include "base/err.h"
#include "watch/journal.h"

struct journal_disk;

/* Opens in the background; days: records older than that are deleted at opening and once a day of running. */
MUST_CHECK enum err journal_disk_open(const char *path, int32_t days, struct journal_disk **out,
                                      struct errmsg *msg);
void journal_disk_close(struct journal_disk **d); /* writes what waits */
uint64_t journal_disk_last_id(const struct journal_disk *d);
/* For journal_on_record. An id that is there is replaced. Never waits. */
void journal_disk_put(void *ctx, const struct journal_record *r, const char *model);

/* Read directly, by a daemon or a command, beside the writer. ERR_NOT_FOUND: no such record, or no file. */
MUST_CHECK enum err journal_disk_find(const char *path, uint64_t id, struct journal_record *out,
                                      char model[static JOURNAL_NAME_MAX], struct errmsg *msg);
/* The newest records since a time, newest first, up to max. */
MUST_CHECK enum err journal_disk_list(const char *path, int64_t since_us, int32_t max,
                                      void (*each)(void *ctx, const struct journal_record *r,
                                                   const char *model),
                                      void *ctx, struct errmsg *msg);

#endif
