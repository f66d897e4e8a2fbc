/* The loop's side of a store: what is asked, what comes back, and the beginning and end of everything. */
#include "store/store_impl.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "watch/metrics.h"

#define FLUSH_NS ((int64_t)1000000000) /* the end waits so long for what is queued */

const char *store_level_name(enum store_level l)
{
    static const char *const names[] = {
        [STORE_MEMORY] = "memory", [STORE_DISK] = "disk", [STORE_PROJECT] = "project", [STORE_TEAM] = "team"};
    return names[l];
}

void store_note_time(const struct store *s, enum store_level level, int64_t start_ns)
{
    static const enum metric_stage stages[] = {[STORE_MEMORY] = METRIC_STAGE_CACHE_MEMORY,
                                               [STORE_DISK] = METRIC_STAGE_CACHE_DISK,
                                               [STORE_PROJECT] = METRIC_STAGE_CACHE_PROJECT,
                                               [STORE_TEAM] = METRIC_STAGE_CACHE_TEAM};
    metrics_observe(s->metrics, METRIC_STAGE_SECONDS, stages[level], clock_ms_since(start_ns) / 1e3);
}

/* ---- Life ---- */

static void thread_init(struct store_thread *t, void *(*run)(void *store))
{
    pthread_cond_init(&t->work, NULL);
    t->run = run;
}

enum err store_new(const struct store_options *o, struct store **out, struct errmsg *msg)
{
    *out = NULL;
    struct team_cache *team = NULL;
    struct errmsg why = {0};
    enum err err = o->team[0] ? team_cache_open(o->team, &team, &why) : OK;
    if (err == ERR_UNSUPPORTED) log_line(LOG_WARN, "team cache: %s", why.text);
    if (err && err != ERR_UNSUPPORTED) return err_set(msg, err, "%s", why.text);

    struct store *s = MEM_NEW(struct store);
    s->wake = o->wake;
    s->ctx = o->ctx;
    s->metrics = o->metrics;
    s->disk_bytes = o->disk_bytes;
    s->projects_bytes = o->projects_bytes;
    s->team = team;
    s->memory = memory_cache_new((size_t)o->memory_bytes);
    s->databases = databases_new(o->dir, o->disk_bytes, o->projects_bytes, STORE_PROJECTS_MAX);
    pthread_mutex_init(&s->lock, NULL);
    thread_init(&s->reader, store_reader_run);
    thread_init(&s->writer, store_writer_run);
    thread_init(&s->team_thread, store_team_run);
    store_searches_init(&s->to_read);
    store_searches_init(&s->to_ask);
    store_searches_init(&s->found);
    store_tasks_init(&s->to_write, STORE_WRITE_BYTES);
    store_tasks_init(&s->to_share, STORE_TEAM_BYTES);
    *out = s;
    return OK;
}

static void search_free(struct store_search *search)
{
    for (struct store_lookup *l = search->lookups, *next; l; l = next) {
        next = l->next;
        mem_free(l);
    }
    buf_clear(&search->found.bytes);
    mem_free(search);
}

static void stop(struct store *s)
{
    struct store_thread *threads[] = {&s->reader, &s->team_thread, &s->writer};
    pthread_mutex_lock(&s->lock);
    s->is_stopping = true;
    s->stop_by = clock_ns() + FLUSH_NS;
    for (int i = 0; i < 3; i++) pthread_cond_signal(&threads[i]->work);
    pthread_mutex_unlock(&s->lock);
    /* In this order: what the first two find is still written by the third. */
    for (int i = 0; i < 3; i++) {
        if (threads[i]->is_started) pthread_join(threads[i]->thread, NULL);
        pthread_cond_destroy(&threads[i]->work);
    }
}

void store_free(struct store **store)
{
    struct store *s = *store;
    if (!s) return;
    stop(s);
    for (int32_t i = 0; i < s->n_searches; i++) search_free(s->searches[i]);
    for (int32_t i = 0; i < s->n_makers; i++) mem_free(s->makers[i].path);
    store_tasks_clear(&s->to_write);
    store_tasks_clear(&s->to_share);
    store_wipes_clear(&s->to_wipe);
    store_wipes_clear(&s->wiped);
    pthread_mutex_destroy(&s->lock);
    databases_free(&s->databases);
    team_cache_close(&s->team);
    memory_cache_free(&s->memory);
    mem_free(s);
    *store = NULL;
}

