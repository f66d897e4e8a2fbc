/* Telling alerts by a command and by a webhook: what they get, in which order, and that failures are tried
 * again. The webhook's server lives in the same loop as what is tested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"
#include "serve/alert_tell.h"
#include "watch/alerts.h"

#define BODIES_MAX 32
#define WAIT_S     10

struct world {
    uv_loop_t loop;
    uv_tcp_t server;
    int port;
    const int *statuses; /* that the server answers, one after another; the last again and again */
    bool is_silent;      /* it answers nothing */
    int n_posts;
    char *heads[BODIES_MAX], *bodies[BODIES_MAX]; /* owned */
    char folder[64], out[96];                     /* the command writes to `out` */
    struct alert_tell *tell;
};

static const int always_204[] = {204, 0};

/* --- The server --------------------------------------------------------------------------------------- */

struct client {
    uv_tcp_t tcp;
    uv_write_t write;
    struct world *world;
    char bytes[16384], answer[256];
    size_t len;
};

static void on_client_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_written(uv_write_t *write, int status)
{
    struct client *c = write->data;
    (void)status;
    uv_close((uv_handle_t *)&c->tcp, on_client_closed);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->bytes + c->len, (unsigned)(sizeof c->bytes - 1 - c->len));
}

/* One request by connection, whose Content-Length says where it ends. */
static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    struct world *w = c->world;
    (void)buf;
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_client_closed);
        return;
    }
    c->len += (size_t)n;
    c->bytes[c->len] = '\0';
    const char *length = strstr(c->bytes, "Content-Length: ");
    char *body = strstr(c->bytes, "\r\n\r\n");
    if (!length || !body || strlen(body + 4) < strtoul(length + 16, NULL, 10)) return;
    uv_read_stop(stream);
    assert_true(w->n_posts < BODIES_MAX);
    *body = '\0';
    w->heads[w->n_posts] = strdup(c->bytes);
    w->bodies[w->n_posts++] = strdup(body + 4);
    if (w->is_silent) return; /* the test's end closes it */
    int status = *w->statuses;
    if (w->statuses[1]) w->statuses++;
    snprintf(c->answer, sizeof c->answer,
             "HTTP/1.1 %d Text\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nConnection: close\r\n"
             "Content-Length: 0\r\n\r\n",
             status, w->port);
    uv_buf_t out = uv_buf_init(c->answer, (unsigned)strlen(c->answer));
    c->write.data = c;
    uv_write(&c->write, stream, &out, 1, on_written);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct client *c = calloc(1, sizeof *c);
    assert_true(status == 0 && c);
    c->world = server->data;
    uv_tcp_init(server->loop, &c->tcp);
    c->tcp.data = c;
    assert_int_equal(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
    uv_read_start((uv_stream_t *)&c->tcp, give_room, on_bytes);
}

/* --- The world ---------------------------------------------------------------------------------------- */

static void open_world(struct world *w)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    *w = (struct world){.statuses = always_204, .folder = "/tmp/test_alert_tell.XXXXXX"};
    assert_non_null(mkdtemp(w->folder));
    snprintf(w->out, sizeof w->out, "%s/out", w->folder);
    assert_int_equal(setenv("OUT", w->out, 1), 0);
    uv_loop_init(&w->loop);
    uv_tcp_init(&w->loop, &w->server);
    w->server.data = w;
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&address);
    uv_tcp_bind(&w->server, (struct sockaddr *)&address, 0);
    assert_int_equal(uv_listen((uv_stream_t *)&w->server, 16, on_connection), 0);
    uv_tcp_getsockname(&w->server, (struct sockaddr *)&address, &len);
    w->port = ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static void start(struct world *w, const char *command, bool with_webhook)
{
    char url[96] = "";
    struct errmsg msg = {0};
    if (with_webhook) snprintf(url, sizeof url, "http://127.0.0.1:%d/hook?token=secret", w->port);
    if (alert_tell_new(&w->loop, command, url, &w->tell, &msg)) fail_msg("%s", msg.text);
}

