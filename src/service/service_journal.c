/* The journal (watch/journal.h): a record of each request when it is answered. No text of anybody gets in. */
#include "service/service_impl.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "context/fim.h"
#include "os/clock.h"
#include "os/pool.h"
#include "store/journal_disk.h"
#include "watch/journal.h"

/* ---- Records ---- */

/* Where the prompt differed from what was at hand. */
static void note_break(const struct service_run *run, struct journal_record *r)
{
    static const enum journal_part parts[] = {[FIM_PART_CONTEXT] = JOURNAL_PART_CONTEXT,
                                              [FIM_PART_PREFIX] = JOURNAL_PART_PREFIX,
                                              [FIM_PART_SUFFIX] = JOURNAL_PART_SUFFIX};
    int32_t at = (int32_t)(r->n_reused + r->n_restored), n = run->prompt.tokens.n;
    r->break_at = (uint32_t)at;
    if (!run->is_prompt_built || at >= n - 1) { /* the last token is always computed */
        r->break_part = JOURNAL_PART_NONE;
    } else if (at <= 1) { /* BOS */
        r->break_part = JOURNAL_PART_START;
    } else if (run->snapshot.input.is_raw) {
        r->break_part = JOURNAL_PART_RAW;
    } else {
        r->break_part = (uint8_t)parts[fim_part_at(&run->model->fim, &run->prompt.tokens, at)];
    }
}

/* Who joined a run that was under way has waited only for what was left of it: its last stages. */
static void clip_to_wait(const struct service_ticket *t, struct journal_record *r)
{
    float own_ms = (float)(t->context_ms + t->load_ms + t->lookup_ms);
    float left_ms = r->total_ms > own_ms ? r->total_ms - own_ms : 0;
    float prepare_ms = r->context_ms - (float)t->context_ms;
    float *const stages[] = {&r->post_ms, &r->decode_ms, &r->prefill_ms, &prepare_ms, &r->queue_ms};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        if (*stages[i] > left_ms) *stages[i] = left_ms;
        left_ms -= *stages[i];
    }
    r->context_ms = (float)t->context_ms + prepare_ms;
}

static void note_timings(const struct service_ticket *t, const struct service_timings *from,
                         struct journal_record *r)
{
    bool is_found_below = t->has_source && t->run && t->run->is_found;
    r->queue_ms = (float)from->queue;
    r->context_ms = (float)from->context;
    r->prefill_ms = (float)from->prompt;
    r->decode_ms = (float)from->predict;
    r->post_ms = (float)from->post;
    r->total_ms = (float)from->total;
    r->load_ms = (float)t->load_ms;
    r->lookup_ms = (float)(is_found_below ? from->total - from->context - t->load_ms : t->lookup_ms);
    r->n_prompt = (uint32_t)from->n_prompt;
    r->n_reused = (uint32_t)from->n_reused;
    r->n_restored = (uint32_t)from->n_restored;
    r->n_moved = (uint32_t)from->n_moved;
    r->n_computed = (uint32_t)from->n_computed;
    r->n_generated = (uint16_t)from->n_predicted;
    r->n_drafted = (uint16_t)from->n_drafted;
    r->n_accepted = (uint16_t)from->n_accepted;
    if (t->has_joined) clip_to_wait(t, r);
}

static void note_text(const struct service_answer *a, struct journal_record *r)
{
    r->n_candidates = (uint8_t)a->n_candidates;
    r->stop = -1;
    r->mean_logprob = (float)a->held_logprob;
    if (a->n_candidates == 0) return;
    r->n_chars = (uint32_t)a->candidates[0].len;
    r->mean_logprob = (float)a->candidates[0].mean_logprob;
    r->stop = journal_stop(a->candidates[0].stop);
}

