/* `inline complete` by way of the running daemon, which has the model loaded and may have read the file
 * before. */
#ifndef CLI_COMPLETE_DAEMON_H
#define CLI_COMPLETE_DAEMON_H

#include <stdbool.h>

#include "base/err.h"
#include "inline.h"

struct buf;
struct settings;

#define COMPLETE_DAEMON_STRINGS 6
struct complete_daemon_answer { /* views into `strings` */
    struct inline_info info;
    struct inline_result result;
    const char *fallback; /* why this model answered in place of one on other machines; "" or null */
    char *strings[COMPLETE_DAEMON_STRINGS]; /* owned */
};

/* The daemon can be asked: for nothing that it does otherwise than this command with these settings would. */
bool complete_daemon_suits(const struct inline_request *r, const struct settings *s);

/* file: where the text is on this machine, or null. ERR_NOT_FOUND: there is no daemon; ERR_UNSUPPORTED: it
 * cannot answer now, for the reason in msg; nothing was printed. */
MUST_CHECK enum err complete_daemon_ask(const struct inline_request *r, const char *file,
                                        const struct settings *s, struct complete_daemon_answer *out,
                                        struct errmsg *msg);
void complete_daemon_clear(struct complete_daemon_answer *a);

#endif
