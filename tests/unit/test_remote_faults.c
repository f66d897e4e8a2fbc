/* Models on other machines: servers that fail, are late, refuse; what is done then and within which time. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "support/remote_world.h"

static const struct remote_options defaults;
static const struct model_manner well;

static void says(const struct remote_call *c, const char *words)
{
    if (!strstr(c->report.msg.text, words)) fail_msg("\"%s\" does not say \"%s\"", c->report.msg.text, words);
}

static void fails(const struct remote_call *c, enum err err, const char *words)
{
    assert_int_equal(c->report.outcome, REMOTE_FAILED);
    assert_int_equal(c->report.err, err);
    says(c, words);
}

/* --- Another server ----------------------------------------------------------------------------------- */

/* All requests are answered although the first of two servers does this; each by the second one, or the first
 * after that had its time. Returns how many took two. */
static int survives(const struct model_manner *m, const char *api)
{
    const struct remote_options o = {.timeout_ms = 500};
    struct remote_world w;
    struct remote_call first = {0};
    int n_failed_over = 0;
    remote_world_open(&w, api, 2, &o);
    remote_call_make(&w, &first, "first");
    model_server_behave(w.servers[0], m);
    for (int i = 0; i < 6; i++) {
        struct remote_call c = {0};
        remote_call_make(&w, &c, "some");
        if (c.report.outcome != REMOTE_DONE) fail_msg("fault %d: %s", (int)m->fault, c.report.msg.text);
        assert_string_equal(c.text, "t0 t1 t2 ");
        n_failed_over += c.report.n_attempts > 1;
    }
    remote_world_close(&w);
    return n_failed_over;
}

static void another_server_is_asked(void **state)
{
    static const struct model_manner manners[] = {
        {.fault = MODEL_RESETS, .after = -1},
        {.fault = MODEL_RESETS, .after = 0},
        {.fault = MODEL_CLOSES, .after = 0},
        {.fault = MODEL_GARBAGE},
        {.fault = MODEL_LIES, .after = 0},
        {.fault = MODEL_TALKS_HTML},
        {.fault = MODEL_FLOODS, .after = 0},
        {.fault = MODEL_HANGS, .after = -1},
        {.fault = MODEL_HANGS, .after = 0},
        {.status = 500},
        {.status = 503},
        {.status = 408},
        {.status = 401},
        {.status = 404},
        {.status = 429, .headers = "Retry-After: 60\r\n"},
        {.status = 302, .headers = "Location: http://elsewhere.test/\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof manners / sizeof *manners; i++)
        assert_true(survives(&manners[i], "openai") > 0);
    assert_true(survives(&manners[2], "ollama") > 0);
}

static void a_dead_server_is_left_alone(void **state)
{
    struct remote_world w;
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 2, &defaults);
    model_server_kill(w.servers[0]);
    for (int i = 0; i < 10; i++) {
        struct remote_call c = {0};
        remote_call_make(&w, &c, "some");
        assert_int_equal(c.report.outcome, REMOTE_DONE);
        assert_int_equal(c.report.server, 1);
    }
    remote_state(w.remote, &now);
    assert_int_equal(now.servers[0].health, SERVER_DOWN);
    assert_true(now.servers[0].n_asked <= 3);
    assert_non_null(strstr(now.servers[0].error.text, "connection refused"));
    assert_int_equal(now.servers[1].health, SERVER_UP);
    remote_world_close(&w);
}

/* What has come may have been shown. */
static void nothing_is_tried_again_after_text(void **state)
{
    static const struct model_manner manners[] = {{.fault = MODEL_RESETS, .after = 1},
                                                  {.fault = MODEL_CLOSES, .after = 2},
                                                  {.fault = MODEL_LIES, .after = 2}};
    (void)state;
    for (size_t i = 0; i < sizeof manners / sizeof *manners; i++) {
        const struct remote_options o = {.timeout_ms = 500};
        const struct model_manner *m = &manners[i];
        struct remote_world w;
        struct remote_call c = {0};
        struct model_counts counts;
        int n_completions = 0;
        remote_world_open(&w, "openai", 2, &o);
        for (int k = 0; k < 2; k++) model_server_behave(w.servers[k], m);
        remote_call_make(&w, &c, "some");
        fails(&c, ERR_NETWORK, "127.0.0.1:");
        assert_true(c.report.is_partial);
        assert_true(c.text[0]);
        assert_int_equal(c.report.n_attempts, 1);
        for (int k = 0; k < 2; k++) {
            model_server_counts(w.servers[k], &counts);
            n_completions += counts.n_completions;
        }
        assert_int_equal(n_completions, 1);
        remote_world_close(&w);
    }
}

static void endless_answers_are_ended(void **state)
{
    const struct model_manner floods = {.fault = MODEL_FLOODS, .after = 1};
    struct remote_world w;
    struct remote_call c = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &floods);
    remote_call_make(&w, &c, "some");
    fails(&c, ERR_LIMIT, "longer");
    assert_true(c.report.is_partial);
    remote_world_close(&w);
}

