/* Answers on a team's server: a real one on loopback, and false ones that do all that a server should not.
 *
 * The product gives every command 5 ms. A busy machine may take that from a healthy server, so where an
 * answer has to come it is asked for until it does. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <netdb.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "os/clock.h"
#include "store/record.h"
#include "store/team_cache.h"
#include "support/redis_server.h"

/* No call takes longer, ten times its deadline; but a busy machine may stop any thread for a while. */
#define CALL_MS_MAX   50
#define STOPPED_SHARE 10   /* of so many calls, one may be stopped ... */
#define STOPPED_MS    1000 /* ... for less than this */

struct calls {
    int n, n_late;
};

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void calls_add(struct calls *c, double ms)
{
    c->n++;
    if (ms >= CALL_MS_MAX) c->n_late++;
    if (ms >= STOPPED_MS) fail_msg("a call took %.0f ms", ms);
}

static void calls_check(const struct calls *c)
{
    if (c->n_late * STOPPED_SHARE > c->n) fail_msg("%d of %d calls took long", c->n_late, c->n);
}

/* ---- Records ---- */

static struct store_key key_of(uint64_t line, const char *typed)
{
    return (struct store_key){.line = {line, ~line}, .typed = typed, .typed_len = strlen(typed)};
}

static void write_record(struct buf *out, uint64_t line, const char *typed, const char *text, bool is_private)
{
    struct record *r = calloc(1, sizeof *r);
    *r = (struct record){.maker = 7, .line = {line, ~line}, .typed = typed, .typed_len = strlen(typed)};
    r->is_private = is_private;
    r->candidates[0] = (struct record_candidate){.text = text, .len = strlen(text), .n_tokens = 3};
    r->n_candidates = 1;
    buf_init(out, RECORD_BYTES_MAX);
    assert_int_equal(record_write(r, out), OK);
    free(r);
}

static void put(struct team_cache *t, uint64_t line, const char *typed, const char *text)
{
    struct buf bytes;
    write_record(&bytes, line, typed, text, false);
    team_cache_put(t, &(struct disk_put){bytes.data, bytes.len}, 1);
    buf_clear(&bytes);
}

/* The texts found, joined with '|'. */
static void find(struct team_cache *t, uint64_t line, const char *typed, char *out, size_t size)
{
    struct store_key key = key_of(line, typed);
    struct disk_found found = {.n = -1};
    buf_init(&found.bytes, DISK_FOUND_MAX * RECORD_BYTES_MAX);
    team_cache_find(t, &key, &found);
    assert_in_range(found.n, 0, DISK_FOUND_MAX);
    out[0] = '\0';
    for (int32_t i = 0; i < found.n; i++) {
        size_t from = i > 0 ? found.ends[i - 1] : 0, len = strlen(out);
        struct record *r = calloc(1, sizeof *r);
        assert_int_equal(record_read(found.bytes.data + from, found.ends[i] - from, r), OK);
        snprintf(out + len, size - len, "%s%.*s", i > 0 ? "|" : "", (int)r->candidates[0].len,
                 r->candidates[0].text);
        free(r);
    }
    buf_clear(&found.bytes);
}

static struct team_stats stats_of(const struct team_cache *t)
{
    struct team_stats stats;
    team_cache_stats(t, &stats);
    return stats;
}

static void expect_found(struct team_cache *t, uint64_t line, const char *typed, const char *expected)
{
    char text[512];
    for (int ms = 0; ms < 5000; ms += 20) {
        find(t, line, typed, text, sizeof text);
        if (strcmp(text, expected) == 0) return;
        sleep_ms(20);
    }
    assert_string_equal(text, expected);
}

/* Nothing, although the server was asked and answered. */
static void expect_nothing(struct team_cache *t, uint64_t line, const char *typed)
{
    char text[512];
    for (int ms = 0; ms < 5000; ms += 20) {
        int64_t n_failed = stats_of(t).n_failed;
        find(t, line, typed, text, sizeof text);
        assert_string_equal(text, "");
        if (!stats_of(t).is_open && stats_of(t).n_failed == n_failed) return;
        sleep_ms(20);
    }
    fail_msg("the server does not answer");
}

/* Until it is there: a put that takes too long is lost. */
static void put_surely(struct team_cache *t, uint64_t line, const char *typed, const char *text)
{
    int64_t n_put = stats_of(t).n_put;
    for (int ms = 0; ms < 5000 && stats_of(t).n_put == n_put; ms += 20) {
        put(t, line, typed, text);
        if (stats_of(t).n_put == n_put) sleep_ms(20);
    }
    assert_int_equal(stats_of(t).n_put, n_put + 1);
}

