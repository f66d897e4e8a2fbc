/* The life of a pack: opened, or built by a thread of its own, then applied.
 *
 * The struct is shared by its owner and the building thread and freed by the last of them, because the owner
 * may leave first: a thread that the system keeps off the processor, or that waits for a disk, cannot be
 * hurried. The thread writes `file` or `failure` and then the state; after that it only reads. */
#include "model/weight_pack.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/gguf.h"
#include "model/weight_pack_dir.h"
#include "model/weight_pack_file.h"
#include "model/weight_pack_plan.h"
#include "os/cpu.h"
#include "os/dirs.h"
#include "os/thread.h"

#define CLOSE_WAIT_MS 40  /* of the 50 that closing may take */
#define POLL_MS       100 /* between looks at whether another process is done with the same pack */

struct weight_pack {
    struct model *model; /* a reference */
    struct weight_pack_plan plan;
    char *dir, *path; /* owned */
    int64_t max_bytes;
    bool is_foreground;
    int32_t n_threads; /* that build */

    struct weight_pack_progress progress;
    atomic_int state;             /* enum weight_pack_state */
    struct weight_pack_file file; /* when ready */
    struct errmsg failure;        /* when failed */

    atomic_int refs;
    pthread_mutex_t lock; /* guards is_building; a leaf: nothing else is locked under it */
    pthread_cond_t changed;
    bool is_building; /* from the thread's start until nothing is left of it but to free its own things */
};

static void unref(struct weight_pack *p)
{
    /* Release and acquire: what either side did happens before the free. */
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1) return;
    weight_pack_file_close(&p->file);
    weight_pack_plan_clear(&p->plan);
    model_unref(&p->model);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->dir);
    mem_free(p->path);
    mem_free(p);
}

static bool is_cancelled(struct weight_pack *p)
{
    /* Relaxed: the flag guards no other data. */
    return atomic_load_explicit(&p->progress.cancel, memory_order_relaxed);
}