static void answers_do_not_exceed_what_was_asked(void **state)
{
    const struct model_manner chatty = {.n_tokens = 100000};
    struct remote_world w;
    struct remote_call c = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &chatty);
    remote_call_make(&w, &c, "some");
    assert_int_equal(c.report.outcome, REMOTE_DONE);
    assert_int_equal(c.report.stop, REMOTE_STOP_LIMIT);
    assert_int_equal(c.n_pieces, 100);
    remote_world_close(&w);
}

static void another_server_is_asked_what_it_has(void **state)
{
    const struct remote_options o = {.timeout_ms = 600};
    const struct model_manner deaf = {.is_deaf = true};
    struct remote_world w;
    struct remote_call c = {0};
    (void)state;
    remote_world_open(&w, "openai", 2, &o);
    model_server_behave(w.servers[0], &deaf);
    remote_call_make(&w, &c, "some");
    assert_int_equal(c.report.outcome, REMOTE_DONE);
    assert_int_equal(c.report.server, 1);
    remote_world_close(&w);
}

/* --- The same server ---------------------------------------------------------------------------------- */

static void the_only_server_is_asked_twice(void **state)
{
    static const struct model_manner manners[] = {{.status = 500, .n_times = 1},
                                                  {.fault = MODEL_CLOSES, .after = 0, .n_times = 1},
                                                  {.fault = MODEL_GARBAGE, .n_times = 1}};
    (void)state;
    for (size_t i = 0; i < sizeof manners / sizeof *manners; i++) {
        struct remote_world w;
        struct remote_call c = {0};
        remote_world_open(&w, "openai", 1, &defaults);
        model_server_behave(w.servers[0], &manners[i]);
        remote_call_make(&w, &c, "some");
        assert_int_equal(c.report.outcome, REMOTE_DONE);
        assert_int_equal(c.report.n_attempts, 2);
        assert_int_equal(c.n_prepared, 1);
        assert_in_range((int)remote_call_ms(&c), 50, 400);
        remote_world_close(&w);
    }
}

static void but_not_for_ever(void **state)
{
    const struct model_manner broken = {.status = 500, .body = "{\"error\":\"out of memory\"}"};
    struct remote_world w;
    struct remote_call c = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &broken);
    remote_call_make(&w, &c, "some");
    fails(&c, ERR_NETWORK, "HTTP 500: out of memory");
    assert_int_equal(c.report.n_attempts, 2);
    assert_false(c.report.is_partial);
    remote_world_close(&w);
}

