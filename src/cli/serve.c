/* `inline serve`: the daemon, from settings. */
#include <string.h>

#include "base/mem.h"
#include "cli/cache_files.h"
#include "cli/cli.h"
#include "service/service.h"
#include "context/secrets.h"
#include "os/dirs.h"
#include "remote/dialect.h"
#include "serve/daemon.h"
#include "store/store.h"

/* What the daemon's calls work on. */
struct daemon_context {
    const struct settings *start;
    struct settings now; /* what SIGHUP read last; the daemon holds views into it */
};

static enum err reload(void *ctx, const char **token, const char **origins, struct errmsg *msg)
{
    struct daemon_context *c = ctx;
    struct settings next;
    enum err err = settings_reload(c->start, &next, msg);
    if (err) return err;
    settings_clear(&c->now);
    c->now = next;
    cli_set_log(&c->now);
    *token = c->now.token;
    *origins = c->now.origins;
    return OK;
}

static struct service_options service_from(const struct settings *s, const struct secrets *secrets)
{
    struct service_options o = {.models_dir = s->models_dir,
                                .default_model = s->model,
                                .instant_model = s->instant,
                                .languages = s->languages,
                                .model_idle_s = s->model_idle_s,
                                .n_ctx = s->n_ctx,
                                .n_active = s->sequences,
                                .window_ms = s->window_ms,
                                .max_tokens = s->max_tokens,
                                .prompt_tokens = s->prompt_tokens,
                                .min_confidence = s->confidence / 100.0,
                                .is_window_only = strcmp(s->builder, "off") == 0,
                                .has_no_projects = strcmp(s->project, "off") == 0,
                                .secrets = secrets,
                                .prefetch_mode = strcmp(s->prefetch, "on") == 0    ? SERVICE_PREFETCH_ON
                                                 : strcmp(s->prefetch, "off") == 0 ? SERVICE_PREFETCH_OFF
                                                                                   : SERVICE_PREFETCH_AUTO};
    o.engine = (struct engine_options){
        .n_threads = s->threads,
        .cpus = *s->cpus ? s->cpus : NULL,
        .isa = *s->isa ? s->isa : NULL,
        .kv_type = strcmp(s->kv, "q8_0") == 0 ? KERN_KV_Q8_0 : KERN_KV_F16,
        .kv_dir = s->kv_mb > 0 ? "" : NULL,
        .kv_disk_bytes = (int64_t)s->kv_mb * 1000000,
        .move = strcmp(s->move, "on") == 0 ? ENGINE_MOVE_ON : ENGINE_MOVE_OFF,
        .no_speculation = strcmp(s->speculation, "off") == 0,
        .pack_dir = cli_pack_dir(s),
        .pack_build = cli_pack_dir(s) != NULL,
        .pack_bytes = (int64_t)s->packs_mb * 1000000,
        .eight_bit = strcmp(s->eight_bit, "mxfp8") == 0 ? KERN_MXFP8 : KERN_Q8_0,
        .read_ahead = true,
        .lock = strcmp(s->lock, "on") == 0,
    };
    (void)precision_parse(s->precision, &o.engine.precision); /* the settings allow only what it knows */
    o.governor = (struct governor_options){
        .is_off = strcmp(s->governor, "off") == 0,
        .memory_limit = (int64_t)s->limit_memory_mb * 1000000,
        .cpu_limit = s->limit_cpu_percent / 100.0,
        .speed = s->power_percent / 100.0,
        .battery_speed = s->battery_percent / 100.0,
    };
    return o;
}

/* The models of other machines; their keys are in `out`, which release_remotes clears. One whose key cannot
 * be had is there to say so. */
static void remotes_from(const struct settings *s, struct service_remote *out)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        const struct settings_remote *r = &s->remotes[i];
        struct errmsg trouble = {0};
        char *key = NULL;
        (void)!settings_remote_key(r, &key, &trouble);
        out[i] = (struct service_remote){.name = r->name,
                                         .at = {.urls = r->urls,
                                                .model = r->model,
                                                .key = key,
                                                .ca_file = r->ca_file,
                                                .n_connections = s->remote_connections,
                                                .timeout_ms = s->remote_timeout_ms},
                                         .fim = r->fim,
                                         .n_ctx = r->n_ctx,
                                         .trouble = trouble};
        (void)dialect_api(r->api, &out[i].at.api); /* the settings allow only what it knows */
    }
}

