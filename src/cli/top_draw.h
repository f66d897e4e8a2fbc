/* What `inline top` shows, drawn from what the daemon answered: pure, knows no terminal and no daemon. */
#ifndef CLI_TOP_DRAW_H
#define CLI_TOP_DRAW_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct json_value;

#define TOP_HISTORY 240 /* looks that are remembered: as wide as screens are */

struct top_history { /* a value for each look, the newest last */
    float values[TOP_HISTORY];
    int32_t n;
};

enum top_page { TOP_OVERVIEW, TOP_STORY, TOP_HELP };

struct top_view {
    const struct json_value *status;   /* GET /status; null: the daemon was never there */
    const struct json_value *requests; /* of GET /journal, newest first; or null */
    const struct json_value *story;    /* GET /journal?id=; of the page TOP_STORY */
    struct top_history latency_ms;     /* of the requests since the look before, on average */
    struct top_history requests_a_look;
    enum top_page page;
    const char *window; /* "1m", "15m", "24h" */
    int64_t selected;   /* id of a request; 0: none */
    bool is_paused;
    const char *away; /* why there is no answer; null: there is one */
    double away_s;    /* for how long */
    bool is_live;     /* keys are read; else all is drawn once, for whoever reads it later */
    int32_t columns, rows;
    bool has_colour, is_utf8;
};

void top_draw(const struct top_view *v, struct buf *out);

#endif
