/* Events out of bytes: every cut gives the same events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "remote/stream.h"

/* Events one after the other, each followed by '|'. */
struct seen {
    struct buf events;
    int32_t n, max; /* events; more than that are not wanted */
};

static bool on_event(void *ctx, const char *event, size_t len)
{
    struct seen *s = ctx;
    assert_true(s->n < s->max); /* is not called once it has had enough */
    buf_add(&s->events, event, len);
    buf_add_char(&s->events, '|');
    return ++s->n < s->max;
}

/* Each piece is a block of its own, so that the address sanitizer sees reads past its end. */
static enum err feed(struct stream *st, const char *bytes, size_t len, struct seen *s)
{
    char *copy = malloc(len ? len : 1);
    if (len) memcpy(copy, bytes, len);
    enum err err = stream_feed(st, copy, len, on_event, s);
    free(copy);
    return err;
}

/* In pieces of piece_len bytes behind a first one of first_len. */
static enum err read_all(enum stream_kind kind, const char *bytes, size_t len, size_t first_len,
                         size_t piece_len, struct seen *s)
{
    struct stream st;
    enum err err = OK;
    stream_init(&st, kind);
    for (size_t at = 0, n = first_len; at < len && !err; at += n, n = piece_len) {
        if (n > len - at) n = len - at;
        err = feed(&st, bytes + at, n, s);
    }
    if (!err) err = stream_end(&st, on_event, s);
    stream_clear(&st);
    return err;
}

static void seen_init(struct seen *s, int32_t max)
{
    *s = (struct seen){.max = max};
    buf_init(&s->events, (size_t)32 << 20);
}

static void check_len(enum stream_kind kind, const char *bytes, size_t len, const char *events)
{
    struct seen s;
    seen_init(&s, INT32_MAX);
    for (size_t cut = 0; cut <= len; cut++) {
        s.n = 0;
        buf_reset(&s.events);
        assert_int_equal(read_all(kind, bytes, len, cut, len + 1, &s), OK);
        assert_string_equal(buf_str(&s.events), events);
    }
    buf_reset(&s.events);
    assert_int_equal(read_all(kind, bytes, len, 1, 1, &s), OK);
    assert_string_equal(buf_str(&s.events), events);
    buf_clear(&s.events);
}

static void check(enum stream_kind kind, const char *bytes, const char *events)
{
    check_len(kind, bytes, strlen(bytes), events);
}

static void test_kinds(void **state)
{
    (void)state;
    assert_int_equal(stream_kind_of("text/event-stream"), STREAM_SSE);
    assert_int_equal(stream_kind_of("Text/Event-Stream; charset=utf-8"), STREAM_SSE);
    assert_int_equal(stream_kind_of("application/x-ndjson"), STREAM_NDJSON);
    assert_int_equal(stream_kind_of("application/jsonl"), STREAM_NDJSON);
    assert_int_equal(stream_kind_of("application/NDJSON;charset=utf-8"), STREAM_NDJSON);
    assert_int_equal(stream_kind_of("application/json"), STREAM_WHOLE);
    assert_int_equal(stream_kind_of("text/html"), STREAM_WHOLE);
    assert_int_equal(stream_kind_of(""), STREAM_WHOLE);
    assert_int_equal(stream_kind_of(NULL), STREAM_WHOLE);
}

static void test_line_ends(void **state)
{
    (void)state;
    check(STREAM_SSE, "data: {1}\n\ndata: {2}\n\n", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\r\rdata: {2}\r\r", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\r\n\r\ndata: {2}\r\n\r\n", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\r\n\ndata: {2}\r\r\n", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\n\n\n\n\n\ndata: {2}\n\n", "{1}|{2}|");
}

static void test_fields(void **state)
{
    (void)state;
    check(STREAM_SSE, ": ping\n\n:\n\nevent: message\nid: 7\nretry: 10\ndata: {1}\n\n", "{1}|");
    check(STREAM_SSE, "data:{1}\n\ndata:  {2}\n\ndata:\t{3}\n\n", "{1}| {2}|\t{3}|");
    check(STREAM_SSE, "data: {\ndata: 1\ndata: }\n\n", "{\n1\n}|");
    check(STREAM_SSE, "data\ndata: 1\n\ndata\n\ndata:\n\ndata: \n\n", "\n1|");
    check(STREAM_SSE, "datum: {1}\ndat: 2\ndata2: 3\n data: 4\n\ndata: 5\n\n", "5|");
    check(STREAM_SSE, "event: error\ndata: {e}\n\n", "{e}|");
    check(STREAM_SSE, "data: a:b: c\n\n", "a:b: c|");
}

