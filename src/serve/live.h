/* GET /live: what the dashboard shows, as server-sent events (WHATWG HTML, section 9.2), for as long as
 * somebody looks. Query: window=1m|15m|24h (15m).
 *
 *   event: table    once: version, metrics (name, kind, unit, label, help), targets, config
 *   event: history  at once and after each slot of the window: {"window","slot_s","end_s","metrics":{NAME:
 *                   {LABEL: {"n":[...],"p50":[...] ...}}}}, oldest first (metrics_write_history)
 *   event: now      at once and every second: GET /status and "requests": journal records that were added
 *                   since the last event, oldest first, at most 50
 *
 * A timer runs only while somebody looks; a reader that is too slow is cut off (http.h). At most LIVE_MAX
 * look at once: 503. Thread: loop. */
#ifndef SERVE_LIVE_H
#define SERVE_LIVE_H

#define LIVE_MAX 16

struct api;
struct http_exchange;
struct live;
struct uv_loop_s;

struct live *live_new(struct uv_loop_s *loop, struct api *a);
/* Its exchanges must have ended. The loop must run once more before the memory is gone. */
void live_free(struct live **l);
void live_open(struct live *l, struct http_exchange *x);
/* End all streams: the daemon drains. */
void live_end(struct live *l);

#endif
