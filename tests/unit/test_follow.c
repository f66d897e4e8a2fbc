/* What the memory cache drops and keeps when texts change, against a plain model: documents whose every byte
 * has a name of its own. An answer holds while the bytes it was shown before and behind its cursor, and those
 * of its open sources, still stand in one piece each; once they do not, it is gone for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "store/memory_cache.h"
#include "support/counted_mem.h"

#define N_DOCS      3
#define DOC_MAX     400
#define N_ENTRIES   120
#define SOURCES_MAX 3
#define N_CLOSED    6
#define N_UNDO      16
#define PIECES_MAX  (2 + SOURCES_MAX)

static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 7; /* xorshift (Marsaglia 2003) */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 32) % n;
}

static size_t random_in(size_t from, size_t to)
{
    return from + random_below((uint32_t)(to - from + 1));
}

/* ---- Documents ---- */

struct document {
    char text[DOC_MAX];
    uint32_t names[DOC_MAX];
    size_t len;
};

/* How to take an edit back. */
struct undo {
    size_t doc, from, to, len;
    char text[DOC_MAX];
};

static struct document docs[N_DOCS];
static struct undo undone[N_UNDO];
static size_t n_undo;
static uint32_t last_name;

static uint64_t file_of(size_t doc)
{
    return 1000 + doc;
}

/* Replace from..to, as callers of the cache do: what does not change is no part of an edit. */
static void edit(struct memory_cache *m, size_t doc, size_t from, size_t to, const char *text, size_t len)
{
    struct document *d = &docs[doc];
    while (from < to && len > 0 && d->text[from] == text[0]) from++, text++, len--;
    while (from < to && len > 0 && d->text[to - 1] == text[len - 1]) to--, len--;
    if (from == to && len == 0) return;
    struct undo *u = &undone[n_undo++ % N_UNDO];
    *u = (struct undo){.doc = doc, .from = from, .to = from + len, .len = to - from};
    memcpy(u->text, d->text + from, to - from);
    memmove(d->text + from + len, d->text + to, d->len - to);
    memmove(d->names + from + len, d->names + to, (d->len - to) * sizeof d->names[0]);
    memcpy(d->text + from, text, len);
    for (size_t i = 0; i < len; i++) d->names[from + i] = ++last_name;
    d->len = d->len - (to - from) + len;
    memory_cache_edit(m, file_of(doc), from, to, from + len);
}

static void random_edit(struct memory_cache *m)
{
    size_t doc = random_below(N_DOCS);
    struct document *d = &docs[doc];
    size_t from = random_in(0, d->len), to = from, len = random_below(4);
    if (random_below(3) == 0) to = random_in(from, from + 4 < d->len ? from + 4 : d->len);
    if (random_below(60) == 0) to = random_in(from, d->len);
    if (d->len + len > DOC_MAX - 40) to = d->len;
    char text[4];
    for (size_t i = 0; i < len; i++) text[i] = "ab\n"[random_below(3)];
    edit(m, doc, from, to, text, len);
}

static void take_back(struct memory_cache *m)
{
    if (n_undo == 0) return;
    struct undo u = undone[--n_undo % N_UNDO];
    undone[n_undo % N_UNDO].to = SIZE_MAX; /* only once */
    if (u.to > docs[u.doc].len || docs[u.doc].len + u.len > DOC_MAX) return;
    edit(m, u.doc, u.from, u.to, u.text, u.len);
    n_undo--; /* not to be taken back itself */
}

/* ---- Entries ---- */

struct piece {
    size_t doc, len;
    uint32_t names[DOC_MAX];
};

struct model_entry {
    bool is_used, is_alive, is_filled, has_file;
    uint64_t id;
    struct memory_entry *pending;
    struct memory_place place; /* as it was asked; sources in the array */
    struct memory_source sources[SOURCES_MAX];
    struct piece pieces[PIECES_MAX];
    int n_pieces;
};

static struct model_entry entries[N_ENTRIES];
static uint64_t closed_hashes[N_CLOSED]; /* what the closed files hold */
static uint64_t last_id;
static int64_t n_touched; /* entries of the model that were lost */

static void add_piece(struct model_entry *e, size_t doc, size_t from, size_t to)
{
    struct piece *p = &e->pieces[e->n_pieces++];
    p->doc = doc;
    p->len = to - from;
    memcpy(p->names, docs[doc].names + from, p->len * sizeof p->names[0]);
}

