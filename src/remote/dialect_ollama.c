/* Ollama's API (docs/api.md and its source, 2026-08). */
#include <stdlib.h>
#include <string.h>

#include "remote/dialect_impl.h"

enum { ASK_TAGS, ASK_SHOW, N_QUESTIONS };

/* Ollama cuts a prompt silently at the context a model was loaded with, by default 4096 tokens on small
 * machines, and loads the model anew where a request wants another one. What models are made for can be 64
 * times as much, and its memory is taken at once: this is enough for any prompt of a completion. */
#define N_CTX_MAX 8192

/* A model's file may set any of these; 2026's models for chats do. */
static void write_options(struct json *j, const struct remote_traits *t, const struct remote_ask *ask)
{
    const struct remote_sampling *s = &ask->sampling;
    json_begin_object(j, "options");
    json_int(j, "num_predict", ask->max_tokens > 0 ? ask->max_tokens : 1); /* 0 may mean no limit */
    if (t->n_ctx > 0) json_int(j, "num_ctx", t->n_ctx);
    json_num(j, "temperature", s->temperature > 0 ? s->temperature : 0, 4);
    json_num(j, "repeat_penalty", s->repeat_penalty, 4);
    json_num(j, "presence_penalty", 0, 1);
    json_num(j, "frequency_penalty", 0, 1);
    if (s->temperature > 0) {
        json_int(j, "top_k", s->top_k);
        json_num(j, "top_p", s->top_p, 4);
        json_num(j, "min_p", s->min_p, 4);
        json_int(j, "seed", dialect_seed(ask));
    }
    dialect_write_stops(j, ask, INT32_MAX);
    json_end_object(j);
}

/* Without a suffix Ollama takes the prompt for a chat's: at a text's end it is told that a line ends there.
 */
static void write_fim(struct json *j, const struct remote_ask *ask)
{
    dialect_write_prompt(j, "prompt", ask->prefix, ask->prefix_len);
    dialect_write_prompt(j, "suffix", ask->suffix, ask->suffix_len);
}

static const char *write_ask(const struct remote_traits *t, const struct remote_ask *ask, struct buf *body)
{
    struct json j;
    if (!ask->is_fim && ask->tokens) return NULL;
    json_init(&j, body);
    json_begin_object(&j, NULL);
    json_str(&j, "model", t->model);
    if (ask->is_fim) {
        write_fim(&j, ask);
    } else {
        dialect_write_prompt(&j, "prompt", ask->prompt, ask->prompt_len);
        json_flag(&j, "raw", true);
    }
    json_flag(&j, "stream", true);
    if (ask->wants_logprobs) json_flag(&j, "logprobs", true); /* since 0.12.11; others ignore it */
    write_options(&j, t, ask);
    json_end_object(&j);
    return "/api/generate";
}

/* prompt_eval_count is the prompt's length, or what of it had to be read, depending on the version: how much
 * was reused cannot be told. */
static bool read_event(const struct json_value *event, struct buf *text, struct dialect_piece *out)
{
    bool is_done = false;
    const struct json_value *response = json_get(event, "response");
    if (!json_get_flag(json_get(event, "done"), &is_done) && !json_is_str(response)) return false;
    dialect_add_text(response, text);
    dialect_add_logprobs(json_get(event, "logprobs"), out);
    out->n_tokens = out->n_logprobs;
    out->is_last = is_done;
    if (!is_done) return true;
    bool is_cut = dialect_is_str(json_get(event, "done_reason"), "length");
    out->stop = is_cut ? REMOTE_STOP_LIMIT : REMOTE_STOP_EOG; /* a stop word is "stop" too */
    out->n_prompt = dialect_count(json_get(event, "prompt_eval_count"));
    out->n_generated = dialect_count(json_get(event, "eval_count"));
    return true;
}

static void ask_question(int32_t i, const char *wanted, const struct remote_traits *so_far,
                         struct dialect_question *out, struct buf *body)
{
    (void)wanted;
    *out = (struct dialect_question){.path = i == ASK_TAGS ? "/api/tags" : "/api/show"};
    if (i == ASK_TAGS) return;
    struct json j;
    out->has_body = true;
    json_init(&j, body);
    json_begin_object(&j, NULL);
    json_str(&j, "model", so_far->model);
    json_end_object(&j);
}

/* llama-server once had this path too, for clients of Ollama, with OpenAI's list beside it. */
static bool is_tags(const struct json_value *json)
{
    return json_is_array(json_get(json, "models")) && !json_get(json, "data");
}

static enum err learn_tags(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg)
{
    const struct json_value *model;
    enum err err = dialect_choose(json_get(a->json, "models"), "name", a->wanted, &model, msg);
    if (!err) (void)dialect_copy_name(json_get(model, "name"), inout->model);
    return err;
}

/* Before 0.6.4 there are no capabilities, but the template from which they are told. */
static bool has_insert(const struct json_value *json)
{
    const struct json_value *list = json_get(json, "capabilities");
    const char *template = json_get_str(json_get(json, "template"), NULL);
    for (size_t i = 0; i < json_count(list); i++) {
        if (dialect_is_str(json_at(list, i), "insert")) return true;
    }
    return !json_is_array(list) && template && strstr(template, ".Suffix");
}

/* Its length of context: the first member whose name ends like that ("qwen2.context_length"). */
static bool find_context(void *ctx, const char *key, const struct json_value *v)
{
    static const char tail[] = ".context_length";
    int32_t *n_ctx = ctx;
    size_t len = strlen(key), tail_len = sizeof tail - 1;
    if (len < tail_len || strcmp(key + len - tail_len, tail) != 0) return true;
    *n_ctx = dialect_count(v);
    return false;
}

/* What the model's file sets for it, one "NAME VALUE" a line; 0: nothing. */
static int32_t configured_context(const struct json_value *json)
{
    static const char name[] = "num_ctx";
    const char *p = json_get_str(json_get(json, "parameters"), NULL);
    for (; p && (p = strstr(p, name)); p++) {
        const char *value = p + sizeof name - 1;
        if (*value != ' ' && *value != '\t') continue;
        long n = strtol(value, NULL, 10);
        if (n > 0 && n < INT32_MAX) return (int32_t)n;
    }
    return 0;
}

static int32_t n_ctx_of(const struct json_value *json)
{
    int32_t n = 0, configured = configured_context(json);
    json_each(json_get(json, "model_info"), find_context, &n);
    if (configured > 0) return configured;
    if (n <= 0) return 0;
    return n < N_CTX_MAX ? n : N_CTX_MAX;
}

/* The name a model was published under tells more than its architecture does ("qwen2"). */
static void learn_base(const struct json_value *json, struct remote_traits *inout)
{
    if (dialect_copy_name(json_get(json_get(json, "model_info"), "general.basename"), inout->base)) return;
    (void)dialect_copy_name(json_get(json_get(json, "details"), "family"), inout->base);
}

static enum err learn(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg)
{
    if (a->question == ASK_TAGS) return learn_tags(a, inout, msg);
    if (a->status != 200 || !json_is_object(a->json)) return OK;
    inout->has_fim = has_insert(a->json);
    inout->n_ctx = n_ctx_of(a->json);
    learn_base(a->json, inout);
    return OK;
}

const struct dialect dialect_ollama = {
    .name = "ollama",
    .service = "Ollama",
    .probe_path = "/api/version",
    .n_questions = N_QUESTIONS,
    .write = write_ask,
    .read = read_event,
    .ask = ask_question,
    .learn = learn,
    .is_from = is_tags,
};
