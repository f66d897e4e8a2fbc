/* The library of installed models: listing, finding by name, installing and removing files. */
#include "model/library.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "base/size.h"
#include "model/catalogue.h"
#include "model/download.h"
#include "model/model.h"
#include "os/dirs.h"
#include "os/file.h"

#define SUFFIX     ".gguf"
#define SUFFIX_LEN (sizeof SUFFIX - 1)
#define PATH_LIMIT 65536 /* bytes; more than any system takes */
#define NAME_LIMIT 200   /* leaves room for suffixes within the 255 bytes that file systems allow */

/* path followed by suffix; the caller frees. */
static char *with_suffix(const char *path, const char *suffix)
{
    struct buf longer;
    buf_init(&longer, PATH_LIMIT);
    buf_printf(&longer, "%s%s", path, suffix);
    return buf_take(&longer);
}

/* dir "/" name suffix; the caller frees. */
static char *join(const char *dir, const char *name, const char *suffix)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s%s", dir, name, suffix);
    return buf_take(&path);
}

static char *directory(const char *dir)
{
    return dir && *dir ? mem_dup_str(dir) : dirs_path(DIR_DATA, "models");
}

static bool has_suffix(const char *name)
{
    size_t len = strlen(name);
    return len > SUFFIX_LEN && strcasecmp(name + len - SUFFIX_LEN, SUFFIX) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcasecmp(((const struct library_entry *)a)->name, ((const struct library_entry *)b)->name);
}

void library_list_free(struct library_entry *list, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        mem_free(list[i].name);
        mem_free(list[i].path);
    }
    mem_free(list);
}

/* Append file `name` of `dir` to the list if it is a model. */
static enum err add_entry(const char *dir, const char *name, struct library_entry **list, int32_t *n)
{
    if (name[0] == '.' || !has_suffix(name)) return OK;
    char *path = join(dir, name, "");
    int64_t bytes = file_size(path);
    struct library_entry *grown = bytes < 0 ? NULL : mem_try_resize(*list, (size_t)*n + 1, sizeof **list);
    if (!grown) {
        mem_free(path);
        return bytes < 0 ? OK : ERR_NOMEM;
    }
    *list = grown;
    grown[*n] = (struct library_entry){.name = mem_dup_str(name), .path = path, .bytes = bytes};
    grown[*n].name[strlen(name) - SUFFIX_LEN] = '\0';
    ++*n;
    return OK;
}

enum err library_list(const char *dir, struct library_entry **out, int32_t *n, struct errmsg *msg)
{
    enum err err = OK;
    struct library_entry *list = NULL;
    int32_t count = 0;
    char *path = directory(dir);
    DIR *d = opendir(path);
    if (!d && errno != ENOENT) {
        err = err_set(msg, ERR_IO, "%s: cannot read the models' directory: %s", path, strerror(errno));
    }
    for (struct dirent *e; !err && d && (e = readdir(d));) {
        err = add_entry(path, e->d_name, &list, &count);
        if (err) err_set(msg, err, "%s: %s", path, err_text(err));
    }
    if (d) closedir(d);
    mem_free(path);
    if (err) {
        library_list_free(list, count);
        return err;
    }
    if (count > 0) qsort(list, (size_t)count, sizeof *list, by_name);
    *out = list;
    *n = count;
    return OK;
}

/* The exact name (case ignored), else the only one that begins with it: its number, or -1 for none, or -2
 * for several. */
static int32_t match(const struct library_entry *list, int32_t n, const char *name)
{
    int32_t found = -1;
    size_t len = strlen(name);
    for (int32_t i = 0; i < n; i++) {
        if (strcasecmp(list[i].name, name) == 0) return i;
        if (len > 0 && strncasecmp(list[i].name, name, len) == 0) found = found == -1 ? i : -2;
    }
    return found;
}

