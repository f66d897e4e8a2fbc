/* FIM families and how a model's is recognised.
 *
 * The families are data. Their formats are from the models' cards and papers (Qwen2.5-Coder: arXiv
 * 2409.12186, StarCoder 2: 2402.19173, Code Llama: 2308.12950, DeepSeek-Coder: 2401.14196, CodeGemma:
 * 2406.11409, Seed-Coder: 2506.03524, Mellum: 2510.05788; the order of prefix and suffix goes back to
 * 2207.14255). A GGUF file may name the tokens by id; which order and layout they were trained with is
 * still known only by their spelling, so that both ways of detection end in the same table. */
#include "context/fim.h"

#include <string.h>

#include "base/buf.h"
#include "context/fim_family.h"
#include "model/gguf.h"
#include "model/model.h"

#define SPACE FIM_SPACE
#define BAR   "\xef\xbd\x9c" /* U+FF5C, the wide bar in DeepSeek's spellings */

/* The first row that applies wins: special cases come before the families that they resemble. */
/* clang-format off */
static const struct fim_family families[] = {
    {.name = "qwen",
     .prefix = "<|fim_prefix|>", .suffix = "<|fim_suffix|>", .middle = "<|fim_middle|>",
     .repo = "<|repo_name|>", .file = "<|file_sep|>", .files = FIM_FILES_BEFORE,
     .needs = "<|file_sep|>",
     .ends = {"<|endoftext|>", "<|fim_pad|>", "<|im_start|>", "<|im_end|>"}},
    {.name = "codegemma",
     .prefix = "<|fim_prefix|>", .suffix = "<|fim_suffix|>", .middle = "<|fim_middle|>",
     .file = "<|file_separator|>", .files = FIM_FILES_BETWEEN,
     .needs = "<|file_separator|>",
     .ends = {"<eos>", "<start_of_turn>", "<end_of_turn>"}},
    {.name = "granite4",
     .prefix = "<|fim_prefix|>", .suffix = "<|fim_suffix|>", .middle = "<|fim_middle|>",
     .needs = "<|end_of_text|>",
     .ends = {"<|end_of_text|>", "<|fim_pad|>"}},
    {.name = "mellum", .order = FIM_SPM,
     .prefix = "<fim_prefix>", .suffix = "<fim_suffix>", .middle = "<fim_middle>",
     .file = "<filename>", .files = FIM_FILES_BEFORE,
     .pre = "mellum", .needs = "<filename>", .lacks = "<reponame>",
     .ends = {"<|endoftext|>", "<fim_pad>"}},
    {.name = "starcoder2",
     .prefix = "<fim_prefix>", .suffix = "<fim_suffix>", .middle = "<fim_middle>",
     .repo = "<repo_name>", .file = "<file_sep>", .files = FIM_FILES_BEFORE,
     .needs = "<file_sep>",
     .ends = {"<|endoftext|>", "<fim_pad>"}},
    {.name = "granite",
     .prefix = "<fim_prefix>", .suffix = "<fim_suffix>", .middle = "<fim_middle>",
     .repo = "<reponame>",
     .needs = "<|end_of_text|>",
     .ends = {"<|end_of_text|>", "<fim_pad>"}},
    {.name = "starcoder", /* also Granite Code, StableCode, CodeQwen 1.5, Refact */
     .prefix = "<fim_prefix>", .suffix = "<fim_suffix>", .middle = "<fim_middle>",
     .repo = "<reponame>", .file = "<filename>",
     .ends = {"<|endoftext|>", "<fim_pad>"}},
    {.name = "santacoder",
     .prefix = "<fim-prefix>", .suffix = "<fim-suffix>", .middle = "<fim-middle>",
     .ends = {"<|endoftext|>", "<fim-pad>"}},
    {.name = "codellama", /* the spaces of "<PRE> P <SUF>S <MID>" belong to the tokens */
     .prefix = SPACE "<PRE>", .suffix = SPACE "<SUF>", .middle = SPACE "<MID>",
     .ends = {SPACE "<EOT>"}},
    {.name = "codellama", /* files whose converter dropped them */
     .prefix = "<PRE>", .suffix = "<SUF>", .middle = "<MID>",
     .ends = {"<EOT>"}},
    {.name = "deepseek",
     .prefix = "<" BAR "fim" SPACE "begin" BAR ">", .suffix = "<" BAR "fim" SPACE "hole" BAR ">",
     .middle = "<" BAR "fim" SPACE "end" BAR ">",
     .files = FIM_FILES_IN_PREFIX, .file_mark = "#",
     .ends = {"<" BAR "end" SPACE "of" SPACE "sentence" BAR ">", "<|EOT|>"}},
    {.name = "codestral", .order = FIM_SPM, /* the middle simply follows the prefix */
     .prefix = "[PREFIX]", .suffix = "[SUFFIX]",
     .files = FIM_FILES_IN_PREFIX, .file_mark = "+++++ ", .file_gap = "\n",
     .ends = {"</s>", "[MIDDLE]"}},
    {.name = "seed-coder", .order = FIM_SPM,
     .prefix = "<[fim-prefix]>", .suffix = "<[fim-suffix]>", .middle = "<[fim-middle]>",
     .file = "<filename>", .files = FIM_FILES_IN_PREFIX, .file_mark = "<filename>",
     .ends = {"<[end" SPACE "of" SPACE "sentence]>"}},
    {.name = "glm",
     .prefix = "<|code_prefix|>", .suffix = "<|code_suffix|>", .middle = "<|code_middle|>",
     .ends = {"<|endoftext|>", "<|user|>"}},
    {.name = "generic",
     .prefix = "<|fim_prefix|>", .suffix = "<|fim_suffix|>", .middle = "<|fim_middle|>",
     .ends = {"<|endoftext|>", "<|fim_pad|>"}},
};
/* clang-format on */
#define N_FAMILIES ((int32_t)(sizeof families / sizeof families[0]))

