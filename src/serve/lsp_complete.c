/* Completions: from a place in an open document to a request of the service, and from its answer to items.
 *
 * Every request is answered once: by the service, or null when its document changes under it (the editor asks
 * again, and an answer for the old text would be shown at the wrong place), or by a cancellation. Null means
 * "nothing new" to clients: an error would be shown, an empty list would hide what is on the screen. */
#include "serve/lsp_session.h"
#include "serve/lsp_range.h"

#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* Requests of one session that the service works on. It supersedes those of one document, so that only a
 * client that does not mean it comes near. */
#define PENDING_MAX 256

#define GIVEN_MAX ((size_t)64 << 10) /* of a selected completion */
#define WORD_MAX  128                /* bytes; a longer word is not one that somebody is typing */

struct lsp_pending {
    struct lsp *session;
    struct lsp_pending *next;
    struct service_ticket *ticket;
    char *id, *uri;         /* owned */
    bool is_list;           /* textDocument/completion */
    struct lsp_range range; /* what an item replaces */
    struct buf given;       /* what an item's text begins with, because it is in that range */
};

/* Where a completion is wanted. */
struct place {
    struct open_document *doc;
    size_t cursor;
    enum service_priority priority;
    bool wants_explanation;
};

/* --- Requests under way ------------------------------------------------------------------------------ */

static struct lsp_pending *pending_new(struct lsp *l, const char *id, const char *uri)
{
    struct lsp_pending *p = MEM_NEW(struct lsp_pending);
    *p = (struct lsp_pending){
        .session = l, .next = l->pending, .id = mem_dup_str(id), .uri = mem_dup_str(uri)};
    buf_init(&p->given, GIVEN_MAX);
    l->pending = p;
    l->n_pending++;
    return p;
}

static void pending_free(struct lsp_pending *p)
{
    struct lsp *l = p->session;
    struct lsp_pending **at = &l->pending;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    l->n_pending--;
    buf_clear(&p->given);
    mem_free(p->id);
    mem_free(p->uri);
    mem_free(p);
}

static void answer_null(struct lsp_pending *p)
{
    service_cancel(p->session->o.service, p->ticket);
    lsp_rpc_null(&p->session->rpc, p->id);
    pending_free(p);
}

static void answer_cancelled(struct lsp_pending *p)
{
    service_cancel(p->session->o.service, p->ticket);
    lsp_rpc_error(&p->session->rpc, p->id, LSP_RPC_REQUEST_CANCELLED, "cancelled");
    pending_free(p);
}

/* --- Items ------------------------------------------------------------------------------------------- */

static int64_t n_chars(const char *text, size_t len)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; n++) {
        int32_t code;
        i += utf8_decode(text + i, len - i, &code);
    }
    return n;
}

static void write_command(struct lsp *l, struct json *j, const struct service_candidate *c, uint64_t id)
{
    json_begin_object(j, "command");
    json_str(j, "title", "Accepted");
    json_str(j, "command", LSP_EVENTS_ACCEPTED);
    json_begin_array(j, "arguments");
    json_int(j, NULL, ++l->n_suggestions);
    json_int(j, NULL, n_chars(c->text, c->len));
    if (id) json_int(j, NULL, (int64_t)id);
    json_end_array(j);
    json_end_object(j);
}

static void write_inline_item(struct lsp_pending *p, struct json *j, const struct buf *text)
{
    json_str_len(j, "insertText", buf_str(text), text->len);
    lsp_range_write(j, "range", &p->range);
}

/* The first line with something on it, shortened for a menu. */
static void write_label(struct json *j, const struct buf *text)
{
    static const char blanks[] = " \t\r\n";
    const char *line = buf_str(text) + strspn(buf_str(text), blanks);
    size_t len = strcspn(line, "\r\n");
    bool is_long = len > 60;
    struct buf label;
    buf_init(&label, 64);
    buf_add(&label, line, is_long ? utf8_complete_len(line, 57) : len);
    if (is_long) buf_add_str(&label, "\xe2\x80\xa6");
    json_str(j, "label", label.len ? buf_str(&label) : "Inline");
    buf_clear(&label);
}

