/* Tokens that follow edits: always those of a fresh encoding. The two properties of pre-tokenizers that this
 * rests on (model/tok_memo.h) are tested by themselves, for every one that we know. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "model/pretok.h"
#include "model/tok_memo.h"
#include "model/tokenizer.h"
#include "support/fixture_tokenizer.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define TEXT_MAX     2000

static uint32_t random_below(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

/* What decides about words, in every mixture: cases and scripts of letters, digits, all kinds of white space,
 * punctuation, contractions, characters that some expressions name, halves of characters. */
static const char *const fragments[] = {"a",
                                        "foo",
                                        "Foo",
                                        "BAR",
                                        "bAz",
                                        "_x",
                                        " ",
                                        " ",
                                        " ",
                                        "  ",
                                        "    ",
                                        "\t",
                                        "\n",
                                        "\n",
                                        "\n\n",
                                        "\r\n",
                                        "\r",
                                        "0",
                                        "12",
                                        "345",
                                        "6789",
                                        "1234567",
                                        "'s",
                                        "'re",
                                        "'R",
                                        "'",
                                        "(",
                                        ")",
                                        "{",
                                        "};",
                                        "==",
                                        "->",
                                        "\"",
                                        "$",
                                        "+",
                                        "^",
                                        "`",
                                        "|",
                                        "!",
                                        ".",
                                        ",",
                                        "//",
                                        "#",
                                        "return",
                                        "\xc3\xa9",
                                        "\xc7\x85",
                                        "\xca\xb0",
                                        "\xcc\x81",
                                        "\xe6\x97\xa5",
                                        "\xe6\x9c\xac",
                                        "\xe3\x83\xbc",
                                        "\xe3\x82\xa2",
                                        "\xe3\x82\x99",
                                        "\xe3\x82\x9b",
                                        "\xe3\x80\x80",
                                        "\xc2\xa0",
                                        "\xd8\x8c",
                                        "\xe2\x80\xa6",
                                        "\xe2\x85\xa7",
                                        "\xf0\x9d\x90\x80",
                                        "\xf0\x9f\x98\x80",
                                        "\xe2\x96\x81",
                                        "\xff",
                                        "\xc3",
                                        "\xe6\x97",
                                        "<|fim_prefix|>",
                                        "<s>",
                                        "<0x0A>"};

static size_t fill(char *text, size_t max, int n_fragments, uint32_t *seed)
{
    size_t n = 0;
    /* Some texts use few kinds of fragments, so that runs get long. */
    uint32_t n_kinds = 1 + random_below(seed, COUNT(fragments)), first = random_below(seed, COUNT(fragments));
    for (int i = 0; i < n_fragments; i++) {
        const char *f = fragments[(first + random_below(seed, n_kinds)) % COUNT(fragments)];
        size_t len = strlen(f);
        if (n + len > max) break;
        memcpy(text + n, f, len);
        n += len;
    }
    return n;
}

/* ---- Pre-tokenizers ---- */

struct words {
    const char *text;
    size_t at[TEXT_MAX + 1]; /* where words begin */
    int n;
};

static enum err note_word(void *ctx, const char *word, size_t len)
{
    (void)len;
    struct words *w = ctx;
    w->at[w->n++] = (size_t)(word - w->text);
    return OK;
}

static void split(const struct pretok *p, const char *text, size_t len, struct words *out)
{
    out->text = text;
    out->n = 0;
    assert_int_equal(pretok_split(p, text, len, note_word, out), OK);
}

static const char *const pre_names[] = {
    "default", "falcon",         "gpt-2",        "smollm",     "llama-bpe",  "minicpm5",
    "qwen2",   "laguna",         "qwen35",       "gpt-4o",     "tekken",     "bloom",
    "viking",  "deepseek-coder", "deepseek-llm", "seed-coder", "bailingmoe", "deepseek-v3"};

