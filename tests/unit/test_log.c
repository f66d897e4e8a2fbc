/* Log lines: what they look like, that they are always one line and, as JSON, always valid. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define CAPTURE_MAX (1 << 20)

/* What is written to stderr, in a file. */
struct capture {
    int saved_fd, fd;
    char text[CAPTURE_MAX];
};

static void capture_begin(struct capture *c)
{
    char path[] = "/tmp/test_log.XXXXXX";
    fflush(stderr);
    c->fd = mkstemp(path);
    assert_true(c->fd >= 0);
    unlink(path);
    assert_int_equal(fcntl(c->fd, F_SETFL, O_APPEND), 0);
    c->saved_fd = dup(STDERR_FILENO);
    dup2(c->fd, STDERR_FILENO);
}

static const char *capture_end(struct capture *c)
{
    dup2(c->saved_fd, STDERR_FILENO);
    close(c->saved_fd);
    ssize_t n = pread(c->fd, c->text, CAPTURE_MAX - 1, 0);
    assert_true(n >= 0);
    c->text[n] = '\0';
    close(c->fd);
    return c->text;
}

static int setup(void **state)
{
    log_set_level(LOG_DEBUG);
    log_set_format(LOG_TEXT);
    *state = calloc(1, sizeof(struct capture));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    log_set_format(LOG_TEXT);
    log_set_level(LOG_WARN);
    return 0;
}

static const char *member(json_object *o, const char *key)
{
    json_object *value = NULL;
    return json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : NULL;
}

/* The one line of `text`, parsed by somebody else's parser. */
static json_object *parse_line(const char *text)
{
    size_t len = strlen(text);
    assert_true(len > 0);
    assert_ptr_equal(strchr(text, '\n'), text + len - 1);
    struct json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    json_object *o = json_tokener_parse_ex(tokener, text, (int)len);
    assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
    json_tokener_free(tokener);
    return o;
}

static void test_text(void **state)
{
    struct capture *c = *state;
    capture_begin(c);
    log_line(LOG_WARN, "the %s, %d times", "message", 3);
    log_line(LOG_INFO, "two\nlines\x1b[31m and \xc2\x85 more");
    assert_string_equal(capture_end(c), "inline: warning: the message, 3 times\n"
                                        "inline: info: two?lines?[31m and ?? more\n");
}

static void test_level(void **state)
{
    struct capture *c = *state;
    struct log_field field = {.key = "a", .kind = LOG_INT, .integer = 1};
    log_set_level(LOG_WARN);
    capture_begin(c);
    log_line(LOG_INFO, "not wanted");
    log_event(LOG_DEBUG, "neither", &field, 1);
    log_line(LOG_ERROR, "wanted");
    assert_string_equal(capture_end(c), "inline: error: wanted\n");
}

static void test_event_text(void **state)
{
    struct capture *c = *state;
    struct log_field fields[] = {
        {.key = "id", .kind = LOG_INT, .integer = 17},
        {.key = "outcome", .kind = LOG_STR, .str = "ok"},
        {.key = "total_ms", .kind = LOG_NUM, .number = 4.2},
        {.key = "why", .kind = LOG_STR, .str = "a \"quoted\" word"},
        {.key = "none", .kind = LOG_STR},
    };
    capture_begin(c);
    log_event(LOG_INFO, "request", fields, 5);
    assert_string_equal(capture_end(c), "inline: info: request id=17 outcome=ok total_ms=4.200 "
                                        "why=\"a \\\"quoted\\\" word\"\n");
}

static void test_json(void **state)
{
    struct capture *c = *state;
    log_set_format(LOG_JSON);
    capture_begin(c);
    log_line(LOG_WARN, "%s", "a \"quoted\" \\ word");
    json_object *o = parse_line(capture_end(c));
    assert_string_equal(member(o, "level"), "warning");
    assert_string_equal(member(o, "message"), "a \"quoted\" \\ word");
    assert_int_equal(json_object_object_length(o), 3);
    int year, month, day, hour, minute, second, ms, used = 0;
    const char *time_text = member(o, "time");
    assert_int_equal(sscanf(time_text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute,
                            &second, &ms, &used),
                     7);
    assert_int_equal(used, strlen("2026-11-23T23:41:00.123Z"));
    assert_int_equal(strlen(time_text), used);
    json_object_put(o);
}

