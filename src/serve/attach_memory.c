/* See attach_memory.h. Documents are kept as texts and followed through their edits, because an editor would
 * not tell them again. What cannot be followed is forgotten: the next daemon then does not know the document,
 * and gives no completions in it until it is opened again, which is better than wrong ones. */
#include "serve/attach_memory.h"

#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "serve/lsp_edit.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_rpc.h"

#define SESSION_MAX ((size_t)4 << 20) /* bytes of settings and folders; editors send a few kilobytes */

struct attach_doc {
    struct attach_doc *next;
    char *uri, *language; /* owned */
    struct text text;     /* owned */
};

void attach_memory_init(struct attach_memory *m)
{
    *m = (struct attach_memory){.unit = TEXT_UTF16}; /* what the protocol means if nothing was agreed */
    buf_init(&m->session, SESSION_MAX);
}

/* --- Ids --------------------------------------------------------------------------------------------- */

static void ids_add(struct attach_ids *set, const char *id)
{
    if (set->n == set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 16;
        char **grown = mem_try_resize(set->ids, cap, sizeof *grown);
        if (!grown) return; /* one question less to answer after a loss */
        set->ids = grown;
        set->cap = cap;
    }
    set->ids[set->n++] = mem_dup_str(id);
}

/* False if it was not there. */
static bool ids_remove(struct attach_ids *set, const char *id)
{
    for (size_t i = 0; id && i < set->n; i++) {
        if (strcmp(set->ids[i], id) != 0) continue;
        mem_free(set->ids[i]);
        set->ids[i] = set->ids[--set->n];
        return true;
    }
    return false;
}

static void ids_clear(struct attach_ids *set)
{
    for (size_t i = 0; i < set->n; i++) mem_free(set->ids[i]);
    mem_free(set->ids);
    *set = (struct attach_ids){0};
}

/* --- Documents --------------------------------------------------------------------------------------- */

/* The link that points to the document, or to the null at the end. */
static struct attach_doc **find_doc(struct attach_memory *m, const char *uri)
{
    struct attach_doc **at = &m->docs;
    while (*at && (!uri || strcmp((*at)->uri, uri) != 0)) at = &(*at)->next;
    return at;
}

static void forget_doc(struct attach_doc **at)
{
    struct attach_doc *d = *at;
    if (!d) return;
    *at = d->next;
    text_clear(&d->text);
    mem_free(d->language);
    mem_free(d->uri);
    mem_free(d);
}

static void did_open(struct attach_memory *m, const struct json_value *params)
{
    const struct json_value *doc = json_get(params, "textDocument");
    const char *uri = json_get_str(json_get(doc, "uri"), NULL);
    const char *language = json_get_str(json_get(doc, "languageId"), NULL);
    size_t len;
    const char *text = json_get_str(json_get(doc, "text"), &len);
    struct text opened = {0};
    forget_doc(find_doc(m, uri));
    if (!uri || !text || text_init(&opened, text, len)) return;
    (void)json_get_int(json_get(doc, "version"), &opened.version);
    struct attach_doc *d = MEM_NEW(struct attach_doc);
    *d = (struct attach_doc){.next = m->docs,
                             .uri = mem_dup_str(uri),
                             .language = mem_dup_str(language ? language : ""),
                             .text = opened};
    m->docs = d;
}

static void did_change(struct attach_memory *m, const struct json_value *params)
{
    const struct json_value *doc = json_get(params, "textDocument");
    const struct json_value *changes = json_get(params, "contentChanges");
    struct attach_doc **at = find_doc(m, json_get_str(json_get(doc, "uri"), NULL));
    if (!*at) return;
    struct text *t = &(*at)->text;
    (void)json_get_int(json_get(doc, "version"), &t->version);
    for (size_t i = 0; i < json_count(changes); i++) {
        struct lsp_edit edit;
        if (lsp_edit_read(json_at(changes, i), t, m->unit, &edit) ||
            text_splice(t, edit.from, edit.to, edit.text, edit.len)) {
            forget_doc(at);
            return;
        }
    }
}

static void did_close(struct attach_memory *m, const struct json_value *params)
{
    forget_doc(find_doc(m, json_get_str(json_get(json_get(params, "textDocument"), "uri"), NULL)));
}

void attach_memory_clear(struct attach_memory *m)
{
    while (m->docs) forget_doc(&m->docs);
    ids_clear(&m->asked);
    ids_clear(&m->asking);
    ids_clear(&m->stale);
    buf_clear(&m->session);
    mem_free(m->initialize);
    mem_free(m->initialize_id);
    attach_memory_init(m);
}

/* --- From the editor --------------------------------------------------------------------------------- */

/* Notifications that change under what rules the session goes on. */
static bool is_of_session(const char *method)
{
    static const char *const methods[] = {"initialized", "workspace/didChangeConfiguration",
                                          "workspace/didChangeWorkspaceFolders", "$/setTrace"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strcmp(methods[i], method) == 0) return true;
    }
    return false;
}

