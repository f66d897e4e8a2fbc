/* Who may ask. See http_access.h. */
#include "serve/http_access.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>

/* Longest host that is looked at; a name of the DNS has at most 253 characters. */
#define HOST_MAX 256

bool http_access_has_token(const char *authorization, const char *token)
{
    static const char scheme[] = "Bearer";
    size_t scheme_len = sizeof scheme - 1;
    bool has_scheme = strncasecmp(authorization, scheme, scheme_len) == 0 && authorization[scheme_len] == ' ';
    const char *given = has_scheme ? authorization + scheme_len : "";
    given += strspn(given, " ");

    /* The loop takes the same steps whatever the two are and wherever they differ. */
    size_t given_len = strlen(given), token_len = strlen(token);
    volatile unsigned difference = given_len != token_len || !token_len || token_len > HTTP_TOKEN_MAX;
    for (size_t i = 0; i < HTTP_TOKEN_MAX; i++) {
        unsigned a = (unsigned char)given[i < given_len ? i : given_len];
        unsigned b = (unsigned char)token[i < token_len ? i : token_len];
        difference |= a ^ b;
    }
    return difference == 0;
}

/* The host without its port and brackets, in lower case. False if the value is not host or host:port. */
static bool split_host(const char *host, char name[HOST_MAX])
{
    bool is_bracketed = host[0] == '[';
    const char *begin = host + is_bracketed;
    size_t len = strcspn(begin, is_bracketed ? "]" : ":");
    if (!len || len >= HOST_MAX) return false;
    const char *rest = begin + len;
    if (is_bracketed && *rest++ != ']') return false;
    if (*rest == ':') {
        size_t n_digits = strspn(rest + 1, "0123456789");
        if (n_digits > 5) return false;
        rest += 1 + n_digits;
    }
    if (*rest) return false;
    for (size_t i = 0; i < len; i++) name[i] = (char)tolower((unsigned char)begin[i]);
    name[len] = '\0';
    return true;
}

bool http_access_is_loopback_host(const char *host)
{
    char name[HOST_MAX];
    struct in_addr ip4;
    struct in6_addr ip6;
    if (!split_host(host, name)) return false;
    if (host[0] == '[') return inet_pton(AF_INET6, name, &ip6) == 1 && IN6_IS_ADDR_LOOPBACK(&ip6);
    if (inet_pton(AF_INET, name, &ip4) == 1) return ntohl(ip4.s_addr) >> 24 == 127;
    return strcmp(name, "localhost") == 0;
}

bool http_access_is_host(const char *host, const char *address)
{
    char name[HOST_MAX];
    unsigned char a[sizeof(struct in6_addr)], b[sizeof(struct in6_addr)];
    if (!split_host(host, name)) return false;
    int family = host[0] == '[' ? AF_INET6 : AF_INET;
    size_t len = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    return inet_pton(family, name, a) == 1 && inet_pton(family, address, b) == 1 && memcmp(a, b, len) == 0;
}

bool http_access_lists_origin(const char *origin, const char *origins)
{
    size_t origin_len = strlen(origin);
    while (*origins) {
        origins += strspn(origins, " ");
        size_t len = strcspn(origins, " ");
        if (len == 1 && *origins == '*') return true;
        if (len && len == origin_len && strncasecmp(origins, origin, len) == 0) return true;
        origins += len;
    }
    return false;
}

bool http_access_is_same_origin(const char *origin, const char *host)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(origin, schemes[i], len) == 0) return host[0] && strcasecmp(origin + len, host) == 0;
    }
    return false;
}
