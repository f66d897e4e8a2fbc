/* What the files of project.c share.
 *
 * One thread, the indexer, does all the work and owns struct project_walk. What it finds it publishes in two
 * equal tables, of which readers use one while it changes the other (project_table.c). So no lookup ever
 * waits for the indexer, which runs at the lowest priority and may be stopped anywhere for long by busier
 * threads; a lock that it held then would be held as long. */
#ifndef CONTEXT_PROJECT_IMPL_H
#define CONTEXT_PROJECT_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "context/ignore.h"
#include "context/language.h"
#include "context/project.h"
#include "os/notify.h"

#define PROJECT_PATH_MAX ((size_t)1024) /* of paths relative to the root, with the NUL */

/* ---- Files: project_file.c */

struct project_unit {
    uint32_t name, text; /* in the pool, NUL-terminated */
    uint32_t name_hash;
    int32_t line;
    uint16_t name_len, text_len;
    uint8_t kind; /* enum outline_kind */
    bool is_top;  /* not a member of a type */
    bool has_comment;
};

struct project_import {
    uint64_t words;  /* project_file_words of the target */
    uint32_t target; /* in the pool */
    uint16_t target_len;
};

/* One file that was read: a single block of memory. Constant once published, but for `walk`, which only the
 * indexer knows. */
struct project_file {
    int64_t time_ns, n_bytes; /* as the file system told them; time 0: too new to be trusted */
    uint64_t hash;            /* of its bytes */
    size_t block_bytes;
    const struct language *language;
    struct project_unit *units;
    struct project_import *imports;
    char *pool;
    const char *path; /* relative to the root */
    const char *name; /* its last part */
    uint64_t words;   /* project_file_words of what imports call it: its stem, or its folder's name */
    int32_t n_units, n_imports;
    uint32_t walk;      /* the last one that saw it */
    bool is_for_folder; /* imports may name its folder instead: an index file, or one of Go's */
    bool is_skipped;    /* is code, but generated, secret, too long, ...: nothing of it is kept */
};

enum project_outcome { PROJECT_READ, PROJECT_UNCHANGED, PROJECT_GONE, PROJECT_STOPPED };

struct project;

/* Read and outline the file at `path` (relative to the root). `known` is what is known of it, or null.
 * UNCHANGED: it is as it was. GONE: there is no such file, or no memory for it. STOPPED: the project is being
 * closed. Indexer only. */
enum project_outcome project_file_read(struct project *p, const char *path, struct project_file *known,
                                       struct project_file **out);

/* Of a file's name, what stands before its ending; and the name of its folder, "" in the root. */
size_t project_file_stem(const struct project_file *f);
const char *project_file_folder(const struct project_file *f, size_t *len);

/* A small Bloom filter of the words in a path or an import: a bit for each, which others may share. */
uint64_t project_file_words(const char *text, size_t len);

/* Whether what is at `path` is code that the index wants, by its name. */
bool project_file_is_wanted(const struct project *p, const char *path);

/* ---- Tables: project_table.c */

struct project_link {
    struct project_file *file; /* null: unused */
    uint32_t item;             /* a unit's number */
    uint32_t next;             /* the next with the same hash, or the next unused; counted from 1, 0 ends */
};

struct project_slot {
    uint32_t hash;  /* 0: empty */
    uint32_t first; /* link, from 1; 0: none any more */
    uint32_t n;     /* links */
};

/* From a hash to any number of links. */
struct project_map {
    struct project_slot *slots; /* open addressing, linear probing; owned, as are links */
    uint32_t cap_slots, n_slots;
    struct project_link *links;
    uint32_t cap_links, n_links, unused; /* used or once used; the first unused */
};

struct project_table {
    struct project_map units;   /* by name */
    struct project_map paths;   /* files */
    struct project_map names;   /* files, by the last part of their paths */
    struct project_map folders; /* files, by the last part of their folders' paths */
};

struct project_tables {
    struct project_table sides[2];
    atomic_int active; /* the side that readers enter */
    atomic_int n_readers[2];
};

