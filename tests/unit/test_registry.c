/* The registry of models through the service: one load for all who want it, models that go and come back,
 * roles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "store/store.h"
#include "support/model_place.h"
#include "support/service_world.h"

#define N_MODELS 3

static const char source[] =
    "static int count(const char *s)\n{\n    int n = 0;\n    for (;;) {\n        \n    }\n}\n";
#define CURSOR 72 /* at the end of the blank line */

/* A folder with models "alpha", "beta" and "gamma", which are copies, so that they can be damaged. */
struct world {
    struct service_world b;
    char dir[32], path[N_MODELS][64];
    struct store *store;
};

static void put_model(struct world *w, int i)
{
    static const char *const files[N_MODELS] = {"llama", "qwen2", "llama"};
    char from[256];
    snprintf(from, sizeof from, "%s/models/%s.gguf", FIXTURES, files[i]);
    assert_true(model_place_copy(from, w->path[i]));
}

static void open_world(struct world *w, struct service_options *o)
{
    static const char *const names[N_MODELS] = {"alpha", "beta", "gamma"};
    strcpy(w->dir, "/tmp/test_registry_XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    for (int i = 0; i < N_MODELS; i++) {
        snprintf(w->path[i], sizeof w->path[i], "%s/%s.gguf", w->dir, names[i]);
        put_model(w, i);
    }
    o->models_dir = w->dir;
    if (!o->default_model || o->default_model[0] == '/') o->default_model = "alpha";
    world_open(&w->b, o);
}

static void close_world(struct world *w)
{
    world_close(&w->b);
    for (int i = 0; i < N_MODELS; i++) unlink(w->path[i]);
    rmdir(w->dir);
}

static struct service_model model(struct world *w, const char *name)
{
    struct service_model m = {0};
    for (int32_t i = service_n_models(w->b.service) - 1; i >= 0; i--) {
        service_model(w->b.service, i, &m);
        if (strcmp(m.name, name) == 0) return m;
    }
    fail_msg("there is no model %s", name);
    return m;
}

static void wait_state(struct world *w, const char *name, enum service_state state)
{
    while (model(w, name).state != state) world_turn(&w->b);
}

static struct service_request to(const char *name)
{
    struct service_request r = request_at(source, CURSOR);
    r.model = name;
    return r;
}

static void ask(struct world *w, struct service_request r, struct answer *a)
{
    world_ask(&w->b, r, a);
}

static void ask_ok(struct world *w, const char *name, const char *says)
{
    struct answer a;
    ask(w, to(name), &a);
    world_assert_ok(&a);
    assert_string_equal(buf_str(&a.text[0]), says);
    answer_clear(&a);
}

/* ---- One load for all ---- */

#define N_ASKERS 50

static void test_one_load(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    struct answer a[N_ASKERS], alone;
    struct service_ticket *tickets[N_ASKERS];
    char client[N_ASKERS][16];
    for (int i = 0; i < N_ASKERS; i++) {
        struct service_request r = to("beta");
        snprintf(client[i], sizeof client[i], "client %d", i);
        r.client = client[i];
        tickets[i] = world_submit(&w.b, r, &a[i]);
    }
    assert_int_equal(model(&w, "beta").state, SERVICE_LOADING);
    for (int i = 0; i < N_ASKERS; i += 2) service_cancel(w.b.service, tickets[i]);
    for (int i = 1; i < N_ASKERS; i += 2) world_wait_for(&w.b, &a[i]);
    ask(&w, to("beta"), &alone);
    world_assert_ok(&alone);
    for (int i = 0; i < N_ASKERS; i++) {
        assert_int_equal(a[i].n_done, i % 2);
        if (i % 2) assert_string_equal(buf_str(&a[i].text[0]), buf_str(&alone.text[0]));
        if (i % 2) assert_string_equal(a[i].model, "beta");
        answer_clear(&a[i]);
    }
    assert_int_equal(model(&w, "beta").n_loads, 1);
    answer_clear(&alone);
    close_world(&w);
}

