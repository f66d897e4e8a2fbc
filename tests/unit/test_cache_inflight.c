/* Joining an answer that is being computed: who types what it begins with gets the rest of it, who types
 * something else has an answer of their own.
 *
 * The test is the engine's thread (support/stub_scheduler.h), so it decides how far an answer has come when
 * the next key is pressed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "service/service.h"
#include "service/service_impl.h"
#include "store/store.h"
#include "support/stub_scheduler.h"

#define MODEL    FIXTURES "/models/llama.gguf"
#define TEXT_MAX ((size_t)1 << 16)
#define URI      "file:///p/queue.c"

static const char source[] = "int find(int a, int b)\n{\n    int total = a;\n    \n}\n\n"
                             "int count(int a)\n{\n    return find(a, 1);\n}\n";
#define CURSOR_FIRST 46 /* in the empty line; the test goes on from there until a long answer comes */

struct answer {
    int n_done;
    enum service_outcome outcome;
    char cache[16], miss[16], stop[16];
    struct buf text, streamed;
};

struct editor {
    struct service *service;
    struct store *store;
    struct documents *docs;
    size_t cursor;
    enum service_extent extent;
};

/* ---- One service and its only user ---- */

static void on_wake(void *ctx)
{
    (void)ctx;
}

static struct scheduler *scheduler_of(const struct editor *e)
{
    return e->service->models.known[0]->scheduler;
}

static struct open_document *document_of(const struct editor *e)
{
    return documents_find(e->docs, URI);
}

static void editor_open(struct editor *e, bool is_cached)
{
    struct errmsg msg = {0};
    struct store_options levels = {.dir = "", .memory_bytes = 1 << 20, .team = "", .wake = on_wake};
    *e = (struct editor){.docs = documents_new(), .extent = SERVICE_EXTENT_ANY};
    if (is_cached && store_new(&levels, &e->store, &msg)) fail_msg("%s", msg.text);
    struct service_options o = {.models_dir = "/nonexistent",
                                .default_model = MODEL,
                                .engine = {.n_threads = 1},
                                .max_tokens = 200, /* the model ends its answers itself */
                                .has_no_projects = true,
                                .store = e->store,
                                .prefetch_mode = SERVICE_PREFETCH_OFF,
                                .wake = on_wake};
    if (service_new(&o, &e->service, &msg)) fail_msg("%s", msg.text);
    for (struct service_model m;;) {
        service_model(e->service, 0, &m);
        if (m.state == SERVICE_READY) break;
        if (m.state == SERVICE_MODEL_FAILED) fail_msg("%s", m.error);
        usleep(1000);
        service_poll(e->service);
    }
    assert_int_equal(documents_open(e->docs, URI, "queue.c", NULL, 1, source, strlen(source), NULL), OK);
}

static void editor_close(struct editor *e)
{
    documents_free(&e->docs);
    service_free(&e->service);
    store_free(&e->store);
}

static void type(struct editor *e, const char *text, size_t len)
{
    assert_int_equal(documents_splice(e->docs, document_of(e), e->cursor, e->cursor, text, len), OK);
    e->cursor += len;
}

static void on_text(void *ctx, const char *text, size_t len)
{
    buf_add(&((struct answer *)ctx)->streamed, text, len);
}

static void on_done(void *ctx, const struct service_answer *from)
{
    struct answer *a = ctx;
    a->n_done++;
    a->outcome = from->outcome;
    snprintf(a->cache, sizeof a->cache, "%s", from->cache);
    snprintf(a->miss, sizeof a->miss, "%s", from->cache_miss);
    if (from->n_candidates == 0) return;
    assert_int_equal(from->n_candidates, 1);
    buf_add(&a->text, from->candidates[0].text, from->candidates[0].len);
    snprintf(a->stop, sizeof a->stop, "%s", from->candidates[0].stop);
}

static void answer_clear(struct answer *a)
{
    buf_clear(&a->text);
    buf_clear(&a->streamed);
}

static void submit(struct editor *e, struct answer *a)
{
    struct service_request r = {.model = "",
                                .client = "editor",
                                .document = URI,
                                .priority = SERVICE_TYPING,
                                .docs = e->docs,
                                .doc = document_of(e),
                                .cursor = e->cursor,
                                .extent = e->extent,
                                .sampling = SAMPLER_GREEDY,
                                .max_tokens = -1,
                                .on_text = on_text,
                                .on_done = on_done,
                                .ctx = a};
    *a = (struct answer){0};
    buf_init(&a->text, TEXT_MAX);
    buf_init(&a->streamed, TEXT_MAX);
    assert_non_null(service_submit(e->service, &r));
}

static void poll(struct editor *e)
{
    service_poll(e->service);
    if (e->store) store_poll(e->store);
}

static void finish(struct editor *e, const struct answer *a)
{
    for (int i = 0; i < 4 && a->n_done == 0; i++) { /* what was joined in vain is asked again */
        (void)stub_scheduler_run(scheduler_of(e), INT64_MAX);
        poll(e);
    }
    assert_int_equal(a->n_done, 1);
}

static int64_t n_begun(const struct editor *e)
{
    struct stub_counts counts;
    stub_scheduler_counts(scheduler_of(e), &counts);
    return counts.n_begun;
}

/* What an engine says at a place. */
static void ask_truth(struct editor *truth, struct answer *a)
{
    submit(truth, a);
    finish(truth, a);
    assert_int_equal(a->outcome, SERVICE_OK);
}

/* ---- Both services at a place that has a long answer ---- */

struct bench {
    struct editor truth, cached;
    struct answer whole; /* the truth there */
};

