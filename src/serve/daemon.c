/* The daemon's loop: what listens, who answers, and how it ends.
 *
 * One way to end: `drain`, by a signal or for want of work. Nothing new is taken; what runs is finished and
 * sent, language server connections are closed last, and the loop stops when no connection is left or the
 * time for it is over. `look` sees to that, and to the idle timer, before each wait of the loop; so no timer
 * runs while there is anything to do, and none is periodic. Thread: loop. */
#include "serve/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <uv.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/service.h"
#include "os/clock.h"
#include "os/manager.h"
#include "os/pressure.h"
#include "os/thread.h"
#include "serve/alert_tell.h"
#include "serve/api.h"
#include "serve/daemon_lock.h"
#include "serve/http.h"
#include "serve/lsp.h"
#include "watch/alerts.h"
#include "watch/journal.h"
#include "watch/metrics.h"

/* Between two judgements of alerts: while there is work, and at most while there is none. */
#define ALERTS_NS     ((int64_t)1000000000)
#define ALERTS_MAX_NS ((int64_t)60000000000)
#define DRAIN_MS      10000 /* what a running request may still take; systemd kills after 90 s */
#define WHERE_MAX     8192  /* bytes of the line that says where we listen */

struct daemon {
    const struct daemon_options *o;
    uv_loop_t loop;
    uv_async_t wake;        /* the service has something for service_poll */
    uv_signal_t ends[2];    /* SIGTERM, SIGINT */
    uv_signal_t reload;     /* SIGHUP */
    uv_prepare_t prepare;   /* calls look */
    uv_timer_t timer;       /* idle: leave; draining: do not wait longer */
    uv_timer_t tick;        /* service_tick */
    int64_t due_ns;         /* that `tick` is armed for; 0: it is not */
    int64_t alerts_ns;      /* when alerts were judged */
    int64_t alerts_wait_ns; /* until they are again, if there is no work */
    uv_poll_t pressure;     /* memory is short */
    int pressure_fd;        /* -1: the system does not tell */
    struct http_server *http;
    struct metrics *metrics;
    struct journal *journal;
    struct alerts *alerts;
    struct alert_tell *alert_tell;
    struct store *store; /* or null */
    struct service *service;
    struct api *api;
    struct session *sessions;
    int32_t n_sessions;
    enum service_state model_state; /* of the main model, as last told */
    int32_t read_percent;           /* of its weights, likewise */
    uint64_t models_version;
    bool is_draining, has_closed_sessions;
    int lock_fd;
    struct buf where; /* "http://127.0.0.1:8012 and /run/user/1000/inline/inline.sock" */
};

/* What a client sent, or the beginning of it, where log.text allows that. */
static void log_bytes(const struct daemon *d, const char *bytes, size_t len)
{
    struct errmsg line;
    if (!d->o->log_text || len == 0) return;
    err_set(&line, OK, "received %.*s", (int)(len < ERRMSG_MAX ? len : ERRMSG_MAX), bytes);
    log_line(LOG_DEBUG, "%s", line.text);
}

/* --- Language server sessions ------------------------------------------------------------------------- */

/* Thread: loop. Owner: its stream, with which it goes. */
struct session {
    struct daemon *daemon;
    struct session *prev, *next;
    struct http_stream *stream;
    struct lsp *lsp; /* owned */
};

static void session_write(void *ctx, const char *bytes, size_t len)
{
    struct session *s = ctx;
    http_stream_write(s->stream, bytes, len);
}

static void session_exit(void *ctx)
{
    struct session *s = ctx;
    http_stream_close(s->stream);
}

static void session_bytes(void *ctx, const char *bytes, size_t len)
{
    struct session *s = ctx;
    log_bytes(s->daemon, bytes, len);
    lsp_feed(s->lsp, bytes, len);
}

static void session_close(void *ctx)
{
    struct session *s = ctx;
    *(s->prev ? &s->prev->next : &s->daemon->sessions) = s->next;
    if (s->next) s->next->prev = s->prev;
    s->daemon->n_sessions--;
    lsp_free(&s->lsp);
    mem_free(s);
}

