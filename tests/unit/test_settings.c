/* cli/settings.c: precedence, flags taken from argv, errors. (Messages and files: tests/front.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/settings.h"
#include "os/file.h"

/* Tests see no settings of the machine's user. */
static int set_up(void **state)
{
    (void)state;
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    unsetenv("INLINE_CONFIG");
    unsetenv("INLINE_THREADS");
    return 0;
}

static void test_flags_leave_argv(void **state)
{
    (void)state;
    char *argv[] = {"inline", "--model", "toy", "complete", "file.c",  "--threads=3",
                    "--line", "4",       "--",  "--isa",    "nothing", NULL};
    int argc = 11;
    struct settings s;
    struct errmsg msg = {0};
    assert_int_equal(settings_load(&argc, argv, &s, &msg), OK);
    static const char *const left[] = {"inline", "complete", "file.c", "--line",
                                       "4",      "--",       "--isa",  "nothing"};
    assert_int_equal(argc, 8);
    for (int i = 0; i < argc; i++) assert_string_equal(argv[i], left[i]);
    assert_null(argv[argc]);
    assert_string_equal(s.model, "toy");
    assert_int_equal(s.threads, 3);
    assert_string_equal(s.isa, "");
    assert_int_equal(s.n_ctx, 4096);
    settings_clear(&s);
    settings_clear(&s); /* cleared settings can be cleared again */
}

static void test_precedence(void **state)
{
    (void)state;
    char path[] = "/tmp/inline-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const char *text = "[engine]\r\nthreads = 2\r\ncontext = 512\r\n; comment\r\n[log]\r\nlevel = debug\r\n";
    assert_int_equal(file_write(path, text, strlen(text), NULL), OK);
    setenv("INLINE_CONFIG", path, 1);
    setenv("INLINE_THREADS", "5", 1);
    char *argv[] = {"inline", "--context", "1024", NULL};
    int argc = 3;
    struct settings s;
    struct errmsg msg = {0};
    enum err err = settings_load(&argc, argv, &s, &msg);
    unlink(path);
    unsetenv("INLINE_CONFIG");
    unsetenv("INLINE_THREADS");
    if (err) fail_msg("%s", msg.text);
    assert_int_equal(s.threads, 5);  /* environment over file */
    assert_int_equal(s.n_ctx, 1024); /* flag over file */
    assert_string_equal(s.log_level, "debug");
    settings_clear(&s);
}

static void assert_refused(const char *flag, const char *value)
{
    char *argv[] = {"inline", (char *)flag, (char *)value, NULL};
    int argc = value ? 3 : 2;
    struct settings s;
    struct errmsg msg = {0};
    assert_int_equal(settings_load(&argc, argv, &s, &msg), ERR_ARG);
    assert_non_null(strstr(msg.text, flag));
    assert_null(s.model); /* nothing is left to clear */
}

static void test_refused_values(void **state)
{
    (void)state;
    assert_refused("--threads", "-1");
    assert_refused("--threads", "1025");
    assert_refused("--threads", "");
    assert_refused("--threads", "4x");
    assert_refused("--threads", "99999999999999999999999");
    assert_refused("--threads", NULL);
    assert_refused("--isa", "avx");
    assert_refused("--isa", "ref avx2");
    assert_refused("--log-level", "loud");
}

static void collect(void *ctx, const char *flag, const char *value)
{
    buf_printf(ctx, "%s=%s ", flag, value);
}

