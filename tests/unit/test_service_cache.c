/* Answers that the service need not compute: found in memory, on disk, in one that is being computed, or
 * computed ahead. What they say is what a service without caches says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "store/store.h"
#include "support/service_world.h"

static const char source[] =
    "int max(int a, int b)\n{\n    return \n}\n\nint main(void)\n{\n    return 0;\n}\n";
#define CURSOR 35 /* after "return " */

struct cached {
    struct service_world world;
    struct store *store;
    char dir[64];
};

static void open_cached(struct cached *c, int64_t memory, int64_t disk, enum service_prefetch prefetch)
{
    struct errmsg msg = {0};
    struct service_options o = world_options(&c->world);
    struct store_options s = {
        .dir = c->dir, .memory_bytes = memory, .disk_bytes = disk, .team = "", .wake = o.wake, .ctx = o.ctx};
    if (store_new(&s, &c->store, &msg)) fail_msg("%s", msg.text);
    o.store = c->store;
    o.prefetch_mode = prefetch;
    world_open(&c->world, &o);
    world_wait_ready(&c->world, NULL);
}

static void close_cached(struct cached *c)
{
    world_close(&c->world);
    store_free(&c->store);
    c->world = (struct service_world){0};
}

static int set_up(void **state)
{
    static struct cached c;
    c = (struct cached){.dir = "/tmp/test_service_cache_XXXXXX"};
    if (!mkdtemp(c.dir)) return -1;
    *state = &c;
    return 0;
}

static int tear_down(void **state)
{
    struct cached *c = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", c->dir);
    return system(command) == 0 ? 0 : -1;
}

#define MB ((int64_t)1 << 20)

/* The source with `typed` at the cursor, and a request behind it. */
struct typed {
    char text[512];
    struct service_request request;
};

static struct service_request after(struct typed *t, const char *typed, size_t len)
{
    snprintf(t->text, sizeof t->text, "%.*s%.*s%s", CURSOR, source, (int)len, typed, source + CURSOR);
    t->request = request_at(t->text, CURSOR + len);
    t->request.document = "a.c";
    t->request.extent = SERVICE_EXTENT_ANY;
    return t->request;
}

static void ask_after(struct cached *c, const char *typed, size_t len, struct answer *a)
{
    struct typed t;
    world_ask(&c->world, after(&t, typed, len), a);
    world_assert_ok(a);
}

static void test_again_and_typed(void **state)
{
    struct cached *c = *state;
    struct answer first, again, typed;
    open_cached(c, MB, 0, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &first);
    assert_string_equal(first.cache, "");
    assert_string_equal(first.cache_miss, "new");
    ask_after(c, "", 0, &again);
    assert_string_equal(again.cache, "memory");
    assert_string_equal(buf_str(&again.text[0]), buf_str(&first.text[0]));
    assert_string_equal(again.stop, first.stop);
    assert_int_equal(again.timings.n_predicted, 0);
    assert_true(first.text[0].len > 1);
    for (size_t n = 1; n < first.text[0].len; n++) {
        if ((buf_str(&first.text[0])[n] & 0xc0) == 0x80) continue; /* inside of a character */
        ask_after(c, buf_str(&first.text[0]), n, &typed);
        assert_string_equal(typed.cache, "typed");
        assert_string_equal(buf_str(&typed.text[0]), buf_str(&first.text[0]) + n);
        answer_clear(&typed);
    }
    ask_after(c, "\x01", 1, &typed); /* nobody suggested that */
    assert_string_equal(typed.cache_miss, "other");
    answer_clear(&typed);
    ask_after(c, buf_str(&first.text[0]), 1, &typed); /* taken back */
    assert_string_equal(typed.cache, "typed");
    answer_clear(&typed);
    answer_clear(&first);
    answer_clear(&again);
    close_cached(c);
}

static void test_off(void **state)
{
    struct cached *c = *state;
    struct answer a;
    open_cached(c, 0, 0, SERVICE_PREFETCH_ON);
    for (int i = 0; i < 2; i++) {
        ask_after(c, "", 0, &a);
        assert_string_equal(a.cache_miss, "off");
        answer_clear(&a);
    }
    close_cached(c);
}

