/* An HTTP server and its clients in one thread. See http_world.h. */
#include "support/http_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"

#define PATIENCE_NS (10 * INT64_C(1000000000))
#define REPLY_MAX   ((size_t)64 << 20)

static void on_abort(void *ctx)
{
    struct http_world *w = ctx;
    w->n_aborts++;
    w->held = NULL;
}

static void on_bytes(void *ctx, const char *bytes, size_t len)
{
    struct http_world *w = ctx;
    http_stream_write(w->stream, bytes, len);
    if (len >= 3 && memcmp(bytes + len - 3, "bye", 3) == 0) http_stream_close(w->stream);
}

static void on_close(void *ctx)
{
    struct http_world *w = ctx;
    w->n_closed++;
    w->stream = NULL;
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct http_world *w = ctx;
    const struct http_request *r = http_request_of(x);
    w->n_requests++;
    if (strcmp(r->path, "/hold") == 0) {
        w->held = x;
        http_on_abort(x, on_abort, w);
    } else if (strcmp(r->path, "/up") == 0) {
        struct http_stream_handler handler = {on_bytes, on_close, w};
        w->stream = http_upgrade(x, "echo", &handler);
    } else {
        struct buf out;
        buf_init(&out, REPLY_MAX);
        buf_printf(&out, "%s %s %s ", r->method, r->path, r->query);
        buf_add(&out, r->body, r->body_len);
        http_answer(x, 200, "text/plain", buf_str(&out), out.len);
        buf_clear(&out);
    }
}

static bool is_public(const char *method, const char *path)
{
    return strcmp(method, "GET") == 0 && strcmp(path, "/public") == 0;
}

void http_world_open(struct http_world *w, const struct http_server_options *options)
{
    struct http_server_options o = {0};
    struct errmsg msg;
    if (options) o = *options;
    o.on_request = on_request;
    o.is_public = is_public;
    o.ctx = w;
    *w = (struct http_world){0};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(http_server_new(&w->loop, &o, &w->server, &msg), OK);
    if (http_listen_tcp(w->server, "127.0.0.1:0", &w->port, &msg)) fail_msg("%s", msg.text);
}

void http_world_close(struct http_world *w)
{
    http_server_free(&w->server);
    assert_null(w->held);
    assert_null(w->stream);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

void http_world_turn(struct http_world *w, int wait_ms)
{
    struct pollfd backend = {.fd = uv_backend_fd(&w->loop), .events = POLLIN};
    int timeout = uv_backend_timeout(&w->loop);
    if (timeout < 0 || timeout > wait_ms) timeout = wait_ms;
    if (timeout) poll(&backend, 1, timeout);
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

void http_world_until(struct http_world *w, const int *value, int expected)
{
    int64_t start = clock_ns();
    while (*value != expected && clock_ns() - start < PATIENCE_NS) http_world_turn(w, 1);
    assert_int_equal(*value, expected);
}

void http_world_until_connections(struct http_world *w, int32_t expected)
{
    int64_t start = clock_ns();
    while (http_n_connections(w->server) != expected && clock_ns() - start < PATIENCE_NS)
        http_world_turn(w, 1);
    assert_int_equal(http_n_connections(w->server), expected);
}

static int connect_to(struct http_world *w, int family, const void *address, size_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, address, (socklen_t)len), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    http_world_turn(w, 0);
    return fd;
}

int http_world_connect(struct http_world *w)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to(w, AF_INET, &address, sizeof address);
}

int http_world_connect_unix(struct http_world *w, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return connect_to(w, AF_UNIX, &address, sizeof address);
}

void http_world_send(struct http_world *w, int fd, const char *bytes, size_t len)
{
    int64_t start = clock_ns();
    while (len && clock_ns() - start < PATIENCE_NS) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) break;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
        http_world_turn(w, 0);
    }
}

void http_world_send_str(struct http_world *w, int fd, const char *text)
{
    http_world_send(w, fd, text, strlen(text));
}

/* At most `most` more bytes; 0 at the end of the connection, -1 where it broke. */
static ssize_t receive(struct http_world *w, int fd, struct buf *buf, size_t most)
{
    static char bytes[1 << 16];
    int64_t start = clock_ns();
    for (int n_tries = 0;; n_tries++) {
        ssize_t n = recv(fd, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
        if (n > 0) buf_add(buf, bytes, (size_t)n);
        if (n >= 0 || errno != EAGAIN) return n;
        if (clock_ns() - start > PATIENCE_NS) fail_msg("nothing comes after \"%s\"", buf_str(buf));
        http_world_turn(w, n_tries < 10 ? 0 : 1);
    }
}

static bool receive_until(struct http_world *w, int fd, struct buf *buf, size_t len)
{
    while (buf->len < len) {
        if (receive(w, fd, buf, len - buf->len) <= 0) return false;
    }
    return true;
}

/* Chunks, joined behind the head; the framing is checked and dropped. */
static void receive_chunks(struct http_world *w, int fd, struct buf *buf)
{
    for (;;) {
        size_t line = buf->len;
        while (buf->len < line + 2 || memcmp(buf->data + buf->len - 2, "\r\n", 2) != 0)
            if (!receive_until(w, fd, buf, buf->len + 1)) return;
        char *end;
        size_t len = strtoul(buf->data + line, &end, 16);
        assert_true(end > buf->data + line && *end == '\r');
        buf_truncate(buf, line);
        if (!receive_until(w, fd, buf, line + len + 2)) return;
        assert_memory_equal(buf->data + line + len, "\r\n", 2);
        buf_truncate(buf, line + len);
        if (!len) return;
    }
}

struct http_reply http_world_reply(struct http_world *w, int fd, struct buf *buf, bool is_head)
{
    struct http_reply reply = {0};
    buf_reset(buf);
    do {
        if (!receive_until(w, fd, buf, buf->len + 1)) return reply;
    } while (!strstr(buf_str(buf), "\r\n\r\n"));
    assert_memory_equal(buf->data, "HTTP/1.1 ", 9);
    int status = (int)strtol(buf->data + 9, NULL, 10);
    size_t head_len = buf->len;
    const char *length = strstr(buf->data, "\r\nContent-Length: ");
    if (is_head || status < 200 || status == 204 || status == 304) {
    } else if (length) {
        receive_until(w, fd, buf, head_len + strtoul(length + 18, NULL, 10));
    } else if (strstr(buf->data, "\r\nTransfer-Encoding: chunked\r\n")) {
        receive_chunks(w, fd, buf);
    } else {
        while (receive(w, fd, buf, SIZE_MAX) > 0) {
        }
    }
    assert_int_equal(buf->err, OK);
    return (struct http_reply){status, buf->data, buf->data + head_len, buf->len - head_len};
}

struct http_reply http_world_ask(struct http_world *w, int fd, struct buf *buf, const char *request)
{
    http_world_send_str(w, fd, request);
    return http_world_reply(w, fd, buf, strncmp(request, "HEAD", 4) == 0);
}

bool http_world_drain(struct http_world *w, int fd, struct buf *buf)
{
    ssize_t n;
    buf_reset(buf);
    do n = receive(w, fd, buf, SIZE_MAX);
    while (n > 0);
    return n == 0;
}
