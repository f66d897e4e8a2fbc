/* Figures are true: thousands of requests of every kind whose costs the test sets itself, and every number
 * that is exported about them is what the test has counted.
 *
 * The world is support/watch_world.h. Kinds of requests are functions below, act_...; each knows what must
 * come of what it asks. What was noted of them is compared with all metrics, what they expect of each request
 * with the journal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/set_clock.h"
#include "support/stub_scheduler.h"
#include "support/watch_world.h"

#define MS     INT64_C(1000000)
#define SECOND (1000 * MS)

/* Of all acts; each begins with a slot of every window and ends long before the next one. */
#define N_ROUNDS     240
#define N_OLD_ROUNDS 30 /* the first, more than a day before the others */
#define ROUND_NS     (40 * SECOND)

static bool is_typable(const struct buf *text)
{
    return text->len >= 3 && (unsigned char)text->data[0] < 0x80 && text->data[0] != '\n';
}

/* ---- Acts -------------------------------------------------------------------------------------------- */

static void act_ask_again_and_type(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct watch_asked *first = watch_submit_looked_up(w, watch_request_at(&d));
    watch_finish(w);
    struct watch_asked *again = watch_submit_looked_up(w, watch_request_at(&d));
    watch_expect_found(again, CACHE_MEMORY);
    watch_dawdle(w);
    watch_finish(w);
    if (!is_typable(&first->text)) return;
    char suggested = first->text.data[0];
    struct watch_document other = d;
    watch_type(&d, suggested);
    struct watch_asked *typed = watch_submit_looked_up(w, watch_request_at(&d));
    watch_expect_found(typed, CACHE_TYPED);
    watch_dawdle(w);
    watch_finish(w);
    watch_type(&other, suggested == 'q' ? 'z' : 'q');
    struct watch_asked *not_typed = watch_submit_looked_up(w, watch_request_at(&other));
    not_typed->miss = MISS_OTHER;
    watch_finish(w);
}

static void act_join(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    (void)watch_submit_looked_up(w, watch_request_at(&d));
    w->waited_ms = watch_draw_ms(w, 50);
    set_clock_advance((int64_t)(w->waited_ms * 1e6));
    watch_expect_found(watch_submit_looked_up(w, watch_request_at(&d)), CACHE_IN_FLIGHT);
    watch_finish(w);
}

static void act_join_after_typing(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct watch_asked *first = watch_submit_looked_up(w, watch_request_at(&d));
    (void)stub_scheduler_run(watch_model(w, "llama")->scheduler, 3);
    watch_poll(w);
    if (first->n_done == 0 && is_typable(&first->streamed)) {
        watch_type(&d, first->streamed.data[0]);
        watch_expect_found(watch_submit_looked_up(w, watch_request_at(&d)), CACHE_IN_FLIGHT);
        watch_expect_not(first, SERVICE_SUPERSEDED, -1);
    }
    watch_finish(w);
}

static void act_supersede(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE),
                          next = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&next);
    r.client = r.document = d.path;
    struct watch_asked *first = watch_submit_looked_up(w, watch_request_at(&d));
    if (watch_dice(w, 2)) (void)stub_scheduler_run(watch_model(w, "llama")->scheduler, 1);
    (void)watch_submit_looked_up(w, r);
    watch_expect_not(first, SERVICE_SUPERSEDED, -1);
    watch_finish(w);
}

static void act_shed(struct watch_world *w)
{
    struct watch_asked *asked[WATCH_MAX_WAITING + 2];
    struct watch_document d[WATCH_MAX_WAITING + 2];
    for (int i = 0; i < WATCH_MAX_WAITING + 2; i++) {
        d[i] = watch_new_document(w, WATCH_EMPTY_LINE);
        asked[i] = watch_submit_looked_up(w, watch_request_at(&d[i]));
    }
    watch_expect_not(asked[0], SERVICE_SHED, -1);
    watch_expect_not(asked[1], SERVICE_SHED, -1);
    watch_finish(w);
}

