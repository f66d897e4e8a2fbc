/* Markers of models. Many files give their fill-in-the-middle and end-of-text markers as user-defined
 * tokens, which would match in a user's source text; here they become control tokens, which do not.
 *
 * A token that the file calls ordinary text stays text, unless its spelling cannot be mistaken: "</s>" is
 * also HTML, "<|im_end|>" is not. */
#include "model/tok_special.h"

#include <assert.h>
#include <string.h>

#include "model/gguf.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

struct marker {
    const char *text;
    bool ends_generation;
    bool is_unmistakable;
};

static const struct marker markers[] = {
    /* End of text, of turn, of message. */
    {"<|endoftext|>", true, true},
    {"<|end_of_text|>", true, true},
    {"<|im_end|>", true, true},
    {"<|end|>", true, true},
    {"<|eot_id|>", true, true},
    {"<|eom_id|>", true, true},
    {"<|EOT|>", true, true},
    {"<|eos|>", true, true},
    {"<|return|>", true, true},
    {"<｜end▁of▁sentence｜>", true, true},
    {"<[end▁of▁sentence]>", true, true},
    {"<end_of_turn>", true, false},
    {"<end_of_utterance>", true, false},
    {"<EOT>", true, false},
    {"▁<EOT>", true, false},
    {"<eos>", true, false},
    {"</s>", true, false},
    {"[EOS]", true, false},
    /* The next file or repository begins: this one is complete. */
    {"<|fim_pad|>", true, true},
    {"<|repo_name|>", true, true},
    {"<|file_sep|>", true, true},
    {"<|file_separator|>", true, true},
    {"<file_sep>", true, false},
    {"<repo_name>", true, false},
    {"<reponame>", true, false},
    {"<filename>", true, false},
    {"<fim_pad>", true, false},
    {"<fim-pad>", true, false},
    /* Fill-in-the-middle. */
    {"<|fim_prefix|>", false, true},
    {"<|fim_middle|>", false, true},
    {"<|fim_suffix|>", false, true},
    {"<|code_prefix|>", false, true},
    {"<|code_middle|>", false, true},
    {"<|code_suffix|>", false, true},
    {"<｜fim▁begin｜>", false, true},
    {"<｜fim▁hole｜>", false, true},
    {"<｜fim▁end｜>", false, true},
    {"<[fim-prefix]>", false, true},
    {"<[fim-middle]>", false, true},
    {"<[fim-suffix]>", false, true},
    {"<fim_prefix>", false, false},
    {"<fim_middle>", false, false},
    {"<fim_suffix>", false, false},
    {"<fim-prefix>", false, false},
    {"<fim-middle>", false, false},
    {"<fim-suffix>", false, false},
    {"<PRE>", false, false},
    {"<MID>", false, false},
    {"<SUF>", false, false},
    {"▁<PRE>", false, false},
    {"▁<MID>", false, false},
    {"▁<SUF>", false, false},
    {"[PREFIX]", false, false},
    {"[MIDDLE]", false, false},
    {"[SUFFIX]", false, false},
    /* Turns of a conversation. */
    {"<|im_start|>", false, true},
    {"<｜begin▁of▁sentence｜>", false, true},
    {"<start_of_turn>", false, false},
};

/* Keys that name markers. The first group ends generation. */
static const char *const end_keys[] = {
    "tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eot_token_id",     "tokenizer.ggml.eom_token_id",
    "tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id",
};
static const char *const fim_keys[] = {
    "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.prefix_token_id",  "tokenizer.ggml.suffix_token_id",  "tokenizer.ggml.middle_token_id",
};

#define COUNT(array) ((int32_t)(sizeof(array) / sizeof *(array)))
static_assert(COUNT(markers) + COUNT(end_keys) + COUNT(fim_keys) <= TOK_SPECIAL_MAX, "raise TOK_SPECIAL_MAX");

static void make_control(struct tok_vocab *v, int32_t id, bool is_unmistakable)
{
    bool is_text = tok_vocab_type(v, id) == TOK_NORMAL && v->has_types;
    if (tok_vocab_type(v, id) != TOK_BYTE && (!is_text || is_unmistakable)) tok_vocab_set_control(v, id);
}

/* The token that a key names, or fallback where the file has no such key. */
static enum err read_id(const struct tok_vocab *v, const struct gguf *g, const char *key, int32_t fallback,
                        int32_t *out, struct errmsg *msg)
{
    int64_t id = fallback < v->n ? fallback : TOKEN_NONE;
    enum err err = gguf_get_int(g, key, 0, v->n - 1, &id, msg);
    *out = (int32_t)id;
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err tok_special_init(struct tok_vocab *v, const struct gguf *g, struct errmsg *msg)
{
    /* SentencePiece's fixed ids, which old files leave out. */
    bool is_spm = v->spelling == TOK_SPACE_MARK;
    int32_t id;
    enum err err = read_id(v, g, "tokenizer.ggml.unknown_token_id", is_spm ? 0 : TOKEN_NONE, &v->unk, msg);
    if (!err) err = read_id(v, g, "tokenizer.ggml.bos_token_id", is_spm ? 1 : TOKEN_NONE, &v->bos, msg);
    if (!err) err = read_id(v, g, "tokenizer.ggml.eos_token_id", is_spm ? 2 : TOKEN_NONE, &v->eos, msg);
    for (int32_t i = 0; i < COUNT(end_keys) && !err; i++) {
        err = read_id(v, g, end_keys[i], i == 0 ? v->eos : TOKEN_NONE, &id, msg);
        if (err || id == TOKEN_NONE) continue;
        make_control(v, id, false);
        tok_vocab_set_eog(v, id);
    }
    for (int32_t i = 0; i < COUNT(fim_keys) && !err; i++) {
        err = read_id(v, g, fim_keys[i], TOKEN_NONE, &id, msg);
        if (!err && id != TOKEN_NONE) make_control(v, id, false);
    }
    if (err) return err;
    for (int32_t i = 0; i < COUNT(markers); i++) {
        id = tok_vocab_find_text(v, markers[i].text, strlen(markers[i].text));
        if (id == TOKEN_NONE) continue;
        make_control(v, id, markers[i].is_unmistakable);
        if (markers[i].ends_generation && tok_vocab_type(v, id) == TOK_CONTROL) tok_vocab_set_eog(v, id);
    }
    return OK;
}
