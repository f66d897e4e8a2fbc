/* `inline doctor`: what is installed and configured: settings, models, the daemon, editors. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/model_plan.h"
#include "context/fim.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/dirs.h"
#include "os/file.h"

#define PLAN_TEXT_MAX 1024

void doctor_check_settings(struct doctor *d)
{
    int32_t n_given = 0;
    for (int32_t i = 0; i < SETTINGS_COUNT; i++) n_given += strcmp(d->s->origin[i], "default") != 0;
    char *path = d->s->config ? mem_dup_str(d->s->config) : dirs_path(DIR_CONFIG, "inline.conf");
    /* Wrong ones end every command with a message, this one too. */
    doctor_tell(d, DOCTOR_OK, "settings", "", "%d given, the others as they come; %s %s", (int)n_given, path,
                file_size(path) >= 0 ? "is read" : "does not exist, which is fine");
    mem_free(path);
}

/* --- Models --------------------------------------------------------------------------------------------- */

static void check_pack(struct doctor *d, struct model *m, const struct precision_plan *plan)
{
    struct weight_pack_options o = {.precision = plan};
    struct weight_pack *pack = NULL;
    char size[SIZE_TEXT_MAX];
    int64_t bytes = weight_pack_bytes_of(m, plan);
    if (bytes == 0 || !cli_pack_dir(d->s)) return;
    if (weight_pack_open(m, &o, &pack, NULL) != OK)
        doctor_tell(d, DOCTOR_WARNING, "model", "inline model pack, or wait: the daemon makes them by itself",
                    "%s has no packed weights yet (%s): it runs slower than it could", m->name,
                    size_text(bytes, size));
    weight_pack_close(&pack);
}

static void check_loaded(struct doctor *d, const char *role, struct model *m)
{
    struct errmsg msg = {0};
    struct fim fim;
    struct model_plan plan = {0};
    struct buf text;
    fim_detect(m, &fim);
    buf_init(&text, PLAN_TEXT_MAX);
    if (model_plan_make(m, d->s, &(struct model_plan_wishes){0}, &plan, &msg)) {
        doctor_tell(d, DOCTOR_PROBLEM, "model", "inline model info", "%s: %s", m->name, msg.text);
        return;
    }
    model_plan_describe(&plan.precision, &text);
    if (plan.precision.reason == PRECISION_TOO_LARGE)
        doctor_tell(d, DOCTOR_WARNING, "model", "inline model recommend tells which model suits this machine",
                    "%s (%s) does not fit into memory: it will be read from disk again and again", m->name,
                    role);
    else
        doctor_tell(d, DOCTOR_OK, "model", "", "%s (%s), precision %s", m->name, role, buf_str(&text));
    if (strcmp(fim.family, "none") == 0)
        doctor_tell(d, DOCTOR_WARNING, "model", "inline model list --available names models that were",
                    "%s was not made to fill in the middle: it sees nothing behind the cursor", m->name);
    check_pack(d, m, &plan.precision);
    model_plan_clear(&plan);
    buf_clear(&text);
}

/* What its servers say is told by doctor_check_remotes. */
static void check_elsewhere(struct doctor *d, const char *role, const struct settings_remote *r)
{
    doctor_tell(d, DOCTOR_OK, "model", "", "%s (%s) is on other machines", r->name, role);
    if (r == settings_remote(d->s, d->s->model) && !*d->s->instant)
        doctor_tell(d, DOCTOR_WARNING, "model", "set models.instant to a small model on this machine",
                    "nothing answers when none of %s's servers does", r->name);
}

static void check_model(struct doctor *d, const char *role, const char *name)
{
    const struct settings_remote *remote = settings_remote(d->s, name ? name : d->s->model);
    if (remote) {
        check_elsewhere(d, role, remote);
        return;
    }
    struct errmsg msg = {0};
    struct model *m = NULL;
    char *path = NULL;
    if (cli_pick_model(name, d->s, &path, &msg))
        doctor_tell(d, DOCTOR_PROBLEM, "model", "inline model recommend, then inline model pull NAME",
                    "%s (%s)", msg.text, role);
    else if (model_open(path, &m, &msg))
        doctor_tell(d, DOCTOR_PROBLEM, "model", "inline model check; then pull it again with --force",
                    "%s (%s)", msg.text, role);
    else
        check_loaded(d, role, m);
    model_unref(&m);
    mem_free(path);
}

