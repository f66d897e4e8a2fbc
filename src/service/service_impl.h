/* What the files of the service share; nobody else includes this.
 *
 *     service.c        tickets: what is superseded, shed or shared, when answers are given
 *     service_submit.c  which model is asked, what it is asked, who must wait for it
 *     service_run.c    runs: one computation, of which several tickets may await the answer
 *     service_local.c  who computes: an engine of this process,
 *     service_remote.c  or servers on other machines
 *     service_patience.c  a local model in place of servers that are late or gone
 *     service_registry.c  models: loaded when needed, unloaded when not, failed when lost
 *     service_model.c  what others see of the models
 *     service_roles.c  which model answers a request
 *     service_govern.c  stepping back: the governor and what it acts upon
 *     service_cache.c  answers from caches, and into them
 *     service_prefetch.c  what is likely to be asked next
 *     service_mail.c   what engine threads and loaders tell the loop
 *     service_watch.c  metrics
 *
 * A ticket has a run or an outcome of its own; a run has jobs, one for each candidate, each on the scheduler
 * of the run's model. Threads: everything is the loop's except the mail box and, between submission and its
 * last mail, what a job's comment says. */
#ifndef SERVICE_SERVICE_IMPL_H
#define SERVICE_SERVICE_IMPL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "service/clients.h"
#include "complete/generation.h"
#include "service/projects.h"
#include "complete/prompt.h"
#include "complete/remote_prompt.h"
#include "service/replay.h"
#include "service/service.h"
#include "service/snapshot.h"
#include "service/sources.h"
#include "context/fim.h"
#include "infer/scheduler.h"
#include "os/file.h"
#include "store/store.h"

struct library_entry;
struct model;
struct service_job;
struct service_loaded;
struct service_run;

/* service_answer.cache and cache_miss; the order in which they are told. */
enum service_cache_source {
    CACHE_MEMORY,
    CACHE_TYPED,
    CACHE_IN_FLIGHT,
    CACHE_DISK,
    CACHE_PROJECT,
    CACHE_TEAM,
    CACHE_N_SOURCES
};
enum service_cache_miss {
    MISS_NEW,
    MISS_OTHER,
    MISS_SHORT,
    MISS_EDITED,
    MISS_EVICTED,
    MISS_LONG,
    MISS_OFF,
    MISS_N
};
_Static_assert(CACHE_N_SOURCES == SERVICE_CACHE_SOURCES && MISS_N == SERVICE_CACHE_MISSES, "service.h");
const char *service_cache_source_name(enum service_cache_source source);
const char *service_cache_miss_name(enum service_cache_miss miss);

/* ---- Mail (service_mail.c) ---- */

enum service_mail_kind {
    SERVICE_MAIL_TEXT,   /* a piece of a job's answer */
    SERVICE_MAIL_DONE,   /* a job is over; it is the loop's again */
    SERVICE_MAIL_LOADED, /* a model is, or is not */
    SERVICE_MAIL_UNLOADED
};

struct service_mail {
    struct service_mail *next;
    enum service_mail_kind kind;
    struct service_job *job;
    struct service_loaded *model;
    size_t len;
    char text[]; /* [len] */
};

struct service_box {
    pthread_mutex_t lock;
    struct service_mail *first, **last; /* oldest first; under lock */
    void (*wake)(void *ctx);            /* any thread; called when mail comes into an empty box */
    void *ctx;
};

void service_mail_open(struct service_box *b, void (*wake)(void *ctx), void *ctx);
void service_mail_close(struct service_box *b);
/* False: no memory for the text (never without one). */
bool service_mail_post(struct service_box *b, enum service_mail_kind kind, struct service_job *job,
                       struct service_loaded *model, const char *text, size_t len);
struct service_mail *service_mail_take(struct service_box *b); /* all of it; each freed with mem_free */

/* ---- Models (service_registry.c, service_model.c) ---- */

#define SERVICE_MODELS_MAX 64 /* that are known by name */
#define SERVICE_LOADED_MAX 8  /* at once; the least recently used makes room */

/* Prompts are laid out anew with each keystroke: their tokens are kept for the documents in use. */
#define SERVICE_MEMOS 16
struct service_memo {
    uint64_t document; /* hash; 0: free */
    uint64_t last_use;
    struct fim_memo memo;
};

