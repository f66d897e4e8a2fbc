/* Graphics processors: what the system's Vulkan says, if it has one, and libraries of our own that stand in
 * for NVML and for broken drivers. Those are found through LD_LIBRARY_PATH, which is read when a program
 * starts: for each such test the program runs itself again, with the test's name as its argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "os/gpu.h"
#include "os/gpu_probe.h"

/* --- The system's own ----------------------------------------------------------------------------------- */

static void test_system(void **state)
{
    struct gpu list[GPUS_MAX];
    struct errmsg why = {0};
    (void)state;
    int32_t n = gpu_list(list, &why);
    assert_in_range(n, 0, GPUS_MAX);
    if (n == 0 && why.text[0] == 0) fail_msg("no graphics processor, and no reason");
    for (int32_t i = 0; i < n; i++) {
        const struct gpu *g = &list[i];
        assert_true(strlen(g->name) > 0 && strlen(g->driver) > 0);
        assert_true(g->memory_bytes > 0);
        assert_in_range(g->free_bytes, 0, g->memory_bytes);
        if (strstr(g->name, "llvmpipe")) assert_int_equal(g->kind, GPU_CPU);
    }
}

static void test_twice(void **state) /* nothing of the first time is left over: no child, no descriptor */
{
    struct gpu list[GPUS_MAX];
    (void)state;
    int32_t n = gpu_list(list, NULL);
    int before = dup(0);
    close(before);
    assert_int_equal(gpu_list(list, NULL), n);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_kind_names(void **state)
{
    (void)state;
    assert_string_equal(gpu_kind_name(GPU_DISCRETE), "discrete");
    assert_string_equal(gpu_kind_name(GPU_CPU), "software");
    assert_string_equal(gpu_kind_name(GPU_OTHER), "other");
}

/* --- With libraries of ours: each in a process of its own ----------------------------------------------- */

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static int check_nvml(void)
{
    struct gpu list[GPUS_MAX];
    int32_t n = gpu_list(list, NULL), n_fake = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!strstr(list[i].name, "Fake card")) {
            CHECK(list[i].nvml_total == 0);
            continue;
        }
        CHECK(list[i].kind == GPU_DISCRETE && list[i].vendor == 0x10de);
        CHECK(list[i].nvml_total == 24000000000 && list[i].nvml_free == 20000000000);
        CHECK(list[i].memory_bytes == 24000000000);
        n_fake++;
    }
    CHECK(n_fake == 2);

    /* A card that Vulkan found too gets the figures, and is not listed twice. */
    static struct gpu_findings f = {
        .n = 1, .list = {{.gpu = {.name = "Vulkan's name", .vendor = 0x10de}, .pci = {true, 0, 2, 0}}}};
    gpu_probe_nvml(&f);
    CHECK(f.n == 2);
    CHECK(f.list[0].gpu.nvml_free == 20000000000 && strcmp(f.list[0].gpu.name, "Vulkan's name") == 0);
    CHECK(strcmp(f.list[1].gpu.name, "Fake card 0") == 0);
    return 0;
}

static int check_broken(int32_t patience_ms, const char *expected)
{
    struct gpu list[GPUS_MAX];
    struct errmsg why = {0};
    int64_t start = clock_ns();
    int32_t n = gpu_list_within(patience_ms, list, &why);
    CHECK(n == 0);
    if (!strstr(why.text, expected)) {
        fprintf(stderr, "\"%s\" is not in \"%s\"\n", expected, why.text);
        return 1;
    }
    CHECK(clock_ms_since(start) < 5000);
    return 0;
}

static int check(const char *name)
{
    if (strcmp(name, "nvml") == 0) return check_nvml();
    if (strcmp(name, "crash") == 0) return check_broken(5000, "crashed");
    if (strcmp(name, "exit") == 0) return check_broken(5000, "exit status 3");
    if (strcmp(name, "hang") == 0) return check_broken(300, "in time");
    return check_broken(5000, "Vulkan");
}

static const char *program;

/* 127: it cannot be run here, as under an emulator of another processor. */
static void run_again(const char *name, const char *library_dir)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("LD_LIBRARY_PATH", library_dir, 1);
        setenv("FAKE_VULKAN", name, 1);
        execl(program, program, name, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_nvml(void **state)
{
    (void)state;
    run_again("nvml", FAKE_NVML_DIR);
}

#if __has_include(<vulkan/vulkan.h>)
static void test_broken_drivers(void **state)
{
    (void)state;
    run_again("crash", FAKE_VULKAN_DIR);
    run_again("exit", FAKE_VULKAN_DIR);
    run_again("hang", FAKE_VULKAN_DIR);
    run_again("empty", FAKE_VULKAN_DIR);
}
#else
static void test_broken_drivers(void **state)
{
    (void)state;
    skip();
}
#endif

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1) return check(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_system),         cmocka_unit_test(test_twice),
        cmocka_unit_test(test_kind_names),     cmocka_unit_test(test_nvml),
        cmocka_unit_test(test_broken_drivers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