static void refusals_are_told(void **state)
{
    static const struct {
        int status;
        enum err err;
        const char *says;
    } cases[] = {
        {400, ERR_ARG, "as told"},
        {413, ERR_ARG, "HTTP 413"},
        {422, ERR_ARG, "HTTP 422"},
        {404, ERR_NOT_FOUND, "as told"},
        {401, ERR_DENIED, "key_file"},
        {403, ERR_DENIED, "refuses the key"},
        {302, ERR_NETWORK, "elsewhere.test"},
    };
    const struct remote_options o = {.key = "sk-secret"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct model_manner m = {.status = cases[i].status,
                                       .headers = "Location: http://elsewhere.test/?sk-secret\r\n",
                                       .body = "{\"error\":\"as told by sk-secret\"}"};
        struct remote_world w;
        struct remote_call c = {0};
        remote_world_open(&w, "openai", 1, &o);
        model_server_behave(w.servers[0], &m);
        remote_call_make(&w, &c, "some");
        fails(&c, cases[i].err, cases[i].says);
        says(&c, "127.0.0.1:");
        assert_null(strstr(c.report.msg.text, "sk-secret"));
        assert_int_equal(c.report.n_attempts, 1);
        remote_world_close(&w);
    }
}

/* --- The breaker -------------------------------------------------------------------------------------- */

static void a_dead_server_is_told_at_once(void **state)
{
    struct remote_world w;
    struct remote_call first = {0}, second = {0}, third = {0};
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    remote_call_make(&w, &first, "some");
    assert_int_equal(first.report.outcome, REMOTE_DONE);
    model_server_kill(w.servers[0]);
    remote_call_make(&w, &second, "some");
    fails(&second, ERR_NETWORK, "connection refused; is it running?");
    remote_call_make(&w, &third, "some");
    fails(&third, ERR_NETWORK, "asked again in");
    assert_true(remote_call_ms(&third) < 50);
    assert_int_equal(third.report.n_attempts, 0);

    model_server_revive(w.servers[0]);
    for (int i = 0; i < 200; i++) {
        struct remote_call c = {0};
        remote_call_make(&w, &c, "some");
        if (c.report.outcome == REMOTE_DONE) break;
        usleep(10000);
    }
    remote_state(w.remote, &now);
    assert_int_equal(now.servers[0].health, SERVER_UP);
    remote_world_close(&w);
}

/* Restarted, with something else. */
static void what_comes_back_is_asked_again(void **state)
{
    struct remote_world w;
    struct remote_call first = {0}, second = {0};
    struct remote_traits traits;
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    remote_call_make(&w, &first, "some");
    assert_string_equal(first.traits.model, "toy");
    model_server_kill(w.servers[0]);
    remote_call_make(&w, &second, "some");
    assert_int_equal(second.report.outcome, REMOTE_FAILED);
    model_server_rename(w.servers[0], "other");
    model_server_revive(w.servers[0]);
    for (int i = 0; i < 200; i++) {
        struct remote_call c = {0};
        remote_call_make(&w, &c, "some");
        remote_traits(w.remote, &traits);
        if (strcmp(traits.model, "other") == 0) break;
        usleep(10000);
    }
    assert_string_equal(traits.model, "other");
    remote_world_close(&w);
}

static void rate_limits_are_waited_for(void **state)
{
    const struct model_manner limited = {.status = 429, .headers = "Retry-After: 1\r\n", .n_times = 1};
    struct remote_world w;
    struct remote_call c = {0};
    struct remote_state now;
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &limited);
    remote_call_make(&w, &c, "some");
    assert_int_equal(c.report.outcome, REMOTE_DONE);
    assert_in_range((int)remote_call_ms(&c), 950, 1500);
    remote_state(w.remote, &now);
    assert_int_equal(now.servers[0].n_limited, 1);
    assert_int_equal(now.servers[0].n_failed, 0);
    remote_world_close(&w);
}

