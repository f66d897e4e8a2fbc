/* The user's installed models: GGUF files in one directory. A model's name is its file name without
 * ".gguf". The directory may be edited by hand at any time; nothing else is kept about it.
 *
 * `dir` is that directory; null or "" means $XDG_DATA_HOME/inline/models. */
#ifndef MODEL_LIBRARY_H
#define MODEL_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Find a model by what the user typed: a path (it contains '/', or is a file that ends in .gguf), or the
 * name of an installed model (case is ignored; a unique start of a name will do). The caller frees *path
 * with mem_free. ERR_NOT_FOUND says how to get the model or names the nearest; ERR_ARG: ambiguous. */
MUST_CHECK enum err library_find(const char *dir, const char *name, char **path, struct errmsg *msg);

/* The model to use when the user named none: the first installed one in the catalogue's order, else the
 * largest. ERR_NOT_FOUND: nothing is installed. The caller frees *path. */
MUST_CHECK enum err library_default(const char *dir, char **path, struct errmsg *msg);

struct library_entry {
    char *name; /* owned */
    char *path; /* owned */
    int64_t bytes;
};
/* Installed models sorted by name; the caller frees with library_list_free. An absent directory is empty. */
MUST_CHECK enum err library_list(const char *dir, struct library_entry **out, int32_t *n, struct errmsg *msg);
void library_list_free(struct library_entry *list, int32_t n);

/* Where a model of this name is or will be installed; the directory is created. ERR_ARG: the name is not
 * one (letters, digits, '.', '_', '-'), or is taken and may not be replaced. The caller frees *path. */
MUST_CHECK enum err library_place(const char *dir, const char *name, bool replace, char **path,
                                  struct errmsg *msg);

/* OK if the file is a model that Inline can run: opened and validated as for use. */
MUST_CHECK enum err library_validate(const char *path, struct errmsg *msg);

/* Install a copy of a GGUF file under a name (null: from the file's), validated first. A hard link is made
 * where the file system can, so that importing costs neither time nor space. *path is the installed file;
 * the caller frees it. */
MUST_CHECK enum err library_import(const char *dir, const char *file, const char *name, bool replace,
                                   char **path, struct errmsg *msg);

/* Delete an installed model (by its full name; case is ignored) and the remains of an interrupted
 * download of it. */
MUST_CHECK enum err library_remove(const char *dir, const char *name, struct errmsg *msg);

#endif
