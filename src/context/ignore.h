/* Files that a project does not want looked at: .gitignore and .inlineignore, in git's syntax
 * (gitignore(5)). One owner; reading from any thread. */
#ifndef CONTEXT_IGNORE_H
#define CONTEXT_IGNORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct ignore;

struct ignore *ignore_new(void);
void ignore_free(struct ignore **i);

/* Add the patterns of an ignore file that stands in `dir`, relative to the root ("" for the root itself).
 * Later ones win over earlier ones; those of deeper folders must come after those above. Bounded: what is too
 * much is left out. */
void ignore_add(struct ignore *i, const char *dir, const char *text, size_t len);

/* Whether a path relative to the root is left out. Asks for the path alone: a file in a folder that is left
 * out must not be asked for. */
bool ignore_has(const struct ignore *i, const char *path, bool is_dir);

#endif
