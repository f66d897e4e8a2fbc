/* Words for libcurl's codes: see transfer_fault.h. libcurl's own sentences are used only about certificates,
 * where the TLS library knows best; they never hold a header or a path. */
#include "remote/transfer_fault.h"

#include <errno.h>
#include <string.h>

#define UNKNOWN                                                                                              \
    "its certificate is from nobody who is trusted here; ca_file can name certificates to trust instead of " \
    "the system's"

/* What TLS libraries say about certificates (OpenSSL's and GnuTLS's words), and what it means. */
static const struct {
    const char *said, *means;
} certificates[] = {
    {"has expired", "its certificate has expired"},
    {"not yet valid", "its certificate is not valid yet; is this machine's clock right?"},
    {"no alternative certificate subject name", "its certificate is for another host name"},
    {"does not match", "its certificate is for another host name"},
    {"revoked", "its certificate was revoked"},
    {"self-signed", UNKNOWN},
    {"self signed", UNKNOWN},
    {"local issuer", UNKNOWN},
    {"verification failed", UNKNOWN},
};

static void say_untrusted(const char *detail, struct errmsg *msg)
{
    const char *means = NULL;
    for (size_t i = 0; !means && i < sizeof certificates / sizeof *certificates; i++) {
        if (strstr(detail, certificates[i].said)) means = certificates[i].means;
    }
    if (means)
        (void)err_set(msg, OK, "%s", means);
    else
        (void)err_set(msg, OK, "its certificate is not trusted (%s); ca_file can name what to trust", detail);
}

static void say_unconnected(int os_errno, struct errmsg *msg)
{
    if (os_errno == ECONNREFUSED)
        (void)err_set(msg, OK, "connection refused; is it running?");
    else if (os_errno)
        (void)err_set(msg, OK, "cannot connect: %s", strerror(os_errno));
    else
        (void)err_set(msg, OK, "cannot connect; is it running?");
}

static enum transfer_fault say(enum transfer_fault fault, const char *text, struct errmsg *msg)
{
    (void)err_set(msg, OK, "%s", text);
    return fault;
}

enum transfer_fault transfer_fault_of(CURLcode code, int os_errno, const char *detail, struct errmsg *msg)
{
    switch (code) {
    case CURLE_OK:
        return say(TRANSFER_FINE, "", msg);
    case CURLE_COULDNT_RESOLVE_HOST:
        return say(TRANSFER_REFUSED, "no such host is known; check its name in urls", msg);
    case CURLE_COULDNT_RESOLVE_PROXY:
        return say(TRANSFER_REFUSED, "the proxy's host is not known; check https_proxy", msg);
    case CURLE_COULDNT_CONNECT:
        say_unconnected(os_errno, msg);
        return TRANSFER_REFUSED;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
        say_untrusted(detail, msg);
        return TRANSFER_UNTRUSTED;
    case CURLE_SSL_CACERT_BADFILE:
        return say(TRANSFER_UNTRUSTED, "the certificates of ca_file cannot be read", msg);
    case CURLE_SSL_CONNECT_ERROR:
        return say(TRANSFER_REFUSED, "no TLS connection comes about; does it speak https?", msg);
    case CURLE_PARTIAL_FILE:
        return say(TRANSFER_BROKEN, "its answer is shorter than it said", msg);
    case CURLE_GOT_NOTHING:
        return say(TRANSFER_BROKEN, "closed the connection without an answer", msg);
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return say(TRANSFER_BROKEN, "the connection broke", msg);
    case CURLE_UNSUPPORTED_PROTOCOL: /* what curl calls HTTP/0.9: an answer without a status */
    case CURLE_WEIRD_SERVER_REPLY:
        return say(TRANSFER_BROKEN, "what it answers is not HTTP", msg);
    case CURLE_WRITE_ERROR: /* on_body wanted no more of it */
        return say(TRANSFER_BROKEN, "its answer is longer than any that was asked for", msg);
    case CURLE_OUT_OF_MEMORY: /* what libcurl before 8.6 calls a line beyond its own bounds, too */
        return say(TRANSFER_BROKEN, "its answer's headers are too long, or there is no memory for it", msg);
    default:
        (void)err_set(msg, OK, "the transfer failed (libcurl's error %d)", (int)code);
        return TRANSFER_BROKEN;
    }
}