static void or_told_at_once_if_they_are_long(void **state)
{
    const struct model_manner limited = {.status = 503, .headers = "Retry-After: 60\r\n"};
    struct remote_world w;
    struct remote_call first = {0}, second = {0};
    struct model_counts counts;
    (void)state;
    remote_world_open(&w, "openai", 1, &defaults);
    model_server_behave(w.servers[0], &limited);
    remote_call_make(&w, &first, "some");
    fails(&first, ERR_LIMIT, "too many requests");
    assert_true(remote_call_ms(&first) < 500);
    remote_call_make(&w, &second, "some");
    fails(&second, ERR_LIMIT, "asked again in");
    model_server_counts(w.servers[0], &counts);
    assert_int_equal(counts.n_completions, 1);
    remote_world_close(&w);
}

/* --- Being late --------------------------------------------------------------------------------------- */

static void late_answers_are_asked_for_elsewhere(void **state)
{
    const struct model_manner quick = {.first_ms = 1}, slow = {.first_ms = 1000};
    struct remote_world w;
    struct remote_state now;
    struct remote_call late = {.request.document = 42};
    int home = 0;
    (void)state;
    remote_world_open(&w, "openai", 2, &defaults);
    for (int i = 0; i < 2; i++) model_server_behave(w.servers[i], &quick);
    for (int i = 0; i < 150; i++) {
        struct remote_call c = {.request.document = 42};
        remote_call_make(&w, &c, "some");
        home = c.report.server;
    }
    model_server_behave(w.servers[home], &slow);
    remote_call_make(&w, &late, "some");
    assert_int_equal(late.report.outcome, REMOTE_DONE);
    assert_true(remote_call_ms(&late) < 500);
    assert_true(late.report.was_hedged);
    assert_int_equal(late.report.n_attempts, 2);
    assert_int_equal(late.report.server, 1 - home);
    assert_string_equal(late.text, "t0 t1 t2 ");
    remote_world_await_running(&w, home, 0); /* the loser is told to stop */
    remote_state(w.remote, &now);
    assert_true(now.servers[home].n_hedged > 0);
    assert_int_equal(now.servers[home].n_failed, 0);
    remote_world_close(&w);
}

static void times_are_kept(void **state)
{
    static const struct {
        struct model_manner manner;
        double max_first_ms, max_predict_ms;
        enum remote_outcome outcome;
        bool has_text;
        int ms; /* about */
    } cases[] = {
        {{.fault = MODEL_HANGS, .after = -1}, 0, 0, REMOTE_FAILED, false, 400},
        {{.fault = MODEL_HANGS, .after = 0}, 0, 0, REMOTE_FAILED, false, 400},
        {{.fault = MODEL_HANGS, .after = 1}, 0, 0, REMOTE_DONE, true, 400},
        {{.token_ms = 60, .n_tokens = 1000}, 0, 0, REMOTE_DONE, true, 400}, /* drop by drop */
        {{.first_ms = 350}, 100, 0, REMOTE_DONE, false, 100},
        {{.token_ms = 10, .n_tokens = 1000}, 100, 100, REMOTE_DONE, true, 100},
    };
    const struct remote_options o = {.timeout_ms = 400};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct remote_world w;
        struct remote_call first = {0};
        struct remote_call c = {
            .request = {.max_first_ms = cases[i].max_first_ms, .max_predict_ms = cases[i].max_predict_ms}};
        remote_world_open(&w, "openai", 1, &o);
        remote_call_make(&w, &first, "first");
        model_server_behave(w.servers[0], &cases[i].manner);
        remote_call_make(&w, &c, "some");
        assert_int_equal(c.report.outcome, cases[i].outcome);
        assert_int_equal(c.text[0] != '\0', cases[i].has_text);
        assert_in_range((int)remote_call_ms(&c), cases[i].ms - 5, cases[i].ms + 150);
        if (cases[i].outcome == REMOTE_DONE)
            assert_int_equal(c.report.stop, REMOTE_STOP_TIME);
        else
            fails(&c, ERR_NETWORK, "no answer within");
        remote_world_await_running(&w, 0, 0);
        remote_world_close(&w);
    }
}

