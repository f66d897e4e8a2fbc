/* Log-linear buckets, their packed form and their quantiles; see histogram.h.
 *
 * Memory orders: counting a bucket is relaxed, as nothing else depends on it. Adding to the sum afterwards
 * releases, and histogram_advance acquires it: once it has seen a sum, it sees all counts that belong to it.
 * So it may skip a histogram whose sum has not changed without ever losing a count. */
#include "watch/histogram.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* A unit is 1/64 us: from 1 us on, a value of n units has its 6 bits after the leading one in its bucket's
 * number. Values of fewer than 64 units have a bucket each. */
#define UNITS_PER_US HISTOGRAM_SUBS
#define SECONDS_MAX  1e6 /* of one observation; keeps the sum of nanoseconds far from its end */

/* Of an unsigned number of 64 bits, 7 bits to a byte (LEB128, as in DWARF). */
#define VARINT_MAX 10

static int32_t bucket_of(int64_t ns)
{
    if (ns <= 0) return 0;
    /* One less than the units begun: a value that is a whole number of units is the last of its bucket. */
    uint64_t units = ((uint64_t)ns * UNITS_PER_US + 999) / 1000 - 1;
    if (units < HISTOGRAM_SUBS) return (int32_t)units;
    int32_t octave = 63 - __builtin_clzll(units) - HISTOGRAM_SUB_BITS;
    if (octave >= HISTOGRAM_OCTAVES) return HISTOGRAM_BUCKETS - 1;
    return (octave + 1) * HISTOGRAM_SUBS + (int32_t)(units >> octave & (HISTOGRAM_SUBS - 1));
}

/* Where bucket i begins, in units; bucket i + 1 begins where it ends. */
static int64_t bucket_start(int32_t i)
{
    if (i < HISTOGRAM_SUBS) return i;
    int32_t octave = i / HISTOGRAM_SUBS - 1;
    return (int64_t)(HISTOGRAM_SUBS + i % HISTOGRAM_SUBS) << octave;
}

static double bucket_middle_seconds(int32_t i)
{
    return (double)(bucket_start(i) + bucket_start(i + 1)) / 2 / (UNITS_PER_US * 1e6);
}

void histogram_observe(struct histogram *h, double seconds)
{
    if (!(seconds > 0)) seconds = 0; /* a NaN too */
    if (seconds > SECONDS_MAX) seconds = SECONDS_MAX;
    int64_t ns = (int64_t)(seconds * 1e9 + 0.5);
    atomic_fetch_add_explicit(&h->counts[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_release);
}

static int64_t count_of(const struct histogram *h, int32_t i)
{
    return atomic_load_explicit(&h->counts[i], memory_order_relaxed);
}

/* --- The working form ---------------------------------------------------------------------------------- */

void histogram_sum_clear(struct histogram_sum *sum)
{
    if (sum->n > 0)
        memset(&sum->counts[sum->first], 0, (size_t)(sum->last - sum->first + 1) * sizeof sum->counts[0]);
    sum->n = sum->sum_ns = 0;
}

static void add_count(struct histogram_sum *sum, int32_t i, int64_t n)
{
    if (n <= 0) return;
    if (sum->n == 0) sum->first = sum->last = i;
    if (i < sum->first) sum->first = i;
    if (i > sum->last) sum->last = i;
    sum->counts[i] += n;
    sum->n += n;
}

void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h)
{
    sum->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_acquire);
    for (int32_t i = 0; i < HISTOGRAM_BUCKETS; i++) add_count(sum, i, count_of(h, i));
}

