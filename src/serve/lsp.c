/* The life of a session: bytes to messages, messages to the handlers in one table, initialize to exit. */
#include "serve/lsp.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "serve/lsp_session.h"

#define MAX_TOKENS_MAX 4096 /* that a client may set: more than any completion that somebody reads */

/* --- Settings ---------------------------------------------------------------------------------------- */

/* {"inline": {...}}, or what is inside. Unknown keys are others' and what is absent stays as it is. */
static void read_settings(struct lsp *l, const struct json_value *v)
{
    const struct json_value *own = json_get(v, "inline") ? json_get(v, "inline") : v;
    int64_t n;
    (void)json_get_flag(json_get(own, "enabled"), &l->settings.enabled);
    if (json_get_int(json_get(own, "maxTokens"), &n)) {
        l->settings.max_tokens = n < 1 ? -1 : n > MAX_TOKENS_MAX ? MAX_TOKENS_MAX : (int32_t)n;
    }
}

static void did_change_configuration(struct lsp *l, const struct lsp_message *m)
{
    read_settings(l, json_get(m->params, "settings"));
}

/* --- Workspace --------------------------------------------------------------------------------------- */

static void add_folder(struct lsp *l, const char *uri)
{
    const char *folder = lsp_workspace_add(&l->workspace, uri);
    if (folder) service_hold_project(l->o.service, folder);
}

static void remove_folder(struct lsp *l, const char *uri)
{
    char *folder = lsp_workspace_remove(&l->workspace, uri);
    if (folder) service_drop_project(l->o.service, folder);
    mem_free(folder);
}

static void drop_folders(struct lsp *l)
{
    for (int i = 0; i < l->workspace.n; i++) service_drop_project(l->o.service, l->workspace.folders[i]);
}

static void add_folders(struct lsp *l, const struct json_value *folders)
{
    for (size_t i = 0; i < json_count(folders); i++) {
        const char *uri = json_get_str(json_get(json_at(folders, i), "uri"), NULL);
        if (uri) add_folder(l, uri);
    }
}

static void did_change_folders(struct lsp *l, const struct lsp_message *m)
{
    const struct json_value *event = json_get(m->params, "event"), *removed = json_get(event, "removed");
    for (size_t i = 0; i < json_count(removed); i++) {
        const char *uri = json_get_str(json_get(json_at(removed, i), "uri"), NULL);
        if (uri) remove_folder(l, uri);
    }
    add_folders(l, json_get(event, "added"));
    lsp_docs_on_folders(l);
}

/* --- Life -------------------------------------------------------------------------------------------- */

/* In the order of our preference: UTF-8 costs no counting. */
static const struct {
    const char *name;
    enum text_encoding unit;
} encodings[] = {{"utf-8", TEXT_UTF8}, {"utf-16", TEXT_UTF16}, {"utf-32", TEXT_UTF32}};
#define N_ENCODINGS (sizeof encodings / sizeof *encodings)

static bool holds_str(const struct json_value *array, const char *s)
{
    for (size_t i = 0; i < json_count(array); i++) {
        const char *element = json_get_str(json_at(array, i), NULL);
        if (element && strcmp(element, s) == 0) return true;
    }
    return false;
}

/* Returns the name; UTF-16 where the client says nothing, as the specification has it. */
static const char *choose_encoding(struct lsp *l, const struct json_value *offered)
{
    size_t chosen = 1;
    for (size_t i = N_ENCODINGS; i-- > 0;) {
        if (holds_str(offered, encodings[i].name)) chosen = i;
    }
    l->unit = encodings[chosen].unit;
    return encodings[chosen].name;
}

