/* Prompts as text: every family's is read by a tokenizer as the tokens that fim_build lays out; a document's
 * text stays text; what a budget of bytes may cut; and which family a model's name tells. */
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
#include "context/fim.h"
#include "model/gguf.h"
#include "os/clock.h"
#include "support/fim_cases.h"
#include "support/fixture_tokenizer.h"

#define TEXT_MAX ((size_t)1 << 20)
#define AMPLE    ((size_t)1 << 16)

static struct fim_input input_of(const char *prefix, const char *suffix)
{
    return (struct fim_input){
        .prefix = prefix, .prefix_len = strlen(prefix), .suffix = suffix, .suffix_len = strlen(suffix)};
}

static const struct fim_file files[] = {{"far.c", "int f;\n", 7}, {"near.c", "int n;", 6}};

static struct fim_input project_input(const char *prefix, const char *suffix)
{
    struct fim_input in = input_of(prefix, suffix);
    in.path = "src/cur.c";
    in.repo = "shop";
    in.files = files;
    in.n_files = 2;
    return in;
}

static void expect_text(const char *family, const struct fim_input *in, size_t max, const char *expected)
{
    struct fim fim;
    struct buf out;
    struct errmsg msg = {0};
    buf_init(&out, TEXT_MAX);
    assert_true(fim_of_family(family, &fim));
    if (fim_spell(&fim, in, max, &out, NULL, &msg)) fail_msg("%s", msg.text);
    if (strcmp(buf_str(&out), expected) != 0)
        fail_msg("%s: the prompt is\n%s\nexpected\n%s", family, buf_str(&out), expected);
    buf_clear(&out);
}

/* ---- the same tokens ---- */

/* What a server's tokenizer makes of the spelled prompt is what fim_build makes of the input. */
static void expect_same_tokens(const struct fim *f, const struct model *m, struct fim_input *in)
{
    struct token_list built = {0}, read = {0};
    struct buf text;
    struct errmsg msg = {0};
    buf_init(&text, TEXT_MAX);
    if (f->repo == TOKEN_NONE) in->repo = NULL; /* the family has the token, this vocabulary has not */
    assert_int_equal(fim_build(f, m, in, 8192, NULL, &built, &msg), OK);
    assert_int_equal(fim_spell(f, in, AMPLE, &text, NULL, &msg), OK);
    assert_int_equal(
        tokenizer_encode(m->tokenizer, text.data, text.len, TOKENIZER_BOS | TOKENIZER_SPECIAL, &read), OK);
    if (built.n != read.n || memcmp(built.ids, read.ids, (size_t)built.n * sizeof *built.ids) != 0)
        fail_msg("%s: %d tokens, not %d, of\n%s", f->family, read.n, built.n, text.data);
    token_list_clear(&built);
    token_list_clear(&read);
    buf_clear(&text);
}

/* Of a name instead of a vocabulary it is the same text. */
static void expect_same_of_name(const struct fim *f, const struct fim_input *in)
{
    struct fim of_name;
    struct buf text, named;
    buf_init(&text, TEXT_MAX);
    buf_init(&named, TEXT_MAX);
    assert_true(fim_of_family(f->family, &of_name));
    of_name.order = f->order; /* a file may tell another than its family's */
    assert_int_equal(fim_spell(f, in, AMPLE, &text, NULL, NULL), OK);
    assert_int_equal(fim_spell(&of_name, in, AMPLE, &named, NULL, NULL), OK);
    assert_string_equal(text.data, named.data);
    buf_clear(&text);
    buf_clear(&named);
}

static void every_family_is_read_as_its_tokens(void **state)
{
    (void)state;
    int n_compared = 0, n_unspelled = 0;
    for (size_t i = 0; i < fim_n_cases; i++) {
        const struct fim_case *c = &fim_cases[i];
        struct fim_fake *f = fim_fake_open(&c->vocab);
        struct fim_input in = input_of("  a(", ");\n");
        bool is_sentencepiece = !strcmp(c->vocab.kind, "llama"); /* spaces are its own: golden_texts */
        struct buf out;
        struct errmsg msg = {0};
        buf_init(&out, TEXT_MAX);
        if (fim_spell(&f->fim, &in, AMPLE, &out, NULL, &msg) == ERR_ARG) {
            /* Tokens that only a file's keys tell: nobody knows how they are spelled in a text. */
            assert_non_null(strstr(msg.text, "spelling"));
            assert_true(tokenizer_find(f->model.tokenizer, "<before>") != TOKEN_NONE);
            n_unspelled++;
        } else if (!is_sentencepiece) {
            expect_same_tokens(&f->fim, &f->model, &in);
            in = project_input("  a(", ");\n");
            expect_same_tokens(&f->fim, &f->model, &in);
            expect_same_of_name(&f->fim, &in);
            n_compared++;
        }
        buf_clear(&out);
        fim_fake_close(f);
    }
    assert_int_equal(n_unspelled, 1);
    assert_true(n_compared >= 15);
}

