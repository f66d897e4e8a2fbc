/* Tickets: who asks for what, whose question is out of date, and when each answer is given.
 *
 * What a request means is decided here at once, on the loop, by looking at the requests under way: there are
 * at most max_waiting, so the lists are walked. Answers are given by service_poll only, to the tickets that
 * were there when it began: a callback may submit and cancel as it likes. */
#include <string.h>

#include "base/mem.h"
#include "complete/complete.h"
#include "service/service_impl.h"
#include "model/model.h"
#include "os/clock.h"
#include "os/pool.h"

#define DEFAULT_WAITING 256
#define DEFAULT_TOKENS  64

void service_wake(const struct service *s)
{
    if (s->o.wake) s->o.wake(s->o.ctx);
}

static char *dup_or_null(const char *s)
{
    return s ? mem_dup_str(s) : NULL;
}

enum err service_new(const struct service_options *o, struct service **out, struct errmsg *msg)
{
    struct pool *workers;
    *out = NULL;
    enum err err = engine_pool_new(&o->engine, &workers, msg);
    if (err) return err;
    struct service *s = MEM_NEW(struct service);
    s->o = *o;
    s->o.models_dir = mem_dup_str(o->models_dir ? o->models_dir : "");
    s->o.default_model = mem_dup_str(o->default_model ? o->default_model : "");
    s->o.instant_model = mem_dup_str(o->instant_model ? o->instant_model : "");
    s->o.languages = mem_dup_str(o->languages ? o->languages : "");
    s->o.journal_path = mem_dup_str(o->journal_path ? o->journal_path : "");
    s->o.engine.pool = s->workers = workers;
    s->o.engine.cpus = dup_or_null(o->engine.cpus);
    s->o.engine.isa = dup_or_null(o->engine.isa);
    s->o.engine.kv_dir = dup_or_null(o->engine.kv_dir);
    s->o.engine.pack_dir = dup_or_null(o->engine.pack_dir);
    if (s->o.max_waiting <= 0) s->o.max_waiting = DEFAULT_WAITING;
    if (s->o.max_tokens <= 0) s->o.max_tokens = DEFAULT_TOKENS;
    if (s->o.prompt_tokens <= 0) s->o.prompt_tokens = COMPLETE_PROMPT_TOKENS;
    s->clients = clients_new();
    s->projects = projects_new(o->secrets);
    service_mail_open(&s->box, o->wake, o->ctx);
    service_journal_open(s);
    service_govern_init(s);
    err = service_registry_init(s, msg);
    if (err)
        service_free(&s);
    else
        *out = s;
    return err;
}

static void unlink_ticket(struct service *s, struct service_ticket *t)
{
    *(t->prev ? &t->prev->next : &s->first) = t->next;
    *(t->next ? &t->next->prev : &s->last) = t->prev;
    s->n_tickets--;
}

static void free_ticket(struct service_ticket *t)
{
    buf_clear(&t->explanation);
    if (t->found) replay_clear(t->found);
    mem_free(t->found);
    snapshot_clear(&t->snapshot);
    mem_free(t->sources);
    mem_free(t->waiting);
    mem_free(t);
}

void service_free(struct service **sp)
{
    struct service *s = *sp;
    *sp = NULL;
    if (!s) return;
    service_registry_stop(s);
    service_mail_close(&s->box);
    service_run_sweep(s, true);
    while (s->first) {
        struct service_ticket *t = s->first;
        unlink_ticket(s, t);
        free_ticket(t);
    }
    service_journal_close(s);
    service_registry_clear(s);
    service_govern_clear(s);
    clients_free(&s->clients);
    projects_free(&s->projects);
    pool_free(&s->workers);
    mem_free((void *)s->o.models_dir);
    mem_free((void *)s->o.default_model);
    mem_free((void *)s->o.instant_model);
    mem_free((void *)s->o.languages);
    mem_free((void *)s->o.journal_path);
    mem_free((void *)s->o.engine.cpus);
    mem_free((void *)s->o.engine.isa);
    mem_free((void *)s->o.engine.kv_dir);
    mem_free((void *)s->o.engine.pack_dir);
    mem_free(s);
}

