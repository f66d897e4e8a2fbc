/* `inline lsp`: an editor's standard input and output joined to the daemon, whole messages at a time.
 *
 * One thread, four descriptors, poll. Messages pass unchanged; attach_memory listens, and when the daemon
 * goes away the editor's open questions are answered with null, the next daemon is told what it must know,
 * and the editor notices a pause. Neither side can make the other's bytes pile up here: who does not take
 * what it was sent is not read for the other. */
#include "serve/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "os/clock.h"
#include "serve/attach_link.h"
#include "serve/attach_memory.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_rpc.h"

#define READ_BYTES  ((size_t)64 << 10)
#define HIGH_WATER  ((size_t)1 << 20)        /* unsent bytes beyond which the other side is not read */
#define UNSENT_MAX  (4 * LSP_FRAME_BODY_MAX) /* those, one message more, and a replay */
#define FAST_LOSSES 5                        /* so many daemons lost within ... */
#define FAST_MS     60000.0                  /* ... a minute: something that we replay kills them */

/* Bytes on their way to a descriptor. */
struct outlet {
    int fd;
    struct buf bytes;
    size_t sent;
};

struct attach {
    struct attach_link link;
    struct attach_memory memory;
    struct lsp_frame from_editor, from_daemon;
    struct outlet editor, daemon; /* daemon.fd is -1 while there is none */
    int n_losses;
    int64_t first_loss_ns;
    bool is_over;
};

/* --- Bytes out --------------------------------------------------------------------------------------- */

static size_t unsent(const struct outlet *o)
{
    return o->bytes.len - o->sent;
}

/* Send what can be sent without waiting. False: nobody reads there any more. */
static bool flush(struct outlet *o)
{
    while (unsent(o) > 0) {
        ssize_t n = write(o->fd, o->bytes.data + o->sent, unsent(o));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
        o->sent += (size_t)n;
    }
    o->sent = 0;
    if (o->bytes.cap > HIGH_WATER) {
        buf_clear(&o->bytes);
    } else {
        buf_reset(&o->bytes);
    }
    return true;
}

/* --- The daemon goes and comes ----------------------------------------------------------------------- */

static enum err connect_daemon(struct attach *a, struct errmsg *msg)
{
    enum err err = attach_link_open(&a->link, &a->daemon.fd, msg);
    if (!err) attach_memory_replay(&a->memory, &a->daemon.bytes);
    return err;
}

static void drop_daemon(struct attach *a)
{
    if (a->daemon.fd >= 0) close(a->daemon.fd);
    a->daemon.fd = -1;
    a->daemon.sent = 0;
    buf_clear(&a->daemon.bytes);
    lsp_frame_clear(&a->from_daemon);
    lsp_frame_init(&a->from_daemon);
}

static enum err replace_daemon(struct attach *a, struct errmsg *msg)
{
    drop_daemon(a);
    attach_memory_on_loss(&a->memory, &a->editor.bytes);
    if (a->memory.is_shut_down) return OK; /* nothing but exit will come */
    log_line(LOG_WARN, "the daemon went away; connecting again");
    if (a->n_losses == 0 || clock_ms_since(a->first_loss_ns) > FAST_MS) {
        a->n_losses = 0;
        a->first_loss_ns = clock_ns();
    }
    if (++a->n_losses > FAST_LOSSES)
        return err_set(msg, ERR_IO, "the daemon ended %d times within a minute", a->n_losses);
    (void)flush(&a->editor); /* the answers need not wait for the next daemon */
    return connect_daemon(a, msg);
}

/* --- Messages ---------------------------------------------------------------------------------------- */

static void take_from_editor(struct attach *a, const char *body, size_t len)
{
    struct lsp_message m;
    lsp_rpc_read(body, len, &m);
    bool passes = attach_memory_from_editor(&a->memory, &m, body, len);
    if (passes && a->daemon.fd >= 0) lsp_frame_write(body, len, &a->daemon.bytes);
    if (m.kind == LSP_RPC_NOTIFICATION && strcmp(m.method, "exit") == 0) a->is_over = true;
    lsp_rpc_clear(&m);
}

static void take_from_daemon(struct attach *a, const char *body, size_t len)
{
    struct lsp_message m;
    lsp_rpc_read(body, len, &m);
    if (attach_memory_from_daemon(&a->memory, &m)) lsp_frame_write(body, len, &a->editor.bytes);
    lsp_rpc_clear(&m);
}

/* Hand each whole message in these bytes to fn. False: it is not the protocol. */
static bool take_all(struct attach *a, struct lsp_frame *f, const char *bytes, size_t len,
                     void (*fn)(struct attach *a, const char *body, size_t len))
{
    while (len > 0 && !a->is_over) {
        size_t used;
        enum lsp_frame_state state = lsp_frame_take(f, bytes, len, &used);
        if (state == LSP_FRAME_BROKEN) return false;
        if (state == LSP_FRAME_WHOLE) fn(a, buf_str(&f->body), f->body.len);
        bytes += used;
        len -= used;
    }
    return true;
}

