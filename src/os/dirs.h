/* Where things live on disk (XDG base directory specification). */
#ifndef OS_DIRS_H
#define OS_DIRS_H

#include "base/err.h"

enum dir_kind {
    DIR_CONFIG, /* $XDG_CONFIG_HOME/inline, else ~/.config/inline */
    DIR_DATA,   /* $XDG_DATA_HOME/inline, else ~/.local/share/inline */
    DIR_STATE,  /* $XDG_STATE_HOME/inline, else ~/.local/state/inline */
    DIR_CACHE,  /* $XDG_CACHE_HOME/inline, else ~/.cache/inline */
    DIR_RUNTIME /* $XDG_RUNTIME_DIR/inline, else /tmp/inline-UID: sockets; see dirs_make_private */
};

/* The directory's path, "" + name appended with '/' unless name is null. The caller frees with mem_free.
 * Never fails: without HOME, the user's entry in the password file is used, then /tmp/inline-UID. */
char *dirs_path(enum dir_kind kind, const char *name);

/* Create path and its missing parents, mode 0700. */
MUST_CHECK enum err dirs_make(const char *path, struct errmsg *msg);

/* The same, and ERR_IO if the directory is not ours, or open to others: in /tmp anybody may have made it. */
MUST_CHECK enum err dirs_make_private(const char *path, struct errmsg *msg);

/* Call fn with the name of each entry but "." and "..", in no particular order; fn may remove entries.
 * ERR_NOT_FOUND, ERR_IO. */
MUST_CHECK enum err dirs_list(const char *path, void (*fn)(void *ctx, const char *name), void *ctx,
                              struct errmsg *msg);

#endif