static void session_open(struct daemon *d, struct http_exchange *x)
{
    struct session *s = MEM_NEW(struct session);
    struct lsp_options options = {.service = d->service,
                                  .alerts = d->alerts,
                                  .write = session_write,
                                  .on_exit = session_exit,
                                  .ctx = s};
    struct http_stream_handler handler = {.on_bytes = session_bytes, .on_close = session_close, .ctx = s};
    *s = (struct session){.daemon = d, .next = d->sessions, .lsp = lsp_new(&options)};
    if (s->next) s->next->prev = s;
    d->sessions = s;
    d->n_sessions++;
    s->stream = http_upgrade(x, "lsp", &handler);
}

/* --- Requests ----------------------------------------------------------------------------------------- */

static void on_request(void *ctx, struct http_exchange *x)
{
    struct daemon *d = ctx;
    const struct http_request *r = http_request_of(x);
    struct errmsg line; /* which makes it printable: clients choose paths */
    err_set(&line, OK, "%s %s, %zu bytes", r->method, r->path, r->body_len);
    log_line(LOG_DEBUG, "%s", line.text);
    log_bytes(d, r->body, r->body_len);
    if (strcmp(r->path, "/lsp") != 0) {
        api_handle(d->api, x);
    } else if (strcmp(r->method, "GET") == 0 && strcasecmp(http_header(x, "upgrade"), "lsp") == 0) {
        session_open(d, x);
    } else {
        http_extra_header(x, "Upgrade", "lsp"); /* RFC 9110 section 15.5.22 wants it told */
        http_error(x, 426, "invalid_request_error",
                   "this is the language server's door: editors come in by running `inline lsp`");
    }
}

/* --- Alerts ------------------------------------------------------------------------------------------- */

static void on_alert(void *ctx, const struct alert *alert)
{
    struct daemon *d = ctx;
    static const enum log_level levels[] = {
        [ALERT_INFO] = LOG_INFO, [ALERT_WARNING] = LOG_WARN, [ALERT_CRITICAL] = LOG_ERROR};
    const struct log_field fields[] = {
        {"name", LOG_STR, .str = alert->rule->name},
        {"state", LOG_STR, .str = alert->is_firing ? "firing" : "resolved"},
        {"value", LOG_NUM, .number = alert->value},
        {"what", LOG_STR, .str = alert->message},
    };
    log_event(levels[alert->rule->severity], "alert", fields, sizeof fields / sizeof *fields);
    for (struct session *s = d->sessions; s; s = s->next) lsp_on_alert(s->lsp, alert);
    alert_tell(d->alert_tell, alert);
}

/* The service looks at the machine once a second. */
static bool is_busy(const struct daemon *d)
{
    int64_t due = service_due_ns(d->service);
    return due > 0 && due <= clock_ns() + 2 * ALERTS_NS;
}

static int64_t alerts_due_ns(const struct daemon *d)
{
    return d->alerts_ns + (is_busy(d) ? ALERTS_NS : d->alerts_wait_ns);
}

/* Where nothing happens any more, ever more seldom: what fires still has to end. */
static void look_alerts(struct daemon *d)
{
    int64_t wait = is_busy(d) ? ALERTS_NS : 2 * d->alerts_wait_ns;
    service_measure(d->service, false);
    alerts_look(d->alerts, clock_ns(), clock_unix_us());
    d->alerts_ns = clock_ns();
    d->alerts_wait_ns = wait < ALERTS_NS ? ALERTS_NS : wait < ALERTS_MAX_NS ? wait : ALERTS_MAX_NS;
}

/* --- Models ------------------------------------------------------------------------------------------- */

/* Tell the editors how the main model is getting on. */
static void tell_models(struct daemon *d)
{
    struct service_model m;
    service_model(d->service, 0, &m);
    int32_t percent = m.weight_bytes > 0 ? (int32_t)(m.read_bytes * 100 / m.weight_bytes) : 0;
    if (m.state == d->model_state && percent == d->read_percent) return;
    d->model_state = m.state;
    d->read_percent = percent;
    for (struct session *s = d->sessions; s; s = s->next) lsp_on_models(s->lsp);
}