/* All share the error; nobody reads the file again until it has changed. */
static void test_shared_failure(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    world_wait_ready(&w.b, "alpha");
    assert_int_equal(truncate(w.path[1], 3000), 0);
    struct answer a[4];
    for (int i = 0; i < 3; i++) {
        struct service_request r = to("beta");
        r.client = (const char *[]){"x", "y", "z"}[i];
        (void)world_submit(&w.b, r, &a[i]);
    }
    for (int i = 0; i < 3; i++) {
        world_wait_for(&w.b, &a[i]);
        assert_int_equal(a[i].outcome, SERVICE_UNAVAILABLE);
        assert_non_null(strstr(a[i].message, "beta.gguf"));
        answer_clear(&a[i]);
    }
    ask(&w, to("beta"), &a[3]);
    assert_int_equal(a[3].outcome, SERVICE_UNAVAILABLE);
    answer_clear(&a[3]);
    assert_int_equal(model(&w, "beta").n_loads, 1);
    put_model(&w, 1);
    ask(&w, to("beta"), &a[3]);
    world_assert_ok(&a[3]);
    answer_clear(&a[3]);
    assert_int_equal(model(&w, "beta").n_loads, 2);
    close_world(&w);
}

static void test_load_by_hand(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    assert_true(service_load(w.b.service, "gamma"));
    assert_false(service_load(w.b.service, "delta"));
    wait_state(&w, "gamma", SERVICE_READY);
    assert_true(service_unload(w.b.service, "gamma"));
    assert_int_equal(model(&w, "gamma").state, SERVICE_UNLOADING);
    wait_state(&w, "gamma", SERVICE_INSTALLED);
    assert_true(service_unload(w.b.service, "gamma")); /* it is */
    unlink(w.path[2]);
    assert_true(service_load(w.b.service, "gamma"));
    wait_state(&w, "gamma", SERVICE_MODEL_FAILED);
    assert_true(service_load(w.b.service, "gamma")); /* asked for: tried though nothing has changed */
    assert_int_equal(model(&w, "gamma").n_loads, 3);
    close_world(&w);
}

/* ---- Going and coming back ---- */

static void test_unload_waits(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    world_wait_ready(&w.b, "alpha");
    struct answer running, later;
    world_set_gate(&w.b, true);
    (void)world_submit(&w.b, to(""), &running);
    assert_true(service_unload(w.b.service, ""));
    struct service_request r = to("");
    r.client = "other";
    (void)world_submit(&w.b, r, &later); /* waits until it has gone and come back */
    assert_int_equal(model(&w, "alpha").state, SERVICE_UNLOADING);
    world_set_gate(&w.b, false);
    world_wait_for(&w.b, &running);
    world_wait_for(&w.b, &later);
    world_assert_ok(&running);
    world_assert_ok(&later);
    assert_string_equal(buf_str(&later.text[0]), buf_str(&running.text[0]));
    assert_int_equal(model(&w, "alpha").n_loads, 2);
    answer_clear(&running);
    answer_clear(&later);
    close_world(&w);
}

static void test_idle(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    o.model_idle_s = 0.05;
    open_world(&w, &o);
    struct answer a;
    ask(&w, to(""), &a);
    world_assert_ok(&a);
    while (model(&w, "alpha").state == SERVICE_READY) {
        int64_t due = service_due_ns(w.b.service), left = due - clock_ns();
        assert_true(due > 0);
        if (left > 0) usleep((useconds_t)(left / 1000) + 1);
        service_tick(w.b.service);
    }
    wait_state(&w, "alpha", SERVICE_INSTALLED);
    ask_ok(&w, "", buf_str(&a.text[0]));
    assert_int_equal(model(&w, "alpha").n_loads, 2);
    answer_clear(&a);
    close_world(&w);
}

/* A new file under the name is taken up; the old one serves until then. */
static void test_replaced(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    struct answer a, beta;
    ask(&w, to("beta"), &beta);
    ask(&w, to(""), &a);
    assert_true(model_place_copy(w.path[1], w.path[0])); /* renamed into place */
    int64_t end = clock_ns() + (int64_t)20e9;
    while (model(&w, "alpha").n_loads < 2 && clock_ns() < end) {
        struct answer now;
        ask(&w, to(""), &now);
        world_assert_ok(&now);
        answer_clear(&now);
        usleep(100000);
    }
    wait_state(&w, "alpha", SERVICE_READY);
    ask_ok(&w, "", buf_str(&beta.text[0]));
    answer_clear(&a);
    answer_clear(&beta);
    close_world(&w);
}