void histogram_sum_add_since(struct histogram_sum *sum, const struct histogram *h,
                             const struct histogram_mark *mark)
{
    sum->sum_ns += atomic_load_explicit(&h->sum_ns, memory_order_acquire) - mark->sum_ns;
    for (int32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        add_count(sum, i, (uint32_t)((uint64_t)count_of(h, i) - mark->counts[i]));
}

bool histogram_advance(const struct histogram *h, struct histogram_mark *mark, struct histogram_sum *sum)
{
    /* Only times of 0 leave the sum as it is; they are in the first bucket. */
    int64_t sum_ns = atomic_load_explicit(&h->sum_ns, memory_order_acquire);
    if (sum_ns == mark->sum_ns && (uint32_t)count_of(h, 0) == mark->counts[0]) return false;
    histogram_sum_clear(sum);
    sum->sum_ns = sum_ns - mark->sum_ns;
    mark->sum_ns = sum_ns;
    for (int32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint32_t now = (uint32_t)count_of(h, i);
        add_count(sum, i, now - mark->counts[i]);
        mark->counts[i] = now;
    }
    return true;
}

void histogram_quantiles(const struct histogram_sum *sum, int32_t n, const double *q, double *out)
{
    int64_t n_before = 0;
    int32_t bucket = sum->first;
    for (int32_t i = 0; i < n; i++) {
        if (sum->n == 0) {
            out[i] = 0;
            continue;
        }
        int64_t rank = (int64_t)ceil(q[i] * (double)sum->n);
        if (rank < 1) rank = 1;
        if (rank > sum->n) rank = sum->n;
        while (n_before + sum->counts[bucket] < rank) n_before += sum->counts[bucket++];
        out[i] = bucket_middle_seconds(bucket);
    }
}

double histogram_quantile(const struct histogram_sum *sum, double q)
{
    double out;
    histogram_quantiles(sum, 1, &q, &out);
    return out;
}

/* --- The packed form: for each bucket that is not empty, how many are between it and the one before, then
 * its count, both as varints.
 * -------------------------------------------------------------------------------- */

static uint8_t *put_varint(uint8_t *out, uint64_t x)
{
    for (; x >= 0x80; x >>= 7) *out++ = (uint8_t)(x | 0x80);
    *out++ = (uint8_t)x;
    return out;
}

static const uint8_t *get_varint(const uint8_t *in, uint64_t *x)
{
    *x = 0;
    int shift = 0;
    for (; *in & 0x80; shift += 7) *x |= (uint64_t)(*in++ & 0x7f) << shift;
    *x |= (uint64_t)*in++ << shift;
    return in;
}

/* Steps over the buckets of p, in ascending order. Begin: all zero. */
struct cursor {
    int32_t at; /* byte */
    int32_t bucket;
    int64_t count;
};

static bool next_bucket(const struct histogram_packed *p, struct cursor *c)
{
    if (c->at >= p->n_bytes) return false;
    uint64_t skip, count;
    const uint8_t *end = get_varint(get_varint(p->bytes + c->at, &skip), &count);
    c->bucket += (int32_t)skip;
    c->count = (int64_t)count;
    c->at = (int32_t)(end - p->bytes);
    return true;
}

void histogram_sum_add_packed(struct histogram_sum *sum, const struct histogram_packed *p)
{
    sum->sum_ns += p->sum_ns;
    for (struct cursor c = {0}; next_bucket(p, &c);) add_count(sum, c.bucket, c.count);
}

void histogram_pack(struct histogram_packed *p, const struct histogram_sum *sum)
{
    /* A number of buckets takes two bytes at most. */
    uint8_t bytes[HISTOGRAM_BUCKETS * (2 + VARINT_MAX)], *end = bytes;
    struct cursor c = {0};
    bool has_more = next_bucket(p, &c);
    int32_t written = 0, i = sum->n > 0 ? sum->first : HISTOGRAM_BUCKETS;
    int32_t last = sum->n > 0 ? sum->last : -1;
    while (has_more || i <= last) {
        int32_t bucket = !has_more ? i : i > last || c.bucket < i ? c.bucket : i;
        int64_t count = 0;
        if (bucket == i) count += sum->counts[i++];
        if (has_more && bucket == c.bucket) {
            count += c.count;
            has_more = next_bucket(p, &c);
        }
        if (count == 0) continue;
        end = put_varint(put_varint(end, (uint64_t)(bucket - written)), (uint64_t)count);
        written = bucket;
    }
    size_t n_bytes = (size_t)(end - bytes);
    if (n_bytes == 0) {
        p->sum_ns += sum->sum_ns; /* of a count that was seen before its time was */
        return;
    }
    uint8_t *memory = mem_try_resize(p->bytes, n_bytes, 1);
    if (!memory) return;
    memcpy(memory, bytes, n_bytes);
    *p = (struct histogram_packed){p->sum_ns + sum->sum_ns, memory, (int32_t)n_bytes};
}

void histogram_packed_clear(struct histogram_packed *p)
{
    mem_free(p->bytes);
    *p = (struct histogram_packed){0};
}
