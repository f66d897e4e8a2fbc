/* The public face of a project's index, and the thread that does the work: it waits for changes, looks at
 * what has changed, and publishes what it finds. Nothing wakes it while nothing changes.
 *
 * Who asks for something sets an atomic and then wakes the thread, which looks at all of them before it
 * waits. The lock serves only the conditions; lookups and project_pause, which the loop calls, take none. */
#include "context/project.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/mem.h"
#include "context/project_impl.h"
#include "os/clock.h"
#include "os/thread.h"

#define BYTES_DEFAULT ((size_t)32 << 20)
#define FILES_DEFAULT 20000
#define QUIET_MS      100    /* changes come in bursts: a burst is over when nothing came for so long, */
#define BURST_MAX_MS  1000.0 /* or after this */

/* ---- The indexer */

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t time_ns)
{
    struct timespec at = {.tv_sec = time_ns / 1000000000, .tv_nsec = time_ns % 1000000000};
    pthread_cond_timedwait(cond, lock, &at);
}

bool project_may_go_on(struct project *p)
{
    if (atomic_load(&p->is_stopping)) return false;
    if (clock_ns() >= atomic_load(&p->paused_until)) return true;
    pthread_mutex_lock(&p->lock);
    int64_t until;
    while (!atomic_load(&p->is_stopping) && clock_ns() < (until = atomic_load(&p->paused_until)))
        wait_until(&p->woken, &p->lock, until);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->is_stopping);
}

static void count(struct project *p, const struct project_file *f, int32_t sign)
{
    if (!f) return;
    atomic_fetch_add(f->is_skipped ? &p->n_skipped : &p->n_files, sign);
    atomic_fetch_add(&p->n_units, sign * f->n_units);
    if (sign > 0)
        atomic_fetch_add(&p->n_block_bytes, f->block_bytes);
    else
        atomic_fetch_sub(&p->n_block_bytes, f->block_bytes);
}

/* Whether the bounds allow for the file in the place of what is known. */
static bool has_room(const struct project *p, const struct project_file *known, const struct project_file *f)
{
    int32_t n_others = atomic_load(&p->n_files) + atomic_load(&p->n_skipped) - (known != NULL);
    size_t others = atomic_load(&p->n_bytes) - (known ? known->block_bytes : 0);
    return n_others < p->max_files &&
           others + f->block_bytes + project_table_growth(&p->tables, f) <= p->max_bytes;
}

void project_put(struct project *p, struct project_file *known, struct project_file *file)
{
    if (file && !has_room(p, known, file)) {
        p->is_full = true;
        atomic_store(&p->is_limited, true);
        mem_free(file);
        file = NULL;
    }
    if (file && !project_table_publish(&p->tables, known, file)) {
        mem_free(file);
        file = NULL;
        p->is_full = true;
        atomic_store(&p->is_limited, true);
    }
    if (!file && known && !project_table_publish(&p->tables, known, NULL)) return; /* needs no memory */
    count(p, known, -1);
    count(p, file, 1);
    if (known || file) atomic_fetch_add(&p->version, 1); /* after it is visible: see project_version */
    mem_free(known);
}

static void tell_stats(struct project *p, const struct project_walk *w)
{
    atomic_store(&p->n_waiting, project_walk_n_waiting(w));
    atomic_store(&p->n_bytes, sizeof *p + atomic_load(&p->n_block_bytes) + project_table_bytes(&p->tables) +
                                  project_walk_bytes(w));
}

static bool is_asked(const struct project *p)
{
    return atomic_load(&p->is_stopping) || atomic_load(&p->is_rescan_asked) ||
           atomic_load(&p->is_change_told) || atomic_load(&p->n_settles) != p->n_settled;
}

/* Nothing is left to do: who asked before it was looked for has an answer. */
static void answer_settles(struct project *p, unsigned asked)
{
    pthread_mutex_lock(&p->lock);
    p->n_settled = asked;
    pthread_cond_broadcast(&p->settled);
    pthread_mutex_unlock(&p->lock);
}

/* At most delay_ms; -1: for ever. */
static void wait_to_be_asked(struct project *p, int32_t delay_ms)
{
    int64_t end = clock_ns() + (int64_t)delay_ms * 1000000;
    pthread_mutex_lock(&p->lock);
    while (!is_asked(p) && (delay_ms < 0 || clock_ns() < end)) {
        if (delay_ms < 0)
            pthread_cond_wait(&p->woken, &p->lock);
        else
            wait_until(&p->woken, &p->lock, end);
    }
    pthread_mutex_unlock(&p->lock);
}

