/* FIM prompts: every family's golden prompt, written as token texts, over vocabularies of bytes and the
 * family's special tokens; and the budget, the window's ends and the detection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "context/fim.h"
#include "model/model.h"
#include "os/clock.h"
#include "support/fim_cases.h"

#define IMAGE_MAX ((size_t)1 << 20)

/* Tokens as text: special ones as they are spelled, the others as the bytes that they stand for. */
static char *texts_of(const struct tokenizer *t, const struct token_list *l)
{
    struct buf out;
    buf_init(&out, IMAGE_MAX);
    for (int32_t i = 0; i < l->n; i++) {
        size_t len;
        const char *text = tokenizer_is_special(t, l->ids[i]) ? tokenizer_text(t, l->ids[i], &len)
                                                              : tokenizer_piece(t, l->ids[i], &len);
        buf_add(&out, text, len);
    }
    return buf_take(&out);
}

static void expect_prompt(const struct fim_fake *f, const struct fim_input *in, int32_t max,
                          const char *expected)
{
    struct token_list prompt = {0};
    struct errmsg msg = {0};
    if (fim_build(&f->fim, &f->model, in, max, NULL, &prompt, &msg)) fail_msg("%s", msg.text);
    assert_true(prompt.n >= 1 && prompt.n <= max);
    char *texts = texts_of(f->model.tokenizer, &prompt);
    if (strcmp(texts, expected) != 0) {
        fail_msg("%s: the prompt is\n%s\nexpected\n%s", f->fim.family, texts, expected);
    }
    mem_free(texts);
    token_list_clear(&prompt);
}

static struct fim_input input_of(const char *prefix, const char *suffix)
{
    return (struct fim_input){
        .prefix = prefix, .prefix_len = strlen(prefix), .suffix = suffix, .suffix_len = strlen(suffix)};
}

static const char *without_repo(const char *prompt)
{
    static const char *const repos[] = {"<|repo_name|>shop\n", "<repo_name>shop\n"};
    for (int i = 0; i < 2; i++) {
        if (strncmp(prompt, repos[i], strlen(repos[i])) == 0) return prompt + strlen(repos[i]);
    }
    return prompt;
}

static void test_families(void **state)
{
    (void)state;
    static const struct fim_file files[] = {{"far.c", "int f;\n", 7}, {"near.c", "int n;", 6}};
    for (size_t i = 0; i < fim_n_cases; i++) {
        const struct fim_case *c = &fim_cases[i];
        struct fim_fake *f = fim_fake_open(&c->vocab);
        assert_string_equal(f->fim.family, c->family);
        assert_string_equal(fim_order_name(f->fim.order), c->order);
        assert_string_equal(f->fim.detected, c->detected);
        struct fim_input in = input_of("a(", ");\n");
        expect_prompt(f, &in, 256, c->alone);
        in.path = "src/cur.c";
        in.repo = "shop";
        in.files = files;
        in.n_files = 2;
        if (c->project) expect_prompt(f, &in, 256, c->project);
        in.repo = NULL;
        if (c->project) expect_prompt(f, &in, 256, without_repo(c->project));
        fim_fake_close(f);
    }
}

/* Where files are shown as text, that is a comment of the language. */
static void test_line_comment(void **state)
{
    (void)state;
    static const struct fim_vocab plain = {.kind = "gpt2"};
    static const struct fim_file file = {"a.c", "int f;\n", 7};
    struct fim_fake *f = fim_fake_open(&plain);
    struct fim_input in = input_of("a(", ");\n");
    in.line_comment = "//";
    in.path = "b.c";
    expect_prompt(f, &in, 256, "a("); /* its name alone is not worth a line */
    in.files = &file;
    in.n_files = 1;
    expect_prompt(f, &in, 256, "// a.c\nint f;\n\n// b.c\na(");
    expect_prompt(f, &in, 40, "a("); /* the other file takes more than half of these */
    in.path = NULL;
    expect_prompt(f, &in, 256, "// a.c\nint f;\n\na(");
    fim_fake_close(f);
}

static struct fim_fake *open_qwen(void)
{
    return fim_fake_open(&fim_cases[0].vocab);
}

static void test_end_tokens(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    const struct tokenizer *t = f->model.tokenizer;
    static const char *const ends[] = {"<|endoftext|>", "<|fim_pad|>",    "<|im_end|>",     "<|file_sep|>",
                                       "<|repo_name|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        assert_true(fim_is_end(&f->fim, tokenizer_find(t, ends[i])));
    }
    assert_false(fim_is_end(&f->fim, tokenizer_find(t, "a")));
    assert_false(fim_is_end(&f->fim, TOKEN_NONE));
    fim_fake_close(f);
}

