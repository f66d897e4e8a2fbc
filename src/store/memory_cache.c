/* Entries, the tree of their keys, and the order in which they were used.
 *
 * A filled entry is one block: its keys, the record's bytes, and what the bytes do not hold of the keys'
 * typed text. The tree maps hash of the line and typed text to a key. An entry is in the list of used ones,
 * the newest first, or in that of expected ones; what follows the documents is in follow.c.
 *
 * Bytes are counted as they are asked for. What a change adds is there before room is made for it, so that
 * the bound holds whenever a function returns. */
#include "store/memory_cache.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "store/follow.h"
#include "store/radix.h"

#define LINE_BYTES (2 * sizeof(uint64_t))
/* Of the answers at beginnings of what is typed, so many are looked at: where nothing suits there is one for
 * each character of a line that was asked at. */
#define NEAREST_MAX 256
/* Of those that suit, so many are offered: who has refused the nearest ones wants none of the others, and a
 * long row of them must not take longer than a miss may. */
#define OFFERS_MAX 16
/* Of keys that were dropped lately; to tell the reason of a miss, forgetting is harmless. */
#define DROPPED_SLOTS 4096
#define DROPPED_SHIFT 2 /* bits of a slot that hold the reason */

enum drop { DROP_NONE, DROP_EDITED, DROP_EVICTED };

/* One of an entry's keys: value in the tree for as long as it is live. */
struct key {
    uint64_t line[2];
    uint32_t typed_at, typed_len; /* in the entry's bytes */
    uint32_t n_typed;
    uint8_t index; /* among the entry's keys */
    bool is_live;
};

struct memory_entry {
    struct follower follower;
    struct memory_entry *newer, *older; /* in the list that it is in */
    uint32_t size;                      /* of the block */
    uint32_t bytes_len;                 /* of the record */
    uint32_t text_at, text_len;         /* the first candidate's, in the bytes */
    uint8_t n_keys, n_live;
    bool is_filled;
    bool is_dropped; /* expected, but edited meanwhile: only a handle */
    struct key keys[];
};

struct entry_list {
    struct memory_entry *newest, *oldest;
};

struct memory_cache {
    size_t max_bytes;
    size_t fixed_bytes; /* of an empty cache */
    size_t entry_bytes;
    struct radix *tree;
    struct follow follow;
    struct entry_list used, expected;
    int64_t n_entries, n_edited, n_evicted;
    uint32_t dropped[DROPPED_SLOTS]; /* by hash of the key: other bits of the hash, enum drop */
};

static size_t bytes_held(const struct memory_cache *m)
{
    return sizeof(*m) + m->entry_bytes + radix_bytes(m->tree) + follow_bytes(&m->follow);
}

static bool is_on(const struct memory_cache *m)
{
    return m->max_bytes > m->fixed_bytes;
}

/* ---- Lists ---- */

static void list_put_first(struct entry_list *list, struct memory_entry *e)
{
    e->newer = NULL;
    e->older = list->newest;
    *(e->older ? &e->older->newer : &list->oldest) = e;
    list->newest = e;
}

static void list_take(struct entry_list *list, struct memory_entry *e)
{
    *(e->newer ? &e->newer->older : &list->newest) = e->older;
    *(e->older ? &e->older->newer : &list->oldest) = e->newer;
}

/* ---- Keys ---- */

static struct memory_entry *entry_of(struct key *k)
{
    return (struct memory_entry *)((char *)(k - k->index) - offsetof(struct memory_entry, keys));
}

/* The record, then what typed text it lacks. */
static char *bytes_of(struct memory_entry *e)
{
    return (char *)(e->keys + e->n_keys);
}

struct tree_key {
    char bytes[LINE_BYTES + RECORD_TYPED_MAX];
    size_t len;
};

static void tree_key_init(struct tree_key *t, const uint64_t line[2], const char *typed, size_t typed_len)
{
    memcpy(t->bytes, line, LINE_BYTES);
    if (typed_len > 0) memcpy(t->bytes + LINE_BYTES, typed, typed_len);
    t->len = LINE_BYTES + typed_len;
}

