/* The rows of every metric, in the order of enum metric_id, and what is normal. */
#include "watch/metric_table.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "watch/metrics.h"

#define COUNTER   METRIC_COUNTER
#define GAUGE     METRIC_GAUGE
#define HISTOGRAM METRIC_HISTOGRAM

/* Values of labels whose enum is elsewhere: enum service_outcome and service_event in service/service.h, enum
 * service_cache_source and service_cache_miss in service/service_impl.h. */
#define OUTCOMES      "ok superseded shed unavailable bad error cancelled"
#define EVENTS        "shown accepted partly_accepted dismissed"
#define CACHE_SOURCES "memory typed in-flight disk project team"
#define CACHE_MISSES  "new other short edited evicted long off"
#define CACHE_LEVELS  "memory disk project team"
#define STAGES        "queue context cache_memory cache_disk cache_project cache_team prefill decode post"

/* clang-format off */
const struct metric_row metric_table[METRIC_N] = {
    [METRIC_REQUESTS] = {"inline_requests_total", COUNTER, "requests", "outcome", OUTCOMES,
        "Requests by how they ended."},
    [METRIC_REQUESTS_BY_API] = {"inline_api_requests_total", COUNTER, "requests", "api",
        "lsp infill completion openai ollama own", "Requests by the interface through which they came."},
    [METRIC_REQUEST_SECONDS] = {"inline_request_seconds", HISTOGRAM, "seconds", "answer",
        "cached computed none",
        "Time from a request to its answer, by whether that was found in a cache, computed, or empty."},
    [METRIC_FIRST_TOKEN_SECONDS] = {"inline_first_token_seconds", HISTOGRAM, "seconds", NULL, NULL,
        "Time from a request to the first token that was generated for it."},
    [METRIC_STAGE_SECONDS] = {"inline_stage_seconds", HISTOGRAM, "seconds", "stage", STAGES,
        "Time that each stage of a request took."},
    [METRIC_REQUESTS_RUNNING] = {"inline_requests_running", GAUGE, "requests", NULL, NULL,
        "Requests that are being computed."},
    [METRIC_REQUESTS_WAITING] = {"inline_requests_waiting", GAUGE, "requests", NULL, NULL,
        "Requests that wait for a sequence."},
    [METRIC_ERRORS] = {"inline_errors_total", COUNTER, "errors", "kind",
        "request unavailable model remote memory internal",
        "Requests that were not met, by what was at fault."},
    [METRIC_QUIET] = {"inline_quiet_total", COUNTER, "requests", "reason",
        "deleting in-word in-number unsure secret-file",
        "Requests for which nothing was shown on purpose, by why."},

    [METRIC_PROMPT_TOKENS] = {"inline_prompt_tokens_total", COUNTER, "tokens", "source",
        "reused restored moved computed", "Tokens of prompts, by where their KV came from."},
    [METRIC_PREDICTED_TOKENS] = {"inline_predicted_tokens_total", COUNTER, "tokens", NULL, NULL,
        "Tokens generated."},
    [METRIC_DRAFTED_TOKENS] = {"inline_drafted_tokens_total", COUNTER, "tokens", NULL, NULL,
        "Tokens proposed by speculation."},
    [METRIC_ACCEPTED_TOKENS] = {"inline_accepted_tokens_total", COUNTER, "tokens", NULL, NULL,
        "Tokens proposed by speculation that were right."},

    [METRIC_SUGGESTIONS] = {"inline_suggestions_total", COUNTER, "suggestions", "event", EVENTS,
        "Suggestions, by what editors told about them."},
    [METRIC_SUGGESTION_CHARACTERS] = {"inline_suggestion_characters_total", COUNTER, "characters", "event",
        EVENTS, "Characters of suggestions, by what editors told about them."},
    [METRIC_KEPT] = {"inline_accepted_suggestions_checked_total", COUNTER, "suggestions", "fate",
        "kept changed",
        "Accepted suggestions that were looked at again later, by whether they still stood as inserted."},

    [METRIC_CACHE_HITS] = {"inline_cache_hits_total", COUNTER, "answers", "source", CACHE_SOURCES,
        "Answers that were not computed, by where they were found."},
    [METRIC_CACHE_MISSES] = {"inline_cache_misses_total", COUNTER, "answers", "reason", CACHE_MISSES,
        "Answers that were computed, by why no cache had them."},
    [METRIC_CACHE_ENTRIES] = {"inline_cache_entries", GAUGE, "completions", "level", CACHE_LEVELS,
        "Completions that each level of the cache holds."},
    [METRIC_CACHE_BYTES] = {"inline_cache_bytes", GAUGE, "bytes", "level", CACHE_LEVELS,
        "Bytes that each level of the cache takes."},
    [METRIC_CACHE_MAX_BYTES] = {"inline_cache_max_bytes", GAUGE, "bytes", "level", CACHE_LEVELS,
        "Bytes that each level of the cache may take; 0 where it is off or somebody else's."},
    [METRIC_PREFETCHES] = {"inline_prefetches_total", COUNTER, "completions", "fate", "computed used",
        "Completions computed before anybody asked, and those of them that were asked for afterwards."},

    [METRIC_MODELS_LOADED] = {"inline_models_loaded", GAUGE, "models", NULL, NULL,
        "Models that take requests."},
    [METRIC_MODEL_LOADS] = {"inline_model_loads_total", COUNTER, "loads", NULL, NULL,
        "Models that began to load."},
    [METRIC_MODEL_LOAD_FAILURES] = {"inline_model_load_failures_total", COUNTER, "loads", NULL, NULL,
        "Models that could not be loaded."},
    [METRIC_MODEL_UNLOADS] = {"inline_model_unloads_total", COUNTER, "models", NULL, NULL,
        "Models that were unloaded."},
    [METRIC_MODEL_LOAD_SECONDS] = {"inline_model_load_seconds", HISTOGRAM, "seconds", NULL, NULL,
        "Time until a model could take its first request."},

    [METRIC_MEMORY_BYTES] = {"inline_memory_bytes", GAUGE, "bytes", "part",
        "weights packs kv completions documents heap other", "Resident bytes, by what they are for."},
    [METRIC_MEMORY_MAX_BYTES] = {"inline_memory_max_bytes", GAUGE, "bytes", NULL, NULL,
        "Bytes that the process may take: the tightest limit that holds for it."},
    [METRIC_MEMORY_SHARE] = {"inline_memory_share", GAUGE, "ratio", NULL, NULL,
        "Memory in use, as a share of what is tightest: our limit, the control group's, or the machine's."},
    [METRIC_WEIGHTS_MAPPED_BYTES] = {"inline_weights_mapped_bytes", GAUGE, "bytes", NULL, NULL,
        "Bytes of model files and packs that are mapped, resident or not."},
    [METRIC_CPU_SHARE] = {"inline_cpu_share", GAUGE, "ratio", "whose", "own others",
        "Processors in use, as a share of all of them."},
    [METRIC_GOVERNOR_THREADS] = {"inline_governor_threads", GAUGE, "threads", NULL, NULL,
        "Threads that compute."},
    [METRIC_GOVERNOR_SPEED] = {"inline_governor_speed", GAUGE, "ratio", NULL, NULL,
        "Speed of computing, as a share of full speed."},
    [METRIC_GOVERNOR_CPU_CEILING] = {"inline_governor_cpu_ceiling", GAUGE, "ratio", NULL, NULL,
        "Share of the processors' time that may be used."},
    [METRIC_GOVERNOR_BACKGROUND] = {"inline_governor_background", GAUGE, "flag", NULL, NULL,
        "1 while work in the background is allowed, else 0."},
    [METRIC_GOVERNOR_KV_BYTES] = {"inline_governor_kv_bytes", GAUGE, "bytes", NULL, NULL,
        "Bytes that KV may take; 0: as configured."},
    [METRIC_GOVERNOR_ACTIONS] = {"inline_governor_actions_total", COUNTER, "actions", "action", NULL,
        "Times that memory was given back, by how."},
    [METRIC_GOVERNOR_GIVEN_BYTES] = {"inline_governor_given_bytes_total", COUNTER, "bytes", NULL, NULL,
        "Bytes that actions gave back, as measured afterwards."},

    [METRIC_REMOTE_UP] = {"inline_remote_up", GAUGE, "flag", "server", NULL,
        "1 while a server elsewhere answers, else 0."},
    [METRIC_REMOTE_REQUESTS] = {"inline_remote_requests_total", COUNTER, "requests", "server", NULL,
        "Requests that a model server elsewhere was given, repeated ones included."},
    [METRIC_REMOTE_FAILURES] = {"inline_remote_failures_total", COUNTER, "requests", "server", NULL,
        "Requests that a server elsewhere did not answer."},
    [METRIC_REMOTE_CONNECTIONS] = {"inline_remote_connections", GAUGE, "connections", "server", NULL,
        "Connections to a model server elsewhere, idle ones included."},
    [METRIC_REMOTE_FALLBACKS] = {"inline_remote_fallbacks_total", COUNTER, "requests", NULL, NULL,
        "Requests that the instant model answered because no server elsewhere did in time."},

    [METRIC_ALERT_FIRING] = {"inline_alert_firing", GAUGE, "flag", "rule", NULL,
        "1 while an alert fires, else 0."},
    [METRIC_ALERTS] = {"inline_alerts_total", COUNTER, "alerts", "rule", NULL,
        "Times that an alert began to fire."},

    [METRIC_PROCESS_CPU_SECONDS] = {"process_cpu_seconds_total", GAUGE, "seconds", NULL, NULL,
        "Processor time that the process has used, in user and system mode."},
    [METRIC_PROCESS_RESIDENT_BYTES] = {"process_resident_memory_bytes", GAUGE, "bytes", NULL, NULL,
        "Resident memory of the process."},
    [METRIC_PROCESS_OPEN_FDS] = {"process_open_fds", GAUGE, "files", NULL, NULL,
        "File descriptors that the process has open."},
    [METRIC_PROCESS_START_SECONDS] = {"process_start_time_seconds", GAUGE, "seconds", NULL, NULL,
        "When the process started, since 1970."},
    [METRIC_BUILD_INFO] = {"inline_build_info", GAUGE, "flag", "version", NULL,
        "1, labelled with the version of Inline."},
};

