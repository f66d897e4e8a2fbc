/* Reading a text file and finding places in it.
 *
 * Keeps the file's line endings: offsets into `text` are offsets that an editor can use. Lines are found
 * with memchr, so that a place in a file of a hundred thousand lines costs a pass over its bytes and no
 * index. A '\r' that a '\n' follows belongs to the line ending; any other is an ordinary character. */
#include "context/document.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "os/file.h"

static bool starts_with(const char *text, size_t len, const char *bytes, size_t n)
{
    return len >= n && memcmp(text, bytes, n) == 0;
}

/* Refuse what cannot be text. UTF-16 is told apart, because there the user can do something about it. */
static enum err check_is_text(const char *path, const char *text, size_t len, struct errmsg *msg)
{
    if (len > DOCUMENT_MAX_BYTES) {
        return err_set(msg, ERR_LIMIT, "%s: larger than %zu MiB; use a smaller file", path,
                       DOCUMENT_MAX_BYTES >> 20);
    }
    if (starts_with(text, len, "\xff\xfe", 2) || starts_with(text, len, "\xfe\xff", 2)) {
        return err_set(msg, ERR_FORMAT, "%s: UTF-16 text; convert it to UTF-8 first", path);
    }
    if (len > 0 && memchr(text, '\0', len)) {
        return err_set(msg, ERR_FORMAT, "%s: binary file (it has NUL bytes); only text can be completed",
                       path);
    }
    return OK;
}

/* ISO 8859-1 is the first 256 code points of Unicode, byte by byte; at most two bytes each in UTF-8. */
static size_t latin1_to_utf8(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += utf8_encode((unsigned char)text[i], out + n);
    return n;
}

enum document_eol document_eol_of(const char *text, size_t len)
{
    size_t n_lf = 0, n_crlf = 0;
    const char *end = text + len;
    for (const char *p = text; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++) {
        if (p > text && p[-1] == '\r')
            n_crlf++;
        else
            n_lf++;
    }
    return n_crlf > n_lf ? DOCUMENT_CRLF : DOCUMENT_LF;
}

enum err document_new(const char *path, const char *text, size_t len, struct document **out,
                      struct errmsg *msg)
{
    enum err err = check_is_text(path, text, len, msg);
    if (err) return err;
    if (starts_with(text, len, "\xef\xbb\xbf", 3)) {
        text += 3;
        len -= 3;
    }
    bool is_utf8 = utf8_valid_len(text, len) == len;
    char *copy = mem_try(is_utf8 ? len + 1 : 2 * len + 1, 1);
    if (!copy) return err_set(msg, ERR_NOMEM, "%s: %s", path, err_text(ERR_NOMEM));
    if (is_utf8) {
        if (len > 0) memcpy(copy, text, len);
    } else {
        len = latin1_to_utf8(text, len, copy);
    }
    struct document *d = MEM_NEW(struct document);
    *d = (struct document){.text = copy,
                           .len = len,
                           .path = mem_dup_str(path),
                           .eol = document_eol_of(copy, len),
                           .was_latin1 = !is_utf8};
    *out = d;
    return OK;
}

enum err document_open(const char *path, struct document **out, struct errmsg *msg)
{
    struct buf bytes;
    buf_init(&bytes, DOCUMENT_MAX_BYTES);
    enum err err = file_read(path, &bytes, msg);
    if (!err) {
        const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
        err = document_new(name, buf_str(&bytes), bytes.len, out, msg);
    }
    buf_clear(&bytes);
    return err;
}

void document_free(struct document **d)
{
    if (!*d) return;
    mem_free((*d)->text);
    mem_free((*d)->path);
    mem_free(*d);
    *d = NULL;
}

/* Where the text of the line that starts at `start` ends: before its line ending. */
static size_t line_end(const struct document *d, size_t start)
{
    const char *newline = start < d->len ? memchr(d->text + start, '\n', d->len - start) : NULL;
    if (!newline) return d->len;
    size_t end = (size_t)(newline - d->text);
    return end > start && d->text[end - 1] == '\r' ? end - 1 : end;
}

static enum err no_such_line(const struct document *d, int64_t line, int64_t n_lines, struct errmsg *msg)
{
    return err_set(msg, ERR_ARG, "%s has %" PRId64 " line%s; there is no line %" PRId64, d->path, n_lines,
                   n_lines == 1 ? "" : "s", line);
}

enum err document_offset(const struct document *d, int64_t line, int64_t column, size_t *out,
                         struct errmsg *msg)
{
    if (line < 1) return err_set(msg, ERR_ARG, "line %" PRId64 ": lines are counted from 1", line);
    size_t start = 0;
    for (int64_t i = 1; i < line; i++) {
        const char *newline = start < d->len ? memchr(d->text + start, '\n', d->len - start) : NULL;
        if (!newline) return no_such_line(d, line, start < d->len ? i : i - 1, msg);
        start = (size_t)(newline - d->text) + 1;
    }
    size_t end = line_end(d, start);
    if (column < 1) {
        *out = end;
        return OK;
    }
    size_t at = start;
    for (int64_t i = 1; i < column && at < end; i++) {
        int32_t code;
        at += utf8_decode(d->text + at, end - at, &code);
    }
    *out = at;
    return OK;
}
