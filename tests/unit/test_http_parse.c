/* Requests out of bytes: every cut, every limit, and what strict reading refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "serve/http_parse.h"

#define HEAD_MAX 512
#define BODY_MAX 64

static void begin(struct http_parse *p)
{
    http_parse_init(p, HEAD_MAX, BODY_MAX);
}

/* Feed until the request ends, fails or the bytes do; each piece is a block of its own, so that the address
 * sanitizer sees reads past its end. Returns the bytes taken. */
static size_t feed(struct http_parse *p, const char *bytes, size_t len, size_t piece)
{
    size_t at = 0;
    while (at < len && p->state != HTTP_PARSE_DONE && p->state != HTTP_PARSE_FAILED) {
        size_t n = piece < len - at ? piece : len - at;
        char *copy = malloc(n);
        memcpy(copy, bytes + at, n);
        size_t taken = http_parse_feed(p, copy, n);
        free(copy);
        assert_true(taken <= n);
        assert_true(taken > 0 || p->state == HTTP_PARSE_FAILED);
        at += taken;
    }
    return at;
}

static const char post[] = "POST /v1/a%20b%2f?q=%41&r HTTP/1.1\r\nHost: localhost:8012\r\nX-Empty:\r\n"
                           "Authorization:  Bearer  x \t\r\nContent-Length: 5\r\n\r\nhello";
static const char chunked[] = "POST /c HTTP/1.1\r\nhOST: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
                              "3;ext=\"v\"\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: dropped\r\n\r\n";
static const char get[] = "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

static void check_post(const struct http_parse *p)
{
    assert_int_equal(p->state, HTTP_PARSE_DONE);
    assert_string_equal(p->request.method, "POST");
    assert_string_equal(p->request.path, "/v1/a b/");
    assert_string_equal(p->request.query, "q=%41&r");
    assert_string_equal(p->request.body, "hello");
    assert_int_equal(p->request.body_len, 5);
    assert_string_equal(http_parse_header(p, "host"), "localhost:8012");
    assert_string_equal(http_parse_header(p, "authorization"), "Bearer  x");
    assert_string_equal(http_parse_header(p, "x-empty"), "");
    assert_string_equal(http_parse_header(p, "content-length"), "5");
    assert_string_equal(http_parse_header(p, "hello"), "");
    assert_true(p->keep_alive);
}

static void check_chunked(const struct http_parse *p)
{
    assert_int_equal(p->state, HTTP_PARSE_DONE);
    assert_string_equal(p->request.path, "/c");
    assert_string_equal(p->request.query, "");
    assert_string_equal(p->request.body, "hello");
    assert_string_equal(http_parse_header(p, "host"), "h");
    assert_string_equal(http_parse_header(p, "trailer"), "");
}

static void check_get(const struct http_parse *p)
{
    assert_int_equal(p->state, HTTP_PARSE_DONE);
    assert_string_equal(p->request.method, "GET");
    assert_int_equal(p->request.body_len, 0);
    assert_string_equal(p->request.body, "");
    assert_false(p->keep_alive);
}

/* Three requests behind one another, in pieces of every size, and cut in two at every byte. */
static void test_every_cut(void **state)
{
    char all[sizeof post + sizeof chunked + sizeof get];
    void (*const checks[])(const struct http_parse *p) = {check_post, check_chunked, check_get};
    size_t len = strlen(post) + strlen(chunked) + strlen(get);
    (void)state;
    memcpy(all, post, strlen(post));
    memcpy(all + strlen(post), chunked, strlen(chunked));
    memcpy(all + strlen(post) + strlen(chunked), get, sizeof get);
    struct http_parse p;
    begin(&p);
    for (size_t piece = 1; piece <= len; piece++) {
        size_t at = 0;
        for (int i = 0; i < 3; i++) {
            at += feed(&p, all + at, len - at, piece);
            checks[i](&p);
            http_parse_reset(&p);
        }
        assert_int_equal(at, len);
    }
    for (size_t cut = 0; cut <= len; cut++) {
        size_t at = 0;
        for (int i = 0; i < 3;) {
            size_t end = at < cut ? cut : len;
            at += feed(&p, all + at, end - at, len);
            if (p.state != HTTP_PARSE_DONE) continue;
            checks[i++](&p);
            http_parse_reset(&p);
        }
    }
    http_parse_reset(&p);
}

