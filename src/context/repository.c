/* See repository.h. Of Git we know how a checkout points to its repository (gitrepository-layout(5)) and the
 * form of its configuration (git-config(1)), as far as one value needs it; includes are not followed. */
#include "context/repository.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/utf8.h"
#include "os/file.h"

#define CONFIG_MAX 65536 /* bytes of a repository's configuration that are looked at; usual ones have 300 */
#define URL_MAX    2048

/* --- Where the repository is -------------------------------------------------------------------------- */

/* The first line of a small file, less `prefix`, as a path below `dir` unless it is absolute. */
static bool read_pointer(const char *dir, const char *name, const char *prefix, char out[PATH_MAX])
{
    char path[PATH_MAX], line[PATH_MAX];
    size_t prefix_len = strlen(prefix);
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) return false;
    if (file_read_head(path, line, sizeof line) == 0) return false;
    line[strcspn(line, "\r\n")] = '\0';
    if (strncmp(line, prefix, prefix_len) != 0) return false;
    const char *target = line + prefix_len;
    bool is_absolute = target[0] == '/';
    int n = is_absolute ? snprintf(path, sizeof path, "%s", target)
                        : snprintf(path, sizeof path, "%s/%s", dir, target);
    return n < (int)sizeof path && realpath(path, out);
}

/* The repository of the innermost checkout that holds root. Worktrees and submodules have a file .git, which
 * points to a folder, which may in turn point to the one that all worktrees share. */
static bool find_repository(const char *root, char out[PATH_MAX])
{
    char dir[PATH_MAX], path[PATH_MAX + 8];
    struct stat st;
    if (snprintf(dir, sizeof dir, "%s", root) >= (int)sizeof dir) return false;
    for (char *slash; (slash = strrchr(dir, '/')); *slash = '\0') {
        snprintf(path, sizeof path, "%s/.git", dir);
        if (stat(path, &st) != 0) continue;
        if (S_ISDIR(st.st_mode)) return realpath(path, out);
        char own[PATH_MAX];
        if (!read_pointer(dir, ".git", "gitdir: ", own)) return false;
        if (!read_pointer(own, "commondir", "", out)) snprintf(out, PATH_MAX, "%s", own);
        return true;
    }
    return false;
}

/* --- What it is called -------------------------------------------------------------------------------- */

static const char *skip_blanks(const char *c)
{
    while (*c == ' ' || *c == '\t') c++;
    return c;
}

/* The value of `url` in [remote "origin"], which is changed to be text of its own; or null. */
static char *find_url(char *config)
{
    static const char section[] = "[remote \"origin\"]";
    bool is_inside = false;
    for (char *line = config, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        const char *c = skip_blanks(line);
        if (*c == '[') is_inside = strncasecmp(c, section, sizeof section - 1) == 0;
        if (!is_inside || strncasecmp(c, "url", 3) != 0) continue;
        c = skip_blanks(c + 3);
        if (*c != '=') continue;
        char *url = line + (skip_blanks(c + 1) - line);
        size_t len = strcspn(url, "\r#;"); /* a comment may follow */
        while (len > 0 && (url[len - 1] == ' ' || url[len - 1] == '\t')) len--;
        url[len] = '\0';
        if (len > 0) return url;
    }
    return NULL;
}

/* "https://me@Host/a/b.git", "git@host:a/b" and "ssh://git@host/a/b/" are all "host/a/b". */
static size_t plain_url(const char *url, char out[URL_MAX])
{
    const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
    size_t host_len = strcspn(host, scheme ? "/" : "/:");
    const char *at = memrchr(host, '@', host_len);
    if (at) {
        host_len -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    const char *path = host + host_len + (host[host_len] != '\0');
    if (!scheme && host[host_len] == ':') path += *path == '/';
    int n = snprintf(out, URL_MAX, "%.*s/%s", (int)(host_len < URL_MAX ? host_len : URL_MAX), host, path);
    size_t len = n < 0 ? 0 : n < URL_MAX ? (size_t)n : URL_MAX - 1;
    for (size_t i = 0; i < host_len && i < len; i++) out[i] = (char)tolower((unsigned char)out[i]);
    while (len > 0 && out[len - 1] == '/') len--;
    if (len > 4 && memcmp(out + len - 4, ".git", 4) == 0) len -= 4;
    return len;
}

static uint64_t hash_of(const char *text, size_t len)
{
    uint64_t hash = XXH3_64bits(text, len);
    return hash ? hash : 1;
}

/* The last part of a path or an address of `len` bytes, as far as it fits, in whole characters. "" if it is
 * no text: it stands in prompts. */
static void name_of(const char *path, size_t len, struct repository *out)
{
    const char *slash = len > 0 ? memrchr(path, '/', len) : NULL;
    const char *last = slash ? slash + 1 : path;
    size_t n = len - (size_t)(last - path);
    if (n >= sizeof out->name) {
        for (n = sizeof out->name - 1; n > 0 && utf8_is_continuation(last[n]);) n--;
    }
    bool is_text = utf8_valid_len(last, n) == n;
    for (size_t i = 0; i < n; i++) is_text = is_text && (unsigned char)last[i] >= ' ' && last[i] != 0x7f;
    if (!is_text) n = 0;
    memcpy(out->name, last, n);
    out->name[n] = '\0';
}

/* "/a/b/.git" is b's, "/a/b.git" is b. */
static size_t plain_path_len(const char *path)
{
    size_t len = strlen(path);
    if (len > 5 && memcmp(path + len - 5, "/.git", 5) == 0) return len - 5;
    if (len > 4 && memcmp(path + len - 4, ".git", 4) == 0) return len - 4;
    return len;
}

static void fill(struct repository *out, const char *path, size_t path_len, const char *id, size_t id_len)
{
    out->id = hash_of(id, id_len);
    name_of(path, path_len, out);
}

void repository_of(const char *root, struct repository *out)
{
    char folder[PATH_MAX], path[PATH_MAX + 8], url[URL_MAX], config[CONFIG_MAX];
    if (!find_repository(root, folder)) {
        const char *whole = realpath(root, folder) ? folder : root;
        size_t len = strlen(whole);
        while (len > 1 && whole[len - 1] == '/') len--;
        fill(out, whole, len, whole, len);
        return;
    }
    snprintf(path, sizeof path, "%s/config", folder);
    file_read_head(path, config, sizeof config);
    const char *remote = find_url(config);
    if (!remote || remote[0] == '.') { /* a relative path is another place from each checkout */
        fill(out, folder, plain_path_len(folder), folder, strlen(folder));
        return;
    }
    size_t len = plain_url(remote, url);
    fill(out, url, len, url, len);
}