static void write_list_item(struct lsp_pending *p, struct json *j, const struct buf *text)
{
    write_label(j, text);
    json_int(j, "kind", 1); /* Text */
    json_str(j, "detail", "Inline");
    json_int(j, "insertTextMode", 1); /* as it is: lines are indented already */
    json_begin_object(j, "textEdit");
    lsp_range_write(j, "range", &p->range);
    json_str_len(j, "newText", buf_str(text), text->len);
    json_end_object(j);
}

/* What no other server tells, for those who ask for it. */
static void write_explanation(struct json *j, const struct service_answer *a)
{
    json_begin_object(j, "inline");
    if (a->id) json_int(j, "id", (int64_t)a->id);
    json_str(j, "quiet", a->quiet);
    json_str(j, "cache", a->cache);
    json_str(j, "cache_miss", a->cache_miss);
    if (*a->fallback) json_str(j, "fallback", a->fallback);
    if (a->debounce_ms > 0) json_int(j, "debounce_ms", a->debounce_ms);
    json_str(j, "stop", a->n_candidates > 0 ? a->candidates[0].stop : "");
    json_num(j, "mean_logprob", a->n_candidates > 0 ? a->candidates[0].mean_logprob : 0, 4);
    json_int(j, "prompt_tokens", a->timings.n_prompt);
    json_int(j, "computed", a->timings.n_computed);
    json_num(j, "total_ms", a->timings.total, 3);
    json_raw(j, "explanation", a->explanation, strlen(a->explanation));
    json_end_object(j);
}

/* The order of candidates is the service's: best first. */
static void answer_items(struct lsp_pending *p, const struct service_answer *a)
{
    struct lsp *l = p->session;
    struct json *j = lsp_rpc_begin_result(&l->rpc, p->id);
    size_t given_len = p->given.len;
    p->given.max = SIZE_MAX; /* what follows is the model's */
    const struct open_document *doc = documents_find(l->docs, p->uri);
    json_begin_object(j, "result");
    if (p->is_list) json_flag(j, "isIncomplete", true);
    json_begin_array(j, "items");
    for (int32_t i = 0; i < a->n_candidates; i++) {
        const struct service_candidate *c = &a->candidates[i];
        if (c->len == 0) continue;
        buf_add(&p->given, c->text, c->len);
        json_begin_object(j, NULL);
        (p->is_list ? write_list_item : write_inline_item)(p, j, &p->given);
        write_command(l, j, c, a->id);
        if (doc) {
            lsp_kept_offer(&l->kept, l->n_suggestions, doc, text_offset(&doc->text, p->range.start, l->unit),
                           buf_str(&p->given), p->given.len);
        }
        json_end_object(j);
        buf_truncate(&p->given, given_len);
    }
    json_end_array(j);
    if (a->explanation) write_explanation(j, a);
    json_end_object(j);
    lsp_rpc_send(&l->rpc);
}

static void on_done(void *ctx, const struct service_answer *a)
{
    struct lsp_pending *p = ctx;
    struct lsp *l = p->session;
    switch (a->outcome) {
    case SERVICE_OK:
        answer_items(p, a);
        break;
    case SERVICE_UNAVAILABLE:
        lsp_window_log(l, LSP_NOTICE_UNAVAILABLE, LSP_MESSAGE_INFO, "No completions: %s", a->message);
        lsp_rpc_null(&l->rpc, p->id);
        break;
    case SERVICE_SUPERSEDED:
    case SERVICE_SHED:
        lsp_rpc_null(&l->rpc, p->id);
        break;
    case SERVICE_BAD:
    case SERVICE_ERROR:
        lsp_rpc_error(&l->rpc, p->id, LSP_RPC_REQUEST_FAILED, "%s", a->message);
        break;
    }
    pending_free(p);
}

