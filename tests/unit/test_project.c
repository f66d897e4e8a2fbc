/* The index of a project, over folders made for each test: what is found and what must not be, how it follows
 * changes, its bounds, and its lookups while it works. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "context/identifiers.h"
#include "context/project.h"
#include "context/secrets.h"
#include "os/clock.h"

#define LONG_MS 50000 /* a loaded machine, and sanitizers, are slow; an indexer of low priority more so */

struct place {
    char root[64];
    struct secrets *secrets;
    struct project *project; /* null until opened */
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->root, sizeof place->root, "/tmp/inline-project-XXXXXX");
    if (!mkdtemp(place->root)) return -1;
    *state = place;
    return secrets_new(&(struct secrets_options){0}, &place->secrets, NULL);
}

static int tear_down(void **state)
{
    struct place *place = *state;
    char command[128];
    project_close(&place->project);
    secrets_free(&place->secrets);
    snprintf(command, sizeof command, "rm -rf %s", place->root);
    free(place);
    return system(command);
}

/* Folders on the way are made. */
static void put_bytes(struct place *place, const char *name, const char *bytes, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", place->root, name);
    for (char *slash = path + strlen(place->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void put(struct place *place, const char *name, const char *text)
{
    put_bytes(place, name, text, strlen(text));
}

static void run(struct place *place, const char *command)
{
    char line[512];
    snprintf(line, sizeof line, "cd %s && %s", place->root, command);
    assert_int_equal(system(line), 0);
}

static void settle(struct place *place)
{
    assert_true(project_settle(place->project, LONG_MS));
}

static void open_with(struct place *place, struct project_options o)
{
    struct errmsg msg = {""};
    o.root = place->root;
    o.secrets = place->secrets;
    if (project_open(&o, &place->project, &msg)) fail_msg("%s", msg.text);
    settle(place);
}

static void open_it(struct place *place)
{
    open_with(place, (struct project_options){.is_watched = true});
}

/* "path:line path:line ..." of what is called so. */
static const char *found(struct place *place, const char *name, const char *from)
{
    static char text[4096];
    struct project_answer a;
    size_t len = 0;
    assert_int_equal(project_find(place->project, name, strlen(name), from, 10, &a), OK);
    text[0] = '\0';
    for (int32_t i = 0; i < a.n; i++) {
        assert_string_equal(a.items[i].name, name);
        assert_int_equal(a.items[i].text_len, strlen(a.items[i].text));
        assert_int_equal(a.items[i].text[a.items[i].text_len - 1], '\n');
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s:%d", i ? " " : "", a.items[i].path,
                                a.items[i].line);
    }
    project_answer_clear(&a);
    return text;
}

static struct project_stats stats(struct place *place)
{
    struct project_stats s;
    project_stats(place->project, &s);
    return s;
}

static bool has_inotify(void)
{
    return access("/proc/sys/fs/inotify", F_OK) == 0;
}

/* ---- What is found */

static void test_definitions(void **state)
{
    struct place *place = *state;
    put(place, "src/a.c",
        "#include \"a.h\"\n\n/* Adds one. */\nint add_one(int x)\n{\n    int local = x + 1;\n"
        "    return local;\n}\n");
    put(place, "src/a.h", "struct pair {\n    int left, right;\n};\nint add_one(int x);\n");
    put(place, "lib/b.py",
        "class Shape:\n    \"\"\"A shape.\"\"\"\n    def area(self):\n        return 0\n\n"
        "def helper():\n    def inner():\n        pass\n    return inner\n");
    put(place, "README.md", "# add_one\n");
    put(place, "data.json", "{\"add_one\": 1}\n");
    open_it(place);
    assert_string_equal(found(place, "add_one", "src/b.c"), "src/a.c:4 src/a.h:4");
    assert_string_equal(found(place, "pair", NULL), "src/a.h:1");
    assert_string_equal(found(place, "Shape", NULL), "lib/b.py:1");
    assert_string_equal(found(place, "area", NULL), "lib/b.py:3");
    assert_string_equal(found(place, "helper", NULL), "lib/b.py:6");
    assert_string_equal(found(place, "inner", NULL), "");
    assert_string_equal(found(place, "local", NULL), "");
    assert_string_equal(found(place, "nothing", NULL), "");
    struct project_answer a;
    assert_int_equal(project_find(place->project, "add_one", 7, NULL, 1, &a), OK);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.items[0].kind, OUTLINE_FUNCTION);
    assert_non_null(strstr(a.items[0].text, "/* Adds one. */\nint add_one(int x)"));
    assert_null(strstr(a.items[0].text, "return"));
    uint64_t hash = a.items[0].hash;
    project_answer_clear(&a);
    project_answer_clear(&a);
    assert_int_equal(project_find(place->project, "add_one", 7, "src/a.h", 1, &a), OK);
    assert_int_equal(a.items[0].hash, hash); /* the same text */
    project_answer_clear(&a);
    assert_int_equal(project_find(place->project, "add_one", 7, NULL, 0, &a), OK);
    assert_int_equal(a.n, 0);
    assert_int_equal(project_outline(place->project, "lib/b.py", 10, &a), OK);
    assert_int_equal(a.n, 2);
    assert_string_equal(a.items[0].name, "Shape");
    assert_string_equal(a.items[1].name, "helper");
    project_answer_clear(&a);
    assert_int_equal(project_outline(place->project, "lib/none.py", 10, &a), OK);
    assert_int_equal(a.n, 0);
    struct project_stats s = stats(place);
    assert_int_equal(s.n_files, 3);
    assert_int_equal(s.n_waiting, 0);
    assert_false(s.is_limited);
}

/* Imported files first, then the folder's, then the nearest; the asking file last. */
static void test_order(void **state)
{
    struct place *place = *state;
    put(place, "a/main.py", "import far.tools\nfrom . import near\n\ndef get():\n    pass\n");
    put(place, "far/tools.py", "def get():\n    pass\n");
    put(place, "a/z.py", "# Says why.\ndef get():\n    pass\n");
    put(place, "a/b.py", "def get():\n    pass\n");
    put(place, "a/sub/c.py", "def get():\n    pass\n\n\nclass X:\n    def get(self):\n        pass\n");
    put(place, "other/d.py", "def get():\n    pass\n");
    open_it(place);
    assert_string_equal(
        found(place, "get", "a/main.py"),
        "far/tools.py:1 a/z.py:2 a/b.py:1 a/sub/c.py:1 a/sub/c.py:6 other/d.py:1 a/main.py:4");
    assert_string_equal(
        found(place, "get", "other/new.py"),
        "other/d.py:1 a/z.py:2 a/b.py:1 a/main.py:4 a/sub/c.py:1 a/sub/c.py:6 far/tools.py:1");
    struct project_answer a;
    assert_int_equal(project_find(place->project, "get", 3, "a/main.py", 2, &a), OK);
    assert_int_equal(a.n, 2);
    assert_string_equal(a.items[0].path, "far/tools.py");
    project_answer_clear(&a);
}

/* "path:name ..." of what has to do with these words, of which the first counts most. */
static const char *related(struct place *place, const char *const *names, int32_t n, const char *from)
{
    static char text[4096];
    struct project_word words[8];
    struct project_answer a;
    size_t len = 0;
    for (int32_t i = 0; i < n; i++) {
        struct project_word w = {.weight = 1.0 / (1 + i)};
        size_t at = 0, where = (size_t)i;
        assert_true(identifiers_part(names[i], strlen(names[i]), &at, &w.hash));
        for (; where > 0 && words[where - 1].hash > w.hash; where--) words[where] = words[where - 1];
        words[where] = w;
    }
    assert_int_equal(project_related(place->project, words, n, from, 10, &a), OK);
    text[0] = '\0';
    for (int32_t i = 0; i < a.n; i++) {
        assert_true(a.items[i].score > 0 && (i == 0 || a.items[i].score <= a.items[i - 1].score));
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s:%s", i ? " " : "", a.items[i].path,
                                a.items[i].name);
    }
    project_answer_clear(&a);
    return text;
}