/* For tokens that only the file's keys tell: the most common order and no layout of files. */
static const struct fim_family unknown_family = {.name = "generic"};

static const struct fim no_fim = {.family = "none",
                                  .order = FIM_PREFIX_ONLY,
                                  .detected = "none",
                                  .prefix = TOKEN_NONE,
                                  .suffix = TOKEN_NONE,
                                  .middle = TOKEN_NONE,
                                  .repo = TOKEN_NONE,
                                  .file = TOKEN_NONE,
                                  .row = &unknown_family};

static bool has_token(const struct tokenizer *t, const char *text)
{
    return tokenizer_find(t, text) != TOKEN_NONE;
}

static bool row_applies(const struct fim_family *row, const struct tokenizer *t)
{
    if (row->pre && strcmp(tokenizer_pre(t), row->pre) == 0) return true;
    return (!row->needs || has_token(t, row->needs)) && (!row->lacks || !has_token(t, row->lacks));
}

static bool id_is_spelled(const struct tokenizer *t, int32_t id, const char *text)
{
    size_t len;
    const char *spelling = tokenizer_text(t, id, &len);
    return len == strlen(text) && memcmp(spelling, text, len) == 0;
}

/* A token that the file names by its current key, or else by the older one. */
static int32_t key_id(const struct model *m, const char *key, const char *old_key)
{
    int64_t id = TOKEN_NONE;
    int64_t last = tokenizer_n_vocab(m->tokenizer) - 1;
    if (gguf_get_int(m->gguf, key, 0, last, &id, NULL) == OK) return (int32_t)id;
    if (old_key && gguf_get_int(m->gguf, old_key, 0, last, &id, NULL) == OK) return (int32_t)id;
    return TOKEN_NONE;
}

static int32_t find_or(const struct tokenizer *t, const char *text, int32_t otherwise)
{
    int32_t id = text ? tokenizer_find(t, text) : TOKEN_NONE;
    return id != TOKEN_NONE ? id : otherwise;
}

static void add_end(struct fim *f, int32_t id)
{
    if (id != TOKEN_NONE && !fim_is_end(f, id) && f->n_ends < FIM_MAX_ENDS) f->ends[f->n_ends++] = id;
}

/* A model may be trained in another order than its family's first one, and say so ("spm" or "psm"). */
static enum fim_order order_of(const struct model *m, const struct fim_family *row)
{
    struct gguf_str order = {0};
    if (gguf_get_str(m->gguf, "inline.fim.order", &order, NULL) != OK || order.len != 3) return row->order;
    if (memcmp(order.data, "spm", 3) == 0) return FIM_SPM;
    return memcmp(order.data, "psm", 3) == 0 ? FIM_PSM : row->order;
}

/* Everything but the three main tokens, which are set already. */
static void fill_from_row(struct fim *f, const struct model *m, const struct fim_family *row)
{
    const struct tokenizer *t = m->tokenizer;
    f->family = row->name;
    f->order = order_of(m, row);
    f->row = row;
    f->repo = find_or(t, row->repo, key_id(m, "tokenizer.ggml.fim_rep_token_id", NULL));
    f->file = find_or(t, row->file, key_id(m, "tokenizer.ggml.fim_sep_token_id", NULL));
    for (int32_t i = 0; i < (int32_t)(sizeof row->ends / sizeof row->ends[0]); i++) {
        add_end(f, find_or(t, row->ends[i], TOKEN_NONE));
    }
    add_end(f, key_id(m, "tokenizer.ggml.fim_pad_token_id", NULL));
    /* A middle holds none of the tokens that open another part, either. */
    add_end(f, f->prefix);
    add_end(f, f->suffix);
    add_end(f, f->middle);
    add_end(f, f->repo);
    add_end(f, f->file);
}

