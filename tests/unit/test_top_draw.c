/* inline top's picture: it fits every terminal, says what was answered, and nothing in it can command the
 * terminal. The lines below it (canvas.c) and the figures (figures.c) are tested through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/answer.h"
#include "cli/canvas.h"
#include "cli/figures.h"
#include "cli/top_draw.h"

/* What a busy daemon answers, with a model whose name has Esc, a tab and C1's CSI in it. */
static const char STATUS[] =
    "{\"version\":\"1.2.3\",\"pid\":4711,\"uptime_s\":7260,\"running\":2,"
    "\"models\":[{\"name\":\"evil\\u001b[2J\\t\\u009b31m\\u202eend\",\"state\":\"ready\",\"role\":\"main\","
    "\"weight_bytes\":1500000000,\"resident_bytes\":1400000000,\"kv_bytes\":120000000}],"
    "\"memory\":{\"rss_bytes\":2000000000,\"max_bytes\":4000000000,"
    "\"parts\":{\"weights\":1400000000,\"kv\":120000000}},"
    "\"governor\":{\"own_share\":0.25,\"others_share\":0.125,\"memory_share\":0.5,"
    "\"orders\":{\"threads\":3,\"speed\":0.5}},"
    "\"alerts\":[{\"name\":\"a\",\"severity\":\"critical\",\"firing\":true,\"message\":\"too slow\"},"
    "{\"name\":\"b\",\"severity\":\"info\",\"firing\":false,\"message\":\"long ago\"}],"
    "\"figures\":{\"1m\":{},\"15m\":{"
    "\"inline_requests_total\":{\"ok\":{\"n\":1200,\"per_second\":1.5},\"bad\":{\"n\":34,\"per_second\":0.5}}"
    ","
    "\"inline_errors_total\":{\"request\":{\"n\":34}},"
    "\"inline_request_seconds\":{\"cached\":{\"n\":900,\"mean\":0.0004,\"p50\":0.0003,\"p95\":0.0011,"
    "\"p99\":0.0042},\"computed\":{\"n\":300,\"mean\":0.7,\"p50\":0.65,\"p95\":1.25,\"p99\":2.5}},"
    "\"inline_stage_seconds\":{\"queue\":{\"n\":300,\"mean\":0.01},\"prefill\":{\"n\":300,\"mean\":0.09},"
    "\"decode\":{\"n\":300,\"mean\":0.3}},"
    "\"inline_cache_hits_total\":{\"memory\":{\"n\":600},\"disk\":{\"n\":300}},"
    "\"inline_cache_misses_total\":{\"new\":{\"n\":300}},"
    "\"inline_prompt_tokens_total\":{\"reused\":{\"n\":9000},\"computed\":{\"n\":1000}},"
    "\"inline_drafted_tokens_total\":{\"\":{\"n\":50}},\"inline_accepted_tokens_total\":{\"\":{\"n\":40}},"
    "\"inline_cpu_share\":{\"own\":0.25,\"others\":0.125},"
    "\"inline_suggestions_total\":{\"shown\":{\"n\":90},\"accepted\":{\"n\":30}}}}}";

#define REQUESTS 30

struct world {
    struct json_value *status, *requests, *story;
    struct top_view view;
    struct buf out;
};

static struct json_value *parsed(const char *text)
{
    struct json_value *v = NULL;
    struct errmsg msg = {0};
    assert_int_equal(json_read(text, strlen(text), &v, &msg), OK);
    return v;
}

static int set_up(void **state)
{
    struct world *w = mem_new(sizeof *w);
    struct buf b;
    buf_init(&b, 1 << 16);
    for (int i = 0; i < REQUESTS; i++) {
        buf_printf(&b, "%s{\"id\":%d,\"at_ms\":1700000000000,\"total_ms\":%d.5,\"outcome\":\"%s\",",
                   i ? "," : "[", REQUESTS - i, 10 + i, i % 3 == 1 ? "superseded" : "ok");
        buf_printf(&b, "\"source\":\"%s\",\"quiet\":\"%s\",\"api\":\"lsp\",\"fate\":\"accepted\"}",
                   i % 3 == 2 ? "disk" : "", i == 3 ? "unsure" : "");
    }
    buf_add_char(&b, ']');
    w->status = parsed(STATUS);
    w->requests = parsed(buf_str(&b));
    w->story = parsed(
        "{\"id\":7,\"at_ms\":1700000000000,\"model\":\"m\",\"story\":[\"It waited for 3 ms, because "
        "another request was computed, and then took a while.\",\"Nothing \\u001b]0;x\\u0007 shown.\"]}");
    w->view = (struct top_view){.status = w->status,
                                .requests = w->requests,
                                .story = w->story,
                                .window = "15m",
                                .is_live = true,
                                .columns = 80,
                                .rows = 24,
                                .has_colour = true,
                                .is_utf8 = true};
    for (int i = 0; i < 100; i++) w->view.latency_ms.values[w->view.latency_ms.n++] = (float)(i % 10);
    buf_clear(&b);
    buf_init(&w->out, 1 << 20);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    json_read_free(&w->status);
    json_read_free(&w->requests);
    json_read_free(&w->story);
    buf_clear(&w->out);
    mem_free(w);
    return 0;
}

