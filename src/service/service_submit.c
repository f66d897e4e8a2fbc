/* Submitting: which model is asked, what it is asked, and who must wait for it.
 *
 * Requests for a model that is not in memory wait, each with a copy of its own; when the model's state
 * changes all that wait are looked at again. Where there is an instant model, it answers those who type, and
 * the main one is asked the same in the background: its answer is then found in the caches when more of it
 * has been typed. */
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "complete/explain.h"
#include "complete/question.h"
#include "context/repository.h"
#include "service/request_copy.h"
#include "service/service_impl.h"
#include "model/model.h"
#include "os/clock.h"
#include "watch/journal.h"

#define EXPLANATION_MAX ((size_t)1 << 20) /* of JSON; a prompt is far shorter */

/* Never 0. A null text is an empty one. */
static uint64_t hash_str(uint64_t seed, const char *text)
{
    uint64_t hash = XXH3_64bits_withSeed(text, text ? strlen(text) : 0, seed);
    return hash ? hash : 1;
}

static struct service_ticket *add_ticket(struct service *s, uint64_t client, uint64_t document)
{
    struct service_ticket *t = MEM_NEW(struct service_ticket);
    *t = (struct service_ticket){.prev = s->last,
                                 .number = s->next_number++,
                                 .quiet = "",
                                 .client = client,
                                 .document = document,
                                 .start_ns = clock_ns()};
    buf_init(&t->explanation, EXPLANATION_MAX);
    *(s->last ? &s->last->next : &s->first) = t;
    s->last = t;
    s->n_tickets++;
    return t;
}

uint64_t service_document(const struct service_request *r)
{
    return r->document && *r->document ? hash_str(hash_str(0, r->client), r->document) : 0;
}

static struct service_ticket *new_ticket(struct service *s, const struct service_request *r)
{
    struct service_ticket *t = add_ticket(s, hash_str(0, r->client), 0);
    t->on_text = r->on_text;
    t->on_done = r->on_done;
    t->ctx = r->ctx;
    t->priority = r->priority;
    t->is_automatic = r->is_automatic;
    t->api = r->api;
    t->n_before = s->n_tickets - 1;
    t->id = s->o.journal ? journal_id(s->o.journal) : 0;
    t->document = service_document(r);
    return t;
}

struct service_ticket *service_ticket_own(struct service *s, uint64_t client, uint64_t document)
{
    struct service_ticket *t = add_ticket(s, client, document);
    t->priority = SERVICE_PREFETCH;
    t->is_own = true;
    return t;
}

/* Show nothing, with a reason; what was asked before in this document is out of date all the same. */
static void hush(struct service *s, struct service_ticket *t, const char *quiet)
{
    service_supersede(s, t);
    t->quiet = quiet;
    service_settle(s, t, SERVICE_OK, "");
}

static void on_edit(void *ctx, const struct open_document *doc, size_t from, size_t old_to, size_t new_to)
{
    const struct service *s = ctx;
    memory_cache_edit(store_memory(s->o.store), doc->id, from, old_to, new_to);
}

/* The document that the request is about, and its project. */
static enum err find_document(struct service *s, struct service_ticket *t, const struct service_request *r,
                              struct context_input *in, struct errmsg *msg)
{
    const char *path = r->path;
    in->docs = r->docs;
    in->doc = r->doc;
    if (r->root) in->project = projects_find(s->projects, r->root);
    if (!in->doc) {
        if (r->file) in->project = projects_of_file(s->projects, r->file, &path);
        in->docs = clients_documents(s->clients, t->client);
        in->doc = clients_document(s->clients, in->docs, path, r->text, r->len, r->cursor);
        if (!in->doc) return err_set(msg, ERR_LIMIT, "a document of %zu bytes is too large", r->len);
    }
    if (!t->document) t->document = hash_str(t->client, in->doc->uri);
    documents_visit(in->docs, in->doc);
    if (s->o.store) documents_on_edit(in->docs, on_edit, s);
    return OK;
}

/* Ask in a document. OK without a run: the ticket is hushed. */
static enum err ask(struct service *s, struct service_ticket *t, struct service_loaded *m,
                    const struct service_request *r, const struct snapshot_limits *limits,
                    struct snapshot *out, struct errmsg *msg)
{
    int64_t start = clock_ns();
    struct question q;
    struct context_input in = {.cursor = r->cursor,
                               .secrets = s->o.secrets,
                               .tokenizer = m->model ? m->model->tokenizer : NULL,
                               .files = r->files,
                               .n_files = r->n_files,
                               .max_tokens = limits->max_prompt,
                               .is_window_only = s->o.is_window_only};
    enum err err = find_document(s, t, r, &in, msg);
    if (!err && r->cursor > in.doc->text.len) {
        err = err_set(msg, ERR_ARG, "the cursor, byte %zu, is behind the end of the text of %zu bytes",
                      r->cursor, in.doc->text.len);
    }
    if (!err) err = question_ask(&in, &q, msg);
    if (err) return err;
    t->context_ms += clock_ms_since(start);
    if (r->priority <= SERVICE_TYPING) service_prefetch_place(s, t->document, r->cursor);
    const struct repository *repository = projects_repository(s->projects, r->root, r->file);
    if (repository && repository->name[0]) q.input.repo = repository->name;
    buf_reset(&t->explanation);
    if (r->wants_explanation) explain_write(&q, in.doc, &t->explanation);
    if (q.is_secret_file || (r->is_automatic && *q.quiet)) {
        hush(s, t, q.quiet);
        return OK;
    }
    if (s->o.store) {
        t->sources = MEM_NEW(struct sources);
        sources_fill(&q, &in, projects_number(s->projects, in.project), repository, t->sources);
    }
    return snapshot_take(r, limits, &q, out, msg);
}