static void on_wake(uv_async_t *handle)
{
    struct daemon *d = handle->data;
    service_poll(d->service);
    if (service_models_version(d->service) == d->models_version) return;
    d->models_version = service_models_version(d->service);
    tell_models(d);
}

static bool is_due(int64_t due_ns)
{
    return due_ns > 0 && due_ns <= clock_ns();
}

static void on_tick(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    d->due_ns = 0;
    if (is_due(service_due_ns(d->service))) service_tick(d->service);
    if (clock_ns() >= alerts_due_ns(d)) look_alerts(d);
    tell_models(d);
}

static void on_pressure(uv_poll_t *poll, int status, int events)
{
    struct daemon *d = poll->data;
    (void)events;
    if (status < 0) {
        uv_poll_stop(poll); /* the trigger is gone */
    } else {
        service_on_pressure(d->service);
    }
}

/* Alerts are judged whenever the service looks at the machine; and, while one fires or is about to, by
 * themselves, so that it ends also where nothing happens any more. */
static int64_t next_due(const struct daemon *d)
{
    int64_t service = service_due_ns(d->service);
    int64_t alerts = alerts_is_calm(d->alerts) ? 0 : alerts_due_ns(d);
    if (service == 0 || alerts == 0) return service + alerts;
    return service < alerts ? service : alerts;
}

/* Armed for when the service or an alert has something to do, and only then. */
static void look_tick(struct daemon *d)
{
    int64_t due = next_due(d), left = due - clock_ns();
    if (due == d->due_ns) return;
    d->due_ns = due;
    if (due == 0) {
        uv_timer_stop(&d->tick);
    } else {
        uv_update_time(&d->loop);
        uv_timer_start(&d->tick, on_tick, left > 0 ? (uint64_t)(left / 1000000) + 1 : 0, 0);
    }
}

static void wake(void *ctx)
{
    struct daemon *d = ctx;
    uv_async_send(&d->wake);
}

/* --- The end ------------------------------------------------------------------------------------------ */

static void on_drain_timer(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    log_line(LOG_WARN, "%d requests were not finished in %d s", (int)service_n_running(d->service),
             DRAIN_MS / 1000);
    uv_stop(&d->loop);
}

static void drain(struct daemon *d)
{
    if (d->is_draining) return;
    d->is_draining = true;
    manager_notify("STOPPING=1");
    /* libuv gives a signal that is not watched its usual effect again: a second one ends us at once. */
    for (int i = 0; i < 2; i++) uv_signal_stop(&d->ends[i]);
    http_server_drain(d->http);
    api_drain(d->api);
    service_drain(d->service);
    uv_timer_start(&d->timer, on_drain_timer, DRAIN_MS, 0);
}

static void look_draining(struct daemon *d)
{
    int32_t n_connections = http_n_connections(d->http);
    if (n_connections == 0) {
        uv_stop(&d->loop);
    } else if (!d->has_closed_sessions && service_n_running(d->service) == 0) {
        d->has_closed_sessions = true;
        for (struct session *s = d->sessions; s; s = s->next) http_stream_close(s->stream);
    }
}

static void on_idle_timer(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    log_line(LOG_INFO, "nobody has asked for %d s", (int)d->o->idle_exit_s);
    drain(d);
}

static void look_idle(struct daemon *d)
{
    bool is_idle = http_n_connections(d->http) == 0 && service_n_running(d->service) == 0;
    bool is_armed = uv_is_active((const uv_handle_t *)&d->timer);
    if (is_idle && !is_armed) {
        uv_timer_start(&d->timer, on_idle_timer, (uint64_t)d->o->idle_exit_s * 1000, 0);
    } else if (!is_idle && is_armed) {
        uv_timer_stop(&d->timer);
    }
}