static void act_cancel(struct watch_world *w)
{
    struct watch_document before = watch_new_document(w, WATCH_EMPTY_LINE),
                          during = watch_new_document(w, WATCH_EMPTY_LINE);
    watch_cancel(w, watch_submit_looked_up(w, watch_request_at(&before)));
    struct watch_asked *a = watch_submit_looked_up(w, watch_request_at(&during));
    (void)stub_scheduler_run(watch_model(w, "llama")->scheduler, 1);
    watch_cancel(w, a);
    watch_finish(w);
}

static void act_fail(struct watch_world *w)
{
    static const struct {
        enum err err;
        enum service_outcome outcome;
        enum metric_error error;
    } faults[] = {{ERR_NOMEM, SERVICE_ERROR, METRIC_ERROR_MEMORY},
                  {ERR_FORMAT, SERVICE_ERROR, METRIC_ERROR_INTERNAL},
                  {ERR_LIMIT, SERVICE_BAD, METRIC_ERROR_REQUEST}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
        w->fail = faults[i].err;
        watch_expect_not(watch_submit_looked_up(w, watch_request_at(&d)), faults[i].outcome, faults[i].error);
        watch_finish(w);
        assert_int_equal(w->fail, OK);
    }
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&d);
    r.cursor = r.len + 1;
    watch_expect_not(watch_submit(w, r), SERVICE_BAD, METRIC_ERROR_REQUEST);
    watch_finish(w);
}

static void act_no_model(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&d);
    r.model = "broken";
    struct service_loaded *known = watch_model(w, "broken");
    if (!known) { /* now it is tried, once */
        watch_note(w, METRIC_MODEL_LOADS, 0, 1);
        watch_note(w, METRIC_MODEL_LOAD_FAILURES, 0, 1);
    }
    struct watch_asked *a = watch_submit(w, r);
    watch_expect_not(a, SERVICE_UNAVAILABLE, METRIC_ERROR_UNAVAILABLE);
    while (a->n_done == 0) {
        usleep(200);
        watch_poll(w);
    }
}

static void act_other_model(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&d);
    r.model = "qwen2";
    struct service_loaded *known = watch_model(w, "qwen2");
    if (!known || known->state != SERVICE_READY) {
        watch_note(w, METRIC_MODEL_LOADS, 0, 1);
        watch_note(w, METRIC_MODEL_LOAD_SECONDS, 0, WATCH_LOAD_MS / 1e3);
        w->load_ms = WATCH_LOAD_MS;
    }
    (void)watch_submit_looked_up(w, r);
    watch_wait_ready(w, "qwen2");
    watch_finish(w);
    if (watch_dice(w, 20) > 0) return;
    assert_true(service_unload(w->service, "qwen2"));
    watch_note(w, METRIC_MODEL_UNLOADS, 0, 1);
    while (watch_model(w, "qwen2")->state != SERVICE_INSTALLED) {
        usleep(200);
        watch_poll(w);
    }
}

static void act_quiet(struct watch_world *w)
{
    static const struct {
        const char *around, *path, *reason;
    } places[] = {{"int whole(int b)\n{\n    int tot|al = b;\n}\n", NULL, "in-word"},
                  {"int whole(int b)\n{\n    return 12|;\n}\n", NULL, "in-number"},
                  {"KEY=|\n", ".env", "secret-file"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct watch_document d = watch_new_document(w, places[i].around);
        struct service_request r = watch_request_at(&d);
        r.is_automatic = true;
        if (places[i].path) r.path = places[i].path;
        watch_expect_quiet(watch_submit(w, r), places[i].reason);
        watch_dawdle(w);
        watch_finish(w);
    }
}

static void act_unsure(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&d);
    r.is_automatic = true;
    w->unsure = watch_submit_looked_up(w, r);
    watch_finish(w);
}

