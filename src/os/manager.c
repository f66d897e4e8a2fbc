/* systemd's protocols by hand: environment variables and one datagram. See manager.h. */
#include "os/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"

#define FDS_MAX 16 /* we ask for two; more than a few is somebody's mistake */

/* A variable as a whole number; -1 if it is not one. */
static long env_number(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    if (!text || !*text) return -1;
    errno = 0;
    long number = strtol(text, &end, 10);
    return *end || errno ? -1 : number;
}

int32_t manager_take_fds(void)
{
    long n = env_number("LISTEN_FDS");
    bool is_ours = env_number("LISTEN_PID") == (long)getpid();
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    if (!is_ours || n < 1 || n > FDS_MAX) return 0;
    for (int fd = MANAGER_FDS_FIRST; fd < MANAGER_FDS_FIRST + n; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return (int32_t)n;
}

void manager_notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') address.sun_path[0] = '\0'; /* Linux's abstract names */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, address_len);
    close(fd);
}

void manager_notify_reloading(void)
{
    char state[64];
    snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_ns() / 1000);
    manager_notify(state);
}
