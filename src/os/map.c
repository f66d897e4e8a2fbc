/* Read-only memory maps of whole files.
 *
 * The map is private and read-only: pages come from the page cache, are shared between processes and can
 * be dropped by the system at any time. The map keeps the file alive without its descriptor. */
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
    return OK;
}

enum err map_open(const char *path, struct map *out, struct errmsg *msg)
{
    *out = (struct map){0};
    /* O_NONBLOCK: opening a FIFO must not wait for a writer. It has no effect on regular files. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return err_set(msg, ERR_NOT_FOUND, "%s: no such file; check the path", path);
    if (fd < 0) return err_set(msg, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    enum err err = map_open_fd(fd, path, out, msg);
    close(fd);
    return err;
}

void map_close(struct map *m)
{
    if (m->data) munmap((void *)m->data, m->len);
    *m = (struct map){0};
}

void map_will_need(const struct map *m, size_t offset, size_t len)
{
    if (offset >= m->len) return;
    if (len > m->len - offset) len = m->len - offset;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t start = offset / page * page; /* the map itself starts on a page */
    posix_madvise((void *)(m->data + start), offset + len - start, POSIX_MADV_WILLNEED);
}

void map_drop(const struct map *m, size_t offset, size_t len)
{
    if (offset >= m->len) return;
    if (len > m->len - offset) len = m->len - offset;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t start = (offset + page - 1) / page * page, end = (offset + len) / page * page;
    /* The map is read-only, so that nothing is lost. (posix_madvise may treat DONTNEED as a no-op.) */
    if (start < end) madvise((void *)(m->data + start), end - start, MADV_DONTNEED);
}