static void on_notification(struct attach_memory *m, const struct lsp_message *message, const char *body,
                            size_t len)
{
    static const struct {
        const char *method;
        void (*fn)(struct attach_memory *m, const struct json_value *params);
    } handlers[] = {{"textDocument/didOpen", did_open},
                    {"textDocument/didChange", did_change},
                    {"textDocument/didClose", did_close}};
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (strcmp(handlers[i].method, message->method) == 0) handlers[i].fn(m, message->params);
    }
    /* A frame is kept in whole or not at all. */
    if (is_of_session(message->method) && len + LSP_FRAME_HEADER_MAX < SESSION_MAX - m->session.len)
        lsp_frame_write(body, len, &m->session);
}

static void on_request(struct attach_memory *m, const struct lsp_message *message, const char *body,
                       size_t len)
{
    ids_add(&m->asked, message->id);
    if (strcmp(message->method, "shutdown") == 0) m->is_shut_down = true;
    if (strcmp(message->method, "initialize") != 0 || m->initialize) return;
    m->initialize = mem_try(len, 1);
    if (!m->initialize) return; /* there will be no other daemon for this editor */
    memcpy(m->initialize, body, len);
    m->initialize_len = len;
    m->initialize_id = mem_dup_str(message->id);
}

bool attach_memory_from_editor(struct attach_memory *m, const struct lsp_message *message, const char *body,
                               size_t len)
{
    if (message->kind == LSP_RPC_NOTIFICATION) on_notification(m, message, body, len);
    if (message->kind == LSP_RPC_REQUEST) on_request(m, message, body, len);
    if (message->kind != LSP_RPC_RESPONSE) return true;
    if (ids_remove(&m->stale, message->id)) return false; /* who asked is gone */
    ids_remove(&m->asking, message->id);
    return true;
}

/* --- From the daemon --------------------------------------------------------------------------------- */

static void on_initialized(struct attach_memory *m, const struct lsp_message *message)
{
    const struct json_value *can = json_get(json_get(message->root, "result"), "capabilities");
    const char *unit = json_get_str(json_get(can, "positionEncoding"), NULL);
    m->is_initialized = true;
    m->unit = TEXT_UTF16;
    if (unit && strcmp(unit, "utf-8") == 0) m->unit = TEXT_UTF8;
    if (unit && strcmp(unit, "utf-32") == 0) m->unit = TEXT_UTF32;
}

bool attach_memory_from_daemon(struct attach_memory *m, const struct lsp_message *message)
{
    if (message->kind == LSP_RPC_REQUEST) ids_add(&m->asking, message->id);
    if (message->kind != LSP_RPC_RESPONSE || !message->id) return true;
    bool is_initialize = m->initialize_id && strcmp(message->id, m->initialize_id) == 0;
    if (is_initialize && m->swallows_initialize) {
        m->swallows_initialize = false;
        return false;
    }
    ids_remove(&m->asked, message->id);
    if (is_initialize && !m->is_initialized) on_initialized(m, message);
    return true;
}

/* --- Between two daemons ----------------------------------------------------------------------------- */

static void write_to_buf(void *ctx, const char *bytes, size_t len)
{
    buf_add(ctx, bytes, len);
}

void attach_memory_on_loss(struct attach_memory *m, struct buf *editor)
{
    struct lsp_rpc rpc;
    bool waits_for_initialize = !m->is_initialized && ids_remove(&m->asked, m->initialize_id);
    lsp_rpc_init(&rpc, write_to_buf, editor);
    for (size_t i = 0; i < m->asked.n; i++) lsp_rpc_null(&rpc, m->asked.ids[i]);
    lsp_rpc_free(&rpc);
    ids_clear(&m->asked);
    if (waits_for_initialize) ids_add(&m->asked, m->initialize_id);
    for (size_t i = 0; i < m->asking.n; i++) ids_add(&m->stale, m->asking.ids[i]);
    ids_clear(&m->asking);
}

static void open_again(struct lsp_rpc *rpc, const struct attach_doc *d)
{
    struct json *j = lsp_rpc_begin_notification(rpc, "textDocument/didOpen");
    json_begin_object(j, "params");
    json_begin_object(j, "textDocument");
    json_str(j, "uri", d->uri);
    json_str(j, "languageId", d->language);
    json_int(j, "version", d->text.version);
    json_str_len(j, "text", d->text.bytes, d->text.len);
    json_end_object(j);
    json_end_object(j);
    lsp_rpc_send(rpc);
}

void attach_memory_replay(struct attach_memory *m, struct buf *daemon)
{
    struct lsp_rpc rpc;
    if (!m->initialize) return;
    m->swallows_initialize = m->is_initialized;
    lsp_frame_write(m->initialize, m->initialize_len, daemon);
    buf_add(daemon, m->session.data, m->session.len);
    lsp_rpc_init(&rpc, write_to_buf, daemon);
    for (const struct attach_doc *d = m->docs; d; d = d->next) open_again(&rpc, d);
    lsp_rpc_free(&rpc);
}
