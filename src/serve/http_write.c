/* What is sent on a connection: answers whole or in chunks, and the bytes of upgraded streams.
 *
 * Every function may be called on a connection that has failed; it then does nothing, and the user hears of
 * the end from the loop. Sending that completes at once is reported by the loop, too, so that nothing here
 * calls a user. */
#include "serve/http_impl.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"

/* Of the lines that http_extra_header adds. */
#define EXTRA_MAX 8192

/* An answer's body is made by the server itself, so this only keeps sums from overflowing. */
#define ANSWER_MAX (SIZE_MAX / 4)

struct out {
    uv_write_t write;
    struct http_conn *conn;
    char *bytes;
};

static void on_written(uv_write_t *write, int status)
{
    struct out *out = (struct out *)write;
    struct http_conn *c = out->conn;
    mem_free(out->bytes);
    mem_free(out);
    c->n_writes--;
    if (c->state == CONN_CLOSED) return;
    if (status < 0) {
        http_conn_close(c);
        http_conn_tell_end(c);
    } else if (!c->n_writes || c->state == CONN_OPENING) {
        http_conn_on_sent(c);
    }
}

void http_write_take(struct http_conn *c, struct buf *bytes)
{
    struct out *out = NULL;
    uv_buf_t part;
    if (c->state == CONN_CLOSED) goto fail;
    if (bytes->err || bytes->len > UINT32_MAX / 2) goto cut; /* libuv counts a part's bytes in 32 bits */
    out = mem_try(1, sizeof *out);
    if (!out) goto cut;
    part = uv_buf_init(bytes->data, (unsigned)bytes->len);
    out->conn = c;
    out->bytes = buf_take(bytes);
    if (uv_write(&out->write, &c->uv.stream, &part, 1, on_written)) {
        mem_free(out->bytes);
        goto cut;
    }
    c->n_writes++;
    return;
cut:
    mem_free(out);
    http_conn_close(c);
fail:
    buf_clear(bytes);
}

/* A reader that lets this much wait is cut off. What is about to be added does not count, so that a piece of
 * any size reaches a client that reads. */
static bool is_over_bound(struct http_conn *c)
{
    size_t waiting = uv_stream_get_write_queue_size(&c->uv.stream);
    return waiting > (uint64_t)c->server->options.limits.max_unsent_bytes;
}

static void add_header(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s: ", name);
    for (; *value; value++) { /* nothing may end the line early */
        if ((unsigned char)*value >= 0x20 || *value == '\t') buf_add_char(out, *value);
    }
    buf_add_str(out, "\r\n");
}

/* RFC 9110 section 5.6.7. Not strftime, whose names follow the locale. */
static void add_date(struct buf *out)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm t;
    if (!gmtime_r(&now, &t)) return;
    buf_printf(out, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", days[t.tm_wday], t.tm_mday,
               months[t.tm_mon], 1900 + t.tm_year, t.tm_hour, t.tm_min, t.tm_sec);
}

/* The part of the head that all answers share, up to the framing of the body. */
static void add_head(struct http_exchange *x, struct buf *out, int status, const char *content_type)
{
    struct http_conn *c = x->conn;
    const char *origin = http_parse_header(&c->parse, "origin");
    const char *reason = llhttp_status_name((llhttp_status_t)status);
    if (c->server->is_draining) x->keep_alive = false;
    buf_printf(out, "HTTP/1.1 %d %s\r\n", status, reason ? reason : "");
    add_date(out);
    if (content_type && content_type[0]) add_header(out, "Content-Type", content_type);
    if (origin[0] && c->allows_origin) {
        add_header(out, "Access-Control-Allow-Origin", origin);
        buf_add_str(out, "Vary: Origin\r\n");
    }
    if (!x->keep_alive) {
        buf_add_str(out, "Connection: close\r\n");
    } else if (c->parse.is_http_1_0) {
        buf_add_str(out, "Connection: keep-alive\r\n");
    }
    buf_add(out, buf_str(&x->extra), x->extra.len);
}

/* The exchange is over for its user. */
static void end_exchange(struct http_exchange *x)
{
    struct http_conn *c = x->conn;
    assert(c->has_exchange); /* answered once */
    buf_clear(&x->extra);
    c->has_exchange = false;
    http_server_touch(c->server);
    if (c->state == CONN_CLOSED) return;
    c->state = CONN_FLUSHING;
    http_server_set_deadline(c, c->server->options.limits.body_seconds);
    if (!c->n_writes)
        http_conn_close(c); /* only a body that ends with its connection leaves nothing to send */
}

