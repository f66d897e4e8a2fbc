/* Showing parts of texts.
 *
 * A part is looked at together with what surrounds it, because a secret that a cut goes through does not look
 * like one any more. */
#include "context/shown.h"

#include <string.h>

#include "context/language.h"
#include "context/secrets.h"

/* The longest secrets that there are: a private RSA key of 4096 bits takes 3.3 KB as text. */
#define SURROUNDINGS_BYTES 4096
#define INDENT_MAX         64 /* bytes; a deeper one is not followed */

/* '\r\n' becomes '\n'. */
static void add_lines(const char *text, size_t len, struct buf *out)
{
    const char *end = text + len;
    for (const char *p = text; p < end;) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        const char *stop = cr ? cr : end;
        buf_add(out, p, (size_t)(stop - p));
        if (cr && (cr + 1 == end || cr[1] != '\n')) buf_add_char(out, '\r');
        p = cr ? cr + 1 : end;
    }
}

static void add_split(const struct shown_text *t, size_t from, size_t split, size_t to, struct buf *before,
                      struct buf *after)
{
    if (from < split) add_lines(t->bytes + from, (to < split ? to : split) - from, before);
    if (from < split) from = to < split ? to : split;
    if (from < to) add_lines(t->bytes + from, to - from, after);
}

enum err shown_add(const struct shown_text *t, size_t from, size_t split, size_t to, struct buf *before,
                   struct buf *after, int32_t *n_secrets)
{
    size_t low = from > SURROUNDINGS_BYTES ? from - SURROUNDINGS_BYTES : 0;
    size_t high = t->len - to > SURROUNDINGS_BYTES ? to + SURROUNDINGS_BYTES : t->len;
    size_t at = from, look = 0, start, end;
    while (t->secrets && at < to &&
           secrets_find(t->secrets, t->bytes + low, high - low, look, &start, &end) && low + start < to) {
        look = end > start ? end : start + 1;
        start += low, end += low;
        if (end <= at) continue;
        if (start > at) add_split(t, at, split, start, before, after);
        buf_add_str(start < split ? before : after, SECRETS_MASK);
        at = end < to ? end : to;
        (*n_secrets)++;
    }
    if (at < to) add_split(t, at, split, to, before, after);
    return before->err ? before->err : after->err;
}

void shown_add_elision(const struct language *l, const struct shown_text *t, size_t next, struct buf *out)
{
    size_t line = next, at = next;
    for (; at < t->len && t->bytes[at] && strchr(" \t\r\n", t->bytes[at]); at++) {
        if (t->bytes[at] == '\n') line = at + 1;
    }
    if (at < t->len && at - line <= INDENT_MAX) buf_add(out, t->bytes + line, at - line);
    if (l->line_comment)
        buf_printf(out, "%s ...\n", l->line_comment);
    else if (l->block_comment[0])
        buf_printf(out, "%s ... %s\n", l->block_comment[0], l->block_comment[1]);
    else
        buf_add_str(out, "...\n");
}
