/* The machine's processors and how much of them we may use. (Instruction sets: kern/kern.h.) */
#ifndef OS_CPU_H
#define OS_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Processors that this process may run on (affinity and cgroup v2 quota, rounded up); at least 1. */
int32_t cpu_count(void);

/* Keep the calling thread on one processor, the last that it may use; nothing where the system cannot. */
void cpu_pin_to_last(void);

#define CPU_LIST_MAX 1024 /* what the system's own sets hold */

/* A set of processors, numbered as the system numbers them. */
struct cpu_list {
    bool has[CPU_LIST_MAX];
    int32_t n; /* members */
};

/* "0-3,6": numbers and ranges between commas. ERR_ARG: what is wrong, and where. */
MUST_CHECK enum err cpu_list_parse(const char *text, struct cpu_list *out, struct errmsg *msg);
/* May this process run on all of them? ERR_ARG: names one on which it may not; ERR_UNSUPPORTED: this system
 * does not place threads. */
MUST_CHECK enum err cpu_list_check(const struct cpu_list *list, struct errmsg *msg);
/* Keep the calling thread on these processors; nothing where the system cannot. */
void cpu_list_pin(const struct cpu_list *list);

/* Human-readable processor name ("AMD EPYC"), at most len - 1 bytes. */
void cpu_name(char *out, int32_t len);

#endif
