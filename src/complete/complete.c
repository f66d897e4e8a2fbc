/* The completion pipeline, run to its end on the calling thread: context, prompt, generation. */
#include "complete/complete.h"

#include "complete/explain.h"
#include "complete/generation.h"
#include "complete/prompt.h"
#include "complete/question.h"
#include "context/documents.h"
#include "model/model.h"

#define DOCUMENTS_MAX_HELD 8 /* of a caller that completes in several in turn */

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
                                     .heal = prompt->heal,
                                     .heal_len = prompt->heal_len,
                                     .on_token = generation_on_token,
                                     .ctx = g};
    enum err err = engine_generate(seq, &request, &result->engine, msg);
    return err ? err : generation_finish(g, result->engine.stop, &result->stop, msg);
}

/* What is asked for; the document is one of docs. */
static enum err ask(const struct complete_request *r, const struct model *m, struct documents *docs,
                    int32_t max_prompt, struct question *q, struct errmsg *msg)
{
    struct open_document *doc =
        documents_recognise(docs, r->path, r->text, r->len, r->cursor, DOCUMENTS_MAX_HELD);
    if (!doc) return err_set(msg, ERR_LIMIT, "a document of %zu bytes is too large", r->len);
    struct context_input in = {.docs = docs,
                               .doc = doc,
                               .cursor = r->cursor,
                               .secrets = r->secrets,
                               .tokenizer = m->tokenizer,
                               .max_tokens = max_prompt,
                               .is_window_only = r->is_window_only};
    enum err err = question_ask(&in, q, msg);
    if (!err && r->explanation) explain_write(q, doc, r->explanation);
    return err;
}

static enum err answer(struct engine_seq *seq, const struct fim *fim, const struct complete_request *r,
                       const struct question *q, int32_t max_prompt, struct buf *out,
                       struct complete_result *result, struct errmsg *msg)
{
    struct prompt prompt = {0};
    struct generation g = {0};
    size_t out_len = out->len;
    struct generation_rules rules = {
        .eol = q->eol, .extent = q->extent, .language = q->language, .on_text = r->on_text, .ctx = r->ctx};
    enum err err =
        prompt_build(fim, engine_model(engine_seq_engine(seq)), &q->input, max_prompt, NULL, &prompt, msg);
    if (!err) {
        generation_init(&g, fim, &q->input, &rules, out);
        err = generate(r, seq, &prompt, &g, result, msg);
    }
    if (err && !out->err) buf_truncate(out, out_len);
    generation_clear(&g);
    prompt_clear(&prompt);
    return err;
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

    struct question q;
    struct documents *own = r->docs ? NULL : documents_new();
    enum err err = ask(r, engine_model(engine_seq_engine(seq)), own ? own : r->docs, max_prompt, &q, msg);
    if (!err && !q.is_secret_file) err = answer(seq, fim, r, &q, max_prompt, out, result, msg);
    documents_free(&own);
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
    case COMPLETE_LINE:
        return "line";
    case COMPLETE_UNIT:
        return "unit";
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