struct memory_cache *store_memory(struct store *s)
{
    return s->memory;
}

/* ---- Looking up ---- */

static bool is_same(const struct store_search *a, const struct store_search *b)
{
    return a->key.line[0] == b->key.line[0] && a->key.line[1] == b->key.line[1] &&
           a->key.typed_len == b->key.typed_len &&
           memcmp(a->key.typed, b->key.typed, a->key.typed_len) == 0 && a->project == b->project &&
           a->asks_team == b->asks_team && a->n_clears == b->n_clears;
}

/* A search like this one that somebody still waits for; or null. */
static struct store_search *find_search(const struct store *s, const struct store_search *like)
{
    for (int32_t i = 0; i < s->n_searches; i++) {
        if (s->searches[i]->lookups && is_same(s->searches[i], like)) return s->searches[i];
    }
    return NULL;
}

/* Give a search to the first thread that has something to search. False: there is no such level, or thread.
 */
static bool search_start(struct store *s, struct store_search *search)
{
    bool reads =
        databases_has_disk(s->databases) || (search->project && databases_has_projects(s->databases));
    struct store_search_queue *queue = reads ? &s->to_read : &s->to_ask;
    if (!reads && !search->asks_team) return false;
    pthread_mutex_lock(&s->lock);
    bool is_started = store_thread_wake(s, reads ? &s->reader : &s->team_thread);
    if (is_started) store_searches_add(queue, search);
    pthread_mutex_unlock(&s->lock);
    return is_started;
}

/* A search of its own for what `like` asks; null: there are too many, or nothing to search. */
static struct store_search *search_new(struct store *s, const struct store_search *like)
{
    if (s->n_searches == STORE_SEARCHES_MAX) return NULL;
    struct store_search *search = mem_try(1, sizeof *search + like->key.typed_len);
    if (!search) return NULL;
    *search = *like;
    search->key.typed = memcpy(search + 1, like->key.typed, like->key.typed_len);
    buf_init(&search->found.bytes, DISK_FOUND_MAX * RECORD_BYTES_MAX);
    if (!search_start(s, search)) {
        search_free(search);
        return NULL;
    }
    s->searches[s->n_searches++] = search;
    return search;
}

struct store_lookup *store_lookup(struct store *s, const struct store_key *key, uint64_t project,
                                  bool is_private, void (*done)(void *ctx, const struct store_found *found),
                                  void *ctx)
{
    const struct store_search like = {
        .key = *key, .project = project, .asks_team = s->team && !is_private, .n_clears = s->n_clears};
    if (s->n_lookups == STORE_SEARCHES_MAX || key->typed_len > RECORD_TYPED_MAX) return NULL;
    struct store_search *search = find_search(s, &like);
    if (!search) search = search_new(s, &like);
    if (!search) return NULL;
    struct store_lookup *lookup = MEM_NEW(struct store_lookup);
    *lookup = (struct store_lookup){.search = search, .next = search->lookups, .done = done, .ctx = ctx};
    search->lookups = lookup;
    s->n_lookups++;
    return lookup;
}

void store_cancel(struct store *s, struct store_lookup *lookup)
{
    struct store_search *search = lookup->search;
    struct store_lookup **at = &search->lookups;
    while (*at != lookup) at = &(*at)->next;
    *at = lookup->next;
    mem_free(lookup);
    s->n_lookups--;
    if (!search->lookups) atomic_store_explicit(&search->is_unwanted, true, memory_order_relaxed);
}

/* A search came back. Callbacks may look up and cancel, other lookups of the same search too. */
static void search_deliver(struct store *s, struct store_search *search)
{
    struct disk_put records[DISK_FOUND_MAX];
    struct store_found found = {.level = search->level, .records = records, .n = search->found.n};
    for (int32_t i = 0; i < found.n; i++) {
        size_t from = i > 0 ? search->found.ends[i - 1] : 0;
        records[i] =
            (struct disk_put){.bytes = search->found.bytes.data + from, .len = search->found.ends[i] - from};
    }
    for (struct store_lookup *lookup; (lookup = search->lookups);) {
        struct store_lookup l = *lookup;
        search->lookups = l.next;
        s->n_lookups--;
        mem_free(lookup);
        l.done(l.ctx, &found);
    }
}

