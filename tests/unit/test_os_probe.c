/* Probes of the machine and this process: clock, processors, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sched.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/usage.h"

static void test_clock(void **state)
{
    (void)state;
    int64_t before = clock_ns();
    for (int i = 0; i < 1000; i++) {
        int64_t now = clock_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_ms_since(before - 5000000) >= 5.0);
    assert_true(clock_ms_since(before - 5000000) < 5000.0);
}

static void test_cpu_count_follows_affinity(void **state)
{
    cpu_set_t all, one;
    (void)state;
    int32_t n = cpu_count();
    assert_true(n >= 1);
    if (sched_getaffinity(0, sizeof all, &all) != 0) skip();
    assert_true(n <= CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_int_equal(cpu_count(), n);
}

static void test_cpu_list(void **state)
{
    static const struct {
        const char *text;
        int32_t n, members[4];
    } good[] = {
        {"0", 1, {0}},       {"0-3", 4, {0, 1, 2, 3}}, {"6,0-1", 3, {0, 1, 6}}, {"5-5,5,4-5", 2, {4, 5}},
        {"1023", 1, {1023}},
    };
    static const char *const bad[] = {"",     "a",      "0-",  "-1",    "3-1", "0,", ",0",          "0,,1",
                                      "1024", "0-1024", "0 1", "0-1-2", "0x1", " 0", "99999999999", "1;2"};
    struct cpu_list list;
    struct errmsg msg;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(cpu_list_parse(good[i].text, &list, &msg), OK);
        assert_int_equal(list.n, good[i].n);
        for (int32_t j = 0; j < good[i].n; j++) assert_true(list.has[good[i].members[j]]);
    }
    assert_int_equal(cpu_list_parse("0-1023", &list, &msg), OK);
    assert_int_equal(list.n, CPU_LIST_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        msg.text[0] = '\0';
        assert_int_equal(cpu_list_parse(bad[i], &list, &msg), ERR_ARG);
        assert_non_null(strstr(msg.text, bad[i]));
    }
    assert_int_equal(cpu_list_parse("0-3,x7", &list, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "at \"x7\""));
}

static void test_cpu_list_check(void **state)
{
    cpu_set_t all;
    struct cpu_list list = {0};
    struct errmsg msg;
    (void)state;
    if (sched_getaffinity(0, sizeof all, &all) != 0) skip();
    for (int32_t i = 0; i < CPU_LIST_MAX; i++) list.has[i] = CPU_ISSET(i, &all);
    assert_int_equal(cpu_list_check(&list, &msg), OK);
    int32_t absent = CPU_LIST_MAX - 1;
    if (list.has[absent]) skip();
    list.has[absent] = true;
    assert_int_equal(cpu_list_check(&list, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, "1023"));
}

static void test_cpu_name(void **state)
{
    char name[128], cut[4] = "~~~";
    (void)state;
    cpu_name(name, sizeof name);
    assert_in_range(strlen(name), 1, sizeof name - 1);
    assert_null(strchr(name, '\n'));
    cpu_name(cut, sizeof cut);
    assert_int_equal(strlen(cut), strlen(name) < 3 ? strlen(name) : 3);
    assert_memory_equal(cut, name, strlen(cut));
}

static void test_usage(void **state)
{
    enum { BLOCK = 32 << 20 };
    struct usage before, after;
    (void)state;
    usage_self(&before);
    if (before.rss_bytes == 0) skip(); /* the system does not tell */
    char *block = mem_try(BLOCK, 1);
    assert_non_null(block);
    memset(block, 1, BLOCK);
    usage_self(&after);
    int64_t grown = after.rss_anon_bytes - before.rss_anon_bytes;
    assert_true(grown >= BLOCK * 9LL / 10);
    assert_true(grown < BLOCK * 16LL); /* sanitizers add shadow memory */
    assert_true(after.peak_bytes >= after.rss_bytes - (1 << 20));
    assert_true(after.rss_anon_bytes + after.rss_file_bytes <= after.rss_bytes + (1 << 20));
    mem_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),    cmocka_unit_test(test_cpu_count_follows_affinity),
        cmocka_unit_test(test_cpu_list), cmocka_unit_test(test_cpu_list_check),
        cmocka_unit_test(test_cpu_name), cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
