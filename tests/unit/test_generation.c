/* Answers as they are generated: what the caller is given while tokens come, and why it ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "complete/generation.h"
#include "model/model.h"

static const struct language c = {.name = "c", .line_comment = "//", .quotes = "\"'"};

static int set_up(void **state)
{
    static struct fim fim;
    struct errmsg msg = {0};
    struct model *model;
    if (model_open(FIXTURES "/models/gemma.gguf", &model, &msg)) {
        print_error("%s\n", msg.text);
        return -1;
    }
    fim_detect(model, &fim);
    model_unref(&model); /* the marks are constants */
    *state = &fim;
    return 0;
}

struct answer {
    const char *before, *after;
    enum stop_extent extent;
    enum document_eol eol;
    const char *pieces[8]; /* of the answer, a token each */
    const char *text;
    enum complete_stop stop;
};

static void check_answer(const struct fim *fim, const struct answer *a, bool is_raw)
{
    struct prompt_input in = {.is_raw = is_raw,
                              .before = a->before,
                              .before_len = strlen(a->before),
                              .after = a->after,
                              .after_len = strlen(a->after)};
    struct generation_rules rules = {.eol = a->eol, .extent = a->extent, .language = &c};
    struct generation g;
    struct buf out;
    struct errmsg msg = {0};
    enum complete_stop stop;
    buf_init(&out, 1 << 16);
    generation_init(&g, fim, &in, &rules, &out);
    for (int32_t i = 0; i < 8 && a->pieces[i]; i++) {
        if (!generation_on_token(&g, TOKEN_NONE, a->pieces[i], strlen(a->pieces[i]))) break;
    }
    assert_int_equal(generation_finish(&g, ENGINE_STOP_LIMIT, &stop, &msg), OK);
    assert_string_equal(buf_str(&out), a->text);
    assert_string_equal(complete_stop_name(stop), complete_stop_name(a->stop));
    generation_clear(&g);
    buf_clear(&out);
}

static void test_extents(void **state)
{
    static const struct answer answers[] = {
        {"int x = ", "", STOP_EXTENT_LINE, DOCUMENT_LF, {"f(", "\n", "1);"}, "f(", COMPLETE_LINE},
        {"int x = ",
         "",
         STOP_EXTENT_UNIT,
         DOCUMENT_LF,
         {"f(", "\n  ", "1);", "\n", "int"},
         "f(\n  1);",
         COMPLETE_UNIT},
        {"    ", "\n}\n", STOP_EXTENT_BLOCK, DOCUMENT_LF, {"x", ";\n", "}\n"}, "x;", COMPLETE_BLOCK},
        {"    ", "\n", STOP_EXTENT_ANY, DOCUMENT_LF, {"x;\n", "}\n", "y"}, "x;\n}\ny", COMPLETE_LIMIT},
        {"    ",
         "\n}\n",
         STOP_EXTENT_BLOCK,
         DOCUMENT_CRLF,
         {"x;\n    y;", "\n}"},
         "x;\r\n    y;",
         COMPLETE_BLOCK},
        {"\n    x();\n\n    ", "", STOP_EXTENT_BLOCK, DOCUMENT_LF, {"x();", "\n"}, "", COMPLETE_REPETITION},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) check_answer(*state, &answers[i], false);
}

/* A token of the family, written out, is no text; but a raw answer is what the model writes. */
static void test_marks(void **state)
{
    const struct fim *fim = *state;
    assert_string_equal(fim->family, "qwen");
    struct answer a = {"x = ", "",          STOP_EXTENT_ANY, DOCUMENT_LF, {"1", ";<|", "fim_prefix", "|>y"},
                       "1;",   COMPLETE_EOG};
    check_answer(fim, &a, false);
    a.pieces[3] = "|";
    a.text = "1;<|fim_prefix|";
    a.stop = COMPLETE_LIMIT;
    check_answer(fim, &a, false);
    a.pieces[3] = "|>y";
    a.text = "1;<|fim_prefix|>y";
    check_answer(fim, &a, true);
}

static bool refuse(void *ctx, const char *text, size_t len)
{
    (void)text;
    return (*(size_t *)ctx += len) < 3;
}

static void test_refused(void **state)
{
    struct prompt_input in = {.before = "", .after = ""};
    size_t n = 0;
    struct generation_rules rules = {.on_text = refuse, .ctx = &n};
    struct generation g;
    struct buf out;
    struct errmsg msg = {0};
    enum complete_stop stop;
    buf_init(&out, 1 << 16);
    generation_init(&g, *state, &in, &rules, &out);
    assert_true(generation_on_token(&g, TOKEN_NONE, "ab", 2));
    assert_false(generation_on_token(&g, TOKEN_NONE, "cd", 2));
    assert_int_equal(generation_finish(&g, ENGINE_STOP_LIMIT, &stop, &msg), OK);
    assert_int_equal(stop, COMPLETE_CANCELLED);
    assert_string_equal(buf_str(&out), "abcd"); /* what it was given */
    generation_clear(&g);
    buf_clear(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