const struct metric_target metric_targets[] = {
    {"cached", METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, "p50", 0.1, false,
        "a completion from a cache is there in 100 ms"},
    {"cached-slowest", METRIC_REQUEST_SECONDS, METRIC_ANSWER_CACHED, "p99", 0.002, false,
        "99 of 100 completions from a cache are there in 2 ms"},
    {"fresh", METRIC_REQUEST_SECONDS, METRIC_ANSWER_COMPUTED, "p50", 0.5, false,
        "a computed completion is there in 500 ms"},
    {"context", METRIC_STAGE_SECONDS, METRIC_STAGE_CONTEXT, "p99", 0.05, false,
        "choosing what the model sees takes 50 ms at most"},
    {"cache-memory", METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_MEMORY, "p99", 0.01, false,
        "looking into the cache in memory takes 10 ms at most"},
    {"cache-disk", METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_DISK, "p99", 0.01, false,
        "looking into the cache on disk takes 10 ms at most"},
    {"cache-project", METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_PROJECT, "p99", 0.01, false,
        "looking into the project's cache takes 10 ms at most"},
    {"cache-team", METRIC_STAGE_SECONDS, METRIC_STAGE_CACHE_TEAM, "p99", 0.01, false,
        "looking into the team's cache takes 10 ms at most"},
    {"model-load", METRIC_MODEL_LOAD_SECONDS, 0, "p50", 2, false, "a model is loaded in 2 s"},
    {"hit-rate", METRIC_CACHE_HITS, -1, "rate", 0.8, true, "8 of 10 answers come from caches"},
    {"errors", METRIC_ERRORS, -1, "rate", 0.05, false, "at most 1 of 20 requests fails"},
    {"memory", METRIC_MEMORY_SHARE, 0, "value", 0.9, false,
        "at most nine tenths of the memory are in use"},
    {"cpu", METRIC_CPU_SHARE, METRIC_CPU_OWN, "value", 0.3, false, "at most three tenths of the processors are ours"},
};
/* clang-format on */

