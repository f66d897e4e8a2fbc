/* Fuzz target: tokenizers from any vocabulary, and any text through good ones.
 *
 * The first byte chooses. 0: the next two bytes (little-endian) are the length of a GGUF file, which follows;
 * what is left is text. If the file makes a tokenizer, encoding and decoding must hold up. Otherwise the
 * byte names a pre-tokenizer for a fixed vocabulary in which every byte and many pairs of bytes are tokens;
 * the rest is text, which must come back byte for byte. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "support/gguf_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"gpt-2",        "smollm",      "qwen2",  "qwen35",  "llama-bpe",
                                    "seed-coder",   "gpt-4o",      "tekken", "bloom",   "deepseek-coder",
                                    "deepseek-llm", "deepseek-v3", "viking", "default", "falcon",
                                    "bailingmoe",   "laguna"};
#define N_NAMES (sizeof names / sizeof *names)

/* Pairs with a rank: joining them shows where words were cut. */
#define N_PAIRS 512

static void check(bool holds)
{
    if (!holds) abort();
}

/* A byte in GPT-2's alphabet. */
static size_t spell_byte(int byte, char out[4])
{
    int code = 256;
    for (int b = 0; b <= byte; b++) {
        bool is_own = (b > ' ' && b < 127) || (b > 160 && b != 173);
        if (b == byte)
            code = is_own ? b : code;
        else
            code += !is_own;
    }
    return utf8_encode(code, out);
}

/* The fixed vocabulary's file: 256 bytes, and the pairs that a small generator picks. */
static void write_vocab(const char *pre, struct buf *image)
{
    static char texts[256 + N_PAIRS][12], merges[N_PAIRS][12];
    const char *text_at[256 + N_PAIRS], *merge_at[N_PAIRS];
    uint32_t seed = 9;
    for (int byte = 0; byte < 256; byte++) {
        texts[byte][spell_byte(byte, texts[byte])] = '\0';
        text_at[byte] = texts[byte];
    }
    for (int i = 0; i < N_PAIRS; i++) {
        static const char common[] = "aeiost \n\t\r09_.,(A'\xc3\xa9\xe4\xbd\xa0";
        char left[8] = "", right[8] = "";
        seed = seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
        spell_byte((unsigned char)common[(seed >> 8) % (sizeof common - 1)], left);
        spell_byte((unsigned char)common[(seed >> 16) % (sizeof common - 1)], right);
        snprintf(texts[256 + i], sizeof texts[0], "%s%s", left, right);
        snprintf(merges[i], sizeof merges[0], "%s %s", left, right);
        text_at[256 + i] = texts[256 + i];
        merge_at[i] = merges[i];
    }
    struct gguf_writer w;
    gguf_writer_init(&w);
    gguf_writer_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_writer_str(&w, "tokenizer.ggml.pre", pre);
    gguf_writer_strs(&w, "tokenizer.ggml.tokens", text_at, 256 + N_PAIRS);
    gguf_writer_strs(&w, "tokenizer.ggml.merges", merge_at, N_PAIRS);
    gguf_writer_finish(&w, image);
    gguf_writer_clear(&w);
}

static void check_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = {0};
    size_t at = 0, piece_len;
    check(tokenizer_encode(t, text, len, 0, &ids) == OK);
    for (int32_t i = 0; i < ids.n; i++) {
        const char *piece = tokenizer_piece(t, ids.ids[i], &piece_len);
        check(piece_len <= len - at && !memcmp(piece, text + at, piece_len));
        at += piece_len;
    }
    check(at == len);
    token_list_clear(&ids);
}

/* Made once for each name and kept to the end. */
static const struct tokenizer *good_tokenizer(size_t name)
{
    static struct tokenizer *made[N_NAMES];
    static struct buf images[N_NAMES];
    static struct gguf *ggufs[N_NAMES];
    if (made[name]) return made[name];
    buf_init(&images[name], (size_t)1 << 20);
    write_vocab(names[name], &images[name]);
    check(gguf_open_bytes(images[name].data, images[name].len, &ggufs[name], NULL) == OK);
    check(tokenizer_new(ggufs[name], &made[name], NULL) == OK);
    return made[name];
}

static void use_any_tokenizer(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = {0};
    size_t n;
    for (unsigned flags = 0; flags < 4; flags++) check(tokenizer_encode(t, text, len, flags, &ids) == OK);
    for (int32_t i = 0; i < ids.n; i++) check(ids.ids[i] >= 0 && ids.ids[i] < tokenizer_n_vocab(t));
    for (int32_t id = -1; id <= tokenizer_n_vocab(t); id++) {
        char spelled[64];
        const char *piece = tokenizer_piece(t, id, &n);
        if (n) check(memchr(piece, piece[0], n) == piece);
        const char *vocab_text = tokenizer_text(t, id, &n);
        if (n >= sizeof spelled || memchr(vocab_text, '\0', n)) continue;
        memcpy(spelled, vocab_text, n);
        spelled[n] = '\0';
        int32_t found = tokenizer_find(t, spelled);
        if (id >= 0 && id < tokenizer_n_vocab(t)) check(found >= 0);
        check(!tokenizer_is_eog(t, id) || (id >= 0 && id < tokenizer_n_vocab(t)));
    }
    token_list_clear(&ids);
}

static void fuzz_vocabulary(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct tokenizer *t;
    struct errmsg msg = {""};
    if (size < 2) return;
    size_t len = (size_t)data[0] | (size_t)data[1] << 8;
    data += 2;
    size -= 2;
    if (len > size) len = size;
    if (gguf_open_bytes(data, len, &g, &msg)) return;
    if (tokenizer_new(g, &t, &msg)) {
        check(msg.text[0] && !t);
    } else {
        use_any_tokenizer(t, (const char *)data + len, size - len);
        tokenizer_free(&t);
    }
    gguf_close(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    log_set_level(LOG_ERROR);
    if (!size) return 0;
    if (!data[0]) {
        fuzz_vocabulary(data + 1, size - 1);
    } else {
        check_round_trip(good_tokenizer((data[0] - 1u) % N_NAMES), (const char *)data + 1, size - 1);
    }
    return 0;
}
