/* What the pool of connections to model servers costs: the time of a request from remote_submit to its `done`
 * against that of the same exchange by libcurl alone, on a handle that keeps its connection. Prints one JSON
 * object; bench/remote judges it.
 *
 * Both ask the same server, a thread of this process that answers at once with one token, in turn and in
 * changing order: what else the machine does falls on both, and the differences of neighbours are compared.
 * Linux. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/curl_api.h"
#include "os/clock.h"
#include "remote/dialect.h"
#include "remote/remote.h"

#define N_PAIRS     2000
#define N_WARM_UP   200
#define PROMPT_SIZE 8000 /* bytes: a usual prompt */
#define N_PEERS     8

#define MODELS "{\"object\":\"list\",\"data\":[{\"id\":\"stub\",\"object\":\"model\"}]}"
#define TOKEN                                                                                                \
    "data: {\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

static void fail(const char *what)
{
    fprintf(stderr, "remote_pool: %s\n", what);
    exit(1);
}

/* ---- The server -------------------------------------------------------------------------------------- */

struct peer {
    int fd;
    size_t len;
    char bytes[2 * PROMPT_SIZE];
};

struct stub {
    int listener, port;
    struct peer peers[N_PEERS];
    int n_peers;
    atomic_int n_accepted;
};

static void stub_open(struct stub *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&at, sizeof at) ||
        listen(s->listener, N_PEERS) || getsockname(s->listener, (struct sockaddr *)&at, &len))
        fail(strerror(errno));
    s->port = ntohs(at.sin_port);
}

static void accept_peer(struct stub *s)
{
    int fd = accept(s->listener, NULL, NULL), on = 1;
    if (fd < 0 || s->n_peers == N_PEERS) fail("the server has too many connections");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    s->peers[s->n_peers++] = (struct peer){.fd = fd};
    atomic_fetch_add(&s->n_accepted, 1);
}

static void answer(const struct peer *p)
{
    char text[1024];
    int n;
    if (strncmp(p->bytes, "POST", 4) == 0)
        n = snprintf(
            text, sizeof text,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            "%zx\r\n%s\r\n0\r\n\r\n",
            strlen(TOKEN), TOKEN);
    else
        n = snprintf(text, sizeof text,
                     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(MODELS), MODELS);
    if (send(p->fd, text, (size_t)n, MSG_NOSIGNAL) != n) fail("the server cannot send");
}

/* The length of the request at the beginning of what has come; 0: there is more to come. */
static size_t request_len(const struct peer *p)
{
    const char *end = memmem(p->bytes, p->len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - p->bytes) + 4;
    const char *length = memmem(p->bytes, head, "Content-Length:", 15);
    size_t whole = head + (length ? strtoull(length + 15, NULL, 10) : 0);
    return whole <= p->len ? whole : 0;
}

/* False: it has left. */
static bool serve_peer(struct peer *p)
{
    if (p->len == sizeof p->bytes) fail("a request is too long");
    ssize_t n = recv(p->fd, p->bytes + p->len, sizeof p->bytes - p->len, 0);
    if (n <= 0) return false;
    p->len += (size_t)n;
    size_t len = request_len(p);
    if (len == 0) return true;
    answer(p);
    p->len -= len;
    memmove(p->bytes, p->bytes + len, p->len);
    return true;
}

static void *serve(void *arg)
{
    struct stub *s = arg;
    for (;;) {
        struct pollfd fds[N_PEERS + 1] = {{.fd = s->listener, .events = POLLIN}};
        for (int i = 0; i < s->n_peers; i++)
            fds[i + 1] = (struct pollfd){.fd = s->peers[i].fd, .events = POLLIN};
        if (poll(fds, (nfds_t)s->n_peers + 1, -1) < 0) continue;
        for (int i = s->n_peers - 1; i >= 0; i--) {
            if (!fds[i + 1].revents || serve_peer(&s->peers[i])) continue;
            close(s->peers[i].fd);
            s->peers[i] = s->peers[--s->n_peers];
        }
        if (fds[0].revents) accept_peer(s);
    }
    return NULL;
}

/* ---- By the pool ------------------------------------------------------------------------------------- */

struct ask {
    char prompt[PROMPT_SIZE + 1];
    sem_t is_done;
    int64_t done_ns;
    size_t n_bytes; /* of text that came */
};

static void fill_ask(struct ask *a, struct remote_ask *out)
{
    memset(out, 0, sizeof *out);
    out->prompt = a->prompt;
    out->prompt_len = PROMPT_SIZE;
    out->sampling = (struct remote_sampling){.temperature = 0, .top_p = 1, .repeat_penalty = 1};
    out->max_tokens = 1;
}

static enum err prepare(void *ctx, const struct remote_traits *t, struct remote_ask *out, struct errmsg *msg)
{
    (void)t, (void)msg;
    fill_ask(ctx, out);
    return OK;
}

static bool on_text(void *ctx, const char *text, size_t len)
{
    struct ask *a = ctx;
    (void)text;
    a->n_bytes += len;
    return true;
}

static void done(void *ctx, const struct remote_report *report)
{
    struct ask *a = ctx;
    a->done_ns = clock_ns();
    if (report->outcome != REMOTE_DONE) fail(report->msg.text);
    sem_post(&a->is_done);
}