static struct team_cache *open_at(const char *url)
{
    struct team_cache *t;
    struct errmsg msg = {0};
    if (team_cache_open(url, &t, &msg) != OK) fail_msg("%s: %s", url, msg.text);
    return t;
}

static bool is_supported(void)
{
    struct team_cache *t;
    enum err err = team_cache_open("redis://127.0.0.1", &t, NULL);
    team_cache_close(&t);
    return err != ERR_UNSUPPORTED;
}

/* So many calls that find nothing, none of which takes long. */
static void find_nothing(struct team_cache *t, int n, int pause_ms)
{
    struct calls calls = {0};
    for (int i = 0; i < n; i++) {
        char text[512];
        int64_t start = clock_ns();
        find(t, 1, "", text, sizeof text);
        calls_add(&calls, clock_ms_since(start));
        assert_string_equal(text, "");
        if (pause_ms) sleep_ms(pause_ms);
    }
    calls_check(&calls);
}

/* ---- Addresses ---- */

static void test_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"redis://h",
                                       "redis://h:6380",
                                       "redis://h/3",
                                       "redis://h:1/",
                                       "redis://[::1]:6380/1",
                                       "redis://:secret@h",
                                       "redis://me:sec%2Fret@h:1/2",
                                       "redis://me:se@c/ret@h",
                                       "unix:/run/x",
                                       "unix:///run/x"};
    static const char *const bad[] = {"",
                                      "h:6379",
                                      "http://h",
                                      "rediss://h",
                                      "redis://",
                                      "redis://:1",
                                      "redis://h:",
                                      "redis://h:0",
                                      "redis://h:65536",
                                      "redis://h:12345678901",
                                      "redis://h:-1",
                                      "redis://h:1x",
                                      "redis://h/x",
                                      "redis://h/-1",
                                      "redis://h/99999999999999999999",
                                      "redis://[::1",
                                      "redis://[]",
                                      "redis://[::1]x",
                                      "redis://topsecret@h",
                                      "redis://me:topsecret%zz@h",
                                      "redis://me:topsecret%00@h",
                                      "redis://me:topsecret%4@h",
                                      "redis://me:topsecret@",
                                      "redis://me:topsecret@h:0",
                                      "unix:",
                                      "unix:x"};
    struct team_cache *t;
    if (!is_supported()) skip();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        t = open_at(good[i]);
        team_cache_close(&t);
        assert_null(t);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct errmsg msg = {0};
        if (team_cache_open(bad[i], &t, &msg) != ERR_ARG) fail_msg("%s is taken", bad[i]);
        assert_null(t);
        assert_int_not_equal(strlen(msg.text), 0);
        assert_null(strstr(msg.text, "topsecret"));
    }
    struct buf path; /* too long for a socket's address */
    buf_init(&path, 1024);
    buf_add_str(&path, "unix:/");
    for (int i = 0; i < 200; i++) buf_add_char(&path, 'x');
    assert_int_equal(team_cache_open(buf_str(&path), &t, NULL), ERR_ARG);
    buf_clear(&path);
    team_cache_close(&t); /* tolerates null */
}

/* ---- A real server ---- */

static void server_url(const struct redis_server *r, char out[128])
{
    snprintf(out, 128, "redis://127.0.0.1:%d", r->port);
}

static void test_put_and_find(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128], reply[64], long_text[TEAM_RECORD_MAX + 1];
    if (!is_supported() || !redis_server_start(&r, "")) skip();
    server_url(&r, url);
    struct team_cache *t = open_at(url);

    expect_nothing(t, 1, "");
    put_surely(t, 1, "", "int x;");
    expect_found(t, 1, "", "int x;");
    expect_found(t, 1, "int", "int x;"); /* typed through */
    expect_nothing(t, 1, "if");
    expect_nothing(t, 2, "");
    assert_true(stats_of(t).n_found >= 2);

    put_surely(t, 1, "int ", "y = 3;"); /* nearer, where both suit; alone, where the first does not */
    expect_found(t, 1, "int ", "y = 3;|int x;");
    expect_found(t, 1, "int y", "y = 3;");
    put_surely(t, 1, "int ", "z;"); /* the newest stays */
    expect_found(t, 1, "int ", "z;|int x;");

    redis_server_ask(&r, "TTL inline:1:0000000000000001fffffffffffffffe", reply, sizeof reply);
    int ttl = (int)strtol(reply + 1, NULL, 10);
    assert_in_range(ttl, TEAM_KEEP_DAYS * 86400 - 60, TEAM_KEEP_DAYS * 86400);

    /* Too long a record does not leave; the longest that does comes back. */
    memset(long_text, 'x', sizeof long_text);
    long_text[TEAM_RECORD_MAX - 100] = '\0';
    put_surely(t, 3, "", long_text);
    struct store_key key = key_of(3, "");
    struct disk_found found = {0};
    buf_init(&found.bytes, DISK_FOUND_MAX * RECORD_BYTES_MAX);
    for (int i = 0; i < 100 && found.n == 0; i++)
        team_cache_find(t, &key, &found), sleep_ms(found.n ? 0 : 20);
    assert_int_equal(found.n, 1);
    buf_clear(&found.bytes);
    team_cache_close(&t);
    redis_server_stop(&r);
}

