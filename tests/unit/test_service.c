/* The service on a tiny model of random weights: what its answers are, who gets them, and when.
 *
 * A gate in `wake` holds the engine's thread at its first message, so that a test decides what is under way
 * when the next request comes. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "complete/complete.h"
#include "complete/service.h"
#include "model/model.h"
#include "os/clock.h"
#include "watch/metrics.h"

#define MODEL     FIXTURES "/models/llama.gguf"
#define TEXT_MAX  ((size_t)1 << 20)
#define WAIT_MS   60e3 /* nothing takes so long, sanitizers included */
#define N_TOKENS  24
#define N_ANSWERS 64

static const char source[] =
    "int max(int a, int b)\n{\n    return \n}\n\nint main(void)\n{\n    return max(1, 2);\n}\n";
#define CURSOR 35 /* after "return " */

/* ---- The loop ---- */

struct bench {
    struct service *service;
    struct metrics *metrics;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t loop;
    bool is_awake, is_shut; /* under lock */
};

static void on_wake(void *ctx)
{
    struct bench *b = ctx;
    bool is_loop = pthread_equal(pthread_self(), b->loop);
    pthread_mutex_lock(&b->lock);
    b->is_awake = true;
    pthread_cond_broadcast(&b->changed);
    while (b->is_shut && !is_loop) pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

static void set_gate(struct bench *b, bool is_shut)
{
    pthread_mutex_lock(&b->lock);
    b->is_shut = is_shut;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

/* Sleep until there is something to do; then do it. */
static void turn(struct bench *b)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += (time_t)(WAIT_MS / 1e3);
    pthread_mutex_lock(&b->lock);
    while (!b->is_awake) {
        if (pthread_cond_timedwait(&b->changed, &b->lock, &end)) fail_msg("nothing happens");
    }
    b->is_awake = false;
    pthread_mutex_unlock(&b->lock);
    service_poll(b->service);
}

static void wait_ready(struct bench *b, const char *name)
{
    for (;;) {
        struct service_model m = {0};
        for (int32_t i = service_n_models(b->service) - 1; i >= 0; i--) {
            service_model(b->service, i, &m);
            if (!name || strcmp(m.name, name) == 0) break;
        }
        if (m.state == SERVICE_MODEL_FAILED) fail_msg("%s", m.error);
        if (m.state == SERVICE_READY) return;
        turn(b);
    }
}

static struct service_options options_of(struct bench *b)
{
    return (struct service_options){.models_dir = "/nonexistent",
                                    .default_model = MODEL,
                                    .engine = {.n_threads = 1},
                                    .max_tokens = N_TOKENS,
                                    .metrics = b->metrics,
                                    .wake = on_wake,
                                    .ctx = b};
}

static void open_bench(struct bench *b, const struct service_options *o)
{
    struct errmsg msg = {0};
    struct service_options options = *o;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->loop = pthread_self();
    options.metrics = b->metrics = metrics_new();
    if (service_new(&options, &b->service, &msg)) fail_msg("%s", msg.text);
}

static void close_bench(struct bench *b)
{
    set_gate(b, false);
    service_free(&b->service);
    assert_null(b->service);
    metrics_free(&b->metrics);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
}

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){0};
    struct service_options o = options_of(&b);
    open_bench(&b, &o);
    wait_ready(&b, NULL);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    close_bench(*state);
    return 0;
}

/* ---- Requests ---- */

struct answer {
    int n_done;
    enum service_outcome outcome;
    char message[256], model[64];
    struct buf text[SERVICE_CANDIDATES_MAX], streamed;
    int n_candidates;
    char stop[16], word[16];
    int32_t n_tokens;
    bool was_shared, was_truncated;
    struct service_timings timings;
};

static void on_text(void *ctx, const char *text, size_t len)
{
    struct answer *a = ctx;
    assert_int_equal(a->n_done, 0);
    assert_true(len > 0);
    buf_add(&a->streamed, text, len);
}

static void on_done(void *ctx, const struct service_answer *from)
{
    struct answer *a = ctx;
    a->n_done++;
    a->outcome = from->outcome;
    snprintf(a->message, sizeof a->message, "%s", from->message);
    snprintf(a->model, sizeof a->model, "%s", from->model);
    a->n_candidates = from->n_candidates;
    a->was_shared = from->was_shared;
    a->was_truncated = from->prompt_truncated;
    a->timings = from->timings;
    for (int i = 0; i < from->n_candidates; i++)
        buf_add(&a->text[i], from->candidates[i].text, from->candidates[i].len);
    if (from->n_candidates == 0) return;
    a->n_tokens = from->candidates[0].n_tokens;
    snprintf(a->stop, sizeof a->stop, "%s", from->candidates[0].stop);
    snprintf(a->word, sizeof a->word, "%s", from->candidates[0].stopping_word);
}

