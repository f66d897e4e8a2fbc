/* The socket and the protocol's reader.
 *
 * Replies are collected by functions of ours that hiredis calls as it reads, in one buffer with a cap: its
 * own build a tree, for which a server that announces a billion elements gets memory for a billion. */
#include "store/team_link.h"

#ifdef INLINE_HIREDIS

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"

#define READ_BYTES 16384
#define OUT_MAX    ((size_t)2 << 20)
#define NS_PER_MS  1000000

/* ---- Replies ---- */

/* hiredis 1 counts elements in another type. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* These get the reply as the task's private data, which the reader passes on to tasks below the root. What
 * they return only has to be something: null is taken for a lack of memory and ends the reading. */
static void *add_value(const redisReadTask *task, const char *bytes, size_t len)
{
    struct team_reply *reply = task->privdata;
    if (reply->n_values == TEAM_VALUES_MAX) return NULL;
    buf_add(&reply->bytes, bytes, len);
    if (reply->bytes.err) return NULL;
    reply->ends[reply->n_values++] = reply->bytes.len;
    return reply;
}

static void *on_string(const redisReadTask *task, char *bytes, size_t len)
{
    if (task->type == REDIS_REPLY_ERROR) ((struct team_reply *)task->privdata)->is_error = true;
    return add_value(task, bytes, len);
}

static void *on_array(const redisReadTask *task, element_count n)
{
    return !task->parent && n <= TEAM_VALUES_MAX ? task->privdata : NULL;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return add_value(task, "", 0);
}

static void *on_nil(const redisReadTask *task)
{
    return add_value(task, "", 0);
}

static void on_free(void *reply)
{
    (void)reply; /* belongs to the link */
}

static void reply_reset(struct team_reply *r)
{
    r->is_error = false;
    r->n_values = 0;
    buf_reset(&r->bytes);
}

/* ---- Life ---- */

void team_link_init(struct team_link *l)
{
    *l = (struct team_link){.fd = -1};
    buf_init(&l->out, OUT_MAX);
    buf_init(&l->reply.bytes, TEAM_EXCHANGE_MAX);
}

void team_link_close(struct team_link *l)
{
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    if (l->reader) redisReaderFree(l->reader);
    l->reader = NULL;
    buf_reset(&l->out);
}

void team_link_clear(struct team_link *l)
{
    team_link_close(l);
    buf_clear(&l->out);
    buf_clear(&l->reply.bytes);
}

static enum err fail(struct team_link *l, struct errmsg *msg, const char *what)
{
    team_link_close(l);
    return err_set(msg, ERR_NETWORK, "%s", what);
}

static enum err fail_system(struct team_link *l, struct errmsg *msg)
{
    int failure = errno;
    return fail(l, msg, strerror(failure));
}

/* ---- Waiting ---- */

/* Until the socket is ready for `events`, which it may report although the next call then fails. */
static enum err wait_for(struct team_link *l, short events, int64_t deadline_ns, struct errmsg *msg)
{
    struct pollfd p = {.fd = l->fd, .events = events};
    for (;;) {
        int64_t left_ns = deadline_ns - clock_ns();
        if (left_ns <= 0) return fail(l, msg, "no answer in time");
        int n = poll(&p, 1, (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS));
        if (n > 0) return OK;
        if (n < 0 && errno != EINTR) return fail_system(l, msg);
    }
}

