/* The machine as it is right now: memory, processors, pressure, power, and this process's part in them.
 *
 * Everything is read from small files of the system (Linux: proc(5), Documentation/accounting/psi.rst,
 * Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, sysfs); what cannot be told is -1, or 0
 * where the comment says so. Reading costs about a third of a millisecond. Thread: any. */
#ifndef OS_MACHINE_H
#define OS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine_sample {
    int64_t at_ns; /* clock_ns */

    /* Bytes of the whole machine. available: without swapping, the page cache's easy part included. */
    int64_t memory_total, memory_available;
    /* The control group that leaves this process least, its own or one above it (v2 memory.max and
     * memory.high; v1 memory.limit_in_bytes): its limit, 0 without one, and what is used of it that cannot be
     * dropped at once (usage less inactive_file). */
    int64_t group_limit, group_used;
    /* This process. */
    int64_t rss, rss_anon, rss_file;

    /* Since the machine started, in nanoseconds, summed over processors; differences of two samples count.
     * stolen, which is part of busy: a virtual machine's host used the processor. */
    int64_t cpu_total_ns, cpu_busy_ns, cpu_stolen_ns;
    int64_t own_cpu_ns; /* of all threads of this process */
    int32_t n_cpus;     /* processors that this process may use, at least 1 (cpu_count) */

    /* Pressure stall information: percent of the last 10 s in which some (full: all) tasks waited; -1: the
     * system does not tell. */
    double cpu_some, memory_some, memory_full, io_some;

    bool is_on_battery;
    double battery_percent; /* charge; -1 */
    int64_t n_throttled;    /* times that processors were slowed down for heat, since the start; -1 */
};

/* root: where the system's files are; null or "": "/". (Tests have a tree of their own.) */
void machine_read(const char *root, struct machine_sample *out);

/* Bytes that a process may still take before the machine, or its control group, is short of them. */
int64_t machine_memory_free(const struct machine_sample *s);
/* Bytes that it could have if all else stayed as it is: those and what it has. */
int64_t machine_memory_ours(const struct machine_sample *s);

/* Give memory that the heap holds but does not use back to the system; returns the bytes by which this
 * process shrank. */
int64_t machine_trim_heap(void);

#endif