int32_t service_n_running(const struct service *s)
{
    return s->n_tickets;
}

/* ---- Tickets and runs ---- */

/* Who joined a run after typing has its answer once that was replayed. */
static bool is_answered(const struct service_ticket *t)
{
    if (t->waiting) return false;
    if (t->found || !t->run) return true;
    return t->run->is_over && t->n_typed == 0;
}

static void join(struct service_ticket *t, struct service_run *run)
{
    t->run = run;
    run->n_tickets++;
    if (run->n_tickets > 1) run->was_shared = true;
}

static void join_after_typing(struct service_ticket *t, struct service_run *run, struct snapshot *take,
                              size_t n_typed)
{
    t->run = run;
    t->snapshot = *take;
    t->n_typed = n_typed;
    run->n_tickets++;
}

void service_leave(struct service_ticket *t)
{
    struct service_run *run = t->run;
    if (!run) return;
    t->run = NULL;
    run->n_tickets--;
    if (run->n_tickets == 0 && !run->is_over) service_run_cancel(run);
}

/* Decide a ticket now. */
void service_settle(struct service *s, struct service_ticket *t, enum service_outcome outcome,
                    const char *why)
{
    service_leave(t);
    mem_free(t->waiting);
    t->waiting = NULL;
    t->outcome = outcome;
    err_set(&t->message, OK, "%s", why);
    service_wake(s);
}

/* All askers of a run that has given nothing yet go over to another. */
static void move_askers(struct service *s, struct service_run *from, struct service_run *to)
{
    for (struct service_ticket *t = s->first; t; t = t->next) {
        if (t->run != from) continue;
        service_leave(t);
        join(t, to);
    }
}

/* The run that will answer this: one under way, or a new one. One that waits behind what is more urgent is
 * replaced: it would hold up the newcomer. */
enum err service_find_run(struct service *s, struct service_loaded *m, struct snapshot *take,
                          struct service_ticket *t)
{
    size_t n_typed;
    struct service_run *same = service_run_find(s, m, take), *run = same;
    struct service_run *begun = same ? NULL : service_cache_find_run(s, m, take, &n_typed);
    if (begun && begun->priority <= t->priority) {
        join_after_typing(t, begun, take, n_typed);
        return OK;
    }
    if (!same || same->priority > t->priority) {
        enum err err = service_run_new(s, m, take, t->priority, t->client, t->document, &run);
        if (err) return err;
        run->id = t->id;
        run->before_ms = clock_ms_since(t->start_ns);
    } else {
        snapshot_clear(take);
    }
    join(t, run);
    t->has_joined = run == same;
    if (run == same) {
        if (run->text.len > 0) service_wake(s); /* the newcomer gets what there is */
        return OK;
    }
    if (same && same->text.len == 0) move_askers(s, same, run);
    service_cache_begin(s, run, t->sources);
    t->sources = NULL;
    if (!run->is_put_off) service_run_start(run);
    return OK;
}

/* The run that a ticket joined after typing is over: what it says here, or else a run of its own. */
static void settle_typed(struct service *s, struct service_ticket *t)
{
    struct service_loaded *m = t->run->model;
    bool is_found = service_cache_take(t->run, t);
    struct snapshot snapshot = t->snapshot;
    service_leave(t);
    t->n_typed = 0;
    if (is_found) return;
    t->snapshot = (struct snapshot){0};
    t->has_miss = true;
    t->miss = MISS_SHORT;
    enum err err = service_find_run(s, m, &snapshot, t);
    if (err) service_settle(s, t, SERVICE_ERROR, err_text(err));
}

#define TYPED_BYTES ((size_t)256) /* an accepted suggestion and what was typed after it */
#define ALIKE_BYTES ((size_t)32)  /* that two texts must share: short ones begin alike by chance */

/* Raw prompts say nothing about where their texts are from; only one that continues the other counts, as
 * typing at the end does. */
