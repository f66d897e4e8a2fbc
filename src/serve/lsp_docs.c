/* Documents as the client tells of them: opened, changed piece by piece, closed.
 *
 * Notifications cannot be answered. A change that cannot be applied leaves us with another text than the
 * editor's; such a document is given up until it is opened again, so that nothing is completed in a text that
 * nobody sees. */
#include "serve/lsp_edit.h"
#include "serve/lsp_session.h"

#include <string.h>

#include "base/log.h"

static const char *uri_of(const struct lsp_message *m)
{
    return json_get_str(json_get(json_get(m->params, "textDocument"), "uri"), NULL);
}

void lsp_docs_give_up(struct lsp *l, const char *uri, const char *why)
{
    lsp_window_log(l, LSP_NOTICE_LOST, LSP_MESSAGE_WARNING, "No completions for %s: %s", uri, why);
    lsp_complete_on_close(l, uri);
    (void)documents_close(l->docs, uri); /* last: the name may be its own */
}

void lsp_docs_did_open(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *doc = json_get(m->params, "textDocument");
    const char *uri = uri_of(m);
    int64_t version = 0;
    size_t len;
    const char *text = json_get_str(json_get(doc, "text"), &len);
    const char *language = json_get_str(json_get(doc, "languageId"), NULL);
    struct buf path;
    struct errmsg msg;
    if (!uri || !text) return;
    (void)json_get_int(json_get(doc, "version"), &version);
    buf_init(&path, DOCUMENTS_URI_MAX);
    lsp_workspace_path(&l->workspace, uri, &path);
    enum err err = documents_open(l->docs, uri, buf_str(&path), language ? language_of_id(language) : NULL,
                                  version, text, len, &msg);
    buf_clear(&path);
    if (err) {
        lsp_docs_give_up(l, uri, msg.text);
    } else {
        lsp_complete_on_close(l, uri); /* opened again: another text */
        lsp_complete_on_open(l, documents_find(l->docs, uri));
    }
}

/* One element of contentChanges. Null, or what is wrong. */
static const char *apply(struct lsp *l, struct open_document *doc, const struct json_value *change)
{
    struct lsp_edit e;
    const char *fault = lsp_edit_read(change, &doc->text, l->unit, &e);
    if (fault) return fault;
    lsp_kept_on_edit(&l->kept, doc, &e);
    enum err err = e.is_whole ? documents_open(l->docs, doc->uri, doc->path, doc->language, doc->text.version,
                                               e.text, e.len, NULL)
                              : documents_splice(l->docs, doc, e.from, e.to, e.text, e.len);
    return err ? err_text(err) : NULL;
}

void lsp_docs_did_change(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *changes = json_get(m->params, "contentChanges");
    const char *uri = uri_of(m), *fault = NULL;
    struct open_document *doc = uri ? documents_find(l->docs, uri) : NULL;
    if (!doc) {
        lsp_window_log(l, LSP_NOTICE_NOT_OPEN, LSP_MESSAGE_WARNING,
                       "A change was sent for %s, which is not open here", uri ? uri : "no document");
        return;
    }
    int64_t version = doc->text.version + 1;
    (void)json_get_int(json_get(json_get(m->params, "textDocument"), "version"), &version);
    if (version <= doc->text.version) {
        lsp_window_log(l, LSP_NOTICE_VERSION, LSP_MESSAGE_WARNING,
                       "%s changed to version %lld after version %lld", uri, (long long)version,
                       (long long)doc->text.version);
    }
    doc->text.version = version;
    for (size_t i = 0; !fault && i < json_count(changes); i++) fault = apply(l, doc, json_at(changes, i));
    if (fault) {
        lsp_docs_give_up(l, uri, fault);
    } else {
        lsp_complete_on_change(l, uri);
    }
}

void lsp_docs_on_folders(struct lsp *l)
{
    struct buf path;
    buf_init(&path, DOCUMENTS_URI_MAX);
    for (int32_t i = 0; i < documents_n(l->docs); i++) {
        const struct open_document *doc = documents_at(l->docs, i);
        lsp_workspace_path(&l->workspace, doc->uri, &path);
        if (strcmp(doc->path, buf_str(&path)) == 0) continue;
        enum err err = documents_open(l->docs, doc->uri, buf_str(&path), doc->language, doc->text.version,
                                      doc->text.bytes, doc->text.len, NULL);
        if (err) log_line(LOG_WARN, "%s keeps its path: %s", doc->uri, err_text(err));
    }
    buf_clear(&path);
}

void lsp_docs_did_focus(struct lsp *l, const struct lsp_message *m)
{
    const char *uri = uri_of(m);
    struct open_document *doc = uri ? documents_find(l->docs, uri) : NULL;
    if (doc) documents_visit(l->docs, doc);
}

/* Files on disk are the index's concern. */
static void rescan(struct lsp *l, const char *uri)
{
    const char *folder = uri ? lsp_workspace_folder(&l->workspace, uri) : NULL;
    if (folder) service_rescan_project(l->o.service, folder);
}

void lsp_docs_did_save(struct lsp *l, const struct lsp_message *m)
{
    rescan(l, uri_of(m));
}

void lsp_docs_did_change_files(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *changes = json_get(m->params, "changes");
    for (size_t i = 0; i < json_count(changes); i++)
        rescan(l, json_get_str(json_get(json_at(changes, i), "uri"), NULL));
}

void lsp_docs_did_close(struct lsp *l, const struct lsp_message *m)
{
    const char *uri = uri_of(m);
    const struct open_document *doc = uri ? documents_find(l->docs, uri) : NULL;
    if (!doc) return;
    lsp_kept_on_close(&l->kept, doc, l->o.service);
    (void)documents_close(l->docs, uri);
    lsp_complete_on_close(l, uri);
}
