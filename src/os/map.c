/* Read-only memory maps of whole files.
 *
 * The map is private and read-only: pages come from the page cache, are shared between processes and can
 * be dropped by the system at any time. The map keeps the file alive without its descriptor. A page that
 * cannot be had does not end the process: map_guard.h. */
#include "os/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "os/map_guard.h"
#include "os/pages.h"

enum err map_open_fd(int fd, const char *path, struct map *out, struct errmsg *msg)
{
    struct stat st;
    *out = (struct map){0};
    if (fstat(fd, &st) != 0) return err_set(msg, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return err_set(msg, ERR_FORMAT, "%s: not a regular file; name a file", path);
    if (st.st_size == 0) return OK;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        return err_set(msg, ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size,
                       strerror(errno));
    }
    *out = (struct map){.data = data, .len = (size_t)st.st_size};
    out->guard = map_guard_add(data, out->len);
    return OK;
}

enum err map_open(const char *path, struct map *out, struct errmsg *msg)
{
    int fd;
    *out = (struct map){0};
    enum err err = file_open(path, &fd, msg);
    if (err) return err;
    err = map_open_fd(fd, path, out, msg);
    close(fd);
    return err;
}

bool map_is_lost(const struct map *m)
{
    return map_guard_is_lost(m->guard);
}

void map_close(struct map *m)
{
    map_guard_remove(m->guard);
    if (m->data) munmap((void *)m->data, m->len);
    *m = (struct map){0};
}

/* The pages that [offset, offset + len) touches, inside the map, which itself starts on a page. */
struct span {
    unsigned char *start;
    size_t len; /* 0: none */
};

static struct span pages_of(const struct map *m, size_t offset, size_t len)
{
    if (offset >= m->len || len == 0) return (struct span){0};
    if (len > m->len - offset) len = m->len - offset;
    size_t start = offset / pages_size() * pages_size();
    return (struct span){.start = (unsigned char *)m->data + start, .len = offset + len - start};
}

void map_will_need(const struct map *m, size_t offset, size_t len)
{
    struct span s = pages_of(m, offset, len);
    if (s.len) posix_madvise(s.start, s.len, POSIX_MADV_WILLNEED);
}

void map_drop(const struct map *m, size_t offset, size_t len)
{
    if (offset >= m->len) return;
    if (len > m->len - offset) len = m->len - offset;
    size_t page = pages_size();
    size_t start = (offset + page - 1) / page * page, end = (offset + len) / page * page;
    if (offset + len == m->len) end = (m->len + page - 1) / page * page;
    /* The map is read-only, so that nothing is lost. (posix_madvise may treat DONTNEED as a no-op.) */
    if (start < end) madvise((void *)(m->data + start), end - start, MADV_DONTNEED);
}

/* On Linux, a page of a range advised as for huge pages is read as 2 MB whatever the disk's read-ahead is,
 * and lies in the page cache as one piece where the file system can do that (XFS, ext4 since 6.16). Reading
 * into large pieces costs a twentieth of the processor time that reading into single pages does. */
void map_expect(const struct map *m, size_t offset, size_t len, enum map_use use)
{
    struct span s = pages_of(m, offset, len);
    if (!s.len) return;
    posix_madvise(s.start, s.len, use == MAP_PIECES ? POSIX_MADV_RANDOM : POSIX_MADV_NORMAL);
    if (use == MAP_WHOLE) pages_prefer_huge(s.start, s.len);
}

/* Touching is what every system can do. A page that cannot be had is caught by the guard. */
static bool touch(const struct map *m, struct span s)
{
    volatile const unsigned char *bytes = s.start;
    for (size_t i = 0; i < s.len && !map_is_lost(m); i += pages_size()) (void)bytes[i];
    return !map_is_lost(m);
}

bool map_populate(const struct map *m, size_t offset, size_t len)
{
    struct span s = pages_of(m, offset, len);
    if (!s.len) return true;
#ifdef MADV_POPULATE_READ
    /* Since Linux 5.14. EFAULT: it cannot be read; EINVAL: an older kernel. */
    int failure;
    do failure = madvise(s.start, s.len, MADV_POPULATE_READ) ? errno : 0;
    while (failure == EINTR || failure == EAGAIN);
    if (failure != EINVAL) return failure == 0;
#endif
    return touch(m, s);
}

bool map_lock(const struct map *m, size_t offset, size_t len)
{
    struct span s = pages_of(m, offset, len);
    return !s.len || mlock(s.start, s.len) == 0;
}

void map_unlock(const struct map *m, size_t offset, size_t len)
{
    struct span s = pages_of(m, offset, len);
    if (s.len) munlock(s.start, s.len);
}

int64_t map_resident(const struct map *m, size_t offset, size_t len)
{
    struct span s = pages_of(m, offset, len);
    unsigned char is_there[4096]; /* of as many pages at once */
    size_t page = pages_size(), step = sizeof is_there * page;
    int64_t bytes = 0;
    for (size_t at = 0; at < s.len; at += step) {
        size_t end = s.len - at < step ? s.len : at + step;
        if (mincore(s.start + at, end - at, (void *)is_there) != 0) continue;
        for (size_t i = at; i < end; i += page) {
            if (is_there[(i - at) / page] & 1) bytes += (int64_t)(end - i < page ? end - i : page);
        }
    }
    return bytes;
}