/* By the parts of names: of definitions, of their types, of their files. */
static void test_related(void **state)
{
    struct place *place = *state;
    put(place, "gauge.py",
        "class Meter:\n    def take_reading(self):\n        pass\n\n    def stop(self):\n        pass\n");
    put(place, "main.py", "import gauge\n\ndef read_gauge():\n    pass\n");
    put(place, "other.py", "def sort():\n    pass\n\ndef merge():\n    pass\n\ndef meter_of():\n    pass\n");
    open_it(place);
    assert_string_equal(related(place, (const char *[]){"reading"}, 1, "main.py"), "gauge.py:take_reading");
    assert_string_equal(related(place, (const char *[]){"meter"}, 1, "main.py"),
                        "gauge.py:Meter other.py:meter_of gauge.py:take_reading gauge.py:stop");
    assert_string_equal(related(place, (const char *[]){"gauge"}, 1, "main.py"),
                        "gauge.py:Meter gauge.py:take_reading gauge.py:stop"); /* not its own */
    assert_string_equal(related(place, (const char *[]){"merge", "reading"}, 2, "other.py"),
                        "gauge.py:take_reading");
    assert_string_equal(related(place, (const char *[]){"nothing"}, 1, "main.py"), "");
    assert_string_equal(related(place, NULL, 0, "main.py"), "");
}