/* Special tokens in the user's text are text. */
static void test_text_is_not_parsed(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    struct fim_input in = input_of("s = \"<|fim_middle|>\"", "<|endoftext|>");
    struct token_list prompt = {0};
    assert_int_equal(fim_build(&f->fim, &f->model, &in, 256, NULL, &prompt, NULL), OK);
    int n_special = 0;
    for (int32_t i = 0; i < prompt.n; i++)
        n_special += tokenizer_is_special(f->model.tokenizer, prompt.ids[i]);
    assert_int_equal(n_special, 3);
    token_list_clear(&prompt);
    fim_fake_close(f);
}

static void test_empty(void **state)
{
    (void)state;
    struct fim_input in = input_of("", "");
    struct fim_fake *f = open_qwen();
    expect_prompt(f, &in, 4, "<|fim_prefix|><|fim_suffix|><|fim_middle|>");
    fim_fake_close(f);
    /* Without FIM and BOS the prompt would be empty; nothing can be predicted from that. */
    static const struct fim_vocab plain = {.kind = "gpt2"}, with_bos = {.kind = "gpt2", .adds_bos = true};
    f = fim_fake_open(&plain);
    expect_prompt(f, &in, 1, "\n");
    fim_fake_close(f);
    f = fim_fake_open(&with_bos);
    expect_prompt(f, &in, 2, "<s>");
    fim_fake_close(f);
}

static void test_budget(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    struct errmsg msg = {0};
    struct token_list prompt = {0};
    struct fim_input in = input_of("one\ntwo\nthree\nfour\n", "five\nsix\nseven\n");
    assert_int_equal(fim_build(&f->fim, &f->model, &in, 3, NULL, &prompt, &msg), ERR_LIMIT);
    assert_non_null(strstr(msg.text, "at least 4"));
    assert_int_equal(fim_build(&f->fim, &f->model, &in, -5, NULL, &prompt, &msg), ERR_LIMIT);
    /* 23 tokens for 19 + 15: the suffix gets a quarter, both whole lines. */
    expect_prompt(f, &in, 26, "<|fim_prefix|>two\nthree\nfour\n<|fim_suffix|>five\n<|fim_middle|>");
    /* The suffix takes what a short prefix leaves. */
    in = input_of("x", "five\nsix\nseven\n");
    expect_prompt(f, &in, 3 + 16, "<|fim_prefix|>x<|fim_suffix|>five\nsix\nseven\n<|fim_middle|>");
    expect_prompt(f, &in, 3 + 12, "<|fim_prefix|>x<|fim_suffix|>five\nsix\n<|fim_middle|>");
    /* A line that does not fit is cut between characters. */
    in = input_of("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xac\xe2\x82\xac");
    expect_prompt(f, &in, 3 + 8, "<|fim_prefix|>\xe2\x82\xac\xe2\x82\xac<|fim_suffix|><|fim_middle|>");
    token_list_clear(&prompt);
    fim_fake_close(f);
}

/* Every budget gives a valid prompt within it, with the cursor's surroundings next to each other. */
static void test_every_budget(void **state)
{
    (void)state;
    static const struct fim_file files[] = {{"far.c", "int f;\n", 7}, {"near.c", "int n;", 6}};
    for (size_t i = 0; i < fim_n_cases; i++) {
        struct fim_fake *f = fim_fake_open(&fim_cases[i].vocab);
        struct fim_input in = input_of("first line\nsecond caf\xc3\xa9 line\n    x = ", "+ y\nnext line\n");
        in.path = "src/cur.c";
        in.repo = "shop";
        in.files = files;
        in.n_files = 2;
        struct token_list prompt = {0};
        for (int32_t max = 5; max < 200; max++) {
            struct errmsg msg = {0};
            if (fim_build(&f->fim, &f->model, &in, max, NULL, &prompt, &msg))
                fail_msg("%d: %s", max, msg.text);
            assert_true(prompt.n >= 1 && prompt.n <= max);
        }
        token_list_clear(&prompt);
        fim_fake_close(f);
    }
}

