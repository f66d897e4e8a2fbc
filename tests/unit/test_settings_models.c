/* cli/settings_models.c, settings_url.c and settings_key.c: sections [model.NAME], their URLs, their keys. */
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

#include "base/buf.h"
#include "base/mem.h"
#include "cli/settings.h"
#include "cli/settings_url.h"
#include "os/file.h"

#define GPU "[model.gpu]\napi = openai\n" /* lines 1 and 2 */

static char folder[] = "/tmp/inline-test-XXXXXX", path[64];

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/inline.conf", folder);
    setenv("HOME", folder, 1);
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    return setenv("INLINE_CONFIG", path, 1);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static enum err load(const char *text, struct settings *s, struct errmsg *msg)
{
    char *argv[] = {"inline", NULL};
    int argc = 1;
    assert_int_equal(file_write(path, text, strlen(text), NULL), OK);
    *msg = (struct errmsg){0};
    return settings_load(&argc, argv, s, msg);
}

static struct settings loaded(const char *text)
{
    struct settings s;
    struct errmsg msg;
    if (load(text, &s, &msg)) fail_msg("%s\nin:\n%s", msg.text, text);
    return s;
}

/* The message is one line that begins with FILE:LINE and holds `says`. */
static void assert_refused(const char *text, int line, const char *says)
{
    struct settings s;
    struct errmsg msg;
    char place[80];
    if (load(text, &s, &msg) == OK) fail_msg("accepted:\n%s", text);
    snprintf(place, sizeof place, "%s:%d: ", path, line);
    if (strncmp(msg.text, place, strlen(place)) != 0 || !strstr(msg.text, says))
        fail_msg("\"%s\" is not about line %d and \"%s\"", msg.text, line, says);
    assert_null(s.remotes); /* nothing is left to clear */
}

static void assert_in_folder(const char *found, const char *name)
{
    char expected[80];
    snprintf(expected, sizeof expected, "%s/%s", folder, name);
    assert_string_equal(found, expected);
}

static void test_section(void **state)
{
    (void)state;
    struct settings s =
        loaded("[models]\nmain = GPU\n\n[model.b:7.x]\napi = ollama ; theirs\nurls = http://h\n"
               "[model.gpu]\ntype = remote\napi = openai\n"
               "urls = https://a:8000 https://b,\n  https://c/v1 ; the third\n\thttps://d\n"
               "model = Qwen/Qwen2.5-Coder-7B\nfim = qwen\nkey_file = gpu.key\nca_file = ca.pem\n"
               "context = 8192\n[engine]\nthreads = 2\n");
    assert_int_equal(s.n_remotes, 2);
    assert_int_equal(s.threads, 2);
    const struct settings_remote *r = settings_remote(&s, "Gpu");
    assert_ptr_equal(r, &s.remotes[1]); /* in the order of the file */
    assert_string_equal(r->name, "gpu");
    assert_string_equal(r->api, "openai");
    assert_string_equal(r->urls, "https://a:8000 https://b, https://c/v1 https://d");
    assert_string_equal(r->model, "Qwen/Qwen2.5-Coder-7B");
    assert_string_equal(r->fim, "qwen");
    assert_in_folder(r->key_file, "gpu.key");
    assert_in_folder(r->ca_file, "ca.pem");
    assert_int_equal(r->n_ctx, 8192);
    char place[80];
    snprintf(place, sizeof place, "%s:7", path);
    assert_string_equal(r->origin, place);

    r = settings_remote(&s, "B:7.X");
    assert_non_null(r);
    assert_string_equal(r->api, "ollama");
    assert_string_equal(r->type, "remote");
    assert_string_equal(r->model, "");
    assert_string_equal(r->fim, "auto");
    assert_string_equal(r->key_env, "");
    assert_int_equal(r->n_ctx, 0);
    assert_null(settings_remote(&s, "gp"));
    assert_null(settings_remote(&s, ""));
    settings_clear(&s);
    settings_clear(&s);
    assert_null(settings_remote(&s, "gpu"));
}

