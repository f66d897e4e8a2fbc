/* A client of the daemon. See ask.h. It speaks HTTP/1.0, to which an answer comes as it is until the
 * connection ends, not in chunks. */
#include "serve/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json_read.h"

#define HEAD_MAX       4096               /* bytes of the request's */
#define ANSWER_MAX     ((size_t)16 << 20) /* bytes of the answer's head, or of one event */
#define READ_BYTES     16384
#define GET_PATIENCE_S 10 /* what is only looked up comes at once, unless the daemon hangs */

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_request(int fd, const char *method, const char *path, const char *body, size_t len)
{
    struct buf head;
    buf_init(&head, HEAD_MAX);
    buf_printf(&head,
               "%s %s HTTP/1.0\r\n"
               "Host: localhost\r\n"
               "Content-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               method, path, len);
    bool ok = !head.err && send_all(fd, head.data, head.len) && send_all(fd, body, len);
    buf_clear(&head);
    return ok;
}

/* Append what comes next. False: the connection ended. */
static bool receive(int fd, struct buf *in)
{
    char bytes[READ_BYTES];
    ssize_t n;
    do {
        n = recv(fd, bytes, sizeof bytes, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) buf_add(in, bytes, (size_t)n);
    return n > 0 && !in->err;
}

static void drop_front(struct buf *b, size_t len)
{
    memmove(b->data, b->data + len, b->len - len);
    buf_truncate(b, b->len - len);
}

/* Take the answer's head off `in`. False: it ended before, or is none. */
static bool take_head(int fd, struct buf *in, bool *is_ok)
{
    const char *end;
    while (!(end = strstr(buf_str(in), "\r\n\r\n"))) {
        if (!receive(fd, in)) return false;
    }
    const char *status = strchr(in->data, ' ');
    bool is_http = strncmp(in->data, "HTTP/1.", 7) == 0 && status;
    *is_ok = is_http && strncmp(status, " 200 ", 5) == 0;
    drop_front(in, (size_t)(end - in->data) + 4);
    return is_http;
}

/* A line of the stream. Only data lines matter; "[DONE]" and the like are no objects. */
static enum err take_line(const char *line, size_t len,
                          enum err (*fn)(void *ctx, const struct json_value *event), void *ctx,
                          struct errmsg *msg)
{
    static const char data[] = "data: ";
    size_t skip = sizeof data - 1;
    struct json_value *event = NULL;
    if (len <= skip || strncmp(line, data, skip) != 0 || line[skip] != '{') return OK;
    enum err err = json_read(line + skip, len - skip, &event, msg);
    if (!err) err = fn(ctx, event);
    json_read_free(&event);
    return err;
}

static enum err take_events(int fd, struct buf *in, enum err (*fn)(void *ctx, const struct json_value *event),
                            void *ctx, struct errmsg *msg)
{
    enum err err = OK;
    do {
        size_t at = 0;
        for (const char *end; !err && in->len > at && (end = memchr(in->data + at, '\n', in->len - at));) {
            size_t len = (size_t)(end - in->data) - at;
            err = take_line(in->data + at, len, fn, ctx, msg);
            at += len + 1;
        }
        if (at > 0) drop_front(in, at);
    } while (!err && receive(fd, in));
    if (!err && in->err) err = err_set(msg, in->err, "the daemon's answer is too long");
    return err;
}

/* What the daemon says about a request that it refuses. */
static enum err refused(const struct json_value *answer, struct errmsg *msg)
{
    const struct json_value *error = json_get(answer, "error");
    const char *text = json_get_str(json_get(error, "message"), NULL);
    return err_set(msg, ERR_IO, "the daemon refuses: %s", text ? text : "it does not say why");
}

/* The rest of an answer with another status than 200. */
static enum err take_refusal(int fd, struct buf *in, struct errmsg *msg)
{
    struct json_value *answer = NULL;
    while (receive(fd, in)) continue;
    if (in->err || json_read(buf_str(in), in->len, &answer, NULL) != OK) answer = NULL;
    (void)refused(answer, msg);
    json_read_free(&answer);
    return ERR_UNSUPPORTED;
}

enum err ask_events(const char *socket_path, const char *path, const char *body, size_t len,
                    enum err (*fn)(void *ctx, const struct json_value *event), void *ctx, struct errmsg *msg)
{
    struct buf in;
    int fd = connect_to(socket_path);
    if (fd < 0) return err_set(msg, ERR_NOT_FOUND, "%s: no daemon answers", socket_path);
    buf_init(&in, ANSWER_MAX);
    enum err err = OK;
    bool is_ok = false;
    if (!send_request(fd, "POST", path, body, len) || !take_head(fd, &in, &is_ok)) {
        err = err_set(msg, ERR_NOT_FOUND, "%s: the daemon cannot answer now", socket_path);
    } else {
        err = is_ok ? take_events(fd, &in, fn, ctx, msg) : take_refusal(fd, &in, msg);
    }
    buf_clear(&in);
    close(fd);
    return err;
}

static bool answers_within(int fd, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int n;
    do {
        n = poll(&wait, 1, ms);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

enum err ask_json(const char *socket_path, const char *path, const char *body, struct json_value **answer,
                  struct errmsg *msg)
{
    enum err err = ask_json_within(socket_path, path, body, body ? -1 : GET_PATIENCE_S * 1000, answer, msg);
    return err == ERR_CANCELLED ? err_set(msg, ERR_IO, "%s: the daemon does not answer", socket_path) : err;
}

enum err ask_json_within(const char *socket_path, const char *path, const char *body, int patience_ms,
                         struct json_value **answer, struct errmsg *msg)
{
    struct buf in;
    bool is_ok = false;
    *answer = NULL;
    int fd = connect_to(socket_path);
    if (fd < 0) return err_set(msg, ERR_NOT_FOUND, "%s: no daemon answers", socket_path);
    buf_init(&in, ANSWER_MAX);
    enum err err = OK;
    const char *method = body ? "POST" : "GET";
    const struct timeval patience = {.tv_sec = GET_PATIENCE_S};
    if (!body) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    bool is_sent = send_request(fd, method, path, body ? body : "", body ? strlen(body) : 0);
    if (is_sent && !answers_within(fd, patience_ms)) {
        err = err_set(msg, ERR_CANCELLED, "no answer within %d ms", patience_ms);
    } else if (!is_sent || !take_head(fd, &in, &is_ok)) {
        err = err_set(msg, ERR_IO, "%s: the daemon does not answer, or breaks off", socket_path);
    }
    while (!err && receive(fd, &in)) continue;
    if (!err) err = in.err ? in.err : json_read(buf_str(&in), in.len, answer, msg);
    if (!err && !is_ok) {
        err = refused(*answer, msg);
        json_read_free(answer);
    }
    buf_clear(&in);
    close(fd);
    return err;
}