/* Somebody takes text away, in a document that is kept open. */
static void act_delete(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    assert_int_equal(documents_open(w->docs, d.path, d.path, NULL, 1, d.text, d.len, NULL), OK);
    struct open_document *doc = documents_find(w->docs, d.path);
    assert_int_equal(documents_splice(w->docs, doc, d.cursor - 4, d.cursor - 3, "", 0), OK);
    struct service_request r = watch_request_at(&d);
    r.text = NULL;
    r.docs = w->docs;
    r.doc = doc;
    r.cursor = d.cursor - 1;
    r.is_automatic = true;
    watch_expect_quiet(watch_submit(w, r), "deleting");
    watch_dawdle(w);
    watch_finish(w);
    assert_true(documents_close(w->docs, d.path));
}

static void act_warm_up(struct watch_world *w)
{
    char prompt[64];
    struct service_request r = {.model = "", .client = "warm", .document = "", .priority = SERVICE_WARMUP};
    snprintf(prompt, sizeof prompt, "int part_%d(int a) {", w->n_documents++);
    r.prompt = prompt;
    r.prompt_len = strlen(prompt);
    r.sampling = SAMPLER_GREEDY;
    struct watch_asked *a = watch_submit(w, r);
    a->miss = -1;
    a->answer = METRIC_ANSWER_NONE;
    watch_finish(w);
}

static void act_candidates(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct service_request r = watch_request_at(&d);
    r.n_candidates = 3;
    (void)watch_submit_looked_up(w, r);
    watch_finish(w);
}

static void act_tell(struct watch_world *w)
{
    const struct watch_asked *a = &w->asked[w->n_asked - 1];
    for (int i = SERVICE_SHOWN; i <= SERVICE_DISMISSED; i++) {
        int64_t n_chars = (int64_t)watch_dice(w, 100);
        service_note(w->service, a->id, (enum service_event)i, n_chars);
        watch_note(w, METRIC_SUGGESTIONS, i, 1);
        watch_note(w, METRIC_SUGGESTION_CHARACTERS, i, (double)n_chars);
    }
    bool is_kept = watch_dice(w, 3) > 0;
    service_note_kept(w->service, is_kept);
    watch_note(w, METRIC_KEPT, is_kept ? 0 : 1, 1);
}

typedef void act_fn(struct watch_world *w);

static void play(struct watch_world *w, act_fn *const acts[], size_t n_acts)
{
    for (size_t i = 0; i < n_acts; i++) acts[i](w);
    watch_finish(w);
    metrics_roll(w->metrics, set_clock_peek());
    assert_true(set_clock_peek() - w->ledger.now_ns < ROUND_NS / 2);
}

/* ---- What is exported -------------------------------------------------------------------------------- */

/* Rows that are no sums of events, with who tests them. */
static const struct {
    enum metric_id id;
    const char *why;
} exempt[] = {
    {METRIC_REQUESTS_RUNNING, "now: test_now"},
    {METRIC_REQUESTS_WAITING, "now: test_now"},
    {METRIC_CACHE_ENTRIES, "now: test_now"},
    {METRIC_CACHE_BYTES, "now: test_now"},
    {METRIC_CACHE_MAX_BYTES, "now: test_now"},
    {METRIC_MODELS_LOADED, "now: test_now"},
    {METRIC_MEMORY_BYTES, "the machine's: front/test_metrics_truth.py"},
    {METRIC_MEMORY_MAX_BYTES, "the machine's: front/test_metrics_truth.py"},
    {METRIC_MEMORY_SHARE, "the machine's: test_governor"},
    {METRIC_WEIGHTS_MAPPED_BYTES, "the machine's: front/test_metrics_truth.py"},
    {METRIC_CPU_SHARE, "the machine's: test_governor"},
    {METRIC_GOVERNOR_THREADS, "test_governor"},
    {METRIC_GOVERNOR_SPEED, "test_governor"},
    {METRIC_GOVERNOR_CPU_CEILING, "test_governor"},
    {METRIC_GOVERNOR_BACKGROUND, "test_governor"},
    {METRIC_GOVERNOR_KV_BYTES, "test_governor"},
    {METRIC_GOVERNOR_ACTIONS, "test_governor"},
    {METRIC_GOVERNOR_GIVEN_BYTES, "test_governor"},
    {METRIC_REMOTE_UP, "no server here: test_team_cache"},
    {METRIC_REMOTE_FAILURES, "no server here: test_service_remote"},
    {METRIC_REMOTE_REQUESTS, "no server here: test_service_remote"},
    {METRIC_REMOTE_CONNECTIONS, "no server here: test_service_remote"},
    {METRIC_REMOTE_FALLBACKS, "no server here: test_service_remote"},
    {METRIC_ALERT_FIRING, "test_alerts"},
    {METRIC_ALERTS, "test_alerts"},
    {METRIC_PROCESS_CPU_SECONDS, "the machine's: front/test_metrics_truth.py"},
    {METRIC_PROCESS_RESIDENT_BYTES, "the machine's: front/test_metrics_truth.py"},
    {METRIC_PROCESS_OPEN_FDS, "the machine's: front/test_metrics_truth.py"},
    {METRIC_PROCESS_START_SECONDS, "the machine's: front/test_metrics_truth.py"},
    {METRIC_BUILD_INFO, "front/test_metrics_truth.py"},
};

