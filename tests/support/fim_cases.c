/* Vocabularies and golden prompts. */
#include "support/fim_cases.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "support/gguf_writer.h"

#define IMAGE_MAX ((size_t)1 << 20)

/* As in the specification of GGUF. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_BYTE = 6 };

#define MAX_TOKENS (256 + 4 + FIM_CASE_SPECIALS)

static _Noreturn void die(const char *what, const char *text)
{
    fprintf(stderr, "%s: %s\n", what, text);
    abort();
}

struct vocab_tokens {
    char bytes[256][8];
    const char *texts[MAX_TOKENS];
    int32_t types[MAX_TOKENS];
    float scores[MAX_TOKENS];
    uint64_t n;
};

static void add_token(struct vocab_tokens *v, const char *text, int32_t type)
{
    if (v->n == MAX_TOKENS) die("too many tokens", text);
    v->scores[v->n] = -(float)v->n;
    v->types[v->n] = type;
    v->texts[v->n++] = text;
}

/* GPT-2's alphabet: printable Latin-1 characters stand for themselves, the other bytes for U+0100 upwards. */
static void add_bpe_bytes(struct vocab_tokens *v)
{
    int32_t next = 256;
    for (int32_t b = 0; b < 256; b++) {
        bool is_printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        v->bytes[b][utf8_encode(is_printable ? b : next++, v->bytes[b])] = '\0';
        add_token(v, v->bytes[b], TYPE_NORMAL);
    }
}

static void add_spm_bytes(struct vocab_tokens *v)
{
    for (int32_t b = 0; b < 256; b++) {
        snprintf(v->bytes[b], sizeof v->bytes[b], "<0x%02X>", (unsigned)b);
        add_token(v, v->bytes[b], TYPE_BYTE);
    }
}

static uint64_t id_of(const struct vocab_tokens *v, const char *text)
{
    for (uint64_t i = 0; i < v->n; i++) {
        if (strcmp(v->texts[i], text) == 0) return i;
    }
    die("no token", text);
}

static void write_vocab(struct gguf_writer *w, const struct fim_vocab *vocab)
{
    static struct vocab_tokens v;
    memset(&v, 0, sizeof v);
    bool is_bpe = strcmp(vocab->kind, "gpt2") == 0;
    if (is_bpe)
        add_bpe_bytes(&v);
    else
        add_spm_bytes(&v);
    add_token(&v, is_bpe ? "\xc4\xa0\xc4\xa0" : "\xe2\x96\x81", TYPE_NORMAL);
    add_token(&v, "<unk>", TYPE_UNKNOWN);
    add_token(&v, "<s>", TYPE_CONTROL);
    add_token(&v, "</s>", TYPE_CONTROL);
    for (int i = 0; i < FIM_CASE_SPECIALS && vocab->specials[i]; i++)
        add_token(&v, vocab->specials[i], TYPE_CONTROL);
    gguf_writer_str(w, "tokenizer.ggml.model", vocab->kind);
    gguf_writer_str(w, "tokenizer.ggml.pre", vocab->pre ? vocab->pre : "default");
    gguf_writer_strs(w, "tokenizer.ggml.tokens", v.texts, v.n);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, v.n, v.types, v.n * sizeof *v.types);
    static const char *const merges[] = {"\xc4\xa0 \xc4\xa0"};
    if (is_bpe)
        gguf_writer_strs(w, "tokenizer.ggml.merges", merges, 1);
    else
        gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, v.n, v.scores, v.n * sizeof *v.scores);
    gguf_writer_int(w, "tokenizer.ggml.unknown_token_id", GGUF_U32, (int64_t)id_of(&v, "<unk>"));
    gguf_writer_int(w, "tokenizer.ggml.bos_token_id", GGUF_U32, (int64_t)id_of(&v, "<s>"));
    gguf_writer_int(w, "tokenizer.ggml.eos_token_id", GGUF_U32, (int64_t)id_of(&v, "</s>"));
    gguf_writer_int(w, "tokenizer.ggml.add_bos_token", GGUF_BOOL, vocab->adds_bos);
    if (vocab->order) gguf_writer_str(w, "inline.fim.order", vocab->order);
    for (int i = 0; i < 4 && vocab->keys[i].key; i++) {
        char key[64];
        snprintf(key, sizeof key, "tokenizer.ggml.%s", vocab->keys[i].key);
        gguf_writer_int(w, key, GGUF_U32, (int64_t)id_of(&v, vocab->keys[i].token));
    }
}

