/* Open documents in one array, found by comparing names: an editor has tens of them.
 *
 * All ways to change a text end in documents_replace, which keeps everything that stands on the text's
 * offsets true: the places that were edited lately, the builder's anchors. What a replacement leaves as it
 * was at its two ends is cut off first, so that clients that send whole texts, whole lines or single
 * characters cause the same edits. */
#include "context/documents_impl.h"

#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "context/builder.h"
#include "context/syntax.h"

/* Edits with no more than this between them are one: somebody works on one thing. */
#define NEAR_LINES 8
#define NEAR_BYTES ((size_t)2048) /* for texts without lines, and so that the way is short */
/* Changes do not grow beyond this by edits next to them, so that a file that is typed from top to bottom
 * still tells where the latest edits were. About a hundred lines. */
#define CHANGE_BYTES_MAX ((size_t)4096)

struct documents *documents_new(void)
{
    return MEM_NEW(struct documents);
}

void documents_on_edit(struct documents *d,
                       void (*on_edit)(void *ctx, const struct open_document *doc, size_t from, size_t old_to,
                                       size_t new_to),
                       void *ctx)
{
    d->on_edit = on_edit;
    d->ctx = ctx;
}

static void free_entry(struct documents_entry **e)
{
    struct open_document *doc = &(*e)->doc;
    builder_free(&doc->builder);
    outline_clear(&doc->outline);
    text_clear(&doc->text);
    mem_free(doc->uri);
    mem_free(doc->path);
    mem_free(*e);
    *e = NULL;
}

void documents_free(struct documents **d)
{
    if (!*d) return;
    for (int32_t i = 0; i < (*d)->n; i++) free_entry(&(*d)->entries[i]);
    mem_free(*d);
    *d = NULL;
}

/* --- Looking up -------------------------------------------------------------------------------------- */

static int32_t index_of(const struct documents *d, const char *uri)
{
    for (int32_t i = 0; i < d->n; i++) {
        if (strcmp(d->entries[i]->doc.uri, uri) == 0) return i;
    }
    return -1;
}

struct open_document *documents_find(struct documents *d, const char *uri)
{
    int32_t i = index_of(d, uri);
    return i < 0 ? NULL : &d->entries[i]->doc;
}

int32_t documents_n(const struct documents *d)
{
    return d->n;
}

struct open_document *documents_at(struct documents *d, int32_t i)
{
    return i >= 0 && i < d->n ? &d->entries[i]->doc : NULL;
}

uint64_t documents_time(const struct documents *d)
{
    return d->time;
}

void documents_visit(struct documents *d, struct open_document *doc)
{
    doc->seen = ++d->time;
}

size_t documents_bytes(const struct documents *d)
{
    size_t n = sizeof *d;
    for (int32_t i = 0; i < d->n; i++) {
        const struct open_document *doc = &d->entries[i]->doc;
        n += sizeof *d->entries[i] + strlen(doc->uri) + 1 + strlen(doc->path) + 1 + doc->text.cap;
        if (doc->builder) n += builder_bytes(doc->builder);
        n += (size_t)doc->outline.n_units * sizeof *doc->outline.units +
             (size_t)doc->outline.n_imports * sizeof *doc->outline.imports;
    }
    return n;
}

/* --- Opening and closing ----------------------------------------------------------------------------- */

/* Whether `len` bytes, or what repairing makes of them, fit besides `n_other` bytes of texts. */
static bool fits(size_t n_other, const char *bytes, size_t len)
{
    size_t room = DOCUMENTS_BYTES_MAX - n_other;
    return len <= room && text_repaired_len(bytes, len) <= room;
}

static const struct language *language_for(const char *uri, const char *path, const char *bytes, size_t len)
{
    return language_of_path(path && path[0] ? path : uri, bytes, len);
}

/* Openings have different times, collections that are there at once different addresses. */
static uint64_t id_of(const struct documents *d)
{
    return XXH3_64bits_withSeed(&d, sizeof d, d->time) | 1;
}

