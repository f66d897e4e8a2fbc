/* Documents of clients that name none.
 *
 * Each request brings a text and a cursor. Among the documents that such requests brought before, it belongs
 * to the one whose text became this one by the least (slide.h); the latest are tried first, and one that
 * fits but for a few typed words ends the search. The document then follows in up to three replacements, so
 * that everything that stands on its offsets stays true. */
#include "context/documents_impl.h"

#include <stdio.h>
#include <string.h>

#include "context/builder.h"
#include "context/slide.h"

/* Longer texts before the cursor are no windows but whole documents. */
#define WINDOW_BYTES_MAX ((size_t)64 << 10)
/* The origin of a window that was not seen before: the document may begin that much earlier. */
#define WINDOW_ORIGIN ((size_t)1 << 30)
/* As much may be written at a text's end between two requests: some words, a suggestion. */
#define TYPED_BYTES ((size_t)256)
/* As much edited, some lines that were deleted, leaves little doubt that this is the same document. With more
 * an older one explains the text better if it needs that many times less: for it may well be what the later
 * one was a while ago. */
#define EDITED_BYTES ((size_t)1024)
#define CLEARLY      4

struct request {
    const char *path, *text;
    size_t len, cursor;
    bool is_window;
};

/* --- Which document ---------------------------------------------------------------------------------- */

static bool is_candidate(const struct documents_entry *e, const struct request *r)
{
    return e->is_recognised && (!r->path[0] || strcmp(e->doc.path, r->path) == 0);
}

/* The candidate that was worked in last, before the time `before`; null: none. */
static struct open_document *latest(struct documents *d, const struct request *r, uint64_t before)
{
    struct open_document *found = NULL;
    for (int32_t i = 0; i < d->n; i++) {
        struct open_document *doc = &d->entries[i]->doc;
        if (!is_candidate(d->entries[i], r) || doc->seen >= before) continue;
        if (!found || doc->seen > found->seen) found = doc;
    }
    return found;
}

/* A document that did not begin as a window stays whole: its text does not slide. */
static bool became(const struct open_document *doc, const struct request *r, struct slide *out)
{
    return slide_find(doc->text.bytes, doc->text.len, r->text, r->len, r->cursor,
                      r->is_window && doc->origin > 0, out) &&
           out->new_start <= doc->origin;
}

static struct open_document *find(struct documents *d, const struct request *r, struct slide *out)
{
    struct open_document *best = NULL, *doc = latest(d, r, UINT64_MAX);
    size_t least = SIZE_MAX;
    for (; doc && least > EDITED_BYTES; doc = latest(d, r, doc->seen)) {
        struct slide s;
        if (!became(doc, r, &s) || slide_n_edited(&s) >= least / CLEARLY) continue;
        least = slide_n_edited(&s);
        best = doc;
        *out = s;
    }
    return best;
}

/* --- Bringing it to the new text --------------------------------------------------------------------- */

/* Whether what differs at the texts' ends was written or deleted there: nothing slides in a whole document,
 * and what slides into sight is behind the cursor by a part of the window. */
static bool is_end_edited(const struct open_document *doc, const struct request *r, size_t old_rest,
                          size_t new_rest)
{
    if (doc->origin == 0) return true;
    bool is_cursor_there = r->cursor > new_rest || r->cursor == r->len;
    return is_cursor_there && doc->text.len - old_rest + r->len - new_rest <= TYPED_BYTES;
}

/* From the end to the beginning, so that offsets stay valid. */
static enum err follow(struct documents *d, struct open_document *doc, const struct request *r,
                       const struct slide *s)
{
    size_t old_rest = s->old_edit_end + s->n_same_after, new_rest = s->new_edit_end + s->n_same_after;
    enum documents_cause at_end =
        is_end_edited(doc, r, old_rest, new_rest) ? DOCUMENTS_EDIT : DOCUMENTS_SLIDE;
    enum err err =
        documents_replace(d, doc, old_rest, doc->text.len, r->text + new_rest, r->len - new_rest, at_end);
    if (err) return err;
    size_t edit = s->new_start + s->n_same;
    err = documents_replace(d, doc, s->old_start + s->n_same, s->old_edit_end, r->text + edit,
                            s->new_edit_end - edit, DOCUMENTS_EDIT);
    if (err) return err;
    err = documents_replace(d, doc, 0, s->old_start, r->text, s->new_start, DOCUMENTS_SLIDE);
    if (!err) doc->origin = doc->origin + s->old_start - s->new_start;
    return err;
}

/* The document of the request's path, whose text is of another place in it: nothing there stays. */
static enum err jump(struct documents *d, struct open_document *doc, const struct request *r)
{
    enum err err = documents_replace(d, doc, 0, doc->text.len, "", 0, DOCUMENTS_SLIDE);
    if (!err) err = documents_replace(d, doc, 0, 0, r->text, r->len, DOCUMENTS_SLIDE);
    doc->origin = r->is_window ? WINDOW_ORIGIN : 0;
    return err;
}

/* --- New ones ---------------------------------------------------------------------------------------- */

/* Close the least recently used recognised document. False: there is none. */
static bool forget_one(struct documents *d)
{
    const struct open_document *oldest = NULL;
    for (int32_t i = 0; i < d->n; i++) {
        const struct documents_entry *e = d->entries[i];
        if (e->is_recognised && (!oldest || e->doc.seen < oldest->seen)) oldest = &e->doc;
    }
    return oldest && documents_close(d, oldest->uri);
}

static int32_t n_recognised(const struct documents *d)
{
    int32_t n = 0;
    for (int32_t i = 0; i < d->n; i++) n += d->entries[i]->is_recognised;
    return n;
}

static struct open_document *add(struct documents *d, const struct request *r, int32_t max)
{
    char uri[48];
    (void)snprintf(uri, sizeof uri, "unnamed:%llu", (unsigned long long)++d->n_recognised);
    while (n_recognised(d) > 0 && (n_recognised(d) >= max || d->n == DOCUMENTS_MAX)) (void)forget_one(d);
    enum err err;
    do {
        err = documents_open(d, uri, r->path, NULL, 0, r->text, r->len, NULL);
    } while (err == ERR_LIMIT && forget_one(d));
    if (err) return NULL;
    struct documents_entry *e = d->entries[d->n - 1];
    e->is_recognised = true;
    e->doc.origin = r->is_window ? WINDOW_ORIGIN : 0;
    return &e->doc;
}

struct open_document *documents_recognise(struct documents *d, const char *path, const char *text, size_t len,
                                          size_t cursor, int32_t max)
{
    struct request r = {.path = path ? path : "",
                        .text = text,
                        .len = len,
                        .cursor = cursor < len ? cursor : len,
                        .is_window = cursor <= WINDOW_BYTES_MAX};
    struct slide s;
    struct open_document *doc = find(d, &r, &s);
    enum err err = OK;
    if (doc) {
        err = follow(d, doc, &r, &s);
    } else if (r.path[0] && (doc = latest(d, &r, UINT64_MAX)) != NULL) {
        err = jump(d, doc, &r);
    } else {
        return add(d, &r, max);
    }
    if (err) { /* neither the older text nor the newer one: of no use */
        (void)documents_close(d, doc->uri);
        return NULL;
    }
    documents_visit(d, doc);
    return doc;
}
