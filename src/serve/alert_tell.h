/* Telling alerts to the world outside, where the user asked for that: a command that is run, a URL that is
 * posted to. Both are told one alert after the other, and tried again (after 1, 5 and 25 s) where they fail;
 * neither is ever waited for. Where one falls far behind, the oldest alert that waits is not told.
 *
 * The command is run by /bin/sh with INLINE_ALERT (the rule's name), INLINE_ALERT_STATE (firing or resolved),
 * INLINE_ALERT_SEVERITY, INLINE_ALERT_MESSAGE, INLINE_ALERT_TODO and INLINE_ALERT_VALUE in its environment,
 * and ended after 30 s. It must exit with 0. What it writes to stderr joins the daemon's.
 *
 * The URL gets a JSON object, {"name","state","severity","message","todo","value","threshold","since_ms",
 * "until_ms","text"}, where "text" is one line with all that a person needs, as chat servers expect it. It
 * must answer 2xx; redirects are not followed. As it may hold a token, only its host is ever logged.
 *
 * Thread: loop. */
#ifndef SERVE_ALERT_TELL_H
#define SERVE_ALERT_TELL_H

#include "base/err.h"

struct alert;
struct alert_tell;
struct uv_loop_s;

/* "": none. Copied. ERR_ARG: not an http or https URL. */
MUST_CHECK enum err alert_tell_new(struct uv_loop_s *loop, const char *command, const char *webhook,
                                   struct alert_tell **out, struct errmsg *msg);
void alert_tell(struct alert_tell *t, const struct alert *alert);
/* What is not told by now is not told. The loop must run once more before the memory is gone. */
void alert_tell_free(struct alert_tell **t);

#endif
