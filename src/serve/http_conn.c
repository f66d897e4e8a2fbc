/* One connection's life: reading, admitting, handing over, and going away.
 *
 * Bytes go to the parser as they come. While a request is in hand reading goes on, because only that shows
 * that a client has left; what it sends ahead waits, up to a bound. The next request is looked at when the
 * answer before it has been sent, from the loop, so that no handler is entered from inside another's call.
 *
 * The end of a client's bytes counts as the client's end, though TCP would let it wait for its answer with
 * one direction closed: a client that was killed looks the same, and its work must stop. Only an answer that
 * is already complete is still sent. */
#include "serve/http_impl.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "serve/http_access.h"

/* Bytes read ahead of the request in hand before reading pauses (and leaving goes unseen). */
#define AHEAD_MAX ((size_t)64 << 10)

/* How long a refused client may go on sending before the connection is closed on it. */
#define LINGER_SECONDS 2

/* Connections beyond the limit that are told so; more than these are closed without a word. */
#define REFUSED_MAX 32

#define INVALID_REQUEST "invalid_request_error"

static void on_closed(uv_handle_t *handle)
{
    struct http_conn *c = handle->data;
    struct http_server *s = c->server;
    http_conn_tell_end(c);
    if (c->prev) c->prev->next = c->next;
    if (c->next) c->next->prev = c->prev;
    if (s->conns == c) s->conns = c->next;
    s->n_conns--;
    http_parse_reset(&c->parse);
    buf_clear(&c->exchange.extra);
    buf_clear(&c->ahead);
    mem_free(c);
    http_server_let_go(s);
}

void http_conn_close(struct http_conn *c)
{
    if (c->state == CONN_CLOSED) return;
    c->state = CONN_CLOSED;
    http_server_set_deadline(c, 0);
    uv_close(&c->uv.handle, on_closed);
}

void http_conn_tell_end(struct http_conn *c)
{
    if (c->has_exchange) {
        c->has_exchange = false;
        http_server_touch(c->server);
        if (c->exchange.on_abort) c->exchange.on_abort(c->exchange.abort_ctx);
    } else if (c->has_stream) {
        c->has_stream = false;
        c->upgraded.handler.on_close(c->upgraded.handler.ctx);
    }
}

bool http_conn_is_idle(const struct http_conn *c)
{
    return c->state == CONN_READING && c->parse.state == HTTP_PARSE_START;
}

static bool has_token(const struct http_conn *c)
{
    const char *token = c->server->options.token;
    return token[0] && http_access_has_token(http_parse_header(&c->parse, "authorization"), token);
}

/* From here on the request can be answered. */
static struct http_exchange *begin_exchange(struct http_conn *c)
{
    bool is_complete = c->parse.state == HTTP_PARSE_DONE;
    c->state = CONN_RUNNING;
    c->has_exchange = true;
    c->exchange = (struct http_exchange){.conn = c, .keep_alive = is_complete && c->parse.keep_alive};
    c->parse.request.connection = c->number;
    c->parse.request.is_local_socket = c->is_local_socket;
    c->parse.request.is_trusted = c->is_local_socket || has_token(c);
    http_server_set_deadline(c, 0);
    return &c->exchange;
}

/* Whether Host names this machine as only its own users can: a page whose name was rebound to 127.0.0.1 still
 * sends that name. A server with a token may also be asked by the address that the client reached. */
static bool is_host_allowed(struct http_conn *c, const char *host)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    char name[INET6_ADDRSTRLEN] = "";
    if (c->is_local_socket || http_access_is_loopback_host(host)) return true;
    if (!host[0] && c->parse.is_http_1_0) return true; /* no browser */
    if (!c->server->options.token[0]) return false;
    if (uv_tcp_getsockname(&c->uv.tcp, (struct sockaddr *)&address, &len)) return false;
    if (uv_ip_name((struct sockaddr *)&address, name, sizeof name)) return false;
    bool is_mapped = strncmp(name, "::ffff:", 7) == 0 && strchr(name, '.');
    return http_access_is_host(host, is_mapped ? name + 7 : name);
}

static bool is_origin_allowed(const struct http_conn *c, const char *origin, const char *host)
{
    if (http_access_lists_origin(origin, c->server->options.origins)) return true;
    return http_access_is_loopback_host(host) && http_access_is_same_origin(origin, host);
}

static bool needs_token(const struct http_conn *c)
{
    const struct http_server_options *o = &c->server->options;
    const struct http_request *request = &c->parse.request;
    if (!o->token[0] || c->is_local_socket) return false;
    return !o->is_public || !o->is_public(request->method, request->path);
}

/* The question that browsers ask before a page's request to another origin (Fetch standard, CORS-preflight).
 */
static bool is_preflight(const struct http_conn *c)
{
    return c->parse.llhttp.method == HTTP_OPTIONS && http_parse_header(&c->parse, "origin")[0] &&
           http_parse_header(&c->parse, "access-control-request-method")[0];
}