/* More lengths than a line has slots, all of which suit. */
static void test_long_line(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128];
    char line[41] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN", typed[41], text[512];
    if (!is_supported() || !redis_server_start(&r, "")) skip();
    server_url(&r, url);
    struct team_cache *t = open_at(url);
    for (size_t n = 0; n < 40; n++) {
        snprintf(typed, sizeof typed, "%.*s", (int)n, line);
        put_surely(t, 9, typed, line + n);
    }
    snprintf(text, sizeof text, "%s|%s|%s|%s", line + 39, line + 38, line + 37, line + 36);
    snprintf(typed, sizeof typed, "%.39s", line);
    expect_found(t, 9, typed, text);
    redis_server_ask(&r, "HLEN inline:1:0000000000000009fffffffffffffff6", text, sizeof text);
    assert_string_equal(text, ":32");
    team_cache_close(&t);
    redis_server_stop(&r);
}

/* What is private, too long or no record stays here; a batch goes out without it. */
static void test_what_stays(void **state)
{
    (void)state;
    struct redis_server r;
    char reply[64], url[128], long_text[2 * TEAM_RECORD_MAX] = "";
    struct buf records[3];
    if (!is_supported() || !redis_server_start(&r, "")) skip();
    snprintf(url, sizeof url, "unix:%s", r.socket_path);
    struct team_cache *t = open_at(url);
    memset(long_text, 'x', RECORD_TEXT_MAX);
    write_record(&records[0], 1, "", "secret", true);
    write_record(&records[1], 2, "", long_text, false);
    write_record(&records[2], 3, "", "plain", false);
    struct disk_put puts[] = {{records[0].data, records[0].len},
                              {records[1].data, records[1].len},
                              {"garbage", 7},
                              {records[2].data, records[2].len}};
    for (int i = 0; i < 100 && stats_of(t).n_put == 0; i++) team_cache_put(t, puts, 4), sleep_ms(10);
    assert_int_equal(stats_of(t).n_put, 1);
    redis_server_ask(&r, "DBSIZE", reply, sizeof reply);
    assert_string_equal(reply, ":1");
    expect_found(t, 3, "", "plain");
    expect_nothing(t, 1, "");
    for (int i = 0; i < 3; i++) buf_clear(&records[i]);
    team_cache_close(&t);
    redis_server_stop(&r);
}

/* What stands on the server may be anything. */
static void test_false_values(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128], reply[64];
    if (!is_supported() || !redis_server_start(&r, "")) skip();
    server_url(&r, url);
    struct team_cache *t = open_at(url);
    redis_server_ask(&r, "HSET inline:1:0000000000000001fffffffffffffffe 0 garbage 1 x", reply, sizeof reply);
    assert_string_equal(reply, ":2");
    expect_nothing(t, 1, "");
    put_surely(t, 2, "", "two"); /* a record, but another line's */
    redis_server_ask(
        &r, "RENAME inline:1:0000000000000002fffffffffffffffd inline:1:0000000000000003fffffffffffffffc",
        reply, sizeof reply);
    assert_string_equal(reply, "+OK");
    expect_nothing(t, 3, "");
    redis_server_ask(&r, "SET inline:1:0000000000000004fffffffffffffffb text", reply, sizeof reply);
    char text[512];
    int64_t n_failed = stats_of(t).n_failed;
    find(t, 4, "", text, sizeof text); /* the server refuses: it is no hash */
    assert_string_equal(text, "");
    assert_true(stats_of(t).n_failed > n_failed);
    expect_nothing(t, 1, ""); /* goes on */
    team_cache_close(&t);
    redis_server_stop(&r);
}

