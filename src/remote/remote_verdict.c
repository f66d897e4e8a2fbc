/* What the end of an attempt means, for the server, the request, and people; see remote_impl.h.
 *
 * What a server says is told in its own words, after its name ("gpu1:8000: ..."), but for the key: servers
 * that refuse one like to repeat it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "remote/remote_impl.h"

#define MASK "***"

/* What is cut at its end may end with a part of the key. Fewer characters than this tell nothing of it. */
#define KEY_PART_MIN 4

/* Bytes at the end of the text that the key begins with. */
static size_t cut_part(const char *text, const char *key)
{
    size_t len = strlen(text), n = strlen(key);
    if (n > len) n = len;
    while (n >= KEY_PART_MIN && memcmp(text + len - n, key, n) != 0) n--;
    return n >= KEY_PART_MIN ? n : 0;
}

static void mask_key(struct buf *out, const char *text, const char *key)
{
    const char *found;
    while (key[0] && (found = strstr(text, key))) {
        buf_add(out, text, (size_t)(found - text));
        buf_add_str(out, MASK);
        text = found + strlen(key);
    }
    size_t part = cut_part(text, key);
    buf_add(out, text, strlen(text) - part);
    if (part) buf_add_str(out, MASK);
}

void remote_verdict_fail(const struct remote *r, int32_t server, struct verdict *v, enum err err,
                         const char *fmt, ...)
{
    char text[ERRMSG_MAX];
    struct buf masked;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_init(&masked, sizeof text * sizeof MASK); /* for the shortest of keys */
    mask_key(&masked, text, r->key);
    *v = (struct verdict){.end = SERVER_END_FAILED};
    v->err = err_set(&v->msg, err, "%s: %s", remote_servers_name(r, server), buf_str(&masked));
    buf_clear(&masked);
}

/* A status beyond 299, with what its body says ("" if nothing). */
static void judge_status(const struct remote *r, int32_t server, const struct transfer_result *result,
                         const char *says, struct verdict *v)
{
    int status = result->status;
    const char *colon = says[0] ? ": " : "";
    bool is_lasting = false;
    if (status / 100 == 3) {
        remote_verdict_fail(r, server, v, ERR_NETWORK,
                            "redirects to %s, which is not followed; put the right address in urls",
                            result->redirect);
        is_lasting = true;
    } else if (status == 429 || (status == 503 && result->retry_after_s > 0)) {
        remote_verdict_fail(r, server, v, ERR_LIMIT, "too many requests%s%s", colon, says);
        v->end = SERVER_END_LIMITED;
        v->retry_after_s = result->retry_after_s;
    } else if (status == 401 || status == 403) {
        remote_verdict_fail(r, server, v, ERR_DENIED, "%s (HTTP %d)%s%s",
                            r->key[0] ? "refuses the key; check key_file or key_env"
                                      : "wants a key; set key_file or key_env",
                            status, colon, says);
        is_lasting = true;
    } else if (status == 404) {
        remote_verdict_fail(r, server, v, ERR_NOT_FOUND, "HTTP 404: %s",
                            says[0] ? says : "no such model or path");
        is_lasting = true;
    } else if (status / 100 == 4 && status != 408) {
        remote_verdict_fail(r, server, v, ERR_ARG, "HTTP %d%s%s", status, colon, says);
        v->end = SERVER_END_OK; /* the request is wrong, not the server */
        v->is_final = true;
    } else {
        remote_verdict_fail(r, server, v, ERR_NETWORK, "HTTP %d%s%s", status, colon, says);
    }
    v->is_lasting = is_lasting;
}

void remote_verdict_of(const struct remote *r, int32_t server, const struct transfer_result *result,
                       const struct buf *body, struct verdict *v)
{
    if (result->status >= 300) {
        struct errmsg says = {""};
        dialect_read_error(buf_str(body), body->len, &says);
        judge_status(r, server, result, says.text, v);
        return;
    }
    remote_verdict_fail(r, server, v, ERR_NETWORK, "%s",
                        result->fault == TRANSFER_FINE ? "its answer broke off" : result->msg.text);
    bool had_none = result->fault == TRANSFER_REFUSED || result->fault == TRANSFER_UNTRUSTED;
    if (had_none) v->end = SERVER_END_REFUSED;
    v->is_lasting = result->fault == TRANSFER_UNTRUSTED;
}

void remote_verdict_late(const struct remote *r, int32_t server, bool is_connected, int64_t ns,
                         struct verdict *v)
{
    remote_verdict_fail(r, server, v, ERR_NETWORK, "%s within %d ms",
                        is_connected ? "no answer" : "no connection", (int)(ns / NS_PER_MS));
    if (!is_connected) v->end = SERVER_END_REFUSED;
}
