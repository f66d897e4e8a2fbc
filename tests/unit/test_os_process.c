/* Children: they run with the environment that they were given, are asked to end, and are ended. */
#include "os/process.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/file.h"

#define PATIENCE_MS 5000.0

static char log_path[] = "/tmp/inline-test-process-XXXXXX";

static int make_log(void **state)
{
    (void)state;
    int fd = mkstemp(log_path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_log(void **state)
{
    (void)state;
    return unlink(log_path);
}

static int start_shell(const char *script)
{
    char *args[] = {"sh", "-c", (char *)script, NULL}, *env[] = {"PATH=/usr/bin:/bin", "TOLD=this", NULL};
    struct errmsg msg = {0};
    int pid = 0;
    assert_int_equal(process_start_child("/bin/sh", args, env, log_path, &pid, &msg), OK);
    assert_true(pid > 0);
    return pid;
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

static void wait_log(const char *text)
{
    int64_t start = clock_ns();
    bool is_there = false;
    while (!is_there && clock_ms_since(start) < PATIENCE_MS) {
        struct buf log;
        buf_init(&log, 4096);
        is_there = file_read(log_path, &log, NULL) == OK && strstr(buf_str(&log), text);
        buf_clear(&log);
        if (!is_there) pause_ms(1);
    }
    assert_true(is_there);
}

static void test_environment_and_log(void **state)
{
    (void)state;
    int pid = start_shell("echo \"told $TOLD, home '$HOME'\" >&2");
    wait_log("told this, home ''");
    process_end_child(pid, PATIENCE_MS);
    assert_false(process_is_running(pid));
    assert_int_equal(kill(pid, 0), -1); /* no zombie either */
    assert_int_equal(errno, ESRCH);
}

static void test_is_asked_to_end(void **state)
{
    (void)state;
    int pid =
        start_shell("trap 'echo leaving >&2; exit' TERM; echo waiting >&2; while :; do sleep 0.01; done");
    wait_log("waiting");
    assert_true(process_is_running(pid));
    process_end_child(pid, PATIENCE_MS);
    wait_log("leaving");
    assert_false(process_is_running(pid));
}

static void test_is_ended(void **state)
{
    (void)state;
    int pid = start_shell("trap '' TERM; echo deaf >&2; while :; do sleep 0.01; done");
    wait_log("deaf");
    int64_t start = clock_ns();
    process_end_child(pid, 50);
    assert_true(clock_ms_since(start) >= 50 && clock_ms_since(start) < PATIENCE_MS);
    assert_false(process_is_running(pid));
}

static void test_processor_time(void **state)
{
    (void)state;
    int64_t start = process_cpu_ns(getpid());
    if (start < 0) skip();
    for (int64_t begin = clock_ns(); clock_ms_since(begin) < 20;) continue;
    assert_true(process_cpu_ns(getpid()) > start);
    int pid = start_shell("exec sleep 60");
    pause_ms(100);
    int64_t before = process_cpu_ns(pid);
    pause_ms(100);
    assert_true(before >= 0 && process_cpu_ns(pid) - before < 10000000);
    process_end_child(pid, PATIENCE_MS);
    assert_int_equal(process_cpu_ns(pid), -1);
}

static void test_no_such_program(void **state)
{
    (void)state;
    char *args[] = {"nothing", NULL}, *env[] = {NULL};
    struct errmsg msg = {0};
    int pid = 7;
    assert_int_equal(process_start_child("/nowhere/nothing", args, env, log_path, &pid, &msg), ERR_IO);
    assert_int_equal(pid, 0);
    assert_non_null(strstr(msg.text, "/nowhere/nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_and_log),
        cmocka_unit_test(test_is_asked_to_end),
        cmocka_unit_test(test_is_ended),
        cmocka_unit_test(test_processor_time),
        cmocka_unit_test(test_no_such_program),
    };
    return cmocka_run_group_tests(tests, make_log, remove_log);
}
