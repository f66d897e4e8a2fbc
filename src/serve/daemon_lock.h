/* Which daemon may have a socket: the one that holds the lock file beside it (flock). The lock goes with its
 * process, however that ends; the file stays, and tells who holds it. */
#ifndef SERVE_DAEMON_LOCK_H
#define SERVE_DAEMON_LOCK_H

#include "base/err.h"

/* *fd keeps the lock until daemon_lock_release. ERR_IO: another process has it, and msg says which; or the
 * file cannot be made. */
MUST_CHECK enum err daemon_lock_take(const char *socket, int *fd, struct errmsg *msg);
void daemon_lock_release(int *fd); /* tolerates -1 */

#endif
