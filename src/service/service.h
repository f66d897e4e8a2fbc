/* Completions for many clients at once: the face that serve/ sees of everything below.
 *
 * The service owns the loaded models, each with its scheduler (infer/scheduler.h), and all requests under
 * way. It decides what a request means before anything is computed: a newer request of the same client and
 * document supersedes the older, identical requests run once, and when too many wait the stalest goes. Those
 * answers come at once; they never wait for the engine.
 *
 * Thread: the loop. All functions and all callbacks are the loop's; engine threads only leave messages, then
 * call `wake`, and the loop calls service_poll. */
#ifndef SERVICE_SERVICE_H
#define SERVICE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "complete/stop.h"
#include "context/documents.h"
#include "context/fim.h"
#include "infer/engine.h"
#include "remote/remote.h"
#include "watch/governor.h"
#include "watch/metric_table.h"

struct secrets;
struct store;
struct service;
struct service_ticket;
struct service_answer;
struct metrics;
struct journal;
struct journal_record;

/* Computing what is likely to be asked next, while nobody waits for anything. */
enum service_prefetch {
    SERVICE_PREFETCH_AUTO,
    SERVICE_PREFETCH_ON,
    SERVICE_PREFETCH_OFF
}; /* auto: not on battery */

/* A model on other machines (remote/). */
struct service_remote {
    const char *name; /* what requests and settings call it */
    struct remote_options at;
    const char *fim;       /* complete/remote_prompt.h */
    int32_t n_ctx;         /* 0: what its servers say */
    struct errmsg trouble; /* why it cannot be used (its key); "": it can */
};

struct service_options {
    const char *models_dir;           /* as library.h */
    const char *default_model;        /* name or path; "": library_default. The main model */
    const char *instant_model;        /* answers those who type; "": the main one does */
    const char *languages;            /* "python=NAME,rust=NAME": instead of the main one */
    double model_idle_s;              /* then a model is unloaded; 0: never */
    struct governor_options governor; /* n_threads and metrics are the service's to set */
    struct engine_options engine;
    int32_t n_ctx, n_active, n_seqs; /* scheduler.h */
    double window_ms;
    const struct service_remote *remotes; /* [n_remotes], borrowed; a model's name means one of these first */
    int32_t n_remotes;
    double patience_ms;  /* that a model on other machines is given to begin its answer, while somebody types,
                            before the instant model gives one; 0: that does at once, as for local models */
    int32_t max_waiting; /* requests under way beyond which the stalest is shed; 0: 256 */
    int32_t max_tokens;  /* of a completion whose client names none */
    int32_t prompt_tokens; /* of a document's prompt; 0: COMPLETE_PROMPT_TOKENS */
    double min_confidence; /* of what is shown to somebody who types (place_is_sure); 0: everything is */
    bool is_window_only;   /* prompts show the text around the cursor and nothing else */
    bool has_no_projects;  /* folders are not indexed */
    const struct secrets *secrets; /* what prompts must not hold; borrowed; or null */
    struct store *store;           /* caches of answers (store.h); borrowed, shares `wake`; or null */
    enum service_prefetch prefetch_mode;
    struct metrics *metrics;               /* borrowed; or null: nothing is measured */
    struct journal *journal;               /* of requests; borrowed; or null */
    const char *journal_path;              /* where it is kept on disk too; "" or null: nowhere */
    int32_t journal_days;                  /* for so long */
    int64_t (*documents_bytes)(void *ctx); /* memory of the documents that clients keep open; or null */
    void (*wake)(void *ctx);               /* any thread */
    void *ctx;
};

/* Strings of the options are copied. Starts to load the default model in the background. */
MUST_CHECK enum err service_new(const struct service_options *o, struct service **out, struct errmsg *msg);
/* No callback comes any more. Waits for the engine threads. */
void service_free(struct service **s);
void service_poll(struct service *s);
/* When service_tick wants to be called next, on the clock of clock_ns; 0: not before something else happens.
 */
int64_t service_due_ns(const struct service *s);
void service_tick(struct service *s);
/* The system says that memory is short: look soon, also when nobody asks for anything. */
void service_on_pressure(struct service *s);
/* What the governor sees and does. */
const struct governor *service_governor(const struct service *s);

