/* The HTTP API before a service whose answers the test decides: shapes, statuses, streams, cancelling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "os/clock.h"
#include "serve/api.h"
#include "serve/http.h"
#include "support/fake_service.h"
#include "support/http_world.h"
#include "watch/metrics.h"

/* What the support library's service has not. */
bool service_tokenize(struct service *s, const char *model, const char *text, size_t len, bool add_bos,
                      bool parse_special, struct token_list *tokens)
{
    (void)model, (void)text, (void)add_bos, (void)parse_special;
    tokens->n = 0;
    for (size_t i = 0; i < len; i++) assert_int_equal(token_list_add(tokens, (unsigned char)text[i]), OK);
    return s->state == SERVICE_READY;
}

bool service_detokenize(struct service *s, const char *model, const int32_t *tokens, int32_t n,
                        struct buf *out)
{
    (void)model;
    for (int32_t i = 0; i < n; i++) buf_add_char(out, (char)tokens[i]);
    return s->state == SERVICE_READY;
}

int32_t service_slots(struct service *s, struct service_slot *out, int32_t max)
{
    (void)s;
    if (max > 0) out[0] = (struct service_slot){.id = 3, .n_ctx = 512, .is_processing = true};
    return 1;
}

int32_t service_n_running(const struct service *s)
{
    return s->n_waiting + 1;
}

/* The caches: what was asked of them last. */
static struct {
    int n_cleared, n_memory_cleared;
    void (*done)(void *ctx, int64_t n_deleted);
    void *ctx;
    bool is_missing; /* there are none */
} caches;

void service_cache_stats(const struct service *s, struct service_cache_stats *out)
{
    (void)s;
    *out = (struct service_cache_stats){
        .levels =
            {{.name = "memory", .is_on = true, .n_entries = 7, .n_bytes = 900, .n_asked = 8, .n_found = 6},
             {.name = "disk"}},
        .n_answers = 10,
        .found = {{"memory", 5}, {"typed", 1}},
        .missed = {{"new", 3}, {"edited", 1}},
        .n_prefetched = 4,
        .n_prefetch_used = 2};
}

bool service_cache_clear(struct service *s, void (*done)(void *ctx, int64_t n_deleted), void *ctx)
{
    (void)s;
    caches.n_cleared++;
    caches.done = done;
    caches.ctx = ctx;
    return !caches.is_missing;
}

void service_cache_clear_memory(struct service *s)
{
    (void)s;
    caches.n_memory_cleared++;
}

/* Models: what was asked for last, of those that are called "toy" or by the default's name, "". */
static struct {
    char loaded[64], unloaded[64];
} changed;

static bool note_change(const char *name, char out[64])
{
    if (*name && strcmp(name, "toy") != 0) return false;
    snprintf(out, 64, "<%s>", name);
    return true;
}

bool service_load(struct service *s, const char *name)
{
    (void)s;
    return note_change(name, changed.loaded);
}

bool service_unload(struct service *s, const char *name)
{
    (void)s;
    return note_change(name, changed.unloaded);
}

const struct governor *service_governor(const struct service *s)
{
    return (const struct governor *)s; /* only handed on to the following */
}

void governor_status(const struct governor *g, struct governor_status *out)
{
    assert_non_null(g);
    *out = (struct governor_status){.sample = {.at_ns = 1, .memory_total = 8000, .battery_percent = -1},
                                    .memory_share = 0.5,
                                    .memory_level = 0.8,
                                    .memory_of = "machine",
                                    .orders = {.n_threads = 2, .speed = 1, .background = true},
                                    .n_looks = 9,
                                    .n_actions = 1,
                                    .gave_bytes = 70,
                                    .n_events = 1,
                                    .events = {{.what = "trim", .why = "memory", .gave_bytes = 70}}};
}

/* --- A server with one client -------------------------------------------------------------------------- */

struct world {
    struct http_world http;
    struct service *service;
    struct metrics *metrics;
    struct api *api;
    int fd;
    struct buf buf;
};

static void on_request(void *ctx, struct http_exchange *x)
{
    struct world *w = ctx;
    w->http.n_requests++;
    api_handle(w->api, x);
}

static int set_up(void **state)
{
    struct world *w = test_calloc(1, sizeof *w);
    struct errmsg msg;
    w->service = fake_service_new();
    w->metrics = metrics_new();
    buf_init(&w->buf, 1 << 20);
    struct http_server_options o = {
        .on_request = on_request, .is_public = api_is_public, .token = "", .origins = "", .ctx = w};
    assert_int_equal(uv_loop_init(&w->http.loop), 0);
    w->api =
        api_new(&(struct api_options){.service = w->service, .metrics = w->metrics, .loop = &w->http.loop});
    assert_int_equal(http_server_new(&w->http.loop, &o, &w->http.server, &msg), OK);
    assert_int_equal(http_listen_tcp(w->http.server, "127.0.0.1:0", &w->http.port, &msg), OK);
    w->fd = http_world_connect(&w->http);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    if (w->fd >= 0) close(w->fd);
    http_server_free(&w->http.server);
    api_free(&w->api);
    http_world_close(&w->http);
    assert_int_equal(w->service->n_waiting, 0);
    fake_service_free(&w->service);
    metrics_free(&w->metrics);
    buf_clear(&w->buf);
    test_free(w);
    return 0;
}