static void answer_init(struct answer *a)
{
    *a = (struct answer){0};
    buf_init(&a->streamed, TEXT_MAX);
    for (int i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_init(&a->text[i], TEXT_MAX);
}

static void answer_clear(struct answer *a)
{
    buf_clear(&a->streamed);
    for (int i = 0; i < SERVICE_CANDIDATES_MAX; i++) buf_clear(&a->text[i]);
}

static struct service_request request_at(const char *text, size_t cursor)
{
    return (struct service_request){.model = "",
                                    .client = "test",
                                    .document = "",
                                    .priority = SERVICE_TYPING,
                                    .text = text,
                                    .len = strlen(text),
                                    .cursor = cursor,
                                    .sampling = SAMPLER_GREEDY,
                                    .max_tokens = -1,
                                    .on_text = on_text,
                                    .on_done = on_done};
}

static struct service_request request_raw(const char *prompt)
{
    struct service_request r = request_at("", 0);
    r.text = NULL;
    r.prompt = prompt;
    r.prompt_len = strlen(prompt);
    return r;
}

static struct service_ticket *submit(struct bench *b, struct service_request r, struct answer *a)
{
    answer_init(a);
    r.ctx = a;
    struct service_ticket *t = service_submit(b->service, &r);
    assert_int_equal(a->n_done, 0);
    return t;
}

static void wait_for(struct bench *b, const struct answer *a)
{
    while (a->n_done == 0) turn(b);
    assert_int_equal(a->n_done, 1);
}

static void ask(struct bench *b, struct service_request r, struct answer *a)
{
    (void)submit(b, r, a);
    wait_for(b, a);
}

/* What is decided without the engine is there at the next poll. */
static void assert_at_once(struct bench *b, const struct answer *a, enum service_outcome outcome)
{
    assert_int_equal(a->n_done, 0);
    service_poll(b->service);
    assert_int_equal(a->n_done, 1);
    assert_int_equal(a->outcome, outcome);
    assert_true(a->message[0] != '\0');
    assert_int_equal(a->n_candidates, 0);
}

static void assert_ok(const struct answer *a)
{
    if (a->outcome != SERVICE_OK) fail_msg("outcome %d: %s", a->outcome, a->message);
    assert_true(a->n_candidates >= 1);
    assert_string_equal(buf_str(&a->streamed), buf_str(&a->text[0]));
    assert_string_equal(a->message, "");
}

/* ---- The pipeline on the same model, for comparison ---- */

struct reference {
    struct model *model;
    struct engine *engine;
    struct engine_seq *seq;
    struct fim fim;
};

static void reference_open(struct reference *r)
{
    struct engine_options o = {.n_threads = 1};
    assert_int_equal(model_open(MODEL, &r->model, NULL), OK);
    assert_int_equal(engine_open(r->model, &o, &r->engine, NULL), OK);
    assert_int_equal(engine_seq_open(r->engine, 0, &r->seq, NULL), OK);
    fim_detect(r->model, &r->fim);
}

static void reference_close(struct reference *r)
{
    engine_seq_close(&r->seq);
    engine_close(&r->engine);
    model_unref(&r->model);
}

static void reference_run(struct reference *r, const char *text, size_t cursor, struct buf *out)
{
    struct complete_request q = {.text = text,
                                 .len = strlen(text),
                                 .cursor = cursor,
                                 .max_tokens = N_TOKENS,
                                 .sampling = SAMPLER_GREEDY};
    struct complete_result result;
    buf_init(out, TEXT_MAX);
    assert_int_equal(complete_run(r->seq, &r->fim, &q, out, &result, NULL), OK);
}

/* ---- What answers are ---- */

static void test_equals_pipeline(void **state)
{
    struct bench *b = *state;
    struct reference ref;
    reference_open(&ref);
    for (size_t cursor = 0; cursor <= strlen(source); cursor += 3) {
        struct answer a;
        struct buf expected;
        ask(b, request_at(source, cursor), &a);
        reference_run(&ref, source, cursor, &expected);
        assert_ok(&a);
        assert_string_equal(buf_str(&a.text[0]), buf_str(&expected));
        assert_int_equal(a.n_candidates, 1);
        assert_string_equal(a.model, "llama");
        assert_false(a.was_shared);
        const struct service_timings *t = &a.timings;
        assert_int_equal(t->n_prompt, t->n_reused + t->n_restored + t->n_moved + t->n_computed);
        assert_int_equal(t->n_predicted, a.n_tokens);
        assert_true(t->total >= t->prompt + t->predict && t->predict > 0);
        buf_clear(&expected);
        answer_clear(&a);
    }
    reference_close(&ref);
}

static void test_crlf(void **state)
{
    struct bench *b = *state;
    struct answer a, crlf;
    ask(b, request_at("a\nb\nc\n", 2), &a);
    ask(b, request_at("a\r\nb\r\nc\r\n", 3), &crlf);
    assert_ok(&crlf);
    size_t n = 0;
    for (size_t i = 0; i < a.text[0].len; i++, n++) {
        if (a.text[0].data[i] == '\n') assert_int_equal(crlf.text[0].data[n++], '\r');
        assert_int_equal(crlf.text[0].data[n], a.text[0].data[i]);
    }
    assert_int_equal(crlf.text[0].len, n);
    answer_clear(&a);
    answer_clear(&crlf);
}

/* Long documents cost no more than their window, and give what they would alone. */
static void test_long_document(void **state)
{
    struct bench *b = *state;
    struct reference ref;
    reference_open(&ref);
    struct buf text, expected;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < 10000; i++) buf_printf(&text, "caf\xc3\xa9_%d = %d;\n", i, i);
    struct answer a;
    ask(b, request_at(text.data, text.len / 2), &a);
    reference_run(&ref, text.data, text.len / 2, &expected);
    assert_ok(&a);
    assert_string_equal(buf_str(&a.text[0]), buf_str(&expected));
    answer_clear(&a);
    buf_clear(&text);
    buf_clear(&expected);
    reference_close(&ref);
}

