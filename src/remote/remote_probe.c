/* Light probes; see remote_impl.h. There are two reasons to send one, and both need somebody who is asking:
 *
 * - a server is down: an answer brings the next trial forward;
 * - a connection was closed in mid-stream, and there is none to spare: the next keystroke would wait for one
 *   to be made, with TLS that is three times the way there and back. */
#include "os/clock.h"
#include "remote/remote_impl.h"

#define NS_PER_S ((int64_t)1000000000)

/* Servers that are down are probed this often, for as long after the last request. */
#define PROBE_EVERY_NS (2 * NS_PER_S)
#define PROBE_FOR_NS   (60 * NS_PER_S)

static bool on_body(void *ctx, int status, const char *content_type, const char *bytes, size_t len)
{
    (void)ctx, (void)status, (void)content_type, (void)bytes;
    return len <= REMOTE_ANSWER_MAX;
}

static void on_end(void *ctx, const struct transfer_result *result)
{
    struct probe *p = ctx;
    struct remote *r = p->remote;
    p->transfer = NULL;
    r->has_changed = true;
    bool is_up = result->fault == TRANSFER_FINE && result->status / 100 != 5;
    server_probed(&r->servers[p->server], is_up, clock_ns());
}

static const struct transfer_events events = {on_body, on_end};

void remote_probe_put_off(struct remote *r, int32_t server)
{
    r->probes[server].next_ns = clock_ns() + PROBE_EVERY_NS;
}

static void send_probe(struct remote *r, int32_t server)
{
    struct probe *p = &r->probes[server];
    struct transfer_host_state state;
    transfer_host_state(r->transfers, server, &state);
    remote_probe_put_off(r, server);
    if (p->transfer || state.n_free == 0) return;
    const struct transfer_ask ask = {
        .host = server, .path = dialect_probe_path(r->api), .events = &events, .ctx = p};
    p->remote = r;
    p->server = server;
    p->due_ns = clock_ns() + r->connect_ns;
    (void)!transfer_start(r->transfers, &ask, &p->transfer, NULL); /* without memory, none is sent */
}

static bool is_any_under_way(const struct remote *r)
{
    for (int32_t i = 0; i < r->n_servers; i++) {
        if (r->probes[i].transfer) return true;
    }
    return false;
}

void remote_probe_warm(struct remote *r, int32_t server)
{
    struct transfer_host_state state;
    const struct host *host = transfer_host(r->transfers, server);
    transfer_host_state(r->transfers, server, &state);
    bool is_cheap = host->is_loopback && !host->is_https;
    bool has_spare = state.is_http2 || state.n_connections > state.n_active;
    if (is_cheap || has_spare || r->servers[server].health == SERVER_DOWN || is_any_under_way(r)) return;
    send_probe(r, server);
}

static bool is_worth_it(const struct remote *r, int32_t server, int64_t now)
{
    const struct server *s = &r->servers[server];
    return s->health == SERVER_DOWN && s->due_ns > now && now - r->last_asked_ns < PROBE_FOR_NS;
}

void remote_probe_advance(struct remote *r, int64_t now)
{
    for (int32_t i = 0; i < r->n_servers; i++) {
        struct probe *p = &r->probes[i];
        if (p->transfer && now >= p->due_ns) {
            transfer_close(&p->transfer);
            server_probed(&r->servers[i], false, now);
        }
        if (is_worth_it(r, i, now) && now >= p->next_ns) send_probe(r, i);
    }
}

int64_t remote_probe_due_ns(const struct remote *r)
{
    int64_t due_ns = 0, now = clock_ns();
    for (int32_t i = 0; i < r->n_servers; i++) {
        const struct probe *p = &r->probes[i];
        if (p->transfer)
            due_ns = remote_sooner(due_ns, p->due_ns);
        else if (is_worth_it(r, i, now))
            due_ns = remote_sooner(due_ns, p->next_ns);
    }
    return due_ns;
}

void remote_probe_end(struct remote *r)
{
    for (int32_t i = 0; i < r->n_servers; i++) transfer_close(&r->probes[i].transfer);
}