static void times_are_kept_in_the_queue(void **state)
{
    const struct remote_options o = {.timeout_ms = 300, .n_connections = 1};
    const struct model_manner hangs = {.fault = MODEL_HANGS, .after = 1};
    struct remote_world w;
    struct remote_call first = {0}, quick = {.request.max_first_ms = 100}, second = {0};
    (void)state;
    remote_world_open(&w, "openai", 1, &o);
    model_server_behave(w.servers[0], &hangs);
    remote_call_submit(&w, &first, "first");
    remote_world_await_running(&w, 0, 1);
    remote_call_submit(&w, &quick, "quick");
    remote_call_submit(&w, &second, "second");
    remote_call_wait(&quick);
    assert_int_equal(quick.report.outcome, REMOTE_DONE);
    assert_int_equal(quick.report.stop, REMOTE_STOP_TIME);
    assert_int_equal(quick.report.n_attempts, 0);
    assert_in_range((int)remote_call_ms(&quick), 95, 250);
    remote_call_wait(&first);
    remote_call_wait(&second);
    assert_true(remote_call_ms(&second) < 400);
    remote_world_close(&w);
}

/* A host that never answers: a listener whose queue is full. */
static void times_are_kept_for_connections(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), clients[8];
    char url[64];
    const struct remote_options o = {.urls = url, .connect_ms = 150};
    struct remote_world w = {0};
    struct remote_call c = {0};
    struct errmsg msg;
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 0), 0);
    getsockname(listener, (struct sockaddr *)&at, &len);
    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(clients[i], (struct sockaddr *)&at, sizeof at);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(remote_new(&o, &w.remote, &msg), OK);
    remote_call_make(&w, &c, "some");
    fails(&c, ERR_NETWORK, "no connection within");
    assert_true(remote_call_ms(&c) < 600);
    remote_world_close(&w);
    for (int i = 0; i < 8; i++) close(clients[i]);
    close(listener);
}

/* --- Name look-ups ------------------------------------------------------------------------------------ */

#define SLOW_HOST  "slow.test"
#define LOOK_UP_MS 500

static atomic_int n_look_ups;

/* The C library's, for all but one host; libcurl finds this one first (ENABLE_EXPORTS). */
__attribute__((visibility("default"))) int getaddrinfo(const char *restrict node,
                                                       const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict out)
{
    if (node && strcmp(node, SLOW_HOST) == 0) {
        atomic_fetch_add(&n_look_ups, 1);
        usleep(LOOK_UP_MS * 1000);
        return EAI_NONAME;
    }
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *found = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &found, sizeof real);
    return real(node, service, hints, out);
}

static void look_ups_hold_nobody_up(void **state)
{
    const struct remote_options o = {.urls = "http://" SLOW_HOST ":8000", .n_connections = 2};
    struct remote_world w = {0};
    struct errmsg msg;
    (void)state;
    assert_int_equal(remote_new(&o, &w.remote, &msg), OK);
    for (int i = 0; i < 5; i++) {
        struct remote_call c = {0};
        remote_call_submit(&w, &c, "some");
        usleep(20000);
        int64_t start = clock_ns();
        remote_cancel(w.remote, c.job);
        remote_call_wait(&c);
        assert_int_equal(c.report.outcome, REMOTE_CANCELLED);
        assert_true(clock_ms_since(start) < 50);
    }
    assert_in_range(atomic_load(&n_look_ups), 1, 2); /* else nothing was tested */
    int64_t start = clock_ns();
    remote_world_close(&w);
    assert_true(clock_ms_since(start) < 200);
    usleep((LOOK_UP_MS + 200) * 1000); /* until the last look-up has ended, and what waits for it */
}

static void look_ups_have_a_limit(void **state)
{
    const struct remote_options o = {.urls = "http://" SLOW_HOST ":8000", .connect_ms = 100};
    struct remote_world w = {0};
    struct remote_call c = {0};
    struct errmsg msg;
    (void)state;
    assert_int_equal(remote_new(&o, &w.remote, &msg), OK);
    remote_call_make(&w, &c, "some");
    fails(&c, ERR_NETWORK, SLOW_HOST ":8000: no connection within");
    assert_true(remote_call_ms(&c) < 500);
    remote_world_close(&w);
    usleep((LOOK_UP_MS + 200) * 1000);
}

