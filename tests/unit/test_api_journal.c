/* GET /journal before a real server: pages of the last requests, one's story, and queries that mean nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "serve/api_impl.h"
#include "serve/api_journal.h"
#include "support/http_world.h"
#include "watch/journal.h"

struct world {
    struct http_world http;
    struct api api;
    struct journal *journal;
    int fd;
    struct buf buf;
};

/* --- What the route needs of others -------------------------------------------------------------------- */

/* The journal, and a disk that has request 3000 besides. */
bool service_journal_find(struct service *s, uint64_t id, struct journal_record *out, char *model,
                          size_t model_max)
{
    const struct journal *j = ((struct world *)(void *)s)->journal;
    const struct journal_record *r = j ? journal_find(j, id) : NULL;
    if (!r && id != 3000) return false;
    *out = r ? *r : (struct journal_record){.id = id, .source = -1, .miss = -1, .quiet = -1, .error = -1};
    snprintf(model, model_max, "%s", r ? journal_model_name(j, r->model) : "from disk");
    return true;
}

void api_answer(struct http_exchange *x, int status, struct buf *json)
{
    assert_int_equal(json->err, OK);
    http_answer(x, status, API_JSON, buf_str(json), json->len);
    buf_clear(json);
}

/* --- A server with one client -------------------------------------------------------------------------- */

static void on_request(void *ctx, struct http_exchange *x)
{
    struct world *w = ctx;
    api_journal(&w->api, x);
}

static int set_up(void **state)
{
    struct world *w = test_calloc(1, sizeof *w);
    struct errmsg msg;
    struct http_server_options o = {.on_request = on_request, .token = "", .origins = "", .ctx = w};
    w->journal = journal_new(1500);
    w->api = (struct api){.o = {.journal = w->journal}, .service = (struct service *)(void *)w};
    buf_init(&w->buf, (size_t)16 << 20);
    assert_int_equal(uv_loop_init(&w->http.loop), 0);
    assert_int_equal(http_server_new(&w->http.loop, &o, &w->http.server, &msg), OK);
    assert_int_equal(http_listen_tcp(w->http.server, "127.0.0.1:0", &w->http.port, &msg), OK);
    w->fd = http_world_connect(&w->http);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    close(w->fd);
    http_server_free(&w->http.server);
    http_world_close(&w->http);
    journal_free(&w->journal);
    buf_clear(&w->buf);
    test_free(w);
    return 0;
}

/* The answer's body, which the caller frees. */
static struct json_value *get(struct world *w, const char *query, int status)
{
    char request[256];
    struct errmsg msg;
    struct json_value *v = NULL;
    snprintf(request, sizeof request, "GET /journal%s HTTP/1.1\r\nHost: localhost\r\n\r\n", query);
    struct http_reply reply = http_world_ask(&w->http, w->fd, &w->buf, request);
    if (reply.status != status) fail_msg("%s: %d, %s", query, reply.status, reply.body);
    if (json_read(reply.body, reply.body_len, &v, &msg)) fail_msg("%s: %s", query, msg.text);
    return v;
}

static void add(struct world *w, uint64_t id, int8_t priority)
{
    struct journal_record r = {.id = id,
                               .at_us = (int64_t)id * 1000,
                               .priority = priority,
                               .source = -1,
                               .miss = -1,
                               .quiet = -1,
                               .error = -1,
                               .stop = -1,
                               .total_ms = 5,
                               .model = journal_model(w->journal, "qwen")};
    journal_add(w->journal, &r);
}

static int64_t id_of(const struct json_value *v)
{
    int64_t id = 0;
    assert_true(json_get_int(json_get(v, "id"), &id));
    return id;
}

static void assert_page(struct world *w, const char *query, size_t n, int64_t first, int64_t last)
{
    struct json_value *v = get(w, query, 200);
    const struct json_value *list = json_get(v, "requests");
    assert_true(json_is_array(list));
    if (json_count(list) != n) fail_msg("%s: %zu requests", query, json_count(list));
    if (n > 0) {
        assert_int_equal(id_of(json_at(list, 0)), first);
        assert_int_equal(id_of(json_at(list, n - 1)), last);
        assert_string_equal(json_get_str(json_get(json_at(list, 0), "model"), NULL), "qwen");
        assert_null(json_get(json_at(list, 0), "story"));
    }
    json_read_free(&v);
}