/* What a terminal of w->view's size then shows, as lines; fails where it would scroll or wrap. Only the
 * control sequences that drawing needs are known, others fail. */
static const char *shown(struct world *w)
{
    static char text[1 << 16];
    size_t n = 0;
    int32_t column = 0, row = 0;
    buf_reset(&w->out);
    top_draw(&w->view, &w->out);
    assert_int_equal(w->out.err, OK);
    for (const char *s = buf_str(&w->out), *end = s + w->out.len; s < end;) {
        int32_t code;
        size_t len = utf8_decode(s, (size_t)(end - s), &code);
        if (code == 0x1b) {
            assert_int_equal(s[1], '[');
            len = 2 + strspn(s + 2, "0123456789;");
            assert_non_null(strchr("HKJm", s[len]));
            assert_true(w->view.has_colour || s[len] != 'm');
            len++;
        } else if (code == '\r' || code == '\n') {
            column = 0;
            row += code == '\n';
            if (code == '\n') text[n++] = '\n';
        } else {
            assert_true(code >= 0x20 && code != 0x7f && !(code >= 0x80 && code < 0xa0) && code != 0x202e);
            assert_true(w->view.is_utf8 || code < 0x80);
            column++;
            memcpy(text + n, s, len);
            n += len;
        }
        assert_true(column <= w->view.columns);
        assert_true(!w->view.is_live || row < w->view.rows);
        s += len;
    }
    text[n] = 0;
    return text;
}

static void says(const char *text, const char *what)
{
    if (!strstr(text, what)) fail_msg("no \"%s\" in:\n%s", what, text);
}

static void test_figures(void **state)
{
    struct world *w = *state;
    w->view.is_live = false; /* all of it */
    w->view.rows = 0;
    w->view.columns = 120;
    w->view.has_colour = false;
    const char *text = shown(w);
    says(text, "inline 1.2.3  process 4711, up 2 h 1 min, 2 running");
    says(text, "critical  too slow");
    assert_null(strstr(text, "long ago"));
    says(text, "requests   1,234  2.00/s  errors 34 (2.8 %)");
    says(text, "cached     p50 0.30 ms  p95 1.1 ms   p99 4.2 ms     target p50 <= 100 ms met");
    says(text, "computed   p50 650 ms   p95 1.2 s    p99 2.5 s      target p50 <= 500 ms missed");
    says(text, "  decode          300 ms");
    says(text, "75 %");
    says(text, "target >= 80 % missed");
    says(text, "found      memory 600 (67 %), disk 300 (33 %)");
    says(text, "prompts    reused 9,000 (90 %), computed 1,000 (10 %)");
    says(text, "drafts     50 tokens, 80 % accepted");
    says(text, "memory     2.0 GB of 4.0 GB");
    says(text, "weights 1.4 GB  kv 120 MB");
    says(text, "own 25 %, others 12 %, 3 threads, 50 % of full speed  target <= 30 % met");
    says(text, "models     evil?[2J??31m?end ready main  weights 1.4 GB, KV 120 MB");
    says(text, "superseded");
    says(text, "found: disk, accepted");
    says(text, "nothing shown: unsure");
    assert_null(strstr(text, "q leave"));
}

/* Sizes from a phone's to a wall's; nothing is wrapped, nothing scrolls (shown checks), and what matters most
 * stays. */
static void test_sizes(void **state)
{
    static const int32_t columns[] = {1, 2, 10, 20, 39, 40, 79, 80, 132, 300};
    static const int32_t rows[] = {1, 2, 5, 10, 24, 50, 100};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            w->view.columns = columns[i];
            w->view.rows = rows[k];
            const char *text = shown(w);
            if (columns[i] >= 40 && rows[k] >= 5) says(text, "critical  too slow");
            if (columns[i] >= 40 && rows[k] >= 10) says(text, "computed   p50 650 ms");
            w->view.page = TOP_STORY;
            shown(w);
            w->view.page = TOP_HELP;
            shown(w);
            w->view.page = TOP_OVERVIEW;
        }
    }
}

static void test_usual_size(void **state)
{
    struct world *w = *state;
    w->view.selected = 1; /* the last of the list */
    const char *text = shown(w);
    const char *wanted[] = {"inline 1.2.3", "critical", "requests ",  "cached ", "computed ", "hit rate",
                            "memory ",      "models",   "processors", "last ",   "> ",        "q leave"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) says(text, wanted[i]);
}

static void test_plain(void **state)
{
    struct world *w = *state;
    w->view.has_colour = false;
    w->view.is_utf8 = false;
    shown(w);
}

static void test_away(void **state)
{
    struct world *w = *state;
    w->view.away = "no daemon answers";
    w->view.away_s = 12;
    says(shown(w), "no daemon for 12 s, trying again; no daemon answers");
    says(shown(w), "computed "); /* what was known last stays */
    w->view.status = NULL;
    w->view.requests = NULL;
    says(shown(w), "no daemon for 12 s");
}