/* Take no more requests (they are answered UNAVAILABLE); when service_n_running is 0 all are finished. */
void service_drain(struct service *s);
int32_t service_n_running(const struct service *s);

/* --- Models ------------------------------------------------------------------------------------------ */

enum service_state {
    SERVICE_LOADING,
    SERVICE_READY,
    SERVICE_MODEL_FAILED,
    SERVICE_INSTALLED, /* not loaded: never was, or is no more */
    SERVICE_UNLOADING
};

struct service_model { /* views, valid until the next service call */
    const char *name, *path;
    enum service_state state;
    const char *error;                           /* why it failed, with what to do; "" */
    int64_t bytes;                               /* of the file */
    int32_t n_ctx, n_ctx_train, n_vocab, n_embd; /* 0 until ready */
    int64_t n_params;
    const char *arch, *format;                         /* "qwen2", "Q8_0"; "" until ready */
    const char *fim_family, *fim_order, *fim_detected; /* fim.h; "" until ready */
    const char *isa;
    double load_ms;
    const char *role;      /* "main", "instant", "language"; "": it was asked for by name */
    const char *precision; /* precision_name of the plan in use; "" until ready */
    int64_t n_loads;       /* so far, failed ones included */
    int64_t n_requests;    /* that it keeps running now */
    double idle_s;         /* since its last request; 0 while it has some */
    int64_t weight_bytes, read_bytes, kv_bytes; /* residency.h; 0 until ready */
    const char *api; /* of a model on other machines: "openai", "llama", "ollama"; "": it is on this one */
    const char *remote_model; /* its name there, as far as that is known; "" */
    int32_t n_servers;
};
/* [0] is the default model; then the other loaded ones; then the installed ones. The list is read anew from
 * disk at most once a second. A service without any model has n = 1: the default, failed, with the reason. */
int32_t service_n_models(struct service *s);
void service_model(struct service *s, int32_t i, struct service_model *out);

/* The servers of a model on other machines, while it is ready; 0 <= i < n_servers. False: there is none. */
struct remote_server_state;
bool service_model_server(struct service *s, int32_t model, int32_t i, struct remote_server_state *out);
const char *
service_server_health(const struct remote_server_state *server); /* "new", "up", "down", "trial" */

/* Bytes of its weights that are in memory now: the system is asked, a millisecond for each GB. */
int64_t service_model_resident(const struct service *s, int32_t i);
/* Grows whenever a model's state changes. */
uint64_t service_models_version(const struct service *s);

/* Load a model now, also one that failed; or unload it when its requests are over. False: there is no model
 * of that name ("": the main one). Requests for it wait, as for any that is being loaded. */
bool service_load(struct service *s, const char *name);
bool service_unload(struct service *s, const char *name);

/* Tokens of a text and back, on the loop; false while that model ("": default) is not ready. tokens is
 * replaced. */
struct token_list;
struct buf;
bool service_tokenize(struct service *s, const char *model, const char *text, size_t len, bool add_bos,
                      bool parse_special, struct token_list *tokens);
bool service_detokenize(struct service *s, const char *model, const int32_t *tokens, int32_t n,
                        struct buf *out);

/* --- Requests ---------------------------------------------------------------------------------------- */

enum service_priority { SERVICE_ASKED, SERVICE_TYPING, SERVICE_WARMUP, SERVICE_PREFETCH };

#define SERVICE_CANDIDATES_MAX 4
#define SERVICE_STOPS_MAX      16

struct service_stop { /* generation ends where this text appears; the text is cut off */
    const char *text;
    size_t len;
};

/* Folders whose code is indexed, so that prompts can show what it defines; held as often as they are dropped.
 * Absolute paths. */
void service_hold_project(struct service *s, const char *root);
void service_drop_project(struct service *s, const char *root);
/* Something in there has changed on disk. Costs nothing where the system tells of that. */
void service_rescan_project(struct service *s, const char *root);

/* How far a suggestion may go. */
enum service_extent {
    SERVICE_EXTENT_PLACE, /* as the place of the cursor asks for (place.h) */
    SERVICE_EXTENT_ANY,   /* as far as the model says, within the other limits */
    SERVICE_EXTENT_LINE,
    SERVICE_EXTENT_BLOCK
};