static void send_request(struct world *w, const char *method, const char *path, const char *body)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_printf(&text,
               "%s %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\nContent-Length: %zu\r\n\r\n%s",
               method, path, strlen(body), body);
    http_world_send(&w->http, w->fd, text.data, text.len);
    buf_clear(&text);
}

/* Send a request that the service gets. */
static const struct service_request *submit(struct world *w, const char *path, const char *body)
{
    int before = w->service->n_submitted;
    send_request(w, "POST", path, body);
    http_world_until(&w->http, &w->service->n_submitted, before + 1);
    return &w->service->waiting[w->service->n_waiting - 1]->request;
}

static struct http_reply reply(struct world *w)
{
    return http_world_reply(&w->http, w->fd, &w->buf, false);
}

static struct http_reply ask(struct world *w, const char *method, const char *path, const char *body)
{
    send_request(w, method, path, body);
    return reply(w);
}

static void assert_holds(const struct http_reply *r, const char *part)
{
    if (!strstr(r->body, part)) fail_msg("no %s in %s", part, r->body);
}

static void assert_number(const struct json_value *object, const char *name, double expected)
{
    double x = -1;
    if (!json_get_num(json_get(object, name), &x)) fail_msg("%s is no number", name);
    assert_true(x == expected);
}

/* --- llama-server -------------------------------------------------------------------------------------- */

static void test_infill(void **state)
{
    struct world *w = *state;
    const struct service_request *q = submit(
        w, "/infill",
        "{\"id_slot\":0,\"input_prefix\":\"a\\n\",\"input_suffix\":\"\\nz\\n\",\"prompt\":\"  b\","
        "\"n_predict\":64,\"stop\":[\"END\"],\"input_extra\":[{\"text\":\"t\",\"filename\":\"f.c\"}]}");
    assert_string_equal(q->text, "a\n  b\nz\n");
    assert_int_equal(q->cursor, 5);
    assert_int_equal(q->n_files, 1);
    assert_int_equal(q->priority, SERVICE_TYPING);
    assert_null(q->on_text);
    fake_service_answer(w->service, 0, SERVICE_OK, "x\ny");
    struct http_reply r = reply(w);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: application/json"));
    assert_holds(&r, "\"content\":\"x\\ny\"");
    assert_int_equal(r.body[0], '{');
    assert_null(memchr(r.body, '\n', r.body_len));

    struct json_value *v = NULL;
    assert_int_equal(json_read(r.body, r.body_len, &v, NULL), OK);
    static const char *const NAMES[] = {
        "index",        "tokens",           "id_slot",          "stop",
        "model",        "tokens_predicted", "tokens_evaluated", "prompt",
        "has_new_line", "truncated",        "stopping_word",    "tokens_cached",
        "inline"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (!json_get(v, NAMES[i])) fail_msg("no %s", NAMES[i]);
    }
    assert_string_equal(json_get_str(json_get(v, "stop_type"), NULL), "eos");
    assert_string_equal(json_get_str(json_get(v, "prompt"), NULL), "  b");
    const struct json_value *settings = json_get(v, "generation_settings"), *timings = json_get(v, "timings");
    assert_number(settings, "n_ctx", 0);
    assert_number(settings, "n_predict", 64);
    static const char *const TIMES[] = {"cache_n",
                                        "prompt_n",
                                        "prompt_ms",
                                        "prompt_per_token_ms",
                                        "prompt_per_second",
                                        "predicted_n",
                                        "predicted_ms",
                                        "predicted_per_token_ms",
                                        "predicted_per_second"};
    for (size_t i = 0; i < sizeof TIMES / sizeof *TIMES; i++) assert_number(timings, TIMES[i], 0);
    json_read_free(&v);
}

static void test_response_fields(void **state)
{
    struct world *w = *state;
    submit(w, "/infill",
           "{\"response_fields\":[\"content\",\"timings/prompt_ms\",\"no/such\",\"truncated\",\"\",7]}");
    fake_service_answer(w->service, 0, SERVICE_OK, "\"");
    struct http_reply r = reply(w);
    assert_string_equal(r.body, "{\"content\":\"\\\"\",\"timings/prompt_ms\":0.000,\"truncated\":false}");

    const struct service_request *q = submit(w, "/infill", "{\"n_predict\":0,\"response_fields\":[\"\"]}");
    assert_int_equal(q->priority, SERVICE_WARMUP);
    assert_int_equal(q->max_tokens, 0);
    fake_service_answer(w->service, 0, SERVICE_OK, "");
    r = reply(w);
    assert_string_equal(r.body, "{}");

    r = ask(w, "POST", "/infill", "{\"response_fields\":\"content\"}");
    assert_int_equal(r.status, 400);
}

