/* `inline model load` and `unload`: the running daemon's models by hand. */
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/model.h"
#include "os/clock.h"

#define BODY_LIMIT   ((size_t)1 << 16)
#define REPORT_LIMIT ((size_t)1 << 20)
#define PATIENCE_MS  600000 /* for a large model on a slow disk */
#define PAUSE_MS     50

/* Models of GET /status: the one of this name (case ignored), else the only one that begins so. */
static const struct json_value *find(const struct json_value *status, const char *name)
{
    const struct json_value *models = json_get(status, "models"), *only = NULL;
    int32_t n_begin = 0;
    for (size_t i = 0; i < json_count(models); i++) {
        const struct json_value *m = json_at(models, i);
        const char *its = json_get_str(json_get(m, "name"), NULL);
        if (!its || strncasecmp(its, name, strlen(name)) != 0) continue;
        if (strlen(its) == strlen(name)) return m;
        only = m;
        n_begin++;
    }
    return n_begin == 1 ? only : NULL;
}

static enum err ask_status(const struct settings *s, const char *name, struct json_value **status,
                           const struct json_value **model, struct errmsg *msg)
{
    enum err err = cli_ask(s, "/status", NULL, status, msg);
    *model = err ? NULL : find(*status, name);
    if (err == ERR_NOT_FOUND)
        return err_set(msg, err, "no daemon is running that could hold a model; to start one: inline serve");
    if (!err && !*model)
        return err_set(msg, ERR_NOT_FOUND, "the daemon knows no model \"%s\"; see: inline model list", name);
    return err;
}

static enum err post(const struct settings *s, const char *path, const char *name, struct errmsg *msg)
{
    struct buf body;
    struct json j;
    struct json_value *answer = NULL;
    buf_init(&body, BODY_LIMIT);
    json_init(&j, &body);
    json_begin_object(&j, NULL);
    json_str(&j, "model", name);
    json_end_object(&j);
    enum err err = body.err ? body.err : cli_ask(s, path, buf_str(&body), &answer, msg);
    buf_clear(&body);
    json_read_free(&answer);
    return err;
}

static const char *state_of(const struct json_value *model)
{
    const char *state = json_get_str(json_get(model, "state"), NULL);
    return state ? state : "";
}

/* Until the daemon has done what it was asked for; then *status is what it says. */
static enum err await(const struct settings *s, const char *name, struct json_value **status,
                      const struct json_value **model, struct errmsg *msg)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
    for (int64_t start = clock_ns();;) {
        enum err err = ask_status(s, name, status, model, msg);
        if (err) return err;
        const char *state = state_of(*model);
        if (strcmp(state, "loading") != 0 && strcmp(state, "unloading") != 0) return OK;
        if (clock_ms_since(start) > PATIENCE_MS)
            return err_set(msg, ERR_LIMIT, "%s is still %s; see: inline status", name, state);
        json_read_free(status);
        nanosleep(&pause, NULL);
    }
}

static enum err report(const struct json_value *model, const char *name, bool is_json, struct buf *out,
                       struct errmsg *msg)
{
    char size[SIZE_TEXT_MAX];
    double load_ms = 0;
    int64_t bytes = 0;
    const char *error = json_get_str(json_get(model, "error"), NULL);
    (void)json_get_num(json_get(model, "load_ms"), &load_ms);
    (void)json_get_int(json_get(model, "bytes"), &bytes);
    if (strcmp(state_of(model), "failed") == 0)
        return err_set(msg, ERR_IO, "%s", error ? error : "it failed");
    if (is_json)
        json_write_value(model, out);
    else if (strcmp(state_of(model), "ready") == 0)
        buf_printf(out, "%s is loaded (%s, in %.0f ms)", name, size_text(bytes, size), load_ms);
    else
        buf_printf(out, "%s is not loaded", name);
    buf_add_char(out, '\n');
    return OK;
}

static int change(int argc, char **argv, const struct settings *s, const char *path)
{
    bool is_json = false;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args != 1 || !*argv[1]) return cli_usage_error("model %s takes one NAME", argv[0]);
    struct errmsg msg = {0};
    struct json_value *status = NULL;
    const struct json_value *model = NULL;
    char *name = NULL;
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    enum err err = ask_status(s, argv[1], &status, &model, &msg);
    if (!err) {
        name = mem_dup_str(json_get_str(json_get(model, "name"), NULL));
        json_read_free(&status);
        err = post(s, path, name, &msg);
    }
    if (!err) err = await(s, name, &status, &model, &msg);
    if (!err) err = report(model, name, is_json, &out, &msg);
    json_read_free(&status);
    mem_free(name);
    if (!err) return cli_print(&out);
    buf_clear(&out);
    return cli_fail(&msg);
}

int cli_model_load(int argc, char **argv, const struct settings *s)
{
    return change(argc, argv, s, "/models/load");
}

int cli_model_unload(int argc, char **argv, const struct settings *s)
{
    return change(argc, argv, s, "/models/unload");
}
