/* What this process uses. */
#ifndef OS_USAGE_H
#define OS_USAGE_H

#include <stdint.h>

struct usage {
    int64_t rss_bytes;      /* resident now */
    int64_t rss_anon_bytes; /* of it, not backed by a file: heap, stacks, KV */
    int64_t rss_file_bytes; /* of it, mapped files: model pages, code */
    int64_t peak_bytes;     /* highest rss so far */
    int64_t heap_bytes;     /* handed out by malloc, touched or not */
    double cpu_s;           /* of all threads, user and system */
};

/* Zeros where the system does not tell. */
void usage_self(struct usage *out);
int32_t usage_open_fds(void); /* a directory is read: some microseconds */

#endif
