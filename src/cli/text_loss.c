/* Perplexity. See text_loss.h. */
#include "cli/text_loss.h"

#include <math.h>
#include <string.h>

#include "infer/engine.h"
#include "model/model.h"
#include "model/tokenizer.h"

static enum err add_windows(struct text_loss *l, struct engine_seq *seq, const int32_t *tokens, int32_t n,
                            struct errmsg *msg)
{
    const struct tokenizer *t = engine_model(engine_seq_engine(seq))->tokenizer;
    bool has_bos = tokenizer_adds_bos(t) && tokenizer_bos(t) != TOKEN_NONE;
    int32_t window[TEXT_LOSS_WINDOW] = {has_bos ? tokenizer_bos(t) : 0};
    for (int32_t at = 0; at < n;) {
        int32_t part = TEXT_LOSS_WINDOW - has_bos < n - at ? TEXT_LOSS_WINDOW - has_bos : n - at;
        double loss = 0;
        memcpy(window + has_bos, tokens + at, (size_t)part * sizeof *window);
        at += part;
        part += has_bos;
        if (part < 2) break; /* nothing before a single token predicts it */
        engine_seq_clear(seq, false);
        enum err err = engine_seq_loss(seq, window, part, &loss);
        if (err) return err_set(msg, err, "cannot compute the loss: %s", err_text(err));
        l->sum += loss * (part - 1);
        l->n += part - 1;
    }
    return OK;
}

enum err text_loss_add(struct text_loss *l, struct engine_seq *seq, const char *text, size_t len,
                       int32_t max_tokens, struct errmsg *msg)
{
    struct token_list tokens = {0};
    int64_t before = l->n;
    enum err err = OK;
    if (tokenizer_encode(engine_model(engine_seq_engine(seq))->tokenizer, text, len, 0, &tokens))
        err = err_set(msg, ERR_NOMEM, "cannot tokenize the text");
    int32_t n = max_tokens && max_tokens < tokens.n ? max_tokens : tokens.n;
    if (!err) err = add_windows(l, seq, tokens.ids, n, msg);
    if (!err && l->n == before) err = err_set(msg, ERR_ARG, "the text is too short to measure");
    token_list_clear(&tokens);
    return err;
}

double text_loss_mean(const struct text_loss *l)
{
    return l->n > 0 ? l->sum / (double)l->n : 0;
}

double text_loss_perplexity(const struct text_loss *l)
{
    return exp(text_loss_mean(l));
}
