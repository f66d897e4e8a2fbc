/* A growable byte buffer with a declared cap. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_clear(struct buf *b)
{
    mem_free(b->data);
    buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->err = OK;
    if (b->data) b->data[0] = '\0';
}

/* Make room for `more` bytes and the NUL; false on failure, which is sticky. */
static int reserve(struct buf *b, size_t more)
{
    if (b->err) return 0;
    if (more > b->max - b->len) {
        b->err = ERR_LIMIT;
        return 0;
    }
    size_t need = b->len + more + 1;
    if (need <= b->cap) return 1;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap += cap / 2;
    char *data = mem_try_resize(b->data, cap, 1);
    if (!data) {
        b->err = ERR_NOMEM;
        return 0;
    }
    b->data = data;
    b->cap = cap;
    return 1;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    if (!reserve(b, len)) return;
    if (len) memcpy(b->data + b->len, bytes, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len >= 0 && reserve(b, (size_t)len)) {
        vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void buf_truncate(struct buf *b, size_t len)
{
    b->len = len;
    if (b->data) b->data[len] = '\0';
}

char *buf_take(struct buf *b)
{
    char *data = b->data ? b->data : mem_dup_str("");
    b->data = NULL;
    buf_clear(b);
    return data;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}
