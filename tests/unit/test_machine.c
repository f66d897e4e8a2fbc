/* Reading the machine: from trees of made-up system files, from nonsense, and from this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/machine.h"

#define MB ((int64_t)1 << 20)
#define GB ((int64_t)1 << 30)

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/inline-test-machine-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

/* Write a file of the tree, and the directories above it. */
static void put(const char *path, const char *text)
{
    char whole[1024];
    assert_true(snprintf(whole, sizeof whole, "%s%s", root, path) < (int)sizeof whole);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void put_number(const char *path, int64_t n)
{
    char text[32];
    snprintf(text, sizeof text, "%lld\n", (long long)n);
    put(path, text);
}

static struct machine_sample read_tree(void)
{
    struct machine_sample s;
    machine_read(root, &s);
    return s;
}

static void put_basics(void)
{
    put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:          102400 kB\n"
                         "MemAvailable:    4194304 kB\nBuffers:               0 kB\n");
    put("/proc/self/status", "Name:\tinline\nVmPeak:\t  999 kB\nVmRSS:\t  307200 kB\nRssAnon:\t  102400 kB\n"
                             "RssFile:\t  204800 kB\nRssShmem:\t       0 kB\n");
    put("/proc/stat", "cpu  100 20 30 1000 50 5 6 7 3 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 5\n");
    put("/proc/pressure/cpu", "some avg10=12.50 avg60=1.00 avg300=0.50 total=1\n"
                              "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    put("/proc/pressure/memory", "some avg10=3.25 avg60=0.00 avg300=0.00 total=1\n"
                                 "full avg10=1.75 avg60=0.00 avg300=0.00 total=1\n");
    put("/proc/pressure/io", "some avg10=99.00 avg60=0.00 avg300=0.00 total=1\n");
}

static void assert_is(double x, double expected)
{
    if (x < expected - 1e-9 || x > expected + 1e-9) fail_msg("%g, not %g", x, expected);
}

static void test_basics(void **state)
{
    (void)state;
    put_basics();
    struct machine_sample s = read_tree();
    assert_int_equal(s.memory_total, 8 * GB);
    assert_int_equal(s.memory_available, 4 * GB);
    assert_int_equal(s.group_limit, 0);
    assert_int_equal(s.rss, 300 * MB);
    assert_int_equal(s.rss_anon, 100 * MB);
    assert_int_equal(s.rss_file, 200 * MB);
    int64_t tick = 1000000000 / sysconf(_SC_CLK_TCK);
    assert_int_equal(s.cpu_total_ns, 1218 * tick); /* guests' time is in the user's */
    assert_int_equal(s.cpu_busy_ns, 168 * tick);
    assert_int_equal(s.cpu_stolen_ns, 7 * tick);
    assert_true(s.own_cpu_ns > 0 && s.at_ns > 0 && s.n_cpus >= 1);
    assert_is(s.cpu_some, 12.5);
    assert_is(s.memory_some, 3.25);
    assert_is(s.memory_full, 1.75);
    assert_is(s.io_some, 99);
    assert_int_equal(s.n_throttled, -1);
    assert_false(s.is_on_battery);
    assert_is(s.battery_percent, -1);
    assert_int_equal(machine_memory_free(&s), 4 * GB);
    assert_int_equal(machine_memory_ours(&s), 4 * GB + 100 * MB);
}

/* Version 2: our own group has a soft limit, the one above a hard one that leaves less. */
static void test_version_2(void **state)
{
    (void)state;
    put_basics();
    put("/proc/self/cgroup", "0::/user.slice/app.scope\n");
    put("/sys/fs/cgroup/user.slice/app.scope/cgroup.procs", "");
    put("/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n");
    put_number("/sys/fs/cgroup/user.slice/app.scope/memory.high", 2 * GB);
    put_number("/sys/fs/cgroup/user.slice/app.scope/memory.current", GB);
    put("/sys/fs/cgroup/user.slice/app.scope/memory.stat",
        "anon 1\ninactive_anon 5\ninactive_file 104857600\n");
    put("/sys/fs/cgroup/user.slice/app.scope/memory.pressure",
        "some avg10=40.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=20.00 avg60=0 avg300=0 total=1\n");
    struct machine_sample s = read_tree();
    assert_int_equal(s.group_limit, 2 * GB);
    assert_int_equal(s.group_used, GB - 100 * MB);
    assert_is(s.memory_some, 40);
    assert_is(s.memory_full, 20);
    assert_int_equal(machine_memory_free(&s), GB + 100 * MB);
    assert_int_equal(machine_memory_ours(&s), GB + 400 * MB);

    put_number("/sys/fs/cgroup/user.slice/memory.max", 4 * GB);
    put_number("/sys/fs/cgroup/user.slice/memory.current", 4 * GB - 300 * MB);
    put("/sys/fs/cgroup/user.slice/memory.stat", "anon 1\ninactive_file 0\n");
    s = read_tree();
    assert_int_equal(s.group_limit, 4 * GB);
    assert_int_equal(s.group_used, 4 * GB - 300 * MB);
    assert_int_equal(machine_memory_free(&s), 300 * MB);
    assert_int_equal(machine_memory_ours(&s), 600 * MB);

    put_number("/sys/fs/cgroup/user.slice/memory.current", 5 * GB); /* above its limit for a moment */
    s = read_tree();
    assert_int_equal(machine_memory_free(&s), 0);
    put_number("/sys/fs/cgroup/user.slice/memory.max", 80 * GB); /* more than the machine has: none */
    s = read_tree();
    assert_int_equal(s.group_limit, 2 * GB);
}