static void look(uv_prepare_t *prepare)
{
    struct daemon *d = prepare->data;
    look_tick(d);
    if (d->is_draining) {
        look_draining(d);
    } else if (d->o->idle_exit_s > 0) {
        look_idle(d);
    }
}

/* --- Signals ------------------------------------------------------------------------------------------ */

static void on_end_signal(uv_signal_t *handle, int number)
{
    log_line(LOG_INFO, "signal %d: finishing what runs", number);
    drain(handle->data);
}

static void on_reload_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct daemon *d = handle->data;
    const char *token = "", *origins = "";
    struct errmsg msg = {0};
    if (!d->o->reload) return;
    manager_notify_reloading();
    enum err err = d->o->reload(d->o->ctx, &token, &origins, &msg);
    if (!err) err = http_server_set_access(d->http, token, origins, &msg);
    if (err) {
        log_line(LOG_ERROR, "the configuration stays as it was: %s", msg.text);
    } else {
        log_line(LOG_INFO, "the configuration was read again");
    }
    manager_notify("READY=1");
}

/* --- The start ---------------------------------------------------------------------------------------- */

static void add_where(struct daemon *d, const char *prefix, const char *what)
{
    buf_printf(&d->where, "%s%s%s", d->where.len > 0 ? " and " : "", prefix, what);
}

static enum err listen_tcp(struct daemon *d, struct errmsg *msg)
{
    int port = 0;
    enum err err = http_listen_tcp(d->http, d->o->listen, &port, msg);
    if (err == ERR_IO && d->o->listen_if_free && *d->o->socket) {
        log_line(LOG_WARN, "%s; serving the socket only", msg->text);
        return OK;
    }
    if (err) return err;
    size_t host = (size_t)(strrchr(d->o->listen, ':') - d->o->listen);
    char address[300]; /* a host name has at most 253 characters */
    snprintf(address, sizeof address, "%.*s:%d", (int)host, d->o->listen, port);
    add_where(d, "http://", address);
    return OK;
}

static enum err listen_all(struct daemon *d, struct errmsg *msg)
{
    enum err err = OK;
    int32_t n = manager_take_fds();
    for (int32_t i = 0; i < n && !err; i++) err = http_listen_fd(d->http, MANAGER_FDS_FIRST + i, msg);
    if (n > 0) {
        add_where(d, "", "the service manager's sockets");
        return err;
    }
    if (!*d->o->listen && !*d->o->socket)
        return err_set(msg, ERR_ARG, "nothing to listen on: serve.listen and serve.socket are both empty");
    /* The lock before all else: who has it may wait for nothing. */
    if (*d->o->socket) err = daemon_lock_take(d->o->socket, &d->lock_fd, msg);
    if (!err && *d->o->listen) err = listen_tcp(d, msg);
    if (!err && *d->o->socket) err = http_listen_unix(d->http, d->o->socket, msg);
    if (!err && *d->o->socket) add_where(d, "", d->o->socket);
    return err;
}

static void open_handles(struct daemon *d)
{
    static const int numbers[2] = {SIGTERM, SIGINT};
    uv_async_init(&d->loop, &d->wake, on_wake);
    uv_timer_init(&d->loop, &d->timer);
    uv_timer_init(&d->loop, &d->tick);
    uv_prepare_init(&d->loop, &d->prepare);
    uv_prepare_start(&d->prepare, look);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&d->loop, &d->ends[i]);
        uv_signal_start(&d->ends[i], on_end_signal, numbers[i]);
        d->ends[i].data = d;
    }
    d->pressure_fd = pressure_watch();
    if (d->pressure_fd >= 0) {
        uv_poll_init(&d->loop, &d->pressure, d->pressure_fd);
        d->pressure.data = d;
    }
    uv_signal_init(&d->loop, &d->reload);
    uv_signal_start(&d->reload, on_reload_signal, SIGHUP);
    d->wake.data = d->timer.data = d->tick.data = d->prepare.data = d->reload.data = d;
}