const int32_t metric_n_targets = sizeof metric_targets / sizeof *metric_targets;

bool metric_label_name(enum metric_id id, int32_t i, char out[static 32])
{
    const char *value = metric_table[id].values ? metric_table[id].values : "";
    out[0] = '\0';
    for (; i > 0 && *value; i--) {
        value += strcspn(value, " ");
        value += *value == ' ';
    }
    if (i != 0 || !*value) return false;
    snprintf(out, 32, "%.*s", (int)strcspn(value, " "), value);
    return true;
}

int32_t metric_n_labels(enum metric_id id)
{
    const struct metric_row *row = &metric_table[id];
    if (!row->label) return 1;
    if (!row->values) return 0;
    int32_t n = 1;
    for (const char *c = row->values; *c; c++) n += *c == ' ';
    return n;
}

static const char *const kind_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

const char *metric_type_name(enum metric_id id)
{
    static const char suffix[] = "_total";
    const struct metric_row *row = &metric_table[id];
    size_t len = strlen(row->name), suffix_len = strlen(suffix);
    if (row->kind != METRIC_GAUGE) return kind_names[row->kind];
    bool is_total = len > suffix_len && strcmp(row->name + len - suffix_len, suffix) == 0;
    return kind_names[is_total ? METRIC_COUNTER : METRIC_GAUGE];
}

