/* The directory of packs: names, locks, room.
 *
 * A pack is KEY-vVERSION.pack; KEY is weight_pack_plan.key, whose first part, up to a dash, is the model's,
 * so that packs of several precisions of a model stand side by side. While it is written it is called .part
 * and locked exclusively (flock), so that of two builders one waits, and a .part without a lock is what a
 * process left that died. Who uses a pack holds a shared lock on it; only packs without one are deleted. */
#ifndef MODEL_WEIGHT_PACK_DIR_H
#define MODEL_WEIGHT_PACK_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* DIR/KEY-vVERSION.pack, and the same for writing; the caller frees. */
char *weight_pack_dir_name(const char *dir, const char *key);
char *weight_pack_dir_part_name(const char *dir, const char *key);

/* Create, or take over, the file `part`, locked and empty. *fd is -1 while another process writes it.
 * ERR_IO: it cannot be created or locked. */
MUST_CHECK enum err weight_pack_dir_lock_part(const char *part, int *fd, struct errmsg *msg);

/* The complete file `part` (open as fd) becomes `path`; its lock becomes a shared one. */
MUST_CHECK enum err weight_pack_dir_publish(int fd, const char *part, const char *path, struct errmsg *msg);

/* Delete what dead processes left, packs of other versions for this key, and as many others, least recently
 * used first, as it takes for `bytes` more to fit below max_bytes. ERR_LIMIT, nothing but leftovers deleted:
 * they do not fit, or the disk has no room for them. */
MUST_CHECK enum err weight_pack_dir_make_room(const char *dir, const char *key, int64_t bytes,
                                              int64_t max_bytes, struct errmsg *msg);

/* Delete the packs of this model, of all precisions and versions, in use or not: those who use them keep
 * their map. Returns the bytes. */
int64_t weight_pack_dir_remove(const char *dir, const char *model_key);

#endif
