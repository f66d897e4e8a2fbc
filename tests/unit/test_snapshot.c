/* Copies of requests: they hold what decides the answer, no more, and outlive what they were made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "complete/snapshot.h"

#define N_CTX 1000

static struct service_request document(const char *text, size_t cursor)
{
    return (struct service_request){
        .text = text, .len = strlen(text), .cursor = cursor, .max_tokens = -1, .sampling = SAMPLER_GREEDY};
}

static struct service_request raw(const char *prompt)
{
    return (struct service_request){
        .prompt = prompt, .prompt_len = strlen(prompt), .max_tokens = -1, .sampling = SAMPLER_GREEDY};
}

static struct snapshot take(struct service_request r)
{
    struct snapshot s;
    struct errmsg msg = {0};
    if (snapshot_take(&r, N_CTX, 64, 0, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static void test_outlives_request(void **state)
{
    (void)state;
    static const char text[] = "one\r\ntwo\r\nthree\r\n";
    char *copy = strdup(text), *path = strdup("dir/a.c"), *word = strdup("\n\n"), *name = strdup("b.h");
    struct fim_file files[] = {{.path = name, .text = copy, .text_len = 3},
                               {.text = copy + 5, .text_len = 0}};
    struct service_request r = document(copy, 7);
    r.path = path;
    r.files = files;
    r.n_files = 2;
    r.stops[r.n_stops++] = (struct service_stop){word, 2};
    struct snapshot s = take(r);
    free(copy);
    free(path);
    free(word);
    free(name);
    assert_string_equal(s.input.before, "one\ntw");
    assert_int_equal(s.input.before_len, 6);
    assert_string_equal(s.input.after, "o\nthree\n");
    assert_string_equal(s.input.path, "dir/a.c");
    assert_int_equal(s.rules.eol, DOCUMENT_CRLF);
    assert_int_equal(s.input.n_files, 2);
    assert_string_equal(s.input.files[0].path, "b.h");
    assert_string_equal(s.input.files[0].text, "one");
    assert_null(s.input.files[1].path);
    assert_int_equal(s.rules.n_words, 1);
    assert_string_equal(s.words[0].text, "\n\n");
    assert_false(s.input.is_raw);
    snapshot_clear(&s);
}

/* The size does not grow with the document, nor with files that no prompt could hold. */
static void test_only_the_window(void **state)
{
    (void)state;
    enum { LEN = 8 << 20 };
    char *text = malloc(LEN + 1);
    memset(text, 'x', LEN);
    text[LEN] = '\0';
    struct fim_file files[] = {{.path = "far", .text = "y", .text_len = 1},
                               {.path = "large", .text = text, .text_len = LEN},
                               {.path = "near", .text = "z", .text_len = 1}};
    struct service_request r = document(text, LEN / 2);
    r.files = files;
    r.n_files = 3;
    struct snapshot s = take(r);
    assert_true(s.bytes.len < 4 * N_CTX * FIM_BYTES_PER_TOKEN);
    assert_int_equal(s.input.n_files, 1);
    assert_string_equal(s.input.files[0].path, "near");
    snapshot_clear(&s);
    s = take(raw(text));
    assert_true(s.was_cut);
    assert_true(s.bytes.len < 2 * N_CTX * FIM_BYTES_PER_TOKEN);
    snapshot_clear(&s);
    free(text);
}

static void test_tokens(void **state)
{
    (void)state;
    static const int32_t tokens[] = {7, 8, 9};
    struct service_request r = {.tokens = tokens, .n_tokens = 3, .max_tokens = 5};
    struct snapshot s = take(r);
    assert_true(s.input.is_raw);
    assert_null(s.input.text);
    assert_int_equal(s.input.n_tokens, 3);
    assert_memory_equal(s.input.tokens, tokens, sizeof tokens);
    snapshot_clear(&s);
    r.n_tokens = 0;
    s = take(r);
    assert_non_null(s.input.tokens);
    assert_int_equal(s.input.n_tokens, 0);
    snapshot_clear(&s);
}

static void test_limits(void **state)
{
    (void)state;
    struct service_request r = document("a", 1);
    struct snapshot s = take(r);
    assert_int_equal(s.max_tokens, 64);
    assert_int_equal(s.max_prompt, N_CTX - 64);
    assert_int_equal(s.n_candidates, 1);
    r.max_tokens = INT32_MAX;
    r.n_candidates = INT32_MAX;
    r.max_prompt_tokens = INT32_MAX;
    s = (snapshot_clear(&s), take(r));
    assert_int_equal(s.max_tokens, N_CTX / 2);
    assert_int_equal(s.max_prompt, N_CTX / 2);
    assert_int_equal(s.n_candidates, SERVICE_CANDIDATES_MAX);
    r.max_tokens = 0;
    s = (snapshot_clear(&s), take(r));
    assert_int_equal(s.max_tokens, 0);
    assert_int_equal(s.n_candidates, 1); /* the prompt is computed once */
    r = raw("a");
    r.max_tokens = INT32_MAX; /* until the context is full */
    s = (snapshot_clear(&s), take(r));
    assert_int_equal(s.max_tokens, N_CTX - 1);
    assert_int_equal(s.max_prompt, N_CTX - N_CTX / 4);
    r.max_predict_ms = 5;
    r.predict_ms_after_newline = true;
    s = (snapshot_clear(&s), take(r));
    assert_true(s.max_predict_ms == 0 && s.rules.two_line_ms == 5);
    snapshot_clear(&s);
}

static void test_same(void **state)
{
    (void)state;
    struct snapshot a = take(document("int x", 3)), b = take(document("int x", 3)),
                    c = take(document("int x", 4)), d = take(raw("int")), e = take(document("int x", 3));
    assert_true(snapshot_is_same(&a, &b));
    assert_false(snapshot_is_same(&a, &c));
    assert_false(snapshot_is_same(&a, &d));
    /* Text moved from one field to the next. */
    struct service_request r = document("ab", 1);
    r.path = "c";
    struct snapshot f = take(r);
    r = document("abc", 1);
    struct snapshot g = take(r);
    assert_false(snapshot_is_same(&f, &g));
    struct snapshot *all[] = {&a, &b, &c, &d, &e, &f, &g};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) snapshot_clear(all[i]);
}

static void test_refusals(void **state)
{
    (void)state;
    struct snapshot s;
    struct errmsg msg = {0};
    struct service_request r = document("abc", 4);
    assert_int_equal(snapshot_take(&r, N_CTX, 64, 0, &s, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "byte 4"));
    snapshot_clear(&s);
    r = (struct service_request){0};
    assert_int_equal(snapshot_take(&r, N_CTX, 64, 0, &s, &msg), ERR_ARG);
    snapshot_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outlives_request),
        cmocka_unit_test(test_only_the_window),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
