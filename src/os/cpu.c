/* The machine's processors and how much of them this process may use.
 *
 * Containers limit processors in two ways: by affinity, which sched_getaffinity shows, and by a CPU time
 * quota, which only the control group's cpu.max shows. Using more threads than the quota allows makes
 * the kernel stop all of them for the rest of each period, which is far worse than using fewer. */
#include "os/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "os/file.h"

#ifdef __linux__

static int32_t allowed_processors(void)
{
    cpu_set_t set; /* 1024 processors; on larger machines the call fails and those online are counted */
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
}

/* The processors that one cpu.max ("MICROSECONDS|max PERIOD") grants, rounded up; INT32_MAX without limit. */
static int32_t quota_of(const char *path)
{
    char text[64];
    char *end;
    file_read_head(path, text, sizeof text);
    long long quota = strtoll(text, &end, 10);
    long long period = strtoll(end, NULL, 10);
    if (quota <= 0 || period <= 0) return INT32_MAX;
    long long n = quota / period + (quota % period != 0);
    return n < INT32_MAX ? (int32_t)n : INT32_MAX;
}

/* The tightest quota of our control group (version 2) and all its parents. */
static int32_t cgroup_processors(void)
{
    char groups[4096];
    char path[sizeof groups + 64];
    file_read_head("/proc/self/cgroup", groups, sizeof groups);
    char *group = strncmp(groups, "0::", 3) == 0 ? groups : strstr(groups, "\n0::");
    if (!group) return INT32_MAX;
    group = strchr(group, '/');
    if (!group) return INT32_MAX;
    group[strcspn(group, "\n")] = '\0';

    int32_t fewest = INT32_MAX;
    for (;;) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
        int32_t n = quota_of(path);
        if (n < fewest) fewest = n;
        char *slash = strrchr(group, '/');
        if (!slash) return fewest;
        *slash = '\0';
    }
}

int32_t cpu_count(void)
{
    int32_t allowed = allowed_processors();
    int32_t quota = cgroup_processors();
    int32_t n = quota < allowed ? quota : allowed;
    return n > 1 ? n : 1;
}

void cpu_pin_to_last(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return;
    int last = CPU_SETSIZE - 1;
    while (last > 0 && !CPU_ISSET(last, &set)) last--;
    CPU_ZERO(&set);
    CPU_SET(last, &set);
    (void)sched_setaffinity(0, sizeof set, &set); /* 0: the calling thread */
}

enum err cpu_list_check(const struct cpu_list *list, struct errmsg *msg)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return err_set(msg, ERR_UNSUPPORTED, "threads cannot be placed on a machine with so many processors");
    }
    for (int32_t i = 0; i < CPU_LIST_MAX; i++) {
        if (!list->has[i] || CPU_ISSET(i, &allowed)) continue;
        return err_set(msg, ERR_ARG, "processor %d does not exist or may not be used here (%d may be used)",
                       i, CPU_COUNT(&allowed));
    }
    return OK;
}

void cpu_list_pin(const struct cpu_list *list)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int32_t i = 0; i < CPU_LIST_MAX; i++) {
        if (list->has[i]) CPU_SET(i, &set);
    }
    (void)sched_setaffinity(0, sizeof set, &set); /* 0: the calling thread */
}

#else

int32_t cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 1 ? (int32_t)n : 1;
}

void cpu_pin_to_last(void)
{
}

enum err cpu_list_check(const struct cpu_list *list, struct errmsg *msg)
{
    (void)list;
    return err_set(msg, ERR_UNSUPPORTED, "this system does not place threads on processors");
}

void cpu_list_pin(const struct cpu_list *list)
{
    (void)list;
}

#endif

/* A processor's number at *text, which moves behind it. */
static bool parse_number(const char **text, int32_t *out)
{
    const char *s = *text;
    int32_t n = 0;
    while (*s >= '0' && *s <= '9' && n < CPU_LIST_MAX) n = n * 10 + (*s++ - '0');
    if (s == *text || n >= CPU_LIST_MAX) return false;
    *text = s;
    *out = n;
    return true;
}

enum err cpu_list_parse(const char *text, struct cpu_list *out, struct errmsg *msg)
{
    *out = (struct cpu_list){0};
    for (const char *s = text;; s++) {
        const char *item = s;
        int32_t first, last;
        bool is_ok = parse_number(&s, &first);
        last = first;
        if (is_ok && *s == '-') {
            s++;
            is_ok = parse_number(&s, &last);
        }
        if (!is_ok || (*s && *s != ',') || last < first) {
            return err_set(
                msg, ERR_ARG,
                "processors \"%s\": at \"%s\" there should be a number below %d or a range of them "
                "like 0-3",
                text, item, CPU_LIST_MAX);
        }
        for (int32_t i = first; i <= last; i++) {
            out->n += !out->has[i];
            out->has[i] = true;
        }
        if (!*s) return OK;
    }
}

void cpu_name(char *out, int32_t len)
{
    char info[4096]; /* the first processor's entry */
    struct utsname machine;
    file_read_head("/proc/cpuinfo", info, sizeof info);
    const char *name = strstr(info, "model name");
    if (name) name = strchr(name, ':');
    if (name) {
        name += 1 + strspn(name + 1, " \t");
        snprintf(out, (size_t)len, "%.*s", (int)strcspn(name, "\n"), name);
    } else {
        /* Arm kernels print numbers instead of a name, other systems have no such file. */
        snprintf(out, (size_t)len, "%s", uname(&machine) == 0 ? machine.machine : "unknown processor");
    }
}
