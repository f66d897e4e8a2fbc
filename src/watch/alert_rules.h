/* What a rule sees and says; private to alerts.c, which decides when it fires. */
#ifndef WATCH_ALERT_RULES_H
#define WATCH_ALERT_RULES_H

#include "watch/alerts.h"

struct alert_reading {
    int64_t n; /* observations; 0: nothing is known */
    double value;
    char which[64]; /* caches or servers that it is about; "" */
};

void alert_rules_read(const struct alert_rule *rule, const struct metrics *m, struct alert_reading *out);
/* Its value may change although nothing happens. */
bool alert_rules_moves_alone(const struct alert_rule *rule);
/* The rule's `what`, its {parts} filled in; cut where it does not fit. */
void alert_rules_message(const struct alert_rule *rule, const struct alert_reading *r, char *message,
                         size_t size);

#endif