static void test_refused_sections(void **state)
{
    (void)state;
    assert_refused("\n[model.gpu]\n", 2, "needs api, one of: openai llama ollama");
    assert_refused("[model.gpu]\n[model.b]\n", 1, "needs api");
    assert_refused(GPU, 1, "needs urls");
    assert_refused("[model.]\napi = llama\n", 1, "a name has");
    assert_refused("[model.a b]\n", 1, "a name has");
    assert_refused("[model.-a]\n", 1, "a name has");
    assert_refused("[model.a/b]\n", 1, "a name has");
    assert_refused("[model.a\nx = 1\n", 1, "neither [section] nor key = value");
    char name[100] = {0}, text[160];
    memset(name, 'x', 64);
    snprintf(text, sizeof text, "[model.%s]\n", name);
    assert_refused(text, 1, "a name has up to 63");
    assert_refused(GPU "urls = http://a\n[model.GPU]\napi = llama\nurls = http://a\n", 4,
                   "is there twice; see ");
    assert_refused("[model]\napi = llama\n", 2, "unknown setting model.api");

    struct buf many;
    buf_init(&many, 1 << 16);
    for (int i = 0; i <= SETTINGS_REMOTES; i++)
        buf_printf(&many, "[model.m%d]\napi = llama\nurls = http://localhost\n", i);
    assert_refused(buf_str(&many), SETTINGS_REMOTES * 3 + 1, "more than 32 sections");
    buf_clear(&many);
}

static void test_refused_values(void **state)
{
    (void)state;
    assert_refused("[model.gpu]\ntype = local\n", 2, "model.gpu.type: one of: remote; not \"local\"");
    assert_refused("[model.gpu]\napi = openai llama\n", 2, "one of: openai llama ollama");
    assert_refused("[model.gpu]\napi =\n", 2, "one of");
    assert_refused("[model.gpu]\nurl = http://a\n", 2, "has no key url; did you mean urls?");
    assert_refused("[model.gpu]\nxyzzyxyzzy = 1\n", 2, "there are: type api urls");
    assert_refused(GPU "api = llama\n", 3, "model.gpu.api is set twice");
    assert_refused(GPU "  api = llama\n", 3, "is set twice"); /* to libinih, more of the line before */
    assert_refused(GPU "urls = http://a\nurls = http://b\n", 4, "is set twice");
    assert_refused(GPU "urls = http://a\n  model = x\n", 4, "begins with neither https:// nor http://");
    assert_refused(GPU "fim = nothing-like-it\n", 3, "model.gpu.fim: ");
    assert_refused(GPU "key_env = A-B\n", 3, "no name of an environment variable");
    assert_refused(GPU "key_env = 1A\n", 3, "no name of an environment variable");
    assert_refused(GPU "key_env = INLINE_KEY\n", 3, "those of settings");
    assert_refused(GPU "context = 63\n", 3, "a whole number from 64 to 1048576, not \"63\"");
    assert_refused(GPU "context = 9e3\n", 3, "a whole number");
    assert_refused(GPU "context = 99999999999999999999\n", 3, "a whole number");
    assert_refused(GPU "urls = http://localhost\nkey_file = a\nkey_env = B\n", 5,
                   "both key_file and key_env");
}

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *list, *says; /* null: it is fine */
    } cases[] = {
        {"http://a", NULL},
        {"HTTPS://A.example.org:65535/x/v1/ http://[::1]:80,http://1.2.3.4", NULL},
        {"", "at least one URL"},
        {" , ", "at least one URL"},
        {"gpu1:8000", "\"gpu1:8000\" begins with neither"},
        {"ftp://a", "begins with neither"},
        {"http://", "begins with neither"},
        {"https:///x", "names no host"},
        {"http://:80", "names no host"},
        {"http://[]", "names no host"},
        {"http://[::1", "names no host"},
        {"http://[::1]x", "names no host"},
        {"http://a_b%41", "names no host"},
        {"http://a:0", "a port is"},
        {"http://a:65536", "a port is"},
        {"http://a:123456789012", "a port is"},
        {"http://a:8x", "a port is"},
        {"http://a?b=c", "names no host"},
        {"http://a/?b=c", "a base URL has no \"?\""},
        {"http://a/#b", "a base URL has no \"#\""},
        {"http://a/\xc3\xa4", "a base URL has no"},
        {"http://a http://b/\"", "\"http://b/\"\": a base URL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct errmsg why = {0};
        enum err err = settings_url_check_list(cases[i].list, &why);
        if (!cases[i].says && err) fail_msg("%s: %s", cases[i].list, why.text);
        if (cases[i].says && (!err || !strstr(why.text, cases[i].says)))
            fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].list, why.text, cases[i].says);
    }
    struct errmsg why = {0};
    assert_int_equal(settings_url_check_list("https://me:hush@host", &why), ERR_ARG);
    assert_null(strstr(why.text, "hush"));

    struct buf list;
    buf_init(&list, 1 << 16);
    for (int i = 0; i < 16; i++) buf_printf(&list, "http://h%d ", i);
    assert_int_equal(settings_url_check_list(buf_str(&list), &why), OK);
    buf_add_str(&list, "http://h16");
    assert_int_equal(settings_url_check_list(buf_str(&list), &why), ERR_ARG);
    assert_non_null(strstr(why.text, "at most 16 servers"));
    buf_reset(&list);
    buf_add_str(&list, "http://a/");
    for (int i = 0; i < 250; i++) buf_add_char(&list, 'x');
    assert_int_equal(settings_url_check_list(buf_str(&list), &why), ERR_ARG);
    assert_non_null(strstr(why.text, "longer than 255"));
    buf_clear(&list);
}

