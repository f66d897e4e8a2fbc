/* `inline model`: dispatch, and the subcommands that manage the library's files. */
#include "cli/model.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/model_remote.h"
#include "model/catalogue.h"
#include "model/gguf.h"
#include "model/library.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/file.h"

#define LIST_LIMIT ((size_t)16 << 20)

int cli_model(int argc, char **argv, const struct settings *s)
{
    static const struct cli_subcommand list[] = {
        {"list", cli_model_list}, {"pull", cli_model_pull},     {"import", cli_model_import},
        {"info", cli_model_info}, {"check", cli_model_check},   {"plan", cli_model_plan},
        {"pack", cli_model_pack}, {"rm", cli_model_rm},         {"recommend", cli_model_recommend},
        {"load", cli_model_load}, {"unload", cli_model_unload}, {NULL, NULL}};
    return cli_subcommand("model", list, argc, argv, s);
}

bool cli_model_open(const char *name, const struct settings *s, struct model **m)
{
    struct errmsg msg = {0};
    char *path = NULL;
    enum err err = cli_pick_model(name, s, &path, &msg);
    if (!err) err = model_open(path, m, &msg);
    mem_free(path);
    if (err) cli_fail(&msg);
    return !err;
}

int32_t cli_model_formats(const struct gguf *g, struct cli_model_format out[CLI_MODEL_FORMATS_MAX])
{
    int32_t n = 0;
    for (int32_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const struct kern_type_info *info = kern_type_info(t->type);
        const char *name = info ? info->name : "?";
        int32_t at = 0;
        while (at < n && strcmp(out[at].name, name) != 0) at++;
        if (at == CLI_MODEL_FORMATS_MAX) continue;
        if (at == n) out[n++] = (struct cli_model_format){.name = name};
        out[at].n_tensors++;
        out[at].bytes += (int64_t)t->len;
        out[at].n_weights += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    for (int32_t i = 1; i < n; i++) {
        struct cli_model_format f = out[i];
        int32_t at = i;
        for (; at > 0 && out[at - 1].bytes < f.bytes; at--) out[at] = out[at - 1];
        out[at] = f;
    }
    return n;
}

/* --- list -------------------------------------------------------------------------------------------- */

/* "Q4_K Q6_K": the formats that hold at least a tenth of the bytes. */
static void add_formats(struct buf *out, const char *path)
{
    struct gguf *g = NULL;
    struct cli_model_format formats[CLI_MODEL_FORMATS_MAX];
    if (gguf_open(path, &g, NULL) != OK) {
        buf_add_str(out, "unreadable: see inline model check");
        return;
    }
    int32_t n = cli_model_formats(g, formats);
    int64_t total = 0;
    for (int32_t i = 0; i < n; i++) total += formats[i].bytes;
    for (int32_t i = 0; i < n; i++) {
        if (formats[i].bytes * 10 >= total) buf_printf(out, "%s%s", i ? " " : "", formats[i].name);
    }
    gguf_close(&g);
}

static void list_as_json(const struct library_entry *list, int32_t n, const struct settings *s,
                         struct buf *out)
{
    struct json j;
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_begin_array(&j, "models");
    for (int32_t i = 0; i < n; i++) {
        struct buf formats;
        buf_init(&formats, LIST_LIMIT);
        add_formats(&formats, list[i].path);
        json_begin_object(&j, NULL);
        json_str(&j, "name", list[i].name);
        json_str(&j, "path", list[i].path);
        json_int(&j, "bytes", list[i].bytes);
        json_str(&j, "formats", buf_str(&formats));
        json_end_object(&j);
        buf_clear(&formats);
    }
    model_remote_list_json(s, &j);
    json_end_array(&j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

static void list_as_text(const struct library_entry *list, int32_t n, const struct settings *s,
                         struct buf *out)
{
    for (int32_t i = 0; i < n; i++) {
        char size[SIZE_TEXT_MAX];
        buf_printf(out, "%-28s %8s  ", list[i].name, size_text(list[i].bytes, size));
        add_formats(out, list[i].path);
        buf_add_char(out, '\n');
    }
    model_remote_list(s, out);
    if (n == 0 && s->n_remotes == 0) {
        buf_add_str(out, "no models are installed; to get one: inline model pull qwen2.5-coder-0.5b\n");
    }
}

static int list_available(bool is_json)
{
    struct buf out;
    struct json j;
    buf_init(&out, LIST_LIMIT);
    json_init(&j, &out);
    if (is_json) {
        json_begin_object(&j, NULL);
        json_begin_array(&j, "available");
    }
    for (int32_t i = 0; catalogue_at(i); i++) {
        const struct catalogue_entry *e = catalogue_at(i);
        if (!is_json) {
            buf_printf(&out, "%-22s %s\n", e->name, e->note);
            continue;
        }
        json_begin_object(&j, NULL);
        json_str(&j, "name", e->name);
        json_str(&j, "hub_path", e->hub_path);
        json_str(&j, "note", e->note);
        json_end_object(&j);
    }
    if (is_json) {
        json_end_array(&j);
        json_end_object(&j);
        buf_add_char(&out, '\n');
    }
    return cli_print(&out);
}

int cli_model_list(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_available = false;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"available", CLI_FLAG, &is_available, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("model list takes no names");
    if (is_available) return list_available(is_json);
    struct errmsg msg = {0};
    struct library_entry *list = NULL;
    int32_t n = 0;
    if (library_list(s->models_dir, &list, &n, &msg) != OK) return cli_fail(&msg);
    struct buf out;
    buf_init(&out, LIST_LIMIT);
    if (is_json) {
        list_as_json(list, n, s, &out);
    } else {
        list_as_text(list, n, s, &out);
    }
    library_list_free(list, n);
    return cli_print(&out);
}

/* --- import and rm ----------------------------------------------------------------------------------- */

int cli_model_report_installed(const char *path, bool is_json)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash ? slash + 1 : path;
    int name_len = (int)(strlen(file) - strlen(".gguf"));
    int64_t bytes = file_size(path);
    char size[SIZE_TEXT_MAX];
    if (!is_json) {
        printf("installed %.*s (%s) as %s\n", name_len, file, size_text(bytes, size), path);
        return CLI_OK;
    }
    struct buf out;
    struct json j;
    buf_init(&out, LIST_LIMIT);
    json_init(&j, &out);
    json_begin_object(&j, NULL);
    json_str_len(&j, "name", file, (size_t)name_len);
    json_str(&j, "path", path);
    json_int(&j, "bytes", bytes);
    json_end_object(&j);
    buf_add_char(&out, '\n');
    return cli_print(&out);
}

int cli_model_import(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_forced = false;
    const char *name = NULL;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0},
                                         {"force", CLI_FLAG, &is_forced, 0, 0},
                                         {"name", CLI_STRING, &name, 0, 0},
                                         {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args != 1) return cli_usage_error("model import takes one FILE");
    struct errmsg msg = {0};
    char *path = NULL;
    if (library_import(s->models_dir, argv[1], name, is_forced, &path, &msg) != OK) return cli_fail(&msg);
    int status = cli_model_report_installed(path, is_json);
    if (status == CLI_OK) cli_model_pack_installed(path, s);
    mem_free(path);
    return status;
}

/* Ask on the terminal; anything but a line that begins with y means no. */
static bool is_confirmed(const char *name)
{
    char answer[16];
    fprintf(stderr, "delete %s? [y/N] ", name);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* The model, whose pack goes with it; null where the file is not a model any more. */
static struct model *open_to_remove(const char *name, const struct settings *s)
{
    struct model *m = NULL;
    char *path = NULL;
    if (library_find(s->models_dir, name, &path, NULL) == OK && model_open(path, &m, NULL) != OK) m = NULL;
    mem_free(path);
    return m;
}

int cli_model_rm(int argc, char **argv, const struct settings *s)
{
    bool is_sure = false;
    const struct cli_option options[] = {{"yes", CLI_FLAG, &is_sure, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args != 1) return cli_usage_error("model rm takes one NAME");
    if (!is_sure && isatty(STDIN_FILENO) && !is_confirmed(argv[1])) {
        fputs("nothing was deleted\n", stderr);
        return CLI_FAILED;
    }
    struct errmsg msg = {0};
    struct model *m = open_to_remove(argv[1], s);
    enum err err = library_remove(s->models_dir, argv[1], &msg);
    if (!err && m) weight_pack_remove(m, NULL);
    model_unref(&m);
    const struct settings_remote *remote = settings_remote(s, argv[1]);
    if (err == ERR_NOT_FOUND && remote)
        err_set(&msg, err, "%s is a model on other machines; to forget it, delete its section (%s)",
                remote->name, remote->origin);
    if (err) return cli_fail(&msg);
    printf("deleted %s\n", argv[1]);
    return CLI_OK;
}