static enum err open_server(struct daemon *d, struct errmsg *msg)
{
    struct http_server_options options = {.limits.max_connections = d->o->max_connections,
                                          .token = d->o->token,
                                          .origins = d->o->origins,
                                          .is_public = api_is_public,
                                          .on_request = on_request,
                                          .ctx = d};
    enum err err = http_server_new(&d->loop, &options, &d->http, msg);
    return err ? err : listen_all(d, msg);
}

static int64_t sessions_bytes(void *ctx)
{
    const struct daemon *d = ctx;
    size_t n = 0;
    for (const struct session *s = d->sessions; s; s = s->next) n += lsp_documents_bytes(s->lsp);
    return (int64_t)n;
}

static enum err open_alerts(struct daemon *d, struct errmsg *msg)
{
    struct alert_options options = {.rules = d->o->alert_rules};
    enum err err = alerts_new(&options, d->metrics, &d->alerts, msg);
    if (!err) err = alert_tell_new(&d->loop, d->o->alert_command, d->o->alert_webhook, &d->alert_tell, msg);
    if (!err) alerts_on_change(d->alerts, on_alert, d);
    return err;
}

static enum err open_service(struct daemon *d, struct errmsg *msg)
{
    struct service_options options = *d->o->service;
    d->metrics = metrics_new();
    options.metrics = d->metrics;
    options.wake = wake;
    options.ctx = d;
    d->journal = options.journal = journal_new(0);
    options.documents_bytes = sessions_bytes;
    enum err err = open_alerts(d, msg);
    if (!err && d->o->open_store) err = d->o->open_store(d->o->ctx, d->metrics, wake, d, &d->store, msg);
    options.store = d->store;
    if (!err) err = service_new(&options, &d->service, msg);
    if (err) return err;
    d->api = api_new(&(struct api_options){.service = d->service,
                                           .metrics = d->metrics,
                                           .journal = d->journal,
                                           .alerts = d->alerts,
                                           .loop = &d->loop,
                                           .write_config = d->o->write_config,
                                           .ctx = d->o->ctx});
    return OK;
}

static void say_ready(struct daemon *d)
{
    struct service_model m;
    service_model(d->service, 0, &m);
    d->model_state = m.state;
    bool is_there = m.state != SERVICE_MODEL_FAILED;
    fprintf(stderr, "inline: listening on %s, %s%s\n", buf_str(&d->where),
            is_there ? "model " : "no model: ", is_there ? m.name : m.error);
    manager_notify("READY=1");
}

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

/* Also what is half open. The service and its store before the handles: their threads call `wake` until they
 * are gone. */
static void close_all(struct daemon *d)
{
    http_server_free(&d->http);
    api_free(&d->api);
    service_free(&d->service);
    if (d->store) d->o->close_store(&d->store);
    alert_tell_free(&d->alert_tell);
    alerts_free(&d->alerts);
    journal_free(&d->journal);
    metrics_free(&d->metrics);
    uv_walk(&d->loop, close_handle, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
    if (d->pressure_fd >= 0) close(d->pressure_fd);
    daemon_lock_release(&d->lock_fd);
    buf_clear(&d->where);
}

enum err daemon_run(const struct daemon_options *o, struct errmsg *msg)
{
    struct daemon d = {.o = o, .lock_fd = -1, .pressure_fd = -1};
    buf_init(&d.where, WHERE_MAX);
    signal(SIGPIPE, SIG_IGN); /* a client that is gone is an error of its write */
    int failure = uv_loop_init(&d.loop);
    if (failure) return err_set(msg, ERR_IO, "cannot start the event loop: %s", uv_strerror(failure));
    open_handles(&d);
    enum err err = open_server(&d, msg);
    if (!err) err = open_service(&d, msg);
    if (!err) {
        say_ready(&d);
        thread_make_prompt();
        if (d.pressure_fd >= 0) uv_poll_start(&d.pressure, UV_PRIORITIZED, on_pressure);
        uv_run(&d.loop, UV_RUN_DEFAULT);
    }
    close_all(&d);
    return err;
}