/* What is known of a request before its answer. */
static struct journal_record record_of(const struct service *s, const struct service_ticket *t)
{
    struct journal_record r = {.id = t->id,
                               .at_us = clock_unix_us() - (clock_ns() - t->start_ns) / 1000,
                               .other = t->other,
                               .speed = (float)s->govern.orders.speed,
                               .is_throttled = s->govern.orders.n_threads < pool_threads(s->workers),
                               .n_waiting = (uint16_t)(t->n_before < UINT16_MAX ? t->n_before : UINT16_MAX),
                               .api = (int8_t)t->api,
                               .priority = (int8_t)t->priority,
                               .source = t->has_source ? (int8_t)t->source : -1,
                               .miss = t->has_miss && !t->has_source ? (int8_t)t->miss : -1,
                               .quiet = -1,
                               .error = -1,
                               .stop = -1,
                               .is_remote = t->model && t->model->elsewhere,
                               .is_fallback = *t->fallback.text != '\0',
                               .model = journal_model(s->o.journal, t->model ? t->model->name : "")};
    return r;
}

/* For those who keep logs: log.level = info. */
static void log_request(const struct service_ticket *t, const struct service_answer *a)
{
    char outcome[32] = "", api[32] = "";
    (void)metric_label_name(METRIC_REQUESTS, (int32_t)a->outcome, outcome);
    (void)metric_label_name(METRIC_REQUESTS_BY_API, (int32_t)t->api, api);
    const struct log_field fields[] = {
        {"id", LOG_INT, .integer = (int64_t)t->id},
        {"api", LOG_STR, .str = api},
        {"outcome", LOG_STR, .str = outcome},
        {"quiet", LOG_STR, .str = a->quiet},
        {"cache", LOG_STR, .str = a->cache},
        {"total_ms", LOG_NUM, .number = a->timings.total},
        {"prefill_ms", LOG_NUM, .number = a->timings.prompt},
        {"decode_ms", LOG_NUM, .number = a->timings.predict},
        {"computed", LOG_INT, .integer = a->timings.n_computed},
        {"generated", LOG_INT, .integer = a->timings.n_predicted},
    };
    log_event(LOG_INFO, "request", fields, sizeof fields / sizeof *fields);
}

void service_journal_answer(struct service *s, const struct service_ticket *t, const struct service_answer *a)
{
    struct journal_record r = record_of(s, t);
    const struct service_run *run = t->run;
    note_timings(t, &a->timings, &r);
    note_text(a, &r);
    r.outcome = (int8_t)a->outcome;
    r.error = (int8_t)service_watch_error(t, a);
    r.quiet = (int8_t)service_watch_label(METRIC_QUIET, a->quiet);
    r.was_cut = a->prompt_truncated;
    if (run && !t->found && !run->is_found) {
        note_break(run, &r);
        r.was_shared = run->was_shared;
        if (run->id != t->id) r.other = run->id;
    }
    journal_add(s->o.journal, &r);
    log_request(t, a);
}

void service_journal_cancelled(struct service *s, const struct service_ticket *t)
{
    struct journal_record r = record_of(s, t);
    r.outcome = METRIC_OUTCOME_CANCELLED;
    r.total_ms = (float)clock_ms_since(t->start_ns);
    r.context_ms = (float)t->context_ms;
    r.load_ms = (float)t->load_ms;
    r.lookup_ms = (float)t->lookup_ms;
    journal_add(s->o.journal, &r);
}

/* ---- Where they are kept ---- */

void service_journal_open(struct service *s)
{
    struct errmsg msg = {0};
    if (!s->o.journal || !*s->o.journal_path) return;
    if (journal_disk_open(s->o.journal_path, s->o.journal_days, &s->journal_disk, &msg)) {
        log_line(LOG_WARN, "requests are not kept on disk: %s", msg.text);
        return;
    }
    journal_continue(s->o.journal, journal_disk_last_id(s->journal_disk));
    journal_on_record(s->o.journal, journal_disk_put, s->journal_disk);
}

void service_journal_close(struct service *s)
{
    if (!s->journal_disk) return;
    journal_on_record(s->o.journal, NULL, NULL);
    journal_disk_close(&s->journal_disk);
}

bool service_journal_find(struct service *s, uint64_t id, struct journal_record *out, char *model,
                          size_t model_max)
{
    char name[JOURNAL_NAME_MAX] = "";
    const struct journal_record *r = s->o.journal ? journal_find(s->o.journal, id) : NULL;
    if (r) {
        *out = *r;
        snprintf(model, model_max, "%s", journal_model_name(s->o.journal, r->model));
        return true;
    }
    if (!s->journal_disk || journal_disk_find(s->o.journal_path, id, out, name, NULL)) return false;
    snprintf(model, model_max, "%s", name);
    return true;
}
