/* When something is wrong for long enough to be told: a table of rules over metrics, each of which fires and
 * resolves once.
 *
 * A rule fires when its value has been beyond the threshold for `for_s` seconds, and resolves when it has
 * been back at `resolved`, or nothing has happened any more in its window, for as long. What lies between the
 * two changes nothing, so that a value near the threshold is told once.
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

/* How a rule's value comes from metrics. Each is a function in alert_rules.c. */
enum alert_measure {
    ALERT_MEAN_SECONDS, /* of computed and cached answers together */
    ALERT_P95_SECONDS,  /* of computed answers: cached ones would hide them */
    ALERT_MEMORY_SHARE, /* METRIC_MEMORY_SHARE */
    ALERT_ERROR_SHARE,  /* failed / (failed + answered); neither what was withdrawn nor what clients asked
                           wrongly counts */
    ALERT_HIT_RATE,     /* the window's hit rate / the day's: 0.5 is half as many hits as usual */
    ALERT_DISK_SHARE,   /* bytes / ceiling of the cache on disk that is fullest. Eviction keeps it at 1 or
                           below: more means that nothing can be deleted */
    ALERT_REMOTE_DOWN   /* servers that are not up */
};

struct alert_rule {
    const char *name; /* "slow-completions" */
    enum alert_measure measure;
    enum metrics_window window; /* of what is counted; gauges are read as they are */
    double threshold, resolved; /* fires beyond the first, resolves when back at the second */
    bool is_below;              /* fires below the threshold, else above */
    double for_s;               /* it must have held so long before it fires, and to resolve */
    int32_t min_count;          /* observations in the window without which it does not fire */
    enum alert_severity severity;
    /* Its message; {value}, {limit}, {window} and {which} (cache, servers) are filled in. */
    const char *what;
    const char *todo; /* one line */
};

/* The rules as they are unless settings say otherwise. */
extern const struct alert_rule alert_rules[];
extern const int32_t alert_n_rules;
#define ALERT_RULES_MAX 16

const char *alert_severity_name(enum alert_severity severity); /* "warning" */

struct alert_options {
    /* Other figures than the table's, by rule: "slow-completions=0.5,errors=0.02/60,hit-rate=off". After the
     * threshold may follow for_s, and after that the window: "errors=0.05/1/1m". `resolved` moves in
     * proportion to the threshold; a rule with "off" never fires. "": none. */
    const char *rules;
};

struct alert {                     /* what was told */
    const struct alert_rule *rule; /* with the figures in force; lives as long as the alerts */
    bool is_firing;
    double value, threshold;    /* value: as last looked at while it fired */
    int64_t since_us, until_us; /* since 1970; until 0: it fires still */
    char message[160];          /* one line: what was wrong when it fired */
};

/* ERR_ARG: an unknown rule (the nearest name is offered), or no number. m is borrowed. */
MUST_CHECK enum err alerts_new(const struct alert_options *o, struct metrics *m, struct alerts **out,
                               struct errmsg *msg);
void alerts_free(struct alerts **a);

/* Called when an alert fires, and when it resolves. */
void alerts_on_change(struct alerts *a, void (*fn)(void *ctx, const struct alert *alert), void *ctx);
/* Judge all rules now; about once a second while alerts_is_calm is false or there is work, after the gauges
 * were set and metrics_roll was called. now_ns: clock_ns; now_us: since 1970. */
void alerts_look(struct alerts *a, int64_t now_ns, int64_t now_us);
/* No look is needed until something happens again: nothing fires or is about to, or what fires can end by
 * that only (a server that nobody asks stays down). */
bool alerts_is_calm(const struct alerts *a);

int32_t alerts_n_firing(const struct alerts *a);
/* Those that fire, then those that did, newest first; up to ALERTS_KEPT. */
#define ALERTS_KEPT 32
int32_t alerts_list(const struct alerts *a, struct alert *out, int32_t max);
/* Members of an open object: "alerts":[{"name","severity","firing","value","threshold","since_ms","until_ms",
 * "message","todo"}] as listed, and
 * "rules":[{"name","severity","off","firing","threshold","resolved","below", "for_s","min_count","window"}].
 */
void alerts_write(const struct alerts *a, struct json *j);

#endif