/* How llama-server said a failure until 2025. */
static void test_error_field(void **state)
{
    (void)state;
    check(STREAM_SSE, "data: {1}\n\nerror: {\"code\":500}\n\n", "{1}|{\"code\":500}|");
}

static void test_byte_order_mark(void **state)
{
    (void)state;
    check(STREAM_SSE,
          "\xef\xbb\xbf"
          "data: {1}\n\n\xef\xbb\xbf"
          "data: {2}\n\n",
          "{1}|");
    check(STREAM_SSE, "\xef\xbb\xbf\ndata: {1}\n\n", "{1}|");
    check(STREAM_NDJSON, "\xef\xbb\xbf{1}\n{2}\n", "{1}|{2}|");
    check(STREAM_WHOLE, "\xef\xbb\xbf{1}", "{1}|");
}

static void test_done(void **state)
{
    (void)state;
    check(STREAM_SSE, "data: {1}\n\ndata: [DONE]\n\ndata: {2}\n\n", "{1}|");
    check(STREAM_SSE, "data:[DONE]\r\n\r\ndata: {2}\r\n\r\n", "");
    check(STREAM_SSE, "data: {1}\n\ndata: [DONE]", "{1}|");
    check(STREAM_SSE, "data: [DONE]x\n\ndata: [DONE\n\n", "[DONE]x|[DONE|");
    check(STREAM_NDJSON, "{1}\n", "{1}|");
}

/* A server that closes without the last line's end has still said it. */
static void test_ends_without_newline(void **state)
{
    (void)state;
    check(STREAM_SSE, "data: {1}\n\ndata: {2}", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\n\ndata: {2}\n", "{1}|{2}|");
    check(STREAM_SSE, "data: {1}\n\ndata: {2}\r", "{1}|{2}|");
    check(STREAM_NDJSON, "{1}\n{2}", "{1}|{2}|");
    check(STREAM_SSE, "", "");
    check(STREAM_NDJSON, "", "");
    check(STREAM_WHOLE, "", "");
}

static void test_json_lines(void **state)
{
    (void)state;
    check(STREAM_NDJSON, "{1}\n\n \t\r\n{2}\r\n {3} \n", "{1}|{2}| {3}|");
    check(STREAM_NDJSON, "{\r1}\n", "{\r1}|"); /* a lone CR is white space of JSON */
}

static void test_whole(void **state)
{
    (void)state;
    check(STREAM_WHOLE, "{\n  \"a\": 1\n}\n", "{\n  \"a\": 1\n}\n|");
    check(STREAM_WHOLE, "data: {1}\n\n", "data: {1}\n\n|");
}

static void test_binary(void **state)
{
    (void)state;
    static const char bytes[] = "data: a\xff\xc3\n\n"
                                "data: \xe2\x82\xac\n\n";
    check(STREAM_SSE, bytes, "a\xff\xc3|\xe2\x82\xac|");
    static const char nul[] = "da\0ta: 1\n\ndata: 2\n\n";
    check_len(STREAM_SSE, nul, sizeof nul - 1, "2|");
}

static void test_enough(void **state)
{
    (void)state;
    static const char bytes[] = "data: 1\n\ndata: 2\n\ndata: 3\n\n";
    for (size_t piece = 1; piece < sizeof bytes; piece++) {
        struct seen s;
        seen_init(&s, 2);
        assert_int_equal(read_all(STREAM_SSE, bytes, sizeof bytes - 1, piece, piece, &s), OK);
        assert_string_equal(buf_str(&s.events), "1|2|");
        buf_clear(&s.events);
    }
}

/* `head`, then n bytes 'x', then `tail`: how many bytes of events come of it. */
static enum err read_long(enum stream_kind kind, const char *head, size_t n, const char *tail, size_t piece,
                          size_t *event_bytes)
{
    struct seen s;
    struct buf bytes;
    char *middle = malloc(n);
    memset(middle, 'x', n);
    buf_init(&bytes, SIZE_MAX);
    buf_add_str(&bytes, head);
    buf_add(&bytes, middle, n);
    buf_add_str(&bytes, tail);
    seen_init(&s, INT32_MAX);
    enum err err = read_all(kind, bytes.data, bytes.len, piece, piece, &s);
    *event_bytes = s.events.len;
    buf_clear(&s.events);
    buf_clear(&bytes);
    free(middle);
    return err;
}

static void test_event_limit(void **state)
{
    (void)state;
    static const size_t pieces[] = {1000, 65536, (size_t)4 << 20};
    const size_t max = STREAM_EVENT_MAX;
    size_t n;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t p = pieces[i];
        assert_int_equal(read_long(STREAM_NDJSON, "", max, "\n", p, &n), OK);
        assert_int_equal(n, max + 1);
        assert_int_equal(read_long(STREAM_NDJSON, "", max + 1, "\n", p, &n), ERR_LIMIT);
        assert_int_equal(n, 0);
        assert_int_equal(read_long(STREAM_SSE, "data: ", max - 6, "\n\n", p, &n), OK);
        assert_int_equal(n, max - 6 + 1);
        assert_int_equal(read_long(STREAM_SSE, "data: ", max - 5, "\n\n", p, &n), ERR_LIMIT);
        assert_int_equal(read_long(STREAM_SSE, ": ", max, "\n\n", p, &n), ERR_LIMIT);
        assert_int_equal(read_long(STREAM_SSE, "data: 01234567\ndata: ", max - 6, "\n\n", p, &n), ERR_LIMIT);
        assert_int_equal(read_long(STREAM_WHOLE, "", max, "", p, &n), OK);
        assert_int_equal(n, max + 1);
        assert_int_equal(read_long(STREAM_WHOLE, "", max + 1, "", p, &n), ERR_LIMIT);
        assert_int_equal(n, 0);
    }
}

