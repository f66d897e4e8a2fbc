/* Exchanges over libcurl's multi interface; see transfer.h.
 *
 * Connections are counted here, by transfers that hold one: libcurl opens one where it has none that is idle,
 * so there are never more of them than there were transfers at once. (CURLMOPT_MAX_HOST_CONNECTIONS is only a
 * second wall, for a host that spoke HTTP/2 and does not any more; transfers that run into it wait in
 * libcurl's own queue, which knows no priorities.)
 *
 * Name look-ups: libcurl runs getaddrinfo on a thread of its own, which nothing can interrupt, and
 * curl_multi_remove_handle waits for that thread (Curl_resolver_kill in lib/asyn-thread.c; from 8.20 on
 * curl_multi_cleanup does). So a transfer whose look-up has begun (CURLOPT_RESOLVER_START_FUNCTION) and has
 * not ended (CURLINFO_NAMELOOKUP_TIME_T is 0) is not removed: it loses its events, goes on to count as a
 * connection, so that look-ups cannot pile up, and ends when it comes to open a socket, which is denied.
 * Where there are such at the end, the whole set is left to a thread that nobody waits for.
 *
 * libcurl has no call to close idle connections. When all of them have been idle for long enough, the multi
 * handle is replaced; what was looked up and TLS sessions stay, in the share handle. */
#include "remote/transfer.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "os/clock.h"
#include "os/thread.h"
#include "remote/dialect.h"
#include "remote/remote.h"
#include "remote/transfer_fault.h"

#define NS_PER_MS ((int64_t)1000000)

/* Of the headers of an answer: some ten times what servers and proxies send; libcurl keeps them all. */
#define HEADERS_MAX ((size_t)64 << 10)

#define URL_MAX ((size_t)8 << 10) /* as most servers allow */

/* For the network's own routers, that forget connections which are silent. */
#define KEEPALIVE_S 30L

struct connections { /* to one host */
    struct host host;
    bool is_http2; /* as its last answer was */
    int32_t n_active, n_open;
    int64_t n_connects, n_reused;
};

struct transfer_set {
    struct curl_api curl;
    struct curl_multi_api multi_api;
    CURLM *multi;
    CURLSH *share; /* DNS, TLS sessions */
    struct curl_slist *get_headers, *post_headers;
    char *ca_file; /* owned */
    int32_t n_connections;
    int64_t idle_ns;
    struct connections hosts[REMOTE_SERVERS_MAX];
    int32_t n_hosts;
    int32_t n_active;
    int64_t idle_since_ns;  /* of clock_ns; while n_active is 0 */
    struct transfer *all;   /* owned; by next */
    struct transfer *spare; /* of them, those that are not under way; by next_spare */
};

struct transfer {
    struct transfer_set *set;
    CURL *curl; /* owned */
    struct transfer *next, *next_spare;
    const struct transfer_events *events; /* null: nobody wants it any more */
    void *ctx;
    struct connections *to; /* null: not under way */
    bool has_looked_up;     /* or begun to */
    bool did_connect;
    bool is_stopped;
    size_t n_header_bytes;
    struct buf url;
    char detail[CURL_ERROR_SIZE];
};

/* ---- What libcurl calls ---- */

static int on_look_up(void *state, void *reserved, void *user)
{
    struct transfer *t = user;
    (void)state, (void)reserved;
    t->has_looked_up = true;
    return 0;
}

