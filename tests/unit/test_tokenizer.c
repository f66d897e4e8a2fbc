/* Tokenizers against the ids that the Hugging Face library gives (tests/fixtures/tokenizers, written by
 * tools/fixtures/make_tokenizers.py), and what those cannot show: any bytes, huge inputs, broken files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pthread.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/utf8.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "os/file.h"
#include "support/fixture_tokenizer.h"
#include "support/gguf_writer.h"

#define FOLDER   FIXTURES "/tokenizers/"
#define FILE_MAX ((size_t)16 << 20)

static const char *const bpe_names[] = {"gpt-2",          "smollm",      "qwen2",  "qwen35",
                                        "llama-bpe",      "seed-coder",  "gpt-4o", "tekken",
                                        "deepseek-coder", "deepseek-v3", "default"};
static const char *const spm_names[] = {"llama", "gemma"};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Sanitizers slow the program down, so there are no time limits under them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct buf read_fixture(const char *name, const char *suffix)
{
    struct buf b;
    char path[512];
    snprintf(path, sizeof path, FOLDER "%s%s", name, suffix);
    buf_init(&b, FILE_MAX);
    assert_int_equal(file_read(path, &b, NULL), OK);
    return b;
}

static struct token_list encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags)
{
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode(t, text, len, flags, &ids), OK);
    return ids;
}

static void expect_ids(const char *name, const struct tokenizer *t, const char *text, size_t len,
                       unsigned flags, const unsigned char **expected)
{
    struct token_list ids = encode(t, text, len, flags);
    uint16_t n, id;
    memcpy(&n, *expected, 2);
    *expected += 2;
    if (ids.n != n) fail_msg("%s: \"%.*s\": %d ids, not %d", name, (int)len, text, ids.n, n);
    for (int i = 0; i < n; i++, *expected += 2) {
        memcpy(&id, *expected, 2);
        if (ids.ids[i] != id)
            fail_msg("%s: \"%.*s\": id %d is %d, not %d", name, (int)len, text, i, ids.ids[i], id);
    }
    token_list_clear(&ids);
}

static void expect_fixture(const char *name, const struct buf *texts)
{
    struct fixture_tokenizer l = fixture_tokenizer_load(name);
    struct buf ids = read_fixture(name, ".ids");
    const unsigned char *expected = (const unsigned char *)ids.data;
    const char *text = texts->data;
    uint32_t n, len;
    memcpy(&n, text, 4);
    text += 4;
    for (uint32_t i = 0; i < n; i++, text += len) {
        memcpy(&len, text, 4);
        text += 4;
        expect_ids(name, l.t, text, len, 0, &expected);
        expect_ids(name, l.t, text, len, TOKENIZER_SPECIAL, &expected);
    }
    assert_ptr_equal(text, texts->data + texts->len);
    assert_ptr_equal(expected, ids.data + ids.len);
    buf_clear(&ids);
    fixture_tokenizer_clear(&l);
}

static void test_ids_equal_reference(void **state)
{
    (void)state;
    struct buf texts = read_fixture("texts", ".bin");
    for (int i = 0; i < COUNT(bpe_names); i++) expect_fixture(bpe_names[i], &texts);
    for (int i = 0; i < COUNT(spm_names); i++) expect_fixture(spm_names[i], &texts);
    buf_clear(&texts);
}

static void expect_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = encode(t, text, len, 0);
    size_t at = 0, piece_len;
    for (int32_t i = 0; i < ids.n; i++) {
        const char *piece = tokenizer_piece(t, ids.ids[i], &piece_len);
        assert_true(piece_len > 0 && piece_len <= len - at);
        assert_memory_equal(piece, text + at, piece_len);
        at += piece_len;
    }
    assert_int_equal(at, len);
    token_list_clear(&ids);
}

/* Half of the bytes from a small alphabet, so that words, spaces and cut UTF-8 sequences occur. */
static void fill_random(char *out, size_t len, uint32_t *seed)
{
    static const char common[] = "  \n\r\t'aeS09_.(\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80";
    for (size_t i = 0; i < len; i++) {
        *seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
        uint32_t r = *seed >> 8;
        out[i] = r & 1 ? common[(r >> 1) % (sizeof common - 1)] : (char)(r >> 1);
    }
}