/* What is warmed up has no answer, and says nothing of caches. */
static void test_warm_up(void **state)
{
    struct cached *c = *state;
    struct typed t;
    struct answer a;
    open_cached(c, MB, 0, SERVICE_PREFETCH_OFF);
    struct service_request r = after(&t, "", 0);
    r.max_tokens = 0;
    r.priority = SERVICE_WARMUP;
    for (int i = 0; i < 2; i++) {
        world_ask(&c->world, r, &a);
        assert_int_equal(a.outcome, SERVICE_OK);
        assert_string_equal(a.cache, "");
        assert_string_equal(a.cache_miss, "");
        answer_clear(&a);
    }
    close_cached(c);
}

static void test_restart(void **state)
{
    struct cached *c = *state;
    struct answer first, again;
    open_cached(c, MB, 16 * MB, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &first);
    close_cached(c);
    /* The disk or the engine, whichever is first: the answer is the same. */
    open_cached(c, MB, 16 * MB, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &again);
    assert_string_equal(buf_str(&again.text[0]), buf_str(&first.text[0]));
    assert_string_equal(again.stop, first.stop);
    assert_int_equal(again.n_tokens, first.n_tokens);
    struct service_cache_stats stats;
    service_cache_stats(c->world.service, &stats);
    assert_string_equal(stats.levels[1].name, "disk");
    answer_clear(&again);
    ask_after(c, "", 0, &again);
    assert_string_equal(again.cache, "memory");
    answer_clear(&again);
    answer_clear(&first);
    close_cached(c);
}

/* The first piece of text is out, the gate holds the engine: who typed just that waits for the rest of it. */
static void test_in_flight(void **state)
{
    struct cached *c = *state;
    struct typed t, u, v;
    struct answer whole, a, b, other;
    open_cached(c, 0, 0, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &whole);
    close_cached(c);
    open_cached(c, MB, 0, SERVICE_PREFETCH_OFF);
    (void)world_submit(&c->world, after(&t, "", 0), &a);
    while (a.streamed.len == 0 && a.n_done == 0) world_turn(&c->world);
    size_t n = a.streamed.len;
    bool is_running = a.n_done == 0;
    (void)world_submit(&c->world, after(&u, buf_str(&a.streamed), n), &b);
    (void)world_submit(&c->world, after(&v, "\x01", 1), &other);
    world_wait_for(&c->world, &other);
    world_wait_for(&c->world, &a);
    world_wait_for(&c->world, &b);
    if (is_running) {
        assert_int_equal(a.outcome, SERVICE_SUPERSEDED);
        assert_int_equal(b.outcome, SERVICE_SUPERSEDED);
    }
    assert_int_equal(other.outcome, SERVICE_OK);
    answer_clear(&a);
    answer_clear(&b);
    answer_clear(&other);
    /* And without the third. */
    (void)world_submit(&c->world, after(&t, "\x02", 1), &a);
    while (a.streamed.len == 0 && a.n_done == 0) world_turn(&c->world);
    char typed[64];
    n = (size_t)snprintf(typed, sizeof typed, "\x02%.*s", (int)a.streamed.len, buf_str(&a.streamed));
    is_running = a.n_done == 0;
    (void)world_submit(&c->world, after(&u, typed, n), &b);
    world_wait_for(&c->world, &b);
    world_assert_ok(&b);
    if (is_running && strcmp(b.cache_miss, "short") != 0) assert_string_equal(b.cache, "in-flight");
    world_wait_for(&c->world, &a);
    answer_clear(&a);
    answer_clear(&b);
    answer_clear(&whole);
    close_cached(c);
}

/* Who accepts a suggestion, and goes on to the next line, finds what is suggested there. */
static void test_prefetch(void **state)
{
    struct cached *c = *state;
    struct answer a, next;
    struct service_cache_stats stats = {0};
    open_cached(c, MB, 0, SERVICE_PREFETCH_ON);
    ask_after(c, "", 0, &a);
    while (service_n_running(c->world.service) > 0) world_turn(&c->world);
    struct buf typed;
    buf_init(&typed, 512);
    buf_add(&typed, a.text[0].data, a.text[0].len);
    ask_after(c, buf_str(&typed), typed.len, &next);
    assert_string_not_equal(next.cache, "");
    answer_clear(&next);
    buf_add_str(&typed, "\n");
    ask_after(c, buf_str(&typed), typed.len, &next);
    assert_string_equal(next.cache, "memory");
    buf_clear(&typed);
    service_cache_stats(c->world.service, &stats);
    assert_true(stats.n_prefetched >= 1);
    assert_int_equal(stats.n_prefetch_used, 1);
    assert_int_equal(stats.n_answers, 3); /* its own questions do not count */
    answer_clear(&a);
    answer_clear(&next);
    close_cached(c);
}

