/* All levels of the completion cache: memory, disk, the project's database, the team's server.
 *
 * A question is looked up in memory at once, and below by threads of the store, one level after the other;
 * what is found goes into the levels above. Answers are written behind. Levels can be missing, each by
 * itself. Bounded: a queue that is full forgets its stalest.
 *
 * Thread: the loop. Threads of the store only leave messages, call `wake`, and the loop calls store_poll. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/disk_cache.h"
#include "store/memory_cache.h"
#include "store/team_cache.h"

struct store;
struct store_lookup;
struct metrics;

enum store_level { STORE_MEMORY, STORE_DISK, STORE_PROJECT, STORE_TEAM, STORE_N_LEVELS };
const char *store_level_name(enum store_level l); /* "memory", "disk", "project", "team" */

/* A project's database is one of this many at most; the least recently used one is deleted for a new one. */
#define STORE_PROJECTS_MAX 8

struct store_options {    /* strings are copied */
    const char *dir;      /* for databases: DIR/answers.db, DIR/projects/ID.db; "": no disk, no projects */
    int64_t memory_bytes; /* 0 turns a level off */
    int64_t disk_bytes;
    int64_t projects_bytes;  /* of all projects' databases together; each has DISK_CACHE_BYTES_MIN at least */
    const char *team;        /* team_cache_open; "": none */
    struct metrics *metrics; /* borrowed: how long each level takes; or null */
    void (*wake)(void *ctx); /* any thread */
    void *ctx;
};

/* Opens nothing on this thread. ERR_ARG: the team's address. */
MUST_CHECK enum err store_new(const struct store_options *o, struct store **out, struct errmsg *msg);
/* Writes what is queued, for a second at most. No lookup or clear comes back any more. */
void store_free(struct store **s);
void store_poll(struct store *s);

struct memory_cache *store_memory(struct store *s); /* the first level; never null */

/* ---- Below memory ---- */

struct store_found {
    enum store_level level;         /* if there are any */
    const struct disk_put *records; /* views, valid during the callback; the one asked nearest first */
    int32_t n;                      /* 0: none */
};

/* Look a key up (copied), in this project's database too (its identity, a file's name; 0: none), and on the
 * team's server unless is_private. `done` comes from store_poll, once, unless cancelled; the lookup is gone
 * then. Null: no level below memory is on, or too many lookups wait; `done` does not come. Lookups of the
 * same key share one search. */
struct store_lookup *store_lookup(struct store *s, const struct store_key *key, uint64_t project,
                                  bool is_private, void (*done)(void *ctx, const struct store_found *found),
                                  void *ctx);
void store_cancel(struct store *s, struct store_lookup *lookup);

/* Write a record (copied) to the levels below, later. */
void store_put(struct store *s, uint64_t project, const char *bytes, size_t len);

/* A model was loaded: collect what cannot be reached any more, bit by bit, in the databases that are open. */
void store_use_maker(struct store *s, const char *model_path, uint64_t maker);

/* Empty all levels, of all projects, but for the team's server. Lookups under way find nothing. `done` (or
 * null) comes from store_poll, with the number of rows in the databases that were open. */
void store_clear(struct store *s, void (*done)(void *ctx, int64_t n_deleted), void *ctx);

/* ---- Looking at it ---- */

struct store_level_stats {
    bool is_on;
    bool is_down; /* the team's server is left alone for a while, since it fails */
    int64_t n_entries, n_bytes, max_bytes;
    int64_t n_asked, n_found, n_put, n_evicted, n_failed, n_dropped; /* dropped: from a full queue */
};
/* As of the last time that the store's threads told; any level. Entries and bytes of projects are those of
 * the databases that are open; of memory, only what memory_cache_stats tells is there. */
void store_stats(const struct store *s, enum store_level level, struct store_level_stats *out);

#endif