static bool is_continued(const struct prompt_input *a, const struct prompt_input *b)
{
    if (!a->is_raw || !b->is_raw || !a->text || !b->text) return false;
    size_t len = a->text_len < b->text_len ? a->text_len : b->text_len;
    size_t more = a->text_len + b->text_len - 2 * len;
    return len >= ALIKE_BYTES && more <= TYPED_BYTES && memcmp(a->text, b->text, len) == 0;
}

/* What a ticket asks that has a run, or was found. */
static const struct snapshot *question_of(const struct service_ticket *t)
{
    return t->found || t->n_typed > 0 ? &t->snapshot : &t->run->snapshot;
}

static bool is_same_document(const struct service_ticket *older, const struct service_ticket *newer)
{
    if (older->client != newer->client || older->document != newer->document) return false;
    if (newer->document) return true;
    if (!(newer->run || newer->found) || !older->run) return false;
    if (older->priority > SERVICE_TYPING) return false; /* says nothing about where the cursor is */
    return is_continued(&question_of(older)->input, &question_of(newer)->input);
}

void service_supersede(struct service *s, const struct service_ticket *newer)
{
    if (newer->priority > SERVICE_TYPING) return;
    for (struct service_ticket *t = s->first; t; t = t->next) {
        bool is_same_question = newer->run && t->run == newer->run && t->n_typed == newer->n_typed;
        if (t == newer || is_answered(t) || is_same_question || !is_same_document(t, newer)) continue;
        if (newer->found && t->is_own) continue; /* it goes on as was foreseen */
        t->other = newer->id;
        service_settle(s, t, SERVICE_SUPERSEDED, "superseded by a newer request for the same document");
    }
}

/* The stalest of the lowest priority, while too many wait. */
void service_shed(struct service *s)
{
    int32_t n = 0;
    struct service_ticket *victim = NULL;
    for (struct service_ticket *t = s->first; t; t = t->next) {
        if (is_answered(t)) continue;
        n++;
        if (!victim || t->priority > victim->priority) victim = t;
    }
    if (n <= s->o.max_waiting) return;
    service_settle(s, victim, SERVICE_SHED, "too many requests are waiting; this one was the stalest");
}

void service_drain(struct service *s)
{
    s->is_draining = true;
    for (struct service_ticket *t = s->first, *next; t; t = next) {
        next = t->next;
        if (t->is_own) {
            service_cancel(s, t);
        } else if (t->waiting) {
            service_settle(s, t, SERVICE_UNAVAILABLE,
                           "the server is shutting down; try again when it has restarted");
        }
    }
}

void service_cancel(struct service *s, struct service_ticket *t)
{
    service_watch_cancelled(s, t);
    service_leave(t);
    unlink_ticket(s, t);
    free_ticket(t);
}

/* ---- Answering ---- */

/* The first ticket before `end` that there is something to tell, or null. */
static struct service_ticket *next_due(struct service *s, uint64_t end)
{
    for (struct service_ticket *t = s->first; t && t->number < end; t = t->next) {
        if (is_answered(t)) return t;
        if (t->run && t->on_text && t->n_typed == 0 && t->n_given < t->run->text.len) return t;
    }
    return NULL;
}

/* What is there of the answer's first candidate. */
static const char *text_of(const struct service_ticket *t, size_t *len)
{
    const struct replay *found = t->found;
    *len = 0;
    if (found && found->n == 0) return "";
    if (!found && !t->run) return "";
    *len = found ? found->candidates[0].len : t->run->text.len;
    return found ? found->candidates[0].text : buf_str(&t->run->text);
}

/* False: there is nothing new. */
static bool give_text(struct service_ticket *t)
{
    size_t len, from = t->n_given;
    const char *text = text_of(t, &len);
    if (!t->on_text || from >= len) return false;
    t->n_given = len;
    t->on_text(t->ctx, text + from, len - from);
    return true;
}

/* Hold back what the model is not sure of, from somebody who did not ask. */
static void keep_sure(const struct service *s, struct service_candidate *candidates, struct service_answer *a)
{
    int32_t n = 0;
    for (int32_t i = 0; i < a->n_candidates; i++) {
        const struct service_candidate *c = &candidates[i];
        if (place_is_sure(c->mean_logprob, c->n_tokens, s->o.min_confidence)) candidates[n++] = *c;
    }
    if (n == 0 && a->n_candidates > 0) {
        a->quiet = "unsure";
        a->held_logprob = candidates[0].mean_logprob;
    }
    a->n_candidates = n;
}

