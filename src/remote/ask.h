/* What a model server is asked, and what is known about it: shared by the pool and the dialects.
 *
 * Text is UTF-8 with lines ending in '\n'. Everything here is a view unless it says otherwise. */
#ifndef REMOTE_ASK_H
#define REMOTE_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which API a server speaks: OpenAI's completions (vLLM, SGLang, TGI, LM Studio, llama-cpp-python ...),
 * llama-server's own, Ollama's. */
enum remote_api { REMOTE_OPENAI, REMOTE_LLAMA, REMOTE_OLLAMA, REMOTE_N_APIS };

#define REMOTE_NAME_MAX 256

/* What the servers of a model say about it. Plain data: copied. */
struct remote_traits {
    bool is_known;               /* a server was asked and answered */
    bool has_fim;                /* it fills in the middle by itself: remote_ask.is_fim may be used */
    bool takes_files;            /* and can be shown other files: remote_ask.files */
    char model[REMOTE_NAME_MAX]; /* the name that requests carry; "": none */
    char base[REMOTE_NAME_MAX];  /* what else tells the model's family: a file's name, an architecture; "" */
    int32_t n_ctx;               /* tokens of prompt and answer together; 0: not told */
    int32_t program;             /* the dialect's: which of those that speak the API it is; 0: unknown */
};

struct remote_file { /* another file, shown to the model */
    const char *path, *text;
    size_t text_len;
};

struct remote_stop_word {
    const char *text;
    size_t len;
};

struct remote_sampling { /* as infer/sampler.h; what an API cannot say is left out */
    float temperature, top_p, min_p, repeat_penalty;
    int32_t top_k;
    uint64_t seed;
};

struct remote_ask {
    /* Either the server lays out the FIM prompt: */
    bool is_fim;
    const char *prefix, *suffix;
    size_t prefix_len, suffix_len;
    const struct remote_file *files; /* most distant first */
    int32_t n_files;
    /* or it continues a text, in which special tokens' names are those tokens; or tokens: */
    const char *prompt;
    size_t prompt_len;
    const int32_t *tokens; /* null: prompt */
    int32_t n_tokens;

    struct remote_sampling sampling;
    int32_t max_tokens; /* 0: only read the prompt, if the API can say so; else 1 */
    const struct remote_stop_word *stops;
    int32_t n_stops;
    bool wants_logprobs; /* of the generated tokens */
};

/* Why an answer ended, as far as the server decided it. */
enum remote_stop {
    REMOTE_STOP_EOG,
    REMOTE_STOP_LIMIT, /* max_tokens, or the server's context is full */
    REMOTE_STOP_WORD,  /* one of stops; which one is not told by all APIs */
    /* The pool's: */
    REMOTE_STOP_ENOUGH, /* on_text returned false */
    REMOTE_STOP_TIME,
    REMOTE_STOP_CANCEL
};

#endif
