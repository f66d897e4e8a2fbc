/* The completion pipeline, run to its end on the calling thread: window, prompt, generation. */
#include "complete/complete.h"

#include "complete/generation.h"
#include "complete/prompt.h"
#include "complete/window.h"
#include "context/document.h"

static enum err generate(const struct complete_request *r, struct engine_seq *seq,
                         const struct prompt *prompt, struct generation *g, struct complete_result *result,
                         struct errmsg *msg)
{
    const struct token_list *drafts = &prompt->drafts;
    struct engine_request request = {.prompt = prompt->tokens.ids,
                                     .n_prompt = prompt->tokens.n,
                                     .sampling = r->sampling,
                                     .max_tokens = r->max_tokens,
                                     .move_from = prompt->move_from,
                                     .max_prompt_ms = r->max_prompt_ms,
                                     .max_predict_ms = r->max_predict_ms,
                                     .cancel = r->cancel,
                                     .draft_text = drafts->n ? drafts->ids : NULL,
                                     .n_draft_text = drafts->n,
                                     .on_token = generation_on_token,
                                     .ctx = g};
    enum err err = engine_generate(seq, &request, &result->engine, msg);
    return err ? err : generation_finish(g, result->engine.stop, &result->stop, msg);
}

enum err complete_run(struct engine_seq *seq, const struct fim *fim, const struct complete_request *r,
                      struct buf *out, struct complete_result *result, struct errmsg *msg)
{
    *result = (struct complete_result){0};
    int32_t n_ctx = engine_seq_n_ctx(seq);
    if (r->max_tokens < 1 || r->max_tokens >= n_ctx) {
        return err_set(msg, ERR_LIMIT, "%d tokens to generate; a context of %d tokens allows 1 to %d",
                       r->max_tokens, n_ctx, n_ctx - 1);
    }
    int32_t max_prompt = r->max_prompt_tokens ? r->max_prompt_tokens : COMPLETE_PROMPT_TOKENS;
    if (max_prompt > n_ctx - r->max_tokens) max_prompt = n_ctx - r->max_tokens;

    struct window w = {0};
    struct prompt prompt = {0};
    struct generation g = {0};
    size_t out_len = out->len;
    enum err err = window_cut(r->text, r->len, r->cursor, (size_t)max_prompt * FIM_BYTES_PER_TOKEN, 0, &w);
    if (err) {
        err = err_set(msg, err, "cannot read the document: %s", err_text(err));
        goto done;
    }
    struct prompt_input in = {.before = w.before,
                              .before_len = w.before_len,
                              .after = w.after,
                              .after_len = w.after_len,
                              .path = r->path};
    struct generation_rules rules = {
        .eol = document_eol_of(r->text, r->len), .on_text = r->on_text, .ctx = r->ctx};
    err = prompt_build(fim, engine_model(engine_seq_engine(seq)), &in, max_prompt, &prompt, msg);
    if (err) goto done;
    generation_init(&g, fim, &in, &prompt, &rules, out);
    err = generate(r, seq, &prompt, &g, result, msg);
done:
    if (err && !out->err) buf_truncate(out, out_len);
    generation_clear(&g);
    prompt_clear(&prompt);
    window_clear(&w);
    return err;
}

const char *complete_stop_name(enum complete_stop stop)
{
    switch (stop) {
    case COMPLETE_EOG:
        return "eog";
    case COMPLETE_LIMIT:
        return "limit";
    case COMPLETE_WORD:
        return "word";
    case COMPLETE_SUFFIX:
        return "suffix";
    case COMPLETE_REPETITION:
        return "repetition";
    case COMPLETE_BLOCK:
        return "block";
    case COMPLETE_INDENT:
        return "indent";
    case COMPLETE_TIME:
        return "time";
    case COMPLETE_CANCELLED:
        break;
    }
    return "cancelled";
}
