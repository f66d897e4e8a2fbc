/* See api_tabby.h. */
#include "serve/api_tabby.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_read.h"
#include "os/cpu.h"
#include "serve/api_impl.h"
#include "serve/api_run.h"

/* --- POST /v1/completions with segments ---------------------------------------------------------------- */

static enum err read_files(struct api_params *p, const struct json_value *segments, struct errmsg *msg)
{
    /* Most distant first: what only was open, what was changed, what the code at the cursor names. */
    static const char *const LISTS[] = {"relevant_snippets_from_recently_opened_files",
                                        "relevant_snippets_from_changed_files", "declarations"};
    for (size_t i = 0; i < sizeof LISTS / sizeof *LISTS; i++) {
        enum err err = api_params_files(p, segments, LISTS[i], "filepath", "body", msg);
        if (err) return err;
    }
    return OK;
}

static enum err read_segments(struct api_run *r, struct errmsg *msg)
{
    const struct json_value *segments = json_get(r->body, "segments");
    if (!json_is_object(segments)) return err_set(msg, ERR_ARG, "\"segments\" must be an object");
    struct service_request *request = &r->params.request;
    enum err err = api_params_fields(&r->params, r->body, msg);
    if (!err) err = api_params_place(&r->params, segments, "prefix", NULL, "suffix", msg);
    if (!err) err = api_params_str(segments, "filepath", &request->path, NULL, msg);
    if (!err) err = read_files(&r->params, segments, msg);
    if (request->path && !*request->document) request->document = request->path;
    r->params.is_stream = false; /* Tabby has no streams */
    return err;
}

/* What events call an answer: its id in the journal, so that they need no memory of ours. */
#define COMPLETION_ID "inline-"

static void completion_id(const struct api_run *r, const struct service_answer *a, char out[static 48])
{
    if (a->id) {
        snprintf(out, 48, COMPLETION_ID "%" PRIu64, a->id);
    } else {
        api_run_id(r, out);
    }
}

static void write_whole(const struct api_run *r, const struct service_answer *a, struct buf *out)
{
    char id[48];
    completion_id(r, a, id);
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "id", id);
    json_begin_array(&j, "choices");
    for (int32_t i = 0; i < api_run_n_candidates(a); i++) {
        const struct service_candidate *c = api_run_candidate(a, i);
        json_begin_object(&j, NULL);
        json_int(&j, "index", i);
        json_str_len(&j, "text", c->text, c->len);
        json_end_object(&j);
    }
    json_end_array(&j);
    json_str(&j, "mode", "standard");
    if (a->outcome == SERVICE_SUPERSEDED) json_flag(&j, "superseded", true);
    api_run_write_inline(&j, a, api_run_candidate(a, 0));
    json_end_object(&j);
}

const struct api_shape api_tabby_shape = {.door = METRIC_API_OPENAI,
                                          .read = read_segments,
                                          .write_whole = write_whole,
                                          .write_error = api_run_write_error,
                                          .closing = ""};

/* --- POST /v1/events ----------------------------------------------------------------------------------- */

/* The answer that an event is about; 0 if it does not say. */
static uint64_t answer_of(const struct json_value *body)
{
    const char *id = json_get_str(json_get(body, "completion_id"), NULL);
    size_t skip = strlen(COMPLETION_ID);
    return id && strncmp(id, COMPLETION_ID, skip) == 0 ? strtoull(id + skip, NULL, 10) : 0;
}

/* False for kinds of events that are not counted. */
static bool event_of(const struct json_value *body, enum service_event *out)
{
    const char *type = json_get_str(json_get(body, "type"), NULL);
    const char *select_kind = json_get_str(json_get(body, "select_kind"), NULL);
    if (!type) return false;
    if (strcmp(type, "view") == 0) {
        *out = SERVICE_SHOWN;
    } else if (strcmp(type, "dismiss") == 0) {
        *out = SERVICE_DISMISSED;
    } else if (strcmp(type, "select") == 0) {
        *out = select_kind && strcmp(select_kind, "line") == 0 ? SERVICE_PARTLY_ACCEPTED : SERVICE_ACCEPTED;
    } else {
        return false;
    }
    return true;
}

void api_tabby_events(struct api *a, struct http_exchange *x)
{
    const struct http_request *request = http_request_of(x);
    struct json_value *body = NULL;
    struct errmsg msg = {0};
    enum service_event event;
    const char *user = "";
    enum err err = json_read(request->body, request->body_len, &body, &msg);
    if (!err) err = api_params_str(body, "user", &user, NULL, &msg);
    if (err) {
        http_error(x, 400, "invalid_request_error", "%s", msg.text);
    } else {
        if (event_of(body, &event)) service_note(a->service, answer_of(body), event, 0);
        http_answer(x, 200, API_JSON, "{}", 2);
    }
    json_read_free(&body);
}

/* --- GET /v1/health ------------------------------------------------------------------------------------ */

void api_tabby_health(struct api *a, struct http_exchange *x)
{
    struct service_model m;
    if (!api_is_ready(a, x, &m)) return;
    struct buf out;
    buf_init(&out, API_ANSWER_MAX);
    struct json j;
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str(&j, "status", "ok");
    json_str(&j, "model", m.name);
    json_str(&j, "device", "cpu");
    json_str(&j, "arch", m.isa);
    json_str(&j, "cpu_info", a->cpu);
    json_int(&j, "cpu_count", cpu_count());
    json_begin_array(&j, "cuda_devices");
    json_end_array(&j);
    json_begin_object(&j, "version");
    json_str(&j, "build_date", "");
    json_str(&j, "build_timestamp", "");
    json_str(&j, "git_sha", "");
    json_str(&j, "git_describe", "inline " INLINE_VERSION);
    json_end_object(&j);
    json_end_object(&j);
    api_answer(x, 200, &out);
}