static void answer_preflight(struct http_conn *c)
{
    struct http_exchange *x = begin_exchange(c);
    const char *headers = http_parse_header(&c->parse, "access-control-request-headers");
    http_extra_header(x, "Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
    if (headers[0]) http_extra_header(x, "Access-Control-Allow-Headers", headers);
    if (http_parse_header(&c->parse, "access-control-request-private-network")[0])
        http_extra_header(x, "Access-Control-Allow-Private-Network", "true");
    http_extra_header(x, "Access-Control-Max-Age", "600");
    http_answer(x, 204, NULL, "", 0);
}

/* The access rules, once line and headers are there. False: the request has been answered. */
static bool admit(struct http_conn *c)
{
    const char *host = http_parse_header(&c->parse, "host"), *origin = http_parse_header(&c->parse, "origin");
    if (!is_host_allowed(c, host)) {
        http_error(begin_exchange(c), 403, "permission_error",
                   "Host \"%s\" is not this machine's: ask for localhost or 127.0.0.1.", host);
        return false;
    }
    if (origin[0] && !is_origin_allowed(c, origin, host)) {
        http_error(begin_exchange(c), 403, "permission_error",
                   "Origin \"%s\" is not allowed: list it in the setting serve.origins.", origin);
        return false;
    }
    c->allows_origin = true;
    if (is_preflight(c)) {
        answer_preflight(c);
        return false;
    }
    if (needs_token(c) && !has_token(c)) {
        struct http_exchange *x = begin_exchange(c);
        http_extra_header(x, "WWW-Authenticate", "Bearer");
        http_error(x, 401, "authentication_error", "This server needs Authorization: Bearer and its token.");
        return false;
    }
    return true;
}

static void run(struct http_conn *c)
{
    struct http_exchange *x = begin_exchange(c);
    http_server_touch(c->server);
    if (strcmp(c->parse.request.path, "*") == 0) {
        http_extra_header(x, "Allow", "GET, HEAD, POST, OPTIONS");
        http_answer(x, 204, NULL, "", 0);
    } else {
        c->server->options.on_request(c->server->options.ctx, x);
    }
}

/* The body is about to come: may it? */
static void begin_body(struct http_conn *c)
{
    struct buf out;
    if (!admit(c) || !c->parse.expects_continue) return;
    buf_init(&out, 64);
    buf_add_str(&out, "HTTP/1.1 100 Continue\r\n\r\n");
    http_write_take(c, &out);
}

/* The parser has taken bytes; before that it was in this state and had so much of a body. */
static void on_progress(struct http_conn *c, enum http_parse_state before, size_t body_len_before)
{
    const struct http_limits *limits = &c->server->options.limits;
    enum http_parse_state now = c->parse.state;
    if (now == HTTP_PARSE_FAILED) {
        int status = c->parse.status;
        const char *type = status == 503 ? "unavailable_error" : INVALID_REQUEST;
        http_error(begin_exchange(c), status, type, "%s", c->parse.fault);
    } else if (now == HTTP_PARSE_HEAD && before == HTTP_PARSE_START) {
        http_server_set_deadline(c, limits->header_seconds);
    } else if (now == HTTP_PARSE_BODY) {
        bool is_new = before != HTTP_PARSE_BODY;
        if (is_new || c->parse.body.len > body_len_before) http_server_set_deadline(c, limits->body_seconds);
        if (is_new) begin_body(c);
    } else if (now == HTTP_PARSE_DONE) {
        if (before == HTTP_PARSE_BODY || admit(c)) run(c);
    }
}

/* Read requests, or bytes for a stream. Returns how many were used; the rest is for later. */
static size_t use_bytes(struct http_conn *c, const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len && c->state == CONN_READING) {
        enum http_parse_state before = c->parse.state;
        size_t body_len = c->parse.body.len;
        at += http_parse_feed(&c->parse, bytes + at, len - at);
        on_progress(c, before, body_len);
    }
    if (c->state == CONN_STREAM && at < len) {
        c->upgraded.handler.on_bytes(c->upgraded.handler.ctx, bytes + at, len - at);
        return len;
    }
    bool is_wanted = c->state == CONN_RUNNING || c->state == CONN_FLUSHING || c->state == CONN_OPENING;
    return is_wanted ? at : len;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct http_conn *c = handle->data;
    (void)suggested;
    *out = uv_buf_init(c->server->read_bytes, (unsigned)HTTP_READ_BYTES);
}

