/* The service manager that may have started us: sockets that it opened for us, and telling it how we are.
 * systemd's protocols (sd_listen_fds(3), sd_notify(3)), which need no library. */
#ifndef OS_MANAGER_H
#define OS_MANAGER_H

#include <stdint.h>

#define MANAGER_FDS_FIRST 3 /* sd_listen_fds(3): the sockets are numbered from here */

/* How many listening sockets we were given, at MANAGER_FDS_FIRST and on; 0: none, or they were meant for
 * another process. They are not inherited further. Programs that we start are not told of them: call once,
 * before there are threads. */
int32_t manager_take_fds(void);

/* Tell the manager ("READY=1", "STOPPING=1"; lines). Nothing happens if there is none. */
void manager_notify(const char *state);

/* The state that announces a reload, with the time that the manager wants to see. */
void manager_notify_reloading(void);

#endif