void doctor_check_models(struct doctor *d)
{
    check_model(d, "main", NULL);
    if (*d->s->instant) check_model(d, "instant", d->s->instant);
    char *rest = mem_dup_str(d->s->languages), *list = rest;
    for (char *part; (part = strsep(&rest, ", "));) { /* "python=NAME" */
        char *name = strchr(part, '=');
        if (!name) continue;
        *name = 0;
        check_model(d, part, name + 1);
    }
    mem_free(list);
}

/* --- Daemon --------------------------------------------------------------------------------------------- */

static void check_its_models(struct doctor *d, const struct json_value *status)
{
    const struct json_value *models = json_get(status, "models");
    for (size_t i = 0; i < json_count(models); i++) {
        const struct json_value *m = json_at(models, i);
        const char *state = json_get_str(json_get(m, "state"), NULL);
        const char *name = json_get_str(json_get(m, "name"), NULL);
        const char *error = json_get_str(json_get(m, "error"), NULL);
        if (!state || strcmp(state, "failed") != 0) continue;
        doctor_tell(d, DOCTOR_PROBLEM, "daemon", "when that is put right: inline model load NAME",
                    "its model %s failed: %s", name ? name : "", error ? error : "");
    }
}

void doctor_check_daemon(struct doctor *d)
{
    struct errmsg msg = {0};
    struct json_value *status = NULL;
    enum err err = cli_ask(d->s, "/status", NULL, &status, &msg);
    const char *version = json_get_str(json_get(status, "version"), NULL);
    int64_t pid = 0;
    (void)json_get_int(json_get(status, "pid"), &pid);
    if (err == ERR_NOT_FOUND)
        doctor_tell(d, DOCTOR_OK, "daemon", "", "none runs; editors start one by themselves (inline lsp)");
    else if (err)
        doctor_tell(d, DOCTOR_PROBLEM, "daemon", "end it (SIGTERM) and start it again", "%s", msg.text);
    else if (!version || strcmp(version, INLINE_VERSION) != 0)
        doctor_tell(d, DOCTOR_WARNING, "daemon", "end it (SIGTERM); editors start the new one",
                    "process %" PRId64 " is version %s, this is " INLINE_VERSION, pid,
                    version ? version : "?");
    else
        doctor_tell(d, DOCTOR_OK, "daemon", "", "process %" PRId64 " answers", pid);
    if (!err) check_its_models(d, status);
    json_read_free(&status);
}

/* --- Editors -------------------------------------------------------------------------------------------- */

/* A program of this name on PATH. */
static bool is_on_path(const char *name)
{
    const char *path = getenv("PATH");
    char *rest = mem_dup_str(path ? path : ""), *list = rest;
    bool is_found = false;
    for (char *dir; !is_found && (dir = strsep(&rest, ":"));) {
        char file[4096];
        int len = snprintf(file, sizeof file, "%s/%s", dir, name);
        is_found = len > 0 && (size_t)len < sizeof file && access(file, X_OK) == 0 && file_size(file) >= 0;
    }
    mem_free(list);
    return is_found;
}

/* Only that they are there: what they are set up to do stands in programs of their own languages. */
void doctor_check_editors(struct doctor *d)
{
    static const struct {
        const char *program, *name;
    } EDITORS[] = {{"nvim", "Neovim"},  {"vim", "Vim"},         {"hx", "Helix"},  {"emacs", "Emacs"},
                   {"code", "VS Code"}, {"codium", "VSCodium"}, {"kate", "Kate"}, {"zed", "Zed"}};
    struct buf names;
    buf_init(&names, 1024);
    for (size_t i = 0; i < sizeof EDITORS / sizeof *EDITORS; i++) {
        if (is_on_path(EDITORS[i].program))
            buf_printf(&names, "%s%s", names.len ? ", " : "", EDITORS[i].name);
    }
    if (names.len > 0)
        doctor_tell(d, DOCTOR_OK, "editors", "", "found %s; how to set them up: docs/lsp.md, docs/http.md",
                    buf_str(&names));
    else
        doctor_tell(d, DOCTOR_OK, "editors", "",
                    "none that we know on PATH; any with a language client will do");
    buf_clear(&names);
}
