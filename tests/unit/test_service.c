/* The service on a tiny model of random weights: what its answers are, who gets them, and when. */
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

#include "base/mem.h"
#include "complete/complete.h"
#include "service/service.h"
#include "model/model.h"
#include "os/clock.h"
#include "support/service_world.h"
#include "watch/metrics.h"

#define N_ANSWERS 64

static const char source[] =
    "int max(int a, int b)\n{\n    return \n}\n\nint main(void)\n{\n    return max(1, 2);\n}\n";
#define CURSOR 35 /* after "return " */

static int set_up(void **state)
{
    static struct service_world b;
    b = (struct service_world){0};
    struct service_options o = world_options(&b);
    world_open(&b, &o);
    world_wait_ready(&b, NULL);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    world_close(*state);
    return 0;
}

/* What is decided without the engine is there at the next poll. */
static void assert_at_once(struct service_world *b, const struct answer *a, enum service_outcome outcome)
{
    assert_int_equal(a->n_done, 0);
    service_poll(b->service);
    assert_int_equal(a->n_done, 1);
    assert_int_equal(a->outcome, outcome);
    assert_true(a->message[0] != '\0');
    assert_int_equal(a->n_candidates, 0);
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
    assert_int_equal(model_open(WORLD_MODEL, &r->model, NULL), OK);
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
                                 .max_tokens = WORLD_TOKENS,
                                 .sampling = SAMPLER_GREEDY};
    struct complete_result result;
    buf_init(out, WORLD_TEXT_MAX);
    assert_int_equal(complete_run(r->seq, &r->fim, &q, out, &result, NULL), OK);
}

/* ---- What answers are ---- */

