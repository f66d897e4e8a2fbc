/* What becomes of suggestions: ids in items' commands and in what the service is told, and whether accepted
 * ones stand as they were inserted, whatever is edited around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "serve/lsp.h"
#include "serve/lsp_frame.h"
#include "serve/lsp_kept.h"
#include "support/fake_service.h"

#define SECOND ((int64_t)1000000000)
#define START  (100 * SECOND)

/* ---- Documents alone --------------------------------------------------------------------------------- */

struct world {
    struct service *service;
    struct documents *docs;
    struct open_document *doc;
    struct lsp_kept kept;
    int64_t n_offered;
};

static void begin(struct world *w, const char *text)
{
    *w = (struct world){.service = fake_service_new(), .docs = documents_new()};
    assert_int_equal(documents_open(w->docs, "file:///a.c", "a.c", NULL, 1, text, strlen(text), NULL), OK);
    w->doc = documents_find(w->docs, "file:///a.c");
}

static void end(struct world *w)
{
    documents_free(&w->docs);
    fake_service_free(&w->service);
}

static void edit(struct world *w, size_t from, size_t to, const char *text)
{
    struct lsp_edit e = {.from = from, .to = to, .text = text, .len = strlen(text)};
    lsp_kept_on_edit(&w->kept, w->doc, &e);
    assert_int_equal(documents_splice(w->docs, w->doc, from, to, text, e.len), OK);
}

/* The whole text is sent, of which only this changes. */
static void edit_whole(struct world *w, size_t from, size_t to, const char *text)
{
    struct buf whole;
    buf_init(&whole, 4096);
    buf_add(&whole, w->doc->text.bytes, from);
    buf_add_str(&whole, text);
    buf_add_str(&whole, w->doc->text.bytes + to);
    struct lsp_edit e = {.to = w->doc->text.len, .text = buf_str(&whole), .len = whole.len, .is_whole = true};
    lsp_kept_on_edit(&w->kept, w->doc, &e);
    assert_int_equal(documents_open(w->docs, w->doc->uri, "a.c", NULL, 2, e.text, e.len, NULL), OK);
    buf_clear(&whole);
}

static void offer(struct world *w, size_t start, const char *text)
{
    lsp_kept_offer(&w->kept, ++w->n_offered, w->doc, start, text, strlen(text));
}

static void accept_last(struct world *w)
{
    lsp_kept_accept(&w->kept, w->n_offered, w->docs, START);
}

static void expect_verdicts(struct world *w, double after_s, int n_kept, int n_changed)
{
    lsp_kept_look(&w->kept, w->docs, START + (int64_t)(after_s * 1e9), w->service);
    assert_int_equal(w->service->n_kept, n_kept);
    assert_int_equal(w->service->n_changed, n_changed);
}

/* "int x = |;" with "f(1)" accepted at the bar. */
#define TEXT "int x = ;\n"
#define AT   8
static void begin_accepted(struct world *w)
{
    begin(w, TEXT);
    offer(w, AT, "f(1)");
    edit(w, AT, AT, "f(1)");
    accept_last(w);
}

static void test_kept(void **state)
{
    (void)state;
    struct world w;
    begin_accepted(&w);
    expect_verdicts(&w, 29.9, 0, 0);
    expect_verdicts(&w, 30, 1, 0);
    expect_verdicts(&w, 90, 1, 0); /* once */
    end(&w);
}

static void test_edits_elsewhere(void **state)
{
    (void)state;
    struct world w;
    begin_accepted(&w);
    edit(&w, 0, 0, "// more\n");        /* before */
    edit(&w, 8, 11, "long");            /* before */
    edit(&w, 17, 17, "2 + ");           /* right before */
    edit(&w, 25, 25, " + 3");           /* right behind */
    edit(&w, 28, 30, "\n");             /* behind */
    edit_whole(&w, 0, 3, "/* less */"); /* before, among all of the text */
    assert_string_equal(w.doc->text.bytes, "/* less */more\nlong x = 2 + f(1) + \n\n");
    expect_verdicts(&w, 31, 1, 0);
    end(&w);
}

