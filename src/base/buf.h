/* A growable byte buffer with a declared cap. Not thread-safe; one owner. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/err.h"

struct buf {
    char *data;   /* owned; always followed by a NUL that len does not count; null while empty */
    size_t len;   /* bytes in use */
    size_t cap;   /* bytes allocated */
    size_t max;   /* the buffer refuses to grow past this many bytes */
    enum err err; /* sticky: first failure of an append; later appends do nothing */
};

/* Appends never need checking one by one: read b->err once at the end. ERR_LIMIT: past max. */
void buf_init(struct buf *b, size_t max);
void buf_clear(struct buf *b); /* frees; the buffer is as after buf_init */
void buf_reset(struct buf *b); /* empties, keeps the memory, forgets the error */
void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_truncate(struct buf *b, size_t len); /* len <= b->len */
char *buf_take(struct buf *b); /* the caller frees with mem_free; the buffer is empty. "" if empty */
const char *buf_str(const struct buf *b); /* NUL-terminated view; never null */

#endif
