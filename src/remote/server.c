/* One server's breaker and its times to the first token; see server.h.
 *
 * A first token ends a trial well, an answer's end ends the row of failures: a server that breaks off each
 * answer is asked again, but the next failure closes it at once and for longer.
 *
 * What is expected of a server follows bad news at once and good news in a few steps: an attempt that has
 * waited longer than expected moves the expectation to what it has waited (as Finagle's "peak" average does),
 * before there is a first token to count. */
#include "remote/server.h"

#include <math.h>
#include <string.h>

#define NS_PER_MS 1e6

#define FAILURES_TO_OPEN 3
#define BACKOFF_FIRST_MS 500.0   /* a process that is restarted takes about as long */
#define BACKOFF_MAX_MS   30000.0 /* before jitter */
#define JITTER           0.2 /* of a time, to either side: servers that fell together are not tried together */

#define LIMIT_DEFAULT_S 1.0
#define LIMIT_MAX_S     300.0 /* beyond, a server's word is not taken for it: its clock may be wrong */

/* An answer is believed of the light probe so often without one completion between: a server may say that it
 * is well and answer no request. */
#define PROBES_BELIEVED 3

#define MIN_SAMPLES 8 /* for quantiles */

/* How far a time to the first token moves what is expected. */
#define WEIGHT 0.25
/* A server that is this many times as fast as expected has changed; what was expected is of little use. */
#define CHANGED        3.0
#define WEIGHT_CHANGED 0.7

void server_init(struct server *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->random = seed ? seed : 1;
}

/* In 0..1: xorshift64* (Vigna, An experimental exploration of Marsaglia's xorshift generators, 2016). */
static double draw(struct server *s)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (double)(s->random * 0x2545f4914f6cdd1du >> 11) / (double)(1ull << 53);
}

static int64_t after_ms(struct server *s, int64_t now_ns, double ms)
{
    double jittered = ms * (1 - JITTER + 2 * JITTER * draw(s));
    return now_ns + (int64_t)(jittered * NS_PER_MS);
}

bool server_is_open(const struct server *s, int64_t now_ns)
{
    if (s->limited_ns > now_ns) return false;
    switch (s->health) {
    case SERVER_NEW:
        return s->n_outstanding == 0;
    case SERVER_UP:
        return true;
    case SERVER_DOWN:
        return s->due_ns <= now_ns;
    case SERVER_TRIAL:
        break;
    }
    return false;
}

int64_t server_due_ns(const struct server *s, int64_t now_ns)
{
    if (s->health == SERVER_TRIAL) return 0;
    int64_t due_ns = s->limited_ns;
    if (s->health == SERVER_DOWN && s->due_ns > due_ns) due_ns = s->due_ns;
    return due_ns > now_ns ? due_ns : 0;
}

void server_start(struct server *s, int64_t now_ns)
{
    s->n_outstanding++;
    s->n_asked++;
    s->last_ns = now_ns;
    if (s->health == SERVER_DOWN) s->health = SERVER_TRIAL;
}

void server_first_token(struct server *s, double ms)
{
    if (!(ms >= 0)) ms = 0;
    if (s->health == SERVER_NEW || s->health == SERVER_TRIAL) s->health = SERVER_UP;
    s->samples[s->next_sample] = (float)ms;
    s->next_sample = (s->next_sample + 1) % SERVER_SAMPLES;
    if (s->n_samples < SERVER_SAMPLES) s->n_samples++;
    double weight = ms * CHANGED < s->recent_ms ? WEIGHT_CHANGED : WEIGHT;
    s->recent_ms = s->recent_ms > 0 ? s->recent_ms + weight * (ms - s->recent_ms) : ms;
}

void server_still_waiting(struct server *s, double waited_ms)
{
    if (waited_ms > s->recent_ms) s->recent_ms = waited_ms;
}

