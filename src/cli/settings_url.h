/* Lists of base URLs of servers, as they stand in settings: separated by spaces or commas. */
#ifndef CLI_SETTINGS_URL_H
#define CLI_SETTINGS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* What follows in the list; false: nothing. A view. */
bool settings_url_next(const char **rest, const char **url, size_t *len);

/* At least one, at most REMOTE_SERVERS_MAX: http or https, a host, and neither a query nor anybody's
 * password. ERR_ARG: says what is wrong with which one, without showing passwords. */
MUST_CHECK enum err settings_url_check_list(const char *list, struct errmsg *why);

/* Nobody else can read what is sent there: it is encrypted, or stays on this machine. */
bool settings_url_is_private(const char *url, size_t len);

#endif
