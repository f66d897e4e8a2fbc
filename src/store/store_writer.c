/* The thread that changes databases: it writes what is queued, in batches of one transaction for a database,
 * empties, collects what cannot be reached any more, and tells how large everything is.
 *
 * Emptying goes first. Records that were only read wait for company, so that a hit does not wake a thread.
 * Collecting is done in steps, between which everything else goes first. */
#include "store/store_impl.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/thread.h"

#define BATCH_MAX    256 /* tasks of one transaction, which takes some milliseconds then */
#define TOUCHES_MAX  64  /* that wait; a hit or two a second make a batch each minute */
#define COLLECT_ROWS 64  /* a step; about a millisecond */

bool store_writer_has_work(const struct store *s)
{
    return s->to_wipe || s->wants_look || s->to_write.n_puts > 0 || s->to_write.n >= TOUCHES_MAX;
}

/* ---- Writing ---- */

struct batch {
    struct store_task *tasks[BATCH_MAX];
    int32_t n;
    int64_t n_put[2]; /* records, into the disk's database and into projects' */
};

static bool belongs(const struct store_task *t, uint64_t id)
{
    return id == DATABASES_SHARED ? t->to_disk : t->to_project && t->project == id;
}

/* All of a batch that is for one database. */
static void write_to(struct store *s, struct batch *b, uint64_t id)
{
    struct disk_put puts[BATCH_MAX], touches[BATCH_MAX];
    int32_t n_puts = 0, n_touches = 0, slot;
    for (int32_t i = 0; i < b->n; i++) {
        const struct store_task *t = b->tasks[i];
        if (!belongs(t, id)) continue;
        struct disk_put *to = t->is_touch ? &touches[n_touches++] : &puts[n_puts++];
        *to = (struct disk_put){.bytes = t->bytes, .len = t->len};
    }
    if (n_puts + n_touches == 0) return;
    struct disk_cache *cache = databases_take(s->databases, id, n_puts > 0, &slot);
    if (!cache) return;
    if (n_puts > 0) disk_cache_put(cache, puts, n_puts);
    if (n_touches > 0) disk_cache_touch(cache, touches, n_touches);
    databases_release(s->databases, slot);
    b->n_put[id != DATABASES_SHARED] += n_puts;
}

static void write_batch(struct store *s, struct batch *b)
{
    write_to(s, b, DATABASES_SHARED);
    for (int32_t i = 0; i < b->n; i++) {
        if (!b->tasks[i]->to_project) continue;
        uint64_t project = b->tasks[i]->project;
        write_to(s, b, project);
        for (int32_t k = i; k < b->n; k++) {
            if (b->tasks[k]->project == project) b->tasks[k]->to_project = false; /* done */
        }
    }
    for (int32_t i = 0; i < b->n; i++) mem_free(b->tasks[i]);
}

/* With the lock held, which is released meanwhile. */
static void write_some(struct store *s)
{
    struct batch b = {0};
    while (b.n < BATCH_MAX && (b.tasks[b.n] = store_tasks_take(&s->to_write))) b.n++;
    pthread_mutex_unlock(&s->lock);
    write_batch(s, &b);
    pthread_mutex_lock(&s->lock);
    s->stats[STORE_DISK].n_put += b.n_put[0];
    s->stats[STORE_PROJECT].n_put += b.n_put[1];
}

/* ---- Emptying ---- */

static int64_t empty_all(struct store *s)
{
    int64_t n_deleted = 0;
    int32_t slot;
    uint64_t serial;
    if (databases_take(s->databases, DATABASES_SHARED, false, &slot)) databases_release(s->databases, slot);
    for (slot = 0; slot < DATABASES_SLOTS; slot++) {
        struct errmsg msg = {0};
        int64_t n = 0;
        struct disk_cache *cache = databases_take_slot(s->databases, slot, &serial);
        if (!cache) continue;
        enum err err = disk_cache_clear(cache, NULL, &n, &msg);
        databases_release(s->databases, slot);
        if (err) log_line(LOG_WARN, "cannot empty a cache: %s", msg.text[0] ? msg.text : err_text(err));
        n_deleted += n;
    }
    databases_delete_closed(s->databases);
    return n_deleted;
}