/* Not to be asked for a while, which is twice as long as the last time. */
static void open_breaker(struct server *s, int64_t now_ns)
{
    s->backoff_ms = s->backoff_ms > 0 ? fmin(2 * s->backoff_ms, BACKOFF_MAX_MS) : BACKOFF_FIRST_MS;
    s->health = SERVER_DOWN;
    s->due_ns = after_ms(s, now_ns, s->backoff_ms);
}

static void answer_well(struct server *s)
{
    s->health = SERVER_UP;
    s->n_failed_in_row = 0;
    s->n_probes_believed = 0;
    s->backoff_ms = 0;
}

/* A server that is down already stays so for as long as it was to be: what fails now was asked before. */
static void fail(struct server *s, bool was_refused, int64_t now_ns)
{
    s->n_failed_in_row++;
    if (s->health == SERVER_DOWN) return;
    if (was_refused || s->health == SERVER_TRIAL || s->n_failed_in_row >= FAILURES_TO_OPEN)
        open_breaker(s, now_ns);
}

static void limit(struct server *s, double retry_after_s, int64_t now_ns)
{
    int64_t until_ns;
    if (retry_after_s > 0)
        until_ns = now_ns + (int64_t)(fmin(retry_after_s, LIMIT_MAX_S) * 1000 * NS_PER_MS);
    else
        until_ns = after_ms(s, now_ns, LIMIT_DEFAULT_S * 1000);
    if (until_ns > s->limited_ns) s->limited_ns = until_ns;
}

void server_finish(struct server *s, enum server_end end, double retry_after_s, int64_t now_ns)
{
    if (s->n_outstanding > 0) s->n_outstanding--;
    switch (end) {
    case SERVER_END_OK:
        answer_well(s);
        break;
    case SERVER_END_LIMITED: /* it is there and says so */
        s->n_limited++;
        answer_well(s);
        limit(s, retry_after_s, now_ns);
        break;
    case SERVER_END_REFUSED:
    case SERVER_END_FAILED:
        s->n_failed++;
        fail(s, end == SERVER_END_REFUSED, now_ns);
        break;
    case SERVER_END_LEFT:
        if (s->health != SERVER_TRIAL || s->n_outstanding > 0) break;
        s->health = SERVER_DOWN; /* the trial has told nothing: the next request is one */
        s->due_ns = now_ns;
        break;
    }
}

void server_probed(struct server *s, bool is_up, int64_t now_ns)
{
    if (s->health == SERVER_TRIAL) return; /* decides by itself */
    if (!is_up) {
        fail(s, false, now_ns);
    } else if (s->health == SERVER_NEW) {
        s->health = SERVER_UP;
    } else if (s->health == SERVER_DOWN && s->due_ns > now_ns && s->n_probes_believed < PROBES_BELIEVED) {
        s->n_probes_believed++;
        s->due_ns = now_ns;
    }
}

static void sort(float *values, int32_t n) /* by insertion: they are few */
{
    for (int32_t i = 1; i < n; i++) {
        float value = values[i];
        int32_t at = i;
        for (; at > 0 && values[at - 1] > value; at--) values[at] = values[at - 1];
        values[at] = value;
    }
}

/* By nearest rank. */
double server_quantile_ms(const struct server *s, double p)
{
    int32_t n = s->n_samples;
    if (n < MIN_SAMPLES) return 0;
    float sorted[SERVER_SAMPLES];
    memcpy(sorted, s->samples, (size_t)n * sizeof *sorted);
    sort(sorted, n);
    int32_t rank = (int32_t)ceil(p * n);
    if (rank < 1) rank = 1;
    if (rank > n) rank = n;
    return sorted[rank - 1];
}

const char *server_health_name(enum server_health h)
{
    switch (h) {
    case SERVER_NEW:
        return "new";
    case SERVER_UP:
        return "up";
    case SERVER_DOWN:
        return "down";
    case SERVER_TRIAL:
        return "trial";
    }
    return "";
}
