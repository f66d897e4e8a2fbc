/* Markers of models. Many files give their fill-in-the-middle and end-of-text markers as user-defined
 * tokens, which would match in a user's source text; here they become control tokens, which do not.
 *
 * How far a spelling is trusted against the file's own token type differs: Gemma's "</s>" is a user-defined
 * token for the HTML tag, "<|im_end|>" is a marker whatever the file says. */
#include "model/tok_special.h"

#include <assert.h>
#include <string.h>

#include "model/gguf.h"
#include "model/tok_vocab.h"
#include "model/tokenizer.h"

/* Which tokens of this spelling are markers. */
enum trust {
    IF_CONTROL, /* those that the file calls control tokens: it is HTML as well */
    IF_ADDED,   /* and user-defined ones */
    ALWAYS,     /* all: nothing else is spelled like that */
};

struct marker {
    const char *text;
    bool ends_generation;
    enum trust trust;
};

static const struct marker markers[] = {
    /* End of text, of turn, of message. */
    {"<|endoftext|>", true, ALWAYS},
    {"<|end_of_text|>", true, ALWAYS},
    {"<|im_end|>", true, ALWAYS},
    {"<|end|>", true, ALWAYS},
    {"<|eot_id|>", true, ALWAYS},
    {"<|eom_id|>", true, ALWAYS},
    {"<|EOT|>", true, ALWAYS},
    {"<|eos|>", true, ALWAYS},
    {"<|return|>", true, ALWAYS},
    {"<｜end▁of▁sentence｜>", true, ALWAYS},
    {"<[end▁of▁sentence]>", true, ALWAYS},
    {"<end_of_turn>", true, IF_ADDED},
    {"<end_of_utterance>", true, IF_ADDED},
    {"<EOT>", true, IF_ADDED},
    {"▁<EOT>", true, IF_ADDED},
    {"<eos>", true, IF_ADDED},
    {"</s>", true, IF_CONTROL},
    {"[EOS]", true, IF_ADDED},
    /* The next file or repository begins: this one is complete. */
    {"<|fim_pad|>", true, ALWAYS},
    {"<|repo_name|>", true, ALWAYS},
    {"<|file_sep|>", true, ALWAYS},
    {"<|file_separator|>", true, ALWAYS},
    {"<file_sep>", true, IF_ADDED},
    {"<repo_name>", true, IF_ADDED},
    {"<reponame>", true, IF_ADDED},
    {"<filename>", true, IF_ADDED},
    {"<fim_pad>", true, IF_ADDED},
    {"<fim-pad>", true, IF_ADDED},
    /* Fill-in-the-middle. */
    {"<|fim_prefix|>", false, ALWAYS},
    {"<|fim_middle|>", false, ALWAYS},
    {"<|fim_suffix|>", false, ALWAYS},
    {"<|code_prefix|>", false, ALWAYS},
    {"<|code_middle|>", false, ALWAYS},
    {"<|code_suffix|>", false, ALWAYS},
    {"<｜fim▁begin｜>", false, ALWAYS},
    {"<｜fim▁hole｜>", false, ALWAYS},
    {"<｜fim▁end｜>", false, ALWAYS},
    {"<[fim-prefix]>", false, ALWAYS},
    {"<[fim-middle]>", false, ALWAYS},
    {"<[fim-suffix]>", false, ALWAYS},
    {"<fim_prefix>", false, IF_ADDED},
    {"<fim_middle>", false, IF_ADDED},
    {"<fim_suffix>", false, IF_ADDED},
    {"<fim-prefix>", false, IF_ADDED},
    {"<fim-middle>", false, IF_ADDED},
    {"<fim-suffix>", false, IF_ADDED},
    {"<PRE>", false, IF_ADDED},
    {"<MID>", false, IF_ADDED},
    {"<SUF>", false, IF_ADDED},
    {"▁<PRE>", false, IF_ADDED},
    {"▁<MID>", false, IF_ADDED},
    {"▁<SUF>", false, IF_ADDED},
    {"[PREFIX]", false, IF_ADDED},
    {"[MIDDLE]", false, IF_ADDED},
    {"[SUFFIX]", false, IF_ADDED},
    /* Turns of a conversation. */
    {"<|im_start|>", false, ALWAYS},
    {"<｜begin▁of▁sentence｜>", false, ALWAYS},
    {"<start_of_turn>", false, IF_ADDED},
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

static void make_control(struct tok_vocab *v, int32_t id, enum trust trust)
{
    enum tok_type type = tok_vocab_type(v, id);
    if (type == TOK_BYTE || type == TOK_CONTROL) return;
    if (v->has_types && trust == IF_CONTROL) return;
    if (v->has_types && type == TOK_NORMAL && trust != ALWAYS) return;
    tok_vocab_set_control(v, id);
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
        make_control(v, id, IF_ADDED);
        tok_vocab_set_eog(v, id);
    }
    for (int32_t i = 0; i < COUNT(fim_keys) && !err; i++) {
        err = read_id(v, g, fim_keys[i], TOKEN_NONE, &id, msg);
        if (!err && id != TOKEN_NONE) make_control(v, id, IF_ADDED);
    }
    if (err) return err;
    for (int32_t i = 0; i < COUNT(markers); i++) {
        id = tok_vocab_find_text(v, markers[i].text, strlen(markers[i].text));
        if (id == TOKEN_NONE) continue;
        make_control(v, id, markers[i].trust);
        if (markers[i].ends_generation && tok_vocab_type(v, id) == TOK_CONTROL) tok_vocab_set_eog(v, id);
    }
    return OK;
}