static void test_raw_prompts(void **state)
{
    struct bench *b = *state;
    static const char fim[] = "<|fim_prefix|>int x = <|fim_suffix|>;\n<|fim_middle|>";
    struct answer text, tokens, document;
    struct service_request r = request_raw(fim), place = request_at("int x = ;\n", 8);
    r.document = place.document = "the same sequence";
    ask(b, r, &text);
    assert_ok(&text);
    assert_false(text.was_truncated);
    /* Special tokens are tokens: the same as the document's prompt. */
    ask(b, place, &document);
    assert_int_equal(text.timings.n_prompt, document.timings.n_prompt);
    assert_true(document.timings.n_reused >= document.timings.n_prompt - 1);
    /* The same as tokens. */
    struct token_list list = {0};
    assert_true(service_tokenize(b->service, "", fim, strlen(fim), true, true, &list));
    assert_int_equal(list.n, text.timings.n_prompt);
    r.tokens = list.ids;
    r.n_tokens = list.n;
    ask(b, r, &tokens);
    assert_ok(&tokens);
    assert_string_equal(buf_str(&tokens.text[0]), buf_str(&text.text[0]));
    token_list_clear(&list);
    answer_clear(&text);
    answer_clear(&tokens);
    answer_clear(&document);
}

static void test_long_raw_prompt(void **state)
{
    struct bench *b = *state;
    struct buf text;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < 5000; i++) buf_printf(&text, "%d, ", i);
    struct answer a;
    struct service_request r = request_raw(text.data);
    r.max_tokens = 8;
    ask(b, r, &a);
    assert_ok(&a);
    assert_true(a.was_truncated);
    assert_true(a.timings.n_prompt > 128 && a.timings.n_prompt <= 256 - 8);
    answer_clear(&a);
    /* Tokens past the context: the end is what counts. */
    struct token_list list = {0};
    assert_true(service_tokenize(b->service, "", text.data, text.len, false, false, &list));
    r.tokens = list.ids;
    r.n_tokens = list.n;
    ask(b, r, &a);
    assert_ok(&a);
    assert_true(a.was_truncated);
    assert_true(a.timings.n_prompt <= 256 - 8);
    answer_clear(&a);
    r.tokens = list.ids + list.n - 20;
    r.n_tokens = 20;
    r.max_prompt_tokens = 10;
    ask(b, r, &a);
    assert_true(a.was_truncated && a.timings.n_prompt <= 10);
    answer_clear(&a);
    ask(b, request_raw(""), &a); /* predicts from nothing */
    assert_ok(&a);
    answer_clear(&a);
    token_list_clear(&list);
    buf_clear(&text);
}

static void test_stop_texts(void **state)
{
    struct bench *b = *state;
    struct answer whole, cut;
    struct service_request r = request_raw("a = ");
    ask(b, r, &whole);
    assert_true(whole.text[0].len >= 6);
    char stop[3] = {whole.text[0].data[3], whole.text[0].data[4], '\0'};
    r.stops[0] = (struct service_stop){"nowhere to be found", 19};
    r.stops[1] = (struct service_stop){stop, 2};
    r.n_stops = 2;
    ask(b, r, &cut);
    assert_ok(&cut);
    assert_string_equal(cut.stop, "word");
    assert_string_equal(cut.word, stop);
    size_t at = (size_t)(strstr(buf_str(&whole.text[0]), stop) - buf_str(&whole.text[0]));
    assert_int_equal(cut.text[0].len, at);
    assert_memory_equal(buf_str(&cut.text[0]), buf_str(&whole.text[0]), at);
    answer_clear(&cut);
    /* A limit of time that only counts from the second line on does not end the first. */
    r = request_raw("a = ");
    r.max_predict_ms = 1e-6;
    r.predict_ms_after_newline = true;
    ask(b, r, &cut);
    assert_ok(&cut);
    const char *newline = strchr(buf_str(&whole.text[0]), '\n');
    if (newline) {
        assert_string_equal(cut.stop, "time");
        assert_true(cut.text[0].len > (size_t)(newline - buf_str(&whole.text[0])));
    } else {
        assert_string_equal(buf_str(&cut.text[0]), buf_str(&whole.text[0]));
    }
    answer_clear(&cut);
    r.predict_ms_after_newline = false;
    ask(b, r, &cut);
    assert_string_equal(cut.stop, "time");
    assert_true(cut.n_tokens < whole.n_tokens);
    answer_clear(&cut);
    answer_clear(&whole);
}