static void test_several(void **state)
{
    struct world *w = *state;
    static const char *const TEXTS[] = {"one", "two"};
    assert_int_equal(submit(w, "/infill", "{\"n_cmpl\":3}")->n_candidates, 3);
    fake_service_answer_many(w->service, 0, TEXTS, 2);
    struct http_reply r = reply(w);
    struct json_value *v = NULL;
    assert_int_equal(json_read(r.body, r.body_len, &v, NULL), OK);
    assert_int_equal(json_count(v), 2);
    assert_string_equal(json_get_str(json_get(json_at(v, 1), "content"), NULL), "two");
    assert_number(json_at(v, 1), "index", 1);
    json_read_free(&v);

    submit(w, "/v1/completions", "{\"prompt\":\"p\",\"n\":2}");
    fake_service_answer_many(w->service, 0, TEXTS, 2);
    r = reply(w);
    assert_holds(&r, "{\"index\":1,\"text\":\"two\"");
}

/* llama.vim would remember an empty content for this place; without one it drops the answer. */
static void test_superseded(void **state)
{
    struct world *w = *state;
    submit(w, "/infill", "{}");
    fake_service_answer(w->service, 0, SERVICE_SUPERSEDED, "");
    struct http_reply r = reply(w);
    assert_int_equal(r.status, 200);
    assert_holds(&r, "\"content\":\"\"");
    assert_holds(&r, "\"stop_type\":\"none\"");
    assert_holds(&r, "\"superseded\":true");

    submit(w, "/infill", "{\"response_fields\":[\"content\",\"truncated\"]}");
    fake_service_answer(w->service, 0, SERVICE_SUPERSEDED, "");
    r = reply(w);
    assert_string_equal(r.body, "{\"truncated\":false}");

    submit(w, "/v1/completions", "{\"prompt\":\"p\"}");
    fake_service_answer(w->service, 0, SERVICE_SUPERSEDED, "");
    r = reply(w);
    assert_holds(&r, "\"text\":\"\"");
    assert_holds(&r, "\"finish_reason\":\"superseded\"");

    submit(w, "/api/generate", "{\"prompt\":\"p\",\"stream\":false}");
    fake_service_answer(w->service, 0, SERVICE_SUPERSEDED, "");
    r = reply(w);
    assert_holds(&r, "\"done_reason\":\"superseded\"");
}

static void test_outcomes(void **state)
{
    struct world *w = *state;
    static const struct {
        enum service_outcome outcome;
        int status;
        const char *type;
    } CASES[] = {
        {SERVICE_SHED, 503, "unavailable_error"},
        {SERVICE_UNAVAILABLE, 503, "unavailable_error"},
        {SERVICE_BAD, 400, "invalid_request_error"},
        {SERVICE_ERROR, 500, "server_error"},
    };
    static const char *const PATHS[] = {"/infill", "/completion", "/v1/completions", "/v1/fim/completions"};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char expected[128];
        snprintf(expected, sizeof expected,
                 "{\"error\":{\"code\":%d,\"message\":\"why \\\"so\\\"\",\"type\":\"%s\"}}", CASES[i].status,
                 CASES[i].type);
        for (size_t p = 0; p < sizeof PATHS / sizeof *PATHS; p++) {
            submit(w, PATHS[p], p % 2 ? "{\"prompt\":\"p\",\"stream\":true}" : "{\"prompt\":\"p\"}");
            fake_service_answer(w->service, 0, CASES[i].outcome, "why \"so\"");
            struct http_reply r = reply(w);
            assert_int_equal(r.status, CASES[i].status);
            assert_string_equal(r.body, expected);
            assert_true(!strstr(r.head, "Retry-After: 1\r\n") == (CASES[i].outcome != SERVICE_SHED));
        }
        submit(w, "/api/generate", "{\"prompt\":\"p\"}");
        fake_service_answer(w->service, 0, CASES[i].outcome, "why");
        struct http_reply r = reply(w);
        assert_int_equal(r.status, CASES[i].status);
        assert_string_equal(r.body, "{\"error\":\"why\"}");
    }
}

/* --- Streams ------------------------------------------------------------------------------------------- */

/* Two pieces, of which the service told one while it ran. */
static struct http_reply stream(struct world *w, const char *path, const char *body)
{
    const struct service_request *q = submit(w, path, body);
    assert_non_null(q->on_text);
    q->on_text(q->ctx, "ab", 2);
    fake_service_answer(w->service, 0, SERVICE_OK, "ab\nc");
    return reply(w);
}