static void tree_key_of(struct tree_key *t, struct key *k)
{
    tree_key_init(t, k->line, bytes_of(entry_of(k)) + k->typed_at, k->typed_len);
}

/* ---- What was dropped lately ---- */

static uint32_t *dropped_slot(struct memory_cache *m, const struct tree_key *t, uint32_t *tag)
{
    uint64_t hash = XXH3_64bits(t->bytes, t->len);
    *tag = (uint32_t)(hash >> 32) << DROPPED_SHIFT;
    return &m->dropped[hash % DROPPED_SLOTS];
}

static void note_dropped(struct memory_cache *m, const struct tree_key *t, enum drop why)
{
    uint32_t tag, *slot = dropped_slot(m, t, &tag);
    *slot = tag | why;
}

static enum drop why_dropped(struct memory_cache *m, const struct tree_key *t)
{
    uint32_t tag, *slot = dropped_slot(m, t, &tag), why = *slot & ((1u << DROPPED_SHIFT) - 1);
    return *slot == (tag | why) ? (enum drop)why : DROP_NONE;
}

/* ---- Entries ---- */

/* Free an entry that no key leads to any more. */
static void entry_free(struct memory_cache *m, struct memory_entry *e)
{
    follow_remove(&m->follow, &e->follower);
    list_take(e->is_filled ? &m->used : &m->expected, e);
    if (e->is_filled) m->n_entries--;
    m->entry_bytes -= e->size;
    mem_free(e);
}

static void entry_drop(struct memory_cache *m, struct memory_entry *e, enum drop why)
{
    struct tree_key t;
    for (int32_t i = 0; i < e->n_keys; i++) {
        if (!e->keys[i].is_live) continue;
        tree_key_of(&t, &e->keys[i]);
        radix_remove(m->tree, t.bytes, t.len);
        if (why != DROP_NONE) note_dropped(m, &t, why);
    }
    entry_free(m, e);
}

static void make_room(struct memory_cache *m)
{
    while (bytes_held(m) > m->max_bytes && m->used.oldest) {
        m->n_evicted++;
        entry_drop(m, m->used.oldest, DROP_EVICTED);
    }
}

static struct memory_entry *entry_new(struct memory_cache *m, size_t size)
{
    struct memory_entry *e = mem_try(1, size);
    if (!e) return NULL;
    e->size = (uint32_t)size;
    m->entry_bytes += size;
    return e;
}

struct memory_entry *memory_cache_expect(struct memory_cache *m, const struct memory_place *place)
{
    struct memory_entry *e = is_on(m) ? entry_new(m, sizeof *e) : NULL;
    if (!e) return NULL;
    list_put_first(&m->expected, e);
    bool is_followed = follow_add(&m->follow, &e->follower, place);
    make_room(m);
    if (!is_followed || bytes_held(m) > m->max_bytes) {
        entry_free(m, e);
        return NULL;
    }
    return e;
}

void memory_cache_give_up(struct memory_cache *m, struct memory_entry **entry)
{
    if (*entry) entry_free(m, *entry);
    *entry = NULL;
}

/* ---- Filling ---- */

/* Whether an answer can be found at a key: what follows the place where another of its lines begins must not
 * be empty, while an answer that is empty altogether is one. */
static bool is_key_useful(const struct memory_key *k, size_t text_len)
{
    return k->key.typed_len <= RECORD_TYPED_MAX && (k->n_typed == 0 || k->n_typed < text_len);
}

/* An entry's keys, and its bytes: the record, then the typed text that the record does not hold. A first
 * key's typed text is the record's own. */
struct layout {
    const struct memory_key *keys[MEMORY_KEYS_MAX];
    uint32_t typed_at[MEMORY_KEYS_MAX];
    uint8_t n_keys;
    size_t len;
};

static void layout_init(struct layout *l, const struct memory_key *keys, int32_t n_keys, const char *bytes,
                        size_t len, size_t text_len)
{
    *l = (struct layout){.len = len};
    for (int32_t i = 0; i < n_keys && l->n_keys < MEMORY_KEYS_MAX; i++) {
        const struct store_key *key = &keys[i].key;
        if (!is_key_useful(&keys[i], text_len)) continue;
        const char *at = key->typed_len > 0 ? memmem(bytes, len, key->typed, key->typed_len) : bytes;
        l->typed_at[l->n_keys] = (uint32_t)(at ? (size_t)(at - bytes) : l->len);
        if (!at) l->len += key->typed_len;
        l->keys[l->n_keys++] = &keys[i];
    }
}

