/* SentencePiece's BPE: any two neighbours whose joined text is a token can be joined, best score first.
 *
 * Keys hold plain spaces where the vocabulary spells U+2581, so normalising a text means the reverse of what
 * the library does: U+2581 becomes a space, and the optional space before the first word is added. */
#include "model/tok_spm.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

struct tok_spm {
    const struct tok_vocab *vocab; /* borrowed */
    uint32_t *ranks;               /* [vocab->n] owned; 0 is the best score */
    bool adds_space_prefix;
    /* By byte other than space: some token has this byte and then a space. */
    bool joins_space[256];
};

/* Scores as integers in reverse order: IEEE 754 numbers of one sign sort like their bits. */
static uint32_t rank_of_score(float score)
{
    uint32_t bits;
    if (isnan(score)) return UINT32_MAX;
    score += 0.0f; /* -0 and 0 are one score */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static bool join(const void *ctx, const char *text, const struct tok_symbol *left,
                 const struct tok_symbol *right, struct tok_joint *out)
{
    const struct tok_spm *spm = ctx;
    uint32_t len = left->len + right->len;
    if (len > spm->vocab->max_key_len) return false;
    int32_t id = tok_vocab_find(spm->vocab, TOK_ORDINARY, text + left->start, len);
    if (id == TOKEN_NONE) return false;
    *out = (struct tok_joint){.rank = spm->ranks[id], .id = id};
    return true;
}

static enum err read_scores(struct tok_spm *spm, const struct gguf *g, struct errmsg *msg)
{
    static const char key[] = "tokenizer.ggml.scores";
    struct gguf_array scores;
    int32_t n = spm->vocab->n;
    enum err err = gguf_get_array(g, key, GGUF_F32, &scores, msg);
    if (err) return err == ERR_NOT_FOUND ? ERR_FORMAT : err;
    if (scores.n != (uint64_t)n) {
        return err_set(msg, ERR_FORMAT, "key %s: %llu entries for %d tokens", key,
                       (unsigned long long)scores.n, n);
    }
    spm->ranks = mem_try((size_t)n, sizeof *spm->ranks);
    if (!spm->ranks) return err_set(msg, ERR_NOMEM, "not enough memory for %d scores", n);
    for (int32_t i = 0; i < n; i++) {
        spm->ranks[i] = rank_of_score((float)gguf_array_float(&scores, (uint64_t)i));
    }
    return OK;
}

static void find_inner_spaces(struct tok_spm *spm)
{
    for (int32_t id = 0; id < spm->vocab->n; id++) {
        struct gguf_str key = tok_vocab_key(spm->vocab, id);
        if (tok_vocab_namespace(spm->vocab, id) != TOK_ORDINARY) continue;
        for (size_t i = 1; i < key.len; i++) {
            if (key.data[i] == ' ') spm->joins_space[(unsigned char)key.data[i - 1]] = true;
        }
    }
}

enum err tok_spm_new(const struct gguf *g, const struct tok_vocab *v, struct tok_spm **out,
                     struct errmsg *msg)
{
    struct tok_spm *spm = MEM_NEW(struct tok_spm);
    spm->vocab = v;
    spm->adds_space_prefix = true;
    enum err err = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &spm->adds_space_prefix, msg);
    if (err == ERR_NOT_FOUND) err = OK;
    if (!err) err = read_scores(spm, g, msg);
    if (!err) find_inner_spaces(spm);
    if (err) tok_spm_free(&spm);
    *out = spm;
    return err;
}

void tok_spm_free(struct tok_spm **spm)
{
    struct tok_spm *old = *spm;
    *spm = NULL;
    if (!old) return;
    mem_free(old->ranks);
    mem_free(old);
}

bool tok_spm_adds_space_prefix(const struct tok_spm *spm)
{
    return spm->adds_space_prefix;
}

struct spm_run {
    const struct tok_spm *spm;
    struct tok_merge *merge;
    struct token_list *out;
};

/* A character that joined no other: its own token, else its bytes, else the unknown token. */
static enum err add_character(const struct spm_run *run, const char *text, size_t len)
{
    const struct tok_vocab *v = run->spm->vocab;
    int32_t id = tok_vocab_find(v, TOK_ORDINARY, text, len);
    if (id != TOKEN_NONE) return token_list_add(run->out, id);
    for (size_t i = 0; i < len; i++) {
        id = v->byte_ids[(unsigned char)text[i]];
        if (id == TOKEN_NONE) id = v->unk;
        enum err err = id == TOKEN_NONE ? OK : token_list_add(run->out, id);
        if (err) return err;
    }
    return OK;
}

static enum err encode_word(const struct spm_run *run, const char *word, size_t len)
{
    struct tok_symbol *s = tok_merge_symbols(run->merge, len);
    if (!s) return ERR_NOMEM;
    size_t n = 0;
    for (size_t i = 0; i < len; n++) {
        int32_t code;
        size_t step = utf8_decode(word + i, len - i, &code);
        s[n] = (struct tok_symbol){.id = TOKEN_NONE, .start = (uint32_t)i, .len = (uint32_t)step};
        i += step;
    }
    n = tok_merge_run(run->merge, s, n, word, join, run->spm);
    enum err err = OK;
    for (size_t i = 0; i < n && !err; i++) {
        bool is_joined = s[i].id != TOKEN_NONE;
        err = is_joined ? token_list_add(run->out, s[i].id) : add_character(run, word + s[i].start, s[i].len);
    }
    return err;
}

/* Does a word begin at text[at]? A token crosses the border before a space only if the vocabulary has one
 * with these two characters inside; where it has none, merging word by word gives the same result, and short
 * words take the fast path. */
static bool begins_word(const struct tok_spm *spm, const char *text, size_t at)
{
    return text[at] == ' ' && text[at - 1] != ' ' && !spm->joins_space[(unsigned char)text[at - 1]];
}

enum err tok_spm_encode(const struct tok_spm *spm, struct tok_merge *m, const char *text, size_t len,
                        const struct tok_watch *watch, struct token_list *out)
{
    struct spm_run run = {.spm = spm, .merge = m, .out = out};
    for (size_t at = 0; at < len;) {
        size_t end = at + 1;
        while (end < len && !begins_word(spm, text, end)) end++;
        if (!tok_watch_begins(watch, text + at, out->n)) return ERR_CANCELLED;
        enum err err = encode_word(&run, text + at, end - at);
        if (err) return err;
        at = end;
    }
    return OK;
}

char *tok_spm_normalise(const struct tok_spm *spm, const char *text, size_t len, size_t *normal_len)
{
    size_t n = 0;
    char *normal = mem_try(len + 1, 1);
    if (!normal) return NULL;
    if (spm->adds_space_prefix && len > 0) normal[n++] = ' ';
    *normal_len = n + (size_t)tok_vocab_decode(spm->vocab, text, len, normal + n);
    return normal;
}