static double pool_us(struct remote *r, struct ask *a)
{
    struct remote_request request = {.priority = REMOTE_TYPING,
                                     .document = 1,
                                     .prepare = prepare,
                                     .on_text = on_text,
                                     .done = done,
                                     .ctx = a};
    a->n_bytes = 0;
    int64_t begin = clock_ns();
    struct remote_job *job = remote_submit(r, &request);
    while (sem_wait(&a->is_done)) continue;
    remote_release(&job);
    if (a->n_bytes != 1) fail("the pool's answer is not what the server sent");
    return (double)(a->done_ns - begin) / 1e3;
}

/* ---- By libcurl alone -------------------------------------------------------------------------------- */

struct plain {
    struct curl_api curl;
    CURL *handle;
    struct curl_slist *headers;
    struct buf body;
    size_t n_bytes;
};

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct plain *p = ctx;
    (void)bytes;
    p->n_bytes += size * n;
    return size * n;
}

static void plain_open(struct plain *p, const char *base, const struct remote_traits *t, struct ask *a)
{
    struct errmsg msg = {""};
    struct remote_ask ask;
    struct buf url;
    if (curl_api_load(&p->curl, &msg)) fail(msg.text);
    buf_init(&p->body, 2 * PROMPT_SIZE);
    buf_init(&url, 1024);
    fill_ask(a, &ask);
    dialect_url(base, dialect_write(REMOTE_OPENAI, t, &ask, &p->body), &url);
    p->handle = p->curl.easy_init();
    p->headers = p->curl.slist_append(NULL, "Content-Type: application/json");
    if (!p->handle || !p->headers || p->body.err || url.err) fail("no memory");
    p->curl.easy_setopt(p->handle, CURLOPT_URL, buf_str(&url)); /* copied */
    p->curl.easy_setopt(p->handle, CURLOPT_HTTPHEADER, p->headers);
    p->curl.easy_setopt(p->handle, CURLOPT_POSTFIELDS, buf_str(&p->body));
    p->curl.easy_setopt(p->handle, CURLOPT_POSTFIELDSIZE, (long)p->body.len);
    p->curl.easy_setopt(p->handle, CURLOPT_WRITEFUNCTION, on_body);
    p->curl.easy_setopt(p->handle, CURLOPT_WRITEDATA, p);
    p->curl.easy_setopt(p->handle, CURLOPT_NOPROXY, "*");
    p->curl.easy_setopt(p->handle, CURLOPT_NOSIGNAL, 1L);
    buf_clear(&url);
}

static double plain_us(struct plain *p)
{
    p->n_bytes = 0;
    int64_t begin = clock_ns();
    CURLcode code = p->curl.easy_perform(p->handle);
    int64_t end = clock_ns();
    if (code != CURLE_OK) fail(p->curl.easy_strerror(code));
    if (p->n_bytes != strlen(TOKEN)) fail("libcurl's answer is not what the server sent");
    return (double)(end - begin) / 1e3;
}

static void plain_close(struct plain *p)
{
    p->curl.easy_cleanup(p->handle);
    p->curl.slist_free_all(p->headers);
    buf_clear(&p->body);
}

/* ---- Both -------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, double p)
{
    qsort(values, N_PAIRS, sizeof *values, compare);
    return values[(size_t)(p * (N_PAIRS - 1))];
}

static void measure(struct remote *r, struct ask *a, struct plain *p, const struct stub *s)
{
    static double pool[N_PAIRS], plain[N_PAIRS], more[N_PAIRS];
    for (int i = -N_WARM_UP; i < N_PAIRS; i++) {
        double by_pool = i & 1 ? pool_us(r, a) : 0, by_curl = plain_us(p);
        if (!(i & 1)) by_pool = pool_us(r, a);
        if (i < 0) continue;
        pool[i] = by_pool;
        plain[i] = by_curl;
        more[i] = by_pool - by_curl;
    }
    printf("{\"pairs\":%d,\"body_bytes\":%zu,\"connections\":%d,\"pool_p50_us\":%.1f,\"plain_p50_us\":%.1f,"
           "\"difference_p50_us\":%.1f,\"pool_p95_us\":%.1f,\"plain_p95_us\":%.1f}\n",
           N_PAIRS, p->body.len, atomic_load(&s->n_accepted), quantile(pool, 0.5), quantile(plain, 0.5),
           quantile(more, 0.5), quantile(pool, 0.95), quantile(plain, 0.95));
}

int main(void)
{
    static struct stub server;
    static struct ask ask;
    struct remote *remote;
    struct remote_traits traits;
    struct plain plain = {0};
    struct errmsg msg = {""};
    pthread_t thread;
    char url[64];
    stub_open(&server);
    if (pthread_create(&thread, NULL, serve, &server)) fail("no thread");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server.port);
    memset(ask.prompt, 'a', PROMPT_SIZE);
    sem_init(&ask.is_done, 0, 0);
    struct remote_options o = {.api = REMOTE_OPENAI, .urls = url, .model = "", .key = "", .ca_file = ""};
    if (remote_new(&o, &remote, &msg) || remote_learn(remote, &traits, &msg)) fail(msg.text);
    plain_open(&plain, url, &traits, &ask);
    measure(remote, &ask, &plain, &server);
    plain_close(&plain);
    remote_free(&remote);
    return 0;
}