/* A name that is defined everywhere is not found at all. */
static void test_common_name(void **state)
{
    struct place *place = *state;
    struct buf text;
    buf_init(&text, 100000);
    for (int i = 0; i < 300; i++) buf_printf(&text, "class C%d:\n    def init(self):\n        pass\n", i);
    put(place, "a.py", buf_str(&text));
    open_it(place);
    struct project_answer a;
    assert_int_equal(project_find(place->project, "init", 4, NULL, 3, &a), OK);
    assert_int_equal(a.n, 3);
    project_answer_clear(&a);
    put(place, "b.py", buf_str(&text));
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "init", NULL), "");
    assert_string_equal(found(place, "C7", NULL), "a.py:22 b.py:22");
    buf_clear(&text);
}

static void test_resolve(void **state)
{
    static const struct {
        const char *from, *target, *path; /* null: none */
    } rows[] = {
        {"src/a.c", "a.h", "src/a.h"},
        {"src/a.c", "base/buf.h", "src/base/buf.h"},
        {"src/base/x.c", "../a.h", "src/a.h"},
        {"src/base/x.c", "../../a.h", "src/a.h"},
        {"src/a.c", "none/buf.h", NULL},
        {"src/a.c", "../../../../a.c", "src/a.c"},
        {"py/app/main.py", "app.util", "py/app/util.py"},
        {"py/app/main.py", ".util", "py/app/util.py"},
        {"py/app/main.py", "..lib", "py/lib/__init__.py"},
        {"py/app/main.py", ".", "py/app/__init__.py"},
        {"py/app/main.py", "lib", "py/lib/__init__.py"},
        {"py/app/main.py", "......x", NULL},
        {"py/app/main.py", "os.path", NULL},
        {"web/app.ts", "./util", "web/util.ts"},
        {"web/app.ts", "./util.js", "web/util.ts"},
        {"web/app.ts", "./parts", "web/parts/index.tsx"},
        {"web/parts/index.tsx", "..", NULL},
        {"web/parts/index.tsx", "../util", "web/util.ts"},
        {"web/app.ts", "@/parts/index", "web/parts/index.tsx"},
        {"web/app.ts", "util", NULL},
        {"cmd/main.go", "example.org/x/internal/store", "internal/store/mem.go"},
        {"cmd/main.go", "encoding/store", NULL},
        {"cmd/main.go", "fmt", NULL},
        {"rs/src/main.rs", "net", "rs/src/net/mod.rs"},
        {"rs/src/net/mod.rs", "tcp", "rs/src/net/tcp.rs"},
        {"rs/src/main.rs", "crate::net::tcp::Stream", "rs/src/net/tcp.rs"},
        {"rs/src/net/tcp.rs", "super::udp", "rs/src/net/udp.rs"},
        {"rs/src/net/tcp.rs", "crate::net::{udp, Other}", "rs/src/net/mod.rs"},
        {"rs/src/main.rs", "std::io", NULL},
        {"java/org/x/Main.java", "org.x.util.Names", "java/org/x/util/Names.java"},
        {"java/org/x/Main.java", "org.x.util.Names.first", "java/org/x/util/Names.java"},
        {"java/org/x/Main.java", "org.x.util.*", NULL},
        {"lua/main.lua", "kit.net", "lua/kit/net.lua"},
        {"lua/main.lua", "kit", "lua/kit/init.lua"},
        {"sh/run.sh", "./lib.sh", "sh/lib.sh"},
        {"sh/run.sh", "$(dirname $0)/lib.sh", "sh/lib.sh"},
    };
    static const char *const files[] = {"src/a.c",
                                        "src/a.h",
                                        "src/base/buf.h",
                                        "deep/er/src/a.h",
                                        "py/app/main.py",
                                        "py/app/util.py",
                                        "py/app/__init__.py",
                                        "py/lib/__init__.py",
                                        "other/util.py",
                                        "web/app.ts",
                                        "web/util.ts",
                                        "web/parts/index.tsx",
                                        "cmd/main.go",
                                        "internal/store/disk.go",
                                        "internal/store/mem.go",
                                        "rs/src/main.rs",
                                        "rs/src/net/mod.rs",
                                        "rs/src/net/tcp.rs",
                                        "rs/src/net/udp.rs",
                                        "java/org/x/Main.java",
                                        "java/org/x/util/Names.java",
                                        "lua/main.lua",
                                        "lua/kit/net.lua",
                                        "lua/kit/init.lua",
                                        "sh/run.sh",
                                        "sh/lib.sh"};
    struct place *place = *state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) put(place, files[i], "\n");
    open_it(place);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256] = "";
        bool is_found = project_resolve(place->project, rows[i].from, rows[i].target, strlen(rows[i].target),
                                        path, sizeof path);
        if (is_found != (rows[i].path != NULL) || (is_found && strcmp(path, rows[i].path) != 0))
            fail_msg("%s in %s is \"%s\", not \"%s\"", rows[i].target, rows[i].from, path,
                     rows[i].path ? rows[i].path : "");
    }
    char small[4];
    assert_false(project_resolve(place->project, "src/a.c", "a.h", 3, small, sizeof small));
    /* Whatever an import says, nothing breaks. */
    char target[3000];
    for (unsigned seed = 0; seed < 20000; seed++) {
        static const char bytes[] = "/..a:*{$ @~uti\\\n\xff";
        size_t len = seed % 100 ? seed % 17 : sizeof target;
        uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15);
        for (size_t i = 0; i < len; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            target[i] = bytes[(random >> 40) % (sizeof bytes - 1)];
        }
        char path[256];
        project_resolve(place->project, files[seed % (sizeof files / sizeof *files)], target, len, path,
                        sizeof path);
    }
}

