/* llama-server's own API (llama.cpp, tools/server/README.md and its source, b6900 and later; older ones where
 * noted). */
#include <stdio.h>
#include <string.h>

#include "remote/dialect_impl.h"

enum { ASK_PROPS, ASK_MODELS, ASK_INFILL, N_QUESTIONS };

/* Which samplers the server applies, and in which order, is its operator's choice: penalties, DRY and others
 * may be on by default (command line, or the model's own "general.sampling" keys). So they are all named:
 * greedy is the most probable token and nothing else. Versions before the end of 2024 have the penalty
 * outside of `samplers`. */
static void write_sampling(struct json *j, const struct remote_ask *ask)
{
    const struct remote_sampling *s = &ask->sampling;
    bool is_greedy = s->temperature <= 0;
    json_begin_array(j, "samplers");
    if (s->repeat_penalty != 1) json_str(j, NULL, "penalties");
    json_str(j, NULL, "top_k");
    if (!is_greedy) {
        json_str(j, NULL, "top_p");
        json_str(j, NULL, "min_p");
        json_str(j, NULL, "temperature");
    }
    json_end_array(j);
    json_num(j, "temperature", is_greedy ? 0 : s->temperature, 4);
    json_num(j, "repeat_penalty", s->repeat_penalty, 4);
    json_int(j, "top_k", is_greedy ? 1 : s->top_k);
    if (is_greedy) return;
    json_num(j, "top_p", s->top_p, 4);
    json_num(j, "min_p", s->min_p, 4);
    json_int(j, "seed", dialect_seed(ask));
}

static void write_files(struct json *j, const struct remote_ask *ask)
{
    json_begin_array(j, "input_extra");
    for (int32_t i = 0; i < ask->n_files; i++) {
        const struct remote_file *f = &ask->files[i];
        json_begin_object(j, NULL);
        json_str(j, "filename", f->path ? f->path : "");
        json_str_len(j, "text", f->text, f->text_len);
        json_end_object(j);
    }
    json_end_array(j);
}

/* "prompt" is tokenized by itself, special tokens included, and put behind the prefix (not behind the middle
 * token, as the README has it). With everything in input_prefix the tokens are those of the text as a whole,
 * and text stays text. */
static void write_infill(struct json *j, const struct remote_ask *ask)
{
    json_str_len(j, "input_prefix", ask->prefix, ask->prefix_len);
    json_str_len(j, "input_suffix", ask->suffix, ask->suffix_len);
    write_files(j, ask);
    json_str(j, "prompt", "");
}

static const char *write_ask(const struct remote_traits *t, const struct remote_ask *ask, struct buf *body)
{
    struct json j;
    json_init(&j, body);
    json_begin_object(&j, NULL);
    if (t->model[0]) json_str(&j, "model", t->model);
    if (ask->is_fim) {
        write_infill(&j, ask);
    } else if (ask->tokens) {
        dialect_write_tokens(&j, "prompt", ask->tokens, ask->n_tokens);
    } else {
        dialect_write_prompt(&j, "prompt", ask->prompt, ask->prompt_len);
    }
    json_int(&j, "n_predict", ask->max_tokens > 0 ? ask->max_tokens : 0); /* 0: only reads the prompt */
    json_flag(&j, "stream", true);
    json_flag(&j, "cache_prompt", true);
    write_sampling(&j, ask);
    dialect_write_stops(&j, ask, INT32_MAX);
    if (ask->wants_logprobs) json_int(&j, "n_probs", 1);
    json_end_object(&j);
    return ask->is_fim ? "/infill" : "/completion";
}

static enum remote_stop stop_of(const struct json_value *event)
{
    const struct json_value *type = json_get(event, "stop_type");
    bool word = false, limit = false; /* how versions before the end of 2024 say it */
    (void)json_get_flag(json_get(event, "stopped_word"), &word);
    (void)json_get_flag(json_get(event, "stopped_limit"), &limit);
    if (word || dialect_is_str(type, "word")) return REMOTE_STOP_WORD;
    return limit || dialect_is_str(type, "limit") ? REMOTE_STOP_LIMIT : REMOTE_STOP_EOG;
}

/* "tokens_evaluated" counts the whole prompt; "tokens_cached" counts what the slot now holds, and not what it
 * had before. */
