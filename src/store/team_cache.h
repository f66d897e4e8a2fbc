/* Answers on a Valkey or Redis server that a team shares (hiredis). A build without hiredis has none.
 *
 * Every command has 5 ms. After failures in a row the server is left alone for a while, which doubles each
 * time, up to a minute (circuit breaker, Nygard 2007, "Release It!"). Records that hold secrets are never
 * sent, and what comes is checked like everything from outside. Thread: its own; all functions from one
 * thread. */
#ifndef STORE_TEAM_CACHE_H
#define STORE_TEAM_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/disk_cache.h"

struct team_cache;

#define TEAM_TIMEOUT_MS 5
#define TEAM_KEEP_DAYS  30 /* on the server, since it was last put */

/* url: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or unix:/PATH. Does not connect yet. ERR_ARG: not such an
 * address, with what is wrong; ERR_UNSUPPORTED: this build has no hiredis. */
MUST_CHECK enum err team_cache_open(const char *url, struct team_cache **out, struct errmsg *msg);
void team_cache_close(struct team_cache **t); /* tolerates null */

/* As disk_cache_find. Takes TEAM_TIMEOUT_MS at most, also when it has to connect; while the system looks up
 * the host's name, nothing is found. */
void team_cache_find(struct team_cache *t, const struct store_key *key, struct disk_found *out);

#define TEAM_RECORD_MAX ((size_t)32 << 10) /* longer ones stay here; a usual one has some 150 bytes */
#define TEAM_BATCH_MAX  16

/* Leaves out what is private or too long. Each TEAM_BATCH_MAX of them are one exchange, of TEAM_TIMEOUT_MS
 * at most; the first that fails ends it. */
void team_cache_put(struct team_cache *t, const struct disk_put *puts, int32_t n);

struct team_stats {
    int64_t n_found, n_put, n_failed;
    bool is_open; /* the circuit is: the server is being left alone */
};
void team_cache_stats(const struct team_cache *t, struct team_stats *out); /* any thread */

#endif
