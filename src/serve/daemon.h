/* The daemon: one loop with an HTTP server on a TCP address and a Unix socket, language server sessions on
 * upgraded connections (GET /lsp, Upgrade: lsp), and the service behind them. Thread: the caller becomes the
 * loop. */
#ifndef SERVE_DAEMON_H
#define SERVE_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct buf;
struct metrics;
struct service_options;
struct store;

struct daemon_options {
    const char *listen;  /* "ADDR:PORT", or "": no TCP */
    bool listen_if_free; /* where that address is in use, the socket alone will do */
    const char *socket;  /* path, or "": none */
    const char *token;
    const char *origins;
    int32_t max_connections; /* 0: default */
    int32_t idle_exit_s;     /* leave after so long without connections and requests; 0: never */
    bool log_text;           /* what clients send may be logged, at level debug */
    const struct service_options *service; /* wake, ctx and store are the daemon's to set */
    /* What keeps answers (service_options.store): opened before the service, closed after it. It calls `wake`
     * from any thread until then. Or both null. */
    enum err (*open_store)(void *ctx, struct metrics *metrics, void (*wake)(void *ctx), void *wake_ctx,
                           struct store **out, struct errmsg *msg);
    void (*close_store)(struct store **s);
    const char *alert_rules, *alert_command, *alert_webhook; /* alerts.h, alert_tell.h */
    /* The configuration in force as a JSON object, without secrets. Or null. */
    void (*write_config)(void *ctx, struct buf *out);
    /* SIGHUP: read the configuration again; fills new values for token and origins (owned by the callee until
     * the next call). ERR: logged, nothing changes. Or null. */
    enum err (*reload)(void *ctx, const char **token, const char **origins, struct errmsg *msg);
    void *ctx;
};

/* Runs until SIGTERM or SIGINT (running requests are finished; a second signal ends at once) or the idle
 * time. Prints one line with where it listens. Sockets handed over by the service manager (LISTEN_FDS)
 * replace both addresses, and its NOTIFY_SOCKET is told. ERR_IO: another daemon has the addresses. */
MUST_CHECK enum err daemon_run(const struct daemon_options *o, struct errmsg *msg);

/* The editor's side (`inline lsp`): standard input and output joined to the daemon's language server at this
 * socket. Starts a daemon when none answers, one however many do so at once: this program with argv, which is
 * null-terminated and begins with the program's name. Connects again when the daemon goes away, and opens the
 * documents there anew. Returns at the end of the input or after `exit`; ERR_IO where neither was announced
 * by `shutdown`. */
MUST_CHECK enum err attach_run(const char *socket, char *const *argv, struct errmsg *msg);

#endif
