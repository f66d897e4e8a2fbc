/* Reading weights ahead: a plan of extents, and threads that take piece after piece of it.
 *
 * The struct is shared by its owner and the reading threads and freed by the last of them, because the owner
 * may leave first: a thread that waits for a disk cannot be hurried. `lock` guards the plan and the place in
 * it. A plan that is replaced or dropped gets a new number, by which a thread that comes back with a piece
 * sees that nobody wants it any more. */
#include "model/residency.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/size.h"
#include "model/gguf.h"
#include "model/model.h"
#include "model/residency_plan.h"
#include "model/weight_pack.h"
#include "os/clock.h"
#include "os/map.h"
#include "os/thread.h"

#define CLOSE_WAIT_MS 40 /* of the 50 that closing may take */

/* A third thread brings nothing that could be measured; one leaves a disk waiting while pages are mapped. */
#define N_READERS 2
/* Read at once by a thread: two large pages, and on the slowest disks less than 50 ms. */
#define PIECE_BYTES ((size_t)4 << 20)

struct residency {
    struct model *model;      /* a reference */
    struct weight_pack *pack; /* a reference, or null; set once, by the owner's thread */
    atomic_int refs;

    pthread_mutex_t lock; /* a leaf: nothing else is locked under it */
    pthread_cond_t changed;
    struct residency_plan plan;
    int64_t plan_number;
    int32_t next;    /* extent of the plan that is read next, */
    size_t next_at;  /* from here on */
    int32_t n_taken; /* pieces of this plan that are being read */
    int32_t n_readers;
    bool is_cancelled, wants_lock;

    /* What residency_state tells: written with the lock, read without. */
    atomic_int_least64_t wanted_bytes, read_bytes;
    atomic_int_least64_t begin_ns, end_ns; /* end 0: still reading */
    atomic_bool is_done, is_locked, is_dropped;
};

struct piece {
    struct residency_extent extent;
    int64_t plan_number;
    bool is_small, wants_lock;
};

static void each_extent(const struct residency *r, void (*act)(const struct map *, size_t, size_t))
{
    for (int32_t i = 0; i < r->plan.n; i++) {
        const struct residency_extent *e = &r->plan.extents[i];
        act(e->map, e->offset, e->len);
    }
}

static void unref(struct residency *r)
{
    /* Release and acquire: what either side did happens before the free. */
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) > 1) return;
    if (r->wants_lock) each_extent(r, map_unlock); /* the maps may have other users */
    residency_plan_clear(&r->plan);
    weight_pack_unref(&r->pack);
    model_unref(&r->model);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

/* --- Reading: on threads of their own ------------------------------------------------------------------ */

/* The next piece, up to a multiple of PIECE_BYTES of the file so that it is made of whole large pages. False:
 * there is none. With the lock. */
static bool take(struct residency *r, struct piece *out)
{
    if (r->is_cancelled || r->next >= r->plan.n) return false;
    struct residency_extent e = r->plan.extents[r->next];
    *out = (struct piece){.extent = e,
                          .plan_number = r->plan_number,
                          .is_small = r->next < r->plan.n_small,
                          .wants_lock = r->wants_lock};
    out->extent.offset += r->next_at;
    size_t left = e.len - r->next_at, room = PIECE_BYTES - out->extent.offset % PIECE_BYTES;
    out->extent.len = left < room ? left : room;
    r->next_at += out->extent.len;
    if (r->next_at == e.len) r->next++, r->next_at = 0;
    r->n_taken++;
    return true;
}

/* False: it cannot be had. */
static bool read_piece(const struct piece *p)
{
    const struct residency_extent *e = &p->extent;
    if (p->is_small) { /* scattered, and less than a page each: one after the other would take too long */
        map_will_need(e->map, e->offset, e->len);
        return true;
    }
    map_expect(e->map, e->offset, e->len, MAP_WHOLE);
    return map_populate(e->map, e->offset, e->len);
}

/* With the lock. */
static void finish_plan(struct residency *r, bool is_whole)
{
    r->next = r->plan.n;
    if (r->n_taken) return;
    atomic_store_explicit(&r->end_ns, clock_ns(), memory_order_relaxed);
    if (!is_whole) return;
    atomic_store_explicit(&r->is_locked, r->wants_lock && r->plan.n > 0, memory_order_relaxed);
    /* Release: whoever sees it done sees its end. */
    atomic_store_explicit(&r->is_done, true, memory_order_release);
}

