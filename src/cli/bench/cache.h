/* `inline bench cache`: completions as caches keep them, made up, and measured look-ups of them. */
#ifndef CLI_BENCH_CACHE_H
#define CLI_BENCH_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/memory_cache.h"
#include "store/record.h"

/* --- Records ------------------------------------------------------------------------------------------ */

#define BENCH_TYPED_MAX 192

/* The key of record i of a set, after n_typed bytes of its answer were typed; typed is its memory. */
void bench_cache_key(uint64_t set, uint64_t i, size_t n_typed, char typed[BENCH_TYPED_MAX],
                     struct store_key *out);
/* Its bytes, about 180, replacing what is in out. *second: n_typed of the beginning of its answer's second
 * line, 0 if it has one line. */
MUST_CHECK enum err bench_cache_record(uint64_t set, uint64_t i, struct buf *out, size_t *second);

/* Random numbers: the same ones each time. */
uint64_t bench_cache_random(uint64_t *state);

/* What to look up next: of the records from..to-1 of a set one at its own place, or one of which part was
 * typed, or one that nobody put. */
void bench_cache_question(uint64_t set, uint64_t from, uint64_t to, uint64_t *state,
                          char typed[BENCH_TYPED_MAX], struct store_key *out);

/* --- Measuring ---------------------------------------------------------------------------------------- */

#define BENCH_CACHE_WRITERS_MAX 16

struct bench_cache_plan {
    int64_t n_entries;       /* of each database */
    int64_t n_writers, rate; /* puts a second of each writer, into each database */
    double seconds;          /* of look-ups, for each database */
};

struct bench_cache_level {
    double p50_ms, p99_ms, max_ms;
    int64_t n_entries, n_bytes; /* that fit */
    int32_t n_lookups, n_found;
};

struct bench_cache_report {
    struct bench_cache_level l1, l2, l3;
    double open_ms;         /* of the second level's database, the slowest of several times */
    int64_t n_written;      /* by the writers, into both databases */
    int64_t n_failed;       /* transactions of theirs that found the database locked for too long */
    double written_seconds; /* in so long */
};

MUST_CHECK enum err bench_cache_memory(struct bench_cache_report *out, struct errmsg *msg);
/* In this directory, which is empty. ERR_CANCELLED: interrupted. */
MUST_CHECK enum err bench_cache_disk(const struct bench_cache_plan *plan, const char *dir,
                                     struct bench_cache_report *out, struct errmsg *msg);

#endif
