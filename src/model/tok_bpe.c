/* Byte-level BPE: each word's bytes, merged in the order of the file's list.
 *
 * Some models' own tokenizers put text into Unicode's composed form (NFC) first. This one does not: code
 * must come back byte for byte. */
#include "model/tok_bpe.h"

#include "base/log.h"
#include "base/mem.h"
#include "model/tok_pairs.h"

struct tok_bpe {
    const struct tok_vocab *vocab; /* borrowed */
    struct pretok *pretok;         /* owned */
    struct tok_pairs pairs;
};

static bool join(const void *ctx, const char *text, const struct tok_symbol *left,
                 const struct tok_symbol *right, struct tok_joint *out)
{
    (void)text;
    return tok_pairs_find(ctx, left->id, right->id, out);
}

static enum err read_pretok(struct tok_bpe *bpe, const struct gguf *g, struct errmsg *msg)
{
    struct gguf_str name = {"default", 7};
    enum err err = gguf_get_str(g, "tokenizer.ggml.pre", &name, msg);
    if (err == ERR_NOT_FOUND) {
        log_line(LOG_WARN, "the model file names no pre-tokenizer (tokenizer.ggml.pre); using \"default\"");
    } else if (err) {
        return err;
    }
    return pretok_new(name.data, name.len, &bpe->pretok, msg);
}

enum err tok_bpe_new(const struct gguf *g, const struct tok_vocab *v, struct tok_bpe **out,
                     struct errmsg *msg)
{
    struct tok_bpe *bpe = MEM_NEW(struct tok_bpe);
    bpe->vocab = v;
    enum err err = read_pretok(bpe, g, msg);
    if (!err) err = tok_pairs_init(&bpe->pairs, g, v, msg);
    if (err) tok_bpe_free(&bpe);
    *out = bpe;
    return err;
}

void tok_bpe_free(struct tok_bpe **bpe)
{
    struct tok_bpe *old = *bpe;
    *bpe = NULL;
    if (!old) return;
    pretok_free(&old->pretok);
    tok_pairs_clear(&old->pairs);
    mem_free(old);
}

const struct pretok_kind *tok_bpe_pretok(const struct tok_bpe *bpe)
{
    return pretok_kind(bpe->pretok);
}

struct bpe_run {
    const struct tok_bpe *bpe;
    struct tok_merge *merge;
    const struct tok_watch *watch; /* or null */
    struct token_list *out;
    bool ignores_merges;
};

/* A byte that the vocabulary has no token for becomes the unknown token, or nothing where there is none. */
static enum err add_token(const struct bpe_run *run, int32_t id)
{
    if (id == TOKEN_NONE) id = run->bpe->vocab->unk;
    return id == TOKEN_NONE ? OK : token_list_add(run->out, id);
}

static enum err encode_word(void *ctx, const char *word, size_t len)
{
    const struct bpe_run *run = ctx;
    const struct tok_vocab *v = run->bpe->vocab;
    if (!tok_watch_begins(run->watch, word, run->out->n)) return ERR_CANCELLED;
    if (len == 1) return add_token(run, v->byte_ids[(unsigned char)word[0]]);
    if (run->ignores_merges && len <= v->max_key_len) {
        int32_t id = tok_vocab_find(v, TOK_ORDINARY, word, len);
        if (id != TOKEN_NONE) return token_list_add(run->out, id);
    }
    struct tok_symbol *s = tok_merge_symbols(run->merge, len);
    if (!s) return ERR_NOMEM;
    for (size_t i = 0; i < len; i++) {
        s[i] = (struct tok_symbol){v->byte_ids[(unsigned char)word[i]], (uint32_t)i, 1};
    }
    size_t n = tok_merge_run(run->merge, s, len, word, join, &run->bpe->pairs);
    enum err err = OK;
    for (size_t i = 0; i < n && !err; i++) err = add_token(run, s[i].id);
    return err;
}

enum err tok_bpe_encode(const struct tok_bpe *bpe, struct tok_merge *m, const char *text, size_t len,
                        const struct tok_watch *watch, struct token_list *out)
{
    struct bpe_run run = {.bpe = bpe,
                          .merge = m,
                          .watch = watch,
                          .out = out,
                          .ignores_merges = tok_bpe_pretok(bpe)->ignores_merges};
    return pretok_split(bpe->pretok, text, len, encode_word, &run);
}
