/* What this process uses, as the system tells it. */
#include "os/usage.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "os/file.h"

#ifdef __linux__

/* The value of a line such as "VmRSS:     1234 kB" of proc_pid_status(5), in bytes; 0 if it is missing. */
static int64_t status_bytes(const char *status, const char *field)
{
    const char *at = strstr(status, field);
    return at ? (int64_t)strtoll(at + strlen(field), NULL, 10) * 1024 : 0;
}

void usage_self(struct usage *out)
{
    char status[4096]; /* the memory lines come within the first kilobytes */
    file_read_head("/proc/self/status", status, sizeof status);
    *out = (struct usage){
        .rss_bytes = status_bytes(status, "\nVmRSS:"),
        .rss_anon_bytes = status_bytes(status, "\nRssAnon:"),
        .rss_file_bytes = status_bytes(status, "\nRssFile:"),
        .peak_bytes = status_bytes(status, "\nVmHWM:"),
    };
}

#else

/* POSIX tells the peak only: bytes on macOS, kilobytes elsewhere. */
void usage_self(struct usage *out)
{
    struct rusage self;
    *out = (struct usage){0};
    if (getrusage(RUSAGE_SELF, &self) != 0) return;
#ifdef __APPLE__
    out->peak_bytes = self.ru_maxrss;
#else
    out->peak_bytes = (int64_t)self.ru_maxrss * 1024;
#endif
}

#endif