/* What was given on the command line stays; what stands in the file is read anew. */
static void test_reload(void **state)
{
    (void)state;
    char path[] = "/tmp/inline-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const char *before = "[engine]\nthreads = 2\n[serve]\ntoken = old\n";
    const char *after = "[engine]\nthreads = 9\n[serve]\ntoken = new\n";
    assert_int_equal(file_write(path, before, strlen(before), NULL), OK);
    char *argv[] = {"inline", "--config", path, "--threads=3", "serve", NULL};
    int argc = 5;
    struct settings s, again;
    struct errmsg msg = {0};
    assert_int_equal(settings_load(&argc, argv, &s, &msg), OK);
    assert_false(settings_is_default(&s, "serve.token"));
    assert_true(settings_is_default(&s, "serve.listen"));

    assert_int_equal(file_write(path, after, strlen(after), NULL), OK);
    assert_int_equal(settings_reload(&s, &again, &msg), OK);
    assert_int_equal(again.threads, 3);
    assert_string_equal(again.token, "new");
    assert_string_equal(again.config, path);

    struct buf flags, expected;
    buf_init(&flags, 4096);
    buf_init(&expected, 4096);
    settings_each_flag(&again, collect, &flags);
    buf_printf(&expected, "--threads=3 --config=%s ", path);
    assert_string_equal(buf_str(&flags), buf_str(&expected));
    buf_clear(&flags);
    buf_clear(&expected);
    settings_clear(&again);

    assert_int_equal(file_write(path, "[x]\n", 4, NULL), OK);
    assert_int_equal(settings_reload(&s, &again, &msg), OK); /* an empty section is not wrong */
    settings_clear(&again);
    assert_int_equal(file_write(path, "[x]\ny = 1\n", 10, NULL), OK);
    assert_int_equal(settings_reload(&s, &again, &msg), ERR_ARG);
    settings_clear(&again);
    assert_string_equal(s.token, "old");
    settings_clear(&s);
    unlink(path);
}

static void test_secret(void **state)
{
    (void)state;
    setenv("INLINE_SERVE_TOKEN", "hush", 1);
    char *argv[] = {"inline", NULL};
    int argc = 1;
    struct settings s;
    assert_int_equal(settings_load(&argc, argv, &s, NULL), OK);
    unsetenv("INLINE_SERVE_TOKEN");
    assert_string_equal(s.token, "hush");
    struct buf out;
    buf_init(&out, 1 << 16);
    settings_report(&s, &out);
    settings_report_json(&s, &out);
    assert_null(strstr(buf_str(&out), "hush"));
    assert_non_null(strstr(buf_str(&out), "\"serve.token\":{\"value\":\"set\","));
    buf_clear(&out);
    settings_clear(&s);
}

static void test_descriptions(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 16);
    settings_describe_markdown(&out);
    assert_non_null(
        strstr(buf_str(&out), "| `engine.threads` | `INLINE_ENGINE_THREADS`, `INLINE_THREADS` |"));
    buf_reset(&out);
    settings_describe_flags(&out);
    assert_non_null(strstr(buf_str(&out), "--threads"));
    buf_clear(&out);
}

static void test_option_parser(void **state)
{
    (void)state;
    bool is_json = false;
    int64_t line = 0;
    double heat = 0;
    const char *name = NULL;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0},
                                         {"line", CLI_INT, &line, 1, 100},
                                         {"heat", CLI_FLOAT, &heat, 0, 2},
                                         {"name", CLI_STRING, &name, 0, 0},
                                         {0}};
    char *argv[] = {"cmd", "one",    "--line=7", "-",  "--json", "--heat",
                    "0.5", "--name", "--x",      "--", "--line", NULL};
    int n_args;
    assert_true(cli_parse(11, argv, options, &n_args));
    assert_int_equal(n_args, 3);
    assert_string_equal(argv[1], "one");
    assert_string_equal(argv[2], "-");
    assert_string_equal(argv[3], "--line");
    assert_true(is_json);
    assert_int_equal(line, 7);
    assert_true(heat > 0.49 && heat < 0.51);
    assert_string_equal(name, "--x");

    static char *const bad[] = {"--line=0",  "--line=101", "--heat=nan", "--heat=3",
                                "--nothing", "--json=1",   "-j",         "--line"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *wrong[] = {"cmd", bad[i], NULL};
        assert_false(cli_parse(2, wrong, options, &n_args));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_leave_argv), cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_refused_values),   cmocka_unit_test(test_descriptions),
        cmocka_unit_test(test_option_parser),    cmocka_unit_test(test_reload),
        cmocka_unit_test(test_secret),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
