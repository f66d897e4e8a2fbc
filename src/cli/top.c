/* `inline top`: what the daemon does, live. It looks once a second or as often as it is told, over the socket
 * as every other command, and draws the whole picture (top_draw.c); a terminal is much faster than that. A
 * daemon that goes away is waited for. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/figures.h"
#include "cli/terminal.h"
#include "cli/top_draw.h"
#include "os/clock.h"

#define DRAWING_MAX     ((size_t)1 << 22)
#define JOURNAL_PATH    "/journal?n=50" /* as many as a high terminal shows */
#define COLUMNS_ONCE    100             /* of a picture that goes to a file */
#define PAGE_OF_CHOICES 10

struct top {
    const struct settings *settings;
    struct top_view view;
    struct json_value *status, *journal, *story; /* owned; the view's are these */
    struct errmsg why;                           /* there is no answer */
    int64_t away_since_ns;                       /* 0: there is one */
    int64_t last_id;                             /* of the requests that history counts */
    bool has_looked;
    struct buf drawing;
};

/* --- Looking -------------------------------------------------------------------------------------------- */

static void remember(struct top_history *h, double value)
{
    if (h->n == TOP_HISTORY) {
        h->n--;
        memmove(h->values, h->values + 1, (size_t)h->n * sizeof *h->values);
    }
    h->values[h->n++] = (float)value;
}

/* What was answered since the look before. Ids grow in the order of asking, so one that took long may come
 * after a later one that did not: it is missed, which a picture can bear. */
static void take_history(struct top *t)
{
    int64_t newest = t->last_id;
    double sum_ms = 0;
    int32_t n = 0;
    for (size_t i = 0; i < json_count(t->view.requests); i++) {
        const struct json_value *r = json_at(t->view.requests, i);
        int64_t id = answer_int(r, "id");
        if (id > newest) newest = id;
        if (id <= t->last_id) continue;
        sum_ms += answer_num(r, "total_ms");
        n++;
    }
    if (t->has_looked) remember(&t->view.requests_a_look, n);
    if (t->has_looked && n > 0) remember(&t->view.latency_ms, sum_ms / n);
    t->last_id = newest;
    t->has_looked = true;
}

static void look(struct top *t)
{
    struct json_value *status = NULL, *journal = NULL;
    struct errmsg msg = {0};
    enum err err = cli_ask(t->settings, "/status", NULL, &status, &msg);
    if (err) {
        if (!t->away_since_ns) t->away_since_ns = clock_ns();
        t->why = msg;
        return;
    }
    t->away_since_ns = 0;
    if (answer_int(status, "pid") != answer_int(t->status, "pid")) t->last_id = 0; /* another daemon */
    if (cli_ask(t->settings, JOURNAL_PATH, NULL, &journal, &msg)) journal = NULL;
    json_read_free(&t->status);
    json_read_free(&t->journal);
    t->view.status = t->status = status;
    t->journal = journal;
    t->view.requests = json_get(journal, "requests");
    take_history(t);
}

static void draw(struct top *t)
{
    struct top_view *v = &t->view;
    v->away = t->away_since_ns ? t->why.text : NULL;
    v->away_s = t->away_since_ns ? clock_ms_since(t->away_since_ns) / 1000 : 0;
    top_draw(v, &t->drawing);
}

/* --- Keys ----------------------------------------------------------------------------------------------- */

/* Where the chosen request is in the list; -1: none is, or it is gone. */
static int32_t chosen(const struct top *t)
{
    int32_t n = (int32_t)json_count(t->view.requests);
    for (int32_t i = 0; i < n; i++) {
        if (answer_int(json_at(t->view.requests, (size_t)i), "id") == t->view.selected) return i;
    }
    return -1;
}

static void choose(struct top *t, int32_t by)
{
    int32_t n = (int32_t)json_count(t->view.requests), i = chosen(t);
    if (n == 0) return;
    i = i < 0 ? 0 : i + by;
    i = i < 0 ? 0 : i >= n ? n - 1 : i;
    t->view.selected = answer_int(json_at(t->view.requests, (size_t)i), "id");
}

