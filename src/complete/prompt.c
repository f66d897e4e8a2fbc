/* Building prompts: documents by the rules of the model's FIM family, raw ones as they stand. */
#include "complete/prompt.h"

#include <string.h>

#include "model/model.h"

/* Whether the tokenizer holds the last space of an indentation together with the word after it. Most
 * byte-level BPEs do; Gemma's vocabulary, for one, has tokens for whole indentations. */
static bool joins_indent(const struct tokenizer *t)
{
    static const char sample[] = "\n    return";
    struct token_list tokens = {0};
    size_t len = 0;
    const char *last = NULL;
    if (!tokenizer_encode(t, sample, strlen(sample), 0, &tokens) && tokens.n > 0) {
        last = tokenizer_piece(t, tokens.ids[tokens.n - 1], &len);
    }
    token_list_clear(&tokens);
    return len > 0 && last[0] == ' ';
}

/* A space before the cursor is kept from a model without FIM if its tokens would hold it together with what
 * follows: a prompt that ends in such a space leads it astray. FIM models have seen text cut anywhere. */
static bool hides_space(const struct fim *fim, const struct tokenizer *t, const struct prompt_input *in)
{
    size_t len = in->before_len;
    if (fim->order != FIM_PREFIX_ONLY || len == 0 || in->before[len - 1] != ' ') return false;
    bool is_single = len < 2 || in->before[len - 2] != ' ';
    return is_single || joins_indent(t);
}

static enum err build_document(const struct fim *fim, const struct model *m, const struct prompt_input *in,
                               int32_t max_tokens, struct prompt *out, struct errmsg *msg)
{
    out->hides_space = hides_space(fim, m->tokenizer, in);
    struct fim_input input = {.prefix = in->before,
                              .prefix_len = in->before_len - out->hides_space,
                              .suffix = in->after,
                              .suffix_len = in->after_len,
                              .path = in->path,
                              .files = in->files,
                              .n_files = in->n_files};
    enum err err = fim_build(fim, m, &input, max_tokens, &out->tokens, msg);
    if (err) return err;
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

/* Keep the end and a leading BOS. The cut moves in steps, as in window.c: prompts that grow token by token
 * share their beginning. */
static void keep_end(const struct tokenizer *t, int32_t max, struct token_list *l)
{
    bool has_bos = l->ids[0] == tokenizer_bos(t) && max > 1;
    int32_t step = 1, first = has_bos ? 1 : 0;
    while (step <= max / 8) step *= 2;
    int32_t cut = (l->n - max + step - 1) / step * step;
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
    if (out->was_cut) keep_end(t, max_tokens, l);
    out->move_from = l->n;
    return err;
}

enum err prompt_build(const struct fim *fim, const struct model *m, const struct prompt_input *in,
                      int32_t max_tokens, struct prompt *out, struct errmsg *msg)
{
    *out = (struct prompt){0};
    if (max_tokens < 1) return err_set(msg, ERR_LIMIT, "no room for a prompt");
    return in->is_raw ? build_raw(m, in, max_tokens, out, msg)
                      : build_document(fim, m, in, max_tokens, out, msg);
}

void prompt_clear(struct prompt *p)
{
    token_list_clear(&p->tokens);
    token_list_clear(&p->drafts);
}
