/* The key of a model on other machines: read when it is needed, from a file that nobody else may read or from
 * the environment. It is in no message and stays in no other memory than the caller's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/settings.h"
#include "os/file.h"

#define KEY_MAX 4096 /* bytes of the first line; tokens of a thousand and more exist (JSON Web Tokens) */

/* It becomes part of an HTTP header: nothing may be in it that could end that, and no blank, which RFC 6750
 * has in no bearer token. */
static bool is_key(const char *key, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (key[i] <= ' ' || key[i] > '~') return false;
    }
    return len > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The first line without white space around it; `from` names its source in messages. */
static enum err take_key(const char *text, size_t len, const char *from, char **key, struct errmsg *msg)
{
    const char *end = memchr(text, '\n', len);
    size_t n = end ? (size_t)(end - text) : len;
    while (n > 0 && is_blank(*text)) text++, n--;
    while (n > 0 && is_blank(text[n - 1])) n--;
    if (n == 0) return err_set(msg, ERR_ARG, "%s: its first line is empty; the key belongs there", from);
    if (n > KEY_MAX) return err_set(msg, ERR_ARG, "%s: longer than the %d bytes of a key", from, KEY_MAX);
    if (!is_key(text, n))
        return err_set(msg, ERR_ARG, "%s: a key is one word of printable ASCII characters", from);
    *key = mem_try(n + 1, 1);
    if (!*key) return err_set(msg, ERR_NOMEM, "%s: %s", from, err_text(ERR_NOMEM));
    memcpy(*key, text, n);
    return OK;
}

/* The permissions of the very file that is then read. */
static enum err check_file(int fd, const char *path, struct errmsg *msg)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return err_set(msg, ERR_ARG, "%s: not a file that could hold a key", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(msg, ERR_ARG, "%s holds a key, and not only you may use it; run: chmod 600 %s", path,
                       path);
    return OK;
}

static enum err read_file(const char *path, char **key, struct errmsg *msg)
{
    char text[KEY_MAX * 2]; /* more than a key with its white space, so that a longer one is noticed */
    size_t len = 0;
    ssize_t n = 0;
    int fd = -1;
    enum err err = file_open(path, &fd, msg);
    if (err) return err;
    err = check_file(fd, path, msg);
    while (!err && len < sizeof text && (n = read(fd, text + len, sizeof text - len)) > 0) len += (size_t)n;
    if (!err && n < 0) err = err_set(msg, ERR_IO, "%s: %s", path, strerror(errno));
    close(fd);
    if (!err) err = take_key(text, len, path, key, msg);
    explicit_bzero(text, sizeof text);
    return err;
}

static enum err read_variable(const struct settings_remote *r, char **key, struct errmsg *msg)
{
    const char *value = getenv(r->key_env);
    if (!value || !*value)
        return err_set(msg, ERR_NOT_FOUND,
                       "the environment has no variable %s, which model.%s.key_env names; key_file works for "
                       "daemons, too, that others start",
                       r->key_env, r->name);
    return take_key(value, strlen(value), r->key_env, key, msg);
}

enum err settings_remote_key(const struct settings_remote *r, char **key, struct errmsg *msg)
{
    *key = NULL;
    if (*r->key_env) return read_variable(r, key, msg);
    if (!*r->key_file) {
        *key = mem_dup_str("");
        return OK;
    }
    return read_file(r->key_file, key, msg);
}
