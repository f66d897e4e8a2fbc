/* The directory of packs. See weight_pack_dir.h. Any number of processes may use it at once; files may come
 * and go between any two calls. */
#include "model/weight_pack_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/size.h"
#include "kern/pack.h"
#include "os/dirs.h"
#include "os/file.h"

#define PATH_LIMIT 65536 /* bytes; more than any system takes */
#define PACK       ".pack"
#define PART       ".part"

/* A cache does not take the last of a disk: this much stays free. */
#define SPARE_BYTES 268435456

static char *name_with(const char *dir, const char *key, const char *suffix)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s-v%d%s", dir, key, PACK_VERSION, suffix);
    return buf_take(&path);
}

char *weight_pack_dir_name(const char *dir, const char *key)
{
    return name_with(dir, key, PACK);
}

char *weight_pack_dir_part_name(const char *dir, const char *key)
{
    return name_with(dir, key, PART);
}

/* --- One file ---------------------------------------------------------------------------------------- */

/* Whether path still names the open file: between opening and locking, another process may have renamed or
 * deleted it. */
static bool is_same(int fd, const char *path)
{
    struct stat by_fd, by_path;
    return fstat(fd, &by_fd) == 0 && stat(path, &by_path) == 0 && by_fd.st_dev == by_path.st_dev &&
           by_fd.st_ino == by_path.st_ino;
}

enum err weight_pack_dir_lock_part(const char *part, int *out, struct errmsg *msg)
{
    *out = -1;
    int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return err_set(msg, ERR_IO, "%s: cannot write: %s", part, strerror(errno));
    enum err err = OK;
    bool is_ours = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (!is_ours && errno != EWOULDBLOCK)
        err = err_set(msg, ERR_IO, "%s: cannot lock: %s", part, strerror(errno));
    is_ours = is_ours && is_same(fd, part);
    if (is_ours && ftruncate(fd, 0) != 0)
        err = err_set(msg, ERR_IO, "%s: cannot write: %s", part, strerror(errno));
    if (is_ours && !err)
        *out = fd;
    else
        close(fd);
    return err;
}

enum err weight_pack_dir_publish(int fd, const char *part, const char *path, struct errmsg *msg)
{
    /* In this order: a lock is not exchanged in one step, and whoever got this one under the old name would
     * empty the file. Under the new name it could at worst be deleted, which its users survive. */
    enum err err = file_rename(part, path, msg);
    if (!err) flock(fd, LOCK_SH | LOCK_NB);
    return err;
}

/* Open and lock a file that nobody uses; -1 if somebody does, or if it is gone. */
static int lock_unused(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return -1;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same(fd, path)) return fd;
    close(fd);
    return -1;
}