static void test_equals_pipeline(void **state)
{
    struct service_world *b = *state;
    struct reference ref;
    reference_open(&ref);
    for (size_t cursor = 0; cursor <= strlen(source); cursor += 3) {
        struct answer a;
        struct buf expected;
        world_ask(b, request_at(source, cursor), &a);
        reference_run(&ref, source, cursor, &expected);
        world_assert_ok(&a);
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
    struct service_world *b = *state;
    struct answer a, crlf;
    world_ask(b, request_at("a\nb\nc\n", 2), &a);
    world_ask(b, request_at("a\r\nb\r\nc\r\n", 3), &crlf);
    world_assert_ok(&crlf);
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
    struct service_world *b = *state;
    struct reference ref;
    reference_open(&ref);
    struct buf text, expected;
    buf_init(&text, WORLD_TEXT_MAX);
    for (int i = 0; i < 10000; i++) buf_printf(&text, "caf\xc3\xa9_%d = %d;\n", i, i);
    struct answer a;
    world_ask(b, request_at(text.data, text.len / 2), &a);
    reference_run(&ref, text.data, text.len / 2, &expected);
    world_assert_ok(&a);
    assert_string_equal(buf_str(&a.text[0]), buf_str(&expected));
    answer_clear(&a);
    buf_clear(&text);
    buf_clear(&expected);
    reference_close(&ref);
}

static void test_raw_prompts(void **state)
{
    struct service_world *b = *state;
    static const char fim[] = "<|fim_prefix|>int x = <|fim_suffix|>;\n<|fim_middle|>";
    struct answer text, tokens, document;
    struct service_request r = request_raw(fim), place = request_at("int x = ;\n", 8);
    r.document = place.document = "the same sequence";
    world_ask(b, r, &text);
    world_assert_ok(&text);
    assert_false(text.was_truncated);
    /* Special tokens are tokens: the same as the document's prompt. */
    world_ask(b, place, &document);
    assert_int_equal(text.timings.n_prompt, document.timings.n_prompt);
    assert_true(document.timings.n_reused >= document.timings.n_prompt - 1);
    /* The same as tokens. */
    struct token_list list = {0};
    assert_true(service_tokenize(b->service, "", fim, strlen(fim), true, true, &list));
    assert_int_equal(list.n, text.timings.n_prompt);
    r.tokens = list.ids;
    r.n_tokens = list.n;
    world_ask(b, r, &tokens);
    world_assert_ok(&tokens);
    assert_string_equal(buf_str(&tokens.text[0]), buf_str(&text.text[0]));
    token_list_clear(&list);
    answer_clear(&text);
    answer_clear(&tokens);
    answer_clear(&document);
}

static void test_long_raw_prompt(void **state)
{
    struct service_world *b = *state;
    struct buf text;
    buf_init(&text, WORLD_TEXT_MAX);
    for (int i = 0; i < 5000; i++) buf_printf(&text, "%d, ", i);
    struct answer a;
    struct service_request r = request_raw(text.data);
    r.max_tokens = 8;
    world_ask(b, r, &a);
    world_assert_ok(&a);
    assert_true(a.was_truncated);
    assert_true(a.timings.n_prompt > 128 && a.timings.n_prompt <= 256 - 8);
    answer_clear(&a);
    /* Tokens past the context: the end is what counts. */
    struct token_list list = {0};
    assert_true(service_tokenize(b->service, "", text.data, text.len, false, false, &list));
    r.tokens = list.ids;
    r.n_tokens = list.n;
    world_ask(b, r, &a);
    world_assert_ok(&a);
    assert_true(a.was_truncated);
    assert_true(a.timings.n_prompt <= 256 - 8);
    answer_clear(&a);
    r.tokens = list.ids + list.n - 20;
    r.n_tokens = 20;
    r.max_prompt_tokens = 10;
    world_ask(b, r, &a);
    assert_true(a.was_truncated && a.timings.n_prompt <= 10);
    answer_clear(&a);
    world_ask(b, request_raw(""), &a); /* predicts from nothing */
    world_assert_ok(&a);
    answer_clear(&a);
    token_list_clear(&list);
    buf_clear(&text);
}

static void test_stop_texts(void **state)
{
    struct service_world *b = *state;
    struct answer whole, cut;
    struct service_request r = request_raw("a = ");
    world_ask(b, r, &whole);
    assert_true(whole.text[0].len >= 6);
    char stop[3] = {whole.text[0].data[3], whole.text[0].data[4], '\0'};
    r.stops[0] = (struct service_stop){"nowhere to be found", 19};
    r.stops[1] = (struct service_stop){stop, 2};
    r.n_stops = 2;
    world_ask(b, r, &cut);
    world_assert_ok(&cut);
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
    world_ask(b, r, &cut);
    world_assert_ok(&cut);
    const char *newline = strchr(buf_str(&whole.text[0]), '\n');
    if (newline) {
        assert_string_equal(cut.stop, "time");
        assert_true(cut.text[0].len > (size_t)(newline - buf_str(&whole.text[0])));
    } else {
        assert_string_equal(buf_str(&cut.text[0]), buf_str(&whole.text[0]));
    }
    answer_clear(&cut);
    r.predict_ms_after_newline = false;
    world_ask(b, r, &cut);
    assert_string_equal(cut.stop, "time");
    assert_true(cut.n_tokens < whole.n_tokens);
    answer_clear(&cut);
    answer_clear(&whole);
}

static void test_warm_up(void **state)
{
    struct service_world *b = *state;
    struct answer a;
    static const struct fim_file file = {.path = "max.h", .text = "int max(int a, int b);\n", .text_len = 23};
    struct service_request r = request_at(source, 20);
    r.priority = SERVICE_WARMUP;
    r.max_tokens = 0;
    r.n_candidates = 3;
    r.files = &file;
    r.n_files = 1;
    r.path = "max.c";
    world_ask(b, r, &a);
    world_assert_ok(&a);
    assert_int_equal(a.n_candidates, 1);
    assert_int_equal(a.text[0].len, 0);
    assert_int_equal(a.n_tokens, 0);
    assert_true(a.timings.n_computed > 20);
    answer_clear(&a);
    r.priority = SERVICE_TYPING;
    r.max_tokens = 4;
    r.n_candidates = 1;
    world_ask(b, r, &a);
    world_assert_ok(&a);
    assert_true(a.timings.n_computed <= 1);
    answer_clear(&a);
}

static void test_candidates(void **state)
{
    struct service_world *b = *state;
    struct answer one, four, again;
    struct service_request r = request_raw("for (");
    world_ask(b, r, &one);
    r.n_candidates = 9;
    world_ask(b, r, &four);
    world_assert_ok(&four);
    assert_true(four.n_candidates > 1 && four.n_candidates <= SERVICE_CANDIDATES_MAX);
    assert_string_equal(buf_str(&four.text[0]), buf_str(&one.text[0]));
    for (int i = 0; i < four.n_candidates; i++) {
        for (int j = 0; j < i; j++) assert_string_not_equal(buf_str(&four.text[i]), buf_str(&four.text[j]));
    }
    world_ask(b, r, &again);
    assert_int_equal(again.n_candidates, four.n_candidates);
    for (int i = 0; i < four.n_candidates; i++)
        assert_string_equal(buf_str(&again.text[i]), buf_str(&four.text[i]));
    answer_clear(&one);
    answer_clear(&four);
    answer_clear(&again);
}

static void test_bad_requests(void **state)
{
    struct service_world *b = *state;
    struct answer a;
    struct service_request r = request_at(source, strlen(source) + 1);
    (void)world_submit(b, r, &a);
    assert_at_once(b, &a, SERVICE_BAD);
    assert_non_null(strstr(a.message, "cursor"));
    answer_clear(&a);
    r.text = NULL;
    (void)world_submit(b, r, &a);
    assert_at_once(b, &a, SERVICE_BAD);
    answer_clear(&a);
    static const int32_t tokens[] = {1, 1 << 30};
    r = request_raw("");
    r.tokens = tokens;
    r.n_tokens = 2;
    world_ask(b, r, &a);
    assert_int_equal(a.outcome, SERVICE_BAD);
    assert_non_null(strstr(a.message, "1073741824"));
    answer_clear(&a);
    r = request_at(source, CURSOR);
    r.sampling.top_p = 7;
    world_ask(b, r, &a);
    assert_int_equal(a.outcome, SERVICE_BAD);
    assert_non_null(strstr(a.message, "top-p"));
    answer_clear(&a);
    r = request_at(source, CURSOR);
    r.max_tokens = INT32_MAX; /* brought into range */
    world_ask(b, r, &a);
    world_assert_ok(&a);
    assert_true(a.n_tokens <= 128);
    answer_clear(&a);
}

/* ---- Who gets one ---- */

/* A request that keeps the engine's thread busy until the gate opens. */
static void hold_engine(struct service_world *b, struct answer *a)
{
    struct service_request r = request_raw("hold");
    r.client = "holder";
    world_set_gate(b, true);
    (void)world_submit(b, r, a);
    world_turn(b);
    assert_int_equal(a->n_done, 0);
}

static void release_engine(struct service_world *b, struct answer *a)
{
    world_set_gate(b, false);
    world_wait_for(b, a);
    world_assert_ok(a);
    answer_clear(a);
}

static void test_superseded(void **state)
{
    struct service_world *b = *state;
    struct answer hold, older, newer, other_client, other_document, warm, prefetch;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR), other;
    r.document = "file:///a.c";
    (void)world_submit(b, r, &older);
    other = r;
    other.client = "somebody else";
    (void)world_submit(b, other, &other_client);
    other = r;
    other.document = "file:///b.c";
    other.max_tokens = 3;
    (void)world_submit(b, other, &other_document);
    other.document = "file:///c.c";
    other.priority = SERVICE_WARMUP;
    other.max_tokens = 0;
    (void)world_submit(b, other, &warm);
    service_poll(b->service);
    assert_int_equal(older.n_done, 0);
    r.cursor--;
    (void)world_submit(b, r, &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    r.priority = SERVICE_PREFETCH;
    r.cursor--;
    (void)world_submit(b, r, &prefetch); /* supersedes nobody */
    service_poll(b->service);
    assert_int_equal(newer.n_done, 0);
    release_engine(b, &hold);
    world_wait_for(b, &newer);
    world_wait_for(b, &other_client);
    world_wait_for(b, &other_document);
    world_wait_for(b, &warm);
    world_wait_for(b, &prefetch);
    world_assert_ok(&newer);
    world_assert_ok(&other_client);
    world_assert_ok(&other_document);
    world_assert_ok(&warm);
    world_assert_ok(&prefetch);
    struct answer *all[] = {&older, &newer, &other_client, &other_document, &warm, &prefetch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) answer_clear(all[i]);
}

static void test_superseded_by_likeness(void **state)
{
    struct service_world *b = *state;
    char typed[256];
    snprintf(typed, sizeof typed, "%.*smax%s", CURSOR, source, source + CURSOR);
    struct answer hold, older, newer, stranger, raw;
    hold_engine(b, &hold);
    (void)world_submit(b, request_at(source, CURSOR), &older);
    (void)world_submit(b, request_at("SELECT name FROM users WHERE id = 1;\nSELECT 2;\n", 20), &stranger);
    (void)world_submit(b, request_raw(source), &raw);
    service_poll(b->service);
    assert_int_equal(older.n_done + stranger.n_done + raw.n_done, 0);
    (void)world_submit(b, request_at(typed, CURSOR + 3), &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    release_engine(b, &hold);
    world_wait_for(b, &newer);
    world_wait_for(b, &stranger);
    world_wait_for(b, &raw);
    world_assert_ok(&newer);
    world_assert_ok(&stranger);
    world_assert_ok(&raw);
    answer_clear(&older);
    answer_clear(&newer);
    answer_clear(&stranger);
    answer_clear(&raw);
}

/* A run that is being computed stops when it is superseded. */
static void test_running_is_cancelled(void **state)
{
    struct service_world *b = *state;
    struct answer older, newer;
    struct service_request r = request_at(source, CURSOR);
    r.document = "a";
    r.max_tokens = 120;
    world_set_gate(b, true);
    (void)world_submit(b, r, &older);
    world_turn(b); /* its first piece */
    r.cursor = 10;
    r.max_tokens = 2;
    (void)world_submit(b, r, &newer);
    assert_at_once(b, &older, SERVICE_SUPERSEDED);
    world_set_gate(b, false);
    world_wait_for(b, &newer);
    world_assert_ok(&newer);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&older);
    answer_clear(&newer);
}

static void test_shared(void **state)
{
    struct service_world *b = *state;
    struct answer hold, a[4], late;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    struct service_ticket *tickets[4];
    for (int i = 0; i < 4; i++) tickets[i] = world_submit(b, r, &a[i]); /* as minuet does */
    service_cancel(b->service, tickets[1]);
    release_engine(b, &hold);
    for (int i = 0; i < 4; i++) {
        if (i == 1) continue;
        world_wait_for(b, &a[i]);
        world_assert_ok(&a[i]);
        assert_true(a[i].was_shared);
        assert_string_equal(buf_str(&a[i].text[0]), buf_str(&a[0].text[0]));
    }
    assert_int_equal(a[1].n_done, 0);
    /* A latecomer gets all of the text. */
    world_set_gate(b, true);
    r.document = "b";
    struct answer first;
    (void)world_submit(b, r, &first);
    world_turn(b);
    (void)world_submit(b, r, &late);
    service_poll(b->service);
    assert_string_equal(buf_str(&late.streamed), buf_str(&first.streamed));
    world_set_gate(b, false);
    world_wait_for(b, &late);
    world_wait_for(b, &first);
    world_assert_ok(&late);
    world_assert_ok(&first);
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
    struct service_world *b = *state;
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
    for (int i = 0; i < 8; i++) (void)world_submit(b, r[i], &a[i]);
    release_engine(b, &hold);
    for (int i = 0; i < 8; i++) {
        world_wait_for(b, &a[i]);
        world_assert_ok(&a[i]);
        assert_false(a[i].was_shared);
        answer_clear(&a[i]);
    }
}

/* Somebody types what was prefetched: one run, at the higher priority. */
static void test_raised(void **state)
{
    struct service_world *b = *state;
    struct answer hold, prefetch, typing;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    r.priority = SERVICE_PREFETCH;
    (void)world_submit(b, r, &prefetch);
    r.priority = SERVICE_TYPING;
    (void)world_submit(b, r, &typing);
    release_engine(b, &hold);
    world_wait_for(b, &typing);
    world_wait_for(b, &prefetch);
    world_assert_ok(&typing);
    world_assert_ok(&prefetch);
    assert_true(typing.was_shared && prefetch.was_shared);
    answer_clear(&typing);
    answer_clear(&prefetch);
}

static void test_shed(void **state)
{
    (void)state;
    struct service_world b = {0};
    struct service_options o = world_options(&b);
    o.max_waiting = 3; /* one of them is held */
    world_open(&b, &o);
    world_wait_ready(&b, NULL);
    struct answer hold, a[4];
    hold_engine(&b, &hold);
    for (int i = 0; i < 4; i++) {
        struct service_request r = request_at(source, (size_t)i);
        char document[] = {(char)('a' + i), '\0'};
        r.document = document;
        r.priority = i == 1 ? SERVICE_PREFETCH : i == 0 ? SERVICE_ASKED : SERVICE_TYPING;
        (void)world_submit(&b, r, &a[i]);
        if (i == 2) assert_at_once(&b, &a[1], SERVICE_SHED); /* the lowest priority, though not the oldest */
    }
    world_set_gate(&b, false);
    world_wait_for(&b, &hold); /* the stalest of those that type */
    assert_int_equal(hold.outcome, SERVICE_SHED);
    for (int i = 0; i < 4; i++) {
        world_wait_for(&b, &a[i]);
        if (i != 1) world_assert_ok(&a[i]);
        answer_clear(&a[i]);
    }
    answer_clear(&hold);
    struct buf text;
    buf_init(&text, WORLD_TEXT_MAX);
    service_measure(b.service, true);
    metrics_write(b.metrics, &text);
    assert_non_null(strstr(buf_str(&text), "inline_requests_total{outcome=\"shed\"} 2"));
    assert_non_null(strstr(buf_str(&text), "inline_requests_total{outcome=\"ok\"} 3"));
    assert_non_null(strstr(buf_str(&text), "inline_requests_waiting 0"));
    buf_clear(&text);
    world_close(&b);
}

static void test_cancel(void **state)
{
    struct service_world *b = *state;
    struct answer hold, a;
    hold_engine(b, &hold);
    struct service_request r = request_at(source, CURSOR);
    struct service_ticket *t = world_submit(b, r, &a);
    service_cancel(b->service, t);
    /* Superseded and cancelled before the news was told. */
    answer_clear(&a);
    r.document = "a";
    struct answer newer;
    t = world_submit(b, r, &a);
    r.cursor = 2;
    (void)world_submit(b, r, &newer);
    service_cancel(b->service, t);
    release_engine(b, &hold);
    world_wait_for(b, &newer);
    assert_int_equal(a.n_done, 0);
    assert_int_equal(a.streamed.len, 0);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&a);
    answer_clear(&newer);
}

