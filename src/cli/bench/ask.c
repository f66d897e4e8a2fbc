/* One timed completion. */
#include "cli/bench/ask.h"

#include "complete/question.h"
#include "model/model.h"
#include "os/clock.h"

struct listener {
    const struct fim *fim;
    struct bench_answer *answer;
    int64_t start;
    enum err err;
};

static bool on_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    struct listener *l = ctx;
    if (l->answer->ttft_ms == 0) l->answer->ttft_ms = clock_ms_since(l->start);
    if (l->answer->tokens) l->err = token_list_add(l->answer->tokens, token);
    return !l->err && !fim_is_end(l->fim, token);
}

void bench_asker_clear(struct bench_asker *a)
{
    prompt_clear(&a->prompt);
    documents_free(&a->docs);
    fim_memo_clear(&a->memo);
}

static enum err lay_out(struct bench_asker *a, const struct prompt_input *in, struct errmsg *msg)
{
    prompt_clear(&a->prompt);
    return prompt_build(&a->fim, a->model, in, a->max_prompt, &a->memo, &a->prompt, msg);
}

enum err bench_ask_document(struct bench_asker *a, struct open_document *doc, size_t cursor,
                            struct errmsg *msg)
{
    struct question q;
    struct context_input in = {.docs = a->docs,
                               .doc = doc,
                               .cursor = cursor,
                               .secrets = a->secrets,
                               .tokenizer = a->model->tokenizer,
                               .max_tokens = a->max_prompt};
    enum err err = question_ask(&in, &q, msg);
    if (err) return err;
    a->is_anchored_anew = q.context.is_anchored_anew;
    return lay_out(a, &q.input, msg);
}

enum err bench_ask_prompt(struct bench_asker *a, const struct bench_text *t, struct errmsg *msg)
{
    if (a->lines_before >= 0 || a->lines_after >= 0) {
        size_t start = a->lines_before < 0 ? 0 : bench_text_lines_before(t, t->cursor, a->lines_before);
        size_t end = a->lines_after < 0 ? t->len : bench_text_lines_after(t, t->cursor, a->lines_after);
        struct prompt_input in = {.before = t->text + start,
                                  .before_len = t->cursor - start,
                                  .after = t->text + t->cursor,
                                  .after_len = end - t->cursor,
                                  .path = a->path};
        return lay_out(a, &in, msg);
    }
    /* What changed since the last question reaches the document as one edit. */
    if (!a->docs) a->docs = documents_new();
    enum err err = documents_open(a->docs, "bench", a->path, NULL, 0, t->text, t->len, msg);
    return err ? err : bench_ask_document(a, documents_find(a->docs, "bench"), t->cursor, msg);
}

enum err bench_ask(struct bench_asker *a, const struct bench_text *t, const atomic_bool *cancel,
                   struct bench_answer *out, struct errmsg *msg)
{
    *out = (struct bench_answer){.tokens = out->tokens};
    struct listener listener = {.fim = &a->fim, .answer = out, .start = clock_ns()};
    enum err err = bench_ask_prompt(a, t, msg);
    if (err) return err;
    out->build_ms = clock_ms_since(listener.start);
    const struct prompt *p = &a->prompt;
    struct engine_request r = {.prompt = p->tokens.ids,
                               .n_prompt = p->tokens.n,
                               .sampling = SAMPLER_GREEDY,
                               .max_tokens = a->max_tokens,
                               .move_from = p->move_from,
                               .cancel = cancel,
                               .heal = p->heal,
                               .heal_len = p->heal_len,
                               .draft_text = p->drafts.n ? p->drafts.ids : NULL,
                               .n_draft_text = p->drafts.n,
                               .on_token = on_token,
                               .ctx = &listener};
    err = engine_generate(a->seq, &r, &out->engine, msg);
    out->total_ms = clock_ms_since(listener.start);
    if (!err && listener.err) err = err_set(msg, listener.err, "cannot keep the answer");
    return err;
}
