/* See typist.h. */
#include "support/typist.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define TEXT_MAX ((size_t)64 << 10)
#define LEN_MOST                                                                                             \
    ((size_t)7000) /* then some of it is deleted: more than a window, so that all of a document              \
                      is not always shown */
#define LEN_LEAST ((size_t)1200)
#define FUNCTIONS 12 /* of a document at first */

/* Some with a grammar, whose trees cost most of the time that a test takes, and some without. */
static const struct typist_document documents[TYPIST_DOCUMENTS] = {
    {.uri = "file:///p/src/queue.c", .path = "src/queue.c"},
    {.uri = "file:///p/src/shelf.cs", .path = "src/shelf.cs"},
    {.uri = "file:///p/tools/load.py", .path = "tools/load.py"},
    {.uri = "file:///p/tools/pack.rb", .path = "tools/pack.rb", .is_crlf = true},
    {.uri = "file:///p/src/find.zig", .path = "src/find.zig"},
    {.uri = "file:///p/notes.txt", .path = "notes.txt"},
};

/* xorshift64* (Vigna 2016). */
uint64_t typist_random(struct typist *t, uint64_t n)
{
    t->random ^= t->random >> 12;
    t->random ^= t->random << 25;
    t->random ^= t->random >> 27;
    return ((t->random * 0x2545f4914f6cdd1du) >> 16) % n;
}

/* ---- Texts ---- */

static const char *word(struct typist *t)
{
    static const char *const words[] = {"load", "pack", "shelf", "queue", "item", "count", "find", "total"};
    return words[typist_random(t, 8)];
}

static void write_function(struct typist *t, const char *path, struct buf *out)
{
    const char *a = word(t), *b = word(t), *c = word(t), *d = word(t);
    if (strstr(path, ".py")) {
        buf_printf(out,
                   "def %s_%s(a, b):\n    \"\"\"The %s.\"\"\"\n    %s = %s_%s(a)\n    if %s > b:\n"
                   "        return %s\n    return b\n\n\n",
                   a, b, c, d, c, a, d, d);
    } else if (strstr(path, ".cs")) {
        buf_printf(out, "/* The %s of a %s. */\nint %s_%s(int %s, int %s);\n\n", a, b, a, b, c, d);
    } else {
        buf_printf(out,
                   "/* The %s. */\nint %s_%s(int a, int b)\n{\n    int %s = %s_%s(a);\n    if (%s > b) {\n"
                   "        return %s;\n    }\n    return b;\n}\n\n",
                   c, a, b, d, c, a, d, d);
    }
}

void typist_write(struct typist *t, const char *path, int n_functions, struct buf *out)
{
    if (strstr(path, ".c") && !strstr(path, ".cs")) buf_add_str(out, "#include \"shelf.h\"\n\n");
    if (strstr(path, ".py")) buf_add_str(out, "import load\n\n\n");
    for (int i = 0; i < n_functions; i++) write_function(t, path, out);
}

static void add_crlf(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) buf_add_char(out, '\r');
        buf_add_char(out, text[i]);
    }
}

/* Another text for all of a document. */
static void write_document(struct typist *t, const struct typist_document *d, struct buf *out)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    typist_write(t, d->path, FUNCTIONS, &text);
    if (d->is_crlf) {
        add_crlf(out, text.data, text.len);
    } else {
        buf_add(out, text.data, text.len);
    }
    buf_clear(&text);
}

/* ---- Documents ---- */

struct open_document *typist_open(const struct typist *t, int side, int document)
{
    return documents_find(t->sides[side], documents[document].uri);
}

static const struct text *text_of(const struct typist *t)
{
    return &typist_open(t, 0, t->here)->text;
}

size_t typist_cursor(const struct typist *t)
{
    return t->documents[t->here].cursor;
}

static void open_document(struct typist *t, int i, const char *bytes, size_t len)
{
    const struct typist_document *d = &documents[i];
    for (int side = 0; side < TYPIST_SIDES; side++) {
        if (documents_open(t->sides[side], d->uri, d->path, NULL, 1, bytes, len, NULL)) abort();
    }
}

void typist_init(struct typist *t, uint64_t seed)
{
    *t = (struct typist){.random = seed * 0x9e3779b97f4a7c15u + 1};
    memcpy(t->documents, documents, sizeof documents);
    buf_init(&t->suggestion, TEXT_MAX);
    for (int side = 0; side < TYPIST_SIDES; side++) t->sides[side] = documents_new();
    for (int i = 0; i < TYPIST_DOCUMENTS; i++) {
        struct buf text;
        buf_init(&text, TEXT_MAX);
        write_document(t, &documents[i], &text);
        open_document(t, i, text.data, text.len);
        t->documents[i].cursor = text.len;
        buf_clear(&text);
    }
}

static void free_edit(struct typist_edit *e)
{
    mem_free(e->old_bytes);
    mem_free(e->new_bytes);
}