static enum err add(struct documents *d, const char *uri, const char *path, const struct language *language,
                    const char *bytes, size_t len, struct open_document **out)
{
    struct text text = {0};
    if (!fits(d->n_bytes, bytes, len)) return ERR_LIMIT;
    enum err err = text_init(&text, bytes, len);
    if (err) return err;
    struct documents_entry *e = MEM_NEW(struct documents_entry);
    e->doc = (struct open_document){
        .uri = mem_dup_str(uri), .path = mem_dup_str(path ? path : ""), .text = text, .seen = ++d->time};
    e->doc.id = id_of(d);
    e->doc.language = language ? language : language_for(uri, path, text.bytes, text.len);
    d->n_bytes += text.len;
    d->entries[d->n++] = e;
    *out = &e->doc;
    return OK;
}

/* What an open document was told by no longer holds: what was derived from it goes. */
static void rename_to(struct open_document *doc, const char *path, const struct language *language)
{
    if (path && strcmp(path, doc->path) != 0) {
        mem_free(doc->path);
        doc->path = mem_dup_str(path);
        builder_free(&doc->builder);
    }
    if (!language) language = language_for(doc->uri, doc->path, doc->text.bytes, doc->text.len);
    if (language != doc->language) {
        builder_free(&doc->builder);
        doc->language = language;
        doc->is_outlined = false;
    }
}

enum err documents_open(struct documents *d, const char *uri, const char *path,
                        const struct language *language, int64_t version, const char *bytes, size_t len,
                        struct errmsg *msg)
{
    struct open_document *doc = documents_find(d, uri);
    if (!doc && d->n == DOCUMENTS_MAX) {
        return err_set(msg, ERR_LIMIT, "more than %d open documents", DOCUMENTS_MAX);
    }
    if (strlen(uri) > DOCUMENTS_URI_MAX) {
        return err_set(msg, ERR_LIMIT, "a URI of more than %d bytes", DOCUMENTS_URI_MAX);
    }
    enum err err;
    if (!doc) {
        err = add(d, uri, path, language, bytes, len, &doc);
    } else {
        err = documents_replace(d, doc, 0, doc->text.len, bytes, len, DOCUMENTS_EDIT);
        if (!err) rename_to(doc, path, language);
    }
    if (err) return err_set(msg, err, "a document of %zu bytes: %s", len, err_text(err));
    doc->text.version = version;
    documents_visit(d, doc);
    return OK;
}

bool documents_close(struct documents *d, const char *uri)
{
    int32_t i = index_of(d, uri);
    if (i < 0) return false;
    d->n_bytes -= d->entries[i]->doc.text.len;
    free_entry(&d->entries[i]);
    d->entries[i] = d->entries[--d->n];
    return true;
}

/* --- Outlines ---------------------------------------------------------------------------------------- */

static enum err make_outline(struct open_document *doc)
{
    const struct text *t = &doc->text;
    struct syntax *s = t->len <= DOCUMENTS_TREE_BYTES_MAX ? syntax_new(doc->language) : NULL;
    bool is_parsed = s && syntax_parse(s, t->bytes, t->len, 0);
    enum err err = outline_build(doc->language, is_parsed ? s : NULL, t->bytes, t->len, &doc->outline);
    syntax_free(&s);
    return err;
}

const struct outline *documents_outline(struct open_document *doc, size_t max_bytes)
{
    static const struct outline none = {0};
    if (doc->text.len > max_bytes) return &none;
    if (doc->is_outlined && doc->outline_edits == doc->n_edits) return &doc->outline;
    doc->is_outlined = !make_outline(doc);
    doc->outline_edits = doc->n_edits;
    if (!doc->is_outlined) outline_clear(&doc->outline);
    return &doc->outline;
}

/* --- Changes ----------------------------------------------------------------------------------------- */

/* Bytes from..old_to became from..new_to. */
struct edit {
    size_t from, old_to, new_to;
};

/* Move a change with the text; false: all of its text is gone. Nothing that the edit put in belongs to it,
 * unless that stands in its middle. */
static bool shift_change(struct document_change *c, const struct edit *e)
{
    if (e->from < e->old_to && e->from <= c->start && c->end <= e->old_to) return false;
    if (c->end > e->from || c->start >= e->old_to) {
        c->end = c->end > e->old_to ? c->end - e->old_to + e->new_to : e->from;
    }
    if (c->start >= e->old_to) {
        c->start = c->start - e->old_to + e->new_to;
    } else if (c->start >= e->from) {
        c->start = e->new_to;
    }
    if (c->end < c->start) c->end = c->start;
    return true;
}

