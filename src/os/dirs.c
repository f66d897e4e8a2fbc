/* Where things live on disk (XDG base directory specification). */
#include "os/dirs.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define PATH_BYTES_MAX 65536 /* the environment could hold anything; no system takes longer paths */

static const struct {
    const char *variable; /* an absolute path there wins */
    const char *in_home;  /* else this, below the home directory; or null */
} places[] = {
    [DIR_CONFIG] = {"XDG_CONFIG_HOME", ".config"},    [DIR_DATA] = {"XDG_DATA_HOME", ".local/share"},
    [DIR_STATE] = {"XDG_STATE_HOME", ".local/state"}, [DIR_CACHE] = {"XDG_CACHE_HOME", ".cache"},
    [DIR_RUNTIME] = {"XDG_RUNTIME_DIR", NULL}, /* else a directory of the user's in /tmp */
};

/* The value of an environment variable if it is an absolute path, else null. The specification says that
 * relative paths are to be ignored. */
static const char *env_path(const char *variable)
{
    const char *value = getenv(variable);
    return value && value[0] == '/' && strlen(value) < PATH_BYTES_MAX / 2 ? value : NULL;
}

/* Where there is no place of the user's own. */
static void add_private(struct buf *path)
{
    buf_printf(path, "/tmp/inline-%ld", (long)getuid());
}

static void add_home(struct buf *path)
{
    struct passwd entry, *found = NULL;
    char strings[4096]; /* an entry's texts; one that does not fit counts as missing */
    const char *home = env_path("HOME");
    if (!home && getpwuid_r(getuid(), &entry, strings, sizeof strings, &found) == 0 && found)
        home = found->pw_dir;
    if (home && home[0] == '/') {
        buf_add_str(path, home);
    } else {
        add_private(path);
    }
}

char *dirs_path(enum dir_kind kind, const char *name)
{
    struct buf path;
    buf_init(&path, PATH_BYTES_MAX);
    const char *base = env_path(places[kind].variable);
    if (base) {
        buf_printf(&path, "%s/inline", base);
    } else if (places[kind].in_home) {
        add_home(&path);
        buf_printf(&path, "/%s/inline", places[kind].in_home);
    } else {
        add_private(&path);
    }
    if (name) buf_printf(&path, "/%s", name);
    return buf_take(&path);
}

/* mkdir that accepts a directory that is already there; errno tells why not. */
static int make_one(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) == 0) return 0;
    if (errno == EEXIST && stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) errno = ENOTDIR;
    return errno == EEXIST ? 0 : -1;
}

enum err dirs_make(const char *path, struct errmsg *msg)
{
    enum err err = OK;
    char *prefix = mem_dup_str(path);
    size_t len = strlen(prefix);
    for (size_t i = 1; i <= len && !err; i++) {
        if (prefix[i] != '/' && prefix[i] != '\0') continue;
        if (prefix[i - 1] == '/') continue;
        char kept = prefix[i];
        prefix[i] = '\0';
        if (make_one(prefix) != 0) {
            err = err_set(msg, ERR_IO, "%s: cannot create directory %s: %s", path, prefix, strerror(errno));
        }
        prefix[i] = kept;
    }
    mem_free(prefix);
    return err;
}

enum err dirs_make_private(const char *path, struct errmsg *msg)
{
    struct stat st;
    enum err err = dirs_make(path, msg);
    if (err) return err;
    /* Not stat: a link may change what it names after we looked. */
    if (lstat(path, &st) != 0) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return err_set(msg, ERR_IO,
                       "%s: must be a directory of your own that others cannot enter (mode 0700)", path);
    return OK;
}

enum err dirs_list(const char *path, void (*fn)(void *ctx, const char *name), void *ctx, struct errmsg *msg)
{
    DIR *dir = opendir(path);
    if (!dir && (errno == ENOENT || errno == ENOTDIR))
        return err_set(msg, ERR_NOT_FOUND, "%s: no such directory; check the path", path);
    if (!dir) return err_set(msg, ERR_IO, "%s: cannot read directory: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) fn(ctx, e->d_name);
    }
    closedir(dir);
    return OK;
}
