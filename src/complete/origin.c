/* Finding a window in the one before it: the beginning of one occurs in the other, and from there on they
 * agree but for what was typed. */
#include "complete/origin.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

#define HEAD_BYTES ((size_t)64) /* looked for: a line or two */

static size_t common(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

/* Where `later` begins in `earlier`: the first place from which both agree for at least half of what they
 * could have in common. False: nowhere. */
static bool slid(const char *earlier, size_t n_earlier, const char *later, size_t n_later, size_t *by)
{
    if (n_later < HEAD_BYTES) return false;
    for (size_t from = 0; from + HEAD_BYTES <= n_earlier;) {
        const char *at = memmem(earlier + from, n_earlier - from, later, HEAD_BYTES);
        if (!at) return false;
        size_t rest = n_earlier - (size_t)(at - earlier), same = common(at, rest, later, n_later);
        if (same >= (rest < n_later ? rest : n_later) / 2) {
            *by = (size_t)(at - earlier);
            return true;
        }
        from = (size_t)(at - earlier) + 1;
    }
    return false;
}

/* The entry that shows the same document, its origin brought to the window's; else one to be filled. */
static struct origin_entry *find(struct origin_memory *m, uint64_t client, const char *before, size_t len)
{
    struct origin_entry *oldest = &m->entries[0];
    for (int i = 0; i < ORIGIN_DOCUMENTS; i++) {
        struct origin_entry *e = &m->entries[i];
        size_t by;
        if (e->text && e->client == client) {
            if (slid(e->text, e->len, before, len, &by)) {
                e->origin += by;
                return e;
            }
            if (slid(before, len, e->text, e->len, &by) && by <= e->origin) {
                e->origin -= by;
                return e;
            }
        }
        if (e->last_use < oldest->last_use) oldest = e;
    }
    oldest->client = client;
    oldest->origin = ORIGIN_BASE;
    return oldest;
}

size_t origin_of(struct origin_memory *m, uint64_t client, const char *before, size_t len)
{
    if (len < HEAD_BYTES || len > ORIGIN_TEXT_MAX) return ORIGIN_BASE;
    struct origin_entry *e = find(m, client, before, len);
    char *text = mem_try_resize(e->text, len, 1);
    if (!text) return e->text ? e->origin : ORIGIN_BASE; /* the older window will do */
    memcpy(text, before, len);
    e->text = text;
    e->len = len;
    e->last_use = ++m->n_uses;
    return e->origin;
}

void origin_clear(struct origin_memory *m)
{
    for (int i = 0; i < ORIGIN_DOCUMENTS; i++) mem_free(m->entries[i].text);
    *m = (struct origin_memory){0};
}
