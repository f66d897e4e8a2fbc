/* Who may ask: the bearer token, Host (against DNS rebinding) and Origin (against pages of the web that find
 * the local port). Pure functions on header values; knows no connections. */
#ifndef SERVE_HTTP_ACCESS_H
#define SERVE_HTTP_ACCESS_H

#include <stdbool.h>

#define HTTP_TOKEN_MAX 512 /* longest bearer token in bytes */

/* Whether an Authorization header's value carries the token. The time taken depends on neither. */
bool http_access_has_token(const char *authorization, const char *token);

/* Whether a Host header's value, with or without a port, names this machine's loopback: localhost,
 * 127.0.0.0/8 or [::1]. */
bool http_access_is_loopback_host(const char *host);
/* Whether it is this numeric address ("192.168.1.5", "fe80::1"). */
bool http_access_is_host(const char *host, const char *address);

/* Whether the list (separated by spaces; "*": all) has this Origin. */
bool http_access_lists_origin(const char *origin, const char *origins);
/* Whether an Origin is http or https on the very host and port of the Host header. */
bool http_access_is_same_origin(const char *origin, const char *host);

#endif
