/* See api.h and api_impl.h. */
#include <time.h>

#include "base/mem.h"
#include "os/cpu.h"
#include "serve/api_cache.h"
#include "serve/api_impl.h"
#include "serve/live.h"

struct api *api_new(const struct api_options *o)
{
    struct api *a = MEM_NEW(struct api);
    *a = (struct api){.o = *o, .service = o->service, .started_s = api_now_s()};
    if (o->loop) a->live = live_new(o->loop, a);
    cpu_name(a->cpu, sizeof a->cpu);
    return a;
}

void api_free(struct api **a)
{
    if (!*a) return;
    api_cache_free(*a);
    live_free(&(*a)->live);
    mem_free(*a);
    *a = NULL;
}

void api_drain(struct api *a)
{
    if (a->live) live_end(a->live);
}

int64_t api_now_s(void)
{
    return (int64_t)time(NULL);
}

void api_answer(struct http_exchange *x, int status, struct buf *json)
{
    if (json->err) {
        http_error(x, 500, "server_error", "the answer could not be written: %s", err_text(json->err));
    } else {
        http_answer(x, status, API_JSON, buf_str(json), json->len);
    }
    buf_clear(json);
}

bool api_is_ready(struct api *a, struct http_exchange *x, struct service_model *out)
{
    service_model(a->service, 0, out);
    bool is_asleep = out->state == SERVICE_INSTALLED || out->state == SERVICE_UNLOADING;
    if (out->state == SERVICE_READY || is_asleep) return true; /* the next request wakes it */
    bool has_failed = out->state == SERVICE_MODEL_FAILED;
    http_error(x, 503, "unavailable_error", "%s", has_failed ? out->error : "Loading model");
    return false;
}