/* A callback that asks again, and sends another away. */
struct meddler {
    struct service_world *bench;
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
    (void)world_submit(m->bench, r, &m->again);
}

static void test_callbacks_submit(void **state)
{
    struct service_world *b = *state;
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
    m.other = world_submit(b, r, &other);
    r.cursor = 4;
    (void)world_submit(b, r, &newer); /* the other's news is due in the same poll */
    r.document = "a";
    struct answer replacing;
    (void)world_submit(b, r, &replacing);
    service_poll(b->service);
    assert_int_equal(m.n_done, 1);
    assert_int_equal(other.n_done, 0);
    release_engine(b, &hold);
    world_wait_for(b, &m.again);
    world_wait_for(b, &newer);
    world_wait_for(b, &replacing);
    world_assert_ok(&m.again);
    world_assert_ok(&newer);
    world_assert_ok(&replacing);
    answer_clear(&m.again);
    answer_clear(&newer);
    answer_clear(&replacing);
    answer_clear(&other);
}

static void test_drain(void **state)
{
    struct service_world *b = *state;
    struct answer hold, a;
    hold_engine(b, &hold);
    service_drain(b->service);
    (void)world_submit(b, request_at(source, CURSOR), &a);
    assert_at_once(b, &a, SERVICE_UNAVAILABLE);
    assert_int_equal(service_n_running(b->service), 1);
    release_engine(b, &hold);
    assert_int_equal(service_n_running(b->service), 0);
    answer_clear(&a);
}

