/* What a model on another machine is asked: the choice of a format, prompts that the server lays out and
 * prompts as text, raw ones and how they are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "complete/generation.h"
#include "complete/remote_prompt.h"

#define TEXT_MAX ((size_t)1 << 20)
/* What names of special tokens may take besides text. */
#define MARKS_MAX 256

static const struct fim_file files[] = {{"far.c", "int f;\n", 7}, {"near.c", "int n;", 6}};

static struct prompt_input place(const char *before, const char *after)
{
    return (struct prompt_input){.before = before,
                                 .before_len = strlen(before),
                                 .after = after,
                                 .after_len = strlen(after),
                                 .path = "src/cur.c",
                                 .repo = "shop",
                                 .line_comment = "//",
                                 .files = files,
                                 .n_files = 2};
}

static struct remote_traits traits_of(const char *model, const char *base, bool has_fim)
{
    struct remote_traits t = {.is_known = true, .has_fim = has_fim};
    snprintf(t.model, sizeof t.model, "%s", model);
    snprintf(t.base, sizeof t.base, "%s", base);
    return t;
}

static void build(const char *setting, const struct remote_traits *t, const struct prompt_input *in,
                  int32_t max_tokens, struct remote_prompt *p, struct remote_ask *ask)
{
    struct errmsg msg = {0};
    memset(p, 0xaa, sizeof *p); /* whatever they held before */
    memset(ask, 0xaa, sizeof *ask);
    if (remote_prompt_build(setting, t, in, max_tokens, p, ask, &msg)) fail_msg("%s", msg.text);
}

static void expect_text(const char *text, size_t len, const char *expected)
{
    if (len != strlen(expected) || memcmp(text, expected, len) != 0)
        fail_msg("asked\n%.*s\nexpected\n%s", (int)len, text, expected);
}

/* ---- the choice ---- */

static void settings_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"auto", "server", "none", "qwen", "codellama", "generic"};
    static const char *const bad[] = {"", "Auto", "qwen2", "psm"};
    struct errmsg msg = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(remote_prompt_check_setting(good[i], &msg), OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(remote_prompt_check_setting(bad[i], &msg), ERR_ARG);
        assert_non_null(strstr(msg.text, "auto, server, none"));
        assert_non_null(strstr(msg.text, "qwen codegemma"));
        assert_non_null(strstr(msg.text, "glm generic")); /* the whole list */
        assert_non_null(strstr(msg.text, bad[i]));
    }
}

static void the_format_that_is_chosen(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *model, *base;
        bool has_fim;
        const char *family;
        bool is_servers;
    } cases[] = {
        {"auto", "", "", false, "none", false},
        {"auto", "main", "", true, "generic", true},
        {"auto", "Qwen/Qwen2.5-Coder-7B", "", false, "qwen", false},
        {"auto", "Qwen/Qwen2.5-Coder-7B", "", true, "qwen", true},
        {"auto", "main", "/models/starcoder2-3b.gguf", false, "starcoder2", false},
        {"auto", "codestral:22b", "starcoder2", false, "codestral", false}, /* the model's name first */
        {"auto", "llama3:8b", "llama", false, "none", false},
        {"server", "main", "", false, "generic", true},
        {"server", "codellama:7b-code", "", false, "codellama", true},
        {"none", "Qwen/Qwen2.5-Coder-7B", "", true, "none", false},
        {"mellum", "Qwen/Qwen2.5-Coder-7B", "", true, "mellum", false},
        {"unheard-of", "Qwen/Qwen2.5-Coder-7B", "", true, "none", false}, /* refused before it comes here */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct remote_traits t = traits_of(cases[i].model, cases[i].base, cases[i].has_fim);
        struct fim fim;
        bool is_servers = !cases[i].is_servers;
        remote_prompt_fim(cases[i].setting, &t, &fim, &is_servers);
        assert_string_equal(fim.family, cases[i].family);
        assert_int_equal(is_servers, cases[i].is_servers);
        /* What the model sees decides whether an answer can be held against the suffix. */
        assert_int_equal(fim.order == FIM_PREFIX_ONLY, strcmp(fim.family, "none") == 0);
        /* The prompt is of the same format. */
        struct prompt_input in = place("a(", ");\n");
        struct remote_prompt p;
        struct remote_ask ask;
        build(cases[i].setting, &t, &in, 512, &p, &ask);
        assert_string_equal(p.fim.family, fim.family);
        assert_int_equal(ask.is_fim, is_servers);
        assert_int_equal(ask.prompt != NULL, !is_servers);
        assert_null(ask.tokens);
        remote_prompt_clear(&p);
    }
}