/* ---- What must not be found */

static void test_ignored(void **state)
{
    struct place *place = *state;
    put(place, ".gitignore", "build/\n*.gen.c\n/only_root.c\n");
    put(place, ".inlineignore", "private/\n");
    put(place, "sub/.gitignore", "!kept.gen.c\nhidden.c\n");
    put(place, ".git/info/exclude", "excluded.c\n");
    static const char *const out[] = {"build/a.c",    "a.gen.c",       "only_root.c", "private/a.c",
                                      "sub/hidden.c", "sub/build/a.c", "excluded.c",  ".git/hooks/a.c",
                                      ".hg/a.c",      "sub/.svn/a.c"};
    static const char *const in[] = {"sub/kept.gen.c", "sub/only_root.c", "hidden.c"};
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) put(place, out[i], "int unwanted(void);\n");
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) put(place, in[i], "int wanted(void);\n");
    run(place, "ln -s ../sub/kept.gen.c link.c && ln -s sub folder && ln -s . loop && mkfifo pipe.c && "
               "mkfifo private/.gitignore && mkfifo loop/fifo.py");
    open_it(place);
    assert_string_equal(found(place, "unwanted", NULL), "");
    assert_string_equal(found(place, "wanted", NULL), "hidden.c:1 sub/kept.gen.c:1 sub/only_root.c:1");
    assert_int_equal(stats(place).n_files, 3);
}

