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

/* Replace path by bytes: written beside it, synced, renamed. */
MUST_CHECK enum err file_write(const char *path, const void *bytes, size_t len, struct errmsg *msg);

/* Give the complete file `from` the name `to` (same file system), replacing what is there; both the bytes
 * and the name are on disk before it returns. */
MUST_CHECK enum err file_rename(const char *from, const char *to, struct errmsg *msg);

/* Size in bytes, or -1 if path is not a regular file. */
int64_t file_size(const char *path);

/* Bytes that an unprivileged user can still write where path lies (its directory must exist); -1 unknown. */
int64_t file_free_space(const char *path);

#endif
