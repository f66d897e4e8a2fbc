/* `inline doctor`: the machine. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/size.h"
#include "cli/doctor.h"
#include "cli/settings.h"
#include "kern/kern.h"
#include "os/cpu.h"
#include "os/dirs.h"
#include "os/file.h"
#include "os/gpu.h"
#include "os/machine.h"

/* Least memory for the smallest useful model with KV, and below which not even that starts. */
#define MEMORY_WARNING 1500000000
#define MEMORY_PROBLEM 400000000
/* Percent of the last ten seconds in which tasks waited for memory: people notice. */
#define STALL_WARNING 10
/* A model and its packed copy; and what caches need to be of use. */
#define DISK_WARNING 3000000000
#define DISK_PROBLEM 100000000

void doctor_check_gpus(struct doctor *d)
{
    struct gpu list[GPUS_MAX];
    struct errmsg why = {0};
    int32_t n = gpu_list(list, &why);
    if (n == 0) doctor_tell(d, DOCTOR_OK, "graphics", "", "%s; models run on the processors", why.text);
    for (int32_t i = 0; i < n; i++) {
        const struct gpu *g = &list[i];
        char size[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];
        doctor_tell(d, DOCTOR_OK, "graphics", "", "%s (%s, %s), %s of %s free; not used yet", g->name,
                    gpu_kind_name(g->kind), g->driver,
                    size_text(g->nvml_total > 0 ? g->nvml_free : g->free_bytes, left),
                    size_text(g->memory_bytes, size));
    }
}

void doctor_check_processors(struct doctor *d)
{
    char name[128];
    const char *forced = *d->s->isa ? d->s->isa : NULL;
    const struct kern *best = kern_select(NULL), *used = kern_select(forced);
    cpu_name(name, sizeof name);
    if (!used) {
        doctor_tell(d, DOCTOR_PROBLEM, "processors", "remove the setting engine.isa",
                    "%s has no %s, which the setting engine.isa forces; it has: %s", name, forced,
                    kern_available());
    } else if (strcmp(best->isa, "ref") == 0) {
        doctor_tell(d, DOCTOR_WARNING, "processors", "use a small model, or another machine",
                    "%s has no vector instructions that Inline knows (AVX2, NEON): it computes slowly", name);
    } else if (used != best) {
        doctor_tell(d, DOCTOR_WARNING, "processors", "remove the setting engine.isa",
                    "%s: %s is forced where %s is faster", name, used->isa, best->isa);
    } else {
        doctor_tell(d, DOCTOR_OK, "processors", "", "%s: %d may be used, with %s", name, (int)cpu_count(),
                    used->isa);
    }
}

static void check_stalls(struct doctor *d, const struct machine_sample *m)
{
    if (m->memory_some < STALL_WARNING) return;
    doctor_tell(d, DOCTOR_WARNING, "memory", "end programs that take much of it, or use a smaller model",
                "programs wait for memory %.0f %% of the time", m->memory_some);
}

void doctor_check_memory(struct doctor *d)
{
    struct machine_sample m;
    char ours[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], limit[SIZE_TEXT_MAX];
    machine_read(NULL, &m);
    int64_t bytes = machine_memory_ours(&m);
    enum doctor_level level = bytes < MEMORY_PROBLEM   ? DOCTOR_PROBLEM
                              : bytes < MEMORY_WARNING ? DOCTOR_WARNING
                                                       : DOCTOR_OK;
    const char *advice = level == DOCTOR_OK  ? ""
                         : m.group_limit > 0 ? "raise the limit of the control group (or container)"
                                             : "end programs that take much of it, or use a smaller model";
    size_text(bytes, ours);
    size_text(m.memory_total, total);
    if (m.group_limit > 0)
        doctor_tell(d, level, "memory", advice,
                    "%s to be had: the machine has %s, the control group may take %s", ours, total,
                    size_text(m.group_limit, limit));
    else
        doctor_tell(d, level, "memory", advice, "%s to be had of %s", ours, total);
    check_stalls(d, &m);
    if (strcmp(d->s->lock, "on") != 0) return;
    struct rlimit lock;
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur != RLIM_INFINITY &&
        (double)lock.rlim_cur < MEMORY_PROBLEM)
        doctor_tell(d, DOCTOR_WARNING, "memory",
                    "raise it (ulimit -l, LimitMEMLOCK= of the service), or set models.lock = off",
                    "models.lock is on, but only %s may be locked", size_text((int64_t)lock.rlim_cur, limit));
}

void doctor_check_power(struct doctor *d)
{
    struct machine_sample m;
    machine_read(NULL, &m);
    if (m.n_throttled > 0)
        doctor_tell(d, DOCTOR_WARNING, "heat", "look after its cooling",
                    "processors were slowed down for heat %" PRId64 " times since the start", m.n_throttled);
    if (m.is_on_battery)
        doctor_tell(d, DOCTOR_OK, "power", "",
                    "on battery (%.0f %%): %d %% of full speed (limits.battery_power)", m.battery_percent,
                    (int)d->s->battery_percent);
    else
        doctor_tell(d, DOCTOR_OK, "power", "", "from the mains, as far as the system tells");
}

/* Free space where the path is, or will be. */
static int64_t free_at(const char *path)
{
    char *at = mem_dup_str(path);
    int64_t bytes = file_free_space(at);
    for (char *slash; bytes < 0 && (slash = strrchr(at, '/')) && slash > at;) {
        *slash = 0;
        bytes = file_free_space(at);
    }
    mem_free(at);
    return bytes;
}

static void check_directory(struct doctor *d, const char *what, char *path)
{
    char size[SIZE_TEXT_MAX];
    int64_t bytes = free_at(path);
    if (bytes < 0)
        doctor_tell(d, DOCTOR_WARNING, "disk", "", "cannot tell how much is free for %s (%s)", what, path);
    else if (bytes < DISK_PROBLEM)
        doctor_tell(d, DOCTOR_PROBLEM, "disk", "free some space: inline cache clear --all, inline model rm",
                    "only %s free for %s (%s)", size_text(bytes, size), what, path);
    else if (bytes < DISK_WARNING)
        doctor_tell(d, DOCTOR_WARNING, "disk", "free some space, or set cache.packs_mb and cache.kv_mb lower",
                    "%s free for %s (%s): too little for a larger model", size_text(bytes, size), what, path);
    else
        doctor_tell(d, DOCTOR_OK, "disk", "", "%s free for %s (%s)", size_text(bytes, size), what, path);
    mem_free(path);
}

void doctor_check_disk(struct doctor *d)
{
    check_directory(d, "models",
                    *d->s->models_dir ? mem_dup_str(d->s->models_dir) : dirs_path(DIR_DATA, "models"));
    check_directory(d, "caches", dirs_path(DIR_CACHE, NULL));
}
