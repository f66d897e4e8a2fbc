/* The completion pipeline.
 *
 * The model sees '\n' line ends only; the window around the cursor is converted on its way in and the
 * suggestion on its way out, so that a '\r\n' document costs no tokens and gets '\r\n' back. Thread: the
 * engine's caller. */
#include "complete/complete.h"

#include <string.h>

#include "complete/stop.h"
#include "context/document.h"
#include "model/model.h"
#include "model/tokenizer.h"

/* The text around the cursor, with '\n' line ends. */
struct window {
    const char *before, *after; /* views of the document, or of the copies */
    size_t before_len, after_len;
    struct buf before_copy, after_copy; /* empty unless there were '\r\n' to convert */
};

/* One request under way. */
struct run {
    const struct complete_request *request;
    const struct fim *fim;
    struct stop stop;
    enum document_eol eol;
    struct buf *out;
    size_t emitted;  /* bytes of stop.text that were appended to out */
    bool is_ended;   /* by an end token of the FIM family */
    bool is_refused; /* by on_text */
};

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Where a window of about `max` bytes before the cursor starts. It moves in steps of a quarter, rounded down
 * to a power of two, for the same reason as the prompt inside it does (fim_prompt.c). */
static size_t window_start(const char *text, size_t cursor, size_t max)
{
    if (cursor <= max) return 0;
    size_t step = 1;
    while (step <= max / 8) step *= 2;
    size_t start = (cursor - max + step - 1) / step * step;
    while (start < cursor && is_continuation(text[start])) start++;
    return start;
}

static size_t window_end(const char *text, size_t len, size_t cursor, size_t max)
{
    if (len - cursor <= max) return len;
    size_t end = cursor + max;
    while (end > cursor && is_continuation(text[end])) end--;
    return end;
}

/* A view of text, or of a copy without the '\r' of '\r\n' where it has any. */
static enum err normalise(const char *text, size_t len, struct buf *copy, const char **out, size_t *out_len)
{
    *out = text;
    *out_len = len;
    buf_init(copy, len);
    if (len == 0 || !memchr(text, '\r', len)) return OK;
    const char *end = text + len;
    for (const char *p = text; p < end;) {
        const char *cr = memchr(p, '\r', (size_t)(end - p));
        const char *stop = cr ? cr : end;
        buf_add(copy, p, (size_t)(stop - p));
        if (cr && (cr + 1 == end || cr[1] != '\n')) buf_add_char(copy, '\r');
        p = cr ? cr + 1 : end;
    }
    *out = buf_str(copy);
    *out_len = copy->len;
    return copy->err;
}

static enum err window_cut(const struct complete_request *r, int32_t max_prompt, struct window *w)
{
    size_t max = (size_t)max_prompt * FIM_BYTES_PER_TOKEN, cursor = r->cursor;
    /* A cursor inside a '\r\n' is at the end of its line. */
    if (cursor > 0 && cursor < r->len && r->text[cursor - 1] == '\r' && r->text[cursor] == '\n') cursor--;
    size_t start = window_start(r->text, cursor, max), end = window_end(r->text, r->len, cursor, max);
    enum err err = normalise(r->text + start, cursor - start, &w->before_copy, &w->before, &w->before_len);
    enum err err2 = normalise(r->text + cursor, end - cursor, &w->after_copy, &w->after, &w->after_len);
    return err ? err : err2;
}

static void window_clear(struct window *w)
{
    buf_clear(&w->before_copy);
    buf_clear(&w->after_copy);
}

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
static bool hides_space(const struct window *w, const struct fim *fim, const struct tokenizer *t)
{
    size_t len = w->before_len;
    if (fim->order != FIM_PREFIX_ONLY || len == 0 || w->before[len - 1] != ' ') return false;
    bool is_single = len < 2 || w->before[len - 2] != ' ';
    return is_single || joins_indent(t);
}

static struct stop_place place_of(const struct window *w, const struct fim *fim, const struct tokenizer *t)
{
    const char *newline = w->before_len > 0 ? memrchr(w->before, '\n', w->before_len) : NULL;
    size_t line = newline ? (size_t)(newline - w->before) + 1 : 0;
    return (struct stop_place){.line_prefix = w->before + line,
                               .line_prefix_len = w->before_len - line,
                               .suffix = w->after,
                               .suffix_len = w->after_len,
                               .is_prefix_only = fim->order == FIM_PREFIX_ONLY,
                               .hides_space = hides_space(w, fim, t)};
}

/* Hand over what has become certain. False if the caller does not want more. */
static bool emit(struct run *run)
{
    const char *text = buf_str(&run->stop.text);
    size_t from = run->out->len;
    if (run->emitted == run->stop.certain) return true;
    for (; run->emitted < run->stop.certain; run->emitted++) {
        if (text[run->emitted] == '\n' && run->eol == DOCUMENT_CRLF) buf_add_char(run->out, '\r');
        buf_add_char(run->out, text[run->emitted]);
    }
    if (run->out->err || !run->request->on_text) return !run->out->err;
    return run->request->on_text(run->request->ctx, run->out->data + from, run->out->len - from);
}

