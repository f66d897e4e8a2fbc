/* What `inline status` says about what was measured, and that it survives any answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "cli/status_figures.h"
#include "watch/metric_table.h"

/* What a section says about an answer. */
static const char *said(void (*section)(const struct json_value *status, struct buf *out), const char *answer)
{
    static char text[1 << 16];
    struct json_value *status = NULL;
    struct errmsg msg = {0};
    struct buf out;
    assert_int_equal(json_read(answer, strlen(answer), &status, &msg), OK);
    buf_init(&out, sizeof text - 1);
    section(status, &out);
    assert_int_equal(out.err, OK);
    memcpy(text, buf_str(&out), out.len + 1);
    buf_clear(&out);
    json_read_free(&status);
    return text;
}

static void test_alerts(void **state)
{
    (void)state;
    assert_string_equal(said(status_add_alerts, "{\"alerts\":[]}"), "");
    assert_string_equal(said(status_add_alerts, "{\"alerts\":[{\"firing\":false,\"message\":\"old\"}]}"), "");
    assert_string_equal(
        said(status_add_alerts,
             "{\"alerts\":[{\"firing\":true,\"severity\":\"critical\",\"message\":\"memory \\u001b[1m is "
             "short\","
             "\"todo\":\"see limits\"},{\"firing\":false,\"message\":\"old\"},{\"firing\":true,"
             "\"severity\":\"info\",\"message\":\"hits are few\"}]}"),
        "\nalerts\n  critical  memory ?[1m is short; see limits\n  info      hits are few\n");
}

static void test_nothing_asked(void **state)
{
    (void)state;
    assert_string_equal(said(status_add_figures, "{\"figures\":{\"15m\":{}}}"),
                        "\nlast quarter of an hour\n  nothing was asked\n");
    assert_string_equal(said(status_add_figures, "{}"), ""); /* a daemon that measures nothing */
}

static void test_figures(void **state)
{
    (void)state;
    assert_string_equal(
        said(status_add_figures,
             "{\"figures\":{\"15m\":{\"inline_requests_total\":{\"ok\":{\"n\":1000},\"bad\":{\"n\":1}},"
             "\"inline_errors_total\":{\"request\":{\"n\":1}},"
             "\"inline_request_seconds\":{\"cached\":{\"n\":750,\"p50\":0.0002,\"p95\":0.001,\"p99\":0.003}},"
             "\"inline_stage_seconds\":{\"queue\":{\"n\":2,\"mean\":1},\"decode\":{\"n\":1,\"mean\":6}},"
             "\"inline_cache_hits_total\":{\"disk\":{\"n\":900}},\"inline_cache_misses_total\":{\"new\":{"
             "\"n\":100}},"
             "\"inline_drafted_tokens_total\":{\"\":{\"n\":8}},\"inline_accepted_tokens_total\":{\"\":{\"n\":"
             "2}},"
             "\"inline_suggestions_total\":{\"shown\":{\"n\":3},\"accepted\":{\"n\":1}}}}}"),
        "\nlast quarter of an hour\n"
        "  requests  1,001, errors 1 (0.1 %); target at most 5.0 %: met\n"
        "  cached    750: p50 0.20 ms, p95 1.0 ms; target p50 at most 100 ms: met; target p99 at most 2.0 "
        "ms: "
        "missed\n"
        "  time      queue 25 %, decode 75 %\n"
        "  hit rate  90 %; target at least 80 %: met\n"
        "  found     disk 900 (100 %)\n"
        "  missed    new 100 (100 %)\n"
        "  drafts    8 tokens, 25 % of them accepted\n"
        "  editors   shown 3, accepted 1 (33 %)\n");
}

/* Every row of the table has its line and its help, also while nothing was recorded. */
static void test_metrics(void **state)
{
    (void)state;
    const char *text = said(status_add_metrics, "{\"figures\":{\"all\":{\"inline_models_loaded\":{\"\":3},"
                                                "\"inline_cpu_share\":{\"own\":0.5}}}}");
    const char *at = text;
    for (int i = 0; i < METRIC_N; i++) {
        at = strstr(at, metric_table[i].name);
        assert_non_null(at);
        at = strstr(at, metric_table[i].help);
        assert_non_null(at);
    }
    assert_non_null(strstr(text, " 3 models\n"));
    assert_non_null(strstr(text, "\n  whose=own   "));
    assert_non_null(strstr(text, " 50 %\n"));
    assert_non_null(strstr(text, " 0 models\n")); /* unloaded: none yet */
}

static void test_strange_answers(void **state)
{
    static const char *const answers[] = {
        "7", "[]", "{\"alerts\":7,\"figures\":{\"15m\":7,\"all\":[]}}",
        "{\"alerts\":[7,{\"firing\":true}],\"figures\":{\"15m\":{\"inline_requests_total\":{\"ok\":{\"n\":1}}"
        "}}}",
        "{\"figures\":{\"all\":{\"inline_requests_total\":[1],\"inline_models_loaded\":{\"x\":[]}}}}"};
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        said(status_add_alerts, answers[i]);
        said(status_add_figures, answers[i]);
        said(status_add_metrics, answers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alerts),          cmocka_unit_test(test_nothing_asked),
        cmocka_unit_test(test_figures),         cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_strange_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