static void test_edits_inside(void **state)
{
    static const struct {
        size_t from, to;
        const char *text;
    } edits[] = {{10, 11, "2"}, {8, 12, ""}, {11, 12, ""}, {7, 9, ""}, {9, 9, " "}, {0, 13, "int y;"}};
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        struct world w;
        begin_accepted(&w);
        edit(&w, edits[i].from, edits[i].to, edits[i].text);
        expect_verdicts(&w, 31, 0, 1);
        end(&w);
        begin_accepted(&w);
        edit_whole(&w, edits[i].from, edits[i].to, edits[i].text);
        expect_verdicts(&w, 31, 0, 1);
        end(&w);
    }
}

/* Changed and changed back. */
static void test_undone_edits(void **state)
{
    (void)state;
    struct world w;
    begin_accepted(&w);
    edit(&w, 10, 11, "");
    edit(&w, 10, 10, "1");
    expect_verdicts(&w, 31, 1, 0);
    end(&w);
}

static void test_only_what_stands_is_judged(void **state)
{
    (void)state;
    struct world w;
    begin(&w, TEXT);
    offer(&w, AT, "f(1)");
    accept_last(&w); /* it is not there */
    edit(&w, AT, AT, "f(1)");
    expect_verdicts(&w, 31, 0, 0);
    lsp_kept_accept(&w.kept, 77, w.docs, START); /* nobody offered that */
    lsp_kept_accept(&w.kept, 0, w.docs, START);
    expect_verdicts(&w, 31, 0, 0);
    end(&w);
}

/* The text before the suggestion is typed on, or changed, before it is accepted. */
static void test_offers_follow_edits(void **state)
{
    (void)state;
    struct world w;
    begin(&w, TEXT);
    offer(&w, AT, "f(1)");
    edit(&w, AT, AT, "f");    /* typed */
    edit(&w, 0, 3, "double"); /* renamed */
    edit(&w, 11, 12, "f(1)"); /* what was typed is replaced */
    accept_last(&w);
    assert_string_equal(w.doc->text.bytes, "double x = f(1);\n");
    expect_verdicts(&w, 31, 1, 0);
    end(&w);
}

static void test_line_ends(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "a\r\n");
    offer(&w, 3, "b\nc\n");
    edit(&w, 3, 3, "b\r\nc\r\n");
    accept_last(&w);
    expect_verdicts(&w, 31, 1, 0);
    end(&w);
}

static void test_closing(void **state)
{
    (void)state;
    struct world w;
    begin_accepted(&w);
    lsp_kept_on_close(&w.kept, w.doc, w.service);
    assert_true(documents_close(w.docs, "file:///a.c"));
    expect_verdicts(&w, 1, 1, 0);
    expect_verdicts(&w, 31, 1, 0);
    end(&w);

    begin_accepted(&w);
    assert_true(documents_close(w.docs, "file:///a.c")); /* lost: nobody knows */
    expect_verdicts(&w, 31, 0, 0);
    end(&w);
}

/* Far more than are remembered: the newest count, and nothing is judged twice. */
static void test_bounds(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "");
    for (int i = 0; i < 5 * LSP_KEPT_MAX; i++) {
        offer(&w, 0, "not this");
        offer(&w, 0, "x;\n");
        edit(&w, 0, 0, "x;\n");
        accept_last(&w);
    }
    expect_verdicts(&w, 31, LSP_KEPT_MAX, 0);
    end(&w);
}

/* ---- A session --------------------------------------------------------------------------------------- */

struct session {
    struct service *service;
    struct lsp *lsp;
    struct buf out;
};

static void on_write(void *ctx, const char *bytes, size_t len)
{
    struct session *s = ctx;
    buf_add(&s->out, bytes, len);
}

static void on_exit_said(void *ctx)
{
    (void)ctx;
}

static void say(struct session *s, const char *body)
{
    struct buf frame;
    buf_init(&frame, 1 << 16);
    buf_reset(&s->out);
    lsp_frame_write(body, strlen(body), &frame);
    lsp_feed(s->lsp, frame.data, frame.len);
    buf_clear(&frame);
}

