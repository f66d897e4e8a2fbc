/* Reading the machine: a few pseudo-files, parsed in place, without allocation. What a file does not say
 * stays unknown; nothing that is read is trusted beyond its being a number. */
#include "os/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "os/cgroup.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/file.h"
#include "os/power.h"
#include "os/usage.h"

/* Larger than any machine's memory; smaller than what version 1 of control groups writes for "no limit". */
#define NO_MEMORY ((int64_t)1 << 60)

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void read_own_cpu(struct machine_sample *out)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        out->own_cpu_ns = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#ifdef __linux__

/* Processors whose counts of throttling are read: heat concerns all of a package, and a large machine's
 * hundreds of files would take longer to read than everything else. */
#define THROTTLE_CPUS 8

static size_t read_at(const char *root, const char *path, char *out, size_t size)
{
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    return file_read_head(whole, out, size);
}

/* The value of a line such as "\nMemTotal:   1234 kB" in bytes; -1 if it is missing. */
static int64_t kilobytes(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    return at ? (int64_t)strtoll(at + strlen(line), NULL, 10) * 1024 : -1;
}

static void read_memory(const char *root, struct machine_sample *out)
{
    char text[4096]; /* of both files what counts comes within the first kilobytes */
    text[0] = '\n';  /* so that the first line is one like others */
    read_at(root, "/proc/meminfo", text + 1, sizeof text - 1);
    out->memory_total = kilobytes(text, "\nMemTotal:");
    out->memory_available = kilobytes(text, "\nMemAvailable:");
    if (out->memory_available < 0) out->memory_available = kilobytes(text, "\nMemFree:"); /* before 3.14 */

    read_at(root, "/proc/self/status", text, sizeof text);
    out->rss = kilobytes(text, "\nVmRSS:");
    out->rss_anon = kilobytes(text, "\nRssAnon:");
    out->rss_file = kilobytes(text, "\nRssFile:");
}

/* The first line of /proc/stat: user nice system idle iowait irq softirq steal, and guests' time, which user
 * and nice hold already; in ticks. */
static void read_processors(const char *root, struct machine_sample *out)
{
    enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, N_TIMES };
    char text[512];
    int64_t ticks = sysconf(_SC_CLK_TCK), times[N_TIMES] = {0}, total = 0;
    read_at(root, "/proc/stat", text, sizeof text);
    if (strncmp(text, "cpu ", 4) != 0 || ticks <= 0) return;
    char *at = text + 4;
    for (int i = 0; i < N_TIMES; i++) total += times[i] = strtoll(at, &at, 10);
    int64_t tick_ns = 1000000000 / ticks;
    out->cpu_total_ns = total * tick_ns;
    out->cpu_busy_ns = (total - times[IDLE] - times[IOWAIT]) * tick_ns;
    out->cpu_stolen_ns = times[STEAL] * tick_ns;
}

static double read_pressure(const char *root, const char *path, const char *kind, double *full)
{
    char text[256];
    read_at(root, path, text, sizeof text);
    if (full) *full = cgroup_pressure(text, "full");
    return cgroup_pressure(text, kind);
}

/* Our group's own memory pressure goes before the machine's: that of other groups, at limits of their own, is
 * not for us to relieve, and where all of the machine is short its available memory shows it. */
static void read_pressures(const char *root, const struct cgroup_memory *group, struct machine_sample *out)
{
    out->cpu_some = read_pressure(root, "/proc/pressure/cpu", "some", NULL);
    out->io_some = read_pressure(root, "/proc/pressure/io", "some", NULL);
    if (group->some >= 0) {
        out->memory_some = group->some;
        out->memory_full = group->full;
    } else {
        out->memory_some = read_pressure(root, "/proc/pressure/memory", "some", &out->memory_full);
    }
}

static int64_t read_throttled(const char *root)
{
    static const char *const names[] = {"core_throttle_count", "package_throttle_count"};
    int64_t sum = -1;
    for (int cpu = 0; cpu < THROTTLE_CPUS; cpu++) {
        for (int i = 0; i < 2; i++) {
            char path[128], text[32];
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/thermal_throttle/%s", cpu, names[i]);
            if (!read_at(root, path, text, sizeof text)) return sum;
            sum = (sum < 0 ? 0 : sum) + strtoll(text, NULL, 10);
        }
    }
    return sum;
}

static void read_system(const char *root, struct machine_sample *out)
{
    struct cgroup_memory group;
    read_memory(root, out);
    cgroup_memory_read(root, out->memory_total > 0 ? out->memory_total : NO_MEMORY, &group);
    out->group_limit = group.limit;
    out->group_used = group.used;
    read_processors(root, out);
    read_pressures(root, &group, out);
    out->n_throttled = read_throttled(root);
}

#else

static void read_system(const char *root, struct machine_sample *out)
{
    struct usage usage;
    (void)root;
    usage_self(&usage);
    out->memory_total = out->memory_available = -1;
#ifdef _SC_PHYS_PAGES
    out->memory_total = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
#endif
#ifdef _SC_AVPHYS_PAGES
    out->memory_available = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
#endif
    out->rss = usage.rss_bytes;
    out->rss_anon = usage.rss_anon_bytes;
    out->rss_file = usage.rss_file_bytes;
    out->cpu_some = out->io_some = out->memory_some = out->memory_full = -1;
    out->n_throttled = -1;
}

#endif

void machine_read(const char *root, struct machine_sample *out)
{
    struct power power;
    if (!root) root = "";
    *out = (struct machine_sample){.at_ns = clock_ns(), .n_cpus = cpu_count()};
    read_own_cpu(out);
    read_system(root, out);
    power_read(root, &power);
    out->is_on_battery = power.is_on_battery;
    out->battery_percent = power.percent;
}

/* What is used beyond a group's limit is not ours to take. */
static int64_t group_free(const struct machine_sample *s)
{
    return s->group_limit > s->group_used ? s->group_limit - s->group_used : 0;
}

int64_t machine_memory_free(const struct machine_sample *s)
{
    int64_t free = s->memory_available;
    if (s->group_limit > 0) free = free < 0 ? group_free(s) : least(free, group_free(s));
    return free;
}

/* The pages of mapped files count as available to the machine already, though not to the group. */
int64_t machine_memory_ours(const struct machine_sample *s)
{
    int64_t anon = s->rss_anon > 0 ? s->rss_anon : 0, rss = s->rss > 0 ? s->rss : 0;
    int64_t ours = s->memory_available < 0 ? -1 : least(s->memory_available + anon, s->memory_total);
    if (s->group_limit > 0) {
        int64_t of_group = least(group_free(s) + rss, s->group_limit);
        ours = ours < 0 ? of_group : least(ours, of_group);
    }
    return ours;
}

int64_t machine_trim_heap(void)
{
#ifdef __GLIBC__
    struct usage before, after;
    usage_self(&before);
    malloc_trim(0);
    usage_self(&after);
    return after.rss_bytes < before.rss_bytes ? before.rss_bytes - after.rss_bytes : 0;
#else
    return 0; /* other allocators give back what is free by themselves */
#endif
}
