/* The routes, and what comes to none of them. Paths without /v1 are llama-server's aliases: note that its
 * /completions is /completion, not OpenAI's. */
#include <string.h>

#include "serve/api_cache.h"
#include "serve/api_dashboard.h"
#include "serve/api_impl.h"
#include "serve/api_journal.h"
#include "serve/api_llama.h"
#include "serve/api_ollama.h"
#include "serve/api_openai.h"
#include "serve/api_run.h"
#include "serve/api_status.h"
#include "serve/api_tabby.h"
#include "serve/live.h"

static void open_live(struct api *a, struct http_exchange *x)
{
    if (a->live) {
        live_open(a->live, x);
    } else {
        http_error(x, 503, "unavailable_error", "there is nothing to look at here");
    }
}

struct route {
    const char *method, *path;
    void (*handle)(struct api *a, struct http_exchange *x);
    bool is_public; /* needs no token */
};

static const struct route ROUTES[] = {
    {"GET", "/", api_dashboard, true},
    {"GET", "/live", open_live, false},
    {"GET", "/journal", api_journal, false},
    {"GET", "/health", api_llama_health, true},
    {"GET", "/metrics", api_llama_metrics, false},
    {"GET", "/cache", api_cache_stats, false},
    {"POST", "/cache/clear", api_cache_clear, false},
    {"GET", "/status", api_status, false},
    {"POST", "/models/load", api_status_load, false},
    {"POST", "/models/unload", api_status_unload, false},
    {"GET", "/props", api_llama_props, false},
    {"GET", "/slots", api_llama_slots, false},
    {"POST", "/infill", api_llama_infill, false},
    {"POST", "/completion", api_llama_completion, false},
    {"POST", "/completions", api_llama_completion, false},
    {"POST", "/tokenize", api_llama_tokenize, false},
    {"POST", "/detokenize", api_llama_detokenize, false},
    {"POST", "/v1/completions", api_openai_completions, false},
    {"POST", "/v1/fim/completions", api_openai_fim, false},
    {"POST", "/fim/completions", api_openai_fim, false},
    {"GET", "/v1/models", api_openai_models, true},
    {"GET", "/models", api_openai_models, true},
    {"POST", "/v1/chat/completions", api_openai_no_chat, false},
    {"POST", "/chat/completions", api_openai_no_chat, false},
    {"POST", "/v1/events", api_tabby_events, false},
    {"GET", "/v1/health", api_tabby_health, true},
    {"POST", "/v1/health", api_tabby_health, true},
    {"POST", "/api/generate", api_ollama_generate, false},
    {"GET", "/api/tags", api_ollama_tags, false},
    {"GET", "/api/ps", api_ollama_ps, false},
    {"POST", "/api/show", api_ollama_show, false},
    {"GET", "/api/version", api_ollama_version, false},
    {"POST", "/api/chat", api_ollama_no_chat, false},
};

/* The route; or null, and then *other has the same path under another method, or is null too. */
static const struct route *find(const char *method, const char *path, const struct route **other)
{
    *other = NULL;
    for (size_t i = 0; i < sizeof ROUTES / sizeof *ROUTES; i++) {
        const struct route *r = &ROUTES[i];
        if (strcmp(r->path, path) != 0) continue;
        if (strcmp(r->method, method) == 0) return r;
        *other = r;
    }
    return NULL;
}

bool api_is_public(const char *method, const char *path)
{
    const struct route *other, *r = find(method, path, &other);
    return r && r->is_public;
}

static void refuse(struct http_exchange *x, int status, const char *type, const char *message)
{
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    if (strncmp(http_request_of(x)->path, "/api/", 5) == 0) {
        api_ollama_write_error(status, type, message, &out);
    } else {
        api_run_write_error(status, type, message, &out);
    }
    api_answer(x, status, &out);
}

void api_handle(struct api *a, struct http_exchange *x)
{
    const struct http_request *request = http_request_of(x);
    const struct route *other, *r = find(request->method, request->path, &other);
    if (r) {
        r->handle(a, x);
    } else if (other) {
        http_extra_header(x, "Allow", other->method);
        refuse(x, 405, "invalid_request_error", "this path takes another method; see the header Allow");
    } else {
        refuse(x, 404, "not_found_error",
               "there is no such path; completions are at /infill, /v1/completions and "
               "/api/generate");
    }
}