static void start(struct session *s)
{
    *s = (struct session){.service = fake_service_new()};
    buf_init(&s->out, 1 << 20);
    s->lsp = lsp_new(
        &(struct lsp_options){.service = s->service, .write = on_write, .on_exit = on_exit_said, .ctx = s});
    say(s, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"capabilities\":{"
           "\"textDocument\":{\"inlineCompletion\":{}}}}}");
    say(s, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didOpen\",\"params\":{\"textDocument\":{"
           "\"uri\":\"file:///a.c\",\"languageId\":\"c\",\"version\":1,\"text\":\"int x = ;\"}}}");
}

static void stop(struct session *s)
{
    lsp_free(&s->lsp);
    fake_service_free(&s->service);
    buf_clear(&s->out);
}

#define POSITION "{\"line\":0,\"character\":8}"

static void suggest(struct session *s, uint64_t id)
{
    say(s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"textDocument/inlineCompletion\",\"params\":{"
           "\"textDocument\":{\"uri\":\"file:///a.c\"},\"position\":" POSITION "}}");
    assert_int_equal(s->service->n_waiting, 1);
    assert_int_equal(s->service->waiting[0]->request.api, METRIC_API_LSP);
    s->service->next_id = id;
    buf_reset(&s->out);
    fake_service_answer(s->service, 0, SERVICE_OK, "f(1)");
}

static void take_it(struct session *s)
{
    say(s, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didChange\",\"params\":{\"textDocument\":{"
           "\"uri\":\"file:///a.c\",\"version\":2},\"contentChanges\":[{\"range\":{\"start\":" POSITION
           ",\"end\":" POSITION "},\"text\":\"f(1)\"}]}}");
    say(s, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"workspace/executeCommand\",\"params\":{"
           "\"command\":\"inline.accepted\",\"arguments\":[1,4,77]}}");
}

static void expect_said(const struct session *s, const char *text)
{
    if (!strstr(buf_str(&s->out), text)) fail_msg("%s is not in %s", text, buf_str(&s->out));
}

static void test_ids(void **state)
{
    (void)state;
    struct session s;
    start(&s);
    suggest(&s, 77);
    expect_said(&s, "\"arguments\":[1,4,77]}");
    say(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didShowCompletion\",\"params\":{\"item\":{"
            "\"command\":{\"arguments\":[1,4,77]}}}}");
    assert_int_equal(s.service->event, SERVICE_SHOWN);
    assert_int_equal(s.service->noted_id, 77);
    say(&s, "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didPartiallyAcceptCompletion\",\"params\":{"
            "\"item\":{\"command\":{\"arguments\":[1,4,78]}},\"acceptedLength\":2}}");
    assert_int_equal(s.service->event, SERVICE_PARTLY_ACCEPTED);
    assert_int_equal(s.service->noted_id, 78);
    assert_int_equal(s.service->n_chars, 2);
    take_it(&s);
    assert_int_equal(s.service->event, SERVICE_ACCEPTED);
    assert_int_equal(s.service->noted_id, 77);
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"workspace/executeCommand\",\"params\":{"
            "\"command\":\"inline.accepted\",\"arguments\":[1,4]}}");
    assert_int_equal(s.service->noted_id, 0); /* as older clients have it */
    suggest(&s, 0);
    expect_said(&s, "\"arguments\":[2,4]}"); /* no journal */
    stop(&s);
}

static void test_session_that_ends(void **state)
{
    static const char *const endings[] = {
        "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didClose\",\"params\":{\"textDocument\":{"
        "\"uri\":\"file:///a.c\"}}}",
        "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"shutdown\"}"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct session s;
        start(&s);
        suggest(&s, 77);
        take_it(&s);
        assert_int_equal(s.service->n_kept + s.service->n_changed, 0);
        say(&s, endings[i]);
        assert_int_equal(s.service->n_kept, 1);
        assert_int_equal(s.service->n_changed, 0);
        stop(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_edits_elsewhere),
        cmocka_unit_test(test_edits_inside),
        cmocka_unit_test(test_undone_edits),
        cmocka_unit_test(test_only_what_stands_is_judged),
        cmocka_unit_test(test_offers_follow_edits),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_session_that_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