static void test_random_bytes_round_trip(void **state)
{
    (void)state;
    char text[700];
    uint32_t seed = 1;
    for (int i = 0; i < COUNT(bpe_names); i++) {
        struct fixture_tokenizer l = fixture_tokenizer_load(bpe_names[i]);
        for (size_t len = 0; len < sizeof text; len += 1 + len / 16) {
            fill_random(text, len, &seed);
            expect_round_trip(l.t, text, len);
        }
        fixture_tokenizer_clear(&l);
    }
}

/* SentencePiece without a space prefix changes nothing but U+2581, which the bytes below do not spell. */
static void test_spm_random_bytes_round_trip(void **state)
{
    (void)state;
    char text[700];
    uint32_t seed = 2;
    struct fixture_tokenizer l = fixture_tokenizer_load("gemma");
    for (size_t len = 0; len < sizeof text; len += 1 + len / 16) {
        fill_random(text, len, &seed);
        for (size_t i = 0; i < len; i++) {
            if (text[i] == '\x81') text[i] = 'x';
        }
        expect_round_trip(l.t, text, len);
    }
    fixture_tokenizer_clear(&l);
}

static void test_special_tokens(void **state)
{
    (void)state;
    static const char text[] = "a<|fim_prefix|>b";
    struct fixture_tokenizer l = fixture_tokenizer_load("qwen2");
    size_t len;
    int32_t prefix = tokenizer_find(l.t, "<|fim_prefix|>");
    assert_true(prefix >= 0);
    assert_true(tokenizer_is_special(l.t, prefix));
    assert_false(tokenizer_is_eog(l.t, prefix));
    tokenizer_piece(l.t, prefix, &len);
    assert_int_equal(len, 0);
    const char *spelled = tokenizer_text(l.t, prefix, &len);
    assert_int_equal(len, strlen("<|fim_prefix|>"));
    assert_memory_equal(spelled, "<|fim_prefix|>", len);

    struct token_list ids = encode(l.t, text, strlen(text), 0);
    for (int32_t i = 0; i < ids.n; i++) assert_int_not_equal(ids.ids[i], prefix);
    token_list_clear(&ids);
    ids = encode(l.t, text, strlen(text), TOKENIZER_SPECIAL);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.ids[1], prefix);
    token_list_clear(&ids);

    int32_t call = tokenizer_find(l.t, "<tool_call>"); /* user-defined: always matched, and has text */
    ids = encode(l.t, "<tool_call>", 11, 0);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], call);
    assert_false(tokenizer_is_special(l.t, call));
    token_list_clear(&ids);

    int32_t end = tokenizer_find(l.t, "<|endoftext|>");
    assert_int_equal(tokenizer_eos(l.t), end);
    assert_true(tokenizer_is_eog(l.t, end));
    assert_false(tokenizer_is_eog(l.t, -1));
    assert_false(tokenizer_is_eog(l.t, tokenizer_n_vocab(l.t)));
    assert_int_equal(tokenizer_find(l.t, "no such token"), TOKEN_NONE);
    assert_int_equal(tokenizer_find(l.t, ""), TOKEN_NONE);
    assert_string_equal(tokenizer_kind(l.t), "bpe");
    assert_string_equal(tokenizer_pre(l.t), "qwen2");
    fixture_tokenizer_clear(&l);
}