/* Until something changes or is asked for; a burst of changes is waited for to its end. */
static void wait_for_news(struct project *p, struct project_walk *w)
{
    int32_t delay_ms = project_walk_delay_ms(w);
    if (!p->notify) {
        wait_to_be_asked(p, delay_ms);
        return;
    }
    if (is_asked(p) || !project_walk_listen(p, w, delay_ms)) return;
    int64_t start = clock_ns();
    while (!is_asked(p) && clock_ms_since(start) < BURST_MAX_MS && project_walk_listen(p, w, QUIET_MS))
        continue;
}

static void *run_indexer(void *arg)
{
    struct project *p = arg;
    struct project_walk *w = project_walk_new(p->notify);
    thread_make_idle();
    project_walk_begin(w);
    while (project_may_go_on(p)) {
        unsigned asked = atomic_load(&p->n_settles);
        if (atomic_exchange(&p->is_change_told, false)) project_walk_suggest(w);
        if (atomic_exchange(&p->is_rescan_asked, false)) project_walk_begin(w);
        project_walk_listen(p, w, 0);
        if (asked != p->n_settled) project_walk_hurry(w);
        bool is_busy = project_walk_step(p, w);
        tell_stats(p, w);
        if (is_busy) continue;
        answer_settles(p, asked);
        wait_for_news(p, w);
    }
    project_walk_free(&w);
    return NULL;
}

/* What was asked for must be set before. */
static void wake(struct project *p)
{
    if (p->notify) notify_wake(p->notify);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->woken);
    pthread_mutex_unlock(&p->lock);
}

/* ---- The public face */

static void init_sync(struct project *p)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->woken, &attr);
    pthread_cond_init(&p->settled, &attr);
    pthread_condattr_destroy(&attr);
}

static void destroy(struct project *p)
{
    project_table_clear(&p->tables);
    notify_free(&p->notify);
    pthread_cond_destroy(&p->woken);
    pthread_cond_destroy(&p->settled);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->root);
    mem_free(p);
}

enum err project_open(const struct project_options *o, struct project **out, struct errmsg *msg)
{
    struct stat st;
    *out = NULL;
    if (o->root[0] != '/')
        return err_set(msg, ERR_ARG, "%s: the path of a project must be absolute", o->root);
    if (stat(o->root, &st) != 0) return err_set(msg, ERR_IO, "%s: %s", o->root, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return err_set(msg, ERR_IO, "%s: not a folder", o->root);
    struct project *p = MEM_NEW(struct project);
    init_sync(p);
    p->root = mem_dup_str(o->root);
    for (size_t len = strlen(p->root); len > 0 && p->root[len - 1] == '/';) p->root[--len] = '\0';
    p->secrets = o->secrets;
    p->max_bytes = o->max_bytes ? o->max_bytes : BYTES_DEFAULT;
    p->max_files = o->max_files ? o->max_files : FILES_DEFAULT;
    if (o->is_watched) p->notify = notify_new();
    int failure = thread_create(&p->thread, run_indexer, p);
    if (failure) {
        destroy(p);
        return err_set(msg, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
    }
    *out = p;
    return OK;
}

void project_close(struct project **p)
{
    if (!*p) return;
    atomic_store(&(*p)->is_stopping, true);
    wake(*p);
    pthread_join((*p)->thread, NULL);
    destroy(*p);
    *p = NULL;
}

void project_pause(struct project *p, double ms)
{
    int64_t until = clock_ns() + (int64_t)(ms * 1e6), known = atomic_load(&p->paused_until);
    while (until > known && !atomic_compare_exchange_weak(&p->paused_until, &known, until)) continue;
}

void project_rescan(struct project *p)
{
    atomic_store(&p->is_rescan_asked, true);
    wake(p);
}

void project_rescan_unwatched(struct project *p)
{
    if (atomic_load(&p->is_watched)) return;
    atomic_store(&p->is_change_told, true);
    wake(p);
}

bool project_settle(struct project *p, double max_ms)
{
    int64_t end = clock_ns() + (int64_t)(max_ms * 1e6);
    unsigned number = atomic_fetch_add(&p->n_settles, 1) + 1;
    wake(p);
    pthread_mutex_lock(&p->lock);
    while ((int)(p->n_settled - number) < 0 && clock_ns() < end) wait_until(&p->settled, &p->lock, end);
    bool is_settled = (int)(p->n_settled - number) >= 0;
    pthread_mutex_unlock(&p->lock);
    return is_settled;
}

uint64_t project_version(const struct project *p)
{
    return atomic_load(&p->version);
}

void project_stats(struct project *p, struct project_stats *out)
{
    *out = (struct project_stats){.n_files = atomic_load(&p->n_files),
                                  .n_skipped = atomic_load(&p->n_skipped),
                                  .n_definitions = atomic_load(&p->n_units),
                                  .n_waiting = atomic_load(&p->n_waiting),
                                  .n_bytes = atomic_load(&p->n_bytes),
                                  .is_limited = atomic_load(&p->is_limited)};
}