static void test_warm_up(void **state)
{
    struct bench *b = *state;
    struct answer a;
    static const struct fim_file file = {.path = "max.h", .text = "int max(int a, int b);\n", .text_len = 23};
    struct service_request r = request_at(source, 20);
    r.priority = SERVICE_WARMUP;
    r.max_tokens = 0;
    r.n_candidates = 3;
    r.files = &file;
    r.n_files = 1;
    r.path = "max.c";
    ask(b, r, &a);
    assert_ok(&a);
    assert_int_equal(a.n_candidates, 1);
    assert_int_equal(a.text[0].len, 0);
    assert_int_equal(a.n_tokens, 0);
    assert_true(a.timings.n_computed > 20);
    answer_clear(&a);
    r.priority = SERVICE_TYPING;
    r.max_tokens = 4;
    r.n_candidates = 1;
    ask(b, r, &a);
    assert_ok(&a);
    assert_true(a.timings.n_computed <= 1);
    answer_clear(&a);
}

static void test_candidates(void **state)
{
    struct bench *b = *state;
    struct answer one, four, again;
    struct service_request r = request_raw("for (");
    ask(b, r, &one);
    r.n_candidates = 9;
    ask(b, r, &four);
    assert_ok(&four);
    assert_true(four.n_candidates > 1 && four.n_candidates <= SERVICE_CANDIDATES_MAX);
    assert_string_equal(buf_str(&four.text[0]), buf_str(&one.text[0]));
    for (int i = 0; i < four.n_candidates; i++) {
        for (int j = 0; j < i; j++) assert_string_not_equal(buf_str(&four.text[i]), buf_str(&four.text[j]));
    }
    ask(b, r, &again);
    assert_int_equal(again.n_candidates, four.n_candidates);
    for (int i = 0; i < four.n_candidates; i++)
        assert_string_equal(buf_str(&again.text[i]), buf_str(&four.text[i]));
    answer_clear(&one);
    answer_clear(&four);
    answer_clear(&again);
}

static void test_bad_requests(void **state)
{
    struct bench *b = *state;
    struct answer a;
    struct service_request r = request_at(source, strlen(source) + 1);
    (void)submit(b, r, &a);
    assert_at_once(b, &a, SERVICE_BAD);
    assert_non_null(strstr(a.message, "cursor"));
    answer_clear(&a);
    r.text = NULL;
    (void)submit(b, r, &a);
    assert_at_once(b, &a, SERVICE_BAD);
    answer_clear(&a);
    static const int32_t tokens[] = {1, 1 << 30};
    r = request_raw("");
    r.tokens = tokens;
    r.n_tokens = 2;
    ask(b, r, &a);
    assert_int_equal(a.outcome, SERVICE_BAD);
    assert_non_null(strstr(a.message, "1073741824"));
    answer_clear(&a);
    r = request_at(source, CURSOR);
    r.sampling.top_p = 7;
    ask(b, r, &a);
    assert_int_equal(a.outcome, SERVICE_BAD);
    assert_non_null(strstr(a.message, "top-p"));
    answer_clear(&a);
    r = request_at(source, CURSOR);
    r.max_tokens = INT32_MAX; /* brought into range */
    ask(b, r, &a);
    assert_ok(&a);
    assert_true(a.n_tokens <= 128);
    answer_clear(&a);
}

/* ---- Who gets one ---- */

/* A request that keeps the engine's thread busy until the gate opens. */
static void hold_engine(struct bench *b, struct answer *a)
{
    struct service_request r = request_raw("hold");
    r.client = "holder";
    set_gate(b, true);
    (void)submit(b, r, a);
    turn(b);
    assert_int_equal(a->n_done, 0);
}

static void release_engine(struct bench *b, struct answer *a)
{
    set_gate(b, false);
    wait_for(b, a);
    assert_ok(a);
    answer_clear(a);
}

static void test_superseded(void **state)
{
    struct bench *b = *state;
    struct answer hold, older, newer, other_client, other_document, warm, prefetch;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR), other;
    r.document = "file:///a.c";
    (void)submit(b, r, &older);
    other = r;
    other.client = "somebody else";
    (void)submit(b, other, &other_client);
    other = r;
    other.document = "file:///b.c";
    other.max_tokens = 3;
    (void)submit(b, other, &other_document);
    other.document = "file:///c.c";
    other.priority = SERVICE_WARMUP;
    other.max_tokens = 0;
    (void)submit(b, other, &warm);
    service_poll(b->service);
    assert_int_equal(older.n_done, 0);
    r.cursor--;
    (void)submit(b, r, &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    r.priority = SERVICE_PREFETCH;
    r.cursor--;
    (void)submit(b, r, &prefetch); /* supersedes nobody */
    service_poll(b->service);
    assert_int_equal(newer.n_done, 0);
    release_engine(b, &hold);
    wait_for(b, &newer);
    wait_for(b, &other_client);
    wait_for(b, &other_document);
    wait_for(b, &warm);
    wait_for(b, &prefetch);
    assert_ok(&newer);
    assert_ok(&other_client);
    assert_ok(&other_document);
    assert_ok(&warm);
    assert_ok(&prefetch);
    struct answer *all[] = {&older, &newer, &other_client, &other_document, &warm, &prefetch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) answer_clear(all[i]);
}

