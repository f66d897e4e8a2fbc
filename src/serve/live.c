/* See live.h.
 *
 * One timer serves all streams: a tick measures once, writes what all of them show once, and adds to each
 * what that one has not been told. A stream lives as long as its exchange; the timer runs while there are
 * streams, so that a daemon that nobody looks at has nothing to wake up for. */
#include "serve/live.h"

#include <stdio.h>
#include <string.h>

#include <uv.h>

#include "base/json.h"
#include "base/mem.h"
#include "os/clock.h"
#include "serve/api_impl.h"
#include "serve/api_status.h"
#include "watch/journal.h"

#define TICK_MS 1000

/* A slot of the day lasts a quarter of an hour; nobody waits that long to see the one under way grow. */
#define HISTORY_SECONDS_MAX 60.0

/* Journal records in one event. More of them in a second are read by nobody. */
#define REQUESTS_MAX 50

/* Of one event: the longest one, a history of all series over 96 slots, has some 200 KB. */
#define EVENT_MAX ((size_t)4 << 20)

/* Thread: loop. Owner: its exchange, with which it goes. */
struct stream {
    struct live *live;
    struct stream *prev, *next;
    struct http_exchange *exchange;
    enum metrics_window window;
    int64_t history_due_ns;
    uint64_t told_id; /* the newest journal record that it has been told of; 0: none */
};

struct live {
    struct api *api; /* borrowed */
    uv_timer_t timer;
    struct stream *streams;
    int32_t n_streams;
    bool has_ended;
};

static void on_timer_closed(uv_handle_t *timer)
{
    mem_free(timer->data);
}

struct live *live_new(struct uv_loop_s *loop, struct api *a)
{
    struct live *l = MEM_NEW(struct live);
    *l = (struct live){.api = a};
    uv_timer_init(loop, &l->timer);
    l->timer.data = l;
    return l;
}

void live_free(struct live **l)
{
    if (*l) uv_close((uv_handle_t *)&(*l)->timer, on_timer_closed);
    *l = NULL;
}

static void forget(struct stream *s)
{
    struct live *l = s->live;
    *(s->prev ? &s->prev->next : &l->streams) = s->next;
    if (s->next) s->next->prev = s->prev;
    if (--l->n_streams == 0) uv_timer_stop(&l->timer);
    mem_free(s);
}

static void on_abort(void *ctx)
{
    forget(ctx);
}

/* --- Events --------------------------------------------------------------------------------------------- */

/* One event of the stream: JSON, which is one line (json.h). */
static void send_event(struct stream *s, const char *event, const struct buf *json)
{
    struct buf out;
    if (json->err) return; /* the next one may do */
    buf_init(&out, EVENT_MAX + 64);
    buf_printf(&out, "event: %s\ndata: ", event);
    buf_add(&out, buf_str(json), json->len);
    buf_add_str(&out, "\n\n");
    if (!out.err) http_write(s->exchange, buf_str(&out), out.len);
    buf_clear(&out);
}

static void begin_event(struct buf *out, struct json *j)
{
    buf_init(out, EVENT_MAX);
    json_init(j, out);
    json_begin_object(j, NULL);
}

/* As a member: an event has one line, without the end of it that the report has. */
static void write_config(const struct api_options *o, struct json *j)
{
    struct buf config;
    if (!o->write_config) return;
    buf_init(&config, EVENT_MAX);
    o->write_config(o->ctx, &config);
    size_t len = config.len;
    while (len > 0 && buf_str(&config)[len - 1] == '\n') len--;
    if (!config.err && len > 0) json_raw(j, "config", buf_str(&config), len);
    buf_clear(&config);
}

/* What does not change. */
static void send_table(struct stream *s)
{
    const struct api *a = s->live->api;
    struct buf out;
    struct json j;
    begin_event(&out, &j);
    json_str(&j, "version", INLINE_VERSION);
    json_str(&j, "cpu", a->cpu);
    metric_table_write(&j);
    write_config(&a->o, &j);
    json_end_object(&j);
    send_event(s, "table", &out);
    buf_clear(&out);
}

static void send_history(struct stream *s, int64_t now_ns)
{
    const struct metrics *m = s->live->api->o.metrics;
    double slot_s = metrics_window_slot_seconds(s->window);
    double wait_s = slot_s < HISTORY_SECONDS_MAX ? slot_s : HISTORY_SECONDS_MAX;
    struct buf out;
    struct json j;
    if (!m || now_ns < s->history_due_ns) return;
    /* Half a tick early, so that ticks that come a little late do not miss every second slot. */
    s->history_due_ns = now_ns + (int64_t)(wait_s * 1e9) - TICK_MS * (INT64_C(1000000) / 2);
    begin_event(&out, &j);
    json_str(&j, "window", metrics_window_name(s->window));
    json_num(&j, "slot_s", slot_s, 0);
    json_int(&j, "end_s", api_now_s());
    json_begin_object(&j, "metrics");
    metrics_write_history(m, s->window, &j);
    json_end_object(&j);
    json_end_object(&j);
    send_event(s, "history", &out);
    buf_clear(&out);
}

