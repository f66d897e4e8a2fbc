/* libinline as a program that embeds it sees it: include/inline.h and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>
#include <pthread.h>

#include <cmocka.h>

#include "inline.h"

#define MODEL FIXTURES "/models/llama.gguf"

static const char source[] = "int max(int a, int b)\n{\n    return \n}\n";
#define CURSOR 35

static struct inline_model *open_model(void)
{
    char error[INLINE_ERROR_MAX] = "";
    struct inline_options options = {.n_threads = 2};
    struct inline_model *m = inline_open(MODEL, &options, error);
    if (!m) fail_msg("%s", error);
    return m;
}

static struct inline_request request_of(const char *text, size_t cursor)
{
    return (struct inline_request){.text = text, .len = strlen(text), .cursor = cursor, .max_tokens = 24};
}

static void expect_not_opened(const char *path, struct inline_options options, const char *message)
{
    char error[INLINE_ERROR_MAX] = "";
    struct inline_model *m = inline_open(path, &options, error);
    assert_null(m);
    if (!strstr(error, message)) fail_msg("\"%s\" is not in \"%s\"", message, error);
    assert_null(inline_open(path, &options, NULL)); /* the error may be ignored */
}

static void test_open_errors(void **state)
{
    (void)state;
    struct inline_options none = {0};
    expect_not_opened(NULL, none, "no model");
    expect_not_opened("", none, "no model");
    expect_not_opened("/nonexistent/model.gguf", none, "/nonexistent/model.gguf");
    expect_not_opened("/", none, "/");
    expect_not_opened(FIXTURES "/models/llama.txt", none, "llama.txt");
    expect_not_opened(MODEL, (struct inline_options){.isa = "sse9"}, "sse9");
    expect_not_opened(MODEL, (struct inline_options){.n_threads = -1}, "n_threads");
    expect_not_opened(MODEL, (struct inline_options){.n_ctx = -1}, "n_ctx");
    expect_not_opened(MODEL, (struct inline_options){.pack = INLINE_PACK_OFF + 1}, "pack");
    inline_close(NULL);
}

static void test_info(void **state)
{
    (void)state;
    struct inline_model *m = inline_open(MODEL, NULL, NULL);
    assert_non_null(m);
    struct inline_info info;
    inline_info(m, &info);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.path, MODEL);
    assert_string_equal(info.fim_family, "qwen");
    assert_string_equal(info.fim_order, "psm");
    assert_string_equal(info.fim_detected, "token text");
    assert_int_equal(info.n_ctx, 256); /* what the model was trained for is less than the default */
    assert_true(info.n_threads >= 1);
    assert_true(info.load_ms > 0);
    assert_true(strlen(info.isa) > 0 && strlen(info.name) > 0);
    inline_close(m);

    m = inline_open(MODEL, &(struct inline_options){.isa = "ref", .n_threads = 1, .n_ctx = 64}, NULL);
    inline_info(m, &info);
    assert_string_equal(info.isa, "ref");
    assert_int_equal(info.n_threads, 1);
    assert_int_equal(info.n_ctx, 64);
    inline_close(m);
    assert_true(strlen(inline_version()) > 0);
}

static void expect_refused(struct inline_model *m, const struct inline_request *r, const char *message)
{
    char error[INLINE_ERROR_MAX] = "";
    struct inline_result result;
    assert_false(inline_complete(m, r, &result, error));
    if (!strstr(error, message)) fail_msg("\"%s\" is not in \"%s\"", message, error);
    assert_null(result.text);
    inline_result_clear(&result);
}

static void test_request_errors(void **state)
{
    (void)state;
    struct inline_model *m = open_model();
    struct inline_request r = request_of(source, strlen(source) + 1);
    expect_refused(m, &r, "past the end");
    r = request_of("caf\xc3\xa9", 4);
    expect_refused(m, &r, "inside a character");
    r = request_of("ab\xff", 0);
    expect_refused(m, &r, "not UTF-8 at byte 2");
    r = (struct inline_request){.len = 1};
    expect_refused(m, &r, "text is null");
    r = request_of(source, 0);
    r.max_tokens = -1;
    expect_refused(m, &r, "max_tokens");
    r.max_tokens = 256;
    expect_refused(m, &r, "256");
    r = request_of(source, 0);
    r.max_prompt_tokens = -1;
    expect_refused(m, &r, "max_prompt_tokens");
    static const float bad[] = {-1, NAN, INFINITY};
    for (int i = 0; i < 3; i++) {
        r = request_of(source, 0);
        r.temperature = bad[i];
        expect_refused(m, &r, "temperature");
        r = request_of(source, 0);
        r.top_p = bad[i];
        expect_refused(m, &r, "top-p");
        r = request_of(source, 0);
        r.min_p = bad[i];
        expect_refused(m, &r, "min-p");
        r = request_of(source, 0);
        r.repeat_penalty = bad[i];
        expect_refused(m, &r, "repeat-penalty");
    }
    r = request_of(source, 0);
    r.top_k = -1;
    expect_refused(m, &r, "top-k");
    inline_close(m);
}

struct stream {
    char text[4096];
    size_t len;
    int n_calls;
};

static bool collect(void *user, const char *text, size_t len)
{
    struct stream *s = user;
    assert_true(s->len + len < sizeof s->text);
    memcpy(s->text + s->len, text, len);
    s->text[s->len += len] = '\0';
    s->n_calls++;
    return true;
}