/* With the lock. */
static void stop_locking(struct residency *r)
{
    char size[SIZE_TEXT_MAX];
    r->wants_lock = false;
    each_extent(r, map_unlock);
    log_line(LOG_WARN,
             "%s: the system does not let us lock %s of weights in memory; they stay unlocked. Raise the "
             "limit (ulimit -l, or LimitMEMLOCK= of the systemd unit), or set models.lock to off",
             r->model->name, size_text(r->plan.bytes, size));
}

/* Account for a piece; one that is not wanted any more is given back. */
static void put(struct residency *r, const struct piece *p, bool is_read, bool is_locked)
{
    const struct residency_extent *e = &p->extent;
    pthread_mutex_lock(&r->lock);
    bool is_stale = p->plan_number != r->plan_number;
    if (!is_stale) {
        r->n_taken--;
        if (is_read) atomic_fetch_add_explicit(&r->read_bytes, (int64_t)e->len, memory_order_relaxed);
        if (is_read && p->wants_lock && !p->is_small && !is_locked && r->wants_lock) stop_locking(r);
        bool is_whole = atomic_load_explicit(&r->read_bytes, memory_order_relaxed) == r->plan.bytes;
        if (!is_read || r->next >= r->plan.n) finish_plan(r, is_whole);
    }
    if ((is_stale || !r->wants_lock) && is_locked) map_unlock(e->map, e->offset, e->len);
    if (is_stale) map_drop(e->map, e->offset, e->len);
    pthread_mutex_unlock(&r->lock);
}

static void read_main(void *ctx)
{
    struct residency *r = ctx;
    struct piece piece;
    for (;;) {
        pthread_mutex_lock(&r->lock);
        bool has_piece = take(r, &piece);
        if (!has_piece) {
            r->n_readers--;
            pthread_cond_broadcast(&r->changed);
        }
        pthread_mutex_unlock(&r->lock);
        if (!has_piece) break;
        const struct residency_extent *e = &piece.extent;
        bool is_read = read_piece(&piece);
        bool is_locked = is_read && piece.wants_lock && map_lock(e->map, e->offset, e->len);
        put(r, &piece, is_read, is_locked);
    }
    unref(r);
}

/* With the lock. Where no thread can be started, weights are read as they are used. */
static void start_readers(struct residency *r)
{
    struct errmsg ignored;
    while (r->n_readers < N_READERS) {
        atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
        r->n_readers++;
        if (thread_start(read_main, r, &ignored) == OK) continue;
        r->n_readers--;
        atomic_fetch_sub_explicit(&r->refs, 1,
                                  memory_order_relaxed); /* never the last: the owner's is there */
        return;
    }
}

/* --- The owner's side ---------------------------------------------------------------------------------- */

enum err residency_new(struct model *m, const struct residency_options *o, struct residency **out,
                       struct errmsg *msg)
{
    (void)msg;
    struct residency *r = MEM_NEW(struct residency);
    atomic_init(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->model = model_ref(m);
    r->wants_lock = o->lock;
    *out = r;
    return OK;
}

void residency_free(struct residency **rp)
{
    struct residency *r = *rp;
    *rp = NULL;
    if (!r) return;
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline); /* the clock of pthread_cond_timedwait */
    deadline.tv_nsec += CLOSE_WAIT_MS * 1000000L;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    int failure = 0;
    pthread_mutex_lock(&r->lock);
    r->is_cancelled = true;
    while (r->n_readers && !failure) failure = pthread_cond_timedwait(&r->changed, &r->lock, &deadline);
    pthread_mutex_unlock(&r->lock);
    unref(r);
}

/* Bytes of the embedding table, which is in the model's file also where the output head is packed. */
static void table_of(const struct residency *r, const struct map **map, size_t *offset, size_t *len)
{
    const struct kern_mat *w = &r->model->tok_embd;
    *map = gguf_map(r->model->gguf);
    *offset = (size_t)((const unsigned char *)w->data - (*map)->data);
    *len = (size_t)w->n_rows * w->row_bytes;
}

/* Give back what the plan has brought. With the lock. */
static void drop_plan(struct residency *r)
{
    const struct map *map;
    size_t offset, len;
    if (r->wants_lock) each_extent(r, map_unlock);
    each_extent(r, map_drop);
    table_of(r, &map, &offset, &len);
    map_drop(map, offset, len);
    r->plan_number++;
    r->next = r->plan.n;
    r->n_taken = 0;
    atomic_store_explicit(&r->read_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&r->is_done, false, memory_order_relaxed);
    atomic_store_explicit(&r->is_locked, false, memory_order_relaxed);
    atomic_store_explicit(&r->begin_ns, clock_ns(), memory_order_relaxed);
    atomic_store_explicit(&r->end_ns, 0, memory_order_relaxed);
}