/* ---- documents ---- */

static void a_prompt_as_text(void **state)
{
    (void)state;
    struct remote_traits t = traits_of("qwen2.5-coder", "", false);
    struct prompt_input in = place("s = '<|file_sep|>' + a(", ");\n");
    struct remote_prompt p;
    struct remote_ask ask;
    build("auto", &t, &in, 512, &p, &ask);
    expect_text(
        ask.prompt, ask.prompt_len,
        "<|repo_name|>shop\n<|file_sep|>far.c\nint f;\n<|file_sep|>near.c\nint n;\n"
        "<|file_sep|>src/cur.c\n<|fim_prefix|>s = '< |file_sep|>' + a(<|fim_suffix|>);\n<|fim_middle|>");
    assert_false(p.was_cut);
    assert_int_equal((size_t)p.room + ask.prompt_len, 512 * 3 + MARKS_MAX);
    assert_int_equal(ask.max_tokens, 0); /* not ours to say */
    remote_prompt_clear(&p);
    build("none", &t, &in, 512, &p, &ask);
    expect_text(ask.prompt, ask.prompt_len,
                "// far.c\nint f;\n\n// near.c\nint n;\n\n// src/cur.c\ns = '<|file_sep|>' + a(");
    remote_prompt_clear(&p);
}

static void a_prompt_that_the_server_lays_out(void **state)
{
    (void)state;
    struct remote_traits t = traits_of("qwen2.5-coder", "", true);
    struct prompt_input in = place("s = '<|file_sep|>' + a(", ");\n");
    struct remote_prompt p;
    struct remote_ask ask;
    t.takes_files = true;
    build("auto", &t, &in, 512, &p, &ask);
    expect_text(ask.prefix, ask.prefix_len, "s = '< |file_sep|>' + a(");
    expect_text(ask.suffix, ask.suffix_len, ");\n");
    assert_int_equal(ask.n_files, 2);
    assert_string_equal(ask.files[0].path, "far.c");
    expect_text(ask.files[0].text, ask.files[0].text_len, "int f;\n");
    assert_string_equal(ask.files[1].path, "near.c");
    expect_text(ask.files[1].text, ask.files[1].text_len, "int n;");
    remote_prompt_clear(&p);
    build("auto", &t, &in, 25, &p, &ask); /* "near.c", 6 bytes, and what is put around: 28 of 75 */
    assert_int_equal(ask.n_files, 1);
    assert_string_equal(ask.files[0].path, "near.c");
    remote_prompt_clear(&p);
    build("auto", &t, &in, 18, &p, &ask);
    assert_int_equal(ask.n_files, 0);
    expect_text(ask.suffix, ask.suffix_len, ");\n");
    remote_prompt_clear(&p);
    t.takes_files = false;
    build("auto", &t, &in, 512, &p, &ask);
    assert_int_equal(ask.n_files, 0);
    expect_text(ask.prefix, ask.prefix_len,
                "// far.c\nint f;\n\n// near.c\nint n;\n\n// src/cur.c\ns = '< |file_sep|>' + a(");
    expect_text(ask.suffix, ask.suffix_len, ");\n");
    assert_int_equal((size_t)p.room + ask.prefix_len + ask.suffix_len, 512 * 3);
    remote_prompt_clear(&p);
    t = traits_of("codestral-2508", "", true);
    build("auto", &t, &in, 512, &p, &ask);
    expect_text(ask.prefix, ask.prefix_len,
                "+++++ far.c\nint f;\n\n+++++ near.c\nint n;\n\n+++++ src/cur.c\ns = '<|file_sep|>' + a(");
    remote_prompt_clear(&p);
    in = place("", "");
    in.n_files = 0;
    in.files = NULL;
    build("server", &t, &in, 512, &p, &ask);
    expect_text(ask.prefix, ask.prefix_len, "+++++ src/cur.c\n");
    expect_text(ask.suffix, ask.suffix_len, "");
    remote_prompt_clear(&p);
    t.takes_files = true;
    build("server", &t, &in, 512, &p, &ask);
    expect_text(ask.prefix, ask.prefix_len, "");
    expect_text(ask.suffix, ask.suffix_len, "");
    remote_prompt_clear(&p);
}