/* A socket was made, and is about to be connected. */
static int on_socket(void *user, curl_socket_t fd, curlsocktype purpose)
{
    struct transfer *t = user;
    (void)purpose;
    t->to->n_open++;
    if (!t->events) return CURL_SOCKOPT_ERROR;
    t->did_connect = true;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

static int on_close_socket(void *user, curl_socket_t fd)
{
    struct connections *to = user;
    to->n_open--;
    return close(fd);
}

static int status_of(const struct transfer *t)
{
    long status = 0;
    t->set->curl.easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    (void)bytes;
    t->n_header_bytes += size * n;
    return t->n_header_bytes <= HEADERS_MAX ? size * n : 0; /* 0 ends the transfer */
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    char *type = NULL;
    t->set->curl.easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    t->is_stopped = !t->events || !t->events->on_body(t->ctx, status_of(t), type, bytes, size * n);
    return t->is_stopped ? 0 : size * n;
}

/* ---- Handles ---- */

/* What is the same for all transfers of a handle. Options that an older libcurl has not are done without. */
static void set_options(struct transfer *t)
{
    const struct transfer_set *s = t->set;
    CURLcode (*set)(CURL *, CURLoption, ...) = s->curl.easy_setopt;
    set(t->curl, CURLOPT_PRIVATE, t);
    set(t->curl, CURLOPT_SHARE, s->share);
    set(t->curl, CURLOPT_NOSIGNAL, 1L);
    set(t->curl, CURLOPT_USERAGENT, "inline/" INLINE_VERSION);
    set(t->curl, CURLOPT_ERRORBUFFER, t->detail);
    set(t->curl, CURLOPT_FOLLOWLOCATION, 0L);
    set(t->curl, CURLOPT_SSL_VERIFYPEER, 1L);
    set(t->curl, CURLOPT_SSL_VERIFYHOST, 2L);
    if (s->ca_file[0]) set(t->curl, CURLOPT_CAINFO, s->ca_file);
    set(t->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    set(t->curl, CURLOPT_TCP_NODELAY, 1L);
    set(t->curl, CURLOPT_TCP_KEEPALIVE, 1L);
    set(t->curl, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_S);
    set(t->curl, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_S);
    set(t->curl, CURLOPT_MAXAGE_CONN, (long)(s->idle_ns / NS_PER_MS / 1000) + 1);
    set(t->curl, CURLOPT_RESOLVER_START_FUNCTION, on_look_up);
    set(t->curl, CURLOPT_RESOLVER_START_DATA, t);
    set(t->curl, CURLOPT_SOCKOPTFUNCTION, on_socket);
    set(t->curl, CURLOPT_SOCKOPTDATA, t);
    set(t->curl, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    set(t->curl, CURLOPT_HEADERFUNCTION, on_header);
    set(t->curl, CURLOPT_HEADERDATA, t);
    set(t->curl, CURLOPT_WRITEFUNCTION, on_body);
    set(t->curl, CURLOPT_WRITEDATA, t);
}

static struct transfer *new_transfer(struct transfer_set *s)
{
    CURL *curl = s->curl.easy_init();
    if (!curl) return NULL;
    struct transfer *t = MEM_NEW(struct transfer);
    t->set = s;
    t->curl = curl;
    buf_init(&t->url, URL_MAX);
    set_options(t);
    t->next = s->all;
    s->all = t;
    return t;
}

static void free_transfer(struct transfer *t)
{
    t->set->curl.easy_cleanup(t->curl);
    buf_clear(&t->url);
    mem_free(t);
}

/* Null as the proxy is what the environment says. Only for TLS, where it sees no more than the host's name:
 * who passes on plain HTTP would be shown the key. */
static bool uses_proxy(const struct host *host)
{
    return host->is_https && !host->is_loopback;
}

/* What this transfer asks. */
static void set_ask(struct transfer *t, const struct transfer_ask *ask)
{
    const struct transfer_set *s = t->set;
    CURLcode (*set)(CURL *, CURLoption, ...) = s->curl.easy_setopt;
    set(t->curl, CURLOPT_URL, buf_str(&t->url));
    set(t->curl, CURLOPT_CLOSESOCKETDATA, t->to);
    set(t->curl, CURLOPT_PIPEWAIT, t->to->is_http2 ? 1L : 0L);
    set(t->curl, CURLOPT_PROXY, uses_proxy(&t->to->host) ? (const char *)NULL : "");
    if (ask->body) {
        set(t->curl, CURLOPT_POST, 1L);
        set(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->len);
        set(t->curl, CURLOPT_POSTFIELDS, ask->body);
        set(t->curl, CURLOPT_HTTPHEADER, s->post_headers);
    } else {
        set(t->curl, CURLOPT_POSTFIELDS, (const char *)NULL);
        set(t->curl, CURLOPT_HTTPGET, 1L);
        set(t->curl, CURLOPT_HTTPHEADER, s->get_headers);
    }
}

enum err transfer_start(struct transfer_set *s, const struct transfer_ask *ask, struct transfer **out,
                        struct errmsg *msg)
{
    *out = NULL;
    struct transfer *t = s->spare;
    if (t)
        s->spare = t->next_spare;
    else
        t = new_transfer(s);
    if (!t) return err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    t->events = ask->events;
    t->ctx = ask->ctx;
    t->to = &s->hosts[ask->host];
    t->has_looked_up = t->did_connect = t->is_stopped = false;
    t->n_header_bytes = 0;
    t->detail[0] = '\0';
    buf_reset(&t->url);
    dialect_url(t->to->host.url, ask->path, &t->url);
    set_ask(t, ask);
    if (t->url.err || s->multi_api.multi_add_handle(s->multi, t->curl) != CURLM_OK) {
        t->next_spare = s->spare;
        s->spare = t;
        return err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    }
    t->to->n_active++;
    s->n_active++;
    *out = t;
    return OK;
}

/* ---- Ends ---- */

/* Take it from libcurl; the handle is spare then. */
static void end(struct transfer *t)
{
    struct transfer_set *s = t->set;
    s->multi_api.multi_remove_handle(s->multi, t->curl);
    if (t->did_connect)
        t->to->n_connects++;
    else if (transfer_is_connected(t))
        t->to->n_reused++;
    t->to->n_active--;
    t->to = NULL;
    t->next_spare = s->spare;
    s->spare = t;
    if (--s->n_active == 0) s->idle_since_ns = clock_ns();
}

static bool is_looking_up(const struct transfer *t)
{
    curl_off_t us = 0;
    if (!t->has_looked_up) return false;
    t->set->curl.easy_getinfo(t->curl, CURLINFO_NAMELOOKUP_TIME_T, &us);
    return us == 0;
}

bool transfer_is_connected(const struct transfer *t)
{
    curl_off_t us = 0;
    t->set->curl.easy_getinfo(t->curl, CURLINFO_PRETRANSFER_TIME_T, &us);
    return us != 0;
}

void transfer_close(struct transfer **tp)
{
    struct transfer *t = *tp;
    *tp = NULL;
    if (!t) return;
    t->events = NULL;
    if (!is_looking_up(t)) end(t);
}

static void read_result(struct transfer *t, CURLcode code, struct transfer_result *out)
{
    const struct curl_api *curl = &t->set->curl;
    curl_off_t retry_after = 0;
    char *redirect = NULL;
    long os_errno = 0;
    memset(out, 0, sizeof *out);
    curl->easy_getinfo(t->curl, CURLINFO_OS_ERRNO, &os_errno);
    curl->easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &retry_after);
    out->fault = transfer_fault_of(code, (int)os_errno, t->detail, &out->msg);
    if (t->is_stopped) out->fault = TRANSFER_STOPPED;
    out->status = status_of(t);
    out->retry_after_s = (double)retry_after;
    if (out->status / 100 != 3) return;
    curl->easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &redirect);
    host_name_of(curl, redirect, out->redirect);
}

static void note_version(struct transfer *t)
{
    long version = 0;
    t->set->curl.easy_getinfo(t->curl, CURLINFO_HTTP_VERSION, &version);
    if (version) t->to->is_http2 = version == CURL_HTTP_VERSION_2_0;
}

static void finish(struct transfer *t, CURLcode code)
{
    struct transfer_result result;
    const struct transfer_events *events = t->events;
    void *ctx = t->ctx;
    note_version(t);
    if (events) read_result(t, code, &result);
    end(t); /* so that its connection is free for who is told */
    if (events) events->on_end(ctx, &result);
}

/* ---- The set ---- */

void transfer_run(struct transfer_set *s)
{
    int n_running, n_left;
    s->multi_api.multi_perform(s->multi, &n_running);
    CURLMsg *message;
    while ((message = s->multi_api.multi_info_read(s->multi, &n_left))) {
        char *t = NULL;
        CURLcode code = message->data.result; /* the message goes with its handle */
        s->curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
        finish((struct transfer *)(void *)t, code);
    }
}

void transfer_wait(struct transfer_set *s, int64_t until_ns)
{
    int64_t ms = INT_MAX; /* three weeks */
    if (until_ns) {
        ms = (until_ns - clock_ns() + NS_PER_MS - 1) / NS_PER_MS;
        if (ms < 0) ms = 0;
        if (ms > INT_MAX) ms = INT_MAX;
    }
    s->multi_api.multi_poll(s->multi, NULL, 0, (int)ms, NULL);
}

void transfer_wake(struct transfer_set *s)
{
    s->multi_api.multi_wakeup(s->multi);
}

static CURLM *new_multi(const struct transfer_set *s)
{
    CURLM *multi = s->multi_api.multi_init();
    if (!multi) return NULL;
    s->multi_api.multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    s->multi_api.multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)s->n_connections);
    s->multi_api.multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)s->n_connections * REMOTE_SERVERS_MAX);
    return multi;
}

