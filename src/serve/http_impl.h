/* What the files of the HTTP server share; nobody else includes it.
 *
 * http_server.c owns the server: its limits, its list of connections, the one timer. http_listen.c opens
 * sockets. http_conn.c is one connection's life; http_write.c what is sent on it.
 *
 * A connection is closed by http_conn_close only, whose memory goes when libuv has let go of the handle.
 * Users are told of a connection's end (on_abort, on_close) from the loop or from http_server_free, never
 * from inside a call of theirs that writes. Thread: loop. */
#ifndef SERVE_HTTP_IMPL_H
#define SERVE_HTTP_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/buf.h"
#include "serve/http.h"
#include "serve/http_parse.h"

enum conn_state {
    CONN_READING,       /* between requests, or reading one */
    CONN_RUNNING,       /* the handler has the request */
    CONN_FLUSHING,      /* answered; bytes remain to be sent */
    CONN_OPENING,       /* upgraded; the 101 remains to be sent */
    CONN_STREAM,        /* upgraded */
    CONN_STREAM_ENDING, /* closed by its user; bytes remain to be sent */
    CONN_LINGERING,     /* refused in mid-request: what still comes is dropped, so that no reset by the kernel
                           overtakes the answer */
    CONN_CLOSED,        /* waiting for libuv */
};

struct http_exchange {
    struct http_conn *conn;
    void (*on_abort)(void *ctx);
    void *abort_ctx;
    struct buf extra; /* header lines to add to the answer */
    bool is_chunked;  /* between begin and end: framed as chunks; else the connection's end is the body's */
    bool keep_alive;
};

struct http_stream {
    struct http_conn *conn;
    struct http_stream_handler handler;
};

/* libuv's handle, by the names of its kinds. */
union http_socket {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct http_conn {
    union http_socket uv;
    struct http_server *server;
    struct http_conn *prev, *next;
    enum conn_state state;
    bool is_local_socket;
    bool is_paused;     /* enough has been read ahead */
    bool allows_origin; /* the request's Origin passed, so that answers name it */
    bool has_ended;     /* the client sends no more */
    bool has_exchange;  /* its user has not answered it yet, and will hear of the connection's end */
    bool has_stream;    /* likewise */
    int32_t n_writes;   /* given to libuv and not yet called back */
    uint64_t number;
    uint64_t deadline_ms; /* by the loop's clock; 0: none */
    size_t queue_seen;    /* unsent bytes when the deadline for sending was last set */
    struct http_parse parse;
    struct http_exchange exchange;
    struct http_stream upgraded;
    struct buf ahead; /* bytes read behind the request in hand ... */
    size_t ahead_at;  /* ... and how many of them are used up */
};

struct http_listener {
    union http_socket uv;
    struct http_server *server;
    struct http_listener *next;
    char *unlink_path; /* owned; the socket's file, to be removed if it is still this one; or null */
    uint64_t dev, ino;
    bool is_loopback;
    bool is_local_socket;
};

/* One read goes here, whichever connection it is for, so that idle connections hold no memory for it. */
#define HTTP_READ_BYTES ((size_t)64 << 10)

struct http_server {
    uv_loop_t *loop;
    struct http_server_options options; /* token and origins are copies */
    struct http_listener *listeners;
    struct http_conn *conns;
    int32_t n_conns;
    int32_t n_handles; /* libuv's that are not closed: connections, listeners and the timer */
    bool is_draining, is_freed;
    uint64_t n_accepted;
    int64_t last_activity_ns;
    uv_timer_t timer;
    uint64_t timer_at_ms; /* 0: not armed */
    int32_t n_waiting;    /* connections with a deadline */
    char *read_bytes;     /* [HTTP_READ_BYTES] */
};

/* http_server.c */
void http_server_let_go(struct http_server *s); /* libuv has closed one of n_handles */
void http_server_touch(struct http_server *s);  /* a request begins or ends */
/* The connection expires in so many seconds; 0: never. */
void http_server_set_deadline(struct http_conn *c, int32_t seconds);

/* http_listen.c */
void http_listen_close(struct http_listener *l);

/* http_conn.c */
void http_conn_accept(struct http_listener *l);
void http_conn_close(struct http_conn *c);
void http_conn_tell_end(struct http_conn *c); /* its user, if there is one: on_abort or on_close */
void http_conn_expire(struct http_conn *c);   /* the deadline has passed */
bool http_conn_is_idle(const struct http_conn *c);
void http_conn_on_sent(struct http_conn *c); /* from the loop: all that was written has been sent */

/* http_write.c */
void http_write_take(struct http_conn *c, struct buf *bytes); /* send; the buffer is empty afterwards */

#endif