static bool is_soon_ready(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static enum err send_all(struct team_link *l, int64_t deadline_ns, struct errmsg *msg)
{
    for (size_t sent = 0; sent < l->out.len;) {
        ssize_t n = send(l->fd, l->out.data + sent, l->out.len - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (is_soon_ready()) {
            enum err err = wait_for(l, POLLOUT, deadline_ns, msg);
            if (err) return err;
        } else {
            return fail_system(l, msg);
        }
    }
    buf_reset(&l->out);
    return OK;
}

/* Some bytes more for the reader, out of *left that the server may still send. */
static enum err receive(struct team_link *l, size_t *left, int64_t deadline_ns, struct errmsg *msg)
{
    char bytes[READ_BYTES];
    for (;;) {
        /* First of all, so that a server that always has a byte more is left in time as well. */
        enum err err = wait_for(l, POLLIN, deadline_ns, msg);
        if (err) return err;
        ssize_t n = recv(l->fd, bytes, sizeof bytes, 0);
        if (n < 0 && is_soon_ready()) continue;
        if (n < 0) return fail_system(l, msg);
        if (n == 0) return fail(l, msg, "the server closed the connection");
        if ((size_t)n > *left) return fail(l, msg, "an answer is too long");
        *left -= (size_t)n;
        return redisReaderFeed(l->reader, bytes, (size_t)n) == REDIS_OK ? OK : fail(l, msg, "no memory");
    }
}

static enum err read_reply(struct team_link *l, size_t *left, int64_t deadline_ns, struct errmsg *msg)
{
    reply_reset(&l->reply);
    for (;;) {
        void *whole = NULL;
        if (redisReaderGetReply(l->reader, &whole) != REDIS_OK) {
            return fail(l, msg, "an answer is not of the protocol, or too long");
        }
        if (whole) return OK;
        enum err err = receive(l, left, deadline_ns, msg);
        if (err) return err;
    }
}

/* ---- Connecting ---- */

static enum err connect_to(struct team_link *l, const struct team_endpoint *e, int64_t deadline_ns,
                           struct errmsg *msg)
{
    l->fd = socket(e->address.ss_family, SOCK_STREAM, 0);
    if (l->fd < 0) return fail_system(l, msg);
    if (fcntl(l->fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0) {
        return fail_system(l, msg);
    }
    int on = 1, failure = 0;
    socklen_t len = sizeof failure;
    if (e->address.ss_family != AF_UNIX) {
        (void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only makes it slower */
    }
    if (connect(l->fd, (const struct sockaddr *)&e->address, e->len) == 0) return OK;
    if (errno != EINPROGRESS) return fail_system(l, msg);
    enum err err = wait_for(l, POLLOUT, deadline_ns, msg);
    if (err) return err;
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0) return fail_system(l, msg);
    return failure ? fail(l, msg, strerror(failure)) : OK;
}

static enum err add_text(struct team_link *l, const char *command, const char *first, const char *second)
{
    const char *args[3] = {command, first, second};
    size_t lens[3] = {strlen(command), strlen(first), second ? strlen(second) : 0};
    return team_link_add(l, second ? 3 : 2, args, lens);
}

static enum err sign_in(struct team_link *l, const struct team_address *a, int64_t deadline_ns,
                        struct errmsg *msg)
{
    char database[16];
    int32_t n = 0;
    enum err err = OK;
    if (a->password) {
        err = a->user ? add_text(l, "AUTH", a->user, a->password) : add_text(l, "AUTH", a->password, NULL);
        n++;
    }
    /* Database 0 is selected as well: servers that want a password say so in answer to short commands. */
    snprintf(database, sizeof database, "%d", (int)a->database);
    if (!err) err = add_text(l, "SELECT", database, NULL);
    if (!err) err = team_link_exchange(l, n + 1, deadline_ns, msg);
    if (err == ERR_FORMAT) return fail(l, msg, "the server wants another password or database");
    if (err) team_link_close(l);
    return err;
}

/* A connection on which nothing was asked has nothing to say: the server closed it, or makes no sense. */
static bool is_usable(const struct team_link *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    return l->fd >= 0 && poll(&p, 1, 0) == 0;
}

enum err team_link_connect(struct team_link *l, const struct team_address *a, int64_t deadline_ns,
                           struct errmsg *msg)
{
    static const redisReplyObjectFunctions functions = {.createString = on_string,
                                                        .createArray = on_array,
                                                        .createInteger = on_integer,
                                                        .createNil = on_nil,
                                                        .freeObject = on_free};
    if (is_usable(l)) return OK;
    enum err err = ERR_NETWORK;
    for (int32_t i = 0; i < a->n_endpoints && err; i++) {
        team_link_close(l);
        err = connect_to(l, &a->endpoints[i], deadline_ns, msg);
    }
    if (err) return err;
    l->reader = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)&functions); /* only read */
    if (!l->reader) return fail(l, msg, "no memory");
    l->reader->privdata = &l->reply;
    return sign_in(l, a, deadline_ns, msg);
}

/* ---- Exchanges ---- */

enum err team_link_add(struct team_link *l, int32_t n_args, const char *const *args, const size_t *lens)
{
    buf_printf(&l->out, "*%d\r\n", (int)n_args);
    for (int32_t i = 0; i < n_args; i++) {
        buf_printf(&l->out, "$%zu\r\n", lens[i]);
        buf_add(&l->out, args[i], lens[i]);
        buf_add_str(&l->out, "\r\n");
    }
    return l->out.err;
}

/* A complaint's first word, its kind ("OOM", "READONLY"). What follows may repeat the command, which has a
 * password or somebody's code in it. */
static enum err refused(const struct team_reply *r, struct errmsg *msg)
{
    int len = (int)strspn(buf_str(&r->bytes), "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return err_set(msg, ERR_FORMAT, "the server refuses a command (%.*s)", len, buf_str(&r->bytes));
}

enum err team_link_exchange(struct team_link *l, int32_t n_replies, int64_t deadline_ns, struct errmsg *msg)
{
    size_t left = TEAM_EXCHANGE_MAX;
    enum err err = send_all(l, deadline_ns, msg), refusal = OK;
    for (int32_t i = 0; i < n_replies && !err; i++) {
        err = read_reply(l, &left, deadline_ns, msg);
        if (!err && l->reply.is_error) refusal = refused(&l->reply, msg);
    }
    return err ? err : refusal;
}

#endif
