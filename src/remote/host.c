/* Taking URLs apart, by the library that will connect, so that the two cannot disagree about which part is
 * the host. */
#include "remote/host.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* Whether the URL has that part. *out is the library's, to be freed by it; null if it has not. */
static bool get(const struct curl_api *curl, CURLU *url, CURLUPart part, unsigned flags, char **out)
{
    *out = NULL;
    return curl->url_get(url, part, out, flags) == CURLUE_OK && *out;
}

static bool has(const struct curl_api *curl, CURLU *url, CURLUPart part)
{
    char *text;
    bool is_there = get(curl, url, part, 0, &text);
    curl->free(text);
    return is_there;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

static bool write_name(const struct curl_api *curl, CURLU *url, char out[REMOTE_NAME_MAX], bool *is_local)
{
    char *host, *port;
    bool is_named = get(curl, url, CURLUPART_HOST, 0, &host);
    bool has_port = get(curl, url, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port);
    if (is_named) {
        snprintf(out, REMOTE_NAME_MAX, "%s%s%s", host, has_port ? ":" : "", has_port ? port : "");
        *is_local = is_loopback(host);
    }
    curl->free(host);
    curl->free(port);
    return is_named;
}

static enum err read_parts(const struct curl_api *curl, CURLU *url, struct host *out, struct errmsg *msg)
{
    char *scheme;
    bool has_scheme = get(curl, url, CURLUPART_SCHEME, 0, &scheme);
    out->is_https = has_scheme && strcmp(scheme, "https") == 0;
    bool is_http = has_scheme && strcmp(scheme, "http") == 0;
    curl->free(scheme);
    if ((!out->is_https && !is_http) || !write_name(curl, url, out->name, &out->is_loopback))
        return err_set(msg, ERR_ARG, "a server's URL begins with https:// or http:// and has a host");
    if (has(curl, url, CURLUPART_USER) || has(curl, url, CURLUPART_PASSWORD))
        return err_set(msg, ERR_ARG, "%s: its URL has a user or password in it; use key_file", out->name);
    if (has(curl, url, CURLUPART_QUERY) || has(curl, url, CURLUPART_FRAGMENT))
        return err_set(msg, ERR_ARG, "%s: its URL has a query or fragment; it is the part before that",
                       out->name);
    return OK;
}

enum err host_read(const struct curl_api *curl, const char *text, struct host *out, struct errmsg *msg)
{
    memset(out, 0, sizeof *out);
    CURLU *url = curl->url();
    if (!url) return err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    enum err err = OK;
    if (curl->url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
        err = err_set(msg, ERR_ARG, "not a URL that begins with https:// or http://");
    if (!err) err = read_parts(curl, url, out, msg);
    curl->url_cleanup(url);
    if (!err) out->url = mem_dup_str(text);
    return err;
}

void host_clear(struct host *h)
{
    mem_free(h->url);
    h->url = NULL;
}

void host_name_of(const struct curl_api *curl, const char *text, char out[REMOTE_NAME_MAX])
{
    bool is_local;
    CURLU *url = curl->url();
    bool is_read = url && text && curl->url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK;
    if (!is_read || !write_name(curl, url, out, &is_local)) snprintf(out, REMOTE_NAME_MAX, "another place");
    curl->url_cleanup(url);
}
