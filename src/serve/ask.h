/* One question to a running daemon over its socket, waiting for the answer: for commands. */
#ifndef SERVE_ASK_H
#define SERVE_ASK_H

#include <stddef.h>

#include "base/err.h"

struct json_value;

/* POST a JSON object that asks for a stream of events (text/event-stream), and call fn with each until it
 * returns an error, which is then returned. ERR_NOT_FOUND: no daemon answers; ERR_UNSUPPORTED: it does with
 * another status than 200, and msg holds its reason; fn was not called. ERR_IO, ERR_FORMAT: the stream ended
 * early, or is none. */
MUST_CHECK enum err ask_events(const char *socket, const char *path, const char *body, size_t len,
                               enum err (*fn)(void *ctx, const struct json_value *event), void *ctx,
                               struct errmsg *msg);

/* Ask for one JSON value: GET, or POST if there is a body (null: none). ERR_NOT_FOUND: no daemon answers.
 * ERR_IO, ERR_FORMAT: it answers with another status than 200, and msg holds its reason, or its answer is no
 * JSON. */
MUST_CHECK enum err ask_json(const char *socket, const char *path, const char *body,
                             struct json_value **answer, struct errmsg *msg);
/* The same for one who stops caring: ERR_CANCELLED after so many milliseconds without an answer, and the
 * daemon sees its client gone. */
MUST_CHECK enum err ask_json_within(const char *socket, const char *path, const char *body, int patience_ms,
                                    struct json_value **answer, struct errmsg *msg);

#endif