static void test_not_source(void **state)
{
    struct place *place = *state;
    struct buf text;
    buf_init(&text, (size_t)4 << 20);
    for (int i = 0; i < 2000; i++) buf_printf(&text, "int minified_%d(void);", i);
    put(place, "minified.c", buf_str(&text));
    buf_reset(&text);
    for (int i = 0; i < 30000; i++) buf_printf(&text, "int long_%d(void);\n", i);
    put(place, "long.c", buf_str(&text));
    put(place, "generated.c", "/* @generated */\nint made(void);\n");
    put(place, "generated2.c", "\n// Code by protoc. DO NOT EDIT.\nint made(void);\n");
    put_bytes(place, "binary.c", "int made(void);\n\0int made(void);\n", 33);
    put_bytes(place, "latin.c", "/* \xe4 */\nint latin(void);\n", 25);
    put(place, "empty.c", "");
    open_it(place);
    assert_string_equal(found(place, "minified_3", NULL), "");
    assert_string_equal(found(place, "long_3", NULL), "");
    assert_string_equal(found(place, "made", NULL), "");
    struct project_answer a;
    assert_int_equal(project_find(place->project, "latin", 5, NULL, 1, &a), OK);
    assert_int_equal(a.n, 1);
    assert_non_null(strstr(a.items[0].text, "\xef\xbf\xbd")); /* what is shown to a model is UTF-8 */
    project_answer_clear(&a);
    assert_int_equal(stats(place).n_skipped, 5);
    assert_int_equal(stats(place).n_files, 2);
    buf_clear(&text);
}

static void test_secrets(void **state)
{
    struct place *place = *state;
    put(place, ".env.py", "def from_env():\n    pass\n");
    put(place, "credentials", "def from_env():\n    pass\n");
    put(place, "id_rsa", "def from_env():\n    pass\n");
    put(place, "config.py",
        "def before():\n    pass\n\n\n"
        "GITHUB_TOKEN = \"ghp_16C7e42F292c6912E7710c838347Ae178B4a\"\n\n\n"
        "def connect(token=\"ghp_16C7e42F292c6912E7710c838347Ae178B4a\"):\n    pass\n");
    open_it(place);
    struct project_answer a;
    assert_string_equal(found(place, "before", NULL), "config.py:1");
    assert_int_equal(project_outline(place->project, "config.py", 10, &a), OK);
    assert_true(a.n >= 2);
    for (int32_t i = 0; i < a.n; i++) assert_null(strstr(a.items[i].text, "ghp_"));
    project_answer_clear(&a);
    assert_int_equal(project_outline(place->project, ".env.py", 10, &a), OK);
    if (secrets_is_file(place->secrets, ".env.py")) assert_int_equal(a.n, 0);
    project_answer_clear(&a);
    assert_int_equal(project_find(place->project, "connect", 7, NULL, 1, &a), OK);
    assert_int_equal(a.n, 1);
    assert_non_null(strstr(a.items[0].text, SECRETS_MASK));
    project_answer_clear(&a);
}

/* ---- Changes */

static void test_changes(void **state)
{
    struct place *place = *state;
    if (!has_inotify()) skip();
    put(place, "a.c", "int one(void);\n");
    put(place, "sub/b.c", "int two(void);\n");
    open_it(place);
    uint64_t version = project_version(place->project);
    settle(place);
    assert_int_equal(project_version(place->project), version);
    put(place, "a.c", "int ONE(void);\n"); /* of the same length, in the same second */
    settle(place);
    assert_string_equal(found(place, "one", NULL), "");
    assert_string_equal(found(place, "ONE", NULL), "a.c:1");
    assert_true(project_version(place->project) > version);
    version = project_version(place->project);
    put(place, "a.c", "int ONE(void);\n"); /* written, but as it was */
    settle(place);
    assert_int_equal(project_version(place->project), version);
    run(place, "mv sub/b.c c.c");
    settle(place);
    assert_string_equal(found(place, "two", NULL), "c.c:1");
    run(place, "rm c.c");
    settle(place);
    assert_string_equal(found(place, "two", NULL), "");
    put(place, "new/folder/d.c", "int three(void);\n");
    settle(place);
    assert_string_equal(found(place, "three", NULL), "new/folder/d.c:1");
    put(place, "new/folder/e.c", "int four(void);\n"); /* the new folder is watched too */
    settle(place);
    assert_string_equal(found(place, "four", NULL), "new/folder/e.c:1");
    run(place, "mv new newer");
    settle(place);
    assert_string_equal(found(place, "four", NULL), "newer/folder/e.c:1");
    put(place, "newer/folder/e.c", "\nint four(void);\n");
    settle(place);
    assert_string_equal(found(place, "four", NULL), "newer/folder/e.c:2");
    put(place, ".gitignore", "newer\n");
    settle(place);
    assert_string_equal(found(place, "four", NULL), "");
    put(place, "newer/folder/f.c", "int five(void);\n");
    settle(place);
    assert_string_equal(found(place, "five", NULL), "");
    run(place, "rm .gitignore");
    settle(place);
    assert_string_equal(found(place, "five", NULL), "newer/folder/f.c:1");
    run(place, "rm -rf newer");
    settle(place);
    assert_string_equal(found(place, "five", NULL), "");
    assert_int_equal(stats(place).n_files, 1);
    put(place, "a.c", "/* @generated */\n");
    settle(place);
    assert_int_equal(stats(place).n_files, 0);
    assert_int_equal(stats(place).n_skipped, 1);
    assert_int_equal(stats(place).n_definitions, 0);
    run(place, "rm -rf a.c sub");
    settle(place);
    assert_int_equal(stats(place).n_skipped, 0);
}

