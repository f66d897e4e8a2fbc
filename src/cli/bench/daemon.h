/* A daemon of a benchmark's own: this program, started as a user's would be, in a home that is thrown away.
 *
 * Caches, state, socket and log are in that home, so that the user's own are neither read nor changed; only
 * packed weights are the user's. It keeps the user's settings, but for a team's cache and what alerts would
 * run or call. Nothing of it is left behind. */
#ifndef CLI_BENCH_DAEMON_H
#define CLI_BENCH_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct json_value;
struct settings;

/* Zero-initialise; free with bench_daemon_close. */
struct bench_daemon {
    char *home;          /* owned */
    char *socket, *log;  /* in it; owned */
    const char *setting; /* "INLINE_..=..": one more for the next start, or null; borrowed */
    int pid;             /* 0: none runs */
    int64_t start_ns;    /* when it was started */
};

/* Make the home. */
MUST_CHECK enum err bench_daemon_open(struct bench_daemon *d, struct errmsg *msg);
/* End the daemon and remove the home. */
void bench_daemon_close(struct bench_daemon *d);

/* Start it with this model (a path), or with none if it is null; returns when it listens. A second start
 * finds what the first left in its caches. */
MUST_CHECK enum err bench_daemon_start(struct bench_daemon *d, const struct settings *s, const char *model,
                                       struct errmsg *msg);
void bench_daemon_stop(struct bench_daemon *d);

/* GET, or POST if there is a body. */
MUST_CHECK enum err bench_daemon_ask(const struct bench_daemon *d, const char *path, const char *body,
                                     struct json_value **answer, struct errmsg *msg);

#endif