static bool has_connections(const struct transfer_set *s)
{
    for (int32_t i = 0; i < s->n_hosts; i++) {
        if (s->hosts[i].n_open > 0) return true;
    }
    return false;
}

int64_t transfer_idle_due_ns(const struct transfer_set *s)
{
    return s->n_active == 0 && has_connections(s) ? s->idle_since_ns + s->idle_ns : 0;
}

void transfer_drop_idle(struct transfer_set *s)
{
    CURLM *fresh = s->n_active == 0 ? new_multi(s) : NULL;
    s->idle_since_ns = clock_ns(); /* without memory for another: later */
    if (!fresh) return;
    s->multi_api.multi_cleanup(s->multi);
    s->multi = fresh;
}

/* ---- Life ---- */

static bool add_header(struct transfer_set *s, struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = s->curl.slist_append(*list, line);
    if (longer) *list = longer;
    return longer;
}

static bool make_headers(struct transfer_set *s, const char *key)
{
    struct buf line;
    buf_init(&line, HEADERS_MAX);
    buf_printf(&line, "Authorization: Bearer %s", key);
    bool is_made = !line.err && add_header(s, &s->post_headers, "Content-Type: application/json") &&
                   /* No waiting for "100 Continue" before the body. */
                   add_header(s, &s->post_headers, "Expect:") &&
                   add_header(s, &s->get_headers, "Accept: application/json");
    if (is_made && key[0])
        is_made =
            add_header(s, &s->post_headers, buf_str(&line)) && add_header(s, &s->get_headers, buf_str(&line));
    buf_clear(&line);
    return is_made;
}

