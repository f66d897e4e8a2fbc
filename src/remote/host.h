/* Where a server is: one of the configured base URLs, taken apart.
 *
 * Thread: any; a host is not changed once it was read. */
#ifndef REMOTE_HOST_H
#define REMOTE_HOST_H

#include <stdbool.h>

#include "net/curl_api.h"
#include "remote/ask.h"

struct host {
    char name[REMOTE_NAME_MAX]; /* for people: "gpu1.example.org:8000" */
    char *url;                  /* owned: as configured */
    bool is_https;
    bool is_loopback; /* on this machine: never by a proxy */
};

/* ERR_ARG: not an http or https URL, or one with what does not belong there (a password, a query). */
MUST_CHECK enum err host_read(const struct curl_api *curl, const char *url, struct host *out,
                              struct errmsg *msg);
void host_clear(struct host *h);

/* The host and port of any URL, for messages; "another place" if it has none. */
void host_name_of(const struct curl_api *curl, const char *url, char out[REMOTE_NAME_MAX]);

#endif