static struct service_request request_in(struct documents *docs, struct open_document *doc, size_t cursor)
{
    struct service_request r = request_at("", cursor);
    r.text = NULL;
    r.document = "file:///a.c";
    r.docs = docs;
    r.doc = doc;
    return r;
}

/* What is asked first in a file is computed when it is opened: at its end, or where it was worked in. */
static void test_opened(void **state)
{
    struct cached *c = *state;
    struct answer a;
    struct documents *docs = documents_new();
    open_cached(c, MB, 0, SERVICE_PREFETCH_ON);
    for (int i = 0; i < 2; i++) {
        const char *text = i == 0 ? "int a;\nint b = " : "int a;\nint b = ;\nint d;\n";
        size_t cursor = i == 0 ? strlen(text) : 15; /* the second time: where the first question was */
        assert_int_equal(documents_open(docs, "file:///a.c", "a.c", NULL, 1, text, strlen(text), NULL), OK);
        struct open_document *doc = documents_find(docs, "file:///a.c");
        struct service_request r = request_in(docs, doc, 0);
        r.on_text = NULL;
        r.on_done = NULL;
        service_prefetch_opened(c->world.service, &r);
        while (service_n_running(c->world.service) > 0) world_turn(&c->world);
        world_ask(&c->world, request_in(docs, doc, cursor), &a);
        world_assert_ok(&a);
        assert_string_equal(a.cache, "memory");
        answer_clear(&a);
        documents_close(docs, "file:///a.c");
        while (service_n_running(c->world.service) > 0) world_turn(&c->world);
    }
    close_cached(c);
    documents_free(&docs);
}

/* A daemon that is asked to leave does not wait for what nobody asked for. */
static void test_drain(void **state)
{
    struct cached *c = *state;
    struct answer a;
    open_cached(c, MB, 0, SERVICE_PREFETCH_ON);
    ask_after(c, "", 0, &a);
    service_drain(c->world.service);
    assert_int_equal(service_n_running(c->world.service), 0);
    answer_clear(&a);
    close_cached(c);
}

static void on_cleared(void *ctx, int64_t n_deleted)
{
    *(int64_t *)ctx = n_deleted;
}

static void test_clear(void **state)
{
    struct cached *c = *state;
    struct answer a;
    int64_t n_deleted = -1;
    open_cached(c, MB, 16 * MB, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &a);
    answer_clear(&a);
    assert_true(service_cache_clear(c->world.service, on_cleared, &n_deleted));
    while (n_deleted < 0) world_turn(&c->world);
    ask_after(c, "", 0, &a);
    assert_string_equal(a.cache, "");
    answer_clear(&a);
    close_cached(c);
}

/* Edits elsewhere in what the prompt showed make entries go; the question is another one anyway. */
static void test_edited(void **state)
{
    struct cached *c = *state;
    struct answer a;
    struct service_cache_stats before, stats;
    open_cached(c, MB, 0, SERVICE_PREFETCH_OFF);
    ask_after(c, "", 0, &a);
    answer_clear(&a);
    service_cache_stats(c->world.service, &before);
    assert_true(before.levels[0].n_entries >= 1);
    struct typed t;
    struct service_request r = after(&t, "", 0);
    t.text[4] = 'M'; /* int Max */
    world_ask(&c->world, r, &a);
    assert_string_equal(a.cache, "");
    answer_clear(&a);
    service_cache_stats(c->world.service, &stats);
    assert_int_equal(stats.levels[0].n_entries, before.levels[0].n_entries);
    ask_after(c, "", 0, &a);
    assert_string_equal(a.cache_miss, "edited");
    answer_clear(&a);
    close_cached(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_again_and_typed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_warm_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_flight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prefetch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clear, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_edited, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
