/* inline logits: the logits after a prompt, and greedy tokens, for checking against other engines. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "infer/engine.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "os/file.h"

#define PROMPT_MAX_BYTES ((size_t)16 << 20)

struct run {
    struct model *model;
    struct engine *engine;
    struct engine_seq *seq;
    struct token_list tokens, greedy;
};

static void close_run(struct run *r)
{
    token_list_clear(&r->tokens);
    token_list_clear(&r->greedy);
    engine_seq_close(&r->seq);
    engine_close(&r->engine);
    model_unref(&r->model);
}

/* "1,2,3" */
static enum err parse_ids(const char *text, struct token_list *out, struct errmsg *msg)
{
    while (*text) {
        char *end;
        long id = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || id < 0 || id > INT32_MAX)
            return err_set(msg, ERR_ARG, "--tokens: \"%s\" is not a list of token ids such as 1,2,3", text);
        enum err e = token_list_add(out, (int32_t)id);
        if (e) return err_set(msg, e, "not enough memory");
        text = *end ? end + 1 : end;
    }
    return OK;
}

static enum err read_prompt(struct run *r, const char *prompt, const char *file, const char *ids,
                            struct errmsg *msg)
{
    if (ids) return parse_ids(ids, &r->tokens, msg);
    struct buf text;
    buf_init(&text, PROMPT_MAX_BYTES);
    enum err e = OK;
    if (prompt)
        buf_add_str(&text, prompt);
    else
        e = file_read(file ? file : "-", &text, msg);
    if (!e && tokenizer_encode(r->model->tokenizer, buf_str(&text), text.len, TOKENIZER_BOS, &r->tokens))
        e = err_set(msg, ERR_NOMEM, "cannot tokenize %zu bytes", text.len);
    buf_clear(&text);
    return e;
}

static bool keep_token(void *ctx, int32_t token, const char *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    return token_list_add(ctx, token) == OK;
}

static int32_t best_after(const float *logits, int32_t n, float bound, int32_t bound_id)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++) {
        bool is_left = logits[i] < bound || (logits[i] == bound && i > bound_id);
        if (is_left && (best < 0 || logits[i] > logits[best])) best = i;
    }
    return best;
}

static void write_json(const struct run *r, int64_t n_top, struct buf *out)
{
    const float *logits = engine_seq_logits(r->seq);
    const struct tokenizer *t = r->model->tokenizer;
    int32_t n_vocab = tokenizer_n_vocab(t);
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "model", r->model->name);
    json_str(&j, "isa", engine_isa(r->engine));
    json_begin_array(&j, "tokens");
    for (int32_t i = 0; i < r->tokens.n; i++) json_int(&j, NULL, r->tokens.ids[i]);
    json_end_array(&j);
    int32_t id = best_after(logits, n_vocab, INFINITY, -1);
    float best = id < 0 ? 0 : logits[id];
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) sum += exp((double)logits[i] - best);
    json_begin_array(&j, "top");
    for (int64_t i = 0; i < n_top && id >= 0; i++, id = best_after(logits, n_vocab, logits[id], id)) {
        size_t len;
        const char *text = tokenizer_text(t, id, &len);
        json_begin_object(&j, NULL);
        json_int(&j, "id", id);
        json_str_len(&j, "text", text, len);
        json_num(&j, "logit", logits[id], 5);
        json_num(&j, "logprob", logits[id] - best - log(sum), 5);
        json_end_object(&j);
    }
    json_end_array(&j);
}

/* One candidate a line: id, logit, log-probability, text. */
static void print_plain(const struct run *r, int64_t n_top)
{
    const float *logits = engine_seq_logits(r->seq);
    int32_t n_vocab = tokenizer_n_vocab(r->model->tokenizer);
    int32_t id = best_after(logits, n_vocab, INFINITY, -1);
    for (int64_t i = 0; i < n_top && id >= 0; i++, id = best_after(logits, n_vocab, logits[id], id)) {
        size_t len;
        const char *text = tokenizer_text(r->model->tokenizer, id, &len);
        printf("%8d %10.4f  %.*s\n", id, logits[id], (int)len, text);
    }
}

static void write_greedy(const struct run *r, struct buf *out)
{
    struct json j = {.out = out, .needs_comma = true};
    json_begin_array(&j, "greedy");
    for (int32_t i = 0; i < r->greedy.n; i++) json_int(&j, NULL, r->greedy.ids[i]);
    json_end_array(&j);
    json_end_object(&j);
}

static enum err compute(struct run *r, bool is_json, int64_t n_top, int64_t n_greedy, struct buf *out,
                        struct errmsg *msg)
{
    if (!r->tokens.n) return err_set(msg, ERR_ARG, "the prompt is empty; give --prompt, --file or --tokens");
    enum err e = engine_seq_open(r->engine, r->tokens.n + (int32_t)n_greedy, &r->seq, msg);
    if (e) return e;
    e = engine_seq_sync(r->seq, r->tokens.ids, r->tokens.n, NULL, NULL);
    if (e)
        return err_set(msg, e, "cannot compute the prompt: %s",
                       e == ERR_ARG ? "a token id is outside the vocabulary" : err_text(e));
    if (!is_json) {
        print_plain(r, n_top);
        return OK;
    }
    write_json(r, n_top, out);
    struct engine_result result;
    struct engine_request request = {.prompt = r->tokens.ids,
                                     .n_prompt = r->tokens.n,
                                     .sampling = SAMPLER_GREEDY,
                                     .max_tokens = (int32_t)n_greedy,
                                     .on_token = keep_token,
                                     .ctx = &r->greedy};
    if (n_greedy) e = engine_generate(r->seq, &request, &result, msg);
    if (!e) write_greedy(r, out);
    return e;
}

int cli_logits(int argc, char **argv, const struct settings *s)
{
    const char *prompt = NULL, *file = NULL, *ids = NULL;
    bool is_json = false;
    int64_t n_top = 10, n_greedy = 0;
    struct cli_option options[] = {{"prompt", CLI_STRING, &prompt, 0, 0},
                                   {"file", CLI_STRING, &file, 0, 0},
                                   {"tokens", CLI_STRING, &ids, 0, 0},
                                   {"json", CLI_FLAG, &is_json, 0, 0},
                                   {"top", CLI_INT, &n_top, 1, 1 << 20},
                                   {"greedy", CLI_INT, &n_greedy, 0, 1 << 16},
                                   {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("logits takes one MODEL");
    if (n_greedy && !is_json) return cli_usage_error("--greedy needs --json");
    struct run r = {0};
    struct errmsg msg = {0};
    char *path = NULL;
    struct buf out;
    buf_init(&out, (size_t)64 << 20);
    enum err e = cli_pick_model(n_args ? argv[1] : NULL, s, &path, &msg);
    if (!e) e = model_open(path, &r.model, &msg);
    if (!e) e = read_prompt(&r, prompt, file, ids, &msg);
    struct engine_options o = {
        .n_threads = s->threads, .isa = s->isa[0] ? s->isa : NULL, .pack_dir = cli_pack_dir(s)};
    if (!e) e = engine_open(r.model, &o, &r.engine, &msg);
    if (!e) e = compute(&r, is_json, n_top, n_greedy, &out, &msg);
    if (!e && is_json) puts(buf_str(&out));
    close_run(&r);
    buf_clear(&out);
    mem_free(path);
    return e ? cli_fail(&msg) : CLI_OK;
}