/* ---- Models ---- */

/* While the model loads requests wait, and may give up. */
static void test_loading(void **state)
{
    (void)state;
    struct service_world b = {0};
    struct service_options o = world_options(&b);
    world_open(&b, &o);
    struct answer a, given_up, late;
    struct service_model m;
    service_model(b.service, 0, &m);
    assert_int_equal(m.state, SERVICE_LOADING);
    assert_int_equal(m.n_vocab, 0);
    struct service_ticket *t = world_submit(&b, request_at(source, CURSOR), &given_up);
    service_cancel(b.service, t);
    char copy[sizeof source];
    memcpy(copy, source, sizeof copy);
    (void)world_submit(&b, request_at(copy, CURSOR), &a);
    memset(copy, 'x', sizeof copy - 1); /* the request is the service's own */
    world_wait_for(&b, &a);
    world_assert_ok(&a);
    assert_int_equal(given_up.n_done, 0);
    struct answer again;
    world_ask(&b, request_at(source, CURSOR), &again);
    assert_string_equal(buf_str(&again.text[0]), buf_str(&a.text[0]));
    answer_clear(&again);
    answer_clear(&a);
    answer_clear(&given_up);
    world_close(&b);

    b = (struct service_world){0};
    o = world_options(&b);
    world_open(&b, &o);
    (void)world_submit(&b, request_at(source, CURSOR), &late);
    world_close(&b); /* while it loads and somebody waits */
    assert_int_equal(late.n_done, 0);
    answer_clear(&late);
}