static struct timespec from_now(int ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* the clock of pthread_cond_timedwait */
    t.tv_nsec += ms * 1000000L;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

/* --- Building: on its own thread --------------------------------------------------------------------- */

/* Wait until no other process writes this pack. OK: it is ours to write, locked as *fd, or another process
 * has made it and it is open. */
static enum err lock_part(struct weight_pack *p, const char *part, int *fd, struct errmsg *msg)
{
    for (;;) {
        enum err err = weight_pack_dir_lock_part(part, fd, msg);
        if (err) return err;
        /* Looked at also with the lock: its last holder may have just finished. */
        err = weight_pack_file_open(p->path, &p->plan, &p->file, msg);
        if (err != ERR_NOT_FOUND || *fd >= 0) return err == ERR_NOT_FOUND ? OK : err;
        if (is_cancelled(p)) return ERR_CANCELLED;
        struct timespec next = from_now(POLL_MS);
        pthread_mutex_lock(&p->lock);
        if (!is_cancelled(p)) pthread_cond_timedwait(&p->changed, &p->lock, &next);
        pthread_mutex_unlock(&p->lock);
    }
}

/* Write the pack to the locked file and give it its name. fd belongs to p->file on success. */
static enum err write_part(struct weight_pack *p, int fd, const char *part, struct errmsg *msg)
{
    struct map map = {0};
    enum err err = weight_pack_dir_make_room(p->dir, p->plan.key, p->plan.file_bytes, p->max_bytes, msg);
    if (!err) err = weight_pack_file_write(fd, part, &p->plan, p->n_threads, &p->progress, msg);
    if (!err) err = model_check(p->model, msg); /* what was packed is what the name says */
    if (!err) err = map_open_fd(fd, part, &map, msg);
    if (!err) err = weight_pack_dir_publish(fd, part, p->path, msg);
    if (err) {
        map_close(&map);
        return err;
    }
    p->file = (struct weight_pack_file){.fd = fd, .map = map};
    return OK;
}

/* *garbage: the descriptor of a deleted file, to be closed, or -1. */
static enum err build(struct weight_pack *p, int *garbage, struct errmsg *msg)
{
    int fd = -1;
    *garbage = -1;
    enum err err = dirs_make(p->dir, msg);
    if (err) return err;
    char *part = weight_pack_dir_part_name(p->dir, p->plan.key);
    err = lock_part(p, part, &fd, msg);
    bool is_there = p->file.map.data != NULL;
    if (!err && !is_there) err = write_part(p, fd, part, msg);
    bool is_written = !err && !is_there;
    if (fd >= 0 && !is_written) {
        unlink(part);
        *garbage = fd;
    }
    mem_free(part);
    return err;
}

static void build_main(void *ctx)
{
    struct weight_pack *p = ctx;
    int garbage;
    if (!p->is_foreground) thread_make_idle();
    enum err err = build(p, &garbage, &p->failure);
    if (err == ERR_CANCELLED) err_set(&p->failure, err, "%s: stopped before it was complete", p->path);
    if (err && err != ERR_CANCELLED && !p->is_foreground) /* nobody asks for the message */
        log_line(LOG_WARN, "weights stay unpacked, which is slower: %s", p->failure.text);
    /* Release: file and failure come before the state that says that they are there. */
    atomic_store_explicit(&p->state, err ? WEIGHT_PACK_FAILED : WEIGHT_PACK_READY, memory_order_release);
    pthread_mutex_lock(&p->lock);
    p->is_building = false;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    /* Last, since freeing the blocks of a large file takes a tenth of a second on some file systems. */
    if (garbage >= 0) close(garbage);
    unref(p);
}

static enum err start_building(struct weight_pack *p, struct errmsg *msg)
{
    /* Relaxed: there is no other thread yet. */
    atomic_store_explicit(&p->state, WEIGHT_PACK_BUILDING, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    p->is_building = true;
    enum err err = thread_start(build_main, p, msg);
    if (err) {
        p->is_building = false;
        unref(p);
    }
    return err;
}

/* --- The owner's side -------------------------------------------------------------------------------- */

static char *directory(const char *dir)
{
    return dir && *dir ? mem_dup_str(dir) : dirs_path(DIR_CACHE, "packs");
}

enum err weight_pack_open(struct model *m, const struct weight_pack_options *o, struct weight_pack **out,
                          struct errmsg *msg)
{
    struct weight_pack_plan plan;
    enum err err = weight_pack_plan_init(m, o->precision, &plan, msg);
    if (err) return err;
    struct weight_pack *p = MEM_NEW(struct weight_pack);
    atomic_init(&p->refs, 1);
    atomic_init(&p->state, WEIGHT_PACK_READY);
    atomic_init(&p->progress.cancel, false);
    atomic_init(&p->progress.done, 0);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->model = model_ref(m);
    p->plan = plan;
    p->dir = directory(o->dir);
    p->path = weight_pack_dir_name(p->dir, plan.key);
    p->max_bytes = o->max_bytes ? o->max_bytes : WEIGHT_PACK_MAX_BYTES;
    p->is_foreground = o->is_foreground;
    p->n_threads = o->is_foreground ? cpu_count() : 1; /* in the background one is enough of a burden */
    err = weight_pack_file_open(p->path, &p->plan, &p->file, msg);
    if (err == ERR_NOT_FOUND && o->build) err = start_building(p, msg);
    if (err) {
        unref(p);
        return err;
    }
    *out = p;
    return OK;
}

enum err weight_pack_check(const struct weight_pack *p, struct errmsg *msg)
{
    /* Acquire: as in weight_pack_state. */
    if (atomic_load_explicit(&p->state, memory_order_acquire) != WEIGHT_PACK_READY) return OK;
    struct file_id now = file_id_fd(p->file.fd);
    if (now.size == (int64_t)p->file.map.len && !map_is_lost(&p->file.map)) return OK;
    return err_set(
        msg, ERR_IO,
        "%s: the packed weights were cut off, or cannot be read any more; load the model again, and "
        "they are built anew",
        p->path);
}

/* Delete what weight_pack_check found, unless another pack has taken its place. */
static void discard_lost(const struct weight_pack *p)
{
    if (weight_pack_check(p, NULL) == OK) return;
    struct file_id own = file_id_fd(p->file.fd), named = file_id(p->path);
    if (!file_id_is_other(&own, &named)) unlink(p->path);
}

void weight_pack_close(struct weight_pack **pp)
{
    struct weight_pack *p = *pp;
    *pp = NULL;
    if (!p) return;
    discard_lost(p);
    struct timespec deadline = from_now(CLOSE_WAIT_MS);
    int failure = 0;
    pthread_mutex_lock(&p->lock);
    atomic_store_explicit(&p->progress.cancel, true, memory_order_relaxed);
    pthread_cond_broadcast(&p->changed);
    while (p->is_building && !failure) failure = pthread_cond_timedwait(&p->changed, &p->lock, &deadline);
    pthread_mutex_unlock(&p->lock);
    unref(p);
}

enum weight_pack_state weight_pack_state(struct weight_pack *p)
{
    /* Acquire: whoever sees the end of building sees the file, or why there is none. */
    return (enum weight_pack_state)atomic_load_explicit(&p->state, memory_order_acquire);
}

double weight_pack_progress(struct weight_pack *p)
{
    if (weight_pack_state(p) == WEIGHT_PACK_READY) return 1;
    return (double)atomic_load_explicit(&p->progress.done, memory_order_relaxed) / (double)p->plan.data_bytes;
}

const char *weight_pack_message(const struct weight_pack *p)
{
    return p->failure.text;
}

int64_t weight_pack_bytes(const struct weight_pack *p)
{
    return p->plan.file_bytes;
}

const char *weight_pack_path(const struct weight_pack *p)
{
    return p->path;
}

void weight_pack_wait(struct weight_pack *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->is_building) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void weight_pack_apply(const struct weight_pack *p, struct kern_mat *w)
{
    const struct weight_pack_entry *e = w->data ? weight_pack_plan_find(&p->plan, w) : NULL;
    if (!e) return;
    const struct map *plain = gguf_map(p->model->gguf);
    const unsigned char *packed = p->file.map.data + e->offset;
    map_drop(plain, (size_t)((const unsigned char *)w->data - plain->data), (size_t)w->n_rows * w->row_bytes);
    w->packed = e->is_packed ? packed : NULL;
    if (e->type == w->type) return;
    w->type = e->type;
    w->data = packed;
    w->row_bytes = weight_pack_entry_row_bytes(e);
}

bool weight_pack_find(const struct weight_pack *p, const struct kern_mat *w, const struct map **map,
                      size_t *offset, size_t *len)
{
    /* Acquire: as in weight_pack_state. */
    if (atomic_load_explicit(&p->state, memory_order_acquire) != WEIGHT_PACK_READY) return false;
    const struct weight_pack_entry *e = weight_pack_plan_find(&p->plan, w);
    if (!e) return false;
    *map = &p->file.map;
    *offset = (size_t)e->offset;
    *len = (size_t)e->bytes;
    return true;
}

struct weight_pack *weight_pack_ref(struct weight_pack *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed); /* the caller's reference keeps p alive */
    return p;
}

void weight_pack_unref(struct weight_pack **pp)
{
    struct weight_pack *p = *pp;
    *pp = NULL;
    if (p) unref(p);
}

enum err weight_pack_verify(const struct weight_pack *p, struct errmsg *msg)
{
    return weight_pack_file_verify(&p->file, p->path, &p->plan, cpu_count(), msg);
}

int64_t weight_pack_remove(const struct model *m, const char *dir)
{
    char key[33], *path = directory(dir);
    weight_pack_model_key(m, key);
    int64_t bytes = weight_pack_dir_remove(path, key);
    mem_free(path);
    return bytes;
}

int64_t weight_pack_bytes_of(const struct model *m, const struct precision_plan *precision)
{
    struct weight_pack_plan plan;
    if (weight_pack_plan_init(m, precision, &plan, NULL) != OK) return 0;
    int64_t bytes = plan.file_bytes;
    weight_pack_plan_clear(&plan);
    return bytes;
}