struct fim_fake *fim_fake_open(const struct fim_vocab *vocab)
{
    struct fim_fake *f = calloc(1, sizeof *f);
    struct gguf_writer w;
    struct buf out;
    struct errmsg msg = {0};
    gguf_writer_init(&w);
    write_vocab(&w, vocab);
    buf_init(&out, IMAGE_MAX);
    gguf_writer_finish(&w, &out);
    gguf_writer_clear(&w);
    if (out.err) die("gguf", err_text(out.err));
    size_t len = out.len;
    f->image = buf_take(&out);
    if (gguf_open_bytes(f->image, len, &f->model.gguf, &msg)) die("gguf", msg.text);
    if (tokenizer_new(f->model.gguf, &f->model.tokenizer, &msg)) die("tokenizer", msg.text);
    fim_detect(&f->model, &f->fim);
    return f;
}

void fim_fake_close(struct fim_fake *f)
{
    tokenizer_free(&f->model.tokenizer);
    gguf_close(&f->model.gguf);
    mem_free(f->image);
    free(f);
}

#define W "\xe2\x96\x81" /* SentencePiece's space */
#define B "\xef\xbd\x9c" /* DeepSeek's bar */

const struct fim_case fim_cases[] = {
    {"qwen",
     "psm",
     "token text",
     {.kind = "gpt2",
      .pre = "qwen2",
      .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>",
                   "<|file_sep|>", "<|endoftext|>", "<|im_end|>"}},
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>",
     "<|repo_name|>shop\n<|file_sep|>far.c\nint f;\n<|file_sep|>near.c\nint n;\n<|file_sep|>src/cur.c\n"
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>"},
    {"qwen",
     "spm",
     "token text",
     {.kind = "gpt2",
      .pre = "qwen2",
      .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>"},
      .order = "spm"},
     "<|fim_suffix|>);\n<|fim_prefix|>a(<|fim_middle|>",
     "<|file_sep|>far.c\nint f;\n<|file_sep|>near.c\nint n;\n<|file_sep|>src/cur.c\n"
     "<|fim_suffix|>);\n<|fim_prefix|>a(<|fim_middle|>"},
    {"codegemma",
     "psm",
     "token text",
     {.kind = "gpt2",
      .adds_bos = true,
      .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>"}},
     "<s><|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>",
     "<s>far.c\nint f;\n<|file_separator|>near.c\nint n;\n<|file_separator|>src/cur.c\n"
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>"},
    {"granite4",
     "psm",
     "token text",
     {.kind = "gpt2",
      .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|end_of_text|>"}},
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>",
     "<|fim_prefix|># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<|fim_suffix|>);\n<|fim_middle|>"},
    {"mellum",
     "spm",
     "token text",
     {.kind = "gpt2",
      .specials = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<filename>",
                   "<|endoftext|>"}},
     "<fim_suffix>);\n<fim_prefix>a(<fim_middle>",
     "<filename>far.c\nint f;\n<filename>near.c\nint "
     "n;\n<filename>src/cur.c\n<fim_suffix>);\n<fim_prefix>a(<fim_middle>"},
    {"starcoder2",
     "psm",
     "token text",
     {.kind = "gpt2",
      .pre = "starcoder",
      .specials = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<repo_name>", "<file_sep>"}},
     "<fim_prefix>a(<fim_suffix>);\n<fim_middle>",
     "<repo_name>shop\n<file_sep>far.c\nint f;\n<file_sep>near.c\nint n;\n<file_sep>src/cur.c\n"
     "<fim_prefix>a(<fim_suffix>);\n<fim_middle>"},
    {"granite",
     "psm",
     "token text",
     {.kind = "gpt2",
      .pre = "refact",
      .specials = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<filename>", "<reponame>",
                   "<|end_of_text|>"}},
     "<fim_prefix>a(<fim_suffix>);\n<fim_middle>",
     "<fim_prefix># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<fim_suffix>);\n<fim_middle>"},
    {"starcoder",
     "psm",
     "token text",
     {.kind = "gpt2",
      .specials = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<filename>", "<reponame>",
                   "<|endoftext|>"}},
     "<fim_prefix>a(<fim_suffix>);\n<fim_middle>",
     "<fim_prefix># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<fim_suffix>);\n<fim_middle>"},
    {"santacoder",
     "psm",
     "token text",
     {.kind = "gpt2", .specials = {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"}},
     "<fim-prefix>a(<fim-suffix>);\n<fim-middle>",
     "<fim-prefix># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<fim-suffix>);\n<fim-middle>"},
    /* The tokens' own spaces, and SentencePiece's before the prefix but not before the suffix. */
    {"codellama",
     "psm",
     "token text",
     {.kind = "llama", .adds_bos = true, .specials = {W "<PRE>", W "<SUF>", W "<MID>", W "<EOT>"}},
     "<s>" W "<PRE> a(" W "<SUF>);\n" W "<MID>",
     "<s>" W "<PRE># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\na(" W "<SUF>);\n" W "<MID>"},
    {"deepseek",
     "psm",
     "token text",
     {.kind = "gpt2",
      .pre = "deepseek-coder",
      .adds_bos = true,
      .specials = {"<" B "fim" W "begin" B ">", "<" B "fim" W "hole" B ">", "<" B "fim" W "end" B ">"}},
     "<s><" B "fim" W "begin" B ">a(<" B "fim" W "hole" B ">);\n<" B "fim" W "end" B ">",
     "<s><" B "fim" W "begin" B ">#far.c\nint f;\n#near.c\nint n;\n#src/cur.c\na(<" B "fim" W "hole" B
     ">);\n<" B "fim" W "end" B ">"},
    {"codestral",
     "spm",
     "token text",
     {.kind = "llama", .adds_bos = true, .specials = {"[PREFIX]", "[SUFFIX]", "[MIDDLE]"}},
     "<s>[SUFFIX]);\n[PREFIX] a(",
     "<s>[SUFFIX]);\n[PREFIX]+++++ far.c\nint f;\n\n+++++ near.c\nint n;\n\n+++++ src/cur.c\na("},
    {"seed-coder",
     "spm",
     "token text",
     {.kind = "gpt2",
      .pre = "seed-coder",
      .specials = {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"}},
     "<[fim-suffix]>);\n<[fim-prefix]>a(<[fim-middle]>",
     "<[fim-suffix]>);\n<[fim-prefix]><filename>far.c\nint f;\n<filename>near.c\nint "
     "n;\n<filename>src/cur.c\na(<[fim-middle]>"},
    {"glm",
     "psm",
     "token text",
     {.kind = "gpt2", .specials = {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"}},
     "<|code_prefix|>a(<|code_suffix|>);\n<|code_middle|>",
     "<|code_prefix|># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<|code_suffix|>);\n<|code_middle|>"},
    {"generic",
     "psm",
     "token text",
     {.kind = "gpt2", .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}},
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>",
     "<|fim_prefix|># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<|fim_suffix|>);\n<|fim_middle|>"},
    {"none",
     "prefix-only",
     "none",
     {.kind = "gpt2", .specials = {"<|fim_prefix|>", "<|endoftext|>"}},
     "a(",
     "# far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\na("},
    {"none",
     "prefix-only",
     "none",
     {.kind = "llama", .adds_bos = true},
     "<s> a(",
     "<s># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\na("},

    /* By keys: with a family that the spelling tells, and with one that nothing tells. */
    {"qwen",
     "psm",
     "gguf keys",
     {.kind = "gpt2",
      .specials = {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"},
      .keys = {{"fim_pre_token_id", "<|fim_prefix|>"},
               {"fim_suf_token_id", "<|fim_suffix|>"},
               {"fim_mid_token_id", "<|fim_middle|>"}}},
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>",
     "<|repo_name|>shop\n<|file_sep|>far.c\nint f;\n<|file_sep|>near.c\nint n;\n<|file_sep|>src/cur.c\n"
     "<|fim_prefix|>a(<|fim_suffix|>);\n<|fim_middle|>"},
    {"seed-coder",
     "spm",
     "gguf keys", /* the middle's key is missing: its spelling tells it */
     {.kind = "gpt2",
      .specials = {"<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>"},
      .keys = {{"prefix_token_id", "<[fim-prefix]>"}, {"suffix_token_id", "<[fim-suffix]>"}}},
     "<[fim-suffix]>);\n<[fim-prefix]>a(<[fim-middle]>",
     NULL},
    {"codestral",
     "spm",
     "gguf keys",
     {.kind = "llama",
      .specials = {"[PREFIX]", "[SUFFIX]", "[MIDDLE]"},
      .keys = {{"prefix_token_id", "[PREFIX]"},
               {"suffix_token_id", "[SUFFIX]"},
               {"middle_token_id", "[MIDDLE]"}}},
     "[SUFFIX]);\n[PREFIX] a(",
     NULL},
    {"generic",
     "psm",
     "gguf keys",
     {.kind = "gpt2",
      .specials = {"<before>", "<after>", "<here>"},
      .keys = {{"fim_pre_token_id", "<before>"},
               {"fim_suf_token_id", "<after>"},
               {"fim_mid_token_id", "<here>"}}},
     "<before>a(<after>);\n<here>",
     "<before># far.c\nint f;\n\n# near.c\nint n;\n\n# src/cur.c\n"
     "a(<after>);\n<here>"},
    {"none",
     "prefix-only",
     "none", /* not enough to go by */
     {.kind = "gpt2",
      .specials = {"<before>", "<after>"},
      .keys = {{"fim_pre_token_id", "<before>"}, {"fim_suf_token_id", "<after>"}}},
     "a(",
     NULL},
    {"mellum",
     "spm",
     "token text", /* the pre-tokenizer tells what the vocabulary does not */
     {.kind = "gpt2",
      .pre = "mellum",
      .specials = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>", "<reponame>"}},
     "<fim_suffix>);\n<fim_prefix>a(<fim_middle>",
     NULL},
};

const size_t fim_n_cases = sizeof fim_cases / sizeof fim_cases[0];
