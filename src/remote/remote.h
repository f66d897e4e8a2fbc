/* Models on other machines, where infer/scheduler.h stands for those on this one: requests are submitted and
 * cancelled from any thread, prepared and answered on the thread of the one that owns the connections.
 *
 * A remote is one model, served by one or more servers that are taken to be equal. Its thread keeps at most
 * n_connections to each (with HTTP/2, requests share one), hands them to waiting requests by priority, and
 * sees to it that each request ends in time: a server that fails before the first token is replaced by
 * another (failover), one that is late is joined by another (hedging, balance.h), one that fails often is
 * left alone for a while (server.h). After the first token nothing is tried again: what has come may have
 * been shown.
 *
 * Privacy: TLS is verified, redirects are not followed, the key goes to no other host than those of `urls`
 * and into no message. Nothing is sent before the first request, nor while nobody asks.
 *
 * curl's own time limits are not used: they would wait for name look-ups, which cannot be interrupted. A
 * transfer that is still looking up its host's name when nobody wants it any more is left to end by itself.
 */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "remote/ask.h"
#include "remote/server.h"

struct remote;
struct remote_job;

#define REMOTE_SERVERS_MAX 16 /* at most 32: balance_ask.tried */

enum remote_priority { REMOTE_ASKED, REMOTE_TYPING, REMOTE_WARMUP, REMOTE_PREFETCH };

struct remote_options { /* strings are copied */
    enum remote_api api;
    const char *urls;      /* base URLs, http or https, separated by spaces or commas */
    const char *model;     /* the name at the servers; "": what they have, if that is one */
    const char *key;       /* sent as "Authorization: Bearer KEY"; "": none */
    const char *ca_file;   /* certificates to trust instead of the system's; "": the system's */
    int32_t n_connections; /* to each server; 0: 3 */
    double connect_ms;     /* for a connection to be made, name look-up and TLS included; 0: 2000 */
    double timeout_ms;     /* for a request, from submit to its last token; 0: 10000 */
    double idle_s;         /* then unused connections are closed; 0: 60 */
};

enum remote_outcome {
    REMOTE_DONE,      /* `stop` says why it ended: with TIME, what came by then */
    REMOTE_CANCELLED, /* before a first token */
    REMOTE_FAILED     /* err, msg; nothing was given to on_text, or (is_partial) what follows it never came */
};

struct remote_report {
    enum remote_outcome outcome;
    enum remote_stop stop;
    bool is_partial;
    /* ERR_NETWORK: no server could answer, in time or at all; ERR_ARG: they refuse the request itself (400,
     * 413, 422); ERR_DENIED: the key (401, 403); ERR_NOT_FOUND: the model; ERR_LIMIT: rate limits, or an
     * answer beyond the bounds of stream.h; ERR_FORMAT: no answer of this API. */
    enum err err;
    struct errmsg msg; /* names the server that said it last */
    int32_t server;    /* that answered; -1: none */
    int32_t n_attempts;
    bool was_hedged;
    double queue_ms;            /* from submit until it was sent */
    double prepare_ms;          /* in `prepare` */
    double first_ms;            /* from then until the first token */
    double generate_ms;         /* from then to the end */
    int32_t n_prompt, n_reused; /* tokens, as the server counts; 0: it does not say */
    int32_t n_generated;
    double mean_logprob; /* of the generated tokens; 0: not told */
};

struct remote_request {
    enum remote_priority priority;
    uint64_t document;     /* requests of one document go to one server, if it can take them; 0: none */
    double max_first_ms;   /* the answer is empty (DONE, TIME) if it has not begun by then; 0: no limit */
    double max_predict_ms; /* from the first token; 0: no limit */
    /* Called on the remote's thread when the request is about to be sent, once: fill in what to ask. What it
     * points to stays until `done`. An error ends the request as FAILED. */
    enum err (*prepare)(void *ctx, const struct remote_traits *t, struct remote_ask *out, struct errmsg *msg);
    /* A piece of the answer; false: that is enough, and the server is told to stop (the stream is closed). */
    bool (*on_text)(void *ctx, const char *text, size_t len);
    /* Called exactly once, on the remote's thread. Must not call the remote. */
    void (*done)(void *ctx, const struct remote_report *report);
    void *ctx;
};

/* Starts the thread; connects to nothing. ERR_ARG: a URL, with which; ERR_UNSUPPORTED: no libcurl. */
MUST_CHECK enum err remote_new(const struct remote_options *o, struct remote **out, struct errmsg *msg);
/* Cancels everything (each `done` comes), waits for the thread. */
void remote_free(struct remote **r);

/* As of scheduler.h: the request is copied; the job is the caller's until remote_release; cancelling closes
 * the stream, and `done` comes within a few milliseconds. */
struct remote_job *remote_submit(struct remote *r, const struct remote_request *request);
void remote_cancel(struct remote *r, struct remote_job *job);
void remote_release(struct remote_job **job);

/* Ask a server what it has, without a request: for `inline model check`. Waits, at most timeout_ms. */
MUST_CHECK enum err remote_learn(struct remote *r, struct remote_traits *out, struct errmsg *msg);

/* Any thread: what was learned so far, and what is known of the servers. */
void remote_traits(struct remote *r, struct remote_traits *out);

struct remote_server_state {
    char name[REMOTE_NAME_MAX]; /* "gpu1.example.org:8000" */
    enum server_health health;
    bool is_limited, is_http2;
    int32_t n_outstanding, n_connections;
    int64_t n_asked, n_failed, n_limited, n_hedged;
    double first_p50_ms, first_p95_ms; /* 0: too few */
    struct errmsg error;               /* of the last failure; "" */
};
struct remote_state {
    int32_t n_waiting, n_running;
    int64_t n_connects, n_reused; /* connections that were made; requests that found one */
    int32_t n_servers;
    struct remote_server_state servers[REMOTE_SERVERS_MAX];
};
void remote_state(struct remote *r, struct remote_state *out);

#endif