/* A key goes unencrypted only to this machine. */
static void test_private_urls(void **state)
{
    (void)state;
    static const char *const fine[] = {"https://a",          "http://localhost:8000", "http://LOCALHOST/v1",
                                       "http://127.0.0.1:1", "http://127.9.8.7",      "http://[::1]:80"};
    static const char *const bad[] = {
        "http://a",        "http://127.evil.org",       "http://localhost.evil.org",
        "http://10.0.0.1", "http://127.0.0.1.evil.org", "http://[::2]",
        "http://[fe80::1]"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        if (!settings_url_is_private(fine[i], strlen(fine[i]))) fail_msg("%s", fine[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (settings_url_is_private(bad[i], strlen(bad[i]))) fail_msg("%s", bad[i]);
    }
    assert_refused(GPU "key_env = KEY\nurls = https://a http://gpu2:80\n", 4,
                   "which http://gpu2:80 would send unencrypted: use https");
    struct settings s = loaded(GPU "key_env = KEY\nurls = http://127.0.0.1\n");
    settings_clear(&s);
    s = loaded(GPU "urls = http://gpu2\n"); /* without a key there is nothing to protect it from */
    settings_clear(&s);
}

static void test_reports(void **state)
{
    (void)state;
    struct settings s = loaded(GPU "urls = https://a\nkey_file = /x/gpu.key\ncontext = 4096\n");
    struct buf out;
    char says[160];
    buf_init(&out, 1 << 18);
    settings_report_json(&s, &out);
    snprintf(says, sizeof says, "\"model.gpu.key_file\":{\"value\":\"/x/gpu.key\",\"origin\":\"%s:4\"}",
             path);
    assert_non_null(strstr(buf_str(&out), says));
    snprintf(says, sizeof says, "\"model.gpu.context\":{\"value\":4096,\"origin\":\"%s:5\"}", path);
    assert_non_null(strstr(buf_str(&out), says));
    assert_non_null(strstr(buf_str(&out), "\"model.gpu.fim\":{\"value\":\"auto\",\"origin\":\"default\"}"));
    buf_reset(&out);
    settings_report(&s, &out);
    snprintf(says, sizeof says, "\nmodel.gpu.urls       %-28s %s:3\n", "https://a", path);
    assert_non_null(strstr(buf_str(&out), says));
    assert_non_null(strstr(buf_str(&out), "\nmodel.gpu.model      (unset)"));
    buf_reset(&out);
    settings_describe_markdown(&out);
    assert_non_null(strstr(buf_str(&out), "\n| `api` | must be given | "));
    assert_non_null(strstr(buf_str(&out), "\n| `fim` | `auto` | "));
    assert_non_null(strstr(buf_str(&out), "\n| `context` | unset | "));
    buf_clear(&out);
    settings_clear(&s);
}

/* --- Keys ----------------------------------------------------------------------------------------------- */

/* The key of a section with this line, or the message of what is wrong. */
static enum err key_by(const char *line, char **key, struct errmsg *msg)
{
    char text[256];
    snprintf(text, sizeof text, GPU "urls = https://a\n%s\n", line);
    struct settings s = loaded(text);
    *msg = (struct errmsg){0};
    enum err err = settings_remote_key(&s.remotes[0], key, msg);
    settings_clear(&s);
    if (err) assert_null(*key);
    return err;
}

static void assert_key(const char *line, const char *expected)
{
    struct errmsg msg;
    char *key = NULL;
    if (key_by(line, &key, &msg)) fail_msg("%s: %s", line, msg.text);
    assert_string_equal(key, expected);
    mem_free(key);
}

static void assert_no_key(const char *line, enum err expected, const char *says)
{
    struct errmsg msg;
    char *key = NULL;
    assert_int_equal(key_by(line, &key, &msg), expected);
    if (!strstr(msg.text, says)) fail_msg("%s: \"%s\" instead of \"%s\"", line, msg.text, says);
    if (strstr(msg.text, "sesame")) fail_msg("%s: it is in the message: %s", line, msg.text);
}

static void write_key(const char *file, const char *text, size_t len, mode_t mode)
{
    assert_int_equal(file_write(file, text, len, NULL), OK);
    assert_int_equal(chmod(file, mode), 0);
}

static void test_key_files(void **state)
{
    (void)state;
    char file[80], line[120], says[200];
    snprintf(file, sizeof file, "%s/gpu.key", folder);
    snprintf(line, sizeof line, "key_file = %s", file);
    assert_key("", "");
    assert_no_key("key_file = gpu.key", ERR_NOT_FOUND, file);
    static const char text[] = " \tsesame-1~!\t \r\nand more\n";
    write_key(file, text, sizeof text - 1, 0600);
    assert_key(line, "sesame-1~!");
    assert_key("key_file = gpu.key", "sesame-1~!"); /* beside the settings */
    assert_key("key_file = ./gpu.key", "sesame-1~!");
    assert_key("key_file = ~/gpu.key", "sesame-1~!"); /* at home, which is the same folder here */
    assert_int_equal(chmod(file, 0400), 0);
    assert_key(line, "sesame-1~!");
    snprintf(says, sizeof says, "run: chmod 600 %s", file);
    static const mode_t modes[] = {0640, 0604, 0620, 0602};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(file, modes[i]), 0);
        assert_no_key(line, ERR_ARG, says);
    }
    unlink(file);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_no_key(line, ERR_ARG, "not a file");
    unlink(file);
}