/* Nobody asks: changes are followed all the same, soon after they happened. */
static void test_follows(void **state)
{
    struct place *place = *state;
    if (!has_inotify()) skip();
    open_it(place);
    put(place, "a.c", "int one(void);\n");
    int64_t start = clock_ns();
    while (!*found(place, "one", NULL) && clock_ms_since(start) < LONG_MS) usleep(1000);
    assert_string_equal(found(place, "one", NULL), "a.c:1");
    put(place, "sub/b.c", "int two(void);\n");
    start = clock_ns();
    while (!*found(place, "two", NULL) && clock_ms_since(start) < LONG_MS) usleep(1000);
    assert_string_equal(found(place, "two", NULL), "sub/b.c:1");
}

static void test_rescan(void **state)
{
    struct place *place = *state;
    put(place, "a.c", "int one(void);\n");
    open_with(place, (struct project_options){.is_watched = false});
    put(place, "b.c", "int two(void);\n");
    put(place, "a.c", "int ONE(void);\n");
    settle(place);
    assert_string_equal(found(place, "two", NULL), "");
    assert_string_equal(found(place, "one", NULL), "a.c:1");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "two", NULL), "b.c:1");
    assert_string_equal(found(place, "one", NULL), "");
    assert_string_equal(found(place, "ONE", NULL), "a.c:1");
    run(place, "rm a.c");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "ONE", NULL), "");
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", place->root);
    assert_int_equal(system(command), 0);
    project_rescan(place->project);
    settle(place);
    assert_int_equal(stats(place).n_files, 0);
}

/* Where the system does not tell of changes, somebody else may. */
static void test_unwatched(void **state)
{
    struct place *place = *state;
    struct rlimit usual, few;
    struct project_options o = {.root = place->root, .secrets = place->secrets, .is_watched = true};
    put(place, "a.c", "int one(void);\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = (struct rlimit){.rlim_cur = 3, .rlim_max = usual.rlim_max}; /* no file can be opened */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    enum err err = project_open(&o, &place->project, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_int_equal(err, OK);
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "one", NULL), "a.c:1");
    put(place, "b.c", "int two(void);\n");
    settle(place);
    assert_string_equal(found(place, "two", NULL), "");
    project_rescan_unwatched(place->project);
    settle(place);
    assert_string_equal(found(place, "two", NULL), "b.c:1");
    put(place, "c.c", "int three(void);\n");
    project_rescan_unwatched(place->project); /* nobody waits: when there is time */
    int64_t start = clock_ns();
    while (!*found(place, "three", NULL) && clock_ms_since(start) < LONG_MS) usleep(1000);
    assert_string_equal(found(place, "three", NULL), "c.c:1");
}

/* A project that follows changes does not walk for what it is told. */
static void test_told_in_vain(void **state)
{
    struct place *place = *state;
    if (!has_inotify()) skip();
    put(place, "a.c", "int one(void);\n");
    run(place, "mkdir .git && ln a.c .git/link");
    open_it(place);
    run(place, "echo 'int two(void);' > .git/link"); /* under another name: the system does not tell */
    project_rescan_unwatched(place->project);
    settle(place);
    assert_string_equal(found(place, "one", NULL), "a.c:1");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "two", NULL), "a.c:1");
}

