/* A model server that misbehaves as told. See model_server.h.
 *
 * One thread polls all sockets; who else looks at the server takes its lock. An answer is a script of steps,
 * each due at a time of its own. */
#include "support/model_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/clock.h"

#define CONNECTIONS_MAX 64
#define REQUEST_MAX     ((size_t)256 << 10)
#define NS_PER_MS       ((int64_t)1000000)
#define FLOOD_BYTES     ((size_t)256 << 10)

struct connection {
    int fd; /* -1: free */
    char *in;
    size_t n_in;
    bool is_answering;
    struct model_manner manner; /* of the answer */
    int step;                   /* tokens sent; -1: not even the headers */
    int64_t due_ns;             /* of the next step */
};

struct model_server {
    enum { OPENAI, LLAMA, OLLAMA } api;
    char url[64];
    int port, listener; /* -1: dead */
    int wake[2];
    pthread_t thread;
    pthread_mutex_t lock; /* all that follows, between polls */
    bool is_over;
    struct model_manner manner;
    int n_left_of_manner;
    struct model_counts counts;
    char model[32];
    char prompts[MODEL_PROMPTS_MAX][32];
    struct connection connections[CONNECTIONS_MAX];
};

/* --- Connections -------------------------------------------------------------------------------------- */

static void drop(struct model_server *s, struct connection *c, bool is_reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (is_reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    free(c->in);
    if (c->is_answering) s->counts.n_running--;
    *c = (struct connection){.fd = -1};
    s->counts.n_open--;
}

static void take(struct model_server *s)
{
    int fd = accept(s->listener, NULL, NULL);
    if (fd < 0) return;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];
        if (c->fd >= 0) continue;
        *c = (struct connection){.fd = fd, .in = malloc(REQUEST_MAX + 1)};
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        s->counts.n_connections++;
        if (++s->counts.n_open > s->counts.n_open_max) s->counts.n_open_max = s->counts.n_open;
        return;
    }
    close(fd);
}

/* Waits while the other side does not read: tests with more than a socket's buffer have one connection. */
static bool put(struct connection *c, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = c->fd, .events = POLLOUT};
            if (poll(&p, 1, 5000) == 1) continue;
        }
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool put_chunk(struct connection *c, const char *text)
{
    char chunk[1024];
    int n = snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(text), text);
    return put(c, chunk, (size_t)n);
}

static void put_whole(struct connection *c, int status, const char *headers, const char *body)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n",
                     status, strlen(body), headers ? headers : "");
    if (put(c, head, (size_t)n)) put(c, body, strlen(body));
}

/* --- Answers ------------------------------------------------------------------------------------------ */

static const char *token_event(const struct model_server *s, int i, char *out, size_t size)
{
    static const char *const formats[] = {
        [OPENAI] = "data: {\"choices\":[{\"text\":\"t%d \",\"finish_reason\":null}]}\n\n",
        [LLAMA] = "data: {\"content\":\"t%d \",\"stop\":false}\n\n",
        [OLLAMA] = "{\"response\":\"t%d \",\"done\":false}\n"};
    snprintf(out, size, formats[s->api], i);
    return out;
}

static const char *last_event(const struct model_server *s)
{
    static const char *const events[] = {
        [OPENAI] = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n"
                   "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n"
                   "data: [DONE]\n\n",
        [LLAMA] = "data: {\"content\":\"\",\"stop\":true,\"stop_type\":\"eos\",\"tokens_evaluated\":7,"
                  "\"tokens_predicted\":3}\n\n",
        [OLLAMA] = "{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,"
                   "\"eval_count\":3}\n"};
    return events[s->api];
}

static void begin_answer(struct model_server *s, struct connection *c)
{
    c->is_answering = true;
    c->manner = s->manner;
    if (s->n_left_of_manner > 0 && --s->n_left_of_manner == 0) s->manner = (struct model_manner){0};
    if (c->manner.n_tokens == 0) c->manner.n_tokens = 3;
    c->step = -1;
    c->due_ns = clock_ns() + c->manner.first_ms * NS_PER_MS;
    if (++s->counts.n_running > s->counts.n_running_max) s->counts.n_running_max = s->counts.n_running;
}

static void end_answer(struct model_server *s, struct connection *c)
{
    c->is_answering = false;
    s->counts.n_running--;
}

static void put_head(const struct model_server *s, struct connection *c)
{
    char head[512];
    const char *type = s->api == OLLAMA ? "application/x-ndjson" : "text/event-stream";
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s%s\r\n", type,
                     c->manner.headers ? c->manner.headers : "",
                     c->manner.fault == MODEL_LIES ? "Content-Length: 100000\r\n"
                                                   : "Transfer-Encoding: chunked\r\n");
    put(c, head, (size_t)n);
}

/* Until the other side has enough. */
static void flood(struct connection *c)
{
    char *text = malloc(FLOOD_BYTES);
    char size[32];
    memset(text, 'x', FLOOD_BYTES);
    int n = snprintf(size, sizeof size, "%zx\r\n", FLOOD_BYTES);
    while (put(c, size, (size_t)n) && put(c, text, FLOOD_BYTES) && put(c, "\r\n", 2)) {
    }
    free(text);
}

