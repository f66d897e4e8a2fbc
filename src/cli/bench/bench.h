/* Shared by the commands of `inline bench`: the engine that they measure, and figures of many samples. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "infer/engine.h"

struct json;
struct model;
struct settings;

int bench_model(int argc, char **argv, const struct settings *s);
int bench_trace(int argc, char **argv, const struct settings *s);
int bench_context(int argc, char **argv, const struct settings *s);
int bench_cache(int argc, char **argv, const struct settings *s);
int bench_targets(int argc, char **argv, const struct settings *s);

/* Packed weights: those that are there already, or built and waited for, or none. */
enum bench_packed { BENCH_PACKED_FOUND, BENCH_PACKED_ON, BENCH_PACKED_OFF };

/* An engine and the model that it alone uses. Zero-initialise; free with bench_engine_close. */
struct bench_engine {
    struct model *model;
    struct engine *engine;
    bool is_packed;
    double load_ms;        /* opening the model and the engine */
    double first_token_ms; /* that, and the logits after a first token; waiting for packed weights not
                              included */
    double resident_ms;    /* from when reading ahead began, until all weights in use were in memory */
};

/* Open both for measuring with these options (those about packed weights, threads and isa are set here),
 * compute a first token, then wait for packed weights where they are wanted, and until all weights are in
 * memory. ERR_UNSUPPORTED:
 * BENCH_PACKED_ON, but there cannot be any. */
MUST_CHECK enum err bench_engine_open(const char *path, const struct settings *s,
                                      const struct engine_options *options, enum bench_packed packed,
                                      struct bench_engine *out, struct errmsg *msg);
void bench_engine_close(struct bench_engine *e);

/* Model, processor, kernels, threads: what every report begins with. */
void bench_add_machine(struct json *j, const struct bench_engine *e);
void bench_print_machine(const struct bench_engine *e);

/* Sort values and return what p (0 to 1) of them do not exceed, between neighbours by linear interpolation;
 * 0 for none. */
double bench_percentile(double *values, int32_t n, double p);

/* The value of a two-word option such as --move on|off. False after printing that it is neither. */
bool bench_read_choice(const char *option, const char *text, const char *const *words, int32_t n_words,
                       int32_t *out);

#endif