static int set_up(void **state)
{
    static struct bench b;
    editor_open(&b.truth, false);
    editor_open(&b.cached, true);
    b.truth.cursor = b.cached.cursor = CURSOR_FIRST;
    for (int n_keys = 0; n_keys < 200; n_keys++) {
        ask_truth(&b.truth, &b.whole);
        const char *text = buf_str(&b.whole.text), *newline = strchr(text, '\n');
        if (newline && newline - text > 8 && strcmp(b.whole.stop, "eog") == 0) break;
        answer_clear(&b.whole);
        type(&b.truth, "x", 1);
        type(&b.cached, "x", 1);
    }
    assert_string_equal(b.whole.stop, "eog");
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    answer_clear(&b->whole);
    editor_close(&b->truth);
    editor_close(&b->cached);
    return 0;
}

/* Ask, and stop computing when some text is there. */
static void begin(struct editor *e, struct answer *a)
{
    submit(e, a);
    for (int i = 0; i < 40 && a->streamed.len == 0; i++) {
        (void)stub_scheduler_run(scheduler_of(e), 1);
        poll(e);
    }
    assert_int_equal(a->n_done, 0);
    assert_true(a->streamed.len > 0);
}

/* The same edit in both; the answer must be the truth's. */
static void type_both(struct bench *b, const char *text, size_t len)
{
    type(&b->truth, text, len);
    type(&b->cached, text, len);
}

static void assert_true_there(struct bench *b, const struct answer *a)
{
    struct answer truth;
    ask_truth(&b->truth, &truth);
    assert_int_equal(a->outcome, SERVICE_OK);
    assert_string_equal(buf_str(&a->text), buf_str(&truth.text));
    assert_string_equal(buf_str(&a->streamed), buf_str(&truth.text));
    assert_string_equal(a->stop, truth.stop);
    answer_clear(&truth);
}

static void test_joins(void **state)
{
    struct bench *b = *state;
    struct answer first, second;
    begin(&b->cached, &first);
    int64_t n = n_begun(&b->cached);
    type_both(b, first.streamed.data, 1);
    submit(&b->cached, &second);
    finish(&b->cached, &second);
    assert_int_equal(first.n_done, 1);
    assert_int_equal(first.outcome, SERVICE_SUPERSEDED);
    assert_string_equal(second.cache, "in-flight");
    assert_string_equal(buf_str(&second.text), buf_str(&b->whole.text) + 1);
    assert_int_equal(n_begun(&b->cached), n);
    assert_true_there(b, &second);
    answer_clear(&first);
    answer_clear(&second);
}

static void test_joins_again_and_again(void **state)
{
    struct bench *b = *state;
    struct answer answers[4];
    begin(&b->cached, &answers[0]);
    int64_t n = n_begun(&b->cached);
    for (int i = 1; i < 4; i++) {
        type_both(b, buf_str(&b->whole.text) + i - 1, 1);
        (void)stub_scheduler_run(scheduler_of(&b->cached), 2);
        poll(&b->cached);
        submit(&b->cached, &answers[i]);
    }
    finish(&b->cached, &answers[3]);
    assert_int_equal(n_begun(&b->cached), n);
    assert_string_equal(answers[3].cache, "in-flight");
    for (int i = 0; i < 3; i++) assert_int_equal(answers[i].outcome, SERVICE_SUPERSEDED);
    assert_true_there(b, &answers[3]);
    for (int i = 0; i < 4; i++) answer_clear(&answers[i]);
}

static void test_something_else_is_typed(void **state)
{
    struct bench *b = *state;
    struct answer first, second;
    begin(&b->cached, &first);
    int64_t n = n_begun(&b->cached);
    type_both(b, first.streamed.data[0] == 'x' ? "y" : "x", 1);
    submit(&b->cached, &second);
    finish(&b->cached, &second);
    assert_int_equal(first.outcome, SERVICE_SUPERSEDED);
    assert_string_equal(second.cache, "");
    assert_int_equal(n_begun(&b->cached), n + 1);
    assert_true_there(b, &second);
    answer_clear(&first);
    answer_clear(&second);
}

/* Who has joined types something else after all: the run goes with its last asker. */
static void test_leaves_again(void **state)
{
    struct bench *b = *state;
    struct answer first, second, third;
    begin(&b->cached, &first);
    int64_t n = n_begun(&b->cached);
    type_both(b, first.streamed.data, 1);
    submit(&b->cached, &second);
    type_both(b, buf_str(&b->whole.text)[1] == 'x' ? "y" : "x", 1);
    submit(&b->cached, &third);
    assert_true(b->cached.service->runs->next->is_cancelled);
    finish(&b->cached, &third);
    assert_int_equal(second.outcome, SERVICE_SUPERSEDED);
    assert_string_equal(third.cache, "");
    assert_int_equal(n_begun(&b->cached), n + 1);
    assert_true_there(b, &third);
    answer_clear(&first);
    answer_clear(&second);
    answer_clear(&third);
}

/* The run was to end with its line, who joins wants more: a run of its own gives it. */
static void test_run_ends_too_early(void **state)
{
    struct bench *b = *state;
    struct answer first, second;
    b->cached.extent = SERVICE_EXTENT_LINE;
    begin(&b->cached, &first);
    b->cached.extent = SERVICE_EXTENT_ANY;
    int64_t n = n_begun(&b->cached);
    type_both(b, first.streamed.data, 1);
    submit(&b->cached, &second);
    finish(&b->cached, &second);
    assert_string_equal(second.cache, "");
    assert_string_equal(second.miss, "short");
    assert_int_equal(n_begun(&b->cached), n + 1);
    assert_true_there(b, &second);
    answer_clear(&first);
    answer_clear(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_joins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_joins_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_something_else_is_typed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leaves_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_run_ends_too_early, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
