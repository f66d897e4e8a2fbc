/* The way to the daemon: its socket, and a daemon behind it if there is none yet. Blocking. */
#ifndef SERVE_ATTACH_LINK_H
#define SERVE_ATTACH_LINK_H

#include "base/err.h"

struct attach_link {
    const char *socket; /* borrowed */
    char *const *args;  /* command line of a daemon to start; borrowed */
    char *program;      /* what to start it with; owned */
};

void attach_link_init(struct attach_link *l, const char *socket, char *const *args);
void attach_link_clear(struct attach_link *l);

/* A connection that speaks the language server protocol; nothing of it has been read yet, and it does not
 * block. Starts a daemon if nobody answers, and gives up with ERR_IO after ten seconds. */
MUST_CHECK enum err attach_link_open(struct attach_link *l, int *fd, struct errmsg *msg);

/* Such a connection to the daemon behind this socket, without starting one: ERR_NOT_FOUND. */
MUST_CHECK enum err attach_link_connect(const char *socket, int *fd, struct errmsg *msg);

#endif
