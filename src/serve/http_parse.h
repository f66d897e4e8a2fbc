/* One HTTP/1 request out of bytes, however they are cut (RFC 9112). llhttp reads the grammar; this module
 * holds it to the strict reading, keeps lines, headers and body within their limits, and says which answer a
 * request deserves that cannot be read.
 *
 * Knows no sockets. Memory is taken as bytes come, never as they are announced, and given back by reset. */
#ifndef SERVE_HTTP_PARSE_H
#define SERVE_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#include "base/buf.h"
#include "serve/http.h"

enum http_parse_state {
    HTTP_PARSE_START,  /* no byte of a request yet */
    HTTP_PARSE_HEAD,   /* in the request line or the headers */
    HTTP_PARSE_BODY,   /* line and headers are complete and may be asked for; a body follows */
    HTTP_PARSE_DONE,   /* the request is complete */
    HTTP_PARSE_FAILED, /* status and fault say why; nothing more can be read from this connection */
};

struct http_parse {
    enum http_parse_state state;
    struct http_request request; /* from HTTP_PARSE_BODY on; body and its length in HTTP_PARSE_DONE */
    bool is_head;                /* the method is HEAD, which request.method gives as GET */
    bool keep_alive;             /* the client can take another answer on this connection */
    bool is_http_1_0;
    bool expects_continue;

    int status; /* HTTP_PARSE_FAILED: the answer's status and a sentence */
    const char *fault;

    /* The rest is private. */
    llhttp_t llhttp;
    int32_t max_head_bytes;
    int32_t n_head_bytes;
    int64_t n_dropped_bytes; /* chunk extensions and trailers */
    unsigned char line_state;
    struct buf head; /* target and headers, each name and value ending in NUL, then the decoded path */
    struct buf body;
    size_t headers_at;
    int32_t n_headers;
};

void http_parse_init(struct http_parse *p, int32_t max_head_bytes, int64_t max_body_bytes);
/* Ready for the next request; frees the memory of the last. */
void http_parse_reset(struct http_parse *p);

/* Read on. Returns the number of bytes taken: fewer than len where the headers end (so that a caller may
 * refuse the body), where the request ends, and on failure. */
size_t http_parse_feed(struct http_parse *p, const char *bytes, size_t len);

/* The value of the first header of that name (in lower case); "" if absent. From HTTP_PARSE_BODY on. */
const char *http_parse_header(const struct http_parse *p, const char *name);

#endif
