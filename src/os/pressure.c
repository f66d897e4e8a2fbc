/* A trigger of the kernel's pressure stall information. One whose window is a multiple of two seconds needs
 * no privilege. */
#include "os/pressure.h"

#ifdef __linux__

#include <fcntl.h>
#include <unistd.h>

int pressure_watch(void)
{
    static const char trigger[] = "some 200000 2000000"; /* microseconds of stall, and of the window */
    int fd = open("/proc/pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    if (write(fd, trigger, sizeof trigger) == (ssize_t)sizeof trigger) return fd; /* its NUL belongs to it */
    close(fd);
    return -1;
}

#else

int pressure_watch(void)
{
    return -1;
}

#endif
