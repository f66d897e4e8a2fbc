/* One timed completion. */
#include "cli/bench_ask.h"

#include "context/builder.h"
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
    token_list_clear(&a->prompt);
    documents_free(&a->docs);
    fim_memo_clear(&a->memo);
}

static enum err ask_lines(struct bench_asker *a, const struct bench_text *t, struct errmsg *msg)
{
    size_t start = a->lines_before < 0 ? 0 : bench_text_lines_before(t, t->cursor, a->lines_before);
    size_t end = a->lines_after < 0 ? t->len : bench_text_lines_after(t, t->cursor, a->lines_after);
    struct fim_input in = {.prefix = t->text + start,
                           .prefix_len = t->cursor - start,
                           .suffix = t->text + t->cursor,
                           .suffix_len = end - t->cursor,
                           .path = a->path};
    return fim_build(&a->fim, a->model, &in, a->max_prompt, &a->memo, &a->prompt, msg);
}

/* What changed since the last question reaches the document as one edit. */
static enum err ask_builder(struct bench_asker *a, const struct bench_text *t, struct errmsg *msg)
{
    struct context c;
    if (!a->docs) a->docs = documents_new();
    enum err err = documents_open(a->docs, "bench", a->path, NULL, 0, t->text, t->len, msg);
    if (err) return err;
    struct context_input in = {.docs = a->docs,
                               .doc = documents_find(a->docs, "bench"),
                               .cursor = t->cursor,
                               .tokenizer = a->model->tokenizer,
                               .max_tokens = a->max_prompt};
    err = context_build(&in, &c, msg);
    if (err) return err;
    struct fim_input prompt = {.prefix = c.prefix,
                               .prefix_len = c.prefix_len,
                               .suffix = c.suffix,
                               .suffix_len = c.suffix_len,
                               .path = c.path,
                               .files = c.files,
                               .n_files = c.n_files,
                               .line_comment = in.doc->language->line_comment};
    return fim_build(&a->fim, a->model, &prompt, a->max_prompt, &a->memo, &a->prompt, msg);
}

enum err bench_ask_prompt(struct bench_asker *a, const struct bench_text *t, struct errmsg *msg)
{
    bool has_lines = a->lines_before >= 0 || a->lines_after >= 0;
    return has_lines ? ask_lines(a, t, msg) : ask_builder(a, t, msg);
}

enum err bench_ask(struct bench_asker *a, const struct bench_text *t, const atomic_bool *cancel,
                   struct bench_answer *out, struct errmsg *msg)
{
    *out = (struct bench_answer){.tokens = out->tokens};
    struct listener listener = {.fim = &a->fim, .answer = out, .start = clock_ns()};
    enum err err = bench_ask_prompt(a, t, msg);
    if (err) return err;
    out->build_ms = clock_ms_since(listener.start);
    struct token_list drafts = {0};
    err = fim_draft_text(&a->fim, &a->prompt, &drafts);
    if (err) {
        token_list_clear(&drafts);
        return err_set(msg, err, "cannot prepare the prompt: %s", err_text(err));
    }
    struct engine_request r = {.prompt = a->prompt.ids,
                               .n_prompt = a->prompt.n,
                               .sampling = SAMPLER_GREEDY,
                               .max_tokens = a->max_tokens,
                               .move_from = fim_suffix_start(&a->fim, &a->prompt),
                               .cancel = cancel,
                               .draft_text = drafts.n ? drafts.ids : NULL,
                               .n_draft_text = drafts.n,
                               .on_token = on_token,
                               .ctx = &listener};
    err = engine_generate(a->seq, &r, &out->engine, msg);
    out->total_ms = clock_ms_since(listener.start);
    token_list_clear(&drafts);
    if (!err && listener.err) err = err_set(msg, listener.err, "cannot keep the answer");
    return err;
}