/* An answer without end, of any kind, ends at the total. */
static void test_total_limit(void **state)
{
    (void)state;
    static const char line[] = "data: 0123456789\n\n";
    static const char comment[] = ": ping, but a longer one\n\n";
    static const char *const endless[] = {line, comment};
    for (size_t i = 0; i < 2; i++) {
        struct stream st;
        struct seen s;
        enum err err = OK;
        size_t total = 0;
        seen_init(&s, INT32_MAX);
        stream_init(&st, STREAM_SSE);
        for (; !err && total < 2 * STREAM_TOTAL_MAX; total += strlen(endless[i])) {
            err = stream_feed(&st, endless[i], strlen(endless[i]), on_event, &s);
        }
        assert_int_equal(err, ERR_LIMIT);
        assert_true(total - strlen(endless[i]) <= STREAM_TOTAL_MAX && total > STREAM_TOTAL_MAX);
        if (i == 0) assert_int_equal(s.n, STREAM_TOTAL_MAX / strlen(line));
        stream_clear(&st);
        buf_clear(&s.events);
    }
}

/* What comes after the end was seen costs nothing and is no error. */
static void test_after_done(void **state)
{
    (void)state;
    struct stream st;
    struct seen s;
    static char noise[65536];
    memset(noise, 'x', sizeof noise);
    seen_init(&s, INT32_MAX);
    stream_init(&st, STREAM_SSE);
    assert_int_equal(stream_feed(&st, "data: [DONE]\n\n", 14, on_event, &s), OK);
    for (size_t i = 0; i < 2 * STREAM_TOTAL_MAX / sizeof noise; i++) {
        assert_int_equal(stream_feed(&st, noise, sizeof noise, on_event, &s), OK);
    }
    assert_int_equal(st.line.cap, 0);
    assert_int_equal(stream_end(&st, on_event, &s), OK);
    assert_int_equal(stream_end(&st, on_event, &s), OK);
    assert_int_equal(s.n, 0);
    stream_clear(&st);
    buf_clear(&s.events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_error_field),
        cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_done),
        cmocka_unit_test(test_ends_without_newline),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_enough),
        cmocka_unit_test(test_event_limit),
        cmocka_unit_test(test_total_limit),
        cmocka_unit_test(test_after_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