static void test_story(void **state)
{
    struct world *w = *state;
    w->view.page = TOP_STORY;
    w->view.columns = 40;
    const char *text = shown(w);
    says(text, "request 7");
    says(text,
         "\n  It waited for 3 ms, because another\n  request was computed, and then took a\n  while.\n");
    says(text, "\n  Nothing ?]0;x? shown.\n");
    says(text, "Esc back");
}

/* An answer of another version, or of something that is no daemon at all. */
static void test_strange_answers(void **state)
{
    static const char *const answers[] = {
        "{}",
        "[]",
        "7",
        "{\"figures\":7,\"models\":{},\"alerts\":[7,null]}",
        "{\"figures\":{\"15m\":{\"inline_request_seconds\":{\"cached\":7,\"computed\":{\"p50\":\"x\"}}}}}",
        "{\"figures\":{\"15m\":{\"inline_requests_total\":{\"ok\":{\"n\":-5,\"per_second\":1e300}}}}}",
        "{\"figures\":{\"15m\":{\"inline_stage_seconds\":{\"queue\":{\"n\":1e300,\"mean\":1e300}}}}}",
        "{\"uptime_s\":1e300,\"memory\":{\"rss_bytes\":-1,\"max_bytes\":1,\"parts\":[1]},\"governor\":[]}"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        json_read_free(&w->status);
        w->view.status = w->status = parsed(answers[i]);
        w->view.requests = json_get(w->status, "figures");
        shown(w);
    }
}

static void test_canvas_ranks(void **state)
{
    (void)state;
    struct canvas c;
    struct buf out;
    canvas_init(&c, 20, 3, false, false);
    buf_init(&out, 1 << 16);
    for (int i = 0; i < 5; i++) {
        canvas_line(&c, i == 1 ? 2 : i > 2 ? 1 : 0);
        canvas_put(&c, CANVAS_PLAIN, "%c", 'a' + i);
    }
    assert_int_equal(canvas_n(&c), 3);
    canvas_write(&c, false, &out); /* b of rank 2 goes, then e, the last of rank 1 */
    assert_string_equal(buf_str(&out), "a\nc\nd\n");
    buf_clear(&out);
    canvas_clear(&c);
}

static void test_canvas_shapes(void **state)
{
    (void)state;
    static const float values[] = {0, 1, 2, 4, 8};
    struct canvas c;
    struct buf out;
    buf_init(&out, 1 << 16);
    canvas_init(&c, 20, 0, false, false);
    canvas_line(&c, 0);
    canvas_spark(&c, values, 5, 4);
    canvas_line(&c, 0);
    canvas_put(&c, CANVAS_PLAIN, "|");
    canvas_bar(&c, CANVAS_PLAIN, 0.5, 4);
    canvas_put(&c, CANVAS_PLAIN, "|");
    canvas_write(&c, false, &out);
    assert_string_equal(buf_str(&out), ".:=#\n|##  |\n");
    buf_clear(&out);
    canvas_clear(&c);
}

static void test_figure_texts(void **state)
{
    (void)state;
    char text[FIGURES_TEXT_MAX];
    assert_string_equal(figures_text(0.00042, "seconds", text), "0.42 ms");
    assert_string_equal(figures_text(0.0042, "seconds", text), "4.2 ms");
    assert_string_equal(figures_text(0.42, "seconds", text), "420 ms");
    assert_string_equal(figures_text(0.9996, "seconds", text), "1.0 s");
    assert_string_equal(figures_text(42, "seconds", text), "42.0 s");
    assert_string_equal(figures_text(0.034, "ratio", text), "3.4 %");
    assert_string_equal(figures_text(1, "ratio", text), "100 %");
    assert_string_equal(figures_text(1600000000, "bytes", text), "1.6 GB");
    assert_string_equal(figures_text(1234567, "tokens", text), "1,234,567 tokens");
    assert_string_equal(figures_text(0, "tokens", text), "0 tokens");
    assert_string_equal(figures_count(999, text), "999");
    assert_string_equal(figures_count(-1000, text), "-1,000");
}

static void test_safe_text(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    assert_int_equal(answer_add_safe(&out, "a\x1b[1m\n\xc3\xa9\xcc\x81\xe4\xbd\xa0\xff", 100, true), 10);
    assert_string_equal(buf_str(&out), "a?[1m?\xc3\xa9???");
    buf_reset(&out);
    assert_int_equal(answer_add_safe(&out, "\xc3\xa9 abc", 3, false), 3);
    assert_string_equal(buf_str(&out), "? a");
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_figures, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_usual_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_story, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_strange_answers, set_up, tear_down),
        cmocka_unit_test(test_canvas_ranks),
        cmocka_unit_test(test_canvas_shapes),
        cmocka_unit_test(test_figure_texts),
        cmocka_unit_test(test_safe_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