static bool piece_holds(const struct piece *p)
{
    const struct document *d = &docs[p->doc];
    if (p->len == 0) return true;
    for (size_t at = 0; at + p->len <= d->len; at++)
        if (d->names[at] == p->names[0])
            return memcmp(d->names + at, p->names, p->len * sizeof p->names[0]) == 0;
    return false;
}

static void lose(struct model_entry *e)
{
    e->is_alive = false;
    n_touched++;
}

static void model_after_edit(void)
{
    for (struct model_entry *e = entries; e < entries + N_ENTRIES; e++) {
        if (!e->is_used || !e->is_alive || !e->has_file) continue;
        bool holds = true;
        for (int i = 0; i < e->n_pieces; i++) holds = holds && piece_holds(&e->pieces[i]);
        if (!holds) lose(e);
    }
}

static struct memory_key key_of(uint64_t id)
{
    return (struct memory_key){.key = {.line = {id, ~id}, .typed = "x", .typed_len = 1}};
}

/* A place as a view gives it: often the window of an entry that holds, so that windows are shared. */
static void random_place(struct model_entry *e)
{
    const struct model_entry *other = &entries[random_below(N_ENTRIES)];
    size_t doc = random_below(N_DOCS);
    struct memory_place *p = &e->place;
    *p = (struct memory_place){.file = file_of(doc), .sources = e->sources};
    p->from = random_in(0, docs[doc].len);
    p->to = random_in(p->from, docs[doc].len);
    if (random_below(3) > 0 && other->is_used && other->place.to <= docs[doc].len && other->has_file) {
        memcpy(e->sources, other->sources, sizeof e->sources);
        p->n_sources = other->place.n_sources;
        p->from = other->place.from;
        p->to = random_below(4) == 0 ? docs[doc].len : other->place.to;
    } else {
        p->n_sources = (int32_t)random_below(SOURCES_MAX + 1);
        for (int32_t i = 0; i < p->n_sources; i++) {
            struct memory_source *s = &e->sources[i];
            bool is_open = random_below(2) == 0;
            size_t which = random_below(is_open ? N_DOCS : N_CLOSED);
            *s = (struct memory_source){.file = is_open ? file_of(which) : 1 + which, .is_open = is_open};
            if (!is_open) s->hash = closed_hashes[which];
            if (is_open) s->from = random_in(0, docs[which].len);
            if (is_open)
                s->to = random_in(s->from, s->from + 30 < docs[which].len ? s->from + 30 : docs[which].len);
        }
    }
    p->cursor = random_in(p->from, p->to);
    if (random_below(20) == 0) p->file = 0;
}

/* The open sources of a place may have been copied from an older one: they are what stands there now. */
static bool place_is_valid(const struct memory_place *p)
{
    for (int32_t i = 0; i < p->n_sources; i++) {
        const struct memory_source *s = &p->sources[i];
        if (s->is_open && s->to > docs[s->file - file_of(0)].len) return false;
        if (!s->is_open && s->hash != closed_hashes[s->file - 1]) return false;
    }
    return true;
}

static void ask(struct memory_cache *m)
{
    struct model_entry *e = &entries[random_below(N_ENTRIES)];
    if (e->is_used && (e->is_alive || e->pending)) return;
    struct model_entry fresh = {0};
    *e = fresh;
    random_place(e);
    if (!place_is_valid(&e->place)) return;
    e->pending = memory_cache_expect(m, &e->place);
    if (!e->pending) return; /* where allocations fail */
    e->is_used = e->is_alive = true;
    e->id = ++last_id;
    e->has_file = e->place.file != 0;
    if (!e->has_file) return;
    size_t doc = e->place.file - file_of(0);
    add_piece(e, doc, e->place.from, e->place.cursor);
    add_piece(e, doc, e->place.cursor, e->place.to);
    for (int32_t i = 0; i < e->place.n_sources; i++)
        if (e->sources[i].is_open)
            add_piece(e, e->sources[i].file - file_of(0), e->sources[i].from, e->sources[i].to);
}

static void answer(struct memory_cache *m, struct model_entry *e)
{
    if (!e->is_used || !e->pending) return;
    if (random_below(10) == 0) {
        memory_cache_give_up(m, &e->pending);
        e->is_used = false;
        return;
    }
    struct memory_key key = key_of(e->id);
    struct record r = {
        .line = {key.key.line[0], key.key.line[1]}, .typed = "x", .typed_len = 1, .n_candidates = 1};
    r.candidates[0] = (struct record_candidate){.text = "text", .len = 4};
    struct buf bytes;
    buf_init(&bytes, RECORD_BYTES_MAX);
    bool is_written = record_write(&r, &bytes) == OK;
    if (is_written)
        memory_cache_fill(m, &e->pending, &key, 1, bytes.data, bytes.len);
    else
        memory_cache_give_up(m, &e->pending);
    assert_null(e->pending);
    buf_clear(&bytes);
    e->is_filled = is_written;
    e->is_used = is_written;
}

