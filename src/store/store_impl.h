/* The inside of a store, for store*.c only.
 *
 * The loop and three threads exchange searches and tasks over queues under one lock, which nobody holds while
 * anything is read, written or called back. Whoever took a search or a task from a queue owns it, but for
 * the fields that say otherwise. The databases' lock (databases.h) is never held together with it.
 *
 *   reader   searches the databases; passes what they do not have on to the team's thread
 *   team     searches the team's server, and puts there
 *   writer   everything that changes a database
 *
 * Each is started when there is something for it for the first time, and sleeps while there is nothing. None
 * has a lower priority: a thread that loses the processor while it holds the lock would hold up the loop. The
 * writer only does not take the processor from the one that wakes it. */
#ifndef STORE_STORE_IMPL_H
#define STORE_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/databases.h"
#include "store/store.h"

#define STORE_SEARCHES_MAX 64                /* under way, and lookups that share them: many typists */
#define STORE_WRITE_BYTES  ((size_t)4 << 20) /* of tasks that wait for the writer: some 20,000 records */
#define STORE_TEAM_BYTES   ((size_t)1 << 20) /* for the team's thread */
#define STORE_MAKERS_MAX   16                /* models that are collected for; people use one to three */

/* ---- Searches ---- */

struct store_lookup {
    struct store_lookup *next; /* of the same search */
    struct store_search *search;
    void (*done)(void *ctx, const struct store_found *found);
    void *ctx;
};

struct store_search {
    struct store_search *next; /* in the queue it is in */
    struct store_key key;      /* typed: a copy behind this struct */
    uint64_t project;
    bool asks_team;
    int64_t n_clears;             /* of the store, when this was asked */
    struct store_lookup *lookups; /* owner: the loop, always */
    atomic_bool is_unwanted;      /* set by the loop: nobody waits any more */

    enum store_level level; /* where it was found */
    struct disk_found found;
};

struct store_search_queue {
    struct store_search *first, **last;
};

void store_searches_init(struct store_search_queue *q);
void store_searches_add(struct store_search_queue *q, struct store_search *search);
struct store_search *store_searches_take(struct store_search_queue *q); /* null: empty */

/* ---- Tasks ---- */

/* A record that is to be written, or that was read and is to be kept. */
struct store_task {
    struct store_task *next;
    bool is_touch;
    bool to_disk, to_project;
    uint64_t project;
    size_t len;
    char bytes[];
};

/* First come, first served; full: the first go. */
struct store_task_queue {
    struct store_task *first, **last;
    size_t n_bytes, max_bytes;
    int32_t n, n_puts;
};

void store_tasks_init(struct store_task_queue *q, size_t max_bytes);
struct store_task *store_tasks_take(struct store_task_queue *q); /* null: empty; the taker frees */
void store_tasks_clear(struct store_task_queue *q);

/* A wish to empty everything. */
struct store_wipe {
    struct store_wipe *next;
    void (*done)(void *ctx, int64_t n_deleted);
    void *ctx;
    int64_t n_deleted;
};

void store_wipes_add(struct store_wipe **list, struct store_wipe *wipe); /* at the end */
void store_wipes_clear(struct store_wipe **list);

/* ---- The store ---- */

struct store_thread {
    pthread_t thread;
    void *(*run)(void *store);
    bool is_started;
    pthread_cond_t work;
};

/* What stands at a model's path. */
struct store_maker {
    char *path;
    uint64_t maker;
    bool is_new; /* to the writer */
};

struct store {
    struct metrics *metrics; /* or null */
    void (*wake)(void *ctx);
    void *ctx;
    int64_t disk_bytes, projects_bytes;
    struct databases *databases; /* reader and writer */
    struct team_cache *team;     /* its thread; null: none */

    /* Loop. */
    struct memory_cache *memory;
    struct store_search *searches[STORE_SEARCHES_MAX];
    int32_t n_searches, n_lookups;

    pthread_mutex_t lock; /* for all below */
    struct store_thread reader, writer, team_thread;
    bool is_stopping;
    int64_t stop_by; /* clock_ns: when the writing has to end */
    struct store_search_queue to_read, to_ask, found;
    struct store_task_queue to_write, to_share;
    struct store_wipe *to_wipe, *wiped;
    struct store_maker makers[STORE_MAKERS_MAX]; /* paths are freed with the store */
    int32_t n_makers;
    bool wants_look; /* something was opened, or is to be collected */
    int64_t n_clears;
    struct store_level_stats stats[STORE_N_LEVELS];
};

/* A level was asked, since start_ns (clock_ns). */
void store_note_time(const struct store *s, enum store_level level, int64_t start_ns);

/* Call these with the lock held. */

/* Start the thread if it does not run yet, and wake it. False: it cannot be started. */
bool store_thread_wake(struct store *s, struct store_thread *t);
/* Queue a copy of task with these bytes (len of them). Without memory it is lost, and counted as dropped. */
void store_queue_write(struct store *s, const struct store_task *task, const char *bytes);
void store_wake_writer(struct store *s); /* if there is something for it by now */
void store_queue_share(struct store *s, const char *bytes, size_t len);

/* A search is over: leave it to the loop, and what was found (search->found at search->level, or nothing) to
 * the levels above. Takes the lock. */
void store_search_end(struct store *s, struct store_search *search);

/* The threads' functions; ctx is the store. */
void *store_reader_run(void *store);
void *store_writer_run(void *store);
void *store_team_run(void *store);

/* What the writer begins to work for at once; touches wait until there are some. */
bool store_writer_has_work(const struct store *s);

#endif