static void test_superseded_by_likeness(void **state)
{
    struct bench *b = *state;
    char typed[256];
    snprintf(typed, sizeof typed, "%.*smax%s", CURSOR, source, source + CURSOR);
    struct answer hold, older, newer, stranger, raw;
    hold_engine(b, &hold);
    (void)submit(b, request_at(source, CURSOR), &older);
    (void)submit(b, request_at("SELECT name FROM users WHERE id = 1;\nSELECT 2;\n", 20), &stranger);
    (void)submit(b, request_raw(source), &raw);
    service_poll(b->service);
    assert_int_equal(older.n_done + stranger.n_done + raw.n_done, 0);
    (void)submit(b, request_at(typed, CURSOR + 3), &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    release_engine(b, &hold);
    wait_for(b, &newer);
    wait_for(b, &stranger);
    wait_for(b, &raw);
    assert_ok(&newer);
    assert_ok(&stranger);
    assert_ok(&raw);
    answer_clear(&older);
    answer_clear(&newer);
    answer_clear(&stranger);
    answer_clear(&raw);
}

/* A run that is being computed stops when it is superseded. */
static void test_running_is_cancelled(void **state)
{
    struct bench *b = *state;
    struct answer older, newer;
    struct service_request r = request_at(source, CURSOR);
    r.document = "a";
    r.max_tokens = 120;
    set_gate(b, true);
    (void)submit(b, r, &older);
    turn(b); /* its first piece */
    r.cursor = 10;
    r.max_tokens = 2;
    (void)submit(b, r, &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    set_gate(b, false);
    wait_for(b, &newer);
    assert_ok(&newer);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&older);
    answer_clear(&newer);
}

static void test_shared(void **state)
{
    struct bench *b = *state;
    struct answer hold, a[4], late;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    struct service_ticket *tickets[4];
    for (int i = 0; i < 4; i++) tickets[i] = submit(b, r, &a[i]); /* as minuet does */
    service_cancel(b->service, tickets[1]);
    release_engine(b, &hold);
    for (int i = 0; i < 4; i++) {
        if (i == 1) continue;
        wait_for(b, &a[i]);
        assert_ok(&a[i]);
        assert_true(a[i].was_shared);
        assert_string_equal(buf_str(&a[i].text[0]), buf_str(&a[0].text[0]));
    }
    assert_int_equal(a[1].n_done, 0);
    /* A latecomer gets all of the text. */
    set_gate(b, true);
    r.document = "b";
    struct answer first;
    (void)submit(b, r, &first);
    turn(b);
    (void)submit(b, r, &late);
    service_poll(b->service);
    assert_string_equal(buf_str(&late.streamed), buf_str(&first.streamed));
    set_gate(b, false);
    wait_for(b, &late);
    wait_for(b, &first);
    assert_ok(&late);
    assert_ok(&first);
    assert_true(late.was_shared);
    assert_string_equal(buf_str(&late.text[0]), buf_str(&a[0].text[0]));
    for (int i = 0; i < 4; i++) answer_clear(&a[i]);
    answer_clear(&first);
    answer_clear(&late);
    assert_int_equal(service_n_running(b->service), 0);
}

/* Whatever decides the answer keeps requests apart. */
static void test_not_shared(void **state)
{
    struct bench *b = *state;
    struct answer hold, a[8];
    hold_engine(b, &hold);
    struct service_request r[8];
    for (int i = 0; i < 8; i++) {
        r[i] = request_at(source, CURSOR);
        r[i].client = "0\0001\0002\0003\0004\0005\0006\0007" + 2 * i;
    }
    r[1].max_tokens = 5;
    r[2].n_indent = 1;
    r[3].sampling.seed = 5;
    r[4].stops[r[4].n_stops++] = (struct service_stop){"", 0};
    r[5].path = "other.c";
    r[6].extent = SERVICE_EXTENT_ANY;
    r[7].max_predict_ms = 1e9;
    for (int i = 0; i < 8; i++) (void)submit(b, r[i], &a[i]);
    release_engine(b, &hold);
    for (int i = 0; i < 8; i++) {
        wait_for(b, &a[i]);
        assert_ok(&a[i]);
        assert_false(a[i].was_shared);
        answer_clear(&a[i]);
    }
}

/* Somebody types what was prefetched: one run, at the higher priority. */
static void test_raised(void **state)
{
    struct bench *b = *state;
    struct answer hold, prefetch, typing;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    r.priority = SERVICE_PREFETCH;
    (void)submit(b, r, &prefetch);
    r.priority = SERVICE_TYPING;
    (void)submit(b, r, &typing);
    release_engine(b, &hold);
    wait_for(b, &typing);
    wait_for(b, &prefetch);
    assert_ok(&typing);
    assert_ok(&prefetch);
    assert_true(typing.was_shared && prefetch.was_shared);
    answer_clear(&typing);
    answer_clear(&prefetch);
}

static void test_shed(void **state)
{
    (void)state;
    struct bench b = {0};
    struct service_options o = options_of(&b);
    o.max_waiting = 3; /* one of them is held */
    open_bench(&b, &o);
    wait_ready(&b, NULL);
    struct answer hold, a[4];
    hold_engine(&b, &hold);
    for (int i = 0; i < 4; i++) {
        struct service_request r = request_at(source, (size_t)i);
        char document[] = {(char)('a' + i), '\0'};
        r.document = document;
        r.priority = i == 1 ? SERVICE_PREFETCH : i == 0 ? SERVICE_ASKED : SERVICE_TYPING;
        (void)submit(&b, r, &a[i]);
        if (i == 2) assert_at_once(&b, &a[1], SERVICE_SHED); /* the lowest priority, though not the oldest */
    }
    set_gate(&b, false);
    wait_for(&b, &hold); /* the stalest of those that type */
    assert_int_equal(hold.outcome, SERVICE_SHED);
    for (int i = 0; i < 4; i++) {
        wait_for(&b, &a[i]);
        if (i != 1) assert_ok(&a[i]);
        answer_clear(&a[i]);
    }
    answer_clear(&hold);
    struct buf text;
    buf_init(&text, TEXT_MAX);
    metrics_write(b.metrics, &text);
    assert_non_null(strstr(buf_str(&text), "inline_requests_total{outcome=\"shed\"} 2"));
    assert_non_null(strstr(buf_str(&text), "inline_requests_total{outcome=\"ok\"} 3"));
    assert_non_null(strstr(buf_str(&text), "inline_requests_waiting 0"));
    buf_clear(&text);
    close_bench(&b);
}

static void test_cancel(void **state)
{
    struct bench *b = *state;
    struct answer hold, a;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    struct service_ticket *t = submit(b, r, &a);
    service_cancel(b->service, t);
    /* Superseded and cancelled before the news was told. */
    answer_clear(&a);
    r.document = "a";
    struct answer newer;
    t = submit(b, r, &a);
    r.cursor = 2;
    (void)submit(b, r, &newer);
    service_cancel(b->service, t);
    release_engine(b, &hold);
    wait_for(b, &newer);
    assert_int_equal(a.n_done, 0);
    assert_int_equal(a.streamed.len, 0);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&a);
    answer_clear(&newer);
}