/* What is wrong with this answer, at this step; false: nothing. */
static bool misbehave(struct model_server *s, struct connection *c)
{
    static const char garbage[] = "\x16\x03\x01 this is no HTTP\r\n\r\n";
    const struct model_manner *m = &c->manner;
    if (m->status && m->status != 200) {
        put_whole(c, m->status, m->headers, m->body ? m->body : "{\"error\":{\"message\":\"as told\"}}");
        end_answer(s, c);
        return true;
    }
    if (m->fault == MODEL_GARBAGE) {
        put(c, garbage, sizeof garbage - 1);
        drop(s, c, false);
        return true;
    }
    if (m->fault == MODEL_TALKS_HTML) {
        put_whole(c, 200, NULL, "<html>Welcome</html>");
        end_answer(s, c);
        return true;
    }
    if (m->fault == MODEL_NO_FAULT || c->step != m->after) return false;
    if (m->fault == MODEL_HANGS) {
        c->due_ns = INT64_MAX;
        return true;
    }
    if (m->fault == MODEL_CLOSES) put(c, "0\r\n\r\n", 5);
    if (m->fault == MODEL_FLOODS) flood(c);
    drop(s, c, m->fault == MODEL_RESETS);
    return true;
}

static void step(struct model_server *s, struct connection *c)
{
    char event[256];
    if (misbehave(s, c)) return;
    if (c->step < 0) {
        put_head(s, c);
        c->step = 0;
        return;
    }
    if (c->manner.fault == MODEL_LIES)
        put(c, token_event(s, c->step, event, sizeof event), strlen(event));
    else
        put_chunk(c, token_event(s, c->step, event, sizeof event));
    c->due_ns = clock_ns() + c->manner.token_ms * NS_PER_MS;
    if (++c->step < c->manner.n_tokens) return;
    put_chunk(c, last_event(s));
    put(c, "0\r\n\r\n", 5);
    end_answer(s, c);
}

static void advance(struct model_server *s, struct connection *c, int64_t now)
{
    while (c->fd >= 0 && c->is_answering && c->due_ns <= now) step(s, c);
}

/* --- Requests ----------------------------------------------------------------------------------------- */

static void note_prompt(struct model_server *s, const char *body)
{
    static const char key[] = "\"prompt\":\"";
    const char *prompt = strstr(body, key);
    if (!prompt || s->counts.n_completions >= MODEL_PROMPTS_MAX) return;
    prompt += sizeof key - 1;
    char *out = s->prompts[s->counts.n_completions];
    size_t len = strcspn(prompt, "\"");
    snprintf(out, sizeof s->prompts[0], "%.*s", (int)len, prompt);
}

/* What the server has, as the path's API tells it. */
static void tell(const struct model_server *s, const char *path, char *out, size_t size)
{
    static const struct {
        const char *path, *format;
    } answers[] = {
        {"/props", "{\"default_generation_settings\":{\"n_ctx\":4096}}"},
        {"/api/tags", "{\"models\":[{\"name\":\"%s\"}]}"},
        {"/api/show", "{\"capabilities\":[\"completion\",\"insert\"],\"model_info\":{}}"},
        {"/v1/models", "{\"data\":[{\"id\":\"%s\",\"max_model_len\":4096}]}"},
        {"", "{}"},
    };
    size_t i = 0;
    while (!strstr(path, answers[i].path)) i++;
    const char *name = strstr(answers[i].format, "%s");
    if (name)
        snprintf(out, size, "%.*s%s%s", (int)(name - answers[i].format), answers[i].format, s->model,
                 name + 2);
    else
        snprintf(out, size, "%s", answers[i].format);
}

/* One whole request, if there is one; returns its length. */
static size_t read_request(struct model_server *s, struct connection *c)
{
    c->in[c->n_in] = '\0';
    const char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return 0;
    size_t head_len = (size_t)(end - c->in) + 4;
    const char *length = strcasestr(c->in, "content-length:");
    size_t body_len = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    if (c->n_in < head_len + body_len) return 0;
    char path[64] = "", answer[256];
    sscanf(c->in, "%*s %63s", path);
    bool is_completion = strstr(path, "/completion") || strstr(path, "/api/generate");
    if (s->manner.is_deaf) return head_len + body_len;
    if (is_completion) {
        note_prompt(s, c->in + head_len);
        s->counts.n_completions++;
        begin_answer(s, c);
    } else {
        s->counts.n_others++;
        tell(s, path, answer, sizeof answer);
        put_whole(c, 200, NULL, answer);
    }
    return head_len + body_len;
}

static void receive(struct model_server *s, struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->n_in, REQUEST_MAX - c->n_in, 0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) return;
        if (c->is_answering) {
            s->counts.n_left++;
            s->counts.left_ns = clock_ns();
        }
        drop(s, c, false);
        return;
    }
    c->n_in += (size_t)n;
    size_t used = c->is_answering ? 0 : read_request(s, c);
    memmove(c->in, c->in + used, c->n_in - used);
    c->n_in -= used;
}

