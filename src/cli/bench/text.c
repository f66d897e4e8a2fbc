/* A text under edit, in one piece of memory: what a keystroke costs here is nothing beside a completion. */
#include "cli/bench/text.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "context/document.h"

enum err bench_text_open(const char *path, int64_t line, int64_t column, struct bench_text *out,
                         struct errmsg *msg)
{
    struct document *doc = NULL;
    *out = (struct bench_text){0};
    enum err err = document_open(path, &doc, msg);
    if (!err) err = document_offset(doc, line, column, &out->cursor, msg);
    if (!err) {
        out->text = doc->text;
        out->len = out->cap = doc->len;
        doc->text = NULL;
    }
    document_free(&doc);
    return err;
}

void bench_text_clear(struct bench_text *t)
{
    mem_free(t->text);
    *t = (struct bench_text){0};
}

enum err bench_text_insert(struct bench_text *t, size_t at, const char *bytes, size_t n)
{
    if (n > t->cap - t->len) {
        size_t cap = t->len + n + t->len / 8 + 4096;
        char *grown = mem_try_resize(t->text, cap, 1);
        if (!grown) return ERR_NOMEM;
        t->text = grown;
        t->cap = cap;
    }
    memmove(t->text + at + n, t->text + at, t->len - at);
    memcpy(t->text + at, bytes, n);
    t->len += n;
    if (t->cursor >= at) t->cursor += n;
    return OK;
}

void bench_text_delete(struct bench_text *t, size_t at, size_t n)
{
    memmove(t->text + at, t->text + at + n, t->len - at - n);
    t->len -= n;
    if (t->cursor >= at + n)
        t->cursor -= n;
    else if (t->cursor > at)
        t->cursor = at;
}

size_t bench_text_char(const char *text, size_t len, size_t at)
{
    size_t end = at + 1;
    while (end < len && utf8_is_continuation(text[end])) end++;
    return end - at;
}

size_t bench_text_lines_before(const struct bench_text *t, size_t at, int32_t n)
{
    size_t start = at;
    for (int32_t i = 0; i <= n; i++) {
        const char *newline = start > 0 ? memrchr(t->text, '\n', start) : NULL;
        if (!newline) return 0;
        start = (size_t)(newline - t->text);
    }
    return start + 1;
}

size_t bench_text_lines_after(const struct bench_text *t, size_t at, int32_t n)
{
    size_t end = at;
    for (int32_t i = 0; i <= n; i++) {
        const char *newline = end < t->len ? memchr(t->text + end, '\n', t->len - end) : NULL;
        if (!newline) return t->len;
        end = (size_t)(newline - t->text) + 1;
    }
    return end;
}