static void test_no_model(void **state)
{
    (void)state;
    struct service_world b = {0};
    struct service_options o = world_options(&b);
    o.default_model = "";
    world_open(&b, &o);
    assert_int_equal(service_n_models(b.service), 1);
    struct service_model m;
    service_model(b.service, 0, &m);
    assert_int_equal(m.state, SERVICE_MODEL_FAILED);
    assert_non_null(strstr(m.error, "inline model pull"));
    struct answer a;
    (void)world_submit(&b, request_at(source, CURSOR), &a);
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "inline model pull"));
    struct token_list tokens = {0};
    assert_false(service_tokenize(b.service, "", "a", 1, true, true, &tokens));
    answer_clear(&a);
    world_close(&b);
}

static void test_several_models(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_service_XXXXXX", path[3][64];
    static const char *const names[3] = {"alpha", "beta", "broken"};
    assert_non_null(mkdtemp(dir));
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/%s.gguf", dir, names[i]);
        if (i < 2)
            assert_int_equal(symlink(i == 0 ? WORLD_MODEL : FIXTURES "/models/qwen2.gguf", path[i]), 0);
    }
    FILE *f = fopen(path[2], "w");
    assert_non_null(f);
    fputs("not a model", f);
    fclose(f);
    struct service_world b = {0};
    struct service_options o = world_options(&b);
    o.models_dir = dir;
    o.default_model = "alpha";
    world_open(&b, &o);
    world_wait_ready(&b, "alpha");
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
    world_ask(&b, r, &a);
    world_assert_ok(&a);
    assert_string_equal(a.model, "alpha");
    answer_clear(&a);
    r.model = "BETA";
    world_ask(&b, r, &a);
    world_assert_ok(&a);
    assert_string_equal(a.model, "beta");
    answer_clear(&a);
    assert_int_equal(service_n_models(b.service), 3);
    r.model = "broken";
    world_ask(&b, r, &a);
    assert_int_equal(a.outcome, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "broken.gguf"));
    answer_clear(&a);
    (void)world_submit(&b, r, &a); /* the file is the same: so is the answer */
    assert_at_once(&b, &a, SERVICE_UNAVAILABLE);
    assert_non_null(strstr(a.message, "broken.gguf"));
    answer_clear(&a);
    service_model(b.service, 2, &m);
    assert_int_equal(m.state, SERVICE_MODEL_FAILED);
    assert_int_equal(m.n_loads, 1);
    world_close(&b);
    for (int i = 0; i < 3; i++) unlink(path[i]);
    rmdir(dir);
}

