/* A connection to a Redis or Valkey server whose every exchange has a deadline.
 *
 * hiredis writes and reads the protocol; the socket is ours, because its timeouts are for single reads: a
 * server that sends a byte at a time would hold it for ever. After any failure the connection is closed, so
 * that a late answer is never taken for another question's. Thread: one owner. */
#ifndef STORE_TEAM_LINK_H
#define STORE_TEAM_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "store/team_address.h"

struct redisReader;

#define TEAM_VALUES_MAX   32                   /* of one reply; a longer one is a failure */
#define TEAM_EXCHANGE_MAX ((size_t)1200 << 10) /* bytes of all replies to one exchange */

/* What a server answered to a command. */
struct team_reply {
    bool is_error;
    struct buf bytes; /* of its strings, one after the other */
    size_t ends[TEAM_VALUES_MAX];
    int32_t n_values; /* a string that is missing has no bytes */
};

struct team_link {
    int fd; /* -1: not connected */
    struct redisReader *reader;
    struct buf out; /* commands that were not sent yet */
    struct team_reply reply;
};

void team_link_init(struct team_link *l);
void team_link_close(struct team_link *l); /* may be connected again */
void team_link_clear(struct team_link *l); /* frees */

/* Be connected and signed in. The endpoints are resolved; all of them are tried. */
MUST_CHECK enum err team_link_connect(struct team_link *l, const struct team_address *a, int64_t deadline_ns,
                                      struct errmsg *msg);

/* Queue a command, then send what is queued, and read one reply to each; the last one is left in l->reply.
 * ERR_NETWORK: no whole answer in time, or none that makes sense. ERR_FORMAT: all replies came, and one says
 * that its command failed; the connection stays. */
MUST_CHECK enum err team_link_add(struct team_link *l, int32_t n_args, const char *const *args,
                                  const size_t *lens);
MUST_CHECK enum err team_link_exchange(struct team_link *l, int32_t n_replies, int64_t deadline_ns,
                                       struct errmsg *msg);

#endif
