/* Answers from caches at the place where they are asked: the same text that generation would have given
 * there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "service/replay.h"
#include "model/model.h"

static const struct language c = {.name = "c", .line_comment = "//", .quotes = "\"'"};

static int set_up(void **state)
{
    static struct fim fim;
    struct errmsg msg = {0};
    struct model *model;
    if (model_open(FIXTURES "/models/gemma.gguf", &model, &msg)) return -1;
    fim_detect(model, &fim);
    model_unref(&model);
    *state = &fim;
    return 0;
}

/* What is asked with this text around the cursor. */
struct asked {
    const char *before, *after;
    enum stop_extent extent;
    enum document_eol eol;
    const char *stop;
};

static struct snapshot take(const struct asked *a)
{
    struct question q = {.input = {.before = a->before,
                                   .before_len = strlen(a->before),
                                   .after = a->after,
                                   .after_len = strlen(a->after)},
                         .eol = a->eol,
                         .extent = a->extent,
                         .language = &c,
                         .quiet = ""};
    struct service_request r = {.max_tokens = -1, .sampling = SAMPLER_GREEDY};
    struct snapshot_limits limits = snapshot_limits(&r, 1000, 64, 2048);
    struct snapshot s;
    struct errmsg msg = {0};
    if (a->stop) r.stops[r.n_stops++] = (struct service_stop){a->stop, strlen(a->stop)};
    if (snapshot_take(&r, &limits, &q, &s, &msg)) fail_msg("%s", msg.text);
    return s;
}

static struct record_candidate generated(const char *text, enum record_end end)
{
    return (struct record_candidate){
        .text = text, .len = strlen(text), .end = end, .n_tokens = 7, .mean_logprob = -0.25f};
}

/* text null: more is wanted than what is there. */
static void check(const struct fim *fim, const struct asked *a, const char *recorded, enum record_end end,
                  size_t n_typed, const char *text, const char *stop)
{
    struct snapshot s = take(a);
    struct record r = {.candidates = {generated(recorded, end)}, .n_candidates = 1, .room = 100};
    struct replay replay;
    bool ok = replay_record(fim, &s, &r, n_typed, &replay);
    assert_int_equal(ok, text != NULL);
    if (ok) {
        assert_int_equal(replay.n, 1);
        assert_string_equal(replay.candidates[0].text, text);
        assert_int_equal(replay.candidates[0].len, strlen(text));
        assert_string_equal(replay.candidates[0].stop, stop);
        assert_int_equal(replay.candidates[0].n_tokens, 7);
        assert_true(replay.candidates[0].mean_logprob == -0.25);
    }
    replay_clear(&replay);
    snapshot_clear(&s);
}

static void test_same_place(void **state)
{
    const struct asked line = {.before = "int x = ", .after = "\n", .extent = STOP_EXTENT_LINE};
    check(*state, &line, "1;\nint y", RECORD_RULE, 0, "1;", "line");
    check(*state, &line, "1;", RECORD_EOG, 0, "1;", "eog");
    check(*state, &line, "1 + 2 + ", RECORD_LIMIT, 0, "1 + 2 +", "limit");
    check(*state, &line, "", RECORD_EOG, 0, "", "eog");
}

static void test_typed(void **state)
{
    const struct asked line = {.before = "int x = co", .after = "\n", .extent = STOP_EXTENT_LINE};
    check(*state, &line, "count(a);\nint y", RECORD_RULE, 2, "unt(a);", "line");
    check(*state, &line, "count(a);", RECORD_EOG, 2, "unt(a);", "eog");
    check(*state, &line, "co", RECORD_EOG, 2, "", "eog");
}

/* Where text ended by rules of the place, other places may want more. */
static void test_rules_of_another_place(void **state)
{
    const struct asked block = {.before = "{\n    ", .after = "\n}\n", .extent = STOP_EXTENT_BLOCK};
    const struct asked line = {.before = "{\n    ", .after = "\n}\n", .extent = STOP_EXTENT_LINE};
    check(*state, &block, "a();\n", RECORD_RULE, 0, NULL, NULL);
    check(*state, &block, "a();\n    b();\n}\n", RECORD_RULE, 0, "a();\n    b();", "block");
    check(*state, &line, "a();\n    b();\n}\n", RECORD_RULE, 0, "a();", "line");
}

static void test_stop_texts_and_line_ends(void **state)
{
    const struct asked word = {
        .before = "x = ", .after = "\n", .extent = STOP_EXTENT_ANY, .stop = ";", .eol = DOCUMENT_CRLF};
    check(*state, &word, "f(\n  1); g", RECORD_RULE, 0, "f(\r\n  1)", "word");
}

/* At the limit of tokens nobody knows how it goes on: half of it has to be left. */
static void test_limit(void **state)
{
    const struct asked line = {.before = "int x = ", .after = "\n", .extent = STOP_EXTENT_LINE};
    check(*state, &line, "12345678", RECORD_LIMIT, 4, "5678", "limit");
    check(*state, &line, "12345678", RECORD_LIMIT, 5, NULL, NULL);
    check(*state, &line, "1234567;\n", RECORD_LIMIT, 6, "7;", "line"); /* it is known */
}

/* After more than `room` bytes the prompt would have lost some of its beginning. */
static void test_room(void **state)
{
    const struct asked line = {.before = "int x = co", .after = "\n", .extent = STOP_EXTENT_LINE};
    struct snapshot s = take(&line);
    struct record r = {.candidates = {generated("count(a);", RECORD_EOG)}, .n_candidates = 1, .room = 2};
    struct replay replay;
    assert_true(replay_record(*state, &s, &r, 2, &replay));
    replay_clear(&replay);
    r.room = 1;
    assert_false(replay_record(*state, &s, &r, 2, &replay));
    assert_true(replay_record(*state, &s, &r, 0, &replay));
    replay_clear(&replay);
    snapshot_clear(&s);
}

static void test_candidates(void **state)
{
    const struct asked line = {.before = "int x = ", .after = "\n", .extent = STOP_EXTENT_LINE};
    struct snapshot s = take(&line);
    struct record r = {.candidates = {generated("1;\n", RECORD_RULE), generated("1;\nint", RECORD_RULE),
                                      generated("2;", RECORD_EOG)},
                       .n_candidates = 3};
    struct replay replay;
    assert_true(replay_record(*state, &s, &r, 0, &replay));
    assert_int_equal(replay.n, 2); /* distinct */
    assert_string_equal(replay.candidates[0].text, "1;");
    assert_string_equal(replay.candidates[1].text, "2;");
    replay_clear(&replay);
    r.candidates[1] = generated("3", RECORD_RULE); /* one of them is not whole */
    assert_false(replay_record(*state, &s, &r, 0, &replay));
    assert_int_equal(replay.n, 0);
    snapshot_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_place),
        cmocka_unit_test(test_typed),
        cmocka_unit_test(test_rules_of_another_place),
        cmocka_unit_test(test_stop_texts_and_line_ends),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_candidates),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
