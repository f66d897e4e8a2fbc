/* Choosing and writing the lead. */
#include "context/lead.h"

#include <string.h>

#include "context/choose.h"
#include "context/shown.h"

#define HEADS_MAX 4 /* deeper nesting says little more */

/* Keep the parts in order. */
static void insert(struct lead *l, enum context_kind kind, size_t from, size_t to)
{
    int32_t at = l->n++;
    for (; at > 0 && l->parts[at - 1].from > from; at--) l->parts[at] = l->parts[at - 1];
    l->parts[at] = (struct lead_part){.kind = kind, .from = from, .to = to};
}

static size_t add_heads(const struct gathering *g, size_t left, struct lead *out)
{
    const struct outline *o = g->outline;
    int32_t unit = g->unit;
    for (; unit >= 0 && out->n < HEADS_MAX; unit = o->units[unit].parent) {
        const struct outline_unit *u = &o->units[unit];
        size_t end = candidates_head_end(&g->in->doc->text, u);
        if (end > g->view->start) end = g->view->start;
        if (u->start >= end || end - u->start > left) continue;
        insert(out, CONTEXT_ENCLOSING, u->start, end);
        left -= end - u->start;
    }
    return left;
}

static bool is_named_near(const struct gathering *g, const struct outline_import *i)
{
    struct identifiers ids;
    identifiers_of(g->in->doc->text.bytes + i->start, i->end - i->start, &ids);
    for (int32_t n = 0; n < ids.n; n++) {
        if (identifiers_has(&g->near.identifiers, ids.hashes[n])) return true;
    }
    return false;
}

/* Those that bring in something that is named near the cursor; then the others. */
static void add_imports(const struct gathering *g, size_t left, struct lead *out)
{
    const struct outline *o = g->outline;
    bool is_taken[LEAD_PARTS_MAX * 4] = {0};
    const int32_t n_taken = (int32_t)(sizeof is_taken / sizeof *is_taken);
    for (int round = 0; round < 2; round++) {
        for (int32_t i = 0; i < o->n_imports && i < n_taken && out->n < LEAD_PARTS_MAX; i++) {
            const struct outline_import *import = &o->imports[i];
            size_t len = import->end - import->start;
            if (import->end > g->view->start || is_taken[i] || len > left) continue;
            if (round == 0 && !is_named_near(g, import)) continue;
            is_taken[i] = true;
            left -= len;
            insert(out, CONTEXT_IMPORT, import->start, import->end);
        }
    }
}

/* Imports that touch are one part; what overlaps (an import in a definition's head) is there once. */
static void merge(struct lead *l)
{
    int32_t n = 0;
    for (int32_t i = 0; i < l->n; i++) {
        struct lead_part *last = n > 0 ? &l->parts[n - 1] : NULL;
        bool is_same = last && last->kind == l->parts[i].kind && last->to == l->parts[i].from;
        if (last && (is_same || l->parts[i].from < last->to)) {
            if (l->parts[i].to > last->to) last->to = l->parts[i].to;
        } else {
            l->parts[n++] = l->parts[i];
        }
    }
    l->n = n;
}

static bool is_blank(const char *text, size_t from, size_t to)
{
    while (from < to && (text[from] == ' ' || (text[from] >= '\t' && text[from] <= '\r'))) from++;
    return from == to;
}

/* An elision where something other than imports was left out. */
static enum err write(const struct gathering *g, struct lead *l)
{
    const struct open_document *doc = g->in->doc;
    struct shown_text t = {g->in->secrets, doc->text.bytes, doc->text.len};
    enum err err = OK;
    for (int32_t i = 0; i < l->n && !err; i++) {
        struct lead_part *p = &l->parts[i];
        size_t next = i + 1 < l->n ? l->parts[i + 1].from : g->view->start;
        bool is_among_imports =
            i + 1 < l->n && p->kind == CONTEXT_IMPORT && l->parts[i + 1].kind == CONTEXT_IMPORT;
        p->text = l->text.len;
        err = shown_add(&t, p->from, p->to, p->to, &l->text, &l->text, &l->n_secrets);
        p->text_len = l->text.len - p->text;
        if (!err && !is_among_imports && !is_blank(t.bytes, p->to, next))
            shown_add_elision(doc->language, &t, next, &l->text);
    }
    return err ? err : l->text.err;
}

static enum err count_tokens(const struct tokenizer *t, struct lead *l)
{
    enum err err = choose_count_tokens(t, buf_str(&l->text), l->text.len, &l->n_tokens);
    for (int32_t i = 0; i < l->n && !err; i++) {
        struct lead_part *p = &l->parts[i];
        err = choose_count_tokens(t, buf_str(&l->text) + p->text, p->text_len, &p->n_tokens);
    }
    return err;
}

enum err lead_build(const struct gathering *g, size_t max_bytes, struct lead *out)
{
    *out = (struct lead){0};
    buf_init(&out->text, SIZE_MAX);
    if (g->view->start == 0) return OK;
    size_t left = add_heads(g, max_bytes, out);
    add_imports(g, left, out);
    merge(out);
    enum err err = write(g, out);
    return err ? err : count_tokens(g->in->tokenizer, out);
}

bool lead_overlaps(const struct lead *l, size_t from, size_t to)
{
    for (int32_t i = 0; i < l->n; i++) {
        if (l->parts[i].from < to && from < l->parts[i].to) return true;
    }
    return false;
}

void lead_clear(struct lead *l)
{
    buf_clear(&l->text);
    *l = (struct lead){0};
}
