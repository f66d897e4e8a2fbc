/* What a language server session tells of alerts: to the user once for each rule, then to the editor's log,
 * and in the status of a client that has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "serve/lsp.h"
#include "serve/lsp_frame.h"
#include "support/fake_service.h"
#include "watch/alerts.h"

#define SECOND 1000000000

struct session {
    struct service *service;
    struct metrics *metrics;
    struct alerts *alerts;
    struct lsp *lsp;
    struct buf out; /* what the session wrote */
    size_t read;    /* of it, by expect */
    int64_t now_s;
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

static void on_alert(void *ctx, const struct alert *alert)
{
    struct session *s = ctx;
    lsp_on_alert(s->lsp, alert);
}

static void say(struct session *s, const char *body)
{
    struct buf frame;
    buf_init(&frame, 1 << 20);
    lsp_frame_write(body, strlen(body), &frame);
    lsp_feed(s->lsp, frame.data, frame.len);
    buf_clear(&frame);
}

static void open_session(struct session *s)
{
    struct lsp_options o = {
        .service = s->service, .alerts = s->alerts, .write = on_write, .on_exit = on_exit_said, .ctx = s};
    s->lsp = lsp_new(&o);
}

static void start(struct session *s)
{
    struct alert_options o = {.rules = "memory=0.9/0,errors=0.05/0"};
    *s = (struct session){.service = fake_service_new(), .metrics = metrics_new()};
    buf_init(&s->out, 1 << 20);
    assert_int_equal(alerts_new(&o, s->metrics, &s->alerts, NULL), OK);
    alerts_on_change(s->alerts, on_alert, s);
    open_session(s);
}

static void stop(struct session *s)
{
    assert_int_equal(s->read, s->out.len); /* it said nothing that was not expected */
    lsp_free(&s->lsp);
    alerts_free(&s->alerts);
    metrics_free(&s->metrics);
    fake_service_free(&s->service);
    buf_clear(&s->out);
}

static void expect_begun(struct session *s)
{
    assert_non_null(strstr(buf_str(&s->out) + s->read, "\"serverInfo\""));
    s->read = s->out.len;
}

/* capabilities: of the client, in JSON. */
static void initialize(struct session *s, const char *capabilities)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"capabilities\":%s}}",
             capabilities);
    say(s, body);
    expect_begun(s);
    say(s, "{\"jsonrpc\":\"2.0\",\"method\":\"initialized\",\"params\":{}}");
}

static void expect(struct session *s, const char *body)
{
    size_t len = 0;
    int header = 0;
    if (s->read == s->out.len) fail_msg("nothing came; expected %s", body);
    const char *frame = s->out.data + s->read;
    assert_int_equal(sscanf(frame, "Content-Length: %zu\r\n\r\n%n", &len, &header), 1);
    if (len != strlen(body) || memcmp(frame + header, body, len) != 0)
        fail_msg("%.*s came; expected %s", (int)len, frame + header, body);
    s->read += (size_t)header + len;
}

static void expect_message(struct session *s, const char *method, int type, const char *text)
{
    char body[1024];
    snprintf(body, sizeof body,
             "{\"jsonrpc\":\"2.0\",\"method\":\"window/%s\",\"params\":{\"type\":%d,\"message\":\"%s\"}}",
             method, type, text);
    expect(s, body);
}

static void expect_status(struct session *s, const char *kind, const char *message)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"jsonrpc\":\"2.0\",\"method\":\"didChangeStatus\",\"params\":{\"kind\":\"%s\","
             "\"message\":\"%s\"}}",
             kind, message);
    expect(s, body);
}

static void expect_silence(struct session *s)
{
    if (s->read != s->out.len) fail_msg("it said %s", s->out.data + s->read);
}

static void look(struct session *s)
{
    s->now_s++;
    metrics_roll(s->metrics, s->now_s * SECOND);
    alerts_look(s->alerts, s->now_s * SECOND, s->now_s * 1000000);
}

