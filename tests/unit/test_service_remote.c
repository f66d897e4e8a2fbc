/* Models on other machines, as the service uses them: what servers are asked, what becomes of their text, and
 * who answers when they do not. The test is the servers (support/stub_remote.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "store/store.h"
#include "support/service_world.h"
#include "support/stub_remote.h"
#include "watch/metrics.h"

#define PATIENCE_MS 30

static const char source[] =
    "int max(int a, int b)\n{\n    return \n}\n\nint main(void)\n{\n    return 0;\n}\n";
#define CURSOR 35 /* after "return " */

static const struct remote_traits qwen = {.is_known = true, .model = "Qwen2.5-Coder-7B", .n_ctx = 8192};

struct elsewhere {
    struct service_world world;
    struct store *store;
    struct service_remote remote;
    char dir[64];
};

static int set_up(void **state)
{
    static struct elsewhere e;
    e = (struct elsewhere){.dir = "/tmp/test_service_remote_XXXXXX"};
    if (!mkdtemp(e.dir)) return -1;
    *state = &e;
    return 0;
}

/* main: the model on other machines; instant: the tiny local one, or none. */
static void open_world(struct elsewhere *e, bool has_instant, const struct remote_traits *traits)
{
    struct errmsg msg = {0};
    struct service_options o = world_options(&e->world);
    struct store_options s = {
        .dir = e->dir, .memory_bytes = 1 << 20, .team = "", .wake = o.wake, .ctx = o.ctx};
    if (store_new(&s, &e->store, &msg)) fail_msg("%s", msg.text);
    e->remote = (struct service_remote){
        .name = "gpu", .at = {.api = REMOTE_OPENAI, .urls = "http://gpu:8000", .model = ""}, .fim = "auto"};
    o.store = e->store;
    o.remotes = &e->remote;
    o.n_remotes = 1;
    o.patience_ms = PATIENCE_MS;
    o.default_model = "gpu";
    o.instant_model = has_instant ? WORLD_MODEL : "";
    world_open(&e->world, &o);
    world_wait_ready(&e->world, "gpu");
    if (has_instant) world_wait_ready(&e->world, "llama");
    stub_remote_set_traits(stub_remote_last(), traits);
}

static int tear_down(void **state)
{
    struct elsewhere *e = *state;
    char command[128];
    world_close(&e->world);
    store_free(&e->store);
    assert_null(stub_remote_last());
    snprintf(command, sizeof command, "rm -rf '%s'", e->dir);
    return system(command) == 0 ? 0 : -1;
}

struct typed {
    char text[512];
    struct service_request request;
};

static struct service_request after(struct typed *t, const char *typed)
{
    snprintf(t->text, sizeof t->text, "%.*s%s%s", CURSOR, source, typed, source + CURSOR);
    t->request = request_at(t->text, CURSOR + strlen(typed));
    t->request.document = "max.c";
    t->request.path = "max.c";
    return t->request;
}

static struct remote_job *job(int32_t i)
{
    return stub_remote_job(stub_remote_last(), i);
}

/* The servers' whole answer. */
static void answer_with(const char *text, enum remote_stop stop)
{
    struct remote_job *j = job(0);
    assert_non_null(j);
    bool goes_on = stub_remote_give(j, text);
    stub_remote_end(j, goes_on ? stop : REMOTE_STOP_ENOUGH);
}