static void release_remotes(const struct settings *s, struct service_remote *remotes)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        char *key = (char *)remotes[i].at.key;
        if (key) explicit_bzero(key, strlen(key));
        mem_free(key);
    }
}

static enum err open_store(void *ctx, struct metrics *metrics, void (*wake)(void *ctx), void *wake_ctx,
                           struct store **out, struct errmsg *msg)
{
    const struct daemon_context *c = ctx;
    const struct settings *s = c->start;
    struct errmsg reason = {0};
    char *dir = cache_files_dir();
    struct store_options o = {.dir = dir,
                              .memory_bytes = (int64_t)s->memory_mb * 1000000,
                              .disk_bytes = (int64_t)s->disk_mb * 1000000,
                              .projects_bytes = (int64_t)s->projects_mb * 1000000,
                              .team = s->team,
                              .metrics = metrics,
                              .wake = wake,
                              .ctx = wake_ctx};
    enum err err = store_new(&o, out, &reason);
    mem_free(dir);
    return err ? err_set(msg, err, "cache.team: %s", reason.text) : OK;
}

static void write_config(void *ctx, struct buf *out)
{
    const struct daemon_context *c = ctx;
    settings_report_json(c->start, out);
}

/* Where the journal is kept, if it is; the caller frees it. */
static enum err journal_path(const struct settings *s, char **out, struct errmsg *msg)
{
    char *dir = dirs_path(DIR_STATE, NULL);
    enum err err = s->journal_days > 0 ? dirs_make(dir, msg) : OK;
    *out = s->journal_days > 0 ? dirs_path(DIR_STATE, "journal.db") : mem_dup_str("");
    mem_free(dir);
    return err;
}

enum err cli_socket(const struct settings *s, char **path, struct errmsg *msg)
{
    if (*s->socket) {
        *path = mem_dup_str(s->socket);
        return OK;
    }
    char *dir = dirs_path(DIR_RUNTIME, NULL);
    enum err err = dirs_make_private(dir, msg);
    mem_free(dir);
    *path = err ? NULL : dirs_path(DIR_RUNTIME, "inline.sock");
    return err;
}

int cli_serve(int argc, char **argv, const struct settings *s)
{
    bool is_optional = false;
    const struct cli_option options[] = {{"if-free", CLI_FLAG, &is_optional, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("serve takes no arguments; see: inline serve --help");

    struct errmsg msg = {0};
    char *socket = NULL, *journal = NULL;
    struct daemon_context context = {.start = s};
    struct secrets *secrets = NULL;
    struct secrets_options patterns = {.names = s->secret_files, .contents = s->secret_contents};
    enum err err = secrets_new(&patterns, &secrets, &msg);
    struct service_options service = service_from(s, secrets);
    struct service_remote remotes[SETTINGS_REMOTES] = {0};
    remotes_from(s, remotes);
    service.remotes = remotes;
    service.n_remotes = s->n_remotes;
    service.patience_ms = s->remote_patience_ms;
    if (!err) err = cli_socket(s, &socket, &msg);
    if (!err) err = journal_path(s, &journal, &msg);
    service.journal_path = journal;
    service.journal_days = s->journal_days;
    if (!err) {
        struct daemon_options o = {.listen = s->listen,
                                   .listen_if_free = is_optional,
                                   .socket = socket,
                                   .token = s->token,
                                   .origins = s->origins,
                                   .max_connections = s->max_connections,
                                   .idle_exit_s = s->idle_exit_s,
                                   .log_text = strcmp(s->log_text, "on") == 0,
                                   .service = &service,
                                   .open_store = open_store,
                                   .close_store = store_free,
                                   .alert_rules = s->alert_rules,
                                   .alert_command = s->alert_command,
                                   .alert_webhook = s->alert_webhook,
                                   .write_config = write_config,
                                   .reload = reload,
                                   .ctx = &context};
        err = daemon_run(&o, &msg);
    }
    release_remotes(s, remotes);
    settings_clear(&context.now);
    secrets_free(&secrets);
    mem_free(socket);
    mem_free(journal);
    return err ? cli_fail(&msg) : CLI_OK;
}