/* Other files are dropped whole, the most distant first. */
static void test_files_budget(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    static const struct fim_file files[] = {{"far.c", "int f;\n", 7}, {"near.c", "int n;\n", 7}};
    struct fim_input in = input_of("a(", ")");
    in.path = "c.c";
    in.files = files;
    in.n_files = 2;
    expect_prompt(
        f, &in, 3 + 60,
        "<|file_sep|>near.c\nint n;\n<|file_sep|>c.c\n<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>");
    expect_prompt(f, &in, 3 + 30, "<|file_sep|>c.c\n<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>");
    expect_prompt(f, &in, 3 + 8, "<|fim_prefix|>a(<|fim_suffix|>)<|fim_middle|>");
    fim_fake_close(f);
}

static bool has_prefix(const struct token_list *l, const struct token_list *start, int32_t n)
{
    return l->n >= n && memcmp(l->ids, start->ids, (size_t)n * sizeof *l->ids) == 0;
}

/* Typing at the end of a long text: most prompts begin as the one before did, so that its KV is reused. */
static void test_anchored_start(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    struct buf text;
    buf_init(&text, IMAGE_MAX);
    for (int i = 0; i < 400; i++) buf_printf(&text, "    value_%d = compute(%d);\n", i, i);
    struct token_list last = {0}, now = {0};
    int n_moves = 0, n_tokens = 512;
    for (int i = 0; i < 300; i++) {
        buf_add_str(&text, i % 10 == 9 ? "\n" : "x");
        struct fim_input in = {.prefix = text.data, .prefix_len = text.len, .suffix = "}\n", .suffix_len = 2};
        assert_int_equal(fim_build(&f->fim, &f->model, &in, n_tokens, NULL, &now, NULL), OK);
        assert_true(now.n <= n_tokens && now.n > n_tokens / 4);
        assert_int_equal(now.ids[1],
                         tokenizer_find(f->model.tokenizer, "\xc4\xa0\xc4\xa0")); /* a line's start */
        if (i > 0) n_moves += !has_prefix(&now, &last, last.n - 8);
        struct token_list swap = last;
        last = now;
        now = swap;
    }
    /* 300 bytes in steps of 128: a quarter of the window is between 128 and 256. */
    if (n_moves > 3) fail_msg("the window moved %d times", n_moves);
    token_list_clear(&last);
    token_list_clear(&now);
    buf_clear(&text);
    fim_fake_close(f);
}

/* Typing in the middle of a text that does not fit: what is shown of the suffix changes at most where the
 * prefix grows into another quarter of the room. */
static void test_steady_suffix(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    f->fim.order = FIM_SPM;
    struct buf before, after;
    struct fim_memo memo = {0};
    struct token_list now = {0}, last = {0};
    buf_init(&before, IMAGE_MAX);
    buf_init(&after, IMAGE_MAX);
    for (int i = 0; i < 100; i++) buf_printf(&after, "    total += value_%d;\n", i);
    int n_changes = 0;
    for (int i = 0; i < 1000; i++) {
        buf_add_char(&before, i % 20 == 19 ? '\n' : 'x');
        struct fim_input in = {
            .prefix = before.data, .prefix_len = before.len, .suffix = after.data, .suffix_len = after.len};
        assert_int_equal(fim_build(&f->fim, &f->model, &in, 512, &memo, &now, NULL), OK);
        assert_true(now.n > 256 && now.n <= 512);
        int32_t n_suffix = 0;
        while (now.ids[n_suffix] != f->fim.prefix) n_suffix++;
        n_changes += i > 0 && !has_prefix(&last, &now, n_suffix + 1);
        struct token_list swap = last;
        last = now;
        now = swap;
    }
    assert_true(n_changes >= 1 && n_changes <= 3);
    assert_true(fim_memo_bytes(&memo) > 0);
    fim_memo_clear(&memo);
    token_list_clear(&now);
    token_list_clear(&last);
    buf_clear(&before);
    buf_clear(&after);
    fim_fake_close(f);
}

