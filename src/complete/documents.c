/* Open documents in one array, found by comparing names: an editor has tens of them. The order means
 * nothing; closing moves the last one into the gap. */
#include "complete/documents.h"

#include <string.h>

#include "base/mem.h"

struct entry {
    char *uri;        /* owned */
    struct text text; /* owned */
};

struct documents {
    struct entry entries[DOCUMENTS_MAX];
    size_t n;
    size_t n_bytes; /* of all texts */
};

struct documents *documents_new(void)
{
    return MEM_NEW(struct documents);
}

static void clear_entry(struct entry *e)
{
    text_clear(&e->text);
    mem_free(e->uri);
    *e = (struct entry){0};
}

void documents_free(struct documents **d)
{
    if (!*d) return;
    for (size_t i = 0; i < (*d)->n; i++) clear_entry(&(*d)->entries[i]);
    mem_free(*d);
    *d = NULL;
}

static struct entry *find(struct documents *d, const char *uri)
{
    for (size_t i = 0; i < d->n; i++) {
        if (strcmp(d->entries[i].uri, uri) == 0) return &d->entries[i];
    }
    return NULL;
}

/* Text that comes in may grow while it is repaired, to three bytes for one; so the bound is checked on
 * what text_init made of it. */
static enum err make_text(size_t n_other_bytes, const char *bytes, size_t len, struct text *out)
{
    enum err err = len > DOCUMENTS_BYTES_MAX - n_other_bytes ? ERR_LIMIT : text_init(out, bytes, len);
    if (!err && out->len > DOCUMENTS_BYTES_MAX - n_other_bytes) {
        text_clear(out);
        err = ERR_LIMIT;
    }
    return err;
}

enum err documents_open(struct documents *d, const char *uri, int64_t version, const char *bytes, size_t len,
                        struct errmsg *msg)
{
    struct entry *e = find(d, uri);
    struct text text = {0};
    if (!e && d->n == DOCUMENTS_MAX) {
        return err_set(msg, ERR_LIMIT, "more than %d open documents", DOCUMENTS_MAX);
    }
    if (strlen(uri) > DOCUMENTS_URI_MAX) {
        return err_set(msg, ERR_LIMIT, "a URI of more than %d bytes", DOCUMENTS_URI_MAX);
    }
    enum err err = make_text(d->n_bytes - (e ? e->text.len : 0), bytes, len, &text);
    if (err) return err_set(msg, err, "a document of %zu bytes: %s", len, err_text(err));
    if (!e) {
        e = &d->entries[d->n++];
        e->uri = mem_dup_str(uri);
    }
    d->n_bytes += text.len - e->text.len;
    text_clear(&e->text);
    e->text = text;
    e->text.version = version;
    return OK;
}

bool documents_close(struct documents *d, const char *uri)
{
    struct entry *e = find(d, uri);
    if (!e) return false;
    d->n_bytes -= e->text.len;
    clear_entry(e);
    struct entry *last = &d->entries[--d->n];
    if (e != last) {
        *e = *last;
        *last = (struct entry){0};
    }
    return true;
}

struct text *documents_find(struct documents *d, const char *uri)
{
    struct entry *e = find(d, uri);
    return e ? &e->text : NULL;
}

enum err documents_splice(struct documents *d, struct text *t, size_t from, size_t to, const char *bytes,
                          size_t len)
{
    size_t before = t->len;
    if (len > DOCUMENTS_BYTES_MAX - d->n_bytes) return ERR_LIMIT;
    enum err err = text_splice(t, from, to, bytes, len);
    if (!err) d->n_bytes += t->len - before;
    return err;
}
