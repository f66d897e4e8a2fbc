/* Every metric that there is: one row each, with its name, unit and a sentence of help. What exposes metrics
 * (GET /metrics, `inline status`, the dashboard) and what documents them (docs/metrics.md) reads this table.
 *
 * A metric has one series, or one for each value of its one label. */
#ifndef WATCH_METRIC_TABLE_H
#define WATCH_METRIC_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric_id {
    /* Requests. */
    METRIC_REQUESTS, /* by outcome: enum service_outcome, then METRIC_OUTCOME_CANCELLED */
    METRIC_REQUESTS_BY_API,
    METRIC_REQUEST_SECONDS, /* by answer */
    METRIC_FIRST_TOKEN_SECONDS,
    METRIC_STAGE_SECONDS, /* by stage */
    METRIC_REQUESTS_RUNNING,
    METRIC_REQUESTS_WAITING,
    METRIC_ERRORS, /* by kind */
    METRIC_QUIET,  /* by reason */
    /* Tokens. */
    METRIC_PROMPT_TOKENS, /* by source */
    METRIC_PREDICTED_TOKENS,
    METRIC_DRAFTED_TOKENS,
    METRIC_ACCEPTED_TOKENS,
    /* Suggestions, as editors tell. */
    METRIC_SUGGESTIONS,           /* by event: enum service_event */
    METRIC_SUGGESTION_CHARACTERS, /* by event */
    METRIC_KEPT,                  /* by fate */
    /* Caches of answers. */
    METRIC_CACHE_HITS,    /* by source: enum service_cache_source */
    METRIC_CACHE_MISSES,  /* by reason: enum service_cache_miss */
    METRIC_CACHE_ENTRIES, /* by level */
    METRIC_CACHE_BYTES,
    METRIC_CACHE_MAX_BYTES,
    METRIC_PREFETCHES, /* by fate */
    /* Models. */
    METRIC_MODELS_LOADED,
    METRIC_MODEL_LOADS,
    METRIC_MODEL_LOAD_FAILURES,
    METRIC_MODEL_UNLOADS,
    METRIC_MODEL_LOAD_SECONDS,
    /* Memory and processors. */
    METRIC_MEMORY_BYTES, /* by part */
    METRIC_MEMORY_MAX_BYTES,
    METRIC_MEMORY_SHARE,
    METRIC_WEIGHTS_MAPPED_BYTES,
    METRIC_CPU_SHARE, /* by whose */
    METRIC_GOVERNOR_THREADS,
    METRIC_GOVERNOR_SPEED,
    METRIC_GOVERNOR_CPU_CEILING,
    METRIC_GOVERNOR_BACKGROUND,
    METRIC_GOVERNOR_KV_BYTES,
    METRIC_GOVERNOR_ACTIONS, /* by action, named when they are registered */
    METRIC_GOVERNOR_GIVEN_BYTES,
    /* Servers elsewhere, named when they are configured. */
    METRIC_REMOTE_UP,
    METRIC_REMOTE_REQUESTS,
    METRIC_REMOTE_FAILURES,
    METRIC_REMOTE_CONNECTIONS,
    METRIC_REMOTE_FALLBACKS,
    /* Alerts, named by their rules. */
    METRIC_ALERT_FIRING,
    METRIC_ALERTS,
    /* The process; the names that Prometheus' client libraries use. */
    METRIC_PROCESS_CPU_SECONDS,
    METRIC_PROCESS_RESIDENT_BYTES,
    METRIC_PROCESS_OPEN_FDS,
    METRIC_PROCESS_START_SECONDS,
    METRIC_BUILD_INFO, /* 1, by version */
    METRIC_N
};

/* Values of labels that code counts by and that are no enum elsewhere, in the order of their rows. */
enum metric_answer { METRIC_ANSWER_CACHED, METRIC_ANSWER_COMPUTED, METRIC_ANSWER_NONE };
enum metric_stage {
    METRIC_STAGE_QUEUE,
    METRIC_STAGE_CONTEXT,
    METRIC_STAGE_CACHE_MEMORY,
    METRIC_STAGE_CACHE_DISK,
    METRIC_STAGE_CACHE_PROJECT,
    METRIC_STAGE_CACHE_TEAM,
    METRIC_STAGE_PREFILL,
    METRIC_STAGE_DECODE,
    METRIC_STAGE_POST,
    METRIC_N_STAGES
};
#define METRIC_OUTCOME_OK        0
#define METRIC_OUTCOME_CANCELLED 6 /* the client went away */
enum metric_error {
    METRIC_ERROR_REQUEST,
    METRIC_ERROR_UNAVAILABLE,
    METRIC_ERROR_MODEL,
    METRIC_ERROR_REMOTE,
    METRIC_ERROR_MEMORY,
    METRIC_ERROR_INTERNAL
};
enum metric_api {
    METRIC_API_LSP,
    METRIC_API_INFILL,
    METRIC_API_COMPLETION,
    METRIC_API_OPENAI,
    METRIC_API_OLLAMA,
    METRIC_API_OWN
};
enum metric_cpu { METRIC_CPU_OWN, METRIC_CPU_OTHERS };
enum metric_memory {
    METRIC_MEMORY_WEIGHTS, /* resident pages of model files */
    METRIC_MEMORY_PACKS,   /* resident pages of packed weights */
    METRIC_MEMORY_KV,
    METRIC_MEMORY_COMPLETIONS,
    METRIC_MEMORY_DOCUMENTS, /* open ones and the project's index */
    METRIC_MEMORY_HEAP,      /* the rest of the heap */
    METRIC_MEMORY_OTHER,     /* what the process has beside these: code, stacks, databases' pages */
    METRIC_N_MEMORY
};

struct metric_row {
    /* Prometheus' rules: base units, counters end in _total. A gauge that does so, too, is a total that is
     * counted elsewhere and set: Prometheus is told that it is a counter. */
    const char *name;
    enum metric_kind kind;
    const char *unit;   /* "seconds", "bytes", "ratio", "tokens", "requests" ... */
    const char *label;  /* "stage"; null: one series */
    const char *values; /* of the label, separated by spaces; null: named at run time (metrics_label) */
    const char *help;   /* one sentence */
};
extern const struct metric_row metric_table[METRIC_N];

/* What is normal: drawn in the dashboard's charts, told by `inline status`. */
struct metric_target {
    const char *name; /* "cached", "fresh", ... */
    enum metric_id metric;
    int label; /* of the metric; -1: of all */
    /* "p50", "p99", "mean", "value"; "rate": of METRIC_CACHE_HITS, hits / (hits + misses); of METRIC_ERRORS,
     * errors / requests; over all labels */
    const char *figure;
    double value;     /* in the metric's unit */
    bool is_at_least; /* else at most */
    const char *help; /* "a cached completion is there in 100 ms" */
};
extern const struct metric_target metric_targets[];
extern const int32_t metric_n_targets;

/* The label's i-th value into out ("" beyond them); false: there is no such one. For static labels. */
bool metric_label_name(enum metric_id id, int32_t i, char out[static 32]);
int32_t metric_n_labels(enum metric_id id); /* 1 without a label, 0 for those named at run time */
/* "counter", "gauge", "histogram", as Prometheus is told. */
const char *metric_type_name(enum metric_id id);

#endif
