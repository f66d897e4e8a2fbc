/* Prompts that clients make themselves: special tokens, BOS, and what is left of those that are too long. And
 * what a document's prompt leaves for the answer to repeat. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "complete/prompt.h"
#include "model/model.h"
#include "os/file.h"

struct bench {
    struct model *model;
    struct fim fim;
};

/* The fixture, but that it asks for BOS: the flag follows its key and the type, a 32-bit number. */
static enum err write_model(const char *path, struct errmsg *msg)
{
    static const char key[] = "tokenizer.ggml.add_bos_token";
    struct buf file;
    buf_init(&file, (size_t)64 << 20);
    enum err err = file_read(FIXTURES "/models/gemma.gguf", &file, msg);
    char *at = err ? NULL : memmem(file.data, file.len, key, strlen(key));
    if (at) at[strlen(key) + sizeof(uint32_t)] = 1;
    if (!err) err = file_write(path, file.data, file.len, msg);
    buf_clear(&file);
    return err;
}

static int set_up(void **state)
{
    static struct bench b;
    struct errmsg msg = {0};
    char path[64];
    snprintf(path, sizeof path, "/tmp/test_prompt.%d.gguf", getpid());
    enum err err = write_model(path, &msg);
    if (!err) err = model_open(path, &b.model, &msg);
    unlink(path);
    if (err) {
        print_error("%s\n", msg.text);
        return -1;
    }
    fim_detect(b.model, &b.fim);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    model_unref(&b->model);
    return 0;
}

static struct prompt build(struct bench *b, const char *text, int32_t max)
{
    struct prompt_input in = {.is_raw = true, .text = text, .text_len = strlen(text)};
    struct prompt p;
    struct errmsg msg = {0};
    if (prompt_build(&b->fim, b->model, &in, max, NULL, &p, &msg)) fail_msg("%s", msg.text);
    assert_true(p.tokens.n >= 1 && p.tokens.n <= max);
    assert_int_equal(p.move_from, p.tokens.n);
    assert_int_equal(p.drafts.n, 0);
    return p;
}

static void test_bos(void **state)
{
    struct bench *b = *state;
    const struct tokenizer *t = b->model->tokenizer;
    int32_t bos = tokenizer_bos(t);
    assert_true(tokenizer_adds_bos(t) && bos != TOKEN_NONE);
    struct buf twice;
    size_t len;
    const char *name = tokenizer_text(t, bos, &len);
    buf_init(&twice, 1000);
    buf_add(&twice, name, len);
    buf_add_str(&twice, "int x;");
    struct prompt plain = build(b, "int x;", 100), own = build(b, buf_str(&twice), 100),
                  none = build(b, "", 100);
    assert_int_equal(plain.tokens.ids[0], bos);
    assert_true(plain.tokens.ids[1] != bos);
    /* Clients that write it themselves get no second one. */
    assert_int_equal(own.tokens.ids[0], bos);
    assert_true(own.tokens.ids[1] != bos);
    assert_int_equal(none.tokens.n, 1);
    assert_int_equal(none.tokens.ids[0], bos);
    prompt_clear(&plain);
    prompt_clear(&own);
    prompt_clear(&none);
    buf_clear(&twice);
}

/* The end is kept, after BOS, and successive prompts begin alike most of the time. */
static void test_too_long(void **state)
{
    struct bench *b = *state;
    enum { MAX = 64 };
    int32_t ids[400], n_moves = 0;
    for (int32_t i = 0; i < 400; i++) ids[i] = 10 + i % 90;
    ids[0] = tokenizer_bos(b->model->tokenizer);
    int32_t before = -1;
    for (int32_t n = 1; n <= 400; n++) {
        struct prompt_input in = {.is_raw = true, .tokens = ids, .n_tokens = n};
        struct prompt p;
        assert_int_equal(prompt_build(&b->fim, b->model, &in, MAX, NULL, &p, NULL), OK);
        assert_int_equal(p.was_cut, n > MAX);
        if (n > MAX) {
            assert_true(p.tokens.n <= MAX && p.tokens.n > MAX / 2);
            assert_int_equal(p.tokens.ids[0], ids[0]);
            int32_t kept = p.tokens.n - 1;
            assert_memory_equal(p.tokens.ids + 1, ids + n - kept, (size_t)kept * sizeof *ids);
            n_moves += p.tokens.ids[1] != before;
            before = p.tokens.ids[1];
        } else {
            assert_memory_equal(p.tokens.ids, ids, (size_t)n * sizeof *ids);
        }
        prompt_clear(&p);
    }
    assert_true(n_moves > 10 && n_moves < 400 / 8);
}

