/* Posting to a URL that the user named: one request, waited for, whose answer's body nobody wants.
 *
 * The URL may hold a secret (a token in its path is usual for webhooks): messages name the host only. TLS is
 * verified against the system's certificates, redirects are not followed. post_send may be called by any
 * thread, by several at once. */
#ifndef NET_POST_H
#define NET_POST_H

#include <stdatomic.h>
#include <stddef.h>

#include "base/err.h"

struct post;

/* Loads libcurl: call it before there are other threads that may. Copied. ERR_ARG: not an http or https URL;
 * ERR_UNSUPPORTED: no libcurl. */
MUST_CHECK enum err post_open(const char *url, struct post **out, struct errmsg *msg);
const char *post_host(const struct post *p); /* "chat.example.org": may be logged */

/* *status is what the server answered. ERR_NETWORK: it did not, within timeout_ms; ERR_CANCELLED: `cancel`
 * (may be null) became true, which is noticed within about a second. */
MUST_CHECK enum err post_send(const struct post *p, const char *content_type, const char *body, size_t len,
                              long timeout_ms, const atomic_bool *cancel, int *status, struct errmsg *msg);
void post_close(struct post **p);

#endif
