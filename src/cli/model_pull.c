/* `inline model pull`: from a name to a verified file in the library, with progress on the terminal. */
#include "cli/model.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/nearest.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "model/catalogue.h"
#include "model/download.h"
#include "model/library.h"

#define URL_LIMIT 65536

/* What to download and what to call it. */
struct source {
    char *url;  /* owned */
    char *name; /* owned */
    const char *sha256;
    int64_t bytes;
};

static void source_clear(struct source *src)
{
    mem_free(src->url);
    mem_free(src->name);
}

/* HUB/owner/repo/file -> HUB/owner/repo/resolve/main/file, as the hub serves files; the file may lie in
 * folders. False if the path has fewer than three parts. */
static bool hub_url(const char *hub, const char *path, char **url)
{
    const char *slash = strchr(path, '/');
    const char *file = slash ? strchr(slash + 1, '/') : NULL;
    if (!file || slash == path || file == slash + 1 || !file[1]) return false;
    struct buf text;
    buf_init(&text, URL_LIMIT);
    size_t hub_len = strlen(hub);
    while (hub_len > 0 && hub[hub_len - 1] == '/') hub_len--;
    buf_printf(&text, "%.*s/%.*s/resolve/main%s", (int)hub_len, hub, (int)(file - path), path, file);
    *url = buf_take(&text);
    return true;
}

/* The last part of a URL's path, without query and ".gguf"; the caller frees. */
static char *name_of_url(const char *url)
{
    const char *end = url + strcspn(url, "?#"), *start = end;
    while (start > url && start[-1] != '/') start--;
    if (end - start > 5 && strncasecmp(end - 5, ".gguf", 5) == 0) end -= 5;
    struct buf name;
    buf_init(&name, URL_LIMIT);
    buf_add(&name, start, (size_t)(end - start));
    return buf_take(&name);
}

static enum err unknown_source(const char *spec, struct errmsg *msg)
{
    struct nearest nearest;
    nearest_init(&nearest, spec);
    for (int32_t i = 0; catalogue_at(i); i++) nearest_offer(&nearest, catalogue_at(i)->name);
    if (nearest.best) {
        return err_set(msg, ERR_NOT_FOUND, "no model named \"%s\" is known; did you mean %s?", spec,
                       nearest.best);
    }
    return err_set(msg, ERR_NOT_FOUND,
                   "no model named \"%s\" is known; give a name from: inline model list --available, or "
                   "hf:OWNER/REPO/FILE, or a URL",
                   spec);
}

static enum err find_source(const char *spec, const char *hub, struct source *out, struct errmsg *msg)
{
    const struct catalogue_entry *entry = catalogue_find(spec);
    if (entry) {
        if (!hub_url(hub, entry->hub_path, &out->url)) return unknown_source(spec, msg);
        out->name = mem_dup_str(entry->name);
        out->sha256 = entry->sha256;
        out->bytes = entry->bytes;
        return OK;
    }
    if (strncmp(spec, "hf:", 3) == 0) {
        if (!hub_url(hub, spec + 3, &out->url)) {
            return err_set(msg, ERR_ARG, "%s: expected hf:OWNER/REPO/FILE", spec);
        }
    } else if (strstr(spec, "://")) {
        out->url = mem_dup_str(spec);
    } else {
        return unknown_source(spec, msg);
    }
    out->name = name_of_url(out->url);
    return OK;
}

/* --- The command ------------------------------------------------------------------------------------- */

static void on_progress(void *ctx, const struct download_progress *p)
{
    meter_update(ctx, p->done, p->total, p->resumed > 0 ? " (resumed)" : "");
}

static enum err accept_model(void *ctx, const char *path, struct errmsg *msg)
{
    struct errmsg reason = {0};
    (void)ctx;
    enum err err = library_validate(path, &reason);
    if (err)
        err_set(msg, err, "the download is not a model that Inline can run, and was deleted: %s",
                reason.text);
    return err;
}

static enum err pull(const struct source *src, const char *path, struct errmsg *msg)
{
    struct meter meter;
    meter_init(&meter, src->name);
    struct sigaction before;
    struct download_request request = {.url = src->url,
                                       .path = path,
                                       .sha256 = src->sha256,
                                       .bytes = src->bytes,
                                       .cancel = interrupt_begin(&before),
                                       .on_progress = on_progress,
                                       .accept = accept_model,
                                       .ctx = &meter};
    struct download_result result;
    enum err err = download_run(&request, &result, msg);
    interrupt_end(&before);
    meter_end(&meter);
    if (!err) {
        fprintf(stderr, "SHA-256 %s%s\n", result.sha256,
                result.is_verified ? ", as announced" : " (the server announced none to compare with)");
    }
    return err;
}

int cli_model_pull(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_forced = false;
    const char *name = NULL;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0},
                                         {"force", CLI_FLAG, &is_forced, 0, 0},
                                         {"name", CLI_STRING, &name, 0, 0},
                                         {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args != 1) return cli_usage_error("model pull takes one name, hf: path or URL");
    struct errmsg msg = {0};
    struct source src = {0};
    char *path = NULL;
    enum err err = find_source(argv[1], s->hub, &src, &msg);
    if (!err) err = library_place(s->models_dir, name ? name : src.name, is_forced, &path, &msg);
    if (!err) err = pull(&src, path, &msg);
    int status = err ? cli_fail(&msg) : cli_model_report_installed(path, is_json);
    if (status == CLI_OK) cli_model_pack_installed(path, s);
    mem_free(path);
    source_clear(&src);
    return status;
}
