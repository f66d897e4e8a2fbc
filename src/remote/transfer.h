/* HTTP exchanges with a few hosts, many at once on one thread: libcurl's multi interface, and an account of
 * the connections that they take.
 *
 * A transfer is started, its answer's body is handed over as it comes, and it ends: by itself, or because
 * nobody wants it any more (transfer_close). There are no time limits here: who starts a transfer closes it
 * when it is late. Connections are kept for the next transfer; a transfer that is closed over HTTP/1.1 takes
 * its connection with it.
 *
 * Thread: one for all functions but transfer_wake. */
#ifndef REMOTE_TRANSFER_H
#define REMOTE_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "remote/host.h"

#define TRANSFER_HTTP2_STREAMS                                                                               \
    32 /* at once on a connection of HTTP/2: below every server's usual limit, 100 */

struct transfer_set;
struct transfer;

struct transfer_options { /* strings are copied */
    const char *key;      /* "": none */
    const char *ca_file;  /* "": the system's */
    int32_t n_connections;
    double idle_s;
};

enum transfer_fault {
    TRANSFER_FINE,
    TRANSFER_STOPPED,   /* on_body wanted no more */
    TRANSFER_REFUSED,   /* there was no connection to be had */
    TRANSFER_UNTRUSTED, /* nor will there be one: TLS */
    TRANSFER_BROKEN     /* the connection, or what it brought */
};

struct transfer_result {
    enum transfer_fault fault;
    struct errmsg msg;              /* what is wrong, in words that follow the host's name */
    int status;                     /* 0: none came */
    double retry_after_s;           /* 0: not told */
    char redirect[REMOTE_NAME_MAX]; /* status 3xx: the host where it points to */
};

struct transfer_events {
    /* Some of the body. Not from here: transfer_start, transfer_close. False: no more is wanted. */
    bool (*on_body)(void *ctx, int status, const char *content_type, const char *bytes, size_t len);
    /* It has ended, and is gone after this. */
    void (*on_end)(void *ctx, const struct transfer_result *result);
};

struct transfer_ask {
    int32_t host;
    const char *path;
    const char *body; /* stays until the end; null: GET */
    size_t len;
    const struct transfer_events *events;
    void *ctx;
};

/* Connects to nothing. Loads libcurl: call it before there are other threads that may. */
MUST_CHECK enum err transfer_set_new(const struct transfer_options *o, struct transfer_set **out,
                                     struct errmsg *msg);
MUST_CHECK enum err transfer_add_host(struct transfer_set *s, const char *url, struct errmsg *msg);
/* Closes what there is, without a call of on_end. Does not wait for name look-ups: see transfer.c. */
void transfer_set_free(struct transfer_set **s);

MUST_CHECK enum err transfer_start(struct transfer_set *s, const struct transfer_ask *ask,
                                   struct transfer **out, struct errmsg *msg);
/* Nobody wants it any more: no event comes after this. */
void transfer_close(struct transfer **t);
/* Its connection is made, and the request is on its way. */
bool transfer_is_connected(const struct transfer *t);

/* Send and receive what can be without waiting; events come from here. */
void transfer_run(struct transfer_set *s);
/* Wait until there is something to do, or until_ns of clock_ns (0: for ever), or transfer_wake. */
void transfer_wait(struct transfer_set *s, int64_t until_ns);
/* Any thread; not during transfer_drop_idle or transfer_set_free. */
void transfer_wake(struct transfer_set *s);
/* When connections will have been idle for long enough to be closed; 0: there are none. */
int64_t transfer_idle_due_ns(const struct transfer_set *s);
void transfer_drop_idle(struct transfer_set *s);

struct transfer_host_state {
    bool is_http2;
    int32_t n_active;      /* transfers under way, those that nobody wants any more included */
    int32_t n_connections; /* open or being opened */
    int32_t n_free;        /* transfers that may be started now */
    int64_t n_connects, n_reused;
};
const struct host *transfer_host(const struct transfer_set *s, int32_t host);
int32_t transfer_n_hosts(const struct transfer_set *s);
void transfer_host_state(const struct transfer_set *s, int32_t host, struct transfer_host_state *out);

#endif
