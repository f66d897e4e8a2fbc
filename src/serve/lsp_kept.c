/* See lsp_kept.h. */
#include "serve/lsp_kept.h"

/* --- Texts ------------------------------------------------------------------------------------------- */

/* FNV-1a (Fowler, Noll, Vo), without carriage returns: editors insert line ends as their documents have them.
 */
#define HASH_START 0xcbf29ce484222325u
static uint64_t grow(uint64_t hash, char c)
{
    return (hash ^ (unsigned char)c) * 0x100000001b3u;
}

static bool stands(const struct lsp_kept_text *s, const struct text *t)
{
    uint64_t hash = HASH_START;
    size_t n = 0;
    for (size_t at = s->start; at < t->len && n < s->len; at++) {
        if (t->bytes[at] == '\r') continue;
        hash = grow(hash, t->bytes[at]);
        n++;
    }
    return n == s->len && hash == s->hash;
}

static const struct open_document *find_document(struct documents *docs, uint64_t id)
{
    for (int32_t i = 0; i < documents_n(docs); i++) {
        const struct open_document *doc = documents_at(docs, i);
        if (doc->id == id) return doc;
    }
    return NULL;
}

/* --- Offered and accepted ---------------------------------------------------------------------------- */

void lsp_kept_offer(struct lsp_kept *k, int64_t number, const struct open_document *doc, size_t start,
                    const char *text, size_t len)
{
    struct lsp_kept_text *s = &k->offered[k->next_offered];
    k->next_offered = (k->next_offered + 1) % LSP_KEPT_MAX;
    *s = (struct lsp_kept_text){.number = number, .document = doc->id, .start = start, .hash = HASH_START};
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r') continue;
        s->hash = grow(s->hash, text[i]);
        s->len++;
    }
}

void lsp_kept_accept(struct lsp_kept *k, int64_t number, struct documents *docs, int64_t now_ns)
{
    if (number <= 0) return;
    for (int32_t i = 0; i < LSP_KEPT_MAX; i++) {
        struct lsp_kept_text *offered = &k->offered[i];
        if (offered->number != number) continue;
        const struct open_document *doc = find_document(docs, offered->document);
        if (doc && stands(offered, &doc->text)) {
            offered->accepted_ns = now_ns;
            k->accepted[k->next_accepted] = *offered;
            k->next_accepted = (k->next_accepted + 1) % LSP_KEPT_MAX;
        }
        offered->number = 0;
        return;
    }
}

/* --- Edits ------------------------------------------------------------------------------------------- */

/* Bytes from..to become n others. What is put in right at the place of an offered text is that text, as far
 * as we know; what is put in there later stands before it. */
static void follow(struct lsp_kept_text *s, uint64_t document, size_t from, size_t to, size_t n)
{
    if (s->number == 0 || s->document != document || from > s->start) return;
    bool is_before = to < s->start || (to == s->start && (from < to || s->accepted_ns != 0));
    if (is_before) {
        s->start = s->start - (to - from) + n;
    } else if (from < s->start) {
        s->start = from; /* its beginning is gone */
    }
}

static bool has_any(const struct lsp_kept *k, uint64_t document)
{
    for (int32_t i = 0; i < LSP_KEPT_MAX; i++) {
        if (k->offered[i].number && k->offered[i].document == document) return true;
        if (k->accepted[i].number && k->accepted[i].document == document) return true;
    }
    return false;
}

/* Clients may send more than what changes, or all of the text: what stays the same is not edited. */
void lsp_kept_on_edit(struct lsp_kept *k, const struct open_document *doc, const struct lsp_edit *e)
{
    if (!has_any(k, doc->id)) return;
    size_t from = e->from < e->to ? e->from : e->to, to = e->from < e->to ? e->to : e->from;
    const char *old = doc->text.bytes + from;
    size_t n_same = text_common_prefix(old, to - from, e->text, e->len);
    size_t n_end = text_common_suffix(old + n_same, to - from - n_same, e->text + n_same, e->len - n_same);
    for (int32_t i = 0; i < LSP_KEPT_MAX; i++) {
        follow(&k->offered[i], doc->id, from + n_same, to - n_end, e->len - n_same - n_end);
        follow(&k->accepted[i], doc->id, from + n_same, to - n_end, e->len - n_same - n_end);
    }
}

/* --- Judging ----------------------------------------------------------------------------------------- */

static void judge(struct lsp_kept_text *s, const struct open_document *doc, struct service *service)
{
    if (doc) service_note_kept(service, stands(s, &doc->text));
    s->number = 0;
}

void lsp_kept_look(struct lsp_kept *k, struct documents *docs, int64_t now_ns, struct service *s)
{
    for (int32_t i = 0; i < LSP_KEPT_MAX; i++) {
        struct lsp_kept_text *a = &k->accepted[i];
        if (a->number == 0 || now_ns - a->accepted_ns < LSP_KEPT_JUDGE_S * (int64_t)1000000000) continue;
        judge(a, find_document(docs, a->document), s);
    }
}

void lsp_kept_on_close(struct lsp_kept *k, const struct open_document *doc, struct service *s)
{
    for (int32_t i = 0; i < LSP_KEPT_MAX; i++) {
        if (k->offered[i].document == doc->id) k->offered[i].number = 0;
        if (k->accepted[i].number && k->accepted[i].document == doc->id) judge(&k->accepted[i], doc, s);
    }
}