/* Where jobs are computed. Each ends with service_job_done, whatever happens; release comes after that. */
struct service_backend {
    void (*submit)(struct service_job *j);
    void (*cancel)(struct service_job *j);
    void (*release)(struct service_job *j); /* tolerates one that was never submitted */
};
extern const struct service_backend service_local, service_elsewhere;

/* A model that somebody has named, whether it is in memory or not; never freed before the service ends, so
 * that pointers to it stay valid. READY: requests may be given to the scheduler. UNLOADING: none are; it goes
 * when its runs are over. */
struct service_loaded {
    char *name, *path; /* owned; path "" if there is no such model */
    const char
        *setting; /* borrowed: what stands in the options, looked up at each loading; null: path is fixed */
    const char *role; /* service_model.role */
    enum service_state state;
    struct errmsg error;
    bool is_lost;           /* its file is not what was loaded: it is UNLOADING, and then FAILED */
    bool is_wanted;         /* UNLOADING: to be loaded again after that */
    bool waits_for_room;    /* LOADING: begins when those that are UNLOADING have gone */
    bool is_unwanted;       /* LOADING: to be unloaded again after that */
    struct file_id refused; /* the file that could not be loaded; zero: whatever is there is worth a try */
    int64_t bytes, n_loads, last_use_ns, looked_ns;
    struct service *service;
    const struct service_backend *backend;
    const struct service_remote *elsewhere; /* in the options; null: a model on this machine */
    pthread_t worker;                       /* that loads or unloads */
    bool has_worker;                        /* to be joined */
    /* The worker's until it has posted SERVICE_MAIL_LOADED, and from when it begins to unload. */
    struct model *model; /* a reference */
    struct scheduler *scheduler;
    struct remote *remote; /* in place of both */
    struct fim fim;
    const char *isa;
    double load_ms;
    int32_t n_ctx;
    char key[42]; /* of the content, and what its numbers are converted to */
    /* The loop's. */
    uint64_t maker;              /* that the store was told of last; 0: not known what makes the answers */
    struct remote_traits traits; /* of `remote`, as its fim, n_ctx and key were made of */
    struct {
        int64_t n_asked, n_failed;
    } told[REMOTE_SERVERS_MAX]; /* of its servers, as metrics were */
    /* The engine thread's. */
    struct service_memo memos[SERVICE_MEMOS];
    uint64_t n_memo_uses;
};

#define SERVICE_LANGUAGES_MAX 32

struct service_models {
    struct service_loaded *known[SERVICE_MODELS_MAX]; /* [0]: the main one */
    int32_t n_known;
    uint64_t version;               /* grows with each change of a state */
    struct service_loaded *instant; /* one of them, or null */
    struct {
        const struct language *language;
        struct service_loaded *model; /* one of them */
    } languages[SERVICE_LANGUAGES_MAX];
    int32_t n_languages;
    char *language_names;            /* owned: settings of those models */
    struct library_entry *installed; /* as of listed_ns */
    int32_t n_installed;
    int64_t listed_ns;
};

/* Starts to load the main model. ERR_ARG: options.languages. */
MUST_CHECK enum err service_registry_init(struct service *s, struct errmsg *msg);
void service_registry_stop(struct service *s);  /* waits for workers and engine threads */
void service_registry_clear(struct service *s); /* after that */
void service_registry_on_mail(struct service *s, const struct service_mail *mail);

/* The model of this name, loaded or not; unknown names mean the main one. Null: too many are known. */
struct service_loaded *service_registry_find(struct service *s, const char *name, struct errmsg *why);
/* See to it that it is, or is going to be, READY; false: it is not, because m->error. A failed one is tried
 * again where its file has changed. */
bool service_registry_want(struct service *s, struct service_loaded *m);
void service_registry_touch(struct service_loaded *m); /* it is used now */
/* No more requests for it; unload it when its runs are over. */
void service_registry_unload(struct service *s, struct service_loaded *m);
/* What was computed with it is void, because of msg: its runs end, and it fails. */
void service_registry_lose(struct service *s, struct service_loaded *m, const struct errmsg *msg);
/* Unload those of which the runs are over. */
void service_registry_settle(struct service *s);
/* Runs that are not over. */
int32_t service_registry_n_runs(const struct service *s, const struct service_loaded *m);
/* The ready model that was used least recently and is not in use, nor was for so long; null: none. */
struct service_loaded *service_registry_idle(const struct service *s, double idle_ms);
void service_model_refresh(struct service *s); /* the list of installed ones, once a second at most */

