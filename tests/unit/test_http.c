/* The HTTP server's connections: framing over real sockets, clients that misbehave, limits, streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "os/clock.h"
#include "support/http_world.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static struct http_world world;
static struct buf in;

static void expect_reply(struct http_reply reply, int status, const char *body)
{
    if (reply.status != status) fail_msg("%d, not %d: %s", reply.status, status, reply.head);
    assert_int_equal(reply.body_len, strlen(body));
    assert_memory_equal(reply.body, body, reply.body_len);
}

/* {"error":{"code":STATUS,"message":"...","type":...}}, and the connection ends. */
static void expect_refusal(int fd, struct http_reply reply, int status, const char *part)
{
    char begin[64];
    snprintf(begin, sizeof begin, "{\"error\":{\"code\":%d,\"message\":\"", status);
    if (reply.status != status) fail_msg("%d, not %d: %s", reply.status, status, reply.head);
    assert_non_null(strstr(reply.head, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(reply.head, "\r\nConnection: close\r\n"));
    assert_memory_equal(reply.body, begin, strlen(begin));
    if (!strstr(reply.body, part)) fail_msg("\"%s\" lacks \"%s\"", reply.body, part);
    assert_true(http_world_drain(&world, fd, &in));
    assert_int_equal(in.len, 0);
    close(fd);
}

static int open_world(void **state)
{
    (void)state;
    http_world_open(&world, NULL);
    buf_init(&in, (size_t)64 << 20);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    http_world_close(&world);
    buf_clear(&in);
    return 0;
}

static void restart(const struct http_limits *limits)
{
    struct http_server_options o = {.limits = *limits};
    http_world_close(&world);
    http_world_open(&world, &o);
}

static int hold(const char *request)
{
    int fd = http_world_connect(&world), before = world.n_requests;
    http_world_send_str(&world, fd, request);
    http_world_until(&world, &world.n_requests, before + 1);
    assert_non_null(world.held);
    return fd;
}

/* --- Framing ------------------------------------------------------------------------------------------- */

static void test_keeps_connections(void **state)
{
    (void)state;
    int fd = http_world_connect(&world);
    expect_reply(http_world_ask(&world, fd, &in, GET("/a%20b?q=1")), 200, "GET /a b q=1 ");
    expect_reply(http_world_ask(&world, fd, &in,
                                "POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
                 200, "POST /p  hello");
    expect_reply(http_world_ask(&world, fd, &in,
                                "POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
                 200, "POST /c  hello");
    struct http_reply head = http_world_ask(&world, fd, &in, "HEAD /h HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_reply(head, 200, "");
    assert_non_null(strstr(head.head, "\r\nContent-Length: 8\r\n"));
    assert_non_null(strstr(head.head, "\r\nDate: "));
    struct http_reply options =
        http_world_ask(&world, fd, &in, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_reply(options, 204, "");
    assert_non_null(strstr(options.head, "\r\nAllow: "));
    assert_null(strstr(options.head, "Connection: close"));
    assert_int_equal(http_n_connections(world.server), 1);
    assert_int_equal(world.n_requests, 4);
    close(fd);
    http_world_until_connections(&world, 0);
}

static void test_closes_when_asked(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/1.0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd = http_world_connect(&world);
        struct http_reply reply = http_world_ask(&world, fd, &in, requests[i]);
        expect_reply(reply, 200, "GET /x  ");
        assert_non_null(strstr(reply.head, "\r\nConnection: close\r\n"));
        assert_true(http_world_drain(&world, fd, &in));
        close(fd);
    }
    int fd = http_world_connect(&world);
    struct http_reply reply =
        http_world_ask(&world, fd, &in, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(reply.head, "\r\nConnection: keep-alive\r\n"));
    expect_reply(http_world_ask(&world, fd, &in, GET("/y")), 200, "GET /y  ");
    close(fd);
}

static void test_cut_at_every_byte(void **state)
{
    (void)state;
    static const char two[] = "POST /one HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
                              "POST /two HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3\r\ndef\r\n0\r\n\r\n";
    size_t len = strlen(two);
    int fd = http_world_connect(&world);
    for (size_t cut = 1; cut < len; cut++) {
        http_world_send(&world, fd, two, cut);
        http_world_turn(&world, 0);
        http_world_send(&world, fd, two + cut, len - cut);
        expect_reply(http_world_reply(&world, fd, &in, false), 200, "POST /one  abc");
        expect_reply(http_world_reply(&world, fd, &in, false), 200, "POST /two  def");
    }
    for (size_t i = 0; i < len; i++) http_world_send(&world, fd, two + i, 1);
    expect_reply(http_world_reply(&world, fd, &in, false), 200, "POST /one  abc");
    expect_reply(http_world_reply(&world, fd, &in, false), 200, "POST /two  def");
    close(fd);
}

static void test_pipelined(void **state)
{
    enum { N = 5000 };
    struct buf out;
    (void)state;
    buf_init(&out, (size_t)1 << 20);
    for (int i = 0; i < N; i++) buf_printf(&out, "GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
    int fd = http_world_connect(&world);
    http_world_send(&world, fd, buf_str(&out), out.len);
    for (int i = 0; i < N; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "GET /%d  ", i);
        expect_reply(http_world_reply(&world, fd, &in, false), 200, expected);
    }
    close(fd);
    buf_clear(&out);
}

/* The next request waits for the answer before it, and a client that sends ahead without end is not read. */
static void test_pipelined_behind_a_slow_one(void **state)
{
    (void)state;
    enum { N = 1000, SENT_MAX = 64 << 20 };
    struct buf out;
    size_t sent = 0, n_refused = 0;
    buf_init(&out, (size_t)1 << 20);
    for (int i = 0; i < N; i++) buf_add_str(&out, GET("/next"));
    int fd = hold(GET("/hold"));
    while (sent < SENT_MAX && n_refused < 100) {
        ssize_t n = send(fd, out.data + sent % out.len, out.len - sent % out.len, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        n_refused = n > 0 ? 0 : n_refused + 1;
        http_world_turn(&world, 1);
    }
    assert_true(sent > out.len && sent < SENT_MAX); /* the kernel's buffers are full: nobody reads */
    assert_int_equal(world.n_requests, 1);
    http_answer(world.held, 200, "text/plain", "held", 4);
    world.held = NULL;
    assert_int_equal(world.n_requests, 1); /* not from inside */
    expect_reply(http_world_reply(&world, fd, &in, false), 200, "held");
    for (int i = 0; i < N; i++) expect_reply(http_world_reply(&world, fd, &in, false), 200, "GET /next  ");
    close(fd);
    http_world_until_connections(&world, 0);
    assert_int_equal(world.n_aborts, 0);
    buf_clear(&out);
}

static void test_expect_continue(void **state)
{
    (void)state;
    int fd = http_world_connect(&world);
    expect_reply(http_world_ask(&world, fd, &in,
                                "POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                                "Content-Length: 5\r\n\r\n"),
                 100, "");
    expect_reply(http_world_ask(&world, fd, &in, "hello"), 200, "POST /e  hello");
    close(fd);
}

/* Refused before the body comes, and no memory is taken for it. */
static void test_announced_gigabyte(void **state)
{
    (void)state;
    static const char *const expects[] = {"Expect: 100-continue\r\n", ""};
    for (size_t i = 0; i < 2; i++) {
        char request[256];
        snprintf(request, sizeof request,
                 "POST /e HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: 1073741824\r\n\r\n", expects[i]);
        size_t before = mallinfo2().uordblks;
        int fd = http_world_connect(&world);
        struct http_reply reply = http_world_ask(&world, fd, &in, request);
        assert_true(mallinfo2().uordblks < before + 100000);
        expect_refusal(fd, reply, 413, "less context");
    }
    http_world_until_connections(&world, 0);
}

/* A client that goes on sending its refused body still reads why, with no reset in between. */
static void test_refusal_reaches_a_sender(void **state)
{
    (void)state;
    static char body[1 << 20];
    int fd = http_world_connect(&world);
    http_world_send_str(&world, fd,
                        "POST /e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n");
    http_world_send(&world, fd, body, sizeof body);
    struct http_reply reply = http_world_reply(&world, fd, &in, false);
    expect_refusal(fd, reply, 413, "less context");
}

static void test_largest_body(void **state)
{
    struct http_limits limits = {.max_body_bytes = 300000};
    (void)state;
    restart(&limits);
    char *body = mem_new(300001);
    for (int extra = 0; extra < 2; extra++) {
        int fd = http_world_connect(&world);
        char head[128];
        memset(body, 'x', 300001);
        snprintf(head, sizeof head, "POST /b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
                 300000 + extra);
        http_world_send_str(&world, fd, head);
        http_world_send(&world, fd, body, (size_t)(300000 + extra));
        struct http_reply reply = http_world_reply(&world, fd, &in, false);
        assert_int_equal(reply.status, extra ? 413 : 200);
        if (!extra) assert_int_equal(reply.body_len, 300000 + strlen("POST /b  "));
        close(fd);
    }
    mem_free(body);
}

/* A string of that size which begins so and goes on with letters. */
static void fill(char *out, size_t size, const char *begin)
{
    memset(out, 'x', size - 1);
    memcpy(out, begin, strlen(begin));
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *part, *request;
    } rows[] = {
        {400, "method", "NONSENSE\r\n\r\n"},
        {400, "Host", "GET / HTTP/1.1\r\n\r\n"},
        {400, "",
         "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {505, "HTTP/1.1", "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"},
        {417, "100-continue", "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n"},
        {413, "extensions", NULL},
        {431, "longer", NULL},
    };
    static char long_extension[100000], long_header[100000];
    fill(long_extension, sizeof long_extension,
         "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    fill(long_header, sizeof long_header, "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: ");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *request = rows[i].request;
        if (!request) request = rows[i].status == 413 ? long_extension : long_header;
        int fd = http_world_connect(&world);
        struct http_reply reply = http_world_ask(&world, fd, &in, request);
        expect_refusal(fd, reply, rows[i].status, rows[i].part);
    }
    assert_int_equal(world.n_requests, 0);
    http_world_until_connections(&world, 0);
}

/* --- Answers in pieces --------------------------------------------------------------------------------- */

static void answer_in_pieces(void)
{
    struct http_exchange *x = world.held;
    http_extra_header(x, "X-Extra", "one\r\nInjected: two");
    http_begin(x, 200, "text/event-stream");
    http_write(x, "", 0);
    http_write(x, "data: 1\n\n", 9);
    http_world_turn(&world, 0);
    http_write(x, "data: 2\n\n", 9);
    http_end(x);
    world.held = NULL;
}

static void test_answer_in_pieces(void **state)
{
    (void)state;
    int fd = hold(GET("/hold"));
    answer_in_pieces();
    struct http_reply reply = http_world_reply(&world, fd, &in, false);
    expect_reply(reply, 200, "data: 1\n\ndata: 2\n\n");
    assert_non_null(strstr(reply.head, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(reply.head, "\r\nX-Extra: oneInjected: two\r\n"));
    expect_reply(http_world_ask(&world, fd, &in, GET("/after")), 200, "GET /after  ");
    close(fd);

    fd = hold("GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    answer_in_pieces();
    reply = http_world_reply(&world, fd, &in, false);
    expect_reply(reply, 200, "data: 1\n\ndata: 2\n\n");
    assert_null(strstr(reply.head, "chunked"));
    close(fd);

    fd = hold("HEAD /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
    answer_in_pieces();
    reply = http_world_reply(&world, fd, &in, true);
    expect_reply(reply, 200, "");
    assert_true(http_world_drain(&world, fd, &in));
    assert_int_equal(in.len, 0);
    close(fd);
    assert_int_equal(world.n_aborts, 0);
}

/* Data that nobody reads is bounded; the user hears of the end from the loop, not from inside http_write. */
static void test_slow_reader(void **state)
{
    struct http_limits limits = {.max_unsent_bytes = 1 << 20};
    static char piece[1 << 16];
    int n_pieces = 0;
    (void)state;
    restart(&limits);
    int fd = hold(GET("/hold"));
    http_begin(world.held, 200, "text/plain");
    while (!world.n_aborts && n_pieces < 1000) {
        struct http_exchange *x = world.held;
        for (int i = 0; i < 4; i++) http_write(x, piece, sizeof piece);
        assert_int_equal(world.n_aborts, 0);
        n_pieces += 4;
        http_world_turn(&world, 1);
    }
    assert_int_equal(world.n_aborts, 1);
    assert_true(n_pieces * (sizeof piece >> 10) < 16 << 10); /* KiB: the bound and the kernel's buffers */
    http_world_until_connections(&world, 0);
    close(fd);

    fd = hold(GET("/hold")); /* cut off, but its user finishes first: no abort any more */
    http_begin(world.held, 200, "text/plain");
    for (int i = 0; i < 500; i++) http_write(world.held, piece, sizeof piece);
    http_end(world.held);
    world.held = NULL;
    http_world_until_connections(&world, 0);
    assert_int_equal(world.n_aborts, 1);
    close(fd);
}

/* A large answer to a client that reads slowly but surely arrives whole. */
static void test_large_answer(void **state)
{
    enum { LEN = 20 << 20 };
    (void)state;
    char *body = mem_try(LEN, 1);
    assert_non_null(body);
    for (size_t i = 0; i < LEN; i++) body[i] = (char)('a' + i % 23);
    int fd = hold(GET("/hold"));
    http_answer(world.held, 200, "text/plain", body, LEN);
    world.held = NULL;
    struct http_reply reply = http_world_reply(&world, fd, &in, false);
    assert_int_equal(reply.body_len, LEN);
    assert_memory_equal(reply.body, body, LEN);
    mem_free(body);
    close(fd);
}

/* --- Clients that leave -------------------------------------------------------------------------------- */

static void reset_connection(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void test_leaving_aborts(void **state)
{
    (void)state;
    close(hold(GET("/hold")));
    http_world_until(&world, &world.n_aborts, 1);
    reset_connection(hold(GET("/hold")));
    http_world_until(&world, &world.n_aborts, 2);
    int fd = hold(GET("/hold"));
    shutdown(fd, SHUT_WR);
    http_world_until(&world, &world.n_aborts, 3);
    close(fd);
    fd = hold(GET("/hold"));
    http_begin(world.held, 200, "text/event-stream");
    http_write(world.held, "data: 1\n\n", 9);
    http_world_turn(&world, 1);
    close(fd); /* in mid-stream, with bytes unread */
    http_world_until(&world, &world.n_aborts, 4);
    http_world_until_connections(&world, 0);
}

static void test_leaving_early(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "", "GE", "GET / HTTP/1.1\r\nHo",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int fd = http_world_connect(&world);
        http_world_send_str(&world, fd, parts[i]);
        http_world_until_connections(&world, 1);
        if (i % 2) {
            close(fd);
        } else {
            reset_connection(fd);
        }
        http_world_until_connections(&world, 0);
    }
    assert_int_equal(world.n_requests, 0);
}

/* What is answered already still reaches a client that has closed its sending side. */
static void test_half_close_after_the_request(void **state)
{
    (void)state;
    int fd = http_world_connect(&world);
    send(fd, GET("/x"), strlen(GET("/x")), 0);
    shutdown(fd, SHUT_WR);
    expect_reply(http_world_reply(&world, fd, &in, false), 200, "GET /x  ");
    assert_true(http_world_drain(&world, fd, &in));
    close(fd);
}

/* --- Time and numbers ---------------------------------------------------------------------------------- */

static void test_time_limits(void **state)
{
    struct http_limits limits = {.header_seconds = 1, .body_seconds = 1, .idle_seconds = 2};
    (void)state;
    restart(&limits);
    int64_t start = clock_ns();
    int head = http_world_connect(&world), body = http_world_connect(&world),
        idle = http_world_connect(&world);
    http_world_send_str(&world, head, "GET / HTTP/1.1\r\nHos");
    http_world_send_str(&world, body, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    int held = hold(GET("/hold"));
    struct http_reply reply = http_world_reply(&world, head, &in, false);
    expect_refusal(head, reply, 408, "in time");
    reply = http_world_reply(&world, body, &in, false);
    expect_refusal(body, reply, 408, "in time");
    double ms = clock_ms_since(start);
    assert_true(ms > 900 && ms < 8000);
    assert_true(http_world_drain(&world, idle, &in)); /* closed without a word */
    assert_int_equal(in.len, 0);
    assert_true(clock_ms_since(start) > 1900);
    close(idle);
    http_world_until_connections(&world, 1);
    http_answer(world.held, 200, "text/plain", "x", 1); /* the handler takes its time */
    world.held = NULL;
    expect_reply(http_world_reply(&world, held, &in, false), 200, "x");
    close(held);
}

/* Bytes that arrive one by one do not stretch the time for a head. */
static void test_slow_head(void **state)
{
    struct http_limits limits = {.header_seconds = 1};
    (void)state;
    restart(&limits);
    int fd = http_world_connect(&world);
    int64_t start = clock_ns();
    http_world_send_str(&world, fd, "GET / HTTP/1.1\r\nX: ");
    while (clock_ms_since(start) < 1500) {
        send(fd, "x", 1, MSG_NOSIGNAL);
        usleep(20000);
        http_world_turn(&world, 0);
    }
    struct http_reply reply = http_world_reply(&world, fd, &in, false);
    assert_int_equal(reply.status, 408);
    close(fd);
}

/* An answer that nobody fetches is given up, too. */
static void test_unfetched_answer(void **state)
{
    struct http_limits limits = {.body_seconds = 1};
    (void)state;
    restart(&limits);
    size_t len = (size_t)32 << 20;
    char *body = mem_try(len, 1);
    int fd = hold(GET("/hold"));
    http_answer(world.held, 200, "text/plain", body, len);
    world.held = NULL;
    mem_free(body);
    http_world_until_connections(&world, 0);
    close(fd);
}

/* How long the loop would sleep once what is due has been done; -1: until something comes. */
static int sleep_ms(void)
{
    for (int i = 0; i < 10; i++) http_world_turn(&world, 0);
    return uv_backend_timeout(&world.loop);
}

/* No timer is armed when nobody is waited for, whatever happened before. */
static void test_idle_server_sleeps(void **state)
{
    (void)state;
    assert_int_equal(sleep_ms(), -1);
    int fd = http_world_connect(&world);
    http_world_until_connections(&world, 1);
    assert_true(sleep_ms() > 100000); /* the idle limit */
    expect_reply(http_world_ask(&world, fd, &in, GET("/")), 200, "GET /  ");
    int held = hold(GET("/hold"));
    close(fd);
    http_world_until_connections(&world, 1);
    assert_int_equal(sleep_ms(), -1); /* only the handler is waited for */
    close(held);
    http_world_until_connections(&world, 0);
    assert_int_equal(sleep_ms(), -1);
}

static void test_last_activity(void **state)
{
    (void)state;
    int64_t before = clock_ns();
    int fd = hold(GET("/hold"));
    int64_t begin = http_last_activity_ns(world.server);
    assert_true(begin >= before && begin <= clock_ns());
    http_answer(world.held, 200, "text/plain", "x", 1);
    world.held = NULL;
    assert_true(http_last_activity_ns(world.server) >= begin);
    close(fd);
}

/* 1,000 connections cost little, serve all, and one more than the limit is told so. */
static void test_thousand_connections(void **state)
{
    enum { N = 1000 };
    struct http_limits limits = {.max_connections = N};
    struct rlimit files;
    static int fds[N];
    (void)state;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < 2 * N + 100) skip();
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    restart(&limits);
    for (int i = 0; i < 2; i++) { /* the second time, libuv's own tables have grown */
        size_t before = mallinfo2().uordblks;
        for (int k = 0; k < N; k++) fds[k] = http_world_connect(&world);
        http_world_until_connections(&world, N);
        for (int k = 0; k < N; k++)
            expect_reply(http_world_ask(&world, fds[k], &in, GET("/k")), 200, "GET /k  ");
        http_world_turn(&world, 1);
        size_t each = (mallinfo2().uordblks - before) / N;
        if (i) print_message("%zu bytes for an idle connection\n", each);
        assert_true(!i || each < 2048);
        int fd = http_world_connect(&world);
        struct http_reply reply = http_world_reply(&world, fd, &in, false);
        expect_refusal(fd, reply, 503, "All 1000 connections");
        for (int k = 0; k < N; k++) close(fds[k]);
        http_world_until_connections(&world, 0);
    }
}

/* --- Hostile bytes ------------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
    return *seed >> 8;
}

/* Overwrite, drop or repeat some bytes. */
static size_t mutate(char *bytes, size_t len, uint32_t *seed)
{
    static const char special[] = "\r\n\0 :,;%/?#0123456789abcdefXGET\x7f\x80\xff";
    for (uint32_t n = 1 + next_random(seed) % 4; n; n--) {
        size_t at = next_random(seed) % len;
        uint32_t kind = next_random(seed) % 4;
        if (kind == 0) bytes[at] = special[next_random(seed) % (sizeof special - 1)];
        if (kind == 1) bytes[at] = (char)next_random(seed);
        if (kind == 2 && len > 2) memmove(bytes + at, bytes + at + 1, --len - at);
        if (kind == 3) {
            memmove(bytes + at + 1, bytes + at, len - at);
            len++;
        }
    }
    return len;
}

static void test_malformed(void **state)
{
    static const char *const requests[] = {
        "GET /a?b HTTP/1.1\r\nHost: localhost:8012\r\nAccept: */*\r\n\r\n",
        "POST /infill HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \r\nContent-Length: "
        "10\r\n\r\n{\"a\":\"bc\"}",
        "POST /c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nbytes",
        "OPTIONS /x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\r\nAccess-Control-Request-Method: "
        "POST\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    };
    uint32_t seed = 5;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        char bytes[512];
        const char *request = requests[i % (int)(sizeof requests / sizeof *requests)];
        size_t len = strlen(request);
        memcpy(bytes, request, len);
        len = mutate(bytes, len, &seed);
        int fd = http_world_connect(&world);
        send(fd, bytes, len, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        http_world_drain(&world, fd, &in);
        if (in.len && strncmp(buf_str(&in), "HTTP/1.1 ", 9) != 0)
            fail_msg("%.*s: %s", (int)len, bytes, in.data);
        close(fd);
        if (i % 500 == 0) http_world_until_connections(&world, 0);
    }
    http_world_until_connections(&world, 0);
    assert_null(world.stream);
    assert_int_equal(sleep_ms(), -1);
    int fd = http_world_connect(&world);
    expect_reply(http_world_ask(&world, fd, &in, GET("/alive")), 200, "GET /alive  ");
    close(fd);
}

/* --- Streams ------------------------------------------------------------------------------------------- */

#define UPGRADE "GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

static void receive_exactly(int fd, const char *expected)
{
    char bytes[64];
    size_t len = 0;
    while (len < strlen(expected)) {
        ssize_t n = recv(fd, bytes + len, strlen(expected) - len, MSG_DONTWAIT);
        if (n > 0) len += (size_t)n;
        http_world_turn(&world, 1);
    }
    assert_memory_equal(bytes, expected, len);
}

static void test_upgrade(void **state)
{
    (void)state;
    int fd = http_world_connect(&world);
    struct http_reply reply = http_world_ask(&world, fd, &in, UPGRADE "early ");
    expect_reply(reply, 101, "");
    assert_non_null(strstr(reply.head, "\r\nUpgrade: echo\r\n"));
    assert_non_null(strstr(reply.head, "\r\nConnection: Upgrade\r\n"));
    receive_exactly(fd, "early ");
    http_world_send(&world, fd, "GET / HTTP/1.1\r\n\r\n\0", 19); /* bytes like others now */
    receive_exactly(fd, "GET / HTTP/1.1\r\n\r\n");
    receive_exactly(fd, "");
    assert_int_equal(sleep_ms(), -1); /* a stream may rest for ever */
    http_world_send_str(&world, fd, "bye");
    assert_true(http_world_drain(&world, fd, &in));
    assert_memory_equal(in.data + in.len - 3, "bye", 3); /* what was written before the end arrives */
    http_world_until(&world, &world.n_closed, 1);
    close(fd);

    fd = http_world_connect(&world);
    http_world_ask(&world, fd, &in, UPGRADE);
    close(fd);
    http_world_until(&world, &world.n_closed, 2);
    http_world_until_connections(&world, 0);
    assert_int_equal(world.n_requests, 2);
    assert_int_equal(world.n_aborts, 0);
}

static void test_stream_bound(void **state)
{
    struct http_limits limits = {.max_unsent_bytes = 1 << 20};
    static char piece[1 << 16];
    (void)state;
    restart(&limits);
    int fd = http_world_connect(&world);
    http_world_ask(&world, fd, &in, UPGRADE);
    int n_pieces = 0;
    for (; world.stream && n_pieces < 1000; n_pieces++) {
        http_stream_write(world.stream, piece, sizeof piece);
        assert_int_equal(world.n_closed, 0);
        if (n_pieces % 4 == 0) http_world_turn(&world, 0);
    }
    http_world_until(&world, &world.n_closed, 1);
    assert_true(n_pieces < 256);
    close(fd);
}

#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_WORLD(test_keeps_connections),
        WITH_WORLD(test_closes_when_asked),
        WITH_WORLD(test_cut_at_every_byte),
        WITH_WORLD(test_pipelined),
        WITH_WORLD(test_pipelined_behind_a_slow_one),
        WITH_WORLD(test_expect_continue),
        WITH_WORLD(test_announced_gigabyte),
        WITH_WORLD(test_refusal_reaches_a_sender),
        WITH_WORLD(test_largest_body),
        WITH_WORLD(test_refuses),
        WITH_WORLD(test_answer_in_pieces),
        WITH_WORLD(test_slow_reader),
        WITH_WORLD(test_large_answer),
        WITH_WORLD(test_leaving_aborts),
        WITH_WORLD(test_leaving_early),
        WITH_WORLD(test_half_close_after_the_request),
        WITH_WORLD(test_time_limits),
        WITH_WORLD(test_slow_head),
        WITH_WORLD(test_unfetched_answer),
        WITH_WORLD(test_idle_server_sleeps),
        WITH_WORLD(test_last_activity),
        WITH_WORLD(test_thousand_connections),
        WITH_WORLD(test_malformed),
        WITH_WORLD(test_upgrade),
        WITH_WORLD(test_stream_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