/* --- The thread --------------------------------------------------------------------------------------- */

static int wait_ms(const struct model_server *s, int64_t now)
{
    int64_t ms = 1000;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        const struct connection *c = &s->connections[i];
        if (c->fd < 0 || !c->is_answering || c->due_ns == INT64_MAX) continue;
        int64_t left = (c->due_ns - now + NS_PER_MS - 1) / NS_PER_MS;
        if (left < ms) ms = left;
    }
    return ms > 0 ? (int)ms : 0;
}

/* Connections that end are seen before those that begin, as their client did it in that order. */
static void run_once(struct model_server *s)
{
    struct pollfd polls[CONNECTIONS_MAX + 2] = {{.fd = s->wake[0], .events = POLLIN},
                                                {.fd = s->listener, .events = POLLIN}};
    char scratch[16];
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        polls[i + 2] = (struct pollfd){.fd = s->connections[i].fd, .events = POLLIN};
    int ms = wait_ms(s, clock_ns());
    pthread_mutex_unlock(&s->lock);
    poll(polls, CONNECTIONS_MAX + 2, ms);
    pthread_mutex_lock(&s->lock);
    if (polls[0].revents && read(s->wake[0], scratch, sizeof scratch) < 0) return;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &s->connections[i];
        if (c->fd >= 0 && c->fd == polls[i + 2].fd && polls[i + 2].revents) receive(s, c);
    }
    if (polls[1].revents && s->listener == polls[1].fd) {
        for (int i = 0; i < CONNECTIONS_MAX; i++) { /* what has ended since */
            struct connection *c = &s->connections[i];
            if (c->fd >= 0) receive(s, c);
        }
        take(s);
    }
    int64_t now = clock_ns();
    for (int i = 0; i < CONNECTIONS_MAX; i++) advance(s, &s->connections[i], now);
}

static void *run(void *ctx)
{
    struct model_server *s = ctx;
    pthread_mutex_lock(&s->lock);
    while (!s->is_over) run_once(s);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* With the lock. */
static void wake(struct model_server *s)
{
    assert_int_equal(write(s->wake[1], "x", 1), 1);
}

/* --- Life --------------------------------------------------------------------------------------------- */

static void listen_at(struct model_server *s, int port)
{
    int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 64), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    getsockname(fd, (struct sockaddr *)&at, &len);
    s->port = ntohs(at.sin_port);
    s->listener = fd;
}

struct model_server *model_server_start(const char *api)
{
    struct model_server *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->api = strcmp(api, "llama") == 0 ? LLAMA : strcmp(api, "ollama") == 0 ? OLLAMA : OPENAI;
    for (int i = 0; i < CONNECTIONS_MAX; i++) s->connections[i].fd = -1;
    snprintf(s->model, sizeof s->model, "toy");
    pthread_mutex_init(&s->lock, NULL);
    listen_at(s, 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d", s->port);
    assert_int_equal(pipe(s->wake), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
    return s;
}

static void drop_all(struct model_server *s)
{
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (s->connections[i].fd >= 0) drop(s, &s->connections[i], true);
    }
    if (s->listener >= 0) close(s->listener);
    s->listener = -1;
}

void model_server_stop(struct model_server **sp)
{
    struct model_server *s = *sp;
    *sp = NULL;
    pthread_mutex_lock(&s->lock);
    s->is_over = true;
    wake(s);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    drop_all(s);
    close(s->wake[0]);
    close(s->wake[1]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const char *model_server_url(const struct model_server *s)
{
    return s->url;
}

void model_server_behave(struct model_server *s, const struct model_manner *m)
{
    pthread_mutex_lock(&s->lock);
    s->manner = *m;
    s->n_left_of_manner = m->n_times;
    pthread_mutex_unlock(&s->lock);
}

void model_server_kill(struct model_server *s)
{
    pthread_mutex_lock(&s->lock);
    drop_all(s);
    wake(s);
    pthread_mutex_unlock(&s->lock);
}

void model_server_revive(struct model_server *s)
{
    pthread_mutex_lock(&s->lock);
    listen_at(s, s->port);
    wake(s);
    pthread_mutex_unlock(&s->lock);
}

void model_server_rename(struct model_server *s, const char *model)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->model, sizeof s->model, "%s", model);
    pthread_mutex_unlock(&s->lock);
}

void model_server_counts(struct model_server *s, struct model_counts *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->counts;
    pthread_mutex_unlock(&s->lock);
}

void model_server_reset_counts(struct model_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->counts = (struct model_counts){
        .n_open = s->counts.n_open, .n_open_max = s->counts.n_open, .n_running = s->counts.n_running};
    memset(s->prompts, 0, sizeof s->prompts);
    pthread_mutex_unlock(&s->lock);
}

const char *model_server_prompt(struct model_server *s, int i)
{
    return s->prompts[i];
}
