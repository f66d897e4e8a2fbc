/* The first level: answers in memory, bounded in bytes, the least recently used go first.
 *
 * Found by one descent of a radix tree over (line, typed): a place that was asked before, or any at which
 * part of an earlier answer was typed. An answer of several lines stands at each of its lines' beginnings.
 *
 * Each entry follows the documents that its prompt was drawn from. An edit drops exactly the entries whose
 * text it touches and shifts the others; what is typed at an entry's own cursor touches nothing: the entry
 * answers for as long as it goes on as typed, and again when that is taken back. Files that no editor has
 * open are checked again by hash. Keys hold everything anyway, so that a dropped entry is one that could
 * not be reached any more unless the edit is undone, which the levels below remember.
 *
 * Thread: one owner, the loop. */
#ifndef STORE_MEMORY_CACHE_H
#define STORE_MEMORY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/record.h"

struct memory_cache;
struct memory_entry;

/* max_bytes: of everything it allocates; 0, or less than an empty cache takes (some 17 KB): nothing is kept.
 */
struct memory_cache *memory_cache_new(size_t max_bytes);
void memory_cache_free(struct memory_cache **m); /* expected entries too */
/* Less than there is: evicts at once. */
void memory_cache_set_max(struct memory_cache *m, size_t max_bytes);

/* ---- Entries ---- */

/* Text that a prompt showed besides the window around its cursor. */
struct memory_source {
    uint64_t file;
    size_t from, to; /* bytes, if it is an open document: memory_cache_edit moves them */
    uint64_t hash;   /* of the text, if it is not: memory_cache_recheck asks */
    bool is_open;
};

/* Where an answer is asked. */
struct memory_place {
    uint64_t file;           /* the open document; 0: none, nothing invalidates it */
    size_t from, cursor, to; /* its bytes: the window, from <= cursor <= to */
    const struct memory_source *sources;
    int32_t n_sources;
};

/* An answer is on its way. The entry follows edits from now on; fill it or give it up. Null: no memory, or
 * nothing is kept (both functions then do nothing). */
struct memory_entry *memory_cache_expect(struct memory_cache *m, const struct memory_place *place);

/* One key of an answer and how many bytes of its first candidate are typed there. */
struct memory_key {
    struct store_key key;
    size_t n_typed;
};

#define MEMORY_KEYS_MAX 16

/* The answer came: a record's bytes, copied, which are found at these keys from now on (an older answer at
 * the same key goes, unless that was asked right there and this one only passes), unless an edit meanwhile
 * dropped the entry, which is gone afterwards. */
void memory_cache_fill(struct memory_cache *m, struct memory_entry **entry, const struct memory_key *keys,
                       int32_t n_keys, const char *bytes, size_t len);
void memory_cache_give_up(struct memory_cache *m, struct memory_entry **entry);

/* ---- Finding ---- */

enum memory_outcome {
    MEMORY_FOUND,
    MEMORY_NEW,     /* nothing is known of this line as far as it is typed */
    MEMORY_OTHER,   /* something is, but what was typed is not what was suggested */
    MEMORY_SHORT,   /* an answer suited, but `use` wanted more of it */
    MEMORY_EDITED,  /* it was dropped by an edit ... */
    MEMORY_EVICTED, /* ... or to make room, not long ago */
    MEMORY_OFF      /* nothing is kept */
};

/* Offer the answers that suit the key (record_suits; at keys of later lines the same with n_typed counted
 * from the answer's beginning), the one asked nearest first, until `use` takes one, which makes it the most
 * recently used; sixteen at most. `use` must not change the cache. */
enum memory_outcome memory_cache_find(struct memory_cache *m, const struct store_key *key,
                                      bool (*use)(void *ctx, const struct record *r, size_t n_typed),
                                      void *ctx);

/* ---- Invalidation ---- */

/* An open document was edited: its bytes from..old_to became from..new_to. Costs what it drops, and a little
 * for each window of this document that has entries. */
void memory_cache_edit(struct memory_cache *m, uint64_t file, size_t from, size_t old_to, size_t new_to);
/* Files that are not open changed: drop the entries of which a source does not hold. Asked once for each
 * (file, hash). */
void memory_cache_recheck(struct memory_cache *m, bool (*holds)(void *ctx, uint64_t file, uint64_t hash),
                          void *ctx);
void memory_cache_clear(struct memory_cache *m);

struct memory_stats {
    int64_t n_entries, n_bytes, max_bytes;
    int64_t n_edited, n_shifted, n_evicted; /* entries that edits dropped; that they moved and kept; so far */
};
void memory_cache_stats(const struct memory_cache *m, struct memory_stats *out);

#endif
