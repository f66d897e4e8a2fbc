/* OpenAI's completions API, as those speak it who took it over: vLLM (2026-08), SGLang (2026-06), TGI
 * (2026-01), llama-server, llama-cpp-python (0.3), LM Studio, Ollama, and Mistral's for code.
 *
 * They differ in what they refuse and in what they do unasked, so that a request holds what it must, and the
 * rest where the program is known. Its list of models tells which one it is, by "owned_by". */
#include <string.h>

#include "remote/dialect_impl.h"

#define STOPS_MAX 4 /* OpenAI's own limit, TGI's default */

/* What is known of a program. */
struct program {
    const char *owner;
    /* Its name for the repetition penalty, where it has one. It may then apply this, top_k and min_p unless
     * told not to: vLLM takes them from the model's generation_config.json, llama-server from its command
     * line, llama-cpp-python and LM Studio have defaults (1.1, 40 and 0.05). */
    const char *penalty;
    int32_t no_top_k; /* how it is told of none */
    bool is_mistral;  /* its own path, "random_seed", and 422 for any field it does not know */
};

enum {
    PROGRAM_UNKNOWN,
    PROGRAM_VLLM,
    PROGRAM_SGLANG,
    PROGRAM_LLAMA,
    PROGRAM_LLAMA_CPP_PYTHON,
    PROGRAM_LM_STUDIO,
    PROGRAM_MISTRAL
};

static const struct program programs[] = {
    [PROGRAM_UNKNOWN] = {.owner = ""},
    [PROGRAM_VLLM] = {.owner = "vllm", .penalty = "repetition_penalty", .no_top_k = -1},
    [PROGRAM_SGLANG] = {.owner = "sglang", .penalty = "repetition_penalty", .no_top_k = -1},
    [PROGRAM_LLAMA] = {.owner = "llamacpp", .penalty = "repeat_penalty"},
    [PROGRAM_LLAMA_CPP_PYTHON] = {.owner = "me", .penalty = "repeat_penalty"},
    [PROGRAM_LM_STUDIO] = {.owner = "organization_owner", .penalty = "repeat_penalty"},
    [PROGRAM_MISTRAL] = {.owner = "mistralai", .is_mistral = true},
};

#define N_PROGRAMS ((int32_t)(sizeof programs / sizeof *programs))

static const struct program *program_of(const struct remote_traits *t)
{
    return &programs[t->program > 0 && t->program < N_PROGRAMS ? t->program : PROGRAM_UNKNOWN];
}

/* Of a program that is not known only what OpenAI has is sure to be understood: the rest is said where it
 * makes a difference. */
static void write_chain(struct json *j, const struct program *p, const struct remote_sampling *s)
{
    if (p->penalty || s->top_k > 0) json_int(j, "top_k", s->top_k > 0 ? s->top_k : p->no_top_k);
    if (p->penalty || s->min_p > 0) json_num(j, "min_p", s->min_p, 4);
}

/* With temperature 0 every program takes the most probable token, and Mistral refuses top_p. */
static void write_sampling(struct json *j, const struct program *p, const struct remote_ask *ask)
{
    const struct remote_sampling *s = &ask->sampling;
    const char *penalty = p->penalty ? p->penalty : "repetition_penalty";
    bool has_penalty = p->penalty || (s->repeat_penalty != 1 && !p->is_mistral);
    json_num(j, "temperature", s->temperature > 0 ? s->temperature : 0, 4);
    if (has_penalty) json_num(j, penalty, s->repeat_penalty, 4);
    if (s->temperature <= 0) return;
    json_num(j, "top_p", s->top_p, 4);
    if (!p->is_mistral) write_chain(j, p, s);
    json_int(j, p->is_mistral ? "random_seed" : "seed", dialect_seed(ask));
}

/* vLLM and TGI refuse "suffix", SGLang and others take no notice of it: it is for who was told that his
 * server can. */
static void write_text(struct json *j, const struct remote_ask *ask)
{
    if (ask->is_fim) {
        dialect_write_prompt(j, "prompt", ask->prefix, ask->prefix_len);
        json_str_len(j, "suffix", ask->suffix, ask->suffix_len);
    } else if (ask->tokens) {
        dialect_write_tokens(j, "prompt", ask->tokens, ask->n_tokens);
    } else {
        dialect_write_prompt(j, "prompt", ask->prompt, ask->prompt_len);
    }
}

static const char *write_ask(const struct remote_traits *t, const struct remote_ask *ask, struct buf *body)
{
    const struct program *p = program_of(t);
    struct json j;
    json_init(&j, body);
    json_begin_object(&j, NULL);
    if (t->model[0]) json_str(&j, "model", t->model);
    write_text(&j, ask);
    json_int(&j, "max_tokens", ask->max_tokens > 0 ? ask->max_tokens : 1); /* SGLang refuses 0 */
    json_flag(&j, "stream", true);
    write_sampling(&j, p, ask);
    dialect_write_stops(&j, ask, STOPS_MAX);
    if (ask->wants_logprobs && !p->is_mistral) json_int(&j, "logprobs", 1);
    if (!p->is_mistral) { /* it counts without being asked */
        json_begin_object(&j, "stream_options");
        json_flag(&j, "include_usage", true);
        json_end_object(&j);
    }
    json_end_object(&j);
    return p->is_mistral ? "/v1/fim/completions" : "/v1/completions";
}

