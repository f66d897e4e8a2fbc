/* Models on other machines: requests, the queue, connections. What goes wrong is in test_remote_faults.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "support/remote_world.h"

static const struct remote_options defaults;

static void answers_in_each_api(void **state)
{
    static const char *const apis[] = {"openai", "llama", "ollama"};
    (void)state;
    for (size_t i = 0; i < sizeof apis / sizeof *apis; i++) {
        struct remote_world w;
        struct remote_call c = {0};
        remote_world_open(&w, apis[i], 1, &defaults);
        remote_call_make(&w, &c, "hello");
        assert_int_equal(c.report.outcome, REMOTE_DONE);
        assert_int_equal(c.report.stop, REMOTE_STOP_EOG);
        assert_string_equal(c.text, "t0 t1 t2 ");
        assert_int_equal(c.report.n_prompt, 7);
        assert_int_equal(c.report.n_generated, 3);
        assert_int_equal(c.report.server, 0);
        assert_int_equal(c.report.n_attempts, 1);
        assert_int_equal(c.n_prepared, 1);
        assert_true(c.traits.is_known);
        assert_string_equal(model_server_prompt(w.servers[0], 0), "hello");
        remote_world_close(&w);
    }
}

static void nothing_is_sent_before_the_first_request(void **state)
{
    struct remote_world w;
    struct model_counts counts;
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 2, &defaults);
    usleep(50000);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_connections, 0);
    remote_state(w.remote, &now);
    assert_int_equal(now.n_servers, 2);
    assert_int_equal(now.servers[1].health, SERVER_NEW);
    remote_world_close(&w);
}

static void connections_are_kept(void **state)
{
    struct remote_world w;
    struct model_counts counts;
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    for (int i = 0; i < 20; i++) {
        struct remote_call c = {0};
        remote_call_make(&w, &c, "again");
        assert_int_equal(c.report.outcome, REMOTE_DONE);
    }
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_connections, 1);
    assert_int_equal(counts.n_completions, 20);
    assert_int_equal(counts.n_others, 1); /* what it has is asked once */
    remote_state(w.remote, &now);
    assert_int_equal(now.n_connects, 1);
    assert_int_equal(now.servers[0].health, SERVER_UP);
    assert_int_equal(now.servers[0].n_connections, 1);
    remote_world_close(&w);
}

static void idle_connections_are_closed(void **state)
{
    const struct remote_options o = {.idle_s = 0.1};
    struct remote_world w;
    struct model_counts counts;
    struct remote_call c = {0}, again = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &o);
    remote_call_make(&w, &c, "once");
    usleep(30000);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_open, 1);
    usleep(150000);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_open, 0);
    remote_call_make(&w, &again, "twice");
    assert_int_equal(again.report.outcome, REMOTE_DONE);
    remote_world_close(&w);
}

static void people_go_first(void **state)
{
    const struct remote_options o = {.n_connections = 1};
    const struct model_manner slow = {.first_ms = 50};
    static const enum remote_priority priorities[] = {REMOTE_PREFETCH, REMOTE_WARMUP, REMOTE_TYPING,
                                                      REMOTE_ASKED, REMOTE_TYPING};
    static const char *const names[] = {"prefetch", "warmup", "typing", "asked", "typing again"};
    static const char *const expected[] = {"first", "asked", "typing", "typing again", "warmup", "prefetch"};
    struct remote_world w;
    struct remote_call first = {.request.priority = REMOTE_TYPING}, calls[5];
    (void)state;
    memset(calls, 0, sizeof calls);
    remote_world_open(&w, "openai", 1, &o);
    model_server_behave(w.servers[0], &slow);
    remote_call_submit(&w, &first, "first");
    remote_world_await_running(&w, 0, 1);
    for (int i = 0; i < 5; i++) {
        calls[i].request.priority = priorities[i];
        remote_call_submit(&w, &calls[i], names[i]);
    }
    remote_call_wait(&first);
    for (int i = 0; i < 5; i++) remote_call_wait(&calls[i]);
    for (int i = 0; i < 6; i++) assert_string_equal(model_server_prompt(w.servers[0], i), expected[i]);
    remote_world_close(&w);
}

static void background_leaves_a_connection(void **state)
{
    const struct remote_options o = {.n_connections = 2};
    const struct model_manner slow = {.first_ms = 100};
    struct remote_world w;
    struct remote_call warm = {0}, prefetch[2], typed = {.request.priority = REMOTE_TYPING};
    struct model_counts counts;
    (void)state;
    memset(prefetch, 0, sizeof prefetch);
    remote_world_open(&w, "openai", 1, &o);
    remote_call_make(&w, &warm, "first");
    model_server_behave(w.servers[0], &slow);
    for (int i = 0; i < 2; i++) {
        prefetch[i].request.priority = REMOTE_PREFETCH;
        remote_call_submit(&w, &prefetch[i], "prefetch");
    }
    remote_world_await_running(&w, 0, 1);
    usleep(20000);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_running, 1);
    remote_call_make(&w, &typed, "typed");
    assert_true(remote_call_ms(&typed) < 190); /* it did not wait for the other two */
    for (int i = 0; i < 2; i++) remote_call_wait(&prefetch[i]);
    remote_world_close(&w);
}