void http_answer(struct http_exchange *x, int status, const char *content_type, const char *body, size_t len)
{
    struct buf out;
    bool has_body = status != 204 && status != 304;
    buf_init(&out, ANSWER_MAX);
    add_head(x, &out, status, content_type);
    if (has_body) buf_printf(&out, "Content-Length: %zu\r\n", len);
    buf_add_str(&out, "\r\n");
    if (has_body && !x->conn->parse.is_head) buf_add(&out, body, len);
    http_write_take(x->conn, &out);
    end_exchange(x);
}

void http_error(struct http_exchange *x, int status, const char *type, const char *fmt, ...)
{
    char text[1024];
    struct buf body;
    struct json j;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_init(&body, 8 * sizeof text); /* escapes are at most six times as long */
    json_init(&j, &body);
    json_begin_object(&j, NULL);
    json_begin_object(&j, "error");
    json_int(&j, "code", status);
    json_str(&j, "message", text);
    json_str(&j, "type", type);
    json_end_object(&j);
    json_end_object(&j);
    http_answer(x, status, "application/json", buf_str(&body), body.len);
    buf_clear(&body);
}

void http_extra_header(struct http_exchange *x, const char *name, const char *value)
{
    if (!x->extra.max) buf_init(&x->extra, EXTRA_MAX);
    size_t len = x->extra.len;
    add_header(&x->extra, name, value);
    if (x->extra.err) buf_truncate(&x->extra, len); /* no half lines; those before it stay */
}

void http_begin(struct http_exchange *x, int status, const char *content_type)
{
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    x->is_chunked = !x->conn->parse.is_http_1_0 && !x->conn->parse.is_head;
    if (!x->is_chunked) x->keep_alive = false;
    add_head(x, &out, status, content_type);
    if (x->is_chunked) buf_add_str(&out, "Transfer-Encoding: chunked\r\n");
    buf_add_str(&out, "\r\n");
    http_write_take(x->conn, &out);
}

void http_write(struct http_exchange *x, const char *bytes, size_t len)
{
    struct http_conn *c = x->conn;
    struct buf out;
    if (!len || c->state == CONN_CLOSED || c->parse.is_head) return; /* an empty chunk would end the body */
    if (is_over_bound(c)) {
        http_conn_close(c);
        return;
    }
    buf_init(&out, ANSWER_MAX);
    if (x->is_chunked) buf_printf(&out, "%zx\r\n", len);
    buf_add(&out, bytes, len);
    if (x->is_chunked) buf_add_str(&out, "\r\n");
    http_write_take(c, &out);
}

void http_end(struct http_exchange *x)
{
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    if (x->is_chunked) {
        buf_add_str(&out, "0\r\n\r\n");
        http_write_take(x->conn, &out);
    }
    end_exchange(x);
}

struct http_stream *http_upgrade(struct http_exchange *x, const char *protocol,
                                 const struct http_stream_handler *h)
{
    struct http_conn *c = x->conn;
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    buf_add_str(&out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n");
    add_header(&out, "Upgrade", protocol);
    buf_add(&out, buf_str(&x->extra), x->extra.len);
    buf_add_str(&out, "\r\n");
    http_write_take(c, &out);
    buf_clear(&x->extra);
    c->has_exchange = false;
    c->has_stream = true;
    c->upgraded = (struct http_stream){.conn = c, .handler = *h};
    http_server_touch(c->server);
    if (c->state != CONN_CLOSED) c->state = CONN_OPENING;
    return &c->upgraded;
}

void http_stream_write(struct http_stream *s, const char *bytes, size_t len)
{
    struct http_conn *c = s->conn;
    struct buf out;
    if (!len || (c->state != CONN_STREAM && c->state != CONN_OPENING)) return;
    if (is_over_bound(c)) {
        http_conn_close(c);
        return;
    }
    buf_init(&out, ANSWER_MAX);
    buf_add(&out, bytes, len);
    http_write_take(c, &out);
}

void http_stream_close(struct http_stream *s)
{
    struct http_conn *c = s->conn;
    if (c->state != CONN_STREAM && c->state != CONN_OPENING) return;
    c->state = CONN_STREAM_ENDING;
    http_server_set_deadline(c, c->server->options.limits.body_seconds);
    if (!c->n_writes) http_conn_close(c);
}
