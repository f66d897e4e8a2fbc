/* The servers of a remote: choosing one, what is remembered of failures, why none can be asked; see
 * remote_impl.h. */
#include "os/clock.h"
#include "remote/remote_impl.h"

const char *remote_servers_name(const struct remote *r, int32_t server)
{
    return transfer_host(r->transfers, server)->name;
}

/* Connections that it can have at a server. Those in the background leave one for people. */
static int32_t n_free(const struct remote *r, const struct remote_job *j, int32_t server)
{
    struct transfer_host_state state;
    transfer_host_state(r->transfers, server, &state);
    bool leaves_one = j && remote_is_background(j) && (r->n_connections > 1 || state.is_http2);
    return state.n_free - leaves_one;
}

int32_t remote_servers_pick(struct remote *r, const struct remote_job *j, uint32_t tried, int64_t now_ns)
{
    int32_t free_connections[REMOTE_SERVERS_MAX];
    for (int32_t i = 0; i < r->n_servers; i++) free_connections[i] = n_free(r, j, i);
    const struct balance_ask ask = {.document = j ? j->r.document : 0,
                                    .tried = tried,
                                    .free_connections = free_connections,
                                    .now_ns = now_ns};
    return balance_pick(&r->balance, r->servers, r->n_servers, &ask);
}

bool remote_servers_is_trial(const struct remote *r, uint32_t tried)
{
    for (int32_t i = 0; i < r->n_servers; i++) {
        if (!(tried >> i & 1) && r->servers[i].health == SERVER_TRIAL) return true;
    }
    return false;
}

void remote_servers_finish(struct remote *r, int32_t server, const struct verdict *v)
{
    struct server *s = &r->servers[server];
    uint32_t bit = (uint32_t)1 << server;
    server_finish(s, v->end, v->retry_after_s, clock_ns());
    if (v->err) r->failures[server] = *v;
    if (s->health == SERVER_DOWN && !(r->was_down & bit)) remote_probe_put_off(r, server);
    if (s->health == SERVER_DOWN) r->was_down |= bit;
    r->has_changed = true;
}

/* --- Why none ----------------------------------------------------------------------------------------- */

/* The server that may be asked first of those that rest for this reason; -1: none does. */
static int32_t first_due(const struct remote *r, bool is_limited, int64_t now_ns)
{
    int32_t first = -1;
    for (int32_t i = 0; i < r->n_servers; i++) {
        int64_t due_ns = server_due_ns(&r->servers[i], now_ns);
        bool rests = (r->servers[i].limited_ns > now_ns) == is_limited && due_ns;
        if (rests && (first < 0 || due_ns < server_due_ns(&r->servers[first], now_ns))) first = i;
    }
    return first;
}

static double seconds_until(int64_t due_ns, int64_t now_ns)
{
    return (double)(due_ns - now_ns) / 1e9;
}

int64_t remote_servers_why_none(const struct remote *r, int64_t now_ns, struct verdict *v)
{
    int32_t limited = first_due(r, true, now_ns), down = first_due(r, false, now_ns);
    if (limited >= 0) {
        int64_t due_ns = server_due_ns(&r->servers[limited], now_ns);
        v->err = err_set(&v->msg, ERR_LIMIT, "%s: too many requests (it is asked again in %.1f s)",
                         remote_servers_name(r, limited), seconds_until(due_ns, now_ns));
        return due_ns;
    }
    if (down >= 0) {
        const struct verdict *last = &r->failures[down];
        v->err = err_set(&v->msg, last->err ? last->err : ERR_NETWORK, "%s (it is asked again in %.1f s)",
                         last->err ? last->msg.text : remote_servers_name(r, down),
                         seconds_until(server_due_ns(&r->servers[down], now_ns), now_ns));
        return 0;
    }
    v->err = err_set(&v->msg, ERR_NETWORK, "%s%s: no server can be asked now", remote_servers_name(r, 0),
                     r->n_servers > 1 ? " and others" : "");
    return 0;
}
