/* Choosing among servers, rule by rule. What the rules do together is in test_balance_load.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <cmocka.h>

#include "remote/balance.h"

#define SECOND ((int64_t)1000000000)

static void warm_up(struct server *s, int32_t n, double ms)
{
    for (int32_t i = 0; i < n; i++) {
        server_start(s, 0);
        server_first_token(s, ms);
        server_finish(s, SERVER_END_OK, 0, 0);
    }
}

/* n servers that are up, each with 20 first tokens in `ms`. */
static void make_servers(struct server *servers, int32_t n, double ms)
{
    for (int32_t i = 0; i < n; i++) {
        server_init(&servers[i], (uint64_t)i + 1);
        warm_up(&servers[i], 20, ms);
    }
}

static const int32_t three_free[4] = {3, 3, 3, 3};

static struct balance_ask ask_for(uint64_t document, int64_t now_ns)
{
    return (struct balance_ask){.document = document, .free_connections = three_free, .now_ns = now_ns};
}

static void test_least_expected_wait(void **state)
{
    (void)state;
    struct server servers[4];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 4, 100);
    warm_up(&servers[2], 64, 20);
    struct balance_ask a = ask_for(0, SECOND);
    assert_int_equal(balance_pick(&b, servers, 4, &a), 2);
    for (int32_t i = 0; i < 8; i++) server_start(&servers[2], SECOND);
    assert_int_not_equal(balance_pick(&b, servers, 4, &a), 2);
}

static void test_waits_for_the_fast_one(void **state)
{
    (void)state;
    struct server servers[2];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 2, 50);
    warm_up(&servers[1], 64, 500);
    int32_t free_connections[2] = {0, 3};
    struct balance_ask a = {.free_connections = free_connections, .now_ns = SECOND};
    for (int32_t i = 0; i < 3; i++) server_start(&servers[0], SECOND);
    assert_int_equal(balance_pick(&b, servers, 2, &a), BALANCE_WAIT);
    for (int32_t i = 0; i < 30; i++) /* until waiting takes longer than the slow one */
        server_start(&servers[0], SECOND);
    assert_int_equal(balance_pick(&b, servers, 2, &a), 1);
    a.tried = 2;
    assert_int_equal(balance_pick(&b, servers, 2, &a), BALANCE_WAIT);
    a.tried = 3;
    assert_int_equal(balance_pick(&b, servers, 2, &a), BALANCE_NONE);
}

static void test_new_servers_one_at_a_time(void **state)
{
    (void)state;
    struct server servers[2];
    struct balance b;
    balance_init(&b);
    for (int32_t i = 0; i < 2; i++) server_init(&servers[i], 1);
    struct balance_ask a = ask_for(0, SECOND);
    int32_t first = balance_pick(&b, servers, 2, &a);
    assert_in_range(first, 0, 1);
    server_start(&servers[first], SECOND);
    int32_t second = balance_pick(&b, servers, 2, &a);
    assert_int_equal(second, 1 - first);
    server_start(&servers[second], SECOND);
    assert_int_equal(balance_pick(&b, servers, 2, &a), BALANCE_WAIT);
    server_first_token(&servers[second], 40);
    assert_int_equal(balance_pick(&b, servers, 2, &a), second);
}

static void test_document_stays(void **state)
{
    (void)state;
    struct server servers[4];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 4, 100);
    struct balance_ask a = ask_for(7, SECOND);
    int32_t home = balance_pick(&b, servers, 4, &a);
    for (int32_t i = 0; i < 2; i++) { /* two at a time are no reason to leave */
        server_start(&servers[home], SECOND);
        assert_int_equal(balance_pick(&b, servers, 4, &a), home);
    }
    server_start(&servers[home], SECOND);
    int32_t free_connections[4] = {3, 3, 3, 3};
    free_connections[home] = 0;
    a.free_connections = free_connections;
    int32_t other = balance_pick(&b, servers, 4, &a);
    assert_int_not_equal(other, home);
    free_connections[home] = 3;
    for (int32_t i = 0; i < 3; i++) server_finish(&servers[home], SERVER_END_OK, 0, SECOND);
    assert_int_equal(balance_pick(&b, servers, 4, &a), other); /* the one that read it last */
    a.tried = 1u << other;
    assert_int_not_equal(balance_pick(&b, servers, 4, &a), other);
    a.tried = 0;
    assert_int_equal(balance_pick(&b, servers, 4, &a), other); /* a second attempt moves nothing */
}

