/* The API's own state; for routes.c and the dialects. Thread: loop. */
#ifndef SERVE_API_IMPL_H
#define SERVE_API_IMPL_H

#include <stdint.h>

#include "base/buf.h"
#include "service/service.h"
#include "serve/api.h"
#include "serve/http.h"
#include "watch/metrics.h"

#define API_JSON "application/json; charset=utf-8"

/* Bytes of one answer: beyond what a body of the largest size, echoed, can make. */
#define API_ANSWER_MAX ((size_t)128 << 20)

struct api_totals { /* of all answers, for the metrics that llama-server has */
    int64_t n_prompt, n_predicted;
    double prompt_ms, predict_ms;
};

struct api_clearing;

struct api {
    struct api_options o;
    struct service *service; /* o.service */
    struct live *live;       /* owned; or null */
    struct api_totals totals;
    struct api_clearing *clearings; /* requests that empty the cache, under way; owned (api_cache.c) */
    char cpu[128];                  /* what it is called */
    int64_t started_s;              /* since 1970; with n_runs it makes ids that no other daemon gave */
    uint64_t n_runs;
};

/* Send what was written as JSON, or 500 if it could not be written. Clears the buffer. */
void api_answer(struct http_exchange *x, int status, struct buf *json);

int64_t api_now_s(void); /* seconds since 1970 */

/* The default model if it is ready; else false, after an answer that says why, as llama-server's /health. */
bool api_is_ready(struct api *a, struct http_exchange *x, struct service_model *out);

#endif
