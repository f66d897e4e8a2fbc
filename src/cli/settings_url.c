/* Lists of base URLs, as they stand in settings. See settings_url.h.
 *
 * Judged by hand and not by libcurl, which takes longer to load than all settings take to read: the form is
 * narrower than RFC 3986's, and what passes here is a URL there. */
#include "cli/settings_url.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "remote/remote.h"

bool settings_url_next(const char **rest, const char **url, size_t *len)
{
    *url = *rest + strspn(*rest, ", \t");
    *len = strcspn(*url, ", \t");
    *rest = *url + *len;
    return *len > 0;
}

/* A URL's parts, as far as they matter here: views. */
struct url {
    bool is_https;
    const char *host, *port; /* port: "" if there is none */
    size_t host_len, port_len;
};

/* False: it is none. */
static bool split_url(const char *url, size_t len, struct url *out)
{
    out->is_https = len > 8 && strncasecmp(url, "https://", 8) == 0;
    if (!out->is_https && (len <= 7 || strncasecmp(url, "http://", 7) != 0)) return false;
    out->host = url + (out->is_https ? 8 : 7);
    size_t left = len - (size_t)(out->host - url);
    const char *slash = memchr(out->host, '/', left);
    if (slash) left = (size_t)(slash - out->host);
    const char *bracket = left > 0 && *out->host == '[' ? memchr(out->host, ']', left) : NULL;
    const char *from = bracket ? bracket : out->host; /* colons within brackets are IPv6's */
    const char *colon = memchr(from, ':', left - (size_t)(from - out->host));
    out->host_len = colon ? (size_t)(colon - out->host) : left;
    out->port = colon ? colon + 1 : "";
    out->port_len = colon ? left - out->host_len - 1 : 0;
    return true;
}

static bool is_host(const char *host, size_t len)
{
    const char *also = "-._"; /* besides letters and digits */
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
        also = ".:";
    }
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool is_usual = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_usual && !strchr(also, c)) return false;
    }
    return len > 0;
}

static bool is_port(const char *port, size_t len)
{
    long number = 0;
    for (size_t i = 0; i < len && i < 6; i++) {
        if (port[i] < '0' || port[i] > '9') return false;
        number = number * 10 + (port[i] - '0');
    }
    return len <= 5 && (len == 0 || number > 0) && number <= 65535;
}

/* Bytes sent there do not leave this machine, whatever a name service says. */
static bool is_loopback(const struct url *u)
{
    char host[64];
    struct in_addr v4;
    struct in6_addr v6;
    if (u->host_len >= sizeof host) return false;
    memcpy(host, u->host, u->host_len);
    host[u->host_len] = '\0';
    if (strcasecmp(host, "localhost") == 0) return true;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    if (host[0] != '[') return false;
    host[u->host_len - 1] = '\0';
    return inet_pton(AF_INET6, host + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* For requests a path is added at its end, so that a query has no place. */
static enum err check_url(const char *url, size_t len, struct errmsg *why)
{
    struct url u;
    int shown = (int)(len < REMOTE_NAME_MAX ? len : REMOTE_NAME_MAX);
    if (memchr(url, '@', len)) /* not shown: what stands before it may be a password */
        return err_set(why, ERR_ARG,
                       "a URL with \"@\": a user's name or password has no place in it; see "
                       "key_file");
    if (!split_url(url, len, &u))
        return err_set(why, ERR_ARG, "\"%.*s\" begins with neither https:// nor http://", shown, url);
    if (!is_host(u.host, u.host_len)) return err_set(why, ERR_ARG, "\"%.*s\" names no host", shown, url);
    if (!is_port(u.port, u.port_len))
        return err_set(why, ERR_ARG, "\"%.*s\": a port is a number from 1 to 65535", shown, url);
    for (size_t i = 0; i < len; i++) {
        if (url[i] <= ' ' || url[i] > '~' || strchr("?#\"<>\\^`{|}", url[i]))
            return err_set(why, ERR_ARG, "\"%.*s\": a base URL has no \"%c\"", shown, url, url[i]);
    }
    if (len >= REMOTE_NAME_MAX)
        return err_set(why, ERR_ARG, "\"%.*s...\" is longer than %d bytes", shown, url, REMOTE_NAME_MAX - 1);
    return OK;
}

enum err settings_url_check_list(const char *value, struct errmsg *why)
{
    const char *url;
    size_t len;
    int n = 0;
    while (settings_url_next(&value, &url, &len)) {
        if (check_url(url, len, why)) return ERR_ARG;
        if (++n > REMOTE_SERVERS_MAX)
            return err_set(why, ERR_ARG, "at most %d servers; a router before them can have more",
                           REMOTE_SERVERS_MAX);
    }
    return n ? OK : err_set(why, ERR_ARG, "at least one URL");
}

bool settings_url_is_private(const char *url, size_t len)
{
    struct url u;
    return split_url(url, len, &u) && (u.is_https || is_loopback(&u));
}
