/* An HTTP server and its clients in one thread: whoever waits on a client's socket turns the server's loop,
 * so that tests decide what happens before what. Failures are cmocka's. */
#ifndef SUPPORT_HTTP_WORLD_H
#define SUPPORT_HTTP_WORLD_H

#include <stdbool.h>
#include <stddef.h>

#include <uv.h>

#include "base/buf.h"
#include "serve/http.h"

/* Paths that the world's handler knows; all others are answered with METHOD PATH QUERY and the body.
 *   /hold    stays unanswered, in `held`
 *   /up      becomes a stream that sends back what it gets; "bye" closes it
 *   /public  as others, but needs no token */
struct http_world {
    uv_loop_t loop;
    struct http_server *server;
    int port;
    int n_requests, n_aborts, n_closed;
    struct http_exchange *held; /* the last; null once it is gone */
    struct http_stream *stream; /* likewise */
};

/* Options may be null; on_request, is_public and ctx are the world's. Listens on 127.0.0.1. */
void http_world_open(struct http_world *w, const struct http_server_options *options);
void http_world_close(struct http_world *w); /* checks that nothing is left */

/* One turn of the loop, waiting for at most so many milliseconds. */
void http_world_turn(struct http_world *w, int wait_ms);
/* Turn until *value is `expected`; fails after ten seconds. */
void http_world_until(struct http_world *w, const int *value, int expected);
void http_world_until_connections(struct http_world *w, int32_t expected);

/* Sockets of clients; they do not block. */
int http_world_connect(struct http_world *w);
int http_world_connect_unix(struct http_world *w, const char *path);
void http_world_send(struct http_world *w, int fd, const char *bytes, size_t len); /* stops at an error */
void http_world_send_str(struct http_world *w, int fd, const char *text);

/* One answer, framed by Content-Length, by chunks (which are joined) or by the end of the connection; without
 * a body for requests with HEAD. The result is valid until the next call for this buffer. */
struct http_reply {
    int status; /* 0: the connection ended, or broke, before an answer */
    const char *head;
    const char *body;
    size_t body_len;
};
struct http_reply http_world_reply(struct http_world *w, int fd, struct buf *buf, bool is_head);
/* Send a request, read its answer. */
struct http_reply http_world_ask(struct http_world *w, int fd, struct buf *buf, const char *request);
/* All that comes until the connection ends; returns whether it ended cleanly. */
bool http_world_drain(struct http_world *w, int fd, struct buf *buf);

#endif