static bool holds(void *ctx, uint64_t file, uint64_t hash)
{
    int *n_asked = ctx;
    n_asked[file]++;
    return closed_hashes[file - 1] == hash;
}

static void recheck(struct memory_cache *m)
{
    int n_asked[N_CLOSED + 1] = {0};
    closed_hashes[random_below(N_CLOSED)]++;
    memory_cache_recheck(m, holds, n_asked);
    for (struct model_entry *e = entries; e < entries + N_ENTRIES; e++) {
        if (!e->is_used || !e->is_alive || !e->has_file) continue;
        bool stands = true;
        for (int32_t i = 0; i < e->place.n_sources; i++)
            if (!e->sources[i].is_open && closed_hashes[e->sources[i].file - 1] != e->sources[i].hash)
                stands = false;
        if (!stands) lose(e);
    }
    for (int i = 0; i <= N_CLOSED; i++)
        assert_in_range(n_asked[i], 0, 1); /* one hash of each is in the cache */
}

/* What is expected goes on following, the rest is gone: also the entries that nothing can touch. */
static void clear(struct memory_cache *m)
{
    memory_cache_clear(m);
    for (struct model_entry *e = entries; e < entries + N_ENTRIES; e++)
        if (e->is_filled) e->is_used = false;
}

static bool refuse(void *ctx, const struct record *r, size_t n_typed)
{
    *(uint64_t *)ctx = r->line[0];
    assert_int_equal(n_typed, 0);
    return false;
}

/* Exactly the entries that hold are found; may_miss: allocations failed, some of them may be missing. */
static void check(struct memory_cache *m, bool may_miss)
{
    int64_t n_alive = 0;
    for (struct model_entry *e = entries; e < entries + N_ENTRIES; e++) {
        if (!e->is_used || !e->is_filled) continue;
        struct memory_key key = key_of(e->id);
        uint64_t found = 0;
        enum memory_outcome got = memory_cache_find(m, &key.key, refuse, &found);
        if (e->is_alive && !(may_miss && got == MEMORY_NEW)) {
            assert_int_equal(got, MEMORY_SHORT);
            assert_int_equal(found, e->id);
            n_alive++;
        } else {
            assert_true(got == MEMORY_EDITED || got == MEMORY_NEW);
        }
    }
    struct memory_stats stats;
    memory_cache_stats(m, &stats);
    assert_int_equal(stats.n_entries, n_alive);
    if (!may_miss) assert_int_equal(stats.n_bytes, counted_mem_bytes());
}

static void run(int n_steps, bool may_fail)
{
    memset(docs, 0, sizeof docs);
    memset(entries, 0, sizeof entries);
    n_undo = 0;
    n_touched = 0;
    for (uint64_t i = 0; i < N_CLOSED; i++) closed_hashes[i] = i * 100;
    struct memory_cache *m = memory_cache_new((size_t)8 << 20);
    for (int i = 0; i < n_steps; i++) {
        if (may_fail) counted_mem_fail(4);
        for (int k = 0; k < 3; k++) ask(m);
        for (int k = 0; k < 4; k++) answer(m, &entries[random_below(N_ENTRIES)]);
        if (random_below(4) == 0)
            take_back(m);
        else
            random_edit(m);
        model_after_edit();
        if (random_below(40) == 0) recheck(m);
        if (i % 100 == 0) clear(m);
        counted_mem_fail(0);
        check(m, may_fail);
    }
    struct memory_stats stats;
    memory_cache_stats(m, &stats);
    assert_int_equal(stats.n_evicted, 0);
    assert_true(n_touched > n_steps / 2);
    assert_true(stats.n_shifted > n_steps / 4);
    if (!may_fail) assert_int_equal(stats.n_edited, n_touched);
    for (struct model_entry *e = entries; e < entries + N_ENTRIES; e++)
        if (e->is_used && e->pending && random_below(2) == 0) memory_cache_give_up(m, &e->pending);
    memory_cache_free(&m);
    assert_int_equal(counted_mem_bytes(), 0);
}

static void test_model(void **state)
{
    (void)state;
    run(60000, false);
}

static void test_no_memory(void **state)
{
    (void)state;
    run(5000, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
