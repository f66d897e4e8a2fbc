/* The control groups that this process is in (Linux: Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst). */
#ifndef OS_CGROUP_H
#define OS_CGROUP_H

#include <stdint.h>

struct cgroup_memory {
    int64_t limit;     /* of the group, ours or one above, that leaves us least; 0: none is limited */
    int64_t used;      /* of it, without what can be dropped at once */
    double some, full; /* our group's own pressure (machine.h); -1: the system does not tell */
};

/* Limits of `total` bytes and more are none. root: where the system's files are; "": "/". Thread: any. */
void cgroup_memory_read(const char *root, int64_t total, struct cgroup_memory *out);

/* The avg10 of a line of a pressure file (Documentation/accounting/psi.rst): kind "some" or "full"; -1: there
 * is none. */
double cgroup_pressure(const char *text, const char *kind);

#endif
