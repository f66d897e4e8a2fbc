/* Posting to a URL that the user named: see post.h. */
#include "net/post.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/curl_api.h"

/* Of an answer's body that is received (and thrown away), so that its connection ends in good order; a server
 * that sends more is hung up on. */
#define ANSWER_MAX ((size_t)64 << 10)

struct post {
    struct curl_api curl;
    char *url, *host; /* owned */
};

/* One request under way. */
struct transfer {
    const atomic_bool *cancel;
    size_t received;
};

/* Parsed by the library that will connect, so that the two cannot disagree about which part is the host. */
static enum err read_url(struct post *p, const char *text, struct errmsg *msg)
{
    char *scheme = NULL, *host = NULL;
    CURLU *url = p->curl.url();
    if (url && p->curl.url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK) {
        (void)p->curl.url_get(url, CURLUPART_SCHEME, &scheme, 0);
        (void)p->curl.url_get(url, CURLUPART_HOST, &host, 0);
    }
    bool is_http = scheme && (strcmp(scheme, "https") == 0 || strcmp(scheme, "http") == 0);
    if (is_http && host) {
        p->host = mem_dup_str(host);
        p->url = mem_dup_str(text);
    }
    p->curl.free(scheme);
    p->curl.free(host);
    p->curl.url_cleanup(url);
    return p->url ? OK : err_set(msg, ERR_ARG, "not a URL that begins with https:// or http://");
}

enum err post_open(const char *url, struct post **out, struct errmsg *msg)
{
    struct post *p = MEM_NEW(struct post);
    enum err err = curl_api_load(&p->curl, msg);
    if (!err) err = read_url(p, url, msg);
    if (err) post_close(&p);
    *out = p;
    return err;
}

const char *post_host(const struct post *p)
{
    return p->host;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    (void)bytes;
    t->received += size * n;
    return t->received > ANSWER_MAX ? 0 : size * n; /* 0 ends the transfer */
}

/* Called about once a second also when nothing arrives. */
static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct transfer *t = user;
    (void)a, (void)b, (void)c, (void)d;
    return t->cancel && atomic_load_explicit(t->cancel, memory_order_relaxed);
}

/* Everything but headers. */
static void set_up(const struct post *p, CURL *h, const char *body, size_t len, long timeout_ms,
                   struct transfer *t)
{
    p->curl.easy_setopt(h, CURLOPT_URL, p->url);
    p->curl.easy_setopt(h, CURLOPT_USERAGENT, "inline/" INLINE_VERSION);
    p->curl.easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    p->curl.easy_setopt(h, CURLOPT_TIMEOUT_MS, timeout_ms);
    p->curl.easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    p->curl.easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    p->curl.easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    p->curl.easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    p->curl.easy_setopt(h, CURLOPT_POSTFIELDS, body);
    p->curl.easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    p->curl.easy_setopt(h, CURLOPT_WRITEDATA, t);
    p->curl.easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_tick);
    p->curl.easy_setopt(h, CURLOPT_XFERINFODATA, t);
    p->curl.easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
}

/* A Content-Type, and no waiting for "100 Continue" before a body that is a few hundred bytes. */
static struct curl_slist *make_headers(const struct post *p, const char *content_type)
{
    char line[128];
    snprintf(line, sizeof line, "Content-Type: %s", content_type);
    struct curl_slist *first = p->curl.slist_append(NULL, line);
    struct curl_slist *both = first ? p->curl.slist_append(first, "Expect:") : NULL;
    if (!both) p->curl.slist_free_all(first);
    return both;
}

enum err post_send(const struct post *p, const char *content_type, const char *body, size_t len,
                   long timeout_ms, const atomic_bool *cancel, int *status, struct errmsg *msg)
{
    struct transfer t = {.cancel = cancel};
    long answered = 0;
    struct curl_slist *headers = make_headers(p, content_type);
    CURL *h = headers ? p->curl.easy_init() : NULL;
    if (!h) {
        p->curl.slist_free_all(headers);
        return err_set(msg, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    }
    set_up(p, h, body, len, timeout_ms, &t);
    p->curl.easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    CURLcode code = p->curl.easy_perform(h);
    p->curl.easy_getinfo(h, CURLINFO_RESPONSE_CODE, &answered);
    p->curl.easy_cleanup(h);
    p->curl.slist_free_all(headers);
    *status = (int)answered;
    if (code == CURLE_ABORTED_BY_CALLBACK) return err_set(msg, ERR_CANCELLED, "%s", err_text(ERR_CANCELLED));
    if (code != CURLE_OK && t.received <= ANSWER_MAX)
        return err_set(msg, ERR_NETWORK, "%s: %s", p->host, p->curl.easy_strerror(code));
    return OK;
}

void post_close(struct post **p)
{
    if (!*p) return;
    mem_free((*p)->url);
    mem_free((*p)->host);
    mem_free(*p);
    *p = NULL;
}