static void forget_search(struct store *s, const struct store_search *search)
{
    int32_t i = 0;
    while (s->searches[i] != search) i++;
    s->searches[i] = s->searches[--s->n_searches];
}

void store_poll(struct store *s)
{
    struct store_search_queue found;
    pthread_mutex_lock(&s->lock);
    found = s->found;
    store_searches_init(&s->found);
    struct store_wipe *wiped = s->wiped;
    s->wiped = NULL;
    pthread_mutex_unlock(&s->lock);

    for (struct store_search *search = found.first, *next; search; search = next) {
        next = search->next;
        if (search->n_clears != s->n_clears) search->found.n = 0; /* emptied since it was found */
        forget_search(s, search);
        search_deliver(s, search);
        search_free(search);
    }
    for (struct store_wipe *wipe = wiped, *next; wipe; wipe = next) {
        next = wipe->next;
        if (wipe->done) wipe->done(wipe->ctx, wipe->n_deleted);
        mem_free(wipe);
    }
}

/* ---- Changing ---- */

void store_put(struct store *s, uint64_t project, const char *bytes, size_t len)
{
    const struct store_task task = {.to_disk = databases_has_disk(s->databases),
                                    .to_project = project && databases_has_projects(s->databases),
                                    .project = project,
                                    .len = len};
    pthread_mutex_lock(&s->lock);
    if (task.to_disk || task.to_project) store_queue_write(s, &task, bytes);
    store_wake_writer(s);
    if (s->team) store_queue_share(s, bytes, len);
    pthread_mutex_unlock(&s->lock);
}

static bool has_databases(const struct store *s)
{
    return databases_has_disk(s->databases) || databases_has_projects(s->databases);
}

void store_use_maker(struct store *s, const char *model_path, uint64_t maker)
{
    if (!has_databases(s)) return;
    pthread_mutex_lock(&s->lock);
    int32_t i = 0;
    while (i < s->n_makers && strcmp(s->makers[i].path, model_path) != 0) i++;
    if (i == s->n_makers && i < STORE_MAKERS_MAX) {
        s->makers[s->n_makers++].path = mem_dup_str(model_path);
    }
    if (i < s->n_makers) {
        s->makers[i].maker = maker;
        s->makers[i].is_new = true;
        s->wants_look = true;
        (void)store_thread_wake(s, &s->writer);
    }
    pthread_mutex_unlock(&s->lock);
}

void store_clear(struct store *s, void (*done)(void *ctx, int64_t n_deleted), void *ctx)
{
    struct store_wipe *wipe = MEM_NEW(struct store_wipe);
    wipe->done = done;
    wipe->ctx = ctx;
    memory_cache_clear(s->memory);
    pthread_mutex_lock(&s->lock);
    s->n_clears++;
    store_tasks_clear(&s->to_write);
    bool is_started = databases_has_files(s->databases) && store_thread_wake(s, &s->writer);
    store_wipes_add(is_started ? &s->to_wipe : &s->wiped, wipe);
    pthread_mutex_unlock(&s->lock);
    if (!is_started && s->wake) s->wake(s->ctx);
}

/* ---- Looking at it ---- */

void store_stats(const struct store *s, enum store_level level, struct store_level_stats *out)
{
    struct memory_stats memory;
    pthread_mutex_lock((pthread_mutex_t *)&s->lock); /* the one thing that this changes */
    *out = s->stats[level];
    pthread_mutex_unlock((pthread_mutex_t *)&s->lock);
    switch (level) {
    case STORE_MEMORY:
        memory_cache_stats(s->memory, &memory);
        out->is_on = memory.max_bytes > 0;
        out->n_entries = memory.n_entries;
        out->n_bytes = memory.n_bytes;
        out->max_bytes = memory.max_bytes;
        out->n_evicted = memory.n_evicted;
        break;
    case STORE_DISK:
        out->is_on = databases_has_disk(s->databases);
        out->max_bytes = s->disk_bytes;
        break;
    case STORE_PROJECT:
        out->is_on = databases_has_projects(s->databases);
        out->max_bytes = s->projects_bytes;
        break;
    case STORE_TEAM:
        out->is_on = s->team != NULL;
        break;
    case STORE_N_LEVELS:
        break;
    }
}
