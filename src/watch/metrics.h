/* Counters, gauges and latency histograms, and their Prometheus text.
 *
 * Counters and histograms are atomic: any thread may count. A histogram is log-linear (as HdrHistogram:
 * buckets of equal relative width), so that a quantile is right to about 3 %. Registration happens at
 * start-up. */
#ifndef WATCH_METRICS_H
#define WATCH_METRICS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct metrics;
struct metric; /* one series; lives as long as its metrics */

struct metrics *metrics_new(void);
void metrics_free(struct metrics **m);

/* name: Prometheus name without labels ("inline_request_seconds"); help: one sentence; labels:
 * "stage=\"queue\"" or
 * "". Series of one name must be registered with the same help. */
struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help);
struct metric *metrics_histogram(struct metrics *m, const char *name, const char *labels, const char *help);
/* A gauge asks for its value when it is read: on the thread that calls metrics_write. */
void metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help,
                   double (*read)(void *ctx), void *ctx);

void metric_add(struct metric *c, int64_t n); /* a null metric counts nothing */
int64_t metric_value(const struct metric *c);
void metric_observe(struct metric *h, double seconds);
double metric_quantile(const struct metric *h, double q); /* seconds; 0 while empty */
int64_t metric_count(const struct metric *h);

/* Prometheus text exposition format 0.0.4. */
void metrics_write(const struct metrics *m, struct buf *out);

#endif