void service_submit_snapshot(struct service *s, struct service_ticket *t, struct service_loaded *m,
                             struct snapshot *take)
{
    t->model = m;
    if (service_cache_find(s, m, take, t)) {
        service_wake(s);
    } else {
        enum err err = service_find_run(s, m, take, t);
        if (err) {
            service_settle(s, t, SERVICE_ERROR, err_text(err));
            return;
        }
    }
    service_supersede(s, t);
    service_shed(s);
}

/* The question as it is put to this model. False: the ticket is decided. */
static bool take_question(struct service *s, struct service_ticket *t, struct service_loaded *m,
                          const struct service_request *r, struct snapshot *out)
{
    struct errmsg why = {0};
    struct snapshot_limits limits = snapshot_limits(r, m->n_ctx, s->o.max_tokens, s->o.prompt_tokens);
    bool is_document = r->doc || r->text;
    mem_free(t->sources);
    t->sources = NULL;
    enum err err =
        is_document ? ask(s, t, m, r, &limits, out, &why) : snapshot_take(r, &limits, NULL, out, &why);
    if (!err) return !*t->quiet;
    service_settle(s, t, err == ERR_NOMEM ? SERVICE_ERROR : SERVICE_BAD, why.text);
    return false;
}

static void submit_to(struct service *s, struct service_ticket *t, struct service_loaded *m,
                      const struct service_request *r)
{
    struct snapshot snapshot = {0};
    service_registry_touch(m);
    if (m->remote) service_remote_refresh(m);
    if (take_question(s, t, m, r, &snapshot)) service_submit_snapshot(s, t, m, &snapshot);
}

/* The instant model is for the case that no server answers in time. */
static void submit_elsewhere(struct service *s, struct service_ticket *t, struct service_loaded *instant,
                             struct service_loaded *m, const struct service_request *r)
{
    submit_to(s, t, m, r);
    if (instant) service_patience_begin(s, t, instant);
}

/* Both models are ready. What the main one has said about this place before is better than what the instant
 * one would say now; else the main one says it in idle moments, for what is typed next. */
static void submit_to_both(struct service *s, struct service_ticket *t, struct service_loaded *instant,
                           struct service_loaded *m, const struct service_request *r)
{
    struct snapshot snapshot = {0};
    if (m->remote) service_remote_refresh(m);
    if (!take_question(s, t, m, r, &snapshot)) return;
    t->model = m;
    if (service_cache_find(s, m, &snapshot, t)) {
        service_wake(s);
        service_supersede(s, t);
        return;
    }
    struct sources *sources = t->sources;
    t->sources = NULL;
    uint64_t client = t->client, document = t->document;
    submit_to(s, t, instant, r);
    if (!s->govern.orders.background || !s->o.store) {
        snapshot_clear(&snapshot);
        mem_free(sources);
        return;
    }
    struct service_ticket *own = service_ticket_own(s, client, document);
    own->sources = sources;
    service_registry_touch(m);
    service_submit_snapshot(s, own, m, &snapshot);
}

/* False: its model is not there yet. */
static bool submit(struct service *s, struct service_ticket *t, const struct service_request *r)
{
    struct errmsg why = {0};
    struct service_loaded *instant, *m = service_roles_choose(s, r, &instant, &why);
    if (!m) {
        service_settle(s, t, SERVICE_UNAVAILABLE, why.text);
        return true;
    }
    bool is_possible = service_registry_want(s, m);
    if (instant) is_possible = service_registry_want(s, instant) || is_possible;
    bool has_main = m->state == SERVICE_READY, has_instant = instant && instant->state == SERVICE_READY;
    bool is_patient = m->elsewhere && (s->o.patience_ms > 0 || r->priority == SERVICE_ASKED);
    if (!is_possible) {
        service_settle(s, t, SERVICE_UNAVAILABLE, m->error.text);
    } else if (has_main && is_patient) {
        submit_elsewhere(s, t, instant, m, r);
    } else if (has_main && has_instant) {
        submit_to_both(s, t, instant, m, r);
    } else if (has_main || has_instant) {
        submit_to(s, t, has_instant ? instant : m, r);
    } else {
        return false;
    }
    return true;
}

static void wait_for_model(struct service *s, struct service_ticket *t, const struct service_request *r)
{
    t->waiting = request_copy(r);
    if (!t->waiting) {
        service_settle(s, t, SERVICE_ERROR, err_text(ERR_NOMEM));
        return;
    }
    service_supersede(s, t);
    service_shed(s);
}

void service_wait_over(struct service *s)
{
    uint64_t end = s->next_number;
    for (struct service_ticket *t = s->first; t && t->number < end; t = t->next) {
        struct service_request *r = t->waiting;
        if (!r) continue;
        t->waiting = NULL;
        t->load_ms = clock_ms_since(t->start_ns);
        if (submit(s, t, r)) {
            mem_free(r);
        } else {
            t->waiting = r;
        }
    }
}

struct service_ticket *service_submit(struct service *s, const struct service_request *r)
{
    service_watch_roll(s);
    struct service_ticket *t = new_ticket(s, r);
    if (r->priority <= SERVICE_TYPING) {
        projects_pause(s->projects);
        s->govern.active_ns = t->start_ns;
    }
    if (s->is_draining) {
        service_settle(s, t, SERVICE_UNAVAILABLE,
                       "the server is shutting down; try again when it has restarted");
    } else if (!submit(s, t, r)) {
        wait_for_model(s, t, r);
    }
    return t;
}