static void test_bos(void **state)
{
    (void)state;
    struct fixture_tokenizer l = fixture_tokenizer_load("llama");
    assert_true(tokenizer_adds_bos(l.t));
    assert_true(tokenizer_adds_space_prefix(l.t));
    assert_string_equal(tokenizer_kind(l.t), "spm");
    assert_string_equal(tokenizer_pre(l.t), "");
    struct token_list ids = encode(l.t, NULL, 0, TOKENIZER_BOS);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], tokenizer_bos(l.t));
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);

    l = fixture_tokenizer_load("qwen2"); /* add_bos_token is false */
    ids = encode(l.t, "", 0, TOKENIZER_BOS);
    assert_int_equal(ids.n, 0);
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);
}

/* GPT-2's spelling of a byte: itself if printable, else the next free character from U+0100. */
static void spell_byte(int byte, char out[8])
{
    int code = 256;
    for (int b = 0; b < byte; b++) code += !((b > ' ' && b < 127) || (b > 160 && b != 173));
    if ((byte > ' ' && byte < 127) || (byte > 160 && byte != 173)) code = byte;
    out[utf8_encode(code, out)] = '\0';
}

enum { ANY_BYTE_EXTRA = 8 };

/* A byte-level vocabulary: 256 bytes, what two merges make, and `extra` texts (null-terminated). */
static void write_vocab(struct gguf_writer *w, const char *pre, const char *const *extra,
                        const int32_t *types)
{
    static const char *const merges[] = {"a a", "aa aa", "x y", "no such"};
    char spelled[256][8];
    const char *texts[256 + 2 + ANY_BYTE_EXTRA];
    uint64_t n = 0;
    gguf_writer_init(w);
    for (; n < 256; n++) {
        spell_byte((int)n, spelled[n]);
        texts[n] = spelled[n];
    }
    texts[n++] = "aa";
    texts[n++] = "aaaa";
    while (extra && *extra) texts[n++] = *extra++;
    gguf_writer_str(w, "tokenizer.ggml.model", "gpt2");
    if (pre) gguf_writer_str(w, "tokenizer.ggml.pre", pre);
    gguf_writer_strs(w, "tokenizer.ggml.tokens", texts, n);
    gguf_writer_strs(w, "tokenizer.ggml.merges", merges, 4);
    if (types) gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, n, types, n * sizeof *types);
}

/* The tokenizer of what w describes; empties w. */
static enum err load_written(struct gguf_writer *w, struct fixture_tokenizer *l, struct errmsg *msg)
{
    *l = (struct fixture_tokenizer){0};
    *msg = (struct errmsg){""};
    buf_init(&l->image, FILE_MAX);
    gguf_writer_finish(w, &l->image);
    gguf_writer_clear(w);
    assert_int_equal(gguf_open_bytes(l->image.data, l->image.len, &l->gguf, msg), OK);
    return tokenizer_new(l->gguf, &l->t, msg);
}

static void expect_refused(struct gguf_writer *w, enum err code, const char *text)
{
    struct fixture_tokenizer l;
    struct errmsg msg;
    enum err err = load_written(w, &l, &msg);
    if (err != code || !strstr(msg.text, text)) {
        fail_msg("expected \"%s\" with \"%s\", got \"%s\" with \"%s\"", err_text(code), text, err_text(err),
                 msg.text);
    }
    assert_null(l.t);
    fixture_tokenizer_clear(&l);
}

static void test_every_pretokenizer_loads(void **state)
{
    (void)state;
    static const char *const names[] = {
        "default",    "falcon",     "gpt-2",      "mpt",      "starcoder", "refact",         "smollm",
        "codeshell",  "mellum",     "mellum2",    "olmo",     "command-r", "llama-bpe",      "llama3",
        "llama-v3",   "dbrx",       "glm4",       "minicpm5", "qwen2",     "stablelm2",      "laguna",
        "qwen35",     "gpt-4o",     "tekken",     "bloom",    "viking",    "deepseek-coder", "deepseek-llm",
        "seed-coder", "bailingmoe", "deepseek-v3"};
    char text[400];
    uint32_t seed = 3;
    for (int i = 0; i < COUNT(names); i++) {
        struct gguf_writer w;
        struct fixture_tokenizer l;
        struct errmsg msg;
        write_vocab(&w, names[i], NULL, NULL);
        if (load_written(&w, &l, &msg)) fail_msg("%s: %s", names[i], msg.text);
        assert_string_equal(tokenizer_pre(l.t), names[i]);
        fill_random(text, sizeof text, &seed);
        expect_round_trip(l.t, text, sizeof text);
        fixture_tokenizer_clear(&l);
    }
}