static void test_complete(void **state)
{
    (void)state;
    struct inline_model *m = open_model();
    struct inline_request r = request_of(source, CURSOR);
    struct inline_result blocking, streaming;
    assert_true(inline_complete(m, &r, &blocking, NULL));
    assert_int_equal(blocking.len, strlen(blocking.text));
    assert_true(blocking.len > 0);
    assert_string_not_equal(blocking.stop_reason, "cancelled");
    assert_true(blocking.generated_tokens > 0 && blocking.generated_tokens <= 24);
    assert_int_equal(blocking.reused_tokens, 0);
    assert_true(blocking.prompt_ms > 0 && blocking.generate_ms > 0);

    struct stream s = {.len = 0};
    r.on_text = collect;
    r.user = &s;
    assert_true(inline_complete(m, &r, &streaming, NULL));
    assert_string_equal(s.text, blocking.text);
    assert_string_equal(streaming.text, blocking.text);
    assert_true(s.n_calls > 1);
    assert_int_equal(streaming.prompt_tokens, blocking.prompt_tokens);
    assert_true(streaming.reused_tokens >= blocking.prompt_tokens - 1);
    inline_result_clear(&blocking);
    assert_null(blocking.text);
    inline_result_clear(&streaming);

    /* Sampling is repeatable by its seed. */
    r = request_of(source, CURSOR);
    r.temperature = 1.5f;
    r.seed = 7;
    struct inline_result one, two, other;
    assert_true(inline_complete(m, &r, &one, NULL));
    assert_true(inline_complete(m, &r, &two, NULL));
    r.seed = 8;
    assert_true(inline_complete(m, &r, &other, NULL));
    assert_string_equal(one.text, two.text);
    assert_string_not_equal(one.text, other.text);
    inline_result_clear(&one);
    inline_result_clear(&two);
    inline_result_clear(&other);
    inline_close(m);
}

static void test_empty_text(void **state)
{
    (void)state;
    struct inline_model *m = open_model();
    struct inline_request r = {0}; /* all defaults, no text at all */
    struct inline_result result;
    char error[INLINE_ERROR_MAX] = "";
    if (!inline_complete(m, &r, &result, error)) fail_msg("%s", error);
    assert_int_equal(result.prompt_tokens, 3);
    assert_non_null(result.text);
    inline_result_clear(&result);
    inline_close(m);
}

static bool stop_now(void *user, const char *text, size_t len)
{
    (void)text;
    *(size_t *)user += len;
    return false;
}

static bool cancel_here(void *user, const char *text, size_t len)
{
    (void)text, (void)len;
    inline_cancel(user);
    return true;
}

static void *cancel_thread(void *user)
{
    inline_cancel(user);
    return NULL;
}

/* Another thread cancels while the request is certain to run: inside its callback. */
static bool cancel_elsewhere(void *user, const char *text, size_t len)
{
    (void)text, (void)len;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_thread, user), 0);
    pthread_join(thread, NULL);
    return true;
}

static void expect_cancelled(struct inline_model *m, const struct inline_request *r)
{
    struct inline_result result;
    assert_true(inline_complete(m, r, &result, NULL));
    assert_string_equal(result.stop_reason, "cancelled");
    assert_true(result.generated_tokens < 24);
    assert_true(result.len > 0); /* what it had */
    inline_result_clear(&result);
}

static void test_cancel(void **state)
{
    (void)state;
    struct inline_model *m = open_model();
    struct inline_request r = request_of(source, CURSOR);
    struct inline_result result;
    r.on_text = cancel_here;
    r.user = m;
    expect_cancelled(m, &r);
    r.on_text = cancel_elsewhere;
    expect_cancelled(m, &r);

    size_t shown = 0;
    r.on_text = stop_now;
    r.user = &shown;
    assert_true(inline_complete(m, &r, &result, NULL));
    assert_string_equal(result.stop_reason, "cancelled");
    assert_int_equal(result.len, shown);
    inline_result_clear(&result);

    /* While nothing runs, a cancel is forgotten. */
    inline_cancel(m);
    r.on_text = NULL;
    assert_true(inline_complete(m, &r, &result, NULL));
    assert_string_not_equal(result.stop_reason, "cancelled");
    inline_result_clear(&result);
    inline_close(m);
}

/* A storm of cancels from another thread at any moment: each request ends well, whatever it had. */
struct storm {
    struct inline_model *model;
    atomic_bool is_over;
};

static void *storm_thread(void *user)
{
    struct storm *s = user;
    while (!atomic_load(&s->is_over)) inline_cancel(s->model);
    return NULL;
}

static void test_cancel_storm(void **state)
{
    (void)state;
    struct storm s = {.model = open_model()};
    pthread_t thread;
    atomic_init(&s.is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, storm_thread, &s), 0);
    for (size_t i = 0; i < strlen(source); i++) {
        struct inline_request r = request_of(source, i);
        struct inline_result result;
        assert_true(inline_complete(s.model, &r, &result, NULL));
        assert_non_null(result.text);
        inline_result_clear(&result);
    }
    atomic_store(&s.is_over, true);
    pthread_join(thread, NULL);
    inline_close(s.model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_errors),    cmocka_unit_test(test_info),
        cmocka_unit_test(test_request_errors), cmocka_unit_test(test_complete),
        cmocka_unit_test(test_empty_text),     cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