/* A callback that asks again, and sends another away. */
struct meddler {
    struct bench *bench;
    struct answer again;
    struct service_ticket *other;
    int n_done;
};

static void meddle(void *ctx, const struct service_answer *a)
{
    struct meddler *m = ctx;
    m->n_done++;
    assert_int_equal(a->outcome, SERVICE_SUPERSEDED);
    service_cancel(m->bench->service, m->other);
    struct service_request r = request_at(source, 5);
    r.document = "again";
    (void)submit(m->bench, r, &m->again);
}

static void test_callbacks_submit(void **state)
{
    struct bench *b = *state;
    struct answer hold, other, newer;
    struct meddler m = {.bench = b};
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    r.document = "a";
    r.on_done = meddle;
    r.ctx = &m;
    (void)service_submit(b->service, &r);
    r = request_at(source, 3);
    r.document = "b";
    m.other = submit(b, r, &other);
    r.cursor = 4;
    (void)submit(b, r, &newer); /* the other's news is due in the same poll */
    r.document = "a";
    struct answer replacing;
    (void)submit(b, r, &replacing);
    service_poll(b->service);
    assert_int_equal(m.n_done, 1);
    assert_int_equal(other.n_done, 0);
    release_engine(b, &hold);
    wait_for(b, &m.again);
    wait_for(b, &newer);
    wait_for(b, &replacing);
    assert_ok(&m.again);
    assert_ok(&newer);
    assert_ok(&replacing);
    answer_clear(&m.again);
    answer_clear(&newer);
    answer_clear(&replacing);
    answer_clear(&other);
}

static void test_drain(void **state)
{
    struct bench *b = *state;
    struct answer hold, a;
    hold_engine(b, &hold);
    service_drain(b->service);
    (void)submit(b, request_at(source, CURSOR), &a);
    assert_at_once(b, &a, SERVICE_UNAVAILABLE);
    assert_int_equal(service_n_running(b->service), 1);
    release_engine(b, &hold);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&a);
}

/* ---- Models ---- */

static void test_loading(void **state)
{
    (void)state;
    struct bench b = {0};
    struct service_options o = options_of(&b);
    open_bench(&b, &o);
    struct answer a;
    struct service_model m;
    service_model(b.service, 0, &m);
    assert_int_equal(m.state, SERVICE_LOADING);
    assert_int_equal(m.n_vocab, 0);
    (void)submit(&b, request_at(source, CURSOR), &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "loading"));
    answer_clear(&a);
    close_bench(&b); /* while it loads */
}