static void who_waits_can_leave(void **state)
{
    const struct remote_options o = {.n_connections = 1};
    const struct model_manner slow = {.first_ms = 200};
    struct remote_world w;
    struct model_counts counts;
    struct remote_call first = {0}, second = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &o);
    model_server_behave(w.servers[0], &slow);
    remote_call_submit(&w, &first, "first");
    remote_world_await_running(&w, 0, 1);
    remote_call_submit(&w, &second, "second");
    int64_t start = clock_ns();
    remote_cancel(w.remote, second.job);
    remote_call_wait(&second);
    assert_true(clock_ms_since(start) < 50);
    assert_int_equal(second.report.outcome, REMOTE_CANCELLED);
    assert_int_equal(second.n_prepared, 0);
    remote_cancel(w.remote, first.job);
    remote_call_wait(&first);
    assert_int_equal(first.report.outcome, REMOTE_CANCELLED);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_completions, 1);
    remote_world_close(&w);
}

/* The server must stop to compute. */
static void server_sees_the_end(struct remote_world *w, int64_t since_ns)
{
    struct model_counts counts;
    remote_world_await_running(w, 0, 0);
    model_server_counts(w->servers[0], &counts);
    assert_int_equal(counts.n_left, 1);
    assert_true((double)(counts.left_ns - since_ns) / 1e6 < 50);
}

static void server_is_told_of_a_cancellation(void **state)
{
    const struct model_manner slow = {.n_tokens = 1000, .token_ms = 5};
    struct remote_world w;
    struct remote_call c = {.request.priority = REMOTE_TYPING};
    (void)state;
    remote_world_open(&w, "llama", 1, &defaults);
    model_server_behave(w.servers[0], &slow);
    remote_call_submit(&w, &c, "long");
    remote_world_await_running(&w, 0, 1);
    usleep(50000);
    int64_t start = clock_ns();
    remote_cancel(w.remote, c.job);
    remote_call_wait(&c);
    assert_int_equal(c.report.outcome, REMOTE_DONE);
    assert_int_equal(c.report.stop, REMOTE_STOP_CANCEL);
    assert_true(c.n_pieces > 1);
    server_sees_the_end(&w, start);
    remote_world_close(&w);
}

static void server_is_told_of_enough(void **state)
{
    const struct model_manner slow = {.n_tokens = 1000, .token_ms = 5};
    struct remote_world w;
    struct remote_call c = {.enough_after = 2};
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &slow);
    remote_call_make(&w, &c, "long");
    assert_int_equal(c.report.outcome, REMOTE_DONE);
    assert_int_equal(c.report.stop, REMOTE_STOP_ENOUGH);
    assert_string_equal(c.text, "t0 t1 ");
    server_sees_the_end(&w, c.done_ns);
    remote_world_close(&w);
}

/* 200 requests, of which some are given up at any time. */
static void connections_are_never_too_many(void **state)
{
    const struct remote_options o = {.n_connections = 3};
    const struct model_manner slow = {.first_ms = 2, .token_ms = 1, .n_tokens = 5};
    enum { N = 200 };
    struct remote_call *calls = calloc(N, sizeof *calls);
    struct remote_world w;
    struct model_counts counts;
    int n_finished = 0;
    (void)state;
    srand(7);
    remote_world_open(&w, "openai", 2, &o);
    for (int i = 0; i < 2; i++) model_server_behave(w.servers[i], &slow);
    for (int i = 0; i < N; i++) {
        calls[i].request.priority = (enum remote_priority)(rand() % 4);
        remote_call_submit(&w, &calls[i], "some");
        if (rand() % 2) remote_cancel(w.remote, calls[rand() % (i + 1)].job);
        if (rand() % 4 == 0) usleep(2000);
    }
    for (int i = 0; i < N; i++) {
        remote_call_wait(&calls[i]);
        n_finished += calls[i].report.outcome == REMOTE_DONE;
        assert_int_not_equal(calls[i].report.outcome, REMOTE_FAILED);
    }
    assert_true(n_finished > 50);
    for (int i = 0; i < 2; i++) {
        model_server_counts(w.servers[i], &counts);
        assert_in_range(counts.n_open_max, 1, 3);
        assert_in_range(counts.n_completions, 1, N);
    }
    remote_world_close(&w);
    free(calls);
}

static void what_servers_have_can_be_asked(void **state)
{
    struct remote_world w;
    struct remote_traits traits;
    struct model_counts counts;
    struct errmsg msg = {""};
    (void)state;
    remote_world_open(&w, "llama", 1, &defaults);
    assert_int_equal(remote_learn(w.remote, &traits, &msg), OK);
    assert_true(traits.is_known && traits.has_fim);
    assert_int_equal(traits.n_ctx, 4096);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_completions, 0);
    remote_traits(w.remote, &traits);
    assert_true(traits.is_known);
    remote_world_close(&w);
}