/* No more bytes will come. */
static void on_end(struct http_conn *c, bool is_clean)
{
    bool has_answer = c->state == CONN_FLUSHING || c->state == CONN_STREAM_ENDING;
    if (is_clean && has_answer) {
        uv_read_stop(&c->uv.stream);
        c->exchange.keep_alive = false;
        c->has_ended = true;
        return;
    }
    http_conn_close(c);
    http_conn_tell_end(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct http_conn *c = stream->data;
    if (n < 0) {
        on_end(c, n == UV_EOF);
        return;
    }
    size_t used = use_bytes(c, bytes->base, (size_t)n);
    if (used == (size_t)n || c->state == CONN_CLOSED) return;
    buf_add(&c->ahead, bytes->base + used, (size_t)n - used);
    if (c->ahead.err) {
        http_conn_close(c);
    } else if (c->ahead.len - c->ahead_at > AHEAD_MAX) {
        uv_read_stop(stream);
        c->is_paused = true;
    }
}

static void read_on(struct http_conn *c)
{
    if (!c->is_paused || c->state == CONN_CLOSED) return;
    c->is_paused = false;
    if (uv_read_start(&c->uv.stream, on_alloc, on_read)) http_conn_close(c);
}

static void drop_ahead(struct http_conn *c)
{
    buf_clear(&c->ahead);
    c->ahead_at = 0;
}

static void use_ahead(struct http_conn *c)
{
    size_t len = c->ahead.len - c->ahead_at;
    if (len) c->ahead_at += use_bytes(c, c->ahead.data + c->ahead_at, len);
    if (c->ahead_at < c->ahead.len) return;
    drop_ahead(c);
    read_on(c);
}

/* The last answer of this connection has been sent. */
static void finish(struct http_conn *c)
{
    uv_os_fd_t fd;
    bool is_all_read = c->parse.state == HTTP_PARSE_DONE && c->ahead_at == c->ahead.len;
    if (is_all_read || c->has_ended || uv_fileno(&c->uv.handle, &fd)) {
        http_conn_close(c);
        return;
    }
    shutdown(fd, SHUT_WR);
    c->state = CONN_LINGERING;
    http_server_set_deadline(c, LINGER_SECONDS);
    drop_ahead(c);
    read_on(c);
}

static void begin_request(struct http_conn *c)
{
    http_parse_reset(&c->parse);
    c->allows_origin = false;
    c->state = CONN_READING;
    http_server_set_deadline(c, c->server->options.limits.idle_seconds);
}

void http_conn_on_sent(struct http_conn *c)
{
    if (c->state == CONN_FLUSHING && c->exchange.keep_alive && !c->server->is_draining) {
        begin_request(c);
        use_ahead(c);
    } else if (c->state == CONN_FLUSHING) {
        finish(c);
    } else if (c->state == CONN_OPENING) {
        http_parse_reset(&c->parse);
        c->state = CONN_STREAM;
        use_ahead(c);
    } else if (c->state == CONN_STREAM_ENDING) {
        http_conn_close(c);
    }
}

void http_conn_expire(struct http_conn *c)
{
    size_t queue = uv_stream_get_write_queue_size(&c->uv.stream);
    bool is_sending = c->state == CONN_FLUSHING || c->state == CONN_STREAM_ENDING;
    if (c->state == CONN_READING && c->parse.state != HTTP_PARSE_START) {
        http_error(begin_exchange(c), 408, INVALID_REQUEST,
                   "The request did not arrive in time; send it again.");
    } else if (is_sending && queue < c->queue_seen) {
        http_server_set_deadline(c, c->server->options.limits.body_seconds);
    } else {
        http_conn_close(c);
    }
}

/* Take the socket that waits. Small, and libuv accepts nothing more until it is taken, so it does not fail.
 */
static struct http_conn *new_conn(struct http_listener *l)
{
    struct http_server *s = l->server;
    struct http_conn *c = MEM_NEW(struct http_conn);
    c->server = s;
    c->is_local_socket = l->is_local_socket;
    c->number = ++s->n_accepted;
    http_parse_init(&c->parse, s->options.limits.max_header_bytes, s->options.limits.max_body_bytes);
    buf_init(&c->ahead, AHEAD_MAX + HTTP_READ_BYTES);
    if (c->is_local_socket) {
        uv_pipe_init(s->loop, &c->uv.pipe, 0);
    } else {
        uv_tcp_init(s->loop, &c->uv.tcp);
    }
    c->uv.handle.data = c;
    c->next = s->conns;
    if (c->next) c->next->prev = c;
    s->conns = c;
    s->n_conns++;
    s->n_handles++;
    return c;
}

void http_conn_accept(struct http_listener *l)
{
    struct http_conn *c = new_conn(l);
    int32_t n_above = c->server->n_conns - c->server->options.limits.max_connections;
    if (uv_accept(&l->uv.stream, &c->uv.stream) || n_above > REFUSED_MAX) {
        http_conn_close(c);
        return;
    }
    if (!c->is_local_socket) uv_tcp_nodelay(&c->uv.tcp, 1); /* tokens are sent as they come */
    begin_request(c);
    c->is_paused = true;
    read_on(c);
    if (n_above > 0 && c->state == CONN_READING)
        http_error(begin_exchange(c), 503, "unavailable_error",
                   "All %d connections are in use; close some or raise the limit.",
                   (int)c->server->options.limits.max_connections);
}

const char *http_header(const struct http_exchange *x, const char *name)
{
    return http_parse_header(&x->conn->parse, name);
}

const struct http_request *http_request_of(const struct http_exchange *x)
{
    return &x->conn->parse.request;
}

void http_on_abort(struct http_exchange *x, void (*fn)(void *ctx), void *ctx)
{
    x->on_abort = fn;
    x->abort_ctx = ctx;
}