/* Everything is copied by service_submit. */
struct service_request {
    const char *model;    /* "": the default; also what is unknown, as llama-server does */
    const char *client;   /* names an editor or a user: supersedes and shares fairly within this name */
    const char *document; /* names the text within the client; "": told by what the client showed before */
    enum service_priority priority;
    enum metric_api api; /* through which door it came; for the journal */
    bool
        is_automatic; /* nobody asked: nothing is suggested where that would disturb, or without confidence */
    bool wants_explanation;

    /* Either a place in a document: one that the client keeps open ... */
    struct documents *docs;    /* not edited any more after service_free, which caches would be told of */
    struct open_document *doc; /* of docs; null: text */
    /* ... or text that it shows: lines around the cursor, or all of it ... */
    const char *text; /* UTF-8; null: use prompt */
    size_t len, cursor;
    const char *path;             /* of the text, shown to the model; or null */
    const char *file;             /* where it is on this machine, absolute: tells the project; or null */
    const char *root;             /* of the project that doc is in, as held; or null */
    const struct fim_file *files; /* other files to show the model, most distant first */
    int32_t n_files;
    enum service_extent extent;
    /* ... or a prompt as it stands: text, in which special tokens' names become those tokens, or tokens. */
    const char *prompt;
    size_t prompt_len;
    const int32_t *tokens; /* null: use prompt */
    int32_t n_tokens;

    struct sampler_params sampling;
    int32_t max_tokens; /* -1: the service's usual; 0: only compute the prompt; the context bounds it */
    int32_t max_prompt_tokens; /* 0: the usual for documents, the context for prompts */
    int32_t n_candidates;      /* those after the first are sampled with other seeds. 0 counts as 1; more than
                                  SERVICE_CANDIDATES_MAX as that */
    double max_prompt_ms, max_predict_ms;
    bool predict_ms_after_newline; /* max_predict_ms counts only once the answer has a second line
                                      (llama-server) */
    int32_t n_indent;              /* stop before a line that is indented less than this; 0: off */
    struct service_stop stops[SERVICE_STOPS_MAX];
    int32_t n_stops;

    /* Pieces of candidate 0 as they become certain; or null. */
    void (*on_text)(void *ctx, const char *text, size_t len);
    void (*on_done)(void *ctx, const struct service_answer *a);
    void *ctx;
};

enum service_outcome {
    SERVICE_OK,
    SERVICE_SUPERSEDED,  /* by a newer request of the same client and document */
    SERVICE_SHED,        /* too many requests wait */
    SERVICE_UNAVAILABLE, /* the model is loading or failed, its servers did not answer, or the service drains:
                            message says which */
    SERVICE_BAD,         /* the request cannot be met: message */
    SERVICE_ERROR        /* it should have been: message */
};

/* "eog", "limit", "word", "suffix", "repetition", "line", "unit", "block", "indent", "time", "cancelled" */
struct service_candidate {
    const char *text;
    size_t len;
    const char *stop;          /* from the list above */
    const char *stopping_word; /* the stop text that ended it; "" */
    int32_t n_tokens;          /* generated */
    double mean_logprob;       /* of the generated tokens, natural logarithm; 0 without any */
};

struct service_timings { /* milliseconds */
    double queue, context, prompt, predict, post, total;
    int32_t n_prompt, n_reused, n_restored, n_moved,
        n_computed; /* tokens of the prompt, by where they came from */
    int32_t n_predicted, n_drafted, n_accepted;
};

