/* The machine's processors and how much of them we may use. (Instruction sets: kern/kern.h.) */
#ifndef OS_CPU_H
#define OS_CPU_H

#include <stdint.h>

/* Processors that this process may run on (affinity and cgroup v2 quota, rounded up); at least 1. */
int32_t cpu_count(void);

/* Keep the calling thread on one processor, the last that it may use; nothing where the system cannot. */
void cpu_pin_to_last(void);

/* Human-readable processor name ("AMD EPYC"), at most len - 1 bytes. */
void cpu_name(char *out, int32_t len);

#endif