static void write_capabilities(const struct lsp *l, struct json *j, const char *encoding)
{
    json_str(j, "positionEncoding", encoding);
    json_begin_object(j, "textDocumentSync");
    json_flag(j, "openClose", true);
    json_int(j, "change", 2); /* incremental */
    json_flag(j, "save", true);
    json_end_object(j);
    json_flag(j, "inlineCompletionProvider", true);
    if (!l->can_inline) {
        json_begin_object(j, "completionProvider");
        json_end_object(j);
    }
    json_begin_object(j, "executeCommandProvider");
    json_begin_array(j, "commands");
    json_str(j, NULL, LSP_EVENTS_ACCEPTED);
    json_end_array(j);
    json_end_object(j);
    json_begin_object(j, "workspace");
    json_begin_object(j, "workspaceFolders");
    json_flag(j, "supported", true);
    json_flag(j, "changeNotifications", true);
    json_end_object(j);
    json_end_object(j);
}

static void initialize(struct lsp *l, const struct lsp_message *m)
{
    if (l->phase != LSP_FRESH) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_REQUEST, "initialize was sent already");
        return;
    }
    const struct json_value *can = json_get(m->params, "capabilities");
    const struct json_value *folders = json_get(m->params, "workspaceFolders");
    const char *root = json_get_str(json_get(m->params, "rootUri"), NULL);
    l->can_inline = json_is_object(json_get(json_get(can, "textDocument"), "inlineCompletion"));
    (void)json_get_flag(json_get(json_get(can, "window"), "workDoneProgress"), &l->can_progress);
    (void)json_get_flag(json_get(json_get(can, "experimental"), "didChangeStatus"), &l->can_status);
    read_settings(l, json_get(m->params, "initializationOptions"));
    add_folders(l, folders);
    if (!folders && root) add_folder(l, root);
    l->phase = LSP_RUNNING;

    const char *encoding = choose_encoding(l, json_get(json_get(can, "general"), "positionEncodings"));
    struct json *j = lsp_rpc_begin_result(&l->rpc, m->id);
    json_begin_object(j, "result");
    json_begin_object(j, "capabilities");
    write_capabilities(l, j, encoding);
    json_end_object(j);
    json_begin_object(j, "serverInfo");
    json_str(j, "name", "inline");
    json_str(j, "version", INLINE_VERSION);
    json_end_object(j);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

static void initialized(struct lsp *l, const struct lsp_message *m)
{
    (void)m;
    lsp_window_update(l);
    lsp_window_first_alerts(l);
}

static void shut_down(struct lsp *l, const struct lsp_message *m)
{
    lsp_complete_cancel_all(l);
    for (int32_t i = 0; i < documents_n(l->docs); i++)
        lsp_kept_on_close(&l->kept, documents_at(l->docs, i), l->o.service);
    l->phase = LSP_SHUT_DOWN;
    lsp_rpc_null(&l->rpc, m->id);
}

static void leave(struct lsp *l, const struct lsp_message *m)
{
    (void)m;
    l->phase = LSP_OVER;
}

/* --- Messages ---------------------------------------------------------------------------------------- */

struct method {
    const char *name;
    bool is_request;
    void (*run)(struct lsp *l, const struct lsp_message *m); /* null: nothing to do */
};

/* Notifications that are not here are ignored too; a row says that it is on purpose. */
static const struct method methods[] = {
    {"initialize", true, initialize},
    {"initialized", false, initialized},
    {"shutdown", true, shut_down},
    {"exit", false, leave},
    {"$/cancelRequest", false, lsp_complete_cancel},
    {"$/setTrace", false, NULL},
    {"textDocument/didOpen", false, lsp_docs_did_open},
    {"textDocument/didChange", false, lsp_docs_did_change},
    {"textDocument/didSave", false, lsp_docs_did_save},
    {"textDocument/didClose", false, lsp_docs_did_close},
    {"textDocument/inlineCompletion", true, lsp_complete_inline},
    {"textDocument/completion", true, lsp_complete_list},
    {"textDocument/didShowCompletion", false, lsp_events_shown},
    {"textDocument/didPartiallyAcceptCompletion", false, lsp_events_partly_accepted},
    {"textDocument/didFocus", false, lsp_docs_did_focus},
    {"workspace/executeCommand", true, lsp_events_command},
    {"workspace/didChangeConfiguration", false, did_change_configuration},
    {"workspace/didChangeWatchedFiles", false, lsp_docs_did_change_files},
    {"workspace/didChangeWorkspaceFolders", false, did_change_folders},
};
#define N_METHODS (sizeof methods / sizeof *methods)

