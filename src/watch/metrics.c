/* Counters, gauges and latency histograms, and their Prometheus text.
 *
 * A histogram's buckets are log-linear, the idea of HdrHistogram: each octave of the range is cut into 16
 * equal parts, so that a bucket's middle is within 1/32 of everything in it, and finding the bucket takes a
 * few instructions. Buckets include their upper bound, as Prometheus' `le` does; the coarser bounds that are
 * exposed are bounds of fine buckets too, so that exposed counts are exact.
 *
 * Threads: any may count; registering and writing belong to one thread (the loop). All counts are relaxed
 * atomics, because no other memory depends on them. */
#include "watch/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A unit is 1/16 us: from 1 us on, a value of n units has its 4 bits after the leading one in its bucket's
 * number. Values of fewer than 16 units have a bucket each. */
#define UNITS_PER_US 16
#define SUB_BITS     4
#define N_SUBS       (1 << SUB_BITS)
#define N_OCTAVES    30 /* 1 us to 2^30 us, which is 1074 s; what is above counts in the last bucket */
#define N_BUCKETS    (N_SUBS * (1 + N_OCTAVES))

/* Exposed bounds: one per octave from 2^6 us to 2^26 us (64 us to 67 s). A scrape stays small, and an answer
 * to a keystroke takes anything from a lookup's 100 us to a cold prefill's seconds. */
#define FIRST_OCTAVE_SHOWN 6
#define LAST_OCTAVE_SHOWN  26

#define SECONDS_MAX 1e6 /* of one observation; keeps the sum of nanoseconds far from its end */

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct histogram {
    atomic_int_least64_t sum_ns;
    atomic_int_least64_t buckets[N_BUCKETS];
};

struct metric {
    struct metric *next; /* of the family, in order of registration */
    char *labels;        /* owned */
    atomic_int_least64_t value;
    double (*read)(void *ctx);
    void *ctx;
    struct histogram *histogram; /* owned; null: not a histogram */
};

/* All series of one name. */
struct family {
    struct family *next;
    char *name, *help; /* owned */
    enum kind kind;
    struct metric *first; /* owned */
};

struct metrics {
    struct family *first; /* owned; in order of registration */
};

struct metrics *metrics_new(void)
{
    return MEM_NEW(struct metrics);
}

static void free_series(struct metric *s)
{
    while (s) {
        struct metric *next = s->next;
        mem_free(s->labels);
        mem_free(s->histogram);
        mem_free(s);
        s = next;
    }
}

void metrics_free(struct metrics **mp)
{
    struct metrics *m = *mp;
    *mp = NULL;
    if (!m) return;
    struct family *f = m->first;
    while (f) {
        struct family *next = f->next;
        free_series(f->first);
        mem_free(f->name);
        mem_free(f->help);
        mem_free(f);
        f = next;
    }
    mem_free(m);
}

static struct family *find_family(struct metrics *m, const char *name, const char *help, enum kind kind)
{
    struct family **place = &m->first;
    while (*place && strcmp((*place)->name, name) != 0) place = &(*place)->next;
    struct family *f = *place;
    if (!f) {
        f = *place = MEM_NEW(struct family);
        *f = (struct family){.name = mem_dup_str(name), .help = mem_dup_str(help), .kind = kind};
    }
    assert(f->kind == kind && strcmp(f->help, help) == 0);
    return f;
}

/* The series of that name and labels; registering it again gives the same one. */
static struct metric *find_series(struct metrics *m, const char *name, const char *labels, const char *help,
                                  enum kind kind)
{
    struct metric **place = &find_family(m, name, help, kind)->first;
    while (*place && strcmp((*place)->labels, labels) != 0) place = &(*place)->next;
    struct metric *s = *place;
    if (!s) {
        s = *place = MEM_NEW(struct metric);
        s->labels = mem_dup_str(labels);
        if (kind == HISTOGRAM) s->histogram = MEM_NEW(struct histogram);
    }
    return s;
}

struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help)
{
    return find_series(m, name, labels, help, COUNTER);
}

struct metric *metrics_histogram(struct metrics *m, const char *name, const char *labels, const char *help)
{
    return find_series(m, name, labels, help, HISTOGRAM);
}

void metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help,
                   double (*read)(void *ctx), void *ctx)
{
    struct metric *s = find_series(m, name, labels, help, GAUGE);
    s->read = read;
    s->ctx = ctx;
}

void metric_add(struct metric *c, int64_t n)
{
    if (c) atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}

int64_t metric_value(const struct metric *c)
{
    return atomic_load_explicit(&c->value, memory_order_relaxed);
}

