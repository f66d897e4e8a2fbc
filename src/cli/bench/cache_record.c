/* Made-up completions, as long as real ones: 180 bytes with what their prompts were drawn from. Each is told
 * by its number, so that nothing has to be remembered of a million of them. */
#include "cli/bench/cache.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAKER     0x6d616b6572 /* any number: all records are of the same model */
#define N_SOURCES 3            /* the window and two pieces of other files */

/* SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t bench_cache_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15; /* 2^64 divided by the golden ratio */
    return mix(*state);
}

/* The line before the cursor, and the answer: lines of code that differ in a number. Returns the bytes. */
static size_t write_typed(uint64_t i, char out[BENCH_TYPED_MAX])
{
    return (size_t)snprintf(out, BENCH_TYPED_MAX, "    int value_%05u = ", (unsigned)(i % 99991));
}

static size_t write_text(uint64_t i, char out[BENCH_TYPED_MAX])
{
    unsigned number = (unsigned)(mix(i) % 99991);
    int n = snprintf(out, BENCH_TYPED_MAX, "table_lookup(&state->table, KEY_%05u, 0);", number);
    if (i % 3 == 0) n += snprintf(out + n, BENCH_TYPED_MAX - (size_t)n, "\n    if (!value) return;");
    return (size_t)n;
}

static void set_line(uint64_t set, uint64_t i, size_t at_line, uint64_t line[2])
{
    line[0] = mix(mix(i + 1) ^ mix(set + 1) ^ at_line);
    line[1] = mix(line[0]);
}

void bench_cache_key(uint64_t set, uint64_t i, size_t n_typed, char typed[BENCH_TYPED_MAX],
                     struct store_key *out)
{
    char text[BENCH_TYPED_MAX];
    size_t before_len = write_typed(i, typed), len = write_text(i, text);
    if (n_typed > len) n_typed = len;
    const char *end = memchr(text, '\n', n_typed);
    size_t at_line = end ? (size_t)(end - text) + 1 : 0;
    if (at_line > 0) before_len = 0;
    memcpy(typed + before_len, text + at_line, n_typed - at_line);
    *out = (struct store_key){.typed = typed, .typed_len = before_len + n_typed - at_line};
    set_line(set, i, at_line, out->line);
}

enum err bench_cache_record(uint64_t set, uint64_t i, struct buf *out, size_t *second)
{
    char typed[BENCH_TYPED_MAX], text[BENCH_TYPED_MAX];
    struct store_key key;
    bench_cache_key(set, i, 0, typed, &key);
    size_t len = write_text(i, text);
    struct record r = {.maker = MAKER,
                       .line = {key.line[0], key.line[1]},
                       .typed = key.typed,
                       .typed_len = key.typed_len,
                       .candidates = {{.text = text,
                                       .len = len,
                                       .end = RECORD_RULE,
                                       .n_tokens = (int32_t)len / 3, /* of code a token has about 3 bytes */
                                       .mean_logprob = -0.25F}},
                       .n_candidates = 1,
                       .n_sources = N_SOURCES};
    for (uint32_t s = 0; s < N_SOURCES; s++) {
        r.sources[s] = (struct record_source){
            .file = mix(i / 1000 + s), .line = 1 + (uint32_t)(i % 1000), .n_lines = 40, .hash = mix(i ^ s)};
    }
    const char *end = memchr(text, '\n', len);
    *second = end ? (size_t)(end - text) + 1 : 0;
    buf_reset(out);
    return record_write(&r, out);
}

void bench_cache_question(uint64_t set, uint64_t from, uint64_t to, uint64_t *state,
                          char typed[BENCH_TYPED_MAX], struct store_key *out)
{
    uint64_t random = bench_cache_random(state), i = from + random % (to - from);
    unsigned kind = (unsigned)(random >> 32) % 10;                   /* one in ten is not there */
    size_t n_typed = kind < 5 ? 0 : 1 + (size_t)(random >> 48) % 30; /* within the first line */
    bench_cache_key(set, i, n_typed, typed, out);
    if (kind == 9) out->line[0] ^= 1;
}