static void close_rest(uv_handle_t *handle, void *ctx)
{
    struct world *w = ctx;
    if (uv_is_closing(handle)) return;
    uv_close(handle, handle == (uv_handle_t *)&w->server ? NULL : on_client_closed);
}

static void close_world(struct world *w)
{
    alert_tell_free(&w->tell);
    assert_null(w->tell);
    uv_walk(&w->loop, close_rest, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* nothing is left */
    for (int i = 0; i < w->n_posts; i++) {
        free(w->heads[i]);
        free(w->bodies[i]);
    }
    unlink(w->out);
    assert_int_equal(rmdir(w->folder), 0);
}

static void on_alarm(uv_timer_t *timer)
{
    (void)timer;
}

/* Turn the loop until the condition holds; false: it did not in time. */
static bool turn_until(struct world *w, bool (*holds)(struct world *w, int n), int n, double seconds)
{
    uv_timer_t alarm;
    int64_t end = clock_ns() + (int64_t)(seconds * 1e9);
    uv_timer_init(&w->loop, &alarm);
    uv_timer_start(&alarm, on_alarm, 5, 5);
    while (!holds(w, n) && clock_ns() < end) uv_run(&w->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&alarm, NULL);
    uv_run(&w->loop, UV_RUN_NOWAIT);
    return holds(w, n);
}

static bool has_posts(struct world *w, int n)
{
    return w->n_posts >= n;
}

static bool never(struct world *w, int n)
{
    (void)w, (void)n;
    return false;
}

/* What the command has written; "" if nothing. The caller frees. */
static char *written(const struct world *w)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    FILE *f = fopen(w->out, "r");
    for (int c; f && (c = fgetc(f)) != EOF;) buf_add_char(&out, (char)c);
    if (f) fclose(f);
    return buf_take(&out);
}

static bool has_lines(struct world *w, int n)
{
    char *text = written(w);
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    mem_free(text);
    return lines >= n;
}

static struct alert make_alert(const char *rule, bool is_firing, const char *message)
{
    struct alert alert = {.is_firing = is_firing,
                          .value = 1.25,
                          .threshold = 1,
                          .since_us = 1790000000000000,
                          .until_us = is_firing ? 0 : 1790000060000000};
    for (int32_t i = 0; i < alert_n_rules; i++) {
        if (strcmp(alert_rules[i].name, rule) == 0) alert.rule = &alert_rules[i];
    }
    assert_non_null(alert.rule);
    snprintf(alert.message, sizeof alert.message, "%s", message);
    return alert;
}

static void tell(struct world *w, const char *rule, bool is_firing, const char *message)
{
    struct alert_rule own;
    struct alert alert = make_alert(rule, is_firing, message);
    own = *alert.rule;
    alert.rule = &own;
    alert_tell(w->tell, &alert);
    memset(&own, 0xee, sizeof own); /* the rule is the alerts', and may be gone before all is told */
}

/* --- The command -------------------------------------------------------------------------------------- */

static void test_command(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    assert_int_equal(setenv("INLINE_ALERT_STATE", "stale", 1), 0);
    start(&w,
          "echo \"$INLINE_ALERT|$INLINE_ALERT_STATE|$INLINE_ALERT_SEVERITY|$INLINE_ALERT_MESSAGE|"
          "$INLINE_ALERT_VALUE|$INLINE_ALERT_TODO\" >> $OUT",
          false);
    tell(&w, "memory", true, "93 % of the $(touch /nowhere) \"memory\" `is` in use");
    tell(&w, "memory", false, "93 %");
    assert_true(turn_until(&w, has_lines, 2, WAIT_S));
    char *text = written(&w), expected[1024];
    const char *todo = make_alert("memory", true, "").rule->todo;
    snprintf(expected, sizeof expected,
             "memory|firing|critical|93 %% of the $(touch /nowhere) \"memory\" `is` in use|1.250|%s\n"
             "memory|resolved|critical|93 %%|1.250|%s\n",
             todo, todo);
    assert_string_equal(text, expected);
    mem_free(text);
    unsetenv("INLINE_ALERT_STATE");
    close_world(&w);
}

