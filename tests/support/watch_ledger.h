/* What a test knows to have happened, event by event, and whether everything that metrics export says the
 * same: figures of all windows, Prometheus' text, JSON. Counts must be equal; times, means and quantiles may
 * be off by 1 %. Everything is counted anew from the list of events, by sorting: nothing is shared with what
 * is tested. Nothing may be exported that was not noted, but for rows that the test exempts. */
#ifndef TESTS_SUPPORT_WATCH_LEDGER_H
#define TESTS_SUPPORT_WATCH_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/metrics.h"

struct ledger_event {
    enum metric_id id;
    int32_t label;
    int64_t at_ns;
    double value; /* of a counter: by how much; of a histogram: seconds, NAN if nobody knows */
};

struct ledger {
    int64_t now_ns; /* when what is noted next belongs to its windows: the next metrics_roll */
    struct ledger_event *events;
    size_t n, cap;
    bool is_exempt[METRIC_N];
};

void ledger_clear(struct ledger *l);
void ledger_note(struct ledger *l, enum metric_id id, int32_t label, double value);
/* Fails the test if any export differs. m was rolled at now_ns. Returns how many values were compared. */
int64_t ledger_check(const struct ledger *l, const struct metrics *m);

#endif
