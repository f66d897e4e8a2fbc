/* Private to `inline bench targets`: what is measured, and the parts that measure it. */
#ifndef CLI_BENCH_TARGETS_H
#define CLI_BENCH_TARGETS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/bench/daemon.h"

struct settings;

/* In the order of bench_targets_rows. */
enum bench_target {
    TARGET_CACHED,
    TARGET_FRESH,
    TARGET_LOAD_SMALL,
    TARGET_LOAD_LARGE,
    TARGET_CONTEXT,
    TARGET_CACHE_OPERATION,
    TARGET_MEMORY_BASE,
    TARGET_MEMORY_SMALL,
    TARGET_MEMORY_LARGE,
    TARGET_CACHE_SIZE,
    TARGET_CPU_IDLE,
    TARGET_CPU_ACTIVE,
    TARGET_CPU_BACKGROUND,
    TARGET_N
};

struct bench_target_row {
    const char *key;   /* in JSON */
    const char *what;  /* the figure that is held against the limit included */
    const char *unit;  /* "ms", "MB" (10^6 bytes), "%" */
    double limit;      /* must be less */
    double aim;        /* what we want it to be less than; 0: nothing in particular */
    const char *sense; /* how it is measured */
};
extern const struct bench_target_row bench_targets_rows[TARGET_N];

#define TARGET_DETAILS_MAX 6

struct bench_target_figure {
    bool is_measured;
    double value;
    char why[160];                         /* it was not measured */
    const char *names[TARGET_DETAILS_MAX]; /* figures beside it, in the row's unit unless the name tells */
    double details[TARGET_DETAILS_MAX];
    int32_t n_details;
};

/* One run. */
struct bench_targets {
    const struct settings *settings;
    struct bench_daemon daemon;
    const atomic_bool *interrupted;
    bool is_quick;
    bool shows_steps;    /* on stderr */
    char *small, *large; /* paths of models, or null; owned */
    struct bench_target_figure figures[TARGET_N];
};

void bench_targets_set(struct bench_targets *t, enum bench_target target, double value);
void bench_targets_detail(struct bench_targets *t, enum bench_target target, const char *name, double value);
void bench_targets_skip(struct bench_targets *t, enum bench_target target, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void bench_targets_step(const struct bench_targets *t, const char *what);

/* Sleep; ERR_CANCELLED: the user interrupts. */
MUST_CHECK enum err bench_targets_wait(const struct bench_targets *t, double ms, struct errmsg *msg);
/* What the running daemon tells of itself; json_read_free. */
MUST_CHECK enum err bench_targets_status(const struct bench_targets *t, struct json_value **status,
                                         struct errmsg *msg);
/* A number in `object` at these keys, up to a null; 0: it is not there. */
double bench_targets_number(const struct json_value *object, const char *const keys[]);

/* --- Times: targets_time.c ------------------------------------------------------------------------ */

/* A daemon with this model is started, several times, each asked for one token: into the figure of `target`.
 * The last one runs on. */
MUST_CHECK enum err bench_targets_load(struct bench_targets *t, const char *model, enum bench_target target,
                                       struct errmsg *msg);
/* Questions at many places, the same again, and typing between them. */
MUST_CHECK enum err bench_targets_times(struct bench_targets *t, struct errmsg *msg);
/* Keys at the rate of somebody who types fast, each giving up the question before: how much of the processors
 * the daemon takes, in percent, and how many keys were answered before the next. */
MUST_CHECK enum err bench_targets_type(struct bench_targets *t, double *cpu_percent, double *answered_percent,
                                       struct errmsg *msg);

/* --- What it takes: targets_use.c ----------------------------------------------------------------- */

/* Of a daemon without a model, which is started and ended. */
MUST_CHECK enum err bench_targets_base(struct bench_targets *t, struct errmsg *msg);
/* The running daemon's memory beyond the pages of files. */
MUST_CHECK enum err bench_targets_memory(struct bench_targets *t, enum bench_target target,
                                         struct errmsg *msg);
MUST_CHECK enum err bench_targets_idle(struct bench_targets *t, struct errmsg *msg);
/* A project is opened and indexed, and asked in. */
MUST_CHECK enum err bench_targets_project(struct bench_targets *t, struct errmsg *msg);
/* Lookups and sizes of caches, as the daemon counted them. */
MUST_CHECK enum err bench_targets_caches(struct bench_targets *t, struct errmsg *msg);

/* A processor clock that runs between two looks at the daemon. */
struct bench_targets_clock {
    int64_t cpu_ns, at_ns;
};
void bench_targets_clock_start(const struct bench_targets *t, struct bench_targets_clock *c);
/* Percent of all processors' time since then; below 0: the system does not tell. */
double bench_targets_clock_percent(const struct bench_targets *t, const struct bench_targets_clock *c);

/* --- The text: targets_text.c --------------------------------------------------------------------- */

#define BENCH_TARGETS_DOCUMENT "bench.c"

/* A document and places in it where something may be typed. */
struct bench_targets_text {
    struct buf text;
};
MUST_CHECK enum err bench_targets_text_open(struct bench_targets_text *d, struct errmsg *msg);
void bench_targets_text_clear(struct bench_targets_text *d);

/* A question as a client of POST /infill puts it. */
struct bench_targets_question {
    int32_t place;      /* number of the place */
    int32_t n_typed;    /* characters typed there */
    int32_t max_tokens; /* 0: as many as the user's settings say */
    const char *file;   /* path; or null: it is called BENCH_TARGETS_DOCUMENT, and on no disk */
    int patience_ms;    /* -1: until it is answered */
};
struct bench_targets_answer {
    double wall_ms;              /* as the client sees it, connecting included */
    double total_ms, context_ms; /* in the daemon */
    bool is_cached;
    int64_t n_tokens; /* of the text */
};
/* ERR_CANCELLED: the user interrupts, or patience is over (then *out is all zero, and msg is as it was). */
MUST_CHECK enum err bench_targets_ask(const struct bench_targets *t, const struct bench_targets_text *d,
                                      const struct bench_targets_question *q,
                                      struct bench_targets_answer *out, struct errmsg *msg);

#endif
