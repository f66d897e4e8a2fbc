/* One daemon for each socket. See daemon_lock.h. */
#include "serve/daemon_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "os/dirs.h"

#define PATH_BYTES_MAX 4096
#define WAIT_MS        5
#define WAITS          20 /* so for a tenth of a second */

static enum err taken(int fd, const char *socket, struct errmsg *msg)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
    return err_set(msg, ERR_IO,
                   "another Inline serves %s%s%s; use that one, or end it first (kill PROCESS, or systemctl "
                   "--user stop inline)",
                   socket, *pid ? ", as process " : "", pid);
}

/* For people and messages only: the lock is what counts. */
static void write_pid(int fd)
{
    char pid[24];
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len) return;
}

/* A process that was killed loses its connections a moment before its locks, and its clients are quick to
 * start another: so a lock is waited for a little. */
static bool lock_soon(int fd)
{
    static const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000L};
    for (int i = 0; i < WAITS; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK) return false;
        nanosleep(&pause, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

static enum err make_parent(const char *socket, struct errmsg *msg)
{
    char *dir = mem_dup_str(socket), *slash = strrchr(dir, '/');
    enum err err = OK;
    if (slash && slash != dir) {
        *slash = '\0';
        err = dirs_make(dir, msg);
    }
    mem_free(dir);
    return err;
}

enum err daemon_lock_take(const char *socket, int *fd, struct errmsg *msg)
{
    struct buf path;
    enum err err = OK;
    *fd = -1;
    buf_init(&path, PATH_BYTES_MAX);
    buf_printf(&path, "%s.lock", socket);
    if (path.err) {
        err = err_set(msg, ERR_ARG, "the socket's path is too long: %.100s...", socket);
        goto out;
    }
    err = make_parent(socket, msg);
    if (err) goto out;
    *fd = open(buf_str(&path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) {
        err = err_set(msg, ERR_IO, "%s: %s", buf_str(&path), strerror(errno));
        goto out;
    }
    if (!lock_soon(*fd)) {
        err = errno == EWOULDBLOCK
                  ? taken(*fd, socket, msg)
                  : err_set(msg, ERR_IO, "%s: cannot lock: %s", buf_str(&path), strerror(errno));
        daemon_lock_release(fd);
        goto out;
    }
    write_pid(*fd);
out:
    buf_clear(&path);
    return err;
}

void daemon_lock_release(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}