/* Vocabularies with merges of their own. */
static void real_tokenizers_read_it_so(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2",      "qwen35", "deepseek-coder", "deepseek-v3",
                                        "seed-coder", "smollm", "llama-bpe",      "gpt-4o"};
    int n_fim = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct fixture_tokenizer l = fixture_tokenizer_load(names[i]);
        struct model model = {.gguf = l.gguf, .tokenizer = l.t};
        struct fim fim;
        fim_detect(&model, &fim);
        struct fim_input in = input_of("def add(a, b):\n    return a", "\n\nprint(add(1, 2))\n");
        expect_same_tokens(&fim, &model, &in);
        n_fim += fim.order != FIM_PREFIX_ONLY;
        /* What stands before the window is tokenised apart there, which text in front of text is not. */
        in = project_input(in.prefix, in.suffix);
        if (fim.file != TOKEN_NONE) expect_same_tokens(&fim, &model, &in);
        fixture_tokenizer_clear(&l);
    }
    assert_true(n_fim >= 1);
}

static void golden_texts(void **state)
{
    (void)state;
    struct fim_input alone = input_of("a(", ");\n"), project = project_input("a(", ");\n");
    expect_text("qwen", &alone, AMPLE, "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    expect_text("qwen", &project, AMPLE,
                "<|repo_name|>shop\n<|file_sep|>far.c\nint f;\n<|file_sep|>near.c\nint n;\n"
                "<|file_sep|>src/cur.c\n<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    /* The tokenizer puts a space in front of all, and that makes "<PRE>" the token that begins with one. */
    expect_text("codellama", &alone, AMPLE, "<PRE> a( <SUF>);\n <MID>");
    expect_text("codellama", &project, AMPLE,
                "<PRE> # far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\na( <SUF>);\n <MID>");
    expect_text("codestral", &alone, AMPLE, "[SUFFIX]);\n[PREFIX]a(");
    expect_text("codestral", &project, AMPLE,
                "[SUFFIX]);\n[PREFIX]+++++ far.c\nint f;\n\n+++++ near.c\nint n;\n\n+++++ src/cur.c\na(");
    expect_text("none", &alone, AMPLE, "a(");
    project.line_comment = "//";
    expect_text("none", &project, AMPLE, "// far.c\nint f;\n\n// near.c\nint n;\n\n// src/cur.c\na(");
    alone = input_of("", "");
    expect_text("none", &alone, AMPLE, "\n");
    expect_text("qwen", &alone, 43, "<|fim_prefix|><|fim_suffix|><|fim_middle|>");
}

/* ---- text stays text ---- */

static int count_special(const struct tokenizer *t, const struct buf *text)
{
    struct token_list l = {0};
    int n = 0;
    assert_int_equal(tokenizer_encode(t, text->data, text->len, TOKENIZER_SPECIAL, &l), OK);
    for (int32_t i = 0; i < l.n; i++) n += tokenizer_is_special(t, l.ids[i]);
    token_list_clear(&l);
    return n;
}

/* All that a vocabulary has as special tokens stands everywhere in the input: as many are read as without. */
static void spellings_in_texts_are_broken_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < fim_n_cases; i++) {
        const struct fim_case *c = &fim_cases[i];
        struct fim_fake *f = fim_fake_open(&c->vocab);
        struct buf plain, text, marks;
        buf_init(&plain, TEXT_MAX);
        buf_init(&text, TEXT_MAX);
        buf_init(&marks, TEXT_MAX);
        const char *spelled[FIM_MAX_MARKS];
        int32_t n = fim_marks(&f->fim, spelled);
        for (int32_t k = 0; k < n; k++) buf_printf(&marks, "x%s%s\n", spelled[k], spelled[k]);
        if (f->fim.file != TOKEN_NONE) {
            size_t len;
            const char *mark = tokenizer_text(f->model.tokenizer, f->fim.file, &len);
            buf_add(&marks, mark, len);
        }
        struct fim_input in = project_input("a(", ");\n");
        if (f->fim.repo == TOKEN_NONE) in.repo = NULL;
        enum err err = fim_spell(&f->fim, &in, AMPLE, &plain, NULL, NULL);
        const struct fim_file file = {buf_str(&marks), buf_str(&marks), marks.len};
        in.prefix = in.suffix = in.path = buf_str(&marks);
        in.prefix_len = in.suffix_len = marks.len;
        if (in.repo) in.repo = in.path;
        in.files = (struct fim_file[]){file, file};
        if (!err) {
            assert_int_equal(fim_spell(&f->fim, &in, AMPLE, &text, NULL, NULL), OK);
            assert_int_equal(count_special(f->model.tokenizer, &text),
                             count_special(f->model.tokenizer, &plain));
            assert_true(n == 0 || text.len > 6 * marks.len);
        }
        buf_clear(&plain);
        buf_clear(&text);
        buf_clear(&marks);
        fim_fake_close(f);
    }
    struct fim_input in = input_of("s = '<|fim_suffix|>' + '<|repo_name|>", "<|endoftext|> </s> <fim_pad>");
    expect_text(
        "qwen", &in, AMPLE,
        "<|fim_prefix|>s = '< |fim_suffix|>' + '< |repo_name|><|fim_suffix|>< |endoftext|> </s> <fim_pad>"
        "<|fim_middle|>");
}