static enum err not_installed(const struct library_entry *list, int32_t n, const char *name,
                              struct errmsg *msg)
{
    const struct catalogue_entry *known = catalogue_find(name);
    if (known) {
        return err_set(msg, ERR_NOT_FOUND, "%s is not installed; get it with: inline model pull %s",
                       known->name, known->name);
    }
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (int32_t i = 0; i < n; i++) nearest_offer(&nearest, list[i].name);
    if (nearest.best) {
        return err_set(msg, ERR_NOT_FOUND, "no model named \"%s\" is installed; did you mean %s?", name,
                       nearest.best);
    }
    for (int32_t i = 0; catalogue_at(i); i++) nearest_offer(&nearest, catalogue_at(i)->name);
    if (nearest.best) {
        return err_set(
            msg, ERR_NOT_FOUND,
            "no model named \"%s\" is installed; did you mean %s? get it with: inline model pull %s", name,
            nearest.best, nearest.best);
    }
    return err_set(
        msg, ERR_NOT_FOUND,
        "no model named \"%s\" is installed; see: inline model list, inline model list --available", name);
}

enum err library_find(const char *dir, const char *name, char **path, struct errmsg *msg)
{
    if (strchr(name, '/') || (has_suffix(name) && file_size(name) >= 0)) {
        if (access(name, F_OK) != 0) return err_set(msg, ERR_NOT_FOUND, "%s: %s", name, strerror(errno));
        *path = mem_dup_str(name);
        return OK;
    }
    struct library_entry *list = NULL;
    int32_t n = 0;
    enum err err = library_list(dir, &list, &n, msg);
    if (err) return err;
    int32_t i = match(list, n, name);
    if (i >= 0) {
        *path = mem_dup_str(list[i].path);
    } else if (i == -2) {
        err =
            err_set(msg, ERR_ARG, "several installed models begin with \"%s\"; type more of the name", name);
    } else {
        err = not_installed(list, n, name, msg);
    }
    library_list_free(list, n);
    return err;
}

enum err library_default(const char *dir, char **path, struct errmsg *msg)
{
    struct library_entry *list = NULL;
    int32_t n = 0, best = -1;
    enum err err = library_list(dir, &list, &n, msg);
    if (err) return err;
    for (int32_t c = 0; best < 0 && catalogue_at(c); c++) {
        for (int32_t i = 0; i < n; i++) {
            if (strcasecmp(list[i].name, catalogue_at(c)->name) == 0) best = i;
        }
    }
    for (int32_t i = 0; best < 0 && i < n; i++) {
        bool is_largest = true;
        for (int32_t j = 0; j < n; j++) is_largest = is_largest && list[j].bytes <= list[i].bytes;
        if (is_largest) best = i;
    }
    if (best >= 0) {
        *path = mem_dup_str(list[best].path);
    } else {
        err = err_set(msg, ERR_NOT_FOUND,
                      "no model is installed; get one with: inline model pull qwen2.5-coder-0.5b");
    }
    library_list_free(list, n);
    return err;
}

static bool is_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= NAME_LIMIT && name[0] != '.' && name[0] != '-' && strspn(name, allowed) == len;
}

enum err library_place(const char *dir, const char *name, bool replace, char **path, struct errmsg *msg)
{
    if (!is_name(name)) {
        return err_set(msg, ERR_ARG,
                       "\"%s\" cannot be a model's name: use letters, digits, '.', '_' and '-' (--name NAME)",
                       name);
    }
    char *models = directory(dir);
    enum err err = dirs_make(models, msg);
    char *place = err ? NULL : join(models, name, SUFFIX);
    if (place && !replace && access(place, F_OK) == 0) {
        err =
            err_set(msg, ERR_ARG,
                    "%s is already installed; choose another with --name, or replace it with --force", name);
    }
    mem_free(models);
    if (err) {
        mem_free(place);
        return err;
    }
    *path = place;
    return OK;
}

enum err library_validate(const char *path, struct errmsg *msg)
{
    struct model *m = NULL;
    enum err err = model_open(path, &m, msg);
    model_unref(&m);
    return err;
}

