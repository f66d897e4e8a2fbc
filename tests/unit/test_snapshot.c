/* Copies of requests: they hold what decides the answer, no more, and outlive what they were made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "service/snapshot.h"

#define N_CTX 1000

/* What context_build would have found. */
static struct question ask(const char *text, size_t cursor)
{
    return (struct question){.input = {.before = text,
                                       .before_len = cursor,
                                       .after = text + cursor,
                                       .after_len = strlen(text) - cursor},
                             .extent = STOP_EXTENT_UNIT,
                             .quiet = ""};
}

static const struct service_request plain = {.max_tokens = -1, .sampling = {.top_p = 1, .repeat_penalty = 1}};

static struct service_request raw(const char *prompt)
{
    return (struct service_request){
        .prompt = prompt, .prompt_len = strlen(prompt), .max_tokens = -1, .sampling = SAMPLER_GREEDY};
}

static struct snapshot take(const struct service_request *r, const struct question *q)
{
    struct snapshot s;
    struct errmsg msg = {0};
    struct snapshot_limits limits = snapshot_limits(r, N_CTX, 64, 2048);
    if (snapshot_take(r, &limits, q, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static struct snapshot take_raw(struct service_request r)
{
    return take(&r, NULL);
}

static void test_outlives_request(void **state)
{
    (void)state;
    char *copy = strdup("one\ntwo\nthree\n"), *path = strdup("dir/a.c"), *word = strdup("\n\n"),
         *name = strdup("b.h"), *comment = strdup("//");
    struct fim_file files[] = {{.path = name, .text = copy, .text_len = 3},
                               {.text = copy + 4, .text_len = 0}};
    struct question q = ask(copy, 6);
    struct service_request r = plain;
    q.input.path = path;
    q.input.line_comment = comment;
    q.input.files = files;
    q.input.n_files = 2;
    q.eol = DOCUMENT_CRLF;
    r.stops[r.n_stops++] = (struct service_stop){word, 2};
    struct snapshot s = take(&r, &q);
    free(copy);
    free(path);
    free(word);
    free(name);
    free(comment);
    assert_string_equal(s.input.before, "one\ntw");
    assert_int_equal(s.input.before_len, 6);
    assert_string_equal(s.input.after, "o\nthree\n");
    assert_string_equal(s.input.path, "dir/a.c");
    assert_string_equal(s.input.line_comment, "//");
    assert_null(s.input.repo);
    assert_int_equal(s.rules.eol, DOCUMENT_CRLF);
    assert_int_equal(s.rules.extent, STOP_EXTENT_UNIT);
    assert_int_equal(s.input.n_files, 2);
    assert_string_equal(s.input.files[0].path, "b.h");
    assert_string_equal(s.input.files[0].text, "one");
    assert_null(s.input.files[1].path);
    assert_int_equal(s.rules.n_words, 1);
    assert_string_equal(s.words[0].text, "\n\n");
    assert_false(s.input.is_raw);
    snapshot_clear(&s);
}

/* Of a raw prompt that is longer than any context only the end is copied. */
static void test_only_the_end(void **state)
{
    (void)state;
    enum { LEN = 8 << 20 };
    char *text = malloc(LEN + 1);
    memset(text, 'x', LEN);
    text[LEN] = '\0';
    struct snapshot s = take_raw(raw(text));
    assert_true(s.was_cut);
    assert_true(s.bytes.len < 2 * N_CTX * FIM_BYTES_PER_TOKEN);
    snapshot_clear(&s);
    free(text);
}

static void test_extents(void **state)
{
    (void)state;
    static const struct {
        enum service_extent wanted;
        enum stop_extent taken;
    } cases[] = {{SERVICE_EXTENT_PLACE, STOP_EXTENT_UNIT},
                 {SERVICE_EXTENT_ANY, STOP_EXTENT_ANY},
                 {SERVICE_EXTENT_LINE, STOP_EXTENT_LINE},
                 {SERVICE_EXTENT_BLOCK, STOP_EXTENT_BLOCK}};
    struct question q = ask("x", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct service_request r = plain;
        r.extent = cases[i].wanted;
        struct snapshot s = take(&r, &q);
        assert_int_equal(s.rules.extent, cases[i].taken);
        snapshot_clear(&s);
    }
}

static void test_tokens(void **state)
{
    (void)state;
    static const int32_t tokens[] = {7, 8, 9};
    struct service_request r = {.tokens = tokens, .n_tokens = 3, .max_tokens = 5};
    struct snapshot s = take_raw(r);
    assert_true(s.input.is_raw);
    assert_null(s.input.text);
    assert_int_equal(s.input.n_tokens, 3);
    assert_memory_equal(s.input.tokens, tokens, sizeof tokens);
    snapshot_clear(&s);
    r.n_tokens = 0;
    s = take_raw(r);
    assert_non_null(s.input.tokens);
    assert_int_equal(s.input.n_tokens, 0);
    snapshot_clear(&s);
}

static void test_limits(void **state)
{
    (void)state;
    struct service_request r = plain;
    r.text = "a";
    struct snapshot_limits l = snapshot_limits(&r, N_CTX, 64, 2048);
    assert_int_equal(l.max_tokens, 64);
    assert_int_equal(l.max_prompt, N_CTX - 64);
    assert_int_equal(l.n_candidates, 1);
    assert_int_equal(snapshot_limits(&r, N_CTX, 64, 300).max_prompt, 300);
    r.max_tokens = INT32_MAX;
    r.n_candidates = INT32_MAX;
    r.max_prompt_tokens = INT32_MAX;
    l = snapshot_limits(&r, N_CTX, 64, 2048);
    assert_int_equal(l.max_tokens, N_CTX / 2);
    assert_int_equal(l.max_prompt, N_CTX / 2);
    assert_int_equal(l.n_candidates, SERVICE_CANDIDATES_MAX);
    r.max_tokens = 0;
    l = snapshot_limits(&r, N_CTX, 64, 2048);
    assert_int_equal(l.max_tokens, 0);
    assert_int_equal(l.n_candidates, 1); /* the prompt is computed once */
    r = raw("a");
    r.max_tokens = INT32_MAX; /* until the context is full */
    l = snapshot_limits(&r, N_CTX, 64, 300);
    assert_int_equal(l.max_tokens, N_CTX - 1);
    assert_int_equal(l.max_prompt, N_CTX - N_CTX / 4);
    r.max_predict_ms = 5;
    r.predict_ms_after_newline = true;
    struct snapshot s = take_raw(r);
    assert_true(s.max_predict_ms == 0 && s.rules.two_line_ms == 5);
    snapshot_clear(&s);
}

static void test_same(void **state)
{
    (void)state;
    struct question at3 = ask("int x", 3), at4 = ask("int x", 4), moved = ask("ab", 1), other = ask("abc", 1);
    moved.input.path = "c"; /* text moved from one field to the next */
    struct snapshot a = take(&plain, &at3), b = take(&plain, &at3), c = take(&plain, &at4),
                    d = take_raw(raw("int")), f = take(&plain, &moved), g = take(&plain, &other);
    assert_true(snapshot_is_same(&a, &b));
    assert_false(snapshot_is_same(&a, &c));
    assert_false(snapshot_is_same(&a, &d));
    assert_false(snapshot_is_same(&f, &g));
    at3.extent = STOP_EXTENT_LINE;
    struct snapshot e = take(&plain, &at3);
    assert_false(snapshot_is_same(&a, &e));
    struct snapshot *all[] = {&a, &b, &c, &d, &e, &f, &g};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) snapshot_clear(all[i]);
}

static void test_refusals(void **state)
{
    (void)state;
    struct snapshot s;
    struct errmsg msg = {0};
    struct service_request r = {0};
    struct snapshot_limits limits = snapshot_limits(&r, N_CTX, 64, 2048);
    assert_int_equal(snapshot_take(&r, &limits, NULL, &s, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "neither a document nor a prompt"));
    snapshot_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outlives_request), cmocka_unit_test(test_only_the_end),
        cmocka_unit_test(test_extents),          cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_limits),           cmocka_unit_test(test_same),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