#define HUGE_LIMIT "9223372036854771712\n" /* what version 1 writes where there is none */

/* Version 1 beside version 2, as systemd's hybrid layout has it. */
static void test_version_1(void **state)
{
    (void)state;
    put_basics();
    put("/proc/self/cgroup",
        "9:name=systemd:/memory\n5:cpu,cpuacct:/elsewhere\n4:hugetlb,memory:/a/b\n0::/\n");
    put("/sys/fs/cgroup/unified/cgroup.procs", "");
    put("/sys/fs/cgroup/memory/a/b/cgroup.procs", "");
    put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", HUGE_LIMIT);
    put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", HUGE_LIMIT);
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", HUGE_LIMIT);
    struct machine_sample s = read_tree();
    assert_int_equal(s.group_limit, 0);
    assert_is(s.memory_some, 3.25);
    put_number("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", GB);
    put_number("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", 600 * MB);
    put("/sys/fs/cgroup/memory/a/memory.stat", "cache 1\ninactive_file 7\ntotal_inactive_file 209715200\n");
    s = read_tree();
    assert_int_equal(s.group_limit, GB);
    assert_int_equal(s.group_used, 400 * MB);
    put_number("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", 0); /* nothing is allowed: not "no limit" */
    s = read_tree();
    assert_int_equal(s.group_limit, 1);
    assert_in_range(machine_memory_free(&s), 0, 1);
}

/* A container sees its own part of the hierarchy at a place of its own. */
static void test_container(void **state)
{
    (void)state;
    put_basics();
    put("/proc/self/cgroup", "3:memory:/docker/abc/inner\n0::/docker/abc\n");
    put("/proc/self/mountinfo",
        "22 1 0:20 / / rw,relatime - overlay overlay rw,lowerdir=/a - b\n"
        "31 22 0:28 /docker/abc /groups/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 22 0:29 /docker/abc /groups/memory rw,nosuid shared:7 master:1 - cgroup cgroup rw,memory\n");
    put_number("/groups/memory/inner/memory.limit_in_bytes", 3 * GB);
    put_number("/groups/memory/inner/memory.usage_in_bytes", GB);
    put_number("/groups/memory/memory.limit_in_bytes", 2 * GB);
    put_number("/groups/memory/memory.usage_in_bytes", GB);
    put_number("/groups/memory.limit_in_bytes", MB); /* above the mount point: no group */
    struct machine_sample s = read_tree();
    assert_int_equal(s.group_limit, 2 * GB);
    assert_int_equal(s.group_used, GB);

    /* A path that cannot be seen from here: the mount point is the best that is known. */
    put("/proc/self/cgroup", "3:memory:/../other\n");
    s = read_tree();
    assert_int_equal(s.group_limit, 2 * GB);
    put("/proc/self/cgroup", "3:memory:/docker/abcdef\n");
    s = read_tree();
    assert_int_equal(s.group_limit, 2 * GB);
}

static void put_supply(const char *name, const char *type, const char *attribute, const char *value)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/power_supply/%s/type", name);
    put(path, type);
    snprintf(path, sizeof path, "/sys/class/power_supply/%s/%s", name, attribute);
    put(path, value);
}