/* ---- Bounds and time */

static void put_many(struct place *place, int n, int n_functions)
{
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    for (int i = 0; i < n; i++) {
        char name[64];
        buf_reset(&text);
        for (int k = 0; k < n_functions; k++)
            buf_printf(&text, "/* Does %d. */\nint do_%d_%d(int x)\n{\n    return x;\n}\n\n", k, i, k);
        snprintf(name, sizeof name, "d%d/f%d.c", i / 100, i);
        put(place, name, buf_str(&text));
    }
    buf_clear(&text);
}

static void test_bounds(void **state)
{
    struct place *place = *state;
    put_many(place, 300, 20);
    open_with(place, (struct project_options){.max_bytes = 300000});
    struct project_stats s = stats(place);
    assert_true(s.is_limited);
    assert_true(s.n_files > 20 && s.n_files < 300);
    assert_true(s.n_bytes <= 300000);
    int32_t n_files = s.n_files;
    project_rescan(place->project);
    settle(place);
    assert_int_equal(stats(place).n_files, n_files); /* the same ones */
    assert_string_equal(found(place, "do_0_19", NULL), "d0/f0.c:116");
    run(place, "rm -rf d0 d1");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "do_0_19", NULL), "");
    assert_string_equal(found(place, "do_200_19", NULL), "d2/f200.c:116");
    project_close(&place->project);
    open_with(place, (struct project_options){.max_files = 10});
    s = stats(place);
    assert_true(s.is_limited);
    assert_int_equal(s.n_files, 10);
    struct buf deep;
    buf_init(&deep, 4096);
    for (int i = 0; i < 70; i++) buf_add_str(&deep, "x/");
    buf_add_str(&deep, "deep.c");
    run(place, "rm -rf d2");
    put(place, buf_str(&deep), "int deep(void);\n");
    put(place, "shallow.c", "int deep(void);\n");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "deep", NULL), "shallow.c:1");
    assert_true(stats(place).is_limited);
    buf_clear(&deep);
}

/* While somebody types nothing is read; afterwards it goes on. */
static void test_pause(void **state)
{
    struct place *place = *state;
    open_it(place);
    project_pause(place->project, 60000);
    put(place, "a.c", "int one(void);\n");
    project_rescan(place->project);
    assert_false(project_settle(place->project, 300));
    assert_string_equal(found(place, "one", NULL), "");
    int64_t start = clock_ns();
    project_close(&place->project); /* at once, though it is paused */
    assert_true(clock_ms_since(start) < 1000);
    assert_null(place->project);
    struct errmsg msg;
    struct project_options o = {.root = place->root, .secrets = place->secrets};
    assert_int_equal(project_open(&o, &place->project, &msg), OK);
    start = clock_ns();
    project_pause(place->project, 200);
    project_pause(place->project, 1); /* does not shorten it */
    put(place, "b.c", "int two(void);\n");
    project_rescan(place->project);
    settle(place);
    assert_true(clock_ms_since(start) >= 150);
    assert_string_equal(found(place, "two", NULL), "b.c:1");
}

/* In the middle of everything, a long parse too. */
static void test_close(void **state)
{
    struct place *place = *state;
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    for (int i = 0; i < 9000; i++)
        buf_printf(&text, "int f%d(int (*x)[%d], int y) { return (*x)[y]; }\n", i, i);
    put(place, "a.c", buf_str(&text));
    put_many(place, 200, 5);
    struct project_options o = {.root = place->root, .secrets = place->secrets, .is_watched = true};
    struct errmsg msg;
    for (int i = 0; i < 30; i++) {
        assert_int_equal(project_open(&o, &place->project, &msg), OK);
        usleep((useconds_t)i * 700);
        int64_t start = clock_ns();
        project_close(&place->project);
        assert_true(clock_ms_since(start) < 10000); /* milliseconds, where it gets the processor */
    }
    project_close(&place->project);
    buf_clear(&text);
}