/* For readers: `side` goes to leave. Files that the table names stay until then. */
const struct project_table *project_table_enter(struct project_tables *t, int *side);
void project_table_leave(struct project_tables *t, int side);

/* Indexer only. Both may be null; neither is freed, but nobody uses `known` any more afterwards. False: no
 * memory, and nothing has changed. */
bool project_table_publish(struct project_tables *t, struct project_file *known, struct project_file *file);
void project_table_clear(struct project_tables *t); /* frees the files too; without readers */
const struct project_table *project_table_own(const struct project_tables *t); /* to read, for the indexer */

size_t project_table_bytes(const struct project_tables *t);
/* At most so many more while and after `file` is published. */
size_t project_table_growth(const struct project_tables *t, const struct project_file *file);

uint32_t project_table_hash(const char *bytes, size_t len);
/* The links of a hash: first is null if there are none. Names may still differ. */
const struct project_link *project_map_first(const struct project_map *m, uint32_t hash, uint32_t *n);
const struct project_link *project_map_next(const struct project_map *m, const struct project_link *link);
const struct project_file *project_table_file(const struct project_table *t, const char *path, size_t len);

/* ---- Imports: project_resolve.c */

struct project_target {
    const struct project_file *file;
    bool is_folder; /* all files in its folder are meant, as in Go */
};

/* The file that an import in `from` names. */
bool project_resolve_in(const struct project_table *t, const char *from, const struct language *l,
                        const char *target, size_t target_len, struct project_target *out);
/* Folders that two paths have in common, in bytes. */
size_t project_resolve_common(const char *a, const char *b);

/* ---- The walk: project_walk.c */

struct project_walk; /* indexer only */

struct project_walk *project_walk_new(struct notify *notify);
void project_walk_free(struct project_walk **w);
void project_walk_begin(struct project_walk *w);   /* look at everything, from the root on */
void project_walk_suggest(struct project_walk *w); /* the same, but not sooner after the last than it may */
void project_walk_hurry(struct project_walk *w);   /* somebody waits: if a walk is due, do not put it off */
/* Take in what the system told since; waits at most timeout_ms (-1: for ever) for the first of it. True:
 * there was something. */
bool project_walk_listen(const struct project *p, struct project_walk *w, int32_t timeout_ms);
/* Look at one more folder, or file that has changed. False: there is nothing to do now. */
bool project_walk_step(struct project *p, struct project_walk *w);
int32_t project_walk_delay_ms(const struct project_walk *w); /* until there is; -1: it does not know */
int32_t project_walk_n_waiting(const struct project_walk *w);
size_t project_walk_bytes(const struct project_walk *w);

/* ---- The project: project.c */

struct project {
    char *root;                    /* owned; without a slash at its end */
    const struct secrets *secrets; /* borrowed */
    size_t max_bytes;
    int32_t max_files;
    struct notify *notify; /* owned; null: none */
    struct project_tables tables;

    atomic_uint_least64_t version;
    atomic_int_least64_t paused_until; /* clock_ns */
    atomic_bool is_stopping, is_rescan_asked, is_change_told;
    atomic_uint n_settles; /* asked for */

    /* Told by the indexer. */
    atomic_int_least32_t n_files, n_skipped, n_units, n_waiting;
    atomic_size_t n_block_bytes; /* of files */
    atomic_size_t n_bytes;       /* of all */
    atomic_bool is_limited;
    atomic_bool is_watched; /* changes are followed in all of it */

    pthread_mutex_t lock; /* for the conditions, and n_settled */
    pthread_cond_t woken; /* stopping, or asked for something */
    pthread_cond_t settled;
    unsigned n_settled; /* the last project_settle that was answered */
    pthread_t thread;
    bool is_full; /* indexer only: no more files are taken */
};

/* Between two pieces of work: returns when nobody types any more. False: the project is being closed. */
bool project_may_go_on(struct project *p);
/* Publish a file in the place of what is known of its path; `file` null removes it. Takes `file`. */
void project_put(struct project *p, struct project_file *known, struct project_file *file);

#endif