static void test_tokens(void **state)
{
    struct service_world *b = *state;
    struct token_list tokens = {0};
    struct buf text;
    buf_init(&text, WORLD_TEXT_MAX);
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
    struct service_world *b = *state;
    service_note(b->service, 0, SERVICE_SHOWN, 10);
    service_note(b->service, 0, SERVICE_SHOWN, 10);
    service_note(b->service, 0, SERVICE_PARTLY_ACCEPTED, 3);
    struct answer a;
    world_ask(b, request_at(source, CURSOR), &a);
    answer_clear(&a);
    struct buf text;
    buf_init(&text, WORLD_TEXT_MAX);
    metrics_write(b->metrics, &text);
    assert_non_null(strstr(buf_str(&text), "inline_suggestions_total{event=\"shown\"} 2"));
    assert_non_null(strstr(buf_str(&text), "inline_suggestions_total{event=\"partly_accepted\"} 1"));
    assert_non_null(strstr(buf_str(&text), "inline_request_seconds"));
    assert_non_null(strstr(buf_str(&text), "stage=\"decode\""));
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
    struct service_world *b = *state;
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
            world_wait_for(b, &v->answer);
        } else if (is_waiting && patience == 1) {
            service_cancel(b->service, v->ticket);
            v->ticket = NULL;
            answer_clear(&v->answer);
        } else if (!is_waiting) {
            if (v->ticket) {
                n_ok += v->answer.outcome == SERVICE_OK;
                n_superseded += v->answer.outcome == SERVICE_SUPERSEDED;
                if (v->answer.outcome == SERVICE_OK) world_assert_ok(&v->answer);
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
            v->ticket = world_submit(b, r, &v->answer);
        }
        if (next_random(&seed) % 2) service_poll(b->service);
    }
    for (int i = 0; i < 24; i++) {
        if (!visitors[i].ticket) continue;
        world_wait_for(b, &visitors[i].answer);
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
    struct service_world b = {0};
    struct service_options o = world_options(&b);
    world_open(&b, &o);
    world_wait_ready(&b, NULL);
    struct answer a[5];
    for (int i = 0; i < 5; i++) {
        struct service_request r = request_at(source, (size_t)i * 5);
        char document[] = {(char)('a' + i), '\0'};
        r.document = document;
        (void)world_submit(&b, r, &a[i]);
    }
    world_close(&b);
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