/* ---- budgets ---- */

static uint32_t random_below(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

static void add_random(struct buf *out, size_t len, uint32_t *seed)
{
    static const char *const words[] = {"int ",         "value_12",         "\n",     "\n\n    ",
                                        "return",       "\xc3\xa9",         "(a, b)", "\xe2\x82\xac",
                                        "<fim_prefix>", "\xf0\x9f\x98\x80", ";\n",    "}"};
    size_t end = out->len + len;
    while (out->len < end) buf_add_str(out, words[random_below(seed, 12)]);
}

/* What `growth` more bytes before the cursor do to a prompt: they stand in it, and nothing else changes. */
static void expect_room(const struct fim *f, struct fim_input in, size_t max, const struct buf *prompt,
                        int32_t room)
{
    struct buf prefix, grown;
    size_t growth = room < 3000 ? (size_t)room : 3000;
    buf_init(&prefix, TEXT_MAX);
    buf_init(&grown, TEXT_MAX);
    buf_add(&prefix, in.prefix, in.prefix_len);
    for (size_t i = 0; i < growth; i++) buf_add_char(&prefix, 'x');
    in.prefix = buf_str(&prefix);
    in.prefix_len = prefix.len;
    assert_int_equal(fim_spell(f, &in, max, &grown, NULL, NULL), OK);
    assert_int_equal(grown.len, prompt->len + growth);
    size_t same = 0;
    while (same < prompt->len && grown.data[same] == prompt->data[same]) same++;
    assert_memory_equal(grown.data + same + growth, prompt->data + same, prompt->len - same);
    buf_clear(&prefix);
    buf_clear(&grown);
}

static void budgets_are_kept(void **state)
{
    (void)state;
    static const char *const families[] = {"qwen",      "starcoder", "codegemma",
                                           "codestral", "codellama", "none"};
    uint32_t seed = 7;
    struct buf text, prompt;
    buf_init(&text, TEXT_MAX);
    buf_init(&prompt, TEXT_MAX);
    int n_cut = 0, n_whole = 0, n_rooms = 0;
    for (int round = 0; round < 3000; round++) {
        struct fim fim;
        assert_true(fim_of_family(families[random_below(&seed, 6)], &fim));
        buf_reset(&text);
        add_random(&text, random_below(&seed, 1500), &seed);
        size_t cursor = random_below(&seed, (uint32_t)text.len + 1);
        while (cursor < text.len && utf8_is_continuation(text.data[cursor])) cursor++;
        size_t half = cursor / 2;
        while (half > 0 && utf8_is_continuation(text.data[half])) half--;
        struct fim_file others[] = {{"a/far.py", buf_str(&text), half}, {"b/near.py", "pass\n", 5}};
        struct fim_input in = {.prefix = buf_str(&text),
                               .prefix_len = cursor,
                               .suffix = buf_str(&text) + cursor,
                               .suffix_len = text.len - cursor,
                               .path = round % 3 ? "src/current.py" : NULL,
                               .repo = round % 5 ? "shop" : NULL,
                               .files = others,
                               .n_files = (int32_t)random_below(&seed, 3)};
        size_t max = random_below(&seed, 2500);
        int32_t room = -1;
        struct errmsg msg = {0};
        enum err err = fim_spell(&fim, &in, max, &prompt, &room, &msg);
        if (err) {
            assert_int_equal(err, ERR_LIMIT);
            assert_true(max < 60 && strstr(msg.text, "at least"));
            continue;
        }
        assert_true(prompt.len >= 1 && prompt.len <= max);
        assert_int_equal(utf8_valid_len(prompt.data, prompt.len), prompt.len);
        assert_true(room >= 0);
        if (room > 0 && prompt.len > 1) expect_room(&fim, in, max, &prompt, room);
        n_rooms += room > 0;
        struct fim_window w;
        fim_cut_bytes(fim.order, &in, max, &w);
        assert_true(w.prefix_len + w.suffix_len <= max);
        assert_ptr_equal(w.prefix + w.prefix_len, in.prefix + in.prefix_len);
        assert_ptr_equal(w.suffix, in.suffix);
        bool is_whole = w.prefix_len == in.prefix_len && (w.suffix_len == in.suffix_len || !w.suffix_len);
        n_whole += is_whole;
        n_cut += !is_whole;
        assert_true(w.prefix_len == in.prefix_len || w.room == 0);
    }
    assert_true(n_cut > 300 && n_whole > 300 && n_rooms > 300);
    buf_clear(&text);
    buf_clear(&prompt);
}

/* How many spellings a suffix holds decides how much of it is shown, and the other way round. */
static void room_beside_spellings(void **state)
{
    (void)state;
    struct fim fim;
    struct buf prefix, suffix, prompt;
    assert_true(fim_of_family("starcoder", &fim));
    buf_init(&prefix, TEXT_MAX);
    buf_init(&suffix, TEXT_MAX);
    buf_init(&prompt, TEXT_MAX);
    for (int i = 0; i < 100; i++)
        buf_printf(&suffix, "<fim_prefix>%s\n", i % 9 ? "" : "<fim_suffix><fim_pad>");
    for (int i = 0; i < 900; i++) {
        struct fim_input in = {.prefix = buf_str(&prefix),
                               .prefix_len = prefix.len,
                               .suffix = suffix.data,
                               .suffix_len = suffix.len};
        int32_t room;
        assert_int_equal(fim_spell(&fim, &in, 1000, &prompt, &room, NULL), OK);
        assert_true(prompt.len <= 1000);
        if (room > 0) expect_room(&fim, in, 1000, &prompt, room);
        buf_add_char(&prefix, i % 30 == 29 ? '\n' : 'y');
    }
    buf_clear(&prefix);
    buf_clear(&suffix);
    buf_clear(&prompt);
}

/* The bounds at which what stands before the window goes. */
static void names_and_files_give_way(void **state)
{
    (void)state;
    const size_t marks = strlen("<|fim_prefix|><|fim_suffix|><|fim_middle|>");
    struct fim_input in = project_input("a(", ");\n");
    /* "<|file_sep|>near.c\nint n;\n" has 26 bytes, the names 22 and 18: 66 are half of 132. */
    expect_text("qwen", &in, marks + 132,
                "<|repo_name|>shop\n<|file_sep|>near.c\nint n;\n<|file_sep|>src/cur.c\n"
                "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    expect_text("qwen", &in, marks + 131,
                "<|repo_name|>shop\n<|file_sep|>src/cur.c\n<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    expect_text("qwen", &in, marks + 87,
                "<|repo_name|>shop\n<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    expect_text("qwen", &in, marks + 51, "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>");
    struct fim_input cut = input_of("one\ntwo\nthree\nfour\n", "five\nsix\nseven\n");
    expect_text("qwen", &cut, marks + 23,
                "<|fim_prefix|>two\nthree\nfour\n<|fim_suffix|>five\n<|fim_middle|>");
}

/* Typing at the end of a long text, and in the middle of one: most prompts begin as the one before. */
static void successive_prompts_share_their_beginning(void **state)
{
    (void)state;
    static const char *const families[] = {"qwen", "codestral", "none"};
    for (int k = 0; k < 3; k++) {
        struct fim fim;
        struct buf before, after, now, last;
        assert_true(fim_of_family(families[k], &fim));
        buf_init(&before, TEXT_MAX);
        buf_init(&after, TEXT_MAX);
        buf_init(&now, TEXT_MAX);
        buf_init(&last, TEXT_MAX);
        for (int i = 0; i < 400; i++) {
            buf_printf(&before, "    value_%d = \"<|fim_suffix|>\" + compute(%d);\n", i, i);
            buf_printf(&after, "    total += value_%d;\n", i);
        }
        int n_moves = 0;
        for (int i = 0; i < 200; i++) {
            buf_add_char(&before, i % 20 == 19 ? '\n' : 'x');
            struct fim_input in = {.prefix = before.data,
                                   .prefix_len = before.len,
                                   .suffix = after.data,
                                   .suffix_len = after.len};
            assert_int_equal(fim_spell(&fim, &in, 3072, &now, NULL, NULL), OK);
            assert_true(now.len > 1536 && now.len <= 3072);
            /* All but what was typed; spellings in the text are broken up. */
            const char *mark = memmem(now.data, now.len, "<|fim_suffix|>", 14);
            size_t n_kept = (mark ? (size_t)(mark - now.data) : now.len) - 1;
            n_moves += i > 0 && (last.len < n_kept || memcmp(now.data, last.data, n_kept) != 0);
            buf_reset(&last);
            buf_add(&last, now.data, now.len);
        }
        /* The steps have 256 or 512 bytes. */
        if (n_moves > 1) fail_msg("%s: the window moved %d times", families[k], n_moves);
        buf_clear(&before);
        buf_clear(&after);
        buf_clear(&now);
        buf_clear(&last);
    }
}

/* Megabytes around the cursor cost a window. */
static void long_texts_cost_a_window(void **state)
{
    (void)state;
    size_t len = (size_t)32 << 20;
    char *text = malloc(len);
    struct fim fim;
    struct buf out;
    buf_init(&out, TEXT_MAX);
    assert_true(fim_of_family("qwen", &fim));
    for (size_t i = 0; i < len; i++) text[i] = i % 40 == 39 ? '\n' : (char)('a' + i % 7);
    struct fim_file file = {"big.c", text, len};
    struct fim_input in = {
        .prefix = text, .prefix_len = len, .suffix = text, .suffix_len = len, .files = &file, .n_files = 1};
    int64_t start = clock_ns();
    assert_int_equal(fim_spell(&fim, &in, 8192, &out, NULL, NULL), OK);
    assert_true(clock_ms_since(start) < 100);
    assert_true(out.len > 4096 && out.len <= 8192);
    buf_clear(&out);
    free(text);
}

/* ---- families ---- */

static void names_tell_families(void **state)
{
    (void)state;
    static const struct {
        const char *name, *family;
    } models[] = {
        {"Qwen/Qwen2.5-Coder-7B", "qwen"},
        {"qwen2.5-coder:1.5b-base", "qwen"},
        {"/models/qwen2_5_coder-0.5b-q8_0.gguf", "qwen"},
        {"unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", "qwen"},
        {"Qwen/CodeQwen1.5-7B", "starcoder"},
        {"codeqwen:7b-chat", NULL},
        {"bigcode/starcoder2-3b", "starcoder2"},
        {"starcoder2:15b-instruct", "starcoder2"},
        {"bigcode/starcoderbase-1b", "starcoder"},
        {"bigcode/tiny_starcoder_py", "starcoder"},
        {"bigcode/santacoder", "santacoder"},
        {"codellama:7b-code", "codellama"},
        {"codellama/CodeLlama-13b-hf", "codellama"},
        {"code-llama-7b.Q4_K_M.gguf", "codellama"},
        {"codellama/CodeLlama-34b-hf", NULL},
        {"codellama:7b-python", NULL},
        {"deepseek-ai/deepseek-coder-6.7b-base", "deepseek"},
        {"deepseek-coder-v2:16b", "deepseek"},
        {"deepseek-coder-v2:236b", NULL},
        {"google/codegemma-2b", "codegemma"},
        {"google/codegemma-7b-it", NULL},
        {"codestral:22b-v0.1-q4_0", "codestral"},
        {"mistralai/Codestral-22B-v0.1", "codestral"},
        {"mistralai/Mamba-Codestral-7B-v0.1", NULL},
        {"ibm-granite/granite-8b-code-base-4k", "starcoder"},
        {"granite-code:3b", "starcoder"},
        {"ibm-granite/granite-3.3-2b-base", "granite"},
        {"granite3.3:8b", "granite"},
        {"ibm-granite/granite-4.0-h-small-base", "granite4"},
        {"granite4:micro-h", "granite4"},
        {"granite3.1-dense:8b", NULL},
        {"ByteDance-Seed/Seed-Coder-8B-Base", "seed-coder"},
        {"ByteDance-Seed/Seed-Coder-8B-Reasoning", NULL},
        {"JetBrains/Mellum-4b-base", "mellum"},
        {"zai-org/GLM-4.5-Air", "glm"},
        {"glm4:9b", "glm"},
        {"glm-4v-9b", NULL},
        {"stabilityai/stable-code-3b", "starcoder"},
        {"stable-code:3b-code-q4_0", "starcoder"},
        {"refact-1_6b-fim", "starcoder"},
        {"refactoring-helper", NULL},
        {"meta-llama/Llama-3.1-8B-Instruct", NULL},
        {"Qwen/Qwen2.5-7B-Instruct", NULL},
        {"gpt-oss:20b", NULL},
        {"HuggingFaceTB/SmolLM2-135M", NULL},
        {"", NULL},
        {"...", NULL},
    };
    struct fim fim;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        const char *family = fim_family_of_name(models[i].name);
        if (!models[i].family != !family || (family && strcmp(family, models[i].family) != 0))
            fail_msg("%s is %s", models[i].name, family ? family : "of no family");
        assert_true(!family || fim_of_family(family, &fim));
    }
    char path[4096];
    memset(path, '/', sizeof path);
    strcpy(path + sizeof path - 20, "mellum-4b");
    assert_string_equal(fim_family_of_name(path), "mellum");
}

/* What is said about families agrees: their names, with and without a vocabulary, and what a name tells. */
static void families_are_the_same_everywhere(void **state)
{
    (void)state;
    struct buf names;
    struct fim fim;
    buf_init(&names, TEXT_MAX);
    fim_families(&names);
    assert_null(strstr(names.data, "none"));
    assert_null(strstr(strstr(names.data, "codellama") + 1, "codellama"));
    int n = 0;
    char *rest = names.data;
    for (char *name; (name = strsep(&rest, " "));) {
        assert_true(fim_of_family(name, &fim));
        assert_string_equal(fim.family, name);
        assert_string_equal(fim.detected, "name");
        assert_int_not_equal(fim.order, FIM_PREFIX_ONLY);
        assert_int_equal(fim.prefix, TOKEN_NONE);
        const char *marks[FIM_MAX_MARKS];
        assert_true(fim_marks(&fim, marks) >= 2);
        bool is_cased = false;
        for (size_t i = 0; i < fim_n_cases; i++) is_cased = is_cased || !strcmp(fim_cases[i].family, name);
        assert_true(is_cased);
        n++;
    }
    for (size_t i = 0; i < fim_n_cases; i++) assert_true(fim_of_family(fim_cases[i].family, &fim));
    assert_true(n >= 14);
    assert_true(fim_of_family("none", &fim));
    assert_int_equal(fim.order, FIM_PREFIX_ONLY);
    assert_false(fim_of_family("Qwen", &fim));
    assert_false(fim_of_family("", &fim));
    buf_clear(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_is_read_as_its_tokens),
        cmocka_unit_test(real_tokenizers_read_it_so),
        cmocka_unit_test(golden_texts),
        cmocka_unit_test(spellings_in_texts_are_broken_up),
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(room_beside_spellings),
        cmocka_unit_test(names_and_files_give_way),
        cmocka_unit_test(successive_prompts_share_their_beginning),
        cmocka_unit_test(long_texts_cost_a_window),
        cmocka_unit_test(names_tell_families),
        cmocka_unit_test(families_are_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
