/* Folders' changes by inotify(7). Events come in blocks, which are read into `block` and handed out one by
 * one; names point into it. An eventfd beside the queue lets another thread end the wait. Watch numbers of
 * the system serve as those of notify_add. */
#include "os/notify.h"

#include "base/mem.h"

#ifdef __linux__

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdalign.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define BLOCK_BYTES (64 * (sizeof(struct inotify_event) + NAME_MAX + 1)) /* 64 of the longest events */

/* A file counts as changed when its writer closes it, not at each write; attributes are not looked at. */
#define WATCHED                                                                                              \
    (IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF |  \
     IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK)

struct notify {
    int queue, waker; /* file descriptors */
    size_t at, len;   /* of block */
    alignas(struct inotify_event) char block[BLOCK_BYTES];
};

struct notify *notify_new(void)
{
    struct notify *n = MEM_NEW(struct notify);
    n->queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    n->waker = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (n->queue < 0 || n->waker < 0) notify_free(&n);
    return n;
}

void notify_free(struct notify **n)
{
    if (!*n) return;
    if ((*n)->queue >= 0) close((*n)->queue);
    if ((*n)->waker >= 0) close((*n)->waker);
    mem_free(*n);
    *n = NULL;
}

int32_t notify_add(struct notify *n, const char *path)
{
    return inotify_add_watch(n->queue, path, WATCHED);
}

void notify_remove(struct notify *n, int32_t dir)
{
    inotify_rm_watch(n->queue, dir);
}

/* Take the next event of the block. False: it tells callers nothing. */
static bool take(struct notify *n, struct notify_event *out)
{
    const struct inotify_event *e = (const struct inotify_event *)(const void *)(n->block + n->at);
    n->at += sizeof *e + e->len;
    if (e->mask & IN_Q_OVERFLOW) {
        *out = (struct notify_event){.dir = -1, .name = ""};
        return true;
    }
    if (e->mask & (IN_IGNORED | IN_UNMOUNT)) return false;
    bool is_self = e->mask & (IN_DELETE_SELF | IN_MOVE_SELF);
    *out = (struct notify_event){.dir = e->wd,
                                 .name = e->len ? e->name : "",
                                 .is_dir = is_self || (e->mask & IN_ISDIR),
                                 .is_gone = is_self || (e->mask & (IN_DELETE | IN_MOVED_FROM))};
    return true;
}

/* Wait until there is something to read. False: time is up, or woken; who wakes is heard once all that
 * happened before has been told. */
static bool wait_for(struct notify *n, int32_t timeout_ms)
{
    struct pollfd fds[] = {{.fd = n->queue, .events = POLLIN}, {.fd = n->waker, .events = POLLIN}};
    int ready;
    do {
        ready = poll(fds, 2, timeout_ms < 0 ? -1 : timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) return false;
    if (fds[0].revents) return true;
    uint64_t count;
    while (read(n->waker, &count, sizeof count) < 0 && errno == EINTR) continue;
    return false;
}

bool notify_next(struct notify *n, int32_t timeout_ms, struct notify_event *out)
{
    for (;;) {
        while (n->at < n->len) {
            if (take(n, out)) return true;
        }
        if (!wait_for(n, timeout_ms)) return false;
        ssize_t got = read(n->queue, n->block, sizeof n->block);
        n->at = 0;
        n->len = got > 0 ? (size_t)got : 0;
    }
}

void notify_wake(struct notify *n)
{
    uint64_t one = 1;
    while (write(n->waker, &one, sizeof one) < 0 && errno == EINTR) continue;
}

#else

struct notify *notify_new(void)
{
    return NULL;
}

void notify_free(struct notify **n)
{
    *n = NULL;
}

int32_t notify_add(struct notify *n, const char *path)
{
    (void)n, (void)path;
    return -1;
}

void notify_remove(struct notify *n, int32_t dir)
{
    (void)n, (void)dir;
}

bool notify_next(struct notify *n, int32_t timeout_ms, struct notify_event *out)
{
    (void)n, (void)timeout_ms, (void)out;
    return false;
}

void notify_wake(struct notify *n)
{
    (void)n;
}

#endif
