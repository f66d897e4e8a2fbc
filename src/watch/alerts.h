/* When something is wrong for long enough to be told: a table of rules over metrics, each of which fires and
 * resolves once (hysteresis in value and time).
 *
 * Pure: it is given the time, reads metrics, has no timer. Thread: loop. */
#ifndef WATCH_ALERTS_H
#define WATCH_ALERTS_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/metrics.h"

struct alerts;
struct json;

enum alert_severity { ALERT_INFO, ALERT_WARNING, ALERT_CRITICAL };

/* How a rule's value comes from metrics. Each is a function in alerts.c. */
enum alert_measure {
    ALERT_MEAN_SECONDS, /* of computed and cached answers */
    ALERT_P95_SECONDS,  /* likewise */
    ALERT_MEMORY_SHARE,
    ALERT_ERROR_SHARE, /* of all that ended */
    ALERT_HIT_RATE,    /* of answers that had something to generate, against the day's: a collapse */
    ALERT_DISK_SHARE,  /* of a cache's ceiling */
    ALERT_REMOTE_DOWN  /* servers that are not up */
};

struct alert_rule {
    const char *name; /* "slow-completions" */
    enum alert_measure measure;
    enum metrics_window window;
    double threshold, resolved; /* fires beyond the first, resolves when back at the second */
    bool is_below;              /* fires below the threshold, else above */
    double for_s;               /* it must have held so long before it fires, and to resolve */
    int32_t min_count;          /* observations in the window without which nothing is concluded */
    enum alert_severity severity;
    const char *what; /* "completions take %s on average, over 1 s": how its message reads; see alerts.c */
    const char *todo; /* what to do: "see `inline explain last`" */
};

/* The rules as they are unless settings say otherwise. */
extern const struct alert_rule alert_rules[];
extern const int32_t alert_n_rules;
#define ALERT_RULES_MAX 16

struct alert_options {
    /* Thresholds by rule name in place of the table's, "slow-completions=0.5,errors=0.02"; a rule with "off"
     * never fires. "" : none. */
    const char *rules;
};

struct alert { /* what was told */
    const struct alert_rule *rule;
    bool is_firing;
    double value, threshold;
    int64_t since_us, until_us; /* since 1970; until 0: it fires still */
    char message[160];          /* one line: what is wrong */
};

/* ERR_ARG: an unknown rule (the nearest name is offered), or no number. Strings are copied. */
MUST_CHECK enum err alerts_new(const struct alert_options *o, struct metrics *m, struct alerts **out,
                               struct errmsg *msg);
void alerts_free(struct alerts **a);

/* Called when an alert fires, and when it resolves. */
void alerts_on_change(struct alerts *a, void (*fn)(void *ctx, const struct alert *alert), void *ctx);
/* Judge all rules now. now_ns: clock_ns; now_us: since 1970. */
void alerts_look(struct alerts *a, int64_t now_ns, int64_t now_us);
/* Whether looking on may change something although nothing happens: something fires, or is about to. */
bool alerts_is_calm(const struct alerts *a);

int32_t alerts_n_firing(const struct alerts *a);
/* Those that fire, then those that did, newest first; up to ALERTS_KEPT. */
#define ALERTS_KEPT 32
int32_t alerts_list(const struct alerts *a, struct alert *out, int32_t max);
void alerts_write(const struct alerts *a, struct json *j); /* members of an open object: "alerts": [...] */

#endif
