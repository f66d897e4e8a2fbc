/* `inline status`: what the running daemon has loaded, uses and does about it, as it tells it (GET /status).
 */
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/status_figures.h"

#define REPORT_LIMIT ((size_t)1 << 20)
#define EVENTS_SHOWN 8 /* the newest; --json has all that are kept */

/* --- Sections ------------------------------------------------------------------------------------------- */

static void add_head(const struct json_value *status, struct buf *out)
{
    int64_t n = answer_int(status, "running");
    buf_printf(out, "inline %s, process %" PRId64 ", up ", answer_text(status, "version"),
               answer_int(status, "pid"));
    answer_add_time(out, answer_num(status, "uptime_s"));
    buf_printf(out, "; %" PRId64 " request%s running\n", n, n == 1 ? "" : "s");
}

/* The second line of a model that is in memory. */
static void add_weights(const struct json_value *m, struct buf *out)
{
    int64_t weights = answer_int(m, "weight_bytes"), loads = answer_int(m, "loads");
    buf_add_str(out, "    weights ");
    answer_add_size(out, answer_int(m, "resident_bytes"));
    buf_add_str(out, " in memory of ");
    answer_add_size(out, weights);
    if (answer_int(m, "read_bytes") < weights) buf_add_str(out, ", being read");
    buf_add_str(out, "; KV ");
    answer_add_size(out, answer_int(m, "kv_bytes"));
    buf_printf(out, "; loaded %" PRId64 " time%s, the last in %.0f ms\n", loads, loads == 1 ? "" : "s",
               answer_num(m, "load_ms"));
}

static void add_server(const struct json_value *server, struct buf *out)
{
    const char *error = answer_text(server, "error");
    int64_t n = answer_int(server, "requests"), n_connections = answer_int(server, "connections");
    buf_printf(out, "    %-28s %-5s %" PRId64 " request%s, %" PRId64 " failed, %" PRId64 " connection%s",
               answer_text(server, "name"), answer_text(server, "state"), n, n == 1 ? "" : "s",
               answer_int(server, "failed"), n_connections, n_connections == 1 ? "" : "s");
    if (answer_num(server, "first_token_p50_ms") > 0) {
        buf_printf(out, ", first token after %.0f ms (p95 %.0f)", answer_num(server, "first_token_p50_ms"),
                   answer_num(server, "first_token_p95_ms"));
    }
    if (*error && strcmp(answer_text(server, "state"), "up") != 0) buf_printf(out, ": %s", error);
    buf_add_char(out, '\n');
}

/* A model on other machines. */
static void add_remote(const struct json_value *m, struct buf *out)
{
    const struct json_value *servers = json_get(m, "servers");
    buf_printf(out, "  %-28s %-9s %-9s %s", answer_text(m, "name"), answer_text(m, "state"),
               answer_text(m, "role"), answer_text(m, "api"));
    if (*answer_text(m, "remote_model")) buf_printf(out, ", \"%s\"", answer_text(m, "remote_model"));
    if (answer_int(m, "requests") > 0) buf_printf(out, ", %" PRId64 " running", answer_int(m, "requests"));
    buf_add_char(out, '\n');
    if (*answer_text(m, "error")) buf_printf(out, "    %s\n", answer_text(m, "error"));
    for (size_t i = 0; i < json_count(servers); i++) add_server(json_at(servers, i), out);
}