/* It fails once: it is run again after a second, and what comes later waits for it. */
static void test_command_again(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    start(&w, "echo $INLINE_ALERT >> $OUT; test $(grep -c memory $OUT) -ge 2", false);
    int64_t begun = clock_ns();
    tell(&w, "memory", true, "first");
    tell(&w, "errors", true, "second");
    assert_true(turn_until(&w, has_lines, 3, WAIT_S));
    assert_in_range((clock_ns() - begun) / 1000000, 1000, 4000);
    char *text = written(&w);
    assert_string_equal(text, "memory\nmemory\nerrors\n");
    mem_free(text);
    close_world(&w);
}

/* Neither who tells nor who leaves waits for a command; with it ends what it has started. */
static void test_command_slow(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    start(&w, "sleep 60 & echo $! >> $OUT; wait", false);
    int64_t begun = clock_ns();
    tell(&w, "memory", true, "first");
    assert_true(clock_ns() - begun < 500000000);
    assert_true(turn_until(&w, has_lines, 1, WAIT_S));
    char *text = written(&w);
    pid_t sleeper = (pid_t)strtol(text, NULL, 10);
    mem_free(text);
    assert_true(sleeper > 1 && kill(sleeper, 0) == 0);
    begun = clock_ns();
    close_world(&w);
    assert_true(clock_ns() - begun < 5000000000);
    bool is_gone = false;
    for (int i = 0; i < 500 && !is_gone; i++) { /* gone, or a zombie that nobody has waited for */
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)sleeper);
        FILE *f = fopen(path, "r");
        is_gone = !f || !fgets(line, sizeof line, f) || strstr(line, ") Z");
        if (f) fclose(f);
        usleep(10000);
    }
    assert_true(is_gone);
}

/* --- The webhook -------------------------------------------------------------------------------------- */

static const char *member(json_object *o, const char *key)
{
    json_object *value = NULL;
    assert_true(json_object_object_get_ex(o, key, &value));
    return json_object_get_string(value);
}

static void test_webhook(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    start(&w, "", true);
    tell(&w, "memory", true, "93 % of the \"memory\"");
    tell(&w, "memory", false, "93 %");
    assert_true(turn_until(&w, has_posts, 2, WAIT_S));
    assert_int_equal(strncmp(w.heads[0], "POST /hook?token=secret HTTP/1.1\r\n", 34), 0);
    assert_non_null(strstr(w.heads[0], "Content-Type: application/json\r\n"));
    assert_non_null(strstr(w.heads[0], "User-Agent: inline/"));
    assert_null(strstr(w.heads[0], "Expect:"));
    json_object *o = json_tokener_parse(w.bodies[0]);
    assert_string_equal(member(o, "name"), "memory");
    assert_string_equal(member(o, "state"), "firing");
    assert_string_equal(member(o, "severity"), "critical");
    assert_string_equal(member(o, "message"), "93 % of the \"memory\"");
    assert_string_equal(member(o, "value"), "1.250");
    assert_string_equal(member(o, "since_ms"), "1790000000000");
    assert_string_equal(member(o, "until_ms"), "0");
    assert_int_equal(strncmp(member(o, "text"), "Inline, critical: 93 % of the \"memory\" (`inline", 47), 0);
    json_object_put(o);
    o = json_tokener_parse(w.bodies[1]);
    assert_string_equal(member(o, "state"), "resolved");
    assert_string_equal(member(o, "until_ms"), "1790000060000");
    assert_string_equal(member(o, "text"), "Inline, critical, over: 93 %");
    json_object_put(o);
    close_world(&w);
}

/* An error and a redirect, which is not followed, are no success. The order stays. */
static void test_webhook_again(void **state)
{
    static const int fails_once[] = {503, 204, 302, 204, 0};
    struct world w;
    (void)state;
    open_world(&w);
    w.statuses = fails_once;
    start(&w, "", true);
    tell(&w, "memory", true, "first");
    tell(&w, "errors", true, "second");
    assert_true(turn_until(&w, has_posts, 4, WAIT_S));
    assert_false(turn_until(&w, has_posts, 5, 0.2));
    for (int i = 0; i < 4; i++) {
        assert_non_null(strstr(w.bodies[i], i < 2 ? "first" : "second"));
        assert_non_null(strstr(w.heads[i], "POST /hook?token=secret"));
    }
    close_world(&w);
}

