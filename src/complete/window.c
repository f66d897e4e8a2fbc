/* Cutting the window around a cursor.
 *
 * The model sees '\n' line ends only: a '\r\n' document costs no tokens for the '\r', and what follows the
 * pipeline gives it '\r\n' back. */
#include "complete/window.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

/* The start moves in steps of a quarter, rounded down to a power of two, for the same reason as the prompt
 * inside the window does (fim_prompt.c). */
size_t window_start(const char *text, size_t end, size_t max, size_t origin)
{
    size_t step = 1;
    while (step <= max / 8) step *= 2;
    size_t least = origin + (end > max ? end - max : 0);
    size_t start = (least + step - 1) / step * step - origin;
    if (end <= max && start > end / 2) return 0; /* too little to cut from */
    while (start < end && utf8_is_continuation(text[start])) start++;
    return start;
}

static size_t window_end(const char *text, size_t len, size_t cursor, size_t max)
{
    if (len - cursor <= max) return len;
    size_t end = cursor + max;
    while (end > cursor && utf8_is_continuation(text[end])) end--;
    return end;
}

/* A view of text, or of a copy without the '\r' of '\r\n' where it has any. */
static enum err normalise(const char *text, size_t len, struct buf *copy, const char **out, size_t *out_len)
{
    *out = text;
    *out_len = len;
    buf_init(copy, len);
    if (len == 0 || !memchr(text, '\r', len)) return OK;
    const char *end = text + len;
    for (const char *p = text; p < end;) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        const char *stop = cr ? cr : end;
        buf_add(copy, p, (size_t)(stop - p));
        if (cr && (cr + 1 == end || cr[1] != '\n')) buf_add_char(copy, '\r');
        p = cr ? cr + 1 : end;
    }
    *out = buf_str(copy);
    *out_len = copy->len;
    return copy->err;
}

enum err window_cut(const char *text, size_t len, size_t cursor, size_t max, size_t origin,
                    struct window *out)
{
    /* A cursor inside a '\r\n' is at the end of its line. */
    if (cursor > 0 && cursor < len && text[cursor - 1] == '\r' && text[cursor] == '\n') cursor--;
    size_t start = window_start(text, cursor, max, origin), end = window_end(text, len, cursor, max);
    enum err before =
        normalise(text + start, cursor - start, &out->before_copy, &out->before, &out->before_len);
    enum err after = normalise(text + cursor, end - cursor, &out->after_copy, &out->after, &out->after_len);
    return before ? before : after;
}

void window_clear(struct window *w)
{
    buf_clear(&w->before_copy);
    buf_clear(&w->after_copy);
}