static void add_model(const struct json_value *m, struct buf *out)
{
    if (*answer_text(m, "api")) {
        add_remote(m, out);
        return;
    }
    const char *state = answer_text(m, "state"), *role = answer_text(m, "role"),
               *precision = answer_text(m, "precision");
    bool is_loaded = strcmp(state, "ready") == 0 || strcmp(state, "unloading") == 0;
    buf_printf(out, "  %-28s %-9s %-9s ", answer_text(m, "name"), state, role);
    answer_add_size(out, answer_int(m, "bytes"));
    if (*answer_text(m, "format")) buf_printf(out, " %s", answer_text(m, "format"));
    if (*precision && strcmp(precision, "full") != 0) /* full: as the file has them */
        buf_printf(out, ", %s precision", precision);
    if (is_loaded && answer_int(m, "requests") > 0) {
        buf_printf(out, ", %" PRId64 " running", answer_int(m, "requests"));
    } else if (is_loaded) {
        buf_add_str(out, ", idle for ");
        answer_add_time(out, answer_num(m, "idle_s"));
    }
    buf_add_char(out, '\n');
    if (strcmp(state, "failed") == 0) buf_printf(out, "    %s\n", answer_text(m, "error"));
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
    answer_add_size(out, answer_int(m, "rss_bytes"));
    buf_add_str(out, ": files ");
    answer_add_size(out, answer_int(m, "file_bytes"));
    buf_add_str(out, ", its own ");
    answer_add_size(out, answer_int(m, "anon_bytes"));
    buf_add_str(out, " (KV ");
    answer_add_size(out, answer_int(m, "kv_bytes"));
    buf_add_str(out, ", suggestions ");
    answer_add_size(out, answer_int(m, "cache_bytes"));
    buf_add_str(out, ")\n");
    const struct json_value *sample = json_get(governor, "sample");
    if (!sample) return;
    const char *of = answer_text(governor, "memory_of");
    buf_printf(out, "  %.0f %% in use of what %s; steps back from %.0f %%\n",
               100 * answer_num(governor, "memory_share"),
               strcmp(of, "limit") == 0   ? "limits.memory_mb allows"
               : strcmp(of, "group") == 0 ? "its control group may take"
                                          : "the machine has",
               100 * answer_num(governor, "memory_level"));
}

static void add_processors(const struct json_value *governor, struct buf *out)
{
    const struct json_value *o = json_get(governor, "orders"), *sample = json_get(governor, "sample");
    int64_t threads = answer_int(o, "threads");
    buf_printf(out, "\nprocessors\n  %" PRId64 " thread%s", threads, threads == 1 ? "" : "s");
    if (answer_num(o, "speed") < 1) buf_printf(out, ", %.0f %% of full speed", 100 * answer_num(o, "speed"));
    if (answer_num(o, "cpu_ceiling") < 1)
        buf_printf(out, ", at most %.0f %% of the processors", 100 * answer_num(o, "cpu_ceiling"));
    buf_add_str(out, answer_flag(o, "background") ? ", background work allowed" : ", no background work");
    if (answer_int(o, "debounce_ms") > 0)
        buf_printf(out, ", editors wait %" PRId64 " ms after a key", answer_int(o, "debounce_ms"));
    buf_add_char(out, '\n');
    if (!sample) {
        buf_add_str(out, "  not looked at yet: it was idle\n");
        return;
    }
    buf_printf(out, "  %.0f %% busy: %.0f %% this process, %.0f %% others",
               100 * answer_num(governor, "cpu_share"), 100 * answer_num(governor, "own_share"),
               100 * answer_num(governor, "others_share"));
    if (answer_flag(sample, "on_battery")) buf_add_str(out, "; on battery");
    if (answer_flag(governor, "throttled")) buf_add_str(out, "; slowed down for heat");
    buf_add_str(out, "; looked at ");
    answer_add_time(out, answer_num(sample, "age_s"));
    buf_add_str(out, " ago\n");
}

static void add_caches(const struct json_value *status, struct buf *out)
{
    const struct json_value *caches = json_get(status, "caches");
    buf_printf(out, "\ncaches\n  %.0f %% of %" PRId64 " answers; more: inline cache stats\n",
               100 * answer_num(caches, "hit_rate"), answer_int(caches, "answers"));
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
        answer_add_time(out, answer_num(e, "ago_s"));
        buf_printf(out, " ago: %s; %s", answer_text(e, "what"), answer_text(e, "why"));
        if (answer_int(e, "gave_bytes") > 0) {
            buf_add_str(out, "; gave back ");
            answer_add_size(out, answer_int(e, "gave_bytes"));
        }
        buf_add_char(out, '\n');
    }
}

static void add_report(const struct json_value *status, struct buf *out)
{
    const struct json_value *governor = json_get(status, "governor");
    add_head(status, out);
    status_add_alerts(status, out);
    status_add_figures(status, out);
    add_models(status, out);
    add_memory(status, governor, out);
    if (governor) add_processors(governor, out);
    add_caches(status, out);
    add_events(governor, out);
}

int cli_status(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, shows_metrics = false;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"metrics", CLI_FLAG, &shows_metrics, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("status takes no arguments, only --json and --metrics");
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
    } else if (shows_metrics) {
        status_add_metrics(status, &out);
    } else {
        add_report(status, &out);
    }
    json_read_free(&status);
    return cli_print(&out);
}