static bool is_unused(const char *path)
{
    int fd = lock_unused(path);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static bool delete_unused(const char *path)
{
    int fd = lock_unused(path);
    if (fd < 0) return false;
    bool is_deleted = unlink(path) == 0;
    close(fd);
    return is_deleted;
}

/* --- All files --------------------------------------------------------------------------------------- */

struct entry {
    char *path; /* owned */
    int64_t bytes;
    int64_t used_s;    /* when it was last opened, seconds since 1970 */
    bool is_part;      /* being written, or left over */
    bool is_our_key;   /* a pack of the key that the list was made for, of whatever version */
    bool is_our_model; /* the key goes on: a pack of that model, of whatever precision */
};

struct list {
    const char *dir, *key; /* borrowed */
    struct entry *entries; /* [n], owned */
    int32_t n;
};

static void list_clear(struct list *l)
{
    for (int32_t i = 0; i < l->n; i++) mem_free(l->entries[i].path);
    mem_free(l->entries);
    *l = (struct list){0};
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

/* Append file `name` if it is a pack or a part of one. What cannot be remembered is left alone. */
static void list_add(void *ctx, const char *name)
{
    struct list *l = ctx;
    struct stat st;
    bool is_part = ends_with(name, PART);
    if (!is_part && !ends_with(name, PACK)) return;
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s", l->dir, name);
    struct entry *grown = NULL;
    if (!path.err && lstat(buf_str(&path), &st) == 0 && S_ISREG(st.st_mode))
        grown = mem_try_resize(l->entries, (size_t)l->n + 1, sizeof *grown);
    if (!grown) {
        buf_clear(&path);
        return;
    }
    size_t key_len = strlen(l->key);
    bool is_ours = strncmp(name, l->key, key_len) == 0;
    l->entries = grown;
    grown[l->n++] = (struct entry){.path = buf_take(&path),
                                   .bytes = st.st_size,
                                   .used_s = st.st_mtime,
                                   .is_part = is_part,
                                   .is_our_model = is_ours && name[key_len] == '-',
                                   .is_our_key = is_ours && strncmp(name + key_len, "-v", 2) == 0};
}

static int by_use(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->used_s != y->used_s) return x->used_s < y->used_s ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* Least recently used first; empty if the directory cannot be read. */
static struct list list_of(const char *dir, const char *key)
{
    struct list l = {.dir = dir, .key = key};
    if (dirs_list(dir, list_add, &l, NULL) == OK && l.n > 0)
        qsort(l.entries, (size_t)l.n, sizeof *l.entries, by_use);
    return l;
}

/* --- Room -------------------------------------------------------------------------------------------- */

static enum err no_room(const char *dir, int64_t need, int64_t have, const char *of, struct errmsg *msg)
{
    char need_text[SIZE_TEXT_MAX], have_text[SIZE_TEXT_MAX];
    return err_set(msg, ERR_LIMIT, "%s: packed weights need %s; %s %s", dir, size_text(need, need_text),
                   size_text(have > 0 ? have : 0, have_text), of);
}

/* Delete the oldest packs until `excess` bytes are gone. */
static void delete_oldest(const struct list *l, int64_t excess)
{
    for (int32_t i = 0; i < l->n && excess > 0; i++) {
        const struct entry *e = &l->entries[i];
        if (!e->is_part && !e->is_our_key && delete_unused(e->path)) excess -= e->bytes;
    }
}

enum err weight_pack_dir_make_room(const char *dir, const char *key, int64_t bytes, int64_t max_bytes,
                                   struct errmsg *msg)
{
    int64_t total = 0, in_use = 0;
    char *part = weight_pack_dir_part_name(dir, key);
    struct list l = list_of(dir, key);
    for (int32_t i = 0; i < l.n; i++) {
        const struct entry *e = &l.entries[i];
        if (e->is_part || e->is_our_key) {
            delete_unused(e->path);
        } else {
            total += e->bytes;
            if (!is_unused(e->path)) in_use += e->bytes;
        }
    }
    /* What is deleted for the ceiling's sake makes room on the disk too. */
    int64_t excess = total + bytes - max_bytes, deletable = excess > 0 ? excess : 0;
    int64_t free_bytes = file_free_space(part);
    enum err err = OK;
    if (in_use + bytes > max_bytes)
        err = no_room(dir, bytes, max_bytes - in_use, "are allowed (cache.packs_mb)", msg);
    else if (free_bytes >= 0 && free_bytes + deletable < bytes + SPARE_BYTES)
        err = no_room(dir, bytes, free_bytes - SPARE_BYTES, "are free", msg);
    if (!err) delete_oldest(&l, excess);
    mem_free(part);
    list_clear(&l);
    return err;
}

int64_t weight_pack_dir_remove(const char *dir, const char *model_key)
{
    int64_t removed = 0;
    struct list l = list_of(dir, model_key);
    for (int32_t i = 0; i < l.n; i++) {
        const struct entry *e = &l.entries[i];
        if (e->is_our_model && !e->is_part && unlink(e->path) == 0) removed += e->bytes;
    }
    list_clear(&l);
    return removed;
}