struct service_answer { /* views, valid during on_done */
    uint64_t id;        /* in the journal: what `inline explain` takes; 0: there is none */
    enum service_outcome outcome;
    const char *message;  /* one line; "" if OK */
    const char *model;    /* the model that answered */
    const char *fallback; /* why it did in place of one on another machine: one line; "" */
    int32_t n_ctx, seq_id;
    bool was_shared;                            /* an identical request ran for both */
    bool prompt_truncated;                      /* a raw prompt lost its beginning to the limits */
    const struct service_candidate *candidates; /* distinct; at least one if OK and not quiet */
    int32_t n_candidates;
    /* Why nothing is shown, if candidates were held back: "deleting", "in-word", "in-number", "unsure",
     * "secret-file"; "" */
    const char *quiet;
    double held_logprob; /* mean_logprob of the first one that was held back as "unsure" */
    /* Where it was found: "memory", "typed" (part of an earlier answer was typed), "in-flight" (of one that
     * was being computed), "disk", "project", "team"; "": it was computed, because (cache_miss): "new",
     * "other" (than what was suggested was typed), "short" (what is known ends too early here), "edited",
     * "evicted", "long" (line), "off"; both "" where nothing is generated. */
    const char *cache, *cache_miss;
    int32_t
        debounce_ms; /* the governor asks clients to wait so long after a key before they ask; 0: no matter */
    const char *explanation; /* a JSON object (explain.h), if it was asked for; or null */
    struct service_timings timings;
};

/* Never calls back from inside: on_done comes from service_poll, exactly once unless the request is
 * cancelled. The ticket is valid until then. */
struct service_ticket *service_submit(struct service *s, const struct service_request *r);
/* The client is gone: nothing more is called for this request. */
void service_cancel(struct service *s, struct service_ticket *ticket);

/* --- Caches ------------------------------------------------------------------------------------------- */

#define SERVICE_CACHE_LEVELS  4 /* memory, disk, project, team */
#define SERVICE_CACHE_SOURCES 6 /* service_answer.cache */
#define SERVICE_CACHE_MISSES  7 /* service_answer.cache_miss */

struct service_cache_level {
    const char *name;
    bool is_on;
    int64_t n_entries, n_bytes, max_bytes;
    int64_t n_asked, n_found, n_put, n_evicted, n_failed, n_dropped; /* store.h; of memory not all are told */
};
struct service_cache_count {
    const char *name;
    int64_t n;
};
struct service_cache_stats {
    struct service_cache_level levels[SERVICE_CACHE_LEVELS];
    int64_t n_answers; /* of requests that had something to generate; the sum of the following */
    struct service_cache_count found[SERVICE_CACHE_SOURCES], missed[SERVICE_CACHE_MISSES];
    int64_t n_prefetched, n_prefetch_used; /* computed ahead; of these, asked for afterwards */
};
void service_cache_stats(const struct service *s, struct service_cache_stats *out);

/* Empty all levels, of all projects. `done` (or null) comes from service_poll. False: there are no caches. */
bool service_cache_clear(struct service *s, void (*done)(void *ctx, int64_t n_deleted), void *ctx);
/* Empty the memory only: somebody deleted from the levels below what is to be found nowhere. */
void service_cache_clear_memory(struct service *s);

/* A document was opened: computes, when nobody waits, what is likely to be asked in it first, which is where
 * it was worked in last, as far as that is known, or its end. r as for service_submit, without a cursor. */
void service_prefetch_opened(struct service *s, const struct service_request *r);

/* --- What the editors tell ---------------------------------------------------------------------------- */

enum service_event { SERVICE_SHOWN, SERVICE_ACCEPTED, SERVICE_PARTLY_ACCEPTED, SERVICE_DISMISSED };
/* id: service_answer.id of what was shown; 0: the client does not say. */
void service_note(struct service *s, uint64_t id, enum service_event event, int64_t n_chars);
/* A suggestion that was accepted some time ago still stands as it was inserted, or was changed since. */
void service_note_kept(struct service *s, bool is_kept);

/* --- The journal --------------------------------------------------------------------------------------- */

/* The record of a request, with the name of its model (journal.h: JOURNAL_NAME_MAX bytes), also one that only
 * the disk has. False: it is not kept any more. */
bool service_journal_find(struct service *s, uint64_t id, struct journal_record *out, char *model,
                          size_t model_max);

/* --- What is measured ---------------------------------------------------------------------------------- */

/* Bring the gauges up to date, so that metrics show what is now. whole: also what takes longer, a millisecond
 * for each GB of weights. */
void service_measure(struct service *s, bool whole);

/* For /slots. Fills up to max, returns how many there are: of the default model. */
struct service_slot {
    int32_t id, n_tokens, n_ctx, n_prompt, n_generated;
    bool is_processing;
};
int32_t service_slots(struct service *s, struct service_slot *out, int32_t max);

#endif
