/* URIs (RFC 3986) to paths. Editors encode the same path differently ("c%3A" and "c:"), so that folders and
 * documents are compared decoded. */
#include "serve/lsp_workspace.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define PATH_BYTES_MAX 4096 /* PATH_MAX of Linux */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The path of a URI: without scheme, authority, query and fragment, percent-decoded. */
static void decode_path(const char *uri, struct buf *out)
{
    const char *at = strchr(uri, ':');
    at = at ? at + 1 : uri;
    if (at[0] == '/' && at[1] == '/') {
        at += 2;
        at += strcspn(at, "/?#");
    }
    buf_reset(out);
    for (const char *end = at + strcspn(at, "?#"); at < end; at++) {
        int high = at[0] == '%' ? hex_digit(at[1]) : -1;
        int low = high >= 0 ? hex_digit(at[2]) : -1;
        buf_add_char(out, low >= 0 ? (char)(high * 16 + low) : *at);
        if (low >= 0) at += 2;
    }
}

/* A folder's path; the caller frees. Null if it has none. */
static char *folder_path(const char *uri)
{
    struct buf path;
    buf_init(&path, PATH_BYTES_MAX);
    decode_path(uri, &path);
    while (path.len > 0 && path.data[path.len - 1] == '/') buf_truncate(&path, path.len - 1);
    char *folder = !path.err && strchr(uri, '/') ? buf_take(&path) : NULL;
    buf_clear(&path);
    return folder;
}

static int find(const struct lsp_workspace *w, const char *folder)
{
    int i = 0;
    while (i < w->n && strcmp(w->folders[i], folder) != 0) i++;
    return i;
}

const char *lsp_workspace_add(struct lsp_workspace *w, const char *uri)
{
    char *folder = folder_path(uri);
    if (folder && w->n < LSP_WORKSPACE_FOLDERS_MAX && find(w, folder) == w->n) {
        return w->folders[w->n++] = folder;
    }
    mem_free(folder);
    return NULL;
}

char *lsp_workspace_remove(struct lsp_workspace *w, const char *uri)
{
    char *folder = folder_path(uri);
    int i = folder ? find(w, folder) : w->n;
    mem_free(folder);
    if (i == w->n) return NULL;
    folder = w->folders[i];
    w->folders[i] = w->folders[--w->n];
    return folder;
}

void lsp_workspace_clear(struct lsp_workspace *w)
{
    for (int i = 0; i < w->n; i++) mem_free(w->folders[i]);
    *w = (struct lsp_workspace){0};
}

/* The innermost folder that holds the path, or null. */
static const char *folder_of(const struct lsp_workspace *w, const char *path)
{
    const char *innermost = NULL;
    size_t longest = 0;
    for (int i = 0; i < w->n; i++) {
        size_t len = strlen(w->folders[i]);
        bool holds = strncmp(path, w->folders[i], len) == 0 && path[len] == '/' && path[len + 1];
        if (!holds || (innermost && len <= longest)) continue;
        innermost = w->folders[i];
        longest = len;
    }
    return innermost;
}

const char *lsp_workspace_folder(const struct lsp_workspace *w, const char *uri)
{
    struct buf path;
    buf_init(&path, PATH_BYTES_MAX);
    decode_path(uri, &path);
    const char *folder = path.err ? NULL : folder_of(w, buf_str(&path));
    buf_clear(&path);
    return folder;
}

/* A path may hold any byte but NUL; the model's prompt gets none that would break its line. */
static bool is_text(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f) return false;
    }
    return utf8_valid_len(s, len) == len;
}

void lsp_workspace_path(const struct lsp_workspace *w, const char *uri, struct buf *path)
{
    decode_path(uri, path);
    const char *text = buf_str(path), *last = strrchr(text, '/');
    const char *folder = folder_of(w, text);
    size_t skip = folder ? strlen(folder) + 1 : 0;
    if (skip == 0 && last) skip = (size_t)(last - text) + 1;
    size_t len = path->len - skip;
    if (path->err || !is_text(text + skip, len)) len = 0;
    if (len > 0) memmove(path->data, path->data + skip, len);
    buf_truncate(path, len);
}
