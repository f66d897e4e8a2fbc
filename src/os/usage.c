/* What this process uses, as the system tells it. */
#include "os/usage.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "os/dirs.h"
#include "os/file.h"

/* Zeros where the system's library does not tell. */
static void note_common(struct usage *out)
{
    struct rusage self;
    if (getrusage(RUSAGE_SELF, &self) == 0)
        out->cpu_s = (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec) +
                     (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec) / 1e6;
#ifdef __GLIBC__
    struct mallinfo2 heap = mallinfo2();
    out->heap_bytes = (int64_t)(heap.uordblks + heap.hblkhd);
#endif
}

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
    note_common(out);
}

#else

/* POSIX tells the peak only: bytes on macOS, kilobytes elsewhere. */
void usage_self(struct usage *out)
{
    struct rusage self;
    *out = (struct usage){0};
    note_common(out);
    if (getrusage(RUSAGE_SELF, &self) != 0) return;
#ifdef __APPLE__
    out->peak_bytes = self.ru_maxrss;
#else
    out->peak_bytes = (int64_t)self.ru_maxrss * 1024;
#endif
}

#endif

/* Where the system has a directory of them (proc_pid_fd(5), fdescfs). */
static void count_entry(void *ctx, const char *name)
{
    (void)name;
    ++*(int32_t *)ctx;
}

int32_t usage_open_fds(void)
{
    int32_t n = 0;
    if (dirs_list("/dev/fd", count_entry, &n, NULL)) return 0;
    return n > 0 ? n - 1 : 0; /* one is the directory itself */
}