static uint32_t random_below(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

/* Whatever a memo has seen before, the prompt is that of a build without one. */
static void test_memo_changes_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {"int ", "x",    "\n",       "    ", "return",
                                        "(",    ");\n", "\xc3\xa9", "12",   "{\n"};
    uint32_t seed = 1;
    for (size_t i = 0; i < fim_n_cases; i++) {
        struct fim_fake *f = fim_fake_open(&fim_cases[i].vocab);
        struct fim_memo memo = {0};
        struct token_list with = {0}, without = {0};
        struct buf text;
        buf_init(&text, IMAGE_MAX);
        size_t cursor = 0;
        for (int round = 0; round < 300; round++) {
            if (text.len > 600) text.len = cursor = 0; /* another document */
            if (random_below(&seed, 8) == 0) cursor = random_below(&seed, (uint32_t)text.len + 1);
            const char *word = words[random_below(&seed, 10)];
            size_t len = strlen(word), behind = text.len - cursor;
            buf_add_str(&text, word);
            memmove(text.data + cursor + len, text.data + cursor, behind);
            memcpy(text.data + cursor, word, len);
            cursor += len;
            /* Other files are text of the same kind, which changes now and then. */
            size_t half = text.len / 60 * 30;
            const struct fim_file files[] = {
                {"far.c", text.data, half}, {"near.c", "int n;", 6}, {"x", "", 0}};
            struct fim_input in = {.prefix = text.data,
                                   .prefix_len = cursor,
                                   .suffix = text.data + cursor,
                                   .suffix_len = text.len - cursor,
                                   .path = round % 3 ? "src/cur.c" : NULL,
                                   .repo = round % 5 ? "shop" : NULL,
                                   .line_comment = round % 7 ? "//" : NULL,
                                   .files = files,
                                   .n_files = (int32_t)random_below(&seed, 4)};
            int32_t max = round % 2 ? 200 : 1000;
            assert_int_equal(fim_build(&f->fim, &f->model, &in, max, &memo, &with, NULL), OK);
            assert_int_equal(fim_build(&f->fim, &f->model, &in, max, NULL, &without, NULL), OK);
            assert_int_equal(with.n, without.n);
            assert_memory_equal(with.ids, without.ids, (size_t)with.n * sizeof *with.ids);
        }
        fim_memo_clear(&memo);
        buf_clear(&text);
        token_list_clear(&with);
        token_list_clear(&without);
        fim_fake_close(f);
    }
}

/* Megabytes around the cursor cost a window, not their tokenisation. */
static void test_long_text(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    size_t len = (size_t)32 << 20;
    char *text = malloc(len);
    for (size_t i = 0; i < len; i++) text[i] = i % 40 == 39 ? '\n' : (char)('a' + i % 7);
    struct fim_input in = {.prefix = text, .prefix_len = len, .suffix = text, .suffix_len = len};
    struct token_list prompt = {0};
    int64_t start = clock_ns();
    assert_int_equal(fim_build(&f->fim, &f->model, &in, 1024, NULL, &prompt, NULL), OK);
    assert_true(clock_ms_since(start) < 2000); /* all of it would take a minute */
    assert_true(prompt.n > 512 && prompt.n <= 1024);
    token_list_clear(&prompt);
    free(text);
    fim_fake_close(f);
}

/* Drafts are looked up in text that ends where the answer begins. */
static void test_draft_text(void **state)
{
    (void)state;
    struct fim_fake *f = open_qwen();
    struct fim_input in = input_of("abc", "xyz");
    struct token_list prompt = {0}, drafts = {0};
    assert_int_equal(fim_build(&f->fim, &f->model, &in, 64, NULL, &prompt, NULL), OK);
    assert_int_equal(prompt.ids[fim_suffix_start(&f->fim, &prompt)], f->fim.suffix);
    assert_int_equal(fim_draft_text(&f->fim, &prompt, &drafts), OK);
    char *texts = texts_of(f->model.tokenizer, &drafts);
    assert_string_equal(texts, "xyz<|fim_prefix|>abc");
    mem_free(texts);
    token_list_clear(&drafts);

    f->fim.order = FIM_SPM; /* as it is in the prompt */
    assert_int_equal(fim_build(&f->fim, &f->model, &in, 64, NULL, &prompt, NULL), OK);
    assert_int_equal(fim_suffix_start(&f->fim, &prompt), prompt.n);
    assert_int_equal(fim_draft_text(&f->fim, &prompt, &drafts), OK);
    assert_int_equal(drafts.n, 0);
    token_list_clear(&prompt);
    fim_fake_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),       cmocka_unit_test(test_line_comment),
        cmocka_unit_test(test_end_tokens),     cmocka_unit_test(test_text_is_not_parsed),
        cmocka_unit_test(test_empty),          cmocka_unit_test(test_budget),
        cmocka_unit_test(test_every_budget),   cmocka_unit_test(test_files_budget),
        cmocka_unit_test(test_anchored_start), cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_steady_suffix),  cmocka_unit_test(test_memo_changes_nothing),
        cmocka_unit_test(test_draft_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
