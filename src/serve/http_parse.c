/* One HTTP/1 request out of bytes. See http_parse.h.
 *
 * The lines of the head are followed here beside llhttp, which some releases let end at a lone CR or LF and
 * which joins folded lines: where two readers disagree about the end of a head, a request can be smuggled
 * past one of them. So every line must end in CR LF, no name may have white space around it (RFC 9112
 * section 5), and llhttp gets the head up to the empty line and must find its end there, too. */
#include "serve/http_parse.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define BODY_FAULT    "The request's body is larger than the server accepts; send less context."
#define VERSION_FAULT "This server speaks HTTP/1.1 and HTTP/1.0."

enum line_state {
    LINE_REQUEST,  /* in the request line */
    LINE_BEGIN,    /* at the first byte of a header, or of the empty line */
    LINE_NAME,     /* in a header's name */
    LINE_VALUE,    /* behind the colon */
    LINE_CR,       /* behind the CR of a line that is not empty */
    LINE_EMPTY_CR, /* behind the CR of the empty line */
};

static void fail(struct http_parse *p, int status, const char *fault)
{
    if (p->state == HTTP_PARSE_FAILED) return;
    p->state = HTTP_PARSE_FAILED;
    p->status = status;
    p->fault = fault;
}

/* What callbacks return after fail. */
static int fail_callback(struct http_parse *p, int status, const char *fault)
{
    fail(p, status, fault);
    return HPE_USER;
}

static struct http_parse *owner(llhttp_t *llhttp)
{
    return llhttp->data;
}

/* The head grows with what came, which n_head_bytes bounds, so that only memory can be short. */
static int add_to_head(struct http_parse *p, const char *bytes, size_t len)
{
    buf_add(&p->head, bytes, len);
    return p->head.err ? fail_callback(p, 503, "Not enough memory for the request's headers.") : 0;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    return add_to_head(owner(llhttp), at, len);
}

static int on_url_complete(llhttp_t *llhttp)
{
    struct http_parse *p = owner(llhttp);
    int err = add_to_head(p, "", 1);
    p->headers_at = p->head.len;
    return err;
}

/* Chunk extensions, and trailers behind the last chunk, are read and dropped, but not without end. */
static int drop(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http_parse *p = owner(llhttp);
    (void)at;
    p->n_dropped_bytes += (int64_t)len;
    if (p->n_dropped_bytes <= p->max_head_bytes) return 0;
    return fail_callback(p, 413,
                         "The body's chunk extensions and trailers are longer than the server accepts.");
}

static bool is_trailer(const struct http_parse *p)
{
    return p->state == HTTP_PARSE_BODY;
}

static int on_name(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http_parse *p = owner(llhttp);
    if (is_trailer(p)) return drop(llhttp, at, len);
    size_t begin = p->head.len;
    int err = add_to_head(p, at, len);
    for (size_t i = begin; i < p->head.len; i++)
        p->head.data[i] = (char)tolower((unsigned char)p->head.data[i]);
    return err;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http_parse *p = owner(llhttp);
    return is_trailer(p) ? drop(llhttp, at, len) : add_to_head(p, at, len);
}

static int on_name_complete(llhttp_t *llhttp)
{
    struct http_parse *p = owner(llhttp);
    return is_trailer(p) ? 0 : add_to_head(p, "", 1);
}

/* White space around a value is no part of it (RFC 9112 section 5.1); llhttp drops only what stands before.
 */