/* The entry with its keys and bytes, in the place of the one that was expected; null: these are not the bytes
 * of a record, or no memory. No key leads to it yet. */
static struct memory_entry *entry_fill(struct memory_cache *m, struct memory_entry *expected,
                                       const struct memory_key *keys, int32_t n_keys, const char *bytes,
                                       size_t len)
{
    struct record r;
    struct layout l;
    if (len > RECORD_BYTES_MAX || record_read(bytes, len, &r) != OK) return NULL;
    layout_init(&l, keys, n_keys, bytes, len, r.candidates[0].len);
    struct memory_entry *e = entry_new(m, sizeof *e + l.n_keys * sizeof(struct key) + l.len);
    if (!e) return NULL;
    e->n_keys = l.n_keys;
    e->bytes_len = (uint32_t)len;
    e->text_at = (uint32_t)(r.candidates[0].text - bytes);
    e->text_len = (uint32_t)r.candidates[0].len;
    memcpy(bytes_of(e), bytes, len);
    for (uint8_t i = 0; i < l.n_keys; i++) {
        const struct store_key *key = &l.keys[i]->key;
        e->keys[i] = (struct key){.line = {key->line[0], key->line[1]},
                                  .typed_at = l.typed_at[i],
                                  .typed_len = (uint32_t)key->typed_len,
                                  .n_typed = (uint32_t)l.keys[i]->n_typed,
                                  .index = i};
        if (l.typed_at[i] >= len) memcpy(bytes_of(e) + l.typed_at[i], key->typed, key->typed_len);
    }
    follow_relocate(&expected->follower, &e->follower);
    expected->follower = (struct follower){0};
    list_put_first(&m->used, e);
    e->is_filled = true;
    m->n_entries++;
    return e;
}

/* Let a key lead to its entry, and no longer to the one that it led to, which goes with its last key. What
 * was asked right there stays in front of what only passes by: it was generated with that place's rules. */
static void key_publish(struct memory_cache *m, struct key *k)
{
    struct tree_key t;
    tree_key_of(&t, k);
    void **place = radix_add(m->tree, t.bytes, t.len);
    if (!place) return;
    struct key *old = *place;
    if (old && k->n_typed > 0 && old->n_typed == 0) return;
    *place = k;
    k->is_live = true;
    entry_of(k)->n_live++;
    if (!old) return;
    old->is_live = false;
    if (--entry_of(old)->n_live == 0) entry_free(m, entry_of(old));
}

void memory_cache_fill(struct memory_cache *m, struct memory_entry **entry, const struct memory_key *keys,
                       int32_t n_keys, const char *bytes, size_t len)
{
    struct memory_entry *expected = *entry, *e = NULL;
    *entry = NULL;
    if (!expected) return;
    if (!expected->is_dropped && is_on(m)) e = entry_fill(m, expected, keys, n_keys, bytes, len);
    entry_free(m, expected);
    if (!e) return;
    for (int32_t i = 0; i < e->n_keys; i++) key_publish(m, &e->keys[i]);
    if (e->n_live == 0) entry_free(m, e);
    make_room(m);
}

/* ---- Finding ---- */

/* Whether a key's answer goes on with the rest of what is typed. */
static bool key_suits(struct key *k, const char *rest, size_t rest_len)
{
    struct memory_entry *e = entry_of(k);
    const char *text = bytes_of(e) + e->text_at + k->n_typed;
    return rest_len <= e->text_len - k->n_typed && memcmp(text, rest, rest_len) == 0;
}

static enum memory_outcome miss(struct memory_cache *m, const struct tree_key *t, int n_nearest)
{
    switch (why_dropped(m, t)) {
    case DROP_EDITED:
        return MEMORY_EDITED;
    case DROP_EVICTED:
        return MEMORY_EVICTED;
    default:
        return n_nearest > 0 ? MEMORY_OTHER : MEMORY_NEW;
    }
}