static void read_counts(const struct json_value *event, struct dialect_piece *out)
{
    const struct json_value *timings = json_get(event, "timings");
    int32_t n_read = dialect_count(json_get(timings, "prompt_n"));
    out->n_prompt = dialect_count(json_get(event, "tokens_evaluated"));
    out->n_generated = dialect_count(json_get(event, "tokens_predicted"));
    out->n_reused = dialect_count(json_get(timings, "cache_n"));
    if (out->n_reused < 0 && n_read >= 0 && out->n_prompt >= n_read) out->n_reused = out->n_prompt - n_read;
}

static bool read_event(const struct json_value *event, struct buf *text, struct dialect_piece *out)
{
    const struct json_value *content = json_get(event, "content");
    bool is_last = false;
    if (!json_get_flag(json_get(event, "stop"), &is_last) && !json_is_str(content)) return false;
    dialect_add_text(content, text);
    dialect_add_logprobs(json_get(event, "completion_probabilities"), out);
    size_t n_tokens = json_count(json_get(event, "tokens"));
    out->n_tokens = n_tokens < INT32_MAX ? (int32_t)n_tokens : INT32_MAX;
    out->is_last = is_last;
    if (!is_last) return true;
    out->stop = stop_of(event);
    read_counts(event, out);
    return true;
}

/* The last question is one that a model without FIM tokens answers with 501, and any other with 400 for its
 * input_extra: nothing is computed for it, it waits for no slot, and no slot forgets what it holds. */
static void ask_question(int32_t i, const char *wanted, const struct remote_traits *so_far,
                         struct dialect_question *out, struct buf *body)
{
    static const char *const paths[N_QUESTIONS] = {"/props", "/v1/models", "/infill"};
    struct json j;
    (void)wanted;
    *out = (struct dialect_question){.path = paths[i], .has_body = i == ASK_INFILL};
    if (i != ASK_INFILL) return;
    json_init(&j, body);
    json_begin_object(&j, NULL);
    if (so_far->model[0]) json_str(&j, "model", so_far->model);
    json_str(&j, "input_prefix", "");
    json_str(&j, "input_suffix", "");
    json_flag(&j, "input_extra", false);
    json_int(&j, "n_predict", 0); /* for who does not look at input_extra */
    json_end_object(&j);
}

/* Its properties; or a list of its models, which it once gave to clients of Ollama too. */
static bool is_ours(const struct json_value *json)
{
    const struct json_value *owner = json_get(json_at(json_get(json, "data"), 0), "owned_by");
    return json_is_object(json_get(json, "default_generation_settings")) || dialect_is_str(owner, "llamacpp");
}

/* What a slot has room for. A router of several models says 0, and "none" for the file. */
static void learn_props(const struct dialect_answer *a, struct remote_traits *inout)
{
    const struct json_value *settings = json_get(a->json, "default_generation_settings");
    int32_t n_ctx = dialect_count(json_get(settings, "n_ctx"));
    bool is_router = dialect_is_str(json_get(a->json, "role"), "router");
    inout->n_ctx = n_ctx > 0 ? n_ctx : 0;
    if (!is_router) (void)dialect_copy_name(json_get(a->json, "model_path"), inout->base);
    (void)snprintf(inout->model, sizeof inout->model, "%s", a->wanted);
}

/* A server of one model (it has told a length) takes any name for it; a router needs the right one. */
static enum err learn_models(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg)
{
    const struct json_value *list = json_get(a->json, "data"), *model;
    bool is_single = inout->n_ctx > 0;
    if (a->status != 200 || !json_is_array(list)) return OK;
    if (is_single && json_count(list) <= 1) {
        model = json_at(list, 0);
    } else {
        enum err err = dialect_choose(list, "id", a->wanted, &model, msg);
        if (err) return err;
    }
    (void)dialect_copy_name(json_get(model, "id"), inout->model);
    return OK;
}

static bool has_fim(const struct dialect_answer *a)
{
    const char *said = json_get_str(json_get(json_get(a->json, "error"), "message"), NULL);
    return a->status == 200 || (a->status == 400 && said && strstr(said, "input_extra"));
}

static enum err learn(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg)
{
    switch (a->question) {
    case ASK_PROPS:
        learn_props(a, inout);
        return OK;
    case ASK_MODELS:
        return learn_models(a, inout, msg);
    default:
        inout->has_fim = inout->takes_files = has_fim(a);
        return OK;
    }
}

const struct dialect dialect_llama = {
    .name = "llama",
    .service = "llama-server",
    .probe_path = "/health",
    .n_questions = N_QUESTIONS,
    .write = write_ask,
    .read = read_event,
    .ask = ask_question,
    .learn = learn,
    .is_from = is_ours,
};
