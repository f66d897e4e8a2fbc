/* How far a long command has come, on stderr: a bar that is redrawn on a terminal, else a line for every
 * tenth. */
#ifndef CLI_METER_H
#define CLI_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
    const char *name; /* what is being done to what; borrowed */
    bool is_terminal;
    int64_t drawn_ns;               /* when the line was last drawn; 0: never */
    int64_t window_ns, window_done; /* where the rate's window began */
    double rate;                    /* bytes a second; 0: not known yet */
    int last_step;                  /* without a terminal: last step printed, -1: none */
};

void meter_init(struct meter *m, const char *name);

/* As often as you like: it draws ten times a second at most. total 0: not known. note is appended to lines.
 */
void meter_update(struct meter *m, int64_t done, int64_t total, const char *note);
void meter_end(struct meter *m); /* leave the bar's line */

#endif
