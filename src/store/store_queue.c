/* What the loop and the threads of a store leave for each other. */
#include "store/store_impl.h"

#include <string.h>

#include "base/mem.h"
#include "os/thread.h"

/* ---- Searches ---- */

void store_searches_init(struct store_search_queue *q)
{
    *q = (struct store_search_queue){0};
    q->last = &q->first;
}

void store_searches_add(struct store_search_queue *q, struct store_search *search)
{
    search->next = NULL;
    *q->last = search;
    q->last = &search->next;
}

struct store_search *store_searches_take(struct store_search_queue *q)
{
    struct store_search *search = q->first;
    if (!search) return NULL;
    q->first = search->next;
    if (!q->first) q->last = &q->first;
    return search;
}

/* ---- Tasks ---- */

static size_t task_bytes(const struct store_task *t)
{
    return sizeof *t + t->len;
}

void store_tasks_init(struct store_task_queue *q, size_t max_bytes)
{
    *q = (struct store_task_queue){.max_bytes = max_bytes};
    q->last = &q->first;
}

struct store_task *store_tasks_take(struct store_task_queue *q)
{
    struct store_task *task = q->first;
    if (!task) return NULL;
    q->first = task->next;
    if (!q->first) q->last = &q->first;
    q->n_bytes -= task_bytes(task);
    q->n--;
    q->n_puts -= !task->is_touch;
    return task;
}

void store_tasks_clear(struct store_task_queue *q)
{
    for (struct store_task *task; (task = store_tasks_take(q));) mem_free(task);
}

/* Adds a copy, or nothing if there is no memory. */
static bool tasks_add(struct store_task_queue *q, const struct store_task *like, const char *bytes)
{
    struct store_task *task = mem_try(1, sizeof *task + like->len);
    if (!task) return false;
    *task = *like;
    task->next = NULL;
    memcpy(task->bytes, bytes, like->len);
    *q->last = task;
    q->last = &task->next;
    q->n_bytes += task_bytes(task);
    q->n++;
    q->n_puts += !task->is_touch;
    return true;
}

/* The stalest task, if it has to go; the caller frees it. */
static struct store_task *tasks_drop(struct store_task_queue *q)
{
    return q->n_bytes > q->max_bytes ? store_tasks_take(q) : NULL;
}

/* ---- Wipes ---- */

void store_wipes_add(struct store_wipe **list, struct store_wipe *wipe)
{
    wipe->next = NULL;
    while (*list) list = &(*list)->next;
    *list = wipe;
}

void store_wipes_clear(struct store_wipe **list)
{
    for (struct store_wipe *wipe = *list, *next; wipe; wipe = next) {
        next = wipe->next;
        mem_free(wipe);
    }
    *list = NULL;
}

/* ---- Threads ---- */

bool store_thread_wake(struct store *s, struct store_thread *t)
{
    if (!t->is_started) {
        if (s->is_stopping || thread_create(&t->thread, t->run, s) != 0) return false;
        t->is_started = true;
    }
    pthread_cond_signal(&t->work);
    return true;
}

static void count_dropped(struct store *s, const struct store_task *task)
{
    if (task->is_touch) return;
    s->stats[STORE_DISK].n_dropped += task->to_disk;
    s->stats[STORE_PROJECT].n_dropped += task->to_project;
}

void store_queue_write(struct store *s, const struct store_task *task, const char *bytes)
{
    if (!tasks_add(&s->to_write, task, bytes)) count_dropped(s, task);
    for (struct store_task *stalest; (stalest = tasks_drop(&s->to_write)); mem_free(stalest)) {
        count_dropped(s, stalest);
    }
}

void store_wake_writer(struct store *s)
{
    if (store_writer_has_work(s)) (void)store_thread_wake(s, &s->writer); /* else it stays queued */
}

void store_queue_share(struct store *s, const char *bytes, size_t len)
{
    int64_t *n_dropped = &s->stats[STORE_TEAM].n_dropped;
    const struct store_task task = {.len = len};
    *n_dropped += !tasks_add(&s->to_share, &task, bytes);
    for (struct store_task *stalest; (stalest = tasks_drop(&s->to_share)); mem_free(stalest)) ++*n_dropped;
    (void)store_thread_wake(s, &s->team_thread);
}

/* ---- The end of a search ---- */

/* Records that were found: keep those that the disk and the project's database have, add those they lack. */
static void promote(struct store *s, const struct store_search *search)
{
    struct store_task put = {.project = search->project}, touch = {.is_touch = true, .project = put.project};
    bool has_project = search->project && databases_has_projects(s->databases);
    put.to_disk = search->level > STORE_DISK && databases_has_disk(s->databases);
    put.to_project = search->level > STORE_PROJECT && has_project;
    touch.to_disk = search->level == STORE_DISK;
    touch.to_project = search->level == STORE_PROJECT;

    const struct disk_found *found = &search->found;
    for (int32_t i = found->n - 1; i >= 0; i--) { /* the nearest last: it is the one used most recently */
        size_t from = i > 0 ? found->ends[i - 1] : 0;
        put.len = touch.len = found->ends[i] - from;
        if (put.to_disk || put.to_project) store_queue_write(s, &put, found->bytes.data + from);
        if (touch.to_disk || touch.to_project) store_queue_write(s, &touch, found->bytes.data + from);
    }
}

void store_search_end(struct store *s, struct store_search *search)
{
    pthread_mutex_lock(&s->lock);
    if (search->n_clears != s->n_clears) search->found.n = 0; /* emptied since; must not come back */
    if (search->found.n > 0) promote(s, search);
    bool was_empty = !s->found.first && !s->wiped;
    store_searches_add(&s->found, search);
    pthread_mutex_unlock(&s->lock);
    if (was_empty && s->wake) s->wake(s->ctx);
    pthread_mutex_lock(&s->lock);
    store_wake_writer(s); /* after those who wait for the answer */
    pthread_mutex_unlock(&s->lock);
}