static void use_memory(struct session *s, double share)
{
    metrics_set(s->metrics, METRIC_MEMORY_SHARE, 0, share);
    look(s);
}

#define MEMORY      "93 % of the memory is in use; the limit is 90 %"
#define MEMORY_TODO " (`inline status` tells what takes it; use a smaller model, or close other programs)"
#define ERRORS      "100 % of the requests of the last 15 minutes failed; the limit is 5 %"
#define ERRORS_TODO " (the daemon's log tells why; `inline explain` tells of a single request)"

static void test_shown_once(void **state)
{
    struct session s;
    (void)state;
    start(&s);
    initialize(&s, "{}");
    use_memory(&s, 0.93);
    expect_message(&s, "showMessage", 1, "Inline: " MEMORY MEMORY_TODO);
    use_memory(&s, 0.93);
    expect_silence(&s);
    use_memory(&s, 0.5);
    expect_message(&s, "logMessage", 3, "Inline: over: " MEMORY);
    use_memory(&s, 0.93);
    expect_message(&s, "logMessage", 1, "Inline: " MEMORY MEMORY_TODO);
    metrics_add(s.metrics, METRIC_ERRORS, METRIC_ERROR_MODEL, 20); /* another rule is news */
    look(&s);
    expect_message(&s, "showMessage", 2, "Inline: " ERRORS ERRORS_TODO);
    stop(&s);
}

static void test_status(void **state)
{
    struct session s;
    (void)state;
    start(&s);
    initialize(&s, "{\"experimental\":{\"didChangeStatus\":true}}");
    expect_silence(&s);
    metrics_add(s.metrics, METRIC_ERRORS, METRIC_ERROR_MODEL, 20);
    look(&s);
    expect_message(&s, "showMessage", 2, "Inline: " ERRORS ERRORS_TODO);
    expect_status(&s, "Warning", ERRORS);
    use_memory(&s, 0.93);
    expect_message(&s, "showMessage", 1, "Inline: " MEMORY MEMORY_TODO);
    expect_status(&s, "Error", MEMORY);
    use_memory(&s, 0.5);
    expect_message(&s, "logMessage", 3, "Inline: over: " MEMORY);
    expect_status(&s, "Warning", ERRORS); /* which fires still */
    metrics_add(s.metrics, METRIC_REQUESTS, METRIC_OUTCOME_OK, 2000);
    look(&s);
    expect_message(&s, "logMessage", 3, "Inline: over: " ERRORS);
    expect_status(&s, "Normal", "");
    stop(&s);
}

/* Before initialize and after shutdown nothing is said. */
static void test_phases(void **state)
{
    struct session s;
    (void)state;
    start(&s);
    use_memory(&s, 0.93);
    use_memory(&s, 0.5);
    expect_silence(&s);
    initialize(&s, "{}");
    expect_silence(&s);
    say(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"shutdown\"}");
    expect(&s, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":null}");
    use_memory(&s, 0.93);
    expect_silence(&s);
    stop(&s);
}

/* A session that begins while an alert fires disturbs nobody; when it fires anew, it is news. */
static void test_fires_already(void **state)
{
    struct session s;
    (void)state;
    start(&s);
    use_memory(&s, 0.93);
    initialize(&s, "{\"experimental\":{\"didChangeStatus\":true}}");
    expect_message(&s, "logMessage", 1, "Inline: " MEMORY MEMORY_TODO);
    expect_status(&s, "Error", MEMORY);
    use_memory(&s, 0.5);
    expect_message(&s, "logMessage", 3, "Inline: over: " MEMORY);
    expect_status(&s, "Normal", "");
    use_memory(&s, 0.93);
    expect_message(&s, "showMessage", 1, "Inline: " MEMORY MEMORY_TODO);
    expect_status(&s, "Error", MEMORY);
    stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shown_once),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_fires_already),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
