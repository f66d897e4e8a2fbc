/* Cutting a streamed answer into events: see stream.h.
 *
 * Bytes are gathered into lines, and only a line that is complete is looked at, so that nothing depends on
 * where the network cut them. A line that arrives whole is read where it lies. */
#include "remote/stream.h"

#include <string.h>
#include <strings.h>

/* What every line and event ends with takes no part of the event's bound. */
#define EVENT_BUF_MAX (STREAM_EVENT_MAX + 1)

/* Whoever writes to a stream. */
struct sink {
    struct stream *s;
    stream_event_fn *on_event;
    void *ctx;
};

static bool contains(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (; *text; text++) {
        if (strncasecmp(text, word, len) == 0) return true;
    }
    return false;
}

enum stream_kind stream_kind_of(const char *content_type)
{
    if (!content_type) return STREAM_WHOLE;
    if (contains(content_type, "text/event-stream")) return STREAM_SSE;
    if (contains(content_type, "ndjson") || contains(content_type, "jsonl")) return STREAM_NDJSON;
    return STREAM_WHOLE;
}

void stream_init(struct stream *s, enum stream_kind kind)
{
    *s = (struct stream){.kind = kind};
    buf_init(&s->line, STREAM_EVENT_MAX);
    buf_init(&s->event, EVENT_BUF_MAX);
}

void stream_clear(struct stream *s)
{
    buf_clear(&s->line);
    buf_clear(&s->event);
}

static void emit(const struct sink *k, const char *event, size_t len)
{
    if (!k->on_event(k->ctx, event, len)) k->s->is_over = true;
}

/* An empty line ends an SSE event. */
static void end_event(const struct sink *k)
{
    static const char done[] = "[DONE]";
    struct buf *event = &k->s->event;
    size_t len = event->len ? event->len - 1 : 0; /* each data line left a '\n' behind it */
    if (len == sizeof done - 1 && memcmp(event->data, done, len) == 0) {
        k->s->is_over = true;
    } else if (len > 0) {
        emit(k, event->data, len);
    }
    buf_reset(event);
}

static bool is_field(const char *line, size_t name_len, const char *name)
{
    return name_len == strlen(name) && memcmp(line, name, name_len) == 0;
}

/* The standard's "data"; llama-server (until 2025) says a failure in a field of its own, "error". */
static enum err read_sse_line(const struct sink *k, const char *line, size_t len)
{
    if (len == 0) {
        end_event(k);
        return OK;
    }
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    if (!is_field(line, name_len, "data") && !is_field(line, name_len, "error")) return OK;
    size_t at = colon ? name_len + 1 : len;
    if (at < len && line[at] == ' ') at++;
    buf_add(&k->s->event, line + at, len - at);
    buf_add_char(&k->s->event, '\n');
    return k->s->event.err;
}

static void read_json_line(const struct sink *k, const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\t')) len--;
    if (len > 0) emit(k, line, len);
}

/* A line without its end; or all there is. */
static enum err read_line(const struct sink *k, const char *line, size_t len)
{
    static const char mark[] = "\xef\xbb\xbf"; /* a byte order mark may begin the stream */
    if (!k->s->has_begun && len >= 3 && memcmp(line, mark, 3) == 0) line += 3, len -= 3;
    k->s->has_begun = true;
    if (k->s->kind == STREAM_SSE) return read_sse_line(k, line, len);
    read_json_line(k, line, len);
    return OK;
}

/* The end of a line whose beginning may have come before. */
static enum err finish_line(const struct sink *k, const char *bytes, size_t len)
{
    struct buf *line = &k->s->line;
    if (line->len == 0) return len > STREAM_EVENT_MAX ? ERR_LIMIT : read_line(k, bytes, len);
    buf_add(line, bytes, len);
    if (line->err) return line->err;
    enum err err = read_line(k, line->data, line->len);
    buf_reset(line);
    return err;
}

/* Where the line at `bytes` ends: at len if it does not. A lone CR ends a line of SSE, but none of JSON. */
static size_t line_len(const struct stream *s, const char *bytes, size_t len)
{
    size_t n = 0;
    if (s->kind == STREAM_WHOLE) return len;
    while (n < len && bytes[n] != '\n' && !(bytes[n] == '\r' && s->kind == STREAM_SSE)) n++;
    return n;
}

static enum err feed_lines(const struct sink *k, const char *bytes, size_t len)
{
    struct stream *s = k->s;
    enum err err = OK;
    for (size_t at = 0; at < len && !err && !s->is_over;) {
        if (s->was_cr && bytes[at] == '\n') at++;
        s->was_cr = false;
        size_t n = line_len(s, bytes + at, len - at);
        if (at + n == len) {
            buf_add(&s->line, bytes + at, n);
            return s->line.err;
        }
        err = finish_line(k, bytes + at, n);
        s->was_cr = bytes[at + n] == '\r';
        at += n + 1;
    }
    return err;
}

enum err stream_feed(struct stream *s, const char *bytes, size_t len, stream_event_fn *on_event, void *ctx)
{
    struct sink k = {s, on_event, ctx};
    if (s->is_over) return OK;
    size_t room = STREAM_TOTAL_MAX - s->total;
    size_t n = len < room ? len : room;
    s->total += n;
    enum err err = feed_lines(&k, bytes, n);
    if (err || s->is_over) return err;
    return n < len ? ERR_LIMIT : OK;
}

enum err stream_end(struct stream *s, stream_event_fn *on_event, void *ctx)
{
    struct sink k = {s, on_event, ctx};
    enum err err = OK;
    if (!s->is_over && s->line.len > 0) err = finish_line(&k, "", 0);
    if (!err && !s->is_over && s->event.len > 0) end_event(&k);
    s->is_over = true;
    return err;
}
