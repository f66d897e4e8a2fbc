/* Histograms of times: how often which time was observed, within 1/128.
 *
 * Buckets are log-linear, the idea of HdrHistogram: each octave from 1 us on is cut into 64 equal parts, so
 * that a bucket's middle is within 1/128 of everything in it, and finding the bucket takes a few
 * instructions. Buckets include their upper bound, as Prometheus' `le` does, and 2^k us is a bound for every
 * k from 0 on. Three forms:
 *
 *   histogram         counts since the start; any thread observes, without a lock
 *   histogram_packed  what was observed in a span of time, in about two bytes for each bucket that is not
 *                     empty; a window has a hundred of them
 *   histogram_sum     one thread's working form: the others are added up in it, and read from it */
#ifndef WATCH_HISTOGRAM_H
#define WATCH_HISTOGRAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUBS     (1 << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_OCTAVES  30 /* 1 us to 2^30 us, which is 1074 s; what is above counts in the last bucket */
#define HISTOGRAM_BUCKETS  (HISTOGRAM_SUBS * (1 + HISTOGRAM_OCTAVES)) /* the first ones: below 1 us */

/* The first bucket beyond 2^octave us: all before it hold what took 2^octave us or less. */
#define HISTOGRAM_BUCKET_AFTER(octave) (((octave) + 1) * HISTOGRAM_SUBS)

struct histogram {
    atomic_int_least64_t sum_ns;
    atomic_int_least64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_observe(struct histogram *h, double seconds);

/* Loop. A histogram as it was, to tell what has been observed since; counts modulo 2^32, so fewer than that
 * may lie between. */
struct histogram_mark {
    int64_t sum_ns;
    uint32_t counts[HISTOGRAM_BUCKETS];
};

/* Zero-initialised: empty. Only counts[first] to counts[last] are not 0. */
struct histogram_sum {
    int64_t n, sum_ns;
    int32_t first, last; /* while n > 0 */
    int64_t counts[HISTOGRAM_BUCKETS];
};

/* Zero-initialised: empty. */
struct histogram_packed {
    int64_t sum_ns;
    uint8_t *bytes; /* owned; null while empty */
    int32_t n_bytes;
};

void histogram_sum_clear(struct histogram_sum *sum);
void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h); /* all since the start */
void histogram_sum_add_since(struct histogram_sum *sum, const struct histogram *h,
                             const struct histogram_mark *mark);
void histogram_sum_add_packed(struct histogram_sum *sum, const struct histogram_packed *p);

/* The time below which the share q (0 to 1) of the observations is: the middle of the bucket that holds the
 * one of rank ceil(q * n), in seconds; 0 while empty. */
double histogram_quantile(const struct histogram_sum *sum, double q);
/* For n shares in ascending order, in one pass. */
void histogram_quantiles(const struct histogram_sum *sum, int32_t n, const double *q, double *out);

/* The mark becomes h as it is now; sum is cleared and gets what was observed since the mark before. False, at
 * little cost: that is nothing. */
bool histogram_advance(const struct histogram *h, struct histogram_mark *mark, struct histogram_sum *sum);

/* Adds sum to p. Without memory for that, p stays as it is. */
void histogram_pack(struct histogram_packed *p, const struct histogram_sum *sum);
void histogram_packed_clear(struct histogram_packed *p);

#endif
