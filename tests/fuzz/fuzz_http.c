/* Fuzz target: HTTP requests out of any bytes, however they are cut.
 *
 * The first byte says how long the pieces are in which the rest arrives (0: all at once). Whatever comes, the
 * parser must take bytes or say why not, keep to its limits, and read the same requests from pieces as from
 * the whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/http_access.h"
#include "serve/http_parse.h"

#define HEAD_MAX 1024
#define BODY_MAX 256

/* More requests than this in one input prove nothing new. */
#define REQUESTS_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

/* What is compared between two readings. */
struct reading {
    int n_done;
    enum http_parse_state last;
    int status;
    uint64_t hash; /* FNV-1a of methods, paths, queries, hosts and bodies */
};

static void hash_bytes(struct reading *r, const char *bytes, size_t len)
{
    for (size_t i = 0; i <= len; i++) { /* with the NUL that ends it */
        r->hash ^= (unsigned char)bytes[i];
        r->hash *= UINT64_C(0x100000001b3);
    }
}

static void check_request(const struct http_parse *p, struct reading *r)
{
    const struct http_request *request = &p->request;
    const char *host = http_parse_header(p, "host");
    check(request->path[0] == '/' || strcmp(request->path, "*") == 0);
    check(strlen(request->path) < HEAD_MAX && strlen(request->query) < HEAD_MAX);
    check(request->body_len <= BODY_MAX && request->body[request->body_len] == '\0');
    check(!(http_access_is_loopback_host(host) && strchr(host, ' ')));
    hash_bytes(r, request->method, strlen(request->method));
    hash_bytes(r, request->path, strlen(request->path));
    hash_bytes(r, request->query, strlen(request->query));
    hash_bytes(r, host, strlen(host));
    hash_bytes(r, request->body, request->body_len);
}

/* Each piece is a block of its own, so that the address sanitizer sees reads past its end. */
static struct reading read_requests(const char *bytes, size_t len, size_t piece_len)
{
    struct http_parse p;
    struct reading r = {0};
    size_t at = 0;
    http_parse_init(&p, HEAD_MAX, BODY_MAX);
    while (at < len && p.state != HTTP_PARSE_FAILED && r.n_done < REQUESTS_MAX) {
        size_t n = piece_len < len - at ? piece_len : len - at;
        char *piece = mem_new(n);
        memcpy(piece, bytes + at, n);
        size_t taken = http_parse_feed(&p, piece, n);
        mem_free(piece);
        check(taken <= n && (taken > 0 || p.state == HTTP_PARSE_FAILED));
        at += taken;
        if (p.state != HTTP_PARSE_DONE) continue;
        check_request(&p, &r);
        r.n_done++;
        http_parse_reset(&p);
    }
    r.last = p.state;
    r.status = p.status;
    if (p.state == HTTP_PARSE_FAILED) check(p.status >= 400 && p.status < 600 && p.fault && p.fault[0]);
    http_parse_reset(&p);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const char *bytes = (const char *)data + 1;
    struct reading whole = read_requests(bytes, size - 1, size);
    struct reading pieces = read_requests(bytes, size - 1, data[0] ? data[0] : size);
    check(whole.n_done == pieces.n_done && whole.hash == pieces.hash);
    check(whole.last == pieces.last);
    return 0;
}
