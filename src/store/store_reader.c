/* The thread that searches the databases. */
#include "store/store_impl.h"

#include "os/clock.h"
#include "os/thread.h"

/* Looks in one database; false: it has nothing, or is not there. */
static bool find_in(struct store *s, struct store_search *search, enum store_level level, uint64_t id)
{
    int32_t slot;
    struct disk_cache *cache = databases_take(s->databases, id, false, &slot);
    if (!cache) return false;
    int64_t start_ns = clock_ns();
    disk_cache_find(cache, &search->key, &search->found);
    databases_release(s->databases, slot);
    store_note_time(s, level, start_ns);
    search->level = level;

    pthread_mutex_lock(&s->lock);
    s->stats[level].n_asked++;
    s->stats[level].n_found += search->found.n > 0;
    pthread_mutex_unlock(&s->lock);
    return search->found.n > 0;
}

static bool find(struct store *s, struct store_search *search)
{
    if (find_in(s, search, STORE_DISK, DATABASES_SHARED)) return true;
    return search->project && find_in(s, search, STORE_PROJECT, search->project);
}

/* The writer looks after what was opened: its size, and what cannot be reached in it. */
static void tell_writer(struct store *s, uint64_t *n_opened)
{
    uint64_t n = databases_n_opened(s->databases);
    if (n == *n_opened) return;
    *n_opened = n;
    pthread_mutex_lock(&s->lock);
    s->wants_look = true;
    (void)store_thread_wake(s, &s->writer);
    pthread_mutex_unlock(&s->lock);
}

static void search_one(struct store *s, struct store_search *search)
{
    bool is_unwanted = atomic_load_explicit(&search->is_unwanted, memory_order_relaxed); /* only a hint */
    if (is_unwanted || find(s, search) || !search->asks_team) {
        store_search_end(s, search);
        return;
    }
    pthread_mutex_lock(&s->lock);
    store_searches_add(&s->to_ask, search);
    bool is_passed_on = store_thread_wake(s, &s->team_thread);
    if (!is_passed_on) (void)store_searches_take(&s->to_ask); /* the only one: nobody takes from there */
    pthread_mutex_unlock(&s->lock);
    if (!is_passed_on) store_search_end(s, search);
}

void *store_reader_run(void *store)
{
    struct store *s = store;
    uint64_t n_opened = 0;
    thread_make_prompt(); /* somebody waits for what it finds */
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->to_read.first && !s->is_stopping) pthread_cond_wait(&s->reader.work, &s->lock);
        struct store_search *search = s->is_stopping ? NULL : store_searches_take(&s->to_read);
        pthread_mutex_unlock(&s->lock);
        if (!search) return NULL;
        search_one(s, search);
        tell_writer(s, &n_opened);
    }
}