static void test_key_contents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {{"", "empty"},
                 {"\nsesame\n", "empty"},
                 {"sesame open\n", "one word"},
                 {"sesame\rX-Header: 1\n", "one word"},
                 {"sesame\x7f", "one word"},
                 {"s\xc3\xa9same", "one word"}};
    char file[80], *long_key = mem_new(10000);
    snprintf(file, sizeof file, "%s/gpu.key", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_key(file, cases[i].text, strlen(cases[i].text), 0600);
        assert_no_key("key_file = gpu.key", ERR_ARG, cases[i].says);
    }
    write_key(file, "sesame\0x\n", 9, 0600);
    assert_no_key("key_file = gpu.key", ERR_ARG, "one word");
    memset(long_key, 'k', 9999);
    write_key(file, long_key, 4097, 0600);
    assert_no_key("key_file = gpu.key", ERR_ARG, "longer than the 4096 bytes");
    write_key(file, long_key, 9999, 0600);
    assert_no_key("key_file = gpu.key", ERR_ARG, "longer than the 4096 bytes");
    write_key(file, long_key, 4096, 0600);
    long_key[4096] = '\0';
    assert_key("key_file = gpu.key", long_key);
    mem_free(long_key);
    unlink(file);
}

static void test_key_variables(void **state)
{
    (void)state;
    unsetenv("GPU_KEY");
    assert_no_key("key_env = GPU_KEY", ERR_NOT_FOUND, "no variable GPU_KEY, which model.gpu.key_env names");
    setenv("GPU_KEY", "", 1);
    assert_no_key("key_env = GPU_KEY", ERR_NOT_FOUND, "GPU_KEY");
    setenv("GPU_KEY", "ses ame", 1);
    assert_no_key("key_env = GPU_KEY", ERR_ARG, "GPU_KEY: a key is one word");
    setenv("GPU_KEY", "sesame ", 1);
    assert_key("key_env = GPU_KEY", "sesame");
    unsetenv("GPU_KEY");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_section),        cmocka_unit_test(test_refused_sections),
        cmocka_unit_test(test_refused_values), cmocka_unit_test(test_urls),
        cmocka_unit_test(test_private_urls),   cmocka_unit_test(test_reports),
        cmocka_unit_test(test_key_files),      cmocka_unit_test(test_key_contents),
        cmocka_unit_test(test_key_variables),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
