/* The HTTP server as a whole: its options, its connections, and the one timer behind all their deadlines.
 *
 * The timer is armed for a time no later than the nearest deadline and only while a connection has one, so
 * that an idle server never wakes. Deadlines move often (with every request) and pass almost never: moving
 * one later leaves the timer alone, and when it fires the list is searched. */
#include "serve/http_impl.h"

#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "serve/http_access.h"

static void on_handle_closed(uv_handle_t *handle)
{
    http_server_let_go(handle->data);
}

void http_server_let_go(struct http_server *s)
{
    if (--s->n_handles || !s->is_freed) return;
    mem_free((char *)s->options.token);
    mem_free((char *)s->options.origins);
    mem_free(s->read_bytes);
    mem_free(s);
}

void http_server_touch(struct http_server *s)
{
    s->last_activity_ns = clock_ns();
}

static void on_timer(uv_timer_t *timer);

static void arm(struct http_server *s, uint64_t at_ms)
{
    uint64_t now = uv_now(s->loop);
    s->timer_at_ms = at_ms;
    uv_timer_start(&s->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    uint64_t now = uv_now(s->loop), nearest = UINT64_MAX;
    s->timer_at_ms = 0;
    for (struct http_conn *c = s->conns; c; c = c->next) { /* closing unlinks later */
        if (c->deadline_ms && c->deadline_ms <= now) http_conn_expire(c);
        if (c->deadline_ms && c->deadline_ms < nearest) nearest = c->deadline_ms;
    }
    if (nearest < UINT64_MAX) arm(s, nearest);
}

void http_server_set_deadline(struct http_conn *c, int32_t seconds)
{
    struct http_server *s = c->server;
    s->n_waiting -= c->deadline_ms != 0;
    c->deadline_ms = seconds ? uv_now(s->loop) + (uint64_t)seconds * 1000 : 0;
    s->n_waiting += c->deadline_ms != 0;
    c->queue_seen = uv_stream_get_write_queue_size(&c->uv.stream);
    if (!s->n_waiting) {
        uv_timer_stop(&s->timer);
        s->timer_at_ms = 0;
    } else if (c->deadline_ms && (!s->timer_at_ms || c->deadline_ms < s->timer_at_ms)) {
        arm(s, c->deadline_ms);
    }
}

static void set_defaults(struct http_limits *l)
{
    if (!l->max_connections) l->max_connections = 1024;
    if (!l->max_header_bytes) l->max_header_bytes = 16 << 10;
    if (!l->max_body_bytes) l->max_body_bytes = (int64_t)16 << 20;
    if (!l->header_seconds) l->header_seconds = 10;
    if (!l->body_seconds) l->body_seconds = 30;
    if (!l->idle_seconds) l->idle_seconds = 300;
    if (!l->max_unsent_bytes) l->max_unsent_bytes = (int64_t)4 << 20;
}

/* A token must fit a header's line and the comparison, else no request could ever carry it. */
static enum err check_token(const char *token, struct errmsg *msg)
{
    size_t len = strlen(token);
    if (len > HTTP_TOKEN_MAX)
        return err_set(msg, ERR_ARG, "the token has %zu bytes; at most %d are allowed", len, HTTP_TOKEN_MAX);
    for (size_t i = 0; i < len; i++) {
        if (token[i] <= ' ' || token[i] == 0x7f)
            return err_set(msg, ERR_ARG, "the token holds a space or a character outside of ASCII");
    }
    return OK;
}

enum err http_server_new(struct uv_loop_s *loop, const struct http_server_options *o,
                         struct http_server **out, struct errmsg *msg)
{
    *out = NULL;
    enum err err = check_token(o->token ? o->token : "", msg);
    if (err) return err;
    struct http_server *s = MEM_NEW(struct http_server);
    s->loop = loop;
    s->options = *o;
    s->options.token = mem_dup_str(o->token ? o->token : "");
    s->options.origins = mem_dup_str(o->origins ? o->origins : "");
    set_defaults(&s->options.limits);
    s->read_bytes = mem_new(HTTP_READ_BYTES);
    s->timer.data = s;
    s->n_handles = 1;
    uv_timer_init(loop, &s->timer);
    uv_unref((uv_handle_t *)&s->timer); /* a deadline alone keeps no loop running */
    signal(SIGPIPE, SIG_IGN);           /* a client that has left is an error of one write */
    http_server_touch(s);
    *out = s;
    return OK;
}

enum err http_server_set_access(struct http_server *s, const char *token, const char *origins,
                                struct errmsg *msg)
{
    enum err err = check_token(token, msg);
    if (err) return err;
    for (const struct http_listener *l = s->listeners; l; l = l->next) {
        if (!token[0] && !l->is_loopback)
            return err_set(msg, ERR_ARG, "without a token the server may listen on loopback only");
    }
    mem_free((char *)s->options.token);
    mem_free((char *)s->options.origins);
    s->options.token = mem_dup_str(token);
    s->options.origins = mem_dup_str(origins);
    return OK;
}

int32_t http_n_connections(const struct http_server *s)
{
    return s->n_conns;
}

int64_t http_last_activity_ns(const struct http_server *s)
{
    return s->last_activity_ns;
}

static void close_listeners(struct http_server *s)
{
    for (struct http_listener *l = s->listeners, *next; l; l = next) {
        next = l->next;
        http_listen_close(l);
    }
    s->listeners = NULL;
}

void http_server_drain(struct http_server *s)
{
    s->is_draining = true;
    close_listeners(s);
    for (struct http_conn *c = s->conns; c; c = c->next) {
        if (http_conn_is_idle(c)) http_conn_close(c);
    }
}

void http_server_free(struct http_server **s)
{
    struct http_server *server = *s;
    *s = NULL;
    if (!server) return;
    server->is_freed = true;
    close_listeners(server);
    for (struct http_conn *c = server->conns; c; c = c->next) {
        http_conn_close(c);
        http_conn_tell_end(c);
    }
    uv_close((uv_handle_t *)&server->timer, on_handle_closed);
}
