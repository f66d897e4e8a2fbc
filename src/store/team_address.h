/* Where a team's server is, and how to sign in there.
 *
 * Names of hosts are looked up by a thread of their own, because the system's resolver may take seconds;
 * until it has answered there is no address. Thread: one owner. */
#ifndef STORE_TEAM_ADDRESS_H
#define STORE_TEAM_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

#define TEAM_ENDPOINTS_MAX 4 /* a host's addresses that are tried; usually one for each version of IP */

struct team_endpoint {
    struct sockaddr_storage address;
    socklen_t len;
};

struct team_resolution;

struct team_address {
    char *user, *password; /* owned, not to be logged; null: none */
    char *host, *path;     /* owned; one of them */
    uint16_t port;
    int32_t database;
    char name[300]; /* for people: "HOST:PORT" or the path, without what is secret */

    struct team_endpoint endpoints[TEAM_ENDPOINTS_MAX];
    int32_t n_endpoints;                /* 0: not resolved */
    struct team_resolution *resolution; /* under way, or null; shared with its thread */
};

/* The form is in team_cache.h; user and password may be percent-encoded (RFC 3986). ERR_ARG: no such
 * address; the message holds no password. */
MUST_CHECK enum err team_address_parse(const char *url, struct team_address *out, struct errmsg *msg);
void team_address_clear(struct team_address *a);

/* Returns at once. OK: the endpoints are there. ERR_LIMIT: ask again later. Else the host is not known; the
 * next call asks the system anew. */
MUST_CHECK enum err team_address_resolve(struct team_address *a, struct errmsg *msg);
/* Nobody answers at these endpoints: the host may have moved. */
void team_address_forget(struct team_address *a);

#endif
