/* Reading the address of a team's server, and resolving its host without waiting. */
#include "store/team_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "os/thread.h"

#define PORT_DEFAULT 6379 /* of Redis and Valkey */
#define HOST_MAX     255  /* bytes of a host's name, RFC 1035 */
#define PART_MAX     1024 /* bytes of a user or a password, far more than servers take */
#define DATABASE_MAX 65535

/* ---- Reading ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A part of the address with its percent-encoding undone; null: it is empty. Not null on failure either. */
static enum err decode_part(const char *part, size_t len, const char *what, char **out, struct errmsg *msg)
{
    *out = NULL;
    if (len == 0) return OK;
    if (len > PART_MAX) return err_set(msg, ERR_ARG, "the team's address: the %s is too long", what);
    char *to = *out = mem_new(len + 1);
    for (size_t i = 0; i < len; i++) {
        if (part[i] != '%') {
            *to++ = part[i];
            continue;
        }
        int high = i + 2 < len ? hex_digit(part[i + 1]) : -1;
        int low = i + 2 < len ? hex_digit(part[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0) {
            return err_set(msg, ERR_ARG, "the team's address: %% in the %s needs two hexadecimal digits",
                           what);
        }
        *to++ = (char)(high * 16 + low);
        i += 2;
    }
    return OK;
}

/* A number without a sign at s, up to its end; -1: no such number. */
static long read_number(const char *s, long max)
{
    char *end;
    if (s[0] < '0' || s[0] > '9') return -1;
    long n = strtol(s, &end, 10);
    return *end || n > max ? -1 : n;
}

static char *copy_bytes(const char *bytes, size_t len)
{
    char *copy = mem_new(len + 1);
    memcpy(copy, bytes, len);
    return copy;
}

/* HOST[:PORT][/DB]; an IPv6 address stands in brackets. */
static enum err parse_place(const char *place, struct team_address *out, struct errmsg *msg)
{
    bool is_v6 = place[0] == '[';
    const char *host = place + is_v6;
    size_t len = strcspn(host, is_v6 ? "]" : ":/");
    const char *rest = host + len;
    if (is_v6 && *rest++ != ']') {
        return err_set(msg, ERR_ARG, "the team's address: [ without ]");
    }
    if (len == 0 || len > HOST_MAX) return err_set(msg, ERR_ARG, "the team's address: it names no host");
    out->host = copy_bytes(host, len);

    const char *slash = strchr(rest, '/');
    if (slash && slash[1]) {
        out->database = (int32_t)read_number(slash + 1, DATABASE_MAX);
        if (out->database < 0) {
            return err_set(msg, ERR_ARG, "the team's address: '%s' is no number of a database", slash + 1);
        }
    }
    char port[8] = "";
    size_t port_len = slash ? (size_t)(slash - rest) : strlen(rest);
    long number = port_len == 0 ? PORT_DEFAULT : -1;
    if (rest[0] == ':' && port_len <= sizeof port) {
        memcpy(port, rest + 1, port_len - 1);
        number = read_number(port, UINT16_MAX);
    }
    if (number <= 0) return err_set(msg, ERR_ARG, "the team's address: the port is not in 1 to 65535");
    out->port = (uint16_t)number;
    snprintf(out->name, sizeof out->name, is_v6 ? "[%s]:%u" : "%s:%u", out->host, (unsigned)out->port);
    return OK;
}

/* [[USER]:PASSWORD@]HOST..., split at the last @, so that one in the password does no harm. */
static enum err parse_redis(const char *rest, struct team_address *out, struct errmsg *msg)
{
    const char *at = strrchr(rest, '@');
    if (!at) return parse_place(rest, out, msg);
    const char *colon = memchr(rest, ':', (size_t)(at - rest));
    if (!colon) {
        return err_set(msg, ERR_ARG, "the team's address: before the @ there has to be USER:PASSWORD");
    }
    enum err err = decode_part(rest, (size_t)(colon - rest), "user", &out->user, msg);
    if (!err) err = decode_part(colon + 1, (size_t)(at - colon - 1), "password", &out->password, msg);
    return err ? err : parse_place(at + 1, out, msg);
}

static enum err parse_unix(const char *path, struct team_address *out, struct errmsg *msg)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&out->endpoints[0].address;
    size_t len = strlen(path);
    if (path[0] != '/') return err_set(msg, ERR_ARG, "the team's address: '%s' does not begin with /", path);
    if (len >= sizeof address->sun_path) {
        return err_set(msg, ERR_ARG, "the team's address: '%s' is too long for a socket", path);
    }
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, len + 1);
    out->endpoints[0].len = sizeof *address;
    out->n_endpoints = 1;
    out->path = mem_dup_str(path);
    snprintf(out->name, sizeof out->name, "%s", path);
    return OK;
}

