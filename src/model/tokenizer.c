/* The tokenizer's public face: loading by kind, and encoding around control tokens. */
#include "model/tokenizer.h"

#include <string.h>

#include "base/mem.h"
#include "model/gguf.h"
#include "model/tok_added.h"
#include "model/tok_bpe.h"
#include "model/tok_memo.h"
#include "model/tok_merge.h"
#include "model/tok_special.h"
#include "model/tok_spm.h"
#include "model/tok_starts.h"
#include "model/tok_vocab.h"

struct tokenizer {
    struct tok_vocab vocab;
    struct tok_added control, user;
    struct tok_starts starts;
    struct tok_bpe *bpe; /* owned; exactly one of these two */
    struct tok_spm *spm;
    bool adds_bos;
};

void token_list_clear(struct token_list *l)
{
    mem_free(l->ids);
    *l = (struct token_list){0};
}

static enum err reserve(struct token_list *l, int32_t n)
{
    if (n <= l->cap - l->n) return OK;
    if (n > INT32_MAX - l->n) return ERR_LIMIT;
    int32_t cap = l->cap > INT32_MAX / 2 ? INT32_MAX : 2 * l->cap;
    if (cap < l->n + n) cap = l->n + n;
    if (cap < 64) cap = 64; /* a short prompt's tokens without growing */
    int32_t *ids = mem_try_resize(l->ids, (size_t)cap, sizeof *ids);
    if (!ids) return ERR_NOMEM;
    l->ids = ids;
    l->cap = cap;
    return OK;
}

enum err token_list_add(struct token_list *l, int32_t id)
{
    enum err err = reserve(l, 1);
    if (!err) l->ids[l->n++] = id;
    return err;
}

enum err token_list_add_all(struct token_list *l, const int32_t *ids, int32_t n)
{
    if (n <= 0) return OK;
    enum err err = reserve(l, n);
    if (err) return err;
    memcpy(l->ids + l->n, ids, (size_t)n * sizeof *ids);
    l->n += n;
    return OK;
}

static bool is_name(struct gguf_str s, const char *name)
{
    return s.len == strlen(name) && !memcmp(s.data, name, s.len);
}

static enum err load_kind(struct tokenizer *t, const struct gguf *g, struct errmsg *msg)
{
    struct gguf_str model;
    enum err err = gguf_get_str(g, "tokenizer.ggml.model", &model, msg);
    if (err) return err == ERR_NOT_FOUND ? ERR_FORMAT : err;
    bool is_bpe = is_name(model, "gpt2");
    if (!is_bpe && !is_name(model, "llama")) {
        return err_set(msg, ERR_UNSUPPORTED, "unknown tokenizer \"%.*s\" (key tokenizer.ggml.model)",
                       (int)(model.len < 64 ? model.len : 64), model.data);
    }
    err = tok_vocab_init(&t->vocab, g, is_bpe ? TOK_BYTE_LEVEL : TOK_SPACE_MARK, msg);
    if (!err) err = tok_special_init(&t->vocab, g, msg);
    if (!err) {
        err = tok_added_init(&t->control, &t->vocab, TOK_CONTROL);
        if (!err) err = tok_added_init(&t->user, &t->vocab, TOK_USER_DEFINED);
        if (!err) err = tok_starts_init(&t->starts, &t->vocab);
        if (err) return err_set(msg, err, "not enough memory for the tokenizer");
    }
    if (err) return err;
    return is_bpe ? tok_bpe_new(g, &t->vocab, &t->bpe, msg) : tok_spm_new(g, &t->vocab, &t->spm, msg);
}

enum err tokenizer_new(const struct gguf *g, struct tokenizer **out, struct errmsg *msg)
{
    struct tokenizer *t = MEM_NEW(struct tokenizer);
    enum err err = load_kind(t, g, msg);
    if (err) goto fail;
    t->adds_bos = t->spm || tok_bpe_pretok(t->bpe)->adds_bos;
    err = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->adds_bos, msg);
    if (err && err != ERR_NOT_FOUND) goto fail;
    if (t->vocab.bos == TOKEN_NONE) t->adds_bos = false;
    *out = t;
    return OK;
fail:
    tokenizer_free(&t);
    *out = NULL;
    return err;
}

void tokenizer_free(struct tokenizer **t)
{
    struct tokenizer *old = *t;
    *t = NULL;
    if (!old) return;
    tok_bpe_free(&old->bpe);
    tok_spm_free(&old->spm);
    tok_added_clear(&old->control);
    tok_added_clear(&old->user);
    tok_starts_clear(&old->starts);
    tok_vocab_clear(&old->vocab);
    mem_free(old);
}

/* Words between user-defined tokens; the text is normalised. */
static enum err encode_words(const struct tokenizer *t, struct tok_merge *m, const char *text, size_t len,
                             const struct tok_watch *watch, struct token_list *out)
{
    return t->bpe ? tok_bpe_encode(t->bpe, m, text, len, watch, out)
                  : tok_spm_encode(t->spm, m, text, len, watch, out);
}

