/* The databases of a store: the one for everything, and a few projects' at a time.
 *
 * They are opened when first needed. The least recently used of the open projects is closed for another one,
 * and the least recently used file of a project deleted for a new one. What cannot be opened is done without
 * until the program ends; that is logged once for a level.
 *
 * Threads: the reader and the writer, both at once, under a lock that is held while a database is opened.
 * Each takes one database at a time, and with it does what disk_cache.h grants it. */
#ifndef STORE_DATABASES_H
#define STORE_DATABASES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/disk_cache.h"

struct databases;

#define DATABASES_SHARED   0 /* the slot of the database for everything, and its id */
#define DATABASES_PROJECTS 4 /* open at a time, in the slots from 1 */
#define DATABASES_SLOTS    (1 + DATABASES_PROJECTS)

/* dir "": there are none. Bytes of 0 turn a level off; projects_bytes are for n_projects files together. */
struct databases *databases_new(const char *dir, int64_t disk_bytes, int64_t projects_bytes,
                                int32_t n_projects);
void databases_free(struct databases **d); /* nobody has taken one */

/* Whether there is such a level, as far as is known: of the shared database or of projects. */
bool databases_has_disk(const struct databases *d);
bool databases_has_projects(const struct databases *d);
bool databases_has_files(const struct databases *d); /* there may be some, of levels that are off too */

/* The database of a project, or DATABASES_SHARED, until it is released. Without `create`, a project that has
 * no file yet has no database. Null: there is none. */
struct disk_cache *databases_take(struct databases *d, uint64_t id, bool create, int32_t *slot);
/* What is open in a slot, or null. *serial names this opening. */
struct disk_cache *databases_take_slot(struct databases *d, int32_t slot, uint64_t *serial);
void databases_release(struct databases *d, int32_t slot);

/* How often one was opened: when it changes there is a new one. Thread: any. */
uint64_t databases_n_opened(const struct databases *d);

/* Delete all files but those of open databases, the shared one's too if that level is off. */
void databases_delete_closed(struct databases *d);

struct databases_stats {
    bool has_failed;
    struct disk_stats stats; /* sums over what is open; evicted, failed, rebuilt: and what was */
};
/* Of the shared database, or of the projects'. Thread: the writer. */
void databases_stats(struct databases *d, bool of_projects, struct databases_stats *out);

#endif
