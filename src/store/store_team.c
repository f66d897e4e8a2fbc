/* The thread that talks to the team's server. A search goes before what is to be put there. */
#include "store/store_impl.h"

#include "base/mem.h"
#include "os/clock.h"

/* With the lock held. */
static void note_stats(struct store *s)
{
    struct team_stats team;
    struct store_level_stats *stats = &s->stats[STORE_TEAM];
    team_cache_stats(s->team, &team);
    stats->n_put = team.n_put;
    stats->n_failed = team.n_failed;
    stats->is_down = team.is_open;
}

static void ask(struct store *s, struct store_search *search)
{
    if (!atomic_load_explicit(&search->is_unwanted, memory_order_relaxed)) { /* only a hint */
        int64_t start_ns = clock_ns();
        team_cache_find(s->team, &search->key, &search->found);
        store_note_time(s, STORE_TEAM, start_ns);
        search->level = STORE_TEAM;
        pthread_mutex_lock(&s->lock);
        s->stats[STORE_TEAM].n_asked++;
        s->stats[STORE_TEAM].n_found += search->found.n > 0;
        note_stats(s);
        pthread_mutex_unlock(&s->lock);
    }
    store_search_end(s, search);
}

/* With the lock held, which is released meanwhile. */
static void share_some(struct store *s)
{
    struct store_task *tasks[TEAM_BATCH_MAX];
    struct disk_put puts[TEAM_BATCH_MAX];
    int32_t n = 0;
    while (n < TEAM_BATCH_MAX && (tasks[n] = store_tasks_take(&s->to_share))) {
        puts[n] = (struct disk_put){.bytes = tasks[n]->bytes, .len = tasks[n]->len};
        n++;
    }
    pthread_mutex_unlock(&s->lock);
    team_cache_put(s->team, puts, n);
    for (int32_t i = 0; i < n; i++) mem_free(tasks[i]);
    pthread_mutex_lock(&s->lock);
    note_stats(s);
}

/* Whether the thread may end; with the lock held. */
static bool has_finished(const struct store *s)
{
    struct team_stats team;
    if (!s->is_stopping) return false;
    team_cache_stats(s->team, &team);
    return !s->to_share.first || team.is_open || clock_ns() >= s->stop_by;
}

void *store_team_run(void *store)
{
    struct store *s = store;
    pthread_mutex_lock(&s->lock);
    while (!has_finished(s)) {
        if (s->to_ask.first && !s->is_stopping) {
            struct store_search *search = store_searches_take(&s->to_ask);
            pthread_mutex_unlock(&s->lock);
            ask(s, search);
            pthread_mutex_lock(&s->lock);
        } else if (s->to_share.first) {
            share_some(s);
        } else {
            pthread_cond_wait(&s->team_thread.work, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}