static void forget_edits(struct typist_document *d, int from)
{
    while (d->n_edits > from) free_edit(&d->edits[--d->n_edits]);
    if (d->n_done > d->n_edits) d->n_done = d->n_edits;
}

void typist_clear(struct typist *t)
{
    for (int i = 0; i < TYPIST_DOCUMENTS; i++) forget_edits(&t->documents[i], 0);
    for (int side = 0; side < TYPIST_SIDES; side++) documents_free(&t->sides[side]);
    buf_clear(&t->suggestion);
}

/* ---- Edits ---- */

/* The cursor may not stand within a character or a line's end. */
static size_t whole(const struct typist *t, size_t at)
{
    const struct text *text = text_of(t);
    if (at >= text->len) return text->len;
    while (at > 0 && utf8_is_continuation(text->bytes[at])) at--;
    return at > 0 && text->bytes[at] == '\n' && text->bytes[at - 1] == '\r' ? at - 1 : at;
}

static void splice(struct typist *t, size_t from, size_t to, const char *bytes, size_t len)
{
    if (t->on_edit) t->on_edit(t->ctx, t->here, from, to, from + len);
    for (int side = 0; side < TYPIST_SIDES; side++) {
        if (documents_splice(t->sides[side], typist_open(t, side, t->here), from, to, bytes, len)) abort();
    }
}

static char *copy(const char *bytes, size_t len)
{
    char *out = mem_new(len + 1);
    if (len > 0) memcpy(out, bytes, len);
    return out;
}

/* An edit that can be undone; the cursor goes behind it. */
static void replace(struct typist *t, size_t from, size_t to, const char *bytes, size_t len)
{
    struct typist_document *d = &t->documents[t->here];
    forget_edits(d, d->n_done);
    if (d->n_edits == TYPIST_UNDO_MAX) {
        free_edit(&d->edits[0]);
        memmove(d->edits, d->edits + 1, (TYPIST_UNDO_MAX - 1) * sizeof *d->edits);
        d->n_edits--;
    }
    d->edits[d->n_edits++] = (struct typist_edit){.from = from,
                                                  .cursor = d->cursor,
                                                  .old_bytes = copy(text_of(t)->bytes + from, to - from),
                                                  .old_len = to - from,
                                                  .new_bytes = copy(bytes, len),
                                                  .new_len = len};
    d->n_done = d->n_edits;
    splice(t, from, to, bytes, len);
    d->cursor = from + len;
}

static void undo(struct typist *t)
{
    struct typist_document *d = &t->documents[t->here];
    if (d->n_done == 0) return;
    const struct typist_edit *e = &d->edits[--d->n_done];
    splice(t, e->from, e->from + e->new_len, e->old_bytes, e->old_len);
    d->cursor = e->cursor;
}

static void redo(struct typist *t)
{
    struct typist_document *d = &t->documents[t->here];
    if (d->n_done == d->n_edits) return;
    const struct typist_edit *e = &d->edits[d->n_done++];
    splice(t, e->from, e->from + e->old_len, e->new_bytes, e->new_len);
    d->cursor = e->from + e->new_len;
}

void typist_type(struct typist *t, const char *text, size_t len)
{
    struct buf bytes;
    size_t cursor = typist_cursor(t);
    buf_init(&bytes, TEXT_MAX);
    if (t->documents[t->here].is_crlf) {
        add_crlf(&bytes, text, len);
    } else {
        buf_add(&bytes, text, len);
    }
    replace(t, cursor, cursor, bytes.data, bytes.len);
    buf_clear(&bytes);
}

/* ---- Suggestions ---- */

void typist_show(struct typist *t, const char *text, size_t len)
{
    buf_reset(&t->suggestion);
    buf_add(&t->suggestion, text, len);
    t->suggestion_at = typist_cursor(t);
}

/* Type the first bytes of what is suggested, in whole characters; the rest stays suggested. */
static void take(struct typist *t, size_t n)
{
    struct buf *s = &t->suggestion;
    while (n < s->len && (utf8_is_continuation(s->data[n]) || (s->data[n] == '\n' && s->data[n - 1] == '\r')))
        n++;
    if (n > s->len) n = s->len;
    typist_type(t, s->data, n);
    memmove(s->data, s->data + n, s->len - n);
    s->len -= n;
    t->suggestion_at = typist_cursor(t);
}

static size_t first_line(const struct buf *s)
{
    const char *newline = memchr(s->data, '\n', s->len);
    return newline ? (size_t)(newline - s->data) + 1 : s->len;
}

static void follow(struct typist *t)
{
    switch (typist_random(t, 8)) {
    case 0:
        take(t, t->suggestion.len);
        break;
    case 1:
        take(t, first_line(&t->suggestion));
        break;
    default:
        take(t, 1 + typist_random(t, 3));
    }
}

/* ---- What one does ---- */

