/* Where our control groups' files are, and what they say.
 *
 * proc(5): /proc/self/cgroup has a line "ID:CONTROLLERS:PATH" for each hierarchy, with ID 0 and no
 * controllers for version 2; the memory controller is in one of the two versions. Hierarchies are mounted
 * where systemd mounts them, or else where /proc/self/mountinfo says, which takes longer to read than all the
 * rest. A container may see a part of a hierarchy only: then the mount's root is the directory of the
 * hierarchy that stands at the mount point, and PATH begins with it, or is relative to something that cannot
 * be seen. */
#include "os/cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/file.h"

#define PATH_LEN 4096

double cgroup_pressure(const char *text, const char *kind)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, kind, strlen(kind)) != 0) continue;
        const char *avg = strstr(line, "avg10=");
        return avg ? strtod(avg + strlen("avg10="), NULL) : -1;
    }
    return -1;
}

#ifdef __linux__

/* What differs between the versions. */
struct version {
    const char *fs_type, *mount_option; /* by which a mount is known; "": any */
    const char *usual[2];               /* where it is mounted */
    const char *limits[2], *usage;
    const char *droppable; /* a line of memory.stat */
};

static const struct version versions[] = {
    {"cgroup",
     "memory",
     {"/sys/fs/cgroup/memory", NULL},
     {"memory.limit_in_bytes", NULL},
     "memory.usage_in_bytes",
     "\ntotal_inactive_file "},
    {"cgroup2",
     "",
     {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
     {"memory.max", "memory.high"},
     "memory.current",
     "\ninactive_file "},
};

/* Whether a list between commas has that word. */
static bool has_word(const char *list, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (const char *end = list + len; list < end;) {
        size_t here = strcspn(list, ",:\n ");
        if (here == n && strncmp(list, word, n) == 0) return true;
        list += here + 1;
    }
    return false;
}

/* The path of our group in /proc/self/cgroup's hierarchy of that version; false: we are in none. */
static bool find_group(const char *groups, const struct version *v, char out[PATH_LEN])
{
    for (const char *line = groups; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *controllers = strchr(line, ':');
        const char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) return false;
        size_t len = (size_t)(path - controllers - 1);
        bool is_it =
            *v->mount_option ? has_word(controllers + 1, len, v->mount_option) : strncmp(line, "0::", 3) == 0;
        if (!is_it) continue;
        snprintf(out, PATH_LEN, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
        return true;
    }
    return false;
}

/* One line of mountinfo: "ID PARENT DEV ROOT POINT OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS". */
static bool is_mount_of(const char *line, const struct version *v, char root[PATH_LEN], char point[PATH_LEN])
{
    const char *behind = strstr(line, " - ");
    char type[32], options[512] = "";
    if (!behind || sscanf(behind, " - %31s %*s %511s", type, options) < 1) return false;
    if (strcmp(type, v->fs_type) != 0) return false;
    if (*v->mount_option && !has_word(options, strlen(options), v->mount_option)) return false;
    return sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) == 2;
}

static bool find_mount(const char *system, const struct version *v, char root[PATH_LEN], char point[PATH_LEN])
{
    char line[2 * PATH_LEN]; /* what is longer is no control group's mount, nor is its end taken for one */
    snprintf(line, sizeof line, "%s/proc/self/mountinfo", system);
    FILE *f = fopen(line, "re");
    bool is_found = false, is_whole = true;
    if (!f) return false;
    while (!is_found && fgets(line, sizeof line, f)) {
        is_found = is_whole && is_mount_of(line, v, root, point);
        is_whole = strchr(line, '\n') != NULL;
    }
    fclose(f);
    return is_found;
}

static bool join(const char *system, const char *point, const char *below, char out[PATH_LEN])
{
    if (strcmp(below, "/") == 0) below = "";
    return snprintf(out, PATH_LEN, "%s%s%s", system, point, below) < PATH_LEN;
}

