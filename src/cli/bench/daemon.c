/* See daemon.h. */
#include "cli/bench/daemon.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "cli/settings.h"
#include "os/clock.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/process.h"
#include "serve/ask.h"

#define PATH_LIMIT      65536
#define LISTEN_MS       10000.0 /* a daemon listens a few milliseconds after its start */
#define LISTEN_POLL_NS  500000  /* 0.5 ms: the wait is part of what is measured */
#define END_MS          5000.0
#define OPEN_FILES      16 /* at once, while the home is removed */
#define LIST_MAX        512
#define LOG_SHOWN_BYTES 200
/* Should we be killed, so that nobody ends it. Longer than any pause between two questions. */
#define IDLE_EXIT "--idle-exit=60"

/* What stands in front of the environment that we have ourselves: directories below the home, and settings
 * that would reach beyond it or have another model answer. */
static const char *const directories[][2] = {
    {"XDG_CACHE_HOME", "cache"}, {"XDG_STATE_HOME", "state"}, {"XDG_RUNTIME_DIR", "run"}};
static const char *const variables[] = {
    "INLINE_MODELS_INSTANT=", "INLINE_MODELS_LANGUAGES=", "INLINE_CACHE_TEAM=",
    "INLINE_ALERTS_COMMAND=", "INLINE_ALERTS_WEBHOOK=",
};

/* --- The home ------------------------------------------------------------------------------------------- */

static char *path_in(const char *dir, const char *name)
{
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/%s", dir, name);
    return buf_take(&path);
}

/* In the daemon's cache directory, the name of packed weights leads to those of the user. */
static enum err link_packs(const char *home, struct errmsg *msg)
{
    char *packs = dirs_path(DIR_CACHE, "packs"), *cache = path_in(home, "cache/inline");
    char *name = path_in(cache, "packs");
    enum err err = dirs_make(packs, msg);
    if (!err) err = dirs_make(cache, msg);
    if (!err && symlink(packs, name) != 0) err = err_set(msg, ERR_IO, "%s: %s", name, strerror(errno));
    mem_free(name);
    mem_free(cache);
    mem_free(packs);
    return err;
}

enum err bench_daemon_open(struct bench_daemon *d, struct errmsg *msg)
{
    /* On the disk that the user's caches are on. */
    char *cache = dirs_path(DIR_CACHE, NULL), *home = dirs_path(DIR_CACHE, "bench-XXXXXX");
    enum err err = dirs_make(cache, msg);
    if (!err && !mkdtemp(home)) err = err_set(msg, ERR_IO, "%s: cannot be made: %s", home, strerror(errno));
    mem_free(cache);
    if (err) {
        mem_free(home);
        return err;
    }
    d->home = home;
    d->socket = path_in(home, "s");
    d->log = path_in(home, "log");
    return link_packs(home, msg);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st, (void)kind, (void)place;
    return remove(path) == 0 ? 0 : -1;
}

void bench_daemon_close(struct bench_daemon *d)
{
    bench_daemon_stop(d);
    if (d->home) nftw(d->home, remove_one, OPEN_FILES, FTW_DEPTH | FTW_PHYS); /* links are not followed */
    mem_free(d->home);
    mem_free(d->socket);
    mem_free(d->log);
    *d = (struct bench_daemon){0};
}

/* --- The process ---------------------------------------------------------------------------------------- */

/* A null-terminated list of owned strings. */
struct strings {
    char *at[LIST_MAX + 1];
    int n;
};

static void add(struct strings *l, char *taken)
{
    if (l->n < LIST_MAX) {
        l->at[l->n++] = taken;
    } else {
        mem_free(taken);
    }
}

static void add_pair(struct strings *l, const char *name, const char *value)
{
    struct buf pair;
    buf_init(&pair, PATH_LIMIT);
    buf_printf(&pair, "%s=%s", name, value);
    add(l, buf_take(&pair));
}

static void add_flag(void *ctx, const char *flag, const char *value)
{
    add_pair(ctx, flag, value);
}

static void clear(struct strings *l)
{
    for (int i = 0; i < l->n; i++) mem_free(l->at[i]);
    mem_free(l);
}

