/* The request journal: what became of the last requests, as records without any text of theirs, and each
 * one's story in plain words. Thread: loop. */
#ifndef WATCH_JOURNAL_H
#define WATCH_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "watch/metric_table.h"

struct journal;
struct json;

#define JOURNAL_RECORDS  10000
#define JOURNAL_NAME_MAX 64 /* of a model, with its NUL; longer names are cut */

/* What the prompt's first token that was not at hand belongs to. */
enum journal_part {
    JOURNAL_PART_NONE,    /* all but the last token was at hand, or nothing was computed */
    JOURNAL_PART_START,   /* nothing was: another document, or the first request */
    JOURNAL_PART_CONTEXT, /* other files, names, what the project defines */
    JOURNAL_PART_PREFIX,  /* text before the cursor */
    JOURNAL_PART_SUFFIX,  /* text after it */
    JOURNAL_PART_RAW      /* a prompt as the client made it */
};

/* What the editor told of the suggestion. Later ones replace earlier ones. */
enum journal_fate { JOURNAL_UNKNOWN, JOURNAL_SHOWN, JOURNAL_ACCEPTED, JOURNAL_PARTLY, JOURNAL_DISMISSED };

/* Labels are indices into the values of metric_table's rows; -1: none. */
struct journal_record {
    uint64_t id;    /* from 1, in the order of submission; 0: no record */
    int64_t at_us;  /* when it was asked, microseconds since 1970 */
    uint64_t other; /* SUPERSEDED: by this one; shared or joined: with the run of this one; 0 */
    float queue_ms, context_ms, lookup_ms, prefill_ms, decode_ms, post_ms, total_ms;
    float load_ms;             /* waited for the model to be loaded */
    float mean_logprob, speed; /* of the first candidate; share of full speed that the governor allowed */
    uint32_t n_prompt, n_reused, n_restored, n_moved, n_computed; /* tokens of the prompt */
    uint32_t break_at;                                            /* the first that was not at hand */
    uint32_t n_chars;                                             /* of the first candidate, bytes */
    uint16_t n_generated, n_drafted, n_accepted;
    uint16_t n_waiting; /* requests that were under way when it came */
    int8_t outcome;     /* METRIC_REQUESTS */
    int8_t api;         /* METRIC_REQUESTS_BY_API */
    int8_t source;      /* METRIC_CACHE_HITS */
    int8_t miss;        /* METRIC_CACHE_MISSES */
    int8_t quiet;       /* METRIC_QUIET */
    int8_t error;       /* METRIC_ERRORS */
    int8_t stop;        /* journal_stop_name */
    int8_t priority;    /* enum service_priority: 0 asked by hand, 1 typing, 2 warm-up, 3 prefetch */
    uint8_t break_part; /* enum journal_part */
    uint8_t fate;       /* enum journal_fate */
    uint8_t n_candidates;
    uint8_t model;     /* journal_model */
    bool was_shared;   /* an identical request ran for both */
    bool is_throttled; /* the governor held the engine back */
    bool was_cut;      /* a raw prompt lost its beginning */
    bool is_remote;    /* the model is on other machines */
    bool is_fallback;  /* it answered in place of one on other machines */
};

/* capacity 0: JOURNAL_RECORDS. Null: not enough memory. What no record was put in takes none. */
struct journal *journal_new(int32_t capacity);
void journal_free(struct journal **j);

/* The next request's id; each call gives another one. */
uint64_t journal_id(struct journal *j);
/* Ids go on after this one (of records kept on disk). */
void journal_continue(struct journal *j, uint64_t last_id);
/* A number for a model's name. The 255 names used last are known. */
uint8_t journal_model(struct journal *j, const char *name);
const char *journal_model_name(const struct journal *j, uint8_t model); /* "" */
/* "eog", "limit", ... as service_candidate.stop; -1 and "": none. */
int8_t journal_stop(const char *name);
const char *journal_stop_name(int8_t stop);

/* The oldest goes. Copied. */
void journal_add(struct journal *j, const struct journal_record *r);
/* Somebody was shown, or took, the suggestion of this request. */
void journal_tell(struct journal *j, uint64_t id, enum journal_fate fate);

int32_t journal_n(const struct journal *j);
const struct journal_record *journal_at(const struct journal *j, int32_t i);     /* 0: the newest */
const struct journal_record *journal_find(const struct journal *j, uint64_t id); /* or null */
int64_t journal_memory(const struct journal *j);

/* Called for each record when it is added, and again when it is told of: for what keeps them on disk. */
void journal_on_record(struct journal *j,
                       void (*fn)(void *ctx, const struct journal_record *r, const char *model), void *ctx);

/* The record as members of an object that is open: id, at_ms (since 1970), api, priority ("asked", "typing",
 * "warm-up", "prefetch"), model, outcome, fate ("shown", ...), error, quiet, stop, source, miss, other,
 * total_ms, queue_ms, load_ms, context_ms, lookup_ms, prefill_ms, decode_ms, post_ms, prompt_tokens, reused,
 * restored, moved, computed, break_at, break_part ("context", ...), generated, drafted, accepted, chars,
 * candidates, mean_logprob, waiting, speed, shared, throttled, cut, remote, fallback. Labels are told by
 * their names, "" for none. */
void journal_write(const struct journal_record *r, const char *model, struct json *j);
/* Its story: plain sentences, one a line, with the clock of this machine: where its milliseconds went, what
 * broke the prefix, why nothing was shown. */
void journal_story(const struct journal_record *r, const char *model, struct buf *out);
/* Both: journal_write's members, then "story": [sentence, ...]. */
void journal_write_story(const struct journal_record *r, const char *model, struct json *j);

#endif
