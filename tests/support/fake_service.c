/* See fake_service.h. */
#include "support/fake_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct service *fake_service_new(void)
{
    struct service *s = MEM_NEW(struct service);
    s->state = SERVICE_READY;
    s->error = "";
    return s;
}

static char *copy(const char *bytes, size_t len)
{
    char *out = mem_new(len + 1);
    if (len) memcpy(out, bytes, len);
    return out;
}

static void ticket_free(struct service_ticket *t)
{
    mem_free((char *)t->request.model);
    mem_free((char *)t->request.client);
    mem_free((char *)t->request.document);
    mem_free((char *)t->request.text);
    mem_free((char *)t->request.path);
    mem_free((char *)t->request.root);
    mem_free(t);
}

void fake_service_free(struct service **s)
{
    for (int i = 0; i < (*s)->n_waiting; i++) ticket_free((*s)->waiting[i]);
    mem_free(*s);
    *s = NULL;
}

static void take_out(struct service *s, int i)
{
    s->n_waiting--;
    memmove(s->waiting + i, s->waiting + i + 1, (size_t)(s->n_waiting - i) * sizeof *s->waiting);
}

static void answer(struct service *s, int i, const struct service_answer *a)
{
    struct service_ticket *t = s->waiting[i];
    take_out(s, i);
    t->request.on_done(t->request.ctx, a);
    ticket_free(t);
}

void fake_service_answer_many(struct service *s, int i, const char *const *texts, int n)
{
    struct service_candidate candidates[SERVICE_CANDIDATES_MAX] = {0};
    for (int c = 0; c < n; c++) {
        candidates[c] = (struct service_candidate){
            .text = texts[c], .len = strlen(texts[c]), .stop = "eog", .stopping_word = ""};
    }
    answer(s, i,
           &(struct service_answer){.outcome = SERVICE_OK,
                                    .id = s->next_id,
                                    .message = "",
                                    .quiet = "",
                                    .fallback = "",
                                    .model = "toy",
                                    .candidates = candidates,
                                    .n_candidates = n});
}

void fake_service_answer(struct service *s, int i, enum service_outcome outcome, const char *text)
{
    if (outcome == SERVICE_OK) {
        fake_service_answer_many(s, i, &text, text != NULL);
    } else {
        answer(s, i,
               &(struct service_answer){
                   .outcome = outcome, .message = text, .quiet = "", .fallback = "", .model = "toy"});
    }
}

/* --- What service.h promises ------------------------------------------------------------------------- */

struct service_ticket *service_submit(struct service *s, const struct service_request *r)
{
    struct service_ticket *t = MEM_NEW(struct service_ticket);
    if (s->n_waiting == FAKE_SERVICE_WAITING_MAX) abort();
    *t = (struct service_ticket){.service = s, .request = *r};
    t->request.model = mem_dup_str(r->model);
    t->request.client = mem_dup_str(r->client);
    t->request.document = mem_dup_str(r->document);
    if (r->doc) { /* the tests look at the text in one place */
        t->request.len = r->doc->text.len;
        t->request.path = r->doc->path;
    }
    t->request.text = copy(r->doc ? r->doc->text.bytes : r->text, t->request.len);
    t->request.path = t->request.path ? mem_dup_str(t->request.path) : NULL;
    t->request.root = r->root ? mem_dup_str(r->root) : NULL;
    s->waiting[s->n_waiting++] = t;
    s->n_submitted++;
    return t;
}

void service_cancel(struct service *s, struct service_ticket *ticket)
{
    int i = 0;
    while (i < s->n_waiting && s->waiting[i] != ticket) i++;
    if (i == s->n_waiting) abort(); /* answered or cancelled before */
    take_out(s, i);
    ticket_free(ticket);
    s->n_cancelled++;
}

int32_t service_n_models(struct service *s)
{
    (void)s;
    return 1;
}

void service_model(struct service *s, int32_t i, struct service_model *out)
{
    if (i != 0) abort();
    *out = (struct service_model){.name = "toy",
                                  .path = "toy.gguf",
                                  .state = s->state,
                                  .error = s->error,
                                  .arch = "",
                                  .format = "",
                                  .fim_family = "",
                                  .fim_order = "",
                                  .isa = "ref",
                                  .role = "main",
                                  .precision = "",
                                  .api = "",
                                  .remote_model = "",
                                  .n_loads = 1,
                                  .weight_bytes = 500,
                                  .read_bytes = 500 - s->n_unread,
                                  .kv_bytes = 30};
}

bool service_model_server(struct service *s, int32_t model, int32_t i, struct remote_server_state *out)
{
    (void)s, (void)model, (void)i, (void)out;
    return false;
}

const char *service_server_health(const struct remote_server_state *server)
{
    (void)server;
    return "";
}

int64_t service_model_resident(const struct service *s, int32_t i)
{
    (void)s;
    (void)i;
    return 400;
}

void service_hold_project(struct service *s, const char *root)
{
    s->n_projects++;
    snprintf(s->project, sizeof s->project, "%s", root);
}

void service_drop_project(struct service *s, const char *root)
{
    (void)root;
    s->n_projects--;
}

void service_rescan_project(struct service *s, const char *root)
{
    s->n_rescans++;
    snprintf(s->project, sizeof s->project, "%s", root);
}

void service_note(struct service *s, uint64_t id, enum service_event event, int64_t n_chars)
{
    s->n_notes++;
    s->noted_id = id;
    s->event = event;
    s->n_chars = n_chars;
}

void service_note_kept(struct service *s, bool is_kept)
{
    if (is_kept) {
        s->n_kept++;
    } else {
        s->n_changed++;
    }
}

void service_prefetch_opened(struct service *s, const struct service_request *r)
{
    (void)r;
    s->n_opened++;
}

bool service_journal_find(struct service *s, uint64_t id, struct journal_record *out, char *model,
                          size_t model_max)
{
    (void)s, (void)id, (void)out, (void)model, (void)model_max;
    return false;
}

void service_measure(struct service *s, bool whole)
{
    (void)s, (void)whole;
}
