/* A remote's outside and its thread: what arrives, whose turn it is, when to sleep; see remote_impl.h.
 *
 * The thread sleeps in curl_multi_poll until something arrives by the network, somebody wakes it, or
 * something is due. With no request about and all connections closed, nothing is. */
#include <string.h>

#include "base/mem.h"
#include "os/clock.h"
#include "os/thread.h"
#include "remote/remote_impl.h"

#define DEFAULT_CONNECTIONS 3 /* what one person's typing and prefetching keep busy */
#define DEFAULT_CONNECT_MS  2000.0
#define DEFAULT_TIMEOUT_MS  10000.0
#define DEFAULT_IDLE_S      60.0 /* below the idle time of usual proxies: nginx has 75 s */
#define MAX_CONNECTIONS     1024 /* catches nonsense */

#define TEXT_MAX STREAM_EVENT_MAX /* of an event: no longer than itself */

/* --- What arrives ------------------------------------------------------------------------------------- */

/* Whether the remote goes on. */
static bool take_arrivals(struct remote *r)
{
    pthread_mutex_lock(&r->lock);
    struct remote_job *arrivals = r->arrivals;
    bool is_closing = r->is_closing;
    r->arrivals = NULL;
    r->has_news = false;
    pthread_mutex_unlock(&r->lock);
    for (struct remote_job *j = arrivals, *next; j; j = next) {
        next = j->next;
        remote_job_begin(r, j);
    }
    return !is_closing;
}

/* With the lock: the thread has something to look at. */
static void notify(struct remote *r)
{
    r->has_news = true;
    transfer_wake(r->transfers);
}

/* --- What others may see ------------------------------------------------------------------------------ */

static void publish_server(struct remote *r, int32_t i)
{
    const struct server *s = &r->servers[i];
    struct remote_server_state *out = &r->state.servers[i];
    struct transfer_host_state connections;
    transfer_host_state(r->transfers, i, &connections);
    out->health = s->health;
    out->is_limited = s->limited_ns > clock_ns();
    out->is_http2 = connections.is_http2;
    out->n_outstanding = s->n_outstanding;
    out->n_connections = connections.n_connections;
    out->n_asked = s->n_asked;
    out->n_failed = s->n_failed;
    out->n_limited = s->n_limited;
    out->n_hedged = s->n_hedged;
    out->error = r->failures[i].msg;
    r->state.n_connects += connections.n_connects;
    r->state.n_reused += connections.n_reused;
    r->state_servers[i] = *s;
}

static void publish(struct remote *r)
{
    pthread_mutex_lock(&r->lock);
    r->state.n_waiting = r->state.n_running = 0;
    r->state.n_connects = r->state.n_reused = 0;
    for (const struct remote_job *j = r->jobs; j; j = j->next) {
        if (remote_job_is_running(j))
            r->state.n_running++;
        else
            r->state.n_waiting++;
    }
    for (int32_t i = 0; i < r->n_servers; i++) publish_server(r, i);
    pthread_mutex_unlock(&r->lock);
}

/* --- The thread --------------------------------------------------------------------------------------- */

static int64_t due_ns(const struct remote *r)
{
    int64_t due = remote_sooner(remote_learn_due_ns(r), remote_probe_due_ns(r));
    for (const struct remote_job *j = r->jobs; j; j = j->next) due = remote_sooner(due, remote_job_due_ns(j));
    return remote_sooner(due, transfer_idle_due_ns(r->transfers));
}

static void advance(struct remote *r)
{
    int64_t now = clock_ns();
    r->has_changed = false;
    remote_learn_advance(r, now);
    for (struct remote_job *j = r->jobs, *next; j; j = next) {
        next = j->next; /* only j itself may go meanwhile */
        remote_job_advance(r, j, now);
    }
    remote_probe_advance(r, now);
}

/* Connections that nobody has used for long. Who submits holds the lock while it wakes the thread, by what is
 * replaced here. */
static void drop_idle(struct remote *r)
{
    int64_t due = transfer_idle_due_ns(r->transfers);
    if (!due || clock_ns() < due) return;
    pthread_mutex_lock(&r->lock);
    bool has_dropped = !r->has_news;
    if (has_dropped) transfer_drop_idle(r->transfers);
    pthread_mutex_unlock(&r->lock);
    if (has_dropped) publish(r);
}

static void *thread_main(void *arg)
{
    struct remote *r = arg;
    while (take_arrivals(r)) {
        advance(r);
        publish(r);
        transfer_run(r->transfers);
        if (r->has_changed) continue;
        drop_idle(r);
        transfer_wait(r->transfers, due_ns(r));
    }
    while (r->jobs) remote_job_cancel(r, r->jobs);
    remote_learn_end(r);
    remote_probe_end(r);
    return NULL;
}

/* --- Life --------------------------------------------------------------------------------------------- */

static enum err add_servers(struct remote *r, const char *urls, struct errmsg *msg)
{
    static const char between[] = " ,\t\n";
    enum err err = OK;
    while (!err && *(urls += strspn(urls, between))) {
        size_t len = strcspn(urls, between);
        struct buf url;
        buf_init(&url, len);
        buf_add(&url, urls, len);
        err = url.err ? err_set(msg, url.err, "%s", err_text(url.err))
                      : transfer_add_host(r->transfers, buf_str(&url), msg);
        buf_clear(&url);
        urls += len;
    }
    r->n_servers = transfer_n_hosts(r->transfers);
    if (!err && r->n_servers == 0) err = err_set(msg, ERR_ARG, "urls names no server");
    return err;
}

