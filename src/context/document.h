/* One text file as the user sees it: lines and columns over bytes of any encoding. */
#ifndef CONTEXT_DOCUMENT_H
#define CONTEXT_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define DOCUMENT_MAX_BYTES ((size_t)64 << 20)

enum document_eol { DOCUMENT_LF, DOCUMENT_CRLF };

struct document {
    char *text; /* owned; UTF-8, lines end in '\n' or '\r\n' as the file has them; NUL-terminated */
    size_t len; /* bytes */
    char *path; /* owned; as given, "standard input" for "-" */
    enum document_eol eol; /* of the majority of lines */
    bool was_latin1;       /* the file was not UTF-8 and was read as ISO 8859-1 */
};

/* Take text as a document. Bytes that are not UTF-8 make the whole file be read as Latin-1; a UTF-8
 * byte-order mark is dropped. ERR_FORMAT: binary (NUL bytes, UTF-16), says so; ERR_LIMIT: too large. */
MUST_CHECK enum err document_new(const char *path, const char *text, size_t len, struct document **out,
                                 struct errmsg *msg);
MUST_CHECK enum err document_open(const char *path, struct document **out,
                                  struct errmsg *msg); /* "-": stdin */
void document_free(struct document **d);

/* Byte offset of a 1-based line and a 1-based column counted in characters (code points); column n + 1 of a
 * line with n characters is its end. A column past the end of its line means the end; column 0 too. A line
 * past the end by one (after the last newline) is the end of the file; further is ERR_ARG with a message that
 * says how many lines there are. */
MUST_CHECK enum err document_offset(const struct document *d, int64_t line, int64_t column, size_t *out,
                                    struct errmsg *msg);

/* The line ending of the majority of lines; DOCUMENT_LF for a text without any. */
enum document_eol document_eol_of(const char *text, size_t len);

#endif