static void test_power_and_heat(void **state)
{
    (void)state;
    put_supply("BAT0", "Battery\n", "status", "Discharging\n");
    put_supply("BAT0", "Battery\n", "capacity", "40\n");
    put_supply("BAT1", "Battery\n", "capacity", "60\n");
    put_supply("mouse", "Battery\n", "scope", "Device\n");
    put_supply("mouse", "Battery\n", "capacity", "3\n");
    struct machine_sample s = read_tree();
    assert_true(s.is_on_battery);
    assert_is(s.battery_percent, 50);
    put_supply("AC", "Mains\n", "online", "1\n");
    assert_false(read_tree().is_on_battery);

    put("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "5\n");
    put("/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "7\n");
    put("/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "1\n");
    put("/sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count", "7\n");
    assert_int_equal(read_tree().n_throttled, 20);
}

/* Files that are missing, empty, cut off or nonsense say nothing. */
static void test_nonsense(void **state)
{
    (void)state;
    struct machine_sample s = read_tree();
    assert_int_equal(s.memory_total, -1);
    assert_int_equal(s.memory_available, -1);
    assert_int_equal(s.group_limit, 0);
    assert_int_equal(s.cpu_total_ns, 0);
    assert_is(s.memory_some, -1);
    assert_int_equal(machine_memory_free(&s), -1);
    assert_int_equal(machine_memory_ours(&s), -1);

    static const char *const texts[] = {"",
                                        "\n",
                                        "x",
                                        "max",
                                        "-5\n",
                                        ":::",
                                        "0::",
                                        "0::\n",
                                        "some",
                                        "cpu ",
                                        "\n\n\n",
                                        "some avg10=",
                                        "4:memory\n",
                                        "4:memory:",
                                        "MemTotal:",
                                        "a - b",
                                        " - cgroup2",
                                        "99999999999999999999999999\n",
                                        "1 2 3 - cgroup x memory\n"};
    static const char *const paths[] = {"/proc/meminfo",
                                        "/proc/self/status",
                                        "/proc/stat",
                                        "/proc/pressure/memory",
                                        "/proc/self/cgroup",
                                        "/proc/self/mountinfo",
                                        "/sys/fs/cgroup/cgroup.procs",
                                        "/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory.stat",
                                        "/sys/fs/cgroup/memory.current"};
    enum { N_TEXTS = sizeof texts / sizeof *texts, N_PATHS = sizeof paths / sizeof *paths };
    for (size_t n = 0; n < 100; n++) {
        uint64_t x = (n + 1) * 0x9E3779B97F4A7C15u;
        for (size_t i = 0; i < N_PATHS; i++, x = x * 6364136223846793005u + 1442695040888963407u)
            put(paths[i], texts[(x >> 40) % N_TEXTS]);
        s = read_tree();
        assert_true(s.n_cpus >= 1 && s.group_limit >= 0 && machine_memory_free(&s) >= -1);
    }
    static char longest[100000];
    memset(longest, 'x', sizeof longest - 1);
    memcpy(longest, "4:memory:/", 10);
    put("/proc/self/cgroup", longest);
    memcpy(longest + 50000, " - cgroup cgroup memory ", 24);
    put("/proc/self/mountinfo", longest);
    s = read_tree();
    assert_int_equal(s.group_limit, 0);
}

/* The real one: numbers that fit each other, and a reading that costs little. */
static void test_this_machine(void **state)
{
    (void)state;
    struct machine_sample a, b;
    machine_read(NULL, &a);
    if (a.memory_total < 0) skip(); /* the system does not tell */
    assert_true(a.memory_available > 0 && a.memory_available <= a.memory_total);
    assert_true(a.rss > 0 && a.rss_anon > 0 && a.rss_anon + a.rss_file <= a.rss + MB);
    assert_true(a.group_limit >= 0 && a.group_limit < a.memory_total);
    assert_true(a.cpu_busy_ns <= a.cpu_total_ns && a.cpu_stolen_ns <= a.cpu_busy_ns);
    assert_true(machine_memory_free(&a) <= machine_memory_ours(&a));
    assert_true(machine_memory_ours(&a) <= a.memory_total);
    int64_t end = clock_ns() + 200000000;
    while (clock_ns() < end) continue;
    machine_read("", &b);
    assert_true(b.own_cpu_ns > a.own_cpu_ns && b.at_ns - a.at_ns >= 200000000);
    assert_true(b.cpu_total_ns > a.cpu_total_ns && b.cpu_busy_ns > a.cpu_busy_ns);

    enum { N = 50 };
    for (int i = 0; i < N; i++) machine_read(NULL, &a);
    machine_read(NULL, &b);
    machine_read(NULL, &a);
    assert_true(a.own_cpu_ns - b.own_cpu_ns < 20000000); /* a third of a millisecond; far more if nested */
}

static void test_trim(void **state)
{
    (void)state;
    enum { N = 2000, BYTES = 16 << 10 };
    static char *blocks[N];
    assert_true(machine_trim_heap() >= 0);
    for (int i = 0; i < N; i++) {
        blocks[i] = mem_try(BYTES, 1);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BYTES);
    }
    for (int i = 0; i < N - 1; i++) mem_free(blocks[i]); /* the last keeps the heap's end where it is */
    int64_t given = machine_trim_heap();
    mem_free(blocks[N - 1]);
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(given > (int64_t)N * BYTES / 2);
#else
    assert_true(given >= 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_basics, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_container, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_and_heat, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nonsense, set_up, tear_down),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