static void test_llama_stream(void **state)
{
    struct world *w = *state;
    struct http_reply r = stream(w, "/completion", "{\"prompt\":\"p\",\"stream\":true,\"id_slot\":2}");
    assert_non_null(strstr(r.head, "Content-Type: text/event-stream"));
    static const char START[] =
        "data: {\"index\":0,\"content\":\"ab\",\"tokens\":[],\"stop\":false,\"id_slot\":2}\n\n"
        "data: {\"index\":0,\"content\":\"\\nc\",\"tokens\":[],\"stop\":false,\"id_slot\":2}\n\n"
        "data: {\"index\":0,\"content\":\"\",\"tokens\":[],";
    assert_memory_equal(r.body, START, sizeof START - 1);
    assert_holds(&r, "\"stop\":true");
    assert_holds(&r, "\"has_new_line\":true");
    assert_null(strstr(r.body, "[DONE]"));
    assert_string_equal(r.body + r.body_len - 3, "}\n\n");
}

static void test_openai_stream(void **state)
{
    struct world *w = *state;
    static const char *const PATHS[] = {"/v1/completions", "/v1/fim/completions"};
    for (int i = 0; i < 2; i++) {
        struct http_reply r = stream(w, PATHS[i], "{\"prompt\":\"p\",\"suffix\":\"s\",\"stream\":true}");
        assert_holds(
            &r, "\"choices\":[{\"index\":0,\"text\":\"ab\",\"delta\":{\"content\":\"ab\"},\"logprobs\":null,"
                "\"finish_reason\":null}]}\n\n");
        assert_holds(&r, "\"text\":\"\\nc\"");
        assert_holds(&r, "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":0,");
        assert_string_equal(r.body + r.body_len - 14, "data: [DONE]\n\n");
    }
}

static void test_ollama_stream(void **state)
{
    struct world *w = *state;
    struct http_reply r =
        stream(w, "/api/generate", "{\"model\":\"m\",\"prompt\":\"p\",\"suffix\":\"s\",\"raw\":true}");
    assert_non_null(strstr(r.head, "Content-Type: application/x-ndjson"));
    assert_memory_equal(r.body, "{\"model\":\"m\",\"created_at\":\"20", 28);
    assert_holds(&r, "Z\",\"response\":\"ab\",\"done\":false}\n{\"model\":\"m\"");
    assert_holds(&r, "\"response\":\"\\nc\",\"done\":false}\n");
    assert_holds(&r, "\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"total_duration\":0,");
    assert_int_equal(r.body[r.body_len - 1], '\n');
}

/* The status is out: only the last object can tell. */
static void test_error_in_stream(void **state)
{
    struct world *w = *state;
    const struct service_request *q = submit(w, "/completion", "{\"prompt\":\"p\",\"stream\":true}");
    q->on_text(q->ctx, "a", 1);
    fake_service_answer(w->service, 0, SERVICE_ERROR, "why");
    struct http_reply r = reply(w);
    assert_int_equal(r.status, 200);
    assert_holds(&r, "data: {\"error\":{\"code\":500,\"message\":\"why\",\"type\":\"server_error\"}}\n\n");

    q = submit(w, "/v1/completions", "{\"prompt\":\"p\",\"stream\":true}");
    q->on_text(q->ctx, "a", 1);
    fake_service_answer(w->service, 0, SERVICE_SUPERSEDED, "");
    r = reply(w);
    assert_holds(&r, "\"finish_reason\":\"superseded\"");
    assert_holds(&r, "data: [DONE]");
}

static void test_abort(void **state)
{
    struct world *w = *state;
    for (int has_begun = 0; has_begun < 2; has_begun++) {
        const struct service_request *q = submit(w, "/completion", "{\"prompt\":\"p\",\"stream\":true}");
        if (has_begun) q->on_text(q->ctx, "a", 1);
        close(w->fd);
        http_world_until(&w->http, &w->service->n_cancelled, has_begun + 1);
        assert_int_equal(w->service->n_waiting, 0);
        w->fd = http_world_connect(&w->http);
    }
}

/* --- The other dialects -------------------------------------------------------------------------------- */

static void test_openai(void **state)
{
    struct world *w = *state;
    const struct service_request *q =
        submit(w, "/v1/completions", "{\"prompt\":\"<PRE>p\",\"max_tokens\":9}");
    assert_non_null(q->prompt);
    assert_int_equal(q->prompt_len, 6);
    assert_int_equal(q->max_tokens, 9);
    fake_service_answer(w->service, 0, SERVICE_OK, "x");
    struct http_reply r = reply(w);
    assert_memory_equal(r.body, "{\"id\":\"cmpl-", 12);
    assert_holds(&r, "\"object\":\"text_completion\"");
    assert_holds(&r, "\"model\":\"toy\",\"choices\":[{\"index\":0,\"text\":\"x\",\"logprobs\":null,"
                     "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,"
                     "\"total_tokens\":0,");

    q = submit(w, "/v1/completions",
               "{\"prompt\":\"p\",\"suffix\":\"s\",\"document\":\"d.c\",\"priority\":\"asked\"}");
    assert_string_equal(q->text, "ps");
    assert_int_equal(q->cursor, 1);
    assert_string_equal(q->document, "d.c");
    assert_int_equal(q->priority, SERVICE_ASKED);
    fake_service_answer(w->service, 0, SERVICE_OK, "x");
    reply(w);

    q = submit(w, "/v1/fim/completions", "{\"prompt\":\"p\",\"suffix\":null}");
    assert_string_equal(q->text, "p");
    fake_service_answer(w->service, 0, SERVICE_OK, "x");
    r = reply(w);
    assert_holds(&r, "\"message\":{\"role\":\"assistant\",\"content\":\"x\"}");
}

static void test_tabby(void **state)
{
    struct world *w = *state;
    const struct service_request *q = submit(
        w, "/v1/completions",
        "{\"language\":\"c\",\"segments\":{\"prefix\":\"p\",\"suffix\":\"s\",\"filepath\":\"a/b.c\","
        "\"declarations\":[{\"filepath\":\"d.h\",\"body\":\"decl\"}],"
        "\"relevant_snippets_from_changed_files\":[{\"filepath\":\"c.c\",\"body\":\"ch\",\"score\":1}]},"
        "\"user\":\"u\",\"temperature\":0.1,\"mode\":\"standard\"}");
    assert_string_equal(q->text, "ps");
    assert_string_equal(q->path, "a/b.c");
    assert_string_equal(q->document, "a/b.c");
    assert_int_equal(q->n_files, 2);
    fake_service_answer(w->service, 0, SERVICE_OK, "x");
    struct http_reply r = reply(w);
    assert_memory_equal(r.body, "{\"id\":\"cmpl-", 12);
    assert_holds(&r, "\"choices\":[{\"index\":0,\"text\":\"x\"}],\"mode\":\"standard\"");

    static const struct {
        const char *body;
        enum service_event event;
    } EVENTS[] = {
        {"{\"type\":\"view\",\"completion_id\":\"x\",\"choice_index\":0}", SERVICE_SHOWN},
        {"{\"type\":\"select\",\"select_kind\":\"line\"}", SERVICE_PARTLY_ACCEPTED},
        {"{\"type\":\"select\"}", SERVICE_ACCEPTED},
        {"{\"type\":\"dismiss\"}", SERVICE_DISMISSED},
    };
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ask(w, "POST", "/v1/events", EVENTS[i].body).status, 200);
        assert_int_equal(w->service->n_notes, i + 1);
        assert_int_equal(w->service->event, EVENTS[i].event);
    }
    assert_int_equal(ask(w, "POST", "/v1/events", "{\"type\":\"other\"}").status, 200);
    assert_int_equal(ask(w, "POST", "/v1/events", "[]").status, 200);
    assert_int_equal(ask(w, "POST", "/v1/events", "{").status, 400);
    assert_int_equal(w->service->n_notes, 4);
}