/* Copy bytes through a buffer; the caller renames the copy when all of it is there. */
static enum err copy_file(const char *from, const char *to, struct errmsg *msg)
{
    enum err err = OK;
    static const size_t chunk = 1 << 20;
    char *bytes = mem_try(chunk, 1);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!bytes) err = err_set(msg, ERR_NOMEM, "%s: %s", from, err_text(ERR_NOMEM));
    if (!err && in < 0) err = err_set(msg, ERR_IO, "%s: cannot open: %s", from, strerror(errno));
    if (!err && out < 0) err = err_set(msg, ERR_IO, "%s: cannot write: %s", to, strerror(errno));
    while (!err) {
        ssize_t n = read(in, bytes, chunk);
        if (n == 0) break;
        if (n < 0) err = err_set(msg, ERR_IO, "%s: cannot read: %s", from, strerror(errno));
        for (ssize_t done = 0; !err && done < n;) {
            ssize_t written = write(out, bytes + done, (size_t)(n - done));
            if (written < 0) err = err_set(msg, ERR_IO, "%s: cannot write: %s", to, strerror(errno));
            done += written;
        }
    }
    if (in >= 0) close(in);
    if (out >= 0 && close(out) != 0 && !err)
        err = err_set(msg, ERR_IO, "%s: cannot write: %s", to, strerror(errno));
    mem_free(bytes);
    return err;
}

/* Bring the bytes of `file` to `temp`, on the library's file system. */
static enum err link_or_copy(const char *file, const char *temp, struct errmsg *msg)
{
    struct stat st;
    unlink(temp);
    /* link(2) would make a second name for a symbolic link itself; such files are copied. */
    if (lstat(file, &st) == 0 && S_ISREG(st.st_mode) && link(file, temp) == 0) return OK;
    int64_t need = file_size(file), free_bytes = file_free_space(temp);
    if (free_bytes >= 0 && need > free_bytes) {
        char need_text[SIZE_TEXT_MAX], free_text[SIZE_TEXT_MAX];
        return err_set(msg, ERR_IO, "%s: needs %s, %s free", temp, size_text(need, need_text),
                       size_text(free_bytes, free_text));
    }
    return copy_file(file, temp, msg);
}

/* "dir/Name.gguf" -> "Name"; the caller frees. */
static char *name_of_file(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *name = mem_dup_str(slash ? slash + 1 : file);
    if (has_suffix(name)) name[strlen(name) - SUFFIX_LEN] = '\0';
    return name;
}

enum err library_import(const char *dir, const char *file, const char *name, bool replace, char **path,
                        struct errmsg *msg)
{
    char *from_file = name ? NULL : name_of_file(file);
    char *place = NULL, *temp = NULL;
    enum err err = library_validate(file, msg);
    if (!err) err = library_place(dir, name ? name : from_file, replace, &place, msg);
    if (err) goto fail;
    temp = with_suffix(place, ".import");
    err = link_or_copy(file, temp, msg);
    if (!err) err = file_rename(temp, place, msg);
    /* Also after success: renaming one name of a file over another name of the same file does nothing. */
    unlink(temp);
    if (err) goto fail;
    *path = place;
    place = NULL;
fail:
    mem_free(place);
    mem_free(temp);
    mem_free(from_file);
    return err;
}

enum err library_remove(const char *dir, const char *name, struct errmsg *msg)
{
    struct library_entry *list = NULL;
    int32_t n = 0;
    enum err err = library_list(dir, &list, &n, msg);
    if (err) return err;
    int32_t i = match(list, n, name);
    if (i >= 0 && strcasecmp(list[i].name, name) != 0) i = -1; /* deleting wants the whole name */
    if (i < 0) {
        err = err_set(msg, ERR_NOT_FOUND, "no model named \"%s\" is installed; see: inline model list", name);
    } else if (unlink(list[i].path) != 0) {
        err = err_set(msg, ERR_IO, "%s: cannot delete: %s", list[i].path, strerror(errno));
    } else {
        download_forget(list[i].path);
    }
    library_list_free(list, n);
    return err;
}
