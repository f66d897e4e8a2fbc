/* What the caches keep on disk, as files: databases of completions, saved KV, packed weights. For commands
 * that look at them without a daemon, or beside one. */
#ifndef CLI_CACHE_FILES_H
#define CLI_CACHE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

char *cache_files_dir(void); /* of the databases: store_options.dir; the caller frees with mem_free */

struct cache_database {
    char *path;       /* owned */
    const char *name; /* view of path: "answers.db", or below projects/ the project's identity and ".db" */
    bool is_project;  /* of one project; else of all */
    int64_t bytes;    /* of the database, its log and the log's index */
};

struct cache_databases {
    struct cache_database *list; /* [n], owned */
    int32_t n;
};

/* The databases that are there; none if there is no directory. ERR_IO, ERR_NOMEM. */
MUST_CHECK enum err cache_files_databases(struct cache_databases *out, struct errmsg *msg);
void cache_files_databases_clear(struct cache_databases *d);

/* Bytes that other caches have on disk. */
int64_t cache_files_kv_bytes(void);
int64_t cache_files_packs_bytes(void);
/* Delete their files, and return how many bytes those had. Whoever uses one keeps what is mapped. */
int64_t cache_files_kv_remove(void);
int64_t cache_files_packs_remove(void);

#endif