static enum err open_transfers(struct remote *r, const struct remote_options *o, struct errmsg *msg)
{
    const struct transfer_options options = {.key = r->key,
                                             .ca_file = o->ca_file ? o->ca_file : "",
                                             .n_connections = r->n_connections,
                                             .idle_s = o->idle_s > 0 ? o->idle_s : DEFAULT_IDLE_S};
    if (r->n_connections < 1 || r->n_connections > MAX_CONNECTIONS)
        return err_set(msg, ERR_ARG, "%d connections to a server; allowed are 1 to %d", r->n_connections,
                       MAX_CONNECTIONS);
    enum err err = transfer_set_new(&options, &r->transfers, msg);
    return err ? err : add_servers(r, o->urls, msg);
}

static void init_servers(struct remote *r)
{
    r->random = (uint64_t)clock_ns();
    balance_init(&r->balance);
    r->state.n_servers = r->n_servers;
    for (int32_t i = 0; i < r->n_servers; i++) {
        server_init(&r->servers[i], r->random + (uint64_t)i);
        r->state_servers[i] = r->servers[i];
        memcpy(r->state.servers[i].name, remote_servers_name(r, i), REMOTE_NAME_MAX);
    }
}

static int64_t option_ns(double ms, double otherwise_ms)
{
    return (int64_t)((ms > 0 ? ms : otherwise_ms) * 1e6);
}

enum err remote_new(const struct remote_options *o, struct remote **out, struct errmsg *msg)
{
    *out = NULL;
    struct remote *r = MEM_NEW(struct remote);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->learned, NULL);
    buf_init(&r->text, TEXT_MAX);
    r->api = o->api;
    r->model = mem_dup_str(o->model ? o->model : "");
    r->key = mem_dup_str(o->key ? o->key : "");
    r->n_connections = o->n_connections ? o->n_connections : DEFAULT_CONNECTIONS;
    r->connect_ns = option_ns(o->connect_ms, DEFAULT_CONNECT_MS);
    r->timeout_ns = option_ns(o->timeout_ms, DEFAULT_TIMEOUT_MS);
    enum err err = open_transfers(r, o, msg);
    if (err) goto fail;
    init_servers(r);
    int failure = thread_create(&r->thread, thread_main, r);
    if (failure) {
        err = err_set(msg, ERR_LIMIT, "cannot start a thread: %s", strerror(failure));
        goto fail;
    }
    r->has_thread = true;
    *out = r;
    return OK;

fail:
    remote_free(&r);
    return err;
}

static void end_thread(struct remote *r)
{
    if (!r->has_thread) return;
    pthread_mutex_lock(&r->lock);
    r->is_closing = true;
    notify(r);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
}

void remote_free(struct remote **rp)
{
    struct remote *r = *rp;
    *rp = NULL;
    if (!r) return;
    end_thread(r);
    transfer_set_free(&r->transfers);
    buf_clear(&r->text);
    mem_free(r->model);
    mem_free(r->key);
    pthread_cond_destroy(&r->learned);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

/* --- Any thread --------------------------------------------------------------------------------------- */

struct remote_job *remote_submit(struct remote *r, const struct remote_request *request)
{
    struct remote_job *j = MEM_NEW(struct remote_job);
    j->r = *request;
    j->submitted_ns = clock_ns();
    j->report.server = -1;
    atomic_init(&j->refs, 2);
    pthread_mutex_lock(&r->lock);
    struct remote_job **end = &r->arrivals;
    while (*end) end = &(*end)->next;
    *end = j;
    notify(r);
    pthread_mutex_unlock(&r->lock);
    return j;
}

void remote_cancel(struct remote *r, struct remote_job *job)
{
    pthread_mutex_lock(&r->lock);
    atomic_store_explicit(&job->is_cancelled, true, memory_order_relaxed);
    notify(r);
    pthread_mutex_unlock(&r->lock);
}

void remote_release(struct remote_job **job)
{
    if (*job) remote_job_unref(*job);
    *job = NULL;
}

enum err remote_learn(struct remote *r, struct remote_traits *out, struct errmsg *msg)
{
    struct remote_asker asker = {0};
    pthread_mutex_lock(&r->lock);
    asker.next = r->askers;
    r->askers = &asker;
    notify(r);
    while (!asker.is_done) pthread_cond_wait(&r->learned, &r->lock);
    pthread_mutex_unlock(&r->lock);
    *out = asker.traits;
    return asker.err ? err_set(msg, asker.err, "%s", asker.msg.text) : OK;
}

void remote_traits(struct remote *r, struct remote_traits *out)
{
    pthread_mutex_lock(&r->lock);
    *out = r->known;
    pthread_mutex_unlock(&r->lock);
}

void remote_state(struct remote *r, struct remote_state *out)
{
    struct server servers[REMOTE_SERVERS_MAX];
    pthread_mutex_lock(&r->lock);
    *out = r->state;
    memcpy(servers, r->state_servers, sizeof servers);
    pthread_mutex_unlock(&r->lock);
    for (int32_t i = 0; i < out->n_servers; i++) {
        out->servers[i].first_p50_ms = server_quantile_ms(&servers[i], 0.5);
        out->servers[i].first_p95_ms = server_quantile_ms(&servers[i], 0.95);
    }
}