/* The head can be judged before the body comes, whose memory is not taken when announced. */
static void test_stops_before_the_body(void **state)
{
    (void)state;
    struct http_parse p;
    begin(&p);
    size_t head_len = strlen(post) - 5;
    assert_int_equal(http_parse_feed(&p, post, strlen(post)), head_len);
    assert_int_equal(p.state, HTTP_PARSE_BODY);
    assert_string_equal(p.request.path, "/v1/a b/");
    assert_int_equal(p.body.cap, 0);
    assert_int_equal(http_parse_feed(&p, post + head_len, 5), 5);
    check_post(&p);
    http_parse_reset(&p);
    assert_null(p.head.data);
    assert_null(p.body.data);
}

static void expect_refused(const char *text, size_t len, int status)
{
    struct http_parse whole, bytewise;
    begin(&whole);
    begin(&bytewise);
    feed(&whole, text, len, len);
    feed(&bytewise, text, len, 1);
    if (whole.state != HTTP_PARSE_FAILED) fail_msg("%.*s: state %d", (int)len, text, (int)whole.state);
    if (whole.status != status) fail_msg("%.*s: %d %s", (int)len, text, whole.status, whole.fault);
    assert_int_equal(bytewise.state, HTTP_PARSE_FAILED);
    assert_int_equal(bytewise.status, status);
    assert_non_null(whole.fault);
    assert_true(strlen(whole.fault) > 0);
    assert_int_equal(http_parse_feed(&whole, "GET", 3), 0);
    http_parse_reset(&whole);
    http_parse_reset(&bytewise);
}