static void check(struct watch_world *w)
{
    for (size_t i = 0; i < sizeof exempt / sizeof *exempt; i++) w->ledger.is_exempt[exempt[i].id] = true;
    int64_t n = ledger_check(&w->ledger, w->metrics);
    assert_true(n > 1000);
    printf("%d requests, %zu events, %lld values compared\n", w->n_asked, w->ledger.n, (long long)n);
}

/* ---- The journal ------------------------------------------------------------------------------------- */

static void check_record(const struct watch_world *w, const struct watch_asked *a,
                         const struct journal_record *r)
{
    (void)w;
    assert_int_equal(r->outcome, a->is_cancelled ? METRIC_OUTCOME_CANCELLED : (int)a->outcome);
    assert_int_equal(r->api, a->api);
    assert_int_equal(r->error, a->error);
    assert_int_equal(r->quiet, a->quiet);
    double stages = (double)r->queue_ms + (double)r->context_ms + (double)r->lookup_ms +
                    (double)r->prefill_ms + (double)r->decode_ms + (double)r->post_ms + (double)r->load_ms;
    if (stages > (double)r->total_ms + 0.01)
        fail_msg("request %llu: stages %.3f ms of %.3f ms in all", (unsigned long long)r->id, stages,
                 (double)r->total_ms);
    if (a->is_cancelled) return;
    assert_true(fabs((double)r->total_ms - a->total_ms) < 0.01 + a->total_ms / 1e5);
    assert_int_equal(r->id, a->id);
    if (a->outcome != SERVICE_OK) return;
    assert_int_equal(r->source, a->source);
    assert_int_equal(r->miss, a->miss);
    assert_int_equal(r->n_chars, a->text.len);
    assert_int_equal(r->n_reused + r->n_restored + r->n_moved + r->n_computed, r->n_prompt);
    assert_int_equal(r->n_computed, a->timings.n_computed);
    assert_int_equal(r->n_generated, a->timings.n_predicted);
}

/* One record of each request, ids in the order in which they were asked. */
static void check_journal(const struct watch_world *w)
{
    assert_int_equal(journal_n(w->journal), w->n_asked);
    for (int i = 0; i < w->n_asked; i++) {
        const struct journal_record *r = journal_find(w->journal, (uint64_t)i + 1);
        assert_non_null(r);
        check_record(w, &w->asked[i], r);
    }
}

/* ---- Tests ------------------------------------------------------------------------------------------- */

static void next_round(struct watch_world *w, int64_t round)
{
    int64_t at = w->start_ns + round * ROUND_NS + (round > N_OLD_ROUNDS ? 25 * 3600 * SECOND : 0);
    int64_t now = set_clock_peek();
    assert_true(now < at);
    set_clock_advance(at - now);
    w->ledger.now_ns = at;
    metrics_roll(w->metrics, at);
}