static void test_answers(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    const struct remote_ask *ask = stub_remote_prepare(job(0));
    assert_false(ask->is_fim);
    char *prompt = strndup(ask->prompt, ask->prompt_len);
    assert_non_null(strstr(prompt, "<|fim_prefix|>int max(int a, int b)\n{\n    return <|fim_suffix|>\n}\n"));
    assert_string_equal(prompt + strlen(prompt) - strlen("<|fim_middle|>"), "<|fim_middle|>");
    free(prompt);
    assert_int_equal(ask->max_tokens, WORLD_TOKENS);
    assert_true(ask->sampling.temperature == 0);
    assert_int_equal(stub_remote_request(job(0))->priority, REMOTE_TYPING);
    assert_true(stub_remote_request(job(0))->document != 0);
    answer_with("a > b ? a : b;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    world_assert_ok(&a);
    assert_string_equal(buf_str(&a.text[0]), "a > b ? a : b;");
    assert_string_equal(a.model, "gpu");
    assert_string_equal(a.stop, "eog");
    assert_string_equal(a.fallback, "");
    assert_int_equal(a.timings.n_prompt, 10);
    answer_clear(&a);
}

static void test_server_fills_in(void **state)
{
    struct elsewhere *e = *state;
    struct remote_traits traits = qwen;
    struct typed t;
    struct answer a;
    traits.has_fim = true;
    open_world(e, false, &traits);
    (void)world_submit(&e->world, after(&t, ""), &a);
    const struct remote_ask *ask = stub_remote_prepare(job(0));
    assert_true(ask->is_fim);
    assert_int_equal(ask->prefix_len, CURSOR);
    assert_memory_equal(ask->prefix, source, CURSOR);
    assert_int_equal(ask->suffix_len, strlen(source) - CURSOR);
    answer_with("b;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_string_equal(buf_str(&a.text[0]), "b;");
    answer_clear(&a);
}

/* What ends an answer is decided here, and then the server is told to stop. */
static void test_stop_rules(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    struct service_request r = after(&t, "");
    r.stops[0] = (struct service_stop){"STOP", 4};
    r.n_stops = 1;
    (void)world_submit(&e->world, r, &a);
    assert_true(stub_remote_give(job(0), "a + "));
    assert_false(stub_remote_give(job(0), "bSTOP and on"));
    stub_remote_end(job(0), REMOTE_STOP_ENOUGH);
    world_wait_for(&e->world, &a);
    assert_string_equal(buf_str(&a.text[0]), "a + b");
    assert_string_equal(a.stop, "word");
    assert_string_equal(a.word, "STOP");
    answer_clear(&a);

    (void)world_submit(&e->world, after(&t, "x"), &a); /* the text after the cursor again */
    bool goes_on = stub_remote_give(job(0), ";\n}\n\nint main(void)\n{\n    return 0;\n}\nmore");
    assert_false(goes_on);
    stub_remote_end(job(0), REMOTE_STOP_ENOUGH);
    world_wait_for(&e->world, &a);
    assert_string_equal(buf_str(&a.text[0]), ";");
    answer_clear(&a);
}

static void test_caches(void **state)
{
    struct elsewhere *e = *state;
    struct remote_traits nothing = {0};
    struct typed t;
    struct answer a;
    open_world(e, false, &nothing);
    for (int i = 0; i < 2; i++) { /* nobody knows what they serve: what they say is not kept */
        (void)world_submit(&e->world, after(&t, ""), &a);
        answer_with("a;", REMOTE_STOP_EOG);
        world_wait_for(&e->world, &a);
        assert_string_equal(a.cache_miss, "new");
        answer_clear(&a);
    }
    stub_remote_set_traits(stub_remote_last(), &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    answer_with("best(a, b);", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    answer_clear(&a);
    world_ask(&e->world, after(&t, ""), &a);
    assert_string_equal(a.cache, "memory");
    assert_string_equal(buf_str(&a.text[0]), "best(a, b);");
    answer_clear(&a);
    world_ask(&e->world, after(&t, "best("), &a);
    assert_string_equal(a.cache, "typed");
    assert_string_equal(buf_str(&a.text[0]), "a, b);");
    answer_clear(&a);
    struct remote_traits other = qwen;
    strcpy(other.model, "starcoder2-15b"); /* another model is served from now on */
    stub_remote_set_traits(stub_remote_last(), &other);
    (void)world_submit(&e->world, after(&t, ""), &a);
    const struct remote_ask *ask = stub_remote_prepare(job(0));
    assert_non_null(memmem(ask->prompt, ask->prompt_len, "<fim_prefix>", 12));
    answer_with("1;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_string_equal(buf_str(&a.text[0]), "1;");
    answer_clear(&a);
}

static void test_supersedes(void **state)
{
    struct elsewhere *e = *state;
    struct typed first, second;
    struct answer a, b;
    open_world(e, false, &qwen);
    (void)world_submit(&e->world, after(&first, ""), &a);
    (void)world_submit(&e->world, after(&second, "q"), &b);
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_SUPERSEDED);
    assert_true(stub_remote_is_cancelled(job(0)));
    stub_remote_end(job(0), REMOTE_STOP_CANCEL);
    answer_with("uick;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &b);
    assert_string_equal(buf_str(&b.text[0]), "uick;");
    answer_clear(&a);
    answer_clear(&b);
}

static void test_candidates(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    struct service_request r = after(&t, "");
    r.n_candidates = 2;
    (void)world_submit(&e->world, r, &a);
    assert_true(stub_remote_prepare(job(0))->sampling.temperature == 0);
    assert_true(stub_remote_prepare(job(1))->sampling.temperature > 0);
    answer_with("a;", REMOTE_STOP_EOG);
    answer_with("b;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_int_equal(a.n_candidates, 2);
    assert_string_equal(buf_str(&a.text[1]), "b;");
    answer_clear(&a);
}

static void test_warm_up(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    struct service_request r = after(&t, "");
    r.max_tokens = 0;
    (void)world_submit(&e->world, r, &a);
    assert_int_equal(stub_remote_prepare(job(0))->max_tokens, 0);
    answer_with("never", REMOTE_STOP_LIMIT); /* an API that cannot say 0 */
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_OK);
    assert_string_equal(buf_str(&a.text[0]), "");
    answer_clear(&a);
}

static void test_fails(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    stub_remote_fail(job(0), "gpu:8000: connection refused");
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_UNAVAILABLE);
    assert_string_equal(a.message, "gpu:8000: connection refused");
    assert_int_equal(metrics_count(e->world.metrics, METRIC_ERRORS, METRIC_ERROR_REMOTE), 1);
    answer_clear(&a);
}

/* An answer that breaks off is asked for again, once, unless somebody has seen some of it. */
static void test_breaks_off(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    for (int i = 0; i < 2; i++) {
        struct service_request r = after(&t, i == 0 ? "" : "x");
        r.on_text = NULL;
        (void)world_submit(&e->world, r, &a);
        (void)stub_remote_give(job(0), "half of ");
        stub_remote_fail(job(0), "gpu:8000: its answer broke off");
        service_poll(e->world.service);
        assert_int_equal(a.n_done, 0);
        (void)stub_remote_give(job(0), "all of");
        if (i == 0) {
            (void)stub_remote_give(job(0), " it;");
            stub_remote_end(job(0), REMOTE_STOP_EOG);
        } else {
            stub_remote_fail(job(0), "gpu:8000: its answer broke off");
        }
        world_wait_for(&e->world, &a);
        assert_int_equal(a.outcome, i == 0 ? SERVICE_OK : SERVICE_UNAVAILABLE);
        if (i == 0) assert_string_equal(buf_str(&a.text[0]), "all of it;");
        answer_clear(&a);
    }
    (void)world_submit(&e->world, after(&t, "y"), &a);
    (void)stub_remote_give(job(0), "seen and ");
    service_poll(e->world.service);
    stub_remote_fail(job(0), "gpu:8000: its answer broke off");
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_OK);
    assert_memory_equal(buf_str(&a.text[0]), "seen and", 8);
    assert_string_equal(a.stop, "cancelled");
    answer_clear(&a);
    (void)world_submit(&e->world, after(&t, "y"), &a); /* that was not kept */
    answer_with("whole;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_string_equal(buf_str(&a.text[0]), "whole;");
    answer_clear(&a);
}

/* ---- A local model instead ---- */

static void test_local_after_failure(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, true, &qwen);
    for (int i = 0; i < 2; i++) {
        struct service_request r = after(&t, "");
        if (i == 1) r.priority = SERVICE_ASKED;
        (void)world_submit(&e->world, r, &a);
        stub_remote_fail(job(0), "gpu:8000: connection refused");
        world_wait_for(&e->world, &a);
        world_assert_ok(&a);
        assert_string_equal(a.model, "llama");
        assert_string_equal(a.fallback, "gpu:8000: connection refused");
        answer_clear(&a);
    }
    struct service_request r = after(&t, "");
    r.model = "gpu"; /* by name: no other will do */
    (void)world_submit(&e->world, r, &a);
    stub_remote_fail(job(0), "gpu:8000: connection refused");
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_UNAVAILABLE);
    answer_clear(&a);
    assert_int_equal(metrics_count(e->world.metrics, METRIC_REMOTE_FALLBACKS, 0), 2);
    r = request_raw("written for one model");
    (void)world_submit(&e->world, r, &a);
    stub_remote_fail(job(0), "gpu:8000: connection refused");
    world_wait_for(&e->world, &a);
    assert_int_equal(a.outcome, SERVICE_UNAVAILABLE);
    answer_clear(&a);
}

/* Turn the loop until patience is over. */
static void lose_patience(struct elsewhere *e)
{
    int64_t due = service_due_ns(e->world.service);
    assert_true(due != 0 && due <= clock_ns() + (int64_t)(PATIENCE_MS * 1e6));
    usleep((PATIENCE_MS + 1) * 1000);
    service_tick(e->world.service);
}

static void test_local_after_patience(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, true, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    lose_patience(e);
    world_wait_for(&e->world, &a);
    world_assert_ok(&a);
    assert_string_equal(a.model, "llama");
    assert_non_null(strstr(a.fallback, "gpu had not begun to answer after 30 ms"));
    answer_clear(&a);
    assert_non_null(job(0)); /* the servers go on, */
    assert_false(stub_remote_is_cancelled(job(0)));
    answer_with("slow_but_right(a, b);", REMOTE_STOP_EOG);
    service_poll(e->world.service);
    world_ask(&e->world, after(&t, "slow_"), &a); /* for what is typed next */
    assert_string_equal(a.model, "gpu");
    assert_string_equal(a.cache, "typed");
    assert_string_equal(a.fallback, "");
    assert_string_equal(buf_str(&a.text[0]), "but_right(a, b);");
    answer_clear(&a);
}

static void test_patience_is_for_the_beginning(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, true, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    assert_true(stub_remote_give(job(0), "begun"));
    service_poll(e->world.service);
    usleep((PATIENCE_MS + 1) * 1000);
    service_tick(e->world.service);
    assert_string_equal(buf_str(&a.streamed), "begun");
    stub_remote_end(job(0), REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_string_equal(a.model, "gpu");
    assert_string_equal(buf_str(&a.text[0]), "begun");
    answer_clear(&a);
    struct service_request r = after(&t, "x"); /* asked for by hand: the better answer is waited for */
    r.priority = SERVICE_ASKED;
    (void)world_submit(&e->world, r, &a);
    usleep((PATIENCE_MS + 1) * 1000);
    service_tick(e->world.service);
    answer_with("y;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    assert_string_equal(a.model, "gpu");
    answer_clear(&a);
}

/* Who types on while the servers are late does not let them compute what nobody wants. */
static void test_late_servers_are_superseded(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a, b;
    open_world(e, true, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    lose_patience(e);
    world_wait_for(&e->world, &a);
    (void)world_submit(&e->world, after(&t, "z"), &b);
    assert_true(stub_remote_is_cancelled(job(0)));
    stub_remote_end(job(0), REMOTE_STOP_CANCEL);
    answer_with("ero;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &b);
    assert_string_equal(buf_str(&b.text[0]), "ero;");
    answer_clear(&a);
    answer_clear(&b);
}

static void test_models(void **state)
{
    struct elsewhere *e = *state;
    struct service_model m;
    struct remote_server_state server;
    struct typed t;
    struct answer a;
    open_world(e, false, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    answer_with("a;", REMOTE_STOP_EOG);
    world_wait_for(&e->world, &a);
    answer_clear(&a);
    service_model(e->world.service, 0, &m);
    assert_string_equal(m.name, "gpu");
    assert_string_equal(m.api, "openai");
    assert_string_equal(m.remote_model, "Qwen2.5-Coder-7B");
    assert_string_equal(m.fim_family, "qwen");
    assert_int_equal(m.n_ctx, 8192);
    assert_int_equal(m.n_servers, 1);
    assert_true(service_model_server(e->world.service, 0, 0, &server));
    assert_string_equal(server.name, "gpu:8000");
    assert_false(service_model_server(e->world.service, 0, 1, &server));
    for (int i = 0; i < 2; i++) service_measure(e->world.service, true); /* counted once */
    assert_true(metrics_value(e->world.metrics, METRIC_REMOTE_UP, 0) == 1);
    assert_true(metrics_value(e->world.metrics, METRIC_REMOTE_CONNECTIONS, 0) == 2);
    assert_int_equal(metrics_count(e->world.metrics, METRIC_REMOTE_REQUESTS, 0), 7);
    assert_int_equal(metrics_count(e->world.metrics, METRIC_REMOTE_FAILURES, 0), 3);
    assert_string_equal(metrics_label_text(e->world.metrics, METRIC_REMOTE_UP, 0), "gpu:8000");
    struct token_list tokens = {0};
    assert_false(service_tokenize(e->world.service, "", "text", 4, false, false, &tokens));
    assert_int_equal(service_slots(e->world.service, NULL, 0), 0);
}

/* With requests under way. */
static void test_end(void **state)
{
    struct elsewhere *e = *state;
    struct typed t;
    struct answer a;
    open_world(e, true, &qwen);
    (void)world_submit(&e->world, after(&t, ""), &a);
    (void)stub_remote_give(job(0), "half");
    assert_int_equal(a.n_done, 0);
    answer_clear(&a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_server_fills_in),
        TEST(test_stop_rules),
        TEST(test_caches),
        TEST(test_supersedes),
        TEST(test_candidates),
        TEST(test_warm_up),
        TEST(test_fails),
        TEST(test_breaks_off),
        TEST(test_local_after_failure),
        TEST(test_local_after_patience),
        TEST(test_patience_is_for_the_beginning),
        TEST(test_late_servers_are_superseded),
        TEST(test_models),
        TEST(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