/* How many records are newer than the one that was told last: those before it, for records are added when a
 * request ends, not in the order of their ids. */
static int32_t n_untold(const struct stream *s, const struct journal *journal)
{
    int32_t n = journal_n(journal), i = 0;
    while (i < n && i < REQUESTS_MAX && journal_at(journal, i)->id != s->told_id) i++;
    return i;
}

static void write_requests(struct stream *s, struct json *j)
{
    const struct journal *journal = s->live->api->o.journal;
    int32_t n = journal ? n_untold(s, journal) : 0;
    json_begin_array(j, "requests");
    for (int32_t i = n - 1; i >= 0; i--) {
        const struct journal_record *r = journal_at(journal, i);
        json_begin_object(j, NULL);
        journal_write(r, journal_model_name(journal, r->model), j);
        json_end_object(j);
        s->told_id = r->id;
    }
    json_end_array(j);
}

/* `out` holds the beginning of the event, which all streams share, and holds only that again afterwards. */
static void send_now(struct stream *s, struct buf *out, struct json j)
{
    size_t len = out->len;
    write_requests(s, &j);
    json_end_object(&j);
    send_event(s, "now", out);
    if (!out->err) buf_truncate(out, len);
}

/* To one stream, or to all. */
static void tell_now(struct live *l, struct stream *only)
{
    struct buf out;
    struct json j;
    begin_event(&out, &j);
    api_status_write(l->api, &j);
    if (only) send_now(only, &out, j);
    for (struct stream *s = only ? NULL : l->streams; s; s = s->next) send_now(s, &out, j);
    buf_clear(&out);
}

static void on_tick(uv_timer_t *timer)
{
    struct live *l = timer->data;
    int64_t now_ns = clock_ns();
    tell_now(l, NULL);
    for (struct stream *s = l->streams; s; s = s->next) send_history(s, now_ns);
}

/* --- Streams -------------------------------------------------------------------------------------------- */

/* "" is the quarter of an hour. False: another query than window=NAME. */
static bool read_window(const char *query, enum metrics_window *out)
{
    static const enum metrics_window WINDOWS[] = {METRICS_MINUTE, METRICS_QUARTER, METRICS_DAY};
    *out = METRICS_QUARTER;
    if (!*query) return true;
    if (strncmp(query, "window=", 7) != 0) return false;
    for (size_t i = 0; i < sizeof WINDOWS / sizeof *WINDOWS; i++) {
        *out = WINDOWS[i];
        if (strcmp(query + 7, metrics_window_name(*out)) == 0) return true;
    }
    return false;
}

static struct stream *add_stream(struct live *l, struct http_exchange *x, enum metrics_window window)
{
    struct stream *s = MEM_NEW(struct stream);
    *s = (struct stream){.live = l, .next = l->streams, .exchange = x, .window = window};
    if (s->next) s->next->prev = s;
    l->streams = s;
    if (l->n_streams++ == 0) uv_timer_start(&l->timer, on_tick, TICK_MS, TICK_MS);
    return s;
}

void live_open(struct live *l, struct http_exchange *x)
{
    enum metrics_window window;
    if (!read_window(http_request_of(x)->query, &window)) {
        http_error(x, 400, "invalid_request_error", "the query is window=1m, window=15m or window=24h");
    } else if (l->has_ended) {
        http_error(x, 503, "unavailable_error", "The daemon is about to end.");
    } else if (l->n_streams >= LIVE_MAX) {
        http_extra_header(x, "Retry-After", "10");
        http_error(x, 503, "unavailable_error", "%d pages look on already; close one of them.", LIVE_MAX);
    } else {
        struct stream *s = add_stream(l, x, window);
        http_on_abort(x, on_abort, s);
        http_extra_header(x, "Cache-Control", "no-store");
        http_begin(x, 200, "text/event-stream; charset=utf-8");
        send_table(s);
        send_history(s, clock_ns());
        tell_now(l, s);
    }
}

void live_end(struct live *l)
{
    l->has_ended = true;
    while (l->streams) {
        struct http_exchange *x = l->streams->exchange;
        forget(l->streams);
        http_end(x);
    }
}
