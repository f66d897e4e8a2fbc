/* Connecting, and starting what to connect to. See attach_link.h.
 *
 * Any number of us may find no daemon at the same time. Each starts one; the lock beside the socket
 * (daemon_lock.h) lets one of those live, and everybody connects to that. A daemon that is about to leave
 * holds its lock for a while without answering, so after a pause one more is started. */
#include "serve/attach_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/process.h"

#define PATIENCE_MS    10000.0
#define WAIT_FIRST_MS  5                  /* a daemon listens a few milliseconds after its start */
#define WAIT_MAX_MS    100                /* between attempts */
#define START_AGAIN_MS 1000.0             /* and after twice as long the next time */
#define ANSWER_S       5                  /* for the daemon to take the connection */
#define ANSWER_MAX     4096               /* bytes of its answer's head */
#define LOG_MAX        ((int64_t)1 << 20) /* bytes after which the daemon's log begins anew */

static const char upgrade[] = "GET /lsp HTTP/1.1\r\n"
                              "Host: localhost\r\n"
                              "Connection: Upgrade\r\n"
                              "Upgrade: lsp\r\n\r\n";

void attach_link_init(struct attach_link *l, const char *socket, char *const *args)
{
    /* Now: a program that is replaced while it runs has no path any more. */
    *l = (struct attach_link){.socket = socket, .args = args, .program = process_program()};
}

void attach_link_clear(struct attach_link *l)
{
    mem_free(l->program);
    *l = (struct attach_link){0};
}

/* Read up to the end of an HTTP head, not a byte more: what follows is the protocol's. */
static bool read_head(int fd, char *head, size_t size)
{
    size_t n = 0;
    while (n + 1 < size) {
        ssize_t got = recv(fd, head + n, 1, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        head[++n] = '\0';
        if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0) return true;
    }
    return false;
}

/* The socket's HTTP connection becomes ours. */
static enum err shake_hands(int fd, const char *socket, struct errmsg *msg)
{
    char head[ANSWER_MAX] = "";
    static const char agreed[] = "HTTP/1.1 101 ";
    if (send(fd, upgrade, sizeof upgrade - 1, MSG_NOSIGNAL) != (ssize_t)sizeof upgrade - 1 ||
        !read_head(fd, head, sizeof head))
        return err_set(msg, ERR_IO, "%s: the daemon does not answer", socket);
    if (strncmp(head, agreed, sizeof agreed - 1) == 0) return OK;
    head[strcspn(head, "\r\n")] = '\0';
    return err_set(msg, ERR_IO, "%s: the daemon answers \"%s\"; is it of another version?", socket, head);
}

enum err attach_link_connect(const char *path, int *out, struct errmsg *msg)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path)
        return err_set(msg, ERR_ARG, "%s: a socket's path may have %zu bytes; choose a shorter one", path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    struct timeval limit = {.tv_sec = ANSWER_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    enum err err = OK;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        err = err_set(msg, errno == ENOENT || errno == ECONNREFUSED ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path,
                      strerror(errno));
    }
    if (!err) err = shake_hands(fd, path, msg);
    if (!err) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        *out = fd;
    } else {
        close(fd);
    }
    return err;
}

static enum err start(const struct attach_link *l, const char *log, struct errmsg *msg)
{
    if (!*l->program) return err_set(msg, ERR_IO, "no daemon runs; start one with: inline serve");
    if (file_size(log) > LOG_MAX) unlink(log);
    return process_start_detached(l->program, l->args, log, msg);
}

static void wait_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* Connect, again and again, starting a daemon first and then from time to time. */
static enum err open_patiently(const struct attach_link *l, const char *log, int *fd, struct errmsg *msg)
{
    int64_t begin = clock_ns();
    int pause = WAIT_FIRST_MS;
    double next_start = 0;
    for (;;) {
        enum err err = attach_link_connect(l->socket, fd, msg);
        double waited = clock_ms_since(begin);
        if (!err || err == ERR_ARG) return err;
        if (waited > PATIENCE_MS) break;
        if (err == ERR_NOT_FOUND && waited >= next_start) {
            err = start(l, log, msg);
            if (err) return err;
            next_start = next_start > 0 ? next_start * 2 : START_AGAIN_MS;
        }
        wait_ms(pause);
        if (pause < WAIT_MAX_MS) pause *= 2;
    }
    struct errmsg last = *msg;
    return err_set(msg, ERR_IO, "no daemon answers (%.300s); what it says is in %s", last.text, log);
}

enum err attach_link_open(struct attach_link *l, int *fd, struct errmsg *msg)
{
    char *dir = dirs_path(DIR_CACHE, NULL), *log = dirs_path(DIR_CACHE, "daemon.log");
    enum err err = dirs_make(dir, msg);
    if (!err) err = open_patiently(l, log, fd, msg);
    mem_free(log);
    mem_free(dir);
    return err;
}
