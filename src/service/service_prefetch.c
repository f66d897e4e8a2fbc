/* What is likely to be asked next, computed while nobody waits.
 *
 * Who is shown a suggestion most often types it or accepts it. Typing it needs no model (service_cache.c).
 * When it is accepted whole, or has been typed to its end, the next question is asked behind it; at the end
 * of a line, many go on to the next one. Both questions are known now. They run at the lowest priority: any
 * request of a person makes them wait within a task's time (scheduler.h). */
#include "service/service_impl.h"

#include "base/mem.h"
#include "os/clock.h"
#include "os/power.h"

#define POWER_MS 30e3 /* how long the answer to where the power comes from is good */

/* For this model. Servers elsewhere have others to serve, too: they compute ahead only where that is wanted.
 */
static bool may_prefetch(struct service *s, const struct service_loaded *m)
{
    struct service_prefetches *p = &s->prefetches;
    if (m->elsewhere && s->o.prefetch_mode != SERVICE_PREFETCH_ON) return false;
    if (!s->o.store || s->is_draining || s->o.prefetch_mode == SERVICE_PREFETCH_OFF) return false;
    if (!s->govern.orders.background) return false;
    if (s->o.prefetch_mode == SERVICE_PREFETCH_ON) return true;
    if (!p->power_ns || clock_ms_since(p->power_ns) > POWER_MS) {
        p->power_ns = clock_ns();
        p->is_on_battery = power_is_on_battery();
    }
    return !p->is_on_battery;
}

void service_prefetch_note(struct service *s, uint64_t key)
{
    struct service_prefetches *p = &s->prefetches;
    for (int i = 0; i < SERVICE_PREFETCHED; i++) {
        if (p->keys[i] != key) continue;
        p->keys[i] = 0;
        p->n_used++;
        service_watch_count(s, METRIC_PREFETCHES, 1, 1);
        return;
    }
}

void service_prefetch_remember(struct service *s, uint64_t key)
{
    struct service_prefetches *p = &s->prefetches;
    p->keys[p->next] = key;
    p->next = (p->next + 1) % SERVICE_PREFETCHED;
    p->n++;
    service_watch_count(s, METRIC_PREFETCHES, 0, 1);
}

/* ---- Where a document was worked in ---- */

static struct service_place *place_of(struct service_prefetches *p, uint64_t document)
{
    for (int i = 0; i < SERVICE_PLACES; i++) {
        if (p->places[i].document == document) return &p->places[i];
    }
    return NULL;
}

void service_prefetch_place(struct service *s, uint64_t document, size_t cursor)
{
    struct service_prefetches *p = &s->prefetches;
    struct service_place *place = place_of(p, document);
    if (!place) {
        place = &p->places[p->next_place];
        p->next_place = (p->next_place + 1) % SERVICE_PLACES;
    }
    *place = (struct service_place){document, cursor};
}

void service_prefetch_opened(struct service *s, const struct service_request *r)
{
    struct errmsg ignored;
    struct service_loaded *instant, *m = service_roles_choose(s, r, &instant, &ignored);
    if (!m || !may_prefetch(s, m)) return;
    struct service_request own = *r;
    const struct service_place *place = place_of(&s->prefetches, service_document(r));
    own.cursor = place && place->cursor <= r->doc->text.len ? place->cursor : r->doc->text.len;
    own.cursor = text_char_start(&r->doc->text, own.cursor);
    own.priority = SERVICE_PREFETCH;
    own.is_automatic = true;
    service_submit(s, &own)->is_own = true;
}

/* ---- After an answer ---- */

/* The same question with `text` before the cursor. */
static void ask_after(struct service *s, const struct service_ticket *t, const struct snapshot *q,
                      const struct sources *sources, const char *text, size_t len)
{
    struct snapshot next;
    if (snapshot_take_after(q, text, len, &next)) return;
    if (snapshot_is_quiet(&next)) {
        snapshot_clear(&next);
        return;
    }
    struct service_ticket *own = service_ticket_own(s, t->client, t->document);
    own->sources = sources_copy(sources);
    service_submit_snapshot(s, own, t->model, &next);
}

#define TEXT_MAX ((size_t)1 << 20)

/* Whether the cursor would stand behind something, at the end of its line. */
static bool ends_a_line(const struct prompt_input *in, const struct buf *text)
{
    bool is_end = in->after_len == 0 || in->after[0] == '\n';
    if (text->len > 0) return is_end && text->data[text->len - 1] != '\n';
    return is_end && in->before_len > 0 && in->before[in->before_len - 1] != '\n';
}

void service_prefetch(struct service *s, const struct service_ticket *t, const struct service_answer *a)
{
    const struct snapshot *q = t->found ? &t->snapshot : t->run ? &t->run->snapshot : NULL;
    const struct sources *sources = t->found ? t->sources : t->run ? t->run->sources : NULL;
    if (a->outcome != SERVICE_OK || a->n_candidates == 0 || t->model->state != SERVICE_READY) return;
    if (!q || q->input.is_raw || t->priority > SERVICE_TYPING || q->limits.n_candidates > 1) return;
    if (!may_prefetch(s, t->model)) return;
    struct buf text;
    buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < a->candidates[0].len; i++) {
        if (a->candidates[0].text[i] != '\r') buf_add_char(&text, a->candidates[0].text[i]);
    }
    if (text.len > 0) ask_after(s, t, q, sources, text.data, text.len);
    /* An indentation that the editor puts there is typed text like any other. */
    if (ends_a_line(&q->input, &text)) {
        buf_add_char(&text, '\n');
        if (!text.err) ask_after(s, t, q, sources, text.data, text.len);
    }
    buf_clear(&text);
}