/* From where a word begins on, a text has the words that it would have by itself. */
static void test_words_depend_on_nothing_before(void **state)
{
    (void)state;
    static struct words whole, rest;
    char text[300];
    uint32_t seed = 1;
    for (int i = 0; i < COUNT(pre_names); i++) {
        struct pretok *p;
        assert_int_equal(pretok_new(pre_names[i], strlen(pre_names[i]), &p, NULL), OK);
        for (int round = 0; round < 150; round++) {
            size_t len = fill(text, sizeof text, 40, &seed);
            split(p, text, len, &whole);
            for (int w = 0; w < whole.n; w++) {
                split(p, text + whole.at[w], len - whole.at[w], &rest);
                bool is_same = rest.n == whole.n - w;
                for (int j = 0; j < rest.n && is_same; j++)
                    is_same = rest.at[j] + whole.at[w] == whole.at[w + j];
                if (!is_same)
                    fail_msg("%s: \"%.*s\" from byte %zu", pre_names[i], (int)len, text, whole.at[w]);
            }
        }
        pretok_free(&p);
    }
}

/* What follows the next four words decides nothing; the memo leaves out more. */
static void test_words_depend_on_little_behind(void **state)
{
    (void)state;
    static struct words before, after;
    char text[300];
    uint32_t seed = 2;
    for (int i = 0; i < COUNT(pre_names); i++) {
        struct pretok *p;
        assert_int_equal(pretok_new(pre_names[i], strlen(pre_names[i]), &p, NULL), OK);
        for (int round = 0; round < 1000; round++) {
            size_t len = fill(text, sizeof text, 30, &seed), cut = random_below(&seed, (uint32_t)len + 1);
            split(p, text, len, &before);
            len = cut + fill(text + cut, sizeof text - cut, 10, &seed);
            split(p, text, len, &after);
            for (int w = 0; w + 4 < before.n && before.at[w + 4] <= cut; w++) {
                if (w < after.n && after.at[w] == before.at[w]) continue;
                fail_msg("%s: \"%.*s\", changed from byte %zu", pre_names[i], (int)len, text, cut);
            }
        }
        pretok_free(&p);
    }
}

/* ---- Tokenizers ---- */

static const char *const names[] = {"gpt-2",       "smollm",  "qwen2",  "qwen35", "llama-bpe",
                                    "seed-coder",  "gpt-4o",  "tekken", "llama",  "deepseek-coder",
                                    "deepseek-v3", "default", "gemma"};

static void expect_tokens(const char *name, const struct tokenizer *t, const char *text, size_t len,
                          const int32_t *ids, int32_t n)
{
    struct token_list fresh = {0};
    assert_int_equal(tokenizer_encode(t, text, len, 0, &fresh), OK);
    size_t bytes = (size_t)fresh.n * sizeof *fresh.ids;
    bool is_same = fresh.n == n && (bytes == 0 || memcmp(fresh.ids, ids, bytes) == 0);
    if (!is_same) fail_msg("%s: other tokens for \"%.*s\"", name, (int)len, text);
    token_list_clear(&fresh);
}

/* The same tokens; and those behind a mark are the tokens of what stands there, by which the next edit goes.
 * (Where the tokenizer puts a space in front of texts, that cannot be told by encoding again.) */
static void expect_fresh(const char *name, const struct tokenizer *t, const char *text, size_t len,
                         const struct token_memo *memo, uint32_t *seed)
{
    expect_tokens(name, t, text, len, memo->tokens.ids, memo->tokens.n);
    assert_true(memo->n_marks == 0 || (memo->marks[0].at == 0 && memo->marks[0].first == 0));
    for (int32_t i = 1; i < memo->n_marks; i++) {
        const struct token_mark *m = &memo->marks[i];
        assert_true(m->at > m[-1].at && m->first >= m[-1].first && (size_t)m->at < memo->len);
    }
    if (tokenizer_adds_space_prefix(t)) return;
    for (int32_t i = 0; i < 3 && memo->n_marks > 0; i++) {
        const struct token_mark *m = &memo->marks[random_below(seed, (uint32_t)memo->n_marks)];
        expect_tokens(name, t, memo->text + m->at, memo->len - (size_t)m->at, memo->tokens.ids + m->first,
                      memo->tokens.n - m->first);
    }
}

/* A typed newline makes one word of the empty lines and the indentation before it: the mark between those has
 * to go. */
