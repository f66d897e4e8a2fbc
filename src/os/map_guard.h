/* What happens when a page of a mapped file cannot be given. Part of map.c: nothing else includes this.
 *
 * The kernel raises SIGBUS in the thread that reads such a page. A handler looks the address up; where it
 * lies in a guarded map, zeros are put in place of the whole map, the map is marked as lost and the thread
 * goes on. All other faults go to the handler that was there before. Who installs one later must pass on what
 * is not its own, as is the custom; adding a guard then puts ours first again. */
#ifndef OS_MAP_GUARD_H
#define OS_MAP_GUARD_H

#include <stdbool.h>
#include <stddef.h>

struct map_guard;

/* Guard the pages of a read-only map. Null: there are too many maps; this one works, but unguarded. */
struct map_guard *map_guard_add(const void *start, size_t len);
/* Before the pages are unmapped; nobody may be reading them. Tolerates null. */
void map_guard_remove(struct map_guard *g);
bool map_guard_is_lost(const struct map_guard *g); /* any thread; a null one never is */

#endif
