/* A remote and its servers. See remote_world.h. */
#include "support/remote_world.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"
#include "remote/dialect.h"

#define PATIENCE_MS 10000.0

void remote_world_open(struct remote_world *w, const char *api, int n_servers, const struct remote_options *o)
{
    char urls[512] = "";
    struct remote_options options = *o;
    struct errmsg msg = {""};
    memset(w, 0, sizeof *w);
    w->n_servers = n_servers;
    for (int i = 0; i < n_servers; i++) {
        w->servers[i] = model_server_start(api);
        size_t len = strlen(urls);
        snprintf(urls + len, sizeof urls - len, "%s%s", i ? " " : "", model_server_url(w->servers[i]));
    }
    assert_true(dialect_api(api, &options.api));
    options.urls = urls;
    enum err err = remote_new(&options, &w->remote, &msg);
    if (err) fail_msg("%s", msg.text);
}

void remote_world_close(struct remote_world *w)
{
    remote_free(&w->remote);
    for (int i = 0; i < w->n_servers; i++) model_server_stop(&w->servers[i]);
}

static enum err prepare(void *ctx, const struct remote_traits *t, struct remote_ask *out, struct errmsg *msg)
{
    struct remote_call *c = ctx;
    (void)msg;
    c->n_prepared++;
    c->traits = *t;
    out->prompt = c->prompt;
    out->prompt_len = strlen(c->prompt);
    out->max_tokens = 100;
    return OK;
}

static bool on_text(void *ctx, const char *text, size_t len)
{
    struct remote_call *c = ctx;
    size_t n = strlen(c->text);
    if (n + len < sizeof c->text) memcpy(c->text + n, text, len);
    return ++c->n_pieces != c->enough_after;
}

static void done(void *ctx, const struct remote_report *report)
{
    struct remote_call *c = ctx;
    c->report = *report;
    c->done_ns = clock_ns();
    atomic_fetch_add(&c->n_done, 1);
}

void remote_call_submit(struct remote_world *w, struct remote_call *c, const char *prompt)
{
    snprintf(c->prompt, sizeof c->prompt, "%s", prompt);
    c->request.prepare = prepare;
    c->request.on_text = on_text;
    c->request.done = done;
    c->request.ctx = c;
    c->submitted_ns = clock_ns();
    c->job = remote_submit(w->remote, &c->request);
}

void remote_call_wait(struct remote_call *c)
{
    int64_t start = clock_ns();
    while (atomic_load(&c->n_done) == 0) {
        if (clock_ms_since(start) > PATIENCE_MS) fail_msg("request \"%s\" does not end", c->prompt);
        usleep(200);
    }
    remote_release(&c->job);
    assert_int_equal(atomic_load(&c->n_done), 1);
}

void remote_call_make(struct remote_world *w, struct remote_call *c, const char *prompt)
{
    remote_call_submit(w, c, prompt);
    remote_call_wait(c);
}

double remote_call_ms(const struct remote_call *c)
{
    return (double)(c->done_ns - c->submitted_ns) / 1e6;
}

void remote_world_await_running(struct remote_world *w, int server, int n_running)
{
    struct model_counts counts;
    for (int i = 0; i < 2000; i++) {
        model_server_counts(w->servers[server], &counts);
        if (counts.n_running == n_running) return;
        usleep(500);
    }
    fail_msg("%d requests are running, not %d", counts.n_running, n_running);
}

int remote_world_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir)) n++;
    closedir(dir);
    return n;
}