/* No pre-tokenizer may take more than linear time on runs of one character (or two). */
static void test_huge_runs_are_linear(void **state)
{
    (void)state;
    static const char *const names[] = {"default",   "gpt-2",       "smollm",     "qwen2",
                                        "llama-bpe", "gpt-4o",      "tekken",     "deepseek-llm",
                                        "bloom",     "deepseek-v3", "seed-coder", "deepseek-coder"};
    static const char *const runs[] = {"a", " ", "\n", "0", "A", "\xff", "!", " x", "\t ", "aA"};
    enum { LEN = 1 << 18 };
    char *text = malloc(LEN + 1);
    for (int i = 0; i < COUNT(names); i++) {
        struct gguf_writer w;
        struct fixture_tokenizer l;
        struct errmsg msg;
        write_vocab(&w, names[i], NULL, NULL);
        assert_int_equal(load_written(&w, &l, &msg), OK);
        for (int r = 0; r < COUNT(runs); r++) {
            size_t period = strlen(runs[r]);
            for (size_t at = 0; at < LEN; at++) text[at] = runs[r][at % period];
            text[LEN] = 'z'; /* white space is not at the end */
            clock_t start = clock();
            struct token_list ids = encode(l.t, text, LEN + 1, 0);
            double s = (double)(clock() - start) / CLOCKS_PER_SEC;
            assert_true(ids.n > 0);
            token_list_clear(&ids);
            if (s > 0.5 && !SANITIZED) fail_msg("%s: 256 KiB of \"%s\" takes %.1f s", names[i], runs[r], s);
        }
        fixture_tokenizer_clear(&l);
    }
    free(text);
}

static void test_long_word(void **state)
{
    (void)state;
    enum { LEN = 1000003 };
    struct gguf_writer w;
    struct fixture_tokenizer l;
    struct errmsg msg;
    char *text = malloc(LEN);
    memset(text, 'a', LEN);
    write_vocab(&w, "gpt-2", NULL, NULL);
    assert_int_equal(load_written(&w, &l, &msg), OK);
    clock_t start = clock();
    struct token_list ids = encode(l.t, text, LEN, 0);
    double s = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (s > 1 && !SANITIZED) fail_msg("one word of 1 MB takes %.1f s", s);
    /* LEN = 4 * 250000 + 3: all fours, then "aa" and "a". */
    assert_int_equal(ids.n, 250002);
    assert_int_equal(ids.ids[0], 257);
    assert_int_equal(ids.ids[249999], 257);
    assert_int_equal(ids.ids[250000], 256);
    assert_int_equal(ids.ids[250001], 'a');
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);

    l = fixture_tokenizer_load("llama");
    ids = encode(l.t, text, LEN, 0);
    assert_true(ids.n > 0);
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);
    free(text);
}

static void test_unknown_names(void **state)
{
    (void)state;
    struct gguf_writer w;
    struct fixture_tokenizer l;
    struct errmsg msg;
    write_vocab(&w, "no-such-splitter", NULL, NULL);
    expect_refused(&w, ERR_UNSUPPORTED, "no-such-splitter");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "wordpiece");
    expect_refused(&w, ERR_UNSUPPORTED, "wordpiece");

    write_vocab(&w, NULL, NULL, NULL); /* no name: "default", with a warning */
    assert_int_equal(load_written(&w, &l, &msg), OK);
    assert_string_equal(tokenizer_pre(l.t), "default");
    fixture_tokenizer_clear(&l);
}