static bool detect_by_keys(const struct model *m, struct fim *out)
{
    const struct tokenizer *t = m->tokenizer;
    out->prefix = key_id(m, "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id");
    out->suffix = key_id(m, "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id");
    out->middle = key_id(m, "tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id");
    if (out->prefix == TOKEN_NONE || out->suffix == TOKEN_NONE) return false;
    out->detected = "gguf keys";
    for (int32_t i = 0; i < N_FAMILIES; i++) {
        const struct fim_family *row = &families[i];
        if (!id_is_spelled(t, out->prefix, row->prefix) || !id_is_spelled(t, out->suffix, row->suffix))
            continue;
        if (!row_applies(row, t)) continue;
        if (!row->middle)
            out->middle = TOKEN_NONE;
        else if (out->middle == TOKEN_NONE)
            out->middle = tokenizer_find(t, row->middle);
        if (row->middle && out->middle == TOKEN_NONE) continue;
        fill_from_row(out, m, row);
        return true;
    }
    if (out->middle == TOKEN_NONE) return false;
    fill_from_row(out, m, &unknown_family);
    return true;
}

static bool detect_by_text(const struct model *m, struct fim *out)
{
    const struct tokenizer *t = m->tokenizer;
    for (int32_t i = 0; i < N_FAMILIES; i++) {
        const struct fim_family *row = &families[i];
        if (!has_token(t, row->prefix) || !has_token(t, row->suffix)) continue;
        if (row->middle && !has_token(t, row->middle)) continue;
        if (!row_applies(row, t)) continue;
        out->prefix = tokenizer_find(t, row->prefix);
        out->suffix = tokenizer_find(t, row->suffix);
        out->middle = find_or(t, row->middle, TOKEN_NONE);
        out->detected = "token text";
        fill_from_row(out, m, row);
        return true;
    }
    return false;
}

void fim_detect(const struct model *m, struct fim *out)
{
    *out = (struct fim){0};
    if (detect_by_keys(m, out) || detect_by_text(m, out)) return;
    *out = no_fim;
}

bool fim_of_family(const char *family, struct fim *out)
{
    *out = no_fim;
    if (strcmp(family, no_fim.family) == 0) return true;
    for (int32_t i = 0; i < N_FAMILIES; i++) {
        const struct fim_family *row = &families[i];
        if (strcmp(row->name, family) != 0) continue;
        out->family = row->name;
        out->order = row->order;
        out->detected = "name";
        out->row = row;
        return true;
    }
    return false;
}

void fim_families(struct buf *out)
{
    for (int32_t i = 0; i < N_FAMILIES; i++) {
        if (i > 0 && strcmp(families[i].name, families[i - 1].name) == 0) continue;
        buf_printf(out, "%s%s", i > 0 ? " " : "", families[i].name);
    }
}

/* Shorter ones mean something else too: "</s>" is HTML. */
#define MARK_LEN_MIN 5

static void add_mark(const char *spelling, const char **out, int32_t *n)
{
    if (!spelling) return;
    if (strncmp(spelling, SPACE, strlen(SPACE)) == 0) spelling += strlen(SPACE);
    if (strlen(spelling) >= MARK_LEN_MIN) out[(*n)++] = spelling;
}

int32_t fim_marks(const struct fim *f, const char *out[FIM_MAX_MARKS])
{
    const struct fim_family *row = f->row;
    int32_t n = 0;
    _Static_assert(FIM_MAX_MARKS == 3 + sizeof row->ends / sizeof row->ends[0], "room for all of a row");
    add_mark(row->prefix, out, &n);
    add_mark(row->suffix, out, &n);
    add_mark(row->middle, out, &n);
    for (size_t i = 0; i < sizeof row->ends / sizeof row->ends[0]; i++) add_mark(row->ends[i], out, &n);
    return n;
}

bool fim_is_end(const struct fim *f, int32_t token)
{
    for (int32_t i = 0; i < f->n_ends; i++) {
        if (f->ends[i] == token) return true;
    }
    return false;
}

const char *fim_order_name(enum fim_order order)
{
    switch (order) {
    case FIM_PSM:
        return "psm";
    case FIM_SPM:
        return "spm";
    case FIM_PREFIX_ONLY:
        break;
    }
    return "prefix-only";
}