static enum err read_editor(struct attach *a, char *scratch, struct errmsg *msg)
{
    ssize_t n = read(STDIN_FILENO, scratch, READ_BYTES);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return OK;
    if (n <= 0) {
        a->is_over = true;
        return OK;
    }
    if (take_all(a, &a->from_editor, scratch, (size_t)n, take_from_editor)) return OK;
    return err_set(msg, ERR_FORMAT, "standard input is not the language server protocol: %s",
                   a->from_editor.fault.text);
}

static enum err read_daemon(struct attach *a, char *scratch, struct errmsg *msg)
{
    ssize_t n = read(a->daemon.fd, scratch, READ_BYTES);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return OK;
    if (n > 0 && take_all(a, &a->from_daemon, scratch, (size_t)n, take_from_daemon)) return OK;
    return replace_daemon(a, msg);
}

/* --- The loop ---------------------------------------------------------------------------------------- */

enum { EDITOR_IN, EDITOR_OUT, DAEMON, N_POLLED };

/* Poll skips what has a negative descriptor; of the others it reports errors whatever is asked. */
static void choose(const struct attach *a, struct pollfd fds[N_POLLED])
{
    bool daemon_has_room = unsent(&a->daemon) < HIGH_WATER;
    bool editor_has_room = unsent(&a->editor) < HIGH_WATER;
    fds[EDITOR_IN] = (struct pollfd){.fd = daemon_has_room ? STDIN_FILENO : -1, .events = POLLIN};
    fds[EDITOR_OUT] = (struct pollfd){.fd = a->editor.fd, .events = unsent(&a->editor) ? POLLOUT : 0};
    fds[DAEMON] = (struct pollfd){.fd = a->daemon.fd};
    if (editor_has_room) fds[DAEMON].events |= POLLIN;
    if (unsent(&a->daemon)) fds[DAEMON].events |= POLLOUT;
}

/* One round: what is ready is read, then everything is sent that can be. */
static enum err serve_once(struct attach *a, char *scratch, struct errmsg *msg)
{
    struct pollfd fds[N_POLLED];
    enum err err = OK;
    choose(a, fds);
    if (poll(fds, N_POLLED, -1) < 0) return errno == EINTR ? OK : err_set(msg, ERR_IO, "%s", strerror(errno));
    if (fds[EDITOR_OUT].revents & (POLLERR | POLLNVAL)) a->is_over = true;
    if (fds[DAEMON].revents & ~POLLOUT) err = read_daemon(a, scratch, msg);
    if (!err && fds[EDITOR_IN].revents) err = read_editor(a, scratch, msg);
    if (!err && a->daemon.fd >= 0 && !flush(&a->daemon)) err = replace_daemon(a, msg);
    if (!flush(&a->editor)) a->is_over = true;
    if (!err && (a->editor.bytes.err || a->daemon.bytes.err))
        err = err_set(msg, ERR_LIMIT, "the editor's documents are too large to be passed on");
    return err;
}

enum err attach_run(const char *socket, char *const *argv, struct errmsg *msg)
{
    char scratch[READ_BYTES];
    struct attach a = {.editor.fd = STDOUT_FILENO, .daemon.fd = -1};
    signal(SIGPIPE, SIG_IGN);
    attach_link_init(&a.link, socket, argv);
    attach_memory_init(&a.memory);
    lsp_frame_init(&a.from_editor);
    lsp_frame_init(&a.from_daemon);
    buf_init(&a.editor.bytes, UNSENT_MAX);
    buf_init(&a.daemon.bytes, UNSENT_MAX);
    int flags = fcntl(STDOUT_FILENO, F_GETFL);
    fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK);

    enum err err = connect_daemon(&a, msg);
    while (!err && !a.is_over) err = serve_once(&a, scratch, msg);
    if (a.daemon.fd >= 0) (void)flush(&a.daemon); /* "exit"; the daemon would also notice us gone */
    (void)flush(&a.editor);
    if (!err && !a.memory.is_shut_down)
        err = err_set(msg, ERR_IO, "the editor left without asking for shutdown");
    fcntl(STDOUT_FILENO, F_SETFL, flags); /* the terminal may be shared with the shell */
    drop_daemon(&a);
    buf_clear(&a.editor.bytes);
    lsp_frame_clear(&a.from_editor);
    lsp_frame_clear(&a.from_daemon);
    attach_memory_clear(&a.memory);
    attach_link_clear(&a.link);
    return err;
}
