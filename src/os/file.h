/* Whole files. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Append the whole of path ("-" is standard input) to out, at most out->max bytes in all. ERR_NOT_FOUND,
 * ERR_IO, ERR_LIMIT; the message names the path. */
MUST_CHECK enum err file_read(const char *path, struct buf *out, struct errmsg *msg);

/* The first size - 1 bytes of path, NUL-terminated, without allocating: for the small pseudo-files in which
 * the system describes itself. Returns the length; 0 with an empty string if path cannot be read. */
size_t file_read_head(const char *path, char *out, size_t size);

/* Replace path by bytes: written beside it, synced, renamed. ERR_NOT_FOUND: no such directory; ERR_LIMIT: no
 * space, or a larger file than this user may write; ERR_IO. */
MUST_CHECK enum err file_write(const char *path, const void *bytes, size_t len, struct errmsg *msg);

/* The same from several parts, but not synced: cheap, for caches. After a crash of the machine path may hold
 * anything, so readers must verify what they read. Until then they see the old bytes or the new ones. What is
 * written beside path until it is complete is named path + "." + FILE_TEMP_LEN characters. */
struct file_part {
    const void *bytes;
    size_t len;
};
#define FILE_TEMP_LEN 6
MUST_CHECK enum err file_write_parts(const char *path, const struct file_part *parts, size_t n_parts,
                                     struct errmsg *msg);

/* Give the complete file `from` the name `to` (same file system), replacing what is there; both the bytes
 * and the name are on disk before it returns. */
MUST_CHECK enum err file_rename(const char *from, const char *to, struct errmsg *msg);

/* Size in bytes, or -1 if path is not a regular file. */
int64_t file_size(const char *path);

/* Open a file to read it. ERR_NOT_FOUND, ERR_IO; the message names the path. Never waits: of a FIFO too there
 * is a descriptor at once. */
MUST_CHECK enum err file_open(const char *path, int *fd, struct errmsg *msg);

/* Which file it is and whether it was written to: two that are the same hold the same bytes, unless somebody
 * set the times back. All zero: there is none. The times are only as fine as the system's clock tick (up to
 * 10 ms; much finer on Linux from 6.13 on): of two writes within a tick of each other the second does not
 * show. */
struct file_id {
    uint64_t device, inode;
    int64_t size, written_ns, changed_ns; /* st_mtim, st_ctim */
};
struct file_id file_id(const char *path);
struct file_id file_id_fd(int fd);
/* The same, and nothing happened to it: neither to its bytes nor to its names, links or permissions. */
bool file_id_is_same(const struct file_id *a, const struct file_id *b);
/* Another file, rather than the same one with other bytes. */
bool file_id_is_other(const struct file_id *a, const struct file_id *b);
/* Of the same file: its bytes may differ. Not asked of changed_ns, which renaming, linking and chmod change
 * too. */
bool file_id_is_rewritten(const struct file_id *before, const struct file_id *now);

/* When path was last written or touched, in nanoseconds since 1970; -1 if there is no such file. */
int64_t file_time_ns(const char *path);
void file_touch(const char *path); /* sets that time to now; failures do not matter */

/* Bytes that an unprivileged user can still write where path lies (its directory must exist); -1 unknown. */
int64_t file_free_space(const char *path);

#endif