static void test_lost(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    open_world(&w, &o);
    struct answer good, other, a;
    ask(&w, to(""), &good);
    ask(&w, to("beta"), &other);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(truncate(w.path[0], 2000), 0);
        ask(&w, to(""), &a);
        assert_true(a.outcome == SERVICE_ERROR || a.outcome == SERVICE_UNAVAILABLE);
        assert_non_null(strstr(a.message, "alpha"));
        answer_clear(&a);
        ask_ok(&w, "beta", buf_str(&other.text[0]));
        ask(&w, to(""), &a); /* what is there now is no model */
        assert_int_equal(a.outcome, SERVICE_UNAVAILABLE);
        answer_clear(&a);
        put_model(&w, 0);
        ask_ok(&w, "", buf_str(&good.text[0]));
    }
    answer_clear(&good);
    answer_clear(&other);
    close_world(&w);
}

/* ---- Roles ---- */

static void test_languages(void **state)
{
    (void)state;
    struct world w = {0};
    struct service_options o = world_options(&w.b);
    struct errmsg msg;
    o.languages = "python=beta, rust=gamma";
    open_world(&w, &o);
    static const char *const expected[][2] = {{"a.py", "beta"}, {"b.rs", "gamma"}, {"c.c", "alpha"}};
    for (int i = 0; i < 3; i++) {
        struct answer a;
        struct service_request r = to("");
        r.path = expected[i][0];
        ask(&w, r, &a);
        world_assert_ok(&a);
        assert_string_equal(a.model, expected[i][1]);
        answer_clear(&a);
    }
    assert_string_equal(model(&w, "beta").role, "language");
    close_world(&w);
    static const char *const wrong[] = {"python", "python=", "klingon=beta"};
    for (int i = 0; i < 3; i++) {
        struct service *s;
        o.languages = wrong[i];
        o.metrics = NULL;
        assert_int_equal(service_new(&o, &s, &msg), ERR_ARG);
        assert_null(s);
        assert_non_null(strstr(msg.text, "models.languages"));
    }
}

/* Who types is answered by the instant model; what the main one says meanwhile is there for the next key. */
static void test_instant(void **state)
{
    (void)state;
    struct world w = {0};
    struct errmsg msg;
    struct store_options store = {.dir = "", .team = "", .memory_bytes = 1 << 20};
    assert_int_equal(store_new(&store, &w.store, &msg), OK);
    struct service_options o = world_options(&w.b);
    o.default_model = "beta";
    o.instant_model = "alpha";
    o.store = w.store;
    o.prefetch_mode = SERVICE_PREFETCH_ON;
    open_world(&w, &o);
    world_wait_ready(&w.b, "alpha");
    world_wait_ready(&w.b, "beta");
    struct answer typed, asked, again;
    struct service_request r = to("");
    r.path = "a.c";
    r.document = "a.c";
    ask(&w, r, &typed);
    world_assert_ok(&typed);
    assert_string_equal(typed.model, "alpha");
    while (service_n_running(w.b.service) > 0) world_turn(&w.b); /* the main one's turn, in the background */
    ask(&w, r, &again);
    world_assert_ok(&again);
    assert_string_equal(again.model, "beta");
    assert_string_equal(again.cache, "memory");
    r.priority = SERVICE_ASKED;
    ask(&w, r, &asked);
    assert_string_equal(asked.model, "beta");
    assert_string_equal(buf_str(&asked.text[0]), buf_str(&again.text[0]));
    answer_clear(&typed);
    answer_clear(&asked);
    answer_clear(&again);
    r.priority = SERVICE_TYPING;
    assert_true(service_unload(w.b.service, "beta"));
    wait_state(&w, "beta", SERVICE_INSTALLED);
    r.priority = SERVICE_ASKED;
    ask(&w, r, &asked); /* is not in memory: the instant one answers, and the main one begins to load */
    assert_string_equal(asked.model, "alpha");
    wait_state(&w, "beta", SERVICE_READY);
    answer_clear(&asked);
    close_world(&w);
    store_free(&w.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_load),     cmocka_unit_test(test_shared_failure),
        cmocka_unit_test(test_load_by_hand), cmocka_unit_test(test_unload_waits),
        cmocka_unit_test(test_idle),         cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_lost),         cmocka_unit_test(test_languages),
        cmocka_unit_test(test_instant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