static const struct method *find_method(const char *name, bool is_request)
{
    for (size_t i = 0; i < N_METHODS; i++) {
        if (methods[i].is_request == is_request && strcmp(methods[i].name, name) == 0) return &methods[i];
    }
    return NULL;
}

static void run_request(struct lsp *l, const struct lsp_message *m)
{
    const struct method *method = find_method(m->method, true);
    if (l->phase == LSP_SHUT_DOWN) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_REQUEST, "the server is shut down");
    } else if (l->phase == LSP_FRESH && (!method || method->run != initialize)) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_NOT_INITIALIZED, "initialize comes first");
    } else if (!method) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_METHOD_NOT_FOUND, "%s is not offered", m->method);
    } else {
        method->run(l, m);
    }
}

/* Before initialize and after shutdown, all but exit is dropped. */
static void run_notification(struct lsp *l, const struct lsp_message *m)
{
    const struct method *method = find_method(m->method, false);
    if (!method || !method->run) return;
    if (l->phase == LSP_RUNNING || method->run == leave) method->run(l, m);
}

static void run_message(struct lsp *l, const char *body, size_t len)
{
    struct lsp_message m;
    lsp_kept_look(&l->kept, l->docs, clock_ns(), l->o.service);
    lsp_rpc_read(body, len, &m);
    switch (m.kind) {
    case LSP_RPC_REQUEST:
        run_request(l, &m);
        break;
    case LSP_RPC_NOTIFICATION:
        run_notification(l, &m);
        break;
    case LSP_RPC_RESPONSE:
        lsp_window_on_response(l, &m);
        break;
    case LSP_RPC_INVALID:
        lsp_rpc_error(&l->rpc, m.id, m.fault, "%s", m.msg.text);
        break;
    }
    lsp_rpc_clear(&m);
}

void lsp_feed(struct lsp *l, const char *bytes, size_t len)
{
    if (l->phase == LSP_OVER) return;
    while (l->phase != LSP_OVER) {
        size_t used;
        enum lsp_frame_state state = lsp_frame_take(&l->frame, bytes, len, &used);
        bytes += used;
        len -= used;
        if (state == LSP_FRAME_PARTIAL) return;
        if (state == LSP_FRAME_WHOLE) {
            run_message(l, buf_str(&l->frame.body), l->frame.body.len);
        } else {
            lsp_rpc_error(&l->rpc, NULL, LSP_RPC_PARSE_ERROR, "%s", l->frame.fault.text);
            l->phase = LSP_OVER;
        }
    }
    lsp_complete_forget_all(l);
    l->o.on_exit(l->o.ctx); /* last: it may free the session */
}

void lsp_on_alert(struct lsp *l, const struct alert *alert)
{
    lsp_window_alert(l, alert);
}

void lsp_on_models(struct lsp *l)
{
    lsp_window_update(l);
}

size_t lsp_documents_bytes(const struct lsp *l)
{
    return documents_bytes(l->docs);
}

struct lsp *lsp_new(const struct lsp_options *o)
{
    struct lsp *l = MEM_NEW(struct lsp);
    l->o = *o;
    l->unit = TEXT_UTF16;
    l->settings = (struct lsp_settings){.enabled = true, .max_tokens = -1};
    l->docs = documents_new();
    lsp_frame_init(&l->frame);
    lsp_rpc_init(&l->rpc, o->write, o->ctx);
    snprintf(l->client, sizeof l->client, "lsp %p", (void *)l); /* unique while the session lives */
    return l;
}

void lsp_free(struct lsp **l)
{
    if (!*l) return;
    lsp_complete_forget_all(*l);
    documents_free(&(*l)->docs);
    drop_folders(*l);
    lsp_workspace_clear(&(*l)->workspace);
    lsp_frame_clear(&(*l)->frame);
    lsp_rpc_free(&(*l)->rpc);
    mem_free(*l);
    *l = NULL;
}
