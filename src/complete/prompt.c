/* Building prompts: documents by the rules of the model's FIM family, raw ones as they stand. */
#include "complete/prompt.h"

#include <string.h>

#include "model/model.h"

/* Tokens that are taken off at most. A word's beginning that its user has typed has seldom more. */
#define HEAL_TOKENS 3

struct longer_token {
    size_t len; /* of a text */
    bool is_there;
};

static void note_longer(void *ctx, int32_t id, size_t piece_len)
{
    (void)id;
    struct longer_token *longer = ctx;
    if (piece_len > longer->len) longer->is_there = true;
}

/* Token healing: the end of the prompt is a place where somebody stopped typing, not one where a token ends.
 * "retu" has other tokens than the beginning of "return"; a model that has not learned from such splits is
 * led astray by them, as by an indentation whose last space its tokens hold together with the word after it.
 * So the last tokens go if their text begins some longer token, as many as do, and the answer has to begin
 * with that text. Models with FIM tokens have learned from splits at any character: they see the prompt as
 * it is. */
static void heal_end(const struct tokenizer *t, struct prompt *p)
{
    char text[PROMPT_HEAL_MAX];
    size_t len = 0, piece_len;
    int32_t n = p->tokens.n;
    for (int32_t i = n - 1; i > 0 && n - i <= HEAL_TOKENS; i--) {
        const char *piece = tokenizer_piece(t, p->tokens.ids[i], &piece_len);
        if (piece_len == 0 || piece_len > sizeof text - len) break;
        memmove(text + piece_len, text, len);
        memcpy(text, piece, piece_len);
        len += piece_len;
        struct longer_token longer = {.len = len};
        tokenizer_each_start(t, text, len, note_longer, &longer);
        if (!longer.is_there) continue;
        memcpy(p->heal, text, len);
        p->heal_len = len;
        p->tokens.n = i;
    }
}

struct fim_input prompt_fim_input(const struct prompt_input *in)
{
    return (struct fim_input){.prefix = in->before,
                              .prefix_len = in->before_len,
                              .suffix = in->after,
                              .suffix_len = in->after_len,
                              .path = in->path,
                              .repo = in->repo,
                              .line_comment = in->line_comment,
                              .files = in->files,
                              .n_files = in->n_files};
}

static enum err build_document(const struct fim *fim, const struct model *m, const struct prompt_input *in,
                               int32_t max_tokens, struct fim_memo *memo, struct prompt *out,
                               struct errmsg *msg)
{
    struct fim_input input = prompt_fim_input(in);
    enum err err = fim_build(fim, m, &input, max_tokens, memo, &out->tokens, msg);
    if (err) return err;
    out->room = memo->room;
    if (fim->order == FIM_PREFIX_ONLY) heal_end(m->tokenizer, out);
    out->move_from = fim_suffix_start(fim, &out->tokens);
    err = fim_draft_text(fim, &out->tokens, &out->drafts);
    return err ? err_set(msg, err, "cannot prepare the prompt: %s", err_text(err)) : OK;
}

static enum err copy_tokens(const struct prompt_input *in, int32_t n_vocab, struct token_list *out,
                            struct errmsg *msg)
{
    for (int32_t i = 0; i < in->n_tokens; i++) {
        if (in->tokens[i] >= 0 && in->tokens[i] < n_vocab) continue;
        return err_set(msg, ERR_ARG, "token %d of the prompt is %d; this model has 0 to %d", i, in->tokens[i],
                       n_vocab - 1);
    }
    enum err err = token_list_add_all(out, in->tokens, in->n_tokens);
    return err ? err_set(msg, err, "cannot take the prompt: %s", err_text(err)) : OK;
}

/* Clients that write BOS themselves get one all the same, not two. */
static void drop_second_bos(const struct tokenizer *t, struct token_list *l)
{
    int32_t bos = tokenizer_bos(t);
    if (l->n < 2 || bos == TOKEN_NONE || l->ids[0] != bos || l->ids[1] != bos) return;
    l->n--;
    memmove(l->ids, l->ids + 1, (size_t)l->n * sizeof *l->ids);
}

/* Keep the end and a leading BOS. Prompts that grow token by token share their beginning. */
static void keep_end(const struct tokenizer *t, int32_t max, struct token_list *l)
{
    bool has_bos = l->ids[0] == tokenizer_bos(t) && max > 1;
    int32_t first = has_bos ? 1 : 0;
    int32_t cut = (int32_t)fim_step_start((size_t)l->n, (size_t)max);
    l->n -= cut;
    memmove(l->ids + first, l->ids + first + cut, (size_t)(l->n - first) * sizeof *l->ids);
}

static enum err build_raw(const struct model *m, const struct prompt_input *in, int32_t max_tokens,
                          struct prompt *out, struct errmsg *msg)
{
    const struct tokenizer *t = m->tokenizer;
    struct token_list *l = &out->tokens;
    enum err err = OK;
    if (in->tokens) {
        err = copy_tokens(in, m->p.n_vocab, l, msg);
    } else {
        err = tokenizer_encode(t, in->text, in->text_len, TOKENIZER_BOS | TOKENIZER_SPECIAL, l);
        if (err) err_set(msg, err, "cannot read the prompt: %s", err_text(err));
    }
    if (err) return err;
    drop_second_bos(t, l);
    if (l->n == 0) { /* a prompt needs a token to predict from */
        int32_t start = tokenizer_bos(t) != TOKEN_NONE ? tokenizer_bos(t) : tokenizer_eos(t);
        err = token_list_add(l, start != TOKEN_NONE ? start : 0);
    }
    out->was_cut = l->n > max_tokens;
    out->room = out->was_cut ? 0 : max_tokens - l->n - FIM_ROOM_MARGIN;
    if (out->was_cut) keep_end(t, max_tokens, l);
    out->move_from = l->n;
    return err;
}

enum err prompt_build(const struct fim *fim, const struct model *m, const struct prompt_input *in,
                      int32_t max_tokens, struct fim_memo *memo, struct prompt *out, struct errmsg *msg)
{
    *out = (struct prompt){0};
    if (max_tokens < 1) return err_set(msg, ERR_LIMIT, "no room for a prompt");
    if (in->is_raw) return build_raw(m, in, max_tokens, out, msg);
    struct fim_memo own = {0};
    enum err err = build_document(fim, m, in, max_tokens, memo ? memo : &own, out, msg);
    fim_memo_clear(&own);
    return err;
}

void prompt_clear(struct prompt *p)
{
    token_list_clear(&p->tokens);
    token_list_clear(&p->drafts);
}
