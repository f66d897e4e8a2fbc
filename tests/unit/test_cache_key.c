/* Keys: equal for equal questions and nothing else; the same line's while it is typed; and those of an
 * answer's later lines are what will be asked there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "service/cache_key.h"

#define MAKER 77

static const struct language c = {.name = "c", .line_comment = "//", .quotes = "\"'"};

struct asked {
    struct service_request r;
    struct question q;
    uint64_t maker;
    struct fim_file files[1];
};

static struct asked usual(const char *before, const char *after)
{
    struct asked a = {.r = {.max_tokens = 16, .sampling = SAMPLER_GREEDY},
                      .q = {.input = {.before = before,
                                      .before_len = strlen(before),
                                      .after = after,
                                      .after_len = strlen(after),
                                      .path = "a.c",
                                      .repo = "r",
                                      .line_comment = "//"},
                            .language = &c,
                            .extent = STOP_EXTENT_LINE,
                            .quiet = ""},
                      .maker = MAKER,
                      .files = {{.path = "b.h", .text = "int b;\n", .text_len = 7}}};
    return a;
}

static struct snapshot take(struct asked *a, bool is_raw)
{
    struct snapshot s;
    struct errmsg msg = {0};
    struct snapshot_limits limits = snapshot_limits(&a->r, 1000, 64, 2048);
    if (!is_raw && !a->q.input.files) {
        a->q.input.files = a->files;
        a->q.input.n_files = 1;
    }
    if (snapshot_take(&a->r, &limits, is_raw ? NULL : &a->q, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static struct store_key key_of(struct asked *a)
{
    struct snapshot s = take(a, false);
    struct store_key key;
    assert_true(cache_key_of(&s, a->maker, &key));
    key.typed = "";
    snapshot_clear(&s);
    return key;
}

static bool is_same_line(const struct store_key *a, const struct store_key *b)
{
    return memcmp(a->line, b->line, sizeof a->line) == 0;
}

static void test_what_is_in_a_key(void **state)
{
    (void)state;
    enum { N = 16 };
    struct asked base = usual("one\nint x", ";\ntwo\n"), all[N];
    struct store_key keys[N + 1] = {key_of(&base)};
    for (int i = 0; i < N; i++) all[i] = usual("one\nint x", ";\ntwo\n");
    all[0].maker++;
    all[1] = usual("One\nint x", ";\ntwo\n");
    all[2] = usual("one\nint x", ";\ntwo");
    all[3].q.input.path = "b.c";
    all[4].q.input.path = NULL;
    all[5].q.input.repo = "s";
    all[6].q.input.line_comment = "#";
    all[7].files[0].text = "int c;\n";
    all[8].files[0].path = NULL;
    all[9].r.max_tokens = 17;
    all[10].r.n_candidates = 2;
    all[11].r.sampling.temperature = 0.5f;
    all[12].r.sampling.top_k = 3;
    all[13].r.sampling.seed = 4;
    all[14].r.max_prompt_tokens = 100;
    all[15].r.sampling.infill = true;
    for (int i = 0; i < N; i++) keys[i + 1] = key_of(&all[i]);
    for (int i = 0; i <= N; i++) {
        for (int k = 0; k < i; k++) assert_false(is_same_line(&keys[i], &keys[k]));
    }
}

/* The rules and limits of time decide where an answer ends, not what it is. */
static void test_what_is_not(void **state)
{
    (void)state;
    struct asked base = usual("one\nint x", ";\n"), a = base, b = base, d = base, e = base;
    struct store_key key = key_of(&base), others[4];
    a.q.extent = STOP_EXTENT_BLOCK;
    b.r.max_predict_ms = 100;
    d.r.stops[d.r.n_stops++] = (struct service_stop){"x", 1};
    e.q.eol = DOCUMENT_CRLF;
    others[0] = key_of(&a);
    others[1] = key_of(&b);
    others[2] = key_of(&d);
    others[3] = key_of(&e);
    for (int i = 0; i < 4; i++) assert_true(is_same_line(&key, &others[i]));
}

static void test_typing(void **state)
{
    (void)state;
    struct asked a = usual("one\nint x", ";\n"), b = usual("one\nint x = f(", ";\n");
    struct snapshot s = take(&a, false), t = take(&b, false);
    struct store_key x, y;
    assert_true(cache_key_of(&s, MAKER, &x));
    assert_true(cache_key_of(&t, MAKER, &y));
    assert_true(is_same_line(&x, &y));
    assert_int_equal(x.typed_len, 5);
    assert_memory_equal(x.typed, "int x", 5);
    assert_int_equal(y.typed_len, 10);
    snapshot_clear(&s);
    snapshot_clear(&t);
}

