/* Slots of open databases, and the folder of the projects' files.
 *
 * A slot that somebody has taken is never closed. There are more slots for projects than threads that take
 * them, so that one is always free. */
#include "store/databases.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "os/dirs.h"
#include "os/file.h"

#define ID_DIGITS  16   /* hexadecimal */
#define FILES_MAX  1024 /* that are looked at in the folder; there should be few */
#define DIR_BYTES  4096 /* bytes; longer paths cannot be opened */
#define PATH_BYTES (DIR_BYTES + 64)

_Static_assert(DATABASES_PROJECTS > 2, "the reader and the writer each take one, a third is opened");

struct slot {
    uint64_t id;
    struct disk_cache *cache; /* null: the slot is empty, or its database could not be opened */
    bool is_used;
    int32_t n_taken;
    uint64_t used_at; /* a tick */
    uint64_t serial;
    struct disk_stats stats; /* as databases_stats saw them last */
};

/* A level's own: [0] of the shared database, [1] of projects. */
struct level {
    int64_t max_bytes; /* of one database; 0: off */
    atomic_bool has_failed;
    struct disk_stats past; /* of databases that were closed */
};

struct databases {
    char *dir;
    int32_t n_projects_max;
    pthread_mutex_t lock; /* for all below; held while a database is opened or closed */
    struct slot slots[DATABASES_SLOTS];
    struct level levels[2];
    uint64_t tick;
    _Atomic uint64_t n_opened; /* changed under the lock, read without */
};

static struct level *level_of(struct databases *d, int32_t slot)
{
    return &d->levels[slot != DATABASES_SHARED];
}

struct databases *databases_new(const char *dir, int64_t disk_bytes, int64_t projects_bytes,
                                int32_t n_projects)
{
    struct databases *d = MEM_NEW(struct databases);
    bool is_usable = dir[0] && strlen(dir) < DIR_BYTES;
    d->dir = mem_dup_str(is_usable ? dir : "");
    d->n_projects_max = n_projects;
    d->levels[0].max_bytes = is_usable ? disk_bytes : 0;
    d->levels[1].max_bytes = is_usable ? projects_bytes / n_projects : 0;
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

bool databases_has_disk(const struct databases *d)
{
    /* relaxed: whoever sees it late is told when it takes the database. */
    return d->levels[0].max_bytes > 0 &&
           !atomic_load_explicit(&d->levels[0].has_failed, memory_order_relaxed);
}

bool databases_has_projects(const struct databases *d)
{
    return d->levels[1].max_bytes > 0;
}

bool databases_has_files(const struct databases *d)
{
    return d->dir[0];
}

/* ---- Files ---- */

static void shared_path(const struct databases *d, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/answers.db", d->dir);
}

static void project_path(const struct databases *d, uint64_t id, char out[PATH_BYTES])
{
    snprintf(out, PATH_BYTES, "%s/projects/%016" PRIx64 ".db", d->dir, id);
}

/* A database with its log and the log's index. */
static void delete_files(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char file[PATH_BYTES + 8];
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        snprintf(file, sizeof file, "%s%s", path, endings[i]);
        (void)unlink(file); /* what cannot be deleted stays */
    }
}

struct listing {
    uint64_t ids[FILES_MAX];
    int32_t n;
};

static void listing_add(void *ctx, const char *name)
{
    struct listing *l = ctx;
    char *end;
    if (strspn(name, "0123456789abcdef") != ID_DIGITS || l->n == FILES_MAX) return;
    uint64_t id = strtoull(name, &end, 16);
    if (strcmp(end, ".db") == 0) l->ids[l->n++] = id;
}

/* The projects that have files. The caller frees. */
static struct listing *list_projects(const struct databases *d)
{
    char dir[PATH_BYTES];
    struct listing *l = MEM_NEW(struct listing);
    snprintf(dir, sizeof dir, "%s/projects", d->dir);
    if (dirs_list(dir, listing_add, l, NULL) != OK) l->n = 0; /* there is no such folder yet */
    return l;
}