/* With the lock held, which is released meanwhile. */
static void wipe(struct store *s)
{
    struct store_wipe *wish = s->to_wipe;
    s->to_wipe = wish->next;
    pthread_mutex_unlock(&s->lock);
    wish->n_deleted = empty_all(s);
    pthread_mutex_lock(&s->lock);
    bool was_empty = !s->found.first && !s->wiped;
    store_wipes_add(&s->wiped, wish);
    pthread_mutex_unlock(&s->lock);
    if (was_empty && s->wake) s->wake(s->ctx);
    pthread_mutex_lock(&s->lock);
}

/* ---- Collecting ---- */

/* For which makers the database in a slot was collected. */
struct collected {
    uint64_t serial; /* databases_take_slot: of another opening nothing is known */
    bool is_done[STORE_MAKERS_MAX];
};

/* One step for one maker; false: nothing is left there. */
static bool collect_slot(struct store *s, struct collected *c, int32_t slot, const struct store_maker *m,
                         int32_t i_maker)
{
    uint64_t serial;
    struct disk_cache *cache = databases_take_slot(s->databases, slot, &serial);
    if (!cache) return false;
    if (c->serial != serial) *c = (struct collected){.serial = serial};
    bool is_left = !c->is_done[i_maker];
    if (is_left && !disk_cache_collect(cache, m->path, m->maker, COLLECT_ROWS)) c->is_done[i_maker] = true;
    databases_release(s->databases, slot);
    return is_left;
}

/* A model was loaded, so that there will be questions soon. With the lock held, which is released meanwhile.
 */
static void open_shared(struct store *s)
{
    int32_t slot;
    pthread_mutex_unlock(&s->lock);
    if (databases_take(s->databases, DATABASES_SHARED, false, &slot)) databases_release(s->databases, slot);
    pthread_mutex_lock(&s->lock);
}

/* With the lock held, which is released meanwhile. One step; false: there is nothing left to collect. */
static bool collect_some(struct store *s, struct collected collected[DATABASES_SLOTS])
{
    for (int32_t i = 0; i < s->n_makers; i++) {
        struct store_maker m = s->makers[i];
        if (m.is_new) {
            for (int32_t k = 0; k < DATABASES_SLOTS; k++) collected[k].is_done[i] = false;
            s->makers[i].is_new = false;
        }
        pthread_mutex_unlock(&s->lock);
        bool is_left = false;
        for (int32_t k = 0; k < DATABASES_SLOTS && !is_left; k++) {
            is_left = collect_slot(s, &collected[k], k, &m, i);
        }
        pthread_mutex_lock(&s->lock);
        if (is_left) return true;
    }
    return false;
}

/* ---- The thread ---- */

/* With the lock held, which is released meanwhile. */
static void note_stats(struct store *s)
{
    struct databases_stats now[2];
    pthread_mutex_unlock(&s->lock);
    databases_stats(s->databases, false, &now[0]);
    databases_stats(s->databases, true, &now[1]);
    pthread_mutex_lock(&s->lock);
    for (int32_t i = 0; i < 2; i++) {
        struct store_level_stats *stats = &s->stats[i == 0 ? STORE_DISK : STORE_PROJECT];
        stats->n_entries = now[i].stats.n_entries;
        stats->n_bytes = now[i].stats.n_bytes;
        stats->n_evicted = now[i].stats.n_evicted;
        stats->n_failed = now[i].stats.n_failed + now[i].has_failed;
    }
}

void *store_writer_run(void *store)
{
    struct store *s = store;
    struct collected collected[DATABASES_SLOTS] = {0};
    thread_make_batch(); /* whoever leaves it something to write goes on first */
    pthread_mutex_lock(&s->lock);
    for (;;) {
        bool is_done = !s->to_write.first && !s->to_wipe;
        if (s->is_stopping && (is_done || clock_ns() >= s->stop_by)) break;
        if (s->to_wipe) {
            wipe(s);
        } else if (s->is_stopping || s->to_write.n_puts > 0 || s->to_write.n >= TOUCHES_MAX) {
            write_some(s);
            s->wants_look = true;
        } else if (s->wants_look) {
            s->wants_look = false;
            if (s->n_makers > 0) open_shared(s);
            note_stats(s);
            if (collect_some(s, collected)) s->wants_look = true;
        } else {
            pthread_cond_wait(&s->writer.work, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