static void test_refusals(void **state)
{
    struct bench *b = *state;
    static const int32_t bad[] = {5, -1};
    struct prompt_input in = {.is_raw = true, .tokens = bad, .n_tokens = 2};
    struct prompt p;
    struct errmsg msg = {0};
    assert_int_equal(prompt_build(&b->fim, b->model, &in, 10, NULL, &p, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "token 1 of the prompt is -1"));
    prompt_clear(&p);
    in.n_tokens = 1;
    assert_int_equal(prompt_build(&b->fim, b->model, &in, 0, NULL, &p, &msg), ERR_LIMIT);
    prompt_clear(&p);
    assert_int_equal(prompt_build(&b->fim, b->model, &in, 1, NULL, &p, &msg), OK);
    assert_int_equal(p.tokens.n, 1);
    prompt_clear(&p);
}

static const char source[] =
    "int maximum(int a, int b)\n{\n    if (a > b)\n        return a;\n    return b;\n}\n";

/* What a prompt shows, with what the answer has to begin with. */
static void spell(const struct tokenizer *t, const struct prompt *p, struct buf *out)
{
    buf_init(out, 1000);
    for (int32_t i = 0; i < p->tokens.n; i++) {
        size_t len;
        const char *piece = tokenizer_piece(t, p->tokens.ids[i], &len);
        buf_add(out, piece, len);
    }
    buf_add(out, p->heal, p->heal_len);
}

/* At every place: together they are the text, and what is to be healed is as little as the tokens at its end.
 */
static void test_healing(void **state)
{
    struct bench *b = *state;
    const struct tokenizer *t = b->model->tokenizer;
    struct fim plain = {.family = "none", .order = FIM_PREFIX_ONLY, .row = b->fim.row};
    plain.prefix = plain.suffix = plain.middle = plain.repo = plain.file = TOKEN_NONE;
    int n_healed = 0;
    for (size_t cursor = 0; cursor < sizeof source; cursor++) {
        struct prompt_input in = {
            .before = source, .before_len = cursor, .after = "", .path = "a.c", .line_comment = "//"};
        struct prompt p;
        struct token_list whole = {0};
        assert_int_equal(prompt_build(&plain, b->model, &in, 200, NULL, &p, NULL), OK);
        assert_true(p.tokens.n >= 1 && p.heal_len <= sizeof p.heal);
        assert_int_equal(tokenizer_encode(t, source, cursor, TOKENIZER_BOS, &whole), OK);
        if (cursor > 0) {
            struct buf text;
            spell(t, &p, &text);
            assert_int_equal(text.len, cursor);
            assert_memory_equal(text.data, source, cursor);
            assert_true(whole.n - p.tokens.n <= 3);
            assert_memory_equal(p.tokens.ids, whole.ids, (size_t)p.tokens.n * sizeof *whole.ids);
            buf_clear(&text);
        }
        assert_int_equal(p.move_from, p.tokens.n);
        n_healed += p.heal_len > 0;
        token_list_clear(&whole);
        prompt_clear(&p);
    }
    assert_true(n_healed > 10);
}

/* Models that have learned from text cut anywhere see it as it is. */
static void test_fim_is_not_healed(void **state)
{
    struct bench *b = *state;
    assert_int_equal(b->fim.order, FIM_PSM);
    for (size_t cursor = 0; cursor < sizeof source; cursor++) {
        struct prompt_input in = {.before = source, .before_len = cursor, .after = ""};
        struct prompt p;
        assert_int_equal(prompt_build(&b->fim, b->model, &in, 200, NULL, &p, NULL), OK);
        assert_int_equal(p.heal_len, 0);
        prompt_clear(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bos),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_healing),
        cmocka_unit_test(test_fim_is_not_healed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