/* --- The table, written -------------------------------------------------------------------------------- */

static void write_target(struct json *j, const struct metric_target *t)
{
    char label[32] = "", value[32];
    if (t->label >= 0) metric_label_name(t->metric, t->label, label);
    int len = snprintf(value, sizeof value, "%.9g", t->value);
    json_begin_object(j, NULL);
    json_str(j, "name", t->name);
    json_str(j, "metric", metric_table[t->metric].name);
    json_str(j, "label", label);
    json_str(j, "figure", t->figure);
    json_raw(j, "value", value, (size_t)len);
    json_flag(j, "at_least", t->is_at_least);
    json_str(j, "help", t->help);
    json_end_object(j);
}

void metric_table_write(struct json *j)
{
    json_begin_array(j, "metrics");
    for (int32_t i = 0; i < METRIC_N; i++) {
        const struct metric_row *row = &metric_table[i];
        json_begin_object(j, NULL);
        json_str(j, "name", row->name);
        json_str(j, "kind", kind_names[row->kind]);
        json_str(j, "unit", row->unit);
        json_str(j, "label", row->label ? row->label : "");
        json_str(j, "help", row->help);
        json_end_object(j);
    }
    json_end_array(j);
    json_begin_array(j, "targets");
    for (int32_t i = 0; i < metric_n_targets; i++) write_target(j, &metric_targets[i]);
    json_end_array(j);
}

static void write_values(struct buf *out, const struct metric_row *row)
{
    if (!row->label) return;
    buf_printf(out, "`%s`", row->label);
    const char *next = row->values;
    for (const char *separator = ": "; next && *next; separator = ", ") {
        size_t len = strcspn(next, " ");
        buf_printf(out, "%s%.*s", separator, (int)len, next);
        next += len + (next[len] == ' ');
    }
}

static void write_target_row(struct buf *out, const struct metric_target *t)
{
    const struct metric_row *row = &metric_table[t->metric];
    char label[32] = "";
    if (t->label >= 0) metric_label_name(t->metric, t->label, label);
    buf_printf(out, "| %s | %s of `%s", t->name, t->figure, row->name);
    if (*label) buf_printf(out, "{%s=\"%s\"}", row->label, label);
    buf_printf(out, "` | %s %g %s | %s |\n", t->is_at_least ? ">=" : "<=", t->value,
               strcmp(t->figure, "rate") == 0 ? "ratio" : row->unit, t->help);
}

void metric_table_write_markdown(struct buf *out)
{
    static const char head[] =
        "# Metrics\n\n"
        "What the daemon counts, measures and times. `GET /metrics` tells all of it to Prometheus; the\n"
        "dashboard and `inline status` show it to people. This file is written from the table in\n"
        "`src/watch/metric_table.c`, and a test compares the two.\n\n"
        "Counters only grow, from 0 at the daemon's start. Gauges are what is so now. Histograms say how\n"
        "often which time was measured; a quantile is within 1 % of the exact one. A histogram\n"
        "`NAME_seconds` has a second family in `/metrics`, `NAME_window_seconds`: the quantiles 0.5, 0.95\n"
        "and 0.99 (label `quantile`) of what was measured in the last minute, 15 minutes and day (label\n"
        "`window`: 1m, 15m, 24h), if anything was.\n\n"
        "| name | kind | unit | label: values | meaning |\n|---|---|---|---|---|\n";
    static const char targets[] =
        "\n## What is normal\n\n"
        "Drawn in the dashboard's charts. A rate is that of all values of the label together: cache hits as\n"
        "a share of hits and misses, errors as a share of requests.\n\n"
        "| target | figure | normal | in words |\n|---|---|---|---|\n";
    buf_add_str(out, head);
    for (int32_t i = 0; i < METRIC_N; i++) {
        const struct metric_row *row = &metric_table[i];
        const char *kind = metric_type_name((enum metric_id)i);
        buf_printf(out, "| `%s` | %s | %s | ", row->name, kind, row->unit);
        write_values(out, row);
        buf_printf(out, " | %s |\n", row->help);
    }
    buf_add_str(out, targets);
    for (int32_t i = 0; i < metric_n_targets; i++) write_target_row(out, &metric_targets[i]);
}
