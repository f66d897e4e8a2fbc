/* Models on other machines: `inline model list` and `info`. See model_remote.h. */
#include "cli/model_remote.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/settings_url.h"
#include "complete/remote_prompt.h"
#include "os/clock.h"
#include "os/thread.h"
#include "remote/dialect.h"

#define REPORT_LIMIT ((size_t)1 << 20)

const struct settings_remote *model_remote_named(const char *name, const struct settings *s)
{
    return settings_remote(s, name && *name ? name : s->model);
}

/* --- Asking the servers -------------------------------------------------------------------------------- */

enum err model_remote_open(const struct settings_remote *r, const struct settings *s, const char *url,
                           const char *key, double timeout_ms, struct remote **out, struct errmsg *msg)
{
    struct remote_options o = {.urls = url ? url : r->urls,
                               .model = r->model,
                               .key = key,
                               .ca_file = r->ca_file,
                               .n_connections = s->remote_connections,
                               .timeout_ms = timeout_ms};
    (void)dialect_api(r->api, &o.api); /* the settings allow only what it knows */
    return remote_new(&o, out, msg);
}

struct looking {
    struct model_remote_look *look;
    struct remote *remote;
    pthread_t thread;
    bool has_thread;
};

static void *look_at(void *arg)
{
    struct looking *l = arg;
    int64_t start = clock_ns();
    l->look->err = remote_learn(l->remote, &l->look->traits, &l->look->msg);
    l->look->ms = clock_ms_since(start);
    return NULL;
}

/* A pool for each server, all made before there is a thread (net/curl_api.h). */
static enum err open_all(const struct settings_remote *r, const struct settings *s, const char *key,
                         struct looking *all, struct model_remote_looks *out, struct errmsg *msg)
{
    const char *rest = r->urls, *url;
    size_t len;
    enum err err = OK;
    while (!err && out->n < REMOTE_SERVERS_MAX && settings_url_next(&rest, &url, &len)) {
        struct looking *l = &all[out->n];
        l->look = &out->at[out->n++];
        snprintf(l->look->url, sizeof l->look->url, "%.*s", (int)len, url);
        err = model_remote_open(r, s, l->look->url, key, MODEL_REMOTE_LEARN_MS, &l->remote, msg);
    }
    return err;
}

enum err model_remote_look(const struct settings_remote *r, const struct settings *s,
                           struct model_remote_looks *out, struct errmsg *msg)
{
    struct looking all[REMOTE_SERVERS_MAX] = {0};
    char *key = NULL;
    *out = (struct model_remote_looks){0};
    enum err err = settings_remote_key(r, &key, msg);
    if (!err) err = open_all(r, s, key, all, out, msg);
    for (int32_t i = 0; !err && i < out->n; i++) {
        all[i].has_thread = thread_create(&all[i].thread, look_at, &all[i]) == 0;
        if (!all[i].has_thread) look_at(&all[i]);
    }
    for (int32_t i = 0; i < out->n; i++) {
        if (all[i].has_thread) pthread_join(all[i].thread, NULL);
        remote_free(&all[i].remote);
        if (err || out->at[i].err) continue;
        out->n_up++;
        if (!out->first_up) out->first_up = &out->at[i];
    }
    if (key) explicit_bzero(key, strlen(key));
    mem_free(key);
    return err;
}

/* --- What is known of the model ------------------------------------------------------------------------ */

static const char *why_fim(const struct settings_remote *r, const struct fim *fim, bool is_servers)
{
    if (strcmp(r->fim, "auto") != 0) return "as fim says";
    if (is_servers) return "laid out by the server";
    return fim->order == FIM_PREFIX_ONLY ? "neither the server nor the model's name tells of any"
                                         : "as the model's name tells";
}

void model_remote_describe_fim(const struct settings_remote *r, const struct remote_traits *t,
                               struct buf *out)
{
    struct fim fim;
    bool is_servers;
    remote_prompt_fim(r->fim, t, &fim, &is_servers);
    if (is_servers)
        buf_printf(out, "server (%s)", why_fim(r, &fim, is_servers));
    else if (fim.order == FIM_PREFIX_ONLY)
        buf_printf(out, "none (%s): it sees nothing behind the cursor", why_fim(r, &fim, is_servers));
    else
        buf_printf(out, "%s (%s, %s)", fim.family, fim_order_name(fim.order), why_fim(r, &fim, is_servers));
}

static int32_t context_of(const struct settings_remote *r, const struct remote_traits *t, const char **why)
{
    *why = r->n_ctx > 0 ? "as context says" : t->n_ctx > 0 ? "as its servers say" : "nobody says";
    return r->n_ctx > 0 ? r->n_ctx : t->n_ctx > 0 ? t->n_ctx : MODEL_REMOTE_CTX;
}

static const char *key_source(const struct settings_remote *r)
{
    return *r->key_file ? r->key_file : *r->key_env ? r->key_env : "none";
}

/* --- info ---------------------------------------------------------------------------------------------- */

/* What a server calls something, as one printable line. */
static const char *printable(const char *name, struct errmsg *out)
{
    (void)err_set(out, OK, "%s", name);
    return out->text;
}