static void test_password(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128], reply[64];
    if (!is_supported() || !redis_server_start(&r, "pa/ss@w")) skip();

    snprintf(url, sizeof url, "redis://:pa%%2fss@w@127.0.0.1:%d/2", r.port);
    struct team_cache *t = open_at(url);
    put_surely(t, 1, "", "int x;");
    expect_found(t, 1, "", "int x;");
    team_cache_close(&t);

    snprintf(url, sizeof url, "redis://default:pa/ss@w@127.0.0.1:%d/2", r.port);
    t = open_at(url);
    expect_found(t, 1, "", "int x;");
    team_cache_close(&t);

    redis_server_ask(&r, "DBSIZE", reply, sizeof reply); /* of database 0 */
    assert_string_equal(reply, ":0");

    static const char *const wrong[] = {"redis://:nonsense@127.0.0.1:%d", "redis://127.0.0.1:%d",
                                        "redis://:pa%2fss@w@127.0.0.1:%d/4000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char pattern[128];
        snprintf(pattern, sizeof pattern, "%s", wrong[i]);
        char *number = strstr(pattern, ":%d");
        snprintf(url, sizeof url, "%.*s:%d%s", (int)(number - pattern), pattern, r.port, number + 3);
        t = open_at(url);
        find_nothing(t, 10, 0);
        assert_true(stats_of(t).is_open);
        assert_int_equal(stats_of(t).n_failed, 3);
        team_cache_close(&t);
    }
    redis_server_stop(&r);
}

/* The host's name is resolved meanwhile; nobody waits. */
/* A machine without /etc/hosts may not know its own name. */
static bool knows_localhost(void)
{
    struct addrinfo *found = NULL;
    bool is_known = getaddrinfo("localhost", NULL, NULL, &found) == 0;
    if (found) freeaddrinfo(found);
    return is_known;
}

static void test_host_name(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128];
    if (!is_supported() || !knows_localhost() || !redis_server_start(&r, "")) skip();
    snprintf(url, sizeof url, "redis://localhost:%d", r.port);
    struct team_cache *t = open_at(url);
    find_nothing(t, 10, 0);
    put_surely(t, 1, "", "int x;");
    expect_found(t, 1, "", "int x;");
    team_cache_close(&t);

    t = open_at("redis://no-such-host.invalid");
    find_nothing(t, 20, 5);
    team_cache_close(&t); /* while it is perhaps still being resolved */
    redis_server_stop(&r);
}

static void test_server_dies(void **state)
{
    (void)state;
    struct redis_server r;
    char url[128], text[512];
    if (!is_supported() || !redis_server_start(&r, "")) skip();
    server_url(&r, url);
    struct team_cache *t = open_at(url);
    put_surely(t, 1, "", "int x;");
    expect_found(t, 1, "", "int x;");

    redis_server_kill(&r);
    int64_t n_failed = stats_of(t).n_failed, start = clock_ns();
    struct calls puts = {0};
    for (int i = 0; i < 100; i++) {
        int64_t before = clock_ns();
        put(t, 1, "", "int y;");
        calls_add(&puts, clock_ms_since(before));
    }
    calls_check(&puts);
    find_nothing(t, 100, 0);
    assert_true(stats_of(t).is_open);
    /* The circuit keeps nearly all of them from the server; trials come after 1 s, 2 s, 4 s. */
    assert_in_range(stats_of(t).n_failed - n_failed, 1, 3 + (int)(clock_ms_since(start) / 1000));

    redis_server_restart(&r);
    expect_nothing(t, 1, ""); /* the circuit closes after the next trial */
    assert_false(stats_of(t).is_open);
    put_surely(t, 1, "", "int z;");
    expect_found(t, 1, "", "int z;");

    /* A server that was only restarted costs no answer: the dead connection is noticed before it is used. A
     * busy machine may fail a call for other reasons, but not every time. */
    bool has_failed = true;
    for (int i = 0; i < 10 && has_failed; i++) {
        expect_found(t, 1, "", i == 0 ? "int z;" : "");
        redis_server_kill(&r);
        redis_server_restart(&r);
        n_failed = stats_of(t).n_failed;
        find(t, 5, "", text, sizeof text);
        has_failed = stats_of(t).n_failed != n_failed;
        if (has_failed) expect_nothing(t, 5, ""); /* connected again */
    }
    assert_false(has_failed);
    team_cache_close(&t);
    redis_server_stop(&r);
}