/* Where who computes comes first, it should not wait for single pages of a block, nor for more than its own
 * rows of the embedding table. With the lock. */
static void advise(const struct residency *r)
{
    const struct map *map;
    size_t offset, len;
    for (int32_t i = r->plan.n_small; i < r->plan.n; i++) {
        const struct residency_extent *e = &r->plan.extents[i];
        map_expect(e->map, e->offset, e->len, MAP_WHOLE);
    }
    table_of(r, &map, &offset, &len);
    map_expect(map, offset, len, MAP_PIECES);
}

void residency_begin(struct residency *r, struct weight_pack *pack)
{
    pthread_mutex_lock(&r->lock);
    if (pack && !r->pack) {
        drop_plan(r);
        r->pack = weight_pack_ref(pack);
    }
    residency_plan_clear(&r->plan);
    /* Without memory for it nothing is read ahead. */
    if (residency_plan_make(r->model, r->pack, &r->plan) == OK) advise(r);
    r->plan_number++;
    r->next = 0;
    r->next_at = 0;
    r->n_taken = 0;
    atomic_store_explicit(&r->wanted_bytes, r->plan.bytes, memory_order_relaxed);
    atomic_store_explicit(&r->read_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&r->is_done, false, memory_order_relaxed);
    atomic_store_explicit(&r->is_locked, false, memory_order_relaxed);
    atomic_store_explicit(&r->begin_ns, clock_ns(), memory_order_relaxed);
    atomic_store_explicit(&r->end_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&r->is_dropped, false, memory_order_relaxed);
    start_readers(r);
    pthread_mutex_unlock(&r->lock);
}

void residency_expect(struct residency *r, const int32_t *tokens, int32_t n)
{
    if (atomic_load_explicit(&r->is_dropped, memory_order_relaxed)) residency_begin(r, r->pack);
    const struct kern_mat *w = &r->model->tok_embd;
    const struct map *map;
    size_t offset, len;
    bool is_head = w->data == r->model->output.data && !r->pack;
    if (is_head && atomic_load_explicit(&r->is_done, memory_order_relaxed)) return;
    table_of(r, &map, &offset, &len);
    for (int32_t i = 0; i < n; i++) {
        if (tokens[i] >= 0 && tokens[i] < w->n_rows)
            map_will_need(map, offset + (size_t)tokens[i] * w->row_bytes, w->row_bytes);
    }
}

static int64_t count_resident(const struct residency_plan *plan)
{
    int64_t bytes = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        const struct residency_extent *e = &plan->extents[i];
        bytes += map_resident(e->map, e->offset, e->len);
    }
    return bytes;
}

int64_t residency_drop(struct residency *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t bytes = count_resident(&r->plan);
    drop_plan(r);
    atomic_store_explicit(&r->end_ns, clock_ns(), memory_order_relaxed);
    atomic_store_explicit(&r->is_dropped, true, memory_order_relaxed);
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

int64_t residency_resident(struct residency *r)
{
    pthread_mutex_lock(&r->lock);
    int64_t bytes = count_resident(&r->plan);
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

int64_t residency_look(const struct model *m, const struct weight_pack *pack, int64_t *wanted)
{
    struct residency_plan plan;
    if (residency_plan_make(m, pack, &plan) != OK) return -1;
    int64_t bytes = count_resident(&plan);
    *wanted = plan.bytes;
    residency_plan_clear(&plan);
    return bytes;
}

void residency_state(const struct residency *r, struct residency_state *out)
{
    /* Acquire: with the end of reading comes when it was. */
    bool is_done = atomic_load_explicit(&r->is_done, memory_order_acquire);
    int64_t begin = atomic_load_explicit(&r->begin_ns, memory_order_relaxed);
    int64_t end = atomic_load_explicit(&r->end_ns, memory_order_relaxed);
    *out = (struct residency_state){
        .wanted_bytes = atomic_load_explicit(&r->wanted_bytes, memory_order_relaxed),
        .read_bytes = atomic_load_explicit(&r->read_bytes, memory_order_relaxed),
        .is_done = is_done,
        .is_reading = begin && !end && !is_done,
        .is_locked = atomic_load_explicit(&r->is_locked, memory_order_relaxed),
        .ms = begin ? (double)((end ? end : clock_ns()) - begin) / 1e6 : 0,
    };
}