static void test_no_model(void **state)
{
    (void)state;
    struct bench b = {0};
    struct service_options o = options_of(&b);
    o.default_model = "";
    open_bench(&b, &o);
    assert_int_equal(service_n_models(b.service), 1);
    struct service_model m;
    service_model(b.service, 0, &m);
    assert_int_equal(m.state, SERVICE_MODEL_FAILED);
    assert_non_null(strstr(m.error, "inline model pull"));
    struct answer a;
    (void)submit(&b, request_at(source, CURSOR), &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "inline model pull"));
    struct token_list tokens = {0};
    assert_false(service_tokenize(b.service, "", "a", 1, true, true, &tokens));
    answer_clear(&a);
    close_bench(&b);
}

static void test_several_models(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_service_XXXXXX", path[3][64];
    static const char *const names[3] = {"alpha", "beta", "broken"};
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s.gguf", dir, names[i]);
        if (i < 2) assert_int_equal(symlink(i == 0 ? MODEL : FIXTURES "/models/qwen2.gguf", path[i]), 0);
    }
    FILE *f = fopen(path[2], "w");
    assert_non_null(f);
    fputs("not a model", f);
    fclose(f);
    struct bench b = {0};
    struct service_options o = options_of(&b);
    o.models_dir = dir;
    o.default_model = "alpha";
    open_bench(&b, &o);
    wait_ready(&b, "alpha");
    assert_int_equal(service_n_models(b.service), 3);
    struct service_model m;
    service_model(b.service, 0, &m);
    assert_string_equal(m.name, "alpha");
    assert_string_equal(m.arch, "llama");
    assert_true(m.n_ctx == 256 && m.n_vocab > 0 && m.n_params > 1000 && m.bytes > 1000);
    assert_string_equal(m.fim_family, "qwen");
    assert_true(*m.format && *m.isa);
    service_model(b.service, 2, &m);
    assert_int_equal(m.state, SERVICE_INSTALLED);

    struct answer a;
    struct service_request r = request_at(source, CURSOR);
    r.model = "no such model";
    ask(&b, r, &a);
    assert_ok(&a);
    assert_string_equal(a.model, "alpha");
    answer_clear(&a);
    r.model = "BETA";
    (void)submit(&b, r, &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "loading model beta"));
    answer_clear(&a);
    wait_ready(&b, "beta");
    ask(&b, r, &a);
    assert_ok(&a);
    assert_string_equal(a.model, "beta");
    answer_clear(&a);
    assert_int_equal(service_n_models(b.service), 3);
    r.model = "broken";
    (void)submit(&b, r, &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    answer_clear(&a);
    do {
        turn(&b);
        service_model(b.service, 2, &m);
    } while (m.state == SERVICE_LOADING);
    assert_int_equal(m.state, SERVICE_MODEL_FAILED);
    (void)submit(&b, r, &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "broken.gguf"));
    answer_clear(&a);
    close_bench(&b);
    for (int i = 0; i < 3; i++) unlink(path[i]);
    rmdir(dir);
}

static void test_tokens(void **state)
{
    struct bench *b = *state;
    struct token_list tokens = {0};
    struct buf text;
    buf_init(&text, TEXT_MAX);
    assert_true(service_tokenize(b->service, "", source, strlen(source), false, false, &tokens));
    assert_true(service_detokenize(b->service, "", tokens.ids, tokens.n, &text));
    assert_string_equal(buf_str(&text), source);
    assert_true(service_tokenize(b->service, "", "<|fim_middle|>", 14, false, true, &tokens));
    assert_int_equal(tokens.n, 1);
    assert_true(service_tokenize(b->service, "", "<|fim_middle|>", 14, false, false, &tokens));
    assert_true(tokens.n > 1);
    struct service_slot slots[40];
    int32_t n = service_slots(b->service, slots, 40);
    assert_true(n >= 1);
    assert_int_equal(slots[0].n_ctx, 256);
    token_list_clear(&tokens);
    buf_clear(&text);
}

static void test_notes(void **state)
{
    struct bench *b = *state;
    service_note(b->service, "x", SERVICE_SHOWN, 10);
    service_note(b->service, "x", SERVICE_SHOWN, 10);
    service_note(b->service, "x", SERVICE_PARTLY_ACCEPTED, 3);
    struct answer a;
    ask(b, request_at(source, CURSOR), &a);
    answer_clear(&a);
    struct buf text;
    buf_init(&text, TEXT_MAX);
    metrics_write(b->metrics, &text);
    assert_non_null(strstr(buf_str(&text), "inline_suggestions_total{event=\"shown\"} 2"));
    assert_non_null(strstr(buf_str(&text), "inline_suggestions_total{event=\"partly_accepted\"} 1"));
    assert_non_null(strstr(buf_str(&text), "inline_request_seconds"));
    assert_non_null(strstr(buf_str(&text), "stage=\"predict\""));
    assert_non_null(strstr(buf_str(&text), "inline_predicted_tokens_total"));
    buf_clear(&text);
}