static void add_server(struct buf *out, const struct model_remote_look *l)
{
    struct errmsg line;
    if (l->err) {
        buf_printf(out, "server        %s  down: %s\n", l->url, l->msg.text);
        return;
    }
    buf_printf(out, "server        %s  up, answered in %.0f ms", l->url, l->ms);
    if (*l->traits.model) buf_printf(out, ": %s", printable(l->traits.model, &line));
    if (*l->traits.base && strcmp(l->traits.base, l->traits.model) != 0)
        buf_printf(out, " (%s)", printable(l->traits.base, &line));
    if (l->traits.n_ctx > 0) buf_printf(out, ", %" PRId32 " tokens", l->traits.n_ctx);
    buf_add_str(out, l->traits.has_fim ? ", fills in the middle by itself\n" : "\n");
}

static void info_as_text(const struct settings_remote *r, const struct model_remote_looks *looks,
                         const struct remote_traits *t, struct buf *out)
{
    struct errmsg line;
    const char *why, *name = *r->model ? r->model : printable(t->model, &line);
    int32_t n_ctx = context_of(r, t, &why);
    buf_printf(out, "name          %s\n", r->name);
    buf_printf(out, "type          remote; [model.%s] in %s\n", r->name, r->origin);
    buf_printf(out, "api           %s\n", r->api);
    buf_printf(out, "model         %s\n", *name ? name : "the one that its servers have");
    buf_printf(out, "context       %" PRId32 " tokens (%s)\n", n_ctx, why);
    if (t->is_known) {
        buf_add_str(out, "fill-in       ");
        model_remote_describe_fim(r, t, out);
        buf_add_char(out, '\n');
    }
    buf_printf(out, "key           %s\n", key_source(r));
    if (*r->ca_file) buf_printf(out, "trusts        %s\n", r->ca_file);
    for (int32_t i = 0; i < looks->n; i++) add_server(out, &looks->at[i]);
}

static void add_server_json(struct json *j, const struct model_remote_look *l)
{
    json_begin_object(j, NULL);
    json_str(j, "url", l->url);
    json_flag(j, "up", !l->err);
    json_str(j, "error", l->err ? l->msg.text : "");
    json_num(j, "ms", l->ms, 1);
    json_str(j, "model", l->traits.model);
    json_str(j, "base", l->traits.base);
    json_int(j, "context", l->traits.n_ctx);
    json_flag(j, "fills_in", l->traits.has_fim);
    json_end_object(j);
}

static void info_as_json(const struct settings_remote *r, const struct model_remote_looks *looks,
                         const struct remote_traits *t, struct buf *out)
{
    struct json j;
    struct fim fim;
    bool is_servers;
    const char *why;
    remote_prompt_fim(r->fim, t, &fim, &is_servers);
    json_init(&j, out);
    json_begin_object(&j, NULL);
    json_str(&j, "name", r->name);
    json_str(&j, "type", r->type);
    json_str(&j, "api", r->api);
    json_str(&j, "model", *r->model ? r->model : t->model);
    json_int(&j, "context", context_of(r, t, &why));
    json_begin_object(&j, "fim");
    json_str(&j, "family", is_servers ? "server" : fim.family);
    json_str(&j, "order", is_servers ? "" : fim_order_name(fim.order));
    json_str(&j, "detected", why_fim(r, &fim, is_servers));
    json_end_object(&j);
    json_str(&j, "key", key_source(r));
    json_str(&j, "origin", r->origin);
    json_begin_array(&j, "servers");
    for (int32_t i = 0; i < looks->n; i++) add_server_json(&j, &looks->at[i]);
    json_end_array(&j);
    json_end_object(&j);
    buf_add_char(out, '\n');
}

int model_remote_info(const struct settings_remote *r, const struct settings *s, bool is_json)
{
    static const struct remote_traits unknown;
    struct errmsg msg = {0};
    struct model_remote_looks looks;
    struct buf out;
    if (model_remote_look(r, s, &looks, &msg)) return cli_fail(&msg);
    const struct remote_traits *t = looks.first_up ? &looks.first_up->traits : &unknown;
    buf_init(&out, REPORT_LIMIT);
    (is_json ? info_as_json : info_as_text)(r, &looks, t, &out);
    int status = cli_print(&out);
    return looks.n_up == 0 ? CLI_FAILED : status;
}

/* --- list ---------------------------------------------------------------------------------------------- */

/* "gpu1:8000", of a URL without its scheme and path. */
static const char *host_of(const char *url, size_t len, int *host_len)
{
    const char *host = memchr(url, '/', len);
    host = host ? host + 2 : url;
    size_t left = len - (size_t)(host - url);
    const char *slash = memchr(host, '/', left);
    *host_len = (int)(slash ? (size_t)(slash - host) : left);
    return host;
}

void model_remote_list(const struct settings *s, struct buf *out)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        const struct settings_remote *r = &s->remotes[i];
        const char *rest = r->urls, *url;
        size_t len;
        int host_len;
        buf_printf(out, "%-28s %8s  %s on", r->name, r->type, r->api);
        while (settings_url_next(&rest, &url, &len)) {
            const char *host = host_of(url, len, &host_len);
            buf_printf(out, " %.*s", host_len, host);
        }
        buf_add_char(out, '\n');
    }
}

void model_remote_list_json(const struct settings *s, struct json *j)
{
    for (int32_t i = 0; i < s->n_remotes; i++) {
        const struct settings_remote *r = &s->remotes[i];
        const char *rest = r->urls, *url;
        size_t len;
        json_begin_object(j, NULL);
        json_str(j, "name", r->name);
        json_str(j, "type", r->type);
        json_str(j, "api", r->api);
        json_str(j, "model", r->model);
        json_begin_array(j, "urls");
        while (settings_url_next(&rest, &url, &len)) json_str_len(j, NULL, url, len);
        json_end_array(j);
        json_end_object(j);
    }
}