static void test_ollama(void **state)
{
    struct world *w = *state;
    const struct service_request *q = submit(w, "/api/generate",
                                             "{\"model\":\"m\",\"prompt\":\"p\",\"stream\":false,\"options\":"
                                             "{\"num_predict\":5,\"temperature\":0.5,"
                                             "\"stop\":[\"x\"]}}");
    assert_int_equal(q->max_tokens, 5);
    assert_true(q->sampling.temperature == 0.5f);
    assert_int_equal(q->n_stops, 1);
    assert_int_equal(q->prompt_len, 1);
    fake_service_answer(w->service, 0, SERVICE_OK, "x");
    struct http_reply r = reply(w);
    assert_holds(&r, "\"response\":\"x\",\"done\":true,\"done_reason\":\"stop\"");

    /* A client that wants the model loaded. */
    q = submit(w, "/api/generate", "{\"model\":\"m\",\"stream\":false}");
    assert_int_equal(q->priority, SERVICE_WARMUP);
    fake_service_answer(w->service, 0, SERVICE_OK, "");
    r = reply(w);
    assert_holds(&r, "\"response\":\"\",\"done\":true,\"done_reason\":\"load\"");

    r = ask(w, "POST", "/api/generate", "{\"prompt\":3}");
    assert_int_equal(r.status, 400);
    assert_string_equal(r.body, "{\"error\":\"\\\"prompt\\\" must be a string, but is a number\"}");
    r = ask(w, "GET", "/api/tags", "");
    assert_holds(&r, "{\"models\":[{\"name\":\"toy\",\"model\":\"toy\"");
    r = ask(w, "POST", "/api/show", "{\"model\":\"toy:latest\"}");
    assert_holds(&r, "\"capabilities\":[\"completion\"]");
    assert_int_equal(ask(w, "POST", "/api/show", "nonsense").status, 400);
    assert_int_equal(ask(w, "POST", "/api/chat", "{}").status, 501);
}

/* --- The rest ------------------------------------------------------------------------------------------ */