static void test_pages(void **state)
{
    struct world *w = *state;
    assert_page(w, "", 0, 0, 0);
    for (uint64_t id = 1; id <= 1200; id++) add(w, id, 1);
    add(w, 1202, 1);
    add(w, 1201, 1); /* ended after the one that came after it */
    assert_page(w, "", 50, 1201, 1153);
    assert_page(w, "?n=2", 2, 1201, 1202);
    assert_page(w, "?n=2&before=1202", 2, 1200, 1199);
    assert_page(w, "?before=1202&n=2", 2, 1200, 1199);
    assert_page(w, "?before=3", 2, 2, 1);
    assert_page(w, "?before=1", 0, 0, 0);
    assert_page(w, "?before=5000", 0, 0, 0);
    assert_page(w, "?n=1000", 1000, 1201, 203);
}

static void assert_one(struct world *w, const char *query, int64_t id, const char *model)
{
    struct json_value *v = get(w, query, 200);
    assert_int_equal(id_of(v), id);
    assert_string_equal(json_get_str(json_get(v, "model"), NULL), model);
    const struct json_value *story = json_get(v, "story");
    assert_true(json_count(story) >= 2);
    for (size_t i = 0; i < json_count(story); i++) {
        size_t len = 0;
        const char *sentence = json_get_str(json_at(story, i), &len);
        assert_true(len > 10 && sentence[len - 1] == '.' && !strchr(sentence, '\n'));
    }
    json_read_free(&v);
}

static void assert_fault(struct world *w, const char *query, int status, const char *says)
{
    struct json_value *v = get(w, query, status);
    const char *message = json_get_str(json_get(json_get(v, "error"), "message"), NULL);
    if (!message || !strstr(message, says)) fail_msg("%s: %s", query, message ? message : "no message");
    assert_null(strchr(message, '\n'));
    json_read_free(&v);
}

static void test_one(void **state)
{
    struct world *w = *state;
    assert_fault(w, "?id=last", 404, "no request yet");
    assert_fault(w, "?id=1", 404, "request 1 is not kept");
    add(w, 1, 3);
    assert_one(w, "?id=last", 1, "qwen"); /* nobody asked, but it is all there is */
    add(w, 2, 0);
    add(w, 3, 1);
    add(w, 4, 2);
    add(w, 5, 3);
    assert_one(w, "?id=last", 3, "qwen");
    assert_one(w, "?id=5", 5, "qwen");
    assert_one(w, "?id=3000", 3000, "from disk");
    assert_fault(w, "?id=6", 404, "request 6 is not kept");
}

static void test_bad_queries(void **state)
{
    struct world *w = *state;
    add(w, 1, 1);
    static const char *const ns[] = {"?n=", "?n=0",  "?n=1001", "?n=-1", "?n=1x", "?n=99999999999999999999",
                                     "?n",  "?n=+1", "?n=1&n="};
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) assert_fault(w, ns[i], 400, "n is a number from 1");
    assert_fault(w, "?id=", 400, "id is a request's id");
    assert_fault(w, "?id=lastly", 400, "id is a request's id");
    assert_fault(w, "?id=0", 400, "id is a request's id");
    assert_fault(w, "?id=9223372036854775808", 400, "id is a request's id");
    assert_fault(w, "?before=x", 400, "before is a request's id");
    assert_fault(w, "?x=1", 400, "the query is");
    assert_fault(w, "?=", 400, "the query is");
    assert_fault(w, "?&", 400, "the query is");
    assert_fault(w, "?last", 400, "the query is");
    assert_fault(w, "?id=9223372036854775807", 404, "not kept");
}

static void test_no_journal(void **state)
{
    struct world *w = *state;
    journal_free(&w->journal);
    w->api.o.journal = NULL;
    assert_page(w, "", 0, 0, 0);
    assert_fault(w, "?id=last", 404, "no request");
    assert_fault(w, "?id=7", 404, "not kept");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_pages), TEST(test_one), TEST(test_bad_queries),
                                       TEST(test_no_journal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