static void test_event_json(void **state)
{
    struct capture *c = *state;
    struct log_field fields[] = {
        {.key = "id", .kind = LOG_INT, .integer = 17},
        {.key = "outcome", .kind = LOG_STR, .str = "o\xffk\n"},
        {.key = "total_ms", .kind = LOG_NUM, .number = 4.25},
        {.key = "odd", .kind = LOG_NUM, .number = NAN},
    };
    log_set_format(LOG_JSON);
    capture_begin(c);
    log_event(LOG_INFO, "request", fields, 4);
    json_object *o = parse_line(capture_end(c));
    assert_string_equal(member(o, "message"), "request");
    assert_string_equal(member(o, "id"), "17");
    assert_string_equal(member(o, "outcome"), "o\xef\xbf\xbdk?");
    assert_string_equal(member(o, "total_ms"), "4.250");
    assert_string_equal(member(o, "odd"), "0.000");
    json_object_put(o);
}

/* What is too long is cut, and the line stays valid, whatever stands where it is cut. */
static void test_long(void **state)
{
    struct capture *c = *state;
    static char quotes[5000], broken[5000], wide[5001];
    memset(quotes, '"', sizeof quotes - 1);
    memset(broken, 0xff, sizeof broken - 1);
    for (size_t i = 0; i + 1 < sizeof wide; i += 2) memcpy(wide + i, "\xc3\xa9", 2);
    const char *const texts[] = {quotes, broken, wide, wide + 1};
    struct log_field fields[64];
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 64; k++)
            fields[k] = (struct log_field){.key = "k", .kind = LOG_STR, .str = texts[(i + k) % 4]};
        for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
            log_set_format((enum log_format)format);
            capture_begin(c);
            log_event(LOG_INFO, "long", fields, 64);
            size_t len = strlen(capture_end(c));
            assert_in_range(len, 1000, 4096);
            if (format == LOG_JSON) json_object_put(parse_line(c->text));
            capture_begin(c);
            log_line(LOG_INFO, "%s", texts[i]);
            len = strlen(capture_end(c));
            assert_in_range(len, 1000, 4096);
            if (format == LOG_JSON) json_object_put(parse_line(c->text));
        }
    }
}

/* A field that has no room is left out; a smaller one behind it is told. */
static void test_left_out(void **state)
{
    struct capture *c = *state;
    static char broken[1024];
    memset(broken, 0xff, sizeof broken - 1);
    struct log_field fields[] = {
        {.key = "first", .kind = LOG_STR, .str = broken},
        {.key = "second", .kind = LOG_STR, .str = broken},
        {.key = "third", .kind = LOG_INT, .integer = 3},
    };
    log_set_format(LOG_JSON);
    capture_begin(c);
    log_event(LOG_INFO, "request", fields, 3);
    json_object *o = parse_line(capture_end(c));
    assert_non_null(member(o, "first"));
    assert_null(member(o, "second"));
    assert_string_equal(member(o, "third"), "3");
    json_object_put(o);
}

#define N_THREADS 4
#define N_LINES   200

static void *write_lines(void *ctx)
{
    struct log_field field = {.key = "thread", .kind = LOG_STR, .str = ctx};
    for (int i = 0; i < N_LINES; i++) log_event(LOG_INFO, "line", &field, 1);
    return NULL;
}

static void test_threads(void **state)
{
    struct capture *c = *state;
    static char texts[N_THREADS][300];
    pthread_t threads[N_THREADS];
    log_set_format(LOG_JSON);
    capture_begin(c);
    for (int i = 0; i < N_THREADS; i++) {
        memset(texts[i], 'a' + i, sizeof texts[i] - 1);
        pthread_create(&threads[i], NULL, write_lines, texts[i]);
    }
    for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
    int n = 0, of[N_THREADS] = {0};
    char *rest = NULL;
    for (const char *line = strtok_r((char *)(uintptr_t)capture_end(c), "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        json_object *o = json_tokener_parse(line);
        const char *text = o ? member(o, "thread") : NULL;
        assert_non_null(text);
        assert_in_range(text[0], 'a', 'a' + N_THREADS - 1);
        assert_string_equal(text, texts[text[0] - 'a']);
        of[text[0] - 'a']++;
        json_object_put(o);
        n++;
    }
    assert_int_equal(n, N_THREADS * N_LINES);
    for (int i = 0; i < N_THREADS; i++) assert_int_equal(of[i], N_LINES);
}

/* Decoding allocates nothing, and may log; who logs a failure may still read why. */
static void test_side_effects(void **state)
{
    struct capture *c = *state;
    struct log_field field = {.key = "a", .kind = LOG_NUM, .number = 1};
    log_set_format(LOG_JSON);
    capture_begin(c);
    mem_guard_begin("a log line");
    errno = ENOSPC;
    log_line(LOG_INFO, "a line");
    log_event(LOG_INFO, "event", &field, 1);
    mem_guard_end();
    assert_int_equal(errno, ENOSPC);
    capture_end(c);
    close(STDERR_FILENO); /* nobody to tell */
    log_line(LOG_INFO, "a line");
    assert_int_equal(errno, ENOSPC);
    dup2(STDOUT_FILENO, STDERR_FILENO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_level, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_side_effects, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