/* ---- Roles (service_roles.c) ---- */

/* The model that a request is for; null and why. *instant: the one that answers before it, or null. */
struct service_loaded *service_roles_choose(struct service *s, const struct service_request *r,
                                            struct service_loaded **instant, struct errmsg *why);

/* ---- Stepping back (service_govern.c) ---- */

struct service_govern {
    struct governor *governor;
    struct throttle *throttle;
    struct governor_orders orders;
    int64_t looked_ns;       /* the last sample; 0: none */
    int64_t active_ns;       /* the last request, or the last time that memory was short */
    bool has_shrunk;         /* caches have less than is configured */
    int64_t completions_max; /* bytes of those in memory as configured, while they have less; else 0 */
};

void service_govern_init(struct service *s);
void service_govern_clear(struct service *s);
void service_govern_start(struct service *s, struct service_loaded *m); /* it has become ready */

/* ---- Runs (service_run.c) ---- */

/* One candidate. From submission until SERVICE_MAIL_DONE it is the engine thread's, but for `handle`. */
struct service_job {
    struct service_run *run;
    int32_t index;
    struct scheduler_job *handle; /* the loop's */
    struct remote_job *remote;    /* or this */
    struct generation generation;
    struct sampler_params sampling;
    struct buf out;
    enum complete_stop stop;
    int32_t word;        /* of the stop texts, or -1 */
    bool has_generation; /* it was begun */
    bool is_broken_off;  /* by servers elsewhere, after text had come */
    bool was_repeated;   /* because of that */
    enum err err;
    struct scheduler_report report;
    double post_ms;
};

struct service_run {
    struct service_run *next;
    struct service_loaded *model;
    struct snapshot snapshot;
    enum service_priority priority;
    uint64_t client, document; /* of the first asker, for the scheduler */
    uint64_t id;               /* of the first asker, in the journal */
    double before_ms;          /* from its request until the run was made */
    int32_t n_tickets;
    bool was_shared, is_over, is_cancelled;
    struct service_job *jobs; /* [snapshot.n_candidates] */
    int32_t n_unfinished;
    struct buf text; /* of candidate 0 as far as it is certain */
    /* Caches (service_cache.c). */
    uint64_t maker;              /* 0: the answer is not to be kept */
    struct sources *sources;     /* owned; null: of a raw prompt */
    struct memory_entry *entry;  /* that waits for the answer; or null */
    struct store_lookup *lookup; /* below memory; or null */
    bool is_put_off;             /* it starts when the lookup has found nothing */
    struct buf record; /* the answer as caches keep it, once the run is over; empty: it is not kept */
    bool is_found;     /* by this source: `found` is the answer, not the jobs' */
    enum service_cache_source found_source;
    struct replay found;
    /* Engine thread's until the run is over; built by the first job. */
    struct prompt prompt;
    bool is_prompt_built;
    struct remote_prompt remote_prompt; /* of it, prompt tells only what was cut */
    struct buf masked;                  /* what it shows of a raw prompt, without secrets; owned */
    struct remote_ask ask;
};

/* Takes the snapshot, also on failure. */
MUST_CHECK enum err service_run_new(struct service *s, struct service_loaded *m, struct snapshot *take,
                                    enum service_priority priority, uint64_t client, uint64_t document,
                                    struct service_run **out);
/* A run that answers this snapshot too, or null. */
struct service_run *service_run_find(const struct service *s, const struct service_loaded *m,
                                     const struct snapshot *snapshot);
void service_run_start(struct service_run *run);
/* The backend's, on its thread: a piece of candidate 0 (ctx: the job); all is over, the report is there. */
bool service_job_text(void *ctx, const char *text, size_t len);
void service_job_done(struct service_job *j);
void service_run_cancel(struct service_run *run);
void service_run_on_mail(struct service *s, const struct service_mail *mail);
/* The answer of a run that is over: outcome, message, candidates, timings. `candidates` is room for
 * SERVICE_CANDIDATES_MAX. */
void service_run_answer(const struct service_run *run, struct service_candidate *candidates,
                        struct service_answer *out);