/* An answer to a completion has "text"; Mistral's, and those of servers that know nothing but chats, have
 * "delta", or "message" where they do not stream. */
static void read_text(const struct json_value *choice, struct buf *text)
{
    dialect_add_text(json_get(choice, "text"), text);
    dialect_add_text(json_get(json_get(choice, "delta"), "content"), text);
    dialect_add_text(json_get(json_get(choice, "message"), "content"), text);
}

/* OpenAI's has token_logprobs, llama-server's `content` as of chats, TGI's is the numbers themselves. */
static void read_logprobs(const struct json_value *choice, struct dialect_piece *out)
{
    const struct json_value *logprobs = json_get(choice, "logprobs");
    dialect_add_logprobs(logprobs, out);
    dialect_add_logprobs(json_get(logprobs, "token_logprobs"), out);
    dialect_add_logprobs(json_get(logprobs, "content"), out);
    out->n_tokens = out->n_logprobs;
}

/* "stop" is an end that the model chose, or a stop word: vLLM and SGLang tell which one. TGI has names of its
 * own, and "" for a piece that is not the last one. What a moderator cuts off counts as cut off. */
static bool read_stop(const struct json_value *choice, enum remote_stop *out)
{
    const struct json_value *reason = json_get(choice, "finish_reason");
    const char *s = json_get_str(reason, NULL);
    bool is_word =
        json_is_str(json_get(choice, "stop_reason")) || json_is_str(json_get(choice, "matched_stop"));
    if (!s || !s[0]) return false;
    if (strcmp(s, "stop") == 0) {
        *out = is_word ? REMOTE_STOP_WORD : REMOTE_STOP_EOG;
    } else if (strcmp(s, "stop_sequence") == 0) {
        *out = REMOTE_STOP_WORD;
    } else {
        *out = strcmp(s, "eos_token") == 0 ? REMOTE_STOP_EOG : REMOTE_STOP_LIMIT;
    }
    return true;
}

static void read_usage(const struct json_value *usage, struct dialect_piece *out)
{
    out->n_prompt = dialect_count(json_get(usage, "prompt_tokens"));
    out->n_generated = dialect_count(json_get(usage, "completion_tokens"));
    out->n_reused = dialect_count(json_get(json_get(usage, "prompt_tokens_details"), "cached_tokens"));
}

/* The event that tells the usage has no choices. */
static bool read_event(const struct json_value *event, struct buf *text, struct dialect_piece *out)
{
    const struct json_value *choices = json_get(event, "choices"), *usage = json_get(event, "usage");
    const struct json_value *choice = json_at(choices, 0);
    if (!json_is_array(choices) && !json_is_object(usage)) return false;
    read_text(choice, text);
    read_logprobs(choice, out);
    out->is_last = read_stop(choice, &out->stop);
    read_usage(usage, out);
    return true;
}

static void ask_question(int32_t i, const char *wanted, const struct remote_traits *so_far,
                         struct dialect_question *out, struct buf *body)
{
    (void)i, (void)wanted, (void)so_far, (void)body;
    *out = (struct dialect_question){.path = "/v1/models"};
}

static bool is_list(const struct json_value *json)
{
    return json_is_array(json_get(json, "data"));
}

static int32_t program_by_owner(const struct json_value *model)
{
    for (int32_t i = PROGRAM_UNKNOWN + 1; i < N_PROGRAMS; i++) {
        if (dialect_is_str(json_get(model, "owned_by"), programs[i].owner)) return i;
    }
    return PROGRAM_UNKNOWN;
}

/* Nobody but llama-server, vLLM, SGLang and Mistral tells how long a text may be; of llama-server's figures
 * n_ctx is what a request has, where it is told, and n_ctx_train what it has at most. */
static int32_t n_ctx_of(const struct json_value *model)
{
    const struct json_value *meta = json_get(model, "meta");
    const int32_t told[] = {dialect_count(json_get(model, "max_model_len")),
                            dialect_count(json_get(meta, "n_ctx")),
                            dialect_count(json_get(model, "max_context_length"))};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        if (told[i] > 0) return told[i];
    }
    return 0;
}

static enum err learn(const struct dialect_answer *a, struct remote_traits *inout, struct errmsg *msg)
{
    const struct json_value *model;
    enum err err = dialect_choose(json_get(a->json, "data"), "id", a->wanted, &model, msg);
    if (err) return err;
    bool has_fim = false;
    (void)dialect_copy_name(json_get(model, "id"), inout->model);
    (void)dialect_copy_name(json_get(model, "root"), inout->base);
    (void)json_get_flag(json_get(json_get(model, "capabilities"), "completion_fim"), &has_fim);
    inout->program = program_by_owner(model);
    inout->has_fim = has_fim && inout->program == PROGRAM_MISTRAL;
    inout->n_ctx = n_ctx_of(model);
    return OK;
}

const struct dialect dialect_openai = {
    .name = "openai",
    .service = "OpenAI API",
    .probe_path = "/v1/models",
    .n_questions = 1,
    .write = write_ask,
    .read = read_event,
    .ask = ask_question,
    .learn = learn,
    .is_from = is_list,
};
