/* Private to `inline bench trace`: what was asked for, and its three ways of replaying. */
#ifndef CLI_BENCH_TRACE_H
#define CLI_BENCH_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/bench/bench.h"
#include "cli/bench/ask.h"
#include "cli/bench/text.h"

struct bench_trace_plan {
    const char *file;
    int64_t line, column;
    const char *type; /* text to type, or null: */
    int64_t n_keys;   /* type the next n_keys characters of the file, which are taken out of it */
    double rate;      /* keys per second; 0: each key waits for the answer to the one before */
    bool has_refresh; /* engine_seq_refresh in the pauses between keys */
    bool is_check;
    int64_t n_edits; /* of a check */
    bool is_json;
    int32_t max_tokens, n_ctx;
    int64_t max_prompt;                /* tokens; 0: the product's own */
    int64_t lines_before, lines_after; /* -1: no limit but max_prompt */
    int32_t order;                     /* enum fim_order; FIM_PREFIX_ONLY: the model's own */
    struct engine_options engine;
    int32_t packed; /* enum bench_packed */
};

/* A sequence of e's engine, set up as the plan says. ERR_UNSUPPORTED: the model cannot use the order. The
 * sequence is closed by bench_trace_asker_close. */
MUST_CHECK enum err bench_trace_asker_open(const struct bench_trace_plan *plan, const struct bench_engine *e,
                                           struct bench_asker *out, struct errmsg *msg);
void bench_trace_asker_close(struct bench_asker *a);

/* What every report of a trace begins with: machine, engine options, prompt. */
void bench_trace_add_plan(struct json *j, const struct bench_trace_plan *plan, const struct bench_engine *e,
                          const struct bench_asker *a);

/* What is typed: n characters. */
struct bench_keys {
    char *text; /* owned */
    size_t len;
    int32_t n;
};

/* One after the other, each key waiting for the answer to the one before. */
MUST_CHECK enum err bench_trace_each(const struct bench_trace_plan *plan, const struct bench_engine *e,
                                     struct bench_asker *a, struct bench_text *t,
                                     const struct bench_keys *keys, struct errmsg *msg);

/* At plan->rate; a key cancels the answer to the one before. */
MUST_CHECK enum err bench_trace_paced(const struct bench_trace_plan *plan, const struct bench_engine *e,
                                      struct bench_asker *a, struct bench_text *t,
                                      const struct bench_keys *keys, struct errmsg *msg);

/* Edits all over the files; answers from reused and moved KV against answers computed from nothing. */
MUST_CHECK enum err bench_trace_check(const struct bench_trace_plan *plan, const char *model,
                                      const struct settings *s, char *const *files, int32_t n_files,
                                      struct errmsg *msg);

#endif
