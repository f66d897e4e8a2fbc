/* The index of a project: what its files define and import, kept up to date in the background.
 *
 * A thread of the lowest priority walks the folder, follows changes (os/notify.h), reads and outlines files
 * one at a time, and never while somebody types (project_pause). Files that are ignored (ignore.h), secret
 * (secrets.h), binary, generated-looking or too long are not indexed. Bounded in files, memory and time.
 *
 * All functions may be called from any thread. Lookups and project_pause take no lock and never wait for the
 * index's thread; what they find is copied. */
#ifndef CONTEXT_PROJECT_H
#define CONTEXT_PROJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "context/outline.h"

struct secrets;
struct project;

struct project_options {
    const char *root;              /* absolute; a folder */
    const struct secrets *secrets; /* borrowed */
    size_t max_bytes;              /* memory of the index; 0: 32 MiB */
    int32_t max_files;             /* 0: 20,000 */
    bool is_watched;               /* follow changes; else what was found stays until project_rescan */
};

/* Returns at once; the thread begins to walk. ERR_IO: no such folder. */
MUST_CHECK enum err project_open(const struct project_options *o, struct project **out, struct errmsg *msg);
void project_close(struct project **p); /* within milliseconds; tolerates null */

void project_pause(struct project *p, double ms); /* somebody types: do nothing for a while */
void project_rescan(struct project *p);           /* look at everything now */
/* Somebody says that something has changed on disk: look at everything when there is time for it, unless
 * changes are followed in all of it. */
void project_rescan_unwatched(struct project *p);
/* Wait until all that is known to be there is indexed; for the command line and tests. False: time is up. */
bool project_settle(struct project *p, double max_ms);

/* Grows whenever something in the index changes: what was looked up at the same count still holds. */
uint64_t project_version(const struct project *p);

struct project_definition {
    const char *path; /* relative to the root; views of the answer's memory */
    const char *name;
    const char *text; /* comment, signature, fields: outline_write_signature; ends in '\n' */
    size_t text_len;
    int32_t line; /* of the file, from 1 */
    enum outline_kind kind;
    uint64_t hash; /* of text */
    double score;  /* project_related */
};

/* Copies, in one block. */
struct project_answer {
    struct project_definition *items;
    int32_t n;
    void *memory; /* owned */
};

/* Definitions called `name`, those near `path` (relative to the root; or null) first: in files that it
 * imports, then in its folder, then elsewhere, and last in the file itself, whose text the caller has; among
 * these, those with most folders in common with it, those with a comment, by path, by line. At most max. A
 * name with more than 512 definitions says nothing and is not found. */
MUST_CHECK enum err project_find(struct project *p, const char *name, size_t name_len, const char *path,
                                 int32_t max, struct project_answer *out);
/* What a file defines at its top level, in order. */
MUST_CHECK enum err project_outline(struct project *p, const char *path, int32_t max,
                                    struct project_answer *out);
/* A part of a name (identifiers_part) and how much it counts. */
struct project_word {
    uint32_t hash;
    double weight;
};

#define PROJECT_WORDS_MAX 64

/* Definitions that have to do with these words (ascending by hash): their own names have them as parts, or
 * the names of their types or files, in which a word counts the more the rarer it is (tf-idf, Spaerck Jones
 * 1972). Those of `path` are left out; what it imports comes first, then its folder. Best first, at most max.
 */
MUST_CHECK enum err project_related(struct project *p, const struct project_word *words, int32_t n,
                                    const char *path, int32_t max, struct project_answer *out);

void project_answer_clear(struct project_answer *a);

/* Whether a file still defines what project_definition.hash names. The file is named by its hash, so that
 * whoever remembers many of them needs no strings. */
uint32_t project_path_hash(const char *path);
bool project_defines(struct project *p, uint32_t path_hash, uint64_t hash);

/* Which file of the project an import names, as written in `from` (relative path): "./util" from a/b.ts is
 * a/util.ts. False: none, or not told. */
bool project_resolve(struct project *p, const char *from, const char *target, size_t target_len, char *path,
                     size_t path_max);

struct project_stats {
    int32_t n_files, n_skipped, n_definitions, n_waiting; /* waiting: known to have changed */
    size_t n_bytes;                                       /* of memory */
    bool is_limited;                                      /* a bound was met: not all is indexed */
};
void project_stats(struct project *p, struct project_stats *out);

#endif