/* ---- False servers ---- */

enum behaviour {
    SILENT,
    TRICKLE,
    GARBAGE,
    HUGE_STRING,
    HUGE_ARRAY,
    ENDLESS,
    NESTED,
    EMPTY,
    CLOSES,
    N_BEHAVIOURS
};

struct false_server {
    int fd, port;
    enum behaviour behaviour;
    atomic_bool is_over;
    atomic_int n_connections;
    pthread_t thread;
};

static bool say(int fd, const char *bytes, size_t len)
{
    return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void misbehave(struct false_server *f, int fd)
{
    static char block[65536];
    memset(block, 'x', sizeof block);
    char nested[4 * 20 + 1] = "";
    switch (f->behaviour) {
    case TRICKLE: /* a whole answer, but a byte each millisecond */
        for (int i = 0; i < 400 && say(fd, i == 0 ? "*" : i == 1 ? "3" : "2", 1); i++) sleep_ms(1);
        break;
    case GARBAGE:
        (void)say(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        break;
    case HUGE_STRING:
        if (!say(fd, "*32\r\n$500000000\r\n", 17)) break;
        while (!atomic_load(&f->is_over) && say(fd, block, sizeof block)) {
        }
        break;
    case HUGE_ARRAY:
        (void)say(fd, "*2147483647\r\n$-1\r\n", 18);
        break;
    case ENDLESS: /* much that is valid */
        while (!atomic_load(&f->is_over) && say(fd, "+x\r\n*0\r\n", 8)) {
        }
        break;
    case NESTED:
        for (int i = 0; i < 20; i++) snprintf(nested + 4 * i, sizeof nested - 4 * (size_t)i, "*1\r\n");
        (void)say(fd, nested, sizeof nested - 1);
        break;
    case EMPTY:
        (void)say(fd, "*0\r\n", 4);
        break;
    default:
        break;
    }
}

static void *serve(void *arg)
{
    struct false_server *f = arg;
    for (;;) {
        int fd = accept(f->fd, NULL, NULL);
        if (fd < 0) return NULL;
        atomic_fetch_add(&f->n_connections, 1);
        char command[4096];
        if (f->behaviour != CLOSES && recv(fd, command, sizeof command, 0) > 0) {
            misbehave(f, fd);
            while (f->behaviour != CLOSES && recv(fd, command, sizeof command, 0) > 0) misbehave(f, fd);
        }
        close(fd);
    }
}

static void false_server_start(struct false_server *f, enum behaviour behaviour)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *f = (struct false_server){.behaviour = behaviour};
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(f->fd, 8), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void false_server_stop(struct false_server *f)
{
    atomic_store(&f->is_over, true);
    shutdown(f->fd, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->fd);
}

static void test_false_servers(void **state)
{
    (void)state;
    if (!is_supported()) skip();
    for (int b = 0; b < N_BEHAVIOURS; b++) {
        struct false_server f;
        char url[128];
        false_server_start(&f, (enum behaviour)b);
        snprintf(url, sizeof url, "redis://%s127.0.0.1:%d", b == SILENT ? ":word@" : "", f.port);
        struct team_cache *t = open_at(url);
        find_nothing(t, 10, 0);
        if (b == EMPTY) { /* a valid answer without values */
            assert_int_equal(stats_of(t).n_found, 0);
        } else if (b != ENDLESS) {
            assert_true(stats_of(t).is_open);
            assert_int_equal(stats_of(t).n_failed, 3);
            assert_true(atomic_load(&f.n_connections) <= 3);
        }
        team_cache_close(&t);
        false_server_stop(&f);
    }
}

/* Nobody listens, and no packet comes back: both end in time. */
static void test_no_server(void **state)
{
    (void)state;
    if (!is_supported()) skip();
    static const char *const urls[] = {"redis://127.0.0.1:1", "redis://192.0.2.1", "unix:/nowhere/socket"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct team_cache *t = open_at(urls[i]);
        find_nothing(t, 10, 0);
        assert_true(stats_of(t).is_open);
        assert_int_equal(stats_of(t).n_failed, 3);
        team_cache_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),     cmocka_unit_test(test_put_and_find),
        cmocka_unit_test(test_long_line),     cmocka_unit_test(test_what_stays),
        cmocka_unit_test(test_false_values),  cmocka_unit_test(test_password),
        cmocka_unit_test(test_host_name),     cmocka_unit_test(test_server_dies),
        cmocka_unit_test(test_false_servers), cmocka_unit_test(test_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