static bool is_open(const struct databases *d, uint64_t id)
{
    for (int32_t i = 1; i < DATABASES_SLOTS; i++) {
        if (d->slots[i].cache && d->slots[i].id == id) return true;
    }
    return false;
}

/* Delete the files used least recently until there is room for one more. */
static void make_room(const struct databases *d)
{
    char path[PATH_BYTES];
    struct listing *l = list_projects(d);
    for (int32_t n_left = l->n; n_left >= d->n_projects_max; n_left--) {
        int32_t oldest = -1;
        int64_t oldest_ns = INT64_MAX;
        for (int32_t i = 0; i < l->n; i++) {
            if (is_open(d, l->ids[i])) continue;
            project_path(d, l->ids[i], path);
            int64_t time_ns = file_time_ns(path); /* -1: deleted already, by this loop or another program */
            if (time_ns < 0 || time_ns >= oldest_ns) continue;
            oldest = i;
            oldest_ns = time_ns;
        }
        if (oldest < 0) break;
        project_path(d, l->ids[oldest], path);
        delete_files(path);
    }
    mem_free(l);
}

void databases_delete_closed(struct databases *d)
{
    char path[PATH_BYTES];
    if (!d->dir[0]) return;
    pthread_mutex_lock(&d->lock);
    struct listing *l = list_projects(d);
    for (int32_t i = 0; i < l->n; i++) {
        if (is_open(d, l->ids[i])) continue;
        project_path(d, l->ids[i], path);
        delete_files(path);
    }
    mem_free(l);
    if (!d->slots[DATABASES_SHARED].cache) {
        shared_path(d, path);
        delete_files(path);
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- Slots ---- */

static void add_stats(struct disk_stats *sum, const struct disk_stats *s)
{
    sum->n_entries += s->n_entries;
    sum->n_bytes += s->n_bytes;
    sum->n_evicted += s->n_evicted;
    sum->n_failed += s->n_failed;
    sum->n_rebuilt += s->n_rebuilt;
}

static void close_slot(struct databases *d, int32_t i)
{
    struct slot *s = &d->slots[i];
    if (s->cache) {
        char path[PATH_BYTES];
        s->stats.n_entries = s->stats.n_bytes = 0;
        add_stats(&level_of(d, i)->past, &s->stats);
        disk_cache_close(&s->cache);
        project_path(d, s->id, path);
        if (i != DATABASES_SHARED) file_touch(path); /* the order of use of projects */
    }
    *s = (struct slot){0};
}

/* The slot of this id, or one for it: an empty one, or that of the least recently used. */
static int32_t slot_for(const struct databases *d, uint64_t id)
{
    int32_t best = -1;
    if (id == DATABASES_SHARED) return DATABASES_SHARED;
    for (int32_t i = 1; i < DATABASES_SLOTS; i++) {
        const struct slot *s = &d->slots[i];
        if (s->is_used && s->id == id) return i;
        if (s->n_taken > 0) continue;
        if (best < 0 || s->used_at < d->slots[best].used_at) best = i; /* an empty one's is 0 */
    }
    return best;
}

/* Something went wrong in a level; told once. */
static void note_failure(struct databases *d, int32_t slot, const char *why)
{
    if (atomic_exchange_explicit(&level_of(d, slot)->has_failed, true, memory_order_relaxed)) return;
    log_line(LOG_WARN, "%s cache: %s; going on without it", slot == DATABASES_SHARED ? "disk" : "project",
             why);
}

static void open_slot(struct databases *d, int32_t i, uint64_t id, const char *path)
{
    struct errmsg msg = {0};
    struct slot *s = &d->slots[i];
    close_slot(d, i);
    if (i != DATABASES_SHARED && file_size(path) < 0) make_room(d);
    s->id = id;
    s->is_used = true;
    s->used_at = ++d->tick;
    s->serial = 1 + atomic_fetch_add_explicit(&d->n_opened, 1, memory_order_relaxed);
    enum err err = disk_cache_open(path, level_of(d, i)->max_bytes, &s->cache, &msg);
    if (err) {
        s->cache = NULL;
        note_failure(d, i, msg.text[0] ? msg.text : err_text(err));
    } else if (i != DATABASES_SHARED) {
        file_touch(path);
    }
}

static struct disk_cache *take(struct databases *d, int32_t i)
{
    struct slot *s = &d->slots[i];
    if (!s->cache) return NULL;
    s->n_taken++;
    s->used_at = ++d->tick;
    return s->cache;
}

struct disk_cache *databases_take(struct databases *d, uint64_t id, bool create, int32_t *slot)
{
    char path[PATH_BYTES];
    bool is_shared = id == DATABASES_SHARED;
    if (d->levels[!is_shared].max_bytes <= 0) return NULL;
    struct disk_cache *cache = NULL;
    pthread_mutex_lock(&d->lock);
    int32_t i = slot_for(d, id);
    struct slot *s = i >= 0 ? &d->slots[i] : NULL;
    if (s && !(s->is_used && s->id == id)) {
        if (is_shared) {
            shared_path(d, path);
        } else {
            project_path(d, id, path);
        }
        if (create || is_shared || file_size(path) >= 0) open_slot(d, i, id, path);
    }
    if (s && s->is_used && s->id == id) cache = take(d, i);
    pthread_mutex_unlock(&d->lock);
    *slot = i;
    return cache;
}

struct disk_cache *databases_take_slot(struct databases *d, int32_t slot, uint64_t *serial)
{
    pthread_mutex_lock(&d->lock);
    *serial = d->slots[slot].serial;
    uint64_t used_at = d->slots[slot].used_at;
    struct disk_cache *cache = take(d, slot);
    d->slots[slot].used_at = used_at; /* looking after it is not use */
    pthread_mutex_unlock(&d->lock);
    return cache;
}

void databases_release(struct databases *d, int32_t slot)
{
    pthread_mutex_lock(&d->lock);
    d->slots[slot].n_taken--;
    pthread_mutex_unlock(&d->lock);
}

uint64_t databases_n_opened(const struct databases *d)
{
    return atomic_load_explicit(&d->n_opened, memory_order_relaxed);
}

/* ---- Looking at it ---- */

/* Counting may take milliseconds, so the lock is not held meanwhile. */
static void look_at_slot(struct databases *d, int32_t slot)
{
    uint64_t serial;
    struct disk_stats stats;
    struct disk_cache *cache = databases_take_slot(d, slot, &serial);
    if (!cache) return;
    disk_cache_stats(cache, &stats);
    pthread_mutex_lock(&d->lock);
    d->slots[slot].stats = stats;
    pthread_mutex_unlock(&d->lock);
    databases_release(d, slot);
}

void databases_stats(struct databases *d, bool of_projects, struct databases_stats *out)
{
    int32_t from = of_projects ? 1 : DATABASES_SHARED, to = of_projects ? DATABASES_SLOTS : 1;
    for (int32_t i = from; i < to; i++) look_at_slot(d, i);
    pthread_mutex_lock(&d->lock);
    struct level *level = &d->levels[of_projects];
    *out = (struct databases_stats){.stats = level->past};
    out->has_failed = atomic_load_explicit(&level->has_failed, memory_order_relaxed);
    for (int32_t i = from; i < to; i++) add_stats(&out->stats, &d->slots[i].stats);
    pthread_mutex_unlock(&d->lock);
}

void databases_free(struct databases **d)
{
    if (!*d) return;
    for (int32_t i = 0; i < DATABASES_SLOTS; i++) close_slot(*d, i);
    pthread_mutex_destroy(&(*d)->lock);
    mem_free((*d)->dir);
    mem_free(*d);
    *d = NULL;
}