static void test_errors(void **state)
{
    struct place *place = *state;
    struct errmsg msg = {""};
    struct project_options o = {.root = "/nothing/is/here", .secrets = place->secrets};
    assert_int_equal(project_open(&o, &place->project, &msg), ERR_IO);
    assert_null(place->project);
    assert_non_null(strstr(msg.text, "/nothing/is/here"));
    o.root = "relative";
    assert_int_equal(project_open(&o, &place->project, &msg), ERR_ARG);
    o.root = "/etc/passwd";
    assert_int_equal(project_open(&o, &place->project, &msg), ERR_IO);
}

static void test_two(void **state)
{
    struct place *place = *state;
    void *second;
    assert_int_equal(set_up(&second), 0);
    struct place *other = second;
    put(place, "a.c", "int one(void);\n");
    put(other, "a.c", "int two(void);\n");
    open_it(place);
    open_it(other);
    assert_string_equal(found(place, "one", NULL), "a.c:1");
    assert_string_equal(found(place, "two", NULL), "");
    assert_string_equal(found(other, "two", NULL), "a.c:1");
    assert_int_equal(tear_down(&second), 0);
    put(place, "b.c", "int three(void);\n");
    project_rescan(place->project);
    settle(place);
    assert_string_equal(found(place, "three", NULL), "b.c:1");
}

struct reader {
    struct place *place;
    atomic_bool is_over;
    int n_found;
};

static void *look_up(void *arg)
{
    struct reader *r = arg;
    for (int i = 0; !atomic_load(&r->is_over); i++) {
        struct project_answer a;
        char name[32], path[256];
        struct project_stats s;
        snprintf(name, sizeof name, "do_%d_%d", i % 2000, i % 3);
        if (project_find(r->place->project, name, strlen(name), "d0/f0.c", 3, &a)) return NULL;
        if (a.n == 1 && strcmp(a.items[0].name, name) == 0) r->n_found++;
        if (a.n > 2) return NULL; /* two: where it was moved to is seen before it is known to be gone */
        project_answer_clear(&a);
        if (project_outline(r->place->project, "d0/f1.c", 10, &a)) return NULL;
        project_answer_clear(&a);
        project_resolve(r->place->project, "d0/f0.c", "d1/f100.c", 9, path, sizeof path);
        project_stats(r->place->project, &s);
        project_version(r->place->project);
        if (i % 50 == 0) project_pause(r->place->project, 0.1);
        if (i % 20 == 0) usleep(1000); /* the indexer has the lowest priority */
    }
    return r;
}

/* Thousands of files, looked up by two threads while they are indexed and changed. */
static void test_threads(void **state)
{
    struct place *place = *state;
    struct reader readers[2] = {{.place = place}, {.place = place}};
    pthread_t threads[2];
    put_many(place, 2000, 3);
    struct project_options o = {.root = place->root, .secrets = place->secrets, .is_watched = true};
    assert_int_equal(project_open(&o, &place->project, NULL), OK);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, look_up, &readers[i]), 0);
    settle(place);
    assert_int_equal(stats(place).n_files, 2000);
    assert_int_equal(stats(place).n_definitions, 6000);
    run(place,
        "rm -rf d1 && mv d2 e2 && for i in 300 301 302 303; do echo 'int more(void);' >> d3/f$i.c; done");
    project_rescan(place->project);
    settle(place);
    assert_int_equal(stats(place).n_files, 1900);
    assert_string_equal(found(place, "do_200_0", NULL), "e2/f200.c:2");
    assert_string_equal(found(place, "more", NULL), "d3/f300.c:19 d3/f301.c:19 d3/f302.c:19 d3/f303.c:19");
    for (int i = 0; i < 2; i++) {
        void *result;
        atomic_store(&readers[i].is_over, true);
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, &readers[i]);
        assert_true(readers[i].n_found > 0);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_definitions),  TEST(test_order),   TEST(test_related),    TEST(test_common_name),
        TEST(test_resolve),      TEST(test_ignored), TEST(test_not_source), TEST(test_secrets),
        TEST(test_changes),      TEST(test_follows), TEST(test_rescan),     TEST(test_unwatched),
        TEST(test_told_in_vain), TEST(test_bounds),  TEST(test_pause),      TEST(test_close),
        TEST(test_errors),       TEST(test_two),     TEST(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
