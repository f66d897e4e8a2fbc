/* Read-only memory maps of whole files. */
#ifndef OS_MAP_H
#define OS_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct map_guard; /* private */

struct map {
    const unsigned char *data; /* null for an empty file */
    size_t len;                /* bytes */
    struct map_guard *guard;   /* of the pages; or null */
};

/* ERR_NOT_FOUND, ERR_IO (with errno's text), ERR_FORMAT if path is not a regular file. The map stays
 * valid when the file is unlinked. */
MUST_CHECK enum err map_open(const char *path, struct map *out, struct errmsg *msg);
/* The same of an open file; path is for messages. The descriptor may be closed while the map lives. */
MUST_CHECK enum err map_open_fd(int fd, const char *path, struct map *out, struct errmsg *msg);
void map_close(struct map *m); /* tolerates a zeroed map */

/* A page could not be given, because the file was truncated or its disk failed. What is read of such pages is
 * zeros, and so is wrong; nothing else happens to whoever reads them. True for ever once it is. Any thread;
 * an atomic load. (The first map_open of a process takes over SIGBUS; faults elsewhere go to the handler that
 * was there before.) */
bool map_is_lost(const struct map *m);

/* Ask the system to read [offset, offset + len) ahead, in the background. */
void map_will_need(const struct map *m, size_t offset, size_t len);

/* Give back the memory of the whole pages in [offset, offset + len). They may be used again at any time and
 * then come from the page cache or the disk. */
void map_drop(const struct map *m, size_t offset, size_t len);

#endif