/* Normalised text without control tokens. */
static enum err encode_normal(const struct tokenizer *t, struct tok_merge *m, const char *text, size_t len,
                              const struct tok_watch *watch, struct token_list *out)
{
    struct tok_match match;
    size_t at = 0;
    while (tok_added_find(&t->user, &t->vocab, text, len, at, &match)) {
        enum err err = encode_words(t, m, text + at, match.start - at, watch, out);
        if (!err && !tok_watch_begins(watch, text + match.start, out->n)) err = ERR_CANCELLED;
        if (!err) err = token_list_add(out, match.id);
        if (err) return err;
        at = match.start + match.len;
    }
    return encode_words(t, m, text + at, len - at, watch, out);
}

/* Text without control tokens. */
static enum err encode_plain(const struct tokenizer *t, struct tok_merge *m, const char *text, size_t len,
                             struct token_list *out)
{
    if (!t->spm) return encode_normal(t, m, text, len, NULL, out);
    size_t normal_len;
    char *normal = tok_spm_normalise(t->spm, text, len, &normal_len);
    if (!normal) return ERR_NOMEM;
    enum err err = encode_normal(t, m, normal, normal_len, NULL, out);
    mem_free(normal);
    return err;
}

static enum err encode_all(const struct tokenizer *t, struct tok_merge *m, const char *text, size_t len,
                           unsigned flags, struct token_list *out)
{
    struct tok_match match;
    size_t at = 0;
    enum err err = OK;
    if ((flags & TOKENIZER_BOS) && t->adds_bos) err = token_list_add(out, t->vocab.bos);
    while (!err && (flags & TOKENIZER_SPECIAL) &&
           tok_added_find(&t->control, &t->vocab, text, len, at, &match)) {
        err = encode_plain(t, m, text + at, match.start - at, out);
        if (!err) err = token_list_add(out, match.id);
        at = match.start + match.len;
    }
    return err ? err : encode_plain(t, m, text + at, len - at, out);
}

enum err tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                          struct token_list *out)
{
    struct tok_merge merge;
    int32_t n_before = out->n;
    if (len > INT32_MAX / 2) return ERR_LIMIT;
    if (!len) text = ""; /* an empty buffer's text may be null */
    tok_merge_init(&merge);
    enum err err = encode_all(t, &merge, text, len, flags, out);
    if (err) out->n = n_before;
    tok_merge_clear(&merge);
    return err;
}

static enum err encode_again(const struct tokenizer *t, const char *text, size_t len, struct token_memo *memo)
{
    struct tok_change change;
    struct tok_merge merge;
    size_t from;
    if (!tok_change_begin(&change, memo, text, len, t->user.max_len, &from)) return OK;
    struct tok_watch watch = {.begins = tok_change_begins, .ctx = &change};
    tok_merge_init(&merge);
    enum err err = encode_normal(t, &merge, text + from, len - from, &watch, &change.tokens);
    tok_merge_clear(&merge);
    return tok_change_end(&change, err);
}

enum err tokenizer_encode_again(const struct tokenizer *t, const char *text, size_t len,
                                struct token_memo *memo)
{
    if (!len) text = "";
    if (len > INT32_MAX / 2) {
        token_memo_clear(memo);
        return ERR_LIMIT;
    }
    if (!t->spm) return encode_again(t, text, len, memo);
    size_t normal_len;
    char *normal = tok_spm_normalise(t->spm, text, len, &normal_len);
    if (!normal) {
        token_memo_clear(memo);
        return ERR_NOMEM;
    }
    enum err err = encode_again(t, normal, normal_len, memo);
    mem_free(normal);
    return err;
}

static bool is_token(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n;
}

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len)
{
    struct gguf_str piece = is_token(t, id) ? tok_vocab_piece(&t->vocab, id) : (struct gguf_str){"", 0};
    *len = piece.len;
    return piece.data;
}

void tokenizer_each_start(const struct tokenizer *t, const char *text, size_t len,
                          void (*fn)(void *ctx, int32_t id, size_t piece_len), void *ctx)
{
    tok_starts_each(&t->starts, &t->vocab, text, len, fn, ctx);
}

const char *tokenizer_text(const struct tokenizer *t, int32_t id, size_t *len)
{
    struct gguf_str text = is_token(t, id) ? tok_vocab_text(&t->vocab, id) : (struct gguf_str){"", 0};
    *len = text.len;
    return text.data;
}

int32_t tokenizer_find(const struct tokenizer *t, const char *text)
{
    return tok_vocab_find_text(&t->vocab, text, strlen(text));
}

int32_t tokenizer_n_vocab(const struct tokenizer *t)
{
    return t->vocab.n;
}

int32_t tokenizer_bos(const struct tokenizer *t)
{
    return t->vocab.bos;
}

int32_t tokenizer_eos(const struct tokenizer *t)
{
    return t->vocab.eos;
}

bool tokenizer_adds_bos(const struct tokenizer *t)
{
    return t->adds_bos;
}

const char *tokenizer_kind(const struct tokenizer *t)
{
    return t->bpe ? "bpe" : "spm";
}

const char *tokenizer_pre(const struct tokenizer *t)
{
    return t->bpe ? tok_bpe_pretok(t->bpe)->name : "";
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id)
{
    if (!is_token(t, id)) return false;
    enum tok_type type = tok_vocab_type(&t->vocab, id);
    return type == TOK_CONTROL || type == TOK_UNKNOWN || type == TOK_UNUSED;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id)
{
    return is_token(t, id) && tok_vocab_is_eog(&t->vocab, id);
}

bool tokenizer_adds_space_prefix(const struct tokenizer *t)
{
    return t->spm && tok_spm_adds_space_prefix(t->spm);
}