static void check_later_lines(struct snapshot *s)
{
    static const char text[] = "a();\n    b();\n\n    c();\n";
    struct memory_key keys[MEMORY_KEYS_MAX];
    int32_t n = cache_keys_of_answer(s, MAKER, 0, text, strlen(text), keys);
    assert_int_equal(n, 4); /* nothing stands behind the last newline */
    struct store_key own;
    assert_true(cache_key_of(s, MAKER, &own));
    assert_true(is_same_line(&own, &keys[0].key));
    assert_int_equal(keys[0].n_typed, 0);
    assert_int_equal(keys[0].key.typed_len, own.typed_len);
    for (int32_t i = 1; i < n; i++) {
        struct snapshot after;
        struct store_key key;
        assert_int_equal(text[keys[i].n_typed - 1], '\n');
        assert_int_equal(snapshot_take_after(s, text, keys[i].n_typed + 2, &after), OK);
        assert_true(cache_key_of(&after, MAKER, &key));
        assert_true(is_same_line(&key, &keys[i].key) || text[keys[i].n_typed] == '\n');
        assert_int_equal(keys[i].key.typed_len, 0);
        snapshot_clear(&after);
    }
}

static void test_later_lines(void **state)
{
    (void)state;
    struct asked a = usual("{\n    ", "\n}\n");
    struct snapshot s = take(&a, false);
    check_later_lines(&s);
    snapshot_clear(&s);
}

/* The same answer, found while part of it was typed. */
static void test_less(void **state)
{
    (void)state;
    struct asked a = usual("one\nint x", ";\n"), b = usual("one\nint x = f", ";\n");
    struct snapshot s = take(&a, false), t = take(&b, false);
    struct memory_key of_a[MEMORY_KEYS_MAX], of_b[MEMORY_KEYS_MAX];
    assert_int_equal(cache_keys_of_answer(&s, MAKER, 0, " = f(1)", 7, of_a), 1);
    assert_int_equal(cache_keys_of_answer(&t, MAKER, 4, " = f(1)", 7, of_b), 1);
    assert_true(is_same_line(&of_a[0].key, &of_b[0].key));
    assert_int_equal(of_b[0].key.typed_len, 5);
    assert_int_equal(cache_keys_of_answer(&t, MAKER, 100, "", 0, of_b), 0);
    snapshot_clear(&s);
    snapshot_clear(&t);
}

static void test_raw(void **state)
{
    (void)state;
    static const int32_t tokens[] = {1, 2, 3}, others[] = {1, 2, 4};
    struct asked a = {.r = {.prompt = "one\ntw", .prompt_len = 6, .sampling = SAMPLER_GREEDY}}, b = a, d = a,
                 e = a;
    b.r.prompt = "one\ntwo";
    b.r.prompt_len = 7;
    d.r.prompt = e.r.prompt = NULL;
    d.r.tokens = tokens;
    e.r.tokens = others;
    d.r.n_tokens = e.r.n_tokens = 3;
    struct snapshot s[] = {take(&a, true), take(&b, true), take(&d, true), take(&e, true)};
    struct store_key keys[4];
    for (int i = 0; i < 4; i++) assert_true(cache_key_of(&s[i], MAKER, &keys[i]));
    assert_true(is_same_line(&keys[0], &keys[1]));
    assert_int_equal(keys[1].typed_len, 3);
    assert_false(is_same_line(&keys[0], &keys[2]));
    assert_false(is_same_line(&keys[2], &keys[3]));
    assert_int_equal(keys[2].typed_len, 0);
    for (int i = 0; i < 4; i++) snapshot_clear(&s[i]);
}

static void test_long_line(void **state)
{
    (void)state;
    static char line[RECORD_TYPED_MAX + 2];
    memset(line, 'x', RECORD_TYPED_MAX + 1);
    struct asked a = usual(line, "");
    struct snapshot s = take(&a, false);
    struct store_key key;
    assert_false(cache_key_of(&s, MAKER, &key));
    snapshot_clear(&s);
}

static void test_makers(void **state)
{
    (void)state;
    const struct cache_maker base = {.model_key = "k", .isa = "avx2"};
    struct cache_maker all[] = {base, base, base, base, base, base};
    all[1].model_key = "l";
    all[2].isa = "ref";
    all[3].kv_type = 1;
    all[4].is_moving = true;
    all[5].is_packed = true;
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < i; k++) assert_true(cache_maker_hash(&all[i]) != cache_maker_hash(&all[k]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_in_a_key),
        cmocka_unit_test(test_what_is_not),
        cmocka_unit_test(test_typing),
        cmocka_unit_test(test_later_lines),
        cmocka_unit_test(test_less),
        cmocka_unit_test(test_raw),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_makers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