/* ---- Traffic ---- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u; /* Numerical Recipes' linear congruential generator */
    return *state >> 16;
}

struct visitor {
    struct answer answer;
    struct service_ticket *ticket;
    size_t cursor;
    bool is_whole; /* a plain request: comparable with the pipeline's */
};

/* Many clients who ask, type on, ask the same, go away. Everybody who stays is told exactly once, and
 * whoever is told OK is told what the pipeline says. */
static void test_traffic(void **state)
{
    struct bench *b = *state;
    struct reference ref;
    reference_open(&ref);
    static struct buf expected[sizeof source];
    for (size_t i = 0; i < sizeof source; i++) reference_run(&ref, source, i, &expected[i]);
    static struct visitor visitors[24];
    uint32_t seed = 7;
    int n_ok = 0, n_superseded = 0;
    memset(visitors, 0, sizeof visitors);
    for (int round = 0; round < 600; round++) {
        struct visitor *v = &visitors[next_random(&seed) % 24];
        bool is_waiting = v->ticket && v->answer.n_done == 0;
        uint32_t patience = next_random(&seed) % 4;
        if (is_waiting && patience == 0) {
            wait_for(b, &v->answer);
        } else if (is_waiting && patience == 1) {
            service_cancel(b->service, v->ticket);
            v->ticket = NULL;
            answer_clear(&v->answer);
        } else if (!is_waiting) {
            if (v->ticket) {
                n_ok += v->answer.outcome == SERVICE_OK;
                n_superseded += v->answer.outcome == SERVICE_SUPERSEDED;
                if (v->answer.outcome == SERVICE_OK) assert_ok(&v->answer);
                if (v->answer.outcome == SERVICE_OK && v->is_whole)
                    assert_string_equal(buf_str(&v->answer.text[0]), buf_str(&expected[v->cursor]));
                answer_clear(&v->answer);
            }
            v->cursor = next_random(&seed) % sizeof source;
            struct service_request r = request_at(source, v->cursor);
            char client[] = {(char)('a' + next_random(&seed) % 4), '\0'};
            static const char *const documents[] = {"", "x", "y", "z"};
            r.client = client;
            r.document = documents[next_random(&seed) % 4];
            r.priority = next_random(&seed) % 4;
            r.n_candidates = next_random(&seed) % 8 == 0 ? 3 : 1;
            v->is_whole = next_random(&seed) % 4 != 0;
            if (!v->is_whole) r.max_tokens = (int32_t)(next_random(&seed) % 6);
            v->ticket = submit(b, r, &v->answer);
        }
        if (next_random(&seed) % 2) service_poll(b->service);
    }
    for (int i = 0; i < 24; i++) {
        if (!visitors[i].ticket) continue;
        wait_for(b, &visitors[i].answer);
        answer_clear(&visitors[i].answer);
    }
    assert_int_equal(service_n_running(b->service), 0);
    assert_true(n_ok > 20 && n_superseded > 5);
    for (size_t i = 0; i < sizeof source; i++) buf_clear(&expected[i]);
    reference_close(&ref);
}

/* The service goes while requests are under way. */
static void test_free_under_load(void **state)
{
    (void)state;
    struct bench b = {0};
    struct service_options o = options_of(&b);
    open_bench(&b, &o);
    wait_ready(&b, NULL);
    struct answer a[5];
    for (int i = 0; i < 5; i++) {
        struct service_request r = request_at(source, (size_t)i * 5);
        char document[] = {(char)('a' + i), '\0'};
        r.document = document;
        (void)submit(&b, r, &a[i]);
    }
    close_bench(&b);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(a[i].n_done, 0);
        answer_clear(&a[i]);
    }
}

#define WITH_SERVICE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVICE(test_equals_pipeline),
        WITH_SERVICE(test_crlf),
        WITH_SERVICE(test_long_document),
        WITH_SERVICE(test_raw_prompts),
        WITH_SERVICE(test_long_raw_prompt),
        WITH_SERVICE(test_stop_texts),
        WITH_SERVICE(test_warm_up),
        WITH_SERVICE(test_candidates),
        WITH_SERVICE(test_bad_requests),
        WITH_SERVICE(test_superseded),
        WITH_SERVICE(test_superseded_by_likeness),
        WITH_SERVICE(test_running_is_cancelled),
        WITH_SERVICE(test_shared),
        WITH_SERVICE(test_not_shared),
        WITH_SERVICE(test_raised),
        cmocka_unit_test(test_shed),
        WITH_SERVICE(test_cancel),
        WITH_SERVICE(test_callbacks_submit),
        WITH_SERVICE(test_drain),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_no_model),
        cmocka_unit_test(test_several_models),
        WITH_SERVICE(test_tokens),
        WITH_SERVICE(test_notes),
        WITH_SERVICE(test_traffic),
        cmocka_unit_test(test_free_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
