/* The sections of `inline status` that come from what is measured; see figures.h. */
#ifndef CLI_STATUS_FIGURES_H
#define CLI_STATUS_FIGURES_H

struct buf;
struct json_value;

/* What fires; nothing if nothing does. */
void status_add_alerts(const struct json_value *status, struct buf *out);
/* How fast answers were, what of them was at hand, and what became of them. */
void status_add_figures(const struct json_value *status, struct buf *out);
/* Every metric that there is, with value, unit and help: `--metrics`. */
void status_add_metrics(const struct json_value *status, struct buf *out);

#endif