static void learning_names_what_is_there(void **state)
{
    const struct remote_options o = {.model = "other"};
    struct remote_world w;
    struct remote_call c = {0}, again = {0};
    struct model_counts counts;
    (void)state;
    remote_world_open(&w, "openai", 1, &o);
    remote_call_make(&w, &c, "hello");
    assert_int_equal(c.report.outcome, REMOTE_FAILED);
    assert_int_equal(c.report.err, ERR_NOT_FOUND);
    assert_non_null(strstr(c.report.msg.text, "127.0.0.1:"));
    assert_non_null(strstr(c.report.msg.text, "toy"));
    remote_call_make(&w, &again, "hello");
    assert_int_equal(again.report.err, ERR_NOT_FOUND);
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_others, 1); /* that is not asked at each keystroke */
    remote_world_close(&w);
}

static void free_ends_everything(void **state)
{
    const struct remote_options o = {.n_connections = 2};
    const struct model_manner hangs = {.fault = MODEL_HANGS, .after = 1};
    struct remote_world w;
    struct remote_call calls[10];
    (void)state;
    memset(calls, 0, sizeof calls);
    remote_world_open(&w, "openai", 1, &o);
    model_server_behave(w.servers[0], &hangs);
    for (int i = 0; i < 10; i++) remote_call_submit(&w, &calls[i], "some");
    remote_world_await_running(&w, 0, 2);
    usleep(20000);
    int64_t start = clock_ns();
    remote_free(&w.remote);
    assert_true(clock_ms_since(start) < 500);
    int n_begun = 0;
    for (int i = 0; i < 10; i++) {
        remote_call_wait(&calls[i]);
        n_begun += calls[i].report.outcome == REMOTE_DONE && calls[i].report.stop == REMOTE_STOP_CANCEL;
        assert_int_not_equal(calls[i].report.outcome, REMOTE_FAILED);
    }
    assert_int_equal(n_begun, 2);
    remote_world_close(&w);
}

/* --- Many threads ------------------------------------------------------------------------------------- */

#define CALLS_PER_THREAD 50

static void *submit_and_cancel(void *arg)
{
    struct remote_world *w = arg;
    unsigned seed = 1 + (unsigned)(uintptr_t)&seed;
    for (int i = 0; i < CALLS_PER_THREAD; i++) {
        struct remote_call c = {.request.priority = (enum remote_priority)(rand_r(&seed) % 4)};
        struct remote_state now;
        remote_call_submit(w, &c, "thread");
        if (rand_r(&seed) % 3 == 0) usleep(rand_r(&seed) % 3000);
        if (rand_r(&seed) % 2) remote_cancel(w->remote, c.job);
        remote_state(w->remote, &now);
        remote_call_wait(&c);
        assert_int_not_equal(c.report.outcome, REMOTE_FAILED);
    }
    return NULL;
}

static void threads_submit_and_cancel(void **state)
{
    const struct model_manner some = {.first_ms = 1};
    struct remote_world w;
    pthread_t threads[4];
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 2, &defaults);
    for (int i = 0; i < 2; i++) model_server_behave(w.servers[i], &some);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, submit_and_cancel, &w), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    remote_state(w.remote, &now);
    assert_in_range(now.servers[0].n_asked + now.servers[1].n_asked, 50, 4 * CALLS_PER_THREAD + 10);
    remote_world_close(&w);
}

/* --- Options ------------------------------------------------------------------------------------------ */

static void refuses(const struct remote_options *o, const char *words)
{
    struct remote *r = NULL;
    struct errmsg msg = {""};
    assert_int_equal(remote_new(o, &r, &msg), ERR_ARG);
    assert_null(r);
    if (!strstr(msg.text, words)) fail_msg("\"%s\" does not say \"%s\"", msg.text, words);
    assert_null(strstr(msg.text, "hunter2"));
}

static void options_are_checked(void **state)
{
    (void)state;
    refuses(&(struct remote_options){.urls = ""}, "no server");
    refuses(&(struct remote_options){.urls = "ftp://gpu1"}, "http");
    refuses(&(struct remote_options){.urls = "http://gpu1, http://"}, "http");
    refuses(&(struct remote_options){.urls = "http://me:hunter2@gpu1"}, "key_file");
    refuses(&(struct remote_options){.urls = "http://gpu1/?key=hunter2"}, "gpu1");
    refuses(&(struct remote_options){.urls = "http://gpu1", .key = "hunter2\r\nX: y"}, "key");
    refuses(&(struct remote_options){.urls = "http://gpu1", .n_connections = -1}, "connections");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_in_each_api),
        cmocka_unit_test(nothing_is_sent_before_the_first_request),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(people_go_first),
        cmocka_unit_test(background_leaves_a_connection),
        cmocka_unit_test(who_waits_can_leave),
        cmocka_unit_test(server_is_told_of_a_cancellation),
        cmocka_unit_test(server_is_told_of_enough),
        cmocka_unit_test(connections_are_never_too_many),
        cmocka_unit_test(what_servers_have_can_be_asked),
        cmocka_unit_test(learning_names_what_is_there),
        cmocka_unit_test(free_ends_everything),
        cmocka_unit_test(threads_submit_and_cancel),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