static void shift_changes(struct open_document *doc, const struct edit *e)
{
    int32_t n = 0;
    for (int32_t i = 0; i < doc->n_changes; i++) {
        struct document_change c = doc->changes[i];
        if (shift_change(&c, e)) doc->changes[n++] = c;
    }
    doc->n_changes = n;
}

/* Whether there are few lines between two changes, if anything at all. */
static bool is_near(const struct text *t, const struct document_change *a, const struct document_change *b)
{
    size_t from = a->end < b->end ? a->end : b->end, to = a->start > b->start ? a->start : b->start;
    if (from >= to) return true;
    if (to - from > NEAR_BYTES) return false;
    int n_lines = 0;
    for (size_t at = from; at < to && n_lines <= NEAR_LINES; at++) n_lines += t->bytes[at] == '\n';
    return n_lines <= NEAR_LINES;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Take `other` into c if they are near each other and the whole is not too long to say where. */
static bool merge_change(const struct text *t, struct document_change *c, const struct document_change *other)
{
    size_t start = c->start < other->start ? c->start : other->start, end = max_size(c->end, other->end);
    size_t longer = max_size(c->end - c->start, other->end - other->start);
    if (end - start > max_size(CHANGE_BYTES_MAX, longer) || !is_near(t, c, other)) return false;
    c->start = start;
    c->end = end;
    return true;
}

static void add_change(struct open_document *doc, size_t start, size_t end, uint64_t time)
{
    struct document_change c = {.start = start, .end = end, .time = time};
    int32_t n = 0;
    for (int32_t i = 0; i < doc->n_changes; i++) {
        if (!merge_change(&doc->text, &c, &doc->changes[i])) doc->changes[n++] = doc->changes[i];
    }
    if (n == DOCUMENT_CHANGES_MAX) n--; /* the oldest goes */
    memmove(doc->changes + 1, doc->changes, (size_t)n * sizeof *doc->changes);
    doc->changes[0] = c;
    doc->n_changes = n + 1;
}

/* --- Edits ------------------------------------------------------------------------------------------- */

/* Leave out what a replacement has in common with what it replaces, in whole characters: at its beginning,
 * then at its end. */
static void trim(const struct text *t, size_t *from, size_t *to, const char **bytes, size_t *len)
{
    size_t n = text_common_prefix(t->bytes + *from, *to - *from, *bytes, *len);
    n = text_char_start(t, *from + n) - *from;
    *from += n;
    *bytes += n;
    *len -= n;
    n = text_common_suffix(t->bytes + *from, *to - *from, *bytes, *len);
    while (n > 0 && utf8_is_continuation(t->bytes[*to - n])) n--;
    *to -= n;
    *len -= n;
}

static void follow(struct documents *d, struct open_document *doc, const struct edit *e,
                   enum documents_cause cause)
{
    doc->n_edits++;
    doc->seen = ++d->time;
    shift_changes(doc, e);
    builder_edit(doc->builder, e->from, e->old_to, e->new_to);
    if (d->on_edit) d->on_edit(d->ctx, doc, e->from, e->old_to, e->new_to);
    if (cause == DOCUMENTS_SLIDE) return;
    doc->n_deletions = e->new_to == e->from ? doc->n_deletions + 1 : 0;
    add_change(doc, e->from, e->new_to, d->time);
}

enum err documents_replace(struct documents *d, struct open_document *doc, size_t from, size_t to,
                           const char *bytes, size_t len, enum documents_cause cause)
{
    struct text *t = &doc->text;
    trim(t, &from, &to, &bytes, &len);
    if (from == to && len == 0) return OK;
    if (!fits(d->n_bytes - (to - from), bytes, len)) return ERR_LIMIT;

    size_t before = t->len;
    enum err err = text_splice(t, from, to, bytes, len);
    if (err) return err;
    struct edit e = {from, to, to + t->len - before};
    d->n_bytes += t->len - before;
    follow(d, doc, &e, cause);
    return OK;
}

enum err documents_splice(struct documents *d, struct open_document *doc, size_t from, size_t to,
                          const char *bytes, size_t len)
{
    from = text_char_start(&doc->text, from);
    to = text_char_start(&doc->text, to);
    return from <= to ? documents_replace(d, doc, from, to, bytes, len, DOCUMENTS_EDIT)
                      : documents_replace(d, doc, to, from, bytes, len, DOCUMENTS_EDIT);
}
