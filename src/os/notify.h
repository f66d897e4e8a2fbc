/* What changes in folders (inotify on Linux; elsewhere nothing is told, and callers look for themselves).
 * One owner. */
#ifndef OS_NOTIFY_H
#define OS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify;

struct notify_event {
    int32_t dir;      /* what notify_add gave; -1: events were lost, look at everything */
    const char *name; /* of the entry within; valid until the next call */
    bool is_dir, is_gone;
};

/* Null: the system has none, or no more of them. */
struct notify *notify_new(void);
void notify_free(struct notify **n);

/* Watch a folder, not those in it. -1: cannot (limits, gone). */
int32_t notify_add(struct notify *n, const char *path);
void notify_remove(struct notify *n, int32_t dir);

/* The next event, waiting for at most timeout_ms (-1: for ever). False: none came, or notify_wake. */
bool notify_next(struct notify *n, int32_t timeout_ms, struct notify_event *out);
void notify_wake(struct notify *n); /* any thread */

#endif