/* The user's flags, then ours: of two, the later one counts. */
static struct strings *arguments(const struct bench_daemon *d, const struct settings *s, const char *model)
{
    struct strings *l = MEM_NEW(struct strings);
    add(l, mem_dup_str("inline"));
    add(l, mem_dup_str("serve"));
    settings_each_flag(s, add_flag, l);
    add_pair(l, "--socket", d->socket);
    add_pair(l, "--listen", "");
    add_pair(l, "--model", model ? model : "");
    add(l, mem_dup_str(IDLE_EXIT));
    return l;
}

static bool is_same(const char *variable, const char *other)
{
    size_t len = strcspn(variable, "=");
    return strncmp(variable, other, len) == 0 && other[len] == '=';
}

static bool is_replaced(const struct bench_daemon *d, const char *variable)
{
    size_t len = strcspn(variable, "=");
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        if (strlen(directories[i][0]) == len && strncmp(variable, directories[i][0], len) == 0) return true;
    }
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        if (is_same(variable, variables[i])) return true;
    }
    return d->setting && is_same(variable, d->setting);
}

static struct strings *environment(const struct bench_daemon *d, const char *model)
{
    extern char **environ;
    struct strings *l = MEM_NEW(struct strings);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        char *path = path_in(d->home, directories[i][1]);
        add_pair(l, directories[i][0], path);
        mem_free(path);
    }
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) add(l, mem_dup_str(variables[i]));
    if (d->setting) add(l, mem_dup_str(d->setting));
    if (!model) { /* nor an installed one */
        char *nowhere = path_in(d->home, "none");
        add_pair(l, "INLINE_MODELS_DIR", nowhere);
        mem_free(nowhere);
    }
    for (char **e = environ; *e; e++) {
        bool is_ours = !model && is_same(*e, "INLINE_MODELS_DIR=");
        if (!is_replaced(d, *e) && !is_ours) add(l, mem_dup_str(*e));
    }
    return l;
}

/* The last line that it said. */
static enum err ended(const struct bench_daemon *d, struct errmsg *msg)
{
    struct buf log;
    buf_init(&log, PATH_LIMIT);
    (void)!file_read(d->log, &log, NULL);
    while (log.len > 0 && log.data[log.len - 1] == '\n') buf_truncate(&log, log.len - 1);
    const char *line = strrchr(buf_str(&log), '\n');
    err_set(msg, ERR_IO, "the daemon does not start: %.*s", LOG_SHOWN_BYTES, line ? line + 1 : buf_str(&log));
    buf_clear(&log);
    return ERR_IO;
}

static enum err wait_listening(const struct bench_daemon *d, struct errmsg *msg)
{
    const struct timespec pause = {.tv_nsec = LISTEN_POLL_NS};
    while (clock_ms_since(d->start_ns) < LISTEN_MS && process_is_running(d->pid)) {
        struct json_value *answer = NULL;
        struct errmsg not_yet = {0};
        enum err err = ask_json(d->socket, "/status", NULL, &answer, &not_yet);
        json_read_free(&answer);
        if (!err) return OK;
        nanosleep(&pause, NULL);
    }
    return ended(d, msg);
}

enum err bench_daemon_start(struct bench_daemon *d, const struct settings *s, const char *model,
                            struct errmsg *msg)
{
    char *program = process_program();
    struct strings *args = arguments(d, s, model), *env = environment(d, model);
    d->start_ns = clock_ns();
    enum err err = OK;
    if (!*program) err = err_set(msg, ERR_UNSUPPORTED, "the system does not tell where this program is");
    if (!err) err = process_start_child(program, args->at, env->at, d->log, &d->pid, msg);
    if (!err) err = wait_listening(d, msg);
    if (err) bench_daemon_stop(d);
    clear(env);
    clear(args);
    mem_free(program);
    return err;
}

void bench_daemon_stop(struct bench_daemon *d)
{
    if (d->pid > 0) process_end_child(d->pid, END_MS);
    d->pid = 0;
}

/* --- Asking --------------------------------------------------------------------------------------------- */

enum err bench_daemon_ask(const struct bench_daemon *d, const char *path, const char *body,
                          struct json_value **answer, struct errmsg *msg)
{
    return ask_json(d->socket, path, body, answer, msg);
}