/* Hedges end a slow server's attempts before they tell how slow it is; what they tell is enough. */
static void test_document_leaves_a_slow_server(void **state)
{
    (void)state;
    struct server servers[4];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 4, 60);
    struct balance_ask a = ask_for(7, SECOND);
    int32_t home = balance_pick(&b, servers, 4, &a);
    server_still_waiting(&servers[home], 100);
    assert_int_equal(balance_pick(&b, servers, 4, &a), home);
    server_still_waiting(&servers[home], 160);
    assert_int_not_equal(balance_pick(&b, servers, 4, &a), home);
}

/* Four servers that are idle whenever they are asked: each gets its quarter of the documents. */
static void test_documents_spread(void **state)
{
    (void)state;
    struct server servers[4];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 4, 100);
    warm_up(&servers[3], 64, 90); /* always the soonest by a little */
    int32_t counts[4] = {0};
    for (uint64_t document = 1; document <= 400; document++) { /* more than are remembered */
        struct balance_ask a = ask_for(document, SECOND + (int64_t)document);
        int32_t picked = balance_pick(&b, servers, 4, &a);
        assert_in_range(picked, 0, 3);
        counts[picked]++;
    }
    for (int32_t i = 0; i < 4; i++) assert_in_range(counts[i], 90, 110);
}

static void test_trial_comes_first_and_alone(void **state)
{
    (void)state;
    struct server servers[2];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 2, 100);
    struct balance_ask a = ask_for(7, SECOND);
    server_start(&servers[1], SECOND);
    server_finish(&servers[1], SERVER_END_REFUSED, 0, SECOND);
    assert_int_equal(balance_pick(&b, servers, 2, &a), 0);
    a.now_ns = 3 * SECOND;
    assert_int_equal(balance_pick(&b, servers, 2, &a), 1);
    server_start(&servers[1], a.now_ns);
    assert_int_equal(balance_pick(&b, servers, 2, &a), 0);
}

static void test_hedge_budget(void **state)
{
    (void)state;
    struct balance b;
    balance_init(&b);
    assert_false(balance_take_hedge(&b, true));
    int32_t taken = 0, kept = 0, most = 0;
    for (int32_t i = 0; i < 1000; i++) {
        balance_count(&b);
        taken += balance_take_hedge(&b, false);
    }
    assert_in_range(taken, 40, 50);
    while (balance_take_hedge(&b, true)) kept++;
    assert_in_range(kept, 1, 10);
    for (int32_t i = 0; i < 100000; i++) balance_count(&b);
    while (balance_take_hedge(&b, true)) most++;
    assert_in_range(most, 5, 20); /* what is saved up is no licence */
}

static void test_when_a_request_is_late(void **state)
{
    (void)state;
    struct server servers[4];
    struct balance b;
    balance_init(&b);
    make_servers(servers, 4, 100);
    assert_true(fabs(balance_hedge_ms(&b, servers, 4, 0) - 100) < 1e-3);
    assert_true(balance_hedge_ms(&b, servers, 1, 0) == 0); /* who else? */
    warm_up(&servers[1], 64, 1000);
    assert_true(fabs(balance_hedge_ms(&b, servers, 4, 1) - 100) < 1e-3); /* by the others' measure */
    for (int32_t i = 0; i < 4; i++) warm_up(&servers[i], 64, 1);
    assert_true(balance_hedge_ms(&b, servers, 4, 0) >= 5); /* nothing to save */
    server_init(&servers[0], 1);
    server_init(&servers[1], 1);
    assert_true(balance_hedge_ms(&b, servers, 2, 0) == 0); /* too little is known */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_expected_wait),           cmocka_unit_test(test_waits_for_the_fast_one),
        cmocka_unit_test(test_new_servers_one_at_a_time),     cmocka_unit_test(test_document_stays),
        cmocka_unit_test(test_document_leaves_a_slow_server), cmocka_unit_test(test_documents_spread),
        cmocka_unit_test(test_trial_comes_first_and_alone),   cmocka_unit_test(test_hedge_budget),
        cmocka_unit_test(test_when_a_request_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