static bool make_handles(struct transfer_set *s)
{
    s->multi = new_multi(s);
    s->share = s->multi_api.share_init();
    if (!s->multi || !s->share) return false;
    s->multi_api.share_setopt(s->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    s->multi_api.share_setopt(s->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    return true;
}

/* In a header, a line's end would begin another one. */
static bool is_printable(const char *key)
{
    for (; *key; key++) {
        if (*key <= ' ' || *key > '~') return false;
    }
    return true;
}

enum err transfer_set_new(const struct transfer_options *o, struct transfer_set **out, struct errmsg *msg)
{
    *out = NULL;
    if (!is_printable(o->key))
        return err_set(msg, ERR_ARG, "the key has characters that no key has: spaces, or a second line");
    struct transfer_set *s = MEM_NEW(struct transfer_set);
    s->ca_file = mem_dup_str(o->ca_file);
    s->n_connections = o->n_connections;
    s->idle_ns = (int64_t)(o->idle_s * 1e9);
    enum err err = curl_api_load(&s->curl, msg);
    if (!err) err = curl_multi_api_load(&s->multi_api, msg);
    if (err) goto fail;
    if (!make_handles(s) || !make_headers(s, o->key)) {
        err = err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
        goto fail;
    }
    *out = s;
    return OK;

fail:
    transfer_set_free(&s);
    return err;
}

enum err transfer_add_host(struct transfer_set *s, const char *url, struct errmsg *msg)
{
    if (s->n_hosts == REMOTE_SERVERS_MAX)
        return err_set(msg, ERR_ARG, "more than %d servers in urls", REMOTE_SERVERS_MAX);
    struct connections *to = &s->hosts[s->n_hosts];
    enum err err = host_read(&s->curl, url, &to->host, msg);
    if (!err) s->n_hosts++;
    return err;
}

static void free_set(void *set)
{
    struct transfer_set *s = set;
    for (struct transfer *t = s->all, *next; t; t = next) {
        next = t->next;
        if (t->to) s->multi_api.multi_remove_handle(s->multi, t->curl);
        free_transfer(t);
    }
    if (s->multi) s->multi_api.multi_cleanup(s->multi);
    if (s->share) s->multi_api.share_cleanup(s->share);
    if (s->get_headers) s->curl.slist_free_all(s->get_headers);
    if (s->post_headers) s->curl.slist_free_all(s->post_headers);
    for (int32_t i = 0; i < s->n_hosts; i++) host_clear(&s->hosts[i].host);
    mem_free(s->ca_file);
    mem_free(s);
}

void transfer_set_free(struct transfer_set **sp)
{
    struct transfer_set *s = *sp;
    *sp = NULL;
    if (!s) return;
    bool has_to_wait = false;
    for (struct transfer *t = s->all; t; t = t->next) {
        t->events = NULL;
        has_to_wait = has_to_wait || (t->to && is_looking_up(t));
    }
    if (!has_to_wait || thread_start(free_set, s, NULL) != OK) free_set(s);
}

const struct host *transfer_host(const struct transfer_set *s, int32_t host)
{
    return &s->hosts[host].host;
}

int32_t transfer_n_hosts(const struct transfer_set *s)
{
    return s->n_hosts;
}

void transfer_host_state(const struct transfer_set *s, int32_t host, struct transfer_host_state *out)
{
    const struct connections *to = &s->hosts[host];
    int32_t n_max = to->is_http2 ? TRANSFER_HTTP2_STREAMS : s->n_connections;
    *out = (struct transfer_host_state){.is_http2 = to->is_http2,
                                        .n_active = to->n_active,
                                        .n_connections = to->n_open,
                                        .n_free = n_max > to->n_active ? n_max - to->n_active : 0,
                                        .n_connects = to->n_connects,
                                        .n_reused = to->n_reused};
}