/* While the server is silent the loop runs on, what is told waits, and what is too much is forgotten: all but
 * the alert under way and the newest 15. The end does not wait for the server. */
static void test_webhook_silent(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    w.is_silent = true;
    start(&w, "echo $INLINE_ALERT_MESSAGE >> $OUT", true);
    log_set_level(LOG_ERROR);
    int64_t begun = clock_ns();
    for (int i = 0; i < 40; i++) {
        char message[16];
        snprintf(message, sizeof message, "number %d", i);
        tell(&w, "memory", true, message);
    }
    log_set_level(LOG_WARN);
    assert_true(clock_ns() - begun < 1000000000);
    assert_true(turn_until(&w, has_posts, 1, WAIT_S));
    assert_true(turn_until(&w, has_lines, 16, WAIT_S)); /* the command is not held up by the webhook */
    assert_false(turn_until(&w, has_lines, 17, 0.2));
    char *text = written(&w);
    assert_int_equal(strncmp(text, "number 0\nnumber 25\n", 19), 0);
    assert_non_null(strstr(text, "number 39\n"));
    mem_free(text);
    assert_int_equal(w.n_posts, 1);
    begun = clock_ns();
    close_world(&w);
    assert_true(clock_ns() - begun < 5000000000);
}

/* --- Faults ------------------------------------------------------------------------------------------- */

static void test_bad_urls(void **state)
{
    static const char *const urls[] = {"ftp://example.org/secret",    "file:///etc/passwd",
                                       "example.org/secret",          "https://",

                                       "gopher://example.org/secret", "secret"};
    struct world w;
    (void)state;
    open_world(&w);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct errmsg msg = {0};
        assert_int_equal(alert_tell_new(&w.loop, "", urls[i], &w.tell, &msg), ERR_ARG);
        assert_null(w.tell);
        assert_string_equal(msg.text, "alerts.webhook: not a URL that begins with https:// or http://");
    }
    close_world(&w);
}

/* What a webhook's failures leave in the log names its host and nothing else of it. */
static void test_secret(void **state)
{
    static const int fails[] = {500, 0};
    struct world w;
    char log[4096] = "";
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    (void)state;
    open_world(&w);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_set_level(LOG_DEBUG);
    w.statuses = fails;
    start(&w, "", true);
    tell(&w, "memory", true, "first");
    bool was_posted = turn_until(&w, has_posts, 1, WAIT_S);
    (void)turn_until(&w, never, 0, 0.3);
    alert_tell_free(&w.tell);
    uv_close((uv_handle_t *)&w.server, NULL); /* and now nobody answers at all */
    uv_run(&w.loop, UV_RUN_DEFAULT);
    start(&w, "", true);
    tell(&w, "memory", true, "second");
    (void)turn_until(&w, never, 0, 0.3);
    alert_tell_free(&w.tell);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    dup2(saved, STDERR_FILENO);
    log_set_level(LOG_WARN);
    assert_true(read(pipe_fds[0], log, sizeof log - 1) > 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(saved);
    assert_true(was_posted);
    assert_non_null(strstr(log, "alerts.webhook: 127.0.0.1 answered 500; trying again in 1 s\n"));
    assert_non_null(strstr(log, "alerts.webhook: 127.0.0.1: "));
    assert_null(strstr(log, "secret"));
    assert_null(strstr(log, "hook?"));
    close_world(&w);
}

static void test_nothing_configured(void **state)
{
    struct world w;
    (void)state;
    open_world(&w);
    start(&w, "", false);
    tell(&w, "memory", true, "first");
    assert_false(turn_until(&w, has_posts, 1, 0.1));
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_command_again),
        cmocka_unit_test(test_command_slow),
        cmocka_unit_test(test_webhook),
        cmocka_unit_test(test_webhook_again),
        cmocka_unit_test(test_webhook_silent),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_nothing_configured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