#define GET_WITH(lines)        "GET / HTTP/1.1\r\nHost: h\r\n" lines "\r\n\r\n"
#define POST_WITH(lines, body) "POST / HTTP/1.1\r\nHost: h\r\n" lines "\r\n\r\n" body

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {400, "nonsense\r\n\r\n"},
        {400, "\x16\x03\x01\x02"}, /* TLS */
        {400, "BREW / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "get / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, " GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {505, "GET /\r\n\r\n"}, /* HTTP/0.9 */
        {400, "GET / HTTP/1.1\nHost: h\n\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n\rX\r\n"},
        {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/0.9\r\nHost: h\r\n\r\n"},
        {505, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"},
        {400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        {501, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /%4 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /%0a HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, GET_WITH("Host: h")},
        {400, GET_WITH("Authorization: a\r\nAuthorization: b")},
        {400, GET_WITH("Origin: a\r\nOrigin: b")},
        {400, GET_WITH("X : y")},
        {400, GET_WITH(": y")},
        {400, GET_WITH("X: a\r\n folded")},
        {400, GET_WITH("X: a\x01")},
        {417, GET_WITH("Expect: 200-ok")},
        {400, POST_WITH("Content-Length: 5\r\nContent-Length: 5", "hello")},
        {400, POST_WITH("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n")},
        {400, POST_WITH("Content-Length: +5", "hello")},
        {400, POST_WITH("Content-Length: -5", "hello")},
        {400, POST_WITH("Content-Length: 0x5", "hello")},
        {400, POST_WITH("Content-Length: 5, 5", "hello")},
        {400, POST_WITH("Content-Length: 99999999999999999999999", "hello")},
        {413, POST_WITH("Content-Length: 65", "")},
        {413, POST_WITH("Content-Length: 1073741824\r\nExpect: 100-continue", "")},
        {501, POST_WITH("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")},
        {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, POST_WITH("Transfer-Encoding: chunked", "x\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "-1\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "5\r\nhelloX\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "ffffffffffffffffff\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "5 \r\nhello\r\n0\r\n\r\n")},
        {400, POST_WITH("Transfer-Encoding: chunked", "5\r\nhello\n0\r\n\r\n")},
        {413, POST_WITH("Transfer-Encoding: chunked",
                        "41\r\n01234567890123456789012345678901234567890123456789012345678901234")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refused(rows[i].text, strlen(rows[i].text), rows[i].status);
    expect_refused("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 36, 400);
}

static void test_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
        bool keep_alive;
    } rows[] = {
        {"GET /h HTTP/1.0\r\n\r\n", "/h", false},
        {"GET /h HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "/h", true},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*", true},
        {"GET http://H:1/p/q?r HTTP/1.1\r\nHost: h:1\r\n\r\n", "/p/q", true},
        {"GET /%e4%bd%a0%2F HTTP/1.1\r\nHost: h\r\n\r\n", "/\xe4\xbd\xa0/", true},
        {"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: lsp\r\nConnection: Upgrade\r\n\r\n", "/", true},
        {"POST /u HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"
         "Content-Length: 2\r\n\r\n{}",
         "/u", true},
        {"DELETE /d HTTP/1.1\r\nHost: h\r\n\r\n", "/d", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_parse p;
        begin(&p);
        size_t len = strlen(rows[i].text);
        assert_int_equal(feed(&p, rows[i].text, len, len), len);
        if (p.state != HTTP_PARSE_DONE) fail_msg("%s: %s", rows[i].text, p.fault ? p.fault : "not done");
        assert_string_equal(p.request.path, rows[i].path);
        assert_int_equal(p.keep_alive, rows[i].keep_alive);
        http_parse_reset(&p);
    }
}

static void test_head_method(void **state)
{
    (void)state;
    struct http_parse p;
    begin(&p);
    static const char text[] = "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n";
    feed(&p, text, strlen(text), 100);
    assert_true(p.is_head);
    assert_string_equal(p.request.method, "GET");
    http_parse_reset(&p);
}

/* Exactly as many bytes as allowed pass; the next one does not, however they come. */
static void test_head_limit(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        char text[HEAD_MAX + 2];
        size_t len = HEAD_MAX + extra;
        memset(text, 'a', sizeof text);
        memcpy(text, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 28);
        memcpy(text + len - 4, "\r\n\r\n", 4);
        if (extra) {
            expect_refused(text, len, 431);
        } else {
            struct http_parse p;
            begin(&p);
            assert_int_equal(feed(&p, text, len, 7), len);
            assert_int_equal(p.state, HTTP_PARSE_DONE);
            http_parse_reset(&p);
        }
    }
    char line[4 * HEAD_MAX];
    memset(line, 'a', sizeof line);
    memcpy(line, "GET /", 5);
    expect_refused(line, sizeof line, 431);
}

/* Chunk extensions and trailers without end. */
static void test_dropped_limit(void **state)
{
    (void)state;
    static const char head[] = POST_WITH("Transfer-Encoding: chunked", "");
    static const char *const abuses[] = {"1;", "0\r\nX: "};
    for (size_t i = 0; i < sizeof abuses / sizeof *abuses; i++) {
        char text[8 * HEAD_MAX];
        memset(text, 'a', sizeof text);
        memcpy(text, head, strlen(head));
        memcpy(text + strlen(head), abuses[i], strlen(abuses[i]));
        expect_refused(text, sizeof text, 413);
    }
    struct http_parse p;
    begin(&p); /* but the smallest chunks are fine */
    feed(&p, head, strlen(head), 100);
    for (int i = 0; i < BODY_MAX; i++) feed(&p, "1\r\nb\r\n", 6, 6);
    feed(&p, "0\r\n\r\n", 5, 5);
    assert_int_equal(p.state, HTTP_PARSE_DONE);
    assert_int_equal(p.request.body_len, BODY_MAX);
    http_parse_reset(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),     cmocka_unit_test(test_stops_before_the_body),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_head_method),   cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_dropped_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