static bool on_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    struct run *run = ctx;
    if (fim_is_end(run->fim, token)) {
        run->is_ended = true;
        return false;
    }
    bool goes_on = stop_feed(&run->stop, bytes, len);
    run->is_refused = !emit(run);
    return goes_on && !run->is_refused;
}

static enum complete_stop why_stopped(const struct run *run, enum engine_stop stop)
{
    if (stop == ENGINE_STOP_CANCEL || run->is_refused) return COMPLETE_CANCELLED;
    if (stop == ENGINE_STOP_TIME) return COMPLETE_TIME;
    if (stop == ENGINE_STOP_EOG || run->is_ended) return COMPLETE_EOG;
    switch (run->stop.why) {
    case STOP_SUFFIX:
        return COMPLETE_SUFFIX;
    case STOP_REPETITION:
        return COMPLETE_REPETITION;
    case STOP_BLOCK:
        return COMPLETE_BLOCK;
    case STOP_NOT:
        break;
    }
    return COMPLETE_LIMIT;
}

static enum err generate(struct run *run, struct engine_seq *seq, const struct token_list *prompt,
                         struct complete_result *result, struct errmsg *msg)
{
    const struct complete_request *r = run->request;
    struct token_list drafts = {0};
    enum err err = fim_draft_text(run->fim, prompt, &drafts);
    if (err) {
        token_list_clear(&drafts);
        return err_set(msg, err, "cannot prepare the prompt: %s", err_text(err));
    }
    struct engine_request request = {.prompt = prompt->ids,
                                     .n_prompt = prompt->n,
                                     .sampling = r->sampling,
                                     .max_tokens = r->max_tokens,
                                     .move_from = fim_suffix_start(run->fim, prompt),
                                     .max_prompt_ms = r->max_prompt_ms,
                                     .max_predict_ms = r->max_predict_ms,
                                     .cancel = r->cancel,
                                     .draft_text = drafts.n ? drafts.ids : NULL,
                                     .n_draft_text = drafts.n,
                                     .on_token = on_token,
                                     .ctx = run};
    err = engine_generate(seq, &request, &result->engine, msg);
    token_list_clear(&drafts);
    if (err) return err;
    result->stop = why_stopped(run, result->engine.stop);
    if (!run->is_refused) {
        stop_finish(&run->stop);
        (void)emit(run); /* the last piece: nothing is left to be refused */
    }
    err = run->stop.text.err ? run->stop.text.err : run->out->err;
    return err ? err_set(msg, err, "cannot keep the completion: %s", err_text(err)) : OK;
}

enum err complete_run(struct engine_seq *seq, const struct fim *fim, const struct complete_request *r,
                      struct buf *out, struct complete_result *result, struct errmsg *msg)
{
    *result = (struct complete_result){0};
    const struct model *model = engine_model(engine_seq_engine(seq));
    int32_t n_ctx = engine_seq_n_ctx(seq);
    if (r->max_tokens < 1 || r->max_tokens >= n_ctx) {
        return err_set(msg, ERR_LIMIT, "%d tokens to generate; a context of %d tokens allows 1 to %d",
                       r->max_tokens, n_ctx, n_ctx - 1);
    }
    int32_t max_prompt = r->max_prompt_tokens ? r->max_prompt_tokens : COMPLETE_PROMPT_TOKENS;
    if (max_prompt > n_ctx - r->max_tokens) max_prompt = n_ctx - r->max_tokens;

    struct window w = {0};
    struct token_list prompt = {0};
    struct run run = {.request = r, .fim = fim, .eol = document_eol_of(r->text, r->len), .out = out};
    size_t out_len = out->len;
    enum err err = window_cut(r, max_prompt, &w);
    if (err) {
        err = err_set(msg, err, "cannot read the document: %s", err_text(err));
        goto done;
    }
    struct stop_place place = place_of(&w, fim, model->tokenizer);
    stop_init(&run.stop, &place);
    struct fim_input input = {.prefix = w.before,
                              .prefix_len = w.before_len - place.hides_space,
                              .suffix = w.after,
                              .suffix_len = w.after_len,
                              .path = r->path};
    err = fim_build(fim, model, &input, max_prompt, &prompt, msg);
    if (!err) err = generate(&run, seq, &prompt, result, msg);
done:
    if (err && !out->err) buf_truncate(out, out_len);
    stop_clear(&run.stop);
    token_list_clear(&prompt);
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
    case COMPLETE_SUFFIX:
        return "suffix";
    case COMPLETE_REPETITION:
        return "repetition";
    case COMPLETE_BLOCK:
        return "block";
    case COMPLETE_TIME:
        return "time";
    case COMPLETE_CANCELLED:
        break;
    }
    return "cancelled";
}