static void type_something(struct typist *t)
{
    static const char *const pieces[] = {"a",   "e",       "i", "x1", "_",  "(",    ")",
                                         ";",   "\n    ",  " ", ", ", "\n", "int ", "caf\xc3\xa9",
                                         " = ", "return ", "{", "}",  "\"", "."};
    const char *piece = pieces[typist_random(t, sizeof pieces / sizeof *pieces)];
    typist_type(t, piece, strlen(piece));
}

static void delete_back(struct typist *t)
{
    size_t cursor = typist_cursor(t), n = typist_random(t, 6) == 0 ? 1 + typist_random(t, 12) : 1;
    size_t from = whole(t, cursor > n ? cursor - n : 0);
    replace(t, from, cursor, "", 0);
}

/* A line somewhere else, which the cursor then comes back from. */
static void edit_elsewhere(struct typist *t)
{
    struct typist_document *d = &t->documents[t->here];
    size_t at = whole(t, typist_random(t, text_of(t)->len + 1)), before = d->cursor;
    bool is_insertion = typist_random(t, 2) == 0;
    size_t to = is_insertion ? at : whole(t, at + typist_random(t, 8));
    if (to < at) to = at;
    replace(t, at, to, "y", is_insertion ? 1 : 0);
    if (before >= to) {
        d->cursor = before - (to - at) + (is_insertion ? 1 : 0);
    } else if (before <= at) {
        d->cursor = before;
    }
}

static void move(struct typist *t)
{
    struct typist_document *d = &t->documents[t->here];
    size_t len = text_of(t)->len;
    switch (typist_random(t, 4)) {
    case 0:
        d->cursor = whole(t, typist_random(t, len + 1));
        break;
    case 1: /* back to where something was edited */
        if (d->n_done > 0) {
            size_t at = d->edits[typist_random(t, (uint64_t)d->n_done)].cursor;
            d->cursor = whole(t, at);
        }
        break;
    case 2:
        d->cursor = whole(t, d->cursor + typist_random(t, 40));
        break;
    default:
        d->cursor = whole(t, d->cursor - typist_random(t, d->cursor < 40 ? d->cursor + 1 : 40));
    }
}

/* Keep documents at a size, as far as nobody undoes it. */
static void bound(struct typist *t)
{
    size_t len = text_of(t)->len, n = 1000 + typist_random(t, 1000);
    if (len > LEN_MOST) {
        size_t from = whole(t, typist_random(t, len - n));
        replace(t, from, whole(t, from + n), "", 0);
    } else if (len < LEN_LEAST) {
        struct buf text;
        buf_init(&text, TEXT_MAX);
        typist_write(t, documents[t->here].path, FUNCTIONS, &text);
        typist_type(t, text.data, text.len);
        buf_clear(&text);
    }
}

/* All of the text changes, as by a formatter or another branch; or the document is closed and opened. */
static void renew(struct typist *t)
{
    struct typist_document *d = &t->documents[t->here];
    struct buf text;
    buf_init(&text, TEXT_MAX);
    bool is_closed = typist_random(t, 2) == 0;
    if (is_closed) {
        buf_add(&text, text_of(t)->bytes, text_of(t)->len);
    } else {
        write_document(t, d, &text);
        if (t->on_edit) t->on_edit(t->ctx, t->here, 0, text_of(t)->len, text.len);
    }
    for (int side = 0; side < TYPIST_SIDES && is_closed; side++) documents_close(t->sides[side], d->uri);
    open_document(t, t->here, text.data, text.len);
    buf_clear(&text);
    if (!is_closed) forget_edits(d, 0);
    d->cursor = whole(t, d->cursor);
}

void typist_reconnect(struct typist *t)
{
    struct buf text;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < TYPIST_DOCUMENTS; i++) {
        const struct text *now = &typist_open(t, 0, i)->text;
        buf_reset(&text);
        buf_add(&text, now->bytes, now->len);
        for (int side = 0; side < TYPIST_SIDES; side++) documents_close(t->sides[side], documents[i].uri);
        open_document(t, i, text.data, text.len);
    }
    buf_clear(&text);
}

void typist_step(struct typist *t)
{
    uint64_t dice = typist_random(t, 1000);
    bool is_suggested = t->suggestion.len > 0 && t->suggestion_at == typist_cursor(t);
    if (dice < 380 && is_suggested) {
        follow(t);
    } else if (dice < 560) {
        type_something(t);
    } else if (dice < 680) {
        delete_back(t);
    } else if (dice < 780) {
        undo(t);
    } else if (dice < 840) {
        redo(t);
    } else if (dice < 870) {
        edit_elsewhere(t);
    } else if (dice < 940) {
        move(t);
    } else if (dice < 997) {
        t->here = (int)typist_random(t, TYPIST_DOCUMENTS);
    } else {
        renew(t);
    }
    bound(t);
}