enum memory_outcome memory_cache_find(struct memory_cache *m, const struct store_key *key,
                                      bool (*use)(void *ctx, const struct record *r, size_t n_typed),
                                      void *ctx)
{
    if (!is_on(m)) return MEMORY_OFF;
    if (key->typed_len > RECORD_TYPED_MAX) return MEMORY_NEW;
    struct tree_key t;
    struct radix_prefix nearest[NEAREST_MAX];
    tree_key_init(&t, key->line, key->typed, key->typed_len);
    int n = radix_prefixes(m->tree, t.bytes, t.len, LINE_BYTES, nearest, NEAREST_MAX);
    int n_offered = 0;
    for (int i = 0; i < n && n_offered < OFFERS_MAX; i++) {
        struct key *k = nearest[i].value;
        struct memory_entry *e = entry_of(k);
        size_t rest_len = t.len - nearest[i].len;
        struct record r;
        if (!key_suits(k, t.bytes + nearest[i].len, rest_len)) continue;
        if (record_read(bytes_of(e), e->bytes_len, &r) != OK) continue;
        n_offered++;
        if (!use(ctx, &r, k->n_typed + rest_len)) continue;
        list_take(&m->used, e);
        list_put_first(&m->used, e);
        return MEMORY_FOUND;
    }
    return n_offered > 0 ? MEMORY_SHORT : miss(m, &t, n);
}

/* ---- Invalidation ---- */

/* Entries whose text was touched: those that were expected stay as handles. */
static void drop_lost(struct memory_cache *m, struct follower *lost)
{
    for (struct follower *next; lost; lost = next) {
        struct memory_entry *e =
            (struct memory_entry *)((char *)lost - offsetof(struct memory_entry, follower));
        next = lost->next;
        m->n_edited++;
        if (e->is_filled)
            entry_drop(m, e, DROP_EDITED);
        else
            e->is_dropped = true;
    }
}

void memory_cache_edit(struct memory_cache *m, uint64_t file, size_t from, size_t old_to, size_t new_to)
{
    drop_lost(m, follow_edit(&m->follow, file, from, old_to, new_to));
}

void memory_cache_recheck(struct memory_cache *m, bool (*holds)(void *ctx, uint64_t file, uint64_t hash),
                          void *ctx)
{
    drop_lost(m, follow_recheck(&m->follow, holds, ctx));
}

void memory_cache_clear(struct memory_cache *m)
{
    while (m->used.oldest) entry_drop(m, m->used.oldest, DROP_NONE);
    memset(m->dropped, 0, sizeof m->dropped);
}

/* ---- The cache ---- */

struct memory_cache *memory_cache_new(size_t max_bytes)
{
    struct memory_cache *m = MEM_NEW(struct memory_cache);
    m->tree = radix_new();
    follow_init(&m->follow);
    m->max_bytes = max_bytes;
    m->fixed_bytes = bytes_held(m);
    return m;
}

void memory_cache_free(struct memory_cache **cache)
{
    struct memory_cache *m = *cache;
    if (!m) return;
    memory_cache_clear(m);
    while (m->expected.oldest) entry_free(m, m->expected.oldest);
    follow_clear(&m->follow);
    radix_free(&m->tree);
    mem_free(m);
    *cache = NULL;
}

void memory_cache_set_max(struct memory_cache *m, size_t max_bytes)
{
    m->max_bytes = max_bytes;
    make_room(m);
    if (bytes_held(m) <= max_bytes) return;
    for (struct memory_entry *e = m->expected.newest; e; e = e->older) {
        follow_remove(&m->follow, &e->follower);
        e->is_dropped = true;
    }
}

void memory_cache_stats(const struct memory_cache *m, struct memory_stats *out)
{
    *out = (struct memory_stats){.n_entries = m->n_entries,
                                 .n_bytes = (int64_t)bytes_held(m),
                                 .max_bytes = (int64_t)m->max_bytes,
                                 .n_edited = m->n_edited,
                                 .n_shifted = m->follow.n_shifted,
                                 .n_evicted = m->n_evicted};
}