static void test_joined_words(void **state)
{
    (void)state;
    static const char text[] = "x\n\n\n\n\n\n\n\n\n\n    \ny";
    struct fixture_tokenizer l = fixture_tokenizer_load("qwen2");
    struct token_memo memo = {0};
    assert_int_equal(tokenizer_encode_again(l.t, text, sizeof text - 3, &memo), OK);
    assert_int_equal(memo.n_marks, 2);
    assert_int_equal(memo.marks[1].at, 11);
    assert_int_equal(tokenizer_encode_again(l.t, text, sizeof text - 1, &memo), OK);
    assert_int_equal(memo.n_marks, 2);
    assert_int_equal(memo.marks[1].at, 16); /* the y */
    token_memo_clear(&memo);
    fixture_tokenizer_clear(&l);
}

/* Put `with` in the place of some bytes; returns the new length. */
static size_t edit(char *text, size_t len, uint32_t *seed)
{
    char with[400];
    size_t from = random_below(seed, 4) ? random_below(seed, (uint32_t)len + 1) : len;
    size_t n_out = random_below(seed, 3) ? random_below(seed, 4) : random_below(seed, 200);
    if (n_out > len - from) n_out = len - from;
    size_t n_in = fill(with, sizeof with, random_below(seed, 3) ? 1 : 20, seed);
    if (len - n_out + n_in > TEXT_MAX) n_in = 0;
    memmove(text + from + n_in, text + from + n_out, len - from - n_out);
    memcpy(text + from, with, n_in);
    return len - n_out + n_in;
}

static void test_random_edits(void **state)
{
    (void)state;
    char text[TEXT_MAX];
    uint32_t seed = 3;
    for (int i = 0; i < COUNT(names); i++) {
        struct fixture_tokenizer l = fixture_tokenizer_load(names[i]);
        struct token_memo memo = {0};
        size_t len = 0;
        for (int round = 0; round < 600; round++) {
            len = random_below(&seed, 50) ? edit(text, len, &seed) : fill(text, TEXT_MAX, 300, &seed);
            assert_int_equal(tokenizer_encode_again(l.t, text, len, &memo), OK);
            expect_fresh(names[i], l.t, text, len, &memo, &seed);
        }
        assert_true(token_memo_bytes(&memo) > 0);
        token_memo_clear(&memo);
        fixture_tokenizer_clear(&l);
    }
}

/* Windows of a text that move: the beginning is dropped, the end is taken on. */
static void test_sliding_window(void **state)
{
    (void)state;
    char text[TEXT_MAX];
    uint32_t seed = 4;
    for (int i = 0; i < COUNT(names); i++) {
        struct fixture_tokenizer l = fixture_tokenizer_load(names[i]);
        struct token_memo memo = {0};
        size_t len = fill(text, TEXT_MAX, 600, &seed);
        for (size_t from = 0, to = 0; to <= len; to += random_below(&seed, 20) + 1) {
            if (to - from > 300) from += random_below(&seed, 60);
            assert_int_equal(tokenizer_encode_again(l.t, text + from, to - from, &memo), OK);
            expect_fresh(names[i], l.t, text + from, to - from, &memo, &seed);
        }
        token_memo_clear(&memo);
        fixture_tokenizer_clear(&l);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture_tokenizer l = fixture_tokenizer_load("gpt-2");
    struct token_memo memo = {0};
    assert_int_equal(tokenizer_encode_again(l.t, NULL, 0, &memo), OK);
    assert_int_equal(memo.tokens.n, 0);
    assert_int_equal(tokenizer_encode_again(l.t, "int x;", 6, &memo), OK);
    assert_true(memo.tokens.n > 0);
    assert_int_equal(tokenizer_encode_again(l.t, "", (size_t)INT32_MAX, &memo), ERR_LIMIT);
    assert_int_equal(memo.tokens.n, 0); /* nothing rather than something else's tokens */
    assert_int_equal(memo.len, 0);
    token_memo_clear(&memo);
    fixture_tokenizer_clear(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_depend_on_nothing_before),
        cmocka_unit_test(test_words_depend_on_little_behind),
        cmocka_unit_test(test_random_edits),
        cmocka_unit_test(test_joined_words),
        cmocka_unit_test(test_sliding_window),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
