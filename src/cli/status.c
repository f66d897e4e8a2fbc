/* `inline status`: what the running daemon has loaded, uses and does about it, as it tells it (GET /status).
 */
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/size.h"
#include "cli/cli.h"

#define REPORT_LIMIT ((size_t)1 << 20)
#define EVENTS_SHOWN 8 /* the newest; --json has all that are kept */

static int64_t number(const struct json_value *object, const char *key)
{
    int64_t n = 0;
    (void)json_get_int(json_get(object, key), &n);
    return n;
}

static double real(const struct json_value *object, const char *key)
{
    double n = 0;
    (void)json_get_num(json_get(object, key), &n);
    return n;
}

static const char *text(const struct json_value *object, const char *key)
{
    const char *s = json_get_str(json_get(object, key), NULL);
    return s ? s : "";
}

static bool flag(const struct json_value *object, const char *key)
{
    bool is_on = false;
    (void)json_get_flag(json_get(object, key), &is_on);
    return is_on;
}

/* "12 s", "3 min", "2 h 5 min", "4 d 2 h". */
static void add_time(struct buf *out, double seconds)
{
    int64_t s = seconds > 0 ? (int64_t)(seconds + 0.5) : 0;
    if (s < 60)
        buf_printf(out, "%" PRId64 " s", s);
    else if (s < 3600)
        buf_printf(out, "%" PRId64 " min", s / 60);
    else if (s < 86400)
        buf_printf(out, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    else
        buf_printf(out, "%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
}

static void add_size(struct buf *out, int64_t bytes)
{
    char size[SIZE_TEXT_MAX];
    buf_add_str(out, size_text(bytes, size));
}

/* --- Sections ------------------------------------------------------------------------------------------- */

static void add_head(const struct json_value *status, struct buf *out)
{
    int64_t n = number(status, "requests");
    buf_printf(out, "inline %s, process %" PRId64 ", up ", text(status, "version"), number(status, "pid"));
    add_time(out, real(status, "uptime_s"));
    buf_printf(out, "; %" PRId64 " request%s running\n", n, n == 1 ? "" : "s");
}

/* The second line of a model that is in memory. */
static void add_weights(const struct json_value *m, struct buf *out)
{
    int64_t weights = number(m, "weight_bytes"), loads = number(m, "loads");
    buf_add_str(out, "    weights ");
    add_size(out, number(m, "resident_bytes"));
    buf_add_str(out, " in memory of ");
    add_size(out, weights);
    if (number(m, "read_bytes") < weights) buf_add_str(out, ", being read");
    buf_add_str(out, "; KV ");
    add_size(out, number(m, "kv_bytes"));
    buf_printf(out, "; loaded %" PRId64 " time%s, the last in %.0f ms\n", loads, loads == 1 ? "" : "s",
               real(m, "load_ms"));
}

static void add_model(const struct json_value *m, struct buf *out)
{
    const char *state = text(m, "state"), *role = text(m, "role"), *precision = text(m, "precision");
    bool is_loaded = strcmp(state, "ready") == 0 || strcmp(state, "unloading") == 0;
    buf_printf(out, "  %-28s %-9s %-9s ", text(m, "name"), state, role);
    add_size(out, number(m, "bytes"));
    if (*text(m, "format")) buf_printf(out, " %s", text(m, "format"));
    if (*precision && strcmp(precision, "full") != 0) /* full: as the file has them */
        buf_printf(out, ", %s precision", precision);
    if (is_loaded && number(m, "requests") > 0) {
        buf_printf(out, ", %" PRId64 " running", number(m, "requests"));
    } else if (is_loaded) {
        buf_add_str(out, ", idle for ");
        add_time(out, real(m, "idle_s"));
    }
    buf_add_char(out, '\n');
    if (strcmp(state, "failed") == 0) buf_printf(out, "    %s\n", text(m, "error"));
    if (is_loaded) add_weights(m, out);
}

static void add_models(const struct json_value *status, struct buf *out)
{
    const struct json_value *models = json_get(status, "models");
    buf_add_str(out, "\nmodels\n");
    for (size_t i = 0; i < json_count(models); i++) add_model(json_at(models, i), out);
}

static void add_memory(const struct json_value *status, const struct json_value *governor, struct buf *out)
{
    const struct json_value *m = json_get(status, "memory");
    buf_add_str(out, "\nmemory\n  this process ");
    add_size(out, number(m, "rss_bytes"));
    buf_add_str(out, ": files ");
    add_size(out, number(m, "file_bytes"));
    buf_add_str(out, ", its own ");
    add_size(out, number(m, "anon_bytes"));
    buf_add_str(out, " (KV ");
    add_size(out, number(m, "kv_bytes"));
    buf_add_str(out, ", suggestions ");
    add_size(out, number(m, "cache_bytes"));
    buf_add_str(out, ")\n");
    const struct json_value *sample = json_get(governor, "sample");
    if (!sample) return;
    const char *of = text(governor, "memory_of");
    buf_printf(out, "  %.0f %% in use of what %s; steps back from %.0f %%\n",
               100 * real(governor, "memory_share"),
               strcmp(of, "limit") == 0   ? "limits.memory_mb allows"
               : strcmp(of, "group") == 0 ? "its control group may take"
                                          : "the machine has",
               100 * real(governor, "memory_level"));
}

static void add_processors(const struct json_value *governor, struct buf *out)
{
    const struct json_value *o = json_get(governor, "orders"), *sample = json_get(governor, "sample");
    int64_t threads = number(o, "threads");
    buf_printf(out, "\nprocessors\n  %" PRId64 " thread%s", threads, threads == 1 ? "" : "s");
    if (real(o, "speed") < 1) buf_printf(out, ", %.0f %% of full speed", 100 * real(o, "speed"));
    if (real(o, "cpu_ceiling") < 1)
        buf_printf(out, ", at most %.0f %% of the processors", 100 * real(o, "cpu_ceiling"));
    buf_add_str(out, flag(o, "background") ? ", background work allowed" : ", no background work");
    if (number(o, "debounce_ms") > 0)
        buf_printf(out, ", editors wait %" PRId64 " ms after a key", number(o, "debounce_ms"));
    buf_add_char(out, '\n');
    if (!sample) {
        buf_add_str(out, "  not looked at yet: it was idle\n");
        return;
    }
    buf_printf(out, "  %.0f %% busy: %.0f %% this process, %.0f %% others", 100 * real(governor, "cpu_share"),
               100 * real(governor, "own_share"), 100 * real(governor, "others_share"));
    if (flag(sample, "on_battery")) buf_add_str(out, "; on battery");
    if (flag(governor, "throttled")) buf_add_str(out, "; slowed down for heat");
    buf_add_str(out, "; looked at ");
    add_time(out, real(sample, "age_s"));
    buf_add_str(out, " ago\n");
}

static void add_caches(const struct json_value *status, struct buf *out)
{
    const struct json_value *caches = json_get(status, "caches");
    buf_printf(out, "\ncaches\n  %.0f %% of %" PRId64 " answers; more: inline cache stats\n",
               100 * real(caches, "hit_rate"), number(caches, "answers"));
}

static void add_events(const struct json_value *governor, struct buf *out)
{
    const struct json_value *events = json_get(governor, "events");
    size_t n = json_count(events);
    if (n == 0) return;
    buf_add_str(out, "\nstepped back\n");
    for (size_t i = 0; i < n && i < EVENTS_SHOWN; i++) {
        const struct json_value *e = json_at(events, i);
        buf_add_str(out, "  ");
        add_time(out, real(e, "ago_s"));
        buf_printf(out, " ago: %s; %s", text(e, "what"), text(e, "why"));
        if (number(e, "gave_bytes") > 0) {
            buf_add_str(out, "; gave back ");
            add_size(out, number(e, "gave_bytes"));
        }
        buf_add_char(out, '\n');
    }
}

static void add_report(const struct json_value *status, struct buf *out)
{
    const struct json_value *governor = json_get(status, "governor");
    add_head(status, out);
    add_models(status, out);
    add_memory(status, governor, out);
    if (governor) add_processors(governor, out);
    add_caches(status, out);
    add_events(governor, out);
}

int cli_status(int argc, char **argv, const struct settings *s)
{
    bool is_json = false;
    const struct cli_option options[] = {{"json", CLI_FLAG, &is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("status takes no arguments, only --json");
    struct errmsg msg = {0};
    struct json_value *status = NULL;
    enum err err = cli_ask(s, "/status", NULL, &status, &msg);
    if (err == ERR_NOT_FOUND)
        err_set(
            &msg, err,
            "no daemon is running; editors start one by themselves (inline lsp), and so does: inline serve");
    if (err) return cli_fail(&msg);
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (is_json) {
        json_write_value(status, &out);
        buf_add_char(&out, '\n');
    } else {
        add_report(status, &out);
    }
    json_read_free(&status);
    return cli_print(&out);
}