static void test_bad_bodies(void **state)
{
    struct world *w = *state;
    static const char *const BODIES[] = {"", "{", "[]", "\"x\"", "null", "{\"prompt\":\"a\"} x"};
    for (size_t i = 0; i < sizeof BODIES / sizeof *BODIES; i++) {
        struct http_reply r = ask(w, "POST", "/infill", BODIES[i]);
        assert_int_equal(r.status, 400);
        assert_holds(&r, "\"type\":\"invalid_request_error\"");
        r = ask(w, "POST", "/api/generate", BODIES[i]);
        assert_int_equal(r.status, 400);
        assert_memory_equal(r.body, "{\"error\":\"the body ", 19);
        assert_int_equal(ask(w, "POST", "/tokenize", BODIES[i]).status, 400);
        assert_int_equal(ask(w, "POST", "/detokenize", BODIES[i]).status, 400);
    }
    struct http_reply r = ask(w, "POST", "/completion", "{}");
    assert_int_equal(r.status, 400);
    assert_holds(&r, "\\\"prompt\\\" is missing");
    r = ask(w, "POST", "/v1/completions", "{\"segments\":7}");
    assert_int_equal(r.status, 400);
    assert_int_equal(w->service->n_submitted, 0);
}

static void test_health(void **state)
{
    struct world *w = *state;
    struct http_reply r = ask(w, "GET", "/health", "");
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "{\"status\":\"ok\"}");
    assert_int_equal(ask(w, "GET", "/v1/health", "").status, 200);
    w->service->state = SERVICE_LOADING;
    r = ask(w, "GET", "/health", "");
    assert_int_equal(r.status, 503);
    assert_string_equal(
        r.body, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}");
    assert_int_equal(ask(w, "POST", "/tokenize", "{\"content\":\"a\"}").status, 503);
    w->service->state = SERVICE_MODEL_FAILED;
    w->service->error = "no model: run `inline model pull`";
    r = ask(w, "GET", "/v1/health", "");
    assert_int_equal(r.status, 503);
    assert_holds(&r, "inline model pull");
}

static void test_tokens(void **state)
{
    struct world *w = *state;
    struct http_reply r = ask(w, "POST", "/tokenize", "{\"content\":\"ab\"}");
    assert_string_equal(r.body, "{\"tokens\":[97,98]}");
    r = ask(w, "POST", "/tokenize", "{\"content\":\"a\\u00e9\",\"with_pieces\":true}");
    assert_string_equal(r.body, "{\"tokens\":[{\"id\":97,\"piece\":\"a\"},{\"id\":195,\"piece\":[195]},"
                                "{\"id\":169,\"piece\":[169]}]}");
    r = ask(w, "POST", "/detokenize", "{\"tokens\":[97,98]}");
    assert_string_equal(r.body, "{\"content\":\"ab\"}");
    assert_int_equal(ask(w, "POST", "/detokenize", "{\"tokens\":\"ab\"}").status, 400);
    assert_int_equal(ask(w, "POST", "/tokenize", "{\"content\":1}").status, 400);
}

static void test_metrics(void **state)
{
    struct world *w = *state;
    struct http_reply r = ask(w, "GET", "/metrics", "");
    assert_holds(&r, "# TYPE inline_requests_total counter\n");
    assert_null(strstr(r.body, "llamacpp"));
    r = ask(w, "GET", "/metrics?names=llamacpp", "");
    assert_non_null(strstr(r.head, "Content-Type: text/plain; version=0.0.4"));
    assert_holds(&r, "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 0\n");
    assert_holds(&r, "\nllamacpp:predicted_tokens_seconds 0\n");
    assert_holds(&r, "\nllamacpp:requests_processing 1\n");
    assert_holds(&r, "\nllamacpp:requests_deferred 0\n");
    r = ask(w, "GET", "/slots", "");
    assert_holds(&r, "[{\"id\":3,\"n_ctx\":512,\"is_processing\":true,");
    r = ask(w, "GET", "/props", "");
    assert_holds(&r, "\"default_generation_settings\":{\"n_ctx\":0}");
    assert_holds(&r, "\"total_slots\":1");
}

static void test_cache_stats(void **state)
{
    struct world *w = *state;
    struct json_value *root = NULL;
    struct http_reply r = ask(w, "GET", "/cache", "");
    int64_t n = 0;
    double rate = 0;
    assert_int_equal(r.status, 200);
    assert_int_equal(json_read(r.body, r.body_len, &root, NULL), OK);
    const struct json_value *memory = json_get(json_get(root, "levels"), "memory");
    assert_true(json_get_int(json_get(memory, "entries"), &n) && n == 7);
    assert_true(json_get_num(json_get(memory, "hit_rate"), &rate) && rate == 0.75);
    assert_true(json_get_int(json_get(json_get(root, "missed"), "new"), &n) && n == 3);
    assert_true(json_get_num(json_get(root, "hit_rate"), &rate) && rate == 0.6);
    json_read_free(&root);
}

