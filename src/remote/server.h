/* What the pool knows of one server: how much it has to do, how fast it is, whether it can be asked.
 *
 * Circuit breaker (Nygard, Release It!, 2007): failures in a row open it, for a time that doubles with each
 * trial that fails, with jitter; then one trial at a time decides (half-open). Rate limits (429 and 503 with
 * Retry-After) close the server for as long as it says, but are no failures.
 *
 * Pure: times come from the caller (clock_ns). Thread: the pool's. */
#ifndef REMOTE_SERVER_H
#define REMOTE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

enum server_health {
    SERVER_NEW, /* nothing is known: it is asked as if it were up, one at a time */
    SERVER_UP,
    SERVER_DOWN, /* not asked before due_ns */
    SERVER_TRIAL /* one is under way */
};

/* How an attempt ended. */
enum server_end {
    SERVER_END_OK,      /* the answer came, or as much of it as was wanted */
    SERVER_END_LEFT,    /* nobody wants it any more: says nothing about the server */
    SERVER_END_LIMITED, /* 429, or 503 with Retry-After */
    SERVER_END_REFUSED, /* no connection: it is down at once */
    SERVER_END_FAILED   /* no or broken answer, 5xx, too late */
};

#define SERVER_SAMPLES 64 /* times to the first token that are remembered */

struct server {
    enum server_health health;
    int32_t n_outstanding; /* attempts under way */
    int32_t n_failed_in_row;
    int32_t n_probes_believed; /* light probes that brought a trial forward since the last answer */
    int64_t due_ns;            /* DOWN: when a trial may be made */
    int64_t limited_ns;        /* not asked before that, because it said so; 0: it did not */
    double backoff_ms;
    float samples[SERVER_SAMPLES]; /* ms to the first token; the last ones, in a ring */
    int32_t n_samples, next_sample;
    double recent_ms; /* the same, weighed by age (EWMA); 0: none yet */
    int64_t last_ns;  /* when it was asked last */
    int64_t n_asked, n_failed, n_limited, n_hedged;
    uint64_t random; /* for jitter; never 0 */
};

void server_init(struct server *s, uint64_t seed);
/* Whether an attempt may be made now; not counting connections. */
bool server_is_open(const struct server *s, int64_t now_ns);
/* When it may be asked again, if it may not now; 0: it may, or not before a trial has ended. */
int64_t server_due_ns(const struct server *s, int64_t now_ns);
void server_start(struct server *s, int64_t now_ns);
void server_first_token(struct server *s, double ms);
/* An attempt has waited `waited_ms` for its first token without getting it: the server is slower than that.
 * Told when it is late (balance_hedge_ms, whether or not a hedge is made), each time it has waited twice as
 * long again, and when it is left or fails without a first token. */
void server_still_waiting(struct server *s, double waited_ms);
/* retry_after_s: what the server said, 0: nothing (LIMITED then means a second or so). */
void server_finish(struct server *s, enum server_end end, double retry_after_s, int64_t now_ns);
/* A light probe has been answered, or not. Worth sending to a server that is DOWN every two seconds or so: an
 * answer lets the next request be the trial, however long the server was down. */
void server_probed(struct server *s, bool is_up, int64_t now_ns);
/* p in 0..1 of the times to the first token; 0 with fewer than 8 of them. */
double server_quantile_ms(const struct server *s, double p);
const char *server_health_name(enum server_health h); /* "new", "up", "down", "trial" */

#endif