static void long_documents_are_cut(void **state)
{
    (void)state;
    static const char *const settings[] = {"server", "qwen", "none"};
    struct remote_traits t = {0};
    struct buf text, first;
    buf_init(&text, TEXT_MAX);
    buf_init(&first, TEXT_MAX);
    for (int i = 0; i < 2000; i++) buf_printf(&text, "    caf\xc3\xa9_%d = \xe2\x82\xac;\n", i);
    for (int s = 0; s < 3; s++) {
        int n_moves = 0;
        for (size_t typed = 0; typed < 200; typed++) { /* "typing" what stands after the cursor */
            struct prompt_input in = place("", "");
            in.before = text.data;
            in.before_len = text.len / 2 + typed;
            while (utf8_is_continuation(text.data[in.before_len])) in.before_len++;
            in.after = text.data + in.before_len;
            in.after_len = text.len - in.before_len;
            struct remote_prompt p;
            struct remote_ask ask;
            build(settings[s], &t, &in, 500, &p, &ask);
            const char *start = ask.is_fim ? ask.prefix : ask.prompt;
            size_t start_len = ask.is_fim ? ask.prefix_len : ask.prompt_len;
            size_t len = ask.prompt_len + ask.prefix_len + ask.suffix_len;
            assert_true(len > 750 && len <= 1500 + MARKS_MAX);
            assert_int_equal(utf8_valid_len(start, start_len), start_len);
            assert_int_equal(utf8_valid_len(ask.suffix, ask.suffix_len), ask.suffix_len);
            assert_int_equal(p.room, 0);
            assert_false(p.was_cut); /* that is said of raw prompts */
            n_moves += typed > 0 && (start_len < 300 || memcmp(start, first.data, 300) != 0);
            buf_reset(&first);
            buf_add(&first, start, 300);
            remote_prompt_clear(&p);
        }
        if (n_moves > 2) fail_msg("%s: the window moved %d times", settings[s], n_moves);
    }
    buf_clear(&text);
    buf_clear(&first);
}

/* An answer is judged by the same rules as a local model's. */
static void answers_end_at_the_familys_marks(void **state)
{
    (void)state;
    struct remote_traits t = traits_of("codellama:7b-code", "", true);
    struct prompt_input in = place("int f(", ");\nint g;\n");
    struct remote_prompt p;
    struct remote_ask ask;
    struct generation g;
    struct generation_rules rules = {.extent = STOP_EXTENT_ANY};
    struct buf out;
    struct errmsg msg;
    enum complete_stop why;
    buf_init(&out, TEXT_MAX);
    build("auto", &t, &in, 512, &p, &ask);
    generation_init(&g, &p.fim, &in, &rules, &out);
    assert_true(generation_on_token(&g, TOKEN_NONE, "int a", 5));
    assert_false(generation_on_token(&g, TOKEN_NONE, " <EOT> more", 11));
    assert_int_equal(generation_finish(&g, ENGINE_STOP_CALLER, &why, &msg), OK);
    assert_int_equal(why, COMPLETE_EOG);
    expect_text(out.data, out.len, "int a ");
    generation_clear(&g);
    remote_prompt_clear(&p);
    buf_clear(&out);
}

/* ---- raw prompts ---- */