void service_run_sweep(struct service *s, bool all); /* free those that nobody needs; or all */

/* ---- Other machines (service_remote.c) ---- */

/* The worker's: m->remote. */
MUST_CHECK enum err service_remote_open(struct service_loaded *m, struct errmsg *msg);
/* What its servers have said meanwhile: fim, n_ctx, key. */
void service_remote_refresh(struct service_loaded *m);
void service_remote_measure(struct service *s, struct service_loaded *m);
/* A job whose answer broke off: true if it is asked again, because nobody has seen any of it. Who has keeps
 * what there is. */
bool service_remote_mend(struct service *s, struct service_job *j);

/* ---- A local model instead (service_patience.c) ---- */

/* The run of a ticket was given to servers elsewhere: `spare` answers, if they have not begun to in time. */
void service_patience_begin(struct service *s, struct service_ticket *t, struct service_loaded *spare);
int64_t service_patience_due_ns(const struct service *s); /* 0: never */
void service_patience_tick(struct service *s);
/* True if the ticket's run has failed and its spare model answers. */
bool service_patience_takes_over(struct service *s, struct service_ticket *t);

/* ---- Caches (service_cache.c) ---- */

/* Answer a ticket's question from memory: then takes the snapshot and gives the ticket t->found. Else says
 * why not. */
bool service_cache_find(struct service *s, struct service_loaded *m, struct snapshot *take,
                        struct service_ticket *t);
/* A run under way whose text so far begins with what was typed since it was asked; or null. */
struct service_run *service_cache_find_run(const struct service *s, const struct service_loaded *m,
                                           const struct snapshot *snapshot, size_t *n_typed);
/* A new run: look below memory, let an entry follow edits until the answer comes. Takes the sources. */
void service_cache_begin(struct service *s, struct service_run *run, struct sources *take);
/* A run has been computed: keep its answer. */
void service_cache_keep(struct service *s, struct service_run *run);
/* The run's answer to the question of a ticket that joined it after typing: t->found; or false. */
bool service_cache_take(struct service_run *run, struct service_ticket *t);
void service_cache_end(struct service *s, struct service_run *run); /* the run is about to be freed */

/* ---- Prefetch (service_prefetch.c) ---- */

#define SERVICE_PREFETCHED 64 /* that are remembered, to tell which were asked for */
#define SERVICE_PLACES     64 /* documents of which it is known where somebody worked last */

struct service_place {
    uint64_t document; /* 0: free */
    size_t cursor;
};

struct service_prefetches {
    uint64_t keys[SERVICE_PREFETCHED];
    int32_t next;
    int64_t n, n_used;
    struct service_place places[SERVICE_PLACES];
    int32_t next_place;
    int64_t power_ns; /* when it was asked where the power comes from */
    bool is_on_battery;
};

/* An answer is given to somebody: compute what may be asked when it is accepted. */
void service_prefetch(struct service *s, const struct service_ticket *t, const struct service_answer *a);
/* Somebody asks in a document, here. */
void service_prefetch_place(struct service *s, uint64_t document, size_t cursor);
/* This was computed ahead. */
void service_prefetch_remember(struct service *s, uint64_t key);
/* Somebody asks this; whether it was prefetched is counted. */
void service_prefetch_note(struct service *s, uint64_t key);

/* ---- What is measured (service_watch.c, service_measure.c) ---- */

struct service_watch {
    int64_t rolled_ns; /* when metrics_roll was called */
};

void service_watch_count(struct service *s, enum metric_id id, int32_t label, int64_t n);
void service_watch_time(struct service *s, enum metric_id id, int32_t label, double ms);
/* Windows of metrics move on, once a second at most. */
void service_watch_roll(struct service *s);
/* Records go to disk too, if they are to. What fails is logged: then they do not. */
void service_journal_open(struct service *s);
void service_journal_close(struct service *s);
void service_journal_answer(struct service *s, const struct service_ticket *t,
                            const struct service_answer *a);
void service_journal_cancelled(struct service *s, const struct service_ticket *t);
/* Of what went wrong, METRIC_ERRORS; -1: nothing did. */
int32_t service_watch_error(const struct service_ticket *t, const struct service_answer *a);
/* Which value of the metric's label this is; -1: none. */
int32_t service_watch_label(enum metric_id id, const char *name);