/* --- Requests ---------------------------------------------------------------------------------------- */

/* False: the request is answered already. Both kinds of request call the user's own wish triggerKind 1. */
static bool read_place(struct lsp *l, const struct lsp_message *m, struct place *out)
{
    struct text_position position;
    const char *uri = json_get_str(json_get(json_get(m->params, "textDocument"), "uri"), NULL);
    if (!uri || !lsp_range_read_position(json_get(m->params, "position"), &position)) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_PARAMS, "a completion needs textDocument and position");
        return false;
    }
    struct open_document *doc = documents_find(l->docs, uri);
    if (!doc) {
        lsp_rpc_error(&l->rpc, m->id, LSP_RPC_INVALID_PARAMS, "%s is not open here", uri);
        return false;
    }
    if (!l->settings.enabled || l->n_pending == PENDING_MAX) {
        lsp_rpc_null(&l->rpc, m->id);
        return false;
    }
    int64_t kind = 0;
    (void)json_get_int(json_get(json_get(m->params, "context"), "triggerKind"), &kind);
    *out = (struct place){.doc = doc,
                          .cursor = text_offset(&doc->text, position, l->unit),
                          .priority = kind == 1 ? SERVICE_ASKED : SERVICE_TYPING};
    (void)json_get_flag(json_get(m->params, "explain"), &out->wants_explanation);
    return true;
}

/* What items replace, in the client's units. */
static struct lsp_range range_between(const struct lsp *l, const struct text *t, size_t from, size_t to)
{
    return (struct lsp_range){text_position_of(t, from, l->unit), text_position_of(t, to, l->unit)};
}

static struct service_request request_in(struct lsp *l, struct open_document *doc)
{
    return (struct service_request){.model = "",
                                    .client = l->client,
                                    .document = doc->uri,
                                    .api = METRIC_API_LSP,
                                    .docs = l->docs,
                                    .doc = doc,
                                    .root = lsp_workspace_folder(&l->workspace, doc->uri),
                                    .sampling = SAMPLER_GREEDY,
                                    .max_tokens = l->settings.max_tokens};
}

static void submit(struct lsp_pending *p, const struct place *at)
{
    struct service_request r = request_in(p->session, at->doc);
    r.priority = at->priority;
    r.is_automatic = at->priority == SERVICE_TYPING && !p->is_list;
    r.wants_explanation = at->wants_explanation;
    r.cursor = at->cursor;
    r.on_done = on_done;
    r.ctx = p;
    p->ticket = service_submit(p->session->o.service, &r);
}

void lsp_complete_on_open(struct lsp *l, struct open_document *doc)
{
    struct service_request r = request_in(l, doc);
    if (l->settings.enabled) service_prefetch_opened(l->o.service, &r);
}

/* An entry of the editor's own menu is highlighted: the suggestion must begin with its text and replace its
 * range (LSP 3.18), so it is completed as if it had been inserted; which it is, for as long as it takes to
 * ask. */
static void submit_selected(struct lsp_pending *p, const struct place *at, const struct lsp_range *range,
                            const char *chosen, size_t len)
{
    struct lsp *l = p->session;
    struct place with = *at;
    struct text *t = &at->doc->text;
    struct buf replaced;
    size_t from = text_offset(t, range->start, l->unit), to = text_offset(t, range->end, l->unit);
    if (to < from) to = from;
    size_t n_others = t->len - (to - from);
    p->range = range_between(l, t, from, to);
    buf_init(&replaced, GIVEN_MAX);
    buf_add(&replaced, t->bytes + from, to - from);
    buf_add(&p->given, chosen, len);
    enum err err = p->given.err ? p->given.err : replaced.err;
    if (!err) err = documents_splice(l->docs, at->doc, from, to, chosen, len);
    if (!err) {
        size_t end = from + (t->len - n_others);
        with.cursor = end;
        submit(p, &with);
        err = documents_splice(l->docs, at->doc, from, end, buf_str(&replaced), replaced.len);
        if (err) lsp_docs_give_up(l, at->doc->uri, err_text(err)); /* answers the request as well */
    } else {
        lsp_rpc_error(&l->rpc, p->id, LSP_RPC_REQUEST_FAILED, "the selected completion: %s", err_text(err));
        pending_free(p);
    }
    buf_clear(&replaced);
}