static void found_answer(const struct service_ticket *t, struct service_candidate *candidates,
                         struct service_answer *a)
{
    memcpy(candidates, t->found->candidates, (size_t)t->found->n * sizeof *candidates);
    a->candidates = candidates;
    a->n_candidates = t->found->n;
    a->model = t->model->name;
    a->n_ctx = t->model->n_ctx;
    a->seq_id = -1;
    a->prompt_truncated = t->snapshot.was_cut;
}

/* Where an answer was found, or why it was not. */
static void tell_source(struct service *s, struct service_ticket *t, struct service_answer *a)
{
    if (a->outcome != SERVICE_OK || !(t->run || t->found)) return;
    if (!t->found && t->run->is_found) {
        t->has_source = true;
        t->source = t->run->found_source;
    } else if (!t->found && t->has_miss && t->has_joined) {
        t->has_source = true;
        t->source = CACHE_IN_FLIGHT;
    }
    if (t->has_source)
        a->cache = service_cache_source_name(t->source);
    else if (t->has_miss)
        a->cache_miss = service_cache_miss_name(t->miss);
    if (t->is_own) return;
    if (t->has_source)
        s->n_found[t->source]++;
    else if (t->has_miss)
        s->n_missed[t->miss]++;
}

static void give_answer(struct service *s, struct service_ticket *t)
{
    struct service_candidate candidates[SERVICE_CANDIDATES_MAX];
    struct service_answer a = {.outcome = t->outcome,
                               .message = t->message.text,
                               .model = "",
                               .quiet = t->quiet,
                               .cache = "",
                               .cache_miss = ""};
    if (t->found)
        found_answer(t, candidates, &a);
    else if (t->run)
        service_run_answer(t->run, candidates, &a);
    tell_source(s, t, &a);
    if (t->run && t->is_automatic) keep_sure(s, candidates, &a);
    a.fallback = t->fallback.text;
    a.debounce_ms = s->govern.orders.debounce_ms;
    if (t->explanation.len > 0) a.explanation = buf_str(&t->explanation);
    a.timings.context += t->context_ms;
    a.timings.total = clock_ms_since(t->start_ns);
    a.id = t->id;
    if (!t->is_own) service_watch_answer(s, t, &a);
    unlink_ticket(s, t);
    if (t->on_done) t->on_done(t->ctx, &a);
    if (!t->is_own) service_prefetch(s, t, &a);
    service_leave(t);
    free_ticket(t);
}

/* Callbacks may cancel any ticket, their own too: after one, the list is looked at afresh. */
static void give_all(struct service *s)
{
    uint64_t end = s->next_number;
    for (struct service_ticket *t; (t = next_due(s, end));) {
        if (!give_text(t)) give_answer(s, t);
    }
}

void service_poll(struct service *s)
{
    for (struct service_mail *mail = service_mail_take(&s->box), *next; mail; mail = next) {
        next = mail->next;
        if (mail->kind == SERVICE_MAIL_LOADED || mail->kind == SERVICE_MAIL_UNLOADED) {
            service_registry_on_mail(s, mail);
        } else {
            service_run_on_mail(s, mail);
        }
        mem_free(mail);
    }
    if (s->o.store) store_poll(s->o.store);
    for (struct service_ticket *t = s->first; t; t = t->next) {
        if (t->run && t->n_typed > 0 && t->run->is_over) settle_typed(s, t);
        (void)service_patience_takes_over(s, t);
    }
    give_all(s);
    service_run_sweep(s, false);
    service_registry_settle(s);
}

void service_hold_project(struct service *s, const char *root)
{
    if (!s->o.has_no_projects && !s->o.is_window_only) projects_hold(s->projects, root);
}

void service_drop_project(struct service *s, const char *root)
{
    projects_drop(s->projects, root);
}

void service_rescan_project(struct service *s, const char *root)
{
    projects_rescan(s->projects, root);
}