static void test_everything(void **state)
{
    static act_fn *const acts[] = {act_ask_again_and_type,
                                   act_join,
                                   act_join_after_typing,
                                   act_supersede,
                                   act_shed,
                                   act_cancel,
                                   act_fail,
                                   act_no_model,
                                   act_other_model,
                                   act_quiet,
                                   act_unsure,
                                   act_delete,
                                   act_warm_up,
                                   act_candidates,
                                   act_tell};
    (void)state;
    struct watch_world w;
    watch_open(&w, &(struct watch_plan){.has_store = true, .min_confidence = 0.5});
    for (int64_t round = 1; round <= N_ROUNDS; round++) {
        next_round(&w, round);
        play(&w, acts, sizeof acts / sizeof *acts);
        if (round % 80 == 0) check(&w);
    }
    check_journal(&w);
    watch_close(&w);
}

/* Its file was changed under it. */
static void act_lose_model(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    w->fail = ERR_IO;
    w->is_lost = true;
    watch_expect_not(watch_submit_looked_up(w, watch_request_at(&d)), SERVICE_ERROR, METRIC_ERROR_MODEL);
    watch_finish(w);
    watch_note(w, METRIC_MODEL_UNLOADS, 0, 1);
    while (watch_model(w, "llama")->state != SERVICE_MODEL_FAILED) {
        usleep(200);
        watch_poll(w);
    }
    metrics_roll(w->metrics, set_clock_peek());
}

/* Every question is computed, and says that caches are off. */
static void test_without_caches(void **state)
{
    static act_fn *const acts[] = {act_shed, act_cancel, act_fail, act_quiet, act_warm_up};
    (void)state;
    struct watch_world w;
    watch_open(&w, &(struct watch_plan){0});
    for (int64_t round = 1; round <= 20; round++) {
        next_round(&w, round);
        play(&w, acts, sizeof acts / sizeof *acts);
    }
    act_lose_model(&w);
    check(&w);
    check_journal(&w);
    watch_close(&w);
}

/* What the service asks itself costs tokens and time, but is nobody's request. */
static void act_accept(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct watch_asked *first = watch_submit_looked_up(w, watch_request_at(&d));
    watch_finish(w);
    if (first->text.len == 0) return;
    for (size_t i = 0; i < first->text.len; i++) watch_type(&d, first->text.data[i]);
    struct watch_asked *second = watch_submit_looked_up(w, watch_request_at(&d));
    second->is_any = true;
    watch_dawdle(w);
    watch_finish(w);
    if (second->source == CACHE_MEMORY) watch_note(w, METRIC_PREFETCHES, 1, 1);
}

/* The service ends while it asks itself something. */
static void act_drain(struct watch_world *w)
{
    struct watch_document d = watch_new_document(w, WATCH_EMPTY_LINE);
    struct watch_asked *last = watch_submit_looked_up(w, watch_request_at(&d));
    while (last->n_done == 0) {
        (void)stub_scheduler_run(watch_model(w, "llama")->scheduler, 1);
        watch_poll(w);
    }
    assert_true(w->service->n_tickets > 0);
    service_drain(w->service);
    assert_int_equal(w->service->n_tickets, 0);
    watch_expect_not(watch_submit(w, watch_request_at(&d)), SERVICE_UNAVAILABLE, METRIC_ERROR_UNAVAILABLE);
    watch_finish(w);
}

static void test_prefetches(void **state)
{
    static act_fn *const acts[] = {act_accept, act_accept, act_cancel};
    (void)state;
    struct watch_world w;
    watch_open(&w, &(struct watch_plan){.has_store = true, .has_prefetch = true});
    for (int64_t round = 1; round <= 40; round++) {
        next_round(&w, round);
        play(&w, acts, sizeof acts / sizeof *acts);
    }
    act_drain(&w);
    metrics_roll(w.metrics, set_clock_peek());
    assert_true(metrics_count(w.metrics, METRIC_PREFETCHES, 0) > 40);
    assert_true(metrics_count(w.metrics, METRIC_PREFETCHES, 1) > 5);
    check(&w);
    check_journal(&w);
    watch_close(&w);
}