static bool is_group(const char *dir)
{
    char path[PATH_LEN + 32];
    snprintf(path, sizeof path, "%s/cgroup.procs", dir);
    return access(path, F_OK) == 0;
}

/* The directory of a group, and in *n_top the length of its part that is the mount point. */
static bool find_directory(const char *system, const struct version *v, const char *group, char out[PATH_LEN],
                           size_t *n_top)
{
    char root[PATH_LEN], point[PATH_LEN];
    bool is_visible = !strstr(group, "/..");
    for (int i = 0; i < 2 && v->usual[i] && is_visible; i++) {
        *n_top = strlen(system) + strlen(v->usual[i]);
        if (join(system, v->usual[i], group, out) && is_group(out)) return true;
    }
    if (!find_mount(system, v, root, point)) return false;
    *n_top = strlen(system) + strlen(point);
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool is_below = is_visible && strncmp(group, root, n) == 0 && (group[n] == '/' || group[n] == '\0');
    return join(system, point, is_below ? group + n : "", out);
}

static size_t read_in(const char *dir, const char *name, char *out, size_t size)
{
    char path[PATH_LEN + 64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return file_read_head(path, out, size);
}

/* A number in a file of its own; -1: it is missing, or a word ("max"). */
static int64_t number_in(const char *dir, const char *name)
{
    char text[32];
    if (!read_in(dir, name, text, sizeof text) || text[0] < '0' || text[0] > '9') return -1;
    return (int64_t)strtoll(text, NULL, 10);
}

static int64_t limit_of(const char *dir, const struct version *v, int64_t total)
{
    int64_t least = 0;
    for (int i = 0; i < 2 && v->limits[i]; i++) {
        int64_t limit = number_in(dir, v->limits[i]);
        if (limit >= 0 && limit < total && (least == 0 || limit < least)) least = limit > 0 ? limit : 1;
    }
    return least;
}

static int64_t used_of(const char *dir, const struct version *v)
{
    char stat[8192]; /* some fifty short lines */
    int64_t used = number_in(dir, v->usage);
    if (used <= 0 || !read_in(dir, "memory.stat", stat, sizeof stat)) return used > 0 ? used : 0;
    const char *line = strstr(stat, v->droppable);
    int64_t droppable = line ? (int64_t)strtoll(line + strlen(v->droppable), NULL, 10) : 0;
    return droppable < used ? used - droppable : 0;
}

/* The group at dir and those above it, up to the mount point. */
static void find_tightest(char *dir, size_t n_top, const struct version *v, int64_t total,
                          struct cgroup_memory *out)
{
    for (;;) {
        int64_t limit = limit_of(dir, v, total);
        int64_t used = limit ? used_of(dir, v) : 0;
        if (limit && (out->limit == 0 || limit - used < out->limit - out->used)) {
            out->limit = limit;
            out->used = used;
        }
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < n_top) return;
        *slash = '\0';
    }
}

void cgroup_memory_read(const char *root, int64_t total, struct cgroup_memory *out)
{
    char path[PATH_LEN], groups[PATH_LEN];
    *out = (struct cgroup_memory){.some = -1, .full = -1};
    if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= PATH_LEN) return;
    file_read_head(path, groups, sizeof groups);
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        const struct version *v = &versions[i];
        char group[PATH_LEN], dir[PATH_LEN], pressure[256];
        size_t n_top;
        if (!find_group(groups, v, group) || !find_directory(root, v, group, dir, &n_top)) continue;
        /* Only version 2 has such a file. That of the whole hierarchy is the machine's. */
        if (strlen(dir) > n_top && read_in(dir, "memory.pressure", pressure, sizeof pressure)) {
            out->some = cgroup_pressure(pressure, "some");
            out->full = cgroup_pressure(pressure, "full");
        }
        find_tightest(dir, n_top, v, total, out);
    }
}

#else

void cgroup_memory_read(const char *root, int64_t total, struct cgroup_memory *out)
{
    (void)root;
    (void)total;
    *out = (struct cgroup_memory){.some = -1, .full = -1};
}

#endif