/* --- Everything --------------------------------------------------------------------------------------- */

static void behave_at_random(struct remote_world *w, int server)
{
    static const struct model_manner manners[] = {
        {.fault = MODEL_RESETS, .after = -1, .n_times = 2},
        {.fault = MODEL_RESETS, .after = 1, .n_times = 2},
        {.fault = MODEL_CLOSES, .after = 1, .n_times = 2},
        {.fault = MODEL_GARBAGE, .n_times = 2},
        {.fault = MODEL_HANGS, .after = 0, .n_times = 1},
        {.status = 500, .n_times = 2},
        {.status = 400, .n_times = 2},
        {.first_ms = 3, .token_ms = 1, .n_times = 5},
        {.fault = MODEL_FLOODS, .after = 0, .n_times = 1},
        {.fault = MODEL_TALKS_HTML, .n_times = 1},
    };
    const struct model_manner *m =
        rand() % 3 ? &well : &manners[(size_t)rand() % (sizeof manners / sizeof *manners)];
    model_server_behave(w->servers[server], m);
}

static void nothing_is_left_of_many_requests(void **state)
{
    enum { N = 1000, AT_ONCE = 8 };
    const struct remote_options o = {.timeout_ms = 300};
    struct remote_call calls[AT_ONCE];
    struct remote_world w;
    struct model_counts counts;
    int n_done = 0, before = remote_world_descriptors();
    (void)state;
    srand(11);
    memset(calls, 0, sizeof calls);
    remote_world_open(&w, "openai", 3, &o);
    for (int i = 0; i < N; i++) {
        struct remote_call *c = &calls[i % AT_ONCE];
        if (c->job) remote_call_wait(c);
        n_done += c->report.outcome == REMOTE_DONE;
        *c = (struct remote_call){.request.priority = (enum remote_priority)(rand() % 4),
                                  .enough_after = rand() % 4};
        remote_call_submit(&w, c, "some");
        if (rand() % 5 == 0) remote_cancel(w.remote, c->job);
        behave_at_random(&w, rand() % 3);
    }
    for (int i = 0; i < AT_ONCE; i++) remote_call_wait(&calls[i]);
    assert_true(n_done > N / 3);
    for (int i = 0; i < 3; i++) {
        model_server_counts(w.servers[i], &counts);
        assert_true(counts.n_open_max <= 3);
    }
    remote_world_close(&w);
    assert_int_equal(remote_world_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_server_is_asked),
        cmocka_unit_test(a_dead_server_is_left_alone),
        cmocka_unit_test(nothing_is_tried_again_after_text),
        cmocka_unit_test(endless_answers_are_ended),
        cmocka_unit_test(answers_do_not_exceed_what_was_asked),
        cmocka_unit_test(another_server_is_asked_what_it_has),
        cmocka_unit_test(the_only_server_is_asked_twice),
        cmocka_unit_test(but_not_for_ever),
        cmocka_unit_test(refusals_are_told),
        cmocka_unit_test(a_dead_server_is_told_at_once),
        cmocka_unit_test(what_comes_back_is_asked_again),
        cmocka_unit_test(rate_limits_are_waited_for),
        cmocka_unit_test(or_told_at_once_if_they_are_long),
        cmocka_unit_test(late_answers_are_asked_for_elsewhere),
        cmocka_unit_test(times_are_kept),
        cmocka_unit_test(times_are_kept_in_the_queue),
        cmocka_unit_test(times_are_kept_for_connections),
        cmocka_unit_test(look_ups_hold_nobody_up),
        cmocka_unit_test(look_ups_have_a_limit),
        cmocka_unit_test(nothing_is_left_of_many_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
