/* Edits: an open document and its outline under whatever edits come.
 *
 * The input is a language (one byte), then edits of a byte each for the place, the bytes taken away and the
 * bytes put in, which follow; places are spread over the text. Now and then the document is outlined on the
 * way; at the end it must have the outline that the text has. Outlines and signatures must keep their bounds,
 * by a tree parsed at once or in slices of time, and by lines. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "context/documents.h"
#include "context/outline.h"
#include "context/syntax.h"

#define TEXT_MAX      4096 /* parsing broken text costs more than its length: short inputs find more */
#define SIGNATURE_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const languages[] = {
    "c",    "cpp", "python",      "javascript", "typescript", "typescriptreact", "go",      "rust",
    "java", "lua", "shellscript", "json",       "ruby",       "kotlin",          "haskell", "plaintext"};

static void require(bool holds)
{
    if (!holds) abort();
}

struct input {
    const uint8_t *data;
    size_t size, at;
};

static size_t take(struct input *in)
{
    return in->at < in->size ? in->data[in->at++] : 0;
}

static void edit(struct documents *d, struct open_document *doc, struct input *in)
{
    size_t place = take(in), n_old = take(in) & 0x3f, n_new = take(in) & 0x3f, len = doc->text.len;
    size_t from = len * place / 255, to = from + n_old < len ? from + n_old : len;
    if (n_new > in->size - in->at) n_new = in->size - in->at;
    if (len + 3 * n_new > TEXT_MAX) return; /* what is not UTF-8 becomes three bytes for one */
    require(documents_splice(d, doc, from, to, (const char *)in->data + in->at, n_new) == OK);
    in->at += n_new;
    for (int32_t i = 0; i < doc->n_changes; i++) {
        require(doc->changes[i].start <= doc->changes[i].end && doc->changes[i].end <= doc->text.len);
        require(i == 0 || doc->changes[i].time <= doc->changes[i - 1].time);
    }
}

static void check_outline(const struct language *l, const struct outline *o, const struct text *t)
{
    struct buf out;
    buf_init(&out, 65536);
    for (int32_t i = 0; i < o->n_units; i++) {
        const struct outline_unit *u = &o->units[i];
        require(u->comment <= u->start && u->start < u->end && u->end <= t->len);
        require(u->start <= u->body && u->body <= u->body_end && u->body_end <= u->end);
        require((size_t)u->name + u->name_len <= t->len && u->parent < i);
        require(i == 0 || o->units[i - 1].start <= u->start);
        require(outline_at(o, u->start) >= 0);
        buf_reset(&out);
        outline_write_signature(o, i, l, t->bytes, SIGNATURE_MAX, &out);
        require(out.err == OK && out.len <= SIGNATURE_MAX);
        require(out.len == 0 || out.data[out.len - 1] == '\n');
    }
    for (int32_t i = 0; i < o->n_imports; i++) {
        const struct outline_import *import = &o->imports[i];
        require(import->start < import->end && import->end <= t->len && import->target_len > 0);
        require((size_t)import->target + import->target_len <= t->len);
    }
    buf_clear(&out);
}

static void compare(const struct outline *a, const struct outline *b)
{
    require(a->n_units == b->n_units && a->n_imports == b->n_imports);
    require(a->n_units == 0 || memcmp(a->units, b->units, (size_t)a->n_units * sizeof *a->units) == 0);
    require(a->n_imports == 0 ||
            memcmp(a->imports, b->imports, (size_t)a->n_imports * sizeof *a->imports) == 0);
}

static void check_end(struct open_document *doc)
{
    const struct language *l = doc->language;
    const struct text *t = &doc->text;
    const struct outline *o = documents_outline(doc, SIZE_MAX);
    struct outline other = {0};
    struct syntax *s = syntax_new(l);
    if (s) require(syntax_parse(s, t->bytes, t->len, 0));
    require(outline_build(l, s, t->bytes, t->len, &other) == OK);
    check_outline(l, o, t);
    compare(o, &other);
    while (s && !syntax_parse(s, t->bytes, t->len, 0.01)) continue;
    require(outline_build(l, s, t->bytes, t->len, &other) == OK);
    check_outline(l, &other, t);
    require(outline_build(l, NULL, t->bytes, t->len, &other) == OK);
    check_outline(l, &other, t);
    for (size_t at = 0; at <= t->len; at += 1 + t->len / 16) {
        require(syntax_place_at(l, t->bytes, t->len, at) == syntax_place_at(l, t->bytes, at, at));
    }
    outline_clear(&other);
    syntax_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size, 0};
    const struct language *l =
        language_of_id(languages[take(&in) % (sizeof languages / sizeof languages[0])]);
    struct documents *d = documents_new();
    require(documents_open(d, "a", NULL, l, 0, "", 0, NULL) == OK);
    struct open_document *doc = documents_find(d, "a");
    struct text *t = &doc->text;
    while (in.at < in.size) {
        edit(d, doc, &in);
        if (t->len % 3 == 0) (void)documents_outline(doc, SIZE_MAX);
    }
    if (t->len > 0) check_end(doc);
    documents_free(&d);
    return 0;
}