static void test_malformed_vocabularies(void **state)
{
    (void)state;
    static const char *const two[] = {"a", "b"};
    static const int32_t types[] = {1, 1, 1, 1}, bad_types[] = {1, 77};
    static const char *const no_merges[] = {"c d", "e", "", " ", "x  y"};
    struct gguf_writer w;

    gguf_writer_init(&w);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.model");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.tokens");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 0);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.tokens");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_array(&w, "tokenizer.ggml.tokens", GGUF_I32, 2, types, 8);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.tokens");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.merges");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    gguf_writer_strs(&w, "tokenizer.ggml.merges", no_merges, 5);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.merges");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    gguf_writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, 4, types, 16);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.token_type");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    gguf_writer_array(&w, "tokenizer.ggml.token_type", GGUF_I32, 2, bad_types, 8);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.token_type");

    static const char *const id_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.bos_token_id",
                                          "tokenizer.ggml.eot_token_id", "tokenizer.ggml.fim_pre_token_id"};
    for (int i = 0; i < COUNT(id_keys); i++) {
        write_vocab(&w, "gpt-2", NULL, NULL);
        gguf_writer_int(&w, id_keys[i], GGUF_U32, 258);
        expect_refused(&w, ERR_FORMAT, id_keys[i]);
    }

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "llama");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.scores");

    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "llama");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", two, 2);
    gguf_writer_array(&w, "tokenizer.ggml.scores", GGUF_F32, 3, types, 12);
    expect_refused(&w, ERR_FORMAT, "tokenizer.ggml.scores");
}

/* Duplicate texts, empty texts, bytes without a token: odd, not wrong. */
static void test_odd_vocabularies(void **state)
{
    (void)state;
    static const char *const duplicates[] = {"aa", "", "", "b", NULL};
    struct gguf_writer w;
    struct fixture_tokenizer l;
    struct errmsg msg;
    write_vocab(&w, "gpt-2", duplicates, NULL);
    assert_int_equal(load_written(&w, &l, &msg), OK);
    assert_int_equal(tokenizer_find(l.t, "aa"), 256);
    expect_round_trip(l.t, "aabbaaaaa", 9);
    fixture_tokenizer_clear(&l);

    static const char *const few[] = {"a", "b", "ab"};
    static const char *const merges[] = {"a b"};
    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", few, 3);
    gguf_writer_strs(&w, "tokenizer.ggml.merges", merges, 1);
    assert_int_equal(load_written(&w, &l, &msg), OK);
    struct token_list ids = encode(l.t, "axabc", 5, TOKENIZER_BOS); /* no x, no c, no unknown token, no BOS */
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], 0);
    assert_int_equal(ids.ids[1], 2);
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);
}