static int on_value_complete(llhttp_t *llhttp)
{
    struct http_parse *p = owner(llhttp);
    if (is_trailer(p)) return 0;
    size_t len = p->head.len;
    while (len && (p->head.data[len - 1] == ' ' || p->head.data[len - 1] == '\t')) len--;
    buf_truncate(&p->head, len);
    p->n_headers++;
    return add_to_head(p, "", 1);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Append the path of an origin-form target, percent-decoded, to the head. Control characters, which would end
 * the string or a line of the log, are refused. */
static bool decode_path(struct http_parse *p, size_t begin, size_t len)
{
    for (size_t i = begin; i < begin + len; i++) {
        int c = (unsigned char)p->head.data[i];
        if (c == '%') {
            if (i + 2 >= begin + len) return false;
            int high = hex_digit(p->head.data[i + 1]), low = hex_digit(p->head.data[i + 2]);
            if (high < 0 || low < 0) return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f) return false;
        buf_add_char(&p->head, (char)c);
    }
    buf_add_char(&p->head, '\0');
    return true;
}

/* Where the path begins in the target. An absolute target, as a proxy gets it, must name the Host that the
 * header names (RFC 9112 section 3.2.2): access is judged by the header. */
static bool find_path(const struct http_parse *p, const char *target, size_t *begin)
{
    *begin = 0;
    if (target[0] == '/') return true;
    if (strcmp(target, "*") == 0) return p->llhttp.method == HTTP_OPTIONS;
    if (strncasecmp(target, "http://", 7) != 0) return false;
    size_t len = strcspn(target + 7, "/?");
    const char *host = http_parse_header(p, "host");
    *begin = 7 + len;
    return target[*begin] == '/' && strlen(host) == len && strncasecmp(host, target + 7, len) == 0;
}

/* Split the target; views into the head are taken last, when it has stopped growing. */
static void read_target(struct http_parse *p)
{
    size_t begin, path_at = p->head.len;
    if (!find_path(p, p->head.data, &begin)) {
        fail(p, 400, "The request's target must be a path like /health, on the host that Host names.");
        return;
    }
    size_t len = strcspn(p->head.data + begin, "?");
    size_t query_at = p->head.data[begin + len] == '?' ? begin + len + 1 : begin + len;
    if (strchr(p->head.data, '#') || !decode_path(p, begin, len)) {
        fail(p, 400, "The request's path holds a bad % escape, a control character or a fragment.");
    } else if (p->head.err) {
        fail(p, 503, "Not enough memory for the request's headers.");
    } else {
        p->request.path = p->head.data + path_at;
        p->request.query = p->head.data + query_at;
    }
}

static int32_t count_headers(const struct http_parse *p, const char *name)
{
    int32_t n = 0;
    const char *at = p->head.data + p->headers_at;
    for (int32_t i = 0; i < p->n_headers; i++) {
        n += strcmp(at, name) == 0;
        at += strlen(at) + 1;
        at += strlen(at) + 1;
    }
    return n;
}

/* The headers that access depends on must not leave a choice. */
static void check_headers(struct http_parse *p)
{
    if (count_headers(p, "host") > 1 || count_headers(p, "origin") > 1 ||
        count_headers(p, "authorization") > 1) {
        fail(p, 400, "Host, Origin and Authorization may be given once only.");
    } else if (!p->is_http_1_0 && count_headers(p, "host") == 0) {
        fail(p, 400, "An HTTP/1.1 request needs a Host header.");
    } else if (p->is_http_1_0 && count_headers(p, "transfer-encoding") > 0) {
        fail(p, 400, "An HTTP/1.0 request has no Transfer-Encoding; send Content-Length or use HTTP/1.1.");
    } else if (count_headers(p, "transfer-encoding") > 0 &&
               strcasecmp(http_parse_header(p, "transfer-encoding"), "chunked") != 0) {
        fail(p, 501, "The only Transfer-Encoding understood is chunked.");
    }
    const char *expect = http_parse_header(p, "expect");
    p->expects_continue = strcasecmp(expect, "100-continue") == 0 && !p->is_http_1_0;
    if (expect[0] && strcasecmp(expect, "100-continue") != 0)
        fail(p, 417, "The only Expect understood is 100-continue.");
}

/* The end of line and headers. llhttp calls this before the body is looked at. */
static int on_head_complete(llhttp_t *llhttp)
{
    struct http_parse *p = owner(llhttp);
    p->is_http_1_0 = llhttp->http_minor == 0;
    p->is_head = llhttp->method == HTTP_HEAD;
    p->keep_alive = llhttp_should_keep_alive(llhttp);
    p->request.method = llhttp_method_name(p->is_head ? HTTP_GET : (llhttp_method_t)llhttp->method);
    p->request.path = p->request.query = p->request.body = "";
    if (llhttp->http_major != 1 || llhttp->http_minor > 1) fail(p, 505, VERSION_FAULT);
    if (llhttp->method == HTTP_CONNECT) fail(p, 501, "CONNECT is not served: this is no proxy.");
    if (p->state == HTTP_PARSE_HEAD) check_headers(p);
    if (p->state == HTTP_PARSE_HEAD) read_target(p);
    if ((llhttp->flags & F_CONTENT_LENGTH) && llhttp->content_length > p->body.max) fail(p, 413, BODY_FAULT);
    if (p->state == HTTP_PARSE_FAILED) return HPE_USER;
    p->state = HTTP_PARSE_BODY;
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct http_parse *p = owner(llhttp);
    buf_add(&p->body, at, len);
    if (p->body.err == ERR_LIMIT) return fail_callback(p, 413, BODY_FAULT);
    if (p->body.err) return fail_callback(p, 503, "Not enough memory for the request's body.");
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct http_parse *p = owner(llhttp);
    p->request.body = buf_str(&p->body);
    p->request.body_len = p->body.len;
    p->state = HTTP_PARSE_DONE;
    return HPE_PAUSED; /* what follows is the next request's */
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_chunk_extension_name = drop,
    .on_chunk_extension_value = drop,
    .on_headers_complete = on_head_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_parse_init(struct http_parse *p, int32_t max_head_bytes, int64_t max_body_bytes)
{
    *p = (struct http_parse){.max_head_bytes = max_head_bytes};
    /* The head's copy is no longer than the head; the decoded path no longer than the target. */
    buf_init(&p->head, 2 * (size_t)max_head_bytes + 16);
    buf_init(&p->body, (size_t)max_body_bytes);
    http_parse_reset(p);
}

void http_parse_reset(struct http_parse *p)
{
    buf_clear(&p->head);
    buf_clear(&p->body);
    llhttp_init(&p->llhttp, HTTP_REQUEST, &settings);
    p->llhttp.data = p;
    p->state = HTTP_PARSE_START;
    p->request = (struct http_request){0};
    p->n_head_bytes = 0;
    p->n_dropped_bytes = 0;
    p->line_state = LINE_REQUEST;
    p->headers_at = 0;
    p->n_headers = 0;
    p->fault = NULL;
    p->status = 0;
}

/* Hand bytes to llhttp; returns how many it took. */
static size_t execute(struct http_parse *p, const char *bytes, size_t len)
{
    enum llhttp_errno err = llhttp_execute(&p->llhttp, bytes, len);
    if (err == HPE_OK) return len;
    size_t taken = (size_t)(llhttp_get_error_pos(&p->llhttp) - bytes);
    if (err == HPE_PAUSED && p->state == HTTP_PARSE_DONE) return taken;
    if (err == HPE_INVALID_VERSION || err == HPE_PAUSED_H2_UPGRADE) fail(p, 505, VERSION_FAULT);
    fail(p, 400, llhttp_get_error_reason(&p->llhttp));
    return taken <= len ? taken : len;
}

/* Follow the lines of the head over one byte. False: not as lines must be. *is_end: the empty line's last
 * byte. */
static bool step_line(struct http_parse *p, char c, bool *is_end)
{
    bool is_space = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    switch ((enum line_state)p->line_state) {
    case LINE_BEGIN:
        p->line_state = c == '\r' ? LINE_EMPTY_CR : LINE_NAME;
        return !is_space || c == '\r';
    case LINE_NAME:
        if (c == ':') p->line_state = LINE_VALUE;
        return !is_space;
    case LINE_REQUEST:
    case LINE_VALUE:
        if (c == '\r') p->line_state = LINE_CR;
        return c != '\n';
    case LINE_CR:
        p->line_state = LINE_BEGIN;
        return c == '\n';
    case LINE_EMPTY_CR:
        *is_end = c == '\n';
        return c == '\n';
    }
    return false;
}

static size_t feed_head(struct http_parse *p, const char *bytes, size_t len)
{
    size_t n = 0, room = (size_t)(p->max_head_bytes - p->n_head_bytes);
    bool is_end = false;
    while (n < len && n < room && !is_end) {
        if (!step_line(p, bytes[n], &is_end)) {
            fail(p, 400, "The request's head must be lines of NAME: VALUE, each ending in CR LF.");
            return n;
        }
        n++;
    }
    p->n_head_bytes += (int32_t)n;
    size_t taken = execute(p, bytes, n);
    if (is_end == (p->state == HTTP_PARSE_HEAD)) {
        fail(p, 400, "The request's head does not end where its empty line is.");
    } else if (p->state == HTTP_PARSE_HEAD && n == room && n < len) {
        fail(p, 431, "The request's line and headers are longer than the server accepts.");
    }
    return taken;
}

size_t http_parse_feed(struct http_parse *p, const char *bytes, size_t len)
{
    size_t at = 0;
    if (p->state == HTTP_PARSE_START) { /* empty lines before a request are allowed (RFC 9112 section 2.2) */
        while (at < len && (bytes[at] == '\r' || bytes[at] == '\n')) at++;
        if (at < len) p->state = HTTP_PARSE_HEAD;
    }
    if (at == len) return at;
    if (p->state == HTTP_PARSE_HEAD) return at + feed_head(p, bytes + at, len - at);
    if (p->state == HTTP_PARSE_BODY) return at + execute(p, bytes + at, len - at);
    return at;
}

const char *http_parse_header(const struct http_parse *p, const char *name)
{
    const char *at = buf_str(&p->head) + p->headers_at;
    for (int32_t i = 0; i < p->n_headers; i++) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0) return value;
        at = value + strlen(value) + 1;
    }
    return "";
}
