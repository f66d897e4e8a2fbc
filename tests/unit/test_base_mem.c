/* Allocation: zeroed, aligned, overflow-safe, and the guard that forbids it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

/* The sanitizers would end the program where malloc would return null. They look for these names. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_zeroed(void **state)
{
    static const char zeros[1000];
    (void)state;
    char *small = mem_new(sizeof zeros);
    char *many = mem_try(100, 10);
    char *aligned = mem_try_aligned(100, 10);
    assert_memory_equal(small, zeros, sizeof zeros);
    assert_memory_equal(many, zeros, sizeof zeros);
    assert_memory_equal(aligned, zeros, sizeof zeros);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    mem_free(small);
    mem_free(many);
    mem_free(aligned);
    mem_free(NULL);
}

static void test_nothing_is_something(void **state)
{
    (void)state;
    void *none = mem_try(0, 8);
    void *none_aligned = mem_try_aligned(0, 8);
    assert_non_null(none);
    assert_non_null(none_aligned);
    none = mem_try_resize(none, 0, 8);
    assert_non_null(none);
    mem_free(none);
    mem_free(none_aligned);
}

static void test_overflow(void **state)
{
    (void)state;
    char *p = mem_try(4, 1);
    memcpy(p, "abc", 4);
    assert_null(mem_try(SIZE_MAX / 2, 3));
    assert_null(mem_try_aligned(SIZE_MAX / 2, 3));
    assert_null(mem_try_aligned(SIZE_MAX - 10, 1));
    assert_null(mem_try_resize(p, SIZE_MAX / 2, 3));
    assert_string_equal(p, "abc"); /* untouched */
    mem_free(p);
}

static void test_resize(void **state)
{
    (void)state;
    char *p = mem_try(4, 1);
    memcpy(p, "abc", 4);
    p = mem_try_resize(p, 100000, 1);
    assert_string_equal(p, "abc");
    p = mem_try_resize(p, 4, 1);
    assert_string_equal(p, "abc");
    mem_free(p);
}

static void test_dup_str(void **state)
{
    char text[] = "copy";
    (void)state;
    char *copy = mem_dup_str(text);
    text[0] = 'X';
    assert_string_equal(copy, "copy");
    mem_free(copy);
}

/* Run fn in a child; true if it was aborted. */
static int aborts(void fn(void))
{
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        freopen("/dev/null", "w", stderr);
        fn();
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void allocate_in_phase(void)
{
    mem_guard_begin("a test");
    mem_free(mem_try(1, 1));
    mem_guard_end();
}

static void allocate_after_phase(void)
{
    mem_guard_begin("a test");
    mem_guard_end();
    mem_free(mem_try(1, 1));
}

static void test_guard(void **state)
{
    (void)state;
    assert_false(aborts(allocate_after_phase));
#ifdef NDEBUG
    assert_false(aborts(allocate_in_phase)); /* compiled out */
#else
    assert_true(aborts(allocate_in_phase));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed),   cmocka_unit_test(test_nothing_is_something),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_resize),
        cmocka_unit_test(test_dup_str),  cmocka_unit_test(test_guard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