enum err team_address_parse(const char *url, struct team_address *out, struct errmsg *msg)
{
    *out = (struct team_address){0};
    enum err err;
    if (strncmp(url, "redis://", 8) == 0) {
        err = parse_redis(url + 8, out, msg);
    } else if (strncmp(url, "unix:", 5) == 0) {
        err = parse_unix(url + 5, out, msg);
    } else {
        err = err_set(msg, ERR_ARG, "the team's address begins neither with redis:// nor with unix:");
    }
    if (err) team_address_clear(out);
    return err;
}

/* ---- Resolving ---- */

struct team_resolution {
    atomic_int n_owners; /* the address, and the thread */
    atomic_bool is_done; /* written last; all below is constant from then on */
    char host[HOST_MAX + 1];
    uint16_t port;
    int failure; /* of getaddrinfo */
    struct team_endpoint endpoints[TEAM_ENDPOINTS_MAX];
    int32_t n_endpoints;
};

static void resolution_drop(struct team_resolution *r)
{
    /* acq_rel: whoever is last sees all that the other one wrote. */
    if (atomic_fetch_sub_explicit(&r->n_owners, 1, memory_order_acq_rel) == 1) mem_free(r);
}

/* flags as for getaddrinfo. Returns its failure. */
static int look_up(const char *host, uint16_t port, int flags, struct team_endpoint *endpoints, int32_t *n)
{
    struct addrinfo hints = {.ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int failure = getaddrinfo(host, service, &hints, &found);
    if (failure) return failure;
    *n = 0;
    for (struct addrinfo *a = found; a && *n < TEAM_ENDPOINTS_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof endpoints->address) continue;
        memcpy(&endpoints[*n].address, a->ai_addr, a->ai_addrlen);
        endpoints[(*n)++].len = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return *n > 0 ? 0 : EAI_NONAME;
}

static void resolve(void *ctx)
{
    struct team_resolution *r = ctx;
    r->failure = look_up(r->host, r->port, AI_ADDRCONFIG, r->endpoints, &r->n_endpoints);
    atomic_store_explicit(&r->is_done, true, memory_order_release); /* publishes the result */
    resolution_drop(r);
}

static enum err resolution_start(struct team_address *a, struct errmsg *msg)
{
    struct team_resolution *r = MEM_NEW(struct team_resolution);
    snprintf(r->host, sizeof r->host, "%s", a->host);
    r->port = a->port;
    atomic_init(&r->n_owners, 2);
    enum err err = thread_start(resolve, r, msg);
    if (err) {
        mem_free(r);
        return ERR_NETWORK;
    }
    a->resolution = r;
    return ERR_LIMIT;
}

enum err team_address_resolve(struct team_address *a, struct errmsg *msg)
{
    if (a->n_endpoints > 0) return OK;
    struct team_resolution *r = a->resolution;
    if (!r) {
        if (look_up(a->host, a->port, AI_NUMERICHOST, a->endpoints, &a->n_endpoints) == 0) return OK;
        return resolution_start(a, msg);
    }
    if (!atomic_load_explicit(&r->is_done, memory_order_acquire)) return ERR_LIMIT; /* pairs with resolve */
    enum err err = OK;
    if (r->failure) {
        err = err_set(msg, ERR_NETWORK, "%s: %s", a->host, gai_strerror(r->failure));
    } else {
        memcpy(a->endpoints, r->endpoints, sizeof a->endpoints);
        a->n_endpoints = r->n_endpoints;
    }
    a->resolution = NULL;
    resolution_drop(r);
    return err;
}

void team_address_forget(struct team_address *a)
{
    if (a->host) a->n_endpoints = 0;
}

/* ---- The end ---- */

static void wipe(char **secret)
{
    if (*secret) explicit_bzero(*secret, strlen(*secret));
    mem_free(*secret);
    *secret = NULL;
}

void team_address_clear(struct team_address *a)
{
    if (a->resolution) resolution_drop(a->resolution);
    wipe(&a->user);
    wipe(&a->password);
    mem_free(a->host);
    mem_free(a->path);
    *a = (struct team_address){0};
}