static void raw_prompts_stand_as_they_are(void **state)
{
    (void)state;
    static const int32_t tokens[] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};
    struct remote_traits t = traits_of("qwen2.5-coder", "", true);
    struct prompt_input in = {.is_raw = true, .text = "<|fim_prefix|>a(<|fim_suffix|>)", .text_len = 31};
    struct remote_prompt p;
    struct remote_ask ask;
    build("server", &t, &in, 512, &p, &ask);
    assert_false(ask.is_fim || ask.tokens || p.was_cut);
    expect_text(ask.prompt, ask.prompt_len, in.text);
    assert_int_equal(p.room, 512 * 3 - 31);
    remote_prompt_clear(&p);
    in = (struct prompt_input){.is_raw = true, .text = "", .text_len = 0};
    build("auto", &t, &in, 512, &p, &ask);
    expect_text(ask.prompt, ask.prompt_len, "\n");
    remote_prompt_clear(&p);
    in = (struct prompt_input){.is_raw = true, .tokens = tokens, .n_tokens = 18};
    build("auto", &t, &in, 18, &p, &ask);
    assert_null(ask.prompt);
    assert_ptr_equal(ask.tokens, tokens);
    assert_int_equal(ask.n_tokens, 18);
    assert_false(p.was_cut);
    remote_prompt_clear(&p);
    build("auto", &t, &in, 17, &p, &ask);
    assert_true(p.was_cut);
    assert_int_equal(ask.n_tokens, 14); /* in steps of four */
    assert_int_equal(ask.tokens[13], 22);
    remote_prompt_clear(&p);
    in.n_tokens = 0;
    build("auto", &t, &in, 17, &p, &ask);
    expect_text(ask.prompt, ask.prompt_len, "\n");
    remote_prompt_clear(&p);
}

static void long_raw_prompts_keep_their_end(void **state)
{
    (void)state;
    struct remote_traits t = {0};
    struct buf text;
    char first[100] = "";
    int n_moves = 0;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < 600; i++) buf_printf(&text, "%d \xe2\x82\xac ", i);
    for (int i = 0; i < 200; i++) {
        buf_add_char(&text, 'x');
        struct prompt_input in = {.is_raw = true, .text = text.data, .text_len = text.len};
        struct remote_prompt p;
        struct remote_ask ask;
        build("auto", &t, &in, 300, &p, &ask);
        assert_true(p.was_cut && p.room == 0);
        assert_true(ask.prompt_len <= 900 && ask.prompt_len > 600);
        assert_int_equal(utf8_valid_len(ask.prompt, ask.prompt_len), ask.prompt_len);
        assert_ptr_equal(ask.prompt + ask.prompt_len, text.data + text.len);
        n_moves += i > 0 && memcmp(first, ask.prompt, sizeof first) != 0;
        memcpy(first, ask.prompt, sizeof first);
        remote_prompt_clear(&p);
    }
    assert_true(n_moves <= 2);
    buf_clear(&text);
}

static void no_room(void **state)
{
    (void)state;
    struct remote_traits t = {0};
    struct prompt_input in = place("a", "b");
    struct remote_prompt p;
    struct remote_ask ask;
    struct errmsg msg = {0};
    assert_int_equal(remote_prompt_build("qwen", &t, &in, 0, &p, &ask, &msg), ERR_LIMIT);
    assert_string_equal(msg.text, "no room for a prompt");
    remote_prompt_clear(&p);
    assert_int_equal(remote_prompt_build("qwen", &t, &in, 1, &p, &ask, &msg), OK);
    remote_prompt_clear(&p);
    remote_prompt_clear(&(struct remote_prompt){0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(the_format_that_is_chosen),
        cmocka_unit_test(a_prompt_as_text),
        cmocka_unit_test(a_prompt_that_the_server_lays_out),
        cmocka_unit_test(long_documents_are_cut),
        cmocka_unit_test(answers_end_at_the_familys_marks),
        cmocka_unit_test(raw_prompts_stand_as_they_are),
        cmocka_unit_test(long_raw_prompts_keep_their_end),
        cmocka_unit_test(no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
