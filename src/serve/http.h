/* The HTTP/1.1 side of the daemon: connections in, requests to a handler, answers out.
 *
 * Owns sockets, framing (llhttp), limits, time-outs and access rules. Knows no route: each complete request
 * goes to the handler, which answers now or later through its exchange. Requests of one connection are
 * handled one after the other (pipelining waits). Thread: loop. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct uv_loop_s;
struct http_server;
struct http_exchange; /* one request and its answer */

struct http_request {   /* views, valid until the exchange ends */
    const char *method; /* "GET"; HEAD arrives as GET, and its answer's body is not sent */
    const char *path;   /* percent-decoded, without the query; NUL-terminated */
    const char *query;  /* raw; "" */
    const char *body;   /* NUL-terminated */
    size_t body_len;
    uint64_t connection; /* a number of its own for each connection */
    bool is_local_socket;
    bool is_trusted; /* came over the Unix socket, which only its user can open, or carries the token */
};
/* A header's value, name in lower case; "" if absent. */
const char *http_header(const struct http_exchange *x, const char *name);
const struct http_request *http_request_of(const struct http_exchange *x);

/* Answer in whole. Every exchange is answered exactly once: by this or by begin ... end. */
void http_answer(struct http_exchange *x, int status, const char *content_type, const char *body, size_t len);
/* {"error":{"code":...,"message":...,"type":...}} in llama-server's and OpenAI's shape. */
void http_error(struct http_exchange *x, int status, const char *type, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void http_extra_header(struct http_exchange *x, const char *name,
                       const char *value); /* before answer or begin */
/* Answer in pieces (chunked). A client that reads too slowly is cut off at a bound of unsent bytes. */
void http_begin(struct http_exchange *x, int status, const char *content_type);
void http_write(struct http_exchange *x, const char *bytes, size_t len);
void http_end(struct http_exchange *x);
/* Called once if the client goes away before the answer is complete (closing its sending side counts as
 * that); afterwards the exchange is gone. Not called once http_answer or http_end were, and only from the
 * loop or from http_server_free: a client that is cut off inside http_write is still there for its caller. */
void http_on_abort(struct http_exchange *x, void (*fn)(void *ctx), void *ctx);

/* The connection becomes a stream of bytes (101 Switching Protocols, RFC 9110 section 7.8), which the request
 * has asked for in its header Upgrade. The exchange ends. Bytes and the end are delivered from the loop only.
 * A stream that is not read is cut off as an answer is. */
struct http_stream;
struct http_stream_handler {
    void (*on_bytes)(void *ctx, const char *bytes, size_t len);
    void (*on_close)(void *ctx); /* once; afterwards the stream is gone */
    void *ctx;
};
struct http_stream *http_upgrade(struct http_exchange *x, const char *protocol,
                                 const struct http_stream_handler *h);
void http_stream_write(struct http_stream *s, const char *bytes, size_t len);
void http_stream_close(struct http_stream *s); /* after what was written is sent; on_close follows */

struct http_limits {          /* 0: the default in parentheses */
    int32_t max_connections;  /* (1,024) */
    int32_t max_header_bytes; /* (16 KiB) line and headers together */
    int64_t max_body_bytes;   /* (16 MiB) */
    int32_t header_seconds;   /* (10) from the first byte of a request to the end of its headers */
    int32_t body_seconds;     /* (30) without progress of a body */
    int32_t idle_seconds;     /* (300) between requests */
    int64_t max_unsent_bytes; /* (4 MiB) of an answer that the client does not read */
};

struct http_server_options {
    struct http_limits limits;
    const char *token;   /* bearer token that every request must carry; "": none */
    const char *origins; /* allowed Origins, separated by spaces; "": none; "*": all */
    bool (*is_public)(const char *method, const char *path); /* routes that need no token; or null */
    void (*on_request)(void *ctx, struct http_exchange *x);
    void *ctx;
};

MUST_CHECK enum err http_server_new(struct uv_loop_s *loop, const struct http_server_options *o,
                                    struct http_server **out, struct errmsg *msg);
/* Other rules from the next request on. ERR_ARG: it listens beyond this machine and there is no token; the
 * rules stay as they were. */
MUST_CHECK enum err http_server_set_access(struct http_server *s, const char *token, const char *origins,
                                           struct errmsg *msg);
/* "127.0.0.1:8012", "[::1]:8012", "localhost:0". ERR_ARG: not such an address, or not a loopback address and
 * there is no token: says so. ERR_IO: in use by ... *port is the one bound. */
MUST_CHECK enum err http_listen_tcp(struct http_server *s, const char *address, int *port,
                                    struct errmsg *msg);
/* Mode 0600, in a directory of the user's own. A socket that nobody listens on is replaced; ERR_IO: somebody
 * does. */
MUST_CHECK enum err http_listen_unix(struct http_server *s, const char *path, struct errmsg *msg);
/* An open listening socket (systemd socket activation). */
MUST_CHECK enum err http_listen_fd(struct http_server *s, int fd, struct errmsg *msg);
int32_t http_n_connections(const struct http_server *s);
int64_t http_last_activity_ns(const struct http_server *s); /* clock_ns of the last request's start or end */
/* Stop listening and close idle connections; others close after their answer. Streams stay. */
void http_server_drain(struct http_server *s);
/* Close everything at once: on_abort and on_close are called for what was under way, and nothing afterwards.
 * Not from inside a handler. The loop must run once more before the memory is gone. */
void http_server_free(struct http_server **s);

#endif