static int32_t bucket_of(int64_t ns)
{
    if (ns <= 0) return 0;
    /* One less than the units begun: a value that is a whole number of units is the last of its bucket. */
    uint64_t units = ((uint64_t)ns * UNITS_PER_US + 999) / 1000 - 1;
    if (units < N_SUBS) return (int32_t)units;
    int32_t octave = 63 - __builtin_clzll(units) - SUB_BITS;
    if (octave >= N_OCTAVES) return N_BUCKETS - 1;
    return (octave + 1) * N_SUBS + (int32_t)(units >> octave & (N_SUBS - 1));
}

/* Where bucket i begins, in units; bucket i + 1 begins where it ends. */
static int64_t bucket_start(int32_t i)
{
    if (i < N_SUBS) return i;
    int32_t octave = i / N_SUBS - 1;
    return (int64_t)(N_SUBS + i % N_SUBS) << octave;
}

void metric_observe(struct metric *h, double seconds)
{
    if (!h) return;
    if (!(seconds > 0)) seconds = 0; /* a NaN too */
    if (seconds > SECONDS_MAX) seconds = SECONDS_MAX;
    int64_t ns = llround(seconds * 1e9);
    atomic_fetch_add_explicit(&h->histogram->buckets[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->histogram->sum_ns, ns, memory_order_relaxed);
}

static int64_t bucket_count(const struct metric *h, int32_t i)
{
    return atomic_load_explicit(&h->histogram->buckets[i], memory_order_relaxed);
}

int64_t metric_count(const struct metric *h)
{
    int64_t n = 0;
    for (int32_t i = 0; i < N_BUCKETS; i++) n += bucket_count(h, i);
    return n;
}

double metric_quantile(const struct metric *h, double q)
{
    int64_t n = metric_count(h);
    if (n == 0) return 0;
    double rank = ceil(q * (double)n);
    int64_t n_before = 0;
    int32_t i = 0;
    while (i < N_BUCKETS - 1) {
        n_before += bucket_count(h, i);
        if (n_before > 0 && (double)n_before >= rank) break;
        i++;
    }
    return (double)(bucket_start(i) + bucket_start(i + 1)) / 2 / (UNITS_PER_US * 1e6);
}

/* One line: name and suffix, labels with `le` ("" for none) behind them. The value follows. */
static void write_key(struct buf *out, const struct family *f, const char *suffix, const struct metric *s,
                      const char *le)
{
    buf_printf(out, "%s%s", f->name, suffix);
    if (*s->labels || *le) {
        buf_printf(out, "{%s%s", s->labels, *s->labels && *le ? "," : "");
        if (*le) buf_printf(out, "le=\"%s\"", le);
        buf_add_char(out, '}');
    }
    buf_add_char(out, ' ');
}

static void write_histogram(struct buf *out, const struct family *f, const struct metric *h)
{
    int64_t n = 0;
    int32_t i = 0;
    for (int32_t octave = FIRST_OCTAVE_SHOWN; octave <= LAST_OCTAVE_SHOWN; octave++) {
        /* 2^octave us is where the buckets of that octave begin. */
        for (; i < (octave + 1) * N_SUBS; i++) n += bucket_count(h, i);
        char le[32];
        snprintf(le, sizeof le, "%.9g", ldexp(1e-6, octave));
        write_key(out, f, "_bucket", h, le);
        buf_printf(out, "%" PRId64 "\n", n);
    }
    for (; i < N_BUCKETS; i++) n += bucket_count(h, i);
    write_key(out, f, "_bucket", h, "+Inf");
    buf_printf(out, "%" PRId64 "\n", n);
    write_key(out, f, "_sum", h, "");
    buf_printf(out, "%.9f\n",
               (double)atomic_load_explicit(&h->histogram->sum_ns, memory_order_relaxed) / 1e9);
    write_key(out, f, "_count", h, "");
    buf_printf(out, "%" PRId64 "\n", n);
}

static void write_gauge(struct buf *out, const struct family *f, const struct metric *g)
{
    double value = g->read(g->ctx);
    write_key(out, f, "", g, "");
    if (isfinite(value)) {
        buf_printf(out, "%.15g\n", value);
    } else {
        buf_add_str(out, isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
    }
}

static void write_series(struct buf *out, const struct family *f, const struct metric *s)
{
    switch (f->kind) {
    case COUNTER:
        write_key(out, f, "", s, "");
        buf_printf(out, "%" PRId64 "\n", metric_value(s));
        break;
    case GAUGE:
        write_gauge(out, f, s);
        break;
    case HISTOGRAM:
        write_histogram(out, f, s);
        break;
    }
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    static const char *const type_names[] = {
        [COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};
    for (const struct family *f = m->first; f; f = f->next) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, type_names[f->kind]);
        for (const struct metric *s = f->first; s; s = s->next) write_series(out, f, s);
    }
}
