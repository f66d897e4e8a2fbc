/* Whole files: reading, atomic replacement, sizes.
 *
 * file_write never leaves a half-written file under the name: a reader sees the old bytes or the new ones,
 * also after a power cut. New files are private to the user (0600); replaced files keep their mode. */
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define READ_CHUNK 65536 /* large enough that system calls do not show, small enough for the stack */

/* read(2), restarted when a signal interrupts it. */
static ssize_t read_some(int fd, void *bytes, size_t len)
{
    ssize_t n;
    do n = read(fd, bytes, len);
    while (n < 0 && errno == EINTR);
    return n;
}

static enum err open_failed(const char *path, struct errmsg *msg)
{
    if (errno == ENOENT || errno == ENOTDIR) {
        return err_set(msg, ERR_NOT_FOUND, "%s: no such file; check the path", path);
    }
    return err_set(msg, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
}

enum err file_open(const char *path, int *fd, struct errmsg *msg)
{
    /* O_NONBLOCK has no effect on regular files. */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *fd < 0 ? open_failed(path, msg) : OK;
}

static enum err read_all(int fd, const char *name, struct buf *out, struct errmsg *msg)
{
    char chunk[READ_CHUNK];
    ssize_t n;
    while ((n = read_some(fd, chunk, sizeof chunk)) > 0 && !out->err) buf_add(out, chunk, (size_t)n);
    if (out->err == ERR_LIMIT) {
        return err_set(msg, ERR_LIMIT, "%s: larger than %zu bytes; use a smaller file", name, out->max);
    }
    if (out->err) return err_set(msg, out->err, "%s: cannot read: %s", name, err_text(out->err));
    if (n < 0) return err_set(msg, ERR_IO, "%s: cannot read: %s", name, strerror(errno));
    return OK;
}

enum err file_read(const char *path, struct buf *out, struct errmsg *msg)
{
    if (strcmp(path, "-") == 0) return read_all(STDIN_FILENO, "standard input", out, msg);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return open_failed(path, msg);
    enum err err = read_all(fd, path, out, msg);
    close(fd);
    return err;
}

size_t file_read_head(const char *path, char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        while (len + 1 < size && (n = read_some(fd, out + len, size - 1 - len)) > 0) len += (size_t)n;
        close(fd);
    }
    out[len] = '\0';
    return len;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* The directory that holds path; the caller frees. */
static char *parent_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return mem_dup_str(".");
    char *dir = mem_dup_str(path);
    dir[slash == path ? 1 : slash - path] = '\0';
    return dir;
}

/* Make the rename durable. Some file systems cannot sync a directory; the data itself is already safe. */
static void sync_parent(const char *path)
{
    char *dir = parent_dir(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    mem_free(dir);
}

static enum err write_failed(const char *path, int failure, struct errmsg *msg)
{
    if (failure == ENOENT)
        return err_set(msg, ERR_NOT_FOUND, "%s: its directory does not exist; create it", path);
    bool is_full = failure == ENOSPC || failure == EDQUOT || failure == EFBIG;
    return err_set(msg, is_full ? ERR_LIMIT : ERR_IO, "%s: cannot write: %s", path, strerror(failure));
}

/* Write the parts to fd with the mode that path has; on failure errno tells why. */
static bool write_parts(int fd, const char *path, const struct file_part *parts, size_t n_parts,
                        bool is_durable)
{
    struct stat st;
    if (stat(path, &st) == 0 && fchmod(fd, st.st_mode & 0777) != 0) return false;
    for (size_t i = 0; i < n_parts; i++) {
        if (!write_all(fd, parts[i].bytes, parts[i].len)) return false;
    }
    return !is_durable || fsync(fd) == 0;
}

static enum err replace(const char *path, const struct file_part *parts, size_t n_parts, bool is_durable,
                        struct errmsg *msg)
{
    static const char suffix[] = ".XXXXXX"; /* as mkostemp wants it */
    _Static_assert(sizeof suffix == 1 + FILE_TEMP_LEN + 1, "what the header promises");
    size_t temp_size = strlen(path) + sizeof suffix;
    char *temp = mem_new(temp_size);
    snprintf(temp, temp_size, "%s%s", path, suffix);

    int fd = mkostemp(temp, O_CLOEXEC);
    bool is_created = fd >= 0;
    bool is_written = is_created && write_parts(fd, path, parts, n_parts, is_durable);
    int failure = errno;
    /* close can report a write error too (NFS). */
    if (is_created && close(fd) != 0 && is_written) {
        failure = errno;
        is_written = false;
    }
    if (is_written && rename(temp, path) != 0) {
        failure = errno;
        is_written = false;
    }
    if (is_written && is_durable) sync_parent(path);
    if (is_created && !is_written) unlink(temp);
    mem_free(temp);
    return is_written ? OK : write_failed(path, failure, msg);
}

enum err file_write(const char *path, const void *bytes, size_t len, struct errmsg *msg)
{
    struct file_part all = {.bytes = bytes, .len = len};
    return replace(path, &all, 1, true, msg);
}

enum err file_write_parts(const char *path, const struct file_part *parts, size_t n_parts, struct errmsg *msg)
{
    return replace(path, parts, n_parts, false, msg);
}

enum err file_rename(const char *from, const char *to, struct errmsg *msg)
{
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return open_failed(from, msg);
    bool is_renamed = fsync(fd) == 0 && rename(from, to) == 0;
    int failure = errno;
    close(fd);
    if (!is_renamed) return err_set(msg, ERR_IO, "%s: cannot write: %s", to, strerror(failure));
    sync_parent(to);
    return OK;
}

int64_t file_size(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return -1;
    return st.st_size;
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct file_id id_of(const struct stat *st)
{
    return (struct file_id){.device = (uint64_t)st->st_dev,
                            .inode = (uint64_t)st->st_ino,
                            .size = st->st_size,
                            .written_ns = ns_of(st->st_mtim),
                            .changed_ns = ns_of(st->st_ctim)};
}

struct file_id file_id(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? id_of(&st) : (struct file_id){0};
}

struct file_id file_id_fd(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? id_of(&st) : (struct file_id){0};
}

bool file_id_is_same(const struct file_id *a, const struct file_id *b)
{
    return !file_id_is_other(a, b) && !file_id_is_rewritten(a, b) && a->changed_ns == b->changed_ns;
}

bool file_id_is_other(const struct file_id *a, const struct file_id *b)
{
    return a->device != b->device || a->inode != b->inode;
}

bool file_id_is_rewritten(const struct file_id *before, const struct file_id *now)
{
    return before->size != now->size || before->written_ns != now->written_ns;
}

int64_t file_time_ns(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? ns_of(st.st_mtim) : -1;
}

void file_touch(const char *path)
{
    /* The time that the system would set itself is only as fine as its timer tick. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    utimensat(AT_FDCWD, path, (struct timespec[]){now, now}, 0);
}

int64_t file_free_space(const char *path)
{
    struct statvfs fs;
    char *dir = parent_dir(path);
    bool is_known = statvfs(dir, &fs) == 0;
    mem_free(dir);
    uint64_t bytes;
    if (!is_known) return -1;
    if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &bytes)) return INT64_MAX;
    return bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}