void lsp_complete_inline(struct lsp *l, const struct lsp_message *m)
{
    struct place at;
    struct lsp_range range;
    size_t len;
    if (!read_place(l, m, &at)) return;
    const struct json_value *info = json_get(json_get(m->params, "context"), "selectedCompletionInfo");
    const char *chosen = json_get_str(json_get(info, "text"), &len);
    struct lsp_pending *p = pending_new(l, m->id, at.doc->uri);
    if (chosen && lsp_range_read(json_get(info, "range"), &range)) {
        submit_selected(p, &at, &range, chosen, len);
    } else {
        p->range = range_between(l, &at.doc->text, at.cursor, at.cursor);
        submit(p, &at);
    }
}

/* Where the word before the cursor starts: ASCII letters, digits and underscores, and what is not ASCII. */
static size_t word_start(const struct text *t, size_t cursor)
{
    size_t at = cursor;
    while (at > 0) {
        unsigned char c = (unsigned char)t->bytes[at - 1], lower = c | 0x20;
        if (c < 0x80 && c != '_' && !(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'z')) break;
        at--;
    }
    return cursor - at <= WORD_MAX ? at : cursor;
}

/* Menus match entries against the word that is being typed; the item replaces it by itself and what follows.
 */
void lsp_complete_list(struct lsp *l, const struct lsp_message *m)
{
    struct place at;
    if (l->can_inline) {
        lsp_rpc_null(&l->rpc, m->id); /* this client shows the same text inline */
        return;
    }
    if (!read_place(l, m, &at)) return;
    const struct text *t = &at.doc->text;
    size_t from = word_start(t, at.cursor);
    struct lsp_pending *p = pending_new(l, m->id, at.doc->uri);
    p->is_list = true;
    p->range = range_between(l, t, from, at.cursor);
    buf_add(&p->given, t->bytes + from, at.cursor - from);
    submit(p, &at);
}

/* --- Endings ----------------------------------------------------------------------------------------- */

void lsp_complete_cancel(struct lsp *l, const struct lsp_message *m)
{
    struct buf id;
    buf_init(&id, LSP_RPC_ID_MAX);
    json_write_value(json_get(m->params, "id"), &id);
    struct lsp_pending *p = l->pending;
    while (p && strcmp(p->id, buf_str(&id)) != 0) p = p->next;
    if (p) answer_cancelled(p);
    buf_clear(&id);
}

/* Lists survive a change: clients filter them by what was typed since. */
void lsp_complete_on_change(struct lsp *l, const char *uri)
{
    for (struct lsp_pending *p = l->pending, *next; p; p = next) {
        next = p->next;
        if (!p->is_list && strcmp(p->uri, uri) == 0) answer_null(p);
    }
}

void lsp_complete_on_close(struct lsp *l, const char *uri)
{
    for (struct lsp_pending *p = l->pending, *next; p; p = next) {
        next = p->next;
        if (strcmp(p->uri, uri) == 0) answer_null(p);
    }
}

void lsp_complete_cancel_all(struct lsp *l)
{
    while (l->pending) answer_cancelled(l->pending);
}

void lsp_complete_forget_all(struct lsp *l)
{
    while (l->pending) {
        service_cancel(l->o.service, l->pending->ticket);
        pending_free(l->pending);
    }
}