static void open_story(struct top *t)
{
    char path[64];
    struct json_value *story = NULL;
    struct errmsg msg = {0};
    if (!t->view.selected) choose(t, 0);
    if (!t->view.selected) return;
    snprintf(path, sizeof path, "/journal?id=%lld", (long long)t->view.selected);
    if (cli_ask(t->settings, path, NULL, &story, &msg))
        return; /* not kept any more: the list is newer soon */
    json_read_free(&t->story);
    t->view.story = t->story = story;
    t->view.page = TOP_STORY;
}

/* False: leave. */
static bool press(struct top *t, int key)
{
    static const char *const windows[] = {"1m", "15m", "24h"};
    struct top_view *v = &t->view;
    switch (key) {
    case 'q':
    case TERMINAL_END:
        return false;
    case TERMINAL_RESIZED:
        terminal_size(&v->columns, &v->rows);
        break;
    case '1':
    case '2':
    case '3':
        v->window = windows[key - '1'];
        break;
    case 'p':
        v->is_paused = !v->is_paused;
        break;
    case '?':
        v->page = v->page == TOP_HELP ? TOP_OVERVIEW : TOP_HELP;
        break;
    case TERMINAL_ESCAPE:
        if (v->page == TOP_OVERVIEW) v->selected = 0;
        v->page = TOP_OVERVIEW;
        break;
    case TERMINAL_UP:
        choose(t, -1);
        break;
    case TERMINAL_DOWN:
        choose(t, 1);
        break;
    case TERMINAL_PAGE_UP:
        choose(t, -PAGE_OF_CHOICES);
        break;
    case TERMINAL_PAGE_DOWN:
        choose(t, PAGE_OF_CHOICES);
        break;
    case TERMINAL_ENTER:
        if (v->page == TOP_OVERVIEW)
            open_story(t);
        else
            v->page = TOP_OVERVIEW;
        break;
    default:
        break;
    }
    return true;
}

/* --- The command ---------------------------------------------------------------------------------------- */

static int run_live(struct top *t, double interval_s)
{
    struct terminal terminal;
    int64_t interval_ns = (int64_t)(interval_s * 1e9), due_ns = 0;
    if (!terminal_open(&terminal)) {
        struct errmsg msg = {0};
        err_set(&msg, ERR_IO, "the terminal cannot be set; inline top --once prints one picture");
        return cli_fail(&msg);
    }
    terminal_size(&t->view.columns, &t->view.rows);
    for (bool is_on = true; is_on;) {
        if (!t->view.is_paused && clock_ns() >= due_ns) {
            look(t);
            due_ns = clock_ns() + interval_ns;
        }
        draw(t);
        if (!terminal_show(&t->drawing)) break;
        int64_t left_ms = (due_ns - clock_ns()) / 1000000 + 1;
        if (t->view.is_paused) left_ms = interval_ns / 1000000;
        int key = terminal_read(&terminal, left_ms > 0 ? (int)left_ms : 0);
        is_on = press(t, key);
    }
    terminal_close(&terminal);
    return CLI_OK;
}

static int run_once(struct top *t)
{
    look(t);
    if (t->away_since_ns) {
        if (!t->status) err_set(&t->why, ERR_NOT_FOUND, "no daemon is running; start one with: inline serve");
        return cli_fail(&t->why);
    }
    if (isatty(STDOUT_FILENO))
        terminal_size(&t->view.columns, &t->view.rows);
    else
        t->view.columns = COLUMNS_ONCE;
    t->view.rows = 0;
    draw(t);
    return cli_print(&t->drawing);
}

int cli_top(int argc, char **argv, const struct settings *s)
{
    bool is_once = false;
    double interval_s = 1;
    const struct cli_option options[] = {
        {"once", CLI_FLAG, &is_once, 0, 0}, {"interval", CLI_FLOAT, &interval_s, 0.1, 3600}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("top takes no arguments, only --interval and --once");
    setlocale(LC_CTYPE, ""); /* whether the terminal understands UTF-8 */
    const char *no_color = getenv("NO_COLOR");
    struct top t = {
        .settings = s,
        .view = {.window = "15m",
                 .has_colour = isatty(STDOUT_FILENO) && !(no_color && *no_color),
                 .is_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
                 .is_live = !is_once && terminal_is_there()},
    };
    buf_init(&t.drawing, DRAWING_MAX);
    int status = t.view.is_live ? run_live(&t, interval_s) : run_once(&t);
    buf_clear(&t.drawing);
    json_read_free(&t.status);
    json_read_free(&t.journal);
    json_read_free(&t.story);
    return status;
}