/* Markers that a file gives as user-defined, or whose types it does not give, are control tokens. */
static void test_markers_become_control(void **state)
{
    (void)state;
    static const char *const extra[] = {"<｜fim▁hole｜>", "<|im_end|>", "</s>",
                                        "<fim_prefix>",   "<EOT>",      NULL};
    int32_t types[263];
    struct gguf_writer w;
    struct fixture_tokenizer l;
    struct errmsg msg;
    for (int i = 0; i < 263; i++) types[i] = 1;
    types[258] = 4;
    types[260] = 4;
    types[261] = 4;
    write_vocab(&w, "gpt-2", extra, types);
    assert_int_equal(load_written(&w, &l, &msg), OK);
    assert_true(tokenizer_is_special(l.t, 258));  /* user-defined in the file */
    assert_true(tokenizer_is_special(l.t, 259));  /* text in the file, but cannot be mistaken */
    assert_false(tokenizer_is_special(l.t, 260)); /* user-defined in the file, but HTML too */
    assert_true(tokenizer_is_special(l.t, 261));
    assert_false(tokenizer_is_special(l.t, 262)); /* text in the file, and so perhaps text */
    assert_true(tokenizer_is_eog(l.t, 259));
    assert_false(tokenizer_is_eog(l.t, 260));
    assert_int_equal(tokenizer_find(l.t, "<｜fim▁hole｜>"), 258);
    assert_int_equal(tokenizer_find(l.t, "<|im_end|>"), 259);
    expect_round_trip(l.t, "x<|im_end|><｜fim▁hole｜>", strlen("x<|im_end|><｜fim▁hole｜>"));
    struct token_list ids = encode(l.t, "<|im_end|><fim_prefix>", 22, TOKENIZER_SPECIAL);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], 259);
    assert_int_equal(ids.ids[1], 261);
    token_list_clear(&ids);
    fixture_tokenizer_clear(&l);

    write_vocab(&w, "gpt-2", extra, NULL);
    assert_int_equal(load_written(&w, &l, &msg), OK);
    assert_true(tokenizer_is_eog(l.t, 260));
    fixture_tokenizer_clear(&l);
}

static void test_token_list(void **state)
{
    (void)state;
    static const int32_t three[] = {7, 8, 9};
    struct token_list l = {0};
    assert_int_equal(token_list_add_all(&l, NULL, 0), OK);
    for (int32_t i = 0; i < 1000; i++) assert_int_equal(token_list_add(&l, i), OK);
    assert_int_equal(token_list_add_all(&l, three, 3), OK);
    assert_int_equal(l.n, 1003);
    assert_int_equal(l.ids[999], 999);
    assert_int_equal(l.ids[1002], 9);
    token_list_clear(&l);
    assert_null(l.ids);
    assert_int_equal(l.n, 0);
}

struct job {
    const struct tokenizer *t;
    const struct buf *texts;
    struct token_list ids;
};

static void *encode_many(void *ctx)
{
    struct job *job = ctx;
    for (int i = 0; i < 20; i++) {
        job->ids.n = 0;
        if (tokenizer_encode(job->t, job->texts->data, job->texts->len, TOKENIZER_SPECIAL, &job->ids))
            return ctx;
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2", "llama"};
    struct buf texts = read_fixture("texts", ".bin");
    for (int i = 0; i < COUNT(names); i++) {
        struct fixture_tokenizer l = fixture_tokenizer_load(names[i]);
        struct job jobs[2] = {{.t = l.t, .texts = &texts}, {.t = l.t, .texts = &texts}};
        pthread_t other;
        void *failed;
        assert_int_equal(pthread_create(&other, NULL, encode_many, &jobs[1]), 0);
        assert_null(encode_many(&jobs[0]));
        assert_int_equal(pthread_join(other, &failed), 0);
        assert_null(failed);
        assert_int_equal(jobs[0].ids.n, jobs[1].ids.n);
        assert_memory_equal(jobs[0].ids.ids, jobs[1].ids.ids, (size_t)jobs[0].ids.n * 4);
        token_list_clear(&jobs[0].ids);
        token_list_clear(&jobs[1].ids);
        fixture_tokenizer_clear(&l);
    }
    buf_clear(&texts);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_equal_reference),
        cmocka_unit_test(test_random_bytes_round_trip),
        cmocka_unit_test(test_spm_random_bytes_round_trip),
        cmocka_unit_test(test_special_tokens),
        cmocka_unit_test(test_bos),
        cmocka_unit_test(test_every_pretokenizer_loads),
        cmocka_unit_test(test_huge_runs_are_linear),
        cmocka_unit_test(test_long_word),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_malformed_vocabularies),
        cmocka_unit_test(test_odd_vocabularies),
        cmocka_unit_test(test_markers_become_control),
        cmocka_unit_test(test_token_list),
        cmocka_unit_test(test_two_threads),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