/* A ticket is about to get this answer. */
void service_watch_answer(struct service *s, const struct service_ticket *t, const struct service_answer *a);
void service_watch_cancelled(struct service *s, const struct service_ticket *t);
void service_watch_run(struct service *s, const struct service_run *run);

/* ---- Tickets (service.c) ---- */

struct service_ticket {
    struct service_ticket *prev, *next;
    uint64_t number; /* in the order of submission */
    void (*on_text)(void *ctx, const char *text, size_t len);
    void (*on_done)(void *ctx, const struct service_answer *a);
    void *ctx;
    enum service_priority priority;
    uint64_t client, document; /* hashes; document 0: not named */
    int64_t start_ns;
    uint64_t id;    /* in the journal; 0: not in there */
    uint64_t other; /* what superseded it */
    enum metric_api api;
    int32_t n_before; /* tickets that were under way when it came */
    bool is_automatic;
    bool is_own;                     /* a prefetch of the service's own */
    struct service_run *run;         /* null: it has an outcome of its own, was found, or waits */
    struct service_loaded *model;    /* null: it got no further than that */
    struct service_request *waiting; /* owned: for the model to be loaded; or null */
    struct service_loaded *spare;    /* answers in place of servers elsewhere; or null */
    int64_t patience_ns;             /* when, if they have not begun to; 0: when they fail */
    struct errmsg fallback;          /* why it did; "" */
    /* The question, if the ticket was found or joined a run after typing: */
    struct snapshot snapshot;
    struct sources *sources; /* owned; null: of a raw prompt, or the run has it */
    size_t n_typed;       /* of the run's answer, before this was asked; 0: the run's question is this one */
    struct replay *found; /* owned: the answer, from a cache; or null */
    enum service_cache_source source; /* of the answer, if it has_source */
    enum service_cache_miss miss;
    bool has_joined;              /* a run that was under way */
    bool has_source, has_miss;    /* neither: nothing is generated */
    enum service_outcome outcome; /* if there is no run */
    struct errmsg message;
    const char *quiet;         /* why it gets no text, if there is no run and the outcome is OK; "" */
    struct buf explanation;    /* empty: not asked for */
    double context_ms;         /* what choosing the context took */
    double load_ms, lookup_ms; /* waiting for the model; looking the question up in memory */
    size_t n_given;            /* bytes of run->text that on_text was given */
};

void service_wake(const struct service *s);
/* Decide a ticket now. */
void service_settle(struct service *s, struct service_ticket *t, enum service_outcome outcome,
                    const char *why);
/* The ticket has no run any more; which is cancelled with its last asker. */
void service_leave(struct service_ticket *t);
/* Older questions of the same client and document are out of date. */
void service_supersede(struct service *s, const struct service_ticket *newer);
/* The stalest of the lowest priority, while too many wait. */
void service_shed(struct service *s);
/* Give the ticket the run that will answer it: one under way, or a new one. */
MUST_CHECK enum err service_find_run(struct service *s, struct service_loaded *m, struct snapshot *take,
                                     struct service_ticket *t);

/* ---- Submitting (service_submit.c) ---- */

/* A model's state has changed: those who wait are answered, or go on waiting. */
void service_wait_over(struct service *s);

/* Names a request's document among all clients'; 0: it does not say. */
uint64_t service_document(const struct service_request *r);
/* A ticket of the service's own, for a prefetch. */
struct service_ticket *service_ticket_own(struct service *s, uint64_t client, uint64_t document);
/* A new ticket's question: answered from memory, or by a run. */
void service_submit_snapshot(struct service *s, struct service_ticket *t, struct service_loaded *m,
                             struct snapshot *take);

struct service {
    struct service_options o; /* models_dir, default_model and the engine's strings are owned copies */
    struct pool *workers;     /* of all engines */
    struct service_box box;
    struct service_models models;
    struct service_watch watch;
    struct service_ticket *first, *last; /* in the order of submission */
    int32_t n_tickets;
    uint64_t next_number;
    struct service_run *runs;
    struct clients *clients;
    struct projects *projects;
    struct service_prefetches prefetches;
    struct service_govern govern;
    struct journal_disk *journal_disk; /* owned; or null */
    int64_t n_found[CACHE_N_SOURCES], n_missed[MISS_N];
    bool is_draining;
};

#endif
