/* Documents as the client tells of them: opened, changed piece by piece, closed.
 *
 * Notifications cannot be answered. A change that cannot be applied leaves us with another text than the
 * editor's; such a document is given up until it is opened again, so that nothing is completed in a text that
 * nobody sees. */
#include "serve/lsp_edit.h"
#include "serve/lsp_session.h"

static const char *uri_of(const struct lsp_message *m)
{
    return json_get_str(json_get(json_get(m->params, "textDocument"), "uri"), NULL);
}

static void give_up(struct lsp *l, const char *uri, const char *why)
{
    lsp_window_log(l, LSP_NOTICE_LOST, LSP_MESSAGE_WARNING, "No completions for %s: %s", uri, why);
    (void)documents_close(l->docs, uri);
    lsp_complete_on_close(l, uri);
}

void lsp_docs_did_open(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *doc = json_get(m->params, "textDocument");
    const char *uri = uri_of(m);
    int64_t version = 0;
    size_t len;
    const char *text = json_get_str(json_get(doc, "text"), &len);
    struct errmsg msg;
    if (!uri || !text) return;
    (void)json_get_int(json_get(doc, "version"), &version);
    if (documents_open(l->docs, uri, version, text, len, &msg)) {
        give_up(l, uri, msg.text);
    } else {
        lsp_complete_on_close(l, uri); /* opened again: another text */
    }
}

/* One element of contentChanges. Null, or what is wrong. */
static const char *apply(struct lsp *l, struct text *t, const struct json_value *change)
{
    struct lsp_edit e;
    const char *fault = lsp_edit_read(change, t, l->unit, &e);
    if (fault) return fault;
    enum err err = documents_splice(l->docs, t, e.from, e.to, e.text, e.len);
    return err ? err_text(err) : NULL;
}

void lsp_docs_did_change(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *changes = json_get(m->params, "contentChanges");
    const char *uri = uri_of(m), *fault = NULL;
    struct text *t = uri ? documents_find(l->docs, uri) : NULL;
    if (!t) {
        lsp_window_log(l, LSP_NOTICE_NOT_OPEN, LSP_MESSAGE_WARNING,
                       "A change was sent for %s, which is not open here", uri ? uri : "no document");
        return;
    }
    int64_t version = t->version + 1;
    (void)json_get_int(json_get(json_get(m->params, "textDocument"), "version"), &version);
    if (version <= t->version) {
        lsp_window_log(l, LSP_NOTICE_VERSION, LSP_MESSAGE_WARNING,
                       "%s changed to version %lld after version %lld", uri, (long long)version,
                       (long long)t->version);
    }
    t->version = version;
    for (size_t i = 0; !fault && i < json_count(changes); i++) fault = apply(l, t, json_at(changes, i));
    if (fault) {
        give_up(l, uri, fault);
    } else {
        lsp_complete_on_change(l, uri);
    }
}

void lsp_docs_did_close(struct lsp *l, const struct lsp_message *m)
{
    const char *uri = uri_of(m);
    if (uri && documents_close(l->docs, uri)) lsp_complete_on_close(l, uri);
}
