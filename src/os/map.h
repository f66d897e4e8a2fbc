/* Read-only memory maps of whole files. */
#ifndef OS_MAP_H
#define OS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
/* Tolerates a zeroed map. Nobody may be reading the map any more. */
void map_close(struct map *m);

/* A page could not be given, because the file was truncated or its disk failed. From then on all of the map
 * may read as zeros, and so is wrong; nothing else happens to whoever reads it. True for ever once it is. Any
 * thread; an atomic load. A page that the file's new end lies in becomes zeros in part without a fault: who
 * wants to know of that too compares sizes (file_id). (map_open takes over SIGBUS; faults elsewhere
 * go to the handler that was there before.) */
bool map_is_lost(const struct map *m);

/* Ask the system to read [offset, offset + len) ahead, in the background. */
void map_will_need(const struct map *m, size_t offset, size_t len);

/* Give back the memory of the whole pages in [offset, offset + len). They may be used again at any time and
 * then come from the page cache or the disk. */
void map_drop(const struct map *m, size_t offset, size_t len);

/* How a part of the map will be read, for whoever comes to a page that is not in memory. */
enum map_use {
    MAP_PIECES, /* a little here and there: nothing beside it is read along */
    MAP_WHOLE   /* all of it: in large pieces, and into large pages where the system has them for files */
};
void map_expect(const struct map *m, size_t offset, size_t len, enum map_use use);

/* Bring [offset, offset + len) into memory, ready for use; waits for the disk. False: some of it cannot be
 * had; reading it would lose the map. Any thread. */
bool map_populate(const struct map *m, size_t offset, size_t len);

/* Keep the pages of [offset, offset + len) in memory until map_unlock. False: the system does not allow it.
 */
bool map_lock(const struct map *m, size_t offset, size_t len);
void map_unlock(const struct map *m, size_t offset, size_t len);

/* Bytes that are in memory, from the start of offset's page to offset + len. (Of files that this user may not
 * write, some systems say that all is.) */
int64_t map_resident(const struct map *m, size_t offset, size_t len);

#endif
