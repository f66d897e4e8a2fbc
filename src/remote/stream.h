/* Cutting a streamed answer into events, however its bytes arrive: server-sent events (WHATWG HTML, section
 * 9.2), JSON lines, or one JSON body.
 *
 * Pure: no I/O. Thread: any; a stream has one owner. */
#ifndef REMOTE_STREAM_H
#define REMOTE_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define STREAM_EVENT_MAX ((size_t)1 << 20) /* bytes of one event */
#define STREAM_TOTAL_MAX ((size_t)8 << 20) /* of an answer: thousands of times what a suggestion takes */

enum stream_kind { STREAM_SSE, STREAM_NDJSON, STREAM_WHOLE };

/* By the answer's Content-Type ("" or null: unknown): text/event-stream, application/x-ndjson (also what has
 * "jsonl" or "ndjson" in it), else WHOLE. */
enum stream_kind stream_kind_of(const char *content_type);

struct stream {
    enum stream_kind kind;
    struct buf line;  /* what has no end yet */
    struct buf event; /* SSE: the data lines so far */
    size_t total;
    bool has_begun;       /* its first line has been read */
    bool was_cr, is_over; /* after CR, an LF belongs to it; on_event wanted no more, or "[DONE]" came */
};

typedef bool stream_event_fn(void *ctx, const char *event, size_t len);

void stream_init(struct stream *s, enum stream_kind kind);
void stream_clear(struct stream *s);
/* Calls on_event for each event that is complete; false from it means that no more is wanted: what follows is
 * ignored. SSE's "[DONE]" ends the stream and is no event, comments and other fields are skipped. ERR_LIMIT:
 * see above; ERR_NOMEM. */
MUST_CHECK enum err stream_feed(struct stream *s, const char *bytes, size_t len, stream_event_fn *on_event,
                                void *ctx);
/* The connection has ended in good order: an event without its end counts as one, if there is one. */
MUST_CHECK enum err stream_end(struct stream *s, stream_event_fn *on_event, void *ctx);

#endif