/* One that carries the token. */
static void send_trusted_to(struct world *w, const char *path, const char *body)
{
    struct buf text;
    struct errmsg msg;
    buf_init(&text, 1 << 16);
    assert_int_equal(http_server_set_access(w->http.server, "token", "", &msg), OK);
    buf_printf(&text,
               "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               path, strlen(body), body);
    http_world_send(&w->http, w->fd, text.data, text.len);
    buf_clear(&text);
}

static void send_trusted(struct world *w, const char *body)
{
    send_trusted_to(w, "/cache/clear", body);
}

static void test_cache_clear(void **state)
{
    struct world *w = *state;
    memset(&caches, 0, sizeof caches);
    struct http_reply r = ask(w, "POST", "/cache/clear", "{}");
    assert_int_equal(r.status, 403);
    assert_holds(&r, "\"type\":\"permission_error\"");
    assert_int_equal(caches.n_cleared, 0);

    send_trusted(w, "");
    http_world_until(&w->http, &caches.n_cleared, 1);
    caches.done(caches.ctx, 42);
    r = reply(w);
    assert_int_equal(r.status, 200);
    assert_holds(&r, "{\"deleted\":42}");

    send_trusted(w, "{\"level\":\"memory\"}");
    assert_int_equal(reply(w).status, 200);
    assert_int_equal(caches.n_memory_cleared, 1);
    assert_int_equal(caches.n_cleared, 1);

    static const char *const bad[] = {"{", "[]", "{\"level\":\"disk\"}", "{\"level\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        send_trusted(w, bad[i]);
        assert_int_equal(reply(w).status, 400);
    }
    assert_int_equal(caches.n_cleared, 1);

    caches.is_missing = true;
    send_trusted(w, "{}");
    r = reply(w);
    assert_holds(&r, "{\"deleted\":0}");
}

/* The client goes away while the cache is being emptied; or the whole server does. */
static void test_cache_clear_abandoned(void **state)
{
    struct world *w = *state;
    memset(&caches, 0, sizeof caches);
    send_trusted(w, "{}");
    http_world_until(&w->http, &caches.n_cleared, 1);
    close(w->fd);
    http_world_until_connections(&w->http, 0);
    caches.done(caches.ctx, 1);
    w->fd = http_world_connect(&w->http);
    send_trusted(w, "{}");
    http_world_until(&w->http, &caches.n_cleared, 2); /* never called back */
}

static int64_t number(const struct json_value *object, const char *key)
{
    int64_t n = -99;
    assert_true(json_get_int(json_get(object, key), &n));
    return n;
}

static void test_status(void **state)
{
    struct world *w = *state;
    struct json_value *root = NULL;
    assert_false(api_is_public("GET", "/status"));
    struct http_reply r = ask(w, "GET", "/status", "");
    assert_int_equal(r.status, 200);
    assert_int_equal(json_read(r.body, r.body_len, &root, NULL), OK);
    assert_string_equal(json_get_str(json_get(root, "version"), NULL), INLINE_VERSION);
    assert_int_equal(number(root, "pid"), getpid());
    assert_int_equal(number(root, "running"), 1);

    const struct json_value *model = json_at(json_get(root, "models"), 0);
    assert_string_equal(json_get_str(json_get(model, "name"), NULL), "toy");
    assert_string_equal(json_get_str(json_get(model, "state"), NULL), "ready");
    assert_string_equal(json_get_str(json_get(model, "role"), NULL), "main");
    assert_int_equal(number(model, "loads"), 1);
    assert_int_equal(number(model, "resident_bytes"), 400);

    const struct json_value *memory = json_get(root, "memory");
    assert_int_equal(number(memory, "kv_bytes"), 30);
    assert_int_equal(number(memory, "cache_bytes"), 900);
    assert_true(number(memory, "rss_bytes") > 0);

    const struct json_value *governor = json_get(root, "governor");
    assert_int_equal(number(governor, "looks"), 9);
    assert_int_equal(number(json_get(governor, "sample"), "memory_total"), 8000);
    assert_int_equal(number(json_get(governor, "orders"), "threads"), 2);
    const struct json_value *event = json_at(json_get(governor, "events"), 0);
    assert_string_equal(json_get_str(json_get(event, "what"), NULL), "trim");
    assert_int_equal(number(event, "gave_bytes"), 70);
    assert_int_equal(number(json_get(root, "caches"), "answers"), 10);
    json_read_free(&root);
}

/* What is measured: figures by window, memory by part, servers elsewhere. */
static void test_status_figures(void **state)
{
    static const char *const windows[] = {"1m", "15m", "24h", "all"};
    struct world *w = *state;
    struct json_value *root = NULL;
    metrics_roll(w->metrics, clock_ns());
    metrics_add(w->metrics, METRIC_REQUESTS, 0, 3);
    metrics_observe(w->metrics, METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, 0.25);
    metrics_set(w->metrics, METRIC_MEMORY_BYTES, METRIC_MEMORY_KV, 77);
    metrics_set(w->metrics, METRIC_MEMORY_MAX_BYTES, 0, 1000);
    metrics_set(w->metrics, METRIC_REMOTE_UP, metrics_label(w->metrics, METRIC_REMOTE_UP, "team"), 1);
    struct http_reply r = ask(w, "GET", "/status", "");
    assert_int_equal(r.status, 200);
    assert_int_equal(json_read(r.body, r.body_len, &root, NULL), OK);
    for (int i = 0; i < 4; i++) {
        const struct json_value *figures = json_get(json_get(root, "figures"), windows[i]);
        const struct json_value *requests = json_get(figures, "inline_requests_total");
        const struct json_value *seconds = json_get(figures, "inline_request_seconds");
        double p50 = 0;
        assert_int_equal(number(json_get(requests, "ok"), "n"), 3);
        assert_true(json_get_num(json_get(json_get(seconds, "cached"), "p50"), &p50));
        assert_true(p50 > 0.2475 && p50 < 0.2525);
        assert_null(json_get(seconds, "computed"));
    }
    const struct json_value *memory = json_get(root, "memory");
    assert_int_equal(number(memory, "max_bytes"), 1000);
    assert_int_equal(number(json_get(memory, "parts"), "kv"), 77);
    assert_int_equal(number(json_get(memory, "parts"), "heap"), 0);
    const struct json_value *server = json_at(json_get(root, "remote"), 0);
    bool is_up = false;
    assert_string_equal(json_get_str(json_get(server, "name"), NULL), "team");
    assert_true(json_get_flag(json_get(server, "up"), &is_up) && is_up);
    json_read_free(&root);
}

static void expect_changed(struct world *w, const char *path, const char *body, int status)
{
    send_trusted_to(w, path, body);
    struct http_reply r = reply(w);
    assert_int_equal(r.status, status);
    if (status == 200) assert_holds(&r, "{\"success\":true}");
}

static void test_load_and_unload(void **state)
{
    struct world *w = *state;
    memset(&changed, 0, sizeof changed);
    assert_int_equal(ask(w, "POST", "/models/load", "{\"model\":\"toy\"}").status, 403);
    assert_string_equal(changed.loaded, "");
    expect_changed(w, "/models/load", "{\"model\":\"toy\"}", 200);
    assert_string_equal(changed.loaded, "<toy>");
    assert_string_equal(changed.unloaded, "");
    expect_changed(w, "/models/unload", "{}", 200);
    assert_string_equal(changed.unloaded, "<>");
    expect_changed(w, "/models/unload", "{\"model\":\"other\"}", 404);
    expect_changed(w, "/models/load", "{\"model\":7}", 400);
    expect_changed(w, "/models/load", "[]", 400);
    expect_changed(w, "/models/load", "", 400);
}

/* A model that is being unloaded is installed, to clients that know no more states. */
static void test_unloading(void **state)
{
    struct world *w = *state;
    w->service->state = SERVICE_UNLOADING;
    struct http_reply r = ask(w, "GET", "/v1/models", "");
    assert_holds(&r, "\"value\":\"unloaded\"");
    r = ask(w, "GET", "/api/ps", "");
    assert_holds(&r, "{\"models\":[]}");
    r = ask(w, "GET", "/api/tags", "");
    assert_holds(&r, "\"name\":\"toy\"");
    r = ask(w, "GET", "/status", "");
    assert_holds(&r, "\"state\":\"unloading\"");
}

static void test_routes(void **state)
{
    struct world *w = *state;
    struct http_reply r = ask(w, "GET", "/nothing", "");
    assert_int_equal(r.status, 404);
    assert_holds(&r, "\"type\":\"not_found_error\"");
    r = ask(w, "GET", "/api/nothing", "");
    assert_int_equal(r.status, 404);
    assert_memory_equal(r.body, "{\"error\":\"", 10);
    r = ask(w, "GET", "/infill", "");
    assert_int_equal(r.status, 405);
    assert_non_null(strstr(r.head, "Allow: POST\r\n"));
    assert_int_equal(ask(w, "POST", "/v1/chat/completions", "{}").status, 501);
    r = ask(w, "GET", "/", "");
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body, "Inline ", 7);
    assert_true(api_is_public("GET", "/health"));
    assert_true(api_is_public("GET", "/v1/models"));
    assert_false(api_is_public("POST", "/infill"));
    assert_false(api_is_public("POST", "/health"));
    assert_false(api_is_public("GET", "/nothing"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_infill),        TEST(test_response_fields), TEST(test_several),
        TEST(test_superseded),    TEST(test_outcomes),        TEST(test_llama_stream),
        TEST(test_openai_stream), TEST(test_ollama_stream),   TEST(test_error_in_stream),
        TEST(test_abort),         TEST(test_openai),          TEST(test_tabby),
        TEST(test_ollama),        TEST(test_bad_bodies),      TEST(test_health),
        TEST(test_tokens),        TEST(test_metrics),         TEST(test_routes),
        TEST(test_cache_stats),   TEST(test_cache_clear),     TEST(test_cache_clear_abandoned),
        TEST(test_status),        TEST(test_status_figures),  TEST(test_load_and_unload),
        TEST(test_unloading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