/* Answers that the disk has: memory is emptied before each question is asked again. */
#define N_ON_DISK 50

static void finish_lookups(struct watch_world *w)
{
    for (const struct service_run *run = w->service->runs; run;) {
        bool is_waiting = run->lookup && !run->is_over;
        run = run->next;
        if (!is_waiting) continue;
        usleep(200);
        watch_poll(w);
        run = w->service->runs;
    }
}

static void wait_written(struct watch_world *w, int64_t n)
{
    struct store_level_stats disk = {0};
    while (disk.n_put < n) {
        usleep(200);
        watch_poll(w);
        store_stats(w->store, STORE_DISK, &disk);
        assert_int_equal(disk.n_dropped, 0);
    }
}

/* How long the disk takes is told by threads of its own, whose clock stands still. */
static struct watch_asked *ask_disk(struct watch_world *w, const struct watch_document *d)
{
    watch_note(w, METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_DISK, NAN);
    return watch_submit_looked_up(w, watch_request_at(d));
}

static void test_disk(void **state)
{
    struct watch_document d[N_ON_DISK];
    (void)state;
    struct watch_world w;
    watch_open(&w, &(struct watch_plan){.has_store = true, .disk_bytes = (int64_t)64 << 20});
    for (int i = 0; i < N_ON_DISK; i++) {
        d[i] = watch_new_document(&w, WATCH_EMPTY_LINE);
        (void)ask_disk(&w, &d[i]);
        finish_lookups(&w);
        watch_finish(&w);
    }
    wait_written(&w, N_ON_DISK);
    for (int i = 0; i < N_ON_DISK; i++) {
        service_cache_clear_memory(w.service);
        struct watch_asked *a = ask_disk(&w, &d[i]);
        watch_expect_found(a, CACHE_DISK);
        watch_dawdle(&w);
        finish_lookups(&w);
        assert_int_equal(a->n_done, 1);
    }
    check(&w);
    check_journal(&w);
    watch_close(&w);
}

/* ---- Now --------------------------------------------------------------------------------------------- */

static double gauge(const struct watch_world *w, enum metric_id id, int32_t label)
{
    return metrics_value(w->metrics, id, label);
}

static void test_now(void **state)
{
    (void)state;
    struct watch_world w;
    struct watch_document d[3];
    watch_open(&w, &(struct watch_plan){.has_store = true});
    act_other_model(&w);
    for (int i = 0; i < 3; i++) {
        d[i] = watch_new_document(&w, WATCH_EMPTY_LINE);
        (void)watch_submit_looked_up(&w, watch_request_at(&d[i]));
    }
    (void)stub_scheduler_run(watch_model(&w, "llama")->scheduler, 1);
    service_measure(w.service, true);
    assert_true(gauge(&w, METRIC_REQUESTS_RUNNING, 0) == 1);
    assert_true(gauge(&w, METRIC_REQUESTS_WAITING, 0) == 2);
    assert_true(gauge(&w, METRIC_MODELS_LOADED, 0) == 2);
    watch_finish(&w);
    service_measure(w.service, true);
    struct store_level_stats memory;
    store_stats(w.store, STORE_MEMORY, &memory);
    assert_int_equal(memory.n_entries, 4);
    assert_true(gauge(&w, METRIC_REQUESTS_RUNNING, 0) == 0);
    assert_true(gauge(&w, METRIC_REQUESTS_WAITING, 0) == 0);
    assert_true(gauge(&w, METRIC_CACHE_ENTRIES, STORE_MEMORY) == 4);
    assert_true(gauge(&w, METRIC_CACHE_BYTES, STORE_MEMORY) == (double)memory.n_bytes);
    assert_true(gauge(&w, METRIC_CACHE_MAX_BYTES, STORE_MEMORY) == (double)((int64_t)64 << 20));
    assert_true(gauge(&w, METRIC_CACHE_ENTRIES, STORE_DISK) == 0);
    watch_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything), cmocka_unit_test(test_without_caches),
        cmocka_unit_test(test_prefetches), cmocka_unit_test(test_disk),
        cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
