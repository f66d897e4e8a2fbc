/* See api_dashboard.h. */
#include "serve/api_dashboard.h"

#include <string.h>

#include "serve/http.h"
#include "serve/web_page.h"

static void answer_text(struct http_exchange *x)
{
    static const char TEXT[] =
        "Inline " INLINE_VERSION ": local code completion.\n\n"
        "This is its HTTP API. Editors' completion plugins connect here: those for llama-server (POST "
        "/infill),\n"
        "OpenAI (POST /v1/completions), Tabby (the same) and Ollama (POST /api/generate).\n"
        "GET /health says whether the model is loaded, GET /v1/models which there are, GET /metrics how it "
        "goes.\n"
        "A browser shows all of that here, live.\n";
    http_answer(x, 200, "text/plain; charset=utf-8", TEXT, sizeof TEXT - 1);
}

void api_dashboard(struct api *a, struct http_exchange *x)
{
    (void)a;
    http_extra_header(x, "Vary", "Accept");
    http_extra_header(x, "Cache-Control", "no-cache");
    http_extra_header(x, "X-Content-Type-Options", "nosniff");
    if (!strstr(http_header(x, "accept"), "text/html")) {
        answer_text(x);
        return;
    }
    http_extra_header(x, "Content-Security-Policy", web_page_policy);
    http_extra_header(x, "Referrer-Policy", "no-referrer");
    http_answer(x, 200, "text/html; charset=utf-8", (const char *)web_page, web_page_len);
}
